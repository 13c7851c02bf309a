/* SPDX-License-Identifier: Apache-2.0 */
/* Inside agent/container: the pieces container_build() is made of. */
#ifndef AGENT_CONTAINER_BUILD_H
#define AGENT_CONTAINER_BUILD_H

#include <stddef.h>

#include "agent/container/container.h"

struct buf;

/* A growing list of owned strings. */
struct strings {
	char **v;
	size_t nr;
	int error; /* -ENOMEM, -E2BIG */
};

void strings_add(struct strings *l, char *owned); /* NULL: out of memory */
void strings_clear(struct strings *l);

/* Value of @name among @env ("NAME=value"); NULL when missing. Borrowed. */
const char *env_lookup(const struct strings *env, const char *name);

/* @text with $(NAME) replaced from @env; unknown ones stay, $$ is $. Owned. */
char *env_expand(const char *text, const struct strings *env);

/* The environment of a container: the image's, then the pod's over it.
 * @ret_own: only the pod's part, which command and args are expanded from. */
int env_build(const struct container_input *in, struct strings *ret,
	      struct strings *ret_own, struct err *e);

#endif /* AGENT_CONTAINER_BUILD_H */

/* SPDX-License-Identifier: Apache-2.0 */
/* What the supervisor says, parsed. Pure; the format is in proto.h. */
#ifndef AGENT_CONTAINER_REPLY_H
#define AGENT_CONTAINER_REPLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/container/sandbox.h"

struct sandbox_reply {
	bool is_event; /* else a reply to @id */
	uint64_t id;
	bool ok;
	int code; /* negative errno of a refusal */
	bool has_failure;
	struct sandbox_failure failure;
	struct sandbox_proc *procs; /* "process" or "processes"; owned */
	size_t nr_procs;
};

/* 0, -EBADMSG, or -ENOMEM. Free with sandbox_reply_clear(). */
int sandbox_reply_parse(const char *text, size_t len, struct sandbox_reply *ret,
			struct err *e);
void sandbox_reply_clear(struct sandbox_reply *r);

#endif /* AGENT_CONTAINER_REPLY_H */

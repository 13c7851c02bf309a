/* SPDX-License-Identifier: Apache-2.0 */
/* Lists of names as messages have them: `"a", "b"`. */
#ifndef CONTROLPLANE_APISERVER_ADMISSION_NAMES_H
#define CONTROLPLANE_APISERVER_ADMISSION_NAMES_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/buf.h"

struct map;

/* Names, in quotes or as they are, and how many. */
struct names {
	struct buf text;
	size_t nr;
};

#define NAMES_INIT                \
	{                         \
		.text = BUF_INIT, \
	}
#define auto_names __attribute__((cleanup(names_clear)))

void names_clear(struct names *n);
void names_add(struct names *n, bool quoted, const char *name);

/* A set is a map of which only the keys count: each value once. */
void nameset_add(struct map *set, const char *value);
void nameset_put(const struct map *set, bool quoted,
		 struct names *to); /* sorted */

/* The word for @nr of something. */
const char *names_word(size_t nr, const char *single, const char *several);

#endif /* CONTROLPLANE_APISERVER_ADMISSION_NAMES_H */

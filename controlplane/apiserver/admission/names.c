// SPDX-License-Identifier: Apache-2.0
#include <stdlib.h>
#include <string.h>

#include "controlplane/apiserver/admission/names.h"
#include "lib/map.h"

void names_clear(struct names *n)
{
	buf_clear(&n->text);
}

void names_add(struct names *n, bool quoted, const char *name)
{
	const char *q = quoted ? "\"" : "";

	buf_printf(&n->text, "%s%s%s%s", n->nr ? ", " : "", q, name ? name : "",
		   q);
	n->nr++;
}

/* A set: each value once, sorted. */
static int by_value(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

void nameset_put(const struct map *set, bool quoted, struct names *to)
{
	const char **v = calloc(map_len(set) + 1, sizeof(*v));
	struct map_iter it = MAP_ITER_INIT;
	size_t nr = 0;

	while (v && map_next(set, &it))
		v[nr++] = it.key;
	if (v)
		qsort(v, nr, sizeof(*v), by_value);
	for (size_t i = 0; i < nr; i++)
		names_add(to, quoted, v[i]);
	free(v);
}

void nameset_add(struct map *set, const char *value)
{
	static char there;

	(void)map_set(set, value, &there, NULL);
}

const char *names_word(size_t nr, const char *single, const char *several)
{
	return nr == 1 ? single : several;
}

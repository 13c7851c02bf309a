/* SPDX-License-Identifier: Apache-2.0 */
/* Growing lists of spec.h's kinds. */
#ifndef AGENT_IMAGE_STRLIST_H
#define AGENT_IMAGE_STRLIST_H

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "agent/spec.h"
#include "lib/str.h"

static inline void strlist_clear(struct strv *l)
{
	for (size_t i = 0; i < l->nr; i++)
		free(l->v[i]);
	free(l->v);
	*l = (struct strv){ .v = NULL };
}

static inline int strlist_add(struct strv *l, const char *s)
{
	char **v = realloc(l->v, (l->nr + 2) * sizeof(*v));

	if (!v)
		return -ENOMEM;
	l->v = v;
	v[l->nr] = strdup(s);
	v[l->nr + 1] = NULL;
	if (!v[l->nr])
		return -ENOMEM;
	l->nr++;
	return 0;
}

static inline bool strlist_has(const struct strv *l, const char *s)
{
	for (size_t i = 0; l && i < l->nr; i++)
		if (str_eq(l->v[i], s))
			return true;
	return false;
}

static inline void strlist_del(struct strv *l, const char *s)
{
	for (size_t i = 0; i < l->nr; i++) {
		if (!str_eq(l->v[i], s))
			continue;
		free(l->v[i]);
		memmove(l->v + i, l->v + i + 1,
			(l->nr - i) * sizeof(*l->v)); /* the NULL, too */
		l->nr--;
		return;
	}
}

static inline int strlist_dup(const struct strv *l, struct strv *ret)
{
	for (size_t i = 0; i < l->nr; i++)
		if (strlist_add(ret, l->v[i]) < 0)
			return -ENOMEM;
	return 0;
}

static inline void keylist_clear(struct key_values *l)
{
	for (size_t i = 0; i < l->nr; i++) {
		free(l->v[i].key);
		free(l->v[i].value);
	}
	free(l->v);
	*l = (struct key_values){ .v = NULL };
}

static inline int keylist_add(struct key_values *l, const char *key,
			      const char *value)
{
	struct key_value *v = realloc(l->v, (l->nr + 1) * sizeof(*v));

	if (!v)
		return -ENOMEM;
	l->v = v;
	v[l->nr].key = strdup(key);
	v[l->nr].value = strdup(value);
	l->nr++;
	return v[l->nr - 1].key && v[l->nr - 1].value ? 0 : -ENOMEM;
}

#endif /* AGENT_IMAGE_STRLIST_H */

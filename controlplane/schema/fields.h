/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sets of fields, and what server-side apply does with them.
 *
 * A set is a tree of path elements in the words of fieldsV1: "f:name" is a
 * field, "k:{"name":"c"}" the item of a list with these keys, "v:"x"" an item
 * of a set. A node is in the set when it is marked as a member, whatever is
 * below it. Lists and maps that are declared as atomic, and scalars, are
 * leaves. Where no schema says anything, maps are granular and lists are
 * atomic.
 */
#ifndef CONTROLPLANE_SCHEMA_FIELDS_H
#define CONTROLPLANE_SCHEMA_FIELDS_H

#include "controlplane/schema/schema.h"
#include "lib/map.h"

struct fields {
	bool member;
	/* What is below: in the order it came; what has gone is NULL. */
	struct fields **below;
	uint32_t nr, size, nr_gone;
	struct map *index; /* of @below, by path element, once it is long */
	uint32_t place;    /* in the set it is below of */
	uint32_t len;
	char key[]; /* its path element there */
};

struct fields *fields_new(void);

void fields_free(struct fields *s);
static inline void fields_auto_(struct fields **s)
{
	fields_free(*s);
}

/* All fields of @v. NULL when out of memory. */
struct fields *fields_of(const struct schema *s, yyjson_mut_val *v);
/* Between fieldsV1 and sets. -EINVAL when it is none, or nested too deeply. */
int fields_from_json(yyjson_mut_val *v, struct fields **ret);
yyjson_mut_val *fields_to_json(const struct fields *s, yyjson_mut_doc *doc);

bool fields_empty(const struct fields *s);
bool fields_equal(const struct fields *a, const struct fields *b);
/* The set below path element @key, or NULL. */
struct fields *fields_below(const struct fields *s, const char *key);
/* The same, made when it is not there; NULL: no memory. */
struct fields *fields_make(struct fields *s, const char *key);
/* Remove @kid, which is directly below @s. */
void fields_cut(struct fields *s, struct fields *kid);
/* Over what is directly below; it may be cut. */
#define fields_for_each(s, i, kid)          \
	for ((i) = 0; (i) < (s)->nr; (i)++) \
		if (((kid) = (s)->below[i]) != NULL)
/* @a gets what is in @b, too. -ENOMEM. */
int fields_add(struct fields *a, const struct fields *b);
/* @a loses what is in @b. */
void fields_subtract(struct fields *a, const struct fields *b);
/* What is in both, as a new set. */
struct fields *fields_common(const struct fields *a, const struct fields *b);
/* Remove the path below "f:a.f:b" (element names joined by '.'); everything
 * below it goes, too. */
void fields_drop(struct fields *s, const char *path);
/* Call @fn with each member's path, as people write it: .spec.ports[name="x"].
 */
void fields_each(const struct fields *s,
		 void (*fn)(void *arg, const char *path), void *arg);

/* How @new differs from @old (either may be NULL). */
struct fields_change {
	struct fields *added, *modified, *removed;
};

int fields_compare(const struct schema *s, yyjson_mut_val *old,
		   yyjson_mut_val *new, struct fields_change *ret);
void fields_change_clear(struct fields_change *c);

/* @live with everything @applied says; copies into @doc. NULL: no memory. */
yyjson_mut_val *fields_merge(const struct schema *s, yyjson_mut_doc *doc,
			     yyjson_mut_val *live, yyjson_mut_val *applied);
/* Remove from @v what is in @gone, but for what is in @kept. */
void fields_remove(const struct schema *s, yyjson_mut_val *v,
		   const struct fields *gone, const struct fields *kept);

/* --- the same without making sets, for writes that are common --- */

/* fieldsV1 of a value that is all new: as if a set had been made of it. @skip,
 * NULL-terminated, has fields of the root ("f:kind") that are left out,
 * @skip_meta those of its metadata (which itself is no field). -EEXIST: two
 * items of a list are the same one, -E2BIG: nested too deeply, -ENOMEM. */
int fields_text(const struct schema *s, yyjson_mut_val *v,
		const char *const *skip, const char *const *skip_meta,
		struct buf *ret);
/* Whether fieldsV1 @v has each member of @s; whether it has any. */
bool fields_json_has_all(yyjson_mut_val *v, const struct fields *s);
bool fields_json_has_any(yyjson_mut_val *v, const struct fields *s);

/* --- what all of these have in common --- */

/* What is declared of the field @name; NULL: nothing. */
const struct schema *fields_kid_schema(const struct schema *s, const char *name,
				       bool *ret_declared);
/* The path element of a list's item; false: it has none, as it lacks a key. */
bool fields_put_item(const struct schema *s, yyjson_mut_val *item,
		     struct buf *b);
/* Whether what is in @v are fields of their own. */
bool fields_granular(const struct schema *s, yyjson_mut_val *v);

#endif /* CONTROLPLANE_SCHEMA_FIELDS_H */

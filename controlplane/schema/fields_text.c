// SPDX-License-Identifier: Apache-2.0
/*
 * fieldsV1 of what is new, written at once; and looking into fieldsV1. Sets
 * (fields.c) can do all of this and more, and are made of some hundred small
 * pieces each: creates, and updates of what one manages already, do without.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "controlplane/schema/fields.h"
#include "lib/auto.h"
#include "lib/json.h"
#include "lib/str.h"

#define MEMBERS_ON_STACK 32

struct member {
	const char *key; /* its path element; of a field: its name */
	size_t len, at;
	yyjson_mut_val *val;
	const struct schema *schema;
};

struct level {
	struct member *v, few[MEMBERS_ON_STACK];
	size_t nr;
	struct buf keys; /* of a list's items */
};

static bool is_one_of(const char *name, const char *const *names)
{
	for (; names && *names; names++)
		if (strcmp(name, *names + 2) == 0) /* behind "f:" */
			return true;
	return false;
}

/* Sorted as it comes: most are few, and written in some order. -EEXIST. */
static int sort_in(struct level *l, const struct member *m)
{
	size_t at = l->nr;
	int order = 1;

	while (at > 0 && (order = strcmp(m->key, l->v[at - 1].key)) < 0)
		at--;
	if (order == 0)
		return -EEXIST;
	memmove(l->v + at + 1, l->v + at, (l->nr - at) * sizeof(*m));
	l->v[at] = *m;
	l->nr++;
	return 0;
}

static int by_key(const void *a, const void *b)
{
	const struct member *x = a, *y = b;

	return strcmp(x->key, y->key);
}

static int put_in_order(struct level *l, const struct member *m, bool many)
{
	if (!many)
		return sort_in(l, m);
	l->v[l->nr++] = *m;
	return 0;
}

static int list_fields(struct level *l, const struct schema *s,
		       yyjson_mut_val *v, const char *const *skip)
{
	bool many = yyjson_mut_obj_size(v) > MEMBERS_ON_STACK, declared;
	yyjson_mut_val *k, *val;
	size_t i, max;
	int r = 0;

	yyjson_mut_obj_foreach(v, i, max, k, val)
	{
		struct member m = { .key = yyjson_mut_get_str(k),
				    .len = yyjson_mut_get_len(k),
				    .val = val };

		if (is_one_of(m.key, skip))
			continue;
		m.schema = fields_kid_schema(s, m.key, &declared);
		r = put_in_order(l, &m, many);
		if (r < 0)
			return r;
	}
	return 0;
}

static __attribute__((noinline)) int
list_items(struct level *l, const struct schema *s, yyjson_mut_val *v)
{
	bool many = yyjson_mut_arr_size(v) > MEMBERS_ON_STACK;
	struct member found[MEMBERS_ON_STACK], *all = found;
	auto_buf struct buf key = BUF_INIT;
	yyjson_mut_val *item;
	size_t i, max, nr = 0;
	int r = 0;

	if (many)
		all = calloc(yyjson_mut_arr_size(v), sizeof(*all));
	if (!all)
		return -ENOMEM;
	yyjson_mut_arr_foreach(v, i, max, item)
	{
		if (!fields_put_item(s, item, &key))
			continue;
		all[nr++] = (struct member){ .at = l->keys.len,
					     .len = key.len,
					     .val = item,
					     .schema = s->items };
		buf_add(&l->keys, key.data, key.len + 1);
	}
	r = buf_error(&l->keys);
	for (i = 0; r == 0 && i < nr; i++) {
		all[i].key = l->keys.data + all[i].at;
		r = put_in_order(l, &all[i], many);
	}
	if (many)
		free(all);
	return r;
}

static int list_members(struct level *l, const struct schema *s,
			yyjson_mut_val *v, const char *const *skip)
{
	size_t size = yyjson_mut_is_obj(v) ? yyjson_mut_obj_size(v)
					   : yyjson_mut_arr_size(v);
	int r;

	l->nr = 0;
	l->keys = (struct buf)BUF_INIT;
	l->v = size > MEMBERS_ON_STACK ? calloc(size, sizeof(*l->v)) : l->few;
	if (!l->v)
		return -ENOMEM;
	r = yyjson_mut_is_obj(v) ? list_fields(l, s, v, skip)
				 : list_items(l, s, v);
	if (r < 0 || size <= MEMBERS_ON_STACK)
		return r;
	qsort(l->v, l->nr, sizeof(*l->v), by_key);
	for (size_t i = 1; i < l->nr; i++)
		if (strcmp(l->v[i].key, l->v[i - 1].key) == 0)
			return -EEXIST;
	return 0;
}

static void level_clear(struct level *l)
{
	if (l->v != l->few)
		free(l->v);
	buf_clear(&l->keys);
}

static bool is_plain(const char *s, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)s[i] < ' ' || (unsigned char)s[i] >= 0x7f ||
		    s[i] == '"' || s[i] == '\\')
			return false;
	return true;
}

/* "f:name": or the path element of an item, which has its own letter. */
static void put_key(struct buf *b, const struct member *m, bool item)
{
	auto_buf struct buf key = BUF_INIT;
	char *to;

	if (!item && is_plain(m->key, m->len)) {
		to = buf_reserve(b, m->len + 6);
		if (!to)
			return;
		memcpy(to, "\"f:", 3);
		memcpy(to + 3, m->key, m->len);
		memcpy(to + 3 + m->len, "\":", 2);
		buf_commit(b, m->len + 5);
		return;
	}
	buf_add(&key, "f:", item ? 0 : 2);
	buf_add(&key, m->key, m->len);
	json_escape(b, buf_str(&key), key.len);
	buf_putc(b, ':');
}

static int put_text(const struct schema *s, yyjson_mut_val *v, struct buf *b,
		    int depth);

static int put_level(const struct schema *s, yyjson_mut_val *v, bool dot,
		     const char *const *skip, const char *const *skip_meta,
		     struct buf *b, int depth)
{
	bool item = yyjson_mut_is_arr(v), more = false;
	struct level l;
	int r;

	if (depth > SCHEMA_DEPTH_MAX)
		return -E2BIG;
	r = list_members(&l, s, v, skip);
	buf_putc(b, '{');
	if (r == 0 && dot && l.nr) {
		buf_puts(b, "\".\":{}");
		more = true;
	}
	for (size_t i = 0; r == 0 && i < l.nr; i++) {
		const struct member *m = &l.v[i];
		size_t before = b->len, body;

		if (more)
			buf_putc(b, ',');
		put_key(b, m, item);
		body = b->len;
		if (skip_meta && strcmp(m->key, "metadata") == 0 &&
		    fields_granular(m->schema, m->val)) {
			r = put_level(m->schema, m->val, false, skip_meta, NULL,
				      b, depth + 1);
			if (r == 0 && b->len == body + 2) {
				b->len = before; /* it is no field itself */
				b->data[before] = '\0';
				continue;
			}
		} else {
			r = put_text(m->schema, m->val, b, depth + 1);
		}
		more = true;
	}
	buf_putc(b, '}');
	level_clear(&l);
	return r;
}

static int put_text(const struct schema *s, yyjson_mut_val *v, struct buf *b,
		    int depth)
{
	if (depth > SCHEMA_DEPTH_MAX)
		return -E2BIG;
	if (fields_granular(s, v))
		return put_level(s, v, true, NULL, NULL, b, depth);
	buf_add(b, "{}", 2);
	return 0;
}

int fields_text(const struct schema *s, yyjson_mut_val *v,
		const char *const *skip, const char *const *skip_meta,
		struct buf *ret)
{
	int r = put_level(s, v, false, skip, skip_meta, ret, 0);

	return r < 0 ? r : buf_error(ret);
}

/* --- looking into fieldsV1 --- */

static bool json_is_member(yyjson_mut_val *v)
{
	return yyjson_mut_is_obj(v) &&
	       (!yyjson_mut_obj_size(v) || yyjson_mut_obj_get(v, "."));
}

bool fields_json_has_all(yyjson_mut_val *v, const struct fields *s)
{
	const struct fields *kid;
	size_t i;

	if (s->member && !json_is_member(v))
		return false;
	fields_for_each (s, i, kid) {
		yyjson_mut_val *to = yyjson_mut_obj_getn(v, kid->key, kid->len);

		if (!to || !fields_json_has_all(to, kid))
			return false;
	}
	return true;
}

bool fields_json_has_any(yyjson_mut_val *v, const struct fields *s)
{
	const struct fields *kid;
	size_t i;

	if (s->member && json_is_member(v))
		return true;
	fields_for_each (s, i, kid) {
		yyjson_mut_val *to = yyjson_mut_obj_getn(v, kid->key, kid->len);

		if (to && fields_json_has_any(to, kid))
			return true;
	}
	return false;
}

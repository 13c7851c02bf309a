// SPDX-License-Identifier: Apache-2.0
/* Sets of fields as trees; see fields.h. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "controlplane/schema/fields.h"
#include "lib/auto.h"
#include "lib/json.h"
#include "lib/str.h"

#define INDEX_MIN 16 /* what is shorter is searched */

static struct fields *node_new(const char *key, size_t len)
{
	struct fields *s = malloc(sizeof(*s) + len + 1);

	if (!s)
		return NULL;
	memset(s, 0, sizeof(*s));
	s->len = (uint32_t)len;
	memcpy(s->key, key, len);
	s->key[len] = '\0';
	return s;
}

struct fields *fields_new(void)
{
	return node_new("", 0);
}

void fields_free(struct fields *s)
{
	struct fields *kid;
	size_t i;

	if (!s)
		return;
	fields_for_each (s, i, kid) {
		fields_free(kid);
	}
	free(s->below);
	if (s->index)
		map_clear(s->index, NULL);
	free(s->index);
	free(s);
}

static struct fields *find(const struct fields *s, const char *key, size_t len)
{
	struct fields *kid;
	size_t i;

	if (s->index)
		return map_get_n(s->index, key, len);
	fields_for_each (s, i, kid) {
		if (kid->len == len && memcmp(kid->key, key, len) == 0)
			return kid;
	}
	return NULL;
}

struct fields *fields_below(const struct fields *s, const char *key)
{
	return s ? find(s, key, strlen(key)) : NULL;
}

/* Room for one more; what has gone gives its room first. */
static int make_room(struct fields *s)
{
	uint32_t size = s->size ? s->size * 2 : 4, nr = 0;
	struct fields **v, *kid;
	size_t i;

	if (s->nr < s->size)
		return 0;
	if (s->nr_gone > s->nr / 2) {
		fields_for_each (s, i, kid) {
			kid->place = nr;
			s->below[nr++] = kid;
		}
		s->nr = nr;
		s->nr_gone = 0;
		return 0;
	}
	v = reallocarray(s->below, size, sizeof(*v));
	if (!v)
		return -ENOMEM;
	s->below = v;
	s->size = size;
	return 0;
}

static int make_index(struct fields *s)
{
	struct map *m = calloc(1, sizeof(*m));
	struct fields *kid;
	size_t i;

	if (!m)
		return -ENOMEM;
	s->index = m;
	fields_for_each (s, i, kid) {
		if (map_set(m, kid->key, kid, NULL))
			return -ENOMEM;
	}
	return 0;
}

struct fields *fields_make(struct fields *s, const char *key)
{
	size_t len = strlen(key);
	struct fields *kid = find(s, key, len);

	if (kid)
		return kid;
	if (make_room(s) || (!s->index && s->nr >= INDEX_MIN && make_index(s)))
		return NULL;
	kid = node_new(key, len);
	if (kid && s->index && map_set(s->index, kid->key, kid, NULL)) {
		free(kid);
		kid = NULL;
	}
	if (!kid)
		return NULL;
	kid->place = s->nr;
	s->below[s->nr++] = kid;
	return kid;
}

void fields_cut(struct fields *s, struct fields *kid)
{
	if (s->index)
		(void)map_del(s->index, kid->key);
	s->below[kid->place] = NULL;
	s->nr_gone++;
	fields_free(kid);
}

static size_t nr_below(const struct fields *s)
{
	return s->nr - s->nr_gone;
}

bool fields_empty(const struct fields *s)
{
	return !s || (!s->member && !nr_below(s));
}

bool fields_equal(const struct fields *a, const struct fields *b)
{
	const struct fields *kid;
	size_t i;

	if (fields_empty(a) || fields_empty(b))
		return fields_empty(a) == fields_empty(b);
	if (a->member != b->member || nr_below(a) != nr_below(b))
		return false;
	fields_for_each (a, i, kid) {
		const struct fields *other = find(b, kid->key, kid->len);

		if (!other || !fields_equal(kid, other))
			return false;
	}
	return true;
}

int fields_add(struct fields *a, const struct fields *b)
{
	const struct fields *kid;
	size_t i;

	if (!b)
		return 0;
	a->member |= b->member;
	fields_for_each (b, i, kid) {
		struct fields *to = fields_make(a, kid->key);

		if (!to || fields_add(to, kid))
			return -ENOMEM;
	}
	return 0;
}

void fields_subtract(struct fields *a, const struct fields *b)
{
	const struct fields *kid;
	size_t i;

	if (!b)
		return;
	if (b->member)
		a->member = false;
	fields_for_each (b, i, kid) {
		struct fields *from = find(a, kid->key, kid->len);

		if (!from)
			continue;
		fields_subtract(from, kid);
		if (fields_empty(from))
			fields_cut(a, from);
	}
}

static int common(struct fields *out, const struct fields *a,
		  const struct fields *b)
{
	const struct fields *kid;
	size_t i;

	out->member = a->member && b->member;
	fields_for_each (a, i, kid) {
		const struct fields *other = find(b, kid->key, kid->len);
		struct fields *to;

		if (!other)
			continue;
		to = fields_make(out, kid->key);
		if (!to || common(to, kid, other))
			return -ENOMEM;
		if (fields_empty(to))
			fields_cut(out, to);
	}
	return 0;
}

struct fields *fields_common(const struct fields *a, const struct fields *b)
{
	struct fields *out = fields_new();

	if (out && a && b && common(out, a, b)) {
		fields_free(out);
		return NULL;
	}
	return out;
}

void fields_drop(struct fields *s, const char *path)
{
	size_t len = strcspn(path, ".");
	struct fields *kid = find(s, path, len);

	if (!kid)
		return;
	if (path[len])
		fields_drop(kid, path + len + 1);
	if (!path[len] || fields_empty(kid))
		fields_cut(s, kid);
}

/* --- as JSON --- */

static int from_json(yyjson_mut_val *v, struct fields *into, int depth)
{
	yyjson_mut_val *key, *val;
	size_t i, max;

	if (!yyjson_mut_is_obj(v) || depth > SCHEMA_DEPTH_MAX)
		return -EINVAL;
	/* Nothing below: it is a member itself. */
	into->member = depth && !yyjson_mut_obj_size(v);
	yyjson_mut_obj_foreach(v, i, max, key, val)
	{
		const char *name = yyjson_mut_get_str(key);
		struct fields *kid;

		if (strcmp(name, ".") == 0) {
			into->member = true;
			continue;
		}
		if (!name[0] || !strchr("fkvi", name[0]) || name[1] != ':')
			return -EINVAL;
		kid = fields_make(into, name);
		if (!kid)
			return -ENOMEM;
		if (from_json(val, kid, depth + 1))
			return -EINVAL;
	}
	return 0;
}

int fields_from_json(yyjson_mut_val *v, struct fields **ret)
{
	struct fields *s = fields_new();
	int r = s ? from_json(v, s, 0) : -ENOMEM;

	if (r < 0) {
		fields_free(s);
		return r;
	}
	*ret = s;
	return 0;
}

static int by_key(const void *a, const void *b)
{
	const struct fields *x = *(const struct fields *const *)a;
	const struct fields *y = *(const struct fields *const *)b;

	return strcmp(x->key, y->key);
}

yyjson_mut_val *fields_to_json(const struct fields *s, yyjson_mut_doc *doc)
{
	yyjson_mut_val *out = yyjson_mut_obj(doc);
	size_t nr = nr_below(s), n = 0, i;
	struct fields **v, *kid;
	bool ok = out;

	if (!nr)
		return out;
	v = calloc(nr, sizeof(*v));
	ok = out && v;
	if (ok && s->member)
		ok = mut_put(doc, out, ".", yyjson_mut_obj(doc)) == 0;
	fields_for_each (s, i, kid) {
		if (ok)
			v[n++] = kid;
	}
	if (n)
		qsort(v, n, sizeof(*v), by_key);
	for (i = 0; ok && i < n; i++) {
		yyjson_mut_val *key =
			yyjson_mut_strncpy(doc, v[i]->key, v[i]->len);
		yyjson_mut_val *val = fields_to_json(v[i], doc);

		ok = key && val && yyjson_mut_obj_add(out, key, val);
	}
	free(v);
	return ok ? out : NULL;
}

/* --- for people --- */

static void put_element(struct buf *b, const char *key)
{
	yyjson_doc *doc;
	yyjson_val *k, *v;
	size_t i, max;
	bool more = false;

	if (key[0] == 'f') {
		buf_printf(b, ".%s", key + 2);
		return;
	}
	if (key[0] != 'k') {
		buf_printf(b, key[0] == 'v' ? "[=%s]" : "[%s]", key + 2);
		return;
	}
	doc = yyjson_read(key + 2, strlen(key + 2), 0);
	buf_putc(b, '[');
	json_obj_foreach (yyjson_doc_get_root(doc), i, max, k, v) {
		buf_printf(b, "%s%s=", more ? "," : "", yyjson_get_str(k));
		json_write(v, false, b);
		more = true;
	}
	buf_putc(b, ']');
	yyjson_doc_free(doc);
}

static void each(const struct fields *s, struct buf *path,
		 void (*fn)(void *arg, const char *path), void *arg)
{
	size_t len = path->len, i;
	const struct fields *kid;

	if (s->member)
		fn(arg, buf_str(path));
	fields_for_each (s, i, kid) {
		put_element(path, kid->key);
		each(kid, path, fn, arg);
		if (path->data) {
			path->len = len;
			path->data[len] = '\0';
		}
	}
}

void fields_each(const struct fields *s,
		 void (*fn)(void *arg, const char *path), void *arg)
{
	auto_buf struct buf path = BUF_INIT;

	if (s)
		each(s, &path, fn, arg);
}

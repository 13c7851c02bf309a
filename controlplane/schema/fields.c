// SPDX-License-Identifier: Apache-2.0
/* Sets of fields as trees; see fields.h. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "controlplane/schema/fields.h"
#include "lib/auto.h"
#include "lib/json.h"
#include "lib/str.h"

static struct fields *fields_new(void)
{
	return calloc(1, sizeof(struct fields));
}

static void free_below(void *p)
{
	fields_free(p);
}

void fields_free(struct fields *s)
{
	if (!s)
		return;
	map_clear(&s->below, free_below);
	free(s);
}

struct fields *fields_below(const struct fields *s, const char *key)
{
	return s ? map_get(&s->below, key) : NULL;
}

static struct fields *make_below(struct fields *s, const char *key)
{
	struct fields *kid = map_get(&s->below, key);

	if (kid)
		return kid;
	kid = fields_new();
	if (kid && map_set(&s->below, key, kid, NULL)) {
		free(kid);
		kid = NULL;
	}
	return kid;
}

bool fields_empty(const struct fields *s)
{
	return !s || (!s->member && !map_len(&s->below));
}

bool fields_equal(const struct fields *a, const struct fields *b)
{
	struct map_iter it = MAP_ITER_INIT;

	if (fields_empty(a) || fields_empty(b))
		return fields_empty(a) == fields_empty(b);
	if (a->member != b->member || map_len(&a->below) != map_len(&b->below))
		return false;
	while (map_next(&a->below, &it)) {
		const struct fields *other = map_get(&b->below, it.key);

		if (!other || !fields_equal(it.value, other))
			return false;
	}
	return true;
}

int fields_add(struct fields *a, const struct fields *b)
{
	struct map_iter it = MAP_ITER_INIT;

	if (!b)
		return 0;
	a->member |= b->member;
	while (map_next(&b->below, &it)) {
		struct fields *kid = make_below(a, it.key);

		if (!kid || fields_add(kid, it.value))
			return -ENOMEM;
	}
	return 0;
}

void fields_subtract(struct fields *a, const struct fields *b)
{
	struct map_iter it = MAP_ITER_INIT;

	if (!b)
		return;
	if (b->member)
		a->member = false;
	while (map_next(&b->below, &it)) {
		struct fields *kid = map_get(&a->below, it.key);

		if (!kid)
			continue;
		fields_subtract(kid, it.value);
		if (fields_empty(kid))
			fields_free(map_del(&a->below, it.key));
	}
}

struct fields *fields_common(const struct fields *a, const struct fields *b)
{
	struct fields *out = fields_new();
	struct map_iter it = MAP_ITER_INIT;

	if (!out || !a || !b)
		return out;
	out->member = a->member && b->member;
	while (map_next(&a->below, &it)) {
		const struct fields *other = map_get(&b->below, it.key);
		struct fields *kid;

		if (!other)
			continue;
		kid = fields_common(it.value, other);
		if (!kid) {
			fields_free(out);
			return NULL;
		}
		if (fields_empty(kid) ||
		    map_set(&out->below, it.key, kid, NULL))
			fields_free(kid);
	}
	return out;
}

void fields_drop(struct fields *s, const char *path)
{
	const char *dot = strchr(path, '.');
	char key[128];
	struct fields *kid;

	snprintf(key, sizeof(key), "%.*s",
		 dot ? (int)(dot - path) : (int)strlen(path), path);
	if (!dot) {
		fields_free(map_del(&s->below, key));
		return;
	}
	kid = map_get(&s->below, key);
	if (!kid)
		return;
	fields_drop(kid, dot + 1);
	if (fields_empty(kid))
		fields_free(map_del(&s->below, key));
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
		kid = make_below(into, name);
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

static int by_name(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

yyjson_mut_val *fields_to_json(const struct fields *s, yyjson_mut_doc *doc)
{
	yyjson_mut_val *out = yyjson_mut_obj(doc);
	size_t nr = map_len(&s->below), n = 0;
	const char **names = calloc(nr + 1, sizeof(*names));
	struct map_iter it = MAP_ITER_INIT;
	bool ok = out && names;

	if (ok && s->member && nr)
		ok = mut_put(doc, out, ".", yyjson_mut_obj(doc)) == 0;
	while (ok && map_next(&s->below, &it))
		names[n++] = it.key;
	if (ok)
		qsort(names, n, sizeof(*names), by_name);
	for (size_t i = 0; ok && i < n; i++) {
		yyjson_mut_val *key = yyjson_mut_strcpy(doc, names[i]);
		yyjson_mut_val *val =
			fields_to_json(map_get(&s->below, names[i]), doc);

		ok = key && val && yyjson_mut_obj_add(out, key, val);
	}
	free(names);
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
	struct map_iter it = MAP_ITER_INIT;
	size_t len = path->len;

	if (s->member)
		fn(arg, buf_str(path));
	while (map_next(&s->below, &it)) {
		put_element(path, it.key);
		each(it.value, path, fn, arg);
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

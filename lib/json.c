// SPDX-License-Identifier: Apache-2.0
/* Parsing and reading. Writing is in json_out.c. */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/auto.h"
#include "lib/err.h"
#include "lib/json.h"
#include "lib/str.h"

#define FEW_KEYS 16 /* compared pairwise; more of them are sorted */

/* --- parsing ------------------------------------------------------------- */

static int compare_keys(const void *a, const void *b)
{
	yyjson_val *const *ka = a, *const *kb = b;
	size_t la = yyjson_get_len(*ka), lb = yyjson_get_len(*kb);

	if (la != lb)
		return la < lb ? -1 : 1;
	return memcmp(yyjson_get_str(*ka), yyjson_get_str(*kb), la);
}

/* Set *@ret to a key that @object has twice, or to NULL. 0 or -ENOMEM. */
static int find_duplicate(yyjson_val *object, yyjson_val **ret)
{
	size_t nr = yyjson_obj_size(object), i, max, n = 0;
	auto_free yyjson_val **many = NULL;
	yyjson_val *few[FEW_KEYS], *key, *val;
	yyjson_val **keys = few;

	*ret = NULL;
	if (nr > FEW_KEYS) {
		many = malloc(nr * sizeof(yyjson_val *));
		if (!many)
			return -ENOMEM;
		keys = many;
	}
	json_obj_foreach (object, i, max, key, val) {
		keys[n++] = key;
	}
	if (nr > FEW_KEYS) {
		qsort(keys, n, sizeof(yyjson_val *), compare_keys);
		for (size_t k = 1; k < n && !*ret; k++)
			if (compare_keys(&keys[k - 1], &keys[k]) == 0)
				*ret = keys[k];
		return 0;
	}
	for (size_t k = 1; k < n; k++)
		for (size_t j = 0; j < k; j++)
			if (compare_keys(&keys[j], &keys[k]) == 0)
				*ret = keys[k];
	return 0;
}

static int has_nul(yyjson_val *str)
{
	return memchr(yyjson_get_str(str), '\0', yyjson_get_len(str)) != NULL;
}

static int check_tree(const struct json_ref *at, size_t depth, struct err *e);

static int check_fields(const struct json_ref *at, size_t depth, struct err *e)
{
	yyjson_val *twice, *key;
	yyjson_obj_iter it;
	int r;

	r = find_duplicate(at->val, &twice);
	if (r < 0)
		return err_set(e, r, "out of memory");
	if (twice) {
		struct json_ref field = { twice, at, yyjson_get_str(twice), 0 };

		return json_err(&field, -EBADMSG, e, "the key is there twice");
	}
	yyjson_obj_iter_init(at->val, &it);
	while (r == 0 && (key = yyjson_obj_iter_next(&it))) {
		struct json_ref field = { yyjson_obj_iter_get_val(key), at,
					  yyjson_get_str(key), 0 };

		if (has_nul(key))
			return json_err(&field, -EBADMSG, e,
					"a key must not contain NUL");
		r = check_tree(&field, depth - 1, e);
	}
	return r;
}

/* What the parser does not refuse. Recursion is bounded by @depth. */
static int check_tree(const struct json_ref *at, size_t depth, struct err *e)
{
	size_t i, max;
	yyjson_val *val;
	int r;

	if (yyjson_is_str(at->val) && has_nul(at->val))
		return json_err(at, -EBADMSG, e, "must not contain NUL");
	if (!yyjson_is_ctn(at->val))
		return 0;
	if (depth == 0)
		return err_set(e, -E2BIG, "nested too deeply: the limit is %d",
			       JSON_DEPTH_MAX);
	if (yyjson_is_obj(at->val))
		return check_fields(at, depth, e);
	yyjson_arr_foreach(at->val, i, max, val)
	{
		struct json_ref item = { val, at, NULL, i };

		r = check_tree(&item, depth - 1, e);
		if (r < 0)
			return r;
	}
	return 0;
}

static void line_and_column(const char *text, size_t pos, size_t *line,
			    size_t *column)
{
	*line = *column = 1;
	for (size_t i = 0; i < pos; i++) {
		++*column;
		if (text[i] == '\n') {
			++*line;
			*column = 1;
		}
	}
}

int json_parse_within(const char *text, size_t len,
		      const struct json_limits *limits, yyjson_doc **ret,
		      struct err *e)
{
	size_t max = limits->len ? limits->len : JSON_LEN_MAX;
	size_t nodes = limits->nodes ? limits->nodes : JSON_NODES_MAX;
	size_t depth = limits->depth && limits->depth < JSON_DEPTH_MAX
			       ? limits->depth
			       : JSON_DEPTH_MAX;
	struct json_ref root;
	yyjson_read_err why;
	yyjson_doc *doc;
	int r;

	if (len > max)
		return err_set(e, -E2BIG, "%zu bytes of JSON: the limit is %zu",
			       len, max);
	doc = yyjson_read_opts((char *)(uintptr_t)text, len, 0, NULL, &why);
	if (!doc && why.code == YYJSON_READ_ERROR_MEMORY_ALLOCATION)
		return err_set(e, -ENOMEM, "out of memory");
	if (!doc) {
		size_t line, column;

		line_and_column(text, why.pos < len ? why.pos : len, &line,
				&column);
		return err_set(e, -EBADMSG,
			       "not JSON: line %zu, column %zu: %s", line,
			       column, why.msg);
	}
	if (yyjson_doc_get_val_count(doc) > nodes)
		r = err_set(e, -E2BIG, "%zu values in JSON: the limit is %zu",
			    yyjson_doc_get_val_count(doc), nodes);
	else {
		root = (struct json_ref){ .val = yyjson_doc_get_root(doc) };
		r = check_tree(&root, depth, e);
	}
	if (r < 0) {
		yyjson_doc_free(doc);
		return r;
	}
	*ret = doc;
	return 0;
}

int json_parse(const char *text, size_t len, yyjson_doc **ret, struct err *e)
{
	struct json_limits none = { .len = 0 };

	return json_parse_within(text, len, &none, ret, e);
}

/* --- paths --------------------------------------------------------------- */

static bool plain_key(const char *key)
{
	for (const char *s = key; *s; s++)
		if (*s == '.' || *s == '[' || *s == ']' ||
		    (unsigned char)*s < ' ')
			return false;
	return *key;
}

/* Written from the end of @buf towards its beginning, as the refs lead up. */
void json_path(const struct json_ref *r, char *buf, size_t size)
{
	size_t at = size - 1;

	buf[at] = '\0';
	for (; r->up; r = r->up) {
		char part[160];
		size_t len;

		if (!r->key)
			snprintf(part, sizeof(part), "[%zu]", r->index);
		else if (plain_key(r->key))
			snprintf(part, sizeof(part), "%s%.150s",
				 r->up->up ? "." : "", r->key);
		else
			snprintf(part, sizeof(part), "['%.150s']", r->key);
		len = strlen(part);
		if (len + 3 > at)
			break;
		at -= len;
		memcpy(buf + at, part, len);
	}
	if (r->up && at >= 3) {
		at -= 3; /* too long: its end says more */
		memcpy(buf + at, "...", 3);
	}
	if (!buf[at] && at > 0)
		buf[--at] = '.';
	memmove(buf, buf + at, size - at);
}

int json_err(const struct json_ref *r, int code, struct err *e, const char *fmt,
	     ...)
{
	char path[200], what[ERR_MSG_SIZE];
	va_list ap;

	if (!e)
		return code;
	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	json_path(r, path, sizeof(path));
	if (!r->up)
		return err_set(e, code, "%s", what);
	return err_set(e, code, "%s: %s", path, what);
}

/* --- reading ------------------------------------------------------------- */

static yyjson_val *or_missing(yyjson_val *val)
{
	return yyjson_is_null(val) ? NULL : val;
}

struct json_ref json_root(const yyjson_doc *doc)
{
	yyjson_val *root = yyjson_doc_get_root((yyjson_doc *)(uintptr_t)doc);

	return (struct json_ref){ .val = or_missing(root) };
}

struct json_ref json_get(const struct json_ref *up, const char *key)
{
	return (struct json_ref){ or_missing(yyjson_obj_get(up->val, key)), up,
				  key, 0 };
}

struct json_ref json_at(const struct json_ref *up, size_t index)
{
	return (struct json_ref){ or_missing(yyjson_arr_get(up->val, index)),
				  up, NULL, index };
}

static int required(const struct json_ref *r, struct err *e)
{
	return r->val ? 0 : json_err(r, -EINVAL, e, "is required");
}

int json_opt_str(const struct json_ref *r, const char **ret, struct err *e)
{
	if (!r->val)
		return 0;
	if (!yyjson_is_str(r->val))
		return json_err(r, -EINVAL, e, "must be a string");
	*ret = yyjson_get_str(r->val);
	return 0;
}

int json_opt_quantity(const struct json_ref *r, char *buf, size_t size,
		      struct err *e)
{
	int n;

	if (!r->val)
		n = snprintf(buf, size, "%s", "");
	else if (yyjson_is_str(r->val))
		n = snprintf(buf, size, "%s", yyjson_get_str(r->val));
	else if (yyjson_is_uint(r->val))
		n = snprintf(buf, size, "%" PRIu64, yyjson_get_uint(r->val));
	else if (yyjson_is_num(r->val))
		n = snprintf(buf, size, "%.12g", yyjson_get_num(r->val));
	else
		return json_err(r, -EINVAL, e,
				"must be a quantity such as 500m or 64Mi");
	return n < (int)size ? 0 : json_err(r, -EINVAL, e, "is too long");
}

int json_opt_strdup(const struct json_ref *r, char **slot, struct err *e)
{
	const char *s = NULL;
	int ret = json_opt_str(r, &s, e);

	if (ret < 0 || !s)
		return ret;
	ret = str_set(slot, s);
	return ret < 0 ? err_set(e, ret, "out of memory") : 0;
}

int json_opt_bool(const struct json_ref *r, bool *ret, struct err *e)
{
	if (!r->val)
		return 0;
	if (!yyjson_is_bool(r->val))
		return json_err(r, -EINVAL, e, "must be true or false");
	*ret = yyjson_get_bool(r->val);
	return 0;
}

int json_opt_i64(const struct json_ref *r, int64_t min, int64_t max,
		 int64_t *ret, struct err *e)
{
	int64_t v;

	if (!r->val)
		return 0;
	if (!yyjson_is_int(r->val))
		return json_err(r, -EINVAL, e, "must be a whole number");
	v = yyjson_get_sint(r->val);
	/* yyjson keeps what is not negative as unsigned. */
	if ((yyjson_is_uint(r->val) &&
	     yyjson_get_uint(r->val) > (uint64_t)INT64_MAX) ||
	    v < min || v > max)
		return json_err(r, -EINVAL, e,
				"must be from %" PRId64 " to %" PRId64, min,
				max);
	*ret = v;
	return 0;
}

int json_opt_u64(const struct json_ref *r, uint64_t max, uint64_t *ret,
		 struct err *e)
{
	if (!r->val)
		return 0;
	if (!yyjson_is_int(r->val))
		return json_err(r, -EINVAL, e, "must be a whole number");
	if (!yyjson_is_uint(r->val) || yyjson_get_uint(r->val) > max)
		return json_err(r, -EINVAL, e, "must be from 0 to %" PRIu64,
				max);
	*ret = yyjson_get_uint(r->val);
	return 0;
}

int json_str(const struct json_ref *r, const char **ret, struct err *e)
{
	int code = required(r, e);

	return code < 0 ? code : json_opt_str(r, ret, e);
}

int json_bool(const struct json_ref *r, bool *ret, struct err *e)
{
	int code = required(r, e);

	return code < 0 ? code : json_opt_bool(r, ret, e);
}

int json_i64(const struct json_ref *r, int64_t min, int64_t max, int64_t *ret,
	     struct err *e)
{
	int code = required(r, e);

	return code < 0 ? code : json_opt_i64(r, min, max, ret, e);
}

int json_u64(const struct json_ref *r, uint64_t max, uint64_t *ret,
	     struct err *e)
{
	int code = required(r, e);

	return code < 0 ? code : json_opt_u64(r, max, ret, e);
}

int json_want_object(const struct json_ref *r, struct err *e)
{
	if (r->val && !yyjson_is_obj(r->val))
		return json_err(r, -EINVAL, e, "must be an object");
	return 0;
}

int json_want_array(const struct json_ref *r, size_t max, struct err *e)
{
	if (r->val && !yyjson_is_arr(r->val))
		return json_err(r, -EINVAL, e, "must be an array");
	if (json_len(r) > max)
		return json_err(r, -E2BIG, e, "has %zu items: the limit is %zu",
				json_len(r), max);
	return 0;
}

size_t json_len(const struct json_ref *r)
{
	return yyjson_is_ctn(r->val) ? yyjson_get_len(r->val) : 0;
}

static bool known_key(const char *const *known, const char *key)
{
	for (; *known; known++)
		if (strcmp(*known, key) == 0)
			return true;
	return false;
}

int json_only(const struct json_ref *object, const char *const *known,
	      struct err *e)
{
	int r = json_want_object(object, e);

	if (r < 0)
		return r;
	json_for_each (it, object) {
		const char *near;

		if (known_key(known, it.item.key))
			continue;
		near = str_nearest(it.item.key, known, sizeof(*known));
		return near ? json_err(&it.item, -EINVAL, e,
				       "unknown field (did you mean '%s'?)",
				       near)
			    : json_err(&it.item, -EINVAL, e, "unknown field");
	}
	return 0;
}

struct json_iter json_iter(const struct json_ref *of)
{
	struct json_iter it = { .item = { .up = of }, .nr = json_len(of) };

	if (it.nr)
		it.next = unsafe_yyjson_get_first(of->val);
	it.fields = yyjson_is_obj(of->val);
	return it;
}

bool json_next(struct json_iter *i)
{
	yyjson_val *val = i->next;

	if (i->i >= i->nr)
		return false;
	i->item.index = i->i++;
	if (i->fields) {
		i->item.key = yyjson_get_str(val);
		val++; /* a field's value lies behind its key */
	}
	i->item.val = or_missing(val);
	i->next = unsafe_yyjson_get_next(val);
	return true;
}

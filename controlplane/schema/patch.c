// SPDX-License-Identifier: Apache-2.0
/* JSON patch (RFC 6902), merge patch (RFC 7396), strategic merge patch. */
#include <stdio.h>

#include "controlplane/schema/schema.h"
#include "lib/auto.h"
#include "lib/str.h"

#define PATCH_OPS_MAX 10000

/* --- JSON patch --- */

struct pointer {
	yyjson_mut_val *up; /* what holds the value; NULL: the root */
	char *last;         /* its unescaped key or index */
	yyjson_mut_val *val;
};

static void unescape(char *s)
{
	char *to = s;

	for (; *s; s++, to++) {
		if (s[0] == '~' && (s[1] == '0' || s[1] == '1'))
			*to = *++s == '0' ? '~' : '/';
		else
			*to = *s;
	}
	*to = '\0';
}

static bool array_index(yyjson_mut_val *arr, const char *text, size_t *ret)
{
	uint64_t i;

	if (strcmp(text, "-") == 0) {
		*ret = yyjson_mut_arr_size(arr);
		return true;
	}
	if ((text[0] == '0' && text[1]) || str_to_u64(text, &i) ||
	    i > yyjson_mut_arr_size(arr))
		return false;
	*ret = i;
	return true;
}

static yyjson_mut_val *child_of(yyjson_mut_val *v, const char *key)
{
	size_t i;

	if (yyjson_mut_is_obj(v))
		return yyjson_mut_obj_get(v, key);
	if (yyjson_mut_is_arr(v) && strcmp(key, "-") != 0 &&
	    array_index(v, key, &i))
		return yyjson_mut_arr_get(v, i);
	return NULL;
}

/* Resolve @path, whose text is changed in place. */
static int resolve(yyjson_mut_val *root, char *path, struct pointer *ret)
{
	struct pointer p = { .val = root };
	char *next;

	if (*path == '/')
		for (path++; path; path = next) {
			next = strchr(path, '/');
			if (next)
				*next++ = '\0';
			unescape(path);
			p.up = p.val;
			p.last = path;
			p.val = child_of(p.up, path);
			if (next && !p.val)
				return -ENOENT;
		}
	*ret = p;
	return 0;
}

static int pointer_add(yyjson_mut_doc *doc, struct pointer *p,
		       yyjson_mut_val **root, yyjson_mut_val *val)
{
	size_t i;

	if (!val)
		return -ENOMEM;
	if (!p->up) {
		*root = val;
		return 0;
	}
	if (yyjson_mut_is_obj(p->up))
		return mut_put(doc, p->up, p->last, val);
	if (!yyjson_mut_is_arr(p->up) || !array_index(p->up, p->last, &i))
		return -ENOENT;
	return yyjson_mut_arr_insert(p->up, val, i) ? 0 : -ENOMEM;
}

static int pointer_remove(struct pointer *p)
{
	size_t i;

	if (!p->up || !p->val)
		return -ENOENT;
	if (yyjson_mut_is_obj(p->up)) {
		yyjson_mut_obj_remove_key(p->up, p->last);
		return 0;
	}
	if (!array_index(p->up, p->last, &i))
		return -ENOENT;
	return yyjson_mut_arr_remove(p->up, i) ? 0 : -ENOENT;
}

static int json_op(yyjson_mut_doc *doc, yyjson_mut_val **root, yyjson_val *op,
		   struct err *e)
{
	const char *name = yyjson_get_str(yyjson_obj_get(op, "op"));
	const char *text = yyjson_get_str(yyjson_obj_get(op, "path"));
	const char *from = yyjson_get_str(yyjson_obj_get(op, "from"));
	yyjson_val *value = yyjson_obj_get(op, "value");
	auto_free char *path = text ? strdup(text) : NULL;
	auto_free char *from_path = from ? strdup(from) : NULL;
	struct pointer at, src = { 0 };
	yyjson_mut_val *val;
	int r;

	if (!name || !path || (*path && *path != '/'))
		return err_set(e, -EINVAL,
			       "jsonpatch: each operation needs op and path");
	r = resolve(*root, path, &at);
	if (r == 0 && (strcmp(name, "move") == 0 || strcmp(name, "copy") == 0))
		r = from_path ? resolve(*root, from_path, &src) : -EINVAL;
	if (r < 0)
		goto missing;
	val = src.val ? yyjson_mut_val_mut_copy(doc, src.val)
		      : yyjson_val_mut_copy(doc, value);
	if (strcmp(name, "add") == 0 && value) {
		r = pointer_add(doc, &at, root, val);
	} else if (strcmp(name, "remove") == 0) {
		r = pointer_remove(&at);
	} else if (strcmp(name, "replace") == 0 && value) {
		r = at.val ? 0 : -ENOENT;
		if (r == 0 && at.up)
			r = yyjson_mut_is_arr(at.up) ? pointer_remove(&at) : 0;
		if (r == 0)
			r = pointer_add(doc, &at, root, val);
	} else if (strcmp(name, "copy") == 0) {
		r = src.val ? pointer_add(doc, &at, root, val) : -ENOENT;
	} else if (strcmp(name, "move") == 0) {
		r = pointer_remove(&src);
		if (r == 0) {
			memcpy(path, text, strlen(text) + 1);
			r = resolve(*root, path, &at);
		}
		if (r == 0)
			r = pointer_add(doc, &at, root, val);
	} else if (strcmp(name, "test") == 0) {
		if (!mut_equal(at.val, val) &&
		    !(yyjson_is_null(value) && !at.val))
			return err_set(e, -ERANGE,
				       "the server rejected our request due to "
				       "an error in our request: testing path "
				       "'%s' failed",
				       text);
	} else {
		return err_set(e, -EINVAL, "jsonpatch: unexpected kind: '%s'",
			       name);
	}
	if (r == 0)
		return 0;
missing:
	return err_set(e, -ERANGE,
		       "the server rejected our request due to an error in our "
		       "request: jsonpatch %s operation does not apply: doc is "
		       "missing path: \"%s\"",
		       name, text);
}

yyjson_mut_val *patch_json(yyjson_mut_doc *doc, yyjson_mut_val *target,
			   yyjson_val *patch, struct err *e)
{
	yyjson_arr_iter it;
	yyjson_val *op;

	if (!yyjson_is_arr(patch)) {
		err_set(e, -EINVAL, "a JSON patch is an array of operations");
		return NULL;
	}
	if (yyjson_arr_size(patch) > PATCH_OPS_MAX) {
		err_set(e, -EINVAL,
			"The allowed maximum operations in a JSON patch is %d, "
			"got %zu",
			PATCH_OPS_MAX, yyjson_arr_size(patch));
		return NULL;
	}
	it = yyjson_arr_iter_with(patch);
	while ((op = yyjson_arr_iter_next(&it)))
		if (json_op(doc, &target, op, e))
			return NULL;
	return target;
}

/* --- merge patch --- */

yyjson_mut_val *patch_merge(yyjson_mut_doc *doc, yyjson_mut_val *target,
			    yyjson_mut_val *patch, struct err *e)
{
	yyjson_mut_val *key, *val;
	size_t i, max;

	if (!yyjson_mut_is_obj(patch))
		return yyjson_mut_val_mut_copy(doc, patch);
	if (!yyjson_mut_is_obj(target))
		target = yyjson_mut_obj(doc);
	yyjson_mut_obj_foreach(patch, i, max, key, val)
	{
		const char *name = yyjson_mut_get_str(key);
		yyjson_mut_val *old = yyjson_mut_obj_get(target, name), *made;

		if (yyjson_mut_is_null(val)) {
			yyjson_mut_obj_remove_key(target, name);
			continue;
		}
		made = patch_merge(doc, old, val, e);
		if (!made)
			return NULL;
		if (made != old && mut_put(doc, target, name, made))
			return NULL;
	}
	return target;
}

/* --- strategic merge patch --- */

static bool is_directive(const char *name)
{
	return name[0] == '$';
}

static yyjson_mut_val *merge_value(const struct schema *s, yyjson_mut_doc *doc,
				   yyjson_mut_val *old, yyjson_mut_val *val,
				   struct err *e);

/* The item of @list that has @item's merge key; its index in @ret. */
static yyjson_mut_val *find_item(yyjson_mut_val *list, const char *key,
				 yyjson_mut_val *item, size_t *ret)
{
	yyjson_mut_val *want = yyjson_mut_obj_get(item, key), *v;
	size_t i, max;

	yyjson_mut_arr_foreach(list, i, max, v)
	{
		if (want && mut_equal(yyjson_mut_obj_get(v, key), want)) {
			*ret = i;
			return v;
		}
	}
	return NULL;
}

static bool has_value(yyjson_mut_val *list, yyjson_mut_val *val, size_t *ret)
{
	yyjson_mut_val *v;
	size_t i, max;

	yyjson_mut_arr_foreach(list, i, max, v)
	{
		if (mut_equal(v, val)) {
			*ret = i;
			return true;
		}
	}
	return false;
}

static int merge_scalars(yyjson_mut_doc *doc, yyjson_mut_val *list,
			 yyjson_mut_val *patch)
{
	yyjson_mut_val *v;
	size_t i, max, at;

	yyjson_mut_arr_foreach(patch, i, max, v)
	{
		yyjson_mut_val *copy;

		if (has_value(list, v, &at))
			continue;
		copy = yyjson_mut_val_mut_copy(doc, v);
		if (!copy || !yyjson_mut_arr_append(list, copy))
			return -ENOMEM;
	}
	return 0;
}

/* A list whose patch holds {"$patch": "replace"}: the other items are it. */
static bool replaces(yyjson_mut_val *patch)
{
	yyjson_mut_val *v;
	size_t i, max;

	yyjson_mut_arr_foreach(patch, i, max, v) if (
		str_eq(yyjson_mut_get_str(yyjson_mut_obj_get(v, "$patch")),
		       "replace")) return true;
	return false;
}

static yyjson_mut_val *without_directives(yyjson_mut_doc *doc,
					  yyjson_mut_val *patch)
{
	yyjson_mut_val *out = yyjson_mut_arr(doc), *v;
	size_t i, max;

	yyjson_mut_arr_foreach(patch, i, max, v)
	{
		if (yyjson_mut_obj_get(v, "$patch"))
			continue;
		if (!yyjson_mut_arr_append(out,
					   yyjson_mut_val_mut_copy(doc, v)))
			return NULL;
	}
	return out;
}

static yyjson_mut_val *merge_list(const struct schema *s, yyjson_mut_doc *doc,
				  yyjson_mut_val *list, yyjson_mut_val *patch,
				  struct err *e)
{
	yyjson_mut_val *v;
	size_t i, max, at;

	if (!s->patch_merge)
		return yyjson_mut_val_mut_copy(doc, patch);
	if (replaces(patch))
		return without_directives(doc, patch);
	if (!yyjson_mut_is_arr(list))
		list = yyjson_mut_arr(doc);
	if (!s->patch_key)
		return merge_scalars(doc, list, patch) ? NULL : list;
	yyjson_mut_arr_foreach(patch, i, max, v)
	{
		const char *how = mut_str(v, "$patch");
		yyjson_mut_val *old, *made;

		if (!yyjson_mut_obj_get(v, s->patch_key)) {
			err_set(e, -EINVAL,
				"map: %s does not contain declared merge key: "
				"%s",
				"an item of the patch", s->patch_key);
			return NULL;
		}
		old = find_item(list, s->patch_key, v, &at);
		if (str_eq(how, "delete")) {
			while ((old = find_item(list, s->patch_key, v, &at)))
				yyjson_mut_arr_remove(list, at);
			continue;
		}
		made = merge_value(s->items, doc, old, v, e);
		if (!made)
			return NULL;
		if (old && made != old)
			yyjson_mut_arr_replace(list, at, made);
		else if (!old && !yyjson_mut_arr_append(list, made))
			return NULL;
	}
	return list;
}

/* "$setElementOrder/x": items named there come in that order; items only the
 * server has keep their place relative to their neighbours before them. */
static yyjson_mut_val *reorder(yyjson_mut_doc *doc, yyjson_mut_val *list,
			       yyjson_mut_val *order, const char *key)
{
	yyjson_mut_val *out = yyjson_mut_arr(doc), *v, *item;
	size_t i, max, at;

	if (!yyjson_mut_is_arr(list) || !out)
		return list;
	/* What is not named and comes first stays first. */
	while ((item = yyjson_mut_arr_get_first(list))) {
		bool named = key ? find_item(order, key, item, &at) != NULL
				 : has_value(order, item, &at);
		if (named)
			break;
		yyjson_mut_arr_append(out, yyjson_mut_arr_remove_first(list));
	}
	yyjson_mut_arr_foreach(order, i, max, v)
	{
		bool found = key ? find_item(list, key, v, &at) != NULL
				 : has_value(list, v, &at);

		if (!found)
			continue;
		yyjson_mut_arr_append(out, yyjson_mut_arr_remove(list, at));
		/* Those behind it that are not named follow it. */
		while ((item = yyjson_mut_arr_get(list, at))) {
			size_t x;
			bool named =
				key ? find_item(order, key, item, &x) != NULL
				    : has_value(order, item, &x);
			if (named)
				break;
			yyjson_mut_arr_append(out,
					      yyjson_mut_arr_remove(list, at));
		}
	}
	while (yyjson_mut_arr_size(list))
		yyjson_mut_arr_append(out, yyjson_mut_arr_remove_first(list));
	return out;
}

static void delete_scalars(yyjson_mut_val *list, yyjson_mut_val *gone)
{
	yyjson_mut_val *v;
	size_t i, max, at;

	yyjson_mut_arr_foreach(gone, i, max, v) while (has_value(list, v, &at))
		yyjson_mut_arr_remove(list, at);
}

static int directives(const struct schema *s, yyjson_mut_doc *doc,
		      yyjson_mut_val *target, yyjson_mut_val *patch, bool late)
{
	yyjson_mut_val *key, *val;
	size_t i, max;

	yyjson_mut_obj_foreach(patch, i, max, key, val)
	{
		const char *name = yyjson_mut_get_str(key);
		const struct schema_field *f;
		yyjson_mut_val *list, *made;
		const char *field = strchr(name, '/');

		if (!is_directive(name) || !field)
			continue;
		field++;
		list = yyjson_mut_obj_get(target, field);
		if (!list)
			continue;
		f = s ? schema_field(s, field) : NULL;
		if (!late && str_starts(name, "$deleteFromPrimitiveList/")) {
			delete_scalars(list, val);
		} else if (late && str_starts(name, "$setElementOrder/")) {
			made = reorder(doc, list, val,
				       f ? f->schema->patch_key : NULL);
			if (!made ||
			    (made != list && mut_put(doc, target, field, made)))
				return -ENOMEM;
		}
	}
	return 0;
}

static void retain_keys(yyjson_mut_val *target, yyjson_mut_val *keep)
{
	yyjson_mut_obj_iter it = yyjson_mut_obj_iter_with(target);
	yyjson_mut_val *key;
	size_t at;

	while ((key = yyjson_mut_obj_iter_next(&it)))
		if (!has_value(keep, key, &at))
			yyjson_mut_obj_iter_remove(&it);
}

yyjson_mut_val *patch_strategic(const struct schema *s, yyjson_mut_doc *doc,
				yyjson_mut_val *target, yyjson_mut_val *patch,
				struct err *e)
{
	const char *how = mut_str(patch, "$patch");
	yyjson_mut_val *keep = yyjson_mut_obj_get(patch, "$retainKeys");
	yyjson_mut_val *key, *val;
	size_t i, max;

	if (!yyjson_mut_is_obj(patch)) {
		err_set(e, -EINVAL, "a strategic merge patch is an object");
		return NULL;
	}
	if (!yyjson_mut_is_obj(target) || str_eq(how, "replace") ||
	    str_eq(how, "delete"))
		target = yyjson_mut_obj(doc);
	if (str_eq(how, "delete"))
		return target;
	if (keep)
		retain_keys(target, keep);
	if (directives(s, doc, target, patch, false))
		return NULL;
	yyjson_mut_obj_foreach(patch, i, max, key, val)
	{
		const char *name = yyjson_mut_get_str(key);
		const struct schema_field *f = s ? schema_field(s, name) : NULL;
		const struct schema *sub = f   ? f->schema
					   : s ? s->additional
					       : NULL;
		yyjson_mut_val *old = yyjson_mut_obj_get(target, name), *made;

		if (is_directive(name))
			continue;
		if (yyjson_mut_is_null(val)) {
			yyjson_mut_obj_remove_key(target, name);
			continue;
		}
		made = merge_value(sub, doc, old, val, e);
		if (!made)
			return NULL;
		if (made != old && mut_put(doc, target, name, made))
			return NULL;
	}
	return directives(s, doc, target, patch, true) ? NULL : target;
}

static yyjson_mut_val *merge_value(const struct schema *s, yyjson_mut_doc *doc,
				   yyjson_mut_val *old, yyjson_mut_val *val,
				   struct err *e)
{
	if (yyjson_mut_is_obj(val))
		return patch_strategic(s, doc, old, val, e);
	if (yyjson_mut_is_arr(val) && s)
		return merge_list(s, doc, old, val, e);
	return yyjson_mut_val_mut_copy(doc, val);
}

// SPDX-License-Identifier: Apache-2.0
/* Values: what JSON becomes, what lists and maps hold, and back to JSON. */
#include <math.h>

#include "lib/base64.h"
#include "lib/cel/fn.h"

/* --- from JSON --- */

/* A string of which the shape says what it means. */
static int of_text(struct run *r, yyjson_mut_val *v, enum cel_kind kind,
		   struct cel_value *ret)
{
	const char *s = yyjson_mut_get_str(v);
	size_t len = yyjson_mut_get_len(v);
	auto_buf struct buf bytes = BUF_INIT;

	*ret = value_text(s, len);
	if (kind == CEL_TIMESTAMP &&
	    cel_time_parse(s, len, &ret->time.s, &ret->time.ns)) {
		ret->kind = CEL_TIMESTAMP;
	} else if (kind == CEL_DURATION) {
		int64_t ns;

		if (!cel_duration_parse(s, len, &ns))
			return run_fail(r, "invalid duration '%.40s'", s);
		ret->kind = CEL_DURATION;
		ret->i = ns;
	} else if (kind == CEL_TIMESTAMP) {
		return run_fail(r, "invalid date-time '%.40s'", s);
	} else if (kind == CEL_BYTES) {
		if (base64_get(s, len, &bytes) < 0)
			return run_fail(r, "invalid base64");
		if (value_copy_text(r, buf_str(&bytes), bytes.len, ret))
			return run_full(r);
		ret->kind = CEL_BYTES;
	}
	return 0;
}

int value_of_json(struct run *r, yyjson_mut_val *v, const void *shape,
		  struct cel_value *ret)
{
	enum cel_kind kind = shape ? r->cel->env->shapes->kind(shape) : CEL_DYN;

	memset(ret, 0, sizeof(*ret));
	ret->kind = CEL_NULL;
	switch (yyjson_mut_get_type(v)) {
	case YYJSON_TYPE_BOOL:
		*ret = value_bool(yyjson_mut_get_bool(v));
		return 0;
	case YYJSON_TYPE_NUM:
		if (yyjson_mut_is_real(v) && kind == CEL_INT)
			*ret = value_int((int64_t)yyjson_mut_get_real(v));
		else if (yyjson_mut_is_real(v) || kind == CEL_DOUBLE)
			*ret = value_double(yyjson_mut_get_num(v));
		else if (yyjson_mut_is_uint(v) &&
			 yyjson_mut_get_uint(v) > INT64_MAX)
			*ret = value_double(yyjson_mut_get_num(v));
		else
			*ret = value_int(yyjson_mut_get_sint(v));
		return 0;
	case YYJSON_TYPE_STR:
		return of_text(r, v, kind, ret);
	case YYJSON_TYPE_ARR:
	case YYJSON_TYPE_OBJ:
		ret->kind = yyjson_mut_is_arr(v) ? CEL_LIST : CEL_MAP;
		ret->json = true;
		ret->in.v = v;
		ret->in.shape = shape;
		return 0;
	default:
		return 0;
	}
}

/* --- to JSON --- */

static yyjson_mut_val *seq_to_json(struct run *r, const struct cel_value *v,
				   yyjson_mut_doc *doc, int depth)
{
	yyjson_mut_val *out =
		v->kind == CEL_LIST ? yyjson_mut_arr(doc) : yyjson_mut_obj(doc);
	struct walk w;
	int more;

	walk_init(&w, v);
	while (out && (more = walk_next(r, &w)) > 0) {
		yyjson_mut_val *item =
			value_to_json(r, &w.value, doc, depth + 1);

		if (!item)
			return NULL;
		if (v->kind == CEL_LIST) {
			yyjson_mut_arr_append(out, item);
			continue;
		}
		if (w.key.kind != CEL_STRING) {
			run_fail(r, "a map with keys that are no strings");
			return NULL;
		}
		yyjson_mut_obj_add(out,
				   yyjson_mut_strncpy(doc, w.key.text.s,
						      w.key.text.len),
				   item);
	}
	return out && more == 0 ? out : NULL;
}

static yyjson_mut_val *buf_to_json(yyjson_mut_doc *doc, struct buf *b)
{
	yyjson_mut_val *v = yyjson_mut_strncpy(doc, buf_str(b), b->len);

	buf_clear(b);
	return v;
}

yyjson_mut_val *value_to_json(struct run *r, const struct cel_value *v,
			      yyjson_mut_doc *doc, int depth)
{
	struct buf b = BUF_INIT;

	if (depth > CEL_DEPTH_MAX || run_spend(r, 1))
		return NULL;
	switch ((enum cel_kind)v->kind) {
	case CEL_NULL:
		return yyjson_mut_null(doc);
	case CEL_BOOL:
		return yyjson_mut_bool(doc, v->b);
	case CEL_INT:
		return yyjson_mut_sint(doc, v->i);
	case CEL_UINT:
		return yyjson_mut_uint(doc, v->u);
	case CEL_DOUBLE:
		if (isfinite(v->d))
			return yyjson_mut_real(doc, v->d);
		break;
	case CEL_STRING:
		return yyjson_mut_strncpy(doc, v->text.s, v->text.len);
	case CEL_LIST:
	case CEL_MAP:
		if (v->json)
			return yyjson_mut_val_mut_copy(doc, v->in.v);
		return seq_to_json(r, v, doc, depth);
	case CEL_TIMESTAMP:
		cel_time_format(v->time.s, v->time.ns, &b);
		return buf_to_json(doc, &b);
	case CEL_DURATION:
		cel_duration_format(v->i, &b);
		return buf_to_json(doc, &b);
	case CEL_OPTIONAL:
		return v->opt ? value_to_json(r, v->opt, doc, depth + 1)
			      : yyjson_mut_null(doc);
	default:
		break;
	}
	run_fail(r, "a value of type %s cannot be written as JSON",
		 cel_kind_name(v->kind));
	return NULL;
}

/* --- what is in lists and maps --- */

size_t value_size(const struct cel_value *v)
{
	if (!v->json)
		return v->kind == CEL_MAP ? v->seq.nr / 2 : v->seq.nr;
	return v->kind == CEL_MAP ? yyjson_mut_obj_size(v->in.v)
				  : yyjson_mut_arr_size(v->in.v);
}

static const void *item_shape(struct run *r, const struct cel_value *v)
{
	const struct cel_shapes *shapes = r->cel->env->shapes;
	enum cel_kind kind;

	if (!v->in.shape)
		return NULL;
	kind = shapes->kind(v->in.shape);
	return kind == CEL_LIST || kind == CEL_MAP ? shapes->item(v->in.shape)
						   : NULL;
}

int value_item(struct run *r, const struct cel_value *v, size_t i,
	       struct cel_value *ret)
{
	if (v->json) {
		/* yyjson walks there. */
		if (run_spend(r, i / 16))
			return -E2BIG;
		return value_of_json(r, yyjson_mut_arr_get(v->in.v, i),
				     item_shape(r, v), ret);
	}
	*ret = v->seq.v[i];
	return 0;
}

void walk_init(struct walk *w, const struct cel_value *v)
{
	memset(w, 0, sizeof(*w));
	w->of = v;
	if (v->json && v->kind == CEL_LIST)
		w->arr = yyjson_mut_arr_iter_with(v->in.v);
	else if (v->json)
		w->obj = yyjson_mut_obj_iter_with(v->in.v);
}

static const void *field_shape(struct run *r, const struct cel_value *map,
			       const char *name)
{
	const struct cel_shapes *shapes = r->cel->env->shapes;
	const void *shape = NULL;

	if (!map->in.shape)
		return NULL;
	if (shapes->kind(map->in.shape) != CEL_OBJECT)
		return item_shape(r, map);
	return shapes->field(map->in.shape, name, &shape) ? shape : NULL;
}

int walk_next(struct run *r, struct walk *w)
{
	const struct cel_value *v = w->of;
	yyjson_mut_val *key;
	int e = run_spend(r, 1);

	if (e < 0)
		return e;
	if (w->i >= value_size(v))
		return 0;
	if (v->kind == CEL_LIST) {
		w->key = value_int(w->i);
		e = v->json ? value_of_json(r,
					    yyjson_mut_arr_iter_next(&w->arr),
					    item_shape(r, v), &w->value)
			    : value_item(r, v, w->i, &w->value);
	} else if (v->json) {
		key = yyjson_mut_obj_iter_next(&w->obj);
		w->key = value_text(yyjson_mut_get_str(key),
				    yyjson_mut_get_len(key));
		e = value_of_json(r, yyjson_mut_obj_iter_get_val(key),
				  field_shape(r, v, yyjson_mut_get_str(key)),
				  &w->value);
	} else {
		w->key = v->seq.v[2 * w->i];
		w->value = v->seq.v[2 * w->i + 1];
	}
	w->i++;
	return e < 0 ? e : 1;
}

int value_field(struct run *r, const struct cel_value *map, const char *name,
		struct cel_value *ret)
{
	struct cel_value key = value_text(name, strlen(name));

	return value_find(r, map, &key, ret);
}

int value_find(struct run *r, const struct cel_value *map,
	       const struct cel_value *key, struct cel_value *ret)
{
	size_t nr = value_size(map);
	yyjson_mut_val *v;
	int e;

	e = run_spend(r, 1 + nr / 8);
	if (e < 0)
		return e;
	if (map->json) {
		v = key->kind == CEL_STRING
			    ? yyjson_mut_obj_getn(map->in.v, key->text.s,
						  key->text.len)
			    : NULL;
		if (!v)
			return 0;
		e = value_of_json(r, v, field_shape(r, map, key->text.s), ret);
		return e < 0 ? e : 1;
	}
	for (size_t i = 0; i < nr; i++) {
		e = value_equal(r, &map->seq.v[2 * i], key);
		if (e == 1)
			*ret = map->seq.v[2 * i + 1];
		if (e)
			return e;
	}
	return 0;
}

int value_copy_text(struct run *r, const char *s, size_t len,
		    struct cel_value *ret)
{
	char *copy = run_get(r, len + 1);

	if (!copy)
		return run_full(r);
	if (len)
		memcpy(copy, s, len);
	*ret = value_text(copy, len);
	return run_spend(r, len / 16);
}

int value_new_list(struct run *r, size_t nr, struct cel_value *ret)
{
	*ret = (struct cel_value){ .kind = CEL_LIST };
	ret->seq.nr = nr;
	ret->seq.v = run_get(r, nr * sizeof(struct cel_value));
	return ret->seq.v ? 0 : run_full(r);
}

bool value_is_zero(const struct cel_value *v)
{
	switch ((enum cel_kind)v->kind) {
	case CEL_NULL:
		return true;
	case CEL_BOOL:
		return !v->b;
	case CEL_INT:
	case CEL_UINT:
	case CEL_DURATION:
		return v->i == 0;
	case CEL_DOUBLE:
		return v->d == 0;
	case CEL_STRING:
	case CEL_BYTES:
		return v->text.len == 0;
	case CEL_LIST:
	case CEL_MAP:
		return value_size(v) == 0;
	case CEL_OPTIONAL:
		return !v->opt;
	default:
		return false;
	}
}

// SPDX-License-Identifier: Apache-2.0
/* Prune, default, validate: one walk each over value and schema. */
#include <regex.h>
#include <stdio.h>

#include "controlplane/schema/schema.h"
#include "lib/auto.h"
#include "lib/json.h"
#include "lib/quantity.h"
#include "lib/str.h"

struct pruner {
	void (*unknown)(void *arg, const char *path);
	void *arg;
	struct path path;
	int depth;
};

static int prune(const struct schema *s, yyjson_mut_val *v, struct pruner *p);

static bool is_envelope(const char *key)
{
	return strcmp(key, "apiVersion") == 0 || strcmp(key, "kind") == 0 ||
	       strcmp(key, "metadata") == 0;
}

static int prune_object(const struct schema *s, yyjson_mut_val *v,
			struct pruner *p)
{
	yyjson_mut_obj_iter it = yyjson_mut_obj_iter_with(v);
	yyjson_mut_val *key;
	int r = 0;

	while (r == 0 && (key = yyjson_mut_obj_iter_next(&it))) {
		const char *name = yyjson_mut_get_str(key);
		const struct schema_field *f = schema_field(s, name);
		const struct schema *sub = f ? f->schema : s->additional;
		size_t at = path_field(&p->path, name);

		if (sub) {
			r = prune(sub, yyjson_mut_obj_iter_get_val(key), p);
		} else if (!s->preserve_unknown &&
			   !(s->embedded && is_envelope(name))) {
			if (p->unknown)
				p->unknown(p->arg, p->path.text);
			yyjson_mut_obj_iter_remove(&it);
		}
		path_cut(&p->path, at);
	}
	return r;
}

static int prune(const struct schema *s, yyjson_mut_val *v, struct pruner *p)
{
	int r = 0;

	if (++p->depth > SCHEMA_DEPTH_MAX)
		return -E2BIG;
	if (s->type == SCHEMA_OBJECT && yyjson_mut_is_obj(v)) {
		r = prune_object(s, v, p);
	} else if (s->type == SCHEMA_ARRAY && s->items &&
		   yyjson_mut_is_arr(v)) {
		yyjson_mut_val *item;
		size_t i, max;

		yyjson_mut_arr_foreach(v, i, max, item)
		{
			size_t at = path_index(&p->path, i);

			r = prune(s->items, item, p);
			path_cut(&p->path, at);
			if (r < 0)
				break;
		}
	}
	p->depth--;
	return r;
}

int schema_prune(const struct schema *s, yyjson_mut_val *v,
		 void (*unknown)(void *arg, const char *path), void *arg)
{
	struct pruner p = { .unknown = unknown, .arg = arg };

	return prune(s, v, &p);
}

/* --- defaults --- */

static int default_fields(const struct schema *s, yyjson_mut_doc *doc,
			  yyjson_mut_val *v)
{
	for (size_t i = 0; i < s->nr_fields; i++) {
		const struct schema_field *f = &s->fields[i];
		yyjson_mut_val *val = yyjson_mut_obj_get(v, f->name);

		/* A null that may not be null counts as not given. */
		if (yyjson_mut_is_null(val) && !f->schema->nullable) {
			yyjson_mut_obj_remove_key(v, f->name);
			val = NULL;
		}
		if (!val && f->schema->def) {
			val = yyjson_val_mut_copy(doc, f->schema->def);
			if (!val ||
			    !yyjson_mut_obj_add_val(doc, v, f->name, val))
				return -ENOMEM;
		}
		if (val && schema_default(f->schema, doc, val))
			return -ENOMEM;
	}
	return 0;
}

/* Quantities may be written as numbers; they are stored as text. */
static int default_quantity(yyjson_mut_doc *doc, yyjson_mut_val *v)
{
	auto_buf struct buf b = BUF_INIT;
	const char *text;

	if (!yyjson_mut_is_num(v))
		return 0;
	json_write_mut(v, false, &b);
	if (str_ends(buf_str(&b), ".0"))
		b.data[b.len - 2] = '\0';
	if (yyjson_mut_is_real(v)) {
		char out[QUANTITY_TEXT_SIZE];
		uint64_t milli;

		if (quantity_parse_cpu(buf_str(&b), &milli, NULL) == 0) {
			buf_reset(&b);
			buf_puts(&b, quantity_format_cpu(milli, out));
		}
	}
	text = yyjson_mut_get_str(yyjson_mut_strcpy(doc, buf_str(&b)));
	if (!text)
		return -ENOMEM;
	yyjson_mut_set_str(v, text);
	return 0;
}

int schema_default(const struct schema *s, yyjson_mut_doc *doc,
		   yyjson_mut_val *v)
{
	if (s->type == SCHEMA_QUANTITY)
		return default_quantity(doc, v);
	if (s->type == SCHEMA_ARRAY && s->items && yyjson_mut_is_arr(v)) {
		yyjson_mut_val *item;
		size_t i, max;

		yyjson_mut_arr_foreach(v, i, max, item) if (
			schema_default(s->items, doc, item)) return -ENOMEM;
	}
	if (s->type != SCHEMA_OBJECT || !yyjson_mut_is_obj(v))
		return 0;
	if (s->additional) {
		yyjson_mut_val *key, *val;
		size_t i, max;

		yyjson_mut_obj_foreach(v, i, max, key, val) if (
			schema_default(s->additional, doc, val)) return -ENOMEM;
	}
	return default_fields(s, doc, v);
}

/* --- validation --- */

static void wrong_type(struct field_errors *errs, const struct path *at,
		       yyjson_mut_val *v, const char *want)
{
	const char *got = yyjson_mut_is_obj(v)    ? "object"
			  : yyjson_mut_is_arr(v)  ? "array"
			  : yyjson_mut_is_str(v)  ? "string"
			  : yyjson_mut_is_bool(v) ? "boolean"
			  : yyjson_mut_is_null(v) ? "null"
			  : yyjson_mut_is_int(v)  ? "integer"
						  : "number";
	char value[16];

	snprintf(value, sizeof(value), "\"%s\"", got);
	field_error_add(errs, FIELD_TYPE, at->text, NULL,
			"%s: %s in body must be of type %s: %s", value,
			at->text, want, value);
}

static void check_enum(const struct schema *s, yyjson_mut_val *v,
		       const struct path *at, struct field_errors *errs)
{
	auto_buf struct buf b = BUF_INIT;
	yyjson_arr_iter it = yyjson_arr_iter_with(s->allowed);
	yyjson_val *a;

	while ((a = yyjson_arr_iter_next(&it))) {
		if (yyjson_is_str(a) &&
		    str_eq(yyjson_get_str(a), yyjson_mut_get_str(v)))
			return;
		buf_printf(&b, "%s\"%s\"", b.len ? ", " : "",
			   yyjson_get_str(a));
	}
	field_error_add(errs, FIELD_NOT_SUPPORTED, at->text, v,
			"supported values: %s", buf_str(&b));
}

static bool matches(const char *pattern, const char *text)
{
	bool ok;
	regex_t re;

	if (regcomp(&re, pattern, REG_EXTENDED | REG_NOSUB))
		return true; /* refused when the schema was accepted */
	ok = regexec(&re, text, 0, NULL, 0) == 0;
	regfree(&re);
	return ok;
}

static void check_string(const struct schema *s, yyjson_mut_val *v,
			 const struct path *at, struct field_errors *errs)
{
	const char *text = yyjson_mut_get_str(v);
	int64_t len = yyjson_mut_get_len(v);

	if (s->allowed)
		check_enum(s, v, at, errs);
	if (s->max_len >= 0 && len > s->max_len)
		field_error_add(errs, FIELD_TOO_LONG, at->text, v,
				"may not be more than %lld bytes",
				(long long)s->max_len);
	if (s->min_len >= 0 && len < s->min_len)
		field_error_add(errs, FIELD_INVALID, at->text, v,
				"%s in body should be at least %lld chars long",
				at->text, (long long)s->min_len);
	if (s->pattern && !matches(s->pattern, text))
		field_error_add(errs, FIELD_INVALID, at->text, v,
				"%s in body should match '%s'", at->text,
				s->pattern);
}

static void check_number(const struct schema *s, yyjson_mut_val *v,
			 const struct path *at, struct field_errors *errs)
{
	double n = yyjson_mut_get_num(v);

	if (s->has_min && (s->exclusive_min ? n <= s->min : n < s->min))
		field_error_add(errs, FIELD_INVALID, at->text, v,
				"must be greater than %s%.15g",
				s->exclusive_min ? "" : "or equal to ", s->min);
	if (s->has_max && (s->exclusive_max ? n >= s->max : n > s->max))
		field_error_add(errs, FIELD_INVALID, at->text, v,
				"must be less than %s%.15g",
				s->exclusive_max ? "" : "or equal to ", s->max);
}

static void check_quantity(yyjson_mut_val *v, const struct path *at,
			   struct field_errors *errs)
{
	const char *text = yyjson_mut_get_str(v);
	uint64_t out;

	if (!text) {
		wrong_type(errs, at, v, "string");
		return;
	}
	if (*text == '-' || *text == '+')
		text++;
	if (quantity_parse_mem(text, &out, NULL) == -EINVAL)
		field_error_add(
			errs, FIELD_INVALID, at->text, v,
			"quantities must match the regular expression "
			"'^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'");
}

static bool same_key(const struct schema *s, yyjson_mut_val *a,
		     yyjson_mut_val *b)
{
	if (s->list == LIST_SET)
		return mut_equal(a, b);
	for (const char **k = s->keys; k && *k; k++)
		if (!mut_equal(yyjson_mut_obj_get(a, *k),
			       yyjson_mut_obj_get(b, *k)))
			return false;
	return s->keys != NULL;
}

static void check_duplicates(const struct schema *s, yyjson_mut_val *v,
			     struct path *at, struct field_errors *errs)
{
	yyjson_mut_val *a, *b;
	size_t i, max, j, max2;

	yyjson_mut_arr_foreach(v, i, max, a)
	{
		yyjson_mut_arr_foreach(v, j, max2, b)
		{
			size_t cut;

			if (j >= i)
				break;
			if (!same_key(s, a, b))
				continue;
			cut = path_index(at, i);
			if (s->keys && !s->keys[1]) {
				path_field(at, s->keys[0]);
				a = yyjson_mut_obj_get(a, s->keys[0]);
			}
			field_error_add(errs, FIELD_DUPLICATE, at->text, a,
					"%s", "");
			path_cut(at, cut);
			return;
		}
	}
}

static void check_array(const struct schema *s, yyjson_mut_val *v,
			struct path *at, struct field_errors *errs)
{
	int64_t nr = yyjson_mut_arr_size(v);
	yyjson_mut_val *item;
	size_t i, max;

	if (s->min_items >= 0 && nr < s->min_items)
		field_error_add(errs,
				s->min_items == 1 ? FIELD_REQUIRED
						  : FIELD_INVALID,
				at->text, v,
				"%s in body should have at least %lld items",
				at->text, (long long)s->min_items);
	if (s->max_items >= 0 && nr > s->max_items)
		field_error_add(errs, FIELD_TOO_MANY, at->text, v,
				"%lld: must have at most %lld items",
				(long long)nr, (long long)s->max_items);
	if (s->list != LIST_ATOMIC)
		check_duplicates(s, v, at, errs);
	yyjson_mut_arr_foreach(v, i, max, item)
	{
		size_t cut = path_index(at, i);

		if (s->items)
			schema_validate(s->items, item, at, errs);
		path_cut(at, cut);
	}
}

static void check_object(const struct schema *s, yyjson_mut_val *v,
			 struct path *at, struct field_errors *errs)
{
	yyjson_mut_val *key, *val;
	size_t i, max;

	for (i = 0; i < s->nr_fields; i++) {
		const struct schema_field *f = &s->fields[i];
		size_t cut;

		val = yyjson_mut_obj_get(v, f->name);
		if (!val && !f->required)
			continue;
		cut = path_field(at, f->name);
		if (!val || (f->required && yyjson_mut_is_str(val) &&
			     yyjson_mut_get_len(val) == 0))
			field_error_add(errs, FIELD_REQUIRED, at->text, NULL,
					"%s", "");
		else
			schema_validate(f->schema, val, at, errs);
		path_cut(at, cut);
	}
	if (!s->additional)
		return;
	yyjson_mut_obj_foreach(v, i, max, key, val)
	{
		size_t cut;

		if (s->nr_fields && schema_field(s, yyjson_mut_get_str(key)))
			continue;
		cut = path_field(at, yyjson_mut_get_str(key));
		schema_validate(s->additional, val, at, errs);
		path_cut(at, cut);
	}
}

void schema_validate(const struct schema *s, yyjson_mut_val *v, struct path *at,
		     struct field_errors *errs)
{
	if (s->nullable && yyjson_mut_is_null(v))
		return;
	switch (s->type) {
	case SCHEMA_ANY:
		return;
	case SCHEMA_OBJECT:
		if (yyjson_mut_is_obj(v))
			check_object(s, v, at, errs);
		else
			wrong_type(errs, at, v, "object");
		return;
	case SCHEMA_ARRAY:
		if (yyjson_mut_is_arr(v))
			check_array(s, v, at, errs);
		else
			wrong_type(errs, at, v, "array");
		return;
	case SCHEMA_STRING:
		if (yyjson_mut_is_str(v))
			check_string(s, v, at, errs);
		else
			wrong_type(errs, at, v, "string");
		return;
	case SCHEMA_INTEGER:
		if (yyjson_mut_is_int(v))
			check_number(s, v, at, errs);
		else
			wrong_type(errs, at, v, "integer");
		return;
	case SCHEMA_NUMBER:
		if (yyjson_mut_is_num(v))
			check_number(s, v, at, errs);
		else
			wrong_type(errs, at, v, "number");
		return;
	case SCHEMA_BOOLEAN:
		if (!yyjson_mut_is_bool(v))
			wrong_type(errs, at, v, "boolean");
		return;
	case SCHEMA_INT_OR_STRING:
		if (!yyjson_mut_is_int(v) && !yyjson_mut_is_str(v))
			wrong_type(errs, at, v, "integer or string");
		return;
	case SCHEMA_QUANTITY:
		check_quantity(v, at, errs);
		return;
	}
}

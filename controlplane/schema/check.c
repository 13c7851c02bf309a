// SPDX-License-Identifier: Apache-2.0
/* Prune, default, validate: one walk each over value and schema. */
#include <stdio.h>

#include "controlplane/schema/schema.h"
#include "lib/auto.h"
#include "lib/json.h"
#include "lib/map.h"
#include "lib/quantity.h"
#include "lib/re.h"
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
		const char *name = unsafe_yyjson_get_str(key);
		size_t len = unsafe_yyjson_get_len(key);
		const struct schema_field *f = schema_field_n(s, name, len);
		const struct schema *sub = f ? f->schema : s->additional;
		size_t at = path_field_n(&p->path, name, len);

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

#define FIELDS_ON_STACK 128

/* What @v has of the fields of @s, by their places there: one look at each
 * key of the object, instead of one at each field of the schema. */
struct members {
	yyjson_mut_val *val[FIELDS_ON_STACK];
	yyjson_mut_val *obj; /* there are more: look there */
};

static void members_of(const struct schema *s, yyjson_mut_val *v,
		       struct members *m)
{
	yyjson_mut_val *key, *val;
	size_t i, max;

	m->obj = s->nr_fields > FIELDS_ON_STACK ? v : NULL;
	if (m->obj)
		return;
	memset(m->val, 0, s->nr_fields * sizeof(*m->val));
	yyjson_mut_obj_foreach(v, i, max, key, val)
	{
		const struct schema_field *f =
			schema_field_n(s, unsafe_yyjson_get_str(key),
				       unsafe_yyjson_get_len(key));

		/* The first of a name is the one that counts. */
		if (f && !m->val[f - s->fields])
			m->val[f - s->fields] = val;
	}
}

static yyjson_mut_val *member(const struct schema *s, const struct members *m,
			      size_t i)
{
	return m->obj ? yyjson_mut_obj_get(m->obj, s->fields[i].name)
		      : m->val[i];
}

static int default_fields(const struct schema *s, yyjson_mut_doc *doc,
			  yyjson_mut_val *v)
{
	struct members m;

	if (!s->nr_fields)
		return 0;
	members_of(s, v, &m);
	for (size_t i = 0; i < s->nr_fields; i++) {
		const struct schema_field *f = &s->fields[i];
		yyjson_mut_val *val = member(s, &m, i);

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

/* Whether an item of an enum is @v: of the same type and value. */
static bool json_same(yyjson_val *a, yyjson_mut_val *v)
{
	auto_buf struct buf x = BUF_INIT, y = BUF_INIT;

	if (yyjson_is_num(a) && yyjson_mut_is_num(v))
		return yyjson_get_num(a) == yyjson_mut_get_num(v);
	if (json_write(a, false, &x) || json_write_mut(v, false, &y))
		return false;
	return x.len == y.len && memcmp(x.data, y.data, x.len) == 0;
}

/* Whether @n is a whole number, but for what doubles cannot tell. */
static bool is_whole(double n)
{
	double off;

	if (n < 0)
		n = -n;
	if (n >= 9007199254740992.0) /* 2^53: they all are */
		return true;
	off = n - (double)(int64_t)(n + 0.5);
	return off < 1e-9 && off > -1e-9;
}

/* A whole number is an integer, however it is written. */
static bool is_integer(const struct schema *s, yyjson_mut_val *v)
{
	double n = yyjson_mut_get_num(v);

	return yyjson_mut_is_int(v) ||
	       (s->custom && yyjson_mut_is_real(v) && n > -1e15 && n < 1e15 &&
		n == (double)(int64_t)n);
}

static void check_enum(const struct schema *s, yyjson_mut_val *v,
		       const struct path *at, struct field_errors *errs)
{
	auto_buf struct buf b = BUF_INIT;
	yyjson_arr_iter it = yyjson_arr_iter_with(s->allowed);
	yyjson_val *a;

	while ((a = yyjson_arr_iter_next(&it))) {
		if (yyjson_is_str(a)
			    ? str_eq(yyjson_get_str(a), yyjson_mut_get_str(v))
			    : json_same(a, v))
			return;
		if (b.len)
			buf_puts(&b, ", ");
		if (yyjson_is_str(a))
			buf_printf(&b, "\"%s\"", yyjson_get_str(a));
		else
			json_write(a, false, &b);
	}
	field_error_add(errs, FIELD_NOT_SUPPORTED, at->text, v,
			"supported values: %s", buf_str(&b));
}

/* Characters, not bytes. */
static int64_t length_of(const struct schema *s, yyjson_mut_val *v)
{
	const char *p = yyjson_mut_get_str(v);
	int64_t n = 0;

	if (!s->custom)
		return yyjson_mut_get_len(v);
	for (; *p; p++)
		n += (*p & 0xc0) != 0x80;
	return n;
}

/* The object is refused when it is too costly to check. */
static bool too_costly(struct field_errors *errs, const char *path)
{
	if (errs->spent < SCHEMA_COST_MAX)
		return false;
	if (errs->spent != UINT64_MAX)
		field_error_add(errs, FIELD_FORBIDDEN, path, NULL,
				"the object is too large to be validated "
				"against its schema");
	errs->spent = UINT64_MAX;
	return true;
}

static bool matches(const struct schema *s, yyjson_mut_val *v,
		    struct field_errors *errs)
{
	uint64_t left = SCHEMA_COST_MAX, before;
	int r;

	if (errs->spent >= SCHEMA_COST_MAX)
		return true;
	left -= errs->spent;
	before = left;
	r = re_match(s->re, yyjson_mut_get_str(v), yyjson_mut_get_len(v),
		     &left);
	errs->spent += before - left;
	return r != 0;
}

static void check_string(const struct schema *s, yyjson_mut_val *v,
			 const struct path *at, struct field_errors *errs)
{
	const char *text = yyjson_mut_get_str(v);
	int64_t len;

	if (s->max_len >= 0 || s->min_len >= 0) {
		len = length_of(s, v);
		if (s->max_len >= 0 && len > s->max_len)
			field_error_add(errs, FIELD_TOO_LONG, at->text, v,
					"may not be more than %lld bytes",
					(long long)s->max_len);
		if (s->min_len >= 0 && len < s->min_len)
			field_error_add(errs, FIELD_INVALID, at->text, v,
					"%s in body should be at least %lld "
					"chars long",
					at->text, (long long)s->min_len);
	}
	if (s->re && !matches(s, v, errs))
		field_error_add(errs, FIELD_INVALID, at->text, v,
				"%s in body should match '%s'", at->text,
				s->pattern);
	if (s->custom && s->format && !format_holds(s->format, text)) {
		auto_buf struct buf b = BUF_INIT;

		json_write_mut(v, false, &b);
		field_error_add(errs, FIELD_INVALID, at->text, v,
				"%s in body must be of type %s: %s", at->text,
				s->format, buf_str(&b));
	}
}

static void check_number(const struct schema *s, yyjson_mut_val *v,
			 const struct path *at, struct field_errors *errs)
{
	double n = yyjson_mut_get_num(v);
	char head[SCHEMA_PATH_MAX + 32] = "must be";
	bool c = s->custom;

	if (c)
		snprintf(head, sizeof(head), "%s in body should be", at->text);
	if (s->has_min && (s->exclusive_min ? n <= s->min : n < s->min))
		field_error_add(errs, FIELD_INVALID, at->text, v,
				"%s greater than %s%.15g", head,
				s->exclusive_min ? "" : "or equal to ", s->min);
	if (s->has_max && (s->exclusive_max ? n >= s->max : n > s->max))
		field_error_add(errs, FIELD_INVALID, at->text, v,
				"%s less than %s%.15g", head,
				s->exclusive_max ? "" : "or equal to ", s->max);
	if (s->multiple_of > 0 && !is_whole(n / s->multiple_of))
		field_error_add(errs, FIELD_INVALID, at->text, v,
				"%s a multiple of %.15g", head, s->multiple_of);
	if (c && s->type == SCHEMA_INTEGER && str_eq(s->format, "int32") &&
	    (n < INT32_MIN || n > INT32_MAX))
		field_error_add(errs, FIELD_INVALID, at->text, v,
				"%s in body must be of type int32: \"int64\"",
				at->text);
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

/* What tells the items of a list apart, as text. */
static void put_key(const struct schema *s, yyjson_mut_val *item, struct buf *b)
{
	buf_reset(b);
	if (s->list == LIST_SET) {
		json_write_mut(item, false, b);
		return;
	}
	for (const char **k = s->keys; *k; k++) {
		yyjson_mut_val *v = yyjson_mut_obj_get(item, *k);

		if (v)
			json_write_mut(v, false, b);
		buf_putc(b, '\n');
	}
}

/* Of a custom resource's item, only the keys are shown. */
static void duplicate_keys(const struct schema *s, yyjson_mut_val *item,
			   const struct path *at, struct field_errors *errs)
{
	auto_buf struct buf b = BUF_INIT;

	for (const char **k = s->keys; *k; k++) {
		yyjson_mut_val *v = yyjson_mut_obj_get(item, *k);

		if (!v)
			continue;
		buf_puts(&b, b.len ? "," : "{");
		json_escape(&b, *k, strlen(*k));
		buf_putc(&b, ':');
		json_write_mut(v, false, &b);
	}
	field_error_add(errs, FIELD_DUPLICATE, at->text, NULL, "%s%s",
			buf_str(&b), b.len ? "}" : "");
}

static void check_duplicates(const struct schema *s, yyjson_mut_val *v,
			     struct path *at, struct field_errors *errs)
{
	auto_buf struct buf key = BUF_INIT;
	struct map seen = MAP_INIT;
	yyjson_mut_val *item;
	size_t i, max;

	if (s->list == LIST_MAP && !s->keys)
		return;
	yyjson_mut_arr_foreach(v, i, max, item)
	{
		size_t cut;

		put_key(s, item, &key);
		if (!map_get(&seen, buf_str(&key))) {
			map_set(&seen, buf_str(&key), item, NULL);
			continue;
		}
		cut = path_index(at, i);
		if (s->list == LIST_MAP && !s->keys[1] && !s->custom) {
			path_field(at, s->keys[0]);
			item = yyjson_mut_obj_get(item, s->keys[0]);
		}
		if (s->list == LIST_MAP && s->custom)
			duplicate_keys(s, item, at, errs);
		else
			field_error_add(errs, FIELD_DUPLICATE, at->text, item,
					"%s", "");
		path_cut(at, cut);
		break;
	}
	map_clear(&seen, NULL);
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

static void check_size(const struct schema *s, yyjson_mut_val *v,
		       const struct path *at, struct field_errors *errs)
{
	int64_t nr = yyjson_mut_obj_size(v);

	if (s->max_props >= 0 && nr > s->max_props)
		field_error_add(errs, FIELD_TOO_MANY, at->text, v,
				"%lld: must have at most %lld items",
				(long long)nr, (long long)s->max_props);
	if (s->min_props >= 0 && nr < s->min_props)
		field_error_add(errs, FIELD_INVALID, at->text, v,
				"%s in body should have at least %lld "
				"properties",
				at->text, (long long)s->min_props);
}

static void check_object(const struct schema *s, yyjson_mut_val *v,
			 struct path *at, struct field_errors *errs)
{
	yyjson_mut_val *key, *val;
	struct members m;
	size_t i, max;

	if (s->nr_fields)
		members_of(s, v, &m);
	for (i = 0; i < s->nr_fields; i++) {
		const struct schema_field *f = &s->fields[i];
		size_t cut;

		val = member(s, &m, i);
		if (!val && !f->required)
			continue;
		cut = path_field_n(at, f->name, f->len);
		if (!val ||
		    (f->required && !s->custom && yyjson_mut_is_str(val) &&
		     yyjson_mut_get_len(val) == 0))
			field_error_add(errs, FIELD_REQUIRED, at->text, NULL,
					"%s", "");
		else
			schema_validate(f->schema, val, at, errs);
		path_cut(at, cut);
	}
	for (i = 0; s->required && s->required[i]; i++) {
		size_t cut = path_field(at, s->required[i]);

		if (!yyjson_mut_obj_get(v, s->required[i]))
			field_error_add(errs, FIELD_REQUIRED, at->text, NULL,
					"%s", "");
		path_cut(at, cut);
	}
	if (s->max_props >= 0 || s->min_props >= 0)
		check_size(s, v, at, errs);
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

static void check_type(const struct schema *s, yyjson_mut_val *v,
		       struct path *at, struct field_errors *errs)
{
	static const char *const names[] = {
		[SCHEMA_OBJECT] = "object",
		[SCHEMA_ARRAY] = "array",
		[SCHEMA_STRING] = "string",
		[SCHEMA_INTEGER] = "integer",
		[SCHEMA_NUMBER] = "number",
		[SCHEMA_BOOLEAN] = "boolean",
		[SCHEMA_INT_OR_STRING] = "integer or string",
	};
	enum schema_type t = s->type;

	/* Without a type, what is said of one holds for values of it. */
	if (t == SCHEMA_ANY && !s->custom)
		return;
	if (t == SCHEMA_QUANTITY)
		check_quantity(v, at, errs);
	else if (yyjson_mut_is_obj(v) && (t == SCHEMA_OBJECT || !t))
		check_object(s, v, at, errs);
	else if (yyjson_mut_is_arr(v) && (t == SCHEMA_ARRAY || !t))
		check_array(s, v, at, errs);
	else if (yyjson_mut_is_str(v) &&
		 (t == SCHEMA_STRING || t == SCHEMA_INT_OR_STRING || !t))
		check_string(s, v, at, errs);
	else if ((yyjson_mut_is_int(v) && t == SCHEMA_INT_OR_STRING) ||
		 (is_integer(s, v) && t == SCHEMA_INTEGER) ||
		 (yyjson_mut_is_num(v) && (t == SCHEMA_NUMBER || !t)))
		check_number(s, v, at, errs);
	else if (t && !(yyjson_mut_is_bool(v) && t == SCHEMA_BOOLEAN))
		wrong_type(errs, at, v, names[t]);
	else if (!t)
		return;
	if (s->allowed)
		check_enum(s, v, at, errs);
}

/* How many of @list hold; all that is wrong is forgotten. */
static size_t count_valid(struct schema **list, yyjson_mut_val *v,
			  struct path *at, uint64_t *spent)
{
	struct field_errors *errs = calloc(1, sizeof(*errs));
	size_t n = 0;

	if (errs)
		errs->spent = *spent;
	for (; errs && *list; list++) {
		schema_validate(*list, v, at, errs);
		n += !errs->nr;
		field_errors_clear(errs);
		*spent = errs->spent;
	}
	free(errs);
	/* It is said once, by the caller's own next step. */
	if (*spent > SCHEMA_COST_MAX)
		*spent = SCHEMA_COST_MAX;
	return n;
}

static void check_logic(const struct schema *s, yyjson_mut_val *v,
			struct path *at, struct field_errors *errs)
{
	struct schema *not_of[] = { s->not_of, NULL };

	for (size_t i = 0; s->all_of && s->all_of[i]; i++)
		schema_validate(s->all_of[i], v, at, errs);
	if (s->any_of && !count_valid(s->any_of, v, at, &errs->spent))
		field_error_add(errs, FIELD_INVALID, at->text, v,
				"\"%s\" must validate at least one schema "
				"(anyOf)",
				at->text);
	if (s->one_of && count_valid(s->one_of, v, at, &errs->spent) != 1)
		field_error_add(errs, FIELD_INVALID, at->text, v,
				"\"%s\" must validate one and only one schema "
				"(oneOf)",
				at->text);
	if (s->not_of && count_valid(not_of, v, at, &errs->spent))
		field_error_add(errs, FIELD_INVALID, at->text, v,
				"\"%s\" must not validate the schema (not)",
				at->text);
}

void schema_validate(const struct schema *s, yyjson_mut_val *v, struct path *at,
		     struct field_errors *errs)
{
	if (s->nullable && yyjson_mut_is_null(v))
		return;
	if (too_costly(errs, at->text))
		return;
	errs->spent++;
	check_type(s, v, at, errs);
	if (s->all_of || s->any_of || s->one_of || s->not_of)
		check_logic(s, v, at, errs);
}

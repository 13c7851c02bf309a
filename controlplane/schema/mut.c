// SPDX-License-Identifier: Apache-2.0
/* Paths and field errors, and walking yyjson's mutable values by path. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "controlplane/schema/schema.h"
#include "lib/auto.h"
#include "lib/json.h"
#include "lib/str.h"

static void path_put(struct path *p, const char *s, size_t len)
{
	size_t room = sizeof(p->text) - 1 - p->len;

	if (len > room)
		len = room;
	memcpy(p->text + p->len, s, len);
	p->len += len;
	p->text[p->len] = '\0';
}

size_t path_field_n(struct path *p, const char *name, size_t len)
{
	size_t before = p->len;

	if (before)
		path_put(p, ".", 1);
	path_put(p, name, len);
	return before;
}

size_t path_field(struct path *p, const char *name)
{
	return path_field_n(p, name, strlen(name));
}

size_t path_key(struct path *p, const char *key)
{
	size_t before = p->len;

	path_put(p, "[", 1);
	path_put(p, key, strlen(key));
	path_put(p, "]", 1);
	return before;
}

size_t path_index(struct path *p, size_t index)
{
	char text[24], *at = text + sizeof(text);
	size_t before = p->len;

	*--at = ']';
	do
		*--at = (char)('0' + index % 10);
	while (index /= 10);
	*--at = '[';
	path_put(p, at, (size_t)(text + sizeof(text) - at));
	return before;
}

static const char *const heads[] = {
	[FIELD_REQUIRED] = "Required value",
	[FIELD_INVALID] = "Invalid value",
	[FIELD_NOT_SUPPORTED] = "Unsupported value",
	[FIELD_DUPLICATE] = "Duplicate value",
	[FIELD_FORBIDDEN] = "Forbidden",
	[FIELD_TYPE] = "Invalid value",
	[FIELD_TOO_LONG] = "Too long",
	[FIELD_TOO_MANY] = "Too many",
};

const char *field_error_reason(enum field_error_type type)
{
	static const char *const reasons[] = {
		[FIELD_REQUIRED] = "FieldValueRequired",
		[FIELD_INVALID] = "FieldValueInvalid",
		[FIELD_NOT_SUPPORTED] = "FieldValueNotSupported",
		[FIELD_DUPLICATE] = "FieldValueDuplicate",
		[FIELD_FORBIDDEN] = "FieldValueForbidden",
		[FIELD_TYPE] = "FieldValueTypeInvalid",
		[FIELD_TOO_LONG] = "FieldValueTooLong",
		[FIELD_TOO_MANY] = "FieldValueTooMany",
	};

	return reasons[type];
}

void field_error_add(struct field_errors *errs, enum field_error_type type,
		     const char *path, yyjson_mut_val *value, const char *fmt,
		     ...)
{
	struct field_error *fe;
	auto_buf struct buf b = BUF_INIT;
	char detail[1024];
	va_list ap;

	if (errs->nr == SCHEMA_ERRORS_MAX)
		return;
	va_start(ap, fmt);
	vsnprintf(detail, sizeof(detail), fmt, ap);
	va_end(ap);
	buf_puts(&b, heads[type]);
	if (value && type != FIELD_REQUIRED && type != FIELD_FORBIDDEN &&
	    type != FIELD_TOO_LONG && type != FIELD_TOO_MANY) {
		buf_puts(&b, ": ");
		json_write_mut(value, false, &b);
	}
	if (*detail)
		buf_printf(&b, ": %s", detail);
	fe = &errs->v[errs->nr];
	fe->type = type;
	fe->path = strdup(path);
	fe->message = buf_take(&b);
	if (fe->path && fe->message) {
		errs->nr++;
		return;
	}
	free(fe->path);
	free(fe->message);
}

void field_errors_clear(struct field_errors *errs)
{
	for (size_t i = 0; i < errs->nr; i++) {
		free(errs->v[i].path);
		free(errs->v[i].message);
	}
	errs->nr = 0;
}

yyjson_mut_val *mut_get(yyjson_mut_val *v, const char *path)
{
	while (v && *path) {
		size_t n = 0;

		/* They are short: no call is worth it. */
		while (path[n] && path[n] != '.')
			n++;
		v = yyjson_mut_obj_getn(v, path, n);
		path += n + (path[n] == '.');
	}
	return v;
}

const char *mut_str(yyjson_mut_val *v, const char *path)
{
	return yyjson_mut_get_str(mut_get(v, path));
}

int64_t mut_int(yyjson_mut_val *v, const char *path, int64_t missing)
{
	yyjson_mut_val *n = mut_get(v, path);

	return yyjson_mut_is_int(n) ? yyjson_mut_get_sint(n) : missing;
}

bool mut_bool(yyjson_mut_val *v, const char *path)
{
	return yyjson_mut_is_true(mut_get(v, path));
}

/* The object that holds the last field of @path, made if missing. */
static yyjson_mut_val *parent_of(yyjson_mut_doc *doc, yyjson_mut_val *v,
				 const char *path, const char **ret_last)
{
	const char *dot;

	while ((dot = strchr(path, '.'))) {
		yyjson_mut_val *next = yyjson_mut_obj_getn(v, path, dot - path);

		if (!yyjson_mut_is_obj(next)) {
			yyjson_mut_val *key =
				yyjson_mut_strncpy(doc, path, dot - path);

			next = yyjson_mut_obj(doc);
			if (!key || !next || !yyjson_mut_obj_put(v, key, next))
				return NULL;
		}
		v = next;
		path = dot + 1;
	}
	*ret_last = path;
	return v;
}

int mut_put(yyjson_mut_doc *doc, yyjson_mut_val *v, const char *name,
	    yyjson_mut_val *value)
{
	yyjson_mut_val *key = yyjson_mut_strcpy(doc, name);

	if (!key || !value)
		return -ENOMEM;
	/* Replaces in place, so the order of fields stays; obj_put() would
	 * move the field to the end. */
	if (yyjson_mut_obj_get(v, name))
		return yyjson_mut_obj_replace(v, key, value) ? 0 : -ENOMEM;
	return yyjson_mut_obj_add(v, key, value) ? 0 : -ENOMEM;
}

int mut_set(yyjson_mut_doc *doc, yyjson_mut_val *v, const char *path,
	    yyjson_mut_val *value)
{
	const char *last = NULL;
	yyjson_mut_val *in;

	if (!value || !v)
		return -ENOMEM;
	in = parent_of(doc, v, path, &last);
	if (!in)
		return -ENOMEM;
	return mut_put(doc, in, last, value);
}

int mut_set_str(yyjson_mut_doc *doc, yyjson_mut_val *v, const char *path,
		const char *value)
{
	return mut_set(doc, v, path, yyjson_mut_strcpy(doc, value));
}

int mut_set_int(yyjson_mut_doc *doc, yyjson_mut_val *v, const char *path,
		int64_t value)
{
	return mut_set(doc, v, path, yyjson_mut_sint(doc, value));
}

void mut_remove(yyjson_mut_val *v, const char *path)
{
	const char *dot = strrchr(path, '.');

	if (dot) {
		char up[SCHEMA_PATH_MAX];

		if ((size_t)(dot - path) >= sizeof(up))
			return;
		memcpy(up, path, dot - path);
		up[dot - path] = '\0';
		v = mut_get(v, up);
		path = dot + 1;
	}
	if (yyjson_mut_is_obj(v))
		yyjson_mut_obj_remove_key(v, path);
}

bool mut_equal(yyjson_mut_val *a, yyjson_mut_val *b)
{
	if (!a || !b)
		return a == b;
	if (yyjson_mut_is_int(a) && yyjson_mut_is_int(b))
		return yyjson_mut_get_sint(a) == yyjson_mut_get_sint(b);
	return yyjson_mut_equals(a, b);
}

void schema_base64(struct buf *b, const void *data, size_t len)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmn"
				     "opqrstuvwxyz0123456789+/";
	const unsigned char *p = data;

	for (; len; p += 3, len -= len < 3 ? len : 3) {
		uint32_t w = p[0] << 16 | (len > 1 ? p[1] << 8 : 0) |
			     (len > 2 ? p[2] : 0);

		buf_putc(b, digits[w >> 18]);
		buf_putc(b, digits[w >> 12 & 63]);
		buf_putc(b, len > 1 ? digits[w >> 6 & 63] : '=');
		buf_putc(b, len > 2 ? digits[w & 63] : '=');
	}
}

// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/spec_fields.h"
#include "lib/auto.h"
#include "lib/buf.h"
#include "lib/err.h"
#include "lib/json.h"
#include "lib/quantity.h"
#include "lib/str.h"

#define SPEC_LIST_MAX 4096
#define FIELDS_MAX    64 /* of one object, that are suggested */

static const char *type_word(yyjson_val *v)
{
	switch (yyjson_get_type(v)) {
	case YYJSON_TYPE_OBJ:
		return "an object";
	case YYJSON_TYPE_ARR:
		return "a list";
	case YYJSON_TYPE_STR:
		return "a string";
	case YYJSON_TYPE_BOOL:
		return "a boolean";
	case YYJSON_TYPE_NUM:
		return "a number";
	default:
		return "null";
	}
}

static int wrong_type(struct spec_ctx *c, yyjson_val *v, const char *want)
{
	/* Text that YAML takes for something else: 1.0, on, no. */
	bool quotes = strcmp(want, "a string") == 0 &&
		      (yyjson_is_num(v) || yyjson_is_bool(v));

	return spec_fail(c, -EINVAL, "must be %s, is %s%s", want, type_word(v),
			 quotes ? ": put it in quotes" : "");
}

static const struct spec_field *find_field(const struct spec_field *fields,
					   size_t nr, const char *name)
{
	for (size_t i = 0; i < nr; i++)
		if (strcmp(fields[i].name, name) == 0)
			return &fields[i];
	return NULL;
}

static int unknown_field(struct spec_ctx *c, const struct spec_field *fields,
			 size_t nr, const char *name)
{
	const char *names[FIELDS_MAX + 1] = { NULL };
	const char *near;

	if (strchr(name, '/') || strncmp(name, "hugepages-", 10) == 0)
		return spec_fail(c, -EINVAL,
				 "this node has no such resource: remove it");

	for (size_t i = 0; i < nr && i < FIELDS_MAX; i++)
		names[i] = fields[i].name;
	near = str_nearest(name, names, sizeof(*names));
	if (near)
		return spec_fail(c, -EINVAL,
				 "unknown field (did you mean '%s'?)", near);
	return spec_fail(c, -EINVAL, "unknown field");
}

static int read_field(struct spec_ctx *c, yyjson_val *object, yyjson_val *key,
		      yyjson_val *val, const struct spec_field *fields,
		      size_t nr, void *out)
{
	const char *name = yyjson_get_str(key);
	const struct spec_field *f = find_field(fields, nr, name);

	if (strlen(name) != yyjson_get_len(key) || !f)
		return unknown_field(c, fields, nr, name);
	/* As in Go: null is the same as absent. */
	if (!f->read || yyjson_is_null(val))
		return 0;
	if (yyjson_obj_get(object, name) != val)
		return spec_fail(c, -EINVAL, "given twice");
	return f->read(c, val, (char *)out + f->offset);
}

int spec_read_object(struct spec_ctx *c, yyjson_val *v,
		     const struct spec_field *fields, size_t nr, void *out)
{
	size_t i, max;
	yyjson_val *key, *val;
	int first = 0;

	if (!yyjson_is_obj(v))
		return wrong_type(c, v, "an object");
	json_obj_foreach (v, i, max, key, val) {
		size_t mark = spec_push(c, yyjson_get_str(key));
		int r = read_field(c, v, key, val, fields, nr, out);

		spec_note(c, mark, r, &first);
	}
	return first;
}

int spec_read_array(struct spec_ctx *c, yyjson_val *v, size_t size, size_t max,
		    spec_read_fn *each, void *ret_items, size_t *ret_nr)
{
	size_t i, nr;
	yyjson_val *item;
	char *items;
	int first = 0;

	if (!yyjson_is_arr(v))
		return wrong_type(c, v, "a list");
	nr = yyjson_arr_size(v);
	if (nr > max)
		return spec_fail(c, -E2BIG, "%zu entries, at most %zu", nr,
				 max);
	if (nr == 0)
		return 0;
	items = calloc(nr, size);
	if (!items)
		return spec_fail(c, -ENOMEM, "out of memory");
	/* The caller owns it from here on, also when an entry fails. */
	memcpy(ret_items, &items, sizeof(items));
	*ret_nr = nr;
	yyjson_arr_foreach(v, i, nr, item)
	{
		size_t mark = spec_push_index(c, i);
		int r = each(c, item, items + i * size);

		spec_note(c, mark, r, &first);
	}
	return first;
}

int spec_unsupported(struct spec_ctx *c, yyjson_val *v, void *out)
{
	(void)v, (void)out;
	return spec_fail(c, -EINVAL,
			 "is not supported by this agent; remove it");
}

int spec_str(struct spec_ctx *c, yyjson_val *v, void *out)
{
	const char *s = yyjson_get_str(v);

	if (!s)
		return wrong_type(c, v, "a string");
	if (strlen(s) != yyjson_get_len(v))
		return spec_fail(c, -EINVAL, "holds a NUL character");
	if (yyjson_get_len(v) > SPEC_TEXT_MAX)
		return spec_fail(c, -E2BIG, "longer than %d bytes",
				 SPEC_TEXT_MAX);
	if (str_set(out, s) < 0)
		return spec_fail(c, -ENOMEM, "out of memory");
	return 0;
}

int spec_name_value(struct spec_ctx *c, yyjson_val *v, void *out)
{
	static const struct spec_field fields[] = {
		SPEC_FIELD(struct key_value, "name", spec_str, key),
		SPEC_FIELD(struct key_value, "value", spec_str, value),
	};

	return spec_read_object(c, v, fields, ARRAY_LEN(fields), out);
}

int spec_bool(struct spec_ctx *c, yyjson_val *v, void *out)
{
	if (!yyjson_is_bool(v))
		return wrong_type(c, v, "a boolean");
	*(bool *)out = yyjson_get_bool(v);
	return 0;
}

int spec_u64(struct spec_ctx *c, yyjson_val *v, void *out)
{
	if (!yyjson_is_uint(v)) {
		if (!yyjson_is_num(v))
			return wrong_type(c, v, "a number");
		return spec_fail(c, -EINVAL,
				 "must be a whole number, 0 or more");
	}
	*(uint64_t *)out = yyjson_get_uint(v);
	return 0;
}

int spec_u32(struct spec_ctx *c, yyjson_val *v, void *out)
{
	uint64_t n = 0;
	int r = spec_u64(c, v, &n);

	if (r < 0)
		return r;
	if (n > INT32_MAX)
		return spec_fail(c, -EINVAL, "must be at most %d, is %" PRIu64,
				 INT32_MAX, n);
	*(uint32_t *)out = (uint32_t)n;
	return 0;
}

int spec_port(struct spec_ctx *c, yyjson_val *v, void *out)
{
	uint64_t n = 0;
	int r = spec_u64(c, v, &n);

	if (r < 0)
		return r;
	if (n < 1 || n > UINT16_MAX)
		return spec_fail(c, -EINVAL,
				 "must be between 1 and 65535, is %" PRIu64, n);
	*(uint16_t *)out = (uint16_t)n;
	return 0;
}

int spec_port_or_none(struct spec_ctx *c, yyjson_val *v, void *out)
{
	if (yyjson_is_uint(v) && yyjson_get_uint(v) == 0)
		return 0;
	return spec_port(c, v, out);
}

int spec_strv(struct spec_ctx *c, yyjson_val *v, void *out)
{
	struct strv *s = out;
	size_t i, nr;
	yyjson_val *item;
	int first = 0;

	if (!yyjson_is_arr(v))
		return wrong_type(c, v, "a list of strings");
	nr = yyjson_arr_size(v);
	if (nr > SPEC_LIST_MAX)
		return spec_fail(c, -E2BIG, "%zu entries, at most %d", nr,
				 SPEC_LIST_MAX);
	spec_strv_clear(s);
	s->v = calloc(nr + 1, sizeof(*s->v));
	if (!s->v)
		return spec_fail(c, -ENOMEM, "out of memory");
	s->nr = nr;
	yyjson_arr_foreach(v, i, nr, item)
	{
		size_t mark = spec_push_index(c, i);
		int r = spec_str(c, item, &s->v[i]);

		spec_note(c, mark, r, &first);
	}
	return first;
}

int spec_key_values(struct spec_ctx *c, yyjson_val *v, void *out)
{
	struct key_values *kv = out;
	size_t i, nr;
	yyjson_val *key, *val;
	int first = 0;

	if (!yyjson_is_obj(v))
		return wrong_type(c, v, "an object of strings");
	nr = yyjson_obj_size(v);
	if (nr > SPEC_LIST_MAX)
		return spec_fail(c, -E2BIG, "%zu entries, at most %d", nr,
				 SPEC_LIST_MAX);
	spec_key_values_clear(kv);
	kv->v = calloc(nr ? nr : 1, sizeof(*kv->v));
	if (!kv->v)
		return spec_fail(c, -ENOMEM, "out of memory");
	kv->nr = nr;
	json_obj_foreach (v, i, nr, key, val) {
		size_t mark = spec_push(c, yyjson_get_str(key));
		int r = spec_str(c, key, &kv->v[i].key);

		if (r == 0)
			r = spec_str(c, val, &kv->v[i].value);
		spec_note(c, mark, r, &first);
	}
	return first;
}

/* Quantities come as strings, or as plain numbers ("cpu: 2"). */
static int quantity_text(struct spec_ctx *c, yyjson_val *v, char *buf,
			 size_t size)
{
	int n;

	if (yyjson_is_str(v) && yyjson_get_len(v) < size)
		n = snprintf(buf, size, "%s", yyjson_get_str(v));
	else if (yyjson_is_uint(v))
		n = snprintf(buf, size, "%" PRIu64, yyjson_get_uint(v));
	else if (yyjson_is_num(v))
		n = snprintf(buf, size, "%.12g", yyjson_get_num(v));
	else
		return wrong_type(c, v, "a quantity such as 500m or 64Mi");
	return n < (int)size ? 0 : spec_fail(c, -EINVAL, "is too long");
}

int spec_quantity_mem(struct spec_ctx *c, yyjson_val *v, void *out)
{
	char text[64];
	struct err e = { 0 };
	int r = quantity_text(c, v, text, sizeof(text));

	if (r < 0)
		return r;
	r = quantity_parse_mem(text, out, &e);
	return r < 0 ? spec_fail(c, -EINVAL, "%s", e.msg) : 0;
}

int spec_quantity_cpu(struct spec_ctx *c, yyjson_val *v, void *out)
{
	char text[64];
	struct err e = { 0 };
	int r = quantity_text(c, v, text, sizeof(text));

	if (r < 0)
		return r;
	r = quantity_parse_cpu(text, out, &e);
	return r < 0 ? spec_fail(c, -EINVAL, "%s", e.msg) : 0;
}

static int quantity_set(struct spec_ctx *c, yyjson_val *v, void *out)
{
	static const struct spec_field fields[] = {
		SPEC_FIELD(struct quantity_set, "cpu", spec_quantity_cpu,
			   cpu_milli),
		SPEC_FIELD(struct quantity_set, "memory", spec_quantity_mem,
			   mem_bytes),
		SPEC_FIELD(struct quantity_set, "ephemeral-storage",
			   spec_quantity_mem, disk_bytes),
	};
	struct quantity_set *q = out;
	int r = spec_read_object(c, v, fields, ARRAY_LEN(fields), q);

	/* Of a wrong one nothing follows. */
	q->has_cpu = yyjson_obj_get(v, "cpu") && !spec_faulty(c, "cpu");
	q->has_mem = yyjson_obj_get(v, "memory") && !spec_faulty(c, "memory");
	q->has_disk = yyjson_obj_get(v, "ephemeral-storage") &&
		      !spec_faulty(c, "ephemeral-storage");
	return r;
}

int spec_resources(struct spec_ctx *c, yyjson_val *v, void *out)
{
	static const struct spec_field fields[] = {
		SPEC_FIELD(struct resources, "requests", quantity_set,
			   requests),
		SPEC_FIELD(struct resources, "limits", quantity_set, limits),
		SPEC_UNSUPPORTED("claims"),
	};
	struct resources *res = out;
	struct quantity_set *req = &res->requests, *lim = &res->limits;
	int r = spec_read_object(c, v, fields, ARRAY_LEN(fields), res);

	if (!yyjson_is_obj(v))
		return r;
	if (lim->has_mem && lim->mem_bytes < 4096)
		spec_fault(c, &r, "limits",
			   "memory of %" PRIu64
			   " bytes is less than one page; write %" PRIu64
			   "Mi for mebibytes",
			   lim->mem_bytes, lim->mem_bytes);
	if (req->has_cpu && lim->has_cpu && req->cpu_milli > lim->cpu_milli)
		spec_fault(c, &r, "requests",
			   "cpu of %" PRIu64 "m is above its limit of %" PRIu64
			   "m",
			   req->cpu_milli, lim->cpu_milli);
	if (req->has_mem && lim->has_mem && req->mem_bytes > lim->mem_bytes)
		spec_fault(c, &r, "requests",
			   "memory of %" PRIu64
			   " bytes is above its limit of %" PRIu64,
			   req->mem_bytes, lim->mem_bytes);
	if (req->has_disk && lim->has_disk && req->disk_bytes > lim->disk_bytes)
		spec_fault(c, &r, "requests",
			   "ephemeral-storage of %" PRIu64
			   " bytes is above its limit of %" PRIu64,
			   req->disk_bytes, lim->disk_bytes);
	/* As Kubernetes: a limit without a request is a request, too. */
	if (lim->has_cpu && !req->has_cpu) {
		req->has_cpu = true;
		req->cpu_milli = lim->cpu_milli;
	}
	if (lim->has_mem && !req->has_mem) {
		req->has_mem = true;
		req->mem_bytes = lim->mem_bytes;
	}
	if (lim->has_disk && !req->has_disk) {
		req->has_disk = true;
		req->disk_bytes = lim->disk_bytes;
	}
	return r;
}

int spec_choice(struct spec_ctx *c, yyjson_val *v, const char *const *words,
		size_t nr, int *out)
{
	char list[200] = "";
	size_t len = 0;

	if (!yyjson_is_str(v))
		return wrong_type(c, v, "a string");
	for (size_t i = 0; i < nr; i++)
		if (str_eq(yyjson_get_str(v), words[i])) {
			*out = (int)i;
			return 0;
		}
	for (size_t i = 0; i < nr && len < sizeof(list); i++)
		len += (size_t)snprintf(list + len, sizeof(list) - len, "%s%s",
					i ? ", " : "",
					*words[i] ? words[i] : "''");
	return spec_fail(c, -EINVAL, "'%.64s' is not one of %s",
			 yyjson_get_str(v), list);
}

void spec_strv_clear(struct strv *s)
{
	for (size_t i = 0; i < s->nr; i++)
		free(s->v[i]);
	free(s->v);
	*s = (struct strv){ 0 };
}

void spec_key_values_clear(struct key_values *kv)
{
	for (size_t i = 0; i < kv->nr; i++) {
		free(kv->v[i].key);
		free(kv->v[i].value);
	}
	free(kv->v);
	*kv = (struct key_values){ 0 };
}

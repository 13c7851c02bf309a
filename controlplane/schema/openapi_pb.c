// SPDX-License-Identifier: Apache-2.0
/*
 * OpenAPI v2 in the protobuf form that kubectl up to 1.2x asks for (gnostic's
 * openapi.v2.Document). Only the parts that our documents have; written by
 * hand, since it is nested length-delimited fields and nothing else.
 */
#include <errno.h>

#include "controlplane/schema/types.h"
#include "lib/json.h"
#include "lib/str.h"

/* Field numbers of the messages, from the published openapiv2.proto. */
enum { DOC_SWAGGER = 1, DOC_INFO = 2, DOC_PATHS = 8, DOC_DEFINITIONS = 9 };
enum {
	SCHEMA_REF = 1,
	SCHEMA_FORMAT = 2,
	SCHEMA_DESCRIPTION = 4,
	SCHEMA_REQUIRED = 19,
	SCHEMA_ADDITIONAL = 21,
	SCHEMA_TYPE = 22,
	SCHEMA_ITEMS = 23,
	SCHEMA_PROPERTIES = 25,
	SCHEMA_EXTENSION = 31,
};
enum { OP_ID = 5, OP_PARAMETERS = 8, OP_EXTENSION = 13 };

static void put_varint(struct buf *b, uint64_t v)
{
	for (; v >= 0x80; v >>= 7)
		buf_putc(b, (char)(v | 0x80));
	buf_putc(b, (char)v);
}

static void put_bytes(struct buf *b, int field, const char *data, size_t len)
{
	put_varint(b, (uint64_t)field << 3 | 2);
	put_varint(b, len);
	buf_add(b, data, len);
}

static void put_string(struct buf *b, int field, yyjson_val *v)
{
	if (yyjson_is_str(v))
		put_bytes(b, field, yyjson_get_str(v), yyjson_get_len(v));
}

static void put_message(struct buf *b, int field, const struct buf *m)
{
	put_bytes(b, field, buf_str(m), m->len);
}

/* NamedAny: the value as YAML text; JSON is YAML. */
static void put_extension(struct buf *b, int field, yyjson_val *key,
			  yyjson_val *val)
{
	auto_buf struct buf named = BUF_INIT, any = BUF_INIT, text = BUF_INIT;

	json_write(val, false, &text);
	put_message(&any, 2, &text);
	put_string(&named, 1, key);
	put_message(&named, 2, &any);
	put_message(b, field, &named);
}

static void put_extensions(struct buf *b, int field, yyjson_val *of)
{
	yyjson_val *key, *val;
	size_t i, max;

	json_obj_foreach (of, i, max, key, val)
		if (str_starts(yyjson_get_str(key), "x-"))
			put_extension(b, field, key, val);
}

static void put_schema(struct buf *b, yyjson_val *s, int depth);

static void put_named_schemas(struct buf *b, yyjson_val *of, int depth)
{
	yyjson_val *key, *val;
	size_t i, max;

	json_obj_foreach (of, i, max, key, val) {
		auto_buf struct buf named = BUF_INIT, schema = BUF_INIT;

		put_schema(&schema, val, depth + 1);
		put_string(&named, 1, key);
		put_message(&named, 2, &schema);
		put_message(b, 1, &named);
	}
}

/* A schema wrapped in a message of which it is field 1. */
static void put_wrapped(struct buf *b, int field, yyjson_val *s, int depth)
{
	auto_buf struct buf schema = BUF_INIT, wrap = BUF_INIT;

	put_schema(&schema, s, depth + 1);
	put_message(&wrap, 1, &schema);
	put_message(b, field, &wrap);
}

static void put_schema(struct buf *b, yyjson_val *s, int depth)
{
	yyjson_val *v;
	yyjson_arr_iter it;

	if (depth > JSON_DEPTH_MAX)
		return;
	put_string(b, SCHEMA_REF, yyjson_obj_get(s, "$ref"));
	put_string(b, SCHEMA_FORMAT, yyjson_obj_get(s, "format"));
	put_string(b, SCHEMA_DESCRIPTION, yyjson_obj_get(s, "description"));
	it = yyjson_arr_iter_with(yyjson_obj_get(s, "required"));
	while ((v = yyjson_arr_iter_next(&it)))
		put_string(b, SCHEMA_REQUIRED, v);
	v = yyjson_obj_get(s, "additionalProperties");
	if (v)
		put_wrapped(b, SCHEMA_ADDITIONAL, v, depth);
	v = yyjson_obj_get(s, "type");
	if (v) {
		auto_buf struct buf type = BUF_INIT;

		put_string(&type, 1, v);
		put_message(b, SCHEMA_TYPE, &type);
	}
	v = yyjson_obj_get(s, "items");
	if (v)
		put_wrapped(b, SCHEMA_ITEMS, v, depth);
	v = yyjson_obj_get(s, "properties");
	if (v) {
		auto_buf struct buf props = BUF_INIT;

		put_named_schemas(&props, v, depth);
		put_message(b, SCHEMA_PROPERTIES, &props);
	}
	put_extensions(b, SCHEMA_EXTENSION, s);
}

/* ParametersItem > Parameter > NonBodyParameter > QueryParameterSubSchema. */
static void put_parameter(struct buf *b, yyjson_val *p)
{
	auto_buf struct buf query = BUF_INIT, non_body = BUF_INIT;
	auto_buf struct buf param = BUF_INIT, item = BUF_INIT;

	put_string(&query, 2, yyjson_obj_get(p, "in"));
	put_string(&query, 4, yyjson_obj_get(p, "name"));
	put_string(&query, 6, yyjson_obj_get(p, "type"));
	put_message(&non_body, 3, &query);
	put_message(&param, 2, &non_body);
	put_message(&item, 1, &param);
	put_message(b, OP_PARAMETERS, &item);
}

static void put_operation(struct buf *b, int field, yyjson_val *op)
{
	auto_buf struct buf m = BUF_INIT;
	yyjson_arr_iter it;
	yyjson_val *p;

	if (!op)
		return;
	put_string(&m, OP_ID, yyjson_obj_get(op, "operationId"));
	it = yyjson_arr_iter_with(yyjson_obj_get(op, "parameters"));
	while ((p = yyjson_arr_iter_next(&it)))
		put_parameter(&m, p);
	put_extensions(&m, OP_EXTENSION, op);
	put_message(b, field, &m);
}

static void put_paths(struct buf *b, yyjson_val *paths)
{
	yyjson_val *key, *val;
	size_t i, max;

	json_obj_foreach (paths, i, max, key, val) {
		auto_buf struct buf item = BUF_INIT, named = BUF_INIT;

		put_operation(&item, 2, yyjson_obj_get(val, "get"));
		put_operation(&item, 3, yyjson_obj_get(val, "put"));
		put_operation(&item, 4, yyjson_obj_get(val, "post"));
		put_operation(&item, 5, yyjson_obj_get(val, "delete"));
		put_operation(&item, 8, yyjson_obj_get(val, "patch"));
		put_string(&named, 1, key);
		put_message(&named, 2, &item);
		put_message(b, 2, &named);
	}
}

int openapi_v2_protobuf(const char *json, size_t len, struct buf *b)
{
	auto_buf struct buf info = BUF_INIT, paths = BUF_INIT, defs = BUF_INIT;
	yyjson_doc *doc = NULL;
	yyjson_val *root, *v;
	int r = json_parse(json, len, &doc, NULL);

	if (r < 0)
		return r;
	root = yyjson_doc_get_root(doc);
	put_string(b, DOC_SWAGGER, yyjson_obj_get(root, "swagger"));
	v = yyjson_obj_get(root, "info");
	put_string(&info, 1, yyjson_obj_get(v, "title"));
	put_string(&info, 2, yyjson_obj_get(v, "version"));
	put_message(b, DOC_INFO, &info);
	put_paths(&paths, yyjson_obj_get(root, "paths"));
	put_message(b, DOC_PATHS, &paths);
	put_named_schemas(&defs, yyjson_obj_get(root, "definitions"), 0);
	put_message(b, DOC_DEFINITIONS, &defs);
	yyjson_doc_free(doc);
	if (buf_error(b) || buf_error(&paths) || buf_error(&defs))
		return -ENOMEM;
	return 0;
}

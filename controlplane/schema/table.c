// SPDX-License-Identifier: Apache-2.0
/* Tables: column definitions and cells, by path or by function. */
#include <stdio.h>

#include "controlplane/schema/types.h"
#include "lib/json.h"
#include "lib/str.h"

/* One step of a path: ".name", "[0]", "[?(@.type=="Ready")]". */
static yyjson_val *step_filter(yyjson_val *v, const char *p, size_t n)
{
	char field[128], want[128];
	yyjson_arr_iter it = yyjson_arr_iter_with(v);
	yyjson_val *item;
	char text[300];

	if (n >= sizeof(text))
		return NULL;
	memcpy(text, p, n);
	text[n] = '\0';
	if (sscanf(text, "?(@.%127[^=] == \"%127[^\"]", field, want) != 2 &&
	    sscanf(text, "?(@.%127[^=]==\"%127[^\"]", field, want) != 2 &&
	    sscanf(text, "?(@.%127[^=]=='%127[^']", field, want) != 2)
		return NULL;
	while ((item = yyjson_arr_iter_next(&it)))
		if (str_eq(yyjson_get_str(yyjson_obj_get(item, field)), want))
			return item;
	return NULL;
}

yyjson_val *json_path_get(yyjson_val *v, const char *path)
{
	char name[256];

	while (v && *path) {
		if (*path == '.') {
			size_t n = 0;

			for (path++; *path && *path != '.' && *path != '[';
			     path++) {
				if (*path == '\\' && path[1])
					path++;
				if (n < sizeof(name) - 1)
					name[n++] = *path;
			}
			if (n)
				v = yyjson_obj_getn(v, name, n);
		} else if (*path == '[') {
			const char *end = strchr(path, ']');
			size_t n = end ? (size_t)(end - path - 1) : 0;

			if (!end)
				return NULL;
			if (path[1] == '?')
				v = step_filter(v, path + 1, n);
			else if (path[1] == '\'' || path[1] == '"')
				v = n > 2 ? yyjson_obj_getn(v, path + 2, n - 2)
					  : NULL;
			else
				v = yyjson_arr_get(v,
						   strtoul(path + 1, NULL, 10));
			path = end + 1;
		} else {
			return NULL;
		}
	}
	return v;
}

/* Events show their names last, and in wide tables only: nobody gave them one.
 */
static bool names_itself(const struct type *t)
{
	for (size_t i = 0; i < t->nr_columns && !t->custom; i++)
		if (str_eq(t->columns[i].name, "Name"))
			return true;
	return false;
}

static void put_name_column(struct json_out *o)
{
	json_put_object(o, NULL);
	json_put_str(o, "name", "Name");
	json_put_str(o, "type", "string");
	json_put_str(o, "format", "name");
	json_put_str(o, "description", "Name of the object.");
	json_put_i64(o, "priority", 0);
	json_put_end(o);
}

void table_columns(const struct type *t, struct buf *b)
{
	static const struct type_column plain[] = {
		{ .name = "Created At",
		  .type = "date",
		  .description = "When it was created." },
	};
	const struct type_column *cols = t->nr_columns ? t->columns : plain;
	size_t nr = t->nr_columns ? t->nr_columns : ARRAY_LEN(plain);
	struct json_out o = JSON_OUT(b);

	json_put_array(&o, NULL);
	if (!names_itself(t))
		put_name_column(&o);
	for (size_t i = 0; i < nr; i++) {
		const struct type_column *c = &cols[i];

		json_put_object(&o, NULL);
		json_put_str(&o, "name", c->name);
		json_put_str(&o, "type", c->type ? c->type : "string");
		json_put_str(&o, "format", c->format ? c->format : "");
		json_put_str(&o, "description",
			     c->description ? c->description : "");
		json_put_i64(&o, "priority", c->priority);
		json_put_end(&o);
	}
	json_put_end(&o);
}

static void cell(const struct type *t, const struct type_column *c,
		 yyjson_val *obj, int64_t now_s, struct buf *b)
{
	yyjson_val *v;

	if (c->fn) {
		c->fn(obj, now_s, b);
		return;
	}
	v = c->path ? json_path_get(obj, c->path) : NULL;
	if (str_eq(c->type, "date") && (v || !t->custom)) {
		type_column_fn age = type_column_find("age_of");

		age(v, now_s, b);
	} else if (v && !yyjson_is_null(v)) {
		if (str_eq(c->type, "string") && !yyjson_is_str(v)) {
			auto_buf struct buf text = BUF_INIT;

			json_write(v, false, &text);
			json_escape(b, buf_str(&text), text.len);
		} else {
			json_write(v, false, b);
		}
	} else if (t->custom) {
		buf_puts(b, "null");
	} else if (str_eq(c->type, "integer")) {
		buf_puts(b, "0");
	} else if (str_eq(c->type, "boolean")) {
		buf_puts(b, "false");
	} else {
		buf_puts(b, c->priority ? "\"<none>\"" : "\"\"");
	}
}

void table_cells(const struct type *t, yyjson_val *obj, int64_t now_s,
		 struct buf *b)
{
	yyjson_val *meta = yyjson_obj_get(obj, "metadata");
	const char *name = yyjson_get_str(yyjson_obj_get(meta, "name"));
	const char *created =
		yyjson_get_str(yyjson_obj_get(meta, "creationTimestamp"));

	buf_putc(b, '[');
	if (!names_itself(t))
		json_escape(b, name ? name : "", name ? strlen(name) : 0);
	for (size_t i = 0; i < t->nr_columns; i++) {
		if (i || !names_itself(t))
			buf_putc(b, ',');
		cell(t, &t->columns[i], obj, now_s, b);
	}
	if (!t->nr_columns) {
		buf_putc(b, ',');
		json_escape(b, created ? created : "",
			    created ? strlen(created) : 0);
	}
	buf_putc(b, ']');
}

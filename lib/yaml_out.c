// SPDX-License-Identifier: Apache-2.0
/* JSON to block-style YAML, as 'kubectl get -o yaml' looks. */
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "lib/auto.h"
#include "lib/buf.h"
#include "lib/err.h"
#include "lib/internal.h"
#include "lib/json.h"
#include "lib/yaml.h"

/* Can the text stand without quotes? On the safe side. */
static bool plain_enough(const char *s, size_t len)
{
	static const char ok[] = "abcdefghijklmnopqrstuvwxyz"
				 "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				 "0123456789_./@+-=, ()^~$;<>*!|%&?[]{}";

	if (!len || s[len - 1] == ' ' || s[len - 1] == ':' ||
	    yaml_scalar_needs_quotes(s, len) || strncmp(s, "---", 3) == 0)
		return false;
	if (!memchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
		    "0123456789_./$(^;",
		    s[0], 52 + 10 + 8))
		return false;
	for (size_t i = 0; i < len; i++) {
		if (s[i] == ':' && s[i + 1] != ' ')
			continue;
		if (!s[i] || !strchr(ok, s[i]))
			return false;
	}
	return true;
}

static void put_scalar(yyjson_val *val, struct buf *b)
{
	const char *s = yyjson_get_str(val);

	if (s && plain_enough(s, yyjson_get_len(val)))
		buf_add(b, s, yyjson_get_len(val));
	else if (s) /* JSON's quoting is YAML's double quoting */
		json_escape(b, s, yyjson_get_len(val));
	else
		(void)json_write(val, false, b); /* the buf keeps the failure */
}

static void indent(struct buf *b, int by)
{
	for (int i = 0; i < by; i++)
		buf_puts(b, "  ");
}

/* Readers look for the colon no further than 1024 bytes: a longer key has to
 * be announced. */
static void put_key(yyjson_val *key, int level, struct buf *b)
{
	bool longer = yyjson_get_len(key) > 160; /* escaped: at most 6 times */

	if (longer)
		buf_puts(b, "? ");
	put_scalar(key, b);
	if (longer) {
		buf_putc(b, '\n');
		indent(b, level);
	}
	buf_putc(b, ':');
}

static void put_node(yyjson_val *val, int level, bool in_line, struct buf *b);

/* A value behind "key:" or "-". */
static void put_behind(yyjson_val *val, int level, bool is_item, struct buf *b)
{
	bool empty = yyjson_is_ctn(val) && yyjson_get_len(val) == 0;

	if (!yyjson_is_ctn(val) || empty) {
		buf_putc(b, ' ');
		if (empty)
			buf_puts(b, yyjson_is_arr(val) ? "[]" : "{}");
		else
			put_scalar(val, b);
		buf_putc(b, '\n');
	} else if (is_item) {
		buf_putc(b, ' ');
		put_node(val, level + 1, true, b);
	} else {
		/* Lists are not indented below their key, as kubectl does. */
		buf_putc(b, '\n');
		put_node(val, yyjson_is_arr(val) ? level : level + 1, false, b);
	}
}

/* @in_line: the cursor is where the first line's text goes. */
static void put_node(yyjson_val *val, int level, bool in_line, struct buf *b)
{
	yyjson_val *key, *item;
	size_t i, max;

	if (yyjson_is_arr(val)) {
		yyjson_arr_foreach(val, i, max, item)
		{
			if (!in_line || i)
				indent(b, level);
			buf_putc(b, '-');
			put_behind(item, level, true, b);
		}
		return;
	}
	json_obj_foreach (val, i, max, key, item) {
		if (!in_line || i)
			indent(b, level);
		put_key(key, level, b);
		put_behind(item, level, false, b);
	}
}

int yaml_from_json(const char *json, size_t len, struct buf *b, struct err *e)
{
	yyjson_doc *doc;
	yyjson_val *root;
	int r;

	r = json_parse(json, len, &doc, e); /* bounds the recursion */
	if (r < 0)
		return r;
	root = yyjson_doc_get_root(doc);
	if (yyjson_is_ctn(root) && yyjson_get_len(root)) {
		put_node(root, 0, false, b);
	} else if (yyjson_is_ctn(root)) {
		buf_puts(b, yyjson_is_arr(root) ? "[]\n" : "{}\n");
	} else {
		put_scalar(root, b);
		buf_putc(b, '\n');
	}
	yyjson_doc_free(doc);
	if (buf_error(b))
		return err_set(e, buf_error(b), "out of memory");
	return 0;
}

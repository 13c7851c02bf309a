// SPDX-License-Identifier: Apache-2.0
/* Writing JSON. */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/auto.h"
#include "lib/buf.h"
#include "lib/json.h"

/* The length of the UTF-8 sequence at @s, or 0 if it is not a valid one. */
static size_t utf8_len(const unsigned char *s, size_t len)
{
	unsigned char c = s[0];
	size_t n = c < 0xc2   ? 0
		   : c < 0xe0 ? 2
		   : c < 0xf0 ? 3
		   : c < 0xf5 ? 4
			      : 0;

	if (!n || n > len)
		return 0;
	for (size_t i = 1; i < n; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	if ((c == 0xe0 && s[1] < 0xa0) || (c == 0xed && s[1] > 0x9f) ||
	    (c == 0xf0 && s[1] < 0x90) || (c == 0xf4 && s[1] > 0x8f))
		return 0;
	return n;
}

static void escape_control(struct buf *b, unsigned char c)
{
	static const char letters[] = "btn\0fr";

	if (c >= '\b' && c <= '\r' && letters[c - '\b'])
		buf_printf(b, "\\%c", letters[c - '\b']);
	else
		buf_printf(b, "\\u%04x", c);
}

void json_escape(struct buf *b, const char *s, size_t len)
{
	const unsigned char *p = (const unsigned char *)s;
	size_t start = 0, i = 0, n;

	buf_putc(b, '"');
	while (i < len) {
		n = p[i] < 0x80 ? 1 : utf8_len(p + i, len - i);
		if (n > 1 || (n == 1 && p[i] >= ' ' && p[i] != '"' &&
			      p[i] != '\\' && p[i] != 0x7f)) {
			i += n;
			continue;
		}
		buf_add(b, s + start, i - start);
		if (n == 0)
			buf_puts(b, "\xef\xbf\xbd");
		else if (p[i] == '"' || p[i] == '\\')
			buf_add(b, (char[]){ '\\', (char)p[i] }, 2);
		else
			escape_control(b, p[i]);
		start = ++i;
	}
	buf_add(b, s + start, len - start);
	buf_putc(b, '"');
}

/* The comma before a value and its key. */
static void begin_value(struct json_out *o, const char *key)
{
	uint64_t bit = (uint64_t)1 << o->depth;

	assert(o->depth == 0 || o->is_object[o->depth - 1] == (key != NULL));
	if (o->comma & bit)
		buf_putc(o->buf, ',');
	o->comma |= bit;
	if (key) {
		json_escape(o->buf, key, strlen(key));
		buf_putc(o->buf, ':');
	}
}

static void begin_container(struct json_out *o, const char *key, bool object)
{
	assert(o->depth < JSON_DEPTH_MAX - 1);
	begin_value(o, key);
	buf_putc(o->buf, object ? '{' : '[');
	o->is_object[o->depth++] = object;
	o->comma &= ~((uint64_t)1 << o->depth);
}

void json_put_object(struct json_out *o, const char *key)
{
	begin_container(o, key, true);
}

void json_put_array(struct json_out *o, const char *key)
{
	begin_container(o, key, false);
}

void json_put_end(struct json_out *o)
{
	assert(o->depth > 0);
	buf_putc(o->buf, o->is_object[--o->depth] ? '}' : ']');
}

void json_put_strn(struct json_out *o, const char *key, const char *s,
		   size_t len)
{
	begin_value(o, key);
	json_escape(o->buf, s, len);
}

void json_put_str(struct json_out *o, const char *key, const char *s)
{
	if (s)
		json_put_strn(o, key, s, strlen(s));
	else
		json_put_null(o, key);
}

void json_put_fmt(struct json_out *o, const char *key, const char *fmt, ...)
{
	auto_free char *s = NULL;
	va_list ap;
	int len;

	va_start(ap, fmt);
	len = vasprintf(&s, fmt, ap);
	va_end(ap);
	if (len < 0) {
		s = NULL;
		o->buf->error = o->buf->error ? o->buf->error : -ENOMEM;
		return;
	}
	json_put_strn(o, key, s, (size_t)len);
}

void json_put_i64(struct json_out *o, const char *key, int64_t v)
{
	begin_value(o, key);
	buf_printf(o->buf, "%" PRId64, v);
}

void json_put_u64(struct json_out *o, const char *key, uint64_t v)
{
	begin_value(o, key);
	buf_printf(o->buf, "%" PRIu64, v);
}

void json_put_double(struct json_out *o, const char *key, double v)
{
	char text[40];

	/* The shortest text that reads back the same; JSON has no inf or nan.
	 */
	for (int digits = 6; digits <= 17; digits++) {
		snprintf(text, sizeof(text), "%.*g", digits, v);
		if (strtod(text, NULL) == v)
			break;
	}
	begin_value(o, key);
	buf_puts(o->buf, isfinite(v) ? text : "null");
}

void json_put_bool(struct json_out *o, const char *key, bool v)
{
	begin_value(o, key);
	buf_puts(o->buf, v ? "true" : "false");
}

void json_put_null(struct json_out *o, const char *key)
{
	begin_value(o, key);
	buf_puts(o->buf, "null");
}

void json_put_raw(struct json_out *o, const char *key, const char *text,
		  size_t len)
{
	begin_value(o, key);
	buf_add(o->buf, text, len);
}

void json_put_val(struct json_out *o, const char *key, yyjson_val *val)
{
	begin_value(o, key);
	(void)json_write(val, false, o->buf); /* the buf keeps the failure */
}

static int append(struct buf *b, char *text, size_t len)
{
	int r;

	if (!text) {
		b->error = b->error ? b->error : -ENOMEM;
		return -ENOMEM;
	}
	r = buf_add(b, text, len);
	free(text);
	return r;
}

static yyjson_write_flag style(bool pretty)
{
	return (pretty ? YYJSON_WRITE_PRETTY_TWO_SPACES : 0) |
	       YYJSON_WRITE_INF_AND_NAN_AS_NULL;
}

int json_write(yyjson_val *val, bool pretty, struct buf *b)
{
	size_t len = 0;
	char *text = yyjson_val_write(val, style(pretty), &len);

	return append(b, text, len);
}

int json_write_mut(yyjson_mut_val *val, bool pretty, struct buf *b)
{
	size_t len = 0;
	char *text = yyjson_mut_val_write(val, style(pretty), &len);

	return append(b, text, len);
}

// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>

#include "lib/base64.h"
#include "lib/buf.h"

static const char std_digits[] =
	"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static const char url_digits[] =
	"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static int put(struct buf *b, const uint8_t *p, size_t len, const char *digits,
	       bool pad)
{
	char *out = buf_reserve(b, (len + 2) / 3 * 4 + 1);
	size_t n = 0;

	if (!out)
		return -ENOMEM;
	for (size_t i = 0; i < len; i += 3) {
		size_t left = len - i;
		uint32_t v = (uint32_t)p[i] << 16 |
			     (left > 1 ? (uint32_t)p[i + 1] << 8 : 0) |
			     (left > 2 ? p[i + 2] : 0);

		out[n++] = digits[v >> 18];
		out[n++] = digits[v >> 12 & 63];
		if (left > 1)
			out[n++] = digits[v >> 6 & 63];
		else if (pad)
			out[n++] = '=';
		if (left > 2)
			out[n++] = digits[v & 63];
		else if (pad)
			out[n++] = '=';
	}
	buf_commit(b, n);
	return 0;
}

static int digit(char c, char c62, char c63)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == c62 ? 62 : c == c63 ? 63 : -1;
}

static int get(const char *s, size_t len, struct buf *b, char c62, char c63)
{
	size_t n = 0, rest = len % 4;
	uint32_t v = 0;
	uint8_t *out;

	if (rest == 1)
		return -EBADMSG;
	out = buf_reserve(b, len / 4 * 3 + 4);
	if (!out)
		return -ENOMEM;
	for (size_t i = 0; i < len; i++) {
		int d = digit(s[i], c62, c63);

		if (d < 0)
			return -EBADMSG;
		v = v << 6 | (uint32_t)d;
		if (i % 4 == 3) {
			out[n++] = v >> 16;
			out[n++] = v >> 8;
			out[n++] = v;
			v = 0;
		}
	}
	/* One text for each value: no bits may be left over. */
	if ((rest == 2 && v & 15) || (rest == 3 && v & 3))
		return -EBADMSG;
	if (rest == 2)
		out[n++] = v >> 4;
	if (rest == 3) {
		out[n++] = v >> 10;
		out[n++] = v >> 2;
	}
	buf_commit(b, n);
	return 0;
}

int base64_put(struct buf *b, const void *data, size_t len)
{
	return put(b, data, len, std_digits, true);
}

int base64url_put(struct buf *b, const void *data, size_t len)
{
	return put(b, data, len, url_digits, false);
}

int base64_get(const char *text, size_t len, struct buf *b)
{
	if (len % 4)
		return -EBADMSG;
	for (int i = 0; i < 2 && len && text[len - 1] == '='; i++)
		len--;
	return get(text, len, b, '+', '/');
}

int base64url_get(const char *text, size_t len, struct buf *b)
{
	return get(text, len, b, '-', '_');
}

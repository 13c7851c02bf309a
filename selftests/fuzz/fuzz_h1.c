// SPDX-License-Identifier: Apache-2.0
// FUZZ: lib/http/h1.c lib/http/h1_out.c lib/http/url.c lib/buf.c lib/err.c
/* However a message is cut, the same comes out of it; and nothing comes out of
 * it beyond the limits. The first byte chooses kind and cut. */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "lib/buf.h"
#include "lib/err.h"
#include "lib/http/h1.h"
#include "lib/http/url.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check_head(const struct h1_head *h, enum h1_kind kind)
{
	struct url u;

	assert(h->nr_fields <= H1_HEADERS_MAX);
	assert(!(h->chunked && h->has_length));
	for (size_t i = 0; i < h->nr_fields; i++) {
		assert(h->fields[i].name[0]);
		assert(!strpbrk(h->fields[i].value, "\r\n"));
	}
	if (kind == H1_RESPONSE)
		return;
	assert(h->target[0] == '/');
	if (url_parse(h->target, &u, NULL) < 0)
		return;
	for (size_t i = 0; i < u.nr_segments; i++)
		assert(u.segment[i][0] && strcmp(u.segment[i], "..") != 0);
	url_clear(&u);
}

static int run(enum h1_kind kind, const char *text, size_t len, size_t step,
	       struct buf *out)
{
	struct h1_limits limits = { .body = 5000 };
	size_t at = 0, used, body = 0;
	struct h1_piece piece;
	struct err e = { 0 };
	struct h1 p;
	int r;

	h1_init(&p, kind, &limits);
	for (;;) {
		size_t n = len - at < step ? len - at : step;

		r = h1_next(&p, text + at, n, &used, &piece, &e);
		assert(used <= n);
		at += used;
		if (r == H1_HEAD) {
			check_head(&p.head, kind);
			buf_printf(out, "H%zu,%d,", p.head.nr_fields,
				   p.head.status);
			body = 0;
		} else if (r == H1_BODY) {
			assert(piece.len &&
			       piece.data + piece.len <= text + at);
			body += piece.len;
			assert(body <= limits.body);
			buf_add(out, piece.data, piece.len);
		} else if (r == H1_END) {
			/* Fields still point to what they did. */
			check_head(&p.head, kind);
			buf_puts(out, "E");
			h1_reset(&p);
		} else if (r < 0 || at == len) {
			break;
		}
	}
	if (r >= 0)
		r = h1_eof(&p, &e);
	assert(r >= 0 || (e.msg[0] && (kind == H1_RESPONSE || p.status ||
				       r == -104 /* ECONNRESET */)));
	h1_clear(&p);
	return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct buf whole = BUF_INIT, cut = BUF_INIT;
	const char *text;
	enum h1_kind kind;
	size_t step;
	int a, b;

	if (!len)
		return 0;
	kind = data[0] & 1 ? H1_RESPONSE : H1_REQUEST;
	step = (size_t)(data[0] >> 1) + 1;
	text = (const char *)data + 1;
	len--;
	a = run(kind, text, len, SIZE_MAX, &whole);
	b = run(kind, text, len, step, &cut);
	/* A line too long may be noticed sooner or later: the verdict is one.
	 */
	assert((a < 0) == (b < 0));
	if (a >= 0)
		assert(strcmp(buf_str(&whole), buf_str(&cut)) == 0);
	buf_clear(&whole);
	buf_clear(&cut);
	return 0;
}

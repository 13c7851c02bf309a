// SPDX-License-Identifier: Apache-2.0
// FUZZ: lib/http/websocket.c lib/buf.c lib/err.c
/* However the bytes are cut, the same messages come out; and what is put comes
 * back as it was. The first byte: side and cut. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/buf.h"
#include "lib/err.h"
#include "lib/http/websocket.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/* What came out, written down: pieces of one message are joined. */
static int run(enum ws_side side, const uint8_t *data, size_t len, size_t step,
	       struct buf *out)
{
	char *copy = malloc(len + 1);
	struct ws_piece p;
	struct ws w;
	size_t at = 0, used;
	int r = WS_MORE;

	memcpy(copy, data, len);
	ws_init(&w, side);
	for (;;) {
		size_t n = len - at < step ? len - at : step;

		r = ws_next(&w, copy + at, n, &used, &p, NULL);
		assert(used <= n);
		at += used;
		if (r < 0 || r == WS_CLOSED || (r == WS_MORE && at == len))
			break;
		if (r == WS_MORE)
			continue;
		if (r != WS_PIECE)
			assert(p.len <= WS_CONTROL_MAX);
		if (p.first)
			buf_printf(out, "[%d %d ", r, p.op);
		buf_add(out, p.data, p.len);
		if (p.last)
			buf_puts(out, "]");
	}
	buf_printf(out, "%d", r < 0);
	free(copy);
	return r;
}

static void there_and_back(const uint8_t *data, size_t len)
{
	auto_buf struct buf wire = BUF_INIT;
	struct ws_piece p;
	struct ws w;
	size_t used;

	ws_put2(&wire, WS_CLIENT, WS_BINARY, "\1", 1, data, len);
	ws_init(&w, WS_SERVER);
	assert(ws_next(&w, wire.data, wire.len, &used, &p, NULL) == WS_PIECE);
	assert(p.first && p.last && p.len == len + 1 && p.data[0] == 1);
	assert(memcmp(p.data + 1, data, len) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	auto_buf struct buf a = BUF_INIT, b = BUF_INIT;
	enum ws_side side;
	size_t step;

	if (!len)
		return 0;
	side = data[0] & 1 ? WS_CLIENT : WS_SERVER;
	step = data[0] >> 1 ? data[0] >> 1 : 1;
	data++;
	len--;
	(void)run(side, data, len, len + 1, &a);
	(void)run(side, data, len, step, &b);
	assert(a.len == b.len && memcmp(a.data, b.data, a.len) == 0);
	there_and_back(data, len);
	return 0;
}

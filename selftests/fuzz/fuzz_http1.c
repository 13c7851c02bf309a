// SPDX-License-Identifier: Apache-2.0
// FUZZ: controlplane/apiserver/http1.c lib/http/h1.c
// FUZZ: lib/buf.c lib/err.c lib/str.c
/* The API server's requests as a whole, head and body: however they are cut,
 * the same comes out, and no other reader could see another end of a message.
 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "controlplane/apiserver/conn.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void clear(struct req *r)
{
	free(r->method);
	free(r->path);
	free(r->query);
	free(r->accept);
	free(r->content_type);
	free(r->bearer);
	free(r->user_agent);
	free(r->upgrade);
	buf_clear(&r->fields);
	buf_clear(&r->body);
}

/* The body, fed in steps. What it says: bytes used, or -1. */
static long body(const char *data, size_t len, size_t step, struct buf *to)
{
	struct chunks ch = { .state = CHUNK_SIZE };
	bool end = false;
	size_t at = 0;

	while (!end && at < len) {
		size_t n = len - at < step ? len - at : step;
		ssize_t used = http1_chunks(data + at, n, &ch, to, &end);

		if (used < 0)
			return -1;
		assert((size_t)used <= n && (used == (ssize_t)n || end));
		at += (size_t)used;
		assert(to->len <= BODY_MAX);
	}
	return end ? (long)at : -2;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	auto_buf struct buf a = BUF_INIT, b = BUF_INIT;
	struct req r = { 0 };
	struct err e = { 0 };
	int64_t left = 0;
	char *text = malloc(len + 1);
	ssize_t n;

	memcpy(text, data, len);
	text[len] = '\0';
	n = http1_head(text, len, &r, &left, &e);
	if (n > 0) {
		assert((size_t)n <= len && left >= -1);
		assert(r.method && *r.method && r.path && r.path[0] == '/');
		assert(!strpbrk(r.path, " \r\n?") && !strchr(r.query, ' '));
		assert(r.fields.len <= HEAD_MAX);
		if (left < 0) {
			long x = body(text + n, len - (size_t)n, len + 1, &a);

			assert(x == body(text + n, len - (size_t)n, 1, &b));
			assert(a.len == b.len);
		}
	}
	clear(&r);
	free(text);
	return 0;
}

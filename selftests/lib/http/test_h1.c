// SPDX-License-Identifier: Apache-2.0
/* LANE: native SECONDS: 30 */
#include <errno.h>

#include "lib/buf.h"
#include "lib/err.h"
#include "lib/http/h1.h"
#include "lib/http/url.h"
#include "selftests/harness.h"

static struct err e;

/* Parse @text, at most @step bytes at a time, and write down what came out. */
static int run(enum h1_kind kind, const char *text, size_t len, size_t step,
	       uint64_t body_max, struct buf *out, int *ret_status)
{
	struct h1_limits limits = { .body = body_max };
	struct h1_piece piece;
	size_t at = 0, used;
	struct h1 p;
	int r;

	h1_init(&p, kind, &limits);
	for (;;) {
		size_t n = len - at < step ? len - at : step;

		r = h1_next(&p, text + at, n, &used, &piece, &e);
		at += used;
		if (r == H1_HEAD) {
			if (kind == H1_REQUEST)
				buf_printf(out, "%s %s", p.head.method,
					   p.head.target);
			else
				buf_printf(out, "%d %s", p.head.status,
					   p.head.reason);
			for (size_t i = 0; i < p.head.nr_fields; i++)
				buf_printf(out, "|%s=%s", p.head.fields[i].name,
					   p.head.fields[i].value);
			buf_printf(out, "|%s>",
				   p.head.keep_alive ? "keep" : "close");
		} else if (r == H1_BODY) {
			buf_add(out, piece.data, piece.len);
		} else if (r == H1_END) {
			buf_puts(out, ".");
			h1_reset(&p);
		} else if (r < 0 || at == len) {
			break;
		}
	}
	if (r >= 0)
		r = h1_eof(&p, &e);
	if (r == H1_END)
		buf_puts(out, ".");
	*ret_status = p.status;
	h1_clear(&p);
	return r < 0 ? r : 0;
}

static const struct {
	enum h1_kind kind;
	const char *in, *out;
} good[] = {
	{ H1_REQUEST, "GET /a?b=c HTTP/1.1\r\nHost: x\r\n\r\n",
	  "GET /a?b=c|Host=x|keep>." },
	{ H1_REQUEST, "GET / HTTP/1.0\r\n\r\n", "GET /|close>." },
	{ H1_REQUEST, "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
	  "GET /|Connection=keep-alive|keep>." },
	{ H1_REQUEST,
	  "PUT / HTTP/1.1\r\nhost:x\r\nconnection: a, CLOSE\r\n"
	  "content-length:  3 \t\r\n\r\nabc",
	  "PUT /|host=x|connection=a, CLOSE|content-length=3|close>abc." },
	{ H1_REQUEST,
	  "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: Chunked\r\n\r\n"
	  "3;a=b\r\nabc\r\n0A\r\n0123456789\r\n0\r\nTrailer: ignored\r\n\r\n"
	  "GET /2 HTTP/1.1\r\nHost: y\r\n\r\n",
	  "POST /|Host=x|Transfer-Encoding=Chunked|keep>abc0123456789."
	  "GET /2|Host=y|keep>." },
	{ H1_REQUEST,
	  "GET /1 HTTP/1.1\r\nHost: x\r\n\r\nGET /2 HTTP/1.1\r\nHost: "
	  "x\r\n\r\n",
	  "GET /1|Host=x|keep>.GET /2|Host=x|keep>." },
	{ H1_REQUEST, "GET / HTTP/1.1\r\nHost: x\r\nEmpty:\r\n\r\n",
	  "GET /|Host=x|Empty=|keep>." },
	{ H1_RESPONSE, "HTTP/1.1 204 No Content\r\n\r\n",
	  "204 No Content|keep>." },
	{ H1_RESPONSE, "HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nhi",
	  "200 |Content-Length=2|keep>hi." },
	{ H1_RESPONSE, "HTTP/1.0 200 OK\r\n\r\nuntil the end",
	  "200 OK|close>until the end." },
	{ H1_RESPONSE,
	  "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n"
	  "0\r\n\r\n",
	  "200 OK|Transfer-Encoding=chunked|keep>x." },
};

TEST(reads_messages_however_they_are_cut)
{
	struct buf out = BUF_INIT;
	int status;

	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		for (size_t step = 1; step < 200; step += step < 20 ? 1 : 60) {
			buf_reset(&out);
			if (run(good[i].kind, good[i].in, strlen(good[i].in),
				step, 0, &out, &status) < 0)
				FAIL("%s (by %zu): %s", good[i].in, step,
				     e.msg);
			EXPECT_STREQ(buf_str(&out), good[i].out);
		}
	}
	buf_clear(&out);
}

#define REQ   "POST / HTTP/1.1\r\nHost: x\r\n"
#define CHUNK REQ "Transfer-Encoding: chunked\r\n\r\n"

static const struct {
	const char *in;
	int status;
	const char *msg;
} bad[] = {
	{ REQ "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", 400,
	  "Content-Length with Transfer-Encoding" },
	{ REQ "Content-Length: 3\r\nContent-Length: 3\r\n\r\n", 400,
	  "Content-Length twice" },
	{ REQ
	  "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
	  400, "Transfer-Encoding twice" },
	{ REQ "Transfer-Encoding: gzip, chunked\r\n\r\n", 501,
	  "a transfer coding other than chunked" },
	{ REQ "Transfer-Encoding: \vchunked\r\n\r\n", 400,
	  "a control character in a header field" },
	{ "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400,
	  "Transfer-Encoding in HTTP/1.0" },
	{ REQ "Content-Length: +3\r\n\r\n", 400, "not a Content-Length" },
	{ REQ "Content-Length: 3, 3\r\n\r\n", 400, "not a Content-Length" },
	{ REQ "Content-Length: 0x3\r\n\r\n", 400, "not a Content-Length" },
	{ REQ "Content-Length:\r\n\r\n", 400, "not a Content-Length" },
	{ REQ "Content-Length: 99999999999999999999\r\n\r\n", 413,
	  "the body is too large" },
	{ REQ "Content-Length: 1001\r\n\r\n", 413, "the body is too large" },
	{ "GET / HTTP/1.1\nHost: x\n\n", 400,
	  "LF without CR, or CR without LF" },
	{ "GET / HTTP/1.1\r\nHost: x\n\r\n", 400,
	  "LF without CR, or CR without LF" },
	{ "GET / HTTP/1.1\r\nHost: x\rA: b\r\n\r\n", 400,
	  "LF without CR, or CR without LF" },
	{ "GET / HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n", 400,
	  "a folded header line" },
	{ "GET / HTTP/1.1\r\nHost : x\r\n\r\n", 400,
	  "not the name of a header field" },
	{ "GET / HTTP/1.1\r\n: x\r\n\r\n", 400,
	  "not the name of a header field" },
	{ "GET / HTTP/1.1\r\nHost\r\n\r\n", 400,
	  "a header line without a colon" },
	{ "GET / HTTP/1.1\r\n\r\n", 400, "exactly one Host is needed" },
	{ "GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n", 400,
	  "exactly one Host is needed" },
	{ "\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n", 400,
	  "an empty line before the first" },
	{ "GET http://x/ HTTP/1.1\r\nHost: x\r\n\r\n", 400,
	  "the target must begin with '/'" },
	{ "GET * HTTP/1.1\r\nHost: x\r\n\r\n", 400,
	  "the target must begin with '/'" },
	{ "GET /a b HTTP/1.1\r\nHost: x\r\n\r\n", 400, "no HTTP version" },
	{ "GET /\x80 HTTP/1.1\r\nHost: x\r\n\r\n", 400,
	  "a bad character in the target" },
	{ "GET / HTTP/1.2\r\nHost: x\r\n\r\n", 505,
	  "only HTTP/1.1 and 1.0 are understood" },
	{ "GET / HTTP/2.0\r\nHost: x\r\n\r\n", 505,
	  "only HTTP/1.1 and 1.0 are understood" },
	{ "GET /\r\n\r\n", 400, "not a request line" },
	{ "G(T / HTTP/1.1\r\nHost: x\r\n\r\n", 400, "not a method" },
	{ CHUNK "g\r\n", 400, "not the size of a chunk" },
	{ CHUNK "\r\n", 400, "not the size of a chunk" },
	{ CHUNK "0x1\r\n", 400, "not the size of a chunk" },
	{ CHUNK "-1\r\n", 400, "not the size of a chunk" },
	{ CHUNK "1 \r\n", 400, "not the size of a chunk" },
	{ CHUNK "1111111111111111\r\n", 400, "not the size of a chunk" },
	{ CHUNK "1\nx", 400, "LF without CR, or CR without LF" },
	{ CHUNK "1\r\nxy\r\n", 431, "a line or the head is too long" },
	{ CHUNK "0\r\nfoo\r\n\r\n", 400, "a header line without a colon" },
	{ CHUNK "3e9\r\n", 413, "the body is too large" },
};

TEST(refuses_what_two_readers_may_read_differently)
{
	struct buf out = BUF_INIT;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		const char *msg = e.msg + strlen("HTTP: ");
		char text[2000];
		int status = 0, r;
		size_t len = strlen(bad[i].in);

		memset(text, 'x', sizeof(text));
		memcpy(text, bad[i].in, len);
		buf_reset(&out);
		r = run(H1_REQUEST, text, sizeof(text), 4096, 1000, &out,
			&status);
		if (r >= 0)
			FAIL("%s: taken", bad[i].in);
		else if (status != bad[i].status || strcmp(msg, bad[i].msg))
			FAIL("%s: %d %s", bad[i].in, status, msg);
	}
	buf_clear(&out);
}

TEST(nul_and_stray_cr_are_refused_wherever_they_are_cut)
{
	static const char nul[] = "GET / HTTP/1.1\r\nHost: x\0y\r\n\r\n";
	static const char cr[] = "GET / HTTP/1.1\r\nHost: x\r\r\n\r\n";
	struct buf out = BUF_INIT;
	int status;

	for (size_t step = 1; step < 40; step++) {
		EXPECT_EQ(run(H1_REQUEST, nul, sizeof(nul) - 1, step, 0, &out,
			      &status),
			  -EBADMSG);
		EXPECT_EQ(run(H1_REQUEST, cr, sizeof(cr) - 1, step, 0, &out,
			      &status),
			  -EBADMSG);
	}
	buf_clear(&out);
}

TEST(heads_are_limited)
{
	struct buf in = BUF_INIT, out = BUF_INIT;
	int status;

	buf_puts(&in, "GET /");
	for (int i = 0; i < 9000; i++)
		buf_putc(&in, 'a');
	EXPECT_EQ(run(H1_REQUEST, in.data, in.len, 1000, 0, &out, &status),
		  -E2BIG);
	EXPECT_EQ(status, 414);
	buf_reset(&in);
	buf_puts(&in, "GET / HTTP/1.1\r\nHost: x\r\n");
	for (int i = 0; i < 64; i++)
		buf_puts(&in, "A: b\r\n");
	buf_puts(&in, "\r\n");
	EXPECT_EQ(run(H1_REQUEST, in.data, in.len, 1000, 0, &out, &status),
		  -E2BIG);
	EXPECT_EQ(status, 431);
	buf_reset(&in);
	buf_puts(&in, "GET / HTTP/1.1\r\nHost: x\r\n");
	for (int i = 0; i < 6; i++) {
		buf_puts(&in, "A: ");
		for (int k = 0; k < 7000; k++)
			buf_putc(&in, 'v');
		buf_puts(&in, "\r\n");
	}
	EXPECT_EQ(run(H1_REQUEST, in.data, in.len, 1000, 0, &out, &status),
		  -E2BIG);
	EXPECT_EQ(status, 431);
	buf_clear(&in);
	buf_clear(&out);
}

TEST(a_message_cut_short_is_noticed)
{
	static const char *const cut[] = {
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
		"HTTP/1.1 200 OK\r\n",
	};
	struct buf out = BUF_INIT;
	int status;

	for (size_t i = 0; i < ARRAY_SIZE(cut); i++)
		EXPECT_EQ(run(H1_RESPONSE, cut[i], strlen(cut[i]), 100, 0, &out,
			      &status),
			  -ECONNRESET);
	buf_clear(&out);
}

TEST(urls_are_taken_apart)
{
	struct buf b = BUF_INIT;
	struct url u;

	ASSERT_EQ(url_parse("/api/v1/a%20b/?x=1&y=%2f+z&flag&x=2&&no=false", &u,
			    &e),
		  0);
	EXPECT_EQ(u.nr_segments, 3);
	EXPECT_STREQ(u.segment[2], "a b");
	EXPECT_STREQ(url_param(&u, "x"), "1");
	EXPECT_STREQ(url_param(&u, "y"), "/ z");
	EXPECT_EQ(url_flag(&u, "flag"), true);
	EXPECT_EQ(url_flag(&u, "no"), false);
	EXPECT_EQ(url_param(&u, "none") == NULL, true);
	EXPECT_EQ(u.nr_params, 5);
	url_clear(&u);
	ASSERT_EQ(url_parse("/", &u, &e), 0);
	EXPECT_EQ(u.nr_segments, 0);
	url_clear(&u);
	EXPECT_EQ(url_parse("/a/../b", &u, &e), -EBADMSG);
	EXPECT_EQ(url_parse("/a/%2e%2e/b", &u, &e), -EBADMSG);
	EXPECT_EQ(url_parse("/a%2fb", &u, &e), -EBADMSG);
	EXPECT_EQ(url_parse("//a", &u, &e), -EBADMSG);
	EXPECT_EQ(url_parse("/a%00", &u, &e), -EBADMSG);
	EXPECT_EQ(url_parse("/a%2", &u, &e), -EBADMSG);
	EXPECT_EQ(url_parse("/?a=%zz", &u, &e), -EBADMSG);
	url_encode(&b, "a b/\xc3\xa4~");
	EXPECT_STREQ(buf_str(&b), "a%20b%2F%C3%A4~");
	buf_clear(&b);
}

TEST_MAIN()

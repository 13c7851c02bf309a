// SPDX-License-Identifier: Apache-2.0
/* LANE: native SECONDS: 30 */
/* HTTP/2 from one session to another, and from peers that behave badly. */
#include <errno.h>

#include "lib/buf.h"
#include "lib/err.h"
#include "lib/http/h2.h"
#include "selftests/harness.h"

/* One end's view of its streams. */
struct end {
	struct h2 *h;
	struct h2_stream *last;
	char path[64];
	int status, nr_heads, nr_ends, nr_closed;
	size_t nr_data, to_send; /* bytes of body; of each answer */
	bool hold;               /* nothing to pull for now */
	bool trailers;
	char trailer[64];
	uint32_t code;
};

static void on_head(void *arg, struct h2_stream *s, const struct h2_head *h)
{
	struct end *n = arg;
	const struct h1_field ct = { "Content-Type", "text/plain" };

	n->last = s;
	n->nr_heads++;
	n->status = h->status;
	if (!h->path)
		return;
	snprintf(n->path, sizeof(n->path), "%s", h->path);
	h2_respond(s, 200, &ct, 1, true);
}

static void on_data(void *arg, struct h2_stream *s, const void *data,
		    size_t len)
{
	(void)s;
	(void)data;
	((struct end *)arg)->nr_data += len;
}

static void on_trailers(void *arg, struct h2_stream *s, const struct h2_head *h)
{
	(void)s;
	snprintf(((struct end *)arg)->trailer, 64, "%s",
		 h->nr_fields ? h->fields[0].value : "");
}

static void on_end(void *arg, struct h2_stream *s)
{
	(void)s;
	((struct end *)arg)->nr_ends++;
}

/* Streams with a number in their data send so much; the others @to_send. */
static ssize_t on_pull(void *arg, struct h2_stream *s, void *buf, size_t size,
		       bool *ret_eof)
{
	const struct h1_field ok = { "grpc-status", "0" };
	struct end *n = arg;
	size_t sent = (size_t)s->data, left = n->to_send - sent;

	if (n->hold)
		return 0;
	if (left > size)
		left = size;
	memset(buf, 'x', left);
	s->data = (void *)(sent + left);
	*ret_eof = sent + left == n->to_send;
	if (*ret_eof && n->trailers)
		h2_trailers(s, &ok, 1);
	return (ssize_t)left;
}

static void on_closed(void *arg, struct h2_stream *s, uint32_t code)
{
	struct end *n = arg;

	if (n->last == s)
		n->last = NULL;
	n->nr_closed++;
	n->code = code;
}

static const struct h2_ops ops = {
	.head = on_head,
	.data = on_data,
	.trailers = on_trailers,
	.end = on_end,
	.pull = on_pull,
	.closed = on_closed,
};

static int make(struct end *n, bool server)
{
	struct h2_opts o = { .server = server, .ops = &ops, .arg = n };

	return h2_new(&o, &n->h, NULL);
}

/* Pass on what both have to say, until neither has anything. */
static int pump(struct end *a, struct end *b)
{
	const uint8_t *data;
	bool more = true;
	int r = 0;

	while (more) {
		ssize_t n;

		more = false;
		while ((n = h2_out(a->h, &data)) > 0) {
			more = true;
			if (h2_in(b->h, data, (size_t)n, NULL) < 0)
				r = -1;
		}
		while ((n = h2_out(b->h, &data)) > 0) {
			more = true;
			if (h2_in(a->h, data, (size_t)n, NULL) < 0)
				r = -1;
		}
	}
	return r;
}

static int ask(struct end *c, const char *path, struct h2_stream **ret)
{
	struct h2_head head = { .method = "GET",
				.path = path,
				.scheme = "https",
				.authority = "a.example" };
	struct h2_stream *s;
	int r = h2_request(c->h, &head, false, NULL, &s, NULL);

	if (ret)
		*ret = s;
	return r;
}

TEST(a_request_is_answered)
{
	struct end c = { 0 }, s = { .to_send = 100000 };

	ASSERT_EQ(make(&c, false), 0);
	ASSERT_EQ(make(&s, true), 0);
	ASSERT_EQ(ask(&c, "/api/v1/pods?watch=1", NULL), 0);
	EXPECT_EQ(pump(&c, &s), 0);
	EXPECT_STREQ(s.path, "/api/v1/pods?watch=1");
	EXPECT_EQ(c.status, 200);
	EXPECT_EQ(c.nr_data, 100000);
	EXPECT_EQ(c.nr_ends, 1);
	EXPECT_EQ(c.nr_closed, 1);
	EXPECT_EQ(s.nr_closed, 1);
	EXPECT_EQ(h2_nr_streams(s.h), 0);
	h2_free(c.h);
	h2_free(s.h);
}

TEST(an_answer_waits_without_holding_up_another)
{
	struct end c = { 0 }, s = { .to_send = 10, .hold = true };
	struct h2_stream *slow;

	ASSERT_EQ(make(&c, false), 0);
	ASSERT_EQ(make(&s, true), 0);
	ASSERT_EQ(ask(&c, "/slow", NULL), 0);
	EXPECT_EQ(pump(&c, &s), 0);
	EXPECT_EQ(c.nr_heads, 1);
	slow = s.last;
	s.hold = false;
	ASSERT_EQ(ask(&c, "/fast", NULL), 0);
	EXPECT_EQ(pump(&c, &s), 0);
	EXPECT_EQ(c.nr_ends, 1);
	EXPECT_EQ(c.nr_data, 10);
	h2_resume(slow);
	EXPECT_EQ(pump(&c, &s), 0);
	EXPECT_EQ(c.nr_ends, 2);
	h2_free(c.h);
	h2_free(s.h);
}

TEST(trailers_follow_a_body)
{
	struct end c = { 0 }, s = { .to_send = 5, .trailers = true };

	ASSERT_EQ(make(&c, false), 0);
	ASSERT_EQ(make(&s, true), 0);
	ASSERT_EQ(ask(&c, "/grpc", NULL), 0);
	EXPECT_EQ(pump(&c, &s), 0);
	EXPECT_STREQ(c.trailer, "0");
	EXPECT_EQ(c.nr_ends, 1);
	EXPECT_EQ(c.nr_data, 5);
	h2_free(c.h);
	h2_free(s.h);
}

TEST(streams_are_limited)
{
	struct end c = { 0 }, s = { .hold = true };
	int n = 0;

	ASSERT_EQ(make(&c, false), 0);
	ASSERT_EQ(make(&s, true), 0);
	EXPECT_EQ(pump(&c, &s), 0);
	while (n < 1000 && ask(&c, "/watch", NULL) == 0)
		n++;
	EXPECT_EQ(n, H2_STREAMS_MAX);
	EXPECT_EQ(pump(&c, &s), 0);
	EXPECT_EQ(s.nr_heads, H2_STREAMS_MAX);
	EXPECT_EQ(h2_can_open(c.h), false);
	h2_free(c.h);
	h2_free(s.h);
	EXPECT_EQ(s.nr_closed, H2_STREAMS_MAX);
}

TEST(a_head_that_is_too_large_is_told_so)
{
	struct end c = { 0 }, s = { 0 };
	static char big[30000];
	struct h1_field f[3] = { { "a", big }, { "b", big }, { "c", big } };
	struct h2_head head = { .method = "GET",
				.path = "/",
				.scheme = "https",
				.authority = "a",
				.fields = f,
				.nr_fields = 3 };
	struct h2_stream *st;

	memset(big, 'x', sizeof(big) - 1);
	ASSERT_EQ(make(&c, false), 0);
	ASSERT_EQ(make(&s, true), 0);
	ASSERT_EQ(h2_request(c.h, &head, false, NULL, &st, NULL), 0);
	EXPECT_EQ(pump(&c, &s), 0);
	EXPECT_EQ(c.status, 431);
	EXPECT_EQ(s.nr_heads, 0);
	h2_free(c.h);
	h2_free(s.h);
}

/* Goes on until the server has had enough; how often it took. */
static int annoy(struct end *c, struct end *s,
		 int (*trick)(struct end *c, struct end *s))
{
	for (int i = 0; i < 20000; i++) {
		if (trick(c, s) < 0 || pump(c, s) < 0)
			return i;
	}
	return 20000;
}

static int reset_at_once(struct end *c, struct end *s)
{
	struct h2_stream *st;

	if (ask(c, "/x", &st) < 0 || pump(c, s) < 0)
		return -1;
	h2_reset(st, H2_CANCEL);
	return 0;
}

static int ping(struct end *c, struct end *s)
{
	(void)s;
	return h2_ping(c->h);
}

static void expect_calm(int *verdict_,
			int (*trick)(struct end *c, struct end *s))
{
	struct end c = { 0 }, s = { .hold = true };

	ASSERT_EQ(make(&c, false), 0);
	ASSERT_EQ(make(&s, true), 0);
	EXPECT_EQ(pump(&c, &s), 0);
	EXPECT_EQ(annoy(&c, &s, trick) < 5000, true);
	EXPECT_EQ(h2_is_going(c.h), true);
	h2_free(c.h);
	h2_free(s.h);
}

TEST(rapid_resets_are_cut_off)
{
	expect_calm(verdict_, reset_at_once);
}

TEST(ping_floods_are_cut_off)
{
	expect_calm(verdict_, ping);
}

TEST(pings_come_back)
{
	struct end c = { 0 }, s = { 0 };

	ASSERT_EQ(make(&c, false), 0);
	ASSERT_EQ(make(&s, true), 0);
	EXPECT_EQ(h2_ping(c.h), 0);
	EXPECT_EQ(pump(&c, &s), 0);
	EXPECT_EQ(h2_nr_pongs(c.h), 1);
	h2_free(c.h);
	h2_free(s.h);
}

/* A frame by hand. */
static void frame(struct buf *b, int type, int flags, int id, size_t len)
{
	buf_putc(b, 0);
	buf_putc(b, (char)(len >> 8));
	buf_putc(b, (char)len);
	buf_putc(b, (char)type);
	buf_putc(b, (char)flags);
	buf_add(b, "\0\0\0", 3);
	buf_putc(b, (char)id);
}

TEST(endless_continuations_are_cut_off)
{
	static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
	auto_buf struct buf b = BUF_INIT;
	struct end s = { 0 };
	struct err e = { 0 };
	int r;

	ASSERT_EQ(make(&s, true), 0);
	buf_add(&b, preface, sizeof(preface) - 1);
	frame(&b, 4, 0, 0, 0);
	frame(&b, 1, 1, 1, 1);
	buf_putc(&b, (char)0x82);
	for (int i = 0; i < 100; i++)
		frame(&b, 9, 0, 1, 0);
	r = h2_in(s.h, b.data, b.len, &e);
	EXPECT_EQ(r == -EDQUOT || r == -EBADMSG, true);
	EXPECT_EQ(s.nr_heads, 0);
	h2_free(s.h);
}

TEST(what_is_not_http2_is_refused)
{
	struct end s = { 0 };
	struct err e = { 0 };

	ASSERT_EQ(make(&s, true), 0);
	EXPECT_EQ(h2_in(s.h, "GET / HTTP/1.1\r\nHost: a\r\n\r\n", 27, &e),
		  -EBADMSG);
	EXPECT_STREQ(e.msg, "HTTP/2: Received bad client magic byte string");
	h2_free(s.h);
}

TEST(goodbye_lets_streams_end)
{
	struct end c = { 0 }, s = { .to_send = 10, .hold = true };

	ASSERT_EQ(make(&c, false), 0);
	ASSERT_EQ(make(&s, true), 0);
	ASSERT_EQ(ask(&c, "/last", NULL), 0);
	EXPECT_EQ(pump(&c, &s), 0);
	h2_goaway(s.h, false);
	h2_goaway(s.h, true);
	EXPECT_EQ(pump(&c, &s), 0);
	EXPECT_EQ(ask(&c, "/too-late", NULL), -EAGAIN);
	EXPECT_EQ(h2_is_done(s.h), false);
	s.hold = false;
	h2_resume(s.last);
	EXPECT_EQ(pump(&c, &s), 0);
	EXPECT_EQ(c.nr_ends, 1);
	EXPECT_EQ(h2_is_done(s.h), true);
	h2_free(c.h);
	h2_free(s.h);
}

TEST_MAIN()

// SPDX-License-Identifier: Apache-2.0
/* LANE: native SECONDS: 90 */
/* Clients that lie, stall, flood or go away, over HTTP/1.1 and HTTP/2. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include "controlplane/apiserver/internal.h"
#include "controlplane/client/rest.h"
#include "lib/fs.h"
#include "lib/http/h2.h"
#include "lib/http/tls.h"
#include "lib/str.h"
#include "selftests/harness.h"

/* --- a client made of bytes ----------------------------------------------- */

struct world {
	struct api *api;
	struct rest *rest;
	SSL_CTX *h1, *h2;
};

static SSL_CTX *client_context(struct world *w, bool h2)
{
	auto_buf struct buf cert = BUF_INIT, key = BUF_INIT;
	struct cert_request req = { .common_name = "tester",
				    .organizations = "system:masters",
				    .days = 1 };
	struct tls_client_opts o = { .server_ca_pem = ca_cert_pem(w->api->ca),
				     .h2 = h2 };
	SSL_CTX *ctx = NULL;

	if (ca_issue(w->api->ca, &req, &cert, &key, NULL) < 0)
		return NULL;
	o.cert_pem = buf_str(&cert);
	o.key_pem = buf_str(&key);
	return tls_client_new(&o, &ctx, NULL) < 0 ? NULL : ctx;
}

static int world_start(struct world *w)
{
	struct api_opts o = { .data_dir = "data", .listen = "127.0.0.1:0" };
	struct err e = { 0 };
	int r = api_start(&o, &w->api, &e);

	if (r == 0)
		r = rest_open("data/admin.kubeconfig", &w->rest, &e);
	if (r < 0) {
		printf("# %s\n", e.msg);
		return r;
	}
	w->h1 = client_context(w, false);
	w->h2 = client_context(w, true);
	return w->h1 && w->h2 ? 0 : -ENOMEM;
}

static void world_stop(struct world *w)
{
	rest_close(w->rest);
	if (w->api)
		api_stop(w->api);
	SSL_CTX_free(w->h1);
	SSL_CTX_free(w->h2);
}

static SSL *dial(struct world *w, SSL_CTX *ctx, int rcvbuf)
{
	struct sockaddr_in to = { .sin_family = AF_INET,
				  .sin_port = htons(api_port(w->api)),
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	SSL *ssl = SSL_new(ctx);

	if (rcvbuf)
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &rcvbuf, sizeof(rcvbuf));
	if (!ssl || connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0 ||
	    SSL_set_fd(ssl, fd) != 1 || SSL_connect(ssl) != 1) {
		SSL_free(ssl);
		close(fd);
		return NULL;
	}
	return ssl;
}

static void hang_up(SSL *ssl)
{
	int fd = ssl ? SSL_get_fd(ssl) : -1;

	SSL_free(ssl);
	if (fd >= 0)
		close(fd);
}

/* Send @text, and read until @want has come or the server closes. */
static bool talk(SSL *ssl, const char *text, size_t len, const char *want,
		 struct buf *got)
{
	char data[16384];
	int n = 1;

	/* A record at a time. The server may close before it has all. */
	while (len && (n = SSL_write(ssl, text, (int)len)) > 0) {
		text += n;
		len -= (size_t)n;
	}
	n = 1;
	while (!strstr(buf_str(got), want) && n > 0) {
		n = SSL_read(ssl, data, sizeof(data));
		if (n > 0)
			buf_add(got, data, (size_t)n);
	}
	return strstr(buf_str(got), want) != NULL;
}

static int create(struct world *w, const char *name, size_t bytes)
{
	auto_buf struct buf b = BUF_INIT, answer = BUF_INIT;
	int r;

	buf_printf(&b, "{\"metadata\":{\"name\":\"%s\"},\"data\":{\"x\":\"",
		   name);
	for (size_t i = 0; i < bytes; i++)
		buf_putc(&b, 'x');
	buf_puts(&b, "\"}}");
	r = rest_call(w->rest, "POST", "/api/v1/namespaces/default/configmaps",
		      buf_str(&b), NULL, &answer, NULL);
	return r == 201 ? 0 : r;
}

/* --- HTTP/1.1 ------------------------------------------------------------- */

TEST(lies_of_http1_are_told)
{
	static const struct {
		const char *text, *want;
	} cases[] = {
		{ "GET / HTTP/1.1\nHost: a\n\n\r\n\r\n", "HTTP/1.1 400 " },
		{ "POST /api/v1/namespaces HTTP/1.1\r\nContent-Length: 5\r\n"
		  "Transfer-Encoding: chunked\r\n\r\n",
		  "Content-Length beside Transfer-Encoding" },
		{ "POST /api/v1/namespaces HTTP/1.1\r\nContent-Length: 5\r\n"
		  "Content-Length: 5\r\n\r\n",
		  "bad Content-Length" },
		{ "POST /api/v1/namespaces HTTP/1.1\r\n"
		  "Content-Length: 99999999\r\n\r\n",
		  "HTTP/1.1 413 " },
		{ "POST /api/v1/namespaces HTTP/1.1\r\n"
		  "Transfer-Encoding: chunked\r\n\r\nfffffff\r\n",
		  "HTTP/1.1 413 " },
		{ "POST /api/v1/namespaces HTTP/1.1\r\n"
		  "Transfer-Encoding: chunked\r\n\r\nxyz\r\n",
		  "malformed chunk" },
		{ "GET /api/v1/../v1 HTTP/1.1\r\n\r\n", "HTTP/1.1 400 " },
		{ "BREW /api/v1/pods HTTP/1.1\r\n\r\n", "HTTP/1.1 405 " },
		{ "GET /version HTTP/1.1\r\n\r\n", "\"major\"" },
	};
	struct world w = { 0 };

	ASSERT_EQ(world_start(&w), 0);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		auto_buf struct buf got = BUF_INIT;
		SSL *ssl = dial(&w, w.h1, 0);

		ASSERT_EQ(ssl != NULL, true);
		if (!talk(ssl, cases[i].text, strlen(cases[i].text),
			  cases[i].want, &got))
			FAIL("case %zu: want '%s', got '%.200s'", i,
			     cases[i].want, buf_str(&got));
		hang_up(ssl);
	}
	world_stop(&w);
}

TEST(a_head_without_end_is_cut_off)
{
	struct world w = { 0 };
	auto_buf struct buf got = BUF_INIT, text = BUF_INIT;
	SSL *ssl;

	ASSERT_EQ(world_start(&w), 0);
	buf_puts(&text, "GET / HTTP/1.1\r\n");
	while (text.len < 100000)
		buf_puts(&text, "X-More: and more and more\r\n");
	ssl = dial(&w, w.h1, 0);
	EXPECT_EQ(talk(ssl, text.data, text.len, "HTTP/1.1 431 ", &got), true);
	hang_up(ssl);
	world_stop(&w);
}

/* With its end or without, the answer says what is too long. */
TEST(a_url_too_long_is_told)
{
	static const size_t sizes[] = { 32768, 33000, 60000, 200000 };
	struct world w = { 0 };

	ASSERT_EQ(world_start(&w), 0);
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		auto_buf struct buf got = BUF_INIT, text = BUF_INIT;
		SSL *ssl = dial(&w, w.h1, 0);

		buf_puts(&text, "GET /");
		while (text.len < sizes[i] + strlen("GET "))
			buf_putc(&text, 'a');
		buf_puts(&text, " HTTP/1.1\r\n\r\n");
		if (!talk(ssl, text.data, text.len,
			  i ? "request URL is too long, the limit is 32 KiB"
			    : "HTTP/1.1 404 ",
			  &got))
			FAIL("%zu bytes: %.200s", sizes[i], buf_str(&got));
		if (i)
			EXPECT_EQ(str_starts(buf_str(&got), "HTTP/1.1 414 "),
				  true);
		hang_up(ssl);
	}
	world_stop(&w);
}

/* However slowly it comes, it holds nobody up, and is one request. */
TEST(bytes_that_come_one_by_one_are_a_request)
{
	static const char text[] =
		"POST /api/v1/namespaces/default/configmaps HTTP/1.1\r\n"
		"Content-Length: 28\r\n\r\n{\"metadata\":{\"name\":\"slow\"}}";
	auto_buf struct buf got = BUF_INIT;
	struct world w = { 0 };
	SSL *slow, *fast;

	ASSERT_EQ(world_start(&w), 0);
	slow = dial(&w, w.h1, 0);
	for (size_t i = 0; i < sizeof(text) - 1; i++) {
		ASSERT_EQ(SSL_write(slow, text + i, 1), 1);
		if (i % 40)
			continue;
		fast = dial(&w, w.h1, 0);
		buf_reset(&got);
		EXPECT_EQ(talk(fast, "GET /version HTTP/1.1\r\n\r\n", 25,
			       "v1.32.0", &got),
			  true);
		hang_up(fast);
	}
	/* What follows the bytes that were promised must be a request. */
	buf_reset(&got);
	EXPECT_EQ(talk(slow, "\r\n\r\n", 4, "HTTP/1.1 400 ", &got), true);
	hang_up(slow);
	world_stop(&w);
}

/* Those who begin to greet and say no more are not waited for. */
TEST(greetings_that_stop_hold_nobody_up)
{
	static const unsigned char begun[] = { 0x16, 0x03, 0x01, 0x02, 0x00 };
	auto_buf struct buf got = BUF_INIT;
	struct world w = { 0 };
	int fd[200];
	SSL *ssl;

	ASSERT_EQ(world_start(&w), 0);
	for (size_t i = 0; i < ARRAY_SIZE(fd); i++) {
		struct sockaddr_in to = { .sin_family = AF_INET,
					  .sin_port = htons(api_port(w.api)),
					  .sin_addr.s_addr =
						  htonl(INADDR_LOOPBACK) };

		fd[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		ASSERT_EQ(connect(fd[i], (struct sockaddr *)&to, sizeof(to)),
			  0);
		EXPECT_EQ(write(fd[i], begun, sizeof(begun)), sizeof(begun));
	}
	ssl = dial(&w, w.h1, 0);
	ASSERT_EQ(ssl != NULL, true);
	EXPECT_EQ(talk(ssl, "GET /version HTTP/1.1\r\n\r\n", 25, "v1.32.0",
		       &got),
		  true);
	hang_up(ssl);
	for (size_t i = 0; i < ARRAY_SIZE(fd); i++)
		close(fd[i]);
	world_stop(&w);
}

static double cpu_of(const struct loop *v, unsigned int nr)
{
	double sum = 0;

	for (unsigned int i = 0; i < nr; i++) {
		struct timespec ts = { 0 };
		clockid_t id;

		if (pthread_getcpuclockid(v[i].thread, &id) ||
		    clock_gettime(id, &ts) < 0)
			printf("# no clock of thread %u\n", i);
		sum += (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
	}
	return sum;
}

/* Whose connection is open does not wait for the handshakes of others: what
 * those cost is not spent by who answers it. */
TEST(handshakes_are_no_loops_work)
{
	static const char get[] = "GET /version HTTP/1.1\r\n\r\n";
	auto_buf struct buf got = BUF_INIT;
	struct world w = { 0 };
	double loops, greeters;
	struct api *api;
	SSL *open;

	ASSERT_EQ(world_start(&w), 0);
	api = w.api;
	open = dial(&w, w.h1, 0);
	ASSERT_EQ(open != NULL, true);
	EXPECT_EQ(talk(open, get, sizeof(get) - 1, "v1.32.0", &got), true);
	loops = cpu_of(api->loops, api->nr_loops);
	greeters = cpu_of(api->greeters, api->nr_greeters);
	for (int i = 0; i < 300; i++) {
		SSL *ssl = dial(&w, w.h1, 0);

		ASSERT_EQ(ssl != NULL, true);
		hang_up(ssl);
	}
	buf_reset(&got);
	EXPECT_EQ(talk(open, get, sizeof(get) - 1, "v1.32.0", &got), true);
	loops = cpu_of(api->loops, api->nr_loops) - loops;
	greeters = cpu_of(api->greeters, api->nr_greeters) - greeters;
	printf("# 300 handshakes: greeters %.1f ms, loops %.1f ms\n",
	       greeters * 1e3, loops * 1e3);
	/* A loop enters each connection, and closes it. */
	EXPECT_EQ(greeters > 3 * loops, true);
	hang_up(open);
	world_stop(&w);
}

/* What one loop has more, all wait for whom it serves. */
TEST(loops_have_alike_many_connections)
{
	static const char get[] = "GET /version HTTP/1.1\r\n\r\n";
	auto_buf struct buf got = BUF_INIT;
	struct world w = { 0 };
	SSL *open[24];
	unsigned int least = UINT_MAX, most = 0;

	ASSERT_EQ(world_start(&w), 0);
	for (size_t i = 0; i < ARRAY_LEN(open); i++) {
		open[i] = dial(&w, w.h1, 0);
		ASSERT_EQ(open[i] != NULL, true);
	}
	for (size_t i = 0; i < ARRAY_LEN(open); i++) {
		buf_reset(&got);
		EXPECT_EQ(talk(open[i], get, sizeof(get) - 1, "v1.32.0", &got),
			  true);
	}
	for (unsigned int i = 0; i < w.api->nr_loops; i++) {
		unsigned int n = atomic_load(&w.api->loops[i].load);

		least = n < least ? n : least;
		most = n > most ? n : most;
	}
	EXPECT_GE(most * w.api->nr_loops, ARRAY_LEN(open));
	EXPECT_GE(least + 1, most);
	for (size_t i = 0; i < ARRAY_LEN(open); i++)
		hang_up(open[i]);
	world_stop(&w);
}

TEST(a_large_chunk_is_one_body)
{
	struct world w = { 0 };
	auto_buf struct buf got = BUF_INIT, text = BUF_INIT;
	SSL *ssl;

	ASSERT_EQ(world_start(&w), 0);
	buf_puts(&text, "POST /api/v1/namespaces/default/configmaps HTTP/1.1"
			"\r\nContent-Type: application/json\r\n"
			"Transfer-Encoding: chunked\r\n\r\n30d7d\r\n"
			"{\"metadata\":{\"name\":\"big\"},\"data\":{\"x\":\"");
	for (int i = 0; i < 200000; i++)
		buf_putc(&text, 'x');
	buf_puts(&text, "\"}}\r\n0\r\n\r\n");
	/* The chunk's size, as it is. */
	{
		const char *body = strstr(text.data, "{\"metadata");
		size_t len = (size_t)(strstr(body, "\r\n") - body);
		char size[16];

		snprintf(size, sizeof(size), "%05zx", len);
		memcpy(strstr(text.data, "30d7d"), size, 5);
	}
	ssl = dial(&w, w.h1, 0);
	EXPECT_EQ(talk(ssl, text.data, text.len, "HTTP/1.1 201 ", &got), true);
	hang_up(ssl);
	world_stop(&w);
}

TEST(deep_json_is_refused)
{
	struct world w = { 0 };
	auto_buf struct buf b = BUF_INIT, answer = BUF_INIT;

	ASSERT_EQ(world_start(&w), 0);
	buf_puts(&b, "{\"metadata\":{\"name\":\"a\"},\"data\":");
	for (int i = 0; i < 100000; i++)
		buf_puts(&b, "[");
	EXPECT_EQ(rest_call(w.rest, "POST",
			    "/api/v1/namespaces/default/configmaps",
			    buf_str(&b), NULL, &answer, NULL),
		  400);
	world_stop(&w);
}

TEST(collections_are_deleted)
{
	auto_buf struct buf answer = BUF_INIT;
	struct world w = { 0 };
	char name[16];

	ASSERT_EQ(world_start(&w), 0);
	for (int i = 0; i < 20; i++) {
		snprintf(name, sizeof(name), "c%d", i);
		EXPECT_EQ(create(&w, name, 10), 0);
	}
	EXPECT_EQ(rest_call(w.rest, "DELETE",
			    "/api/v1/namespaces/default/configmaps", NULL, NULL,
			    &answer, NULL),
		  200);
	EXPECT_EQ(rest_call(w.rest, "GET",
			    "/api/v1/namespaces/default/configmaps/c7", NULL,
			    NULL, &answer, NULL),
		  404);
	world_stop(&w);
}

/* A watcher that does not read holds nobody up, and is told when it missed
 * something. */
TEST(a_watcher_that_does_not_read_is_bounded)
{
	static const char ask[] =
		"GET /api/v1/namespaces/default/configmaps?watch=1&"
		"resourceVersion=1 HTTP/1.1\r\n\r\n";
	auto_buf struct buf got = BUF_INIT;
	struct world w = { 0 };
	char name[16];
	SSL *ssl;

	ASSERT_EQ(world_start(&w), 0);
	ssl = dial(&w, w.h1, 4096);
	ASSERT_EQ(SSL_write(ssl, ask, sizeof(ask) - 1) > 0, true);
	for (int i = 0; i < 60; i++) {
		snprintf(name, sizeof(name), "w%d", i);
		ASSERT_EQ(create(&w, name, 900000), 0);
	}
	/* All of it comes, or the reason why not. */
	EXPECT_EQ(talk(ssl, "", 0, "\"name\":\"w0\"", &got), true);
	while (!strstr(buf_str(&got) + (got.len > 4096 ? got.len - 4096 : 0),
		       "\"Expired\"")) {
		char data[65536];
		int n = SSL_read(ssl, data, sizeof(data));

		if (n <= 0 || memmem(data, (size_t)n, "\"name\":\"w59\"", 12))
			break;
		/* Only the end is kept. */
		if (got.len > 1 << 20)
			buf_consume(&got, got.len - 65536);
		buf_add(&got, data, (size_t)n);
	}
	hang_up(ssl);
	world_stop(&w);
}

/* --- HTTP/2 --------------------------------------------------------------- */

struct h2c {
	struct h2 *h;
	SSL *ssl;
	int nr_ends;
	int status;
	size_t nr_data;
	struct buf text;
	bool closed;
};

static void on_head(void *arg, struct h2_stream *s, const struct h2_head *h)
{
	(void)s;
	((struct h2c *)arg)->status = h->status;
}

static void on_data(void *arg, struct h2_stream *s, const void *data,
		    size_t len)
{
	struct h2c *c = arg;

	(void)s;
	c->nr_data += len;
	if (c->text.len < 1 << 20)
		buf_add(&c->text, data, len);
}

static void on_end(void *arg, struct h2_stream *s)
{
	(void)s;
	((struct h2c *)arg)->nr_ends++;
}

static ssize_t on_pull(void *arg, struct h2_stream *s, void *buf, size_t size,
		       bool *ret_eof)
{
	(void)arg;
	(void)s;
	(void)buf;
	(void)size;
	*ret_eof = true;
	return 0;
}

static void on_closed(void *arg, struct h2_stream *s, uint32_t code)
{
	(void)arg;
	(void)s;
	(void)code;
}

static const struct h2_ops ops = {
	.head = on_head,
	.data = on_data,
	.end = on_end,
	.pull = on_pull,
	.closed = on_closed,
};

static int h2c_open(struct world *w, struct h2c *c)
{
	struct h2_opts o = { .ops = &ops, .arg = c };

	c->ssl = dial(w, w->h2, 0);
	return c->ssl ? h2_new(&o, &c->h, NULL) : -ECONNREFUSED;
}

static void h2c_close(struct h2c *c)
{
	h2_free(c->h);
	hang_up(c->ssl);
	buf_clear(&c->text);
}

static int h2c_ask(struct h2c *c, const char *path)
{
	struct h2_head head = { .method = "GET",
				.path = path,
				.scheme = "https",
				.authority = "localhost" };
	struct h2_stream *s;

	return h2_request(c->h, &head, false, NULL, &s, NULL);
}

static void h2c_send(struct h2c *c, const uint8_t *data, ssize_t len)
{
	int n = 1;

	/* A record at a time. */
	for (; len && n > 0; data += n, len -= n)
		n = SSL_write(c->ssl, data, (int)len);
	c->closed |= n <= 0;
}

/* Until *@until is at least @value, or the server closes. */
static void h2c_run(struct h2c *c, const int *until, int value)
{
	const uint8_t *out;
	char data[16384];
	ssize_t n;

	while (*until < value && !c->closed) {
		while ((n = h2_out(c->h, &out)) > 0)
			h2c_send(c, out, n);
		if (*until >= value || c->closed)
			break;
		n = SSL_read(c->ssl, data, sizeof(data));
		if (n <= 0 || h2_in(c->h, data, (size_t)n, NULL) < 0)
			c->closed = true;
	}
}

TEST(streams_of_http2_are_independent)
{
	struct world w = { 0 };
	struct h2c c = { 0 };

	ASSERT_EQ(world_start(&w), 0);
	ASSERT_EQ(h2c_open(&w, &c), 0);
	for (int i = 0; i < 20; i++)
		ASSERT_EQ(h2c_ask(&c, "/api/v1/configmaps?watch=1&"
				      "resourceVersion=1"),
			  0);
	ASSERT_EQ(h2c_ask(&c, "/version"), 0);
	h2c_run(&c, &c.nr_ends, 1);
	EXPECT_EQ(c.nr_ends, 1);
	EXPECT_EQ(strstr(buf_str(&c.text), "v1.32.0") != NULL, true);
	EXPECT_EQ(c.closed, false);
	h2c_close(&c);
	world_stop(&w);
}

TEST(heads_too_large_are_told_over_http2)
{
	struct h1_field large = { "x-more", NULL };
	struct h2_head head = { .method = "GET",
				.path = "/version",
				.scheme = "https",
				.authority = "localhost",
				.fields = &large,
				.nr_fields = 1 };
	auto_buf struct buf text = BUF_INIT;
	struct world w = { 0 };
	struct h2c c = { 0 };
	struct h2_stream *s;

	ASSERT_EQ(world_start(&w), 0);
	ASSERT_EQ(h2c_open(&w, &c), 0);
	buf_putc(&text, '/');
	while (text.len < 40000)
		buf_putc(&text, 'a');
	ASSERT_EQ(h2c_ask(&c, buf_str(&text)), 0);
	h2c_run(&c, &c.nr_ends, 1);
	EXPECT_EQ(c.status, 414);
	EXPECT_EQ(strstr(buf_str(&c.text),
			 "\"reason\":\"RequestURITooLong\"") != NULL,
		  true);
	while (text.len < 70000)
		buf_putc(&text, 'a');
	large.value = buf_str(&text);
	ASSERT_EQ(h2_request(c.h, &head, false, NULL, &s, NULL), 0);
	h2c_run(&c, &c.nr_ends, 2);
	EXPECT_EQ(c.status, 431);
	/* The connection is as it was. */
	ASSERT_EQ(h2c_ask(&c, "/version"), 0);
	h2c_run(&c, &c.nr_ends, 3);
	EXPECT_EQ(c.status, 200);
	h2c_close(&c);
	world_stop(&w);
}

TEST(a_list_comes_whole_over_http2)
{
	struct world w = { 0 };
	struct h2c c = { 0 };
	char name[16];

	ASSERT_EQ(world_start(&w), 0);
	for (int i = 0; i < 10; i++) {
		snprintf(name, sizeof(name), "l%d", i);
		ASSERT_EQ(create(&w, name, 300000), 0);
	}
	ASSERT_EQ(h2c_open(&w, &c), 0);
	ASSERT_EQ(h2c_ask(&c, "/api/v1/namespaces/default/configmaps"), 0);
	ASSERT_EQ(h2c_ask(&c, "/api/v1/namespaces/default/configmaps"), 0);
	h2c_run(&c, &c.nr_ends, 2);
	EXPECT_EQ(c.nr_ends, 2);
	EXPECT_EQ(c.nr_data > 2 * 10 * 300000, true);
	h2c_close(&c);
	world_stop(&w);
}

TEST(stopping_says_goodbye)
{
	struct world w = { 0 };
	struct h2c c = { 0 };

	ASSERT_EQ(world_start(&w), 0);
	ASSERT_EQ(h2c_open(&w, &c), 0);
	ASSERT_EQ(h2c_ask(&c, "/version"), 0);
	h2c_run(&c, &c.nr_ends, 1);
	ASSERT_EQ(h2c_ask(&c, "/api/v1/configmaps?watch=1&resourceVersion=1"),
		  0);
	ASSERT_EQ(h2c_ask(&c, "/version"), 0);
	h2c_run(&c, &c.nr_ends, 2);
	api_stop(w.api);
	w.api = NULL;
	/* The watch ends as a whole answer does. */
	h2c_run(&c, &c.nr_ends, 3);
	EXPECT_EQ(c.nr_ends, 3);
	EXPECT_EQ(h2_is_going(c.h), true);
	h2c_close(&c);
	world_stop(&w);
}

TEST_MAIN()

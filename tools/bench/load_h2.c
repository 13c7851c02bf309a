// SPDX-License-Identifier: Apache-2.0
/* One connection of HTTP/2 with many requests under way, as client-go's. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/err.h"
#include "lib/http/h2.h"
#include "tools/bench/load.h"

struct h2_call {
	struct h2_call *free_next;
	long nr;
	double asked;
	struct load_ask ask;
	size_t body_len, body_at;
};

struct h2_conn {
	struct load_thread *t;
	SSL *ssl;
	struct h2 *h2;
	struct h2_call *calls, *free;
	int under_way;
	bool no_more;
};

static void on_head(void *arg, struct h2_stream *s, const struct h2_head *h)
{
	struct h2_conn *c = arg;

	(void)s;
	if (h->status != c->t->l->want) {
		fprintf(stderr, "bench: status %d\n", h->status);
		exit(1);
	}
}

static void on_data(void *arg, struct h2_stream *s, const void *data,
		    size_t len)
{
	struct h2_conn *c = arg;

	(void)s, (void)data;
	c->t->bytes += len;
}

static void on_end(void *arg, struct h2_stream *s)
{
	(void)arg, (void)s;
}

static ssize_t on_pull(void *arg, struct h2_stream *s, void *buf, size_t size,
		       bool *ret_eof)
{
	struct h2_call *k = s->data;
	size_t left = k->body_len - k->body_at;
	size_t n = left < size ? left : size;

	(void)arg;
	memcpy(buf, k->ask.body + k->body_at, n);
	k->body_at += n;
	*ret_eof = k->body_at == k->body_len;
	return (ssize_t)n;
}

static void on_closed(void *arg, struct h2_stream *s, uint32_t code)
{
	struct h2_conn *c = arg;
	struct h2_call *k = s->data;

	if (code)
		die("a stream was reset");
	c->t->took_ms[k->nr] = (float)((now_s() - k->asked) * 1e3);
	k->free_next = c->free;
	c->free = k;
	c->under_way--;
}

static const struct h2_ops ops = {
	.head = on_head,
	.data = on_data,
	.end = on_end,
	.pull = on_pull,
	.closed = on_closed,
};

static void *h2_open(struct load_thread *t, SSL *ssl)
{
	struct h2_opts o = { .ops = &ops, .trusted = true };
	struct h2_conn *c = calloc(1, sizeof(*c));
	const unsigned char *alpn;
	unsigned int len;

	SSL_get0_alpn_selected(ssl, &alpn, &len);
	if (!c || len != 2)
		die("no HTTP/2");
	c->t = t;
	c->ssl = ssl;
	c->calls = calloc((size_t)t->l->streams, sizeof(*c->calls));
	o.arg = c;
	if (!c->calls || h2_new(&o, &c->h2, NULL) < 0)
		die("memory");
	for (int i = 0; i < t->l->streams; i++) {
		c->calls[i].free_next = c->free;
		c->free = &c->calls[i];
	}
	return c;
}

static void h2_ask(struct h2_conn *c)
{
	struct h1_field fields[] = {
		{ "user-agent", "bench" },
		{ "accept", "application/json" },
		{ "content-type", "application/json" },
	};
	struct h2_call *k = c->free;
	struct h2_stream *s;
	struct h2_head head = { .authority = "127.0.0.1",
				.scheme = "https",
				.fields = fields };
	struct err e = { 0 };

	k->nr = load_next(c->t);
	c->no_more = k->nr < 0;
	if (c->no_more)
		return;
	k->ask.body[0] = '\0';
	k->ask.type = NULL;
	c->t->l->request(k->nr, &k->ask);
	if (k->ask.type)
		fields[2].value = k->ask.type;
	k->body_len = strlen(k->ask.body);
	k->body_at = 0;
	k->asked = now_s();
	head.method = k->ask.method;
	head.path = k->ask.path;
	head.nr_fields = k->body_len ? 3 : 2;
	if (h2_request(c->h2, &head, k->body_len, k, &s, &e) < 0)
		die(e.msg);
	c->free = k->free_next;
	c->under_way++;
}

/* The server reads whatever we do: it is waited for. */
static void send_all(SSL *ssl, const char *data, size_t len)
{
	struct pollfd room = { .fd = SSL_get_fd(ssl), .events = POLLOUT };

	while (SSL_write(ssl, data, (int)len) != (int)len)
		if (SSL_get_error(ssl, -1) != SSL_ERROR_WANT_WRITE ||
		    poll(&room, 1, 30000) != 1)
			die("write");
}

static void h2_send(struct h2_conn *c)
{
	static __thread char out[1 << 16];
	const uint8_t *data;
	size_t len = 0;
	ssize_t n;

	while ((n = h2_out(c->h2, &data)) > 0) {
		if (len + (size_t)n > sizeof(out)) {
			send_all(c->ssl, out, len);
			len = 0;
		}
		memcpy(out + len, data, (size_t)n);
		len += (size_t)n;
	}
	if (len)
		send_all(c->ssl, out, len);
}

static int h2_turn(void *conn)
{
	static __thread char data[1 << 17];
	struct h2_conn *c = conn;
	struct err e = { 0 };
	size_t n = 0;

	while (SSL_read_ex(c->ssl, data, sizeof(data), &n) == 1)
		if (h2_in(c->h2, data, n, &e) < 0)
			die(e.msg);
	if (SSL_get_error(c->ssl, 0) != SSL_ERROR_WANT_READ)
		die("read");
	while (c->free && !c->no_more)
		h2_ask(c);
	h2_send(c);
	return c->under_way || !c->no_more;
}

static void h2_close(void *conn)
{
	struct h2_conn *c = conn;

	h2_free(c->h2);
	free(c->calls);
	free(c);
}

const struct load_ops load_h2 = { h2_open, h2_turn, h2_close };

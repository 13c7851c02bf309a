// SPDX-License-Identifier: Apache-2.0
/* One connection of HTTP/1.1: a request, its answer, the next. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/bench/load.h"

#define LAST "\r\n0\r\n\r\n" /* of a chunked body */

struct h1_conn {
	struct load_thread *t;
	SSL *ssl;
	long nr; /* of the request under way; -1: none */
	double asked;
	bool in_body, chunked;
	size_t left;
	char head[2048];
	size_t head_len;
	char tail[sizeof(LAST)];
};

static void *h1_open(struct load_thread *t, SSL *ssl)
{
	struct h1_conn *c = calloc(1, sizeof(*c));

	if (!c)
		die("memory");
	c->t = t;
	c->ssl = ssl;
	c->nr = -1;
	return c;
}

static void h1_ask(struct h1_conn *c)
{
	static __thread struct load_ask ask;
	static __thread char text[8192];
	int n;

	c->nr = load_next(c->t);
	if (c->nr < 0)
		return;
	ask.body[0] = '\0';
	ask.type = NULL;
	c->t->l->request(c->nr, &ask);
	n = snprintf(text, sizeof(text),
		     "%s %s HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: "
		     "bench\r\nAccept: application/json\r\n",
		     ask.method, ask.path);
	if (ask.body[0])
		n += snprintf(text + n, sizeof(text) - (size_t)n,
			      "Content-Type: %s\r\nContent-Length: %zu\r\n"
			      "\r\n%s",
			      ask.type ? ask.type : "application/json",
			      strlen(ask.body), ask.body);
	else
		n += snprintf(text + n, sizeof(text) - (size_t)n, "\r\n");
	c->asked = now_s();
	c->in_body = false;
	c->head_len = 0;
	if (SSL_write(c->ssl, text, n) != n)
		die("write");
}

static void h1_answered(struct h1_conn *c)
{
	c->t->took_ms[c->nr] = (float)((now_s() - c->asked) * 1e3);
	h1_ask(c);
}

/* The head is whole: what follows it is the body. */
static void h1_head(struct h1_conn *c)
{
	const char *length;
	int code = 0;

	if (sscanf(c->head, "HTTP/1.1 %d", &code) != 1 ||
	    code != c->t->l->want) {
		fprintf(stderr, "bench: %s\n", c->head);
		exit(1);
	}
	length = strstr(c->head, "Content-Length: ");
	c->chunked = !length;
	c->left = length ? strtoul(length + 16, NULL, 10) : 0;
	c->in_body = true;
	memset(c->tail, 0, sizeof(c->tail));
}

static size_t h1_take_head(struct h1_conn *c, const char *p, size_t len)
{
	size_t room = sizeof(c->head) - 1 - c->head_len, old = c->head_len;
	size_t n = len < room ? len : room;
	char *end;

	memcpy(c->head + old, p, n);
	c->head[old + n] = '\0';
	end = strstr(c->head, "\r\n\r\n");
	c->head_len = old + n;
	if (!end && n == room)
		die("a head without end");
	if (!end)
		return n;
	end[2] = '\0';
	h1_head(c);
	return (size_t)(end + 4 - c->head) - old;
}

/* Bytes of a chunked body: all that counts is what it ends with. */
static bool h1_chunked(struct h1_conn *c, const char *p, size_t len)
{
	size_t want = strlen(LAST);

	if (len >= want) {
		memcpy(c->tail, p + len - want, want);
	} else {
		memmove(c->tail, c->tail + len, want - len);
		memcpy(c->tail + want - len, p, len);
	}
	return memcmp(c->tail, LAST, want) == 0;
}

static void h1_take(struct h1_conn *c, const char *p, size_t len)
{
	size_t n = 0;

	if (c->nr < 0)
		die("bytes that nobody has asked for");
	if (!c->in_body)
		n = h1_take_head(c, p, len);
	if (!c->in_body)
		return;
	p += n;
	len -= n;
	c->t->bytes += len;
	if (c->chunked) {
		if (h1_chunked(c, p, len))
			h1_answered(c);
		return;
	}
	if (len > c->left)
		die("more than its length");
	c->left -= len;
	if (!c->left)
		h1_answered(c);
}

static int h1_turn(void *conn)
{
	static __thread char data[1 << 17];
	struct h1_conn *c = conn;

	if (c->nr < 0)
		h1_ask(c);
	while (c->nr >= 0) {
		size_t n = 0;

		if (SSL_read_ex(c->ssl, data, sizeof(data), &n) != 1) {
			if (SSL_get_error(c->ssl, 0) != SSL_ERROR_WANT_READ)
				die("read");
			return 1;
		}
		h1_take(c, data, n);
		if (!SSL_has_pending(c->ssl) && !c->in_body)
			break; /* the answer cannot be here yet */
	}
	return c->nr >= 0;
}

static void h1_close(void *conn)
{
	free(conn);
}

const struct load_ops load_h1 = { h1_open, h1_turn, h1_close };

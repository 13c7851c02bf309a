// SPDX-License-Identifier: Apache-2.0
/* Connections: reading requests, writing answers, time limits. Listening is in
 * listen.c. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/auto.h"
#include "lib/err.h"
#include "lib/http/internal.h"

#define IN_MAX     (64 * 1024) /* read ahead while a request is answered */
#define READ_SIZE  16384
#define DRAIN_MS   2000
#define NO_PEER    ((struct ucred){ .pid = -1, .uid = (uid_t)-1 })
#define OR(v, dfl) ((v) ? (v) : (dfl))

static void conn_work(struct http_conn *c);
static void conn_timeout(void *arg);

/* --- requests ------------------------------------------------------------- */

static struct http_req *req_new(struct http_conn *c)
{
	struct h1_limits limits = { .body = OR(c->server->o.body_max,
					       1024 * 1024) };
	struct http_req *req = calloc(1, sizeof(*req));

	if (!req)
		return NULL;
	h1_init(&req->parser, H1_REQUEST, &limits);
	req->head = &req->parser.head;
	req->peer = c->peer;
	req->conn = c;
	req->refs = 1;
	return req;
}

struct http_req *http_req_ref(struct http_req *req)
{
	req->refs++;
	return req;
}

void http_req_unref(struct http_req *req)
{
	if (!req || --req->refs)
		return;
	h1_clear(&req->parser);
	buf_clear(&req->body_buf);
	free(req);
}

void http_on_end(struct http_req *req, void (*fn)(void *arg), void *arg)
{
	req->on_end = fn;
	req->on_end_arg = arg;
}

void http_on_drain(struct http_req *req, void (*fn)(void *arg), void *arg)
{
	req->on_drain = fn;
	req->on_drain_arg = arg;
}

/* The request is over: part it from its connection. */
static void req_end(struct http_conn *c)
{
	struct http_req *req = take_ptr(c->req);
	void (*fn)(void *arg);

	if (!req)
		return;
	req->conn = NULL;
	fn = req->on_end;
	req->on_end = NULL;
	if (fn)
		fn(req->on_end_arg);
	http_req_unref(req);
}

/* --- connections ---------------------------------------------------------- */

static void conn_free(void *arg)
{
	struct http_conn *c = arg;

	buf_clear(&c->in);
	buf_clear(&c->out);
	free(c);
}

/* The memory lives until the end of the batch: callers up the stack look at
 * c->closed. */
static void conn_close(struct http_conn *c)
{
	struct http_server *s = c->server;

	if (c->closed)
		return;
	c->closed = true;
	ev_timer_del(&c->timer);
	ev_io_del(&c->io);
	SSL_free(c->ssl);
	c->ssl = NULL;
	if (c->fd >= 0)
		close(take_fd(&c->fd));
	req_end(c);
	*c->link = c->next;
	if (c->next)
		c->next->link = c->link;
	s->nr_conns--;
	listen_resume(s);
	ev_defer(s->o.loop, &c->defer, conn_free, c);
}

static void set_timer(struct http_conn *c, unsigned ms)
{
	if (ev_timer_set(c->server->o.loop, &c->timer, ms, conn_timeout, c) < 0)
		conn_close(c);
}

static size_t out_left(const struct http_conn *c)
{
	return c->out.len - c->out_done;
}

static void want_events(struct http_conn *c)
{
	uint32_t events = EPOLLRDHUP;

	if (c->closed)
		return;
	if (c->draining ||
	    (!c->closing && (!c->req || c->reading) && c->in.len < IN_MAX))
		events |= EPOLLIN;
	if (out_left(c) || c->tls_wait)
		events |= EPOLLOUT;
	if (ev_io_set(&c->io, events) < 0)
		conn_close(c);
}

/* recv(2) and send(2), through TLS where there is one. A goodbye is the end. */
static ssize_t tls_result(struct http_conn *c, int n)
{
	int why = SSL_get_error(c->ssl, n);

	c->tls_wait = why == SSL_ERROR_WANT_WRITE;
	if (why == SSL_ERROR_ZERO_RETURN)
		return 0;
	errno = why == SSL_ERROR_WANT_READ || c->tls_wait ? EAGAIN : EPROTO;
	return -1;
}

static ssize_t take_in(struct http_conn *c, void *buf, size_t size)
{
	int n;

	if (!c->ssl)
		return recv(c->fd, buf, size, 0);
	ERR_clear_error();
	c->tls_wait = false;
	n = SSL_read(c->ssl, buf, (int)size);
	return n > 0 ? n : tls_result(c, n);
}

static ssize_t give_out(struct http_conn *c, const void *data, size_t len)
{
	int n;

	if (!c->ssl)
		return send(c->fd, data, len, MSG_NOSIGNAL);
	ERR_clear_error();
	c->tls_wait = false;
	n = SSL_write(c->ssl, data, len > 1 << 20 ? 1 << 20 : (int)len);
	return n > 0 ? n : tls_result(c, n);
}

/* Write what can be written. */
static void conn_flush(struct http_conn *c)
{
	while (!c->closed && out_left(c)) {
		ssize_t n = give_out(c, c->out.data + c->out_done, out_left(c));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0) {
			conn_close(c);
			return;
		}
		c->out_done += (size_t)n;
		c->wrote = true;
	}
	if (c->closed)
		return;
	if (!out_left(c)) {
		buf_reset(&c->out);
		c->out_done = 0;
	} else if (c->out_done > c->out.len / 2) {
		buf_consume(&c->out, c->out_done);
		c->out_done = 0;
	}
}

/* After something was put into c->out. */
static void conn_send(struct http_conn *c)
{
	if (buf_error(&c->out)) {
		conn_close(c); /* out of memory: the answer has a hole */
		return;
	}
	if (!c->stall_armed) {
		c->stall_armed = true;
		c->wrote = false;
		set_timer(c, OR(c->server->o.stall_ms, 60000));
	}
	conn_flush(c);
	want_events(c);
}

static void conn_timeout(void *arg)
{
	struct http_conn *c = arg;

	/* Reading slowly is not stalling. */
	if (!c->draining && c->stall_armed && (c->wrote || !out_left(c))) {
		c->wrote = false;
		if (out_left(c) || c->req)
			set_timer(c, OR(c->server->o.stall_ms, 60000));
		else
			conn_close(c);
		return;
	}
	conn_close(c);
}

/* The answer is written into c->out as a whole: on to the next request. */
static void req_answered(struct http_conn *c, bool keep)
{
	if (!keep || c->server->stopping)
		c->closing = true;
	req_end(c);
	if (c->closed)
		return;
	if (!c->in_work)
		conn_work(c);
}

/* --- answering ------------------------------------------------------------ */

static void put_head(struct http_req *req, int status, const char *type)
{
	struct http_conn *c = req->conn;
	struct buf *b = &c->out;

	h1_put_status(b, status);
	if (c->server->o.name)
		h1_put_field(b, "Server", c->server->o.name);
	if (type)
		h1_put_field(b, "Content-Type", type);
	if (!req->head->keep_alive || c->server->stopping || c->broken)
		h1_put_field(b, "Connection", "close");
	else if (!req->head->minor)
		h1_put_field(b, "Connection", "keep-alive");
	req->answered = true;
}

static bool is_head_method(const struct http_req *req)
{
	return req->head->method && strcmp(req->head->method, "HEAD") == 0;
}

int http_reply(struct http_req *req, int status, const char *type,
	       const void *body, size_t len)
{
	struct http_conn *c = req->conn;
	bool keep = req->head->keep_alive;

	if (!c)
		return -EPIPE;
	assert(!req->answered);
	put_head(req, status, type);
	h1_put_length(&c->out, len);
	h1_put_end(&c->out);
	if (!is_head_method(req))
		buf_add(&c->out, body, len);
	conn_send(c);
	if (!c->closed)
		req_answered(c, keep && !c->broken);
	return 0;
}

int http_stream(struct http_req *req, int status, const char *type)
{
	struct http_conn *c = req->conn;

	if (!c)
		return -EPIPE;
	assert(!req->answered);
	put_head(req, status, type);
	/* HTTP/1.0 knows no chunks: the end of the connection is the end. */
	if (req->head->minor)
		h1_put_field(&c->out, "Transfer-Encoding", "chunked");
	h1_put_end(&c->out);
	req->streaming = true;
	conn_send(c);
	return c->closed ? -EPIPE : 0;
}

int http_stream_write(struct http_req *req, const void *data, size_t len)
{
	struct http_conn *c = req->conn;

	if (!c)
		return -EPIPE;
	assert(req->streaming);
	if (!len || is_head_method(req))
		return 0;
	if (req->head->minor)
		h1_put_chunk(&c->out, data, len);
	else
		buf_add(&c->out, data, len);
	conn_send(c);
	return c->closed ? -EPIPE : 0;
}

size_t http_backlog(const struct http_req *req)
{
	return req->conn ? out_left(req->conn) : 0;
}

void http_stream_end(struct http_req *req)
{
	struct http_conn *c = req->conn;
	bool keep = req->head->keep_alive && req->head->minor;

	if (!c)
		return;
	assert(req->streaming);
	if (req->head->minor && !is_head_method(req))
		h1_put_last_chunk(&c->out);
	conn_send(c);
	if (!c->closed)
		req_answered(c, keep);
}

void http_stream_abort(struct http_req *req)
{
	if (req->conn)
		conn_close(req->conn);
}

int http_take_tls(struct http_req *req, const struct h1_field *fields,
		  size_t nr_fields, int *ret_fd, SSL **ret_ssl,
		  struct buf *early, struct err *e)
{
	struct http_conn *c = req->conn;

	if (!c)
		return err_set(e, -EPIPE, "the client has gone");
	assert(!req->answered && req->head->upgrade);
	req->answered = true;
	h1_put_status(&c->out, 101);
	h1_put_field(&c->out, "Connection", "Upgrade");
	for (size_t i = 0; i < nr_fields; i++)
		h1_put_field(&c->out, fields[i].name, fields[i].value);
	h1_put_end(&c->out);
	conn_flush(c);
	if (c->closed || out_left(c) || buf_error(&c->out) ||
	    buf_add(early, c->in.data ? c->in.data : "", c->in.len) < 0) {
		conn_close(c);
		return err_set(e, -EPIPE, "the client has gone");
	}
	ev_io_del(&c->io);
	*ret_fd = take_fd(&c->fd);
	*ret_ssl = take_ptr(c->ssl);
	conn_close(c);
	return 0;
}

int http_take(struct http_req *req, const char *protocol, int *ret_fd,
	      struct buf *early, struct err *e)
{
	const struct h1_field upgrade = { "Upgrade", protocol };
	SSL *ssl = NULL;

	assert(!req->conn || !req->conn->ssl);
	return http_take_tls(req, &upgrade, 1, ret_fd, &ssl, early, e);
}

X509 *http_req_cert(const struct http_req *req)
{
	SSL *ssl = req->conn ? req->conn->ssl : NULL;

	/* A certificate that does not verify has ended the handshake. */
	return ssl ? SSL_get1_peer_certificate(ssl) : NULL;
}

struct ev *http_req_loop(const struct http_req *req)
{
	return req->conn ? req->conn->server->o.loop : NULL;
}

/* --- reading -------------------------------------------------------------- */

/* What came is no request: say so, and close. */
static void conn_refuse(struct http_conn *c, const struct err *e)
{
	struct buf b = BUF_INIT;

	c->broken = true;
	c->reading = false;
	buf_puts(&b, e->msg);
	buf_putc(&b, '\n');
	/* The head may be half parsed: nothing of it is used. */
	c->req->parser.head.method = NULL;
	c->req->parser.head.minor = 1;
	http_reply(c->req, OR(c->req->parser.status, 400), "text/plain",
		   buf_str(&b), b.len);
	buf_clear(&b);
}

static void got_head(struct http_conn *c)
{
	const struct h1_head *h = c->req->head;

	set_timer(c, OR(c->server->o.body_ms, 60000));
	if (h->expect_continue && h->minor && (h->chunked || h->length)) {
		buf_puts(&c->out, "HTTP/1.1 100 Continue\r\n\r\n");
		conn_flush(c);
	}
}

static void got_request(struct http_conn *c)
{
	struct http_req *req = c->req;

	c->reading = false;
	ev_timer_del(&c->timer);
	c->stall_armed = false;
	req->body = buf_str(&req->body_buf);
	req->body_len = req->body_buf.len;
	http_req_ref(req);
	c->server->o.handle(c->server->o.arg, req);
	http_req_unref(req);
}

/* Feed c->in to the request that is being read. */
static void conn_feed(struct http_conn *c)
{
	struct h1_piece piece;
	struct err e = { 0 };
	size_t used;
	int r;

	do {
		r = h1_next(&c->req->parser, buf_str(&c->in), c->in.len, &used,
			    &piece, &e);
		if (r == H1_BODY &&
		    buf_add(&c->req->body_buf, piece.data, piece.len) < 0)
			r = err_set(&e, -ENOMEM, "out of memory");
		buf_consume(&c->in, used);
		if (r == H1_HEAD)
			got_head(c);
		if (r < 0)
			conn_refuse(c, &e);
	} while (!c->closed && (r == H1_HEAD || r == H1_BODY));
	if (!c->closed && r == H1_END)
		got_request(c);
}

/* Refused in the midst of sending: closing now would reset the connection, and
 * the client might never see why. */
static void conn_drain(struct http_conn *c)
{
	if (c->draining)
		return;
	c->draining = true;
	if (c->ssl)
		(void)SSL_shutdown(c->ssl); /* goodbye, if there is room */
	shutdown(c->fd, SHUT_WR);
	set_timer(c, DRAIN_MS);
	want_events(c);
}

static void drain_ready(struct http_conn *c)
{
	char ignored[4096];
	ssize_t n = recv(c->fd, ignored, sizeof(ignored), 0);

	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
		conn_close(c);
}

/* Begin requests as long as there are bytes and none is being answered. */
static void conn_work(struct http_conn *c)
{
	c->in_work = true;
	while (!c->closed && !c->closing && c->in.len &&
	       (!c->req || c->reading)) {
		if (!c->req) {
			c->req = req_new(c);
			if (!c->req) {
				conn_close(c);
				break;
			}
			c->reading = true;
			c->stall_armed = false;
			set_timer(c, OR(c->server->o.head_ms, 10000));
			if (c->closed)
				break;
		}
		conn_feed(c);
	}
	c->in_work = false;
	if (c->closed)
		return;
	if (c->closing && !out_left(c)) {
		if (c->broken)
			conn_drain(c);
		else
			conn_close(c);
		return;
	}
	if (!c->req && !out_left(c)) {
		c->stall_armed = false;
		set_timer(c, OR(c->server->o.idle_ms, 120000));
	}
	want_events(c);
}

static void conn_read(struct http_conn *c)
{
	char *to = buf_reserve(&c->in, READ_SIZE);
	ssize_t n;

	if (!to) {
		conn_close(c);
		return;
	}
	n = take_in(c, to, READ_SIZE);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		conn_close(c);
		return;
	}
	buf_commit(&c->in, (size_t)n);
	conn_work(c);
}

/* The only place that tells of the drain: within a write it would recurse. */
static void conn_writable(struct http_conn *c)
{
	bool was_high = out_left(c) >= HTTP_LOW;

	conn_flush(c);
	if (!c->closed && was_high && out_left(c) < HTTP_LOW && c->req &&
	    c->req->on_drain)
		c->req->on_drain(c->req->on_drain_arg);
}

static void conn_ready(void *arg, uint32_t events)
{
	struct http_conn *c = arg;

	if (c->draining && events & EPOLLIN) {
		drain_ready(c);
		return;
	}
	if (events & EPOLLOUT)
		conn_writable(c);
	if (c->tls_wait)
		events |= EPOLLIN;
	if (!c->closed && events & EPOLLIN && (!c->req || c->reading) &&
	    !c->closing)
		conn_read(c);
	else if (!c->closed && events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
		conn_close(c); /* whoever closes does not want the answer */
	else if (!c->closed && events & EPOLLOUT)
		conn_work(c);
}

void conn_new(struct http_server *s, int fd, const struct ucred *peer)
{
	struct http_conn *c = calloc(1, sizeof(*c));
	auto_close int owned = fd;

	if (!c)
		return;
	c->server = s;
	c->fd = fd;
	c->peer = peer ? *peer : NO_PEER;
	if (ev_io_add(s->o.loop, &c->io, fd, EPOLLIN | EPOLLRDHUP, conn_ready,
		      c, NULL) < 0) {
		free(c);
		return;
	}
	if (s->o.tls && !peer) {
		c->ssl = SSL_new(s->o.tls);
		if (!c->ssl || SSL_set_fd(c->ssl, fd) != 1) {
			ev_io_del(&c->io);
			SSL_free(c->ssl);
			free(c);
			return;
		}
		SSL_set_accept_state(c->ssl);
	}
	take_fd(&owned);
	c->next = s->conns;
	c->link = &s->conns;
	if (c->next)
		c->next->link = &c->next;
	s->conns = c;
	s->nr_conns++;
	/* Who connects has to say something soon. */
	set_timer(c, OR(s->o.head_ms, 10000));
}

void conns_drop(struct http_server *s)
{
	while (s->conns)
		conn_close(s->conns);
}

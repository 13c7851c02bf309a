// SPDX-License-Identifier: Apache-2.0
/*
 * One TLS connection on the loop: dial, handshake, then request and answer in
 * turns. What fails ends the call with the reason, but for a kept connection
 * that the server has closed meanwhile: what changes nothing is sent again.
 */
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <sys/socket.h>

#include "controlplane/client/internal.h"
#include "lib/str.h"

#define READ_SIZE 16384

static void on_io(void *arg, uint32_t events);

static void free_conn(void *arg)
{
	free(arg);
}

void client_conn_close(struct conn *n)
{
	struct client *c = n->client;
	struct conn **at;

	if (n->dead)
		return;
	n->dead = true;
	for (at = &c->all; *at != n; at = &(*at)->next)
		;
	*at = n->next;
	if (!n->stream)
		c->conns--;
	ev_timer_del(&n->timer);
	ev_io_del(&n->io);
	SSL_free(n->ssl);
	if (n->fd >= 0)
		close(n->fd);
	h1_clear(&n->h1);
	buf_clear(&n->out);
	if (n->call)
		n->call->conn = NULL;
	n->call = NULL;
	/* Its functions may still be on the stack. */
	ev_defer(c->loop, &n->defer, free_conn, n);
}

/* The connection is of no further use. */
static void broken(struct conn *n, int code)
{
	struct client *c = n->client;
	struct client_call *call = n->call;
	bool again = call && n->used && !n->got && !call->retried &&
		     str_eq(call->method, "GET");

	client_conn_close(n);
	if (again) {
		call->retried = true;
		client_start(c, call);
	} else if (call) {
		call_end(c, call, code);
	}
	client_pump(c);
}

static void on_timeout(void *arg)
{
	struct conn *n = arg;

	if (n->call)
		err_set(&n->call->err, -ETIMEDOUT, "%s: no answer within %d s",
			n->client->to->server, CLIENT_CALL_S);
	broken(n, -ETIMEDOUT);
}

/* A watch is as long as it is; all else has to make progress. */
static void progress(struct conn *n)
{
	if (n->state == CONN_IDLE)
		ev_timer_set(n->client->loop, &n->timer, CLIENT_IDLE_S * 1000,
			     on_timeout, n);
	else if (n->stream && n->got)
		ev_timer_del(&n->timer);
	else
		ev_timer_set(n->client->loop, &n->timer, CLIENT_CALL_S * 1000,
			     on_timeout, n);
}

static int tls_error(struct conn *n, const char *what)
{
	struct err *e = n->call ? &n->call->err : NULL;
	unsigned long code = ERR_peek_last_error();
	char text[128];
	int r = -EPROTO;

	if (code) {
		ERR_error_string_n(code, text, sizeof(text));
		r = err_set(e, r, "%s: %s: %s", n->client->to->server, what,
			    text);
	} else {
		r = err_set(e, -ECONNRESET, "%s: %s: the connection was closed",
			    n->client->to->server, what);
	}
	ERR_clear_error();
	return r;
}

/* After an SSL function returned @ret: 0 when it waits for the socket. */
static int tls_wait(struct conn *n, int ret, const char *what)
{
	switch (SSL_get_error(n->ssl, ret)) {
	case SSL_ERROR_WANT_READ:
		return ev_io_set(&n->io, EPOLLIN);
	case SSL_ERROR_WANT_WRITE:
		return ev_io_set(&n->io, EPOLLIN | EPOLLOUT);
	default:
		return tls_error(n, what);
	}
}

static int start_tls(struct conn *n)
{
	struct client *c = n->client;
	socklen_t len = sizeof(int);
	int error = 0;

	if (c->connect) {
		n->state = CONN_BUSY;
		return 0;
	}

	getsockopt(n->fd, SOL_SOCKET, SO_ERROR, &error, &len);
	if (error)
		return err_set(&n->call->err, -error, "connect to %s: %s",
			       c->to->server, strerror(error));
	n->ssl = target_session(c->to);
	if (!n->ssl || !SSL_set_fd(n->ssl, n->fd))
		return err_set(&n->call->err, -ENOMEM, "tls: out of memory");
	SSL_set_connect_state(n->ssl);
	n->state = CONN_HANDSHAKE;
	return 0;
}

static int handshake(struct conn *n)
{
	int r;

	ERR_clear_error();
	r = SSL_do_handshake(n->ssl);
	if (r != 1)
		return tls_wait(n, r, "handshake");
	n->state = CONN_BUSY;
	return 0;
}

/* The same for a socket without TLS. */
static int plain_wait(struct conn *n, ssize_t ret, const char *what)
{
	if (ret < 0 && (errno == EAGAIN || errno == EINTR))
		return ev_io_set(&n->io, n->sent < n->out.len
						 ? EPOLLIN | EPOLLOUT
						 : EPOLLIN);
	return err_set(n->call ? &n->call->err : NULL, -ECONNRESET,
		       "%s: %s: the connection was closed",
		       n->client->to->server, what);
}

static int send_more(struct conn *n)
{
	while (n->sent < n->out.len) {
		const char *data = n->out.data + n->sent;
		size_t len = n->out.len - n->sent;
		ssize_t r;

		ERR_clear_error();
		r = n->ssl ? SSL_write(n->ssl, data, (int)len)
			   : send(n->fd, data, len, MSG_NOSIGNAL);
		if (r <= 0)
			return n->ssl ? tls_wait(n, (int)r, "send")
				      : plain_wait(n, r, "send");
		n->sent += (size_t)r;
	}
	buf_clear(&n->out);
	n->sent = 0;
	return ev_io_set(&n->io, EPOLLIN);
}

/* --- the answer --- */

static int take_body(struct conn *n, const char *data, size_t len)
{
	struct client_call *call = n->call;

	if (call->data && n->h1.head.status < 300) {
		call->data(call, data, len);
		return 0;
	}
	if (buf_add(&call->answer, data, len) < 0)
		return err_set(&call->err, -EMSGSIZE,
			       "%s: the answer is too large",
			       n->client->to->server);
	return 0;
}

static void answered(struct conn *n)
{
	struct client *c = n->client;
	struct client_call *call = n->call;
	int status = n->h1.head.status;
	bool keep = n->h1.head.keep_alive && !n->stream;

	n->call = NULL;
	call->conn = NULL;
	n->used = true;
	n->got = false;
	h1_reset(&n->h1);
	if (keep) {
		n->state = CONN_IDLE;
		progress(n);
	} else {
		client_conn_close(n);
	}
	call_end(c, call, status);
	client_pump(c);
}

/* 1: the connection is not to be touched any more. */
static int feed(struct conn *n, const char *data, size_t len)
{
	while (n->call) {
		struct h1_piece piece;
		size_t used = 0;
		int r = h1_next(&n->h1, data, len, &used, &piece,
				&n->call->err);

		data += used;
		len -= used;
		if (r == H1_MORE)
			return 0;
		if (r == H1_BODY)
			r = take_body(n, piece.data, piece.len);
		if (r < 0)
			return r;
		/* A stream's consumer may have cancelled it. */
		if (n->dead)
			return 1;
		if (r == H1_END) {
			answered(n);
			return 1;
		}
	}
	return len ? -EBADMSG : 0;
}

static int receive(struct conn *n)
{
	char data[READ_SIZE];

	for (int i = 0; i < 16; i++) {
		bool end;
		int r;

		ERR_clear_error();
		r = n->ssl ? SSL_read(n->ssl, data, sizeof(data))
			   : (int)recv(n->fd, data, sizeof(data), 0);
		end = n->ssl ? r <= 0 && SSL_get_error(n->ssl, r) ==
						 SSL_ERROR_ZERO_RETURN
			     : r == 0;
		if (end)
			return n->call && h1_eof(&n->h1, &n->call->err) ==
						       H1_END
				       ? (answered(n), 1)
				       : -ECONNRESET;
		if (r <= 0)
			return n->ssl ? tls_wait(n, r, "receive")
				      : plain_wait(n, r, "receive");
		n->got = true;
		progress(n);
		r = feed(n, data, (size_t)r);
		if (r)
			return r;
	}
	/* OpenSSL may hold what epoll does not know of. */
	return n->ssl && SSL_pending(n->ssl)
		       ? ev_io_set(&n->io, EPOLLIN | EPOLLOUT)
		       : 0;
}

static void on_io(void *arg, uint32_t events)
{
	struct conn *n = arg;
	int r = 0;

	(void)events;
	if (n->state == CONN_DIALING)
		r = start_tls(n);
	if (r == 0 && n->state == CONN_HANDSHAKE)
		r = handshake(n);
	if (r == 0 && n->state == CONN_BUSY && n->out.len)
		r = send_more(n);
	if (r == 0 && n->state >= CONN_IDLE && !n->out.len)
		r = receive(n);
	if (r < 0)
		broken(n, r);
}

/* --- beginning --- */

static void put_request(struct conn *n, struct client_call *call)
{
	struct client *c = n->client;
	size_t len = call->body && !call->len ? strlen(call->body) : call->len;
	struct buf *b = &n->out;

	buf_printf(b,
		   "%s %s HTTP/1.1\r\nHost: %s\r\nAccept: %s\r\n"
		   "User-Agent: %s\r\n",
		   call->method, call->path, c->to->authority,
		   call->accept ? call->accept : "application/json", c->agent);
	if (c->to->token && *c->to->token)
		buf_printf(b, "Authorization: Bearer %s\r\n", c->to->token);
	if (call->body)
		buf_printf(b, "Content-Type: %s\r\n",
			   call->type ? call->type : "application/json");
	if (call->body || strcmp(call->method, "GET") != 0)
		buf_printf(b, "Content-Length: %zu\r\n", len);
	buf_puts(b, "\r\n");
	if (call->body)
		buf_add(b, call->body, len);
}

static void take_call(struct conn *n, struct client_call *call)
{
	n->call = call;
	call->conn = n;
	n->got = false;
	if (strcmp(call->method, "HEAD") == 0)
		h1_no_body(&n->h1);
	put_request(n, call);
}

void client_conn_take(struct conn *n, struct client_call *call)
{
	int r;

	n->state = CONN_BUSY;
	take_call(n, call);
	progress(n);
	r = buf_error(&n->out) ? -ENOMEM : send_more(n);
	if (r < 0)
		broken(n, r);
}

static int dial(struct conn *n, struct err *e)
{
	struct client *c = n->client;
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM };
	int one = 1, rc;

	if (c->connect) {
		n->fd = c->connect(c->connect_arg, e);
		return n->fd < 0 ? n->fd : 0;
	}
	if (!c->addr) {
		rc = getaddrinfo(c->to->host, c->to->port, &hints, &c->addr);
		if (rc)
			return err_set(e, -EHOSTUNREACH, "%s: %s",
				       c->to->server, gai_strerror(rc));
	}
	n->fd = socket(c->addr->ai_family,
		       SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (n->fd < 0)
		return err_sys(e, "socket");
	setsockopt(n->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (connect(n->fd, c->addr->ai_addr, c->addr->ai_addrlen) == 0 ||
	    errno == EINPROGRESS)
		return 0;
	rc = err_sys(e, "connect to %s", c->to->server);
	/* Names may lead elsewhere next time. */
	freeaddrinfo(c->addr);
	c->addr = NULL;
	return rc;
}

int client_conn_new(struct client *c, struct client_call *call, struct err *e)
{
	struct conn *n = calloc(1, sizeof(*n));
	int r;

	if (!n)
		return err_set(e, -ENOMEM, "out of memory");
	n->client = c;
	n->fd = -EBADF;
	n->stream = call->stream;
	h1_init(&n->h1, H1_RESPONSE, NULL);
	r = dial(n, e);
	if (r == 0)
		r = ev_io_add(c->loop, &n->io, n->fd, EPOLLIN | EPOLLOUT, on_io,
			      n, e);
	if (r < 0) {
		if (n->fd >= 0)
			close(n->fd);
		h1_clear(&n->h1);
		free(n);
		return r;
	}
	n->next = c->all;
	c->all = n;
	if (!n->stream)
		c->conns++;
	take_call(n, call);
	progress(n);
	return 0;
}

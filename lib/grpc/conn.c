// SPDX-License-Identifier: Apache-2.0
/*
 * The connection: connect, TLS, bytes in and out, keep-alive, and on to the
 * next endpoint when it fails. All on the loop's thread.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <sys/socket.h>

#include "lib/grpc/internal.h"

#define BACKOFF_MS     50
#define BACKOFF_MAX_MS 2000
#define OUT_MAX        (64 << 20)

static void ready(void *arg, uint32_t events);
static void connect_next(void *arg);

static void close_conn(struct grpc *g)
{
	ev_timer_del(&g->timer);
	ev_io_del(&g->io);
	if (g->h2)
		nghttp2_session_del(g->h2);
	g->h2 = NULL;
	SSL_free(g->ssl);
	g->ssl = NULL;
	if (g->fd >= 0)
		close(g->fd);
	g->fd = -EBADF;
	buf_reset(&g->out);
	g->state = CONN_NONE;
	g->pinged = g->draining = g->broken = false;
}

void gconn_drop(struct grpc *g, const char *why)
{
	struct call *c, *next;
	uint64_t wait = 0;

	/* nghttp2 is on the stack: it goes when it has returned. */
	snprintf(g->why, sizeof(g->why), "%s", why);
	if (g->in_h2) {
		g->broken = true;
		return;
	}
	close_conn(g);
	g->endpoint = (g->endpoint + 1) % g->nr_endpoints;
	g->failures++;
	for (c = g->calls; c; c = next) {
		next = c->next;
		if (c->id)
			gcall_end(c, -EHOSTUNREACH, why);
	}
	if (g->state != CONN_NONE)
		return; /* a callback has begun anew */
	if (g->failures >= g->nr_endpoints) {
		unsigned int round = g->failures / g->nr_endpoints;

		wait = round > 6 ? BACKOFF_MAX_MS : BACKOFF_MS << (round - 1);
		if (wait > BACKOFF_MAX_MS)
			wait = BACKOFF_MAX_MS;
	}
	(void)ev_timer_set(g->loop, &g->timer, wait, connect_next, g);
}

static void too_slow(void *arg)
{
	gconn_drop(arg, "connecting took too long");
}

static void keep_alive(void *arg)
{
	struct grpc *g = arg;
	uint64_t silent = ev_clock_ms() - g->heard_ms;
	uint64_t wait = g->keepalive_ms;

	if (g->pinged && silent >= g->silence_ms + g->keepalive_ms) {
		gconn_drop(g, "the peer fell silent");
		return;
	}
	if (silent < g->keepalive_ms) {
		wait = g->keepalive_ms - silent;
	} else if (!g->pinged) {
		nghttp2_submit_ping(g->h2, 0, NULL);
		g->pinged = true;
		wait = g->silence_ms;
	} else {
		wait = g->silence_ms + g->keepalive_ms - silent;
	}
	(void)ev_timer_set(g->loop, &g->timer, wait ? wait : 1, keep_alive, g);
	gconn_flush(g);
}

static void is_ready(struct grpc *g)
{
	struct call *c, *next;

	if (gh2_start(g)) {
		gconn_drop(g, "out of memory");
		return;
	}
	g->state = CONN_READY;
	g->failures = 0;
	g->heard_ms = ev_clock_ms();
	atomic_fetch_add(&g->connections, 1);
	(void)ev_timer_set(g->loop, &g->timer, g->keepalive_ms, keep_alive, g);
	for (c = g->calls; c; c = next) {
		next = c->next;
		if (!c->id && gh2_submit(g, c))
			gcall_end(c, -ENOMEM, "out of memory");
	}
	gconn_flush(g);
}

static const char *tls_error(struct grpc *g, char *text, size_t size)
{
	long verify = SSL_get_verify_result(g->ssl);
	unsigned long code = ERR_get_error();

	if (verify != X509_V_OK)
		snprintf(text, size, "TLS: %s",
			 X509_verify_cert_error_string(verify));
	else if (code)
		snprintf(text, size, "TLS: %s",
			 ERR_reason_error_string(code)
				 ? ERR_reason_error_string(code)
				 : "failed");
	else
		snprintf(text, size, "TLS: the connection was closed");
	ERR_clear_error();
	return text;
}

static void handshake(struct grpc *g)
{
	const unsigned char *proto = NULL;
	unsigned int len = 0;
	char text[160];
	int r, what;

	ERR_clear_error();
	r = SSL_connect(g->ssl);
	what = SSL_get_error(g->ssl, r);
	if (r == 1) {
		SSL_get0_alpn_selected(g->ssl, &proto, &len);
		if (len != 2 || memcmp(proto, "h2", 2) != 0) {
			gconn_drop(g, "TLS: the peer does not speak HTTP/2");
			return;
		}
		(void)ev_io_set(&g->io, EPOLLIN);
		is_ready(g);
	} else if (what == SSL_ERROR_WANT_READ) {
		(void)ev_io_set(&g->io, EPOLLIN);
	} else if (what == SSL_ERROR_WANT_WRITE) {
		(void)ev_io_set(&g->io, EPOLLOUT);
	} else {
		gconn_drop(g, tls_error(g, text, sizeof(text)));
	}
}

static int set_peer(SSL *ssl, const char *host)
{
	unsigned char ip[16];

	if (inet_pton(AF_INET, host, ip) == 1 ||
	    inet_pton(AF_INET6, host, ip) == 1)
		return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host);
	return SSL_set1_host(ssl, host) && SSL_set_tlsext_host_name(ssl, host);
}

static void connected(struct grpc *g)
{
	const struct endpoint *ep = &g->endpoints[g->endpoint];
	socklen_t len = sizeof(int);
	int error = 0, one = 1;

	(void)getsockopt(g->fd, SOL_SOCKET, SO_ERROR, &error, &len);
	if (error) {
		gconn_drop(g, strerror(error));
		return;
	}
	(void)setsockopt(g->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (!ep->tls) {
		(void)ev_io_set(&g->io, EPOLLIN);
		is_ready(g);
		return;
	}
	gtls_look(g);
	g->ssl = SSL_new(g->ctx);
	if (!g->ssl || SSL_set_fd(g->ssl, g->fd) != 1 ||
	    !set_peer(g->ssl, ep->host)) {
		gconn_drop(g, "TLS: cannot be set up");
		return;
	}
	g->state = CONN_TLS;
	handshake(g);
}

static void connect_next(void *arg)
{
	struct grpc *g = arg;
	const struct endpoint *ep = &g->endpoints[g->endpoint];
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *ai = NULL;
	int r;

	if (g->state != CONN_NONE || !g->calls)
		return;
	r = getaddrinfo(ep->host, ep->port, &hints, &ai);
	if (r) {
		gconn_drop(g, gai_strerror(r));
		return;
	}
	g->fd = socket(ai->ai_family,
		       SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	r = g->fd < 0 ? -1 : connect(g->fd, ai->ai_addr, ai->ai_addrlen);
	freeaddrinfo(ai);
	if (r && errno != EINPROGRESS) {
		gconn_drop(g, strerror(errno));
		return;
	}
	g->state = CONN_CONNECTING;
	if (ev_io_add(g->loop, &g->io, g->fd, EPOLLOUT, ready, g, NULL) < 0) {
		gconn_drop(g, "epoll");
		return;
	}
	(void)ev_timer_set(g->loop, &g->timer, g->connect_ms, too_slow, g);
}

void gconn_want(struct grpc *g)
{
	if (g->state == CONN_NONE && !g->timer.loop)
		connect_next(g);
	else if (g->state == CONN_READY)
		gconn_flush(g);
}

/* --- bytes --- */

/* Bytes moved, 0 for "not now", -1 for the end. */
static ssize_t put_some(struct grpc *g, const char *data, size_t len)
{
	ssize_t n;

	if (!g->ssl) {
		n = send(g->fd, data, len, MSG_NOSIGNAL);
		return n < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : n;
	}
	ERR_clear_error();
	n = SSL_write(g->ssl, data, (int)(len > 1 << 20 ? 1 << 20 : len));
	if (n > 0)
		return n;
	n = SSL_get_error(g->ssl, (int)n);
	return n == SSL_ERROR_WANT_WRITE || n == SSL_ERROR_WANT_READ ? 0 : -1;
}

static ssize_t get_some(struct grpc *g, char *data, size_t room)
{
	ssize_t n;
	int what;

	if (!g->ssl) {
		n = recv(g->fd, data, room, 0);
		if (n < 0)
			return errno == EAGAIN || errno == EINTR ? 0 : -1;
		return n ? n : -1;
	}
	ERR_clear_error();
	n = SSL_read(g->ssl, data, (int)room);
	if (n > 0)
		return n;
	what = SSL_get_error(g->ssl, (int)n);
	return what == SSL_ERROR_WANT_READ || what == SSL_ERROR_WANT_WRITE ? 0
									   : -1;
}

static int fill_out(struct grpc *g)
{
	const uint8_t *data;
	ssize_t n;

	g->in_h2 = true;
	while (g->out.len < OUT_MAX &&
	       (n = nghttp2_session_mem_send(g->h2, &data)) > 0)
		buf_add(&g->out, data, (size_t)n);
	g->in_h2 = false;
	return buf_error(&g->out) ? -1 : 0;
}

void gconn_flush(struct grpc *g)
{
	ssize_t n = 0;
	size_t at = 0;

	if (g->state != CONN_READY || g->in_h2)
		return;
	if (fill_out(g) || g->broken) {
		gconn_drop(g, g->broken ? g->why : "out of memory");
		return;
	}
	while (at < g->out.len &&
	       (n = put_some(g, g->out.data + at, g->out.len - at)) > 0)
		at += (size_t)n;
	if (n < 0) {
		gconn_drop(g, "the connection broke");
		return;
	}
	buf_consume(&g->out, at);
	(void)ev_io_set(&g->io, EPOLLIN | (g->out.len ? EPOLLOUT : 0));
}

static bool any_sent(const struct grpc *g)
{
	for (const struct call *c = g->calls; c; c = c->next)
		if (c->id)
			return true;
	return false;
}

static void take_in(struct grpc *g)
{
	char data[65536];
	ssize_t n, used;

	while (g->state == CONN_READY &&
	       (n = get_some(g, data, sizeof(data))) != 0) {
		if (n < 0) {
			gconn_drop(g, "the peer closed the connection");
			return;
		}
		g->heard_ms = ev_clock_ms();
		g->pinged = false;
		g->in_h2 = true;
		used = nghttp2_session_mem_recv(g->h2, (uint8_t *)data,
						(size_t)n);
		g->in_h2 = false;
		if (used < 0 || g->broken) {
			gconn_drop(g, g->broken ? g->why
						: nghttp2_strerror((int)used));
			return;
		}
		if (!g->ssl && n < (ssize_t)sizeof(data))
			break;
	}
	if (g->state == CONN_READY && g->draining && !any_sent(g))
		gconn_drop(g, "the peer is going away");
}

static void ready(void *arg, uint32_t events)
{
	struct grpc *g = arg;

	(void)events;
	if (g->state == CONN_CONNECTING)
		connected(g);
	else if (g->state == CONN_TLS)
		handshake(g);
	else if (g->state == CONN_READY)
		take_in(g);
	gconn_flush(g);
}

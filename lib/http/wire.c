// SPDX-License-Identifier: Apache-2.0
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <string.h>
#include <unistd.h>

#include "lib/auto.h"
#include "lib/http/tls.h"
#include "lib/http/wire.h"

static void on_event(void *arg, uint32_t events)
{
	struct wire *w = arg;

	(void)events;
	w->ready(w->arg);
}

int wire_open(struct wire *w, struct ev *loop, int fd, SSL *ssl,
	      void (*ready)(void *arg), void *arg, struct err *e)
{
	int r;

	*w = (struct wire){ .fd = fd, .ssl = ssl, .ready = ready, .arg = arg };
	if (ssl && SSL_get_fd(ssl) != fd && SSL_set_fd(ssl, fd) != 1) {
		wire_close(w);
		return err_set(e, -ENOMEM, "out of memory");
	}
	r = ev_io_add(loop, &w->io, fd, EPOLLIN, on_event, w, e);
	if (r < 0)
		wire_close(w);
	return r;
}

int wire_take(struct wire *w, struct ev *loop, int fd, SSL *ssl,
	      struct buf *early, struct err *e)
{
	int r = wire_open(w, loop, fd, ssl, NULL, NULL, e);

	if (r < 0)
		return r;
	w->early = *early;
	*early = (struct buf)BUF_INIT;
	return 0;
}

static SSL *make_tls(SSL_CTX *ctx, const char *name)
{
	SSL *ssl = SSL_new(ctx);

	if (!ssl)
		return NULL;
	SSL_set_connect_state(ssl);
	if (tls_expect(ssl, name) < 0) {
		SSL_free(ssl);
		return NULL;
	}
	return ssl;
}

int wire_connect(struct wire *w, struct ev *loop, const struct sockaddr *to,
		 socklen_t len, SSL_CTX *tls, const char *name,
		 void (*ready)(void *arg), void *arg, struct err *e)
{
	auto_close int fd =
		socket(to->sa_family,
		       SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	SSL *ssl = NULL;
	int one = 1, r;

	if (fd < 0)
		return err_sys(e, "socket");
	if (connect(fd, to, len) < 0 && errno != EINPROGRESS)
		return err_sys(e, "connect");
	if (to->sa_family != AF_UNIX)
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (tls) {
		ssl = make_tls(tls, name);
		if (!ssl)
			return err_set(e, -ENOMEM, "out of memory");
	}
	r = wire_open(w, loop, take_fd(&fd), ssl, ready, arg, e);
	if (r < 0)
		return r;
	w->connecting = true;
	wire_want(w, false, true);
	return 0;
}

/* 0 once connected, -EAGAIN before, or why not. */
static int connected(struct wire *w)
{
	struct sockaddr_storage peer;
	socklen_t len = sizeof(int);
	int code = 0;

	if (w->fd < 0)
		return -EBADF;
	if (!w->connecting)
		return 0;
	if (getsockopt(w->fd, SOL_SOCKET, SO_ERROR, &code, &len) == 0 && code) {
		errno = code;
		return err_sys(&w->why, "connect");
	}
	len = sizeof(peer);
	if (getpeername(w->fd, (struct sockaddr *)&peer, &len) < 0)
		return errno == ENOTCONN ? -EAGAIN
					 : err_sys(&w->why, "connect");
	w->connecting = false;
	return 0;
}

/* What an unsuccessful @n of SSL_read() or SSL_write() means. */
static ssize_t tls_result(struct wire *w, int n, bool *ret_other_way, bool out)
{
	int why = SSL_get_error(w->ssl, n), code = errno;
	long verdict;

	*ret_other_way =
		why == (out ? SSL_ERROR_WANT_READ : SSL_ERROR_WANT_WRITE);
	if (why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE)
		return -EAGAIN;
	if (why == SSL_ERROR_ZERO_RETURN)
		return 0;
	verdict = SSL_get_verify_result(w->ssl);
	if (verdict != X509_V_OK)
		return err_set(&w->why, -EACCES, "certificate: %s",
			       X509_verify_cert_error_string(verdict));
	if (why == SSL_ERROR_SYSCALL && code) {
		errno = code;
		return err_sys(&w->why, "TLS");
	}
	if (why == SSL_ERROR_SSL)
		return err_set(&w->why, -EPROTO, "TLS: %s",
			       ERR_reason_error_string(ERR_peek_error()));
	return err_set(&w->why, -ECONNRESET, "TLS: closed without goodbye");
}

ssize_t wire_read(struct wire *w, void *buf, size_t size)
{
	ssize_t n = connected(w);

	w->read_wants_out = false;
	if (n < 0)
		return n;
	if (w->early.len) {
		n = (ssize_t)(w->early.len < size ? w->early.len : size);
		memcpy(buf, w->early.data, (size_t)n);
		buf_consume(&w->early, (size_t)n);
		return n;
	}
	if (w->ssl) {
		ERR_clear_error();
		errno = 0;
		n = SSL_read(w->ssl, buf, size > INT_MAX ? INT_MAX : (int)size);
		return n > 0 ? n
			     : tls_result(w, (int)n, &w->read_wants_out, false);
	}
	do {
		n = recv(w->fd, buf, size, 0);
	} while (n < 0 && errno == EINTR);
	if (n < 0 && errno == EAGAIN)
		return -EAGAIN;
	return n < 0 ? err_sys(&w->why, "read") : n;
}

ssize_t wire_write(struct wire *w, const void *data, size_t len)
{
	ssize_t n = connected(w);

	w->write_wants_in = false;
	if (n < 0)
		return n;
	if (w->ssl) {
		ERR_clear_error();
		errno = 0;
		n = SSL_write(w->ssl, data, len > INT_MAX ? INT_MAX : (int)len);
		if (n > 0)
			return n;
		n = tls_result(w, (int)n, &w->write_wants_in, true);
		return n ? n : -EPIPE;
	}
	do {
		n = send(w->fd, data, len, MSG_NOSIGNAL);
	} while (n < 0 && errno == EINTR);
	if (n < 0 && errno == EAGAIN)
		return -EAGAIN;
	return n < 0 ? err_sys(&w->why, "write") : n;
}

void wire_want(struct wire *w, bool in, bool out)
{
	uint32_t events = 0;

	if (w->fd < 0)
		return;
	if (w->connecting)
		events = EPOLLOUT;
	else if ((in && !w->read_wants_out) || (out && w->write_wants_in))
		events |= EPOLLIN;
	if ((out && !w->write_wants_in) || (in && w->read_wants_out))
		events |= EPOLLOUT;
	if (w->io.events != events)
		(void)ev_io_set(&w->io, events);
}

void wire_close(struct wire *w)
{
	ev_io_del(&w->io);
	buf_clear(&w->early);
	if (w->ssl && SSL_is_init_finished(w->ssl)) {
		ERR_clear_error();
		(void)SSL_shutdown(w->ssl); /* says goodbye, if there is room */
	}
	SSL_free(w->ssl);
	w->ssl = NULL;
	if (w->fd > 0)
		close(w->fd);
	w->fd = -EBADF;
}

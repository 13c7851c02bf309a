// SPDX-License-Identifier: Apache-2.0
/* One HTTP, TCP or gRPC probe: connect, perhaps TLS, ask, read the header.
 * Never blocks; its caller keeps the time. */
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <netinet/in.h>
#include <openssl/err.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "agent/probe/internal.h"
#include "lib/auto.h"
#include "lib/err.h"
#include "lib/str.h"

static void hang_up(struct attempt *a)
{
	ev_io_del(&a->io);
	SSL_free(a->ssl);
	a->ssl = NULL;
	if (a->fd >= 0)
		close(a->fd);
	a->fd = -EBADF;
}

void attempt_cancel(struct attempt *a)
{
	hang_up(a);
	grpc_check_free(take_ptr(a->grpc));
	buf_clear(&a->in);
	buf_clear(&a->out);
}

void attempt_finish(struct attempt *a, bool success, const char *message)
{
	attempt_cancel(a);
	a->done(a->arg, success, message);
}

/* "Get \"http://10.0.0.1:80/\": ", or "" for TCP. As the kubelet of each. */
static void subject(const struct attempt *a, char *buf, size_t size)
{
	char url[400];

	buf[0] = '\0';
	if (a->spec->kind == PROBE_GRPC) {
		probe_address_format(&a->url, url);
		snprintf(buf, size,
			 "error: failed to connect service at \"%s\": ", url);
		return;
	}
	if (a->spec->kind != PROBE_HTTP)
		return;
	probe_url_format(&a->url, url, sizeof(url));
	snprintf(buf, size, "Get \"%s\": ", url);
}

/* "dial tcp [::1]:80: ", as Go says it. */
static void dial(const struct attempt *a, char *buf, size_t size)
{
	char address[PROBE_ADDRESS_TEXT];

	probe_address_format(&a->url, address);
	snprintf(buf, size, "dial tcp %s: ", address);
}

__attribute__((format(printf, 2, 3))) static void fail(struct attempt *a,
						       const char *fmt, ...)
{
	char message[PROBE_MESSAGE_MAX], what[512], who[448];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	subject(a, who, sizeof(who));
	snprintf(message, sizeof(message), "%s%s", who, what);
	attempt_finish(a, false, message);
}

/* Go's words for errno start small, like these. */
static void fail_errno(struct attempt *a, const char *doing, int code)
{
	char where[320] = "", what[128];

	dial(a, where, sizeof(where));
	snprintf(what, sizeof(what), "%s", strerror(code));
	what[0] = (char)tolower((unsigned char)what[0]);
	if (a->step == ATTEMPT_CONNECT)
		fail(a, "%s%s: %s", where, doing, what);
	else
		fail(a, "%s: %s", doing, what);
}

void attempt_timeout_message(const struct attempt *a, char *buf, size_t size)
{
	char who[448], where[320];

	if (a->spec->kind == PROBE_GRPC) {
		grpc_check_timeout_message(a, buf, size);
		return;
	}
	subject(a, who, sizeof(who));
	dial(a, where, sizeof(where));
	if (a->step == ATTEMPT_CONNECT)
		snprintf(buf, size, "%s%si/o timeout", who, where);
	else
		snprintf(buf, size,
			 "%scontext deadline exceeded (Client.Timeout exceeded "
			 "while awaiting headers)",
			 who);
}

static void ready(void *arg, uint32_t events);
static void dial_url(struct attempt *a);

static bool same_host(const struct probe_url *a, const struct probe_url *b)
{
	return strcasecmp(a->host, b->host) == 0;
}

static void redirect(struct attempt *a, const struct probe_answer *answer)
{
	struct probe_url next;

	/* Where Go's client would stop with an error, kubelet does. */
	if (probe_url_follow(&a->url, answer->location, answer->location_len,
			     &next) < 0) {
		fail(a, "failed to follow a redirect to an unusable address");
		return;
	}
	if (!same_host(&a->url, &next)) {
		attempt_finish(a, true, "");
		return;
	}
	if (++a->redirects > PROBE_REDIRECTS) {
		fail(a, "stopped after %d redirects", PROBE_REDIRECTS);
		return;
	}
	hang_up(a);
	buf_reset(&a->in);
	a->url = next;
	dial_url(a);
}

static bool is_redirect(int status)
{
	return status == 301 || status == 302 || status == 303 ||
	       status == 307 || status == 308;
}

static void judge(struct attempt *a, const struct probe_answer *answer)
{
	char message[64];

	if (is_redirect(answer->status) && answer->location) {
		redirect(a, answer);
		return;
	}
	if (answer->status >= 200 && answer->status < 400) {
		attempt_finish(a, true, "");
		return;
	}
	snprintf(message, sizeof(message),
		 "HTTP probe failed with statuscode: %d", answer->status);
	attempt_finish(a, false, message);
}

/* What OpenSSL waits for. False: it has failed, and @a is finished. */
static bool tls_wait(struct attempt *a, int r, const char *doing)
{
	switch (SSL_get_error(a->ssl, r)) {
	case SSL_ERROR_WANT_READ:
		(void)ev_io_set(&a->io, EPOLLIN);
		return true;
	case SSL_ERROR_WANT_WRITE:
		(void)ev_io_set(&a->io, EPOLLOUT);
		return true;
	default:
		fail(a, "%s", doing);
		return false;
	}
}

/* >0 bytes, 0 end, -EAGAIN waiting, else finished already: -ECANCELED. */
static ssize_t receive(struct attempt *a, void *to, size_t size)
{
	ssize_t n;
	int r;

	if (a->ssl) {
		ERR_clear_error();
		r = SSL_read(a->ssl, to, (int)size);
		if (r > 0)
			return r;
		if (SSL_get_error(a->ssl, r) == SSL_ERROR_ZERO_RETURN ||
		    SSL_get_error(a->ssl, r) == SSL_ERROR_SYSCALL)
			return 0;
		return tls_wait(a, r, "TLS: the answer is damaged")
			       ? -EAGAIN
			       : -ECANCELED;
	}
	n = recv(a->fd, to, size, 0);
	if (n >= 0)
		return n;
	if (errno == EAGAIN || errno == EINTR)
		return -EAGAIN;
	fail_errno(a, "read", errno);
	return -ECANCELED;
}

static void step_recv(struct attempt *a)
{
	struct probe_answer answer;
	char text[4096];
	ssize_t n;
	int r;

	n = receive(a, text, sizeof(text));
	if (n == -EAGAIN || n == -ECANCELED)
		return;
	if (n == 0) {
		fail(a, "EOF");
		return;
	}
	if (buf_add(&a->in, text, (size_t)n) < 0) {
		fail(a, "out of memory");
		return;
	}
	r = probe_answer_parse(a->in.data, a->in.len, &answer);
	if (r > 0)
		judge(a, &answer);
	else if (r < 0)
		fail(a, "malformed HTTP response");
	else if (a->in.len > PROBE_ANSWER_MAX)
		fail(a, "the answer's header is larger than %d bytes",
		     PROBE_ANSWER_MAX);
	else if (a->ssl && SSL_pending(a->ssl))
		step_recv(a); /* no event tells of these */
}

static void step_send(struct attempt *a)
{
	size_t left = a->out.len - a->sent;
	ssize_t n;
	int r;

	if (a->ssl) {
		ERR_clear_error();
		r = SSL_write(a->ssl, a->out.data + a->sent, (int)left);
		if (r <= 0) {
			(void)tls_wait(a, r, "TLS: cannot send the request");
			return;
		}
		n = r;
	} else {
		n = send(a->fd, a->out.data + a->sent, left, MSG_NOSIGNAL);
	}
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n < 0) {
		fail_errno(a, "write", errno);
		return;
	}
	a->sent += (size_t)n;
	if (a->sent < a->out.len)
		return;
	a->step = ATTEMPT_RECV;
	(void)ev_io_set(&a->io, EPOLLIN);
	if (a->ssl && SSL_pending(a->ssl))
		step_recv(a);
}

static void start_send(struct attempt *a)
{
	if (probe_request(&a->url, &a->spec->headers, &a->out) < 0) {
		fail(a, "out of memory");
		return;
	}
	a->sent = 0;
	a->step = ATTEMPT_SEND;
	(void)ev_io_set(&a->io, EPOLLOUT);
	step_send(a);
}

static void step_tls(struct attempt *a)
{
	int r;

	ERR_clear_error(); /* what others have left would be taken for ours */
	r = SSL_connect(a->ssl);
	if (r == 1)
		start_send(a);
	else
		(void)tls_wait(a, r,
			       "TLS handshake failed: does it speak "
			       "https?");
}

static SSL_CTX *tls_context(SSL_CTX **slot)
{
	SSL_CTX *c = *slot;

	if (!c) {
		c = SSL_CTX_new(TLS_client_method());
		if (!c)
			return NULL;
		/* As the kubelet: a probe asks for health, not for identity. */
		SSL_CTX_set_verify(c, SSL_VERIFY_NONE, NULL);
		SSL_CTX_set_options(c, SSL_OP_IGNORE_UNEXPECTED_EOF);
		*slot = c;
	}
	return c;
}

static void start_tls(struct attempt *a)
{
	SSL_CTX *context = tls_context(a->tls);

	a->ssl = context ? SSL_new(context) : NULL;
	if (!a->ssl || SSL_set_fd(a->ssl, a->fd) != 1) {
		fail(a, "out of memory");
		return;
	}
	a->step = ATTEMPT_TLS;
	step_tls(a);
}

static void connected(struct attempt *a)
{
	if (a->spec->kind == PROBE_TCP)
		attempt_finish(a, true, "");
	else if (a->spec->kind == PROBE_GRPC)
		grpc_check_start(a);
	else if (a->url.https)
		start_tls(a);
	else
		start_send(a);
}

static void step_connect(struct attempt *a)
{
	socklen_t len = sizeof(int);
	int code = 0;

	if (getsockopt(a->fd, SOL_SOCKET, SO_ERROR, &code, &len) < 0)
		code = errno;
	if (code)
		fail_errno(a, "connect", code);
	else
		connected(a);
}

static void ready(void *arg, uint32_t events)
{
	struct attempt *a = arg;

	(void)events;
	switch (a->step) {
	case ATTEMPT_CONNECT:
		step_connect(a);
		break;
	case ATTEMPT_TLS:
		step_tls(a);
		break;
	case ATTEMPT_SEND:
		step_send(a);
		break;
	case ATTEMPT_RECV:
		step_recv(a);
		break;
	case ATTEMPT_GRPC:
		grpc_check_step(a);
		break;
	}
}

/* 0 or -EINVAL. */
static int address(const char *host, uint16_t port, struct sockaddr_storage *to,
		   socklen_t *ret_len)
{
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)to;
	struct sockaddr_in *v4 = (struct sockaddr_in *)to;

	memset(to, 0, sizeof(*to));
	if (strcasecmp(host, "localhost") == 0)
		host = "127.0.0.1";
	if (inet_pton(AF_INET, host, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons(port);
		*ret_len = sizeof(*v4);
		return 0;
	}
	if (inet_pton(AF_INET6, host, &v6->sin6_addr) == 1) {
		v6->sin6_family = AF_INET6;
		v6->sin6_port = htons(port);
		*ret_len = sizeof(*v6);
		return 0;
	}
	return -EINVAL;
}

static void dial_url(struct attempt *a)
{
	struct err e = { 0 };

	a->step = ATTEMPT_CONNECT;
	if (address(a->url.host, a->url.port, &a->addr, &a->addr_len) < 0) {
		fail(a, "'%.100s' is no address: names are not resolved",
		     a->url.host);
		return;
	}
	a->fd = a->ops->connect_socket(a->ops->ctx, a->pod_key,
				       a->addr.ss_family, &e);
	if (a->fd < 0) {
		a->fd = -EBADF;
		fail(a, "no socket in the pod's network: %s", e.msg);
		return;
	}
	if (ev_io_add(a->loop, &a->io, a->fd, EPOLLOUT, ready, a, &e) < 0) {
		fail(a, "%s", e.msg);
		return;
	}
	if (connect(a->fd, (struct sockaddr *)&a->addr, a->addr_len) == 0)
		connected(a);
	else if (errno != EINPROGRESS)
		fail_errno(a, "connect", errno);
}

void attempt_start(struct attempt *a, const char *pod_ip)
{
	const struct probe_spec *spec = a->spec;
	const char *host = spec->host ? spec->host : pod_ip;

	a->redirects = 0;
	a->step = ATTEMPT_CONNECT;
	if (probe_url_init(&a->url, spec->https, host ? host : "?", spec->port,
			   spec->kind == PROBE_HTTP ? spec->path : NULL) < 0) {
		fail(a, "the address is too long");
		return;
	}
	if (!host) {
		fail(a, "the pod has no address");
		return;
	}
	dial_url(a);
}

// SPDX-License-Identifier: Apache-2.0
#include <netdb.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>

#include "controlplane/client/rest.h"
#include "controlplane/client/target.h"
#include "lib/err.h"
#include "lib/json.h"
#include "lib/str.h"

struct rest {
	struct target *to;
	char *address; /* NULL: to->host */
	int seconds;   /* without progress */
	SSL *ssl;
	int fd;
	struct buf in;
	pthread_mutex_t lock; /* of fd, against rest_cancel() */
	atomic_bool cancelled;
	/* Of a stream: what was decoded of its chunks, and given out of it. */
	struct buf text;
	size_t given;
	bool chunked, ended;
	bool near;
};

static struct rest *rest_new(void)
{
	struct rest *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	pthread_mutex_init(&c->lock, NULL);
	c->fd = -EBADF;
	c->seconds = REST_TIMEOUT_S;
	c->in.max = REST_ANSWER_MAX;
	c->text.max = REST_ANSWER_MAX;
	return c;
}

int rest_open(const char *kubeconfig, struct rest **ret, struct err *e)
{
	auto_ptr(rest) c = rest_new();
	int r;

	if (!c)
		return err_set(e, -ENOMEM, "out of memory");
	r = target_open(kubeconfig, &c->to, e);
	if (r < 0)
		return r;
	*ret = take_ptr(c);
	return 0;
}

int rest_open_text(const char *text, const char *address, int seconds,
		   struct rest **ret, struct err *e)
{
	auto_ptr(rest) c = rest_new();
	int r;

	if (!c || (address && str_set(&c->address, address)))
		return err_set(e, -ENOMEM, "out of memory");
	c->seconds = seconds;
	r = target_parse(text, strlen(text), "client", &c->to, e);
	if (r < 0)
		return r;
	*ret = take_ptr(c);
	return 0;
}

static void set_patience(int fd, time_t seconds)
{
	struct timeval limit = { .tv_sec = seconds };

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
}

void rest_set_patience(struct rest *c, int seconds)
{
	c->seconds = seconds;
	if (c->fd >= 0)
		set_patience(c->fd, seconds);
}

static void disconnect(struct rest *c)
{
	SSL_free(c->ssl);
	c->ssl = NULL;
	pthread_mutex_lock(&c->lock);
	if (c->fd >= 0)
		close(c->fd);
	c->fd = -EBADF;
	pthread_mutex_unlock(&c->lock);
	buf_reset(&c->in);
}

void rest_cancel(struct rest *c)
{
	pthread_mutex_lock(&c->lock);
	c->cancelled = true;
	if (c->fd >= 0)
		shutdown(c->fd, SHUT_RDWR);
	pthread_mutex_unlock(&c->lock);
}

/* The descriptor is in use from here on, unless all is cancelled. */
static int take_over(struct rest *c, int fd)
{
	bool cancelled;

	pthread_mutex_lock(&c->lock);
	cancelled = c->cancelled;
	if (!cancelled)
		c->fd = fd;
	pthread_mutex_unlock(&c->lock);
	return cancelled ? -ECANCELED : 0;
}

void rest_close(struct rest *c)
{
	disconnect(c);
	target_free(c->to);
	free(c->address);
	buf_clear(&c->in);
	buf_clear(&c->text);
	pthread_mutex_destroy(&c->lock);
	free(c);
}

const char *rest_server(const struct rest *c)
{
	return c->to->server;
}

static int64_t ends_s(const X509 *cert)
{
	struct tm tm = { 0 };

	if (!cert || ASN1_TIME_to_tm(X509_get0_notAfter(cert), &tm) != 1)
		return 0;
	return timegm(&tm);
}

void rest_expiry(const struct rest *c, struct rest_expiry *ret)
{
	BIO *bio = BIO_new_mem_buf(c->to->ca_pem, -1);
	X509 *ca = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;

	*ret = (struct rest_expiry){
		.server_s =
			c->ssl ? ends_s(SSL_get0_peer_certificate(c->ssl)) : 0,
		.ca_s = ends_s(ca),
		.client_s = ends_s(SSL_CTX_get0_certificate(c->to->ctx)),
	};
	X509_free(ca);
	BIO_free(bio);
}

/* --- one request --- */

/* Only what is ours can be bound to. */
static bool is_ours(const struct addrinfo *a)
{
	struct sockaddr_storage to = { 0 };
	int fd = socket(a->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool ours;

	if (fd < 0)
		return false;
	memcpy(&to, a->ai_addr, a->ai_addrlen);
	if (a->ai_family == AF_INET6)
		((struct sockaddr_in6 *)&to)->sin6_port = 0;
	else
		((struct sockaddr_in *)&to)->sin_port = 0;
	ours = bind(fd, (struct sockaddr *)&to, a->ai_addrlen) == 0;
	close(fd);
	return ours;
}

bool rest_is_near(const struct rest *c)
{
	return c->near;
}

static int dial(struct rest *c, struct err *e)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *ai = NULL;
	struct timeval limit = { .tv_sec = c->seconds };
	int rc = getaddrinfo(c->address ? c->address : c->to->host, c->to->port,
			     &hints, &ai);
	int one = 1, fd = -EBADF;

	if (rc)
		return err_set(e, -EHOSTUNREACH, "%s: %s", c->to->server,
			       gai_strerror(rc));
	rc = 0;
	for (struct addrinfo *a = ai; a && rc != -ECANCELED; a = a->ai_next) {
		fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (fd < 0)
			continue;
		rc = take_over(c, fd);
		set_patience(fd, c->seconds);
		setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		if (rc == 0 && connect(fd, a->ai_addr, a->ai_addrlen) == 0)
			break;
		if (rc == 0) {
			rc = -errno;
			c->near = is_ours(a);
		}
		if (c->fd >= 0)
			disconnect(c);
		else
			close(fd);
		fd = -EBADF;
	}
	freeaddrinfo(ai);
	if (fd >= 0)
		return 0;
	errno = rc ? -rc : EAFNOSUPPORT;
	return err_sys(e, "connect to %s", c->to->server);
}

static int tls_failed(struct err *e, const struct rest *c, const char *what)
{
	char text[128];

	ERR_error_string_n(ERR_peek_last_error(), text, sizeof(text));
	ERR_clear_error();
	return err_set(e, -EPROTO, "%s: %s: %s", c->to->server, what, text);
}

static int connect_tls(struct rest *c, struct err *e)
{
	int r = dial(c, e);

	if (r < 0)
		return r;
	c->ssl = target_session(c->to);
	if (!c->ssl || !SSL_set_fd(c->ssl, c->fd))
		return err_set(e, -ENOMEM, "tls: out of memory");
	ERR_clear_error();
	r = SSL_connect(c->ssl);
	if (r == 1)
		return 0;
	if (SSL_get_error(c->ssl, r) == SSL_ERROR_WANT_READ)
		return err_set(e, -ETIMEDOUT,
			       "%s: no answer within %d s, though something "
			       "listens there",
			       c->to->server, c->seconds);
	return tls_failed(e, c, "handshake");
}

static int send_all(struct rest *c, const struct buf *b, struct err *e)
{
	size_t sent = 0;

	while (sent < b->len) {
		int n;

		ERR_clear_error();
		n = SSL_write(c->ssl, b->data + sent, b->len - sent);
		if (n <= 0)
			return tls_failed(e, c, "send");
		sent += n;
	}
	return 0;
}

/* More input; -EPIPE at its end. */
static int receive(struct rest *c, struct err *e)
{
	char *p = buf_reserve(&c->in, 16384);
	int n;

	if (!p)
		return err_set(e, -EMSGSIZE, "%s: the answer is too large",
			       c->to->server);
	ERR_clear_error();
	n = SSL_read(c->ssl, p, 16384);
	if (n > 0) {
		buf_commit(&c->in, n);
		return 0;
	}
	if (n < 0 && SSL_get_error(c->ssl, n) == SSL_ERROR_WANT_READ)
		return err_set(e, -ETIMEDOUT, "%s: no answer in time",
			       c->to->server);
	if (c->cancelled)
		return err_set(e, -ECANCELED, "%s: cancelled", c->to->server);
	return err_set(e, -EPIPE, "%s: the connection was closed",
		       c->to->server);
}

struct head {
	int status;
	size_t len; /* of the head */
	int64_t length;
	bool chunked, close;
};

static int parse_head(struct rest *c, struct head *h, struct err *e)
{
	char *end;

	memset(h, 0, sizeof(*h));
	h->length = -1;
	while (!c->in.len ||
	       !(end = memmem(c->in.data, c->in.len, "\r\n\r\n", 4))) {
		int r = c->in.len > 65536 ? -EPROTO : receive(c, e);

		if (r < 0)
			return r;
	}
	h->len = end + 4 - c->in.data;
	if (sscanf(c->in.data, "HTTP/1.1 %3d", &h->status) != 1)
		return err_set(e, -EPROTO, "%s does not speak HTTP/1.1",
			       c->to->server);
	for (char *p = strstr(c->in.data, "\r\n"); p && p < end;
	     p = strstr(p + 2, "\r\n")) {
		long long n;

		if (!strncasecmp(p + 2, "content-length:", 15) &&
		    sscanf(p + 17, "%lld", &n) == 1 && n >= 0)
			h->length = n;
		if (!strncasecmp(p + 2, "transfer-encoding: chunked", 26))
			h->chunked = true;
		if (!strncasecmp(p + 2, "connection: close", 17))
			h->close = true;
	}
	return 0;
}

static int take(struct rest *c, size_t n, struct buf *out, struct err *e)
{
	while (c->in.len < n) {
		int r = receive(c, e);

		if (r < 0)
			return r;
	}
	if (out)
		buf_add(out, c->in.data, n);
	buf_consume(&c->in, n);
	return 0;
}

/* One chunk; 1, or 0 at the end. */
static int take_chunk(struct rest *c, struct buf *out, struct err *e)
{
	unsigned int size;
	char *nl;
	int r;

	while (!c->in.len || !(nl = memmem(c->in.data, c->in.len, "\r\n", 2))) {
		r = receive(c, e);
		if (r < 0)
			return r;
	}
	if (sscanf(c->in.data, "%8x", &size) != 1)
		return err_set(e, -EPROTO, "%s: malformed answer",
			       c->to->server);
	r = take(c, nl + 2 - c->in.data, NULL, e);
	if (r == 0)
		r = take(c, size, out, e);
	if (r == 0)
		r = take(c, 2, NULL, e);
	if (r < 0)
		return r;
	return size ? 1 : 0;
}

static int take_chunks(struct rest *c, struct buf *out, struct err *e)
{
	int r;

	do
		r = take_chunk(c, out, e);
	while (r > 0);
	return r;
}

static int read_body(struct rest *c, const struct head *h, struct buf *answer,
		     struct err *e)
{
	int r = 0;

	if (h->chunked)
		r = take_chunks(c, answer, e);
	else if (h->length > 0)
		r = take(c, h->length, answer, e);
	if (r < 0)
		return r;
	if (h->close)
		disconnect(c);
	return h->status;
}

static int read_answer(struct rest *c, struct buf *answer, struct err *e)
{
	struct head h;
	int r = parse_head(c, &h, e);

	if (r < 0)
		return r;
	buf_consume(&c->in, h.len);
	return read_body(c, &h, answer, e);
}

static void put_head(struct rest *c, const char *method, const char *path,
		     struct buf *req)
{
	buf_printf(req,
		   "%s %s HTTP/1.1\r\nHost: %s\r\nAccept: application/json"
		   "\r\nUser-Agent: arktos/" ARKTOS_VERSION "\r\n",
		   method, path, c->to->authority);
	if (c->to->token && *c->to->token)
		buf_printf(req, "Authorization: Bearer %s\r\n", c->to->token);
}

int rest_call(struct rest *c, const char *method, const char *path,
	      const char *body, const char *type, struct buf *answer,
	      struct err *e)
{
	auto_buf struct buf req = BUF_INIT;
	bool fresh = !c->ssl;
	int r = 0;

	buf_reset(answer);
	put_head(c, method, path, &req);
	if (body)
		buf_printf(&req, "Content-Type: %s\r\nContent-Length: %zu\r\n",
			   type ? type : "application/json", strlen(body));
	buf_puts(&req, "\r\n");
	if (body)
		buf_puts(&req, body);
	if (buf_error(&req))
		return err_set(e, -ENOMEM, "out of memory");
	for (;;) {
		if (!c->ssl)
			r = connect_tls(c, e);
		if (r == 0)
			r = send_all(c, &req, e);
		if (r == 0)
			r = read_answer(c, answer, e);
		if (r >= 0)
			return r;
		disconnect(c);
		/* An idle connection may have been closed under us. Only what
		 * changes nothing is sent twice. */
		if (fresh || strcmp(method, "GET") != 0)
			return r;
		fresh = true;
		r = 0;
		buf_reset(answer);
	}
}

/* --- an answer without an end --- */

int rest_stream(struct rest *c, const char *path, struct buf *answer,
		struct err *e)
{
	auto_buf struct buf req = BUF_INIT;
	struct head h;
	int r;

	rest_stream_end(c);
	buf_reset(answer);
	put_head(c, "GET", path, &req);
	buf_puts(&req, "\r\n");
	if (buf_error(&req))
		return err_set(e, -ENOMEM, "out of memory");
	/* Always on a connection of its own: an idle one may be dead. */
	disconnect(c);
	r = connect_tls(c, e);
	if (r == 0)
		r = send_all(c, &req, e);
	if (r == 0)
		r = parse_head(c, &h, e);
	if (r == 0) {
		buf_consume(&c->in, h.len);
		r = h.status;
		if (r != 200)
			return read_body(c, &h, answer, e);
		set_patience(c->fd, REST_SILENCE_S);
		c->chunked = h.chunked;
		c->ended = false;
		return r;
	}
	disconnect(c);
	return r;
}

/* More text of the stream; 1, or 0 at its end. */
static int stream_more(struct rest *c, struct err *e)
{
	int r;

	if (c->chunked)
		return take_chunk(c, &c->text, e);
	r = c->in.len ? 0 : receive(c, e);
	if (r == -EPIPE)
		return 0;
	if (r < 0)
		return r;
	buf_add(&c->text, c->in.data, c->in.len);
	buf_reset(&c->in);
	return buf_error(&c->text) ? buf_error(&c->text) : 1;
}

int rest_stream_line(struct rest *c, const char **ret, size_t *ret_len,
		     struct err *e)
{
	char *nl;
	int r;

	for (;;) {
		size_t left = c->text.len - c->given;
		char *from = c->text.data + c->given;

		nl = left ? memchr(from, '\n', left) : NULL;
		if (nl) {
			*nl = '\0';
			*ret = from;
			*ret_len = (size_t)(nl - from);
			c->given += *ret_len + 1;
			return 1;
		}
		buf_consume(&c->text, c->given);
		c->given = 0;
		if (c->ended)
			return 0;
		r = stream_more(c, e);
		if (r < 0)
			return r;
		c->ended = r == 0;
	}
}

void rest_stream_end(struct rest *c)
{
	buf_reset(&c->text);
	c->given = 0;
	c->ended = true;
	disconnect(c);
}

int rest_check(int status, const struct buf *answer, struct err *e)
{
	yyjson_doc *doc;
	const char *msg;
	int code;

	if (status < 400)
		return status < 0 ? status : 0;
	code = status == 404                    ? -ENOENT
	       : status == 409                  ? -EEXIST
	       : status == 401 || status == 403 ? -EACCES
	       : status == 400 || status == 422 ? -EINVAL
						: -EIO;
	doc = yyjson_read(buf_str(answer), answer->len, 0);
	msg = yyjson_get_str(
		yyjson_obj_get(yyjson_doc_get_root(doc), "message"));
	if (msg)
		err_set(e, code, "%s", msg);
	else
		err_set(e, code, "the server answered %d", status);
	yyjson_doc_free(doc);
	return code;
}

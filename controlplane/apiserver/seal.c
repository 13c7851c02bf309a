// SPDX-License-Identifier: Apache-2.0
/*
 * Between a connection's TLS (one from this very process has none, and what
 * follows is all the same) and its socket. Records are gathered in the loop's
 * room, so that many go out by one send(2); only what the socket does not take
 * is copied into memory of the connection's own.
 */
#include <errno.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <sys/socket.h>

#include "controlplane/apiserver/conn.h"

static BIO_METHOD *method;
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* --- out --- */

static bool has_room(const struct conn *c, size_t len)
{
	const struct loop *l = c->loop;

	return !c->sealed.len && (!l->sealer || l->sealer == c) &&
	       l->sealed_len + len <= SEAL_ROOM;
}

/* What is in the room is the connection's alone from now on. */
static int leave_room(struct conn *c)
{
	struct loop *l = c->loop;
	size_t len = l->sealed_len;

	if (l->sealer != c)
		return 0;
	l->sealer = NULL;
	l->sealed_len = 0;
	return buf_add(&c->sealed, l->sealed, len);
}

static int gather(struct conn *c, const char *data, size_t len)
{
	struct loop *l = c->loop;
	int r;

	if (has_room(c, len)) {
		l->sealer = c;
		memcpy(l->sealed + l->sealed_len, data, len);
		l->sealed_len += len;
		return 0;
	}
	r = leave_room(c);
	return r < 0 ? r : buf_add(&c->sealed, data, len);
}

static int on_write(BIO *b, const char *data, int len)
{
	return gather(BIO_get_data(b), data, (size_t)len) < 0 ? -1 : len;
}

/* As much as the socket takes. */
static ssize_t give(struct conn *c, const char *data, size_t len)
{
	size_t sum = 0;

	while (sum < len) {
		ssize_t n = send(c->fd, data + sum, len - sum,
				 MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0)
			return -errno;
		sum += (size_t)n;
		c->moved = true;
	}
	return (ssize_t)sum;
}

static int flush_own(struct conn *c)
{
	ssize_t n = give(c, c->sealed.data + c->sealed_off,
			 c->sealed.len - c->sealed_off);

	if (n < 0)
		return (int)n;
	c->sealed_off += (size_t)n;
	if (c->sealed_off < c->sealed.len)
		return 1;
	c->sealed_off = 0;
	buf_clear(&c->sealed);
	return 0;
}

int seal_flush(struct conn *c)
{
	struct loop *l = c->loop;
	ssize_t n;
	size_t len = l->sealed_len;

	if (c->sealed.len)
		return flush_own(c);
	if (l->sealer != c)
		return 0;
	l->sealer = NULL;
	l->sealed_len = 0;
	n = give(c, l->sealed, len);
	if (n < 0 || (size_t)n == len)
		return n < 0 ? (int)n : 0;
	return buf_add(&c->sealed, l->sealed + n, len - (size_t)n) < 0 ? -ENOMEM
								       : 1;
}

int seal_put(struct conn *c, const char *data, size_t len)
{
	if (!c->ssl) {
		if (gather(c, data, len) < 0)
			return -ENOMEM;
		len = 0;
	}
	while (len) {
		int n;

		ERR_clear_error();
		n = SSL_write(c->ssl, data, (int)len);
		if (n <= 0)
			return -EPIPE;
		data += n;
		len -= (size_t)n;
	}
	return c->loop->sealed_len >= SEAL_FULL ? seal_flush(c) : 0;
}

void seal_end(struct conn *c)
{
	/* An alert, perhaps: what does not go out now never will. */
	(void)seal_flush(c);
	buf_clear(&c->sealed);
}

/* --- in --- */

static ssize_t take(struct conn *c, char *data, size_t size)
{
	ssize_t n;

	do {
		n = recv(c->fd, data, size, MSG_DONTWAIT);
	} while (n < 0 && errno == EINTR);
	/* Less than there was room for is all of it; of the end we were told.
	 */
	if (n < (ssize_t)size && !(n > 0 && c->last))
		c->readable = false;
	return n;
}

static int on_read(BIO *b, char *data, int size)
{
	ssize_t n;

	BIO_clear_retry_flags(b);
	n = take(BIO_get_data(b), data, (size_t)size);
	if (n < 0 && errno == EAGAIN)
		BIO_set_retry_read(b);
	return (int)n;
}

ssize_t seal_get(struct conn *c, char *data, size_t size)
{
	ssize_t n;
	int why;

	if (!c->ssl) {
		n = take(c, data, size);
		if (n < 0 && errno == EAGAIN)
			return 0;
		return n > 0 ? n : -EPIPE;
	}
	ERR_clear_error();
	n = SSL_read(c->ssl, data, (int)size);
	if (n > 0) {
		c->unread = SSL_has_pending(c->ssl);
		return n;
	}
	why = SSL_get_error(c->ssl, (int)n);
	return why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE
		       ? 0
		       : -EPIPE;
}

static long on_ctrl(BIO *b, int cmd, long num, void *ptr)
{
	(void)b, (void)num, (void)ptr;
	return cmd == BIO_CTRL_FLUSH; /* by seal_flush(), in one go */
}

static void make_method(void)
{
	BIO_METHOD *m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK,
				     "connection");

	if (!m)
		return;
	BIO_meth_set_write(m, on_write);
	BIO_meth_set_read(m, on_read);
	BIO_meth_set_ctrl(m, on_ctrl);
	method = m;
}

int seal_start(struct conn *c)
{
	BIO *b;

	(void)pthread_once(&once, make_method);
	b = method ? BIO_new(method) : NULL;
	if (!b)
		return -ENOMEM;
	BIO_set_data(b, c);
	BIO_set_init(b, 1);
	SSL_set_bio(c->ssl, b, b);
	/* A record by one recv(2), not its head first. */
	SSL_set_read_ahead(c->ssl, 1);
	return 0;
}

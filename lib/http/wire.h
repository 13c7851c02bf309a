/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A connected stream of bytes on an event loop, plain or TLS: what is left of a
 * connection after an upgrade, and what a proxy makes.
 *
 *	wire_open(&w, loop, fd, ssl, ready, arg, e);
 *	static void ready(void *arg)
 *	{
 *		while ((n = wire_read(&w, buf, sizeof(buf))) > 0)
 *			...
 *		wire_want(&w, true, have_output);
 *	}
 *
 * A TLS handshake is made by the first read or write. Data may be waiting
 * within TLS, where no descriptor tells of it: read until -EAGAIN, and after
 * having paused, read before waiting.
 */
#ifndef LIB_HTTP_WIRE_H
#define LIB_HTTP_WIRE_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "lib/buf.h"
#include "lib/err.h"
#include "lib/ev.h"

struct wire {
	int fd;   /* -EBADF: closed */
	SSL *ssl; /* NULL: plain */
	struct ev_io io;
	bool connecting;
	bool read_wants_out, write_wants_in; /* as TLS has it */
	void (*ready)(void *arg);
	void *arg;
	struct buf early; /* read before the wire was ours */
	struct err why;   /* after a failure of read or write */
};

/* Serve @fd and @ssl, which are taken over, also on failure. @ssl may be NULL,
 * and is in its accept or connect state, or past its handshake. */
int wire_open(struct wire *w, struct ev *loop, int fd, SSL *ssl,
	      void (*ready)(void *arg), void *arg, struct err *e);

/* The same, after an upgrade: @early (taken) is read first. Set w->ready and
 * w->arg before the loop goes on. */
int wire_take(struct wire *w, struct ev *loop, int fd, SSL *ssl,
	      struct buf *early, struct err *e);

/**
 * wire_connect() - Begin to connect; reads and writes wait for it.
 * @w:     Zeroed.
 * @loop:  Borrowed.
 * @to:    Address.
 * @len:   Its length.
 * @tls:   NULL: plain. Borrowed.
 * @name:  Whom the certificate must be for: a DNS name or an IP address.
 * @ready: Called whenever something may be done.
 * @arg:   For @ready.
 * @e:     Filled on error.
 *
 * Return: 0 or -errno; later failures come from read and write.
 */
int wire_connect(struct wire *w, struct ev *loop, const struct sockaddr *to,
		 socklen_t len, SSL_CTX *tls, const char *name,
		 void (*ready)(void *arg), void *arg, struct err *e);

/* Bytes, 0 at the end, -EAGAIN, or -errno with the story in w->why. */
ssize_t wire_read(struct wire *w, void *buf, size_t size);
/* Bytes taken, -EAGAIN, or -errno. */
ssize_t wire_write(struct wire *w, const void *data, size_t len);
/* What to be called for: something to read, room to write. */
void wire_want(struct wire *w, bool in, bool out);
void wire_close(struct wire *w); /* fine when closed */

#endif /* LIB_HTTP_WIRE_H */

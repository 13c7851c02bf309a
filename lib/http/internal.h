/* SPDX-License-Identifier: Apache-2.0 */
/* Between server.c and listen.c. */
#ifndef LIB_HTTP_INTERNAL_H
#define LIB_HTTP_INTERNAL_H

#include <stdbool.h>

#include "lib/buf.h"
#include "lib/ev.h"
#include "lib/http/server.h"

#define LISTENERS_MAX 4

struct listener {
	struct http_server *server;
	struct ev_io io;
	int fd;
	char *path; /* of a unix socket, owned; NULL: TCP */
	bool tcp;
};

struct http_server {
	struct http_server_opts o;
	struct listener listeners[LISTENERS_MAX];
	size_t nr_listeners;
	struct ev_timer pause; /* of accepting, when out of descriptors */
	bool paused;
	bool stopping;
	struct http_conn *conns;
	unsigned nr_conns;
};

struct http_conn {
	struct http_server *server;
	struct http_conn *next, **link;
	int fd;
	SSL *ssl;      /* NULL: plain */
	bool tls_wait; /* TLS has to write before it can read */
	struct ucred peer;
	struct ev_io io;
	struct ev_timer timer;
	struct ev_defer defer;
	struct buf in, out;
	size_t out_done;      /* bytes of out already sent */
	struct http_req *req; /* being read or answered; NULL between them */
	bool reading;         /* req is not complete yet */
	bool broken;          /* what came was no request */
	bool closing;         /* once out is sent */
	bool closed;          /* for good; freed after the batch */
	bool draining;        /* only waiting for the client to close */
	bool in_work;         /* conn_work() is on the stack */
	bool stall_armed;     /* the timer watches the client reading */
	bool wrote;           /* it has read something since it was set */
};

/* Serve @fd, which is taken over; over TLS unless @peer is known. */
void conn_new(struct http_server *s, int fd, const struct ucred *peer);
void conns_drop(struct http_server *s);

/* A connection has ended: there may be room for another one. */
void listen_resume(struct http_server *s);

#endif /* LIB_HTTP_INTERNAL_H */

/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LIB_GRPC_INTERNAL_H
#define LIB_GRPC_INTERNAL_H

#include <nghttp2/nghttp2.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdatomic.h>

#include "lib/ev.h"
#include "lib/grpc/frame.h"
#include "lib/grpc/grpc.h"

/* --- frame.c: see frame.h --- */

int grpc_errno(int status);

/* --- one request, unary or stream; on the loop's thread --- */

struct call {
	struct call *next, **link;
	struct grpc *g;
	int32_t id; /* of the h2 stream; 0: waiting for a connection */
	char *path;
	struct buf out;   /* framed requests, not yet taken by h2 */
	bool half_closed; /* nothing more will be sent */
	bool deferred;    /* h2 waits for more to send */
	struct frames in;
	int http_status;
	int status; /* -1: not told yet */
	char message[200];
	int local; /* errno of ours that ended it; 0: the peer did */
	uint32_t timeout_ms;
	struct ev_timer timer;
	bool over;
	/* How it goes on. */
	void (*message_fn)(struct call *c, const void *data, size_t len);
	void (*end_fn)(struct call *c, int code, const struct err *e);
	void *arg;
	bool sent;
};

void gcall_begin(struct call *c); /* queue, or send at once */
void gcall_end(struct call *c, int local, const char *why);
void gcall_cancel(struct call *c); /* without a callback */

struct endpoint {
	char *host, *port;
	bool tls;
};

#define GTLS_FILES 3

enum conn_state { CONN_NONE, CONN_CONNECTING, CONN_TLS, CONN_READY };

struct grpc {
	struct ev *loop;
	pthread_t thread;
	bool started;
	SSL_CTX *ctx;
	char *files[GTLS_FILES]; /* CA, certificate, key; NULL: none */
	struct timespec read_at[GTLS_FILES];
	struct endpoint endpoints[GRPC_ENDPOINTS_MAX];
	size_t nr_endpoints, endpoint;
	size_t max_message;
	uint32_t connect_ms, keepalive_ms, silence_ms;
	atomic_uint connections;

	/* The rest is the loop's. */
	enum conn_state state;
	int fd;
	SSL *ssl;
	nghttp2_session *h2;
	struct ev_io io;
	struct ev_timer timer; /* connect, back-off, keep-alive */
	unsigned int failures; /* in a row, over all endpoints */
	uint64_t heard_ms;
	bool pinged, draining, in_h2, broken, stopped;
	struct buf out;
	struct call *calls;
	char why[160]; /* the last connection failed */
};

/* --- tls.c --- */
int gtls_open(struct grpc *g, const struct grpc_opts *o, struct err *e);
/* What has been renewed is used from the next connection on. */
void gtls_look(struct grpc *g);
void gtls_close(struct grpc *g);

/* --- conn.c --- */
void gconn_want(struct grpc *g); /* there is something to send */
void gconn_drop(struct grpc *g, const char *why);
void gconn_flush(struct grpc *g);

/* --- h2.c --- */
int gh2_start(struct grpc *g);
int gh2_submit(struct grpc *g, struct call *c);

#endif /* LIB_GRPC_INTERNAL_H */

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An HTTP/1.1 server on an event loop: unix sockets and TCP, keep-alive, time
 * limits, streamed answers with back-pressure, connections taken over.
 *
 *	static void handle(void *arg, struct http_req *req)
 *	{
 *		http_reply(req, 200, "text/plain", "hello\n", 6);
 *	}
 *
 * A handler is called once the whole request is there, and has to answer, now
 *or later: http_reply(), http_stream()...http_stream_end(), or http_take().
 *Until then, and while it holds a reference, the request stays; answering one
 *whose client has gone does nothing and returns -EPIPE. All on the loop's
 *thread: workers answer by ev_post().
 */
#ifndef LIB_HTTP_SERVER_H
#define LIB_HTTP_SERVER_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "lib/buf.h"
#include "lib/http/h1.h"

struct err;
struct ev;
struct http_server;
struct http_conn;
struct http_req;

struct http_server_opts {
	struct ev *loop;
	void (*handle)(void *arg, struct http_req *req);
	/* May this peer speak at all? NULL: every one. */
	bool (*admit)(void *arg, const struct ucred *peer);
	void *arg;
	size_t body_max;    /* of a request; 0: 1 MiB */
	unsigned conns_max; /* 0: 256; more wait in the backlog */
	unsigned head_ms;   /* a head, once begun; 0: 10 s */
	unsigned body_ms;   /* a body; 0: 60 s */
	unsigned idle_ms;   /* between requests; 0: 120 s */
	unsigned stall_ms;  /* a client that does not read; 0: 60 s */
	const char *name;   /* of the Server field; NULL: none */
	SSL_CTX *tls; /* of TCP listeners; NULL: plain. Shared: a reference */
};

struct http_req {
	const struct h1_head *head; /* borrowed; valid as long as the request */
	const char *body;           /* NUL-terminated; "" without one */
	size_t body_len;
	struct ucred peer; /* pid -1 over TCP */
	void *data;        /* the handler's own */

	/* the server's own */
	struct http_conn *conn; /* NULL: gone */
	unsigned refs;
	struct h1 parser;
	struct buf body_buf;
	bool streaming, answered;
	void (*on_end)(void *arg);
	void *on_end_arg;
	void (*on_drain)(void *arg);
	void *on_drain_arg;
};

int http_server_new(const struct http_server_opts *opts,
		    struct http_server **ret, struct err *e);

/* Stop listening, drop all connections, free. */
void http_server_free(struct http_server *s);

/* Listen at @path, with @mode from the first moment on. A socket that nobody
 * serves any more is replaced; else -EADDRINUSE. Removed by the free. */
int http_listen_unix(struct http_server *s, const char *path, mode_t mode,
		     struct err *e);
/* @host: a numeric address. @port 0: any; *@ret_port is the one (or NULL). */
int http_listen_tcp(struct http_server *s, const char *host, uint16_t port,
		    uint16_t *ret_port, struct err *e);

unsigned http_server_conns(const struct http_server *s);

struct http_req *http_req_ref(struct http_req *req);
void http_req_unref(struct http_req *req);

static inline bool http_gone(const struct http_req *req)
{
	return !req->conn;
}

/* Call @fn once when the request is over: answered to the end, or the client
 * has gone. */
void http_on_end(struct http_req *req, void (*fn)(void *arg), void *arg);

/* The whole answer. 0 or -EPIPE. */
int http_reply(struct http_req *req, int status, const char *type,
	       const void *body, size_t len);

/* An answer in pieces, of a length not known. Pieces are queued: keep
 * http_backlog() small by waiting for on_drain, which comes when it falls below
 * HTTP_LOW. */
#define HTTP_LOW ((size_t)64 * 1024)
int http_stream(struct http_req *req, int status, const char *type);
int http_stream_write(struct http_req *req, const void *data, size_t len);
size_t http_backlog(const struct http_req *req);
void http_on_drain(struct http_req *req, void (*fn)(void *arg), void *arg);
void http_stream_end(struct http_req *req);
/* Close, so that the client sees that the answer is not whole. */
void http_stream_abort(struct http_req *req);

/**
 * http_take() - Take the connection over, after "101 Switching Protocols".
 * @req:      The request, with head->upgrade set.
 * @protocol: Goes into the Upgrade field.
 * @ret_fd:   Set to the socket, non-blocking, owned by the caller.
 * @early:    Receives what the client has sent behind its request.
 *
 * Return: 0, or -EPIPE. The request is over then.
 */
int http_take(struct http_req *req, const char *protocol, int *ret_fd,
	      struct buf *early, struct err *e);

/* The same, with the connection's TLS and with the caller's own fields. NULL in
 * *@ret_ssl: it is plain. lib/http/wire.h goes on with both. */
int http_take_tls(struct http_req *req, const struct h1_field *fields,
		  size_t nr_fields, int *ret_fd, SSL **ret_ssl,
		  struct buf *early, struct err *e);

/* The certificate that the client has shown, verified against the context's
 * CA; NULL: none. X509_free() it. */
X509 *http_req_cert(const struct http_req *req);

/* --- lib/http's own --- */

struct ev *http_req_loop(const struct http_req *req);

#endif /* LIB_HTTP_SERVER_H */

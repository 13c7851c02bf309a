/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A blocking HTTP/1.1 client for one connection at a time, for tools:
 *
 *	struct http_client *c;
 *	struct http_answer a = HTTP_ANSWER_INIT;
 *	struct http_call call = { .method = "GET", .target = "/healthz" };
 *
 *	r = http_client_open("unix:/run/arktos/node.sock", 5000, &c, e);
 *	r = http_call(c, &call, &a, e);
 *	...a.status, buf_str(&a.body)
 */
#ifndef LIB_HTTP_CLIENT_H
#define LIB_HTTP_CLIENT_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/buf.h"

struct err;
struct http_client;

#define HTTP_ANSWER_MAX ((size_t)64 * 1024 * 1024) /* bytes of a body */

struct http_call {
	const char *method;
	const char *target; /* "/path?query", encoded already */
	const char *type;   /* of the body; NULL: application/json */
	const void *body;   /* NULL: none */
	size_t len;
	int timeout_ms; /* without a byte arriving; 0: 30 s; -1: none */
	int head_ms;    /* until it begins to answer; 0: @timeout_ms, or 30 s
			 * where that is none */
};

struct http_answer {
	int status;
	struct buf body;
};

#define HTTP_ANSWER_INIT    \
	{                   \
		.status = 0 \
	}

/* @address: "unix:/path" or "tcp:127.0.0.1:8080". Connects at once. 0, or
 * -errno of connect(2): -ENOENT and -ECONNREFUSED mean nobody serves it. */
int http_client_open(const char *address, int timeout_ms,
		     struct http_client **ret, struct err *e);
void http_client_close(struct http_client *c);

/* One call, and its whole answer. 0 for every status. -ETIMEDOUT, -EBADMSG,
 * -E2BIG, -errno. Appends to ret->body. */
int http_call(struct http_client *c, const struct http_call *call,
	      struct http_answer *ret, struct err *e);

/* The same in pieces: begin sends and waits for the head. Each read returns the
 * bytes it has put into @buf, 0 at the end, or -errno. */
int http_begin(struct http_client *c, const struct http_call *call,
	       int *ret_status, struct err *e);
ssize_t http_read(struct http_client *c, void *buf, size_t size, struct err *e);

/* As http_begin(), with "Upgrade: @protocol". If the status is 101, *@ret_fd is
 * the raw connection, owned by the caller, and @early holds what the server
 * sent behind its head; else read the answer. */
int http_upgrade(struct http_client *c, const struct http_call *call,
		 const char *protocol, int *ret_status, int *ret_fd,
		 struct buf *early, struct err *e);

#endif /* LIB_HTTP_CLIENT_H */

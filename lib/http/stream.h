/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Kubernetes' streaming requests, the server's end: exec, attach and
 * port-forward, over SPDY/3.1 or WebSocket, as the client asks. The API server
 * passes them through as they are (controlplane/apiserver/subresource/relay.h),
 * so a node's server speaks with kubectl itself.
 *
 * A request comes to the handler of lib/http/server.h like any other; what it
 * asks for decides which of the two below accepts it, and from then on
 * everything comes by callbacks on the loop's thread. Nothing blocks: what is
 * written is queued, and .drain tells when the queue has fallen below
 * STREAM_LOW.
 *
 * Paths, as the API server asks for them (a kubelet's, with the tenant in
 * front; all segments are escaped):
 *
 *	/exec/TENANT/NAMESPACE/POD/CONTAINER?command=ls&command=-l&output=1...
 *	/attach/TENANT/NAMESPACE/POD/CONTAINER?input=1&output=1&error=1&tty=1
 *	/portForward/TENANT/NAMESPACE/POD[?port=80&port=443]
 *	/containerLogs/TENANT/NAMESPACE/POD/CONTAINER?follow=true&tailLines=5...
 *	/dial/TENANT/NAMESPACE/POD/PORT		an upgrade to STREAM_TCP: the
 *				bytes of a connection to the pod's address
 *	anything else: a node's own (GET /healthz, /metrics, /pods, ...)
 *
 * The caller is the API server, which has asked RBAC; the node admits no one
 * but its client certificate (CN arktos-apiserver, O system:apiservers;
 * http_req_cert()), and shows a certificate of the CA for CN system:node:NAME
 * and for its address.
 */
#ifndef LIB_HTTP_STREAM_H
#define LIB_HTTP_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct http_req;

#define STREAM_TCP      "arktos-tcp"
#define STREAM_LOW      ((size_t)64 * 1024)
#define STREAM_BEGIN_MS 30000 /* for the client to open its streams */

/* --- exec and attach ------------------------------------------------------ */

struct stream;

enum stream_out { STREAM_STDOUT = 1, STREAM_STDERR = 2 };

struct stream_ops {
	/* All that was asked for is there: go. */
	void (*begin)(void *arg, struct stream *s);
	void (*input)(void *arg, struct stream *s, const void *data,
		      size_t len);
	/* The client has closed its standard input. */
	void (*input_end)(void *arg, struct stream *s);
	void (*resize)(void *arg, struct stream *s, uint16_t cols,
		       uint16_t rows); /* of a tty */
	void (*drain)(void *arg, struct stream *s);
	/* It is over: the client has gone, or all has been said. @s is no
	 * more. Comes once, always. */
	void (*gone)(void *arg, struct stream *s);
};

struct stream_opts {
	bool input, output, error, tty; /* what to open */
	const struct stream_ops *ops;   /* borrowed for its life */
	void *arg;
};

/* input=1, output=1, error=1, tty=1 of a target's query, or, as clients say it
 * to the API server, stdin=true and so on. Nothing at all is no output. */
void stream_opts_parse(const char *target, struct stream_opts *ret);

/**
 * stream_accept() - Answer a request for exec or attach with an upgrade.
 * @req:  The request. Its connection is taken over.
 * @opts: Borrowed.
 * @ret:  The session; it ends with .gone.
 * @e:    Filled on error.
 *
 * Return: 0, or
 *   -EPROTO  it asks for no upgrade, or for a protocol we do not speak. It has
 *            been answered with 400 or 403, which says so.
 *   -EPIPE   the client has gone
 *   -ENOMEM
 */
int stream_accept(struct http_req *req, const struct stream_opts *opts,
		  struct stream **ret, struct err *e);

/* Queue output. 0, -EPIPE or -ENOMEM. A channel not opened takes nothing. */
int stream_write(struct stream *s, enum stream_out to, const void *data,
		 size_t len);
size_t stream_backlog(const struct stream *s);
/* Take no more input for now. */
void stream_pause(struct stream *s, bool pause);

/* The process has ended with @code; or there is none, because of @error. What
 * is queued is sent, then .gone comes. */
void stream_exit(struct stream *s, int code);
void stream_fail(struct stream *s, const char *error);
/* At once; .gone follows, after the present batch of events. */
void stream_abort(struct stream *s);

/* --- port-forward --------------------------------------------------------- */

struct forward;      /* a session of kubectl port-forward */
struct forward_conn; /* one connection of it */

struct forward_ops {
	/* A connection to @port of the pod is wanted. Keep what you need by
	 * forward_set_data(). */
	void (*open)(void *arg, struct forward_conn *c, uint16_t port);
	void (*data)(void *arg, struct forward_conn *c, const void *data,
		     size_t len);
	/* The client will send no more. */
	void (*end)(void *arg, struct forward_conn *c);
	void (*drain)(void *arg, struct forward_conn *c);
	/* The connection is no more. Once for each one opened. */
	void (*closed)(void *arg, struct forward_conn *c);
	void (*gone)(void *arg, struct forward *f);
};

/* As stream_accept(). */
int forward_accept(struct http_req *req, const struct forward_ops *ops,
		   void *arg, struct forward **ret, struct err *e);
void forward_abort(struct forward *f);
/* Take nothing from the client for now: concerns all its connections. */
void forward_pause(struct forward *f, bool pause);
struct forward *forward_of(const struct forward_conn *c);

void forward_set_data(struct forward_conn *c, void *data);
void *forward_data(const struct forward_conn *c);
int forward_write(struct forward_conn *c, const void *data, size_t len);
size_t forward_backlog(const struct forward_conn *c);
/* No more of us; with @error (or NULL) why not. It may be .closed within. */
void forward_end(struct forward_conn *c, const char *error);

#endif /* LIB_HTTP_STREAM_H */

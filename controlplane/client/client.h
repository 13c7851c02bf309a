/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A client of the API for programs: many requests at once, over a few kept
 * connections, on an event loop.
 *
 *	client_open(&(struct client_opts){ .kubeconfig = path }, &c, e);
 *
 *	struct client_call call = { .method = "GET", .path = "/api/v1/nodes" };
 *	client_do(c, &call);		waits; not on the loop's thread
 *	...call.status, buf_str(&call.answer)
 *	client_call_clear(&call);
 *
 * Calls are started by client_start() and end by call->done on the loop's
 * thread. Streams (watches) hand out their bytes as they come and have a
 * connection of their own. informer.h stands on this.
 */
#ifndef CONTROLPLANE_CLIENT_CLIENT_H
#define CONTROLPLANE_CLIENT_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/auto.h"
#include "lib/buf.h"
#include "lib/err.h"

struct client;
struct ev;

#define CLIENT_ANSWER_MAX                                  \
	((size_t)256 * 1024 * 1024) /* bytes of one answer \
				     */
#define CLIENT_CALL_S 30            /* without any progress of a call */
#define CLIENT_IDLE_S 20            /* an unused connection is closed */

struct client_opts {
	const char *kubeconfig; /* a path; or */
	const char *text;       /* what would be in it */
	/* Instead of dialing where the kubeconfig says: a connected socket, on
	 * which HTTP is spoken in the clear (api_connect()). NULL: dial. */
	int (*connect)(void *arg, struct err *e);
	void *connect_arg;
	struct ev *loop;   /* borrowed; NULL: one with its own thread */
	unsigned conns;    /* at once, streams apart; 0: 16 */
	const char *agent; /* User-Agent; NULL: "arktos/VERSION" */
};

/* -ENOENT, -EBADMSG: the kubeconfig. Nothing is connected yet. */
int client_open(const struct client_opts *opts, struct client **ret,
		struct err *e);
/* Ends what is running: calls still get done with -ECANCELED. With a loop of
 * the caller's: on its thread. Informers are to be freed before. */
void client_close(struct client *c);
DEFINE_AUTO_PTR(client, client_close)

struct ev *client_loop(const struct client *c);
/* Is this the loop's thread? */
bool client_on_loop(const struct client *c);
const char *client_server(const struct client *c); /* "https://HOST:PORT" */

struct conn;

struct client_call {
	const char *method;
	const char *path;   /* with its query; borrowed until done */
	const char *body;   /* JSON; borrowed until done; NULL: none */
	size_t len;         /* of the body; 0: it is a string */
	const char *type;   /* of the body; NULL: application/json */
	const char *accept; /* NULL: application/json */
	bool stream;        /* no time limit, a connection of its own */
	/* Bytes of a 2xx answer as they come; NULL: they go to .answer. */
	void (*data)(struct client_call *call, const char *data, size_t len);
	void (*done)(struct client_call *call); /* may free the call */
	void *arg;
	/* At the end: */
	int status;        /* HTTP's, or -errno when there was no answer */
	struct buf answer; /* cleared by client_call_clear() */
	struct err err;
	/* The client's own: */
	struct conn *conn;
	struct client_call *next;
	bool retried;
	uint64_t started_us;
};

/* Start a call; from any thread. ->done is always called, once. */
void client_start(struct client *c, struct client_call *call);
/* Forget a running call: ->done is not called any more. On the loop's thread.
 * Fine after its end. */
void client_cancel(struct client *c, struct client_call *call);

/* Make calls and wait for them all; not on the loop's thread. Uses ->done and
 * ->arg. The first returns call->status. */
int client_do(struct client *c, struct client_call *call);
void client_do_all(struct client *c, struct client_call *calls, size_t nr);

void client_call_clear(struct client_call *call);

/* rest_client_*, as Kubernetes' clients name them. */
void client_metrics(struct client *c, struct buf *b);

/* 0 for a status below 400, else as rest_check(): -ENOENT 404, -EEXIST 409
 * AlreadyExists, -ESTALE 409 Conflict, -EACCES 401 403, -EINVAL 400 422,
 * -EAGAIN 429, else -EIO; a negative status stays. The message goes to @e. */
int client_check(const struct client_call *call, struct err *e);

#endif /* CONTROLPLANE_CLIENT_CLIENT_H */

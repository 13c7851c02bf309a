/* SPDX-License-Identifier: Apache-2.0 */
/* Between the files of the local API. */
#ifndef AGENT_LOCAL_INTERNAL_H
#define AGENT_LOCAL_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/local/api.h"
#include "lib/buf.h"
#include "lib/err.h"
#include "lib/ev.h"
#include "lib/http/server.h"
#include "lib/http/url.h"

/* --- routes (route.c, pure) ---------------------------------------------- */

enum route_op {
	ROUTE_NONE,
	ROUTE_POD_LIST,
	ROUTE_POD_WATCH,
	ROUTE_POD_GET,
	ROUTE_APPLY,
	ROUTE_POD_DELETE,
	ROUTE_POD_RESIZE,
	ROUTE_POD_ACTION,
	ROUTE_POD_LOG,
	ROUTE_POD_EXEC,
	ROUTE_POD_ATTACH,
	ROUTE_EVENTS,
	ROUTE_IMAGE_LIST,
	ROUTE_IMAGE_ADD,
	ROUTE_IMAGE_REMOVE,
	ROUTE_NODE,
	ROUTE_STATS,
	ROUTE_NETWORK,
	ROUTE_HEALTHZ,
	ROUTE_VERSION,
	ROUTE_METRICS,
};

/* Strings are borrowed from the URL; tenant and namespace are "system" and the
 * like only where the operation is about one pod. */
struct route {
	enum route_op op;
	const char *tenant, *namespace, *name; /* NULL: not in the path */
	struct url url;
};

/* 0; -ENOENT, -EBADMSG, -E2BIG, or -EOPNOTSUPP (405: known, not so). */
int route_parse(const char *method, const char *target, struct route *ret,
		struct err *e);
void route_clear(struct route *r);

/* A whole number of the query; @ret keeps its value when it is not given. */
int route_number(const struct route *r, const char *name, int64_t min,
		 int64_t max, int64_t *ret, struct err *e);

struct api_pod_id route_pod(const struct route *r);

/* --- messages to the loop and tasks (api.c) ------------------------------ */

struct message {
	struct message *next;
	void (*fn)(struct message *m);
};

/* Have the loop call @m->fn, from any thread. Cannot fail. */
void api_send(struct api *api, struct message *m);

/* A request, while a thread works on it. Created and freed on the loop. */
struct task {
	struct message done;
	struct api *api;
	struct http_req *req; /* referenced */
	struct route route;
	struct task *next; /* in the queue, or among the long ones */
	atomic_bool cancel;
	int status; /* to answer with when r is 0 */
	const char *type;
	struct buf out;
	struct err err;
	int r;
	/* In the thread; then on the loop. */
	void (*run)(struct task *t);
	void (*finish)(struct task *t);  /* answers; the task is freed after */
	void (*ended)(struct task *t);   /* the client has gone; may be NULL */
	void (*release)(struct task *t); /* of own memory; may be NULL */
	pthread_t thread;
	bool is_long; /* has a thread of its own */
	bool tells;   /* when it has failed, @out is the message, if any */
};

/* @size: of a struct that begins with struct task. Takes @route over. */
struct task *task_new(struct api *api, struct http_req *req,
		      struct route *route, size_t size);
void task_start(struct task *t);      /* by one of the workers */
void task_start_long(struct task *t); /* in a thread of its own */
void task_reply(struct task *t);
void task_finish(struct task *t); /* reply and free: the usual finish() */
void task_free(struct task *t);

/* A Kubernetes Status for -errno @code. */
void reply_error(struct http_req *req, int code, const struct err *e);
int status_of(int code);
void put_status(struct buf *b, int code, const char *message);

struct watcher;

struct api {
	struct api_opts o;
	struct http_server *http;
	atomic_bool stopping;

	int wakefd; /* eventfd: there are messages */
	struct ev_io wake;
	int stopfd; /* eventfd: sessions shall end */
	pthread_mutex_t lock;
	struct message *messages, **messages_tail;

	pthread_cond_t work; /* of the queue below, with the lock */
	struct task *queue, **queue_tail;
	size_t nr_queued;
	pthread_t *workers;
	unsigned nr_workers;

	unsigned nr_long;         /* on the loop only */
	struct watcher *watchers; /* on the loop only */
	atomic_uint nr_watchers;
	atomic_ulong requests, errors;
};

/* --- operations ----------------------------------------------------------- */

void handle_short(struct api *api, struct http_req *req, struct route *r);
void handle_apply(struct api *api, struct http_req *req, struct route *r);
void handle_resize(struct api *api, struct http_req *req, struct route *r);
void handle_action(struct api *api, struct http_req *req, struct route *r);
void handle_logs(struct api *api, struct http_req *req, struct route *r);
void handle_images(struct api *api, struct http_req *req, struct route *r);
void handle_session(struct api *api, struct http_req *req, struct route *r);
void handle_watch(struct api *api, struct http_req *req, struct route *r);
void watchers_drop(struct api *api);

#endif /* AGENT_LOCAL_INTERNAL_H */

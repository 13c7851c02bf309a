/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTROLPLANE_APISERVER_INTERNAL_H
#define CONTROLPLANE_APISERVER_INTERNAL_H

#include <openssl/ssl.h>
#include <pthread.h>
#include <stdatomic.h>

#include "controlplane/apiserver/authz/access.h"
#include "controlplane/apiserver/apiserver.h"
#include "controlplane/apiserver/audit/audit.h"
#include "controlplane/apiserver/authn/pki.h"
#include "controlplane/apiserver/object.h"
#include "controlplane/apiserver/reply.h"
#include "controlplane/apiserver/selector.h"
#include "controlplane/schema/types.h"
#include "controlplane/store/store.h"
#include "lib/buf.h"
#include "lib/ev.h"
#include "lib/map.h"

#define HEAD_MAX     (64 * 1024)       /* bytes of one request's head */
#define BODY_MAX     (3 * 1024 * 1024) /* bytes of one request's body */
#define OUT_CHUNK    16384
#define SEAL_ROOM    (96 * 1024)
#define WATCH_MAX    (512 * 1024) /* bytes waiting for one watcher */
#define SYSTEM       "system"
#define VERSION_TEXT "v1.32.0"

/* What a URL is about. Strings live in the request's path. */
struct route {
	bool resource; /* else: @path is no API object's */
	const char *group, *version, *plural, *name, *subresource;
	const char *tenant, *namespace; /* NULL: not given in the URL */
	const char *rest;        /* of a proxy: what follows, as it was sent */
	bool watch_path;         /* the old /watch/ form */
	const char *verb;        /* "get", "list", ... */
	const struct type *type; /* NULL: no such resource */
};

enum view { VIEW_OBJECT, VIEW_TABLE, VIEW_METADATA };
struct req {
	struct conn *conn; /* NULL: it is gone, only the commit is awaited */
	struct loop *loop;
	struct api *api;
	struct user *user; /* borrowed from the connection, or own_user */
	struct user *own_user;
	char *impersonator;     /* NULL: nobody acts as @user */
	struct user *real_user; /* who does; borrowed, or own_real */
	struct user *own_real;
	struct audit_note *audit; /* NULL: nothing is wanted of it */
	char audit_id[40];
	struct h2_stream *stream; /* of HTTP/2 */
	struct req *next, **link; /* of its connection: all of HTTP/2, */
	struct req *todo_next;    /* and those to be answered */
	uint64_t came_ms, moved_ms;

	char *method, *path, *query;
	char *own_path; /* the copy that the route points into */
	char *accept, *content_type, *bearer, *user_agent, *upgrade;
	struct buf fields; /* all of them, as lines */
	struct buf body;
	bool body_done, keep_alive, head_only, handled;
	bool expect_continue, send_continue, wants_upgrade;

	struct route route;
	struct type_set *types;      /* keeps a custom route.type; else NULL */
	struct extension *extension; /* who answers it instead of us */
	const char *tenant; /* effective; "" for cluster scope, "all" */
	enum view view;

	/* reply */
	bool started, streaming, finished;
	int code;
	const char *type;
	char *own_type;
	struct buf lines; /* of the head, besides the usual ones */
	struct piece *out;
	size_t out_nr, out_size, out_at, out_off, out_bytes;
	bool head_sent;
	bool broken; /* what was begun cannot be finished */
	bool as_vm;  /* rows of VM pods are as vmview.h has them */
	bool fresh;  /* memory shows what others were told is done */

	/* watching */
	struct store_watch *watch;
	struct selector selector;
	bool bookmarks, columns_sent;
	bool stalled; /* the client is to read before more is taken */
	struct ev_timer timer, mark_timer;
	struct req *ready_next;
	bool ready;

	/* writing */
	struct write *write;
	const char *action; /* operation of a pods/action; static */

	/* passing on to a node; told when the request is over */
	struct relay *relay;
	struct collect *collect; /* nodes are being asked */
	struct aside *aside;     /* work of its own thread */
	bool away;               /* another thread is at it, see away.h */
	struct seats *seats;     /* what it holds of its tenant's, see flow.h */
	struct flow_tenant *watch_of;
	void (*go)(struct req *r); /* next, when the connection has its turn */
	struct timespec begun;
	struct series *series; /* metrics.c; NULL: not known yet */
	uint64_t sent;         /* bytes of the body */
	bool counted;          /* as being served */
};

struct loop {
	struct api *api;
	struct ev *ev;
	struct ev_io listener;
	pthread_t thread;
	bool greets;
	struct conn *conns;
	size_t nr_conns;
	pthread_mutex_t lock;      /* the lists and @posted */
	struct req *ready;         /* watches with something to read */
	struct write *done;        /* writes that are durable, or failed */
	struct aside *asides;      /* work that is done */
	struct write *held_writes; /* done, of requests that are away */
	struct aside *held_asides;
	struct seats *granted;
	struct req *serving;   /* rest of the list being worked on */
	struct conn *arrivals; /* connections that are to be its own */
	atomic_uint load;      /* connections it has, or is to have */
	bool posted, running, draining;
	struct ev_timer drain_timer;
	struct metrics *metrics;

	/* turns.c */
	struct turn *turns;
	struct ev_defer turns_defer;
	bool turning;
	uint64_t serve_until_ns, gave_way_ns; /* this turn; to long lists */

	/* seal.c: records of one connection on their way to its socket */
	struct conn *sealer;
	size_t sealed_len;
	char sealed[SEAL_ROOM];
};

struct api {
	char *data_dir, *address, *advertise;
	int listen_fd;
	uint16_t port;
	struct serving *serving; /* the certificate, the CAs it believes */
	struct keeper *keeper;
	struct kept *rbac;
	struct policies *policies;
	struct quota_ledger *quota;
	struct webhooks *webhooks;
	struct hook_callers *hook_callers;
	struct usage_cache *usage;
	struct keyring *keyring; /* signs service accounts' tokens */
	char *issuer;            /* of them, for the tenant system */
	uint64_t event_ttl_ms;   /* life of events and actions */
	struct ca *ca;
	struct store *store;
	struct type_set *types;
	struct crds *crds;
	struct aggregator *aggregator;
	struct audit *audit;           /* NULL: no log is kept */
	struct crd_follow *crd_follow; /* crd_status.c */
	struct loop *loops, *greeters; /* the latter do handshakes, greet.h */
	unsigned int nr_loops, nr_greeters;
	atomic_uint nr_conns, long_lists, long_works; /* turns.c: give_way() */
	unsigned int conns_max;
	struct origins *origins;
	struct api_patience patience;
	atomic_uint_fast64_t scrape_ns; /* the last of /metrics; 0: none yet */
	char rv_token[40]; /* stands for the revision until it is known */
	pthread_t lifecycle;
	pthread_mutex_t lifecycle_lock;
	pthread_cond_t lifecycle_cond;
	bool lifecycle_run, lifecycle_wake;
	atomic_bool stopping; /* set under lifecycle_lock, read anywhere */
	atomic_uint_fast64_t nr_relays;
	void (*more_metrics)(void *arg, struct buf *b); /* of other roles */
	void *more_arg;
	pthread_mutex_t reserve_lock;
	struct map reserved; /* admission/service.c */
	SSL_CTX *node_tls;   /* ours, towards nodes; under doc_lock */
	int64_t node_tls_s;
	struct asides *asides;
	struct flow *flow;
	pthread_mutex_t doc_lock; /* OpenAPI documents, made on first use */
	struct buf doc_v2, doc_v2_pb;
	struct timespec started;
};

/* --- server.c, conn.c, http1.c --- */

int server_listen(struct api *api, struct err *e);
int server_start(struct api *api, unsigned int threads, struct err *e);
/* Close all connections; then, once the store is closed, free the loops. */
void server_stop(struct api *api);
void server_free(struct api *api);
/* Something of it is to be sent; on the loop's thread. It may be gone after. */
void req_flush(struct req *r);
/* Its answer cannot be finished: let the client see that. */
void req_abort(struct req *r);
void loop_wake(struct loop *l);

struct req *req_new(struct conn *c, struct loop *l);
void req_free(struct req *r);

/* --- route.c --- */

int route_parse(struct req *r, struct err *e);
/* The value of a query parameter, decoded into @buf; NULL when not given. */
const char *query_get(const struct req *r, const char *name, char *buf,
		      size_t size);
bool query_true(const struct req *r, const char *name);
bool query_next(const char **at, char name[64], char *value, size_t size);
/* The key, or the prefix when the request names no object, of the route. */
void route_key(const struct req *r, const char *name, struct buf *b);
void key_of(struct buf *b, const struct type *t, const char *tenant,
	    const char *ns, const char *name);
const char *group_resource(const struct route *rt, char *buf, size_t size);

/* Something that goes on for as long as both sides like: a watch, a stream. */
bool route_is_long_running(const struct req *r);

void handle(struct req *r);     /* a whole request has been read */
void dispatch(struct req *r);   /* and let in */
bool fresh_wait(struct req *r); /* fresh.c: it comes again by handle() */

/* --- read.c, watch.c, write.c, special.c --- */

void read_get(struct req *r);
void read_list(struct req *r);
void watch_start(struct req *r);
void watch_stop(struct req *r);
void watch_fill(struct req *r);  /* take events, as far as there is room */
void watch_ready(struct req *r); /* on the loop, after a notify */
void watch_end(struct req *r);   /* for good, politely */
int request_selector(struct req *r, struct selector *s);
/* body.c: the body as a document; on failure it has replied. */
int body_parse(struct req *r, yyjson_doc **ret);
void write_create(struct req *r);
void write_update(struct req *r);
void write_patch(struct req *r);
void write_delete(struct req *r);
void write_delete_collection(struct req *r);
void write_binding(struct req *r);
void write_eviction(struct req *r);
void write_done(struct write *w); /* on the loop */
void write_free(struct write *w);
void write_orphan(struct req *r); /* the client is gone */

void special_review(struct req *r);
void scale_reply(struct req *r, struct object_bytes *o); /* scale.c */
bool special_subresource(struct req *r); /* true: it has been answered */
void special_path(struct req *r);        /* no API object */

#endif /* CONTROLPLANE_APISERVER_INTERNAL_H */

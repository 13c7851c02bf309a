/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTROLPLANE_APISERVER_INTERNAL_H
#define CONTROLPLANE_APISERVER_INTERNAL_H

#include <openssl/ssl.h>
#include <pthread.h>
#include <stdatomic.h>

#include "controlplane/apiserver/authz/access.h"
#include "controlplane/apiserver/apiserver.h"
#include "controlplane/apiserver/authn/pki.h"
#include "controlplane/apiserver/selector.h"
#include "controlplane/schema/types.h"
#include "controlplane/store/store.h"
#include "lib/buf.h"
#include "lib/ev.h"

#define HEAD_MAX     (64 * 1024)       /* bytes of one request's head */
#define BODY_MAX     (3 * 1024 * 1024) /* bytes of one request's body */
#define CONNS_MAX    20000
#define OUT_CHUNK    (16 * 1024)
#define WATCH_MAX    (512 * 1024) /* bytes waiting for one watcher */
#define SYSTEM       "system"
#define VERSION_TEXT "v1.32.0"

/* What a URL is about. Strings live in the request's path. */
struct route {
	bool resource; /* else: @path is no API object's */
	const char *group, *version, *plural, *name, *subresource;
	const char *tenant, *namespace; /* NULL: not given in the URL */
	bool watch_path;                /* the old /watch/ form */
	const char *verb;               /* "get", "list", ... */
	const struct type *type;        /* NULL: no such resource */
};

/* One piece of output: owned text, or an object by reference. */
struct piece {
	struct object_bytes *object;
	char *own;
	const char *data;
	size_t len;
};

enum view { VIEW_OBJECT, VIEW_TABLE, VIEW_METADATA };

struct loop;
struct conn;

struct req {
	struct conn *conn; /* NULL: it is gone, only the commit is awaited */
	struct loop *loop;
	struct api *api;
	struct user *user; /* borrowed from the connection, or own_user */
	struct user *own_user;
	int32_t stream;   /* of HTTP/2; 0: HTTP/1.1 */
	struct req *next; /* of the connection */

	char *method, *path, *query;
	char *own_path; /* the copy that the route points into */
	char *accept, *content_type, *bearer, *user_agent;
	struct buf body;
	bool body_done, keep_alive, head_only;

	struct route route;
	struct type_set *types; /* keeps a custom route.type; else NULL */
	const char *tenant;     /* effective; "" for cluster scope, "all" */
	enum view view;

	/* reply */
	bool started, streaming, finished;
	int code;
	const char *type;
	struct buf warnings; /* lines of the head */
	struct piece *out;
	size_t out_nr, out_size, out_at, out_off, out_bytes;
	bool head_sent;

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
	struct timespec begun;
};

struct loop {
	struct api *api;
	struct ev *ev;
	struct ev_io listener;
	pthread_t thread;
	struct conn *conns;
	size_t nr_conns;
	pthread_mutex_t lock; /* the two lists and @posted */
	struct req *ready;    /* watches with something to read */
	struct write *done;   /* writes that are durable, or failed */
	struct req *serving;  /* rest of the list being worked on */
	bool posted, running;
};

struct api {
	char *data_dir, *address, *advertise;
	int listen_fd;
	uint16_t port;
	SSL_CTX *tls;
	struct ca *ca;
	struct store *store;
	struct type_set *types;
	struct crds *crds;
	pthread_t crd_thread; /* crd_status.c */
	pthread_mutex_t crd_lock;
	pthread_cond_t crd_cond;
	bool crd_run, crd_wake;
	atomic_bool crd_stop;
	struct loop *loops;
	unsigned int nr_loops;
	atomic_uint nr_conns;
	char rv_token[40]; /* stands for the revision until it is known */
	pthread_t lifecycle;
	pthread_mutex_t lifecycle_lock;
	pthread_cond_t lifecycle_cond;
	bool lifecycle_run, lifecycle_wake, stopping;
	atomic_uint_fast64_t requests[600]; /* by status code */
	atomic_uint_fast64_t nr_watches;
	pthread_mutex_t doc_lock; /* OpenAPI documents, made on first use */
	struct buf doc_v2, doc_v2_pb;
	struct timespec started;
};

/* --- server.c, http1.c --- */

int server_listen(struct api *api, struct err *e);
int server_start(struct api *api, unsigned int threads, struct err *e);
/* Close all connections; then, once the store is closed, free the loops. */
void server_stop(struct api *api);
void server_free(struct api *api);
/* Something is to be sent; called on the loop's thread. */
void conn_flush(struct conn *c);
void loop_wake(struct loop *l);

struct req *req_new(struct conn *c, struct loop *l);
void req_free(struct req *r);

/* Parse one request's head at the start of @data. Returns its length, 0 when
 * more is needed, -EBADMSG or -E2BIG. Fills @r and the length of the body:
 * -1 for chunked. */
ssize_t http1_head(const char *data, size_t len, struct req *r,
		   int64_t *ret_body, struct err *e);
/* Take one piece of a chunked body. Returns bytes consumed, 0: more is needed;
 * *ret_end on the last. */
ssize_t http1_chunk(const char *data, size_t len, struct buf *body,
		    bool *ret_end);

/* --- reply.c --- */

void reply_begin(struct req *r, int code, const char *type);
void reply_add(struct req *r, struct buf *b);                /* takes it */
void reply_text(struct req *r, const char *s, size_t len);   /* copies */
void reply_static(struct req *r, const char *s, size_t len); /* borrows */
void reply_object(struct req *r, struct object_bytes *o);    /* refs */
void reply_end(struct req *r);
/* A whole reply of one buffer. */
void reply_json(struct req *r, int code, struct buf *b);
/* A Status. @reason "NotFound"...; details from the route. */
void reply_error(struct req *r, int code, const char *reason, const char *fmt,
		 ...) __attribute__((format(printf, 4, 5)));
void reply_not_found(struct req *r);
void reply_invalid(struct req *r, const char *kind, const char *name,
		   const struct field_errors *errs);
void reply_success(struct req *r, struct object_bytes *o);
void reply_warning(struct req *r, const char *text);
/* How a failure of the store is told. */
void reply_store_error(struct req *r, int code, const struct err *e);
/* Append the JSON of a Status to @b. */
void status_json(struct buf *b, int code, const char *reason, const char *msg);

/* --- route.c --- */

int route_parse(struct req *r, struct err *e);
/* The value of a query parameter, decoded into @buf; NULL when not given. */
const char *query_get(const struct req *r, const char *name, char *buf,
		      size_t size);
bool query_true(const struct req *r, const char *name);
/* The key, or the prefix when the request names no object, of the route. */
void route_key(const struct req *r, const char *name, struct buf *b);
void key_of(struct buf *b, const struct type *t, const char *tenant,
	    const char *ns, const char *name);
const char *group_resource(const struct route *rt, char *buf, size_t size);

void handle(struct req *r); /* a whole request has been read */

/* --- read.c, watch.c, write.c, special.c --- */

void read_get(struct req *r);
void read_list(struct req *r);
void watch_start(struct req *r);
void watch_stop(struct req *r);
void watch_fill(struct req *r);  /* take events, as far as there is room */
void watch_ready(struct req *r); /* on the loop, after a notify */
/* An object as the request wants to see it. */
void put_view(struct req *r, struct object_bytes *o, bool columns,
	      struct buf *b);
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
struct write *write_next(struct write *w);
void write_free(struct write *w);
void write_orphan(struct req *r); /* the client is gone */

void special_review(struct req *r);
void special_scale(struct req *r, struct object_bytes *o);
bool special_subresource(struct req *r); /* true: it has been answered */
void special_path(struct req *r);        /* no API object */
void metrics(struct api *api, struct buf *b);

/* --- object.c: between JSON trees and stored bytes --- */

/* The object of @o, as a mutable tree in a document of its own. */
yyjson_mut_doc *object_tree(const struct object_bytes *o);
/* The same, in the version @t of an object that may be stored in another. */
yyjson_mut_doc *object_tree_as(const struct type *t,
			       const struct object_bytes *o);
/* Exchange the reference in *@slot for one in version @t; most types have one
 * version, and nothing happens. On -ENOMEM *@slot is as it was. */
int object_as(const struct type *t, struct object_bytes **slot);
/* Serialize for the store (@obj is changed to the stored version): bytes
 * without revision, its place, the tags. */
int object_pack(struct api *api, const struct type *t, yyjson_mut_doc *doc,
		yyjson_mut_val *obj, struct buf *data, uint32_t *rv_off,
		struct buf *tags);
void new_uid(char out[37]);
void now_text(char out[32]);

#endif /* CONTROLPLANE_APISERVER_INTERNAL_H */

/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTROLPLANE_APISERVER_AGGREGATOR_INTERNAL_H
#define CONTROLPLANE_APISERVER_AGGREGATOR_INTERNAL_H

#include <openssl/ssl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <yyjson.h>

#include "controlplane/apiserver/aggregator/aggregator.h"
#include "controlplane/apiserver/aggregator/place.h"
#include "controlplane/schema/types.h"
#include "lib/auto.h"
#include "lib/buf.h"
#include "lib/err.h"
#include "lib/ev.h"
#include "lib/http/h1.h"
#include "lib/http/wire.h"
#include "lib/map.h"

#define SERVICES_MAX  32 /* APIServices of one tenant that are followed */
#define PROBE_MS      5000
#define HEALTHY_MS    30000 /* between looks at a server that answers */
#define RETRY_MIN_MS  1000
#define RETRY_MAX_MS  30000
#define PROBES_MAX    32 /* questions at once */
#define PROBES_TENANT 4  /* the same, to servers of one tenant */
#define DISCOVERY_MAX ((size_t)1024 * 1024) /* bytes of a server's answers */
#define OPENAPI_MAX   ((size_t)4 * 1024 * 1024)
#define OPENAPI_EVERY 10 /* looks at a server, to one at its OpenAPI */
#define KEEP_CLIENT_S (15 * 86400)

/* --- fetch.c --- */

/* One GET of a document, on a loop. Zeroed at first; may be used again once it
 * is done. */
struct fetch {
	struct wire up;
	struct ev_timer timer;
	struct h1 answer;
	struct buf out, body;
	struct err err;
	int status;
	bool busy;
	void (*done)(void *arg, int result);
	void *arg;
};

struct fetch_opts {
	const struct address *to;
	SSL_CTX *tls;
	const char *host, *target, *accept;
	const char *fields; /* further lines of the head, each with CR LF */
	size_t max;         /* bytes of the body */
};

/* @done is called, never from within, with 0 (f->status, f->body) or -errno
 * (f->err); it may start @f again. */
void fetch_start(struct fetch *f, struct ev *loop, const struct fetch_opts *o,
		 void (*done)(void *arg, int result), void *arg);
void fetch_cancel(struct fetch *f);
void fetch_clear(struct fetch *f);

/* --- aggregator.c --- */

/* What a server says of itself: shared, immutable. */
struct ext_docs {
	atomic_uint refs;
	yyjson_doc *resources; /* an APIResourceList; NULL: never answered */
	yyjson_doc *openapi;   /* version 2; NULL: none */
	bool openapi_v3;
	uint64_t hash; /* changes with them */
};

struct ext_docs *ext_docs_new(void);
struct ext_docs *ext_docs_ref(struct ext_docs *d);
void ext_docs_unref(struct ext_docs *d);

/* One APIService as requests see it: shared, immutable. */
struct extension {
	atomic_uint refs;
	atomic_uint turn;  /* of its addresses */
	atomic_bool asked; /* somebody had it looked at */
	char *tenant, *name, *group, *version;
	int group_priority, version_priority;
	bool available;
	char reason[REASON_MAX];
	struct place place;
	SSL_CTX *tls; /* NULL: cannot be reached */
	struct ext_docs *docs;
};

struct extension *extension_new(const char *tenant, const char *name,
				const char *group, const char *version);
/* Put @x (taken) in the place of the one of that name; NULL: remove it. */
void table_set(struct api *api, const char *tenant, const char *name,
	       struct extension *x);

struct follower;

struct aggregator {
	struct api *api;
	struct cidrs cidrs;
	pthread_rwlock_t lock; /* @tenants */
	struct map tenants;    /* of maps of extensions */
	atomic_bool any;       /* there is one at all */
	struct front_proxy *front_proxy;
	struct follower *follower;
};

/* --- front_proxy.c --- */

int front_proxy_open(struct api *api, struct err *e);
void front_proxy_close(struct aggregator *a);
/* A client's context with our certificate, towards a server that @ca (PEM;
 * NULL: the system's authorities) vouches for. */
int front_proxy_tls(struct aggregator *a, const char *ca, bool insecure,
		    SSL_CTX **ret, struct err *e);
/* Tell extension servers of @tenant whom to believe. */
int front_proxy_publish(struct aggregator *a, const char *tenant,
			struct err *e);

/* --- follow.c --- */

/* A request could not be passed on to it: look at it now. From any thread. */
void follow_look(struct aggregator *a, const struct extension *x);

#endif /* CONTROLPLANE_APISERVER_AGGREGATOR_INTERNAL_H */

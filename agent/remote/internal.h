/* SPDX-License-Identifier: Apache-2.0 */
/* Between the files of agent/remote. */
#ifndef AGENT_REMOTE_INTERNAL_H
#define AGENT_REMOTE_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <yyjson.h>

#include "agent/remote/remote.h"
#include "agent/remote/status.h"
#include "lib/buf.h"
#include "lib/map.h"
#include "lib/wq.h"

struct client;
struct objwatch;
struct rest;

#define REMOTE_WORKERS    3
#define KEY_MAX           640 /* TENANT/NAMESPACE/NAME */
#define PATH_SIZE         1024
#define UNSETTLED_LOOK_MS 500 /* at a pod that was taken over */

/* One pod as the API has it. Guarded by remote.lock. */
struct entry {
	char *json; /* whole object */
	size_t len;
	uint64_t version;   /* resourceVersion */
	uint64_t given;     /* the newest one that the agent was given */
	bool seen;          /* in the present list */
	bool mirror;        /* of a pod of the node's own */
	char *applied;      /* what was given to the agent last, or NULL */
	char *refused;      /* why it cannot be run here, or NULL */
	uint64_t silent_ms; /* until then its beginning is not told; or 0 */
	uint64_t content;   /* hash of the content given last; 0: none */
	char *not_taken;    /* why it runs on as before its last update */
	char *content_why;  /* why there is none; told already */
	char *remove_asked; /* deletionTimestamp that was passed on */
	char *last;         /* its end, as it was told here; or NULL */
	struct map tokens;  /* of its service account: objects.c */
};

/* A connection, used by one thread at a time; opened anew when the credentials
 * have changed. */
struct link {
	struct remote *r;
	struct rest *rest;
	unsigned generation;
	bool busy;
	struct link *next;
};

struct remote {
	struct remote_opts o;
	char host_ip[64];
	char server[256];
	struct wq *queue;
	atomic_bool stopping;
	atomic_bool renew; /* all certificates, now */

	pthread_mutex_t lock;
	pthread_cond_t wake; /* of whoever waits for remote_pause() */
	struct map pods;     /* key -> struct entry */
	struct map objects;  /* objects.c */
	struct map actions;  /* actions.c: by their own keys */
	struct objwatch *watches;
	struct client *watcher;      /* of the watches; NULL: not yet */
	unsigned watcher_generation; /* of its credentials */
	bool synced;                 /* all pods have been listed once */
	char node_uid[64];           /* of our Node; "": not known yet */
	atomic_bool connected;
	unsigned answers; /* how often it has answered again */
	uint64_t
		busy_ms; /* until then pods that were given are being started */
	struct link *links;
	unsigned generation; /* of the credentials */

	pthread_t watch_thread, action_thread, node_thread, event_thread;
	bool watch_runs, action_runs, node_runs, event_runs;

	struct event_queue *events;
	char *ca_pem;            /* of the API server */
	struct server *serving;  /* NULL: no server of our own */
	struct buf serving_cert; /* signed; the node thread's */
};

/* --- remote.c --- */

/* For a while; NULL: out of memory. */
struct link *link_take(struct remote *r);
void link_give(struct link *l);
/* The connection, opened if need be; NULL and told in @e. */
struct rest *link_rest(struct link *l, struct err *e);
/* rest_call() on it. */
int link_call(struct link *l, const char *method, const char *path,
	      const char *body, const char *type, struct buf *answer,
	      struct err *e);

/* A remote with nothing but connections; remote_stop() ends it. */
struct remote *remote_bare(const struct remote_opts *o);
/* The server answers, or does not, and @why: tells all who wait. */
void remote_set_connected(struct remote *r, bool connected,
			  const struct err *why);
/* Sleep, but (from 100 ms on) for no longer than until the server answers
 * again; false when it is time to end. */
bool remote_pause(struct remote *r, unsigned ms);

struct entry *entry_get(struct remote *r, const char *key, bool make);
void entry_free(void *p);

/* A pod's object has come; older ones than we have are ignored. Takes the
 * lock. @gone: it is not in the API any more. */
void pods_update(struct remote *r, const char *json, size_t len,
		 yyjson_val *pod, bool gone);
/* "TENANT/NAMESPACE/NAME" of an object. */
int key_of(yyjson_val *obj, char key[KEY_MAX]);
uint64_t version_of(yyjson_val *obj);

/* "/api/v1/tenants/T/namespaces/N/@resource/NAME" of a pod's key, @tail behind
 * it. @name: NULL for the pod's own. */
void path_of(const char *key, const char *resource, const char *name,
	     const char *tail, char path[PATH_SIZE]);

/* --- sync.c: one key --- */

void remote_sync(struct remote *r, const char *key);
/* Readiness that the API knows must not be taken back only because we have just
 * started and have not asked yet. */
bool sync_must_wait(yyjson_val *api, const struct remote_pod *here);

/* --- mirror.c: pods of the node's own, as the API shows them --- */

bool mirror_is(yyjson_val *pod);
/* The mirror's key of a pod here, and back. -ENOENT: it has none, is none. */
int mirror_key(const struct remote *r, const char *key, char ret[KEY_MAX]);
int mirror_static_key(const struct remote *r, const char *key,
		      char ret[KEY_MAX]);
/* What the pod is called here, if that is its mirror's name; else NULL. */
char *mirror_name_here(struct remote *r, const char *tenant, const char *ns,
		       const char *name);
/* @here: the pod of @key as it is here; NULL: there is none. */
int mirror_sync(struct remote *r, const char *key,
		const struct remote_pod *here, struct err *e);
int mirror_remove(struct remote *r, const char *key, yyjson_val *api,
		  struct err *e);
/* The Node as the API has it: all mirrors are its. */
void mirror_node_is(struct remote *r, const char *uid);

/* --- objects.c, content.c: ConfigMaps, Secrets, tokens --- */

/* -ENOENT: there is none. The document is the caller's. @ret_live: its pods are
 * looked at when it changes; else somebody has to ask again. */
int object_get(struct remote *r, const char *path, yyjson_doc **ret,
	       bool *ret_live, struct err *e);
/* Now and then: forget what nobody asks for. */
void objects_sweep(struct remote *r);
int object_token(struct remote *r, const char *key, const char *uid,
		 const char *account, const char *audience, int64_t seconds,
		 char **ret, struct err *e);
void object_free(void *p);
struct content_facts {
	struct buf
		note; /* what the pod does without, and its user should know */
	bool polled;  /* something of it is not watched */
	bool lacks;   /* a container's environment: look again soon */
};
/* *@ret is NULL when the pod wants nothing of the kind. */
int content_build(struct remote *r, const char *key, yyjson_val *pod,
		  struct payload_set **ret, struct content_facts *facts,
		  struct err *e);
/* As files of PULL_VOLUME, one a secret. 0 or -ENOMEM. */
#define PULL_VOLUME ".pull" /* SPEC_PULL_VOLUME of agent/spec.h */
int content_pull_secrets(struct remote *r, const char *key, yyjson_val *pod,
			 struct payload_set *set, struct content_facts *facts);
uint64_t content_hash(const struct payload_set *set);

/* --- actions.c --- */

void actions_start(struct remote *r);
void actions_update(struct remote *r, const char *json, size_t len,
		    yyjson_val *obj, bool gone);
void actions_end(struct remote *r);
/* Those of one pod, by its key. */
int actions_sync(struct remote *r, const char *pod, struct err *e);
void action_entry_free(void *p);

/* --- watch.c, node.c, events.c: threads --- */

void *watch_run(void *arg);
void *actions_run(void *arg);
void *node_run(void *arg);
void *events_run(void *arg);
int events_new(struct remote *r);
void events_free(struct remote *r);

/* --- server.c: the node's own server --- */

int server_start(struct remote *r, struct err *e);
void server_stop(struct remote *r);
uint16_t server_port(const struct remote *r); /* 0: none */
int server_swap_cert(struct remote *r, const struct buf *cert,
		     const struct buf *key);

/* --- facts.c: what there is to say of this host --- */

int facts_address(const struct remote *r, char *buf, size_t size);
/* The Node as it should be; @old as the API has it, or NULL. */
int facts_node(struct remote *r, yyjson_val *old, struct buf *out,
	       struct err *e);

#endif /* AGENT_REMOTE_INTERNAL_H */

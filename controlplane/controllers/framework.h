/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What all controllers share: informers tell what changed, keys go on one fair
 * queue, a worker takes a key, plans from the caches and applies the plan.
 *
 *	static int begin(struct ctl *c, struct err *e)
 *	{
 *		return ctl_follow(c, KIND_RS, NULL, e) ?:
 *		       ctl_follow(c, KIND_POD, "ReplicaSet", e);
 *	}
 *	static int sync(struct ctl *c, const char *key, struct err *e) ...
 *	const struct controller replicaset = { "replicaset", begin, sync };
 *
 * A failed sync comes again after a back-off. Nobody leads: each instance owns
 * a range of the hash of its objects' UIDs, and two that own the same (while
 * ranges move) only do the same work twice, since plans are deterministic.
 *
 * Caches lag behind our own writes. ctl_expect() says up to which revision one
 * has to have come before a key is planned again, so nothing is made twice.
 */
#ifndef CONTROLPLANE_CONTROLLERS_FRAMEWORK_H
#define CONTROLPLANE_CONTROLLERS_FRAMEWORK_H

#include "controlplane/client/client.h"
#include "controlplane/client/recorder.h"
#include "controlplane/client/shared.h"

struct manager;
struct ctl;
struct err;

struct controller {
	const char *name;
	/* Subscribe, before anything runs. */
	int (*begin)(struct ctl *c, struct err *e);
	/* One key, "tenant/namespace/name". 0, or -errno to come again. */
	int (*sync)(struct ctl *c, const char *key, struct err *e);
	void (*end)(struct ctl *c); /* NULL: nothing to free */
};

struct ctl {
	const struct controller *type;
	struct manager *manager;
	struct shared *shared;
	struct client *client;
	struct recorder *recorder;
	void *data;             /* the controller's own */
	uint64_t node_grace_ms; /* without a renewal of its lease */
	size_t pods_over_max;   /* of all tenants */
};

#define NODE_GRACE_MS 40000
#define PODS_OVER_MAX 12500

struct manager_opts {
	struct shared *shared;  /* borrowed; started by the caller */
	unsigned workers;       /* 0: 4 */
	unsigned shard, shards; /* which part is ours; 0, 0: all */
	uint64_t node_grace_ms; /* 0: NODE_GRACE_MS */
	size_t pods_over_max;   /* 0: PODS_OVER_MAX */
	const struct controller *const *controllers; /* NULL-terminated */
};

/* Subscribes; the caller then starts the informers. */
int manager_new(const struct manager_opts *opts, struct manager **ret,
		struct err *e);
/* Waits for what runs. Before the informers are freed nothing of theirs may
 * call us any more: free the informers first, then this, then the client. */
void manager_stop(struct manager *m);
void manager_free(struct manager *m);
DEFINE_AUTO_PTR(manager, manager_free)

struct json_out;

/* How it goes, as members of the object that is open: "synced", "lastSync" of
 * any controller, "waiting" keys, "stuckSeconds" while no worker comes to an
 * end, and of each controller the last failure that was not made good yet. */
void manager_put_health(struct manager *m, struct json_out *o);

struct buf;
/* workqueue_* of the queue that all controllers share. */
void manager_metrics(struct manager *m, struct buf *b);

/* --- events to keys --- */

/* Each change of a @k queues its own key, or, with @owner ("ReplicaSet"), that
 * of its controlling owner of this kind. */
int ctl_follow(struct ctl *c, enum kind k, const char *owner, struct err *e);
/* Or whatever @fn makes of it; on the loop's thread. */
int ctl_watch(struct ctl *c, enum kind k,
	      void (*fn)(struct ctl *c, const struct informer_event *ev),
	      struct err *e);
void ctl_add(struct ctl *c, const char *key);
void ctl_add_after(struct ctl *c, const char *key, int64_t ms);
/* Queue all of @k that are in this namespace ("tenant/namespace"). */
void ctl_add_all(struct ctl *c, enum kind k, const char *space);

/* Is an object of this UID in our range? */
bool ctl_owns(const struct ctl *c, const char *uid);

/* --- own writes --- */

void ctl_expect(struct ctl *c, const char *key, enum kind k, uint64_t revision);
/* False: the cache has not come that far; the key is queued again. */
bool ctl_settled(struct ctl *c, const char *key);

/* --- the world --- */

struct informer *ctl_informer(struct ctl *c, enum kind k);
struct informer_object *ctl_get(struct ctl *c, enum kind k, const char *key);

#define CTL_MERGE     "application/merge-patch+json"
#define CTL_STRATEGIC "application/strategic-merge-patch+json"

struct ctl_write {
	const char *method;
	enum kind kind;
	const char *tenant, *namespace, *name, *sub; /* NULL: none */
	const char *body, *type;
};

/* Make the call (cleared afterwards). @ret: its answer as JSON, NULL if it is
 * none. 0 or as client_check(). */
int ctl_read(struct ctl *c, struct client_call *call, yyjson_doc **ret,
	     struct err *e);

/* One write; @ret_revision (may be NULL) is that of the result, 0 if it tells
 * none. 0 or as client_check(). */
int ctl_write(struct ctl *c, const struct ctl_write *w, uint64_t *ret_revision,
	      struct err *e);

/* The usual ones, of an object in the cache. Deleting what is gone, or is
 * another object by now, is success. */
/* What the server said, of an error of the functions here: for people, who did
 * not send our request. */
const char *ctl_said(const struct err *e);

int ctl_patch(struct ctl *c, enum kind k, const struct informer_object *o,
	      const char *sub, const char *body, struct err *e);
int ctl_delete(struct ctl *c, enum kind k, const struct informer_object *o,
	       uint64_t *ret_revision, struct err *e);

/* May @owner take in what has no owner? The server is asked, and not the cache:
 * one that is being deleted, and whose dependents are let go by that, would
 * take them with it. 0, -ECANCELED (no), or as client_check(). */
int ctl_may_adopt(struct ctl *c, enum kind k,
		  const struct informer_object *owner, struct err *e);

/**
 * ctl_create_many() - Create @nr objects from the same body, many at a time.
 * @c:            Controller.
 * @w:            The POST. @body_of says each one's body when w->body is NULL.
 * @nr:           How many.
 * @body_of:      Appends the body of one; may be NULL.
 * @arg:          For @body_of.
 * @ret_made:     How many were created, also on failure.
 * @ret_revision: Highest revision of them, 0 if none.
 * @e:            The first failure.
 *
 * Begins with one, then doubles: what all will be refused for costs one try.
 */
int ctl_create_many(struct ctl *c, const struct ctl_write *w, size_t nr,
		    void (*body_of)(void *arg, size_t i, struct buf *b),
		    void *arg, size_t *ret_made, uint64_t *ret_revision,
		    struct err *e);

/* Delete @nr objects, many at a time. */
int ctl_delete_many(struct ctl *c, enum kind k, struct informer_object **v,
		    size_t nr, size_t *ret_done, uint64_t *ret_revision,
		    struct err *e);

/* --- objects made from templates --- */

/* Opens a body: apiVersion, kind, metadata with a generateName (or name), and
 * the template's labels, annotations and finalizers and the owner reference;
 * leaves metadata open for more. */
struct template_of {
	enum kind owner_kind;
	const struct informer_object *owner;
	yyjson_val *template; /* PodTemplateSpec */
	const char *name;     /* NULL: generateName from the owner's name */
	/* Further labels and annotations: name, value, ..., NULL. */
	const char *const *labels, *const *annotations;
	const char *hostname;  /* spec.hostname; NULL: the template's */
	const char *subdomain; /* spec.subdomain; NULL: the template's */
	const char *volumes;   /* JSON array of more of them; NULL: none */
	const char *finalizer; /* one more; NULL: none */
	const char *index_env; /* JOB_COMPLETION_INDEX; NULL: none */
	const char *node;      /* required by affinity (daemons); NULL: any */
};

void ctl_pod_body(const struct template_of *t, struct buf *b);

/* A template with all of today's defaults, to be compared: it may be stored
 * since before there were some. NULL: out of memory. */
yyjson_mut_doc *ctl_template_copy(yyjson_val *template);

void ctl_put_owner(struct buf *b, enum kind k, const char *name,
		   const char *uid); /* an ownerReference object */

#endif /* CONTROLPLANE_CONTROLLERS_FRAMEWORK_H */

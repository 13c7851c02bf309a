/* SPDX-License-Identifier: Apache-2.0 */
/* Who owns whom, by UID; of the garbage collector alone. */
#ifndef CONTROLPLANE_CONTROLLERS_GC_H
#define CONTROLPLANE_CONTROLLERS_GC_H

#include <pthread.h>

#include "controlplane/controllers/framework.h"
#include "lib/map.h"

#define GC_FOREGROUND "foregroundDeletion"
#define GC_ORPHAN     "orphan"

/* A kind of object that is watched. */
struct gc_type {
	char *path; /* "/apis/apps/v1" */
	char *api_version, *kind, *plural;
	bool namespaced, tenanted;
	struct informer *informer;
	struct gc *gc;
};

struct gc_node;

/* A reference to an owner, as the dependent has it. */
struct gc_ref {
	struct gc_node *owner;
	char *api_version, *kind, *name;
	bool block;
};

/* Something with owners, or somebody's owner. */
struct gc_node {
	char *uid;
	struct gc_type *type; /* NULL: only heard of */
	char *tenant, *namespace, *name;
	struct gc_ref *owners; /* that it names */
	struct gc_node **dependents;
	size_t nr_dependents, room;
	unsigned nr_owners;
	bool deleting, foreground, orphan;
	bool asked;  /* the server said that it exists */
	bool absent; /* it is gone, or never was */
};

struct gc {
	struct ctl *ctl;
	pthread_mutex_t lock;
	struct map nodes; /* uid: struct gc_node */
	struct map types; /* "apps/v1/Deployment": struct gc_type */
	pthread_t thread;
	pthread_cond_t cond;
	bool running, stopping, discovered;
};

/* gc_graph.c; all with the lock held. */
struct gc_node *gc_node(struct gc *g, const char *uid);
void gc_seen(struct gc *g, struct gc_type *t, yyjson_val *obj,
	     const struct informer_object *o);
void gc_vanished(struct gc *g, const struct informer_object *o);
void gc_queue(struct gc *g, const struct gc_node *n);
void gc_clear(struct gc *g);

/* gc_types.c: which types there are, and their informers. */
int gc_discover(struct gc *g, struct err *e);
void gc_types_free(struct gc *g);

extern const struct controller gc_controller;

#endif /* CONTROLPLANE_CONTROLLERS_GC_H */

// SPDX-License-Identifier: Apache-2.0
/* The graph of owners and dependents, as metadata tells it. */
#include "controlplane/controllers/gc.h"

#include "controlplane/client/object.h"
#include "lib/err.h"
#include "lib/log.h"
#include "lib/map.h"
#include "lib/str.h"

/* --- the graph; locked --- */

static struct gc_node *node_get(struct gc *g, const char *uid, bool make)
{
	struct gc_node *n = map_get(&g->nodes, uid);

	if (n || !make)
		return n;
	n = calloc(1, sizeof(*n));
	if (n)
		n->uid = strdup(uid);
	if (!n || !n->uid || map_set(&g->nodes, uid, n, NULL) < 0) {
		if (n)
			free(n->uid);
		free(n);
		return NULL;
	}
	return n;
}

static void forget_dependent(struct gc_node *owner, struct gc_node *dep)
{
	for (size_t i = 0; i < owner->nr_dependents; i++)
		if (owner->dependents[i] == dep) {
			owner->dependents[i] =
				owner->dependents[--owner->nr_dependents];
			return;
		}
}

static void node_free(struct gc_node *n)
{
	for (unsigned i = 0; i < n->nr_owners; i++) {
		free(n->owners[i].api_version);
		free(n->owners[i].kind);
		free(n->owners[i].name);
	}
	free(n->owners);
	free(n->dependents);
	free(n->uid);
	free(n->tenant);
	free(n->namespace);
	free(n->name);
	free(n);
}

/* Of no interest any more: no object, and nobody's owner. */
static void node_put(struct gc *g, struct gc_node *n)
{
	if (n->type || n->nr_dependents)
		return;
	map_del(&g->nodes, n->uid);
	node_free(n);
}

static void drop_owners(struct gc *g, struct gc_node *n)
{
	for (unsigned i = 0; i < n->nr_owners; i++) {
		struct gc_ref *r = &n->owners[i];

		forget_dependent(r->owner, n);
		node_put(g, r->owner);
		free(r->api_version);
		free(r->kind);
		free(r->name);
	}
	free(n->owners);
	n->owners = NULL;
	n->nr_owners = 0;
}

static int add_dependent(struct gc_node *owner, struct gc_node *dep)
{
	if (owner->nr_dependents == owner->room) {
		size_t room = owner->room ? owner->room * 2 : 4;
		struct gc_node **v =
			realloc(owner->dependents, room * sizeof(*v));

		if (!v)
			return -ENOMEM;
		owner->dependents = v;
		owner->room = room;
	}
	owner->dependents[owner->nr_dependents++] = dep;
	return 0;
}

static int read_owners(struct gc *g, struct gc_node *n, yyjson_val *refs)
{
	yyjson_val *ref;
	size_t i, max;

	drop_owners(g, n);
	if (!yyjson_arr_size(refs))
		return 0;
	n->owners = calloc(yyjson_arr_size(refs), sizeof(*n->owners));
	if (!n->owners)
		return -ENOMEM;
	yyjson_arr_foreach(refs, i, max, ref)
	{
		struct gc_ref *r = &n->owners[n->nr_owners];
		struct gc_node *o = node_get(g, obj_str(ref, "uid"), true);

		if (!o || o == n)
			continue;
		r->api_version = strdup(obj_str(ref, "apiVersion"));
		r->kind = strdup(obj_str(ref, "kind"));
		r->name = strdup(obj_str(ref, "name"));
		r->block = obj_bool(ref, "blockOwnerDeletion", false);
		r->owner = o;
		if (!r->api_version || !r->kind || !r->name ||
		    add_dependent(o, n) < 0)
			return -ENOMEM;
		n->nr_owners++;
	}
	return 0;
}

static bool has_finalizer(yyjson_val *obj, const char *name)
{
	yyjson_val *f;
	size_t i, max;

	yyjson_arr_foreach(obj_at(obj, "metadata.finalizers"), i, max,
			   f) if (str_eq(yyjson_get_str(f), name)) return true;
	return false;
}

/* --- events --- */

void gc_queue(struct gc *g, const struct gc_node *n)
{
	auto_free char *key =
		str_printf("%s//%s", n->tenant ? n->tenant : "", n->uid);

	if (key)
		ctl_add(g->ctl, key);
}

static void add_dependents(struct gc *g, const struct gc_node *n)
{
	for (size_t i = 0; i < n->nr_dependents; i++)
		gc_queue(g, n->dependents[i]);
}

/* Owners that wait in the foreground for this one. */
static void add_owners(struct gc *g, const struct gc_node *n)
{
	for (unsigned i = 0; i < n->nr_owners; i++)
		if (n->owners[i].owner->deleting)
			gc_queue(g, n->owners[i].owner);
}

void gc_vanished(struct gc *g, const struct informer_object *o)
{
	struct gc_node *n = node_get(g, o->uid, false);

	if (!n)
		return;
	n->type = NULL;
	n->absent = true;
	n->deleting = true;
	add_dependents(g, n);
	add_owners(g, n);
	drop_owners(g, n);
	node_put(g, n);
}

void gc_seen(struct gc *g, struct gc_type *t, yyjson_val *obj,
	     const struct informer_object *o)
{
	yyjson_val *refs = obj_at(obj, "metadata.ownerReferences");
	bool deleting = obj_at(obj, "metadata.deletionTimestamp");
	struct gc_node *n =
		node_get(g, o->uid, yyjson_arr_size(refs) || deleting);

	/* Without owners, and nobody's owner so far. */
	if (!n)
		return;
	n->type = t;
	n->absent = false;
	n->deleting = deleting;
	n->foreground = has_finalizer(obj, GC_FOREGROUND);
	n->orphan = has_finalizer(obj, GC_ORPHAN);
	if (str_set(&n->tenant, o->tenant) < 0 ||
	    str_set(&n->namespace, o->namespace) < 0 ||
	    str_set(&n->name, o->name) < 0 || read_owners(g, n, refs) < 0)
		log_warn("gc: %s: out of memory", o->key);
	if (n->nr_owners || deleting)
		gc_queue(g, n);
	if (deleting && n->foreground)
		add_dependents(g, n);
	if (deleting)
		add_owners(g, n);
}

struct gc_node *gc_node(struct gc *g, const char *uid)
{
	return map_get(&g->nodes, uid);
}

static void free_node(void *arg)
{
	node_free(arg);
}

void gc_clear(struct gc *g)
{
	map_clear(&g->nodes, free_node);
}

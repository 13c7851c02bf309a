/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A local copy of a part of the API that keeps itself true: list in pages,
 * then watch, go on where it was cut, and list again when the server has
 * forgotten that far back (410). What changed is told by key, also what
 * vanished while nobody watched.
 *
 *	struct informer_opts o = { .path = "/api/v1/tenants/all/pods",
 *				   .query = "fieldSelector=spec.nodeName%3Dn1"
 *};
 *
 *	informer_new(client, &o, &pods, e);
 *	informer_subscribe(pods, pod_changed, arg);
 *	informer_start(pods);
 *	...
 *	obj = informer_get(pods, "acme/default/web");
 *	...obj->data, obj->len, obj->tenant, obj->node
 *	informer_unref(obj);
 *
 * Keys are "tenant/namespace/name", always with two slashes (a node: "//n1").
 * Objects are the bytes the server sent, immutable and shared by reference;
 * readers take no part in parsing. Reads may come from any thread.
 */
#ifndef CONTROLPLANE_CLIENT_INFORMER_H
#define CONTROLPLANE_CLIENT_INFORMER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <yyjson.h>

#include "lib/auto.h"

struct client;
struct err;
struct informer;

#define INFORMER_LINE_MAX (16 * 1024 * 1024) /* bytes of one event */
#define INFORMER_PAGE     500                /* objects asked for at once */

/* What objects can be looked up by. */
enum informer_index {
	INFORMER_ALL,
	INFORMER_BY_NAMESPACE, /* "tenant/namespace" */
	INFORMER_BY_OWNER,     /* uid of the controlling owner */
	INFORMER_BY_NODE,      /* spec.nodeName */
	INFORMER_BY_LABEL,     /* value of opts.label */
	INFORMER_NR_INDEXES,
};

/* Strings are never NULL; "" where there is none. */
struct informer_object {
	atomic_uint refs;
	uint32_t len;
	uint64_t revision;
	const char *key;
	const char *tenant, *namespace, *name, *uid;
	const char *owner; /* uid of the controlling owner */
	const char *owner_kind, *owner_name;
	const char *node, *label;
	const char *data; /* the JSON, NUL-terminated; "" with drop_data */
	void *facts;      /* see informer_opts; NULL without */
	/* The cache's own. */
	uint32_t place[INFORMER_NR_INDEXES];
	uint32_t round;
};

struct informer_object *informer_ref(struct informer_object *o);
void informer_unref(struct informer_object *o); /* NULL is fine */
DEFINE_AUTO_PTR(informer_object, informer_unref)

/* The object as a tree; free with yyjson_doc_free(). NULL: out of memory. */
yyjson_doc *informer_doc(const struct informer_object *o);

/* old NULL: it appeared; now NULL: it is gone. Borrowed for the call. */
struct informer_event {
	struct informer_object *old, *now;
	yyjson_val *obj; /* now as a tree; also there with drop_data */
	bool initial;    /* it was there when we began */
};

struct informer_opts {
	const char *path;   /* of the list; copied */
	const char *query;  /* selectors, encoded; copied; NULL: none */
	bool metadata_only; /* only metadata is sent (PartialObjectMetadata) */
	bool drop_data;     /* the cache keeps keys, indexes and facts only */
	const char *label;  /* label key of INFORMER_BY_LABEL; copied */
	/* What readers want to know without parsing: a struct of this size,
	 * zeroed, filled once for each version of an object. */
	size_t facts_size;
	void (*facts)(yyjson_val *obj, void *facts);
};

int informer_new(struct client *c, const struct informer_opts *opts,
		 struct informer **ret, struct err *e);

/* Called on the client's loop thread for each change; it may read the informer
 * and should only pass on. Before informer_start(). 0 or -ENOMEM. */
int informer_subscribe(struct informer *i,
		       void (*fn)(void *arg, const struct informer_event *ev),
		       void *arg);

void informer_start(struct informer *i);

/* After this nothing is called any more. NULL is fine. */
void informer_free(struct informer *i);
DEFINE_AUTO_PTR(informer, informer_free)

/* The first list is complete. */
bool informer_synced(const struct informer *i);
/* 0 once it is, or -ETIMEDOUT; not on the loop's thread. */
int informer_wait(struct informer *i, unsigned timeout_ms);

/* What it has seen up to here is in the cache. */
uint64_t informer_revision(const struct informer *i);

/* NULL when there is none. Owned reference. */
struct informer_object *informer_get(struct informer *i, const char *key);

struct informer_list {
	struct informer_object **v; /* owned references */
	size_t nr;
};

/* All objects of one value of an index (NULL with INFORMER_ALL), in no order.
 * 0 or -ENOMEM. */
int informer_list(struct informer *i, enum informer_index by, const char *value,
		  struct informer_list *ret);
void informer_list_clear(struct informer_list *l);
#define auto_list __attribute__((cleanup(informer_list_clear)))
size_t informer_count(struct informer *i, enum informer_index by,
		      const char *value);

struct informer_stats {
	size_t objects, bytes;
	uint64_t events, lists, watches, failures;
	char last_error[160]; /* "" while it watches */
};

void informer_stats(struct informer *i, struct informer_stats *ret);

#endif /* CONTROLPLANE_CLIENT_INFORMER_H */

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * metrics.k8s.io: what nodes and pods use now. Nothing of it is stored. When it
 * is asked for, the nodes it is about are asked for their summaries, over the
 * connection that logs take, and what they said is good for some seconds; so a
 * cluster that nobody looks at pays nothing, and any server can answer.
 */
#ifndef CONTROLPLANE_APISERVER_USAGE_USAGE_H
#define CONTROLPLANE_APISERVER_USAGE_USAGE_H

#include "controlplane/apiserver/usage/report.h"

struct api;
struct collect;
struct object_bytes;
struct req;
struct usage_cache;

#define USAGE_GROUP    "metrics.k8s.io"
#define USAGE_FRESH_MS 10000 /* so long a node is not asked again */
#define USAGE_AT_ONCE  32    /* nodes asked at a time, for one request */
#define USAGE_NODE_MS  4000  /* for one node to answer */

/* Always replies, perhaps later. */
void usage_serve(struct req *r);

/* --- serve.c and collect.c --- */

/* Of the servers of one process; used from any thread. */
struct usage_cache *usage_cache_new(void);
void usage_cache_free(struct usage_cache *c);
/* A reference to what @node said, if it is fresh; else NULL. */
struct usage_report *usage_cache_get(struct usage_cache *c, const char *node);
void usage_cache_put(struct usage_cache *c, const char *node,
		     struct usage_report *r);

/* Nodes being asked for a request. */
struct collect *collect_new(struct req *r);
/* Ask @node as well, whose object is @o (or NULL), unless it is known what it
 * said. A node that is not ready is not asked. 0 or -ENOMEM. */
int collect_add(struct collect *c, const char *node,
		const struct object_bytes *o);
bool collect_has(const struct collect *c, const char *node);
/* Call @done once all have answered, or had their time; perhaps at once. It
 * owns @arg, and @clear is called instead when the request ends before. */
void collect_start(struct collect *c, void (*done)(struct req *r, void *arg),
		   void (*clear)(void *arg), void *arg);
/* What it said; NULL: nothing. Borrowed. */
const struct usage_report *collect_report(const struct collect *c,
					  const char *node);
void collect_free(struct collect *c); /* NULL is fine */

#endif /* CONTROLPLANE_APISERVER_USAGE_USAGE_H */

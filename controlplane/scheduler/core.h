/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The scheduler without the API: nodes and pods go in, decisions come out.
 * Single-threaded; time comes in as a parameter.
 *
 *	core_node(c, "n1", doc);
 *	core_pod(c, key, pod);
 *	while (core_next(c, now, &d))
 *		if (d.node) ...bind; core_pod() tells that it came off
 *		else ...tell d.message
 */
#ifndef CONTROLPLANE_SCHEDULER_CORE_H
#define CONTROLPLANE_SCHEDULER_CORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <yyjson.h>

struct core;

#define CORE_BACKOFF_MS     1000 /* after a bind failed; doubles */
#define CORE_BACKOFF_MAX_MS 10000

struct core *core_new(const char *scheduler_name); /* NULL: no memory */
void core_free(struct core *c);

/* A node appeared or changed; @doc becomes the core's. 0 or -ENOMEM. */
int core_node(struct core *c, const char *name, yyjson_doc *doc);
void core_node_gone(struct core *c, const char *name);

enum core_pod_state {
	CORE_IGNORED, /* not ours to place, or at its end */
	CORE_QUEUED,
	CORE_GATED,  /* scheduling gates hold it */
	CORE_PLACED, /* it has a node */
};

/* A pod appeared or changed. enum core_pod_state or -ENOMEM. */
int core_pod(struct core *c, const char *key, yyjson_val *pod);
void core_pod_gone(struct core *c, const char *key);

struct core_decision {
	const char *key;     /* borrowed until the next call */
	const char *node;    /* NULL: none will do */
	const char *message; /* then: why */
	bool told;           /* the same message as the last time */
};

/* Decide about the pod whose turn it is; its node is charged. False: none. */
bool core_next(struct core *c, uint64_t now_ms, struct core_decision *ret);

/* The binding of @key did not come off: it takes its place again, later. */
void core_bind_failed(struct core *c, const char *key, uint64_t now_ms);

/* When core_next() has something again: 0 now, -1 not by time. */
int64_t core_due_ms(const struct core *c, uint64_t now_ms);

struct core_stats {
	size_t nodes, pods, queued, waiting, classes;
	uint64_t decisions, refusals;
};

void core_stats(const struct core *c, struct core_stats *ret);

#endif /* CONTROLPLANE_SCHEDULER_CORE_H */

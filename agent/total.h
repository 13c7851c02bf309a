/* SPDX-License-Identifier: Apache-2.0 */
/* What the containers of a pod come to. */
#ifndef AGENT_TOTAL_H
#define AGENT_TOTAL_H

#include "agent/spec.h"

enum ctr_role { ROLE_MAIN, ROLE_INIT, ROLE_SIDECAR };

/*
 * Requests, or limits, as Kubernetes counts them: init containers run one after
 * the other beside the sidecars that stand before them, then the containers
 * beside all sidecars. A pod comes to the most there ever is at once.
 *
 * { 0 } is one without containers. Sums end at UINT64_MAX.
 */
struct total {
	struct quantity_set stay; /* sidecars */
	struct quantity_set run;  /* and containers */
	struct quantity_set most; /* while one of init runs */
	bool lacks_cpu, lacks_mem, lacks_disk;
};

/* Init containers in their order. */
void total_add(struct total *t, enum ctr_role role,
	       const struct quantity_set *q);

/* What those come to that have one; missing where none has. */
struct quantity_set total_sum(const struct total *t);

/* The same, but one without leaves the whole without one, as limits do. */
struct quantity_set total_ceiling(const struct total *t);

struct totals {
	struct total requests, limits;
};

void totals_add(struct totals *t, enum ctr_role role,
		const struct resources *r);

/* Of a specification's containers, or its VM. */
struct totals totals_of(const struct pod_spec *spec);

/* What the pod's cgroup and the scheduler make of them. */
struct resources totals_bounds(const struct totals *t);

#endif /* AGENT_TOTAL_H */

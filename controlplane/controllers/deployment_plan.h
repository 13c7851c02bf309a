/* SPDX-License-Identifier: Apache-2.0 */
/* How a deployment's replica sets are to be scaled next: numbers in, numbers
 * out. */
#ifndef CONTROLPLANE_CONTROLLERS_DEPLOYMENT_PLAN_H
#define CONTROLPLANE_CONTROLLERS_DEPLOYMENT_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct dep_want {
	int64_t replicas;
	int64_t surge, unavailable; /* resolved; see dep_limits() */
	bool recreate, paused;
	bool old_pods_left; /* pods of old sets that have not ended */
};

struct dep_rs {
	int64_t spec;                   /* .spec.replicas */
	int64_t have, ready, available; /* its status */
	int64_t created_s;
	int64_t max;     /* annotation max-replicas; 0: none */
	int64_t desired; /* annotation desired-replicas; -1: none */
	bool is_new;
	int64_t to; /* set by the plan: the new .spec.replicas */
};

/* Both zero would never get on: one may be unavailable then. */
void dep_limits(struct dep_want *w);

/* @v: ordered by creation. Sets .to of each. @have_new: a set of the present
 * template exists, or is being made with dep_new_size() replicas. */
void dep_plan(const struct dep_want *w, struct dep_rs *v, size_t nr);

/* With how many replicas a set of the present template begins. */
int64_t dep_new_size(const struct dep_want *w, const struct dep_rs *v,
		     size_t nr);

#endif /* CONTROLPLANE_CONTROLLERS_DEPLOYMENT_PLAN_H */

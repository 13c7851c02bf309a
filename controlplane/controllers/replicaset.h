/* SPDX-License-Identifier: Apache-2.0 */
/* ReplicaSets and ReplicationControllers: so many pods of this template. */
#ifndef CONTROLPLANE_CONTROLLERS_REPLICASET_H
#define CONTROLPLANE_CONTROLLERS_REPLICASET_H

#include "controlplane/controllers/framework.h"

struct rs_want {
	int64_t replicas, min_ready_s;
};

struct rs_plan {
	int64_t create;
	size_t remove; /* the first so many of the pods, which get ordered */
	int64_t active, ready, available;
	int64_t again_s; /* when the next pod becomes available; 0: never */
};

/* @pods: the active ones it owns; reordered, the first to go first. */
void rs_plan(const struct rs_want *want, struct informer_object **pods,
	     size_t nr, int64_t now_s, struct rs_plan *ret);

extern const struct controller replicaset_controller;
extern const struct controller rc_controller;

#endif /* CONTROLPLANE_CONTROLLERS_REPLICASET_H */

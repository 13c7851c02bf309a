/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How the roles beside the API server do, for 'arktosctl doctor' and whoever
 * watches: one Lease in kube-system each, 'arktos-controllers' (with -I-of-N
 * for a shard) and 'arktos-scheduler', renewed every 10 s, with an annotation
 * that tells when something was last done and what fails.
 */
#ifndef CONTROLPLANE_HEARTBEAT_H
#define CONTROLPLANE_HEARTBEAT_H

#include <stdbool.h>

#include "lib/auto.h"

struct client;
struct err;
struct heartbeat;
struct manager;
struct shared;

#define HEARTBEAT_S          10
#define HEARTBEAT_LEASE_S    40 /* without a renewal it is gone */
#define HEARTBEAT_ANNOTATION "arktos.futurewei.com/health"

struct heartbeat_opts {
	struct client *client; /* borrowed, as is all */
	struct shared *shared;
	struct manager *manager; /* NULL: no controllers here */
	bool scheduler;
	unsigned shard, shards;
};

/* On a thread of its own. While the API is away nothing is written. */
int heartbeat_start(const struct heartbeat_opts *o, struct heartbeat **ret,
		    struct err *e);
/* Before what it tells of is freed. */
void heartbeat_stop(struct heartbeat *h);
DEFINE_AUTO_PTR(heartbeat, heartbeat_stop)

#endif /* CONTROLPLANE_HEARTBEAT_H */

/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BPF_INTERNAL_H
#define BPF_INTERNAL_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

enum dp_map {
	DP_MAP_ENDPOINTS,
	DP_MAP_IFACES,
	DP_MAP_NETWORKS,
	DP_MAP_TRAFFIC,
	DP_MAP_LINK_DROPS,
	DP_MAP_DROPS,
	DP_MAP_EVENTS,
	DP_MAP_NR
};

struct dp {
	int prog;
	uint32_t prog_id;
	bool tcx; /* attach by TCX, not clsact */
	int maps[DP_MAP_NR];
	int nr_cpus; /* values of a per-CPU map */
	pthread_mutex_t lock;
	uint8_t *slots; /* lock; bit per slot of the traffic counters in use */
};

/* Note which slots the links have that are there already. */
int dp_slots_load(struct dp *dp);

#endif /* BPF_INTERNAL_H */

/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BPF_INTERNAL_H
#define BPF_INTERNAL_H

#include <stdint.h>

enum dp_map {
	DP_MAP_ENDPOINTS,
	DP_MAP_IFACES,
	DP_MAP_NETWORKS,
	DP_MAP_STATS,
	DP_MAP_DROPS,
	DP_MAP_EVENTS,
	DP_MAP_NR
};

struct dp {
	int prog;
	uint32_t prog_id;
	int maps[DP_MAP_NR];
	int nr_cpus; /* values of a per-CPU map */
};

#endif /* BPF_INTERNAL_H */

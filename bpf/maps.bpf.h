/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The datapath's maps, all of them pinned. Memory follows the endpoints that
 * live; allocated ahead are only the traffic counters (an array is looked up
 * without a call: 512 KiB per CPU), the drop counters and the events. */
#ifndef BPF_MAPS_BPF_H
#define BPF_MAPS_BPF_H

#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "bpf/datapath.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, DP_ENDPOINTS_MAX);
	__type(key, struct dp_endpoint_key);
	__type(value, struct dp_endpoint);
} ark_endpoints SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, DP_ENDPOINTS_MAX);
	__type(key, __u32);
	__type(value, struct dp_iface);
} ark_ifaces SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, DP_NETWORKS_MAX);
	__type(key, __u32);
	__type(value, struct dp_network);
} ark_networks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, DP_ENDPOINTS_MAX);
	__type(key, __u32);
	__type(value, struct dp_traffic);
} ark_traffic SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, DP_ENDPOINTS_MAX);
	__type(key, __u32);
	__type(value, struct dp_link_drops);
} ark_link_drops SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, DP_DROP_NR);
	__type(key, __u32);
	__type(value, struct dp_count);
} ark_drops SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, DP_DROP_NR);
	__type(key, __u32);
	__type(value, __u64); /* no event for this reason before, in ns */
} ark_event_gaps SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, DP_EVENTS_BYTES);
} ark_events SEC(".maps");

#endif /* BPF_MAPS_BPF_H */

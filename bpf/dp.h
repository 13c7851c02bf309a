/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The datapath from user space: load and pin it, put it on links, fill its
 * tables. Thread-safe but for dp_open() and dp_close(). See bpf/datapath.h for
 * what is in the tables, and Documentation/bpf.md.
 */
#ifndef BPF_DP_H
#define BPF_DP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/auto.h"
#include "bpf/datapath.h"

struct dp;
struct err;

/**
 * dp_open() - Load the datapath, or take over the pinned one.
 * @dir: A folder on a bpffs. Pins go to @dir/dp<DP_LAYOUT>/.
 * @ret: Set to the datapath, owned by the caller: dp_close().
 * @e:   Filled on error.
 *
 * Pinned maps are used as they are. If the pinned program is another build's,
 * the pin is replaced by this build's; links keep the one they have until
 * dp_attach().
 *
 * Return: 0, or
 *   -EPERM   BPF programs may not be loaded here
 *   -EBADMSG a pinned map is not of the shape its path promises
 *   -errno   of bpf(2)
 */
int dp_open(const char *dir, struct dp **ret, struct err *e);
void dp_close(struct dp *dp); /* pins and links stay; NULL is fine */
DEFINE_AUTO_PTR(dp, dp_close)

/* Remove the pins of other layouts than this build's below @dir, or @all. What
 * is attached stays attached and goes with its link. */
int dp_unpin(const char *dir, bool all, struct err *e);

/* Bring the program to a link's ingress, replacing what we had there in one
 * step. The link must be in the calling thread's network namespace. */
int dp_attach(struct dp *dp, uint32_t ifindex, struct err *e);

/* Is this build's program on the link's ingress? */
bool dp_is_attached(struct dp *dp, uint32_t ifindex);

/* Attach by TCX from now on, if the kernel has it: cheaper by the packet,
 * dearer by the attach. Returns whether it does. */
bool dp_use_tcx(struct dp *dp);

/* The program, for BPF_PROG_TEST_RUN. Borrowed. */
int dp_program(const struct dp *dp);

/* The ring buffer of struct dp_event. Borrowed. */
int dp_events_map(const struct dp *dp);

/* Tables: put replaces, del is 0 also when nothing was there, get is -ENOENT
 * then. A link's counters start with its first put and go with its del; its
 * slot is given by the datapath, so ->slot of what is put is ignored (and that
 * of an endpoint is its link's, which must be known before). -ENOSPC when a
 * table is full. */
int dp_iface_put(struct dp *dp, uint32_t ifindex, const struct dp_iface *v,
		 struct err *e);
int dp_iface_get(struct dp *dp, uint32_t ifindex, struct dp_iface *ret);
int dp_iface_del(struct dp *dp, uint32_t ifindex, struct err *e);

int dp_endpoint_put(struct dp *dp, const struct dp_endpoint_key *key,
		    const struct dp_endpoint *v, struct err *e);
int dp_endpoint_get(struct dp *dp, const struct dp_endpoint_key *key,
		    struct dp_endpoint *ret);
int dp_endpoint_del(struct dp *dp, const struct dp_endpoint_key *key,
		    struct err *e);

int dp_network_put(struct dp *dp, uint32_t net_id, const struct dp_network *v,
		   struct err *e);
int dp_network_get(struct dp *dp, uint32_t net_id, struct dp_network *ret);
int dp_network_del(struct dp *dp, uint32_t net_id, struct err *e);

/* Call @fn for each entry; an entry may be deleted in it. Stops when @fn
 * returns other than 0, and returns that. */
int dp_iface_for_each(struct dp *dp,
		      int (*fn)(uint32_t ifindex, const struct dp_iface *v,
				void *arg),
		      void *arg);
int dp_endpoint_for_each(struct dp *dp,
			 int (*fn)(const struct dp_endpoint_key *key,
				   const struct dp_endpoint *v, void *arg),
			 void *arg);
int dp_network_for_each(struct dp *dp,
			int (*fn)(uint32_t net_id, const struct dp_network *v,
				  void *arg),
			void *arg);

struct dp_stats {
	struct dp_traffic traffic;
	uint64_t drops[DP_DROP_NR]; /* of what it sent */
};

/* Sums over all CPUs. -ENOENT for a link that is not known. */
int dp_stats_get(struct dp *dp, uint32_t ifindex, struct dp_stats *ret);
/* Drops of the whole host, by reason. */
int dp_drops_get(struct dp *dp, struct dp_count ret[DP_DROP_NR]);

#endif /* BPF_DP_H */

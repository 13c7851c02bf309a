// SPDX-License-Identifier: Apache-2.0
/* The datapath's tables: entries in and out. */
#include <bpf/bpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/auto.h"
#include "lib/err.h"
#include "bpf/dp.h"
#include "bpf/internal.h"

static int put(struct dp *dp, enum dp_map map, const void *key, const void *v,
	       const char *what, struct err *e)
{
	if (bpf_map_update_elem(dp->maps[map], key, v, BPF_ANY) == 0)
		return 0;
	if (errno == E2BIG)
		return err_set(e, -ENOSPC, "the datapath's table of %s is full",
			       what);
	return err_sys(e, "write the datapath's table of %s", what);
}

static int get(struct dp *dp, enum dp_map map, const void *key, void *ret)
{
	return bpf_map_lookup_elem(dp->maps[map], key, ret) ? -errno : 0;
}

static int del(struct dp *dp, enum dp_map map, const void *key,
	       const char *what, struct err *e)
{
	if (bpf_map_delete_elem(dp->maps[map], key) && errno != ENOENT)
		return err_sys(e, "delete from the datapath's table of %s",
			       what);
	return 0;
}

/* --- slots of the traffic counters ---------------------------------------- */

static bool slot_is_used(const struct dp *dp, uint32_t slot)
{
	return dp->slots[slot / 8] & (1U << slot % 8);
}

static void slot_set(struct dp *dp, uint32_t slot, bool used)
{
	uint8_t bit = (uint8_t)(1U << slot % 8);

	if (slot >= DP_ENDPOINTS_MAX)
		return;
	if (used)
		dp->slots[slot / 8] |= bit;
	else
		dp->slots[slot / 8] &= (uint8_t)~bit;
}

static int note_slot(uint32_t ifindex, const struct dp_iface *v, void *arg)
{
	(void)ifindex;
	slot_set(arg, v->slot, true);
	return 0;
}

int dp_slots_load(struct dp *dp)
{
	dp->slots = calloc(1, DP_ENDPOINTS_MAX / 8);
	if (!dp->slots)
		return -ENOMEM;
	return dp_iface_for_each(dp, note_slot, dp);
}

static int slot_take(struct dp *dp, uint32_t *ret, struct err *e)
{
	uint32_t slot = 0;

	pthread_mutex_lock(&dp->lock);
	while (slot < DP_ENDPOINTS_MAX && slot_is_used(dp, slot))
		slot++;
	slot_set(dp, slot, true);
	pthread_mutex_unlock(&dp->lock);
	if (slot == DP_ENDPOINTS_MAX)
		return err_set(e, -ENOSPC,
			       "the datapath's table of links is full");
	*ret = slot;
	return 0;
}

static void slot_give(struct dp *dp, uint32_t slot)
{
	pthread_mutex_lock(&dp->lock);
	slot_set(dp, slot, false);
	pthread_mutex_unlock(&dp->lock);
}

/* --- links and endpoints -------------------------------------------------- */

/* Counters from zero, in all CPUs. */
static int counters_reset(struct dp *dp, uint32_t ifindex, uint32_t slot,
			  struct err *e)
{
	size_t nr = (size_t)dp->nr_cpus;
	auto_free struct dp_traffic *traffic = calloc(nr, sizeof(*traffic));
	auto_free struct dp_link_drops *drops = calloc(nr, sizeof(*drops));
	int r;

	if (!traffic || !drops)
		return err_set(e, -ENOMEM, "out of memory");
	r = put(dp, DP_MAP_TRAFFIC, &slot, traffic, "counters", e);
	if (r < 0)
		return r;
	return put(dp, DP_MAP_LINK_DROPS, &ifindex, drops, "counters", e);
}

int dp_iface_put(struct dp *dp, uint32_t ifindex, const struct dp_iface *v,
		 struct err *e)
{
	struct dp_iface now, want = *v;
	bool fresh = dp_iface_get(dp, ifindex, &now) < 0;
	int r;

	if (fresh) {
		r = slot_take(dp, &want.slot, e);
		if (r < 0)
			return r;
		r = counters_reset(dp, ifindex, want.slot, e);
	} else {
		want.slot = now.slot;
		r = 0;
	}
	if (r == 0)
		r = put(dp, DP_MAP_IFACES, &ifindex, &want, "links", e);
	if (r < 0 && fresh)
		slot_give(dp, want.slot);
	return r;
}

int dp_iface_get(struct dp *dp, uint32_t ifindex, struct dp_iface *ret)
{
	return get(dp, DP_MAP_IFACES, &ifindex, ret);
}

int dp_iface_del(struct dp *dp, uint32_t ifindex, struct err *e)
{
	struct dp_iface now;
	int r = dp_iface_get(dp, ifindex, &now);

	/* The entry goes last: until then it can be found again. */
	if (del(dp, DP_MAP_LINK_DROPS, &ifindex, "counters", e) < 0)
		return e ? e->code : -EIO;
	if (r < 0)
		return 0;
	r = del(dp, DP_MAP_IFACES, &ifindex, "links", e);
	if (r == 0)
		slot_give(dp, now.slot);
	return r;
}

int dp_endpoint_put(struct dp *dp, const struct dp_endpoint_key *key,
		    const struct dp_endpoint *v, struct err *e)
{
	struct dp_endpoint want = *v;
	struct dp_iface iface;

	if (dp_iface_get(dp, v->ifindex, &iface) < 0)
		return err_set(e, -ENODEV, "link %u is not known", v->ifindex);
	want.slot = iface.slot;
	return put(dp, DP_MAP_ENDPOINTS, key, &want, "endpoints", e);
}

int dp_endpoint_get(struct dp *dp, const struct dp_endpoint_key *key,
		    struct dp_endpoint *ret)
{
	return get(dp, DP_MAP_ENDPOINTS, key, ret);
}

int dp_endpoint_del(struct dp *dp, const struct dp_endpoint_key *key,
		    struct err *e)
{
	return del(dp, DP_MAP_ENDPOINTS, key, "endpoints", e);
}

/* --- networks ------------------------------------------------------------- */

int dp_network_put(struct dp *dp, uint32_t net_id, const struct dp_network *v,
		   struct err *e)
{
	struct dp_network want = *v;
	struct dp_iface iface;

	if (dp_iface_get(dp, v->gateway_ifindex, &iface) < 0)
		return err_set(e, -ENODEV, "gateway's link %u is not known",
			       v->gateway_ifindex);
	want.gateway_slot = iface.slot;
	return put(dp, DP_MAP_NETWORKS, &net_id, &want, "networks", e);
}

int dp_network_get(struct dp *dp, uint32_t net_id, struct dp_network *ret)
{
	return get(dp, DP_MAP_NETWORKS, &net_id, ret);
}

int dp_network_del(struct dp *dp, uint32_t net_id, struct err *e)
{
	return del(dp, DP_MAP_NETWORKS, &net_id, "networks", e);
}

/* All keys first: walking while deleting would start over again and again. */
static int keys_of(struct dp *dp, enum dp_map map, size_t key_size, void **ret,
		   size_t *ret_nr)
{
	auto_free char *keys = NULL;
	size_t nr = 0, size = 0;
	void *previous = NULL;
	char *more;

	for (;;) {
		if (nr == size) {
			size = size ? size * 2 : 64;
			more = realloc(keys, size * key_size);
			if (!more)
				return -ENOMEM;
			keys = more;
			previous = nr ? keys + (nr - 1) * key_size : NULL;
		}
		if (bpf_map_get_next_key(dp->maps[map], previous,
					 keys + nr * key_size))
			break;
		previous = keys + nr++ * key_size;
		if (nr > (size_t)DP_ENDPOINTS_MAX)
			return -E2BIG;
	}
	if (errno != ENOENT)
		return -errno;
	*ret = take_ptr(keys);
	*ret_nr = nr;
	return 0;
}

int dp_iface_for_each(struct dp *dp,
		      int (*fn)(uint32_t ifindex, const struct dp_iface *v,
				void *arg),
		      void *arg)
{
	auto_free void *keys = NULL;
	const uint32_t *ifindex;
	struct dp_iface v;
	size_t nr;
	int r = keys_of(dp, DP_MAP_IFACES, sizeof(*ifindex), &keys, &nr);

	ifindex = keys;
	for (size_t i = 0; r == 0 && i < nr; i++)
		if (dp_iface_get(dp, ifindex[i], &v) == 0)
			r = fn(ifindex[i], &v, arg);
	return r;
}

int dp_endpoint_for_each(struct dp *dp,
			 int (*fn)(const struct dp_endpoint_key *key,
				   const struct dp_endpoint *v, void *arg),
			 void *arg)
{
	auto_free void *keys = NULL;
	const struct dp_endpoint_key *key;
	struct dp_endpoint v;
	size_t nr;
	int r = keys_of(dp, DP_MAP_ENDPOINTS, sizeof(*key), &keys, &nr);

	key = keys;
	for (size_t i = 0; r == 0 && i < nr; i++)
		if (dp_endpoint_get(dp, &key[i], &v) == 0)
			r = fn(&key[i], &v, arg);
	return r;
}

int dp_network_for_each(struct dp *dp,
			int (*fn)(uint32_t net_id, const struct dp_network *v,
				  void *arg),
			void *arg)
{
	auto_free void *keys = NULL;
	const uint32_t *net_id;
	struct dp_network v;
	size_t nr;
	int r = keys_of(dp, DP_MAP_NETWORKS, sizeof(*net_id), &keys, &nr);

	net_id = keys;
	for (size_t i = 0; r == 0 && i < nr; i++)
		if (dp_network_get(dp, net_id[i], &v) == 0)
			r = fn(net_id[i], &v, arg);
	return r;
}

static void count_sum(struct dp_count *to, const struct dp_count *from)
{
	to->packets += from->packets;
	to->bytes += from->bytes;
}

static int traffic_get(struct dp *dp, uint32_t slot, struct dp_traffic *ret)
{
	size_t nr = (size_t)dp->nr_cpus;
	auto_free struct dp_traffic *v = calloc(nr, sizeof(*v));
	int r = v ? get(dp, DP_MAP_TRAFFIC, &slot, v) : -ENOMEM;

	for (size_t i = 0; r == 0 && i < nr; i++) {
		count_sum(&ret->tx, &v[i].tx);
		count_sum(&ret->rx, &v[i].rx);
	}
	return r;
}

static int link_drops_get(struct dp *dp, uint32_t ifindex,
			  uint64_t ret[DP_DROP_NR])
{
	size_t nr = (size_t)dp->nr_cpus;
	auto_free struct dp_link_drops *v = calloc(nr, sizeof(*v));
	int r = v ? get(dp, DP_MAP_LINK_DROPS, &ifindex, v) : -ENOMEM;

	for (size_t i = 0; r == 0 && i < nr; i++)
		for (int k = 0; k < DP_DROP_NR; k++)
			ret[k] += v[i].packets[k];
	return r;
}

int dp_stats_get(struct dp *dp, uint32_t ifindex, struct dp_stats *ret)
{
	struct dp_stats stats = { 0 };
	struct dp_iface iface;
	int r = dp_iface_get(dp, ifindex, &iface);

	if (r == 0)
		r = traffic_get(dp, iface.slot, &stats.traffic);
	if (r == 0)
		r = link_drops_get(dp, ifindex, stats.drops);
	if (r == 0)
		*ret = stats;
	return r;
}

int dp_drops_get(struct dp *dp, struct dp_count ret[DP_DROP_NR])
{
	size_t nr = (size_t)dp->nr_cpus;
	auto_free struct dp_count *v = calloc(nr, sizeof(*v));
	int r;

	if (!v)
		return -ENOMEM;
	for (uint32_t k = 0; k < DP_DROP_NR; k++) {
		r = get(dp, DP_MAP_DROPS, &k, v);
		if (r < 0)
			return r;
		ret[k] = (struct dp_count){ 0 };
		for (size_t i = 0; i < nr; i++)
			count_sum(&ret[k], &v[i]);
	}
	return 0;
}

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

/* A link has counters for as long as it is known. */
static int counters_add(struct dp *dp, uint32_t ifindex, struct err *e)
{
	size_t nr = (size_t)dp->nr_cpus;
	auto_free struct dp_stats *zero = calloc(nr, sizeof(*zero));

	if (!zero)
		return err_set(e, -ENOMEM, "out of memory");
	if (bpf_map_update_elem(dp->maps[DP_MAP_STATS], &ifindex, zero,
				BPF_NOEXIST) == 0 ||
	    errno == EEXIST)
		return 0;
	return err_sys(e, "write the datapath's table of counters");
}

int dp_iface_put(struct dp *dp, uint32_t ifindex, const struct dp_iface *v,
		 struct err *e)
{
	int r = counters_add(dp, ifindex, e);

	if (r < 0)
		return r;
	return put(dp, DP_MAP_IFACES, &ifindex, v, "links", e);
}

int dp_iface_get(struct dp *dp, uint32_t ifindex, struct dp_iface *ret)
{
	return get(dp, DP_MAP_IFACES, &ifindex, ret);
}

int dp_iface_del(struct dp *dp, uint32_t ifindex, struct err *e)
{
	int r = del(dp, DP_MAP_IFACES, &ifindex, "links", e);

	if (r < 0)
		return r;
	return del(dp, DP_MAP_STATS, &ifindex, "counters", e);
}

int dp_endpoint_put(struct dp *dp, const struct dp_endpoint_key *key,
		    const struct dp_endpoint *v, struct err *e)
{
	return put(dp, DP_MAP_ENDPOINTS, key, v, "endpoints", e);
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

int dp_network_put(struct dp *dp, uint32_t net_id, const struct dp_network *v,
		   struct err *e)
{
	return put(dp, DP_MAP_NETWORKS, &net_id, v, "networks", e);
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
		if (nr > (size_t)DP_ENDPOINTS_MAX + DP_NETWORKS_MAX)
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

int dp_stats_get(struct dp *dp, uint32_t ifindex, struct dp_stats *ret)
{
	size_t nr = (size_t)dp->nr_cpus;
	auto_free struct dp_stats *v = calloc(nr, sizeof(*v));
	int r;

	if (!v)
		return -ENOMEM;
	r = get(dp, DP_MAP_STATS, &ifindex, v);
	if (r < 0)
		return r;
	memset(ret, 0, sizeof(*ret));
	for (size_t i = 0; i < nr; i++) {
		count_sum(&ret->tx, &v[i].tx);
		count_sum(&ret->rx, &v[i].rx);
		for (int k = 0; k < DP_DROP_NR; k++)
			ret->drops[k] += v[i].drops[k];
	}
	return 0;
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

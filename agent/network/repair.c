// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agent/network/internal.h"
#include "agent/network/repair.h"
#include "lib/auto.h"
#include "lib/err.h"
#include "lib/str.h"
#include "netns/netns.h"

/* What a virtio-net of a guest with virtio 1, or with mergeable buffers, has:
 * any driver of today. QEMU sets it when the driver starts. */
#define VNET_HDR_LEN 12

bool network_is_ours(const char *ifname)
{
	return strncmp(ifname, LINK_PREFIX, strlen(LINK_PREFIX)) == 0;
}

bool network_is_pods(const char *ifname, const char *uid)
{
	char name[IF_NAMESIZE];

	pod_ifname(uid, name);
	return str_eq(name, ifname);
}

static bool is_of(const struct net *net, const char *ifname)
{
	char gateway[IF_NAMESIZE], egress[IF_NAMESIZE];

	gateway_ifname(net->net_id, gateway);
	egress_ifname(net->net_id, egress);
	return str_eq(ifname, gateway) || str_eq(ifname, egress);
}

uint32_t network_link_lost(struct network_mgr *mgr, const char *ifname)
{
	struct map_iter it = MAP_ITER_INIT;
	uint32_t id = 0;

	pthread_mutex_lock(&mgr->lock);
	while (map_next(&mgr->nets, &it)) {
		struct net *net = it.value;

		if (ifname && !is_of(net, ifname))
			continue;
		atomic_store(&net->lost, true);
		id = net->net_id;
	}
	pthread_mutex_unlock(&mgr->lock);
	return ifname ? id : 0;
}

static int revive(const struct wiring *w, int tap_fd, struct err *e)
{
	const struct rt_link_change change = { .mac = w->host_mac,
					       .mtu = w->mtu };
	auto_ptr(rt) rt = NULL;
	struct rt_link link;
	int r;

	r = rt_open(NS_OWN, &rt, e);
	if (r < 0)
		return r;
	if (rt_link_find(rt, w->ifname, &link, NULL) == 0)
		return 0;
	r = ns_tap_revive(tap_fd, w->ifname, VNET_HDR_LEN, e);
	if (r == 0)
		r = rt_link_find(rt, w->ifname, &link, e);
	if (r == 0)
		r = rt_link_set(rt, link.ifindex, &change, e);
	return r < 0 ? r : 1;
}

int network_tap_revive(struct network_mgr *mgr, const char *uid, int tap_fd,
		       struct err *e)
{
	struct lease *lease = lease_find(mgr, uid);
	struct wiring w;
	int r;

	if (!lease || lease->kind != NETWORK_VM)
		return err_set(e, -ENOENT, "pod %.64s has no tap", uid);
	r = wiring_for_pod(mgr, lease, &w, e);
	if (r == 0)
		r = revive(&w, tap_fd, e);
	wiring_clear(&w);
	return r;
}

// SPDX-License-Identifier: Apache-2.0
/* A pod's side of its link: names, and the namespace's set-up. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/network/internal.h"
#include "lib/err.h"
#include "lib/str.h"
#include "netns/netns.h"

/* The same uid has the same link name for ever: 48 bits of FNV-1a of it. */
void pod_ifname(const char *uid, char ret[IF_NAMESIZE])
{
	uint64_t hash = 0xcbf29ce484222325ULL;

	for (; *uid; uid++)
		hash = (hash ^ (uint8_t)*uid) * 0x100000001b3ULL;
	snprintf(ret, IF_NAMESIZE, LINK_PREFIX "%012llx",
		 (unsigned long long)((hash >> 48 ^ hash) & 0xffffffffffffULL));
}

char *pod_ns_path(const struct network_mgr *mgr, const char *uid)
{
	return str_printf("%s/pods/%s/netns", mgr->run_dir, uid);
}

/* Locally administered, and the same for the same address: neighbours that
 * remember it stay right when the address moves to another pod. */
static void mac_of(uint32_t ip, uint8_t ret[6])
{
	ret[0] = 0x02;
	ret[1] = 'a';
	for (int i = 0; i < 4; i++)
		ret[2 + i] = (uint8_t)(ip >> (24 - 8 * i));
}

static int lo_up(struct rt *rt, struct err *e)
{
	const struct rt_link_change up = { .up = 1 };
	struct rt_link lo;
	int r = rt_link_find(rt, "lo", &lo, e);

	return r < 0 ? r : rt_link_set(rt, lo.ifindex, &up, e);
}

/* eth0 has the address alone, and everything else is behind the gateway: the
 * datapath knows better than neighbour tables who is where. */
static int configure_pod(const struct wiring *w, int ns_fd, struct rt *rt,
			 int ifindex, struct err *e)
{
	static const struct ns_sysctl sysctls[] = {
		{ "ipv4/ip_unprivileged_port_start", "0" },
		{ "ipv4/ping_group_range", "0 2147483647" },
		{ "ipv4/conf/all/accept_redirects", "0" },
		{ "ipv4/conf/eth0/accept_redirects", "0" },
		{ "ipv4/conf/all/accept_source_route", "0" },
		{ "-ipv6/conf/all/accept_ra", "0" },
		{ "-ipv6/conf/eth0/accept_ra", "0" },
		{ "-ipv6/conf/eth0/disable_ipv6", "1" },
	};
	const struct rt_link_change up = { .up = 1 };
	const struct in_addr gateway = { htonl(w->gateway) };
	const struct rt_route to_gateway = { .dst = gateway, .prefix = 32 };
	const struct rt_route to_all = { .via = gateway };
	int r;

	r = ns_sysctls(ns_fd, sysctls, ARRAY_LEN(sysctls), e);
	if (r == 0)
		r = lo_up(rt, e);
	if (r == 0)
		r = rt_addr_add(rt, ifindex, (struct in_addr){ w->key.ip }, 32,
				e);
	if (r == 0)
		r = rt_link_set(rt, ifindex, &up, e);
	if (r == 0)
		r = rt_neigh_add(rt, ifindex, gateway, w->host_mac, e);
	if (r == 0)
		r = rt_route_add(rt, ifindex, &to_gateway, e);
	if (r == 0)
		r = rt_route_add(rt, ifindex, &to_all, e);
	return r;
}

static void wire(struct wiring *w, const struct net *net, uint32_t ip)
{
	w->key.net_id = net->net_id;
	w->key.ip = htonl(ip);
	w->gateway = ipam_gateway(&net->ipam);
	w->prefix = net->prefix;
	w->mtu = net->mtu;
	mac_of(ip, w->mac);
	mac_of(w->gateway, w->host_mac);
}

int wiring_for_pod(const struct network_mgr *mgr, const struct lease *lease,
		   struct wiring *ret, struct err *e)
{
	*ret = (struct wiring){ .configure = configure_pod };
	wire(ret, lease->net, lease->ip);
	pod_ifname(lease->uid, ret->ifname);
	snprintf(ret->alias, sizeof(ret->alias), "arktos pod %.50s",
		 lease->uid);
	if (lease->nr_ports)
		ret->flags |= DP_INGRESS;
	if (lease->kind == NETWORK_VM)
		return 0;
	ret->flags |= DP_VETH;
	ret->ns_path = pod_ns_path(mgr, lease->uid);
	return ret->ns_path ? 0 : err_set(e, -ENOMEM, "out of memory");
}

/* All pods are behind one neighbour that nobody asks for: the datapath delivers
 * by address, whatever the MAC, and the neighbour table (one for all namespaces
 * of the host) does not grow with the pods. */
static int configure_gateway(const struct wiring *w, int ns_fd, struct rt *rt,
			     int ifindex, struct err *e)
{
	static const struct ns_sysctl sysctls[] = {
		{ "ipv4/ping_group_range", "0 2147483647" },
		{ "ipv4/conf/all/send_redirects", "0" },
		{ "ipv4/conf/eth0/send_redirects", "0" },
		{ "ipv4/conf/all/accept_redirects", "0" },
		{ "ipv4/conf/eth0/accept_redirects", "0" },
		{ "ipv4/conf/all/accept_source_route", "0" },
		{ "-ipv6/conf/all/disable_ipv6", "1" },
	};
	const struct rt_link_change up = { .up = 1, .noarp = 1 };
	const struct in_addr self = { w->key.ip };
	const uint32_t base = w->gateway & ~(0xffffffffU >> w->prefix);
	const struct in_addr nobody = { htonl(base) };
	const struct rt_route to_pods = {
		.dst = nobody,
		.prefix = (int)w->prefix,
		.via = nobody,
		.src = self,
		.onlink = true,
	};
	int r;

	r = ns_sysctls(ns_fd, sysctls, ARRAY_LEN(sysctls), e);
	if (r == 0)
		r = lo_up(rt, e);
	if (r == 0)
		r = rt_addr_add(rt, ifindex, self, 32, e);
	if (r == 0)
		r = rt_link_set(rt, ifindex, &up, e);
	if (r == 0)
		r = rt_route_add(rt, ifindex, &to_pods, e);
	return r;
}

void gateway_ifname(uint32_t net_id, char ret[IF_NAMESIZE])
{
	snprintf(ret, IF_NAMESIZE, LINK_PREFIX "g%06x", net_id);
}

char *gateway_ns_path(const struct network_mgr *mgr, uint32_t net_id)
{
	return str_printf("%s/netns/net-%u", mgr->run_dir, net_id);
}

int wiring_for_gateway(const struct network_mgr *mgr, const struct net *net,
		       struct wiring *ret, struct err *e)
{
	*ret = (struct wiring){
		.flags = DP_VETH | DP_GATEWAY,
		.configure = configure_gateway,
	};
	wire(ret, net, ipam_gateway(&net->ipam));
	gateway_ifname(net->net_id, ret->ifname);
	snprintf(ret->alias, sizeof(ret->alias), "arktos gateway %.20s/%.20s",
		 net->tenant, net->name);
	ret->ns_path = gateway_ns_path(mgr, net->net_id);
	return ret->ns_path ? 0 : err_set(e, -ENOMEM, "out of memory");
}

void wiring_clear(struct wiring *w)
{
	free(w->ns_path);
	w->ns_path = NULL;
}

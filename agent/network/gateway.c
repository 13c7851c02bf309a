// SPDX-License-Identifier: Apache-2.0
/* A network's gateway: our namespace on it, and its entry in the datapath. */
#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include "agent/network/internal.h"
#include "lib/auto.h"
#include "lib/err.h"
#include "netns/netns.h"

static int datapath_put(struct network_mgr *mgr, const struct net *net,
			const struct wiring *w, int ifindex,
			const struct egress_ways *ways, struct err *e)
{
	struct dp_network v = {
		.base = htonl(net->ipam.base),
		.mask = htonl(0xffffffffU << (32 - net->prefix)),
		.gateway = w->key.ip,
		.gateway_ifindex = (uint32_t)ifindex,
		.mtu = net->mtu,
		.flags = (uint16_t)((ways->out ? DP_EGRESS : 0) |
				    (ways->in ? DP_INGRESS : 0)),
	};

	memcpy(v.gateway_mac, w->mac, sizeof(v.gateway_mac));
	return dp_network_put(mgr->dp, net->net_id, &v, e);
}

static struct egress_ways ways_of(struct network_mgr *mgr,
				  const struct net *net)
{
	struct egress_ways ways;

	pthread_mutex_lock(&mgr->lock);
	ways.out = net->egress == NETWORK_EGRESS_SNAT;
	ways.in = net->nr_ingress > 0;
	pthread_mutex_unlock(&mgr->lock);
	return ways;
}

int gateway_publish(struct network_mgr *mgr, const struct net *net,
		    struct err *e)
{
	const struct egress_ways ways = ways_of(mgr, net);
	struct wiring w;
	int ifindex, r;

	r = wiring_for_gateway(mgr, net, &w, e);
	if (r == 0)
		r = wiring_publish(mgr, &w, &ifindex, e);
	if (r == 0)
		r = datapath_put(mgr, net, &w, ifindex, &ways, e);
	wiring_clear(&w);
	return r;
}

static int set_egress(struct network_mgr *mgr, struct net *net,
		      const struct wiring *w, const struct egress_ways *ways,
		      struct err *e)
{
	auto_close int ns = -EBADF;
	int r = ns_open(w->ns_path, &ns, e);

	if (r < 0)
		return r;
	if (ways->out || ways->in)
		r = egress_up(mgr, net, ns, ways, e);
	else
		r = egress_down(net->net_id, ns, e);
	if (r < 0 || !(ways->in || net->ports_rules))
		return r;
	free(take_ptr(net->ports_rules)); /* it may be a new namespace */
	return ports_gateway(mgr, net, ns, e);
}

/* Nothing is sent outside before the way there is set up, and nothing any more
 * before it is torn down. */
static int bring_up(struct network_mgr *mgr, struct net *net,
		    const struct wiring *w, struct err *e)
{
	const struct egress_ways ways = ways_of(mgr, net);
	bool any = ways.out || ways.in;
	int ifindex, r;

	r = wiring_apply(mgr, w, true, &ifindex, NULL, e);
	if (r == 0 && !any)
		r = datapath_put(mgr, net, w, ifindex, &ways, e);
	if (r == 0)
		r = mgr_step(mgr, "egress", e);
	if (r == 0)
		r = set_egress(mgr, net, w, &ways, e);
	if (r == 0 && any)
		r = datapath_put(mgr, net, w, ifindex, &ways, e);
	return r;
}

int gateway_up(struct network_mgr *mgr, struct net *net, struct err *e)
{
	struct wiring w;
	int r = 0;

	pthread_mutex_lock(&net->up_lock);
	if (atomic_exchange(&net->lost, false))
		net->up = false;
	if (!net->up) {
		r = wiring_for_gateway(mgr, net, &w, e);
		if (r == 0)
			r = bring_up(mgr, net, &w, e);
		wiring_clear(&w);
		net->up = r == 0;
	}
	pthread_mutex_unlock(&net->up_lock);
	if (r < 0)
		return err_wrap(e, r, "gateway of network %s/%s", net->tenant,
				net->name);
	return 0;
}

static int bring_down(struct network_mgr *mgr, struct net *net,
		      const struct wiring *w, struct err *e)
{
	static const struct egress_ways none;
	int r = dp_network_del(mgr->dp, net->net_id, e);

	if (r == 0)
		r = set_egress(mgr, net, w, &none, e);
	if (r < 0 && r != -ENOENT && r != -EINVAL)
		return r;
	return wiring_apply(mgr, w, false, NULL, NULL, e);
}

int gateway_down(struct network_mgr *mgr, struct net *net, struct err *e)
{
	struct wiring w;
	int r;

	pthread_mutex_lock(&net->up_lock);
	net->up = false;
	r = wiring_for_gateway(mgr, net, &w, e);
	if (r == 0)
		r = bring_down(mgr, net, &w, e);
	wiring_clear(&w);
	pthread_mutex_unlock(&net->up_lock);
	return r;
}

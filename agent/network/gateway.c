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
			const struct wiring *w, int ifindex, bool egress,
			struct err *e)
{
	struct dp_network v = {
		.base = htonl(net->ipam.base),
		.mask = htonl(0xffffffffU << (32 - net->prefix)),
		.gateway = w->key.ip,
		.gateway_ifindex = (uint32_t)ifindex,
		.mtu = net->mtu,
		.flags = egress ? DP_EGRESS : 0,
	};

	memcpy(v.gateway_mac, w->mac, sizeof(v.gateway_mac));
	return dp_network_put(mgr->dp, net->net_id, &v, e);
}

int gateway_publish(struct network_mgr *mgr, const struct net *net,
		    struct err *e)
{
	bool egress = net->egress == NETWORK_EGRESS_SNAT;
	struct wiring w;
	int ifindex, r;

	r = wiring_for_gateway(mgr, net, &w, e);
	if (r == 0)
		r = wiring_publish(mgr, &w, &ifindex, e);
	if (r == 0)
		r = datapath_put(mgr, net, &w, ifindex, egress, e);
	wiring_clear(&w);
	return r;
}

static int set_egress(struct network_mgr *mgr, const struct net *net,
		      const struct wiring *w, bool egress, struct err *e)
{
	auto_close int ns = -EBADF;
	int r = ns_open(w->ns_path, &ns, e);

	if (r < 0)
		return r;
	if (egress)
		return egress_up(mgr, net, ns, e);
	return egress_down(net->net_id, ns, e);
}

/* Nothing is sent outside before the way there is set up, and nothing any more
 * before it is torn down. */
static int bring_up(struct network_mgr *mgr, const struct net *net,
		    const struct wiring *w, struct err *e)
{
	bool egress;
	int ifindex, r;

	pthread_mutex_lock(&mgr->lock);
	egress = net->egress == NETWORK_EGRESS_SNAT;
	pthread_mutex_unlock(&mgr->lock);
	r = wiring_apply(mgr, w, true, &ifindex, NULL, e);
	if (r == 0 && !egress)
		r = datapath_put(mgr, net, w, ifindex, false, e);
	if (r == 0)
		r = mgr_step(mgr, "egress", e);
	if (r == 0)
		r = set_egress(mgr, net, w, egress, e);
	if (r == 0 && egress)
		r = datapath_put(mgr, net, w, ifindex, true, e);
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

static int bring_down(struct network_mgr *mgr, const struct net *net,
		      const struct wiring *w, struct err *e)
{
	int r = dp_network_del(mgr->dp, net->net_id, e);

	if (r == 0)
		r = set_egress(mgr, net, w, false, e);
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

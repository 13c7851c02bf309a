// SPDX-License-Identifier: Apache-2.0
/* One link into the datapath: look at what is there, plan, and do it. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/network/internal.h"
#include "agent/network/plan.h"
#include "lib/auto.h"
#include "lib/err.h"
#include "lib/fs.h"
#include "lib/str.h"
#include "netns/netns.h"

/* On eth0 once its namespace is set up: the mark that nothing is left to do. */
#define CONFIGURED "arktos"

struct work {
	struct network_mgr *mgr;
	const struct wiring *w;
	struct rt *rt;        /* of the host's namespace */
	int ns_fd;            /* -EBADF: there is none */
	int tap_fd;           /* -EBADF: not opened */
	uint32_t ifindex;     /* host side; 0: there is none */
	uint32_t old_ifindex; /* the datapath remembers; 0: none */
	bool link_goes;
};

static struct dp_iface wanted_iface(const struct wiring *w)
{
	struct dp_iface v = {
		.net_id = w->key.net_id,
		.ip = w->key.ip,
		.flags = w->flags,
	};

	memcpy(v.mac, w->mac, sizeof(v.mac));
	return v;
}

static struct dp_endpoint wanted_endpoint(const struct work *k)
{
	struct dp_endpoint v = {
		.ifindex = k->ifindex,
		.mtu = k->w->mtu,
		.flags = k->w->flags,
	};

	memcpy(v.mac, k->w->mac, sizeof(v.mac));
	return v;
}

/* --- looking -------------------------------------------------------------- */

static int look_at_ns(struct work *k, struct endpoint_have *have, struct err *e)
{
	int r;

	if (!k->w->ns_path)
		return 0;
	r = ns_open(k->w->ns_path, &k->ns_fd, e);
	have->ns = r == 0;
	have->ns_pin = r != -ENOENT;
	return r == -ENOENT || r == -EINVAL ? 0 : r;
}

static int look_at_peer(const struct work *k, const struct rt_link *link,
			struct endpoint_have *have, struct err *e)
{
	auto_ptr(rt) rt = NULL;
	struct rt_link peer;
	int r;

	if (!have->ns)
		return 0;
	r = rt_open(k->ns_fd, &rt, e);
	if (r < 0)
		return r;
	r = rt_link_find(rt, NETWORK_IFNAME_POD, &peer, e);
	if (r < 0)
		return r == -ENODEV ? 0 : r;
	have->link_right = peer.peer_ifindex == link->ifindex &&
			   peer.ifindex == link->peer_ifindex &&
			   memcmp(peer.mac, k->w->mac, sizeof(peer.mac)) == 0;
	have->configured = peer.up && str_eq(peer.alias, CONFIGURED);
	return 0;
}

static int look_at_link(struct work *k, struct endpoint_have *have,
			struct err *e)
{
	struct rt_link link;
	int r = rt_link_find(k->rt, k->w->ifname, &link, e);

	if (r < 0)
		return r == -ENODEV ? 0 : r;
	have->link = true;
	have->up = link.up;
	k->ifindex = (uint32_t)link.ifindex;
	if (link.mtu != k->w->mtu)
		return 0;
	if (k->w->ns_path && str_eq(link.kind, "veth"))
		return look_at_peer(k, &link, have, e);
	have->link_right = !k->w->ns_path && str_eq(link.kind, "tun");
	return 0;
}

static void look_at_datapath(struct work *k, struct endpoint_have *have)
{
	struct dp_iface iface = { 0 }, want_iface = wanted_iface(k->w);
	struct dp_endpoint ep, want_ep = wanted_endpoint(k);
	struct dp *dp = k->mgr->dp;

	if (have->link) {
		have->known_any = dp_iface_get(dp, k->ifindex, &iface) == 0;
		want_iface.slot = want_ep.slot = iface.slot;
		have->known = have->known_any &&
			      memcmp(&iface, &want_iface, sizeof(iface)) == 0;
		have->program = dp_is_attached(dp, k->ifindex);
	}
	if (dp_endpoint_get(dp, &k->w->key, &ep) < 0)
		return;
	have->shown_any = true;
	have->shown = have->link && memcmp(&ep, &want_ep, sizeof(ep)) == 0;
	if (ep.ifindex == k->ifindex || dp_iface_get(dp, ep.ifindex, &iface))
		return;
	have->known_old =
		iface.net_id == want_iface.net_id && iface.ip == want_iface.ip;
	if (have->known_old)
		k->old_ifindex = ep.ifindex;
}

static int look(struct work *k, struct endpoint_have *have, struct err *e)
{
	int r = look_at_ns(k, have, e);

	if (r == 0)
		r = look_at_link(k, have, e);
	if (r == 0)
		look_at_datapath(k, have);
	return r;
}

/* --- doing ---------------------------------------------------------------- */

static int ns_create_at(struct work *k, struct err *e)
{
	auto_free char *dir = strdup(k->w->ns_path);
	int r;

	if (!dir)
		return err_set(e, -ENOMEM, "out of memory");
	*strrchr(dir, '/') = '\0';
	r = fs_mkdirs(dir, 0755, e);
	return r < 0 ? r : ns_create(k->w->ns_path, &k->ns_fd, e);
}

static int ns_remove(struct work *k, struct err *e)
{
	auto_close_(&k->ns_fd);
	k->ns_fd = -EBADF;
	return ns_unpin(k->w->ns_path, e);
}

static int veth_create(struct work *k, struct err *e)
{
	const struct rt_veth_end host = {
		.name = k->w->ifname,
		.nsfd = NS_OWN,
		.mac = k->w->host_mac,
		.mtu = k->w->mtu,
	};
	const struct rt_veth_end pod = {
		.name = NETWORK_IFNAME_POD,
		.nsfd = k->ns_fd,
		.mac = k->w->mac,
		.mtu = k->w->mtu,
	};

	return rt_veth_add(k->rt, &host, &pod, e);
}

static int link_create(struct work *k, struct err *e)
{
	struct rt_link_change change = {
		.mac = k->w->host_mac,
		.mtu = k->w->mtu,
	};
	struct rt_link link;
	int r;

	if (k->w->ns_path)
		r = veth_create(k, e);
	else
		r = ns_tap_open(NS_OWN, k->w->ifname, &k->tap_fd, e);
	if (r < 0)
		return r;
	r = rt_link_find(k->rt, k->w->ifname, &link, e);
	if (r < 0)
		return r;
	k->ifindex = (uint32_t)link.ifindex;
	if (k->w->ns_path)
		return 0;
	return rt_link_set(k->rt, link.ifindex, &change, e);
}

static int ns_configure(struct work *k, struct err *e)
{
	const struct rt_link_change mark = { .alias = CONFIGURED };
	auto_ptr(rt) rt = NULL;
	struct rt_link link;
	int r;

	r = rt_open(k->ns_fd, &rt, e);
	if (r == 0)
		r = rt_link_find(rt, NETWORK_IFNAME_POD, &link, e);
	if (r == 0)
		r = k->w->configure(k->w, k->ns_fd, rt, link.ifindex, e);
	if (r == 0)
		r = rt_link_set(rt, link.ifindex, &mark, e);
	return r;
}

static int link_forget(struct work *k, struct err *e)
{
	int r = 0;

	if (k->old_ifindex)
		r = dp_iface_del(k->mgr->dp, k->old_ifindex, e);
	if (r == 0 && k->ifindex && k->link_goes)
		r = dp_iface_del(k->mgr->dp, k->ifindex, e);
	return r;
}

/* The host itself never speaks on this link: IPv6 would, by itself. */
static int link_up(struct work *k, struct err *e)
{
	const struct rt_link_change change = { .alias = k->w->alias, .up = 1 };
	char name[64];
	const struct ns_sysctl quiet = { name, "1" };
	int r;

	snprintf(name, sizeof(name), "-ipv6/conf/%s/disable_ipv6",
		 k->w->ifname);
	r = ns_sysctls(NS_OWN, &quiet, 1, e);
	if (r < 0)
		return r;
	return rt_link_set(k->rt, (int)k->ifindex, &change, e);
}

static int do_step(struct work *k, enum endpoint_step step, struct err *e)
{
	struct dp_iface iface = wanted_iface(k->w);
	struct dp_endpoint ep = wanted_endpoint(k);

	switch (step) {
	case STEP_FORGET_LINK:
		return link_forget(k, e);
	case STEP_LINK_REMOVE:
		k->ifindex = 0;
		return rt_link_del(k->rt, k->w->ifname, e);
	case STEP_HIDE:
		return dp_endpoint_del(k->mgr->dp, &k->w->key, e);
	case STEP_NS_REMOVE:
		return ns_remove(k, e);
	case STEP_NS_CREATE:
		return ns_create_at(k, e);
	case STEP_LINK_CREATE:
		return link_create(k, e);
	case STEP_NS_CONFIGURE:
		return ns_configure(k, e);
	case STEP_LINK_KNOWN:
		return dp_iface_put(k->mgr->dp, k->ifindex, &iface, e);
	case STEP_PROGRAM:
		return dp_attach(k->mgr->dp, k->ifindex, e);
	case STEP_LINK_UP:
		return link_up(k, e);
	case STEP_SHOW:
		return dp_endpoint_put(k->mgr->dp, &k->w->key, &ep, e);
	case STEP_NR:
		break;
	}
	return -EINVAL;
}

static int do_steps(struct work *k, const enum endpoint_step *steps, size_t nr,
		    struct err *e)
{
	const char *name;
	int r;

	for (size_t i = 0; i < nr; i++)
		k->link_goes |= steps[i] == STEP_LINK_REMOVE;
	for (size_t i = 0; i < nr; i++) {
		name = endpoint_step_name(steps[i]);
		r = mgr_step(k->mgr, name, e);
		if (r == 0)
			r = do_step(k, steps[i], e);
		if (r < 0)
			return err_wrap(e, r, "%s (%s)", k->w->ifname, name);
	}
	return 0;
}

static int apply(struct work *k, bool present, struct err *e)
{
	const struct endpoint_want want = {
		.present = present,
		.has_ns = k->w->ns_path,
	};
	enum endpoint_step steps[STEP_NR];
	struct endpoint_have have = { 0 };
	int r = look(k, &have, e);

	if (r < 0)
		return r;
	return do_steps(k, steps, endpoint_plan(&want, &have, steps), e);
}

/* A tap takes one reader: while the VM's QEMU has it, there is none for us. */
static int open_tap(struct work *k, struct err *e)
{
	int r;

	if (k->tap_fd >= 0)
		return 0;
	r = ns_tap_open(NS_OWN, k->w->ifname, &k->tap_fd, e);
	return r == -EBUSY ? 0 : r;
}

int wiring_apply(struct network_mgr *mgr, const struct wiring *w, bool present,
		 int *ret_ifindex, int *ret_tap_fd, struct err *e)
{
	struct work k = {
		.mgr = mgr,
		.w = w,
		.ns_fd = -EBADF,
		.tap_fd = -EBADF,
	};
	int r = rt_open(NS_OWN, &k.rt, e);

	if (r == 0)
		r = apply(&k, present, e);
	if (r == 0 && present && ret_tap_fd && !w->ns_path)
		r = open_tap(&k, e);
	if (r == 0 && ret_ifindex)
		*ret_ifindex = (int)k.ifindex;
	if (r == 0 && ret_tap_fd)
		*ret_tap_fd = take_fd(&k.tap_fd);
	auto_close_(&k.tap_fd);
	auto_close_(&k.ns_fd);
	rt_close(k.rt);
	return r;
}

int wiring_publish(struct network_mgr *mgr, const struct wiring *w,
		   int *ret_ifindex, struct err *e)
{
	struct work k = { .mgr = mgr, .w = w };
	auto_ptr(rt) rt = NULL;
	struct dp_endpoint ep;
	struct dp_iface iface;
	struct rt_link link;
	int r;

	r = rt_open(NS_OWN, &rt, e);
	if (r == 0)
		r = rt_link_find(rt, w->ifname, &link, e);
	if (r < 0)
		return r;
	k.ifindex = (uint32_t)link.ifindex;
	iface = wanted_iface(w);
	ep = wanted_endpoint(&k);
	r = dp_iface_put(mgr->dp, k.ifindex, &iface, e);
	if (r == 0)
		r = dp_endpoint_put(mgr->dp, &w->key, &ep, e);
	if (r == 0 && ret_ifindex)
		*ret_ifindex = link.ifindex;
	return r;
}

// SPDX-License-Identifier: Apache-2.0
/* Links: find, make, change, remove. */
#include <errno.h>
#include <netlink/errno.h>
#include <netlink/route/link.h>
#include <netlink/route/link/veth.h>
#include <stdio.h>
#include <string.h>

#include "lib/err.h"
#include "netns/internal.h"
#include "netns/netns.h"

static void link_read(struct rtnl_link *l, struct rt_link *ret)
{
	struct nl_addr *mac = rtnl_link_get_addr(l);
	const char *name = rtnl_link_get_name(l);
	const char *kind = rtnl_link_get_type(l);
	const char *alias = rtnl_link_get_ifalias(l);
	unsigned int flags = rtnl_link_get_flags(l);

	*ret = (struct rt_link){
		.ifindex = rtnl_link_get_ifindex(l),
		.mtu = rtnl_link_get_mtu(l),
		.up = flags & IFF_UP,
		.running = flags & IFF_RUNNING,
	};
	snprintf(ret->name, sizeof(ret->name), "%s", name ? name : "");
	snprintf(ret->kind, sizeof(ret->kind), "%s", kind ? kind : "");
	snprintf(ret->alias, sizeof(ret->alias), "%s", alias ? alias : "");
	if (mac && nl_addr_get_len(mac) == sizeof(ret->mac))
		memcpy(ret->mac, nl_addr_get_binary_addr(mac),
		       sizeof(ret->mac));
	if (strcmp(ret->kind, "veth") == 0)
		ret->peer_ifindex = rtnl_link_get_link(l);
}

int rt_link_find(struct rt *rt, const char *name, struct rt_link *ret,
		 struct err *e)
{
	struct rtnl_link *l = NULL;
	int r = rtnl_link_get_kernel(rt->sk, 0, name, &l);

	if (r == -NLE_OBJ_NOTFOUND || r == -NLE_NODEV)
		return err_set(e, -ENODEV, "no link '%s'", name);
	if (r < 0)
		return rt_fail(e, r, "look up link '%s'", name);
	link_read(l, ret);
	rtnl_link_put(l);
	return 0;
}

struct for_each_args {
	int (*fn)(const struct rt_link *link, void *arg);
	void *arg;
	int r;
};

static void for_each_one(struct nl_object *obj, void *arg)
{
	struct for_each_args *a = arg;
	struct rt_link link;

	if (a->r)
		return;
	link_read((struct rtnl_link *)obj, &link);
	a->r = a->fn(&link, a->arg);
}

int rt_link_for_each(struct rt *rt,
		     int (*fn)(const struct rt_link *link, void *arg),
		     void *arg, struct err *e)
{
	struct for_each_args a = { fn, arg, 0 };
	struct nl_cache *cache = NULL;
	int r = rtnl_link_alloc_cache(rt->sk, AF_UNSPEC, &cache);

	if (r < 0)
		return rt_fail(e, r, "list links");
	nl_cache_foreach(cache, for_each_one, &a);
	nl_cache_free(cache);
	return a.r;
}

static int veth_end_fill(struct rtnl_link *l, const struct rt_veth_end *end)
{
	struct nl_addr *mac;

	rtnl_link_set_name(l, end->name);
	if (end->nsfd != NS_OWN)
		rtnl_link_set_ns_fd(l, end->nsfd);
	if (end->mtu)
		rtnl_link_set_mtu(l, end->mtu);
	if (end->mac) {
		mac = nl_addr_build(AF_LLC, end->mac, 6);
		if (!mac)
			return -NLE_NOMEM;
		rtnl_link_set_addr(l, mac);
		nl_addr_put(mac);
	}
	return 0;
}

int rt_veth_add(struct rt *rt, const struct rt_veth_end *a,
		const struct rt_veth_end *b, struct err *e)
{
	struct rtnl_link *l = rtnl_link_veth_alloc();
	struct rtnl_link *peer;
	int r;

	if (!l)
		return err_set(e, -ENOMEM, "out of memory");
	peer = rtnl_link_veth_get_peer(l); /* takes a reference */
	r = veth_end_fill(l, a);
	if (r == 0)
		r = veth_end_fill(peer, b);
	if (r == 0)
		r = rtnl_link_add(rt->sk, l, NLM_F_CREATE | NLM_F_EXCL);
	rtnl_link_put(peer);
	rtnl_link_veth_release(l);
	if (r < 0)
		return rt_fail(e, r, "make veth pair '%s' and '%s'", a->name,
			       b->name);
	return 0;
}

int rt_link_del(struct rt *rt, const char *name, struct err *e)
{
	struct rtnl_link *l = rtnl_link_alloc();
	int r;

	if (!l)
		return err_set(e, -ENOMEM, "out of memory");
	rtnl_link_set_name(l, name);
	r = rtnl_link_delete(rt->sk, l);
	rtnl_link_put(l);
	if (r < 0 && r != -NLE_NODEV && r != -NLE_OBJ_NOTFOUND)
		return rt_fail(e, r, "remove link '%s'", name);
	return 0;
}

static int change_fill(struct rtnl_link *l, const struct rt_link_change *c)
{
	struct nl_addr *mac;

	if (c->name)
		rtnl_link_set_name(l, c->name);
	if (c->alias)
		rtnl_link_set_ifalias(l, c->alias);
	if (c->mtu)
		rtnl_link_set_mtu(l, c->mtu);
	if (c->up > 0)
		rtnl_link_set_flags(l, IFF_UP);
	else if (c->up < 0)
		rtnl_link_unset_flags(l, IFF_UP);
	if (c->noarp > 0)
		rtnl_link_set_flags(l, IFF_NOARP);
	if (c->mac) {
		mac = nl_addr_build(AF_LLC, c->mac, 6);
		if (!mac)
			return -NLE_NOMEM;
		rtnl_link_set_addr(l, mac);
		nl_addr_put(mac);
	}
	return 0;
}

int rt_link_set(struct rt *rt, int ifindex, const struct rt_link_change *change,
		struct err *e)
{
	struct rtnl_link *orig = rtnl_link_alloc();
	struct rtnl_link *l = rtnl_link_alloc();
	int r = -NLE_NOMEM;

	if (orig && l) {
		rtnl_link_set_ifindex(orig, ifindex);
		r = change_fill(l, change);
		if (r == 0)
			r = rtnl_link_change(rt->sk, orig, l, 0);
	}
	if (orig)
		rtnl_link_put(orig);
	if (l)
		rtnl_link_put(l);
	if (r < 0)
		return rt_fail(e, r, "change link %d", ifindex);
	return 0;
}

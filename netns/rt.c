// SPDX-License-Identifier: Apache-2.0
/* The netlink connection, addresses, routes, neighbours. */
#include <errno.h>
#include <netlink/errno.h>
#include <netlink/route/addr.h>
#include <netlink/route/neighbour.h>
#include <netlink/route/nexthop.h>
#include <netlink/route/route.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/err.h"
#include "netns/internal.h"
#include "netns/netns.h"

static int nle_to_errno(int nle)
{
	switch (abs(nle)) {
	case NLE_NOMEM:
		return -ENOMEM;
	case NLE_EXIST:
		return -EEXIST;
	case NLE_NODEV:
		return -ENODEV;
	case NLE_OBJ_NOTFOUND:
		return -ENOENT;
	case NLE_NOADDR:
		return -EADDRNOTAVAIL;
	case NLE_PERM:
	case NLE_NOACCESS:
		return -EPERM;
	case NLE_BUSY:
		return -EBUSY;
	case NLE_INVAL:
		return -EINVAL;
	case NLE_RANGE:
		return -ERANGE;
	case NLE_AGAIN:
		return -EAGAIN;
	case NLE_INTR:
		return -EINTR;
	case NLE_OPNOTSUPP:
		return -EOPNOTSUPP;
	case NLE_AF_NOSUPPORT:
		return -EAFNOSUPPORT;
	case NLE_DUMP_INTR:
		return -EAGAIN;
	default:
		return -EIO;
	}
}

int rt_fail(struct err *e, int nle, const char *fmt, ...)
{
	int code = nle_to_errno(nle);
	char what[128];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	return err_set(e, code, "%s: %s", what, nl_geterror(nle));
}

static int connect_here(void *arg, struct err *e)
{
	struct rt *rt = arg;
	int r = nl_connect(rt->sk, NETLINK_ROUTE);

	if (r < 0)
		return rt_fail(e, r, "open a netlink socket");
	return 0;
}

int rt_open(int nsfd, struct rt **ret, struct err *e)
{
	auto_ptr(rt) rt = calloc(1, sizeof(*rt));
	int r;

	if (!rt)
		return err_set(e, -ENOMEM, "out of memory");
	rt->sk = nl_socket_alloc();
	if (!rt->sk)
		return err_set(e, -ENOMEM, "out of memory");
	r = ns_call(nsfd, connect_here, rt, e);
	if (r < 0)
		return r;
	*ret = take_ptr(rt);
	return 0;
}

void rt_close(struct rt *rt)
{
	if (!rt)
		return;
	if (rt->sk)
		nl_socket_free(rt->sk);
	free(rt);
}

struct nl_addr *rt_in_addr(struct in_addr addr, int prefix)
{
	struct nl_addr *a = nl_addr_build(AF_INET, &addr, sizeof(addr));

	if (a)
		nl_addr_set_prefixlen(a, prefix);
	return a;
}

int rt_addr_add(struct rt *rt, int ifindex, struct in_addr addr, int prefix,
		struct err *e)
{
	struct nl_addr *local = rt_in_addr(addr, prefix);
	struct rtnl_addr *a = rtnl_addr_alloc();
	int r = -NLE_NOMEM;

	if (local && a) {
		rtnl_addr_set_ifindex(a, ifindex);
		r = rtnl_addr_set_local(a, local);
		if (r == 0)
			r = rtnl_addr_add(rt->sk, a,
					  NLM_F_CREATE | NLM_F_REPLACE);
	}
	if (a)
		rtnl_addr_put(a);
	nl_addr_put(local);
	if (r < 0)
		return rt_fail(e, r, "add an address to link %d", ifindex);
	return 0;
}

static int route_fill(struct rtnl_route *r4, struct rtnl_nexthop *nh,
		      int ifindex, const struct rt_route *route)
{
	struct nl_addr *dst = rt_in_addr(route->dst, route->prefix);
	struct nl_addr *via = rt_in_addr(route->via, 32);
	struct nl_addr *src = rt_in_addr(route->src, 32);
	int r = -NLE_NOMEM;

	if (dst && via && src) {
		rtnl_route_set_family(r4, AF_INET);
		rtnl_route_set_table(r4, RT_TABLE_MAIN);
		rtnl_route_set_protocol(r4, RTPROT_STATIC);
		rtnl_route_set_scope(r4, route->via.s_addr ? RT_SCOPE_UNIVERSE
							   : RT_SCOPE_LINK);
		rtnl_route_nh_set_ifindex(nh, ifindex);
		if (route->via.s_addr)
			rtnl_route_nh_set_gateway(nh, via);
		if (route->onlink)
			rtnl_route_nh_set_flags(nh, RTNH_F_ONLINK);
		r = rtnl_route_set_dst(r4, dst);
		if (r == 0 && route->src.s_addr)
			r = rtnl_route_set_pref_src(r4, src);
		if (r == 0 && route->mtu)
			r = rtnl_route_set_metric(r4, RTAX_MTU, route->mtu);
	}
	nl_addr_put(dst);
	nl_addr_put(via);
	nl_addr_put(src);
	return r;
}

int rt_route_add(struct rt *rt, int ifindex, const struct rt_route *route,
		 struct err *e)
{
	struct rtnl_route *r4 = rtnl_route_alloc();
	struct rtnl_nexthop *nh = rtnl_route_nh_alloc();
	int r = -NLE_NOMEM;

	if (r4 && nh) {
		r = route_fill(r4, nh, ifindex, route);
		rtnl_route_add_nexthop(r4, nh);
		nh = NULL; /* the route's now */
	}
	if (r == 0)
		r = rtnl_route_add(rt->sk, r4, NLM_F_CREATE | NLM_F_REPLACE);
	if (nh)
		rtnl_route_nh_free(nh);
	if (r4)
		rtnl_route_put(r4);
	if (r < 0)
		return rt_fail(e, r, "add a route to link %d", ifindex);
	return 0;
}

int rt_neigh_add(struct rt *rt, int ifindex, struct in_addr addr,
		 const uint8_t mac[6], struct err *e)
{
	struct nl_addr *dst = rt_in_addr(addr, 32);
	struct nl_addr *lladdr = nl_addr_build(AF_LLC, mac, 6);
	struct rtnl_neigh *n = rtnl_neigh_alloc();
	int r = -NLE_NOMEM;

	if (dst && lladdr && n) {
		rtnl_neigh_set_ifindex(n, ifindex);
		rtnl_neigh_set_family(n, AF_INET);
		rtnl_neigh_set_state(n, NUD_PERMANENT);
		rtnl_neigh_set_lladdr(n, lladdr);
		r = rtnl_neigh_set_dst(n, dst);
		if (r == 0)
			r = rtnl_neigh_add(rt->sk, n,
					   NLM_F_CREATE | NLM_F_REPLACE);
	}
	if (n)
		rtnl_neigh_put(n);
	nl_addr_put(dst);
	nl_addr_put(lladdr);
	if (r < 0)
		return rt_fail(e, r, "add a neighbour to link %d", ifindex);
	return 0;
}

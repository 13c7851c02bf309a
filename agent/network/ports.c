// SPDX-License-Identifier: Apache-2.0
/*
 * Ports of the host that lead to pods. Networks may have the same CIDR, so a
 * pod's address says nothing on the host: a packet for the host's port is first
 * translated to the network's gateway, its end of the pair of egress.c, and
 * there to the pod. The pod sees the client's address and answers it; of a
 * network without egress only such pods may send outside at all, and their
 * gateway lets nothing pass but what belongs to a connection from there.
 *
 * To the gateway, a port keeps its number unless another pod of the network has
 * the same of another address of the host. Which one it is, is written down:
 * rules of the host and of a gateway are never set at once, and after a restart
 * of the agent neither may mean another pod than the other.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <stdlib.h>
#include <string.h>

#include "agent/network/internal.h"
#include "lib/auto.h"
#include "lib/buf.h"
#include "lib/err.h"
#include "lib/str.h"
#include "netns/netns.h"

#define VIA_FIRST 1024

/* --- who has which; with mgr->lock held ----------------------------------- */

static bool via_is_used(struct network_mgr *mgr, const struct lease *lease,
			const struct lease_port *mine, size_t nr_mine,
			const struct lease_port *p)
{
	struct map_iter it = MAP_ITER_INIT;

	for (size_t i = 0; i < nr_mine; i++)
		if (mine[i].p.protocol == p->p.protocol &&
		    mine[i].via == p->via)
			return true;
	while (map_next(&mgr->leases, &it)) {
		const struct lease *other = it.value;

		if (other == lease || other->net != lease->net)
			continue;
		for (size_t i = 0; i < other->nr_ports; i++)
			if (other->ports[i].p.protocol == p->p.protocol &&
			    other->ports[i].via == p->via)
				return true;
	}
	return false;
}

static int choose_via(struct network_mgr *mgr, const struct lease *lease,
		      const struct lease_port *mine, size_t nr_mine,
		      struct lease_port *p, struct err *e)
{
	p->via = p->p.host_port;
	if (!via_is_used(mgr, lease, mine, nr_mine, p))
		return 0;
	for (uint32_t via = VIA_FIRST; via <= UINT16_MAX; via++) {
		p->via = (uint16_t)via;
		if (!via_is_used(mgr, lease, mine, nr_mine, p))
			return 0;
	}
	return err_set(e, -ENOSPC, "network %s/%s has no port left",
		       lease->net->tenant, lease->net->name);
}

static int check_free(struct network_mgr *mgr, const struct lease *lease,
		      const struct network_port *p, struct err *e)
{
	struct map_iter it = MAP_ITER_INIT;
	char name[LEASE_PORT_TEXT];

	while (map_next(&mgr->leases, &it)) {
		const struct lease *other = it.value;

		for (size_t i = 0; other != lease && i < other->nr_ports; i++)
			if (network_ports_collide(&other->ports[i].p, p))
				return err_set(
					e, -EADDRINUSE,
					"port %s of the host belongs to pod %s",
					network_port_format(p, name),
					other->uid);
	}
	return 0;
}

static bool has_same(const struct lease *lease,
		     const struct network_port *ports, size_t nr)
{
	if (lease->nr_ports != nr)
		return false;
	for (size_t i = 0; i < nr; i++) {
		const struct network_port *p = &lease->ports[i].p;

		if (p->protocol != ports[i].protocol ||
		    p->host_ip.s_addr != ports[i].host_ip.s_addr ||
		    p->host_port != ports[i].host_port ||
		    p->port != ports[i].port)
			return false;
	}
	return true;
}

/* Of an array that replaces @lease's. */
static void set_ports(struct lease *lease, struct lease_port *ports, size_t nr)
{
	lease->net->nr_ingress += nr > 0;
	lease->net->nr_ingress -= lease->nr_ports > 0 && !lease->ports_off;
	free(lease->ports);
	lease->ports = ports;
	lease->nr_ports = nr;
	lease->ports_off = false;
}

static int take(struct network_mgr *mgr, struct lease *lease,
		const struct network_port *ports, size_t nr, struct err *e)
{
	auto_free struct lease_port *mine = calloc(nr + 1, sizeof(*mine));
	int r = mine ? 0 : err_set(e, -ENOMEM, "out of memory");

	for (size_t i = 0; r == 0 && i < nr; i++) {
		mine[i].p = ports[i];
		r = check_free(mgr, lease, &ports[i], e);
		if (r == 0)
			r = choose_via(mgr, lease, mine, i, &mine[i], e);
	}
	if (r == 0)
		set_ports(lease, take_ptr(mine), nr);
	return r;
}

int ports_load(struct lease *lease, const char *text)
{
	auto_free struct lease_port *ports =
		calloc(NETWORK_PORTS_MAX, sizeof(*ports));
	int nr = ports ? lease_ports_parse(text, ports) : -ENOMEM;

	if (nr < 0)
		return nr;
	set_ports(lease, take_ptr(ports), (size_t)nr);
	return 0;
}

/* --- rules ---------------------------------------------------------------- */

/* @last: what was set last; NULL when that is not known. */
static int set_rules(int nsfd, char **last, const struct buf *rules,
		     struct err *e)
{
	auto_free char *text =
		strndup(rules->data ? rules->data : "", rules->len);
	int r;

	if (!text)
		return err_set(e, -ENOMEM, "out of memory");
	if (*last && str_eq(*last, text))
		return 0;
	r = egress_nft(nsfd, text, e);
	if (r < 0)
		return r;
	free(*last);
	*last = take_ptr(text);
	return 0;
}

static int set_host(struct network_mgr *mgr, struct err *e)
{
	auto_buf struct buf any = BUF_INIT;
	auto_buf struct buf one = BUF_INIT;
	auto_buf struct buf rules = BUF_INIT;
	struct map_iter it = MAP_ITER_INIT;
	int r;

	pthread_mutex_lock(&mgr->host_lock);
	pthread_mutex_lock(&mgr->lock);
	while (map_next(&mgr->leases, &it)) {
		const struct lease *l = it.value;

		for (size_t i = 0; !l->ports_off && i < l->nr_ports; i++)
			ports_host_element(&l->ports[i],
					   egress_gateway_ip(l->net), &any,
					   &one);
	}
	pthread_mutex_unlock(&mgr->lock);
	r = ports_host_rules(&any, &one, &rules);
	if (r == 0 && (buf_error(&any) < 0 || buf_error(&one) < 0))
		r = -ENOMEM;
	r = r < 0 ? err_set(e, -ENOMEM, "out of memory")
		  : set_rules(NS_OWN, &mgr->ports_rules, &rules, e);
	pthread_mutex_unlock(&mgr->host_lock);
	return r;
}

int ports_gateway(struct network_mgr *mgr, struct net *net, int gateway_ns,
		  struct err *e)
{
	auto_buf struct buf elements = BUF_INIT;
	auto_buf struct buf rules = BUF_INIT;
	struct map_iter it = MAP_ITER_INIT;

	pthread_mutex_lock(&mgr->lock);
	while (map_next(&mgr->leases, &it)) {
		const struct lease *l = it.value;

		for (size_t i = 0;
		     l->net == net && !l->ports_off && i < l->nr_ports; i++)
			ports_gateway_element(&l->ports[i], l->ip, &elements);
	}
	pthread_mutex_unlock(&mgr->lock);
	if (ports_gateway_rules(&elements, net->ipam.base, net->prefix,
				&rules) < 0 ||
	    buf_error(&elements) < 0)
		return err_set(e, -ENOMEM, "out of memory");
	return set_rules(gateway_ns, &net->ports_rules, &rules, e);
}

static int open_gateway(struct network_mgr *mgr, const struct net *net,
			int *ret, struct err *e)
{
	auto_free char *path = gateway_ns_path(mgr, net->net_id);

	if (!path)
		return err_set(e, -ENOMEM, "out of memory");
	return ns_open(path, ret, e);
}

static int set_gateway(struct network_mgr *mgr, struct net *net, int ns,
		       struct err *e)
{
	int r;

	pthread_mutex_lock(&net->up_lock);
	r = ports_gateway(mgr, net, ns, e);
	pthread_mutex_unlock(&net->up_lock);
	return r;
}

int ports_host_settle(struct network_mgr *mgr, struct err *e)
{
	struct map_iter it = MAP_ITER_INIT;
	bool any = false;

	pthread_mutex_lock(&mgr->lock);
	while (map_next(&mgr->leases, &it))
		any |= ((const struct lease *)it.value)->nr_ports > 0;
	pthread_mutex_unlock(&mgr->lock);
	return any ? set_host(mgr, e) : 0;
}

int ports_host_undo(struct network_mgr *mgr, struct err *e)
{
	const struct buf none = BUF_INIT;
	auto_buf struct buf rules = BUF_INIT;

	if (ports_host_rules(&none, &none, &rules) < 0)
		return err_set(e, -ENOMEM, "out of memory");
	free(take_ptr(mgr->ports_rules));
	return set_rules(NS_OWN, &mgr->ports_rules, &rules, e);
}

/* --- connections ---------------------------------------------------------- */

/* What was translated to an address and one of the ports. */
struct ended {
	const struct lease *lease;
	uint32_t host; /* host byte order: answers come from there, */
	bool via;      /* and from these ports */
};

static bool has_ended(const struct ns_flow *f, void *arg)
{
	const struct ended *d = arg;

	if (f->answered.src.s_addr != htonl(d->host))
		return false;
	for (size_t i = 0; i < d->lease->nr_ports; i++) {
		const struct lease_port *p = &d->lease->ports[i];

		if (f->protocol == p->p.protocol &&
		    f->answered.src_port == (d->via ? p->via : p->p.port) &&
		    f->asked.dst_port == (d->via ? p->p.host_port : p->via))
			return true;
	}
	return false;
}

/* What nobody had the port for before, and was answered so: a client that goes
 * on sending from the same port would never be looked at again. */
struct begun {
	const struct lease *lease;
	struct ifaddrs *local;
};

static bool is_local(const struct begun *b, struct in_addr ip)
{
	if ((ntohl(ip.s_addr) >> 24) == IN_LOOPBACKNET)
		return true;
	for (const struct ifaddrs *a = b->local; a; a = a->ifa_next) {
		const struct sockaddr_in *sin = (const void *)a->ifa_addr;

		if (sin && sin->sin_family == AF_INET &&
		    sin->sin_addr.s_addr == ip.s_addr)
			return true;
	}
	return false;
}

static bool was_refused(const struct ns_flow *f, void *arg)
{
	const struct begun *b = arg;

	if (f->protocol != IPPROTO_UDP ||
	    f->asked.dst.s_addr != f->answered.src.s_addr ||
	    !is_local(b, f->asked.dst))
		return false;
	for (size_t i = 0; i < b->lease->nr_ports; i++) {
		const struct network_port *p = &b->lease->ports[i].p;

		if (p->protocol == IPPROTO_UDP &&
		    p->host_port == f->asked.dst_port &&
		    (!p->host_ip.s_addr ||
		     p->host_ip.s_addr == f->asked.dst.s_addr))
			return true;
	}
	return false;
}

static int forget_refused(const struct lease *lease, struct err *e)
{
	struct begun b = { .lease = lease };
	bool udp = false;
	int r;

	for (size_t i = 0; i < lease->nr_ports; i++)
		udp |= lease->ports[i].p.protocol == IPPROTO_UDP;
	if (!udp)
		return 0;
	if (getifaddrs(&b.local) < 0)
		return err_sys(e, "list the host's addresses");
	r = ns_flows_forget(NS_OWN, was_refused, &b, e);
	freeifaddrs(b.local);
	return r;
}

/* --- all of it ------------------------------------------------------------ */

static int rewire(struct network_mgr *mgr, const struct lease *lease,
		  struct err *e)
{
	struct wiring w;
	int r = wiring_for_pod(mgr, lease, &w, e);

	if (r == 0)
		r = wiring_apply(mgr, &w, true, NULL, NULL, e);
	wiring_clear(&w);
	return r;
}

static int publish(struct network_mgr *mgr, struct lease *lease, struct err *e)
{
	struct net *net = lease->net;
	auto_close int ns = -EBADF;
	int r = gateway_up(mgr, net, e);

	if (r == 0)
		r = rewire(mgr, lease, e);
	if (r == 0)
		r = open_gateway(mgr, net, &ns, e);
	if (r == 0)
		r = mgr_step(mgr, "ports of the gateway", e);
	if (r == 0)
		r = set_gateway(mgr, net, ns, e);
	if (r == 0)
		r = mgr_step(mgr, "ports of the host", e);
	if (r == 0)
		r = set_host(mgr, e);
	return r < 0 ? r : forget_refused(lease, e);
}

int network_ports(struct network_mgr *mgr, const char *uid,
		  const struct network_port *ports, size_t nr, struct err *e)
{
	struct lease *lease = lease_find(mgr, uid);
	bool same, ways;
	int r = 0;

	if (!lease)
		return nr ? err_set(e, -ENOENT, "pod %.64s has no endpoint",
				    uid)
			  : 0;
	if (nr > NETWORK_PORTS_MAX)
		return err_set(e, -E2BIG, "%zu ports of the host, at most %d",
			       nr, NETWORK_PORTS_MAX);
	pthread_mutex_lock(&mgr->lock);
	same = has_same(lease, ports, nr) && !lease->ports_off;
	ways = lease->net->nr_ingress > 0;
	if (!same)
		r = take(mgr, lease, ports, nr, e);
	ways = ways != (lease->net->nr_ingress > 0);
	pthread_mutex_unlock(&mgr->lock);
	if (r < 0 || (same && !nr))
		return r;
	if (ways)
		atomic_store(&lease->net->lost, true);
	r = state_ports_write(mgr, lease, e);
	if (r == 0)
		r = publish(mgr, lease, e);
	return r < 0 ? err_wrap(e, r, "ports of the host") : 0;
}

/* The way in goes with the last pod that had use for it. */
static int narrow(struct network_mgr *mgr, struct net *net, struct err *e)
{
	bool needed;

	pthread_mutex_lock(&mgr->lock);
	needed = net->nr_ingress > 0;
	pthread_mutex_unlock(&mgr->lock);
	if (needed)
		return 0;
	atomic_store(&net->lost, true);
	return gateway_up(mgr, net, e);
}

int ports_withdraw(struct network_mgr *mgr, struct lease *lease, struct err *e)
{
	struct ended at_host = { lease, egress_gateway_ip(lease->net), true };
	struct ended at_gateway = { lease, lease->ip, false };
	auto_close int ns = -EBADF;
	int r;

	if (!lease->nr_ports)
		return 0;
	pthread_mutex_lock(&mgr->lock);
	if (!lease->ports_off)
		lease->net->nr_ingress--;
	lease->ports_off = true;
	pthread_mutex_unlock(&mgr->lock);
	r = set_host(mgr, e);
	if (r == 0)
		r = open_gateway(mgr, lease->net, &ns, e);
	if (r == 0)
		r = set_gateway(mgr, lease->net, ns, e);
	if (r == 0)
		r = ns_flows_forget(NS_OWN, has_ended, &at_host, e);
	if (r == 0)
		r = ns_flows_forget(ns, has_ended, &at_gateway, e);
	if (r == -ENOENT || r == -EINVAL) /* the gateway is gone with all */
		r = 0;
	if (r == 0)
		r = narrow(mgr, lease->net, e);
	return r < 0 ? err_wrap(e, r, "ports of the host") : 0;
}

// SPDX-License-Identifier: Apache-2.0
/*
 * The way out of a network: pod -> gateway -> host -> the host's networks, each
 * as the next one's address. Between gateway and host is a veth pair with a
 * pair of link-local addresses that no other network has, so that networks with
 * the same CIDR do not meet on the host. Nothing comes in but answers, nothing
 * goes from one network's way out into another's, and nothing reaches
 * link-local addresses (a cloud's metadata, with the host's credentials).
 *
 * The same pair is the way in for ports of the host (ports.c). What comes in by
 * them was translated on the host, which no pod and nobody outside can do.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/network/internal.h"
#include "lib/auto.h"
#include "lib/buf.h"
#include "lib/err.h"
#include "lib/fs.h"
#include "lib/spawn.h"
#include "lib/str.h"
#include "netns/netns.h"

#define EGRESS_BASE   0xa9fe4000U /* 169.254.64.0/18 */
#define EGRESS_IN_POD "egress"
#define EGRESS_PREFIX LINK_PREFIX "x" /* of the host's ends */

/* Replaced as a whole, in one transaction. */
static const char host_rules[] =
	"table ip arktos {}\n"
	"delete table ip arktos\n"
	"table ip arktos {\n"
	"  chain forward {\n"
	"    type filter hook forward priority filter; policy accept;\n"
	"    oifname \"" EGRESS_PREFIX "*\" ct status dnat accept\n"
	"    iifname \"" EGRESS_PREFIX "*\" oifname \"" EGRESS_PREFIX
	"*\" drop\n"
	"    oifname \"" EGRESS_PREFIX
	"*\" ct state established,related accept\n"
	"    oifname \"" EGRESS_PREFIX "*\" drop\n"
	"    iifname \"" EGRESS_PREFIX "*\" accept\n"
	"    %s\n"
	"  }\n"
	"  chain raw {\n" /* the links route it, for ports of the host */
	"    type filter hook prerouting priority raw; policy accept;\n"
	"    iifname \"" EGRESS_PREFIX "*\" ip daddr 127.0.0.0/8 drop\n"
	"  }\n"
	"  chain postrouting {\n"
	"    type nat hook postrouting priority srcnat; policy accept;\n"
	"    ip saddr 169.254.64.0/18 oifname != \"" EGRESS_PREFIX
	"*\" masquerade\n"
	"  }\n"
	"}\n";

static const char gateway_rules[] =
	"table ip arktos {}\n"
	"delete table ip arktos\n"
	"table ip arktos {\n"
	"  chain forward {\n"
	"    type filter hook forward priority filter; policy drop;\n"
	"    ct state established,related accept\n"
	"    iifname \"" EGRESS_IN_POD "\" oifname \"" NETWORK_IFNAME_POD
	"\" ct status dnat accept\n"
	"    ip daddr 169.254.0.0/16 drop\n"
	"    %s\n"
	"  }\n"
	"  chain postrouting {\n"
	"    type nat hook postrouting priority srcnat; policy accept;\n"
	"    oifname \"" EGRESS_IN_POD "\" masquerade\n"
	"  }\n"
	"}\n";

/* Of the gateway's, where pods may begin connections. */
static const char gateway_out[] = "iifname \"" NETWORK_IFNAME_POD
				  "\" oifname \"" EGRESS_IN_POD "\" accept";

/* --- nftables ------------------------------------------------------------- */

static int run_nft(void *arg, struct err *e)
{
	char program[] = "nft", file[] = "-f", in[] = "-";
	char *const argv[] = { program, file, in, NULL };
	const char *rules = arg;
	const struct spawn_opts o = { .argv = argv };
	const struct spawn_io io = {
		.in = rules,
		.in_len = strlen(rules),
		.timeout_ms = 10000,
	};
	struct spawn_result res = SPAWN_RESULT_INIT;
	int r = spawn_run(&o, &io, &res, e);

	if (r == 0)
		r = spawn_check(&res, "nft", e);
	spawn_result_clear(&res);
	return r;
}

/* The child has the namespace of the thread that starts it. */
int egress_nft(int nsfd, const char *rules, struct err *e)
{
	auto_free char *copy = strdup(rules);
	int r;

	if (!copy)
		return err_set(e, -ENOMEM, "out of memory");
	r = ns_call(nsfd, run_nft, copy, e);
	if (r < 0)
		return err_wrap(e, r, "set nftables rules");
	return 0;
}

/* --- the host ------------------------------------------------------------- */

static char *forwarding_note(const struct network_mgr *mgr)
{
	return str_printf("%s/host-forwarding", mgr->networks_dir);
}

/* A host that did not forward must not become a router for others by ours: the
 * note says that it was off, and the rules keep it so. */
static int host_forwarding(struct network_mgr *mgr, bool *ret_was_off,
			   struct err *e)
{
	auto_free char *note = forwarding_note(mgr);
	char now[8];
	int r;

	if (!note)
		return err_set(e, -ENOMEM, "out of memory");
	r = ns_sysctl_read(NS_OWN, "ipv4/ip_forward", now, sizeof(now), e);
	if (r < 0)
		return r;
	*ret_was_off = fs_exists(AT_FDCWD, note);
	if (str_eq(now, "1"))
		return 0;
	r = fs_write_atomic(AT_FDCWD, note, "0\n", 2, 0600, e);
	if (r < 0)
		return r;
	*ret_was_off = true;
	return 0;
}

static int host_up(struct network_mgr *mgr, struct err *e)
{
	static const struct ns_sysctl on = { "ipv4/ip_forward", "1" };
	auto_free char *rules = NULL;
	bool was_off = false;
	int r;

	r = host_forwarding(mgr, &was_off, e);
	if (r < 0)
		return r;
	rules = str_printf(host_rules, was_off ? "drop" : "");
	if (!rules)
		return err_set(e, -ENOMEM, "out of memory");
	r = egress_nft(NS_OWN, rules, e);
	return r < 0 ? r : ns_sysctls(NS_OWN, &on, 1, e);
}

static int host_up_once(struct network_mgr *mgr, struct err *e)
{
	int r = 0;

	pthread_mutex_lock(&mgr->host_lock);
	if (!mgr->host_ready) {
		r = host_up(mgr, e);
		mgr->host_ready = r == 0;
	}
	pthread_mutex_unlock(&mgr->host_lock);
	return r;
}

int egress_host_undo(struct network_mgr *mgr, struct err *e)
{
	static const struct ns_sysctl off = { "ipv4/ip_forward", "0" };
	auto_free char *note = forwarding_note(mgr);
	int r;

	if (!note)
		return err_set(e, -ENOMEM, "out of memory");
	if (fs_exists(AT_FDCWD, note)) {
		r = ns_sysctls(NS_OWN, &off, 1, e);
		if (r < 0)
			return r;
		if (unlink(note) < 0)
			return err_sys(e, "remove '%s'", note);
	}
	mgr->host_ready = false;
	r = ports_host_undo(mgr, e);
	if (r < 0)
		return r;
	return egress_nft(NS_OWN,
			  "table ip arktos {}\ndelete table ip arktos\n", e);
}

/* --- one network ---------------------------------------------------------- */

void egress_ifname(uint32_t net_id, char ret[IF_NAMESIZE])
{
	snprintf(ret, IF_NAMESIZE, EGRESS_PREFIX "%06x", net_id);
}

/* Make the pair unless both ends are there and belong together. */
static int pair_up(struct rt *host, struct rt *inside, const char *ifname,
		   int gateway_ns, uint32_t mtu, struct err *e)
{
	const struct rt_veth_end a = {
		.name = ifname,
		.nsfd = NS_OWN,
		.mtu = mtu,
	};
	const struct rt_veth_end b = {
		.name = EGRESS_IN_POD,
		.nsfd = gateway_ns,
		.mtu = mtu,
	};
	struct rt_link x, y;
	int r = rt_link_find(host, ifname, &x, NULL);

	if (r == 0 && rt_link_find(inside, EGRESS_IN_POD, &y, NULL) == 0 &&
	    x.peer_ifindex == y.ifindex && y.peer_ifindex == x.ifindex)
		return 0;
	r = rt_link_del(host, ifname, e);
	return r < 0 ? r : rt_veth_add(host, &a, &b, e);
}

static int end_up(struct rt *rt, const char *ifname, uint32_t ip,
		  struct rt_link *ret, struct err *e)
{
	const struct rt_link_change up = { .up = 1, .alias = "arktos egress" };
	int r = rt_link_find(rt, ifname, ret, e);

	if (r == 0)
		r = rt_addr_add(rt, ret->ifindex, (struct in_addr){ htonl(ip) },
				31, e);
	if (r == 0)
		r = rt_link_set(rt, ret->ifindex, &up, e);
	return r;
}

/* What the host's own programs send to a port of its loopback goes out of this
 * link, and the answers come in by it. */
static int quiet(const char *ifname, bool in, struct err *e)
{
	char name[64], loopback[64];
	const struct ns_sysctl sysctls[] = { { name, "1" },
					     { loopback, in ? "1" : "0" } };

	snprintf(name, sizeof(name), "-ipv6/conf/%s/disable_ipv6", ifname);
	snprintf(loopback, sizeof(loopback), "ipv4/conf/%s/route_localnet",
		 ifname);
	return ns_sysctls(NS_OWN, sysctls, ARRAY_LEN(sysctls), e);
}

uint32_t egress_host_ip(const struct net *net)
{
	return EGRESS_BASE + 2 * net->egress_slot;
}

uint32_t egress_gateway_ip(const struct net *net)
{
	return egress_host_ip(net) + 1;
}

static int set_gateway_rules(int gateway_ns, bool out, struct err *e)
{
	auto_free char *rules =
		str_printf(gateway_rules, out ? gateway_out : "");

	if (!rules)
		return err_set(e, -ENOMEM, "out of memory");
	return egress_nft(gateway_ns, rules, e);
}

int egress_up(struct network_mgr *mgr, const struct net *net, int gateway_ns,
	      const struct egress_ways *ways, struct err *e)
{
	static const struct ns_sysctl forward = { "ipv4/ip_forward", "1" };
	const uint32_t ip = egress_host_ip(net);
	const struct rt_route out = { .via.s_addr = htonl(ip) };
	auto_ptr(rt) host = NULL;
	auto_ptr(rt) inside = NULL;
	char ifname[IF_NAMESIZE];
	struct rt_link end;
	int r;

	egress_ifname(net->net_id, ifname);
	r = host_up_once(mgr, e);
	if (r == 0)
		r = rt_open(NS_OWN, &host, e);
	if (r == 0)
		r = rt_open(gateway_ns, &inside, e);
	if (r == 0) /* the gateway's rules are there before it forwards */
		r = set_gateway_rules(gateway_ns, ways->out, e);
	if (r == 0)
		r = pair_up(host, inside, ifname, gateway_ns, net->mtu, e);
	if (r == 0)
		r = quiet(ifname, ways->in, e);
	if (r == 0)
		r = end_up(host, ifname, ip, &end, e);
	if (r == 0)
		r = end_up(inside, EGRESS_IN_POD, egress_gateway_ip(net), &end,
			   e);
	if (r == 0)
		r = ns_link_settle(NS_OWN, ifname, e);
	if (r == 0)
		r = rt_route_add(inside, end.ifindex, &out, e);
	if (r == 0)
		r = ns_sysctls(gateway_ns, &forward, 1, e);
	return r;
}

int egress_down(uint32_t net_id, int gateway_ns, struct err *e)
{
	static const struct ns_sysctl off = { "ipv4/ip_forward", "0" };
	auto_ptr(rt) host = NULL;
	char ifname[IF_NAMESIZE];
	int r;

	egress_ifname(net_id, ifname);
	r = ns_sysctls(gateway_ns, &off, 1, e);
	if (r == 0)
		r = rt_open(NS_OWN, &host, e);
	if (r == 0)
		r = rt_link_del(host, ifname, e);
	return r;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* What is outside of the host, for tests of the way out and of the way in. */
#ifndef SELFTESTS_AGENT_NETWORK_OUTSIDE_H
#define SELFTESTS_AGENT_NETWORK_OUTSIDE_H

#include "selftests/agent/network/lab.h"

/* A neighbour of the host, 192.0.2.2, the host being 192.0.2.1 there; neither
 * has a default route. */
static int outside = -1;
static const struct in_addr host_ip = { 0x010200c0 };
static const struct in_addr outside_ip = { 0x020200c0 };

static inline int end_up(struct rt *rt, const char *name, struct in_addr ip)
{
	struct rt_link link;
	int r = rt_link_find(rt, name, &link, &lab_err);

	if (r == 0)
		r = rt_addr_add(rt, link.ifindex, ip, 24, &lab_err);
	if (r == 0)
		r = rt_link_set(rt, link.ifindex,
				&(struct rt_link_change){ .up = 1 }, &lab_err);
	return r;
}

static inline int outside_start(void)
{
	struct rt_veth_end a = { .name = "uplink", .nsfd = NS_OWN };
	struct rt_veth_end b = { .name = "uplink" };
	struct rt *host = NULL, *there = NULL;
	int r = ns_create(NULL, &outside, &lab_err);

	b.nsfd = outside;
	if (r == 0)
		r = rt_open(NS_OWN, &host, &lab_err);
	if (r == 0)
		r = rt_open(outside, &there, &lab_err);
	if (r == 0)
		r = rt_veth_add(host, &a, &b, &lab_err);
	if (r == 0)
		r = end_up(there, "uplink", outside_ip);
	if (r == 0)
		r = end_up(host, "uplink", host_ip);
	if (r == 0)
		r = ns_link_settle(outside, "uplink", &lab_err);
	rt_close(host);
	rt_close(there);
	return r;
}

#endif /* SELFTESTS_AGENT_NETWORK_OUTSIDE_H */

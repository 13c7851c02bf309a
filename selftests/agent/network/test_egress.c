// SPDX-License-Identifier: Apache-2.0
/* The way out: to the host's networks as the host, and nothing in but answers.
 * LANE: both
 * SECONDS: 120 */
#include <sys/stat.h>

#include "selftests/agent/network/outside.h"

static int attach(struct lab *l, const char *tenant, struct endpoint *ep)
{
	return network_attach(l->mgr, tenant, "net", tenant, NETWORK_CONTAINER,
			      NULL, ep, &lab_err);
}

/* Connect from a pod to the outside; what it is seen as there. */
static struct in_addr seen_as(int nsfd)
{
	int listener = tcp_listen(outside, outside_ip, 80), fd = -1, there;
	struct sockaddr_in from = { 0 };
	socklen_t len = sizeof(from);

	if (listener >= 0 &&
	    ns_socket(nsfd, AF_INET, SOCK_STREAM, 0, &fd, &lab_err) == 0 &&
	    tcp_connect(fd, outside_ip, 80) == 0) {
		there = accept(listener, (void *)&from, &len);
		if (there >= 0)
			close(there);
	}
	if (fd >= 0)
		close(fd);
	if (listener >= 0)
		close(listener);
	return from.sin_addr;
}

TEST(networks_with_one_cidr_get_out_as_the_host)
{
	struct endpoint red = ENDPOINT_INIT, blue = ENDPOINT_INIT;
	struct endpoint_stats stats;
	struct lab l = { 0 };

	NEED_ROOT();
	OK(lab_start(&l));
	OK(outside_start());
	OK(network_define_option(l.mgr, "red/net=10.5.0.0/24,egress=snat",
				 &lab_err));
	OK(network_define_option(l.mgr, "blue/net=10.5.0.0/24,egress=snat",
				 &lab_err));
	OK(attach(&l, "red", &red));
	OK(attach(&l, "blue", &blue));
	EXPECT_EQ(red.ip.s_addr, blue.ip.s_addr);
	EXPECT_EQ(seen_as(red.netns_fd).s_addr, host_ip.s_addr);
	EXPECT_EQ(seen_as(blue.netns_fd).s_addr, host_ip.s_addr);
	EXPECT_EQ(ping_once(red.netns_fd, outside_ip), true);
	EXPECT_EQ(ping_once(blue.netns_fd, outside_ip), true);
	EXPECT_EQ(tcp_bulk(red.netns_fd, outside, outside_ip, 8 << 20), true);
	OK(network_stats(l.mgr, "red", &stats, &lab_err));
	EXPECT_EQ(stats.drops[DP_DROP_NO_EGRESS], 0);

	/* The other network's way out is no way in. */
	EXPECT_EQ(ping_once(red.netns_fd,
			    (struct in_addr){ htonl(0xa9fe4003) }),
		  false);
	endpoint_clear(&red);
	endpoint_clear(&blue);
	network_close(l.mgr);
}

TEST(a_network_is_closed_unless_asked_for_and_can_be_closed_again)
{
	struct endpoint red = ENDPOINT_INIT;
	struct endpoint_stats stats;
	struct lab l = { 0 };
	char value[8];

	NEED_ROOT();
	OK(lab_start(&l));
	OK(outside_start());
	OK(network_define_option(l.mgr, "red/net=10.5.0.0/24", &lab_err));
	OK(attach(&l, "red", &red));
	EXPECT_EQ(ping_once(red.netns_fd, outside_ip), false);
	OK(network_stats(l.mgr, "red", &stats, &lab_err));
	EXPECT_EQ(stats.drops[DP_DROP_NO_EGRESS], 1);
	OK(ns_sysctl_read(NS_OWN, "ipv4/ip_forward", value, sizeof(value),
			  &lab_err));
	EXPECT_STREQ(value, "0");

	OK(network_define_option(l.mgr, "red/net=10.5.0.0/24,egress=snat",
				 &lab_err));
	EXPECT_EQ(ping_once(red.netns_fd, outside_ip), true);
	OK(lab_restart(&l));
	EXPECT_EQ(ping_once(red.netns_fd, outside_ip), true);
	OK(network_define_option(l.mgr, "red/net=10.5.0.0/24", &lab_err));
	EXPECT_EQ(ping_once(red.netns_fd, outside_ip), false);
	OK(network_define_option(l.mgr, "red/net=10.5.0.0/24,egress=snat",
				 &lab_err));
	EXPECT_EQ(ping_once(red.netns_fd, outside_ip), true);

	endpoint_clear(&red);
	OK(network_destroy_all(l.mgr, &lab_err));
	OK(ns_sysctl_read(NS_OWN, "ipv4/ip_forward", value, sizeof(value),
			  &lab_err));
	EXPECT_STREQ(value, "0");
	EXPECT_EQ(system("test -z \"$(nft list ruleset)\""), 0);
	EXPECT_EQ(access("state/networks/host-forwarding", F_OK), -1);
	network_close(l.mgr);
}

TEST(nobody_gets_in_and_the_host_routes_for_nobody_else)
{
	struct rt_veth_end a = { .name = "second", .nsfd = NS_OWN };
	struct rt_veth_end b = { .name = "second" };
	const struct in_addr second_host = { htonl(0xc6336401) };
	const struct in_addr second_ip = { htonl(0xc6336402) };
	struct endpoint red = ENDPOINT_INIT;
	struct rt *rt = NULL;
	struct rt_link up;
	struct lab l = { 0 };
	int second = -1;

	NEED_ROOT();
	OK(lab_start(&l));
	OK(outside_start());
	OK(network_define_option(l.mgr, "red/net=10.5.0.0/24,egress=snat",
				 &lab_err));
	OK(attach(&l, "red", &red));
	EXPECT_EQ(ping_once(red.netns_fd, outside_ip), true);

	/* The outside knows where 10.5.0.0/24 and the ways out would be. */
	OK(rt_open(outside, &rt, &lab_err));
	OK(rt_link_find(rt, "uplink", &up, &lab_err));
	OK(rt_route_add(rt, up.ifindex, &(struct rt_route){ .via = host_ip },
			&lab_err));
	rt_close(rt);
	EXPECT_EQ(ping_once(outside, host_ip), true);
	EXPECT_EQ(ping_once(outside, red.ip), false);
	EXPECT_EQ(ping_once(outside, (struct in_addr){ htonl(0xa9fe4001) }),
		  false);

	/* A second neighbour: the host did not forward, and does not now. */
	OK(ns_create(NULL, &second, &lab_err));
	b.nsfd = second;
	OK(rt_open(NS_OWN, &rt, &lab_err));
	OK(rt_veth_add(rt, &a, &b, &lab_err));
	OK(end_up(rt, "second", second_host));
	rt_close(rt);
	OK(rt_open(second, &rt, &lab_err));
	OK(end_up(rt, "second", second_ip));
	OK(ns_link_settle(NS_OWN, "second", &lab_err));
	OK(rt_link_find(rt, "second", &up, &lab_err));
	OK(rt_route_add(rt, up.ifindex,
			&(struct rt_route){ .via = second_host }, &lab_err));
	rt_close(rt);
	EXPECT_EQ(ping_once(second, second_host), true);
	EXPECT_EQ(ping_once(second, outside_ip), false);
	EXPECT_EQ(ping_once(red.netns_fd, second_ip), true);
	close(second);
	endpoint_clear(&red);
	network_close(l.mgr);
}

TEST_MAIN()

// SPDX-License-Identifier: Apache-2.0
/* Endpoints that live: what reaches whom.
 * LANE: both
 * SECONDS: 240 */
#include "selftests/agent/network/lab.h"

#define TENANT "demo"

static int attach(struct lab *l, const char *uid, struct endpoint *ep)
{
	return network_attach(l->mgr, TENANT, "default", uid, NETWORK_CONTAINER,
			      NULL, ep, &lab_err);
}

TEST(two_pods_of_a_network_reach_each_other_and_the_gateway)
{
	struct endpoint a = ENDPOINT_INIT, b = ENDPOINT_INIT;
	struct endpoint_stats stats;
	struct lab l = { 0 };

	NEED_ROOT();
	OK(lab_start(&l));
	OK(attach(&l, "pod-a", &a));
	OK(attach(&l, "pod-b", &b));
	EXPECT_STREQ(inet_ntoa(a.ip), "10.88.0.2");
	EXPECT_STREQ(inet_ntoa(b.ip), "10.88.0.3");
	EXPECT_EQ(ping_once(a.netns_fd, b.ip), true);
	EXPECT_EQ(ping_once(b.netns_fd, a.ip), true);
	EXPECT_EQ(ping_once(a.netns_fd, a.gateway), true);
	OK(network_stats(l.mgr, "pod-a", &stats, &lab_err));
	EXPECT_GE(stats.tx_packets, 3);
	EXPECT_GE(stats.rx_packets, 3);
	for (int i = 0; i < DP_DROP_NR; i++)
		EXPECT_EQ(stats.drops[i], 0);
	endpoint_clear(&a);
	endpoint_clear(&b);
	network_close(l.mgr);
}

TEST_MAIN()

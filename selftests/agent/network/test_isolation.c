// SPDX-License-Identifier: Apache-2.0
/* Two networks with the same CIDR and pods with the same addresses: whatever
 * one side puts on its link, the other sees nothing of it.
 * LANE: both
 * SECONDS: 240 */
#include "selftests/agent/network/lab.h"

#define FRAMES 120000
#define PODS   3 /* two containers and a VM on each side */

struct side {
	const char *tenant;
	struct endpoint ep[PODS];
	int fd[PODS]; /* frames on the pod's link: packet socket or tap */
};

static int side_start(struct lab *l, struct side *s)
{
	char uid[32];
	int r;

	r = network_define(l->mgr,
			   &(struct network_spec){ .tenant = s->tenant,
						   .name = "net",
						   .cidr = "10.5.0.0/24" },
			   &lab_err);
	for (int i = 0; r == 0 && i < PODS; i++) {
		s->ep[i] = (struct endpoint)ENDPOINT_INIT;
		snprintf(uid, sizeof(uid), "%s-%d", s->tenant, i);
		r = network_attach(l->mgr, s->tenant, "net", uid,
				   i == PODS - 1 ? NETWORK_VM
						 : NETWORK_CONTAINER,
				   NULL, &s->ep[i], &lab_err);
		if (r == 0)
			s->fd[i] = s->ep[i].tap_fd >= 0
					   ? s->ep[i].tap_fd
					   : frame_fd(s->ep[i].netns_fd);
	}
	return r;
}

/* Frames that its pods' programs have judged. */
static uint64_t judged(struct lab *l, struct side *s)
{
	struct endpoint_stats stats;
	uint64_t sum = 0;
	char uid[32];

	for (int i = 0; i < PODS; i++) {
		snprintf(uid, sizeof(uid), "%s-%d", s->tenant, i);
		if (network_stats(l->mgr, uid, &stats, &lab_err) < 0)
			return 0;
		sum += stats.tx_packets;
		for (int k = 0; k < DP_DROP_NR; k++)
			sum += stats.drops[k];
	}
	return sum;
}

static uint64_t rx_packets(struct lab *l, struct side *s)
{
	struct endpoint_stats stats;
	uint64_t sum = 0;
	char uid[32];

	for (int i = 0; i < PODS; i++) {
		snprintf(uid, sizeof(uid), "%s-%d", s->tenant, i);
		if (network_stats(l->mgr, uid, &stats, &lab_err) == 0)
			sum += stats.rx_packets + stats.tx_packets;
	}
	return sum;
}

/* xorshift: the same frames in every run. */
static uint64_t seed = 88172645463325252ULL;

static uint32_t rnd(uint32_t below)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (uint32_t)(seed >> 11) % below;
}

/* A frame that is nearly right: addresses of either side's pods, then a few
 * bytes, the length, or the type changed. */
static size_t mutant(const struct side *from, int pod, uint8_t out[1600])
{
	static const uint16_t types[] = { ETH_P_IP,    ETH_P_ARP,    ETH_P_IPV6,
					  ETH_P_8021Q, ETH_P_8021AD, 0x88e7 };
	const struct endpoint *to = &from->ep[rnd(PODS)];
	struct frame f = frame_ping(&from->ep[pod], to->ip);
	size_t len = sizeof(f) + (rnd(4) ? 0 : rnd(1400));

	if (!rnd(3))
		memcpy(f.eth.h_source, to->mac, 6);
	if (!rnd(3))
		memcpy(f.eth.h_dest, to->mac, 6);
	if (!rnd(8))
		memset(f.eth.h_dest, 0xff, 6);
	if (!rnd(4))
		f.ip.saddr = to->ip.s_addr;
	if (!rnd(4))
		f.ip.daddr = htonl(0x0a050000 + rnd(256));
	if (!rnd(6))
		f.ip.frag_off = htons((uint16_t)rnd(65536));
	if (!rnd(6))
		f.eth.h_proto = htons(types[rnd(6)]);
	f.ip.tot_len = htons((uint16_t)(len - sizeof(f.eth)));
	f.ip.check = 0;
	f.ip.check = checksum(&f.ip, sizeof(f.ip));
	memset(out, (int)rnd(256), 1600);
	memcpy(out, &f, sizeof(f));
	for (uint32_t i = rnd(4); i > 0; i--)
		out[12 + rnd(sizeof(f) - 12)] = (uint8_t)rnd(256);
	if (!rnd(10))
		len = ETH_HLEN + rnd(60);
	return len;
}

static void send_one(const struct side *s, int pod)
{
	uint8_t frame[VNET_HDR + 1600] = { 0 };
	size_t len = mutant(s, pod, frame + VNET_HDR);
	bool tap = s->ep[pod].tap_fd >= 0;

	if (tap && !rnd(4)) /* what a hostile guest says of its frame */
		for (int i = 0; i < VNET_HDR; i++)
			frame[i] = (uint8_t)rnd(256);
	if (tap)
		(void)!write(s->fd[pod], frame, VNET_HDR + len);
	else
		(void)!send(s->fd[pod], frame + VNET_HDR, len, MSG_DONTWAIT);
}

static void drain(const struct side *s)
{
	uint8_t in[4096];

	for (int i = 0; i < PODS; i++)
		while (readable(s->fd[i], 0) &&
		       read(s->fd[i], in, sizeof(in)) > 0)
			;
}

static void side_stop(struct side *s)
{
	for (int i = 0; i < PODS; i++) {
		if (s->ep[i].tap_fd < 0)
			close(s->fd[i]);
		endpoint_clear(&s->ep[i]);
	}
}

TEST(nothing_crosses_between_networks_with_the_same_cidr)
{
	struct side red = { .tenant = "red" }, blue = { .tenant = "blue" };
	struct lab l = { 0 };
	uint64_t before;
	uint8_t in[4096];
	int crossed = 0;

	NEED_ROOT();
	OK(lab_start(&l));
	OK(side_start(&l, &red));
	OK(side_start(&l, &blue));
	for (int i = 0; i < PODS; i++) {
		EXPECT_EQ(red.ep[i].ip.s_addr, blue.ep[i].ip.s_addr);
		EXPECT_EQ(red.ep[i].net_id == blue.ep[i].net_id, false);
		ASSERT_GE(red.fd[i], 0);
		ASSERT_GE(blue.fd[i], 0);
	}
	EXPECT_EQ(ping_once(red.ep[0].netns_fd, red.ep[1].ip), true);
	EXPECT_EQ(ping_once(blue.ep[0].netns_fd, blue.ep[1].ip), true);
	drain(&red);
	drain(&blue);
	before = rx_packets(&l, &blue);

	for (int i = 0; i < FRAMES; i++) {
		send_one(&red, (int)rnd(PODS));
		if (i % 256 == 0)
			drain(&red);
	}
	/* What is still under way has arrived once a ping has been round. */
	EXPECT_EQ(ping_once(red.ep[0].netns_fd, red.ep[1].ip), true);
	for (int i = 0; i < PODS; i++)
		while (readable(blue.fd[i], 0) &&
		       read(blue.fd[i], in, sizeof(in)) > 0)
			crossed++;
	EXPECT_EQ(crossed, 0);
	EXPECT_EQ(rx_packets(&l, &blue), before);
	EXPECT_GE(judged(&l, &red), 100000);
	EXPECT_GE(rx_packets(&l, &red), FRAMES / 100); /* some were right */
	EXPECT_EQ(ping_once(blue.ep[0].netns_fd, blue.ep[1].ip), true);
	side_stop(&red);
	side_stop(&blue);
	network_close(l.mgr);
}

TEST_MAIN()

// SPDX-License-Identifier: Apache-2.0
/* Every verdict of from_endpoint, asked of the real verifier and the real
 * program by BPF_PROG_TEST_RUN.
 * LANE: both */
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <netinet/ip.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "bpf/dp.h"
#include "lib/err.h"
#include "selftests/harness.h"

#define LINK   1 /* lo: the program runs as if on it */
#define PEER   11
#define TAP    12
#define GW     13
#define NET    7
#define IP(d)  htonl(0x0a050000 | (d))
#define IN_LEN 200

static const uint8_t own_mac[6] = { 2, 'a', 10, 5, 0, 2 };
static const uint8_t peer_mac[6] = { 2, 'a', 10, 5, 0, 3 };
static const uint8_t tap_mac[6] = { 2, 'a', 10, 5, 0, 4 };
static const uint8_t gw_mac[6] = { 2, 'a', 10, 5, 0, 1 };

struct arp {
	struct ethhdr eth;
	uint16_t hardware, protocol;
	uint8_t hardware_len, protocol_len;
	uint16_t op;
	uint8_t sender_mac[6];
	uint32_t sender_ip;
	uint8_t target_mac[6];
	uint32_t target_ip;
} __attribute__((packed));

struct packet {
	union {
		uint8_t bytes[2048]; /* IN_LEN of it are sent */
		struct {
			struct ethhdr eth;
			struct iphdr ip;
		} __attribute__((packed));
		struct arp arp;
	};
};

static struct dp *dp;

static int add_endpoint(uint32_t ifindex, uint32_t ip, const uint8_t *mac,
			uint16_t flags)
{
	const struct dp_iface iface = { .net_id = NET, .ip = ip };
	struct dp_endpoint_key key = { NET, ip };
	struct dp_endpoint v = { .ifindex = ifindex,
				 .mtu = 1500,
				 .flags = flags };

	memcpy(v.mac, mac, 6);
	if (ifindex != LINK && dp_iface_put(dp, ifindex, &iface, NULL) < 0)
		return -EIO;
	return dp_endpoint_put(dp, &key, &v, NULL);
}

static int set_network(uint16_t flags)
{
	struct dp_network v = {
		.base = IP(0),
		.mask = htonl(0xffffff00),
		.gateway = IP(1),
		.gateway_ifindex = GW,
		.mtu = 1500,
		.flags = flags,
	};

	memcpy(v.gateway_mac, gw_mac, 6);
	return dp_network_put(dp, NET, &v, NULL);
}

static int set_iface(uint32_t ip, const uint8_t *mac, uint16_t flags)
{
	struct dp_iface v = { .net_id = NET, .ip = ip, .flags = flags };

	memcpy(v.mac, mac, 6);
	return dp_iface_put(dp, LINK, &v, NULL);
}

static int setup(struct err *e)
{
	int r;

	if (unshare(CLONE_NEWNET | CLONE_NEWNS) < 0 ||
	    mount("", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mkdir("fs", 0700) < 0 || mount("bpf", "fs", "bpf", 0, NULL) < 0)
		return err_sys(e, "set up");
	r = dp_open("fs", &dp, e);
	if (r == 0)
		r = set_iface(IP(2), own_mac, DP_VETH);
	if (r == 0)
		r = add_endpoint(LINK, IP(2), own_mac, DP_VETH);
	if (r == 0)
		r = add_endpoint(PEER, IP(3), peer_mac, DP_VETH);
	if (r == 0)
		r = add_endpoint(TAP, IP(4), tap_mac, 0);
	if (r == 0)
		r = add_endpoint(GW, IP(1), gw_mac, DP_VETH | DP_GATEWAY);
	if (r == 0)
		r = set_network(0);
	return r;
}

static struct packet ip_packet(uint32_t src, uint32_t dst)
{
	struct packet p = { 0 };

	memcpy(p.eth.h_dest, gw_mac, 6);
	memcpy(p.eth.h_source, own_mac, 6);
	p.eth.h_proto = htons(ETH_P_IP);
	p.ip.version = 4;
	p.ip.ihl = 5;
	p.ip.ttl = 64;
	p.ip.protocol = IPPROTO_UDP;
	p.ip.tot_len = htons(IN_LEN - ETH_HLEN);
	p.ip.saddr = src;
	p.ip.daddr = dst;
	return p;
}

static struct packet arp_request(uint32_t sender, uint32_t target)
{
	struct packet p = { 0 };

	memset(p.eth.h_dest, 0xff, 6);
	memcpy(p.eth.h_source, own_mac, 6);
	p.eth.h_proto = htons(ETH_P_ARP);
	p.arp.hardware = htons(1);
	p.arp.protocol = htons(ETH_P_IP);
	p.arp.hardware_len = 6;
	p.arp.protocol_len = 4;
	p.arp.op = htons(1);
	memcpy(p.arp.sender_mac, own_mac, 6);
	p.arp.sender_ip = sender;
	p.arp.target_ip = target;
	return p;
}

static struct packet out; /* what the last run made of it */

static int run_len(const void *p, size_t len)
{
	struct __sk_buff ctx = { .ifindex = LINK };
	DECLARE_LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = p,
			    .data_size_in = (uint32_t)len, .data_out = &out,
			    .data_size_out = sizeof(out), .ctx_in = &ctx,
			    .ctx_size_in = sizeof(ctx), .repeat = 1);
	int r = bpf_prog_test_run_opts(dp_program(dp), &opts);

	return r < 0 ? r : (int)opts.retval;
}

static int run(const struct packet *p)
{
	return run_len(p, IN_LEN);
}

/* @p must be dropped, and be counted for @reason, on the host and the link. */
static void drops(int *verdict_, const struct packet *p, size_t len,
		  enum dp_drop reason)
{
	struct dp_count before[DP_DROP_NR], after[DP_DROP_NR];
	struct dp_stats mine = { 0 }, later = { 0 };

	EXPECT_EQ(dp_drops_get(dp, before), 0);
	(void)dp_stats_get(dp, LINK, &mine);
	EXPECT_EQ(run_len(p, len), TC_ACT_SHOT);
	EXPECT_EQ(dp_drops_get(dp, after), 0);
	(void)dp_stats_get(dp, LINK, &later);
	for (unsigned int k = 0; k < DP_DROP_NR; k++) {
		uint64_t want = before[k].packets + (k == reason);

		if (after[k].packets != want)
			FAIL("%s: %llu drops, want %llu (for %s)",
			     dp_drop_name(k),
			     (unsigned long long)after[k].packets,
			     (unsigned long long)want, dp_drop_name(reason));
		if (reason != DP_DROP_NO_IFACE)
			EXPECT_EQ(later.drops[k],
				  mine.drops[k] + (k == reason));
	}
	EXPECT_EQ(later.traffic.tx.packets, mine.traffic.tx.packets);
}

#define START()                                          \
	struct err e = { 0 };                            \
	if (geteuid() != 0)                              \
		SKIP("needs root to load BPF programs"); \
	if (setup(&e) < 0) {                             \
		FAIL("%s", e.msg);                       \
		return;                                  \
	}

TEST(a_packet_to_a_neighbour_is_redirected_with_its_mac)
{
	struct packet p = ip_packet(IP(2), IP(3));
	struct dp_stats tx, rx;

	START();
	EXPECT_EQ(run(&p), TC_ACT_REDIRECT);
	EXPECT_EQ(memcmp(out.eth.h_dest, peer_mac, 6), 0);
	EXPECT_EQ(memcmp(out.eth.h_source, own_mac, 6), 0);
	EXPECT_EQ(memcmp(out.bytes + ETH_HLEN, p.bytes + ETH_HLEN,
			 IN_LEN - ETH_HLEN),
		  0);
	p = ip_packet(IP(2), IP(4));
	EXPECT_EQ(run(&p), TC_ACT_REDIRECT);
	EXPECT_EQ(memcmp(out.eth.h_dest, tap_mac, 6), 0);
	p = ip_packet(IP(2), IP(1));
	EXPECT_EQ(run(&p), TC_ACT_REDIRECT);
	EXPECT_EQ(memcmp(out.eth.h_dest, gw_mac, 6), 0);
	EXPECT_EQ(dp_stats_get(dp, LINK, &tx), 0);
	EXPECT_EQ(tx.traffic.tx.packets, 3);
	EXPECT_EQ(tx.traffic.tx.bytes, 3 * IN_LEN);
	EXPECT_EQ(dp_stats_get(dp, PEER, &rx), 0);
	EXPECT_EQ(rx.traffic.rx.packets, 1);
	EXPECT_EQ(rx.traffic.tx.packets, 0);
	EXPECT_EQ(dp_stats_get(dp, 99, &rx), -ENOENT);
}

/* Learnt so, the receiver's MAC need not be written into any packet. */
TEST(arp_for_an_endpoint_is_answered_with_its_mac)
{
	struct packet p = arp_request(IP(2), IP(3));

	START();
	EXPECT_EQ(run(&p), TC_ACT_REDIRECT);
	EXPECT_EQ(memcmp(out.arp.sender_mac, peer_mac, 6), 0);
	EXPECT_EQ(out.arp.sender_ip, IP(3));
	p = arp_request(IP(2), IP(4));
	EXPECT_EQ(run(&p), TC_ACT_REDIRECT);
	EXPECT_EQ(memcmp(out.arp.sender_mac, tap_mac, 6), 0);
	p = ip_packet(IP(2), IP(3));
	memcpy(p.eth.h_dest, peer_mac, 6);
	EXPECT_EQ(run(&p), TC_ACT_REDIRECT);
	EXPECT_EQ(memcmp(out.eth.h_dest, peer_mac, 6), 0);
	/* It moved since: delivered by address all the same. */
	memcpy(p.eth.h_dest, tap_mac, 6);
	EXPECT_EQ(run(&p), TC_ACT_REDIRECT);
	EXPECT_EQ(memcmp(out.eth.h_dest, peer_mac, 6), 0);
}

TEST(arp_for_others_is_answered_with_the_gateways_mac)
{
	struct packet p = arp_request(IP(2), IP(99));

	START();
	EXPECT_EQ(run(&p), TC_ACT_REDIRECT);
	EXPECT_EQ(memcmp(out.eth.h_dest, own_mac, 6), 0);
	EXPECT_EQ(memcmp(out.eth.h_source, gw_mac, 6), 0);
	EXPECT_EQ(out.arp.op, htons(2));
	EXPECT_EQ(memcmp(out.arp.sender_mac, gw_mac, 6), 0);
	EXPECT_EQ(out.arp.sender_ip, IP(99));
	EXPECT_EQ(memcmp(out.arp.target_mac, own_mac, 6), 0);
	EXPECT_EQ(out.arp.target_ip, IP(2));
}

TEST(arp_that_lies_or_asks_too_much_is_not_answered)
{
	struct packet p = arp_request(IP(3), IP(4));

	START();
	drops(verdict_, &p, IN_LEN, DP_DROP_SRC_ARP);
	p = arp_request(IP(2), IP(4));
	p.arp.sender_mac[0] ^= 2;
	drops(verdict_, &p, IN_LEN, DP_DROP_SRC_ARP);
	p = arp_request(0, IP(2)); /* is my address taken? */
	drops(verdict_, &p, IN_LEN, DP_DROP_ARP_IGNORED);
	p = arp_request(IP(2), IP(2)); /* here I am */
	drops(verdict_, &p, IN_LEN, DP_DROP_ARP_IGNORED);
	p = arp_request(IP(2), htonl(0xc0000201));
	drops(verdict_, &p, IN_LEN, DP_DROP_ARP_IGNORED);
	p = arp_request(IP(2), IP(4));
	p.arp.op = htons(2);
	drops(verdict_, &p, IN_LEN, DP_DROP_ARP_IGNORED);
	p = arp_request(IP(2), IP(4));
	p.arp.hardware_len = 8;
	drops(verdict_, &p, IN_LEN, DP_DROP_MALFORMED);
	p = arp_request(IP(2), IP(4));
	drops(verdict_, &p, sizeof(p.arp) - 1, DP_DROP_MALFORMED);
}

TEST(a_spoofed_source_is_dropped)
{
	struct packet p = ip_packet(IP(3), IP(4));

	START();
	drops(verdict_, &p, IN_LEN, DP_DROP_SRC_IP);
	p = ip_packet(0, IP(4));
	drops(verdict_, &p, IN_LEN, DP_DROP_SRC_IP);
	for (int i = 0; i < 6; i++) {
		p = ip_packet(IP(2), IP(4));
		p.eth.h_source[i] ^= 0x10;
		drops(verdict_, &p, IN_LEN, DP_DROP_SRC_MAC);
	}
}

TEST(what_is_not_ipv4_or_arp_is_dropped)
{
	struct packet p = ip_packet(IP(2), IP(3));

	START();
	p.eth.h_proto = htons(ETH_P_IPV6);
	drops(verdict_, &p, IN_LEN, DP_DROP_IPV6);
	p.eth.h_proto = htons(ETH_P_LLDP);
	drops(verdict_, &p, IN_LEN, DP_DROP_PROTOCOL);
}

TEST(a_bad_header_is_dropped)
{
	struct packet p = ip_packet(IP(2), IP(3));

	START();
	p.ip.version = 6;
	drops(verdict_, &p, IN_LEN, DP_DROP_MALFORMED);
	p = ip_packet(IP(2), IP(3));
	p.ip.ihl = 4;
	drops(verdict_, &p, IN_LEN, DP_DROP_MALFORMED);
	p = ip_packet(IP(2), IP(3));
	p.ip.tot_len = htons(19);
	drops(verdict_, &p, IN_LEN, DP_DROP_MALFORMED);
	p.ip.tot_len = htons(IN_LEN - ETH_HLEN + 1);
	drops(verdict_, &p, IN_LEN, DP_DROP_MALFORMED);
}

TEST(multicast_and_broadcast_are_dropped)
{
	struct packet p = ip_packet(IP(2), htonl(0xe0000001));

	START();
	drops(verdict_, &p, IN_LEN, DP_DROP_MULTICAST);
	p = ip_packet(IP(2), 0xffffffff);
	drops(verdict_, &p, IN_LEN, DP_DROP_MULTICAST);
	p = ip_packet(IP(2), IP(255));
	drops(verdict_, &p, IN_LEN, DP_DROP_MULTICAST);
	p = ip_packet(IP(2), IP(3));
	memset(p.eth.h_dest, 0xff, 6);
	drops(verdict_, &p, IN_LEN, DP_DROP_MULTICAST);
}

TEST(what_has_nowhere_to_go_is_dropped)
{
	struct packet p = ip_packet(IP(2), IP(77));

	START();
	drops(verdict_, &p, IN_LEN, DP_DROP_NO_ENDPOINT);
	p = ip_packet(IP(2), IP(2));
	drops(verdict_, &p, IN_LEN, DP_DROP_SELF);
	p = ip_packet(IP(2), htonl(0xc0000201));
	drops(verdict_, &p, IN_LEN, DP_DROP_NO_EGRESS);
	EXPECT_EQ(dp_network_del(dp, NET, NULL), 0);
	drops(verdict_, &p, IN_LEN, DP_DROP_NO_NETWORK);
	EXPECT_EQ(dp_iface_del(dp, LINK, NULL), 0);
	EXPECT_EQ(dp_iface_del(dp, LINK, NULL), 0);
	drops(verdict_, &p, IN_LEN, DP_DROP_NO_IFACE);
}

TEST(with_egress_the_outside_is_at_the_gateway)
{
	struct packet p = ip_packet(IP(2), htonl(0xc0000201));

	START();
	EXPECT_EQ(set_network(DP_EGRESS), 0);
	EXPECT_EQ(run(&p), TC_ACT_REDIRECT);
	EXPECT_EQ(memcmp(out.eth.h_dest, gw_mac, 6), 0);
	p = ip_packet(IP(2), IP(77));
	drops(verdict_, &p, IN_LEN, DP_DROP_NO_ENDPOINT);
}

TEST(a_gateway_may_send_from_outside_addresses_with_egress_only)
{
	struct packet p = ip_packet(htonl(0xc0000201), IP(3));

	START();
	EXPECT_EQ(set_iface(IP(2), own_mac, DP_VETH | DP_GATEWAY), 0);
	drops(verdict_, &p, IN_LEN, DP_DROP_SRC_IP);
	EXPECT_EQ(set_network(DP_EGRESS), 0);
	EXPECT_EQ(run(&p), TC_ACT_REDIRECT);
	p = ip_packet(IP(4), IP(3)); /* but not as a pod */
	drops(verdict_, &p, IN_LEN, DP_DROP_SRC_IP);
	p = ip_packet(IP(2), htonl(0xc0000201)); /* nor back out */
	drops(verdict_, &p, IN_LEN, DP_DROP_NO_EGRESS);
}

TEST(with_ports_of_the_host_an_endpoint_may_answer_the_outside)
{
	const uint32_t outside = htonl(0xc0000201);
	struct packet p = ip_packet(IP(2), outside);

	START();
	EXPECT_EQ(set_network(DP_INGRESS), 0);
	drops(verdict_, &p, IN_LEN, DP_DROP_NO_EGRESS); /* it has none */
	EXPECT_EQ(set_iface(IP(2), own_mac, DP_VETH | DP_INGRESS), 0);
	EXPECT_EQ(run(&p), TC_ACT_REDIRECT);
	EXPECT_EQ(memcmp(out.eth.h_dest, gw_mac, 6), 0);
	p = ip_packet(outside, IP(3)); /* but not as the outside */
	drops(verdict_, &p, IN_LEN, DP_DROP_SRC_IP);
	EXPECT_EQ(set_iface(IP(2), own_mac, DP_VETH | DP_GATEWAY), 0);
	EXPECT_EQ(run(&p), TC_ACT_REDIRECT);
	p = ip_packet(IP(2), outside);
	drops(verdict_, &p, IN_LEN, DP_DROP_NO_EGRESS);
}

TEST(what_the_receivers_mtu_does_not_hold_is_dropped)
{
	struct packet p = ip_packet(IP(2), IP(3));

	START();
	p.ip.tot_len = htons(1500);
	EXPECT_EQ(run_len(&p, ETH_HLEN + 1500), TC_ACT_REDIRECT);
	drops(verdict_, &p, ETH_HLEN + 1501, DP_DROP_TOO_BIG);
}

struct seen {
	int nr;
	struct dp_event last;
};

static int see(void *arg, void *data, size_t len)
{
	struct seen *s = arg;

	s->nr++;
	if (len == sizeof(s->last))
		memcpy(&s->last, data, len);
	return 0;
}

TEST(a_drop_is_an_event_but_not_every_one)
{
	struct packet p = ip_packet(IP(3), IP(4));
	struct ring_buffer *ring;
	struct seen seen = { 0 };

	START();
	ring = ring_buffer__new(dp_events_map(dp), see, &seen, NULL);
	ASSERT_EQ(ring != NULL, 1);
	for (int i = 0; i < 200; i++)
		EXPECT_EQ(run(&p), TC_ACT_SHOT);
	EXPECT_GE(ring_buffer__consume(ring), 1);
	EXPECT_GE(100, seen.nr);
	EXPECT_EQ(seen.last.reason, DP_DROP_SRC_IP);
	EXPECT_EQ(seen.last.ifindex, LINK);
	EXPECT_EQ(seen.last.net_id, NET);
	EXPECT_EQ(seen.last.len, IN_LEN);
	EXPECT_EQ(seen.last.src, IP(3));
	EXPECT_EQ(seen.last.dst, IP(4));
	EXPECT_EQ(seen.last.ethertype, htons(ETH_P_IP));
	EXPECT_EQ(seen.last.ip_protocol, IPPROTO_UDP);
	ring_buffer__free(ring);
}

TEST(every_reason_has_a_name_of_its_own)
{
	for (unsigned int i = 0; i < DP_DROP_NR; i++)
		for (unsigned int k = 0; k < i; k++)
			EXPECT_EQ(strcmp(dp_drop_name(i), dp_drop_name(k)) == 0,
				  0);
	EXPECT_STREQ(dp_drop_name(DP_DROP_SRC_MAC), "spoofed-mac");
	EXPECT_STREQ(dp_drop_name(DP_DROP_NR), "unknown");
}

TEST(opening_again_takes_the_pinned_over)
{
	struct packet p = ip_packet(IP(2), IP(3));
	uint32_t key = 1, value = 0;
	struct dp *again = NULL;
	int map;

	START();
	EXPECT_EQ(dp_open("fs", &again, &e), 0);
	dp_close(dp);
	dp = again;
	EXPECT_EQ(run(&p), TC_ACT_REDIRECT);
	dp_close(dp);

	/* A map of another shape under a name that promises ours. */
	EXPECT_EQ(unlink("fs/dp1/ark_ifaces"), 0);
	map = bpf_map_create(BPF_MAP_TYPE_HASH, "ark_ifaces", sizeof(key),
			     sizeof(value), 4, NULL);
	EXPECT_GE(map, 0);
	EXPECT_EQ(bpf_obj_pin(map, "fs/dp1/ark_ifaces"), 0);
	close(map);
	EXPECT_EQ(dp_open("fs", &dp, &e), -EBADMSG);
	EXPECT_EQ(strncmp(e.msg, "take over the pinned datapath: ", 31), 0);
}

TEST_MAIN()

// SPDX-License-Identifier: Apache-2.0
/* Endpoints that live: what reaches whom.
 * LANE: both
 * SECONDS: 240 */
#include <sys/stat.h>

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

static int attach_vm(struct lab *l, const char *uid, struct endpoint *ep)
{
	return network_attach(l->mgr, TENANT, "default", uid, NETWORK_VM, NULL,
			      ep, &lab_err);
}

TEST(containers_and_vms_reach_each_other_with_offloads)
{
	struct endpoint a = ENDPOINT_INIT, b = ENDPOINT_INIT;
	struct endpoint v = ENDPOINT_INIT, w = ENDPOINT_INIT;
	struct guest g = { 0 }, h = { 0 };
	struct lab l = { 0 };

	NEED_ROOT();
	OK(lab_start(&l));
	OK(attach(&l, "pod-a", &a));
	OK(attach(&l, "pod-b", &b));
	OK(attach_vm(&l, "vm-v", &v));
	OK(attach_vm(&l, "vm-w", &w));
	OK(guest_start(&g, &v, true));
	OK(guest_start(&h, &w, false));
	EXPECT_EQ(ping_once(a.netns_fd, v.ip), true);
	EXPECT_EQ(ping_once(g.ns, a.ip), true);
	EXPECT_EQ(ping_once(g.ns, w.ip), true);
	EXPECT_EQ(ping_once(g.ns, v.gateway), true);
	EXPECT_EQ(tcp_bulk(a.netns_fd, b.netns_fd, b.ip, 32 << 20), true);
	EXPECT_EQ(tcp_bulk(a.netns_fd, g.ns, v.ip, 16 << 20), true);
	EXPECT_EQ(tcp_bulk(g.ns, a.netns_fd, a.ip, 16 << 20), true);
	EXPECT_EQ(tcp_bulk(a.netns_fd, h.ns, w.ip, 4 << 20), true);
	EXPECT_EQ(tcp_bulk(h.ns, a.netns_fd, a.ip, 4 << 20), true);
	EXPECT_EQ(tcp_bulk(g.ns, h.ns, w.ip, 4 << 20), true);
	EXPECT_EQ(tcp_bulk(h.ns, g.ns, v.ip, 4 << 20), true);
	guest_stop(&g);
	guest_stop(&h);
	EXPECT_GE(g.longest, 4000); /* segmentation was left to the receiver */
	EXPECT_GE(1500 + ETH_HLEN, h.longest);
	endpoint_clear(&a);
	endpoint_clear(&b);
	endpoint_clear(&v);
	endpoint_clear(&w);
	network_close(l.mgr);
}

TEST(by_tcx_it_is_the_same)
{
	struct endpoint a = ENDPOINT_INIT, v = ENDPOINT_INIT;
	struct lab l = { .opts.use_tcx = true };
	struct guest g = { 0 };
	char cmd[128];

	NEED_ROOT();
	OK(lab_start(&l));
	OK(attach(&l, "pod-a", &a));
	OK(attach_vm(&l, "vm-v", &v));
	snprintf(cmd, sizeof(cmd),
		 "tc filter show dev %s ingress | grep -q from_endpoint",
		 a.ifname);
	if (system(cmd) == 0)
		SKIP("this kernel has no TCX (6.6)");
	OK(guest_start(&g, &v, true));
	EXPECT_EQ(ping_once(a.netns_fd, v.ip), true);
	EXPECT_EQ(ping_once(g.ns, v.gateway), true);
	EXPECT_EQ(tcp_bulk(a.netns_fd, g.ns, v.ip, 8 << 20), true);
	guest_stop(&g);
	endpoint_clear(&a);
	network_close(l.mgr);
}

TEST(attaching_again_finds_the_same)
{
	struct endpoint a = ENDPOINT_INIT, again = ENDPOINT_INIT;
	struct endpoint v = ENDPOINT_INIT, w = ENDPOINT_INIT;
	struct lab l = { 0 };

	NEED_ROOT();
	OK(lab_start(&l));
	OK(attach(&l, "pod-a", &a));
	OK(attach_vm(&l, "vm-v", &v));
	OK(attach(&l, "pod-a", &again));
	EXPECT_EQ(again.ip.s_addr, a.ip.s_addr);
	EXPECT_EQ(again.ifindex, a.ifindex);
	EXPECT_EQ(memcmp(again.mac, a.mac, 6), 0);
	EXPECT_STREQ(again.netns_path, a.netns_path);
	EXPECT_EQ(again.tap_fd, -EBADF);
	endpoint_clear(&again);

	/* While QEMU has the tap there is no second fd; afterwards there is. */
	EXPECT_GE(v.tap_fd, 0);
	OK(attach_vm(&l, "vm-v", &w));
	EXPECT_EQ(w.tap_fd, -EBADF);
	EXPECT_EQ(w.ifindex, v.ifindex);
	close(v.tap_fd);
	v.tap_fd = -EBADF;
	endpoint_clear(&w);
	OK(attach_vm(&l, "vm-v", &w));
	EXPECT_GE(w.tap_fd, 0);

	OK(lab_restart(&l));
	OK(attach(&l, "pod-a", &again));
	EXPECT_EQ(again.ip.s_addr, a.ip.s_addr);
	EXPECT_EQ(again.ifindex, a.ifindex);
	endpoint_clear(&a);
	endpoint_clear(&again);
	endpoint_clear(&v);
	endpoint_clear(&w);
	network_close(l.mgr);
}

TEST(a_namespace_is_ready_for_a_pod)
{
	struct endpoint a = ENDPOINT_INIT;
	struct lab l = { 0 };
	char value[64];

	NEED_ROOT();
	OK(lab_start(&l));
	OK(attach(&l, "pod-a", &a));
	OK(ns_sysctl_read(a.netns_fd, "ipv4/ip_unprivileged_port_start", value,
			  sizeof(value), &lab_err));
	EXPECT_STREQ(value, "0");
	OK(ns_sysctl_read(a.netns_fd, "ipv4/ping_group_range", value,
			  sizeof(value), &lab_err));
	EXPECT_STREQ(value, "0\t2147483647");
	EXPECT_EQ(ping_once(a.netns_fd, a.ip), true);
	EXPECT_EQ(ping_once(a.netns_fd,
			    (struct in_addr){ htonl(INADDR_LOOPBACK) }),
		  true);
	endpoint_clear(&a);
	network_close(l.mgr);
}

static int count_ark(const struct rt_link *link, void *arg)
{
	*(int *)arg += strncmp(link->name, "ark", 3) == 0;
	return 0;
}

static int ark_links(void)
{
	struct rt *rt = NULL;
	int nr = 0;

	if (rt_open(NS_OWN, &rt, NULL) < 0)
		return -1;
	rt_link_for_each(rt, count_ark, &nr, NULL);
	rt_close(rt);
	return nr;
}

static bool lexists(const char *path)
{
	struct stat st;

	return lstat(path, &st) == 0;
}

TEST(a_damaged_lease_is_named)
{
	struct endpoint v = ENDPOINT_INIT;
	struct lab l = { 0 };

	NEED_ROOT();
	OK(lab_start(&l));
	OK(attach_vm(&l, "vm-v", &v));
	endpoint_clear(&v);
	network_close(l.mgr);
	l.mgr = NULL;
	EXPECT_EQ(symlink("banana", "state/networks/1/pods/vm-w"), 0);
	EXPECT_EQ(lab_open(&l), -EBADMSG);
	EXPECT_STREQ(
		strstr(lab_err.msg, "networks/1"),
		"networks/1/pods/vm-w (remove it, and its pod gets a new address): is not a link like '10.88.0.2,container'");
	EXPECT_EQ(unlink("state/networks/1/pods/vm-w"), 0);
	EXPECT_EQ(symlink("10.88.0.2,vm", "state/networks/1/pods/vm-w"), 0);
	EXPECT_EQ(lab_open(&l), -EBADMSG);
	EXPECT_EQ(unlink("state/networks/1/pods/vm-w"), 0);
	OK(lab_open(&l));
	network_close(l.mgr);
}

TEST(a_released_address_rests_beyond_a_restart)
{
	struct endpoint v = ENDPOINT_INIT;
	struct lab l = { 0 };
	struct in_addr first;

	NEED_ROOT();
	OK(lab_start(&l));
	OK(attach_vm(&l, "vm-v", &v));
	first = v.ip;
	endpoint_clear(&v);
	OK(network_detach(l.mgr, "vm-v", &lab_err));
	OK(lab_restart(&l));
	OK(attach_vm(&l, "vm-w", &v));
	EXPECT_EQ(v.ip.s_addr == first.s_addr, false);
	endpoint_clear(&v);
	OK(network_detach(l.mgr, "vm-w", &lab_err));
	network_close(l.mgr);
	l.opts.reuse_ms = 1; /* and a moment is over by now */
	OK(lab_open(&l));
	OK(attach_vm(&l, "vm-x", &v));
	EXPECT_EQ(v.ip.s_addr, first.s_addr);
	endpoint_clear(&v);
	network_close(l.mgr);
}

TEST(detaching_leaves_nothing)
{
	struct endpoint a = ENDPOINT_INIT, v = ENDPOINT_INIT;
	struct endpoint_stats stats;
	struct lab l = { 0 };

	NEED_ROOT();
	OK(lab_start(&l));
	OK(attach(&l, "pod-a", &a));
	OK(attach_vm(&l, "vm-v", &v));
	EXPECT_EQ(ark_links(), 3); /* with the gateway */
	EXPECT_EQ(access("run/pods/pod-a/netns", F_OK), 0);
	EXPECT_EQ(lexists("state/networks/1/pods/vm-v"), true);
	endpoint_clear(&a);
	endpoint_clear(&v);
	OK(network_detach(l.mgr, "pod-a", &lab_err));
	OK(network_detach(l.mgr, "vm-v", &lab_err));
	OK(network_detach(l.mgr, "vm-v", &lab_err));
	OK(network_detach(l.mgr, "never-was", &lab_err));
	EXPECT_EQ(ark_links(), 1);
	EXPECT_EQ(access("run/pods/pod-a/netns", F_OK), -1);
	EXPECT_EQ(lexists("state/networks/1/pods/pod-a"), false);
	EXPECT_EQ(lexists("state/networks/1/pods/vm-v"), false);
	EXPECT_EQ(network_stats(l.mgr, "pod-a", &stats, &lab_err), -ENOENT);
	EXPECT_STREQ(lab_err.msg, "pod pod-a has no endpoint");
	OK(network_destroy_all(l.mgr, &lab_err));
	EXPECT_EQ(ark_links(), 0);
	EXPECT_EQ(access("run/netns", F_OK), -1);
	EXPECT_EQ(access("run/bpf", F_OK), -1);
	network_close(l.mgr);
}

TEST(gc_removes_what_nobody_owns)
{
	static const char *const live[] = { "pod-a" };
	struct endpoint a = ENDPOINT_INIT, b = ENDPOINT_INIT;
	const struct rt_veth_end x = { .name = "arkstray", .nsfd = NS_OWN };
	const struct rt_veth_end y = { .name = "other", .nsfd = NS_OWN };
	struct lab l = { 0 };
	struct rt *rt = NULL;
	struct rt_link link;
	int fd = -1;

	NEED_ROOT();
	OK(lab_start(&l));
	OK(attach(&l, "pod-a", &a));
	OK(attach(&l, "pod-b", &b));
	OK(rt_open(NS_OWN, &rt, &lab_err));
	OK(rt_veth_add(rt, &x, &y, &lab_err));
	EXPECT_EQ(mkdir("run/pods/pod-c", 0755), 0);
	OK(ns_create("run/pods/pod-c/netns", &fd, &lab_err));
	close(fd);
	OK(network_gc(l.mgr, live, 1, &lab_err));
	EXPECT_EQ(ark_links(), 2); /* pod-a's and the gateway's */
	EXPECT_EQ(rt_link_find(rt, "arkstray", &link, NULL), -ENODEV);
	EXPECT_EQ(access("run/pods/pod-b/netns", F_OK), -1);
	EXPECT_EQ(access("run/pods/pod-c/netns", F_OK), -1);
	EXPECT_EQ(ping_once(a.netns_fd, a.gateway), true);
	rt_close(rt);
	endpoint_clear(&a);
	endpoint_clear(&b);
	network_close(l.mgr);
}

/* Send @f from the pod's own link; then its drops for @reason are @want. */
static void send_frame(struct lab *l, int *verdict_, const char *uid, int fd,
		       const void *f, size_t len, enum dp_drop reason,
		       uint64_t want)
{
	struct endpoint_stats stats = { 0 };
	uint64_t end = now_ms() + 2000;

	EXPECT_EQ(send(fd, f, len, 0), len);
	do {
		OK(network_stats(l->mgr, uid, &stats, &lab_err));
	} while (stats.drops[reason] < want && now_ms() < end &&
		 poll(NULL, 0, 1) == 0);
	if (stats.drops[reason] != want)
		FAIL("%s: %llu drops, want %llu", dp_drop_name(reason),
		     (unsigned long long)stats.drops[reason],
		     (unsigned long long)want);
}

TEST(lies_are_dropped_and_counted_by_reason)
{
	struct endpoint a = ENDPOINT_INIT, b = ENDPOINT_INIT;
	const struct in_addr outside = { htonl(0xc0000201) };
	const struct in_addr nobody = { htonl(0x0a580909) };
	struct lab l = { 0 };
	struct frame f;
	int fd;

	NEED_ROOT();
	OK(lab_start(&l));
	OK(attach(&l, "pod-a", &a));
	OK(attach(&l, "pod-b", &b));
	fd = frame_fd(a.netns_fd);
	ASSERT_GE(fd, 0);

	f = frame_ping(&a, b.ip);
	f.eth.h_source[5] ^= 1;
	send_frame(&l, verdict_, "pod-a", fd, &f, sizeof(f), DP_DROP_SRC_MAC,
		   1);
	f = frame_ping(&b, b.ip);
	memcpy(f.eth.h_source, a.mac, 6);
	send_frame(&l, verdict_, "pod-a", fd, &f, sizeof(f), DP_DROP_SRC_IP, 1);
	f = frame_ping(&a, nobody);
	send_frame(&l, verdict_, "pod-a", fd, &f, sizeof(f),
		   DP_DROP_NO_ENDPOINT, 1);
	f = frame_ping(&a, outside);
	send_frame(&l, verdict_, "pod-a", fd, &f, sizeof(f), DP_DROP_NO_EGRESS,
		   1);
	f = frame_ping(&a, a.ip);
	send_frame(&l, verdict_, "pod-a", fd, &f, sizeof(f), DP_DROP_SELF, 1);
	f = frame_ping(&a, b.ip);
	f.eth.h_proto = htons(ETH_P_IPV6);
	send_frame(&l, verdict_, "pod-a", fd, &f, sizeof(f), DP_DROP_IPV6, 1);
	f.eth.h_proto = htons(ETH_P_8021Q);
	send_frame(&l, verdict_, "pod-a", fd, &f, sizeof(f), DP_DROP_VLAN, 1);
	f.eth.h_proto = htons(ETH_P_LLDP);
	send_frame(&l, verdict_, "pod-a", fd, &f, sizeof(f), DP_DROP_PROTOCOL,
		   1);
	close(fd);
	endpoint_clear(&a);
	endpoint_clear(&b);
	network_close(l.mgr);
}

TEST(large_packets_are_fragmented_and_larger_frames_dropped)
{
	struct endpoint a = ENDPOINT_INIT, b = ENDPOINT_INIT, v = ENDPOINT_INIT;
	struct endpoint_stats stats;
	struct lab l = { 0 };
	uint8_t big[2000] = { 0 };
	struct frame *f = (void *)big;
	uint64_t end;
	int fd;

	NEED_ROOT();
	OK(lab_start(&l));
	OK(attach(&l, "pod-a", &a));
	OK(attach(&l, "pod-b", &b));
	OK(attach_vm(&l, "vm-v", &v));
	fd = ping_fd(a.netns_fd);
	ASSERT_GE(fd, 0);
	EXPECT_EQ(ping(fd, b.ip, 1, 1472, 2000), true);
	EXPECT_EQ(ping(fd, b.ip, 2, 1473, 2000), true);
	EXPECT_EQ(ping(fd, b.ip, 3, 60000, 5000), true);
	close(fd);

	/* A guest may put anything on its tap. */
	*f = frame_ping(&v, b.ip);
	f->ip.tot_len = htons(sizeof(big) - ETH_HLEN);
	EXPECT_EQ(tap_write(v.tap_fd, big, sizeof(big)), 0);
	end = now_ms() + 2000;
	do {
		OK(network_stats(l.mgr, "vm-v", &stats, &lab_err));
	} while (!stats.drops[DP_DROP_TOO_BIG] && now_ms() < end);
	EXPECT_EQ(stats.drops[DP_DROP_TOO_BIG], 1);
	EXPECT_EQ(stats.tx_packets, 0);
	endpoint_clear(&a);
	endpoint_clear(&b);
	endpoint_clear(&v);
	network_close(l.mgr);
}

/* Accept once on @listener and say @name. */
struct greeter {
	int listener;
	char name[8];
};

static void *greet(void *arg)
{
	struct greeter *g = arg;
	int fd = accept(g->listener, NULL, NULL);

	if (fd >= 0) {
		(void)!write(fd, g->name, sizeof(g->name));
		close(fd);
	}
	return NULL;
}

TEST(sockets_reach_the_right_one_of_two_networks_with_one_cidr)
{
	static const char *const tenants[] = { "red", "blue" };
	struct endpoint ep[2] = { ENDPOINT_INIT, ENDPOINT_INIT };
	struct greeter greeters[2];
	pthread_t threads[2];
	struct lab l = { 0 };
	char name[8] = "";
	int fd;

	NEED_ROOT();
	OK(lab_start(&l));
	for (int i = 0; i < 2; i++) {
		OK(network_attach(l.mgr, tenants[i], "default", tenants[i],
				  NETWORK_CONTAINER, NULL, &ep[i], &lab_err));
		greeters[i].listener = tcp_listen(ep[i].netns_fd, ep[i].ip, 80);
		ASSERT_GE(greeters[i].listener, 0);
		snprintf(greeters[i].name, sizeof(name), "%s", tenants[i]);
		pthread_create(&threads[i], NULL, greet, &greeters[i]);
	}
	EXPECT_EQ(ep[0].ip.s_addr, ep[1].ip.s_addr);
	for (int i = 0; i < 2; i++) {
		OK(network_socket(l.mgr, tenants[i], "default", AF_INET,
				  SOCK_STREAM, &fd, &lab_err));
		EXPECT_EQ(tcp_connect(fd, ep[i].ip, 80), 0);
		EXPECT_EQ(read(fd, name, sizeof(name)), sizeof(name));
		EXPECT_STREQ(name, tenants[i]);
		close(fd);
		pthread_join(threads[i], NULL);
		close(greeters[i].listener);
		endpoint_clear(&ep[i]);
	}
	EXPECT_EQ(network_pod_socket(l.mgr, "green", AF_INET, SOCK_STREAM, &fd,
				     &lab_err),
		  -ENOENT);
	EXPECT_EQ(network_socket(l.mgr, "red", "nope", AF_INET, SOCK_STREAM,
				 &fd, &lab_err),
		  -ENOENT);
	EXPECT_STREQ(
		lab_err.msg,
		"no network 'nope' in tenant 'red': apply a Network, or run with --network red/nope=CIDR");
	network_close(l.mgr);
}

TEST(an_exhausted_network_says_so_and_what_to_do)
{
	struct endpoint ep[6] = { ENDPOINT_INIT, ENDPOINT_INIT, ENDPOINT_INIT,
				  ENDPOINT_INIT, ENDPOINT_INIT, ENDPOINT_INIT };
	struct lab l = { 0 };
	char uid[16];

	NEED_ROOT();
	OK(lab_start(&l));
	OK(network_define_option(l.mgr, "demo/small=10.9.0.0/29", &lab_err));
	for (int i = 0; i < 5; i++) {
		snprintf(uid, sizeof(uid), "pod-%d", i);
		OK(network_attach(l.mgr, "demo", "small", uid, NETWORK_VM, NULL,
				  &ep[i], &lab_err));
	}
	EXPECT_EQ(network_attach(l.mgr, "demo", "small", "pod-5", NETWORK_VM,
				 NULL, &ep[5], &lab_err),
		  -ENOSPC);
	EXPECT_STREQ(
		lab_err.msg,
		"network demo/small: all 5 addresses of 10.9.0.0/29 are in use: delete pods, or use a network with a larger CIDR");
	EXPECT_EQ(network_define_option(l.mgr, "demo/small=10.9.0.0/24",
					&lab_err),
		  -EBUSY);
	EXPECT_STREQ(
		lab_err.msg,
		"network demo/small: CIDR, MTU and netID can change only without pods: network demo/small has 5 pods on it");

	/* A resting address is taken before anybody is sent away. */
	OK(network_detach(l.mgr, "pod-3", &lab_err));
	OK(network_attach(l.mgr, "demo", "small", "pod-5", NETWORK_VM, NULL,
			  &ep[5], &lab_err));
	EXPECT_EQ(ep[5].ip.s_addr, ep[3].ip.s_addr);
	for (int i = 0; i < 6; i++)
		endpoint_clear(&ep[i]);
	network_close(l.mgr);
}

TEST(an_address_can_be_asked_for)
{
	struct endpoint a = ENDPOINT_INIT, b = ENDPOINT_INIT;
	struct lab l = { 0 };

	NEED_ROOT();
	OK(lab_start(&l));
	OK(network_attach(l.mgr, "demo", "default", "pod-a", NETWORK_CONTAINER,
			  "10.88.7.7", &a, &lab_err));
	EXPECT_STREQ(inet_ntoa(a.ip), "10.88.7.7");
	EXPECT_EQ(network_attach(l.mgr, "demo", "default", "pod-b", NETWORK_VM,
				 "10.88.7.7", &b, &lab_err),
		  -EADDRINUSE);
	EXPECT_STREQ(
		lab_err.msg,
		"address 10.88.7.7 of network demo/default belongs to pod pod-a");
	EXPECT_EQ(network_attach(l.mgr, "demo", "default", "pod-b", NETWORK_VM,
				 "10.88.0.1", &b, &lab_err),
		  -EADDRINUSE);
	EXPECT_EQ(network_attach(l.mgr, "demo", "default", "pod-b", NETWORK_VM,
				 "10.99.0.1", &b, &lab_err),
		  -EINVAL);
	EXPECT_STREQ(
		lab_err.msg,
		"address 10.99.0.1 is not for pods of network demo/default (10.88.0.0/16)");
	EXPECT_EQ(network_attach(l.mgr, "demo", "default", "pod-a", NETWORK_VM,
				 NULL, &b, &lab_err),
		  -EEXIST);
	EXPECT_EQ(network_attach(l.mgr, "demo", "default", "../pod", NETWORK_VM,
				 NULL, &b, &lab_err),
		  -EINVAL);
	endpoint_clear(&a);
	network_close(l.mgr);
}

#define THREADS    4
#define PER_THREAD 6

struct attacher {
	struct lab *l;
	int nr, r;
	struct in_addr ip[PER_THREAD];
	struct err e;
};

static void *attach_many(void *arg)
{
	struct attacher *a = arg;
	char uid[16];

	for (int i = 0; a->r == 0 && i < PER_THREAD; i++) {
		struct endpoint ep = ENDPOINT_INIT;

		snprintf(uid, sizeof(uid), "pod-%d-%d", a->nr, i);
		a->r = network_attach(a->l->mgr, "demo", "default", uid,
				      i % 2 ? NETWORK_VM : NETWORK_CONTAINER,
				      NULL, &ep, &a->e);
		a->ip[i] = ep.ip;
		if (a->r == 0 && i % 2 == 0 &&
		    !ping_once(ep.netns_fd, ep.gateway))
			a->r = -ETIMEDOUT;
		endpoint_clear(&ep);
		if (a->r == 0 && i == 0)
			a->r = network_detach(a->l->mgr, uid, &a->e);
	}
	return NULL;
}

TEST(threads_attach_at_once)
{
	struct attacher a[THREADS] = { 0 };
	pthread_t threads[THREADS];
	struct lab l = { 0 };

	NEED_ROOT();
	OK(lab_start(&l));
	for (int i = 0; i < THREADS; i++) {
		a[i].l = &l;
		a[i].nr = i;
		pthread_create(&threads[i], NULL, attach_many, &a[i]);
	}
	for (int i = 0; i < THREADS; i++) {
		pthread_join(threads[i], NULL);
		if (a[i].r)
			FAIL("thread %d: %d: %s", i, a[i].r, a[i].e.msg);
	}
	for (int i = 1; i < THREADS * PER_THREAD; i++)
		for (int k = 0; k < i; k++)
			EXPECT_EQ(a[i / PER_THREAD].ip[i % PER_THREAD].s_addr ==
					  a[k / PER_THREAD]
						  .ip[k % PER_THREAD]
						  .s_addr,
				  false);
	network_close(l.mgr);
}

TEST(one_agent_at_a_time)
{
	struct network_mgr *second = NULL;
	struct lab l = { 0 };

	NEED_ROOT();
	OK(lab_start(&l));
	EXPECT_EQ(network_mgr_open(&l.opts, &second, &lab_err), -EBUSY);
	network_close(l.mgr);
}

TEST_MAIN()

// SPDX-License-Identifier: Apache-2.0
/* LANE: both */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/err.h"
#include "netns/monitor.h"
#include "netns/netns.h"
#include "selftests/harness.h"

static struct err e;

#define OK(call)                                              \
	do {                                                  \
		e = (struct err){ 0 };                        \
		int r_ = (call);                              \
		if (r_ != 0) {                                \
			FAIL("%s: %d: %s", #call, r_, e.msg); \
			return;                               \
		}                                             \
	} while (0)

#define START()                                                            \
	do {                                                               \
		if (geteuid() != 0)                                        \
			SKIP("needs root for network namespaces");         \
		if (unshare(CLONE_NEWNET | CLONE_NEWNS) < 0 ||             \
		    mount("", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) { \
			FAIL("unshare: %m");                               \
			return;                                            \
		}                                                          \
	} while (0)

static ino_t own_ns(void)
{
	struct stat st = { 0 };

	stat("/proc/thread-self/ns/net", &st);
	return st.st_ino;
}

static int note_ns(void *arg, struct err *err)
{
	(void)err;
	*(ino_t *)arg = own_ns();
	return 0;
}

static int fails(void *arg, struct err *err)
{
	(void)arg;
	return err_set(err, -EXDEV, "as told");
}

TEST(a_pin_keeps_a_namespace_and_the_caller_stays_where_it_is)
{
	ino_t before, first, second;
	int a = -1, b = -1;

	START();
	before = own_ns();
	OK(ns_create("pin", &a, &e));
	EXPECT_EQ(own_ns(), before);
	OK(ns_call(a, note_ns, &first, &e));
	close(a);
	OK(ns_open("pin", &b, &e));
	OK(ns_call(b, note_ns, &second, &e));
	EXPECT_EQ(first, second);
	EXPECT_EQ(first == before, false);
	EXPECT_EQ(ns_call(b, fails, NULL, &e), -EXDEV);
	EXPECT_STREQ(e.msg, "as told");
	close(b);
	EXPECT_EQ(ns_create("pin", &a, &e), -EEXIST);
	OK(ns_unpin("pin", &e));
	OK(ns_unpin("pin", &e));
	EXPECT_EQ(ns_open("pin", &b, &e), -ENOENT);
}

TEST(what_is_not_a_pinned_namespace_is_told_so)
{
	int fd = -1;

	START();
	fd = open("file", O_CREAT | O_WRONLY, 0600);
	close(fd);
	EXPECT_EQ(ns_open("file", &fd, &e), -EINVAL);
	EXPECT_STREQ(e.msg, "'file' is not a pinned network namespace");
	EXPECT_EQ(ns_open("/proc/self/ns/uts", &fd, &e), -EINVAL);
	OK(ns_unpin("file", &e)); /* a crash before the mount */
	EXPECT_EQ(access("file", F_OK), -1);
}

TEST(a_veth_has_its_ends_where_told)
{
	static const uint8_t mac[6] = { 2, 1, 2, 3, 4, 5 };
	struct rt_veth_end a = { .name = "arka", .nsfd = NS_OWN, .mtu = 1400 };
	struct rt_veth_end b = { .name = "eth0", .mac = mac, .mtu = 1400 };
	struct rt *here = NULL, *there = NULL;
	struct rt_link x, y;
	int ns = -1;

	START();
	OK(ns_create(NULL, &ns, &e));
	b.nsfd = ns;
	OK(rt_open(NS_OWN, &here, &e));
	OK(rt_open(ns, &there, &e));
	OK(rt_veth_add(here, &a, &b, &e));
	EXPECT_EQ(rt_veth_add(here, &a, &b, &e), -EEXIST);
	OK(rt_link_find(here, "arka", &x, &e));
	OK(rt_link_find(there, "eth0", &y, &e));
	EXPECT_EQ(x.peer_ifindex, y.ifindex);
	EXPECT_EQ(y.peer_ifindex, x.ifindex);
	EXPECT_EQ(memcmp(y.mac, mac, 6), 0);
	EXPECT_EQ(x.mtu, 1400);
	EXPECT_EQ(y.mtu, 1400);
	EXPECT_EQ(x.up, false);
	EXPECT_STREQ(x.kind, "veth");

	OK(rt_link_set(here, x.ifindex,
		       &(struct rt_link_change){
			       .name = "arkb", .alias = "note", .up = 1 },
		       &e));
	OK(rt_link_find(here, "arkb", &x, &e));
	EXPECT_EQ(x.up, true);
	EXPECT_STREQ(x.alias, "note");
	OK(rt_link_del(here, "arkb", &e));
	OK(rt_link_del(here, "arkb", &e));
	EXPECT_EQ(rt_link_find(there, "eth0", &y, &e), -ENODEV);
	EXPECT_STREQ(e.msg, "no link 'eth0'");
	rt_close(here);
	rt_close(there);
	close(ns);
}

TEST(addresses_and_routes_can_be_added_again)
{
	const struct in_addr ip = { htonl(0x0a000002) };
	const struct in_addr gw = { htonl(0x0a000001) };
	const struct rt_route on_link = { .dst = gw, .prefix = 32 };
	const struct rt_route all = { .via = gw };
	static const uint8_t mac[6] = { 2, 1, 2, 3, 4, 5 };
	struct rt_veth_end a = { .name = "arka", .nsfd = NS_OWN };
	struct rt_veth_end b = { .name = "arkb", .nsfd = NS_OWN };
	struct rt *rt = NULL;
	struct rt_link x;

	START();
	OK(rt_open(NS_OWN, &rt, &e));
	OK(rt_veth_add(rt, &a, &b, &e));
	OK(rt_link_find(rt, "arka", &x, &e));
	EXPECT_EQ(rt_route_add(rt, x.ifindex, &all, &e) < 0, true);
	OK(rt_link_set(rt, x.ifindex, &(struct rt_link_change){ .up = 1 }, &e));
	for (int i = 0; i < 2; i++) {
		OK(rt_addr_add(rt, x.ifindex, ip, 32, &e));
		OK(rt_route_add(rt, x.ifindex, &on_link, &e));
		OK(rt_route_add(rt, x.ifindex, &all, &e));
		OK(rt_neigh_add(rt, x.ifindex, gw, mac, &e));
	}
	EXPECT_EQ(
		system("ip -4 route show default | grep -q 'via 10.0.0.1 dev arka'"),
		0);
	EXPECT_EQ(
		system("ip neigh show dev arka | grep -q '10.0.0.1 lladdr 02:01:02:03:04:05 PERMANENT'"),
		0);
	EXPECT_EQ(system("test $(ip -o -4 addr show dev arka | wc -l) = 1"), 0);
	rt_close(rt);
}

TEST(a_tap_stays_and_has_one_reader)
{
	struct rt *rt = NULL;
	struct rt_link link;
	int ns = -1, a = -1, b = -1;
	struct ifreq ifr = { 0 };

	START();
	OK(ns_create(NULL, &ns, &e));
	OK(ns_tap_open(ns, "arktap", &a, &e));
	EXPECT_EQ(ns_tap_open(ns, "arktap", &b, &e), -EBUSY);
	EXPECT_EQ(ioctl(a, TUNGETIFF, &ifr), 0);
	EXPECT_EQ(ifr.ifr_flags & (IFF_TAP | IFF_NO_PI | IFF_VNET_HDR),
		  IFF_TAP | IFF_NO_PI | IFF_VNET_HDR);
	EXPECT_EQ(fcntl(a, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
	close(a);
	OK(rt_open(ns, &rt, &e));
	OK(rt_link_find(rt, "arktap", &link, &e));
	EXPECT_STREQ(link.kind, "tun");
	OK(ns_tap_open(ns, "arktap", &b, &e));
	close(b);
	EXPECT_EQ(ns_tap_open(ns, "a_name_that_is_too_long", &b, &e),
		  -ENAMETOOLONG);
	rt_close(rt);
	close(ns);
}

TEST(a_removed_tap_comes_back_on_the_descriptor_that_holds_it)
{
	static const char frame[74] = { 0 };
	auto_ptr(rt) rt = NULL;
	auto_close int fd = -EBADF;
	struct rt_link link;
	char got[128];
	int len = 0;

	START();
	OK(ns_tap_open(NS_OWN, "tap0", &fd, &e));
	OK(rt_open(NS_OWN, &rt, &e));
	EXPECT_EQ(ns_tap_revive(fd, "tap0", 12, &e) < 0, 1); /* it is there */
	OK(rt_link_del(rt, "tap0", &e));
	EXPECT_EQ(rt_link_find(rt, "tap0", &link, &e), -ENODEV);
	EXPECT_EQ(write(fd, frame, sizeof(frame)), -1);
	OK(ns_tap_revive(fd, "tap0", 12, &e));
	OK(rt_link_find(rt, "tap0", &link, &e));
	EXPECT_STREQ(link.kind, "tun");
	EXPECT_EQ(ioctl(fd, TUNGETVNETHDRSZ, &len), 0);
	EXPECT_EQ(len, 12);
	OK(rt_link_set(rt, link.ifindex, &(struct rt_link_change){ .up = 1 },
		       &e));
	EXPECT_EQ(write(fd, frame, sizeof(frame)), (int)sizeof(frame));
	EXPECT_EQ(read(fd, got, sizeof(got)) > 0 || errno == EAGAIN, 1);
}

struct heard {
	char gone[IF_NAMESIZE], down[IF_NAMESIZE];
	int nr_down;
};

static void hear(void *arg, const struct rt_link_event *ev)
{
	struct heard *h = arg;

	if (ev->gone)
		snprintf(h->gone, sizeof(h->gone), "%s", ev->name);
	if (ev->went_down) {
		snprintf(h->down, sizeof(h->down), "%s", ev->name);
		h->nr_down++;
	}
}

TEST(links_that_vanish_or_go_down_are_told)
{
	const struct rt_veth_end a = { .name = "a0", .nsfd = NS_OWN };
	const struct rt_veth_end b = { .name = "b0", .nsfd = NS_OWN };
	auto_ptr(rt_monitor) m = NULL;
	auto_ptr(rt) rt = NULL;
	struct heard h = { 0 };
	struct rt_link link;

	START();
	OK(rt_monitor_open(NS_OWN, &m, &e));
	OK(rt_open(NS_OWN, &rt, &e));
	OK(rt_veth_add(rt, &a, &b, &e));
	OK(rt_link_find(rt, "a0", &link, &e));
	OK(rt_link_set(rt, link.ifindex, &(struct rt_link_change){ .up = 1 },
		       &e));
	OK(rt_monitor_read(m, hear, &h, &e));
	EXPECT_STREQ(h.gone, "");
	EXPECT_EQ(h.nr_down, 0); /* being made is no going down */
	OK(rt_link_set(rt, link.ifindex, &(struct rt_link_change){ .up = -1 },
		       &e));
	OK(rt_monitor_read(m, hear, &h, &e));
	EXPECT_STREQ(h.down, "a0");
	OK(rt_link_del(rt, "a0", &e));
	OK(rt_monitor_read(m, hear, &h, &e));
	EXPECT_EQ(h.gone[0] == 'a' || h.gone[0] == 'b', 1);
	OK(rt_monitor_read(m, hear, &h, &e)); /* nothing more: no waiting */
}

TEST(sysctls_are_those_of_the_namespace)
{
	static const struct ns_sysctl set[] = {
		{ "ipv4/ip_unprivileged_port_start", "0" },
		{ "-ipv4/never_heard_of", "1" },
	};
	static const struct ns_sysctl bad = { "ipv4/never_heard_of", "1" };
	char value[32];
	int ns = -1;

	START();
	OK(ns_create(NULL, &ns, &e));
	OK(ns_sysctls(ns, set, 2, &e));
	OK(ns_sysctl_read(ns, set[0].name, value, sizeof(value), &e));
	EXPECT_STREQ(value, "0");
	OK(ns_sysctl_read(NS_OWN, set[0].name, value, sizeof(value), &e));
	EXPECT_STREQ(value, "1024");
	EXPECT_EQ(ns_sysctls(ns, &bad, 1, &e), -ENOENT);
	EXPECT_STREQ(
		e.msg,
		"open '/proc/sys/net/ipv4/never_heard_of': No such file or directory");
	close(ns);
}

TEST_MAIN()

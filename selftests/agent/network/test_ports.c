// SPDX-License-Identifier: Apache-2.0
/* Ports of the host that lead to pods: from outside, from the host itself, from
 * other pods; one pod's at a time; after restarts and crashes.
 * LANE: both
 * SECONDS: 120 */
#include <limits.h>
#include <stdlib.h>

#include "agent/network/ports.h"
#include "lib/buf.h"
#include "selftests/agent/network/outside.h"

static const struct in_addr loopback = { 0x0100007f };

static int attach(struct lab *l, const char *tenant, const char *uid,
		  struct endpoint *ep)
{
	return network_attach(l->mgr, tenant, "net", uid, NETWORK_CONTAINER,
			      NULL, ep, &lab_err);
}

static struct network_port tcp(struct in_addr ip, uint16_t host_port)
{
	return (struct network_port){ IPPROTO_TCP, ip, host_port, 80 };
}

static struct network_port udp(struct in_addr ip, uint16_t host_port)
{
	return (struct network_port){ IPPROTO_UDP, ip, host_port, 80 };
}

static int ports(struct lab *l, const char *uid, const struct network_port *p,
		 size_t nr)
{
	lab_err = (struct err){ 0 };
	return network_ports(l->mgr, uid, p, nr, &lab_err);
}

/* Connect, and have @listener accept. What the client is seen as; 0.0.0.0 when
 * it does not come through, and the errno in @ret_r. */
static struct in_addr seen_as(int from_ns, struct in_addr to, uint16_t port,
			      int listener, int *ret_r)
{
	struct sockaddr_in from = { 0 };
	socklen_t len = sizeof(from);
	int fd = -1, there;

	*ret_r = ns_socket(from_ns, AF_INET, SOCK_STREAM, 0, &fd, &lab_err);
	if (*ret_r == 0)
		*ret_r = tcp_connect(fd, to, port);
	if (*ret_r == 0 && readable(listener, 5000)) {
		there = accept(listener, (void *)&from, &len);
		if (there >= 0)
			close(there);
	}
	if (fd >= 0)
		close(fd);
	return from.sin_addr;
}

static bool reaches(int from_ns, struct in_addr to, uint16_t port, int listener)
{
	int r;

	return seen_as(from_ns, to, port, listener, &r).s_addr != 0;
}

static int fails(int from_ns, struct in_addr to, uint16_t port)
{
	int r;

	(void)seen_as(from_ns, to, port, -1, &r);
	return r;
}

static int udp_bound(int nsfd, struct in_addr ip, uint16_t port)
{
	struct sockaddr_in sin = { .sin_family = AF_INET,
				   .sin_port = htons(port),
				   .sin_addr = ip };
	int fd = -1;

	if (ns_socket(nsfd, AF_INET, SOCK_DGRAM, 0, &fd, &lab_err) == 0 &&
	    bind(fd, (void *)&sin, sizeof(sin)) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

/* One datagram to @server, and an answer. */
static bool udp_answers(int client, struct in_addr to, uint16_t port,
			int server)
{
	struct sockaddr_in sin = { .sin_family = AF_INET,
				   .sin_port = htons(port),
				   .sin_addr = to };
	struct sockaddr_in from;
	socklen_t len = sizeof(from);
	char byte;

	/* An error of before may be told first. */
	if (sendto(client, "?", 1, 0, (void *)&sin, sizeof(sin)) < 0 &&
	    sendto(client, "?", 1, 0, (void *)&sin, sizeof(sin)) < 0)
		return false;
	if (!readable(server, 3000) ||
	    recvfrom(server, &byte, 1, 0, (void *)&from, &len) != 1 ||
	    sendto(server, "!", 1, 0, (void *)&from, len) != 1)
		return false;
	len = sizeof(from);
	return readable(client, 3000) &&
	       recvfrom(client, &byte, 1, 0, (void *)&from, &len) == 1 &&
	       byte == '!' && from.sin_addr.s_addr == to.s_addr &&
	       from.sin_port == htons(port);
}

static bool has_table(void)
{
	return system("nft list table ip arktos_ports >/dev/null 2>&1") == 0;
}

TEST(port_of_the_host_leads_to_a_pod)
{
	struct endpoint pod = ENDPOINT_INIT, other = ENDPOINT_INIT;
	struct in_addr any = { 0 };
	struct network_port want[2] = { tcp(any, 8080), udp(any, 8080) };
	struct lab l = { 0 };
	int http, dns, client, r;

	NEED_ROOT();
	OK(lab_start(&l));
	OK(outside_start());
	OK(network_define_option(l.mgr, "red/net=10.5.0.0/24", &lab_err));
	OK(attach(&l, "red", "a", &pod));
	OK(attach(&l, "red", "b", &other));
	EXPECT_EQ(has_table(), false);
	EXPECT_EQ(fails(outside, host_ip, 8080), -ECONNREFUSED);
	/* Asked before there was anybody: not remembered for ever. */
	client = udp_bound(outside, outside_ip, 4000);
	dns = udp_bound(pod.netns_fd, pod.ip, 80);
	EXPECT_EQ(udp_answers(client, host_ip, 8080, dns), false);
	OK(ports(&l, "a", want, 2));

	http = tcp_listen(pod.netns_fd, pod.ip, 80);
	ASSERT_GE(http, 0);
	EXPECT_EQ(seen_as(outside, host_ip, 8080, http, &r).s_addr,
		  outside_ip.s_addr);
	EXPECT_EQ(seen_as(NS_OWN, host_ip, 8080, http, &r).s_addr,
		  host_ip.s_addr);
	EXPECT_EQ(reaches(NS_OWN, loopback, 8080, http), true);
	EXPECT_EQ(udp_answers(client, host_ip, 8080, dns), true);
	close(client);
	client = udp_bound(NS_OWN, any, 0);
	EXPECT_EQ(udp_answers(client, loopback, 8080, dns), true);
	close(client);
	EXPECT_EQ(fails(outside, host_ip, 8081), -ECONNREFUSED);

	/* It answers, and that is all: the network has no way out. */
	EXPECT_EQ(ping_once(pod.netns_fd, outside_ip), false);
	EXPECT_EQ(ping_once(pod.netns_fd, host_ip), false);
	EXPECT_EQ(ping_once(other.netns_fd, outside_ip), false);
	EXPECT_EQ(ping_once(pod.netns_fd, other.ip), true);

	OK(ports(&l, "a", NULL, 0));
	EXPECT_EQ(fails(outside, host_ip, 8080), -ECONNREFUSED);
	EXPECT_EQ(has_table(), false);
	close(http);
	close(dns);
	endpoint_clear(&pod);
	endpoint_clear(&other);
	network_close(l.mgr);
}

TEST(one_port_is_one_pods_on_one_address)
{
	struct endpoint red = ENDPOINT_INIT, blue = ENDPOINT_INIT;
	struct endpoint red2 = ENDPOINT_INIT;
	struct in_addr any = { 0 };
	struct network_port all = tcp(any, 8080), next = tcp(any, 8081);
	struct network_port local = tcp(loopback, 9090);
	struct network_port wan = tcp(host_ip, 9090);
	struct network_port many[NETWORK_PORTS_MAX + 1] = { 0 };
	struct lab l = { 0 };
	int at_red, at_blue, at_red2;

	NEED_ROOT();
	OK(lab_start(&l));
	OK(outside_start());
	OK(network_define_option(l.mgr, "red/net=10.5.0.0/24", &lab_err));
	OK(network_define_option(l.mgr, "blue/net=10.5.0.0/24", &lab_err));
	OK(attach(&l, "red", "red", &red));
	OK(attach(&l, "blue", "blue", &blue));
	OK(attach(&l, "red", "red2", &red2));
	EXPECT_EQ(red.ip.s_addr, blue.ip.s_addr);
	at_red = tcp_listen(red.netns_fd, red.ip, 80);
	at_blue = tcp_listen(blue.netns_fd, blue.ip, 80);
	at_red2 = tcp_listen(red2.netns_fd, red2.ip, 80);

	OK(ports(&l, "red", &all, 1));
	EXPECT_EQ(ports(&l, "blue", &all, 1), -EADDRINUSE);
	EXPECT_STREQ(lab_err.msg,
		     "port 8080/TCP of the host belongs to pod red");
	EXPECT_EQ(ports(&l, "blue",
			&(struct network_port){ IPPROTO_TCP, host_ip, 8080,
						80 },
			1),
		  -EADDRINUSE);
	EXPECT_EQ(ports(&l, "blue", many, NETWORK_PORTS_MAX + 1), -E2BIG);
	EXPECT_EQ(ports(&l, "nobody", &next, 1), -ENOENT);
	OK(ports(&l, "blue", &next, 1));
	EXPECT_EQ(reaches(outside, host_ip, 8080, at_red), true);
	EXPECT_EQ(reaches(outside, host_ip, 8081, at_blue), true);
	EXPECT_EQ(readable(at_red, 0), false);

	/* The same port of two addresses, of two pods of one network. */
	OK(ports(&l, "red", &local, 1));
	OK(ports(&l, "red2", &wan, 1));
	EXPECT_EQ(fails(outside, host_ip, 8080), -ECONNREFUSED);
	EXPECT_EQ(reaches(outside, host_ip, 9090, at_red2), true);
	EXPECT_EQ(reaches(NS_OWN, loopback, 9090, at_red), true);
	OK(network_detach(l.mgr, "red2", &lab_err));
	EXPECT_EQ(fails(outside, host_ip, 9090), -ECONNREFUSED);
	EXPECT_EQ(reaches(NS_OWN, loopback, 9090, at_red), true);

	OK(network_destroy_all(l.mgr, &lab_err));
	EXPECT_EQ(has_table(), false);
	close(at_red);
	close(at_blue);
	close(at_red2);
	endpoint_clear(&red);
	endpoint_clear(&red2);
	endpoint_clear(&blue);
	network_close(l.mgr);
}

TEST(pods_of_networks_with_egress_reach_it_too)
{
	struct endpoint red = ENDPOINT_INIT, blue = ENDPOINT_INIT;
	struct in_addr any = { 0 };
	struct network_port p = tcp(any, 8080);
	struct lab l = { 0 };
	int http;

	NEED_ROOT();
	OK(lab_start(&l));
	OK(outside_start());
	OK(network_define_option(l.mgr, "red/net=10.5.0.0/24,egress=snat",
				 &lab_err));
	OK(network_define_option(l.mgr, "blue/net=10.5.0.0/24,egress=snat",
				 &lab_err));
	OK(attach(&l, "red", "red", &red));
	OK(attach(&l, "blue", "blue", &blue));
	OK(ports(&l, "red", &p, 1));
	http = tcp_listen(red.netns_fd, red.ip, 80);
	EXPECT_EQ(reaches(outside, host_ip, 8080, http), true);
	EXPECT_EQ(reaches(blue.netns_fd, host_ip, 8080, http), true);
	EXPECT_EQ(reaches(red.netns_fd, host_ip, 8080, http), true);
	EXPECT_EQ(ping_once(red.netns_fd, outside_ip), true);
	/* With the ports gone, the way out stays. */
	OK(ports(&l, "red", NULL, 0));
	EXPECT_EQ(fails(blue.netns_fd, host_ip, 8080), -ECONNREFUSED);
	EXPECT_EQ(ping_once(red.netns_fd, outside_ip), true);
	/* ... and with the way out closed, the ports. */
	OK(ports(&l, "red", &p, 1));
	OK(network_define_option(l.mgr, "red/net=10.5.0.0/24,egress=none",
				 &lab_err));
	EXPECT_EQ(ping_once(red.netns_fd, outside_ip), false);
	EXPECT_EQ(reaches(outside, host_ip, 8080, http), true);
	close(http);
	endpoint_clear(&red);
	endpoint_clear(&blue);
	network_close(l.mgr);
}

TEST(loopback_of_the_host_stays_the_hosts)
{
	struct endpoint pod = ENDPOINT_INIT;
	struct in_addr any = { 0 };
	struct network_port p = tcp(any, 8080);
	struct frame f;
	struct lab l = { 0 };
	int raw, in;

	NEED_ROOT();
	OK(lab_start(&l));
	OK(network_define_option(l.mgr, "red/net=10.5.0.0/24,egress=snat",
				 &lab_err));
	OK(attach(&l, "red", "red", &pod));
	OK(ports(&l, "red", &p, 1));
	/* ICMP sockets of the host's see what reaches its loopback. */
	OK(ns_socket(NS_OWN, AF_INET, SOCK_RAW, IPPROTO_ICMP, &in, &lab_err));
	raw = frame_fd(pod.netns_fd);
	ASSERT_GE(raw, 0);
	f = frame_ping(&pod, loopback);
	EXPECT_EQ(write(raw, &f, sizeof(f)), (ssize_t)sizeof(f));
	EXPECT_EQ(readable(in, 300), false);
	close(raw);
	close(in);
	endpoint_clear(&pod);
	network_close(l.mgr);
}

TEST(ports_outlive_the_agent_and_end_with_the_pod)
{
	struct endpoint pod = ENDPOINT_INIT, next = ENDPOINT_INIT;
	struct in_addr any = { 0 };
	struct network_port want[2] = { tcp(any, 8080), udp(any, 8080) };
	struct lab l = { 0 };
	int http, dns, client, open_fd = -1, there, dns2;
	char byte;

	NEED_ROOT();
	OK(lab_start(&l));
	OK(outside_start());
	OK(network_define_option(l.mgr, "red/net=10.5.0.0/24", &lab_err));
	OK(network_define_option(l.mgr, "blue/net=10.5.0.0/24", &lab_err));
	OK(attach(&l, "red", "a", &pod));
	OK(ports(&l, "a", want, 2));
	http = tcp_listen(pod.netns_fd, pod.ip, 80);
	dns = udp_bound(pod.netns_fd, pod.ip, 80);
	client = udp_bound(outside, outside_ip, 4000);
	EXPECT_EQ(udp_answers(client, host_ip, 8080, dns), true);
	OK(ns_socket(outside, AF_INET, SOCK_STREAM, 0, &open_fd, &lab_err));
	OK(tcp_connect(open_fd, host_ip, 8080));
	there = accept(http, NULL, NULL);
	ASSERT_GE(there, 0);

	network_close(l.mgr);
	EXPECT_EQ(reaches(outside, host_ip, 8080, http), true);
	OK(lab_open(&l));
	EXPECT_EQ(reaches(outside, host_ip, 8080, http), true);
	endpoint_clear(&pod);
	OK(attach(&l, "red", "a", &pod));
	OK(ports(&l, "a", want, 2));
	EXPECT_EQ(reaches(NS_OWN, loopback, 8080, http), true);
	EXPECT_EQ(udp_answers(client, host_ip, 8080, dns), true);
	EXPECT_EQ(write(there, "x", 1), 1); /* opened before all that */
	EXPECT_EQ(read(open_fd, &byte, 1), 1);
	/* The other's is still his, for an agent that has just come. */
	OK(attach(&l, "blue", "b", &next));
	EXPECT_EQ(ports(&l, "b", want, 1), -EADDRINUSE);

	/* Another pod has it next: whoever goes on sending reaches that one. */
	OK(network_detach(l.mgr, "a", &lab_err));
	EXPECT_EQ(fails(outside, host_ip, 8080), -ECONNREFUSED);
	OK(ports(&l, "b", want, 2));
	dns2 = udp_bound(next.netns_fd, next.ip, 80);
	EXPECT_EQ(udp_answers(client, host_ip, 8080, dns2), true);
	close(open_fd);
	close(there);
	close(http);
	close(dns);
	close(dns2);
	close(client);
	endpoint_clear(&pod);
	endpoint_clear(&next);
	/* A new agent finds no such pod. */
	OK(lab_restart(&l));
	OK(network_gc(l.mgr, NULL, 0, &lab_err));
	EXPECT_EQ(fails(outside, host_ip, 8080), -ECONNREFUSED);
	EXPECT_EQ(has_table(), false);
	network_close(l.mgr);
}

/* --- crashes -------------------------------------------------------------- */

static int steps_left;

static int crash(void *arg, const char *step)
{
	(void)arg;
	(void)step;
	return steps_left-- <= 0;
}

TEST(stopped_anywhere_the_next_attach_repairs_it)
{
	struct in_addr any = { 0 };
	struct network_port p = tcp(any, 8080);
	struct lab l = { 0 };
	int r = -1, points = 0;

	NEED_ROOT();
	OK(lab_start(&l));
	OK(outside_start());
	l.opts.step = crash;
	for (int n = 0; r != 0 && n < 64; n++, points++) {
		struct endpoint pod = ENDPOINT_INIT;
		int http;

		steps_left = INT_MAX;
		network_close(l.mgr);
		OK(lab_open(&l));
		OK(network_define_option(l.mgr, "red/net=10.5.0.0/24",
					 &lab_err));
		OK(attach(&l, "red", "a", &pod));
		steps_left = n;
		r = ports(&l, "a", &p, 1);
		steps_left = INT_MAX;
		OK(lab_restart(&l));
		endpoint_clear(&pod);
		OK(attach(&l, "red", "a", &pod));
		OK(ports(&l, "a", &p, 1));
		http = tcp_listen(pod.netns_fd, pod.ip, 80);
		EXPECT_EQ(reaches(outside, host_ip, 8080, http), true);
		close(http);
		steps_left = n;
		(void)network_detach(l.mgr, "a", &lab_err);
		steps_left = INT_MAX;
		OK(lab_restart(&l));
		OK(network_gc(l.mgr, NULL, 0, &lab_err));
		EXPECT_EQ(fails(outside, host_ip, 8080), -ECONNREFUSED);
		EXPECT_EQ(has_table(), false);
		endpoint_clear(&pod);
	}
	EXPECT_GE(points, 3);
	network_close(l.mgr);
}

TEST(port_of_the_host_leads_to_a_vm)
{
	struct endpoint vm = ENDPOINT_INIT;
	struct in_addr any = { 0 };
	struct network_port p = tcp(any, 8080);
	struct guest g = { 0 };
	struct lab l = { 0 };
	int http, r;

	NEED_ROOT();
	OK(lab_start(&l));
	OK(outside_start());
	OK(network_attach(l.mgr, "red", "default", "vm", NETWORK_VM, NULL, &vm,
			  &lab_err));
	OK(ports(&l, "vm", &p, 1));
	OK(guest_start(&g, &vm, true));
	http = tcp_listen(g.ns, vm.ip, 80);
	EXPECT_EQ(seen_as(outside, host_ip, 8080, http, &r).s_addr,
		  outside_ip.s_addr);
	EXPECT_EQ(reaches(NS_OWN, loopback, 8080, http), true);
	close(http);
	guest_stop(&g);
	endpoint_clear(&vm);
	network_close(l.mgr);
}

/* --- as text -------------------------------------------------------------- */

TEST(what_is_written_down_is_read_back)
{
	static const char *const bad[] = {
		"tcp",
		"tcp 0.0.0.0:80",
		"tcp 0.0.0.0:80 80",
		"icmp 0.0.0.0:80 80 80",
		"tcp 0.0.0.0:0 80 80",
		"tcp 0.0.0.0:80 80 65536",
		"tcp 0.0.0:80 80 80",
		"tcp 0.0.0.0 80 80",
		"tcp 0.0.0.0:80 80 80,",
		"tcp 0.0.0.0:80 80 80 80",
	};
	struct lease_port p[NETWORK_PORTS_MAX];
	auto_buf struct buf b = BUF_INIT, any = BUF_INIT, one = BUF_INIT;
	auto_buf struct buf rules = BUF_INIT;
	static const char text[] =
		"tcp 0.0.0.0:8080 80 8080,udp 127.0.0.1:53 5353 1024";
	char name[LEASE_PORT_TEXT];

	EXPECT_EQ(lease_ports_parse("", p), 0);
	ASSERT_EQ(lease_ports_parse(text, p), 2);
	EXPECT_EQ(lease_ports_format(p, 2, &b), 0);
	EXPECT_STREQ(buf_str(&b), text);
	EXPECT_STREQ(network_port_format(&p[0].p, name), "8080/TCP");
	EXPECT_STREQ(network_port_format(&p[1].p, name), "53/UDP of 127.0.0.1");
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		EXPECT_EQ(lease_ports_parse(bad[i], p), -EBADMSG);
	ASSERT_EQ(lease_ports_parse(text, p), 2);
	ports_host_element(&p[0], 0xa9fe4001, &any, &one);
	ports_host_element(&p[1], 0xa9fe4001, &any, &one);
	EXPECT_STREQ(buf_str(&any), "tcp . 8080 : 169.254.64.1 . 8080");
	EXPECT_STREQ(buf_str(&one),
		     "127.0.0.1 . udp . 53 : 169.254.64.1 . 1024");
	buf_reset(&b);
	EXPECT_EQ(ports_host_rules(&b, &b, &rules), 0);
	EXPECT_STREQ(buf_str(&rules), "table ip arktos_ports {}\n"
				      "delete table ip arktos_ports\n");
}

TEST_MAIN()

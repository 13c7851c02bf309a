/* SPDX-License-Identifier: Apache-2.0 */
/* A host of our own for one test: network and mount namespaces, directories
 * below the scratch folder, and a network manager on them. */
#ifndef SELFTESTS_AGENT_NETWORK_LAB_H
#define SELFTESTS_AGENT_NETWORK_LAB_H

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "agent/network/network.h"
#include "lib/err.h"
#include "netns/netns.h"
#include "selftests/harness.h"

#define VNET_HDR 10 /* bytes of struct virtio_net_hdr before a tap's frame */

struct lab {
	struct network_mgr *mgr;
	struct network_opts opts;
};

static struct err lab_err;

/* Needs root for namespaces; without, there is nothing to test. */
#define NEED_ROOT()                                                \
	do {                                                       \
		if (geteuid() != 0)                                \
			SKIP("needs root for network namespaces"); \
	} while (0)

#define OK(call)                                                    \
	do {                                                        \
		lab_err = (struct err){ 0 };                        \
		int r_ = (call);                                    \
		if (r_ != 0) {                                      \
			FAIL("%s: %d: %s", #call, r_, lab_err.msg); \
			return;                                     \
		}                                                   \
	} while (0)

static inline int lab_host(void)
{
	/* Namespaces inherit it from the host's, which may be a router. */
	const struct ns_sysctl off = { "ipv4/ip_forward", "0" };
	struct rt *rt = NULL;
	struct rt_link lo;
	int r;

	if (unshare(CLONE_NEWNET | CLONE_NEWNS) < 0 ||
	    mount("", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return -errno;
	r = ns_sysctls(NS_OWN, &off, 1, &lab_err);
	if (r == 0)
		r = rt_open(NS_OWN, &rt, &lab_err);
	if (r == 0)
		r = rt_link_find(rt, "lo", &lo, &lab_err);
	if (r == 0)
		r = rt_link_set(rt, lo.ifindex,
				&(struct rt_link_change){ .up = 1 }, &lab_err);
	rt_close(rt);
	return r;
}

static inline int lab_open(struct lab *l)
{
	if (!l->opts.run_dir) {
		static char run[256], state[256], bpf[256], cwd[200];

		if (!getcwd(cwd, sizeof(cwd)))
			return -errno;
		snprintf(run, sizeof(run), "%s/run", cwd);
		snprintf(state, sizeof(state), "%s/state", cwd);
		snprintf(bpf, sizeof(bpf), "%s/run/bpf", cwd);
		l->opts.run_dir = run;
		l->opts.state_dir = state;
		l->opts.bpf_dir = bpf;
	}
	return network_mgr_open(&l->opts, &l->mgr, &lab_err);
}

static inline int lab_start(struct lab *l)
{
	int r = lab_host();

	return r < 0 ? r : lab_open(l);
}

/* The agent dies and comes again. */
static inline int lab_restart(struct lab *l)
{
	network_close(l->mgr);
	l->mgr = NULL;
	return lab_open(l);
}

static inline uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* Is there something to read within @ms? */
static inline bool readable(int fd, int ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, ms) == 1 && (p.revents & POLLIN);
}

static inline uint16_t checksum(const void *data, size_t len)
{
	const uint8_t *p = data;
	uint32_t sum = 0;

	for (; len > 1; len -= 2, p += 2)
		sum += (uint32_t)p[0] << 8 | p[1];
	if (len)
		sum += (uint32_t)p[0] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return htons((uint16_t)~sum);
}

/* A ping socket: it gets the answers to its own requests only. */
static inline int ping_fd(int nsfd)
{
	const struct ns_sysctl may_ping = { "ipv4/ping_group_range",
					    "0 2147483647" };
	int fd = -1;

	if (ns_sysctls(nsfd, &may_ping, 1, &lab_err) < 0)
		return -1;
	ns_socket(nsfd, AF_INET, SOCK_DGRAM, IPPROTO_ICMP, &fd, &lab_err);
	return fd;
}

/* One echo request of @len bytes of payload; true when answered by @to. */
static inline bool ping(int fd, struct in_addr to, uint16_t seq, size_t len,
			int ms)
{
	struct sockaddr_in sin = { .sin_family = AF_INET, .sin_addr = to };
	socklen_t sin_len = sizeof(sin);
	struct icmphdr out = { .type = ICMP_ECHO }, in = { 0 };
	uint64_t end = now_ms() + (uint64_t)ms, now;
	static const uint8_t zeros[65536];
	struct iovec iov[2] = {
		{ .iov_base = &out, .iov_len = sizeof(out) },
		{ .iov_base = (void *)zeros, .iov_len = len },
	};
	struct msghdr msg = { .msg_name = &sin,
			      .msg_namelen = sizeof(sin),
			      .msg_iov = iov,
			      .msg_iovlen = 2 };

	out.un.echo.sequence = htons(seq);
	if (sendmsg(fd, &msg, 0) < 0)
		return false;
	while ((now = now_ms()) < end && readable(fd, (int)(end - now)))
		if (recvfrom(fd, &in, sizeof(in), 0, (void *)&sin, &sin_len) >=
			    (ssize_t)sizeof(in) &&
		    in.type == ICMP_ECHOREPLY &&
		    sin.sin_addr.s_addr == to.s_addr &&
		    in.un.echo.sequence == out.un.echo.sequence)
			return true;
	return false;
}

static inline bool ping_once(int nsfd, struct in_addr to)
{
	int fd = ping_fd(nsfd);
	bool ok = fd >= 0 && ping(fd, to, 1, 56, 2000);

	if (fd < 0)
		printf("# no ping socket: %s\n", lab_err.msg);
	else
		close(fd);
	return ok;
}

/* A socket that sends and sees whole frames on eth0 of @nsfd. */
static inline int frame_fd(int nsfd)
{
	struct sockaddr_ll sll = { .sll_family = AF_PACKET,
				   .sll_protocol = htons(ETH_P_ALL) };
	struct rt *rt = NULL;
	struct rt_link eth0;
	int fd = -1;

	if (rt_open(nsfd, &rt, &lab_err) < 0 ||
	    rt_link_find(rt, "eth0", &eth0, &lab_err) < 0 ||
	    ns_socket(nsfd, AF_PACKET, SOCK_RAW, 0, &fd, &lab_err) < 0) {
		rt_close(rt);
		return -1;
	}
	rt_close(rt);
	sll.sll_ifindex = eth0.ifindex;
	if (bind(fd, (void *)&sll, sizeof(sll)) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

struct frame {
	struct ethhdr eth;
	struct iphdr ip;
	struct icmphdr icmp;
	uint8_t data[32];
} __attribute__((packed));

/* An echo request as @from would send it. */
static inline struct frame frame_ping(const struct endpoint *from,
				      struct in_addr to)
{
	struct frame f = { 0 };

	memset(f.eth.h_dest, 0x02, 6);
	memcpy(f.eth.h_source, from->mac, 6);
	f.eth.h_proto = htons(ETH_P_IP);
	f.ip.version = 4;
	f.ip.ihl = 5;
	f.ip.ttl = 64;
	f.ip.protocol = IPPROTO_ICMP;
	f.ip.tot_len = htons(sizeof(f) - sizeof(f.eth));
	f.ip.saddr = from->ip.s_addr;
	f.ip.daddr = to.s_addr;
	f.ip.check = checksum(&f.ip, sizeof(f.ip));
	f.icmp.type = ICMP_ECHO;
	f.icmp.un.echo.id = htons(7);
	f.icmp.checksum = checksum(&f.icmp, sizeof(f.icmp) + sizeof(f.data));
	return f;
}

static inline int tap_write(int fd, const void *frame, size_t len)
{
	uint8_t out[VNET_HDR + 65536] = { 0 };

	memcpy(out + VNET_HDR, frame, len);
	return write(fd, out, VNET_HDR + len) < 0 ? -errno : 0;
}

/* The next frame within @ms: its length, without the vnet header; 0 if none. */
static inline size_t tap_read(int fd, void *frame, size_t size, int ms)
{
	uint8_t in[VNET_HDR + 65536];
	ssize_t n;

	if (!readable(fd, ms))
		return 0;
	n = read(fd, in, sizeof(in));
	if (n <= VNET_HDR || (size_t)n - VNET_HDR > size)
		return 0;
	memcpy(frame, in + VNET_HDR, (size_t)n - VNET_HDR);
	return (size_t)n - VNET_HDR;
}

/* --- a guest: a namespace behind a tap, as behind a QEMU -------------------
 */

struct guest {
	int ns;
	int vm_tap;    /* the endpoint's; owned */
	int guest_tap; /* the guest's NIC, seen from below */
	pthread_t pump;
	bool running;
	size_t longest; /* frame seen, without the vnet header */
};

static inline void pump_frames(struct guest *g, int from, int to)
{
	uint8_t frame[VNET_HDR + 65550];
	ssize_t n;

	while ((n = read(from, frame, sizeof(frame))) > 0) {
		(void)!write(to, frame, (size_t)n);
		if ((size_t)n - VNET_HDR > g->longest)
			g->longest = (size_t)n - VNET_HDR;
	}
}

static inline void *pump_main(void *arg)
{
	struct guest *g = arg;
	struct pollfd p[2] = {
		{ .fd = g->vm_tap, .events = POLLIN },
		{ .fd = g->guest_tap, .events = POLLIN },
	};

	while (__atomic_load_n(&g->running, __ATOMIC_RELAXED)) {
		if (poll(p, 2, 50) <= 0)
			continue;
		pump_frames(g, g->vm_tap, g->guest_tap);
		pump_frames(g, g->guest_tap, g->vm_tap);
	}
	return NULL;
}

static inline int guest_nic(struct guest *g, const struct endpoint *ep)
{
	struct rt_link_change c = { .mac = ep->mac, .mtu = ep->mtu, .up = 1 };
	struct rt_route out = { .via = ep->gateway };
	struct rt *rt = NULL;
	struct rt_link eth0;
	int r = rt_open(g->ns, &rt, &lab_err);

	if (r == 0)
		r = rt_link_find(rt, "eth0", &eth0, &lab_err);
	if (r == 0)
		r = rt_addr_add(rt, eth0.ifindex, ep->ip, ep->prefix, &lab_err);
	if (r == 0)
		r = rt_link_set(rt, eth0.ifindex, &c, &lab_err);
	if (r == 0)
		r = rt_route_add(rt, eth0.ifindex, &out, &lab_err);
	rt_close(rt);
	return r;
}

/* Takes the endpoint's tap. @offload: as a virtio NIC with all of it on. */
static inline int guest_start(struct guest *g, struct endpoint *ep,
			      bool offload)
{
	unsigned long on = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6;
	int r = ns_create(NULL, &g->ns, &lab_err);

	if (r == 0)
		r = ns_tap_open(g->ns, "eth0", &g->guest_tap, &lab_err);
	if (r == 0)
		r = guest_nic(g, ep);
	if (r < 0)
		return r;
	g->vm_tap = take_fd(&ep->tap_fd);
	if (offload && (ioctl(g->vm_tap, TUNSETOFFLOAD, on) < 0 ||
			ioctl(g->guest_tap, TUNSETOFFLOAD, on) < 0))
		return -errno;
	g->running = true;
	return -pthread_create(&g->pump, NULL, pump_main, g);
}

static inline void guest_stop(struct guest *g)
{
	__atomic_store_n(&g->running, false, __ATOMIC_RELAXED);
	pthread_join(g->pump, NULL);
	close(g->vm_tap);
	close(g->guest_tap);
	close(g->ns);
}

/* --- TCP ------------------------------------------------------------------ */

struct bulk {
	int listener;
	size_t len;
	uint64_t sum; /* of the bytes received */
	size_t got;
};

static inline void *bulk_sink(void *arg)
{
	struct bulk *b = arg;
	int fd = accept(b->listener, NULL, NULL);
	uint8_t buf[65536];
	ssize_t n;

	while (fd >= 0 && (n = read(fd, buf, sizeof(buf))) > 0) {
		b->got += (size_t)n;
		for (ssize_t i = 0; i < n; i++)
			b->sum += buf[i];
	}
	if (fd >= 0)
		close(fd);
	return NULL;
}

static inline int tcp_listen(int nsfd, struct in_addr at, uint16_t port)
{
	struct sockaddr_in sin = { .sin_family = AF_INET,
				   .sin_port = htons(port),
				   .sin_addr = at };
	int fd = -1, on = 1;

	if (ns_socket(nsfd, AF_INET, SOCK_STREAM, 0, &fd, &lab_err) < 0)
		return -1;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, (void *)&sin, sizeof(sin)) < 0 || listen(fd, 8) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

static inline int tcp_connect(int fd, struct in_addr to, uint16_t port)
{
	struct sockaddr_in sin = { .sin_family = AF_INET,
				   .sin_port = htons(port),
				   .sin_addr = to };
	struct timeval limit = { .tv_sec = 5 };

	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	return connect(fd, (void *)&sin, sizeof(sin)) < 0 ? -errno : 0;
}

/* Send @len bytes of TCP from one namespace to @to in another; true when all
 * of them arrive as sent. */
static inline bool tcp_bulk(int from_ns, int to_ns, struct in_addr to,
			    size_t len)
{
	struct bulk b = { .listener = tcp_listen(to_ns, to, 5001) };
	uint64_t sum = 0;
	uint8_t buf[65536];
	pthread_t sink;
	size_t sent = 0;
	ssize_t n = 1;
	int fd = -1;

	if (b.listener < 0)
		return false;
	for (size_t i = 0; i < sizeof(buf); i++)
		buf[i] = (uint8_t)(i * 31 + i / 251);
	if (ns_socket(from_ns, AF_INET, SOCK_STREAM, 0, &fd, &lab_err) < 0 ||
	    tcp_connect(fd, to, 5001) < 0) {
		printf("# bulk: cannot connect: %m\n");
		close(fd);
		close(b.listener);
		return false;
	}
	pthread_create(&sink, NULL, bulk_sink, &b);
	while (n > 0 && sent < len) {
		n = send(fd, buf, sizeof(buf), MSG_NOSIGNAL);
		for (ssize_t i = 0; i < n; i++)
			sum += buf[i];
		sent += n > 0 ? (size_t)n : 0;
	}
	shutdown(fd, SHUT_WR);
	pthread_join(sink, NULL);
	close(fd);
	close(b.listener);
	if (n > 0 && b.got == sent && b.sum == sum)
		return true;
	printf("# bulk: sent %zu (last %zd), got %zu, %s\n", sent, n, b.got,
	       b.sum == sum ? "sums equal" : "sums differ");
	return false;
}

#endif /* SELFTESTS_AGENT_NETWORK_LAB_H */

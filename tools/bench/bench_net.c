// SPDX-License-Identifier: Apache-2.0
/*
 * What the network costs: a pod's attach and detach, and the way from pod to
 * pod against a bare veth pair and a bridge, in turns in the same run, all
 * pinned to one CPU. In namespaces of its own; nothing of the host is touched.
 * 'bench_net tcx' attaches the programs by TCX. The floor is the same way as a
 * pod's with a program that does nothing but bpf_redirect_peer(), by clsact and
 * by TCX: what no program can go below on this kernel.
 */
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/ip_icmp.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "agent/network/network.h"
#include "lib/err.h"
#include "lib/fs.h"
#include "lib/spawn.h"
#include "netns/netns.h"

#define ATTACHES 200
#define ROUNDS   11
#define PER_TURN 4000 /* round trips */

static double now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double quantile(double *v, size_t nr, double q)
{
	qsort(v, nr, sizeof(*v), by_size);
	return v[(size_t)((double)(nr - 1) * q)];
}

/* Where an attach's time goes: between the calls of this. */
static struct {
	const char *name;
	double us[ATTACHES * 4];
	size_t nr;
} steps[32];
static const char *step_now;
static double step_began;

static int step(void *arg, const char *name)
{
	double t = now_us();
	size_t i = 0;

	(void)arg;
	while (step_now && steps[i].name && strcmp(steps[i].name, step_now))
		i++;
	if (step_now && steps[i].nr < ATTACHES * 4) {
		steps[i].name = step_now;
		steps[i].us[steps[i].nr++] = t - step_began;
	}
	step_now = name;
	step_began = now_us();
	return 0;
}

/* --- attach --------------------------------------------------------------- */

static int attach_many(struct network_mgr *mgr, enum network_kind kind,
		       const char *name, struct err *e)
{
	static double in[ATTACHES], out[ATTACHES];
	char uid[32];
	int r = 0;

	for (int i = 0; r == 0 && i < ATTACHES; i++) {
		struct endpoint ep = ENDPOINT_INIT;
		double t = now_us();

		snprintf(uid, sizeof(uid), "%s-%d", name, i);
		r = network_attach(mgr, "bench", "default", uid, kind, NULL,
				   &ep, e);
		in[i] = now_us() - t;
		step(NULL, NULL);
		endpoint_clear(&ep);
	}
	for (int i = 0; r == 0 && i < ATTACHES; i++) {
		double t = now_us();

		snprintf(uid, sizeof(uid), "%s-%d", name, i);
		r = network_detach(mgr, uid, e);
		out[i] = now_us() - t;
		step(NULL, NULL);
	}
	printf("net_attach_%s_p50 %.2f ms\n", name,
	       quantile(in, ATTACHES, 0.5) / 1e3);
	printf("net_attach_%s_p99 %.2f ms\n", name,
	       quantile(in, ATTACHES, 0.99) / 1e3);
	printf("net_detach_%s_p50 %.2f ms\n", name,
	       quantile(out, ATTACHES, 0.5) / 1e3);
	return r;
}

/* --- from one namespace to another ---------------------------------------- */

enum { DATAPATH, VETH, BRIDGE, FLOOR, FLOOR_TCX, NR_PATHS };
static const char *const path_names[NR_PATHS] = { "pod", "veth", "bridge",
						  "floor", "floor_tcx" };

struct path {
	int from, to; /* namespaces */
	struct in_addr ip;
	int udp, icmp; /* connected to @ip */
	int server;
	pthread_t thread;
	double turn[2][ROUNDS]; /* median of each turn: udp, icmp */
};

static void *echo(void *arg)
{
	const struct path *p = arg;
	struct sockaddr_in from;
	socklen_t len;
	char byte;

	for (;;) {
		len = sizeof(from);
		if (recvfrom(p->server, &byte, 1, 0, (void *)&from, &len) != 1)
			return NULL;
		(void)!sendto(p->server, &byte, 1, 0, (void *)&from, len);
	}
}

static int path_open(struct path *p, struct err *e)
{
	static const struct ns_sysctl may_ping = { "ipv4/ping_group_range",
						   "0 2147483647" };
	struct sockaddr_in at = { .sin_family = AF_INET,
				  .sin_port = htons(7),
				  .sin_addr = p->ip };
	int r;

	r = ns_sysctls(p->from, &may_ping, 1, e);
	if (r == 0)
		r = ns_socket(p->to, AF_INET, SOCK_DGRAM, 0, &p->server, e);
	if (r == 0)
		r = ns_socket(p->from, AF_INET, SOCK_DGRAM, 0, &p->udp, e);
	if (r == 0)
		r = ns_socket(p->from, AF_INET, SOCK_DGRAM, IPPROTO_ICMP,
			      &p->icmp, e);
	if (r < 0)
		return r;
	if (bind(p->server, (void *)&at, sizeof(at)) < 0 ||
	    connect(p->udp, (void *)&at, sizeof(at)) < 0 ||
	    connect(p->icmp, (void *)&at, sizeof(at)) < 0)
		return err_sys(e, "connect");
	pthread_create(&p->thread, NULL, echo, p);
	return 0;
}

/* Median of a turn's round trips, in µs; < 0 when one is lost. */
static double turn(int fd, bool icmp)
{
	static double us[PER_TURN];
	const struct timeval limit = { .tv_sec = 2 };
	struct icmphdr out = { .type = ICMP_ECHO }, in;
	size_t len = icmp ? sizeof(out) : 1;

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	for (int i = 0; i < PER_TURN; i++) {
		double t = now_us();

		out.un.echo.sequence = (uint16_t)i;
		if (send(fd, &out, len, 0) != (ssize_t)len ||
		    recv(fd, &in, len, 0) != (ssize_t)len)
			return -1;
		us[i] = now_us() - t;
	}
	return quantile(us, PER_TURN, 0.5);
}

static void report(struct path paths[NR_PATHS], int what, const char *name)
{
	static const struct {
		int a, b;
	} pairs[] = { { DATAPATH, VETH },
		      { DATAPATH, BRIDGE },
		      { FLOOR, VETH },
		      { FLOOR_TCX, VETH } };
	double ratio[4][ROUNDS];

	for (int k = 0; k < ROUNDS; k++)
		for (int i = 0; i < 4; i++)
			ratio[i][k] = paths[pairs[i].a].turn[what][k] /
				      paths[pairs[i].b].turn[what][k];
	for (int i = 0; i < NR_PATHS; i++)
		printf("net_%s_rtt_%s %.2f us\n", name, path_names[i],
		       quantile(paths[i].turn[what], ROUNDS, 0.5));
	for (int i = 0; i < 4; i++)
		printf("net_%s_rtt_%s_to_%s %.3f ratio\n", name,
		       path_names[pairs[i].a], path_names[pairs[i].b],
		       quantile(ratio[i], ROUNDS, 0.5));
}

static int compare(struct path paths[NR_PATHS], struct err *e)
{
	double us;

	for (int k = -1; k < ROUNDS; k++) /* the first is to warm up */
		for (int n = 0; n < NR_PATHS * 2; n++) {
			/* Another order each time: nobody is always first. */
			struct path *p = &paths[(n / 2 + k + 1) % NR_PATHS];
			bool icmp = n % 2;

			us = turn(icmp ? p->icmp : p->udp, icmp);
			if (us < 0)
				return err_set(e, -ETIMEDOUT, "%s: lost",
					       path_names[p - paths]);
			if (k >= 0)
				p->turn[icmp][k] = us;
		}
	report(paths, 0, "udp");
	report(paths, 1, "ping");
	return 0;
}

/* --- the peers ------------------------------------------------------------ */

static int end_up(int ns, const char *ifname, struct in_addr ip, struct err *e)
{
	const struct rt_link_change up = { .up = 1 };
	auto_ptr(rt) rt = NULL;
	struct rt_link link;
	int r = rt_open(ns, &rt, e);

	if (r == 0)
		r = rt_link_find(rt, ifname, &link, e);
	if (r == 0 && ip.s_addr)
		r = rt_addr_add(rt, link.ifindex, ip, 24, e);
	return r < 0 ? r : rt_link_set(rt, link.ifindex, &up, e);
}

static int pair(int ns_a, const char *a, int ns_b, const char *b, struct err *e)
{
	const struct rt_veth_end x = { .name = a, .nsfd = ns_a };
	const struct rt_veth_end y = { .name = b, .nsfd = ns_b };
	auto_ptr(rt) rt = NULL;
	int r = rt_open(NS_OWN, &rt, e);

	return r < 0 ? r : rt_veth_add(rt, &x, &y, e);
}

static int spaces(struct path *p, struct err *e)
{
	int r = ns_create(NULL, &p->from, e);

	return r < 0 ? r : ns_create(NULL, &p->to, e);
}

static int peer_veth(struct path *p, struct err *e)
{
	const struct in_addr ip = { htonl(0xc0000201) };
	int r = spaces(p, e);

	p->ip.s_addr = htonl(0xc0000202);
	if (r == 0)
		r = pair(p->from, "eth0", p->to, "eth0", e);
	if (r == 0)
		r = end_up(p->from, "eth0", ip, e);
	return r < 0 ? r : end_up(p->to, "eth0", p->ip, e);
}

static int ip_link(const char *const words[], struct err *e)
{
	const struct spawn_opts o = { .argv = (char *const *)words };
	struct spawn_result res = SPAWN_RESULT_INIT;
	int r = spawn_run(&o, &(struct spawn_io){ 0 }, &res, e);

	if (r == 0)
		r = spawn_check(&res, "ip", e);
	spawn_result_clear(&res);
	return r;
}

static int peer_bridge(struct path *p, struct err *e)
{
	static const char *const make[] = { "ip",   "link",   "add", "bench0",
					    "type", "bridge", NULL };
	static const char *const a[] = { "ip", "link",   "set",    "bra",
					 "up", "master", "bench0", NULL };
	static const char *const b[] = { "ip", "link",   "set",    "brb",
					 "up", "master", "bench0", NULL };
	const struct in_addr ip = { htonl(0xc6336401) }, none = { 0 };
	int r = spaces(p, e);

	p->ip.s_addr = htonl(0xc6336402);
	if (r == 0)
		r = ip_link(make, e);
	if (r == 0)
		r = end_up(NS_OWN, "bench0", none, e);
	if (r == 0)
		r = pair(NS_OWN, "bra", p->from, "eth0", e);
	if (r == 0)
		r = pair(NS_OWN, "brb", p->to, "eth0", e);
	if (r == 0)
		r = ip_link(a, e);
	if (r == 0)
		r = ip_link(b, e);
	if (r == 0)
		r = end_up(p->from, "eth0", ip, e);
	return r < 0 ? r : end_up(p->to, "eth0", p->ip, e);
}

/* Nothing but the redirect, to @to. */
static int floor_program(int to, struct err *e)
{
	const struct bpf_insn code[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K,
		  .dst_reg = BPF_REG_1,
		  .imm = to },
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_2 },
		{ .code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_redirect_peer },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	int fd = bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "arktos_floor", "GPL",
			       code, sizeof(code) / sizeof(*code), NULL);

	return fd < 0 ? err_sys(e, "load the floor's program") : fd;
}

static int floor_attach(int from, int to, bool tcx, struct err *e)
{
	DECLARE_LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = from,
			    .attach_point = BPF_TC_INGRESS);
	DECLARE_LIBBPF_OPTS(bpf_tc_opts, opts, .handle = 1, .priority = 1);
	enum { TCX_INGRESS = 46 }; /* headers may be older */
	int fd = floor_program(to, e), r;

	if (fd < 0)
		return fd;
	opts.prog_fd = fd;
	if (tcx)
		r = bpf_prog_attach(fd, from, (enum bpf_attach_type)TCX_INGRESS,
				    0);
	else
		r = bpf_tc_hook_create(&hook) ?: bpf_tc_attach(&hook, &opts);
	close(fd);
	return r < 0 ? err_set(e, r, "attach the floor's program%s",
			       tcx ? " by TCX" : "")
		     : 0;
}

/* An end that asks for no neighbours, and sends to its own MAC: both ends of a
 * pair have the same, so that the host's takes what comes for its own. */
static int floor_end(int ns, const char *ifname, struct in_addr ip,
		     int *ret_ifindex, struct err *e)
{
	static const uint8_t mac[6] = { 2, 0, 0, 0, 0, 9 };
	const struct rt_link_change change = { .mac = mac, .noarp = 1 };
	auto_ptr(rt) rt = NULL;
	struct rt_link link;
	int r = rt_open(ns, &rt, e);

	if (r == 0)
		r = rt_link_find(rt, ifname, &link, e);
	if (r == 0)
		r = rt_link_set(rt, link.ifindex, &change, e);
	if (r == 0)
		*ret_ifindex = link.ifindex;
	return r < 0 ? r : end_up(ns, ifname, ip, e);
}

static int peer_floor(struct path *p, bool tcx, struct err *e)
{
	const struct in_addr ip = { htonl(0xcb007101) }, none = { 0 };
	const char *const host[2] = { tcx ? "fxa" : "fla",
				      tcx ? "fxb" : "flb" };
	int inside, a = 0, b = 0, r = spaces(p, e);

	p->ip.s_addr = htonl(0xcb007102);
	if (r == 0)
		r = pair(NS_OWN, host[0], p->from, "eth0", e);
	if (r == 0)
		r = pair(NS_OWN, host[1], p->to, "eth0", e);
	if (r == 0)
		r = floor_end(NS_OWN, host[0], none, &a, e);
	if (r == 0)
		r = floor_end(NS_OWN, host[1], none, &b, e);
	if (r == 0)
		r = floor_end(p->from, "eth0", ip, &inside, e);
	if (r == 0)
		r = floor_end(p->to, "eth0", p->ip, &inside, e);
	if (r == 0)
		r = floor_attach(a, b, tcx, e);
	return r < 0 ? r : floor_attach(b, a, tcx, e);
}

static int pods(struct network_mgr *mgr, struct path *p, struct err *e)
{
	static struct endpoint a = ENDPOINT_INIT, b = ENDPOINT_INIT;
	int r;

	r = network_attach(mgr, "bench", "default", "a", NETWORK_CONTAINER,
			   NULL, &a, e);
	if (r == 0)
		r = network_attach(mgr, "bench", "default", "b",
				   NETWORK_CONTAINER, NULL, &b, e);
	p->from = a.netns_fd;
	p->to = b.netns_fd;
	p->ip = b.ip;
	return r;
}

static int bench(struct network_mgr *mgr, struct err *e)
{
	static struct path paths[NR_PATHS];
	cpu_set_t one;
	int r;

	CPU_ZERO(&one);
	CPU_SET(sysconf(_SC_NPROCESSORS_ONLN) - 1, &one);
	sched_setaffinity(0, sizeof(one), &one);
	r = pods(mgr, &paths[DATAPATH], e);
	if (r == 0)
		r = peer_veth(&paths[VETH], e);
	if (r == 0)
		r = peer_bridge(&paths[BRIDGE], e);
	if (r == 0)
		r = peer_floor(&paths[FLOOR], false, e);
	if (r == 0)
		r = peer_floor(&paths[FLOOR_TCX], true, e);
	for (int i = 0; r == 0 && i < NR_PATHS; i++)
		r = path_open(&paths[i], e);
	usleep(100000); /* carriers come up */
	if (r == 0)
		r = compare(paths, e);
	if (r == 0)
		r = attach_many(mgr, NETWORK_CONTAINER, "container", e);
	if (r == 0)
		r = attach_many(mgr, NETWORK_VM, "vm", e);
	return r;
}

int main(int argc, char **argv)
{
	char dir[] = "/tmp/arktos-bench-net.XXXXXX", bpf[64];
	struct network_opts o = {
		.run_dir = dir, .state_dir = dir, .bpf_dir = bpf, .step = step
	};
	struct network_mgr *mgr = NULL;
	struct err e = { 0 };
	int r;

	o.step = step;
	o.use_tcx = argc > 1 && strcmp(argv[1], "tcx") == 0;
	if (geteuid() != 0 || !mkdtemp(dir) ||
	    unshare(CLONE_NEWNET | CLONE_NEWNS) < 0 ||
	    mount("", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) {
		fprintf(stderr, "bench_net: needs root and namespaces\n");
		return 4;
	}
	snprintf(bpf, sizeof(bpf), "%s/bpf", dir);
	r = network_mgr_open(&o, &mgr, &e);
	if (r == 0)
		r = bench(mgr, &e);
	for (size_t i = 0; steps[i].name; i++)
		printf("net_step_%s_p50 %.2f us\n", steps[i].name,
		       quantile(steps[i].us, steps[i].nr, 0.5));
	if (r < 0)
		fprintf(stderr, "bench_net: %s\n", e.msg);
	if (mgr)
		(void)network_destroy_all(mgr, NULL);
	network_close(mgr);
	(void)fs_remove_tree(AT_FDCWD, dir, NULL);
	return r < 0;
}

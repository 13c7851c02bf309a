/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Network namespaces and what is in them: links, addresses, routes,
 * neighbours, taps, sysctls; over rtnetlink by libnl-3.
 *
 *	auto_close int ns = -EBADF;
 *	auto_ptr(rt) rt = NULL;
 *
 *	ns_create("/run/x/netns", &ns, e);
 *	rt_open(ns, &rt, e);
 *	rt_link_find(rt, "lo", &lo, e);
 *	rt_link_set(rt, lo.ifindex, &(struct rt_link_change){ .up = 1 }, e);
 *
 * No call changes the calling thread's namespace: what has to be done inside
 * of one runs in a thread of its own, which ns_call() starts and joins. A
 * struct rt stays in the namespace it was opened for, and is for one thread at
 * a time. A namespace fd of -1 means the caller's own.
 */
#ifndef NETNS_NETNS_H
#define NETNS_NETNS_H

#include <net/if.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#include "lib/auto.h"

struct err;
struct rt;

#define NS_OWN (-1) /* the calling thread's namespace */

/* --- namespaces ----------------------------------------------------------- */

/* Make a namespace and, unless @path is NULL, pin it there: @path becomes a
 * file that keeps it alive. Its folder must exist. -EEXIST if @path does. */
int ns_create(const char *path, int *ret_fd, struct err *e);

/* -ENOENT when nothing is at @path, -EINVAL when it is not (or no longer) a
 * pinned network namespace. */
int ns_open(const char *path, int *ret_fd, struct err *e);

/* Undo the pin. 0 also when there is none. The namespace goes with its last
 * user. */
int ns_unpin(const char *path, struct err *e);

/* Run @fn in a fresh thread inside @nsfd, and return what it returns. Takes
 * about 0.1 ms on top of @fn. */
int ns_call(int nsfd, int (*fn)(void *arg, struct err *e), void *arg,
	    struct err *e);

/* A socket of that namespace, CLOEXEC; usable from everywhere. */
int ns_socket(int nsfd, int family, int type, int protocol, int *ret_fd,
	      struct err *e);

struct ns_sysctl {
	const char *name; /* below /proc/sys/net: "ipv4/ip_forward" */
	const char *value;
};

/* Write @nr sysctls inside @nsfd. One that the kernel does not have is skipped
 * if its name starts with '-'. */
int ns_sysctls(int nsfd, const struct ns_sysctl *sysctls, size_t nr,
	       struct err *e);

/* Read one; at most @size - 1 bytes, NUL-terminated, without the newline. */
int ns_sysctl_read(int nsfd, const char *name, char *ret, size_t size,
		   struct err *e);

/* --- rtnetlink ------------------------------------------------------------ */

int rt_open(int nsfd, struct rt **ret, struct err *e);
void rt_close(struct rt *rt); /* NULL is fine */
DEFINE_AUTO_PTR(rt, rt_close)

struct rt_link {
	int ifindex;
	int peer_ifindex; /* of a veth, in the peer's namespace; else 0 */
	char name[IF_NAMESIZE];
	char kind[16];  /* "veth", "tun", ...; "" for hardware and lo */
	char alias[64]; /* a remark, cut if longer; "" if none */
	uint8_t mac[6];
	uint32_t mtu;
	bool up;      /* administratively */
	bool running; /* has carrier */
};

/* -ENODEV when there is none. */
int rt_link_find(struct rt *rt, const char *name, struct rt_link *ret,
		 struct err *e);

/* Call @fn for each link until it returns other than 0; returns that. */
int rt_link_for_each(struct rt *rt,
		     int (*fn)(const struct rt_link *link, void *arg),
		     void *arg, struct err *e);

struct rt_veth_end {
	const char *name;
	int nsfd;           /* NS_OWN: the namespace of the rt */
	const uint8_t *mac; /* NULL: the kernel's choice */
	uint32_t mtu;       /* 0: the kernel's choice */
};

/* -EEXIST when one of the names is taken. Both ends are down. */
int rt_veth_add(struct rt *rt, const struct rt_veth_end *a,
		const struct rt_veth_end *b, struct err *e);

/* 0 also when there is no such link. A veth takes its peer with it. */
int rt_link_del(struct rt *rt, const char *name, struct err *e);

/* What to change; zero or NULL leaves a property alone. */
struct rt_link_change {
	const char *name;
	const char *alias; /* a remark, shown by 'ip link' */
	const uint8_t *mac;
	uint32_t mtu;
	int up;    /* 1: up, -1: down */
	int noarp; /* 1: neighbours are not asked for, all are at our MAC */
};

int rt_link_set(struct rt *rt, int ifindex, const struct rt_link_change *change,
		struct err *e);

/* Let @name, in @nsfd, send at once. Of a veth pair the end that came up first
 * drops what it is to send until the kernel's link watch has run, some
 * milliseconds after the other end came up; this runs it now. */
int ns_link_settle(int nsfd, const char *name, struct err *e);

/* These three replace what is there already: idempotent. */
int rt_addr_add(struct rt *rt, int ifindex, struct in_addr addr, int prefix,
		struct err *e);

struct rt_route {
	struct in_addr dst;
	int prefix;         /* 0 with dst 0.0.0.0: the default route */
	struct in_addr via; /* 0.0.0.0: on the link itself */
	struct in_addr src; /* preferred source; 0.0.0.0: none */
	uint32_t mtu;       /* 0: the link's */
	bool onlink;        /* @via is on the link though no route says so */
};

int rt_route_add(struct rt *rt, int ifindex, const struct rt_route *route,
		 struct err *e);

/* A permanent entry. */
int rt_neigh_add(struct rt *rt, int ifindex, struct in_addr addr,
		 const uint8_t mac[6], struct err *e);

/* --- connections the kernel tracks ---------------------------------------- */

/* Of IPv4, with ports: as it was asked for, and as its answers come, which
 * differ where addresses are translated. Ports in host byte order. */
struct ns_flow {
	uint8_t protocol; /* IPPROTO_TCP, ... */
	struct ns_flow_end {
		struct in_addr src, dst;
		uint16_t src_port, dst_port;
	} asked, answered;
};

/* Have @nsfd forget those for which @fn says so: what comes next on them is
 * looked at as new. Walks all of them. */
int ns_flows_forget(int nsfd, bool (*fn)(const struct ns_flow *flow, void *arg),
		    void *arg, struct err *e);

/* --- taps ----------------------------------------------------------------- */

/**
 * ns_tap_open() - Open a persistent tap, making it if need be.
 * @nsfd:   Namespace it is in.
 * @name:   Its name.
 * @ret_fd: Set to the tap's fd, owned by the caller, non-blocking; frames carry
 *          a struct virtio_net_hdr of 10 bytes, until changed by an ioctl.
 * @e:      Filled on error.
 *
 * The tap stays when the fd is closed, until rt_link_del(). Offloads are off,
 * as for a fresh fd; who reads from it says what it can take (TUNSETOFFLOAD).
 *
 * Return: 0, or -EBUSY while another fd is open on it, or an errno.
 */
int ns_tap_open(int nsfd, const char *name, int *ret_fd, struct err *e);

/* Make the tap @name anew on @fd, whose tap was removed: for a process that
 * holds @fd and goes on with it. @hdr_len: of its vnet header. It is in the
 * namespace that @fd was opened in. -EEXIST when @fd has a tap. */
int ns_tap_revive(int fd, const char *name, int hdr_len, struct err *e);

#endif /* NETNS_NETNS_H */

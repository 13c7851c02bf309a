/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AGENT_NETWORK_INTERNAL_H
#define AGENT_NETWORK_INTERNAL_H

#include <limits.h>
#include <net/if.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "agent/network/ipam.h"
#include "agent/network/manifest.h"
#include "agent/network/network.h"
#include "agent/network/ports.h"
#include "bpf/dp.h"
#include "lib/map.h"

struct err;
struct rt;

/* One network. Fixed once made, but for what says who guards it. */
struct net {
	char *tenant, *name;
	uint32_t net_id;
	uint32_t prefix; /* bits */
	uint32_t mtu;
	enum network_egress egress; /* mgr->lock */
	uint32_t egress_slot;       /* of egress addresses; mgr->lock */
	struct ipam ipam;           /* mgr->lock; ipam.base is the CIDR's */
	unsigned int nr_ingress;    /* mgr->lock; leases with ports */
	char *ports_rules;          /* up_lock; its gateway's, as last set */
	unsigned int refs;          /* mgr->lock; the map's and the callers' */
	bool removed;               /* mgr->lock; no longer in the map */
	pthread_mutex_t up_lock;    /* held while its gateway changes */
	bool up;                    /* up_lock */
	atomic_bool lost;           /* a link of its gateway has vanished */
};

/* One pod's address. Immutable but for @net's fields and the ports. */
struct lease {
	char uid[NETWORK_UID_MAX + 1];
	struct net *net;
	uint32_t net_id;
	enum network_kind kind;
	uint32_t ip;              /* host byte order */
	struct lease_port *ports; /* mgr->lock; owned */
	size_t nr_ports;
	bool ports_off; /* mgr->lock; kept, but nothing leads here any more */
};

struct network_mgr {
	char *run_dir, *bpf_dir;
	char *networks_dir; /* <state>/networks */
	char *default_cidr;
	enum network_egress default_egress;
	uint32_t rest_ms;
	int (*step)(void *arg, const char *step);
	void *step_arg;
	struct dp *dp;
	int lock_fd;                 /* flock()ed: one agent per state dir */
	pthread_mutex_t lock;        /* the two below, and what says so */
	struct map nets;             /* "tenant/name" -> struct net */
	struct map leases;           /* uid -> struct lease */
	pthread_mutex_t define_lock; /* held while networks are (un)defined */
	pthread_mutex_t host_lock;   /* held while egress changes the host */
	bool host_ready;             /* host_lock */
	char *ports_rules;           /* host_lock; the host's, as last set */
};

/* --- state.c: what is kept on disk ---------------------------------------- */

int state_load(struct network_mgr *mgr, struct err *e);
int state_net_write(struct network_mgr *mgr, const struct net *net,
		    struct err *e);
int state_net_remove(struct network_mgr *mgr, const struct net *net,
		     struct err *e);
int state_lease_write(struct network_mgr *mgr, const struct lease *lease,
		      struct err *e);
/* Remove the lease and note since when its address rests. */
int state_lease_release(struct network_mgr *mgr, const struct lease *lease,
			struct err *e);

/* Write down its ports, or that it has none. */
int state_ports_write(struct network_mgr *mgr, const struct lease *lease,
		      struct err *e);

/* --- define.c: networks, known by name ------------------------------------ */

int net_new(const struct network_spec *spec, struct net **ret, struct err *e);
void net_unref(struct network_mgr *mgr, struct net *net);
/* Add to the tables, numbered where it is not (@has_slot: its egress addresses
 * are). Caller holds mgr->lock. */
int net_add(struct network_mgr *mgr, struct net *net, bool has_slot,
	    struct err *e);
/* Find, or make if it is "default"; -ENOENT explains. A reference is taken.
 * Takes mgr->lock. */
int net_get(struct network_mgr *mgr, const char *tenant, const char *name,
	    struct net **ret, struct err *e);

/* --- lease.c -------------------------------------------------------------- */

uint64_t wall_clock_ms(void);
/* -EINVAL unless @uid may be a file's name. */
int uid_check(const char *uid, struct err *e);
/* Find or make, durably. */
int lease_get(struct network_mgr *mgr, struct net *net, const char *uid,
	      enum network_kind kind, const char *ip, struct lease **ret,
	      struct err *e);
/* NULL if there is none. For the thread that works on this pod. */
struct lease *lease_find(struct network_mgr *mgr, const char *uid);
/* For any thread: all but ->net is good. -ENOENT explains. */
int lease_copy(struct network_mgr *mgr, const char *uid, struct lease *ret,
	       struct err *e);
/* Forget it, durably; frees @lease. */
int lease_release(struct network_mgr *mgr, struct lease *lease, struct err *e);
void lease_free(void *lease);

/* --- wiring.c: one link into the datapath --------------------------------- */

#define LINK_PREFIX "ark" /* of all our links */

/* What a link of ours should be: of a container, a VM, or a gateway. */
struct wiring {
	char ifname[IF_NAMESIZE]; /* host side */
	char *ns_path;            /* NULL: a tap; owned */
	struct dp_endpoint_key key;
	uint8_t mac[6];      /* pod's side */
	uint8_t host_mac[6]; /* host's side: the gateway's, for all */
	uint32_t gateway;    /* host byte order */
	uint32_t prefix;     /* of the network, bits */
	uint32_t mtu;
	uint16_t flags; /* enum dp_flags of the endpoint */
	char alias[64];
	/* Set the namespace up around eth0, and it up. Idempotent. */
	int (*configure)(const struct wiring *w, int ns_fd, struct rt *rt,
			 int ifindex, struct err *e);
};

int wiring_for_pod(const struct network_mgr *mgr, const struct lease *lease,
		   struct wiring *ret, struct err *e);
int wiring_for_gateway(const struct network_mgr *mgr, const struct net *net,
		       struct wiring *ret, struct err *e);
void wiring_clear(struct wiring *w);

/* Bring a link to what it should be, or away. @ret_ifindex and @ret_tap_fd may
 * be NULL; the tap's fd is -EBADF while another has it. */
int wiring_apply(struct network_mgr *mgr, const struct wiring *w, bool present,
		 int *ret_ifindex, int *ret_tap_fd, struct err *e);

/* Tell the datapath about a link that is there, and no more: what a program
 * that is about to replace another one's will look up. -ENODEV if it is not. */
int wiring_publish(struct network_mgr *mgr, const struct wiring *w,
		   int *ret_ifindex, struct err *e);

void pod_ifname(const char *uid, char ret[IF_NAMESIZE]);
char *pod_ns_path(const struct network_mgr *mgr, const char *uid);
void gateway_ifname(uint32_t net_id, char ret[IF_NAMESIZE]);
char *gateway_ns_path(const struct network_mgr *mgr, uint32_t net_id);
/* Tell the test before a step. */
int mgr_step(struct network_mgr *mgr, const char *step, struct err *e);

/* --- gateway.c ------------------------------------------------------------ */

/* Idempotent; after the first success nearly free. Takes net->up_lock. */
int gateway_up(struct network_mgr *mgr, struct net *net, struct err *e);
int gateway_publish(struct network_mgr *mgr, const struct net *net,
		    struct err *e);
int gateway_down(struct network_mgr *mgr, struct net *net, struct err *e);

/* --- egress.c ------------------------------------------------------------- */

void egress_ifname(uint32_t net_id, char ret[IF_NAMESIZE]);
/* What the pair is for. */
struct egress_ways {
	bool out; /* pods may begin connections */
	bool in;  /* ports of the host lead to pods */
};
int egress_up(struct network_mgr *mgr, const struct net *net, int gateway_ns,
	      const struct egress_ways *ways, struct err *e);
/* Its ends, in host byte order. */
uint32_t egress_host_ip(const struct net *net);
uint32_t egress_gateway_ip(const struct net *net);
/* Run nft on @rules in @nsfd. */
int egress_nft(int nsfd, const char *rules, struct err *e);
int egress_down(uint32_t net_id, int gateway_ns, struct err *e);
/* What egress has changed on the host as such. */
int egress_host_undo(struct network_mgr *mgr, struct err *e);

/* --- ports.c: ports of the host ------------------------------------------- */

/* Set the gateway's rules; with net->up_lock held. */
int ports_gateway(struct network_mgr *mgr, struct net *net, int gateway_ns,
		  struct err *e);
/* Nothing leads to @lease any more; it keeps its ports until it is released. */
int ports_withdraw(struct network_mgr *mgr, struct lease *lease, struct err *e);
/* Make the host's rules what the leases say, if they ever were others. */
int ports_host_settle(struct network_mgr *mgr, struct err *e);
/* Remove the host's rules. */
int ports_host_undo(struct network_mgr *mgr, struct err *e);
/* Take over what was written down: @lease is of a network that is known. */
int ports_load(struct lease *lease, const char *text);

/* --- sweep.c -------------------------------------------------------------- */

/* Remove what no pod and no network owns; with @all, what they own, too. */
int sweep(struct network_mgr *mgr, bool all, struct err *e);

#endif /* AGENT_NETWORK_INTERNAL_H */

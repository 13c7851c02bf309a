/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tenant networks on this host, and the pods' endpoints on them.
 *
 * A network is (tenant, name) with a CIDR of its own; CIDRs of different
 * networks may overlap, since the datapath keys everything by the network's
 * 32-bit net_id. Containers get a network namespace with eth0 in it, VMs a tap;
 * both are wired by the same BPF programs (bpf/). Each network has a gateway: a
 * namespace of ours that owns the network's first address, answers pings, holds
 * the agent's sockets into the network (network_socket()), and forwards to the
 * host's networks when the network's egress is "snat".
 *
 * All of it outlives the agent: namespaces and links stay, BPF programs and
 * maps are pinned, addresses are written down before they are used. Opening
 * again and attaching again finds everything, and repairs what is missing.
 *
 * Thread-safe. Calls for one pod must not overlap; calls for different pods
 * may. No call changes the process (no setns, chdir or umask of it). The host's
 * network namespace is the one of the thread that called network_mgr_open().
 */
#ifndef AGENT_NETWORK_NETWORK_H
#define AGENT_NETWORK_NETWORK_H

#include <net/if.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bpf/datapath.h"

struct buf;
struct err;
struct network_mgr;

#define NETWORK_NAME_MAX   253  /* bytes of a tenant's or network's name */
#define NETWORKS_MAX       4096 /* networks on one host */
#define NETWORK_MTU        1500
#define NETWORK_DEFAULT    "default"
#define NETWORK_CIDR       "10.88.0.0/16"
#define NETWORK_REUSE_MS   60000 /* a released address rests this long */
#define NETWORK_IFNAME_POD "eth0"

enum network_kind { NETWORK_CONTAINER, NETWORK_VM };

/* Where a network's packets for addresses outside of it go. */
enum network_egress {
	NETWORK_EGRESS_NONE, /* nowhere: dropped and counted */
	NETWORK_EGRESS_SNAT, /* to the host's networks, as the host */
};

struct network_opts {
	const char *run_dir;   /* netns are pinned at <run>/pods/<uid>/netns */
	const char *state_dir; /* addresses are kept in <state>/networks/ */
	const char *bpf_dir;   /* our bpffs; mounted if it is not yet one */
	/* For the networks named "default", made on first use: */
	const char *default_cidr;           /* NULL: NETWORK_CIDR */
	enum network_egress default_egress; /* NONE: say so to get out */
	uint32_t reuse_ms;                  /* 0: NETWORK_REUSE_MS */
	/* Attach programs by TCX where the kernel has it: some 5 % less per
	 * round trip, but an attach takes an RCU grace period longer (10 ms).
	 */
	bool use_tcx;
	/* For tests: called before every step of an attach or a detach; not 0
	 * ends it there, as a crash would. */
	int (*step)(void *arg, const char *step);
	void *step_arg;
};

/* What a network should be. Strings are borrowed. */
struct network_spec {
	const char *tenant;
	const char *name;
	const char *cidr; /* "10.88.0.0/16"; /8 .. /30 */
	enum network_egress egress;
	uint32_t mtu;    /* 0: NETWORK_MTU */
	uint32_t net_id; /* 0: the lowest free on this host */
};

/* What a network is. */
struct network_info {
	char tenant[NETWORK_NAME_MAX + 1];
	char name[NETWORK_NAME_MAX + 1];
	uint32_t net_id;
	struct in_addr base;
	uint8_t prefix; /* bits */
	struct in_addr gateway;
	uint32_t mtu;
	enum network_egress egress;
	bool up; /* its gateway exists */
	uint32_t nr_used, nr_addresses;
};

struct endpoint {
	struct in_addr ip;
	uint8_t prefix; /* of the network; a container's eth0 has a /32 */
	struct in_addr gateway;
	uint8_t mac[6]; /* of eth0, or for the guest's NIC */
	uint32_t mtu;
	uint32_t net_id;
	char ifname[IF_NAMESIZE]; /* host side: "ark..." */
	int ifindex;              /* host side */
	char *netns_path;         /* CONTAINER: owned; NULL for a VM */
	int netns_fd;             /* CONTAINER: owned; -EBADF for a VM */
	/* VM: owned, for QEMU's -netdev tap,fd= (vnet header on); -EBADF while
	 * a QEMU holds the tap, and for a container. */
	int tap_fd;
};

#define ENDPOINT_INIT                                 \
	{                                             \
		.netns_fd = -EBADF, .tap_fd = -EBADF, \
	}

struct endpoint_stats {
	uint64_t tx_packets, tx_bytes; /* sent by the pod and delivered */
	uint64_t rx_packets, rx_bytes; /* delivered to the pod */
	uint64_t drops[DP_DROP_NR];    /* sent by the pod; dp_drop_name() */
};

/**
 * network_mgr_open() - Take over this host's tenant networks.
 * @opts: Directories and defaults. Borrowed for the call; strings are copied.
 * @ret:  Set to the manager, owned by the caller: network_close().
 * @e:    Filled on error.
 *
 * Loads the datapath, or takes the pinned one over: endpoints forward all the
 * while, and programs that are not this build's are replaced one by one,
 * atomically. Reads back which network and pod has which address. May take
 * 200 ms. Needs CAP_NET_ADMIN, CAP_SYS_ADMIN and CAP_BPF.
 *
 * Return: 0, or
 *   -EPERM    not allowed to; @e says what
 *   -EBUSY    another agent has these directories open
 *   -EBADMSG  a state file that is not ours; @e names it
 *   -errno    of what failed otherwise
 */
int network_mgr_open(const struct network_opts *opts, struct network_mgr **ret,
		     struct err *e);

/* Let go. Everything stays as it is and keeps forwarding. NULL is fine. */
void network_close(struct network_mgr *mgr);

/**
 * network_define() - Make a network known, or change it.
 * @spec: What it should be. Borrowed.
 *
 * Idempotent and durable. Egress may change at any time; CIDR, MTU and net_id
 * only while no pod is on the network.
 *
 * Return: 0, or
 *   -EINVAL  names, CIDR or MTU are not valid; @e says which and why
 *   -EBUSY   CIDR, MTU or net_id changed with pods on it
 *   -EEXIST  another network has this net_id
 *   -ENOSPC  %NETWORKS_MAX networks exist
 */
int network_define(struct network_mgr *mgr, const struct network_spec *spec,
		   struct err *e);

/* Forget a network and remove its gateway. 0 also when there is none; -EBUSY
 * while pods are on it. */
int network_remove(struct network_mgr *mgr, const char *tenant,
		   const char *name, struct err *e);

/**
 * network_define_json() - network_define() from a manifest.
 * @json: One object, apiVersion arktos.futurewei.com/v1, kind Network; at most
 *        64 KiB. metadata.tenant ("system" if absent), metadata.name, spec.type
 *        "flat", spec.cidr, spec.mtu, spec.netID, and the annotation
 *        arktos.futurewei.com/egress: "snat" or "none".
 *
 * Return: as network_define(), or -EBADMSG when it is no such object.
 */
int network_define_json(struct network_mgr *mgr, const char *json, size_t len,
			struct err *e);

/* network_define() from a command-line option: "tenant/name=10.1.0.0/16", with
 * ",egress=snat" and ",mtu=1400" if wanted. */
int network_define_option(struct network_mgr *mgr, const char *option,
			  struct err *e);

/**
 * network_attach() - Give a pod its endpoint on a network, or find it.
 * @tenant:  The pod's tenant.
 * @network: The network's name there. "default" is made when it is missing.
 * @uid:     The pod's uid; the key of everything about this endpoint.
 * @kind:    Container or VM.
 * @ip:      Address asked for, as text; NULL for any.
 * @ret:     Filled; on error unchanged. The caller calls endpoint_clear().
 * @e:       Filled on error.
 *
 * Idempotent: a further call finds the same address and MAC, repairs whatever
 * is missing, and for a VM opens the tap afresh (for a restarted QEMU). On
 * error nothing is reachable that was not before, and the next call goes on
 * from there; network_detach() undoes it. Typically 3 ms; the first on a
 * network adds its gateway.
 *
 * Return: 0, or
 *   -ENOENT      no such network; @e says how to make it
 *   -ENOSPC      the network's range is used up; @e names it and what to do
 *   -EADDRINUSE  @ip belongs to another pod (named), or is the gateway
 *   -EINVAL      @ip is not in the network, or @uid is not usable as a name
 *   -EEXIST      @uid has an endpoint of another kind or on another network
 *   -errno       of the kernel
 */
int network_attach(struct network_mgr *mgr, const char *tenant,
		   const char *network, const char *uid, enum network_kind kind,
		   const char *ip, struct endpoint *ret, struct err *e);

/* Close and free what an endpoint owns. The pod stays attached. */
void endpoint_clear(struct endpoint *ep);

/* Remove the pod's endpoint with all that belongs to it: map entries, link,
 * namespace pin, address. 0 also when there is none, or only parts of it. */
int network_detach(struct network_mgr *mgr, const char *uid, struct err *e);

/* Detach every pod not among the @nr @uids, and remove links, map entries and
 * pins that no pod owns: what a crash may leave. */
int network_gc(struct network_mgr *mgr, const char *const *uids, size_t nr,
	       struct err *e);

/* -ENOENT when the pod has no endpoint. */
int network_stats(struct network_mgr *mgr, const char *uid,
		  struct endpoint_stats *ret, struct err *e);

/* All networks, by tenant and name; the caller frees the array with free(). */
int network_list(struct network_mgr *mgr, struct network_info **ret,
		 size_t *ret_nr, struct err *e);

/**
 * network_socket() - Open a socket inside a network.
 * @tenant:  Whose network.
 * @network: Its name.
 * @family:  As for socket(2), with @type. CLOEXEC is set.
 * @ret_fd:  Set to the socket, owned by the caller.
 * @e:       Filled on error.
 *
 * The socket lives in the network's gateway: connecting it to a pod's address
 * reaches that pod of that network, whatever other networks use the same
 * addresses; pods see the gateway's address. Takes about 0.1 ms.
 *
 * Return: 0, or -ENOENT when there is no such network, or an errno.
 */
int network_socket(struct network_mgr *mgr, const char *tenant,
		   const char *network, int family, int type, int *ret_fd,
		   struct err *e);

/* network_socket() for the network a pod is on. */
int network_pod_socket(struct network_mgr *mgr, const char *uid, int family,
		       int type, int *ret_fd, struct err *e);

/* Remove all endpoints, gateways, links, pins, nftables tables and our mount
 * of the bpffs ('make down'). The state in <state>/networks/ stays. @mgr is
 * only good for network_close() afterwards. */
int network_destroy_all(struct network_mgr *mgr, struct err *e);

#endif /* AGENT_NETWORK_NETWORK_H */

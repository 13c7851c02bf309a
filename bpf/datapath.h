/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the datapath's BPF programs and user space share: map keys and values,
 * drop reasons, drop events. Addresses are in network byte order, everything
 * else in the host's. Any change here is a new DP_LAYOUT.
 */
#ifndef BPF_DATAPATH_H
#define BPF_DATAPATH_H

#include <linux/types.h>

#define DP_LAYOUT 1 /* of the pinned maps: part of their path */

#define DP_ENDPOINTS_MAX 16384 /* on one host, gateways included */
#define DP_NETWORKS_MAX  8192
#define DP_EVENTS_BYTES  65536    /* of the ring buffer for drop events */
#define DP_EVENT_GAP_NS  10000000 /* per CPU and reason: 100 events a second */

/* Why a packet was dropped: X(name in C, name for people, what it means). */
#define DP_DROPS(X)                                                         \
	X(NONE, "none", "not dropped")                                      \
	X(NO_IFACE, "unknown-interface", "link not (yet) known to us")      \
	X(MALFORMED, "malformed", "truncated, or a bad IPv4 or ARP header") \
	X(SRC_MAC, "spoofed-mac", "source MAC is not the endpoint's")       \
	X(SRC_IP, "spoofed-ip", "source address is not the endpoint's")     \
	X(SRC_ARP, "spoofed-arp", "ARP sender is not the endpoint")         \
	X(ARP_IGNORED, "arp-ignored", "ARP that needs no answer from us")   \
	X(VLAN, "vlan", "802.1Q tag")                                       \
	X(IPV6, "ipv6", "IPv6, which these networks do not carry")          \
	X(PROTOCOL, "protocol", "neither IPv4 nor ARP")                     \
	X(MULTICAST, "multicast", "to a multicast or broadcast address")    \
	X(SELF, "to-itself", "to the endpoint's own address")               \
	X(NO_ENDPOINT, "no-endpoint", "nobody has this address")            \
	X(NO_EGRESS, "no-egress", "outside, and the network has no egress") \
	X(NO_NETWORK, "no-network", "the network is not (yet) known to us") \
	X(TOO_BIG, "too-big", "larger than the receiver's MTU")             \
	X(INTERNAL, "internal", "a kernel helper failed")

enum dp_drop {
#define X(id, name, text) DP_DROP_##id,
	DP_DROPS(X)
#undef X
		DP_DROP_NR
};

enum dp_flags {
	DP_VETH = 1 << 0,    /* deliver into the peer's namespace */
	DP_GATEWAY = 1 << 1, /* may send from outside addresses, with egress */
	DP_EGRESS = 1 << 2,  /* of a network: its gateway leads outside */
	/* Of a network: its gateway lets in what is for ports of the host. Of
	 * an endpoint: it has such, and may answer the outside. */
	DP_INGRESS = 1 << 3,
};

/* ark_endpoints: who has an address of a network? */
struct dp_endpoint_key {
	__u32 net_id;
	__u32 ip;
};

struct dp_endpoint {
	__u32 ifindex; /* host side */
	__u32 mtu;
	__u32 slot; /* of its traffic counters */
	__u8 mac[6];
	__u16 flags; /* enum dp_flags */
};

/* ark_ifaces: whose is this link? Keyed by the host side's ifindex. */
struct dp_iface {
	__u32 net_id;
	__u32 ip;
	__u32 slot;  /* of its traffic counters; given by dp_iface_put() */
	__u8 mac[6]; /* the only source MAC it may use */
	__u16 flags; /* enum dp_flags */
};

/* ark_networks, keyed by net_id. */
struct dp_network {
	__u32 base;
	__u32 mask;
	__u32 gateway;
	__u32 gateway_ifindex; /* host side */
	__u32 gateway_slot;    /* of its traffic counters */
	__u32 mtu;
	__u8 gateway_mac[6];
	__u16 flags; /* enum dp_flags */
};

/* ark_drops, per CPU, indexed by enum dp_drop. */
struct dp_count {
	__u64 packets;
	__u64 bytes;
};

/* ark_traffic, per CPU, indexed by slot. */
struct dp_traffic {
	struct dp_count tx; /* from the pod, delivered */
	struct dp_count rx; /* to the pod */
};

/* ark_link_drops, per CPU, keyed by the host side's ifindex. */
struct dp_link_drops {
	__u64 packets[DP_DROP_NR]; /* from the pod */
};

/* ark_events: a sample of the drops. */
struct dp_event {
	__u64 time_ns; /* CLOCK_MONOTONIC */
	__u32 ifindex;
	__u32 net_id;
	__u32 reason; /* enum dp_drop */
	__u32 len;    /* bytes, with the Ethernet header */
	__u32 src, dst;
	__u16 ethertype; /* network byte order */
	__u8 ip_protocol;
	__u8 pad;
	__u32 seen; /* drops for this reason on this CPU so far */
};

_Static_assert(sizeof(struct dp_endpoint_key) == 8, "dp_endpoint_key");
_Static_assert(sizeof(struct dp_endpoint) == 20, "dp_endpoint");
_Static_assert(sizeof(struct dp_iface) == 20, "dp_iface");
_Static_assert(sizeof(struct dp_network) == 32, "dp_network");
_Static_assert(sizeof(struct dp_event) == 40, "dp_event");

/* "spoofed-mac"; "unknown" for what is not a reason. */
const char *dp_drop_name(unsigned int reason);

#endif /* BPF_DATAPATH_H */

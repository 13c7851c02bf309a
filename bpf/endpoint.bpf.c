// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * endpoint: what a pod may send, and where it goes.
 *
 * Runs at tc ingress on the host side of every veth and on every tap, for all
 * networks of this host; which one a packet is on follows from the link it came
 * from, and every lookup by address starts with that net_id. Nothing passes on
 * to the host's own stack.
 *
 * A packet goes through: source check -> route -> deliver. Services will
 * translate between the first two, policy decide between the last two, and
 * remote endpoints be one more way to deliver.
 *
 * Failure policy: closed. What is not understood or not found is dropped and
 * counted.
 *
 * Packets are only read through skb->data: one direct write would make the
 * verifier add a prologue that copies every cloned (so every TCP) packet.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/ip.h>
#include <linux/pkt_cls.h>
#include <stdbool.h>
#include <stddef.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "bpf/datapath.h"
#include "bpf/maps.bpf.h"

/* <linux/if_arp.h> would bring <sys/socket.h>, which has no place here. */
enum { ARP_ETHERNET = 1, ARP_REQUEST = 1, ARP_REPLY = 2 };

struct arp_ipv4 {
	struct ethhdr eth;
	__be16 hardware;
	__be16 protocol;
	__u8 hardware_len;
	__u8 protocol_len;
	__be16 op;
	__u8 sender_mac[6];
	__be32 sender_ip;
	__u8 target_mac[6];
	__be32 target_ip;
} __attribute__((packed));

/* One packet on its way through. */
struct packet {
	struct __sk_buff *skb;
	const struct dp_iface *from;
	__u32 ifindex; /* it came from */
	__u32 src;
	__u32 dst;
	__u16 ethertype;
	__u8 ip_protocol;
};

static __always_inline bool mac_equal(const __u8 *a, const __u8 *b)
{
	const __u16 *x = (const void *)a, *y = (const void *)b;

	return x[0] == y[0] && x[1] == y[1] && x[2] == y[2];
}

static __always_inline void event(const struct packet *p, __u32 reason,
				  __u64 seen)
{
	__u64 *next = bpf_map_lookup_elem(&ark_event_gaps, &reason);
	__u64 now = bpf_ktime_get_ns();
	struct dp_event *ev;

	if (!next || now < *next)
		return;
	*next = now + DP_EVENT_GAP_NS;
	ev = bpf_ringbuf_reserve(&ark_events, sizeof(*ev), 0);
	if (!ev)
		return;
	ev->time_ns = now;
	ev->ifindex = p->ifindex;
	ev->net_id = p->from ? p->from->net_id : 0;
	ev->reason = reason;
	ev->len = p->skb->len;
	ev->src = p->src;
	ev->dst = p->dst;
	ev->ethertype = p->ethertype;
	ev->ip_protocol = p->ip_protocol;
	ev->pad = 0;
	ev->seen = seen;
	bpf_ringbuf_submit(ev, 0);
}

static __always_inline void count_delivered(const struct packet *p,
					    __u32 to_slot)
{
	__u32 packets = p->skb->gso_segs ? p->skb->gso_segs : 1;
	__u32 from_slot = p->from->slot;
	struct dp_traffic *from, *to;

	from = bpf_map_lookup_elem(&ark_traffic, &from_slot);
	if (from) {
		from->tx.packets += packets;
		from->tx.bytes += p->skb->len;
	}
	to = bpf_map_lookup_elem(&ark_traffic, &to_slot);
	if (to) {
		to->rx.packets += packets;
		to->rx.bytes += p->skb->len;
	}
}

/* A redirect checks no MTU, and a guest may send what it likes to its tap. */
static __always_inline bool too_big(struct __sk_buff *skb, __u32 to, __u32 mtu)
{
	__u32 ignored = 0;

	if (skb->len <= mtu + ETH_HLEN)
		return false;
	if (!skb->gso_size)
		return true;
	return bpf_check_mtu(skb, to, &ignored, 0, BPF_MTU_CHK_SEGS) != 0;
}

/* Has the sender learnt the receiver's MAC? Then nothing is written: a write
 * copies the head of every cloned packet. */
static __always_inline bool is_for(struct __sk_buff *skb, const __u8 *mac)
{
	const struct ethhdr *eth = (void *)(long)skb->data;

	return (void *)(eth + 1) <= (void *)(long)skb->data_end &&
	       mac_equal(eth->h_dest, mac);
}

static __always_inline int deliver(const struct packet *p,
				   const struct dp_endpoint *to)
{
	struct __sk_buff *skb = p->skb;

	if (too_big(skb, to->ifindex, to->mtu))
		return -DP_DROP_TOO_BIG;
	if (!is_for(skb, to->mac) &&
	    bpf_skb_store_bytes(skb, offsetof(struct ethhdr, h_dest), to->mac,
				sizeof(to->mac), 0))
		return -DP_DROP_INTERNAL;
	count_delivered(p, to->slot);
	if (!(to->flags & DP_VETH))
		return bpf_redirect(to->ifindex, 0);

	/* The stack behind goes by the type the first link has given it. */
	if (skb->pkt_type != PACKET_HOST)
		bpf_skb_change_type(skb, PACKET_HOST);
	return bpf_redirect_peer(to->ifindex, 0);
}

static __always_inline bool is_inside(const struct dp_network *net, __u32 ip)
{
	return (ip & net->mask) == net->base;
}

static __always_inline bool is_multicast(const struct dp_network *net, __u32 ip)
{
	return (ip & bpf_htonl(0xf0000000)) == bpf_htonl(0xe0000000) ||
	       ip == bpf_htonl(0xffffffff) || ip == (net->base | ~net->mask);
}

static __always_inline const struct dp_network *
network_of(const struct packet *p)
{
	__u32 net_id = p->from->net_id;

	return bpf_map_lookup_elem(&ark_networks, &net_id);
}

/* The gateway, for what is outside of the network. */
static __always_inline int route_outside(const struct packet *p,
					 struct dp_endpoint *to)
{
	const struct dp_network *net = network_of(p);

	if (!net)
		return -DP_DROP_NO_NETWORK;
	if (is_multicast(net, p->dst))
		return -DP_DROP_MULTICAST;
	if (is_inside(net, p->dst))
		return -DP_DROP_NO_ENDPOINT;
	if (!((net->flags & DP_EGRESS) || (p->from->flags & DP_INGRESS)) ||
	    (p->from->flags & DP_GATEWAY))
		return -DP_DROP_NO_EGRESS;
	to->ifindex = net->gateway_ifindex;
	to->slot = net->gateway_slot;
	to->mtu = net->mtu;
	to->flags = DP_VETH | DP_GATEWAY;
	__builtin_memcpy(to->mac, net->gateway_mac, sizeof(to->mac));
	return 0;
}

static __always_inline int route_ipv4(const struct packet *p)
{
	struct dp_endpoint_key key = { p->from->net_id, p->dst };
	const struct dp_endpoint *found;
	struct dp_endpoint to;
	int r;

	found = bpf_map_lookup_elem(&ark_endpoints, &key);
	if (found) {
		to = *found;
		if (to.ifindex == p->ifindex)
			return -DP_DROP_SELF;
	} else {
		r = route_outside(p, &to);
		if (r)
			return r;
	}
	return deliver(p, &to);
}

/* A pod sends from its own address only; a gateway from outside ones, too. */
static __always_inline bool may_send_from(const struct packet *p)
{
	const struct dp_network *net;

	if (p->src == p->from->ip)
		return true;
	if (!(p->from->flags & DP_GATEWAY))
		return false;
	net = network_of(p);
	return net && net->flags && !is_inside(net, p->src);
}

static __always_inline int handle_ipv4(struct packet *p)
{
	struct __sk_buff *skb = p->skb;
	const __u32 need = ETH_HLEN + sizeof(struct iphdr);
	const struct iphdr *ip;

	if (skb->data + need > skb->data_end)
		bpf_skb_pull_data(skb, need);
	if ((void *)(long)skb->data + need > (void *)(long)skb->data_end)
		return -DP_DROP_MALFORMED;
	ip = (void *)(long)skb->data + ETH_HLEN;
	p->src = ip->saddr;
	p->dst = ip->daddr;
	p->ip_protocol = ip->protocol;
	if (ip->version != 4 || ip->ihl < 5 ||
	    bpf_ntohs(ip->tot_len) < ip->ihl * 4 ||
	    bpf_ntohs(ip->tot_len) + ETH_HLEN > skb->len)
		return -DP_DROP_MALFORMED;
	if (!may_send_from(p))
		return -DP_DROP_SRC_IP;
	return route_ipv4(p);
}

/* Answered for: every address of the network but the asker's own; an endpoint
 * here with its own MAC, others with the gateway's (what is sent to an outdated
 * one arrives all the same). 0.0.0.0 probes for duplicates: not answered. */
static __always_inline int handle_arp(struct packet *p)
{
	const struct dp_network *net = network_of(p);
	const struct dp_endpoint *found;
	struct __sk_buff *skb = p->skb;
	struct dp_endpoint_key key = { .net_id = p->from->net_id };
	struct arp_ipv4 a;

	if (!net)
		return -DP_DROP_NO_NETWORK;
	if (bpf_skb_load_bytes(skb, 0, &a, sizeof(a)))
		return -DP_DROP_MALFORMED;
	p->src = a.sender_ip;
	p->dst = a.target_ip;
	if (a.hardware != bpf_htons(ARP_ETHERNET) ||
	    a.protocol != bpf_htons(ETH_P_IP) || a.hardware_len != 6 ||
	    a.protocol_len != 4)
		return -DP_DROP_MALFORMED;
	if (!mac_equal(a.sender_mac, p->from->mac) ||
	    (p->src && p->src != p->from->ip))
		return -DP_DROP_SRC_ARP;
	if (a.op != bpf_htons(ARP_REQUEST) || p->dst == p->from->ip ||
	    !is_inside(net, p->dst))
		return -DP_DROP_ARP_IGNORED;

	key.ip = p->dst;
	__builtin_memcpy(a.eth.h_dest, p->from->mac, 6);
	__builtin_memcpy(a.eth.h_source, net->gateway_mac, 6);
	a.op = bpf_htons(ARP_REPLY);
	__builtin_memcpy(a.target_mac, p->from->mac, 6);
	found = bpf_map_lookup_elem(&ark_endpoints, &key);
	__builtin_memcpy(a.sender_mac, found ? found->mac : net->gateway_mac,
			 6);
	a.target_ip = p->src;
	a.sender_ip = p->dst;
	if (bpf_skb_store_bytes(skb, 0, &a, sizeof(a), 0))
		return -DP_DROP_INTERNAL;
	return bpf_redirect(p->ifindex, 0);
}

static __always_inline int handle(struct packet *p)
{
	const struct ethhdr *eth = (void *)(long)p->skb->data;

	p->from = bpf_map_lookup_elem(&ark_ifaces, &p->ifindex);
	if (!p->from)
		return -DP_DROP_NO_IFACE;
	if ((void *)(eth + 1) > (void *)(long)p->skb->data_end)
		return -DP_DROP_MALFORMED;
	p->ethertype = eth->h_proto;
	if (!mac_equal(eth->h_source, p->from->mac))
		return -DP_DROP_SRC_MAC;
	if (p->skb->vlan_present)
		return -DP_DROP_VLAN;
	if (p->ethertype == bpf_htons(ETH_P_ARP))
		return handle_arp(p);
	if (p->ethertype == bpf_htons(ETH_P_IPV6))
		return -DP_DROP_IPV6;
	if (p->ethertype != bpf_htons(ETH_P_IP))
		return -DP_DROP_PROTOCOL;
	if (eth->h_dest[0] & 1)
		return -DP_DROP_MULTICAST;
	return handle_ipv4(p);
}

/* Counters are per CPU, and here softirqs are off: nothing comes in between. */
static __always_inline int drop(const struct packet *p, __u32 reason)
{
	struct dp_count *count = bpf_map_lookup_elem(&ark_drops, &reason);
	struct dp_link_drops *link =
		bpf_map_lookup_elem(&ark_link_drops, &p->ifindex);

	if (link && reason < DP_DROP_NR)
		link->packets[reason]++;
	if (count) {
		count->packets++;
		count->bytes += p->skb->len;
		event(p, reason, count->packets);
	}
	return TC_ACT_SHOT;
}

SEC("tc")
int from_endpoint(struct __sk_buff *skb)
{
	struct packet p = { .skb = skb, .ifindex = skb->ifindex };
	int verdict;

	verdict = handle(&p);
	return verdict < 0 ? drop(&p, -verdict) : verdict;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";

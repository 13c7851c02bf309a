/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which address of a network is free. Pure: no I/O, no clock. Addresses are in
 * host byte order here. Memory follows the addresses in use.
 */
#ifndef AGENT_NETWORK_IPAM_H
#define AGENT_NETWORK_IPAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define IPAM_PREFIX_MIN 8
#define IPAM_PREFIX_MAX 30

struct ipam_slot {
	uint32_t ip;
	bool used;            /* or resting since: */
	uint64_t released_ms; /* wall clock */
};

struct ipam {
	uint32_t base;           /* first address: never given out */
	uint32_t last;           /* broadcast: never given out */
	struct ipam_slot *slots; /* by rising ip */
	size_t nr, size;
	size_t nr_used;
};

/* @base has no bits beyond @prefix. The first address after it is the
 * gateway's. */
void ipam_init(struct ipam *p, uint32_t base, unsigned int prefix);
void ipam_clear(struct ipam *p);

static inline uint32_t ipam_gateway(const struct ipam *p)
{
	return p->base + 1;
}

/* Addresses for pods. */
uint32_t ipam_capacity(const struct ipam *p);

/* May a pod have @ip at all? */
bool ipam_is_usable(const struct ipam *p, uint32_t ip);

/* Take @ip, resting or not. 0, -EEXIST when in use, -EINVAL when not usable,
 * -ENOMEM. */
int ipam_take(struct ipam *p, uint32_t ip);

/* Take the lowest free one. One released less than @rest_ms ago is taken only
 * when there is no other: then the one that rested longest. 0, -ENOSPC or
 * -ENOMEM. */
int ipam_alloc(struct ipam *p, uint64_t now_ms, uint64_t rest_ms,
	       uint32_t *ret_ip);

/* Let @ip rest from @now_ms on; nothing happens if it is not in use. */
void ipam_release(struct ipam *p, uint32_t ip, uint64_t now_ms);

/* Note that @ip, which is not in use, rests since @released_ms. 0 or -ENOMEM,
 * -EINVAL when not usable, -EEXIST when in use. */
int ipam_rest(struct ipam *p, uint32_t ip, uint64_t released_ms);

#endif /* AGENT_NETWORK_IPAM_H */

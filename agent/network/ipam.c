// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/network/ipam.h"

void ipam_init(struct ipam *p, uint32_t base, unsigned int prefix)
{
	*p = (struct ipam){
		.base = base,
		.last = base | (uint32_t)(0xffffffffULL >> prefix),
	};
}

void ipam_clear(struct ipam *p)
{
	free(p->slots);
	*p = (struct ipam){ .base = p->base, .last = p->last };
}

uint32_t ipam_capacity(const struct ipam *p)
{
	return p->last - p->base - 2; /* base, gateway and broadcast are not */
}

bool ipam_is_usable(const struct ipam *p, uint32_t ip)
{
	return ip > ipam_gateway(p) && ip < p->last;
}

/* Index of the first slot whose ip is not below @ip. */
static size_t lower_bound(const struct ipam *p, uint32_t ip)
{
	size_t low = 0, high = p->nr;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (p->slots[mid].ip < ip)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static struct ipam_slot *find(const struct ipam *p, uint32_t ip)
{
	size_t i = lower_bound(p, ip);

	return i < p->nr && p->slots[i].ip == ip ? &p->slots[i] : NULL;
}

static int insert(struct ipam *p, size_t at, struct ipam_slot slot)
{
	if (p->nr == p->size) {
		size_t size = p->size ? p->size * 2 : 16;
		struct ipam_slot *more =
			reallocarray(p->slots, size, sizeof(*more));

		if (!more)
			return -ENOMEM;
		p->slots = more;
		p->size = size;
	}
	memmove(&p->slots[at + 1], &p->slots[at],
		(p->nr - at) * sizeof(*p->slots));
	p->slots[at] = slot;
	p->nr++;
	p->nr_used += slot.used;
	return 0;
}

int ipam_take(struct ipam *p, uint32_t ip)
{
	struct ipam_slot *slot = find(p, ip);

	if (!ipam_is_usable(p, ip))
		return -EINVAL;
	if (!slot)
		return insert(p, lower_bound(p, ip),
			      (struct ipam_slot){ .ip = ip, .used = true });
	if (slot->used)
		return -EEXIST;
	slot->used = true;
	p->nr_used++;
	return 0;
}

static bool is_rested(const struct ipam_slot *slot, uint64_t now_ms,
		      uint64_t rest_ms)
{
	/* A release in the future: the clock was set back. Let it rest. */
	return !slot->used && slot->released_ms <= now_ms &&
	       now_ms - slot->released_ms >= rest_ms;
}

static void forget_rested(struct ipam *p, uint64_t now_ms, uint64_t rest_ms)
{
	size_t kept = 0;

	for (size_t i = 0; i < p->nr; i++)
		if (!is_rested(&p->slots[i], now_ms, rest_ms))
			p->slots[kept++] = p->slots[i];
	p->nr = kept;
}

static struct ipam_slot *longest_resting(const struct ipam *p)
{
	struct ipam_slot *best = NULL;

	for (size_t i = 0; i < p->nr; i++)
		if (!p->slots[i].used &&
		    (!best || p->slots[i].released_ms < best->released_ms))
			best = &p->slots[i];
	return best;
}

int ipam_alloc(struct ipam *p, uint64_t now_ms, uint64_t rest_ms,
	       uint32_t *ret_ip)
{
	uint32_t ip = ipam_gateway(p) + 1;
	struct ipam_slot *slot;
	size_t i = 0;
	int r;

	forget_rested(p, now_ms, rest_ms);
	while (i < p->nr && p->slots[i].ip == ip)
		i++, ip++;
	if (ip < p->last) {
		r = insert(p, i, (struct ipam_slot){ .ip = ip, .used = true });
		if (r == 0)
			*ret_ip = ip;
		return r;
	}
	slot = longest_resting(p);
	if (!slot)
		return -ENOSPC;
	slot->used = true;
	p->nr_used++;
	*ret_ip = slot->ip;
	return 0;
}

void ipam_release(struct ipam *p, uint32_t ip, uint64_t now_ms)
{
	struct ipam_slot *slot = find(p, ip);

	if (!slot || !slot->used)
		return;
	slot->used = false;
	slot->released_ms = now_ms;
	p->nr_used--;
}

int ipam_rest(struct ipam *p, uint32_t ip, uint64_t released_ms)
{
	struct ipam_slot *slot = find(p, ip);

	if (!ipam_is_usable(p, ip))
		return -EINVAL;
	if (slot && slot->used)
		return -EEXIST;
	if (slot)
		slot->released_ms = released_ms;
	else
		return insert(p, lower_bound(p, ip),
			      (struct ipam_slot){ .ip = ip,
						  .released_ms = released_ms });
	return 0;
}

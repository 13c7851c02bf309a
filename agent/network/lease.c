// SPDX-License-Identifier: Apache-2.0
/* Which pod has which address. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "agent/network/internal.h"
#include "lib/err.h"
#include "lib/str.h"

void lease_free(void *arg)
{
	struct lease *lease = arg;

	free(lease->ports);
	free(lease);
}

uint64_t wall_clock_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

int uid_check(const char *uid, struct err *e)
{
	size_t len = strlen(uid);

	if (len == 0 || len > NETWORK_UID_MAX || uid[0] == '.' ||
	    strspn(uid, "abcdefghijklmnopqrstuvwxyz0123456789-._"
			"ABCDEFGHIJKLMNOPQRSTUVWXYZ") != len)
		return err_set(
			e, -EINVAL,
			"pod uid '%.64s' may hold letters, digits, '-', '.' and '_' only, at most %d",
			uid, NETWORK_UID_MAX);
	return 0;
}

struct lease *lease_find(struct network_mgr *mgr, const char *uid)
{
	struct lease *lease;

	pthread_mutex_lock(&mgr->lock);
	lease = map_get(&mgr->leases, uid);
	pthread_mutex_unlock(&mgr->lock);
	return lease;
}

int lease_copy(struct network_mgr *mgr, const char *uid, struct lease *ret,
	       struct err *e)
{
	const struct lease *lease;

	pthread_mutex_lock(&mgr->lock);
	lease = map_get(&mgr->leases, uid);
	if (lease)
		*ret = *lease;
	pthread_mutex_unlock(&mgr->lock);
	return lease ? 0
		     : err_set(e, -ENOENT, "pod %.64s has no endpoint", uid);
}

static const char *kind_name(enum network_kind kind)
{
	return kind == NETWORK_VM ? "VM" : "container";
}

static int check_same(const struct lease *lease, const struct net *net,
		      enum network_kind kind, const char *ip, struct err *e)
{
	char have[INET_ADDRSTRLEN];
	uint32_t asked;

	if (lease->net != net)
		return err_set(e, -EEXIST,
			       "the pod is on network %s/%s: detach it first",
			       lease->net->tenant, lease->net->name);
	if (lease->kind != kind)
		return err_set(e, -EEXIST,
			       "the pod has a %s's endpoint: detach it first",
			       kind_name(lease->kind));
	ip_format(lease->ip, have);
	if (ip && (ip_parse(ip, &asked) < 0 || asked != lease->ip))
		return err_set(
			e, -EEXIST,
			"the pod has address %s, not %.40s: detach it first",
			have, ip);
	return 0;
}

/* Whose is @ip? For a message only. Caller holds mgr->lock. */
static const char *owner_of(struct network_mgr *mgr, const struct net *net,
			    uint32_t ip)
{
	struct map_iter it = MAP_ITER_INIT;

	while (map_next(&mgr->leases, &it)) {
		const struct lease *lease = it.value;

		if (lease->net == net && lease->ip == ip)
			return lease->uid;
	}
	return "unknown";
}

static int take_requested(struct network_mgr *mgr, struct net *net,
			  const char *ip, uint32_t *ret, struct err *e)
{
	char base[INET_ADDRSTRLEN];
	uint32_t asked;
	int r;

	ip_format(net->ipam.base, base);
	if (ip_parse(ip, &asked) < 0)
		return err_set(e, -EINVAL, "'%.40s' is not an IPv4 address",
			       ip);
	r = ipam_take(&net->ipam, asked);
	if (r == -EEXIST)
		return err_set(e, -EADDRINUSE,
			       "address %s of network %s/%s belongs to pod %s",
			       ip, net->tenant, net->name,
			       owner_of(mgr, net, asked));
	if (r == -EINVAL && asked == ipam_gateway(&net->ipam))
		return err_set(e, -EADDRINUSE,
			       "address %s is the gateway of network %s/%s", ip,
			       net->tenant, net->name);
	if (r == -EINVAL)
		return err_set(
			e, -EINVAL,
			"address %s is not for pods of network %s/%s (%s/%u)",
			ip, net->tenant, net->name, base, net->prefix);
	if (r < 0)
		return err_set(e, r, "out of memory");
	*ret = asked;
	return 0;
}

static int take_any(struct network_mgr *mgr, struct net *net, uint32_t *ret,
		    struct err *e)
{
	char base[INET_ADDRSTRLEN];
	int r = ipam_alloc(&net->ipam, wall_clock_ms(), mgr->rest_ms, ret);

	ip_format(net->ipam.base, base);
	if (r == -ENOSPC)
		return err_set(
			e, r,
			"network %s/%s: all %u addresses of %s/%u are in use: delete pods, or use a network with a larger CIDR",
			net->tenant, net->name, ipam_capacity(&net->ipam), base,
			net->prefix);
	if (r < 0)
		return err_set(e, r, "out of memory");
	return 0;
}

/* Caller holds mgr->lock. */
static int lease_new(struct network_mgr *mgr, struct net *net, const char *uid,
		     enum network_kind kind, const char *ip, struct lease **ret,
		     struct err *e)
{
	struct lease *lease = calloc(1, sizeof(*lease));
	int r;

	if (!lease)
		return err_set(e, -ENOMEM, "out of memory");
	lease->net = net;
	lease->net_id = net->net_id;
	lease->kind = kind;
	snprintf(lease->uid, sizeof(lease->uid), "%s", uid);
	if (net->removed)
		r = err_set(e, -ENOENT, "network %s/%s was removed just now",
			    net->tenant, net->name);
	else if (ip)
		r = take_requested(mgr, net, ip, &lease->ip, e);
	else
		r = take_any(mgr, net, &lease->ip, e);
	if (r < 0)
		goto undo_alloc;
	if (map_set(&mgr->leases, uid, lease, NULL) < 0) {
		r = err_set(e, -ENOMEM, "out of memory");
		goto undo_take;
	}
	*ret = lease;
	return 0;

undo_take:
	ipam_release(&net->ipam, lease->ip, 0);
undo_alloc:
	free(lease);
	return r;
}

static void lease_forget(struct network_mgr *mgr, struct lease *lease)
{
	pthread_mutex_lock(&mgr->lock);
	map_del(&mgr->leases, lease->uid);
	ipam_release(&lease->net->ipam, lease->ip, wall_clock_ms());
	if (lease->nr_ports && !lease->ports_off)
		lease->net->nr_ingress--;
	pthread_mutex_unlock(&mgr->lock);
	lease_free(lease);
}

int lease_get(struct network_mgr *mgr, struct net *net, const char *uid,
	      enum network_kind kind, const char *ip, struct lease **ret,
	      struct err *e)
{
	struct lease *lease;
	bool fresh = false;
	int r;

	pthread_mutex_lock(&mgr->lock);
	lease = map_get(&mgr->leases, uid);
	if (lease) {
		r = check_same(lease, net, kind, ip, e);
	} else {
		r = lease_new(mgr, net, uid, kind, ip, &lease, e);
		fresh = r == 0;
	}
	pthread_mutex_unlock(&mgr->lock);
	if (r < 0)
		return r;
	if (fresh) {
		r = state_lease_write(mgr, lease, e);
		if (r < 0) {
			lease_forget(mgr, lease);
			return r;
		}
	}
	*ret = lease;
	return 0;
}

int lease_release(struct network_mgr *mgr, struct lease *lease, struct err *e)
{
	int r = state_lease_release(mgr, lease, e);

	if (r < 0)
		return r;
	lease_forget(mgr, lease);
	return 0;
}

// SPDX-License-Identifier: Apache-2.0
/* Networks, known by name: define, find, remove, list. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/network/internal.h"
#include "lib/auto.h"
#include "lib/err.h"
#include "lib/str.h"

DEFINE_AUTO_PTR(yyjson_doc, yyjson_doc_free)

static void net_free(struct net *net)
{
	ipam_clear(&net->ipam);
	pthread_mutex_destroy(&net->up_lock);
	free(net->tenant);
	free(net->name);
	free(net->ports_rules);
	free(net);
}

int net_new(const struct network_spec *spec, struct net **ret, struct err *e)
{
	unsigned int prefix;
	struct net *net;
	uint32_t base;
	int r;

	r = network_spec_check(spec, &base, &prefix, e);
	if (r < 0)
		return r;
	net = calloc(1, sizeof(*net));
	if (!net)
		return err_set(e, -ENOMEM, "out of memory");
	pthread_mutex_init(&net->up_lock, NULL);
	net->refs = 1;
	net->tenant = strdup(spec->tenant);
	net->name = strdup(spec->name);
	net->net_id = spec->net_id;
	net->prefix = prefix;
	net->mtu = spec->mtu ? spec->mtu : NETWORK_MTU;
	net->egress = spec->egress;
	ipam_init(&net->ipam, base, prefix);
	if (!net->tenant || !net->name) {
		net_free(net);
		return err_set(e, -ENOMEM, "out of memory");
	}
	*ret = net;
	return 0;
}

void net_unref(struct network_mgr *mgr, struct net *net)
{
	bool last;

	if (!net)
		return;
	pthread_mutex_lock(&mgr->lock);
	last = --net->refs == 0;
	pthread_mutex_unlock(&mgr->lock);
	if (last)
		net_free(net);
}

static char *net_key(const char *tenant, const char *name)
{
	return str_printf("%s/%s", tenant, name);
}

static struct net *net_find(struct network_mgr *mgr, const char *tenant,
			    const char *name)
{
	auto_free char *key = net_key(tenant, name);

	return key ? map_get(&mgr->nets, key) : NULL;
}

/* The lowest number from @first on for which @used says no. */
static uint32_t lowest_free(const bool *used, uint32_t first)
{
	while (used[first])
		first++;
	return first;
}

/* Number it: net_id unless it has one, and its egress addresses. */
static int net_number(struct network_mgr *mgr, struct net *net, bool has_slot,
		      struct err *e)
{
	size_t nr = NETWORKS_MAX + 2;
	auto_free bool *ids = calloc(nr, sizeof(*ids));
	auto_free bool *slots = calloc(EGRESS_SLOTS + 1, sizeof(*slots));
	struct map_iter it = MAP_ITER_INIT;

	if (!ids || !slots)
		return err_set(e, -ENOMEM, "out of memory");
	while (map_next(&mgr->nets, &it)) {
		const struct net *other = it.value;

		if (other->net_id == net->net_id)
			return err_set(e, -EEXIST,
				       "network %s/%s: netID %u is that of %s",
				       net->tenant, net->name, net->net_id,
				       it.key);
		if (other->net_id < nr)
			ids[other->net_id] = true;
		slots[other->egress_slot] = true;
	}
	if (!net->net_id)
		net->net_id = lowest_free(ids, 1);
	if (!has_slot || slots[net->egress_slot])
		net->egress_slot = lowest_free(slots, 0);
	return 0;
}

int net_add(struct network_mgr *mgr, struct net *net, bool has_slot,
	    struct err *e)
{
	auto_free char *key = net_key(net->tenant, net->name);
	int r;

	if (map_len(&mgr->nets) >= NETWORKS_MAX)
		return err_set(e, -ENOSPC,
			       "%d networks exist on this host: remove one",
			       NETWORKS_MAX);
	r = net_number(mgr, net, has_slot, e);
	if (r < 0)
		return r;
	if (!key || map_set(&mgr->nets, key, net, NULL) < 0)
		return err_set(e, -ENOMEM, "out of memory");
	return 0;
}

static void net_del(struct network_mgr *mgr, struct net *net)
{
	auto_free char *key = net_key(net->tenant, net->name);

	if (key)
		map_del(&mgr->nets, key);
	net->removed = true;
}

/* Caller holds define_lock. */
static int create(struct network_mgr *mgr, const struct network_spec *spec,
		  struct err *e)
{
	struct net *net = NULL;
	int r = net_new(spec, &net, e);

	if (r < 0)
		return r;
	pthread_mutex_lock(&mgr->lock);
	r = net_add(mgr, net, false, e);
	pthread_mutex_unlock(&mgr->lock);
	if (r < 0) {
		net_free(net);
		return r;
	}
	r = state_net_write(mgr, net, e);
	if (r == 0)
		return 0;
	pthread_mutex_lock(&mgr->lock);
	net_del(mgr, net);
	pthread_mutex_unlock(&mgr->lock);
	net_unref(mgr, net);
	return r;
}

/* Find with a reference. */
static struct net *net_ref(struct network_mgr *mgr, const char *tenant,
			   const char *name)
{
	struct net *net;

	pthread_mutex_lock(&mgr->lock);
	net = net_find(mgr, tenant, name);
	if (net)
		net->refs++;
	pthread_mutex_unlock(&mgr->lock);
	return net;
}

/* Caller holds define_lock. Consumes the reference on success and failure. */
static int remove_net(struct network_mgr *mgr, struct net *net, struct err *e)
{
	size_t used;
	int r;

	pthread_mutex_lock(&mgr->lock);
	used = net->ipam.nr_used;
	if (!used)
		net_del(mgr, net);
	pthread_mutex_unlock(&mgr->lock);
	if (used) {
		r = err_set(e, -EBUSY, "network %s/%s has %zu pods on it",
			    net->tenant, net->name, used);
		net_unref(mgr, net);
		return r;
	}
	r = gateway_down(mgr, net, e);
	if (r == 0)
		r = state_net_remove(mgr, net, e);
	net_unref(mgr, net); /* the caller's */
	net_unref(mgr, net); /* the map's */
	return r;
}

static bool differs(const struct net *net, const struct network_spec *spec,
		    uint32_t base, unsigned int prefix)
{
	uint32_t mtu = spec->mtu ? spec->mtu : NETWORK_MTU;

	return net->ipam.base != base || net->prefix != prefix ||
	       net->mtu != mtu || (spec->net_id && spec->net_id != net->net_id);
}

static int change_egress(struct network_mgr *mgr, struct net *net,
			 enum network_egress egress, struct err *e)
{
	enum network_egress old;
	bool was_up;
	int r;

	pthread_mutex_lock(&mgr->lock);
	old = net->egress;
	net->egress = egress;
	pthread_mutex_unlock(&mgr->lock);
	if (old == egress)
		return 0;
	r = state_net_write(mgr, net, e);
	if (r < 0) {
		pthread_mutex_lock(&mgr->lock);
		net->egress = old;
		pthread_mutex_unlock(&mgr->lock);
		return r;
	}
	pthread_mutex_lock(&net->up_lock);
	was_up = net->up;
	net->up = false;
	pthread_mutex_unlock(&net->up_lock);
	return was_up ? gateway_up(mgr, net, e) : 0;
}

static int define(struct network_mgr *mgr, const struct network_spec *spec,
		  struct err *e)
{
	unsigned int prefix;
	struct net *net;
	uint32_t base;
	int r;

	r = network_spec_check(spec, &base, &prefix, e);
	if (r < 0)
		return r;
	net = net_ref(mgr, spec->tenant, spec->name);
	if (!net)
		return create(mgr, spec, e);
	if (differs(net, spec, base, prefix)) {
		r = remove_net(mgr, net, e);
		if (r < 0)
			return err_wrap(
				e, r,
				"CIDR, MTU and netID can change only without pods");
		return create(mgr, spec, e);
	}
	r = change_egress(mgr, net, spec->egress, e);
	net_unref(mgr, net);
	return r;
}

int network_define(struct network_mgr *mgr, const struct network_spec *spec,
		   struct err *e)
{
	int r;

	pthread_mutex_lock(&mgr->define_lock);
	r = define(mgr, spec, e);
	pthread_mutex_unlock(&mgr->define_lock);
	if (r < 0)
		return err_wrap(e, r, "network %.64s/%.64s",
				spec->tenant ? spec->tenant : "",
				spec->name ? spec->name : "");
	return 0;
}

int network_define_json(struct network_mgr *mgr, const char *json, size_t len,
			struct err *e)
{
	struct network_spec spec = { 0 };
	auto_ptr(yyjson_doc) doc = NULL;
	int r = manifest_parse(json, len, &doc, &spec, e);

	return r < 0 ? r : network_define(mgr, &spec, e);
}

int network_define_option(struct network_mgr *mgr, const char *option,
			  struct err *e)
{
	auto_free char *text = strdup(option);
	struct network_spec spec = { 0 };
	int r;

	if (!text)
		return err_set(e, -ENOMEM, "out of memory");
	r = option_parse(text, &spec, e);
	return r < 0 ? r : network_define(mgr, &spec, e);
}

int network_remove(struct network_mgr *mgr, const char *tenant,
		   const char *name, struct err *e)
{
	struct net *net;
	int r = 0;

	pthread_mutex_lock(&mgr->define_lock);
	net = net_ref(mgr, tenant, name);
	if (net)
		r = remove_net(mgr, net, e);
	pthread_mutex_unlock(&mgr->define_lock);
	return r;
}

static int make_default(struct network_mgr *mgr, const char *tenant,
			struct err *e)
{
	const struct network_spec spec = {
		.tenant = tenant,
		.name = NETWORK_DEFAULT,
		.cidr = mgr->default_cidr,
		.egress = mgr->default_egress,
	};
	struct net *net;
	int r = 0;

	pthread_mutex_lock(&mgr->define_lock);
	net = net_ref(mgr, tenant, NETWORK_DEFAULT);
	if (net)
		net_unref(mgr, net); /* another was faster */
	else
		r = create(mgr, &spec, e);
	pthread_mutex_unlock(&mgr->define_lock);
	return r;
}

int net_get(struct network_mgr *mgr, const char *tenant, const char *name,
	    struct net **ret, struct err *e)
{
	struct net *net = net_ref(mgr, tenant, name);
	int r;

	if (!net && strcmp(name, NETWORK_DEFAULT) == 0) {
		r = make_default(mgr, tenant, e);
		if (r < 0)
			return r;
		net = net_ref(mgr, tenant, name);
	}
	if (!net)
		return err_set(
			e, -ENOENT,
			"no network '%s' in tenant '%s': apply a Network, or run with --network %s/%s=CIDR",
			name, tenant, tenant, name);
	*ret = net;
	return 0;
}

static int compare_info(const void *a, const void *b)
{
	const struct network_info *x = a, *y = b;
	int r = strcmp(x->tenant, y->tenant);

	return r ? r : strcmp(x->name, y->name);
}

static void describe(const struct net *net, struct network_info *i)
{
	*i = (struct network_info){
		.net_id = net->net_id,
		.base.s_addr = htonl(net->ipam.base),
		.prefix = (uint8_t)net->prefix,
		.gateway.s_addr = htonl(ipam_gateway(&net->ipam)),
		.mtu = net->mtu,
		.egress = net->egress,
		.nr_used = (uint32_t)net->ipam.nr_used,
		.nr_addresses = ipam_capacity(&net->ipam),
	};
	snprintf(i->tenant, sizeof(i->tenant), "%s", net->tenant);
	snprintf(i->name, sizeof(i->name), "%s", net->name);
}

int network_list(struct network_mgr *mgr, struct network_info **ret,
		 size_t *ret_nr, struct err *e)
{
	struct map_iter it = MAP_ITER_INIT;
	struct network_info *infos;
	struct dp_network v;
	size_t nr = 0;

	pthread_mutex_lock(&mgr->lock);
	infos = calloc(map_len(&mgr->nets) + 1, sizeof(*infos));
	while (infos && map_next(&mgr->nets, &it))
		describe(it.value, &infos[nr++]);
	pthread_mutex_unlock(&mgr->lock);
	if (!infos)
		return err_set(e, -ENOMEM, "out of memory");
	for (size_t i = 0; i < nr; i++)
		infos[i].up = dp_network_get(mgr->dp, infos[i].net_id, &v) == 0;
	qsort(infos, nr, sizeof(*infos), compare_info);
	*ret = infos;
	*ret_nr = nr;
	return 0;
}

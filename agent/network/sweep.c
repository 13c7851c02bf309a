// SPDX-License-Identifier: Apache-2.0
/* What a crash may leave, and what a 'make down' must: found by our names and
 * in our tables, compared with who should own it, and removed. */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/network/internal.h"
#include "lib/auto.h"
#include "lib/err.h"
#include "lib/str.h"
#include "netns/netns.h"

struct sweep {
	struct network_mgr *mgr;
	struct rt *rt;
	struct map keep_links;    /* names of links that have an owner */
	struct map keep_ns;       /* paths of pins */
	struct map keep_networks; /* net_ids, as text */
	struct map links;         /* ifindexes of links kept, as text */
	bool all;
	int r;
	struct err *e;
};

static void keep(struct sweep *s, struct map *m, const char *key)
{
	if (s->r == 0 && map_set(m, key, s, NULL) < 0)
		s->r = err_set(s->e, -ENOMEM, "out of memory");
}

static void keep_number(struct sweep *s, struct map *m, uint32_t number)
{
	auto_free char *text = str_printf("%u", number);

	keep(s, m, text ? text : "");
}

static bool has_number(const struct map *m, uint32_t number)
{
	auto_free char *text = str_printf("%u", number);

	return !text || map_get(m, text);
}

static void keep_net(struct sweep *s, const struct net *net)
{
	auto_free char *path = gateway_ns_path(s->mgr, net->net_id);
	char name[IF_NAMESIZE];

	keep_number(s, &s->keep_networks, net->net_id);
	keep(s, &s->keep_ns, path ? path : "");
	gateway_ifname(net->net_id, name);
	keep(s, &s->keep_links, name);
	if (net->egress != NETWORK_EGRESS_SNAT && !net->nr_ingress)
		return;
	egress_ifname(net->net_id, name);
	keep(s, &s->keep_links, name);
}

static void keep_lease(struct sweep *s, const struct lease *lease)
{
	auto_free char *path = pod_ns_path(s->mgr, lease->uid);
	char name[IF_NAMESIZE];

	pod_ifname(lease->uid, name);
	keep(s, &s->keep_links, name);
	keep(s, &s->keep_ns, path ? path : "");
}

static void collect_owners(struct sweep *s)
{
	struct map_iter it = MAP_ITER_INIT;

	if (s->all)
		return;
	pthread_mutex_lock(&s->mgr->lock);
	while (map_next(&s->mgr->nets, &it))
		keep_net(s, it.value);
	it = (struct map_iter)MAP_ITER_INIT;
	while (map_next(&s->mgr->leases, &it))
		keep_lease(s, it.value);
	pthread_mutex_unlock(&s->mgr->lock);
}

/* --- links ---------------------------------------------------------------- */

struct link_names {
	char (*v)[IF_NAMESIZE];
	uint32_t *ifindex;
	size_t nr, size;
};

static int note_link(const struct rt_link *link, void *arg)
{
	struct link_names *n = arg;
	size_t size = n->size ? n->size * 2 : 64;
	void *more;

	if (!str_starts(link->name, LINK_PREFIX))
		return 0;
	if (n->nr == n->size) {
		more = reallocarray(n->v, size, sizeof(*n->v));
		if (!more)
			return -ENOMEM;
		n->v = more;
		more = reallocarray(n->ifindex, size, sizeof(*n->ifindex));
		if (!more)
			return -ENOMEM;
		n->ifindex = more;
		n->size = size;
	}
	memcpy(n->v[n->nr], link->name, IF_NAMESIZE);
	n->ifindex[n->nr++] = (uint32_t)link->ifindex;
	return 0;
}

/* Links are listed before the owners are: a link made in between has its owner
 * noted before it. */
static void sweep_links(struct sweep *s, const struct link_names *n)
{
	for (size_t i = 0; s->r == 0 && i < n->nr; i++) {
		if (map_get(&s->keep_links, n->v[i]))
			keep_number(s, &s->links, n->ifindex[i]);
		else
			s->r = rt_link_del(s->rt, n->v[i], s->e);
	}
}

/* --- the datapath's tables ------------------------------------------------ */

static int sweep_endpoint(const struct dp_endpoint_key *key,
			  const struct dp_endpoint *v, void *arg)
{
	struct sweep *s = arg;

	if (has_number(&s->links, v->ifindex))
		return 0;
	return dp_endpoint_del(s->mgr->dp, key, s->e);
}

static int sweep_iface(uint32_t ifindex, const struct dp_iface *v, void *arg)
{
	struct sweep *s = arg;

	(void)v;
	if (has_number(&s->links, ifindex))
		return 0;
	return dp_iface_del(s->mgr->dp, ifindex, s->e);
}

static int sweep_network(uint32_t net_id, const struct dp_network *v, void *arg)
{
	struct sweep *s = arg;

	(void)v;
	if (has_number(&s->keep_networks, net_id))
		return 0;
	return dp_network_del(s->mgr->dp, net_id, s->e);
}

/* Links made since the list was taken are in the tables but not in it: look at
 * the list again before believing that an entry has no link. */
static void sweep_tables(struct sweep *s)
{
	struct link_names now = { 0 };

	if (s->r == 0)
		s->r = dp_network_for_each(s->mgr->dp, sweep_network, s);
	if (s->r == 0)
		s->r = rt_link_for_each(s->rt, note_link, &now, s->e);
	for (size_t i = 0; i < now.nr; i++)
		keep_number(s, &s->links, now.ifindex[i]);
	if (s->r == 0)
		s->r = dp_endpoint_for_each(s->mgr->dp, sweep_endpoint, s);
	if (s->r == 0)
		s->r = dp_iface_for_each(s->mgr->dp, sweep_iface, s);
	free(now.v);
	free(now.ifindex);
}

/* --- pins ----------------------------------------------------------------- */

static void sweep_pin(struct sweep *s, const char *path)
{
	if (s->r < 0 || access(path, F_OK) < 0)
		return;
	if (!map_get(&s->keep_ns, path))
		s->r = ns_unpin(path, s->e);
}

/* @rest: of the path behind a folder's name, to where its pin would be. */
static void sweep_pins_below(struct sweep *s, const char *below,
			     const char *prefix, const char *rest)
{
	auto_free char *dir = str_printf("%s/%s", s->mgr->run_dir, below);
	DIR *d = dir ? opendir(dir) : NULL;
	struct dirent *ent;

	while (d && (ent = readdir(d))) {
		auto_free char *path =
			str_printf("%s/%s%s", dir, ent->d_name, rest);

		if (path && ent->d_name[0] != '.' &&
		    str_starts(ent->d_name, prefix))
			sweep_pin(s, path);
	}
	if (d)
		closedir(d);
	if (dir && s->all)
		(void)rmdir(dir); /* not empty: others use it */
}

int sweep(struct network_mgr *mgr, bool all, struct err *e)
{
	struct sweep s = {
		.mgr = mgr,
		.keep_links = MAP_INIT,
		.keep_ns = MAP_INIT,
		.keep_networks = MAP_INIT,
		.links = MAP_INIT,
		.all = all,
		.e = e,
	};
	struct link_names names = { 0 };

	s.r = rt_open(NS_OWN, &s.rt, e);
	if (s.r == 0)
		s.r = rt_link_for_each(s.rt, note_link, &names, e);
	if (s.r == 0)
		collect_owners(&s);
	sweep_links(&s, &names);
	sweep_tables(&s);
	sweep_pins_below(&s, "pods", "", "/netns");
	sweep_pins_below(&s, "netns", "net-", "");
	rt_close(s.rt);
	free(names.v);
	free(names.ifindex);
	map_clear(&s.keep_links, NULL);
	map_clear(&s.keep_ns, NULL);
	map_clear(&s.keep_networks, NULL);
	map_clear(&s.links, NULL);
	return s.r;
}

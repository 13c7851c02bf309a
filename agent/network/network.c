// SPDX-License-Identifier: Apache-2.0
/* The manager: open, attach, detach, and what is built on them. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "agent/network/internal.h"
#include "lib/auto.h"
#include "lib/err.h"
#include "lib/fs.h"
#include "lib/str.h"
#include "netns/netns.h"

#define LOCK_TRIES    60
#define LOCK_PAUSE_MS 50

DEFINE_AUTO_PTR(network_mgr, network_close)

int mgr_step(struct network_mgr *mgr, const char *step, struct err *e)
{
	int r = mgr->step ? mgr->step(mgr->step_arg, step) : 0;

	return r ? err_set(e, r < 0 ? r : -EINTR, "stopped before '%s'", step)
		 : 0;
}

/* --- open and close ------------------------------------------------------- */

static struct network_mgr *mgr_new(const struct network_opts *o)
{
	struct network_mgr *mgr = calloc(1, sizeof(*mgr));

	if (!mgr)
		return NULL;
	mgr->lock_fd = -EBADF;
	mgr->nets = (struct map)MAP_INIT;
	mgr->leases = (struct map)MAP_INIT;
	pthread_mutex_init(&mgr->lock, NULL);
	pthread_mutex_init(&mgr->define_lock, NULL);
	pthread_mutex_init(&mgr->host_lock, NULL);
	mgr->run_dir = strdup(o->run_dir);
	mgr->bpf_dir = strdup(o->bpf_dir);
	mgr->networks_dir = str_printf("%s/networks", o->state_dir);
	mgr->default_cidr =
		strdup(o->default_cidr ? o->default_cidr : NETWORK_CIDR);
	mgr->default_egress = o->default_egress;
	mgr->rest_ms = o->reuse_ms ? o->reuse_ms : NETWORK_REUSE_MS;
	mgr->step = o->step;
	mgr->step_arg = o->step_arg;
	if (mgr->run_dir && mgr->bpf_dir && mgr->networks_dir &&
	    mgr->default_cidr)
		return mgr;
	network_close(mgr);
	return NULL;
}

void network_close(struct network_mgr *mgr)
{
	struct map_iter it = MAP_ITER_INIT;

	if (!mgr)
		return;
	dp_close(mgr->dp);
	auto_close_(&mgr->lock_fd);
	map_clear(&mgr->leases, lease_free);
	while (map_next(&mgr->nets, &it))
		net_unref(mgr, it.value);
	map_clear(&mgr->nets, NULL);
	pthread_mutex_destroy(&mgr->lock);
	pthread_mutex_destroy(&mgr->define_lock);
	pthread_mutex_destroy(&mgr->host_lock);
	free(mgr->run_dir);
	free(mgr->bpf_dir);
	free(mgr->networks_dir);
	free(mgr->default_cidr);
	free(mgr->ports_rules);
	free(mgr);
}

/* An agent that was just killed may hold it for a moment yet: until its last
 * thread and a child on its way to exec are gone. */
static int lock_waiting(int fd)
{
	int r = flock(fd, LOCK_EX | LOCK_NB);

	for (int i = 0; r < 0 && errno == EWOULDBLOCK && i < LOCK_TRIES; i++) {
		(void)poll(NULL, 0, LOCK_PAUSE_MS);
		r = flock(fd, LOCK_EX | LOCK_NB);
	}
	return r;
}

static int lock_state(struct network_mgr *mgr, struct err *e)
{
	auto_free char *path = str_printf("%s/lock", mgr->networks_dir);

	if (!path)
		return err_set(e, -ENOMEM, "out of memory");
	mgr->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (mgr->lock_fd < 0)
		return err_sys(e, "open '%s'", path);
	if (lock_waiting(mgr->lock_fd) < 0)
		return err_set(e, -EBUSY, "'%s': another agent has it open",
			       path);
	return 0;
}

static int mount_bpffs(const char *dir, struct err *e)
{
	struct statfs fs;
	int r = fs_mkdirs(dir, 0700, e);

	if (r < 0)
		return r;
	if (statfs(dir, &fs) < 0)
		return err_sys(e, "statfs '%s'", dir);
	if (fs.f_type == BPF_FS_MAGIC)
		return 0;
	if (mount("arktos", dir, "bpf", MS_NOSUID | MS_NODEV | MS_NOEXEC,
		  "mode=0700") < 0)
		return err_sys(e, "mount a bpffs on '%s'", dir);
	return 0;
}

/* Fill the tables before any program goes: with those of another layout taken
 * over, a program of this one would not find its peers yet. */
static void publish_all(struct network_mgr *mgr)
{
	struct map_iter it = MAP_ITER_INIT;
	struct wiring w;

	while (map_next(&mgr->nets, &it))
		(void)gateway_publish(mgr, it.value, NULL);
	it = (struct map_iter)MAP_ITER_INIT;
	while (map_next(&mgr->leases, &it)) {
		if (wiring_for_pod(mgr, it.value, &w, NULL) == 0)
			(void)wiring_publish(mgr, &w, NULL, NULL);
		wiring_clear(&w);
	}
}

static bool link_exists(struct rt *rt, const char *name)
{
	struct rt_link link;

	return rt_link_find(rt, name, &link, NULL) == 0;
}

/* Give this build's program, and with it all the tables, to what another agent
 * has left. What is not there stays away: its pod may be gone, too. What fails
 * here is told by the next attach. */
static void take_over(struct network_mgr *mgr, struct rt *rt)
{
	struct map_iter it = MAP_ITER_INIT;
	char name[IF_NAMESIZE];
	struct wiring w;

	publish_all(mgr);
	while (map_next(&mgr->nets, &it)) {
		struct net *net = it.value;

		gateway_ifname(net->net_id, name);
		if (link_exists(rt, name))
			(void)gateway_up(mgr, net, NULL);
	}
	it = (struct map_iter)MAP_ITER_INIT;
	while (map_next(&mgr->leases, &it)) {
		const struct lease *lease = it.value;

		pod_ifname(lease->uid, name);
		if (!link_exists(rt, name))
			continue;
		if (wiring_for_pod(mgr, lease, &w, NULL) == 0)
			(void)wiring_apply(mgr, &w, true, NULL, NULL, NULL);
		wiring_clear(&w);
	}
}

int network_mgr_open(const struct network_opts *opts, struct network_mgr **ret,
		     struct err *e)
{
	auto_ptr(network_mgr) mgr = mgr_new(opts);
	auto_ptr(rt) rt = NULL;
	unsigned int prefix;
	uint32_t base;
	int r;

	if (!mgr)
		return err_set(e, -ENOMEM, "out of memory");
	/* Else each tenant's first pod would be told, much later. */
	r = network_spec_check(&(struct
				 network_spec){ .tenant = "system",
						.name = "default",
						.cidr = mgr->default_cidr },
			       &base, &prefix, e);
	if (r < 0)
		return err_wrap(e, r, "--default-cidr");
	r = fs_mkdirs(mgr->networks_dir, 0700, e);
	if (r == 0)
		r = lock_state(mgr, e);
	if (r == 0)
		r = state_load(mgr, e);
	if (r == 0)
		r = mount_bpffs(mgr->bpf_dir, e);
	if (r == 0)
		r = dp_open(mgr->bpf_dir, &mgr->dp, e);
	if (r == 0)
		r = rt_open(NS_OWN, &rt, e);
	if (r < 0)
		return r;
	if (opts->use_tcx)
		(void)dp_use_tcx(mgr->dp); /* clsact does as well */
	take_over(mgr, rt);
	r = dp_unpin(mgr->bpf_dir, false, e);
	if (r < 0)
		return r;
	*ret = take_ptr(mgr);
	return 0;
}

/* --- attach and detach ---------------------------------------------------- */

static int fill(const struct lease *lease, const struct wiring *w,
		struct endpoint *ep, struct err *e)
{
	ep->ip.s_addr = w->key.ip;
	ep->prefix = (uint8_t)w->prefix;
	ep->gateway.s_addr = htonl(w->gateway);
	ep->mtu = w->mtu;
	ep->net_id = lease->net_id;
	memcpy(ep->mac, w->mac, sizeof(ep->mac));
	memcpy(ep->ifname, w->ifname, sizeof(ep->ifname));
	if (!w->ns_path)
		return 0;
	ep->netns_path = strdup(w->ns_path);
	if (!ep->netns_path)
		return err_set(e, -ENOMEM, "out of memory");
	return ns_open(w->ns_path, &ep->netns_fd, e);
}

static int attach(struct network_mgr *mgr, const struct lease *lease,
		  struct endpoint *ret, struct err *e)
{
	struct endpoint ep = ENDPOINT_INIT;
	struct wiring w;
	int r = wiring_for_pod(mgr, lease, &w, e);

	if (r == 0)
		r = wiring_apply(mgr, &w, true, &ep.ifindex, &ep.tap_fd, e);
	if (r == 0)
		r = fill(lease, &w, &ep, e);
	wiring_clear(&w);
	if (r < 0) {
		endpoint_clear(&ep);
		return r;
	}
	*ret = ep;
	return 0;
}

int network_attach(struct network_mgr *mgr, const char *tenant,
		   const char *network, const char *uid, enum network_kind kind,
		   const char *ip, struct endpoint *ret, struct err *e)
{
	struct lease *lease;
	struct net *net;
	int r;

	r = uid_check(uid, e);
	if (r == 0)
		r = net_get(mgr, tenant, network, &net, e);
	if (r < 0)
		return r;
	r = gateway_up(mgr, net, e);
	if (r == 0)
		r = mgr_step(mgr, "lease", e);
	if (r == 0)
		r = lease_get(mgr, net, uid, kind, ip, &lease, e);
	net_unref(mgr, net);
	return r < 0 ? r : attach(mgr, lease, ret, e);
}

void endpoint_clear(struct endpoint *ep)
{
	free(ep->netns_path);
	auto_close_(&ep->netns_fd);
	auto_close_(&ep->tap_fd);
	*ep = (struct endpoint)ENDPOINT_INIT;
}

static int unwire(struct network_mgr *mgr, const struct lease *lease,
		  struct err *e)
{
	struct wiring w;
	int r = wiring_for_pod(mgr, lease, &w, e);

	if (r == 0)
		r = wiring_apply(mgr, &w, false, NULL, NULL, e);
	wiring_clear(&w);
	return r;
}

int network_detach(struct network_mgr *mgr, const char *uid, struct err *e)
{
	struct lease *lease = lease_find(mgr, uid);
	int r;

	if (!lease)
		return 0;
	r = ports_withdraw(mgr, lease, e);
	if (r == 0)
		r = unwire(mgr, lease, e);
	if (r == 0)
		r = mgr_step(mgr, "release", e);
	return r < 0 ? r : lease_release(mgr, lease, e);
}

/* --- all of them ---------------------------------------------------------- */

/* The uids that have a lease, as keys of @ret but for those in @but. */
static int uids_without(struct network_mgr *mgr, const struct map *but,
			struct map *ret, struct err *e)
{
	struct map_iter it = MAP_ITER_INIT;
	int r = 0;

	pthread_mutex_lock(&mgr->lock);
	while (r == 0 && map_next(&mgr->leases, &it))
		if (!map_get(but, it.key))
			r = map_set(ret, it.key, mgr, NULL);
	pthread_mutex_unlock(&mgr->lock);
	return r < 0 ? err_set(e, r, "out of memory") : 0;
}

int network_gc(struct network_mgr *mgr, const char *const *uids, size_t nr,
	       struct err *e)
{
	struct map live = MAP_INIT, dead = MAP_INIT;
	struct map_iter it = MAP_ITER_INIT;
	int r = 0;

	for (size_t i = 0; r == 0 && i < nr; i++)
		if (map_set(&live, uids[i], mgr, NULL) < 0)
			r = err_set(e, -ENOMEM, "out of memory");
	if (r == 0)
		r = uids_without(mgr, &live, &dead, e);
	while (r == 0 && map_next(&dead, &it))
		r = network_detach(mgr, it.key, e);
	if (r == 0)
		r = sweep(mgr, false, e);
	if (r == 0)
		r = ports_host_settle(mgr, e);
	map_clear(&live, NULL);
	map_clear(&dead, NULL);
	return r;
}

static int unmount_bpffs(const char *dir, struct err *e)
{
	/* EINVAL: a folder on somebody else's bpffs. */
	if (umount2(dir, MNT_DETACH | UMOUNT_NOFOLLOW) < 0 && errno != EINVAL &&
	    errno != ENOENT)
		return err_sys(e, "unmount '%s'", dir);
	(void)rmdir(dir); /* not empty: not ours alone */
	return 0;
}

int network_destroy_all(struct network_mgr *mgr, struct err *e)
{
	struct map_iter it = MAP_ITER_INIT;
	int r = 0;

	while (r == 0 && map_next(&mgr->leases, &it))
		r = unwire(mgr, it.value, e);
	it = (struct map_iter)MAP_ITER_INIT;
	while (r == 0 && map_next(&mgr->nets, &it))
		r = gateway_down(mgr, it.value, e);
	if (r == 0)
		r = sweep(mgr, true, e);
	if (r == 0)
		r = egress_host_undo(mgr, e);
	if (r < 0)
		return r;
	dp_close(take_ptr(mgr->dp));
	r = dp_unpin(mgr->bpf_dir, true, e);
	return r < 0 ? r : unmount_bpffs(mgr->bpf_dir, e);
}

/* --- looking and reaching in ---------------------------------------------- */

int network_stats(struct network_mgr *mgr, const char *uid,
		  struct endpoint_stats *ret, struct err *e)
{
	struct dp_endpoint_key key;
	struct dp_endpoint ep;
	struct dp_stats stats;
	struct lease lease;
	int r = lease_copy(mgr, uid, &lease, e);

	if (r < 0)
		return r;
	key = (struct dp_endpoint_key){ lease.net_id, htonl(lease.ip) };
	r = dp_endpoint_get(mgr->dp, &key, &ep);
	if (r == 0)
		r = dp_stats_get(mgr->dp, ep.ifindex, &stats);
	if (r < 0)
		return err_set(e, r, "pod %.64s is not attached", uid);
	*ret = (struct endpoint_stats){
		.tx_packets = stats.traffic.tx.packets,
		.tx_bytes = stats.traffic.tx.bytes,
		.rx_packets = stats.traffic.rx.packets,
		.rx_bytes = stats.traffic.rx.bytes,
	};
	memcpy(ret->drops, stats.drops, sizeof(ret->drops));
	return 0;
}

static int gateway_socket(struct network_mgr *mgr, uint32_t net_id, int family,
			  int type, int *ret_fd, struct err *e)
{
	auto_free char *path = gateway_ns_path(mgr, net_id);
	auto_close int ns = -EBADF;
	int r;

	if (!path)
		return err_set(e, -ENOMEM, "out of memory");
	r = ns_open(path, &ns, e);
	return r < 0 ? r : ns_socket(ns, family, type, 0, ret_fd, e);
}

int network_socket(struct network_mgr *mgr, const char *tenant,
		   const char *network, int family, int type, int *ret_fd,
		   struct err *e)
{
	struct net *net;
	int r = net_get(mgr, tenant, network, &net, e);

	if (r < 0)
		return r;
	r = gateway_up(mgr, net, e);
	if (r == 0)
		r = gateway_socket(mgr, net->net_id, family, type, ret_fd, e);
	net_unref(mgr, net);
	return r;
}

int network_pod_socket(struct network_mgr *mgr, const char *uid, int family,
		       int type, int *ret_fd, struct err *e)
{
	struct lease lease;
	int r = lease_copy(mgr, uid, &lease, e);

	if (r < 0)
		return r;
	return gateway_socket(mgr, lease.net_id, family, type, ret_fd, e);
}

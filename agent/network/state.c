// SPDX-License-Identifier: Apache-2.0
/*
 * What is kept on disk, below <state>/networks/:
 *
 *	<net_id>/network.json	the network's manifest
 *	<net_id>/pods/<uid>	a symbolic link to "10.88.0.2,container"
 *	<net_id>/ports/<uid>	the same to its ports of the host, if any
 *	<net_id>/resting/<ip>	the same, renamed: released at its mtime
 *
 * A lease is one symlink(2): there whole or not at all, at once, and without an
 * fsync, which on a busy disk takes longer than all the rest of an attach. It
 * has to survive the agent, and does; when the whole host goes down, the
 * endpoint it is for goes, too, and the worst is that a pod gets a new address.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/network/internal.h"
#include "lib/auto.h"
#include "lib/buf.h"
#include "lib/err.h"
#include "lib/fs.h"
#include "lib/str.h"

#define PORTS_TEXT_SIZE 4096 /* a link's */

DEFINE_AUTO_PTR(yyjson_doc, yyjson_doc_free)

static char *net_path(const struct network_mgr *mgr, uint32_t net_id,
		      const char *rest)
{
	return str_printf("%s/%u/%s", mgr->networks_dir, net_id, rest);
}

static char *lease_path(const struct network_mgr *mgr,
			const struct lease *lease)
{
	return str_printf("%s/%u/pods/%s", mgr->networks_dir,
			  lease->net->net_id, lease->uid);
}

static char *resting_path(const struct network_mgr *mgr,
			  const struct lease *lease)
{
	char ip[INET_ADDRSTRLEN];

	ip_format(lease->ip, ip);
	return str_printf("%s/%u/resting/%s", mgr->networks_dir,
			  lease->net->net_id, ip);
}

static int make_dirs(struct network_mgr *mgr, uint32_t net_id, struct err *e)
{
	auto_free char *pods = net_path(mgr, net_id, "pods");
	auto_free char *resting = net_path(mgr, net_id, "resting");
	int r;

	if (!pods || !resting)
		return err_set(e, -ENOMEM, "out of memory");
	r = fs_mkdirs(pods, 0700, e);
	return r < 0 ? r : fs_mkdirs(resting, 0700, e);
}

int state_net_write(struct network_mgr *mgr, const struct net *net,
		    struct err *e)
{
	auto_free char *path = net_path(mgr, net->net_id, "network.json");
	auto_buf struct buf b = BUF_INIT;
	char ip[INET_ADDRSTRLEN], cidr[INET_ADDRSTRLEN + 4];
	struct network_spec spec = {
		.tenant = net->tenant,
		.name = net->name,
		.cidr = cidr,
		.egress = net->egress,
		.mtu = net->mtu,
		.net_id = net->net_id,
	};
	int r;

	ip_format(net->ipam.base, ip);
	snprintf(cidr, sizeof(cidr), "%s/%u", ip, net->prefix);
	if (!path || manifest_write(&spec, net->egress_slot, &b) < 0)
		return err_set(e, -ENOMEM, "out of memory");
	r = make_dirs(mgr, net->net_id, e);
	if (r < 0)
		return r;
	return fs_write_atomic(AT_FDCWD, path, b.data, b.len, 0600, e);
}

int state_net_remove(struct network_mgr *mgr, const struct net *net,
		     struct err *e)
{
	auto_free char *dir = net_path(mgr, net->net_id, "");
	auto_free char *file = net_path(mgr, net->net_id, "network.json");

	if (!dir || !file)
		return err_set(e, -ENOMEM, "out of memory");
	/* This first: a folder without it is removed by the next load. */
	if (unlink(file) < 0 && errno != ENOENT)
		return err_sys(e, "remove '%s'", file);
	dir[strlen(dir) - 1] = '\0';
	return fs_remove_tree(AT_FDCWD, dir, e);
}

int state_lease_write(struct network_mgr *mgr, const struct lease *lease,
		      struct err *e)
{
	const struct lease_text text = { .kind = lease->kind, .ip = lease->ip };
	auto_free char *path = lease_path(mgr, lease);
	auto_free char *resting = resting_path(mgr, lease);
	char target[LEASE_TEXT_SIZE];

	if (!path || !resting)
		return err_set(e, -ENOMEM, "out of memory");
	lease_format(&text, target);
	(void)unlink(resting); /* a leftover does no harm */
	if (symlink(target, path) < 0)
		return err_sys(e, "write '%s'", path);
	return 0;
}

static char *ports_path(const struct network_mgr *mgr,
			const struct lease *lease, const char *suffix)
{
	return str_printf("%s/%u/ports/%s%s", mgr->networks_dir,
			  lease->net->net_id, lease->uid, suffix);
}

int state_ports_write(struct network_mgr *mgr, const struct lease *lease,
		      struct err *e)
{
	auto_free char *path = ports_path(mgr, lease, "");
	auto_free char *tmp = ports_path(mgr, lease, ".tmp");
	auto_free char *dir = net_path(mgr, lease->net->net_id, "ports");
	auto_buf struct buf text = BUF_INIT;
	int r;

	if (!path || !tmp || !dir ||
	    lease_ports_format(lease->ports, lease->nr_ports, &text) < 0)
		return err_set(e, -ENOMEM, "out of memory");
	if (!lease->nr_ports) {
		if (unlink(path) < 0 && errno != ENOENT)
			return err_sys(e, "remove '%s'", path);
		return 0;
	}
	r = fs_mkdirs(dir, 0700, e);
	if (r < 0)
		return r;
	(void)unlink(tmp); /* a crash may have left it */
	if (symlink(buf_str(&text), tmp) < 0 || rename(tmp, path) < 0)
		return err_sys(e, "write '%s'", path);
	return 0;
}

int state_lease_release(struct network_mgr *mgr, const struct lease *lease,
			struct err *e)
{
	auto_free char *path = lease_path(mgr, lease);
	auto_free char *resting = resting_path(mgr, lease);
	auto_free char *ports = ports_path(mgr, lease, "");

	if (!path || !resting || !ports)
		return err_set(e, -ENOMEM, "out of memory");
	if (lease->nr_ports && unlink(ports) < 0 && errno != ENOENT)
		return err_sys(e, "remove '%s'", ports);
	if (rename(path, resting) < 0) {
		if (errno == ENOENT)
			return 0;
		return err_sys(e, "rename '%s' to '%s'", path, resting);
	}
	/* Not touched, the address would only rest too short. */
	(void)utimensat(AT_FDCWD, resting, NULL, AT_SYMLINK_NOFOLLOW);
	return 0;
}

/* --- reading it back ------------------------------------------------------ */

struct load {
	struct network_mgr *mgr;
	struct net *net;
	struct err *e;
};

/* Call @fn for each file in @dir, until one fails. What a crash while writing
 * has left is removed. */
static int for_each_file(const char *dir,
			 int (*fn)(struct load *l, int dirfd, const char *name),
			 struct load *l)
{
	DIR *d = opendir(dir);
	struct dirent *ent;
	int r = 0;

	if (!d && errno == ENOENT)
		return 0;
	if (!d)
		return err_sys(l->e, "open '%s'", dir);
	while (r == 0 && (ent = readdir(d))) {
		if (ent->d_name[0] == '.')
			continue;
		if (str_ends(ent->d_name, ".tmp"))
			(void)unlinkat(dirfd(d), ent->d_name, 0);
		else
			r = fn(l, dirfd(d), ent->d_name);
	}
	closedir(d);
	return r;
}

static int bad_file(struct load *l, int r, const char *name)
{
	return err_wrap(
		l->e, r == -ENOMEM ? r : -EBADMSG,
		"%s/%u/pods/%s (remove it, and its pod gets a new address)",
		l->mgr->networks_dir, l->net->net_id, name);
}

static int load_lease(struct load *l, int dirfd, const char *name)
{
	auto_free struct lease *lease = calloc(1, sizeof(*lease));
	char target[LEASE_TEXT_SIZE];
	struct lease_text text;
	ssize_t len;
	int r;

	if (!lease)
		return err_set(l->e, -ENOMEM, "out of memory");
	r = uid_check(name, l->e);
	if (r < 0)
		return bad_file(l, r, name);
	len = readlinkat(dirfd, name, target, sizeof(target) - 1);
	target[len > 0 ? len : 0] = '\0';
	if (lease_parse(target, &text) < 0)
		return bad_file(
			l,
			err_set(l->e, -EBADMSG,
				"is not a link like '10.88.0.2,container'"),
			name);
	r = ipam_take(&l->net->ipam, text.ip);
	if (r < 0)
		return bad_file(
			l,
			err_set(l->e, r,
				"its address is taken, or not of the network"),
			name);
	snprintf(lease->uid, sizeof(lease->uid), "%s", name);
	lease->kind = text.kind;
	lease->ip = text.ip;
	lease->net = l->net;
	lease->net_id = l->net->net_id;
	if (map_set(&l->mgr->leases, lease->uid, lease, NULL) < 0)
		return err_set(l->e, -ENOMEM, "out of memory");
	(void)take_ptr(lease);
	return 0;
}

/* Those of no lease are a leftover of a crash. */
static int load_ports(struct load *l, int dirfd, const char *name)
{
	auto_free char *target = malloc(PORTS_TEXT_SIZE);
	struct lease *lease = map_get(&l->mgr->leases, name);
	ssize_t len;

	if (!target)
		return err_set(l->e, -ENOMEM, "out of memory");
	if (!lease || lease->net != l->net) {
		(void)unlinkat(dirfd, name, 0);
		return 0;
	}
	len = readlinkat(dirfd, name, target, PORTS_TEXT_SIZE - 1);
	target[len > 0 ? len : 0] = '\0';
	if (len > 0 && ports_load(lease, target) == 0)
		return 0;
	return err_set(l->e, -EBADMSG,
		       "%s/%u/ports/%s: is not a link like 'tcp 0.0.0.0:8080 "
		       "80 8080' (remove it: its pod's ports are set anew)",
		       l->mgr->networks_dir, l->net->net_id, name);
}

/* A leftover here may only shorten a rest, so nothing in it is an error. */
static int load_resting(struct load *l, int dirfd, const char *name)
{
	uint64_t now = wall_clock_ms(), since;
	struct stat st;
	uint32_t ip;

	if (ip_parse(name, &ip) < 0 ||
	    fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return 0;
	since = (uint64_t)st.st_mtim.tv_sec * 1000 +
		(uint64_t)st.st_mtim.tv_nsec / 1000000;
	if (since > now)
		since = now;
	if (now - since >= l->mgr->rest_ms ||
	    ipam_rest(&l->net->ipam, ip, since) < 0)
		(void)unlinkat(dirfd, name, 0);
	return 0;
}

static int load_net_file(struct load *l, int dirfd, const char *path,
			 uint32_t net_id)
{
	struct network_spec spec = { 0 };
	auto_ptr(yyjson_doc) doc = NULL;
	auto_buf struct buf b = BUF_INIT;
	uint32_t slot = 0;
	int r;

	r = fs_read(dirfd, path, NETWORK_FILE_MAX, &b, l->e);
	if (r < 0)
		return r;
	r = manifest_parse(buf_str(&b), b.len, &doc, &spec, l->e);
	if (r == 0 && spec.net_id != net_id)
		r = err_set(l->e, -EBADMSG, "spec.netID: must be %u", net_id);
	if (r == 0)
		r = egress_slot_parse(doc, &slot, l->e);
	if (r == 0)
		r = net_new(&spec, &l->net, l->e);
	if (r == 0)
		l->net->egress_slot = slot;
	return r;
}

static int load_net(struct load *l, int dirfd, const char *name)
{
	auto_free char *file = str_printf("%s/network.json", name);
	auto_free char *pods = NULL, *resting = NULL, *ports = NULL;
	uint64_t net_id;
	int r;

	if (str_to_u64(name, &net_id) < 0 || net_id > NETWORK_ID_MAX)
		return 0; /* the lock, or not ours */
	pods = net_path(l->mgr, (uint32_t)net_id, "pods");
	resting = net_path(l->mgr, (uint32_t)net_id, "resting");
	ports = net_path(l->mgr, (uint32_t)net_id, "ports");
	if (!file || !pods || !resting || !ports)
		return err_set(l->e, -ENOMEM, "out of memory");
	r = load_net_file(l, dirfd, file, (uint32_t)net_id);
	if (r == -ENOENT)
		return fs_remove_tree(dirfd, name, l->e);
	if (r < 0)
		return err_wrap(l->e, r == -ENOMEM ? r : -EBADMSG, "%s/%s",
				l->mgr->networks_dir, file);
	r = net_add(l->mgr, l->net, true, l->e);
	if (r < 0) {
		net_unref(l->mgr, l->net);
		return r;
	}
	r = for_each_file(pods, load_lease, l);
	if (r == 0)
		r = for_each_file(ports, load_ports, l);
	return r < 0 ? r : for_each_file(resting, load_resting, l);
}

int state_load(struct network_mgr *mgr, struct err *e)
{
	struct load l = { .mgr = mgr, .e = e };

	return for_each_file(mgr->networks_dir, load_net, &l);
}

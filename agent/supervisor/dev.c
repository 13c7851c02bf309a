// SPDX-License-Identifier: Apache-2.0
/* /dev, /sys/fs/cgroup, and the scratch tmpfs they are taken from. */
#include <dirent.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "agent/supervisor/request.h"
#include "agent/supervisor/rootfs.h"
#include "agent/supervisor/sys.h"
#include "lib/buf.h"
#include "lib/err.h"
#include "lib/fs.h"
#include "lib/str.h"

#define CGROUP_TEXT_MAX 8192

static const struct {
	const char *name;
	unsigned int major, minor;
} nodes[] = {
	{ "null", 1, 3 },   { "zero", 1, 5 },    { "full", 1, 7 },
	{ "random", 1, 8 }, { "urandom", 1, 9 }, { "tty", 5, 0 },
};

static int tmpfs_on(const char *path, const char *const *options,
		    unsigned int attr, struct err *e)
{
	auto_close int fd = rootfs_fsmount("tmpfs", options, attr, e);
	auto_close int at = -EBADF;

	if (fd < 0)
		return fd;
	if (mkdir(path, 0755) < 0 && errno != EEXIST)
		return err_sys(e, "make '%s'", path);
	at = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (at < 0)
		return err_sys(e, "open '%s'", path);
	return rootfs_attach(fd, at, e);
}

static int make_nodes(const struct rootfs_env *env, struct err *e)
{
	char path[32];

	if (mkdir("dev", 0755) < 0)
		return err_sys(e, "make 'dev'");
	for (size_t i = 0; i < ARRAY_LEN(nodes); i++) {
		snprintf(path, sizeof(path), "dev/%s", nodes[i].name);
		if (mknod(path, S_IFCHR | 0666,
			  makedev(nodes[i].major, nodes[i].minor)) < 0 ||
		    chmod(path, 0666) < 0 ||
		    chown(path, env->userns_base, env->userns_base) < 0)
			return err_sys(e, "make node '%s'", nodes[i].name);
	}
	return 0;
}

int rootfs_scratch(const struct rootfs_env *env, struct err *e)
{
	static const char *const small[] = { "mode=700", "size=1m", NULL };
	static const char *const empty[] = { "mode=555", "size=4k", NULL };
	char size[40], ids[2][24];
	const char *shm[] = { size, "mode=1777", ids[0], ids[1], NULL };
	int r;

	snprintf(size, sizeof(size), "size=%llu",
		 (unsigned long long)env->shm_bytes);
	snprintf(ids[0], sizeof(ids[0]), "uid=%u", env->userns_base);
	snprintf(ids[1], sizeof(ids[1]), "gid=%u", env->userns_base);
	r = tmpfs_on(env->scratch, small, MOUNT_ATTR_NOSUID, e);
	if (r < 0)
		return r;
	if (chdir(env->scratch) < 0)
		return err_sys(e, "enter '%s'", env->scratch);
	r = make_nodes(env, e);
	if (r == 0)
		r = tmpfs_on("shm", shm,
			     MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV |
				     MOUNT_ATTR_NOEXEC,
			     e);
	if (r == 0)
		r = tmpfs_on("empty", empty,
			     MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV |
				     MOUNT_ATTR_NOEXEC | MOUNT_ATTR_RDONLY,
			     e);
	if (r == 0 && mkdir("root", 0755) < 0)
		r = err_sys(e, "make 'root'");
	if (chdir("/") < 0 && r == 0)
		r = err_sys(e, "chdir");
	return r;
}

/* Bind one node; @name is below /dev. */
static int node_bind(const struct rootfs_env *env, int devfd, int dirfd,
		     const char *from, const char *name, struct err *e)
{
	auto_close int fd = -EBADF;
	auto_close int target = -EBADF;
	auto_free char *path = str_printf("/%s", name);
	int r;

	if (!path)
		return err_set(e, -ENOMEM, "out of memory");
	fd = rootfs_clone(dirfd, from, 0, false, e);
	if (fd < 0)
		return fd;
	target = rootfs_target(env, devfd, path, TARGET_FILE, true, true, e);
	if (target < 0)
		return target;
	r = rootfs_attach(fd, target, e);
	return r < 0 ? err_wrap(e, r, "device '%s'", name) : 0;
}

/*
 * A host process, as QEMU is, is nobody on the host: it gets a node of its own,
 * since that of /dev/kvm is root's and a group's there.
 */
static int own_node(const struct rootfs_env *env, const struct spec *spec,
		    int devfd, const char *name, const struct stat *st,
		    struct err *e)
{
	uid_t uid = env->userns_base + spec->uid;
	gid_t gid = env->userns_base + spec->gid;

	if (mknodat(devfd, name, (st->st_mode & S_IFMT) | 0600, st->st_rdev) <
		    0 ||
	    fchownat(devfd, name, uid, gid, AT_SYMLINK_NOFOLLOW) < 0)
		return err_sys(e, "make node '/dev/%s'", name);
	return 0;
}

static int host_device(const struct rootfs_env *env, const struct spec *spec,
		       int devfd, const char *path, struct err *e)
{
	const char *name;
	auto_close int fd = -EBADF;
	struct stat st;

	if (!str_starts(path, "/dev/"))
		return err_set(e, -EINVAL, "device '%s': not below /dev", path);
	fd = sys_openat2(AT_FDCWD, path, O_PATH, 0, RESOLVE_NO_SYMLINKS);
	if (fd < 0 || fstat(fd, &st) < 0)
		return err_sys(e, "device '%s'", path);
	if (!S_ISCHR(st.st_mode) && !S_ISBLK(st.st_mode))
		return err_set(e, -ENODEV, "'%s' is no device", path);
	name = path + strlen("/dev/");
	if (spec->kind == KIND_HOST && !strchr(name, '/'))
		return own_node(env, spec, devfd, name, &st, e);
	return node_bind(env, devfd, fd, "", name, e);
}

/* A privileged container gets every node of the host's /dev itself. */
static int host_nodes(int from, int to, int depth, struct err *e)
{
	DIR *d = fdopendir(from); /* owns it from now on */
	struct dirent *ent;
	struct stat st;
	int r = 0;

	if (!d) {
		close(from);
		return err_sys(e, "read /dev");
	}
	while (r == 0 && (ent = readdir(d))) {
		const char *n = ent->d_name;

		if (n[0] == '.' || str_eq(n, "pts") || str_eq(n, "shm") ||
		    str_eq(n, "mqueue") || str_eq(n, "ptmx") ||
		    fstatat(from, n, &st, AT_SYMLINK_NOFOLLOW) < 0)
			continue;
		if (S_ISDIR(st.st_mode) && depth < 3) {
			auto_close int sub = -EBADF;

			if (mkdirat(to, n, 0755) < 0 && errno != EEXIST)
				continue;
			sub = openat(to, n, O_RDONLY | O_CLOEXEC | O_DIRECTORY);
			r = host_nodes(openat(from, n,
					      O_RDONLY | O_CLOEXEC |
						      O_DIRECTORY),
				       sub, depth + 1, e);
		} else if (S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode)) {
			if (mknodat(to, n, st.st_mode, st.st_rdev) < 0 &&
			    errno != EEXIST)
				r = err_sys(e, "make node '%s'", n);
		}
	}
	closedir(d);
	return r;
}

static int dev_links(int devfd, struct err *e)
{
	static const struct {
		const char *name, *target;
	} links[] = {
		{ "ptmx", "pts/ptmx" },
		{ "fd", "/proc/self/fd" },
		{ "stdin", "/proc/self/fd/0" },
		{ "stdout", "/proc/self/fd/1" },
		{ "stderr", "/proc/self/fd/2" },
	};

	for (size_t i = 0; i < ARRAY_LEN(links); i++)
		if (symlinkat(links[i].target, devfd, links[i].name) < 0)
			return err_sys(e, "symlink '/dev/%s'", links[i].name);
	return 0;
}

static int dev_mount(const struct rootfs_env *env, int devfd, const char *name,
		     int treefd, struct err *e)
{
	auto_close int tree = treefd;
	auto_close int target = -EBADF;
	int r;

	if (tree < 0)
		return tree;
	target = rootfs_target(env, devfd, name, TARGET_DIR, true, true, e);
	if (target < 0)
		return target;
	r = rootfs_attach(tree, target, e);
	return r < 0 ? err_wrap(e, r, "'/dev%s'", name) : 0;
}

static int dev_mounts(const struct rootfs_env *env, int devfd, struct err *e)
{
	unsigned int attr = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC;
	char gid[24];
	const char *pts[] = { "newinstance", "ptmxmode=0666", "mode=0620", gid,
			      NULL };
	int r;

	snprintf(gid, sizeof(gid), "gid=%u", env->userns_base + 5);
	r = dev_mount(env, devfd, "/pts",
		      rootfs_fsmount("devpts", pts, attr, e), e);
	if (r < 0)
		return r;
	r = dev_mount(env, devfd, "/shm",
		      rootfs_clone(AT_FDCWD, "shm", 0, false, e), e);
	if (r < 0)
		return r;
	return dev_mount(env, devfd, "/mqueue",
			 rootfs_fsmount("mqueue", NULL, attr | MOUNT_ATTR_NODEV,
					e),
			 e);
}

static int dev_nodes(const struct rootfs_env *env, const struct spec *spec,
		     int devfd, struct err *e)
{
	char from[32];
	int r = 0;

	if (spec->privileged)
		r = host_nodes(open("/dev", O_RDONLY | O_CLOEXEC | O_DIRECTORY),
			       devfd, 0, e);
	for (size_t i = 0; r == 0 && i < ARRAY_LEN(nodes); i++) {
		snprintf(from, sizeof(from), "dev/%s", nodes[i].name);
		r = node_bind(env, devfd, AT_FDCWD, from, nodes[i].name, e);
	}
	for (size_t i = 0; r == 0 && i < spec->devices.nr; i++)
		r = host_device(env, spec, devfd, spec->devices.v[i], e);
	return r;
}

int rootfs_dev(const struct rootfs_env *env, const struct spec *spec,
	       int rootfd, struct err *e)
{
	char ids[2][24];
	const char *options[] = { "mode=755", "size=64m", ids[0], ids[1],
				  NULL };
	unsigned int attr = MOUNT_ATTR_NOSUID;
	auto_close int devfd = -EBADF;
	auto_close int target = -EBADF;
	int r;

	snprintf(ids[0], sizeof(ids[0]), "uid=%u", env->userns_base);
	snprintf(ids[1], sizeof(ids[1]), "gid=%u", env->userns_base);
	target = rootfs_target(env, rootfd, "/dev", TARGET_DIR, true, true, e);
	if (target < 0)
		return target;
	/* Nodes of its own, that is, not bound, must open. */
	if (!spec->privileged && spec->kind != KIND_HOST)
		attr |= MOUNT_ATTR_NODEV;
	devfd = rootfs_fsmount("tmpfs", options, attr, e);
	if (devfd < 0)
		return devfd;
	r = rootfs_attach(devfd, target, e);
	if (r == 0)
		r = dev_nodes(env, spec, devfd, e);
	if (r == 0)
		r = dev_links(devfd, e);
	return r < 0 ? r : dev_mounts(env, devfd, e);
}

/* --- /sys/fs/cgroup ------------------------------------------------------- */

struct hierarchy {
	char *controllers; /* "" is v2 */
	char *path;
};

/* "4:memory:/arktos/x": 1, 0 at the end of @*text. */
static int next_hierarchy(char **text, struct hierarchy *h)
{
	char *line = *text, *end = strchr(line, '\n'), *c1, *c2;

	if (!end)
		return 0;
	*end = '\0';
	*text = end + 1;
	c1 = strchr(line, ':');
	c2 = c1 ? strchr(c1 + 1, ':') : NULL;
	if (!c2)
		return 0;
	*c2 = '\0';
	h->controllers = c1 + 1;
	h->path = c2 + 1;
	return 1;
}

static int mount_v1(const char *controllers, unsigned int attr, struct err *e)
{
	auto_free char *copy = strdup(controllers);
	const char *options[16] = { NULL };
	size_t n = 0;
	char *save = NULL;

	if (!copy)
		return err_set(e, -ENOMEM, "out of memory");
	for (char *s = strtok_r(copy, ",", &save); s && n < 15;
	     s = strtok_r(NULL, ",", &save))
		options[n++] = s;
	return rootfs_fsmount("cgroup", options, attr, e);
}

static int mount_hierarchy(const struct rootfs_env *env, int at,
			   const struct hierarchy *h, unsigned int attr,
			   struct err *e)
{
	const char *name = *h->controllers ? h->controllers : "unified";
	auto_free char *dir = NULL;
	auto_close int fd = -EBADF;
	auto_close int target = -EBADF;

	if (str_starts(name, "name="))
		name += strlen("name=");
	dir = str_printf("/%s", name);
	if (!dir)
		return err_set(e, -ENOMEM, "out of memory");
	fd = *h->controllers ? mount_v1(h->controllers, attr, e)
			     : rootfs_fsmount("cgroup2", NULL, attr, e);
	if (fd < 0)
		return fd;
	target = rootfs_target(env, at, dir, TARGET_DIR, true, true, e);
	return target < 0 ? target : rootfs_attach(fd, target, e);
}

static int mount_hybrid(const struct rootfs_env *env, int target, char *text,
			unsigned int attr, struct err *e)
{
	static const char *const options[] = { "mode=755", "size=64k", NULL };
	struct mount_attr seal = { .attr_set = MOUNT_ATTR_RDONLY };
	auto_close int fd = -EBADF;
	struct hierarchy h;
	int r;

	fd = rootfs_fsmount("tmpfs", options, attr & ~MOUNT_ATTR_RDONLY, e);
	if (fd < 0)
		return fd;
	r = rootfs_attach(fd, target, e);
	while (r == 0 && next_hierarchy(&text, &h))
		/* The root would be the whole host's: not ours to show. */
		if (strcmp(h.path, "/") != 0)
			r = mount_hierarchy(env, fd, &h, attr, e);
	if (r == 0 &&
	    mount_setattr(fd, "", AT_EMPTY_PATH, &seal, sizeof(seal)) < 0)
		r = err_sys(e, "seal");
	return r;
}

/* Only its own cgroup: as root of a cgroup namespace. Where it is must be read
 * before that. */
int rootfs_cgroup(const struct rootfs_env *env, const struct spec *spec,
		  int rootfd, struct err *e)
{
	unsigned int attr = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV |
			    MOUNT_ATTR_NOEXEC |
			    (spec->privileged ? 0 : MOUNT_ATTR_RDONLY);
	auto_buf struct buf b = BUF_INIT;
	auto_close int fd = -EBADF;
	auto_close int target = -EBADF;
	int r;

	r = fs_read(AT_FDCWD, "/proc/self/cgroup", CGROUP_TEXT_MAX, &b, e);
	if (r < 0)
		return r;
	if (unshare(CLONE_NEWCGROUP) < 0)
		return err_sys(e, "unshare the cgroup namespace");
	if (!spec->cgroups.nr && spec->cgroup_dir == FD_NONE)
		return 0;
	target = rootfs_target(env, rootfd, "/sys/fs/cgroup", TARGET_DIR, false,
			       true, e);
	if (target < 0)
		return target;
	if (!str_starts(buf_str(&b), "0::"))
		r = mount_hybrid(env, target, b.data, attr, e);
	else {
		fd = rootfs_fsmount("cgroup2", NULL, attr, e);
		r = fd < 0 ? fd : rootfs_attach(fd, target, e);
	}
	return r < 0 ? err_wrap(e, r, "mount '/sys/fs/cgroup'") : 0;
}

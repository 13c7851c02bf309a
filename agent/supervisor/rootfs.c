// SPDX-License-Identifier: Apache-2.0
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "agent/supervisor/request.h"
#include "agent/supervisor/rootfs.h"
#include "agent/supervisor/sys.h"
#include "lib/err.h"
#include "lib/str.h"

#define IN_ROOT (RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)

/* The last message of a file system about why it does not mount. */
static int fs_err(struct err *e, int fsfd, const char *type, const char *what)
{
	char line[200];
	int code = errno;
	ssize_t n = read(fsfd, line, sizeof(line) - 1);

	if (n > 2) {
		line[n] = '\0';
		line[strcspn(line, "\n")] = '\0';
		errno = code;
		return err_sys(e, "mount %s: %s (%s)", type, what, line + 2);
	}
	errno = code;
	return err_sys(e, "mount %s: %s", type, what);
}

static int fs_option(int fsfd, const char *option)
{
	const char *eq = strchr(option, '=');
	char key[32];

	if (!eq)
		return fsconfig(fsfd, FSCONFIG_SET_FLAG, option, NULL, 0);
	if ((size_t)(eq - option) >= sizeof(key)) {
		errno = EINVAL;
		return -1;
	}
	memcpy(key, option, (size_t)(eq - option));
	key[eq - option] = '\0';
	return fsconfig(fsfd, FSCONFIG_SET_STRING, key, eq + 1, 0);
}

int rootfs_fsmount(const char *type, const char *const *options,
		   unsigned int attr, struct err *e)
{
	auto_close int fsfd = fsopen(type, FSOPEN_CLOEXEC);
	int fd;

	if (fsfd < 0)
		return err_sys(e, "mount %s: not in this kernel?", type);
	for (; options && *options; options++)
		if (fs_option(fsfd, *options) < 0)
			return fs_err(e, fsfd, type, *options);
	if (fsconfig(fsfd, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return fs_err(e, fsfd, type, "refused");
	fd = fsmount(fsfd, FSMOUNT_CLOEXEC, attr);
	if (fd < 0)
		return fs_err(e, fsfd, type, "fsmount");
	return fd;
}

int rootfs_attach(int treefd, int targetfd, struct err *e)
{
	if (move_mount(treefd, "", targetfd, "",
		       MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0)
		return err_sys(e, "move_mount");
	return 0;
}

int rootfs_clone(int dirfd, const char *path, unsigned int attr, bool recursive,
		 struct err *e)
{
	struct mount_attr a = { .attr_set = attr };
	unsigned int flags = AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0);
	auto_close int fd =
		open_tree(dirfd, path,
			  OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | flags);

	if (fd < 0)
		return err_sys(e, "open_tree '%s'", path);
	if (attr && mount_setattr(fd, "", flags, &a, sizeof(a)) < 0)
		return err_sys(e, "mount_setattr '%s'", path);
	return take_fd(&fd);
}

static int make_one(const struct rootfs_env *env, int dirfd, const char *name,
		    bool dir)
{
	int r;

	r = dir ? mkdirat(dirfd, name, 0755)
		: mknodat(dirfd, name, S_IFREG | 0644, 0);
	if (r < 0)
		return errno == EEXIST ? 0 : -errno;
	if (env->userns_size &&
	    fchownat(dirfd, name, env->userns_base, env->userns_base,
		     AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	return 0;
}

/* One component at a time: what a lookup inside the root does not find is
 * made in the directory the walk has safely come to. */
static int make_path(const struct rootfs_env *env, int rootfd, char *path,
		     enum target type, uint64_t resolve)
{
	for (char *s = path + 1;; s++) {
		char *name, c = *s;
		auto_close int parent = -EBADF;
		auto_close int fd = -EBADF;
		int r;

		if (c && c != '/')
			continue;
		*s = '\0';
		fd = sys_openat2(rootfd, path, O_PATH, 0, resolve);
		if (fd < 0 && errno != ENOENT)
			return -errno;
		if (fd < 0) {
			name = strrchr(path, '/');
			*name = '\0';
			parent = sys_openat2(rootfd, *path ? path : "/",
					     O_PATH | O_DIRECTORY, 0, resolve);
			*name = '/';
			if (parent < 0)
				return -errno;
			r = make_one(env, parent, name + 1,
				     c || type == TARGET_DIR);
			if (r < 0)
				return r;
		}
		*s = c;
		if (!c)
			return 0;
	}
}

int rootfs_target(const struct rootfs_env *env, int rootfd, const char *path,
		  enum target type, bool create, bool plain, struct err *e)
{
	uint64_t resolve = IN_ROOT | (plain ? RESOLVE_NO_SYMLINKS : 0);
	uint64_t flags = O_PATH | (type == TARGET_DIR ? O_DIRECTORY : 0);
	auto_free char *copy = NULL;
	size_t len = strlen(path);
	int fd, r;

	fd = sys_openat2(rootfd, path, flags, 0, resolve);
	if (fd < 0 && errno == ENOENT && create) {
		copy = strdup(path);
		if (!copy)
			return err_set(e, -ENOMEM, "out of memory");
		while (len > 1 && copy[len - 1] == '/')
			copy[--len] = '\0';
		r = make_path(env, rootfd, copy, type, resolve);
		if (r < 0) {
			errno = -r;
			return err_sys(e, "make '%s' in the container", path);
		}
		fd = sys_openat2(rootfd, path, flags, 0, resolve);
	}
	if (fd < 0 && errno == ELOOP && plain)
		return err_set(e, -ELOOP,
			       "'%s' in the image is a symlink: refused", path);
	if (fd < 0)
		return err_sys(e, "open '%s' in the container", path);
	return fd;
}

static int mount_fresh(const struct rootfs_env *env, int rootfd,
		       const char *dest, const char *type,
		       const char *const *options, unsigned int attr,
		       struct err *e)
{
	auto_close int fd = -EBADF;
	auto_close int target = -EBADF;
	int r;

	target = rootfs_target(env, rootfd, dest, TARGET_DIR, true, true, e);
	if (target < 0)
		return target;
	fd = rootfs_fsmount(type, options, attr, e);
	if (fd < 0)
		return fd;
	r = rootfs_attach(fd, target, e);
	return r < 0 ? err_wrap(e, r, "mount %s on '%s'", type, dest) : 0;
}

/* Show owners as the pod's user namespace sees them. */
static int map_ids(const struct rootfs_env *env, int fd, enum idmap how,
		   struct err *e)
{
	struct mount_attr a = {
		.attr_set = MOUNT_ATTR_IDMAP,
		.userns_fd = (uint64_t)env->userns_fd,
	};

	if (!env->userns_size || how == IDMAP_NO)
		return 0;
	if (mount_setattr(fd, "", AT_EMPTY_PATH, &a, sizeof(a)) == 0 ||
	    how == IDMAP_TRY)
		return 0;
	return err_sys(e, "its file system cannot map user ids: place it on "
			  "ext4, xfs or btrfs, or run the pod with hostUsers");
}

static int mount_source(const struct rootfs_env *env,
			const struct spec_mount *m, const int *fds,
			unsigned int attr, struct err *e)
{
	struct mount_attr a = { .attr_set = attr };
	auto_close int at = -EBADF;
	auto_close int fd = -EBADF;
	char size[40], ids[2][24];
	const char *options[] = { size, "mode=1777", ids[0], ids[1], NULL };
	int r;

	if (m->fd != FD_NONE) {
		fd = fcntl(fds[m->fd], F_DUPFD_CLOEXEC, 3);
		if (fd < 0 ||
		    mount_setattr(fd, "", AT_EMPTY_PATH | AT_RECURSIVE, &a,
				  sizeof(a)) < 0)
			return err_sys(e, "mount_setattr");
	} else if (m->path) {
		at = sys_openat2(AT_FDCWD, m->path, O_PATH, 0,
				 RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS);
		if (at < 0)
			return err_sys(e, "open '%s'", m->path);
		fd = rootfs_clone(at, "", attr, true, e);
		if (fd < 0)
			return fd;
	} else {
		snprintf(size, sizeof(size), "size=%llu",
			 (unsigned long long)m->size);
		snprintf(ids[0], sizeof(ids[0]), "uid=%u", env->userns_base);
		snprintf(ids[1], sizeof(ids[1]), "gid=%u", env->userns_base);
		return rootfs_fsmount("tmpfs", options, attr, e);
	}
	r = map_ids(env, fd, m->idmap, e);
	return r < 0 ? r : take_fd(&fd);
}

/* /proc and /sys are the kernel's view; to hide or fake parts of them is to
 * lie to every program inside, and the usual way to break out. */
static bool may_mount(const char *dest)
{
	return strcmp(dest, "/") != 0 && strcmp(dest, "/proc") != 0 &&
	       !str_starts(dest, "/proc/") && !strstr(dest, "/../") &&
	       !str_ends(dest, "/..");
}

static int mount_one(const struct rootfs_env *env, const struct spec *spec,
		     const struct spec_mount *m, const int *fds, int rootfd,
		     struct err *e)
{
	unsigned int attr = MOUNT_ATTR_NOSUID |
			    (m->ro ? MOUNT_ATTR_RDONLY : 0) |
			    (m->noexec ? MOUNT_ATTR_NOEXEC : 0) |
			    (spec->privileged ? 0 : MOUNT_ATTR_NODEV);
	auto_close int fd = -EBADF;
	auto_close int target = -EBADF;
	struct stat st;

	if (!may_mount(m->dest))
		return err_set(e, -EPERM, "mounting there is refused");
	fd = mount_source(env, m, fds, attr, e);
	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0)
		return err_sys(e, "stat");
	target = rootfs_target(env, rootfd, m->dest,
			       S_ISDIR(st.st_mode) ? TARGET_DIR : TARGET_FILE,
			       true, false, e);
	if (target < 0)
		return target;
	return rootfs_attach(fd, target, e);
}

static int mount_all(const struct rootfs_env *env, const struct spec *spec,
		     const int *fds, int rootfd, struct err *e)
{
	for (size_t i = 0; i < spec->nr_mounts; i++) {
		const struct spec_mount *m = &spec->mounts[i];
		int r = mount_one(env, spec, m, fds, rootfd, e);

		if (r < 0)
			return err_wrap(e, r, "mount '%s' on '%s'",
					m->path ? m->path : "volume", m->dest);
	}
	return 0;
}

/* Cover @path; a path that is not there needs no cover. */
static int mask_one(const struct rootfs_env *env, int rootfd, const char *path,
		    struct err *e)
{
	auto_close int fd = -EBADF;
	auto_close int target = -EBADF;
	struct stat st;
	char cover[256];

	target = sys_openat2(rootfd, path, O_PATH, 0,
			     IN_ROOT | RESOLVE_NO_SYMLINKS);
	if (target < 0)
		return errno == ENOENT || errno == ENOTDIR
			       ? 0
			       : err_sys(e, "mask '%s'", path);
	if (fstat(target, &st) < 0)
		return err_sys(e, "mask '%s'", path);
	snprintf(cover, sizeof(cover), "%s/%s", env->scratch,
		 S_ISDIR(st.st_mode) ? "empty" : "dev/null");
	fd = rootfs_clone(AT_FDCWD, cover, MOUNT_ATTR_RDONLY, false, e);
	if (fd < 0)
		return fd;
	return rootfs_attach(fd, target, e);
}

static int protect_one(int rootfd, const char *path, struct err *e)
{
	auto_close int fd = -EBADF;
	auto_close int target = -EBADF;

	target = sys_openat2(rootfd, path, O_PATH, 0,
			     IN_ROOT | RESOLVE_NO_SYMLINKS);
	if (target < 0)
		return errno == ENOENT || errno == ENOTDIR
			       ? 0
			       : err_sys(e, "protect '%s'", path);
	fd = rootfs_clone(target, "", MOUNT_ATTR_RDONLY, true, e);
	if (fd < 0)
		return fd;
	return rootfs_attach(fd, target, e);
}

static int cover_paths(const struct rootfs_env *env, const struct spec *spec,
		       int rootfd, struct err *e)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < spec->read_only_paths.nr; i++)
		r = protect_one(rootfd, spec->read_only_paths.v[i], e);
	for (size_t i = 0; r == 0 && i < spec->masked.nr; i++)
		r = mask_one(env, rootfd, spec->masked.v[i], e);
	return r;
}

static int mount_kernel(const struct rootfs_env *env, const struct spec *spec,
			int rootfd, struct err *e)
{
	unsigned int attr =
		MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
	int r;

	r = mount_fresh(env, rootfd, "/proc", "proc", NULL, attr, e);
	if (r < 0)
		return r;
	r = rootfs_dev(env, spec, rootfd, e);
	if (r < 0 || spec->kind == KIND_HOST)
		return r;
	if (!spec->privileged)
		attr |= MOUNT_ATTR_RDONLY;
	r = mount_fresh(env, rootfd, "/sys", "sysfs", NULL, attr, e);
	if (r < 0)
		return r;
	return rootfs_cgroup(env, spec, rootfd, e);
}

static int host_root(const struct spec *spec, struct err *e)
{
	static const char *const options[] = { "mode=755", "size=4m", NULL };
	auto_close int fd = -EBADF;

	fd = rootfs_fsmount("tmpfs", options,
			    MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSUID, e);
	if (fd < 0)
		return fd;
	for (size_t i = 0; i < spec->nr_symlinks; i++) {
		const struct spec_symlink *l = &spec->symlinks[i];

		if (symlinkat(l->target, fd, l->path + 1) < 0)
			return err_sys(e, "symlink '%s'", l->path);
	}
	return take_fd(&fd);
}

static int seal_root(int rootfd, struct err *e)
{
	struct mount_attr a = { .attr_set = MOUNT_ATTR_RDONLY };

	if (mount_setattr(rootfd, "", AT_EMPTY_PATH, &a, sizeof(a)) < 0)
		return err_sys(e, "make the root read-only");
	return 0;
}

static int pivot(int rootfd, struct err *e)
{
	if (fchdir(rootfd) < 0)
		return err_sys(e, "enter the root");
	/* The old root lands on top of the new one, and is then detached. */
	if (sys_pivot_root(".", ".") < 0)
		return err_sys(e, "pivot_root");
	if (umount2(".", MNT_DETACH) < 0)
		return err_sys(e, "leave the host's root");
	if (chdir("/") < 0)
		return err_sys(e, "enter the root");
	return 0;
}

int rootfs_enter(const struct rootfs_env *env, const struct spec *spec,
		 const int *fds, struct err *e)
{
	auto_close int rootfd = -EBADF;
	auto_close int at = -EBADF;
	int r;

	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return err_sys(e, "make mounts private");
	if (chdir(env->scratch) < 0)
		return err_sys(e, "enter '%s'", env->scratch);
	rootfd = spec->kind == KIND_HOST ? host_root(spec, e)
					 : rootfs_overlay(env, spec, e);
	if (rootfd < 0)
		return rootfd;
	at = open("root", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (at < 0)
		return err_sys(e, "open '%s/root'", env->scratch);
	r = rootfs_attach(rootfd, at, e);
	if (r < 0)
		return r;
	r = mount_kernel(env, spec, rootfd, e);
	if (r < 0)
		return r;
	r = mount_all(env, spec, fds, rootfd, e);
	if (r < 0)
		return r;
	r = cover_paths(env, spec, rootfd, e);
	if (r == 0 && (spec->read_only_root || spec->kind == KIND_HOST))
		r = seal_root(rootfd, e);
	return r < 0 ? r : pivot(rootfd, e);
}

// SPDX-License-Identifier: Apache-2.0
/*
 * The image's layers below, the container's own directory on top.
 *
 * In a pod with a user namespace the layers are id-mapped, so that their files
 * belong to the container's users; the upper directory is not, and simply holds
 * the ids as the host sees them.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "agent/supervisor/request.h"
#include "agent/supervisor/rootfs.h"
#include "agent/supervisor/sys.h"
#include "lib/buf.h"
#include "lib/err.h"
#include "lib/fs.h"

#define FSCONFIG_STRING_MAX 255 /* of the kernel */

/* Mount points are made on demand in the scratch tmpfs and shared between
 * containers: each has its own mounts on them. */
static int slot_open(const char *name, struct err *e)
{
	int fd;

	if (mkdir(name, 0755) < 0 && errno != EEXIST)
		return err_sys(e, "make '%s'", name);
	fd = open(name, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? err_sys(e, "open '%s'", name) : fd;
}

static int layer_attach(const struct rootfs_env *env, const char *path,
			const char *slot, struct err *e)
{
	struct mount_attr map = {
		.attr_set = MOUNT_ATTR_IDMAP,
		.userns_fd = (uint64_t)env->userns_fd,
	};
	auto_close int dir = -EBADF;
	auto_close int fd = -EBADF;
	auto_close int target = -EBADF;

	dir = sys_openat2(AT_FDCWD, path, O_PATH | O_DIRECTORY, 0,
			  RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS);
	if (dir < 0)
		return err_sys(e, "open");
	fd = rootfs_clone(dir, "", MOUNT_ATTR_RDONLY, false, e);
	if (fd < 0)
		return fd;
	if (env->userns_size &&
	    mount_setattr(fd, "", AT_EMPTY_PATH, &map, sizeof(map)) < 0)
		return err_sys(e, "its file system cannot map user ids: place "
				  "the state directory on ext4, xfs or btrfs");
	target = slot_open(slot, e);
	return target < 0 ? target : rootfs_attach(fd, target, e);
}

static int layers_attach(const struct rootfs_env *env, const struct spec *spec,
			 struct buf *lowers, struct err *e)
{
	char slot[24];
	int r;

	for (size_t i = 0; i < spec->layers.nr; i++) {
		snprintf(slot, sizeof(slot), "%zu", i);
		r = layer_attach(env, spec->layers.v[i], slot, e);
		if (r < 0)
			return err_wrap(e, r, "layer '%s'", spec->layers.v[i]);
		buf_printf(lowers, i ? ":%s" : "%s", slot);
	}
	return buf_error(lowers);
}

static int upper_make(const struct rootfs_env *env, int rw, struct err *e)
{
	int r = mkdirat(rw, "work", 0700);

	/* One of an earlier life refuses a volatile mount. */
	if (r < 0 && errno == EEXIST) {
		r = fs_remove_tree(rw, "work", e);
		if (r < 0)
			return r;
		r = mkdirat(rw, "work", 0700);
	}
	if (r < 0)
		return err_sys(e, "make 'work'");
	if (mkdirat(rw, "upper", 0755) < 0)
		return errno == EEXIST ? 0 : err_sys(e, "make 'upper'");
	if (env->userns_size &&
	    fchownat(rw, "upper", env->userns_base, env->userns_base, 0) < 0)
		return err_sys(e, "chown 'upper'");
	return 0;
}

static int rw_open(const char *path, struct err *e)
{
	uint64_t flags = O_RDONLY | O_DIRECTORY;
	int fd = sys_openat2(AT_FDCWD, path, flags, 0, RESOLVE_NO_SYMLINKS);
	int r;

	if (fd < 0 && errno == ENOENT) {
		r = fs_mkdirs(path, 0700, e);
		if (r < 0)
			return r;
		fd = sys_openat2(AT_FDCWD, path, flags, 0, RESOLVE_NO_SYMLINKS);
	}
	return fd < 0 ? err_sys(e, "open '%s'", path) : fd;
}

static int upper_attach(const struct rootfs_env *env, const struct spec *spec,
			struct err *e)
{
	static const char *const options[] = { "mode=700", NULL };
	auto_close int dir = -EBADF;
	auto_close int fd = -EBADF;
	auto_close int target = -EBADF;
	int r;

	if (spec->rw) {
		dir = rw_open(spec->rw, e);
		if (dir < 0)
			return dir;
		r = upper_make(env, dir, e);
		if (r < 0)
			return err_wrap(e, r, "in '%s'", spec->rw);
		fd = rootfs_clone(dir, "", 0, false, e);
	} else {
		fd = rootfs_fsmount("tmpfs", options, 0, e);
		r = fd < 0 ? fd : upper_make(env, fd, e);
		if (r < 0)
			return r;
	}
	if (fd < 0)
		return fd;
	target = slot_open("rw", e);
	return target < 0 ? target : rootfs_attach(fd, target, e);
}

/* fsconfig() takes 255 bytes of a string; very many layers need mount(2). */
static int overlay_classic(const char *lowers, bool userxattr, struct err *e)
{
	auto_buf struct buf b = BUF_INIT;

	buf_printf(&b,
		   "lowerdir=%s,upperdir=rw/upper,workdir=rw/work,index=off,"
		   "redirect_dir=nofollow,metacopy=off,volatile%s",
		   lowers, userxattr ? ",userxattr" : "");
	if (buf_error(&b))
		return err_set(e, -ENOMEM, "out of memory");
	if (mkdir("tmp", 0755) < 0 && errno != EEXIST)
		return err_sys(e, "make 'tmp'");
	if (mount("arktos", "tmp", "overlay", MS_NODEV, buf_str(&b)) < 0)
		return err_sys(e, "mount overlay");
	return rootfs_clone(AT_FDCWD, "tmp", 0, false, e);
}

int rootfs_overlay(const struct rootfs_env *env, const struct spec *spec,
		   struct err *e)
{
	/* Layers are foreign: nothing in them may redirect a lookup. What the
	 * container writes does not outlive it, so it need not be synced. */
	const char *options[] = {
		"source=arktos",
		NULL,
		"upperdir=rw/upper",
		"workdir=rw/work",
		"index=off",
		"redirect_dir=nofollow",
		"metacopy=off",
		"volatile",
		spec->userxattr ? "userxattr" : NULL,
		NULL,
	};
	unsigned int attr = spec->privileged ? 0 : MOUNT_ATTR_NODEV;
	auto_buf struct buf lowers = BUF_INIT;
	int r;

	buf_puts(&lowers, "lowerdir=");
	r = layers_attach(env, spec, &lowers, e);
	if (r < 0)
		return r;
	r = upper_attach(env, spec, e);
	if (r < 0)
		return r;
	if (lowers.len - strlen("lowerdir=") > FSCONFIG_STRING_MAX)
		return overlay_classic(buf_str(&lowers) + strlen("lowerdir="),
				       spec->userxattr, e);
	options[1] = buf_str(&lowers);
	return rootfs_fsmount("overlay", options, attr, e);
}

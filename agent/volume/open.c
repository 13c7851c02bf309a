// SPDX-License-Identifier: Apache-2.0
/* From a volumeMount to a detached mount, with the subPath walked by the kernel
 * with the volume as its root. */
#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent/volume/internal.h"
#include "lib/auto.h"
#include "lib/err.h"
#include "lib/str.h"

static int open_in_root(int root, const char *path, uint64_t flags)
{
	struct open_how how = {
		.flags = flags | O_CLOEXEC,
		.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
	};
	int fd;

	do
		fd = (int)syscall(SYS_openat2, root, path, &how, sizeof(how));
	while (fd < 0 && errno == EAGAIN);
	return fd;
}

static int check_sub_path(const char *path, struct err *e)
{
	const char *s = path;

	if (*path == '/')
		return err_set(e, -EINVAL, "subPath '%.128s' must be relative",
			       path);
	while (*s) {
		size_t len = strcspn(s, "/");

		if (len == 2 && s[0] == '.' && s[1] == '.')
			return err_set(e, -EINVAL,
				       "subPath '%.128s' must not contain "
				       "'..'",
				       path);
		s += len + strspn(s + len, "/");
	}
	return 0;
}

/* As the volume itself, so that whoever may write there may write here. */
static int make_folder(int parent, const char *name, const struct stat *as,
		       struct err *e)
{
	auto_close int fd = -EBADF;

	if (mkdirat(parent, name, 0700) < 0)
		return errno == EEXIST ? 0 : err_sys(e, "mkdir '%s'", name);
	fd = openat(parent, name,
		    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return err_sys(e, "open '%s'", name);
	if (fchown(fd, as->st_uid, as->st_gid) < 0 ||
	    fchmod(fd, as->st_mode & 07777) < 0)
		return err_sys(e, "set owner of '%s'", name);
	return 0;
}

/* Make what is missing, one folder at a time, each in one the kernel has
 * found inside. */
static int make_sub_path(int root, const char *path, struct err *e)
{
	auto_free char *part = strdup(path);
	struct stat st;
	int r = 0;

	if (!part)
		return err_set(e, -ENOMEM, "out of memory");
	if (fstat(root, &st) < 0)
		return err_sys(e, "stat the volume");
	for (char *s = part; r == 0; s++) {
		auto_close int dir = -EBADF;
		char *slash, end = *s;

		if (end && end != '/')
			continue;
		*s = '\0';
		slash = strrchr(part, '/');
		if (slash)
			*slash = '\0';
		dir = open_in_root(root, slash ? part : ".",
				   O_RDONLY | O_DIRECTORY);
		if (dir < 0)
			r = err_sys(e, "subPath '%s': open '%s'", path,
				    slash ? part : ".");
		if (slash)
			*slash = '/';
		/* "a//b" has an empty name in between. */
		if (r == 0 && *(slash ? slash + 1 : part))
			r = make_folder(dir, slash ? slash + 1 : part, &st, e);
		*s = end;
		if (!end)
			break;
	}
	return r;
}

static int open_sub_path(int root, const char *path, struct err *e)
{
	int fd, r = check_sub_path(path, e);

	if (r < 0)
		return r;
	fd = open_in_root(root, path, O_PATH);
	if (fd < 0 && errno == ENOENT) {
		r = make_sub_path(root, path, e);
		if (r < 0)
			return r;
		fd = open_in_root(root, path, O_PATH);
	}
	return fd < 0 ? err_sys(e, "subPath '%s'", path) : fd;
}

static int clone_mount(const struct volume *v, int fd, bool read_only,
		       struct err *e)
{
	unsigned int recursive = v->ops->nested ? AT_RECURSIVE : 0;
	struct mount_attr attr = { .propagation = MS_PRIVATE };
	auto_close int tree = -EBADF;

	/* What comes from the API is nobody's to write, as in Kubernetes. */
	if (read_only || v->spec->kind == VOLUME_PAYLOAD)
		attr.attr_set |= MOUNT_ATTR_RDONLY;
	/* Devices come from the runtime, which asks the device cgroup. */
	if (v->ops->ours)
		attr.attr_set |= MOUNT_ATTR_NODEV;
	tree = (int)syscall(SYS_open_tree, fd, "",
			    OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC |
				    AT_EMPTY_PATH | recursive);
	if (tree < 0)
		return err_sys(e, "clone the mount of '%s'", v->path);
	if (syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH | recursive,
		    &attr, sizeof(attr)) < 0)
		return err_sys(e, "set attributes of the mount of '%s'",
			       v->path);
	return take_fd(&tree);
}

static int open_volume(const struct volume *v, struct err *e)
{
	auto_close int fd = open(v->path, O_PATH | O_CLOEXEC);
	int r = 0;

	if (fd < 0)
		return err_sys(e, "open '%s'", v->path);
	if (v->ops->check)
		r = v->ops->check(v, fd, e);
	return r < 0 ? r : take_fd(&fd);
}

static int open_mount(const struct volume *v, const struct mount_spec *mount,
		      int *ret_fd, struct err *e)
{
	auto_close int root = open_volume(v, e), sub = -EBADF;
	int tree;

	if (root < 0)
		return root;
	if (mount->sub_path && *mount->sub_path) {
		sub = open_sub_path(root, mount->sub_path, e);
		if (sub < 0)
			return sub;
	}
	tree = clone_mount(v, sub >= 0 ? sub : root, mount->read_only, e);
	if (tree < 0)
		return tree;
	*ret_fd = tree;
	return 0;
}

int volume_open(const struct volume_set *set, const struct mount_spec *mount,
		int *ret_fd, struct err *e)
{
	for (size_t i = 0; i < set->nr; i++) {
		const struct volume *v = &set->v[i];
		int r;

		if (!str_eq(v->spec->name, mount->volume))
			continue;
		r = open_mount(v, mount, ret_fd, e);
		return r < 0 ? err_wrap(e, r, "volume '%s'", mount->volume) : 0;
	}
	return err_set(e, -ENOENT, "the pod has no volume '%s'", mount->volume);
}

// SPDX-License-Identifier: Apache-2.0
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "agent/volume/internal.h"
#include "lib/auto.h"
#include "lib/err.h"
#include "lib/fs.h"
#include "lib/str.h"

#define MODE       0777
#define MODE_GROUP 02777 /* new files inherit the group */

static mode_t mode_of(const struct volume_set *set)
{
	return set->pod->has_fs_group ? MODE_GROUP : MODE;
}

/* Made aside and renamed: once it is there it is as it should be, and its
 * owner and mode are the containers' to change. */
static int make_on_disk(const struct volume_set *set, struct volume *v,
			struct err *e)
{
	auto_free char *fresh = str_printf("%s.new", v->path);
	gid_t gid = set->pod->has_fs_group ? set->pod->fs_group : 0;
	int r;

	if (!fresh)
		return err_set(e, -ENOMEM, "out of memory");
	if (fs_exists(AT_FDCWD, v->path))
		return 0;
	r = fs_mkdirs(set->state, 0700, e);
	if (r == 0)
		r = fs_remove_tree(AT_FDCWD, fresh, e);
	if (r < 0)
		return r;
	if (mkdir(fresh, 0700) < 0)
		return err_sys(e, "mkdir '%s'", fresh);
	if (chown(fresh, 0, gid) < 0)
		return err_sys(e, "chown '%s' to group %" PRIu32, fresh,
			       (uint32_t)gid);
	if (chmod(fresh, mode_of(set)) < 0)
		return err_sys(e, "chmod '%s'", fresh);
	if (rename(fresh, v->path) < 0)
		return err_sys(e, "rename to '%s'", v->path);
	return 0;
}

/* A tmpfs on it, and not just one that all of it lies on? */
static int is_mounted(const struct volume_set *set, const char *path,
		      struct err *e)
{
	struct stat st, up;
	struct statfs fs;

	if (stat(path, &st) < 0 || stat(set->run, &up) < 0 ||
	    statfs(path, &fs) < 0)
		return err_sys(e, "look at '%s'", path);
	return fs.f_type == TMPFS_MAGIC && st.st_dev != up.st_dev;
}

/* Its own limit, or all the memory the pod may have; what is written there
 * counts as the pod's memory in any case. */
static uint64_t tmpfs_bytes(const struct volume_set *set,
			    const struct volume_spec *spec)
{
	struct resources total;

	if (spec->size_limit)
		return spec->size_limit;
	total = pod_spec_total(set->pod);
	return total.limits.has_mem ? total.limits.mem_bytes : 0;
}

uint32_t volume_memory_gid(const struct volume_set *set)
{
	return set->memory_ids +
	       (set->pod->has_fs_group ? set->pod->fs_group : 0);
}

int volume_tmpfs(const struct volume_set *set, const char *path, mode_t mode,
		 uint64_t bytes, struct err *e)
{
	uint32_t uid = set->memory_ids, gid = volume_memory_gid(set);
	char options[128];
	int at, r;

	r = fs_mkdirs(path, 0700, e);
	if (r < 0)
		return r;
	r = is_mounted(set, path, e);
	if (r != 0)
		return r < 0 ? r : 0;
	at = snprintf(options, sizeof(options),
		      "mode=%o,uid=%" PRIu32 ",gid=%" PRIu32,
		      (unsigned int)mode, uid, gid);
	if (bytes)
		(void)snprintf(options + at, sizeof(options) - (size_t)at,
			       ",size=%" PRIu64, bytes);
	if (mount("arktos-volume", path, "tmpfs", MS_NOSUID | MS_NODEV,
		  options) < 0)
		return err_sys(e, "mount a tmpfs (%s) on '%s'", options, path);
	return 0;
}

static int setup(struct volume_set *set, struct volume *v, struct err *e)
{
	v->path = str_printf("%s/%s", v->spec->memory ? set->run : set->state,
			     v->spec->name);
	if (!v->path)
		return err_set(e, -ENOMEM, "out of memory");
	return v->spec->memory ? volume_tmpfs(set, v->path, mode_of(set),
					      tmpfs_bytes(set, v->spec), e)
			       : make_on_disk(set, v, e);
}

const struct volume_kind_ops empty_dir_ops = {
	.setup = setup,
	.ours = true,
};

int volume_unmount_all(const char *run, struct err *e)
{
	DIR *d = opendir(run);
	struct dirent *ent;
	int r = 0;

	if (!d)
		return errno == ENOENT ? 0 : err_sys(e, "open '%s'", run);
	while (r == 0 && (ent = readdir(d))) {
		auto_free char *path = NULL;

		if (str_eq(ent->d_name, ".") || str_eq(ent->d_name, ".."))
			continue;
		path = str_printf("%s/%s", run, ent->d_name);
		if (!path)
			r = err_set(e, -ENOMEM, "out of memory");
		/* -EINVAL: nothing is mounted there. Several may be, one on
		 * top of another, after a crash in between. */
		while (r == 0 &&
		       umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW) == 0)
			;
		if (r == 0 && errno != EINVAL && errno != ENOENT)
			r = err_sys(e, "unmount '%s'", path);
	}
	closedir(d);
	return r;
}

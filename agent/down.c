// SPDX-License-Identifier: Apache-2.0
/* Undoing: what a crash left of unknown pods, and all of it on 'down'. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/container/sandbox.h"
#include "agent/internal.h"
#include "agent/volume/volume.h"
#include "cgroups/cgroup.h"
#include "lib/err.h"
#include "lib/fs.h"
#include "lib/log.h"
#include "lib/str.h"

/* End the supervisor of a run folder, if one lives. */
static int end_supervisor(const char *run_dir, struct err *e)
{
	struct sandbox *sb = NULL;
	int r = sandbox_open(run_dir, &sb, e);

	if (r == -ENOENT)
		return 0;
	if (r == 0)
		r = sandbox_shutdown(sb, e);
	sandbox_close(sb);
	return r;
}

static void remove_stray(struct agent *a, const char *uid)
{
	auto_free char *run = str_printf("%s/pods/%s", a->opts.run_dir, uid);
	auto_free char *name = str_printf("pod%s", uid);
	struct volume_dirs dirs = { .state_dir = a->opts.state_dir,
				    .run_dir = a->opts.run_dir };
	struct err e = { 0 };
	int r;

	if (!run || !name)
		return;
	r = end_supervisor(run, &e);
	if (r == 0)
		r = network_detach(a->network, uid, &e);
	if (r == 0)
		r = volume_teardown(&dirs, uid, &e);
	for (size_t i = 0; i < ARRAY_LEN(a->qos) && r == 0; i++)
		r = cg_remove(a->qos[i], name, &e);
	if (r == 0)
		r = fs_remove_tree(AT_FDCWD, run, &e);
	if (r < 0)
		log_warn("leftovers of pod uid=%s: %s", uid, e.msg);
	else
		log_info("removed leftovers of a pod uid=%s", uid);
}

static bool is_known(struct pod **pods, size_t nr, const char *uid)
{
	for (size_t i = 0; i < nr; i++)
		if (str_eq(pods[i]->uid, uid))
			return true;
	return false;
}

void strays_remove(struct agent *a, struct pod **pods, size_t nr)
{
	auto_free char *path = str_printf("%s/pods", a->opts.run_dir);
	struct dirent *ent;
	DIR *d = path ? opendir(path) : NULL;

	if (!d)
		return; /* nothing has ever run */
	while ((ent = readdir(d)))
		if (ent->d_name[0] != '.' && !is_known(pods, nr, ent->d_name))
			remove_stray(a, ent->d_name);
	closedir(d);
}

/* --- down
 * ------------------------------------------------------------------------ */

static int remove_root_cgroup(struct agent *a, struct err *e)
{
	for (size_t i = 0; i < ARRAY_LEN(a->qos); i++)
		cg_close(take_ptr(a->qos[i]));
	cg_close(take_ptr(a->root));
	return cg_root_remove(a->opts.cgroup_parent, a->opts.cgroup_name, e);
}

/* A disk of its own is the operator's: it is emptied, and stays. */
static int purge_dir(const char *dir, struct err *e)
{
	struct err why = { 0 };
	int r = fs_remove_tree(AT_FDCWD, dir, &why);
	struct statx st;

	if (r == -EBUSY && statx(AT_FDCWD, dir, 0, STATX_TYPE, &st) == 0 &&
	    st.stx_attributes & STATX_ATTR_MOUNT_ROOT)
		return 0;
	return r < 0 ? err_set(e, r, "%s", why.msg) : 0;
}

static int purge_dirs(struct agent *a, bool purge, struct err *e)
{
	int r = fs_remove_tree(AT_FDCWD, a->opts.run_dir, e);

	if (r < 0 || !purge)
		return r;
	r = purge_dir(a->opts.state_dir, e);
	return r < 0 ? r : purge_dir(a->opts.log_dir, e);
}

int agent_down_all(struct agent *a, bool purge, struct err *e)
{
	int r;

	strays_remove(a, NULL, 0);
	r = network_destroy_all(a->network, e);
	network_close(take_ptr(a->network));
	if (r == 0)
		r = remove_root_cgroup(a, e);
	if (r == 0)
		r = purge_dirs(a, purge, e);
	return r;
}

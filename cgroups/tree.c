// SPDX-License-Identifier: Apache-2.0
/* Creating, opening, and removing cgroups. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cgroups/internal.h"
#include "lib/auto.h"
#include "lib/err.h"
#include "lib/str.h"

#define DIR_FLAGS (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)

int cg_name_check(const char *name, struct err *e)
{
	size_t len = strlen(name);

	if (len == 0 || len > CG_NAME_MAX || name[0] == '.' ||
	    strpbrk(name, "/\n"))
		return err_set(e, -EINVAL,
			       "'%.80s' is no cgroup name: 1 to %d bytes, no "
			       "'/', no leading '.'",
			       name, CG_NAME_MAX);
	return 0;
}

struct cg *cg_alloc(const char *parent, const char *name)
{
	struct cg *cg = calloc(1, sizeof(*cg));

	if (!cg)
		return NULL;
	cg->path = str_printf("%s%s%s", parent,
			      *name && !str_ends(parent, "/") ? "/" : "", name);
	cg->unified = -1;
	for (size_t i = 0; i < CG_HIERARCHIES_MAX; i++)
		cg->dir[i] = -EBADF;
	for (size_t i = 0; i < CG_NR_HOLDS; i++)
		cg->hold[i] = -EBADF;
	memset(cg->at, -1, sizeof(cg->at));
	if (!cg->path) {
		free(cg);
		return NULL;
	}
	return cg;
}

void cg_close(struct cg *cg)
{
	if (!cg)
		return;
	for (size_t i = 0; i < CG_HIERARCHIES_MAX; i++)
		if (cg->dir[i] >= 0)
			close(cg->dir[i]);
	for (size_t i = 0; i < CG_NR_HOLDS; i++)
		if (cg->hold[i] >= 0)
			close(cg->hold[i]);
	free(cg->path);
	free(cg);
}

uint32_t cg_mask_at(const struct cg *cg, int hierarchy)
{
	uint32_t mask = 0;

	for (int c = 0; c < CG_NR_CONTROLLERS; c++)
		if (cg->at[c] == hierarchy)
			mask |= CG_BIT(c);
	return mask;
}

static int hold(struct cg *cg, enum cg_hold_file which, enum cg_controller c,
		const char *name, int mode, struct err *e)
{
	if (cg->at[c] < 0)
		return 0;
	cg->hold[which] = openat(cg->dir[(int)cg->at[c]], name,
				 mode | O_CLOEXEC | O_NOFOLLOW);
	if (cg->hold[which] < 0 && errno != ENOENT)
		return err_sys(e, "cgroup '%s': open '%s'", cg->path, name);
	return 0;
}

int cg_hold_files(struct cg *cg, struct err *e)
{
	bool cpu2 = cg_is_v2(cg, CG_CPU);
	int r;

	if (!(cg->flags & CG_HOLD))
		return 0;
	r = hold(cg, CG_HOLD_CPU_MAX, CG_CPU,
		 cpu2 ? "cpu.max" : "cpu.cfs_quota_us", O_WRONLY, e);
	if (r == 0 && !cpu2)
		r = hold(cg, CG_HOLD_CPU_PERIOD, CG_CPU, "cpu.cfs_period_us",
			 O_RDWR, e);
	if (r == 0)
		r = hold(cg, CG_HOLD_MEM_MAX, CG_MEMORY,
			 cg_is_v2(cg, CG_MEMORY) ? "memory.max"
						 : "memory.limit_in_bytes",
			 O_WRONLY, e);
	return r;
}

/* Enable what of @want is available and is not enabled yet. */
int cg_enable(int dir, const char *path, uint32_t want, struct err *e)
{
	char text[CG_TEXT_SIZE];
	uint32_t have, on;
	size_t len = 0;
	int r;

	r = cg_file_read(dir, "cgroup.controllers", text, sizeof(text), e);
	if (r >= 0)
		r = cg_controllers_parse(text, &have);
	if (r >= 0)
		r = cg_file_read(dir, "cgroup.subtree_control", text,
				 sizeof(text), e);
	if (r >= 0)
		r = cg_controllers_parse(text, &on);
	if (r < 0)
		return err_wrap(e, r, "cgroup '%s'", path);
	want &= have & ~on;
	if (!want)
		return 0;
	for (int c = 0; c < CG_NR_CONTROLLERS; c++)
		if (want & CG_BIT(c))
			len += (size_t)snprintf(text + len, sizeof(text) - len,
						"%s+%s", len ? " " : "",
						cg_controller_name(c));
	r = cg_file_write(dir, "cgroup.subtree_control", text, e);
	if (r < 0)
		return err_wrap(e, r, "cgroup '%s'", path);
	return 0;
}

/* On v2 a child starts with what its parent may use; v1 starts with nothing,
 * and then refuses every task, unless an ancestor says that children are to be
 * like their parents. So the first of ours says so: each value that is written
 * has the kernel arrange its scheduling domains anew. */
static int init_cpuset(int parent, int dir, struct err *e)
{
	static const char *const files[] = { "cpuset.cpus", "cpuset.mems" };
	char text[CG_TEXT_SIZE];
	bool empty = false;
	int r;

	for (size_t i = 0; i < ARRAY_LEN(files); i++) {
		r = cg_file_read(dir, files[i], text, sizeof(text), e);
		if (r < 0)
			return r;
		if (r > 1)
			continue;
		r = cg_file_read(parent, files[i], text, sizeof(text), e);
		if (r < 0)
			return r;
		text[strcspn(text, "\n")] = '\0';
		r = cg_file_write(dir, files[i], text, e);
		if (r < 0)
			return r;
		empty = true;
	}
	return empty ? cg_file_write(dir, "cgroup.clone_children", "1", e) : 0;
}

static int make_threaded(const struct cg *parent, int dir, struct err *e)
{
	int up = parent->dir[parent->unified];
	char type[64];
	int r;

	r = cg_file_read(dir, "cgroup.type", type, sizeof(type), e);
	if (r < 0)
		return r;
	if (!str_starts(type, "threaded")) {
		r = cg_file_write(dir, "cgroup.type", "threaded", e);
		if (r < 0)
			return r;
	}
	return cg_enable(up, parent->path,
			 cg_mask_at(parent, parent->unified) & CG_THREADED_BITS,
			 e);
}

/* The hierarchies a cgroup with @flags lives in, as struct cg without dirs. */
static struct cg *shape(const struct cg *parent, const char *name,
			unsigned int flags, int *from)
{
	struct cg *cg = cg_alloc(parent->path, name);
	uint32_t keep = flags & CG_THREADED ? CG_THREADED_BITS : CG_ALL_BITS;

	if (!cg)
		return NULL;
	cg->mode = parent->mode;
	cg->flags = flags;
	cg->missing = parent->missing;
	for (int i = 0; i < parent->nr; i++) {
		uint32_t mask = cg_mask_at(parent, i) & keep;
		bool v2 = i == parent->unified;

		/* The unified one tracks processes even without controllers. */
		if (!mask && (!v2 || (flags & CG_THREADED)))
			continue;
		for (int c = 0; c < CG_NR_CONTROLLERS; c++)
			if (mask & CG_BIT(c))
				cg->at[c] = (signed char)cg->nr;
		if (v2)
			cg->unified = cg->nr;
		from[cg->nr++] = i;
	}
	return cg;
}

static const char *hierarchy_name(const struct cg *cg, int i)
{
	if (i == cg->unified)
		return "unified";
	return cg_controller_name(__builtin_ctz(cg_mask_at(cg, i)));
}

static int open_dirs(const struct cg *parent, const char *name, const int *from,
		     struct cg *cg, struct err *e)
{
	for (int i = 0; i < cg->nr; i++) {
		cg->dir[i] = openat(parent->dir[from[i]], name, DIR_FLAGS);
		if (cg->dir[i] < 0)
			return err_sys(e, "open cgroup '%s' (%s)", cg->path,
				       hierarchy_name(cg, i));
	}
	return 0;
}

/* A cgroup by that name as it is, or will be; no directory is open yet. */
static int describe(const struct cg *parent, const char *name,
		    unsigned int flags, int *from, struct cg **ret,
		    struct err *e)
{
	int r = cg_name_check(name, e);

	if (r < 0)
		return r;
	*ret = shape(parent, name, flags, from);
	return *ret ? 0 : err_set(e, -ENOMEM, "out of memory");
}

int cg_open(const struct cg *parent, const char *name, unsigned int flags,
	    struct cg **ret, struct err *e)
{
	auto_ptr(cg) cg = NULL;
	int from[CG_HIERARCHIES_MAX];
	int r;

	r = describe(parent, name, flags, from, &cg, e);
	if (r < 0)
		return r;
	r = open_dirs(parent, name, from, cg, e);
	if (r == 0)
		r = cg_hold_files(cg, e);
	if (r < 0)
		return r;
	*ret = take_ptr(cg);
	return 0;
}

/* Parents first prepare their children (v2), then all directories are made. */
static int make_dirs(const struct cg *parent, const char *name, const int *from,
		     const struct cg *cg, struct err *e)
{
	int r;

	if (parent->unified >= 0 && !(cg->flags & CG_THREADED)) {
		r = cg_enable(parent->dir[parent->unified], parent->path,
			      cg_mask_at(parent, parent->unified) & CG_V2_BITS,
			      e);
		if (r < 0)
			return r;
	}
	for (int i = 0; i < cg->nr; i++)
		if (mkdirat(parent->dir[from[i]], name, 0755) < 0 &&
		    errno != EEXIST)
			return err_sys(e, "create cgroup '%s'", cg->path);
	return 0;
}

static int explain_busy(const struct cg *parent, struct err *e)
{
	struct cg_pids pids = { 0 };
	char who[160];

	(void)cg_pids_add_file(&pids, parent->dir[parent->unified],
			       "cgroup.procs", NULL); /* only for the text */
	cg_pids_name(&pids, 3, who, sizeof(who));
	free(pids.v);
	return err_set(e, -EBUSY,
		       "cgroup '%s' holds processes (%s), so it cannot have "
		       "children with controllers: move them to a leaf",
		       parent->path, who);
}

int cg_create(const struct cg *parent, const char *name, unsigned int flags,
	      struct cg **ret, struct err *e)
{
	auto_ptr(cg) cg = NULL;
	int from[CG_HIERARCHIES_MAX];
	int r;

	r = describe(parent, name, flags, from, &cg, e);
	if (r < 0)
		return r;
	r = make_dirs(parent, name, from, cg, e);
	if (r == -EBUSY && parent->unified >= 0)
		return explain_busy(parent, e);
	if (r < 0)
		return r;
	r = open_dirs(parent, name, from, cg, e);
	if (r < 0)
		return r;
	if ((flags & CG_THREADED) && cg->unified >= 0) {
		r = make_threaded(parent, cg->dir[cg->unified], e);
		if (r < 0)
			return err_wrap(e, r, "cgroup '%s'", cg->path);
	}
	if (cg->at[CG_CPUSET] >= 0 && !cg_is_v2(cg, CG_CPUSET)) {
		r = init_cpuset(parent->dir[(int)parent->at[CG_CPUSET]],
				cg->dir[(int)cg->at[CG_CPUSET]], e);
		if (r < 0)
			return err_wrap(e, r, "cgroup '%s'", cg->path);
	}
	if (!ret)
		return 0;
	/* Last, since some files appear with the controllers enabled above. */
	r = cg_hold_files(cg, e);
	if (r < 0)
		return r;
	*ret = take_ptr(cg);
	return 0;
}

int cg_open_fd(int dirfd, const char *label, unsigned int flags,
	       struct cg **ret, struct err *e)
{
	auto_ptr(cg) cg = cg_alloc(label, "");
	int r;

	if (!cg)
		return err_set(e, -ENOMEM, "out of memory");
	cg->dir[0] = openat(dirfd, ".", DIR_FLAGS);
	if (cg->dir[0] < 0)
		return err_sys(e, "open cgroup '%s'", label);
	cg->nr = 1;
	cg->unified = 0;
	cg->mode = CG_UNIFIED;
	cg->flags = flags;
	memset(cg->at, 0, sizeof(cg->at));
	r = cg_hold_files(cg, e);
	if (r < 0)
		return r;
	*ret = take_ptr(cg);
	return 0;
}

/* --- removal --- */

static int remove_dir(int parent, const char *name, int depth, struct err *e);

static int explain_left(int dir, const char *name, struct err *e)
{
	struct cg_pids pids = { 0 };
	char who[200];

	(void)cg_pids_add_file(&pids, dir, "cgroup.procs", NULL);
	if (!pids.nr)
		(void)cg_pids_add_file(&pids, dir, "cgroup.threads", NULL);
	cg_pids_name(&pids, 4, who, sizeof(who));
	free(pids.v);
	return err_set(e, -EBUSY, "cgroup '%s' cannot be removed yet: %s%s",
		       name,
		       *who ? "it still holds " : "the kernel calls it busy",
		       who);
}

static int remove_children(int dir, int depth, struct err *e)
{
	DIR *d = cg_opendir(dir);
	struct dirent *ent;
	int r = 0;

	if (!d)
		return errno == ENOENT ? 0 : err_sys(e, "list cgroup");
	while (r == 0 && (ent = readdir(d)))
		if (ent->d_type == DT_DIR && ent->d_name[0] != '.')
			r = remove_dir(dir, ent->d_name, depth - 1, e);
	closedir(d);
	return r;
}

static int remove_dir(int parent, const char *name, int depth, struct err *e)
{
	auto_close int dir = -EBADF;
	int r;

	if (unlinkat(parent, name, AT_REMOVEDIR) == 0 || errno == ENOENT)
		return 0;
	/* Scratch directories of tests say ENOTEMPTY. */
	if (errno != EBUSY && errno != ENOTEMPTY)
		return err_sys(e, "remove cgroup '%s'", name);
	if (depth < 0)
		return err_set(e, -ELOOP, "more than %d levels of cgroups",
			       CG_DEPTH_MAX);
	dir = openat(parent, name, DIR_FLAGS);
	if (dir < 0)
		return errno == ENOENT ? 0 : err_sys(e, "open '%s'", name);
	r = remove_children(dir, depth, e);
	if (r < 0)
		return r;
	if (unlinkat(parent, name, AT_REMOVEDIR) == 0 || errno == ENOENT)
		return 0;
	if (errno == EBUSY)
		return explain_left(dir, name, e);
	return err_sys(e, "remove cgroup '%s'", name);
}

int cg_remove(const struct cg *parent, const char *name, struct err *e)
{
	int r;

	r = cg_name_check(name, e);
	for (int i = 0; r == 0 && i < parent->nr; i++) {
		r = remove_dir(parent->dir[i], name, CG_DEPTH_MAX, e);
		if (r < 0)
			return err_wrap(e, r, "cgroup '%s'", parent->path);
	}
	return r;
}

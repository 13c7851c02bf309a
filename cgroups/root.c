// SPDX-License-Identifier: Apache-2.0
/* The cgroup all of ours live beneath, and what the host gives for it. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cgroups/internal.h"
#include "lib/auto.h"
#include "lib/buf.h"
#include "lib/err.h"
#include "lib/str.h"

static void assign(struct cg *cg, const struct cg_host *host)
{
	for (int i = 0; i < cg->nr; i++)
		for (int c = 0; c < CG_NR_CONTROLLERS; c++)
			if (host->h[i].controllers & CG_BIT(c))
				cg->at[c] = (signed char)i;
	if (cg->unified >= 0) {
		/* These two every v2 cgroup has, controllers or not. */
		cg->at[CG_FREEZER] = (signed char)cg->unified;
		if (cg->at[CG_CPUACCT] < 0)
			cg->at[CG_CPUACCT] = (signed char)cg->unified;
	}
	for (int c = 0; c < CG_NR_CONTROLLERS; c++)
		if (cg->at[c] < 0)
			cg->missing |= CG_BIT(c);
}

/* The cgroup ours is made in, per hierarchy. */
static int open_base(const struct cg_host *host, struct cg **ret, struct err *e)
{
	auto_ptr(cg) cg = cg_alloc(host->h[0].path, "");

	if (!cg)
		return err_set(e, -ENOMEM, "out of memory");
	cg->mode = host->mode;
	cg->nr = (int)host->nr;
	for (int i = 0; i < cg->nr; i++) {
		cg->dir[i] = open(host->h[i].dir,
				  O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (cg->dir[i] < 0)
			return err_sys(e, "open cgroup '%s'", host->h[i].dir);
		if (host->h[i].v2)
			cg->unified = i;
	}
	assign(cg, host);
	*ret = take_ptr(cg);
	return 0;
}

static bool is_among(const struct cg_pids *pids, pid_t pid)
{
	for (size_t i = 0; i < pids->nr; i++)
		if (pids->v[i] == pid)
			return true;
	return false;
}

/* 1: moved, 0: not in @dir. */
static int move_self_to_leaf(int dir, const char *leaf, struct err *e)
{
	struct cg_pids pids = { 0 };
	auto_close int fd = -EBADF;
	bool here;
	int r;

	r = cg_pids_add_file(&pids, dir, "cgroup.procs", e);
	here = is_among(&pids, getpid());
	free(pids.v);
	if (r < 0 || !here)
		return r;
	if (mkdirat(dir, leaf, 0755) < 0 && errno != EEXIST)
		return err_sys(e, "create cgroup '%s'", leaf);
	fd = openat(dir, leaf, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return err_sys(e, "open cgroup '%s'", leaf);
	r = cg_file_write(fd, "cgroup.procs", "0", e);
	return r < 0 ? r : 1;
}

static int explain_foreign(const struct cg *base, int dir, struct err *e)
{
	struct cg_pids pids = { 0 };
	char who[120];

	(void)cg_pids_add_file(&pids, dir, "cgroup.procs", NULL);
	cg_pids_name(&pids, 3, who, sizeof(who));
	free(pids.v);
	return err_set(e, -EBUSY,
		       "cgroup '%s' also holds %s, so no controllers can be "
		       "used below it: start with systemd-run -p Delegate=yes, "
		       "or name another cgroup",
		       base->path, who);
}

static int prepare_base(const struct cg *base, const char *leaf, struct err *e)
{
	struct err first = { 0 }; /* no failure yet for the caller */
	uint32_t want;
	int dir, r;

	if (base->unified < 0)
		return 0;
	want = cg_mask_at(base, base->unified) & CG_V2_BITS;
	dir = base->dir[base->unified];
	r = cg_enable(dir, base->path, want, &first);
	if (r != -EBUSY)
		return r < 0 ? err_set(e, r, "%s", first.msg) : 0;
	r = move_self_to_leaf(dir, leaf, e);
	if (r < 0)
		return err_wrap(e, r, "cgroup '%s'", base->path);
	if (r > 0)
		r = cg_enable(dir, base->path, want, e);
	else
		r = -EBUSY;
	return r == -EBUSY ? explain_foreign(base, dir, e) : r;
}

/* @ret_leaf is owned. */
static int find_base(const char *parent, const char *name, struct cg **ret,
		     char **ret_leaf, struct err *e)
{
	auto_free char *leaf = NULL;
	struct cg_host host;
	int r;

	r = cg_name_check(name, e);
	if (r < 0)
		return r;
	if (parent && parent[0] != '/')
		return err_set(e, -EINVAL,
			       "cgroup '%s': a path as in /proc/self/cgroup "
			       "starts with '/'",
			       parent);
	leaf = str_printf("%s.agent", name);
	if (!leaf)
		return err_set(e, -ENOMEM, "out of memory");
	r = cg_host_discover(parent, leaf, &host, e);
	if (r < 0)
		return r;
	r = open_base(&host, ret, e);
	cg_host_clear(&host);
	if (r == 0)
		*ret_leaf = take_ptr(leaf);
	return r;
}

int cg_root_open(const char *parent, const char *name, struct cg **ret,
		 struct err *e)
{
	auto_ptr(cg) base = NULL;
	auto_free char *leaf = NULL;
	int r;

	r = find_base(parent, name, &base, &leaf, e);
	if (r == 0)
		r = prepare_base(base, leaf, e);
	if (r < 0)
		return r;
	return cg_create(base, name, 0, ret, e);
}

int cg_root_remove(const char *parent, const char *name, struct err *e)
{
	auto_ptr(cg) base = NULL;
	auto_free char *leaf = NULL;
	int r;

	r = find_base(parent, name, &base, &leaf, e);
	if (r == 0)
		r = cg_remove(base, name, e);
	if (r < 0)
		return r;
	/* The caller itself may well be in it. */
	if (base->unified >= 0)
		(void)unlinkat(base->dir[base->unified], leaf, AT_REMOVEDIR);
	return 0;
}

enum cg_mode cg_mode(const struct cg *cg)
{
	return cg->mode;
}

const char *cg_path(const struct cg *cg)
{
	return cg->path;
}

bool cg_has(const struct cg *cg, enum cg_controller controller)
{
	return cg->at[controller] >= 0;
}

int cg_unified_fd(const struct cg *cg)
{
	return cg->unified < 0 ? -EBADF : cg->dir[cg->unified];
}

/* --- what is lost --- */

static bool on_v1(const struct cg *cg, enum cg_controller c)
{
	return cg->at[c] >= 0 && !cg_is_v2(cg, c);
}

static int describe_v1(const struct cg *cg, struct buf *b)
{
	int n = 0;

	if (on_v1(cg, CG_MEMORY)) {
		buf_puts(b, "memory is on v1: no memory.high, no memory.min, "
			    "no reclaim on request, no kill of a whole "
			    "container by the OOM killer\n");
		n++;
	}
	if (on_v1(cg, CG_IO)) {
		buf_puts(b, "io is on v1: limits do not hold for buffered "
			    "writes\n");
		n++;
	}
	if (on_v1(cg, CG_CPU)) {
		buf_puts(b, "cpu is on v1: a limit above the pod's own is "
			    "refused, not capped\n");
		n++;
	}
	if (cg->unified < 0) {
		buf_puts(b, "no unified hierarchy: no pressure figures, no "
			    "event when a pod ends, kill is not atomic, and no "
			    "BPF programs per pod\n");
		n++;
	}
	return n;
}

static int describe_missing(const struct cg *cg, struct buf *b)
{
	static const struct {
		enum cg_controller c;
		const char *loss;
	} losses[] = {
		{ CG_CPU, "CPU limits and requests do nothing" },
		{ CG_CPUSET, "no pinning to CPUs" },
		{ CG_IO, "no I/O limits or figures" },
		{ CG_MEMORY, "memory limits do nothing" },
		{ CG_PIDS, "no limit of processes" },
		{ CG_FREEZER, "pods cannot be paused" },
	};
	int n = 0;

	for (size_t i = 0; i < ARRAY_LEN(losses); i++) {
		if (!(cg->missing & CG_BIT(losses[i].c)))
			continue;
		buf_printf(b, "no %s controller: %s\n",
			   cg_controller_name(losses[i].c), losses[i].loss);
		n++;
	}
	return n;
}

int cg_describe(const struct cg *cg, struct buf *b)
{
	int n;

	switch (cg->mode) {
	case CG_UNIFIED:
		buf_puts(b, "v2\n");
		break;
	case CG_HYBRID:
		buf_puts(b, "hybrid: some controllers on v1, boot with "
			    "systemd.unified_cgroup_hierarchy=1 for v2\n");
		break;
	case CG_LEGACY:
		buf_puts(b, "v1: boot with "
			    "systemd.unified_cgroup_hierarchy=1 for v2\n");
		break;
	}
	n = describe_v1(cg, b);
	n += describe_missing(cg, b);
	return buf_error(b) ? buf_error(b) : n;
}

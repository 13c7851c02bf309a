// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "cgroups/cpuset.h"
#include "cgroups/internal.h"
#include "lib/auto.h"
#include "lib/err.h"

/* v2 takes "" for "all of the parent's" while no task is there; then, and on
 * v1 always, they have to be spelled out. */
static int parent_list(const struct cg *cg, const char *file, char *text,
		       size_t size, struct err *e)
{
	auto_close int up = -EBADF;
	int dir = cg_dir(cg, CG_CPUSET, e);
	int r;

	up = openat(dir, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (up < 0)
		return err_sys(e, "cgroup '%s': open its parent", cg->path);
	r = cg_file_read(up, file, text, size, e);
	if (r < 0)
		return err_wrap(e, r, "parent of cgroup '%s'", cg->path);
	text[strcspn(text, "\n")] = '\0';
	return 0;
}

static int list_write(const struct cg *cg, const char *file,
		      const char *effective, const cpu_set_t *set,
		      struct err *e)
{
	bool v1 = cg->at[CG_CPUSET] >= 0 && !cg_is_v2(cg, CG_CPUSET);
	char text[CG_CPUSET_TEXT];
	int r;

	r = cg_cpu_list_format(set, text, sizeof(text));
	if (r < 0)
		return err_set(e, r, "%s: list too long", file);
	if (r > 0)
		return cg_write(cg, CG_CPUSET, file, text, e);
	if (!v1) {
		/* A write of no bytes would never reach the kernel. */
		r = cg_write(cg, CG_CPUSET, file, "\n", e);
		if (r != -ENOSPC)
			return r;
	}
	r = parent_list(cg, v1 ? file : effective, text, sizeof(text), e);
	return r < 0 ? r : cg_write(cg, CG_CPUSET, file, text, e);
}

int cg_cpuset_cpus_write(const struct cg *cg, const cpu_set_t *cpus,
			 struct err *e)
{
	return list_write(cg, "cpuset.cpus", "cpuset.cpus.effective", cpus, e);
}

int cg_cpuset_mems_write(const struct cg *cg, const cpu_set_t *nodes,
			 struct err *e)
{
	return list_write(cg, "cpuset.mems", "cpuset.mems.effective", nodes, e);
}

static int list_read(const struct cg *cg, const char *v1, const char *v2,
		     cpu_set_t *ret, struct err *e)
{
	const char *file = cg_is_v2(cg, CG_CPUSET) ? v2 : v1;
	char text[CG_CPUSET_TEXT];
	int r;

	r = cg_read(cg, CG_CPUSET, file, text, sizeof(text), e);
	if (r < 0)
		return r;
	r = cg_cpu_list_parse(text, ret);
	if (r < 0)
		return err_set(e, r, "cgroup '%s': odd %s", cg->path, file);
	return 0;
}

int cg_cpuset_cpus_read(const struct cg *cg, cpu_set_t *ret, struct err *e)
{
	return list_read(cg, "cpuset.effective_cpus", "cpuset.cpus.effective",
			 ret, e);
}

int cg_cpuset_mems_read(const struct cg *cg, cpu_set_t *ret, struct err *e)
{
	return list_read(cg, "cpuset.effective_mems", "cpuset.mems.effective",
			 ret, e);
}

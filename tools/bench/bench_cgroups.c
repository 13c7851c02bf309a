// SPDX-License-Identifier: Apache-2.0
/*
 * What a resize costs: our write, held open and not, against libcgroup's, in
 * turns on the same cgroup. Then create and remove of one cgroup.
 */
#include <libcgroup.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "cgroups/cgroup.h"
#include "cgroups/cpu.h"
#include "cgroups/memory.h"
#include "lib/err.h"

#define ROUNDS 2000

static double now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

struct series {
	double us[ROUNDS];
	size_t nr;
};

static double report(const char *name, struct series *s)
{
	qsort(s->us, s->nr, sizeof(s->us[0]), by_size);
	printf("%s_p50 %.2f us\n", name, s->us[s->nr / 2]);
	printf("%s_p99 %.2f us\n", name, s->us[s->nr * 99 / 100]);
	return s->us[s->nr / 2];
}

static int by_libcgroup(const char *path, bool v2, int i)
{
	struct cgroup *cg = cgroup_new_cgroup(path);
	struct cgroup_controller *cpu =
		cg ? cgroup_add_controller(cg, "cpu") : NULL;
	char text[32];
	int r = -1;

	snprintf(text, sizeof(text), v2 ? "%d 100000" : "%d", 20000 + i % 7);
	if (cpu &&
	    cgroup_set_value_string(cpu, v2 ? "cpu.max" : "cpu.cfs_quota_us",
				    text) == 0)
		r = cgroup_modify_cgroup(cg);
	cgroup_free(&cg);
	return r;
}

static int resize(const struct cg *root, struct err *e)
{
	static struct series held, opened, lib, mem;
	auto_ptr(cg) hold = NULL;
	auto_ptr(cg) plain = NULL;
	bool v2 = cg_mode(root) == CG_UNIFIED;
	double ours, theirs;
	int r;

	r = cg_create(root, "one", CG_HOLD, &hold, e);
	if (r == 0)
		r = cg_create(root, "one", 0, &plain, e);
	for (int i = 0; r == 0 && i < ROUNDS; i++) {
		struct cg_cpu_max max = { (uint64_t)(30000 + i % 7), 100000 };
		double t0 = now_us(), t1, t2, t3, t4;

		r = cg_cpu_max_write(hold, &max, e);
		t1 = now_us();
		if (r == 0)
			r = cg_cpu_max_write(plain, &max, e);
		t2 = now_us();
		if (r == 0)
			r = cg_mem_write(hold, CG_MEM_MAX,
					 (uint64_t)(64 + i % 7) << 20, e);
		t3 = now_us();
		held.us[held.nr++] = t1 - t0;
		opened.us[opened.nr++] = t2 - t1;
		mem.us[mem.nr++] = t3 - t2;
		if (i % 10)
			continue;
		t3 = now_us();
		if (by_libcgroup(cg_path(plain), v2, i) != 0)
			continue;
		t4 = now_us();
		lib.us[lib.nr++] = t4 - t3;
	}
	if (r < 0)
		return r;
	ours = report("cgroup_resize_cpu_held", &held);
	report("cgroup_resize_cpu_open", &opened);
	report("cgroup_resize_memory_held", &mem);
	if (lib.nr) {
		theirs = report("cgroup_resize_cpu_libcgroup", &lib);
		printf("cgroup_resize_ratio_to_libcgroup %.3f x\n",
		       ours / theirs);
	}
	return cg_remove(root, "one", e);
}

static int create(const struct cg *root, struct err *e)
{
	static struct series make, drop;
	int r = 0;

	for (int i = 0; r == 0 && i < 100; i++) {
		auto_ptr(cg) cg = NULL;
		double t0 = now_us(), t1;

		r = cg_create(root, "one", CG_HOLD, &cg, e);
		t1 = now_us();
		if (r == 0)
			r = cg_remove(root, "one", e);
		make.us[make.nr++] = t1 - t0;
		drop.us[drop.nr++] = now_us() - t1;
	}
	if (r < 0)
		return r;
	report("cgroup_create", &make);
	report("cgroup_remove", &drop);
	return 0;
}

int main(void)
{
	auto_ptr(cg) root = NULL;
	const char *parent = NULL;
	struct err e = { 0 };
	char name[48];
	int r;

	snprintf(name, sizeof(name), "arktos-bench-%d", (int)getpid());
	r = cg_root_open(NULL, name, &root, &e);
	if (r == -EBUSY) {
		parent = "/";
		r = cg_root_open(parent, name, &root, &e);
	}
	if (r == 0)
		r = resize(root, &e);
	if (r == 0)
		r = create(root, &e);
	if (root && cg_root_remove(parent, name, NULL) < 0)
		printf("# %s is left behind\n", name);
	if (r < 0)
		fprintf(stderr, "bench_cgroups: %s\n", e.msg);
	return r < 0;
}

// SPDX-License-Identifier: Apache-2.0
/*
 * Containers in their cgroups, beneath this process' own one.
 *
 * LANE: both
 * SECONDS: 120
 */
#include "cgroups/cgroup.h"
#include "cgroups/memory.h"
#include "selftests/agent/container/fixture.h"
#include "selftests/cgroups/live.h"

struct groups {
	struct cg *root, *ctr;
	int sup[CG_HIERARCHIES_MAX], procs[CG_HIERARCHIES_MAX];
	int sup_dir; /* > 0: v2, to be born in */
	size_t nr_sup, nr;
	struct err e;
};

static int groups_make(struct groups *g, const char *name)
{
	char sup[64], ctr[64];
	struct cg *cg = NULL;

	snprintf(sup, sizeof(sup), "sup-%s", name);
	snprintf(ctr, sizeof(ctr), "ctr-%s", name);
	if (live_root(&g->root, &g->e) < 0 ||
	    cg_create(g->root, sup, 0, &cg, &g->e) < 0 ||
	    cg_procs_fds(cg, g->sup, &g->nr_sup, &g->e) < 0 ||
	    cg_create(g->root, ctr, 0, &g->ctr, &g->e) < 0 ||
	    cg_procs_fds(g->ctr, g->procs, &g->nr, &g->e) < 0) {
		printf("# %s\n", g->e.msg);
		return -1;
	}
	if (cg_v2_dirfd(cg) >= 0)
		g->sup_dir = fcntl(cg_v2_dirfd(cg), F_DUPFD_CLOEXEC, 3);
	cg_close(cg);
	return 0;
}

static int up(struct pod *p, struct groups *g, const char *name)
{
	struct sandbox_opts o = { .netns_fd = -1 };

	if (groups_make(g, name) < 0)
		return -1;
	o.cgroup_procs = g->sup;
	o.nr_cgroup_procs = g->sup_dir > 0 ? 0 : g->nr_sup;
	o.cgroup_dir = g->sup_dir;
	p->nr_fds = g->nr;
	memcpy(p->fds, g->procs, g->nr * sizeof(int));
	return pod_up(p, &o);
}

/* ,"cgroups":[0,1,...] */
static const char *members(const struct groups *g)
{
	static char text[128];
	size_t n = (size_t)snprintf(text, sizeof(text), ",\"cgroups\":[");

	for (size_t i = 0; i < g->nr; i++)
		n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%zu",
				      i ? "," : "", i);
	snprintf(text + n, sizeof(text) - n, "]");
	return text;
}

static bool holds(const struct cg *cg, pid_t pid)
{
	auto_free pid_t *pids = NULL;
	size_t nr = 0;

	if (cg_procs(cg, &pids, &nr, NULL) < 0)
		return false;
	for (size_t i = 0; i < nr; i++)
		if (pids[i] == pid)
			return true;
	return false;
}

TEST(supervisor_and_container_are_where_they_belong)
{
	auto_pod struct pod p = POD_INIT;
	struct groups g = { .root = NULL };
	struct cg *sup = NULL;

	ASSERT_EQ(up(&p, &g, "place"), 0);
	ASSERT_EQ(pod_run(&p, "web", "sleep 1000 & sleep 1000", members(&g)),
		  0);
	EXPECT_STREQ(p.e.msg, "");
	EXPECT_EQ(holds(g.ctr, p.proc.pid), true);
	EXPECT_EQ(holds(g.ctr, sandbox_pid(p.sb)), false);
	ASSERT_EQ(cg_open(g.root, "sup-place", 0, &sup, &g.e), 0);
	EXPECT_EQ(holds(sup, sandbox_pid(p.sb)), true);
	EXPECT_EQ(holds(sup, p.proc.pid), false);
	cg_close(sup);
}

TEST(exec_joins_the_containers_cgroup)
{
	auto_pod struct pod p = POD_INIT;
	struct groups g = { .root = NULL };
	char json[] = "{\"argv\":[\"sleep\",\"1000\"],\"caps\":\"0\"}";
	struct sandbox_spec spec = { .json = json, .len = strlen(json) };
	struct sandbox_exec_opts o = { .container = "web",
				       .spec = &spec,
				       .stdio = { -1, -1, -1 } };
	struct sandbox_exec x;
	auto_free struct sandbox_proc *list = NULL;
	size_t nr = 0;

	ASSERT_EQ(up(&p, &g, "exec"), 0);
	ASSERT_EQ(pod_run(&p, "web", "sleep 1000", members(&g)), 0);
	ASSERT_EQ(sandbox_exec(p.sb, &o, &x, NULL, &p.e), 0);
	ASSERT_EQ(sandbox_list(p.sb, &list, &nr, &p.e), 0);
	ASSERT_EQ(nr, 2);
	EXPECT_EQ(holds(g.ctr, list[1].pid), true);
	EXPECT_EQ(ns_inode(list[1].pid, "cgroup"),
		  ns_inode(list[0].pid, "cgroup"));
	close(x.exit_fd);
}

TEST(container_sees_its_own_limits_and_cannot_change_them)
{
	auto_pod struct pod p = POD_INIT;
	struct groups g = { .root = NULL };
	bool v2;

	ASSERT_EQ(up(&p, &g, "see"), 0);
	v2 = cg_mode(g.root) == CG_UNIFIED;
	ASSERT_EQ(cg_mem_write(g.ctr, CG_MEM_MAX, 96 << 20, &g.e), 0);
	EXPECT_OUTPUT(&p,
		      v2 ? "cat /sys/fs/cgroup/memory.max; "
			   "cat /proc/self/cgroup"
			 : "cat /sys/fs/cgroup/memory/memory.limit_in_bytes; "
			   "echo 0::/",
		      members(&g), "100663296\n0::/");
	EXPECT_OUTPUT(&p,
		      v2 ? "cd /sys/fs/cgroup; echo max > memory.max"
			 : "cd /sys/fs/cgroup/memory; echo -1 > "
			   "memory.limit_in_bytes",
		      members(&g),
		      v2 ? "/bin/sh: can't create memory.max: Read-only file "
			   "system"
			 : "/bin/sh: can't create memory.limit_in_bytes: "
			   "Read-only file system");
}

TEST(running_out_of_memory_is_told)
{
	auto_pod struct pod p = POD_INIT;
	struct groups g = { .root = NULL };

	ASSERT_EQ(up(&p, &g, "oom"), 0);
	ASSERT_EQ(cg_mem_write(g.ctr, CG_MEM_MAX, 16 << 20, &g.e), 0);
	(void)cg_mem_write(g.ctr, CG_MEM_SWAP_MAX, 0, NULL);
	ASSERT_EQ(pod_run(&p, "hog",
			  "exec dd if=/dev/zero of=/dev/null bs=256M count=1",
			  members(&g)),
		  0);
	ASSERT_EQ(pod_wait(&p, "hog"), 0);
	EXPECT_EQ(p.proc.oom_killed, 1);
	EXPECT_EQ(p.proc.exit_code, 137);
	EXPECT_STREQ(p.proc.reason, "OOMKilled");
	/* An older kill does not stick to the next life. */
	ASSERT_EQ(sandbox_ack(p.sb, "hog", &p.e), 0);
	ASSERT_EQ(pod_run(&p, "hog", "exit 1", members(&g)), 0);
	ASSERT_EQ(pod_wait(&p, "hog"), 0);
	EXPECT_EQ(p.proc.oom_killed, 0);
	EXPECT_STREQ(p.proc.reason, "Error");
}

TEST(too_little_memory_to_start_is_a_clean_failure)
{
	auto_pod struct pod p = POD_INIT;
	struct groups g = { .root = NULL };
	int r;

	ASSERT_EQ(up(&p, &g, "tiny"), 0);
	ASSERT_EQ(cg_mem_write(g.ctr, CG_MEM_MAX, 4096, &g.e), 0);
	(void)cg_mem_write(g.ctr, CG_MEM_SWAP_MAX, 0, NULL);
	r = pod_run(&p, "web", "true", members(&g));
	if (r == 0) { /* lived long enough to execute, no longer */
		ASSERT_EQ(pod_wait(&p, "web"), 0);
		EXPECT_EQ(p.proc.exit_code, 137);
		return;
	}
	EXPECT_EQ(r, -EREMOTEIO);
	EXPECT_EQ(p.why.exit_code, 128);
	printf("# %s: %s\n", p.why.reason, p.why.message);
}

TEST(started_into_a_v2_cgroup)
{
	auto_pod struct pod p = POD_INIT;
	struct groups g = { .root = NULL };

	ASSERT_EQ(up(&p, &g, "into"), 0);
	p.fds[0] = cg_unified_fd(g.ctr);
	p.nr_fds = 1;
	ASSERT_GE(p.fds[0], 0);
	ASSERT_EQ(pod_run(&p, "web", "sleep 1000", ",\"cgroupDir\":0"), 0);
	EXPECT_EQ(holds(g.ctr, p.proc.pid), true);
}

LIVE_MAIN()

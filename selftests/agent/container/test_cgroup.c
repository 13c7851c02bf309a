// SPDX-License-Identifier: Apache-2.0
/*
 * Containers in their cgroups, beneath this process' own one.
 *
 * LANE: both
 * SECONDS: 120
 */
#include <sys/inotify.h>

#include "cgroups/cgroup.h"
#include "cgroups/memory.h"
#include "selftests/agent/container/fixture.h"
#include "selftests/cgroups/live.h"

struct groups {
	struct cg *root, *sup, *ctr;
	int sup_tasks[CG_HIERARCHIES_MAX], tasks[CG_HIERARCHIES_MAX];
	size_t nr_sup, nr;
	struct err e;
};

static int groups_make(struct groups *g, const char *name)
{
	char sup[64], ctr[64];

	snprintf(sup, sizeof(sup), "sup-%s", name);
	snprintf(ctr, sizeof(ctr), "ctr-%s", name);
	if (live_root(&g->root, &g->e) < 0 ||
	    cg_create(g->root, sup, 0, &g->sup, &g->e) < 0 ||
	    cg_tasks_fds(g->sup, g->sup_tasks, &g->nr_sup, &g->e) < 0 ||
	    cg_create(g->root, ctr, 0, &g->ctr, &g->e) < 0 ||
	    cg_tasks_fds(g->ctr, g->tasks, &g->nr, &g->e) < 0) {
		printf("# %s\n", g->e.msg);
		return -1;
	}
	return 0;
}

static void groups_close(struct groups *g)
{
	for (size_t i = 0; i < g->nr_sup; i++)
		close(g->sup_tasks[i]);
	for (size_t i = 0; i < g->nr; i++)
		close(g->tasks[i]);
	cg_close(g->ctr);
	cg_close(g->sup);
	cg_close(g->root);
}
#define auto_groups __attribute__((cleanup(groups_close)))

static int up_in(struct pod *p, struct groups *g)
{
	struct sandbox_opts o = { .netns_fd = -1 };

	o.cgroup_tasks = g->sup_tasks;
	o.nr_cgroup_tasks = g->nr_sup;
	o.cgroup_dir = cg_unified_fd(g->sup);
	memcpy(p->fds, g->tasks, g->nr * sizeof(int));
	p->nr_fds = g->nr;
	if (cg_unified_fd(g->ctr) >= 0)
		p->fds[p->nr_fds++] = cg_unified_fd(g->ctr);
	return pod_up(p, &o);
}

static int up(struct pod *p, struct groups *g, const char *name)
{
	return groups_make(g, name) < 0 ? -1 : up_in(p, g);
}

/* ,"cgroups":[0,1,...],"cgroupDir":N */
static const char *members(const struct groups *g)
{
	static char text[128];
	size_t n = (size_t)snprintf(text, sizeof(text), ",\"cgroups\":[");

	for (size_t i = 0; i < g->nr; i++)
		n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%zu",
				      i ? "," : "", i);
	n += (size_t)snprintf(text + n, sizeof(text) - n, "]");
	if (cg_unified_fd(g->ctr) >= 0)
		snprintf(text + n, sizeof(text) - n, ",\"cgroupDir\":%zu",
			 g->nr);
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

/* In every hierarchy that @cg is in? */
static bool is_wholly_in(const struct cg *cg, pid_t pid)
{
	const char *name = strrchr(cg_path(cg), '/');
	int fds[CG_HIERARCHIES_MAX];
	auto_free char *text = NULL;
	size_t nr = 0, want = cg_unified_fd(cg) >= 0;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/cgroup", (int)pid);
	text = read_text(path);
	if (!name || cg_tasks_fds(cg, fds, &nr, NULL) < 0)
		return false;
	want += nr;
	while (nr > 0)
		close(fds[--nr]);
	for (const char *s = text; s && (s = strstr(s, name));
	     s += strlen(name))
		nr += s[strlen(name)] == '\n';
	/* A hierarchy of several controllers has one line; what we do not use
	 * has none with our name. */
	if (nr != want)
		printf("# %d in '%s' %zu times, not %zu: %s\n", (int)pid, name,
		       nr, want, text);
	return nr == want;
}

TEST(supervisor_and_container_are_where_they_belong)
{
	auto_pod struct pod p = POD_INIT;
	auto_groups struct groups g = { .root = NULL };

	ASSERT_EQ(up(&p, &g, "place"), 0);
	ASSERT_EQ(pod_run(&p, "web", "sleep 1000 & sleep 1000", members(&g)),
		  0);
	EXPECT_STREQ(p.e.msg, "");
	EXPECT_EQ(holds(g.ctr, p.proc.pid), true);
	EXPECT_EQ(holds(g.ctr, sandbox_pid(p.sb)), false);
	EXPECT_EQ(holds(g.sup, sandbox_pid(p.sb)), true);
	EXPECT_EQ(holds(g.sup, p.proc.pid), false);
	EXPECT_EQ(is_wholly_in(g.ctr, p.proc.pid), true);
	EXPECT_EQ(is_wholly_in(g.sup, sandbox_pid(p.sb)), true);
}

static int watch_file(int in, int fd, const char *name)
{
	char link[64], path[PATH_MAX];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof(path) - 32);
	if (n < 0)
		return -errno;
	path[n] = '\0';
	if (str_ends(path, "/tasks"))
		path[n - (ssize_t)strlen("/tasks")] = '\0';
	snprintf(path + strlen(path), 32, "/%s", name);
	return inotify_add_watch(in, path, IN_MODIFY) < 0 ? -errno : 0;
}

/* What is written to cgroup.procs takes the lock whose first writer waits for
 * an RCU grace period. */
TEST(nobody_is_moved_by_way_of_the_lock_that_waits_for_all_cpus)
{
	auto_pod struct pod p = POD_INIT;
	auto_groups struct groups g = { .root = NULL };
	auto_close int in = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	char json[] = "{\"argv\":[\"sleep\",\"1000\"],\"caps\":\"0\"}";
	struct sandbox_spec spec = { .json = json, .len = strlen(json) };
	struct sandbox_exec_opts o = { .container = "web",
				       .spec = &spec,
				       .stdio = { -1, -1, -1 } };
	struct sandbox_exec x;
	char event[4096];
	size_t watched = 0;

	ASSERT_EQ(groups_make(&g, "lock"), 0);
	for (size_t i = 0; i < g.nr; i++, watched++) {
		ASSERT_EQ(watch_file(in, g.tasks[i], "cgroup.procs"), 0);
		ASSERT_EQ(watch_file(in, g.sup_tasks[i], "cgroup.procs"), 0);
	}
	if (cg_unified_fd(g.ctr) >= 0) {
		watched++;
		ASSERT_EQ(watch_file(in, cg_unified_fd(g.ctr), "cgroup.procs"),
			  0);
		ASSERT_EQ(watch_file(in, cg_unified_fd(g.sup), "cgroup.procs"),
			  0);
	}
	ASSERT_GE(watched, 1);
	ASSERT_EQ(up_in(&p, &g), 0);
	ASSERT_EQ(pod_run(&p, "web", "sleep 1000", members(&g)), 0);
	EXPECT_EQ(is_wholly_in(g.ctr, p.proc.pid), true);
	ASSERT_EQ(sandbox_exec(p.sb, &o, &x, NULL, &p.e), 0);
	EXPECT_EQ(read(in, event, sizeof(event)), -1);
	EXPECT_EQ(errno, EAGAIN);
	/* The watches do see such a write. */
	ASSERT_EQ(cg_attach(g.ctr, p.proc.pid, &g.e), 0);
	EXPECT_GE(read(in, event, sizeof(event)), 1);
	close(x.exit_fd);
}

TEST(exec_joins_the_containers_cgroup)
{
	auto_pod struct pod p = POD_INIT;
	auto_groups struct groups g = { .root = NULL };
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
	EXPECT_EQ(is_wholly_in(g.ctr, list[1].pid), true);
	EXPECT_EQ(ns_inode(list[1].pid, "cgroup"),
		  ns_inode(list[0].pid, "cgroup"));
	close(x.exit_fd);
}

TEST(container_sees_its_own_limits_and_cannot_change_them)
{
	auto_pod struct pod p = POD_INIT;
	auto_groups struct groups g = { .root = NULL };
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
	auto_groups struct groups g = { .root = NULL };

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
	auto_groups struct groups g = { .root = NULL };
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
	auto_groups struct groups g = { .root = NULL };

	ASSERT_EQ(up(&p, &g, "into"), 0);
	p.fds[0] = cg_unified_fd(g.ctr);
	p.nr_fds = 1;
	ASSERT_GE(p.fds[0], 0);
	ASSERT_EQ(pod_run(&p, "web", "sleep 1000", ",\"cgroupDir\":0"), 0);
	EXPECT_EQ(holds(g.ctr, p.proc.pid), true);
}

LIVE_MAIN()

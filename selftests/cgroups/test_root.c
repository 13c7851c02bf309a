// SPDX-License-Identifier: Apache-2.0
/* LANE: both
 * SECONDS: 120
 *
 * An agent in a cgroup that was delegated to it, as by systemd: it finds its
 * place, moves out of the way on v2, and finds the same place after a restart.
 */
#include "selftests/cgroups/live.h"

#include "cgroups/cpu.h"
#include "cgroups/events.h"
#include "cgroups/internal.h"

/* Everything the agents of this test have to say, in shared memory. */
struct report {
	int r[4];
	char msg[4][ERR_MSG_SIZE];
	char path[4][256];
};

static struct report *report;

static void note(int i, int r, const struct err *e, const struct cg *cg)
{
	report->r[i] = r;
	snprintf(report->msg[i], sizeof(report->msg[i]), "%s", e->msg);
	if (r == 0)
		snprintf(report->path[i], sizeof(report->path[i]), "%s",
			 cg_path(cg));
}

static void agent(void *arg)
{
	struct cg_cpu_max max = cg_cpu_max_from_milli(500);
	auto_ptr(cg) first = NULL;
	auto_ptr(cg) again = NULL;
	auto_ptr(cg) pod = NULL;
	struct err e = { 0 };
	int r;

	(void)arg;
	r = cg_root_open(NULL, "arktos", &first, &e);
	note(0, r, &e, first);
	/* A restart: it may now be in its leaf, and has to see through that. */
	r = cg_root_open(NULL, "arktos", &again, &e);
	note(1, r, &e, again);
	if (!again)
		return;
	report->r[2] = cg_create(again, "pod", 0, &pod, &e);
	if (report->r[2] == 0)
		report->r[2] = cg_cpu_max_write(pod, &max, &e);
	if (report->r[2] == 0)
		report->r[2] = cg_remove(again, "pod", &e);
	snprintf(report->msg[2], sizeof(report->msg[2]), "%s", e.msg);
	report->r[3] = cg_root_remove(NULL, "arktos", &e);
	snprintf(report->msg[3], sizeof(report->msg[3]), "%s", e.msg);
}

static int join(const struct cg *cg, void (*fn)(void *arg))
{
	struct err e = { 0 };
	pid_t pid = live_spawn_in(cg, fn, NULL, &e);
	int status = -1;

	if (pid < 0) {
		printf("# %s\n", e.msg);
		return -1;
	}
	waitpid(pid, &status, 0);
	return status;
}

TEST(agent_finds_its_place_and_finds_it_again)
{
	auto_ptr(cg) root = NULL;
	auto_ptr(cg) own = NULL;
	struct err e = { 0 };
	char want[256];

	report = live_shared(sizeof(*report));
	ASSERT_EQ(live_root(&root, &e), 0);
	ASSERT_EQ(cg_create(root, "unit.service", 0, &own, &e), 0);
	ASSERT_EQ(join(own, agent), 0);
	snprintf(want, sizeof(want), "%s/arktos", cg_path(own));
	for (int i = 0; i < 4; i++) {
		EXPECT_STREQ(report->msg[i], "");
		EXPECT_EQ(report->r[i], 0);
	}
	EXPECT_STREQ(report->path[0], want);
	EXPECT_STREQ(report->path[1], want);
	/* The leaf could not go with the agent in it; nothing else is left. */
	ASSERT_EQ(cg_remove(root, "unit.service", &e), 0);
}

static void agent_beside_others(void *arg)
{
	auto_ptr(cg) cg = NULL;
	struct err e = { 0 };
	int r;

	(void)arg;
	r = cg_root_open(NULL, "arktos", &cg, &e);
	note(0, r, &e, cg);
}

TEST(others_in_our_cgroup_are_named_not_moved)
{
	auto_free pid_t *pids = NULL;
	auto_ptr(cg) root = NULL;
	auto_ptr(cg) own = NULL;
	struct err e = { 0 };
	char want[128];
	size_t nr;
	pid_t other;

	report = live_shared(sizeof(*report));
	ASSERT_EQ(live_root(&root, &e), 0);
	ASSERT_EQ(cg_create(root, "session.scope", 0, &own, &e), 0);
	other = live_spawn_in(own, live_wait_forever, NULL, &e);
	ASSERT_GE(other, 1);
	ASSERT_EQ(join(own, agent_beside_others), 0);
	if (cg_mode(root) == CG_UNIFIED) {
		EXPECT_EQ(report->r[0], -EBUSY);
		snprintf(want, sizeof(want),
			 "also holds %d (test_root), so no controllers can be "
			 "used below it: start with systemd-run -p Delegate",
			 (int)other);
		EXPECT_EQ(strstr(report->msg[0], want) != NULL, true);
	} else {
		EXPECT_EQ(report->r[0], 0); /* v1 knows no such rule */
	}
	ASSERT_EQ(cg_procs(own, &pids, &nr, &e), 0);
	ASSERT_EQ(nr, 1);
	EXPECT_EQ(pids[0], other);
	live_end(other);
}

TEST(explicit_parent_is_used_and_left_as_it_is)
{
	auto_ptr(cg) root = NULL;
	auto_ptr(cg) a = NULL;
	struct err e = { 0 };
	char want[300];
	int r;

	ASSERT_EQ(live_root(&root, &e), 0);
	/* Where the hierarchies' own paths differ, as on hybrid hosts, it is a
	 * cgroup of the unified one; in the others there may be none. */
	r = cg_root_open(cg_path(root), "below", &a, &e);
	ASSERT_EQ(r, 0);
	for (int i = 0; i < a->nr; i++)
		EXPECT_GE(a->dir[i], 0);
	snprintf(want, sizeof(want), "%s/below", cg_path(root));
	EXPECT_STREQ(cg_path(a), want);
	EXPECT_EQ(cg_root_remove(cg_path(root), "below", &e), 0);
}

/* --- a host without a unified hierarchy --- */

/* The root of a v1 host: what this hybrid one has, less the unified one, with
 * the freezer instead. NULL on v2 hosts. */
static struct cg *legacy_root(const struct cg *root, int *freezer)
{
	struct cg *cg;

	if (cg_mode(root) != CG_HYBRID)
		return NULL;
	*freezer = open("/sys/fs/cgroup/freezer",
			O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cg = cg_alloc(cg_path(root), "");
	cg->mode = CG_LEGACY;
	for (int i = 0; i < root->nr; i++) {
		if (i == root->unified)
			continue;
		for (int c = 0; c < CG_NR_CONTROLLERS; c++)
			if (root->at[c] == i)
				cg->at[c] = (signed char)cg->nr;
		cg->dir[cg->nr++] = dup(root->dir[i]);
	}
	if (*freezer < 0 ||
	    (mkdirat(*freezer, strrchr(cg_path(root), '/') + 1, 0755) < 0 &&
	     errno != EEXIST)) {
		cg_close(cg);
		return NULL;
	}
	cg->at[CG_FREEZER] = (signed char)cg->nr;
	cg->dir[cg->nr++] = openat(*freezer, strrchr(cg_path(root), '/') + 1,
				   O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return cg;
}

static void fork_and_stay(void *arg)
{
	(void)arg;
	for (int i = 0; i < 5; i++)
		if (fork() == 0)
			live_wait_forever(NULL);
	live_wait_forever(NULL);
}

TEST(v1_host_kills_freezes_and_reports)
{
	volatile uint64_t *count = live_shared(4096);
	auto_ptr(cg_events) ev = NULL;
	auto_close int freezer = -EBADF;
	auto_ptr(cg) hybrid = NULL;
	auto_ptr(cg) root = NULL;
	auto_ptr(cg) pod = NULL;
	auto_ptr(cg) ctr = NULL;
	auto_free pid_t *pids = NULL;
	struct err e = { 0 };
	uint64_t id, seen;
	size_t nr = 0;
	pid_t a, b;

	ASSERT_EQ(live_root(&hybrid, &e), 0);
	if (cg_mode(hybrid) == CG_UNIFIED)
		return; /* no v1 here: the native lane has it */
	root = legacy_root(hybrid, &freezer);
	ASSERT_EQ(root != NULL, true);
	ASSERT_EQ(cg_create(root, "pod", 0, &pod, &e), 0);
	ASSERT_EQ(cg_create(pod, "ctr", 0, &ctr, &e), 0);
	EXPECT_EQ(cg_unified_fd(ctr), -EBADF);
	EXPECT_EQ(cg_populated(pod, &e), 0);
	ASSERT_EQ(cg_events_new(&ev, &e), 0);
	EXPECT_EQ(cg_events_add(ev, ctr, NULL, &id, &e), 0); /* OOM only */
	a = live_spawn_in(ctr, live_spin, (void *)count, &e);
	b = live_spawn_in(ctr, fork_and_stay, NULL, &e);
	ASSERT_GE(a, 1);
	ASSERT_GE(b, 1);
	EXPECT_EQ(cg_populated(pod, &e), 1);
	ASSERT_EQ(cg_freeze(pod, &e), 0);
	for (int i = 0; i < 500 && cg_frozen(pod, &e) == 0; i++)
		poll(NULL, 0, 10);
	EXPECT_EQ(cg_frozen(pod, &e), 1);
	seen = *count;
	poll(NULL, 0, 50);
	EXPECT_EQ(*count, seen);
	ASSERT_EQ(cg_thaw(pod, &e), 0);
	for (int i = 0; i < 500 && cg_procs(pod, &pids, &nr, &e) == 0; i++) {
		if (nr == 7)
			break;
		free(take_ptr(pids));
		poll(NULL, 0, 10);
	}
	EXPECT_EQ(nr, 7);
	EXPECT_EQ(cg_kill(pod, &e), 0);
	waitpid(a, NULL, 0);
	waitpid(b, NULL, 0);
	for (int i = 0; i < 500 && cg_populated(pod, &e) == 1; i++)
		poll(NULL, 0, 10);
	EXPECT_EQ(cg_populated(pod, &e), 0);
	EXPECT_EQ(cg_remove(root, "pod", &e), 0);
	unlinkat(freezer, strrchr(cg_path(hybrid), '/') + 1, AT_REMOVEDIR);
}

LIVE_MAIN()

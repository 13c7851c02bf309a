// SPDX-License-Identifier: Apache-2.0
/* LANE: both
 * SECONDS: 180
 *
 * What the kernel does to real processes when cgroups/ has written something.
 */
#include "selftests/cgroups/live.h"

#include <linux/sched.h>
#include <pthread.h>
#include <sys/syscall.h>

#include "cgroups/cpu.h"
#include "cgroups/cpuset.h"
#include "cgroups/events.h"
#include "cgroups/io.h"
#include "cgroups/memory.h"
#include "cgroups/pids.h"
#include "cgroups/pressure.h"
#include "lib/buf.h"
#include "lib/fs.h"

#define MIB (UINT64_C(1) << 20)

#define ASSERT_OK(call)                               \
	do {                                          \
		int ok_r = (call);                    \
		if (ok_r < 0) {                       \
			FAIL("%s: %s", #call, e.msg); \
			return;                       \
		}                                     \
	} while (0)

static bool has_substring(const char *s, const char *part)
{
	return strstr(s, part) != NULL;
}

/* An open cgroup of the test's own, in a fresh place. */
#define CGROUP(var, flags)               \
	auto_ptr(cg) root = NULL;        \
	auto_ptr(cg) var = NULL;         \
	struct err e = { 0 };            \
	ASSERT_OK(live_root(&root, &e)); \
	ASSERT_OK(cg_create(root, __func__, flags, &var, &e))

TEST(root_is_found_again)
{
	auto_ptr(cg) a = NULL;
	auto_ptr(cg) b = NULL;
	struct err e = { 0 };

	ASSERT_OK(live_root(&a, &e));
	ASSERT_OK(live_root(&b, &e));
	EXPECT_STREQ(cg_path(a), cg_path(b));
	EXPECT_EQ(cg_has(a, CG_CPU), true);
	EXPECT_EQ(cg_has(a, CG_MEMORY), true);
	EXPECT_EQ(cg_has(a, CG_PIDS), true);
}

TEST(create_is_idempotent_and_open_finds_it)
{
	auto_ptr(cg) again = NULL;
	auto_ptr(cg) other = NULL;
	CGROUP(cg, 0);

	ASSERT_OK(cg_create(root, __func__, CG_HOLD, &again, &e));
	EXPECT_STREQ(cg_path(again), cg_path(cg));
	ASSERT_OK(cg_remove(root, __func__, &e));
	ASSERT_OK(cg_remove(root, __func__, &e)); /* nothing there: fine */
	EXPECT_EQ(cg_open(root, __func__, 0, &other, &e), -ENOENT);
	EXPECT_EQ(has_substring(e.msg, __func__), true);
}

TEST(names_that_climb_are_refused)
{
	static const char *const bad[] = { "", ".", "..", ".x", "a/b", "a\nb" };
	CGROUP(cg, 0);

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		EXPECT_EQ(cg_create(cg, bad[i], 0, NULL, &e), -EINVAL);
		EXPECT_EQ(cg_remove(cg, bad[i], &e), -EINVAL);
	}
	EXPECT_EQ(cg_root_open("relative", "x", &cg, &e), -EINVAL);
	EXPECT_EQ(cg_root_open("/no/such/cgroup", "x", &cg, &e), -ENOENT);
}

TEST(host_is_described)
{
	auto_buf struct buf b = BUF_INIT;
	CGROUP(cg, 0);

	ASSERT_GE(cg_describe(root, &b), cg_mode(root) == CG_HYBRID);
	printf("# %s", buf_str(&b));
	EXPECT_EQ(has_substring(buf_str(&b), "memory.high"),
		  cg_mode(cg) != CG_UNIFIED);
}

TEST(attached_process_is_listed_and_populates)
{
	auto_free pid_t *pids = NULL;
	size_t nr = 0;
	pid_t pid;
	CGROUP(cg, 0);

	EXPECT_EQ(cg_populated(cg, &e), 0);
	pid = live_spawn_in(cg, live_wait_forever, NULL, &e);
	ASSERT_GE(pid, 1);
	EXPECT_EQ(cg_populated(cg, &e), 1);
	EXPECT_EQ(cg_populated(root, &e), 1);
	ASSERT_OK(cg_procs(root, &pids, &nr, &e)); /* those below count */
	ASSERT_EQ(nr, 1);
	EXPECT_EQ(pids[0], pid);
	live_end(pid);
	EXPECT_EQ(cg_attach(cg, pid, &e), -ESRCH);
}

/* Born in the v2 half of @cg, and moves itself into the rest. */
static pid_t spawn_into(const struct cg *cg, const int *tasks, size_t nr)
{
	struct clone_args a = { .exit_signal = SIGCHLD };
	pid_t pid;

	if (cg_unified_fd(cg) >= 0) {
		a.flags = CLONE_INTO_CGROUP;
		a.cgroup = (uint64_t)cg_unified_fd(cg);
	}
	pid = (pid_t)syscall(SYS_clone3, &a, sizeof(a));
	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (size_t i = 0; i < nr; i++)
		if (write(tasks[i], "0", 1) != 1)
			_exit(1);
	live_wait_forever(NULL);
	_exit(0);
}

static size_t lines_with(pid_t pid, const char *name)
{
	auto_buf struct buf b = BUF_INIT;
	char path[64];
	size_t nr = 0;

	snprintf(path, sizeof(path), "/proc/%d/cgroup", (int)pid);
	if (fs_read(AT_FDCWD, path, 65536, &b, NULL) < 0)
		return 0;
	for (const char *s = buf_str(&b); (s = strstr(s, name)); s++)
		nr++;
	return nr;
}

static int wait_populated(const struct cg *cg, int want)
{
	for (int i = 0; i < 1000 && cg_populated(cg, NULL) != want; i++)
		poll(NULL, 0, 10);
	return cg_populated(cg, NULL);
}

TEST(a_process_is_born_in_one_half_and_moves_itself_into_the_other)
{
	int tasks[CG_HIERARCHIES_MAX];
	auto_free pid_t *pids = NULL;
	size_t nr, nr_pids, places;
	pid_t pid;
	CGROUP(cg, 0);

	ASSERT_OK(cg_tasks_fds(cg, tasks, &nr, &e));
	EXPECT_EQ(nr == 0, cg_mode(cg) == CG_UNIFIED);
	pid = spawn_into(cg, tasks, nr);
	ASSERT_GE(pid, 1);
	places = nr + (cg_unified_fd(cg) >= 0);
	for (int i = 0; i < 1000 && lines_with(pid, __func__) < places; i++)
		poll(NULL, 0, 10);
	EXPECT_EQ(lines_with(pid, __func__), places);
	EXPECT_EQ(cg_populated(cg, NULL), 1);
	ASSERT_OK(cg_procs(cg, &pids, &nr_pids, &e));
	ASSERT_EQ(nr_pids, 1);
	EXPECT_EQ(pids[0], pid);
	while (nr > 0)
		close(tasks[--nr]);
	live_end(pid);
}

TEST(cpu_limits_read_back)
{
	struct cg_cpu_max max = cg_cpu_max_from_milli(250), got;
	uint64_t weight;
	CGROUP(cg, CG_HOLD);

	ASSERT_OK(cg_cpu_max_write(cg, &max, &e));
	ASSERT_OK(cg_cpu_max_read(cg, &got, &e));
	EXPECT_EQ(got.quota_us, 25000);
	EXPECT_EQ(got.period_us, 100000);
	max = (struct cg_cpu_max){ 40000, 20000 }; /* two CPUs */
	ASSERT_OK(cg_cpu_max_write(cg, &max, &e));
	ASSERT_OK(cg_cpu_max_read(cg, &got, &e));
	EXPECT_EQ(got.quota_us, 40000);
	EXPECT_EQ(cg_cpu_max_to_milli(&got), 2000);
	max = cg_cpu_max_from_milli(0);
	ASSERT_OK(cg_cpu_max_write(cg, &max, &e));
	ASSERT_OK(cg_cpu_max_read(cg, &got, &e));
	EXPECT_EQ(got.quota_us == CG_CPU_UNLIMITED, true);
	ASSERT_OK(cg_cpu_request_write(cg, 2000, &e));
	ASSERT_OK(cg_cpu_weight_read(cg, &weight, &e));
	EXPECT_EQ(weight, 79);
}

TEST(cpu_quota_throttles_a_spinner)
{
	struct cg_cpu_max max = cg_cpu_max_from_milli(100);
	struct cg_cpu_stat before, after = { 0 };
	uint64_t start, wall_ms, usage_us = 0;
	pid_t pid;
	CGROUP(cg, 0);

	ASSERT_OK(cg_cpu_max_write(cg, &max, &e));
	pid = live_spawn_in(cg, live_spin, NULL, &e);
	ASSERT_GE(pid, 1);
	ASSERT_OK(cg_cpu_stat_read(cg, &before, &e));
	start = live_ms();
	do {
		poll(NULL, 0, 100);
		ASSERT_OK(cg_cpu_stat_read(cg, &after, &e));
		wall_ms = live_ms() - start;
	} while (after.nr_throttled < 10 && wall_ms < 20000);
	live_end(pid);
	EXPECT_GE(after.nr_throttled, 10);
	EXPECT_GE(after.throttled_us, 1);
	ASSERT_OK(cg_cpu_usage_read(cg, &usage_us, &e));
	EXPECT_GE(usage_us, after.usage_us);
	ASSERT_OK(cg_cpu_stat_read(cg, &after, &e));
	EXPECT_GE(after.usage_us, usage_us);
	/* A tenth of a CPU, with slack for one period at either end. */
	EXPECT_GE(wall_ms * 100 * 3 / 2 + 20000,
		  after.usage_us - before.usage_us);
}

static void touch(void *arg)
{
	size_t size = *(const size_t *)arg;
	char *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		_exit(2);
	for (size_t i = 0; i < size; i += 4096)
		p[i] = 1;
}

static void touch_and_stay(void *arg)
{
	touch(arg);
	live_wait_forever(NULL);
}

static bool wait_event(struct cg_events *ev, uint64_t id, unsigned int bits,
		       int ms)
{
	struct pollfd p = { .fd = cg_events_fd(ev), .events = POLLIN };
	uint64_t end = live_ms() + (uint64_t)ms;
	struct cg_event got;

	for (;;) {
		while (cg_events_next(ev, &got) > 0)
			if (got.id == id && (got.bits & bits))
				return true;
		if (live_ms() >= end)
			return false;
		poll(&p, 1, (int)(end - live_ms()));
	}
}

TEST(memory_limit_kills_and_is_reported)
{
	auto_ptr(cg_events) ev = NULL;
	struct cg_mem_events count;
	size_t size = 64 * MIB;
	uint64_t id, limit;
	int status = 0;
	pid_t pid;
	CGROUP(cg, CG_HOLD);

	ASSERT_OK(cg_events_new(&ev, &e));
	ASSERT_OK(cg_events_add(ev, cg, NULL, &id, &e));
	ASSERT_OK(cg_mem_write(cg, CG_MEM_MAX, 16 * MIB, &e));
	ASSERT_OK(cg_mem_read(cg, CG_MEM_MAX, &limit, &e));
	EXPECT_EQ(limit, 16 * MIB);
	/* Else the rest goes to swap, where there is any. */
	(void)cg_mem_write(cg, CG_MEM_SWAP_MAX, 0, NULL);
	pid = live_spawn_in(cg, touch, &size, &e);
	ASSERT_GE(pid, 1);
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	EXPECT_EQ(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, true);
	ASSERT_OK(cg_mem_events_read(cg, &count, &e));
	EXPECT_EQ(count.oom_kill, 1);
	if (cg_mode(cg) == CG_UNIFIED) /* v1's failcnt stays 0 on some */
		EXPECT_GE(count.max, 1);
	EXPECT_EQ(wait_event(ev, id, CG_EVENT_MEMORY, 5000), true);
	ASSERT_OK(cg_mem_events_read(root, &count, &e)); /* and from above */
	EXPECT_GE(count.oom_kill, 1);
	cg_events_del(ev, id);
}

TEST(memory_figures_are_those_of_the_process)
{
	uint64_t current, peak, swap;
	struct cg_mem_stat st;
	size_t size = 32 * MIB;
	pid_t pid;
	CGROUP(cg, 0);

	pid = live_spawn_in(cg, touch_and_stay, &size, &e);
	ASSERT_GE(pid, 1);
	for (int i = 0; i < 1000; i++) {
		ASSERT_OK(cg_mem_current_read(cg, &current, &e));
		if (current >= size)
			break;
		poll(NULL, 0, 10);
	}
	EXPECT_GE(current, size);
	EXPECT_GE(size + 16 * MIB, current);
	for (int i = 0; i < 500; i++) { /* the kernel adds up now and then */
		ASSERT_OK(cg_mem_stat_read(cg, &st, &e));
		if (st.anon >= size - 4 * MIB)
			break;
		poll(NULL, 0, 10);
	}
	EXPECT_GE(st.anon, size - 4 * MIB);
	EXPECT_GE(st.pgfault, 1);
	EXPECT_GE(cg_mem_working_set(current, &st), size - 4 * MIB);
	ASSERT_OK(cg_mem_peak_read(cg, &peak, &e));
	EXPECT_GE(peak, size);
	ASSERT_OK(cg_mem_swap_read(cg, &swap, &e));
	live_end(pid);
}

TEST(memory_in_use_is_not_cut_away)
{
	uint64_t current = 0, limit;
	size_t size = 32 * MIB;
	pid_t pid;
	CGROUP(cg, 0);

	(void)cg_mem_write(cg, CG_MEM_SWAP_MAX, 0, NULL);
	ASSERT_OK(cg_mem_write(cg, CG_MEM_MAX, 64 * MIB, &e));
	pid = live_spawn_in(cg, touch_and_stay, &size, &e);
	ASSERT_GE(pid, 1);
	for (int i = 0; i < 1000 && current < size; i++) {
		ASSERT_OK(cg_mem_current_read(cg, &current, &e));
		poll(NULL, 0, 10);
	}
	/* Without swap accounting the host's swap may take it all. */
	EXPECT_EQ(cg_mem_max_lower(cg, 8 * MIB, &current, &e), -EBUSY);
	EXPECT_GE(current, 24 * MIB);
	EXPECT_EQ(has_substring(e.msg, "cannot be reclaimed, so the limit "
				       "cannot become 8192 KiB"),
		  true);
	ASSERT_OK(cg_mem_read(cg, CG_MEM_MAX, &limit, &e));
	EXPECT_EQ(limit, 64 * MIB);
	EXPECT_EQ(kill(pid, 0), 0);
	ASSERT_OK(cg_mem_max_lower(cg, 48 * MIB, &current, &e));
	ASSERT_OK(cg_mem_read(cg, CG_MEM_MAX, &limit, &e));
	EXPECT_EQ(limit, 48 * MIB);
	live_end(pid);
}

TEST(knobs_that_v1_lacks_say_so)
{
	uint64_t got;
	CGROUP(cg, 0);

	ASSERT_OK(cg_mem_write(cg, CG_MEM_LOW, 8 * MIB, &e));
	ASSERT_OK(cg_mem_read(cg, CG_MEM_LOW, &got, &e));
	EXPECT_EQ(got, 8 * MIB);
	ASSERT_OK(cg_mem_write(cg, CG_MEM_LOW, 0, &e));
	ASSERT_OK(cg_mem_read(cg, CG_MEM_LOW, &got, &e));
	EXPECT_EQ(got, 0);
	if (cg_mode(cg) == CG_UNIFIED) {
		ASSERT_OK(cg_mem_write(cg, CG_MEM_HIGH, 8 * MIB, &e));
		ASSERT_OK(cg_mem_read(cg, CG_MEM_HIGH, &got, &e));
		EXPECT_EQ(got, 8 * MIB);
		ASSERT_OK(cg_mem_write(cg, CG_MEM_MIN, MIB, &e));
		ASSERT_OK(cg_mem_oom_group_write(cg, true, &e));
		return;
	}
	EXPECT_EQ(cg_mem_write(cg, CG_MEM_HIGH, MIB, &e), -EOPNOTSUPP);
	EXPECT_EQ(has_substring(e.msg, "memory.high needs cgroup v2"), true);
	EXPECT_EQ(cg_mem_write(cg, CG_MEM_MIN, MIB, &e), -EOPNOTSUPP);
	EXPECT_EQ(cg_mem_reclaim(cg, MIB, &e), -EOPNOTSUPP);
	EXPECT_EQ(cg_mem_oom_group_write(cg, true, &e), -EOPNOTSUPP);
}

static void fork_until_refused(void *arg)
{
	int n = 0;

	(void)arg;
	for (; n < 64; n++) {
		pid_t pid = fork();

		if (pid < 0)
			_exit(errno == EAGAIN ? n : 90);
		if (pid == 0)
			live_wait_forever(NULL);
	}
	_exit(91);
}

TEST(pids_limit_refuses_forks_and_kill_gets_them_all)
{
	uint64_t max, current, refused;
	int status = 0;
	pid_t pid;
	CGROUP(cg, 0);

	ASSERT_OK(cg_pids_max_write(cg, 5, &e));
	ASSERT_OK(cg_pids_max_read(cg, &max, &e));
	EXPECT_EQ(max, 5);
	pid = live_spawn_in(cg, fork_until_refused, NULL, &e);
	ASSERT_GE(pid, 1);
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	EXPECT_EQ(WEXITSTATUS(status), 4);
	ASSERT_OK(cg_pids_current_read(cg, &current, &e));
	EXPECT_EQ(current, 4);
	ASSERT_OK(cg_pids_events_read(cg, &refused, &e));
	EXPECT_GE(refused, 1);
	/* Their parent is gone: nobody but the cgroup knows them. */
	ASSERT_OK(cg_kill(root, &e));
	EXPECT_EQ(wait_populated(cg, 0), 0);
	ASSERT_OK(cg_pids_max_write(cg, CG_PIDS_UNLIMITED, &e));
	ASSERT_OK(cg_pids_max_read(cg, &max, &e));
	EXPECT_EQ(max == CG_PIDS_UNLIMITED, true);
}

TEST(the_end_of_the_last_process_is_an_event)
{
	auto_ptr(cg_events) ev = NULL;
	int data = 0;
	uint64_t id;
	pid_t pid;
	CGROUP(cg, 0);

	pid = live_spawn_in(cg, live_wait_forever, NULL, &e);
	ASSERT_GE(pid, 1);
	ASSERT_OK(cg_events_new(&ev, &e));
	ASSERT_OK(cg_events_add(ev, cg, &data, &id, &e));
	EXPECT_EQ(cg_events_add(ev, cg, &data, &id, &e), -EEXIST);
	EXPECT_EQ(wait_event(ev, id, ~0u, 0), false);
	ASSERT_OK(cg_kill(cg, &e));
	waitpid(pid, NULL, 0);
	EXPECT_EQ(wait_event(ev, id, CG_EVENT_STATE, 5000), true);
	EXPECT_EQ(cg_populated(cg, &e), 0);
	cg_events_del(ev, id);
	cg_events_del(ev, id);
	pid = live_spawn_in(cg, live_wait_forever, NULL, &e);
	live_end(pid);
	EXPECT_EQ(wait_event(ev, id, ~0u, 200), false);
}

TEST(frozen_processes_stand_still_until_thawed)
{
	volatile uint64_t *count = live_shared(4096);
	uint64_t seen;
	pid_t pid;
	CGROUP(cg, 0);

	pid = live_spawn_in(cg, live_spin, (void *)count, &e);
	ASSERT_GE(pid, 1);
	EXPECT_EQ(cg_frozen(cg, &e), 0);
	ASSERT_OK(cg_freeze(cg, &e));
	for (int i = 0; i < 500 && cg_frozen(cg, &e) == 0; i++)
		poll(NULL, 0, 10);
	EXPECT_EQ(cg_frozen(cg, &e), 1);
	seen = *count;
	poll(NULL, 0, 50);
	EXPECT_EQ(*count, seen);
	ASSERT_OK(cg_thaw(cg, &e));
	for (int i = 0; i < 500 && *count == seen; i++)
		poll(NULL, 0, 10);
	EXPECT_EQ(*count == seen, false);
	ASSERT_OK(cg_freeze(cg, &e)); /* a frozen one can be killed, too */
	ASSERT_OK(cg_kill(cg, &e));
	waitpid(pid, NULL, 0);
	EXPECT_EQ(wait_populated(cg, 0), 0);
}

TEST(busy_removal_names_who_is_left)
{
	auto_ptr(cg) below = NULL;
	char who[32];
	pid_t pid;
	CGROUP(cg, 0);

	ASSERT_OK(cg_create(cg, "below", 0, &below, &e));
	pid = live_spawn_in(below, live_wait_forever, NULL, &e);
	ASSERT_GE(pid, 1);
	EXPECT_EQ(cg_remove(root, __func__, &e), -EBUSY);
	snprintf(who, sizeof(who), "holds %d (test_live)", (int)pid);
	EXPECT_EQ(has_substring(e.msg, who), true);
	EXPECT_EQ(kill(pid, 0), 0);
	live_end(pid);
	ASSERT_OK(cg_remove(root, __func__, &e));
}

TEST(inner_cgroups_take_no_processes_on_v2)
{
	auto_ptr(cg) below = NULL;
	pid_t pid;
	CGROUP(cg, 0);

	if (cg_mode(cg) != CG_UNIFIED)
		return;
	pid = live_spawn_in(cg, live_wait_forever, NULL, &e);
	ASSERT_GE(pid, 1);
	EXPECT_EQ(cg_create(cg, "below", 0, &below, &e), -EBUSY);
	EXPECT_EQ(has_substring(e.msg, "(test_live)), so it cannot have"),
		  true);
	live_end(pid);
	EXPECT_EQ(wait_populated(cg, 0), 0);
	ASSERT_OK(cg_create(cg, "below", 0, &below, &e));
	EXPECT_EQ(cg_attach(cg, 0, &e), -EBUSY);
	EXPECT_EQ(has_substring(e.msg, "processes go into a leaf"), true);
}

struct spinner {
	pthread_t thread;
	volatile pid_t tid;
	volatile bool stop;
};

static void *spin_thread(void *arg)
{
	struct spinner *s = arg;

	s->tid = (pid_t)syscall(SYS_gettid);
	while (!s->stop)
		;
	return NULL;
}

static void two_threads(void *arg)
{
	static struct spinner s;
	volatile pid_t *tid = arg;

	pthread_create(&s.thread, NULL, spin_thread, &s);
	while (!s.tid)
		poll(NULL, 0, 1);
	*tid = s.tid;
	live_wait_forever(NULL);
}

TEST(one_thread_is_throttled_alone)
{
	struct cg_cpu_max max = cg_cpu_max_from_milli(100);
	volatile pid_t *tid = live_shared(4096);
	auto_ptr(cg) vcpu = NULL;
	struct cg_cpu_stat st = { 0 };
	uint64_t bytes;
	pid_t pid;
	CGROUP(cg, 0);

	pid = live_spawn_in(cg, two_threads, (void *)tid, &e);
	ASSERT_GE(pid, 1);
	ASSERT_OK(cg_create(cg, "vcpu", CG_THREADED, &vcpu, &e));
	vcpu = (cg_close(vcpu), NULL);
	ASSERT_OK(cg_create(cg, "vcpu", CG_THREADED | CG_HOLD, &vcpu, &e));
	for (int i = 0; i < 1000 && !*tid; i++)
		poll(NULL, 0, 10);
	ASSERT_OK(cg_cpu_max_write(vcpu, &max, &e));
	ASSERT_OK(cg_attach_thread(vcpu, *tid, &e));
	for (int i = 0; i < 200 && st.nr_throttled < 5; i++) {
		poll(NULL, 0, 100);
		ASSERT_OK(cg_cpu_stat_read(vcpu, &st, &e));
	}
	EXPECT_GE(st.nr_throttled, 5);
	EXPECT_EQ(cg_mem_current_read(vcpu, &bytes, &e), -ENOENT);
	EXPECT_EQ(has_substring(e.msg, "not for threads"), true);
	ASSERT_OK(cg_mem_current_read(cg, &bytes, &e));
	ASSERT_OK(cg_kill(cg, &e));
	waitpid(pid, NULL, 0);
	EXPECT_EQ(wait_populated(cg, 0), 0);
	ASSERT_OK(cg_remove(root, __func__, &e));
}

TEST(cpuset_pins_and_lets_go)
{
	cpu_set_t one, got, all;
	pid_t pid;
	CGROUP(cg, 0);

	if (!cg_has(cg, CG_CPUSET))
		SKIP("no cpuset controller is delegated here");
	ASSERT_OK(cg_cpuset_cpus_read(cg, &all, &e));
	CPU_ZERO(&one);
	for (int i = 0; i < CPU_SETSIZE && !CPU_COUNT(&one); i++)
		if (CPU_ISSET(i, &all))
			CPU_SET(i, &one);
	ASSERT_OK(cg_cpuset_cpus_write(cg, &one, &e));
	ASSERT_OK(cg_cpuset_cpus_read(cg, &got, &e));
	EXPECT_EQ(CPU_EQUAL(&got, &one), true);
	pid = live_spawn_in(cg, live_wait_forever, NULL, &e);
	ASSERT_GE(pid, 1);
	ASSERT_EQ(sched_getaffinity(pid, sizeof(got), &got), 0);
	EXPECT_EQ(CPU_EQUAL(&got, &one), true);
	CPU_ZERO(&one);
	ASSERT_OK(cg_cpuset_cpus_write(cg, &one, &e));
	ASSERT_OK(cg_cpuset_cpus_read(cg, &got, &e));
	EXPECT_EQ(CPU_EQUAL(&got, &all), true);
	live_end(pid);
}

TEST(io_limits_need_a_device)
{
	struct cg_io_max max = { .major = 250,
				 .minor = 250,
				 .rbps = MIB,
				 .wbps = CG_IO_UNLIMITED,
				 .riops = CG_IO_UNLIMITED,
				 .wiops = CG_IO_UNLIMITED };
	struct cg_io_stat st;
	CGROUP(cg, 0);

	if (!cg_has(cg, CG_IO))
		SKIP("no io controller is delegated here");
	EXPECT_EQ(cg_io_max_write(cg, &max, &e), -ENODEV);
	EXPECT_EQ(has_substring(e.msg, "250:250 is no whole block device"),
		  true);
	max.rbps = 0;
	EXPECT_EQ(cg_io_max_write(cg, &max, &e), -ERANGE);
	ASSERT_OK(cg_io_stat_read(cg, &st, &e));
	ASSERT_OK(cg_io_max_read(cg, &max, &e));
	EXPECT_EQ(max.rbps == CG_IO_UNLIMITED, true);
}

static bool first_disk(unsigned int *major, unsigned int *minor)
{
	FILE *f = fopen("/proc/partitions", "re");
	char line[256], name[64], path[128];
	bool found = false;

	while (f && !found && fgets(line, sizeof(line), f)) {
		if (sscanf(line, " %u %u %*u %63s", major, minor, name) != 3)
			continue;
		snprintf(path, sizeof(path), "/sys/block/%s", name);
		found = access(path, F_OK) == 0;
	}
	if (f)
		fclose(f);
	return found;
}

TEST(io_limits_read_back)
{
	struct cg_io_max max = { .rbps = 8 * MIB,
				 .wbps = CG_IO_UNLIMITED,
				 .riops = CG_IO_UNLIMITED,
				 .wiops = 100 };
	struct cg_io_max got = { 0 };
	CGROUP(cg, 0);

	if (!cg_has(cg, CG_IO) || !first_disk(&max.major, &max.minor))
		SKIP("no io controller, or no disk, here");
	ASSERT_OK(cg_io_max_write(cg, &max, &e));
	got.major = max.major;
	got.minor = max.minor;
	ASSERT_OK(cg_io_max_read(cg, &got, &e));
	EXPECT_EQ(memcmp(&got, &max, sizeof(max)), 0);
	max.rbps = max.wiops = CG_IO_UNLIMITED;
	ASSERT_OK(cg_io_max_write(cg, &max, &e));
	ASSERT_OK(cg_io_max_read(cg, &got, &e));
	EXPECT_EQ(memcmp(&got, &max, sizeof(max)), 0);
}

TEST(pressure_is_felt_and_triggers)
{
	struct cg_cpu_max max = cg_cpu_max_from_milli(100);
	struct cg_pressure p = { 0 };
	auto_close int fd = -EBADF;
	struct pollfd io = { .events = POLLPRI };
	pid_t a, b;
	int r;
	CGROUP(cg, 0);

	r = cg_pressure_trigger(cg, CG_PRESSURE_CPU, false, 200000, 2000000,
				&fd, &e);
	if (r == -EOPNOTSUPP)
		SKIP("the kernel has PSI switched off");
	ASSERT_OK(r);
	ASSERT_OK(cg_cpu_max_write(cg, &max, &e));
	a = live_spawn_in(cg, live_spin, NULL, &e);
	b = live_spawn_in(cg, live_spin, NULL, &e);
	ASSERT_GE(a, 1);
	ASSERT_GE(b, 1);
	io.fd = fd;
	EXPECT_EQ(poll(&io, 1, 20000), 1);
	EXPECT_EQ(io.revents & POLLPRI, POLLPRI);
	ASSERT_OK(cg_pressure_read(cg, CG_PRESSURE_CPU, &p, &e));
	EXPECT_GE(p.some.total_us, 100000);
	ASSERT_OK(cg_pressure_read(cg, CG_PRESSURE_MEMORY, &p, &e));
	ASSERT_OK(cg_pressure_read(cg, CG_PRESSURE_IO, &p, &e));
	EXPECT_EQ(p.has_full, true);
	live_end(a);
	live_end(b);
}

LIVE_MAIN()

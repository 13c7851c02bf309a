/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Real cgroups for tests: one tree per test program, below this process' own
 * cgroup, killed and removed at its end by LIVE_MAIN() whatever has happened.
 */
#ifndef SELFTESTS_CGROUPS_LIVE_H
#define SELFTESTS_CGROUPS_LIVE_H

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>

#include "cgroups/cgroup.h"
#include "lib/auto.h"
#include "lib/err.h"
#include "selftests/harness.h"

static pid_t live_owner; /* names the tree: the program's first process */

static inline uint64_t live_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* In a login session other processes share our cgroup, so v2 allows no
 * controllers below it; the hierarchy's root always does. */
static inline int live_root(struct cg **ret, struct err *e)
{
	char name[64];
	int r;

	snprintf(name, sizeof(name), "arktos-test-%d", (int)live_owner);
	r = cg_root_open(NULL, name, ret, e);
	if (r == -EBUSY)
		r = cg_root_open("/", name, ret, e);
	return r;
}

/* A child that runs @fn and is gone when its parent is. */
static inline pid_t live_spawn(void (*fn)(void *arg), void *arg)
{
	pid_t pid = fork();

	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		fn(arg);
		_exit(0);
	}
	return pid;
}

static inline void live_wait_forever(void *arg)
{
	(void)arg;
	for (;;)
		pause();
}

static inline void live_spin(void *arg)
{
	volatile uint64_t *count = arg, dummy = 0;

	for (;;)
		++*(count ? count : &dummy);
}

static inline void *live_shared(size_t size)
{
	return mmap(NULL, size, PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
}

/* Start @fn inside @cg: it runs only once it is there. */
static inline pid_t live_spawn_in(const struct cg *cg, void (*fn)(void *arg),
				  void *arg, struct err *e)
{
	int gate[2];
	pid_t pid;
	char c;

	if (pipe2(gate, O_CLOEXEC) < 0)
		return -1;
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(gate[1]);
		if (read(gate[0], &c, 1) != 1)
			_exit(99);
		fn(arg);
		_exit(0);
	}
	close(gate[0]);
	if (pid > 0 && cg_attach(cg, pid, e) < 0) {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		pid = -1;
	}
	if (pid > 0 && write(gate[1], "x", 1) != 1)
		pid = -1;
	close(gate[1]);
	return pid;
}

static inline void live_end(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static inline void live_sweep(void)
{
	auto_ptr(cg) root = NULL;
	struct err e = { 0 };
	char name[64];

	if (live_root(&root, &e) < 0)
		return;
	(void)cg_kill(root, NULL);
	for (int i = 0; i < 500 && cg_populated(root, NULL) > 0; i++)
		poll(NULL, 0, 10);
	snprintf(name, sizeof(name), "arktos-test-%d", (int)live_owner);
	if (cg_root_remove(NULL, name, &e) < 0)
		printf("# %s\n", e.msg);
	(void)cg_root_remove("/", name, NULL); /* where it was made there */
}

#define LIVE_MAIN()                    \
	int main(void)                 \
	{                              \
		int verdict;           \
                                       \
		live_owner = getpid(); \
		verdict = test_main(); \
		live_sweep();          \
		return verdict;        \
	}

#endif /* SELFTESTS_CGROUPS_LIVE_H */

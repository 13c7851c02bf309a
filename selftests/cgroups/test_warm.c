// SPDX-License-Identifier: Apache-2.0
/*
 * The thread that waits for moves to become cheap moves nothing.
 *
 * LANE: both
 * SECONDS: 10
 */
#include <dirent.h>
#include <poll.h>

#include "cgroups/warm.h"
#include "lib/buf.h"
#include "lib/fs.h"
#include "selftests/harness.h"
#include "selftests/cgroups/live.h"

#define PAUSE_MS 2

/* Voluntary switches of the thread: it has slept again. */
static long switches(pid_t tid)
{
	auto_buf struct buf b = BUF_INIT;
	char path[64];
	const char *at;

	snprintf(path, sizeof(path), "/proc/self/task/%d/status", (int)tid);
	if (fs_read(AT_FDCWD, path, 8192, &b, NULL) < 0)
		return -1;
	at = strstr(buf_str(&b), "\nvoluntary_ctxt_switches:");
	return at ? strtol(strchr(at, ':') + 1, NULL, 10) : -1;
}

static pid_t thread_named(const char *name)
{
	DIR *d = opendir("/proc/self/task");
	pid_t found = 0;

	for (struct dirent *de; d && (de = readdir(d));) {
		auto_buf struct buf b = BUF_INIT;
		char path[300];

		snprintf(path, sizeof(path), "/proc/self/task/%s/comm",
			 de->d_name);
		if (fs_read(AT_FDCWD, path, 64, &b, NULL) == 0 &&
		    strncmp(buf_str(&b), name, strlen(name)) == 0)
			found = (pid_t)strtol(de->d_name, NULL, 10);
	}
	if (d)
		closedir(d);
	return found;
}

TEST(a_kick_moves_nobody)
{
	auto_buf struct buf before = BUF_INIT, after = BUF_INIT;
	struct cg *root = NULL;
	struct cg_warm *w = NULL;
	struct err e = { 0 };
	pid_t tid;
	long n;

	ASSERT_EQ(live_root(&root, &e), 0);
	ASSERT_EQ(fs_read(AT_FDCWD, "/proc/self/cgroup", 16384, &before, &e),
		  0);
	ASSERT_EQ(cg_warm_new(root, &w, &e), 0);
	EXPECT_EQ(w == NULL, cg_mode(root) == CG_UNIFIED);
	tid = thread_named("arktos-cgroup");
	EXPECT_EQ(tid != 0, w != NULL);
	n = w ? switches(tid) : 0;
	cg_warm_kick(w);
	while (w && switches(tid) == n)
		(void)poll(NULL, 0, PAUSE_MS);
	ASSERT_EQ(fs_read(AT_FDCWD, "/proc/self/cgroup", 16384, &after, &e), 0);
	EXPECT_STREQ(buf_str(&after), buf_str(&before));
	cg_warm_free(w);
	EXPECT_EQ(thread_named("arktos-cgroup"), 0);
	cg_close(root);
}

LIVE_MAIN()

// SPDX-License-Identifier: Apache-2.0
/* LANE: native SECONDS: 60 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>

#include "lib/err.h"
#include "lib/ev.h"
#include "lib/spawn.h"
#include "selftests/harness.h"

#define ARGV(...) \
	((char *const *)(uintptr_t)(const char *const[]){ __VA_ARGS__, NULL })

static const struct spawn_io plain = { .timeout_ms = 10000 };

TEST(runs_and_keeps_output_and_exit_code)
{
	struct spawn_opts o = {
		.argv = ARGV("sh", "-c", "echo out; echo err >&2; exit 3")
	};
	struct spawn_result res = SPAWN_RESULT_INIT;
	struct err e = { 0 };

	ASSERT_EQ(spawn_run(&o, &plain, &res, &e), 0);
	EXPECT_EQ(res.exit_code, 3);
	EXPECT_STREQ(buf_str(&res.out), "out\n");
	EXPECT_STREQ(buf_str(&res.err), "err\n");
	EXPECT_EQ(spawn_check(&res, "sh", &e), -EREMOTEIO);
	EXPECT_STREQ(e.msg, "sh: err");
	spawn_result_clear(&res);
}

TEST(what_cannot_be_run_is_told_at_once)
{
	struct spawn_opts o = { .argv = ARGV("arktos-no-such-program") };
	struct spawn_opts dir = { .argv = ARGV("true"), .cwd = "/nowhere" };
	struct spawn_opts noexec = { .argv = ARGV("/etc/passwd") };
	struct spawn_child c = { .pidfd = -1 };
	struct err e = { 0 };

	EXPECT_EQ(spawn_start(&o, &c, &e), -ENOENT);
	EXPECT_STREQ(e.msg, "run 'arktos-no-such-program': No such file or"
			    " directory");
	EXPECT_EQ(spawn_start(&dir, &c, &e), -ENOENT);
	EXPECT_STREQ(e.msg, "run 'true': change directory: No such file or"
			    " directory");
	EXPECT_EQ(spawn_start(&noexec, &c, &e), -EACCES);
	EXPECT_EQ(waitpid(-1, NULL, WNOHANG), -1); /* nothing is left */
}

TEST(large_input_and_output_at_the_same_time)
{
	struct spawn_opts o = { .argv = ARGV("cat") };
	struct spawn_result res = SPAWN_RESULT_INIT;
	size_t len = 3 << 20;
	char *data = malloc(len);
	struct spawn_io io = { data, len, 4 << 20, 20000 };

	for (size_t i = 0; i < len; i++)
		data[i] = (char)(i * 7);
	ASSERT_EQ(spawn_run(&o, &io, &res, NULL), 0);
	EXPECT_EQ(res.out.len, len);
	EXPECT_EQ(memcmp(res.out.data, data, len), 0);
	spawn_result_clear(&res);
	free(data);
}

TEST(a_child_that_ignores_its_input_does_not_kill_us)
{
	struct spawn_opts o = { .argv = ARGV("true") };
	struct spawn_result res = SPAWN_RESULT_INIT;
	static char data[1 << 20];
	struct spawn_io io = { .in = data, .in_len = sizeof(data) };

	EXPECT_EQ(spawn_run(&o, &io, &res, NULL), 0);
	EXPECT_EQ(res.exit_code, 0);
	spawn_result_clear(&res);
}

TEST(time_and_output_are_limited)
{
	struct spawn_opts slow = { .argv = ARGV("sleep", "1000") };
	struct spawn_opts loud = { .argv = ARGV("cat", "/dev/zero") };
	struct spawn_io io = { .timeout_ms = 50, .out_max = 100000 };
	struct spawn_result res = SPAWN_RESULT_INIT;
	struct err e = { 0 };

	EXPECT_EQ(spawn_run(&slow, &io, &res, &e), -ETIMEDOUT);
	EXPECT_STREQ(e.msg, "'sleep' took too long and was killed");
	spawn_result_clear(&res);
	io.timeout_ms = 10000;
	EXPECT_EQ(spawn_run(&loud, &io, &res, &e), -EFBIG);
	EXPECT_STREQ(e.msg, "'cat' wrote too much and was killed");
	spawn_result_clear(&res);
	EXPECT_EQ(waitpid(-1, NULL, WNOHANG), -1);
}

TEST(a_grandchild_that_keeps_the_pipe_is_not_waited_for)
{
	struct spawn_opts o = { .argv = ARGV("sh", "-c",
					     "echo $$; sleep 30 & echo $!") };
	struct spawn_result res = SPAWN_RESULT_INIT;
	int a = 0, b = 0;

	ASSERT_EQ(spawn_run(&o, &plain, &res, NULL), 0);
	EXPECT_EQ(sscanf(buf_str(&res.out), "%d %d", &a, &b), 2);
	if (b > 0)
		kill(b, SIGKILL);
	spawn_result_clear(&res);
}

TEST(gets_only_the_descriptors_that_are_mapped)
{
	const char *list =
		"for f in /proc/self/fd/*; do"
		" [ -e $f ] && echo ${f##*/}; done; cat <&5; cat <&3";
	struct spawn_result res = SPAWN_RESULT_INIT;
	int a[2], b[2], leak;

	ASSERT_EQ(pipe(a), 0);
	ASSERT_EQ(pipe(b), 0);
	leak = open("/etc/passwd", O_RDONLY); /* no O_CLOEXEC: on purpose */
	ASSERT_GE(leak, 0);
	ASSERT_EQ(dup2(leak, 77), 77);
	ASSERT_EQ(write(a[1], "A", 1), 1);
	ASSERT_EQ(write(b[1], "B", 1), 1);
	close(a[1]);
	close(b[1]);
	/* Sources and targets cross. */
	a[0] = fcntl(a[0], F_DUPFD, 20);
	b[0] = fcntl(b[0], F_DUPFD, 20);
	ASSERT_EQ(dup2(a[0], 5), 5);
	ASSERT_EQ(dup2(b[0], 3), 3);
	struct spawn_fd map[] = { { 5, 3 }, { 3, 5 } };
	struct spawn_opts o = { .argv = ARGV("bash", "-c", list),
				.fds = map,
				.nr_fds = 2 };

	ASSERT_EQ(spawn_run(&o, &plain, &res, NULL), 0);
	EXPECT_STREQ(buf_str(&res.out), "0\n1\n2\n3\n5\nBA");
	EXPECT_STREQ(buf_str(&res.err), "");
	spawn_result_clear(&res);
}

TEST(signals_are_as_at_the_beginning_of_the_world)
{
	struct spawn_opts o = {
		.argv = ARGV("sed", "-nE", "/Sig(Blk|Ign|Cgt)/p",
			     "/proc/self/status"),
	};
	struct spawn_result res = SPAWN_RESULT_INIT;
	sigset_t set;

	signal(SIGPIPE, SIG_IGN);
	sigfillset(&set);
	pthread_sigmask(SIG_SETMASK, &set, NULL);
	ASSERT_EQ(spawn_run(&o, &plain, &res, NULL), 0);
	EXPECT_STREQ(buf_str(&res.out), "SigBlk:\t0000000000000000\n"
					"SigIgn:\t0000000000000000\n"
					"SigCgt:\t0000000000000000\n");
	spawn_result_clear(&res);
}

TEST(environment_directory_and_session)
{
	char a1[] = "A=1";
	char *const env[] = { a1, NULL };
	struct spawn_opts o = {
		.argv = ARGV("/bin/sh", "-c",
			     "echo $A$HOME; pwd; ps -o sid= $$ | tr -d ' '"),
		.env = env,
		.cwd = "/usr",
		.new_session = true,
	};
	struct spawn_result res = SPAWN_RESULT_INIT;

	ASSERT_EQ(spawn_run(&o, &plain, &res, NULL), 0);
	EXPECT_EQ(strncmp(buf_str(&res.out), "1\n/usr\n", 7), 0);
	EXPECT_EQ(atoi(buf_str(&res.out) + 7) != getsid(0), true);
	spawn_result_clear(&res);
}

static void on_end(void *arg, int status)
{
	*(int *)arg = status;
}

TEST(a_child_in_the_event_loop)
{
	struct spawn_opts o = { .argv = ARGV("sh", "-c", "kill -9 $$") };
	struct spawn_child c = { .pidfd = -1 };
	struct ev_child w = { 0 };
	int status = 0;
	struct ev *loop;

	ASSERT_EQ(ev_new(&loop, NULL), 0);
	ASSERT_EQ(spawn_start(&o, &c, NULL), 0);
	ASSERT_EQ(ev_child_add(loop, &w, c.pid, c.pidfd, on_end, &status, NULL),
		  0);
	while (!status)
		ASSERT_GE(ev_step(loop, 5000), 1);
	EXPECT_EQ(WTERMSIG(status), SIGKILL);
	close(c.pidfd);
	ev_free(loop);
}

TEST(waiting_has_a_limit_and_the_child_lives_on)
{
	struct spawn_opts o = { .argv = ARGV("sleep", "1000") };
	struct spawn_child c = { .pidfd = -1 };
	int status;

	ASSERT_EQ(spawn_start(&o, &c, NULL), 0);
	EXPECT_EQ(spawn_wait(&c, 20, &status, NULL), -ETIMEDOUT);
	EXPECT_EQ(kill(c.pid, 0), 0);
	spawn_kill(&c);
	EXPECT_EQ(c.pid, 0);
	spawn_kill(&c);
}

TEST_MAIN()

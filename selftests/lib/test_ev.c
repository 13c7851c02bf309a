// SPDX-License-Identifier: Apache-2.0
/* LANE: native SECONDS: 60 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <sys/socket.h>

#include "lib/ev.h"
#include "selftests/harness.h"

#define WORD(s) ((void *)(uintptr_t)(s))

static struct ev *loop;
static char seen[256];

static void note(void *arg)
{
	strcat(seen, arg);
}

static void note_last(void *arg)
{
	strcat(seen, arg);
	ev_stop(loop);
}

TEST(timers_fire_in_order_and_can_be_taken_back)
{
	struct ev_timer a = { 0 }, b = { 0 }, c = { 0 }, d = { 0 };
	uint64_t begin = ev_clock_ms();

	ASSERT_EQ(ev_new(&loop, NULL), 0);
	ev_timer_set(loop, &a, 30, note, WORD("a"));
	ev_timer_set(loop, &b, 10, note, WORD("b"));
	ev_timer_set(loop, &c, 20, note, WORD("c"));
	ev_timer_set(loop, &d, 40, note_last, WORD("d"));
	ev_timer_del(&c);
	ev_timer_del(&c);
	ev_timer_set(loop, &b, 35, note, WORD("b"));
	EXPECT_EQ(ev_run(loop), 0);
	EXPECT_STREQ(seen, "abd");
	EXPECT_GE(ev_clock_ms() - begin, 40);
	ev_free(loop);
}

TEST(a_thousand_timers_fire_in_order)
{
	static struct ev_timer t[1000];
	uint64_t last = 0;
	unsigned x = 1;

	ASSERT_EQ(ev_new(&loop, NULL), 0);
	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		x = x * 1103515245 + 12345;
		ev_timer_set(loop, &t[i], x >> 16 & 0x3fff, note, WORD(""));
	}
	for (size_t i = 0; i < ARRAY_SIZE(t); i += 3)
		ev_timer_del(&t[i]);
	/* Whatever is left on top of the heap is the earliest. */
	for (;;) {
		size_t first = 0;

		for (size_t i = 1; i < ARRAY_SIZE(t); i++)
			if (t[i].loop &&
			    (!t[first].loop || t[i].due_ms < t[first].due_ms))
				first = i;
		if (!t[first].loop)
			break;
		EXPECT_GE(t[first].due_ms, last);
		last = t[first].due_ms;
		ev_timer_del(&t[first]);
	}
	ev_free(loop);
}

static struct ev_io io[8];
static int fds[8][2];
static int calls;

static void drop_all_others(void *arg, uint32_t events)
{
	struct ev_io *self = arg;

	(void)events;
	calls++;
	for (size_t i = 0; i < ARRAY_SIZE(io); i++)
		if (&io[i] != self)
			ev_io_del(&io[i]);
	ev_stop(loop);
}

TEST(a_watcher_removed_in_the_batch_is_not_called)
{
	ASSERT_EQ(ev_new(&loop, NULL), 0);
	for (size_t i = 0; i < ARRAY_SIZE(io); i++) {
		ASSERT_EQ(pipe(fds[i]), 0);
		ASSERT_EQ(ev_io_add(loop, &io[i], fds[i][0], EPOLLIN,
				    drop_all_others, &io[i], NULL),
			  0);
		ASSERT_EQ(write(fds[i][1], "x", 1), 1);
	}
	EXPECT_EQ(ev_run(loop), 0);
	EXPECT_EQ(calls, 1);
	ev_free(loop);
}

static void count_call(void *arg, uint32_t events)
{
	(void)arg, (void)events;
	calls++;
}

TEST(no_events_wanted_means_none_even_when_the_peer_hangs_up)
{
	int pair[2];

	ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	ASSERT_EQ(ev_new(&loop, NULL), 0);
	ASSERT_EQ(ev_io_add(loop, &io[0], pair[0], EPOLLIN, count_call, NULL,
			    NULL),
		  0);
	EXPECT_EQ(ev_io_set(&io[0], 0), 0);
	close(pair[1]);
	EXPECT_EQ(ev_step(loop, 20), 0);
	EXPECT_EQ(ev_io_set(&io[0], EPOLLIN), 0);
	EXPECT_EQ(ev_step(loop, 1000), 1);
	EXPECT_EQ(calls, 1);
	ev_io_del(&io[0]);
	ev_free(loop);
}

static void on_signal(void *arg, int signo)
{
	(void)arg;
	calls = signo;
	ev_stop(loop);
}

TEST(signals_arrive_as_events)
{
	struct ev_signal s = { 0 };

	ASSERT_EQ(ev_new(&loop, NULL), 0);
	ASSERT_EQ(ev_signal_add(loop, &s, SIGUSR1, on_signal, NULL, NULL), 0);
	kill(getpid(), SIGUSR1);
	EXPECT_EQ(ev_run(loop), 0);
	EXPECT_EQ(calls, SIGUSR1);
	ev_signal_del(&s);
	ev_free(loop);
}

static void on_child(void *arg, int status)
{
	*(int *)arg = status;
	ev_stop(loop);
}

TEST(the_end_of_a_child_is_an_event)
{
	struct ev_child c = { 0 };
	int status = -1;
	pid_t pid;

	ASSERT_EQ(ev_new(&loop, NULL), 0);
	pid = fork();
	if (pid == 0)
		_exit(7);
	ASSERT_EQ(ev_child_add(loop, &c, pid, -1, on_child, &status, NULL), 0);
	EXPECT_EQ(ev_run(loop), 0);
	EXPECT_EQ(WEXITSTATUS(status), 7);
	EXPECT_EQ(waitpid(pid, NULL, WNOHANG), -1);
	ev_free(loop);
}

#define POSTS 20000

static long posted;

static void on_post(void *arg)
{
	posted += (long)(intptr_t)arg;
}

static void *poster(void *arg)
{
	(void)arg;
	for (int i = 0; i < POSTS; i++)
		ev_post(loop, on_post, (void *)(intptr_t)1);
	return NULL;
}

static void stop_now(void *arg)
{
	(void)arg;
	ev_stop(loop);
}

static void *post_all(void *arg)
{
	pthread_t t[4];

	for (int i = 0; i < 4; i++)
		pthread_create(&t[i], NULL, poster, NULL);
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	ev_post(loop, stop_now, NULL);
	return arg;
}

TEST(posts_of_many_threads_all_arrive)
{
	pthread_t t;

	ASSERT_EQ(ev_new(&loop, NULL), 0);
	pthread_create(&t, NULL, post_all, NULL);
	EXPECT_EQ(ev_run(loop), 0);
	pthread_join(t, NULL);
	EXPECT_EQ(posted, 4 * POSTS);
	ev_free(loop);
}

static void order_first(void *arg)
{
	static struct ev_defer d;

	(void)arg;
	ev_defer(loop, &d, note_last, WORD("deferred"));
	strcat(seen, "posted,");
}

TEST(deferred_calls_come_after_the_batch)
{
	ASSERT_EQ(ev_new(&loop, NULL), 0);
	ev_post(loop, order_first, NULL);
	ev_post(loop, note, WORD("second,"));
	EXPECT_EQ(ev_run(loop), 0);
	EXPECT_STREQ(seen, "posted,second,deferred");
	ev_free(loop);
}

TEST_MAIN()

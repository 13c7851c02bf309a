// SPDX-License-Identifier: Apache-2.0
/*
 * LANE: native
 * What a burst took in a thread's heap goes back to the kernel.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "lib/fs.h"
#include "lib/buf.h"
#include "lib/memory.h"
#include "selftests/harness.h"

#define PIECES 20000
#define PIECE  1000

static long anon_kib(void)
{
	auto_buf struct buf b = BUF_INIT;
	const char *at;

	if (fs_read(AT_FDCWD, "/proc/self/status", 1 << 20, &b, NULL) < 0)
		return 0;
	at = strstr(buf_str(&b), "RssAnon:");
	return at ? strtol(at + strlen("RssAnon:"), NULL, 10) : 0;
}

static void *v[PIECES];

/* A burst in a thread's own heap. */
static void *burst(void *arg)
{
	for (size_t i = 0; i < PIECES; i++) {
		v[i] = malloc(PIECE);
		if (v[i])
			memset(v[i], 1, PIECE);
	}
	return arg;
}

TEST(what_a_burst_took_is_given_back_once)
{
	struct memory_mark mark = { 0 };
	long before, after;
	pthread_t t;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	SKIP("the sanitizer has a heap of its own");
#endif
	(void)memory_give_back(&mark);
	EXPECT_EQ(memory_give_back(&mark), false);
	before = anon_kib();
	ASSERT_EQ(pthread_create(&t, NULL, burst, NULL), 0);
	ASSERT_EQ(pthread_join(t, NULL), 0);
	EXPECT_GE(anon_kib(), before + PIECES * PIECE / 1024 / 2);
	/* A look in the middle of it does not take it for what is needed. */
	(void)memory_give_back(&mark);
	EXPECT_EQ(memory_give_back(&mark), false);
	for (size_t i = 0; i < PIECES - 1; i++) /* one stays at the top */
		free(v[i]);
	EXPECT_EQ(memory_give_back(&mark), true);
	after = anon_kib();
	EXPECT_GE(before + 1024, after);
	EXPECT_EQ(memory_give_back(&mark), false);
	free(v[PIECES - 1]);
}

TEST_MAIN()

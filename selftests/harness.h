/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A test is a function; a test program is a list of them, reported as TAP.
 *
 *	TEST(adds_up) { EXPECT_EQ(1 + 1, 2); }
 *	TEST_MAIN()
 *
 * Every test runs in a child of its own, under a time limit and in an empty
 * scratch directory, so that a crash, a hang or a forgotten file is one "not
 * ok" and not the end of the run.
 * EXPECT_* notes a failure and goes on, ASSERT_* notes it and returns, SKIP
 * says what is missing. The program exits 0 (passed), 1 (failed) or 4 (all
 * skipped), like kselftest.
 */
#ifndef SELFTESTS_HARNESS_H
#define SELFTESTS_HARNESS_H

#include <ftw.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define TEST_SECONDS  30

enum { TEST_PASS = 0, TEST_FAIL = 1, TEST_SKIP = 4 };

struct test {
	const char *name;
	void (*run)(int *verdict);
	struct test *next;
};

static struct test *test_list;
static struct test **test_tail = &test_list;

#define TEST(id)                                                      \
	static void id(int *verdict_);                                \
	static struct test id##_test_ = { .name = #id, .run = id };   \
	__attribute__((constructor)) static void id##_register_(void) \
	{                                                             \
		*test_tail = &id##_test_;                             \
		test_tail = &id##_test_.next;                         \
	}                                                             \
	static void id(__attribute__((unused)) int *verdict_)

#define FAIL(fmt, ...)                                                    \
	(printf("# %s:%d: " fmt "\n", __FILE__, __LINE__, ##__VA_ARGS__), \
	 *verdict_ = TEST_FAIL)

#define SKIP(why)                           \
	do {                                \
		printf("# SKIP %s\n", why); \
		*verdict_ = TEST_SKIP;      \
		return;                     \
	} while (0)

#define CMP_(op, got, want)                                               \
	({                                                                \
		long long got_ = (long long)(got);                        \
		long long want_ = (long long)(want);                      \
		bool ok_ = got_ op want_;                                 \
		if (!ok_)                                                 \
			FAIL("%s is %lld, want " #op " %lld", #got, got_, \
			     want_);                                      \
		ok_;                                                      \
	})

#define STR_(got, want)                                                   \
	({                                                                \
		const char *got_ = (got), *want_ = (want);                \
		bool ok_ = strcmp(got_, want_) == 0;                      \
		if (!ok_)                                                 \
			FAIL("%s is '%s', want '%s'", #got, got_, want_); \
		ok_;                                                      \
	})

#define EXPECT_EQ(got, want)    ((void)CMP_(==, got, want))
#define EXPECT_GE(got, want)    ((void)CMP_(>=, got, want))
#define EXPECT_STREQ(got, want) ((void)STR_(got, want))
#define ASSERT_EQ(got, want)              \
	do {                              \
		if (!CMP_(==, got, want)) \
			return;           \
	} while (0)
#define ASSERT_GE(got, want)              \
	do {                              \
		if (!CMP_(>=, got, want)) \
			return;           \
	} while (0)

/* How many times longer than on a quiet machine something may take here: on a
 * slow machine, an emulated one, or with a sanitized program. */
static inline unsigned int test_times(void)
{
	const char *lane = getenv("ARKTOS_LANE");
	const char *times = getenv("SECONDS_TIMES");
	unsigned int n = times ? (unsigned int)strtoul(times, NULL, 10) : 2;

	if (lane && strcmp(lane, "guest") == 0)
		n = 6;
	return n ? n : 1;
}

/* How long a test may take at the most: @seconds on a quiet machine. */
static inline void test_alarm(unsigned int seconds)
{
	alarm(seconds * test_times());
}

static int test_rm(const char *path, const struct stat *st, int type,
		   struct FTW *ftw)
{
	(void)st, (void)type, (void)ftw;
	return remove(path);
}

static int test_in_child(const struct test *t)
{
	char scratch[] = "/tmp/selftest.XXXXXX";
	int verdict = TEST_PASS;
	int status = 0;
	pid_t pid;

	if (!mkdtemp(scratch))
		return TEST_FAIL;

	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		test_alarm(TEST_SECONDS);
		if (chdir(scratch))
			exit(TEST_FAIL);
		t->run(&verdict);
		exit(verdict); /* not _exit(): lets sanitizers report leaks */
	}
	if (pid > 0)
		pid = waitpid(pid, &status, 0);
	nftw(scratch, test_rm, 8, FTW_DEPTH | FTW_PHYS);
	if (pid < 0)
		return TEST_FAIL;
	if (WIFSIGNALED(status)) {
		printf("# %s: killed by %s\n", t->name,
		       strsignal(WTERMSIG(status)));
		return TEST_FAIL;
	}
	return WEXITSTATUS(status);
}

static int test_main(void)
{
	int nr = 0, failed = 0, skipped = 0;

	for (const struct test *t = test_list; t; t = t->next)
		nr++;
	printf("TAP version 13\n1..%d\n", nr);

	nr = 0;
	for (const struct test *t = test_list; t; t = t->next) {
		int verdict = test_in_child(t);

		failed += verdict != TEST_PASS && verdict != TEST_SKIP;
		skipped += verdict == TEST_SKIP;
		printf("%sok %d %s%s\n",
		       verdict == TEST_PASS || verdict == TEST_SKIP ? ""
								    : "not ",
		       ++nr, t->name, verdict == TEST_SKIP ? " # SKIP" : "");
	}
	if (failed)
		return TEST_FAIL;
	return nr && skipped == nr ? TEST_SKIP : TEST_PASS;
}

#define TEST_MAIN()                 \
	int main(void)              \
	{                           \
		return test_main(); \
	}

#endif /* SELFTESTS_HARNESS_H */

// SPDX-License-Identifier: Apache-2.0
/* LANE: native
 * SECONDS: 120
 *
 * Reading logs while, and after, somebody writes and rotates them.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <sys/stat.h>

#include "agent/logs/logs.h"
#include "lib/auto.h"
#include "lib/buf.h"
#include "lib/err.h"
#include "selftests/harness.h"

#define T "2026-01-02T03:04:05.000000000Z "

static void put(const char *name, const char *text)
{
	FILE *f = fopen(name, "ae");

	fputs(text, f);
	fclose(f);
}

static int here(void)
{
	return open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/* All there is, as one string; "error" if it fails. */
static const char *read_all(uint32_t attempt, struct log_opts o)
{
	static struct buf out;
	auto_ptr(log_reader) log = NULL;
	auto_close int dir = here();
	struct err e = { 0 };
	int r;

	buf_reset(&out);
	r = log_open(dir, attempt, &o, &log, &e);
	while (r >= 0 && (r = log_read(log, 100, &out, &e)) > 0)
		;
	if (r < 0)
		printf("# %s\n", e.msg);
	return r < 0 || !log_ended(log) ? "error" : buf_str(&out);
}

#define ALL(...) read_all(0, (struct log_opts){ __VA_ARGS__ })

TEST(records_are_parsed_strictly)
{
	static const char *const bad[] = {
		"",
		"x",
		T,
		T "stdout",
		T "stdout F",
		T "stdin F x",
		T "stdout X x",
		T "stdout FP x",
		T "stdoutF x",
		"2026-01-02 stdout F x",
		"2026-13-02T03:04:05Z stdout F x",
		"2026-01-02T03:04:05 stdout F x",
		"2026-01-02T03:04:05.Z stdout F x",
		"2026-01-02T03:04:05+2:00 stdout F x",
		" " T "stdout F x",
	};
	static const char good[] = T "stderr P:tag  two blanks";
	struct log_record r;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		if (log_record_parse(bad[i], strlen(bad[i]), &r) == 0)
			FAIL("'%s' was taken", bad[i]);
	ASSERT_EQ(log_record_parse(good, strlen(good), &r), 0);
	EXPECT_EQ(r.is_stderr && r.partial, true);
	EXPECT_EQ(r.text_len, strlen(" two blanks"));
	EXPECT_EQ(log_record_parse(T "stdout F ", strlen(T) + 9, &r), 0);
	EXPECT_EQ(r.text_len, 0);
}

TEST(times_are_understood_with_zone_and_fraction)
{
	static const struct {
		const char *text;
		int64_t s;
		long ns;
	} cases[] = {
		{ "1970-01-01T00:00:00Z", 0, 0 },
		{ "2016-10-06T00:17:09.669794202Z", 1475713029, 669794202 },
		{ "2016-10-06T02:17:09.5+02:00", 1475713029, 500000000 },
		{ "2016-10-05T22:17:09.1234567899-02:00", 1475713029,
		  123456789 },
	};
	struct timespec t;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		ASSERT_EQ(log_time_parse(cases[i].text, strlen(cases[i].text),
					 &t),
			  0);
		EXPECT_EQ(t.tv_sec, cases[i].s);
		EXPECT_EQ(t.tv_nsec, cases[i].ns);
	}
}

TEST(attempts_are_found)
{
	auto_close int dir = here();
	struct err e = { 0 };
	uint32_t n;

	EXPECT_EQ(log_find_attempt(dir, false, &n, &e), -ENOENT);
	EXPECT_STREQ(e.msg, "no log yet: the container has not started");
	put("9.log", "");
	put("10.log.1", ""); /* just being rotated */
	put("x.log", "");
	put("11.logx", "");
	put("-1.log", "");
	ASSERT_EQ(log_find_attempt(dir, false, &n, &e), 0);
	EXPECT_EQ(n, 10);
	ASSERT_EQ(log_find_attempt(dir, true, &n, &e), 0);
	EXPECT_EQ(n, 9);
	unlink("9.log");
	EXPECT_EQ(log_find_attempt(dir, true, &n, &e), -ENOENT);
	EXPECT_STREQ(e.msg, "no log of a previous container: it was not "
			    "restarted");
}

TEST(pieces_are_joined_per_stream_across_files)
{
	put("0.log.1", T "stdout P ab\n" T "stderr F err\n" T "stdout P cd\n");
	put("0.log", T "stdout F ef\n" T "stdout F gh\n");
	EXPECT_STREQ(ALL(), "err\nabcdef\ngh\n");
	EXPECT_STREQ(ALL(.no_stderr = true), "abcdef\ngh\n");
	EXPECT_STREQ(ALL(.no_stdout = true), "err\n");
	EXPECT_STREQ(ALL(.timestamps = true, .no_stdout = true), T "err\n");
}

TEST(tail_is_found_from_the_end)
{
	put("0.log.2", T "stdout F 1\n" T "stdout F 2\n");
	put("0.log.1", T "stdout F 3\n" T "stdout P 4\n");
	put("0.log", T "stderr F e\n" T "stdout F 4\n" T "stdout F 5\n");
	EXPECT_STREQ(ALL(.has_tail = true, .tail = 0), "");
	EXPECT_STREQ(ALL(.has_tail = true, .tail = 1), "5\n");
	EXPECT_STREQ(ALL(.has_tail = true, .tail = 2), "44\n5\n");
	EXPECT_STREQ(ALL(.has_tail = true, .tail = 3), "e\n44\n5\n");
	EXPECT_STREQ(ALL(.has_tail = true, .tail = 4), "3\ne\n44\n5\n");
	EXPECT_STREQ(ALL(.has_tail = true, .tail = 6), "1\n2\n3\ne\n44\n5\n");
	EXPECT_STREQ(ALL(.has_tail = true, .tail = 99), ALL());
	EXPECT_STREQ(ALL(.has_tail = true, .tail = 3, .no_stderr = true),
		     "3\n44\n5\n");
	EXPECT_STREQ(ALL(.has_tail = true, .tail = 2, .no_stdout = true),
		     "e\n");
}

static uint64_t bytes_read(void)
{
	FILE *f = fopen("/proc/self/io", "re");
	uint64_t v = 0;

	if (f && fscanf(f, "rchar: %" SCNu64, &v) != 1)
		v = 0;
	if (f)
		fclose(f);
	return v;
}

TEST(tail_costs_what_it_covers)
{
	FILE *f = fopen("0.log", "we");
	uint64_t before;

	for (int i = 0; i < 400000; i++)
		fprintf(f, T "stdout F line %d with some more text\n", i);
	fclose(f);
	before = bytes_read();
	EXPECT_STREQ(ALL(.has_tail = true, .tail = 2, .no_stderr = true),
		     "line 399998 with some more text\n"
		     "line 399999 with some more text\n");
	EXPECT_GE(300000, bytes_read() - before);
	/* Both streams wanted: it looks back for stderr's pieces, a bit. */
	before = bytes_read();
	EXPECT_STREQ(ALL(.has_tail = true, .tail = 1),
		     "line 399999 with some more text\n");
	EXPECT_GE(1000000, bytes_read() - before);
}

TEST(since_leaves_out_what_was_before)
{
	put("0.log", "2026-01-02T03:04:05Z stdout F a\n"
		     "2026-01-02T03:04:06.5Z stdout F b\n"
		     "2026-01-02T03:04:07Z stdout F c\n");
	EXPECT_STREQ(ALL(.has_since = true, .since = { 1767323046, 500000000 }),
		     "b\nc\n");
	EXPECT_STREQ(ALL(.has_since = true, .since = { 1767323046, 500000001 }),
		     "c\n");
	EXPECT_STREQ(ALL(.has_since = true, .since = { 2000000000, 0 }), "");
}

TEST(much_left_out_does_not_look_like_the_end)
{
	struct log_opts o = { .has_since = true, .since = { 1767400000, 0 } };
	FILE *f = fopen("0.log", "we");
	auto_close int dir = here();
	auto_ptr(log_reader) log = NULL;
	auto_buf struct buf out = BUF_INIT;

	for (int i = 0; i < 60000; i++) /* 4 MB */
		fprintf(f, T "stdout F old line %d of very many others\n", i);
	fprintf(f, "2026-01-04T00:00:00Z stdout F new\n");
	fclose(f);
	ASSERT_EQ(log_open(dir, 0, &o, &log, NULL), 0);
	ASSERT_EQ(log_read(log, 1000, &out, NULL), 0);
	EXPECT_STREQ(buf_str(&out), "new\n");
}

TEST(gap_in_the_row_hides_nothing)
{
	put("0.log.3", T "stdout F a\n");
	put("0.log.1", T "stdout F b\n");
	EXPECT_STREQ(ALL(), "a\nb\n"); /* the moment before 0.log is there */
	put("0.log", T "stdout F c\n");
	EXPECT_STREQ(ALL(), "a\nb\nc\n");
}

TEST(limit_is_exact)
{
	put("0.log", T "stdout F abc\n" T "stdout F def\n");
	EXPECT_STREQ(ALL(.limit_bytes = 2), "ab");
	EXPECT_STREQ(ALL(.limit_bytes = 4), "abc\n");
	EXPECT_STREQ(ALL(.limit_bytes = 5), "abc\nd");
	EXPECT_STREQ(ALL(.limit_bytes = 500), "abc\ndef\n");
	EXPECT_STREQ(ALL(.limit_bytes = 3, .timestamps = true), "202");
}

TEST(torn_and_foreign_records_do_no_harm)
{
	auto_close int dir = here();
	auto_ptr(log_reader) log = NULL;
	auto_buf struct buf out = BUF_INIT;
	struct log_opts o = { 0 };

	put("0.log", "garbage\n\n" T "stdout F a\n" T "stdo");
	put("0.log", T "stderr F glued\n" T "stdout P x\n" T "stdout P y");
	ASSERT_EQ(log_open(dir, 0, &o, &log, NULL), 0);
	ASSERT_EQ(log_read(log, 1000, &out, NULL), 0);
	EXPECT_STREQ(buf_str(&out), "a\nxy\n");
	EXPECT_EQ(log_skipped(log), 2);
	EXPECT_EQ(log_read(log, 1000, &out, NULL), 0);
	EXPECT_STREQ(buf_str(&out), "a\nxy\n");
}

TEST(endless_lines_are_cut_and_endless_records_dropped)
{
	size_t piece = 16000, nr = 20; /* 320000 bytes in one line */
	char *text = malloc(piece + 1);
	FILE *f = fopen("0.log", "we");
	auto_buf struct buf out = BUF_INIT;
	auto_ptr(log_reader) log = NULL;
	auto_close int dir = here();
	struct log_opts o = { 0 };
	const char *nl;

	memset(text, 'x', piece);
	text[piece] = '\0';
	for (size_t i = 0; i < nr; i++)
		fprintf(f, T "stdout P %s\n", text);
	fprintf(f, T "stdout F end\n" T "stdout F ");
	for (size_t i = 0; i < 100; i++)
		fputs(text, f); /* 1.6 MB: no writer of ours does that */
	fprintf(f, "\n" T "stdout F after\n");
	fwrite(T "stdout F a\0b\xff\n", 1, strlen(T) + 14, f);
	fclose(f);
	free(text);
	ASSERT_EQ(log_open(dir, 0, &o, &log, NULL), 0);
	while (log_read(log, 1000, &out, NULL) > 0)
		;
	EXPECT_EQ(log_ended(log), true);
	EXPECT_EQ(log_skipped(log), 1);
	nl = memchr(out.data, '\n', out.len);
	EXPECT_GE(nl - out.data, LOG_LINE_MAX);
	EXPECT_GE(LOG_LINE_MAX + 16000, nl - out.data);
	EXPECT_EQ(out.len, piece * nr + 1 + strlen("end\nafter\n") + 5);
	EXPECT_EQ(memcmp(out.data + out.len - 5, "a\0b\xff\n", 5), 0);
}

TEST(what_is_no_file_is_refused)
{
	auto_close int dir = here();
	struct log_reader *log = NULL;
	struct log_opts o = { 0 };
	struct err e = { 0 };

	EXPECT_EQ(log_open(dir, 0, &o, &log, &e), -ENOENT);
	EXPECT_STREQ(e.msg, "no log '0.log' yet");
	ASSERT_EQ(mkfifo("0.log", 0600), 0);
	EXPECT_EQ(log_open(dir, 0, &o, &log, &e), -EINVAL);
	EXPECT_STREQ(e.msg, "'0.log' is no regular file");
	unlink("0.log");
	ASSERT_EQ(symlink("/etc/passwd", "0.log"), 0);
	EXPECT_EQ(log_open(dir, 0, &o, &log, &e), -ELOOP);
}

/* --- following --- */

static bool wait_more(struct log_reader *log)
{
	struct pollfd p = { .fd = log_fd(log), .events = POLLIN };

	return poll(&p, 1, 5000) == 1;
}

/* What a step of the writer makes the follower give. */
static const char *more(struct log_reader *log)
{
	static struct buf out;
	static struct err e;
	int r;

	buf_reset(&out);
	do {
		if (!wait_more(log))
			return "nothing came";
		r = log_read(log, 100000, &out, &e);
	} while (r >= 0 && out.len == 0 && !log_ended(log));
	return r < 0 ? e.msg : buf_str(&out);
}

TEST(follow_goes_on_through_rotation)
{
	auto_close int dir = here();
	auto_ptr(log_reader) log = NULL;
	auto_buf struct buf out = BUF_INIT;
	struct log_opts o = { .follow = true, .has_tail = true, .tail = 1 };

	put("0.log", T "stdout F a\n" T "stdout F b\n");
	ASSERT_EQ(log_open(dir, 0, &o, &log, NULL), 0);
	ASSERT_EQ(log_read(log, 1000, &out, NULL), 0);
	EXPECT_STREQ(buf_str(&out), "b\n");
	EXPECT_EQ(log_ended(log), false);
	put("0.log", T "stdout F c\n");
	EXPECT_STREQ(more(log), "c\n");
	put("0.log", T "stdout F d"); /* its end comes later */
	put("0.log", "e\n");
	EXPECT_STREQ(more(log), "de\n");
	put("0.log", T "stdout F last in this one\n");
	rename("0.log", "0.log.1");
	EXPECT_STREQ(more(log), "last in this one\n");
	put("0.log", T "stdout F in the next\n");
	EXPECT_STREQ(more(log), "in the next\n");
	/* Two rotations while nobody looks. */
	put("0.log", T "stdout P f\n");
	rename("0.log.1", "0.log.2");
	rename("0.log", "0.log.1");
	put("0.log", T "stdout F g\n" T "stdout F h\n");
	rename("0.log.2", "0.log.3");
	rename("0.log.1", "0.log.2");
	rename("0.log", "0.log.1");
	put("0.log", T "stdout F i\n");
	EXPECT_STREQ(more(log), "fg\nh\ni\n");
	/* Its own file is gone by now: go on with the oldest there is. */
	unlink("0.log.3");
	unlink("0.log.2");
	rename("0.log", "0.log.2");
	put("0.log.1", T "stdout F j\n");
	put("0.log", T "stdout P k\n");
	unlink("0.log.2");
	EXPECT_EQ(strstr(more(log), "j\n") != NULL, true);
	log_finish(log);
	EXPECT_STREQ(more(log), "k\n");
	EXPECT_EQ(log_ended(log), true);
}

TEST(follow_survives_truncation)
{
	auto_close int dir = here();
	auto_ptr(log_reader) log = NULL;
	auto_buf struct buf out = BUF_INIT;
	struct log_opts o = { .follow = true };

	put("0.log", T "stdout F a\n" T "stdout F b\n");
	ASSERT_EQ(log_open(dir, 0, &o, &log, NULL), 0);
	ASSERT_EQ(log_read(log, 1000, &out, NULL), 0);
	ASSERT_EQ(truncate("0.log", 0), 0);
	put("0.log", T "stdout F c\n");
	EXPECT_STREQ(more(log), "c\n");
}

struct writer {
	atomic_long read; /* the reader's last line */
	long lines, lead;
};

/* As the supervisor writes: append, and rename when it is full. */
static void *write_lines(void *arg)
{
	struct writer *w = arg;
	FILE *f = fopen("0.log", "ae");

	for (long i = 0; i < w->lines; i++) {
		while (i - w->read > w->lead)
			poll(NULL, 0, 1);
		if (i % 3 == 0)
			fprintf(f, T "stderr P %ld-\n", i);
		fprintf(f, T "stdout P %ld\n", i);
		fprintf(f, T "stdout F .\n");
		if (i % 3 == 0)
			fprintf(f, T "stderr F %ld\n", i);
		fflush(f);
		if (i % 50 != 49)
			continue;
		fclose(f);
		rename("0.log.2", "0.log.3");
		rename("0.log.1", "0.log.2");
		rename("0.log", "0.log.1");
		f = fopen("0.log", "ae");
	}
	fclose(f);
	return NULL;
}

TEST(a_follower_misses_nothing_while_files_rotate)
{
	/* 3 rotated files of 50 lines are kept, and the writer's lead is less.
	 */
	struct writer w = { .read = 0, .lines = 20000, .lead = 120 };
	auto_close int dir = here();
	auto_ptr(log_reader) log = NULL;
	auto_buf struct buf out = BUF_INIT;
	struct log_opts o = { .follow = true, .no_stderr = true };
	struct err e = { 0 };
	pthread_t t;
	long next = 0;

	put("0.log", "");
	ASSERT_EQ(log_open(dir, 0, &o, &log, &e), 0);
	ASSERT_EQ(pthread_create(&t, NULL, write_lines, &w), 0);
	while (next < w.lines) {
		char *s, *nl;

		ASSERT_EQ(wait_more(log), true);
		ASSERT_GE(log_read(log, 4096, &out, &e), 0);
		for (s = out.data; s && (nl = strchr(s, '\n')); s = nl + 1) {
			char want[32];

			snprintf(want, sizeof(want), "%ld.", next);
			*nl = '\0';
			EXPECT_STREQ(s, want);
			ASSERT_EQ(strcmp(s, want), 0);
			w.read = next++;
		}
		buf_reset(&out);
	}
	pthread_join(t, NULL);
	log_finish(log);
	ASSERT_GE(log_read(log, 4096, &out, &e), 0);
	EXPECT_EQ(log_ended(log), true);
	EXPECT_EQ(log_skipped(log), 0);
	EXPECT_EQ(out.len, 0);
}

TEST_MAIN()

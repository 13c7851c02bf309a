/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading containers' logs, in the CRI format:
 *
 *	2026-01-02T03:04:05.678901234Z stdout F the text
 *
 * where P instead of F marks a piece of a line that goes on in the next record
 * of the same stream. <attempt>.log is being written; when it is full it is
 * renamed to <attempt>.log.1, an older .1 to .2, and so on. The writer never
 * writes to a file it has renamed. (It is the supervisor.)
 *
 *	auto_ptr(log_reader) log = NULL;
 *
 *	log_find_attempt(dir, false, &attempt, &e);
 *	log_open(dir, attempt, &opts, &log, &e);
 *	do {
 *		r = log_read(log, 65536, &out, &e);
 *		send(&out);			and buf_reset()
 *	} while (r > 0);
 *	if (!log_ended(log))			only with follow
 *		wait for log_fd(), and go on
 *
 * The content is the containers': any bytes, any length. Records that are not
 * in the format are left out and counted. Not thread-safe; one reader per user.
 */
#ifndef AGENT_LOGS_LOGS_H
#define AGENT_LOGS_LOGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "lib/auto.h"

struct buf;
struct err;
struct log_reader;

#define LOG_LINE_MAX    (256 * 1024) /* longer lines come in pieces */
#define LOG_ROTATED_MAX 16           /* <attempt>.log.1 .. .16 are looked at */
#define LOG_TAIL_MAX    (1 << 24)

struct log_opts {
	bool follow;     /* go on when the end is reached */
	bool timestamps; /* "<timestamp> <line>" */
	bool has_tail;
	uint64_t tail; /* only so many of the last lines */
	bool has_since;
	struct timespec since; /* only what was written then or later */
	uint64_t limit_bytes;  /* of output; 0: no limit */
	bool no_stdout, no_stderr;
};

/* The number of the newest <attempt>.log in @dirfd, or of the one before it.
 * -ENOENT: "no log yet", "no previous container". */
int log_find_attempt(int dirfd, bool previous, uint32_t *ret, struct err *e);

/**
 * log_open() - Start reading.
 * @dirfd: The container's log folder. Borrowed (duplicated).
 *
 * @opts->tail is found from the end: the cost is that of what it covers.
 *
 * Return: 0, -ENOENT without a log, -errno.
 */
int log_open(int dirfd, uint32_t attempt, const struct log_opts *opts,
	     struct log_reader **ret, struct err *e);
void log_close(struct log_reader *log);
DEFINE_AUTO_PTR(log_reader, log_close)

/* Polls POLLIN when log_read() may have more. -EBADF without follow. */
int log_fd(const struct log_reader *log);

/**
 * log_read() - Append about @max bytes of output, whole lines, to @out.
 *
 * Never waits for the writer. It may go beyond @max by one line.
 *
 * Return: 1 @max is reached: call again. 0 nothing more (for now, with follow).
 * Or -errno. With each something may have been appended; log_ended() tells the
 * two kinds of 0 apart.
 */
int log_read(struct log_reader *log, size_t max, struct buf *out,
	     struct err *e);

/* Nothing will follow: the end without follow, the byte limit, or the end
 * after log_finish(). */
bool log_ended(const struct log_reader *log);

/* The container has ended, and its last words are written: give what is there,
 * and then be at the end. Makes log_fd() poll readable. */
void log_finish(struct log_reader *log);

/* Records left out because they could not be understood. */
uint64_t log_skipped(const struct log_reader *log);

/* --- one record (also for tests and fuzzing) --- */

struct log_record {
	struct timespec time;
	bool is_stderr, partial;
	const char *stamp; /* the timestamp as written; not terminated */
	size_t stamp_len;
	const char *text;
	size_t text_len;
};

/* @line without its newline. 0 or -EBADMSG. Everything in @ret is borrowed. */
int log_record_parse(const char *line, size_t len, struct log_record *ret);

/* RFC 3339 with up to nanoseconds: "2026-01-02T03:04:05.6Z", "+02:00". */
int log_time_parse(const char *s, size_t len, struct timespec *ret);

#endif /* AGENT_LOGS_LOGS_H */

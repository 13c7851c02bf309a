/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Output of a process to a log file in CRI format:
 *
 *	2026-11-21T22:40:00.000000000Z stdout F line
 *
 * Lines longer than 16 KiB are split (tag P, the last part F). Rotated by
 * renaming: <path>.1 is the youngest old one. A disk that is full loses output,
 * counts it, and says so in the log once there is room again; the process is
 * never held up by it.
 */
#ifndef AGENT_SUPERVISOR_LOGS_H
#define AGENT_SUPERVISOR_LOGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;

#define LOGFILE_LINE_MAX (16 * 1024)

struct logfile {
	char *path; /* NULL: output is discarded */
	int fd;
	uint64_t size, max;
	uint32_t keep;
	uint64_t dropped; /* bytes of output lost, ever */
	uint64_t untold;  /* of these, not yet confessed in the log */
	int why;          /* errno of the last loss */
	bool torn;        /* the file ends within a line */
};

/* One end of a pipe or a pty, and the line that is not finished yet. */
struct stream {
	int fd;          /* non-blocking; -1 when closed. Owned */
	const char *tag; /* "stdout" */
	char *line;
	size_t len;
	/* Sees the bytes as they come; true: no more for now. May be NULL. */
	bool (*tee)(struct stream *s, const char *data, size_t len);
	bool last; /* its end: all is taken, whatever it says */
};

int logfile_open(struct logfile *log, const char *path, uint64_t max,
		 uint32_t keep, struct err *e);
int logfile_reopen(struct logfile *log, struct err *e);
void logfile_close(struct logfile *log);

/* Take what is there, at most about 256 KiB. 1: more may be there, 0: nothing
 * now, -1: end of file. */
int stream_pump(struct stream *s, struct logfile *log);

/* Take all that is there now, end the open line, and close. */
void stream_finish(struct stream *s, struct logfile *log);

/* Give back the memory of the pump's buffers. */
void log_idle(void);

/* The time as RFC 3339 with nanoseconds, UTC; 30 characters. */
#define TIME_TEXT 40
void time_text(char out[TIME_TEXT]);

#endif /* AGENT_SUPERVISOR_LOGS_H */

// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "agent/supervisor/logs.h"
#include "lib/auto.h"
#include "lib/err.h"
#include "lib/str.h"

#define PUMP_ROUNDS 8
#define PUMP_IN     (32 * 1024)
#define PUMP_OUT    (64 * 1024)
#define HEAD_MAX    (TIME_TEXT + 16)

/* Shared by all streams, since only one is pumped at a time; page-aligned so
 * that log_idle() can give them back. */
static char pump_in[PUMP_IN] __attribute__((aligned(4096)));
static char pump_out[PUMP_OUT] __attribute__((aligned(4096)));
static size_t pump_len;
static char pump_time[TIME_TEXT]; /* when the bytes at hand were read */

static void put2(char *p, unsigned int n)
{
	p[0] = (char)('0' + n / 10 % 10);
	p[1] = (char)('0' + n % 10);
}

/* By hand: gmtime() would bring the whole of the C library's time zones. */
void time_text(char out[TIME_TEXT])
{
	struct timespec ts;
	int64_t days, era, y;
	unsigned int secs, doe, yoe, doy, mp, ns;

	clock_gettime(CLOCK_REALTIME, &ts);
	days = ts.tv_sec / 86400 + 719468; /* since 0000-03-01 */
	secs = (unsigned int)(ts.tv_sec % 86400);
	era = days / 146097;
	doe = (unsigned int)(days - era * 146097);
	yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
	doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
	mp = (5 * doy + 2) / 153;
	y = yoe + era * 400 + (mp >= 10);
	memcpy(out, "0000-00-00T00:00:00.000000000Z", 31);
	put2(out, (unsigned int)(y / 100));
	put2(out + 2, (unsigned int)(y % 100));
	put2(out + 5, mp < 10 ? mp + 3 : mp - 9);
	put2(out + 8, doy - (153 * mp + 2) / 5 + 1);
	put2(out + 11, secs / 3600);
	put2(out + 14, secs / 60 % 60);
	put2(out + 17, secs % 60);
	ns = (unsigned int)ts.tv_nsec;
	for (int i = 8; i >= 0; i--, ns /= 10)
		out[20 + i] = (char)('0' + ns % 10);
}

void log_idle(void)
{
	(void)madvise(pump_in, sizeof(pump_in), MADV_DONTNEED);
	(void)madvise(pump_out, sizeof(pump_out), MADV_DONTNEED);
}

static int logfile_create(const char *path)
{
	return open(path,
		    O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW,
		    0640);
}

int logfile_reopen(struct logfile *log, struct err *e)
{
	struct stat st;
	int fd;

	if (!log->path)
		return 0;
	fd = logfile_create(log->path);
	if (fd < 0 || fstat(fd, &st) < 0)
		return err_sys(e, "open log '%s'", log->path);
	if (log->fd >= 0)
		close(log->fd);
	log->fd = fd;
	log->size = (uint64_t)st.st_size;
	log->torn = false;
	return 0;
}

int logfile_open(struct logfile *log, const char *path, uint64_t max,
		 uint32_t keep, struct err *e)
{
	int r;

	*log = (struct logfile){ .fd = -1, .max = max, .keep = keep };
	if (!path)
		return 0;
	log->path = strdup(path);
	if (!log->path)
		return err_set(e, -ENOMEM, "out of memory");
	r = logfile_reopen(log, e);
	/* A full disk costs output, not the container. */
	if (r == -ENOSPC || r == -EDQUOT)
		return 0;
	if (r < 0)
		logfile_close(log);
	return r;
}

void logfile_close(struct logfile *log)
{
	if (log->fd >= 0)
		close(log->fd);
	log->fd = -1;
	free(log->path);
	log->path = NULL;
}

static void rename_old(const struct logfile *log, uint32_t from)
{
	auto_free char *a =
		from ? str_printf("%s.%u", log->path, from) : strdup(log->path);
	auto_free char *b = str_printf("%s.%u", log->path, from + 1);

	if (a && b)
		(void)rename(a, b); /* a gap in the row is fine */
}

/* On failure the present file just grows on; after as much again, one more
 * try. */
static void rotate(struct logfile *log)
{
	auto_free char *fresh = str_printf("%s.new", log->path);
	int fd = fresh ? logfile_create(fresh) : -1;

	log->size = 0;
	if (fd < 0)
		return;
	for (uint32_t i = log->keep; i-- > 0;)
		rename_old(log, i);
	if (rename(fresh, log->path) < 0) {
		(void)unlink(fresh);
		close(fd);
		return;
	}
	close(log->fd);
	log->fd = fd;
}

/* Bytes of @len taken by the file; the rest is lost. */
static size_t write_out(struct logfile *log, const char *data, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = write(log->fd, data + done, len - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			log->why = n < 0 ? errno : EIO;
			break;
		}
		done += (size_t)n;
	}
	log->size += done;
	return done;
}

static bool confess(struct logfile *log)
{
	char now[TIME_TEXT], text[200];
	size_t n;

	time_text(now);
	n = (size_t)snprintf(text, sizeof(text),
			     "%s%s stderr F [arktos: %llu bytes of output lost "
			     "here: %s]\n",
			     log->torn ? "\n" : "", now,
			     (unsigned long long)log->untold,
			     strerrordesc_np(log->why));
	if (write_out(log, text, n) != n) {
		/* Half a confession is no better than a torn line. */
		log->torn = true;
		return false;
	}
	log->torn = false;
	log->untold = 0;
	return true;
}

static void flush(struct logfile *log)
{
	size_t done = 0;

	if (!pump_len)
		return;
	if (log->fd < 0 && log->path)
		(void)logfile_reopen(log, NULL);
	if (log->fd >= 0 && (!log->untold || confess(log)))
		done = write_out(log, pump_out, pump_len);
	if (log->path && done < pump_len) {
		log->dropped += pump_len - done;
		log->untold += pump_len - done;
		if (done)
			log->torn = pump_out[done - 1] != '\n';
	}
	pump_len = 0;
	if (log->fd >= 0 && log->size >= log->max)
		rotate(log);
}

static void put_line(struct logfile *log, const char *tag, char kind,
		     const char *data, size_t len)
{
	static const char zeros[] = "";
	size_t tag_len = strlen(tag);
	char *p;

	if (pump_len + HEAD_MAX + len > sizeof(pump_out))
		flush(log);
	p = pump_out + pump_len;
	memcpy(p, pump_time, 30);
	p += 30;
	*p++ = ' ';
	memcpy(p, tag, tag_len);
	p += tag_len;
	*p++ = ' ';
	*p++ = kind;
	*p++ = ' ';
	memcpy(p, len ? data : zeros, len);
	p += len;
	*p++ = '\n';
	pump_len = (size_t)(p - pump_out);
}

/* @data is a whole line, or its beginning; what was kept of it before comes
 * first. */
static void end_line(struct stream *s, struct logfile *log, const char *data,
		     size_t len)
{
	if (s->len && len) {
		memcpy(s->line + s->len, data, len);
		s->len += len;
		data = s->line;
		len = s->len;
	} else if (s->len) {
		data = s->line;
		len = s->len;
	}
	put_line(log, s->tag, 'F', data, len);
	free(s->line);
	s->line = NULL;
	s->len = 0;
}

/* Keep the tail of an unfinished line. Out of memory: it is logged as it is. */
static void keep_line(struct stream *s, struct logfile *log, const char *data,
		      size_t len)
{
	if (!len)
		return;
	if (!s->line)
		s->line = malloc(LOGFILE_LINE_MAX);
	if (!s->line) {
		put_line(log, s->tag, 'P', data, len);
		return;
	}
	memcpy(s->line + s->len, data, len);
	s->len += len;
	if (s->len == LOGFILE_LINE_MAX) {
		put_line(log, s->tag, 'P', s->line, s->len);
		s->len = 0;
	}
}

static void split(struct stream *s, struct logfile *log, const char *data,
		  size_t len)
{
	while (len) {
		size_t room = LOGFILE_LINE_MAX - s->len;
		size_t look = len < room ? len : room;
		const char *nl = memchr(data, '\n', look);

		if (nl) {
			look = (size_t)(nl - data);
			end_line(s, log, data, look);
			look++;
		} else if (s->len == 0 && look == LOGFILE_LINE_MAX) {
			put_line(log, s->tag, 'P', data, look);
		} else {
			keep_line(s, log, data, look);
		}
		data += look;
		len -= look;
	}
}

int stream_pump(struct stream *s, struct logfile *log)
{
	for (int i = 0; i < PUMP_ROUNDS; i++) {
		ssize_t n = read(s->fd, pump_in, sizeof(pump_in));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return 0;
		if (n <= 0) /* EIO: the last holder of a pty's slave is gone */
			return -1;
		time_text(pump_time);
		split(s, log, pump_in, (size_t)n);
		flush(log);
		if (s->tee && s->tee(s, pump_in, (size_t)n) && !s->last)
			return 0;
	}
	return 1;
}

void stream_finish(struct stream *s, struct logfile *log)
{
	if (s->fd < 0)
		return;
	s->last = true;
	/* Writers may live on: take what is there, not what keeps coming. */
	for (int i = 0; i < 16 && stream_pump(s, log) > 0; i++)
		;
	time_text(pump_time);
	if (s->len)
		end_line(s, log, NULL, 0);
	flush(log);
	free(s->line);
	s->line = NULL;
	close(s->fd);
	s->fd = -1;
}

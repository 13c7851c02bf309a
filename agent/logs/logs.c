// SPDX-License-Identifier: Apache-2.0
/* Reading on: from file to file, record to line, and after the writer. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/logs/internal.h"
#include "lib/auto.h"
#include "lib/buf.h"
#include "lib/err.h"

#define BLOCK      (64 * 1024)
#define RECORD_MAX (LOG_LINE_MAX + LOG_HEAD_MAX)

/* The beginning of a line whose end has not come yet. */
struct pending {
	bool open;
	struct timespec time; /* of the first piece */
	char stamp[48];
	size_t stamp_len;
	struct buf text;
};

struct log_reader {
	int dir, epoll_fd, inotify_fd, event_fd;
	uint32_t attempt;
	struct log_opts opts;
	struct log_files files;
	size_t file;   /* being read */
	off_t offset;  /* of what is read next from it */
	off_t at;      /* of what stands at the head of in */
	struct buf in; /* read, not yet understood */
	bool skipping; /* up to the next newline: a record too long */
	bool reread;   /* the file has been rotated: once more to its end */
	struct log_place range; /* what is before only completes lines */
	struct pending pending[2];
	uint64_t given, skipped;
	bool finished, ended;
};

/* --- opening --- */

static int watch(struct log_reader *l, struct err *e)
{
	struct epoll_event io = { .events = EPOLLIN };
	char path[32];

	l->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	l->inotify_fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (l->inotify_fd < 0)
		return err_sys(e, "inotify (see sysctl "
				  "fs.inotify.max_user_instances)");
	l->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (l->epoll_fd < 0 || l->event_fd < 0)
		return err_sys(e, "epoll");
	snprintf(path, sizeof(path), "/proc/self/fd/%d", l->dir);
	if (inotify_add_watch(l->inotify_fd, path,
			      IN_MODIFY | IN_CREATE | IN_MOVED_FROM |
				      IN_MOVED_TO | IN_ONLYDIR) < 0)
		return err_sys(e, "watch the log folder");
	if (epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, l->inotify_fd, &io) < 0 ||
	    epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, l->event_fd, &io) < 0)
		return err_sys(e, "epoll");
	return 0;
}

/* Rotated files that were finished before it began have nothing to give. */
static void skip_older(struct log_reader *l)
{
	struct stat st;

	while (l->file + 1 < l->files.nr &&
	       fstat(l->files.fd[l->file], &st) == 0 &&
	       st.st_mtim.tv_sec + 1 < l->opts.since.tv_sec)
		l->file++;
}

static int find_start(struct log_reader *l, struct err *e)
{
	struct log_place start = { 0 };
	int r;

	if (l->opts.has_tail && l->opts.tail < LOG_TAIL_MAX) {
		r = log_tail_find(&l->files, &l->opts, &l->range, &start, e);
		if (r < 0)
			return r;
		l->file = start.file;
		l->offset = start.offset;
	} else if (l->opts.has_since) {
		skip_older(l);
	}
	l->at = l->offset;
	return 0;
}

int log_open(int dirfd, uint32_t attempt, const struct log_opts *opts,
	     struct log_reader **ret, struct err *e)
{
	auto_ptr(log_reader) l = calloc(1, sizeof(*l));
	int r;

	if (!l)
		return err_set(e, -ENOMEM, "out of memory");
	l->epoll_fd = l->inotify_fd = l->event_fd = -EBADF;
	l->attempt = attempt;
	l->opts = *opts;
	l->dir = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (l->dir < 0)
		return err_sys(e, "open the log folder");
	/* Watch first: what happens from now on is not missed. */
	r = opts->follow ? watch(l, e) : 0;
	if (r == 0)
		r = log_files_open(l->dir, attempt, &l->files, e);
	if (r < 0)
		return r;
	if (l->files.nr == 0)
		return err_set(e, -ENOENT, "no log '%u.log' yet", attempt);
	r = find_start(l, e);
	if (r < 0)
		return r;
	*ret = take_ptr(l);
	return 0;
}

void log_close(struct log_reader *l)
{
	if (!l)
		return;
	log_files_close(&l->files);
	for (int i = 0; i < 2; i++)
		buf_clear(&l->pending[i].text);
	buf_clear(&l->in);
	if (l->event_fd >= 0)
		close(l->event_fd);
	if (l->inotify_fd >= 0)
		close(l->inotify_fd);
	if (l->epoll_fd >= 0)
		close(l->epoll_fd);
	if (l->dir >= 0)
		close(l->dir);
	free(l);
}

int log_fd(const struct log_reader *l)
{
	return l->epoll_fd;
}

bool log_ended(const struct log_reader *l)
{
	return l->ended;
}

uint64_t log_skipped(const struct log_reader *l)
{
	return l->skipped;
}

void log_finish(struct log_reader *l)
{
	uint64_t one = 1;

	l->finished = true;
	if (l->event_fd >= 0) /* a full counter is readable as well */
		(void)!write(l->event_fd, &one, sizeof(one));
}

/* --- lines --- */

static bool before(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec != b->tv_sec ? a->tv_sec < b->tv_sec
				      : a->tv_nsec < b->tv_nsec;
}

static void give_bytes(struct log_reader *l, const char *s, size_t len,
		       struct buf *out)
{
	uint64_t limit = l->opts.limit_bytes;

	if (limit && len > limit - l->given)
		len = (size_t)(limit - l->given);
	buf_add(out, s, len);
	l->given += len;
	if (limit && l->given == limit)
		l->ended = true;
}

/* The line that is pending in @p goes out, and @p is free again. */
static void give(struct log_reader *l, struct pending *p, struct buf *out)
{
	if (p->open &&
	    !(l->opts.has_since && before(&p->time, &l->opts.since))) {
		if (l->opts.timestamps) {
			give_bytes(l, p->stamp, p->stamp_len, out);
			give_bytes(l, " ", 1, out);
		}
		give_bytes(l, buf_str(&p->text), p->text.len, out);
		give_bytes(l, "\n", 1, out);
	}
	p->open = false;
	/* A long line must not hold its memory for ever. */
	if (p->text.size > BLOCK)
		buf_clear(&p->text);
	else
		buf_reset(&p->text);
}

static bool in_range(const struct log_reader *l)
{
	return l->file > l->range.file ||
	       (l->file == l->range.file && l->at >= l->range.offset);
}

static int take_record(struct log_reader *l, const char *line, size_t len,
		       struct buf *out)
{
	struct log_record rec;
	struct pending *p;

	if (log_record_parse(line, len, &rec) < 0) {
		l->skipped++;
		return 0;
	}
	if (rec.is_stderr ? l->opts.no_stderr : l->opts.no_stdout)
		return 0;
	p = &l->pending[rec.is_stderr];
	if (!p->open) {
		p->open = true;
		p->time = rec.time;
		memcpy(p->stamp, rec.stamp, rec.stamp_len);
		p->stamp_len = rec.stamp_len;
	}
	buf_add(&p->text, rec.text, rec.text_len);
	if (buf_error(&p->text))
		return buf_error(&p->text);
	if (rec.partial && p->text.len < LOG_LINE_MAX)
		return 0;
	if (!in_range(l)) {
		p->open = false;
		buf_reset(&p->text);
		return 0;
	}
	give(l, p, out);
	return buf_error(out);
}

/* All whole records that are read, until @out has enough. */
static int take_records(struct log_reader *l, size_t enough, struct buf *out)
{
	size_t done = 0;
	int r = 0;

	while (r == 0 && !l->ended && out->len < enough && done < l->in.len) {
		const char *line = l->in.data + done;
		const char *nl = memchr(line, '\n', l->in.len - done);
		size_t len;

		if (!nl)
			break;
		len = (size_t)(nl - line);
		if (!l->skipping && len > 0)
			r = take_record(l, line, len, out);
		l->skipping = false;
		done += len + 1;
		l->at += (off_t)len + 1;
	}
	buf_consume(&l->in, done);
	return r;
}

/* No newline within reason: nothing of ours wrote that. */
static void drop_too_long(struct log_reader *l)
{
	if (l->in.len <= RECORD_MAX ||
	    memchr(l->in.data, '\n', l->in.len) != NULL)
		return;
	l->skipped += !l->skipping;
	l->skipping = true;
	l->at += (off_t)l->in.len;
	buf_reset(&l->in);
}

/* What a file ends with when its last newline is missing. */
static int take_torn(struct log_reader *l, struct buf *out)
{
	int r = 0;

	if (l->in.len && !l->skipping)
		r = take_record(l, l->in.data, l->in.len, out);
	l->skipping = false;
	buf_reset(&l->in);
	return r;
}

/* --- from file to file --- */

/* 1: read something, 0: at the end of the file. */
static int read_block(struct log_reader *l, struct err *e)
{
	int fd = l->files.fd[l->file];
	char *to = buf_reserve(&l->in, BLOCK);
	struct stat st;
	ssize_t n;

	if (!to)
		return err_set(e, -ENOMEM, "out of memory");
	n = pread(fd, to, BLOCK, l->offset);
	if (n < 0)
		return err_sys(e, "read the log");
	if (n > 0) {
		buf_commit(&l->in, (size_t)n);
		l->offset += n;
		return 1;
	}
	/* Somebody has cut it off: what is written now stands at its start. */
	if (fstat(fd, &st) == 0 && st.st_size < l->offset) {
		buf_reset(&l->in);
		l->skipping = false;
		l->offset = l->at = 0;
		return st.st_size > 0;
	}
	return 0;
}

static int next_file(struct log_reader *l, struct buf *out)
{
	int r = take_torn(l, out);

	close(l->files.fd[l->file]);
	l->files.fd[l->file] = -EBADF;
	l->file++;
	l->offset = l->at = 0;
	l->reread = false;
	return r;
}

/* Look for files that have come after the one being read, the last we know.
 * 1: there are some, in l->files behind it. */
static int find_newer(struct log_reader *l, struct err *e)
{
	struct log_files now;
	size_t i;
	int r;

	r = log_files_open(l->dir, l->attempt, &now, e);
	if (r < 0)
		return r;
	for (i = now.nr; i > 0; i--)
		if (log_same_file(now.fd[i - 1], l->files.fd[l->file]))
			break;
	if (i == now.nr) { /* still the newest, or none is there */
		log_files_close(&now);
		return 0;
	}
	/* Ours may be gone (i == 0): then all there are have come later. */
	for (size_t j = 0; j < i; j++)
		close(now.fd[j]);
	l->files.fd[0] = l->files.fd[l->file];
	l->files.nr = 1;
	l->range.file = 0;
	if (l->file > 0)
		l->range.offset = 0; /* it was in an earlier file */
	l->file = 0;
	for (; i < now.nr && l->files.nr < LOG_FILES_MAX; i++)
		l->files.fd[l->files.nr++] = now.fd[i];
	for (; i < now.nr; i++)
		close(now.fd[i]);
	return 1;
}

static void end(struct log_reader *l, struct buf *out)
{
	for (int i = 0; i < 2; i++)
		if (!l->ended)
			give(l, &l->pending[i], out);
	l->ended = true;
}

/* The file being read has nothing more. 1: there may be more elsewhere. */
static int at_end_of_file(struct log_reader *l, struct buf *out, struct err *e)
{
	int r;

	if (l->file + 1 < l->files.nr) {
		/* Between its end and its rotation it may have grown. */
		if (!l->reread) {
			l->reread = true;
			return 1;
		}
		r = next_file(l, out);
		return r < 0 ? err_set(e, r, "out of memory") : 1;
	}
	if (l->opts.follow) {
		r = find_newer(l, e);
		if (r != 0)
			return r;
		if (!l->finished)
			return 0;
	}
	r = take_torn(l, out);
	end(l, out);
	return r < 0 ? err_set(e, r, "out of memory") : 0;
}

static void drain(struct log_reader *l)
{
	char text[4096];

	if (l->inotify_fd < 0)
		return;
	while (read(l->inotify_fd, text, sizeof(text)) > 0)
		;
	(void)!read(l->event_fd, text, 8);
}

int log_read(struct log_reader *l, size_t max, struct buf *out, struct err *e)
{
	size_t enough = out->len + max;
	int r;

	drain(l); /* before looking, so that nothing is slept over */
	for (;;) {
		r = take_records(l, enough, out);
		if (r < 0)
			return err_set(e, r, "out of memory");
		if (l->ended)
			return 0;
		if (out->len >= enough)
			return 1;
		drop_too_long(l);
		r = read_block(l, e);
		if (r == 0)
			r = at_end_of_file(l, out, e);
		if (r <= 0)
			return r;
	}
}

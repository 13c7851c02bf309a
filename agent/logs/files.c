// SPDX-License-Identifier: Apache-2.0
/* The files of a log: which there are, and where its last lines begin. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/logs/internal.h"
#include "lib/auto.h"
#include "lib/err.h"
#include "lib/str.h"

#define BLOCK       (64 * 1024)
#define LOOK_BEHIND (256 * 1024) /* for the beginning of a line in pieces */

/* "7.log", "7.log.2" */
static bool attempt_of(const char *name, uint32_t *ret)
{
	const char *dot = strchr(name, '.');
	char number[16];
	uint64_t v;

	if (!dot || (size_t)(dot - name) >= sizeof(number))
		return false;
	memcpy(number, name, (size_t)(dot - name));
	number[dot - name] = '\0';
	if (str_to_u64(number, &v) < 0 || v > UINT32_MAX)
		return false;
	if (!str_eq(dot, ".log") && !str_starts(dot, ".log."))
		return false;
	*ret = (uint32_t)v;
	return true;
}

static int find_attempt(DIR *d, bool previous, uint32_t *ret)
{
	int64_t newest = -1, before = -1;
	struct dirent *ent;
	uint32_t n;

	while ((ent = readdir(d))) {
		if (!attempt_of(ent->d_name, &n) || n == newest || n == before)
			continue;
		if (n > newest) {
			before = newest;
			newest = n;
		} else if (n > before) {
			before = n;
		}
	}
	if (previous)
		newest = before;
	if (newest < 0)
		return -ENOENT;
	*ret = (uint32_t)newest;
	return 0;
}

int log_find_attempt(int dirfd, bool previous, uint32_t *ret, struct err *e)
{
	int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	int r;

	if (!d) {
		r = err_sys(e, "open the log folder");
		if (fd >= 0)
			close(fd);
		return r;
	}
	r = find_attempt(d, previous, ret);
	closedir(d);
	if (r < 0)
		return err_set(e, r,
			       previous ? "no log of a previous container: it "
					  "was not restarted"
					: "no log yet: the container has not "
					  "started");
	return 0;
}

bool log_same_file(int a, int b)
{
	struct stat x, y;

	return fstat(a, &x) == 0 && fstat(b, &y) == 0 && x.st_dev == y.st_dev &&
	       x.st_ino == y.st_ino;
}

void log_files_close(struct log_files *f)
{
	for (size_t i = 0; i < f->nr; i++)
		if (f->fd[i] >= 0)
			close(f->fd[i]);
	f->nr = 0;
}

static void reverse(struct log_files *f)
{
	for (size_t i = 0, j = f->nr; i + 1 < j; i++) {
		int fd = f->fd[i];

		f->fd[i] = f->fd[--j];
		f->fd[j] = fd;
	}
}

/*
 * Newest first: a rotation meanwhile then shows the same file under its next
 * name, where it is recognised, and hides none.
 */
int log_files_open(int dirfd, uint32_t attempt, struct log_files *ret,
		   struct err *e)
{
	struct log_files f = LOG_FILES_INIT;
	char name[48];

	for (int i = 0; i <= LOG_ROTATED_MAX; i++) {
		struct stat st;
		int fd;

		snprintf(name, sizeof(name), i ? "%u.log.%d" : "%u.log",
			 attempt, i);
		/* A pipe in its place must not hold us up. */
		fd = openat(dirfd, name,
			    O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
		if (fd < 0 && errno == ENOENT)
			continue; /* a gap: it is being rotated just now */
		if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
			int r = fd < 0 ? err_sys(e, "open '%s'", name)
				       : err_set(e, -EINVAL,
						 "'%s' is no regular file",
						 name);

			if (fd >= 0)
				close(fd);
			log_files_close(&f);
			return r;
		}
		if (f.nr && log_same_file(fd, f.fd[f.nr - 1]))
			close(fd);
		else
			f.fd[f.nr++] = fd;
	}
	reverse(&f);
	*ret = f;
	return 0;
}

/* --- the last lines --- */

struct tail {
	const struct log_opts *opts;
	uint64_t lines;         /* whole ones seen so far */
	bool ranged;            /* range is found */
	struct log_place range; /* begins here */
	struct log_place later; /* the record seen before this one */
	uint64_t behind;        /* bytes seen since range was found */
	bool whole[2]; /* per stream: no piece before belongs to the range */
};

static bool wanted(const struct log_opts *o, bool is_stderr)
{
	return is_stderr ? !o->no_stderr : !o->no_stdout;
}

/* One record of @size bytes, going backwards. True: it need not go on. */
static bool tail_note(struct tail *t, struct log_place at, size_t size,
		      const char *head, size_t len)
{
	struct log_record rec;

	if (t->ranged)
		t->behind += size;
	if (log_record_parse(head, len, &rec) == 0 && !rec.partial &&
	    wanted(t->opts, rec.is_stderr)) {
		if (!t->ranged && t->lines++ == t->opts->tail) {
			t->ranged = true;
			t->range = t->later;
		}
		if (t->ranged)
			t->whole[rec.is_stderr] = true;
	}
	if (t->ranged && ((t->whole[0] || t->opts->no_stdout) &&
			  (t->whole[1] || t->opts->no_stderr)))
		return true;
	if (t->behind > LOOK_BEHIND)
		return true;
	t->later = at;
	return false;
}

struct block {
	int fd;
	size_t file; /* its place in struct log_files */
	off_t offset;
	size_t len;
	char text[BLOCK];
};

/* All records that begin in @b, the last one first; the file ends at @end. */
static bool tail_block(struct tail *t, const struct block *b, off_t end)
{
	size_t i = b->len;

	for (;;) {
		const char *nl = i ? memrchr(b->text, '\n', i) : NULL;
		size_t begin = nl ? (size_t)(nl - b->text) + 1 : 0;
		struct log_place at = { b->file, b->offset + (off_t)begin };
		char head[LOG_HEAD_MAX];
		const char *stop;
		ssize_t n = LOG_HEAD_MAX;

		if (!nl && b->offset > 0)
			return false; /* it begins in an earlier block */
		if (begin + LOG_HEAD_MAX <= b->len)
			memcpy(head, b->text + begin, LOG_HEAD_MAX);
		else
			n = pread(b->fd, head, sizeof(head), at.offset);
		stop = n > 0 ? memchr(head, '\n', (size_t)n) : NULL;
		n = stop ? stop - head : n;
		/* Behind the newline that ends the file there is none. */
		if (at.offset < end && n >= 0 &&
		    tail_note(t, at, i - begin + 1, head, (size_t)n))
			return true;
		if (!nl)
			return false;
		i = (size_t)(nl - b->text);
	}
}

static int tail_file(struct tail *t, struct block *b, off_t end, struct err *e)
{
	off_t left = end;

	while (left > 0) {
		off_t n = left < BLOCK ? left : BLOCK;
		ssize_t got;

		b->offset = left - n;
		got = pread(b->fd, b->text, (size_t)n, b->offset);
		if (got < 0)
			return err_sys(e, "read the log");
		b->len = (size_t)got;
		if (tail_block(t, b, end))
			return 1;
		left -= n;
	}
	return 0;
}

int log_tail_find(const struct log_files *f, const struct log_opts *opts,
		  struct log_place *ret_range, struct log_place *ret_start,
		  struct err *e)
{
	auto_free struct block *b = malloc(sizeof(*b));
	struct tail t = { .opts = opts };
	struct stat st;
	int r = 0;

	if (!b)
		return err_set(e, -ENOMEM, "out of memory");
	for (size_t i = f->nr; r == 0 && i-- > 0;) {
		if (fstat(f->fd[i], &st) < 0)
			return err_sys(e, "stat of the log");
		if (i == f->nr - 1)
			t.later = (struct log_place){ i, st.st_size };
		b->fd = f->fd[i];
		b->file = i;
		r = tail_file(&t, b, st.st_size, e);
	}
	if (r < 0)
		return r;
	*ret_range = t.range; /* not found: all of it */
	*ret_start = r ? t.later : (struct log_place){ 0, 0 };
	return 0;
}

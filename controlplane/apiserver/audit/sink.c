// SPDX-License-Identifier: Apache-2.0
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "controlplane/apiserver/audit/sink.h"
#include "lib/auto.h"
#include "lib/buf.h"
#include "lib/err.h"
#include "lib/log.h"
#include "lib/str.h"

#define BACKUPS_MAX 4096

struct sink {
	struct sink_opts o;
	char *path, *dir, *base; /* base: without its extension */
	const char *ext;

	pthread_mutex_t lock; /* the queue and the counters */
	pthread_cond_t cond;
	struct buf queue;
	size_t queued; /* lines */
	bool stop, reopen;
	struct sink_stats stats;

	pthread_mutex_t file_lock; /* the file: of whoever writes */
	int fd;
	uint64_t size;
	bool failing;
	pthread_t thread;
	bool running;
};

/* --- the file --- */

static int open_file(struct sink *s, struct err *e)
{
	struct stat st;
	int fd;

	if (strcmp(s->path, "-") == 0) {
		s->fd = STDOUT_FILENO;
		return 0;
	}
	fd = open(s->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_sys(e, "audit log: open '%s'", s->path);
	if (fstat(fd, &st) < 0 || S_ISDIR(st.st_mode)) {
		close(fd);
		return err_set(e, -EINVAL, "audit log: '%s' is no file",
			       s->path);
	}
	if (s->fd > STDERR_FILENO)
		close(s->fd);
	s->fd = fd;
	s->size = S_ISREG(st.st_mode) ? (uint64_t)st.st_size : 0;
	return 0;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)b, *(char *const *)a);
}

/* Is it one of ours: BASE-2026-01-02T03-04-05.678EXT? */
static bool is_backup(const struct sink *s, const char *name)
{
	size_t n = strlen(s->base), len = strlen(name), e = strlen(s->ext);
	const char *at;

	if (len != n + 1 + 23 + e || strncmp(name, s->base, n) != 0 ||
	    name[n] != '-' || strcmp(name + len - e, s->ext) != 0)
		return false;
	at = name + n + 1;
	for (size_t i = 0; i < 23; i++)
		if (!strchr("0123456789-T.", at[i]))
			return false;
	return true;
}

static bool is_old(const struct sink *s, int dirfd, const char *name)
{
	struct stat st;

	return s->o.max_age_s &&
	       fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	       st.st_mtime + (time_t)s->o.max_age_s < time(NULL);
}

/* Too many, or too old. */
static void remove_backups(struct sink *s)
{
	DIR *d = opendir(s->dir);
	char *names[BACKUPS_MAX];
	struct dirent *it;
	size_t nr = 0;

	while (d && nr < BACKUPS_MAX && (it = readdir(d)))
		if (is_backup(s, it->d_name) &&
		    (names[nr] = strdup(it->d_name)))
			nr++;
	/* Names sort by time: the newest first. */
	qsort(names, nr, sizeof(char *), by_name);
	for (size_t i = 0; i < nr; i++) {
		if ((s->o.max_backups && i >= s->o.max_backups) ||
		    is_old(s, dirfd(d), names[i]))
			(void)unlinkat(dirfd(d), names[i], 0);
		free(names[i]);
	}
	if (d)
		closedir(d);
}

/* The name of the file that begins to be an old one at @t. */
static char *backup_name(const struct sink *s, const struct timespec *t)
{
	struct tm tm;
	char stamp[32];

	gmtime_r(&t->tv_sec, &tm);
	strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H-%M-%S", &tm);
	return str_printf("%s/%s-%s.%03ld%s", s->dir, s->base, stamp,
			  t->tv_nsec / 1000000, s->ext);
}

/* To a name that no file has: several may be full within a millisecond. */
static int move_away(struct sink *s)
{
	struct timespec t;
	int r = -EEXIST;

	clock_gettime(CLOCK_REALTIME, &t);
	for (int i = 0; i < 1000 && r == -EEXIST; i++) {
		auto_free char *to = backup_name(s, &t);

		if (!to)
			return -ENOMEM;
		r = renameat2(AT_FDCWD, s->path, AT_FDCWD, to,
			      RENAME_NOREPLACE) == 0
			    ? 0
			    : -errno;
		t.tv_nsec += 1000000;
		if (t.tv_nsec >= 1000000000) {
			t.tv_nsec -= 1000000000;
			t.tv_sec++;
		}
	}
	return r;
}

static void rotate(struct sink *s)
{
	struct err e = { 0 };
	int r = move_away(s);

	if (r < 0) {
		log_warn("audit log: '%s' cannot be rotated: %s, going on "
			 "with it",
			 s->path, strerror(-r));
		s->size = 0; /* tried again after as much */
		return;
	}
	if (open_file(s, &e) < 0)
		log_error("%s: going on with the rotated one", e.msg);
	remove_backups(s);
}

static void fail(struct sink *s, int code, size_t lines)
{
	pthread_mutex_lock(&s->lock);
	s->stats.dropped += lines;
	pthread_mutex_unlock(&s->lock);
	if (!s->failing)
		log_error("audit log: write '%s': %s: events are dropped until "
			  "that is over",
			  s->path, strerror(code));
	s->failing = true;
}

static size_t count_lines(const char *data, size_t len)
{
	size_t nr = 0;

	for (const char *p = data; (p = memchr(p, '\n', len - (p - data))); p++)
		nr++;
	return nr;
}

/* Write whole lines; what does not fit on the disk leaves no part of one. */
static void write_lines(struct sink *s, const char *data, size_t len,
			size_t lines)
{
	size_t done = 0, whole;
	int code = 0;

	while (done < len) {
		ssize_t n = write(s->fd, data + done, len - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			code = n < 0 ? errno : EIO;
			break;
		}
		done += (size_t)n;
	}
	s->size += done;
	if (code) {
		for (whole = done; whole && data[whole - 1] != '\n';)
			whole--;
		if (whole < done &&
		    ftruncate(s->fd, (off_t)(s->size - (done - whole))) == 0)
			s->size -= done - whole;
		done = count_lines(data, whole);
		fail(s, code, lines - done);
		lines = done;
	} else if (s->failing) {
		s->failing = false;
		log_info("audit log: '%s' is written again", s->path);
	}
	pthread_mutex_lock(&s->lock);
	s->stats.written += lines;
	pthread_mutex_unlock(&s->lock);
}

/* How many bytes of whole lines the present file has room for; if for none, the
 * next one's; one line at least. */
static size_t fit(const struct sink *s, const char *data, size_t len)
{
	uint64_t max = s->o.max_bytes;
	uint64_t room = s->size < max ? max - s->size : 0;
	const char *end;

	if (s->fd == STDOUT_FILENO || len <= room)
		return len;
	end = room ? memrchr(data, '\n', room) : NULL;
	if (!end)
		end = memrchr(data, '\n', len < max ? len : max);
	if (!end)
		end = memchr(data, '\n', len);
	return end ? (size_t)(end - data) + 1 : len;
}

static void write_batch(struct sink *s, const char *data, size_t len,
			size_t lines, bool reopen)
{
	struct err e = { 0 };

	pthread_mutex_lock(&s->file_lock);
	if (reopen && open_file(s, &e) < 0)
		log_error("%s: going on with the one that is open", e.msg);
	while (len) {
		size_t n = fit(s, data, len);
		size_t nr = n == len ? lines : count_lines(data, n);

		if (s->size && s->size + n > s->o.max_bytes &&
		    s->fd != STDOUT_FILENO)
			rotate(s);
		write_lines(s, data, n, nr);
		data += n;
		len -= n;
		lines -= nr;
	}
	pthread_mutex_unlock(&s->file_lock);
}

/* --- the queue --- */

static void *run(void *arg)
{
	struct sink *s = arg;
	struct buf batch = BUF_INIT;

	pthread_mutex_lock(&s->lock);
	for (;;) {
		struct buf b;
		size_t lines;
		bool reopen;

		while (!s->stop && !s->queue.len && !s->reopen)
			pthread_cond_wait(&s->cond, &s->lock);
		if (!s->queue.len && !s->reopen)
			break;
		b = s->queue;
		s->queue = batch;
		batch = b;
		lines = s->queued;
		s->queued = 0;
		reopen = s->reopen;
		s->reopen = false;
		pthread_mutex_unlock(&s->lock);
		write_batch(s, batch.data, batch.len, lines, reopen);
		/* What a burst has needed is given back. */
		if (batch.size > 256 * 1024 || buf_error(&batch))
			buf_clear(&batch);
		else
			buf_reset(&batch);
		pthread_mutex_lock(&s->lock);
	}
	pthread_mutex_unlock(&s->lock);
	buf_clear(&batch);
	return NULL;
}

void sink_put(struct sink *s, const char *line, size_t len)
{
	bool first;

	if (s->o.blocking) {
		write_batch(s, line, len, 1, false);
		return;
	}
	pthread_mutex_lock(&s->lock);
	first = !s->queue.len;
	if (s->queue.len + len > SINK_QUEUE_MAX ||
	    buf_add(&s->queue, line, len) < 0)
		s->stats.dropped++;
	else
		s->queued++;
	if (first)
		pthread_cond_signal(&s->cond);
	pthread_mutex_unlock(&s->lock);
}

void sink_reopen(struct sink *s)
{
	pthread_mutex_lock(&s->lock);
	s->reopen = true;
	pthread_cond_signal(&s->cond);
	pthread_mutex_unlock(&s->lock);
}

void sink_stats(struct sink *s, struct sink_stats *ret)
{
	pthread_mutex_lock(&s->lock);
	*ret = s->stats;
	pthread_mutex_unlock(&s->lock);
}

/* --- life --- */

static int cut_path(struct sink *s)
{
	const char *slash = strrchr(s->path, '/');
	const char *name = slash ? slash + 1 : s->path;
	const char *dot = strrchr(name, '.');

	s->ext = dot && dot != name ? dot : "";
	s->dir = !slash             ? strdup(".")
		 : slash == s->path ? strdup("/")
				    : strndup(s->path, slash - s->path);
	s->base = *s->ext ? strndup(name, dot - name) : strdup(name);
	return s->dir && s->base ? 0 : -ENOMEM;
}

int sink_open(const struct sink_opts *o, struct sink **ret, struct err *e)
{
	struct sink *s = calloc(1, sizeof(*s));
	int r = -ENOMEM, rc;

	if (!s)
		return err_set(e, -ENOMEM, "out of memory");
	s->o = *o;
	s->fd = -EBADF;
	pthread_mutex_init(&s->lock, NULL);
	pthread_mutex_init(&s->file_lock, NULL);
	pthread_cond_init(&s->cond, NULL);
	s->path = strdup(o->path);
	if (s->path && cut_path(s) == 0)
		r = open_file(s, e);
	if (r == 0 && s->fd != STDOUT_FILENO)
		remove_backups(s);
	if (r == 0) {
		rc = pthread_create(&s->thread, NULL, run, s);
		s->running = !rc;
		r = rc ? err_set(e, -rc, "cannot start a thread") : 0;
	}
	if (r < 0) {
		sink_close(s);
		return r;
	}
	*ret = s;
	return 0;
}

void sink_close(struct sink *s)
{
	if (!s)
		return;
	pthread_mutex_lock(&s->lock);
	s->stop = true;
	pthread_cond_signal(&s->cond);
	pthread_mutex_unlock(&s->lock);
	if (s->running)
		pthread_join(s->thread, NULL);
	if (s->fd > STDERR_FILENO)
		close(s->fd);
	buf_clear(&s->queue);
	pthread_mutex_destroy(&s->lock);
	pthread_mutex_destroy(&s->file_lock);
	pthread_cond_destroy(&s->cond);
	free(s->path);
	free(s->dir);
	free(s->base);
	free(s);
}

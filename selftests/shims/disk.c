// SPDX-License-Identifier: Apache-2.0
/*
 * A disk that fails and forgets, for files named data.mdb.
 *
 * SHIM_DISK_JOURNAL=FILE: before each write the bytes it replaces go to FILE
 * (struct journal_head, then the bytes), and a successful fsync empties it. So
 * after kill -9 the file holds what a power cut may undo, sector by sector.
 * Writes through an O_DSYNC descriptor are durable when they return.
 *
 * shim_disk_fail() (found by dlsym(3)) lets coming calls fail.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

struct journal_head {
	uint64_t off;
	uint64_t len; /* bytes asked for */
	uint64_t had; /* something was there */
};

/* After @skip more calls, @nr calls fail with @err; a write first writes half
 * of its bytes when @torn. */
void shim_disk_fail(int err, int skip, int nr, int torn);
int shim_disk_failed(void);

ssize_t pwritev64(int fd, const struct iovec *iov, int nr, off64_t off);

static atomic_int fail_err, fail_skip, fail_nr, fail_torn, fired;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int journal = -2;

void shim_disk_fail(int err, int skip, int nr, int torn)
{
	atomic_store(&fail_nr, 0);
	atomic_store(&fail_err, err);
	atomic_store(&fail_skip, skip);
	atomic_store(&fail_torn, torn);
	atomic_store(&fail_nr, nr);
}

int shim_disk_failed(void)
{
	return atomic_load(&fired);
}

static int fails(void)
{
	if (atomic_load(&fail_nr) <= 0)
		return 0;
	if (atomic_load(&fail_skip) > 0) {
		atomic_fetch_sub(&fail_skip, 1);
		return 0;
	}
	atomic_fetch_sub(&fail_nr, 1);
	atomic_fetch_add(&fired, 1);
	return atomic_load(&fail_err);
}

static int ours(int fd)
{
	char link[64], path[512];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof(path));
	return n >= 8 && memcmp(path + n - 8, "data.mdb", 8) == 0;
}

static void open_journal(void)
{
	const char *path = getenv("SHIM_DISK_JOURNAL");

	if (journal == -2)
		journal = path ? open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600)
			       : -1;
}

/* Remember what a write replaces. Returns where the record begins. */
static off_t note(int fd, off_t off, size_t len)
{
	struct journal_head h = { .off = off, .len = len };
	off_t at;
	char *old;

	open_journal();
	if (journal < 0)
		return 0;
	old = calloc(1, len);
	at = lseek(journal, 0, SEEK_END);
	if (old) {
		/* The descriptor may be for writing only. */
		char self[64];
		int in;

		snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
		in = open(self, O_RDONLY | O_CLOEXEC);
		h.had = pread(in, old, len, off) > 0;
		close(in);
		syscall(SYS_pwrite64, journal, old, len, at + sizeof(h));
		syscall(SYS_pwrite64, journal, &h, sizeof(h), at);
		free(old);
	}
	return at;
}

static ssize_t write_at(int fd, const struct iovec *iov, int nr, off_t off)
{
	int dsync = fcntl(fd, F_GETFL) & O_DSYNC;
	size_t len = 0;
	ssize_t n = -1;
	off_t at;
	int err;

	for (int i = 0; i < nr; i++)
		len += iov[i].iov_len;
	pthread_mutex_lock(&lock);
	at = note(fd, off, len);
	err = fails();
	if (!err)
		n = syscall(SYS_pwritev, fd, iov, nr, off, 0);
	else if (atomic_load(&fail_torn))
		(void)!syscall(SYS_pwrite64, fd, iov[0].iov_base,
			       iov[0].iov_len / 2, off);
	if (dsync && !err && journal >= 0)
		(void)!ftruncate(journal, at);
	pthread_mutex_unlock(&lock);
	if (err) {
		errno = err;
		return -1;
	}
	return n;
}

ssize_t pwrite(int fd, const void *buf, size_t len, off_t off)
{
	struct iovec iov = { (void *)buf, len };

	if (!ours(fd))
		return syscall(SYS_pwrite64, fd, buf, len, off);
	return write_at(fd, &iov, 1, off);
}

ssize_t pwrite64(int fd, const void *buf, size_t len, off64_t off)
{
	return pwrite(fd, buf, len, off);
}

ssize_t pwritev(int fd, const struct iovec *iov, int nr, off_t off)
{
	if (!ours(fd))
		return syscall(SYS_pwritev, fd, iov, nr, off, 0);
	return write_at(fd, iov, nr, off);
}

ssize_t pwritev64(int fd, const struct iovec *iov, int nr, off64_t off)
{
	return pwritev(fd, iov, nr, off);
}

ssize_t writev(int fd, const struct iovec *iov, int nr)
{
	off_t at;
	ssize_t n;

	if (!ours(fd))
		return syscall(SYS_writev, fd, iov, nr);
	at = lseek(fd, 0, SEEK_CUR);
	n = write_at(fd, iov, nr, at);
	if (n > 0)
		lseek(fd, at + n, SEEK_SET);
	return n;
}

ssize_t write(int fd, const void *buf, size_t len)
{
	struct iovec iov = { (void *)buf, len };

	if (!ours(fd))
		return syscall(SYS_write, fd, buf, len);
	return writev(fd, &iov, 1);
}

static int sync_fd(int fd, long nr)
{
	int err = 0, r = -1;

	if (!ours(fd))
		return syscall(nr, fd);
	pthread_mutex_lock(&lock);
	err = fails();
	if (!err)
		r = syscall(nr, fd);
	open_journal();
	if (r == 0 && journal >= 0)
		(void)!ftruncate(journal, 0);
	pthread_mutex_unlock(&lock);
	if (err)
		errno = err;
	return r;
}

int fsync(int fd)
{
	return sync_fd(fd, SYS_fsync);
}

int fdatasync(int fd)
{
	return sync_fd(fd, SYS_fdatasync);
}

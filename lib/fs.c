// SPDX-License-Identifier: Apache-2.0
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/auto.h"
#include "lib/buf.h"
#include "lib/err.h"
#include "lib/fs.h"

#define FS_DEPTH_MAX 256

int fs_read(int dirfd, const char *path, size_t max, struct buf *b,
	    struct err *e)
{
	auto_close int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC);
	int r;

	if (fd < 0)
		return err_sys(e, "open '%s'", path);
	r = buf_read_fd(b, fd, max);
	if (r == -EFBIG)
		return err_set(e, r, "'%s' is larger than %zu bytes", path,
			       max);
	if (r < 0)
		return err_wrap(e, r, "read '%s'", path);
	return 0;
}

int fs_write_control(int dirfd, const char *path, const char *text,
		     struct err *e)
{
	auto_close int fd = openat(dirfd, path, O_WRONLY | O_CLOEXEC);
	size_t len = strlen(text);
	ssize_t n;

	if (fd < 0)
		return err_sys(e, "open '%s'", path);
	n = write(fd, text, len);
	if (n < 0)
		return err_sys(e, "write '%s' to '%s'", text, path);
	if ((size_t)n != len)
		return err_set(e, -EIO, "write to '%s': %zd of %zu bytes taken",
			       path, n, len);
	return 0;
}

static int write_all(int fd, const char *data, size_t len)
{
	while (len) {
		ssize_t n = write(fd, data, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		data += n;
		len -= (size_t)n;
	}
	return 0;
}

static int sync_parent(int dirfd, const char *path, struct err *e)
{
	const char *slash = strrchr(path, '/');
	auto_free char *dir =
		slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
	auto_close int fd = -EBADF;

	if (!dir)
		return err_set(e, -ENOMEM, "out of memory");
	fd = openat(dirfd, dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return err_sys(e, "open '%s'", dir);
	if (fsync(fd) < 0)
		return err_sys(e, "fsync '%s'", dir);
	return 0;
}

int fs_write_atomic(int dirfd, const char *path, const void *data, size_t len,
		    mode_t mode, struct err *e)
{
	static atomic_uint serial;
	char tmp[PATH_MAX];
	int fd, r;

	if (snprintf(tmp, sizeof(tmp), "%s.%d.%u.tmp", path, (int)getpid(),
		     atomic_fetch_add(&serial, 1)) >= (int)sizeof(tmp))
		return err_set(e, -ENAMETOOLONG, "path too long: '%s'", path);
	fd = openat(dirfd, tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
	if (fd < 0)
		return err_sys(e, "create '%s'", tmp);
	r = write_all(fd, data, len);
	if (r == 0 && fsync(fd) < 0)
		r = -errno;
	close(fd);
	if (r < 0) {
		r = err_wrap(e, r, "write '%s'", path);
		goto undo_create;
	}
	if (renameat(dirfd, tmp, dirfd, path) < 0) {
		r = err_sys(e, "rename to '%s'", path);
		goto undo_create;
	}
	return sync_parent(dirfd, path, e);

undo_create:
	(void)unlinkat(dirfd, tmp, 0); /* the first failure is the story */
	return r;
}

int fs_mkdirs(const char *path, mode_t mode, struct err *e)
{
	auto_free char *p = strdup(path);

	if (!p)
		return err_set(e, -ENOMEM, "out of memory");
	for (char *s = p + 1; *s; s++) {
		if (*s != '/')
			continue;
		*s = '\0';
		if (mkdir(p, mode) < 0 && errno != EEXIST)
			return err_sys(e, "mkdir '%s'", p);
		*s = '/';
	}
	if (mkdir(p, mode) < 0 && errno != EEXIST)
		return err_sys(e, "mkdir '%s'", p);
	return 0;
}

static int remove_at(int dirfd, const char *name, dev_t dev, int depth,
		     struct err *e);

static int remove_content(int fd, dev_t dev, int depth, struct err *e)
{
	DIR *d = fdopendir(fd);
	struct dirent *ent;
	int r = 0;

	if (!d) {
		r = err_sys(e, "read directory");
		close(fd);
		return r;
	}
	while (r == 0 && (ent = readdir(d))) {
		if (strcmp(ent->d_name, ".") == 0 ||
		    strcmp(ent->d_name, "..") == 0)
			continue;
		r = remove_at(fd, ent->d_name, dev, depth + 1, e);
	}
	closedir(d);
	return r;
}

static int remove_at(int dirfd, const char *name, dev_t dev, int depth,
		     struct err *e)
{
	struct stat st;
	int fd, r;

	if (unlinkat(dirfd, name, 0) == 0 || errno == ENOENT)
		return 0;
	if (errno != EISDIR && errno != EPERM)
		return err_sys(e, "unlink '%s'", name);
	if (depth > FS_DEPTH_MAX)
		return err_set(e, -ELOOP, "'%s' is nested too deeply", name);
	fd = openat(dirfd, name,
		    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return err_sys(e, "open '%s'", name);
	if (fstat(fd, &st) < 0) {
		r = err_sys(e, "stat '%s'", name);
		close(fd);
		return r;
	}
	if (dev && st.st_dev != dev) {
		close(fd);
		return err_set(e, -EXDEV, "'%s' is a mount point", name);
	}
	r = remove_content(fd, st.st_dev, depth, e); /* closes fd */
	if (r < 0)
		return r;
	if (unlinkat(dirfd, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
		return err_sys(e, "rmdir '%s'", name);
	return 0;
}

int fs_remove_tree(int dirfd, const char *path, struct err *e)
{
	return remove_at(dirfd, path, 0, 0, e);
}

bool fs_exists(int dirfd, const char *path)
{
	return faccessat(dirfd, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

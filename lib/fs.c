// SPDX-License-Identifier: Apache-2.0
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdbool.h>
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

static int replace(int dirfd, const char *path, const void *data, size_t len,
		   mode_t mode, bool durably, struct err *e)
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
	if (r == 0 && durably && fsync(fd) < 0)
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
	return durably ? sync_parent(dirfd, path, e) : 0;

undo_create:
	(void)unlinkat(dirfd, tmp, 0); /* the first failure is the story */
	return r;
}

int fs_write_atomic(int dirfd, const char *path, const void *data, size_t len,
		    mode_t mode, struct err *e)
{
	return replace(dirfd, path, data, len, mode, true, e);
}

int fs_write_quick(int dirfd, const char *path, const void *data, size_t len,
		   mode_t mode, struct err *e)
{
	return replace(dirfd, path, data, len, mode, false, e);
}

int fs_settle(int dirfd, const char *from, const char *to, struct err *e)
{
	auto_close int fd =
		openat(dirfd, from, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

	if (fd < 0)
		return err_sys(e, "open '%s'", from);
	if (fsync(fd) < 0)
		return err_sys(e, "fsync '%s'", from);
	if (renameat(dirfd, from, dirfd, to) < 0)
		return err_sys(e, "rename to '%s'", to);
	return sync_parent(dirfd, to, e);
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

struct removing {
	int top; /* the tree's root */
	dev_t dev;
	unsigned int serial;
	bool moved; /* something from the depths into the root */
};

static int remove_at(struct removing *m, int dirfd, const char *name, int depth,
		     struct err *e);

/* Takes @fd. */
static int remove_content(struct removing *m, int fd, int depth, struct err *e)
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
		r = remove_at(m, fd, ent->d_name, depth + 1, e);
	}
	closedir(d);
	return r;
}

/* Whoever nests folders too deeply for our stack shall not make them stay for
 * ever: bring what is too deep up to the root, for the next round. */
static int raise_deep(struct removing *m, int dirfd, const char *name,
		      struct err *e)
{
	char up[64];

	do
		(void)snprintf(up, sizeof(up), ".deep.%u", m->serial++);
	while (fs_exists(m->top, up));
	if (renameat(dirfd, name, m->top, up) < 0)
		return err_sys(e, "'%s' is nested too deeply: move it up",
			       name);
	m->moved = true;
	return 0;
}

static int open_folder(const struct removing *m, int dirfd, const char *name,
		       struct err *e)
{
	auto_close int fd =
		openat(dirfd, name,
		       O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;

	if (fd < 0)
		return err_sys(e, "open '%s'", name);
	if (fstat(fd, &st) < 0)
		return err_sys(e, "stat '%s'", name);
	if (st.st_dev != m->dev)
		return err_set(e, -EXDEV, "'%s' is a mount point", name);
	return take_fd(&fd);
}

static int remove_at(struct removing *m, int dirfd, const char *name, int depth,
		     struct err *e)
{
	int fd, r;

	if (unlinkat(dirfd, name, 0) == 0 || errno == ENOENT)
		return 0;
	if (errno != EISDIR && errno != EPERM)
		return err_sys(e, "unlink '%s'", name);
	if (depth > FS_DEPTH_MAX)
		return raise_deep(m, dirfd, name, e);
	fd = open_folder(m, dirfd, name, e);
	if (fd < 0)
		return fd;
	r = remove_content(m, fd, depth, e);
	if (r < 0)
		return r;
	if (unlinkat(dirfd, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
		return err_sys(e, "rmdir '%s'", name);
	return 0;
}

int fs_remove_tree(int dirfd, const char *path, struct err *e)
{
	struct removing m = { .top = -EBADF };
	auto_close int top = -EBADF;
	struct stat st;
	int r, fd;

	if (unlinkat(dirfd, path, 0) == 0 || errno == ENOENT)
		return 0;
	if (errno != EISDIR && errno != EPERM)
		return err_sys(e, "unlink '%s'", path);
	top = openat(dirfd, path,
		     O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (top < 0)
		return err_sys(e, "open '%s'", path);
	if (fstat(top, &st) < 0)
		return err_sys(e, "stat '%s'", path);
	m.top = top;
	m.dev = st.st_dev;
	do {
		m.moved = false;
		fd = openat(top, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		r = fd < 0 ? err_sys(e, "open '%s'", path)
			   : remove_content(&m, fd, 0, e);
	} while (r == 0 && m.moved);
	if (r < 0)
		return r;
	if (unlinkat(dirfd, path, AT_REMOVEDIR) < 0 && errno != ENOENT)
		return err_sys(e, "rmdir '%s'", path);
	return 0;
}

bool fs_exists(int dirfd, const char *path)
{
	return faccessat(dirfd, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

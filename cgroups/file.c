// SPDX-License-Identifier: Apache-2.0
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cgroups/internal.h"
#include "lib/auto.h"
#include "lib/err.h"

bool cg_is_v2(const struct cg *cg, enum cg_controller c)
{
	return cg->unified >= 0 && cg->at[c] == cg->unified;
}

int cg_dir(const struct cg *cg, enum cg_controller c, struct err *e)
{
	if (cg->at[c] >= 0)
		return cg->dir[(int)cg->at[c]];
	if ((cg->flags & CG_THREADED) && !(CG_THREADED_BITS & CG_BIT(c)))
		return err_set(e, -ENOENT,
			       "cgroup '%s': %s is not for threads: use its "
			       "parent",
			       cg->path, cg_controller_name(c));
	return err_set(e, -ENOENT,
		       "cgroup '%s': no %s controller: this host does not "
		       "provide or delegate it",
		       cg->path, cg_controller_name(c));
}

static int write_once(int fd, const char *name, const char *text, struct err *e)
{
	size_t len = strlen(text);
	/* The kernel parses every write(2) by itself, so never split one. */
	ssize_t n = write(fd, text, len);

	if (n < 0)
		return err_sys(e, "write '%s' to '%s'", text, name);
	if ((size_t)n != len)
		return err_set(e, -EIO, "write to '%s': %zd of %zu bytes taken",
			       name, n, len);
	return 0;
}

int cg_file_write(int dir, const char *name, const char *text, struct err *e)
{
	auto_close int fd = -EBADF;

	fd = openat(dir, name, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 && errno == ENOENT)
		return err_set(e, -ENOENT,
			       "no '%s': is its controller enabled?", name);
	if (fd < 0)
		return err_sys(e, "open '%s'", name);
	return write_once(fd, name, text, e);
}

int cg_file_read(int dir, const char *name, char *buf, size_t size,
		 struct err *e)
{
	auto_close int fd = -EBADF;
	size_t len = 0;
	ssize_t n;

	fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 && errno == ENOENT)
		return err_set(e, -ENOENT,
			       "no '%s': is its controller enabled?", name);
	if (fd < 0)
		return err_sys(e, "open '%s'", name);
	do {
		n = read(fd, buf + len, size - 1 - len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_sys(e, "read '%s'", name);
		len += (size_t)n;
	} while (n > 0 && len < size - 1);
	if (len == size - 1)
		return err_set(e, -EFBIG, "'%s' is larger than %zu bytes", name,
			       size - 2);
	buf[len] = '\0';
	return (int)len;
}

static int in_cgroup(const struct cg *cg, int r, struct err *e)
{
	return r < 0 ? err_wrap(e, r, "cgroup '%s'", cg->path) : r;
}

int cg_write(const struct cg *cg, enum cg_controller c, const char *name,
	     const char *text, struct err *e)
{
	int dir = cg_dir(cg, c, e);

	if (dir < 0)
		return dir;
	return in_cgroup(cg, cg_file_write(dir, name, text, e), e);
}

int cg_write_u64(const struct cg *cg, enum cg_controller c, const char *name,
		 uint64_t value, struct err *e)
{
	char text[24];

	snprintf(text, sizeof(text), "%" PRIu64, value);
	return cg_write(cg, c, name, text, e);
}

int cg_write_held(const struct cg *cg, enum cg_hold_file which,
		  enum cg_controller c, const char *name, const char *text,
		  struct err *e)
{
	if (cg->hold[which] < 0)
		return cg_write(cg, c, name, text, e);
	return in_cgroup(cg, write_once(cg->hold[which], name, text, e), e);
}

int cg_read(const struct cg *cg, enum cg_controller c, const char *name,
	    char *buf, size_t size, struct err *e)
{
	int dir = cg_dir(cg, c, e);

	if (dir < 0)
		return dir;
	return in_cgroup(cg, cg_file_read(dir, name, buf, size, e), e);
}

int cg_read_u64(const struct cg *cg, enum cg_controller c, const char *name,
		uint64_t *ret, struct err *e)
{
	char text[64];
	int r;

	r = cg_read(cg, c, name, text, sizeof(text), e);
	if (r < 0)
		return r;
	if (cg_u64_parse(text, ret) < 0)
		return err_set(e, -EBADMSG, "cgroup '%s': '%s' is no number",
			       cg->path, name);
	return 0;
}

int cg_unsupported(const struct cg *cg, const char *what, struct err *e)
{
	return err_set(e, -EOPNOTSUPP,
		       "cgroup '%s': %s needs cgroup v2; this host keeps the "
		       "controller on v1 (boot with "
		       "systemd.unified_cgroup_hierarchy=1)",
		       cg->path, what);
}

DIR *cg_opendir(int dir)
{
	int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d;

	if (fd < 0)
		return NULL;
	d = fdopendir(fd);
	if (!d)
		close(fd);
	return d;
}

static int walk_children(DIR *d, int dir, int depth,
			 int (*fn)(int dir, void *arg, struct err *e),
			 void *arg, struct err *e)
{
	struct dirent *ent;
	int r = 0;

	while (r == 0 && (ent = readdir(d))) {
		auto_close int fd = -EBADF;

		if (ent->d_type != DT_DIR || ent->d_name[0] == '.')
			continue;
		fd = openat(dir, ent->d_name,
			    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (fd < 0 && errno == ENOENT)
			continue; /* removed since */
		if (fd < 0)
			return err_sys(e, "open '%s'", ent->d_name);
		r = cg_walk(fd, depth - 1, fn, arg, e);
	}
	return r;
}

int cg_walk(int dir, int depth, int (*fn)(int dir, void *arg, struct err *e),
	    void *arg, struct err *e)
{
	DIR *d;
	int r;

	if (depth < 0)
		return err_set(e, -ELOOP, "more than %d levels of cgroups",
			       CG_DEPTH_MAX);
	d = cg_opendir(dir);
	if (!d && errno == ENOENT)
		return 0; /* removed since */
	if (!d)
		return err_sys(e, "list cgroup");
	r = walk_children(d, dir, depth, fn, arg, e);
	closedir(d);
	return r < 0 ? r : fn(dir, arg, e);
}

// SPDX-License-Identifier: Apache-2.0
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "agent/volume/payload.h"
#include "lib/auto.h"
#include "lib/buf.h"
#include "lib/err.h"
#include "lib/fs.h"
#include "lib/str.h"

#define DATA     "..data"
#define DATA_NEW "..data_tmp"
#define SLOT_MAX 32

static int check_path(const char *path, struct err *e)
{
	const char *s = path;

	if (!*path || *path == '/' || str_starts(path, "..") ||
	    strlen(path) >= PATH_MAX)
		return err_set(e, -EINVAL,
			       "file '%.128s': want a relative path that does "
			       "not begin with '..'",
			       path);
	for (;;) {
		size_t len = strcspn(s, "/");

		if (!len || (len == 1 && *s == '.') ||
		    (len == 2 && s[0] == '.' && s[1] == '.'))
			return err_set(e, -EINVAL,
				       "file '%.128s': no empty part, '.' or "
				       "'..' in a path",
				       path);
		if (!s[len])
			return 0;
		s += len + 1;
	}
}

static int check(const struct payload_file *files, size_t nr, struct err *e)
{
	size_t sum = 0;

	if (nr > PAYLOAD_FILES_MAX)
		return err_set(e, -E2BIG, "%zu files; at most %d", nr,
			       PAYLOAD_FILES_MAX);
	for (size_t i = 0; i < nr; i++) {
		int r = check_path(files[i].path, e);

		if (r < 0)
			return r;
		if (files[i].len > PAYLOAD_BYTES_MAX - sum)
			return err_set(e, -E2BIG, "more than %d bytes in all",
				       PAYLOAD_BYTES_MAX);
		sum += files[i].len;
	}
	return 0;
}

static size_t top_len(const char *path)
{
	return strcspn(path, "/");
}

/* --- is it there already? --------------------------------------------------
 */

static bool is_same(int slot, const struct payload_file *f, mode_t add)
{
	auto_close int fd =
		openat(slot, f->path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	auto_buf struct buf b = BUF_INIT;
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) ||
	    (st.st_mode & 07777) != (f->mode | add) ||
	    (size_t)st.st_size != f->len ||
	    buf_read_fd(&b, fd, PAYLOAD_BYTES_MAX) < 0)
		return false;
	return b.len == f->len && memcmp(buf_str(&b), f->data, f->len) == 0;
}

/* Files below a folder of ours; -1 when it cannot be told. */
static long count_files(int fd)
{
	int copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = copy >= 0 ? fdopendir(copy) : NULL;
	struct dirent *ent;
	long sum = 0;

	if (!d) {
		auto_close_(&copy);
		return -1;
	}
	while (sum >= 0 && (ent = readdir(d))) {
		auto_close int sub = -EBADF;
		long below;

		if (str_eq(ent->d_name, ".") || str_eq(ent->d_name, ".."))
			continue;
		sub = openat(copy, ent->d_name,
			     O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (sub < 0) {
			sum++;
			continue;
		}
		below = count_files(sub);
		sum = below < 0 ? -1 : sum + below;
	}
	closedir(d);
	return sum;
}

static bool is_current(int dir, const char *slot_name,
		       const struct payload_file *files, size_t nr, mode_t add)
{
	auto_close int slot = -EBADF;

	if (!*slot_name)
		return false;
	slot = openat(dir, slot_name,
		      O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (slot < 0 || count_files(slot) != (long)nr)
		return false;
	for (size_t i = 0; i < nr; i++)
		if (!is_same(slot, &files[i], add))
			return false;
	return true;
}

/* --- writing -----------------------------------------------------------------
 */

static int make_folders(int slot, const char *path,
			const struct payload_owner *own, struct err *e)
{
	auto_free char *part = strdup(path);

	if (!part)
		return err_set(e, -ENOMEM, "out of memory");
	for (char *s = part; (s = strchr(s, '/')); s++) {
		*s = '\0';
		if (mkdirat(slot, part, 0755) < 0) {
			struct stat st;

			if (errno != EEXIST)
				return err_sys(e, "mkdir '%s'", part);
			if (fstatat(slot, part, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
			    !S_ISDIR(st.st_mode))
				return err_set(e, -EEXIST,
					       "'%s' is a file and a folder",
					       part);
		} else if (fchownat(slot, part, own->uid, own->gid, 0) < 0 ||
			   fchmodat(slot, part, 0755, 0) < 0) {
			return err_sys(e, "set owner of '%s'", part);
		}
		*s = '/';
	}
	return 0;
}

static int write_file(int slot, const struct payload_file *f,
		      const struct payload_owner *own, struct err *e)
{
	const char *data = f->data;
	auto_close int fd = -EBADF;
	size_t at = 0;
	int r = make_folders(slot, f->path, own, e);

	if (r < 0)
		return r;
	fd = openat(slot, f->path,
		    O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0 && (errno == EEXIST || errno == EISDIR))
		return err_set(e, -EEXIST, "file '%.128s' is there twice",
			       f->path);
	if (fd < 0)
		return err_sys(e, "create '%.128s'", f->path);
	while (at < f->len) {
		ssize_t n = write(fd, data + at, f->len - at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_sys(e, "write '%.128s'", f->path);
		at += (size_t)n;
	}
	if (fchown(fd, own->uid, own->gid) < 0 ||
	    fchmod(fd, f->mode | own->add) < 0)
		return err_sys(e, "set owner and mode of '%.128s'", f->path);
	return 0;
}

/* Names no slot had before: a reader may still be in an old one. */
static int make_slot(int dir, char name[SLOT_MAX],
		     const struct payload_owner *own, struct err *e)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	do
		(void)snprintf(name, SLOT_MAX, "..%lld_%ld",
			       (long long)now.tv_sec, now.tv_nsec++);
	while (mkdirat(dir, name, 0755) < 0 && errno == EEXIST);
	if (fchmodat(dir, name, 0755, 0) < 0 ||
	    fchownat(dir, name, own->uid, own->gid, 0) < 0)
		return err_sys(e, "make '%s'", name);
	return 0;
}

static int switch_to(int dir, const char *slot, struct err *e)
{
	(void)unlinkat(dir, DATA_NEW, 0); /* a crash left it */
	if (symlinkat(slot, dir, DATA_NEW) < 0)
		return err_sys(e, "symlink '" DATA_NEW "'");
	if (renameat(dir, DATA_NEW, dir, DATA) < 0)
		return err_sys(e, "rename to '" DATA "'");
	return 0;
}

static int link_tops(int dir, const struct payload_file *files, size_t nr,
		     struct err *e)
{
	for (size_t i = 0; i < nr; i++) {
		int len = (int)top_len(files[i].path);
		auto_free char *name = str_printf("%.*s", len, files[i].path);
		auto_free char *to =
			str_printf(DATA "/%.*s", len, files[i].path);

		if (!name || !to)
			return err_set(e, -ENOMEM, "out of memory");
		if (symlinkat(to, dir, name) < 0 && errno != EEXIST)
			return err_sys(e, "symlink '%s'", name);
	}
	return 0;
}

static bool is_wanted(const struct payload_file *files, size_t nr,
		      const char *name)
{
	for (size_t i = 0; i < nr; i++) {
		size_t len = top_len(files[i].path);

		if (strlen(name) == len &&
		    memcmp(name, files[i].path, len) == 0)
			return true;
	}
	return false;
}

/* Slots and links that count no more. */
static int sweep(int dir, const char *slot, const struct payload_file *files,
		 size_t nr, struct err *e)
{
	int copy = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = copy >= 0 ? fdopendir(copy) : NULL;
	struct dirent *ent;
	int r = 0;

	if (!d) {
		auto_close_(&copy);
		return err_sys(e, "read the volume");
	}
	while (r == 0 && (ent = readdir(d))) {
		const char *name = ent->d_name;

		if (str_eq(name, ".") || str_eq(name, "..") ||
		    str_eq(name, DATA) || str_eq(name, slot) ||
		    is_wanted(files, nr, name))
			continue;
		r = fs_remove_tree(copy, name, e);
	}
	closedir(d);
	return r;
}

static int write_slot(int dir, const char *name,
		      const struct payload_file *files, size_t nr,
		      const struct payload_owner *own, struct err *e)
{
	auto_close int slot =
		openat(dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r = 0;

	if (slot < 0)
		return err_sys(e, "open '%s'", name);
	for (size_t i = 0; r == 0 && i < nr; i++)
		r = write_file(slot, &files[i], own, e);
	return r;
}

int payload_write(int dir, const struct payload_file *files, size_t nr,
		  const struct payload_owner *owner, bool *ret_changed,
		  struct err *e)
{
	static const struct payload_owner none = { (uid_t)-1, (gid_t)-1, 0 };
	const struct payload_owner *own = owner ? owner : &none;
	char slot[PATH_MAX] = "";
	ssize_t n;
	bool same;
	int r = check(files, nr, e);

	if (r < 0)
		return r;
	n = readlinkat(dir, DATA, slot, sizeof(slot) - 1);
	slot[n > 0 ? n : 0] = '\0';
	same = is_current(dir, slot, files, nr, own->add);
	if (!same) {
		r = make_slot(dir, slot, own, e);
		if (r == 0)
			r = write_slot(dir, slot, files, nr, own, e);
		if (r == 0)
			r = switch_to(dir, slot, e);
		if (r < 0) {
			(void)fs_remove_tree(dir, slot, NULL);
			return r;
		}
	}
	/* Also when nothing has changed: a crash may have come in between. */
	r = link_tops(dir, files, nr, e);
	if (r == 0)
		r = sweep(dir, slot, files, nr, e);
	if (r == 0 && ret_changed)
		*ret_changed = !same;
	return r;
}

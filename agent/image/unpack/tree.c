// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "agent/image/entry.h"
#include "agent/image/unpack/tree.h"
#include "lib/auto.h"
#include "lib/err.h"
#include "lib/fs.h"

struct tree_dirs {
	struct tree_dirs *next;
	struct timespec mtime;
	char path[];
};

void tree_init(struct tree *t, int root)
{
	*t = (struct tree){ .root = root, .parent = -EBADF };
}

static void forget_parent(struct tree *t)
{
	if (t->parent >= 0)
		close(t->parent);
	t->parent = -EBADF;
	free(t->parent_path);
	t->parent_path = NULL;
}

void tree_clear(struct tree *t)
{
	struct tree_dirs *d;

	while ((d = t->dirs)) {
		t->dirs = d->next;
		free(d);
	}
	forget_parent(t);
}

static int open_beneath(int root, const char *path, uint64_t flags)
{
	struct open_how how = {
		.flags = flags | O_CLOEXEC,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS |
			   RESOLVE_NO_XDEV,
	};
	int fd;

	do
		fd = (int)syscall(SYS_openat2, root, *path ? path : ".", &how,
				  sizeof(how));
	while (fd < 0 && errno == EAGAIN);
	return fd;
}

static int explain_walk(const char *path, struct err *e)
{
	char text[ENTRY_TEXT_MAX];

	entry_text(path, text);
	if (errno == EXDEV || errno == ELOOP)
		return err_set(e, -EPERM,
			       "entry '%s' passes through a symlink that leads "
			       "out of the archive",
			       text);
	return err_sys(e, "folder of entry '%s'", text);
}

static bool is_whiteout(const struct stat *st)
{
	return S_ISCHR(st->st_mode) && st->st_rdev == makedev(0, 0);
}

/* Make the folder @name, of an entry that needs it but did not describe it. */
static int make_implied(struct tree *t, int dirfd, const char *path,
			const char *name, struct err *e)
{
	char text[ENTRY_TEXT_MAX];
	struct stat st;

	if (mkdirat(dirfd, name, 0755) == 0)
		return 0;
	if (errno != EEXIST)
		return err_sys(e, "mkdir '%s'", entry_text(path, text));
	if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return err_sys(e, "stat '%s'", entry_text(path, text));
	if (!is_whiteout(&st))
		return 0; /* the caller's next look says what is wrong */
	if (unlinkat(dirfd, name, 0) < 0 || mkdirat(dirfd, name, 0755) < 0)
		return err_sys(e, "mkdir '%s'", entry_text(path, text));
	return t->opaque ? t->opaque(t->arg, path, e) : 0;
}

/* Open the folder @path, making what is missing of it. */
static int open_folder(struct tree *t, const char *path, struct err *e)
{
	auto_free char *part = NULL;
	int fd, r;

	fd = open_beneath(t->root, path, O_RDONLY | O_DIRECTORY);
	if (fd >= 0)
		return fd;
	if (errno != ENOENT && errno != ENOTDIR)
		return explain_walk(path, e);
	part = strdup(path);
	if (!part)
		return err_set(e, -ENOMEM, "out of memory");
	for (char *s = part;; s++) {
		auto_close int dir = -EBADF;
		char *name, end = *s;

		if (end && end != '/')
			continue;
		*s = '\0';
		name = strrchr(part, '/');
		if (name)
			*name = '\0';
		dir = open_beneath(t->root, name ? part : "",
				   O_RDONLY | O_DIRECTORY);
		if (name)
			*name = '/';
		if (dir < 0)
			return explain_walk(path, e);
		r = make_implied(t, dir, part, name ? name + 1 : part, e);
		if (r < 0)
			return r;
		*s = end;
		if (!end)
			break;
	}
	fd = open_beneath(t->root, path, O_RDONLY | O_DIRECTORY);
	return fd >= 0 ? fd : explain_walk(path, e);
}

/* The folder @p is in, kept open for the next entry. Borrowed. */
static int open_parent(struct tree *t, const struct entry_path *p,
		       struct err *e)
{
	auto_free char *path = strndup(p->path, p->base ? p->base - 1 : 0);
	int fd;

	if (!path)
		return err_set(e, -ENOMEM, "out of memory");
	if (t->parent_path && strcmp(t->parent_path, path) == 0)
		return t->parent;
	fd = open_folder(t, path, e);
	if (fd < 0)
		return fd;
	forget_parent(t);
	t->parent = fd;
	t->parent_path = take_ptr(path);
	return fd;
}

/* Make way for an entry. *@ret_hidden: a whiteout was there. */
static int clear_place(struct tree *t, int dir, const struct entry_path *p,
		       bool *ret_hidden, struct err *e)
{
	const char *name = p->path + p->base;
	struct stat st;
	int r;

	*ret_hidden = false;
	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : explain_walk(p->path, e);
	*ret_hidden = is_whiteout(&st);
	r = fs_remove_tree(dir, name, e);
	/* Folders kept open may just have gone, and others be there now. */
	if (S_ISDIR(st.st_mode) || S_ISLNK(st.st_mode))
		forget_parent(t);
	return r;
}

/* The folder for @p with @p's place free, or -errno. Borrowed. */
static int place(struct tree *t, const struct entry_path *p, struct err *e)
{
	int dir = open_parent(t, p, e);
	bool hidden;
	int r;

	if (dir < 0)
		return dir;
	r = clear_place(t, dir, p, &hidden, e);
	if (r < 0)
		return r;
	return open_parent(t, p, e);
}

static int fail(const struct entry_path *p, const char *what, struct err *e)
{
	char text[ENTRY_TEXT_MAX];

	return err_sys(e, "%s '%s'", what, entry_text(p->path, text));
}

/* Owner first: chown() clears the set-id bits and the capabilities. */
static int set_meta(int fd, const struct tree_meta *m)
{
	struct timespec times[2] = { m->mtime, m->mtime };

	if (fchown(fd, m->uid, m->gid) < 0 || fchmod(fd, m->mode) < 0)
		return -1;
	return futimens(fd, times);
}

int tree_finish_file(int fd, const struct tree_meta *m, struct err *e)
{
	return set_meta(fd, m) < 0 ? err_sys(e, "set owner and mode") : 0;
}

int tree_put_file(struct tree *t, const struct entry_path *p, int *ret_fd,
		  struct err *e)
{
	int dir = place(t, p, e);
	int fd;

	if (dir < 0)
		return dir;
	fd = openat(dir, p->path + p->base,
		    O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return fail(p, "create", e);
	*ret_fd = fd;
	return 0;
}

static int remember_dir(struct tree *t, const struct entry_path *p,
			const struct timespec *mtime)
{
	size_t len = strlen(p->path) + 1;
	struct tree_dirs *d = malloc(sizeof(*d) + len);

	if (!d)
		return -ENOMEM;
	memcpy(d->path, p->path, len);
	d->mtime = *mtime;
	d->next = t->dirs;
	t->dirs = d;
	return 0;
}

/* Make @p a folder if it is none yet. A folder that replaces a whiteout shows
 * nothing of the layers below. */
static int make_dir(struct tree *t, const struct entry_path *p, struct err *e)
{
	const char *name = p->path + p->base;
	int dir = open_parent(t, p, e);
	bool hidden = false;
	struct stat st;
	int r;

	if (dir < 0)
		return dir;
	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0) {
		if (S_ISDIR(st.st_mode))
			return 0;
		r = clear_place(t, dir, p, &hidden, e);
		if (r < 0)
			return r;
		dir = open_parent(t, p, e);
		if (dir < 0)
			return dir;
	}
	if (mkdirat(dir, name, 0700) < 0)
		return fail(p, "mkdir", e);
	return hidden && t->opaque ? t->opaque(t->arg, p->path, e) : 0;
}

int tree_put_dir(struct tree *t, const struct entry_path *p,
		 const struct tree_meta *m, int *ret_fd, struct err *e)
{
	auto_close int fd = -EBADF;
	int dir, r;

	if (p->kind == ENTRY_ROOT) {
		fd = open_beneath(t->root, "", O_RDONLY | O_DIRECTORY);
	} else {
		r = make_dir(t, p, e);
		if (r < 0)
			return r;
		dir = open_parent(t, p, e);
		if (dir < 0)
			return dir;
		fd = openat(dir, p->path + p->base,
			    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	}
	if (fd < 0)
		return fail(p, "open", e);
	if (set_meta(fd, m) < 0)
		return fail(p, "set owner and mode of", e);
	if (remember_dir(t, p, &m->mtime) < 0)
		return err_set(e, -ENOMEM, "out of memory");
	*ret_fd = take_fd(&fd);
	return 0;
}

int tree_put_symlink(struct tree *t, const struct entry_path *p,
		     const struct tree_meta *m, const char *target,
		     struct err *e)
{
	struct timespec times[2] = { m->mtime, m->mtime };
	const char *name = p->path + p->base;
	int dir = place(t, p, e);

	if (dir < 0)
		return dir;
	if (symlinkat(target, dir, name) < 0)
		return fail(p, "symlink", e);
	/* The folder kept open may have been named through it. */
	if (fchownat(dir, name, m->uid, m->gid, AT_SYMLINK_NOFOLLOW) < 0 ||
	    utimensat(dir, name, times, AT_SYMLINK_NOFOLLOW) < 0)
		return fail(p, "set owner of", e);
	return 0;
}

int tree_put_fifo(struct tree *t, const struct entry_path *p,
		  const struct tree_meta *m, struct err *e)
{
	const char *name = p->path + p->base;
	int dir = place(t, p, e);

	if (dir < 0)
		return dir;
	if (mknodat(dir, name, S_IFIFO | m->mode, 0) < 0)
		return fail(p, "mkfifo", e);
	if (fchownat(dir, name, m->uid, m->gid, AT_SYMLINK_NOFOLLOW) < 0)
		return fail(p, "set owner of", e);
	return 0;
}

int tree_put_link(struct tree *t, const struct entry_path *p,
		  const struct entry_path *to, struct err *e)
{
	auto_free char *folder = strndup(to->path, to->base ? to->base - 1 : 0);
	char text[ENTRY_TEXT_MAX];
	auto_close int from = -EBADF;
	struct stat st;
	int dir;

	if (!folder)
		return err_set(e, -ENOMEM, "out of memory");
	from = open_beneath(t->root, folder, O_PATH | O_DIRECTORY);
	if (from < 0 && errno != ENOENT)
		return explain_walk(to->path, e);
	if (from < 0 ||
	    fstatat(from, to->path + to->base, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return err_set(e, -ENOENT,
			       "a hard link names '%s', which this archive has "
			       "not",
			       entry_text(to->path, text));
	if (S_ISDIR(st.st_mode) || S_ISCHR(st.st_mode))
		return err_set(e, -EPERM, "hard link to '%s', which is no file",
			       entry_text(to->path, text));
	if (strcmp(p->path, to->path) == 0)
		return 0;
	dir = place(t, p, e);
	if (dir < 0)
		return dir;
	if (linkat(from, to->path + to->base, dir, p->path + p->base, 0) < 0)
		return fail(p, "hard link", e);
	return 0;
}

int tree_put_whiteout(struct tree *t, const struct entry_path *p, struct err *e)
{
	const char *name = p->path + p->base;
	int dir = open_parent(t, p, e);
	struct stat st;

	if (dir < 0)
		return dir;
	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0) {
		/* Ours hides theirs already, but for a folder's content. */
		if (S_ISDIR(st.st_mode) && t->opaque)
			return t->opaque(t->arg, p->path, e);
		return 0;
	}
	if (mknodat(dir, name, S_IFCHR, makedev(0, 0)) < 0)
		return fail(p, "whiteout", e);
	return 0;
}

int tree_put_opaque(struct tree *t, const struct entry_path *p, struct err *e)
{
	auto_close int fd = open_folder(t, p->path, e);

	if (fd < 0)
		return fd;
	return t->opaque ? t->opaque(t->arg, p->path, e) : 0;
}

int tree_finish(struct tree *t, struct err *e)
{
	for (struct tree_dirs *d = t->dirs; d; d = d->next) {
		struct timespec times[2] = { d->mtime, d->mtime };
		auto_close int fd =
			open_beneath(t->root, d->path,
				     O_RDONLY | O_DIRECTORY | O_NOFOLLOW);

		/* Replaced by a later entry: its times are right already. */
		if (fd < 0)
			continue;
		if (futimens(fd, times) < 0)
			return err_sys(e, "set the times of a folder");
	}
	return 0;
}

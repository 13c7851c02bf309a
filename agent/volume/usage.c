// SPDX-License-Identifier: Apache-2.0
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/volume/internal.h"
#include "lib/auto.h"
#include "lib/err.h"
#include "lib/str.h"

#define DEPTH_MAX 200
#define BLOCK     512

/* Files with several names, by number: an open hash, never full. */
struct seen {
	uint64_t *ino; /* 0: free */
	size_t size;   /* a power of two */
	size_t nr;
};

struct measuring {
	dev_t dev;
	uint64_t bytes, most;
	size_t files;
	struct seen seen;
};

static bool put(uint64_t *table, size_t size, uint64_t ino)
{
	size_t i = (ino * UINT64_C(0x9e3779b97f4a7c15)) & (size - 1);

	while (table[i] && table[i] != ino)
		i = (i + 1) & (size - 1);
	if (table[i])
		return false;
	table[i] = ino;
	return true;
}

static int grow(struct seen *s)
{
	size_t size = s->size ? s->size * 2 : 64;
	uint64_t *ino = calloc(size, sizeof(*ino));

	if (!ino)
		return -ENOMEM;
	for (size_t i = 0; i < s->size; i++)
		if (s->ino[i])
			(void)put(ino, size, s->ino[i]);
	free(s->ino);
	s->ino = ino;
	s->size = size;
	return 0;
}

/* 1 when it is new, 0 when it was counted already. */
static int see(struct seen *s, uint64_t ino)
{
	if (s->nr * 2 >= s->size && grow(s) < 0)
		return -ENOMEM;
	if (!put(s->ino, s->size, ino))
		return 0;
	s->nr++;
	return 1;
}

static int measure(struct measuring *m, int fd, int depth, struct err *e);

static int measure_entry(struct measuring *m, int dir, const char *name,
			 int depth, struct err *e)
{
	struct stat st;
	int fd, r;

	/* Gone meanwhile: it takes no room any more. */
	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : err_sys(e, "stat");
	if (st.st_dev != m->dev)
		return 0;
	if (!S_ISDIR(st.st_mode) && st.st_nlink > 1) {
		r = see(&m->seen, st.st_ino);
		if (r <= 0)
			return r < 0 ? err_set(e, r, "out of memory") : 0;
	}
	m->bytes += (uint64_t)st.st_blocks * BLOCK;
	if (m->bytes > m->most)
		return err_set(e, -EDQUOT, "more than %" PRIu64 " bytes",
			       m->most);
	if (++m->files > VOLUME_FILES_MAX)
		return err_set(e, -E2BIG,
			       "more than %u files, the rest is not counted",
			       VOLUME_FILES_MAX);
	if (!S_ISDIR(st.st_mode))
		return 0;
	fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT || errno == ENOTDIR || errno == ELOOP
			       ? 0
			       : err_sys(e, "open");
	return measure(m, fd, depth + 1, e);
}

/* Takes @fd. */
static int measure(struct measuring *m, int fd, int depth, struct err *e)
{
	struct dirent *ent;
	DIR *d;
	int r = 0;

	if (depth > DEPTH_MAX) {
		close(fd);
		return err_set(e, -ELOOP, "folders nested deeper than %d",
			       DEPTH_MAX);
	}
	d = fdopendir(fd);
	if (!d) {
		r = err_sys(e, "read a folder");
		close(fd);
		return r;
	}
	while (r == 0 && (ent = readdir(d)))
		if (!str_eq(ent->d_name, ".") && !str_eq(ent->d_name, ".."))
			r = measure_entry(m, dirfd(d), ent->d_name, depth, e);
	closedir(d);
	return r;
}

int volume_measure(const char *path, uint64_t most, uint64_t *inout_bytes,
		   struct err *e)
{
	struct measuring m = { .bytes = *inout_bytes, .most = most };
	auto_close int fd =
		open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;
	int r;

	if (fd < 0)
		return errno == ENOENT ? 0 : err_sys(e, "open '%s'", path);
	if (fstat(fd, &st) < 0)
		return err_sys(e, "stat '%s'", path);
	m.dev = st.st_dev;
	m.bytes += (uint64_t)st.st_blocks * BLOCK;
	r = measure(&m, take_fd(&fd), 0, e);
	free(m.seen.ino);
	*inout_bytes = m.bytes;
	/* Whoever hides files from the count has used it up. */
	if (r == -ELOOP) {
		*inout_bytes = UINT64_MAX;
		return -EDQUOT;
	}
	return r;
}

int volume_usage(const struct volume_set *set, const char *name,
		 uint64_t *ret_bytes, struct err *e)
{
	for (size_t i = 0; i < set->nr; i++) {
		const struct volume *v = &set->v[i];
		int r;

		if (!str_eq(v->spec->name, name))
			continue;
		if (!v->ops->ours)
			return err_set(e, -ENOTSUP, "volume '%s' is the host's",
				       name);
		*ret_bytes = 0;
		r = volume_measure(v->path, UINT64_MAX, ret_bytes, e);
		return r < 0 ? err_wrap(e, r, "usage of volume '%s'", name) : 0;
	}
	return err_set(e, -ENOENT, "the pod has no volume '%s'", name);
}

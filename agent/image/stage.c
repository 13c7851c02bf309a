// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "agent/image/internal.h"
#include "lib/err.h"
#include "lib/fs.h"
#include "lib/str.h"

#define STAGE_PATH_MAX (STAGE_NAME_MAX + 16)

static void new_name(struct image_store *s, char name[STAGE_NAME_MAX])
{
	(void)snprintf(name, STAGE_NAME_MAX, "%u",
		       atomic_fetch_add(&s->serial, 1));
}

static void below_staging(const char *name, char path[STAGE_PATH_MAX])
{
	(void)snprintf(path, STAGE_PATH_MAX, "staging/%s", name);
}

int stage_new(struct image_store *s, char name[STAGE_NAME_MAX], int *ret_fd,
	      struct err *e)
{
	char path[STAGE_PATH_MAX];
	int fd;

	/* A crashed agent's leavings may still be there. The mode is a layer's
	 * root's until its archive says otherwise. */
	do {
		new_name(s, name);
		below_staging(name, path);
	} while ((fd = mkdirat(s->fd, path, 0755)) < 0 && errno == EEXIST);
	if (fd < 0)
		return err_sys(e, "mkdir '%s/%s'", s->dir, path);
	if (fchmodat(s->fd, path, 0755, 0) < 0)
		return err_sys(e, "chmod '%s/%s'", s->dir, path);
	if (!ret_fd)
		return 0;
	fd = openat(s->fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return err_sys(e, "open '%s/%s'", s->dir, path);
	*ret_fd = fd;
	return 0;
}

void stage_drop(struct image_store *s, const char *name)
{
	char path[STAGE_PATH_MAX];

	below_staging(name, path);
	/* What is left goes at the next open. */
	(void)fs_remove_tree(s->fd, path, NULL);
}

char *stage_path(struct image_store *s, const char *name)
{
	return str_printf("%s/staging/%s", s->dir, name);
}

int stage_retire(struct image_store *s, const char *folder, const char *name,
		 char stage[STAGE_NAME_MAX], struct err *e)
{
	char from[DIGEST_TEXT_MAX + 16], path[STAGE_PATH_MAX];
	char fresh[STAGE_NAME_MAX];

	new_name(s, fresh);
	below_staging(fresh, path);
	(void)snprintf(from, sizeof(from), "%s/%s", folder, name);
	if (renameat(s->fd, from, s->fd, path) < 0)
		return errno == ENOENT
			       ? 0
			       : err_sys(e, "remove '%s/%s'", s->dir, from);
	memcpy(stage, fresh, STAGE_NAME_MAX);
	return 0;
}

int stage_place(struct image_store *s, const char *stage, const char *to,
		struct err *e)
{
	char from[STAGE_PATH_MAX];

	below_staging(stage, from);
	/* Something there is nobody's: it is not in the table. */
	if (fs_exists(s->fd, to) && fs_remove_tree(s->fd, to, e) < 0)
		return -ENOTEMPTY;
	if (renameat(s->fd, from, s->fd, to) < 0)
		return err_sys(e, "rename to '%s/%s'", s->dir, to);
	return 0;
}

int stage_discard(struct image_store *s, const char *folder, const char *name,
		  struct err *e)
{
	char stage[STAGE_NAME_MAX] = "";
	int r = stage_retire(s, folder, name, stage, e);

	if (r == 0 && stage[0])
		stage_drop(s, stage);
	return r;
}

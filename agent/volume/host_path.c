// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/volume/internal.h"
#include "lib/auto.h"
#include "lib/err.h"
#include "lib/fs.h"
#include "lib/str.h"

#define MAKES_DIRECTORY "; type: DirectoryOrCreate would make it"
#define MAKES_FILE      "; type: FileOrCreate would make it"

/* What each type wants to find. */
static const struct want {
	mode_t type; /* S_IFMT; 0: anything */
	const char *what;
	int code;              /* when it is something else */
	const char *who_makes; /* when it is not there */
} wants[] = {
	[HOST_PATH_ANY] = { 0, "", 0, MAKES_DIRECTORY },
	[HOST_PATH_DIRECTORY_OR_CREATE] = { S_IFDIR, "a directory", -ENOTDIR,
					    "" },
	[HOST_PATH_DIRECTORY] = { S_IFDIR, "a directory", -ENOTDIR,
				  MAKES_DIRECTORY },
	[HOST_PATH_FILE_OR_CREATE] = { S_IFREG, "a file", -EISDIR, "" },
	[HOST_PATH_FILE] = { S_IFREG, "a file", -EISDIR, MAKES_FILE },
	[HOST_PATH_SOCKET] = { S_IFSOCK, "a socket", -ENOTSOCK, "" },
	[HOST_PATH_CHAR_DEVICE] = { S_IFCHR, "a character device", -ENODEV,
				    "" },
	[HOST_PATH_BLOCK_DEVICE] = { S_IFBLK, "a block device", -ENOTBLK, "" },
};

static int check_path(const char *path, struct err *e)
{
	if (!path || path[0] != '/')
		return err_set(e, -EINVAL, "hostPath '%.128s' must be absolute",
			       path ? path : "");
	for (const char *s = path; (s = strstr(s, "..")); s += 2)
		if (s[-1] == '/' && (s[2] == '/' || !s[2]))
			return err_set(e, -EINVAL,
				       "hostPath '%.128s' must not contain "
				       "'..'",
				       path);
	return 0;
}

static int create(const char *path, enum host_path_type type, struct err *e)
{
	auto_close int fd = -EBADF;

	if (fs_exists(AT_FDCWD, path))
		return 0;
	if (type == HOST_PATH_DIRECTORY_OR_CREATE)
		return fs_mkdirs(path, 0755, e);
	if (type != HOST_PATH_FILE_OR_CREATE)
		return 0;
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	if (fd < 0 && errno == ENOENT)
		return err_set(e, -ENOENT,
			       "hostPath: the folder of '%s' does not exist, "
			       "and FileOrCreate makes only the file",
			       path);
	if (fd < 0 && errno != EEXIST)
		return err_sys(e, "create hostPath '%s'", path);
	return 0;
}

static int check(const struct volume *v, int fd, struct err *e)
{
	const struct want *want = &wants[v->spec->type];
	struct stat st;

	if (fstat(fd, &st) < 0)
		return err_sys(e, "stat hostPath '%s'", v->path);
	if (want->type && (st.st_mode & S_IFMT) != want->type)
		return err_set(e, want->code,
			       "hostPath type check failed: '%s' is not %s",
			       v->path, want->what);
	return 0;
}

static int setup(struct volume_set *set, struct volume *v, struct err *e)
{
	auto_close int fd = -EBADF;
	int r = check_path(v->spec->path, e);

	(void)set;
	if (r == 0 && str_set(&v->path, v->spec->path) < 0)
		r = err_set(e, -ENOMEM, "out of memory");
	if (r == 0)
		r = create(v->path, v->spec->type, e);
	if (r < 0)
		return r;
	fd = open(v->path, O_PATH | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT)
		return err_set(e, -ENOENT, "hostPath '%s' does not exist%s",
			       v->path, wants[v->spec->type].who_makes);
	if (fd < 0)
		return err_sys(e, "open hostPath '%s'", v->path);
	return check(v, fd, e);
}

const struct volume_kind_ops host_path_ops = {
	.setup = setup,
	.check = check,
	.nested = true,
};

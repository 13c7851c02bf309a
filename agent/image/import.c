// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/image/internal.h"
#include "agent/image/names.h"
#include "agent/image/vmfile.h"
#include "lib/auto.h"
#include "lib/err.h"
#include "lib/fs.h"
#include "lib/str.h"

#define HEAD_LEN 512

/* Sources with a scheme, and how they are read. */
enum reader { READ_OCI, READ_DIR, READ_OCI_ARCHIVE, READ_SKOPEO, READ_PATH };

static const struct scheme {
	const char *prefix;
	enum reader reader;
} schemes[] = {
	{ "oci:", READ_OCI },
	{ "dir:", READ_DIR },
	{ "oci-archive:", READ_OCI_ARCHIVE },
	{ "docker-archive:", READ_SKOPEO },
	{ "docker-daemon:", READ_SKOPEO },
	{ "containers-storage:", READ_SKOPEO },
};

struct importing {
	struct transfer t;
	enum reader reader;
	const char *source; /* as given */
	char *path;         /* of it, without scheme and tag */
	char *tag;          /* or NULL */
	char *name;         /* to give */
};

/* "PATH[:TAG]", where both may have slashes and colons: the shortest beginning
 * that is there, at a colon, is the path. */
static int split(struct importing *in, const char *rest)
{
	size_t len = strlen(rest);

	for (size_t i = 0; i <= len; i++) {
		if (rest[i] != ':' && i < len)
			continue;
		free(in->path);
		in->path = strndup(rest, i);
		if (!in->path)
			return -ENOMEM;
		if (i < len && fs_exists(AT_FDCWD, in->path))
			return str_set(&in->tag, rest + i + 1);
	}
	return 0;
}

static int take_source(struct importing *in, const char *source)
{
	in->source = source;
	in->reader = READ_PATH;
	for (size_t i = 0; i < ARRAY_LEN(schemes); i++) {
		const char *prefix = schemes[i].prefix;

		if (!str_starts(source, prefix))
			continue;
		in->reader = schemes[i].reader;
		return split(in, source + strlen(prefix));
	}
	return str_set(&in->path, source);
}

static const char *const extensions[] = {
	".tar.gz", ".tar.zst", ".tar", ".tgz", ".qcow2", ".img", ".raw", ".oci"
};

/* Called after its file, or after what it calls itself. */
static int own_name(struct importing *in)
{
	size_t len = strlen(in->path);
	const char *base;

	if (in->reader == READ_SKOPEO && in->tag)
		return str_set(&in->name, in->tag);
	while (len > 1 && in->path[len - 1] == '/')
		len--;
	base = memrchr(in->path, '/', len);
	base = base ? base + 1 : in->path;
	len -= (size_t)(base - in->path);
	in->name = strndup(base, len);
	if (!in->name)
		return -ENOMEM;
	for (size_t i = 0; i < ARRAY_LEN(extensions); i++)
		if (str_ends(in->name, extensions[i]) &&
		    strlen(in->name) > strlen(extensions[i])) {
			len = strlen(in->name) - strlen(extensions[i]);
			in->name[len] = '\0';
			break;
		}
	if (in->tag) {
		char *tagged = str_printf("%s:%s", in->name, in->tag);

		free(in->name);
		in->name = tagged;
	}
	return in->name ? 0 : -ENOMEM;
}

static int take_name(struct importing *in, const char *given, struct err *e)
{
	int r = given ? str_set(&in->name, given) : own_name(in);

	if (r < 0)
		return err_set(e, r, "out of memory");
	if (!image_name_is_fine(in->name))
		return err_set(e, -EINVAL,
			       "'%.128s' cannot be an image's name: want "
			       "letters, digits and ._-/:@",
			       in->name);
	in->t.name = in->name;
	return 0;
}

static int open_dir(const char *path, struct err *e)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 ? err_sys(e, "open '%s'", path) : fd;
}

/* A folder, by what it holds. */
static int import_dir(struct importing *in, int dir, struct image **ret,
		      struct err *e)
{
	if (fs_exists(dir, BUNDLE_FILE) && in->t.kind == IMAGE_CONTAINER)
		return err_set(e, -EINVAL,
			       "no container image: " BUNDLE_FILE
			       " makes it a VM's");
	if (fs_exists(dir, BUNDLE_FILE))
		return kernel_import(&in->t, dir, ret, e);
	if (fs_exists(dir, "oci-layout") && fs_exists(dir, "index.json"))
		return build_from_oci(&in->t, dir, in->tag, ret, e);
	if (fs_exists(dir, "version") && fs_exists(dir, "manifest.json"))
		return build_from_dir(&in->t, dir, ret, e);
	return err_set(e, -EINVAL,
		       "no image in there: neither " BUNDLE_FILE
		       " nor oci-layout nor manifest.json");
}

/* A tar file is foreign, so it is unpacked where layers are. */
static int import_tar(struct importing *in, int fd, struct image **ret,
		      struct err *e)
{
	auto_free char *folder = NULL;
	char stage[STAGE_NAME_MAX];
	auto_close int dir = -EBADF;
	int r = stage_new(in->t.s, stage, &dir, e);

	if (r < 0)
		return r;
	folder = stage_path(in->t.s, stage);
	r = folder ? unpack_tar(&in->t, fd, folder, e)
		   : err_set(e, -ENOMEM, "out of memory");
	if (r == 0)
		r = import_dir(in, dir, ret, e);
	if (r == -EINVAL && !fs_exists(dir, BUNDLE_FILE) &&
	    fs_exists(dir, "manifest.json"))
		r = err_set(e, r, "say docker-archive:%s", in->path);
	stage_drop(in->t.s, stage);
	return r;
}

static bool is_tar(const unsigned char *head, size_t len)
{
	return (len > 262 && memcmp(head + 257, "ustar", 5) == 0) ||
	       (len > 2 && head[0] == 0x1f && head[1] == 0x8b) ||
	       (len > 4 && memcmp(head, "\x28\xb5\x2f\xfd", 4) == 0);
}

/* A raw disk is any bytes: without being told, one that can be booted, or that
 * is called so. */
static bool looks_like_disk(const char *path, const unsigned char *head,
			    size_t len)
{
	struct disk_info info;

	if (disk_probe(head, len, len, NULL, &info, NULL) < 0 ||
	    !str_eq(info.format, "raw"))
		return true; /* some format: told of there */
	return (len >= 512 && head[510] == 0x55 && head[511] == 0xaa) ||
	       str_ends(path, ".img") || str_ends(path, ".raw");
}

static int import_file(struct importing *in, int fd, struct image **ret,
		       struct err *e)
{
	unsigned char head[HEAD_LEN];
	ssize_t n = pread(fd, head, sizeof(head), 0);

	if (n < 0)
		return err_sys(e, "read");
	if (!in->t.format && is_tar(head, (size_t)n))
		return import_tar(in, fd, ret, e);
	if (in->t.kind == IMAGE_CONTAINER)
		return err_set(e, -EINVAL,
			       "no container image: neither a tar, nor one "
			       "compressed with gzip or zstd");
	if (!in->t.format && !looks_like_disk(in->path, head, (size_t)n))
		return err_set(e, -EINVAL,
			       "neither an image nor a disk that says so; "
			       "--format raw takes it as a VM's disk");
	return disk_import(&in->t, fd, ret, e);
}

static int import_path(struct importing *in, struct image **ret, struct err *e)
{
	auto_close int fd = open(in->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;

	if (fd < 0)
		return err_sys(e, "open");
	if (fstat(fd, &st) < 0)
		return err_sys(e, "stat");
	if (S_ISDIR(st.st_mode))
		return import_dir(in, fd, ret, e);
	if (!S_ISREG(st.st_mode))
		return err_set(e, -EINVAL, "neither a file nor a folder");
	return in->reader == READ_OCI_ARCHIVE ? import_tar(in, fd, ret, e)
					      : import_file(in, fd, ret, e);
}

static int read_source(struct importing *in, struct image **ret, struct err *e)
{
	auto_close int dir = -EBADF;

	switch (in->reader) {
	case READ_OCI:
	case READ_DIR:
		dir = open_dir(in->path, e);
		if (dir < 0)
			return dir;
		return in->reader == READ_OCI
			       ? build_from_oci(&in->t, dir, in->tag, ret, e)
			       : build_from_dir(&in->t, dir, ret, e);
	case READ_SKOPEO:
		return pull_archive(&in->t, in->source, ret, e);
	default:
		return import_path(in, ret, e);
	}
}

int image_import(struct image_store *s, const char *source,
		 const struct image_import_opts *opts, struct image **ret,
		 struct err *e)
{
	static const struct image_import_opts none = { .kind = IMAGE_AUTO };
	struct importing in = { .path = NULL };
	int r;

	opts = opts ? opts : &none;
	in.t = (struct transfer){ .s = s,
				  .kind = opts->kind,
				  .format = opts->format,
				  .cancel = opts->cancel,
				  .progress = opts->progress,
				  .progress_arg = opts->progress_arg };
	r = strstr(source, "://")
		    ? err_set(e, -EINVAL,
			      "'%s' is not on this host: 'arktos-node image "
			      "pull' gets it",
			      source)
		    : 0;
	if (r == 0 && take_source(&in, source) < 0)
		r = err_set(e, -ENOMEM, "out of memory");
	if (r == 0)
		r = take_name(&in, opts->name, e);
	if (r == 0)
		r = read_source(&in, ret, e);
	if (r == 0 && opts->ret_name)
		*opts->ret_name = take_ptr(in.name);
	free(in.path);
	free(in.tag);
	free(in.name);
	return r < 0 ? err_wrap(e, r, "import '%s'", source) : 0;
}

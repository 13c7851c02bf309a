// SPDX-License-Identifier: Apache-2.0
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "agent/image/internal.h"
#include "agent/image/strlist.h"
#include "lib/auto.h"
#include "lib/err.h"
#include "lib/json.h"

#define CHUNK      (1024 * 1024)
#define TELL_BYTES (64u << 20)

int open_inside(int dirfd, const char *path, int flags)
{
	struct open_how how = {
		.flags = (uint64_t)(flags | O_CLOEXEC),
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS,
	};
	int fd = (int)syscall(SYS_openat2, dirfd, path, &how, sizeof(how));

	return fd < 0 ? -errno : fd;
}

struct copying {
	struct transfer *t;
	int from, to;
	char *chunk;
	struct digest digest;
	uint64_t done, told, max;
};

static bool is_zero(const char *data, size_t len)
{
	return len && !data[0] && memcmp(data, data + 1, len - 1) == 0;
}

/* Holes stay holes. */
static int put(struct copying *c, size_t len)
{
	size_t at = 0;

	if (is_zero(c->chunk, len))
		return 0;
	while (at < len) {
		ssize_t n = pwrite(c->to, c->chunk + at, len - at,
				   (off_t)(c->done + at));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		at += (size_t)n;
	}
	return 0;
}

static int copy(struct copying *c, struct err *e)
{
	for (;;) {
		ssize_t n = read(c->from, c->chunk, CHUNK);
		int r = transfer_check(c->t, e);

		if (r < 0)
			return r;
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_sys(e, "read");
		if (n == 0)
			break;
		if (c->done + (uint64_t)n > c->max)
			return err_set(e, -EFBIG,
				       "larger than the limit of %" PRIu64
				       " bytes",
				       c->max);
		digest_add(&c->digest, c->chunk, (size_t)n);
		r = put(c, (size_t)n);
		if (r < 0)
			return err_wrap(e, r, "write");
		c->done += (uint64_t)n;
		c->t->now.bytes = c->done;
		if (c->done - c->told >= TELL_BYTES) {
			c->told = c->done;
			transfer_tell(c->t);
		}
	}
	if (ftruncate(c->to, (off_t)c->done) < 0)
		return err_sys(e, "truncate");
	return 0;
}

int file_stage(struct transfer *t, int fd, int stage, const char *name,
	       char digest[DIGEST_TEXT_MAX], uint64_t *ret_bytes, struct err *e)
{
	struct copying c = { .t = t,
			     .from = fd,
			     .max = t->s->opts.disk_max_bytes };
	auto_free char *chunk = malloc(CHUNK);
	auto_close int to = openat(stage, name,
				   O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	struct stat st;
	int r;

	if (!chunk)
		return err_set(e, -ENOMEM, "out of memory");
	if (to < 0)
		return err_sys(e, "create '%s'", name);
	/* QEMU reads it under a user of its own, whatever our umask. */
	if (fchmod(to, 0644) < 0)
		return err_sys(e, "chmod '%s'", name);
	if (fstat(fd, &st) < 0)
		return err_sys(e, "stat");
	if (!S_ISREG(st.st_mode))
		return err_set(e, -EINVAL, "no file");
	t->now = (struct image_progress){
		.phase = IMAGE_UNPACKING,
		.total_bytes = (uint64_t)st.st_size,
	};
	c.chunk = chunk;
	c.to = to;
	digest_begin(&c.digest);
	r = copy(&c, e);
	if (r == 0)
		r = digest_end(&c.digest, digest);
	digest_drop(&c.digest);
	if (r == 0)
		*ret_bytes = c.done;
	return r;
}

/* --- what is it? -----------------------------------------------------------
 */

/* A second opinion by those who will open it, from inside a sandbox: QEMU's
 * formats have had their share of holes. */
static int ask_qemu(struct transfer *t, int fd, const struct disk_info *info,
		    struct err *e)
{
	char *argv[] = { t->s->unpacker,
			 (char[]){ "exec" },
			 (char[]){ "qemu-img" },
			 (char[]){ "info" },
			 (char[]){ "-f" },
			 (char *)info->format,
			 (char[]){ "--output=json" },
			 (char[]){ "/proc/self/fd/0" },
			 NULL };
	auto_buf struct buf out = BUF_INIT, errors = BUF_INIT;
	struct child c = { .argv = argv, .in = fd, .cancel = t->cancel };
	struct json_ref root, format, size, backing;
	yyjson_doc *doc;
	const char *name;
	uint64_t bytes;
	int status, r;

	r = child_run(&c, &out, &errors, &status, e);
	if (r < 0)
		return r;
	if (status != 0)
		return err_set(e, -EBADMSG, "qemu-img does not like it: %.200s",
			       buf_str(&errors));
	r = json_parse(buf_str(&out), out.len, &doc, e);
	if (r < 0)
		return err_wrap(e, r, "qemu-img info");
	root = json_root(doc);
	format = json_get(&root, "format");
	size = json_get(&root, "virtual-size");
	backing = json_get(&root, "backing-filename");
	r = json_str(&format, &name, e);
	if (r == 0)
		r = json_u64(&size, DISK_VIRTUAL_MAX, &bytes, e);
	if (r == 0 && (!str_eq(name, info->format) || json_has(&backing) ||
		       bytes != info->virtual_bytes))
		r = err_set(e, -EBADMSG, "qemu-img sees another disk than we");
	yyjson_doc_free(doc);
	return r;
}

static int examine(struct transfer *t, int fd, uint64_t bytes,
		   struct disk_info *ret, struct err *e)
{
	auto_free uint8_t *head = malloc(DISK_HEAD_MAX);
	ssize_t n;
	int r;

	if (!head)
		return err_set(e, -ENOMEM, "out of memory");
	n = pread(fd, head, DISK_HEAD_MAX, 0);
	if (n < 0)
		return err_sys(e, "read");
	r = disk_probe(head, (size_t)n, bytes, t->format, ret, e);
	if (r == 0 && str_eq(ret->format, "qcow2"))
		r = ask_qemu(t, fd, ret, e);
	return r;
}

/* Examine the copy, never the source: that can change behind us. */
int disk_stage(struct transfer *t, int fd, int stage, struct stored *img,
	       char digest[DIGEST_TEXT_MAX], struct err *e)
{
	struct disk_info info;
	auto_close int copied = -EBADF;
	char name[16];
	int r = file_stage(t, fd, stage, "disk", digest, &img->own_bytes, e);

	if (r < 0)
		return err_wrap(e, r, "disk");
	copied = openat(stage, "disk", O_RDONLY | O_CLOEXEC);
	if (copied < 0)
		return err_sys(e, "open the copied disk");
	r = examine(t, copied, img->own_bytes, &info, e);
	if (r < 0)
		return r;
	(void)snprintf(name, sizeof(name), "disk.%s", info.format);
	if (renameat(stage, "disk", stage, name) < 0)
		return err_sys(e, "rename the disk");
	img->img.vm.virtual_bytes = info.virtual_bytes;
	if (str_set(&img->img.vm.disk, name) < 0 ||
	    str_set(&img->img.vm.format, info.format) < 0)
		return err_set(e, -ENOMEM, "out of memory");
	return 0;
}

static int stage_disk(struct transfer *t, int fd, int dir, struct stored *img,
		      struct err *e)
{
	char digest[DIGEST_TEXT_MAX];
	int r = disk_stage(t, fd, dir, img, digest, e);

	if (r < 0)
		return r;
	img->img.kind = IMAGE_DISK;
	img->img.stored_s = (int64_t)time(NULL);
	if (str_set(&img->img.id, digest) < 0 ||
	    str_set(&img->img.manifest_digest, "") < 0 ||
	    (t->name && strlist_add(&img->names, t->name) < 0))
		return err_set(e, -ENOMEM, "out of memory");
	r = record_write(dir, img, e);
	strlist_clear(&img->names);
	return r;
}

int disk_import(struct transfer *t, int fd, struct image **ret, struct err *e)
{
	struct stored *img = stored_new();
	char stage[STAGE_NAME_MAX];
	auto_close int dir = -EBADF;
	int r;

	if (!img)
		return err_set(e, -ENOMEM, "out of memory");
	r = stage_new(t->s, stage, &dir, e);
	if (r == 0) {
		r = stage_disk(t, fd, dir, img, e);
		if (r == 0)
			return build_commit(t, stage, img, ret, e);
		stage_drop(t->s, stage);
	}
	image_unref(&img->img);
	return r;
}

/* --- containerDisk ----------------------------------------------------------
 */

static int only_file(int dirfd, struct err *e)
{
	int copy = fcntl(dirfd, F_DUPFD_CLOEXEC, 0);
	DIR *d = copy >= 0 ? fdopendir(copy) : NULL;
	struct dirent *ent;
	int fd = -ENOENT;

	if (!d) {
		auto_close_(&copy);
		return err_sys(e, "read /disk");
	}
	while ((ent = readdir(d))) {
		struct stat st;

		if (fstatat(dirfd, ent->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
		    !S_ISREG(st.st_mode))
			continue;
		if (fd >= 0) {
			close(fd);
			fd = err_set(e, -EBADMSG,
				     "several files in /disk: which one?");
			break;
		}
		fd = open_inside(dirfd, ent->d_name, O_RDONLY);
		if (fd < 0)
			break;
	}
	closedir(d);
	return fd;
}

int disk_in_layers(struct image_store *s, const struct layer_record *layers,
		   size_t nr, struct err *e)
{
	while (nr-- > 0) {
		auto_free char *path =
			str_printf("layers/%s/disk",
				   digest_hex(layers[nr].digest));
		auto_close int dir = -EBADF;
		int fd;

		if (!path)
			return err_set(e, -ENOMEM, "out of memory");
		dir = open_inside(s->fd, path, O_RDONLY | O_DIRECTORY);
		if (dir < 0)
			continue;
		fd = only_file(dir, e);
		if (fd != -ENOENT)
			return fd;
	}
	return -ENOENT;
}

// SPDX-License-Identifier: Apache-2.0
/* Kernel bundles: a folder with arktos-vm.json and the files it names. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "agent/image/internal.h"
#include "agent/image/strlist.h"
#include "lib/auto.h"
#include "lib/err.h"

/* The id is the digest of what makes the bundle: its parts' digests. */
struct bundling {
	struct transfer *t;
	int from, stage;
	struct stored *img;
	struct digest sum;
};

static int open_part(struct bundling *b, const char *name, struct err *e)
{
	int fd = open_inside(b->from, name, O_RDONLY | O_NONBLOCK);

	if (fd >= 0)
		return fd;
	errno = -fd;
	return err_sys(e, "open '%s' of the bundle", name);
}

static int stage_part(struct bundling *b, const char *name, const char *as,
		      char **ret, struct err *e)
{
	char digest[DIGEST_TEXT_MAX];
	auto_close int fd = -EBADF;
	uint64_t bytes = 0;
	int r;

	if (!name)
		return 0;
	fd = open_part(b, name, e);
	if (fd < 0)
		return fd;
	r = file_stage(b->t, fd, b->stage, as, digest, &bytes, e);
	if (r < 0)
		return err_wrap(e, r, "'%s' of the bundle", name);
	digest_add(&b->sum, as, strlen(as) + 1);
	digest_add(&b->sum, digest, DIGEST_TEXT_MAX);
	b->img->own_bytes += bytes;
	return str_set(ret, as) < 0 ? err_set(e, -ENOMEM, "out of memory") : 0;
}

static int stage_disk_part(struct bundling *b, const char *name, struct err *e)
{
	uint64_t before = b->img->own_bytes;
	char digest[DIGEST_TEXT_MAX];
	auto_close int fd = -EBADF;
	int r;

	if (!name)
		return 0;
	fd = open_part(b, name, e);
	if (fd < 0)
		return fd;
	r = disk_stage(b->t, fd, b->stage, b->img, digest, e);
	if (r < 0)
		return err_wrap(e, r, "'%s' of the bundle", name);
	digest_add(&b->sum, "disk", 5);
	digest_add(&b->sum, digest, DIGEST_TEXT_MAX);
	b->img->own_bytes += before;
	return 0;
}

static int stage_bundle(struct bundling *b, const struct vm_bundle *vm,
			struct err *e)
{
	struct stored *img = b->img;
	char id[DIGEST_TEXT_MAX];
	int r;

	digest_begin(&b->sum);
	r = stage_part(b, vm->kernel, "kernel", &img->img.vm.kernel, e);
	if (r == 0)
		r = stage_part(b, vm->initrd, "initrd", &img->img.vm.initrd, e);
	if (r == 0)
		r = stage_disk_part(b, vm->disk, e);
	digest_add(&b->sum, vm->cmdline, strlen(vm->cmdline));
	if (r == 0)
		r = digest_end(&b->sum, id);
	digest_drop(&b->sum);
	if (r < 0)
		return r;
	img->img.kind = IMAGE_KERNEL;
	img->img.stored_s = (int64_t)time(NULL);
	if (str_set(&img->img.id, id) < 0 ||
	    str_set(&img->img.manifest_digest, "") < 0 ||
	    str_set(&img->img.vm.cmdline, vm->cmdline) < 0 ||
	    (b->t->name && strlist_add(&img->names, b->t->name) < 0))
		return err_set(e, -ENOMEM, "out of memory");
	r = record_write(b->stage, img, e);
	strlist_clear(&img->names);
	return r;
}

static int read_bundle(int dirfd, struct vm_bundle *ret, struct err *e)
{
	auto_close int fd =
		open_inside(dirfd, BUNDLE_FILE, O_RDONLY | O_NONBLOCK);
	auto_buf struct buf text = BUF_INIT;
	int r;

	if (fd < 0) {
		errno = -fd;
		return err_sys(e, "open '" BUNDLE_FILE "' of the bundle");
	}
	r = buf_read_fd(&text, fd, BUNDLE_MAX);
	if (r < 0)
		return err_wrap(e, r, "read '" BUNDLE_FILE "'");
	return vm_bundle_parse(buf_str(&text), text.len, ret, e);
}

int kernel_import(struct transfer *t, int dirfd, struct image **ret,
		  struct err *e)
{
	struct bundling b = { .t = t, .from = dirfd, .stage = -EBADF };
	struct vm_bundle vm = { .kernel = NULL };
	char stage[STAGE_NAME_MAX];
	int r = read_bundle(dirfd, &vm, e);

	if (r < 0)
		return r;
	b.img = stored_new();
	r = b.img ? stage_new(t->s, stage, &b.stage, e)
		  : err_set(e, -ENOMEM, "out of memory");
	if (r == 0) {
		r = stage_bundle(&b, &vm, e);
		if (r == 0)
			r = build_commit(t, stage, take_ptr(b.img), ret, e);
		else
			stage_drop(t->s, stage);
	}
	if (b.img)
		image_unref(&b.img->img);
	auto_close_(&b.stage);
	vm_bundle_clear(&vm);
	return r;
}

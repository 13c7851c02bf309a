// SPDX-License-Identifier: Apache-2.0
/* From a manifest and its blobs to an image in the store. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "agent/image/internal.h"
#include "agent/image/names.h"
#include "agent/image/strlist.h"
#include "lib/auto.h"
#include "lib/err.h"
#include "lib/fs.h"

#define INDEX_DEPTH_MAX 4

struct building {
	struct transfer *t;
	const struct blobs *b;
	struct oci_manifest m;
	struct oci_config c;
	char manifest_digest[DIGEST_TEXT_MAX];
	size_t acquired; /* the first so many layers are ours */
};

static int open_blob(const struct blobs *b, const struct oci_blob *blob,
		     struct err *e)
{
	auto_close int fd = -EBADF;
	char path[DIGEST_TEXT_MAX + 16];
	struct stat st;

	(void)snprintf(path, sizeof(path), "%s%s",
		       b->oci ? "blobs/sha256/" : "", digest_hex(blob->digest));
	/* Not to be caught by somebody's pipe. */
	fd = openat(b->dirfd, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0 && errno == ENOENT)
		return err_set(e, -EBADMSG, "the image lacks its blob %s",
			       blob->digest);
	if (fd < 0)
		return err_sys(e, "open blob '%s'", path);
	if (fstat(fd, &st) < 0)
		return err_sys(e, "stat blob '%s'", path);
	if (!S_ISREG(st.st_mode))
		return err_set(e, -EBADMSG, "blob '%s' is no file", path);
	if ((uint64_t)st.st_size != blob->size)
		return err_set(e, -EBADMSG,
			       "damaged: blob %.19s has %jd bytes, not %" PRIu64,
			       blob->digest, (intmax_t)st.st_size, blob->size);
	return take_fd(&fd);
}

static int read_blob(const struct blobs *b, const struct oci_blob *blob,
		     size_t max, struct buf *ret, struct err *e)
{
	char digest[DIGEST_TEXT_MAX];
	auto_close int fd = open_blob(b, blob, e);
	int r;

	if (fd < 0)
		return fd;
	if (blob->size > max)
		return err_set(e, -EBADMSG, "blob %.19s is too large",
			       blob->digest);
	r = buf_read_fd(ret, fd, max);
	if (r < 0)
		return err_wrap(e, r, "read blob %.19s", blob->digest);
	r = digest_of(buf_str(ret), ret->len, digest);
	if (r < 0)
		return err_wrap(e, r, "digest");
	if (!str_eq(digest, blob->digest))
		return err_set(e, -EBADMSG,
			       "damaged: blob %.19s has the digest %s",
			       blob->digest, digest);
	return 0;
}

static int acquire_layer(struct building *w, size_t i, struct err *e)
{
	struct layer_source src = { .blob = &w->m.layers[i],
				    .diff_id = w->c.diff_ids[i] };
	auto_close int fd = open_blob(w->b, src.blob, e);

	if (fd < 0)
		return fd;
	src.fd = fd;
	w->t->now.layer = (uint32_t)i + 1;
	w->t->now.bytes = 0;
	w->t->now.total_bytes = 0;
	transfer_tell(w->t);
	return layer_acquire(w->t, &src, e);
}

static int acquire_layers(struct building *w, struct err *e)
{
	int r = 0;

	w->t->now.phase = IMAGE_UNPACKING;
	w->t->now.nr_layers = (uint32_t)w->m.nr_layers;
	for (size_t i = 0; r == 0 && i < w->m.nr_layers; i++) {
		r = transfer_check(w->t, e);
		if (r == 0)
			r = acquire_layer(w, i, e);
		if (r == 0)
			w->acquired++;
	}
	return r;
}

static void release_layers(struct building *w)
{
	while (w->acquired)
		layer_release(w->t->s, w->m.layers[--w->acquired].digest);
}

/* A layer that comes twice hides, where it comes last, all it does where it
 * comes first; and overlayfs refuses the same folder twice. */
static bool comes_again(const struct oci_manifest *m, size_t i)
{
	for (size_t k = i + 1; k < m->nr_layers; k++)
		if (str_eq(m->layers[k].digest, m->layers[i].digest))
			return true;
	return false;
}

/* The record's layers, each with the one reference it keeps; further ones of
 * layers that come twice are given back. */
static int record_layers(struct building *w, struct stored *img)
{
	struct image_store *s = w->t->s;
	bool twice[IMAGE_LAYERS_MAX];

	img->layers = calloc(w->m.nr_layers + 1, sizeof(*img->layers));
	if (!img->layers)
		return -ENOMEM;
	pthread_mutex_lock(&s->lock);
	for (size_t i = 0; i < w->m.nr_layers; i++) {
		const struct layer *l = table_layer(s, w->m.layers[i].digest);
		struct layer_record *rec = &img->layers[img->nr_layers];

		twice[i] = comes_again(&w->m, i);
		if (twice[i])
			continue;
		memcpy(rec->digest, l->digest, DIGEST_TEXT_MAX);
		memcpy(rec->diff_id, l->diff_id, DIGEST_TEXT_MAX);
		rec->bytes = l->bytes;
		img->nr_layers++;
	}
	pthread_mutex_unlock(&s->lock);
	for (size_t i = 0; i < w->m.nr_layers; i++)
		if (twice[i])
			layer_release(s, w->m.layers[i].digest);
	/* From here on they are the image's. */
	w->acquired = 0;
	return 0;
}

static int describe(struct building *w, struct stored *img,
		    enum image_kind kind)
{
	struct transfer *t = w->t;

	img->img.kind = kind;
	img->img.created_s = w->c.created_s;
	img->img.stored_s = (int64_t)time(NULL);
	if (str_set(&img->img.id, w->m.config.digest) < 0 ||
	    str_set(&img->img.manifest_digest, w->manifest_digest) < 0 ||
	    strlist_add(&img->digests, w->manifest_digest) < 0)
		return -ENOMEM;
	if (t->asked && !strlist_has(&img->digests, t->asked) &&
	    strlist_add(&img->digests, t->asked) < 0)
		return -ENOMEM;
	if (kind == IMAGE_CONTAINER) {
		img->img.config = w->c.config;
		w->c.config = (struct image_config){ .user = NULL };
	}
	return 0;
}

static int write_file(int dirfd, const char *name, const struct buf *b,
		      struct err *e)
{
	return fs_write_atomic(dirfd, name, buf_str(b), b->len, 0600, e);
}

/* Give an image that is here already the name it was asked by. */
int build_alias(struct transfer *t, struct stored *img, struct image **ret,
		struct err *e)
{
	int r = 0;

	if (t->asked && !strlist_has(&img->digests, t->asked))
		(void)strlist_add(&img->digests, t->asked);
	if (t->name)
		r = index_name(t->s, img, t->name, e);
	if (r == 0 && ret)
		*ret = stored_use(t->s, img);
	return r;
}

static int put_in_place(struct transfer *t, const char *stage,
			struct stored *img, struct err *e)
{
	char to[DIGEST_TEXT_MAX + 16];
	struct image_store *s = t->s;
	auto_close int images = -EBADF;
	int r;

	(void)snprintf(to, sizeof(to), "images/%s", digest_hex(img->img.id));
	r = stage_place(s, stage, to, e);
	if (r < 0)
		return r;
	images = openat(s->fd, "images", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (images < 0 || fsync(images) < 0) {
		r = err_sys(e, "fsync '%s/images'", s->dir);
		(void)fs_remove_tree(s->fd, to, NULL);
		return r;
	}
	table_add(s, img);
	return 0;
}

static int flush(struct transfer *t, struct err *e)
{
	t->now.phase = IMAGE_FLUSHING;
	transfer_tell(t);
	/* Layers, disk and record, in one go, before anything counts on them;
	 * and before others see a file system that ran full behind us. */
	if (syncfs(t->s->fd) < 0)
		return err_sys(e, "flush '%s'", t->s->dir);
	return 0;
}

int build_commit(struct transfer *t, const char *stage, struct stored *img,
		 struct image **ret, struct err *e)
{
	struct image_store *s = t->s;
	struct stored *twin;
	int r = flush(t, e);

	if (r == 0 && record_paths(s, img) < 0)
		r = err_set(e, -ENOMEM, "out of memory");
	pthread_mutex_lock(&s->lock);
	twin = r == 0 ? table_by_id(s, img->img.id) : NULL;
	if (r == 0 && !twin) {
		r = put_in_place(t, stage, img, e);
		twin = r == 0 ? take_ptr(img) : NULL;
	}
	if (r == 0)
		r = build_alias(t, twin, ret, e);
	pthread_mutex_unlock(&s->lock);
	if (img) { /* it was here already, or it failed */
		stage_drop(s, stage);
		for (size_t i = 0; i < img->nr_layers; i++)
			layer_release(s, img->layers[i].digest);
		image_unref(&img->img);
	}
	if (r == 0) {
		t->now.phase = IMAGE_DONE;
		transfer_tell(t);
	}
	return r;
}

/* Everything but the layers into a stage, then commit. */
static int stage_image(struct building *w, const struct buf *manifest,
		       const struct buf *config, int disk, struct image **ret,
		       struct err *e)
{
	struct image_store *s = w->t->s;
	char digest[DIGEST_TEXT_MAX], stage[STAGE_NAME_MAX];
	struct stored *img = stored_new();
	auto_close int dir = -EBADF;
	int r;

	if (!img)
		return err_set(e, -ENOMEM, "out of memory");
	r = stage_new(s, stage, &dir, e);
	if (r < 0) {
		image_unref(&img->img);
		return r;
	}
	r = describe(w, img, disk >= 0 ? IMAGE_DISK : IMAGE_CONTAINER);
	if (r == 0 && disk >= 0)
		r = disk_stage(w->t, disk, dir, img, digest, e);
	else if (r == 0)
		r = record_layers(w, img);
	if (r == 0)
		r = write_file(dir, "manifest.json", manifest, e);
	if (r == 0)
		r = write_file(dir, "config.json", config, e);
	if (r == 0 && w->t->name && strlist_add(&img->names, w->t->name) < 0)
		r = -ENOMEM;
	if (r == 0)
		r = record_write(dir, img, e);
	strlist_clear(&img->names); /* index_name() gives it */
	if (r == 0)
		return build_commit(w->t, stage, img, ret, e);
	stage_drop(s, stage);
	for (size_t i = 0; i < img->nr_layers; i++)
		layer_release(s, img->layers[i].digest);
	image_unref(&img->img);
	return err_wrap(e, r, "store the image");
}

/* A disk image is one whose /disk holds one file; without being told, only if
 * nothing in it is made to be run. */
static int find_disk(struct building *w, struct err *e)
{
	struct layer_record *records;
	int fd;

	if (w->t->kind == IMAGE_CONTAINER)
		return -ENOENT;
	if (w->t->kind == IMAGE_AUTO &&
	    (w->c.config.entrypoint.nr || w->c.config.cmd.nr))
		return -ENOENT;
	records = calloc(w->m.nr_layers + 1, sizeof(*records));
	if (!records)
		return err_set(e, -ENOMEM, "out of memory");
	for (size_t i = 0; i < w->m.nr_layers; i++)
		memcpy(records[i].digest, w->m.layers[i].digest,
		       DIGEST_TEXT_MAX);
	fd = disk_in_layers(w->t->s, records, w->m.nr_layers, e);
	free(records);
	if (fd == -ENOENT && w->t->kind == IMAGE_DISK)
		return err_set(e, -EBADMSG,
			       "a container image without a VM's disk: there "
			       "is no file in its folder /disk");
	return fd;
}

static int build(struct building *w, const struct buf *manifest,
		 struct image **ret, struct err *e)
{
	auto_buf struct buf config = BUF_INIT;
	struct image_store *s = w->t->s;
	auto_close int disk = -EBADF;
	struct stored *known;
	int r = read_blob(w->b, &w->m.config, OCI_CONFIG_MAX, &config, e);

	if (r == 0)
		r = oci_config_parse(buf_str(&config), config.len, &w->c, e);
	if (r < 0)
		return r;
	if (w->c.nr_diff_ids != w->m.nr_layers)
		return err_set(e, -EBADMSG,
			       "the manifest has %zu layers, the configuration "
			       "%zu",
			       w->m.nr_layers, w->c.nr_diff_ids);
	pthread_mutex_lock(&s->lock);
	known = table_by_id(s, w->m.config.digest);
	if (known && w->t->kind == IMAGE_DISK && known->img.kind != IMAGE_DISK)
		r = err_set(e, -EBADMSG,
			    "the image is here, as a container's and not as a "
			    "VM's disk");
	else if (known)
		r = build_alias(w->t, known, ret, e);
	pthread_mutex_unlock(&s->lock);
	if (known)
		return r;
	r = acquire_layers(w, e);
	if (r < 0)
		return r;
	disk = find_disk(w, e);
	if (disk < 0 && disk != -ENOENT)
		return disk;
	return stage_image(w, manifest, &config, disk, ret, e);
}

int build_image(struct transfer *t, const struct blobs *b, const char *manifest,
		size_t len, struct image **ret, struct err *e)
{
	struct oci_want want = { .architecture = oci_architecture() };
	struct building *w = calloc(1, sizeof(*w));
	auto_buf struct buf text = BUF_INIT;
	int r;

	if (!w || buf_add(&text, manifest, len) < 0) {
		free(w);
		return err_set(e, -ENOMEM, "out of memory");
	}
	w->t = t;
	w->b = b;
	r = digest_of(manifest, len, w->manifest_digest);
	if (r == 0)
		r = oci_manifest_parse(manifest, len, &want, &w->m, e);
	if (r == 0 && w->m.is_index)
		r = err_set(e, -EBADMSG, "a manifest is wanted, not an index");
	if (r == 0)
		r = build(w, &text, ret, e);
	release_layers(w);
	oci_config_clear(&w->c);
	free(w);
	return r;
}

int build_from_dir(struct transfer *t, int dirfd, struct image **ret,
		   struct err *e)
{
	struct blobs b = { .dirfd = dirfd };
	auto_buf struct buf text = BUF_INIT;
	int r = fs_read(dirfd, "manifest.json", OCI_MANIFEST_MAX, &text, e);

	return r < 0 ? r : build_image(t, &b, buf_str(&text), text.len, ret, e);
}

/* Down the indexes: the folder's own, then those of several machines. */
int build_from_oci(struct transfer *t, int dirfd, const char *tag,
		   struct image **ret, struct err *e)
{
	struct oci_want want = { .architecture = oci_architecture(),
				 .tag = tag };
	struct blobs b = { .dirfd = dirfd, .oci = true };
	auto_free struct oci_manifest *m = malloc(sizeof(*m));
	auto_buf struct buf text = BUF_INIT;
	char asked[DIGEST_TEXT_MAX];
	int r;

	if (!m)
		return err_set(e, -ENOMEM, "out of memory");
	r = fs_read(dirfd, "index.json", OCI_MANIFEST_MAX, &text, e);
	for (int depth = 0; r == 0 && depth < INDEX_DEPTH_MAX; depth++) {
		r = oci_manifest_parse(buf_str(&text), text.len, &want, m, e);
		if (r == 0 && !m->is_index)
			return build_image(t, &b, buf_str(&text), text.len, ret,
					   e);
		want.tag = NULL;
		if (r == 0 && depth == 0) {
			memcpy(asked, m->pick.digest, sizeof(asked));
			t->asked = asked;
		}
		buf_reset(&text);
		if (r == 0)
			r = read_blob(&b, &m->pick, OCI_MANIFEST_MAX, &text, e);
	}
	return r < 0 ? r : err_set(e, -EBADMSG, "indexes of indexes");
}

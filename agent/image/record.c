// SPDX-License-Identifier: Apache-2.0
/* images/<hex>/image.json: what the store knows of one image. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/image/internal.h"
#include "agent/image/strlist.h"
#include "lib/auto.h"
#include "lib/err.h"
#include "lib/fs.h"
#include "lib/json.h"

#define RECORD_VERSION 1
#define RECORD_MAX     (1024 * 1024)
#define NAMES_MAX      1000

static const char *const kinds[] = {
	[IMAGE_CONTAINER] = "container",
	[IMAGE_DISK] = "disk",
	[IMAGE_KERNEL] = "kernel",
};

static void put_list(struct json_out *o, const char *key, const struct strv *l)
{
	json_put_array(o, key);
	for (size_t i = 0; i < l->nr; i++)
		json_put_str(o, NULL, l->v[i]);
	json_put_end(o);
}

static const char *base(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

static void put_vm(struct json_out *o, const struct image_vm *vm)
{
	json_put_object(o, "vm");
	if (vm->disk) {
		json_put_str(o, "disk", base(vm->disk));
		json_put_str(o, "format", vm->format);
		json_put_u64(o, "virtualBytes", vm->virtual_bytes);
	}
	if (vm->kernel)
		json_put_str(o, "kernel", base(vm->kernel));
	if (vm->initrd)
		json_put_str(o, "initrd", base(vm->initrd));
	json_put_str(o, "cmdline", vm->cmdline ? vm->cmdline : "");
	json_put_end(o);
}

int record_write(int dirfd, const struct stored *img, struct err *e)
{
	auto_buf struct buf b = BUF_INIT;
	struct json_out o = JSON_OUT(&b);

	json_put_object(&o, NULL);
	json_put_u64(&o, "version", RECORD_VERSION);
	json_put_str(&o, "id", img->img.id);
	json_put_str(&o, "kind", kinds[img->img.kind]);
	json_put_str(&o, "manifest", img->img.manifest_digest);
	json_put_i64(&o, "created", img->img.created_s);
	json_put_i64(&o, "imported", img->img.stored_s);
	json_put_u64(&o, "bytes", img->own_bytes);
	put_list(&o, "names", &img->names);
	put_list(&o, "digests", &img->digests);
	json_put_array(&o, "layers");
	for (size_t i = 0; i < img->nr_layers; i++) {
		json_put_object(&o, NULL);
		json_put_str(&o, "digest", img->layers[i].digest);
		json_put_str(&o, "diffId", img->layers[i].diff_id);
		json_put_u64(&o, "bytes", img->layers[i].bytes);
		json_put_end(&o);
	}
	json_put_end(&o);
	if (img->img.kind != IMAGE_CONTAINER)
		put_vm(&o, &img->img.vm);
	json_put_end(&o);
	if (buf_error(&b))
		return err_set(e, buf_error(&b), "out of memory");
	return fs_write_atomic(dirfd, RECORD_FILE, b.data, b.len, 0600, e);
}

static int get_dup(const struct json_ref *at, const char *key, char **ret,
		   struct err *e)
{
	struct json_ref field = json_get(at, key);

	return json_opt_strdup(&field, ret, e);
}

static int get_digest(const struct json_ref *at, const char *key,
		      char ret[DIGEST_TEXT_MAX], struct err *e)
{
	struct json_ref field = json_get(at, key);
	const char *s;
	int r = json_str(&field, &s, e);

	if (r == 0 && !digest_is_valid(s))
		r = json_err(&field, -EINVAL, e, "must be a digest");
	if (r == 0)
		memcpy(ret, s, DIGEST_TEXT_MAX);
	return r;
}

static int get_u64(const struct json_ref *at, const char *key, uint64_t *ret,
		   struct err *e)
{
	struct json_ref field = json_get(at, key);

	return json_opt_u64(&field, UINT64_MAX, ret, e);
}

static int get_i64(const struct json_ref *at, const char *key, int64_t *ret,
		   struct err *e)
{
	struct json_ref field = json_get(at, key);

	return json_opt_i64(&field, INT64_MIN, INT64_MAX, ret, e);
}

static int get_kind(const struct json_ref *root, struct stored *img,
		    struct err *e)
{
	struct json_ref field = json_get(root, "kind");
	const char *s;
	int r = json_str(&field, &s, e);

	if (r < 0)
		return r;
	for (size_t i = IMAGE_CONTAINER; i < ARRAY_LEN(kinds); i++)
		if (str_eq(kinds[i], s))
			img->img.kind = (enum image_kind)i;
	return img->img.kind ? 0 : json_err(&field, -EINVAL, e, "is unknown");
}

static int get_layers(const struct json_ref *root, struct stored *img,
		      struct err *e)
{
	struct json_ref list = json_get(root, "layers");
	int r = json_want_array(&list, IMAGE_LAYERS_MAX, e);

	if (r < 0)
		return r;
	img->layers = calloc(json_len(&list) + 1, sizeof(*img->layers));
	if (!img->layers)
		return err_set(e, -ENOMEM, "out of memory");
	json_for_each (it, &list) {
		struct layer_record *l = &img->layers[img->nr_layers];

		r = get_digest(&it.item, "digest", l->digest, e);
		if (r == 0)
			r = get_digest(&it.item, "diffId", l->diff_id, e);
		if (r == 0)
			r = get_u64(&it.item, "bytes", &l->bytes, e);
		if (r < 0)
			return r;
		img->nr_layers++;
	}
	return 0;
}

static int get_vm(const struct json_ref *root, struct image_vm *vm,
		  struct err *e)
{
	struct json_ref at = json_get(root, "vm");
	int r = get_dup(&at, "disk", &vm->disk, e);

	if (r == 0)
		r = get_dup(&at, "format", &vm->format, e);
	if (r == 0)
		r = get_u64(&at, "virtualBytes", &vm->virtual_bytes, e);
	if (r == 0)
		r = get_dup(&at, "kernel", &vm->kernel, e);
	if (r == 0)
		r = get_dup(&at, "initrd", &vm->initrd, e);
	if (r == 0)
		r = get_dup(&at, "cmdline", &vm->cmdline, e);
	return r;
}

static int parse(const struct json_ref *root, struct stored *img, struct err *e)
{
	char id[DIGEST_TEXT_MAX];
	int r = get_digest(root, "id", id, e);

	if (r == 0)
		r = get_kind(root, img, e);
	if (r == 0)
		r = get_dup(root, "manifest", &img->img.manifest_digest, e);
	if (r == 0)
		r = get_i64(root, "created", &img->img.created_s, e);
	if (r == 0)
		r = get_i64(root, "imported", &img->img.stored_s, e);
	if (r == 0)
		r = get_u64(root, "bytes", &img->own_bytes, e);
	if (r == 0)
		r = image_get_list(root, "names", NAMES_MAX, &img->names, e);
	if (r == 0)
		r = image_get_list(root, "digests", NAMES_MAX, &img->digests,
				   e);
	if (r == 0)
		r = get_layers(root, img, e);
	if (r == 0)
		r = get_vm(root, &img->img.vm, e);
	if (r == 0 && str_set(&img->img.id, id) < 0)
		r = err_set(e, -ENOMEM, "out of memory");
	return r;
}

/* A container's configuration is kept as it came: its digest is the id. */
static int read_config(struct image_store *s, const char *hex,
		       struct stored *img, struct err *e)
{
	auto_buf struct buf b = BUF_INIT;
	auto_free char *path = str_printf("images/%s/config.json", hex);
	char digest[DIGEST_TEXT_MAX];
	struct oci_config c;
	int r;

	if (!path)
		return err_set(e, -ENOMEM, "out of memory");
	r = fs_read(s->fd, path, OCI_CONFIG_MAX, &b, e);
	if (r == 0)
		r = digest_of(b.data, b.len, digest);
	if (r == 0 && !str_eq(digest, img->img.id))
		return err_set(e, -EBADMSG, "'%s/%s' is damaged", s->dir, path);
	if (r == 0)
		r = oci_config_parse(b.data, b.len, &c, e);
	if (r < 0)
		return r;
	img->img.config = c.config;
	c.config = (struct image_config){ .user = NULL };
	oci_config_clear(&c);
	return 0;
}

static int make_absolute(struct image_store *s, const char *id, char **path)
{
	char *full;

	if (!*path)
		return 0;
	full = str_printf("%s/images/%s/%s", s->dir, digest_hex(id),
			  base(*path));
	free(*path);
	*path = full;
	return full ? 0 : -ENOMEM;
}

/* Fill in what follows from where the store is: paths, and the sum. */
int record_paths(struct image_store *s, struct stored *img)
{
	struct image *i = &img->img;

	i->bytes = img->own_bytes;
	for (size_t n = 0; n < img->nr_layers; n++) {
		auto_free char *path =
			str_printf("%s/layers/%s", s->dir,
				   digest_hex(img->layers[n].digest));

		if (!path || strlist_add(&i->layers, path) < 0)
			return -ENOMEM;
		i->bytes += img->layers[n].bytes;
	}
	if (!i->manifest_digest && str_set(&i->manifest_digest, "") < 0)
		return -ENOMEM;
	if (i->kind != IMAGE_CONTAINER && !i->vm.cmdline &&
	    str_set(&i->vm.cmdline, "") < 0)
		return -ENOMEM;
	if (make_absolute(s, i->id, &i->vm.disk) < 0 ||
	    make_absolute(s, i->id, &i->vm.kernel) < 0 ||
	    make_absolute(s, i->id, &i->vm.initrd) < 0)
		return -ENOMEM;
	return 0;
}

static int check_files(struct image_store *s, const struct stored *img,
		       const char *hex, struct err *e)
{
	const char *const files[] = { img->img.vm.disk, img->img.vm.kernel,
				      img->img.vm.initrd };

	if (!str_eq(digest_hex(img->img.id), hex))
		return err_set(e, -EBADMSG, "'%s' claims to be %s", hex,
			       img->img.id);
	for (size_t i = 0; i < ARRAY_LEN(files); i++)
		if (files[i] && !fs_exists(AT_FDCWD, files[i]))
			return err_set(e, -EBADMSG, "'%s' is gone", files[i]);
	for (size_t i = 0; i < img->img.layers.nr; i++)
		if (!fs_exists(AT_FDCWD, img->img.layers.v[i]))
			return err_set(e, -EBADMSG, "'%s' is gone",
				       img->img.layers.v[i]);
	if (img->img.kind == IMAGE_DISK &&
	    (!img->img.vm.disk || !img->img.vm.format))
		return err_set(e, -EBADMSG, "the record of '%s' is damaged",
			       hex);
	(void)s;
	return 0;
}

int record_read(struct image_store *s, const char *hex, struct stored **ret,
		struct err *e)
{
	auto_free char *path = str_printf("images/%s/" RECORD_FILE, hex);
	struct json_limits limits = { .len = RECORD_MAX };
	struct stored *img = stored_new();
	auto_buf struct buf b = BUF_INIT;
	yyjson_doc *doc = NULL;
	struct json_ref root;
	int r = -ENOMEM;

	if (path && img)
		r = fs_read(s->fd, path, RECORD_MAX, &b, e);
	if (r == 0)
		r = json_parse_within(b.data, b.len, &limits, &doc, e);
	if (r == 0) {
		root = json_root(doc);
		r = parse(&root, img, e);
	}
	yyjson_doc_free(doc);
	if (r == 0)
		r = record_paths(s, img);
	if (r == 0 && img->img.kind == IMAGE_CONTAINER)
		r = read_config(s, hex, img, e);
	if (r == 0)
		r = check_files(s, img, hex, e);
	if (r < 0) {
		if (img)
			image_unref(&img->img);
		return r;
	}
	*ret = img;
	return 0;
}

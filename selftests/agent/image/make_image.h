/* SPDX-License-Identifier: Apache-2.0 */
/* Images made for tests: tar files entry by entry, and OCI folders of them. */
#ifndef SELFTESTS_MAKE_IMAGE_H
#define SELFTESTS_MAKE_IMAGE_H

/* An entry says only what it is about. */
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"

#include <archive.h>
#include <archive_entry.h>
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "agent/image/digest.h"
#include "agent/image/image.h"
#include "agent/image/oci.h"
#include "lib/err.h"
#include "lib/str.h"

#define LAYERS_MADE_MAX 16

/* One entry. What is not given is 0: a file of root's with mode 0. */
struct made {
	const char *name;
	int type; /* AE_IFREG when 0 */
	int mode;
	int uid, gid;
	const char *data;   /* of a file */
	const char *link;   /* of a symlink */
	const char *hard;   /* hard link to this */
	int64_t claim;      /* a size to claim beyond what is there */
	int64_t hole;       /* a sparse file: so much nothing before @data */
	const char *xattr;  /* name ... */
	const char *xvalue; /* ... and value */
	size_t xlen;
	int64_t mtime;
};

enum { PACK_NONE, PACK_GZIP, PACK_ZSTD };

static inline void make_entry(struct archive *a, const struct made *m)
{
	struct archive_entry *e = archive_entry_new();
	int64_t size = m->data ? (int64_t)strlen(m->data) : 0;

	archive_entry_set_pathname(e, m->name);
	archive_entry_set_filetype(e,
				   m->type ? (unsigned int)m->type : AE_IFREG);
	archive_entry_set_perm(e, (mode_t)m->mode);
	archive_entry_set_uid(e, m->uid);
	archive_entry_set_gid(e, m->gid);
	archive_entry_set_mtime(e, m->mtime, 0);
	if (m->link)
		archive_entry_set_symlink(e, m->link);
	if (m->hard)
		archive_entry_set_hardlink(e, m->hard);
	if (m->type == AE_IFCHR || m->type == AE_IFBLK)
		archive_entry_set_rdev(e, makedev(1, 3));
	if (m->xattr)
		archive_entry_xattr_add_entry(e, m->xattr, m->xvalue, m->xlen);
	/* Before its holes: they must fit. */
	archive_entry_set_size(e, m->claim ?: m->hole + size);
	if (m->hole)
		archive_entry_sparse_add_entry(e, m->hole, size);
	archive_write_header(a, e);
	if (m->hole) {
		char *zeros = calloc(1, (size_t)m->hole);

		archive_write_data(a, zeros, (size_t)m->hole);
		free(zeros);
	}
	if (size)
		archive_write_data(a, m->data, (size_t)size);
	archive_entry_free(e);
}

static inline void make_tar(const char *path, int pack, const struct made *m,
			    size_t nr)
{
	struct archive *a = archive_write_new();

	archive_write_set_format_pax(a);
	if (pack == PACK_GZIP)
		archive_write_add_filter_gzip(a);
	if (pack == PACK_ZSTD)
		archive_write_add_filter_zstd(a);
	archive_write_open_filename(a, path);
	for (size_t i = 0; i < nr; i++)
		make_entry(a, &m[i]);
	archive_write_close(a);
	archive_write_free(a);
}

/* --- an OCI folder ----------------------------------------------------------
 */

struct oci_maker {
	char dir[PATH_MAX];
	char diff[LAYERS_MADE_MAX][DIGEST_TEXT_MAX];
	char blob[LAYERS_MADE_MAX][DIGEST_TEXT_MAX];
	long size[LAYERS_MADE_MAX];
	int nr;
	char config_digest[DIGEST_TEXT_MAX]; /* the image's id */
	char manifest_digest[DIGEST_TEXT_MAX];
};

static inline void put_text(const char *path, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
static inline void put_text(const char *path, const char *fmt, ...)
{
	FILE *f = fopen(path, "we");
	va_list ap;

	va_start(ap, fmt);
	if (f) {
		vfprintf(f, fmt, ap);
		fclose(f);
	}
	va_end(ap);
}

static inline long file_digest(const char *path, char digest[DIGEST_TEXT_MAX])
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st = { 0 };

	if (fd < 0 || fstat(fd, &st) < 0 || digest_of_fd(fd, digest) < 0)
		printf("# cannot read %s\n", path);
	close(fd);
	return (long)st.st_size;
}

static inline void oci_begin(struct oci_maker *o, const char *dir)
{
	char path[PATH_MAX + 64];

	memset(o, 0, sizeof(*o));
	snprintf(o->dir, sizeof(o->dir), "%s", dir);
	mkdir(dir, 0755);
	snprintf(path, sizeof(path), "%s/blobs", dir);
	mkdir(path, 0755);
	snprintf(path, sizeof(path), "%s/blobs/sha256", dir);
	mkdir(path, 0755);
	snprintf(path, sizeof(path), "%s/oci-layout", dir);
	put_text(path, "{\"imageLayoutVersion\":\"1.0.0\"}");
}

/* Move @file in as a blob. */
static inline long oci_blob_add(struct oci_maker *o, const char *file,
				char digest[DIGEST_TEXT_MAX])
{
	long size = file_digest(file, digest);
	char path[PATH_MAX + 128];

	snprintf(path, sizeof(path), "%s/blobs/sha256/%.64s", o->dir,
		 digest_hex(digest));
	if (rename(file, path) < 0)
		printf("# cannot rename %s to %s\n", file, path);
	return size;
}

static inline void oci_layer_add(struct oci_maker *o, int pack,
				 const struct made *m, size_t nr)
{
	make_tar("plain.tar", PACK_NONE, m, nr);
	file_digest("plain.tar", o->diff[o->nr]);
	make_tar("layer.tar", pack, m, nr);
	o->size[o->nr] = oci_blob_add(o, "layer.tar", o->blob[o->nr]);
	unlink("plain.tar");
	o->nr++;
}

/* @config: JSON of the image's "config"; "{}" will do. */
static inline void oci_end(struct oci_maker *o, const char *config)
{
	char path[PATH_MAX + 64], list[8192] = "";
	size_t at = 0;
	long size;

	for (int i = 0; i < o->nr; i++)
		at += (size_t)snprintf(list + at, sizeof(list) - at, "%s\"%s\"",
				       i ? "," : "", o->diff[i]);
	put_text("config",
		 "{\"os\":\"linux\",\"architecture\":\"%s\",\"created\":"
		 "\"2024-05-06T07:08:09Z\",\"config\":%s,\"rootfs\":{\"type\":"
		 "\"layers\",\"diff_ids\":[%s]}}",
		 oci_architecture(), config, list);
	size = oci_blob_add(o, "config", o->config_digest);
	at = 0;
	for (int i = 0; i < o->nr; i++)
		at += (size_t)snprintf(
			list + at, sizeof(list) - at,
			"%s{\"mediaType\":\"application/vnd.oci.image.layer.v1"
			".tar\",\"digest\":\"%s\",\"size\":%ld}",
			i ? "," : "", o->blob[i], o->size[i]);
	if (!o->nr)
		list[0] = '\0';
	put_text("manifest",
		 "{\"schemaVersion\":2,\"mediaType\":\"application/vnd.oci."
		 "image.manifest.v1+json\",\"config\":{\"mediaType\":"
		 "\"application/vnd.oci.image.config.v1+json\",\"digest\":"
		 "\"%s\",\"size\":%ld},\"layers\":[%s]}",
		 o->config_digest, size, list);
	size = oci_blob_add(o, "manifest", o->manifest_digest);
	snprintf(path, sizeof(path), "%s/index.json", o->dir);
	put_text(path,
		 "{\"schemaVersion\":2,\"manifests\":[{\"mediaType\":"
		 "\"application/vnd.oci.image.manifest.v1+json\",\"digest\":"
		 "\"%s\",\"size\":%ld,\"annotations\":{\"org.opencontainers."
		 "image.ref.name\":\"latest\"}}]}",
		 o->manifest_digest, size);
}

/* The image of one layer, in folder @dir. */
static inline void make_oci(struct oci_maker *o, const char *dir, int pack,
			    const struct made *m, size_t nr)
{
	oci_begin(o, dir);
	oci_layer_add(o, pack, m, nr);
	oci_end(o, "{}");
}

/* --- a store
 * ------------------------------------------------------------------ */

/* build/bin, from build/selftests/agent/image/test_x. */
static inline const char *bin_dir(void)
{
	static char path[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 32);

	for (int up = 0; n > 0 && up < 4; up++) {
		path[n] = '\0';
		n = strrchr(path, '/') - path;
	}
	snprintf(path + n, 8, "/bin");
	return path;
}

/* In the folder "state" of the scratch directory. */
static inline struct image_store *open_store(struct image_store_opts *opts)
{
	struct image_store_opts none = { 0 };
	struct image_store *s = NULL;
	struct err e = { 0 };
	char cwd[PATH_MAX];
	char *state;

	opts = opts ? opts : &none;
	opts->libexec = bin_dir();
	state = str_printf("%s/state", getcwd(cwd, sizeof(cwd)));
	if (image_store_open(state, opts, &s, &e) < 0)
		printf("# open: %s\n", e.msg);
	free(state);
	return s;
}

static inline int count_dir(const char *path)
{
	struct dirent **list = NULL;
	int n = scandir(path, &list, NULL, NULL);

	for (int i = 0; i < n; i++)
		free(list[i]);
	free(list);
	return n < 0 ? n : n - 2;
}

#endif /* SELFTESTS_MAKE_IMAGE_H */

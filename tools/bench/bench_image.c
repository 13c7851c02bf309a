// SPDX-License-Identifier: Apache-2.0
/*
 * What it costs to import an image of one layer (2000 files, 16 MiB): unpacked
 * in the sandbox, verified twice, flushed; in turns with tar, which unpacks the
 * same file and flushes the same way, and does none of the rest. Then the price
 * of looking an image up.
 */
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "agent/image/digest.h"
#include "agent/image/image.h"
#include "agent/image/oci.h"
#include "lib/err.h"
#include "lib/fs.h"
#include "lib/spawn.h"
#include "lib/str.h"

#define ROUNDS     7
#define FILES      2000
#define FILE_BYTES 8192
#define LOOKUPS    200000

static double now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(double *v)
{
	qsort(v, ROUNDS, sizeof(*v), by_size);
	return v[ROUNDS / 2];
}

static int run(const char *const *argv)
{
	struct spawn_result res = SPAWN_RESULT_INIT;
	/* execve() does not write to them. */
	struct spawn_opts o = { .argv = (char *const *)argv };
	struct err e = { 0 };
	int r = spawn_run(&o, &(struct spawn_io){ .timeout_ms = -1 }, &res, &e);

	if (r == 0)
		r = spawn_check(&res, argv[0], &e);
	if (r < 0)
		fprintf(stderr, "%s\n", e.msg);
	spawn_result_clear(&res);
	return r;
}

static int put(const char *path, const void *data, size_t len)
{
	return fs_write_atomic(AT_FDCWD, path, data, len, 0644, NULL);
}

/* Text that compresses about as programs do. */
static int make_files(void)
{
	static char data[FILE_BYTES];
	unsigned int seed = 1;

	if (mkdir("tree", 0755) < 0)
		return -1;
	for (int i = 0; i < FILES; i++) {
		char path[64];
		FILE *f;

		for (size_t k = 0; k < sizeof(data); k++) {
			seed = seed * 1103515245 + 12345;
			data[k] = k % 3 ? (char)(seed >> 16 & 63) : 'x';
		}
		if (i % 50 == 0) {
			snprintf(path, sizeof(path), "tree/%d", i / 50);
			mkdir(path, 0755);
		}
		snprintf(path, sizeof(path), "tree/%d/%d", i / 50, i);
		f = fopen(path, "we");
		if (!f || fwrite(data, 1, sizeof(data), f) != sizeof(data))
			return -1;
		fclose(f);
	}
	return 0;
}

static long digest_file(const char *path, char digest[DIGEST_TEXT_MAX])
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st = { 0 };

	if (fd < 0 || fstat(fd, &st) < 0 || digest_of_fd(fd, digest) < 0)
		return -1;
	close(fd);
	return (long)st.st_size;
}

static long put_blob(const char *text, char digest[DIGEST_TEXT_MAX])
{
	char path[PATH_MAX];

	if (digest_of(text, strlen(text), digest) < 0)
		return -1;
	snprintf(path, sizeof(path), "oci/blobs/sha256/%s", digest_hex(digest));
	return put(path, text, strlen(text)) < 0 ? -1 : (long)strlen(text);
}

static int make_image(void)
{
	char diff[DIGEST_TEXT_MAX], layer[DIGEST_TEXT_MAX];
	char config[DIGEST_TEXT_MAX], manifest[DIGEST_TEXT_MAX];
	char text[2048], path[PATH_MAX];
	long layer_size, size;

	if (run((const char *[]){ "tar", "-C", "tree", "-cf", "l.tar", ".",
				  NULL }) ||
	    digest_file("l.tar", diff) < 0 ||
	    run((const char *[]){ "gzip", "l.tar", NULL }))
		return -1;
	layer_size = digest_file("l.tar.gz", layer);
	snprintf(path, sizeof(path), "oci/blobs/sha256/%s", digest_hex(layer));
	if (fs_mkdirs("oci/blobs/sha256", 0755, NULL) < 0 ||
	    link("l.tar.gz", path) < 0)
		return -1;
	snprintf(text, sizeof(text),
		 "{\"architecture\":\"%s\",\"os\":\"linux\",\"rootfs\":{"
		 "\"type\":\"layers\",\"diff_ids\":[\"%s\"]}}",
		 oci_architecture(), diff);
	size = put_blob(text, config);
	snprintf(text, sizeof(text),
		 "{\"schemaVersion\":2,\"config\":{\"digest\":\"%s\",\"size\":"
		 "%ld},\"layers\":[{\"digest\":\"%s\",\"size\":%ld}]}",
		 config, size, layer, layer_size);
	size = put_blob(text, manifest);
	snprintf(text, sizeof(text),
		 "{\"schemaVersion\":2,\"manifests\":[{\"digest\":\"%s\","
		 "\"size\":%ld}]}",
		 manifest, size);
	return put("oci/oci-layout", "{}", 2) < 0 ||
			       put("oci/index.json", text, strlen(text)) < 0
		       ? -1
		       : 0;
}

static int by_tar(void)
{
	int fd, r;

	mkdir("out", 0755);
	if (run((const char *[]){ "tar", "-C", "out", "-xzf", "l.tar.gz",
				  NULL }))
		return -1;
	fd = open("out", O_RDONLY | O_CLOEXEC);
	r = syncfs(fd);
	close(fd);
	return r;
}

static int measure(struct image_store *s)
{
	double ours[ROUNDS], tar[ROUNDS], begin;
	struct image *img;
	struct err e = { 0 };

	for (int i = 0; i < ROUNDS; i++) {
		sync(); /* everybody starts with a clean disk */
		begin = now_ms();
		if (image_import(s, "oci:oci", NULL, NULL, &e) < 0)
			goto fail;
		ours[i] = now_ms() - begin;
		if (image_remove(s, "oci", NULL, &e) < 0)
			goto fail;
		sync();
		begin = now_ms();
		if (by_tar() < 0)
			return -1;
		tar[i] = now_ms() - begin;
		(void)fs_remove_tree(AT_FDCWD, "out", NULL);
	}
	printf("image_import_p50 %.1f ms\n", median(ours));
	printf("image_tar_p50 %.1f ms\n", median(tar));
	printf("image_import_vs_tar %.2f ratio\n", median(ours) / median(tar));
	if (image_import(s, "oci:oci", NULL, NULL, &e) < 0)
		goto fail;
	begin = now_ms();
	for (int i = 0; i < LOOKUPS; i++) {
		if (image_find(s, "oci", &img, &e) < 0)
			goto fail;
		image_unref(img);
	}
	printf("image_find %.0f ns\n", (now_ms() - begin) * 1e6 / LOOKUPS);
	return 0;
fail:
	fprintf(stderr, "%s\n", e.msg);
	return -1;
}

int main(void)
{
	char dir[] = "/var/tmp/arktos-bench.XXXXXX";
	struct image_store_opts opts = { .libexec = NULL };
	char bin[PATH_MAX], state[PATH_MAX];
	struct image_store *s = NULL;
	struct err e = { 0 };
	ssize_t n = readlink("/proc/self/exe", bin, sizeof(bin) - 16);
	int r = -1;

	/* build/tools/bench/bench_image: ours are in build/bin */
	for (int up = 0; n > 0 && up < 3; up++) {
		bin[n] = '\0';
		n = strrchr(bin, '/') - bin;
	}
	if (n <= 0 || !mkdtemp(dir) || chdir(dir) < 0)
		return 1;
	memcpy(bin + n, "/bin", 5);
	opts.libexec = bin;
	snprintf(state, sizeof(state), "%s/state", dir);
	if (make_files() == 0 && make_image() == 0) {
		if (image_store_open(state, &opts, &s, &e) == 0)
			r = measure(s);
		else
			fprintf(stderr, "%s\n", e.msg);
	}
	image_store_close(s);
	if (chdir("/") == 0)
		(void)fs_remove_tree(AT_FDCWD, dir, NULL);
	return r < 0;
}

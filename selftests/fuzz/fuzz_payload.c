// SPDX-License-Identifier: Apache-2.0
// FUZZ: agent/volume/payload.c lib/buf.c lib/err.c lib/fs.c lib/str.c
/*
 * Volumes' files with names of users' choice: what is accepted can be read
 * again at its path, a second time nothing is to be done, and nothing is ever
 * written beside the volume. A byte for the mode, a name up to NUL, content up
 * to NUL, and so on; 0xff begins the volume's next content.
 */
#include <assert.h>
#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/volume/payload.h"
#include "lib/buf.h"
#include "lib/err.h"

#define FILES_MAX 24

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

static char top[] = "/dev/shm/arktos-fuzz-payload.XXXXXX";
static int topfd = -1;

static int drop(const char *path, const struct stat *st, int type,
		struct FTW *ftw)
{
	(void)st, (void)type, (void)ftw;
	return remove(path);
}

static void clean_up(void)
{
	nftw(top, drop, 16, FTW_DEPTH | FTW_PHYS);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc, (void)argv;
	if (!mkdtemp(top))
		abort();
	topfd = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	atexit(clean_up);
	return 0;
}

/* Beside the volume there is nothing. */
static void check_alone(void)
{
	int copy = openat(topfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fdopendir(copy);
	struct dirent *ent;

	while ((ent = readdir(d)))
		assert(*ent->d_name == '.' || strcmp(ent->d_name, "v") == 0);
	closedir(d);
}

static void write_all(int dir, const struct payload_file *files, size_t nr)
{
	struct err e = { 0 };
	bool changed = true;

	if (payload_write(dir, files, nr, NULL, NULL, &e) < 0) {
		assert(*e.msg);
		return;
	}
	for (size_t i = 0; i < nr; i++) {
		int fd = openat(dir, files[i].path, O_RDONLY | O_CLOEXEC);
		struct buf b = BUF_INIT;

		assert(fd >= 0);
		assert(buf_read_fd(&b, fd, PAYLOAD_BYTES_MAX) >= 0);
		assert(b.len == files[i].len &&
		       memcmp(buf_str(&b), files[i].data, b.len) == 0);
		buf_clear(&b);
		close(fd);
	}
	assert(payload_write(dir, files, nr, NULL, &changed, &e) == 0);
	assert(!changed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct payload_file files[FILES_MAX];
	char *text = malloc(size + 2), *at = text, *end = text + size;
	size_t nr = 0;
	int dir;

	memcpy(text, data, size);
	text[size] = text[size + 1] = '\0';
	mkdirat(topfd, "v", 0755);
	dir = openat(topfd, "v", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	while (at < end) {
		unsigned char mode = (unsigned char)*at++;
		struct payload_file *f = &files[nr];

		if (mode == 0xff || nr == FILES_MAX - 1) {
			write_all(dir, files, nr);
			nr = 0;
			continue;
		}
		f->mode = (mode_t)(mode & 7) << 6 | 0400;
		f->path = at;
		at += strlen(at) + 1;
		if (at > end)
			break;
		f->data = at;
		f->len = strlen(at);
		at += f->len + 1;
		nr++;
	}
	write_all(dir, files, nr);
	check_alone();
	close(dir);
	free(text);
	nftw(top, drop, 16, FTW_DEPTH | FTW_PHYS);
	mkdir(top, 0700);
	close(topfd);
	topfd = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return 0;
}

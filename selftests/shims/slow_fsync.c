// SPDX-License-Identifier: Apache-2.0
/* The disk is slow: fsync takes SHIM_FSYNC_MS longer; of what has SHIM_FSYNC_OF
 * in its path, as long as the file SHIM_FSYNC_HOLD is there, and then the path
 * is added to the file SHIM_FSYNC_SAW. */
#include <dlfcn.h>
#include <limits.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LOOK_MS 10

static void held(int fd, const char *hold, const char *of)
{
	char link[64], path[PATH_MAX];
	const char *saw = getenv("SHIM_FSYNC_SAW");
	FILE *f;
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof(path) - 1);
	path[n > 0 ? n : 0] = '\0';
	while (strstr(path, of) && access(hold, F_OK) == 0)
		(void)poll(NULL, 0, LOOK_MS);
	f = saw && strstr(path, of) ? fopen(saw, "ae") : NULL;
	if (f) {
		fprintf(f, "%s\n", path);
		fclose(f);
	}
}

int fsync(int fd);

int fsync(int fd)
{
	static int (*real)(int);
	const char *ms = getenv("SHIM_FSYNC_MS");
	const char *hold = getenv("SHIM_FSYNC_HOLD");
	const char *of = getenv("SHIM_FSYNC_OF");

	if (!real)
		*(void **)&real = dlsym(RTLD_NEXT, "fsync");
	if (ms)
		(void)poll(NULL, 0, atoi(ms));
	if (hold && of)
		held(fd, hold, of);
	return real(fd);
}

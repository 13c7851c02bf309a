// SPDX-License-Identifier: Apache-2.0
/* The disk is slow: fsync takes SHIM_FSYNC_MS longer. */
#include <dlfcn.h>
#include <poll.h>
#include <stddef.h>
#include <stdlib.h>

int fsync(int fd);

int fsync(int fd)
{
	static int (*real)(int);
	const char *ms = getenv("SHIM_FSYNC_MS");

	if (!real)
		*(void **)&real = dlsym(RTLD_NEXT, "fsync");
	if (ms)
		(void)poll(NULL, 0, atoi(ms));
	return real(fd);
}

// SPDX-License-Identifier: Apache-2.0
/*
 * What LMDB has looked at stays mapped, 16 pages around each it needed, and
 * counts as ours although all of it is in the page cache and nobody will read
 * it again: objects are served from memory.
 */
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "controlplane/store/lmdb.h"

/* Where the file of @fd is mapped. LMDB does not tell. */
static bool find_map(int fd, uintptr_t *ret_from, uintptr_t *ret_to)
{
	char link[32], path[PATH_MAX + 1], line[PATH_MAX + 128];
	bool found = false;
	int at = 0;
	ssize_t n;
	FILE *f;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof(path) - 1);
	if (n <= 0)
		return false;
	path[n] = '\n'; /* as a line ends */
	f = fopen("/proc/self/maps", "re");
	while (f && !found && fgets(line, sizeof(line), f))
		found = sscanf(line,
			       "%" SCNxPTR "-%" SCNxPTR " r--s %*x %*s %*u %n",
			       ret_from, ret_to, &at) == 2 &&
			at && strlen(line + at) == (size_t)n + 1 &&
			memcmp(line + at, path, (size_t)n + 1) == 0;
	if (f)
		fclose(f);
	return found;
}

void lmdb_map_drop(struct lmdb *l)
{
	uintptr_t from, to;
	int fd;

	if (mdb_env_get_fd(l->env, &fd) == 0 && find_map(fd, &from, &to))
		/* Read-only and shared: it only has to be mapped again. */
		(void)madvise((void *)from, to - from, MADV_DONTNEED);
}

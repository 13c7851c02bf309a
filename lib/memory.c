// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <unistd.h>

#include "lib/auto.h"
#include "lib/memory.h"

#define HEAPS_MIN   4
#define WORTH_BYTES ((size_t)1 << 20) /* so much more than last time */

void memory_few_heaps(void)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);

	(void)mallopt(M_ARENA_MAX,
		      cpus * 2 > HEAPS_MIN ? (int)cpus * 2 : HEAPS_MIN);
}

/* Anonymous memory; 0: not known. */
static size_t held(void)
{
	auto_close int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
	unsigned long resident, shared;
	char text[128];
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

	if (n <= 0)
		return 0;
	text[n] = '\0';
	if (sscanf(text, "%*u %lu %lu", &resident, &shared) != 2 ||
	    resident < shared)
		return 0;
	return (resident - shared) * (size_t)sysconf(_SC_PAGESIZE);
}

/* What is held and not in use: stacks, too, which hardly change. */
static size_t unused(void)
{
	struct mallinfo2 m = mallinfo2();
	size_t is = held(), used = m.uordblks + m.hblkhd;

	return is > used ? is - used : 0;
}

bool memory_give_back(struct memory_mark *mark)
{
	size_t now = unused();

	if (mark->known && now < mark->bytes)
		mark->bytes = now;
	if (mark->known && now - mark->bytes < WORTH_BYTES)
		return false;
	(void)malloc_trim(0);
	mark->known = true;
	mark->bytes = unused();
	return true;
}

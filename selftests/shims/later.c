// SPDX-License-Identifier: Apache-2.0
/*
 * Another time than it is: the file SHIM_LATER holds two numbers, seconds that
 * the time of day and the time since boot are ahead. It is read again at every
 * look, so that time can jump. CLOCK_MONOTONIC, which all waiting is by, stays.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long ahead(int boot)
{
	const char *path = getenv("SHIM_LATER");
	int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	char text[64] = "", *end = text;
	long real = 0;

	if (fd < 0)
		return 0;
	if (read(fd, text, sizeof(text) - 1) > 0)
		real = strtol(text, &end, 10);
	close(fd);
	return boot ? strtol(end, NULL, 10) : real;
}

int clock_gettime(clockid_t clock, struct timespec *ts)
{
	static int (*real)(clockid_t, struct timespec *);
	int r;

	if (!real)
		real = (int (*)(clockid_t,
				struct timespec *))dlsym(RTLD_NEXT,
							 "clock_gettime");
	r = real(clock, ts);
	if (r == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_BOOTTIME))
		ts->tv_sec += ahead(clock == CLOCK_BOOTTIME);
	return r;
}

int gettimeofday(struct timeval *restrict tv, void *restrict unused)
{
	struct timespec ts;

	(void)unused;
	if (clock_gettime(CLOCK_REALTIME, &ts) < 0)
		return -1;
	tv->tv_sec = ts.tv_sec;
	tv->tv_usec = ts.tv_nsec / 1000;
	return 0;
}

time_t time(time_t *ret)
{
	struct timespec ts;

	if (clock_gettime(CLOCK_REALTIME, &ts) < 0)
		return -1;
	if (ret)
		*ret = ts.tv_sec;
	return ts.tv_sec;
}

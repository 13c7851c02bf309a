// SPDX-License-Identifier: Apache-2.0
#include <sched.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "lib/slice.h"

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

void slice_give(uint64_t ns)
{
	static __thread uint64_t given_ns;

	if (now_ns() - given_ns < ns)
		return;
	sched_yield();
	given_ns = now_ns();
}

void slice_set(uint64_t ns)
{
	struct {
		uint32_t size, policy;
		uint64_t flags;
		int32_t nice;
		uint32_t priority;
		uint64_t runtime, deadline, period;
	} attr = { .size = sizeof(attr) };

	if (syscall(SYS_sched_getattr, 0, &attr, sizeof(attr), 0) < 0 ||
	    attr.policy != SCHED_OTHER)
		return;
	attr.size = sizeof(attr);
	attr.flags = 0;
	attr.runtime = ns;
	(void)syscall(SYS_sched_setattr, 0, &attr, 0); /* it was a wish */
}

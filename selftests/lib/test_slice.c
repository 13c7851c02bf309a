// SPDX-License-Identifier: Apache-2.0
/* LANE: native SECONDS: 30 */
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/slice.h"
#include "selftests/harness.h"

struct attr {
	uint32_t size, policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime, deadline, period;
};

static struct attr attr_of_this_thread(void)
{
	struct attr a = { .size = sizeof(a) };

	if (syscall(SYS_sched_getattr, 0, &a, sizeof(a), 0) < 0)
		a.policy = UINT32_MAX;
	return a;
}

/* Where the kernel knows slices it is as asked; where not, as it was. */
TEST(only_the_slice_changes)
{
	struct attr before = attr_of_this_thread(), after;

	slice_set(200000);
	after = attr_of_this_thread();
	EXPECT_EQ(after.policy, before.policy);
	EXPECT_EQ(after.nice, before.nice);
	if (before.runtime)
		EXPECT_EQ(after.runtime, 200000);
	else
		EXPECT_EQ(after.runtime, 0);
}

TEST(another_policy_is_left_alone)
{
	struct sched_param none = { 0 };
	struct attr after;

	ASSERT_EQ(sched_setscheduler(0, SCHED_BATCH, &none), 0);
	slice_set(200000);
	after = attr_of_this_thread();
	EXPECT_EQ(after.policy, SCHED_BATCH);
}

/* A thread that has just let others in goes on. */
TEST(giving_way_comes_back)
{
	for (int i = 0; i < 1000; i++)
		slice_give(i % 2 ? 0 : UINT64_MAX);
	EXPECT_EQ(attr_of_this_thread().policy, SCHED_OTHER);
}

TEST_MAIN()

// SPDX-License-Identifier: Apache-2.0
/*
 * VMs with a real guest: resized, watched, killed. What the guest has is read
 * through its serial console, not by the agent that the code under test uses.
 *
 * LANE: native
 * SECONDS: 300
 */
#include "selftests/harness.h"
#include "selftests/agent/vm/guest.h"
#include "qmp/qga.h"

#define BOOT_MS   25000
#define RESIZE_MS 20000

#define NEED_IMAGE()                                \
	do {                                        \
		const char *why_ = guest_missing(); \
		if (why_)                           \
			SKIP(why_);                 \
	} while (0)

TEST(grows_and_shrinks_as_the_guest_sees_it)
{
	struct guest g;
	struct vm_resize res = { 0 };
	struct vm_status st;
	struct err e = { 0 };
	unsigned long long small, large;

	NEED_IMAGE();
	guest_init(&g, 1000, 256);
	ASSERT_EQ(guest_start(&g, &e), 0);
	ASSERT_EQ(guest_wait(&g, VM_RUNNING, true, BOOT_MS, &st), 0);
	EXPECT_EQ(guest_cpus(&g), 1);
	small = guest_mem_kib(&g);
	EXPECT_GE(small, 140 << 10);

	EXPECT_EQ(guest_resize(&g, 3000, 768, RESIZE_MS, &res, &e), 0);
	EXPECT_STREQ(res.why, "");
	EXPECT_EQ(res.state, VM_RESIZE_DONE);
	EXPECT_EQ(res.actual.cpu_milli, 3000);
	EXPECT_EQ(res.actual.mem_bytes, 768 * MIB);
	EXPECT_EQ(res.cpus_online, 3);
	EXPECT_EQ(guest_cpus(&g), 3);
	large = guest_mem_kib(&g);
	EXPECT_EQ(large - small, 512 << 10);

	EXPECT_EQ(guest_resize(&g, 1500, 512, RESIZE_MS, &res, &e), 0);
	EXPECT_STREQ(res.why, "");
	EXPECT_EQ(res.state, VM_RESIZE_DONE);
	EXPECT_EQ(res.actual.cpu_milli, 1500);
	EXPECT_EQ(guest_cpus(&g), 2);
	EXPECT_EQ(guest_mem_kib(&g) - small, 256 << 10);

	EXPECT_EQ(guest_resize(&g, 1000, 256, RESIZE_MS, &res, &e), 0);
	EXPECT_STREQ(res.why, "");
	EXPECT_EQ(guest_cpus(&g), 1);
	EXPECT_EQ(guest_mem_kib(&g), small);
	guest_end(&g);
}

TEST_MAIN()

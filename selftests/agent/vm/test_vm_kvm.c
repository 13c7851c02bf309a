// SPDX-License-Identifier: Apache-2.0
/*
 * A VM on KVM, where vCPUs can be unplugged. The guest lane has KVM inside its
 * emulated machine; hardware has it anyway.
 *
 * LANE: guest
 * SECONDS: 300
 */
#include "selftests/harness.h"
#include "selftests/agent/vm/guest.h"
#include "agent/vm/kvm_probe.h"
#include "qmp/qmp.h"

#define BOOT_MS   120000
#define RESIZE_MS 60000

TEST(kvm_guest_grows_and_shrinks_and_gives_its_cpu_back)
{
	struct kvm_verdict kvm;
	struct vm_resize res = { 0 };
	struct vm_status st;
	struct err e = { 0 };
	struct guest g;
	unsigned long long small;

	if (guest_missing())
		SKIP(guest_missing());
	kvm_probe("/dev/kvm", &kvm);
	if (!kvm.usable) {
		printf("# %s\n", kvm.why);
		SKIP("no usable KVM");
	}
	test_alarm(290);
	guest_init(&g, 1000, 256);
	test_alarm(290);
	g.cfg.accel = VM_ACCEL_KVM;
	ASSERT_EQ(guest_start(&g, &e), 0);
	ASSERT_EQ(guest_wait(&g, VM_RUNNING, true, BOOT_MS, &st), 0);
	small = guest_mem_kib(&g);

	EXPECT_EQ(guest_resize(&g, 2000, 512, RESIZE_MS, &res, &e), 0);
	EXPECT_STREQ(res.why, "");
	EXPECT_EQ(res.state, VM_RESIZE_DONE);
	EXPECT_EQ(res.cpus_plugged, 2);
	EXPECT_EQ(guest_cpus(&g), 2);
	EXPECT_EQ(guest_mem_gain_mib(&g, small), 256);

	EXPECT_EQ(guest_resize(&g, 1000, 256, RESIZE_MS, &res, &e), 0);
	EXPECT_STREQ(res.why, "");
	EXPECT_EQ(res.state, VM_RESIZE_DONE);
	EXPECT_EQ(res.cpus_plugged, 1); /* not only offline: gone */
	EXPECT_EQ(guest_cpus(&g), 1);
	EXPECT_EQ(guest_mem_gain_mib(&g, small), 0);
	guest_end(&g);
}

TEST_MAIN()

// SPDX-License-Identifier: Apache-2.0
/*
 * Actions without a VM: names, and which snapshot fits which machine.
 *
 * LANE: native
 * SECONDS: 10
 */
#include "agent/action.h"
#include "selftests/harness.h"

TEST(operations_have_arktos_names)
{
	enum action_op op = ACTION_REBOOT;

	EXPECT_EQ(action_op_parse("snapshot", &op), 0);
	EXPECT_EQ(op, ACTION_SNAPSHOT);
	EXPECT_EQ(action_op_parse("Reboot", &op), -EINVAL);
	EXPECT_EQ(action_op_parse(NULL, &op), -EINVAL);
	EXPECT_EQ(op, ACTION_SNAPSHOT);
	for (int i = 0; i < 4; i++) {
		EXPECT_EQ(action_op_parse(action_op_name(i), &op), 0);
		EXPECT_EQ(op, i);
	}
}

TEST(names_of_snapshots)
{
	static const char *const good[] = { "a", "s1", "before-upgrade",
					    "v1.2_3", "A0" };
	static const char *const bad[] = {
		"",
		"-a",
		"a-",
		"a b",
		"a,b",
		"a/b",
		"a\n",
		".",
		"..",
		"0123456789012345678901234567890123456789012345678901234567890123"
	};

	for (size_t i = 0; i < ARRAY_SIZE(good); i++)
		EXPECT_EQ(action_name_ok(good[i]), true);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		if (action_name_ok(bad[i]))
			FAIL("'%s' is taken for a name", bad[i]);
}

#define MIB (UINT64_C(1) << 20)

TEST(a_snapshot_fits_a_machine_of_its_shape)
{
	struct pod_snapshot s = { .name = "s1",
				  .shape = { .cpus = 2,
					     .mem_base = 256 * MIB,
					     .mem_bytes = 512 * MIB } };
	struct vm_shape now = s.shape;
	char why[POD_MESSAGE_MAX] = "";

	EXPECT_EQ(action_misfit(&s, &now, why, sizeof(why)), false);
	now.mem_bytes = 1024 * MIB; /* it is resized afterwards */
	EXPECT_EQ(action_misfit(&s, &now, why, sizeof(why)), false);
	now.cpus = 1;
	EXPECT_EQ(action_misfit(&s, &now, why, sizeof(why)), true);
	EXPECT_STREQ(why,
		     "snapshot 's1' was taken with 2 CPUs plugged in, the VM "
		     "has 1: give the pod 2 CPUs, switch it off and on "
		     "(powerSpec), and try again");
	now = s.shape;
	now.mem_bytes = 256 * MIB; /* QEMU would outgrow its cgroup */
	EXPECT_EQ(action_misfit(&s, &now, why, sizeof(why)), true);
	EXPECT_STREQ(why, "snapshot 's1' has 512Mi of memory, the VM 256Mi: "
			  "resize the pod first");
	now = s.shape;
	now.mem_base = 128 * MIB;
	EXPECT_EQ(action_misfit(&s, &now, why, sizeof(why)), true);
	now = s.shape;
	now.dimms = 1;
	EXPECT_EQ(action_misfit(&s, &now, why, sizeof(why)), true);
	/* Nothing is known of its shape: QEMU will tell. */
	s.shape = (struct vm_shape){ .cpus = 0 };
	EXPECT_EQ(action_misfit(&s, &now, why, sizeof(why)), false);
}

TEST_MAIN()

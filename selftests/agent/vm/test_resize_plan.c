// SPDX-License-Identifier: Apache-2.0
/*
 * What is done next, and what users are told, in each situation.
 *
 * LANE: native
 * SECONDS: 60
 */
#include <inttypes.h>

#include "selftests/harness.h"
#include "agent/vm/resize_plan.h"

#define MIB (UINT64_C(1) << 20)

/* One CPU, 256 MiB with room for 4 GiB, a guest that tells everything. */
static struct vm_have have(void)
{
	return (struct vm_have){ .cpus_max = 4,
				 .cpus_boot = 1,
				 .cpus_plugged = 1,
				 .mem_base = 256 * MIB,
				 .vmem = true,
				 .vmem_max = 4096 * MIB,
				 .agent = true,
				 .told = true,
				 .mem_told = true,
				 .cpus_present = 1,
				 .cpus_online = 1,
				 .cpus_offlinable = 0,
				 .mem_total = 200 * MIB,
				 .mem_available = 150 * MIB };
}

#define CPU(change, milli, want_step, want_arg, want_state, want_why) \
	do {                                                          \
		struct vm_have h = have();                            \
		struct vm_plan p;                                     \
                                                                      \
		change;                                               \
		p = vm_plan_cpu(milli, &h);                           \
		EXPECT_EQ(p.step, want_step);                         \
		EXPECT_EQ(p.arg, want_arg);                           \
		EXPECT_EQ(p.state, want_state);                       \
		EXPECT_STREQ(p.why, want_why);                        \
	} while (0)

#define MEM(change, mib, want_step, want_arg, want_state, want_why) \
	do {                                                        \
		struct vm_have h = have();                          \
		struct vm_plan p;                                   \
                                                                    \
		change;                                             \
		p = vm_plan_mem((mib)*MIB, &h);                     \
		EXPECT_EQ(p.step, want_step);                       \
		EXPECT_EQ(p.arg, want_arg);                         \
		EXPECT_EQ(p.state, want_state);                     \
		EXPECT_STREQ(p.why, want_why);                      \
	} while (0)

#define BUSY VM_RESIZE_IN_PROGRESS

TEST(cpu_up)
{
	CPU((void)0, 250, VM_STEP_NONE, 0, VM_RESIZE_DONE, "");
	CPU((void)0, 1001, VM_STEP_CPU_PLUG, 1, BUSY, "plugging 1 vCPUs");
	CPU(h.cpus_plugged = 2, 2000, VM_STEP_NONE, 0, BUSY,
	    "waiting for the guest to notice CPU 1");
	CPU(h.cpus_plugged = 2;
	    h.cpu_idle_ms = VM_NOTICE_MS, 2000, VM_STEP_NONE, 0,
	    VM_RESIZE_ERROR,
	    "the guest sees 1 of 2 vCPUs: it does not support CPU hot-plug");
	CPU(h.cpus_plugged = h.cpus_present = 3, 3000, VM_STEP_CPU_ONLINE, 2,
	    BUSY, "the guest brings 2 CPUs online");
	CPU(h.cpus_plugged = h.cpus_present = h.cpus_online = 2, 2000,
	    VM_STEP_NONE, 0, VM_RESIZE_DONE, "");
	/* taken offline before: no plugging needed */
	CPU(h.cpus_plugged = h.cpus_present = 2, 2000, VM_STEP_CPU_ONLINE, 1,
	    BUSY, "the guest brings 1 CPUs online");
}

TEST(cpu_down)
{
	CPU(h.cpus_plugged = h.cpus_present = h.cpus_online = 3;
	    h.cpus_offlinable = 2, 1000, VM_STEP_CPU_OFFLINE, 2, BUSY,
	    "the guest takes 2 CPUs offline");
	CPU(h.cpus_plugged = h.cpus_present = 3, 1000, VM_STEP_NONE, 0,
	    VM_RESIZE_DONE, "");
	CPU(h.cpus_plugged = h.cpus_present = 3;
	    h.unplug_safe = true, 1000, VM_STEP_CPU_UNPLUG, 0, BUSY,
	    "waiting for the guest to give up a CPU");
	CPU(h.cpus_plugged = h.cpus_present = 3; h.unplug_safe = true;
	    h.cpu_refused = true, 1000, VM_STEP_NONE, 0, VM_RESIZE_ERROR,
	    "the guest refused to give up a CPU");
	CPU(h.cpus_plugged = h.cpus_boot = h.cpus_present = 3;
	    h.unplug_safe = true, 1000, VM_STEP_NONE, 0, VM_RESIZE_DONE, "");
	CPU(h.cpus_plugged = h.cpus_present = h.cpus_online = 3;
	    h.cpus_offlinable = 1, 1000, VM_STEP_NONE, 0, VM_RESIZE_INFEASIBLE,
	    "the guest can take 1 of its 3 CPUs offline, 2 would have to go");
}

TEST(cpu_without_an_agent)
{
	CPU(h.told = h.agent = false, 1000, VM_STEP_NONE, 0, VM_RESIZE_DONE,
	    "");
	CPU(h.told = h.agent = false;
	    h.cpus_plugged = 2, 2000, VM_STEP_NONE, 0, BUSY,
	    "2 vCPUs are plugged in, but no guest agent answers to confirm that the guest uses them");
	CPU(h.told = h.agent = false; h.cpus_plugged = 2;
	    h.cpu_idle_ms = VM_AGENT_MS, 2000, VM_STEP_NONE, 0, VM_RESIZE_ERROR,
	    "2 vCPUs are plugged in, but no guest agent answers to confirm that the guest uses them");
	CPU(h.told = h.agent = false; h.cpus_plugged = 2;
	    h.cpu_idle_ms = VM_AGENT_MS, 1000, VM_STEP_NONE, 0, VM_RESIZE_ERROR,
	    "no guest agent answers: nobody takes 1 of the guest's 2 CPUs offline");
	/* the ACPI button works without one */
	CPU(h.told = h.agent = false; h.cpus_plugged = 2;
	    h.unplug_safe = true, 1000, VM_STEP_CPU_UNPLUG, 0, BUSY,
	    "waiting for the guest to give up a CPU");
	CPU(h.told = false, 1000, VM_STEP_NONE, 0, BUSY,
	    "waiting for the guest agent");
	CPU(h.told = false; h.cpu_idle_ms = VM_SETTLE_MS, 1000, VM_STEP_NONE, 0,
			    VM_RESIZE_ERROR, "the guest agent does not answer");
}

TEST(cpu_beyond_bounds)
{
	CPU((void)0, 0, VM_STEP_NONE, 0, VM_RESIZE_INFEASIBLE,
	    "a VM with no CPU cannot run");
	CPU((void)0, 4500, VM_STEP_NONE, 0, VM_RESIZE_INFEASIBLE,
	    "4500m CPUs wanted, this VM was started with room for 4");
	CPU((void)0, UINT64_MAX, VM_STEP_NONE, 0, VM_RESIZE_INFEASIBLE,
	    "18446744073709551615m CPUs wanted, this VM was started with room for 4");
}

TEST(memory_up)
{
	MEM((void)0, 256, VM_STEP_NONE, 0, VM_RESIZE_DONE, "");
	MEM((void)0, 512, VM_STEP_MEM_REQUEST, 256 * MIB, BUSY,
	    "asking the guest for 512Mi");
	/* what is asked for is what guests can take */
	MEM((void)0, 513, VM_STEP_MEM_REQUEST, 260 * MIB, BUSY,
	    "asking the guest for 516Mi");
	MEM(h.vmem_requested = 256 * MIB, 512, VM_STEP_NONE, 0, BUSY,
	    "the guest has taken 256Mi of 512Mi");
	MEM(h.vmem_requested = 256 * MIB; h.vmem_actual = 128 * MIB;
	    h.mem_idle_ms = VM_SETTLE_MS, 512, VM_STEP_NONE, 0, VM_RESIZE_ERROR,
	    "the guest has taken 384Mi of 512Mi");
	MEM(h.vmem_requested = h.vmem_actual = 256 * MIB, 512, VM_STEP_NONE, 0,
	    VM_RESIZE_DONE, "");
}

TEST(memory_up_is_confirmed_by_the_guest)
{
	MEM(h.vmem_requested = h.vmem_actual = 256 * MIB;
	    h.mem_size_before = 256 * MIB;
	    h.mem_total_before = 200 * MIB, 512, VM_STEP_NONE, 0, BUSY,
	    "the guest has 256Mi more memory but uses 0 of it: boot it with memhp_default_state=online_movable");
	MEM(h.vmem_requested = h.vmem_actual = 256 * MIB;
	    h.mem_size_before = 256 * MIB; h.mem_total_before = 200 * MIB;
	    h.mem_idle_ms = VM_NOTICE_MS, 512, VM_STEP_NONE, 0, VM_RESIZE_ERROR,
	    "the guest has 256Mi more memory but uses 0 of it: boot it with memhp_default_state=online_movable");
	MEM(h.vmem_requested = h.vmem_actual = 256 * MIB;
	    h.mem_size_before = 256 * MIB; h.mem_total_before = 200 * MIB;
	    h.mem_total = 456 * MIB, 512, VM_STEP_NONE, 0, VM_RESIZE_DONE, "");
	/* what was before is of a moment within the last shrink */
	MEM(h.vmem_requested = h.vmem_actual = 256 * MIB;
	    h.mem_size_before = 256 * MIB; h.mem_total_before = 346 * MIB;
	    h.mem_total = 474 * MIB, 512, VM_STEP_NONE, 0, VM_RESIZE_DONE, "");
	MEM(h.vmem_requested = h.vmem_actual = 256 * MIB;
	    h.mem_size_before = 256 * MIB; h.mem_total_before = 218 * MIB;
	    h.mem_total = 346 * MIB, 512, VM_STEP_NONE, 0, BUSY,
	    "the guest has 256Mi more memory but uses 128Mi of it: boot it with memhp_default_state=online_movable");
	/* of what was before nothing is known: all of it must be there */
	MEM(h.vmem_requested = h.vmem_actual = 256 * MIB;
	    h.mem_size_before = 256 * MIB; h.mem_total_before = 0;
	    h.mem_total = 346 * MIB, 512, VM_STEP_NONE, 0, BUSY,
	    "the guest has 256Mi more memory but uses 0 of it: boot it with memhp_default_state=online_movable");
	MEM(h.vmem_requested = h.vmem_actual = 256 * MIB;
	    h.mem_size_before = 256 * MIB; h.mem_total_before = 0;
	    h.mem_total = 474 * MIB, 512, VM_STEP_NONE, 0, VM_RESIZE_DONE, "");
	/* without an agent the driver's word counts */
	MEM(h.vmem_requested = h.vmem_actual = 256 * MIB;
	    h.agent = h.told = h.mem_told = false;
	    h.mem_size_before = 256 * MIB, 512, VM_STEP_NONE, 0, VM_RESIZE_DONE,
	    "");
	MEM(h.vmem_requested = h.vmem_actual = 256 * MIB; h.mem_told = false;
	    h.mem_size_before = 256 * MIB, 512, VM_STEP_NONE, 0, BUSY,
	    "waiting for the guest agent to confirm");
}

TEST(memory_down)
{
	MEM(h.vmem_requested = h.vmem_actual = 512 * MIB;
	    h.mem_total = 712 * MIB;
	    h.mem_available = 600 * MIB, 512, VM_STEP_MEM_REQUEST, 256 * MIB,
	    BUSY, "asking the guest for 512Mi");
	MEM(h.vmem_requested = 256 * MIB; h.vmem_actual = 300 * MIB;
	    h.mem_idle_ms = VM_SETTLE_MS, 512, VM_STEP_NONE, 0, VM_RESIZE_ERROR,
	    "the guest still holds 556Mi, 512Mi wanted");
	/* 412 of 712 in use, and 56 by the kernel before it counts */
	MEM(h.vmem_requested = h.vmem_actual = 512 * MIB;
	    h.mem_total = 712 * MIB;
	    h.mem_available = 300 * MIB, 320, VM_STEP_NONE, 0,
	    VM_RESIZE_INFEASIBLE,
	    "the guest uses 468Mi of its 768Mi: it cannot shrink to 320Mi");
	MEM((void)0, 128, VM_STEP_NONE, 0, VM_RESIZE_INFEASIBLE,
	    "128Mi wanted, but the 256Mi this VM was started with cannot be taken away: recreate the pod to shrink it further");
	/* what is in use must be known first, if anybody can tell */
	MEM(h.vmem_requested = h.vmem_actual = 512 * MIB;
	    h.mem_told = false, 320, VM_STEP_NONE, 0, BUSY,
	    "waiting for the guest agent to tell what is in use");
	MEM(h.vmem_requested = h.vmem_actual = 512 * MIB;
	    h.mem_told = h.told = h.agent = false, 320, VM_STEP_MEM_REQUEST,
	    64 * MIB, BUSY, "asking the guest for 320Mi");
}

TEST(memory_beyond_bounds)
{
	MEM((void)0, 4500, VM_STEP_NONE, 0, VM_RESIZE_INFEASIBLE,
	    "4.3Gi wanted, this VM was started with room for 4.2Gi");
	MEM(h.vmem_max = 8192 * MIB, 6000, VM_STEP_NONE, 0,
	    VM_RESIZE_INFEASIBLE,
	    "5.8Gi wanted, but the 256Mi this VM was started with cannot manage more than 20 times their size: recreate the pod to grow it further");
	MEM(h.vmem = false;
	    h.vmem_max = 0, 256, VM_STEP_NONE, 0, VM_RESIZE_DONE, "");
}

TEST(memory_modules_where_the_guest_has_no_driver)
{
	MEM(h.vmem_requested = 256 * MIB; h.mem_idle_ms = VM_NOTICE_MS, 512,
					  VM_STEP_MEM_REQUEST, 0, BUSY,
					  "the guest has no virtio-mem driver");
	MEM(h.no_vmem_driver = true, 500, VM_STEP_DIMM_PLUG, 256 * MIB, BUSY,
	    "plugging a memory module");
	MEM(h.no_vmem_driver = true; h.dimm_bytes = 256 * MIB;
	    h.dimm_last_bytes = 256 * MIB, 500, VM_STEP_NONE, 0, VM_RESIZE_DONE,
	    "");
	MEM(h.no_vmem_driver = true; h.dimm_bytes = 256 * MIB;
	    h.dimm_last_bytes = 256 * MIB; h.mem_total = 456 * MIB;
	    h.mem_available = 400 * MIB, 256, VM_STEP_DIMM_UNPLUG, 0, BUSY,
	    "waiting for the guest to give up a memory module of 256Mi");
	MEM(h.no_vmem_driver = true; h.dimm_bytes = 256 * MIB;
	    h.dimm_last_bytes = 256 * MIB; h.dimm_refused = true;
	    h.mem_total = 456 * MIB;
	    h.mem_available = 400 * MIB, 256, VM_STEP_NONE, 0, VM_RESIZE_ERROR,
	    "the guest refused to give up a memory module of 256Mi");
	MEM(h.no_vmem_driver = true; h.dimm_bytes = 256 * MIB;
	    h.agent = h.told = h.mem_told = false;
	    h.mem_size_before = 256 * MIB, 512, VM_STEP_NONE, 0, BUSY,
	    "memory is plugged in, but no guest agent answers to confirm that the guest uses it");
}

/* Play a guest that does as it is asked: every plan must come to an end, and
 * to the size that was wished for. */
static void obey(struct vm_have *h, const struct vm_plan *p)
{
	switch (p->step) {
	case VM_STEP_CPU_PLUG:
		h->cpus_plugged += (unsigned int)p->arg;
		h->cpus_present = h->cpus_plugged;
		break;
	case VM_STEP_CPU_ONLINE:
		h->cpus_online += (unsigned int)p->arg;
		break;
	case VM_STEP_CPU_OFFLINE:
		h->cpus_online -= (unsigned int)p->arg;
		break;
	case VM_STEP_CPU_UNPLUG:
		h->cpus_present = --h->cpus_plugged;
		break;
	case VM_STEP_MEM_REQUEST:
		h->vmem_requested = h->vmem_actual = p->arg;
		h->mem_total = vm_have_mem(h) - 50 * MIB;
		h->mem_available = h->mem_total - 60 * MIB;
		break;
	default:
		break;
	}
	h->cpus_offlinable = h->cpus_online - 1;
}

TEST(any_sequence_of_wishes_converges)
{
	uint32_t seed = 4711;

	for (int safe = 0; safe < 2; safe++) {
		struct vm_have h = have();

		h.unplug_safe = safe;
		for (int i = 0; i < 2000; i++) {
			uint64_t milli, mem;
			struct vm_plan c, m;
			int steps = 0;

			seed = seed * 1103515245 + 12345;
			milli = 1 + (seed >> 8) % 4000;
			mem = (256 + (seed >> 4) % 3800) * MIB;
			do {
				c = vm_plan_cpu(milli, &h);
				obey(&h, &c);
				m = vm_plan_mem(mem, &h);
				obey(&h, &m);
			} while ((c.state || m.state) && ++steps < 20);
			EXPECT_EQ(c.state, VM_RESIZE_DONE);
			EXPECT_EQ(m.state, VM_RESIZE_DONE);
			EXPECT_EQ(h.cpus_online, (milli + 999) / 1000);
			EXPECT_GE(vm_have_mem(&h), mem);
			EXPECT_GE(mem + 4 * MIB, vm_have_mem(&h));
		}
	}
}

TEST_MAIN()

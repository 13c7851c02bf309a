/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What to do next to bring a VM to a size. Pure: no I/O, no clock.
 *
 * CPU and memory are planned apart. Each plan is one step and how far things
 * are; the caller takes the step, looks again, and plans anew. A plan without
 * a step is an end (done, infeasible, error) or waits for the guest.
 */
#ifndef AGENT_VM_RESIZE_PLAN_H
#define AGENT_VM_RESIZE_PLAN_H

#include <stdbool.h>
#include <stdint.h>

#include "agent/vm/vm.h"

#define VM_MEM_ALIGN_BYTES  (UINT64_C(4) << 20)   /* of what is asked for */
#define VM_DIMM_ALIGN_BYTES (UINT64_C(128) << 20) /* a guest's memory block */
#define VM_MEM_SLACK_BYTES  (UINT64_C(32) << 20)  /* left over by a shrink */
#define VM_MEM_KERNEL_BYTES (UINT64_C(96) << 20)
#define VM_MEM_GROW_MAX     20 /* times the base: page descriptors live there */
#define VM_NOTICE_MS        10000 /* for a guest to see a new device */
#define VM_SETTLE_MS        30000 /* for a guest to do what it is asked */
#define VM_AGENT_MS         60000 /* for a guest to boot as far as its agent */

/* How things are: from QEMU, and from the guest where it tells. */
struct vm_have {
	unsigned int cpus_max;
	unsigned int cpus_boot;    /* there from the start, never unplugged */
	unsigned int cpus_plugged; /* all, those of the start with them */
	bool unplug_safe;
	bool cpu_refused; /* the guest keeps the one plugged last, and said so
			   */

	uint64_t mem_base;
	bool vmem; /* there is a virtio-mem device; its fields: */
	uint64_t vmem_requested, vmem_actual, vmem_max;
	uint64_t dimm_bytes;      /* all dimms together */
	uint64_t dimm_last_bytes; /* the one plugged last */
	bool dimm_refused;        /* the guest said so for that one */

	bool agent; /* the guest has the agent's channel open */
	bool told;  /* the agent has answered; what it said: */
	unsigned int cpus_present, cpus_online, cpus_offlinable;
	bool mem_told;                     /* ... and of its memory: */
	uint64_t mem_total, mem_available; /* 0: it cannot tell */
	/* MemTotal and size before the memory was last asked to grow; 0: not
	 * known */
	uint64_t mem_total_before, mem_size_before;

	int64_t cpu_idle_ms; /* since anything about CPUs has changed */
	int64_t mem_idle_ms; /* ... about memory */
	bool no_vmem_driver; /* found out before */
};

enum vm_step {
	VM_STEP_NONE,
	VM_STEP_CPU_PLUG,    /* @arg vCPUs more */
	VM_STEP_CPU_ONLINE,  /* @arg CPUs more, by the agent */
	VM_STEP_CPU_OFFLINE, /* @arg CPUs fewer, by the agent */
	VM_STEP_CPU_UNPLUG,  /* the one plugged last */
	VM_STEP_MEM_REQUEST, /* virtio-mem: @arg bytes */
	VM_STEP_DIMM_PLUG,   /* @arg bytes */
	VM_STEP_DIMM_UNPLUG, /* the one plugged last */
};

struct vm_plan {
	enum vm_step step;
	uint64_t arg;
	bool no_vmem_driver; /* remember this */
	enum vm_resize_state state;
	char why[VM_WHY_MAX];
};

struct vm_plan vm_plan_cpu(uint64_t want_milli, const struct vm_have *have);
struct vm_plan vm_plan_mem(uint64_t want_bytes, const struct vm_have *have);

/* Memory the guest has been given and, as far as QEMU can tell, has taken. */
uint64_t vm_have_mem(const struct vm_have *have);

#endif /* AGENT_VM_RESIZE_PLAN_H */

/* SPDX-License-Identifier: Apache-2.0 */
/* What vm.c, guest.c and resize.c share. */
#ifndef AGENT_VM_INTERNAL_H
#define AGENT_VM_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "agent/vm/resize_plan.h"
#include "agent/vm/vm.h"
#include "lib/err.h"
#include "qmp/machine.h"
#include "qmp/memory.h"
#include "qmp/qga.h"
#include "qmp/qmp.h"

#define VM_QMP_MS        250 /* for one QMP command; QEMU's answers are quick */
#define VM_POWER_MS      5000 /* for one that makes QEMU work */
#define VM_AGENT_CALL_MS 5000
#define VM_REGION_ID     "vmem0"
#define VM_CHARDEV_AGENT "qga0"
#define VM_PORT_AGENT    "agent0"
#define VM_DIMM_PREFIX   "arkdimm"
#define VM_CPU_PREFIX    "arkcpu"

/* What the guest is asked, one after the other, without waiting for it. */
enum ask_what { ASK_NOTHING, ASK_CPUS, ASK_OPEN, ASK_READ, ASK_CLOSE };

struct ask {
	enum ask_what what; /* is under way */
	struct qga_request *rq;
	int64_t handle;             /* of its /proc/meminfo, while @opened */
	bool opened, used;          /* used: read once, to be closed */
	bool cpus_fresh, mem_fresh; /* told after the last change */
	bool cpus_stale, mem_stale; /* under way since before the change */
	bool failed; /* the last question came to nothing: @story */
	struct err story;
	struct qga_vcpu *cpus;
	size_t nr_cpus;
	uint64_t mem_total, mem_available;
};

struct vm {
	char *qmp_path, *qga_path, *console_path, *memory_path;
	uid_t uid; /* QEMU's */
	bool tcg;
	struct vm_size limit;
	struct vm_host_ops host;
	int epoll_fd;
	pthread_mutex_t lock; /* of the two pointers below; never unset */
	struct qmp *qmp;
	struct qga *qga;

	atomic_bool agent;     /* has the channel open */
	int64_t agent_mute_ns; /* it did not answer; do not ask before */
	unsigned int resets;
	char why[VM_WHY_MAX];

	/* Host limits as they were last set; 0: not yet */
	uint64_t host_cpu_milli, host_mem_bytes;
	pid_t tids[VM_TIDS_MAX]; /* in the vCPU cgroup */
	unsigned int nr_tids;

	struct ask ask;
	struct qga_request *set_cpus; /* under way */
	/* What QEMU or the guest refused: told until it is tried again. One for
	 * CPU, one for memory. */
	struct vm_refusal {
		int64_t retry_ns;
		char why[VM_WHY_MAX];
	} refusals[2];

	/* What changes only by our doing, or with an event about it */
	struct qmp_cpu_slot *slots;
	size_t nr_slots;
	bool slots_fresh;
	uint64_t mem_base; /* 0: not asked yet */

	enum vm_resize_state last_state;
	struct vm_size want;                /* of the resize under way */
	int64_t cpu_since_ns, mem_since_ns; /* the last change */
	unsigned int cpu_mark[3];           /* plugged, present, online */
	uint64_t mem_mark[4];   /* requested, actual, dimms, total */
	uint64_t mem_mark_size; /* the VM's, when that total was told */
	int64_t cpus_asked_ns, mem_asked_ns; /* since then nothing was told */
	uint64_t mem_total_before, mem_size_before;
	bool no_vmem_driver;
	struct vm_unplug {
		char id[QMP_NAME_MAX]; /* asked to go */
		int64_t asked_ns;
		bool refused;
	} cpu_unplug, dimm_unplug;
};

int64_t vm_now_ns(void);
struct qmp *vm_qmp(struct vm *vm); /* NULL while not connected */
struct qga *vm_qga(struct vm *vm);

/* Connect to QEMU, unless that was done. */
int vm_connect(struct vm *vm, struct err *e);

/* Take in events; wait up to @wait_ms for some. */
void vm_take_events(struct vm *vm, int wait_ms);

/* Put new vCPU threads into their cgroup. */
int vm_place_threads(struct vm *vm, struct err *e);

/* Go on with asking the guest for what is not fresh. Never waits. @hold: its
 * memory is about to change, so do not ask how much it has. */
void vm_ask(struct vm *vm, bool hold);
/* cpus.c: the places of vCPUs, unless they are known; @nr more vCPUs. */
int vm_read_slots(struct vm *vm, struct err *e);
int vm_plug_cpus(struct vm *vm, uint64_t nr, struct err *e);

/* What was told is not so any more. */
void vm_ask_cpus_again(struct vm *vm);
void vm_ask_memory_again(struct vm *vm);
void vm_ask_drop(struct vm *vm);

/* Nothing that was known of the guest holds any more: it is another one. */
void vm_forget_guest(struct vm *vm);

/* MemTotal and MemAvailable in bytes; 0 where @text has none. */
void vm_parse_meminfo(const char *text, uint64_t *ret_total,
		      uint64_t *ret_available);

#endif /* AGENT_VM_INTERNAL_H */

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A running virtual machine, seen through QEMU's sockets.
 *
 *	vm_open(&opts, &vm, &e);		any time, also after an agent
 *restart vm_sync(vm, &status, &e);		connects when QEMU is there;
 *state vm_resize_sync(vm, &want, &res, &e);	one more step towards @want
 *
 * Nothing here starts or owns QEMU: its supervisor does, from the command of
 * agent/vm/command.h. Everything is level-triggered: call it again after every
 * event (vm_fd()), or after the time it asks for (retry_ms).
 *
 * Threads: one thread at a time for one struct vm (the pod's worker), except
 * vm_fd(), vm_exec() and vm_console_open(), which any thread may call as long
 * as the struct lives. Unless said otherwise a call takes at most about 100 ms,
 * whatever the guest does; a QEMU that hangs costs 250 ms a call.
 */
#ifndef AGENT_VM_VM_H
#define AGENT_VM_VM_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct buf;
struct err;
struct qga_exec_result;
struct vm;

#define VM_CPUS_MAX      240
#define VM_WHY_MAX       256
#define VM_MEM_MIN_BYTES (128ULL << 20) /* a stock kernel boots with it */
#define VM_TIDS_MAX      VM_CPUS_MAX
#define VM_ADDRS_MAX     8

/* How large a VM is, or should be. */
struct vm_size {
	uint64_t cpu_milli; /* vCPUs are this rounded up; the rest is cpu.max */
	uint64_t mem_bytes;
};

/* What the host side does for the VM. Each may be NULL; each must be
 * idempotent, and is called from within vm_sync() and vm_resize_sync(). */
struct vm_host_ops {
	/* cpu.max of the vCPU threads' cgroup */
	int (*set_cpu)(void *ctx, uint64_t milli, struct err *e);
	/* memory.max of QEMU: @bytes is the guest's share, overhead comes on
	 * top (vm_overhead_bytes()) */
	int (*set_memory)(void *ctx, uint64_t bytes, struct err *e);
	/* put vCPU thread @tid into the vCPU threads' cgroup */
	int (*add_vcpu)(void *ctx, pid_t tid, struct err *e);
	void *ctx;
};

struct vm_opts {
	const char *qmp_path; /* borrowed for vm_open() only, as all here */
	const char *qga_path;
	const char *console_path;
	/* Where a VM without a disk keeps its snapshots; NULL: it can have
	 * none. Made when it is needed, QEMU's user owns it. */
	const char *memory_path;
	uid_t uid;
	bool tcg;             /* vCPUs cannot be unplugged safely */
	struct vm_size limit; /* of the node, for a refusal with numbers */
	struct vm_host_ops host;
};

int vm_open(const struct vm_opts *opts, struct vm **ret, struct err *e);
void vm_free(struct vm *vm); /* closes the sockets; QEMU goes on running */

/* For an epoll loop: readable when vm_sync() should be called. Borrowed. */
int vm_fd(const struct vm *vm);

enum vm_state {
	VM_STARTING, /* QEMU's socket does not answer yet */
	VM_RUNNING,
	VM_PAUSED,
	VM_SHUTDOWN, /* the guest has powered itself off */
	VM_GUEST_PANICKED,
	VM_FAILED, /* QEMU reports an internal or an I/O error */
	VM_GONE,   /* the connection broke: QEMU has ended */
};

const char *vm_state_name(enum vm_state state); /* "running" */

struct vm_status {
	enum vm_state state;
	char why[VM_WHY_MAX]; /* of VM_FAILED, VM_GONE, VM_STARTING */
	bool agent;           /* the guest has the agent's channel open */
	unsigned int resets;  /* grows when the guest reboots */
	uint32_t retry_ms;    /* call again at the latest then; 0: on events */
};

/* Connect if need be, take in events, tell the state. Puts new vCPU threads
 * where they belong (add_vcpu). */
int vm_sync(struct vm *vm, struct vm_status *ret, struct err *e);

/* These wait for QEMU, up to 5 s should it be slow. */
int vm_pause(struct vm *vm, struct err *e);
int vm_resume(struct vm *vm, struct err *e);
int vm_reset(struct vm *vm, struct err *e); /* hard, as the button */

/* Ask the guest to power off: ACPI button, and through its agent. */
int vm_powerdown(struct vm *vm, struct err *e);

/* End QEMU now. 0 also when it has ended already. */
int vm_quit(struct vm *vm, struct err *e);

/* Thread ids of the vCPUs, in index order. Returns how many. */
int vm_vcpu_tids(struct vm *vm, pid_t *ret_tids, size_t max, struct err *e);

/* What the guest says of itself. A field it did not tell is 0. */
struct vm_facts {
	unsigned int cpus_online;
	uint64_t mem_total_bytes;     /* MemTotal of its /proc/meminfo */
	uint64_t mem_available_bytes; /* MemAvailable */
	unsigned int nr_addrs;
	char addrs[VM_ADDRS_MAX][64]; /* "10.1.2.3/24", not loopback */
};

/* Ask the guest agent. Blocks for up to @timeout_ms. */
int vm_facts(struct vm *vm, int timeout_ms, struct vm_facts *ret,
	     struct err *e);

/* Run a program in the guest. Blocks until it ends or @timeout_ms is over; its
 * output comes when it has ended. See qga_exec_until(). */
int vm_exec(struct vm *vm, const char *const *argv, const char *const *env,
	    const void *input, size_t input_len, int timeout_ms,
	    const atomic_bool *cancel, struct qga_exec_result *ret,
	    struct err *e);

/* The serial console as a socket, owned by the caller. QEMU serves one at a
 * time; a second waits its turn. What the guest writes is in the log anyway. */
int vm_console_open(struct vm *vm, int *ret_fd, struct err *e);

/*
 * Snapshots: the disk and the memory, kept in the VM's own disk image, or in a
 * file of their own for a VM that has none (opts.memory_path). One job at a
 * time; each has an id, by which any later agent finds out what became of it.
 * QEMU answers nobody while it saves and loads.
 */
enum vm_snapshot_op { VM_SNAPSHOT_SAVE, VM_SNAPSHOT_LOAD, VM_SNAPSHOT_DELETE };

/* Only a machine of the same shape can go back to a snapshot. */
struct vm_shape {
	unsigned int cpus, dimms; /* plugged in */
	uint64_t mem_base;        /* bytes it was started with */
	uint64_t mem_bytes;       /* and has now */
};

int vm_shape(struct vm *vm, struct vm_shape *ret, struct err *e);

/* Plug vCPUs in until there are @nr: a machine that goes back to a snapshot
 * must have as many as that had. The guest need not take part. */
int vm_plug_cpus_for(struct vm *vm, unsigned int nr, struct err *e);

/* Begin. 0; -ETIMEDOUT: begun, as far as can be told; -ENOENT: no snapshot is
 * there; -EREMOTEIO: QEMU's words. May run qemu-img. */
int vm_snapshot_start(struct vm *vm, enum vm_snapshot_op op, const char *job,
		      const char *name, struct err *e);
/* 0 it has ended well; -EREMOTEIO it has failed, @e says why; -EINPROGRESS;
 * -ENOENT this QEMU knows of no such job. */
int vm_snapshot_result(struct vm *vm, const char *job, struct err *e);
/* Its result is known for good. After a load all that was known of the guest is
 * asked for again; a failed one left no machine to run: that is reset. */
int vm_snapshot_end(struct vm *vm, enum vm_snapshot_op op, const char *job,
		    bool failed, struct err *e);
/* Is there a snapshot of that name? 1, 0, -errno. */
int vm_snapshot_exists(struct vm *vm, const char *name, struct err *e);

enum vm_resize_state {
	VM_RESIZE_DONE,        /* and the guest has confirmed it */
	VM_RESIZE_IN_PROGRESS, /* @why says what is waited for */
	VM_RESIZE_INFEASIBLE,  /* this guest, or this node, never will; why */
	VM_RESIZE_ERROR,       /* tried, and failed or timed out; why. The next
				  call tries again */
};

const char *vm_resize_state_name(enum vm_resize_state state);

struct vm_resize {
	enum vm_resize_state state;
	char why[VM_WHY_MAX];  /* one line for the user; "" when done */
	struct vm_size actual; /* guest-confirmed, as far as it is */
	unsigned int cpus_plugged;
	unsigned int cpus_online; /* in the guest; 0: it does not tell */
	uint32_t retry_ms; /* call again at the latest then; 0: on events */
};

/**
 * vm_resize_sync() - Bring the VM one step nearer to a size.
 * @vm:   A VM that vm_sync() has found running.
 * @want: CPU and memory wished for. May change between calls.
 * @ret:  How far it is.
 * @e:    Filled on error.
 *
 * Host limits go up before the guest grows and down after it has shrunk. CPU
 * and memory proceed independently; @ret tells the less happy of the two.
 *
 * Growing memory uses virtio-mem, or a pc-dimm where the guest has no driver
 * for it. CPUs are plugged and then brought online by the guest agent; a CPU
 * that is taken away is taken offline by it first, and unplugged only where
 * QEMU can do that safely. A shrink below what the guest uses is refused with
 * the figures.
 *
 * Return: 0 with @ret filled (also for states other than done), -EAGAIN when
 * QEMU is not there (yet), or an error of the connection.
 */
int vm_resize_sync(struct vm *vm, const struct vm_size *want,
		   struct vm_resize *ret, struct err *e);

#endif /* AGENT_VM_VM_H */

// SPDX-License-Identifier: Apache-2.0
/* Snapshots of a running VM: jobs of QEMU's, which outlive the agent. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/vm/internal.h"
#include "lib/auto.h"
#include "lib/fs.h"
#include "lib/spawn.h"
#include "lib/str.h"
#include "qmp/block.h"

#define NODE_DISK   "disk0" /* as agent/vm/command.c has it */
#define NODE_MEMORY "memory0"
#define FILE_MODE   0600
#define QEMU_IMG_MS 30000

/* Also when QEMU is at a job, and answers nobody. */
static int need_qmp(struct vm *vm, struct qmp **ret, struct err *e)
{
	struct err why = { 0 };

	if (vm_connect(vm, &why) < 0)
		return err_set(e, -EAGAIN, "QEMU does not answer: %s", why.msg);
	*ret = vm_qmp(vm);
	return qmp_error(*ret, e) < 0 ? -EPIPE : 0;
}

/* The snapshots of @node, also when there are none. -ENOENT: no such node. */
static int list_of(struct qmp *q, const char *node, struct qmp_snapshot **ret,
		   size_t *ret_nr, struct err *e)
{
	return qmp_query_snapshots(q, node, VM_POWER_MS, ret, ret_nr, e);
}

static int has_node(struct qmp *q, const char *node, struct err *e)
{
	auto_free struct qmp_snapshot *list = NULL;
	struct err why = { 0 };
	size_t nr = 0;
	int r = list_of(q, node, &list, &nr, &why);

	if (r == -ENOENT)
		return 0;
	return r < 0 ? err_set(e, r, "%s", why.msg) : 1;
}

/* A disk the guest does not see: of it only what snapshots keep is of use.
 * Half of one must never look like a whole one. */
static int make_file(const struct vm *vm, struct err *e)
{
	auto_free char *new = str_printf("%s.new", vm->memory_path);
	const char *argv[] = { "qemu-img", "create", "-q", "-f",
			       "qcow2",    new,      "1M", NULL };
	struct spawn_opts o = { .argv = (char *const *)argv };
	struct spawn_io io = { .timeout_ms = QEMU_IMG_MS };
	struct spawn_result res = SPAWN_RESULT_INIT;
	int r;

	if (!new)
		return err_set(e, -ENOMEM, "out of memory");
	r = spawn_run(&o, &io, &res, e);
	if (r == 0)
		r = spawn_check(&res, "qemu-img", e);
	spawn_result_clear(&res);
	if (r == 0 && (chmod(new, FILE_MODE) < 0 ||
		       lchown(new, vm->uid, (gid_t)vm->uid) < 0 ||
		       rename(new, vm->memory_path) < 0))
		r = err_sys(e, "make '%s'", vm->memory_path);
	if (r < 0)
		unlink(new);
	return r;
}

/* The node that holds the snapshots. -ENOENT: none was ever taken. */
static int find_node(struct vm *vm, struct qmp *q, bool make, const char **ret,
		     struct err *e)
{
	int r = has_node(q, NODE_DISK, e);

	*ret = NODE_DISK;
	if (r != 0)
		return r < 0 ? r : 0;
	*ret = NODE_MEMORY;
	r = has_node(q, NODE_MEMORY, e);
	if (r != 0)
		return r < 0 ? r : 0;
	if (!vm->memory_path)
		return err_set(e, -EOPNOTSUPP, "this VM has no disk");
	if (!fs_exists(AT_FDCWD, vm->memory_path)) {
		if (!make)
			return err_set(e, -ENOENT, "it has no snapshots");
		r = make_file(vm, e);
		if (r < 0)
			return r;
	}
	return qmp_blockdev_add(q, NODE_MEMORY, "qcow2", vm->memory_path, false,
				VM_POWER_MS, e);
}

int vm_snapshot_start(struct vm *vm, enum vm_snapshot_op op, const char *job,
		      const char *name, struct err *e)
{
	static const enum qmp_snapshot_op ops[] = {
		[VM_SNAPSHOT_SAVE] = QMP_SNAPSHOT_SAVE,
		[VM_SNAPSHOT_LOAD] = QMP_SNAPSHOT_LOAD,
		[VM_SNAPSHOT_DELETE] = QMP_SNAPSHOT_DELETE,
	};
	const char *node;
	struct qmp *q;
	int r = need_qmp(vm, &q, e);

	if (r == 0)
		r = find_node(vm, q, op == VM_SNAPSHOT_SAVE, &node, e);
	if (r < 0)
		return r;
	return qmp_snapshot_start(q, ops[op], job, name, node, VM_QMP_MS, e);
}

int vm_snapshot_result(struct vm *vm, const char *job, struct err *e)
{
	struct qmp *q;
	int r = need_qmp(vm, &q, e);

	if (r == 0)
		r = qmp_job_result(q, job, VM_QMP_MS, e);
	return r == -ETIMEDOUT ? -EINPROGRESS : r;
}

int vm_snapshot_end(struct vm *vm, enum vm_snapshot_op op, const char *job,
		    bool failed, struct err *e)
{
	enum qmp_run_state run;
	struct qmp *q;
	int r = need_qmp(vm, &q, e);

	if (r < 0)
		return r;
	/* Nobody waits for it, and its id is never used again. */
	(void)qmp_job_dismiss(q, job, VM_POWER_MS, NULL);
	if (op != VM_SNAPSHOT_LOAD)
		return 0;
	vm_forget_guest(vm);
	vm_ask_cpus_again(vm);
	vm_ask_memory_again(vm);
	if (!failed)
		return 0;
	r = qmp_query_status(q, VM_POWER_MS, &run, NULL, e);
	if (r < 0 || run == QMP_RUN_RUNNING)
		return r;
	r = qmp_system_reset(q, VM_POWER_MS, e);
	return r < 0 ? r : qmp_cont(q, VM_POWER_MS, e);
}

int vm_snapshot_exists(struct vm *vm, const char *name, struct err *e)
{
	auto_free struct qmp_snapshot *list = NULL;
	const char *node;
	struct qmp *q;
	size_t nr = 0;
	int r = need_qmp(vm, &q, e);

	if (r == 0)
		r = find_node(vm, q, false, &node, e);
	if (r == 0)
		r = list_of(q, node, &list, &nr, e);
	for (size_t i = 0; r == 0 && i < nr; i++)
		if (str_eq(list[i].tag, name))
			return 1;
	return r == -ENOENT ? 0 : r;
}

int vm_shape(struct vm *vm, struct vm_shape *ret, struct err *e)
{
	auto_free struct qmp_memory_device *devs = NULL;
	auto_free struct qmp_cpu *cpus = NULL;
	struct vm_shape s = { 0 };
	size_t nr_cpus = 0, nr = 0;
	struct qmp *q;
	int r = need_qmp(vm, &q, e);

	if (r == 0)
		r = qmp_query_cpus(q, VM_POWER_MS, &cpus, &nr_cpus, e);
	if (r == 0)
		r = qmp_query_memory_devices(q, VM_POWER_MS, &devs, &nr, e);
	if (r == 0)
		r = qmp_query_memory_size(q, VM_POWER_MS, &s.mem_base, NULL, e);
	if (r < 0)
		return r;
	s.cpus = (unsigned int)nr_cpus;
	s.mem_bytes = s.mem_base;
	for (size_t i = 0; i < nr; i++) {
		s.dimms += devs[i].kind != QMP_MEMORY_VIRTIO_MEM;
		s.mem_bytes += devs[i].size_bytes;
	}
	*ret = s;
	return 0;
}

// SPDX-License-Identifier: Apache-2.0
/*
 * From the wish to the guest having it: vm_resize_sync() against the bare QMP
 * and agent commands that do the same, in turns on one VM. Ours looks at QEMU
 * first, keeps the host's limits in order, and has the guest confirm; the bare
 * commands are polled every 2 ms.
 *
 * Run from the tree's root, with the image of 'tools/mkimage/mkimage.sh vm'.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "agent/spec.h"
#include "agent/vm/command.h"
#include "agent/vm/vm.h"
#include "lib/buf.h"
#include "lib/err.h"
#include "lib/fs.h"
#include "lib/spawn.h"
#include "qmp/machine.h"
#include "qmp/memory.h"
#include "qmp/qga.h"

#define MIB      (UINT64_C(1) << 20)
#define ROUNDS   6
#define LIMIT_MS 60000
#define MS       5000
#define CMDLINE                                                          \
	"console=ttyS0 quiet panic=1 cryptomgr.notests swiotlb=noforce " \
	"memhp_default_state=online_movable "                            \
	"initcall_blacklist=jent_mod_init,load_system_certificate_list," \
	"trace_eval_init"

struct bench {
	struct vm_command *cmd;
	struct spawn_child child;
	unsigned int cpus; /* how many are plugged */
};

struct series {
	double ms[ROUNDS * 2];
	size_t nr;
};

static double now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(struct series *s)
{
	qsort(s->ms, s->nr, sizeof(s->ms[0]), by_size);
	return s->nr ? s->ms[s->nr / 2] : 0;
}

static void add(struct series *s, double ms)
{
	if (ms >= 0 && s->nr < ROUNDS * 2)
		s->ms[s->nr++] = ms;
}

static void report(const char *what, struct series *ours, struct series *raw)
{
	double a = median(ours), b = median(raw);

	printf("vm_resize_%s_arktos_p50 %.1f ms\n", what, a);
	printf("vm_resize_%s_rawqmp_p50 %.1f ms\n", what, b);
	if (b > 0)
		printf("vm_resize_%s_ratio %.2f x\n", what, a / b);
}

static int wait_agent(struct vm *vm)
{
	double until = now_ms() + LIMIT_MS;
	struct vm_status st = { 0 };

	while (now_ms() < until) {
		if (vm_sync(vm, &st, NULL) < 0 || st.state == VM_GONE)
			return -EPIPE;
		if (st.agent)
			return 0;
		poll(NULL, 0, 20);
	}
	return -ETIMEDOUT;
}

static struct vm *attach(const struct bench *b)
{
	struct vm_opts opts = { .qmp_path = b->cmd->qmp_path,
				.qga_path = b->cmd->qga_path,
				.console_path = b->cmd->console_path,
				.tcg = true };
	struct vm *vm = NULL;

	if (vm_open(&opts, &vm, NULL) < 0)
		return NULL;
	if (wait_agent(vm) < 0) {
		vm_free(vm);
		return NULL;
	}
	return vm;
}

static double reach(struct vm *vm, unsigned int cpus, uint64_t mib)
{
	struct vm_size want = { cpus * 1000, mib * MIB };
	struct vm_resize res = { .state = VM_RESIZE_IN_PROGRESS };
	double begin = now_ms();

	while (now_ms() < begin + LIMIT_MS) {
		struct pollfd pfd = { .fd = vm_fd(vm), .events = POLLIN };

		if (vm_resize_sync(vm, &want, &res, NULL) < 0)
			return -1;
		if (res.state == VM_RESIZE_DONE)
			return now_ms() - begin;
		poll(&pfd, 1, (int)res.retry_ms);
	}
	fprintf(stderr, "not reached: %s\n", res.why);
	return -1;
}

/* One resize by us, on a connection that has settled. */
static double ours(const struct bench *b, unsigned int from_cpus,
		   uint64_t from_mib, unsigned int cpus, uint64_t mib)
{
	struct vm *vm = attach(b);
	double ms = -1;

	if (vm && reach(vm, from_cpus, from_mib) >= 0)
		ms = reach(vm, cpus, mib);
	vm_free(vm);
	return ms;
}

/* Until QEMU says so, and then one look into the guest. */
static int raw_memory(struct qmp *q, struct qga *g, uint64_t bytes)
{
	auto_buf struct buf meminfo = BUF_INIT;
	uint64_t have = ~UINT64_C(0);

	if (qmp_virtio_mem_request(q, "vmem0", bytes, MS, NULL) < 0)
		return -1;
	while (qmp_virtio_mem_actual(q, "vmem0", MS, &have, NULL) == 0 &&
	       have != bytes)
		poll(NULL, 0, 2);
	if (have != bytes)
		return -1;
	return qga_file_read(g, "/proc/meminfo", 1 << 20, MS, &meminfo, NULL);
}

static int raw_online(struct qga *g, unsigned int want)
{
	unsigned int online = 0;

	while (online != want) {
		struct qga_vcpu *cpus = NULL;
		size_t nr = 0;

		online = 0;
		if (qga_get_vcpus(g, MS, &cpus, &nr, NULL) < 0)
			return -1;
		for (size_t i = 0; i < nr; i++)
			online += cpus[i].online;
		free(cpus);
		if (online != want)
			poll(NULL, 0, 2);
	}
	return 0;
}

static int raw_plug(struct qmp *q, struct qga *g, unsigned int want)
{
	struct qmp_cpu_slot *slots = NULL;
	char id[32];
	size_t nr = 0;
	int r;

	if (qmp_query_cpu_slots(q, MS, &slots, &nr, NULL) < 0)
		return -1;
	snprintf(id, sizeof(id), "raw%u", want);
	r = qmp_cpu_add(q, &slots[nr - want], id, MS, NULL);
	free(slots);
	return r < 0 ? r : raw_online(g, want);
}

/* The same by bare commands: memory to @bytes, or, if that is ~0, one CPU more
 * to make @cpus. */
static double raw(const struct bench *b, uint64_t bytes, unsigned int cpus)
{
	struct qmp *q = NULL;
	struct qga *g = NULL;
	double begin, ms = -1;

	if (qmp_open(b->cmd->qmp_path, MS, &q, NULL) == 0 &&
	    qga_open(b->cmd->qga_path, &g, NULL) == 0 &&
	    qga_ping(g, MS, NULL) == 0) {
		begin = now_ms();
		if ((bytes != ~UINT64_C(0) ? raw_memory(q, g, bytes)
					   : raw_plug(q, g, cpus)) == 0)
			ms = now_ms() - begin;
	}
	qga_free(g);
	qmp_free(q);
	return ms;
}

static void bench_memory(const struct bench *b)
{
	struct series up_a = { .nr = 0 }, up_b = { .nr = 0 };
	struct series down_a = { .nr = 0 }, down_b = { .nr = 0 };

	for (int i = 0; i < ROUNDS; i++) {
		add(&up_a, ours(b, 1, 256, 1, 512));
		add(&down_a, ours(b, 1, 512, 1, 256));
		add(&up_b, raw(b, 256 * MIB, 0));
		add(&down_b, raw(b, 0, 0));
	}
	report("memory_up_256Mi", &up_a, &up_b);
	report("memory_down_256Mi", &down_a, &down_b);
}

static void bench_cpus(struct bench *b)
{
	struct series a = { .nr = 0 }, c = { .nr = 0 };

	/* The first hot-plug of a guest takes longer: neither counts it. */
	(void)raw(b, ~UINT64_C(0), ++b->cpus);
	for (int i = 0; i < ROUNDS / 2; i++) {
		add(&c, raw(b, ~UINT64_C(0), ++b->cpus));
		add(&a, ours(b, b->cpus, 256, b->cpus + 1, 256));
		b->cpus++;
	}
	report("cpu_plug", &a, &c);
}

static int start(struct bench *b, const char *dir, const char *tree,
		 struct err *e)
{
	static char kernel[4200], initrd[4200];
	struct vm_spec spec = { .name = NULL };
	struct vm_config cfg = {
		.uid = "bench",
		.hostname = "bench",
		.spec = &spec,
		.size = { 1000, 256 * MIB },
		.node = { 8000, 2048 * MIB },
		.image = { .kernel = kernel,
			   .initrd = initrd,
			   .cmdline = CMDLINE,
			   .elastic = true },
		.net.tap_fd = -1,
		.run_dir = dir,
		.state_dir = dir,
	};
	struct spawn_opts o = { .new_session = false };
	int r;

	snprintf(kernel, sizeof(kernel), "%s/build/images/vm/vmlinux", tree);
	snprintf(initrd, sizeof(initrd), "%s/build/images/vm/initrd.img", tree);
	if (access(kernel, R_OK) < 0)
		return err_sys(e, "'%s' (run tools/mkimage/mkimage.sh vm)",
			       kernel);
	r = vm_command_build(&cfg, &b->cmd, e);
	if (r < 0)
		return r;
	b->cpus = 1;
	o.argv = b->cmd->argv;
	return spawn_start(&o, &b->child, e);
}

int main(void)
{
	char dir[] = "/tmp/arktos-bench.XXXXXX";
	struct bench b = { .child = { .pidfd = -1 } };
	struct err e = { 0 };
	char tree[4096];
	struct vm *vm;
	int r;

	if (!getcwd(tree, sizeof(tree)) || !mkdtemp(dir))
		return 1;
	r = start(&b, dir, tree, &e);
	vm = r == 0 ? attach(&b) : NULL;
	if (vm) {
		vm_free(vm);
		bench_memory(&b);
		bench_cpus(&b);
	} else {
		fprintf(stderr, "no VM: %s\n", e.msg);
	}
	spawn_kill(&b.child);
	vm_command_free(b.cmd);
	(void)fs_remove_tree(AT_FDCWD, dir, NULL);
	return vm ? 0 : 1;
}

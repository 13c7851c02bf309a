// SPDX-License-Identifier: Apache-2.0
/*
 * Resize: look at QEMU and the guest, plan, take one step, look again, for as
 * long as the caller's patience of some 80 ms lasts.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/vm/internal.h"
#include "lib/auto.h"
#include "lib/err.h"
#include "lib/quantity.h"
#include "lib/str.h"

#define BUDGET_NS        (80 * 1000000LL)
#define LOOK_AGAIN_MS    2
#define REFUSED_RETRY_NS (2 * 1000000000LL)
#define SET_CPUS_MS      30000
#define RETRY_SOON_MS    10
#define RETRY_SLOW_MS    250
#define RETRY_ERROR_MS   2000
#define MS_NS            1000000LL

static const char *const state_names[] = {
	[VM_RESIZE_DONE] = "done",
	[VM_RESIZE_IN_PROGRESS] = "in progress",
	[VM_RESIZE_INFEASIBLE] = "infeasible",
	[VM_RESIZE_ERROR] = "error",
};

const char *vm_resize_state_name(enum vm_resize_state state)
{
	return (size_t)state < ARRAY_LEN(state_names) ? state_names[state]
						      : "unknown";
}

/* What was found in QEMU, with the names that steps need. */
struct look {
	struct vm_have have;
	char last_cpu[QMP_NAME_MAX]; /* plugged in by us, the last one */
	char last_dimm[QMP_NAME_MAX];
};

/*
 * Looking
 */

static int look_at_cpus(struct vm *vm, struct look *l, struct err *e)
{
	static const char ours[] = "/machine/peripheral/";
	int r = vm_read_slots(vm, e);

	if (r < 0)
		return r;
	for (size_t i = 0; i < vm->nr_slots; i++) {
		const struct qmp_cpu_slot *s = &vm->slots[i];

		l->have.cpus_max += s->vcpus;
		if (!s->plugged)
			continue;
		l->have.cpus_plugged += s->vcpus;
		if (!str_starts(s->qom_path, ours))
			l->have.cpus_boot += s->vcpus;
		else if (!l->last_cpu[0]) /* QEMU lists the last one first */
			snprintf(l->last_cpu, sizeof(l->last_cpu), "%.*s",
				 (int)sizeof(l->last_cpu) - 1,
				 s->qom_path + sizeof(ours) - 1);
	}
	l->have.unplug_safe = !vm->tcg;
	if (!str_eq(vm->cpu_unplug.id, l->last_cpu))
		vm->cpu_unplug = (struct vm_unplug){ 0 };
	l->have.cpu_refused = vm->cpu_unplug.refused;
	return 0;
}

static unsigned int number_of(const char *id, const char *prefix)
{
	uint64_t n = 0;

	if (!str_starts(id, prefix) ||
	    str_to_u64(id + strlen(prefix), &n) < 0 || n > INT32_MAX)
		return 0;
	return (unsigned int)n;
}

static void look_at_dimm(struct look *l, const struct qmp_memory_device *dev)
{
	l->have.dimm_bytes += dev->size_bytes;
	if (number_of(dev->id, VM_DIMM_PREFIX) <
	    number_of(l->last_dimm, VM_DIMM_PREFIX))
		return;
	if (!str_starts(dev->id, VM_DIMM_PREFIX))
		return;
	l->have.dimm_last_bytes = dev->size_bytes;
	memcpy(l->last_dimm, dev->id, sizeof(l->last_dimm));
}

/* A dimm that has gone leaves its backend behind. */
static void sweep_backend(struct vm *vm, const struct look *l)
{
	char backend[QMP_NAME_MAX + 8];

	if (!vm->dimm_unplug.id[0] || str_eq(vm->dimm_unplug.id, l->last_dimm))
		return;
	snprintf(backend, sizeof(backend), "%s-ram", vm->dimm_unplug.id);
	(void)qmp_object_del(vm->qmp, backend, VM_QMP_MS, NULL);
	vm->dimm_unplug = (struct vm_unplug){ 0 };
}

static int look_at_memory(struct vm *vm, struct look *l, struct err *e)
{
	auto_free struct qmp_memory_device *devs = NULL;
	struct vm_have *have = &l->have;
	size_t nr = 0;
	int r = 0;

	if (!vm->mem_base)
		r = qmp_query_memory_size(vm->qmp, VM_QMP_MS, &vm->mem_base,
					  NULL, e);
	have->mem_base = vm->mem_base;
	if (r == 0)
		r = qmp_query_memory_devices(vm->qmp, VM_QMP_MS, &devs, &nr, e);
	if (r < 0)
		return r;
	for (size_t i = 0; i < nr; i++) {
		if (devs[i].kind == QMP_MEMORY_DIMM)
			look_at_dimm(l, &devs[i]);
		if (devs[i].kind != QMP_MEMORY_VIRTIO_MEM ||
		    !str_eq(devs[i].id, VM_REGION_ID))
			continue;
		have->vmem = true;
		have->vmem_requested = devs[i].requested_bytes;
		have->vmem_actual = devs[i].size_bytes;
		have->vmem_max = devs[i].max_bytes;
	}
	sweep_backend(vm, l);
	have->dimm_refused = vm->dimm_unplug.refused;
	have->no_vmem_driver = vm->no_vmem_driver;
	return 0;
}

static void look_at_guest(struct vm *vm, struct vm_have *have)
{
	const struct ask *ask = &vm->ask;

	have->agent = vm->agent;
	vm_ask(vm, have->vmem_requested != have->vmem_actual);
	have->told = ask->cpus_fresh && ask->nr_cpus;
	have->mem_told = ask->mem_fresh;
	have->mem_total_before = vm->mem_total_before;
	have->mem_size_before = vm->mem_size_before;
	if (have->mem_told) {
		have->mem_total = ask->mem_total;
		have->mem_available = ask->mem_available;
	}
	if (!have->told)
		return;
	have->cpus_present = (unsigned int)ask->nr_cpus;
	for (size_t i = 0; i < ask->nr_cpus; i++) {
		have->cpus_online += ask->cpus[i].online;
		have->cpus_offlinable +=
			ask->cpus[i].online && ask->cpus[i].can_offline;
	}
}

static int64_t idle_ms(int64_t since_ns, bool told, int64_t asked_ns)
{
	if (!told && asked_ns > since_ns)
		since_ns = asked_ns;
	return (vm_now_ns() - since_ns) / MS_NS;
}

/* Time runs from the last change, and while the guest has not answered from the
 * question on. */
static void mark_changes(struct vm *vm, struct vm_have *have)
{
	unsigned int cpu[3] = { have->cpus_plugged, have->cpus_present,
				have->cpus_online };
	uint64_t mem[4] = { have->vmem_requested, have->vmem_actual,
			    have->dimm_bytes, have->mem_total };
	int64_t now_ns = vm_now_ns();

	/* Not being told is no news. */
	if (!have->told)
		memcpy(&cpu[1], &vm->cpu_mark[1], 2 * sizeof(cpu[0]));
	if (!have->mem_told)
		mem[3] = vm->mem_mark[3];
	if (memcmp(cpu, vm->cpu_mark, sizeof(cpu)) != 0)
		vm->cpu_since_ns = now_ns;
	/* MemTotal alone moves by itself; it counts while it is waited for. */
	if (memcmp(mem, vm->mem_mark, sizeof(mem)) != 0)
		vm->mem_since_ns = now_ns;
	memcpy(vm->cpu_mark, cpu, sizeof(cpu));
	memcpy(vm->mem_mark, mem, sizeof(mem));
	if (have->mem_told)
		vm->mem_mark_size = vm_have_mem(have);
	have->cpu_idle_ms =
		idle_ms(vm->cpu_since_ns, have->told, vm->cpus_asked_ns);
	have->mem_idle_ms =
		idle_ms(vm->mem_since_ns, have->mem_told, vm->mem_asked_ns);
}

static int look(struct vm *vm, struct look *l, struct err *e)
{
	int r;

	vm_take_events(vm, 0);
	r = look_at_cpus(vm, l, e);
	if (r == 0)
		r = look_at_memory(vm, l, e);
	if (r < 0)
		return r;
	look_at_guest(vm, &l->have);
	mark_changes(vm, &l->have);
	return 0;
}

/*
 * Host limits
 */

static int host_cpu(struct vm *vm, uint64_t milli, struct err *e)
{
	int r = 0;

	if (vm->host.set_cpu && vm->host_cpu_milli != milli)
		r = vm->host.set_cpu(vm->host.ctx, milli, e);
	if (r == 0)
		vm->host_cpu_milli = milli;
	return r < 0 ? err_wrap(e, r, "CPU limit of the VM") : 0;
}

static int host_memory(struct vm *vm, uint64_t bytes, struct err *e)
{
	int r = 0;

	if (vm->host.set_memory && vm->host_mem_bytes != bytes)
		r = vm->host.set_memory(vm->host.ctx, bytes, e);
	if (r == 0)
		vm->host_mem_bytes = bytes;
	return r < 0 ? err_wrap(e, r, "memory limit of the VM") : 0;
}

/* Never below what the guest may touch: that would kill it. */
static uint64_t memory_in_play(const struct vm_have *have, uint64_t want)
{
	uint64_t vmem = have->vmem_requested > have->vmem_actual
				? have->vmem_requested
				: have->vmem_actual;
	uint64_t now = have->mem_base + have->dimm_bytes + vmem;

	return now > want ? now : want;
}

/* Up before the guest grows, down after it has shrunk. What is refused changes
 * nothing, but for a first setting of what is already so. */
static int set_limits(struct vm *vm, const struct vm_have *have,
		      const struct vm_plan *cpu, const struct vm_plan *mem,
		      struct err *e)
{
	const struct vm_size *want = &vm->want;
	uint64_t bytes = memory_in_play(have, mem->state == VM_RESIZE_INFEASIBLE
						      ? 0
						      : want->mem_bytes);
	int r = host_memory(vm, bytes, e);

	if (r < 0 || cpu->state == VM_RESIZE_INFEASIBLE)
		return r;
	if (want->cpu_milli > vm->host_cpu_milli ||
	    cpu->state != VM_RESIZE_IN_PROGRESS)
		r = host_cpu(vm, want->cpu_milli, e);
	return r;
}

/*
 * Steps. A refusal by QEMU or the guest is not an error of ours: it goes into
 * vm->refusals, and is tried again after a while.
 */

static void set_refusal(struct vm *vm, bool cpu, const char *prefix,
			const struct err *why)
{
	struct vm_refusal *refusal = &vm->refusals[!cpu];

	snprintf(refusal->why, sizeof(refusal->why), "%s%.200s", prefix,
		 why->msg);
	refusal->retry_ns = vm_now_ns() + REFUSED_RETRY_NS;
}

static bool is_refusal(int code)
{
	return code == -EREMOTEIO || code == -EOPNOTSUPP || code == -EBUSY;
}

static int set_cpus(struct vm *vm, bool online, uint64_t nr, struct err *e)
{
	const struct ask *ask = &vm->ask;
	auto_free struct qga_vcpu *set = calloc(ask->nr_cpus, sizeof(*set));
	size_t nr_set = 0;

	if (!set)
		return err_set(e, -ENOMEM, "out of memory");
	/* Bring the first ones up, take the last ones down. */
	for (size_t k = 0; k < ask->nr_cpus && nr_set < nr; k++) {
		const struct qga_vcpu *cpu =
			&ask->cpus[online ? k : ask->nr_cpus - 1 - k];

		if (cpu->online == online || (!online && !cpu->can_offline))
			continue;
		set[nr_set] = *cpu;
		set[nr_set++].online = online;
	}
	if (!nr_set)
		return 0;
	return qga_submit_set_vcpus(vm->qga, set, nr_set, SET_CPUS_MS,
				    &vm->set_cpus, e);
}

/* The guest's answer about its CPUs, if one is awaited. */
static int take_set_cpus(struct vm *vm)
{
	struct err why = { 0 };
	int r;

	if (!vm->set_cpus)
		return 0;
	r = qga_poll(vm->set_cpus, 0, NULL, &why);
	if (r == -EAGAIN)
		return r;
	qga_request_free(vm->set_cpus);
	vm->set_cpus = NULL;
	vm_ask_cpus_again(vm);
	if (r < 0)
		set_refusal(vm, true, "the guest refused: ", &why);
	return 0;
}

static int plug_dimm(struct vm *vm, const struct look *l, uint64_t bytes,
		     struct err *e)
{
	char id[QMP_NAME_MAX];

	/* Beyond what was used before, by an earlier agent too. */
	snprintf(id, sizeof(id), VM_DIMM_PREFIX "%u",
		 number_of(l->last_dimm, VM_DIMM_PREFIX) + 1);
	return qmp_dimm_add(vm->qmp, id, bytes, VM_QMP_MS, e);
}

/* Ask for a device; the guest may take its time. It is asked again now and
 * then: one that was just restored, or boots, may not have heard it. */
static int unplug(struct vm *vm, struct vm_unplug *asked, const char *id,
		  struct err *e)
{
	int64_t now = vm_now_ns();

	if (str_eq(asked->id, id)) {
		if (asked->refused ||
		    now - asked->asked_ns < VM_NOTICE_MS * INT64_C(1000000))
			return 0;
		asked->asked_ns = now;
		/* QEMU may say that it is under way. */
		(void)qmp_device_del(vm->qmp, id, VM_QMP_MS, 0, NULL);
		return 0;
	}
	asked->asked_ns = now;
	snprintf(asked->id, sizeof(asked->id), "%s", id);
	asked->refused = false;
	vm->slots_fresh = false;
	vm_ask_cpus_again(vm);
	vm_ask_memory_again(vm);
	return qmp_device_del(vm->qmp, id, VM_QMP_MS, 0, e);
}

/* Remember what the guest had before it grows, to see it grow. */
static void remember_before(struct vm *vm, const struct look *l,
			    uint64_t target)
{
	uint64_t now = vm_have_mem(&l->have);

	vm->mem_size_before = 0;
	vm->mem_total_before = 0;
	if (target <= now)
		return;
	vm->mem_size_before = now;
	if (l->have.mem_told)
		vm->mem_total_before = l->have.mem_total;
	/* Told of a VM of another size: it has shrunk since, say. */
	else if (vm->mem_mark[3] && vm->mem_mark[3] + now > vm->mem_mark_size)
		vm->mem_total_before =
			vm->mem_mark[3] + now - vm->mem_mark_size;
}

static int take_step(struct vm *vm, const struct look *l,
		     const struct vm_plan *p, struct err *e)
{
	int r;

	switch (p->step) {
	case VM_STEP_NONE:
		return 0;
	case VM_STEP_CPU_PLUG:
		return vm_plug_cpus(vm, p->arg, e);
	case VM_STEP_CPU_ONLINE:
		return set_cpus(vm, true, p->arg, e);
	case VM_STEP_CPU_OFFLINE:
		return set_cpus(vm, false, p->arg, e);
	case VM_STEP_CPU_UNPLUG:
		return unplug(vm, &vm->cpu_unplug, l->last_cpu, e);
	case VM_STEP_MEM_REQUEST:
		vm->no_vmem_driver |= p->no_vmem_driver;
		remember_before(vm, l,
				l->have.mem_base + l->have.dimm_bytes + p->arg);
		r = qmp_virtio_mem_request(vm->qmp, VM_REGION_ID, p->arg,
					   VM_QMP_MS, e);
		vm_ask_memory_again(vm);
		return r;
	case VM_STEP_DIMM_PLUG:
		remember_before(vm, l, vm_have_mem(&l->have) + p->arg);
		vm_ask_memory_again(vm);
		return plug_dimm(vm, l, p->arg, e);
	case VM_STEP_DIMM_UNPLUG:
		remember_before(vm, l, 0);
		return unplug(vm, &vm->dimm_unplug, l->last_dimm, e);
	}
	return 0;
}

/* What the guest has been asked already needs no asking again. */
static bool is_under_way(const struct vm *vm, const struct vm_plan *p,
			 const struct look *l)
{
	switch (p->step) {
	case VM_STEP_DIMM_UNPLUG:
		return str_eq(vm->dimm_unplug.id, l->last_dimm);
	case VM_STEP_CPU_UNPLUG:
		return str_eq(vm->cpu_unplug.id, l->last_cpu);
	case VM_STEP_CPU_ONLINE:
	case VM_STEP_CPU_OFFLINE:
	case VM_STEP_CPU_PLUG:
		return vm->set_cpus != NULL;
	default:
		return p->step == VM_STEP_NONE;
	}
}

static void apply_refusal(struct vm *vm, bool cpu, struct vm_plan *p)
{
	struct vm_refusal *refusal = &vm->refusals[!cpu];

	if (!refusal->why[0] || p->state != VM_RESIZE_IN_PROGRESS)
		return;
	if (vm_now_ns() >= refusal->retry_ns) {
		refusal->why[0] = '\0';
		return;
	}
	*p = (struct vm_plan){ .state = VM_RESIZE_ERROR };
	memcpy(p->why, refusal->why, sizeof(p->why));
}

static int run_plan(struct vm *vm, const struct look *l, bool cpu,
		    struct vm_plan *p, bool *acted, struct err *e)
{
	struct err why = { 0 };
	int r;

	apply_refusal(vm, cpu, p);
	if (is_under_way(vm, p, l))
		return 0;
	r = take_step(vm, l, p, &why);
	*acted = true;
	if (is_refusal(r)) {
		set_refusal(vm, cpu, "", &why);
		apply_refusal(vm, cpu, p);
		return 0;
	}
	if (r < 0 && e)
		*e = why;
	return r;
}

/*
 * The whole
 */

static int grade(enum vm_resize_state state)
{
	static const int grades[] = { [VM_RESIZE_DONE] = 0,
				      [VM_RESIZE_IN_PROGRESS] = 1,
				      [VM_RESIZE_ERROR] = 2,
				      [VM_RESIZE_INFEASIBLE] = 3 };

	return grades[state];
}

static uint32_t retry_ms(const struct vm *vm, enum vm_resize_state state)
{
	if (state == VM_RESIZE_ERROR || state == VM_RESIZE_INFEASIBLE)
		return RETRY_ERROR_MS;
	if (state != VM_RESIZE_IN_PROGRESS)
		return 0;
	return vm->agent && !vm->ask.failed ? RETRY_SOON_MS : RETRY_SLOW_MS;
}

static void report(const struct vm *vm, const struct look *l,
		   const struct vm_plan *cpu, const struct vm_plan *mem,
		   struct vm_resize *ret)
{
	const struct vm_plan *worse =
		grade(cpu->state) >= grade(mem->state) ? cpu : mem;
	const struct vm_have *have = &l->have;
	unsigned int cpus = have->told ? have->cpus_online : have->cpus_boot;
	uint64_t size = vm_have_mem(have);

	*ret = (struct vm_resize){ .state = worse->state,
				   .cpus_plugged = have->cpus_plugged,
				   .cpus_online = have->cpus_online,
				   .retry_ms = retry_ms(vm, worse->state) };
	memcpy(ret->why, worse->why, sizeof(ret->why));
	ret->actual.cpu_milli = cpus * 1000ULL;
	if (vm->host_cpu_milli && vm->host_cpu_milli < ret->actual.cpu_milli)
		ret->actual.cpu_milli = vm->host_cpu_milli;
	ret->actual.mem_bytes = size;
	/* Both are rounded up to whole blocks; do not report the rounding. */
	if (mem->state == VM_RESIZE_DONE)
		ret->actual.mem_bytes = vm->want.mem_bytes;
}

/* More than the node has: no need to bother the guest. */
static void check_node(const struct vm *vm, struct vm_plan *cpu,
		       struct vm_plan *mem)
{
	const struct vm_size *limit = &vm->limit, *want = &vm->want;
	char a[QUANTITY_TEXT_SIZE], b[QUANTITY_TEXT_SIZE];

	if (limit->cpu_milli && want->cpu_milli > limit->cpu_milli) {
		*cpu = (struct vm_plan){ .state = VM_RESIZE_INFEASIBLE };
		snprintf(cpu->why, sizeof(cpu->why),
			 "%s CPUs wanted, the node has %s",
			 quantity_format_cpu(want->cpu_milli, a),
			 quantity_format_cpu(limit->cpu_milli, b));
	}
	if (limit->mem_bytes && want->mem_bytes > limit->mem_bytes) {
		*mem = (struct vm_plan){ .state = VM_RESIZE_INFEASIBLE };
		snprintf(mem->why, sizeof(mem->why),
			 "%s of memory wanted, the node has %s",
			 quantity_format_human(want->mem_bytes, a),
			 quantity_format_human(limit->mem_bytes, b));
	}
}

static int one_round(struct vm *vm, struct look *l, struct vm_plan *cpu,
		     struct vm_plan *mem, bool *acted, struct err *e)
{
	int r;

	r = look(vm, l, e);
	if (r < 0)
		return r;
	(void)take_set_cpus(vm);
	*cpu = vm_plan_cpu(vm->want.cpu_milli, &l->have);
	*mem = vm_plan_mem(vm->want.mem_bytes, &l->have);
	check_node(vm, cpu, mem);
	r = set_limits(vm, &l->have, cpu, mem, e);
	if (r < 0)
		return r;
	r = run_plan(vm, l, true, cpu, acted, e);
	if (r == 0)
		r = run_plan(vm, l, false, mem, acted, e);
	return r;
}

static void begin(struct vm *vm, const struct vm_size *want)
{
	if (vm->want.cpu_milli != want->cpu_milli) {
		vm->cpu_since_ns = vm_now_ns();
		vm->slots_fresh = false;
		vm->refusals[0].why[0] = '\0';
		vm->cpu_unplug = (struct vm_unplug){ 0 };
	}
	if (vm->want.mem_bytes != want->mem_bytes) {
		vm->mem_since_ns = vm_now_ns();
		vm->refusals[1].why[0] = '\0';
		vm->no_vmem_driver = false;
		vm_ask_memory_again(vm);
	}
	/* What was refused may have changed since. */
	if (vm->last_state == VM_RESIZE_INFEASIBLE ||
	    vm->last_state == VM_RESIZE_ERROR) {
		vm_ask_cpus_again(vm);
		vm_ask_memory_again(vm);
	}
	vm->want = *want;
}

/* QEMU is there, but busy: that is progress of a kind. */
static int slow_answer(int code, struct vm_resize *ret)
{
	if (code != -ETIMEDOUT)
		return code;
	*ret = (struct vm_resize){ .state = VM_RESIZE_IN_PROGRESS,
				   .why = "QEMU is slow to answer",
				   .retry_ms = RETRY_SLOW_MS };
	return 0;
}

/* What the guest told was not what is waited for: ask again. While it is busy
 * with its memory, QEMU knows how far it is. */
static void ask_once_more(struct vm *vm, const struct vm_have *have,
			  const struct vm_plan *cpu, const struct vm_plan *mem)
{
	if (have->told && !vm->set_cpus && cpu->state == VM_RESIZE_IN_PROGRESS)
		vm_ask_cpus_again(vm);
	if (have->mem_told && mem->state == VM_RESIZE_IN_PROGRESS &&
	    have->vmem_requested == have->vmem_actual)
		vm_ask_memory_again(vm);
}

int vm_resize_sync(struct vm *vm, const struct vm_size *want,
		   struct vm_resize *ret, struct err *e)
{
	int64_t until_ns = vm_now_ns() + BUDGET_NS;
	bool acted, go_on = true;

	if (!vm_qmp(vm))
		return err_set(e, -EAGAIN, "QEMU is not there yet");
	begin(vm, want);
	while (go_on) {
		struct vm_plan cpu, mem;
		struct look l = { 0 };
		int r;

		acted = false;
		r = one_round(vm, &l, &cpu, &mem, &acted, e);
		if (r == 0)
			report(vm, &l, &cpu, &mem, ret);
		if (r == 0)
			vm->last_state = ret->state;
		if (r < 0)
			return slow_answer(r, ret);
		go_on = vm_now_ns() < until_ns &&
			(acted || ret->state == VM_RESIZE_IN_PROGRESS);
		if (go_on && !acted) {
			vm_take_events(vm, LOOK_AGAIN_MS);
			ask_once_more(vm, &l.have, &cpu, &mem);
		}
	}
	return 0;
}

// SPDX-License-Identifier: Apache-2.0
#include <stdarg.h>
#include <stdio.h>

#include "agent/vm/resize_plan.h"
#include "lib/quantity.h"

uint64_t vm_have_mem(const struct vm_have *have)
{
	return have->mem_base + have->vmem_actual + have->dimm_bytes;
}

static struct vm_plan done(void)
{
	return (struct vm_plan){ .state = VM_RESIZE_DONE };
}

static struct vm_plan ends(enum vm_resize_state state, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

static struct vm_plan ends(enum vm_resize_state state, const char *fmt, ...)
{
	struct vm_plan p = { .state = state };
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(p.why, sizeof(p.why), fmt, ap);
	va_end(ap);
	return p;
}

static struct vm_plan does(enum vm_step step, uint64_t step_arg,
			   const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static struct vm_plan does(enum vm_step step, uint64_t step_arg,
			   const char *fmt, ...)
{
	struct vm_plan p = { .step = step,
			     .arg = step_arg,
			     .state = VM_RESIZE_IN_PROGRESS };
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(p.why, sizeof(p.why), fmt, ap);
	va_end(ap);
	return p;
}

/* Wait as long as this is young, then call it an error. */
static enum vm_resize_state patience(int64_t idle_ms, int64_t limit_ms)
{
	return idle_ms < limit_ms ? VM_RESIZE_IN_PROGRESS : VM_RESIZE_ERROR;
}

/*
 * CPU
 */

static struct vm_plan unplug_cpu(const struct vm_have *have)
{
	if (have->cpu_refused)
		return ends(VM_RESIZE_ERROR,
			    "the guest refused to give up a CPU");
	if (have->cpu_idle_ms >= VM_SETTLE_MS)
		return ends(VM_RESIZE_ERROR,
			    "the guest has not given up a CPU");
	return does(VM_STEP_CPU_UNPLUG, 0,
		    "waiting for the guest to give up a CPU");
}

/* All that is known comes from QEMU. */
static struct vm_plan plan_cpu_untold(unsigned int n,
				      const struct vm_have *have)
{
	enum vm_resize_state state;

	if (n < have->cpus_plugged && have->unplug_safe && !have->agent &&
	    have->cpus_plugged > have->cpus_boot)
		return unplug_cpu(have);
	/* What the guest found when it booted, it uses. */
	if (n == have->cpus_plugged && n == have->cpus_boot && !have->agent)
		return done();
	if (have->agent) {
		state = patience(have->cpu_idle_ms, VM_SETTLE_MS);
		return ends(state, state == VM_RESIZE_ERROR
					   ? "the guest agent does not answer"
					   : "waiting for the guest agent");
	}
	state = patience(have->cpu_idle_ms, VM_AGENT_MS);
	if (n < have->cpus_plugged)
		return ends(
			state,
			"no guest agent answers: nobody takes %u of the guest's %u CPUs offline",
			have->cpus_plugged - n, have->cpus_plugged);
	return ends(
		state,
		"%u vCPUs are plugged in, but no guest agent answers to confirm that the guest uses them",
		have->cpus_plugged);
}

static struct vm_plan plan_cpu_told(unsigned int n, const struct vm_have *have)
{
	if (have->cpus_online < n && have->cpus_present < n) {
		enum vm_resize_state state =
			patience(have->cpu_idle_ms, VM_NOTICE_MS);

		if (state != VM_RESIZE_ERROR)
			return ends(state,
				    "waiting for the guest to notice CPU %u",
				    have->cpus_present);
		return ends(
			state,
			"the guest sees %u of %u vCPUs: it does not support CPU hot-plug",
			have->cpus_present, n);
	}
	if (have->cpus_online < n)
		return does(VM_STEP_CPU_ONLINE, n - have->cpus_online,
			    "the guest brings %u CPUs online",
			    n - have->cpus_online);
	if (have->cpus_online > n) {
		unsigned int fewer = have->cpus_online - n;

		if (have->cpus_offlinable < fewer)
			return ends(
				VM_RESIZE_INFEASIBLE,
				"the guest can take %u of its %u CPUs offline, %u would have to go",
				have->cpus_offlinable, have->cpus_online,
				fewer);
		return does(VM_STEP_CPU_OFFLINE, fewer,
			    "the guest takes %u CPUs offline", fewer);
	}
	if (have->cpus_plugged > n && have->unplug_safe &&
	    have->cpus_plugged > have->cpus_boot)
		return unplug_cpu(have);
	return done();
}

struct vm_plan vm_plan_cpu(uint64_t want_milli, const struct vm_have *have)
{
	char text[QUANTITY_TEXT_SIZE];
	uint64_t n = want_milli / 1000 + (want_milli % 1000 != 0);

	if (n == 0)
		return ends(VM_RESIZE_INFEASIBLE,
			    "a VM with no CPU cannot run");
	if (n > have->cpus_max)
		return ends(
			VM_RESIZE_INFEASIBLE,
			"%s CPUs wanted, this VM was started with room for %u",
			quantity_format_cpu(want_milli, text), have->cpus_max);
	if (have->cpus_plugged < n)
		return does(VM_STEP_CPU_PLUG, n - have->cpus_plugged,
			    "plugging %u vCPUs",
			    (unsigned int)n - have->cpus_plugged);
	if (!have->told)
		return plan_cpu_untold((unsigned int)n, have);
	return plan_cpu_told((unsigned int)n, have);
}

/*
 * Memory
 */

static uint64_t align_up(uint64_t n, uint64_t to)
{
	return n + (to - n % to) % to;
}

/* @asked is told, @want what it comes to. */
static struct vm_plan refuse_mem(uint64_t asked, uint64_t want,
				 const struct vm_have *have)
{
	char a[QUANTITY_TEXT_SIZE], b[QUANTITY_TEXT_SIZE];
	uint64_t most = have->mem_base + have->dimm_bytes + have->vmem_max;

	if (want < have->mem_base)
		return ends(
			VM_RESIZE_INFEASIBLE,
			"%s wanted, but the %s this VM was started with cannot be taken away: recreate the pod to shrink it further",
			quantity_format_human(asked, a),
			quantity_format_human(have->mem_base, b));
	if (want > most)
		return ends(VM_RESIZE_INFEASIBLE,
			    "%s wanted, this VM was started with room for %s",
			    quantity_format_human(asked, a),
			    quantity_format_human(most, b));
	if (want / VM_MEM_GROW_MAX > have->mem_base)
		return ends(
			VM_RESIZE_INFEASIBLE,
			"%s wanted, but the %s this VM was started with cannot manage more than %d times their size: recreate the pod to grow it further",
			quantity_format_human(asked, a),
			quantity_format_human(have->mem_base, b),
			VM_MEM_GROW_MAX);
	return done();
}

/* What the guest says it uses must fit, with something left over. */
static struct vm_plan check_use(uint64_t want, const struct vm_have *have)
{
	char a[QUANTITY_TEXT_SIZE], b[QUANTITY_TEXT_SIZE];
	char c[QUANTITY_TEXT_SIZE];
	uint64_t size = vm_have_mem(have);
	uint64_t used;

	if (!have->mem_told || !have->mem_total ||
	    have->mem_available > have->mem_total)
		return done();
	/* The kernel's own share is in use, too. */
	used = have->mem_total - have->mem_available;
	if (size > have->mem_total)
		used += size - have->mem_total;
	if (want >= used + VM_MEM_SLACK_BYTES)
		return done();
	return ends(VM_RESIZE_INFEASIBLE,
		    "the guest uses %s of its %s: it cannot shrink to %s",
		    quantity_format_human(used, a),
		    quantity_format_human(size, b),
		    quantity_format_human(want, c));
}

/* QEMU's side fits: does the guest agree? */
static struct vm_plan confirm_mem(const struct vm_have *have)
{
	uint64_t size = vm_have_mem(have);
	char a[QUANTITY_TEXT_SIZE], b[QUANTITY_TEXT_SIZE];
	uint64_t grown, seen, own;

	if (!have->mem_size_before || size <= have->mem_size_before)
		return done();
	if (have->agent && !have->mem_told)
		return ends(patience(have->mem_idle_ms, VM_SETTLE_MS),
			    "waiting for the guest agent to confirm");
	if (!have->mem_told || !have->mem_total) {
		/* Without an agent, the virtio-mem driver's word is enough. */
		if (!have->dimm_bytes)
			return done();
		return ends(
			patience(have->mem_idle_ms, VM_SETTLE_MS),
			"memory is plugged in, but no guest agent answers to confirm that the guest uses it");
	}
	/* All but the kernel's own share, a guess, is there. That says enough
	 * where MemTotal before is not known, or where it growing by less than
	 * that share cannot hide in the guess: what was known of before may be
	 * of a moment within the last shrink. */
	grown = size - have->mem_size_before;
	own = size / 16 + VM_MEM_KERNEL_BYTES;
	if ((!have->mem_total_before || grown > own) &&
	    have->mem_total + own >= size)
		return done();
	/* Of what was not known before nobody can say that it has grown. */
	seen = have->mem_total_before &&
			       have->mem_total > have->mem_total_before
		       ? have->mem_total - have->mem_total_before
		       : 0;
	if (seen >= grown - grown / 10)
		return done();
	return ends(
		patience(have->mem_idle_ms, VM_NOTICE_MS),
		"the guest has %s more memory but uses %s of it: boot it with memhp_default_state=online_movable",
		quantity_format_human(grown, a),
		quantity_format_human(seen, b));
}

static struct vm_plan wait_vmem(const struct vm_have *have)
{
	uint64_t from = have->mem_base + have->dimm_bytes;
	char a[QUANTITY_TEXT_SIZE], b[QUANTITY_TEXT_SIZE];
	bool grows = have->vmem_requested > have->vmem_actual;
	struct vm_plan p;

	quantity_format_human(from + have->vmem_actual, a);
	quantity_format_human(from + have->vmem_requested, b);
	/* A driver takes something at once; where none ever did, and the guest
	 * is up, there is none. */
	if (grows && have->vmem_actual == 0 &&
	    have->mem_idle_ms >= (have->told ? VM_NOTICE_MS : VM_AGENT_MS)) {
		p = does(VM_STEP_MEM_REQUEST, 0,
			 "the guest has no virtio-mem driver");
		p.no_vmem_driver = true;
		return p;
	}
	return ends(patience(have->mem_idle_ms, VM_SETTLE_MS),
		    grows ? "the guest has taken %s of %s"
			  : "the guest still holds %s, %s wanted",
		    a, b);
}

static struct vm_plan plan_dimms(uint64_t want, const struct vm_have *have)
{
	uint64_t now = vm_have_mem(have);
	char a[QUANTITY_TEXT_SIZE];

	if (want > now)
		return does(VM_STEP_DIMM_PLUG,
			    align_up(want - now, VM_DIMM_ALIGN_BYTES),
			    "plugging a memory module");
	if (have->dimm_last_bytes && now - have->dimm_last_bytes >= want) {
		struct vm_plan p = check_use(now - have->dimm_last_bytes, have);

		if (p.state != VM_RESIZE_DONE)
			return p;
		quantity_format_human(have->dimm_last_bytes, a);
		if (have->dimm_refused)
			return ends(
				VM_RESIZE_ERROR,
				"the guest refused to give up a memory module of %s",
				a);
		if (have->mem_idle_ms >= VM_SETTLE_MS)
			return ends(
				VM_RESIZE_ERROR,
				"the guest has not given up a memory module of %s",
				a);
		return does(
			VM_STEP_DIMM_UNPLUG, 0,
			"waiting for the guest to give up a memory module of %s",
			a);
	}
	return confirm_mem(have);
}

struct vm_plan vm_plan_mem(uint64_t want_bytes, const struct vm_have *have)
{
	uint64_t want = align_up(want_bytes, VM_MEM_ALIGN_BYTES);
	char a[QUANTITY_TEXT_SIZE], b[QUANTITY_TEXT_SIZE];
	struct vm_plan p = refuse_mem(want_bytes, want, have);
	uint64_t fixed = have->mem_base + have->dimm_bytes;

	if (p.state != VM_RESIZE_DONE)
		return p;
	if (!have->vmem && want == have->mem_base)
		return done();
	if (!have->vmem)
		return ends(VM_RESIZE_INFEASIBLE,
			    "%s wanted, this VM was started with room for %s",
			    quantity_format_human(want, a),
			    quantity_format_human(have->mem_base, b));
	if (have->no_vmem_driver || want < fixed)
		return plan_dimms(want, have);
	if (want - fixed == have->vmem_requested)
		return have->vmem_requested == have->vmem_actual
			       ? confirm_mem(have)
			       : wait_vmem(have);
	if (want < fixed + have->vmem_actual) {
		if (have->agent && !have->mem_told &&
		    have->mem_idle_ms < VM_SETTLE_MS)
			return ends(
				VM_RESIZE_IN_PROGRESS,
				"waiting for the guest agent to tell what is in use");
		p = check_use(want, have);
		if (p.state != VM_RESIZE_DONE)
			return p;
	}
	return does(VM_STEP_MEM_REQUEST, want - fixed,
		    "asking the guest for %s", quantity_format_human(want, a));
}

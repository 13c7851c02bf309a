// SPDX-License-Identifier: Apache-2.0
/*
 * Resize in place: desired -> allocated -> actual.
 *
 * desired is in the manifest. It becomes allocated when the node has it (else
 * Deferred, or Infeasible), which is checkpointed before anything is changed.
 * It is done when the kernel, or the guest, is seen to have it.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "agent/events.h"
#include "agent/internal.h"
#include "agent/payload.h"
#include "cgroups/cgroup.h"
#include "cgroups/cpu.h"
#include "cgroups/memory.h"
#include "lib/buf.h"
#include "lib/err.h"
#include "lib/log.h"
#include "lib/quantity.h"
#include "lib/str.h"

#define RESIZE_RETRY_MS 2000

static bool same_set(const struct quantity_set *a, const struct quantity_set *b)
{
	return a->has_cpu == b->has_cpu && a->has_mem == b->has_mem &&
	       a->cpu_milli == b->cpu_milli && a->mem_bytes == b->mem_bytes;
}

static bool same(const struct resources *a, const struct resources *b)
{
	return same_set(&a->requests, &b->requests) &&
	       same_set(&a->limits, &b->limits);
}

static const struct resources *desired(const struct pod *pod, size_t i)
{
	const struct ctr *c = &pod->ctrs[i];

	return c->spec ? &c->spec->resources : &pod->spec->vm->resources;
}

static void set_condition(struct pod *pod, enum resize_condition c,
			  const char *message)
{
	struct resize_status *rs = &pod->resize;

	if (rs->condition != c)
		rs->since_us = time_us();
	rs->condition = c;
	snprintf(rs->message, sizeof(rs->message), "%.*s", POD_MESSAGE_MAX - 1,
		 message);
}

void pod_resize_begin(struct pod *pod)
{
	if (!pod->admitted) { /* it will start with the new values */
		for (size_t i = 0; i < pod->nr_ctrs; i++)
			pod->ctrs[i].res.allocated = *desired(pod, i);
		pod->resize.done_generation = pod->resize.generation;
		pod->resize.took_ms = 0; /* that was another's */
		return;
	}
	set_condition(pod, RESIZE_IN_PROGRESS, "");
	for (size_t i = 0; i < pod->nr_ctrs; i++)
		pod->ctrs[i].res.before = pod->ctrs[i].res.actual;
}

/* " cpu A → B" of one value; A only when it is known. */
static void put_change(struct buf *b, const char *what, bool had,
		       const char *was, bool has, const char *is)
{
	if (had == has && (!has || str_eq(was, is)))
		return;
	buf_printf(b, "%s %s", b->len ? "," : "", what);
	if (had)
		buf_printf(b, " %s →", was);
	buf_printf(b, " %s", has ? is : "none");
}

static void put_set_change(struct buf *b, const struct quantity_set *was,
			   const struct quantity_set *is, bool request)
{
	char a[QUANTITY_TEXT_SIZE], z[QUANTITY_TEXT_SIZE];

	put_change(b, request ? "cpu request" : "cpu", was->has_cpu,
		   quantity_format_cpu(was->cpu_milli, a), is->has_cpu,
		   quantity_format_cpu(is->cpu_milli, z));
	put_change(b, request ? "memory request" : "memory", was->has_mem,
		   quantity_format_mem(was->mem_bytes, a), is->has_mem,
		   quantity_format_mem(is->mem_bytes, z));
}

/* "web: cpu 1 → 2, memory 1Gi → 2Gi; ..." */
static void put_changes(const struct pod *pod, struct buf *b)
{
	for (size_t i = 0; i < pod->nr_ctrs; i++) {
		const struct ctr_resources *res = &pod->ctrs[i].res;
		auto_buf struct buf one = BUF_INIT;

		put_set_change(&one, &res->before.limits,
			       &res->allocated.limits, false);
		put_set_change(&one, &res->before.requests,
			       &res->allocated.requests, true);
		if (one.len)
			buf_printf(b, "%s%s:%s", b->len ? "; " : "",
				   pod->ctrs[i].name, buf_str(&one));
	}
}

static void finish(struct pod *pod)
{
	struct resize_status *rs = &pod->resize;
	auto_buf struct buf what = BUF_INIT;

	put_changes(pod, &what);

	rs->took_ms = (uint32_t)(ev_clock_ms() - rs->began_ms);
	rs->done_generation = rs->generation;
	set_condition(pod, RESIZE_NONE, "");
	event_add(pod, false, "ResizeCompleted",
		  "Pod resize completed in %u ms%s%s", rs->took_ms,
		  what.len ? ": " : "", buf_str(&what));
	log_info("pod %s: resized in %ums", pod->key, rs->took_ms);
}

/* --- desired -> allocated
 * -------------------------------------------------------- */

static void swap_allocated(struct pod *pod, struct resources *saved)
{
	for (size_t i = 0; i < pod->nr_ctrs; i++) {
		saved[i] = pod->ctrs[i].res.allocated;
		pod->ctrs[i].res.allocated = *desired(pod, i);
	}
}

static void restore_allocated(struct pod *pod, const struct resources *saved)
{
	for (size_t i = 0; i < pod->nr_ctrs; i++)
		pod->ctrs[i].res.allocated = saved[i];
}

static void mark_restarts(struct pod *pod, const struct resources *saved)
{
	for (size_t i = 0; i < pod->nr_ctrs; i++) {
		struct ctr *c = &pod->ctrs[i];
		const struct resources *to = &c->res.allocated;
		bool cpu, mem;

		if (!c->spec || c->phase != CTR_RUNNING)
			continue;
		cpu = to->limits.cpu_milli != saved[i].limits.cpu_milli ||
		      to->requests.cpu_milli != saved[i].requests.cpu_milli;
		mem = to->limits.mem_bytes != saved[i].limits.mem_bytes ||
		      to->requests.mem_bytes != saved[i].requests.mem_bytes;
		if ((cpu && c->spec->resize.cpu_restart) ||
		    (mem && c->spec->resize.mem_restart))
			c->stop_why = STOP_RESIZE;
	}
}

/* 1 allocated now; 0 it has to wait, the condition says why. */
static int allocate(struct pod *pod, struct err *e)
{
	struct resources saved[2 * SPEC_CONTAINERS_MAX];
	struct quantity_set claim;
	struct err why = { 0 };
	int r;

	swap_allocated(pod, saved);
	claim = pod_claim(pod);
	__atomic_store_n(&pod->waits_for_node, true, __ATOMIC_RELEASE);
	r = node_claim(pod, &claim, &why);
	if (r < 0) {
		bool deferred = r == -ENOSPC;

		restore_allocated(pod, saved);
		if (pod->resize.condition !=
		    (deferred ? RESIZE_DEFERRED : RESIZE_INFEASIBLE))
			event_add(pod, true,
				  deferred ? "ResizeDeferred"
					   : "ResizeInfeasible",
				  "%s", why.msg);
		set_condition(pod,
			      deferred ? RESIZE_DEFERRED : RESIZE_INFEASIBLE,
			      why.msg);
		return 0;
	}
	__atomic_store_n(&pod->waits_for_node, false, __ATOMIC_RELEASE);
	r = checkpoint_write(pod, e);
	if (r < 0) { /* not given, as it would not survive us */
		restore_allocated(pod, saved);
		claim = pod_claim(pod);
		(void)node_claim(pod, &claim, NULL); /* less always fits */
		return r;
	}
	mark_restarts(pod, saved);
	set_condition(pod, RESIZE_IN_PROGRESS, "");
	return 1;
}

/* --- allocated -> actual
 * ------------------------------------------------------------ */

/* Lift the pod's own limits to hold both what its containers have and what they
 * will have; lower them only when all of them are done. */
static int lift_pod_limits(struct pod *pod, struct err *e)
{
	struct resources sum = pod_allocated_total(pod);
	struct cg_cpu_max is, to;
	uint64_t mem_is, mem_to;
	int r;

	if (!pod->cg || pod->spec->vm)
		return 0;
	r = cg_cpu_max_read(pod->cg, &is, e);
	if (r == 0)
		r = cg_mem_read(pod->cg, CG_MEM_MAX, &mem_is, e);
	if (r < 0)
		return r;
	to = cg_cpu_max_from_milli(sum.limits.has_cpu ? sum.limits.cpu_milli
						      : 0);
	mem_to = sum.limits.has_mem ? sum.limits.mem_bytes : CG_MEM_UNLIMITED;
	/* CG_*_UNLIMITED are the largest numbers there are. */
	if (to.quota_us > is.quota_us)
		r = cg_cpu_max_write(pod->cg, &to, e);
	if (r == 0 && mem_to > mem_is)
		r = cg_mem_write(pod->cg, CG_MEM_MAX, mem_to, e);
	return r;
}

static int actuate_one(struct pod *pod, size_t i, struct err *e)
{
	struct ctr *c = &pod->ctrs[i];

	if (c->phase != CTR_RUNNING)
		return 0;
	if (c->stop_why == STOP_RESIZE)
		return err_set(e, -EINPROGRESS,
			       "container '%s' is being restarted", c->name);
	return pod->payload->resize(pod, i, e);
}

static int actuate(struct pod *pod, struct err *e)
{
	int r = lift_pod_limits(pod, e), worst = 0;

	if (r < 0)
		return r;
	/* What shrinks goes first: it makes room in the pod's limits. */
	for (int grow = 0; grow < 2; grow++)
		for (size_t i = 0; i < pod->nr_ctrs; i++) {
			const struct ctr_resources *res = &pod->ctrs[i].res;
			bool up = !res->allocated.limits.has_mem ||
				  res->allocated.limits.mem_bytes >=
					  res->actual.limits.mem_bytes;
			struct err why = { 0 };

			if (up != (grow == 1))
				continue;
			r = actuate_one(pod, i, &why);
			if (r == 0 || worst < 0)
				continue;
			worst = r;
			if (e)
				*e = why;
		}
	if (worst < 0)
		return worst;
	return pod->cg ? pod_write_limits(pod, e) : 0;
}

/* Never on this guest: what was not given must not stay claimed. */
static int give_up(struct pod *pod, const char *why, struct err *e)
{
	struct quantity_set claim;

	for (size_t i = 0; i < pod->nr_ctrs; i++) {
		struct ctr_resources *res = &pod->ctrs[i].res;

		if (res->actual_known)
			res->allocated.limits = res->actual.limits;
		/* What was asked for was granted already, with a smaller
		 * request, too; an agent started since knows no before. */
		if (res->before.requests.has_cpu)
			res->allocated.requests.cpu_milli =
				res->before.requests.cpu_milli;
		if (res->before.requests.has_mem)
			res->allocated.requests.mem_bytes =
				res->before.requests.mem_bytes;
		if (res->allocated.requests.has_cpu &&
		    res->allocated.requests.cpu_milli >
			    res->allocated.limits.cpu_milli)
			res->allocated.requests.cpu_milli =
				res->allocated.limits.cpu_milli;
		if (res->allocated.requests.has_mem &&
		    res->allocated.requests.mem_bytes >
			    res->allocated.limits.mem_bytes)
			res->allocated.requests.mem_bytes =
				res->allocated.limits.mem_bytes;
	}
	claim = pod_claim(pod);
	(void)node_claim(pod, &claim, NULL); /* it has that already */
	pod->resize.refused_generation = pod->resize.generation;
	set_condition(pod, RESIZE_INFEASIBLE, why);
	event_add(pod, true, "ResizeInfeasible", "%s", why);
	node_freed(pod->agent);
	return checkpoint_write(pod, e);
}

static void wake_in(uint64_t *wake_ms, uint64_t ms)
{
	uint64_t at = ev_clock_ms() + ms;

	if (!*wake_ms || at < *wake_ms)
		*wake_ms = at;
}

bool pod_resize_allocated(const struct pod *pod)
{
	for (size_t i = 0; i < pod->nr_ctrs; i++)
		if (!same(desired(pod, i), &pod->ctrs[i].res.allocated))
			return false;
	return true;
}

int pod_resize_step(struct pod *pod, uint64_t *wake_ms, struct err *e)
{
	struct quantity_set claim;
	struct err why = { 0 };
	int r;

	if (pod->resize.refused_generation == pod->resize.generation)
		return 0;
	if (!pod_resize_allocated(pod)) {
		r = allocate(pod, e);
		if (r <= 0)
			return r;
	}
	r = actuate(pod, &why);
	if (r == -EINPROGRESS) {
		set_condition(pod, RESIZE_IN_PROGRESS, why.msg);
		return 0; /* its event, or the payload's wake-up, comes */
	}
	if (r == -EOPNOTSUPP && pod->spec->vm)
		return give_up(pod, why.msg, e);
	if (r < 0) {
		if (pod->resize.condition != RESIZE_ERROR)
			event_add(pod, true, "ResizeError", "%s", why.msg);
		set_condition(pod, RESIZE_ERROR, why.msg);
		wake_in(wake_ms, RESIZE_RETRY_MS);
		return 0;
	}
	/* What a shrink has freed is free only now. */
	claim = pod_claim(pod);
	r = node_claim(pod, &claim, e);
	if (r < 0)
		return r;
	finish(pod);
	node_freed(pod->agent);
	return 1;
}

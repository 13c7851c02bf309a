// SPDX-License-Identifier: Apache-2.0
#include <assert.h>
#include <string.h>

#include "agent/plan.h"

#define BACKOFF_RESET_MS (10 * 60 * 1000)

static void add(struct plan *p, enum step_kind kind, size_t ctr,
		enum stop_why why)
{
	assert(p->nr < PLAN_STEPS_MAX);
	p->steps[p->nr++] = (struct step){ kind, ctr, why };
}

static void wake(struct plan *p, uint64_t at_ms)
{
	if (!p->wake_ms || at_ms < p->wake_ms)
		p->wake_ms = at_ms;
}

bool stop_is_restart(enum stop_why why)
{
	return why == STOP_RESIZE || why == STOP_IMAGE;
}

bool ctr_image_changed(const struct ctr *ctr)
{
	return ctr->spec && ctr->image_ref &&
	       strcmp(ctr->image_ref, ctr->spec->image) != 0;
}

/* A VM that its powerSpec wants to be off. */
static bool vm_off(const struct pod *pod)
{
	return pod->spec->vm && pod->spec->vm->power == POWER_SHUTDOWN;
}

enum ctr_role ctr_role(const struct ctr *ctr)
{
	if (!ctr->init)
		return ROLE_MAIN;
	return ctr->spec->sidecar ? ROLE_SIDECAR : ROLE_INIT;
}

bool ctr_is_sidecar(const struct ctr *ctr)
{
	return ctr_role(ctr) == ROLE_SIDECAR;
}

bool sidecar_is_up(const struct pod *pod, const struct ctr *ctr)
{
	/* Once it was, what came after it does not wait for it any more. */
	for (const struct ctr *c = ctr + 1; c < pod->ctrs + pod->nr_ctrs; c++)
		if (c->started_once || c->phase != CTR_WAITING)
			return true;
	return ctr->phase == CTR_RUNNING && ctr->hook != HOOK_STARTING &&
	       (ctr->spec->startup.kind == PROBE_NONE || ctr->probe_started);
}

static bool work_is_done(const struct pod *pod);

bool ctr_should_restart(const struct pod *pod, const struct ctr *ctr)
{
	if (vm_off(pod))
		return false;
	if (ctr_is_sidecar(ctr))
		return !work_is_done(pod);
	if (stop_is_restart(ctr->stop_why))
		return true; /* it was us */
	if (ctr->init)
		return ctr->exit.code != 0 &&
		       pod->spec->restart != RESTART_NEVER;
	switch (pod->spec->restart) {
	case RESTART_ALWAYS:
		return true;
	case RESTART_ON_FAILURE:
		return ctr->exit.code != 0;
	default:
		return false;
	}
}

static bool init_failed(const struct pod *pod)
{
	for (size_t i = 0; i < pod->nr_init; i++)
		if (!ctr_is_sidecar(&pod->ctrs[i]) &&
		    pod->ctrs[i].phase == CTR_EXITED &&
		    pod->ctrs[i].exit.code != 0 &&
		    !ctr_should_restart(pod, &pod->ctrs[i]))
			return true;
	return false;
}

static bool all_ended(const struct pod *pod)
{
	for (size_t i = pod->nr_init; i < pod->nr_ctrs; i++) {
		const struct ctr *c = &pod->ctrs[i];

		if (c->phase == CTR_WAITING && vm_off(pod))
			continue;
		if (c->phase != CTR_EXITED || ctr_should_restart(pod, c))
			return false;
	}
	return true;
}

static bool any_running(const struct pod *pod)
{
	for (size_t i = 0; i < pod->nr_ctrs; i++)
		if (pod->ctrs[i].phase == CTR_RUNNING)
			return true;
	return false;
}

/* But for sidecars, which end after it. */
static bool work_is_done(const struct pod *pod)
{
	return pod->failed || init_failed(pod) || all_ended(pod);
}

bool pod_is_over(const struct pod *pod)
{
	return work_is_done(pod) && !any_running(pod);
}

uint32_t ctr_backoff_next(const struct ctr *ctr, uint64_t now_ms,
			  uint32_t base_ms, uint32_t max_ms)
{
	if (now_ms - ctr->started_ms >= BACKOFF_RESET_MS || !ctr->started_ms)
		return ctr->attempt == 0 ? 0 : base_ms;
	if (ctr->attempt == 0)
		return 0;
	if (ctr->backoff_ms == 0)
		return base_ms;
	return ctr->backoff_ms > max_ms / 2 ? max_ms : ctr->backoff_ms * 2;
}

/* A stop that is under way: force it when its time is over. */
static void plan_stopping(const struct pod *pod, size_t i, uint64_t now_ms,
			  struct plan *p)
{
	const struct ctr *c = &pod->ctrs[i];
	uint64_t due = c->kill_due_ms;

	if (pod->deleting && pod->delete_due_ms < due)
		due = pod->delete_due_ms;
	if (c->kill_sent)
		return; /* its exit comes as an event */
	if (now_ms >= due) {
		add(p, STEP_KILL, i, c->stop_why);
		return;
	}
	if (c->hook == HOOK_STOPPING && now_ms >= c->hook_due_ms)
		add(p, STEP_TERM, i, c->stop_why);
	else if (c->hook == HOOK_STOPPING && c->hook_due_ms < due)
		wake(p, c->hook_due_ms);
	wake(p, due);
}

static bool any_after(const struct pod *pod, size_t i)
{
	while (++i < pod->nr_ctrs)
		if (pod->ctrs[i].phase == CTR_RUNNING)
			return true;
	return false;
}

/* Sidecars last, in the reverse order of their start. */
static void plan_stop_all(const struct pod *pod, enum stop_why why,
			  uint64_t now_ms, struct plan *p)
{
	for (size_t i = 0; i < pod->nr_ctrs; i++) {
		const struct ctr *c = &pod->ctrs[i];

		if (c->phase != CTR_RUNNING)
			continue;
		if (!c->stop_sent_ms && ctr_is_sidecar(c) &&
		    any_after(pod, i) &&
		    !(pod->deleting && now_ms >= pod->delete_due_ms))
			continue;
		if (!c->stop_sent_ms)
			add(p, STEP_STOP, i, why);
		else
			plan_stopping(pod, i, now_ms, p);
	}
}

static void plan_dismantle(const struct pod *pod, struct plan *p)
{
	if (pod->sandbox_state != SANDBOX_NONE)
		add(p, STEP_SANDBOX_DOWN, 0, 0);
	if (pod->network_up || pod->network_maybe)
		add(p, STEP_NETWORK_DOWN, 0, 0);
	if (pod->deleting && (pod->volumes_up || pod->volumes_maybe))
		add(p, STEP_VOLUMES_DOWN, 0, 0);
	if (pod->cgroup_up || pod->cgroup_maybe)
		add(p, STEP_CGROUP_DOWN, 0, 0);
	if (pod->admitted)
		add(p, STEP_RELEASE, 0, 0);
}

static void plan_delete(const struct pod *pod, uint64_t now_ms, struct plan *p)
{
	if (!pod->saved)
		add(p, STEP_SAVE, 0, 0);
	if (any_running(pod)) {
		plan_stop_all(pod, STOP_DELETE, now_ms, p);
		return;
	}
	plan_dismantle(pod, p);
	add(p, STEP_FORGET, 0, 0);
}

static void plan_start(const struct pod *pod, size_t i, uint64_t now_ms,
		       struct plan *p)
{
	const struct ctr *c = &pod->ctrs[i];

	if (c->not_before_ms > now_ms) {
		wake(p, c->not_before_ms);
		return;
	}
	if (!c->image || ctr_image_changed(c))
		add(p, STEP_IMAGE, i, 0);
	else
		add(p, STEP_START, i, 0);
}

/* One container that should be running. */
static void plan_ctr(const struct pod *pod, size_t i, uint64_t now_ms,
		     struct plan *p)
{
	const struct ctr *c = &pod->ctrs[i];

	switch (c->phase) {
	case CTR_WAITING:
		plan_start(pod, i, now_ms, p);
		break;
	case CTR_EXITED:
		if (ctr_should_restart(pod, c))
			plan_start(pod, i, now_ms, p);
		break;
	case CTR_RUNNING:
		if (c->hook == HOOK_STARTING && c->hook_due_ms != HOOK_OPEN)
			wake(p, c->hook_due_ms);
		if (c->stop_sent_ms)
			plan_stopping(pod, i, now_ms, p);
		else if (c->stop_why != STOP_NONE)
			add(p, STEP_STOP, i, c->stop_why);
		else if (vm_off(pod))
			add(p, STEP_STOP, i, STOP_POD);
		else if ((!c->init || ctr_is_sidecar(c)) &&
			 ctr_image_changed(c))
			add(p, STEP_STOP, i, STOP_IMAGE);
		break;
	}
}

static bool plan_init(const struct pod *pod, uint64_t now_ms, struct plan *p)
{
	for (size_t i = 0; i < pod->nr_init; i++) {
		const struct ctr *c = &pod->ctrs[i];

		if (ctr_is_sidecar(c)) {
			plan_ctr(pod, i, now_ms, p);
			if (!sidecar_is_up(pod, c))
				return false;
			continue;
		}
		if (c->phase == CTR_EXITED && c->exit.code == 0)
			continue;
		plan_ctr(pod, i, now_ms, p);
		return false;
	}
	return true;
}

static bool resize_wanted(const struct pod *pod)
{
	return pod->resize.generation != pod->resize.done_generation;
}

static void plan_run(const struct pod *pod, uint64_t now_ms, struct plan *p)
{
	bool all_images = true;

	/* It saves too: one write to the disk for both. */
	if (!pod->admitted) {
		add(p, STEP_ADMIT, 0, 0);
		return;
	}
	if (!pod->saved)
		add(p, STEP_SAVE, 0, 0);
	/* Ask for all images at once: they arrive while the rest is made. */
	for (size_t i = 0; i < pod->nr_ctrs; i++)
		if (!pod->ctrs[i].image && !pod->ctrs[i].started_once &&
		    pod->ctrs[i].not_before_ms <= now_ms) {
			add(p, STEP_IMAGE, i, 0);
			all_images = false;
		}
	if ((!pod->network_up || pod->network_lost) && !pod->spec->host_network)
		add(p, STEP_NETWORK, 0, 0);
	if (!pod->cgroup_up)
		add(p, STEP_CGROUP, 0, 0);
	if (pod->sandbox_state != SANDBOX_UP)
		add(p, STEP_SANDBOX, 0, 0);
	/* Last: what is in them may still be on its way from the API server. */
	if (!pod->volumes_up)
		add(p, STEP_VOLUMES, 0, 0);
	if (!all_images && p->nr)
		return; /* planned anew once they are asked for */
	if (plan_init(pod, now_ms, p))
		for (size_t i = pod->nr_init; i < pod->nr_ctrs; i++)
			plan_ctr(pod, i, now_ms, p);
	if (pod->vm)
		add(p, STEP_SYNC_VM, 0, 0);
	if (resize_wanted(pod))
		add(p, STEP_RESIZE, 0, 0);
}

void pod_plan(const struct pod *pod, const struct plan_now *now,
	      struct plan *ret)
{
	uint64_t deadline_s = pod->spec->active_deadline_s;

	ret->nr = 0;
	ret->wake_ms = 0;
	if (pod->gone)
		return;
	if (pod->deleting) {
		plan_delete(pod, now->now_ms, ret);
		return;
	}
	if (pod_is_over(pod)) {
		plan_dismantle(pod, ret);
		if (!pod->saved)
			add(ret, STEP_SAVE, 0, 0);
		return;
	}
	if (deadline_s && pod->start_us && !pod->failed) {
		int64_t left_us = pod->start_us +
				  (int64_t)deadline_s * 1000000 - now->now_us;

		if (left_us <= 0)
			add(ret, STEP_FAIL, 0, STOP_POD);
		else
			wake(ret, now->now_ms + (uint64_t)left_us / 1000 + 1);
	}
	if (work_is_done(pod)) {
		if (!pod->saved)
			add(ret, STEP_SAVE, 0, 0);
		plan_stop_all(pod, STOP_POD, now->now_ms, ret);
		return;
	}
	plan_run(pod, now->now_ms, ret);
}

const char *step_name(enum step_kind kind)
{
	static const char *const names[] = {
		[STEP_SAVE] = "save",
		[STEP_ADMIT] = "admit",
		[STEP_CGROUP] = "create cgroups",
		[STEP_IMAGE] = "get image",
		[STEP_NETWORK] = "attach network",
		[STEP_VOLUMES] = "set up volumes",
		[STEP_SANDBOX] = "start supervisor",
		[STEP_START] = "start",
		[STEP_STOP] = "stop",
		[STEP_TERM] = "end",
		[STEP_KILL] = "kill",
		[STEP_RESIZE] = "resize",
		[STEP_SYNC_VM] = "look at VM",
		[STEP_FAIL] = "fail",
		[STEP_SANDBOX_DOWN] = "end supervisor",
		[STEP_NETWORK_DOWN] = "detach network",
		[STEP_VOLUMES_DOWN] = "remove volumes",
		[STEP_CGROUP_DOWN] = "remove cgroups",
		[STEP_RELEASE] = "release resources",
		[STEP_FORGET] = "forget",
	};

	return names[kind];
}

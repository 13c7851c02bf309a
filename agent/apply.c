// SPDX-License-Identifier: Apache-2.0
/*
 * Do what the plan says, one pod at a time: the worker's side of the reconcile
 * loop. Only this file and what it calls touches the world for a pod.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/action.h"
#include "agent/attach.h"
#include "agent/backend.h"
#include "agent/container/sandbox.h"
#include "agent/disk.h"
#include "agent/events.h"
#include "agent/hooks.h"
#include "agent/internal.h"
#include "agent/payload.h"
#include "agent/puller.h"
#include "agent/volume/payload.h"
#include "agent/usage.h"
#include "agent/volume/volume.h"
#include "cgroups/cgroup.h"
#include "lib/err.h"
#include "lib/fs.h"
#include "lib/log.h"
#include "lib/str.h"

#define ROUNDS_MAX    64
#define RETRY_MAX_MS  30000
#define RETRY_ROOM_MS 800

/* A step's result: 1 something has changed, 0 it waits for an event. */

static int step_save(struct pod *pod, struct err *e)
{
	int r = checkpoint_write(pod, e);

	if (r < 0)
		return r;
	pod->saved = true;
	pthread_mutex_lock(&pod->lock);
	pod->saved_seq = pod->taken_seq;
	pthread_cond_broadcast(&pod->changed);
	pthread_mutex_unlock(&pod->lock);
	return 1;
}

static int step_admit(struct pod *pod, struct err *e)
{
	struct quantity_set claim;
	struct err why = { 0 };
	char room[200];
	int r;

	for (size_t i = 0; i < pod->nr_ctrs; i++) {
		struct ctr *c = &pod->ctrs[i];

		if (!c->res.allocated.requests.has_cpu &&
		    !c->res.allocated.requests.has_mem &&
		    !c->res.allocated.limits.has_cpu &&
		    !c->res.allocated.limits.has_mem)
			c->res.allocated = c->spec ? c->spec->resources
						   : pod->spec->vm->resources;
	}
	claim = pod_claim(pod);
	/* Set first: what frees the node right now must see us waiting. */
	__atomic_store_n(&pod->waits_for_node, true, __ATOMIC_RELEASE);
	if (disk_low(pod->agent, room, sizeof(room)))
		r = err_set(&why, -ENOSPC,
			    "the node has disk pressure: %s; it starts when "
			    "there is room",
			    room);
	else
		r = node_admit(pod, &claim, &why);
	if (r == -ENOSPC || r == -E2BIG) {
		snprintf(pod->unschedulable, sizeof(pod->unschedulable), "%.*s",
			 POD_MESSAGE_MAX - 1, why.msg);
		return pod->saved ? 0 : step_save(pod, e);
	}
	if (r < 0)
		return err_wrap(e, r, "%s", why.msg);
	__atomic_store_n(&pod->waits_for_node, false, __ATOMIC_RELEASE);
	pod->unschedulable[0] = '\0';
	pod->admitted = true;
	if (!pod->start_us)
		pod->start_us = time_us();
	/* One checkpoint for both. When none is left, its supervisor tells. */
	if ((pod_has_userns(pod) || pod->spec->vm) &&
	    pod->userns_slot >= USERNS_SLOTS)
		(void)userns_slot_take(pod->agent, &pod->userns_slot);
	/* What was allocated must be known before it is given. */
	return step_save(pod, e);
}

static int check_kind(const struct ctr *c, const struct image *image,
		      const char *name, struct err *e)
{
	bool vm = image->kind != IMAGE_CONTAINER;

	if (vm == !c->spec)
		return 0;
	if (vm)
		return err_set(e, -EINVAL,
			       "image '%s' is a VM's disk or kernel, not a "
			       "container image",
			       name);
	return err_set(e, -EINVAL,
		       "image '%s' is a container image without a VM's disk "
		       "or kernel",
		       name);
}

/* @image is taken. */
static int set_image(struct pod *pod, struct ctr *c, const char *ref,
		     struct image *image)
{
	int r;

	pthread_mutex_lock(&pod->lock);
	r = str_set(&c->image_ref, ref);
	image_unref(c->image);
	c->image = r < 0 ? NULL : image;
	pthread_mutex_unlock(&pod->lock);
	if (r < 0)
		image_unref(image);
	return r;
}

static int step_image(struct pod *pod, size_t i, struct err *e)
{
	struct ctr *c = &pod->ctrs[i];
	const char *ref = c->spec ? c->spec->image : pod->spec->vm->image;
	enum pull_policy policy =
		c->spec ? c->spec->pull_policy : pod->spec->vm->pull_policy;
	struct pull_ask ask = {
		.ref = ref,
		.policy = policy,
		.vm = !c->spec,
		.key = pod->key,
		.with_secrets = pod->remote && pod->spec->pull_secrets,
		.secrets = payload_set_find(pod->content, SPEC_PULL_VOLUME),
	};
	const char *reason = "";
	struct image *image = NULL;
	uint64_t retry_ms = 0;
	struct err why = { 0 };
	int r;

	if (c->started_once && policy == PULL_ALWAYS && !ctr_image_changed(c))
		ask.policy = PULL_IF_NOT_PRESENT; /* what it had before */
	r = puller_want(pod->agent->puller, &ask, &image, &reason, &retry_ms,
			&why);
	if (r == 1) {
		r = check_kind(c, image, ref, &why);
		if (r == 0) {
			event_add(pod, false, "Pulled",
				  "Image \"%s\" is on this node", ref);
			snprintf(c->reason, sizeof(c->reason), "%s",
				 ctr_waiting_reason(pod));
			c->message[0] = '\0';
			return set_image(pod, c, ref, image) < 0
				       ? err_set(e, -ENOMEM, "out of memory")
				       : 1;
		}
		image_unref(image);
		reason = IMAGE_REASON_INSPECT;
		retry_ms = RETRY_MAX_MS;
	}
	if (r == 0)
		return 0;
	event_add(pod, true, "Failed", "Image \"%s\": %s", ref, why.msg);
	snprintf(c->reason, sizeof(c->reason), "%s", reason);
	snprintf(c->message, sizeof(c->message), "%.*s", POD_MESSAGE_MAX - 1,
		 why.msg);
	c->not_before_ms = ev_clock_ms() + retry_ms;
	return 0;
}

static struct volume_dirs volume_dirs(const struct pod *pod)
{
	return (struct volume_dirs){
		.state_dir = pod->agent->opts.state_dir,
		.run_dir = pod->agent->opts.run_dir,
		.memory_ids = pod_memory_ids(pod),
	};
}

static int step_volumes(struct pod *pod, struct err *e)
{
	struct volume_dirs dirs = volume_dirs(pod);
	int r;

	volume_close(take_ptr(pod->volumes));
	pod->volumes_maybe = true; /* also if this fails, or has to wait */
	r = volume_setup(&dirs, pod->spec, &pod->volumes, e);
	if (r < 0)
		return r;
	if (pod->content)
		r = volume_fill(pod->volumes, pod->content, e);
	if (r < 0)
		return r;
	if (!volume_is_filled(pod->volumes)) {
		volume_close(take_ptr(pod->volumes));
		content_awaited(pod);
		return 0; /* its content comes from the API server */
	}
	content_arrived(pod);
	pod->volumes_up = true;
	return 1;
}

/* The containers see the new files from now on. */
static void take_content(struct pod *pod, struct payload_set *content)
{
	struct err e = { 0 };

	payload_set_free(pod->content);
	pod->content = content;
	content_arrived(pod);
	if (pod->volumes_up && pod->volumes &&
	    volume_fill(pod->volumes, content, &e) < 0)
		event_add(pod, true, VOLUME_REASON_MOUNT, "%s", e.msg);
}

static int step_volumes_down(struct pod *pod, struct err *e)
{
	struct volume_dirs dirs = volume_dirs(pod);
	int r;

	volume_close(take_ptr(pod->volumes));
	r = volume_teardown(&dirs, pod->uid, e);
	if (r < 0)
		return r;
	pod->volumes_up = pod->volumes_maybe = false;
	return 1;
}

static int step_start(struct pod *pod, size_t i, struct err *e)
{
	struct ctr *c = &pod->ctrs[i];
	uint64_t now = ev_clock_ms();
	int r;

	r = content_env_waits(pod, c, e);
	if (r != 0)
		return r;
	if (c->phase == CTR_EXITED) {
		c->last = c->exit;
		c->attempt++;
		c->exit = (struct ctr_exit){ 0 };
		ctr_set_phase(pod, c, CTR_WAITING, 0);
	}
	c->stop_why = STOP_NONE;
	c->stop_sent_ms = c->kill_due_ms = 0;
	c->kill_sent = false;
	if (!c->started_once || c->attempt) {
		c->started_once = true;
		/* A new agent must not take this attempt for another one. The
		 * first attempt's number is in the checkpoint already. */
		if (c->attempt) {
			r = checkpoint_write(pod, e);
			if (r < 0)
				return r;
		}
	}
	c->probe_started = c->probe_ready = false;
	r = pod->payload->start(pod, i, e);
	if (r == -EREMOTEIO) { /* its exit is filled in: restart rules apply */
		ctr_set_phase(pod, c, CTR_EXITED, 0);
		c->backoff_ms =
			ctr_backoff_next(c, now,
					 pod->agent->opts.backoff_base_ms,
					 pod->agent->opts.backoff_max_ms);
		c->started_ms = now;
		event_add(pod, true, "Failed", "Cannot start %s %s: %s",
			  pod->payload->kind, c->name, c->exit.message);
		c->not_before_ms = now + c->backoff_ms;
		pod->saved = false;
		return 1;
	}
	if (r < 0)
		return r;
	ctr_set_phase(pod, c, CTR_RUNNING, time_us());
	c->started_ms = now;
	c->reason[0] = c->message[0] = '\0';
	event_add(pod, false, "Started", "Started %s %s", pod->payload->kind,
		  c->name);
	if (!hooks_post_start(pod, i))
		probes_start(pod, i);
	return 1;
}

static uint32_t grace_of(const struct pod *pod, const struct ctr *c,
			 enum stop_why why)
{
	uint32_t grace = pod->grace_s;

	if (why == STOP_LIVENESS && c->spec &&
	    c->spec->liveness.termination_grace_s)
		grace = c->spec->liveness.termination_grace_s;
	/* As the kubelet: whoever is beyond a limit has no long farewell. */
	if (pod->failed && str_eq(pod->reason, USAGE_EVICTED) && grace > 1)
		grace = 1;
	return grace;
}

static int step_stop(struct pod *pod, size_t i, enum stop_why why,
		     struct err *e)
{
	struct ctr *c = &pod->ctrs[i];
	uint64_t now = ev_clock_ms();
	int r;

	c->stop_why = why;
	/* It is to come back, should another agent see its end. */
	if (stop_is_restart(why)) {
		r = checkpoint_write(pod, e);
		if (r < 0)
			return r;
	}
	probes_stop(pod, i);
	if (why == STOP_IMAGE)
		event_add(pod, false, "Killing",
			  "Container %s definition changed, will be restarted",
			  c->name);
	else
		event_add(pod, false, "Killing", "Stopping %s %s",
			  pod->payload->kind, c->name);
	c->stop_sent_ms = now;
	c->kill_due_ms = now + (uint64_t)grace_of(pod, c, why) * 1000;
	if (c->kill_due_ms == now)
		return 1; /* no grace: the next plan kills */
	if (hooks_pre_stop(pod, i))
		return 1;
	r = pod->payload->stop(pod, i, e);
	return r < 0 && r != -ESRCH && r != -EPIPE ? r : 1;
}

/* Its preStop is over. */
static int step_term(struct pod *pod, size_t i, struct err *e)
{
	int r;

	hooks_stop(pod, i);
	r = pod->payload->stop(pod, i, e);
	return r < 0 && r != -ESRCH && r != -EPIPE ? r : 1;
}

static int step_kill(struct pod *pod, size_t i, struct err *e)
{
	struct ctr *c = &pod->ctrs[i];
	int r = pod->payload->kill(pod, i, e);

	if (r < 0 && r != -ESRCH && r != -EPIPE)
		return r;
	c->kill_sent = true;
	return 1;
}

static int step_fail(struct pod *pod)
{
	pod->failed = true;
	snprintf(pod->reason, sizeof(pod->reason), "DeadlineExceeded");
	snprintf(pod->message, sizeof(pod->message),
		 "Pod was active on the node longer than the specified "
		 "deadline");
	pod->saved = false;
	return 1;
}

static int step_release(struct pod *pod)
{
	node_release(pod);
	pod->admitted = false;
	return 1;
}

static int step_forget(struct pod *pod, struct err *e)
{
	int r;

	r = fs_remove_tree(AT_FDCWD, pod->run_dir, e);
	if (r == 0)
		r = fs_remove_tree(AT_FDCWD, pod->log_dir, e);
	if (r == 0)
		r = checkpoint_remove(pod, e);
	if (r < 0)
		return r;
	node_release(pod);
	userns_slot_give(pod->agent, pod->userns_slot);
	backend_remote_ended(pod);
	pthread_mutex_lock(&pod->lock);
	pod->gone = true;
	pthread_cond_broadcast(&pod->changed);
	pthread_mutex_unlock(&pod->lock);
	pods_del(pod->agent, pod);
	agent_notify(pod->agent, pod);
	log_info("pod %s: removed uid=%s", pod->key, pod->uid);
	return 1;
}

static int do_step(struct pod *pod, const struct step *s, uint64_t *wake_ms,
		   struct err *e)
{
	int r;

	switch (s->kind) {
	case STEP_SAVE:
		return step_save(pod, e);
	case STEP_ADMIT:
		return step_admit(pod, e);
	case STEP_CGROUP:
		return payload_cgroups_up(pod, e);
	case STEP_IMAGE:
		return step_image(pod, s->ctr, e);
	case STEP_NETWORK:
		return pod_network_up(pod, e);
	case STEP_VOLUMES:
		return step_volumes(pod, e);
	case STEP_SANDBOX:
		return payload_sandbox_up(pod, e);
	case STEP_START:
		return step_start(pod, s->ctr, e);
	case STEP_STOP:
		return step_stop(pod, s->ctr, s->why, e);
	case STEP_TERM:
		return step_term(pod, s->ctr, e);
	case STEP_KILL:
		return step_kill(pod, s->ctr, e);
	case STEP_RESIZE:
		return pod_resize_step(pod, wake_ms, e);
	case STEP_SYNC_VM:
		r = pod->payload->observe(pod, wake_ms, e);
		return r < 0 ? r : 0;
	case STEP_FAIL:
		return step_fail(pod);
	case STEP_SANDBOX_DOWN:
		return payload_sandbox_down(pod, e);
	case STEP_NETWORK_DOWN:
		return pod_detach_network(pod, e);
	case STEP_VOLUMES_DOWN:
		return step_volumes_down(pod, e);
	case STEP_CGROUP_DOWN:
		return payload_cgroups_down(pod, e);
	case STEP_RELEASE:
		return step_release(pod);
	case STEP_FORGET:
		return step_forget(pod, e);
	}
	return 0;
}

static int apply_step(struct pod *pod, const struct step *s, uint64_t *wake_ms,
		      struct err *e)
{
	int64_t began_us = time_us();
	int r = do_step(pod, s, wake_ms, e);

	log_debug("pod %s: %s: %d, %lld us", pod->key, step_name(s->kind), r,
		  (long long)(time_us() - began_us));
	return r;
}

/* --- the inbox -------------------------------------------------------------
 */

/* What could not be started with the image before need not wait for that one's
 * back-off. The old spec is still bound. */
static void forget_waits(struct pod *pod, const struct pod_spec *next)
{
	for (size_t i = 0; i < pod->nr_ctrs; i++) {
		struct ctr *c = &pod->ctrs[i];
		const char *image =
			!c->spec  ? NULL
			: c->init ? next->init[i].image
				  : next->containers[i - pod->nr_init].image;

		if (!image || c->phase == CTR_RUNNING ||
		    str_eq(image, c->spec->image))
			continue;
		c->not_before_ms = 0;
		c->backoff_ms = 0;
		c->reason[0] = c->message[0] = '\0';
	}
}

static void take_spec(struct pod *pod, const struct pod_inbox *in)
{
	struct pod_spec *old = pod->spec, *spec = in->spec;

	/* They borrow from the old spec: found again with the new one. */
	volume_close(take_ptr(pod->volumes));
	pod->volumes_maybe |= pod->volumes_up;
	pod->volumes_up = false;
	if (str_set(&spec->uid, pod->uid) < 0)
		log_warn("pod %s: out of memory", pod->key);
	forget_waits(pod, spec);
	pthread_mutex_lock(&pod->lock);
	pod->spec = spec;
	pod_bind_spec(pod);
	pthread_mutex_unlock(&pod->lock);
	pod_spec_free(old);
	/* Of a deletion the grace is the one it was asked for with. */
	if (!pod->deleting)
		pod->grace_s = spec->grace_s;
	pod->saved = false;
	if (!in->resized)
		return;
	pod->resize.generation = in->resize_seq;
	pod->resize.began_ms = in->resize_began_ms;
	pod_resize_begin(pod);
}

static void take_remove(struct pod *pod, uint32_t grace_s)
{
	uint64_t due = ev_clock_ms() + (uint64_t)grace_s * 1000;

	if (!pod->deleting) {
		__atomic_store_n(&pod->deleting, true, __ATOMIC_RELEASE);
		pod->deleted_us = time_us();
		pod->delete_due_ms = due;
		pod->grace_s = grace_s;
		return;
	}
	if (due < pod->delete_due_ms)
		pod->delete_due_ms = due;
}

static void take_inbox(struct pod *pod)
{
	struct pod_inbox in;

	pthread_mutex_lock(&pod->lock);
	in = pod->inbox;
	pod->inbox = (struct pod_inbox){ 0 };
	pthread_mutex_unlock(&pod->lock);

	if (in.spec)
		take_spec(pod, &in);
	if (in.content)
		take_content(pod, in.content);
	if (in.remove)
		take_remove(pod, in.grace_s);
	if (in.wish_seq) {
		pod->taken_seq = in.wish_seq;
		pod->saved = false;
	}
	if (in.evict[0])
		memcpy(pod->evict, in.evict, sizeof(pod->evict));
	if (in.network_event && pod->network_up)
		pod->network_lost = true;
	for (size_t i = 0; i < pod->nr_ctrs; i++) {
		hooks_take(pod, i);
		probes_take(pod, i);
	}
}

/* --- the loop ---------------------------------------------------------------
 */

/* One round of the plan. 1: plan again; 0: nothing more to do now. */
static int one_round(struct pod *pod, uint64_t *wake_ms, struct err *e)
{
	struct plan_now now = { ev_clock_ms(), time_us() };
	struct plan plan;
	int progress = 0;

	pod_plan(pod, &now, &plan);
	if (plan.wake_ms && (!*wake_ms || plan.wake_ms < *wake_ms))
		*wake_ms = plan.wake_ms;
	for (size_t i = 0; i < plan.nr; i++) {
		int r = apply_step(pod, &plan.steps[i], wake_ms, e);

		if (r < 0)
			return err_wrap(e, r, "%s",
					step_name(plan.steps[i].kind));
		/* Later steps were planned on the hope that this one worked. */
		if (r == 0 && plan.steps[i].kind != STEP_IMAGE &&
		    plan.steps[i].kind != STEP_SYNC_VM)
			break;
		if (r > 0) {
			progress = 1;
			/* What was stopped or started changes the plan. */
			if (plan.steps[i].kind == STEP_START)
				pod_publish(pod);
		}
		if (pod->gone)
			return 0;
	}
	return progress;
}

static void step_failed(struct pod *pod, int r, const struct err *e)
{
	uint64_t pause = 100ULL << (pod->failures < 9 ? pod->failures : 9);

	if (pause > RETRY_MAX_MS)
		pause = RETRY_MAX_MS;
	/* Room on a disk comes suddenly, and is waited for. */
	if (r == -ENOSPC || r == -EDQUOT) {
		disk_hint(pod->agent);
		if (pause > RETRY_ROOM_MS)
			pause = RETRY_ROOM_MS;
	}
	pod->failures++;
	if (strncmp(pod->trouble, e->msg, sizeof(pod->trouble) - 1) != 0)
		log_warn("pod %s: %s, retrying in %llums", pod->key, e->msg,
			 (unsigned long long)pause);
	pthread_mutex_lock(&pod->lock);
	snprintf(pod->trouble, sizeof(pod->trouble), "%.*s",
		 POD_MESSAGE_MAX - 1, e->msg);
	if (!pod->saved)
		pod->unsaved_seq = pod->taken_seq;
	pthread_cond_broadcast(&pod->changed);
	pthread_mutex_unlock(&pod->lock);
	(void)wq_add_after(pod->agent->queue, pod->key, pause);
}

static void reconcile(struct pod *pod)
{
	struct err e = { 0 };
	uint64_t wake_ms = 0, now;
	int r = 1;

	take_inbox(pod);
	if (!pod->adopt_tried) {
		pod->adopt_tried = true;
		r = payload_adopt(pod, &e);
	}
	if (r >= 0 && pod->sandbox)
		r = payload_observe_sandbox(pod, &e);
	if (r >= 0)
		r = 1;
	usage_step(pod);
	for (int i = 0; i < ROUNDS_MAX && r > 0; i++)
		r = one_round(pod, &wake_ms, &e);
	if (pod->gone)
		return;
	if (r >= 0) {
		int done = actions_step(pod, &wake_ms, &e);

		r = done < 0 ? done : r;
	}
	usage_step(pod); /* its volumes may have been set up just now */
	pod_publish(pod);
	if (r < 0) {
		step_failed(pod, r, &e);
		pod_publish(pod);
		return;
	}
	checkpoint_sync(pod, &wake_ms);
	pod->failures = 0;
	if (pod->trouble[0]) {
		pod->trouble[0] = '\0';
		pod_publish(pod);
	}
	now = ev_clock_ms();
	if (r > 0) /* still moving after so many rounds: let others in */
		wake_ms = now;
	if (wake_ms)
		(void)wq_add_after(pod->agent->queue, pod->key,
				   wake_ms > now ? wake_ms - now : 0);
}

void pod_reconcile(struct agent *a, const char *key)
{
	struct pod *pod = pods_find(a, key);

	if (!pod)
		return;
	reconcile(pod);
	pod_unref(pod);
}

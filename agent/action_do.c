// SPDX-License-Identifier: Apache-2.0
/* Actions, done by the pod's worker: see agent/action.h for what is on disk
 * when. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>

#include "agent/action.h"
#include "agent/disk.h"
#include "agent/events.h"
#include "agent/internal.h"
#include "lib/err.h"
#include "lib/log.h"
#include "lib/quantity.h"
#include "lib/str.h"

#define LOOK_MS      50 /* at a job */
#define ROOM_MARGIN  (64ULL << 20)
#define US_PER_MS    1000
#define JOB_PREFIX   "arktos-"
#define JOB_NAME_MAX (sizeof(JOB_PREFIX) + ACTION_ID_MAX)
#define NOT_KNOWN                                                             \
	"the agent ended while the VM was being rebooted: whether it was is " \
	"not known, look at it before asking again"

bool action_misfit(const struct pod_snapshot *snap, const struct vm_shape *now,
		   char *why, size_t size)
{
	char was[QUANTITY_TEXT_SIZE], is[QUANTITY_TEXT_SIZE];
	const struct vm_shape *s = &snap->shape;

	if (s->cpus && s->cpus != now->cpus) {
		snprintf(why, size,
			 "snapshot '%s' was taken with %u CPUs plugged in, the "
			 "VM has %u: give the pod %u CPUs, switch it off and on "
			 "(powerSpec), and try again",
			 snap->name, s->cpus, now->cpus, s->cpus);
	} else if (s->mem_base && s->mem_base != now->mem_base) {
		snprintf(why, size,
			 "snapshot '%s' was taken in a VM that was started "
			 "with %s of memory, this one was with %s: give the "
			 "pod its size of then, switch it off and on "
			 "(powerSpec), and try again",
			 snap->name, quantity_format_mem(s->mem_base, was),
			 quantity_format_mem(now->mem_base, is));
	} else if (s->mem_bytes > now->mem_bytes) {
		snprintf(why, size,
			 "snapshot '%s' has %s of memory, the VM %s: resize "
			 "the pod first",
			 snap->name, quantity_format_mem(s->mem_bytes, was),
			 quantity_format_mem(now->mem_bytes, is));
	} else if (s->cpus && s->dimms != now->dimms) {
		snprintf(why, size,
			 "snapshot '%s' was taken with %u memory modules "
			 "plugged in, the VM has %u: switch it off and on "
			 "(powerSpec), and try again",
			 snap->name, s->dimms, now->dimms);
	} else {
		return false;
	}
	return true;
}

/* The memory is written beside the disk: all of it, at worst. */
static int check_room(struct pod *pod, const struct vm_shape *shape,
		      struct err *e)
{
	char want[QUANTITY_TEXT_SIZE], have[QUANTITY_TEXT_SIZE], room[200];
	uint64_t need = shape->mem_bytes + ROOM_MARGIN, left;
	struct statvfs st;

	if (disk_low(pod->agent, room, sizeof(room)))
		return err_set(e, -ENOSPC, "the node has disk pressure: %s",
			       room);
	if (statvfs(pod->state_dir, &st) < 0)
		return err_sys(e, "look at '%s'", pod->state_dir);
	left = (uint64_t)st.f_bavail * st.f_frsize;
	if (left < need)
		return err_set(e, -ENOSPC,
			       "a snapshot may take %s, the node's disk has %s "
			       "left",
			       quantity_format_mem(need, want),
			       quantity_format_mem(left, have));
	return 0;
}

/* What keeps it from being begun now. */
static int check_begin(struct pod *pod, struct action *a, struct err *e)
{
	struct action_set *s = pod->actions;
	struct pod_snapshot *snap = action_find_snapshot(s, a->name);
	struct vm_shape like = a->shape;
	int r;

	if (a->op == ACTION_REBOOT)
		return 0;
	r = vm_shape(pod->vm, &like, e);
	if (r < 0)
		return -EAGAIN;
	pthread_mutex_lock(&pod->lock);
	a->shape = like;
	pthread_mutex_unlock(&pod->lock);
	if (a->op == ACTION_SNAPSHOT) {
		if (s->nr_snapshots == ACTION_SNAPSHOTS_MAX)
			return err_set(e, -EDQUOT,
				       "the pod has %d snapshots already",
				       ACTION_SNAPSHOTS_MAX);
		return snap ? err_set(e, -EEXIST,
				      "there is a snapshot '%s' already",
				      a->name)
			    : check_room(pod, &a->shape, e);
	}
	if (!snap)
		return err_set(e, -ENOENT, "there is no snapshot '%s'",
			       a->name);
	if (a->op != ACTION_RESTORE)
		return 0;
	/* CPUs that are missing are plugged in, if all else fits; afterwards
	 * the VM is resized to what the pod has. */
	like = a->shape;
	if (snap->shape.cpus > like.cpus)
		like.cpus = snap->shape.cpus;
	if (action_misfit(snap, &like, a->error, sizeof(a->error)))
		return err_set(e, -ESTALE, "%s", a->error);
	if (like.cpus == a->shape.cpus)
		return 0;
	r = vm_plug_cpus_for(pod->vm, like.cpus, e);
	return r < 0 ? err_wrap(e, r,
				"snapshot '%s' was taken with %u CPUs, which "
				"the VM does not take",
				snap->name, like.cpus)
		     : 0;
}

static void set_state(struct pod *pod, struct action *a,
		      enum action_state state, const char *error)
{
	pthread_mutex_lock(&pod->lock);
	a->state = state;
	snprintf(a->error, sizeof(a->error), "%.*s", POD_MESSAGE_MAX - 1,
		 error);
	if (state == ACTION_BEGUN)
		a->begun_us = time_us();
	else
		a->ended_us = time_us();
	if (action_has_ended(a) && !a->begun_us)
		a->begun_us = a->ended_us;
	if (state == ACTION_BEGUN)
		a->attempt = pod->ctrs[0].attempt;
	pthread_mutex_unlock(&pod->lock);
}

/* QEMU has been told by this process. */
static void set_here(struct pod *pod, struct action *a, bool here)
{
	pthread_mutex_lock(&pod->lock);
	a->here = here;
	pthread_mutex_unlock(&pod->lock);
}

static void drop_snapshot(struct action_set *s, const char *name)
{
	struct pod_snapshot *snap = action_find_snapshot(s, name);
	size_t i;

	if (!snap)
		return;
	i = (size_t)(snap - s->snapshots);
	memmove(snap, snap + 1, (s->nr_snapshots - i - 1) * sizeof(*snap));
	s->nr_snapshots--;
}

static void note_snapshot(struct pod *pod, const struct action *a)
{
	struct action_set *s = pod->actions;
	struct pod_snapshot *snap;

	pthread_mutex_lock(&pod->lock);
	drop_snapshot(s, a->name);
	if (a->op == ACTION_SNAPSHOT &&
	    s->nr_snapshots < ACTION_SNAPSHOTS_MAX) {
		snap = &s->snapshots[s->nr_snapshots++];
		*snap = (struct pod_snapshot){ .taken_us = a->begun_us,
					       .shape = a->shape };
		memcpy(snap->name, a->name, sizeof(snap->name));
	}
	pthread_mutex_unlock(&pod->lock);
}

static void tell(struct pod *pod, const struct action *a)
{
	long long ms = (a->ended_us - a->begun_us) / US_PER_MS;
	const char *space = a->name[0] ? " " : "";

	if (a->state == ACTION_DONE)
		event_add(pod, false, "ActionDone", "%s%s%s: done in %lld ms",
			  action_op_name(a->op), space, a->name, ms);
	else
		event_add(pod, true, "ActionFailed", "%s%s%s: %s",
			  action_op_name(a->op), space, a->name, a->error);
	pod_publish(pod);
	pthread_mutex_lock(&pod->lock);
	pthread_cond_broadcast(&pod->changed);
	pthread_mutex_unlock(&pod->lock);
	/* The pod may look as before: its Action does not. */
	agent_notify(pod->agent, pod);
}

/* It has ended: first on disk, then for everybody. */
static int finish(struct pod *pod, struct action *a, int result,
		  const char *error, struct err *e)
{
	struct action was = *a;
	int r;

	set_state(pod, a, result == 0 ? ACTION_DONE : ACTION_FAILED, error);
	if (result == 0 &&
	    (a->op == ACTION_SNAPSHOT || a->op == ACTION_DELETE_SNAPSHOT))
		note_snapshot(pod, a);
	r = checkpoint_write(pod, e);
	if (r < 0) {
		/* Whoever asks QEMU again is told the same again. */
		pthread_mutex_lock(&pod->lock);
		*a = was;
		pthread_mutex_unlock(&pod->lock);
		return r;
	}
	tell(pod, a);
	return 0;
}

static const char *job_name(const struct action *a, char *buf)
{
	snprintf(buf, JOB_NAME_MAX, JOB_PREFIX "%s", a->id);
	return buf;
}

static enum vm_snapshot_op vm_op(enum action_op op)
{
	return op == ACTION_SNAPSHOT  ? VM_SNAPSHOT_SAVE
	       : op == ACTION_RESTORE ? VM_SNAPSHOT_LOAD
				      : VM_SNAPSHOT_DELETE;
}

/* A reboot is done as soon as it is begun. */
static int do_reboot(struct pod *pod, struct action *a, struct err *e)
{
	struct err why = { 0 };
	int r;

	if (!a->here)
		return finish(pod, a, -EIO, NOT_KNOWN, e);
	/* Only the note of it could not be made, then. */
	if (!pod->vm_rebooted) {
		r = vm_reset(pod->vm, &why);
		if (r < 0)
			return finish(pod, a, r, why.msg, e);
		pod->vm_rebooted = true;
		pod->ctrs[0].attempt_reboots++;
	}
	r = finish(pod, a, 0, "", e);
	if (r == 0)
		pod->vm_rebooted = false;
	return r;
}

/* QEMU is another one than the one that was told. */
static int settle_lost(struct pod *pod, struct action *a, struct err *e)
{
	static const char lost[] = "QEMU ended while it was being done";
	int r;

	if (a->op == ACTION_REBOOT)
		return finish(pod, a, -EIO, NOT_KNOWN, e);
	if (a->op == ACTION_RESTORE)
		return finish(pod, a, -EIO, lost, e);
	r = vm_snapshot_exists(pod->vm, a->name, e);
	if (r < 0)
		return r;
	return finish(pod, a, r == (a->op == ACTION_SNAPSHOT) ? 0 : -EIO, lost,
		      e);
}

static int job_ended(struct pod *pod, struct action *a, int result,
		     const char *why, struct err *e)
{
	char job[JOB_NAME_MAX];
	struct err ignored = { 0 };
	int r = finish(pod, a, result, why, e);

	if (r < 0)
		return r;
	r = vm_snapshot_end(pod->vm, vm_op(a->op), job_name(a, job), result < 0,
			    &ignored);
	if (r < 0)
		log_warn("pod %s: after %s: %s", pod->key,
			 action_op_name(a->op), ignored.msg);
	if (a->op == ACTION_RESTORE)
		pod->vm_settled = false; /* it has the size of then */
	return 0;
}

static int poll_job(struct pod *pod, struct action *a, uint64_t *wake_ms,
		    struct err *e)
{
	char job[JOB_NAME_MAX];
	struct err why = { 0 };
	int r = vm_snapshot_result(pod->vm, job_name(a, job), &why);

	/* Never told: by an agent that ended before it could, then. */
	if (r == -ENOENT && !a->here) {
		r = vm_snapshot_start(pod->vm, vm_op(a->op), job, a->name,
				      &why);
		set_here(pod, a, r != -EAGAIN);
		if (r == 0 || r == -ETIMEDOUT)
			r = -EINPROGRESS;
	}
	if (r == -EINPROGRESS || r == -EAGAIN) {
		uint64_t at = ev_clock_ms() + LOOK_MS;

		if (!*wake_ms || at < *wake_ms)
			*wake_ms = at;
		return 0;
	}
	if (r == -EPIPE)
		return 0; /* QEMU has gone; see settle_lost() */
	return job_ended(pod, a, r, r < 0 ? why.msg : "", e);
}

static int begin(struct pod *pod, struct action *a, uint64_t *wake_ms,
		 struct err *e)
{
	struct err why = { 0 };
	int64_t now = time_us();
	uint64_t at;
	int r;

	if (now < a->due_us) {
		at = ev_clock_ms() + (uint64_t)(a->due_us - now) / US_PER_MS +
		     1;
		if (!*wake_ms || at < *wake_ms)
			*wake_ms = at;
		return 0;
	}
	r = check_begin(pod, a, &why);
	if (r == -EAGAIN)
		return err_set(e, r, "%s", why.msg);
	if (r < 0)
		return finish(pod, a, r, why.msg, e);
	set_state(pod, a, ACTION_BEGUN, "");
	r = checkpoint_write(pod, e);
	if (r < 0) {
		set_state(pod, a, ACTION_WAITING, "");
		return r;
	}
	log_info("pod %s: %s%s%s id=%s", pod->key, action_op_name(a->op),
		 a->name[0] ? " " : "", a->name, a->id);
	if (a->op == ACTION_REBOOT) {
		set_here(pod, a, true);
		return do_reboot(pod, a, e);
	}
	/* As after a crash at this very point: QEMU knows of no such job. */
	return poll_job(pod, a, wake_ms, e);
}

/* Why nothing can be done to this pod any more. */
static const char *why_not(const struct pod *pod)
{
	if (pod->deleting)
		return "the pod is being deleted";
	if (pod_is_over(pod))
		return "the pod has ended";
	if (pod->spec->vm->power == POWER_SHUTDOWN)
		return "the VM is switched off";
	return NULL;
}

static struct action *next(struct action_set *s)
{
	for (size_t i = 0; i < s->nr; i++)
		if (!action_has_ended(&s->v[i]))
			return &s->v[i];
	return NULL;
}

static int step(struct pod *pod, struct action *a, uint64_t *wake_ms,
		struct err *e)
{
	const char *why = why_not(pod);

	if (why && (!pod->vm || pod->ctrs[0].phase != CTR_RUNNING ||
		    a->state == ACTION_WAITING))
		return finish(pod, a, -ESTALE, why, e);
	if (!pod->vm || pod->ctrs[0].phase != CTR_RUNNING)
		return 0; /* it is being started again */
	if (a->state == ACTION_BEGUN && a->attempt != pod->ctrs[0].attempt)
		return pod->vm_state == VM_RUNNING ? settle_lost(pod, a, e) : 0;
	if (a->state == ACTION_BEGUN)
		return a->op == ACTION_REBOOT ? do_reboot(pod, a, e)
					      : poll_job(pod, a, wake_ms, e);
	if (pod->vm_state != VM_RUNNING && pod->vm_state != VM_PAUSED)
		return 0;
	return begin(pod, a, wake_ms, e);
}

int actions_step(struct pod *pod, uint64_t *wake_ms, struct err *e)
{
	struct action_set *s;
	struct action *a;
	int r = 0;

	pthread_mutex_lock(&pod->lock);
	s = pod->actions;
	if (s)
		actions_make_room(s);
	pthread_mutex_unlock(&pod->lock);
	if (!s)
		return 0;
	/* One after another, in the order they were asked for. */
	for (int i = 0; i < ACTIONS_MAX && r == 0; i++) {
		pthread_mutex_lock(&pod->lock);
		a = next(s);
		pthread_mutex_unlock(&pod->lock);
		if (!a)
			break;
		r = step(pod, a, wake_ms, e);
		if (r == 0 && !action_has_ended(a))
			break;
	}
	return r;
}

bool actions_busy(struct pod *pod)
{
	const struct action_set *s;
	bool busy = false;

	pthread_mutex_lock(&pod->lock);
	s = pod->actions;
	for (size_t i = 0; s && i < s->nr && !busy; i++)
		busy = s->v[i].state == ACTION_BEGUN;
	pthread_mutex_unlock(&pod->lock);
	return busy;
}

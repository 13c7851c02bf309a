// SPDX-License-Identifier: Apache-2.0
/* What containers and VMs have in common: cgroups, supervisor, adoption. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "agent/attach.h"
#include "agent/container/sandbox.h"
#include "agent/events.h"
#include "agent/internal.h"
#include "agent/payload.h"
#include "agent/pod_files.h"
#include "agent/pod_files.h"
#include "cgroups/cgroup.h"
#include "cgroups/cpu.h"
#include "cgroups/memory.h"
#include "lib/err.h"
#include "lib/log.h"
#include "lib/str.h"
#include "netns/netns.h"

#define EXIT_LOST 137 /* ended by SIGKILL, as far as anybody knows */

/* Containers are DNS labels: no name of theirs has an underscore. */
#define SUPERVISOR_CG "_supervisor"
#define VCPU_CG       "_vcpus"

/* --- cgroups
 * ------------------------------------------------------------------ */

/* Others read its figures under the pod's lock, which is not held for as long
 * as it takes to make one. */
static int cgroup_make(struct pod *pod, const struct cg *parent,
		       const char *name, unsigned int flags, struct cg **ret,
		       struct err *e)
{
	struct cg *cg = NULL;
	int r = cg_create(parent, name, flags, &cg, e);

	if (r < 0)
		return r;
	pthread_mutex_lock(&pod->lock);
	*ret = cg;
	pthread_mutex_unlock(&pod->lock);
	return 0;
}

static void cgroup_forget(struct pod *pod, struct cg **at)
{
	struct cg *cg;

	pthread_mutex_lock(&pod->lock);
	cg = take_ptr(*at);
	pthread_mutex_unlock(&pod->lock);
	cg_close(cg);
}

int ctr_cgroup_open(struct pod *pod, struct ctr *c, struct err *e)
{
	int r = 0;

	if (!c->cg)
		r = cgroup_make(pod, pod->cg, c->spec ? c->name : "vm", CG_HOLD,
				&c->cg, e);
	if (r == 0 && !c->spec && !c->vcpu_cg)
		r = cgroup_make(pod, c->cg, VCPU_CG, CG_THREADED | CG_HOLD,
				&c->vcpu_cg, e);
	return r;
}

static int pod_cg_name(const struct pod *pod, char *buf, size_t size)
{
	return snprintf(buf, size, "pod%s", pod->uid) < (int)size
		       ? 0
		       : -ENAMETOOLONG;
}

int payload_cgroups_up(struct pod *pod, struct err *e)
{
	char name[CG_NAME_MAX];
	int r = pod_cg_name(pod, name, sizeof(name));

	if (r < 0)
		return err_set(e, r, "uid '%s' is too long", pod->uid);
	pod->cgroup_maybe = true; /* also if this fails half-way */
	if (!pod->cg) {
		r = cgroup_make(pod, pod->agent->qos[pod->qos], name, CG_HOLD,
				&pod->cg, e);
		if (r < 0)
			return r;
	}
	r = pod_write_limits(pod, e);
	if (r < 0)
		return r;
	pod->cgroup_up = true;
	return 1;
}

int payload_cgroups_down(struct pod *pod, struct err *e)
{
	char name[CG_NAME_MAX];
	int r = pod_cg_name(pod, name, sizeof(name));

	if (r < 0)
		return err_set(e, r, "uid '%s' is too long", pod->uid);
	for (size_t i = 0; i < pod->nr_ctrs; i++) {
		cgroup_forget(pod, &pod->ctrs[i].vcpu_cg);
		cgroup_forget(pod, &pod->ctrs[i].cg);
	}
	/* Nothing may be alive in it by now; what is, must not stay. */
	if (pod->cg && cg_populated(pod->cg, NULL) > 0)
		(void)cg_kill(pod->cg, NULL); /* remove() names who stays */
	cgroup_forget(pod, &pod->cg);
	r = cg_remove(pod->agent->qos[pod->qos], name, e);
	if (r < 0)
		return r;
	pod->cgroup_up = pod->cgroup_maybe = false;
	return 1;
}

/* --- limits
 * -------------------------------------------------------------------- */

static int write_set(const struct cg *cg, const struct resources *res,
		     struct err *e)
{
	const struct quantity_set *lim = &res->limits;
	struct cg_cpu_max max =
		cg_cpu_max_from_milli(lim->has_cpu ? lim->cpu_milli : 0);
	int r;

	r = cg_cpu_request_write(cg,
				 res->requests.has_cpu ? res->requests.cpu_milli
						       : 0,
				 e);
	if (r == 0)
		r = cg_cpu_max_write(cg, &max, e);
	if (r < 0)
		return r;
	return cg_mem_write(cg, CG_MEM_MAX,
			    lim->has_mem && lim->mem_bytes ? lim->mem_bytes
							   : CG_MEM_UNLIMITED,
			    e);
}

/* Of what was allocated: the ceiling over all containers. */
struct resources pod_allocated_total(const struct pod *pod)
{
	struct totals t = { 0 };

	for (size_t i = 0; i < pod->nr_ctrs; i++)
		totals_add(&t, ctr_role(&pod->ctrs[i]),
			   &pod->ctrs[i].res.allocated);
	return totals_bounds(&t);
}

int pod_write_limits(struct pod *pod, struct err *e)
{
	struct resources sum = pod_allocated_total(pod);

	/* A VM's QEMU needs more than its guest; its own cgroup limits it. */
	if (pod->spec->vm)
		sum.limits.has_cpu = sum.limits.has_mem = false;
	return write_set(pod->cg, &sum, e);
}

int payload_write_limits(struct pod *pod, size_t i, struct err *e)
{
	struct ctr *c = &pod->ctrs[i];

	return write_set(c->cg, &c->res.allocated, e);
}

/* What the kernel holds, told in the terms that were asked for. */
int payload_read_back(struct pod *pod, size_t i, struct err *e)
{
	struct ctr *c = &pod->ctrs[i];
	struct cg_cpu_max max;
	uint64_t bytes;
	int r;

	(void)pod;
	r = cg_cpu_max_read(c->cg, &max, e);
	if (r == 0)
		r = cg_mem_read(c->cg, CG_MEM_MAX, &bytes, e);
	if (r < 0)
		return r;
	c->res.actual = c->res.allocated; /* requests: weights are coarser */
	c->res.actual.limits.has_cpu = max.quota_us != CG_CPU_UNLIMITED;
	c->res.actual.limits.cpu_milli = cg_cpu_max_to_milli(&max);
	/* The smallest quota stands for a range: it is what was asked for. */
	if (c->res.allocated.limits.has_cpu &&
	    c->res.allocated.limits.cpu_milli < 10 &&
	    max.quota_us == CG_CPU_QUOTA_MIN_US)
		c->res.actual.limits.cpu_milli =
			c->res.allocated.limits.cpu_milli;
	c->res.actual.limits.has_mem = bytes != CG_MEM_UNLIMITED;
	c->res.actual.limits.mem_bytes = bytes == CG_MEM_UNLIMITED ? 0 : bytes;
	c->res.actual_known = true;
	return 0;
}

/* --- the supervisor
 * -------------------------------------------------------------- */

static int userns_base(struct pod *pod, uint32_t *ret, struct err *e)
{
	int r;

	if (pod->userns_slot >= USERNS_SLOTS) {
		r = userns_slot_take(pod->agent, &pod->userns_slot);
		if (r < 0)
			return err_wrap(e, r, "no range of user ids is left");
		r = checkpoint_write(pod, e);
		if (r < 0)
			return r;
	}
	*ret = USERNS_FIRST + pod->userns_slot * USERNS_RANGE;
	return 0;
}

uint32_t pod_first_uid(const struct pod *pod)
{
	return USERNS_FIRST + pod->userns_slot * USERNS_RANGE;
}

bool pod_has_userns(const struct pod *pod)
{
	return !pod->spec->vm && !pod->spec->host_users &&
	       !pod->spec->host_network && pod->agent->userns;
}

uint32_t pod_memory_ids(const struct pod *pod)
{
	return pod_has_userns(pod) && !pod->agent->memory_maps &&
			       pod->userns_slot < USERNS_SLOTS
		       ? pod_first_uid(pod)
		       : 0;
}

/* Where the supervisor lives: the pod's network; for a VM one of its own, with
 * nothing in it, as QEMU gets its tap from us. */
static int sandbox_netns(struct pod *pod, int *ret_own, int *ret, struct err *e)
{
	int r;

	*ret_own = -EBADF;
	if (pod->spec->vm) {
		r = ns_create(NULL, ret_own, e);
		*ret = *ret_own;
		return r;
	}
	*ret = pod->spec->host_network ? -1 : pod->endpoint.netns_fd;
	return 0;
}

static void set_sandbox(struct pod *pod, struct sandbox *sb)
{
	pthread_rwlock_wrlock(&pod->handles);
	pod->sandbox = sb;
	pthread_rwlock_unlock(&pod->handles);
}

static int spawn(struct pod *pod, struct err *e)
{
	auto_ptr(cg) cg = NULL;
	auto_free char *binary =
		str_printf("%s/arktos-pod", pod->agent->opts.libexec);
	auto_close int own_ns = -EBADF;
	char name[POD_HOST_NAME_MAX + 1];
	int tasks[CG_HIERARCHIES_MAX];
	struct sandbox *sb = NULL;
	struct sandbox_opts o = {
		.binary = binary,
		.uid = pod->uid,
		.run_dir = pod->run_dir,
		.state_dir = pod->state_dir,
		.hostname = name,
		.cgroup_tasks = tasks,
		.host_pid = pod->spec->host_pid,
		.host_ipc = pod->spec->host_ipc,
		.sysctls = &pod->spec->sysctls,
	};
	int r;

	if (!binary)
		return err_set(e, -ENOMEM, "out of memory");
	r = pod_host_name(pod, name, e);
	if (r < 0)
		return r;
	r = sandbox_netns(pod, &own_ns, &o.netns_fd, e);
	if (r < 0)
		return r;
	/* A VM's QEMU runs as a user of its own: the first of the range. */
	if (pod_has_userns(pod) || pod->spec->vm) {
		r = userns_base(pod, &o.userns_base, e);
		if (r < 0)
			return r;
		o.userns_size = pod->spec->vm ? 0 : USERNS_RANGE;
	}
	r = cg_create(pod->cg, SUPERVISOR_CG, 0, &cg, e);
	if (r == 0)
		r = cg_tasks_fds(cg, tasks, &o.nr_cgroup_tasks, e);
	if (r < 0)
		return r;
	o.cgroup_dir = cg_unified_fd(cg);
	r = sandbox_spawn(&o, &sb, e);
	if (r == -EEXIST)
		r = sandbox_open(pod->run_dir, &sb, e);
	set_sandbox(pod, sb);
	for (size_t i = 0; i < o.nr_cgroup_tasks; i++)
		close(tasks[i]);
	return r;
}

static void close_sandbox(struct pod *pod)
{
	watch_stop(pod);
	pthread_rwlock_wrlock(&pod->handles);
	sandbox_close(take_ptr(pod->sandbox));
	pthread_rwlock_unlock(&pod->handles);
	pod->sandbox_state = SANDBOX_NONE;
}

int payload_sandbox_up(struct pod *pod, struct err *e)
{
	int r;

	r = spawn(pod, e);
	if (r < 0)
		return r;
	pod->sandbox_state = SANDBOX_UP;
	r = watch_sandbox(pod, e);
	if (r < 0) {
		close_sandbox(pod);
		return r;
	}
	return 1;
}

int payload_sandbox_down(struct pod *pod, struct err *e)
{
	int r;

	watch_stop_vm(pod);
	if (pod->sandbox) {
		r = sandbox_shutdown(pod->sandbox, e);
		if (r < 0)
			return r;
	}
	close_sandbox(pod);
	return 1;
}

/* --- what became of the processes
 * -------------------------------------------------- */

static int64_t parse_time_us(const char *s)
{
	struct tm tm = { 0 };
	const char *rest = strptime(s, "%Y-%m-%dT%H:%M:%S", &tm);
	int64_t us = 0, unit = 100000;

	if (!rest)
		return 0;
	if (*rest == '.')
		for (rest++; *rest >= '0' && *rest <= '9' && unit;
		     rest++, unit /= 10)
			us += (*rest - '0') * unit;
	return (int64_t)timegm(&tm) * 1000000 + us;
}

static bool oom_since_start(const struct ctr *c)
{
	struct cg_mem_events ev;

	return c->cg && cg_mem_events_read(c->cg, &ev, NULL) == 0 &&
	       ev.oom_kill > c->oom_base;
}

static void ended(struct pod *pod, struct ctr *c, const struct ctr_exit *x)
{
	uint64_t now = ev_clock_ms();
	const struct agent_opts *o = &pod->agent->opts;

	probes_stop(pod, (size_t)(c - pod->ctrs));
	c->exit = *x;
	c->exit.valid = true;
	ctr_set_phase(pod, c, CTR_EXITED, 0);
	c->started_once = true;
	c->res.actual_known = false;
	c->probe_ready = c->probe_started = false;
	if (stop_is_restart(c->stop_why)) {
		c->backoff_ms = 0; /* it was us: no penalty */
		c->not_before_ms = now;
	} else {
		c->backoff_ms = ctr_backoff_next(c, now, o->backoff_base_ms,
						 o->backoff_max_ms);
		c->not_before_ms = now + c->backoff_ms;
	}
	/* What ends for good, or is switched off, waits for nothing. */
	c->reason[0] = c->message[0] = '\0';
	if (c->backoff_ms && !pod->deleting && ctr_should_restart(pod, c)) {
		event_add(pod, true, "BackOff",
			  "Back-off restarting failed container %s", c->name);
		snprintf(c->reason, sizeof(c->reason), "CrashLoopBackOff");
		snprintf(c->message, sizeof(c->message),
			 "back-off %us restarting failed container=%s",
			 (c->backoff_ms + 999) / 1000, c->name);
	}
	c->stop_sent_ms = c->kill_due_ms = 0;
	c->kill_sent = false;
	pod->saved = false;
}

static void exit_of(const struct pod *pod, const struct ctr *c,
		    const struct sandbox_proc *p, struct ctr_exit *x)
{
	*x = (struct ctr_exit){
		.code = p->exit_code,
		.signal = p->signal,
		.oom = p->oom_killed,
		.started_us = parse_time_us(p->started_at),
		.finished_us = parse_time_us(p->finished_at),
	};
	if (!x->oom && p->exit_code && oom_since_start(c))
		x->oom = true;
	snprintf(x->reason, sizeof(x->reason), "%s",
		 x->oom         ? "OOMKilled"
		 : p->reason[0] ? p->reason
		 : p->exit_code ? "Error"
				: "Completed");
	snprintf(x->message, sizeof(x->message), "%.*s", POD_MESSAGE_MAX - 1,
		 p->message);
	if (c->spec && !x->message[0])
		pod_files_termination_message(pod, c, x->message,
					      sizeof(x->message));
}

static void lost(struct pod *pod, struct ctr *c, const char *why)
{
	struct ctr_exit x = {
		.code = EXIT_LOST,
		.signal = 9,
		.started_us = c->started_us,
		.finished_us = time_us(),
	};

	snprintf(x.reason, sizeof(x.reason), "Error");
	snprintf(x.message, sizeof(x.message), "%s", why);
	ended(pod, c, &x);
}

/* Take over what a list of the supervisor says. */
static void take_list(struct pod *pod, const struct sandbox_proc *list,
		      size_t nr)
{
	for (size_t i = 0; i < nr; i++) {
		const struct sandbox_proc *p = &list[i];
		struct ctr *c =
			p->kind == PROC_EXEC ? NULL : pod_ctr(pod, p->name);
		struct ctr_exit x;

		if (!c)
			continue;
		c->pid = p->state == PROC_RUNNING ? p->pid : 0;
		if (p->state == PROC_EXITED && c->phase != CTR_EXITED) {
			exit_of(pod, c, p, &x);
			c->attempt = p->attempt;
			ended(pod, c, &x);
		} else if (p->state == PROC_RUNNING &&
			   c->phase != CTR_RUNNING) {
			/* Adopted: it ran while we did not. */
			ctr_set_phase(pod, c, CTR_RUNNING,
				      parse_time_us(p->started_at));
			c->attempt = p->attempt;
			c->started_once = true;
			c->started_ms = ev_clock_ms();
			c->reason[0] = c->message[0] = '\0';
		}
	}
}

/* An exit that is in the checkpoint may be forgotten by the supervisor. */
static int ack_exits(struct pod *pod, const struct sandbox_proc *list,
		     size_t nr, struct err *e)
{
	bool any = false;
	int r;

	for (size_t i = 0; i < nr; i++)
		any |= list[i].state == PROC_EXITED &&
		       list[i].kind != PROC_EXEC;
	if (!any)
		return 0;
	if (!pod->saved) {
		r = checkpoint_write(pod, e);
		if (r < 0)
			return r;
		pod->saved = true;
	}
	for (size_t i = 0; i < nr; i++) {
		if (list[i].state != PROC_EXITED || list[i].kind == PROC_EXEC)
			continue;
		r = sandbox_ack(pod->sandbox, list[i].name, e);
		if (r < 0 && r != -ENOENT)
			return r;
	}
	return 0;
}

static void take_leftover_exits(struct pod *pod)
{
	struct sandbox_proc *list = NULL;
	size_t nr = 0;

	if (sandbox_read_exits(pod->state_dir, &list, &nr, NULL) < 0)
		return; /* then they count as killed, below */
	for (size_t i = 0; i < nr; i++) {
		struct ctr *c = pod_ctr(pod, list[i].name);
		struct ctr_exit x;

		if (!c || c->phase == CTR_EXITED ||
		    list[i].attempt < c->attempt)
			continue;
		exit_of(pod, c, &list[i], &x);
		c->attempt = list[i].attempt;
		ended(pod, c, &x);
	}
	free(list);
}

static void sandbox_died(struct pod *pod)
{
	log_warn("pod %s: its supervisor has ended, and all in it", pod->key);
	close_sandbox(pod);
	/* With the host's pid namespace they do not end with it. */
	if (pod->spec->host_pid && pod->cg)
		(void)cg_kill(pod->cg, NULL); /* again when it is removed */
	take_leftover_exits(pod);
	for (size_t i = 0; i < pod->nr_ctrs; i++)
		if (pod->ctrs[i].phase == CTR_RUNNING)
			lost(pod, &pod->ctrs[i],
			     "the pod's supervisor was killed");
}

int payload_observe_sandbox(struct pod *pod, struct err *e)
{
	struct sandbox_proc *list = NULL;
	size_t nr = 0;
	int r;

	r = sandbox_list(pod->sandbox, &list, &nr, e);
	if (r == -EPIPE || r == -ECONNRESET || r == -ECONNREFUSED) {
		sandbox_died(pod);
		return 0;
	}
	if (r < 0)
		return r;
	take_list(pod, list, nr);
	r = ack_exits(pod, list, nr, e);
	free(list);
	if (r == -EPIPE) { /* died meanwhile: the exits are saved */
		sandbox_died(pod);
		r = 0;
	}
	return r;
}

/* What runs was made from an image of this node; exec wants its settings. If it
 * was removed since, only exec goes without. */
static void find_image(struct pod *pod, struct ctr *c)
{
	const char *ref = c->spec ? c->spec->image : pod->spec->vm->image;
	struct image *image = NULL;

	/* No checkpoint since its first start: nor was there another spec. */
	if (c->spec && !c->image_ref) {
		pthread_mutex_lock(&pod->lock);
		(void)str_set(&c->image_ref, ref);
		pthread_mutex_unlock(&pod->lock);
	}
	if (c->image_ref)
		ref = c->image_ref;
	if (c->image || image_find(pod->agent->images, ref, &image, NULL) < 0)
		return;
	pthread_mutex_lock(&pod->lock);
	c->image = image;
	pthread_mutex_unlock(&pod->lock);
}

int payload_adopt(struct pod *pod, struct err *e)
{
	struct sandbox *sb = NULL;
	int r;

	r = sandbox_open(pod->run_dir, &sb, e);
	set_sandbox(pod, sb);
	if (r == -ENOENT) {
		if (e)
			*e = (struct err){ 0 };
		take_leftover_exits(pod);
		for (size_t i = 0; i < pod->nr_ctrs; i++)
			if (pod->ctrs[i].phase == CTR_RUNNING)
				lost(pod, &pod->ctrs[i],
				     "it ended while the agent was away");
		return 0;
	}
	if (r < 0) {
		pod->adopt_tried = false;
		return err_wrap(e, r, "take the pod over");
	}
	pod->sandbox_state = SANDBOX_UP;
	r = watch_sandbox(pod, e);
	if (r < 0)
		return r;
	/* Names of what runs come from the list; handles are opened here. */
	for (size_t i = 0; i < pod->nr_ctrs; i++)
		if (pod->ctrs[i].phase == CTR_RUNNING)
			ctr_set_phase(pod, &pod->ctrs[i], CTR_WAITING, 0);
	r = payload_observe_sandbox(pod, e);
	/* Probes need to know where to go. */
	if (r >= 0 && !pod->spec->host_network)
		r = pod_attach_network(pod, e);
	for (size_t i = 0; i < pod->nr_ctrs && r >= 0; i++) {
		if (pod->ctrs[i].phase != CTR_RUNNING)
			continue;
		find_image(pod, &pod->ctrs[i]);
		r = pod->payload->adopt(pod, i, e);
	}
	return r;
}

void payload_start_failed(struct ctr *c, const char *reason, int code,
			  const char *message)
{
	int64_t now = time_us();

	c->exit = (struct ctr_exit){
		.valid = true,
		.code = code,
		.started_us = now,
		.finished_us = now,
	};
	snprintf(c->exit.reason, sizeof(c->exit.reason), "%s", reason);
	snprintf(c->exit.message, sizeof(c->exit.message), "%.*s",
		 POD_MESSAGE_MAX - 1, message);
	snprintf(c->reason, sizeof(c->reason), "%s", reason);
	snprintf(c->message, sizeof(c->message), "%.*s", POD_MESSAGE_MAX - 1,
		 message);
}

struct log_limits payload_log_limits(const struct pod *pod)
{
	const struct agent_opts *o = &pod->agent->opts;

	return (struct log_limits){ o->log_max_bytes, o->log_files };
}

char *payload_log_path(const struct pod *pod, const struct ctr *c)
{
	return str_printf("%s/%s/%u.log", pod->log_dir, c->name, c->attempt);
}

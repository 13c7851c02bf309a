// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "agent/vm/internal.h"
#include "lib/auto.h"
#include "lib/buf.h"
#include "lib/err.h"
#include "lib/str.h"
#include "qmp/unix.h"

#define STARTING_RETRY_MS 20
#define MEMINFO_MAX       (64U << 10)

DEFINE_AUTO_PTR(vm, vm_free)

static const char *const state_names[] = {
	[VM_STARTING] = "starting",
	[VM_RUNNING] = "running",
	[VM_PAUSED] = "paused",
	[VM_SHUTDOWN] = "shutdown",
	[VM_GUEST_PANICKED] = "guest-panicked",
	[VM_FAILED] = "failed",
	[VM_GONE] = "gone",
};

const char *vm_state_name(enum vm_state state)
{
	return (size_t)state < ARRAY_LEN(state_names) ? state_names[state]
						      : "unknown";
}

int64_t vm_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

struct qmp *vm_qmp(struct vm *vm)
{
	struct qmp *q;

	pthread_mutex_lock(&vm->lock);
	q = vm->qmp;
	pthread_mutex_unlock(&vm->lock);
	return q;
}

struct qga *vm_qga(struct vm *vm)
{
	struct qga *g;

	pthread_mutex_lock(&vm->lock);
	g = vm->qga;
	pthread_mutex_unlock(&vm->lock);
	return g;
}

int vm_open(const struct vm_opts *opts, struct vm **ret, struct err *e)
{
	struct vm *fresh = calloc(1, sizeof(*fresh));
	auto_ptr(vm) vm = NULL;

	if (!fresh)
		return err_set(e, -ENOMEM, "out of memory");
	pthread_mutex_init(&fresh->lock, NULL);
	fresh->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	vm = fresh;
	if (vm->epoll_fd < 0)
		return err_sys(e, "epoll_create");
	if (str_set(&vm->qmp_path, opts->qmp_path) < 0 ||
	    str_set(&vm->qga_path, opts->qga_path) < 0 ||
	    str_set(&vm->console_path, opts->console_path) < 0 ||
	    str_set(&vm->memory_path, opts->memory_path) < 0)
		return err_set(e, -ENOMEM, "out of memory");
	vm->uid = opts->uid;
	vm->tcg = opts->tcg;
	vm->limit = opts->limit;
	vm->host = opts->host;
	*ret = take_ptr(vm);
	return 0;
}

void vm_free(struct vm *vm)
{
	if (!vm)
		return;
	vm_ask_drop(vm);
	qga_request_free(vm->set_cpus);
	qga_free(vm->qga);
	qmp_free(vm->qmp);
	if (vm->epoll_fd >= 0)
		close(vm->epoll_fd);
	free(vm->slots);
	pthread_mutex_destroy(&vm->lock);
	free(vm->qmp_path);
	free(vm->qga_path);
	free(vm->console_path);
	free(vm->memory_path);
	free(vm);
}

int vm_fd(const struct vm *vm)
{
	return vm->epoll_fd;
}

static int vm_watch(struct vm *vm, int fd, struct err *e)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.fd = fd };

	if (epoll_ctl(vm->epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0)
		return err_sys(e, "epoll_ctl");
	return 0;
}

/* A dead connection is readable for ever: nobody should wake up for that. */
static void vm_unwatch(struct vm *vm)
{
	if (vm->qmp)
		(void)epoll_ctl(vm->epoll_fd, EPOLL_CTL_DEL, qmp_fd(vm->qmp),
				NULL);
	if (vm->qga)
		(void)epoll_ctl(vm->epoll_fd, EPOLL_CTL_DEL, qga_fd(vm->qga),
				NULL);
}

static int connect_qga(struct vm *vm, struct err *e)
{
	struct qga *g = NULL;
	int r;

	if (!vm->qga_path || vm->qga)
		return 0;
	r = qga_open(vm->qga_path, &g, e);
	if (r == 0)
		r = vm_watch(vm, qga_fd(g), e);
	if (r < 0) {
		qga_free(g);
		return r;
	}
	pthread_mutex_lock(&vm->lock);
	vm->qga = g;
	pthread_mutex_unlock(&vm->lock);
	return 0;
}

int vm_connect(struct vm *vm, struct err *e)
{
	struct qmp *q = NULL;
	int r;

	if (vm->qmp)
		return 0;
	r = qmp_open(vm->qmp_path, VM_QMP_MS, &q, e);
	if (r == 0)
		r = vm_watch(vm, qmp_fd(q), e);
	if (r < 0) {
		qmp_free(q);
		return r;
	}
	pthread_mutex_lock(&vm->lock);
	vm->qmp = q;
	pthread_mutex_unlock(&vm->lock);
	return 0;
}

/*
 * Events
 */

static void agent_changed(struct vm *vm, bool open)
{
	if (vm->agent == open)
		return;
	vm->agent = open;
	vm->agent_mute_ns = 0;
	vm->cpus_asked_ns = vm->mem_asked_ns = vm_now_ns();
	vm_ask_drop(vm);
	qga_request_free(vm->set_cpus);
	vm->set_cpus = NULL;
	if (vm->qga)
		qga_forget(vm->qga);
}

void vm_forget_guest(struct vm *vm)
{
	vm->slots_fresh = false;
	vm->no_vmem_driver = false;
	memset(vm->refusals, 0, sizeof(vm->refusals));
	agent_changed(vm, false);
}

static const char *event_text(const struct qmp_event *ev, const char *key)
{
	return yyjson_get_str(yyjson_obj_get(ev->data, key));
}

static void take_event(struct vm *vm, const struct qmp_event *ev)
{
	/* A CPU may have come or gone; a lost event may have been about one. */
	if (ev->lost || str_eq(ev->name, "DEVICE_DELETED") ||
	    str_eq(ev->name, "RESET"))
		vm->slots_fresh = false;
	if (str_eq(ev->name, "RESET")) {
		vm->resets++;
		vm_forget_guest(vm);
	} else if (str_eq(ev->name, "VSERPORT_CHANGE") &&
		   str_eq(event_text(ev, "id"), VM_PORT_AGENT)) {
		agent_changed(vm,
			      yyjson_is_true(yyjson_obj_get(ev->data, "open")));
	} else if (str_eq(ev->name, "MEM_UNPLUG_ERROR") ||
		   str_eq(ev->name, "DEVICE_UNPLUG_GUEST_ERROR")) {
		const char *id = event_text(ev, "device");

		vm->dimm_unplug.refused |= str_eq(id, vm->dimm_unplug.id);
		vm->cpu_unplug.refused |= str_eq(id, vm->cpu_unplug.id);
	}
}

void vm_take_events(struct vm *vm, int wait_ms)
{
	struct epoll_event ready[2];
	struct qmp_event ev = { 0 };

	if (wait_ms > 0)
		(void)epoll_wait(vm->epoll_fd, ready, 2, wait_ms);
	/* Errors stay with the connections, and are told by the next call. */
	if (vm->qga)
		(void)qga_dispatch(vm->qga, NULL);
	if (!vm->qmp)
		return;
	(void)qmp_dispatch(vm->qmp, NULL);
	while (qmp_event_next(vm->qmp, &ev) == 0) {
		take_event(vm, &ev);
		qmp_event_clear(&ev);
	}
}

/*
 * State
 */

static bool is_placed(const struct vm *vm, pid_t tid)
{
	for (unsigned int i = 0; i < vm->nr_tids; i++)
		if (vm->tids[i] == tid)
			return true;
	return false;
}

int vm_place_threads(struct vm *vm, struct err *e)
{
	pid_t now[VM_TIDS_MAX];
	int nr, r;

	if (!vm->host.add_vcpu)
		return 0;
	nr = vm_vcpu_tids(vm, now, VM_TIDS_MAX, e);
	if (nr < 0)
		return nr;
	for (int i = 0; i < nr; i++) {
		if (is_placed(vm, now[i]))
			continue;
		r = vm->host.add_vcpu(vm->host.ctx, now[i], e);
		if (r < 0)
			return err_wrap(e, r, "vCPU thread %d", now[i]);
	}
	memcpy(vm->tids, now, sizeof(pid_t) * (size_t)nr);
	vm->nr_tids = (unsigned int)nr;
	return 0;
}

int vm_vcpu_tids(struct vm *vm, pid_t *ret_tids, size_t max, struct err *e)
{
	auto_free struct qmp_cpu *cpus = NULL;
	struct qmp *q = vm_qmp(vm);
	size_t nr = 0;
	int r;

	if (!q)
		return err_set(e, -EAGAIN, "QEMU is not there yet");
	r = qmp_query_cpus(q, VM_QMP_MS, &cpus, &nr, e);
	if (r < 0)
		return r;
	if (nr > max)
		return err_set(e, -E2BIG, "%zu vCPUs, room for %zu", nr, max);
	for (size_t i = 0; i < nr; i++)
		ret_tids[i] = cpus[i].tid;
	return (int)nr;
}

/* The event about it is late, when QEMU has sent one a moment ago. */
static int query_agent(struct vm *vm, struct err *e)
{
	auto_free struct qmp_chardev *devs = NULL;
	size_t nr = 0;
	int r;

	r = qmp_query_chardevs(vm->qmp, VM_QMP_MS, &devs, &nr, e);
	for (size_t i = 0; r == 0 && i < nr; i++)
		if (str_eq(devs[i].label, VM_CHARDEV_AGENT))
			agent_changed(vm, devs[i].frontend_open);
	return r;
}

static enum vm_state state_of(enum qmp_run_state run)
{
	switch (run) {
	case QMP_RUN_RUNNING:
		return VM_RUNNING;
	case QMP_RUN_SHUTDOWN:
		return VM_SHUTDOWN;
	case QMP_RUN_GUEST_PANICKED:
		return VM_GUEST_PANICKED;
	case QMP_RUN_INTERNAL_ERROR:
	case QMP_RUN_IO_ERROR:
		return VM_FAILED;
	case QMP_RUN_PRELAUNCH:
	case QMP_RUN_INMIGRATE:
		return VM_STARTING;
	default:
		return VM_PAUSED;
	}
}

static int read_status(struct vm *vm, struct vm_status *st, struct err *e)
{
	enum qmp_run_state run;
	int r;

	r = qmp_query_status(vm->qmp, VM_QMP_MS, &run, NULL, e);
	if (r == 0)
		r = query_agent(vm, e);
	if (r == 0)
		r = vm_place_threads(vm, e);
	if (r < 0)
		return r;
	st->state = state_of(run);
	if (st->state == VM_FAILED || st->state == VM_STARTING)
		snprintf(st->why, sizeof(st->why), "QEMU is in state '%s'",
			 qmp_run_state_name(run));
	return 0;
}

int vm_sync(struct vm *vm, struct vm_status *ret, struct err *e)
{
	struct vm_status st = { .state = VM_STARTING };
	struct err why = { 0 };
	int r;

	r = vm_connect(vm, &why);
	if (r == 0)
		r = connect_qga(vm, &why);
	vm_take_events(vm, 0);
	if (r == 0)
		r = read_status(vm, &st, &why);
	st.agent = vm->agent;
	st.resets = vm->resets;
	if (vm->qmp && qmp_error(vm->qmp, &why) < 0) {
		st.state = VM_GONE;
		vm->agent = false;
		vm_unwatch(vm);
		r = -EPIPE;
	} else if (r < 0) {
		st.retry_ms = STARTING_RETRY_MS;
	}
	if (r < 0)
		snprintf(st.why, sizeof(st.why), "%.*s",
			 (int)sizeof(st.why) - 1, why.msg);
	if (r == -ENOMEM)
		return err_wrap(e, r, "VM");
	*ret = st;
	return 0;
}

/*
 * Power
 */

static int need_qmp(struct vm *vm, struct qmp **ret, struct err *e)
{
	*ret = vm_qmp(vm);
	if (!*ret)
		return err_set(e, -EAGAIN, "QEMU is not there yet");
	return 0;
}

static int simple_call(struct vm *vm,
		       int (*call)(struct qmp *q, int timeout_ms,
				   struct err *e),
		       struct err *e)
{
	struct qmp *q;
	int r = need_qmp(vm, &q, e);

	return r < 0 ? r : call(q, VM_POWER_MS, e);
}

int vm_pause(struct vm *vm, struct err *e)
{
	return simple_call(vm, qmp_stop, e);
}

int vm_resume(struct vm *vm, struct err *e)
{
	return simple_call(vm, qmp_cont, e);
}

int vm_reset(struct vm *vm, struct err *e)
{
	return simple_call(vm, qmp_system_reset, e);
}

/* The button first: it works without an agent. The agent's answer to its own
 * request is silence, so nobody waits for it. */
int vm_powerdown(struct vm *vm, struct err *e)
{
	auto_qmp_args struct qmp_args args = { 0 };
	auto_qga_request struct qga_request *rq = NULL;
	int r = simple_call(vm, qmp_system_powerdown, e);

	if (r < 0 || !vm->agent || !vm->qga)
		return r;
	qmp_arg_str(&args, "mode", "powerdown");
	if (qga_submit(vm->qga, "guest-shutdown", &args, VM_QMP_MS, &rq,
		       NULL) == 0)
		(void)qga_poll(rq, VM_QMP_MS, NULL, NULL);
	return 0;
}

int vm_quit(struct vm *vm, struct err *e)
{
	int r = vm_connect(vm, e);

	if (r == -ENOENT || r == -ECONNREFUSED)
		return 0;
	return r < 0 ? r : qmp_quit(vm_qmp(vm), VM_POWER_MS, e);
}

/*
 * The guest
 */

static int need_qga(struct vm *vm, struct qga **ret, struct err *e)
{
	*ret = vm_qga(vm);
	if (!*ret)
		return err_set(e, -EAGAIN, "QEMU is not there yet");
	if (!vm->agent)
		return err_set(
			e, -EHOSTUNREACH,
			"no guest agent answers in this VM: if it is not still booting, install qemu-guest-agent in its image");
	return 0;
}

static void collect_addrs(const struct qga_iface *ifs, size_t nr,
			  struct vm_facts *facts)
{
	for (size_t i = 0; i < nr; i++) {
		if (str_eq(ifs[i].name, "lo"))
			continue;
		for (size_t k = 0; k < ifs[i].nr_addrs; k++) {
			if (facts->nr_addrs == VM_ADDRS_MAX)
				return;
			memcpy(facts->addrs[facts->nr_addrs++], ifs[i].addrs[k],
			       sizeof(facts->addrs[0]));
		}
	}
}

int vm_facts(struct vm *vm, int timeout_ms, struct vm_facts *ret, struct err *e)
{
	int64_t until_ns = vm_now_ns() + timeout_ms * 1000000LL;
	auto_buf struct buf meminfo = BUF_INIT;
	auto_free struct qga_vcpu *cpus = NULL;
	struct vm_facts facts = { 0 };
	struct qga_iface *ifs = NULL;
	struct qga *g;
	size_t nr = 0;
	int r;

	r = need_qga(vm, &g, e);
	if (r == 0)
		r = qga_get_vcpus(g, timeout_ms, &cpus, &nr, e);
	if (r < 0)
		return r;
	for (size_t i = 0; i < nr; i++)
		facts.cpus_online += cpus[i].online;
	/* What follows is told by what the agent can do. */
	if (qga_file_read(g, "/proc/meminfo", MEMINFO_MAX,
			  (int)((until_ns - vm_now_ns()) / 1000000), &meminfo,
			  NULL) == 0)
		vm_parse_meminfo(buf_str(&meminfo), &facts.mem_total_bytes,
				 &facts.mem_available_bytes);
	if (qga_get_interfaces(g, (int)((until_ns - vm_now_ns()) / 1000000),
			       &ifs, &nr, NULL) == 0) {
		collect_addrs(ifs, nr, &facts);
		qga_ifaces_free(ifs, nr);
	}
	*ret = facts;
	return 0;
}

int vm_exec(struct vm *vm, const char *const *argv, const char *const *env,
	    const void *input, size_t input_len, int timeout_ms,
	    const atomic_bool *cancel, struct qga_exec_result *ret,
	    struct err *e)
{
	struct qga *g;
	int r = need_qga(vm, &g, e);

	if (r < 0)
		return r;
	return qga_exec_until(g, argv, env, input, input_len, timeout_ms,
			      cancel, ret, e);
}

int vm_console_open(struct vm *vm, int *ret_fd, struct err *e)
{
	int fd = qmp_unix_connect(vm->console_path, e);

	if (fd < 0)
		return fd;
	*ret_fd = fd;
	return 0;
}

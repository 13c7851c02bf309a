// SPDX-License-Identifier: Apache-2.0
/*
 * The pods' probes: what the prober finds becomes readiness and restarts. Exec
 * probes run in a thread each: a container that hangs holds up nobody else.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/container/container.h"
#include "agent/container/sandbox.h"
#include "agent/events.h"
#include "agent/hooks.h"
#include "agent/internal.h"
#include "agent/probe/probe.h"
#include "agent/vm/vm.h"
#include "lib/auto.h"
#include "lib/buf.h"
#include "lib/err.h"
#include "lib/log.h"
#include "lib/str.h"
#include "qmp/qga.h"

#define OUTPUT_MAX      1024
#define VM_EXEC_TIMEOUT 10000

static const struct probe_spec *given(const struct probe_spec *p)
{
	return p->kind == PROBE_NONE ? NULL : p;
}

struct specs {
	const struct probe_spec *liveness, *readiness, *startup;
};

static struct specs specs_of(const struct pod *pod, const struct ctr *c)
{
	if (c->spec)
		return (struct specs){ given(&c->spec->liveness),
				       given(&c->spec->readiness),
				       given(&c->spec->startup) };
	return (struct specs){ given(&pod->spec->vm->liveness),
			       given(&pod->spec->vm->readiness),
			       given(&pod->spec->vm->startup) };
}

bool probes_ready(const struct pod *pod, const struct ctr *c)
{
	struct specs s = specs_of(pod, c);

	if (c->hook == HOOK_STARTING || (s.startup && !c->probe_started))
		return false;
	return !s.readiness || c->probe_ready;
}

bool probes_started(const struct pod *pod, const struct ctr *c)
{
	return !specs_of(pod, c).startup || c->probe_started;
}

void probes_start(struct pod *pod, size_t i)
{
	struct ctr *c = &pod->ctrs[i];
	struct specs s = specs_of(pod, c);
	char ip[INET_ADDRSTRLEN] = "127.0.0.1";
	struct probe_target t = {
		.pod_key = pod->key,
		.container = c->name,
		.pod_ip = ip,
		.liveness = s.liveness,
		.readiness = s.readiness,
		.startup = s.startup,
		.started_ms = c->started_ms,
	};
	struct err e = { 0 };
	uint64_t id = 0;

	if (!s.liveness && !s.readiness && !s.startup)
		return;
	if (pod->network_up)
		inet_ntop(AF_INET, &pod->endpoint.ip, ip, sizeof(ip));
	pthread_mutex_lock(&pod->lock);
	c->found = (struct probe_found){ 0 };
	pthread_mutex_unlock(&pod->lock);
	if (prober_add(pod->agent->prober, &t, &id, &e) < 0)
		log_error("pod %s: container %s is not probed: %s", pod->key,
			  c->name, e.msg);
	pthread_mutex_lock(&pod->lock);
	c->found.id = id;
	pthread_mutex_unlock(&pod->lock);
}

void probes_stop(struct pod *pod, size_t i)
{
	struct ctr *c = &pod->ctrs[i];
	uint64_t id;

	hooks_stop(pod, i);
	pthread_mutex_lock(&pod->lock);
	id = c->found.id;
	c->found = (struct probe_found){ 0 };
	pthread_mutex_unlock(&pod->lock);
	if (id)
		prober_del(pod->agent->prober, id);
}

void probes_take(struct pod *pod, size_t i)
{
	struct ctr *c = &pod->ctrs[i];
	struct probe_found f;

	pthread_mutex_lock(&pod->lock);
	f = c->found;
	c->found.dead = false;
	pthread_mutex_unlock(&pod->lock);
	if (!f.id || c->phase != CTR_RUNNING)
		return;
	c->probe_started = f.started;
	c->probe_ready = f.ready;
	if (f.dead && c->stop_why == STOP_NONE) {
		c->stop_why = STOP_LIVENESS;
		event_add(pod, false, "Killing",
			  "Container %s failed %s probe, will be restarted",
			  c->name,
			  probes_started(pod, c) ? "liveness" : "startup");
	}
}

/* --- callbacks, on the prober's thread
 * ------------------------------------------- */

static void take_result(struct ctr *c, const struct probe_result *r)
{
	/* Of the attempt before: somebody else's. */
	if (c->found.id && c->found.id != r->id)
		return;
	switch (r->type) {
	case PROBE_READINESS:
		c->found.ready = r->success;
		break;
	case PROBE_STARTUP:
		c->found.started = r->success;
		c->found.dead |= !r->success;
		break;
	case PROBE_LIVENESS:
		c->found.dead |= !r->success;
		break;
	}
}

static void on_result(void *ctx, const struct probe_result *r)
{
	struct pod *pod = pods_find(ctx, r->pod_key);

	if (!pod)
		return;
	if (hooks_result(pod, r)) {
		pod_unref(pod);
		return;
	}
	if (!r->success)
		event_add(pod, true, "Unhealthy", "%s probe failed: %s",
			  probe_type_name(r->type), r->message);
	if (r->changed) {
		pthread_mutex_lock(&pod->lock);
		for (size_t i = 0; i < pod->nr_ctrs; i++)
			if (str_eq(pod->ctrs[i].name, r->container))
				take_result(&pod->ctrs[i], r);
		pthread_mutex_unlock(&pod->lock);
		pod_poke(pod);
	}
	pod_unref(pod);
}

static int on_socket(void *ctx, const char *key, int family, struct err *e)
{
	struct agent *a = ctx;
	struct pod *pod = pods_find(a, key);
	int fd = -1, r;

	if (!pod)
		return err_set(e, -ENOENT, "the pod is gone");
	if (pod->spec->host_network) {
		fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
			    0);
		r = fd < 0 ? err_sys(e, "socket") : 0;
	} else {
		r = network_pod_socket(a->network, pod->uid, family,
				       SOCK_STREAM | SOCK_NONBLOCK, &fd, e);
	}
	pod_unref(pod);
	return r < 0 ? r : fd;
}

struct exec_job {
	struct exec_job *next;
	struct pod *pod;
	char *container;
	struct strv argv;
	uint64_t token;
	char name[PROTO_NAME_MAX + 1];
};

static pthread_mutex_t jobs_lock = PTHREAD_MUTEX_INITIALIZER;
static struct exec_job *jobs;

static void job_free(struct exec_job *job)
{
	for (size_t i = 0; i < job->argv.nr; i++)
		free(job->argv.v[i]);
	free(job->argv.v);
	free(job->container);
	pod_unref(job->pod);
	free(job);
}

/* Read what it says until it ends. */
static int collect(const struct sandbox_exec *x, int out, char *text,
		   size_t size, size_t *ret_len)
{
	struct proto_exit ex = { .exit_code = 255 };
	struct pollfd p[2] = { { x->exit_fd, POLLIN, 0 }, { out, POLLIN, 0 } };
	char scrap[512];
	size_t len = 0;

	for (;;) {
		ssize_t n;

		if (poll(p, 2, -1) < 0 && errno != EINTR)
			break;
		if (p[1].revents) {
			n = len < size ? read(out, text + len, size - len)
				       : read(out, scrap, sizeof(scrap));
			if (n > 0 && len < size)
				len += (size_t)n;
			if (n <= 0)
				p[1].fd = -1;
		} else if (p[0].revents) {
			if (read(x->exit_fd, &ex, sizeof(ex)) != sizeof(ex))
				ex.exit_code = 255;
			break;
		}
	}
	*ret_len = len;
	return ex.exit_code;
}

static int run_in_container(struct exec_job *job, char *text, size_t *len,
			    struct err *e)
{
	struct pod *pod = job->pod;
	struct sandbox_spec spec = { 0 };
	struct sandbox_failure fail = { 0 };
	struct sandbox_exec x = { .tty_fd = -1, .exit_fd = -1 };
	auto_close int filter = -EBADF;
	int pipes[2], r;

	if (pipe2(pipes, O_CLOEXEC) < 0)
		return err_sys(e, "pipe");
	r = pod_exec_spec(pod, job->container, &job->argv, &spec, &filter,
			  &fail, e);
	if (r == 0) {
		struct sandbox_exec_opts o = {
			.container = job->container,
			.name = job->name,
			.spec = &spec,
			.stdio = { -1, pipes[1], pipes[1] },
		};

		pthread_rwlock_rdlock(&pod->handles);
		r = pod->sandbox ? sandbox_exec(pod->sandbox, &o, &x, &fail, e)
				 : err_set(e, -ESRCH, "it is not running");
		pthread_rwlock_unlock(&pod->handles);
	}
	close(pipes[1]);
	sandbox_spec_clear(&spec);
	if (r == 0) {
		r = collect(&x, pipes[0], text, OUTPUT_MAX, len);
		close(x.exit_fd);
	} else if (r == -EREMOTEIO) {
		*len = (size_t)snprintf(text, OUTPUT_MAX, "%s", fail.message);
		r = fail.exit_code ? fail.exit_code : 127;
	}
	close(pipes[0]);
	return r;
}

static int run_in_vm(struct exec_job *job, char *text, size_t *len,
		     struct err *e)
{
	struct qga_exec_result res = { 0 };
	int r;

	pthread_rwlock_rdlock(&job->pod->handles);
	r = job->pod->vm
		    ? vm_exec(job->pod->vm, (const char *const *)job->argv.v,
			      NULL, NULL, 0, VM_EXEC_TIMEOUT, NULL, &res, e)
		    : err_set(e, -ESRCH, "it is not running");
	pthread_rwlock_unlock(&job->pod->handles);
	if (r < 0)
		return r;
	*len = res.out_len < OUTPUT_MAX ? res.out_len : OUTPUT_MAX;
	memcpy(text, res.out ? res.out : "", *len);
	r = res.exited ? res.code : 128 + res.signal;
	qga_exec_result_clear(&res);
	return r;
}

static void *exec_thread(void *arg)
{
	struct exec_job *job = arg, **at;
	char text[OUTPUT_MAX];
	struct err e = { 0 };
	size_t len = 0;
	int r;

	pthread_setname_np(pthread_self(), "arktos-probe");
	r = job->pod->spec->vm ? run_in_vm(job, text, &len, &e)
			       : run_in_container(job, text, &len, &e);
	if (r < 0)
		len = (size_t)snprintf(text, sizeof(text), "%.*s", OUTPUT_MAX,
				       e.msg);
	if (len > sizeof(text))
		len = sizeof(text);
	prober_exec_done(job->pod->agent->prober, job->token, r < 0 ? 255 : r,
			 text, len);
	pthread_mutex_lock(&jobs_lock);
	for (at = &jobs; *at; at = &(*at)->next)
		if (*at == job) {
			*at = job->next;
			break;
		}
	pthread_mutex_unlock(&jobs_lock);
	__atomic_sub_fetch(&job->pod->agent->probe_threads, 1,
			   __ATOMIC_RELEASE);
	job_free(job);
	return NULL;
}

static int copy_argv(struct strv *to, const struct strv *from)
{
	to->v = calloc(from->nr + 1, sizeof(*to->v));
	if (!to->v)
		return -ENOMEM;
	for (size_t i = 0; i < from->nr; i++) {
		to->v[i] = strdup(from->v[i]);
		if (!to->v[i])
			return -ENOMEM;
		to->nr++;
	}
	return 0;
}

static int on_exec(void *ctx, const char *key, const char *container,
		   const struct strv *command, uint64_t token, struct err *e)
{
	struct agent *a = ctx;
	struct exec_job *job = calloc(1, sizeof(*job));
	pthread_attr_t attr;
	pthread_t t;
	int r;

	if (!job)
		return err_set(e, -ENOMEM, "out of memory");
	job->pod = pods_find(a, key);
	job->container = strdup(container);
	job->token = token;
	snprintf(job->name, sizeof(job->name), "probe-%llu",
		 (unsigned long long)token);
	if (!job->pod || !job->container ||
	    copy_argv(&job->argv, command) < 0) {
		job_free(job);
		return err_set(e, -ENOENT, "the pod is gone");
	}
	pthread_mutex_lock(&jobs_lock);
	job->next = jobs;
	jobs = job;
	pthread_mutex_unlock(&jobs_lock);
	__atomic_add_fetch(&a->probe_threads, 1, __ATOMIC_RELAXED);
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, 128 * 1024);
	r = pthread_create(&t, &attr, exec_thread, job);
	pthread_attr_destroy(&attr);
	if (r == 0)
		return 0;
	pthread_mutex_lock(&jobs_lock);
	jobs = job->next; /* only this thread adds: it is still the first */
	pthread_mutex_unlock(&jobs_lock);
	__atomic_sub_fetch(&a->probe_threads, 1, __ATOMIC_RELAXED);
	job_free(job);
	return err_set(e, -r, "start a thread: %s", strerror(r));
}

static void on_cancel(void *ctx, const char *key, const char *container,
		      uint64_t token)
{
	char name[PROTO_NAME_MAX + 1];
	struct pod *pod = pods_find(ctx, key);

	(void)container;
	if (!pod)
		return;
	snprintf(name, sizeof(name), "probe-%llu", (unsigned long long)token);
	pthread_rwlock_rdlock(&pod->handles);
	if (pod->sandbox) /* gone already: as good as killed */
		(void)sandbox_kill(pod->sandbox, name, 9, NULL);
	pthread_rwlock_unlock(&pod->handles);
	pod_unref(pod);
}

int probes_open(struct agent *a, struct err *e)
{
	struct prober_ops ops = {
		.connect_socket = on_socket,
		.exec_start = on_exec,
		.exec_cancel = on_cancel,
		.result = on_result,
		.ctx = a,
	};

	return prober_new(&ops, &a->prober, e);
}

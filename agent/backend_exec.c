// SPDX-License-Identifier: Apache-2.0
/* Commands, consoles and logs of pods, as descriptors for the API to pump. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "agent/backend.h"
#include "agent/container/container.h"
#include "agent/container/sandbox.h"
#include "agent/internal.h"
#include "agent/logs/logs.h"
#include "agent/vm/vm.h"
#include "agent/vm_stdin.h"
#include "lib/auto.h"
#include "lib/buf.h"
#include "lib/err.h"
#include "lib/str.h"
#include "qmp/qga.h"

#define VM_EXEC_MAX_MS (10 * 60 * 1000)
#define ATTACH_PIPE    (1024 * 1024)
#define LOG_CHUNK      (64 * 1024)
#define KNOWN_WAIT_S   10
#define LOOK_MS        500 /* at the cancel flag, and for rotated consoles */

struct session {
	struct pod *pod;
	char name[PROTO_NAME_MAX + 1]; /* of the exec in the supervisor */
	int exit_fd;                   /* container: struct proto_exit comes */
	bool attached;                 /* no exit code of its own */
	/* VM: a thread runs the guest's command. */
	pthread_t thread;
	bool has_thread;
	char **argv;
	int in_fd, out_fd, err_fd, done_fd; /* the thread's ends */
	atomic_bool cancel;                 /* the client has gone */
	int code;
	struct err why;
};

static void session_free(struct session *s)
{
	if (s->has_thread)
		pthread_join(s->thread, NULL);
	if (s->exit_fd >= 0)
		close(s->exit_fd);
	if (s->in_fd >= 0)
		close(s->in_fd);
	for (size_t i = 0; s->argv && s->argv[i]; i++)
		free(s->argv[i]);
	free(s->argv);
	pod_unref(s->pod);
	free(s);
}

static struct session *session_new(struct pod *pod)
{
	struct session *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->pod = pod_ref(pod);
	s->exit_fd = s->in_fd = s->out_fd = s->err_fd = s->done_fd = -1;
	return s;
}

static void close_pair(int p[2])
{
	for (int i = 0; i < 2; i++)
		if (p[i] >= 0)
			close(p[i]);
}

/* An agent that has just come back does not know yet what runs: under the pod's
 * lock. */
static void wait_known(struct pod *pod)
{
	struct timespec end;
	int r = 0;

	clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_sec += KNOWN_WAIT_S;
	while (pod->unknown && !pod->gone && r == 0)
		r = pthread_cond_timedwait(&pod->changed, &pod->lock, &end);
}

/* The container meant: the one named, or the first of those that stay. */
static int pick(struct pod *pod, const char *name, char *ret, size_t size,
		bool *ret_vm, struct err *e)
{
	struct ctr *c = NULL;
	int r = 0;

	pthread_mutex_lock(&pod->lock);
	wait_known(pod);
	if (name)
		c = pod_ctr(pod, name);
	else if (pod->nr_ctrs > pod->nr_init)
		c = &pod->ctrs[pod->nr_init];
	if (!c)
		r = err_set(e, -ENOENT, "pod %s has no container '%s'",
			    pod->spec->name, name ? name : "");
	else
		snprintf(ret, size, "%s", c->name);
	*ret_vm = pod->spec->vm != NULL;
	pthread_mutex_unlock(&pod->lock);
	return r;
}

/* --- exec in a container
 * ------------------------------------------------------------- */

static int exec_container(struct session *s, const char *container,
			  const struct api_exec *x, struct api_session *ret,
			  struct err *e)
{
	int in[2] = { -1, -1 }, out[2] = { -1, -1 }, err[2] = { -1, -1 };
	struct sandbox_exec sx = { .tty_fd = -1, .exit_fd = -1 };
	struct sandbox_exec_opts o = { .container = container,
				       .tty = x->tty,
				       .rows = x->rows,
				       .cols = x->cols,
				       .stdio = { -1, -1, -1 } };
	struct sandbox_failure fail = { 0 };
	struct sandbox_spec spec = { 0 };
	auto_close int filter = -EBADF;
	int r;

	if (!x->tty &&
	    (pipe2(out, O_CLOEXEC) < 0 || pipe2(err, O_CLOEXEC) < 0 ||
	     (x->in && pipe2(in, O_CLOEXEC) < 0))) {
		r = err_sys(e, "pipe");
		goto out;
	}
	o.stdio[0] = in[0];
	o.stdio[1] = out[1];
	o.stdio[2] = err[1];
	o.spec = &spec;
	r = pod_exec_spec(s->pod, container, &x->argv, &spec, &filter, &fail,
			  e);
	if (r < 0)
		goto out;
	pthread_rwlock_rdlock(&s->pod->handles);
	r = s->pod->sandbox
		    ? sandbox_exec(s->pod->sandbox, &o, &sx, &fail, e)
		    : err_set(e, -ESRCH, "container '%s' is not running",
			      container);
	pthread_rwlock_unlock(&s->pod->handles);
	sandbox_spec_clear(&spec);
	if (r == -ESRCH || r == -ENOENT)
		r = -ESTALE; /* the pod is there: a conflict, not a 404 */
	if (r == -EREMOTEIO)
		r = err_set(e, -EINVAL, "%s", fail.message);
	if (r < 0)
		goto out;
	snprintf(s->name, sizeof(s->name), "%s", sx.name);
	s->exit_fd = sx.exit_fd;
	*ret = (struct api_session){
		.in_fd = x->tty ? sx.tty_fd : in[1],
		.out_fd = x->tty ? sx.tty_fd : out[0],
		.err_fd = err[0],
		.done_fd = fcntl(sx.exit_fd, F_DUPFD_CLOEXEC, 3),
		.tty = x->tty,
		.cookie = s,
	};
	in[1] = out[0] = err[0] = -1;
out:
	close_pair(in);
	close_pair(out);
	close_pair(err);
	return r;
}

/* --- exec in a VM: the guest agent runs it to its end
 * ----------------------------------- */

static void write_all(int fd, const char *data, size_t len)
{
	while (len) {
		ssize_t n = write(fd, data, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return; /* the reader has gone */
		data += n;
		len -= (size_t)n;
	}
}

static void *vm_exec_thread(void *arg)
{
	struct session *s = arg;
	struct qga_exec_result res = { 0 };
	int r;

	pthread_setname_np(pthread_self(), "arktos-exec");
	r = vm_run(s->pod, s->in_fd, (const char *const *)s->argv,
		   VM_EXEC_MAX_MS, &s->cancel, &res, &s->why);
	/* The guest agent's own words name a call of GLib's. */
	if (r == -EREMOTEIO && strstr(s->why.msg, "No such file"))
		err_set(&s->why, -ENOENT,
			"exec '%.200s': no such program in the guest: check "
			"the command and the guest's PATH",
			s->argv[0]);
	else if (r == -EREMOTEIO && strstr(s->why.msg, "Permission denied"))
		err_set(&s->why, -EACCES,
			"exec '%.200s': the guest may not run it: check its "
			"mode",
			s->argv[0]);
	if (r == 0) {
		s->code = res.exited ? res.code : 128 + res.signal;
		write_all(s->out_fd, res.out, res.out_len);
		write_all(s->err_fd, res.err_out, res.err_len);
		qga_exec_result_clear(&res);
	}
	close(s->out_fd);
	close(s->err_fd);
	(void)eventfd_write(s->done_fd, 1);
	close(s->done_fd);
	return NULL;
}

static int copy_argv(struct session *s, const struct strv *argv)
{
	s->argv = calloc(argv->nr + 1, sizeof(*s->argv));
	for (size_t i = 0; s->argv && i < argv->nr; i++) {
		s->argv[i] = strdup(argv->v[i]);
		if (!s->argv[i])
			return -ENOMEM;
	}
	return s->argv ? 0 : -ENOMEM;
}

static int exec_vm(struct session *s, const struct api_exec *x,
		   struct api_session *ret, struct err *e)
{
	int in[2] = { -1, -1 }, out[2] = { -1, -1 }, err[2] = { -1, -1 };
	int done[2] = { -1, -1 };
	bool paused;
	int r;

	if (x->tty)
		return err_set(e, -EBADMSG,
			       "a VM's guest agent has no terminal: use "
			       "'kubectl attach -it' or 'arktos-node console', "
			       "or exec without -t");
	pthread_mutex_lock(&s->pod->lock);
	paused = s->pod->spec->vm->power == POWER_PAUSED;
	pthread_mutex_unlock(&s->pod->lock);
	if (paused)
		return err_set(e, -EINVAL,
			       "the VM is paused, nobody in it can answer: set "
			       "powerSpec to Running first");
	if (copy_argv(s, &x->argv) < 0)
		return err_set(e, -ENOMEM, "out of memory");
	if (pipe2(out, O_CLOEXEC) < 0 || pipe2(err, O_CLOEXEC) < 0 ||
	    (x->in && pipe2(in, O_CLOEXEC) < 0)) {
		r = err_sys(e, "pipe");
		goto fail;
	}
	done[0] = eventfd(0, EFD_CLOEXEC);
	if (done[0] < 0) {
		r = err_sys(e, "eventfd");
		goto fail;
	}
	done[1] = fcntl(done[0], F_DUPFD_CLOEXEC, 3);
	s->in_fd = in[0];
	s->out_fd = out[1];
	s->err_fd = err[1];
	s->done_fd = done[1];
	r = -pthread_create(&s->thread, NULL, vm_exec_thread, s);
	if (r < 0) {
		r = err_set(e, r, "start a thread: %s", strerror(-r));
		s->in_fd = -1; /* closed below */
		goto fail;
	}
	s->has_thread = true;
	*ret = (struct api_session){ .in_fd = in[1],
				     .out_fd = out[0],
				     .err_fd = err[0],
				     .done_fd = done[0],
				     .cookie = s };
	return 0;
fail:
	close_pair(in);
	close_pair(out);
	close_pair(err);
	close_pair(done);
	return r;
}

int backend_exec(void *arg, const struct api_exec *x, struct api_session *ret,
		 struct err *e)
{
	struct pod *pod = backend_pod(arg, &x->pod, e);
	struct session *s;
	char name[PROTO_NAME_MAX + 1];
	bool vm;
	int r;

	if (!pod)
		return -ENOENT;
	s = session_new(pod);
	r = s ? pick(pod, x->container, name, sizeof(name), &vm, e)
	      : err_set(e, -ENOMEM, "out of memory");
	if (r == 0)
		r = vm ? exec_vm(s, x, ret, e)
		       : exec_container(s, name, x, ret, e);
	if (r < 0 && s)
		session_free(s);
	pod_unref(pod);
	return r;
}

/* --- attach ------------------------------------------------------------- */

static int attach_vm(struct session *s, struct api_session *ret, struct err *e)
{
	int fd = -1, r;

	pthread_rwlock_rdlock(&s->pod->handles);
	r = s->pod->vm ? vm_console_open(s->pod->vm, &fd, e)
		       : err_set(e, -ESTALE, "the VM is not running");
	pthread_rwlock_unlock(&s->pod->handles);
	if (r == 0)
		*ret = (struct api_session){ .in_fd = fd,
					     .out_fd = fd,
					     .err_fd = -1,
					     .done_fd = -1,
					     .cookie = s };
	return r;
}

/* What it was started with counts, not what the client believes: without an
 * input, there is only output. */
static int attach_how(struct pod *pod, const char *name,
		      const struct api_exec *x, struct sandbox_attach *at,
		      bool *ret_tty, struct err *e)
{
	const struct ctr *c;
	int r = 0;

	pthread_mutex_lock(&pod->lock);
	c = pod_ctr(pod, name);
	*ret_tty = c && c->spec && c->spec->tty;
	at->once = c && c->spec && c->spec->stdin_once;
	at->in = x->in && c && c->spec && (c->spec->stdin_open || *ret_tty);
	if (x->console && !*ret_tty)
		r = err_set(e, -EOPNOTSUPP,
			    "console is for VMs, and containers with a tty; "
			    "use 'logs -f' or 'exec -it'");
	pthread_mutex_unlock(&pod->lock);
	return r;
}

static int attach_container(struct session *s, const char *name,
			    const struct api_exec *x, struct api_session *ret,
			    struct err *e)
{
	int out[2] = { -1, -1 }, err[2] = { -1, -1 }, in = -1, r;
	struct sandbox_attach at = { .out = { -1, -1 } };
	bool tty = false;

	r = attach_how(s->pod, name, x, &at, &tty, e);
	if (r < 0)
		return r;
	if (pipe2(out, O_CLOEXEC) < 0 || (!tty && pipe2(err, O_CLOEXEC) < 0)) {
		r = err_sys(e, "pipe");
		goto out;
	}
	/* Less of a brake on the container; what it may not have it has not. */
	(void)fcntl(out[0], F_SETPIPE_SZ, ATTACH_PIPE);
	at.out[0] = out[1];
	at.out[1] = err[1];
	pthread_rwlock_rdlock(&s->pod->handles);
	r = s->pod->sandbox
		    ? sandbox_attach(s->pod->sandbox, name, &at, &in, e)
		    : err_set(e, -ESRCH, "container '%s' is not running", name);
	pthread_rwlock_unlock(&s->pod->handles);
	if (r == -ESRCH || r == -ENOENT)
		r = -ESTALE; /* the pod is there: a conflict, not a 404 */
	if (r < 0)
		goto out;
	*ret = (struct api_session){
		.in_fd = in,
		.out_fd = out[0],
		.err_fd = err[0],
		.done_fd = -1,
		.tty = tty,
		.cookie = s,
	};
	out[0] = err[0] = -1;
out:
	close_pair(out);
	close_pair(err);
	return r;
}

int backend_attach(void *arg, const struct api_exec *x, struct api_session *ret,
		   struct err *e)
{
	struct pod *pod = backend_pod(arg, &x->pod, e);
	char name[PROTO_NAME_MAX + 1];
	struct session *s;
	bool vm;
	int r;

	if (!pod)
		return -ENOENT;
	s = session_new(pod);
	r = s ? pick(pod, x->container, name, sizeof(name), &vm, e)
	      : err_set(e, -ENOMEM, "out of memory");
	if (r == 0)
		r = vm ? attach_vm(s, ret, e)
		       : attach_container(s, name, x, ret, e);
	if (r < 0 && s)
		session_free(s);
	else if (s)
		s->attached = true;
	pod_unref(pod);
	return r;
}

int backend_session_result(void *arg, void *cookie, int *ret_code,
			   struct err *e)
{
	struct session *s = cookie;
	struct proto_exit ex;

	(void)arg;
	if (s->attached) {
		*ret_code = 0;
		return 0;
	}
	if (s->has_thread) {
		pthread_join(s->thread, NULL);
		s->has_thread = false;
		*ret_code = s->code;
		if (s->why.code)
			return err_set(e, s->why.code, "%s", s->why.msg);
		return 0;
	}
	if (read(s->exit_fd, &ex, sizeof(ex)) != sizeof(ex))
		return err_set(e, -ESTALE,
			       "the pod has ended before the command did");
	*ret_code = ex.exit_code;
	return 0;
}

void backend_session_close(void *arg, void *cookie)
{
	struct session *s = cookie;

	(void)arg;
	atomic_store(&s->cancel, true);
	if (s->name[0]) {
		pthread_rwlock_rdlock(&s->pod->handles);
		if (s->pod->sandbox) /* -ESRCH: it has ended, as it should */
			(void)sandbox_kill(s->pod->sandbox, s->name, 9, NULL);
		pthread_rwlock_unlock(&s->pod->handles);
	}
	session_free(s);
}

/* --- logs
 * -------------------------------------------------------------------------------
 */

static bool cancelled(const struct api_logs *l)
{
	return l->cancel && atomic_load(l->cancel);
}

static int send_all(int fd, const char *data, size_t len)
{
	while (len) {
		ssize_t n = write(fd, data, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		data += n;
		len -= (size_t)n;
	}
	return 0;
}

/* Is this attempt over, so that nothing will follow? */
static bool attempt_over(struct pod *pod, const char *container,
			 uint32_t attempt)
{
	struct ctr *c;
	bool over;

	pthread_mutex_lock(&pod->lock);
	c = pod_ctr(pod, container);
	over = !c || pod->gone || c->attempt > attempt ||
	       (c->attempt == attempt && c->phase == CTR_EXITED);
	pthread_mutex_unlock(&pod->lock);
	return over;
}

static int pump_log(struct pod *pod, const struct api_logs *l,
		    const char *container, uint32_t attempt,
		    struct log_reader *log, int out_fd, struct err *e)
{
	auto_buf struct buf b = BUF_INIT;

	while (!log_ended(log) && !cancelled(l)) {
		struct pollfd p = { log_fd(log), POLLIN, 0 };
		int r;

		buf_reset(&b);
		r = log_read(log, LOG_CHUNK, &b, e);
		if (r < 0)
			return r;
		if (b.len) {
			r = send_all(out_fd, b.data, b.len);
			if (r < 0)
				return r;
			continue;
		}
		if (!l->follow)
			break;
		if (attempt_over(pod, container, attempt))
			log_finish(log);
		else if (poll(&p, 1, LOOK_MS) < 0 && errno != EINTR)
			return err_sys(e, "wait for the log");
	}
	return 0;
}

/* Why a container has no log yet. */
static int still_waiting(struct pod *pod, const char *container, struct err *e)
{
	const struct ctr *c;
	int r;

	pthread_mutex_lock(&pod->lock);
	c = pod_ctr(pod, container);
	r = err_set(e, -EINVAL,
		    "container \"%s\" in pod \"%s\" is waiting to start: %s",
		    container, pod->spec->name,
		    !pod->admitted      ? "Pending, see 'describe'"
		    : c && c->reason[0] ? c->reason
					: ctr_waiting_reason(pod));
	pthread_mutex_unlock(&pod->lock);
	return r;
}

static int container_logs(struct pod *pod, const struct api_logs *l,
			  const char *container, int out_fd, struct err *e)
{
	struct log_opts o = {
		.follow = l->follow && !l->previous,
		.timestamps = l->timestamps,
		.has_tail = l->tail >= 0,
		.tail = l->tail >= 0 ? (uint64_t)l->tail : 0,
		.has_since = l->since_s >= 0,
		.limit_bytes = l->limit >= 0 ? (uint64_t)l->limit : 0,
	};
	auto_free char *dir = str_printf("%s/%s", pod->log_dir, container);
	auto_ptr(log_reader) log = NULL;
	auto_close int dirfd = -EBADF;
	uint32_t attempt = 0;
	int r;

	if (!dir)
		return err_set(e, -ENOMEM, "out of memory");
	clock_gettime(CLOCK_REALTIME, &o.since);
	o.since.tv_sec -= l->since_s;
	if (l->limit == 0)
		return 0;
	dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dirfd < 0 && errno == ENOENT)
		return still_waiting(pod, container, e);
	if (dirfd < 0)
		return err_sys(e, "open '%s'", dir);
	r = log_find_attempt(dirfd, l->previous, &attempt, e);
	if (r == -ENOENT && l->previous)
		return err_set(e, -EINVAL,
			       "previous terminated container '%s' in pod '%s' "
			       "not found",
			       container, l->pod.name);
	if (r == 0)
		r = log_open(dirfd, attempt, &o, &log, e);
	if (r < 0)
		return r;
	return pump_log(pod, l, container, attempt, log, out_fd, e);
}

int backend_logs(void *arg, const struct api_logs *l, int out_fd, struct err *e)
{
	struct pod *pod = backend_pod(arg, &l->pod, e);
	char name[PROTO_NAME_MAX + 1];
	bool vm;
	int r;

	if (!pod)
		return -ENOENT;
	r = pick(pod, l->container, name, sizeof(name), &vm, e);
	if (r == 0)
		r = container_logs(pod, l, name, out_fd, e);
	pod_unref(pod);
	return r;
}

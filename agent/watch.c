// SPDX-License-Identifier: Apache-2.0
/* Descriptors of pods in the event loop. They are added and removed on the
 * loop's own thread: whoever asks from a worker waits for it. */
#include <errno.h>
#include <stdlib.h>
#include <semaphore.h>

#include "agent/container/sandbox.h"
#include "agent/internal.h"
#include "agent/vm/vm.h"
#include "lib/err.h"
#include "lib/log.h"

struct pod_watch {
	struct pod *pod; /* borrowed: it outlives its watch */
	struct ev_io sandbox, death, vm;
	_Atomic bool vm_off; /* it was readable; nobody has looked yet */
};

struct call {
	void (*fn)(void *arg);
	void *arg;
	sem_t done;
};

static void do_call(void *arg)
{
	struct call *c = arg;

	c->fn(c->arg);
	sem_post(&c->done);
}

int loop_call(struct agent *a, void (*fn)(void *arg), void *arg)
{
	struct call c = { fn, arg, { { 0 } } };
	int r;

	if (pthread_equal(pthread_self(), a->loop_thread)) {
		fn(arg);
		return 0;
	}
	sem_init(&c.done, 0, 0);
	r = ev_post(a->loop, do_call, &c);
	while (r == 0 && sem_wait(&c.done) < 0 && errno == EINTR)
		;
	sem_destroy(&c.done);
	return r;
}

/* Events are hints: drain them, and have a worker look at the list. */
static void sandbox_ready(void *arg, uint32_t events)
{
	struct pod_watch *w = arg;
	struct sandbox_event ev;
	struct err e = { 0 };
	int r;

	(void)events;
	do {
		r = sandbox_next_event(w->pod->sandbox, &ev, &e);
	} while (r > 0);
	if (r == -ENOBUFS) {
		ev_io_del(&w->sandbox);
		r = ev_io_add(w->pod->agent->loop, &w->sandbox,
			      sandbox_fd(w->pod->sandbox), EPOLLIN,
			      sandbox_ready, w, &e);
	}
	if (r < 0)
		ev_io_del(&w->sandbox); /* the pidfd tells of its death */
	if (r < 0 && r != -EPIPE)
		log_warn("pod %s: events of its supervisor: %s", w->pod->key,
			 e.msg);
	pod_poke(w->pod);
}

static void sandbox_died(void *arg, uint32_t events)
{
	struct pod_watch *w = arg;

	(void)events;
	ev_io_del(&w->death);
	pod_poke(w->pod);
}

static void vm_ready(void *arg, uint32_t events)
{
	struct pod_watch *w = arg;

	(void)events;
	/* Level-triggered: off until the worker has looked. */
	ev_io_set(&w->vm, 0);
	atomic_store(&w->vm_off, true);
	pod_poke(w->pod);
}

struct add {
	struct pod *pod;
	struct err *e;
	int r;
};

static int watch_get(struct pod *pod)
{
	if (pod->watch)
		return 0;
	pod->watch = calloc(1, sizeof(*pod->watch));
	if (!pod->watch)
		return -ENOMEM;
	pod->watch->pod = pod;
	return 0;
}

static void add_sandbox(void *arg)
{
	struct add *a = arg;
	struct pod_watch *w = a->pod->watch;
	struct ev *loop = a->pod->agent->loop;

	a->r = ev_io_add(loop, &w->sandbox, sandbox_fd(a->pod->sandbox),
			 EPOLLIN, sandbox_ready, w, a->e);
	if (a->r == 0)
		a->r = ev_io_add(loop, &w->death,
				 sandbox_pidfd(a->pod->sandbox), EPOLLIN,
				 sandbox_died, w, a->e);
}

int watch_sandbox(struct pod *pod, struct err *e)
{
	struct add a = { pod, e, 0 };
	int r = watch_get(pod);

	if (r == 0)
		r = loop_call(pod->agent, add_sandbox, &a);
	return r < 0 ? err_wrap(e, r, "watch the supervisor") : a.r;
}

static void add_vm(void *arg)
{
	struct add *a = arg;
	struct pod_watch *w = a->pod->watch;

	ev_io_del(&w->vm);
	a->r = ev_io_add(a->pod->agent->loop, &w->vm, vm_fd(a->pod->vm),
			 EPOLLIN, vm_ready, w, a->e);
}

int watch_vm(struct pod *pod, struct err *e)
{
	struct add a = { pod, e, 0 };
	int r = watch_get(pod);

	if (r == 0)
		r = loop_call(pod->agent, add_vm, &a);
	return r < 0 ? err_wrap(e, r, "watch the VM") : a.r;
}

static void rearm_vm(void *arg)
{
	struct pod *pod = arg;

	if (pod->watch && pod->watch->vm.loop)
		ev_io_set(&pod->watch->vm, EPOLLIN);
}

void watch_rearm_vm(struct pod *pod)
{
	if (pod->vm && pod->watch &&
	    atomic_exchange(&pod->watch->vm_off, false))
		(void)loop_call(pod->agent, rearm_vm, pod);
}

static void close_vm(struct pod *pod)
{
	if (!pod->vm)
		return;
	pthread_rwlock_wrlock(&pod->handles);
	vm_free(take_ptr(pod->vm));
	pthread_rwlock_unlock(&pod->handles);
}

static void del_vm(void *arg)
{
	struct pod *pod = arg;

	ev_io_del(&pod->watch->vm);
}

void watch_stop_vm(struct pod *pod)
{
	if (!pod->vm)
		return;
	if (pod->watch)
		(void)loop_call(pod->agent, del_vm, pod);
	close_vm(pod);
}

static void del_all(void *arg)
{
	struct pod *pod = arg;

	ev_io_del(&pod->watch->sandbox);
	ev_io_del(&pod->watch->death);
	ev_io_del(&pod->watch->vm);
}

void watch_stop(struct pod *pod)
{
	if (!pod->watch)
		return;
	(void)loop_call(pod->agent, del_all, pod);
	close_vm(pod);
	free(take_ptr(pod->watch));
}

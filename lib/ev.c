// SPDX-License-Identifier: Apache-2.0
#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/auto.h"
#include "lib/err.h"
#include "lib/ev.h"

#define EV_BATCH 64 /* events fetched at once */

struct ev_call {
	struct ev_call *next;
	void (*fn)(void *arg);
	void *arg;
};

struct ev {
	int epfd;
	int wakefd; /* eventfd: something was posted, or stop */
	atomic_bool stop;
	uint64_t now_ms;

	/* The batch being served. Who removes a watcher clears its events. */
	struct epoll_event batch[EV_BATCH];
	int nr_batch;
	int at;

	struct ev_timer **heap; /* the earliest first */
	size_t nr_timers;
	size_t heap_size;

	struct ev_defer *deferred;

	pthread_mutex_t lock; /* of what follows */
	struct ev_call *calls;
	struct ev_call **calls_tail;
};

uint64_t ev_clock_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

uint64_t ev_now_ms(const struct ev *loop)
{
	return loop->now_ms;
}

int ev_new(struct ev **ret, struct err *e)
{
	struct epoll_event wake = { .events = EPOLLIN };
	struct ev *loop = calloc(1, sizeof(*loop));
	int r;

	if (!loop)
		return err_set(e, -ENOMEM, "out of memory");
	loop->calls_tail = &loop->calls;
	loop->now_ms = ev_clock_ms();
	pthread_mutex_init(&loop->lock, NULL);
	loop->wakefd = -EBADF;
	loop->epfd = epoll_create1(EPOLL_CLOEXEC);
	if (loop->epfd >= 0)
		loop->wakefd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (loop->wakefd < 0 ||
	    epoll_ctl(loop->epfd, EPOLL_CTL_ADD, loop->wakefd, &wake) < 0) {
		r = err_sys(e, "event loop");
		ev_free(loop);
		return r;
	}
	*ret = loop;
	return 0;
}

static void run_deferred(struct ev *loop)
{
	struct ev_defer *d = loop->deferred, *next;

	/* What they defer themselves is for the next batch. */
	loop->deferred = NULL;
	for (; d; d = next) {
		next = d->next; /* it may free itself */
		d->fn(d->arg);
	}
}

void ev_free(struct ev *loop)
{
	if (!loop)
		return;
	while (loop->deferred)
		run_deferred(loop);
	for (struct ev_call *c = loop->calls, *next; c; c = next) {
		next = c->next;
		free(c);
	}
	for (size_t i = 0; i < loop->nr_timers; i++)
		loop->heap[i]->loop = NULL;
	free(loop->heap);
	if (loop->wakefd >= 0)
		close(loop->wakefd);
	if (loop->epfd >= 0)
		close(loop->epfd);
	pthread_mutex_destroy(&loop->lock);
	free(loop);
}

/* --- timers: a binary heap ----------------------------------------------- */

static void heap_put(struct ev *loop, size_t place, struct ev_timer *t)
{
	loop->heap[place] = t;
	t->place = place;
}

static void heap_up(struct ev *loop, struct ev_timer *t)
{
	size_t at = t->place;

	while (at > 0) {
		size_t up = (at - 1) / 2;

		if (loop->heap[up]->due_ms <= t->due_ms)
			break;
		heap_put(loop, at, loop->heap[up]);
		at = up;
	}
	heap_put(loop, at, t);
}

static void heap_down(struct ev *loop, struct ev_timer *t)
{
	size_t at = t->place;

	for (;;) {
		size_t child = 2 * at + 1;

		if (child >= loop->nr_timers)
			break;
		if (child + 1 < loop->nr_timers &&
		    loop->heap[child + 1]->due_ms < loop->heap[child]->due_ms)
			child++;
		if (loop->heap[child]->due_ms >= t->due_ms)
			break;
		heap_put(loop, at, loop->heap[child]);
		at = child;
	}
	heap_put(loop, at, t);
}

int ev_timer_set(struct ev *loop, struct ev_timer *t, uint64_t ms,
		 void (*fn)(void *arg), void *arg)
{
	if (!t->loop && loop->nr_timers == loop->heap_size) {
		size_t size = loop->heap_size ? loop->heap_size * 2 : 16;
		struct ev_timer **heap;

		heap = reallocarray(loop->heap, size, sizeof(*heap));
		if (!heap)
			return -ENOMEM;
		loop->heap = heap;
		loop->heap_size = size;
	}
	if (__builtin_add_overflow(ev_clock_ms(), ms, &t->due_ms))
		t->due_ms = UINT64_MAX;
	t->fn = fn;
	t->arg = arg;
	if (!t->loop) {
		t->loop = loop;
		heap_put(loop, loop->nr_timers++, t);
	}
	heap_up(loop, t);
	heap_down(loop, t);
	return 0;
}

void ev_timer_del(struct ev_timer *t)
{
	struct ev *loop = t->loop;
	struct ev_timer *last;

	if (!loop)
		return;
	t->loop = NULL;
	last = loop->heap[--loop->nr_timers];
	if (last == t)
		return;
	heap_put(loop, t->place, last);
	heap_up(loop, last);
	heap_down(loop, last);
}

static int run_timers(struct ev *loop)
{
	/* Those due now: what a callback sets anew waits for the next batch. */
	uint64_t now = loop->now_ms;
	int nr = 0;

	while (loop->nr_timers && loop->heap[0]->due_ms <= now) {
		struct ev_timer *t = loop->heap[0];

		ev_timer_del(t);
		nr++;
		t->fn(t->arg);
	}
	return nr;
}

/* --- descriptors --------------------------------------------------------- */

int ev_io_add(struct ev *loop, struct ev_io *io, int fd, uint32_t events,
	      void (*fn)(void *arg, uint32_t events), void *arg, struct err *e)
{
	struct epoll_event ee = { .events = events, .data.ptr = io };

	assert(!io->loop);
	if (events && epoll_ctl(loop->epfd, EPOLL_CTL_ADD, fd, &ee) < 0)
		return err_sys(e, "watch descriptor %d", fd);
	*io = (struct ev_io){
		.loop = loop, .fd = fd, .events = events, .fn = fn, .arg = arg
	};
	return 0;
}

static void drop_pending(struct ev *loop, const struct ev_io *io)
{
	for (int i = loop->at; i < loop->nr_batch; i++)
		if (loop->batch[i].data.ptr == io)
			loop->batch[i].events = 0;
}

int ev_io_set(struct ev_io *io, uint32_t events)
{
	struct epoll_event ee = { .events = events, .data.ptr = io };
	int op = EPOLL_CTL_MOD;

	if (events == io->events && !(events & (EPOLLET | EPOLLONESHOT)))
		return 0;
	/* A peer that hangs up would be reported even with no events wanted,
	 * again and again: so not to want any is not to be there. */
	if (!events)
		op = EPOLL_CTL_DEL;
	else if (!io->events)
		op = EPOLL_CTL_ADD;
	if (epoll_ctl(io->loop->epfd, op, io->fd, &ee) < 0)
		return -errno;
	if (!events)
		drop_pending(io->loop, io);
	io->events = events;
	return 0;
}

void ev_io_del(struct ev_io *io)
{
	struct ev *loop = io->loop;

	if (!loop)
		return;
	io->loop = NULL;
	/* Fails when the descriptor was closed before: then it is gone, too. */
	if (io->events)
		(void)epoll_ctl(loop->epfd, EPOLL_CTL_DEL, io->fd, NULL);
	drop_pending(loop, io);
}

/* --- signals and children ------------------------------------------------ */

static void signal_ready(void *arg, uint32_t events)
{
	struct ev_signal *s = arg;
	struct signalfd_siginfo info;

	(void)events;
	if (read(s->io.fd, &info, sizeof(info)) == sizeof(info))
		s->fn(s->arg, s->signo);
}

int ev_signal_add(struct ev *loop, struct ev_signal *s, int signo,
		  void (*fn)(void *arg, int signo), void *arg, struct err *e)
{
	auto_close int fd = -EBADF;
	sigset_t set;
	int r;

	sigemptyset(&set);
	sigaddset(&set, signo);
	r = pthread_sigmask(SIG_BLOCK, &set, NULL);
	if (r)
		return err_set(e, -r, "block signal %d", signo);
	fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (fd < 0)
		return err_sys(e, "signalfd");
	s->signo = signo;
	s->fn = fn;
	s->arg = arg;
	r = ev_io_add(loop, &s->io, fd, EPOLLIN, signal_ready, s, e);
	if (r == 0)
		take_fd(&fd);
	return r;
}

void ev_signal_del(struct ev_signal *s)
{
	if (!s->io.loop)
		return;
	ev_io_del(&s->io);
	close(s->io.fd);
}

static void child_ended(void *arg, uint32_t events)
{
	struct ev_child *c = arg;
	int status;
	pid_t pid;

	(void)events;
	do {
		pid = waitpid(c->pid, &status, WNOHANG);
	} while (pid < 0 && errno == EINTR);
	if (pid == 0)
		return;
	if (pid < 0) /* somebody else has reaped it: the status is lost */
		status = W_EXITCODE(255, 0);
	ev_child_del(c);
	c->fn(c->arg, status);
}

int ev_child_add(struct ev *loop, struct ev_child *c, pid_t pid, int pidfd,
		 void (*fn)(void *arg, int status), void *arg, struct err *e)
{
	int fd = pidfd;
	int r;

	if (fd < 0)
		fd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (fd < 0)
		return err_sys(e, "watch process %d", (int)pid);
	c->pid = pid;
	c->owns_fd = pidfd < 0;
	c->fn = fn;
	c->arg = arg;
	r = ev_io_add(loop, &c->io, fd, EPOLLIN, child_ended, c, e);
	if (r < 0 && c->owns_fd)
		close(fd);
	return r;
}

void ev_child_del(struct ev_child *c)
{
	if (!c->io.loop)
		return;
	ev_io_del(&c->io);
	if (c->owns_fd)
		close(c->io.fd);
}

/* --- calls --------------------------------------------------------------- */

static void wake(struct ev *loop)
{
	uint64_t one = 1;

	/* EAGAIN: the counter is full, so the loop will wake anyway. */
	if (write(loop->wakefd, &one, sizeof(one)) < 0)
		return;
}

int ev_post(struct ev *loop, void (*fn)(void *arg), void *arg)
{
	struct ev_call *c = malloc(sizeof(*c));

	if (!c)
		return -ENOMEM;
	*c = (struct ev_call){ .fn = fn, .arg = arg };
	pthread_mutex_lock(&loop->lock);
	*loop->calls_tail = c;
	loop->calls_tail = &c->next;
	pthread_mutex_unlock(&loop->lock);
	wake(loop);
	return 0;
}

static int run_calls(struct ev *loop)
{
	struct ev_call *c;
	uint64_t n;
	int nr = 0;

	if (read(loop->wakefd, &n, sizeof(n)) < 0 && errno != EAGAIN)
		return 0;
	pthread_mutex_lock(&loop->lock);
	c = loop->calls;
	loop->calls = NULL;
	loop->calls_tail = &loop->calls;
	pthread_mutex_unlock(&loop->lock);
	while (c) {
		struct ev_call *next = c->next;

		c->fn(c->arg);
		free(c);
		c = next;
		nr++;
	}
	return nr;
}

void ev_defer(struct ev *loop, struct ev_defer *d, void (*fn)(void *arg),
	      void *arg)
{
	*d = (struct ev_defer){ .next = loop->deferred, .fn = fn, .arg = arg };
	loop->deferred = d;
}

void ev_stop(struct ev *loop)
{
	atomic_store(&loop->stop, true);
	wake(loop);
}

/* --- the loop ------------------------------------------------------------ */

static int wait_ms(const struct ev *loop, int timeout_ms)
{
	uint64_t now = ev_clock_ms(), due, ms;

	if (loop->deferred)
		return 0;
	if (!loop->nr_timers)
		return timeout_ms;
	due = loop->heap[0]->due_ms;
	ms = due > now ? due - now : 0;
	if (ms > INT32_MAX)
		ms = INT32_MAX;
	return timeout_ms < 0 || ms < (uint64_t)timeout_ms ? (int)ms
							   : timeout_ms;
}

int ev_step(struct ev *loop, int timeout_ms)
{
	int nr = 0, n;

	n = epoll_wait(loop->epfd, loop->batch, EV_BATCH,
		       wait_ms(loop, timeout_ms));
	if (n < 0 && errno != EINTR)
		return -errno;
	loop->now_ms = ev_clock_ms();
	loop->nr_batch = n < 0 ? 0 : n;
	for (loop->at = 0; loop->at < loop->nr_batch;) {
		struct epoll_event *ee = &loop->batch[loop->at++];
		struct ev_io *io = ee->data.ptr;

		if (!ee->events)
			continue;
		if (io) {
			io->fn(io->arg, ee->events);
			nr++;
		} else {
			nr += run_calls(loop);
		}
	}
	loop->nr_batch = 0;
	nr += run_timers(loop);
	run_deferred(loop);
	return nr;
}

int ev_run(struct ev *loop)
{
	while (!atomic_load(&loop->stop)) {
		int r = ev_step(loop, -1);

		if (r < 0)
			return r;
	}
	atomic_store(&loop->stop, false);
	return 0;
}

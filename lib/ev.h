/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An event loop of one thread: descriptors, timers, signals, children, and
 * calls posted from other threads.
 *
 *	struct ev *loop;
 *
 *	ev_new(&loop, e);
 *	ev_io_add(loop, &conn->io, fd, EPOLLIN, conn_ready, conn, e);
 *	ev_timer_set(loop, &conn->timer, 30 * 1000, conn_too_slow, conn);
 *	ev_run(loop);
 *	ev_free(loop);
 *
 * Watchers (struct ev_io, ev_timer, ...) are embedded in the caller's objects,
 * zeroed at first, and only touched through these functions. Once the function
 * that removes one has returned, its callback is not called again, not even for
 * an event that was already fetched: the object may be freed right away.
 *
 * Everything is to be called on the loop's thread, but ev_post() and ev_stop().
 */
#ifndef LIB_EV_H
#define LIB_EV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/types.h>

struct ev;
struct err;

int ev_new(struct ev **ret, struct err *e);
void ev_free(struct ev *loop); /* posted calls not yet made are dropped */

/* Serve until ev_stop(). 0, or -errno of epoll_wait(2). */
int ev_run(struct ev *loop);
/* Serve one batch, waiting for it at most @timeout_ms (-1: for ever). Returns
 * how many callbacks were called, or -errno. */
int ev_step(struct ev *loop, int timeout_ms);
void ev_stop(struct ev *loop); /* from any thread and from callbacks */

/* CLOCK_MONOTONIC, and the same as it was when the batch began. */
uint64_t ev_clock_ms(void);
uint64_t ev_now_ms(const struct ev *loop);

/* --- descriptors -------------------------------------------------------- */

struct ev_io {
	struct ev *loop; /* NULL while not added */
	int fd;          /* borrowed */
	uint32_t events; /* EPOLLIN, EPOLLOUT, EPOLLET, ... */
	void (*fn)(void *arg, uint32_t events);
	void *arg;
};

/* Watch @fd. Level-triggered unless EPOLLET. 0 or -errno of epoll_ctl(2). */
int ev_io_add(struct ev *loop, struct ev_io *io, int fd, uint32_t events,
	      void (*fn)(void *arg, uint32_t events), void *arg, struct err *e);
int ev_io_set(struct ev_io *io, uint32_t events); /* other events; 0 is none */
void ev_io_del(struct ev_io *io);                 /* fine when not added */

/* --- timers ------------------------------------------------------------- */

struct ev_timer {
	struct ev *loop; /* NULL while not running */
	uint64_t due_ms;
	size_t place; /* in the loop's heap */
	void (*fn)(void *arg);
	void *arg;
};

/* Call @fn once, @ms from now. Restarts one that is running. 0 or -ENOMEM. */
int ev_timer_set(struct ev *loop, struct ev_timer *t, uint64_t ms,
		 void (*fn)(void *arg), void *arg);
void ev_timer_del(struct ev_timer *t); /* fine when not running */

/* --- signals ------------------------------------------------------------ */

struct ev_signal {
	struct ev_io io;
	int signo;
	void (*fn)(void *arg, int signo);
	void *arg;
};

/* Handle a signal in the loop. Blocks it for the calling thread, so add before
 * threads are started: they inherit the mask. */
int ev_signal_add(struct ev *loop, struct ev_signal *s, int signo,
		  void (*fn)(void *arg, int signo), void *arg, struct err *e);
void ev_signal_del(struct ev_signal *s); /* the signal stays blocked */

/* --- children ----------------------------------------------------------- */

struct ev_child {
	struct ev_io io;
	pid_t pid;
	bool owns_fd;
	void (*fn)(void *arg, int status);
	void *arg;
};

/* Call @fn with the wait status when our child @pid ends, and reap it. Watches
 * @pidfd (borrowed until then), or, if that is negative, one of its own. */
int ev_child_add(struct ev *loop, struct ev_child *c, pid_t pid, int pidfd,
		 void (*fn)(void *arg, int status), void *arg, struct err *e);
void ev_child_del(struct ev_child *c); /* the child is not reaped then */

/* --- calls -------------------------------------------------------------- */

/* Have the loop call @fn, from any thread. Calls are made in the order they
 * were posted. 0 or -ENOMEM. */
int ev_post(struct ev *loop, void (*fn)(void *arg), void *arg);

/* Call @fn after the present batch of events (free what is still on the
 * stack). Called from such a call, it is after the next batch, which is not
 * waited for: so work goes on in pieces, and descriptors are looked at between
 * them. Cannot fail: @d is embedded in the object. */
struct ev_defer {
	struct ev_defer *next;
	void (*fn)(void *arg);
	void *arg;
};

void ev_defer(struct ev *loop, struct ev_defer *d, void (*fn)(void *arg),
	      void *arg);

#endif /* LIB_EV_H */

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A queue of keys with worker threads: the heart of every reconcile loop.
 *
 *	static void work(void *arg, const char *key)
 *	{
 *		if (reconcile(arg, key) < 0)
 *			wq_backoff(q, key);
 *		else
 *			wq_forget(q, key);
 *	}
 *	...
 *	wq_add(q, "acme/default/web");
 *
 * - A key added several times before its turn is worked on once.
 * - A key is never worked on by two workers at once; added during its work, it
 *   comes again afterwards.
 * - Tenants (what comes before the first '/') take turns, so one with a
 *thousand keys does not delay another's single one.
 * - wq_backoff() re-adds after base, 2*base, 4*base, ... max milliseconds,
 *until wq_forget().
 *
 * All functions may be called from any thread and from within the work.
 */
#ifndef LIB_WQ_H
#define LIB_WQ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct wq;
struct err;

struct wq_opts {
	void (*work)(void *arg, const char *key); /* key: borrowed */
	void *arg;
	unsigned workers; /* threads; 0: none, call wq_step() */
	const char *name; /* threads are called so; NULL: "arktos-wq" */
	uint32_t base_ms; /* first back-off; 0: 1000 */
	uint32_t max_ms;  /* longest back-off; 0: 300000 */
	/* The clock; NULL is CLOCK_MONOTONIC. Another one is for tests, without
	 * threads. */
	uint64_t (*now_ms)(void *arg);
};

int wq_new(const struct wq_opts *opts, struct wq **ret, struct err *e);

/* Take no further keys, let running work end (@drain: the keys that are due,
 * too), end the threads. */
void wq_stop(struct wq *q, bool drain);
void wq_free(struct wq *q); /* after wq_stop(); does it if not yet done */

/* Have @key worked on: now, after a while (the earliest wish wins), or after
 * its back-off. 0, -ENOMEM, or -ESHUTDOWN after wq_stop(). */
int wq_add(struct wq *q, const char *key);
int wq_add_after(struct wq *q, const char *key, uint64_t ms);
int wq_backoff(struct wq *q, const char *key);

/* The next back-off of @key starts at base again. */
void wq_forget(struct wq *q, const char *key);

/* How often @key was backed off since it was forgotten. */
unsigned wq_failures(struct wq *q, const char *key);

/* Work on one due key in the calling thread; false if none is due. */
bool wq_step(struct wq *q);
/* Milliseconds until something is due: 0 now, -1 never. */
int64_t wq_due_ms(struct wq *q);

struct wq_stats {
	size_t ready, delayed, running;
	uint64_t adds, works, backoffs;
	uint64_t running_ns, longest_ns; /* of what runs now: sum, most */
};

void wq_stats(struct wq *q, struct wq_stats *ret);

/* workqueue_*, as Kubernetes names them, of the queue @name. */
struct buf;
void wq_metrics(struct wq *q, const char *name, struct buf *b);

#endif /* LIB_WQ_H */

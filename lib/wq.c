// SPDX-License-Identifier: Apache-2.0
/*
 * One lock, held only to move keys about, never during the work.
 *
 * A key known to the queue is a struct item, in one of these places: in its
 * tenant's list (ready), in the heap of delayed ones, with a worker, or nowhere
 * but with failures to be remembered. Ready tenants form a ring.
 */
#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/buf.h"
#include "lib/err.h"
#include "lib/map.h"
#include "lib/prom.h"
#include "lib/str.h"
#include "lib/wq.h"

#define BASE_MS 1000
#define MAX_MS  300000

struct tenant {
	char *name;
	struct item *first, *last; /* ready keys */
	struct tenant *next;       /* in the ring */
	size_t nr_items;           /* known keys; the tenant lives as long */
};

struct item {
	char *key;
	struct tenant *tenant;
	struct item *next; /* in the tenant's list */
	bool ready, running, delayed;
	bool again;        /* was added while running */
	uint64_t again_ms; /* ... and is due then; 0: at once */
	uint64_t due_ms;   /* while delayed */
	size_t place;      /* in the heap, while delayed */
	unsigned failures;
	uint64_t since_ns; /* it is ready, or running */
	struct item *next_running, **link_running;
};

struct wq {
	struct wq_opts opts;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool stopping, drain;
	struct map items;    /* key -> struct item */
	struct map tenants;  /* name -> struct tenant */
	struct tenant *ring; /* the last one served; next is its turn */
	struct item **heap;
	size_t nr_delayed, heap_size;
	size_t nr_ready, nr_running;
	uint64_t adds, works, backoffs;
	struct item *running; /* under work */
	struct prom_histogram waited, worked;
	pthread_t *threads;
	unsigned nr_threads;
};

static uint64_t clock_now_ms(void *arg)
{
	struct timespec ts;

	(void)arg;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* For figures only: plans are made with now_ms(). */
static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

/* As Kubernetes' buckets, from a microsecond on. */
static const struct prom_bounds buckets = {
	.nr = 8,
	.unit = 1000000000,
	.v = { 1000, 10000, 100000, 1000000, 10000000, 100000000, 1000000000,
	       10000000000 },
};

static uint64_t now_ms(const struct wq *q)
{
	return q->opts.now_ms(q->opts.arg);
}

/* --- delayed keys: a heap ------------------------------------------------ */

static void heap_put(struct wq *q, size_t place, struct item *it)
{
	q->heap[place] = it;
	it->place = place;
}

static void heap_fix(struct wq *q, struct item *it)
{
	size_t at = it->place;

	while (at > 0 && q->heap[(at - 1) / 2]->due_ms > it->due_ms) {
		heap_put(q, at, q->heap[(at - 1) / 2]);
		at = (at - 1) / 2;
	}
	for (;;) {
		size_t child = 2 * at + 1;

		if (child >= q->nr_delayed)
			break;
		if (child + 1 < q->nr_delayed &&
		    q->heap[child + 1]->due_ms < q->heap[child]->due_ms)
			child++;
		if (q->heap[child]->due_ms >= it->due_ms)
			break;
		heap_put(q, at, q->heap[child]);
		at = child;
	}
	heap_put(q, at, it);
}

static void undelay(struct wq *q, struct item *it)
{
	struct item *last = q->heap[--q->nr_delayed];

	it->delayed = false;
	if (last == it)
		return;
	heap_put(q, it->place, last);
	heap_fix(q, last);
}

static int delay(struct wq *q, struct item *it, uint64_t due_ms)
{
	if (it->delayed) {
		if (due_ms < it->due_ms) {
			it->due_ms = due_ms;
			heap_fix(q, it);
		}
		return 0;
	}
	/* Room for every known key, so that undelay and delay cannot fail
	 * halfway. */
	if (q->nr_delayed == q->heap_size) {
		size_t size = q->heap_size ? q->heap_size * 2 : 16;
		struct item **heap;

		heap = reallocarray(q->heap, size, sizeof(*heap));
		if (!heap)
			return -ENOMEM;
		q->heap = heap;
		q->heap_size = size;
	}
	it->due_ms = due_ms;
	it->delayed = true;
	it->place = q->nr_delayed++;
	heap_fix(q, it);
	return 0;
}

/* --- ready keys: a list per tenant, tenants in a ring --------------------- */

static void ring_add(struct wq *q, struct tenant *t)
{
	if (!q->ring) {
		t->next = t;
		q->ring = t;
		return;
	}
	/* Behind the one last served is the next turn: go to the end. */
	t->next = q->ring->next;
	q->ring->next = t;
	q->ring = t;
}

static void make_ready(struct wq *q, struct item *it)
{
	struct tenant *t = it->tenant;

	it->ready = true;
	it->since_ns = now_ns();
	it->next = NULL;
	if (t->first) {
		t->last->next = it;
		t->last = it;
	} else {
		t->first = t->last = it;
		ring_add(q, t);
	}
	q->nr_ready++;
	pthread_cond_signal(&q->changed);
}

static struct item *next_ready(struct wq *q)
{
	struct tenant *t;
	struct item *it;

	if (!q->ring)
		return NULL;
	t = q->ring->next;
	it = t->first;
	t->first = it->next;
	if (t->first)
		q->ring = t; /* to the end of the ring */
	else if (t->next == t)
		q->ring = NULL;
	else
		q->ring->next = t->next;
	it->ready = false;
	q->nr_ready--;
	return it;
}

static void take_due(struct wq *q, uint64_t now)
{
	while (q->nr_delayed && q->heap[0]->due_ms <= now) {
		struct item *it = q->heap[0];

		undelay(q, it);
		make_ready(q, it);
	}
}

/* --- known keys ----------------------------------------------------------- */

static struct tenant *tenant_of(struct wq *q, const char *key)
{
	size_t len = strcspn(key, "/");
	struct tenant *t = map_get_n(&q->tenants, key, len);

	if (t)
		return t;
	t = calloc(1, sizeof(*t));
	if (!t)
		return NULL;
	t->name = strndup(key, len);
	if (!t->name || map_set(&q->tenants, t->name, t, NULL) < 0) {
		free(t->name);
		free(t);
		return NULL;
	}
	return t;
}

static void drop_tenant(struct wq *q, struct tenant *t)
{
	if (t->nr_items)
		return;
	map_del(&q->tenants, t->name);
	free(t->name);
	free(t);
}

static struct item *item_of(struct wq *q, const char *key)
{
	struct item *it = map_get(&q->items, key);

	if (it)
		return it;
	it = calloc(1, sizeof(*it));
	if (!it)
		return NULL;
	it->key = strdup(key);
	it->tenant = it->key ? tenant_of(q, key) : NULL;
	if (it->tenant && map_set(&q->items, key, it, NULL) == 0) {
		it->tenant->nr_items++;
		return it;
	}
	if (it->tenant)
		drop_tenant(q, it->tenant);
	free(it->key);
	free(it);
	return NULL;
}

static void free_item(struct wq *q, struct item *it)
{
	map_del(&q->items, it->key);
	it->tenant->nr_items--;
	drop_tenant(q, it->tenant);
	free(it->key);
	free(it);
}

static void forget_if_idle(struct wq *q, struct item *it)
{
	if (!it->ready && !it->running && !it->delayed && !it->failures)
		free_item(q, it);
}

/* Have the key worked on at @due_ms; 0 is at once. */
static int schedule(struct wq *q, struct item *it, uint64_t due_ms)
{
	int r;

	if (it->ready)
		return 0;
	if (it->running) {
		if (!it->again || due_ms < it->again_ms)
			it->again_ms = due_ms;
		it->again = true;
		return 0;
	}
	if (due_ms == 0) {
		if (it->delayed)
			undelay(q, it);
		make_ready(q, it);
		return 0;
	}
	r = delay(q, it, due_ms);
	if (r == 0)
		pthread_cond_signal(&q->changed); /* may be the earliest now */
	return r;
}

static int add_locked(struct wq *q, const char *key, bool backoff, uint64_t ms)
{
	struct item *it;
	uint64_t due = 0;
	int r;

	if (q->stopping)
		return -ESHUTDOWN;
	it = item_of(q, key);
	if (!it)
		return -ENOMEM;
	if (backoff) {
		ms = it->failures < 32
			     ? (uint64_t)q->opts.base_ms << it->failures
			     : q->opts.max_ms;
		if (ms > q->opts.max_ms)
			ms = q->opts.max_ms;
		if (it->failures < UINT32_MAX)
			it->failures++;
		q->backoffs++;
	}
	if (ms && __builtin_add_overflow(now_ms(q), ms, &due))
		due = UINT64_MAX;
	q->adds++;
	r = schedule(q, it, due);
	if (r < 0)
		forget_if_idle(q, it);
	return r;
}

static int add(struct wq *q, const char *key, bool backoff, uint64_t ms)
{
	int r;

	pthread_mutex_lock(&q->lock);
	r = add_locked(q, key, backoff, ms);
	pthread_mutex_unlock(&q->lock);
	return r;
}

int wq_add(struct wq *q, const char *key)
{
	return add(q, key, false, 0);
}

int wq_add_after(struct wq *q, const char *key, uint64_t ms)
{
	return add(q, key, false, ms);
}

int wq_backoff(struct wq *q, const char *key)
{
	return add(q, key, true, 0);
}

void wq_forget(struct wq *q, const char *key)
{
	struct item *it;

	pthread_mutex_lock(&q->lock);
	it = map_get(&q->items, key);
	if (it) {
		it->failures = 0;
		forget_if_idle(q, it);
	}
	pthread_mutex_unlock(&q->lock);
}

unsigned wq_failures(struct wq *q, const char *key)
{
	unsigned failures = 0;
	struct item *it;

	pthread_mutex_lock(&q->lock);
	it = map_get(&q->items, key);
	if (it)
		failures = it->failures;
	pthread_mutex_unlock(&q->lock);
	return failures;
}

/* --- working -------------------------------------------------------------- */

/* Work on @it. Called, and returns, with the lock held. */
static void work(struct wq *q, struct item *it)
{
	uint64_t now = now_ns();

	prom_observe(&q->waited, &buckets, now - it->since_ns);
	it->since_ns = now;
	it->running = true;
	it->next_running = q->running;
	it->link_running = &q->running;
	if (q->running)
		q->running->link_running = &it->next_running;
	q->running = it;
	q->nr_running++;
	q->works++;
	pthread_mutex_unlock(&q->lock);
	q->opts.work(q->opts.arg, it->key);
	pthread_mutex_lock(&q->lock);
	prom_observe(&q->worked, &buckets, now_ns() - it->since_ns);
	*it->link_running = it->next_running;
	if (it->next_running)
		it->next_running->link_running = it->link_running;
	q->nr_running--;
	it->running = false;
	if (it->again && !(q->stopping && !q->drain)) {
		it->again = false;
		/* Out of memory for the heap: at once is better than never. */
		if (schedule(q, it, it->again_ms) < 0)
			(void)schedule(q, it, 0);
	}
	forget_if_idle(q, it);
}

static void wait_changed(struct wq *q)
{
	uint64_t due;
	struct timespec ts;

	if (!q->nr_delayed || q->stopping) {
		pthread_cond_wait(&q->changed, &q->lock);
		return;
	}
	due = q->heap[0]->due_ms;
	ts.tv_sec = (time_t)(due / 1000);
	ts.tv_nsec = (long)(due % 1000) * 1000000;
	pthread_cond_timedwait(&q->changed, &q->lock, &ts);
}

static void *worker(void *arg)
{
	struct wq *q = arg;
	struct item *it;

	pthread_mutex_lock(&q->lock);
	for (;;) {
		if (q->stopping && !q->drain)
			break;
		take_due(q, now_ms(q));
		it = next_ready(q);
		if (it) {
			/* Pass the watch over what else there is on. */
			if (q->ring || q->nr_delayed)
				pthread_cond_signal(&q->changed);
			work(q, it);
		} else if (q->stopping && !q->nr_running)
			break; /* nobody left who may add again */
		else
			wait_changed(q);
	}
	pthread_cond_broadcast(&q->changed);
	pthread_mutex_unlock(&q->lock);
	return NULL;
}

bool wq_step(struct wq *q)
{
	struct item *it;

	pthread_mutex_lock(&q->lock);
	take_due(q, now_ms(q));
	it = next_ready(q);
	if (it)
		work(q, it);
	pthread_mutex_unlock(&q->lock);
	return it != NULL;
}

int64_t wq_due_ms(struct wq *q)
{
	int64_t ms = -1;
	uint64_t now;

	pthread_mutex_lock(&q->lock);
	now = now_ms(q);
	if (q->ring)
		ms = 0;
	else if (q->nr_delayed)
		ms = q->heap[0]->due_ms > now
			     ? (int64_t)(q->heap[0]->due_ms - now)
			     : 0;
	pthread_mutex_unlock(&q->lock);
	return ms;
}

void wq_stats(struct wq *q, struct wq_stats *ret)
{
	pthread_mutex_lock(&q->lock);
	*ret = (struct wq_stats){ .ready = q->nr_ready,
				  .delayed = q->nr_delayed,
				  .running = q->nr_running,
				  .adds = q->adds,
				  .works = q->works,
				  .backoffs = q->backoffs };
	for (struct item *it = q->running; it; it = it->next_running) {
		uint64_t ns = now_ns() - it->since_ns;

		ret->running_ns += ns;
		if (ns > ret->longest_ns)
			ret->longest_ns = ns;
	}
	pthread_mutex_unlock(&q->lock);
}

static void put_seconds(struct buf *b, const char *name, const char *labels,
			uint64_t ns)
{
	buf_printf(b, "%s{%s} %.9g\n", name, labels, (double)ns / 1e9);
}

void wq_metrics(struct wq *q, const char *name, struct buf *b)
{
	struct prom_sum waited = { .sum = 0 }, worked = { .sum = 0 };
	struct wq_stats st;
	char labels[80];

	wq_stats(q, &st);
	prom_collect(&waited, &q->waited);
	prom_collect(&worked, &q->worked);
	snprintf(labels, sizeof(labels), "name=\"%s\"", name);
	prom_head(b, "workqueue_depth", "gauge", "Current depth of workqueue");
	prom_put(b, "workqueue_depth", labels, st.ready);
	prom_head(b, "workqueue_adds_total", "counter",
		  "Total number of adds handled by workqueue");
	prom_put(b, "workqueue_adds_total", labels, st.adds);
	prom_head(b, "workqueue_retries_total", "counter",
		  "Total number of retries handled by workqueue");
	prom_put(b, "workqueue_retries_total", labels, st.backoffs);
	prom_head(b, "workqueue_queue_duration_seconds", "histogram",
		  "How long in seconds an item stays in workqueue before being "
		  "requested.");
	prom_put_histogram(b, "workqueue_queue_duration_seconds", labels,
			   &buckets, &waited);
	prom_head(b, "workqueue_work_duration_seconds", "histogram",
		  "How long in seconds processing an item from workqueue "
		  "takes.");
	prom_put_histogram(b, "workqueue_work_duration_seconds", labels,
			   &buckets, &worked);
	prom_head(b, "workqueue_unfinished_work_seconds", "gauge",
		  "How many seconds of work has been done that is in progress "
		  "and hasn't been observed by work_duration.");
	put_seconds(b, "workqueue_unfinished_work_seconds", labels,
		    st.running_ns);
	prom_head(b, "workqueue_longest_running_processor_seconds", "gauge",
		  "How many seconds has the longest running processor for "
		  "workqueue been running.");
	put_seconds(b, "workqueue_longest_running_processor_seconds", labels,
		    st.longest_ns);
}

/* --- beginning and end ---------------------------------------------------- */

/* Signals are the event loop's: workers block them all. */
static int start_threads(struct wq *q, struct err *e)
{
	sigset_t all, before;
	int r = 0;

	q->threads = calloc(q->opts.workers, sizeof(*q->threads));
	if (!q->threads)
		return err_set(e, -ENOMEM, "out of memory");
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	while (r == 0 && q->nr_threads < q->opts.workers) {
		r = pthread_create(&q->threads[q->nr_threads], NULL, worker, q);
		if (r)
			break;
		pthread_setname_np(q->threads[q->nr_threads++], q->opts.name);
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return r ? err_set(e, -r, "start worker thread: %s", strerror(r)) : 0;
}

int wq_new(const struct wq_opts *opts, struct wq **ret, struct err *e)
{
	struct wq *q = calloc(1, sizeof(*q));
	pthread_condattr_t attr;
	int r;

	assert(!opts->now_ms || !opts->workers);
	if (!q)
		return err_set(e, -ENOMEM, "out of memory");
	q->opts = *opts;
	if (!q->opts.now_ms)
		q->opts.now_ms = clock_now_ms;
	if (!q->opts.base_ms)
		q->opts.base_ms = BASE_MS;
	if (!q->opts.max_ms)
		q->opts.max_ms = MAX_MS;
	if (!q->opts.name)
		q->opts.name = "arktos-wq";
	pthread_mutex_init(&q->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&q->changed, &attr);
	pthread_condattr_destroy(&attr);
	r = q->opts.workers ? start_threads(q, e) : 0;
	if (r < 0) {
		wq_free(q);
		return r;
	}
	*ret = q;
	return 0;
}

void wq_stop(struct wq *q, bool drain)
{
	pthread_mutex_lock(&q->lock);
	q->stopping = true;
	q->drain = drain;
	pthread_cond_broadcast(&q->changed);
	pthread_mutex_unlock(&q->lock);
	for (unsigned i = 0; i < q->nr_threads; i++)
		pthread_join(q->threads[i], NULL);
	q->nr_threads = 0;
	while (drain && wq_step(q))
		;
}

void wq_free(struct wq *q)
{
	struct map_iter it = MAP_ITER_INIT;

	if (!q)
		return;
	wq_stop(q, false);
	while (map_next(&q->items, &it))
		free_item(q, it.value);
	map_clear(&q->items, NULL);
	map_clear(&q->tenants, NULL);
	free(q->heap);
	free(q->threads);
	pthread_cond_destroy(&q->changed);
	pthread_mutex_destroy(&q->lock);
	free(q);
}

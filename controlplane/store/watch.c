// SPDX-License-Identifier: Apache-2.0
/*
 * History and watchers. The history is a ring of the newest events. A watcher
 * is either live (the writer pushes references into its bounded queue) or
 * behind (it reads from the history itself); it starts behind, and falls
 * behind again when its queue is full. Either way memory is bounded, and no
 * event is skipped: @seen says up to where it has got.
 */
#include "controlplane/store/internal.h"

#define HISTORY_STEP 4096 /* events looked at per read while behind */

struct store_event *history_at(const struct history *h, size_t i)
{
	return &h->v[(h->head + i) & (h->size - 1)];
}

int history_add(struct history *h, struct store_event ev)
{
	if (h->nr == h->size) {
		size_t size = h->size ? h->size * 2 : 1024;
		struct store_event *v = calloc(size, sizeof(*v));

		if (!v)
			return -ENOMEM;
		for (size_t i = 0; i < h->nr; i++)
			v[i] = *history_at(h, i);
		free(h->v);
		h->v = v;
		h->size = size;
		h->head = 0;
	}
	h->nr++;
	*history_at(h, h->nr - 1) = ev;
	if (ev.prev)
		h->bytes += sizeof(*ev.prev) + ev.prev->len;
	if (ev.obj->deleted)
		h->bytes += sizeof(*ev.obj) + ev.obj->len;
	return 0;
}

void store_event_clear(struct store_event *ev)
{
	object_unref(ev->obj);
	object_unref(ev->prev);
	memset(ev, 0, sizeof(*ev));
}

void history_pop(struct history *h)
{
	struct store_event *ev = history_at(h, 0);

	if (ev->prev)
		h->bytes -= sizeof(*ev->prev) + ev->prev->len;
	if (ev->obj->deleted)
		h->bytes -= sizeof(*ev->obj) + ev->obj->len;
	store_event_clear(ev);
	h->head = (h->head + 1) & (h->size - 1);
	h->nr--;
}

void history_clear(struct history *h)
{
	while (h->nr)
		history_pop(h);
	free(h->v);
	memset(h, 0, sizeof(*h));
}

static uint32_t hash_step(uint32_t h, char c)
{
	return (h ^ (unsigned char)c) * 16777619u;
}

static uint32_t hash_of(const char *s)
{
	uint32_t h = 2166136261u;

	for (; *s; s++)
		h = hash_step(h, *s);
	return h;
}

static bool watches(const struct store_watch *w, const struct object_bytes *o)
{
	if (w->prefix_len && w->prefix[w->prefix_len - 1] != '/')
		return o->key_len == w->prefix_len &&
		       memcmp(o->key, w->prefix, w->prefix_len) == 0;
	return o->key_len >= w->prefix_len &&
	       memcmp(o->key, w->prefix, w->prefix_len) == 0;
}

static void wake(struct store_watch *w)
{
	if (!w->waiting)
		return;
	w->waiting = false;
	w->notify(w->arg);
}

static struct store_event *queued(const struct store_watch *w, unsigned int i)
{
	return &w->queue[(w->q_head + i) % w->q_size];
}

static void use_few(struct store_watch *w)
{
	if (w->queue != w->few)
		free(w->queue);
	w->queue = w->few;
	w->q_size = WATCH_FEW;
	w->q_head = 0;
}

/* Room for one more, or false. */
static bool make_room(struct store_watch *w)
{
	unsigned int size = w->q_size * 8;
	struct store_event *v;

	if (w->q_nr < w->q_size)
		return true;
	if (size > STORE_WATCH_REFS)
		size = STORE_WATCH_REFS;
	if (w->q_nr == size)
		return false;
	v = calloc(size, sizeof(*v));
	if (!v)
		return false;
	for (unsigned int i = 0; i < w->q_nr; i++)
		v[i] = *queued(w, i);
	use_few(w);
	w->queue = v;
	w->q_size = size;
	return true;
}

static void push_held(struct store_watch *w, const struct store_event *ev)
{
	struct store_event *slot;

	if (!w->live) {
		wake(w);
		return;
	}
	if (ev->obj->revision <= w->seen)
		return;
	if (!make_room(w)) {
		/* Behind: it reads on from the history after its queue. */
		w->live = false;
		wake(w);
		return;
	}
	slot = queued(w, w->q_nr++);
	slot->obj = object_ref(ev->obj);
	slot->prev = object_ref(ev->prev);
	w->seen = ev->obj->revision;
	wake(w);
}

static void push(struct store_watch *w, const struct store_event *ev)
{
	pthread_mutex_lock(&w->lock);
	push_held(w, ev);
	pthread_mutex_unlock(&w->lock);
}

static void push_topic(struct store *s, uint32_t hash, const char *key,
		       size_t len, const struct store_event *ev)
{
	struct store_watch *w = s->topics[hash % TOPICS];

	for (; w; w = w->next)
		if (w->prefix_len == len && memcmp(w->prefix, key, len) == 0)
			push(w, ev);
}

static void fan_out(struct store *s, const struct store_event *ev)
{
	const char *key = ev->obj->key;
	uint32_t h = 2166136261u;
	size_t i;

	push_topic(s, h, key, 0, ev);
	for (i = 0; key[i]; i++) {
		h = hash_step(h, key[i]);
		if (key[i] == '/')
			push_topic(s, h, key, i + 1, ev);
	}
	if (i && key[i - 1] != '/')
		push_topic(s, h, key, i, ev);
}

void watch_fan_out(struct store *s, size_t nr)
{
	pthread_mutex_lock(&s->hub);
	/* Only the writer changes the history: it may read it unlocked. */
	if (s->nr_watchers)
		for (size_t i = s->history.nr - nr; i < s->history.nr; i++)
			fan_out(s, history_at(&s->history, i));
	s->fanned = atomic_load(&s->revision);
	pthread_mutex_unlock(&s->hub);
}

void watch_cut_all(struct store *s)
{
	for (size_t i = 0; i < TOPICS; i++)
		for (struct store_watch *w = s->topics[i]; w; w = w->next) {
			pthread_mutex_lock(&w->lock);
			w->live = false;
			wake(w);
			pthread_mutex_unlock(&w->lock);
		}
}

static bool is_partial(struct store *s, const struct store_watch *w, bool late)
{
	uint64_t floor = 0;

	return s->backend->ops->whole &&
	       (s->backend->ops->whole(s->backend, w->prefix, &floor, NULL) <
			0 ||
		(late && floor && floor >= w->seen));
}

void watch_cut_partial(struct store *s, bool late)
{
	for (size_t i = 0; i < TOPICS; i++)
		for (struct store_watch *w = s->topics[i]; w; w = w->next) {
			pthread_mutex_lock(&w->lock);
			if (is_partial(s, w, late)) {
				w->live = false;
				w->stale = true;
				wake(w);
			}
			pthread_mutex_unlock(&w->lock);
		}
}

void store_watch_again(struct store_watch *w)
{
	struct store *s = w->s;

	pthread_mutex_lock(&s->hub);
	pthread_mutex_lock(&w->lock);
	for (unsigned int i = 0; i < w->q_nr; i++)
		store_event_clear(queued(w, i));
	w->q_nr = 0;
	use_few(w);
	pthread_rwlock_rdlock(&s->lock);
	w->seen = atomic_load(&s->revision);
	pthread_rwlock_unlock(&s->lock);
	w->stale = false;
	w->live = false;
	w->waiting = true; /* what comes from now on is told */
	pthread_mutex_unlock(&w->lock);
	pthread_mutex_unlock(&s->hub);
}

int store_watch_open(struct store *s, const char *prefix, uint64_t revision,
		     void (*notify)(void *arg), void *arg,
		     struct store_watch **ret, struct err *e)
{
	size_t len = strlen(prefix);
	struct store_watch *w, **head;
	uint64_t newest, compacted, floor;
	int r = 0;

	if (len >= STORE_KEY_MAX)
		return err_set(e, -EINVAL, "watch: prefix of %zu bytes", len);
	w = calloc(1, sizeof(*w) + len + 1);
	if (!w)
		return err_set(e, -ENOMEM, "watch: out of memory");
	w->s = s;
	pthread_mutex_init(&w->lock, NULL);
	use_few(w);
	w->notify = notify;
	w->arg = arg;
	w->prefix_len = len;
	memcpy(w->prefix, prefix, len + 1);

	pthread_mutex_lock(&s->hub);
	pthread_rwlock_rdlock(&s->lock);
	newest = atomic_load(&s->revision);
	compacted = revision ? store_oldest(s, prefix) : 0;
	pthread_rwlock_unlock(&s->lock);
	w->seen = revision ? revision : newest;
	/* Under the hub: what is lost from now on cuts it. */
	if (revision && s->backend->ops->whole)
		r = s->backend->ops->whole(s->backend, prefix, &floor, e);
	if (r < 0) {
		pthread_mutex_unlock(&s->hub);
		free(w);
		return r;
	}
	if (w->seen < compacted || w->seen > newest) {
		pthread_mutex_unlock(&s->hub);
		free(w);
		if (revision < compacted)
			return err_set(e, -ESTALE,
				       "too old resource version: %llu (%llu)",
				       (unsigned long long)revision,
				       (unsigned long long)compacted);
		return err_set(e, -ERANGE,
			       "Too large resource version: %llu, current: %llu",
			       (unsigned long long)revision,
			       (unsigned long long)newest);
	}
	head = &s->topics[hash_of(prefix) % TOPICS];
	w->next = *head;
	w->link = head;
	if (w->next)
		w->next->link = &w->next;
	*head = w;
	s->nr_watchers++;
	pthread_mutex_unlock(&s->hub);
	*ret = w;
	return 0;
}

void store_watch_close(struct store_watch *w)
{
	if (!w)
		return;
	pthread_mutex_lock(&w->s->hub);
	*w->link = w->next;
	if (w->next)
		w->next->link = w->link;
	w->s->nr_watchers--;
	pthread_mutex_unlock(&w->s->hub);
	for (unsigned int i = 0; i < w->q_nr; i++)
		store_event_clear(queued(w, i));
	use_few(w);
	pthread_mutex_destroy(&w->lock);
	free(w);
}

/* The index in the history of the first event newer than @revision. */
static size_t history_after(const struct history *h, uint64_t revision)
{
	size_t lo = 0, hi = h->nr;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (history_at(h, mid)->obj->revision <= revision)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

/* Read on from the history; go live at its end. Hub and watch held. */
static int read_history(struct store_watch *w, struct store_event *ev, int max)
{
	struct store *s = w->s;
	size_t i, looked = 0;
	int nr = 0;

	pthread_rwlock_rdlock(&s->lock);
	if (w->seen < s->compacted || w->stale) {
		pthread_rwlock_unlock(&s->lock);
		w->stale = true;
		return -ESTALE;
	}
	for (i = history_after(&s->history, w->seen);
	     i < s->history.nr && nr < max && looked < HISTORY_STEP;
	     i++, looked++) {
		struct store_event *at = history_at(&s->history, i);

		w->seen = at->obj->revision;
		if (!watches(w, at->obj))
			continue;
		ev[nr].obj = object_ref(at->obj);
		ev[nr++].prev = object_ref(at->prev);
	}
	if (i == s->history.nr) {
		w->live = true;
		w->seen = atomic_load(&s->revision);
	}
	pthread_rwlock_unlock(&s->lock);
	return nr;
}

/* -EAGAIN: a part of the history was looked at, and nothing was found yet. */
static int read_once(struct store_watch *w, struct store_event *ev, int max)
{
	int nr = 0;

	while (w->q_nr && nr < max) {
		ev[nr++] = *queued(w, 0);
		w->q_head = (w->q_head + 1) % w->q_size;
		w->q_nr--;
	}
	/* An idle watcher keeps no queue. */
	if (!w->q_nr)
		use_few(w);
	if (!nr && !w->live && !w->stale) {
		nr = read_history(w, ev, max);
		if (!nr && !w->live)
			return -EAGAIN;
	}
	if (nr <= 0 && w->stale)
		return -ESTALE;
	w->waiting = !nr || (w->live && !w->q_nr);
	return nr;
}

int store_watch_step(struct store_watch *w, struct store_event *ev, int max,
		     bool *ret_waits)
{
	bool hub;
	int nr;

	pthread_mutex_lock(&w->lock);
	hub = !w->q_nr && !w->live;
	if (hub) {
		/* From the history: not while it is put together anew. */
		pthread_mutex_unlock(&w->lock);
		pthread_mutex_lock(&w->s->hub);
		pthread_mutex_lock(&w->lock);
	}
	nr = read_once(w, ev, max);
	*ret_waits = w->waiting;
	pthread_mutex_unlock(&w->lock);
	if (hub)
		pthread_mutex_unlock(&w->s->hub);
	return nr;
}

int store_watch_read(struct store_watch *w, struct store_event *ev, int max)
{
	bool waits;
	int nr;

	/* Others get in between two steps. */
	while ((nr = store_watch_step(w, ev, max, &waits)) == -EAGAIN)
		;
	return nr;
}

uint64_t store_watch_progress(struct store_watch *w)
{
	uint64_t revision = 0;

	pthread_mutex_lock(&w->s->hub);
	pthread_mutex_lock(&w->lock);
	if (w->live && !w->q_nr)
		revision = w->seen > w->s->fanned ? w->seen : w->s->fanned;
	pthread_mutex_unlock(&w->lock);
	pthread_mutex_unlock(&w->s->hub);
	return revision;
}

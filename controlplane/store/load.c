// SPDX-License-Identifier: Apache-2.0
/* Versions that are durable already enter memory: all of them at the start, and
 * later what other processes commit to a shared back end. */
#include "controlplane/store/internal.h"

static void drop(struct store *s, struct object_bytes *o)
{
	while (o) {
		struct object_bytes *older = o->older;

		if (s->backend->ops->dead)
			s->backend->ops->dead(s->backend, o);
		object_unref(o);
		o = older;
	}
}

/* Enter @o as its key's newest version. Returns the event it is. */
static int enter(struct store *s, struct object_bytes *o,
		 struct store_event *ret)
{
	struct entry *en = index_find_or_add(&s->index, o->key, o->key_len);

	if (!en) {
		object_unref(o);
		return -ENOMEM;
	}
	ret->obj = o;
	ret->prev = en->head && !en->head->deleted ? en->head : NULL;
	o->older = en->head;
	en->head = o;
	return 0;
}

static void count_live(struct store *s, const struct store_event *ev)
{
	if (ev->prev) {
		s->live_objects--;
		s->live_bytes -= ev->prev->len;
	}
	if (!ev->obj->deleted) {
		s->live_objects++;
		s->live_bytes += ev->obj->len;
	}
}

/* One record at the start, oldest first. */
static int load_record(void *arg, struct object_bytes *o)
{
	struct store *s = arg;
	struct store_event ev;
	int r;

	o = share_object(s->shares, o);
	r = enter(s, o, &ev);
	if (r < 0)
		return r;
	count_live(s, &ev);
	if (s->backend->ops->seen)
		s->backend->ops->seen(s->backend, o);
	if (o->revision > s->compacted)
		return history_add(&s->history,
				   (struct store_event){ object_ref(ev.obj),
							 object_ref(ev.prev) });
	/* What it replaced has been compacted away; a back end that deletes
	 * lazily may still have it. */
	drop(s, o->older);
	o->older = NULL;
	if (o->deleted) {
		index_find(&s->index, o->key)->head = NULL;
		index_del(&s->index, o->key);
		drop(s, o);
	}
	return 0;
}

static int load_ttl(struct store *s)
{
	for (struct entry *en = s->index.first[0]; en; en = entry_next(en)) {
		if (!en->head->expires_ms)
			continue;
		if (ttl_reserve(s, 1))
			return -ENOMEM;
		ttl_update(s, en);
	}
	return 0;
}

int store_load(struct store *s, struct err *e)
{
	uint64_t revision = 0, was = atomic_load(&s->revision);
	int r;

	r = s->backend->ops->load(s->backend, load_record, s, &revision,
				  &s->compacted, e);
	if (r == 0 && load_ttl(s))
		r = err_set(e, -ENOMEM, "store: out of memory");
	if (r < 0)
		return r;
	if (revision < was)
		return err_set(e, -EIO,
			       "the store went back from revision %llu to "
			       "%llu: its data was lost or restored; restart "
			       "to accept that",
			       (unsigned long long)was,
			       (unsigned long long)revision);
	/* Revision 0 means "none" to clients: the first change is 2. */
	atomic_store(&s->revision, revision ? revision : 1);
	s->fanned = atomic_load(&s->revision);
	return 0;
}

/* --- following others --- */

struct news {
	struct share_table *shares;
	struct object_bytes **v;
	size_t nr, size;
};

static int take_news(void *arg, struct object_bytes *o)
{
	struct news *n = arg;

	if (n->nr == n->size) {
		size_t size = n->size ? n->size * 2 : 64;
		struct object_bytes **v;

		v = realloc(n->v, size * sizeof(struct object_bytes *));
		if (!v) {
			object_unref(o);
			return -ENOMEM;
		}
		n->v = v;
		n->size = size;
	}
	n->v[n->nr++] = share_object(n->shares, o);
	return 0;
}

static int publish_news(struct store *s, struct news *n, uint64_t revision,
			struct err *e)
{
	int r = history_reserve(s, n->nr);
	size_t i = 0;

	pthread_rwlock_wrlock(&s->lock);
	if (r == 0)
		r = ttl_reserve(s, n->nr);
	for (; r == 0 && i < n->nr; i++) {
		struct store_event ev;

		r = enter(s, n->v[i], &ev);
		if (r < 0)
			continue;
		if (s->backend->ops->seen)
			s->backend->ops->seen(s->backend, ev.obj);
		store_count_event(s, &ev);
		object_ref(ev.obj);
		object_ref(ev.prev);
		(void)history_add(&s->history, ev);
		atomic_store(&s->revision, ev.obj->revision);
	}
	if (r == 0)
		atomic_store(&s->revision, revision);
	pthread_rwlock_unlock(&s->lock);
	if (i)
		watch_fan_out(s, i);
	for (; i < n->nr; i++)
		object_unref(n->v[i]);
	return r < 0 ? err_set(e, r, "store: out of memory") : 0;
}

struct memory {
	struct index index;
	struct history history;
	struct heap ttl;
	uint64_t live_bytes, compacted;
	size_t live_objects;
};

static struct memory take_memory(struct store *s)
{
	struct memory m = { s->index,      s->history,   s->ttl,
			    s->live_bytes, s->compacted, s->live_objects };

	memset(&s->index, 0, sizeof(s->index));
	memset(&s->history, 0, sizeof(s->history));
	s->ttl = (struct heap){ .moved = ttl_moved };
	s->live_bytes = 0;
	s->live_objects = 0;
	return m;
}

static void put_memory(struct store *s, const struct memory *m)
{
	s->index = m->index;
	s->history = m->history;
	s->ttl = m->ttl;
	s->live_bytes = m->live_bytes;
	s->compacted = m->compacted;
	s->live_objects = m->live_objects;
}

static void free_memory(struct memory *m)
{
	history_clear(&m->history);
	index_clear(&m->index);
	heap_clear(&m->ttl);
}

/* Too far behind: start again, as far as the history reaches. When that fails,
 * memory stays as it was, and the next change has to begin with this. */
static int reload(struct store *s, struct err *e)
{
	struct memory old;
	int r;

	pthread_mutex_lock(&s->hub);
	pthread_rwlock_wrlock(&s->lock);
	old = take_memory(s);
	r = store_load(s, e);
	if (r < 0) {
		struct memory half = take_memory(s);

		free_memory(&half);
		put_memory(s, &old);
	} else {
		free_memory(&old);
		late_clear(s); /* told while it was loaded */
		watch_cut_all(s);
	}
	pthread_rwlock_unlock(&s->lock);
	pthread_mutex_unlock(&s->hub);
	return r;
}

int store_follow(struct store *s, bool force, struct err *e)
{
	struct store_backend *be = s->backend;
	uint64_t revision = atomic_load(&s->revision);
	struct news n = { .shares = s->shares };
	int r;

	if (!be->ops->tail)
		return 0;
	r = be->ops->tail(be, revision, force, take_news, &n, &revision, e);
	if (r == -ESTALE) {
		for (size_t i = 0; i < n.nr; i++)
			object_unref(n.v[i]);
		n.nr = 0;
		r = reload(s, e);
	}
	/* Before anybody sees what is newer than what is missing. */
	if (be->ops->lost && be->ops->lost(be)) {
		pthread_mutex_lock(&s->hub);
		watch_cut_partial(s, false);
		pthread_mutex_unlock(&s->hub);
	}
	if (r == 0 && (n.nr || revision > atomic_load(&s->revision))) {
		r = publish_news(s, &n, revision, e);
		n.nr = 0;
	}
	for (size_t i = 0; i < n.nr; i++)
		object_unref(n.v[i]);
	free(n.v);
	return r;
}

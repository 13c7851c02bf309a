// SPDX-License-Identifier: Apache-2.0
/*
 * A cluster that was not there when the others were read: its newest versions
 * enter memory afterwards. Snapshots from before then are not whole, and who
 * watched from before is told to start again.
 */
#include "controlplane/store/internal.h"

struct arrived {
	struct share_table *shares;
	struct object_bytes **v; /* the newest of each key, by key */
	size_t nr, size;
};

static int take(void *arg, struct object_bytes *o)
{
	struct arrived *a = arg;

	if (a->nr == a->size) {
		size_t size = a->size ? a->size * 2 : 256;
		struct object_bytes **v;

		v = realloc(a->v, size * sizeof(struct object_bytes *));
		if (!v) {
			object_unref(o);
			return -ENOMEM;
		}
		a->v = v;
		a->size = size;
	}
	a->v[a->nr++] = share_object(a->shares, o);
	return 0;
}

static int by_key(const void *x, const void *y)
{
	const struct object_bytes *a = *(struct object_bytes *const *)x;
	const struct object_bytes *b = *(struct object_bytes *const *)y;
	int order = strcmp(a->key, b->key);

	return order ? order
		     : (a->revision > b->revision) -
			       (a->revision < b->revision);
}

/* What was replaced, and what was deleted, nobody can ask for here. */
static void keep_newest(struct store *s, struct arrived *a)
{
	size_t nr = 0;

	if (a->nr)
		qsort(a->v, a->nr, sizeof(struct object_bytes *), by_key);
	for (size_t i = 0; i < a->nr; i++) {
		bool last = i + 1 == a->nr ||
			    strcmp(a->v[i]->key, a->v[i + 1]->key) != 0;

		if (last && !a->v[i]->deleted) {
			a->v[nr++] = a->v[i];
			continue;
		}
		late_add(s, a->v[i], a->v[i + !last]->revision);
		object_unref(a->v[i]);
	}
	a->nr = nr;
}

static bool has(const struct arrived *a, const char *key)
{
	size_t lo = 0, hi = a->nr;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;
		int order = strcmp(a->v[mid]->key, key);

		if (order == 0)
			return true;
		if (order < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return false;
}

static void drop_versions(struct object_bytes *o)
{
	while (o) {
		struct object_bytes *older = o->older;

		object_unref(o);
		o = older;
	}
}

static void uncount(struct store *s, const struct object_bytes *o)
{
	if (!o || o->deleted)
		return;
	s->live_objects--;
	s->live_bytes -= o->len;
}

/* What memory has of that cluster from before and is there no more. */
static void drop_gone(struct store *s, int id, const struct arrived *a)
{
	struct entry *en, *next;

	for (en = s->index.first[0]; en; en = next) {
		struct object_bytes *o = en->head;

		next = entry_next(en);
		if (s->backend->ops->place(s->backend, en->key) != id ||
		    has(a, en->key))
			continue;
		uncount(s, o);
		en->head = NULL;
		ttl_update(s, en);
		index_del(&s->index, en->key);
		drop_versions(o);
	}
}

static int enter(struct store *s, struct object_bytes *o)
{
	struct entry *en = index_find_or_add(&s->index, o->key, o->key_len);
	struct object_bytes *old;

	if (!en)
		return -ENOMEM;
	old = en->head;
	if (old && old->revision > o->revision)
		late_add(s, o, old->revision);
	if (old && old->revision >= o->revision)
		return 0;
	uncount(s, old);
	s->live_objects++;
	s->live_bytes += o->len;
	en->head = object_ref(o);
	if (o->expires_ms || en->ttl_slot)
		ttl_update(s, en);
	drop_versions(old);
	return 0;
}

static int enter_all(struct store *s, int id, const struct arrived *a)
{
	int r;

	pthread_mutex_lock(&s->hub);
	pthread_rwlock_wrlock(&s->lock);
	drop_gone(s, id, a);
	r = ttl_reserve(s, a->nr);
	for (size_t i = 0; i < a->nr && r == 0; i++)
		r = enter(s, a->v[i]);
	if (r == 0) {
		s->backend->ops->attached(s->backend, id,
					  atomic_load(&s->revision));
		watch_cut_partial(s, true);
	}
	pthread_rwlock_unlock(&s->lock);
	pthread_mutex_unlock(&s->hub);
	return r;
}

void store_attach(struct store *s)
{
	struct store_backend *be = s->backend;
	int id = 0, r;

	if (!be->ops->attach)
		return;
	do {
		struct arrived a = { .shares = s->shares };

		r = be->ops->attach(be, take, &a, &id, NULL);
		if (r == 1) {
			keep_newest(s, &a);
			r = enter_all(s, id, &a) < 0 ? -ENOMEM : 1;
		}
		for (size_t i = 0; i < a.nr; i++)
			object_unref(a.v[i]);
		free(a.v);
		/* What waited for it can be done now. */
		if (r == 1 && be->wake)
			be->wake(be->wake_arg);
	} while (r == 1);
}

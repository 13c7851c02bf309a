// SPDX-License-Identifier: Apache-2.0
/* History goes: when it is asked to, when it is old, when it takes room. */
#include "controlplane/store/internal.h"

static uint64_t bytes_of(const struct object_bytes *o)
{
	return sizeof(*o) + o->len;
}

size_t compaction_plan(struct store *s, uint64_t asked,
		       struct object_bytes **dead, size_t *nr_dead, size_t max,
		       uint64_t *ret_compacted)
{
	uint64_t room = s->live_bytes;
	uint64_t old = now_ms() - (uint64_t)s->history_s * 1000;
	uint64_t bytes = s->history.bytes;
	uint64_t last = pin_oldest(s);
	size_t pops = 0;

	if (room < s->history_min)
		room = s->history_min;
	*ret_compacted = s->compacted;
	while (pops < s->history.nr && *nr_dead + 2 < max) {
		const struct store_event *ev = history_at(&s->history, pops);
		struct object_bytes *o = ev->obj;

		if (o->revision > last ||
		    (o->revision > asked && bytes <= room &&
		     o->stored_ms >= old))
			break;
		if (ev->prev) {
			dead[(*nr_dead)++] = ev->prev;
			bytes -= bytes_of(ev->prev);
		}
		if (o->deleted) {
			dead[(*nr_dead)++] = o;
			bytes -= bytes_of(o);
		}
		if (o->revision > *ret_compacted)
			*ret_compacted = o->revision;
		pops++;
	}
	/* Being looked at costs nothing on the disk; only a change does. */
	if (asked > last)
		asked = last;
	if (!*nr_dead && *ret_compacted < asked)
		*ret_compacted = asked;
	return pops;
}

void history_forget(struct store *s, const struct store_event *ev)
{
	struct entry *en = index_find(&s->index, ev->obj->key);
	struct object_bytes *o, *older;

	if (!en)
		return;
	for (o = en->head; o && o != ev->obj; o = o->older)
		;
	if (!o)
		return;
	older = o->older;
	o->older = NULL;
	while (older) {
		struct object_bytes *next = older->older;

		object_unref(older);
		older = next;
	}
	if (o->deleted && en->head == o) {
		en->head = NULL;
		index_del(&s->index, en->key);
		object_unref(o);
	}
}

int history_reserve(struct store *s, size_t nr)
{
	struct history *h = &s->history;
	struct store_event *v;
	size_t size = h->size ? h->size : 1024;

	while (size < h->nr + nr)
		size *= 2;
	if (size == h->size)
		return 0;
	v = calloc(size, sizeof(*v));
	if (!v)
		return -ENOMEM;
	for (size_t i = 0; i < h->nr; i++)
		v[i] = *history_at(h, i);
	pthread_rwlock_wrlock(&s->lock);
	free(h->v);
	h->v = v;
	h->size = size;
	h->head = 0;
	pthread_rwlock_unlock(&s->lock);
	return 0;
}

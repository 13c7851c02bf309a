// SPDX-License-Identifier: Apache-2.0
/*
 * Objects with an end. A heap of entries, ordered by the end of what is visible
 * now; each entry knows its place, so an object that is written again and again
 * has one place only.
 */
#include "controlplane/store/internal.h"

static void place(struct store *s, size_t i, struct ttl t)
{
	s->ttl[i] = t;
	t.entry->ttl_slot = i + 1;
}

static void sift_up(struct store *s, size_t i)
{
	struct ttl t = s->ttl[i];

	for (; i && s->ttl[(i - 1) / 2].expires_ms > t.expires_ms;
	     i = (i - 1) / 2)
		place(s, i, s->ttl[(i - 1) / 2]);
	place(s, i, t);
}

static void sift_down(struct store *s, size_t i)
{
	struct ttl t = s->ttl[i];

	for (;;) {
		size_t child = 2 * i + 1;

		if (child + 1 < s->nr_ttl &&
		    s->ttl[child + 1].expires_ms < s->ttl[child].expires_ms)
			child++;
		if (child >= s->nr_ttl ||
		    s->ttl[child].expires_ms >= t.expires_ms)
			break;
		place(s, i, s->ttl[child]);
		i = child;
	}
	place(s, i, t);
}

static void take_out(struct store *s, size_t i)
{
	struct ttl last = s->ttl[--s->nr_ttl];

	s->ttl[i].entry->ttl_slot = 0;
	if (i == s->nr_ttl)
		return;
	place(s, i, last);
	sift_up(s, i);
	sift_down(s, last.entry->ttl_slot - 1);
}

int ttl_reserve(struct store *s, size_t nr)
{
	size_t size = s->ttl_size ? s->ttl_size : 64;
	struct ttl *v;

	while (size < s->nr_ttl + nr)
		size *= 2;
	if (size == s->ttl_size)
		return 0;
	v = realloc(s->ttl, size * sizeof(*v));
	if (!v)
		return -ENOMEM;
	s->ttl = v;
	s->ttl_size = size;
	return 0;
}

void ttl_update(struct store *s, struct entry *en)
{
	struct object_bytes *o = en->head;
	uint64_t end = o && !o->deleted ? o->expires_ms : 0;
	size_t i;

	if (en->ttl_slot && !end) {
		take_out(s, en->ttl_slot - 1);
	} else if (en->ttl_slot) {
		i = en->ttl_slot - 1;
		s->ttl[i].expires_ms = end;
		sift_up(s, i);
		sift_down(s, en->ttl_slot - 1);
	} else if (end) {
		i = s->nr_ttl++;
		place(s, i, (struct ttl){ end, en });
		sift_up(s, i);
	}
}

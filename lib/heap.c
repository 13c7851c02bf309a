// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <stdlib.h>

#include "lib/heap.h"

static void put(struct heap *h, size_t place, struct heap_item it)
{
	h->v[place] = it;
	if (h->moved)
		h->moved(it.p, place);
}

/* @it belongs at @place, or nearer to the front. Returns where it is. */
static size_t up(struct heap *h, size_t place, struct heap_item it)
{
	for (; place && h->v[(place - 1) / 2].at > it.at;
	     place = (place - 1) / 2)
		put(h, place, h->v[(place - 1) / 2]);
	put(h, place, it);
	return place;
}

static void down(struct heap *h, size_t place)
{
	struct heap_item it = h->v[place];

	for (;;) {
		size_t child = 2 * place + 1;

		if (child + 1 < h->nr && h->v[child + 1].at < h->v[child].at)
			child++;
		if (child >= h->nr || h->v[child].at >= it.at)
			break;
		put(h, place, h->v[child]);
		place = child;
	}
	put(h, place, it);
}

int heap_reserve(struct heap *h, size_t more)
{
	size_t size = h->size ? h->size : 64;
	struct heap_item *v;

	while (size < h->nr + more)
		size *= 2;
	if (size == h->size)
		return 0;
	v = realloc(h->v, size * sizeof(*v));
	if (!v)
		return -ENOMEM;
	h->v = v;
	h->size = size;
	return 0;
}

void heap_push(struct heap *h, uint64_t at, void *p)
{
	(void)up(h, h->nr++, (struct heap_item){ at, p });
}

void heap_set(struct heap *h, size_t place, uint64_t at)
{
	struct heap_item it = { at, h->v[place].p };

	down(h, up(h, place, it));
}

void *heap_take(struct heap *h, size_t place)
{
	void *p = h->v[place].p;
	struct heap_item last = h->v[--h->nr];

	if (h->moved)
		h->moved(p, HEAP_NOWHERE);
	if (place < h->nr)
		down(h, up(h, place, last));
	return p;
}

void heap_clear(struct heap *h)
{
	free(h->v);
	h->v = NULL;
	h->nr = h->size = 0;
}

// SPDX-License-Identifier: Apache-2.0
/*
 * Objects with an end. A heap of entries, ordered by the end of what is visible
 * now; each entry knows its place, so an object that is written again and again
 * has one place only.
 */
#include "controlplane/store/internal.h"

void ttl_moved(void *entry, size_t place)
{
	struct entry *en = entry;

	en->ttl_slot = place == HEAP_NOWHERE ? 0 : (uint32_t)place + 1;
}

int ttl_reserve(struct store *s, size_t nr)
{
	return heap_reserve(&s->ttl, nr);
}

void ttl_update(struct store *s, struct entry *en)
{
	struct object_bytes *o = en->head;
	uint64_t end = o && !o->deleted ? o->expires_ms : 0;

	if (en->ttl_slot && !end)
		(void)heap_take(&s->ttl, en->ttl_slot - 1);
	else if (en->ttl_slot)
		heap_set(&s->ttl, en->ttl_slot - 1, end);
	else if (end)
		heap_push(&s->ttl, end, en);
}

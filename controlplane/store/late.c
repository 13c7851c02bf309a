// SPDX-License-Identifier: Apache-2.0
/*
 * Versions of a cluster that was read late, of which the history here has no
 * event: others may still ask for them, so they are dead only once what
 * replaced them is compacted.
 */
#include "controlplane/store/internal.h"

void late_add(struct store *s, struct object_bytes *o, uint64_t revision)
{
	struct store_backend *be = s->backend;

	if (!be->ops->dead)
		return;
	be->ops->outlived(be, o);
	if (heap_reserve(&s->late, 1) == 0)
		heap_push(&s->late, revision, object_ref(o));
	/* Out of memory: it stays until the next start. */
}

void late_compacted(struct store *s)
{
	while (s->late.nr && s->late.v[0].at <= s->compacted) {
		struct object_bytes *o = heap_take(&s->late, 0);

		s->backend->ops->dead(s->backend, o);
		object_unref(o);
	}
}

void late_clear(struct store *s)
{
	while (s->late.nr)
		object_unref(s->late.v[--s->late.nr].p);
	heap_clear(&s->late);
}

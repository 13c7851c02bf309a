// SPDX-License-Identifier: Apache-2.0
/*
 * Versions of a cluster that was read late, of which the history here has no
 * event: others may still ask for them, so they are dead only once what
 * replaced them is compacted.
 */
#include "controlplane/store/internal.h"

static void sift_down(struct store *s, size_t i)
{
	struct late l = s->late[i];

	for (;;) {
		size_t child = 2 * i + 1;

		if (child + 1 < s->nr_late &&
		    s->late[child + 1].at < s->late[child].at)
			child++;
		if (child >= s->nr_late || s->late[child].at >= l.at)
			break;
		s->late[i] = s->late[child];
		i = child;
	}
	s->late[i] = l;
}

void late_add(struct store *s, struct object_bytes *o, uint64_t revision)
{
	struct store_backend *be = s->backend;
	size_t i = s->nr_late;

	if (!be->ops->dead)
		return;
	be->ops->outlived(be, o);
	if (i == s->late_size) {
		size_t size = i ? i * 2 : 64;
		struct late *v = realloc(s->late, size * sizeof(*v));

		if (!v)
			return; /* it stays until the next start */
		s->late = v;
		s->late_size = size;
	}
	s->nr_late++;
	for (; i && s->late[(i - 1) / 2].at > revision; i = (i - 1) / 2)
		s->late[i] = s->late[(i - 1) / 2];
	s->late[i] = (struct late){ revision, object_ref(o) };
}

void late_compacted(struct store *s)
{
	while (s->nr_late && s->late[0].at <= s->compacted) {
		struct object_bytes *o = s->late[0].o;

		s->late[0] = s->late[--s->nr_late];
		if (s->nr_late)
			sift_down(s, 0);
		s->backend->ops->dead(s->backend, o);
		object_unref(o);
	}
}

void late_clear(struct store *s)
{
	while (s->nr_late)
		object_unref(s->late[--s->nr_late].o);
	free(s->late);
	s->late = NULL;
	s->late_size = 0;
}

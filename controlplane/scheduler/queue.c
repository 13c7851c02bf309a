// SPDX-License-Identifier: Apache-2.0
#include "controlplane/scheduler/queue.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

bool queue_by_priority(const struct spod *a, const struct spod *b)
{
	if (a->priority != b->priority)
		return a->priority > b->priority;
	return a->serial < b->serial;
}

bool queue_by_time(const struct spod *a, const struct spod *b)
{
	return a->due_ms < b->due_ms;
}

static void put(struct queue *q, size_t i, struct spod *p)
{
	q->v[i] = p;
	p->place = i;
}

static void up(struct queue *q, size_t i)
{
	struct spod *p = q->v[i];

	while (i && q->before(p, q->v[(i - 1) / 2])) {
		put(q, i, q->v[(i - 1) / 2]);
		i = (i - 1) / 2;
	}
	put(q, i, p);
}

static void down(struct queue *q, size_t i)
{
	struct spod *p = q->v[i];

	for (;;) {
		size_t k = i * 2 + 1;

		if (k + 1 < q->nr && q->before(q->v[k + 1], q->v[k]))
			k++;
		if (k >= q->nr || !q->before(q->v[k], p))
			break;
		put(q, i, q->v[k]);
		i = k;
	}
	put(q, i, p);
}

int queue_add(struct queue *q, struct spod *p)
{
	if (q->nr == q->room) {
		size_t room = q->room ? q->room * 2 : 64;
		struct spod **v = realloc(q->v, room * sizeof(*v));

		if (!v)
			return -ENOMEM;
		q->v = v;
		q->room = room;
	}
	put(q, q->nr++, p);
	up(q, q->nr - 1);
	return 0;
}

void queue_del(struct queue *q, struct spod *p)
{
	size_t i = p->place;
	struct spod *last = q->v[--q->nr];

	if (last == p)
		return;
	put(q, i, last);
	up(q, i);
	down(q, last->place);
}

void queue_clear(struct queue *q)
{
	free(q->v);
	memset(q, 0, sizeof(*q));
}

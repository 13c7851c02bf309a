// SPDX-License-Identifier: Apache-2.0
/*
 * Tenants take turns. What epoll reports is only put into the queue of the
 * connection's tenant; then each tenant with something to do gets the same
 * share of the loop's time, however many connections it has (deficit round
 * robin over measured nanoseconds). Handshakes, which have no tenant yet and
 * cost the most, are a tenant of their own.
 */
#include <stdlib.h>
#include <time.h>

#include "controlplane/apiserver/conn.h"

#define QUANTUM_NS 100000  /* a tenant's share of one round */
#define SLICE_NS   1000000 /* then the sockets are looked at again */

struct turn {
	struct turn *next; /* of those with something to do */
	char *tenant;
	struct conn *head, **tail;
	int64_t credit_ns;
	size_t nr_conns;
	bool active;
};

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static struct turn *turn_find(struct loop *l, const char *tenant)
{
	struct turn *t = map_get(&l->turns, tenant);

	if (t)
		return t;
	t = calloc(1, sizeof(*t));
	if (!t)
		return NULL;
	t->tail = &t->head;
	t->tenant = strdup(tenant);
	if (!t->tenant || map_set(&l->turns, tenant, t, NULL) < 0) {
		free(t->tenant);
		free(t);
		return NULL;
	}
	return t;
}

static void turn_free(void *arg)
{
	struct turn *t = arg;

	free(t->tenant);
	free(t);
}

static void turn_put(struct loop *l, struct turn *t)
{
	if (--t->nr_conns || t->active)
		return;
	map_del(&l->turns, t->tenant);
	turn_free(t);
}

void turns_free(struct loop *l)
{
	map_clear(&l->turns, turn_free);
}

static void activate(struct loop *l, struct turn *t)
{
	t->active = true;
	t->next = NULL;
	*l->active_tail = t;
	l->active_tail = &t->next;
}

static struct turn *first_active(struct loop *l)
{
	struct turn *t = l->active;

	l->active = t->next;
	if (!l->active)
		l->active_tail = &l->active;
	return t; /* still counts as active, so that nobody adds it twice */
}

static struct conn *pop(struct turn *t)
{
	struct conn *c = t->head;

	t->head = c->turn_next;
	if (!t->head)
		t->tail = &t->head;
	c->queued = false;
	return c;
}

/* One connection of one tenant. */
static uint64_t serve_one(struct loop *l, struct turn *t, uint64_t now)
{
	struct conn *c = pop(t);
	uint32_t events = c->events;
	uint64_t end;

	c->events = 0;
	l->waited_ns = now - c->queued_ns;
	peer_serve(c, events);
	end = now_ns();
	t->credit_ns -= (int64_t)(end - now);
	return end;
}

static void turns_run(void *arg)
{
	struct loop *l = arg;
	uint64_t begun = now_ns(), now = begun;

	l->turning = true;
	while (l->active && now - begun < SLICE_NS) {
		struct turn *t = first_active(l);

		/* Held, so that closing its last connection leaves it. */
		t->nr_conns++;
		if (t->head && t->credit_ns > 0)
			now = serve_one(l, t, now);
		else
			t->credit_ns += QUANTUM_NS;
		/* Who has nothing to do saves nothing up, and owes nothing. */
		if (t->head) {
			activate(l, t);
		} else {
			t->credit_ns = QUANTUM_NS;
			t->active = false;
		}
		turn_put(l, t);
	}
	l->turning = l->active && ev_post(l->ev, turns_run, l) == 0;
}

void turn_add(struct conn *c, uint32_t events)
{
	struct loop *l = c->loop;
	struct turn *t = c->turn;

	c->events |= events;
	if (c->queued)
		return;
	c->queued = true;
	c->queued_ns = now_ns();
	c->turn_next = NULL;
	*t->tail = c;
	t->tail = &c->turn_next;
	if (!t->active)
		activate(l, t);
	if (!l->turning) {
		l->turning = true;
		ev_defer(l->ev, &l->turns_defer, turns_run, l);
	}
}

static void unqueue(struct conn *c)
{
	struct turn *t = c->turn;
	struct conn **at = &t->head;

	if (!c->queued)
		return;
	while (*at != c)
		at = &(*at)->turn_next;
	*at = c->turn_next;
	if (!*at)
		t->tail = at;
	c->queued = false;
}

void turn_del(struct conn *c)
{
	if (!c->turn)
		return;
	unqueue(c);
	turn_put(c->loop, c->turn);
	c->turn = NULL;
}

void turn_set(struct conn *c, const char *tenant)
{
	struct turn *t = c->turn, *to;
	uint32_t events = c->events;
	bool queued = c->queued;

	if (t && strcmp(t->tenant, tenant) == 0)
		return;
	to = turn_find(c->loop, tenant);
	if (!to) {
		c->dead = c->dead || !t; /* else it stays where it is */
		return;
	}
	to->nr_conns++;
	turn_del(c);
	c->turn = to;
	if (queued)
		turn_add(c, events);
}

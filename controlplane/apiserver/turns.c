// SPDX-License-Identifier: Apache-2.0
/*
 * Tenants take turns, and within a tenant its users do. What epoll reports is
 * only put into the queue of the connection's user; then each tenant with
 * something to do gets the same share of the loop's time, however many users
 * and connections it has, and each of its users the same share of that (deficit
 * round robin over measured nanoseconds, on two levels). A turn ends after
 * SERVE_NS, or soon after: what is left of it waits for the next round, and
 * between two turns the sockets are looked at.
 *
 * Who comes with credit left, because it has asked for little of late, is
 * served before those who have used theirs up: it waits for the turn under way,
 * not for a round. So that many of those cannot keep the others out, one of the
 * latter has a turn after each QUIET_NS.
 *
 * Who has not said who it is yet belongs to a tenant of its own, whose users
 * are addresses: so it is on a greeter (greet.h), where there is no other. The
 * cluster's own (system:masters) and its nodes are tenants, too, with larger
 * shares: what keeps everybody's pods running must not wait for anybody.
 */
#include <sched.h>
#include <stdlib.h>
#include <time.h>

#include "controlplane/apiserver/authn/user.h"
#include "controlplane/apiserver/conn.h"
#include "controlplane/apiserver/origin.h"
#include "lib/str.h"

#define QUANTUM_NS    100000 /* a tenant's share of one round */
#define SERVE_NS      100000 /* of one connection at once */
#define SLICE_NS      50000  /* then the sockets are looked at again */
#define QUIET_NS      400000 /* of those with credit, then it is another's turn */
/* Then other threads have the CPU for a moment: lists, and handshakes and large
 * requests, of which several want it at once. */
#define GIVE_LISTS_NS 1000000
#define GIVE_WORKS_NS 200000

/* Those with something to do, in the order they came. */
struct line {
	struct turn *head, **tail;
};

/* A tenant, or one of its users; the loop's root of them all. */
struct turn {
	struct turn *parent; /* of a user: the tenant; of a tenant: the root */
	struct turn *next;   /* of its parent's active ones */
	struct map kids;
	struct line quiet, busy; /* kids: with credit when they came, others */
	uint64_t quiet_ns;       /* of those, since one of the others */
	struct conn *head, **tail; /* of a user */
	char *name;
	int64_t credit_ns, quantum_ns;
	uint64_t since_ns; /* nothing to do; what it owes goes with time */
	size_t refs;       /* connections of a user, kids of the others */
	bool queued;
};

uint64_t turn_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

bool turn_is_over(const struct loop *l)
{
	return turn_now_ns() >= l->serve_until_ns;
}

static struct turn *turn_new(const char *name, struct turn *parent)
{
	struct turn *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	t->tail = &t->head;
	t->quiet.tail = &t->quiet.head;
	t->busy.tail = &t->busy.head;
	t->parent = parent;
	t->quantum_ns = t->credit_ns = QUANTUM_NS;
	t->name = strdup(name);
	if (!t->name || (parent && map_set(&parent->kids, name, t, NULL) < 0)) {
		free(t->name);
		free(t);
		return NULL;
	}
	if (parent)
		parent->refs++;
	return t;
}

static void turn_free(void *arg)
{
	struct turn *t = arg;

	if (!t)
		return;
	map_clear(&t->kids, turn_free);
	free(t->name);
	free(t);
}

/* Nobody's any more, it goes, and with it what it was the last one of. */
static void turn_put(struct turn *t)
{
	while (t->parent && !--t->refs && !t->queued) {
		struct turn *parent = t->parent;

		map_del(&parent->kids, t->name);
		turn_free(t);
		t = parent;
	}
}

void turns_free(struct loop *l)
{
	turn_free(l->turns);
}

static bool has_kids(const struct turn *t)
{
	return t->quiet.head || t->busy.head;
}

static bool has_work(const struct turn *t)
{
	return t->head || has_kids(t);
}

static void pay_back(struct turn *t)
{
	uint64_t now;

	if (!t->since_ns)
		return;
	now = turn_now_ns();
	if (t->credit_ns < t->quantum_ns)
		t->credit_ns += (int64_t)(now - t->since_ns);
	if (t->credit_ns > t->quantum_ns)
		t->credit_ns = t->quantum_ns;
	t->since_ns = 0;
}

static void line_up(struct turn *t, struct line *l)
{
	t->queued = true;
	t->next = NULL;
	*l->tail = t;
	l->tail = &t->next;
}

/* It has not had all of its share. */
static void stay_first(struct turn *t, struct line *l)
{
	t->queued = true;
	t->next = l->head;
	l->head = t;
	if (!t->next)
		l->tail = &t->next;
}

/* Up to the root, or to who is waiting for its turn already. */
static void activate(struct turn *t)
{
	for (; t->parent && !t->queued; t = t->parent) {
		pay_back(t);
		line_up(t, t->credit_ns > 0 ? &t->parent->quiet
					    : &t->parent->busy);
	}
}

/* Still counts as queued, so that nobody adds it twice. */
static struct turn *first_active(struct turn *parent, bool *ret_quiet)
{
	bool quiet = parent->quiet.head &&
		     (!parent->busy.head || parent->quiet_ns < QUIET_NS);
	struct line *l = quiet ? &parent->quiet : &parent->busy;
	struct turn *t = l->head;

	l->head = t->next;
	if (!l->head)
		l->tail = &l->head;
	*ret_quiet = quiet;
	return t;
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

/* One connection of a user. */
static uint64_t serve_conn(struct loop *l, struct turn *t, uint64_t now)
{
	struct conn *c = pop(t);
	uint32_t events = c->events;

	c->events = 0;
	l->serve_until_ns = now + SERVE_NS;
	peer_serve(c, events);
	return turn_now_ns();
}

/* One step of who is first of @parent's. */
static uint64_t serve(struct loop *l, struct turn *parent, uint64_t now)
{
	bool quiet;
	struct turn *t = first_active(parent, &quiet);
	uint64_t end = now;

	/* Held, so that closing its last connection leaves it. */
	t->refs++;
	if (t->credit_ns <= 0)
		t->credit_ns += t->quantum_ns;
	if (t->credit_ns <= 0)
		; /* it has had more than its share: not this time */
	else if (t->head)
		end = serve_conn(l, t, now);
	else if (has_kids(t))
		end = serve(l, t, now);
	t->credit_ns -= (int64_t)(end - now);
	if (quiet)
		parent->quiet_ns += end - now;
	else if (end != now)
		parent->quiet_ns = 0;
	t->queued = false;
	/* Who has nothing to do saves nothing up. */
	if (has_work(t) && t->credit_ns <= 0)
		line_up(t, &parent->busy);
	else if (has_work(t) && quiet)
		line_up(t, &parent->quiet);
	else if (has_work(t))
		stay_first(t, &parent->busy);
	else
		t->since_ns = end;
	turn_put(t);
	return end;
}

/*
 * Beside a loop that is never out of work a long list, a large request or a
 * handshake would have the CPU only at the kernel's tick, once in 4 ms, and
 * then for as long as the loop has had more than its share; so it takes a tenth
 * of a millisecond, and gives way in turn.
 */
static void give_way(struct loop *l, uint64_t now)
{
	struct api *api = l->api;
	uint64_t since = now - l->gave_way_ns;

	if (since < GIVE_WORKS_NS ||
	    (!atomic_load_explicit(&api->long_works, memory_order_relaxed) &&
	     (since < GIVE_LISTS_NS ||
	      !atomic_load_explicit(&api->long_lists, memory_order_relaxed))))
		return;
	l->gave_way_ns = now;
	sched_yield();
}

static void turns_run(void *arg)
{
	struct loop *l = arg;
	uint64_t begun = turn_now_ns(), now = begun;

	l->turning = true;
	while (has_kids(l->turns) && now - begun < SLICE_NS)
		now = serve(l, l->turns, now);
	l->turning = has_kids(l->turns);
	if (l->turning)
		ev_defer(l->ev, &l->turns_defer, turns_run, l);
	give_way(l, now);
}

void turn_add(struct conn *c, uint32_t events)
{
	struct loop *l = c->loop;
	struct turn *t = c->turn;

	c->events |= events;
	if (c->queued || c->away)
		return;
	c->queued = true;
	c->turn_next = NULL;
	*t->tail = c;
	t->tail = &c->turn_next;
	activate(t);
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
	turn_put(c->turn);
	c->turn = NULL;
}

/* A tenant cannot be called so: names hold no blanks. */
static const char *tenant_of(const struct user *u, int64_t *ret_share)
{
	*ret_share = 1;
	if (!u)
		return "";
	if (user_is_system(u) && user_in_group(u, "system:masters")) {
		*ret_share = 8;
		return " masters";
	}
	if (user_node(u)) {
		*ret_share = 4;
		return " nodes";
	}
	return u->tenant;
}

/* Strangers are told apart by where they come from. */
static const char *name_of(const struct conn *c, const struct user *u)
{
	if (u)
		return u->name;
	return c->origin ? origin_name(c->origin) : "";
}

static struct turn *turn_find(struct conn *c, const struct user *u)
{
	const char *name = name_of(c, u);
	struct loop *l = c->loop;
	struct turn *tenant, *t = NULL;
	int64_t share;
	const char *of = tenant_of(u, &share);

	if (!l->turns)
		l->turns = turn_new("", NULL);
	if (!l->turns)
		return NULL;
	tenant = map_get(&l->turns->kids, of);
	if (!tenant)
		tenant = turn_new(of, l->turns);
	if (!tenant)
		return NULL;
	tenant->quantum_ns = QUANTUM_NS * share;
	tenant->refs++; /* until there is a user in it */
	t = map_get(&tenant->kids, name);
	if (!t)
		t = turn_new(name, tenant);
	if (t)
		t->refs++;
	turn_put(tenant);
	return t;
}

const char *turn_tenant(const struct conn *c)
{
	return c->turn->parent->name;
}

void turn_set(struct conn *c, const struct user *u)
{
	uint32_t events = c->events;
	bool queued = c->queued;
	struct turn *to = turn_find(c, u);

	if (!to) {
		/* Else it stays where it is. */
		c->dead = c->dead || !c->turn;
		return;
	}
	turn_del(c);
	c->turn = to;
	if (queued)
		turn_add(c, events);
}

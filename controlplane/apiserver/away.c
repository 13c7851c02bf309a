// SPDX-License-Identifier: Apache-2.0
#include "controlplane/apiserver/away.h"
#include "controlplane/apiserver/aside.h"
#include "controlplane/apiserver/write.h"
#include "lib/slice.h"
#include "lib/str.h"

#define GIVE_NS 100000

static __thread bool is_away; /* this thread is no loop's */

struct trip {
	struct req *req; /* lives as long as the connection rests */
	struct write *write;
	void (*fn)(struct write *w);
};

/* What is passed on to nodes lives on the loop. */
bool away_is_for(const struct req *r)
{
	static const char *const subs[] = { "proxy", "exec", "attach",
					    "portforward", "log" };

	if (r->body.len <= AWAY_BYTES || r->wants_upgrade || is_away ||
	    strcmp(r->method, "GET") == 0 || strcmp(r->method, "HEAD") == 0)
		return false;
	for (size_t i = 0; i < ARRAY_LEN(subs); i++)
		if (str_eq(r->route.subresource, subs[i]))
			return false;
	return true;
}

void away_give(void)
{
	if (is_away)
		slice_give(GIVE_NS);
}

static void work(struct aside *a)
{
	struct trip *t = a->data;

	is_away = true;
	if (t->fn)
		t->fn(t->write);
	else
		dispatch(t->req);
	is_away = false;
}

/* What came for the connection meanwhile comes again. */
static void tell_again(struct loop *l)
{
	struct write *w;
	struct aside *a;

	pthread_mutex_lock(&l->lock);
	while ((w = l->held_writes)) {
		l->held_writes = w->next;
		w->next = l->done;
		l->done = w;
	}
	while ((a = l->held_asides)) {
		l->held_asides = a->next;
		a->next = l->asides;
		l->asides = a;
	}
	pthread_mutex_unlock(&l->lock);
	loop_wake(l);
}

static void back(struct aside *a)
{
	struct trip *t = a->data;
	struct req *r = t->req;
	struct conn *c = r->conn;
	struct loop *l = a->loop;
	struct err e;

	r->away = false;
	c->away = false;
	tell_again(l);
	if (r->user && r->user != c->user)
		turn_set(c, r->user);
	if (ev_io_add(l->ev, &c->io, c->fd, c->io.events, c->io.fn, c, &e) < 0)
		c->dead = true;
	if (c->events)
		turn_add(c, 0);
	if (c->h2 && c->left && !c->dead)
		h2_flush_all(c);
	c->left = false;
	if (l->draining) {
		c->busy = false;
		peer_drain(c);
	} else {
		peer_resume(c);
	}
}

static void done_with(struct aside *a)
{
	free(a->data);
}

static bool leave(struct req *r, struct write *w, void (*fn)(struct write *w))
{
	struct aside *a = calloc(1, sizeof(*a));
	struct trip *t = calloc(1, sizeof(*t));

	if (!a || !t) {
		free(a);
		free(t);
		return false;
	}
	*t = (struct trip){ .req = r, .write = w, .fn = fn };
	*a = (struct aside){ .req = r,
			     .kind = ASIDE_HEAVY,
			     .work = work,
			     .done = back,
			     .free = done_with,
			     .data = t };
	r->away = true;
	r->conn->away = true;
	if (aside_try(a) < 0) {
		r->away = false;
		r->conn->away = false;
		free(a);
		free(t);
		return false;
	}
	r->conn->busy = true;
	ev_io_del(&r->conn->io);
	return true;
}

void away_run(struct req *r)
{
	if (!leave(r, NULL, NULL))
		dispatch(r);
}

bool away_attempt(struct write *w, size_t bytes, void (*fn)(struct write *w))
{
	if (is_away || bytes <= AWAY_BYTES || !w->req->conn)
		return false;
	return leave(w->req, w, fn);
}

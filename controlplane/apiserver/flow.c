// SPDX-License-Identifier: Apache-2.0
#include <stdio.h>

#include "controlplane/apiserver/authn/user.h"
#include "controlplane/apiserver/conn.h"
#include "controlplane/apiserver/flow.h"
#include "lib/str.h"

#define BODY_SEAT  65536 /* bytes of a body that cost a further seat */
#define LIST_SEAT  500   /* objects of a list that do */
#define WAIT_MS    15000 /* in line; then it is told to come back later */
#define RETRY_S    "1"
#define NR_BUCKETS 6

enum state { WAITING, GRANTED, SEATED };

/* A request's. */
struct seats {
	struct flow_tenant *tenant;
	struct line *line;  /* while it waits */
	struct seats *next; /* of the line, or of the loop's granted ones */
	struct req *req;
	struct loop *loop;
	void (*go)(struct req *r);
	enum state state;
	unsigned int cost;
	uint64_t since_ms;
};

/* A user's who waits. */
struct line {
	struct line *next;
	struct seats *first, **last;
	char *user;
};

struct flow_tenant {
	struct flow_tenant *next; /* of those who wait */
	struct line *lines, **lines_tail;
	char *name;
	unsigned int used, nr_waiting, nr_conns, nr_watches;
	bool queued;
};

struct flow {
	pthread_mutex_t lock;
	struct api_limits max;
	struct map tenants; /* those that have anything */
	struct flow_tenant *waiting, **waiting_tail;
	unsigned int used, nr_waiting, nr_seated;
	uint64_t dispatched, exempt, waited[NR_BUCKETS + 1];
	uint64_t wait_ms_sum, full, timed_out, conns, watches;
};

static const unsigned int bucket_ms[NR_BUCKETS] = { 1,    10,   100,
						    1000, 5000, 15000 };

static unsigned int or (unsigned int set, unsigned int dfl)
{
	return set ? set : dfl;
}

int flow_open(struct api *api, const struct api_limits *limits)
{
	struct flow *f = calloc(1, sizeof(*f));

	if (!f)
		return -ENOMEM;
	pthread_mutex_init(&f->lock, NULL);
	f->max.seats = or (limits->seats, 2000);
	f->max.tenant_seats = or (limits->tenant_seats, 200);
	f->max.tenant_queue = or (limits->tenant_queue, 500);
	f->max.tenant_conns = or (limits->tenant_conns, 5000);
	f->max.tenant_watches = or (limits->tenant_watches, 10000);
	f->waiting_tail = &f->waiting;
	api->flow = f;
	return 0;
}

static void line_free(struct line *l)
{
	free(l->user);
	free(l);
}

void flow_close(struct api *api)
{
	struct flow *f = api->flow;

	if (!f)
		return;
	map_clear(&f->tenants, free);
	pthread_mutex_destroy(&f->lock);
	free(f);
	api->flow = NULL;
}

/* --- tenants and lines. All under the lock --- */

static struct flow_tenant *tenant_get(struct flow *f, const char *name)
{
	struct flow_tenant *t = map_get(&f->tenants, name);
	size_t len = strlen(name) + 1;

	if (t)
		return t;
	t = calloc(1, sizeof(*t) + len);
	if (!t)
		return NULL;
	t->name = memcpy(t + 1, name, len);
	t->lines_tail = &t->lines;
	if (map_set(&f->tenants, name, t, NULL) < 0) {
		free(t);
		return NULL;
	}
	return t;
}

static void tenant_put(struct flow *f, struct flow_tenant *t)
{
	if (t->used || t->nr_waiting || t->nr_conns || t->nr_watches ||
	    t->queued)
		return;
	map_del(&f->tenants, t->name);
	free(t);
}

static void tenant_queue(struct flow *f, struct flow_tenant *t)
{
	if (t->queued)
		return;
	t->queued = true;
	t->next = NULL;
	*f->waiting_tail = t;
	f->waiting_tail = &t->next;
}

static int line_up(struct flow *f, struct flow_tenant *t, struct seats *s,
		   const char *user)
{
	struct line *l = t->lines;

	while (l && strcmp(l->user, user) != 0)
		l = l->next;
	if (!l) {
		l = calloc(1, sizeof(*l));
		if (l)
			l->user = strdup(user);
		if (!l || !l->user) {
			free(l);
			return -ENOMEM;
		}
		l->last = &l->first;
		*t->lines_tail = l;
		t->lines_tail = &l->next;
	}
	*l->last = s;
	l->last = &s->next;
	s->line = l;
	t->nr_waiting++;
	f->nr_waiting++;
	tenant_queue(f, t);
	return 0;
}

static void unlink_line(struct flow_tenant *t, struct line *l)
{
	struct line **at = &t->lines;

	while (*at != l)
		at = &(*at)->next;
	*at = l->next;
	if (!*at)
		t->lines_tail = at;
}

/* Out of its line. */
static void step_out(struct flow *f, struct seats *s)
{
	struct flow_tenant *t = s->tenant;
	struct line *l = s->line;
	struct seats **at = &l->first;

	while (*at != s)
		at = &(*at)->next;
	*at = s->next;
	if (!*at)
		l->last = at;
	s->line = NULL;
	t->nr_waiting--;
	f->nr_waiting--;
	if (l->first)
		return;
	unlink_line(t, l);
	line_free(l);
}

static bool has_seats(const struct flow *f, const struct flow_tenant *t,
		      unsigned int cost)
{
	/* However much one costs, it gets in when it is alone. */
	return (!t->used || t->used + cost <= f->max.tenant_seats) &&
	       (!f->used || f->used + cost <= f->max.seats);
}

static void sit(struct flow *f, struct seats *s)
{
	f->used += s->cost;
	s->tenant->used += s->cost;
	f->nr_seated++;
	f->dispatched++;
}

/* The first one of the first user, who then is the last one. */
static struct seats *next_of(struct flow *f, struct flow_tenant *t)
{
	struct line *l = t->lines;
	struct seats *s = l->first;

	if (!has_seats(f, t, s->cost))
		return NULL;
	unlink_line(t, l);
	l->next = NULL;
	*t->lines_tail = l;
	t->lines_tail = &l->next;
	step_out(f, s);
	return s;
}

static void note_wait(struct flow *f, const struct seats *s)
{
	uint64_t ms = ev_clock_ms() - s->since_ms;
	size_t i = 0;

	while (i < NR_BUCKETS && ms > bucket_ms[i])
		i++;
	f->waited[i]++;
	f->wait_ms_sum += ms;
}

/* Free seats go to who waits, a tenant after the other. */
static void grant(struct flow *f)
{
	struct flow_tenant *t, *stop = NULL;
	struct loop *l;
	struct seats *s;

	while ((t = f->waiting) && t != stop && f->used < f->max.seats) {
		f->waiting = t->next;
		if (!f->waiting)
			f->waiting_tail = &f->waiting;
		t->queued = false;
		s = t->nr_waiting ? next_of(f, t) : NULL;
		if (s) {
			sit(f, s);
			note_wait(f, s);
			s->state = GRANTED;
			l = s->loop;
			pthread_mutex_lock(&l->lock);
			s->next = l->granted;
			l->granted = s;
			pthread_mutex_unlock(&l->lock);
			loop_wake(l);
			stop = NULL;
		}
		if (t->nr_waiting) {
			tenant_queue(f, t);
			/* Once around without any: nobody can. */
			if (!s && !stop)
				stop = t;
		} else {
			tenant_put(f, t);
		}
	}
}

/* --- requests --- */

static unsigned int cost_of(const struct req *r)
{
	const struct route *rt = &r->route;

	if (!rt->verb || !rt->type || rt->type->virtual ||
	    strcmp(rt->verb, "get") == 0)
		return 0;
	return 1 + (unsigned int)(r->body.len / BODY_SEAT);
}

static bool is_exempt(const struct user *u)
{
	return user_is_system(u) &&
	       (user_in_group(u, "system:masters") || user_node(u));
}

static void refuse(struct req *r, const char *what, unsigned int max)
{
	reply_field(r, "Retry-After", RETRY_S);
	reply_error(r, 429, "TooManyRequests",
		    "tenant \"%s\" has too many %s (the limit is %u), please "
		    "try again later",
		    r->user->tenant, what, max);
}

static void waited_out(void *arg)
{
	struct req *r = arg;
	struct flow *f = r->api->flow;

	pthread_mutex_lock(&f->lock);
	if (r->seats->state != WAITING) {
		pthread_mutex_unlock(&f->lock);
		return; /* it is on its way */
	}
	f->timed_out++;
	pthread_mutex_unlock(&f->lock);
	flow_leave(&r->seats);
	reply_field(r, "Retry-After", RETRY_S);
	reply_error(r, 429, "TooManyRequests",
		    "tenant \"%s\" had too many requests under way for %d s "
		    "(the limit is %u), please try again later",
		    r->user->tenant, WAIT_MS / 1000, f->max.tenant_seats);
}

bool flow_enter(struct req *r, void (*go)(struct req *r))
{
	struct flow *f = r->api->flow;
	unsigned int cost = cost_of(r);
	struct flow_tenant *t;
	struct seats *s = NULL;
	int res = -ENOMEM;

	if (!cost)
		return true;
	pthread_mutex_lock(&f->lock);
	if (is_exempt(r->user)) {
		f->exempt++;
		pthread_mutex_unlock(&f->lock);
		return true;
	}
	t = tenant_get(f, r->user->tenant);
	if (t)
		s = calloc(1, sizeof(*s));
	if (s) {
		*s = (struct seats){ .tenant = t,
				     .req = r,
				     .loop = r->loop,
				     .go = go,
				     .state = SEATED,
				     .cost = cost,
				     .since_ms = ev_clock_ms() };
		if (!t->nr_waiting && has_seats(f, t, cost)) {
			sit(f, s);
			res = 0;
		} else if (t->nr_waiting >= f->max.tenant_queue) {
			f->full++;
			res = -EDQUOT;
		} else {
			s->state = WAITING;
			res = line_up(f, t, s, r->user->name) < 0 ? -ENOMEM : 1;
		}
	}
	if (res < 0 && t)
		tenant_put(f, t);
	pthread_mutex_unlock(&f->lock);
	if (res >= 0)
		r->seats = s;
	else
		free(s);
	if (res == -EDQUOT)
		refuse(r, "requests waiting", f->max.tenant_queue);
	else if (res < 0)
		reply_error(r, 500, "InternalError", "out of memory");
	if (res == 1)
		ev_timer_set(r->loop->ev, &r->timer, WAIT_MS, waited_out, r);
	return res == 0;
}

void flow_grow(struct req *r, size_t nr)
{
	struct flow *f = r->api->flow;
	unsigned int more = (unsigned int)(nr / LIST_SEAT);

	if (!r->seats || !more)
		return;
	if (more > f->max.tenant_seats)
		more = f->max.tenant_seats;
	pthread_mutex_lock(&f->lock);
	r->seats->cost += more;
	r->seats->tenant->used += more;
	f->used += more;
	pthread_mutex_unlock(&f->lock);
}

void flow_leave(struct seats **slot)
{
	struct seats *s = *slot, **at;
	struct flow *f;

	if (!s)
		return;
	*slot = NULL;
	f = s->loop->api->flow;
	pthread_mutex_lock(&f->lock);
	if (s->state == WAITING) {
		step_out(f, s);
	} else {
		f->used -= s->cost;
		f->nr_seated--;
		s->tenant->used -= s->cost;
	}
	if (s->state == GRANTED) {
		pthread_mutex_lock(&s->loop->lock);
		for (at = &s->loop->granted; *at && *at != s;)
			at = &(*at)->next;
		if (*at)
			*at = s->next;
		pthread_mutex_unlock(&s->loop->lock);
	}
	tenant_put(f, s->tenant);
	grant(f);
	pthread_mutex_unlock(&f->lock);
	free(s);
}

void flow_granted(struct loop *l)
{
	struct seats *s;

	for (;;) {
		pthread_mutex_lock(&l->lock);
		s = l->granted;
		if (s)
			l->granted = s->next;
		pthread_mutex_unlock(&l->lock);
		if (!s)
			return;
		s->state = SEATED;
		ev_timer_del(&s->req->timer);
		/* In its connection's turn. */
		peer_again(s->req, s->go);
	}
}

/* --- connections and watches --- */

bool flow_conn(struct conn *c, const struct user *u)
{
	struct flow *f = c->loop->api->flow;
	struct flow_tenant *old = c->home, *t = NULL;
	bool ok = true;

	pthread_mutex_lock(&f->lock);
	if (u && !is_exempt(u)) {
		t = tenant_get(f, u->tenant);
		ok = t && (t == old || t->nr_conns < f->max.tenant_conns);
	}
	if (t && (ok || t == old))
		t->nr_conns++;
	else if (t)
		tenant_put(f, t);
	c->home = ok ? t : NULL;
	if (old) {
		old->nr_conns--;
		tenant_put(f, old);
	}
	f->conns += !ok;
	pthread_mutex_unlock(&f->lock);
	return ok;
}

bool flow_watch(struct req *r)
{
	struct flow *f = r->api->flow;
	struct flow_tenant *t;
	bool ok = true;

	if (is_exempt(r->user))
		return true;
	pthread_mutex_lock(&f->lock);
	t = tenant_get(f, r->user->tenant);
	ok = t && t->nr_watches < f->max.tenant_watches;
	if (ok) {
		t->nr_watches++;
		r->watch_of = t;
	} else if (t) {
		f->watches++;
		tenant_put(f, t);
	}
	pthread_mutex_unlock(&f->lock);
	if (!ok)
		refuse(r, "watches", f->max.tenant_watches);
	return ok;
}

void flow_watch_end(struct req *r)
{
	struct flow *f = r->api->flow;

	if (!r->watch_of)
		return;
	pthread_mutex_lock(&f->lock);
	r->watch_of->nr_watches--;
	tenant_put(f, r->watch_of);
	pthread_mutex_unlock(&f->lock);
	r->watch_of = NULL;
}

void flow_metrics(struct api *api, struct buf *b)
{
	struct flow *f = api->flow;
	uint64_t sum = 0;

#define P(name) "apiserver_flowcontrol_" name
#define TENANTS "{priority_level=\"tenants\",flow_schema=\"tenants\"} %llu\n"
	pthread_mutex_lock(&f->lock);
	buf_printf(
		b,
		"# TYPE " P("dispatched_requests_total") " counter\n" P(
			"dispatched_requests_total") TENANTS
			P("dispatched_requests_total") "{priority_level=\"exempt\",flow_schema=\"exempt\"} %llu\n",
		(unsigned long long)f->dispatched,
		(unsigned long long)f->exempt);
	buf_puts(b, "# TYPE " P("rejected_requests_total") " counter\n");
	buf_printf(
		b,
		P("rejected_requests_total") "{priority_level=\"tenants\",flow_schema=\"tenants\",reason="
					     "\"queue-full\"} %llu\n" P(
						     "rejected_requests_total") "{priority_level=\"tenants\",flow_schema=\"tenants\",reason="
										"\"time-out\"} %llu\n" P(
											"rejected_requests_total") "{priority_level=\"tenants\",flow_schema=\"tenants\",reason="
														   "\"connections\"} %llu\n" P(
															   "rejected_requests_total") "{priority_level=\"tenants\",flow_schema=\"tenants\",reason="
																		      "\"watches\"} %llu\n",
		(unsigned long long)f->full, (unsigned long long)f->timed_out,
		(unsigned long long)f->conns, (unsigned long long)f->watches);
	buf_printf(
		b,
		"# TYPE " P("current_inqueue_requests") " gauge\n" P(
			"current_inqueue_requests") TENANTS
		"# TYPE " P("current_executing_requests") " gauge\n" P(
			"current_executing_requests") TENANTS
		"# TYPE " P("current_executing_seats") " gauge\n" P(
			"current_executing_seats") TENANTS
		"# TYPE " P("nominal_limit_seats") " gauge\n" P(
			"nominal_limit_seats") "{priority_level=\"tenants\"} %u\n",
		(unsigned long long)f->nr_waiting,
		(unsigned long long)f->nr_seated, (unsigned long long)f->used,
		f->max.seats);
	buf_puts(b,
		 "# TYPE " P("request_wait_duration_seconds") " histogram\n");
	for (size_t i = 0; i <= NR_BUCKETS; i++) {
		char le[16] = "+Inf";

		sum += f->waited[i];
		if (i < NR_BUCKETS)
			snprintf(le, sizeof(le), "%g", bucket_ms[i] / 1e3);
		buf_printf(
			b,
			P("request_wait_duration_seconds") "_bucket{priority_level=\"tenants\",le=\"%s\"} "
							   "%llu\n",
			le, (unsigned long long)sum);
	}
	buf_printf(
		b,
		P("request_wait_duration_seconds") "_sum{priority_level=\"tenants\"} %.3f\n" P(
			"request_wait_duration_seconds") "_count{priority_level=\"tenants\"} %llu\n",
		(double)f->wait_ms_sum / 1e3, (unsigned long long)sum);
	pthread_mutex_unlock(&f->lock);
}

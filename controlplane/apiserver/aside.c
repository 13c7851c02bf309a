// SPDX-License-Identifier: Apache-2.0
#include "controlplane/apiserver/aside.h"
#include "controlplane/apiserver/authn/user.h"
#include "controlplane/apiserver/conn.h"
#include "lib/slice.h"
#include "lib/str.h"

/* A tenant's, in the order they came. */
struct line {
	struct line *next; /* of the pool's, who come in turn */
	struct aside *first, **last;
	char *tenant;
	unsigned int running;
};

struct aside_pool {
	struct line *lines, **lines_tail;
	unsigned int nr_threads, max, tenant_max;
};

struct asides {
	pthread_mutex_t lock;
	pthread_cond_t idle;
	struct aside_pool pools[NR_ASIDE_KINDS];
};

int asides_open(struct api *api)
{
	static const unsigned int most[NR_ASIDE_KINDS] = {
		[ASIDE_READ] = 1,
		[ASIDE_HEAVY] = 1,
		[ASIDE_DELETE] = 2,
		[ASIDE_HOOK] = 16,
	};
	/* Whose webhooks do not answer keeps the others' threads free. */
	static const unsigned int tenants[NR_ASIDE_KINDS] = {
		[ASIDE_HOOK] = 2,
	};
	struct asides *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->idle, NULL);
	for (int i = 0; i < NR_ASIDE_KINDS; i++) {
		s->pools[i].max = most[i];
		s->pools[i].tenant_max = tenants[i] ? tenants[i] : most[i];
		s->pools[i].lines_tail = &s->pools[i].lines;
	}
	api->asides = s;
	return 0;
}

void asides_close(struct api *api)
{
	struct asides *s = api->asides;

	if (!s)
		return;
	pthread_mutex_destroy(&s->lock);
	pthread_cond_destroy(&s->idle);
	free(s);
	api->asides = NULL;
}

static void release(struct aside *a)
{
	if (a->req && a->req->aside == a)
		a->req->aside = NULL;
	a->free(a);
	free(a);
}

/* --- lines. Under the lock --- */

static struct line *line_of(struct aside_pool *p, const char *tenant)
{
	struct line *l = p->lines;

	while (l && strcmp(l->tenant, tenant) != 0)
		l = l->next;
	if (l)
		return l;
	l = calloc(1, sizeof(*l));
	if (!l)
		return NULL;
	l->tenant = strdup(tenant);
	if (!l->tenant) {
		free(l);
		return NULL;
	}
	l->last = &l->first;
	*p->lines_tail = l;
	p->lines_tail = &l->next;
	return l;
}

/* Take @l out; it comes last, if there is anything left of it. */
static void requeue(struct aside_pool *p, struct line *l)
{
	struct line **at = &p->lines;

	while (*at != l)
		at = &(*at)->next;
	*at = l->next;
	if (!*at)
		p->lines_tail = at;
	if (!l->first && !l->running) {
		free(l->tenant);
		free(l);
		return;
	}
	l->next = NULL;
	*p->lines_tail = l;
	p->lines_tail = &l->next;
}

/* The first one of the first tenant that may have more at work, and who then
 * is the last one. */
static struct aside *take(struct aside_pool *p, struct line **ret)
{
	struct line *l = p->lines;
	struct aside *a;

	while (l && (!l->first || l->running == p->tenant_max))
		l = l->next;
	if (!l)
		return NULL;
	a = l->first;
	l->first = a->next;
	if (!l->first)
		l->last = &l->first;
	l->running++;
	requeue(p, l);
	*ret = l;
	return a;
}

static void taken_is_done(struct aside_pool *p, struct line *l)
{
	l->running--;
	if (!l->first && !l->running)
		requeue(p, l);
}

/* --- threads --- */

void aside_post(struct aside *a)
{
	struct loop *l = a->loop;

	pthread_mutex_lock(&l->lock);
	a->next = l->asides;
	l->asides = a;
	pthread_mutex_unlock(&l->lock);
	loop_wake(l);
}

struct worker {
	struct api *api;
	struct aside_pool *pool;
};

/* Long work gives way to short: of a CPU that both want it gets a tenth. */
#define NICE 10
#define SLICE_NS                                                     \
	200000 /* longer than a loop's: that is let in when it wakes \
		*/

static void *run(void *arg)
{
	struct worker w = *(struct worker *)arg;
	struct asides *s = w.api->asides;
	atomic_uint *works;
	struct line *line;
	struct aside *a;

	free(arg);
	(void)pthread_setname_np(pthread_self(), "arktos-aside");
	slice_set(SLICE_NS);
	(void)!nice(NICE); /* of this thread only; without it, it works, too */
	pthread_mutex_lock(&s->lock);
	while ((a = take(w.pool, &line))) {
		pthread_mutex_unlock(&s->lock);
		works = a->kind == ASIDE_HEAVY ? &w.api->long_works
					       : &w.api->long_lists;
		atomic_fetch_add(works, 1);
		a->work(a);
		atomic_fetch_sub(works, 1);
		aside_post(a);
		pthread_mutex_lock(&s->lock);
		taken_is_done(w.pool, line);
	}
	/* Nobody joins it: what is its own goes while it is still counted. */
	OPENSSL_thread_stop();
	w.pool->nr_threads--;
	pthread_cond_broadcast(&s->idle);
	pthread_mutex_unlock(&s->lock);
	return NULL;
}

/* Under the lock. False: nobody will do it. */
static bool staff(struct api *api, struct aside_pool *p)
{
	struct worker *w;
	pthread_t thread;

	if (p->nr_threads == p->max)
		return true;
	w = malloc(sizeof(*w));
	if (w)
		*w = (struct worker){ api, p };
	if (!w || pthread_create(&thread, NULL, run, w)) {
		free(w);
		return p->nr_threads;
	}
	pthread_detach(thread);
	p->nr_threads++;
	return true;
}

int aside_try(struct aside *a)
{
	struct req *r = a->req;
	struct asides *s = r->api->asides;
	struct aside_pool *p = &s->pools[a->kind];
	struct line *l;
	bool ok;

	a->api = r->api;
	a->loop = r->loop;
	a->next = NULL;
	pthread_mutex_lock(&s->lock);
	ok = staff(r->api, p);
	l = !ok ? NULL
		: line_of(p, a->tenant ? a->tenant
			     : r->user ? r->user->tenant
				       : turn_tenant(r->conn));
	if (l) {
		*l->last = a;
		l->last = &a->next;
		/* A connection that is away cannot lose its request. */
		if (a->kind != ASIDE_HEAVY)
			r->aside = a;
	}
	pthread_mutex_unlock(&s->lock);
	return l ? 0 : -EAGAIN;
}

void aside_run(struct aside *a)
{
	struct req *r = a->req;

	if (aside_try(a) == 0)
		return;
	release(a);
	reply_error(r, 500, "InternalError", "cannot start a thread");
}

void aside_orphan(struct req *r)
{
	if (r->aside)
		r->aside->req = NULL;
	r->aside = NULL;
}

void aside_done(struct aside *a)
{
	struct req *r = a->req;

	if (r) {
		if (r->aside == a)
			r->aside = NULL;
		a->done(a); /* replies: the request may be gone after */
		a->req = NULL;
	}
	release(a);
}

void aside_wait(struct api *api)
{
	struct asides *s = api->asides;
	unsigned int threads;

	if (!s)
		return;
	pthread_mutex_lock(&s->lock);
	do {
		threads = 0;
		for (int i = 0; i < NR_ASIDE_KINDS; i++)
			threads += s->pools[i].nr_threads;
		if (threads)
			pthread_cond_wait(&s->idle, &s->lock);
	} while (threads);
	pthread_mutex_unlock(&s->lock);
}

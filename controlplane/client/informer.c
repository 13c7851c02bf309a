// SPDX-License-Identifier: Apache-2.0
/*
 * The protocol around the cache, on the client's loop: list page by page,
 * watch from there, go on from the last revision seen when the watch ends,
 * list again on 410, and wait longer after each failure in a row.
 */
#include "controlplane/client/informer.h"

#include <sys/random.h>
#include <time.h>

#include "controlplane/client/cache.h"
#include "controlplane/client/client.h"
#include "lib/ev.h"
#include "lib/str.h"

#define RETRY_MS     100   /* after the first failure */
#define RETRY_MAX_MS 10000 /* after many */
#define WATCH_S      300   /* at least; up to twice of it */

#define METADATA(kind) "application/json;as=" kind ";g=meta.k8s.io;v=v1"

struct subscriber {
	void (*fn)(void *arg, const struct informer_event *ev);
	void *arg;
	struct subscriber *next;
};

struct informer {
	struct client *client;
	struct cache cache;
	struct informer_opts opts; /* strings owned */
	struct subscriber *subscribers;
	/* On the loop only. */
	struct client_call call;
	struct ev_timer retry;
	char *url; /* of the present call */
	char *more;
	struct buf line;
	bool running, watching, started, spoilt;
	unsigned failures;
	uint64_t list_revision;
	/* For everybody. */
	pthread_mutex_t lock;
	pthread_cond_t cond;
	bool synced, stopped;
	atomic_ullong revision;
	struct informer_stats stats;
};

static void go_on(void *arg);

/* --- telling --- */

static void changed(void *arg, const struct informer_event *ev)
{
	struct informer *i = arg;

	i->stats.events++;
	for (struct subscriber *s = i->subscribers; s; s = s->next)
		s->fn(s->arg, ev);
}

static void note(struct informer *i, const char *msg)
{
	pthread_mutex_lock(&i->lock);
	snprintf(i->stats.last_error, sizeof(i->stats.last_error), "%s", msg);
	if (*msg)
		i->stats.failures++;
	pthread_mutex_unlock(&i->lock);
}

static void set_synced(struct informer *i)
{
	pthread_mutex_lock(&i->lock);
	i->synced = true;
	pthread_cond_broadcast(&i->cond);
	pthread_mutex_unlock(&i->lock);
}

/* --- one step after the other --- */

static uint32_t random_below(uint32_t n)
{
	uint32_t v = 0;

	if (getrandom(&v, sizeof(v), GRND_NONBLOCK) != sizeof(v))
		v = (uint32_t)ev_clock_ms();
	return v % n;
}

static void again(struct informer *i, const char *why)
{
	uint64_t ms = (uint64_t)RETRY_MS
		      << (i->failures < 10 ? i->failures : 10);

	if (ms > RETRY_MAX_MS)
		ms = RETRY_MAX_MS;
	i->failures++;
	note(i, why);
	/* All informers of all nodes lose a server at once. */
	ms = ms / 2 + random_below((uint32_t)ms);
	if (ev_timer_set(client_loop(i->client), &i->retry, ms, go_on, i) < 0)
		go_on(i);
}

static void start_over(struct informer *i)
{
	atomic_store(&i->revision, 0);
	free(i->more);
	i->more = NULL;
}

/* Whole lines of what has come. */
static int take_lines(struct informer *i, struct err *e)
{
	size_t at = 0;
	int r = 0;

	while (r == CACHE_OK && at < i->line.len) {
		const char *p = i->line.data + at;
		const char *nl = memchr(p, '\n', i->line.len - at);
		uint64_t revision = 0;

		if (!nl)
			break;
		at += (size_t)(nl - p) + 1;
		if (nl > p)
			r = cache_line(&i->cache, p, (size_t)(nl - p),
				       &revision, e);
		if (revision)
			atomic_store(&i->revision, revision);
	}
	if (at)
		buf_consume(&i->line, at);
	return r;
}

static void on_data(struct client_call *call, const char *data, size_t len)
{
	struct informer *i = call->arg;
	struct err e = { 0 };
	int r;

	if (i->failures) {
		i->failures = 0;
		note(i, "");
	}
	if (buf_add(&i->line, data, len) < 0)
		r = err_set(&e, -EMSGSIZE, "an event of more than %d bytes",
			    INFORMER_LINE_MAX);
	else
		r = take_lines(i, &e);
	if (r == CACHE_OK)
		return;
	/* It is of no use any more, whatever follows. */
	client_cancel(i->client, &i->call);
	i->running = false;
	if (r == CACHE_EXPIRED || r < 0)
		start_over(i);
	again(i, e.msg);
}

static void watch_done(struct informer *i)
{
	int s = i->call.status;
	struct err e = { 0 };

	if (s == 200) {
		/* Its time was over. */
		go_on(i);
		return;
	}
	if (s == 410 || s == 504)
		start_over(i);
	(void)client_check(&i->call, &e);
	again(i, e.msg);
}

static void list_done(struct informer *i)
{
	struct cache_page page = { 0 };
	struct err e = { 0 };
	int r = client_check(&i->call, &e);

	if (r == 0)
		r = cache_page(&i->cache, buf_str(&i->call.answer),
			       i->call.answer.len, &page, &e);
	buf_clear(&i->call.answer);
	free(i->more);
	i->more = page.more;
	if (r == 0 && !page.more)
		r = cache_end(&i->cache);
	if (r < 0) {
		/* Half a list is none: what it left out is not gone. */
		start_over(i);
		again(i, e.msg);
		return;
	}
	i->failures = 0;
	if (!page.more) {
		i->stats.lists++;
		atomic_store(&i->revision, page.revision);
		note(i, "");
		set_synced(i);
	}
	go_on(i);
}

static void on_done(struct client_call *call)
{
	struct informer *i = call->arg;

	i->running = false;
	if (i->stopped)
		return;
	if (i->watching)
		watch_done(i);
	else
		list_done(i);
}

static char *list_url(struct informer *i)
{
	const char *q = i->opts.query;

	if (!i->more)
		cache_begin(&i->cache);
	return str_printf("%s?limit=%d%s%s%s%s", i->opts.path, INFORMER_PAGE,
			  q ? "&" : "", q ? q : "", i->more ? "&continue=" : "",
			  i->more ? i->more : "");
}

static char *watch_url(struct informer *i, uint64_t revision)
{
	const char *q = i->opts.query;

	i->stats.watches++;
	return str_printf("%s?watch=true&allowWatchBookmarks=true"
			  "&timeoutSeconds=%u&resourceVersion=%llu%s%s",
			  i->opts.path, WATCH_S + random_below(WATCH_S),
			  (unsigned long long)revision, q ? "&" : "",
			  q ? q : "");
}

static void go_on(void *arg)
{
	struct informer *i = arg;
	uint64_t revision = atomic_load(&i->revision);
	const char *as = NULL;

	if (i->stopped || i->running)
		return;
	i->watching = revision != 0;
	free(i->url);
	i->url = i->watching ? watch_url(i, revision) : list_url(i);
	if (!i->url) {
		again(i, "out of memory");
		return;
	}
	if (i->opts.metadata_only)
		as = i->watching ? METADATA("PartialObjectMetadata")
				 : METADATA("PartialObjectMetadataList");
	buf_reset(&i->line);
	client_call_clear(&i->call);
	i->call = (struct client_call){
		.method = "GET",
		.path = i->url,
		.accept = as,
		.stream = i->watching,
		.data = i->watching ? on_data : NULL,
		.done = on_done,
		.arg = i,
	};
	i->running = true;
	client_start(i->client, &i->call);
}

/* --- beginning and end --- */

int informer_new(struct client *c, const struct informer_opts *opts,
		 struct informer **ret, struct err *e)
{
	struct informer *i = calloc(1, sizeof(*i));
	int r;

	if (!i)
		return err_set(e, -ENOMEM, "out of memory");
	i->client = c;
	i->opts = *opts;
	i->opts.path = i->opts.query = i->opts.label = NULL;
	i->line.max = INFORMER_LINE_MAX;
	pthread_mutex_init(&i->lock, NULL);
	pthread_cond_init(&i->cond, NULL);
	r = str_set((char **)&i->opts.path, opts->path);
	if (r == 0)
		r = str_set((char **)&i->opts.query, opts->query);
	if (r == 0)
		r = str_set((char **)&i->opts.label, opts->label);
	cache_init(&i->cache, &i->opts);
	i->cache.changed = changed;
	i->cache.arg = i;
	if (r < 0) {
		informer_free(i);
		return err_set(e, r, "out of memory");
	}
	*ret = i;
	return 0;
}

int informer_subscribe(struct informer *i,
		       void (*fn)(void *arg, const struct informer_event *ev),
		       void *arg)
{
	struct subscriber *s = calloc(1, sizeof(*s)), **at = &i->subscribers;

	if (!s)
		return -ENOMEM;
	s->fn = fn;
	s->arg = arg;
	while (*at)
		at = &(*at)->next;
	*at = s;
	return 0;
}

void informer_start(struct informer *i)
{
	i->started = true;
	while (ev_post(client_loop(i->client), go_on, i) < 0)
		;
}

static void stop(void *arg)
{
	struct informer *i = arg;

	if (i->running)
		client_cancel(i->client, &i->call);
	i->running = false;
	ev_timer_del(&i->retry);
	pthread_mutex_lock(&i->lock);
	i->stopped = true;
	pthread_cond_broadcast(&i->cond);
	pthread_mutex_unlock(&i->lock);
}

void informer_free(struct informer *i)
{
	struct subscriber *s;

	if (!i)
		return;
	if (i->started && client_on_loop(i->client)) {
		stop(i);
	} else if (i->started) {
		while (ev_post(client_loop(i->client), stop, i) < 0)
			;
		pthread_mutex_lock(&i->lock);
		while (!i->stopped)
			pthread_cond_wait(&i->cond, &i->lock);
		pthread_mutex_unlock(&i->lock);
	}
	while ((s = i->subscribers)) {
		i->subscribers = s->next;
		free(s);
	}
	cache_clear(&i->cache);
	client_call_clear(&i->call);
	buf_clear(&i->line);
	pthread_mutex_destroy(&i->lock);
	pthread_cond_destroy(&i->cond);
	free((char *)i->opts.path);
	free((char *)i->opts.query);
	free((char *)i->opts.label);
	free(i->url);
	free(i->more);
	free(i);
}

/* --- reading --- */

bool informer_synced(const struct informer *i)
{
	struct informer *m = (struct informer *)i;
	bool synced;

	pthread_mutex_lock(&m->lock);
	synced = m->synced;
	pthread_mutex_unlock(&m->lock);
	return synced;
}

int informer_wait(struct informer *i, unsigned timeout_ms)
{
	struct timespec until;
	int r = 0;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += timeout_ms / 1000;
	until.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	pthread_mutex_lock(&i->lock);
	while (!i->synced && r == 0)
		r = pthread_cond_timedwait(&i->cond, &i->lock, &until);
	pthread_mutex_unlock(&i->lock);
	return r ? -ETIMEDOUT : 0;
}

uint64_t informer_revision(const struct informer *i)
{
	return atomic_load(&((struct informer *)i)->revision);
}

struct informer_object *informer_get(struct informer *i, const char *key)
{
	struct informer_object *o;

	pthread_rwlock_rdlock(&i->cache.lock);
	o = map_get(&i->cache.objects, key);
	if (o)
		informer_ref(o);
	pthread_rwlock_unlock(&i->cache.lock);
	return o;
}

int informer_list(struct informer *i, enum informer_index by, const char *value,
		  struct informer_list *ret)
{
	int r;

	pthread_rwlock_rdlock(&i->cache.lock);
	r = cache_list(&i->cache, by, value, ret);
	pthread_rwlock_unlock(&i->cache.lock);
	return r;
}

void informer_list_clear(struct informer_list *l)
{
	for (size_t n = 0; n < l->nr; n++)
		informer_unref(l->v[n]);
	free(l->v);
	memset(l, 0, sizeof(*l));
}

size_t informer_count(struct informer *i, enum informer_index by,
		      const char *value)
{
	size_t nr;

	pthread_rwlock_rdlock(&i->cache.lock);
	nr = cache_count(&i->cache, by, value);
	pthread_rwlock_unlock(&i->cache.lock);
	return nr;
}

void informer_stats(struct informer *i, struct informer_stats *ret)
{
	pthread_mutex_lock(&i->lock);
	*ret = i->stats;
	pthread_mutex_unlock(&i->lock);
	pthread_rwlock_rdlock(&i->cache.lock);
	ret->objects = map_len(&i->cache.objects);
	ret->bytes = i->cache.bytes;
	pthread_rwlock_unlock(&i->cache.lock);
}

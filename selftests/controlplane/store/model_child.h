/* SPDX-License-Identifier: Apache-2.0 */
/* The half that works, for one inclusion by a test program. */
#include <dlfcn.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include "selftests/controlplane/store/model.h"
#include "selftests/controlplane/store/text.h"

struct worker {
	const struct model_child *c;
	struct store *s;
	uint32_t stream;
	uint64_t seq, random;
	uint64_t known[MODEL_KEYS]; /* newest revision this thread has seen */
};

static atomic_uint_fast64_t watched; /* reported by the watch of everything */

static uint64_t mono_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static uint64_t rnd(uint64_t *x)
{
	*x ^= *x << 13;
	*x ^= *x >> 7;
	*x ^= *x << 17;
	return *x >> 11;
}

static void key_name(char out[64], uint32_t k)
{
	snprintf(out, 64, "core/pods/t%u/ns/k%02u", k % MODEL_TENANTS, k);
}

static uint32_t key_index(const char *key)
{
	return strtoul(strrchr(key, '/') + 2, NULL, 10);
}

/* Small, a page, and more than one, so that all page kinds come up; those with
 * sets of fields share them. */
static size_t make_text(uint64_t value, char out[MODEL_TEXT_MAX])
{
	static const size_t pads[] = { 0, 200, 1200, 3000, 9000 };
	static const char name[] = "\"fieldsV1\":{", next[] = "},{\"manager\":";
	size_t len = snprintf(out, 32, "%llu ", (unsigned long long)value);
	size_t pad = pads[value / 4 % 5];
	char *p = out + len;

	memset(p, 'x', pad);
	for (size_t at = 0; at + 500 < pad && at < 1500; at += 500) {
		memcpy(p + at, name, strlen(name));
		memset(p + at + strlen(name), 'a' + value % 3, 300);
		memcpy(p + at + 400, next, strlen(next));
	}
	return len + pad;
}

static uint64_t value_of(const struct object_bytes *o)
{
	char want[MODEL_TEXT_MAX];
	const char *text = o && o->len ? text_of(o) : "";
	uint64_t value = strtoull(text, NULL, 10);

	if (*text && (o->len != make_text(value, want) ||
		      memcmp(text, want, o->len) != 0))
		return UINT64_MAX; /* nobody has written that */
	return value;
}

static void report(const struct model_child *c, struct model_rec *r)
{
	r->child = c->child;
	r->ns = mono_ns();
	if (write(c->fd, r, sizeof(*r)) != sizeof(*r))
		_exit(4);
}

static void plan_change(struct worker *w, struct model_rec *r,
			struct model_change *ch)
{
	ch->key = rnd(&w->random) % MODEL_KEYS;
	/* Half of them seldom change: what was written with them is kept. */
	if (ch->key >= MODEL_KEYS / 2 && rnd(&w->random) % 8)
		ch->key -= MODEL_KEYS / 2;
	ch->value = r->id * 4 + (ch - r->change);
	switch (r->kind) {
	case M_CREATE:
		ch->expect = 1;
		break;
	case M_UPDATE:
		ch->expect = w->known[ch->key] ? w->known[ch->key] : 2;
		break;
	case M_DELETE:
		ch->remove = 1;
		if (rnd(&w->random) % 2 && w->known[ch->key])
			ch->expect = w->known[ch->key];
		break;
	default:
		break;
	}
}

static void fill_op(struct store_op *op, const struct model_change *ch,
		    char *key, char data[MODEL_TEXT_MAX])
{
	key_name(key, ch->key);
	*op = (struct store_op){ .key = key,
				 .data = data,
				 .len = make_text(ch->value, data),
				 .rv_off = STORE_NO_RV,
				 .remove = ch->remove };
	if (ch->expect == 1)
		op->expect = STORE_ABSENT;
	else if (ch->expect) {
		op->expect = STORE_MATCH;
		op->revision = ch->expect;
	}
}

static void do_write(struct worker *w, struct model_rec *r)
{
	static __thread char data[MODEL_OPS][MODEL_TEXT_MAX];
	char keys[MODEL_OPS][64];
	struct store_op ops[MODEL_OPS];
	struct store_txn txn = { .ops = ops };

	r->nr = r->kind == M_TXN ? 2 + rnd(&w->random) % 2 : 1;
	for (uint32_t i = 0; i < r->nr; i++)
		plan_change(w, r, &r->change[i]);
	/* The same key twice in one transaction is not what is tested. */
	for (uint32_t i = 1; i < r->nr; i++)
		r->change[i].key = (r->change[0].key + i) % MODEL_KEYS;
	txn.nr_ops = r->nr;
	for (uint32_t i = 0; i < r->nr; i++)
		fill_op(&ops[i], &r->change[i], keys[i], data[i]);
	r->type = M_INVOKE;
	report(w->c, r);
	r->result = store_commit(w->s, &txn, NULL);
	r->revision = r->result ? 0 : txn.revision;
	r->type = M_DONE;
	report(w->c, r);
	for (uint32_t i = 0; i < r->nr; i++) {
		if (ops[i].ret && !ops[i].remove)
			w->known[r->change[i].key] = ops[i].ret->revision;
		object_unref(ops[i].ret);
	}
}

static int fresh(struct worker *w)
{
	return w->c->shared ? store_sync(w->s, NULL) : 0;
}

/* Where there are several clusters: asked after that, before it is read. */
static int whole(struct worker *w, const char *key)
{
	return w->c->shared ? store_whole(w->s, key, NULL) : 0;
}

static void do_get(struct worker *w, struct model_rec *r)
{
	struct object_bytes *o;
	char key[64];

	r->key = rnd(&w->random) % MODEL_KEYS;
	key_name(key, r->key);
	r->type = M_INVOKE;
	report(w->c, r);
	r->result = fresh(w);
	if (!r->result)
		r->result = whole(w, key);
	if (!r->result) {
		o = store_get(w->s, key);
		r->revision = o ? o->revision : 0;
		r->value = value_of(o);
		w->known[r->key] = r->revision;
		object_unref(o);
	}
	r->type = M_DONE;
	report(w->c, r);
}

static void do_list(struct worker *w, struct model_rec *r)
{
	uint32_t tenant = rnd(&w->random) % (MODEL_TENANTS + 1);
	char prefix[64] = "core/pods/";
	struct store_range range = { .prefix = prefix, .whole = true };
	struct store_list l = { 0 };

	if (tenant < MODEL_TENANTS)
		snprintf(prefix, sizeof(prefix), "core/pods/t%u/", tenant);
	r->key = tenant;
	r->type = M_INVOKE;
	report(w->c, r);
	r->result = fresh(w);
	if (!r->result)
		r->result = store_list(w->s, &range, &l, NULL);
	memset(r->seen, 0, sizeof(r->seen));
	r->revision = l.revision;
	for (size_t i = 0; i < l.nr; i++) {
		uint32_t k = key_index(l.v[i]->key);

		r->seen[k] = w->known[k] = l.v[i]->revision;
	}
	store_list_clear(&l);
	r->type = M_DONE;
	report(w->c, r);
}

static void *work(void *arg)
{
	static const uint8_t mix[] = { M_PUT,    M_CREATE, M_CREATE, M_UPDATE,
				       M_UPDATE, M_UPDATE, M_DELETE, M_TXN,
				       M_TXN,    M_GET,    M_GET,    M_LIST };
	struct worker *w = arg;

	for (;;) {
		struct model_rec r = { .stream = w->stream };

		r.kind = mix[rnd(&w->random) % sizeof(mix)];
		r.id = ((uint64_t)w->c->child << 40) |
		       ((uint64_t)w->stream << 32) | ++w->seq;
		if (r.kind == M_GET)
			do_get(w, &r);
		else if (r.kind == M_LIST)
			do_list(w, &r);
		else
			do_write(w, &r);
	}
	return NULL;
}

struct watcher {
	const struct model_child *c;
	struct store *s;
	uint32_t stream;
	uint32_t tenant;
	sem_t wake;
};

static void on_event(void *arg)
{
	struct watcher *w = arg;

	sem_post(&w->wake);
}

static void *watch(void *arg)
{
	struct watcher *w = arg;
	char prefix[64] = "core/pods/";
	struct model_rec r = { .type = M_WATCH, .stream = w->stream };
	struct store_watch *sw = NULL;
	struct store_event ev[32];
	int n;

	if (w->tenant < MODEL_TENANTS)
		snprintf(prefix, sizeof(prefix), "core/pods/t%u/", w->tenant);
	r.key = w->tenant;
	r.revision = w->c->watch_from ? w->c->watch_from : store_revision(w->s);
	r.result = store_watch_open(w->s, prefix, r.revision, on_event, w, &sw,
				    NULL);
	report(w->c, &r);
	if (r.result)
		return NULL;
	while ((n = store_watch_read(sw, ev, 32)) >= 0) {
		for (int i = 0; i < n; i++) {
			struct object_bytes *o = ev[i].obj;

			r.type = M_EVENT;
			r.revision = o->revision;
			r.value = value_of(o);
			r.key = key_index(o->key);
			r.deleted = o->deleted;
			r.id = ev[i].prev ? ev[i].prev->revision : 0;
			report(w->c, &r);
			if (w->tenant == MODEL_TENANTS)
				atomic_store(&watched, r.revision);
			store_event_clear(&ev[i]);
		}
		if (!n)
			while (sem_wait(&w->wake))
				;
	}
	/* Compacted away while it was behind: a watch of everything is never
	 * overtaken, since only what it has reported is compacted. */
	r.type = M_WATCH;
	r.result = n;
	report(w->c, &r);
	return NULL;
}

/* Faults of the disk, and compaction up to what has been reported. */
static void *trouble(void *arg)
{
	struct worker *w = arg;
	void (*fail)(int, int, int, int) = NULL;
	struct timespec ts = { 0, 15000000 };

	if (w->c->faults)
		*(void **)&fail = dlsym(RTLD_DEFAULT, "shim_disk_fail");
	if (w->c->faults && !fail)
		_exit(6);
	for (;;) {
		uint64_t x = rnd(&w->random);

		nanosleep(&ts, NULL); /* load between two faults, not a wait */
		if (fail && x % 3 == 0)
			fail(x & 16 ? 5 : 28, x / 64 % 4, 1 + x / 1024 % 3,
			     x / 8192 % 2);
		if (w->c->compact && x % 5 == 0) {
			uint64_t to = atomic_load(&watched);

			if (to > 12)
				(void)store_compact(w->s, to - 10, NULL);
		}
	}
	return NULL;
}

void model_child(const struct model_child *c)
{
	struct model_rec r = { 0 };
	struct worker w[16] = { 0 };
	struct watcher watchers[3] = { 0 };
	struct store *s = NULL;
	struct err e = { 0 };
	pthread_t t;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	r.type = M_OPENING;
	report(c, &r);
	r.type = M_OPEN;
	r.result = store_open(&c->opts, &s, &e);
	if (r.result)
		fprintf(stderr, "# child %u: %s\n", c->child, e.msg);
	r.revision = s ? store_revision(s) : 0;
	report(c, &r);
	if (r.result)
		_exit(2);
	atomic_store(&watched, c->watch_from);
	for (uint32_t i = 0; i < 3; i++) {
		watchers[i] = (struct watcher){ .c = c, .s = s, .stream = i };
		watchers[i].tenant = i ? i - 1 : MODEL_TENANTS;
		sem_init(&watchers[i].wake, 0, 0);
		pthread_create(&t, NULL, watch, &watchers[i]);
	}
	for (uint32_t i = 0; i <= c->threads; i++) {
		w[i] = (struct worker){ .c = c, .s = s, .stream = i };
		w[i].random = (c->seed + i + 1) * 0x9e3779b97f4a7c15 | 1;
		pthread_create(&t, NULL, i < c->threads ? work : trouble,
			       &w[i]);
	}
	for (;;)
		pause();
}

// SPDX-License-Identifier: Apache-2.0
#include "controlplane/controllers/framework.h"

#include <pthread.h>
#include <stdio.h>

#include "controlplane/client/object.h"
#include "lib/err.h"
#include "lib/ev.h"
#include "lib/json.h"
#include "lib/log.h"
#include "lib/map.h"
#include "lib/str.h"
#include "lib/wq.h"

#define WORKERS       4
#define NOT_SYNCED_MS 20
#define LAG_MS        50 /* look again whether the cache has come */
#define LAG_MAX_S     30 /* the write may have been of no effect */
#define BATCH_MAX     512
#define CTL_KEY_MAX   512

struct expectation {
	enum kind kind;
	uint64_t revision;
	int64_t until_s;
};

#define STUCK_MS 30000

/* What was last heard of a controller. */
struct record {
	char key[CTL_KEY_MAX], message[ERR_MSG_SIZE];
	int64_t failed_s; /* 0: nothing to complain about */
	unsigned failures;
};

struct manager {
	struct shared *shared;
	struct client *client;
	struct recorder *recorder;
	struct wq *queue;
	unsigned shard, shards;
	struct ctl *ctls;
	size_t nr;
	struct record *records; /* one for each of @ctls; under @lock */
	int64_t synced_s;       /* the last time a key was done */
	unsigned running;       /* workers */
	uint64_t moved_ms;      /* the last beginning of all, or end of one */
	pthread_mutex_t lock;
	struct map expected; /* queue key: struct expectation */
	struct follow *follows;
};

struct follow {
	struct ctl *ctl;
	char *owner;
	void (*fn)(struct ctl *c, const struct informer_event *ev);
	struct follow *next;
};

/* --- queue keys: tenant/controller/namespace/name --- */

static char *queue_key(const struct ctl *c, const char *key)
{
	int tenant = (int)strcspn(key, "/");

	return str_printf("%.*s/%s%s", tenant, key, c->type->name,
			  key + tenant);
}

void ctl_add(struct ctl *c, const char *key)
{
	auto_free char *k = queue_key(c, key);

	if (k)
		(void)wq_add(c->manager->queue, k);
}

void ctl_add_after(struct ctl *c, const char *key, int64_t ms)
{
	auto_free char *k = queue_key(c, key);

	if (k)
		(void)wq_add_after(c->manager->queue, k,
				   ms > 0 ? (uint64_t)ms : 0);
}

void ctl_add_all(struct ctl *c, enum kind k, const char *space)
{
	auto_list struct informer_list l = { 0 };

	(void)informer_list(ctl_informer(c, k), INFORMER_BY_NAMESPACE, space,
			    &l);
	for (size_t i = 0; i < l.nr; i++)
		ctl_add(c, l.v[i]->key);
}

static void note_begin(struct manager *m)
{
	pthread_mutex_lock(&m->lock);
	if (m->running++ == 0)
		m->moved_ms = ev_clock_ms();
	pthread_mutex_unlock(&m->lock);
}

static void note_end(struct manager *m, const struct ctl *c, const char *key,
		     int r, const struct err *e)
{
	struct record *rec = &m->records[c - m->ctls];

	pthread_mutex_lock(&m->lock);
	m->running--;
	m->moved_ms = ev_clock_ms();
	/* Somebody was faster: neither done nor a failure. */
	if (r >= 0) {
		m->synced_s = time_now();
		if (rec->failed_s && strcmp(rec->key, key) == 0)
			rec->failed_s = rec->failures = 0;
	} else if (r != -ESTALE && r != -ECANCELED) {
		if (strcmp(rec->key, key) != 0)
			rec->failures = 0;
		rec->failures++;
		rec->failed_s = time_now();
		snprintf(rec->key, sizeof(rec->key), "%s", key);
		snprintf(rec->message, sizeof(rec->message), "%s", e->msg);
	}
	pthread_mutex_unlock(&m->lock);
}

static void put_records(const struct manager *m, struct json_out *o)
{
	json_put_array(o, "failing");
	for (size_t i = 0; i < m->nr; i++) {
		const struct record *rec = &m->records[i];
		char text[OBJ_TIME_SIZE];

		if (!rec->failed_s)
			continue;
		time_format(rec->failed_s, text);
		json_put_object(o, NULL);
		json_put_str(o, "controller", m->ctls[i].type->name);
		json_put_str(o, "key", rec->key);
		json_put_str(o, "message", rec->message);
		json_put_u64(o, "times", rec->failures);
		json_put_str(o, "last", text);
		json_put_end(o);
	}
	json_put_end(o);
}

void manager_put_health(struct manager *m, struct json_out *o)
{
	struct wq_stats st;
	char text[OBJ_TIME_SIZE];
	uint64_t still_ms;

	wq_stats(m->queue, &st);
	json_put_bool(o, "synced", shared_synced(m->shared));
	json_put_u64(o, "waiting", st.ready);
	pthread_mutex_lock(&m->lock);
	if (m->synced_s) {
		time_format(m->synced_s, text);
		json_put_str(o, "lastSync", text);
	}
	still_ms = m->running ? ev_clock_ms() - m->moved_ms : 0;
	json_put_u64(o, "stuckSeconds",
		     still_ms > STUCK_MS ? still_ms / 1000 : 0);
	put_records(m, o);
	pthread_mutex_unlock(&m->lock);
}

static void work(void *arg, const char *queue_key)
{
	struct manager *m = arg;
	const char *name = strchr(queue_key, '/') + 1;
	size_t len = strcspn(name, "/");
	auto_free char *key = str_printf("%.*s%s", (int)(name - queue_key - 1),
					 queue_key, name + len);
	struct ctl *c = NULL;
	struct err e = { 0 };
	int r;

	for (size_t i = 0; i < m->nr; i++)
		if (strlen(m->ctls[i].type->name) == len &&
		    strncmp(m->ctls[i].type->name, name, len) == 0)
			c = &m->ctls[i];
	if (!key || !shared_synced(m->shared)) {
		(void)wq_add_after(m->queue, queue_key, NOT_SYNCED_MS);
		return;
	}
	if (!ctl_settled(c, key))
		return;
	note_begin(m);
	r = c->type->sync(c, key, &e);
	note_end(m, c, key, r, &e);
	if (r >= 0) {
		wq_forget(m->queue, queue_key);
		return;
	}
	/* Somebody was faster; the cache will show it. */
	if (r != -ESTALE && r != -ECANCELED)
		log_warn("%s %s: %s, retrying", c->type->name, key, e.msg);
	(void)wq_backoff(m->queue, queue_key);
}

/* --- following --- */

static void follow(void *arg, const struct informer_event *ev)
{
	struct follow *f = arg;
	struct informer_object *o = ev->now ? ev->now : ev->old;

	if (f->fn) {
		f->fn(f->ctl, ev);
		return;
	}
	if (!f->owner) {
		ctl_add(f->ctl, o->key);
		return;
	}
	for (int i = 0; i < 2; i++) {
		auto_free char *key = NULL;

		o = i ? ev->old : ev->now;
		if (!o || strcmp(o->owner_kind, f->owner) != 0)
			continue;
		/* The same owner before and after is told once. */
		if (i && ev->now && strcmp(ev->now->owner, o->owner) == 0)
			continue;
		key = str_printf("%s/%s/%s", o->tenant, o->namespace,
				 o->owner_name);
		if (key)
			ctl_add(f->ctl, key);
	}
}

static int subscribe(struct ctl *c, enum kind k, const char *owner,
		     void (*fn)(struct ctl *c, const struct informer_event *ev),
		     struct err *e)
{
	struct informer *i = shared_informer(c->shared, k);
	struct follow *f = calloc(1, sizeof(*f));

	if (f) {
		f->ctl = c;
		f->fn = fn;
		f->next = c->manager->follows;
		c->manager->follows = f;
	}
	if (!i || !f || str_set(&f->owner, owner) < 0 ||
	    informer_subscribe(i, follow, f) < 0)
		return err_set(e, -ENOMEM, "out of memory");
	return 0;
}

int ctl_follow(struct ctl *c, enum kind k, const char *owner, struct err *e)
{
	return subscribe(c, k, owner, NULL, e);
}

int ctl_watch(struct ctl *c, enum kind k,
	      void (*fn)(struct ctl *c, const struct informer_event *ev),
	      struct err *e)
{
	return subscribe(c, k, NULL, fn, e);
}

struct informer *ctl_informer(struct ctl *c, enum kind k)
{
	return shared_informer(c->shared, k);
}

struct informer_object *ctl_get(struct ctl *c, enum kind k, const char *key)
{
	return informer_get(shared_informer(c->shared, k), key);
}

bool ctl_owns(const struct ctl *c, const char *uid)
{
	const struct manager *m = c->manager;

	return m->shards < 2 || fnv32(uid, strlen(uid)) % m->shards == m->shard;
}

/* --- expectations --- */

void ctl_expect(struct ctl *c, const char *key, enum kind k, uint64_t revision)
{
	struct manager *m = c->manager;
	auto_free char *qk = queue_key(c, key);
	struct expectation *x;

	if (!qk || !revision)
		return;
	pthread_mutex_lock(&m->lock);
	x = map_get(&m->expected, qk);
	if (!x) {
		x = calloc(1, sizeof(*x));
		if (x && map_set(&m->expected, qk, x, NULL) < 0) {
			free(x);
			x = NULL;
		}
	}
	if (x)
		*x = (struct expectation){ k, revision,
					   time_now() + LAG_MAX_S };
	pthread_mutex_unlock(&m->lock);
}

bool ctl_settled(struct ctl *c, const char *key)
{
	struct manager *m = c->manager;
	auto_free char *qk = queue_key(c, key);
	struct expectation *x;
	bool settled = true;

	pthread_mutex_lock(&m->lock);
	x = qk ? map_get(&m->expected, qk) : NULL;
	if (x) {
		settled = informer_revision(ctl_informer(c, x->kind)) >=
				  x->revision ||
			  time_now() > x->until_s;
		if (settled)
			free(map_del(&m->expected, qk));
	}
	pthread_mutex_unlock(&m->lock);
	if (!settled)
		ctl_add_after(c, key, LAG_MS);
	return settled;
}

/* --- beginning and end --- */

int manager_new(const struct manager_opts *opts, struct manager **ret,
		struct err *e)
{
	auto_ptr(manager) m = calloc(1, sizeof(*m));
	struct wq_opts wo = { .work = work,
			      .workers =
				      opts->workers ? opts->workers : WORKERS,
			      .name = "arktos-ctl",
			      .base_ms = 50,
			      .max_ms = 60000 };
	size_t nr = 0;
	int r = 0;

	if (!m)
		return err_set(e, -ENOMEM, "out of memory");
	pthread_mutex_init(&m->lock, NULL);
	m->shared = opts->shared;
	m->client = shared_client(opts->shared);
	m->shard = opts->shard;
	m->shards = opts->shards;
	while (opts->controllers[nr])
		nr++;
	m->ctls = calloc(nr ? nr : 1, sizeof(*m->ctls));
	m->records = calloc(nr ? nr : 1, sizeof(*m->records));
	if (!m->ctls || !m->records)
		return err_set(e, -ENOMEM, "out of memory");
	wo.arg = m;
	r = recorder_new(m->client, "arktos-controllers", &m->recorder, e);
	if (r == 0)
		r = wq_new(&wo, &m->queue, e);
	for (size_t i = 0; i < nr && r == 0; i++) {
		m->ctls[i] = (struct ctl){ .type = opts->controllers[i],
					   .manager = m,
					   .node_grace_ms =
						   opts->node_grace_ms
							   ? opts->node_grace_ms
							   : NODE_GRACE_MS,
					   .pods_over_max =
						   opts->pods_over_max
							   ? opts->pods_over_max
							   : PODS_OVER_MAX,
					   .shared = m->shared,
					   .client = m->client,
					   .recorder = m->recorder };
		m->nr++;
		r = m->ctls[i].type->begin(&m->ctls[i], e);
	}
	if (r < 0)
		return r;
	*ret = take_ptr(m);
	return 0;
}

void manager_stop(struct manager *m)
{
	if (m->queue)
		wq_stop(m->queue, false);
}

void manager_metrics(struct manager *m, struct buf *b)
{
	wq_metrics(m->queue, "controllers", b);
}

void manager_free(struct manager *m)
{
	struct follow *f;

	if (!m)
		return;
	manager_stop(m);
	for (size_t i = 0; i < m->nr; i++)
		if (m->ctls[i].type->end)
			m->ctls[i].type->end(&m->ctls[i]);
	recorder_free(m->recorder);
	wq_free(m->queue);
	while ((f = m->follows)) {
		m->follows = f->next;
		free(f->owner);
		free(f);
	}
	map_clear(&m->expected, free);
	pthread_mutex_destroy(&m->lock);
	free(m->ctls);
	free(m->records);
	free(m);
}

/* --- writes --- */

static uint64_t revision_of(const struct client_call *call)
{
	yyjson_doc *doc =
		yyjson_read(buf_str(&call->answer), call->answer.len, 0);
	uint64_t rv = 0;

	(void)str_to_u64(obj_str(yyjson_doc_get_root(doc),
				 "metadata.resourceVersion"),
			 &rv);
	yyjson_doc_free(doc);
	return rv;
}

static void path_of(const struct ctl_write *w, struct buf *b)
{
	kind_path(w->kind, w->tenant ? w->tenant : "system", w->namespace,
		  w->name, w->sub, b);
}

int ctl_read(struct ctl *c, struct client_call *call, yyjson_doc **ret,
	     struct err *e)
{
	int r;

	(void)client_do(c->client, call);
	r = client_check(call, e);
	*ret = r == 0 ? yyjson_read(buf_str(&call->answer), call->answer.len, 0)
		      : NULL;
	client_call_clear(call);
	return r;
}

int ctl_write(struct ctl *c, const struct ctl_write *w, uint64_t *ret_revision,
	      struct err *e)
{
	auto_buf struct buf path = BUF_INIT;
	struct client_call call = { .method = w->method,
				    .body = w->body,
				    .type = w->type };
	int r;

	path_of(w, &path);
	if (buf_error(&path))
		return err_set(e, -ENOMEM, "out of memory");
	call.path = buf_str(&path);
	(void)client_do(c->client, &call);
	r = client_check(&call, e);
	if (r == 0 && ret_revision)
		*ret_revision = revision_of(&call);
	client_call_clear(&call);
	return r < 0 ? err_wrap(e, r, "%s %s", w->method, buf_str(&path)) : 0;
}

int ctl_may_adopt(struct ctl *c, enum kind k,
		  const struct informer_object *owner, struct err *e)
{
	struct ctl_write w = { .kind = k,
			       .tenant = owner->tenant,
			       .namespace = owner->namespace,
			       .name = owner->name };
	auto_buf struct buf path = BUF_INIT;
	struct client_call call = { .method = "GET" };
	yyjson_doc *doc;
	yyjson_val *meta;
	int r;

	path_of(&w, &path);
	if (buf_error(&path))
		return err_set(e, -ENOMEM, "out of memory");
	call.path = buf_str(&path);
	r = ctl_read(c, &call, &doc, e);
	if (r < 0 && r != -ENOENT)
		return err_wrap(e, r, "GET %s", buf_str(&path));
	meta = obj_at(yyjson_doc_get_root(doc), "metadata");
	r = str_eq(obj_str(meta, "uid"), owner->uid) &&
			    !obj_at(meta, "deletionTimestamp")
		    ? 0
		    : -ECANCELED;
	yyjson_doc_free(doc);
	return r;
}

const char *ctl_said(const struct err *e)
{
	static const char *const methods[] = { "POST /", "PATCH /", "PUT /",
					       "DELETE /", "GET /" };

	for (size_t i = 0; i < ARRAY_LEN(methods); i++) {
		const char *said = str_starts(e->msg, methods[i])
					   ? strstr(e->msg, ": ")
					   : NULL;

		if (said)
			return said + 2;
	}
	return e->msg;
}

int ctl_patch(struct ctl *c, enum kind k, const struct informer_object *o,
	      const char *sub, const char *body, struct err *e)
{
	struct ctl_write w = { .method = "PATCH",
			       .kind = k,
			       .tenant = o->tenant,
			       .namespace = o->namespace,
			       .name = o->name,
			       .sub = sub,
			       .body = body,
			       .type = CTL_MERGE };

	return ctl_write(c, &w, NULL, e);
}

int ctl_delete(struct ctl *c, enum kind k, const struct informer_object *o,
	       uint64_t *ret_revision, struct err *e)
{
	struct informer_object *v[] = { (struct informer_object *)o };
	uint64_t revision = 0;
	size_t done;
	int r = ctl_delete_many(c, k, v, 1, &done, &revision, e);

	if (ret_revision)
		*ret_revision = revision;
	return r;
}

struct batch {
	struct client_call *calls;
	struct buf *paths, *bodies;
	size_t nr;
};

static int batch_new(struct batch *b, size_t nr)
{
	b->nr = nr;
	b->calls = calloc(nr, sizeof(*b->calls));
	b->paths = calloc(nr, sizeof(*b->paths));
	b->bodies = calloc(nr, sizeof(*b->bodies));
	return b->calls && b->paths && b->bodies ? 0 : -ENOMEM;
}

static void batch_clear(struct batch *b)
{
	for (size_t i = 0; i < b->nr; i++) {
		if (b->calls)
			client_call_clear(&b->calls[i]);
		if (b->paths)
			buf_clear(&b->paths[i]);
		if (b->bodies)
			buf_clear(&b->bodies[i]);
	}
	free(b->calls);
	free(b->paths);
	free(b->bodies);
}

/* Run it and count; @gone_is_fine for what is to be deleted. */
static int batch_run(struct ctl *c, struct batch *b, bool gone_is_fine,
		     size_t *done, uint64_t *revision, struct err *e)
{
	int first = 0;

	client_do_all(c->client, b->calls, b->nr);
	for (size_t i = 0; i < b->nr; i++) {
		struct err one = { 0 };
		int r = client_check(&b->calls[i], &one);
		uint64_t rv = r == 0 ? revision_of(&b->calls[i]) : 0;

		if (rv > *revision)
			*revision = rv;
		if (gone_is_fine && (r == -ENOENT || r == -ESTALE))
			r = 0;
		if (r == 0)
			(*done)++;
		else if (first == 0)
			first = err_set(e, r, "%s %s: %s", b->calls[i].method,
					b->calls[i].path, one.msg);
	}
	return first;
}

static int create_batch(struct ctl *c, const struct ctl_write *w, size_t from,
			size_t nr,
			void (*body_of)(void *arg, size_t i, struct buf *b),
			void *arg, size_t *made, uint64_t *revision,
			struct err *e)
{
	struct batch b = { 0 };
	int r = batch_new(&b, nr);

	if (r == 0) {
		path_of(w, &b.paths[0]);
		r = buf_error(&b.paths[0]);
	}
	for (size_t i = 0; i < nr && r == 0; i++) {
		if (!w->body)
			body_of(arg, from + i, &b.bodies[i]);
		b.calls[i] = (struct client_call){
			.method = "POST",
			.path = buf_str(&b.paths[0]),
			.body = w->body ? w->body : buf_str(&b.bodies[i]),
		};
		r = buf_error(&b.bodies[i]);
	}
	r = r < 0 ? err_set(e, -ENOMEM, "out of memory")
		  : batch_run(c, &b, false, made, revision, e);
	batch_clear(&b);
	return r;
}

int ctl_create_many(struct ctl *c, const struct ctl_write *w, size_t nr,
		    void (*body_of)(void *arg, size_t i, struct buf *b),
		    void *arg, size_t *ret_made, uint64_t *ret_revision,
		    struct err *e)
{
	size_t at = 0, size = 1;
	int r = 0;

	*ret_made = 0;
	*ret_revision = 0;
	while (at < nr && r == 0) {
		size_t n = nr - at < size ? nr - at : size;

		r = create_batch(c, w, at, n, body_of, arg, ret_made,
				 ret_revision, e);
		at += n;
		size = size * 8 < BATCH_MAX ? size * 8 : BATCH_MAX;
	}
	return r;
}

int ctl_delete_many(struct ctl *c, enum kind k, struct informer_object **v,
		    size_t nr, size_t *ret_done, uint64_t *ret_revision,
		    struct err *e)
{
	struct batch b = { 0 };
	int r;

	*ret_done = 0;
	*ret_revision = 0;
	if (!nr)
		return 0;
	r = batch_new(&b, nr);
	for (size_t i = 0; i < nr && r == 0; i++) {
		kind_path(k, v[i]->tenant, v[i]->namespace, v[i]->name, NULL,
			  &b.paths[i]);
		buf_printf(&b.bodies[i],
			   "{\"kind\":\"DeleteOptions\",\"apiVersion\":\"v1\","
			   "\"propagationPolicy\":\"Background\","
			   "\"preconditions\":{\"uid\":\"%s\"}}",
			   v[i]->uid);
		r = buf_error(&b.paths[i]) ? -ENOMEM : buf_error(&b.bodies[i]);
		b.calls[i].method = "DELETE";
		b.calls[i].path = buf_str(&b.paths[i]);
		b.calls[i].body = buf_str(&b.bodies[i]);
	}
	r = r < 0 ? err_set(e, -ENOMEM, "out of memory")
		  : batch_run(c, &b, true, ret_done, ret_revision, e);
	batch_clear(&b);
	return r;
}

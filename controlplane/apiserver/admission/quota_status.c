// SPDX-License-Identifier: Apache-2.0
/* The thread that writes status.used, behind what was counted. */
#include <errno.h>
#include <stdio.h>

#include "controlplane/apiserver/missed.h"
#include "controlplane/apiserver/admission/quota.h"
#include "controlplane/apiserver/admission/quota_ledger.h"
#include "controlplane/apiserver/internal.h"
#include "lib/log.h"
#include "lib/str.h"

void quota_wake(struct quota_ledger *l)
{
	pthread_mutex_lock(&l->wake_lock);
	l->wake = true;
	pthread_cond_signal(&l->cond);
	pthread_mutex_unlock(&l->wake_lock);
}

static void on_quota(void *arg)
{
	quota_wake(arg);
}

static void put_amounts(yyjson_mut_doc *doc, yyjson_mut_val *obj,
			const char *path, const struct quota *q,
			const int64_t *v)
{
	yyjson_mut_val *list = yyjson_mut_obj(doc);
	char text[32];

	for (size_t i = 0; i < q->nr; i++)
		mut_put(doc, list, q->names[i],
			yyjson_mut_strcpy(doc, quota_format(q->names[i], v[i],
							    text)));
	mut_set(doc, obj, path, list);
}

/* What is to be stored; 0: it says so already. */
struct status_write {
	struct buf data, tags;
	uint32_t rv_off;
};

static int build_status(struct quota_ledger *l, const struct object_bytes *o,
			const struct quota *q, struct status_write *w)
{
	const struct type *t = type_find(l->api->types, "", "v1",
					 q->ns ? "resourcequotas" : "tenants");
	yyjson_mut_doc *doc = object_tree(o);
	yyjson_mut_val *obj = doc ? yyjson_mut_doc_get_root(doc) : NULL, *old;
	const char *path = q->ns ? "status" : "status.quota";
	auto_free char *hard = str_printf("%s.hard", path);
	auto_free char *used = str_printf("%s.used", path);
	int r = 0;

	if (!obj || !hard || !used) {
		yyjson_mut_doc_free(doc);
		return -ENOMEM;
	}
	old = mut_get(obj, path);
	old = old ? yyjson_mut_val_mut_copy(doc, old) : NULL;
	put_amounts(doc, obj, hard, q, q->hard);
	put_amounts(doc, obj, used, q, q->used);
	if (!old || !mut_equal(old, mut_get(obj, path)))
		r = object_pack(l->api, t, doc, obj, &w->data, &w->rv_off,
				&w->tags);
	yyjson_mut_doc_free(doc);
	return r < 0 ? r : w->data.len > 0;
}

static int commit_status(struct quota_ledger *l, const struct object_bytes *o,
			 const struct status_write *w, struct err *e)
{
	struct store_op op = { .key = o->key,
			       .expect = STORE_MATCH,
			       .revision = o->revision,
			       .rv_off = w->rv_off,
			       .data = w->data.data,
			       .len = w->data.len,
			       .tags = w->tags.data,
			       .tags_len = w->tags.len };
	struct store_txn txn = { .ops = &op, .nr_ops = 1 };
	int r = store_commit(l->api->store, &txn, e);

	object_unref(op.ret);
	return r;
}

/* Tenant and namespace of a quota's key. */
static bool place_of(const char *key, char **tenant, char **ns)
{
	const char *p = key + strlen(QUOTAS);

	if (str_starts(key, TENANTS)) {
		*tenant = strdup(key + strlen(TENANTS));
		return *tenant;
	}
	*tenant = strndup(p, strcspn(p, "/"));
	p += strcspn(p, "/") + 1;
	*ns = strndup(p, strcspn(p, "/"));
	return *tenant && *ns;
}

/* Its ledger is made or followed, and what it says is written. */
static void settle(struct quota_ledger *l, const char *key)
{
	auto_free char *tenant = NULL, *ns = NULL;
	auto_ptr(object_bytes) o = store_get(l->api->store, key);
	struct status_write w = { .rv_off = 0 };
	struct quota *q = NULL;
	struct err e = { 0 };
	int r;

	pthread_mutex_lock(&l->lock);
	if (!o) {
		quota_free(map_del(&l->quotas, key));
		pthread_mutex_unlock(&l->lock);
		return;
	}
	r = place_of(key, &tenant, &ns) ? quota_get(l, o, tenant, ns, &q, &e)
					: -ENOMEM;
	if (q)
		atomic_store(&q->dirty, false);
	if (r == 0 && (q->nr || ns))
		r = build_status(l, o, q, &w);
	pthread_mutex_unlock(&l->lock);
	/* Nobody waits for the disk. */
	if (r > 0)
		r = commit_status(l, o, &w, &e);
	/* The object has changed meanwhile: its event brings us back. */
	if (r < 0 && r != -ENOENT && r != -ESTALE)
		log_warn("quota %s: %s", key, e.msg);
	buf_clear(&w.data);
	buf_clear(&w.tags);
}

static bool is_known(struct quota_ledger *l, const char *key)
{
	bool known;

	pthread_mutex_lock(&l->lock);
	known = map_get(&l->quotas, key);
	pthread_mutex_unlock(&l->lock);
	return known;
}

static void settle_all(struct quota_ledger *l, const char *prefix)
{
	struct store_range range = { .prefix = prefix };
	struct store_list list;

	if (store_list(l->api->store, &range, &list, NULL) < 0)
		return;
	for (size_t i = 0; i < list.nr; i++)
		if (str_starts(prefix, QUOTAS) ||
		    object_has(list.v[i], "\"quota\""))
			settle(l, list.v[i]->key);
	store_list_clear(&list);
}

static void settle_changed(struct quota_ledger *l, struct store_watch *w,
			   const char *prefix)
{
	struct store_event ev[32];
	int n = 0;

	while (w && (n = store_watch_read(w, ev, 32)) > 0)
		for (int i = 0; i < n; i++) {
			const struct object_bytes *o = ev[i].obj;

			/* Most tenants have none. */
			if (str_starts(o->key, QUOTAS) || is_known(l, o->key) ||
			    object_has(o, "\"quota\""))
				settle(l, o->key);
			store_event_clear(&ev[i]);
		}
	if (w && missed_events(w, n))
		settle_all(l, prefix);
}

static void settle_dirty(struct quota_ledger *l)
{
	struct map_iter it = MAP_ITER_INIT;
	char **keys;
	size_t nr = 0;

	pthread_mutex_lock(&l->lock);
	keys = calloc(map_len(&l->quotas) + 1, sizeof(*keys));
	while (keys && map_next(&l->quotas, &it))
		if (atomic_load(&((struct quota *)it.value)->dirty))
			keys[nr++] = strdup(it.key);
	pthread_mutex_unlock(&l->lock);
	for (size_t i = 0; i < nr; i++) {
		if (keys[i])
			settle(l, keys[i]);
		free(keys[i]);
	}
	free(keys);
}

static void *quota_run(void *arg)
{
	struct quota_ledger *l = arg;

	settle_all(l, QUOTAS);
	settle_all(l, TENANTS);
	pthread_mutex_lock(&l->wake_lock);
	while (!l->stop) {
		l->wake = false;
		pthread_mutex_unlock(&l->wake_lock);
		settle_changed(l, l->objects, QUOTAS);
		settle_changed(l, l->tenants, TENANTS);
		settle_dirty(l);
		pthread_mutex_lock(&l->wake_lock);
		while (!l->stop && !l->wake)
			pthread_cond_wait(&l->cond, &l->wake_lock);
	}
	pthread_mutex_unlock(&l->wake_lock);
	return NULL;
}

int quota_start(struct api *api, struct err *e)
{
	struct quota_ledger *l = calloc(1, sizeof(*l));
	int r;

	if (!l)
		return err_set(e, -ENOMEM, "out of memory");
	l->api = api;
	api->quota = l;
	pthread_mutex_init(&l->lock, NULL);
	pthread_mutex_init(&l->wake_lock, NULL);
	pthread_cond_init(&l->cond, NULL);
	r = store_watch_open(api->store, QUOTAS, 0, on_quota, l, &l->objects,
			     e);
	if (r == 0)
		r = store_watch_open(api->store, TENANTS, 0, on_quota, l,
				     &l->tenants, e);
	if (r < 0)
		return r;
	r = pthread_create(&l->thread, NULL, quota_run, l);
	l->running = r == 0;
	return r ? err_set(e, -r, "cannot start a thread") : 0;
}

void quota_stop(struct api *api)
{
	struct quota_ledger *l = api->quota;

	if (!l || !l->running)
		return;
	pthread_mutex_lock(&l->wake_lock);
	l->stop = true;
	pthread_cond_signal(&l->cond);
	pthread_mutex_unlock(&l->wake_lock);
	pthread_join(l->thread, NULL);
	l->running = false;
}

void quota_close(struct api *api)
{
	struct quota_ledger *l = api->quota;

	if (!l)
		return;
	store_watch_close(l->objects);
	store_watch_close(l->tenants);
	map_clear(&l->quotas, quota_free);
	pthread_mutex_destroy(&l->lock);
	pthread_mutex_destroy(&l->wake_lock);
	pthread_cond_destroy(&l->cond);
	free(l);
	api->quota = NULL;
}

// SPDX-License-Identifier: Apache-2.0
/*
 * A watch for each ConfigMap and Secret that pods here use: what changes there
 * is known here at once, and nothing is asked for meanwhile. A node may watch
 * one object by its name, and only while a pod of its refers to it.
 *
 * A watch that ends is no harm: its object is asked for again, as without one,
 * and watched anew then.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/remote/internal.h"
#include "agent/remote/objects.h"
#include "lib/err.h"
#include "lib/ev.h"
#include "lib/str.h"

#define WATCHES_MAX 128  /* a connection each; the others are polled */
#define SHORT_MS    1000 /* one that ends sooner is not begun again */
#define LINE_MAX_   (4 * 1024 * 1024)

void objwatch_list_path(const char *path, struct buf *url)
{
	const char *name = strrchr(path, '/');

	buf_printf(url, "%.*s?fieldSelector=metadata.name%%3D%s",
		   (int)(name - path), path, name + 1);
}

/* Pods that speak of it are looked at. Under the lock. */
static void wake(struct remote *r, const char *path, unsigned after_ms)
{
	static const char base[] = "/api/v1/tenants/", mid[] = "/namespaces/";
	const char *tenant = path + sizeof(base) - 1;
	const char *ns = strstr(tenant, mid) + sizeof(mid) - 1;
	const char *name = strrchr(path, '/') + 1;
	struct map_iter it = MAP_ITER_INIT;
	char prefix[KEY_MAX];
	int n = snprintf(prefix, sizeof(prefix), "%.*s/%.*s/",
			 (int)strcspn(tenant, "/"), tenant,
			 (int)strcspn(ns, "/"), ns);

	if (n >= KEY_MAX)
		return;
	while (map_next(&r->pods, &it)) {
		const struct entry *en = it.value;

		if (!str_starts(it.key, prefix) || !strstr(en->json, name))
			continue;
		if (after_ms)
			(void)wq_add_after(r->queue, it.key, after_ms);
		else
			(void)wq_add(r->queue, it.key);
	}
}

/* --- what comes, on the client's loop --- */

/* -ESTALE: it must be asked for again. Under the lock. */
static int take_event(struct objwatch *w, const char *line, size_t len)
{
	yyjson_doc *doc = yyjson_read(line, len, 0);
	yyjson_val *root = yyjson_doc_get_root(doc);
	yyjson_val *obj = yyjson_obj_get(root, "object");
	const char *type = yyjson_get_str(yyjson_obj_get(root, "type"));
	bool gone = str_eq(type, "DELETED");
	char *json = NULL;
	int r = 0;

	if (!type || !obj || str_eq(type, "ERROR")) {
		r = -ESTALE;
	} else if (!str_eq(type, "BOOKMARK")) {
		json = gone ? NULL : yyjson_val_write(obj, 0, NULL);
		if (!gone && !json)
			r = -ESTALE;
		if (r == 0 && w->object) {
			object_set(w->object, json,
				   !gone && yyjson_get_bool(yyjson_obj_get(
						    obj, "immutable")));
			wake(w->r, w->path, 0);
			json = NULL;
		}
		free(json);
	}
	if (r == 0 && version_of(obj) > w->version)
		w->version = version_of(obj);
	yyjson_doc_free(doc);
	return r;
}

static void on_data(struct client_call *call, const char *data, size_t len)
{
	struct objwatch *w = call->arg;
	size_t at = 0;

	w->line.max = LINE_MAX_;
	if (buf_add(&w->line, data, len) < 0) {
		buf_reset(&w->line);
		pthread_mutex_lock(&w->r->lock);
		w->valid = false;
		pthread_mutex_unlock(&w->r->lock);
		return;
	}
	pthread_mutex_lock(&w->r->lock);
	while (at < w->line.len) {
		const char *p = w->line.data + at;
		const char *nl = memchr(p, '\n', w->line.len - at);

		if (!nl)
			break;
		at += (size_t)(nl - p) + 1;
		if (nl > p && take_event(w, p, (size_t)(nl - p)) < 0)
			w->valid = false;
	}
	pthread_mutex_unlock(&w->r->lock);
	buf_consume(&w->line, at);
}

static void begin(struct objwatch *w);

static void on_done(struct client_call *call)
{
	struct objwatch *w = call->arg;
	struct remote *r = w->r;
	bool again;

	client_call_clear(call);
	buf_clear(&w->line);
	pthread_mutex_lock(&r->lock);
	w->running = false;
	/* The server ends a watch now and then. */
	again = call->status == 200 && w->valid && w->object && r->watcher &&
		object_clock_ms() - w->began_ms > SHORT_MS &&
		!atomic_load(&r->stopping);
	if (again) {
		begin(w);
	} else {
		if (w->object && w->valid && !atomic_load(&r->stopping))
			wake(r, w->path, SHORT_MS);
		w->valid = false;
	}
	pthread_mutex_unlock(&r->lock);
}

/* --- its begin and end, under the lock --- */

static void begin(struct objwatch *w)
{
	struct buf url = BUF_INIT;

	objwatch_list_path(w->path, &url);
	buf_printf(&url,
		   "&watch=1&allowWatchBookmarks=true&resourceVersion=%llu",
		   (unsigned long long)w->version);
	free(w->url);
	w->url = buf_take(&url);
	if (!w->url) {
		w->valid = false;
		return;
	}
	w->call = (struct client_call){ .method = "GET",
					.path = w->url,
					.stream = true,
					.data = on_data,
					.done = on_done,
					.arg = w };
	w->began_ms = object_clock_ms();
	w->running = w->valid = true;
	w->client = w->r->watcher;
	client_start(w->client, &w->call);
}

/* With credentials as they are now. */
static bool open_client(struct remote *r)
{
	struct client_opts o = { .kubeconfig = r->o.kubeconfig, .conns = 1 };

	if (r->watcher)
		return true;
	if (client_open(&o, &r->watcher, NULL) < 0)
		return false;
	r->watcher_generation = r->generation;
	return true;
}

static struct objwatch *watch_new(struct remote *r, struct object *o,
				  const char *path)
{
	struct objwatch *w;
	size_t nr = 0;

	for (w = r->watches; w; w = w->next)
		nr++;
	if (nr >= WATCHES_MAX)
		return NULL;
	w = calloc(1, sizeof(*w));
	if (!w)
		return NULL;
	w->path = strdup(path);
	if (!w->path) {
		free(w);
		return NULL;
	}
	w->r = r;
	w->object = o;
	w->next = r->watches;
	r->watches = w;
	o->watch = w;
	return w;
}

bool objwatch_start(struct remote *r, struct object *o, const char *path,
		    uint64_t version)
{
	struct objwatch *w = o->watch;

	if (atomic_load(&r->stopping) || !open_client(r))
		return false;
	if (!w)
		w = watch_new(r, o, path);
	if (!w)
		return false;
	/* One that is spoilt and runs on ends first. */
	if (w->running || w->leaving)
		return w->running && w->valid;
	w->version = version;
	begin(w);
	return w->valid;
}

static void watch_free(struct objwatch *w)
{
	if (w->object)
		w->object->watch = NULL;
	buf_clear(&w->line);
	client_call_clear(&w->call);
	free(w->path);
	free(w->url);
	free(w);
}

/* On the loop. */
static void leave(void *arg)
{
	struct objwatch *w = arg;
	struct remote *r = w->r;
	bool running;

	pthread_mutex_lock(&r->lock);
	/* Else the client is being closed, and ends all of its calls. */
	running = w->running && w->client == r->watcher;
	if (running)
		w->running = w->valid = false;
	pthread_mutex_unlock(&r->lock);
	if (running)
		client_cancel(w->client, &w->call);
	pthread_mutex_lock(&r->lock);
	w->leaving = false;
	pthread_mutex_unlock(&r->lock);
}

static void close_client(struct remote *r)
{
	struct client *old;

	pthread_mutex_lock(&r->lock);
	old = r->watcher;
	r->watcher = NULL;
	pthread_mutex_unlock(&r->lock);
	client_close(old); /* all calls are done then */
	pthread_mutex_lock(&r->lock);
	for (struct objwatch *w = r->watches; w; w = w->next)
		if (w->client == old)
			w->running = w->leaving = w->valid = false;
	pthread_mutex_unlock(&r->lock);
}

void objwatch_sweep(struct remote *r)
{
	struct objwatch **at, *w;
	bool renewed;

	pthread_mutex_lock(&r->lock);
	renewed = r->watcher && r->watcher_generation != r->generation;
	for (at = &r->watches; (w = *at);) {
		/* Nobody wants it, or what it said could not be understood. */
		if (w->running && !w->leaving && w->client == r->watcher &&
		    (!w->object || !w->valid))
			w->leaving =
				ev_post(client_loop(w->client), leave, w) == 0;
		if (w->running || w->leaving || w->object) {
			at = &w->next;
			continue;
		}
		*at = w->next;
		watch_free(w);
	}
	pthread_mutex_unlock(&r->lock);
	if (renewed)
		close_client(r);
}

void objwatch_stop(struct remote *r)
{
	struct objwatch *w;

	close_client(r);
	while ((w = r->watches)) {
		r->watches = w->next;
		watch_free(w);
	}
}

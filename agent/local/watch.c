// SPDX-License-Identifier: Apache-2.0
/*
 * Watching pods: first all there are, as ADDED, then each change. Changes that
 * come in between are kept back until the list is sent, unless the list has
 * them already (by resourceVersion).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/local/internal.h"
#include "lib/auto.h"
#include "lib/json.h"
#include "lib/str.h"

struct held {
	struct held *next;
	uint64_t version;
	struct buf line;
};

struct watcher {
	struct api *api;
	struct http_req *req; /* referenced */
	struct watcher *next, **link;
	char *tenant, *namespace, *name; /* NULL: all */
	bool listed;
	struct held *held, **held_tail; /* until the list is sent */
	size_t held_bytes;
};

struct change {
	struct message m;
	struct api *api;
	enum api_change type;
	uint64_t version;
	char *tenant, *namespace, *name;
	struct buf line;
};

/* --- watchers ---------------------------------------------------------------
 */

static void free_held(struct watcher *w)
{
	while (w->held) {
		struct held *h = w->held;

		w->held = h->next;
		buf_clear(&h->line);
		free(h);
	}
}

static void watcher_end(void *arg)
{
	struct watcher *w = arg;

	*w->link = w->next;
	if (w->next)
		w->next->link = w->link;
	atomic_fetch_sub(&w->api->nr_watchers, 1);
	free_held(w);
	http_req_unref(w->req);
	free(w->tenant);
	free(w->namespace);
	free(w->name);
	free(w);
}

void watchers_drop(struct api *api)
{
	while (api->watchers) {
		struct watcher *w = api->watchers;

		/* Not begun yet: the list's task has the last word. */
		http_on_end(w->req, NULL, NULL);
		if (w->listed)
			http_stream_end(w->req);
		watcher_end(w);
	}
}

bool api_watched(const struct api *api)
{
	return atomic_load(&api->nr_watchers) > 0;
}

static bool wants(const struct watcher *w, const struct change *c)
{
	return (!w->tenant || str_eq(w->tenant, c->tenant)) &&
	       (!w->namespace || str_eq(w->namespace, c->namespace)) &&
	       (!w->name || str_eq(w->name, c->name));
}

/* A watcher that does not keep up is cut off: it has to list again. */
static void push(struct watcher *w, const char *line, size_t len)
{
	if (http_backlog(w->req) + len > API_BACKLOG_MAX)
		http_stream_abort(w->req);
	else
		(void)http_stream_write(w->req, line, len);
}

static void hold(struct watcher *w, const struct change *c)
{
	struct held *h = calloc(1, sizeof(*h));

	w->held_bytes += c->line.len;
	if (!h || w->held_bytes > API_BACKLOG_MAX ||
	    buf_add(&h->line, c->line.data, c->line.len) < 0) {
		if (h)
			buf_clear(&h->line);
		free(h);
		http_stream_abort(w->req);
		return;
	}
	h->version = c->version;
	*w->held_tail = h;
	w->held_tail = &h->next;
}

/* --- changes ----------------------------------------------------------------
 */

static void change_free(struct change *c)
{
	buf_clear(&c->line);
	free(c->tenant);
	free(c->namespace);
	free(c->name);
	free(c);
}

static void change_arrives(struct message *m)
{
	struct change *c = (struct change *)m;
	struct watcher *next;

	for (struct watcher *w = c->api->watchers; w; w = next) {
		next = w->next; /* w may go */
		if (!wants(w, c))
			continue;
		if (w->listed)
			push(w, c->line.data, c->line.len);
		else
			hold(w, c);
	}
	change_free(c);
}

static uint64_t version_of(const struct json_ref *object)
{
	struct json_ref meta = json_get(object, "metadata");
	struct json_ref v = json_get(&meta, "resourceVersion");
	const char *text = NULL;
	uint64_t version = 0;

	if (json_opt_str(&v, &text, NULL) < 0 || !text ||
	    str_to_u64(text, &version) < 0)
		return 0;
	return version;
}

static uint64_t version_in(const char *json, size_t len)
{
	struct json_ref root;
	yyjson_doc *doc;
	uint64_t v;

	if (json_parse(json, len, &doc, NULL) < 0)
		return 0;
	root = json_root(doc);
	v = version_of(&root);
	yyjson_doc_free(doc);
	return v;
}

void api_pod_changed(struct api *api, enum api_change type,
		     const struct api_pod_id *id, const char *json, size_t len)
{
	static const char *const names[] = {
		[API_ADDED] = "ADDED",
		[API_MODIFIED] = "MODIFIED",
		[API_DELETED] = "DELETED",
	};
	struct change *c;

	if (!api_watched(api))
		return;
	c = calloc(1, sizeof(*c));
	if (!c)
		return;
	c->m.fn = change_arrives;
	c->api = api;
	c->type = type;
	c->version = version_in(json, len);
	buf_printf(&c->line, "{\"type\":\"%s\",\"object\":", names[type]);
	buf_add(&c->line, json, len);
	buf_puts(&c->line, "}\n");
	if (buf_error(&c->line) || str_set(&c->tenant, id->tenant) < 0 ||
	    str_set(&c->namespace, id->namespace) < 0 ||
	    str_set(&c->name, id->name) < 0) {
		change_free(c);
		return;
	}
	api_send(api, &c->m);
}

/* --- the list at the beginning ----------------------------------------------
 */

struct listing {
	struct task t;
	struct watcher *w; /* NULL: it has gone */
};

static void run_list(struct task *t)
{
	struct api_scope scope = { .tenant = t->route.tenant,
				   .namespace = t->route.namespace,
				   .name = url_param(&t->route.url, "name") };

	t->r = t->api->o.backend->pod_list(t->api->o.arg, &scope, &t->out,
					   &t->err);
}

static int send_items(struct watcher *w, const struct buf *list,
		      uint64_t *ret_version, struct err *e)
{
	auto_buf struct buf line = BUF_INIT;
	struct json_ref root, items;
	yyjson_doc *doc;
	int r;

	r = json_parse(buf_str(list), list->len, &doc, e);
	if (r < 0)
		return r;
	root = json_root(doc);
	items = json_get(&root, "items");
	*ret_version = version_of(&root);
	json_for_each (it, &items) {
		buf_reset(&line);
		buf_puts(&line, "{\"type\":\"ADDED\",\"object\":");
		(void)json_write(it.item.val, false, &line);
		buf_puts(&line, "}\n");
		r = buf_error(&line);
		if (r == 0)
			r = http_stream_write(w->req, line.data, line.len);
		if (r < 0)
			break;
	}
	yyjson_doc_free(doc);
	return r;
}

static void begin_stream(struct listing *l)
{
	struct watcher *w = l->w;
	struct http_req *req = w->req;
	uint64_t version = 0;

	/* From here on the end of the request is the end of the watcher. */
	http_on_end(req, watcher_end, w);
	if (http_stream(req, 200, "application/json") < 0)
		return;
	http_req_ref(req);
	if (send_items(w, &l->t.out, &version, &l->t.err) < 0) {
		http_stream_abort(req);
	} else {
		w->listed = true;
		for (struct held *h = w->held; h && !http_gone(req);
		     h = http_gone(req) ? NULL : h->next)
			if (!h->version || h->version > version)
				push(w, h->line.data, h->line.len);
		if (!http_gone(req)) {
			free_held(w);
			w->held_bytes = 0;
		}
	}
	http_req_unref(req);
}

static void finish_list(struct task *t)
{
	struct listing *l = (struct listing *)t;
	struct api *api = t->api;
	bool there = false;

	/* watchers_drop() does not know of us. */
	for (struct watcher *w = api->watchers; w; w = w->next)
		there |= w == l->w;
	if (!there)
		l->w = NULL;
	if (t->r < 0 || !l->w || http_gone(t->req)) {
		if (l->w)
			watcher_end(l->w);
		task_finish(t);
		return;
	}
	begin_stream(l);
	/* The request's end is the watcher's now, not the task's. */
	http_req_unref(t->req);
	route_clear(&t->route);
	buf_clear(&t->out);
	free(t);
}

static int copy_scope(struct watcher *w, const struct route *r)
{
	const char *name = url_param(&r->url, "name");

	return str_set(&w->tenant, r->tenant) < 0 ||
			       str_set(&w->namespace, r->namespace) < 0 ||
			       str_set(&w->name, name) < 0
		       ? -ENOMEM
		       : 0;
}

static struct watcher *watcher_new(struct api *api, struct http_req *req,
				   const struct route *r)
{
	struct watcher *w = calloc(1, sizeof(*w));

	if (!w)
		return NULL;
	w->api = api;
	w->req = http_req_ref(req);
	w->held_tail = &w->held;
	w->link = &api->watchers;
	w->next = api->watchers;
	if (w->next)
		w->next->link = &w->next;
	api->watchers = w;
	atomic_fetch_add(&api->nr_watchers, 1);
	if (copy_scope(w, r) < 0) {
		watcher_end(w);
		return NULL;
	}
	return w;
}

void handle_watch(struct api *api, struct http_req *req, struct route *r)
{
	struct listing *l = (struct listing *)task_new(api, req, r, sizeof(*l));

	if (!l)
		return;
	l->t.run = run_list;
	if (!api->o.backend->pod_list)
		l->t.r = err_set(&l->t.err, -EOPNOTSUPP, "no pods here");
	else if (atomic_load(&api->nr_watchers) >= API_WATCHERS)
		l->t.r = err_set(&l->t.err, -EAGAIN,
				 "too many watchers at a time");
	else
		l->w = watcher_new(api, req, &l->t.route);
	if (l->t.r == 0 && !l->w)
		l->t.r = err_set(&l->t.err, -ENOMEM, "out of memory");
	if (l->t.r < 0) {
		task_finish(&l->t);
		return;
	}
	l->t.finish = finish_list;
	task_start(&l->t);
}

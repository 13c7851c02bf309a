// SPDX-License-Identifier: Apache-2.0
/*
 * Watches. The store's writer thread only puts a request on its loop's list;
 * the loop takes events while the client takes output, so that a client who
 * does not read costs WATCH_MAX bytes and a store watch, whose memory is
 * bounded as well.
 */
#include <stdio.h>

#include "controlplane/apiserver/conn.h"
#include "controlplane/apiserver/conversion.h"
#include "controlplane/apiserver/flow.h"
#include "controlplane/apiserver/listing.h"
#include "controlplane/apiserver/read.h"
#include "controlplane/apiserver/metrics.h"
#include "lib/str.h"

#define BATCH       64
#define BOOKMARK_MS 60000
#define TIMEOUT_S   1800 /* when the client names none */

static void notify(void *arg)
{
	struct req *r = arg;
	struct loop *l = r->loop;

	pthread_mutex_lock(&l->lock);
	if (!r->ready) {
		r->ready = true;
		r->ready_next = l->ready;
		l->ready = r;
	}
	pthread_mutex_unlock(&l->lock);
	loop_wake(l);
}

void watch_stop(struct req *r)
{
	struct loop *l = r->loop;
	struct req **at;

	if (!r->watch)
		return;
	/* After this, notify() is not called any more. */
	store_watch_close(r->watch);
	r->watch = NULL;
	pthread_mutex_lock(&l->lock);
	for (at = &l->ready; *at; at = &(*at)->ready_next)
		if (*at == r) {
			*at = r->ready_next;
			break;
		}
	pthread_mutex_unlock(&l->lock);
	for (at = &l->serving; *at; at = &(*at)->ready_next)
		if (*at == r) {
			*at = r->ready_next;
			break;
		}
}

void watch_end(struct req *r)
{
	watch_stop(r);
	ev_timer_del(&r->timer);
	ev_timer_del(&r->mark_timer);
	reply_end(r);
}

static void put_error(struct req *r, int code, const char *reason,
		      const char *msg)
{
	struct buf b = BUF_INIT;

	buf_puts(&b, "{\"type\":\"ERROR\",\"object\":");
	status_json(&b, code, reason, msg);
	buf_puts(&b, "}\n");
	reply_add(r, &b);
}

/* What an event means to someone who sees only what is selected. */
static const char *type_of(struct req *r, const struct store_event *ev)
{
	bool before = ev->prev && selector_match(&r->selector, ev->prev);
	bool now = !ev->obj->deleted && selector_match(&r->selector, ev->obj);

	if (before && now)
		return "MODIFIED";
	if (now)
		return "ADDED";
	return before ? "DELETED" : NULL;
}

static void put_event(struct req *r, const char *type,
		      struct object_bytes **slot)
{
	static const char head[] = "{\"type\":\"", then[] = "\",\"object\":";
	struct object_bytes *o;
	struct buf b = BUF_INIT;

	if (object_as(r->route.type, slot)) {
		put_error(r, 500, "InternalError", "out of memory");
		return;
	}
	o = *slot;
	metrics_event(r);
	if (r->view == VIEW_OBJECT) {
		reply_static(r, head, sizeof(head) - 1);
		reply_static(r, type, strlen(type));
		reply_static(r, then, sizeof(then) - 1);
		/* All watchers count its references: one less of that. */
		*slot = NULL;
		reply_taken(r, o);
		reply_static(r, "}\n", 2);
		return;
	}
	buf_printf(&b, "%s%s%s", head, type, then);
	put_view(r, o, !r->columns_sent, &b);
	r->columns_sent = true;
	buf_puts(&b, "}\n");
	reply_add(r, &b);
}

static void put_bookmark(struct req *r, uint64_t revision, bool initial)
{
	struct buf b = BUF_INIT;
	char version[256];

	if (r->view == VIEW_TABLE)
		buf_puts(&b, "{\"type\":\"BOOKMARK\",\"object\":{\"kind\":"
			     "\"Table\",\"apiVersion\":\"meta.k8s.io/v1\","
			     "\"columnDefinitions\":[],\"rows\":[],");
	else
		buf_printf(&b,
			   "{\"type\":\"BOOKMARK\",\"object\":{\"kind\":\"%s\""
			   ",\"apiVersion\":\"%s\",",
			   r->route.type->kind,
			   type_api_version(r->route.type, version,
					    sizeof(version)));
	buf_printf(&b, "\"metadata\":{\"resourceVersion\":\"%llu\"%s}}}\n",
		   (unsigned long long)revision,
		   initial ? ",\"annotations\":{\"k8s.io/initial-events-end\":"
			     "\"true\"}"
			   : "");
	reply_add(r, &b);
}

/* What was in another version has been converted: in the order it came. */
static void events_converted(struct req *r, struct conversion *c)
{
	if (!r->watch)
		return;
	if (c->failed) {
		put_error(r, 500, "", buf_str(&c->why));
		watch_end(r);
		return;
	}
	for (size_t i = 0; i < c->list.nr; i++)
		put_event(r, c->kinds[i], &c->list.v[i]);
	watch_ready(r);
	req_flush(r);
}

/* As many events as are to be converted together; false: none is. */
static bool convert_events(struct req *r, struct store_event *ev, int n)
{
	struct conversion *c;
	bool wanted = false;

	for (int i = 0; r->route.type->webhook && i < n && !wanted; i++)
		wanted = type_of(r, &ev[i]) && conversion_wanted(r, ev[i].obj);
	if (!wanted)
		return false;
	c = calloc(1, sizeof(*c));
	if (c) {
		c->kinds = calloc(n, sizeof(*c->kinds));
		c->list.v = calloc(n, sizeof(struct object_bytes *));
	}
	if (!c || !c->kinds || !c->list.v) {
		free(c ? c->kinds : NULL);
		free(c);
		req_abort(r);
		return true;
	}
	for (int i = 0; i < n; i++) {
		const char *type = type_of(r, &ev[i]);

		if (!type)
			continue;
		c->kinds[c->list.nr] = type;
		c->list.v[c->list.nr++] = take_ptr(ev[i].obj);
	}
	c->to = r->route.type;
	c->then = events_converted;
	conversion_run(r, c);
	return true;
}

void watch_fill(struct req *r)
{
	struct store_event ev[BATCH];
	bool waits = false;
	int n = 0;

	/* Those before are being converted. */
	if (r->aside)
		return;
	r->stalled = false;
	while (r->watch && !waits && !r->aside &&
	       !(r->stalled = r->out_bytes >= WATCH_MAX) &&
	       (n = store_watch_step(r->watch, ev, BATCH, &waits)) > 0) {
		bool later = convert_events(r, ev, n);

		for (int i = 0; i < n; i++) {
			const char *type = later ? NULL : type_of(r, &ev[i]);

			/* Leaving the selection shows the state before, at
			 * the revision of the change. */
			if (type)
				put_event(r, type, &ev[i].obj);
			store_event_clear(&ev[i]);
		}
	}
	/* A long history is looked at in several turns. */
	if (n == -EAGAIN) {
		r->stalled = true;
		r->conn->ready = r->conn->more = true;
	}
	if (n == -ESTALE) {
		put_error(r, 410, "Expired", "too old resource version");
		watch_stop(r);
		ev_timer_del(&r->timer);
		ev_timer_del(&r->mark_timer);
		r->finished = true;
	}
}

void watch_ready(struct req *r)
{
	struct conn *c = r->conn;

	/* It has its turn like everything else of its tenant. */
	r->stalled = true;
	c->ready = true;
	turn_add(c, 0);
}

static void on_timeout(void *arg)
{
	watch_end(arg);
}

static void on_bookmark(void *arg)
{
	struct req *r = arg;
	uint64_t revision = store_watch_progress(r->watch);

	ev_timer_set(r->loop->ev, &r->mark_timer, BOOKMARK_MS, on_bookmark, r);
	if (revision && !r->out_bytes && !r->aside) {
		put_bookmark(r, revision, false);
		req_flush(r);
	}
}

/* What it is about: one object, when it is about one name in one place. */
static void watch_prefix(struct req *r, struct buf *prefix)
{
	const char *name = r->route.name ? r->route.name : r->selector.name;

	if (!r->route.name && name &&
	    (strcmp(r->tenant, "all") == 0 ||
	     (r->route.type->scope == SCOPE_NAMESPACED && !r->route.namespace)))
		name = NULL;
	route_key(r, name, prefix);
}

static int watch_open(struct req *r, const char *prefix, uint64_t revision)
{
	struct err e = { 0 };
	int res = store_watch_open(r->api->store, prefix, revision, notify, r,
				   &r->watch, &e);

	if (res == 0)
		return 0;
	if (!r->started)
		reply_begin(r, 200, "application/json");
	r->streaming = true;
	put_error(r, 410, "Expired", e.msg);
	reply_end(r);
	return res;
}

/* From @revision on, after what is there now, if that was asked for. */
static void watch_from(struct req *r, uint64_t revision)
{
	char seconds[24];
	uint64_t timeout = TIMEOUT_S;
	struct buf prefix = BUF_INIT;
	int res;

	watch_prefix(r, &prefix);
	res = watch_open(r, buf_str(&prefix), revision);
	buf_clear(&prefix);
	/* From now on it costs nothing that must be counted. */
	flow_leave(&r->seats);
	if (res < 0)
		return;
	if (query_get(r, "timeoutSeconds", seconds, sizeof(seconds)) &&
	    (str_to_u64(seconds, &timeout) || timeout > 86400 * 30))
		timeout = TIMEOUT_S;
	if (!r->started)
		reply_begin(r, 200, "application/json");
	r->streaming = true;
	if (query_true(r, "sendInitialEvents") && r->bookmarks)
		put_bookmark(r, revision, true);
	ev_timer_set(r->loop->ev, &r->timer, timeout ? timeout * 1000 : 1,
		     on_timeout, r);
	if (r->bookmarks)
		ev_timer_set(r->loop->ev, &r->mark_timer, BOOKMARK_MS,
			     on_bookmark, r);
	watch_ready(r);
	req_flush(r); /* the head, though there may be no event yet */
}

/* The present state as ADDED events. */
static void watch_listed(struct req *r, struct store_list *l)
{
	uint64_t revision = l->revision;
	struct listing *all = listing_whole(l);

	store_list_clear(l);
	if (!all) {
		reply_error(r, 500, "InternalError", "out of memory");
		return;
	}
	all->events = true;
	reply_begin(r, 200, "application/json");
	reply_listing(r, all);
	watch_from(r, revision);
}

void watch_start(struct req *r)
{
	struct listed q = { .range = { .limit = 0 } };
	uint64_t revision = 0;
	char rv[32] = "";

	if (!flow_watch(r) || request_selector(r, &r->selector) < 0)
		return;
	query_get(r, "resourceVersion", rv, sizeof(rv));
	if (*rv && str_to_u64(rv, &revision)) {
		reply_error(r, 400, "BadRequest",
			    "invalid resource version \"%s\"", rv);
		return;
	}
	r->bookmarks = query_true(r, "allowWatchBookmarks");
	if (revision && !query_true(r, "sendInitialEvents")) {
		watch_from(r, revision);
		return;
	}
	watch_prefix(r, &q.prefix);
	list_for(r, &q, watch_listed);
	buf_clear(&q.prefix);
}

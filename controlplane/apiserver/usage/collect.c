// SPDX-License-Identifier: Apache-2.0
/* Asking nodes for what they use, some at a time, on the request's loop; and
 * remembering it for a while. */
#include <stdlib.h>
#include <string.h>

#include "controlplane/apiserver/internal.h"
#include "controlplane/apiserver/subresource/node.h"
#include "controlplane/apiserver/usage/usage.h"
#include "lib/http/h1.h"
#include "lib/http/tls.h"
#include "lib/http/wire.h"
#include "lib/log.h"
#include "lib/str.h"

#define SUMMARY  "/stats/summary?only_cpu_and_memory=true"
#define PIECE    16384
#define SWEEP_MS 60000 /* what is older than this is forgotten */

/* --- what is known ------------------------------------------------------ */

struct usage_cache {
	pthread_mutex_t lock;
	struct map reports; /* by node */
	uint64_t swept_ms;
};

struct usage_cache *usage_cache_new(void)
{
	struct usage_cache *c = calloc(1, sizeof(*c));

	if (c)
		pthread_mutex_init(&c->lock, NULL);
	return c;
}

static void drop(void *value)
{
	usage_report_unref(value);
}

void usage_cache_free(struct usage_cache *c)
{
	if (!c)
		return;
	map_clear(&c->reports, drop);
	pthread_mutex_destroy(&c->lock);
	free(c);
}

struct usage_report *usage_cache_get(struct usage_cache *c, const char *node)
{
	struct usage_report *r;

	pthread_mutex_lock(&c->lock);
	r = map_get(&c->reports, node);
	if (r && ev_clock_ms() - r->taken_ms < USAGE_FRESH_MS)
		usage_report_ref(r);
	else
		r = NULL;
	pthread_mutex_unlock(&c->lock);
	return r;
}

/* Nodes that are gone must not stay for ever. */
static void sweep(struct usage_cache *c, uint64_t now)
{
	struct map_iter it = MAP_ITER_INIT;

	if (now - c->swept_ms < SWEEP_MS)
		return;
	c->swept_ms = now;
	while (map_next(&c->reports, &it)) {
		struct usage_report *r = it.value;

		if (now - r->taken_ms >= SWEEP_MS)
			usage_report_unref(map_del(&c->reports, it.key));
	}
}

void usage_cache_put(struct usage_cache *c, const char *node,
		     struct usage_report *r)
{
	void *old = NULL;

	pthread_mutex_lock(&c->lock);
	sweep(c, r->taken_ms);
	/* Out of memory: the node is asked again next time. */
	if (map_set(&c->reports, node, r, &old) == 0)
		usage_report_ref(r);
	pthread_mutex_unlock(&c->lock);
	usage_report_unref(old);
}

/* --- asking -------------------------------------------------------------- */

struct target {
	char *name;
	struct usage_report *report; /* NULL: it is to be asked */
	struct node_at at;
};

struct fetch {
	struct collect *c;
	struct target *target; /* NULL: free */
	struct wire up;
	struct ev_timer timer;
	struct h1 answer;
	struct buf out, body;
};

struct collect {
	struct req *r; /* NULL: nobody waits any more */
	struct api *api;
	struct ev *ev;
	struct map targets; /* by name */
	struct map_iter next;
	struct fetch fetches[USAGE_AT_ONCE];
	size_t nr_running;
	bool deferred;
	struct ev_defer defer;
	void (*done)(struct req *r, void *arg);
	void (*clear)(void *arg);
	void *arg;
};

static void pump(void *arg);

static void pump_soon(struct collect *c)
{
	if (c->deferred)
		return;
	c->deferred = true;
	ev_defer(c->ev, &c->defer, pump, c);
}

static void fetch_close(struct fetch *f)
{
	ev_timer_del(&f->timer);
	wire_close(&f->up);
	h1_clear(&f->answer);
	buf_clear(&f->out);
	buf_clear(&f->body);
	f->target = NULL;
	f->c->nr_running--;
}

/* Over, with an answer or without: that is remembered as well. */
static void fetch_end(struct fetch *f, const char *why)
{
	struct target *t = f->target;
	struct collect *c = f->c;
	struct err e = { 0 };

	if (!why && f->answer.head.status != 200)
		why = "it refused";
	if (!why && usage_report_parse(buf_str(&f->body), f->body.len,
				       &t->report, &e) < 0)
		why = e.msg;
	if (why) {
		log_debug("usage of node %s: %s", t->name, why);
		t->report = usage_report_new();
	}
	if (t->report) {
		t->report->taken_ms = ev_clock_ms();
		usage_cache_put(c->api->usage, t->name, t->report);
	}
	fetch_close(f);
	pump_soon(c);
}

static void on_timeout(void *arg)
{
	fetch_end(arg, "no answer in time");
}

/* 1: the answer is whole; 0: more is to come. */
static int take(struct fetch *f, const char *data, size_t len, struct err *e)
{
	struct h1_piece piece;
	size_t used;
	int r;

	do {
		r = h1_next(&f->answer, data, len, &used, &piece, e);
		data += used;
		len -= used;
		if (r == H1_BODY)
			buf_add(&f->body, piece.data, piece.len);
	} while (r == H1_HEAD || r == H1_BODY);
	if (buf_error(&f->body))
		return err_set(e, -E2BIG, "its answer is too large");
	return r == H1_END ? 1 : r < 0 ? r : 0;
}

static void ready(void *arg)
{
	struct fetch *f = arg;
	char data[PIECE];
	struct err e = { 0 };
	ssize_t n = -EAGAIN;
	int r = 0;

	if (!f->target)
		return;
	while (f->out.len) {
		n = wire_write(&f->up, f->out.data, f->out.len);
		if (n < 0)
			break;
		buf_consume(&f->out, (size_t)n);
	}
	if (f->out.len && n == -EAGAIN) {
		wire_want(&f->up, false, true);
		return;
	}
	while (!f->out.len && r == 0) {
		n = wire_read(&f->up, data, sizeof(data));
		if (n > 0)
			r = take(f, data, (size_t)n, &e);
		else if (n == 0)
			r = h1_eof(&f->answer, &e) == H1_END ? 1 : -ECONNRESET;
		else
			break;
	}
	if (r == 0 && n == -EAGAIN)
		wire_want(&f->up, true, false);
	else
		fetch_end(f, r == 1 ? NULL : n < 0 ? f->up.why.msg : e.msg);
}

static void fetch_begin(struct collect *c, struct fetch *f, struct target *t)
{
	const struct h1_limits limits = { .body = USAGE_REPORT_MAX };
	struct err e = { 0 };
	SSL_CTX *tls = node_tls(c->api, &e);
	int r = tls ? 0 : -EINVAL;

	memset(&f->up, 0, sizeof(f->up));
	f->up.fd = -EBADF;
	f->c = c;
	f->target = t;
	f->body.max = USAGE_REPORT_MAX;
	c->nr_running++;
	h1_init(&f->answer, H1_RESPONSE, &limits);
	h1_put_request(&f->out, "GET", SUMMARY, t->at.host);
	h1_put_field(&f->out, "Connection", "close");
	h1_put_end(&f->out);
	if (r == 0)
		r = wire_connect(&f->up, c->ev, (const void *)&t->at.addr,
				 t->at.addr_len, tls, t->at.host, ready, f, &e);
	if (r == 0)
		r = tls_expect_subject(f->up.ssl, t->at.subject);
	if (r == 0)
		r = ev_timer_set(c->ev, &f->timer, USAGE_NODE_MS, on_timeout,
				 f);
	SSL_CTX_free(tls);
	if (r < 0)
		fetch_end(f, e.msg);
}

/* --- all of them --------------------------------------------------------- */

static void free_target(void *value)
{
	struct target *t = value;

	usage_report_unref(t->report);
	free(t->name);
	free(t);
}

static void release(struct collect *c)
{
	map_clear(&c->targets, free_target);
	free(c);
}

static struct fetch *free_fetch(struct collect *c)
{
	for (size_t i = 0; i < ARRAY_LEN(c->fetches); i++)
		if (!c->fetches[i].target)
			return &c->fetches[i];
	return NULL;
}

static struct target *next_target(struct collect *c)
{
	while (map_next(&c->targets, &c->next)) {
		struct target *t = c->next.value;

		if (!t->report)
			return t;
	}
	return NULL;
}

static void pump(void *arg)
{
	struct collect *c = arg;
	struct req *r = c->r;
	struct fetch *f;
	struct target *t;

	c->deferred = false;
	while (r && (f = free_fetch(c)) && (t = next_target(c)))
		fetch_begin(c, f, t);
	if (c->nr_running || c->deferred)
		return;
	if (r) {
		c->r = NULL;
		r->collect = NULL;
		c->done(r, c->arg); /* the request may be gone after this */
	}
	release(c);
}

struct collect *collect_new(struct req *r)
{
	struct collect *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->r = r;
	c->api = r->api;
	c->ev = r->loop->ev;
	r->collect = c;
	return c;
}

bool collect_has(const struct collect *c, const char *node)
{
	return map_get(&c->targets, node);
}

static bool is_ready(yyjson_val *node)
{
	yyjson_arr_iter it = yyjson_arr_iter_with(
		yyjson_ptr_get(node, "/status/conditions"));
	yyjson_val *c;

	while ((c = yyjson_arr_iter_next(&it)))
		if (yyjson_equals_str(yyjson_obj_get(c, "type"), "Ready"))
			return yyjson_equals_str(yyjson_obj_get(c, "status"),
						 "True");
	return false;
}

int collect_add(struct collect *c, const char *node,
		const struct object_bytes *o)
{
	struct target *t = calloc(1, sizeof(*t));
	yyjson_doc *doc = object_doc(o);
	yyjson_val *root = yyjson_doc_get_root(doc);

	if (t) {
		t->name = strdup(node);
		/* Nobody asks a node that is away or does not say where it is:
		 * there are no figures of it. */
		if (!is_ready(root) || !node_locate(root, node, &t->at))
			t->report = usage_report_new();
		else
			t->report = usage_cache_get(c->api->usage, node);
	}
	yyjson_doc_free(doc);
	if (t && t->name && map_set(&c->targets, node, t, NULL) == 0)
		return 0;
	if (t)
		free_target(t);
	return -ENOMEM;
}

void collect_start(struct collect *c, void (*done)(struct req *r, void *arg),
		   void (*clear)(void *arg), void *arg)
{
	c->done = done;
	c->clear = clear;
	c->arg = arg;
	pump_soon(c);
}

const struct usage_report *collect_report(const struct collect *c,
					  const char *node)
{
	const struct target *t = map_get(&c->targets, node);

	return t ? t->report : NULL;
}

void collect_free(struct collect *c)
{
	if (!c || !c->r)
		return;
	c->r->collect = NULL;
	c->r = NULL;
	for (size_t i = 0; i < ARRAY_LEN(c->fetches); i++)
		if (c->fetches[i].target)
			fetch_close(&c->fetches[i]);
	if (c->clear)
		c->clear(c->arg);
	/* Whoever calls may have been called by us. */
	pump_soon(c);
}

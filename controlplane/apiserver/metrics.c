// SPDX-License-Identifier: Apache-2.0
/* Counting, on the thread that serves; see metrics.h. */
#include <stdio.h>

#include "controlplane/apiserver/internal.h"
#include "controlplane/apiserver/metrics_internal.h"
#include "lib/str.h"

/* As Kubernetes' buckets. */
const struct prom_bounds metrics_seconds = {
	.nr = 23,
	.unit = 1000000,
	.v = { 5000,     25000,    50000,    100000,   200000,  400000,
	       600000,   800000,   1000000,  1250000,  1500000, 2000000,
	       3000000,  4000000,  5000000,  6000000,  8000000, 10000000,
	       15000000, 20000000, 30000000, 45000000, 60000000 },
};
const struct prom_bounds metrics_bytes = {
	.nr = 7,
	.unit = 1,
	.v = { 1000, 10000, 100000, 1000000, 10000000, 100000000, 1000000000 },
};

enum {
	V_GET,
	V_LIST,
	V_WATCH,
	V_POST,
	V_PUT,
	V_PATCH,
	V_APPLY,
	V_DELETE,
	V_DELETECOLLECTION,
	V_CONNECT,
	V_OTHER
};

static const struct {
	const char *ours, *name;
} verbs[] = {
	[V_GET] = { "get", "GET" },
	[V_LIST] = { "list", "LIST" },
	[V_WATCH] = { "watch", "WATCH" },
	[V_POST] = { "create", "POST" },
	[V_PUT] = { "update", "PUT" },
	[V_PATCH] = { "patch", "PATCH" },
	[V_APPLY] = { "", "APPLY" },
	[V_DELETE] = { "delete", "DELETE" },
	[V_DELETECOLLECTION] = { "deletecollection", "DELETECOLLECTION" },
	[V_CONNECT] = { "", "CONNECT" },
	[V_OTHER] = { "", "other" },
};

static const char *const scopes[] = { "", "cluster", "namespace", "resource" };

/* Paths that are no resources and have a name of their own. */
static const char *const paths[] = {
	"",         "/livez",      "/readyz", "/healthz", "/metrics",
	"/version", "/openapi/v2", "/api",    "/apis",    "/openapi/v3"
};

#define OTHER 255 /* a subresource without a name here */

struct metrics *metrics_new(void)
{
	return calloc(1, sizeof(struct metrics));
}

static void series_free(struct series *s)
{
	if (!s)
		return;
	free(s->labels);
	free(s->kind);
	free(s);
}

void metrics_free(struct metrics *m)
{
	if (!m)
		return;
	for (size_t i = 0; i < SLOTS; i++)
		series_free(m->slots[i]);
	series_free(m->rest);
	map_clear(&m->customs, free);
	free(m);
}

/* --- which series --- */

/* A custom type comes and goes: its name is what stays. NULL: counted with all
 * others. */
static const void *custom_id(struct metrics *m, const struct req *r)
{
	const struct type *t = r->route.type;
	char name[768];
	char *id;

	if (strcmp(r->tenant, SYSTEM) && *r->tenant &&
	    !(r->types && r->types->forced))
		return NULL;
	snprintf(name, sizeof(name), "%s/%s/%s", t->group, t->version,
		 t->plural);
	id = map_get(&m->customs, name);
	if (id || m->customs.nr >= CUSTOM_MAX)
		return id;
	id = strdup(name);
	if (id && map_set(&m->customs, name, id, NULL) < 0) {
		free(id);
		id = NULL;
	}
	return id;
}

static uint8_t verb_of(const struct req *r)
{
	const char *v = r->route.verb, *sub = r->route.subresource;

	if (!r->route.resource)
		v = str_eq(r->method, "GET") || str_eq(r->method, "HEAD")
			    ? "get"
			    : NULL;
	else if (sub && (!strcmp(sub, "exec") || !strcmp(sub, "attach") ||
			 !strcmp(sub, "portforward") || !strcmp(sub, "proxy")))
		return V_CONNECT;
	for (uint8_t i = 0; v && i < ARRAY_LEN(verbs); i++)
		if (strcmp(v, verbs[i].ours) == 0)
			return i != V_PATCH || !r->content_type ||
					       !strstr(r->content_type, "apply")
				       ? i
				       : V_APPLY;
	return V_OTHER;
}

static uint8_t path_of(const struct req *r)
{
	for (uint8_t i = 1; r->path && i < ARRAY_LEN(paths); i++)
		if (strcmp(r->path, paths[i]) == 0)
			return i;
	return 0;
}

/* The same list for all custom types: they may share a series. */
static const char *const *subs_of(const struct type *t)
{
	static const char *const custom[] = { "status", "scale", NULL };
	static const char *const none[] = { NULL };

	if (t->custom)
		return custom;
	return t->subresources ? (const char *const *)t->subresources : none;
}

static uint8_t sub_of(const struct route *rt)
{
	const char *const *subs = subs_of(rt->type);

	if (!rt->subresource)
		return 0;
	for (uint8_t i = 0; subs[i] && i < OTHER - 1; i++)
		if (strcmp(subs[i], rt->subresource) == 0)
			return i + 1;
	return OTHER;
}

static struct series_key key_of_req(struct metrics *m, const struct req *r)
{
	const struct route *rt = &r->route;
	struct series_key k = { .type = m, .verb = verb_of(r) };

	if (!rt->resource) {
		k.sub = path_of(r);
		return k;
	}
	/* What is not there, and what nobody may ask for, has no name. */
	if (!rt->type || !r->tenant)
		return k;
	k.type = rt->type->custom ? custom_id(m, r) : rt->type;
	k.sub = sub_of(rt);
	k.scope = rt->name || k.verb == V_POST ? 3 : rt->namespace ? 2 : 1;
	k.dry_run =
		r->query && k.verb > V_WATCH && strstr(r->query, "dryRun=All");
	return k;
}

static void describe(struct series *s, const struct metrics *m,
		     const struct req *r)
{
	const struct series_key *k = &s->key;
	const struct type *t = k->type && k->type != m ? r->route.type : NULL;
	const char *sub = "";

	if (k->sub == OTHER)
		sub = "other";
	else if (k->sub && k->type == m)
		sub = paths[k->sub];
	else if (k->sub)
		sub = subs_of(r->route.type)[k->sub - 1];
	s->labels = str_printf(
		"component=\"apiserver\",group=\"%s\",resource=\"%s\",scope="
		"\"%s\",subresource=\"%s\",verb=\"%s\",version=\"%s\"",
		t ? t->group : "",
		t          ? t->plural
		: !k->type ? "customresources"
			   : "",
		scopes[k->scope], sub, verbs[k->verb].name,
		t ? t->version : "");
	if (k->verb == V_WATCH)
		s->kind = str_printf("group=\"%s\",kind=\"%s\",version=\"%s\"",
				     t ? t->group : "",
				     t ? t->kind : "CustomResource",
				     t ? t->version : "");
	s->dry_run = k->dry_run;
	s->sized = k->verb == V_GET || k->verb == V_LIST;
	s->long_running = k->verb == V_WATCH || k->verb == V_CONNECT ||
			  strcmp(sub, "log") == 0;
}

/* All that has no room of its own. */
static struct series *rest_of(struct metrics *m)
{
	struct series *s = m->rest;

	if (s)
		return s;
	s = calloc(1, sizeof(*s));
	if (s)
		s->labels = strdup(
			"component=\"apiserver\",group=\"\",resource=\"other\""
			",scope=\"\",subresource=\"\",verb=\"other\",version="
			"\"\"");
	m->rest = s;
	return s;
}

static bool same(const struct series_key *a, const struct series_key *b)
{
	return a->type == b->type && a->verb == b->verb &&
	       a->scope == b->scope && a->sub == b->sub &&
	       a->dry_run == b->dry_run;
}

static struct series *series_of(struct metrics *m, const struct req *r)
{
	struct series_key k = key_of_req(m, r);
	uint64_t h = (uint64_t)(uintptr_t)k.type ^ (uint64_t)k.verb << 48 ^
		     (uint64_t)k.scope << 53 ^ (uint64_t)k.sub << 55 ^
		     (uint64_t)k.dry_run << 63;
	size_t i = (size_t)(h * 0x9e3779b97f4a7c15u >> 40) % SLOTS;
	struct series *s;

	for (; (s = atomic_load_explicit(&m->slots[i], memory_order_relaxed));
	     i = (i + 1) % SLOTS)
		if (same(&s->key, &k))
			return s;
	if (m->nr == SERIES_MAX)
		return rest_of(m);
	s = calloc(1, sizeof(*s));
	if (!s)
		return NULL;
	s->key = k;
	describe(s, m, r);
	if (!s->labels || (k.verb == V_WATCH && !s->kind)) {
		series_free(s);
		return NULL;
	}
	m->nr++;
	/* Whole before anybody sees it. */
	atomic_store_explicit(&m->slots[i], s, memory_order_release);
	return s;
}

/* --- counting --- */

static prom_counter *in_flight(const struct req *r)
{
	struct metrics *m = r->loop->metrics;
	const char *v = r->route.verb;

	return r->route.resource && v && *v != 'g' && *v != 'l' && *v != 'w'
		       ? &m->writing
		       : &m->reading;
}

void metrics_begin(struct req *r)
{
	r->series = series_of(r->loop->metrics, r);
	r->counted = true;
	if (r->series && r->series->long_running)
		prom_add(&r->series->open, 1);
	else
		prom_add(in_flight(r), 1);
}

static bool add_code(struct series *s, unsigned nr, int code)
{
	for (unsigned i = 0; i < nr; i++)
		if (s->codes[i].code == code) {
			prom_add(&s->codes[i].nr, 1);
			return true;
		}
	return false;
}

static void count_code(struct series *s, int code)
{
	unsigned nr = atomic_load_explicit(&s->nr_codes, memory_order_relaxed);

	if (add_code(s, nr, code))
		return;
	/* Somebody behind us makes codes up: their class will do. */
	if (nr >= CODES_MAX - 6)
		code = code / 100 * 100;
	if (nr >= CODES_MAX - 6 && add_code(s, nr, code))
		return;
	if (nr == CODES_MAX)
		return;
	s->codes[nr].code = code;
	prom_add(&s->codes[nr].nr, 1);
	atomic_store_explicit(&s->nr_codes, nr + 1, memory_order_release);
}

void metrics_end(struct req *r)
{
	struct metrics *m = r->loop->metrics;
	struct series *s = r->series;
	struct timespec now;

	if (r->counted && s && s->long_running)
		prom_add(&s->open, (uint64_t)-1);
	else if (r->counted)
		prom_add(in_flight(r), (uint64_t)-1);
	if (!r->started)
		return; /* the client did not wait for an answer */
	if (!s)
		s = series_of(m, r);
	if (!s)
		return;
	if (r->code == 401)
		prom_add(&m->unknown, 1);
	else if (r->user)
		prom_add(&m->known, 1);
	count_code(s, r->code);
	if (!r->begun.tv_sec)
		return;
	clock_gettime(CLOCK_MONOTONIC, &now);
	prom_observe(&s->seconds, &metrics_seconds,
		     (uint64_t)(now.tv_sec - r->begun.tv_sec) * 1000000 +
			     (uint64_t)(now.tv_nsec / 1000) -
			     (uint64_t)(r->begun.tv_nsec / 1000));
	if (s->sized)
		prom_observe(&s->bytes, &metrics_bytes, r->sent);
}

void metrics_event(struct req *r)
{
	if (r->series)
		prom_add(&r->series->events, 1);
}

void metrics_handshake_failed(struct metrics *m)
{
	prom_add(&m->handshakes_failed, 1);
}

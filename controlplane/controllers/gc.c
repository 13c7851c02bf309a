// SPDX-License-Identifier: Apache-2.0
/*
 * Garbage collection: what has owners goes when they have all gone. Dependents
 * of every kind (CRDs, too) are known by metadata alone; an owner that nobody
 * has seen is asked for before its dependents are touched.
 *
 * Foreground: an owner with the finalizer foregroundDeletion waits until no
 * dependent with blockOwnerDeletion is left. Orphan: with the finalizer orphan,
 * its dependents lose the reference first. Never across tenants, and a
 * namespaced owner only has dependents in its own namespace.
 */
#include "controlplane/controllers/gc.h"

#include <stdio.h>
#include <time.h>

#include "controlplane/client/object.h"
#include "controlplane/controllers/controllers.h"
#include "lib/err.h"
#include "lib/json.h"
#include "lib/log.h"
#include "lib/str.h"

#define DISCOVER_S 10 /* types that came with CRDs are looked for */

/* What an object is called in requests: copied out of the graph. */
struct who {
	char *uid, *path; /* path: of the object itself */
	char *tenant, *namespace;
};

static void who_clear(struct who *w)
{
	free(w->uid);
	free(w->path);
	free(w->tenant);
	free(w->namespace);
}

static int path_of(const struct gc_type *t, const char *tenant, const char *ns,
		   const char *name, char **ret)
{
	auto_buf struct buf b = BUF_INIT;

	buf_puts(&b, t->path);
	if (t->tenanted)
		buf_printf(&b, "/tenants/%s", *tenant ? tenant : "system");
	if (t->namespaced)
		buf_printf(&b, "/namespaces/%s", ns);
	buf_printf(&b, "/%s/%s", t->plural, name);
	*ret = buf_take(&b);
	return *ret ? 0 : -ENOMEM;
}

static int who_of(const struct gc_node *n, struct who *ret)
{
	if (str_set(&ret->uid, n->uid) < 0 ||
	    str_set(&ret->tenant, n->tenant) < 0 ||
	    str_set(&ret->namespace, n->namespace) < 0)
		return -ENOMEM;
	return path_of(n->type, n->tenant, n->namespace, n->name, &ret->path);
}

static int request(struct gc *g, const char *method, const char *path,
		   const char *body, struct buf *ret_answer, struct err *e)
{
	struct client_call call = { .method = method, .path = path };
	int r;

	if (body) {
		call.body = body;
		call.type = strcmp(method, "PATCH") == 0 ? CTL_MERGE : NULL;
	}
	(void)client_do(g->ctl->client, &call);
	r = client_check(&call, e);
	if (ret_answer && r == 0)
		buf_add(ret_answer, buf_str(&call.answer), call.answer.len);
	client_call_clear(&call);
	return r < 0 ? err_wrap(e, r, "%s %s", method, path) : 0;
}

/* --- changing lists in metadata: read, change, and write if unchanged --- */

struct edit {
	const char *finalizer;     /* to take away */
	const char *const *owners; /* UIDs to take away */
	size_t nr_owners;
};

static bool is_dropped(const struct edit *x, const char *uid)
{
	for (size_t i = 0; i < x->nr_owners; i++)
		if (str_eq(x->owners[i], uid))
			return true;
	return false;
}

/* A list without what is dropped; null when nothing is left. */
static void put_rest(struct json_out *o, const char *name, yyjson_val *list,
		     const struct edit *x, bool owners)
{
	bool any = false;
	yyjson_val *v;
	size_t i, max;

	yyjson_arr_foreach(list, i, max, v)
	{
		if (owners ? is_dropped(x, obj_str(v, "uid"))
			   : str_eq(yyjson_get_str(v), x->finalizer))
			continue;
		if (!any)
			json_put_array(o, name);
		any = true;
		json_put_val(o, NULL, v);
	}
	if (any)
		json_put_end(o);
	else
		json_put_null(o, name);
}

static void put_edit(const struct edit *x, yyjson_val *meta, struct buf *b)
{
	struct json_out o = JSON_OUT(b);

	json_put_object(&o, NULL);
	json_put_object(&o, "metadata");
	json_put_str(&o, "uid", obj_str(meta, "uid"));
	json_put_str(&o, "resourceVersion", obj_str(meta, "resourceVersion"));
	if (x->finalizer)
		put_rest(&o, "finalizers", obj_at(meta, "finalizers"), x,
			 false);
	if (x->nr_owners)
		put_rest(&o, "ownerReferences", obj_at(meta, "ownerReferences"),
			 x, true);
	json_put_end(&o);
	json_put_end(&o);
}

static int edit(struct gc *g, const struct who *w, const struct edit *x,
		struct err *e)
{
	auto_buf struct buf now = BUF_INIT, body = BUF_INIT;
	int r = request(g, "GET", w->path, NULL, &now, e);
	yyjson_doc *doc;
	yyjson_val *meta;

	if (r < 0)
		return r == -ENOENT ? 0 : r;
	doc = yyjson_read(buf_str(&now), now.len, 0);
	meta = obj_at(yyjson_doc_get_root(doc), "metadata");
	if (str_eq(obj_str(meta, "uid"), w->uid)) {
		put_edit(x, meta, &body);
		r = buf_error(&body) ? err_set(e, -ENOMEM, "out of memory")
				     : request(g, "PATCH", w->path,
					       buf_str(&body), NULL, e);
	}
	yyjson_doc_free(doc);
	return r == -ENOENT ? 0 : r;
}

static int delete (struct gc *g, const struct who *w, const char *policy,
		   struct err *e)
{
	auto_free char *body = str_printf(
		"{\"kind\":\"DeleteOptions\",\"apiVersion\":\"v1\","
		"\"propagationPolicy\":\"%s\",\"preconditions\":{\"uid\":"
		"\"%s\"}}",
		policy, w->uid);
	int r = body ? request(g, "DELETE", w->path, body, NULL, e) : -ENOMEM;

	return r == -ENOENT || r == -ESTALE ? 0 : r;
}

/* --- owners --- */

enum standing { OWNER_SOLID, OWNER_WAITING, OWNER_ABSENT, OWNER_UNKNOWN };

/* May @n have this owner, by where both are? Locked. */
static bool is_in_reach(const struct gc_node *n, const struct gc_node *owner)
{
	const struct gc_type *t = owner->type;

	if (t->tenanted && !str_eq(owner->tenant, n->tenant))
		return false;
	return !t->namespaced || str_eq(owner->namespace, n->namespace);
}

static enum standing standing_of(const struct gc_node *n,
				 const struct gc_ref *ref)
{
	const struct gc_node *o = ref->owner;

	if (o->absent)
		return OWNER_ABSENT;
	if (!o->type)
		return o->asked ? OWNER_SOLID : OWNER_UNKNOWN;
	if (!is_in_reach(n, o))
		return OWNER_ABSENT;
	return o->deleting && o->foreground ? OWNER_WAITING : OWNER_SOLID;
}

/* Nobody has seen it: ask the server, where the reference says it is. */
static int ask(struct gc *g, const char *uid, const struct who *dependent,
	       const char *api_version, const char *kind, const char *name,
	       struct err *e)
{
	auto_free char *key = str_printf("%s/%s", api_version, kind);
	auto_free char *path = NULL;
	auto_buf struct buf b = BUF_INIT;
	struct gc_type *t;
	struct gc_node *n;
	yyjson_doc *doc;
	bool there;
	int r = -ENOMEM;

	pthread_mutex_lock(&g->lock);
	t = key ? map_get(&g->types, key) : NULL;
	if (t)
		r = path_of(t, dependent->tenant ? dependent->tenant : "",
			    dependent->namespace ? dependent->namespace : "",
			    name, &path);
	pthread_mutex_unlock(&g->lock);
	/* Of a kind that is not known, or not yet: later. */
	if (!t)
		return err_set(e, g->discovered ? -EAGAIN : -ECANCELED,
			       "owner of unknown kind %s", key);
	if (r < 0)
		return err_set(e, r, "out of memory");
	r = request(g, "GET", path, NULL, &b, e);
	if (r < 0 && r != -ENOENT)
		return r;
	doc = yyjson_read(buf_str(&b), b.len, 0);
	there = r == 0 &&
		str_eq(obj_str(yyjson_doc_get_root(doc), "metadata.uid"), uid);
	yyjson_doc_free(doc);
	pthread_mutex_lock(&g->lock);
	n = gc_node(g, uid);
	if (n && !n->type) {
		n->asked = there;
		n->absent = !there;
	}
	pthread_mutex_unlock(&g->lock);
	return 0;
}

/* --- one object --- */

struct todo {
	struct who self;
	bool deleting, foreground, orphan, blocked, has_dependents;
	struct who *others; /* dependents to orphan, or to delete */
	size_t nr_others;
	char **gone; /* UIDs of owners that are absent, or waiting */
	size_t nr_gone;
	bool solid, waiting;
	char *ask_uid, *ask_version, *ask_kind, *ask_name;
};

static void todo_clear(struct todo *t)
{
	who_clear(&t->self);
	for (size_t i = 0; i < t->nr_others; i++)
		who_clear(&t->others[i]);
	for (size_t i = 0; i < t->nr_gone; i++)
		free(t->gone[i]);
	free(t->others);
	free(t->gone);
	free(t->ask_uid);
	free(t->ask_version);
	free(t->ask_kind);
	free(t->ask_name);
}

static bool blocks(const struct gc_node *dep, const struct gc_node *owner)
{
	for (unsigned i = 0; i < dep->nr_owners; i++)
		if (dep->owners[i].owner == owner)
			return dep->owners[i].block;
	return false;
}

static int read_dependents(const struct gc_node *n, struct todo *t)
{
	t->others = calloc(n->nr_dependents + 1, sizeof(*t->others));
	if (!t->others)
		return -ENOMEM;
	for (size_t i = 0; i < n->nr_dependents; i++) {
		const struct gc_node *d = n->dependents[i];

		if (!d->type || !is_in_reach(d, n))
			continue;
		t->has_dependents = true;
		t->blocked |= blocks(d, n);
		/* In the foreground each is looked at by itself. */
		if (n->orphan && who_of(d, &t->others[t->nr_others++]) < 0)
			return -ENOMEM;
	}
	return 0;
}

static int read_owners(const struct gc_node *n, struct todo *t)
{
	t->gone = calloc(n->nr_owners + 1, sizeof(*t->gone));
	if (!t->gone)
		return -ENOMEM;
	for (unsigned i = 0; i < n->nr_owners; i++) {
		const struct gc_ref *ref = &n->owners[i];
		enum standing s = standing_of(n, ref);

		if (s == OWNER_UNKNOWN) {
			if (t->ask_uid)
				continue;
			if (str_set(&t->ask_uid, ref->owner->uid) < 0 ||
			    str_set(&t->ask_version, ref->api_version) < 0 ||
			    str_set(&t->ask_kind, ref->kind) < 0 ||
			    str_set(&t->ask_name, ref->name) < 0)
				return -ENOMEM;
			continue;
		}
		t->solid |= s == OWNER_SOLID;
		t->waiting |= s == OWNER_WAITING;
		if (s == OWNER_SOLID)
			continue;
		t->gone[t->nr_gone] = strdup(ref->owner->uid);
		if (!t->gone[t->nr_gone++])
			return -ENOMEM;
	}
	return 0;
}

/* What is to be done about a UID. 1: nothing. */
static int plan(struct gc *g, const char *uid, struct todo *t)
{
	struct gc_node *n;
	int r;

	pthread_mutex_lock(&g->lock);
	n = gc_node(g, uid);
	if (!n || !n->type) {
		pthread_mutex_unlock(&g->lock);
		return 1;
	}
	t->deleting = n->deleting;
	t->foreground = n->foreground;
	t->orphan = n->orphan;
	r = who_of(n, &t->self);
	if (r == 0)
		r = read_dependents(n, t);
	if (r == 0 && !n->deleting)
		r = read_owners(n, t);
	pthread_mutex_unlock(&g->lock);
	return r;
}

static int orphan(struct gc *g, struct todo *t, struct err *e)
{
	const char *uid[] = { t->self.uid };
	struct edit drop = { .owners = uid, .nr_owners = 1 };
	struct edit done = { .finalizer = GC_ORPHAN };
	int r = 0;

	for (size_t i = 0; i < t->nr_others && r == 0; i++)
		r = edit(g, &t->others[i], &drop, e);
	return r < 0 ? r : edit(g, &t->self, &done, e);
}

static int collect(struct gc *g, struct todo *t, struct err *e)
{
	struct edit drop = { .owners = (const char *const *)t->gone,
			     .nr_owners = t->nr_gone };

	if (!t->nr_gone)
		return 0;
	if (t->solid)
		return edit(g, &t->self, &drop, e);
	return delete (g, &t->self,
		       t->waiting && t->has_dependents ? "Foreground"
						       : "Background",
		       e);
}

static int sync_key(struct ctl *c, const char *key, struct err *e)
{
	const char *uid = strrchr(key, '/') + 1;
	struct gc *g = c->data;
	struct todo t = { 0 };
	int r = plan(g, uid, &t);

	if (r > 0 || !ctl_owns(c, uid)) {
		todo_clear(&t);
		return 0;
	}
	if (r < 0) {
		err_set(e, r, "out of memory");
	} else if (t.deleting && t.orphan) {
		r = orphan(g, &t, e);
	} else if (t.deleting && t.foreground && !t.blocked) {
		struct edit done = { .finalizer = GC_FOREGROUND };

		r = edit(g, &t.self, &done, e);
	} else if (t.ask_uid) {
		r = ask(g, t.ask_uid, &t.self, t.ask_version, t.ask_kind,
			t.ask_name, e);
		if (r == 0)
			ctl_add(c, key);
	} else if (!t.deleting) {
		r = collect(g, &t, e);
	}
	todo_clear(&t);
	return r;
}

/* --- registration --- */

/* Types come and go with CRDs, so a thread looks for them now and then. */
static void *discover(void *arg)
{
	struct gc *g = arg;

	pthread_setname_np(pthread_self(), "arktos-gc");
	pthread_mutex_lock(&g->lock);
	while (!g->stopping) {
		struct timespec until;
		struct err e = { 0 };
		int r;

		pthread_mutex_unlock(&g->lock);
		r = gc_discover(g, &e);
		if (r < 0 && r != -ECANCELED)
			log_warn("gc: discovery: %s, retrying", e.msg);
		pthread_mutex_lock(&g->lock);
		g->discovered |= r == 0;
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_sec += r < 0 ? 1 : DISCOVER_S;
		while (!g->stopping &&
		       pthread_cond_timedwait(&g->cond, &g->lock, &until) == 0)
			;
	}
	pthread_mutex_unlock(&g->lock);
	return NULL;
}

static int begin(struct ctl *c, struct err *e)
{
	struct gc *g = calloc(1, sizeof(*g));
	pthread_attr_t attr;
	int r;

	if (!g)
		return err_set(e, -ENOMEM, "out of memory");
	g->ctl = c;
	c->data = g;
	pthread_mutex_init(&g->lock, NULL);
	pthread_cond_init(&g->cond, NULL);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 256 * 1024);
	r = pthread_create(&g->thread, &attr, discover, g);
	pthread_attr_destroy(&attr);
	if (r)
		return err_set(e, -r, "thread: %s", strerror(r));
	g->running = true;
	return 0;
}

/* Its informers call no more after this. */
static void stop(struct ctl *c)
{
	struct gc *g = c->data;

	if (!g)
		return;
	pthread_mutex_lock(&g->lock);
	g->stopping = true;
	pthread_cond_broadcast(&g->cond);
	pthread_mutex_unlock(&g->lock);
	if (g->running)
		pthread_join(g->thread, NULL);
	g->running = false;
	gc_types_free(g);
}

static void end(struct ctl *c)
{
	struct gc *g = c->data;

	if (!g)
		return;
	stop(c);
	gc_clear(g);
	pthread_mutex_destroy(&g->lock);
	pthread_cond_destroy(&g->cond);
	free(g);
}

const struct controller gc_controller = { "gc", begin, sync_key, end };

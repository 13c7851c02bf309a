// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>

#include "controlplane/apiserver/admission/plugins.h"
#include "controlplane/apiserver/admission/quota.h"
#include "controlplane/apiserver/admission/quota_ledger.h"
#include "controlplane/apiserver/write.h"
#include "lib/json.h"
#include "lib/log.h"
#include "lib/str.h"

enum { IN_FLIGHT, STORED, FAILED };

/* What one change has reserved, of one quota or more. */
struct quota_hold {
	atomic_uint refs;
	atomic_int state;
};

struct hold_item {
	struct hold_item *next;
	struct quota_hold *hold;
	bool over; /* it is in what is being read */
	int64_t delta[];
};

/* One type of objects the quota counts. */
struct feed {
	const struct type *type;
	struct store_watch *watch;
	uint64_t from; /* older events are in the first look */
};

/* --- holds --- */

static void hold_unref(struct quota_hold *h)
{
	if (h && atomic_fetch_sub(&h->refs, 1) == 1)
		free(h);
}

void quota_settle(struct quota_hold *h, bool stored)
{
	if (!h)
		return;
	atomic_store(&h->state, stored ? STORED : FAILED);
	hold_unref(h);
}

/* Those that failed go; those that are stored, once they have been read: they
 * are marked before, and dropped after. */
static void mark_holds(struct quota *q)
{
	for (struct hold_item *i = q->holds; i; i = i->next)
		i->over = atomic_load(&i->hold->state) != IN_FLIGHT;
}

static void drop_holds(struct quota *q, bool all)
{
	struct hold_item **at = &q->holds, *i;

	while ((i = *at)) {
		if (!i->over && !all) {
			at = &i->next;
			continue;
		}
		*at = i->next;
		hold_unref(i->hold);
		free(i);
	}
}

static int64_t reserved(const struct quota *q, size_t n)
{
	int64_t total = 0;

	for (struct hold_item *i = q->holds; i; i = i->next)
		if (atomic_load(&i->hold->state) != FAILED)
			total += i->delta[n];
	return total;
}

/* --- waking the writer --- */

static void on_usage(void *arg)
{
	struct quota *q = arg;

	atomic_store(&q->dirty, true);
	quota_wake(q->ledger);
}

/* --- one quota's ledger --- */

static void quota_clear(struct quota *q)
{
	for (size_t i = 0; i < q->nr_feeds; i++)
		store_watch_close(q->feeds[i].watch);
	free(q->feeds);
	yyjson_doc_free(q->doc);
	q->feeds = NULL;
	q->nr_feeds = q->nr = 0;
	q->doc = NULL;
}

void quota_free(void *arg)
{
	struct quota *q = arg;

	if (!q)
		return;
	quota_clear(q);
	drop_holds(q, true);
	free(q->key);
	free(q->tenant);
	free(q->ns);
	free(q);
}

static void count(struct quota *q, const struct type *t,
		  const struct object_bytes *o, int sign)
{
	yyjson_doc *doc = object_doc(o);
	yyjson_val *obj = doc ? yyjson_doc_get_root(doc) : NULL;

	if (obj && quota_in_scope(q->spec, t, obj))
		for (size_t i = 0; i < q->nr; i++)
			q->used[i] += sign * quota_measure(q->names[i], t, obj);
	yyjson_doc_free(doc);
}

static bool counts(const struct quota *q, const struct type *t)
{
	for (size_t i = 0; i < q->nr; i++)
		if (quota_counts(q->names[i], t))
			return true;
	return false;
}

/* First the watch, then the look: nothing falls between them. */
static int add_feed(struct quota *q, const struct type *t, struct err *e)
{
	struct api *api = q->ledger->api;
	auto_buf struct buf prefix = BUF_INIT;
	struct store_range range = { 0 };
	struct feed *f, *v;
	struct store_list list;
	int r;

	v = realloc(q->feeds, (q->nr_feeds + 1) * sizeof(*v));
	if (!v)
		return err_set(e, -ENOMEM, "out of memory");
	q->feeds = v;
	f = &q->feeds[q->nr_feeds];
	memset(f, 0, sizeof(*f));
	f->type = t;
	buf_printf(&prefix, "%s/%s/%s/", *t->group ? t->group : "core",
		   t->plural, q->tenant);
	if (q->ns)
		buf_printf(&prefix, "%s/", q->ns);
	r = store_watch_open(api->store, buf_str(&prefix), 0, on_usage, q,
			     &f->watch, e);
	if (r < 0)
		return r;
	q->nr_feeds++;
	range.prefix = buf_str(&prefix);
	r = store_list(api->store, &range, &list, e);
	if (r < 0)
		return r;
	f->from = list.revision;
	for (size_t i = 0; i < list.nr; i++)
		count(q, t, list.v[i], 1);
	store_list_clear(&list);
	return 0;
}

static void read_hard(struct quota *q, yyjson_val *hard)
{
	yyjson_val *k, *v;
	size_t i, max;

	json_obj_foreach (hard, i, max, k, v) {
		const char *name = yyjson_get_str(k);

		if (q->nr == NAMES_MAX || !yyjson_is_str(v) ||
		    quota_parse(name, yyjson_get_str(v), &q->hard[q->nr]) < 0)
			continue;
		q->used[q->nr] = 0;
		q->names[q->nr++] = name;
	}
}

/* Make it anew of the object's text. What is still in flight is carried over
 * as far as its resources are still limited. */
static int quota_load(struct quota *q, const struct object_bytes *o,
		      struct err *e)
{
	const struct type_set *set = q->ledger->api->types;
	yyjson_doc *doc = object_doc(o), *old = q->doc;
	const char *old_names[NAMES_MAX];
	size_t old_nr = q->nr;
	int r = 0;

	if (!doc)
		return err_set(e, -ENOMEM, "out of memory");
	memcpy(old_names, q->names, sizeof(old_names));
	q->doc = NULL; /* the old names live in it */
	quota_clear(q);
	q->doc = doc;
	q->spec = yyjson_obj_get(yyjson_doc_get_root(doc), "spec");
	if (!q->ns)
		q->spec = yyjson_obj_get(q->spec, "quota");
	read_hard(q, yyjson_obj_get(q->spec, "hard"));
	mark_holds(q);
	for (size_t i = 0; i < set->nr && r == 0; i++) {
		const struct type *t = &set->types[i];

		if (t->scope == SCOPE_NAMESPACED && !t->virtual && !t->stored &&
		    counts(q, t))
			r = add_feed(q, t, e);
	}
	/* Half a ledger is none: it is made anew the next time. */
	if (r < 0) {
		quota_clear(q);
		yyjson_doc_free(old);
		return r;
	}
	drop_holds(q, false);
	for (struct hold_item *i = q->holds; i; i = i->next) {
		int64_t delta[NAMES_MAX] = { 0 };

		for (size_t n = 0; n < q->nr; n++)
			for (size_t m = 0; m < old_nr; m++)
				if (strcmp(q->names[n], old_names[m]) == 0)
					delta[n] = i->delta[m];
		memcpy(i->delta, delta, sizeof(delta));
	}
	yyjson_doc_free(old);
	atomic_store(&q->dirty, true);
	return r;
}

/* Up to what is stored now. -ESTALE: it has fallen behind, make it anew. */
static int quota_follow(struct quota *q)
{
	struct store_event ev[32];
	int n = 0;

	mark_holds(q);
	for (size_t f = 0; f < q->nr_feeds && n >= 0; f++) {
		struct feed *feed = &q->feeds[f];

		while ((n = store_watch_read(feed->watch, ev, 32)) > 0)
			for (int i = 0; i < n; i++) {
				if (ev[i].obj->revision > feed->from) {
					count(q, feed->type, ev[i].prev, -1);
					if (!ev[i].obj->deleted)
						count(q, feed->type, ev[i].obj,
						      1);
				}
				store_event_clear(&ev[i]);
			}
	}
	if (n < 0)
		return -ESTALE;
	drop_holds(q, false);
	return 0;
}

int quota_get(struct quota_ledger *l, const struct object_bytes *o,
	      const char *tenant, const char *ns, struct quota **ret,
	      struct err *e)
{
	struct quota *q = map_get(&l->quotas, o->key);
	yyjson_doc *doc;
	bool same;

	if (!q) {
		q = calloc(1, sizeof(*q));
		if (!q || str_set(&q->key, o->key) ||
		    str_set(&q->tenant, tenant) || str_set(&q->ns, ns) ||
		    map_set(&l->quotas, o->key, q, NULL)) {
			quota_free(q);
			return err_set(e, -ENOMEM, "out of memory");
		}
		q->ledger = l;
		q->name = strrchr(q->key, '/') + 1;
	}
	*ret = q;
	doc = object_doc(o);
	same = q->doc && doc &&
	       yyjson_equals(yyjson_obj_get(yyjson_doc_get_root(doc), "spec"),
			     yyjson_obj_get(yyjson_doc_get_root(q->doc),
					    "spec"));
	yyjson_doc_free(doc);
	if (same && quota_follow(q) == 0)
		return 0;
	return quota_load(q, o, e);
}

/* --- admission --- */

/* Reserve @delta of @q, unless there is not so much left. */
static int reserve(struct admission *a, struct quota *q, const int64_t *delta,
		   struct quota_hold *h)
{
	auto_buf struct buf asked = BUF_INIT, used = BUF_INIT, hard = BUF_INIT;
	struct hold_item *item;
	char text[32];

	for (size_t i = 0; i < q->nr; i++) {
		int64_t now = q->used[i] + reserved(q, i);
		const char *name = q->names[i], *comma = asked.len ? "," : "";

		if (delta[i] <= 0 || now + delta[i] <= q->hard[i])
			continue;
		buf_printf(&asked, "%s%s=%s", comma, name,
			   quota_format(name, delta[i], text));
		buf_printf(&used, "%s%s=%s", comma, name,
			   quota_format(name, now, text));
		buf_printf(&hard, "%s%s=%s", comma, name,
			   quota_format(name, q->hard[i], text));
	}
	if (asked.len)
		return admission_forbid(
			a,
			"exceeded quota: %s%s, requested: %s, used: %s, "
			"limited: %s",
			q->ns ? "" : "tenant ", q->name, buf_str(&asked),
			buf_str(&used), buf_str(&hard));
	item = calloc(1, sizeof(*item) + NAMES_MAX * sizeof(item->delta[0]));
	if (!item)
		return admission_refuse(a, 500, "InternalError",
					"out of memory");
	atomic_fetch_add(&h->refs, 1);
	item->hold = h;
	memcpy(item->delta, delta, q->nr * sizeof(*delta));
	item->next = q->holds;
	q->holds = item;
	return 0;
}

static yyjson_doc *plain(yyjson_mut_val *v)
{
	return v ? yyjson_mut_val_imut_copy(v, NULL) : NULL;
}

static int check_quota(struct admission *a, struct quota *q,
		       struct quota_hold *h)
{
	yyjson_doc *now = plain(a->obj), *old = plain(a->old);
	yyjson_val *obj = yyjson_doc_get_root(now);
	yyjson_val *before = old ? yyjson_doc_get_root(old) : NULL;
	int64_t delta[NAMES_MAX] = { 0 };
	bool more = false;
	int r = 0;

	if (before && !quota_in_scope(q->spec, a->type, before))
		before = NULL;
	if (!quota_in_scope(q->spec, a->type, obj))
		obj = NULL;
	for (size_t i = 0; i < q->nr && obj && r == 0; i++) {
		const char *c;

		delta[i] = quota_measure(q->names[i], a->type, obj) -
			   quota_measure(q->names[i], a->type, before);
		more |= delta[i] > 0;
		c = a->op == ADMIT_CREATE && admission_is(a, "", "pods")
			    ? quota_unspecified(q->names[i], obj)
			    : NULL;
		if (c)
			r = admission_forbid(a,
					     "failed quota: %s: must specify "
					     "%s for: %s",
					     q->name, q->names[i], c);
	}
	if (r == 0 && more)
		r = reserve(a, q, delta, h);
	yyjson_doc_free(now);
	yyjson_doc_free(old);
	return r;
}

/* The quotas of one place: all below @prefix. */
static int check_all(struct admission *a, const char *prefix, const char *ns,
		     struct quota_hold **h)
{
	struct quota_ledger *l = a->api->quota;
	struct store_range range = { .prefix = prefix };
	struct store_list list = { 0 };
	struct err e = { 0 };
	int r;

	if (ns) {
		r = store_list(a->api->store, &range, &list, &e);
	} else {
		struct object_bytes *o = store_get(a->api->store, prefix);

		list.v = o ? malloc(sizeof(*list.v)) : NULL;
		if (list.v)
			list.v[list.nr++] = o;
		else
			object_unref(o);
		r = 0;
	}
	if (list.nr)
		pthread_mutex_lock(&l->lock);
	for (size_t i = 0; i < list.nr && r == 0; i++) {
		struct quota *q = NULL;

		if (!ns && !object_has(list.v[i], "\"quota\""))
			continue;
		if (!*h) {
			*h = calloc(1, sizeof(**h));
			if (!*h)
				r = -ENOMEM;
			else
				atomic_init(&(*h)->refs, 1);
		}
		if (r == 0)
			r = quota_get(l, list.v[i], a->tenant, ns, &q, &e);
		if (r < 0)
			r = admission_refuse(a, 500, "InternalError",
					     "quota: %s", e.msg);
		else if (counts(q, a->type))
			r = check_quota(a, q, *h);
	}
	if (list.nr)
		pthread_mutex_unlock(&l->lock);
	store_list_clear(&list);
	return r;
}

static int validate(struct admission *a)
{
	auto_free char *spaces = NULL, *tenant = NULL;
	struct quota_hold *h = NULL;
	int r;

	if (a->type->scope != SCOPE_NAMESPACED || !a->obj || !a->write)
		return 0;
	/* A status says what is, it asks for nothing. */
	if (a->op == ADMIT_UPDATE && strcmp(a->subresource, "status") == 0)
		return 0;
	spaces = str_printf(QUOTAS "%s/%s/", a->tenant, a->namespace);
	tenant = str_printf(TENANTS "%s", a->tenant);
	if (!spaces || !tenant)
		return admission_refuse(a, 500, "InternalError",
					"out of memory");
	r = check_all(a, spaces, a->namespace, &h);
	if (r == 0)
		r = check_all(a, tenant, NULL, &h);
	if (r < 0 || a->dry_run)
		quota_settle(h, false);
	else
		a->write->hold = h;
	return r;
}

const struct admission_plugin admission_quota = {
	.name = "ResourceQuota",
	.ops = ADMIT_CREATE | ADMIT_UPDATE,
	.validate = validate,
};

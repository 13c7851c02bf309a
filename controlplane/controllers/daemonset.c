// SPDX-License-Identifier: Apache-2.0
/* DaemonSets: one pod on each node that suits, bound there by the scheduler
 * through the affinity it is given. */
#include <stdio.h>

#include "controlplane/client/nodematch.h"
#include "controlplane/client/object.h"
#include "controlplane/controllers/controllers.h"
#include "controlplane/controllers/pods.h"
#include "controlplane/controllers/revision.h"
#include "lib/err.h"
#include "lib/json.h"
#include "lib/str.h"

struct ds {
	struct informer_object *obj;
	yyjson_val *root, *spec;
	char hash[16], revision[256];
	int64_t now_s, min_ready_s;
	struct informer_list pods, nodes;
	struct informer_object **remove;
	size_t nr_remove;
	const char **create; /* names of nodes */
	size_t nr_create;
	int64_t desired, current, misplaced, ready, updated, available;
};

/* What daemons tolerate by themselves (template.c writes the same). */
static bool is_own_taint(const char *key, const char *effect)
{
	if (str_eq(key, "node.kubernetes.io/not-ready") ||
	    str_eq(key, "node.kubernetes.io/unreachable"))
		return str_eq(effect, "NoExecute");
	return str_eq(effect, "NoSchedule") &&
	       (str_ends(key, "-pressure") ||
		str_eq(key, "node.kubernetes.io/unschedulable"));
}

enum suit { SUIT_NOT, SUIT_STAY, SUIT_RUN };

/* May it run there, or at least stay? */
static enum suit suits(const struct ds *d, yyjson_val *node)
{
	yyjson_val *tol = obj_at(d->spec, "tolerations"), *t;
	enum suit s = SUIT_RUN;
	size_t i, max;

	if (!node_selected(obj_at(d->spec, "nodeSelector"),
			   obj_at(d->spec, "affinity"), node))
		return SUIT_NOT;
	yyjson_arr_foreach(obj_at(node, "spec.taints"), i, max, t)
	{
		const char *key = obj_str(t, "key");
		const char *effect = obj_str(t, "effect");

		if (str_eq(effect, "PreferNoSchedule") ||
		    is_own_taint(key, effect) ||
		    taint_tolerated(tol, key, obj_str(t, "value"), effect))
			continue;
		if (str_eq(effect, "NoExecute"))
			return SUIT_NOT;
		/* The node's own not-ready taint keeps new ones away. */
		s = SUIT_STAY;
	}
	return s;
}

/* The node a pod is meant for, also before it is bound. */
static const char *node_of(yyjson_val *pod)
{
	const char *bound = obj_str(pod, "spec.nodeName");
	yyjson_val *terms =
		obj_at(pod, "spec.affinity.nodeAffinity."
			    "requiredDuringSchedulingIgnoredDuringExecution."
			    "nodeSelectorTerms");
	yyjson_val *field = yyjson_arr_get_first(
		yyjson_obj_get(yyjson_arr_get_first(terms), "matchFields"));
	const char *meant = yyjson_get_str(
		yyjson_arr_get_first(yyjson_obj_get(field, "values")));

	return *bound || !meant ? bound : meant;
}

/* One node: which of its pods stay, and whether one is missing. */
static void look_at_node(struct ds *d, struct informer_object *node,
			 yyjson_doc **docs)
{
	yyjson_doc *doc = informer_doc(node);
	enum suit s = suits(d, yyjson_doc_get_root(doc));
	struct informer_object *kept = NULL;
	bool ending = false;

	yyjson_doc_free(doc);
	d->desired += s == SUIT_RUN;
	for (size_t i = 0; i < d->pods.nr; i++) {
		struct informer_object *p = d->pods.v[i];
		const struct pod_facts *f = pod_facts(p);
		yyjson_val *pod = yyjson_doc_get_root(docs[i]);

		if (strcmp(node_of(pod), node->name) != 0)
			continue;
		if (f->deleting) {
			ending = true;
			continue;
		}
		/* A daemon that ended is made again. */
		if (s == SUIT_NOT || kept || f->phase == POD_FAILED ||
		    f->phase == POD_SUCCEEDED) {
			d->remove[d->nr_remove++] = p;
			continue;
		}
		kept = p;
		d->ready += f->ready;
		d->updated += str_eq(revision_of(pod), d->hash);
		d->available += pod_is_available(p, d->min_ready_s, d->now_s);
	}
	d->current += kept && s == SUIT_RUN;
	d->misplaced += kept && s != SUIT_RUN;
	if (!kept && !ending && s == SUIT_RUN)
		d->create[d->nr_create++] = node->name;
}

/* Old pods, as many as may be away at once. */
static void roll(struct ds *d, yyjson_doc **docs)
{
	yyjson_val *st = obj_at(d->root, "spec.updateStrategy");
	int64_t may =
		obj_int_or_percent(obj_at(st, "rollingUpdate.maxUnavailable"),
				   d->desired, true, 1);
	int64_t away = d->desired - d->available;

	if (str_eq(obj_str(st, "type"), "OnDelete") || d->nr_remove ||
	    d->nr_create)
		return;
	for (int pass = 0; pass < 2; pass++)
		for (size_t i = 0; i < d->pods.nr; i++) {
			struct informer_object *p = d->pods.v[i];
			bool serves =
				pod_is_available(p, d->min_ready_s, d->now_s);

			if (!pod_is_active(p) || serves != (pass == 1) ||
			    str_eq(revision_of(yyjson_doc_get_root(docs[i])),
				   d->hash))
				continue;
			/* Who serves nobody takes nothing away. */
			if (serves && away >= (may > 0 ? may : 1))
				return;
			away += serves;
			d->remove[d->nr_remove++] = p;
		}
}

static void body_of(void *arg, size_t i, struct buf *b)
{
	struct ds *d = arg;
	char generation[24];
	const char *labels[] = { REVISION_LABEL, d->hash,
				 "pod-template-generation", generation, NULL };
	struct template_of t = { .owner_kind = KIND_DS,
				 .owner = d->obj,
				 .template = obj_at(d->root, "spec.template"),
				 .labels = labels,
				 .node = d->create[i] };

	snprintf(generation, sizeof(generation), "%lld",
		 (long long)obj_int(d->root, "metadata.generation", 1));
	ctl_pod_body(&t, b);
}

static int act(struct ctl *c, struct ds *d, struct err *e)
{
	struct ctl_write w = { .kind = KIND_POD,
			       .tenant = d->obj->tenant,
			       .namespace = d->obj->namespace };
	uint64_t made_rev = 0, gone_rev = 0;
	size_t made = 0, done = 0;
	int r = ctl_delete_many(c, KIND_POD, d->remove, d->nr_remove, &done,
				&gone_rev, e);

	if (r == 0 && d->nr_create)
		r = ctl_create_many(c, &w, d->nr_create, body_of, d, &made,
				    &made_rev, e);
	ctl_expect(c, d->obj->key, KIND_POD,
		   made_rev > gone_rev ? made_rev : gone_rev);
	pods_tell(c, KIND_DS, d->obj, made, done, r, e);
	return r;
}

static int put_status(struct ctl *c, struct ds *d, struct err *e)
{
	const struct {
		const char *name;
		int64_t value;
	} counts[] = {
		{ "observedGeneration",
		  obj_int(d->root, "metadata.generation", 0) },
		{ "desiredNumberScheduled", d->desired },
		{ "currentNumberScheduled", d->current },
		{ "numberMisscheduled", d->misplaced },
		{ "numberReady", d->ready },
		{ "updatedNumberScheduled", d->updated },
		{ "numberAvailable", d->available },
		{ "numberUnavailable",
		  d->desired > d->available ? d->desired - d->available : 0 },
	};
	yyjson_val *st = yyjson_obj_get(d->root, "status");
	auto_buf struct buf b = BUF_INIT;
	struct json_out o = JSON_OUT(&b);
	bool same = true;

	json_put_object(&o, NULL);
	json_put_object(&o, "status");
	for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
		same &= obj_int(st, counts[i].name, -1) == counts[i].value;
		json_put_i64(&o, counts[i].name, counts[i].value);
	}
	json_put_end(&o);
	json_put_end(&o);
	if (same)
		return 0;
	if (buf_error(&b))
		return err_set(e, -ENOMEM, "out of memory");
	return ctl_patch(c, KIND_DS, d->obj, "status", buf_str(&b), e);
}

static int sync_ds(struct ctl *c, struct ds *d, yyjson_doc **docs,
		   struct err *e)
{
	int r;

	for (size_t i = 0; i < d->nodes.nr; i++)
		look_at_node(d, d->nodes.v[i], docs);
	roll(d, docs);
	r = put_status(c, d, e);
	if (r == 0)
		r = act(c, d, e);
	return r < 0 ? r
		     : revision_clean(c, d->obj, d->root, d->hash, &d->pods, e);
}

static int sync_key(struct ctl *c, const char *key, struct err *e)
{
	auto_ptr(informer_object) o = ctl_get(c, KIND_DS, key);
	struct ds d = { .obj = o, .now_s = time_now() };
	yyjson_doc *doc, **docs = NULL;
	int r;

	if (!o || !ctl_owns(c, o->uid))
		return 0;
	doc = informer_doc(o);
	d.root = yyjson_doc_get_root(doc);
	d.spec = obj_at(d.root, "spec.template.spec");
	d.min_ready_s = obj_int(d.root, "spec.minReadySeconds", 0);
	if (obj_at(d.root, "metadata.deletionTimestamp")) {
		yyjson_doc_free(doc);
		return 0;
	}
	r = revision_sync(c, KIND_DS, o, d.root, d.hash, d.revision, e);
	if (r == 0)
		r = pods_claim(c, KIND_DS, o, obj_at(d.root, "spec.selector"),
			       true, &d.pods, e);
	if (r == 0) {
		r = informer_list(ctl_informer(c, KIND_NODE), INFORMER_ALL,
				  NULL, &d.nodes);
		d.remove = calloc(d.pods.nr * 2 + 1, sizeof(*d.remove));
		d.create = calloc(d.nodes.nr + 1, sizeof(*d.create));
		docs = calloc(d.pods.nr + 1, sizeof(*docs));
		for (size_t i = 0; docs && i < d.pods.nr; i++)
			docs[i] = informer_doc(d.pods.v[i]);
		r = r < 0 || !d.remove || !d.create || !docs
			    ? err_set(e, -ENOMEM, "out of memory")
			    : sync_ds(c, &d, docs, e);
	}
	for (size_t i = 0; docs && i < d.pods.nr; i++)
		yyjson_doc_free(docs[i]);
	free(docs);
	free(d.remove);
	free(d.create);
	informer_list_clear(&d.pods);
	informer_list_clear(&d.nodes);
	yyjson_doc_free(doc);
	return r;
}

/* A node's labels or taints, or a new node: any daemon may want it. */
static void node_changed(struct ctl *c, const struct informer_event *ev)
{
	auto_list struct informer_list all = { 0 };

	if (ev->old && ev->now) {
		yyjson_doc *doc = informer_doc(ev->old);
		yyjson_val *was = yyjson_doc_get_root(doc);
		bool same = yyjson_equals(obj_at(was, "metadata.labels"),
					  obj_at(ev->obj, "metadata.labels")) &&
			    yyjson_equals(obj_at(was, "spec"),
					  obj_at(ev->obj, "spec"));

		yyjson_doc_free(doc);
		if (same)
			return;
	}
	(void)informer_list(ctl_informer(c, KIND_DS), INFORMER_ALL, NULL, &all);
	for (size_t i = 0; i < all.nr; i++)
		ctl_add(c, all.v[i]->key);
}

static int begin(struct ctl *c, struct err *e)
{
	int r = ctl_follow(c, KIND_DS, NULL, e);

	if (!ctl_informer(c, KIND_REVISION))
		return err_set(e, -ENOMEM, "out of memory");
	if (r == 0)
		r = ctl_follow(c, KIND_POD, "DaemonSet", e);
	return r < 0 ? r : ctl_watch(c, KIND_NODE, node_changed, e);
}

const struct controller daemonset_controller = { "daemonset", begin, sync_key,
						 NULL };

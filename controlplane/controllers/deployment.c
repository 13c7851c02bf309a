// SPDX-License-Identifier: Apache-2.0
/*
 * Deployments: replica sets, one for each template there was, scaled against
 * each other by dep_plan(). The newest revision is the one in force; old ones
 * are what kubectl rollout history shows and undo goes back to.
 */
#include "controlplane/controllers/deployment.h"

#include <stdio.h>

#include "controlplane/client/object.h"
#include "lib/err.h"
#include "lib/json.h"
#include "lib/str.h"

/* --- reading --- */

static void template_text(yyjson_val *template, struct buf *b)
{
	yyjson_mut_doc *m = ctl_template_copy(template);
	yyjson_mut_val *t = m ? yyjson_mut_doc_get_root(m) : NULL;
	yyjson_mut_val *meta = yyjson_mut_obj_get(t, "metadata");
	yyjson_mut_val *labels = yyjson_mut_obj_get(meta, "labels");
	yyjson_doc *doc = NULL;

	/* What is not there, and what is null or empty, are the same. */
	yyjson_mut_obj_remove_key(labels, "pod-template-hash");
	yyjson_mut_obj_remove_key(meta, "creationTimestamp");
	if (labels && !yyjson_mut_obj_size(labels))
		yyjson_mut_obj_remove_key(meta, "labels");
	if (meta && !yyjson_mut_obj_size(meta))
		yyjson_mut_obj_remove_key(t, "metadata");
	if (m)
		doc = yyjson_mut_doc_imut_copy(m, NULL);
	if (doc)
		obj_canonical(yyjson_doc_get_root(doc), b);
	else
		b->error = -ENOMEM;
	yyjson_doc_free(doc);
	yyjson_mut_doc_free(m);
}

static int64_t annotation_int(yyjson_val *root, const char *key,
			      int64_t missing)
{
	const char *s = obj_annotation(root, key);
	int64_t n;

	return s && str_to_i64(s, &n) == 0 ? n : missing;
}

/* A set without an owner that our selector matches becomes ours. */
static int adopt_set(struct ctl *c, struct dep *d,
		     const struct informer_object *rs, struct err *e)
{
	auto_buf struct buf b = BUF_INIT;
	int r = ctl_may_adopt(c, KIND_DEPLOYMENT, d->obj, e);

	if (r < 0)
		return r;
	buf_printf(&b,
		   "{\"metadata\":{\"uid\":\"%s\",\"resourceVersion\":"
		   "\"%llu\",\"ownerReferences\":[",
		   rs->uid, (unsigned long long)rs->revision);
	ctl_put_owner(&b, KIND_DEPLOYMENT, d->obj->name, d->obj->uid);
	buf_puts(&b, "]}}");
	if (buf_error(&b))
		return err_set(e, -ENOMEM, "out of memory");
	r = ctl_patch(c, KIND_RS, rs, NULL, buf_str(&b), e);
	return r < 0 ? r : -ECANCELED;
}

static int adopt_sets(struct ctl *c, struct dep *d, struct err *e)
{
	auto_free char *space =
		str_printf("%s/%s", d->obj->tenant, d->obj->namespace);
	auto_list struct informer_list all = { 0 };
	int r = 0;

	if (!space || informer_list(ctl_informer(c, KIND_RS),
				    INFORMER_BY_NAMESPACE, space, &all) < 0)
		return err_set(e, -ENOMEM, "out of memory");
	for (size_t i = 0; i < all.nr && r == 0; i++) {
		yyjson_doc *doc;
		yyjson_val *root;

		if (*all.v[i]->owner)
			continue;
		doc = informer_doc(all.v[i]);
		root = yyjson_doc_get_root(doc);
		if (!obj_at(root, "metadata.deletionTimestamp") &&
		    selector_matches_labels(obj_at(d->root, "spec.selector"),
					    obj_at(root, "metadata.labels")))
			r = adopt_set(c, d, all.v[i], e);
		yyjson_doc_free(doc);
	}
	return r;
}

static int by_creation(const void *pa, const void *pb)
{
	const struct dep_set *a = pa, *b = pb;

	if (a->n.created_s != b->n.created_s)
		return a->n.created_s < b->n.created_s ? -1 : 1;
	return strcmp(a->obj->name, b->obj->name);
}

static int read_sets(struct ctl *c, struct dep *d, struct err *e)
{
	auto_buf struct buf want = BUF_INIT, have = BUF_INIT;

	if (informer_list(ctl_informer(c, KIND_RS), INFORMER_BY_OWNER,
			  d->obj->uid, &d->list) < 0)
		return err_set(e, -ENOMEM, "out of memory");
	d->sets = calloc(d->list.nr + 1, sizeof(*d->sets));
	if (!d->sets)
		return err_set(e, -ENOMEM, "out of memory");
	template_text(d->template, &want);
	for (size_t i = 0; i < d->list.nr; i++) {
		struct dep_set *s = &d->sets[d->nr];

		s->obj = d->list.v[i];
		s->doc = informer_doc(s->obj);
		s->root = yyjson_doc_get_root(s->doc);
		if (!s->root)
			return err_set(e, -ENOMEM, "out of memory");
		d->nr++;
		s->n = (struct dep_rs){
			.spec = obj_int(s->root, "spec.replicas", 1),
			.have = obj_int(s->root, "status.replicas", 0),
			.ready = obj_int(s->root, "status.readyReplicas", 0),
			.available =
				obj_int(s->root, "status.availableReplicas", 0),
			.created_s =
				obj_time(s->root, "metadata.creationTimestamp"),
			.max = annotation_int(s->root, DEP_MAX, 0),
			.desired = annotation_int(s->root, DEP_DESIRED, -1),
		};
		s->revision = annotation_int(s->root, DEP_REVISION, 0);
		s->going = obj_at(s->root, "metadata.deletionTimestamp");
	}
	qsort(d->sets, d->nr, sizeof(*d->sets), by_creation);
	for (size_t i = 0; i < d->nr && !d->new; i++) {
		buf_reset(&have);
		template_text(obj_at(d->sets[i].root, "spec.template"), &have);
		if (buf_error(&have) || buf_error(&want))
			return err_set(e, -ENOMEM, "out of memory");
		if (!d->sets[i].going &&
		    str_eq(buf_str(&have), buf_str(&want))) {
			d->new = &d->sets[i];
			d->new->n.is_new = true;
		}
	}
	for (size_t i = 0; i < d->nr; i++)
		if (d->sets[i].revision > d->last_revision &&
		    &d->sets[i] != d->new)
			d->last_revision = d->sets[i].revision;
	d->hash = fnv32(buf_str(&want), want.len) +
		  (uint32_t)obj_int(d->root, "status.collisionCount", 0);
	return 0;
}

static void read_want(struct dep *d)
{
	yyjson_val *spec = yyjson_obj_get(d->root, "spec");
	yyjson_val *rolling = obj_at(spec, "strategy.rollingUpdate");
	struct dep_want *w = &d->want;

	w->replicas = obj_int(spec, "replicas", 1);
	w->recreate = str_eq(obj_str(spec, "strategy.type"), "Recreate");
	w->paused = obj_bool(spec, "paused", false);
	w->surge = obj_int_or_percent(yyjson_obj_get(rolling, "maxSurge"),
				      w->replicas, true, (w->replicas + 3) / 4);
	w->unavailable =
		obj_int_or_percent(yyjson_obj_get(rolling, "maxUnavailable"),
				   w->replicas, false, w->replicas / 4);
	dep_limits(w);
	d->template = obj_at(spec, "template");
	d->generation = obj_int(d->root, "metadata.generation", 0);
	d->deadline_s = obj_int(spec, "progressDeadlineSeconds", INT32_MAX);
	d->min_ready_s = obj_int(spec, "minReadySeconds", 0);
}

/* Pods of old sets that still run, or are still ending. */
static bool old_pods_left(struct ctl *c, const struct dep *d)
{
	bool left = false;

	for (size_t i = 0; i < d->nr && !left; i++) {
		auto_list struct informer_list pods = { 0 };

		if (&d->sets[i] == d->new)
			continue;
		if (d->sets[i].n.spec > 0 ||
		    informer_list(ctl_informer(c, KIND_POD), INFORMER_BY_OWNER,
				  d->sets[i].obj->uid, &pods) < 0)
			return true;
		for (size_t n = 0; n < pods.nr; n++)
			left |= pod_facts(pods.v[n])->phase != POD_SUCCEEDED &&
				pod_facts(pods.v[n])->phase != POD_FAILED;
	}
	return left;
}

/* --- replica sets --- */

static bool is_own_annotation(const char *key)
{
	return str_eq(key, DEP_REVISION) || str_eq(key, DEP_DESIRED) ||
	       str_eq(key, DEP_MAX) || str_eq(key, DEP_HISTORY) ||
	       str_eq(key, "kubectl.kubernetes.io/last-applied-configuration");
}

static void put_annotations(struct json_out *o, const struct dep *d,
			    int64_t revision)
{
	yyjson_val *map = obj_at(d->root, "metadata.annotations"), *key, *val;
	size_t i, max;

	json_put_object(o, "annotations");
	json_obj_foreach (map, i, max, key, val)
		if (!is_own_annotation(yyjson_get_str(key)))
			json_put_val(o, yyjson_get_str(key), val);
	if (revision)
		json_put_fmt(o, DEP_REVISION, "%lld", (long long)revision);
	json_put_fmt(o, DEP_DESIRED, "%lld", (long long)d->want.replicas);
	json_put_fmt(o, DEP_MAX, "%lld",
		     (long long)(d->want.replicas + d->want.surge));
	json_put_end(o);
}

static void put_labels(struct json_out *o, const char *name, yyjson_val *map,
		       const char *hash)
{
	yyjson_val *key, *val;
	size_t i, max;

	json_put_object(o, name);
	json_obj_foreach (map, i, max, key, val)
		if (!str_eq(yyjson_get_str(key), "pod-template-hash"))
			json_put_val(o, yyjson_get_str(key), val);
	json_put_str(o, "pod-template-hash", hash);
	json_put_end(o);
}

static void put_new_spec(struct json_out *o, const struct dep *d,
			 const char *hash, int64_t size)
{
	yyjson_val *sel = obj_at(d->root, "spec.selector");
	yyjson_val *meta = obj_at(d->template, "metadata"), *key, *val;
	size_t i, max;

	json_put_object(o, "spec");
	json_put_i64(o, "replicas", size);
	json_put_i64(o, "minReadySeconds", d->min_ready_s);
	json_put_object(o, "selector");
	put_labels(o, "matchLabels", yyjson_obj_get(sel, "matchLabels"), hash);
	val = yyjson_obj_get(sel, "matchExpressions");
	if (val)
		json_put_val(o, "matchExpressions", val);
	json_put_end(o);
	json_put_object(o, "template");
	json_put_object(o, "metadata");
	put_labels(o, "labels", yyjson_obj_get(meta, "labels"), hash);
	json_obj_foreach (meta, i, max, key, val)
		if (!str_eq(yyjson_get_str(key), "labels"))
			json_put_val(o, yyjson_get_str(key), val);
	json_put_end(o);
	json_put_val(o, "spec", obj_at(d->template, "spec"));
	json_put_end(o);
	json_put_end(o);
}

/* The name is taken: by a set of another template. */
static int count_collision(struct ctl *c, struct dep *d, struct err *e)
{
	auto_free char *body =
		str_printf("{\"status\":{\"collisionCount\":%lld}}",
			   (long long)obj_int(d->root, "status.collisionCount",
					      0) +
				   1);
	auto_free char *key = str_printf("%s/%s/%s", d->obj->tenant,
					 d->obj->namespace, d->new_name);
	auto_ptr(informer_object) there = key ? ctl_get(c, KIND_RS, key) : NULL;

	/* Ours, made a moment ago, and not yet in the cache? Then wait. */
	if (!body || !there || str_eq(there->owner, d->obj->uid))
		return -ECANCELED;
	return ctl_patch(c, KIND_DEPLOYMENT, d->obj, "status", body, e);
}

static int make_set(struct ctl *c, struct dep *d, struct err *e)
{
	auto_buf struct buf b = BUF_INIT, owner = BUF_INIT;
	struct dep_rs *v = calloc(d->nr + 1, sizeof(*v));
	struct json_out o = JSON_OUT(&b);
	struct ctl_write w = { .method = "POST",
			       .kind = KIND_RS,
			       .tenant = d->obj->tenant,
			       .namespace = d->obj->namespace };
	uint64_t revision = 0;
	char hash[16];
	int64_t size;
	int r;

	if (!v)
		return err_set(e, -ENOMEM, "out of memory");
	for (size_t i = 0; i < d->nr; i++)
		v[i] = d->sets[i].n;
	size = dep_new_size(&d->want, v, d->nr);
	free(v);
	if (d->want.recreate && old_pods_left(c, d))
		size = 0;
	safe_hash(d->hash, hash);
	snprintf(d->new_name, sizeof(d->new_name), "%.236s-%s", d->obj->name,
		 hash);
	ctl_put_owner(&owner, KIND_DEPLOYMENT, d->obj->name, d->obj->uid);
	json_put_object(&o, NULL);
	json_put_str(&o, "apiVersion", "apps/v1");
	json_put_str(&o, "kind", "ReplicaSet");
	json_put_object(&o, "metadata");
	json_put_str(&o, "name", d->new_name);
	put_labels(&o, "labels", obj_at(d->template, "metadata.labels"), hash);
	put_annotations(&o, d, d->last_revision + 1);
	json_put_array(&o, "ownerReferences");
	json_put_raw(&o, NULL, buf_str(&owner), owner.len);
	json_put_end(&o);
	json_put_end(&o);
	put_new_spec(&o, d, hash, size);
	json_put_end(&o);
	if (buf_error(&b) || buf_error(&owner))
		return err_set(e, -ENOMEM, "out of memory");
	w.body = buf_str(&b);
	r = ctl_write(c, &w, &revision, e);
	ctl_expect(c, d->obj->key, KIND_RS, revision);
	if (r == -EEXIST)
		return count_collision(c, d, e);
	if (r == 0) {
		d->made = true;
		if (size)
			recorder_event(c->recorder, KIND_DEPLOYMENT, d->obj,
				       false, "ScalingReplicaSet",
				       "Scaled up replica set %s to %lld",
				       d->new_name, (long long)size);
	}
	return r;
}

/* The set in force has the highest revision, and our annotations. */
static int keep_new(struct ctl *c, struct dep *d, struct err *e)
{
	int64_t revision = d->last_revision + 1;
	auto_buf struct buf b = BUF_INIT;
	struct json_out o = JSON_OUT(&b);
	char text[24];

	if (d->new->revision < revision) {
		d->new->revision = revision;
		json_put_object(&o, NULL);
		json_put_object(&o, "metadata");
		put_annotations(&o, d, revision);
		json_put_end(&o);
		json_put_end(&o);
		if (buf_error(&b))
			return err_set(e, -ENOMEM, "out of memory");
		return ctl_patch(c, KIND_RS, d->new->obj, NULL, buf_str(&b), e);
	}
	if (obj_int(d->new->root, "spec.minReadySeconds", 0) == d->min_ready_s)
		return 0;
	snprintf(text, sizeof(text), "%lld", (long long)d->min_ready_s);
	buf_printf(&b, "{\"spec\":{\"minReadySeconds\":%s}}", text);
	return ctl_patch(c, KIND_RS, d->new->obj, NULL, buf_str(&b), e);
}

static int scale_set(struct ctl *c, struct dep *d, struct dep_set *s,
		     int64_t to, struct err *e)
{
	auto_free char *body =
		str_printf("{\"metadata\":{\"annotations\":{\"" DEP_DESIRED
			   "\":\"%lld\",\"" DEP_MAX
			   "\":\"%lld\"}},\"spec\":{\"replicas\":%lld}}",
			   (long long)d->want.replicas,
			   (long long)(d->want.replicas + d->want.surge),
			   (long long)to);
	struct ctl_write w = { .method = "PATCH",
			       .kind = KIND_RS,
			       .tenant = s->obj->tenant,
			       .namespace = s->obj->namespace,
			       .name = s->obj->name,
			       .body = body,
			       .type = CTL_MERGE };
	uint64_t revision = 0;
	int r;

	if (!body)
		return err_set(e, -ENOMEM, "out of memory");
	r = ctl_write(c, &w, &revision, e);
	ctl_expect(c, d->obj->key, KIND_RS, revision);
	if (r == 0 && to != s->n.spec)
		recorder_event(c->recorder, KIND_DEPLOYMENT, d->obj, false,
			       "ScalingReplicaSet",
			       "Scaled %s replica set %s to %lld from %lld",
			       to > s->n.spec ? "up" : "down", s->obj->name,
			       (long long)to, (long long)s->n.spec);
	return r;
}

static int scale_sets(struct ctl *c, struct dep *d, struct err *e)
{
	struct dep_rs *v = calloc(d->nr + 1, sizeof(*v));
	int r = 0;

	if (!v)
		return err_set(e, -ENOMEM, "out of memory");
	for (size_t i = 0; i < d->nr; i++)
		v[i] = d->sets[i].n;
	d->want.old_pods_left = d->want.recreate && old_pods_left(c, d);
	dep_plan(&d->want, v, d->nr);
	for (size_t i = 0; i < d->nr && r == 0; i++) {
		bool stale = v[i].spec > 0 && v[i].desired != d->want.replicas;

		if (v[i].to != v[i].spec || stale)
			r = scale_set(c, d, &d->sets[i], v[i].to, e);
	}
	free(v);
	return r;
}

/* Old sets beyond the limit go, the oldest revisions first. */
static int clean_up(struct ctl *c, struct dep *d, struct err *e)
{
	int64_t limit = obj_int(d->root, "spec.revisionHistoryLimit", 10);
	int64_t old = (int64_t)d->nr - (d->new ? 1 : 0);
	int r = 0;

	while (old > limit && r == 0) {
		struct dep_set *s = NULL;

		for (size_t i = 0; i < d->nr; i++) {
			struct dep_set *x = &d->sets[i];

			if (x == d->new || x->going || x->n.spec || x->n.have)
				continue;
			if (!s || x->revision < s->revision)
				s = x;
		}
		if (!s)
			break;
		s->going = true;
		r = ctl_delete(c, KIND_RS, s->obj, NULL, e);
		old--;
	}
	return r;
}

/* --- all of it --- */

static int sync_dep(struct ctl *c, struct dep *d, struct err *e)
{
	bool complete = false;
	int r = d->going ? 0 : adopt_sets(c, d, e);

	if (r == 0)
		r = read_sets(c, d, e);
	if (r == 0 && !d->going) {
		if (!d->new && !d->want.paused)
			r = make_set(c, d, e);
		else if (d->new && !d->want.paused)
			r = keep_new(c, d, e);
		if (r == 0 && !d->made)
			r = scale_sets(c, d, e);
	}
	if (r == 0 || r == -EINVAL || r == -EACCES) {
		struct err se = { 0 };
		int sr = dep_status(c, d, &complete, &se);

		if (sr < 0 && r == 0)
			r = err_set(e, sr, "%s", se.msg);
	}
	if (r == 0 && complete && !d->going)
		r = clean_up(c, d, e);
	return r;
}

static int sync_key(struct ctl *c, const char *key, struct err *e)
{
	auto_ptr(informer_object) o = ctl_get(c, KIND_DEPLOYMENT, key);
	struct dep d = { .obj = o, .now_s = time_now() };
	yyjson_doc *doc;
	int r;

	if (!o || !ctl_owns(c, o->uid))
		return 0;
	doc = informer_doc(o);
	d.root = yyjson_doc_get_root(doc);
	d.going = obj_at(d.root, "metadata.deletionTimestamp");
	if (d.root) {
		read_want(&d);
		r = sync_dep(c, &d, e);
	} else {
		r = err_set(e, -ENOMEM, "out of memory");
	}
	for (size_t i = 0; i < d.nr; i++)
		yyjson_doc_free(d.sets[i].doc);
	free(d.sets);
	informer_list_clear(&d.list);
	yyjson_doc_free(doc);
	return r;
}

/* Recreate waits for pods to be gone: their set's deployment looks again. */
static void pod_changed(struct ctl *c, const struct informer_event *ev)
{
	auto_free char *key = NULL;
	auto_ptr(informer_object) rs = NULL;

	if (ev->now || strcmp(ev->old->owner_kind, "ReplicaSet") != 0)
		return;
	key = str_printf("%s/%s/%s", ev->old->tenant, ev->old->namespace,
			 ev->old->owner_name);
	rs = key ? ctl_get(c, KIND_RS, key) : NULL;
	if (rs && strcmp(rs->owner_kind, "Deployment") == 0) {
		auto_free char *owner =
			str_printf("%s/%s/%s", rs->tenant, rs->namespace,
				   rs->owner_name);

		if (owner)
			ctl_add(c, owner);
	}
}

static int begin(struct ctl *c, struct err *e)
{
	int r = ctl_follow(c, KIND_DEPLOYMENT, NULL, e);

	if (r == 0)
		r = ctl_follow(c, KIND_RS, "Deployment", e);
	return r < 0 ? r : ctl_watch(c, KIND_POD, pod_changed, e);
}

const struct controller deployment_controller = { "deployment", begin, sync_key,
						  NULL };

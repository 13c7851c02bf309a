// SPDX-License-Identifier: Apache-2.0
/*
 * StatefulSets: pods with an ordinal, a name and volumes that stay. One after
 * the other (OrderedReady) or all at once (Parallel); updates go from the
 * highest ordinal down to the partition.
 */
#include <stdio.h>

#include "controlplane/client/object.h"
#include "controlplane/controllers/controllers.h"
#include "controlplane/controllers/pods.h"
#include "controlplane/controllers/revision.h"
#include "lib/err.h"
#include "lib/json.h"
#include "lib/str.h"

#define REPLICAS_MAX 100000

struct ss {
	struct informer_object *obj;
	yyjson_val *root, *spec;
	char hash[16], revision[256];
	int64_t replicas, first, partition, min_ready_s, now_s;
	bool parallel, on_delete;
	struct informer_list pods;
	struct informer_object **at;   /* by ordinal - first; NULL: none */
	struct informer_object **over; /* beyond the last one */
	size_t nr_over;
	int64_t have, ready, available, updated;
};

static int64_t ordinal_of(const struct ss *s, const char *name)
{
	size_t len = strlen(s->obj->name);
	int64_t n;

	if (strncmp(name, s->obj->name, len) != 0 || name[len] != '-' ||
	    str_to_i64(name + len + 1, &n) < 0)
		return -1;
	return n;
}

static bool is_updated(const struct ss *s, const struct informer_object *p)
{
	yyjson_doc *doc = informer_doc(p);
	bool yes = str_eq(revision_of(yyjson_doc_get_root(doc)), s->hash);

	yyjson_doc_free(doc);
	return yes;
}

static int read_pods(struct ss *s, struct err *e)
{
	s->at = calloc((size_t)s->replicas + 1, sizeof(*s->at));
	s->over = calloc(s->pods.nr + 1, sizeof(*s->over));
	if (!s->at || !s->over)
		return err_set(e, -ENOMEM, "out of memory");
	for (size_t i = 0; i < s->pods.nr; i++) {
		struct informer_object *p = s->pods.v[i];
		int64_t n = ordinal_of(s, p->name);

		if (n < 0)
			continue;
		s->have++;
		s->ready += pod_facts(p)->ready;
		s->available += pod_is_available(p, s->min_ready_s, s->now_s);
		if (is_updated(s, p))
			s->updated++;
		if (n < s->first || n >= s->first + s->replicas)
			s->over[s->nr_over++] = p;
		else
			s->at[n - s->first] = p;
	}
	return 0;
}

/* --- one pod --- */

static void put_claims(struct ss *s, int64_t n, struct json_out *o)
{
	yyjson_val *t;
	size_t i, max;

	yyjson_arr_foreach(obj_at(s->spec, "volumeClaimTemplates"), i, max, t)
	{
		const char *name = obj_str(t, "metadata.name");

		json_put_object(o, NULL);
		json_put_str(o, "name", name);
		json_put_object(o, "persistentVolumeClaim");
		json_put_fmt(o, "claimName", "%s-%s-%lld", name, s->obj->name,
			     (long long)n);
		json_put_end(o);
		json_put_end(o);
	}
}

/* Claims stay when pods go; what is there already is taken again. */
static int make_claims(struct ctl *c, struct ss *s, int64_t n, struct err *e)
{
	yyjson_val *t, *key, *val;
	size_t i, max, j, m;
	int r = 0;

	yyjson_arr_foreach(obj_at(s->spec, "volumeClaimTemplates"), i, max, t)
	{
		auto_buf struct buf b = BUF_INIT;
		struct json_out o = JSON_OUT(&b);
		struct ctl_write w = { .method = "POST",
				       .kind = KIND_PVC,
				       .tenant = s->obj->tenant,
				       .namespace = s->obj->namespace };

		json_put_object(&o, NULL);
		json_put_str(&o, "apiVersion", "v1");
		json_put_str(&o, "kind", "PersistentVolumeClaim");
		json_put_object(&o, "metadata");
		json_put_fmt(&o, "name", "%s-%s-%lld",
			     obj_str(t, "metadata.name"), s->obj->name,
			     (long long)n);
		json_put_object(&o, "labels");
		json_obj_foreach (obj_at(s->spec, "selector.matchLabels"), j, m,
				  key, val)
			json_put_val(&o, yyjson_get_str(key), val);
		json_put_end(&o);
		json_put_end(&o);
		json_put_val(&o, "spec", obj_at(t, "spec"));
		json_put_end(&o);
		if (buf_error(&b))
			return err_set(e, -ENOMEM, "out of memory");
		w.body = buf_str(&b);
		r = r < 0 ? r : ctl_write(c, &w, NULL, e);
		if (r == -EEXIST)
			r = 0;
	}
	return r;
}

static void pod_body(struct ss *s, int64_t n, struct buf *b)
{
	char name[256], index[24];
	const char *labels[] = { REVISION_LABEL,
				 s->hash,
				 "statefulset.kubernetes.io/pod-name",
				 name,
				 "apps.kubernetes.io/pod-index",
				 index,
				 NULL };
	auto_buf struct buf claims = BUF_INIT;
	struct json_out o = JSON_OUT(&claims);
	struct template_of t = { .owner_kind = KIND_SS,
				 .owner = s->obj,
				 .template = obj_at(s->spec, "template"),
				 .name = name,
				 .labels = labels,
				 .hostname = name,
				 .subdomain = obj_str(s->spec, "serviceName") };

	snprintf(index, sizeof(index), "%lld", (long long)n);
	snprintf(name, sizeof(name), "%.230s-%s", s->obj->name, index);
	json_put_array(&o, NULL);
	put_claims(s, n, &o);
	json_put_end(&o);
	t.volumes = buf_str(&claims);
	ctl_pod_body(&t, b);
	if (buf_error(&claims))
		b->error = -ENOMEM;
}

static int make_pod(struct ctl *c, struct ss *s, int64_t n, struct err *e)
{
	auto_buf struct buf b = BUF_INIT;
	struct ctl_write w = { .method = "POST",
			       .kind = KIND_POD,
			       .tenant = s->obj->tenant,
			       .namespace = s->obj->namespace };
	uint64_t revision = 0;
	int r = make_claims(c, s, n, e);

	pod_body(s, n, &b);
	if (r < 0 || buf_error(&b))
		return r < 0 ? r : err_set(e, -ENOMEM, "out of memory");
	w.body = buf_str(&b);
	r = ctl_write(c, &w, &revision, e);
	ctl_expect(c, s->obj->key, KIND_POD, revision);
	if (r == 0)
		recorder_event(c->recorder, KIND_SS, s->obj, false,
			       "SuccessfulCreate",
			       "create Pod %s-%lld in StatefulSet %s "
			       "successful",
			       s->obj->name, (long long)n, s->obj->name);
	else if (r != -EEXIST && e)
		recorder_event(c->recorder, KIND_SS, s->obj, true,
			       "FailedCreate",
			       "create Pod %s-%lld in StatefulSet %s failed "
			       "error: %s",
			       s->obj->name, (long long)n, s->obj->name,
			       ctl_said(e));
	/* One of that name is there, and not ours, or not seen yet. */
	return r == -EEXIST ? err_set(e, -EAGAIN, "pod %s-%lld exists",
				      s->obj->name, (long long)n)
			    : r;
}

static int remove_pod(struct ctl *c, struct ss *s, struct informer_object *p,
		      struct err *e)
{
	uint64_t revision = 0;
	int r;

	if (pod_facts(p)->deleting)
		return 0;
	r = ctl_delete(c, KIND_POD, p, &revision, e);
	ctl_expect(c, s->obj->key, KIND_POD, revision);
	if (r == 0)
		recorder_event(c->recorder, KIND_SS, s->obj, false,
			       "SuccessfulDelete",
			       "delete Pod %s in StatefulSet %s successful",
			       p->name, s->obj->name);
	return r;
}

/* --- all of them --- */

static bool is_over(const struct informer_object *p)
{
	enum pod_phase phase = pod_facts(p)->phase;

	return phase == POD_SUCCEEDED || phase == POD_FAILED;
}

/* 1: something is under way, wait for it. */
static int fill(struct ctl *c, struct ss *s, struct err *e)
{
	int waiting = 0, r = 0;

	for (int64_t i = 0; i < s->replicas && r == 0; i++) {
		struct informer_object *p = s->at[i];

		if (!p)
			r = make_pod(c, s, s->first + i, e);
		else if (is_over(p) && !pod_facts(p)->deleting)
			r = remove_pod(c, s, p, e);
		else if (pod_is_available(p, s->min_ready_s, s->now_s) &&
			 !pod_facts(p)->deleting)
			continue;
		waiting = 1;
		if (!s->parallel)
			break;
	}
	return r < 0 ? r : waiting;
}

static int shrink(struct ctl *c, struct ss *s, struct err *e)
{
	struct informer_object *last = NULL;
	int r = 0;

	for (size_t i = 0; i < s->nr_over && r == 0; i++) {
		struct informer_object *p = s->over[i];

		if (s->parallel)
			r = remove_pod(c, s, p, e);
		else if (!last ||
			 ordinal_of(s, p->name) > ordinal_of(s, last->name))
			last = p;
	}
	if (last && r == 0)
		r = remove_pod(c, s, last, e);
	return r < 0 ? r : s->nr_over ? 1 : 0;
}

static int update(struct ctl *c, struct ss *s, struct err *e)
{
	if (s->on_delete)
		return 0;
	for (int64_t i = s->replicas - 1; i >= 0; i--) {
		struct informer_object *p = s->at[i];

		if (s->first + i < s->partition)
			return 0;
		if (p && !is_updated(s, p))
			return remove_pod(c, s, p, e);
		/* The one before waits until this one serves again. */
		if (!p || !pod_is_available(p, s->min_ready_s, s->now_s))
			return 0;
	}
	return 0;
}

static int put_status(struct ctl *c, struct ss *s, struct err *e)
{
	yyjson_val *st = yyjson_obj_get(s->root, "status");
	int64_t gen = obj_int(s->root, "metadata.generation", 0);
	const char *was = obj_str(st, "currentRevision");
	bool done = s->updated == s->replicas && s->ready == s->replicas &&
		    s->have == s->replicas;
	const char *current = done || !*was ? s->revision : was;
	int64_t now = str_eq(current, s->revision) ? s->updated
						   : s->have - s->updated;
	auto_buf struct buf b = BUF_INIT;

	if (obj_int(st, "observedGeneration", 0) == gen &&
	    obj_int(st, "replicas", -1) == s->have &&
	    obj_int(st, "readyReplicas", -1) == s->ready &&
	    obj_int(st, "availableReplicas", -1) == s->available &&
	    obj_int(st, "updatedReplicas", -1) == s->updated &&
	    obj_int(st, "currentReplicas", -1) == now && str_eq(was, current) &&
	    str_eq(obj_str(st, "updateRevision"), s->revision))
		return 0;
	buf_printf(&b,
		   "{\"status\":{\"observedGeneration\":%lld,\"replicas\":%lld,"
		   "\"readyReplicas\":%lld,\"availableReplicas\":%lld,"
		   "\"updatedReplicas\":%lld,\"currentReplicas\":%lld,"
		   "\"currentRevision\":\"%s\",\"updateRevision\":\"%s\"}}",
		   (long long)gen, (long long)s->have, (long long)s->ready,
		   (long long)s->available, (long long)s->updated,
		   (long long)now, current, s->revision);
	if (buf_error(&b))
		return err_set(e, -ENOMEM, "out of memory");
	return ctl_patch(c, KIND_SS, s->obj, "status", buf_str(&b), e);
}

static void read_spec(struct ss *s)
{
	yyjson_val *spec = yyjson_obj_get(s->root, "spec");

	s->spec = spec;
	s->replicas = obj_int(spec, "replicas", 1);
	if (s->replicas > REPLICAS_MAX)
		s->replicas = REPLICAS_MAX;
	s->first = obj_int(spec, "ordinals.start", 0);
	s->partition =
		obj_int(spec, "updateStrategy.rollingUpdate.partition", 0);
	s->on_delete = str_eq(obj_str(spec, "updateStrategy.type"), "OnDelete");
	s->parallel = str_eq(obj_str(spec, "podManagementPolicy"), "Parallel");
	s->min_ready_s = obj_int(spec, "minReadySeconds", 0);
}

static int sync_ss(struct ctl *c, struct ss *s, struct err *e)
{
	int r = revision_sync(c, KIND_SS, s->obj, s->root, s->hash, s->revision,
			      e);

	if (r == 0)
		r = pods_claim(c, KIND_SS, s->obj, obj_at(s->spec, "selector"),
			       true, &s->pods, e);
	if (r == 0)
		r = read_pods(s, e);
	if (r == 0)
		r = put_status(c, s, e);
	if (r == 0)
		r = fill(c, s, e);
	if (r == 0)
		r = shrink(c, s, e);
	if (r == 0)
		r = update(c, s, e);
	if (r < 0)
		return r;
	return revision_clean(c, s->obj, s->root, s->hash, &s->pods, e);
}

static int sync_key(struct ctl *c, const char *key, struct err *e)
{
	auto_ptr(informer_object) o = ctl_get(c, KIND_SS, key);
	struct ss s = { .obj = o, .now_s = time_now() };
	yyjson_doc *doc;
	int r = 0;

	if (!o || !ctl_owns(c, o->uid))
		return 0;
	doc = informer_doc(o);
	s.root = yyjson_doc_get_root(doc);
	read_spec(&s);
	if (!obj_at(s.root, "metadata.deletionTimestamp"))
		r = sync_ss(c, &s, e);
	/* Becoming available is a matter of time then. */
	if (s.min_ready_s && s.available < s.ready)
		ctl_add_after(c, key, 1000);
	free(s.at);
	free(s.over);
	informer_list_clear(&s.pods);
	yyjson_doc_free(doc);
	return r;
}

static int begin(struct ctl *c, struct err *e)
{
	int r = ctl_follow(c, KIND_SS, NULL, e);

	if (!ctl_informer(c, KIND_REVISION))
		return err_set(e, -ENOMEM, "out of memory");
	return r < 0 ? r : ctl_follow(c, KIND_POD, "StatefulSet", e);
}

const struct controller statefulset_controller = { "statefulset", begin,
						   sync_key, NULL };

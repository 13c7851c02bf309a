// SPDX-License-Identifier: Apache-2.0
#include "controlplane/controllers/replicaset.h"

#include <stdio.h>

#include "controlplane/client/object.h"
#include "controlplane/controllers/pods.h"
#include "lib/err.h"
#include "lib/json.h"
#include "lib/str.h"

#define BURST 5000 /* pods made or removed in one go */

/* --- plan --- */

/* Which of two is the smaller loss: < 0 is @a. */
static int smaller_loss(const void *pa, const void *pb)
{
	static const int worth[] = {
		[POD_PENDING] = 0, [POD_NO_SCHEDULE] = 0, [POD_UNKNOWN] = 1,
		[POD_RUNNING] = 2, [POD_SUCCEEDED] = 0,   [POD_FAILED] = 0,
	};
	const struct informer_object *a = *(struct informer_object *const *)pa;
	const struct informer_object *b = *(struct informer_object *const *)pb;
	const struct pod_facts *x = a->facts, *y = b->facts;

	if (x->scheduled != y->scheduled)
		return x->scheduled - y->scheduled;
	if (worth[x->phase] != worth[y->phase])
		return worth[x->phase] - worth[y->phase];
	if (x->ready != y->ready)
		return x->ready - y->ready;
	if (x->deletion_cost != y->deletion_cost)
		return x->deletion_cost < y->deletion_cost ? -1 : 1;
	/* Younger ones first, and then by name: two instances agree. */
	if (x->ready && x->ready_s != y->ready_s)
		return x->ready_s > y->ready_s ? -1 : 1;
	if (x->restarts != y->restarts)
		return x->restarts > y->restarts ? -1 : 1;
	if (x->created_s != y->created_s)
		return x->created_s > y->created_s ? -1 : 1;
	return strcmp(a->name, b->name);
}

void rs_plan(const struct rs_want *want, struct informer_object **pods,
	     size_t nr, int64_t now_s, struct rs_plan *ret)
{
	*ret = (struct rs_plan){ .active = (int64_t)nr };
	for (size_t i = 0; i < nr; i++) {
		const struct pod_facts *f = pod_facts(pods[i]);
		int64_t due = f->ready_s + want->min_ready_s;

		ret->ready += f->ready;
		if (pod_is_available(pods[i], want->min_ready_s, now_s))
			ret->available++;
		else if (f->ready && (!ret->again_s || due < ret->again_s))
			ret->again_s = due;
	}
	if (want->replicas > (int64_t)nr) {
		ret->create = want->replicas - (int64_t)nr;
	} else if (want->replicas < (int64_t)nr) {
		qsort(pods, nr, sizeof(*pods), smaller_loss);
		ret->remove = nr - (size_t)want->replicas;
	}
}

/* --- apply --- */

struct rs {
	enum kind kind;
	struct informer_object *obj;
	yyjson_val *root, *selector;
	int64_t now_s;
	char failure[ERR_MSG_SIZE]; /* to create or remove; "" none */
	const char *failure_reason;
};

static int create_pods(struct ctl *c, struct rs *rs, int64_t nr, struct err *e)
{
	auto_buf struct buf body = BUF_INIT;
	struct template_of t = { .owner_kind = rs->kind,
				 .owner = rs->obj,
				 .template =
					 obj_at(rs->root, "spec.template") };
	struct ctl_write w = { .kind = KIND_POD,
			       .tenant = rs->obj->tenant,
			       .namespace = rs->obj->namespace };
	uint64_t revision;
	size_t made;
	int r;

	ctl_pod_body(&t, &body);
	if (buf_error(&body))
		return err_set(e, -ENOMEM, "out of memory");
	w.body = buf_str(&body);
	r = ctl_create_many(c, &w, (size_t)(nr < BURST ? nr : BURST), NULL,
			    NULL, &made, &revision, e);
	ctl_expect(c, rs->obj->key, KIND_POD, revision);
	pods_tell(c, rs->kind, rs->obj, made, 0, r, e);
	if (r < 0 && e) {
		snprintf(rs->failure, sizeof(rs->failure), "%s", ctl_said(e));
		rs->failure_reason = "FailedCreate";
	}
	return r;
}

static int remove_pods(struct ctl *c, struct rs *rs, struct informer_object **v,
		       size_t nr, struct err *e)
{
	uint64_t revision;
	size_t done;
	int r = ctl_delete_many(c, KIND_POD, v, nr < BURST ? nr : BURST, &done,
				&revision, e);

	ctl_expect(c, rs->obj->key, KIND_POD, revision);
	pods_tell(c, rs->kind, rs->obj, 0, done, 0, NULL);
	if (r < 0 && e) {
		snprintf(rs->failure, sizeof(rs->failure), "%s", ctl_said(e));
		rs->failure_reason = "FailedDelete";
	}
	return r;
}

static void put_failure(struct json_out *o, struct rs *rs, yyjson_val *old)
{
	char now[OBJ_TIME_SIZE];

	json_put_array(o, "conditions");
	if (*rs->failure) {
		const char *since = obj_str(old, "lastTransitionTime");

		json_put_object(o, NULL);
		json_put_str(o, "type", "ReplicaFailure");
		json_put_str(o, "status", "True");
		json_put_str(o, "reason", rs->failure_reason);
		json_put_str(o, "message", rs->failure);
		json_put_str(o, "lastTransitionTime",
			     *since ? since : time_format(rs->now_s, now));
		json_put_end(o);
	}
	json_put_end(o);
}

static int put_status(struct ctl *c, struct rs *rs, const struct rs_plan *p,
		      struct err *e)
{
	yyjson_val *st = yyjson_obj_get(rs->root, "status");
	int64_t gen = obj_int(rs->root, "metadata.generation", 0);
	yyjson_val *failed =
		obj_item(obj_at(st, "conditions"), "type", "ReplicaFailure");
	auto_buf struct buf b = BUF_INIT;
	struct json_out o = JSON_OUT(&b);

	if (obj_int(st, "replicas", 0) == p->active &&
	    obj_int(st, "readyReplicas", 0) == p->ready &&
	    obj_int(st, "availableReplicas", 0) == p->available &&
	    obj_int(st, "fullyLabeledReplicas", 0) == p->active &&
	    obj_int(st, "observedGeneration", 0) == gen &&
	    !*rs->failure == !failed &&
	    (!failed || str_eq(obj_str(failed, "reason"), rs->failure_reason)))
		return 0; /* each try fails with other words: those stay */
	json_put_object(&o, NULL);
	json_put_object(&o, "status");
	json_put_i64(&o, "replicas", p->active);
	json_put_i64(&o, "readyReplicas", p->ready);
	json_put_i64(&o, "availableReplicas", p->available);
	json_put_i64(&o, "fullyLabeledReplicas", p->active);
	json_put_i64(&o, "observedGeneration", gen);
	if (*rs->failure || failed)
		put_failure(&o, rs, failed);
	json_put_end(&o);
	json_put_end(&o);
	if (buf_error(&b))
		return err_set(e, -ENOMEM, "out of memory");
	return ctl_patch(c, rs->kind, rs->obj, "status", buf_str(&b), e);
}

static int sync_rs(struct ctl *c, struct rs *rs, struct err *e)
{
	bool going = obj_at(rs->root, "metadata.deletionTimestamp") != NULL;
	struct rs_want want = {
		.replicas = obj_int(rs->root, "spec.replicas", 1),
		.min_ready_s = obj_int(rs->root, "spec.minReadySeconds", 0),
	};
	auto_list struct informer_list pods = { 0 };
	struct rs_plan plan;
	struct err status_err = { 0 };
	int r = pods_claim(c, rs->kind, rs->obj, rs->selector, !going, &pods,
			   e);
	int sr;

	if (r < 0)
		return r;
	pods_keep_active(&pods);
	rs_plan(&want, pods.v, pods.nr, rs->now_s, &plan);
	if (!going && plan.create)
		r = create_pods(c, rs, plan.create, e);
	else if (!going && plan.remove)
		r = remove_pods(c, rs, pods.v, plan.remove, e);
	/* The status tells what was seen; what was done shows up by itself. */
	sr = put_status(c, rs, &plan, &status_err);
	if (sr < 0 && sr != -ENOENT && r == 0)
		r = err_set(e, sr, "%s", status_err.msg);
	if (plan.again_s)
		ctl_add_after(c, rs->obj->key,
			      (plan.again_s - rs->now_s) * 1000 + 50);
	return r;
}

/* A selector of a ReplicationController is the labels themselves. */
static yyjson_doc *as_selector(yyjson_val *labels)
{
	yyjson_mut_doc *m = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *root = m ? yyjson_mut_obj(m) : NULL;
	yyjson_doc *doc = NULL;

	if (root) {
		yyjson_mut_obj_add_val(m, root, "matchLabels",
				       yyjson_val_mut_copy(m, labels));
		yyjson_mut_doc_set_root(m, root);
		doc = yyjson_mut_doc_imut_copy(m, NULL);
	}
	yyjson_mut_doc_free(m);
	return doc;
}

static int sync_kind(struct ctl *c, enum kind k, const char *key, struct err *e)
{
	auto_ptr(informer_object) o = ctl_get(c, k, key);
	yyjson_doc *doc = o ? informer_doc(o) : NULL, *selector = NULL;
	struct rs rs = { .kind = k, .obj = o, .now_s = time_now() };
	int r = 0;

	if (!o || !ctl_owns(c, o->uid)) {
		yyjson_doc_free(doc);
		return 0;
	}
	rs.root = yyjson_doc_get_root(doc);
	rs.selector = obj_at(rs.root, "spec.selector");
	if (k == KIND_RC) {
		selector = as_selector(rs.selector);
		rs.selector = yyjson_doc_get_root(selector);
	}
	r = rs.root && rs.selector ? sync_rs(c, &rs, e)
				   : err_set(e, -ENOMEM, "out of memory");
	yyjson_doc_free(selector);
	yyjson_doc_free(doc);
	return r;
}

/* --- registration --- */

static void rs_pod_changed(struct ctl *c, const struct informer_event *ev)
{
	if (ev->now && !*ev->now->owner && pod_is_active(ev->now) &&
	    (!ev->old || *ev->old->owner ||
	     pod_facts(ev->old)->labels != pod_facts(ev->now)->labels))
		pods_add_matching(c, KIND_RS, ev->now);
}

static int rs_begin(struct ctl *c, struct err *e)
{
	int r = ctl_follow(c, KIND_RS, NULL, e);

	if (r == 0)
		r = ctl_follow(c, KIND_POD, "ReplicaSet", e);
	return r < 0 ? r : ctl_watch(c, KIND_POD, rs_pod_changed, e);
}

static int rs_sync(struct ctl *c, const char *key, struct err *e)
{
	return sync_kind(c, KIND_RS, key, e);
}

static int rc_begin(struct ctl *c, struct err *e)
{
	int r = ctl_follow(c, KIND_RC, NULL, e);

	return r < 0 ? r : ctl_follow(c, KIND_POD, "ReplicationController", e);
}

static int rc_sync(struct ctl *c, const char *key, struct err *e)
{
	return sync_kind(c, KIND_RC, key, e);
}

const struct controller replicaset_controller = { "replicaset", rs_begin,
						  rs_sync, NULL };
const struct controller rc_controller = { "replicationcontroller", rc_begin,
					  rc_sync, NULL };

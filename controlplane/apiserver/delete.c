// SPDX-License-Identifier: Apache-2.0
/*
 * delete: at once, or first marked: while finalizers are set, while a pod on a
 * node ends gracefully, while a namespace or tenant still has content.
 */
#include <stdio.h>
#include <time.h>

#include "controlplane/apiserver/aside.h"
#include "controlplane/apiserver/conversion.h"
#include "controlplane/apiserver/admission/webhook.h"
#include "controlplane/apiserver/write.h"
#include "lib/json.h"
#include "lib/str.h"

static bool is_space(const struct type *t)
{
	return !*t->group && (strcmp(t->plural, "namespaces") == 0 ||
			      strcmp(t->plural, "tenants") == 0);
}

static bool is_pod(const struct type *t)
{
	return !*t->group && strcmp(t->plural, "pods") == 0;
}

/* Seconds a pod gets; 0: it goes at once. */
static int64_t grace_of(const struct type *t, yyjson_mut_val *obj,
			int64_t asked)
{
	const char *phase = mut_str(obj, "status.phase");

	if (!is_pod(t) || !mut_str(obj, "spec.nodeName") ||
	    str_eq(phase, "Succeeded") || str_eq(phase, "Failed"))
		return 0;
	if (asked >= 0)
		return asked;
	return mut_int(obj, "spec.terminationGracePeriodSeconds", 30);
}

bool delete_mark(const struct type *t, yyjson_mut_doc *doc, yyjson_mut_val *obj,
		 int64_t asked)
{
	int64_t grace = grace_of(t, obj, asked);
	bool held;
	char text[32];
	time_t when;
	struct tm tm;

	if (t->hooks->deleting)
		t->hooks->deleting(doc, obj);
	held = yyjson_mut_arr_size(mut_get(obj, "metadata.finalizers")) ||
	       (is_space(t) &&
		yyjson_mut_arr_size(mut_get(obj, "spec.finalizers")));
	if (!held && !grace)
		return false;
	/* Marked before: the time may only come nearer. */
	if (mut_get(obj, "metadata.deletionTimestamp") &&
	    mut_int(obj, "metadata.deletionGracePeriodSeconds", 0) <= grace)
		return true;
	/* The wish has changed, as by any other change of it. */
	if (!mut_get(obj, "metadata.deletionTimestamp") &&
	    mut_get(obj, "metadata.generation"))
		mut_set_int(doc, obj, "metadata.generation",
			    mut_int(obj, "metadata.generation", 0) + 1);
	when = time(NULL) + grace;
	gmtime_r(&when, &tm);
	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm);
	mut_set_str(doc, obj, "metadata.deletionTimestamp", text);
	mut_set_int(doc, obj, "metadata.deletionGracePeriodSeconds", grace);
	if (is_space(t))
		mut_set_str(doc, obj, "status.phase", "Terminating");
	return true;
}

static int64_t asked_grace(struct write *w)
{
	yyjson_val *v = yyjson_obj_get(w->options, "gracePeriodSeconds");
	char text[24];
	int64_t n;

	if (yyjson_is_int(v))
		return yyjson_get_sint(v);
	if (query_get(w->req, "gracePeriodSeconds", text, sizeof(text)) &&
	    str_to_i64(text, &n) == 0)
		return n;
	return -1;
}

/* What is to become of the dependents, as a finalizer that the garbage
 * collector takes away again; NULL: they go afterwards. */
static const char *asked_finalizer(struct write *w)
{
	const char *policy =
		yyjson_get_str(yyjson_obj_get(w->options, "propagationPolicy"));
	yyjson_val *orphan = yyjson_obj_get(w->options, "orphanDependents");
	char text[24] = "";

	if (!policy &&
	    query_get(w->req, "propagationPolicy", text, sizeof(text)))
		policy = text;
	if (str_eq(policy, "Orphan") || (!policy && yyjson_is_true(orphan)))
		return "orphan";
	return str_eq(policy, "Foreground") ? "foregroundDeletion" : NULL;
}

static void set_propagation(struct write *w, yyjson_mut_doc *doc,
			    yyjson_mut_val *obj)
{
	yyjson_mut_val *list = mut_get(obj, "metadata.finalizers"), *v;
	const char *name = asked_finalizer(w);
	yyjson_mut_val *now = yyjson_mut_arr(doc);
	size_t i, max;

	/* Asked for again, the last word counts. */
	yyjson_mut_arr_foreach(list, i, max,
			       v) if (!str_eq(yyjson_mut_get_str(v),
					      "orphan") &&
				      !str_eq(yyjson_mut_get_str(v),
					      "foregroundDeletion"))
		yyjson_mut_arr_append(now, yyjson_mut_val_mut_copy(doc, v));
	if (name)
		yyjson_mut_arr_append(now, yyjson_mut_strcpy(doc, name));
	if (yyjson_mut_arr_size(now))
		mut_set(doc, obj, "metadata.finalizers", now);
	else
		mut_remove(obj, "metadata.finalizers");
}

static int check_preconditions(struct write *w, yyjson_mut_val *obj,
			       const struct object_bytes *cur)
{
	yyjson_val *pre = yyjson_obj_get(w->options, "preconditions");
	const char *uid = yyjson_get_str(yyjson_obj_get(pre, "uid"));
	const char *rv = yyjson_get_str(yyjson_obj_get(pre, "resourceVersion"));
	char now[24], res[256];

	snprintf(now, sizeof(now), "%llu", (unsigned long long)cur->revision);
	group_resource(&w->req->route, res, sizeof(res));
	if (uid && !str_eq(uid, mut_str(obj, "metadata.uid"))) {
		reply_error(w->req, 409, "Conflict",
			    "Operation cannot be fulfilled on %s \"%s\": "
			    "Precondition failed: UID in precondition: %s, UID "
			    "in object meta: %s",
			    res, w->req->route.name, uid,
			    mut_str(obj, "metadata.uid"));
		return -ESTALE;
	}
	if (rv && strcmp(rv, now) != 0) {
		reply_error(w->req, 409, "Conflict",
			    "Operation cannot be fulfilled on %s \"%s\": "
			    "Precondition failed: ResourceVersion in "
			    "precondition: %s, ResourceVersion in object meta: "
			    "%s",
			    res, w->req->route.name, rv, now);
		return -ESTALE;
	}
	return 0;
}

static int admit_delete(struct write *w, yyjson_mut_doc *doc,
			yyjson_mut_val *old, uint64_t revision)
{
	struct admission a;
	int r;

	write_admission(w, &a, doc, NULL, old);
	r = admission_mutate(&a);
	if (r == 0)
		r = webhooks_admit(&a, false, revision);
	if (r == 0)
		r = admission_validate(&a);
	if (r < 0 && r != -EINPROGRESS)
		admission_reply(&a);
	return r;
}

void delete_attempt(struct write *w)
{
	struct req *r = w->req;
	auto_buf struct buf key = BUF_INIT;
	auto_ptr(object_bytes) cur = NULL;
	yyjson_mut_doc *doc;
	yyjson_mut_val *obj;
	yyjson_val *dry = yyjson_obj_get(w->options, "dryRun");

	if (yyjson_arr_size(dry))
		w->dry_run = true;
	route_key(r, r->route.name, &key);
	cur = store_get(r->api->store, buf_str(&key));
	if (!cur) {
		reply_not_found(r);
		return;
	}
	if (conversion_first(w, &cur))
		return;
	doc = object_tree_as(w->req->route.type, cur);
	obj = doc ? yyjson_mut_doc_get_root(doc) : NULL;
	if (!obj) {
		reply_error(r, 500, "InternalError", "out of memory");
	} else if (admit_delete(w, doc, obj, cur->revision) == 0 &&
		   check_preconditions(w, obj, cur) == 0 &&
		   (!w->evict || evict_allowed(w, cur) == 0)) {
		yyjson_mut_val *old = yyjson_mut_val_mut_copy(doc, obj);
		bool marked;

		set_propagation(w, doc, obj);
		if (w->evict)
			evict_tell(doc, obj);
		marked = delete_mark(r->route.type, doc, obj, asked_grace(w));

		w->status_reply =
			w->evict || (!marked && !is_pod(r->route.type));
		/* Asked for again, nothing happens, and nobody is told. */
		if (marked && !w->dry_run && old && mut_equal(obj, old))
			reply_written(w, &cur);
		else
			write_submit(w, doc, obj, cur, !marked);
	}
	yyjson_mut_doc_free(doc);
}

/* --- deletecollection --- */

/*
 * Object by object, so that each keeps its own rules. Runs on the loop's
 * thread with a commit for each batch: a rare request, and bounded.
 */
static int delete_batch(struct api *api, const struct type *t,
			struct object_bytes **v, size_t nr, struct err *e)
{
	struct store_op *ops = calloc(nr, sizeof(*ops));
	struct buf *bufs = calloc(nr * 2, sizeof(*bufs));
	struct store_txn txn = { .ops = ops };
	int r = ops && bufs ? 0 : -ENOMEM;

	for (size_t i = 0; r == 0 && i < nr; i++) {
		yyjson_mut_doc *doc = object_tree_as(t, v[i]);
		yyjson_mut_val *obj = doc ? yyjson_mut_doc_get_root(doc) : NULL;
		struct store_op *op = &ops[txn.nr_ops];

		if (!obj) {
			r = -ENOMEM;
			break;
		}
		op->key = v[i]->key;
		op->expect = STORE_MATCH;
		op->revision = v[i]->revision;
		op->remove = !delete_mark(t, doc, obj, -1);
		r = object_pack(api, t, doc, obj, &bufs[i * 2], &op->rv_off,
				&bufs[i * 2 + 1]);
		op->data = bufs[i * 2].data;
		op->len = bufs[i * 2].len;
		op->tags = bufs[i * 2 + 1].data;
		op->tags_len = bufs[i * 2 + 1].len;
		/* Marked already, and nothing nearer: leave it alone. */
		if (op->remove || op->len + v[i]->rv_len != v[i]->len)
			txn.nr_ops++;
		yyjson_mut_doc_free(doc);
	}
	if (r == 0 && txn.nr_ops)
		r = store_commit(api->store, &txn, e);
	for (size_t i = 0; ops && i < txn.nr_ops; i++)
		object_unref(ops[i].ret);
	for (size_t i = 0; bufs && i < nr * 2; i++)
		buf_clear(&bufs[i]);
	free(bufs);
	free(ops);
	return r;
}

int delete_objects(struct api *api, const struct type *t,
		   struct object_bytes **v, size_t nr_all, struct err *e)
{
	int r = 0;

	for (size_t i = 0; i < nr_all && r == 0; i += 256) {
		size_t nr = nr_all - i < 256 ? nr_all - i : 256;

		for (int tries = 0; tries < 5; tries++) {
			r = delete_batch(api, t, v + i, nr, e);
			if (r != -ESTALE && r != -ENOENT)
				break;
			/* One of them was changed meanwhile: one by one. */
			r = 0;
			for (size_t j = i; j < i + nr; j++) {
				struct object_bytes *now =
					store_get(api->store, v[j]->key);

				if (now)
					(void)delete_batch(api, t, &now, 1, e);
				object_unref(now);
			}
			break;
		}
	}
	return r;
}

int delete_range(struct api *api, const struct type *t, const char *prefix,
		 bool (*match)(const struct object_bytes *o, void *arg),
		 void *arg, size_t *ret_left, struct err *e)
{
	struct store_range range = { .prefix = prefix,
				     .whole = true, /* or it is not gone */
				     .match = match,
				     .arg = arg };
	struct store_list list;
	int r = store_list(api->store, &range, &list, e);

	if (r < 0)
		return r;
	r = delete_objects(api, t, list.v, list.nr, e);
	store_list_clear(&list);
	if (r == 0 && ret_left)
		*ret_left = store_count(api->store, prefix);
	return r;
}

// SPDX-License-Identifier: Apache-2.0
/*
 * Eviction and disruption budgets: a pod that serves may only be evicted while
 * its budget allows it. The allowance is counted down here, in the budget
 * itself and before the pod is touched, so that two evictions at once cannot
 * both take the last one; the disruption controller puts it right again.
 */
#include <stdio.h>
#include <time.h>

#include "controlplane/apiserver/write.h"
#include "controlplane/client/object.h"
#include "lib/str.h"

/* How many of them select the pod; the first one in @ret, owned. */
static int find_budget(struct req *r, yyjson_val *pod,
		       struct object_bytes **ret, struct err *e)
{
	auto_buf struct buf prefix = BUF_INIT;
	struct store_range range;
	struct store_list list;
	int found = 0, res;

	buf_printf(&prefix, "policy/poddisruptionbudgets/%s/%s/", r->tenant,
		   r->route.namespace);
	range = (struct store_range){ .prefix = buf_str(&prefix) };
	res = store_list(r->api->store, &range, &list, e);
	if (res < 0)
		return res;
	for (size_t i = 0; i < list.nr; i++) {
		yyjson_doc *doc = object_doc(list.v[i]);

		if (selector_matches_labels(obj_at(yyjson_doc_get_root(doc),
						   "spec.selector"),
					    obj_at(pod, "metadata.labels")) &&
		    found++ == 0)
			*ret = object_ref(list.v[i]);
		yyjson_doc_free(doc);
	}
	store_list_clear(&list);
	return found;
}

/* One less; -ESTALE when the budget has changed meanwhile. */
static int take_one(struct req *r, const struct type *t,
		    const struct object_bytes *pdb, const char *pod,
		    struct err *e)
{
	yyjson_mut_doc *doc = object_tree(pdb);
	yyjson_mut_val *obj = doc ? yyjson_mut_doc_get_root(doc) : NULL;
	auto_buf struct buf data = BUF_INIT, tags = BUF_INIT;
	yyjson_mut_val *map = mut_get(obj, "status.disruptedPods");
	struct store_op op = { .key = pdb->key,
			       .expect = STORE_MATCH,
			       .revision = pdb->revision };
	struct store_txn txn = { .ops = &op, .nr_ops = 1 };
	char now[OBJ_TIME_SIZE];
	int res = obj ? 0 : -ENOMEM;

	if (res == 0) {
		mut_set_int(doc, obj, "status.disruptionsAllowed",
			    mut_int(obj, "status.disruptionsAllowed", 0) - 1);
		if (!map) {
			map = yyjson_mut_obj(doc);
			res = mut_set(doc, obj, "status.disruptedPods", map);
		}
		mut_put(doc, map, pod,
			yyjson_mut_strcpy(doc, time_format(time_now(), now)));
	}
	if (res == 0)
		res = object_pack(r->api, t, doc, obj, &data, &op.rv_off,
				  &tags);
	op.data = data.data;
	op.len = (uint32_t)data.len;
	op.tags = tags.data;
	op.tags_len = (uint32_t)tags.len;
	if (res == 0)
		res = store_commit(r->api->store, &txn, e);
	object_unref(op.ret);
	yyjson_mut_doc_free(doc);
	return res;
}

static int refuse(struct req *r, yyjson_val *pdb)
{
	reply_error(r, 429, "TooManyRequests",
		    "Cannot evict pod as it would violate the pod's disruption "
		    "budget. The disruption budget %s needs %lld healthy pods "
		    "and has %lld currently",
		    obj_str(pdb, "metadata.name"),
		    (long long)obj_int(pdb, "status.desiredHealthy", 0),
		    (long long)obj_int(pdb, "status.currentHealthy", 0));
	return -EAGAIN;
}

/* 1: the budget changed meanwhile, look again. */
static int check_budget(struct write *w, yyjson_val *pod,
			const struct object_bytes *bytes)
{
	struct req *r = w->req;
	yyjson_doc *doc = object_doc(bytes);
	yyjson_val *pdb = yyjson_doc_get_root(doc);
	bool ready = str_eq(obj_condition(pod, "Ready"), "True");
	bool always = str_eq(obj_str(pdb, "spec.unhealthyPodEvictionPolicy"),
			     "AlwaysAllow");
	const struct type *t = type_find(r->api->types, "policy", "v1",
					 "poddisruptionbudgets");
	struct err e = { 0 };
	int res = 0;

	/* What serves nobody takes nothing away, as long as enough do. */
	if (!ready &&
	    (always || obj_int(pdb, "status.currentHealthy", 0) >=
			       obj_int(pdb, "status.desiredHealthy", 1)))
		goto out;
	/* Not yet looked at by the controller: it allows nothing. */
	if (obj_int(pdb, "status.observedGeneration", 0) <
		    obj_int(pdb, "metadata.generation", 0) ||
	    obj_int(pdb, "status.disruptionsAllowed", 0) <= 0) {
		res = refuse(r, pdb);
		goto out;
	}
	if (w->dry_run)
		goto out;
	res = take_one(r, t, bytes, r->route.name, &e);
	if (res == -ESTALE || res == -ENOENT)
		res = 1;
	else if (res < 0)
		reply_store_error(r, res, &e);
out:
	yyjson_doc_free(doc);
	return res;
}

int evict_allowed(struct write *w, const struct object_bytes *cur)
{
	yyjson_doc *doc = object_doc(cur);
	yyjson_val *pod = yyjson_doc_get_root(doc);
	const char *phase = obj_str(pod, "status.phase");
	struct err e = { 0 };
	int res = 1;

	/* Nothing is lost with it. */
	if (str_eq(phase, "Succeeded") || str_eq(phase, "Failed") ||
	    str_eq(phase, "Pending") ||
	    obj_at(pod, "metadata.deletionTimestamp")) {
		yyjson_doc_free(doc);
		return 0;
	}
	for (int tries = 0; tries < 10 && res == 1; tries++) {
		auto_ptr(object_bytes) pdb = NULL;

		res = find_budget(w->req, pod, &pdb, &e);
		if (res < 0)
			reply_store_error(w->req, res, &e);
		else if (res > 1)
			reply_error(w->req, 500, "InternalError",
				    "This pod has more than one "
				    "PodDisruptionBudget, which the eviction "
				    "subresource does not support.");
		if (res > 1)
			res = -EINVAL;
		if (res == 1)
			res = check_budget(w, pod, pdb);
	}
	yyjson_doc_free(doc);
	if (res != 1)
		return res;
	reply_error(w->req, 409, "Conflict",
		    "the disruption budget keeps changing, try again");
	return -ESTALE;
}

void evict_tell(yyjson_mut_doc *doc, yyjson_mut_val *pod)
{
	if (!mut_get(pod, "metadata.deletionTimestamp"))
		object_condition(doc, pod, "DisruptionTarget", true,
				 "EvictionByEvictionAPI",
				 "Eviction API: evicting");
}

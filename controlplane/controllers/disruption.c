// SPDX-License-Identifier: Apache-2.0
/* Disruption budgets: how many of the pods they select may go now. The API
 * server's eviction counts it down; this puts it right again. */
#include "controlplane/client/object.h"
#include "controlplane/controllers/controllers.h"
#include "controlplane/controllers/pods.h"
#include "lib/err.h"
#include "lib/json.h"
#include "lib/str.h"

#define EVICTED_S 120 /* an eviction that came to nothing is forgotten */

struct budget {
	int64_t expected, healthy, wanted, allowed;
};

/* How many pods those who own them want: the size percentages are of. */
static int64_t expected_of(struct ctl *c, struct informer_list *pods)
{
	int64_t sum = 0;

	for (size_t i = 0; i < pods->nr; i++) {
		const struct informer_object *p = pods->v[i];
		auto_free char *key = NULL;
		auto_ptr(informer_object) owner = NULL;
		enum kind k = str_eq(p->owner_kind, "ReplicaSet")    ? KIND_RS
			      : str_eq(p->owner_kind, "StatefulSet") ? KIND_SS
			      : str_eq(p->owner_kind, "ReplicationController")
				      ? KIND_RC
				      : KIND_NR;
		bool counted = false;
		yyjson_doc *doc;

		for (size_t j = 0; j < i && !counted; j++)
			counted = *p->owner &&
				  str_eq(pods->v[j]->owner, p->owner);
		if (counted)
			continue;
		if (k == KIND_NR) {
			sum++;
			continue;
		}
		key = str_printf("%s/%s/%s", p->tenant, p->namespace,
				 p->owner_name);
		owner = key ? ctl_get(c, k, key) : NULL;
		doc = owner ? informer_doc(owner) : NULL;
		sum += obj_int(yyjson_doc_get_root(doc), "spec.replicas", 1);
		yyjson_doc_free(doc);
	}
	return sum;
}

static void plan(yyjson_val *spec, int64_t expected, int64_t healthy,
		 struct budget *b)
{
	yyjson_val *min = yyjson_obj_get(spec, "minAvailable");
	yyjson_val *max = yyjson_obj_get(spec, "maxUnavailable");

	b->expected = expected;
	b->healthy = healthy;
	if (max)
		b->wanted =
			expected - obj_int_or_percent(max, expected, true, 0);
	else
		b->wanted = obj_int_or_percent(min, expected, true, 1);
	if (b->wanted < 0)
		b->wanted = 0;
	b->allowed = healthy > b->wanted ? healthy - b->wanted : 0;
}

static int read_pods(struct ctl *c, const struct informer_object *o,
		     yyjson_val *root, struct informer_list *ret,
		     int64_t *healthy, struct err *e)
{
	auto_free char *space = str_printf("%s/%s", o->tenant, o->namespace);
	yyjson_val *evicted = obj_at(root, "status.disruptedPods");
	size_t nr = 0;

	if (!space || informer_list(ctl_informer(c, KIND_POD),
				    INFORMER_BY_NAMESPACE, space, ret) < 0)
		return err_set(e, -ENOMEM, "out of memory");
	for (size_t i = 0; i < ret->nr; i++) {
		struct informer_object *p = ret->v[i];
		yyjson_doc *doc = informer_doc(p);
		yyjson_val *pod = yyjson_doc_get_root(doc);
		int64_t when = obj_time(evicted, p->name);
		bool mine =
			selector_matches_labels(obj_at(root, "spec.selector"),
						obj_at(pod, "metadata.labels"));

		yyjson_doc_free(doc);
		if (!mine || !pod_is_active(p)) {
			informer_unref(p);
			continue;
		}
		ret->v[nr++] = p;
		*healthy += pod_facts(p)->ready &&
			    !(when && when + EVICTED_S > time_now());
	}
	ret->nr = nr;
	return 0;
}

/* Evictions whose pod is still there, and that are not too long ago. */
static void put_evicted(struct json_out *o, struct ctl *c,
			const struct informer_object *pdb, yyjson_val *map)
{
	yyjson_val *key, *val;
	size_t i, max;

	json_put_object(o, "disruptedPods");
	json_obj_foreach (map, i, max, key, val) {
		const char *name = yyjson_get_str(key);
		int64_t when = time_parse(
			yyjson_get_str(val) ? yyjson_get_str(val) : "");
		auto_free char *pk = str_printf("%s/%s/%s", pdb->tenant,
						pdb->namespace, name);
		auto_ptr(informer_object) p =
			pk ? ctl_get(c, KIND_POD, pk) : NULL;

		if (p && !pod_facts(p)->deleting &&
		    when + EVICTED_S > time_now()) {
			json_put_val(o, name, val);
			ctl_add_after(c, pdb->key, EVICTED_S * 1000);
		} else {
			/* A merge takes away only what is null. */
			json_put_null(o, name);
		}
	}
	json_put_end(o);
}

static int put_status(struct ctl *c, const struct informer_object *o,
		      yyjson_val *root, const struct budget *n, struct err *e)
{
	yyjson_val *st = yyjson_obj_get(root, "status");
	yyjson_val *evicted = obj_at(st, "disruptedPods");
	auto_buf struct buf b = BUF_INIT;
	struct json_out j = JSON_OUT(&b);
	int64_t gen = obj_int(root, "metadata.generation", 0);
	char now[OBJ_TIME_SIZE];

	if (obj_int(st, "observedGeneration", 0) == gen &&
	    obj_at(st, "disruptionsAllowed") &&
	    obj_int(st, "disruptionsAllowed", -1) == n->allowed &&
	    obj_int(st, "currentHealthy", -1) == n->healthy &&
	    obj_int(st, "desiredHealthy", -1) == n->wanted &&
	    obj_int(st, "expectedPods", -1) == n->expected &&
	    !yyjson_obj_size(evicted))
		return 0;
	json_put_object(&j, NULL);
	json_put_object(&j, "metadata");
	json_put_fmt(&j, "resourceVersion", "%llu",
		     (unsigned long long)o->revision);
	json_put_end(&j);
	json_put_object(&j, "status");
	json_put_i64(&j, "observedGeneration", gen);
	json_put_i64(&j, "disruptionsAllowed", n->allowed);
	json_put_i64(&j, "currentHealthy", n->healthy);
	json_put_i64(&j, "desiredHealthy", n->wanted);
	json_put_i64(&j, "expectedPods", n->expected);
	if (evicted)
		put_evicted(&j, c, o, evicted);
	json_put_array(&j, "conditions");
	json_put_object(&j, NULL);
	json_put_str(&j, "type", "DisruptionAllowed");
	json_put_str(&j, "status", n->allowed ? "True" : "False");
	json_put_str(&j, "reason",
		     n->allowed ? "SufficientPods" : "InsufficientPods");
	json_put_fmt(&j, "message", "%lld of %lld pods may go",
		     (long long)n->allowed, (long long)n->expected);
	json_put_str(&j, "lastTransitionTime", time_format(time_now(), now));
	json_put_end(&j);
	json_put_end(&j);
	json_put_end(&j);
	json_put_end(&j);
	if (buf_error(&b))
		return err_set(e, -ENOMEM, "out of memory");
	return ctl_patch(c, KIND_PDB, o, "status", buf_str(&b), e);
}

static int sync_key(struct ctl *c, const char *key, struct err *e)
{
	auto_ptr(informer_object) o = ctl_get(c, KIND_PDB, key);
	auto_list struct informer_list pods = { 0 };
	struct budget n = { 0 };
	int64_t healthy = 0;
	yyjson_doc *doc;
	yyjson_val *root;
	int r;

	if (!o || !ctl_owns(c, o->uid))
		return 0;
	doc = informer_doc(o);
	root = yyjson_doc_get_root(doc);
	r = read_pods(c, o, root, &pods, &healthy, e);
	if (r == 0) {
		plan(obj_at(root, "spec"), expected_of(c, &pods), healthy, &n);
		r = put_status(c, o, root, &n, e);
	}
	yyjson_doc_free(doc);
	return r;
}

static void pod_changed(struct ctl *c, const struct informer_event *ev)
{
	if (ev->old && ev->now &&
	    pod_facts(ev->old)->ready == pod_facts(ev->now)->ready &&
	    pod_facts(ev->old)->deleting == pod_facts(ev->now)->deleting &&
	    pod_facts(ev->old)->labels == pod_facts(ev->now)->labels)
		return;
	pods_add_matching(c, KIND_PDB, ev->now ? ev->now : ev->old);
}

static int begin(struct ctl *c, struct err *e)
{
	int r = ctl_follow(c, KIND_PDB, NULL, e);

	return r < 0 ? r : ctl_watch(c, KIND_POD, pod_changed, e);
}

const struct controller disruption_controller = { "disruption", begin, sync_key,
						  NULL };

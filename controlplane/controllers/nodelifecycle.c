// SPDX-License-Identifier: Apache-2.0
/*
 * Nodes: who does not renew its lease is Unknown; conditions become taints;
 * pods leave nodes whose NoExecute taints they do not tolerate (any longer).
 *
 * When a lease was renewed is taken by our own clock, so that a node whose
 * clock is wrong is not lost, and a control plane that was away gives all a new
 * start.
 */
#include <pthread.h>
#include <stdio.h>

#include "controlplane/client/object.h"
#include "controlplane/controllers/controllers.h"
#include "controlplane/controllers/pods.h"
#include "controlplane/controllers/taints.h"
#include "lib/err.h"
#include "lib/ev.h"
#include "lib/json.h"
#include "lib/map.h"
#include "lib/str.h"

/* When we last heard of a node. */
struct heard {
	uint64_t ms;
	uint64_t lease; /* revision of the lease */
};

struct nodes {
	pthread_mutex_t lock;
	struct map heard; /* name: struct heard */
};

static void hear(struct ctl *c, const char *name, uint64_t lease)
{
	struct nodes *n = c->data;
	struct heard *h;

	pthread_mutex_lock(&n->lock);
	h = map_get(&n->heard, name);
	if (!h) {
		h = calloc(1, sizeof(*h));
		if (h && map_set(&n->heard, name, h, NULL) < 0) {
			free(h);
			h = NULL;
		}
	}
	if (h) {
		h->ms = ev_clock_ms();
		h->lease = lease;
	}
	pthread_mutex_unlock(&n->lock);
}

/* Milliseconds since; the first time we are asked is a beginning, too. */
static uint64_t silence_ms(struct ctl *c, const char *name, bool *ret_lease)
{
	struct nodes *n = c->data;
	struct heard *h;
	uint64_t ms = 0;

	pthread_mutex_lock(&n->lock);
	h = map_get(&n->heard, name);
	if (h)
		ms = ev_clock_ms() - h->ms;
	*ret_lease = h && h->lease;
	pthread_mutex_unlock(&n->lock);
	if (!h)
		hear(c, name, 0);
	return ms;
}

/* --- events --- */

static void lease_changed(struct ctl *c, const struct informer_event *ev)
{
	auto_ptr(informer_object) node = NULL;
	auto_free char *key = NULL;

	if (!ev->now || strcmp(ev->now->tenant, "system") != 0 ||
	    strcmp(ev->now->namespace, "kube-node-lease") != 0)
		return;
	hear(c, ev->now->name, ev->now->revision);
	key = str_printf("//%s", ev->now->name);
	node = key ? ctl_get(c, KIND_NODE, key) : NULL;
	/* The node itself says when it is ready again. Only who is being
	 * watched for silence is worth a look. */
	if (node && ev->old)
		return;
	if (key)
		ctl_add(c, key);
}

static void node_changed(struct ctl *c, const struct informer_event *ev)
{
	struct nodes *n = c->data;

	if (!ev->now) {
		pthread_mutex_lock(&n->lock);
		free(map_del(&n->heard, ev->old->name));
		pthread_mutex_unlock(&n->lock);
		return;
	}
	ctl_add(c, ev->now->key);
}

static void pod_changed(struct ctl *c, const struct informer_event *ev)
{
	auto_free char *key = NULL;

	/* Pods that come to a node which is being emptied. */
	if (!ev->now || !*ev->now->node ||
	    (ev->old && strcmp(ev->old->node, ev->now->node) == 0))
		return;
	key = str_printf("//%s", ev->now->node);
	if (key)
		ctl_add(c, key);
}

/* --- conditions --- */

static int set_unknown(struct ctl *c, const struct informer_object *o,
		       yyjson_val *node, struct err *e)
{
	static const char *const types[] = {
		"Ready",       "MemoryPressure",        "DiskPressure",
		"PIDPressure", "ContainerRuntimeReady", "VmRuntimeReady"
	};
	yyjson_val *conds = obj_at(node, "status.conditions");
	auto_buf struct buf b = BUF_INIT;
	struct json_out j = JSON_OUT(&b);
	char now[OBJ_TIME_SIZE];
	bool never = !obj_item(conds, "type", "Ready");
	struct ctl_write w = { .method = "PATCH",
			       .kind = KIND_NODE,
			       .name = o->name,
			       .sub = "status",
			       .type = CTL_STRATEGIC };

	time_format(time_now(), now);
	json_put_object(&j, NULL);
	json_put_object(&j, "status");
	json_put_array(&j, "conditions");
	for (size_t i = 0; i < ARRAY_LEN(types); i++) {
		yyjson_val *was = obj_item(conds, "type", types[i]);

		if ((!was && i) || str_eq(obj_str(was, "status"), "Unknown"))
			continue;
		json_put_object(&j, NULL);
		json_put_str(&j, "type", types[i]);
		json_put_str(&j, "status", "Unknown");
		json_put_str(&j, "reason",
			     never ? "NodeStatusNeverUpdated"
				   : "NodeStatusUnknown");
		json_put_str(&j, "message",
			     never ? "Kubelet never posted node status."
				   : "Kubelet stopped posting node status.");
		json_put_str(&j, "lastTransitionTime", now);
		json_put_end(&j);
	}
	json_put_end(&j);
	json_put_end(&j);
	json_put_end(&j);
	if (buf_error(&b))
		return err_set(e, -ENOMEM, "out of memory");
	w.body = buf_str(&b);
	recorder_event(c->recorder, KIND_NODE, o, false, "NodeNotReady",
		       "Node %s status is now: NodeNotReady", o->name);
	return ctl_write(c, &w, NULL, e);
}

/* Its pods serve nobody as far as anybody can tell. */
static int set_pods_unready(struct ctl *c, struct informer_list *pods,
			    struct err *e)
{
	int r = 0;

	for (size_t i = 0; i < pods->nr && r == 0; i++) {
		struct informer_object *o = pods->v[i];
		auto_free char *body = NULL;
		char now[OBJ_TIME_SIZE];
		struct ctl_write w = { .method = "PATCH",
				       .kind = KIND_POD,
				       .tenant = o->tenant,
				       .namespace = o->namespace,
				       .name = o->name,
				       .sub = "status",
				       .type = CTL_STRATEGIC };

		if (!pod_facts(o)->ready)
			continue;
		body = str_printf("{\"metadata\":{\"uid\":\"%s\"},\"status\":{"
				  "\"conditions\":[{\"type\":\"Ready\","
				  "\"status\":\"False\",\"reason\":"
				  "\"NodeLost\",\"lastTransitionTime\":"
				  "\"%s\"}]}}",
				  o->uid, time_format(time_now(), now));
		if (!body)
			return err_set(e, -ENOMEM, "out of memory");
		w.body = body;
		r = ctl_write(c, &w, NULL, e);
		if (r == -ENOENT || r == -ESTALE)
			r = 0;
	}
	return r;
}

static int set_taints(struct ctl *c, const struct informer_object *o,
		      yyjson_val *node, struct err *e)
{
	auto_buf struct buf taints = BUF_INIT, body = BUF_INIT;

	if (!taints_plan(node, time_now(), &taints))
		return 0;
	buf_printf(&body,
		   "{\"metadata\":{\"resourceVersion\":\"%llu\"},\"spec\":{"
		   "\"taints\":%s}}",
		   (unsigned long long)o->revision, buf_str(&taints));
	if (buf_error(&taints) || buf_error(&body))
		return err_set(e, -ENOMEM, "out of memory");
	return ctl_patch(c, KIND_NODE, o, NULL, buf_str(&body), e);
}

/* --- eviction --- */

static int evict(struct ctl *c, const struct informer_object *o,
		 yyjson_val *node, struct informer_list *pods, struct err *e)
{
	int64_t now = time_now(), next = INT64_MAX;
	size_t nr = 0, done;
	uint64_t revision;
	int r;

	for (size_t i = 0; i < pods->nr; i++) {
		struct informer_object *p = pods->v[i];
		yyjson_doc *doc;
		int64_t at;

		if (pod_facts(p)->deleting)
			continue;
		doc = informer_doc(p);
		at = taints_leave_at(node, yyjson_doc_get_root(doc), now);
		yyjson_doc_free(doc);
		if (at > now) {
			next = at < next ? at : next;
			continue;
		}
		recorder_event(c->recorder, KIND_POD, p, false,
			       "TaintManagerEviction",
			       "Marking for deletion Pod %s/%s", p->namespace,
			       p->name);
		r = pods_disrupted(c, p, "DeletionByTaintManager",
				   "Taint manager: deleting due to NoExecute "
				   "taint",
				   false, e);
		if (r < 0)
			return r;
		pods->v[i] = pods->v[nr];
		pods->v[nr++] = p;
	}
	r = ctl_delete_many(c, KIND_POD, pods->v, nr, &done, &revision, e);
	if (next != INT64_MAX)
		ctl_add_after(c, o->key, (next - now) * 1000 + 100);
	return r;
}

static int sync_key(struct ctl *c, const char *key, struct err *e)
{
	auto_ptr(informer_object) o = ctl_get(c, KIND_NODE, key);
	auto_list struct informer_list pods = { 0 };
	yyjson_doc *doc;
	yyjson_val *node;
	uint64_t silent;
	bool lease, unknown;
	int r = 0;

	if (!o || !ctl_owns(c, o->uid))
		return 0;
	doc = informer_doc(o);
	node = yyjson_doc_get_root(doc);
	silent = silence_ms(c, o->name, &lease);
	unknown = str_eq(obj_condition(node, "Ready"), "Unknown");
	if (silent >= c->node_grace_ms && !unknown)
		r = set_unknown(c, o, node, e);
	else if (silent < c->node_grace_ms)
		ctl_add_after(c, key,
			      (int64_t)(c->node_grace_ms - silent) + 50);
	if (r == 0)
		r = set_taints(c, o, node, e);
	if (r == 0 && (unknown || taints_evict(node)) &&
	    informer_list(ctl_informer(c, KIND_POD), INFORMER_BY_NODE, o->name,
			  &pods) < 0)
		r = err_set(e, -ENOMEM, "out of memory");
	if (r == 0 && unknown)
		r = set_pods_unready(c, &pods, e);
	if (r == 0 && taints_evict(node))
		r = evict(c, o, node, &pods, e);
	yyjson_doc_free(doc);
	return r;
}

static int begin(struct ctl *c, struct err *e)
{
	struct nodes *n = calloc(1, sizeof(*n));
	int r;

	if (!n)
		return err_set(e, -ENOMEM, "out of memory");
	pthread_mutex_init(&n->lock, NULL);
	c->data = n;
	r = ctl_watch(c, KIND_NODE, node_changed, e);
	if (r == 0)
		r = ctl_watch(c, KIND_LEASE, lease_changed, e);
	return r < 0 ? r : ctl_watch(c, KIND_POD, pod_changed, e);
}

static void end(struct ctl *c)
{
	struct nodes *n = c->data;

	if (!n)
		return;
	map_clear(&n->heard, free);
	pthread_mutex_destroy(&n->lock);
	free(n);
}

const struct controller nodelifecycle_controller = { "nodelifecycle", begin,
						     sync_key, end };

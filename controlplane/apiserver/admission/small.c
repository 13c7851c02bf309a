// SPDX-License-Identifier: Apache-2.0
/*
 * Plug-ins of a few lines: Priority, DefaultTolerationSeconds,
 * DefaultStorageClass, PodNodeSelector, SystemDaemonSet.
 */
#include <errno.h>
#include <stdio.h>

#include "controlplane/apiserver/admission/plugins.h"
#include "controlplane/apiserver/internal.h"
#include "lib/str.h"

static bool is_pod(const struct admission *a)
{
	return admission_is(a, "", "pods") && !*a->subresource &&
	       yyjson_mut_is_obj(mut_get(a->obj, "spec"));
}

/* --- Priority: spec.priority is what the class says --- */

#define CRITICAL 2000000000

struct class
{
	int64_t value;
	char preemption[32];
	char name[256];
};

static bool read_class(const struct object_bytes *o, struct class *c)
{
	yyjson_doc *doc = object_doc(o);
	yyjson_val *root = yyjson_doc_get_root(doc);
	const char *policy =
		yyjson_get_str(yyjson_obj_get(root, "preemptionPolicy"));
	bool global = yyjson_is_true(yyjson_obj_get(root, "globalDefault"));

	c->value = yyjson_get_sint(yyjson_obj_get(root, "value"));
	snprintf(c->preemption, sizeof(c->preemption), "%s",
		 policy ? policy : "PreemptLowerPriority");
	snprintf(c->name, sizeof(c->name), "%s", strrchr(o->key, '/') + 1);
	yyjson_doc_free(doc);
	return global;
}

static bool find_class(struct admission *a, const char *name, struct class *c)
{
	static const struct class builtin[] = {
		{ CRITICAL, "PreemptLowerPriority", "system-cluster-critical" },
		{ CRITICAL + 1000, "PreemptLowerPriority",
		  "system-node-critical" },
	};
	auto_buf struct buf key = BUF_INIT;
	auto_ptr(object_bytes) o = NULL;

	buf_printf(&key, "scheduling.k8s.io/priorityclasses///%s", name);
	o = store_get(a->api->store, buf_str(&key));
	if (o) {
		(void)read_class(o, c);
		return true;
	}
	for (size_t i = 0; i < ARRAY_LEN(builtin); i++)
		if (strcmp(name, builtin[i].name) == 0) {
			*c = builtin[i];
			return true;
		}
	return false;
}

static bool default_class(struct admission *a, struct class *c)
{
	struct store_range range = {
		.prefix = "scheduling.k8s.io/priorityclasses///"
	};
	struct store_list list;
	bool found = false;

	if (store_list(a->api->store, &range, &list, NULL) < 0)
		return false;
	for (size_t i = 0; i < list.nr && !found; i++)
		found = read_class(list.v[i], c);
	store_list_clear(&list);
	return found;
}

static int priority(struct admission *a)
{
	const char *name = mut_str(a->obj, "spec.priorityClassName");
	yyjson_mut_val *given;
	struct class c = { 0, "PreemptLowerPriority", "" };

	if (!is_pod(a))
		return 0;
	given = mut_get(a->obj, "spec.priority");
	if (name && *name) {
		if (!find_class(a, name, &c))
			return admission_forbid(a,
						"no PriorityClass with name %s "
						"was found",
						name);
		/* These run before everything of everybody: the system's. */
		if (c.value >= CRITICAL && strcmp(a->tenant, SYSTEM) != 0)
			return admission_forbid(
				a,
				"priority class %s is for pods of the tenant "
				"\"system\"",
				name);
	} else if (default_class(a, &c)) {
		mut_set_str(a->doc, a->obj, "spec.priorityClassName", c.name);
	}
	if (given && yyjson_mut_is_int(given) &&
	    yyjson_mut_get_sint(given) != c.value)
		return admission_forbid(a,
					"the integer value of priority (%lld) "
					"must not be provided in pod spec; "
					"priority admission controller "
					"computed %lld from the given "
					"PriorityClass name",
					(long long)yyjson_mut_get_sint(given),
					(long long)c.value);
	mut_set_int(a->doc, a->obj, "spec.priority", c.value);
	if (!mut_str(a->obj, "spec.preemptionPolicy"))
		mut_set_str(a->doc, a->obj, "spec.preemptionPolicy",
			    c.preemption);
	return 0;
}

const struct admission_plugin admission_priority = {
	.name = "Priority",
	.ops = ADMIT_CREATE,
	.mutate = priority,
};

/* --- DefaultTolerationSeconds: five minutes with a node that is lost --- */

static bool tolerates(yyjson_mut_val *list, const char *key)
{
	yyjson_mut_val *t;
	size_t i, max;

	yyjson_mut_arr_foreach(list, i, max, t)
	{
		const char *k = mut_str(t, "key"), *e = mut_str(t, "effect");

		if ((!k || !*k || strcmp(k, key) == 0) &&
		    (!e || !*e || strcmp(e, "NoExecute") == 0))
			return true;
	}
	return false;
}

static int tolerations(struct admission *a)
{
	static const char *const keys[] = { "node.kubernetes.io/not-ready",
					    "node.kubernetes.io/unreachable" };
	yyjson_mut_val *list = mut_get(a->obj, "spec.tolerations"), *t;

	if (!is_pod(a))
		return 0;
	for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
		if (tolerates(list, keys[i]))
			continue;
		if (!list) {
			list = yyjson_mut_arr(a->doc);
			mut_set(a->doc, a->obj, "spec.tolerations", list);
		}
		t = yyjson_mut_obj(a->doc);
		mut_set_str(a->doc, t, "key", keys[i]);
		mut_set_str(a->doc, t, "operator", "Exists");
		mut_set_str(a->doc, t, "effect", "NoExecute");
		mut_set_int(a->doc, t, "tolerationSeconds", 300);
		yyjson_mut_arr_append(list, t);
	}
	return 0;
}

const struct admission_plugin admission_tolerations = {
	.name = "DefaultTolerationSeconds",
	.ops = ADMIT_CREATE,
	.mutate = tolerations,
};

/* --- DefaultStorageClass: the newest of those that are the default --- */

static int storage_class(struct admission *a)
{
	auto_buf struct buf prefix = BUF_INIT;
	struct store_range range = { 0 };
	const struct object_bytes *best = NULL;
	struct store_list list;

	if (!admission_is(a, "", "persistentvolumeclaims") || *a->subresource ||
	    mut_get(a->obj, "spec.storageClassName") ||
	    !yyjson_mut_is_obj(mut_get(a->obj, "spec")))
		return 0;
	buf_printf(&prefix, "storage.k8s.io/storageclasses/%s/", a->tenant);
	range.prefix = buf_str(&prefix);
	if (store_list(a->api->store, &range, &list, NULL) < 0)
		return 0;
	for (size_t i = 0; i < list.nr; i++) {
		yyjson_doc *doc = object_doc(list.v[i]);
		yyjson_val *notes = yyjson_ptr_get(yyjson_doc_get_root(doc),
						   "/metadata/annotations");

		if (str_eq(yyjson_get_str(
				   yyjson_obj_get(notes,
						  "storageclass.kubernetes.io/"
						  "is-default-class")),
			   "true") &&
		    (!best || list.v[i]->created > best->created))
			best = list.v[i];
		yyjson_doc_free(doc);
	}
	if (best)
		mut_set_str(a->doc, a->obj, "spec.storageClassName",
			    strrchr(best->key, '/') + 1);
	store_list_clear(&list);
	return 0;
}

const struct admission_plugin admission_storage_class = {
	.name = "DefaultStorageClass",
	.ops = ADMIT_CREATE,
	.mutate = storage_class,
};

/* --- PodNodeSelector: where a namespace's, a tenant's pods may run --- */

/* "a=b,c=d" joins spec.nodeSelector; what the pod says otherwise is refused. */
static int join_selector(struct admission *a, const char *text,
			 const char *whose)
{
	yyjson_mut_val *sel = mut_get(a->obj, "spec.nodeSelector");

	if (!sel) {
		sel = yyjson_mut_obj(a->doc);
		mut_set(a->doc, a->obj, "spec.nodeSelector", sel);
	}
	while (*text) {
		size_t n = strcspn(text, ","), k = strcspn(text, "=,");
		auto_free char *key = strndup(text, k);
		auto_free char *value =
			strndup(text + k + (k < n), k < n ? n - k - 1 : 0);
		const char *own =
			key ? yyjson_mut_get_str(yyjson_mut_obj_get(sel, key))
			    : NULL;

		if (key && *key && own && !str_eq(own, value))
			return admission_forbid(a,
						"pod node label selector "
						"conflicts with its %s node "
						"label selector",
						whose);
		if (key && *key && value)
			mut_put(a->doc, sel, key,
				yyjson_mut_strcpy(a->doc, value));
		text += n + (text[n] == ',');
	}
	return 0;
}

static int join_from(struct admission *a, const char *key,
		     const char *annotation, const char *whose)
{
	auto_ptr(object_bytes) o = store_get(a->api->store, key);
	yyjson_doc *doc;
	const char *text;
	int r = 0;

	if (!o || !object_has(o, annotation))
		return 0;
	doc = object_doc(o);
	text = yyjson_get_str(
		yyjson_obj_get(yyjson_ptr_get(yyjson_doc_get_root(doc),
					      "/metadata/annotations"),
			       annotation));
	if (text && *text)
		r = join_selector(a, text, whose);
	yyjson_doc_free(doc);
	return r;
}

static int node_selector(struct admission *a)
{
	auto_free char *tenant = NULL, *space = NULL;
	int r;

	if (!is_pod(a))
		return 0;
	tenant = str_printf("core/tenants///%s", a->tenant);
	space = str_printf("core/namespaces/%s//%s", a->tenant, a->namespace);
	if (!tenant || !space)
		return admission_refuse(a, 500, "InternalError",
					"out of memory");
	/* A tenant's is on the Tenant, which only the system writes. */
	r = join_from(a, tenant, "arktos.futurewei.com/node-selector",
		      "tenant");
	if (r == 0)
		r = join_from(a, space,
			      "scheduler.alpha.kubernetes.io/node-selector",
			      "namespace");
	return r;
}

const struct admission_plugin admission_node_selector = {
	.name = "PodNodeSelector",
	.ops = ADMIT_CREATE,
	.mutate = node_selector,
};

/* --- SystemDaemonSet: what runs on every node is the system's --- */

static int daemon_set(struct admission *a)
{
	if (!admission_is(a, "apps", "daemonsets") ||
	    strcmp(a->tenant, SYSTEM) == 0)
		return 0;
	return admission_forbid(a, "only system tenant is allowed to have "
				   "DaemonSet");
}

const struct admission_plugin admission_daemon_set = {
	.name = "SystemDaemonSet",
	.ops = ADMIT_CREATE | ADMIT_UPDATE,
	.validate = daemon_set,
};

/* --- NotServed: what is stored, and done by nobody yet, is told --- */

static int not_served(struct admission *a)
{
	const char *type = mut_str(a->obj, "spec.type");

	if (!a->req || *a->subresource)
		return 0;
	if (admission_is(a, "networking.k8s.io", "networkpolicies"))
		reply_warning(a->req,
			      "NetworkPolicy is not enforced by this version: "
			      "pods of one network reach each other");
	else if (admission_is(a, "", "services") &&
		 (str_eq(type, "NodePort") || str_eq(type, "LoadBalancer")))
		reply_warning(a->req, "node ports and load balancers are not "
				      "served by this version");
	else if (admission_is(a, "autoscaling", "horizontalpodautoscalers"))
		reply_warning(a->req,
			      "HorizontalPodAutoscaler is stored only by this "
			      "version: nothing scales by it");
	else if (admission_is(a, "", "persistentvolumeclaims"))
		reply_warning(a->req,
			      "PersistentVolumeClaim is stored only by this "
			      "version: no node runs a pod that has one");
	return 0;
}

const struct admission_plugin admission_not_served = {
	.name = "NotServed",
	.ops = ADMIT_CREATE,
	.validate = not_served,
};

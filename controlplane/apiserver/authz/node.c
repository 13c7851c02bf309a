// SPDX-License-Identifier: Apache-2.0
/*
 * The node authorizer. There is no graph to keep: whether a node may read a
 * secret is asked of the pods of the secret's namespace that are bound to the
 * node, as they are stored now. Writes are looked at again, object in hand, by
 * the admission plug-in NodeRestriction.
 */
#include <stdio.h>

#include "controlplane/apiserver/authz/access.h"
#include "controlplane/apiserver/authz/node.h"
#include "controlplane/apiserver/internal.h"
#include "lib/json.h"
#include "lib/str.h"

enum {
	GET = VERB_GET,
	READ = VERB_GET | VERB_LIST | VERB_WATCH,
	CREATE = VERB_CREATE,
	CHANGE = VERB_UPDATE | VERB_PATCH,
	DELETE = VERB_DELETE,
};

static unsigned int verb_bit(const char *verb)
{
	static const char *const names[] = { "get",    "list",
					     "watch",  "create",
					     "update", "patch",
					     "delete", "deletecollection" };

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (str_eq(verb, names[i]))
			return 1 << i;
	return 0;
}

/* --- the pods of a node --- */

static bool on_node(const struct object_bytes *o, void *node)
{
	return str_eq(object_tag(o, "f:spec.nodeName"), node);
}

struct object_bytes *node_pod(struct api *api, const char *node,
			      const char *tenant, const char *ns,
			      const char *name)
{
	auto_buf struct buf key = BUF_INIT;
	struct object_bytes *o;

	buf_printf(&key, "core/pods/%s/%s/%s", tenant, ns, name);
	o = store_get(api->store, buf_str(&key));
	if (o && on_node(o, (void *)node))
		return o;
	object_unref(o);
	return NULL;
}

/* Does one of the node's pods in this tenant (and namespace, if given) fit? */
static bool any_pod(struct api *api, const char *node, const char *tenant,
		    const char *ns,
		    bool (*fits)(yyjson_val *pod, const struct access *a),
		    const struct access *a)
{
	auto_buf struct buf prefix = BUF_INIT;
	struct store_range range = { .match = on_node, .arg = (void *)node };
	struct store_list list;
	bool found = false;

	if (!tenant || !*tenant || strcmp(tenant, "all") == 0)
		return false;
	buf_printf(&prefix, "core/pods/%s/", tenant);
	if (ns)
		buf_printf(&prefix, "%s/", ns);
	range.prefix = buf_str(&prefix);
	range.limit = fits ? 0 : 1;
	if (store_list(api->store, &range, &list, NULL) < 0)
		return false;
	for (size_t i = 0; i < list.nr && !found; i++) {
		yyjson_doc *doc;

		if (!fits) {
			found = true;
			break;
		}
		doc = object_doc(list.v[i]);
		found = fits(yyjson_doc_get_root(doc), a);
		yyjson_doc_free(doc);
	}
	store_list_clear(&list);
	return found;
}

static bool str_is(yyjson_val *obj, const char *field, const char *want)
{
	return str_eq(yyjson_get_str(yyjson_obj_get(obj, field)), want);
}

/* Does anything at or below @v refer to the secret or config map @name? The
 * names of the fields that do so are few and mean nothing else in a pod. */
static bool refers(yyjson_val *v, bool secret, const char *name, int depth)
{
	static const char *const secrets[] = { "secretRef", "secretKeyRef",
					       "nodePublishSecretRef",
					       "nodeStageSecretRef",
					       "controllerPublishSecretRef" };
	static const char *const maps[] = { "configMapRef", "configMapKeyRef",
					    "configMap" };
	const char *const *refs = secret ? secrets : maps;
	size_t nr = secret ? ARRAY_LEN(secrets) : ARRAY_LEN(maps), i, max;
	yyjson_val *key, *val;

	if (depth > JSON_DEPTH_MAX)
		return false;
	if (yyjson_is_arr(v)) {
		yyjson_arr_foreach(v, i, max, val)
		{
			if (refers(val, secret, name, depth + 1))
				return true;
		}
		return false;
	}
	json_obj_foreach (v, i, max, key, val) {
		for (size_t j = 0; j < nr; j++)
			if (yyjson_equals_str(key, refs[j]) &&
			    str_is(val, "name", name))
				return true;
		/* A volume's, a projected source's. */
		if (secret && yyjson_equals_str(key, "secret") &&
		    (str_is(val, "secretName", name) ||
		     str_is(val, "name", name)))
			return true;
		if (refers(val, secret, name, depth + 1))
			return true;
	}
	return false;
}

/* The node itself has made it: it gives the node no rights. */
static bool is_mirror(yyjson_val *pod)
{
	return yyjson_obj_get(yyjson_ptr_get(pod, "/metadata/annotations"),
			      "kubernetes.io/config.mirror");
}

static bool pod_has_config(yyjson_val *pod, const struct access *a)
{
	yyjson_val *spec = yyjson_obj_get(pod, "spec"), *v;
	bool secret = strcmp(a->resource, "secrets") == 0;
	size_t i, max;

	if (is_mirror(pod))
		return false;
	if (refers(spec, secret, a->name, 0))
		return true;
	yyjson_arr_foreach(yyjson_obj_get(spec, "imagePullSecrets"), i, max, v)
	{
		if (secret && str_is(v, "name", a->name))
			return true;
	}
	return false;
}

static bool pod_has_claim(yyjson_val *pod, const struct access *a)
{
	const char *name = yyjson_get_str(
		yyjson_obj_get(yyjson_obj_get(pod, "metadata"), "name"));
	yyjson_val *v;
	size_t i, max;

	if (is_mirror(pod))
		return false;
	yyjson_arr_foreach(yyjson_obj_get(yyjson_obj_get(pod, "spec"),
					  "volumes"),
			   i, max, v)
	{
		const char *volume = yyjson_get_str(yyjson_obj_get(v, "name"));
		auto_free char *own = NULL;

		if (str_is(yyjson_obj_get(v, "persistentVolumeClaim"),
			   "claimName", a->name))
			return true;
		if (!yyjson_obj_get(v, "ephemeral") || !name || !volume)
			continue;
		own = str_printf("%s-%s", name, volume);
		if (own && strcmp(own, a->name) == 0)
			return true;
	}
	return false;
}

static bool pod_has_account(yyjson_val *pod, const struct access *a)
{
	return !is_mirror(pod) && str_is(yyjson_obj_get(pod, "spec"),
					 "serviceAccountName", a->name);
}

/* A volume whose claim is one of the node's pods'. */
static bool volume_is_used(struct api *api, const char *node,
			   const struct access *a)
{
	auto_buf struct buf key = BUF_INIT;
	auto_ptr(object_bytes) o = NULL;
	struct access claim = { .tenant = a->tenant };
	yyjson_val *ref;
	yyjson_doc *doc;
	bool found = false;

	buf_printf(&key, "core/persistentvolumes/%s//%s", a->tenant, a->name);
	o = store_get(api->store, buf_str(&key));
	doc = object_doc(o);
	ref = yyjson_ptr_get(doc ? yyjson_doc_get_root(doc) : NULL,
			     "/spec/claimRef");
	claim.name = yyjson_get_str(yyjson_obj_get(ref, "name"));
	claim.namespace = yyjson_get_str(yyjson_obj_get(ref, "namespace"));
	if (claim.name && claim.namespace)
		found = any_pod(api, node, a->tenant, claim.namespace,
				pod_has_claim, &claim);
	yyjson_doc_free(doc);
	return found;
}

/* A stored object that says in @pointer whose it is. */
static bool stored_says(struct api *api, const char *key, const char *pointer,
			const char *want)
{
	auto_ptr(object_bytes) o = store_get(api->store, key);
	yyjson_doc *doc = object_doc(o);
	bool same =
		doc &&
		str_eq(yyjson_get_str(yyjson_ptr_get(yyjson_doc_get_root(doc),
						     pointer)),
		       want);

	yyjson_doc_free(doc);
	return same;
}

/* --- the rules --- */

/* One of the selector's terms is spec.nodeName=@node. */
static bool selects_node(const char *fields, const char *node)
{
	static const char term[] = "spec.nodeName=";

	for (const char *p = fields; p && *p;) {
		size_t n = strcspn(p, ",");

		if (n > sizeof(term) - 1 && str_starts(p, term)) {
			const char *v = p + sizeof(term) - 1;
			size_t len = n - (sizeof(term) - 1);

			if (*v == '=')
				v++, len--;
			if (len == strlen(node) && strncmp(v, node, len) == 0)
				return true;
		}
		p += n + (p[n] == ',');
	}
	return false;
}

static bool pods_allowed(struct api *api, const char *node,
			 const struct access *a, unsigned int verb)
{
	auto_ptr(object_bytes) pod = NULL;

	if (str_eq(a->subresource, "status"))
		return verb & (CHANGE | GET);
	if (str_eq(a->subresource, "eviction"))
		return verb & CREATE;
	if (a->subresource)
		return false;
	if (verb & (VERB_LIST | VERB_WATCH) && selects_node(a->fields, node))
		return true;
	if (verb & (CREATE | DELETE))
		return true; /* NodeRestriction looks at the pod */
	if (!(verb & READ))
		return false;
	if (!a->name || !a->namespace)
		return false;
	pod = node_pod(api, node, a->tenant, a->namespace, a->name);
	return pod;
}

/* What the pods of a tenant meet: for the nodes that run some of them. */
static bool tenant_is_served(struct api *api, const char *node,
			     const struct access *a)
{
	return any_pod(api, node, a->tenant, NULL, NULL, a);
}

/* Those for it; it says what became of them. */
static bool actions_allowed(struct api *api, const char *node,
			    const struct access *a, unsigned int verb)
{
	auto_buf struct buf key = BUF_INIT;
	auto_ptr(object_bytes) o = NULL;

	if (verb & (VERB_LIST | VERB_WATCH) && !a->subresource)
		return selects_node(a->fields, node);
	if (!a->name || !a->namespace ||
	    (a->subresource && strcmp(a->subresource, "status") != 0) ||
	    !(verb & (a->subresource ? GET | CHANGE : GET)))
		return false;
	buf_printf(&key, "core/actions/%s/%s/%s", a->tenant, a->namespace,
		   a->name);
	o = store_get(api->store, buf_str(&key));
	return o && on_node(o, (void *)node);
}

static bool core_allowed(struct api *api, const char *node,
			 const struct access *a, unsigned int verb)
{
	const char *res = a->resource;
	bool sub = a->subresource;

	if (strcmp(res, "pods") == 0)
		return pods_allowed(api, node, a, verb);
	if (strcmp(res, "nodes") == 0)
		return str_eq(a->subresource, "status")
			       ? verb & (CHANGE | GET) && str_eq(a->name, node)
		       : sub ? false
			     : verb & READ || verb & CREATE ||
				       (verb & CHANGE && str_eq(a->name, node));
	if (strcmp(res, "events") == 0)
		return !sub && verb & (CREATE | CHANGE);
	if (strcmp(res, "actions") == 0)
		return actions_allowed(api, node, a, verb);
	if (strcmp(res, "services") == 0 || strcmp(res, "endpoints") == 0 ||
	    strcmp(res, "namespaces") == 0)
		return !sub && verb & READ && tenant_is_served(api, node, a);
	if (strcmp(res, "serviceaccounts") == 0)
		return a->name && a->namespace &&
		       (str_eq(a->subresource, "token") ? verb & CREATE
							: !sub && verb & GET) &&
		       any_pod(api, node, a->tenant, a->namespace,
			       pod_has_account, a);
	/* Never a list: one object, by its name. */
	if (sub || !(verb & READ) || !a->name)
		return false;
	if (strcmp(res, "secrets") == 0 || strcmp(res, "configmaps") == 0) {
		if (!a->namespace)
			return false;
		/* The CA is in every namespace with pods. */
		if (*res == 'c' && strcmp(a->name, "kube-root-ca.crt") == 0)
			return any_pod(api, node, a->tenant, a->namespace, NULL,
				       a);
		return any_pod(api, node, a->tenant, a->namespace,
			       pod_has_config, a);
	}
	if (strcmp(res, "persistentvolumeclaims") == 0)
		return a->namespace && any_pod(api, node, a->tenant,
					       a->namespace, pod_has_claim, a);
	if (strcmp(res, "persistentvolumes") == 0)
		return volume_is_used(api, node, a);
	return false;
}

static bool request_is_own(struct api *api, const char *node,
			   const struct access *a)
{
	auto_free char *user = str_printf(NODE_USER "%s", node);
	auto_free char *key =
		str_printf("certificates.k8s.io/certificatesigningrequests/"
			   "%s//%s",
			   SYSTEM, a->name);

	return user && key && str_eq(a->tenant, SYSTEM) &&
	       stored_says(api, key, "/spec/username", user);
}

static bool attachment_is_own(struct api *api, const char *node,
			      const struct access *a)
{
	auto_free char *key =
		str_printf("storage.k8s.io/volumeattachments/%s//%s", a->tenant,
			   a->name);

	return key && stored_says(api, key, "/spec/nodeName", node);
}

bool node_allowed(struct api *api, const char *node, const struct access *a)
{
	static const char *const readable[][2] = {
		{ "discovery.k8s.io", "endpointslices" },
		{ "networking.k8s.io", "networkpolicies" },
		{ "arktos.futurewei.com", "networks" },
		{ "storage.k8s.io", "csidrivers" },
		{ "storage.k8s.io", "storageclasses" },
		{ "node.k8s.io", "runtimeclasses" },
		{ "scheduling.k8s.io", "priorityclasses" },
	};
	unsigned int verb = verb_bit(a->verb);

	if (a->path || !verb)
		return false;
	if (!*a->group)
		return core_allowed(api, node, a, verb);
	for (size_t i = 0; i < ARRAY_LEN(readable); i++)
		if (strcmp(a->group, readable[i][0]) == 0 &&
		    strcmp(a->resource, readable[i][1]) == 0)
			return verb & READ && !a->subresource &&
			       tenant_is_served(api, node, a);
	if (strcmp(a->group, "events.k8s.io") == 0)
		return strcmp(a->resource, "events") == 0 &&
		       verb & (CREATE | CHANGE);
	if (strcmp(a->group, "coordination.k8s.io") == 0)
		return strcmp(a->resource, "leases") == 0 &&
		       str_eq(a->tenant, SYSTEM) &&
		       str_eq(a->namespace, "kube-node-lease") &&
		       verb & (GET | CREATE | CHANGE | DELETE) &&
		       (verb & CREATE || str_eq(a->name, node));
	if (strcmp(a->group, "certificates.k8s.io") == 0) {
		if (strcmp(a->resource, "certificatesigningrequests") ||
		    a->subresource || !str_eq(a->tenant, SYSTEM))
			return false;
		return verb & CREATE ||
		       (verb & READ && a->name && request_is_own(api, node, a));
	}
	if (strcmp(a->group, "storage.k8s.io") == 0) {
		if (strcmp(a->resource, "volumeattachments") == 0)
			return verb & GET && a->name &&
			       attachment_is_own(api, node, a);
		if (strcmp(a->resource, "csinodes") == 0)
			return verb & CREATE ||
			       (verb & (GET | CHANGE | DELETE) &&
				str_eq(a->name, node));
		return false;
	}
	/* Delegated questions of the node's own server. */
	if (strcmp(a->group, "authentication.k8s.io") == 0)
		return strcmp(a->resource, "tokenreviews") == 0 &&
		       verb & CREATE;
	if (strcmp(a->group, "authorization.k8s.io") == 0)
		return strcmp(a->resource, "subjectaccessreviews") == 0 &&
		       verb & CREATE;
	return false;
}

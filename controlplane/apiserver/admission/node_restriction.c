// SPDX-License-Identifier: Apache-2.0
/*
 * NodeRestriction: a node writes its own Node, Lease and CSINode, the status
 * of the pods bound to it, mirrors of its static pods, tokens for its pods,
 * and events about all of these.
 */
#include <errno.h>
#include <stdio.h>

#include "controlplane/apiserver/admission/plugins.h"
#include "controlplane/apiserver/authz/node.h"
#include "controlplane/apiserver/internal.h"
#include "lib/json.h"
#include "lib/str.h"

#define MIRROR "kubernetes.io/config.mirror"

static yyjson_mut_val *annotation(yyjson_mut_val *obj, const char *name)
{
	return yyjson_mut_obj_get(mut_get(obj, "metadata.annotations"), name);
}

static bool same(struct admission *a, const char *path)
{
	return mut_equal(mut_get(a->obj, path), mut_get(a->old, path));
}

/* --- pods --- */

/* Does anything at or below @v need an object of the API? Wherever it stands:
 * volumes, their sources, environment, and what is still to be thought of. */
static bool needs_objects(yyjson_mut_val *v, int depth)
{
	static const char *const refs[] = {
		"secret",         "configMap",       "persistentVolumeClaim",
		"projected",      "ephemeral",       "serviceAccountToken",
		"configMapRef",   "configMapKeyRef", "imagePullSecrets",
		"resourceClaims",
	};
	yyjson_mut_val *key, *val;
	size_t i, max;
	bool found = depth > JSON_DEPTH_MAX;

	if (yyjson_mut_is_arr(v)) {
		yyjson_mut_arr_foreach(v, i, max, val) found =
			found || needs_objects(val, depth + 1);
		return found;
	}
	yyjson_mut_obj_foreach(v, i, max, key, val)
	{
		const char *name = yyjson_mut_get_str(key);

		if (!yyjson_mut_is_ctn(val) || !yyjson_mut_get_len(val))
			continue;
		for (size_t j = 0; j < ARRAY_LEN(refs); j++)
			found = found || strcmp(name, refs[j]) == 0;
		/* secretRef, secretKeyRef, nodePublishSecretRef ... */
		found = found ||
			(strcasestr(name, "secret") && str_ends(name, "Ref"));
		found = found || needs_objects(val, depth + 1);
	}
	return found;
}

static int check_mirror(struct admission *a, const char *node)
{
	yyjson_mut_val *refs = mut_get(a->obj, "metadata.ownerReferences"), *v;
	size_t i, max;

	if (!annotation(a->obj, MIRROR))
		return admission_forbid(a,
					"pod does not have \"%s\" annotation, "
					"node \"%s\" can only create mirror "
					"pods",
					MIRROR, node);
	if (strcmp(a->tenant, SYSTEM) != 0)
		return admission_forbid(a,
					"node \"%s\" can only create mirror "
					"pods in the tenant \"system\"",
					node);
	if (!str_eq(mut_str(a->obj, "spec.nodeName"), node))
		return admission_forbid(a,
					"node \"%s\" can only create pods with "
					"spec.nodeName set to itself",
					node);
	yyjson_mut_arr_foreach(refs, i, max, v)
	{
		if (max != 1 || !str_eq(mut_str(v, "kind"), "Node") ||
		    !str_eq(mut_str(v, "apiVersion"), "v1") ||
		    !str_eq(mut_str(v, "name"), node))
			return admission_forbid(a,
						"node \"%s\" can only create "
						"pods with an owner reference "
						"set to itself",
						node);
	}
	if (mut_str(a->obj, "spec.serviceAccountName") &&
	    *mut_str(a->obj, "spec.serviceAccountName"))
		return admission_forbid(a,
					"node \"%s\" can not create pods that "
					"reference a service account",
					node);
	if (needs_objects(mut_get(a->obj, "spec"), 0))
		return admission_forbid(a,
					"node \"%s\" can not create pods that "
					"reference secrets, configmaps, claims "
					"or projected volumes",
					node);
	return 0;
}

static int check_pod(struct admission *a, const char *node)
{
	bool status = strcmp(a->subresource, "status") == 0;

	if (a->op == ADMIT_CREATE && !*a->subresource)
		return check_mirror(a, node);
	if (!str_eq(mut_str(a->old, "spec.nodeName"), node))
		return admission_forbid(a,
					"node \"%s\" can only %s pods with "
					"spec.nodeName set to itself",
					node,
					a->op == ADMIT_DELETE ? "delete"
							      : "update");
	if (a->op == ADMIT_DELETE)
		return 0;
	if (!status)
		return admission_forbid(a,
					"node \"%s\" can only update the "
					"status of pods",
					node);
	if (!same(a, "metadata.labels"))
		return admission_forbid(a,
					"node \"%s\" cannot update labels "
					"through pod status",
					node);
	if (!mut_equal(annotation(a->obj, MIRROR), annotation(a->old, MIRROR)))
		return admission_forbid(a,
					"node \"%s\" cannot make a pod a "
					"mirror, nor a mirror another pod",
					node);
	if (!same(a, "metadata.ownerReferences") ||
	    !same(a, "metadata.finalizers"))
		return admission_forbid(a,
					"node \"%s\" cannot update owners or "
					"finalizers through pod status",
					node);
	return 0;
}

/* --- nodes --- */

/* May a node set this label on itself? */
static bool label_is_free(const char *key)
{
	static const char *const exact[] = {
		"kubernetes.io/hostname",
		"kubernetes.io/arch",
		"kubernetes.io/os",
		"beta.kubernetes.io/arch",
		"beta.kubernetes.io/os",
		"beta.kubernetes.io/instance-type",
		"node.kubernetes.io/instance-type",
		"failure-domain.beta.kubernetes.io/region",
		"failure-domain.beta.kubernetes.io/zone",
		"topology.kubernetes.io/region",
		"topology.kubernetes.io/zone",
	};
	auto_free char *domain = strndup(key, strcspn(key, "/"));

	if (!domain || !strchr(key, '/'))
		return domain;
	for (size_t i = 0; i < ARRAY_LEN(exact); i++)
		if (strcmp(key, exact[i]) == 0)
			return true;
	if (strcmp(domain, "kubelet.kubernetes.io") == 0 ||
	    str_ends(domain, ".kubelet.kubernetes.io") ||
	    strcmp(domain, "node.kubernetes.io") == 0 ||
	    str_ends(domain, ".node.kubernetes.io"))
		return true;
	return strcmp(domain, "kubernetes.io") != 0 &&
	       !str_ends(domain, ".kubernetes.io") &&
	       strcmp(domain, "k8s.io") != 0 && !str_ends(domain, ".k8s.io");
}

/* Labels of @x that @y has not, or has otherwise. */
static int check_labels(struct admission *a, const char *node,
			yyjson_mut_val *x, yyjson_mut_val *y)
{
	yyjson_mut_val *labels = mut_get(x, "metadata.labels"), *k, *v;
	yyjson_mut_val *others = mut_get(y, "metadata.labels");
	size_t i, max;

	yyjson_mut_obj_foreach(labels, i, max, k, v)
	{
		const char *key = yyjson_mut_get_str(k);
		yyjson_mut_val *other = yyjson_mut_obj_get(others, key);

		if ((other && mut_equal(v, other)) || label_is_free(key))
			continue;
		return admission_forbid(a,
					"node \"%s\" is not allowed to modify "
					"labels: %s",
					node, key);
	}
	return 0;
}

static int check_node(struct admission *a, const char *node)
{
	int r;

	if (strcmp(a->name, node) != 0)
		return admission_forbid(a,
					"node \"%s\" is not allowed to modify "
					"node \"%s\"",
					node, a->name);
	if (a->op == ADMIT_DELETE)
		return admission_forbid(a,
					"node \"%s\" is not allowed to delete "
					"itself",
					node);
	if (!same(a, "metadata.ownerReferences"))
		return admission_forbid(a,
					"node \"%s\" is not allowed to modify "
					"ownerReferences",
					node);
	if (a->op == ADMIT_UPDATE && !same(a, "spec.taints"))
		return admission_forbid(a,
					"node \"%s\" is not allowed to modify "
					"taints",
					node);
	r = check_labels(a, node, a->obj, a->old);
	return r < 0 ? r : check_labels(a, node, a->old, a->obj);
}

/* --- the rest --- */

static int check_name(struct admission *a, const char *node)
{
	if (strcmp(a->name, node) == 0)
		return 0;
	return admission_forbid(a,
				"node \"%s\" is not allowed to change %s of "
				"another node",
				node, a->type->plural);
}

/* About itself, or about a pod it has, or had. */
static int check_event(struct admission *a, const char *node)
{
	bool v1 = !*a->type->group;
	yyjson_mut_val *ref =
		mut_get(a->obj, v1 ? "involvedObject" : "regarding");
	const char *kind = mut_str(ref, "kind"), *name = mut_str(ref, "name");
	auto_buf struct buf key = BUF_INIT;
	auto_ptr(object_bytes) pod = NULL;

	if (!a->obj || !kind || !name)
		return 0;
	if (strcmp(kind, "Node") == 0 && strcmp(name, node) == 0)
		return 0;
	if (strcmp(kind, "Pod") != 0)
		return admission_forbid(a,
					"node \"%s\" can only tell of itself "
					"and of its pods",
					node);
	buf_printf(&key, "core/pods/%s/%s/%s", a->tenant, a->namespace, name);
	pod = store_get(a->api->store, buf_str(&key));
	if (!pod || str_eq(object_tag(pod, "f:spec.nodeName"), node))
		return 0;
	return admission_forbid(a,
				"node \"%s\" can only tell of pods bound to it",
				node);
}

/* Those for it: and of them, only what became of them. */
static int check_action(struct admission *a, const char *node)
{
	if (a->op == ADMIT_UPDATE && strcmp(a->subresource, "status") == 0 &&
	    str_eq(mut_str(a->old, "spec.nodeName"), node))
		return 0;
	return admission_forbid(a,
				"node \"%s\" can only update the status of "
				"actions with spec.nodeName set to itself",
				node);
}

/* For a pod bound to it, and for as long as that very pod is there. */
static int check_token(struct admission *a, const char *node)
{
	yyjson_mut_val *ref = mut_get(a->obj, "spec.boundObjectRef");
	const char *kind = mut_str(ref, "kind"), *name = mut_str(ref, "name");
	const char *uid = mut_str(ref, "uid");
	auto_ptr(object_bytes) pod = NULL;

	if (!str_eq(kind, "Pod") || !name || !uid || !*uid)
		return admission_forbid(a,
					"node requested token not bound to a "
					"pod, with its name and its UID");
	pod = node_pod(a->api, node, a->tenant, a->namespace, name);
	if (!pod)
		return admission_forbid(a,
					"node requested token bound to a pod "
					"scheduled on a different node");
	return 0;
}

static int validate(struct admission *a)
{
	const char *node = user_node(a->user);

	if (!node) {
		/* Whoever is called a node without being one is nobody. */
		if (user_is_system(a->user) &&
		    user_in_group(a->user, "system:nodes"))
			return admission_forbid(a,
						"user \"%s\" is in the group "
						"system:nodes, but its name is "
						"no node's",
						a->user->name);
		return 0;
	}
	if (admission_is(a, "", "pods"))
		return check_pod(a, node);
	if (admission_is(a, "", "serviceaccounts"))
		return check_token(a, node);
	if (admission_is(a, "", "actions"))
		return check_action(a, node);
	if (admission_is(a, "", "nodes"))
		return check_node(a, node);
	if (admission_is(a, "coordination.k8s.io", "leases") ||
	    admission_is(a, "storage.k8s.io", "csinodes"))
		return check_name(a, node);
	if (admission_is(a, "", "events") ||
	    admission_is(a, "events.k8s.io", "events"))
		return check_event(a, node);
	return 0;
}

const struct admission_plugin admission_node_restriction = {
	.name = "NodeRestriction",
	.ops = ADMIT_CREATE | ADMIT_UPDATE | ADMIT_DELETE,
	.validate = validate,
};

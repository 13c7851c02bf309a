// SPDX-License-Identifier: Apache-2.0
/*
 * What a user may do. First the wall: a tenant's user reaches nothing of
 * another tenant and nothing of the cluster, whatever any role says. Then
 * RBAC inside the user's own tenant.
 */
#include "controlplane/apiserver/authz/node.h"
#include "controlplane/apiserver/internal.h"
#include "lib/json.h"
#include "lib/str.h"

static bool list_has(yyjson_val *list, const char *want)
{
	yyjson_arr_iter it = yyjson_arr_iter_with(list);
	yyjson_val *v;

	while ((v = yyjson_arr_iter_next(&it))) {
		const char *s = yyjson_get_str(v);

		if (s && (strcmp(s, "*") == 0 || str_eq(s, want)))
			return true;
	}
	return false;
}

static bool resource_matches(yyjson_val *list, const struct access *a)
{
	yyjson_arr_iter it = yyjson_arr_iter_with(list);
	yyjson_val *v;

	while ((v = yyjson_arr_iter_next(&it))) {
		const char *s = yyjson_get_str(v);
		const char *slash = s ? strchr(s, '/') : NULL;

		if (!s)
			continue;
		if (strcmp(s, "*") == 0)
			return true;
		if (!slash) {
			if (!a->subresource && str_eq(s, a->resource))
				return true;
			continue;
		}
		if (!a->subresource || strcmp(slash + 1, a->subresource))
			continue;
		if ((slash - s == 1 && *s == '*') ||
		    (strlen(a->resource) == (size_t)(slash - s) &&
		     strncmp(s, a->resource, slash - s) == 0))
			return true;
	}
	return false;
}

static bool path_matches(yyjson_val *list, const char *path)
{
	yyjson_arr_iter it = yyjson_arr_iter_with(list);
	yyjson_val *v;

	while ((v = yyjson_arr_iter_next(&it))) {
		const char *s = yyjson_get_str(v);
		size_t n = s ? strlen(s) : 0;

		if (!n)
			continue;
		if (s[n - 1] == '*' ? strncmp(s, path, n - 1) == 0
				    : strcmp(s, path) == 0)
			return true;
	}
	return false;
}

static bool rule_allows(yyjson_val *rule, const struct access *a)
{
	yyjson_val *names = yyjson_obj_get(rule, "resourceNames");

	if (!list_has(yyjson_obj_get(rule, "verbs"), a->verb))
		return false;
	if (a->path)
		return path_matches(yyjson_obj_get(rule, "nonResourceURLs"),
				    a->path);
	return list_has(yyjson_obj_get(rule, "apiGroups"), a->group) &&
	       resource_matches(yyjson_obj_get(rule, "resources"), a) &&
	       (!yyjson_arr_size(names) ||
		(a->name && list_has(names, a->name)));
}

static bool role_allows(struct api *api, const char *key,
			const struct access *a)
{
	auto_ptr(object_bytes) o = store_get(api->store, key);
	yyjson_doc *doc = o ? yyjson_read(o->data, o->len, 0) : NULL;
	yyjson_arr_iter it = yyjson_arr_iter_with(
		yyjson_obj_get(yyjson_doc_get_root(doc), "rules"));
	bool allowed = false;
	yyjson_val *rule;

	while (!allowed && (rule = yyjson_arr_iter_next(&it)))
		allowed = rule_allows(rule, a);
	yyjson_doc_free(doc);
	return allowed;
}

static bool subject_is(yyjson_val *s, const char *ns, const struct user *u)
{
	const char *kind = yyjson_get_str(yyjson_obj_get(s, "kind"));
	const char *name = yyjson_get_str(yyjson_obj_get(s, "name"));
	const char *space = yyjson_get_str(yyjson_obj_get(s, "namespace"));

	if (!kind || !name)
		return false;
	if (strcmp(kind, "User") == 0)
		return strcmp(u->name, name) == 0;
	if (strcmp(kind, "Group") == 0)
		return user_in_group(u, name);
	if (strcmp(kind, "ServiceAccount") == 0) {
		auto_free char *full = str_printf("system:serviceaccount:%s:%s",
						  space ? space : ns, name);

		return full && strcmp(u->name, full) == 0;
	}
	return false;
}

static bool binding_allows(struct api *api, const struct object_bytes *o,
			   const char *ns, const struct user *u,
			   const struct access *a)
{
	yyjson_doc *doc = yyjson_read((char *)o->data, o->len, 0);
	yyjson_val *root = yyjson_doc_get_root(doc), *s;
	yyjson_val *ref = yyjson_obj_get(root, "roleRef");
	const char *kind = yyjson_get_str(yyjson_obj_get(ref, "kind"));
	const char *name = yyjson_get_str(yyjson_obj_get(ref, "name"));
	yyjson_arr_iter it =
		yyjson_arr_iter_with(yyjson_obj_get(root, "subjects"));
	auto_buf struct buf key = BUF_INIT;
	bool bound = false;

	while (!bound && (s = yyjson_arr_iter_next(&it)))
		bound = subject_is(s, ns, u);
	if (bound && kind && name) {
		/* Roles are the user's own tenant's, like the bindings. */
		if (strcmp(kind, "ClusterRole") == 0)
			buf_printf(&key,
				   "rbac.authorization.k8s.io/clusterroles/%s//"
				   "%s",
				   u->tenant, name);
		else
			buf_printf(&key,
				   "rbac.authorization.k8s.io/roles/%s/%s/%s",
				   u->tenant, ns, name);
		bound = role_allows(api, buf_str(&key), a);
	} else {
		bound = false;
	}
	yyjson_doc_free(doc);
	return bound;
}

static bool bindings_allow(struct api *api, const char *prefix, const char *ns,
			   const struct user *u, const struct access *a)
{
	struct store_range range = { .prefix = prefix };
	struct store_list list;
	bool allowed = false;

	if (store_list(api->store, &range, &list, NULL) < 0)
		return false;
	for (size_t i = 0; i < list.nr && !allowed; i++)
		allowed = binding_allows(api, list.v[i], ns, u, a);
	store_list_clear(&list);
	return allowed;
}

/* What a tenant's user may do outside of the tenant: look, at little. */
static bool beyond_tenant(const struct user *u, const struct access *a)
{
	bool reads = str_eq(a->verb, "get") || str_eq(a->verb, "list") ||
		     str_eq(a->verb, "watch");

	if (str_eq(a->group, "scheduling.k8s.io"))
		return reads;
	if (str_eq(a->group, "authorization.k8s.io") ||
	    str_eq(a->group, "authentication.k8s.io"))
		return str_starts(a->resource, "selfsubject") &&
		       str_eq(a->verb, "create");
	return str_eq(a->resource, "tenants") && str_eq(a->verb, "get") &&
	       !a->subresource && str_eq(a->name, u->tenant);
}

bool access_allowed(struct api *api, const struct user *u,
		    const struct access *a)
{
	bool system = strcmp(u->tenant, SYSTEM) == 0;
	const char *node = user_node(u);
	auto_buf struct buf prefix = BUF_INIT;

	if (!system && !a->path) {
		if (a->cluster)
			return beyond_tenant(u, a);
		if (!str_eq(a->tenant, u->tenant))
			return false;
	}
	if (system && user_in_group(u, "system:masters"))
		return true;
	if (node && node_allowed(api, node, a))
		return true;
	if (str_starts(a->resource ? a->resource : "", "selfsubject") &&
	    str_eq(a->verb, "create"))
		return true;
	buf_printf(&prefix, "rbac.authorization.k8s.io/clusterrolebindings/%s/",
		   u->tenant);
	if (bindings_allow(api, buf_str(&prefix), "", u, a))
		return true;
	if (a->path || !a->namespace)
		return false;
	buf_reset(&prefix);
	buf_printf(&prefix, "rbac.authorization.k8s.io/rolebindings/%s/%s/",
		   u->tenant, a->namespace);
	return bindings_allow(api, buf_str(&prefix), a->namespace, u, a);
}

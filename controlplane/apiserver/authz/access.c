// SPDX-License-Identifier: Apache-2.0
/*
 * What a user may do. First the wall: a tenant's user reaches nothing of
 * another tenant and nothing of the cluster, whatever any role says. Then the
 * node's rules, then RBAC inside the user's own tenant.
 */
#include "controlplane/apiserver/authz/access.h"
#include "controlplane/apiserver/authz/node.h"
#include "controlplane/apiserver/authz/rbac.h"
#include "controlplane/apiserver/internal.h"
#include "lib/str.h"

static bool asks_about_itself(const struct access *a)
{
	return a->resource && str_starts(a->resource, "selfsubject") &&
	       (str_eq(a->group, "authorization.k8s.io") ||
		str_eq(a->group, "authentication.k8s.io")) &&
	       str_eq(a->verb, "create");
}

/* Questions that are answered inside of the tenant of who asks. */
static bool is_review(const struct access *a)
{
	return (str_eq(a->group, "authentication.k8s.io") &&
		str_eq(a->resource, "tokenreviews")) ||
	       (str_eq(a->group, "authorization.k8s.io") &&
		str_eq(a->resource, "subjectaccessreviews"));
}

/* What a tenant's user may do outside of the tenant: look, at little. */
static bool beyond_tenant(const struct user *u, const struct access *a)
{
	bool reads = str_eq(a->verb, "get") || str_eq(a->verb, "list") ||
		     str_eq(a->verb, "watch");

	if (str_eq(a->group, "scheduling.k8s.io") ||
	    str_eq(a->group, "node.k8s.io"))
		return reads;
	return str_eq(a->resource, "tenants") && str_eq(a->verb, "get") &&
	       !*a->group && !a->subresource && str_eq(a->name, u->tenant);
}

bool access_allowed(struct api *api, const struct user *u,
		    const struct access *a)
{
	bool system = user_is_system(u);
	const char *node = user_node(u);

	if (asks_about_itself(a))
		return true;
	if (!system && !a->path && a->cluster && !is_review(a))
		return beyond_tenant(u, a);
	if (!system && !a->path && !a->cluster && !str_eq(a->tenant, u->tenant))
		return false;
	if (system && user_in_group(u, "system:masters"))
		return true;
	if (node && node_allowed(api, node, a))
		return true;
	return rbac_allows(api, u, a);
}

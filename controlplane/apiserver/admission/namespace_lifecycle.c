// SPDX-License-Identifier: Apache-2.0
/*
 * NamespaceLifecycle and TenantExists: nothing is created in a namespace or
 * tenant that is not there or is ending, also not by one who comes in the same
 * moment: the transaction holds on to what was looked at. What a tenant is
 * born with stays as long as the tenant.
 */
#include <errno.h>

#include "controlplane/apiserver/admission/plugins.h"
#include "controlplane/apiserver/write.h"
#include "lib/str.h"

static int check_space(struct admission *a)
{
	bool ns = a->type->scope == SCOPE_NAMESPACED;
	const char *what = ns ? "namespaces" : "tenants";
	const char *name = ns ? a->namespace : a->tenant;
	struct write *w = a->write;
	auto_ptr(object_bytes) o = NULL;

	if (a->type->scope == SCOPE_CLUSTER || !w)
		return 0;
	buf_reset(&w->space_key);
	if (ns)
		buf_printf(&w->space_key, "core/namespaces/%s//%s", a->tenant,
			   name);
	else
		buf_printf(&w->space_key, "core/tenants///%s", name);
	o = store_get(a->api->store, buf_str(&w->space_key));
	if (!o) {
		a->req->route.plural = what;
		a->req->route.group = "";
		a->req->route.name = NULL;
		return admission_refuse(a, 404, "NotFound",
					"%s \"%s\" not found", what, name);
	}
	if (str_eq(object_tag(o, "f:status.phase"), "Terminating"))
		return admission_forbid(
			a,
			"unable to create new content in %s %s because it is "
			"being terminated",
			ns ? "namespace" : "tenant", name);
	w->own_ops[1] = (struct store_op){ .key = buf_str(&w->space_key),
					   .check = true,
					   .expect = STORE_MATCH,
					   .revision = o->revision };
	return 0;
}

static int check_immortal(struct admission *a)
{
	static const char *const names[] = { "default", "kube-system",
					     "kube-public" };
	bool system = strcmp(a->tenant, SYSTEM) == 0;
	auto_buf struct buf key = BUF_INIT;
	auto_ptr(object_bytes) tenant = NULL;

	if (admission_is(a, "", "tenants") && strcmp(a->name, SYSTEM) == 0)
		return admission_forbid(a, "this tenant may not be deleted");
	if (!admission_is(a, "", "namespaces"))
		return 0;
	buf_printf(&key, "core/tenants///%s", a->tenant);
	tenant = store_get(a->api->store, buf_str(&key));
	if (tenant &&
	    str_eq(object_tag(tenant, "f:status.phase"), "Terminating"))
		return 0;
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (strcmp(a->name, names[i]) == 0)
			return admission_refuse(
				a, 403, "Forbidden",
				"namespaces \"%s%s%s\" is forbidden: this "
				"namespace may not be deleted",
				system ? "" : a->tenant, system ? "" : "/",
				a->name);
	return 0;
}

static int mutate(struct admission *a)
{
	if (a->op == ADMIT_DELETE)
		return check_immortal(a);
	return check_space(a);
}

const struct admission_plugin admission_namespace_lifecycle = {
	.name = "NamespaceLifecycle",
	.ops = ADMIT_CREATE | ADMIT_DELETE,
	.mutate = mutate,
};

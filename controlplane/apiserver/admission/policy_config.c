// SPDX-License-Identifier: Apache-2.0
/* Policies and bindings themselves: who may make them read what as parameters,
 * and how many a tenant may have. */
#include <stdio.h>

#include "controlplane/apiserver/admission/plugins.h"
#include "controlplane/apiserver/admission/policy.h"
#include "controlplane/apiserver/internal.h"
#include "lib/str.h"

/* May the user read all that an expression is to read? */
static bool may_read(struct admission *a, const char *api_version,
		     const char *kind, const char *name, const char *ns)
{
	auto_ptr(type_set) set = NULL;
	const struct type *t = NULL;
	const char *slash = api_version ? strchr(api_version, '/') : NULL;
	auto_free char *group = strndup(api_version ? api_version : "*",
					!api_version ? 1
					: slash      ? slash - api_version
						     : 0);
	struct access access = {
		.verb = "get",
		.group = group ? group : "*",
		.resource = "*",
		.name = name,
		.namespace = ns,
		.tenant = a->tenant,
	};

	if (api_version && kind)
		t = policy_param_type(a->api, a->tenant, api_version, kind,
				      &set);
	if (t) {
		access.resource = t->plural;
		access.cluster = t->scope == SCOPE_CLUSTER;
	}
	return access_allowed(a->api, a->user, &access);
}

static int check_policy(struct admission *a)
{
	yyjson_mut_val *kind = mut_get(a->obj, "spec.paramKind");
	const char *version = mut_str(kind, "apiVersion");
	const char *name = mut_str(kind, "kind");

	if (!kind || mut_equal(kind, mut_get(a->old, "spec.paramKind")) ||
	    may_read(a, version ? version : "", name ? name : "", "*", "*"))
		return 0;
	return admission_forbid(a,
				"user %s must have \"get\" permission on all "
				"objects of the referenced paramKind "
				"(kind=%s, apiVersion=%s)",
				a->user->name, name, version);
}

static int check_binding(struct admission *a)
{
	yyjson_mut_val *ref = mut_get(a->obj, "spec.paramRef");
	const char *policy = mut_str(a->obj, "spec.policyName");
	const char *name = mut_str(ref, "name"),
		   *ns = mut_str(ref, "namespace");
	auto_buf struct buf key = BUF_INIT;
	auto_ptr(object_bytes) o = NULL;
	yyjson_doc *doc;
	yyjson_val *kind;
	bool may;

	if (!ref || (mut_equal(ref, mut_get(a->old, "spec.paramRef")) &&
		     str_eq(policy, mut_str(a->old, "spec.policyName"))))
		return 0;
	buf_printf(&key, POLICY_GROUP "/" POLICIES "/%s//%s", a->tenant,
		   policy ? policy : "");
	o = store_get(a->api->store, buf_str(&key));
	doc = object_doc(o);
	kind = yyjson_ptr_get(doc ? yyjson_doc_get_root(doc) : NULL,
			      "/spec/paramKind");
	may = may_read(a, yyjson_get_str(yyjson_obj_get(kind, "apiVersion")),
		       yyjson_get_str(yyjson_obj_get(kind, "kind")),
		       name && *name ? name : NULL, ns && *ns ? ns : NULL);
	yyjson_doc_free(doc);
	return may ? 0
		   : admission_forbid(a,
				      "user %s does not have \"get\" "
				      "permission on the object referenced by "
				      "paramRef",
				      a->user->name);
}

static int check_number(struct admission *a)
{
	auto_free char *prefix =
		str_printf(POLICY_GROUP "/%s/%s//", a->type->plural, a->tenant);

	if (!prefix || store_count(a->api->store, prefix) < POLICIES_MAX)
		return 0;
	return admission_forbid(a, "a tenant may have %d %s: delete one first",
				POLICIES_MAX, a->type->plural);
}

/* Types are not looked at: there is nothing to be told of them. */
static void set_status(struct admission *a)
{
	mut_set_int(a->doc, a->obj, "status.observedGeneration",
		    mut_int(a->obj, "metadata.generation", 1));
	if (!mut_get(a->obj, "status.typeChecking"))
		mut_set(a->doc, a->obj, "status.typeChecking",
			yyjson_mut_obj(a->doc));
}

static int config_validate(struct admission *a)
{
	bool policy = admission_is(a, POLICY_GROUP, POLICIES);
	int r = 0;

	if ((!policy && !admission_is(a, POLICY_GROUP, POLICY_BINDINGS)) ||
	    *a->subresource)
		return 0;
	if (a->op == ADMIT_CREATE)
		r = check_number(a);
	if (r == 0)
		r = policy ? check_policy(a) : check_binding(a);
	if (r == 0 && policy)
		set_status(a);
	return r;
}

const struct admission_plugin admission_policy_config = {
	.name = "ValidatingAdmissionPolicyConfig",
	.ops = ADMIT_CREATE | ADMIT_UPDATE,
	.validate = config_validate,
};

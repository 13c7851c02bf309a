// SPDX-License-Identifier: Apache-2.0
/*
 * Nobody grants more than they have: a role's rules must be the user's own
 * (or the verb "escalate" is), and so must those of a role that is bound (or
 * the verb "bind" is). What a binding refers to never changes.
 */
#include <errno.h>
#include <stdio.h>

#include "controlplane/apiserver/admission/plugins.h"
#include "controlplane/apiserver/authz/access.h"
#include "controlplane/apiserver/authz/aggregate.h"
#include "controlplane/apiserver/authz/rbac.h"
#include "controlplane/apiserver/internal.h"
#include "lib/json.h"
#include "lib/str.h"

#define GROUP "rbac.authorization.k8s.io"

static bool may(struct admission *a, const char *verb, const char *resource,
		const char *ns, const char *name)
{
	struct access want = { .verb = verb,
			       .group = GROUP,
			       .resource = resource,
			       .namespace = ns,
			       .name = name,
			       .tenant = a->tenant };

	return access_allowed(a->api, a->user, &want);
}

/* Of another tenant, the system's users grant what they like: they are let in
 * there by the system's own rules. */
static char *lacks(struct admission *a, const char *ns, yyjson_val *rules)
{
	if (user_is_system(a->user) && strcmp(a->tenant, SYSTEM) != 0)
		return NULL;
	return rbac_lacks(a->api, a->user, ns, rules);
}

static int refuse(struct admission *a, const char *what)
{
	return admission_forbid(a,
				"user \"%s\" is attempting to grant RBAC "
				"permissions not currently held: %s",
				a->user->name, what);
}

static int check_role(struct admission *a, const char *ns)
{
	auto_buf struct buf text = BUF_INIT;
	auto_free char *missing = NULL;
	yyjson_mut_val *rules = mut_get(a->obj, "rules");
	yyjson_mut_val *parts = mut_get(a->obj, "aggregationRule");
	static const char all[] =
		"[{\"verbs\":[\"*\"],\"apiGroups\":[\"*\"],\"resources\":["
		"\"*\"]},{\"verbs\":[\"*\"],\"nonResourceURLs\":[\"*\"]}]";
	yyjson_doc *doc;

	if (a->old && mut_equal(rules, mut_get(a->old, "rules")) &&
	    mut_equal(parts, mut_get(a->old, "aggregationRule")))
		return 0;
	if (may(a, "escalate", a->type->plural, ns, a->name))
		return 0;
	/* One made of others may come to allow anything. */
	if (parts)
		buf_puts(&text, all);
	else if (!rules || json_write_mut(rules, false, &text))
		return 0;
	doc = yyjson_read(buf_str(&text), text.len, 0);
	missing = lacks(a, ns, yyjson_doc_get_root(doc));
	yyjson_doc_free(doc);
	return missing ? refuse(a, missing) : 0;
}

/* All rules of the role, its parts' included, as one list. */
static yyjson_doc *role_rules(struct admission *a, const char *kind,
			      const char *ns, const char *name)
{
	bool cluster = strcmp(kind, "ClusterRole") == 0;
	auto_free char *key = str_printf(GROUP "/%s/%s/%s/%s",
					 cluster ? "clusterroles" : "roles",
					 a->tenant, cluster ? "" : ns, name);
	auto_ptr(object_bytes) o = key ? store_get(a->api->store, key) : NULL;

	return object_doc(o);
}

static int check_binding(struct admission *a, const char *ns)
{
	const char *kind = mut_str(a->obj, "roleRef.kind");
	const char *name = mut_str(a->obj, "roleRef.name");
	auto_free char *missing = NULL;
	yyjson_doc *doc;
	int r = 0;

	if (!kind || !name)
		return 0;
	if (a->old &&
	    !mut_equal(mut_get(a->obj, "roleRef"), mut_get(a->old, "roleRef")))
		return admission_refuse(a, 422, "Invalid",
					"%s." GROUP
					" \"%s\" is invalid: roleRef: Invalid "
					"value: cannot change roleRef",
					a->type->kind, a->name);
	if (a->old &&
	    mut_equal(mut_get(a->obj, "subjects"), mut_get(a->old, "subjects")))
		return 0;
	if (may(a, "bind",
		strcmp(kind, "ClusterRole") ? "roles" : "clusterroles", ns,
		name))
		return 0;
	doc = role_rules(a, kind, ns ? ns : "", name);
	if (yyjson_obj_get(doc ? yyjson_doc_get_root(doc) : NULL,
			   "aggregationRule")) {
		/* Its rules as they are now, not as they were written down. */
		yyjson_doc_free(doc);
		(void)aggregate_roles(a->api, a->tenant, NULL);
		doc = role_rules(a, kind, ns ? ns : "", name);
	}
	if (!doc) {
		/* Of a role that will come, nobody knows what it allows. */
		r = user_is_system(a->user) &&
				    user_in_group(a->user, "system:masters")
			    ? 0
			    : admission_refuse(a, 404, "NotFound",
					       "%s." GROUP " \"%s\" not found",
					       strcmp(kind, "ClusterRole")
						       ? "roles"
						       : "clusterroles",
					       name);
	} else {
		missing = lacks(a, ns,
				yyjson_obj_get(yyjson_doc_get_root(doc),
					       "rules"));
		r = missing ? refuse(a, missing) : 0;
	}
	yyjson_doc_free(doc);
	return r;
}

static int validate(struct admission *a)
{
	const char *ns = *a->namespace ? a->namespace : NULL;

	if (strcmp(a->type->group, GROUP) != 0)
		return 0;
	if (admission_is(a, GROUP, "roles") ||
	    admission_is(a, GROUP, "clusterroles"))
		return check_role(a, ns);
	return check_binding(a, ns);
}

const struct admission_plugin admission_rbac = {
	.name = "RBACEscalation",
	.ops = ADMIT_CREATE | ADMIT_UPDATE,
	.validate = validate,
};

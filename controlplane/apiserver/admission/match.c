// SPDX-License-Identifier: Apache-2.0
#include "controlplane/apiserver/admission/plugins.h"
#include "controlplane/apiserver/admission/match.h"
#include "controlplane/apiserver/authz/rbac.h"
#include "controlplane/apiserver/internal.h"
#include "lib/str.h"

static bool has(yyjson_val *list, const char *want)
{
	yyjson_val *v;
	size_t i, max;

	yyjson_arr_foreach(list, i, max, v)
	{
		if (yyjson_equals_str(v, "*") || yyjson_equals_str(v, want))
			return true;
	}
	return false;
}

/* "pods", "pods/status", "pods/\*", "*", "*\/\*", "*\/status". */
static bool resource_fits(const char *s, const char *plural, const char *sub)
{
	const char *slash = strchr(s, '/');
	size_t n = slash ? (size_t)(slash - s) : strlen(s);

	if (!(n == 1 && *s == '*') &&
	    (strlen(plural) != n || strncmp(s, plural, n) != 0))
		return false;
	if (!slash)
		return !*sub;
	return strcmp(slash + 1, "*") == 0 || strcmp(slash + 1, sub) == 0;
}

static bool name_fits(const struct admission *a, yyjson_val *names)
{
	yyjson_val *v;
	size_t i, max;

	yyjson_arr_foreach(names, i, max, v)
	{
		if (yyjson_equals_str(v, a->name))
			return true;
	}
	return !yyjson_arr_size(names);
}

/* Is the request, were it made of version @t, meant by the rule? */
static bool rule_fits(const struct admission *a, const struct type *t,
		      yyjson_val *rule)
{
	static const char *const ops[] = { "CREATE", "UPDATE", "DELETE",
					   "CONNECT" };
	const char *scope = yyjson_get_str(yyjson_obj_get(rule, "scope"));
	bool namespaced = t->scope == SCOPE_NAMESPACED, found = false;
	yyjson_val *v;
	size_t i, max, op = 0;

	while (op < 3 && !(a->op & 1u << op))
		op++;
	if (!has(yyjson_obj_get(rule, "operations"), ops[op]) ||
	    !has(yyjson_obj_get(rule, "apiGroups"), t->group) ||
	    !has(yyjson_obj_get(rule, "apiVersions"), t->version))
		return false;
	if (scope && strcmp(scope, "*") != 0 &&
	    (strcmp(scope, "Namespaced") == 0) != namespaced)
		return false;
	yyjson_arr_foreach(yyjson_obj_get(rule, "resources"), i, max, v)
	{
		const char *s = yyjson_get_str(v);

		found |= s && resource_fits(s, t->plural, a->subresource);
	}
	return found && name_fits(a, yyjson_obj_get(rule, "resourceNames"));
}

static bool any_rule_fits(const struct admission *a, const struct type *t,
			  yyjson_val *rules)
{
	yyjson_val *rule;
	size_t i, max;

	yyjson_arr_foreach(rules, i, max, rule)
	{
		if (rule_fits(a, t, rule))
			return true;
	}
	return false;
}

/* The version of the request's type that the rules are about; NULL: none. */
static const struct type *fitting(const struct admission *a, yyjson_val *rules,
				  bool exact)
{
	const struct type_set *set =
		a->type->custom && a->types ? a->types : a->api->types;

	if (any_rule_fits(a, a->type, rules))
		return a->type;
	for (size_t i = 0; !exact && i < set->nr; i++) {
		const struct type *t = &set->types[i];

		if (t != a->type && type_stored(t) == type_stored(a->type) &&
		    any_rule_fits(a, t, rules))
			return t;
	}
	return NULL;
}

static bool labels_fit(yyjson_val *selector, yyjson_mut_val *obj)
{
	yyjson_mut_val *labels = mut_get(obj, "metadata.labels");
	yyjson_doc *doc =
		labels ? yyjson_mut_val_imut_copy(labels, NULL) : NULL;
	bool fits =
		rbac_selects(selector, doc ? yyjson_doc_get_root(doc) : NULL);

	yyjson_doc_free(doc);
	return fits;
}

static bool namespace_fits(const struct admission *a, yyjson_val *selector)
{
	auto_buf struct buf key = BUF_INIT;
	auto_ptr(object_bytes) o = NULL;
	yyjson_doc *doc;
	bool fits;

	if (!yyjson_obj_size(selector))
		return true;
	if (admission_is(a, "", "namespaces"))
		return labels_fit(selector, a->obj ? a->obj : a->old);
	if (a->type->scope != SCOPE_NAMESPACED)
		return true;
	buf_printf(&key, "core/namespaces/%s//%s", a->tenant, a->namespace);
	o = store_get(a->api->store, buf_str(&key));
	doc = object_doc(o);
	fits = rbac_selects(selector,
			    yyjson_ptr_get(doc ? yyjson_doc_get_root(doc)
					       : NULL,
					   "/metadata/labels"));
	yyjson_doc_free(doc);
	return fits;
}

/* As it is, or as it was. */
static bool object_fits(const struct admission *a, yyjson_val *selector)
{
	return !yyjson_obj_size(selector) ||
	       (a->obj && labels_fit(selector, a->obj)) ||
	       (a->old && labels_fit(selector, a->old));
}

bool match_tenant(const struct admission *a, yyjson_val *config)
{
	const char *list = yyjson_get_str(
		yyjson_obj_get(yyjson_ptr_get(config, "/metadata/annotations"),
			       "arktos.futurewei.com/tenants"));

	if (!list)
		return true;
	while (*list) {
		size_t n = strcspn(list, ", ");

		if (n && n == strlen(a->tenant) &&
		    strncmp(list, a->tenant, n) == 0)
			return true;
		list += n + (list[n] != '\0');
	}
	return false;
}

bool match_webhook(const struct admission *a, yyjson_val *config,
		   yyjson_val *hook)
{
	return fitting(a, yyjson_obj_get(hook, "rules"), true) &&
	       match_tenant(a, config) &&
	       namespace_fits(a, yyjson_obj_get(hook, "namespaceSelector")) &&
	       object_fits(a, yyjson_obj_get(hook, "objectSelector"));
}

const struct type *match_resources(const struct admission *a,
				   yyjson_val *resources)
{
	bool exact = yyjson_equals_str(yyjson_obj_get(resources, "matchPolicy"),
				       "Exact");
	yyjson_val *rules = yyjson_obj_get(resources, "resourceRules");
	const struct type *t = a->type;

	/* Labels are the costly ones: last. */
	if (yyjson_arr_size(rules))
		t = fitting(a, rules, exact);
	if (!t ||
	    fitting(a, yyjson_obj_get(resources, "excludeResourceRules"),
		    exact) ||
	    !namespace_fits(a,
			    yyjson_obj_get(resources, "namespaceSelector")) ||
	    !object_fits(a, yyjson_obj_get(resources, "objectSelector")))
		return NULL;
	return t;
}

// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <stdlib.h>

#include "controlplane/apiserver/audit/policy.h"
#include "controlplane/apiserver/authn/user.h"
#include "lib/err.h"
#include "lib/json.h"
#include "lib/str.h"
#include "lib/yaml.h"

#define RULES_MAX 1024

const char *const audit_levels[] = { "None", "Metadata", "Request",
				     "RequestResponse" };
const char *const audit_stages[] = { "RequestReceived", "ResponseStarted",
				     "ResponseComplete", "Panic" };

struct rule {
	enum audit_level level;
	unsigned int omit;
	bool omit_managed_fields;
	yyjson_val *val; /* lists are looked up in the document */
};

struct audit_policy {
	yyjson_doc *doc;
	struct rule *rules;
	size_t nr;
};

/* --- parsing --- */

static int parse_level(const struct json_ref *r, enum audit_level *ret,
		       struct err *e)
{
	const char *text = NULL;
	int res = json_str(r, &text, e);

	if (res < 0)
		return res;
	for (size_t i = 0; i < ARRAY_LEN(audit_levels); i++)
		if (strcmp(audit_levels[i], text) == 0) {
			*ret = (enum audit_level)i;
			return 0;
		}
	return err_set(e, -EINVAL,
		       "level: Unsupported value: \"%s\": want None, Metadata, "
		       "Request or RequestResponse",
		       text);
}

static int parse_stages(const struct json_ref *r, unsigned int *ret,
			struct err *e)
{
	int res = json_want_array(r, 8, e);

	if (res < 0)
		return res;
	json_for_each (it, r) {
		const char *text = NULL;
		size_t i;

		res = json_str(&it.item, &text, e);
		if (res < 0)
			return res;
		for (i = 0; i < ARRAY_LEN(audit_stages); i++)
			if (strcmp(audit_stages[i], text) == 0)
				break;
		if (i == ARRAY_LEN(audit_stages))
			return err_set(e, -EINVAL,
				       "omitStages: Unsupported value: \"%s\"",
				       text);
		*ret |= 1u << i;
	}
	return 0;
}

static int check_strings(const struct json_ref *up, const char *field,
			 struct err *e)
{
	struct json_ref list = json_get(up, field);
	int r = json_want_array(&list, 10000, e);

	if (r < 0)
		return r;
	json_for_each (it, &list) {
		const char *text;

		r = json_str(&it.item, &text, e);
		if (r < 0)
			return r;
	}
	return 0;
}

static int check_resources(const struct json_ref *rule, struct err *e)
{
	static const char *const known[] = { "group", "resources",
					     "resourceNames", NULL };
	struct json_ref list = json_get(rule, "resources");
	int r = json_want_array(&list, 10000, e);

	if (r < 0)
		return r;
	json_for_each (it, &list) {
		struct json_ref group = json_get(&it.item, "group");
		struct json_ref names = json_get(&it.item, "resourceNames");
		struct json_ref which = json_get(&it.item, "resources");
		const char *text = "";

		r = json_only(&it.item, known, e);
		if (r == 0)
			r = json_opt_str(&group, &text, e);
		if (r == 0)
			r = check_strings(&it.item, "resources", e);
		if (r == 0)
			r = check_strings(&it.item, "resourceNames", e);
		if (r == 0 && json_len(&names) && !json_len(&which))
			r = err_set(e, -EINVAL,
				    "resourceNames: using resourceNames "
				    "requires at least one resource");
		if (r < 0)
			return r;
	}
	return 0;
}

static int parse_rule(const struct json_ref *r, struct rule *ret, struct err *e)
{
	static const char *const known[] = { "level",      "users",
					     "userGroups", "verbs",
					     "resources",  "namespaces",
					     "tenants",    "nonResourceURLs",
					     "omitStages", "omitManagedFields",
					     NULL };
	static const char *const lists[] = { "users",   "userGroups",
					     "verbs",   "namespaces",
					     "tenants", "nonResourceURLs" };
	struct json_ref level = json_get(r, "level");
	struct json_ref stages = json_get(r, "omitStages");
	struct json_ref managed = json_get(r, "omitManagedFields");
	struct json_ref urls = json_get(r, "nonResourceURLs");
	int res = json_only(r, known, e);

	ret->val = r->val;
	if (res == 0)
		res = parse_level(&level, &ret->level, e);
	if (res == 0)
		res = parse_stages(&stages, &ret->omit, e);
	if (res == 0)
		res = json_opt_bool(&managed, &ret->omit_managed_fields, e);
	for (size_t i = 0; i < ARRAY_LEN(lists) && res == 0; i++)
		res = check_strings(r, lists[i], e);
	if (res == 0)
		res = check_resources(r, e);
	if (res == 0 && json_len(&urls) &&
	    (yyjson_arr_size(yyjson_obj_get(r->val, "resources")) ||
	     yyjson_arr_size(yyjson_obj_get(r->val, "namespaces"))))
		res = err_set(e, -EINVAL,
			      "nonResourceURLs: rules cannot apply to both "
			      "regular resources and non-resource URLs");
	return res;
}

static int parse(struct audit_policy *p, struct err *e)
{
	static const char *const known[] = { "apiVersion", "kind",
					     "metadata",   "rules",
					     "omitStages", "omitManagedFields",
					     NULL };
	struct json_ref root = json_root(p->doc);
	struct json_ref rules = json_get(&root, "rules");
	struct json_ref stages = json_get(&root, "omitStages");
	struct json_ref managed = json_get(&root, "omitManagedFields");
	struct json_ref kind = json_get(&root, "kind");
	struct json_ref version = json_get(&root, "apiVersion");
	const char *k = "", *v = "";
	bool omit_managed = false;
	unsigned int omit = 0;
	int r = json_only(&root, known, e);

	if (r == 0)
		r = json_opt_str(&kind, &k, e);
	if (r == 0)
		r = json_opt_str(&version, &v, e);
	if (r == 0 && (strcmp(k, "Policy") || strcmp(v, "audit.k8s.io/v1")))
		r = err_set(e, -EINVAL,
			    "want kind Policy of apiVersion audit.k8s.io/v1");
	if (r == 0)
		r = parse_stages(&stages, &omit, e);
	if (r == 0)
		r = json_opt_bool(&managed, &omit_managed, e);
	if (r == 0)
		r = json_want_array(&rules, RULES_MAX, e);
	if (r == 0 && !json_len(&rules))
		r = err_set(e, -EINVAL, "rules: there are none");
	p->rules = r == 0 ? calloc(json_len(&rules), sizeof(*p->rules)) : NULL;
	if (r == 0 && !p->rules)
		r = err_set(e, -ENOMEM, "out of memory");
	if (r < 0)
		return r;
	json_for_each (it, &rules) {
		struct rule *rule = &p->rules[p->nr++];

		rule->omit_managed_fields = omit_managed;
		r = parse_rule(&it.item, rule, e);
		rule->omit |= omit;
		if (r < 0)
			return err_wrap(e, r, "rules[%zu]", p->nr - 1);
	}
	return 0;
}

int audit_policy_parse(const char *text, size_t len, struct audit_policy **ret,
		       struct err *e)
{
	auto_ptr(audit_policy) p = calloc(1, sizeof(*p));
	struct yaml_docs docs = { 0 };
	int r = p ? yaml_to_json(text, len, &docs, e) : -ENOMEM;

	if (r == 0 && docs.nr != 1)
		r = err_set(e, -EINVAL, "want one document");
	if (r == 0)
		r = json_parse(docs.v[0].json, docs.v[0].len, &p->doc, e);
	yaml_docs_clear(&docs);
	if (r == 0)
		r = parse(p, e);
	if (r < 0)
		return r;
	*ret = take_ptr(p);
	return 0;
}

void audit_policy_free(struct audit_policy *p)
{
	if (!p)
		return;
	yyjson_doc_free(p->doc);
	free(p->rules);
	free(p);
}

/* --- asking --- */

static bool has(yyjson_val *list, const char *want)
{
	yyjson_val *v;
	size_t i, max;

	yyjson_arr_foreach(list, i, max, v)
	{
		if (want && strcmp(yyjson_get_str(v), want) == 0)
			return true;
	}
	return false;
}

/* An empty list says nothing. */
static bool fits(yyjson_val *rule, const char *field, const char *value)
{
	yyjson_val *list = yyjson_obj_get(rule, field);

	return !yyjson_arr_size(list) || has(list, value);
}

static bool fits_groups(yyjson_val *rule, const struct user *u)
{
	yyjson_val *list = yyjson_obj_get(rule, "userGroups");

	if (!yyjson_arr_size(list))
		return true;
	for (size_t i = 0; u && i < u->nr_groups; i++)
		if (has(list, u->groups[i]))
			return true;
	return false;
}

/* "pods", "pods/log"; either part may be a star, and a star alone is all. */
static bool is_resource(const char *pattern, const struct audit_attrs *a)
{
	const char *slash = strchr(pattern, '/');
	size_t n = slash ? (size_t)(slash - pattern) : strlen(pattern);
	bool any = n == 1 && *pattern == '*';

	if (!any &&
	    (strlen(a->resource) != n || strncmp(a->resource, pattern, n) != 0))
		return false;
	if (!slash)
		return any || !a->subresource;
	return a->subresource && (strcmp(slash, "/*") == 0 ||
				  strcmp(slash + 1, a->subresource) == 0);
}

static bool fits_resource(yyjson_val *rule, const struct audit_attrs *a)
{
	yyjson_val *list = yyjson_obj_get(rule, "resources"), *v, *s;
	size_t i, max, j, jmax;

	if (!a->resource ||
	    !fits(rule, "namespaces", a->namespace ? a->namespace : ""))
		return false;
	if (!yyjson_arr_size(list))
		return true;
	yyjson_arr_foreach(list, i, max, v)
	{
		const char *group = yyjson_get_str(yyjson_obj_get(v, "group"));
		yyjson_val *which = yyjson_obj_get(v, "resources");

		if (strcmp(group ? group : "", a->group ? a->group : "") != 0)
			continue;
		if (!yyjson_arr_size(which))
			return true;
		yyjson_arr_foreach(which, j, jmax, s)
		{
			if (is_resource(yyjson_get_str(s), a) &&
			    fits(v, "resourceNames", a->name))
				return true;
		}
	}
	return false;
}

static bool fits_path(yyjson_val *rule, const char *path)
{
	yyjson_val *list = yyjson_obj_get(rule, "nonResourceURLs"), *v;
	size_t i, max;

	if (!path)
		return false;
	yyjson_arr_foreach(list, i, max, v)
	{
		const char *s = yyjson_get_str(v);
		size_t n = strlen(s);

		if (n && s[n - 1] == '*' ? strncmp(s, path, n - 1) == 0
					 : strcmp(s, path) == 0)
			return true;
	}
	return false;
}

static bool rule_fits(yyjson_val *rule, const struct audit_attrs *a)
{
	if (!fits(rule, "users", a->user ? a->user->name : "") ||
	    !fits_groups(rule, a->user) || !fits(rule, "verbs", a->verb) ||
	    !fits(rule, "tenants", a->tenant))
		return false;
	if (yyjson_arr_size(yyjson_obj_get(rule, "namespaces")) ||
	    yyjson_arr_size(yyjson_obj_get(rule, "resources")))
		return fits_resource(rule, a);
	if (yyjson_arr_size(yyjson_obj_get(rule, "nonResourceURLs")))
		return fits_path(rule, a->path);
	return true;
}

struct audit_verdict audit_policy_ask(const struct audit_policy *p,
				      const struct audit_attrs *a)
{
	struct audit_verdict v = { .level = AUDIT_NONE };

	for (size_t i = 0; i < p->nr; i++) {
		const struct rule *r = &p->rules[i];

		if (!rule_fits(r->val, a))
			continue;
		v.level = r->level;
		v.omit = r->omit;
		v.omit_managed_fields = r->omit_managed_fields;
		break;
	}
	return v;
}

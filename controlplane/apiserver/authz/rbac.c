// SPDX-License-Identifier: Apache-2.0
#include <stdio.h>

#include "controlplane/apiserver/authz/access.h"
#include "controlplane/apiserver/authz/rbac.h"
#include "controlplane/apiserver/internal.h"
#include "controlplane/apiserver/kept.h"
#include "lib/json.h"
#include "lib/str.h"

#define GROUP "rbac.authorization.k8s.io/"

/* --- one rule --- */

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

bool rbac_rule_allows(yyjson_val *rule, const struct access *a)
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

/* --- a tenant's rules --- */

/* Rules that hold in one namespace, or (NULL) in all of the tenant. */
struct grant {
	char *ns;
	char *binding; /* what granted it, for people */
	yyjson_val *rules;
	struct grant *next; /* of the same subject */
};

struct policy {
	struct kept_head head;
	struct map docs;     /* key of a role -> yyjson_doc */
	struct map subjects; /* "U:name", "G:name" -> struct grant */
	yyjson_doc **held;
	size_t nr_held;
	char *binding; /* the one being added */
};

static void grant_free(void *arg)
{
	struct grant *g = arg, *next;

	for (; g; g = next) {
		next = g->next;
		free(g->ns);
		free(g->binding);
		free(g);
	}
}

static void policy_free(struct kept_head *head)
{
	struct policy *p = (struct policy *)head;

	map_clear(&p->subjects, grant_free);
	map_clear(&p->docs, NULL);
	for (size_t i = 0; i < p->nr_held; i++)
		yyjson_doc_free(p->held[i]);
	free(p->held);
	free(p->binding);
	free(p);
}

/* Parsed once, and held for as long as the policy. */
static yyjson_val *hold(struct policy *p, const struct object_bytes *o)
{
	yyjson_doc *doc = map_get(&p->docs, o->key);
	yyjson_doc **v;

	if (doc)
		return yyjson_doc_get_root(doc);
	doc = object_doc(o);
	if (!doc)
		return NULL;
	v = realloc(p->held, (p->nr_held + 1) * sizeof(*v));
	if (!v || map_set(&p->docs, o->key, doc, NULL)) {
		p->held = v ? v : p->held;
		yyjson_doc_free(doc);
		return NULL;
	}
	p->held = v;
	p->held[p->nr_held++] = doc;
	return yyjson_doc_get_root(doc);
}

static int grant(struct policy *p, const char *subject, const char *ns,
		 yyjson_val *rules)
{
	struct grant *g, *first = map_get(&p->subjects, subject);

	if (!yyjson_arr_size(rules))
		return 0;
	g = calloc(1, sizeof(*g));
	if (!g || (ns && str_set(&g->ns, ns)) ||
	    str_set(&g->binding, p->binding)) {
		if (g)
			grant_free(g);
		return -ENOMEM;
	}
	g->rules = rules;
	if (first) {
		g->next = first->next;
		first->next = g;
		return 0;
	}
	if (map_set(&p->subjects, subject, g, NULL)) {
		grant_free(g);
		return -ENOMEM;
	}
	return 0;
}

/* --- aggregation --- */

static bool values_have(yyjson_val *values, const char *s)
{
	yyjson_val *v;
	size_t i, max;

	yyjson_arr_foreach(values, i, max, v)
	{
		if (s && yyjson_equals_str(v, s))
			return true;
	}
	return false;
}

static bool expression_fits(yyjson_val *x, yyjson_val *labels)
{
	const char *op = yyjson_get_str(yyjson_obj_get(x, "operator"));
	const char *key = yyjson_get_str(yyjson_obj_get(x, "key"));
	const char *have =
		key ? yyjson_get_str(yyjson_obj_get(labels, key)) : NULL;
	yyjson_val *values = yyjson_obj_get(x, "values");

	if (str_eq(op, "In"))
		return have && values_have(values, have);
	if (str_eq(op, "NotIn"))
		return !have || !values_have(values, have);
	if (str_eq(op, "Exists"))
		return have;
	return str_eq(op, "DoesNotExist") && !have;
}

bool rbac_selects(yyjson_val *selector, yyjson_val *labels)
{
	yyjson_val *want = yyjson_obj_get(selector, "matchLabels"), *k, *v;
	size_t i, max;

	json_obj_foreach (want, i, max, k, v) {
		if (!str_eq(yyjson_get_str(v),
			    yyjson_get_str(
				    yyjson_obj_get(labels, yyjson_get_str(k)))))
			return false;
	}
	yyjson_arr_foreach(yyjson_obj_get(selector, "matchExpressions"), i, max,
			   v)
	{
		if (!expression_fits(v, labels))
			return false;
	}
	return true;
}

static int grant_role(struct api *api, struct policy *p, const char *tenant,
		      const char *subject, const char *ns, yyjson_val *role,
		      int depth);

/* A role that is made of others has their rules, whatever it says itself. */
static int grant_parts(struct api *api, struct policy *p, const char *tenant,
		       const char *subject, const char *ns, yyjson_val *role,
		       int depth)
{
	yyjson_val *selectors =
		yyjson_ptr_get(role, "/aggregationRule/clusterRoleSelectors");
	auto_free char *prefix = str_printf(GROUP "clusterroles/%s/", tenant);
	struct store_range range = { .prefix = prefix };
	struct store_list list;
	int r = 0;

	if (!prefix || depth > 8 ||
	    store_list(api->store, &range, &list, NULL) < 0)
		return -ENOMEM;
	for (size_t i = 0; i < list.nr && r == 0; i++) {
		yyjson_val *part = hold(p, list.v[i]), *sel;
		yyjson_val *labels = yyjson_ptr_get(part, "/metadata/labels");
		bool fits = false;
		size_t j, max;

		yyjson_arr_foreach(selectors, j, max, sel)
		{
			fits |= rbac_selects(sel, labels);
		}
		if (fits && part != role)
			r = grant_role(api, p, tenant, subject, ns, part,
				       depth + 1);
	}
	store_list_clear(&list);
	return r;
}

static int grant_role(struct api *api, struct policy *p, const char *tenant,
		      const char *subject, const char *ns, yyjson_val *role,
		      int depth)
{
	if (yyjson_obj_get(role, "aggregationRule"))
		return grant_parts(api, p, tenant, subject, ns, role, depth);
	return grant(p, subject, ns, yyjson_obj_get(role, "rules"));
}

/* --- bindings --- */

static char *subject_key(yyjson_val *s, const char *ns)
{
	const char *kind = yyjson_get_str(yyjson_obj_get(s, "kind"));
	const char *name = yyjson_get_str(yyjson_obj_get(s, "name"));
	const char *space = yyjson_get_str(yyjson_obj_get(s, "namespace"));

	if (!kind || !name)
		return NULL;
	if (strcmp(kind, "User") == 0)
		return str_printf("U:%s", name);
	if (strcmp(kind, "Group") == 0)
		return str_printf("G:%s", name);
	if (strcmp(kind, "ServiceAccount") == 0)
		return str_printf("U:" SA_USER "%s:%s",
				  space ? space
				  : ns  ? ns
					: "",
				  name);
	return NULL;
}

static int add_binding(struct api *api, struct policy *p, const char *tenant,
		       const struct object_bytes *o, bool cluster)
{
	yyjson_doc *doc = object_doc(o);
	yyjson_val *root = yyjson_doc_get_root(doc), *s, *role = NULL;
	yyjson_val *ref = yyjson_obj_get(root, "roleRef");
	const char *kind = yyjson_get_str(yyjson_obj_get(ref, "kind"));
	const char *name = yyjson_get_str(yyjson_obj_get(ref, "name"));
	const char *ns =
		cluster ? NULL
			: yyjson_get_str(
				  yyjson_ptr_get(root, "/metadata/namespace"));
	auto_free char *key = NULL;
	auto_ptr(object_bytes) stored = NULL;
	size_t i, max;
	int r = 0;

	/* Roles are of the binding's tenant, always. */
	if (name && str_eq(kind, "ClusterRole"))
		key = str_printf(GROUP "clusterroles/%s//%s", tenant, name);
	else if (name && str_eq(kind, "Role") && ns)
		key = str_printf(GROUP "roles/%s/%s/%s", tenant, ns, name);
	stored = key ? store_get(api->store, key) : NULL;
	if (stored)
		role = hold(p, stored);
	free(p->binding);
	p->binding =
		str_printf("%s \"%s%s%s\" of %s \"%s\"",
			   cluster ? "ClusterRoleBinding" : "RoleBinding",
			   strrchr(o->key, '/') + 1, ns ? "/" : "",
			   ns ? ns : "", kind ? kind : "", name ? name : "");
	yyjson_arr_foreach(yyjson_obj_get(root, "subjects"), i, max, s)
	{
		auto_free char *subject = role ? subject_key(s, ns) : NULL;

		if (subject && r == 0)
			r = grant_role(api, p, tenant, subject, ns, role, 0);
	}
	yyjson_doc_free(doc);
	return r;
}

static int add_bindings(struct api *api, struct policy *p, const char *tenant,
			bool cluster)
{
	auto_free char *prefix =
		str_printf(GROUP "%s/%s/",
			   cluster ? "clusterrolebindings" : "rolebindings",
			   tenant);
	struct store_range range = { .prefix = prefix };
	struct store_list list;
	int r = prefix ? store_list(api->store, &range, &list, NULL) : -ENOMEM;

	if (r < 0)
		return r;
	for (size_t i = 0; i < list.nr && r == 0; i++)
		r = add_binding(api, p, tenant, list.v[i], cluster);
	store_list_clear(&list);
	return r;
}

static struct kept_head *compile(struct api *api, const char *tenant)
{
	struct policy *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->head.free = policy_free;
	if (add_bindings(api, p, tenant, true) ||
	    add_bindings(api, p, tenant, false)) {
		policy_free(&p->head);
		return NULL;
	}
	return &p->head;
}

/* --- all tenants --- */

static struct policy *policy_get(struct api *api, const char *tenant)
{
	return kept_get(api->rbac, tenant);
}

int rbac_open(struct api *api, struct err *e)
{
	struct kept_opts opts = {
		.api = api,
		.prefixes = { GROUP "clusterroles/",
			      GROUP "clusterrolebindings/", GROUP "roles/",
			      GROUP "rolebindings/" },
		.nr_prefixes = 4,
		.make = compile,
	};

	return kept_open(&opts, &api->rbac, e);
}

void rbac_close(struct api *api)
{
	kept_close(api->rbac);
	api->rbac = NULL;
}

/* --- questions --- */

/* In Kubernetes' words. */
static void put_reason(struct buf *b, const struct grant *g, char kind,
		       const char *name)
{
	const char *rest = name + strlen(SA_USER);

	buf_printf(b, "RBAC: allowed by %s to ", g->binding);
	if (kind == 'U' && str_starts(name, SA_USER) && strchr(rest, ':'))
		buf_printf(b, "ServiceAccount \"%s/%.*s\"",
			   strchr(rest, ':') + 1, (int)strcspn(rest, ":"),
			   rest);
	else
		buf_printf(b, "%s \"%s\"", kind == 'U' ? "User" : "Group",
			   name);
}

static bool visit_subject(struct policy *p, char kind, const char *name,
			  const char *ns,
			  bool (*fn)(yyjson_val *rule, void *arg), void *arg,
			  struct buf *why)
{
	char key[320];
	struct grant *g;
	yyjson_val *rule;
	size_t i, max;

	if (strlen(name) > sizeof(key) - 3)
		return false;
	snprintf(key, sizeof(key), "%c:%s", kind, name);
	for (g = map_get(&p->subjects, key); g; g = g->next) {
		if (g->ns && !str_eq(g->ns, ns))
			continue;
		yyjson_arr_foreach(g->rules, i, max, rule)
		{
			if (!fn(rule, arg))
				continue;
			if (why)
				put_reason(why, g, kind, name);
			return true;
		}
	}
	return false;
}

static bool visit(struct api *api, const struct user *u, const char *ns,
		  bool (*fn)(yyjson_val *rule, void *arg), void *arg,
		  struct buf *why)
{
	struct policy *p = policy_get(api, u->tenant);
	bool found;

	if (!p)
		return false;
	found = visit_subject(p, 'U', u->name, ns, fn, arg, why);
	for (size_t i = 0; i < u->nr_groups && !found; i++)
		found = visit_subject(p, 'G', u->groups[i], ns, fn, arg, why);
	kept_unref(p);
	return found;
}

bool rbac_visit(struct api *api, const struct user *u, const char *ns,
		bool (*fn)(yyjson_val *rule, void *arg), void *arg)
{
	return visit(api, u, ns, fn, arg, NULL);
}

static bool allows(yyjson_val *rule, void *arg)
{
	return rbac_rule_allows(rule, arg);
}

bool rbac_allows(struct api *api, const struct user *u, const struct access *a)
{
	return visit(api, u, a->path ? NULL : a->namespace, allows, (void *)a,
		     a->reason);
}

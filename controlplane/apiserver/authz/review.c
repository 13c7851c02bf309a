// SPDX-License-Identifier: Apache-2.0
/* Types that are answered and not stored: who am I, may I, and certificates. */
#include <stdio.h>

#include "controlplane/apiserver/authn/authn.h"
#include "controlplane/apiserver/authz/access.h"
#include "controlplane/apiserver/authz/rbac.h"
#include "controlplane/apiserver/internal.h"
#include "lib/json.h"
#include "lib/str.h"

/* The request's object as a tree of its own; NULL: it has replied. */
static yyjson_mut_doc *body_tree(struct req *r)
{
	const struct type *t = r->route.type;
	struct field_errors errs = { .nr = 0 };
	struct path at = { .len = 0 };
	yyjson_doc *in = NULL;
	yyjson_mut_doc *doc;

	if (body_parse(r, &in) < 0)
		return NULL;
	doc = yyjson_doc_mut_copy(in, NULL);
	yyjson_doc_free(in);
	if (!doc || !yyjson_mut_is_obj(yyjson_mut_doc_get_root(doc)) ||
	    schema_default(t->schema, doc, yyjson_mut_doc_get_root(doc))) {
		yyjson_mut_doc_free(doc);
		reply_error(r, 400, "BadRequest", "the body is no object");
		return NULL;
	}
	schema_validate(t->schema, yyjson_mut_doc_get_root(doc), &at, &errs);
	if (errs.nr) {
		reply_invalid(r, t->kind, "", &errs);
		field_errors_clear(&errs);
		yyjson_mut_doc_free(doc);
		return NULL;
	}
	return doc;
}

static void reply_tree(struct req *r, yyjson_mut_doc *doc)
{
	yyjson_mut_val *obj = yyjson_mut_doc_get_root(doc);
	struct buf b = BUF_INIT;
	char version[256];

	mut_set_str(doc, obj, "apiVersion",
		    type_api_version(r->route.type, version, sizeof(version)));
	mut_set_str(doc, obj, "kind", r->route.type->kind);
	if (!mut_get(obj, "metadata"))
		mut_set(doc, obj, "metadata", yyjson_mut_obj(doc));
	json_write_mut(obj, false, &b);
	reply_json(r, 201, &b);
}

/* @u as a UserInfo below @path. */
static void put_user(yyjson_mut_doc *doc, yyjson_mut_val *obj, const char *path,
		     const struct user *u)
{
	yyjson_mut_val *info = yyjson_mut_obj(doc), *extra = NULL;
	yyjson_mut_val *groups = yyjson_mut_arr(doc);

	mut_set_str(doc, info, "username", u->name);
	if (u->uid)
		mut_set_str(doc, info, "uid", u->uid);
	mut_set_str(doc, info, "tenant", u->tenant);
	for (size_t i = 0; i < u->nr_groups; i++)
		yyjson_mut_arr_add_strcpy(doc, groups, u->groups[i]);
	mut_set(doc, info, "groups", groups);
	for (size_t i = 0; i < u->nr_extra; i++) {
		const char *key = u->extra[i].key;
		yyjson_mut_val *list;

		if (!extra)
			extra = yyjson_mut_obj(doc);
		list = yyjson_mut_obj_get(extra, key);
		if (!list) {
			list = yyjson_mut_arr(doc);
			mut_put(doc, extra, key, list);
		}
		yyjson_mut_arr_add_strcpy(doc, list, u->extra[i].value);
	}
	if (extra)
		mut_set(doc, info, "extra", extra);
	mut_set(doc, obj, path, info);
}

/* --- may they? --- */

static bool ask(struct req *r, const struct user *u, yyjson_mut_val *spec,
		const char *only_ns)
{
	yyjson_mut_val *res = mut_get(spec, "resourceAttributes");
	const char *tenant = mut_str(res, "tenant");
	struct access a = {
		.verb = mut_str(res, "verb"),
		.group = mut_str(res, "group"),
		.resource = mut_str(res, "resource"),
		.subresource = mut_str(res, "subresource"),
		.name = mut_str(res, "name"),
		.namespace = only_ns ? only_ns : mut_str(res, "namespace"),
		.tenant = tenant && *tenant ? tenant : u->tenant,
	};
	const struct type *t;

	if (!res) {
		res = mut_get(spec, "nonResourceAttributes");
		a = (struct access){ .path = mut_str(res, "path"),
				     .verb = mut_str(res, "verb") };
		return a.path && a.verb && access_allowed(r->api, u, &a);
	}
	if (!a.verb || !a.resource)
		return false;
	if (!a.group)
		a.group = "";
	if (a.subresource && !*a.subresource)
		a.subresource = NULL;
	if (a.namespace && !*a.namespace)
		a.namespace = NULL;
	if (a.name && !*a.name)
		a.name = NULL;
	t = type_find(r->api->types, a.group, NULL, a.resource);
	a.cluster = t && t->scope == SCOPE_CLUSTER;
	return access_allowed(r->api, u, &a);
}

/* The user the question is about; NULL: it has replied. Only the system may
 * ask about another tenant's users. */
static struct user *subject(struct req *r, yyjson_mut_val *spec)
{
	const char *name = mut_str(spec, "user");
	const char *tenant = mut_str(spec, "tenant");
	struct user *u;
	yyjson_mut_val *g;
	size_t i, max;

	if (!tenant || !*tenant)
		tenant = r->user->tenant;
	if (strcmp(tenant, r->user->tenant) && !user_is_system(r->user)) {
		reply_error(r, 403, "Forbidden",
			    "users of other tenants cannot be asked about");
		return NULL;
	}
	u = user_new(name ? name : "", tenant);
	yyjson_mut_arr_foreach(mut_get(spec, "groups"), i, max, g)
	{
		if (u && user_add_group(u, yyjson_mut_get_str(g))) {
			user_free(u);
			u = NULL;
		}
	}
	if (!u)
		reply_error(r, 422, "Invalid", "spec.groups: at most %d",
			    GROUPS_MAX);
	return u;
}

static void access_review(struct req *r, bool self)
{
	yyjson_mut_doc *doc = body_tree(r);
	yyjson_mut_val *obj, *spec;
	auto_ptr(user) other = NULL;
	const char *only_ns = r->route.namespace, *ns;
	bool allowed;

	if (!doc)
		return;
	obj = yyjson_mut_doc_get_root(doc);
	spec = mut_get(obj, "spec");
	ns = mut_str(spec, "resourceAttributes.namespace");
	if (only_ns && ns && *ns && strcmp(ns, only_ns) != 0) {
		reply_error(r, 422, "Invalid",
			    "spec.resourceAttributes.namespace: Invalid value: "
			    "\"%s\": must match metadata.namespace",
			    ns);
		goto out;
	}
	if (!self) {
		other = subject(r, spec);
		if (!other)
			goto out;
	}
	allowed = ask(r, self ? r->user : other, spec, only_ns);
	mut_set(doc, obj, "status.allowed", yyjson_mut_bool(doc, allowed));
	reply_tree(r, doc);
out:
	yyjson_mut_doc_free(doc);
}

static void who_am_i(struct req *r)
{
	yyjson_mut_doc *doc = body_tree(r);

	if (!doc)
		return;
	put_user(doc, yyjson_mut_doc_get_root(doc), "status.userInfo", r->user);
	reply_tree(r, doc);
	yyjson_mut_doc_free(doc);
}

/* --- whose token is it? --- */

static void token_review(struct req *r)
{
	yyjson_mut_doc *doc = body_tree(r);
	yyjson_mut_val *obj, *list, *v;
	const char *audiences[16], *token, *found = NULL;
	auto_ptr(user) u = NULL;
	struct err e = { 0 };
	size_t nr = 0, i, max;
	bool good;

	if (!doc)
		return;
	obj = yyjson_mut_doc_get_root(doc);
	token = mut_str(obj, "spec.token");
	list = mut_get(obj, "spec.audiences");
	yyjson_mut_arr_foreach(list, i, max, v)
	{
		if (nr < ARRAY_LEN(audiences))
			audiences[nr++] = yyjson_mut_get_str(v);
	}
	good = token && *token &&
	       authn_token(r->api, token, nr ? audiences : NULL, nr, &found, &u,
			   &e) == 0 &&
	       /* To a tenant, tokens of others are nobody's. */
	       (user_is_system(r->user) ||
		strcmp(u->tenant, r->user->tenant) == 0);
	mut_set(doc, obj, "status", yyjson_mut_obj(doc));
	if (good) {
		list = yyjson_mut_arr(doc);
		yyjson_mut_arr_add_strcpy(doc, list,
					  found ? found : r->api->issuer);
		mut_set(doc, obj, "status.authenticated", yyjson_mut_true(doc));
		mut_set(doc, obj, "status.audiences", list);
		put_user(doc, obj, "status.user", u);
	} else {
		mut_set_str(doc, obj, "status.error",
			    "the token is not valid, or not for this audience");
	}
	/* The token has been shown once: that is enough. */
	mut_set_str(doc, obj, "spec.token", "");
	reply_tree(r, doc);
	yyjson_mut_doc_free(doc);
}

/* --- what may I? --- */

struct my_rules {
	yyjson_mut_doc *doc;
	yyjson_mut_val *resources, *paths;
};

static bool add_rule(yyjson_val *rule, void *arg)
{
	struct my_rules *m = arg;

	yyjson_mut_arr_append(yyjson_obj_get(rule, "nonResourceURLs")
				      ? m->paths
				      : m->resources,
			      yyjson_val_mut_copy(m->doc, rule));
	return false;
}

static void add_text(struct my_rules *m, const char *text)
{
	yyjson_doc *doc = yyjson_read(text, strlen(text), 0);

	(void)add_rule(yyjson_doc_get_root(doc), m);
	yyjson_doc_free(doc);
}

static void my_rules(struct req *r)
{
	static const char self[] =
		"{\"verbs\":[\"create\"],\"apiGroups\":["
		"\"authorization.k8s.io\"],\"resources\":["
		"\"selfsubjectaccessreviews\",\"selfsubjectrulesreviews\"]}";
	yyjson_mut_doc *doc = body_tree(r);
	struct my_rules m = { .doc = doc };
	yyjson_mut_val *obj;
	const char *ns;

	if (!doc)
		return;
	obj = yyjson_mut_doc_get_root(doc);
	ns = mut_str(obj, "spec.namespace");
	if (!ns || !*ns) {
		reply_error(r, 400, "BadRequest",
			    "no namespace on request: spec.namespace");
		yyjson_mut_doc_free(doc);
		return;
	}
	m.resources = yyjson_mut_arr(doc);
	m.paths = yyjson_mut_arr(doc);
	add_text(&m, self);
	if (user_is_system(r->user) &&
	    user_in_group(r->user, "system:masters")) {
		add_text(&m, "{\"verbs\":[\"*\"],\"apiGroups\":[\"*\"],"
			     "\"resources\":[\"*\"]}");
		add_text(&m, "{\"verbs\":[\"*\"],\"nonResourceURLs\":["
			     "\"*\"]}");
	}
	rbac_visit(r->api, r->user, ns, add_rule, &m);
	mut_set(doc, obj, "status.resourceRules", m.resources);
	mut_set(doc, obj, "status.nonResourceRules", m.paths);
	/* What the node authorizer allows is no list of rules. */
	mut_set(doc, obj, "status.incomplete",
		yyjson_mut_bool(doc, user_node(r->user) != NULL));
	reply_tree(r, doc);
	yyjson_mut_doc_free(doc);
}

/* A certificate for a user of the tenant in the URL; the key stays with who
 * asks. */
static void sign(struct req *r, yyjson_mut_doc *doc)
{
	yyjson_mut_val *obj = yyjson_mut_doc_get_root(doc), *g;
	auto_buf struct buf groups = BUF_INIT, cert = BUF_INIT, org = BUF_INIT;
	bool system = strcmp(r->tenant, SYSTEM) == 0;
	auto_free char *uid = NULL;
	uint64_t revision;
	struct cert_request cr = {
		.common_name = mut_str(obj, "spec.user"),
		.days = mut_int(obj, "spec.days", 365),
	};
	struct err e = { 0 };
	char server[300];
	size_t i, max;

	yyjson_mut_arr_foreach(mut_get(obj, "spec.groups"), i, max, g)
		buf_printf(&groups, "%s%s", i ? "," : "",
			   yyjson_mut_get_str(g));
	buf_printf(&org, "tenant:%s", r->tenant);
	if (system) {
		cr.organizations = buf_str(&groups);
	} else {
		uid = authn_tenant_uid(r->api, r->tenant, 0, &revision);
		cr.organization = buf_str(&org);
		cr.units = buf_str(&groups);
		cr.tenant_uid = uid;
	}
	if (!system && !uid) {
		reply_error(r, 404, "NotFound", "tenants \"%s\" not found",
			    r->tenant);
		return;
	}
	if (ca_sign(r->api->ca, mut_str(obj, "spec.request"), &cr, &cert, &e) <
	    0) {
		reply_error(r, 422, "Invalid", "%s", e.msg);
		return;
	}
	snprintf(server, sizeof(server), "https://%s", r->api->advertise);
	mut_set_str(doc, obj, "status.certificate", buf_str(&cert));
	mut_set_str(doc, obj, "status.authority", ca_cert_pem(r->api->ca));
	mut_set_str(doc, obj, "status.server", server);
	reply_tree(r, doc);
}

static void client_certificate(struct req *r)
{
	yyjson_mut_doc *doc;

	/* Whoever can make a system user can be one: the masters only. */
	if (strcmp(r->tenant, SYSTEM) == 0 &&
	    !user_in_group(r->user, "system:masters")) {
		reply_error(r, 403, "Forbidden",
			    "only system:masters may issue certificates of the "
			    "system tenant");
		return;
	}
	doc = body_tree(r);
	if (!doc)
		return;
	sign(r, doc);
	yyjson_mut_doc_free(doc);
}

void special_review(struct req *r)
{
	static const struct {
		const char *plural;
		void (*fn)(struct req *r);
	} simple[] = {
		{ "selfsubjectreviews", who_am_i },
		{ "tokenreviews", token_review },
		{ "selfsubjectrulesreviews", my_rules },
		{ "clientcertificates", client_certificate },
	};

	if (!str_eq(r->route.verb, "create") || r->route.name) {
		reply_error(r, 405, "MethodNotAllowed",
			    "the server does not allow this method on the "
			    "requested resource");
		return;
	}
	for (size_t i = 0; i < ARRAY_LEN(simple); i++)
		if (strcmp(r->route.plural, simple[i].plural) == 0) {
			simple[i].fn(r);
			return;
		}
	access_review(r,
		      strcmp(r->route.plural, "selfsubjectaccessreviews") == 0);
}

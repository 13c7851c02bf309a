// SPDX-License-Identifier: Apache-2.0
/* Types that are answered and not stored: who am I, may I, and certificates. */
#include <stdio.h>

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

static bool ask(struct req *r, const struct user *u, yyjson_mut_val *spec)
{
	yyjson_mut_val *res = mut_get(spec, "resourceAttributes");
	const char *tenant = mut_str(res, "tenant");
	struct access a = {
		.verb = mut_str(res, "verb"),
		.group = mut_str(res, "group"),
		.resource = mut_str(res, "resource"),
		.subresource = mut_str(res, "subresource"),
		.name = mut_str(res, "name"),
		.namespace = mut_str(res, "namespace"),
		.tenant = tenant && *tenant ? tenant : u->tenant,
	};
	const struct type *t;

	if (!res) {
		res = mut_get(spec, "nonResourceAttributes");
		a.path = mut_str(res, "path");
		a.verb = mut_str(res, "verb");
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
	t = type_find(r->api->types, a.group, NULL, a.resource);
	a.cluster = t && t->scope == SCOPE_CLUSTER;
	return access_allowed(r->api, u, &a);
}

static void access_review(struct req *r, bool self)
{
	yyjson_mut_doc *doc = body_tree(r);
	yyjson_mut_val *obj, *spec, *g;
	struct user other = { .nr_groups = 0 };
	const struct user *u = r->user;
	size_t i, max;

	if (!doc)
		return;
	obj = yyjson_mut_doc_get_root(doc);
	spec = mut_get(obj, "spec");
	if (!self) {
		const char *tenant = mut_str(spec, "tenant");

		/* Only the system may ask about another tenant's users. */
		if (!tenant || !*tenant || strcmp(r->user->tenant, SYSTEM))
			tenant = r->user->tenant;
		other.name = (char *)mut_str(spec, "user");
		other.tenant = (char *)tenant;
		if (!other.name)
			other.name = (char *)"";
		yyjson_mut_arr_foreach(mut_get(spec, "groups"), i, max,
				       g) if (other.nr_groups < GROUPS_MAX)
			other.groups[other.nr_groups++] =
			(char *)yyjson_mut_get_str(g);
		u = &other;
	}
	mut_set(doc, obj, "status.allowed",
		yyjson_mut_bool(doc, ask(r, u, spec)));
	reply_tree(r, doc);
	yyjson_mut_doc_free(doc);
}

static void who_am_i(struct req *r)
{
	yyjson_mut_doc *doc = body_tree(r);
	yyjson_mut_val *obj, *groups;

	if (!doc)
		return;
	obj = yyjson_mut_doc_get_root(doc);
	groups = yyjson_mut_arr(doc);
	for (size_t i = 0; i < r->user->nr_groups; i++)
		yyjson_mut_arr_add_strcpy(doc, groups, r->user->groups[i]);
	mut_set_str(doc, obj, "status.userInfo.username", r->user->name);
	mut_set_str(doc, obj, "status.userInfo.tenant", r->user->tenant);
	mut_set(doc, obj, "status.userInfo.groups", groups);
	reply_tree(r, doc);
	yyjson_mut_doc_free(doc);
}

/* All rules of the user's bindings would be long; those who may do everything
 * are told so, others get what they may do to themselves. */
static void my_rules(struct req *r)
{
	static const char all[] =
		"{\"resourceRules\":[{\"verbs\":[\"*\"],\"apiGroups\":[\"*\"],"
		"\"resources\":[\"*\"]}],\"nonResourceRules\":[{\"verbs\":["
		"\"*\"],\"nonResourceURLs\":[\"*\"]}],\"incomplete\":false}";
	static const char some[] =
		"{\"resourceRules\":[{\"verbs\":[\"create\"],\"apiGroups\":["
		"\"authorization.k8s.io\"],\"resources\":["
		"\"selfsubjectaccessreviews\",\"selfsubjectrulesreviews\"]}],"
		"\"nonResourceRules\":[],\"incomplete\":true}";
	struct access a = { .verb = "*",
			    .group = "*",
			    .resource = "*",
			    .tenant = r->user->tenant };
	yyjson_mut_doc *doc = body_tree(r);
	const char *text;
	yyjson_doc *status;

	if (!doc)
		return;
	text = access_allowed(r->api, r->user, &a) ? all : some;
	status = yyjson_read(text, strlen(text), 0);
	mut_set(doc, yyjson_mut_doc_get_root(doc), "status",
		yyjson_val_mut_copy(doc, yyjson_doc_get_root(status)));
	yyjson_doc_free(status);
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
	if (system)
		cr.organizations = buf_str(&groups);
	else
		cr.organization = buf_str(&org), cr.units = buf_str(&groups);
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
	auto_buf struct buf key = BUF_INIT;
	auto_ptr(object_bytes) tenant = NULL;
	yyjson_mut_doc *doc;

	/* Whoever can make a system user can be one: the masters only. */
	if (strcmp(r->tenant, SYSTEM) == 0 &&
	    !user_in_group(r->user, "system:masters")) {
		reply_error(r, 403, "Forbidden",
			    "only system:masters may issue certificates of the "
			    "system tenant");
		return;
	}
	buf_printf(&key, "core/tenants///%s", r->tenant);
	tenant = store_get(r->api->store, buf_str(&key));
	if (!tenant) {
		reply_error(r, 404, "NotFound", "tenants \"%s\" not found",
			    r->tenant);
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

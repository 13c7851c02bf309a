// SPDX-License-Identifier: Apache-2.0
/* Tokens are issued, and told about (OpenID discovery). */
#include <errno.h>
#include <stdio.h>
#include <time.h>

#include "controlplane/apiserver/admission/admission.h"
#include "controlplane/apiserver/authn/jwt.h"
#include "controlplane/apiserver/authn/service_account.h"
#include "controlplane/apiserver/internal.h"
#include "lib/json.h"
#include "lib/str.h"

#define LIFE_MAX_S (365 * 86400)
#define LIFE_MIN_S 600
#define AUDIENCES  16
#define LEGACY     "kubernetes.io/serviceaccount/"

/* An object a claim is about. */
struct bound {
	const char *field; /* "pod", "secret", "node" */
	char *name, *uid;
	char *node, *node_uid; /* of a pod */
};

static void bound_clear(struct bound *b)
{
	free(b->name);
	free(b->uid);
	free(b->node);
	free(b->node_uid);
}

static char *uid_of(struct api *api, const char *key)
{
	auto_ptr(object_bytes) o = store_get(api->store, key);
	yyjson_doc *doc = object_doc(o);
	const char *uid = yyjson_get_str(
		yyjson_ptr_get(doc ? yyjson_doc_get_root(doc) : NULL,
			       "/metadata/uid"));
	char *copy = uid ? strdup(uid) : NULL;

	yyjson_doc_free(doc);
	return copy;
}

static void put_claims(struct req *r, struct buf *b, const char *uid,
		       yyjson_mut_val *audiences, int64_t now, int64_t until,
		       const struct bound *bound)
{
	struct json_out o = JSON_OUT(b);
	bool system = strcmp(r->tenant, SYSTEM) == 0;
	yyjson_mut_val *v;
	char jti[37];
	size_t i, max;

	new_uid(jti);
	json_put_object(&o, NULL);
	json_put_array(&o, "aud");
	yyjson_mut_arr_foreach(audiences, i, max, v)
		json_put_str(&o, NULL, yyjson_mut_get_str(v));
	if (!yyjson_mut_arr_size(audiences))
		json_put_str(&o, NULL, r->api->issuer);
	json_put_end(&o);
	json_put_i64(&o, "exp", until);
	json_put_i64(&o, "iat", now);
	json_put_fmt(&o, "iss", "%s%s%s", r->api->issuer,
		     system ? "" : "/tenants/", system ? "" : r->tenant);
	json_put_str(&o, "jti", jti);
	json_put_object(&o, "kubernetes.io");
	json_put_str(&o, "tenant", r->tenant);
	json_put_str(&o, "namespace", r->route.namespace);
	if (bound->field) {
		json_put_object(&o, bound->field);
		json_put_str(&o, "name", bound->name);
		json_put_str(&o, "uid", bound->uid);
		json_put_end(&o);
	}
	if (bound->node) {
		json_put_object(&o, "node");
		json_put_str(&o, "name", bound->node);
		if (bound->node_uid)
			json_put_str(&o, "uid", bound->node_uid);
		json_put_end(&o);
	}
	json_put_object(&o, "serviceaccount");
	json_put_str(&o, "name", r->route.name);
	json_put_str(&o, "uid", uid);
	json_put_end(&o);
	json_put_end(&o);
	json_put_i64(&o, "nbf", now);
	json_put_fmt(&o, "sub", SA_USER "%s:%s", r->route.namespace,
		     r->route.name);
	json_put_end(&o);
}

/* --- what it is to be bound to --- */

static int bind_pod(struct req *r, yyjson_val *pod, struct bound *b)
{
	yyjson_val *spec = yyjson_obj_get(pod, "spec");
	const char *account =
		yyjson_get_str(yyjson_obj_get(spec, "serviceAccountName"));
	const char *node = yyjson_get_str(yyjson_obj_get(spec, "nodeName"));
	auto_free char *key = NULL;

	if (!str_eq(account, r->route.name)) {
		reply_error(r, 422, "Invalid",
			    "cannot bind token for serviceaccount \"%s\" to "
			    "pod running with different serviceaccount name "
			    "\"%s\"",
			    r->route.name, account ? account : "");
		return -EINVAL;
	}
	if (!node || !*node)
		return 0;
	b->node = strdup(node);
	key = str_printf("core/nodes///%s", node);
	b->node_uid = key ? uid_of(r->api, key) : NULL;
	return b->node ? 0 : -ENOMEM;
}

static int bind_object(struct req *r, yyjson_mut_val *ref, struct bound *b)
{
	static const struct {
		const char *kind, *field, *prefix;
	} kinds[] = { { "Pod", "pod", "core/pods" },
		      { "Secret", "secret", "core/secrets" },
		      { "Node", "node", "core/nodes" } };
	const char *kind = mut_str(ref, "kind"), *name = mut_str(ref, "name");
	const char *version = mut_str(ref, "apiVersion");
	const char *uid = mut_str(ref, "uid"), *now;
	auto_free char *key = NULL;
	auto_ptr(object_bytes) o = NULL;
	yyjson_doc *doc;
	size_t i;
	int res = 0;

	if (!yyjson_mut_is_obj(ref))
		return 0;
	for (i = 0; i < ARRAY_LEN(kinds); i++)
		if (str_eq(kind, kinds[i].kind))
			break;
	if (i == ARRAY_LEN(kinds) ||
	    (version && *version && strcmp(version, "v1"))) {
		reply_error(r, 422, "Invalid",
			    "spec.boundObjectRef: Invalid value: \"%s\": cannot "
			    "bind token to object of this type",
			    kind ? kind : "");
		return -EINVAL;
	}
	if (!name || !*name || strchr(name, '/')) {
		reply_error(r, 422, "Invalid",
			    "spec.boundObjectRef.name: Required value");
		return -EINVAL;
	}
	key = i == 2 ? str_printf("%s///%s", kinds[i].prefix, name)
		     : str_printf("%s/%s/%s/%s", kinds[i].prefix, r->tenant,
				  r->route.namespace, name);
	o = key ? store_get(r->api->store, key) : NULL;
	/* What nodes there are is no tenant's business. */
	if (!o || (i == 2 && strcmp(r->tenant, SYSTEM))) {
		reply_error(r, 404, "NotFound", "%ss \"%s\" not found",
			    kinds[i].field, name);
		return -ENOENT;
	}
	doc = object_doc(o);
	now = yyjson_get_str(
		yyjson_ptr_get(yyjson_doc_get_root(doc), "/metadata/uid"));
	if (uid && *uid && !str_eq(uid, now)) {
		reply_error(r, 409, "Conflict",
			    "Operation cannot be fulfilled on "
			    "serviceaccounts \"%s\": the UID in the bound "
			    "object reference (%s) does not match the UID in "
			    "record. The object might have been deleted and "
			    "then recreated",
			    r->route.name, uid);
		res = -ESTALE;
	}
	b->field = kinds[i].field;
	b->name = strdup(name);
	b->uid = strdup(now ? now : "");
	if (res == 0 && i == 0)
		res = bind_pod(r, yyjson_doc_get_root(doc), b);
	yyjson_doc_free(doc);
	return res;
}

/* --- the request --- */

static int admit(struct req *r, yyjson_mut_doc *doc, yyjson_mut_val *obj)
{
	struct admission a = {
		.api = r->api,
		.req = r,
		.user = r->user,
		.op = ADMIT_CREATE,
		.type = r->route.type,
		.subresource = "token",
		.tenant = r->tenant,
		.namespace = r->route.namespace,
		.name = r->route.name,
		.doc = doc,
		.obj = obj,
	};
	int res = admission_mutate(&a);

	if (res == 0)
		res = admission_validate(&a);
	if (res < 0)
		admission_reply(&a);
	return res;
}

static int check_request(struct req *r, yyjson_mut_doc *doc,
			 yyjson_mut_val *obj)
{
	const struct schema *s =
		map_get(&r->api->types->short_names, "TokenRequest");
	struct field_errors errs = { .nr = 0 };
	struct path at = { .len = 0 };

	if (!yyjson_mut_is_obj(obj) || !s) {
		reply_error(r, 400, "BadRequest", "the body is no object");
		return -EINVAL;
	}
	/* What is asked for is the spec; some clients send an empty status. */
	mut_remove(obj, "status");
	if (schema_prune(s, obj, NULL, NULL) || schema_default(s, doc, obj)) {
		reply_error(r, 500, "InternalError", "out of memory");
		return -ENOMEM;
	}
	schema_validate(s, obj, &at, &errs);
	if (mut_int(obj, "spec.expirationSeconds", LIFE_MIN_S) < LIFE_MIN_S)
		field_error_add(&errs, FIELD_INVALID, "spec.expirationSeconds",
				mut_get(obj, "spec.expirationSeconds"),
				"may not specify a duration less than 10 "
				"minutes");
	if (yyjson_mut_arr_size(mut_get(obj, "spec.audiences")) > AUDIENCES)
		field_error_add(&errs, FIELD_TOO_MANY, "spec.audiences", NULL,
				"must have at most %d items", AUDIENCES);
	if (!errs.nr)
		return 0;
	reply_invalid(r, "TokenRequest", r->route.name, &errs);
	field_errors_clear(&errs);
	return -EINVAL;
}

static void reply_token(struct req *r, yyjson_mut_doc *doc, yyjson_mut_val *obj,
			const char *token, int64_t until)
{
	struct buf b = BUF_INIT;
	char when[32], now[32];
	struct tm tm;
	time_t t = until;

	gmtime_r(&t, &tm);
	strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%SZ", &tm);
	now_text(now);
	mut_set_str(doc, obj, "apiVersion", "authentication.k8s.io/v1");
	mut_set_str(doc, obj, "kind", "TokenRequest");
	mut_set_str(doc, obj, "metadata.name", r->route.name);
	mut_set_str(doc, obj, "metadata.namespace", r->route.namespace);
	mut_set_str(doc, obj, "metadata.tenant", r->tenant);
	mut_set_str(doc, obj, "metadata.creationTimestamp", now);
	if (!yyjson_mut_arr_size(mut_get(obj, "spec.audiences"))) {
		yyjson_mut_val *list = yyjson_mut_arr(doc);

		yyjson_mut_arr_add_strcpy(doc, list, r->api->issuer);
		mut_set(doc, obj, "spec.audiences", list);
	}
	mut_set_str(doc, obj, "status.token", token);
	mut_set_str(doc, obj, "status.expirationTimestamp", when);
	json_write_mut(obj, false, &b);
	reply_json(r, 201, &b);
}

static void issue(struct req *r, yyjson_mut_doc *doc, yyjson_mut_val *obj)
{
	auto_free char *key =
		str_printf("core/serviceaccounts/%s/%s/%s", r->tenant,
			   r->route.namespace, r->route.name);
	auto_free char *uid = key ? uid_of(r->api, key) : NULL;
	auto_buf struct buf claims = BUF_INIT, token = BUF_INIT;
	int64_t now = time(NULL), life;
	struct bound bound = { .field = NULL };
	struct err e = { 0 };

	if (!uid) {
		reply_not_found(r);
		return;
	}
	life = mut_int(obj, "spec.expirationSeconds", 3600);
	if (life > LIFE_MAX_S)
		life = LIFE_MAX_S;
	if (bind_object(r, mut_get(obj, "spec.boundObjectRef"), &bound) == 0) {
		put_claims(r, &claims, uid, mut_get(obj, "spec.audiences"), now,
			   now + life, &bound);
		if (jwt_sign(r->api->keyring, buf_str(&claims), &token, &e) < 0)
			reply_error(r, 500, "InternalError", "%s", e.msg);
		else
			reply_token(r, doc, obj, buf_str(&token), now + life);
	}
	bound_clear(&bound);
}

void account_token_request(struct req *r)
{
	yyjson_doc *in = NULL;
	yyjson_mut_doc *doc;
	yyjson_mut_val *obj;

	if (body_parse(r, &in) < 0)
		return;
	doc = yyjson_doc_mut_copy(in, NULL);
	yyjson_doc_free(in);
	obj = doc ? yyjson_mut_doc_get_root(doc) : NULL;
	if (check_request(r, doc, obj) == 0 && admit(r, doc, obj) == 0)
		issue(r, doc, obj);
	yyjson_mut_doc_free(doc);
}

int account_legacy_token(struct api *api, const char *tenant, const char *ns,
			 const char *account, const char *uid,
			 const char *secret, struct buf *b, struct err *e)
{
	auto_buf struct buf claims = BUF_INIT;
	struct json_out o = JSON_OUT(&claims);

	json_put_object(&o, NULL);
	json_put_str(&o, "iss", "kubernetes/serviceaccount");
	json_put_str(&o, LEGACY "tenant", tenant);
	json_put_str(&o, LEGACY "namespace", ns);
	json_put_str(&o, LEGACY "secret.name", secret);
	json_put_str(&o, LEGACY "service-account.name", account);
	json_put_str(&o, LEGACY "service-account.uid", uid);
	json_put_fmt(&o, "sub", SA_USER "%s:%s", ns, account);
	json_put_end(&o);
	return jwt_sign(api->keyring, buf_str(&claims), b, e);
}

/* --- discovery --- */

static void put_configuration(struct req *r, const char *tenant, struct buf *b)
{
	static const char *const lists[][2] = {
		{ "response_types_supported", "id_token" },
		{ "subject_types_supported", "public" },
	};
	struct json_out o = JSON_OUT(b);
	bool system = strcmp(tenant, SYSTEM) == 0;

	json_put_object(&o, NULL);
	json_put_fmt(&o, "issuer", "%s%s%s", r->api->issuer,
		     system ? "" : "/tenants/", system ? "" : tenant);
	json_put_fmt(&o, "jwks_uri", "https://%s/openid/v1/jwks",
		     r->api->advertise);
	for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
		json_put_array(&o, lists[i][0]);
		json_put_str(&o, NULL, lists[i][1]);
		json_put_end(&o);
	}
	json_put_array(&o, "id_token_signing_alg_values_supported");
	json_put_str(&o, NULL, "ES256");
	json_put_str(&o, NULL, "RS256");
	json_put_end(&o);
	json_put_end(&o);
}

bool account_discovery(struct req *r)
{
	static const char well_known[] = "/.well-known/openid-configuration";
	const char *p = r->path, *tenant = SYSTEM;
	auto_free char *own = NULL;
	struct buf b = BUF_INIT;

	if (str_starts(p, "/tenants/")) {
		size_t n;

		p += strlen("/tenants/");
		n = strcspn(p, "/");
		own = strndup(p, n);
		tenant = own;
		p += n;
		if (!own || !str_is_dns_label(own))
			return false;
	}
	if (strcmp(p, "/openid/v1/jwks") == 0) {
		keyring_jwks(r->api->keyring, &b);
		reply_begin(r, 200, "application/jwk-set+json");
		reply_add(r, &b);
		reply_end(r);
		return true;
	}
	if (strcmp(p, well_known) != 0)
		return false;
	put_configuration(r, tenant, &b);
	reply_json(r, 200, &b);
	return true;
}

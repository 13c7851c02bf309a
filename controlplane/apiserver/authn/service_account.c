// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <openssl/crypto.h>
#include <stdio.h>

#include "controlplane/apiserver/authn/authn.h"
#include "controlplane/apiserver/authn/jwt.h"
#include "controlplane/apiserver/authn/service_account.h"
#include "controlplane/apiserver/internal.h"
#include "lib/base64.h"
#include "lib/str.h"

#define LEGACY_ISSUER "kubernetes/serviceaccount"
#define LEGACY        "kubernetes.io/serviceaccount/"
#define GONE_S        60 /* an object being deleted counts for this long */

static const char *text(yyjson_val *v, const char *field)
{
	const char *s = yyjson_get_str(yyjson_obj_get(v, field));

	return s ? s : "";
}

static bool is_tenant(const char *s)
{
	return str_is_dns_label(s) && strcmp(s, "all") != 0;
}

/* --- is what it was issued for still there? --- */

static int check_object(struct api *api, const char *key, const char *uid,
			int64_t now_s, struct err *e)
{
	auto_ptr(object_bytes) o = store_get(api->store, key);
	yyjson_doc *doc = object_doc(o);
	yyjson_val *meta = yyjson_obj_get(doc ? yyjson_doc_get_root(doc) : NULL,
					  "metadata");
	const char *deleted =
		yyjson_get_str(yyjson_obj_get(meta, "deletionTimestamp"));
	int64_t when;
	int r = 0;

	if (!doc)
		r = err_set(e, -EACCES, "token: %s is gone", key);
	else if (!*uid || strcmp(text(meta, "uid"), uid) != 0)
		r = err_set(e, -EACCES, "token: %s is another one now", key);
	else if (deleted &&
		 (!utc_parse(deleted, &when) || when + GONE_S < now_s))
		r = err_set(e, -EACCES, "token: %s is being deleted", key);
	yyjson_doc_free(doc);
	return r;
}

static int check_account(struct api *api, const char *tenant, const char *ns,
			 const char *name, const char *uid, int64_t now_s,
			 struct err *e)
{
	auto_free char *key =
		str_printf("core/serviceaccounts/%s/%s/%s", tenant, ns, name);

	return key ? check_object(api, key, uid, now_s, e) : -ENOMEM;
}

/* The pod, secret or node in the claims. */
static int check_bound(struct api *api, yyjson_val *k8s, const char *tenant,
		       const char *ns, struct user *u, int64_t now_s,
		       struct err *e)
{
	static const struct {
		const char *field, *plural;
	} kinds[] = { { "pod", "pods" }, { "secret", "secrets" } };
	yyjson_val *node = yyjson_obj_get(k8s, "node");
	int r = 0;

	for (size_t i = 0; i < ARRAY_LEN(kinds) && r == 0; i++) {
		yyjson_val *v = yyjson_obj_get(k8s, kinds[i].field);
		auto_free char *key = NULL;

		if (!v)
			continue;
		key = str_printf("core/%s/%s/%s/%s", kinds[i].plural, tenant,
				 ns, text(v, "name"));
		r = key ? check_object(api, key, text(v, "uid"), now_s, e)
			: -ENOMEM;
		if (r == 0 && i == 0) {
			user_add_extra(u,
				       "authentication.kubernetes.io/pod-name",
				       text(v, "name"));
			user_add_extra(u,
				       "authentication.kubernetes.io/pod-uid",
				       text(v, "uid"));
		}
	}
	if (r < 0 || !node)
		return r;
	/* A pod's token knows its node; only a node's token ends with it. */
	if (!yyjson_obj_get(k8s, "pod")) {
		auto_free char *key =
			str_printf("core/nodes///%s", text(node, "name"));

		r = key ? check_object(api, key, text(node, "uid"), now_s, e)
			: -ENOMEM;
	}
	user_add_extra(u, "authentication.kubernetes.io/node-name",
		       text(node, "name"));
	if (*text(node, "uid"))
		user_add_extra(u, "authentication.kubernetes.io/node-uid",
			       text(node, "uid"));
	return r;
}

static struct user *account_of(const char *tenant, const char *ns,
			       const char *name, const char *uid)
{
	auto_free char *full = str_printf(SA_USER "%s:%s", ns, name);
	auto_free char *group = str_printf("system:serviceaccounts:%s", ns);
	auto_ptr(user) u = full ? user_new(full, tenant) : NULL;

	if (!u || !group || str_set(&u->uid, uid) ||
	    user_add_group(u, "system:serviceaccounts") ||
	    user_add_group(u, group) ||
	    user_add_group(u, "system:authenticated"))
		return NULL;
	return take_ptr(u);
}

/* --- audiences --- */

static bool claims_audience(yyjson_val *aud, const char *want)
{
	yyjson_val *v;
	size_t i, max;

	if (yyjson_equals_str(aud, want))
		return true;
	yyjson_arr_foreach(aud, i, max, v)
	{
		if (yyjson_equals_str(v, want))
			return true;
	}
	return false;
}

static int check_audience(struct api *api, yyjson_val *aud,
			  const char *const *audiences, size_t nr,
			  const char **ret, struct err *e)
{
	const char *const own[] = { api->issuer };

	if (!audiences)
		audiences = own, nr = 1;
	for (size_t i = 0; i < nr; i++)
		if (claims_audience(aud, audiences[i])) {
			if (ret)
				*ret = audiences[i];
			return 0;
		}
	return err_set(e, -EACCES, "token: it is for others");
}

/* --- the two kinds of tokens --- */

static char *issuer_of(struct api *api, const char *tenant)
{
	if (strcmp(tenant, SYSTEM) == 0)
		return strdup(api->issuer);
	return str_printf("%s/tenants/%s", api->issuer, tenant);
}

static int bound_user(struct api *api, yyjson_val *claims,
		      const char *const *audiences, size_t nr,
		      const char **ret_audience, int64_t now_s,
		      struct user **ret, struct err *e)
{
	yyjson_val *k8s = yyjson_obj_get(claims, "kubernetes.io");
	yyjson_val *account = yyjson_obj_get(k8s, "serviceaccount");
	const char *tenant = text(k8s, "tenant"), *ns = text(k8s, "namespace");
	auto_free char *issuer = issuer_of(api, tenant);
	auto_free char *jti = str_printf("JTI=%s", text(claims, "jti"));
	auto_ptr(user) u = NULL;
	int r;

	if (!is_tenant(tenant) || !issuer ||
	    strcmp(text(claims, "iss"), issuer) != 0)
		return err_set(e, -EACCES, "token: not of our issuer");
	if (yyjson_get_sint(yyjson_obj_get(claims, "exp")) <= now_s ||
	    yyjson_get_sint(yyjson_obj_get(claims, "nbf")) > now_s + 5)
		return err_set(e, -EACCES, "token: not valid now");
	r = check_audience(api, yyjson_obj_get(claims, "aud"), audiences, nr,
			   ret_audience, e);
	if (r == 0)
		r = check_account(api, tenant, ns, text(account, "name"),
				  text(account, "uid"), now_s, e);
	if (r < 0)
		return r;
	u = account_of(tenant, ns, text(account, "name"), text(account, "uid"));
	if (!u)
		return err_set(e, -ENOMEM, "out of memory");
	r = check_bound(api, k8s, tenant, ns, u, now_s, e);
	if (r == 0 && jti && *text(claims, "jti"))
		user_add_extra(u, "authentication.kubernetes.io/credential-id",
			       jti);
	if (r == 0)
		*ret = take_ptr(u);
	return r;
}

/* The secret holds this very token. */
static int check_secret(struct api *api, const char *key, const char *token,
			struct err *e)
{
	auto_ptr(object_bytes) o = store_get(api->store, key);
	yyjson_doc *doc = object_doc(o);
	const char *b64 = yyjson_get_str(
		yyjson_ptr_get(doc ? yyjson_doc_get_root(doc) : NULL,
			       "/data/token"));
	auto_buf struct buf held = BUF_INIT;
	int r = 0;

	if (!b64 || base64_get(b64, strlen(b64), &held) ||
	    held.len != strlen(token) ||
	    CRYPTO_memcmp(buf_str(&held), token, held.len) != 0)
		r = err_set(e, -EACCES, "token: its secret is gone");
	yyjson_doc_free(doc);
	return r;
}

static int legacy_user(struct api *api, yyjson_val *claims, const char *token,
		       const char *const *audiences, int64_t now_s,
		       struct user **ret, struct err *e)
{
	const char *tenant = text(claims, LEGACY "tenant");
	const char *ns = text(claims, LEGACY "namespace");
	const char *name = text(claims, LEGACY "service-account.name");
	const char *uid = text(claims, LEGACY "service-account.uid");
	auto_free char *key = str_printf("core/secrets/%s/%s/%s", tenant, ns,
					 text(claims, LEGACY "secret.name"));
	int r;

	if (!is_tenant(tenant) || !key)
		return err_set(e, -EACCES, "token: tenant claim is missing");
	/* These are for the API server, as they name no audience. */
	if (audiences)
		return err_set(e, -EACCES, "token: it is for others");
	r = check_account(api, tenant, ns, name, uid, now_s, e);
	if (r == 0)
		r = check_secret(api, key, token, e);
	if (r < 0)
		return r;
	*ret = account_of(tenant, ns, name, uid);
	return *ret ? 0 : err_set(e, -ENOMEM, "out of memory");
}

int account_user(struct api *api, const char *token,
		 const char *const *audiences, size_t nr,
		 const char **ret_audience, int64_t now_s, struct user **ret,
		 struct err *e)
{
	yyjson_doc *doc = NULL;
	yyjson_val *claims;
	int r = jwt_verify(api->keyring, token, &doc, e);

	if (r < 0)
		return r;
	claims = yyjson_doc_get_root(doc);
	if (strcmp(text(claims, "iss"), LEGACY_ISSUER) == 0)
		r = legacy_user(api, claims, token, audiences, now_s, ret, e);
	else
		r = bound_user(api, claims, audiences, nr, ret_audience, now_s,
			       ret, e);
	yyjson_doc_free(doc);
	return r;
}

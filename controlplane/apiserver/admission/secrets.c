// SPDX-License-Identifier: Apache-2.0
/*
 * Secrets of type kubernetes.io/service-account-token: the account named in
 * the annotation gets a token that lives as long as the secret.
 */
#include <errno.h>
#include <stdio.h>

#include "controlplane/apiserver/admission/plugins.h"
#include "controlplane/apiserver/authn/service_account.h"
#include "controlplane/apiserver/internal.h"
#include "lib/base64.h"
#include "lib/str.h"

#define NAME "kubernetes.io/service-account.name"
#define UID  "kubernetes.io/service-account.uid"

static int put_data(struct admission *a, const char *name, const char *text)
{
	yyjson_mut_val *data = mut_get(a->obj, "data");
	auto_buf struct buf b64 = BUF_INIT;

	if (!data) {
		data = yyjson_mut_obj(a->doc);
		mut_set(a->doc, a->obj, "data", data);
	}
	if (base64_put(&b64, text, strlen(text)))
		return -ENOMEM;
	return mut_put(a->doc, data, name,
		       yyjson_mut_strcpy(a->doc, buf_str(&b64)));
}

static char *account_uid(struct admission *a, const char *account)
{
	auto_free char *key = str_printf("core/serviceaccounts/%s/%s/%s",
					 a->tenant, a->namespace, account);
	auto_ptr(object_bytes) o = key ? store_get(a->api->store, key) : NULL;
	yyjson_doc *doc = object_doc(o);
	const char *uid = yyjson_get_str(
		yyjson_ptr_get(doc ? yyjson_doc_get_root(doc) : NULL,
			       "/metadata/uid"));
	char *copy = uid ? strdup(uid) : NULL;

	yyjson_doc_free(doc);
	return copy;
}

static int mutate(struct admission *a)
{
	yyjson_mut_val *annotations = mut_get(a->obj, "metadata.annotations");
	const char *account, *old;
	auto_free char *uid = NULL;
	auto_buf struct buf token = BUF_INIT;
	struct err e = { 0 };

	if (!admission_is(a, "", "secrets") ||
	    !str_eq(mut_str(a->obj, "type"), SA_SECRET_TYPE))
		return 0;
	account = yyjson_mut_get_str(yyjson_mut_obj_get(annotations, NAME));
	if (!account || !*account || strchr(account, '/'))
		return admission_refuse(
			a, 422, "Invalid",
			"Secret \"%s\" is invalid: metadata.annotations[" NAME
			"]: Required value",
			a->name);
	/* Whatever it says itself: the token is the server's to make. */
	old = mut_str(a->old, "data.token");
	if (old) {
		mut_set_str(a->doc, a->obj, "data.token", old);
		return 0;
	}
	uid = account_uid(a, account);
	if (!uid)
		return admission_forbid(a, "serviceaccount \"%s\" not found",
					account);
	if (account_legacy_token(a->api, a->tenant, a->namespace, account, uid,
				 a->name, &token, &e) < 0)
		return admission_refuse(a, 500, "InternalError", "%s", e.msg);
	mut_put(a->doc, annotations, UID, yyjson_mut_strcpy(a->doc, uid));
	if (put_data(a, "token", buf_str(&token)) ||
	    put_data(a, "ca.crt", ca_cert_pem(a->api->ca)) ||
	    put_data(a, "namespace", a->namespace))
		return admission_refuse(a, 500, "InternalError",
					"out of memory");
	return 0;
}

const struct admission_plugin admission_secrets = {
	.name = "ServiceAccountToken",
	.ops = ADMIT_CREATE | ADMIT_UPDATE,
	.mutate = mutate,
};

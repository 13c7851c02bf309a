// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <time.h>

#include "controlplane/apiserver/authn/authn.h"
#include "controlplane/apiserver/authn/service_account.h"
#include "controlplane/apiserver/internal.h"
#include "lib/log.h"
#include "lib/str.h"

int authn_token(struct api *api, const char *token,
		const char *const *audiences, size_t nr,
		const char **ret_audience, struct user **ret, struct err *e)
{
	if (strlen(token) > TOKEN_MAX)
		return err_set(e, -EACCES, "the token is too long");
	/* For the API server and for nobody else. */
	if (bootstrap_is_token(token) && !audiences)
		return bootstrap_user(api, token, time(NULL), ret, e);
	if (strchr(token, '.'))
		return account_user(api, token, audiences, nr, ret_audience,
				    time(NULL), ret, e);
	return err_set(e, -EACCES, "the token is of no known kind");
}

char *authn_tenant_uid(struct api *api, const char *tenant, uint64_t not_of,
		       uint64_t *ret_revision)
{
	auto_ptr(object_bytes) o = NULL;
	yyjson_doc *doc;
	char *uid = NULL;
	char key[128];

	snprintf(key, sizeof(key), "core/tenants///%s", tenant);
	o = store_get(api->store, key);
	if (!o || o->revision == not_of)
		return NULL;
	doc = object_doc(o);
	(void)str_set(&uid,
		      yyjson_get_str(
			      yyjson_obj_get(yyjson_obj_get(yyjson_doc_get_root(
								    doc),
							    "metadata"),
					     "uid")));
	yyjson_doc_free(doc);
	*ret_revision = o->revision;
	return uid;
}

/* Is the tenant of the user's certificate still the one it was issued in? Where
 * none has the name, whoever looks for it says so. */
static bool is_same_tenant(struct req *r)
{
	struct user *u = r->user;
	auto_free char *uid = NULL;
	uint64_t revision = 0;

	if (!u->tenant_uid)
		return true;
	uid = authn_tenant_uid(r->api, u->tenant, atomic_load(&u->tenant_seen),
			       &revision);
	if (!uid)
		return !revision;
	if (strcmp(uid, u->tenant_uid) != 0)
		return false;
	atomic_store(&u->tenant_seen, revision);
	return true;
}

bool authn_request(struct req *r)
{
	struct err e = { 0 };

	if (r->user) {
		if (is_same_tenant(r))
			return authn_impersonate(r);
		log_warn("user '%s': its certificate is of an earlier tenant "
			 "'%s', which was deleted",
			 r->user->name, r->user->tenant);
		reply_error(r, 401, "Unauthorized",
			    "the certificate was issued in an earlier tenant "
			    "\"%s\", which was deleted: ask for a new "
			    "kubeconfig",
			    r->user->tenant);
		return false;
	}
	if (!r->bearer)
		return true;
	if (authn_token(r->api, r->bearer, NULL, 0, NULL, &r->own_user, &e) <
	    0) {
		log_debug("token refused: %s", e.msg);
		reply_error(r, 401, "Unauthorized", "Unauthorized");
		return false;
	}
	r->user = r->own_user;
	return authn_impersonate(r);
}

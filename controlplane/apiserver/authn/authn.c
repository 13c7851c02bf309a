// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <time.h>

#include "controlplane/apiserver/authn/authn.h"
#include "controlplane/apiserver/authn/service_account.h"
#include "controlplane/apiserver/internal.h"
#include "lib/log.h"

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

bool authn_request(struct req *r)
{
	struct err e = { 0 };

	if (r->user)
		return authn_impersonate(r);
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

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Service accounts' tokens. A token says its tenant, is good for one audience
 * or more, and while the account (and the pod, secret or node it is bound to)
 * is there, the very one it was issued for.
 *
 * Tenants have issuers of their own, ISSUER/tenants/NAME: "sub" alone does not
 * tell two tenants' accounts apart, and who believes one issuer believes one
 * tenant.
 */
#ifndef CONTROLPLANE_APISERVER_AUTHN_SERVICE_ACCOUNT_H
#define CONTROLPLANE_APISERVER_AUTHN_SERVICE_ACCOUNT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "controlplane/apiserver/authn/user.h"

struct api;
struct buf;
struct err;
struct req;

#define SA_SECRET_TYPE "kubernetes.io/service-account-token"

/* A token of one of ours; see authn_token(). */
int account_user(struct api *api, const char *token,
		 const char *const *audiences, size_t nr,
		 const char **ret_audience, int64_t now_s, struct user **ret,
		 struct err *e);

/* POST .../serviceaccounts/NAME/token. */
void account_token_request(struct req *r);

/* The token that a Secret of type SA_SECRET_TYPE holds, appended. */
int account_legacy_token(struct api *api, const char *tenant, const char *ns,
			 const char *account, const char *uid,
			 const char *secret, struct buf *b, struct err *e);

/* /.well-known/openid-configuration and /openid/v1/jwks, of the system or,
 * below /tenants/NAME, of a tenant. False: it is another path. */
bool account_discovery(struct req *r);

#endif /* CONTROLPLANE_APISERVER_AUTHN_SERVICE_ACCOUNT_H */

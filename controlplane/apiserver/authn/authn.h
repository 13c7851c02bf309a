/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who asks. A client certificate decides when there is one; else the bearer
 * token: a bootstrap token, or a service account's.
 */
#ifndef CONTROLPLANE_APISERVER_AUTHN_AUTHN_H
#define CONTROLPLANE_APISERVER_AUTHN_AUTHN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "controlplane/apiserver/authn/user.h"

struct api;
struct err;
struct req;

#define TOKEN_MAX 16384 /* bytes of a bearer token */

/* Set r->user. False: it has answered 401. Without credentials r->user stays
 * NULL: nobody, who may look at the server's health. */
bool authn_request(struct req *r);

/* The uid of the tenant of this name, for free(3), and the revision of its
 * object. NULL: there is none (the revision is left alone), it is revision
 * @not_of (the same), or there is no memory. */
char *authn_tenant_uid(struct api *api, const char *tenant, uint64_t not_of,
		       uint64_t *ret_revision);

/* Become whom the Impersonate-* headers name. False: it has answered. */
bool authn_impersonate(struct req *r);

/**
 * authn_token() - Whose token is it?
 * @token:     As behind "Bearer ".
 * @audiences: [@nr] whom the token must be meant for, one of them; NULL: the
 *             API server itself.
 * @ret_audience: The one found, of @audiences. May be NULL. Borrowed.
 *
 * Return: 0, or -EACCES: nobody's, with the reason for the log, not for the
 * one who showed it.
 */
int authn_token(struct api *api, const char *token,
		const char *const *audiences, size_t nr,
		const char **ret_audience, struct user **ret, struct err *e);

/* Does it look like a bootstrap token, "abcdef.0123456789abcdef"? */
bool bootstrap_is_token(const char *token);
int bootstrap_user(struct api *api, const char *token, int64_t now_s,
		   struct user **ret, struct err *e);

/* "2026-01-02T03:04:05Z" as seconds; false when it is none. */
bool utc_parse(const char *text, int64_t *ret_s);

#endif /* CONTROLPLANE_APISERVER_AUTHN_AUTHN_H */

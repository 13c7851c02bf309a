/* SPDX-License-Identifier: Apache-2.0 */
/*
 * RBAC, compiled: for each tenant, from a subject to the rules bound to it.
 * Made of what is stored when a tenant's user first asks, and thrown away when
 * a role or binding of the tenant changes; what was acknowledged counts for
 * the next question.
 */
#ifndef CONTROLPLANE_APISERVER_AUTHZ_RBAC_H
#define CONTROLPLANE_APISERVER_AUTHZ_RBAC_H

#include <stdbool.h>
#include <yyjson.h>

struct access;
struct api;
struct err;
struct user;

int rbac_open(struct api *api, struct err *e);
void rbac_close(struct api *api);

/* Does any rule bound to @u, in its own tenant, allow this? */
bool rbac_allows(struct api *api, const struct user *u, const struct access *a);

/* Call @fn for each rule bound to @u for the namespace @ns (NULL: only those
 * for the whole tenant), until it returns true. */
bool rbac_visit(struct api *api, const struct user *u, const char *ns,
		bool (*fn)(yyjson_val *rule, void *arg), void *arg);

/* Does this one rule allow it? */
bool rbac_rule_allows(yyjson_val *rule, const struct access *a);

/* May @u do all that the rules (of a role to be) allow in @ns? NULL when so,
 * else what it may not, as text; free(). */
char *rbac_lacks(struct api *api, const struct user *u, const char *ns,
		 yyjson_val *rules);

/* Do the labels fit a LabelSelector? */
bool rbac_selects(yyjson_val *selector, yyjson_val *labels);

#endif /* CONTROLPLANE_APISERVER_AUTHZ_RBAC_H */

/* SPDX-License-Identifier: Apache-2.0 */
/* What a user may do: the wall between tenants, then the node's rules
 * (node.c) and RBAC (rbac.c) inside the user's own tenant. */
#ifndef CONTROLPLANE_APISERVER_AUTHZ_ACCESS_H
#define CONTROLPLANE_APISERVER_AUTHZ_ACCESS_H

#include <stdbool.h>

#include "controlplane/apiserver/authn/user.h"

struct api;
struct buf;

struct access {
	const char *verb, *group, *resource, *subresource, *name;
	const char *tenant, *namespace;
	const char *fields; /* the field selector as it was given, or NULL */
	const char *path;   /* of no resource; else NULL */
	bool cluster;       /* the resource is cluster-scoped */
	struct buf *reason; /* gets why it is allowed; NULL: not asked */
};

bool access_allowed(struct api *api, const struct user *u,
		    const struct access *a);

#endif /* CONTROLPLANE_APISERVER_AUTHZ_ACCESS_H */

/* SPDX-License-Identifier: Apache-2.0 */
/* Who asks (authn.c), and what they may do (rbac.c). */
#ifndef CONTROLPLANE_APISERVER_AUTHZ_ACCESS_H
#define CONTROLPLANE_APISERVER_AUTHZ_ACCESS_H

#include <openssl/x509.h>
#include <stdbool.h>
#include <stddef.h>

#include "lib/auto.h"

#define GROUPS_MAX 32

struct api;
struct err;

struct user {
	char *name;
	char *uid;
	char *tenant; /* never NULL or "" */
	char *groups[GROUPS_MAX];
	size_t nr_groups;
};

void user_free(struct user *u);
bool user_in_group(const struct user *u, const char *group);
DEFINE_AUTO_PTR(user, user_free)

int user_from_cert(X509 *cert, struct user **ret, struct err *e);

struct access {
	const char *verb, *group, *resource, *subresource, *name;
	const char *tenant, *namespace;
	const char *path; /* of no resource; else NULL */
	bool cluster;     /* the resource is cluster-scoped */
};

bool access_allowed(struct api *api, const struct user *u,
		    const struct access *a);

#endif /* CONTROLPLANE_APISERVER_AUTHZ_ACCESS_H */

/* SPDX-License-Identifier: Apache-2.0 */
/* The roles and bindings every tenant is born with. */
#ifndef CONTROLPLANE_APISERVER_AUTHZ_POLICY_H
#define CONTROLPLANE_APISERVER_AUTHZ_POLICY_H

#include <stdbool.h>
#include <stddef.h>

struct buf;

#define POLICY_OBJECTS_MAX 64

/* The @i-th ClusterRole of the system tenant (or of another one) as JSON.
 * False: there are no more. */
bool policy_role(size_t i, bool system, struct buf *b);
/* The same for ClusterRoleBindings. */
bool policy_binding(size_t i, bool system, struct buf *b);

#endif /* CONTROLPLANE_APISERVER_AUTHZ_POLICY_H */

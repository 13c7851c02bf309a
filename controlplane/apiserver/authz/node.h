/* SPDX-License-Identifier: Apache-2.0 */
/* What a node may read and write: what concerns the pods bound to it. */
#ifndef CONTROLPLANE_APISERVER_AUTHZ_NODE_H
#define CONTROLPLANE_APISERVER_AUTHZ_NODE_H

#include <stdbool.h>

struct access;
struct api;
struct object_bytes;

/* What the node authorizer allows the node @node. */
bool node_allowed(struct api *api, const char *node, const struct access *a);

/* The pod, when it is bound to @node; NULL otherwise. Owned reference. */
struct object_bytes *node_pod(struct api *api, const char *node,
			      const char *tenant, const char *ns,
			      const char *name);

#endif /* CONTROLPLANE_APISERVER_AUTHZ_NODE_H */

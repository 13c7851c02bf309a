/* SPDX-License-Identifier: Apache-2.0 */
/* ClusterRoles that are made of others: their rules are written down, so that
 * they can be read and granted. (What counts is always asked anew: rbac.c.) */
#ifndef CONTROLPLANE_APISERVER_AUTHZ_AGGREGATE_H
#define CONTROLPLANE_APISERVER_AUTHZ_AGGREGATE_H

struct api;
struct err;

/* Bring the aggregated roles of one tenant up to date. */
int aggregate_roles(struct api *api, const char *tenant, struct err *e);

#endif /* CONTROLPLANE_APISERVER_AUTHZ_AGGREGATE_H */

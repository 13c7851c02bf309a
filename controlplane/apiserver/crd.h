/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The types that CustomResourceDefinitions declare, per tenant.
 *
 * Each definition is compiled once per version of it into a type_set of its
 * own, which is shared by reference: requests keep the one they began with.
 * Built-in types are looked up first and without a lock, so that only custom
 * resources pay for the registry. A tenant's user is served the definitions of
 * tenant system that are forced on all (label arktos.futurewei.com/
 * crd-sharing-policy: forced), then the tenant's own.
 */
#ifndef CONTROLPLANE_APISERVER_CRD_H
#define CONTROLPLANE_APISERVER_CRD_H

#include "controlplane/schema/types.h"

struct api;
struct req;
struct crds;

#define CRD_GROUP  "apiextensions.k8s.io"
#define CRD_PLURAL "customresourcedefinitions"
#define CRD_MAX    1000 /* definitions of one tenant */

struct object_bytes;
struct store_list;

/* The types that the definition @o declares; see type_set_of_crd(). */
int set_of_crd(const struct object_bytes *o, bool system, struct type_set **ret,
	       struct err *e);
/* Is @t CustomResourceDefinition itself? */
bool crd_is(const struct type *t);
/* A tenant's list shows what is forced on it, too. -ENOMEM. */
int crds_add_forced(struct api *api, struct store_list *list);

int crds_open(struct api *api, struct err *e);
int crds_start(struct api *api, struct err *e); /* the thread that cleans up */
void crds_stop(struct api *api);
void crds_close(struct api *api);

/* The type @tenant is served; *ret_set is a reference that keeps it. */
const struct type *crds_find(struct api *api, const char *tenant,
			     const char *group, const char *version,
			     const char *plural, struct type_set **ret_set);
/* The same by kind, for who knows no URL. */
const struct type *crds_find_kind(struct api *api, const char *tenant,
				  const char *group, const char *version,
				  const char *kind, struct type_set **ret_set);
/* All that @tenant is served, as references; release with crds_list_free().
 * -ENOMEM. */
int crds_list(struct api *api, const char *tenant, struct type_set ***ret,
	      size_t *ret_nr);
void crds_list_free(struct type_set **v, size_t nr);
/* Read @tenant's definitions again; done before a change is answered. */
void crds_refresh(struct api *api, const char *tenant);
/* Is @name a definition of tenant system that is forced on all? */
bool crds_is_forced(struct api *api, const char *name);
/* Why @names, of definition @crd and @group, cannot be @tenant's: a reason
 * ("KindConflict") with *ret_name in use; NULL: nothing is in the way. */
const char *crds_conflict(struct api *api, const char *tenant, const char *crd,
			  const char *group, yyjson_mut_val *names,
			  const char **ret_name);
/* Conditions, accepted names, stored versions, as they are now. */
void crd_set_status(yyjson_mut_doc *doc, yyjson_mut_val *obj,
		    const char *conflict, const char *name);

#endif /* CONTROLPLANE_APISERVER_CRD_H */

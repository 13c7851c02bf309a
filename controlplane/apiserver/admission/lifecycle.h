/* SPDX-License-Identifier: Apache-2.0 */
/* What comes with tenants and namespaces, and how they end. */
#ifndef CONTROLPLANE_APISERVER_ADMISSION_LIFECYCLE_H
#define CONTROLPLANE_APISERVER_ADMISSION_LIFECYCLE_H

#include <stdbool.h>
#include <stddef.h>

struct api;
struct buf;
struct err;
struct store_op;
struct type;

/* What comes with a new tenant or namespace, as JSON objects. */
struct born {
	struct store_op *ops;
	struct buf *bufs;
	size_t nr;
};

/* One object of tenant and namespace, @json but for what the system sets. */
int born_add(struct api *api, struct born *b, const struct type *t,
	     const char *tenant, const char *ns, const char *json);
int born_with_tenant(struct api *api, const char *tenant, struct born *b);
int born_with_namespace(struct api *api, const char *tenant, const char *ns,
			struct born *b);
void born_clear(struct born *b);
/* Make sure that all that comes with each tenant is there. */
int lifecycle_bootstrap(struct api *api, struct err *e);
/* The Service "kubernetes" and where it leads (own_service.c); @replace: also
 * when what is there leads elsewhere. */
int own_service_repair(struct api *api, bool replace, struct err *e);
int lifecycle_start(struct api *api, struct err *e);
void lifecycle_stop(struct api *api);

#endif /* CONTROLPLANE_APISERVER_ADMISSION_LIFECYCLE_H */

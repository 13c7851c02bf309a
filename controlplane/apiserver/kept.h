/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is made of a tenant's objects (rules, policies), and kept until one of
 * them changes.
 *
 * It is made when it is first asked for, and thrown away when a watch tells of
 * a change: what was acknowledged counts for the next who asks. Who has got it
 * keeps it for as long as its reference.
 */
#ifndef CONTROLPLANE_APISERVER_KEPT_H
#define CONTROLPLANE_APISERVER_KEPT_H

#include <stdatomic.h>
#include <stddef.h>

struct api;
struct err;
struct kept;

#define KEPT_TENANTS_MAX 512 /* at one time */
#define KEPT_WATCHES_MAX 4

/* The first member of what is kept. */
struct kept_head {
	atomic_uint refs;
	void (*free)(struct kept_head *made);
};

struct kept_opts {
	struct api *api;
	/* Of the store, up to the tenant: "apps/deployments/". */
	const char *prefixes[KEPT_WATCHES_MAX];
	size_t nr_prefixes;
	/* NULL: out of memory. .refs need not be set. */
	struct kept_head *(*make)(struct api *api, const char *tenant);
};

int kept_open(const struct kept_opts *o, struct kept **ret, struct err *e);
void kept_close(struct kept *k);

/* The tenant's, as a reference; NULL: out of memory. From any thread. */
void *kept_get(struct kept *k, const char *tenant);
void kept_unref(void *made); /* NULL is fine */

#endif /* CONTROLPLANE_APISERVER_KEPT_H */

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * API aggregation: a group's version that an extension server serves. An
 * APIService says which; requests below /apis/GROUP/VERSION are passed on to
 * it, with the user told in headers that our front-proxy certificate vouches
 * for.
 *
 * A thread of its own follows the APIServices and what they depend on, asks
 * each server for its discovery, and keeps the condition Available. What it
 * knows is published as immutable entries, which is all that requests look at.
 *
 *   aggregator.c  the table of entries       follow.c  the thread
 *   place.c       where a server is          fetch.c   one question to it
 *   proxy.c       requests that are passed on
 *   front_proxy.c our certificate, and who is told of it
 *
 * The system's APIServices are everybody's; a tenant's are its own. Neither
 * takes the place of a group that is built in, or of a version that a
 * CustomResourceDefinition serves.
 */
#ifndef CONTROLPLANE_APISERVER_AGGREGATOR_AGGREGATOR_H
#define CONTROLPLANE_APISERVER_AGGREGATOR_AGGREGATOR_H

#include <stdbool.h>
#include <stddef.h>

struct api;
struct cidrs;
struct discovery_foreign;
struct err;
struct extension;
struct req;

#define APISERVICE_GROUP  "apiregistration.k8s.io"
#define APISERVICE_PLURAL "apiservices"

/* @cidrs: "10.0.0.0/8,fd00::/8": where tenants' servers may be; NULL: nowhere.
 * Borrowed for the call. */
int aggregator_open(struct api *api, const char *cidrs, struct err *e);
int aggregator_start(struct api *api, struct err *e);
/* No more questions; entries stay until aggregator_close(). */
void aggregator_stop(struct api *api);
void aggregator_close(struct api *api);

/* Where tenants' servers may be. */
const struct cidrs *aggregator_cidrs(const struct api *api);

/* Who serves what @r is about, if it is somebody else: sets r->extension, and
 * completes the route. Once the user is known. */
void aggregator_route(struct req *r);
/* Pass @r on to r->extension: it is answered later. */
void aggregator_proxy(struct req *r);

/* Entries for discovery in @tenant: [*ret_nr], owned by the caller. 0 or
 * -ENOMEM. */
struct extensions {
	struct extension **v;
	struct discovery_foreign *foreign; /* [nr], borrows from @v */
	size_t nr;
};

int aggregator_list(struct api *api, const char *tenant,
		    struct extensions *ret);
void extensions_clear(struct extensions *x);

void extension_unref(struct extension *x); /* NULL is fine */

#endif /* CONTROLPLANE_APISERVER_AGGREGATOR_AGGREGATOR_H */

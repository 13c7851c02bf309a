/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ResourceQuota, of a namespace (the objects of that type) and of a tenant
 * (spec.quota of the Tenant).
 *
 * A ledger holds what each quota's objects use. It is made by one look at what
 * is stored and follows the watches from then on. A change that is let in is
 * reserved until the watches have told of it, so two who come at once cannot
 * both have the last place, and nothing waits for anything. status.used is
 * written by a thread behind it.
 */
#ifndef CONTROLPLANE_APISERVER_ADMISSION_QUOTA_H
#define CONTROLPLANE_APISERVER_ADMISSION_QUOTA_H

#include <stdbool.h>
#include <stdint.h>
#include <yyjson.h>

struct api;
struct err;
struct quota_hold;
struct type;

int quota_start(struct api *api, struct err *e);
void quota_stop(struct api *api);
void quota_close(struct api *api);

/* What was reserved for a change is settled: it is stored, or it failed. From
 * any thread, once. NULL is fine. */
void quota_settle(struct quota_hold *h, bool stored);

/* --- measure.c: pure --- */

/* Does the quota's resource @name count objects of @t at all? */
bool quota_counts(const char *name, const struct type *t);
/* How much of @name the object uses; cpu in thousandths. */
int64_t quota_measure(const char *name, const struct type *t, yyjson_val *obj);
/* Is the object of the quota's scopes (spec.scopes, spec.scopeSelector)? */
bool quota_in_scope(yyjson_val *spec, const struct type *t, yyjson_val *obj);
/* The first container that leaves open what @name limits; NULL: none. */
const char *quota_unspecified(const char *name, yyjson_val *pod);
/* Between text and number, in the unit of @name. -EINVAL. */
int quota_parse(const char *name, const char *text, int64_t *ret);
const char *quota_format(const char *name, int64_t v, char buf[32]);

#endif /* CONTROLPLANE_APISERVER_ADMISSION_QUOTA_H */

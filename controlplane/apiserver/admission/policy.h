/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ValidatingAdmissionPolicies: what requests must keep to, in CEL.
 *
 *	policy.c         which policies a request meets, and what comes of it
 *	policy_set.c     a tenant's policies and bindings, compiled and kept
 *	policy_params.c  the objects that a binding names as parameters
 *	policy_config.c  who may write policies, and how many
 *	policy_count.c   metrics
 *
 * The system's policies are asked about all tenants, or those that the
 * annotation arktos.futurewei.com/tenants (of policy or binding) names; a
 * tenant's own about that tenant. Parameters are the request's tenant's.
 */
#ifndef CONTROLPLANE_APISERVER_ADMISSION_POLICY_H
#define CONTROLPLANE_APISERVER_ADMISSION_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "controlplane/apiserver/kept.h"
#include "controlplane/schema/expressions.h"
#include "lib/map.h"

struct admission;
struct buf;
struct type;
struct type_set;

#define POLICY_GROUP    "admissionregistration.k8s.io"
#define POLICIES        "validatingadmissionpolicies"
#define POLICY_BINDINGS "validatingadmissionpolicybindings"

#define POLICIES_MAX      200               /* of a tenant; bindings, too */
#define POLICY_SET_MEM    (4 * 1024 * 1024) /* a tenant's, compiled */
#define POLICY_COST_MAX   200000            /* steps of one expression */
#define POLICY_BUDGET_MAX 1000000           /* of a tenant's, for one request */
#define POLICY_PARAMS_MAX 64                /* that a selector may select */

int policies_open(struct api *api, struct err *e);
void policies_close(struct api *api);

/* --- policy_set.c --- */

/* Of the first, @message and @reason; of an annotation its key. Strings are of
 * the policy's document. */
struct policy_expression {
	const char *text, *message, *reason, *key;
	struct cel *cel, *message_cel; /* @message_cel may be NULL */
};

struct policy_binding {
	yyjson_doc *doc;
	const char *name;
	yyjson_val *root, *match, *param_ref, *actions;
	bool deny, warn, audit;
};

struct policy {
	yyjson_doc *doc;
	const char *name;
	yyjson_val *root, *match, *param_kind;
	bool ignore; /* what cannot be told is let in */
	char *wrong; /* why it cannot be asked; NULL: it can */
	struct cel_named *named;
	struct policy_expression *conditions, *checks, *notes;
	size_t nr_named, nr_conditions, nr_checks, nr_notes;
	struct policy_binding *bindings;
	size_t nr_bindings;
};

/* Only policies that are bound. */
struct policy_set {
	struct kept_head head;
	struct policy *v;
	size_t nr, bytes;
};

struct kept_head *policy_set_make(struct api *api, const char *tenant);

/* --- policy_params.c --- */

struct policy_params {
	yyjson_mut_doc *v[POLICY_PARAMS_MAX]; /* NULL: evaluate without */
	size_t nr;
};

/* The type of the policy's parameters, as @tenant is served it; NULL: there is
 * none. @set keeps it. */
const struct type *policy_param_type(struct api *api, const char *tenant,
				     const char *api_version, const char *kind,
				     struct type_set **set);
/* What the binding's parameters are for this request. 0, or -errno with what
 * is wrong with the configuration. @own: it is not the system's. */
int policy_params_get(const struct admission *a, const struct policy *p,
		      const struct policy_binding *b, bool own,
		      struct policy_params *ret, struct err *e);
void policy_params_clear(struct policy_params *p);

/* --- policy_count.c --- */

struct policy_counts;
struct policies {
	struct kept *kept;
	struct policy_counts *counts;
};

struct policy_counts *policy_counts_new(void);
void policy_counts_free(struct policy_counts *c);
/* One expression was evaluated for @action ("deny"), with @error ("no_error").
 * NULL names: of some tenant's own policy. */
void policy_count(struct policy_counts *c, const char *policy,
		  const char *binding, const char *error, const char *action,
		  uint64_t took_ns);
void policy_metrics(struct api *api, struct buf *b);

#endif /* CONTROLPLANE_APISERVER_ADMISSION_POLICY_H */

/* SPDX-License-Identifier: Apache-2.0 */
/* audit.k8s.io/v1 Policy: which events are wanted, and how much of them. */
#ifndef CONTROLPLANE_APISERVER_AUDIT_POLICY_H
#define CONTROLPLANE_APISERVER_AUDIT_POLICY_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/auto.h"

struct audit_policy;
struct err;
struct user;

enum audit_level {
	AUDIT_NONE,
	AUDIT_METADATA,
	AUDIT_REQUEST,
	AUDIT_REQUEST_RESPONSE
};

enum audit_stage { STAGE_RECEIVED, STAGE_STARTED, STAGE_COMPLETE, STAGE_PANIC };

extern const char *const audit_levels[];
extern const char *const audit_stages[];

/* One request, as rules see it; all borrowed, NULL where there is none. */
struct audit_attrs {
	const struct user *user;
	const char *verb;
	const char *tenant, *group, *resource, *subresource, *namespace, *name;
	const char *path; /* of no resource */
};

struct audit_verdict {
	enum audit_level level;
	unsigned int omit; /* bits of enum audit_stage */
	bool omit_managed_fields;
};

/* @text: YAML or JSON. -EBADMSG, -EINVAL: which field is wrong is in @e. */
int audit_policy_parse(const char *text, size_t len, struct audit_policy **ret,
		       struct err *e);
void audit_policy_free(struct audit_policy *p);
DEFINE_AUTO_PTR(audit_policy, audit_policy_free)

/* By the first rule that fits; without one: nothing. */
struct audit_verdict audit_policy_ask(const struct audit_policy *p,
				      const struct audit_attrs *a);

#endif /* CONTROLPLANE_APISERVER_AUDIT_POLICY_H */

/* SPDX-License-Identifier: Apache-2.0 */
/* Which requests are meant: shared by the rules of webhooks and policies. */
#ifndef CONTROLPLANE_SCHEMA_RULES_MATCH_H
#define CONTROLPLANE_SCHEMA_RULES_MATCH_H

#include "controlplane/schema/schema.h"

/* Where it looks, and what is wrong. */
struct judge {
	struct path at;
	struct field_errors *errs;
};

/* @field may be NULL: it is about the place itself. */
void judge_complain(struct judge *j, enum field_error_type type,
		    const char *field, yyjson_mut_val *v, const char *why);
/* Whether a list of strings has this one. */
bool judge_has(yyjson_mut_val *list, const char *want);
/* Field @field of @of: a LabelSelector, rules with operations, MatchResources.
 * What is not there is fine. */
void judge_selector(struct judge *j, yyjson_mut_val *of, const char *field);
void judge_rules(struct judge *j, yyjson_mut_val *of, const char *field);
void judge_match(struct judge *j, yyjson_mut_val *of, const char *field);

#endif /* CONTROLPLANE_SCHEMA_RULES_MATCH_H */

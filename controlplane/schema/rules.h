/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the files of rules; see struct type_hooks. */
#ifndef CONTROLPLANE_SCHEMA_RULES_H
#define CONTROLPLANE_SCHEMA_RULES_H

#include "controlplane/schema/types.h"

#define HOOKS(text, prepare_fn, validate_fn, update_fn) \
	HOOKS_WITH(text, NULL, prepare_fn, validate_fn, update_fn)
#define HOOKS_WITH(text, complete_fn, prepare_fn, validate_fn, update_fn) \
	{                                                                 \
		.name = (text), .complete = (complete_fn),                \
		.prepare = (prepare_fn), .validate = (validate_fn),       \
		.validate_update = (update_fn),                           \
	}

/* Of any pod spec; @prefix is where it is: "spec.template.spec". */
void rule_default_pod_spec(yyjson_mut_doc *doc, yyjson_mut_val *spec);
void rule_check_pod_spec(yyjson_mut_val *spec, const char *prefix,
			 struct field_errors *errs);
/* The same with volumeClaimTemplates (may be NULL), which are volumes, too. */
void rule_check_template(yyjson_mut_val *spec, yyjson_mut_val *claims,
			 const char *prefix, struct field_errors *errs);

void rule_pod_complete(yyjson_mut_doc *doc, yyjson_mut_val *obj);
void rule_pod_prepare(yyjson_mut_doc *doc, yyjson_mut_val *obj,
		      yyjson_mut_val *old, const char *subresource);
void rule_pod_validate(yyjson_mut_val *obj, struct field_errors *errs);
void rule_pod_validate_update(yyjson_mut_val *obj, yyjson_mut_val *old,
			      struct field_errors *errs);

/* rules_app.c */
void rule_forbid_change(yyjson_mut_val *obj, yyjson_mut_val *old,
			const char *path, struct field_errors *errs);
void rule_statefulset_update(yyjson_mut_val *obj, yyjson_mut_val *old,
			     struct field_errors *errs);
void rule_check_strategy(yyjson_mut_val *obj, struct field_errors *errs);
void rule_check_secret_type(yyjson_mut_val *obj, struct field_errors *errs);
const struct type_hooks *type_hooks_find_app(const char *name);

/* rules_job.c */
extern const struct type_hooks type_hooks_job;

/* rules_types.c: those of the smaller groups. */
const struct type_hooks *type_hooks_find_more(const char *name);

/* rules_admission.c; NULL: it is none of them. */
const struct type_hooks *type_hooks_find_admission(const char *name);

#endif /* CONTROLPLANE_SCHEMA_RULES_H */

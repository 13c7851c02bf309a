// SPDX-License-Identifier: Apache-2.0
/* Jobs: defaults, what they get, and the rules of their policies. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "controlplane/schema/rules.h"
#include "lib/str.h"

#define RULES_MAX 20
#define CODES_MAX 255
#define INDEXES_LIMIT                                           \
	100000 /* of failed ones, beyond which they are counted \
		*/
#define POLICY  "spec.podFailurePolicy"
#define SUCCESS "spec.successPolicy"

static bool is_indexed(yyjson_mut_val *obj)
{
	return str_eq(mut_str(obj, "spec.completionMode"), "Indexed");
}

/* --- defaults ------------------------------------------------------------- */

static void job_complete(yyjson_mut_doc *doc, yyjson_mut_val *obj)
{
	yyjson_mut_val *spec = mut_get(obj, "spec.template.spec");

	if (spec)
		rule_default_pod_spec(doc, spec);
	if (!mut_get(obj, "spec"))
		return;
	/* With neither number it is one pod; with parallelism alone they share
	 * a queue of work, and the first success says that it is empty. */
	if (!mut_get(obj, "spec.completions") &&
	    !mut_get(obj, "spec.parallelism"))
		mut_set_int(doc, obj, "spec.completions", 1);
	if (!mut_get(obj, "spec.parallelism"))
		mut_set_int(doc, obj, "spec.parallelism", 1);
	if (!mut_get(obj, "spec.backoffLimit"))
		mut_set_int(doc, obj, "spec.backoffLimit",
			    mut_get(obj, "spec.backoffLimitPerIndex") ? INT_MAX
								      : 6);
	if (!mut_get(obj, "spec.podReplacementPolicy"))
		mut_set_str(doc, obj, "spec.podReplacementPolicy",
			    mut_get(obj, POLICY) ? "Failed"
						 : "TerminatingOrFailed");
}

static void job_prepare(yyjson_mut_doc *doc, yyjson_mut_val *obj,
			yyjson_mut_val *old, const char *subresource)
{
	yyjson_mut_val *spec = mut_get(obj, "spec.template.spec");
	const char *uid = mut_str(obj, "metadata.uid");
	const char *name = mut_str(obj, "metadata.name");

	if (*subresource || !spec || old || !uid || !name ||
	    mut_bool(obj, "spec.manualSelector"))
		return;
	if (!mut_get(obj, "spec.template.metadata.labels"))
		mut_set(doc, obj, "spec.template.metadata.labels",
			yyjson_mut_obj(doc));
	if (!mut_get(obj, "spec.selector.matchLabels"))
		mut_set(doc, obj, "spec.selector.matchLabels",
			yyjson_mut_obj(doc));
	mut_put(doc, mut_get(obj, "spec.selector.matchLabels"),
		"batch.kubernetes.io/controller-uid",
		yyjson_mut_strcpy(doc, uid));
	obj = mut_get(obj, "spec.template.metadata.labels");
	mut_put(doc, obj, "batch.kubernetes.io/controller-uid",
		yyjson_mut_strcpy(doc, uid));
	mut_put(doc, obj, "batch.kubernetes.io/job-name",
		yyjson_mut_strcpy(doc, name));
	mut_put(doc, obj, "controller-uid", yyjson_mut_strcpy(doc, uid));
	mut_put(doc, obj, "job-name", yyjson_mut_strcpy(doc, name));
}

/* --- policies ------------------------------------------------------------- */

/* Something about a rule of a policy. */
struct at {
	struct field_errors *errs;
	char path[128];
};

static void wrong(const struct at *a, enum field_error_type type,
		  const char *field, yyjson_mut_val *v, const char *text)
{
	char path[192];

	snprintf(path, sizeof(path), "%s%s%s", a->path, *field ? "." : "",
		 field);
	field_error_add(a->errs, type, path, v, "%s", text);
}

static bool names_container(yyjson_mut_val *obj, const char *name)
{
	static const char *const lists[] = { "spec.template.spec.containers",
					     "spec.template.spec."
					     "initContainers" };
	yyjson_mut_val *c;
	size_t j, max;

	for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
		yyjson_mut_arr_foreach(mut_get(obj, lists[i]), j, max, c)
		{
			if (str_eq(mut_str(c, "name"), name))
				return true;
		}
	}
	return false;
}

static void check_codes(yyjson_mut_val *obj, yyjson_mut_val *rule,
			const struct at *a)
{
	yyjson_mut_val *on = mut_get(rule, "onExitCodes"), *v;
	yyjson_mut_val *values = mut_get(on, "values");
	const char *name = mut_str(on, "containerName");
	bool in = str_eq(mut_str(on, "operator"), "In"), ordered = true;
	int64_t last = INT64_MIN;
	size_t i, max;

	if (name && !names_container(obj, name))
		wrong(a, FIELD_INVALID, "onExitCodes.containerName",
		      mut_get(on, "containerName"),
		      "must be one of the container or initContainer names in "
		      "the pod template");
	if (!yyjson_mut_arr_size(values))
		wrong(a, FIELD_INVALID, "onExitCodes.values", values,
		      "at least one value is required");
	if (yyjson_mut_arr_size(values) > CODES_MAX)
		wrong(a, FIELD_TOO_MANY, "onExitCodes.values", NULL,
		      "must have at most 255 items");
	yyjson_mut_arr_foreach(values, i, max, v)
	{
		int64_t code = yyjson_mut_get_sint(v);
		char field[48];

		snprintf(field, sizeof(field), "onExitCodes.values[%zu]", i);
		if (code == last)
			wrong(a, FIELD_DUPLICATE, field, v, "");
		if (in && code == 0)
			wrong(a, FIELD_INVALID, field, v,
			      "must not be 0 for the In operator");
		ordered &= code >= last;
		last = code;
	}
	if (!ordered)
		wrong(a, FIELD_INVALID, "onExitCodes.values", values,
		      "must be ordered");
}

static void check_failure_rule(yyjson_mut_val *obj, yyjson_mut_val *rule,
			       const struct at *a)
{
	bool codes = mut_get(rule, "onExitCodes");
	size_t nr = yyjson_mut_arr_size(mut_get(rule, "onPodConditions"));

	if (str_eq(mut_str(rule, "action"), "FailIndex") &&
	    !mut_get(obj, "spec.backoffLimitPerIndex"))
		wrong(a, FIELD_INVALID, "action", mut_get(rule, "action"),
		      "requires the backoffLimitPerIndex to be set");
	if (codes && nr)
		wrong(a, FIELD_INVALID, "", NULL,
		      "specifying both OnExitCodes and OnPodConditions is not "
		      "supported");
	else if (!codes && !nr)
		wrong(a, FIELD_INVALID, "", NULL,
		      "specifying one of OnExitCodes and OnPodConditions is "
		      "required");
	if (codes)
		check_codes(obj, rule, a);
	if (nr > RULES_MAX)
		wrong(a, FIELD_TOO_MANY, "onPodConditions", NULL,
		      "must have at most 20 items");
}

static void check_failure_policy(yyjson_mut_val *obj, struct field_errors *errs)
{
	yyjson_mut_val *rules = mut_get(obj, POLICY ".rules"), *v;
	yyjson_mut_val *restart =
		mut_get(obj, "spec.template.spec.restartPolicy");
	yyjson_mut_val *replace = mut_get(obj, "spec.podReplacementPolicy");
	size_t i, max;

	if (!mut_get(obj, POLICY))
		return;
	if (!str_eq(yyjson_mut_get_str(restart), "Never"))
		field_error_add(errs, FIELD_INVALID,
				"spec.template.spec.restartPolicy", restart,
				"only \"Never\" is supported when "
				"podFailurePolicy is specified");
	if (replace && !str_eq(yyjson_mut_get_str(replace), "Failed"))
		field_error_add(errs, FIELD_NOT_SUPPORTED,
				"spec.podReplacementPolicy", replace,
				"supported values: \"Failed\"");
	if (yyjson_mut_arr_size(rules) > RULES_MAX)
		field_error_add(errs, FIELD_TOO_MANY, POLICY ".rules", NULL,
				"must have at most 20 items");
	yyjson_mut_arr_foreach(rules, i, max, v)
	{
		struct at a = { .errs = errs };

		snprintf(a.path, sizeof(a.path), POLICY ".rules[%zu]", i);
		check_failure_rule(obj, v, &a);
	}
}

/* "1,3-5" in ascending order, each below @completions. */
static const char *indexes_wrong(const char *s, int64_t completions)
{
	int64_t last = -1;

	while (*s) {
		char *end;
		int64_t from = strtoll(s, &end, 10), to = from;

		if (end == s || from <= last)
			return "must be a list of ascending indexes and "
			       "ranges: 1,3-5,7";
		s = end;
		if (*s == '-') {
			to = strtoll(s + 1, &end, 10);
			if (end == s + 1 || to <= from)
				return "the end of a range must be more than "
				       "its start";
			s = end;
		}
		if (to >= completions)
			return "too large index: must be less than the number "
			       "of completions";
		last = to;
		if (*s == ',' && s[1])
			s++;
		else if (*s)
			return "must be a list of ascending indexes and "
			       "ranges: 1,3-5,7";
	}
	return NULL;
}

static void check_success_policy(yyjson_mut_val *obj, struct field_errors *errs)
{
	yyjson_mut_val *policy = mut_get(obj, SUCCESS), *v;
	yyjson_mut_val *rules = mut_get(policy, "rules");
	int64_t completions = mut_int(obj, "spec.completions", 0);
	size_t i, max;

	if (!policy)
		return;
	if (!is_indexed(obj)) {
		field_error_add(errs, FIELD_INVALID, SUCCESS, policy,
				"requires indexed completion mode");
		return;
	}
	if (!yyjson_mut_arr_size(rules))
		field_error_add(errs, FIELD_REQUIRED, SUCCESS ".rules", NULL,
				"at least one rules must be specified when the "
				"successPolicy is specified");
	if (yyjson_mut_arr_size(rules) > RULES_MAX)
		field_error_add(errs, FIELD_TOO_MANY, SUCCESS ".rules", NULL,
				"must have at most 20 items");
	yyjson_mut_arr_foreach(rules, i, max, v)
	{
		const char *indexes = mut_str(v, "succeededIndexes");
		yyjson_mut_val *count = mut_get(v, "succeededCount");
		struct at a = { .errs = errs };
		const char *why;

		snprintf(a.path, sizeof(a.path), SUCCESS ".rules[%zu]", i);
		if (!indexes && !count)
			wrong(&a, FIELD_REQUIRED, "", NULL,
			      "at least one of succeededCount or "
			      "succeededIndexes must be specified");
		why = indexes ? indexes_wrong(indexes, completions) : NULL;
		if (why)
			wrong(&a, FIELD_INVALID, "succeededIndexes",
			      mut_get(v, "succeededIndexes"), why);
		if (count && yyjson_mut_get_sint(count) > completions)
			wrong(&a, FIELD_INVALID, "succeededCount", count,
			      "must be less than or equal to the number of "
			      "specified completions");
	}
}

static void check_per_index(yyjson_mut_val *obj, struct field_errors *errs)
{
	yyjson_mut_val *limit = mut_get(obj, "spec.backoffLimitPerIndex");
	yyjson_mut_val *max = mut_get(obj, "spec.maxFailedIndexes");
	int64_t completions = mut_int(obj, "spec.completions", 0);

	if (!is_indexed(obj)) {
		if (limit)
			field_error_add(errs, FIELD_INVALID,
					"spec.backoffLimitPerIndex", limit,
					"requires indexed completion mode");
		if (max)
			field_error_add(errs, FIELD_INVALID,
					"spec.maxFailedIndexes", max,
					"requires indexed completion mode");
		return;
	}
	if (!mut_get(obj, "spec.completions"))
		field_error_add(errs, FIELD_REQUIRED, "spec.completions", NULL,
				"when completion mode is Indexed");
	if (max && !limit)
		field_error_add(errs, FIELD_REQUIRED,
				"spec.backoffLimitPerIndex", NULL,
				"when maxFailedIndexes is specified");
	if (max && yyjson_mut_get_sint(max) > completions)
		field_error_add(errs, FIELD_INVALID, "spec.maxFailedIndexes",
				max,
				"must be less than or equal to completions");
	if (limit && !max && completions > INDEXES_LIMIT)
		field_error_add(errs, FIELD_REQUIRED, "spec.maxFailedIndexes",
				NULL,
				"must be specified when completions is above "
				"100000");
}

/* --- all of it ------------------------------------------------------------ */

static void job_validate(yyjson_mut_val *obj, struct field_errors *errs)
{
	yyjson_mut_val *spec = mut_get(obj, "spec.template.spec");
	const char *restart = mut_str(spec, "restartPolicy");

	if (!spec)
		return;
	rule_check_pod_spec(spec, "spec.template.spec", errs);
	if (str_eq(restart, "Always"))
		field_error_add(errs, FIELD_REQUIRED,
				"spec.template.spec.restartPolicy", NULL,
				"valid values: \"OnFailure\", \"Never\"");
	check_per_index(obj, errs);
	check_failure_policy(obj, errs);
	check_success_policy(obj, errs);
}

static void job_update(yyjson_mut_val *obj, yyjson_mut_val *old,
		       struct field_errors *errs)
{
	static const char *const fixed[] = {
		"spec.selector", "spec.completionMode",
		POLICY,          "spec.backoffLimitPerIndex",
		SUCCESS,         "spec.managedBy",
	};

	for (size_t i = 0; i < ARRAY_LEN(fixed); i++)
		rule_forbid_change(obj, old, fixed[i], errs);
	if (!mut_bool(old, "spec.suspend"))
		rule_forbid_change(obj, old, "spec.template", errs);
	if (!is_indexed(obj))
		rule_forbid_change(obj, old, "spec.completions", errs);
}

const struct type_hooks type_hooks_job =
	HOOKS_WITH("job", job_complete, job_prepare, job_validate, job_update);

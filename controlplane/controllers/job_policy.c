// SPDX-License-Identifier: Apache-2.0
#include "controlplane/controllers/job_policy.h"

#include <stdint.h>
#include <stdio.h>

#include "controlplane/client/object.h"
#include "controlplane/controllers/job_plan.h"
#include "lib/str.h"

/* --- failures --- */

static bool code_fits(yyjson_val *rule, int64_t code)
{
	bool in = str_eq(obj_str(rule, "operator"), "In");
	yyjson_val *v;
	size_t i, max;

	yyjson_arr_foreach(obj_at(rule, "values"), i, max, v)
	{
		if (yyjson_get_sint(v) == code)
			return in;
	}
	return !in;
}

/* The container of @list whose end fits; success never does. */
static yyjson_val *code_of(yyjson_val *rule, yyjson_val *list)
{
	const char *name = obj_str(rule, "containerName");
	yyjson_val *c;
	size_t i, max;

	yyjson_arr_foreach(list, i, max, c)
	{
		int64_t code = obj_int(c, "state.terminated.exitCode", 0);

		if (code && (!*name || str_eq(name, obj_str(c, "name"))) &&
		    code_fits(rule, code))
			return c;
	}
	return NULL;
}

static yyjson_val *condition_of(yyjson_val *rules, yyjson_val *pod)
{
	yyjson_val *conds = obj_at(pod, "status.conditions"), *want, *have;
	size_t i, max;

	yyjson_arr_foreach(rules, i, max, want)
	{
		have = obj_item(conds, "type", obj_str(want, "type"));
		if (have &&
		    str_eq(obj_str(have, "status"), obj_str(want, "status")))
			return have;
	}
	return NULL;
}

static enum job_failure meaning(const char *action)
{
	return str_eq(action, "FailJob")     ? JOB_FAILURE_OF_JOB
	       : str_eq(action, "FailIndex") ? JOB_FAILURE_OF_INDEX
	       : str_eq(action, "Ignore")    ? JOB_FAILURE_IGNORED
					     : JOB_FAILURE_COUNTS;
}

enum job_failure job_failure(yyjson_val *policy, yyjson_val *pod, char *why,
			     size_t size)
{
	yyjson_val *rules = obj_at(policy, "rules"), *rule;
	const char *space = obj_str(pod, "metadata.namespace");
	const char *name = obj_str(pod, "metadata.name");
	size_t i, max;

	yyjson_arr_foreach(rules, i, max, rule)
	{
		const char *action = obj_str(rule, "action");
		yyjson_val *on = obj_at(rule, "onExitCodes");
		yyjson_val *is = NULL;

		if (on) {
			is = code_of(on,
				     obj_at(pod, "status.containerStatuses"));
			if (!is)
				is = code_of(on,
					     obj_at(pod,
						    "status."
						    "initContainerStatuses"));
			if (is)
				snprintf(why, size,
					 "Container %s for pod %s/%s failed "
					 "with exit code %lld matching %s rule "
					 "at index %zu",
					 obj_str(is, "name"), space, name,
					 (long long)obj_int(
						 is,
						 "state.terminated.exitCode",
						 0),
					 action, i);
		} else {
			is = condition_of(obj_at(rule, "onPodConditions"), pod);
			if (is)
				snprintf(why, size,
					 "Pod %s/%s has condition %s matching "
					 "%s rule at index %zu",
					 space, name, obj_str(is, "type"),
					 action, i);
		}
		if (is)
			return meaning(action);
	}
	return JOB_FAILURE_COUNTS;
}

/* --- success --- */

static bool is_enough(yyjson_val *rule, const struct index_set *done)
{
	const char *indexes = obj_str(rule, "succeededIndexes");
	int64_t count = obj_int(rule, "succeededCount", -1), have = 0;
	struct index_set named = { .size = 0 };

	if (!*indexes)
		return count >= 0 && done->count >= count;
	if (index_set_init(&named, done->size) < 0 ||
	    index_set_parse(&named, indexes) < 0) {
		index_set_clear(&named);
		return false;
	}
	for (int64_t i = 0; i < named.size; i++)
		have += index_set_has(&named, i) && index_set_has(done, i);
	if (count < 0)
		count = named.count;
	index_set_clear(&named);
	return have >= count;
}

int job_success_rule(yyjson_val *policy, const struct index_set *done)
{
	yyjson_val *rule;
	size_t i, max;

	yyjson_arr_foreach(obj_at(policy, "rules"), i, max, rule)
	{
		if (is_enough(rule, done))
			return (int)i;
	}
	return -1;
}

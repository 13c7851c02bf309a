// SPDX-License-Identifier: Apache-2.0
#include "controlplane/controllers/taints.h"

#include "controlplane/client/object.h"
#include "lib/buf.h"
#include "lib/json.h"
#include "lib/str.h"

static const struct rule {
	const char *key, *effect;
	const char *condition, *status; /* NULL: spec.unschedulable */
} rules[] = {
	{ TAINT_NOT_READY, "NoSchedule", "Ready", "False" },
	{ TAINT_NOT_READY, "NoExecute", "Ready", "False" },
	{ TAINT_UNREACHABLE, "NoSchedule", "Ready", "Unknown" },
	{ TAINT_UNREACHABLE, "NoExecute", "Ready", "Unknown" },
	{ "node.kubernetes.io/memory-pressure", "NoSchedule", "MemoryPressure",
	  "True" },
	{ "node.kubernetes.io/disk-pressure", "NoSchedule", "DiskPressure",
	  "True" },
	{ "node.kubernetes.io/pid-pressure", "NoSchedule", "PIDPressure",
	  "True" },
	{ "node.kubernetes.io/network-unavailable", "NoSchedule",
	  "NetworkUnavailable", "True" },
	{ "node.kubernetes.io/unschedulable", "NoSchedule", NULL, NULL },
};

static bool applies(const struct rule *r, yyjson_val *node)
{
	if (!r->condition)
		return obj_bool(node, "spec.unschedulable", false);
	return str_eq(obj_condition(node, r->condition), r->status);
}

static const struct rule *rule_of(yyjson_val *taint)
{
	for (size_t i = 0; i < ARRAY_LEN(rules); i++)
		if (str_eq(rules[i].key, obj_str(taint, "key")) &&
		    str_eq(rules[i].effect, obj_str(taint, "effect")))
			return &rules[i];
	return NULL;
}

static bool has(yyjson_val *taints, const struct rule *r)
{
	yyjson_val *t;
	size_t i, max;

	yyjson_arr_foreach(taints, i, max, t) if (rule_of(t) == r) return true;
	return false;
}

bool taints_plan(yyjson_val *node, int64_t now_s, struct buf *b)
{
	yyjson_val *taints = obj_at(node, "spec.taints"), *t;
	struct json_out o = JSON_OUT(b);
	char now[OBJ_TIME_SIZE];
	bool change = false;
	size_t i, max;

	json_put_array(&o, NULL);
	yyjson_arr_foreach(taints, i, max, t)
	{
		const struct rule *r = rule_of(t);

		if (!r || applies(r, node))
			json_put_val(&o, NULL, t);
		else
			change = true;
	}
	for (i = 0; i < ARRAY_LEN(rules); i++) {
		if (!applies(&rules[i], node) || has(taints, &rules[i]))
			continue;
		change = true;
		json_put_object(&o, NULL);
		json_put_str(&o, "key", rules[i].key);
		json_put_str(&o, "effect", rules[i].effect);
		if (str_eq(rules[i].effect, "NoExecute"))
			json_put_str(&o, "timeAdded", time_format(now_s, now));
		json_put_end(&o);
	}
	json_put_end(&o);
	return change;
}

bool taints_evict(yyjson_val *node)
{
	return obj_item(obj_at(node, "spec.taints"), "effect", "NoExecute");
}

static bool tolerates(yyjson_val *tol, yyjson_val *taint)
{
	const char *key = obj_str(tol, "key"), *effect = obj_str(tol, "effect");
	bool exists = str_eq(obj_str(tol, "operator"), "Exists");

	if (*effect && strcmp(effect, obj_str(taint, "effect")) != 0)
		return false;
	if (*key ? strcmp(key, obj_str(taint, "key")) != 0 : !exists)
		return false;
	return exists || str_eq(obj_str(tol, "value"), obj_str(taint, "value"));
}

/* When one taint makes the pod go. */
static int64_t leave_for(yyjson_val *taint, yyjson_val *pod, int64_t now_s)
{
	int64_t added = obj_time(taint, "timeAdded"), at = INT64_MAX;
	const char *key = obj_str(taint, "key");
	bool tolerated = false;
	yyjson_val *tol;
	size_t i, max;

	if (!added)
		added = now_s;
	yyjson_arr_foreach(obj_at(pod, "spec.tolerations"), i, max, tol)
	{
		int64_t s = obj_int(tol, "tolerationSeconds", INT64_MAX);

		if (!tolerates(tol, taint))
			continue;
		tolerated = true;
		if (s != INT64_MAX && added + (s > 0 ? s : 0) < at)
			at = added + (s > 0 ? s : 0);
	}
	if (tolerated)
		return at;
	if (str_eq(key, TAINT_NOT_READY) || str_eq(key, TAINT_UNREACHABLE))
		return added + TAINT_GRACE_S;
	return 0;
}

int64_t taints_leave_at(yyjson_val *node, yyjson_val *pod, int64_t now_s)
{
	int64_t first = INT64_MAX, at;
	yyjson_val *t;
	size_t i, max;

	yyjson_arr_foreach(obj_at(node, "spec.taints"), i, max, t)
	{
		if (!str_eq(obj_str(t, "effect"), "NoExecute"))
			continue;
		at = leave_for(t, pod, now_s);
		if (at < first)
			first = at;
	}
	return first;
}

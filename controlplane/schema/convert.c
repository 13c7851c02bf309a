// SPDX-License-Identifier: Apache-2.0
/*
 * Versions of a type that are stored as another one. What one version cannot
 * say travels in annotations, as Kubernetes does it, so nothing is lost by
 * reading and writing back through the older one.
 */
#include <errno.h>

#include "controlplane/schema/types.h"
#include "lib/json.h"
#include "lib/str.h"

static int set_version(const struct type *t, yyjson_mut_doc *doc,
		       yyjson_mut_val *obj)
{
	char text[256];

	return mut_set_str(doc, obj, "apiVersion",
			   type_api_version(t, text, sizeof(text)));
}

/* --- events: core/v1 is stored --- */

static const char *const event_names[][2] = {
	/* events.k8s.io/v1, core/v1 */
	{ "regarding", "involvedObject" },
	{ "note", "message" },
	{ "deprecatedSource", "source" },
	{ "deprecatedFirstTimestamp", "firstTimestamp" },
	{ "deprecatedLastTimestamp", "lastTimestamp" },
	{ "deprecatedCount", "count" },
	{ "reportingController", "reportingComponent" },
};

static int event_rename(yyjson_mut_doc *doc, yyjson_mut_val *obj, int from)
{
	for (size_t i = 0; i < ARRAY_LEN(event_names); i++)
		if (yyjson_mut_obj_get(obj, event_names[i][from]) &&
		    !yyjson_mut_obj_rename_key(doc, obj, event_names[i][from],
					       event_names[i][!from]))
			return -ENOMEM;
	return 0;
}

static int event_to(const struct type *t, yyjson_mut_doc *doc,
		    yyjson_mut_val *obj)
{
	int r = event_rename(doc, obj, 0);

	if (r == 0 && !mut_get(obj, "involvedObject"))
		r = mut_set(doc, obj, "involvedObject", yyjson_mut_obj(doc));
	return r < 0 ? r : set_version(t->stored, doc, obj);
}

static int event_from(const struct type *t, yyjson_mut_doc *doc,
		      yyjson_mut_val *obj)
{
	int r = event_rename(doc, obj, 1);

	return r < 0 ? r : set_version(t, doc, obj);
}

/* --- autoscalers: v2 is stored --- */

#define HPA_NOTE "autoscaling.alpha.kubernetes.io/"

static int note(yyjson_mut_doc *doc, yyjson_mut_val *obj, const char *name,
		yyjson_mut_val *v)
{
	auto_buf struct buf b = BUF_INIT;

	if (!v)
		return 0;
	if (!mut_get(obj, "metadata.annotations") &&
	    mut_set(doc, obj, "metadata.annotations", yyjson_mut_obj(doc)))
		return -ENOMEM;
	if (json_write_mut(v, false, &b))
		return -ENOMEM;
	return mut_put(doc, mut_get(obj, "metadata.annotations"), name,
		       yyjson_mut_strcpy(doc, buf_str(&b)));
}

/* Take a note back; NULL: there is none, or it is not ours. */
static yyjson_mut_val *take_note(yyjson_mut_doc *doc, yyjson_mut_val *obj,
				 const char *name)
{
	yyjson_mut_val *notes = mut_get(obj, "metadata.annotations");
	const char *text = yyjson_mut_get_str(yyjson_mut_obj_get(notes, name));
	yyjson_mut_val *out = NULL;
	yyjson_doc *in = NULL;

	if (!text || json_parse(text, strlen(text), &in, NULL))
		return NULL;
	out = yyjson_val_mut_copy(doc, yyjson_doc_get_root(in));
	yyjson_doc_free(in);
	yyjson_mut_obj_remove_key(notes, name);
	if (!yyjson_mut_obj_size(notes))
		mut_remove(obj, "metadata.annotations");
	return out;
}

/* The metric that v1 can say: CPU use in per cent. Its index, or -1. */
static int cpu_metric(yyjson_mut_val *metrics, const char *value)
{
	yyjson_mut_val *m;
	size_t i, max;

	yyjson_mut_arr_foreach(metrics, i, max, m)
	{
		if (str_eq(mut_str(m, "type"), "Resource") &&
		    str_eq(mut_str(m, "resource.name"), "cpu") &&
		    mut_get(m, value))
			return (int)i;
	}
	return -1;
}

static yyjson_mut_val *make_cpu(yyjson_mut_doc *doc, const char *in,
				yyjson_mut_val *use, bool target)
{
	yyjson_mut_val *m = yyjson_mut_obj(doc);
	char path[64] = "resource.";

	strncat(path, in, sizeof(path) - strlen(path) - 1);
	if (mut_set_str(doc, m, "type", "Resource") ||
	    mut_set_str(doc, m, "resource.name", "cpu") ||
	    mut_set(doc, m, path, yyjson_mut_obj(doc)) ||
	    (target &&
	     mut_set_str(doc, mut_get(m, path), "type", "Utilization")) ||
	    mut_set(doc, mut_get(m, path), "averageUtilization",
		    yyjson_mut_val_mut_copy(doc, use)))
		return NULL;
	return m;
}

/* @list and the one number v1 has for it, each way. */
static int split_cpu(yyjson_mut_doc *doc, yyjson_mut_val *obj, const char *list,
		     const char *inner, const char *number, const char *name)
{
	yyjson_mut_val *metrics = mut_get(obj, list), *m, *rest = NULL;
	int at = cpu_metric(metrics, inner), r = 0;

	if (at >= 0) {
		m = yyjson_mut_arr_remove(metrics, at);
		r = mut_set(doc, obj, number,
			    yyjson_mut_val_mut_copy(doc, mut_get(m, inner)));
	}
	if (yyjson_mut_arr_size(metrics))
		rest = metrics;
	if (r == 0)
		r = note(doc, obj, name, rest);
	mut_remove(obj, list);
	return r;
}

static int join_cpu(yyjson_mut_doc *doc, yyjson_mut_val *obj, const char *list,
		    const char *inner, const char *number, const char *name)
{
	yyjson_mut_val *metrics = take_note(doc, obj, name), *m;
	yyjson_mut_val *use = mut_get(obj, number);

	if (use) {
		m = make_cpu(doc, inner, use, strcmp(inner, "target") == 0);
		if (!yyjson_mut_is_arr(metrics))
			metrics = yyjson_mut_arr(doc);
		if (!m || !yyjson_mut_arr_prepend(metrics, m))
			return -ENOMEM;
	}
	mut_remove(obj, number);
	return metrics ? mut_set(doc, obj, list, metrics) : 0;
}

static int move_note(yyjson_mut_doc *doc, yyjson_mut_val *obj, const char *path,
		     const char *name, bool out)
{
	yyjson_mut_val *v;
	int r;

	if (out) {
		r = note(doc, obj, name, mut_get(obj, path));
		mut_remove(obj, path);
		return r;
	}
	v = take_note(doc, obj, name);
	return v ? mut_set(doc, obj, path, v) : 0;
}

static int hpa_from(const struct type *t, yyjson_mut_doc *doc,
		    yyjson_mut_val *obj)
{
	if (split_cpu(doc, obj, "spec.metrics",
		      "resource.target.averageUtilization",
		      "spec.targetCPUUtilizationPercentage",
		      HPA_NOTE "metrics") ||
	    split_cpu(doc, obj, "status.currentMetrics",
		      "resource.current.averageUtilization",
		      "status.currentCPUUtilizationPercentage",
		      HPA_NOTE "current-metrics") ||
	    move_note(doc, obj, "spec.behavior", HPA_NOTE "behavior", true) ||
	    move_note(doc, obj, "status.conditions", HPA_NOTE "conditions",
		      true))
		return -ENOMEM;
	return set_version(t, doc, obj);
}

static int hpa_to(const struct type *t, yyjson_mut_doc *doc,
		  yyjson_mut_val *obj)
{
	if (join_cpu(doc, obj, "spec.metrics", "target",
		     "spec.targetCPUUtilizationPercentage",
		     HPA_NOTE "metrics") ||
	    join_cpu(doc, obj, "status.currentMetrics", "current",
		     "status.currentCPUUtilizationPercentage",
		     HPA_NOTE "current-metrics") ||
	    move_note(doc, obj, "spec.behavior", HPA_NOTE "behavior", false) ||
	    move_note(doc, obj, "status.conditions", HPA_NOTE "conditions",
		      false))
		return -ENOMEM;
	return set_version(t->stored, doc, obj);
}

/* --- custom resources: nothing but the version changes --- */

static int none_to(const struct type *t, yyjson_mut_doc *doc,
		   yyjson_mut_val *obj)
{
	return set_version(type_stored(t), doc, obj);
}

static int none_from(const struct type *t, yyjson_mut_doc *doc,
		     yyjson_mut_val *obj)
{
	int r = schema_prune(t->schema, obj, NULL, NULL);

	/* What is stored may be older than the schema. */
	if (r == 0)
		r = schema_default(t->schema, doc, obj);
	return r < 0 ? r : set_version(t, doc, obj);
}

/* --- custom resources whose versions a webhook converts --- */

/* Any version may be stored: each object says which one it has. */
static int hook_to(const struct type *t, yyjson_mut_doc *doc,
		   yyjson_mut_val *obj)
{
	(void)t, (void)doc, (void)obj;
	return 0;
}

/* What the webhook was not asked about is shown as it is stored. */
static int hook_from(const struct type *t, yyjson_mut_doc *doc,
		     yyjson_mut_val *obj)
{
	char text[256];

	if (!str_eq(mut_str(obj, "apiVersion"),
		    type_api_version(t, text, sizeof(text))))
		return 0;
	return none_from(t, doc, obj);
}

const struct type_convert *type_convert_find(const char *name)
{
	static const struct type_convert all[] = {
		{ "event", event_to, event_from },
		{ "hpa", hpa_to, hpa_from },
		{ "none", none_to, none_from },
		{ "webhook", hook_to, hook_from },
	};

	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		if (strcmp(all[i].name, name) == 0)
			return &all[i];
	return NULL;
}

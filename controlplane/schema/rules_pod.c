// SPDX-License-Identifier: Apache-2.0
/* Rules of pods, and of the pod templates in workloads. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "controlplane/schema/rules.h"
#include "lib/json.h"
#include "lib/podfields.h"
#include "lib/quantity.h"
#include "lib/str.h"

#define LABEL_RULE                                                             \
	"a lowercase RFC 1123 label must consist of lower case alphanumeric "  \
	"characters or '-', and must start and end with an alphanumeric "      \
	"character (e.g. 'my-name',  or '123-abc', regex used for validation " \
	"is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"

/* --- pods --- */

static uint64_t milli_of(yyjson_mut_val *set, const char *name)
{
	const char *text = yyjson_mut_get_str(yyjson_mut_obj_get(set, name));
	uint64_t v = 0;
	int r = text ? quantity_parse_cpu(text, &v, NULL) : -EINVAL;

	return r == -ERANGE ? UINT64_MAX : r < 0 ? 0 : v;
}

struct qos {
	bool any, all_limits, equal;
};

static void qos_of(yyjson_mut_val *c, struct qos *q)
{
	static const char *const names[] = { "cpu", "memory" };
	yyjson_mut_val *limits = mut_get(c, "resources.limits");
	yyjson_mut_val *requests = mut_get(c, "resources.requests");

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		uint64_t limit = milli_of(limits, names[i]);
		uint64_t request = milli_of(requests, names[i]);

		q->any |= limit || request;
		q->all_limits &= limit != 0;
		q->equal &= limit == request;
	}
}

static const char *pod_qos(yyjson_mut_val *obj)
{
	static const char *const lists[] = { "spec.containers",
					     "spec.initContainers" };
	yyjson_mut_val *vm = mut_get(obj, "spec.virtualMachine"), *c;
	struct qos q = { false, true, true };
	size_t i, max;

	for (size_t l = 0; l < ARRAY_LEN(lists); l++)
		yyjson_mut_arr_foreach(mut_get(obj, lists[l]), i, max, c)
			qos_of(c, &q);
	if (vm)
		qos_of(vm, &q);
	return !q.any                    ? "BestEffort"
	       : q.all_limits && q.equal ? "Guaranteed"
					 : "Burstable";
}

/* A request that is not given is the limit. */
static void default_requests(yyjson_mut_doc *doc, yyjson_mut_val *c)
{
	yyjson_mut_val *limits = mut_get(c, "resources.limits"), *key, *val;
	size_t i, max;

	yyjson_mut_obj_foreach(limits, i, max, key, val)
	{
		const char *name = yyjson_mut_get_str(key);
		yyjson_mut_val *requests = mut_get(c, "resources.requests");

		if (!requests) {
			requests = yyjson_mut_obj(doc);
			mut_set(doc, c, "resources.requests", requests);
		}
		if (!yyjson_mut_obj_get(requests, name))
			mut_put(doc, requests, name,
				yyjson_mut_val_mut_copy(doc, val));
	}
}

static void default_container(yyjson_mut_doc *doc, yyjson_mut_val *c)
{
	const char *image = mut_str(c, "image");

	default_requests(doc, c);
	if (image && !mut_str(c, "imagePullPolicy")) {
		const char *slash = strrchr(image, '/');
		const char *tag = strchr(slash ? slash : image, ':');
		bool latest =
			!strchr(image, '@') && (!tag || str_eq(tag, ":latest"));

		mut_set_str(doc, c, "imagePullPolicy",
			    latest ? "Always" : "IfNotPresent");
	}
}

void rule_default_pod_spec(yyjson_mut_doc *doc, yyjson_mut_val *spec)
{
	static const char *const lists[] = { "containers", "initContainers" };
	yyjson_mut_val *vm = yyjson_mut_obj_get(spec, "virtualMachine"), *c;
	const char *account = mut_str(spec, "serviceAccountName");
	size_t i, max;

	for (size_t l = 0; l < ARRAY_LEN(lists); l++)
		yyjson_mut_arr_foreach(mut_get(spec, lists[l]), i, max, c)
			default_container(doc, c);
	if (vm)
		default_container(doc, vm);
	/* Typed clients want the list, and take an empty one. */
	if (yyjson_mut_is_obj(vm) && !mut_get(spec, "containers"))
		mut_set(doc, spec, "containers", yyjson_mut_arr(doc));
	if (account)
		mut_set_str(doc, spec, "serviceAccount", account);
	else if (mut_str(spec, "serviceAccount"))
		mut_set_str(doc, spec, "serviceAccountName",
			    mut_str(spec, "serviceAccount"));
}

/* The workloads of a pod in order: its containers, or its virtual machine. */
static yyjson_mut_val *workload_at(yyjson_mut_val *spec, const char *list,
				   size_t i)
{
	return list ? yyjson_mut_arr_get(mut_get(spec, list), i)
		    : mut_get(spec, "virtualMachine");
}

/* Take over what a resize may say of one workload. */
static bool resize_one(yyjson_mut_doc *doc, yyjson_mut_val *to,
		       yyjson_mut_val *from)
{
	static const char *const parts[] = { "resources", "resizePolicy" };

	if (!str_eq(mut_str(to, "name"), mut_str(from, "name")))
		return false;
	for (size_t p = 0; p < ARRAY_LEN(parts); p++) {
		yyjson_mut_val *v = yyjson_mut_obj_get(from, parts[p]);

		yyjson_mut_obj_remove_key(to, parts[p]);
		if (v)
			mut_put(doc, to, parts[p],
				yyjson_mut_val_mut_copy(doc, v));
	}
	default_requests(doc, to);
	return true;
}

void pod_limit_to_resize(yyjson_mut_doc *doc, yyjson_mut_val *obj,
			 yyjson_mut_val *old)
{
	static const char *const lists[] = { "containers", "initContainers",
					     NULL };
	yyjson_mut_val *new = yyjson_mut_obj_get(obj, "spec"), *spec;

	spec = yyjson_mut_val_mut_copy(doc, yyjson_mut_obj_get(old, "spec"));
	for (size_t l = 0; l < ARRAY_LEN(lists); l++) {
		size_t nr =
			lists[l] ? yyjson_mut_arr_size(mut_get(spec, lists[l]))
				 : !!mut_get(spec, "virtualMachine");

		if (lists[l] &&
		    yyjson_mut_arr_size(mut_get(new, lists[l])) != nr)
			return;
		for (size_t i = 0; i < nr; i++)
			if (!resize_one(doc, workload_at(spec, lists[l], i),
					workload_at(new, lists[l], i)))
				return;
	}
	if (spec)
		mut_set(doc, obj, "spec", spec);
}

void rule_pod_complete(yyjson_mut_doc *doc, yyjson_mut_val *obj)
{
	yyjson_mut_val *spec = yyjson_mut_obj_get(obj, "spec");

	if (spec)
		rule_default_pod_spec(doc, spec);
}

void rule_pod_prepare(yyjson_mut_doc *doc, yyjson_mut_val *obj,
		      yyjson_mut_val *old, const char *subresource)
{
	if (*subresource || old || !yyjson_mut_obj_get(obj, "spec"))
		return;
	mut_set(doc, obj, "status", yyjson_mut_obj(doc));
	mut_set_str(doc, obj, "status.phase", "Pending");
	mut_set_str(doc, obj, "status.qosClass", pod_qos(obj));
}

/* What containers may ask for by a name of one word. */
static bool is_standard(const char *name)
{
	return str_eq(name, "cpu") || str_eq(name, "memory") ||
	       str_eq(name, "ephemeral-storage") ||
	       str_starts(name, "hugepages-");
}

/* A device or the like: it is had or not, and never shared. */
static bool is_extended(const char *name)
{
	return strchr(name, '/') && !strstr(name, "kubernetes.io/");
}

static void check_amounts(yyjson_mut_val *set, struct path *at,
			  const char *field, struct field_errors *errs)
{
	size_t i, max, cut = path_field(at, field);
	yyjson_mut_val *key, *val;

	yyjson_mut_obj_foreach(set, i, max, key, val)
	{
		const char *name = yyjson_mut_get_str(key);
		const char *text = yyjson_mut_get_str(val);
		size_t inner = path_key(at, name);

		if (!strchr(name, '/') && !is_standard(name)) {
			field_error_add(errs, FIELD_INVALID, at->text, key,
					"must be a standard resource type or "
					"fully qualified");
			field_error_add(errs, FIELD_INVALID, at->text, key,
					"must be a standard resource for "
					"containers");
		}
		if (text && *text == '-' && strpbrk(text, "123456789"))
			field_error_add(errs, FIELD_INVALID, at->text, val,
					"must be greater than or equal to 0");
		path_cut(at, inner);
	}
	path_cut(at, cut);
}

/* A request against the limit of the same name. */
static void check_request(yyjson_mut_val *c, const char *name,
			  yyjson_mut_val *val, struct path *at,
			  struct field_errors *errs)
{
	yyjson_mut_val *limits = mut_get(c, "resources.limits");
	yyjson_mut_val *requests = mut_get(c, "resources.requests");
	const char *limit =
		yyjson_mut_get_str(yyjson_mut_obj_get(limits, name));
	uint64_t want = milli_of(requests, name);
	size_t cut = path_field(at, limit || !is_extended(name)
					    ? "resources.requests"
					    : "resources.limits");

	if (!limit && is_extended(name))
		field_error_add(errs, FIELD_REQUIRED, at->text, NULL,
				"Limit must be set for non overcommitable "
				"resources");
	else if (limit && is_extended(name) && want != milli_of(limits, name))
		field_error_add(errs, FIELD_INVALID, at->text, val,
				"must be equal to %s limit of %s", name, limit);
	else if (limit && want > milli_of(limits, name))
		field_error_add(errs, FIELD_INVALID, at->text, val,
				"must be less than or equal to %s limit of %s",
				name, limit);
	path_cut(at, cut);
}

static void check_container(yyjson_mut_val *c, struct path *at,
			    struct field_errors *errs)
{
	yyjson_mut_val *limits = mut_get(c, "resources.limits"), *key, *val;
	yyjson_mut_val *requests = mut_get(c, "resources.requests");
	const char *name = mut_str(c, "name");
	size_t i, max, cut;

	cut = path_field(at, "name");
	if (name && strlen(name) > 63)
		field_error_add(errs, FIELD_INVALID, at->text,
				yyjson_mut_obj_get(c, "name"),
				"must be no more than 63 characters");
	else if (name && *name && !str_is_dns_label(name))
		field_error_add(errs, FIELD_INVALID, at->text,
				yyjson_mut_obj_get(c, "name"), LABEL_RULE);
	path_cut(at, cut);
	cut = path_field(at, "image");
	if (!mut_str(c, "image") || !*mut_str(c, "image"))
		field_error_add(errs, FIELD_REQUIRED, at->text, NULL, "%s", "");
	path_cut(at, cut);
	check_amounts(limits, at, "resources.limits", errs);
	check_amounts(requests, at, "resources.requests", errs);
	yyjson_mut_obj_foreach(requests, i, max, key, val)
	{
		check_request(c, yyjson_mut_get_str(key), val, at, errs);
	}
}

static bool has_volume(yyjson_mut_val *spec, const char *name)
{
	yyjson_mut_val *v;
	size_t i, max;

	yyjson_mut_arr_foreach(mut_get(spec, "volumes"), i, max,
			       v) if (str_eq(mut_str(v, "name"),
					     name)) return true;
	return false;
}

/* Volumes that a StatefulSet makes from its claim templates. */
static bool has_claim(yyjson_mut_val *claims, const char *name)
{
	yyjson_mut_val *v;
	size_t i, max;

	yyjson_mut_arr_foreach(claims, i, max,
			       v) if (str_eq(mut_str(v, "metadata.name"),
					     name)) return true;
	return false;
}

static void check_mounts(yyjson_mut_val *spec, yyjson_mut_val *claims,
			 yyjson_mut_val *c, struct path *at,
			 struct field_errors *errs)
{
	yyjson_mut_val *m;
	size_t i, max;

	yyjson_mut_arr_foreach(mut_get(c, "volumeMounts"), i, max, m)
	{
		const char *name = mut_str(m, "name");
		size_t cut = path_field(at, "volumeMounts");

		path_index(at, i);
		path_field(at, "name");
		if (name && !has_volume(spec, name) && !has_claim(claims, name))
			field_error_add(errs, FIELD_INVALID, at->text, NULL,
					"\"%s\": Not found", name);
		path_cut(at, cut);
	}
}

void rule_check_template(yyjson_mut_val *spec, yyjson_mut_val *claims,
			 const char *prefix, struct field_errors *errs)
{
	static const char *const lists[] = { "initContainers", "containers" };
	yyjson_mut_val *vm = yyjson_mut_obj_get(spec, "virtualMachine"), *c;
	size_t nr = yyjson_mut_arr_size(mut_get(spec, "containers"));
	struct path at = { .len = 0 };
	size_t i, max, cut;

	path_field(&at, prefix);
	if (vm && nr) {
		cut = path_field(&at, "virtualMachine");
		field_error_add(errs, FIELD_FORBIDDEN, at.text, NULL,
				"a pod has either containers or one virtual "
				"machine, not both");
		path_cut(&at, cut);
	} else if (!vm && !nr) {
		cut = path_field(&at, "containers");
		field_error_add(errs, FIELD_REQUIRED, at.text, NULL, "%s", "");
		path_cut(&at, cut);
	}
	for (size_t l = 0; l < ARRAY_LEN(lists); l++)
		yyjson_mut_arr_foreach(mut_get(spec, lists[l]), i, max, c)
		{
			cut = path_field(&at, lists[l]);
			path_index(&at, i);
			check_container(c, &at, errs);
			check_mounts(spec, claims, c, &at, errs);
			path_cut(&at, cut);
		}
	if (vm) {
		cut = path_field(&at, "virtualMachine");
		check_container(vm, &at, errs);
		path_cut(&at, cut);
	}
}

void rule_check_pod_spec(yyjson_mut_val *spec, const char *prefix,
			 struct field_errors *errs)
{
	rule_check_template(spec, NULL, prefix, errs);
}

void rule_pod_validate(yyjson_mut_val *obj, struct field_errors *errs)
{
	rule_check_pod_spec(yyjson_mut_obj_get(obj, "spec"), "spec", errs);
}

void rule_pod_validate_update(yyjson_mut_val *obj, yyjson_mut_val *old,
			      struct field_errors *errs)
{
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *a, *b;

	if (!doc)
		return;
	a = yyjson_mut_val_mut_copy(doc, mut_get(obj, "spec"));
	b = yyjson_mut_val_mut_copy(doc, mut_get(old, "spec"));
	if (mut_str(b, "nodeName") &&
	    !str_eq(mut_str(a, "nodeName"), mut_str(b, "nodeName")))
		field_error_add(errs, FIELD_FORBIDDEN, "spec.nodeName", NULL,
				"the pod is bound to a node already");
	podfields_strip(a);
	podfields_strip(b);
	if (!mut_equal(a, b))
		field_error_add(
			errs, FIELD_FORBIDDEN, "spec", NULL,
			"pod updates may not change fields other than "
			"`spec.containers[*].image`,`spec.initContainers[*]."
			"image`,`spec.activeDeadlineSeconds`,`spec.tolerations`"
			" (only additions to existing tolerations),"
			"`spec.terminationGracePeriodSeconds` (allow it to be "
			"set to 1 if it was previously negative), and the "
			"resources of containers and virtual machines");
	if (!str_eq(pod_qos(obj), pod_qos(old)))
		field_error_add(errs, FIELD_FORBIDDEN, "spec", NULL,
				"Pod QoS is immutable");
	yyjson_mut_doc_free(doc);
}

// SPDX-License-Identifier: Apache-2.0
/*
 * What the built-in types need beyond data: derived fields, rules across
 * fields, and what may not change. Messages are those of Kubernetes, since
 * users search for them.
 */
#include <stdio.h>

#include "controlplane/schema/rules.h"
#include "lib/json.h"
#include "lib/quantity.h"
#include "lib/str.h"

/* --- workloads: what has a pod template --- */

static void workload_complete(yyjson_mut_doc *doc, yyjson_mut_val *obj)
{
	yyjson_mut_val *spec = mut_get(obj, "spec.template.spec");
	yyjson_mut_val *labels = mut_get(obj, "spec.template.metadata.labels");

	if (spec)
		rule_default_pod_spec(doc, spec);
	if (str_eq(mut_str(obj, "kind"), "Deployment") &&
	    str_eq(mut_str(obj, "spec.strategy.type"), "RollingUpdate") &&
	    !mut_get(obj, "spec.strategy.rollingUpdate")) {
		mut_set_str(doc, obj,
			    "spec.strategy.rollingUpdate"
			    ".maxSurge",
			    "25%");
		mut_set_str(doc, obj,
			    "spec.strategy.rollingUpdate"
			    ".maxUnavailable",
			    "25%");
	}
	if (str_eq(mut_str(obj, "kind"), "ReplicationController") && labels &&
	    !mut_get(obj, "spec.selector"))
		mut_set(doc, obj, "spec.selector",
			yyjson_mut_val_mut_copy(doc, labels));
}

static void check_selector(yyjson_mut_val *obj, struct field_errors *errs)
{
	yyjson_mut_val *labels = mut_get(obj, "spec.template.metadata.labels");
	yyjson_mut_val *want = mut_get(obj, "spec.selector.matchLabels");
	yyjson_mut_val *key, *val;
	size_t i, max;

	if (str_eq(mut_str(obj, "kind"), "ReplicationController"))
		want = mut_get(obj, "spec.selector");
	else if (!yyjson_mut_obj_size(want) &&
		 !yyjson_mut_arr_size(
			 mut_get(obj, "spec.selector.matchExpressions")))
		field_error_add(errs, FIELD_INVALID, "spec.selector",
				mut_get(obj, "spec.selector"),
				"empty selector is invalid for %s",
				mut_str(obj, "kind"));
	yyjson_mut_obj_foreach(want, i, max, key, val)
	{
		if (str_eq(yyjson_mut_get_str(
				   yyjson_mut_obj_get(labels,
						      yyjson_mut_get_str(key))),
			   yyjson_mut_get_str(val)))
			continue;
		field_error_add(errs, FIELD_INVALID,
				"spec.template.metadata.labels", labels,
				"`selector` does not match template `labels`");
		return;
	}
}

static void workload_validate(yyjson_mut_val *obj, struct field_errors *errs)
{
	yyjson_mut_val *spec = mut_get(obj, "spec.template.spec");
	const char *restart = mut_str(spec, "restartPolicy");

	check_selector(obj, errs);
	if (str_eq(mut_str(obj, "kind"), "Deployment"))
		rule_check_strategy(obj, errs);
	if (!spec)
		return;
	rule_check_template(spec, mut_get(obj, "spec.volumeClaimTemplates"),
			    "spec.template.spec", errs);
	if (restart && strcmp(restart, "Always") != 0)
		field_error_add(errs, FIELD_NOT_SUPPORTED,
				"spec.template.spec.restartPolicy",
				mut_get(spec, "restartPolicy"),
				"supported values: \"Always\"");
}

static void workload_validate_update(yyjson_mut_val *obj, yyjson_mut_val *old,
				     struct field_errors *errs)
{
	yyjson_mut_val *now = mut_get(obj, "spec.selector");

	if (str_eq(mut_str(obj, "kind"), "ReplicationController"))
		return;
	if (str_eq(mut_str(obj, "kind"), "StatefulSet")) {
		rule_statefulset_update(obj, old, errs);
		return;
	}
	if (!mut_equal(now, mut_get(old, "spec.selector")))
		field_error_add(errs, FIELD_INVALID, "spec.selector", now,
				"field is immutable");
}

/* --- namespaces and tenants --- */

/* The finalizer that stands for "its content is still there". */
static void space_prepare(yyjson_mut_doc *doc, yyjson_mut_val *obj,
			  yyjson_mut_val *old, const char *subresource,
			  const char *finalizer)
{
	const char *phase = mut_get(obj, "metadata.deletionTimestamp")
				    ? "Terminating"
				    : "Active";
	yyjson_mut_val *list;

	if (old && strcmp(subresource, "finalize") != 0) {
		list = mut_get(old, "spec.finalizers");
		if (list)
			mut_set(doc, obj, "spec.finalizers",
				yyjson_mut_val_mut_copy(doc, list));
	} else if (!old) {
		yyjson_mut_val *item;
		bool there = false;
		size_t i, max;

		list = mut_get(obj, "spec.finalizers");
		yyjson_mut_arr_foreach(list, i, max, item) there |=
			str_eq(yyjson_mut_get_str(item), finalizer);
		if (!list) {
			list = yyjson_mut_arr(doc);
			mut_set(doc, obj, "spec.finalizers", list);
		}
		if (!there)
			yyjson_mut_arr_add_str(doc, list, finalizer);
	}
	mut_set_str(doc, obj, "status.phase", phase);
}

static void namespace_prepare(yyjson_mut_doc *doc, yyjson_mut_val *obj,
			      yyjson_mut_val *old, const char *subresource)
{
	const char *name = mut_str(obj, "metadata.name");

	space_prepare(doc, obj, old, subresource, "kubernetes");
	if (!name)
		return;
	if (!mut_get(obj, "metadata.labels"))
		mut_set(doc, obj, "metadata.labels", yyjson_mut_obj(doc));
	mut_put(doc, mut_get(obj, "metadata.labels"),
		"kubernetes.io/metadata.name", yyjson_mut_strcpy(doc, name));
}

/* What PodSecurity is asked to do, by a namespace or for a tenant, must be
 * something it can read. */
static void check_pod_security(yyjson_mut_val *obj, struct field_errors *errs)
{
	static const char prefix[] = "pod-security.kubernetes.io/";
	yyjson_mut_val *k, *v;
	size_t i, max;

	yyjson_mut_obj_foreach(mut_get(obj, "metadata.labels"), i, max, k, v)
	{
		const char *key = yyjson_mut_get_str(k);
		const char *s = yyjson_mut_get_str(v);
		bool version = str_ends(key, "-version");
		char path[160];
		uint64_t minor;

		if (!s || !str_starts(key, prefix) || strlen(key) > 60)
			continue;
		snprintf(path, sizeof(path), "metadata.labels[%s]", key);
		if (version && strcmp(s, "latest") != 0 &&
		    (!str_starts(s, "v1.") || str_to_u64(s + 3, &minor) < 0))
			field_error_add(errs, FIELD_INVALID, path, v,
					"must be \"latest\" or \"v1.x\"");
		else if (!version && strcmp(s, "privileged") != 0 &&
			 strcmp(s, "baseline") != 0 &&
			 strcmp(s, "restricted") != 0)
			field_error_add(errs, FIELD_INVALID, path, v,
					"must be one of privileged, baseline, "
					"restricted");
	}
}

static void tenant_prepare(yyjson_mut_doc *doc, yyjson_mut_val *obj,
			   yyjson_mut_val *old, const char *subresource)
{
	const char *cluster = mut_str(old, "spec.storageClusterId");

	space_prepare(doc, obj, old, subresource, "arktos");
	if (cluster && (*subresource || !mut_get(obj, "spec.storageClusterId")))
		mut_set_str(doc, obj, "spec.storageClusterId", cluster);
	else if (!mut_get(obj, "spec.storageClusterId"))
		mut_set_str(doc, obj, "spec.storageClusterId", "0");
}

/* Arktos puts another value back without a word. */
static void tenant_update(yyjson_mut_val *obj, yyjson_mut_val *old,
			  struct field_errors *errs)
{
	static const char path[] = "spec.storageClusterId";

	if (!str_eq(mut_str(obj, path), mut_str(old, path)))
		field_error_add(errs, FIELD_INVALID, path, mut_get(obj, path),
				"field is immutable");
}

static void tenant_validate(yyjson_mut_val *obj, struct field_errors *errs)
{
	const char *id = mut_str(obj, "spec.storageClusterId");
	const char *name = mut_str(obj, "metadata.name");
	int n;

	check_pod_security(obj, errs);
	if (!id || str_to_int(id, &n) || n < 0 || n > 63)
		field_error_add(errs, FIELD_INVALID, "spec.storageClusterId",
				mut_get(obj, "spec.storageClusterId"),
				"must be integer 0-63");
	if (str_eq(name, "all"))
		field_error_add(errs, FIELD_INVALID, "metadata.name",
				mut_get(obj, "metadata.name"),
				"is not an acceptable tenant name");
}

/* --- config --- */

static void config_validate_update(yyjson_mut_val *obj, yyjson_mut_val *old,
				   struct field_errors *errs)
{
	static const char *const fields[] = { "data", "binaryData" };

	if (str_eq(mut_str(obj, "kind"), "Secret") &&
	    !str_eq(mut_str(obj, "type"), mut_str(old, "type")))
		field_error_add(errs, FIELD_INVALID, "type",
				mut_get(obj, "type"), "field is immutable");
	if (!mut_bool(old, "immutable"))
		return;
	if (!mut_bool(obj, "immutable"))
		field_error_add(errs, FIELD_FORBIDDEN, "immutable", NULL,
				"field is immutable when `immutable` is set");
	for (size_t i = 0; i < ARRAY_LEN(fields); i++)
		if (!mut_equal(mut_get(obj, fields[i]),
			       mut_get(old, fields[i])))
			field_error_add(errs, FIELD_FORBIDDEN, fields[i], NULL,
					"field is immutable when `immutable` "
					"is set");
}

static bool is_config_key(const char *key)
{
	size_t n = strlen(key);

	return n && n <= 253 && strcmp(key, ".") && strcmp(key, "..") &&
	       strspn(key, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVW"
			   "XYZ0123456789-_.") == n;
}

static void config_validate(yyjson_mut_val *obj, struct field_errors *errs)
{
	static const char *const fields[] = { "data", "binaryData" };
	yyjson_mut_val *key, *val;
	size_t i, max;

	if (str_eq(mut_str(obj, "kind"), "Secret"))
		rule_check_secret_type(obj, errs);
	for (size_t f = 0; f < ARRAY_LEN(fields); f++)
		yyjson_mut_obj_foreach(mut_get(obj, fields[f]), i, max, key,
				       val)
		{
			struct path at = { .len = 0 };

			if (is_config_key(yyjson_mut_get_str(key)))
				continue;
			path_field(&at, fields[f]);
			path_key(&at, yyjson_mut_get_str(key));
			field_error_add(errs, FIELD_INVALID, at.text, key,
					"a valid config key must consist of "
					"alphanumeric characters, '-', '_' or "
					"'.' (e.g. 'key.name',  or 'KEY_NAME', "
					" or 'key-name', regex used for "
					"validation is '[-._a-zA-Z0-9]+')");
		}
}

/* stringData is a way to write data. */
static void secret_prepare(yyjson_mut_doc *doc, yyjson_mut_val *obj,
			   yyjson_mut_val *old, const char *subresource)
{
	yyjson_mut_val *plain = mut_get(obj, "stringData"), *key, *val;
	size_t i, max;

	(void)old, (void)subresource;
	if (!yyjson_mut_is_obj(plain))
		return;
	if (!yyjson_mut_is_obj(mut_get(obj, "data")))
		mut_set(doc, obj, "data", yyjson_mut_obj(doc));
	yyjson_mut_obj_foreach(plain, i, max, key, val)
	{
		auto_buf struct buf b = BUF_INIT;

		if (!yyjson_mut_is_str(val))
			continue;
		schema_base64(&b, yyjson_mut_get_str(val),
			      yyjson_mut_get_len(val));
		mut_put(doc, mut_get(obj, "data"), yyjson_mut_get_str(key),
			yyjson_mut_strcpy(doc, buf_str(&b)));
	}
	mut_remove(obj, "stringData");
}

/* --- services --- */

static void service_complete(yyjson_mut_doc *doc, yyjson_mut_val *obj)
{
	yyjson_mut_val *p;
	size_t i, max;

	yyjson_mut_arr_foreach(mut_get(obj, "spec.ports"), i, max,
			       p) if (!mut_get(p, "targetPort"))
		mut_set_int(doc, p, "targetPort", mut_int(p, "port", 0));
	if (!str_eq(mut_str(obj, "spec.type"), "ExternalName") &&
	    !mut_get(obj, "spec.internalTrafficPolicy"))
		mut_set_str(doc, obj, "spec.internalTrafficPolicy", "Cluster");
}

static void service_prepare(yyjson_mut_doc *doc, yyjson_mut_val *obj,
			    yyjson_mut_val *old, const char *subresource)
{
	static const char *const kept[] = { "spec.clusterIP", "spec.clusterIPs",
					    "spec.ipFamilies",
					    "spec.ipFamilyPolicy" };

	if (*subresource || str_eq(mut_str(obj, "spec.type"), "ExternalName"))
		return;
	for (size_t i = 0; old && i < ARRAY_LEN(kept); i++)
		if (!mut_get(obj, kept[i]) && mut_get(old, kept[i]))
			mut_set(doc, obj, kept[i],
				yyjson_mut_val_mut_copy(doc,
							mut_get(old, kept[i])));
}

static void check_service_port(yyjson_mut_val *ports, yyjson_mut_val *p,
			       size_t index, bool cluster_ip, struct path *at,
			       struct field_errors *errs)
{
	yyjson_mut_val *v = mut_get(p, "targetPort"), *other;
	const char *name = mut_str(p, "name");
	size_t i, max, cut = path_field(at, "name");

	if (yyjson_mut_arr_size(ports) > 1 && (!name || !*name))
		field_error_add(errs, FIELD_REQUIRED, at->text, NULL, "%s", "");
	yyjson_mut_arr_foreach(ports, i, max, other)
	{
		if (i < index && name && *name &&
		    str_eq(name, mut_str(other, "name")))
			field_error_add(errs, FIELD_DUPLICATE, at->text,
					mut_get(p, "name"), "%s", "");
	}
	path_cut(at, cut);
	cut = path_field(at, "targetPort");
	if (yyjson_mut_is_int(v) &&
	    (yyjson_mut_get_sint(v) < 1 || yyjson_mut_get_sint(v) > 65535))
		field_error_add(errs, FIELD_INVALID, at->text, v,
				"must be between 1 and 65535, inclusive");
	path_cut(at, cut);
	cut = path_field(at, "nodePort");
	if (cluster_ip && mut_int(p, "nodePort", 0))
		field_error_add(errs, FIELD_FORBIDDEN, at->text, NULL,
				"may not be used when `type` is 'ClusterIP'");
	path_cut(at, cut);
}

static void service_validate(yyjson_mut_val *obj, struct field_errors *errs)
{
	yyjson_mut_val *ports = mut_get(obj, "spec.ports"), *p;
	const char *type = mut_str(obj, "spec.type");
	size_t i, max;

	if (str_eq(type, "ExternalName")) {
		if (!mut_str(obj, "spec.externalName"))
			field_error_add(errs, FIELD_REQUIRED,
					"spec.externalName", NULL, "%s", "");
		return;
	}
	if (!yyjson_mut_arr_size(ports) &&
	    !str_eq(mut_str(obj, "spec.clusterIP"), "None"))
		field_error_add(errs, FIELD_REQUIRED, "spec.ports", NULL, "%s",
				"");
	yyjson_mut_arr_foreach(ports, i, max, p)
	{
		struct path at = { .len = 0 };

		path_field(&at, "spec.ports");
		path_index(&at, i);
		check_service_port(ports, p, i, str_eq(type, "ClusterIP"), &at,
				   errs);
	}
}

static void service_validate_update(yyjson_mut_val *obj, yyjson_mut_val *old,
				    struct field_errors *errs)
{
	yyjson_mut_val *now = mut_get(obj, "spec.clusterIP");
	const char *before = mut_str(old, "spec.clusterIP");

	if (before && *before && !str_eq(yyjson_mut_get_str(now), before) &&
	    !str_eq(mut_str(obj, "spec.type"), "ExternalName"))
		field_error_add(errs, FIELD_INVALID, "spec.clusterIPs[0]", now,
				"may not change once set");
}

static void binding_validate_update(yyjson_mut_val *obj, yyjson_mut_val *old,
				    struct field_errors *errs)
{
	yyjson_mut_val *now = mut_get(obj, "roleRef");

	if (!mut_equal(now, mut_get(old, "roleRef")))
		field_error_add(errs, FIELD_INVALID, "roleRef", now,
				"cannot change roleRef");
}

const struct type_hooks *type_hooks_find(const char *name)
{
	static const struct type_hooks all[] = {
		HOOKS_WITH("pod", rule_pod_complete, rule_pod_prepare,
			   rule_pod_validate, rule_pod_validate_update),
		HOOKS_WITH("workload", workload_complete, NULL,
			   workload_validate, workload_validate_update),
		HOOKS("namespace", namespace_prepare, check_pod_security, NULL),
		HOOKS("tenant", tenant_prepare, tenant_validate, tenant_update),
		HOOKS("configmap", NULL, config_validate,
		      config_validate_update),
		HOOKS("secret", secret_prepare, config_validate,
		      config_validate_update),
		HOOKS_WITH("service", service_complete, service_prepare,
			   service_validate, service_validate_update),
		HOOKS("binding", NULL, NULL, binding_validate_update),
		HOOKS("node", NULL, NULL, NULL),
	};

	if (strcmp(name, type_hooks_job.name) == 0)
		return &type_hooks_job;
	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		if (strcmp(all[i].name, name) == 0)
			return &all[i];
	return type_hooks_find_more(name);
}

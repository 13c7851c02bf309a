// SPDX-License-Identifier: Apache-2.0
/* Rules of the smaller API groups; see rules.c. */
#include <stdio.h>

#include "controlplane/schema/rules.h"
#include "lib/str.h"

static void same_or_error(yyjson_mut_val *obj, yyjson_mut_val *old,
			  const char *path, struct field_errors *errs)
{
	yyjson_mut_val *now = mut_get(obj, path);

	if (!mut_equal(now, mut_get(old, path)))
		field_error_add(errs, FIELD_INVALID, path, now,
				"field is immutable");
}

/* --- autoscaling --- */

static void hpa_complete(yyjson_mut_doc *doc, yyjson_mut_val *obj)
{
	yyjson_mut_val *m, *list;

	if (!str_eq(mut_str(obj, "apiVersion"), "autoscaling/v2") ||
	    yyjson_mut_arr_size(mut_get(obj, "spec.metrics")))
		return;
	/* What is meant when nothing is said. */
	m = yyjson_mut_obj(doc);
	list = yyjson_mut_arr(doc);
	mut_set_str(doc, m, "type", "Resource");
	mut_set_str(doc, m, "resource.name", "cpu");
	mut_set_str(doc, m, "resource.target.type", "Utilization");
	mut_set_int(doc, m, "resource.target.averageUtilization", 80);
	if (list && yyjson_mut_arr_append(list, m))
		mut_set(doc, obj, "spec.metrics", list);
}

static void hpa_validate(yyjson_mut_val *obj, struct field_errors *errs)
{
	yyjson_mut_val *min = mut_get(obj, "spec.minReplicas");
	yyjson_mut_val *max = mut_get(obj, "spec.maxReplicas");
	int64_t least = mut_int(obj, "spec.minReplicas", 1);
	int64_t most = mut_int(obj, "spec.maxReplicas", 0);

	if (min && least < 1)
		field_error_add(errs, FIELD_INVALID, "spec.minReplicas", min,
				"must be greater than or equal to 1");
	if (most < 1)
		field_error_add(errs, FIELD_INVALID, "spec.maxReplicas", max,
				"must be greater than 0");
	if (most < least)
		field_error_add(errs, FIELD_INVALID, "spec.maxReplicas", max,
				"must be greater than or equal to "
				"`minReplicas`");
}

/* --- certificates: what is asked for stays as it was --- */

static void csr_prepare(yyjson_mut_doc *doc, yyjson_mut_val *obj,
			yyjson_mut_val *old, const char *subresource)
{
	yyjson_mut_val *spec = mut_get(old, "spec");

	(void)subresource;
	if (spec)
		mut_put(doc, obj, "spec", yyjson_mut_val_mut_copy(doc, spec));
}

static void csr_validate(yyjson_mut_val *obj, struct field_errors *errs)
{
	yyjson_mut_val *seconds = mut_get(obj, "spec.expirationSeconds");
	yyjson_mut_val *usages = mut_get(obj, "spec.usages");
	yyjson_mut_val *signer = mut_get(obj, "spec.signerName");
	const char *name = yyjson_mut_get_str(signer);
	const char *slash = name ? strchr(name, '/') : NULL;

	if (!yyjson_mut_arr_size(usages))
		field_error_add(errs, FIELD_REQUIRED, "spec.usages", NULL,
				"usages must be specified");
	if (seconds && mut_int(obj, "spec.expirationSeconds", 0) < 600)
		field_error_add(errs, FIELD_INVALID, "spec.expirationSeconds",
				seconds,
				"may not specify a duration less than "
				"600 seconds (10 minutes)");
	if (name && (!slash || slash == name || !slash[1]))
		field_error_add(errs, FIELD_INVALID, "spec.signerName", signer,
				"must be a fully qualified domain and path of "
				"the form 'example.com/signer-name'");
}

/* --- aggregation --- */

static void apiservice_validate(yyjson_mut_val *obj, struct field_errors *errs)
{
	const char *group = mut_str(obj, "spec.group");
	const char *version = mut_str(obj, "spec.version");
	const char *name = mut_str(obj, "metadata.name");
	char want[512];

	snprintf(want, sizeof(want), "%s.%s", version ? version : "",
		 group ? group : "");
	if (name && strcmp(name, want) != 0)
		field_error_add(errs, FIELD_INVALID, "metadata.name",
				mut_get(obj, "metadata.name"),
				"must be `spec.version+\".\"+spec.group`: "
				"\"%s\"",
				want);
	if (!version || !*version)
		field_error_add(errs, FIELD_REQUIRED, "spec.version", NULL,
				"%s", "");
	if (!mut_get(obj, "spec.service")) {
		if (yyjson_mut_get_len(mut_get(obj, "spec.caBundle")))
			field_error_add(errs, FIELD_INVALID, "spec.caBundle",
					NULL,
					"local APIServices may not have a "
					"caBundle");
		if (mut_bool(obj, "spec.insecureSkipTLSVerify"))
			field_error_add(errs, FIELD_INVALID,
					"spec.insecureSkipTLSVerify", NULL,
					"local APIServices may not have "
					"insecureSkipTLSVerify");
		return;
	}
	if (!mut_str(obj, "spec.service.namespace"))
		field_error_add(errs, FIELD_REQUIRED, "spec.service.namespace",
				NULL, "%s", "");
	if (!mut_str(obj, "spec.service.name"))
		field_error_add(errs, FIELD_REQUIRED, "spec.service.name", NULL,
				"%s", "");
	if (mut_bool(obj, "spec.insecureSkipTLSVerify") &&
	    yyjson_mut_get_len(mut_get(obj, "spec.caBundle")))
		field_error_add(errs, FIELD_INVALID,
				"spec.insecureSkipTLSVerify",
				mut_get(obj, "spec.insecureSkipTLSVerify"),
				"may not be true if caBundle is present");
}

/* --- storage, discovery --- */

static void storageclass_update(yyjson_mut_val *obj, yyjson_mut_val *old,
				struct field_errors *errs)
{
	static const char *const fixed[] = { "parameters", "provisioner",
					     "reclaimPolicy" };

	for (size_t i = 0; i < ARRAY_LEN(fixed); i++)
		if (!mut_equal(mut_get(obj, fixed[i]), mut_get(old, fixed[i])))
			field_error_add(errs, FIELD_FORBIDDEN, fixed[i], NULL,
					"updates to %s are forbidden.",
					fixed[i]);
	same_or_error(obj, old, "volumeBindingMode", errs);
}

static void endpointslice_update(yyjson_mut_val *obj, yyjson_mut_val *old,
				 struct field_errors *errs)
{
	same_or_error(obj, old, "addressType", errs);
}

/* --- Arktos --- */

static bool is_host_port(const char *s, size_t len)
{
	const char *colon;
	uint64_t port;
	char text[8];

	if (len > 7 && memcmp(s, "http://", 7) == 0)
		s += 7, len -= 7;
	else if (len > 8 && memcmp(s, "https://", 8) == 0)
		s += 8, len -= 8;
	colon = memrchr(s, ':', len);
	if (!colon || colon == s || memchr(s, '/', len) || memchr(s, ' ', len))
		return false;
	len -= (size_t)(colon + 1 - s);
	if (!len || len >= sizeof(text))
		return false;
	memcpy(text, colon + 1, len);
	text[len] = '\0';
	return str_to_u64(text, &port) == 0 && port && port < 65536;
}

/* One or more, by commas. */
static bool is_address(const char *s)
{
	size_t nr = 0;

	for (; s && *s; s += *s == ',') {
		size_t len = strcspn(s, ",");

		if (!is_host_port(s, len) || ++nr > 16)
			return false;
		s += len;
		if (*s == ',' && !s[1])
			return false;
	}
	return nr > 0;
}

static void storagecluster_update(yyjson_mut_val *obj, yyjson_mut_val *old,
				  struct field_errors *errs)
{
	same_or_error(obj, old, "storageClusterId", errs);
}

static void storagecluster_validate(yyjson_mut_val *obj,
				    struct field_errors *errs)
{
	const char *id = mut_str(obj, "storageClusterId");
	const char *address = mut_str(obj, "serviceAddress");
	int n;

	/* 0 is the system's own, which has no object. */
	if (!id || str_to_int(id, &n) || n < 1 || n > 63 || *id == '0' ||
	    *id == '+')
		field_error_add(errs, FIELD_INVALID, "storageClusterId",
				mut_get(obj, "storageClusterId"),
				"must be integer 1-63");
	if (!is_address(address))
		field_error_add(
			errs, FIELD_INVALID, "serviceAddress",
			mut_get(obj, "serviceAddress"),
			"must be host:port, or several of them by commas");
}

static void podtemplate_complete(yyjson_mut_doc *doc, yyjson_mut_val *obj)
{
	yyjson_mut_val *spec = mut_get(obj, "template.spec");

	if (spec)
		rule_default_pod_spec(doc, spec);
}

static void podtemplate_validate(yyjson_mut_val *obj, struct field_errors *errs)
{
	yyjson_mut_val *spec = mut_get(obj, "template.spec");

	if (spec)
		rule_check_pod_spec(spec, "template.spec", errs);
}

const struct type_hooks *type_hooks_find_more(const char *name)
{
	static const struct type_hooks all[] = {
		HOOKS_WITH("hpa", hpa_complete, NULL, hpa_validate, NULL),
		HOOKS("csr", csr_prepare, csr_validate, NULL),
		HOOKS("apiservice", NULL, apiservice_validate, NULL),
		HOOKS("storageclass", NULL, NULL, storageclass_update),
		HOOKS("endpointslice", NULL, NULL, endpointslice_update),
		HOOKS("storagecluster", NULL, storagecluster_validate,
		      storagecluster_update),
		HOOKS_WITH("podtemplate", podtemplate_complete, NULL,
			   podtemplate_validate, NULL),
		{ .name = "crd",
		  .prepare = crd_prepare,
		  .validate = crd_validate,
		  .validate_update = crd_validate_update,
		  .deleting = crd_deleting },
	};

	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		if (strcmp(all[i].name, name) == 0)
			return &all[i];
	return type_hooks_find_admission(name) ? type_hooks_find_admission(name)
					       : type_hooks_find_app(name);
}

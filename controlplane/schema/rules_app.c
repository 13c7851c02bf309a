// SPDX-License-Identifier: Apache-2.0
/* Rules of workloads, budgets, routes, claims: what users get wrong, in the
 * words they search for. */
#include <stdio.h>

#include "controlplane/schema/rules.h"
#include "lib/json.h"
#include "lib/str.h"

void rule_forbid_change(yyjson_mut_val *obj, yyjson_mut_val *old,
			const char *path, struct field_errors *errs)
{
	yyjson_mut_val *now = mut_get(obj, path);

	if (!mut_equal(now, mut_get(old, path)))
		field_error_add(errs, FIELD_INVALID, path, now,
				"field is immutable");
}

/* --- schedules --- */

struct cron_field {
	const char *name;
	int min, max;
	const char *const *words; /* for min, min + 1, ... */
};

static const char *const months[] = { "jan", "feb", "mar", "apr", "may",
				      "jun", "jul", "aug", "sep", "oct",
				      "nov", "dec", NULL };
static const char *const days[] = { "sun", "mon", "tue", "wed",
				    "thu", "fri", "sat", NULL };

static int cron_number(const struct cron_field *f, const char *s, size_t n)
{
	char text[16];
	int v;

	if (!n || n >= sizeof(text))
		return -1;
	for (size_t i = 0; i < n; i++)
		text[i] = s[i] >= 'A' && s[i] <= 'Z' ? s[i] | 0x20 : s[i];
	text[n] = '\0';
	for (int i = 0; f->words && f->words[i]; i++)
		if (strcmp(f->words[i], text) == 0)
			return f->min + i;
	if (str_to_int(text, &v) || v < f->min || v > f->max)
		return -1;
	return v;
}

/* "*", "5", "1-5", each perhaps with "/2". */
static bool cron_part(const struct cron_field *f, const char *s, size_t n)
{
	const char *slash = memchr(s, '/', n);
	size_t head = slash ? (size_t)(slash - s) : n;
	const char *dash = memchr(s, '-', head);
	struct cron_field step = { "step", 1, 1000, NULL };
	int a, b;

	if (slash && cron_number(&step, slash + 1, n - head - 1) < 0)
		return false;
	if (head == 1 && (*s == '*' || *s == '?'))
		return true;
	if (!dash)
		return cron_number(f, s, head) >= 0;
	a = cron_number(f, s, dash - s);
	b = cron_number(f, dash + 1, head - (dash - s) - 1);
	return a >= 0 && b >= a;
}

static bool cron_list(const struct cron_field *f, const char *s, size_t n)
{
	while (true) {
		const char *comma = memchr(s, ',', n);
		size_t part = comma ? (size_t)(comma - s) : n;

		if (!cron_part(f, s, part))
			return false;
		if (!comma)
			return true;
		s += part + 1;
		n -= part + 1;
	}
}

/* What is wrong with a schedule, into @why; false: nothing. */
static bool cron_wrong(const char *s, char *why, size_t size)
{
	static const struct cron_field fields[] = {
		{ "minute", 0, 59, NULL }, { "hour", 0, 23, NULL },
		{ "day", 1, 31, NULL },    { "month", 1, 12, months },
		{ "weekday", 0, 6, days },
	};
	static const char *const macros[] = { "@yearly",  "@annually",
					      "@monthly", "@weekly",
					      "@daily",   "@midnight",
					      "@hourly" };
	const char *p = s;
	size_t nr = 0;

	if (*s == '@') {
		for (size_t i = 0; i < ARRAY_LEN(macros); i++)
			if (strcmp(s, macros[i]) == 0)
				return false;
		if (str_starts(s, "@every ") && s[7] >= '0' && s[7] <= '9')
			return false;
		snprintf(why, size, "unrecognized descriptor: %.100s", s);
		return true;
	}
	while (*(p += strspn(p, " \t"))) {
		nr++;
		p += strcspn(p, " \t");
	}
	if (nr != ARRAY_LEN(fields)) {
		snprintf(why, size,
			 "expected exactly 5 fields, found %zu: [%.100s]", nr,
			 s);
		return true;
	}
	p = s;
	nr = 0;
	while (*(p += strspn(p, " \t"))) {
		size_t n = strcspn(p, " \t");

		if (!cron_list(&fields[nr], p, n)) {
			snprintf(why, size, "failed to parse %s field: %.*s",
				 fields[nr].name, n < 100 ? (int)n : 100, p);
			return true;
		}
		nr++;
		p += n;
	}
	return false;
}

static void cronjob_complete(yyjson_mut_doc *doc, yyjson_mut_val *obj)
{
	yyjson_mut_val *spec = mut_get(obj, "spec.jobTemplate.spec.template."
					    "spec");

	if (spec)
		rule_default_pod_spec(doc, spec);
}

static void cronjob_validate(yyjson_mut_val *obj, struct field_errors *errs)
{
	static const char at[] = "spec.jobTemplate.spec.template.spec";
	yyjson_mut_val *v = mut_get(obj, "spec.schedule");
	yyjson_mut_val *name = mut_get(obj, "metadata.name");
	yyjson_mut_val *spec = mut_get(obj, at);
	const char *s = yyjson_mut_get_str(v);
	char why[256];

	if (s && (strstr(s, "TZ=") || strstr(s, "CRON_TZ")))
		field_error_add(errs, FIELD_INVALID, "spec.schedule", v,
				"cannot use TZ or CRON_TZ in schedule, use "
				"timeZone field instead");
	else if (s && cron_wrong(s, why, sizeof(why)))
		field_error_add(errs, FIELD_INVALID, "spec.schedule", v, "%s",
				why);
	if (yyjson_mut_get_len(name) > 52)
		field_error_add(errs, FIELD_INVALID, "metadata.name", name,
				"must be no more than 52 characters");
	if (!spec)
		return;
	rule_check_pod_spec(spec, at, errs);
	if (str_eq(mut_str(spec, "restartPolicy"), "Always"))
		field_error_add(errs, FIELD_REQUIRED,
				"spec.jobTemplate.spec.template.spec."
				"restartPolicy",
				NULL, "valid values: \"OnFailure\", \"Never\"");
}

/* --- stateful sets, deployments: what may change --- */

void rule_statefulset_update(yyjson_mut_val *obj, yyjson_mut_val *old,
			     struct field_errors *errs)
{
	static const char *const fixed[] = { "selector", "serviceName",
					     "podManagementPolicy",
					     "volumeClaimTemplates" };

	for (size_t i = 0; i < ARRAY_LEN(fixed); i++) {
		char path[64];

		snprintf(path, sizeof(path), "spec.%s", fixed[i]);
		if (mut_equal(mut_get(obj, path), mut_get(old, path)))
			continue;
		field_error_add(
			errs, FIELD_FORBIDDEN, "spec", NULL,
			"updates to statefulset spec for fields other than "
			"'replicas', 'ordinals', 'template', 'updateStrategy', "
			"'revisionHistoryLimit', "
			"'persistentVolumeClaimRetentionPolicy' and "
			"'minReadySeconds' are forbidden");
		return;
	}
}

static bool is_zero(yyjson_mut_val *v)
{
	const char *s = yyjson_mut_get_str(v);

	return (yyjson_mut_is_int(v) && !yyjson_mut_get_sint(v)) ||
	       str_eq(s, "0%");
}

static bool is_int_or_percent(yyjson_mut_val *v)
{
	const char *s = yyjson_mut_get_str(v);
	size_t n = s ? strspn(s, "0123456789") : 0;

	if (yyjson_mut_is_int(v))
		return yyjson_mut_get_sint(v) >= 0;
	return n && s[n] == '%' && !s[n + 1];
}

static void check_int_or_percent(yyjson_mut_val *obj, const char *path,
				 struct field_errors *errs)
{
	yyjson_mut_val *v = mut_get(obj, path);

	if (yyjson_mut_is_int(v) && yyjson_mut_get_sint(v) < 0)
		field_error_add(errs, FIELD_INVALID, path, v,
				"must be greater than or equal to 0");
	else if (v && !is_int_or_percent(v))
		field_error_add(errs, FIELD_INVALID, path, v,
				"a valid percent string must be a numeric "
				"string followed by an ending '%%' (e.g. '1%%'"
				",  or '93%%', regex used for validation is "
				"'[0-9]+%%')");
}

void rule_check_strategy(yyjson_mut_val *obj, struct field_errors *errs)
{
	yyjson_mut_val *surge =
		mut_get(obj, "spec.strategy.rollingUpdate.maxSurge");
	yyjson_mut_val *away =
		mut_get(obj, "spec.strategy.rollingUpdate.maxUnavailable");

	check_int_or_percent(obj, "spec.strategy.rollingUpdate.maxSurge", errs);
	check_int_or_percent(obj, "spec.strategy.rollingUpdate.maxUnavailable",
			     errs);
	if (surge && away && is_zero(surge) && is_zero(away))
		field_error_add(errs, FIELD_INVALID,
				"spec.strategy.rollingUpdate.maxUnavailable",
				away, "may not be 0 when `maxSurge` is 0");
	if (str_eq(mut_str(obj, "spec.strategy.type"), "Recreate") &&
	    mut_get(obj, "spec.strategy.rollingUpdate"))
		field_error_add(errs, FIELD_FORBIDDEN,
				"spec.strategy.rollingUpdate", NULL,
				"may not be specified when strategy `type` is "
				"'Recreate'");
}

/* --- budgets --- */

static void pdb_validate(yyjson_mut_val *obj, struct field_errors *errs)
{
	yyjson_mut_val *spec = mut_get(obj, "spec");

	if (mut_get(spec, "minAvailable") && mut_get(spec, "maxUnavailable"))
		field_error_add(errs, FIELD_INVALID, "spec", spec,
				"minAvailable and maxUnavailable cannot be "
				"both set");
	check_int_or_percent(obj, "spec.minAvailable", errs);
	check_int_or_percent(obj, "spec.maxUnavailable", errs);
}

/* --- ingress --- */

static void check_backend(yyjson_mut_val *b, struct path *at,
			  struct field_errors *errs)
{
	yyjson_mut_val *service = mut_get(b, "service");
	yyjson_mut_val *resource = mut_get(b, "resource");
	size_t cut;

	if (service && resource) {
		field_error_add(errs, FIELD_INVALID, at->text, NULL,
				"cannot set both resource and service "
				"backends");
		return;
	}
	if (resource)
		return;
	if (!service) {
		field_error_add(errs, FIELD_REQUIRED, at->text, NULL,
				"port name or number is required");
		return;
	}
	cut = path_field(at, "service.port");
	if (!mut_get(service, "port.name") && !mut_get(service, "port.number"))
		field_error_add(errs, FIELD_REQUIRED, at->text, NULL,
				"port name or number is required");
	path_cut(at, cut);
}

static void check_rule(yyjson_mut_val *rule, struct path *at,
		       struct field_errors *errs)
{
	yyjson_mut_val *p;
	size_t i, max, cut;

	yyjson_mut_arr_foreach(mut_get(rule, "http.paths"), i, max, p)
	{
		const char *path = mut_str(p, "path");
		const char *type = mut_str(p, "pathType");
		size_t all = path_field(at, "http.paths");

		path_index(at, i);
		cut = path_field(at, "path");
		if (!str_eq(type, "ImplementationSpecific") &&
		    (!path || *path != '/'))
			field_error_add(errs, FIELD_INVALID, at->text,
					mut_get(p, "path"),
					"must be an absolute path");
		path_cut(at, cut);
		cut = path_field(at, "backend");
		check_backend(mut_get(p, "backend"), at, errs);
		path_cut(at, all);
	}
}

static void ingress_validate(yyjson_mut_val *obj, struct field_errors *errs)
{
	yyjson_mut_val *rules = mut_get(obj, "spec.rules"), *rule;
	yyjson_mut_val *backend = mut_get(obj, "spec.defaultBackend");
	struct path at = { .len = 0 };
	size_t i, max;

	if (!yyjson_mut_arr_size(rules) && !backend)
		field_error_add(errs, FIELD_INVALID, "spec", rules,
				"either `defaultBackend` or `rules` must be "
				"specified");
	if (backend) {
		path_field(&at, "spec.defaultBackend");
		check_backend(backend, &at, errs);
	}
	yyjson_mut_arr_foreach(rules, i, max, rule)
	{
		yyjson_mut_val *v = mut_get(rule, "host");
		const char *host = yyjson_mut_get_str(v);
		size_t cut;

		path_cut(&at, 0);
		path_field(&at, "spec.rules");
		path_index(&at, i);
		cut = path_field(&at, "host");
		if (host && *host &&
		    !str_is_dns_subdomain(str_starts(host, "*.") ? host + 2
								 : host))
			field_error_add(errs, FIELD_INVALID, at.text, v,
					"a lowercase RFC 1123 subdomain must "
					"consist of lower case alphanumeric "
					"characters, '-' or '.', and must "
					"start and end with an alphanumeric "
					"character");
		path_cut(&at, cut);
		check_rule(rule, &at, errs);
	}
}

/* --- claims, classes --- */

static void pvc_validate(yyjson_mut_val *obj, struct field_errors *errs)
{
	yyjson_mut_val *modes = mut_get(obj, "spec.accessModes"), *v;
	static const char *const known[] = { "ReadWriteOnce", "ReadOnlyMany",
					     "ReadWriteMany",
					     "ReadWriteOncePod" };
	size_t i, max;

	if (!yyjson_mut_arr_size(modes))
		field_error_add(errs, FIELD_REQUIRED, "spec.accessModes", NULL,
				"at least 1 access mode is required");
	yyjson_mut_arr_foreach(modes, i, max, v)
	{
		bool ok = false;

		for (size_t k = 0; k < ARRAY_LEN(known); k++)
			ok |= str_eq(yyjson_mut_get_str(v), known[k]);
		if (!ok)
			field_error_add(errs, FIELD_NOT_SUPPORTED,
					"spec.accessModes", v,
					"supported values: \"ReadOnlyMany\", "
					"\"ReadWriteMany\", \"ReadWriteOnce\", "
					"\"ReadWriteOncePod\"");
	}
	if (!mut_get(obj, "spec.resources.requests.storage"))
		field_error_add(errs, FIELD_REQUIRED, "spec.resources[storage]",
				NULL, "%s", "");
}

static void pvc_update(yyjson_mut_val *obj, yyjson_mut_val *old,
		       struct field_errors *errs)
{
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *a, *b;

	if (!doc)
		return;
	a = yyjson_mut_val_mut_copy(doc, mut_get(obj, "spec"));
	b = yyjson_mut_val_mut_copy(doc, mut_get(old, "spec"));
	/* Binding fills the name in; a claim may be asked to grow. */
	if (!mut_str(b, "volumeName") || !*mut_str(b, "volumeName")) {
		mut_remove(a, "volumeName");
		mut_remove(b, "volumeName");
	}
	if (!mut_get(b, "storageClassName"))
		mut_remove(a, "storageClassName");
	mut_remove(a, "resources");
	mut_remove(b, "resources");
	mut_remove(a, "volumeAttributesClassName");
	mut_remove(b, "volumeAttributesClassName");
	if (!mut_equal(a, b))
		field_error_add(errs, FIELD_FORBIDDEN, "spec", NULL,
				"spec is immutable after creation except "
				"resources.requests and "
				"volumeAttributesClassName for bound claims");
	yyjson_mut_doc_free(doc);
}

static void priorityclass_validate(yyjson_mut_val *obj,
				   struct field_errors *errs)
{
	const char *name = mut_str(obj, "metadata.name");
	yyjson_mut_val *v = mut_get(obj, "value");

	if (name && str_starts(name, "system-"))
		field_error_add(errs, FIELD_FORBIDDEN, "metadata.name", NULL,
				"priority class names with 'system-' prefix "
				"are reserved for system use only");
	if (mut_int(obj, "value", 0) > 1000000000)
		field_error_add(errs, FIELD_FORBIDDEN, "value", v,
				"maximum allowed value of a user defined "
				"priority is 1000000000");
}

static void priorityclass_update(yyjson_mut_val *obj, yyjson_mut_val *old,
				 struct field_errors *errs)
{
	if (!mut_equal(mut_get(obj, "value"), mut_get(old, "value")))
		field_error_add(errs, FIELD_FORBIDDEN, "value", NULL,
				"may not be changed in an update.");
	rule_forbid_change(obj, old, "preemptionPolicy", errs);
}

/* --- secrets: what their types promise --- */

void rule_check_secret_type(yyjson_mut_val *obj, struct field_errors *errs)
{
	static const struct {
		const char *type, *keys[2];
	} all[] = {
		{ "kubernetes.io/tls", { "tls.crt", "tls.key" } },
		{ "kubernetes.io/dockerconfigjson",
		  { ".dockerconfigjson", NULL } },
		{ "kubernetes.io/dockercfg", { ".dockercfg", NULL } },
		{ "kubernetes.io/ssh-auth", { "ssh-privatekey", NULL } },
	};
	yyjson_mut_val *data = mut_get(obj, "data");
	const char *type = mut_str(obj, "type");

	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		for (size_t k = 0; k < 2 && all[i].keys[k]; k++) {
			char path[64];

			if (!str_eq(type, all[i].type) ||
			    yyjson_mut_obj_get(data, all[i].keys[k]))
				continue;
			snprintf(path, sizeof(path), "data[%s]",
				 all[i].keys[k]);
			field_error_add(errs, FIELD_REQUIRED, path, NULL, "%s",
					"");
		}
}

const struct type_hooks *type_hooks_find_app(const char *name)
{
	static const struct type_hooks all[] = {
		HOOKS_WITH("cronjob", cronjob_complete, NULL, cronjob_validate,
			   NULL),
		HOOKS("pdb", NULL, pdb_validate, NULL),
		HOOKS("ingress", NULL, ingress_validate, NULL),
		HOOKS("pvc", NULL, pvc_validate, pvc_update),
		HOOKS("priorityclass", NULL, priorityclass_validate,
		      priorityclass_update),
	};

	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		if (strcmp(all[i].name, name) == 0)
			return &all[i];
	return NULL;
}

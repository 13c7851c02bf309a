// SPDX-License-Identifier: Apache-2.0
/* Rules of admissionregistration.k8s.io: webhooks, policies, bindings. */
#include <stdio.h>

#include "controlplane/schema/expressions.h"
#include "controlplane/schema/rules.h"
#include "controlplane/schema/rules_match.h"
#include "lib/str.h"

#define CONDITIONS_MAX  64
#define ANNOTATIONS_MAX 20
#define ANNOTATION_LEN  (5 * 1024) /* of an expression */

static bool is_blank(const char *s)
{
	return !s || !s[strspn(s, " \t\r\n\v\f")];
}

/* --- expressions --- */

/* What is made of it, or NULL: it is wrong, and that has been said. */
static struct cel *compile(struct judge *j, yyjson_mut_val *of,
			   const char *field, const struct expression_env *env,
			   enum expression_want want)
{
	const char *text = mut_str(of, field);
	struct cel *cel = NULL;
	struct err e = { 0 };

	if (expression_compile(text, env, want, &cel, &e) < 0)
		judge_complain(j, FIELD_INVALID, field, mut_get(of, field),
			       e.msg);
	return cel;
}

static void check_conditions(struct judge *j, yyjson_mut_val *of, bool params)
{
	struct expression_env env = { .params = params };
	yyjson_mut_val *list = mut_get(of, "matchConditions"), *v;
	size_t cut = path_field(&j->at, "matchConditions"), i, max;
	char why[64];

	snprintf(why, sizeof(why), "%zu: must have at most %d items",
		 yyjson_mut_arr_size(list), CONDITIONS_MAX);
	if (yyjson_mut_arr_size(list) > CONDITIONS_MAX) {
		judge_complain(j, FIELD_TOO_MANY, NULL, NULL, why);
		list = NULL;
	}
	yyjson_mut_arr_foreach(list, i, max, v)
	{
		const char *name = mut_str(v, "name");
		size_t end = path_index(&j->at, i);

		if (is_blank(mut_str(v, "expression")))
			judge_complain(j, FIELD_REQUIRED, "expression", NULL,
				       "");
		else
			cel_free(compile(j, v, "expression", &env, EXPR_BOOL));
		if (!name || !*name)
			judge_complain(j, FIELD_REQUIRED, "name", NULL, "");
		else if (!name_is_qualified(name))
			judge_complain(j, FIELD_INVALID, "name",
				       mut_get(v, "name"), name_key_rule);
		path_cut(&j->at, end);
	}
	path_cut(&j->at, cut);
}

/* Each knows those before it. The caller frees *@ret, and what is in it. */
static void check_variables(struct judge *j, yyjson_mut_val *spec,
			    struct expression_env *env, struct cel_named **ret)
{
	yyjson_mut_val *list = mut_get(spec, "variables"), *v;
	size_t cut = path_field(&j->at, "variables"), i, max;
	struct cel_named *named =
		calloc(yyjson_mut_arr_size(list) + 1, sizeof(*named));

	*ret = named;
	env->named = named;
	yyjson_mut_arr_foreach(list, i, max, v)
	{
		const char *name = mut_str(v, "name");
		size_t end = path_index(&j->at, i);
		struct cel *cel = NULL;

		if (is_blank(name))
			judge_complain(j, FIELD_REQUIRED, "name", NULL,
				       "name is not specified");
		else if (!expression_is_name(name))
			judge_complain(j, FIELD_INVALID, "name",
				       mut_get(v, "name"),
				       "name is not a valid CEL identifier");
		if (is_blank(mut_str(v, "expression")))
			judge_complain(j, FIELD_REQUIRED, "expression", NULL,
				       "expression is not specified");
		else
			cel = compile(j, v, "expression", env, EXPR_ANY);
		if (cel && name && named)
			named[env->nr_named++] =
				(struct cel_named){ .name = name, .cel = cel };
		else
			cel_free(cel);
		path_cut(&j->at, end);
	}
	path_cut(&j->at, cut);
}

static void check_validation(struct judge *j, yyjson_mut_val *v,
			     const struct expression_env *env)
{
	struct expression_env plain = *env;
	yyjson_mut_val *message = mut_get(v, "message");
	const char *by = mut_str(v, "messageExpression");

	plain.no_authorizer = true;
	if (is_blank(mut_str(v, "expression")))
		judge_complain(j, FIELD_REQUIRED, "expression", NULL,
			       "expression is not specified");
	else
		cel_free(compile(j, v, "expression", env, EXPR_BOOL));
	if (by && *by && is_blank(by))
		judge_complain(j, FIELD_INVALID, "messageExpression",
			       mut_get(v, "messageExpression"),
			       "must be non-empty if specified");
	else if (!is_blank(by))
		cel_free(compile(j, v, "messageExpression", &plain, EXPR_TEXT));
	if (yyjson_mut_get_len(message) &&
	    is_blank(yyjson_mut_get_str(message)))
		judge_complain(j, FIELD_INVALID, "message", message,
			       "message must be non-empty if specified");
	else if (message) {
		const char *s = yyjson_mut_get_str(message);
		size_t n = strlen(s);

		while (n && strchr(" \t\r\n\v\f", s[n - 1]))
			n--;
		s += strspn(s, " \t\r\n\v\f");
		if (strcspn(s, "\r\n") +
			    (size_t)(s - yyjson_mut_get_str(message)) <
		    n)
			judge_complain(j, FIELD_INVALID, "message", message,
				       "message must not contain line breaks");
	}
}

static void check_annotation(struct judge *j, yyjson_mut_val *obj,
			     yyjson_mut_val *v,
			     const struct expression_env *env)
{
	const char *name = mut_str(obj, "metadata.name");
	const char *text = mut_str(v, "valueExpression");
	const char *key = mut_str(v, "key");
	auto_free char *whole =
		str_printf("%s/%s", name ? name : "", key ? key : "");
	yyjson_mut_val value;

	yyjson_mut_set_str(&value, whole ? whole : "");
	if (whole && !name_is_qualified(whole))
		judge_complain(j, FIELD_INVALID, "key", &value, name_key_rule);
	if (is_blank(text))
		judge_complain(j, FIELD_REQUIRED, "valueExpression", NULL,
			       "valueExpression is not specified");
	else if (strlen(text) > ANNOTATION_LEN)
		judge_complain(j, FIELD_REQUIRED, "valueExpression", NULL,
			       "must not exceed 5120 bytes in length");
	else
		cel_free(compile(j, v, "valueExpression", env,
				 EXPR_TEXT_OR_NULL));
}

static void check_annotations(struct judge *j, yyjson_mut_val *obj,
			      const struct expression_env *env)
{
	yyjson_mut_val *list = mut_get(obj, "spec.auditAnnotations"), *v, *o;
	size_t cut = path_field(&j->at, "auditAnnotations"), i, k, max, max2;

	if (yyjson_mut_arr_size(list) > ANNOTATIONS_MAX) {
		judge_complain(j, FIELD_INVALID, NULL, list,
			       "must not have more than 20 auditAnnotations");
		list = NULL;
	}
	yyjson_mut_arr_foreach(list, i, max, v)
	{
		size_t end = path_index(&j->at, i);

		check_annotation(j, obj, v, env);
		yyjson_mut_arr_foreach(list, k, max2, o)
		{
			if (k < i &&
			    str_eq(mut_str(o, "key"), mut_str(v, "key"))) {
				judge_complain(j, FIELD_DUPLICATE, "key",
					       mut_get(v, "key"), "");
				break;
			}
		}
		path_cut(&j->at, end);
	}
	path_cut(&j->at, cut);
}

/* --- policies --- */

static bool is_label_1035(const char *s)
{
	auto_free char *lower = strdup(s);

	if (lower)
		str_lower(lower);
	return lower && str_is_dns_label(lower) && *lower >= 'a';
}

static void check_param_kind(struct judge *j, yyjson_mut_val *kind)
{
	static const char label[] =
		"a DNS-1035 label must consist of lower case alphanumeric "
		"characters or '-', start with an alphabetic character, and "
		"end with an alphanumeric character (e.g. 'my-name',  or "
		"'abc-123', regex used for validation is "
		"'[a-z]([-a-z0-9]*[a-z0-9])?')";
	yyjson_mut_val *version = mut_get(kind, "apiVersion");
	const char *text = yyjson_mut_get_str(version);
	const char *slash = text ? strchr(text, '/') : NULL;
	const char *name = mut_str(kind, "kind");
	size_t cut = path_field(&j->at, "paramKind");
	auto_free char *group = slash ? strndup(text, slash - text) : NULL;
	char why[512];

	if (!text || !*text)
		judge_complain(j, FIELD_REQUIRED, "apiVersion", NULL, "");
	else if (slash && strchr(slash + 1, '/'))
		judge_complain(j, FIELD_INVALID, "apiVersion", version,
			       "unexpected GroupVersion string");
	else if (group && *group && !str_is_dns_subdomain(group))
		judge_complain(j, FIELD_INVALID, "apiVersion", version,
			       name_subdomain_rule);
	else if (slash && !slash[1])
		judge_complain(j, FIELD_INVALID, "apiVersion", version,
			       "version must be specified");
	else if (!is_label_1035(slash ? slash + 1 : text))
		judge_complain(j, FIELD_INVALID, "apiVersion", version, label);
	snprintf(why, sizeof(why),
		 "may have mixed case, but should otherwise match: %s", label);
	if (!name || !*name)
		judge_complain(j, FIELD_REQUIRED, "kind", NULL, "");
	else if (!is_label_1035(name))
		judge_complain(j, FIELD_INVALID, "kind", mut_get(kind, "kind"),
			       why);
	path_cut(&j->at, cut);
}

static void check_expressions(struct judge *j, yyjson_mut_val *obj,
			      yyjson_mut_val *spec)
{
	static const char none[] = "validations or auditAnnotations must "
				   "contain at least one item";
	yyjson_mut_val *validations = mut_get(spec, "validations"), *v;
	struct expression_env env = { .params = mut_get(spec, "paramKind") };
	struct cel_named *named = NULL;
	size_t i, max, cut;

	check_conditions(j, spec, env.params);
	check_variables(j, spec, &env, &named);
	if (!yyjson_mut_arr_size(validations) &&
	    !yyjson_mut_arr_size(mut_get(spec, "auditAnnotations"))) {
		judge_complain(j, FIELD_REQUIRED, "validations", NULL, none);
		judge_complain(j, FIELD_REQUIRED, "auditAnnotations", NULL,
			       none);
	}
	cut = path_field(&j->at, "validations");
	yyjson_mut_arr_foreach(validations, i, max, v)
	{
		size_t end = path_index(&j->at, i);

		check_validation(j, v, &env);
		path_cut(&j->at, end);
	}
	path_cut(&j->at, cut);
	check_annotations(j, obj, &env);
	for (i = 0; i < env.nr_named; i++)
		cel_free((struct cel *)named[i].cel);
	free(named);
}

static void policy_validate(yyjson_mut_val *obj, struct field_errors *errs)
{
	yyjson_mut_val *spec = mut_get(obj, "spec");
	struct judge j = { .errs = errs };

	path_field(&j.at, "spec");
	if (mut_get(spec, "paramKind"))
		check_param_kind(&j, mut_get(spec, "paramKind"));
	if (!mut_get(spec, "failurePolicy"))
		judge_complain(&j, FIELD_REQUIRED, "failurePolicy", NULL, "");
	if (!mut_get(spec, "matchConstraints"))
		judge_complain(&j, FIELD_REQUIRED, "matchConstraints", NULL,
			       "");
	judge_match(&j, spec, "matchConstraints");
	if (mut_get(spec, "matchConstraints") &&
	    !yyjson_mut_arr_size(
		    mut_get(spec, "matchConstraints.resourceRules")))
		judge_complain(&j, FIELD_REQUIRED,
			       "matchConstraints.resourceRules", NULL, "");
	check_expressions(&j, obj, spec);
}

/* --- bindings --- */

static void check_param_ref(struct judge *j, yyjson_mut_val *ref)
{
	static const char both[] = "name and selector are mutually exclusive";
	const char *name = mut_str(ref, "name");
	size_t cut = path_field(&j->at, "paramRef");
	bool selector = mut_get(ref, "selector");

	if (name && *name) {
		if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0 ||
		    strpbrk(name, "/%"))
			judge_complain(
				j, FIELD_INVALID, "name", mut_get(ref, "name"),
				"may not be '.' or '..' or contain '/' or "
				"'%'");
		if (selector) {
			judge_complain(j, FIELD_FORBIDDEN, "name", NULL, both);
			judge_complain(j, FIELD_FORBIDDEN, "selector", NULL,
				       both);
		}
	} else if (!selector) {
		judge_complain(j, FIELD_REQUIRED, NULL, NULL,
			       "one of name or selector must be specified");
	}
	if (selector)
		judge_selector(j, ref, "selector");
	if (!mut_get(ref, "parameterNotFoundAction"))
		judge_complain(j, FIELD_REQUIRED, "parameterNotFoundAction",
			       NULL, "");
	path_cut(&j->at, cut);
}

static void check_actions(struct judge *j, yyjson_mut_val *list)
{
	size_t cut = path_field(&j->at, "validationActions"), i, max;
	yyjson_mut_val *v;

	yyjson_mut_arr_foreach(list, i, max, v)
	{
		const char *s = yyjson_mut_get_str(v);
		size_t end = path_index(&j->at, i);

		if (!str_eq(s, "Deny") && !str_eq(s, "Warn") &&
		    !str_eq(s, "Audit"))
			judge_complain(j, FIELD_NOT_SUPPORTED, NULL, v,
				       "supported values: \"Audit\", \"Deny\", "
				       "\"Warn\"");
		path_cut(&j->at, end);
	}
	if (judge_has(list, "Deny") && judge_has(list, "Warn"))
		judge_complain(
			j, FIELD_INVALID, NULL, list,
			"must not contain both Deny and Warn (repeating the "
			"same validation failure information in the API "
			"response and headers serves no purpose)");
	if (!yyjson_mut_arr_size(list))
		judge_complain(j, FIELD_REQUIRED, NULL, NULL,
			       "at least one validation action is required");
	path_cut(&j->at, cut);
}

static void binding_validate(yyjson_mut_val *obj, struct field_errors *errs)
{
	yyjson_mut_val *spec = mut_get(obj, "spec");
	const char *policy = mut_str(spec, "policyName");
	struct judge j = { .errs = errs };

	path_field(&j.at, "spec");
	if (!policy || !*policy)
		judge_complain(&j, FIELD_REQUIRED, "policyName", NULL, "");
	else if (!str_is_dns_subdomain(policy))
		judge_complain(&j, FIELD_INVALID, "policyName",
			       mut_get(spec, "policyName"),
			       name_subdomain_rule);
	if (mut_get(spec, "paramRef"))
		check_param_ref(&j, mut_get(spec, "paramRef"));
	judge_match(&j, spec, "matchResources");
	check_actions(&j, mut_get(spec, "validationActions"));
}

/* --- webhooks --- */

static void check_client(struct judge *j, yyjson_mut_val *hook)
{
	yyjson_mut_val *url = mut_get(hook, "clientConfig.url");
	const char *text = yyjson_mut_get_str(url);
	size_t cut = path_field(&j->at, "clientConfig");

	if (!url == !mut_get(hook, "clientConfig.service"))
		judge_complain(j, FIELD_REQUIRED, NULL, NULL,
			       "exactly one of url or service is required");
	if (text && strncmp(text, "https://", 8) != 0)
		judge_complain(j, FIELD_INVALID, "url", url,
			       "'https' is the only allowed URL scheme; desired "
			       "format: https://host[/path]");
	path_cut(&j->at, cut);
}

static void webhooks_validate(yyjson_mut_val *obj, struct field_errors *errs)
{
	struct judge j = { .errs = errs };
	yyjson_mut_val *hook;
	size_t i, max;

	path_field(&j.at, "webhooks");
	yyjson_mut_arr_foreach(mut_get(obj, "webhooks"), i, max, hook)
	{
		yyjson_mut_val *name = mut_get(hook, "name");
		int64_t s = mut_int(hook, "timeoutSeconds", 10);
		const char *text = yyjson_mut_get_str(name), *dot;
		size_t cut = path_index(&j.at, i);

		dot = text ? strchr(text, '.') : NULL;
		if (text && (!str_is_dns_subdomain(text) || !dot ||
			     !strchr(dot + 1, '.')))
			judge_complain(&j, FIELD_INVALID, "name", name,
				       "should be a domain with at least three "
				       "segments separated by dots");
		judge_rules(&j, hook, "rules");
		if (s < 1 || s > 30)
			judge_complain(
				&j, FIELD_INVALID, "timeoutSeconds",
				mut_get(hook, "timeoutSeconds"),
				"the timeout value must be between 1 and 30 "
				"seconds");
		judge_selector(&j, hook, "namespaceSelector");
		judge_selector(&j, hook, "objectSelector");
		if (!yyjson_mut_arr_size(
			    mut_get(hook, "admissionReviewVersions")))
			judge_complain(&j, FIELD_REQUIRED,
				       "admissionReviewVersions", NULL,
				       "must specify one of v1, v1beta1");
		check_client(&j, hook);
		check_conditions(&j, hook, false);
		path_cut(&j.at, cut);
	}
}

const struct type_hooks *type_hooks_find_admission(const char *name)
{
	static const struct type_hooks all[] = {
		HOOKS("webhooks", NULL, webhooks_validate, NULL),
		HOOKS("admissionpolicy", NULL, policy_validate, NULL),
		HOOKS("admissionbinding", NULL, binding_validate, NULL),
	};

	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		if (strcmp(all[i].name, name) == 0)
			return &all[i];
	return NULL;
}

// SPDX-License-Identifier: Apache-2.0
#include "controlplane/schema/rules_match.h"

#include <stdio.h>

#include "lib/str.h"

void judge_complain(struct judge *j, enum field_error_type type,
		    const char *field, yyjson_mut_val *v, const char *why)
{
	size_t cut = field ? path_field(&j->at, field) : j->at.len;

	field_error_add(j->errs, type, j->at.text, v, "%s", why);
	path_cut(&j->at, cut);
}

/* --- labels --- */

static void check_requirement(struct judge *j, yyjson_mut_val *v)
{
	const char *op = mut_str(v, "operator"), *key = mut_str(v, "key");
	yyjson_mut_val *values = mut_get(v, "values"), *one;
	bool some = yyjson_mut_arr_size(values);
	size_t i, max;

	if (str_eq(op, "In") || str_eq(op, "NotIn")) {
		if (!some)
			judge_complain(
				j, FIELD_REQUIRED, "values", NULL,
				"must be specified when `operator` is 'In' or "
				"'NotIn'");
	} else if (str_eq(op, "Exists") || str_eq(op, "DoesNotExist")) {
		if (some)
			judge_complain(j, FIELD_FORBIDDEN, "values", NULL,
				       "may not be specified when `operator` is "
				       "'Exists' or 'DoesNotExist'");
	} else {
		judge_complain(j, FIELD_INVALID, "operator",
			       mut_get(v, "operator"),
			       "not a valid selector operator");
	}
	if (!key || !name_is_qualified(key))
		judge_complain(j, FIELD_INVALID, "key", mut_get(v, "key"),
			       name_key_rule);
	yyjson_mut_arr_foreach(values, i, max, one)
	{
		size_t cut = path_field(&j->at, "values");

		path_index(&j->at, i);
		if (!name_is_label_value(yyjson_mut_get_str(one)))
			judge_complain(j, FIELD_INVALID, NULL, one,
				       name_value_rule);
		path_cut(&j->at, cut);
	}
}

void judge_selector(struct judge *j, yyjson_mut_val *of, const char *field)
{
	yyjson_mut_val *selector = mut_get(of, field), *k, *v;
	size_t i, max, begin = path_field(&j->at, field);

	yyjson_mut_obj_foreach(mut_get(selector, "matchLabels"), i, max, k, v)
	{
		if (!name_is_qualified(yyjson_mut_get_str(k)))
			judge_complain(j, FIELD_INVALID, "matchLabels", k,
				       name_key_rule);
		if (!name_is_label_value(yyjson_mut_get_str(v)))
			judge_complain(j, FIELD_INVALID, "matchLabels", v,
				       name_value_rule);
	}
	yyjson_mut_arr_foreach(mut_get(selector, "matchExpressions"), i, max, v)
	{
		size_t cut = path_field(&j->at, "matchExpressions");

		path_index(&j->at, i);
		check_requirement(j, v);
		path_cut(&j->at, cut);
	}
	path_cut(&j->at, begin);
}

/* --- operations and resources --- */

bool judge_has(yyjson_mut_val *list, const char *want)
{
	yyjson_mut_val *v;
	size_t i, max;

	yyjson_mut_arr_foreach(list, i, max, v)
	{
		if (yyjson_mut_equals_str(v, want))
			return true;
	}
	return false;
}

/* Some are wanted, and "*" stands alone. */
static void check_words(struct judge *j, yyjson_mut_val *rule,
			const char *field, const char *others)
{
	yyjson_mut_val *list = mut_get(rule, field);
	char why[96];

	if (!yyjson_mut_arr_size(list))
		judge_complain(j, FIELD_REQUIRED, field, NULL, "");
	snprintf(why, sizeof(why),
		 "if '*' is present, must not specify other "
		 "%s",
		 others);
	if (yyjson_mut_arr_size(list) > 1 && judge_has(list, "*"))
		judge_complain(j, FIELD_INVALID, field, list, why);
}

static void check_operations(struct judge *j, yyjson_mut_val *rule)
{
	static const char *const known[] = { "*", "CONNECT", "CREATE", "DELETE",
					     "UPDATE" };
	yyjson_mut_val *v;
	size_t i, max, cut;

	check_words(j, rule, "operations", "operations");
	cut = path_field(&j->at, "operations");
	yyjson_mut_arr_foreach(mut_get(rule, "operations"), i, max, v)
	{
		size_t end = path_index(&j->at, i), k = 0;

		while (k < ARRAY_LEN(known) &&
		       !yyjson_mut_equals_str(v, known[k]))
			k++;
		if (k == ARRAY_LEN(known))
			judge_complain(j, FIELD_NOT_SUPPORTED, NULL, v,
				       "supported values: \"*\", \"CONNECT\", "
				       "\"CREATE\", \"DELETE\", \"UPDATE\"");
		path_cut(&j->at, end);
	}
	path_cut(&j->at, cut);
}

/* What "x/\*" or "*\/x" before it has said already. */
static void check_subresource(struct judge *j, yyjson_mut_val *list, size_t i,
			      yyjson_mut_val *v)
{
	const char *s = yyjson_mut_get_str(v), *slash = strchr(s, '/');
	yyjson_mut_val *other;
	char all[256], why[600];
	size_t k, max;

	yyjson_mut_arr_foreach(list, k, max, other)
	{
		const char *o = yyjson_mut_get_str(other);

		if (k >= i)
			break;
		snprintf(all, sizeof(all), "%.*s/*", (int)(slash - s), s);
		if (strcmp(o, all) != 0)
			snprintf(all, sizeof(all), "*%s", slash);
		if (strcmp(o, all) != 0)
			continue;
		snprintf(why, sizeof(why),
			 "if '%s' is present, must not specify %.250s", all, s);
		judge_complain(j, FIELD_INVALID, NULL, v, why);
		return;
	}
}

static void check_resources(struct judge *j, yyjson_mut_val *rule)
{
	yyjson_mut_val *list = mut_get(rule, "resources"), *v;
	size_t nr = yyjson_mut_arr_size(list), i, max;
	size_t cut = path_field(&j->at, "resources");
	bool plain = false;

	if (!nr)
		judge_complain(j, FIELD_REQUIRED, NULL, NULL, "");
	yyjson_mut_arr_foreach(list, i, max, v)
	{
		const char *s = yyjson_mut_get_str(v);
		size_t end = path_index(&j->at, i);

		if (!s || !*s)
			judge_complain(j, FIELD_REQUIRED, NULL, NULL, "");
		else if (strchr(s, '/'))
			check_subresource(j, list, i, v);
		else
			plain |= strcmp(s, "*") != 0;
		path_cut(&j->at, end);
	}
	if (nr > 1 && judge_has(list, "*/*"))
		judge_complain(j, FIELD_INVALID, NULL, list,
			       "if '*/*' is present, must not specify other "
			       "resources");
	if (plain && judge_has(list, "*"))
		judge_complain(
			j, FIELD_INVALID, NULL, list,
			"if '*' is present, must not specify other resources "
			"without subresources");
	path_cut(&j->at, cut);
}

static void check_names(struct judge *j, yyjson_mut_val *rule)
{
	yyjson_mut_val *list = mut_get(rule, "resourceNames"), *v, *other;
	size_t i, k, max, max2, cut = path_field(&j->at, "resourceNames");

	yyjson_mut_arr_foreach(list, i, max, v)
	{
		const char *s = yyjson_mut_get_str(v);
		size_t end = path_index(&j->at, i);

		if (strcmp(s, ".") == 0 || strcmp(s, "..") == 0)
			judge_complain(j, FIELD_INVALID, NULL, v,
				       s[1] ? "may not be '..'"
					    : "may not be '.'");
		if (strpbrk(s, "/%"))
			judge_complain(j, FIELD_INVALID, NULL, v,
				       strchr(s, '/') ? "may not contain '/'"
						      : "may not contain '%'");
		yyjson_mut_arr_foreach(list, k, max2, other)
		{
			if (k < i && yyjson_mut_equals_str(other, s)) {
				judge_complain(j, FIELD_DUPLICATE, NULL, v, "");
				break;
			}
		}
		path_cut(&j->at, end);
	}
	path_cut(&j->at, cut);
}

void judge_rules(struct judge *j, yyjson_mut_val *of, const char *field)
{
	size_t cut = path_field(&j->at, field), i, max, k, max2;
	yyjson_mut_val *rule, *v;

	yyjson_mut_arr_foreach(mut_get(of, field), i, max, rule)
	{
		size_t end = path_index(&j->at, i);

		check_names(j, rule);
		check_operations(j, rule);
		check_words(j, rule, "apiGroups", "API groups");
		check_words(j, rule, "apiVersions", "API versions");
		yyjson_mut_arr_foreach(mut_get(rule, "apiVersions"), k, max2, v)
		{
			if (!yyjson_mut_get_len(v))
				judge_complain(j, FIELD_REQUIRED, "apiVersions",
					       NULL, "");
		}
		check_resources(j, rule);
		path_cut(&j->at, end);
	}
	path_cut(&j->at, cut);
}

void judge_match(struct judge *j, yyjson_mut_val *of, const char *field)
{
	yyjson_mut_val *match = mut_get(of, field);
	size_t cut = path_field(&j->at, field);

	if (match) {
		judge_selector(j, match, "namespaceSelector");
		judge_selector(j, match, "objectSelector");
		judge_rules(j, match, "resourceRules");
		judge_rules(j, match, "excludeResourceRules");
	}
	path_cut(&j->at, cut);
}

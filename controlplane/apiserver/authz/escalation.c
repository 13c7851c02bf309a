// SPDX-License-Identifier: Apache-2.0
/* Whether one may grant a role: only what one may do oneself. Each rule falls
 * apart into single permissions, and one rule of the user must give each. */
#include <stdio.h>

#include "controlplane/apiserver/authz/access.h"
#include "controlplane/apiserver/authz/rbac.h"
#include "controlplane/apiserver/internal.h"
#include "lib/str.h"

struct check {
	struct api *api;
	const struct user *user;
	const char *ns;
	char *lacks;
};

static const char *at(yyjson_val *list, size_t i)
{
	const char *s = yyjson_get_str(yyjson_arr_get(list, i));

	return s ? s : "";
}

static bool holds(struct check *c, struct access *a)
{
	a->tenant = c->user->tenant;
	a->namespace = c->ns;
	if (rbac_allows(c->api, c->user, a))
		return true;
	if (a->path)
		c->lacks = str_printf("{NonResourceURLs:[\"%s\"], "
				      "Verbs:[\"%s\"]}",
				      a->path, a->verb);
	else
		c->lacks = str_printf(
			"{APIGroups:[\"%s\"], Resources:[\"%s%s%s\"], "
			"%s%s%sVerbs:[\"%s\"]}",
			a->group, a->resource, a->subresource ? "/" : "",
			a->subresource ? a->subresource : "",
			a->name ? "ResourceNames:[\"" : "",
			a->name ? a->name : "", a->name ? "\"], " : "",
			a->verb);
	return false;
}

static bool check_names(struct check *c, struct access *a, yyjson_val *names)
{
	size_t nr = yyjson_arr_size(names);

	if (!nr)
		return holds(c, a);
	for (size_t i = 0; i < nr; i++) {
		a->name = at(names, i);
		if (!holds(c, a))
			return false;
	}
	return true;
}

static bool check_resources(struct check *c, yyjson_val *rule, const char *verb)
{
	yyjson_val *groups = yyjson_obj_get(rule, "apiGroups");
	yyjson_val *resources = yyjson_obj_get(rule, "resources");
	yyjson_val *names = yyjson_obj_get(rule, "resourceNames");

	for (size_t g = 0; g < yyjson_arr_size(groups); g++)
		for (size_t i = 0; i < yyjson_arr_size(resources); i++) {
			const char *res = at(resources, i);
			const char *slash = strchr(res, '/');
			auto_free char *head = strndup(res, strcspn(res, "/"));
			struct access a = {
				.verb = verb,
				.group = at(groups, g),
				.resource = head,
				.subresource = slash ? slash + 1 : NULL,
			};

			if (!head || !check_names(c, &a, names))
				return false;
		}
	return true;
}

char *rbac_lacks(struct api *api, const struct user *u, const char *ns,
		 yyjson_val *rules)
{
	struct check c = { .api = api, .user = u, .ns = ns };
	yyjson_val *rule;
	size_t i, max;

	if (user_is_system(u) && user_in_group(u, "system:masters"))
		return NULL;
	yyjson_arr_foreach(rules, i, max, rule)
	{
		yyjson_val *verbs = yyjson_obj_get(rule, "verbs");
		yyjson_val *paths = yyjson_obj_get(rule, "nonResourceURLs");

		for (size_t v = 0; v < yyjson_arr_size(verbs); v++) {
			if (!check_resources(&c, rule, at(verbs, v)))
				return c.lacks ? c.lacks : strdup("");
			for (size_t p = 0; p < yyjson_arr_size(paths); p++) {
				struct access a = { .verb = at(verbs, v),
						    .path = at(paths, p) };

				if (!holds(&c, &a))
					return c.lacks ? c.lacks : strdup("");
			}
		}
	}
	return NULL;
}

// SPDX-License-Identifier: Apache-2.0
#include <errno.h>

#include "controlplane/apiserver/authz/aggregate.h"
#include "controlplane/apiserver/authz/rbac.h"
#include "controlplane/apiserver/internal.h"
#include "lib/json.h"
#include "lib/str.h"

#define PREFIX "rbac.authorization.k8s.io/clusterroles/"
#define ROUNDS 8 /* roles of roles of roles */

static bool is_part(yyjson_val *role, yyjson_val *part)
{
	yyjson_val *selectors =
		yyjson_ptr_get(role, "/aggregationRule/clusterRoleSelectors");
	yyjson_val *labels = yyjson_ptr_get(part, "/metadata/labels"), *s;
	size_t i, max;

	yyjson_arr_foreach(selectors, i, max, s)
	{
		if (rbac_selects(s, labels))
			return true;
	}
	return false;
}

static bool has_rule(yyjson_mut_val *rules, yyjson_mut_val *rule)
{
	yyjson_mut_val *v;
	size_t i, max;

	yyjson_mut_arr_foreach(rules, i, max, v)
	{
		if (yyjson_mut_equals(v, rule))
			return true;
	}
	return false;
}

/* The rules of all parts, each once, in the order of the parts' names. */
static yyjson_mut_val *collect(yyjson_mut_doc *doc, yyjson_val *role,
			       yyjson_doc **all, size_t nr)
{
	yyjson_mut_val *rules = yyjson_mut_arr(doc);

	for (size_t i = 0; i < nr; i++) {
		yyjson_val *part = yyjson_doc_get_root(all[i]), *v;
		size_t j, max;

		if (part == role || !is_part(role, part))
			continue;
		yyjson_arr_foreach(yyjson_obj_get(part, "rules"), j, max, v)
		{
			yyjson_mut_val *copy = yyjson_val_mut_copy(doc, v);

			if (!has_rule(rules, copy))
				yyjson_mut_arr_append(rules, copy);
		}
	}
	return rules;
}

static int commit(struct api *api, const struct object_bytes *o,
		  yyjson_mut_doc *doc, struct err *e)
{
	const struct type *t =
		type_find(api->types, "rbac.authorization.k8s.io", "v1",
			  "clusterroles");
	struct store_op op = { .key = o->key,
			       .expect = STORE_MATCH,
			       .revision = o->revision };

	return object_commit(api, t, &op, doc, yyjson_mut_doc_get_root(doc), e);
}

/* 1: something was written, and roles made of that may have to follow. */
static int one_round(struct api *api, const char *tenant, struct err *e)
{
	auto_free char *prefix = str_printf(PREFIX "%s/", tenant);
	struct store_range range = { .prefix = prefix };
	struct store_list list;
	yyjson_doc **all;
	int r = prefix ? store_list(api->store, &range, &list, e) : -ENOMEM;
	bool wrote = false;

	if (r < 0)
		return r;
	all = calloc(list.nr + 1, sizeof(*all));
	for (size_t i = 0; all && i < list.nr; i++)
		all[i] = object_doc(list.v[i]);
	for (size_t i = 0; all && i < list.nr && r == 0; i++) {
		yyjson_val *role = yyjson_doc_get_root(all[i]);
		yyjson_mut_doc *doc;
		yyjson_mut_val *obj, *rules;

		if (!yyjson_obj_get(role, "aggregationRule"))
			continue;
		doc = yyjson_doc_mut_copy(all[i], NULL);
		obj = doc ? yyjson_mut_doc_get_root(doc) : NULL;
		rules = doc ? collect(doc, role, all, list.nr) : NULL;
		if (rules && !mut_equal(mut_get(obj, "rules"), rules)) {
			mut_set(doc, obj, "rules", rules);
			r = commit(api, list.v[i], doc, e);
			wrote |= r == 0;
		}
		yyjson_mut_doc_free(doc);
	}
	for (size_t i = 0; all && i < list.nr; i++)
		yyjson_doc_free(all[i]);
	free(all);
	store_list_clear(&list);
	return r < 0 ? r : wrote;
}

int aggregate_roles(struct api *api, const char *tenant, struct err *e)
{
	int r = 1;

	for (int i = 0; i < ROUNDS && r > 0; i++)
		r = one_round(api, tenant, e);
	return r < 0 ? r : 0;
}

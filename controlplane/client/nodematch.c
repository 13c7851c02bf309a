// SPDX-License-Identifier: Apache-2.0
#include "controlplane/client/nodematch.h"

#include <string.h>

#include "controlplane/client/object.h"
#include "lib/str.h"

bool taint_tolerated(yyjson_val *tolerations, const char *key,
		     const char *value, const char *effect)
{
	yyjson_val *t;
	size_t i, max;

	yyjson_arr_foreach(tolerations, i, max, t)
	{
		const char *k = obj_str(t, "key"), *e = obj_str(t, "effect");
		bool exists = str_eq(obj_str(t, "operator"), "Exists");

		if ((*e && strcmp(e, effect) != 0) ||
		    (*k ? strcmp(k, key) != 0 : !exists))
			continue;
		if (exists || str_eq(obj_str(t, "value"), value))
			return true;
	}
	return false;
}

bool node_term_matches(yyjson_val *term, yyjson_val *node)
{
	yyjson_val *labels = obj_at(node, "metadata.labels"), *x;
	yyjson_val *exprs = yyjson_obj_get(term, "matchExpressions");
	yyjson_val *fields = yyjson_obj_get(term, "matchFields");
	size_t i, max;

	/* A term without conditions matches nothing. */
	if (!yyjson_arr_size(exprs) && !yyjson_arr_size(fields))
		return false;
	yyjson_arr_foreach(exprs, i, max, x) if (
		!expression_matches(x,
				    yyjson_get_str(yyjson_obj_get(
					    labels,
					    obj_str(x, "key"))))) return false;
	yyjson_arr_foreach(fields, i, max, x) if (
		!str_eq(obj_str(x, "key"), "metadata.name") ||
		!expression_matches(x, obj_str(node,
					       "metadata.name"))) return false;
	return true;
}

bool node_selected(yyjson_val *selector, yyjson_val *affinity, yyjson_val *node)
{
	yyjson_val *terms =
		obj_at(affinity,
		       "nodeAffinity."
		       "requiredDuringSchedulingIgnoredDuringExecution."
		       "nodeSelectorTerms");
	yyjson_val *term;
	size_t i, max;

	if (!labels_include(obj_at(node, "metadata.labels"), selector))
		return false;
	if (!terms)
		return true;
	yyjson_arr_foreach(terms, i, max,
			   term) if (node_term_matches(term, node)) return true;
	return false;
}

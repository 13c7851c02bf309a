// SPDX-License-Identifier: Apache-2.0
/* What a CustomResourceDefinition must be: names, versions, and schemas that
 * are structural. */
#include <stdio.h>
#include <strings.h>

#include "controlplane/schema/load.h"
#include "lib/json.h"
#include "lib/re.h"
#include "lib/str.h"

#define LABEL_1035                                                             \
	"a DNS-1035 label must consist of lower case alphanumeric characters " \
	"or '-', start with an alphabetic character, and end with an "         \
	"alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used "   \
	"for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')"

void crd_prepare(yyjson_mut_doc *doc, yyjson_mut_val *obj, yyjson_mut_val *old,
		 const char *subresource)
{
	const char *kind = mut_str(obj, "spec.names.kind");
	char text[300];
	size_t i;

	(void)old;
	if (*subresource || !kind || strlen(kind) > 256)
		return;
	if (!mut_str(obj, "spec.names.singular")) {
		for (i = 0; kind[i]; i++)
			text[i] = kind[i] >= 'A' && kind[i] <= 'Z'
					  ? kind[i] | 0x20
					  : kind[i];
		text[i] = '\0';
		mut_set_str(doc, obj, "spec.names.singular", text);
	}
	if (!mut_str(obj, "spec.names.listKind")) {
		snprintf(text, sizeof(text), "%sList", kind);
		mut_set_str(doc, obj, "spec.names.listKind", text);
	}
}

/* Its objects go first. */
void crd_deleting(yyjson_mut_doc *doc, yyjson_mut_val *obj)
{
	static const char name[] = "customresourcecleanup.apiextensions.k8s.io";
	yyjson_mut_val *list = mut_get(obj, "metadata.finalizers");

	/* Once it is marked, the finalizer is there, or its work is done. */
	if (mut_get(obj, "metadata.deletionTimestamp"))
		return;
	if (!yyjson_mut_is_arr(list)) {
		list = yyjson_mut_arr(doc);
		mut_set(doc, obj, "metadata.finalizers", list);
	}
	yyjson_mut_arr_add_str(doc, list, name);
}

/* --- schemas --- */

struct checker {
	struct field_errors *errs;
	struct path at;
	size_t nodes;
};

static void forbid(struct checker *c, yyjson_mut_val *s, const char *key,
		   const char *why)
{
	size_t cut;

	if (!yyjson_mut_obj_get(s, key))
		return;
	cut = path_field(&c->at, key);
	field_error_add(c->errs, FIELD_FORBIDDEN, c->at.text, NULL, "%s", why);
	path_cut(&c->at, cut);
}

static void complain(struct checker *c, enum field_error_type type,
		     const char *key, yyjson_mut_val *v, const char *why)
{
	size_t cut = path_field(&c->at, key);

	field_error_add(c->errs, type, c->at.text, v, "%s", why);
	path_cut(&c->at, cut);
}

static void check_pattern(struct checker *c, yyjson_mut_val *s)
{
	yyjson_mut_val *v = yyjson_mut_obj_get(s, "pattern");
	const char *text = yyjson_mut_get_str(v);
	struct err e = { 0 };
	struct re *re = NULL;
	char why[600];

	if (!text)
		return;
	if (re_compile(text, &re, &e) < 0) {
		snprintf(why, sizeof(why),
			 "must be a valid regular expression, but isn't: %s",
			 e.msg);
		complain(c, FIELD_INVALID, "pattern", v, why);
	}
	free(re);
}

static void check_lists(struct checker *c, yyjson_mut_val *s, const char *type)
{
	yyjson_mut_val *list = yyjson_mut_obj_get(s, "x-kubernetes-list-type");
	yyjson_mut_val *map = yyjson_mut_obj_get(s, "x-kubernetes-map-type");
	yyjson_mut_val *keys =
		yyjson_mut_obj_get(s, "x-kubernetes-list-map-keys");
	const char *how = yyjson_mut_get_str(list), *name;
	yyjson_mut_val *key, *props;
	size_t i, max;

	if (map && !str_eq(type, "object"))
		complain(c, FIELD_INVALID, "type",
			 yyjson_mut_obj_get(s, "type"),
			 "must be object if x-kubernetes-map-type is specified");
	name = yyjson_mut_get_str(map);
	if (map && !str_eq(name, "atomic") && !str_eq(name, "granular"))
		complain(c, FIELD_NOT_SUPPORTED, "x-kubernetes-map-type", map,
			 "supported values: \"atomic\", \"granular\"");
	if (keys && !str_eq(how, "map"))
		complain(c, FIELD_INVALID, "x-kubernetes-list-type", list,
			 "must be map if x-kubernetes-list-map-keys is "
			 "non-empty");
	if (!list)
		return;
	if (!str_eq(type, "array"))
		complain(c, FIELD_INVALID, "type",
			 yyjson_mut_obj_get(s, "type"),
			 "must be array if x-kubernetes-list-type is "
			 "specified");
	if (!str_eq(how, "atomic") && !str_eq(how, "set") &&
	    !str_eq(how, "map"))
		complain(c, FIELD_NOT_SUPPORTED, "x-kubernetes-list-type", list,
			 "supported values: \"atomic\", \"map\", \"set\"");
	if (!str_eq(how, "map"))
		return;
	if (!yyjson_mut_arr_size(keys))
		complain(c, FIELD_REQUIRED, "x-kubernetes-list-map-keys", NULL,
			 "must not be empty if x-kubernetes-list-type is map");
	props = mut_get(s, "items.properties");
	yyjson_mut_arr_foreach(keys, i, max, key)
	{
		yyjson_mut_val *p =
			yyjson_mut_obj_get(props, yyjson_mut_get_str(key));

		if (!p)
			complain(c, FIELD_INVALID, "x-kubernetes-list-map-keys",
				 keys,
				 "entries must all be names of item "
				 "properties");
		else if (str_eq(mut_str(p, "type"), "array") ||
			 str_eq(mut_str(p, "type"), "object"))
			complain(c, FIELD_INVALID, "x-kubernetes-list-map-keys",
				 keys, "entries must be of scalar types");
	}
}

static void check_numbers(struct checker *c, yyjson_mut_val *s)
{
	static const char *const counts[] = {
		"maxLength", "minLength",     "maxItems",
		"minItems",  "maxProperties", "minProperties"
	};

	for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
		yyjson_mut_val *v = yyjson_mut_obj_get(s, counts[i]);

		if (v && yyjson_mut_get_sint(v) < 0)
			complain(c, FIELD_INVALID, counts[i], v,
				 "must be greater than or equal to 0");
	}
}

static void check_schema(struct checker *c, yyjson_mut_val *s, int depth,
			 const char *untyped, bool logic);

static void check_children(struct checker *c, yyjson_mut_val *s, const char *of,
			   const char *untyped, int depth, bool logic)
{
	yyjson_mut_val *all = yyjson_mut_obj_get(s, of), *key, *val;
	size_t i, max, cut = path_field(&c->at, of);

	if (yyjson_mut_is_arr(all)) {
		yyjson_mut_arr_foreach(all, i, max, val)
		{
			size_t in = path_index(&c->at, i);

			check_schema(c, val, depth + 1, untyped, logic);
			path_cut(&c->at, in);
		}
	} else {
		yyjson_mut_obj_foreach(all, i, max, key, val)
		{
			size_t in = path_key(&c->at, yyjson_mut_get_str(key));

			check_schema(c, val, depth + 1, untyped, logic);
			path_cut(&c->at, in);
		}
	}
	path_cut(&c->at, cut);
}

/* Within allOf, anyOf, oneOf, not: only conditions, no structure. */
static void check_logic_only(struct checker *c, yyjson_mut_val *s)
{
	static const char *const keys[] = {
		"type",
		"default",
		"description",
		"title",
		"nullable",
		"additionalProperties",
		"x-kubernetes-preserve-unknown-fields",
		"x-kubernetes-embedded-resource",
		"x-kubernetes-int-or-string",
		"x-kubernetes-list-type",
		"x-kubernetes-map-type",
	};

	for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
		bool harmless = i == 2 || i == 3;

		if (!harmless)
			forbid(c, s, keys[i],
			       "must be undefined to be structural");
	}
}

static void check_default(struct checker *c, yyjson_mut_val *s)
{
	yyjson_mut_val *def = yyjson_mut_obj_get(s, "default");
	auto_buf struct buf b = BUF_INIT;
	struct type_set set = { .nr = 0 };
	struct loader l = { .set = &set, .custom = true, .where = "default" };
	struct schema *compiled = NULL;
	yyjson_doc *doc = NULL;
	size_t cut;

	if (!def || json_write_mut(s, false, &b) ||
	    json_parse(buf_str(&b), b.len, &doc, NULL))
		return;
	compiled = loader_compile(&l, yyjson_doc_get_root(doc), 0);
	cut = path_field(&c->at, "default");
	if (compiled)
		schema_validate(compiled, def, &c->at, c->errs);
	path_cut(&c->at, cut);
	yyjson_doc_free(doc);
	type_set_clear(&set);
}

static void check_structure(struct checker *c, yyjson_mut_val *s,
			    const char *untyped, int depth)
{
	static const char *const types[] = { "object", "array",   "string",
					     "number", "integer", "boolean" };
	yyjson_mut_val *v = yyjson_mut_obj_get(s, "type");
	yyjson_mut_val *more = yyjson_mut_obj_get(s, "additionalProperties");
	const char *type = yyjson_mut_get_str(v);
	bool known = false;

	for (size_t i = 0; i < ARRAY_LEN(types); i++)
		known |= str_eq(type, types[i]);
	if (type && *type && !known)
		complain(c, FIELD_NOT_SUPPORTED, "type", v,
			 "supported values: \"array\", \"boolean\", "
			 "\"integer\", \"number\", \"object\", \"string\"");
	if (mut_bool(s, "x-kubernetes-int-or-string")) {
		if (type)
			complain(c, FIELD_FORBIDDEN, "type", NULL,
				 "must be empty if x-kubernetes-int-or-string "
				 "is true");
	} else if (!mut_bool(s, "x-kubernetes-preserve-unknown-fields") &&
		   (!type || !*type)) {
		complain(c, FIELD_REQUIRED, "type", NULL, untyped);
	}
	if (mut_bool(s, "x-kubernetes-embedded-resource") &&
	    !str_eq(type, "object"))
		complain(c, FIELD_INVALID, "type", v,
			 "must be object if x-kubernetes-embedded-resource is "
			 "true");
	if (str_eq(type, "array") && !yyjson_mut_obj_get(s, "items"))
		complain(c, FIELD_REQUIRED, "items", NULL, "must be specified");
	if (more && yyjson_mut_obj_get(s, "properties"))
		complain(c, FIELD_FORBIDDEN, "additionalProperties", NULL,
			 "additionalProperties and properties are mutual "
			 "exclusive");
	if (yyjson_mut_is_false(more))
		complain(c, FIELD_FORBIDDEN, "additionalProperties", NULL,
			 "additionalProperties cannot be set to false");
	if (yyjson_mut_is_obj(more)) {
		size_t cut = path_field(&c->at, "additionalProperties");

		check_schema(c, more, depth + 1,
			     "must not be empty for specified object fields",
			     false);
		path_cut(&c->at, cut);
	} else if (more && !yyjson_mut_is_bool(more)) {
		complain(c, FIELD_INVALID, "additionalProperties", more,
			 "must be a schema or a boolean");
	}
	check_lists(c, s, type);
	check_default(c, s);
}

static void check_schema(struct checker *c, yyjson_mut_val *s, int depth,
			 const char *untyped, bool logic)
{
	yyjson_mut_val *items = yyjson_mut_obj_get(s, "items");
	yyjson_mut_val *not_of = yyjson_mut_obj_get(s, "not");
	const char *why = "must not be empty for specified object fields";

	if (depth > SCHEMA_DEPTH_MAX / 2 || ++c->nodes > SCHEMA_NODES_MAX ||
	    c->errs->nr == SCHEMA_ERRORS_MAX) {
		if (c->errs->nr < SCHEMA_ERRORS_MAX)
			field_error_add(c->errs, FIELD_FORBIDDEN, c->at.text,
					NULL,
					"the schema is nested too deeply or "
					"too large");
		return;
	}
	forbid(c, s, "$ref", "$ref is not supported");
	forbid(c, s, "$schema", "$schema is not supported");
	forbid(c, s, "id", "id is not supported");
	forbid(c, s, "definitions", "definitions is not supported");
	forbid(c, s, "dependencies", "dependencies is not supported");
	forbid(c, s, "patternProperties", "patternProperties is not supported");
	forbid(c, s, "additionalItems", "additionalItems is not supported");
	if (mut_bool(s, "uniqueItems"))
		complain(c, FIELD_FORBIDDEN, "uniqueItems", NULL,
			 "uniqueItems cannot be set to true since the runtime "
			 "complexity becomes quadratic");
	if (yyjson_mut_obj_get(s, "x-kubernetes-preserve-unknown-fields") &&
	    !mut_bool(s, "x-kubernetes-preserve-unknown-fields"))
		complain(c, FIELD_INVALID,
			 "x-kubernetes-preserve-unknown-fields",
			 yyjson_mut_obj_get(
				 s, "x-kubernetes-preserve-unknown-fields"),
			 "must be true or undefined");
	check_pattern(c, s);
	check_numbers(c, s);
	if (logic)
		check_logic_only(c, s);
	else
		check_structure(c, s, untyped, depth);
	check_children(c, s, "properties", why, depth, logic);
	if (yyjson_mut_is_obj(items)) {
		size_t cut = path_field(&c->at, "items");

		check_schema(c, items, depth + 1,
			     "must not be empty for specified array items",
			     logic);
		path_cut(&c->at, cut);
	}
	/* int-or-string may say its two types. */
	if (!mut_bool(s, "x-kubernetes-int-or-string")) {
		check_children(c, s, "anyOf", why, depth, true);
		check_children(c, s, "allOf", why, depth, true);
	}
	check_children(c, s, "oneOf", why, depth, true);
	if (yyjson_mut_is_obj(not_of)) {
		size_t cut = path_field(&c->at, "not");

		check_schema(c, not_of, depth + 1, why, true);
		path_cut(&c->at, cut);
	}
}

static void check_root(struct checker *c, yyjson_mut_val *version)
{
	yyjson_mut_val *s = mut_get(version, "schema.openAPIV3Schema");
	const char *type = mut_str(s, "type");
	size_t cut;

	if (!s) {
		cut = path_field(&c->at, "schema");
		complain(c, FIELD_REQUIRED, "openAPIV3Schema", NULL,
			 "schemas are required");
		path_cut(&c->at, cut);
		return;
	}
	cut = path_field(&c->at, "schema");
	path_field(&c->at, "openAPIV3Schema");
	if (type && *type && strcmp(type, "object") != 0)
		complain(c, FIELD_INVALID, "type",
			 yyjson_mut_obj_get(s, "type"),
			 "must be object at the root");
	else
		check_schema(c, s, 0, "must not be empty at the root", false);
	path_cut(&c->at, cut);
}

/* --- the rest of a version --- */

static bool is_path(const char *s)
{
	return s && s[0] == '.' && s[1];
}

static void check_columns(struct checker *c, yyjson_mut_val *version)
{
	static const char *const types[] = { "integer", "number", "string",
					     "boolean", "date" };
	yyjson_mut_val *col;
	size_t i, max;

	yyjson_mut_arr_foreach(mut_get(version, "additionalPrinterColumns"), i,
			       max, col)
	{
		size_t cut = path_field(&c->at, "additionalPrinterColumns");
		const char *type = mut_str(col, "type");
		bool known = false;

		path_index(&c->at, i);
		for (size_t k = 0; k < ARRAY_LEN(types); k++)
			known |= str_eq(type, types[k]);
		if (!known)
			complain(c, FIELD_NOT_SUPPORTED, "type",
				 mut_get(col, "type"),
				 "supported values: \"boolean\", \"date\", "
				 "\"integer\", \"number\", \"string\"");
		if (!is_path(mut_str(col, "jsonPath")) ||
		    strlen(mut_str(col, "jsonPath")) > 1024)
			complain(c, FIELD_INVALID, "jsonPath",
				 mut_get(col, "jsonPath"),
				 "must be a JSON path that begins with a dot");
		path_cut(&c->at, cut);
	}
}

static void check_paths(struct checker *c, yyjson_mut_val *version)
{
	static const struct {
		const char *path, *under, *why;
	} all[] = {
		{ "specReplicasPath", ".spec.",
		  "should be a json path under .spec" },
		{ "statusReplicasPath", ".status.",
		  "should be a json path under .status" },
		{ "labelSelectorPath", ".s",
		  "should be a json path under either .spec or .status" },
	};
	yyjson_mut_val *scale = mut_get(version, "subresources.scale"), *f;
	size_t cut = path_field(&c->at, "subresources"), i, max;

	path_field(&c->at, "scale");
	for (i = 0; scale && i < ARRAY_LEN(all); i++) {
		yyjson_mut_val *v = yyjson_mut_obj_get(scale, all[i].path);
		const char *text = yyjson_mut_get_str(v);

		if (text &&
		    (!str_starts(text, all[i].under) || strchr(text, '[')))
			complain(c, FIELD_INVALID, all[i].path, v, all[i].why);
	}
	path_cut(&c->at, cut);
	f = mut_get(version, "selectableFields");
	if (yyjson_mut_arr_size(f) > 8)
		complain(c, FIELD_TOO_MANY, "selectableFields", f,
			 "must have at most 8 items");
	yyjson_mut_arr_foreach(f, i, max, scale)
	{
		const char *text = mut_str(scale, "jsonPath");

		cut = path_field(&c->at, "selectableFields");
		path_index(&c->at, i);
		if (!is_path(text) || strpbrk(text, "[]'\" "))
			complain(c, FIELD_INVALID, "jsonPath",
				 mut_get(scale, "jsonPath"),
				 "must be a simple path");
		path_cut(&c->at, cut);
	}
}

static bool is_label_1035(const char *s)
{
	return s && str_is_dns_label(s) && s[0] >= 'a' && s[0] <= 'z';
}

static void check_versions(yyjson_mut_val *obj, struct field_errors *errs)
{
	struct checker c = { .errs = errs };
	yyjson_mut_val *v, *other, *versions = mut_get(obj, "spec.versions");
	size_t i, j, max, max2, stored = 0;

	yyjson_mut_arr_foreach(versions, i, max, v)
	{
		const char *name = mut_str(v, "name");

		path_cut(&c.at, 0);
		path_field(&c.at, "spec.versions");
		path_index(&c.at, i);
		stored += mut_bool(v, "storage");
		if (name && !is_label_1035(name))
			complain(&c, FIELD_INVALID, "name", mut_get(v, "name"),
				 LABEL_1035);
		if (mut_get(v, "deprecationWarning") &&
		    !mut_bool(v, "deprecated"))
			complain(&c, FIELD_INVALID, "deprecationWarning",
				 mut_get(v, "deprecationWarning"),
				 "can only be set for deprecated versions");
		yyjson_mut_arr_foreach(versions, j, max2, other)
		{
			if (j >= i)
				break;
			if (str_eq(mut_str(other, "name"), name))
				complain(&c, FIELD_DUPLICATE, "name",
					 mut_get(v, "name"), "");
		}
		check_root(&c, v);
		check_columns(&c, v);
		check_paths(&c, v);
	}
	if (yyjson_mut_arr_size(versions) > 32)
		field_error_add(errs, FIELD_TOO_MANY, "spec.versions", versions,
				"must have at most 32 items");
	if (stored != 1)
		field_error_add(errs, FIELD_INVALID, "spec.versions", versions,
				"must have exactly one version marked as "
				"storage version");
}

static void check_kind(yyjson_mut_val *obj, const char *path,
		       struct field_errors *errs)
{
	const char *kind = mut_str(obj, path);
	char lower[256];
	size_t i;

	for (i = 0; kind && kind[i] && i < sizeof(lower) - 1; i++)
		lower[i] = kind[i] >= 'A' && kind[i] <= 'Z' ? kind[i] | 0x20
							    : kind[i];
	lower[i] = '\0';
	if (kind && !is_label_1035(lower))
		field_error_add(errs, FIELD_INVALID, path, mut_get(obj, path),
				"may have mixed case, but should otherwise "
				"match: " LABEL_1035);
}

static void check_words(yyjson_mut_val *obj, const char *path,
			struct field_errors *errs)
{
	yyjson_mut_val *v;
	size_t i, max;

	yyjson_mut_arr_foreach(mut_get(obj, path), i, max, v)
	{
		struct path at = { .len = 0 };

		path_field(&at, path);
		path_index(&at, i);
		if (!is_label_1035(yyjson_mut_get_str(v)))
			field_error_add(errs, FIELD_INVALID, at.text, v,
					LABEL_1035);
	}
}

static void check_names(yyjson_mut_val *obj, struct field_errors *errs)
{
	const char *name = mut_str(obj, "metadata.name");
	const char *plural = mut_str(obj, "spec.names.plural");
	const char *singular = mut_str(obj, "spec.names.singular");
	const char *group = mut_str(obj, "spec.group");
	yyjson_mut_val *notes = mut_get(obj, "metadata.annotations");
	char want[600];

	snprintf(want, sizeof(want), "%s.%s", plural ? plural : "",
		 group ? group : "");
	if (name && strcmp(name, want) != 0)
		field_error_add(errs, FIELD_INVALID, "metadata.name",
				mut_get(obj, "metadata.name"),
				"must be spec.names.plural+\".\"+spec.group");
	if (group && (!str_is_dns_subdomain(group) || !strchr(group, '.')))
		field_error_add(errs, FIELD_INVALID, "spec.group",
				mut_get(obj, "spec.group"),
				"should be a domain with at least one dot");
	if (group &&
	    (str_ends(group, ".k8s.io") || str_ends(group, ".kubernetes.io")) &&
	    !yyjson_mut_obj_get(notes, "api-approved.kubernetes.io"))
		field_error_add(errs, FIELD_REQUIRED,
				"metadata.annotations[api-approved.kubernetes."
				"io]",
				NULL,
				"protected groups must have approval "
				"annotation \"api-approved.kubernetes.io\", "
				"see https://github.com/kubernetes/"
				"enhancements/pull/1111");
	if (plural && !is_label_1035(plural))
		field_error_add(errs, FIELD_INVALID, "spec.names.plural",
				mut_get(obj, "spec.names.plural"), LABEL_1035);
	if (singular && !is_label_1035(singular))
		field_error_add(errs, FIELD_INVALID, "spec.names.singular",
				mut_get(obj, "spec.names.singular"),
				LABEL_1035);
	check_kind(obj, "spec.names.kind", errs);
	check_kind(obj, "spec.names.listKind", errs);
	if (str_eq(mut_str(obj, "spec.names.kind"),
		   mut_str(obj, "spec.names.listKind")))
		field_error_add(errs, FIELD_INVALID, "spec.names.listKind",
				mut_get(obj, "spec.names.listKind"),
				"kind and listKind may not be the same");
	check_words(obj, "spec.names.shortNames", errs);
	check_words(obj, "spec.names.categories", errs);
}

/* The rules are compiled as they will be for objects. */
static void check_rules(yyjson_mut_val *obj, struct field_errors *errs)
{
	yyjson_mut_val *v, *versions = mut_get(obj, "spec.versions");
	auto_ptr(type_set) set = NULL;
	auto_buf struct buf b = BUF_INIT;
	size_t i, max;

	if (json_write_mut(obj, false, &b) ||
	    type_set_of_crd(b.data, b.len, true, &set, NULL))
		return;
	yyjson_mut_arr_foreach(versions, i, max, v)
	{
		struct path at = { .len = 0 };

		path_field(&at, "spec.versions");
		path_index(&at, i);
		path_field(&at, "schema.openAPIV3Schema");
		for (size_t j = 0; j < set->nr; j++)
			if (str_eq(set->types[j].version, mut_str(v, "name")))
				schema_rules_check(set->types[j].schema, &at,
						   errs);
	}
}

void crd_validate(yyjson_mut_val *obj, struct field_errors *errs)
{
	const char *scope = mut_str(obj, "spec.scope");

	check_names(obj, errs);
	if (scope && strcmp(scope, "Namespaced") && strcmp(scope, "Cluster") &&
	    strcmp(scope, "Tenant"))
		field_error_add(errs, FIELD_NOT_SUPPORTED, "spec.scope",
				mut_get(obj, "spec.scope"),
				"supported values: \"Cluster\", "
				"\"Namespaced\", \"Tenant\"");
	if (mut_bool(obj, "spec.preserveUnknownFields"))
		field_error_add(errs, FIELD_INVALID,
				"spec.preserveUnknownFields",
				mut_get(obj, "spec.preserveUnknownFields"),
				"must be false; set x-kubernetes-preserve-"
				"unknown-fields to true in the schema");
	crd_check_conversion(obj, errs);
	check_versions(obj, errs);
	if (!errs->nr)
		check_rules(obj, errs);
}

void crd_validate_update(yyjson_mut_val *obj, yyjson_mut_val *old,
			 struct field_errors *errs)
{
	static const char *const fixed[] = { "spec.group", "spec.scope",
					     "spec.names.kind",
					     "spec.names.plural" };
	yyjson_mut_val *stored, *v;
	size_t i, j, max, max2;

	for (i = 0; i < ARRAY_LEN(fixed); i++)
		if (!mut_equal(mut_get(obj, fixed[i]), mut_get(old, fixed[i])))
			field_error_add(errs, FIELD_INVALID, fixed[i],
					mut_get(obj, fixed[i]),
					"field is immutable");
	/* What objects are stored in must stay known. */
	yyjson_mut_arr_foreach(mut_get(old, "status.storedVersions"), i, max,
			       stored)
	{
		struct path at = { .len = 0 };
		bool there = false;

		yyjson_mut_arr_foreach(mut_get(obj, "spec.versions"), j, max2,
				       v) there |=
			str_eq(mut_str(v, "name"), yyjson_mut_get_str(stored));
		path_field(&at, "status.storedVersions");
		path_index(&at, i);
		if (!there)
			field_error_add(errs, FIELD_INVALID, at.text, stored,
					"must appear in spec.versions");
	}
}

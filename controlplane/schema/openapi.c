// SPDX-License-Identifier: Apache-2.0
/* OpenAPI v2 and v3 documents, written from the compiled schemas. */
#include <errno.h>
#include <stdio.h>

#include "controlplane/schema/types.h"
#include "lib/json.h"
#include "lib/str.h"

static void put_schema(struct json_out *o, const char *key,
		       const struct schema *s, bool v3);

static void put_type(struct json_out *o, const struct schema *s, bool v3)
{
	static const char *const names[] = {
		[SCHEMA_OBJECT] = "object",        [SCHEMA_ARRAY] = "array",
		[SCHEMA_STRING] = "string",        [SCHEMA_INTEGER] = "integer",
		[SCHEMA_NUMBER] = "number",        [SCHEMA_BOOLEAN] = "boolean",
		[SCHEMA_INT_OR_STRING] = "string", [SCHEMA_QUANTITY] = "string",
	};

	if (v3 &&
	    (s->type == SCHEMA_INT_OR_STRING || s->type == SCHEMA_QUANTITY)) {
		json_put_array(o, "oneOf");
		json_put_object(o, NULL);
		json_put_str(o, "type", "string");
		json_put_end(o);
		json_put_object(o, NULL);
		json_put_str(o, "type",
			     s->type == SCHEMA_QUANTITY ? "number" : "integer");
		json_put_end(o);
		json_put_end(o);
	} else if (names[s->type]) {
		json_put_str(o, "type", names[s->type]);
	}
	if (s->format && s->type != SCHEMA_QUANTITY)
		json_put_str(o, "format", s->format);
}

static void put_merging(struct json_out *o, const struct schema *s)
{
	if (s->patch_key)
		json_put_str(o, "x-kubernetes-patch-merge-key", s->patch_key);
	if (s->patch_merge || s->retain_keys)
		json_put_str(o, "x-kubernetes-patch-strategy",
			     s->patch_merge ? "merge" : "retainKeys");
	if (s->type == SCHEMA_ARRAY)
		json_put_str(o, "x-kubernetes-list-type",
			     s->list == LIST_MAP   ? "map"
			     : s->list == LIST_SET ? "set"
						   : "atomic");
	if (s->keys) {
		json_put_array(o, "x-kubernetes-list-map-keys");
		for (const char **k = s->keys; *k; k++)
			json_put_str(o, NULL, *k);
		json_put_end(o);
	}
	if (s->map_atomic)
		json_put_str(o, "x-kubernetes-map-type", "atomic");
	if (s->preserve_unknown)
		json_put_bool(o, "x-kubernetes-preserve-unknown-fields", true);
}

static void put_fields(struct json_out *o, const struct schema *s, bool v3)
{
	bool required = false;

	if (!s->nr_fields)
		return;
	json_put_object(o, "properties");
	for (size_t i = 0; i < s->nr_fields; i++) {
		put_schema(o, s->fields[i].name, s->fields[i].schema, v3);
		required |= s->fields[i].required;
	}
	json_put_end(o);
	if (!required)
		return;
	json_put_array(o, "required");
	for (size_t i = 0; i < s->nr_fields; i++)
		if (s->fields[i].required)
			json_put_str(o, NULL, s->fields[i].name);
	json_put_end(o);
}

static void put_ref(struct json_out *o, const struct schema *s, bool v3)
{
	if (!v3) {
		json_put_fmt(o, "$ref", "#/definitions/%s", s->name);
		return;
	}
	json_put_array(o, "allOf");
	json_put_object(o, NULL);
	json_put_fmt(o, "$ref", "#/components/schemas/%s", s->name);
	json_put_end(o);
	json_put_end(o);
}

/* What only custom resources say; version 2 leaves out what clients of that
 * time do not understand. */
static void put_more(struct json_out *o, const struct schema *s, bool v3)
{
	static const char *const names[] = { "allOf", "anyOf", "oneOf" };
	struct schema **const lists[] = { s->all_of, s->any_of, s->one_of };

	if (s->min_len > 0)
		json_put_i64(o, "minLength", s->min_len);
	if (s->max_len >= 0)
		json_put_i64(o, "maxLength", s->max_len);
	if (s->min_items > 0)
		json_put_i64(o, "minItems", s->min_items);
	if (s->max_items >= 0)
		json_put_i64(o, "maxItems", s->max_items);
	for (size_t i = 0; v3 && i < ARRAY_LEN(names); i++) {
		if (!lists[i] || s->type == SCHEMA_INT_OR_STRING)
			continue;
		json_put_array(o, names[i]);
		for (size_t j = 0; lists[i][j]; j++)
			put_schema(o, NULL, lists[i][j], v3);
		json_put_end(o);
	}
	if (v3 && s->not_of)
		put_schema(o, "not", s->not_of, v3);
}

static void put_body(struct json_out *o, const struct schema *s, bool v3)
{
	if (s->description)
		json_put_str(o, "description", s->description);
	put_type(o, s, v3);
	put_fields(o, s, v3);
	if (s->items)
		put_schema(o, "items", s->items, v3);
	if (s->additional)
		put_schema(o, "additionalProperties", s->additional, v3);
	if (s->allowed)
		json_put_val(o, "enum", s->allowed);
	put_more(o, s, v3);
	if (s->has_min)
		json_put_double(o, "minimum", s->min);
	if (s->has_max)
		json_put_double(o, "maximum", s->max);
	if (s->pattern)
		json_put_str(o, "pattern", s->pattern);
	if (s->def && v3)
		json_put_val(o, "default", s->def);
	if (s->nullable && v3)
		json_put_bool(o, "nullable", true);
	put_merging(o, s);
}

static void put_schema(struct json_out *o, const char *key,
		       const struct schema *s, bool v3)
{
	json_put_object(o, key);
	if (s->of && s->name) {
		/* The definition says its own: kubectl explain shows both. */
		if (!str_eq(s->description, s->of->description))
			json_put_str(o, "description", s->description);
		put_ref(o, s, v3);
		if (s->def && v3)
			json_put_val(o, "default", s->def);
		put_merging(o, s);
	} else {
		put_body(o, s, v3);
	}
	json_put_end(o);
}

static void put_gvk(struct json_out *o, const struct type *t)
{
	json_put_object(o, NULL);
	json_put_str(o, "group", t->group);
	json_put_str(o, "kind", t->kind);
	json_put_str(o, "version", t->version);
	json_put_end(o);
}

/* The type whose objects a definition describes, if any. */
static const struct type *type_of(const struct discovery *d, const char *name)
{
	for (size_t i = 0; i < d->nr; i++)
		if (str_eq(d->types[i]->schema->name, name))
			return d->types[i];
	return NULL;
}

/* Note the definitions that @s refers to, and what those refer to. */
static void collect(const struct schema *s, struct map *seen, int depth)
{
	if (!s || depth > 4 * SCHEMA_DEPTH_MAX)
		return;
	if (s->name) {
		if (map_get(seen, s->name))
			return;
		/* As it is by itself, not as somebody who refers to it says. */
		map_set(seen, s->name, (void *)(s->of ? s->of : s), NULL);
	}
	for (size_t i = 0; i < s->nr_fields; i++)
		collect(s->fields[i].schema, seen, depth + 1);
	collect(s->items, seen, depth + 1);
	collect(s->additional, seen, depth + 1);
}

static void put_definitions(const struct discovery *d, struct json_out *o,
			    struct map *seen, bool v3)
{
	struct map_iter it = MAP_ITER_INIT;

	while (map_next(seen, &it)) {
		const struct type *t = type_of(d, it.key);

		json_put_object(o, it.key);
		put_body(o, it.value, v3);
		if (t) {
			json_put_array(o, "x-kubernetes-group-version-kind");
			put_gvk(o, t);
			json_put_end(o);
		}
		json_put_end(o);
	}
}

static void put_parameters(struct json_out *o, bool v3)
{
	static const char *const names[] = { "dryRun", "fieldManager",
					     "fieldValidation", "force" };

	json_put_array(o, "parameters");
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		const char *type =
			strcmp(names[i], "force") ? "string" : "boolean";

		json_put_object(o, NULL);
		json_put_str(o, "name", names[i]);
		json_put_str(o, "in", "query");
		if (v3) {
			json_put_object(o, "schema");
			json_put_str(o, "type", type);
			json_put_end(o);
		} else {
			json_put_str(o, "type", type);
			json_put_bool(o, "uniqueItems", true);
		}
		json_put_end(o);
	}
	json_put_end(o);
}

/* kubectl looks here for what a type can be patched with: it applies with a
 * strategic patch wherever that is offered, and custom types know none. */
static void put_patch_body(struct json_out *o, bool custom)
{
	static const char strategic[] =
		"application/strategic-merge-patch+json";
	static const char *const types[] = { "application/json-patch+json",
					     "application/merge-patch+json",
					     strategic,
					     "application/apply-patch+yaml" };

	json_put_object(o, "requestBody");
	json_put_object(o, "content");
	for (size_t i = 0; i < ARRAY_LEN(types); i++) {
		if (custom && types[i] == strategic)
			continue;
		json_put_object(o, types[i]);
		json_put_object(o, "schema");
		json_put_str(o, "$ref",
			     "#/components/schemas/"
			     "io.k8s.apimachinery.pkg.apis.meta.v1.Patch");
		json_put_end(o);
		json_put_end(o);
	}
	json_put_end(o);
	json_put_end(o);
}

static void put_op(struct json_out *o, const char *op, const char *action,
		   const struct type *t, bool v3)
{
	json_put_object(o, op);
	json_put_fmt(o, "operationId", "%s%s%s%s", action, t->group, t->version,
		     t->kind);
	if (strcmp(op, "get") != 0)
		put_parameters(o, v3);
	if (v3 && strcmp(op, "patch") == 0)
		put_patch_body(o, t->custom);
	json_put_object(o, "responses");
	json_put_object(o, "200");
	json_put_str(o, "description", "OK");
	if (v3) {
		json_put_object(o, "content");
		json_put_object(o, "application/json");
		json_put_object(o, "schema");
		json_put_fmt(o, "$ref", "#/components/schemas/%s",
			     t->schema->name);
		json_put_end(o);
		json_put_end(o);
		json_put_end(o);
	}
	json_put_end(o);
	json_put_end(o);
	json_put_str(o, "x-kubernetes-action", action);
	json_put_object(o, "x-kubernetes-group-version-kind");
	json_put_str(o, "group", t->group);
	json_put_str(o, "kind", t->kind);
	json_put_str(o, "version", t->version);
	json_put_end(o);
	json_put_end(o);
}

static void put_path(struct json_out *o, const struct type *t, bool v3)
{
	const char *ns =
		t->scope == SCOPE_NAMESPACED ? "namespaces/{namespace}/" : "";
	char prefix[300], path[600];

	snprintf(prefix, sizeof(prefix), "/%s%s%s/%s",
		 *t->group ? "apis" : "api", *t->group ? "/" : "", t->group,
		 t->version);
	snprintf(path, sizeof(path), "%s/%s%s", prefix, ns, t->plural);
	json_put_object(o, path);
	if (t->verbs & VERB_LIST)
		put_op(o, "get", "list", t, v3);
	if (t->verbs & VERB_CREATE)
		put_op(o, "post", "post", t, v3);
	json_put_end(o);
	if (!(t->verbs & VERB_GET))
		return;
	snprintf(path, sizeof(path), "%s/%s%s/{name}", prefix, ns, t->plural);
	json_put_object(o, path);
	put_op(o, "get", "get", t, v3);
	put_op(o, "put", "put", t, v3);
	put_op(o, "patch", "patch", t, v3);
	put_op(o, "delete", "delete", t, v3);
	json_put_end(o);
}

/* What other servers say of their own paths. */
static void put_foreign_paths(const struct discovery *d, struct json_out *o)
{
	for (size_t i = 0; i < d->nr_foreign; i++) {
		const struct discovery_foreign *f = &d->foreign[i];
		yyjson_val *k, *v;
		char prefix[600];
		size_t j, max;

		snprintf(prefix, sizeof(prefix), "/apis/%s/%s/", f->group,
			 f->version);
		json_obj_foreach (yyjson_obj_get(f->openapi, "paths"), j, max,
				  k, v)
			if (str_starts(yyjson_get_str(k), prefix))
				json_put_val(o, yyjson_get_str(k), v);
	}
}

/* Their definitions, but those that have a name of ours. */
static void put_foreign_definitions(const struct discovery *d,
				    struct json_out *o, struct map *seen)
{
	for (size_t i = 0; i < d->nr_foreign; i++) {
		yyjson_val *root = d->foreign[i].openapi, *k, *v;
		size_t j, max;

		json_obj_foreach (yyjson_obj_get(root, "definitions"), j, max,
				  k, v) {
			const char *name = yyjson_get_str(k);

			if (map_get(seen, name) ||
			    map_set(seen, name, v, NULL) < 0)
				continue;
			json_put_val(o, name, v);
		}
	}
}

static void put_paths(const struct discovery *d, struct json_out *o,
		      const char *group, const char *version, bool v3)
{
	json_put_object(o, "paths");
	for (size_t i = 0; i < d->nr; i++) {
		const struct type *t = d->types[i];

		if (!group || (strcmp(t->group, group) == 0 &&
			       strcmp(t->version, version) == 0))
			put_path(o, t, v3);
	}
	if (!v3)
		put_foreign_paths(d, o);
	json_put_end(o);
}

static void put_info(struct json_out *o)
{
	json_put_object(o, "info");
	json_put_str(o, "title", "Kubernetes");
	json_put_str(o, "version", "v1.32.0+arktos-" ARKTOS_VERSION);
	json_put_end(o);
}

void openapi_v2(const struct discovery *d, struct buf *b)
{
	struct json_out o = JSON_OUT(b);
	struct map_iter it = MAP_ITER_INIT;
	struct map seen = MAP_INIT;

	json_put_object(&o, NULL);
	json_put_str(&o, "swagger", "2.0");
	put_info(&o);
	put_paths(d, &o, NULL, NULL, false);
	json_put_object(&o, "definitions");
	for (size_t i = 0; i < d->nr; i++)
		collect(d->types[i]->schema, &seen, 0);
	while (map_next(&d->set->definitions, &it))
		collect(it.value, &seen, 0);
	put_definitions(d, &o, &seen, false);
	put_foreign_definitions(d, &o, &seen);
	map_clear(&seen, NULL);
	json_put_end(&o);
	json_put_end(&o);
}

int openapi_v3(const struct discovery *d, const char *group,
	       const char *version, struct buf *b)
{
	struct json_out o = JSON_OUT(b);
	struct map seen = MAP_INIT;

	for (size_t i = 0; i < d->nr; i++)
		if (strcmp(d->types[i]->group, group) == 0 &&
		    strcmp(d->types[i]->version, version) == 0)
			collect(d->types[i]->schema, &seen, 0);
	if (!map_len(&seen))
		return -ENOENT;
	json_put_object(&o, NULL);
	json_put_str(&o, "openapi", "3.0.0");
	put_info(&o);
	put_paths(d, &o, group, version, true);
	json_put_object(&o, "components");
	json_put_object(&o, "schemas");
	put_definitions(d, &o, &seen, true);
	json_put_end(&o);
	json_put_end(&o);
	json_put_end(&o);
	map_clear(&seen, NULL);
	return 0;
}

static bool first_of_version(const struct discovery *d, size_t at)
{
	for (size_t i = 0; i < at; i++)
		if (strcmp(d->types[i]->group, d->types[at]->group) == 0 &&
		    strcmp(d->types[i]->version, d->types[at]->version) == 0)
			return false;
	return true;
}

/* Something that changes whenever the document of @t's version does. */
static uint64_t hash_of(const struct discovery *d, const struct type *t)
{
	uint64_t h = 0;

	for (size_t i = 0; i < d->nr_more; i++)
		if (strcmp(d->more[i]->types[0].group, t->group) == 0)
			h = (h ^ d->more[i]->revision) * 0x100000001b3;
	return h;
}

void openapi_v3_index(const struct discovery *d, struct buf *b)
{
	struct json_out o = JSON_OUT(b);

	json_put_object(&o, NULL);
	json_put_object(&o, "paths");
	for (size_t i = 0; i < d->nr; i++) {
		const struct type *t = d->types[i];
		char path[600];

		if (!first_of_version(d, i))
			continue;
		snprintf(path, sizeof(path), "%s%s%s/%s",
			 *t->group ? "apis" : "api", *t->group ? "/" : "",
			 t->group, t->version);
		json_put_object(&o, path);
		json_put_fmt(&o, "serverRelativeURL",
			     "/openapi/v3/%s?hash=" ARKTOS_VERSION "-%llx",
			     path, (unsigned long long)hash_of(d, t));
		json_put_end(&o);
	}
	for (size_t i = 0; i < d->nr_foreign; i++) {
		const struct discovery_foreign *f = &d->foreign[i];
		char path[600];

		if (!f->openapi_v3)
			continue;
		snprintf(path, sizeof(path), "apis/%s/%s", f->group,
			 f->version);
		json_put_object(&o, path);
		json_put_fmt(&o, "serverRelativeURL",
			     "/openapi/v3/%s?hash=%llx", path,
			     (unsigned long long)f->hash);
		json_put_end(&o);
	}
	json_put_end(&o);
	json_put_end(&o);
}

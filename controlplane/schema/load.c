// SPDX-License-Identifier: Apache-2.0
/* Declarations to compiled schemas: first every definition, then the
 * references between them. */
#include <stdio.h>

#include "controlplane/schema/load.h"
#include "lib/auto.h"
#include "lib/cel/cel.h"
#include "lib/json.h"
#include "lib/re.h"
#include "lib/str.h"
#include "lib/yaml.h"

void *loader_keep(struct type_set *set, size_t nr, size_t size)
{
	void **owned =
		realloc(set->owned, (set->nr_owned + 1) * sizeof(*set->owned));
	void *p;

	if (!owned)
		return NULL;
	set->owned = owned;
	p = calloc(nr ? nr : 1, size);
	if (p)
		set->owned[set->nr_owned++] = p;
	return p;
}

/* @p, made by malloc(), is freed with the set. */
static void *adopt(struct type_set *set, void *p)
{
	void **owned =
		p ? realloc(set->owned, (set->nr_owned + 1) * sizeof(*owned))
		  : NULL;

	if (!owned) {
		free(p);
		return NULL;
	}
	set->owned = owned;
	owned[set->nr_owned++] = p;
	return p;
}

static const char *get_str(yyjson_val *v, const char *key)
{
	return yyjson_get_str(yyjson_obj_get(v, key));
}

static bool get_true(yyjson_val *v, const char *key)
{
	return yyjson_is_true(yyjson_obj_get(v, key));
}

static int64_t get_int(yyjson_val *v, const char *key, int64_t missing)
{
	yyjson_val *n = yyjson_obj_get(v, key);

	return yyjson_is_int(n) ? yyjson_get_sint(n) : missing;
}

const char **loader_strs(struct loader *l, yyjson_val *v)
{
	const char **out =
		loader_keep(l->set, yyjson_arr_size(v) + 1, sizeof(*out));
	yyjson_arr_iter it = yyjson_arr_iter_with(v);
	yyjson_val *item;
	size_t n = 0;

	while (out && (item = yyjson_arr_iter_next(&it)))
		out[n++] = yyjson_get_str(item);
	return out;
}

static int compile_fields(struct loader *l, struct schema *s, yyjson_val *v,
			  int depth)
{
	yyjson_val *props = yyjson_obj_get(v, "properties");
	yyjson_val *required = yyjson_obj_get(v, "required");
	yyjson_val *key, *val, *item;
	size_t i, max;
	yyjson_arr_iter it;

	if (yyjson_obj_size(props)) {
		s->fields = loader_keep(l->set, yyjson_obj_size(props),
					sizeof(*s->fields));
		if (!s->fields)
			return -ENOMEM;
	}
	json_obj_foreach (props, i, max, key, val) {
		struct schema_field *f = &s->fields[s->nr_fields];

		f->name = yyjson_get_str(key);
		f->len = (uint32_t)yyjson_get_len(key);
		f->schema = loader_compile(l, val, depth + 1);
		if (!f->schema)
			return -EINVAL;
		s->nr_fields++;
	}
	it = yyjson_arr_iter_with(required);
	max = 0;
	while ((item = yyjson_arr_iter_next(&it))) {
		for (i = 0; i < s->nr_fields; i++)
			if (str_eq(s->fields[i].name, yyjson_get_str(item)))
				break;
		if (i < s->nr_fields) {
			s->fields[i].required = true;
			continue;
		}
		if (!l->custom)
			continue;
		if (!s->required)
			s->required = loader_keep(l->set,
						  yyjson_arr_size(required) + 1,
						  sizeof(*s->required));
		if (!s->required)
			return -ENOMEM;
		s->required[max++] = yyjson_get_str(item);
	}
	return 0;
}

static struct schema **compile_list(struct loader *l, yyjson_val *v, int depth)
{
	struct schema **out = loader_keep(l->set, yyjson_arr_size(v) + 1,
					  sizeof(struct schema *));
	yyjson_val *item;
	size_t i, max;

	yyjson_arr_foreach(v, i, max, item)
	{
		if (!out || !(out[i] = loader_compile(l, item, depth + 1)))
			return NULL;
	}
	return out;
}

static int compile_logic(struct loader *l, struct schema *s, yyjson_val *v,
			 int depth)
{
	yyjson_val *all = yyjson_obj_get(v, "allOf");
	yyjson_val *any = yyjson_obj_get(v, "anyOf");
	yyjson_val *one = yyjson_obj_get(v, "oneOf");
	yyjson_val *no = yyjson_obj_get(v, "not");

	if ((all && !(s->all_of = compile_list(l, all, depth))) ||
	    (any && !(s->any_of = compile_list(l, any, depth))) ||
	    (one && !(s->one_of = compile_list(l, one, depth))) ||
	    (no && !(s->not_of = loader_compile(l, no, depth + 1))))
		return -EINVAL;
	return 0;
}

static enum schema_type type_of(const char *type, const char *format,
				yyjson_val *v)
{
	if (get_true(v, "x-kubernetes-int-or-string"))
		return SCHEMA_INT_OR_STRING;
	if (!type)
		return SCHEMA_ANY;
	if (strcmp(type, "object") == 0)
		return SCHEMA_OBJECT;
	if (strcmp(type, "array") == 0)
		return SCHEMA_ARRAY;
	if (strcmp(type, "string") == 0)
		return str_eq(format, "quantity") ? SCHEMA_QUANTITY
						  : SCHEMA_STRING;
	if (strcmp(type, "integer") == 0)
		return SCHEMA_INTEGER;
	if (strcmp(type, "number") == 0)
		return SCHEMA_NUMBER;
	if (strcmp(type, "boolean") == 0)
		return SCHEMA_BOOLEAN;
	return SCHEMA_ANY;
}

static int compile_pattern(struct loader *l, struct schema *s)
{
	struct re *re;
	int r;

	if (!s->pattern)
		return 0;
	r = re_compile(s->pattern, &re, l->e);
	if (r < 0)
		return r;
	s->re = adopt(l->set, re);
	if (!s->re)
		return -ENOMEM;
	l->re_bytes += re_size(re);
	if (l->re_bytes > SCHEMA_RE_MAX)
		return err_set(l->e, -E2BIG,
			       "the patterns of the schema take more than %d "
			       "KiB",
			       SCHEMA_RE_MAX / 1024);
	return 0;
}

static void compile_limits(struct schema *s, yyjson_val *v)
{
	yyjson_val *min = yyjson_obj_get(v, "minimum");
	yyjson_val *max = yyjson_obj_get(v, "maximum");

	s->has_min = min != NULL;
	s->has_max = max != NULL;
	s->min = yyjson_get_num(min);
	s->max = yyjson_get_num(max);
	s->exclusive_min = get_true(v, "exclusiveMinimum");
	s->exclusive_max = get_true(v, "exclusiveMaximum");
	s->min_len = get_int(v, "minLength", -1);
	s->max_len = get_int(v, "maxLength", -1);
	s->min_items = get_int(v, "minItems", -1);
	s->max_items = get_int(v, "maxItems", -1);
	s->min_props = get_int(v, "minProperties", -1);
	s->max_props = get_int(v, "maxProperties", -1);
	s->multiple_of = yyjson_get_num(yyjson_obj_get(v, "multipleOf"));
	s->pattern = get_str(v, "pattern");
}

static void compile_merging(struct loader *l, struct schema *s, yyjson_val *v)
{
	const char *list = get_str(v, "x-kubernetes-list-type");
	const char *map = get_str(v, "x-kubernetes-map-type");
	const char *strategy = get_str(v, "x-kubernetes-patch-strategy");
	yyjson_val *keys = yyjson_obj_get(v, "x-kubernetes-list-map-keys");

	if (str_eq(list, "set"))
		s->list = LIST_SET;
	else if (str_eq(list, "map"))
		s->list = LIST_MAP;
	if (keys)
		s->keys = loader_strs(l, keys);
	s->map_atomic = str_eq(map, "atomic");
	s->patch_merge = strategy && strstr(strategy, "merge");
	s->retain_keys = strategy && strstr(strategy, "retainKeys");
	s->patch_key = get_str(v, "x-kubernetes-patch-merge-key");
}

struct schema *loader_compile(struct loader *l, yyjson_val *v, int depth)
{
	struct schema *s = loader_keep(l->set, 1, sizeof(*s));
	const char *ref = l->custom ? NULL : get_str(v, "$ref");
	yyjson_val *items, *additional;

	/* The error already told is the nearer one. */
	if (yyjson_is_true(v) && s && depth) /* anything goes */
		return s;
	if (!s || depth > SCHEMA_DEPTH_MAX || !yyjson_is_obj(v)) {
		err_set(l->e, -EINVAL, "%s: not a schema", l->where);
		return NULL;
	}
	if (l->custom && ++l->nodes > SCHEMA_NODES_MAX) {
		err_set(l->e, -E2BIG, "the schema has more than %d parts",
			SCHEMA_NODES_MAX);
		return NULL;
	}
	s->format = get_str(v, "format");
	s->description = get_str(v, "description");
	s->type = type_of(get_str(v, "type"), l->custom ? NULL : s->format, v);
	s->protobuf = get_str(v, "x-kubernetes-protobuf");
	s->def = yyjson_obj_get(v, "default");
	s->allowed = yyjson_obj_get(v, "enum");
	s->nullable = get_true(v, "nullable");
	s->embedded = get_true(v, "x-kubernetes-embedded-resource");
	s->preserve_unknown =
		get_true(v, "x-kubernetes-preserve-unknown-fields");
	compile_limits(s, v);
	compile_merging(l, s, v);
	s->custom = l->custom;
	s->rules_text = l->custom
				? yyjson_obj_get(v, "x-kubernetes-validations")
				: NULL;
	if (compile_pattern(l, s))
		return NULL;
	if (ref) {
		struct schema_ref *refs =
			realloc(l->refs, (l->nr_refs + 1) * sizeof(*refs));

		if (!refs)
			return NULL;
		l->refs = refs;
		l->refs[l->nr_refs++] = (struct schema_ref){ s, ref };
		return s;
	}
	items = yyjson_obj_get(v, "items");
	if (items && !(s->items = loader_compile(l, items, depth + 1)))
		return NULL;
	additional = yyjson_obj_get(v, "additionalProperties");
	if ((yyjson_is_obj(additional) || yyjson_is_true(additional)) &&
	    !(s->additional = loader_compile(l, additional, depth + 1)))
		return NULL;
	if (compile_fields(l, s, v, depth) || compile_logic(l, s, v, depth))
		return NULL;
	return s;
}

static int link_refs(struct loader *l)
{
	for (size_t i = 0; i < l->nr_refs; i++) {
		const char *name = l->refs[i].to;
		struct schema *s = l->refs[i].at, own = *s;
		struct schema *to = map_get(&l->local, name);

		if (!to)
			to = map_get(&l->set->short_names, name);
		if (!to)
			return err_set(l->e, -EINVAL,
				       "%s: $ref to '%s', which is not declared",
				       l->where, name);
		*s = *to;
		s->of = to;
		s->protobuf = own.protobuf;
		if (own.description)
			s->description = own.description;
		if (own.def)
			s->def = own.def;
		s->nullable |= own.nullable;
		s->retain_keys |= own.retain_keys;
		s->map_atomic |= own.map_atomic;
	}
	return 0;
}

static int load_definitions(struct loader *l, yyjson_val *doc)
{
	const char *package = get_str(doc, "package");
	yyjson_val *key, *val;
	struct map_iter it = MAP_ITER_INIT;
	size_t i, max;

	json_obj_foreach (yyjson_obj_get(doc, "definitions"), i, max, key,
			  val) {
		const char *name = yyjson_get_str(key);
		struct schema *s;
		char full[256];
		char *kept;

		l->where = name;
		s = loader_compile(l, val, 0);
		if (!s)
			return -EINVAL;
		snprintf(full, sizeof(full), "%s.%s", package, name);
		kept = loader_keep(l->set, strlen(full) + 1, 1);
		if (!kept)
			return -ENOMEM;
		memcpy(kept, full, strlen(full) + 1);
		s->name = kept;
		if (map_set(&l->local, name, s, NULL) ||
		    map_set(&l->set->definitions, full, s, NULL))
			return -ENOMEM;
	}
	if (link_refs(l))
		return -EINVAL;
	while (map_next(&l->local, &it))
		if (!map_get(&l->set->short_names, it.key) &&
		    map_set(&l->set->short_names, it.key, it.value, NULL))
			return -ENOMEM;
	return 0;
}

int loader_columns(struct loader *l, struct type *t, yyjson_val *cols)
{
	yyjson_arr_iter it = yyjson_arr_iter_with(cols);
	yyjson_val *v;

	t->columns =
		loader_keep(l->set, yyjson_arr_size(cols), sizeof(*t->columns));
	if (!t->columns)
		return -ENOMEM;
	while ((v = yyjson_arr_iter_next(&it))) {
		struct type_column *c = &t->columns[t->nr_columns++];
		const char *fn = get_str(v, "func");

		c->name = get_str(v, "name");
		c->type = get_str(v, "type");
		c->format = get_str(v, "format");
		c->description = get_str(v, "description");
		c->path = get_str(v, "path");
		if (!c->path)
			c->path = get_str(v, "jsonPath");
		c->priority = get_int(v, "priority", 0);
		c->fn = fn ? type_column_find(fn) : NULL;
		if (fn && !c->fn)
			return err_set(l->e, -EINVAL,
				       "%s: column function '%s' is unknown",
				       l->where, fn);
	}
	return 0;
}

static unsigned int load_verbs(yyjson_val *verbs)
{
	static const char *const names[] = { "get",    "list",
					     "watch",  "create",
					     "update", "patch",
					     "delete", "deletecollection" };
	yyjson_arr_iter it = yyjson_arr_iter_with(verbs);
	unsigned int out = 0;
	yyjson_val *v;

	if (!verbs)
		return VERB_ALL;
	while ((v = yyjson_arr_iter_next(&it)))
		for (size_t i = 0; i < ARRAY_LEN(names); i++)
			if (str_eq(names[i], yyjson_get_str(v)))
				out |= 1u << i;
	return out;
}

/* Names of tags, "f:spec.x", from names of fields. */
static const char **tag_names(struct loader *l, yyjson_val *v)
{
	const char **out = loader_strs(l, v);

	for (size_t i = 0; out && out[i]; i++) {
		char *tag = loader_keep(l->set, strlen(out[i]) + 3, 1);

		if (!tag)
			return NULL;
		memcpy(tag, "f:", 2);
		memcpy(tag + 2, out[i], strlen(out[i]) + 1);
		out[i] = tag;
	}
	return out;
}

static int load_stored(struct loader *l, struct type *t, yyjson_val *v)
{
	yyjson_val *as = yyjson_obj_get(v, "storedAs");
	yyjson_val *fields = yyjson_obj_get(v, "selectableAs");
	const char *convert = get_str(as, "convert");

	if (!as)
		return 0;
	t->stored_group = get_str(as, "group");
	t->stored_version = get_str(as, "version");
	t->convert = convert ? type_convert_find(convert) : NULL;
	if (!t->stored_group || !t->stored_version || !t->convert)
		return err_set(l->e, -EINVAL,
			       "%s: storedAs needs group, version, convert",
			       l->where);
	if (fields && !(t->selected = tag_names(l, fields)))
		return -ENOMEM;
	return 0;
}

static int load_type(struct loader *l, yyjson_val *doc, yyjson_val *v)
{
	static const struct type_hooks none = { .name = "none" };
	struct type_set *set = l->set;
	const char *scope = get_str(v, "scope");
	const char *hooks = get_str(v, "hooks");
	const char *list_kind = get_str(v, "listKind");
	struct type *types, *t;
	char *made;

	l->where = get_str(v, "name");
	types = realloc(set->types, (set->nr + 1) * sizeof(*types));
	if (!types)
		return -ENOMEM;
	set->types = types;
	t = &types[set->nr];
	memset(t, 0, sizeof(*t));
	t->group = get_str(doc, "group");
	t->version = get_str(doc, "version");
	t->package = get_str(doc, "package");
	t->plural = l->where;
	t->kind = get_str(v, "kind");
	t->singular = get_str(v, "singular");
	if (!l->where || !t->kind || !scope || !t->version || !t->group)
		return err_set(l->e, -EINVAL,
			       "a type needs group, version, "
			       "name, kind, scope");
	made = loader_keep(set, strlen(t->kind) * 2 + 8, 1);
	if (!made)
		return -ENOMEM;
	snprintf(made, strlen(t->kind) + 5, "%sList", t->kind);
	t->list_kind = list_kind ? list_kind : made;
	if (!t->singular) {
		char *lower = made + strlen(made) + 1;

		for (size_t i = 0; t->kind[i]; i++)
			lower[i] = t->kind[i] | 0x20;
		t->singular = lower;
	}
	t->scope = strcmp(scope, "Cluster") == 0  ? SCOPE_CLUSTER
		   : strcmp(scope, "Tenant") == 0 ? SCOPE_TENANT
						  : SCOPE_NAMESPACED;
	t->short_names = loader_strs(l, yyjson_obj_get(v, "shortNames"));
	t->categories = loader_strs(l, yyjson_obj_get(v, "categories"));
	t->subresources = loader_strs(l, yyjson_obj_get(v, "subresources"));
	t->selectable = loader_strs(l, yyjson_obj_get(v, "selectable"));
	t->verbs = load_verbs(yyjson_obj_get(v, "verbs"));
	t->name_rule = get_str(v, "nameRule");
	t->virtual = get_true(v, "virtual");
	t->schema = map_get(&l->local, t->kind);
	if (!t->schema)
		return err_set(l->e, -EINVAL, "%s: no definition of %s",
			       l->where, t->kind);
	t->hooks = hooks ? type_hooks_find(hooks) : &none;
	if (!t->hooks)
		return err_set(l->e, -EINVAL, "%s: hooks '%s' are unknown",
			       l->where, hooks);
	set->nr++;
	if (load_stored(l, t, v))
		return -EINVAL;
	return loader_columns(l, t, yyjson_obj_get(v, "columns"));
}

/* The array of types moves while it grows: pointers into it come last. */
static int link_stored(struct type_set *set, struct err *e)
{
	for (size_t i = 0; i < set->nr; i++) {
		struct type *t = &set->types[i];

		if (!t->stored_group)
			continue;
		t->stored = type_find(set, t->stored_group, t->stored_version,
				      t->plural);
		if (!t->stored)
			return err_set(e, -EINVAL, "%s: storedAs names no type",
				       t->plural);
	}
	return 0;
}

static int load_doc(struct type_set *set, yyjson_val *doc, struct err *e)
{
	struct loader l = { .set = set, .local = MAP_INIT, .e = e };
	yyjson_arr_iter it = { 0 };
	yyjson_val *v;
	int r;

	l.where = get_str(doc, "group");
	r = load_definitions(&l, doc);
	it = yyjson_arr_iter_with(yyjson_obj_get(doc, "resources"));
	while (r == 0 && (v = yyjson_arr_iter_next(&it)))
		r = load_type(&l, doc, v);
	map_clear(&l.local, NULL);
	free(l.refs);
	if (r == -ENOMEM)
		err_set(e, r, "types: out of memory");
	return r;
}

static int load_text(struct type_set *set, const char *json, size_t len,
		     struct err *e)
{
	yyjson_doc **kept =
		realloc(set->docs, (set->nr_docs + 1) * sizeof(yyjson_doc *));
	yyjson_doc *doc = NULL;
	int r;

	if (!kept)
		return err_set(e, -ENOMEM, "out of memory");
	set->docs = kept;
	r = json_parse(json, len, &doc, e);
	if (r < 0)
		return r;
	set->docs[set->nr_docs++] = doc;
	return load_doc(set, yyjson_doc_get_root(doc), e);
}

int type_set_load_lines(struct type_set *set, const char *json, size_t len,
			struct err *e)
{
	const char *end = json + len;
	int r = 0;

	for (size_t nr = 1; r == 0 && json < end; nr++) {
		const char *nl = memchr(json, '\n', (size_t)(end - json));
		size_t n = (size_t)((nl ? nl : end) - json);

		r = load_text(set, json, n, e);
		if (r < 0)
			return err_wrap(e, r, "types: document %zu", nr);
		json += n + 1;
	}
	return link_stored(set, e);
}

int type_set_load(struct type_set *set, const char *yaml, size_t len,
		  struct err *e)
{
	struct yaml_docs docs = { 0 };
	int r = yaml_to_json(yaml, len, &docs, e);

	if (r < 0)
		return err_wrap(e, r, "types");
	for (size_t i = 0; r == 0 && i < docs.nr; i++) {
		r = load_text(set, docs.v[i].json, docs.v[i].len, e);
		if (r < 0)
			r = err_wrap(e, r, "types: document at line %zu",
				     docs.v[i].line);
	}
	yaml_docs_clear(&docs);
	return r < 0 ? r : link_stored(set, e);
}

void type_set_clear(struct type_set *set)
{
	map_clear(&set->definitions, NULL);
	map_clear(&set->short_names, NULL);
	for (size_t i = 0; i < set->nr_docs; i++)
		yyjson_doc_free(set->docs[i]);
	for (size_t i = 0; i < set->nr_owned; i++)
		free(set->owned[i]);
	for (size_t i = 0; i < set->nr_exprs; i++)
		cel_free(set->exprs[i]);
	free(set->exprs);
	free(set->docs);
	free(set->owned);
	free(set->types);
	memset(set, 0, sizeof(*set));
}

const struct type *type_find(const struct type_set *set, const char *group,
			     const char *version, const char *plural)
{
	for (size_t i = 0; i < set->nr; i++) {
		const struct type *t = &set->types[i];

		if (strcmp(t->plural, plural) == 0 &&
		    strcmp(t->group, group) == 0 &&
		    (!version || strcmp(t->version, version) == 0))
			return t;
	}
	return NULL;
}

const struct type *type_find_kind(const struct type_set *set, const char *group,
				  const char *version, const char *kind)
{
	for (size_t i = 0; i < set->nr; i++) {
		const struct type *t = &set->types[i];

		if (strcmp(t->kind, kind) == 0 &&
		    strcmp(t->group, group) == 0 &&
		    (!version || strcmp(t->version, version) == 0))
			return t;
	}
	return NULL;
}

bool type_has_subresource(const struct type *t, const char *name)
{
	for (size_t i = 0; t->subresources[i]; i++)
		if (strcmp(t->subresources[i], name) == 0)
			return true;
	return false;
}

const char *type_api_version(const struct type *t, char *buf, size_t size)
{
	snprintf(buf, size, "%s%s%s", t->group, *t->group ? "/" : "",
		 t->version);
	return buf;
}

const struct schema_field *schema_field_n(const struct schema *s,
					  const char *name, size_t len)
{
	/* Most names differ in their length or in how they begin. */
	for (size_t i = 0; i < s->nr_fields; i++) {
		const struct schema_field *f = &s->fields[i];

		if (f->len == len && f->name[0] == name[0] &&
		    memcmp(f->name, name, len) == 0)
			return f;
	}
	return NULL;
}

const struct schema_field *schema_field(const struct schema *s,
					const char *name)
{
	return schema_field_n(s, name, strlen(name));
}

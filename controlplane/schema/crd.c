// SPDX-License-Identifier: Apache-2.0
/* From a CustomResourceDefinition to types: one for each version, compiled by
 * the same code as the built-in ones. */
#include <stdio.h>

#include "controlplane/schema/load.h"
#include "lib/json.h"
#include "lib/str.h"

#define CRD_SELECTABLE_MAX 8

static const char *get_str(yyjson_val *v, const char *key)
{
	return yyjson_get_str(yyjson_obj_get(v, key));
}

/* ".spec.replicas" as "spec.replicas". */
static const char *plain_path(const char *path)
{
	return path && *path == '.' ? path + 1 : path;
}

static char *kept_text(struct type_set *set, const char *text)
{
	char *s = loader_keep(set, strlen(text) + 1, 1);

	if (s)
		memcpy(s, text, strlen(text) + 1);
	return s;
}

/* "io.example.stable.v1.CronTab". */
static char *definition_name(struct type_set *set, const struct type *t)
{
	auto_buf struct buf b = BUF_INIT;
	const char *end = t->group + strlen(t->group);

	while (end > t->group) {
		const char *dot = memrchr(t->group, '.', end - t->group);
		const char *part = dot ? dot + 1 : t->group;

		buf_add(&b, part, end - part);
		buf_putc(&b, '.');
		end = dot ? dot : t->group;
	}
	buf_printf(&b, "%s.%s", t->version, t->kind);
	return buf_error(&b) ? NULL : kept_text(set, buf_str(&b));
}

/* The envelope is the same for every object: it comes from ours. */
static int set_envelope(struct type_set *set, struct schema *s)
{
	static const char *const names[] = { "apiVersion", "kind", "metadata" };
	struct type_set *builtin;
	const struct type *like;
	struct schema_field *fields;
	size_t nr = 0;

	if (type_set_builtin(&builtin, NULL))
		return -EINVAL;
	like = type_find(builtin, "", "v1", "configmaps");
	fields = loader_keep(set, s->nr_fields + ARRAY_LEN(names),
			     sizeof(*fields));
	if (!fields)
		return -ENOMEM;
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		fields[nr++] = *schema_field(like->schema, names[i]);
	for (size_t i = 0; i < s->nr_fields; i++)
		if (strcmp(s->fields[i].name, names[0]) &&
		    strcmp(s->fields[i].name, names[1]) &&
		    strcmp(s->fields[i].name, names[2]))
			fields[nr++] = s->fields[i];
	s->fields = fields;
	s->nr_fields = nr;
	return 0;
}

static const char **selectable_of(struct loader *l, yyjson_val *version)
{
	yyjson_val *list = yyjson_obj_get(version, "selectableFields"), *v;
	const char **out =
		loader_keep(l->set, yyjson_arr_size(list) + 1, sizeof(*out));
	size_t i, max;

	yyjson_arr_foreach(list, i, max, v)
	{
		if (out)
			out[i] = plain_path(get_str(v, "jsonPath"));
	}
	return out;
}

static const char **subresources_of(struct loader *l, struct type *t,
				    yyjson_val *v)
{
	yyjson_val *subs = yyjson_obj_get(v, "subresources");
	yyjson_val *scale = yyjson_obj_get(subs, "scale");
	const char **out = loader_keep(l->set, 3, sizeof(*out));
	size_t n = 0;

	if (!out)
		return NULL;
	if (yyjson_obj_get(subs, "status"))
		out[n++] = "status";
	if (scale) {
		out[n++] = "scale";
		t->scale_spec = plain_path(get_str(scale, "specReplicasPath"));
		t->scale_status =
			plain_path(get_str(scale, "statusReplicasPath"));
		t->scale_selector =
			plain_path(get_str(scale, "labelSelectorPath"));
	}
	return out;
}

static int set_warning(struct type_set *set, struct type *t, yyjson_val *v)
{
	const char *text = get_str(v, "deprecationWarning");
	char made[512];

	if (!yyjson_is_true(yyjson_obj_get(v, "deprecated")))
		return 0;
	if (!text) {
		snprintf(made, sizeof(made), "%s/%s %s is deprecated", t->group,
			 t->version, t->kind);
		text = made;
	}
	t->deprecated = kept_text(set, text);
	return t->deprecated ? 0 : -ENOMEM;
}

static int set_columns(struct loader *l, struct type *t, yyjson_val *v)
{
	static const struct type_column age = {
		.name = "Age",
		.type = "date",
		.description = "Time since creation.",
		.path = ".metadata.creationTimestamp",
	};
	yyjson_val *cols = yyjson_obj_get(v, "additionalPrinterColumns");

	if (yyjson_arr_size(cols))
		return loader_columns(l, t, cols);
	t->columns = loader_keep(l->set, 1, sizeof(age));
	if (!t->columns)
		return -ENOMEM;
	t->columns[t->nr_columns++] = age;
	return 0;
}

static int load_names(struct type_set *set, struct type *t, yyjson_val *names)
{
	char text[512];

	t->plural = get_str(names, "plural");
	t->kind = get_str(names, "kind");
	t->singular = get_str(names, "singular");
	t->list_kind = get_str(names, "listKind");
	if (!t->plural || !t->kind)
		return -EINVAL;
	if (!t->singular) {
		size_t i;

		for (i = 0; t->kind[i] && i < sizeof(text) - 1; i++)
			text[i] = t->kind[i] >= 'A' && t->kind[i] <= 'Z'
					  ? t->kind[i] | 0x20
					  : t->kind[i];
		text[i] = '\0';
		t->singular = kept_text(set, text);
	}
	if (!t->list_kind) {
		snprintf(text, sizeof(text), "%sList", t->kind);
		t->list_kind = kept_text(set, text);
	}
	return t->singular && t->list_kind ? 0 : -ENOMEM;
}

static int load_version(struct loader *l, struct type *t, yyjson_val *spec,
			yyjson_val *v, bool system)
{
	static const struct type_hooks none = { .name = "none" };
	yyjson_val *names = yyjson_obj_get(spec, "names");
	const char *scope = get_str(spec, "scope");
	yyjson_val *schema =
		yyjson_obj_get(yyjson_obj_get(v, "schema"), "openAPIV3Schema");

	t->group = get_str(spec, "group");
	t->version = get_str(v, "name");
	t->custom = true;
	t->hooks = &none;
	t->verbs = VERB_ALL;
	if (!t->group || !t->version || !scope || !schema ||
	    load_names(l->set, t, names))
		return err_set(l->e, -EINVAL,
			       "the definition lacks names, versions or a "
			       "schema");
	t->scope = strcmp(scope, "Namespaced") == 0          ? SCOPE_NAMESPACED
		   : strcmp(scope, "Cluster") == 0 && system ? SCOPE_CLUSTER
							     : SCOPE_TENANT;
	t->short_names = loader_strs(l, yyjson_obj_get(names, "shortNames"));
	t->categories = loader_strs(l, yyjson_obj_get(names, "categories"));
	t->subresources = subresources_of(l, t, v);
	t->selectable = selectable_of(l, v);
	if (!t->short_names || !t->categories || !t->subresources ||
	    !t->selectable)
		return -ENOMEM;
	l->where = t->plural;
	t->schema = loader_compile(l, schema, 0);
	if (!t->schema)
		return -EINVAL;
	t->schema->type = SCHEMA_OBJECT;
	t->schema->name = definition_name(l->set, t);
	if (!t->schema->name || set_envelope(l->set, t->schema) ||
	    loader_rules(l->set, t->schema) ||
	    map_set(&l->set->definitions, t->schema->name, t->schema, NULL) ||
	    set_warning(l->set, t, v))
		return -ENOMEM;
	return set_columns(l, t, v);
}

/*
 * Versions but the stored one are converted. The stored one is read as it is
 * while its definition has never been changed: later, what is stored may lack
 * defaults, or have fields that are gone.
 */
static void link_versions(struct type_set *set, const char *stored,
			  bool changed, yyjson_val *conversion)
{
	bool hook = str_eq(get_str(conversion, "strategy"), "Webhook");
	const struct type_convert *how =
		type_convert_find(hook ? "webhook" : "none");
	const struct type *to = NULL;

	for (size_t i = 0; i < set->nr; i++)
		if (strcmp(set->types[i].version, stored) == 0)
			to = &set->types[i];
	for (size_t i = 0; i < set->nr; i++) {
		struct type *t = &set->types[i];

		if (t != to)
			t->stored = to;
		if (t != to || changed)
			t->convert = how;
		if (hook)
			t->webhook = yyjson_obj_get(conversion, "webhook");
	}
}

/* kube-aware order: v2 before v1 before v1beta2 before v1alpha1. */
static int64_t version_rank(const char *v)
{
	int64_t major = 0, minor = 0, stage = 2;

	if (*v++ != 'v' || *v < '1' || *v > '9')
		return -1;
	while (*v >= '0' && *v <= '9' && major < 100000)
		major = major * 10 + (*v++ - '0');
	if (!*v)
		return (stage << 40) + (major << 20);
	stage = str_starts(v, "beta") ? 1 : str_starts(v, "alpha") ? 0 : -1;
	if (stage < 0)
		return -1;
	v += stage ? 4 : 5;
	while (*v >= '0' && *v <= '9' && minor < 100000)
		minor = minor * 10 + (*v++ - '0');
	return *v ? -1 : (stage << 40) + (major << 20) + minor;
}

static int by_rank(const void *a, const void *b)
{
	const struct type *x = a, *y = b;
	int64_t i = version_rank(x->version), j = version_rank(y->version);

	if (i != j)
		return i > j ? -1 : 1;
	return strcmp(x->version, y->version);
}

static int load_crd(struct type_set *set, yyjson_val *crd, bool system,
		    struct err *e)
{
	struct loader l = {
		.set = set, .local = MAP_INIT, .e = e, .custom = true
	};
	yyjson_val *spec = yyjson_obj_get(crd, "spec"), *v;
	yyjson_val *meta = yyjson_obj_get(crd, "metadata");
	yyjson_val *versions = yyjson_obj_get(spec, "versions");
	const char *stored = NULL;
	size_t i, max;
	int r = 0;

	set->types = calloc(yyjson_arr_size(versions) + 1, sizeof(*set->types));
	if (!set->types)
		return err_set(e, -ENOMEM, "out of memory");
	yyjson_arr_foreach(versions, i, max, v)
	{
		bool served = yyjson_is_true(yyjson_obj_get(v, "served"));
		bool storage = yyjson_is_true(yyjson_obj_get(v, "storage"));

		if (!served && !storage)
			continue;
		r = load_version(&l, &set->types[set->nr], spec, v, system);
		if (r < 0)
			return r;
		/* Not served: there, to be converted to. */
		if (!served)
			set->types[set->nr].verbs = 0;
		if (storage)
			stored = set->types[set->nr].version;
		set->nr++;
	}
	if (!stored)
		return err_set(e, -EINVAL, "no version is stored");
	qsort(set->types, set->nr, sizeof(*set->types), by_rank);
	link_versions(set, stored,
		      yyjson_get_sint(yyjson_obj_get(meta, "generation")) > 1,
		      yyjson_obj_get(spec, "conversion"));
	set->system = system;
	set->name = strdup(get_str(meta, "name") ? get_str(meta, "name") : "");
	v = yyjson_obj_get(yyjson_obj_get(meta, "labels"),
			   "arktos.futurewei.com/crd-sharing-policy");
	set->forced = system && yyjson_is_str(v) &&
		      strcasecmp(yyjson_get_str(v), "forced") == 0;
	return set->name ? 0 : -ENOMEM;
}

int type_set_of_crd(const char *crd, size_t len, bool system,
		    struct type_set **ret, struct err *e)
{
	auto_ptr(type_set) set = calloc(1, sizeof(*set));
	int r;

	if (!set)
		return err_set(e, -ENOMEM, "out of memory");
	atomic_init(&set->refs, 1);
	set->docs = calloc(1, sizeof(yyjson_doc *));
	r = set->docs ? json_parse(crd, len, &set->docs[0], e) : -ENOMEM;
	if (r < 0)
		return r;
	set->nr_docs = 1;
	r = load_crd(set, yyjson_doc_get_root(set->docs[0]), system, e);
	if (r < 0)
		return r;
	*ret = take_ptr(set);
	return 0;
}

struct type_set *type_set_ref(struct type_set *set)
{
	if (set)
		atomic_fetch_add_explicit(&set->refs, 1, memory_order_relaxed);
	return set;
}

void type_set_unref(struct type_set *set)
{
	if (!set ||
	    atomic_fetch_sub_explicit(&set->refs, 1, memory_order_acq_rel) != 1)
		return;
	free(set->name);
	type_set_clear(set);
	free(set);
}

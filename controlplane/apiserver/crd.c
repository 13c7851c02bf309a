// SPDX-License-Identifier: Apache-2.0
/* The registry of custom types; see crd.h. */
#include <stdio.h>

#include "controlplane/apiserver/crd.h"
#include "controlplane/apiserver/internal.h"
#include "lib/log.h"
#include "lib/str.h"

#define PREFIX CRD_GROUP "/" CRD_PLURAL "/"

struct crd_view {
	struct type_set **v; /* references */
	size_t nr;
};

struct crds {
	pthread_rwlock_t lock; /* the map and its views */
	struct map views;      /* by tenant */
	pthread_mutex_t fresh; /* one refresh at a time */
};

static void view_free(void *p)
{
	struct crd_view *view = p;

	if (!view)
		return;
	for (size_t i = 0; i < view->nr; i++)
		type_set_unref(view->v[i]);
	free(view->v);
	free(view);
}

/* --- reading --- */

static const struct type *find_in(const struct crd_view *view, bool forced,
				  const char *group, const char *version,
				  const char *plural, struct type_set **ret_set)
{
	for (size_t i = 0; view && i < view->nr; i++) {
		const struct type *t;

		if (forced && !view->v[i]->forced)
			continue;
		t = type_find(view->v[i], group, version, plural);
		if (!t || !t->verbs)
			continue;
		*ret_set = type_set_ref(view->v[i]);
		return t;
	}
	return NULL;
}

/* For lists over all tenants: whoever has such a type. */
static const struct type *find_any(const struct crds *c, const char *group,
				   const char *version, const char *plural,
				   struct type_set **ret_set)
{
	struct map_iter it = MAP_ITER_INIT;
	const struct type *t = NULL;

	while (!t && map_next(&c->views, &it))
		t = find_in(it.value, false, group, version, plural, ret_set);
	return t;
}

const struct type *crds_find(struct api *api, const char *tenant,
			     const char *group, const char *version,
			     const char *plural, struct type_set **ret_set)
{
	struct crds *c = api->crds;
	const struct type *t;

	pthread_rwlock_rdlock(&c->lock);
	t = find_in(map_get(&c->views, SYSTEM), strcmp(tenant, SYSTEM) != 0,
		    group, version, plural, ret_set);
	if (!t)
		t = strcmp(tenant, "all") == 0
			    ? find_any(c, group, version, plural, ret_set)
			    : find_in(map_get(&c->views, tenant), false, group,
				      version, plural, ret_set);
	pthread_rwlock_unlock(&c->lock);
	return t;
}

const struct type *crds_find_kind(struct api *api, const char *tenant,
				  const char *group, const char *version,
				  const char *kind, struct type_set **ret_set)
{
	const struct type *found = NULL;
	struct type_set **sets = NULL;
	size_t nr = 0;

	if (crds_list(api, tenant, &sets, &nr) < 0)
		return NULL;
	for (size_t i = 0; i < nr && !found; i++) {
		found = type_find_kind(sets[i], group, version, kind);
		if (found && !found->verbs)
			found = NULL;
		if (found)
			*ret_set = type_set_ref(sets[i]);
	}
	crds_list_free(sets, nr);
	return found;
}

static bool is_shadowed(const struct crd_view *system,
			const struct type_set *set)
{
	for (size_t i = 0; system && i < system->nr; i++)
		if (system->v[i]->forced &&
		    strcmp(system->v[i]->name, set->name) == 0)
			return true;
	return false;
}

int crds_list(struct api *api, const char *tenant, struct type_set ***ret,
	      size_t *ret_nr)
{
	struct crds *c = api->crds;
	const struct crd_view *system, *own = NULL;
	struct type_set **out;
	size_t nr = 0;

	pthread_rwlock_rdlock(&c->lock);
	system = map_get(&c->views, SYSTEM);
	if (strcmp(tenant, SYSTEM) != 0)
		own = map_get(&c->views, tenant);
	out = calloc((system ? system->nr : 0) + (own ? own->nr : 0) + 1,
		     sizeof(struct type_set *));
	for (size_t i = 0; out && system && i < system->nr; i++)
		if (system->v[i]->forced || strcmp(tenant, SYSTEM) == 0)
			out[nr++] = type_set_ref(system->v[i]);
	for (size_t i = 0; out && own && i < own->nr; i++)
		if (!is_shadowed(system, own->v[i]))
			out[nr++] = type_set_ref(own->v[i]);
	pthread_rwlock_unlock(&c->lock);
	*ret = out;
	*ret_nr = nr;
	return out ? 0 : -ENOMEM;
}

void crds_list_free(struct type_set **v, size_t nr)
{
	for (size_t i = 0; i < nr; i++)
		type_set_unref(v[i]);
	free(v);
}

bool crds_is_forced(struct api *api, const char *name)
{
	struct crds *c = api->crds;
	const struct crd_view *system;
	bool found = false;

	pthread_rwlock_rdlock(&c->lock);
	system = map_get(&c->views, SYSTEM);
	for (size_t i = 0; system && i < system->nr && !found; i++)
		found = system->v[i]->forced &&
			strcmp(system->v[i]->name, name) == 0;
	pthread_rwlock_unlock(&c->lock);
	return found;
}

bool crd_is(const struct type *t)
{
	return strcmp(t->group, CRD_GROUP) == 0 &&
	       strcmp(t->plural, CRD_PLURAL) == 0;
}

int crds_add_forced(struct api *api, struct store_list *list)
{
	struct type_set **sets = NULL;
	struct object_bytes **v;
	size_t nr = 0, at = 0;

	if (crds_list(api, "", &sets, &nr) < 0)
		return -ENOMEM;
	v = calloc(list->nr + nr + 1, sizeof(struct object_bytes *));
	for (size_t i = 0; v && i < nr; i++) {
		auto_free char *key =
			str_printf(PREFIX SYSTEM "//%s", sets[i]->name);
		struct object_bytes *o =
			key ? store_get(api->store, key) : NULL;

		if (o)
			v[at++] = o;
	}
	for (size_t i = 0; v && i < list->nr; i++) {
		bool hidden = false;

		for (size_t k = 0; k < nr; k++)
			hidden |= str_eq(strrchr(list->v[i]->key, '/') + 1,
					 sets[k]->name);
		if (hidden)
			object_unref(list->v[i]);
		else
			v[at++] = list->v[i];
	}
	crds_list_free(sets, nr);
	if (!v)
		return -ENOMEM;
	free(list->v);
	list->v = v;
	list->nr = at;
	return 0;
}

/* --- names --- */

static bool has_word(const char **list, const char *word)
{
	for (; word && list && *list; list++)
		if (strcmp(*list, word) == 0)
			return true;
	return false;
}

/* Whether @word is what something of @t is called in URLs and by kubectl. */
static bool is_called(const struct type *t, const char *word)
{
	return word && (str_eq(t->plural, word) || str_eq(t->singular, word) ||
			has_word(t->short_names, word));
}

static const char *conflict_with(const struct type *t, const char *group,
				 yyjson_mut_val *names, const char **ret)
{
	yyjson_mut_val *v;
	size_t i, max;

	if (strcmp(t->group, group) != 0)
		return NULL;
	if (is_called(t, *ret = mut_str(names, "plural")))
		return "PluralConflict";
	if (is_called(t, *ret = mut_str(names, "singular")))
		return "SingularConflict";
	yyjson_mut_arr_foreach(mut_get(names, "shortNames"), i, max, v)
	{
		if (is_called(t, *ret = yyjson_mut_get_str(v)))
			return "ShortNamesConflict";
	}
	*ret = mut_str(names, "kind");
	if (str_eq(t->kind, *ret) || str_eq(t->list_kind, *ret))
		return "KindConflict";
	*ret = mut_str(names, "listKind");
	if (str_eq(t->kind, *ret) || str_eq(t->list_kind, *ret))
		return "ListKindConflict";
	return NULL;
}

const char *crds_conflict(struct api *api, const char *tenant, const char *crd,
			  const char *group, yyjson_mut_val *names,
			  const char **ret_name)
{
	const char *why = NULL, *word = NULL;
	struct type_set **sets = NULL;
	size_t nr = 0;

	for (size_t i = 0; !why && i < api->types->nr; i++)
		why = conflict_with(&api->types->types[i], group, names, &word);
	(void)crds_list(api, tenant, &sets, &nr);
	for (size_t i = 0; !why && i < nr; i++)
		if (strcmp(sets[i]->name, crd) != 0)
			why = conflict_with(&sets[i]->types[0], group, names,
					    &word);
	crds_list_free(sets, nr);
	*ret_name = word;
	return why;
}

/* --- keeping it --- */

static bool is_established(yyjson_val *obj)
{
	yyjson_val *list = yyjson_obj_get(yyjson_obj_get(obj, "status"),
					  "conditions"),
		   *c;
	size_t i, max;

	yyjson_arr_foreach(list, i, max, c)
	{
		if (str_eq(yyjson_get_str(yyjson_obj_get(c, "type")),
			   "Established"))
			return str_eq(yyjson_get_str(
					      yyjson_obj_get(c, "status")),
				      "True");
	}
	return false;
}

int set_of_crd(const struct object_bytes *o, bool system, struct type_set **ret,
	       struct err *e)
{
	auto_buf struct buf room = BUF_INIT;
	const char *text = object_text(o, &room);

	return text ? type_set_of_crd(text, o->len, system, ret, e)
		    : err_set(e, -ENOMEM, "out of memory");
}

/* The compiled form of @o; NULL: it is not served. */
static struct type_set *compile(const struct crd_view *old,
				const struct object_bytes *o, bool system)
{
	const char *name = strrchr(o->key, '/') + 1;
	struct type_set *set = NULL;
	struct err e = { 0 };
	yyjson_val *root, *meta;
	yyjson_doc *doc;

	for (size_t i = 0; old && i < old->nr; i++)
		if (old->v[i]->revision == o->revision &&
		    strcmp(old->v[i]->name, name) == 0)
			return type_set_ref(old->v[i]);
	doc = object_doc(o);
	root = yyjson_doc_get_root(doc);
	meta = yyjson_obj_get(root, "metadata");
	if (root && is_established(root) && set_of_crd(o, system, &set, &e) < 0)
		log_warn("custom resource definition %s: %s", name, e.msg);
	if (set) {
		set->revision = o->revision;
		/* What is about to go takes nothing new. */
		for (size_t i = 0; i < set->nr; i++)
			if (yyjson_obj_get(meta, "deletionTimestamp"))
				set->types[i].verbs &= ~VERB_CREATE;
	}
	yyjson_doc_free(doc);
	return set;
}

static struct crd_view *build(struct api *api, const struct crd_view *old,
			      const char *tenant)
{
	auto_free char *prefix = str_printf(PREFIX "%s//", tenant);
	struct store_range range = { .prefix = prefix };
	struct crd_view *view = calloc(1, sizeof(*view));
	struct store_list list = { .nr = 0 };

	if (!prefix || !view || store_list(api->store, &range, &list, NULL)) {
		free(view);
		return NULL;
	}
	view->v = calloc(list.nr + 1, sizeof(struct type_set *));
	for (size_t i = 0; view->v && i < list.nr; i++) {
		struct type_set *set =
			compile(old, list.v[i], strcmp(tenant, SYSTEM) == 0);

		if (set)
			view->v[view->nr++] = set;
	}
	store_list_clear(&list);
	return view;
}

void crds_refresh(struct api *api, const char *tenant)
{
	struct crds *c = api->crds;
	void *old = NULL;
	struct crd_view *view;

	pthread_mutex_lock(&c->fresh);
	/* Only refreshes write, and there is one: reading needs no lock. */
	view = build(api, map_get(&c->views, tenant), tenant);
	pthread_rwlock_wrlock(&c->lock);
	if (view && !view->nr) {
		old = map_del(&c->views, tenant);
		view_free(view);
	} else if (view && map_set(&c->views, tenant, view, &old)) {
		old = view;
	}
	pthread_rwlock_unlock(&c->lock);
	pthread_mutex_unlock(&c->fresh);
	view_free(old);
}

/* Every tenant that has definitions. */
static int refresh_all(struct api *api, struct err *e)
{
	struct store_range range = { .prefix = PREFIX };
	struct store_list list;
	char last[256] = "";
	int r = store_list(api->store, &range, &list, e);

	if (r < 0)
		return r;
	for (size_t i = 0; i < list.nr; i++) {
		const char *tenant = list.v[i]->key + strlen(PREFIX);
		char name[256];

		snprintf(name, sizeof(name), "%.*s", (int)strcspn(tenant, "/"),
			 tenant);
		if (strcmp(name, last) != 0)
			crds_refresh(api, name);
		memcpy(last, name, sizeof(last));
	}
	store_list_clear(&list);
	return 0;
}

int crds_open(struct api *api, struct err *e)
{
	struct crds *c = calloc(1, sizeof(*c));

	if (!c)
		return err_set(e, -ENOMEM, "out of memory");
	pthread_rwlock_init(&c->lock, NULL);
	pthread_mutex_init(&c->fresh, NULL);
	api->crds = c;
	return refresh_all(api, e);
}

void crds_close(struct api *api)
{
	struct crds *c = api->crds;

	if (!c)
		return;
	map_clear(&c->views, view_free);
	pthread_rwlock_destroy(&c->lock);
	pthread_mutex_destroy(&c->fresh);
	free(c);
	api->crds = NULL;
}

// SPDX-License-Identifier: Apache-2.0
#include <stdlib.h>

#include "controlplane/apiserver/aggregator/internal.h"
#include "controlplane/apiserver/crd.h"
#include "controlplane/apiserver/internal.h"
#include "lib/str.h"

const struct cidrs *aggregator_cidrs(const struct api *api)
{
	return &api->aggregator->cidrs;
}

/* --- entries --- */

struct ext_docs *ext_docs_new(void)
{
	struct ext_docs *d = calloc(1, sizeof(*d));

	if (d)
		atomic_init(&d->refs, 1);
	return d;
}

struct ext_docs *ext_docs_ref(struct ext_docs *d)
{
	if (d)
		atomic_fetch_add(&d->refs, 1);
	return d;
}

void ext_docs_unref(struct ext_docs *d)
{
	if (!d || atomic_fetch_sub(&d->refs, 1) != 1)
		return;
	yyjson_doc_free(d->resources);
	yyjson_doc_free(d->openapi);
	free(d);
}

struct extension *extension_new(const char *tenant, const char *name,
				const char *group, const char *version)
{
	struct extension *x = calloc(1, sizeof(*x));

	if (!x)
		return NULL;
	atomic_init(&x->refs, 1);
	x->tenant = strdup(tenant);
	x->name = strdup(name);
	x->group = strdup(group);
	x->version = strdup(version);
	if (x->tenant && x->name && x->group && x->version)
		return x;
	extension_unref(x);
	return NULL;
}

void extension_unref(struct extension *x)
{
	if (!x || atomic_fetch_sub(&x->refs, 1) != 1)
		return;
	SSL_CTX_free(x->tls);
	ext_docs_unref(x->docs);
	free(x->tenant);
	free(x->name);
	free(x->group);
	free(x->version);
	free(x);
}

static struct extension *extension_ref(struct extension *x)
{
	if (x)
		atomic_fetch_add(&x->refs, 1);
	return x;
}

static void release(void *p)
{
	extension_unref(p);
}

static void map_free(void *p)
{
	struct map *m = p;

	map_clear(m, release);
	free(m);
}

/* --- the table --- */

/* With the lock held. */
static struct map *map_of(struct aggregator *a, const char *tenant)
{
	struct map *m = map_get(&a->tenants, tenant);

	if (m)
		return m;
	m = calloc(1, sizeof(*m));
	if (m && map_set(&a->tenants, tenant, m, NULL) < 0) {
		free(m);
		return NULL;
	}
	return m;
}

void table_set(struct api *api, const char *tenant, const char *name,
	       struct extension *x)
{
	struct aggregator *a = api->aggregator;
	struct map *m, *gone = NULL;
	void *old = NULL;

	pthread_rwlock_wrlock(&a->lock);
	m = x ? map_of(a, tenant) : map_get(&a->tenants, tenant);
	if (m && x && map_set(m, name, x, &old) == 0)
		x = NULL;
	else if (m && !x)
		old = map_del(m, name);
	if (m && !map_len(m))
		gone = map_del(&a->tenants, tenant);
	atomic_store(&a->any, map_len(&a->tenants) > 0);
	pthread_rwlock_unlock(&a->lock);
	extension_unref(old);
	extension_unref(x); /* there was no memory to keep it */
	if (gone)
		map_free(gone);
}

/* A version that custom types of the tenant have is theirs. */
static bool is_custom(struct api *api, const char *tenant, const char *group,
		      const char *version)
{
	struct type_set **sets = NULL;
	bool found = false;
	size_t nr = 0;

	if (crds_list(api, tenant, &sets, &nr) < 0)
		return true;
	for (size_t i = 0; i < nr && !found; i++)
		for (size_t j = 0; j < sets[i]->nr && !found; j++) {
			const struct type *t = &sets[i]->types[j];

			found = t->verbs && !strcmp(t->group, group) &&
				!strcmp(t->version, version);
		}
	crds_list_free(sets, nr);
	return found;
}

static struct extension *find(struct api *api, const char *tenant,
			      const char *group, const char *version)
{
	struct aggregator *a = api->aggregator;
	auto_free char *name = str_printf("%s.%s", version, group);
	struct extension *x = NULL;
	struct map *m;

	if (!name)
		return NULL;
	pthread_rwlock_rdlock(&a->lock);
	m = map_get(&a->tenants, SYSTEM);
	if (m)
		x = extension_ref(map_get(m, name));
	m = x ? NULL : map_get(&a->tenants, tenant);
	if (m)
		x = extension_ref(map_get(m, name));
	pthread_rwlock_unlock(&a->lock);
	if (x && is_custom(api, tenant, group, version)) {
		extension_unref(x);
		x = NULL;
	}
	return x;
}

void aggregator_route(struct req *r)
{
	struct route *rt = &r->route;
	const char *tenant;

	if (rt->type || !*rt->group || !rt->version || !r->user ||
	    !atomic_load(&r->api->aggregator->any))
		return;
	tenant = rt->tenant ? rt->tenant : r->user->tenant;
	/* As with custom types: that there is one is not for others. */
	if (strcmp(tenant, r->user->tenant) != 0 &&
	    strcmp(r->user->tenant, SYSTEM) != 0)
		return;
	r->extension = find(r->api, tenant, rt->group, rt->version);
	/* However deep the path is: it is about the resource. */
	if (r->extension && rt->plural)
		rt->resource = true;
}

/* --- for discovery --- */

static int by_priority(const void *a, const void *b)
{
	const struct extension *x = *(struct extension *const *)a;
	const struct extension *y = *(struct extension *const *)b;
	int r = y->group_priority - x->group_priority;

	if (!r)
		r = strcmp(x->group, y->group);
	if (!r)
		r = y->version_priority - x->version_priority;
	return r ? r : strcmp(x->version, y->version);
}

/* Append what @tenant has and the system has not. With the lock held. */
static void add_all(struct aggregator *a, const char *tenant,
		    struct extensions *ret)
{
	const struct map *m = map_get(&a->tenants, tenant);
	const struct map *system = map_get(&a->tenants, SYSTEM);
	struct map_iter it = MAP_ITER_INIT;

	while (m && map_next(m, &it))
		if (m == system || !system || !map_get(system, it.key))
			ret->v[ret->nr++] = extension_ref(it.value);
}

static size_t count(const struct aggregator *a, const char *tenant)
{
	const struct map *m = map_get(&a->tenants, tenant);

	return m ? map_len(m) : 0;
}

static void drop_custom(struct api *api, const char *tenant,
			struct extensions *x)
{
	size_t kept = 0;

	for (size_t i = 0; i < x->nr; i++)
		if (is_custom(api, tenant, x->v[i]->group, x->v[i]->version))
			extension_unref(x->v[i]);
		else
			x->v[kept++] = x->v[i];
	x->nr = kept;
}

static void describe(struct extensions *x)
{
	for (size_t i = 0; i < x->nr; i++) {
		const struct extension *e = x->v[i];
		const struct ext_docs *d = e->docs;

		x->foreign[i] = (struct discovery_foreign){
			.group = e->group,
			.version = e->version,
			.current = e->available,
			.resources =
				d ? yyjson_doc_get_root(d->resources) : NULL,
			.openapi = d ? yyjson_doc_get_root(d->openapi) : NULL,
			.openapi_v3 = d && d->openapi_v3,
			.hash = d ? d->hash : 0,
		};
	}
}

int aggregator_list(struct api *api, const char *tenant, struct extensions *ret)
{
	struct aggregator *a = api->aggregator;
	size_t max;

	*ret = (struct extensions){ .nr = 0 };
	if (!atomic_load(&a->any))
		return 0;
	pthread_rwlock_rdlock(&a->lock);
	max = count(a, SYSTEM) + count(a, tenant) + 1;
	ret->v = calloc(max, sizeof(struct extension *));
	ret->foreign = calloc(max, sizeof(*ret->foreign));
	if (ret->v && ret->foreign) {
		add_all(a, SYSTEM, ret);
		if (strcmp(tenant, SYSTEM) != 0)
			add_all(a, tenant, ret);
	}
	pthread_rwlock_unlock(&a->lock);
	if (!ret->v || !ret->foreign) {
		extensions_clear(ret);
		return -ENOMEM;
	}
	drop_custom(api, tenant, ret);
	qsort(ret->v, ret->nr, sizeof(struct extension *), by_priority);
	describe(ret);
	return 0;
}

void extensions_clear(struct extensions *x)
{
	for (size_t i = 0; i < x->nr; i++)
		extension_unref(x->v[i]);
	free(x->v);
	free(x->foreign);
	*x = (struct extensions){ .nr = 0 };
}

/* --- life --- */

int aggregator_open(struct api *api, const char *cidrs, struct err *e)
{
	struct aggregator *a = calloc(1, sizeof(*a));
	int r;

	if (!a)
		return err_set(e, -ENOMEM, "out of memory");
	a->api = api;
	pthread_rwlock_init(&a->lock, NULL);
	api->aggregator = a;
	r = cidrs_parse(cidrs, &a->cidrs, e);
	return r < 0 ? r : front_proxy_open(api, e);
}

void aggregator_close(struct api *api)
{
	struct aggregator *a = api->aggregator;

	if (!a)
		return;
	map_clear(&a->tenants, map_free);
	front_proxy_close(a);
	pthread_rwlock_destroy(&a->lock);
	free(a);
	api->aggregator = NULL;
}

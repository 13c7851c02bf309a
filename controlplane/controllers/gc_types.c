// SPDX-License-Identifier: Apache-2.0
/* Every type the server has, and those of CRDs as they come: one watch of
 * metadata each. */
#include "controlplane/client/object.h"
#include "controlplane/controllers/gc.h"
#include "lib/err.h"
#include "lib/str.h"

static void changed(void *arg, const struct informer_event *ev)
{
	struct gc_type *t = arg;
	struct gc *g = t->gc;

	pthread_mutex_lock(&g->lock);
	if (ev->now)
		gc_seen(g, t, ev->obj, ev->now);
	else
		gc_vanished(g, ev->old);
	pthread_mutex_unlock(&g->lock);
}

static void type_free(void *arg)
{
	struct gc_type *t = arg;

	informer_free(t->informer);
	free(t->path);
	free(t->api_version);
	free(t->kind);
	free(t->plural);
	free(t);
}

void gc_types_free(struct gc *g)
{
	map_clear(&g->types, type_free);
}

/* Many, short-lived, and nobody's owner. */
static bool is_left_alone(const char *plural)
{
	static const char *const names[] = { "events", "leases", "actions",
					     "controllerinstances" };

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (str_eq(names[i], plural))
			return true;
	return false;
}

static bool can(yyjson_val *verbs, const char *verb)
{
	yyjson_val *v;
	size_t i, max;

	yyjson_arr_foreach(verbs, i, max,
			   v) if (str_eq(yyjson_get_str(v), verb)) return true;
	return false;
}

static int start_watch(struct gc *g, struct gc_type *t, struct err *e)
{
	auto_free char *path =
		str_printf("%s%s/%s", t->path,
			   t->tenanted ? "/tenants/all" : "", t->plural);
	struct informer_opts opts = { .path = path,
				      .metadata_only = true,
				      .drop_data = true };
	int r = path ? informer_new(g->ctl->client, &opts, &t->informer, e)
		     : -ENOMEM;

	if (r == 0)
		r = informer_subscribe(t->informer, changed, t);
	if (r == 0)
		informer_start(t->informer);
	return r;
}

/* Discovery tells namespaced or not; what is neither belongs to the tenant,
 * but for what is the whole cluster's. */
static bool is_clusters(const char *plural)
{
	static const char *const names[] = {
		"nodes",
		"tenants",
		"storageclusters",
		"datapartitionconfigs",
		"controllerinstances",
		"runtimeclasses",
		"priorityclasses",
		"csidrivers",
		"csinodes",
		"mutatingwebhookconfigurations",
		"validatingwebhookconfigurations",
	};

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (str_eq(names[i], plural))
			return true;
	return false;
}

static int add_type(struct gc *g, const char *api_version, const char *kind,
		    const char *plural, bool namespaced, bool tenanted,
		    struct err *e)
{
	auto_free char *key = str_printf("%s/%s", api_version, kind);
	struct gc_type *t;
	int r = 0;

	if (!key)
		return err_set(e, -ENOMEM, "out of memory");
	if (map_get(&g->types, key) || is_left_alone(plural))
		return 0;
	t = calloc(1, sizeof(*t));
	if (!t)
		return err_set(e, -ENOMEM, "out of memory");
	t->gc = g;
	t->namespaced = namespaced;
	t->tenanted = tenanted;
	t->path = str_printf("%s%s",
			     strchr(api_version, '/') ? "/apis/" : "/api/",
			     api_version);
	if (!t->path || str_set(&t->api_version, api_version) < 0 ||
	    str_set(&t->kind, kind) < 0 || str_set(&t->plural, plural) < 0)
		r = err_set(e, -ENOMEM, "out of memory");
	if (r == 0)
		r = start_watch(g, t, e);
	if (r == 0) {
		/* Events come on another thread, which looks types up. */
		pthread_mutex_lock(&g->lock);
		r = map_set(&g->types, key, t, NULL);
		pthread_mutex_unlock(&g->lock);
	}
	if (r < 0)
		type_free(t);
	return r;
}

/* One group and version of aggregated discovery. */
static int add_version(struct gc *g, const char *group, yyjson_val *version,
		       struct err *e)
{
	const char *v = obj_str(version, "version");
	auto_free char *api_version =
		*group ? str_printf("%s/%s", group, v) : strdup(v);
	yyjson_val *res;
	size_t i, max;
	int r = 0;

	if (!api_version)
		return err_set(e, -ENOMEM, "out of memory");
	yyjson_arr_foreach(obj_at(version, "resources"), i, max, res)
	{
		yyjson_val *verbs = obj_at(res, "verbs");
		bool ns = str_eq(obj_str(res, "scope"), "Namespaced");
		const char *plural = obj_str(res, "resource");

		if (r < 0 || !can(verbs, "watch") || !can(verbs, "delete"))
			continue;
		r = add_type(g, api_version, obj_str(res, "responseKind.kind"),
			     plural, ns, ns || !is_clusters(plural), e);
	}
	return r;
}

static int discover(struct gc *g, const char *path, struct err *e)
{
	struct client_call call = {
		.method = "GET",
		.path = path,
		.accept = "application/json;g=apidiscovery.k8s.io;v=v2;as="
			  "APIGroupDiscoveryList",
	};
	yyjson_val *group, *version;
	yyjson_doc *doc;
	size_t i, max, j, n;
	int r = ctl_read(g->ctl, &call, &doc, e);

	yyjson_arr_foreach(obj_at(yyjson_doc_get_root(doc), "items"), i, max,
			   group)
	{
		/* The first version is the preferred one: one is enough. */
		yyjson_arr_foreach(obj_at(group, "versions"), j, n,
				   version) if (r == 0 && j == 0) r =
			add_version(g, obj_str(group, "metadata.name"), version,
				    e);
	}
	yyjson_doc_free(doc);
	return r;
}

/* The types that tenants have defined. */
static int discover_crds(struct gc *g, struct err *e)
{
	struct client_call call = {
		.method = "GET",
		.path = "/apis/apiextensions.k8s.io/v1/tenants/all/"
			"customresourcedefinitions",
	};
	yyjson_val *crd, *v;
	yyjson_doc *doc;
	size_t i, max, j, n;
	int r = ctl_read(g->ctl, &call, &doc, e);

	yyjson_arr_foreach(obj_at(yyjson_doc_get_root(doc), "items"), i, max,
			   crd)
	{
		yyjson_val *spec = obj_at(crd, "spec");
		const char *scope = obj_str(spec, "scope");

		yyjson_arr_foreach(obj_at(spec, "versions"), j, n, v)
		{
			auto_free char *api_version =
				str_printf("%s/%s", obj_str(spec, "group"),
					   obj_str(v, "name"));

			if (r == 0 && api_version &&
			    obj_bool(v, "storage", false))
				r = add_type(g, api_version,
					     obj_str(spec, "names.kind"),
					     obj_str(spec, "names.plural"),
					     str_eq(scope, "Namespaced"), true,
					     e);
		}
	}
	yyjson_doc_free(doc);
	return r == -ENOENT ? 0 : r;
}

int gc_discover(struct gc *g, struct err *e)
{
	int r = discover(g, "/api", e);

	if (r == 0)
		r = discover(g, "/apis", e);
	return r < 0 ? r : discover_crds(g, e);
}

// SPDX-License-Identifier: Apache-2.0
/* Which groups, versions and resources there are. */
#include <errno.h>
#include <stdio.h>

#include "controlplane/schema/types.h"
#include "lib/json.h"
#include "lib/str.h"

static const char *const verb_names[] = {
	"create", "delete", "deletecollection", "get",
	"list",   "patch",  "update",           "watch"
};
static const unsigned int verb_bits[] = {
	VERB_CREATE, VERB_DELETE, VERB_DELETECOLLECTION, VERB_GET,
	VERB_LIST,   VERB_PATCH,  VERB_UPDATE,           VERB_WATCH
};

struct sub {
	const char *name, *group, *version, *kind;
	unsigned int verbs;
};

/* Subresources with a kind of their own; the rest have their parent's. */
static struct sub sub_of(const struct type *t, const char *name)
{
	static const struct sub known[] = {
		{ "scale", "autoscaling", "v1", "Scale",
		  VERB_GET | VERB_UPDATE | VERB_PATCH },
		{ "binding", "", "v1", "Binding", VERB_CREATE },
		{ "eviction", "policy", "v1", "Eviction", VERB_CREATE },
		{ "token", "authentication.k8s.io", "v1", "TokenRequest",
		  VERB_CREATE },
		{ "log", "", "v1", "Pod", VERB_GET },
		{ "exec", "", "v1", "PodExecOptions", VERB_GET | VERB_CREATE },
		{ "attach", "", "v1", "PodAttachOptions",
		  VERB_GET | VERB_CREATE },
		{ "portforward", "", "v1", "PodPortForwardOptions",
		  VERB_GET | VERB_CREATE },
		{ "proxy", "", "v1", "PodProxyOptions",
		  VERB_GET | VERB_CREATE },
		{ "action", "", "v1", "CustomAction", VERB_CREATE },
	};

	for (size_t i = 0; i < ARRAY_LEN(known); i++)
		if (strcmp(known[i].name, name) == 0)
			return known[i];
	return (struct sub){ name, t->group, t->version, t->kind,
			     VERB_GET | VERB_UPDATE | VERB_PATCH };
}

int discovery_open(struct discovery *d)
{
	size_t nr = d->set->nr;

	for (size_t i = 0; i < d->nr_more; i++)
		nr += d->more[i]->nr;
	d->types = calloc(nr + 1, sizeof(const struct type *));
	if (!d->types)
		return -ENOMEM;
	for (size_t i = 0; i < d->set->nr; i++)
		d->types[d->nr++] = &d->set->types[i];
	for (size_t i = 0; i < d->nr_more; i++)
		for (size_t j = 0; j < d->more[i]->nr; j++)
			/* Without verbs it is there, but not served. */
			if (d->more[i]->types[j].verbs)
				d->types[d->nr++] = &d->more[i]->types[j];
	return 0;
}

void discovery_close(struct discovery *d)
{
	free(d->types);
	d->types = NULL;
	d->nr = 0;
}

static void put_verbs(struct json_out *o, unsigned int verbs)
{
	json_put_array(o, "verbs");
	for (size_t i = 0; i < ARRAY_LEN(verb_bits); i++)
		if (verbs & verb_bits[i])
			json_put_str(o, NULL, verb_names[i]);
	json_put_end(o);
}

static void put_strs(struct json_out *o, const char *key, const char **v)
{
	if (!v || !*v)
		return;
	json_put_array(o, key);
	for (; *v; v++)
		json_put_str(o, NULL, *v);
	json_put_end(o);
}

/* A tenant's user does not see what is the system's. */
static bool visible(const struct discovery *d, const struct type *t)
{
	return d->system || t->scope != SCOPE_CLUSTER ||
	       (t->virtual && t->verbs & VERB_CREATE) || /* a review */
	       strcmp(t->group, "scheduling.k8s.io") == 0;
}

/* The first visible type of each group, in order. */
static bool first_of_group(const struct discovery *d, size_t i)
{
	for (size_t j = 0; j < i; j++)
		if (visible(d, d->types[j]) &&
		    strcmp(d->types[j]->group, d->types[i]->group) == 0)
			return false;
	return visible(d, d->types[i]);
}

static bool first_of_version(const struct discovery *d, size_t i)
{
	for (size_t j = 0; j < i; j++)
		if (visible(d, d->types[j]) &&
		    strcmp(d->types[j]->group, d->types[i]->group) == 0 &&
		    strcmp(d->types[j]->version, d->types[i]->version) == 0)
			return false;
	return visible(d, d->types[i]);
}

void discovery_api(const struct discovery *d, struct buf *b)
{
	struct json_out o = JSON_OUT(b);

	json_put_object(&o, NULL);
	json_put_str(&o, "kind", "APIVersions");
	json_put_array(&o, "versions");
	json_put_str(&o, NULL, "v1");
	json_put_end(&o);
	json_put_array(&o, "serverAddressByClientCIDRs");
	json_put_object(&o, NULL);
	json_put_str(&o, "clientCIDR", "0.0.0.0/0");
	json_put_str(&o, "serverAddress", d->address ? d->address : "");
	json_put_end(&o);
	json_put_end(&o);
	json_put_end(&o);
}

static void put_version(struct json_out *o, const char *key,
			const struct type *t)
{
	char text[256];

	json_put_object(o, key);
	json_put_str(o, "groupVersion",
		     type_api_version(t, text, sizeof(text)));
	json_put_str(o, "version", t->version);
	json_put_end(o);
}

/* --- what other servers serve --- */

static bool has_local(const struct discovery *d, const char *group)
{
	for (size_t i = 0; i < d->nr; i++)
		if (visible(d, d->types[i]) &&
		    strcmp(d->types[i]->group, group) == 0)
			return true;
	return false;
}

/* The first of a group that is nothing but others'. */
static bool first_foreign(const struct discovery *d, size_t i)
{
	return (!i || strcmp(d->foreign[i - 1].group, d->foreign[i].group)) &&
	       !has_local(d, d->foreign[i].group);
}

static void put_foreign_version(struct json_out *o, const char *key,
				const struct discovery_foreign *f)
{
	json_put_object(o, key);
	json_put_fmt(o, "groupVersion", "%s/%s", f->group, f->version);
	json_put_str(o, "version", f->version);
	json_put_end(o);
}

static void begin_group(struct json_out *o, const char *group, bool alone)
{
	json_put_object(o, NULL);
	if (alone) {
		json_put_str(o, "kind", "APIGroup");
		json_put_str(o, "apiVersion", "v1");
	}
	json_put_str(o, "name", group);
	json_put_array(o, "versions");
}

static void put_foreign_versions(const struct discovery *d, struct json_out *o,
				 const char *group)
{
	for (size_t i = 0; i < d->nr_foreign; i++)
		if (strcmp(d->foreign[i].group, group) == 0)
			put_foreign_version(o, NULL, &d->foreign[i]);
}

static void put_foreign_group(const struct discovery *d, struct json_out *o,
			      size_t at, bool alone)
{
	begin_group(o, d->foreign[at].group, alone);
	put_foreign_versions(d, o, d->foreign[at].group);
	json_put_end(o);
	put_foreign_version(o, "preferredVersion", &d->foreign[at]);
	json_put_end(o);
}

static void put_group(const struct discovery *d, struct json_out *o, size_t at,
		      bool alone)
{
	const struct type *t = d->types[at];

	begin_group(o, t->group, alone);
	for (size_t i = at; i < d->nr; i++)
		if (strcmp(d->types[i]->group, t->group) == 0 &&
		    first_of_version(d, i))
			put_version(o, NULL, d->types[i]);
	put_foreign_versions(d, o, t->group);
	json_put_end(o);
	put_version(o, "preferredVersion", t);
	json_put_end(o);
}

void discovery_apis(const struct discovery *d, struct buf *b)
{
	struct json_out o = JSON_OUT(b);

	json_put_object(&o, NULL);
	json_put_str(&o, "kind", "APIGroupList");
	json_put_str(&o, "apiVersion", "v1");
	json_put_array(&o, "groups");
	for (size_t i = 0; i < d->nr; i++)
		if (*d->types[i]->group && first_of_group(d, i))
			put_group(d, &o, i, false);
	for (size_t i = 0; i < d->nr_foreign; i++)
		if (first_foreign(d, i))
			put_foreign_group(d, &o, i, false);
	json_put_end(&o);
	json_put_end(&o);
}

int discovery_group(const struct discovery *d, const char *group, struct buf *b)
{
	struct json_out o = JSON_OUT(b);

	for (size_t i = 0; i < d->nr; i++)
		if (strcmp(d->types[i]->group, group) == 0 &&
		    first_of_group(d, i)) {
			put_group(d, &o, i, true);
			return 0;
		}
	for (size_t i = 0; i < d->nr_foreign; i++)
		if (first_foreign(d, i) &&
		    strcmp(d->foreign[i].group, group) == 0) {
			put_foreign_group(d, &o, i, true);
			return 0;
		}
	return -ENOENT;
}

static void put_resource(struct json_out *o, const struct type *t)
{
	json_put_object(o, NULL);
	json_put_str(o, "name", t->plural);
	json_put_str(o, "singularName", t->singular);
	json_put_bool(o, "namespaced", t->scope == SCOPE_NAMESPACED);
	json_put_bool(o, "tenanted", t->scope != SCOPE_CLUSTER);
	json_put_str(o, "kind", t->kind);
	put_verbs(o, t->verbs);
	put_strs(o, "shortNames", t->short_names);
	put_strs(o, "categories", t->categories);
	json_put_end(o);
	for (size_t i = 0; t->subresources[i]; i++) {
		struct sub s = sub_of(t, t->subresources[i]);

		json_put_object(o, NULL);
		json_put_fmt(o, "name", "%s/%s", t->plural, s.name);
		json_put_str(o, "singularName", "");
		json_put_bool(o, "namespaced", t->scope == SCOPE_NAMESPACED);
		json_put_bool(o, "tenanted", t->scope != SCOPE_CLUSTER);
		if (strcmp(s.group, t->group) ||
		    strcmp(s.version, t->version)) {
			json_put_str(o, "group", s.group);
			json_put_str(o, "version", s.version);
		}
		json_put_str(o, "kind", s.kind);
		put_verbs(o, s.verbs);
		json_put_end(o);
	}
}

int discovery_resources(const struct discovery *d, const char *group,
			const char *version, struct buf *b)
{
	struct json_out o = JSON_OUT(b);
	bool found = false;

	json_put_object(&o, NULL);
	json_put_str(&o, "kind", "APIResourceList");
	json_put_str(&o, "apiVersion", "v1");
	json_put_fmt(&o, "groupVersion", "%s%s%s", group, *group ? "/" : "",
		     version);
	json_put_array(&o, "resources");
	for (size_t i = 0; i < d->nr; i++) {
		const struct type *t = d->types[i];

		if (strcmp(t->group, group) || strcmp(t->version, version) ||
		    !visible(d, t))
			continue;
		found = true;
		put_resource(&o, t);
	}
	json_put_end(&o);
	json_put_end(&o);
	return found ? 0 : -ENOENT;
}

static void put_kind(struct json_out *o, const char *group, const char *version,
		     const char *kind)
{
	json_put_object(o, "responseKind");
	json_put_str(o, "group", group);
	json_put_str(o, "version", version);
	json_put_str(o, "kind", kind);
	json_put_end(o);
}

static void put_aggregated(struct json_out *o, const struct type *t)
{
	json_put_object(o, NULL);
	json_put_str(o, "resource", t->plural);
	put_kind(o, t->group, t->version, t->kind);
	json_put_str(o, "scope",
		     t->scope == SCOPE_NAMESPACED ? "Namespaced" : "Cluster");
	json_put_str(o, "singularResource", t->singular);
	put_verbs(o, t->verbs);
	put_strs(o, "shortNames", t->short_names);
	put_strs(o, "categories", t->categories);
	if (t->subresources[0]) {
		json_put_array(o, "subresources");
		for (size_t i = 0; t->subresources[i]; i++) {
			struct sub s = sub_of(t, t->subresources[i]);

			json_put_object(o, NULL);
			json_put_str(o, "subresource", s.name);
			put_kind(o, s.group, s.version, s.kind);
			put_verbs(o, s.verbs);
			json_put_end(o);
		}
		json_put_end(o);
	}
	json_put_end(o);
}

static const char *text_of(yyjson_val *v, const char *key)
{
	const char *s = yyjson_get_str(yyjson_obj_get(v, key));

	return s ? s : "";
}

static void put_array(struct json_out *o, const char *key, yyjson_val *v)
{
	yyjson_val *item;
	size_t i, max;

	if (!yyjson_arr_size(v))
		return;
	json_put_array(o, key);
	yyjson_arr_foreach(v, i, max, item)
	{
		if (yyjson_is_str(item))
			json_put_str(o, NULL, yyjson_get_str(item));
	}
	json_put_end(o);
}

/* Of an APIResource, which leaves out what is as in its list. */
static void put_foreign_kind(struct json_out *o,
			     const struct discovery_foreign *f, yyjson_val *r)
{
	const char *group = text_of(r, "group"),
		   *version = text_of(r, "version");

	put_kind(o, *version ? group : f->group,
		 *version ? version : f->version, text_of(r, "kind"));
}

static void put_foreign_subs(struct json_out *o,
			     const struct discovery_foreign *f,
			     const char *plural)
{
	yyjson_val *list = yyjson_obj_get(f->resources, "resources"), *r;
	size_t i, max, len = strlen(plural);
	bool any = false;

	yyjson_arr_foreach(list, i, max, r)
	{
		const char *name = text_of(r, "name");

		if (strncmp(name, plural, len) != 0 || name[len] != '/')
			continue;
		if (!any)
			json_put_array(o, "subresources");
		any = true;
		json_put_object(o, NULL);
		json_put_str(o, "subresource", name + len + 1);
		put_foreign_kind(o, f, r);
		put_array(o, "verbs", yyjson_obj_get(r, "verbs"));
		json_put_end(o);
	}
	if (any)
		json_put_end(o);
}

static void put_foreign_resource(struct json_out *o,
				 const struct discovery_foreign *f,
				 yyjson_val *r)
{
	const char *name = text_of(r, "name");

	if (!*name || strchr(name, '/'))
		return;
	json_put_object(o, NULL);
	json_put_str(o, "resource", name);
	put_foreign_kind(o, f, r);
	json_put_str(o, "scope",
		     yyjson_get_bool(yyjson_obj_get(r, "namespaced"))
			     ? "Namespaced"
			     : "Cluster");
	json_put_str(o, "singularResource", text_of(r, "singularName"));
	put_array(o, "verbs", yyjson_obj_get(r, "verbs"));
	put_array(o, "shortNames", yyjson_obj_get(r, "shortNames"));
	put_array(o, "categories", yyjson_obj_get(r, "categories"));
	put_foreign_subs(o, f, name);
	json_put_end(o);
}

static void put_foreign_aggregated(const struct discovery *d,
				   struct json_out *o, const char *group)
{
	for (size_t i = 0; i < d->nr_foreign; i++) {
		const struct discovery_foreign *f = &d->foreign[i];
		yyjson_val *r;
		size_t j, max;

		if (strcmp(f->group, group) != 0)
			continue;
		json_put_object(o, NULL);
		json_put_str(o, "version", f->version);
		json_put_str(o, "freshness", f->current ? "Current" : "Stale");
		json_put_array(o, "resources");
		yyjson_arr_foreach(yyjson_obj_get(f->resources, "resources"), j,
				   max, r)
		{
			put_foreign_resource(o, f, r);
		}
		json_put_end(o);
		json_put_end(o);
	}
}

static void begin_aggregated(struct json_out *o, const char *group)
{
	json_put_object(o, NULL);
	json_put_object(o, "metadata");
	json_put_str(o, "name", group);
	json_put_null(o, "creationTimestamp");
	json_put_end(o);
	json_put_array(o, "versions");
}

static void put_aggregated_group(const struct discovery *d, struct json_out *o,
				 size_t at)
{
	const char *group = d->types[at]->group;

	begin_aggregated(o, group);
	for (size_t i = at; i < d->nr; i++) {
		const struct type *v = d->types[i];

		if (strcmp(v->group, group) || !first_of_version(d, i))
			continue;
		json_put_object(o, NULL);
		json_put_str(o, "version", v->version);
		json_put_str(o, "freshness", "Current");
		json_put_array(o, "resources");
		for (size_t j = i; j < d->nr; j++) {
			const struct type *t = d->types[j];

			if (strcmp(t->group, group) == 0 &&
			    strcmp(t->version, v->version) == 0 &&
			    visible(d, t))
				put_aggregated(o, t);
		}
		json_put_end(o);
		json_put_end(o);
	}
	put_foreign_aggregated(d, o, group);
	json_put_end(o);
	json_put_end(o);
}

void discovery_aggregated(const struct discovery *d, bool core,
			  const char *version, struct buf *b)
{
	struct json_out o = JSON_OUT(b);

	json_put_object(&o, NULL);
	json_put_str(&o, "kind", "APIGroupDiscoveryList");
	json_put_fmt(&o, "apiVersion", "apidiscovery.k8s.io/%s", version);
	json_put_object(&o, "metadata");
	json_put_end(&o);
	json_put_array(&o, "items");
	for (size_t i = 0; i < d->nr; i++)
		if (core == !*d->types[i]->group && first_of_group(d, i))
			put_aggregated_group(d, &o, i);
	for (size_t i = 0; !core && i < d->nr_foreign; i++)
		if (first_foreign(d, i)) {
			begin_aggregated(&o, d->foreign[i].group);
			put_foreign_aggregated(d, &o, d->foreign[i].group);
			json_put_end(&o);
			json_put_end(&o);
		}
	json_put_end(&o);
	json_put_end(&o);
}

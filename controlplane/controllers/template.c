// SPDX-License-Identifier: Apache-2.0
/* Pods from templates, written as text: the template's parts go as they are. */
#include "controlplane/client/object.h"
#include "controlplane/controllers/framework.h"
#include "controlplane/schema/types.h"
#include "lib/json.h"
#include "lib/str.h"

yyjson_mut_doc *ctl_template_copy(yyjson_val *template)
{
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *obj = doc ? yyjson_mut_obj(doc) : NULL;
	yyjson_mut_val *copy = obj ? yyjson_val_mut_copy(doc, template) : NULL;
	struct type_set *types;
	const struct type *t;

	if (!copy || !yyjson_mut_obj_add_val(doc, obj, "template", copy) ||
	    type_set_builtin(&types, NULL) < 0)
		goto no_memory;
	t = type_find(types, "", "v1", "podtemplates");
	if (schema_default(t->schema, doc, obj))
		goto no_memory;
	t->hooks->complete(doc, obj);
	yyjson_mut_doc_set_root(doc, yyjson_mut_obj_get(obj, "template"));
	return doc;
no_memory:
	yyjson_mut_doc_free(doc);
	return NULL;
}

void ctl_put_owner(struct buf *b, enum kind k, const char *name,
		   const char *uid)
{
	buf_printf(b,
		   "{\"apiVersion\":\"%s\",\"kind\":\"%s\",\"name\":\"%s\","
		   "\"uid\":\"%s\",\"controller\":true,"
		   "\"blockOwnerDeletion\":true}",
		   kinds[k].api_version, kinds[k].name, name, uid);
}

/* A map of strings with more pairs, which replace what is there. */
static void put_map(struct json_out *o, const char *name, yyjson_val *map,
		    const char *const *more)
{
	yyjson_val *key, *val;
	size_t i, max;

	if (!yyjson_obj_size(map) && !more)
		return;
	json_put_object(o, name);
	json_obj_foreach (map, i, max, key, val) {
		bool replaced = false;

		for (size_t n = 0; more && more[n]; n += 2)
			replaced |= str_eq(more[n], yyjson_get_str(key));
		if (!replaced)
			json_put_val(o, yyjson_get_str(key), val);
	}
	for (size_t n = 0; more && more[n]; n += 2)
		json_put_str(o, more[n], more[n + 1]);
	json_put_end(o);
}

/* The affinity of a daemon's pod: this node, whatever else it says. */
static void put_node_affinity(struct json_out *o, const char *node)
{
	json_put_object(o, "affinity");
	json_put_object(o, "nodeAffinity");
	json_put_object(o, "requiredDuringSchedulingIgnoredDuringExecution");
	json_put_array(o, "nodeSelectorTerms");
	json_put_object(o, NULL);
	json_put_array(o, "matchFields");
	json_put_object(o, NULL);
	json_put_str(o, "key", "metadata.name");
	json_put_str(o, "operator", "In");
	json_put_array(o, "values");
	json_put_str(o, NULL, node);
	for (int i = 0; i < 8; i++)
		json_put_end(o);
}

/* What daemons tolerate by themselves. */
static void put_daemon_tolerations(struct json_out *o, yyjson_val *own)
{
	static const char *const keys[][2] = {
		{ "node.kubernetes.io/not-ready", "NoExecute" },
		{ "node.kubernetes.io/unreachable", "NoExecute" },
		{ "node.kubernetes.io/disk-pressure", "NoSchedule" },
		{ "node.kubernetes.io/memory-pressure", "NoSchedule" },
		{ "node.kubernetes.io/pid-pressure", "NoSchedule" },
		{ "node.kubernetes.io/unschedulable", "NoSchedule" },
	};
	yyjson_val *t;
	size_t i, max;

	json_put_array(o, "tolerations");
	yyjson_arr_foreach(own, i, max, t) json_put_val(o, NULL, t);
	for (i = 0; i < ARRAY_LEN(keys); i++) {
		json_put_object(o, NULL);
		json_put_str(o, "key", keys[i][0]);
		json_put_str(o, "operator", "Exists");
		json_put_str(o, "effect", keys[i][1]);
		json_put_end(o);
	}
	json_put_end(o);
}

static void put_finalizers(struct json_out *o, yyjson_val *list,
			   const char *more)
{
	yyjson_val *v;
	size_t i, max;

	json_put_array(o, "finalizers");
	yyjson_arr_foreach(list, i, max, v) json_put_val(o, NULL, v);
	if (more)
		json_put_str(o, NULL, more);
	json_put_end(o);
}

/* Containers of an indexed job know their index. */
static void put_containers(struct json_out *o, yyjson_val *list,
			   const char *index)
{
	yyjson_val *c, *key, *val;
	size_t i, max, j, n;

	json_put_array(o, "containers");
	yyjson_arr_foreach(list, i, max, c)
	{
		json_put_object(o, NULL);
		json_obj_foreach (c, j, n, key, val)
			if (!str_eq(yyjson_get_str(key), "env"))
				json_put_val(o, yyjson_get_str(key), val);
		json_put_array(o, "env");
		yyjson_arr_foreach(obj_at(c, "env"), j, n,
				   val) if (!str_eq(obj_str(val, "name"),
						    "JOB_COMPLETION_INDEX"))
			json_put_val(o, NULL, val);
		json_put_object(o, NULL);
		json_put_str(o, "name", "JOB_COMPLETION_INDEX");
		json_put_str(o, "value", index);
		json_put_end(o);
		json_put_end(o);
		json_put_end(o);
	}
	json_put_end(o);
}

/* The template's, but those that the others replace by name. */
static void put_volumes(struct json_out *o, yyjson_val *own, const char *more)
{
	yyjson_doc *doc = yyjson_read(more, strlen(more), 0);
	yyjson_val *list = yyjson_doc_get_root(doc), *v;
	size_t i, max;

	json_put_array(o, "volumes");
	yyjson_arr_foreach(own, i, max,
			   v) if (!obj_item(list, "name", obj_str(v, "name")))
		json_put_val(o, NULL, v);
	yyjson_arr_foreach(list, i, max, v) json_put_val(o, NULL, v);
	json_put_end(o);
	yyjson_doc_free(doc);
}

static void put_spec(struct json_out *o, const struct template_of *t)
{
	yyjson_val *spec = obj_at(t->template, "spec"), *key, *val;
	size_t i, max;

	json_put_object(o, "spec");
	json_obj_foreach (spec, i, max, key, val) {
		const char *k = yyjson_get_str(key);

		if ((t->hostname && strcmp(k, "hostname") == 0) ||
		    (t->subdomain && strcmp(k, "subdomain") == 0) ||
		    (t->volumes && strcmp(k, "volumes") == 0) ||
		    (t->node && (strcmp(k, "tolerations") == 0 ||
				 strcmp(k, "affinity") == 0)))
			continue;
		if (t->index_env && strcmp(k, "containers") == 0)
			put_containers(o, val, t->index_env);
		else
			json_put_val(o, k, val);
	}
	if (t->hostname)
		json_put_str(o, "hostname", t->hostname);
	if (t->subdomain && *t->subdomain)
		json_put_str(o, "subdomain", t->subdomain);
	if (t->volumes)
		put_volumes(o, obj_at(spec, "volumes"), t->volumes);
	if (t->node) {
		put_node_affinity(o, t->node);
		put_daemon_tolerations(o, obj_at(spec, "tolerations"));
	}
	json_put_end(o);
}

void ctl_pod_body(const struct template_of *t, struct buf *b)
{
	auto_buf struct buf owner = BUF_INIT;
	yyjson_val *meta = obj_at(t->template, "metadata");
	yyjson_val *finalizers = obj_at(meta, "finalizers");
	struct json_out o = JSON_OUT(b);

	ctl_put_owner(&owner, t->owner_kind, t->owner->name, t->owner->uid);
	json_put_object(&o, NULL);
	json_put_str(&o, "apiVersion", "v1");
	json_put_str(&o, "kind", "Pod");
	json_put_object(&o, "metadata");
	if (t->name)
		json_put_str(&o, "name", t->name);
	else
		json_put_fmt(&o, "generateName", "%s-", t->owner->name);
	put_map(&o, "labels", obj_at(meta, "labels"), t->labels);
	put_map(&o, "annotations", obj_at(meta, "annotations"), t->annotations);
	if (finalizers || t->finalizer)
		put_finalizers(&o, finalizers, t->finalizer);
	json_put_array(&o, "ownerReferences");
	json_put_raw(&o, NULL, buf_str(&owner), owner.len);
	json_put_end(&o);
	json_put_end(&o);
	put_spec(&o, t);
	json_put_end(&o);
	if (buf_error(&owner))
		b->error = -ENOMEM;
}

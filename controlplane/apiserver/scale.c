// SPDX-License-Identifier: Apache-2.0
/* The subresource scale: one number of an object, as an object of its own. */
#include "controlplane/apiserver/write.h"
#include "lib/json.h"
#include "lib/str.h"

static const char *spec_path(const struct type *t)
{
	return t->scale_spec ? t->scale_spec : "spec.replicas";
}

/* Labels as the text of a selector. */
static void put_selector(struct buf *b, yyjson_mut_val *obj)
{
	yyjson_mut_val *labels = mut_get(obj, "spec.selector.matchLabels");
	yyjson_mut_val *key, *val;
	size_t i, max;

	if (!labels && str_eq(mut_str(obj, "kind"), "ReplicationController"))
		labels = mut_get(obj, "spec.selector");
	yyjson_mut_obj_foreach(labels, i, max, key, val)
		buf_printf(b, "%s%s=%s", b->len ? "," : "",
			   yyjson_mut_get_str(key), yyjson_mut_get_str(val));
}

static void put_scale(const struct type *t, yyjson_mut_val *obj,
		      uint64_t revision, struct buf *b)
{
	auto_buf struct buf selector = BUF_INIT;
	struct json_out o = JSON_OUT(b);

	put_selector(&selector, obj);
	json_put_object(&o, NULL);
	json_put_str(&o, "kind", "Scale");
	json_put_str(&o, "apiVersion", "autoscaling/v1");
	json_put_object(&o, "metadata");
	json_put_str(&o, "name", mut_str(obj, "metadata.name"));
	json_put_str(&o, "namespace", mut_str(obj, "metadata.namespace"));
	json_put_str(&o, "uid", mut_str(obj, "metadata.uid"));
	json_put_fmt(&o, "resourceVersion", "%llu",
		     (unsigned long long)revision);
	json_put_str(&o, "creationTimestamp",
		     mut_str(obj, "metadata.creationTimestamp"));
	json_put_end(&o);
	json_put_object(&o, "spec");
	json_put_i64(&o, "replicas", mut_int(obj, spec_path(t), 0));
	json_put_end(&o);
	json_put_object(&o, "status");
	json_put_i64(&o, "replicas",
		     mut_int(obj,
			     t->scale_status ? t->scale_status
					     : "status.replicas",
			     0));
	if (!t->custom)
		json_put_str(&o, "selector", buf_str(&selector));
	else if (t->scale_selector && mut_str(obj, t->scale_selector))
		json_put_str(&o, "selector", mut_str(obj, t->scale_selector));
	json_put_end(&o);
	json_put_end(&o);
}

void scale_reply(struct req *r, struct object_bytes *from)
{
	yyjson_mut_doc *doc = object_tree(from);
	struct buf b = BUF_INIT;

	put_scale(r->route.type, doc ? yyjson_mut_doc_get_root(doc) : NULL,
		  from->revision, &b);
	yyjson_mut_doc_free(doc);
	reply_json(r, 200, &b);
}

/* The Scale of @obj as a tree, to be patched. */
static yyjson_mut_val *scale_tree(const struct type *t, yyjson_mut_doc *doc,
				  yyjson_mut_val *obj, uint64_t revision,
				  struct err *e)
{
	auto_buf struct buf b = BUF_INIT;
	yyjson_doc *text = NULL;
	yyjson_mut_val *v = NULL;

	put_scale(t, obj, revision, &b);
	if (json_parse(b.data, b.len, &text, e) == 0)
		v = yyjson_val_mut_copy(doc, yyjson_doc_get_root(text));
	yyjson_doc_free(text);
	return v;
}

/* Set what @scale says. */
static yyjson_mut_val *take(const struct type *t, yyjson_mut_doc *doc,
			    yyjson_mut_val *obj, yyjson_mut_val *scale,
			    struct err *e)
{
	yyjson_mut_val *nr = mut_get(scale, "spec.replicas");
	const char *rv = mut_str(scale, "metadata.resourceVersion");
	const char *uid = mut_str(scale, "metadata.uid");

	if (!yyjson_mut_is_int(nr)) {
		err_set(e, -EINVAL, "spec.replicas: is required");
		return NULL;
	}
	mut_set(doc, obj, spec_path(t), yyjson_mut_val_mut_copy(doc, nr));
	if (rv && *rv)
		mut_set_str(doc, obj, "metadata.resourceVersion", rv);
	if (uid && *uid)
		mut_set_str(doc, obj, "metadata.uid", uid);
	return obj;
}

yyjson_mut_val *scale_change(struct write *w, yyjson_mut_doc *doc,
			     yyjson_mut_val *obj, uint64_t revision,
			     struct err *e)
{
	const struct type *t = w->req->route.type;
	yyjson_val *body = yyjson_doc_get_root(w->body);
	yyjson_mut_val *scale, *patch;

	if (w->kind == WRITE_UPDATE)
		return take(t, doc, obj, yyjson_val_mut_copy(doc, body), e);
	scale = scale_tree(t, doc, obj, revision, e);
	if (!scale)
		return NULL;
	if (str_starts(w->req->content_type, "application/json-patch+json")) {
		scale = patch_json(doc, scale, body, e);
	} else {
		/* Without lists strategic and merge are the same. */
		patch = yyjson_val_mut_copy(doc, body);
		if (!yyjson_mut_is_obj(patch)) {
			err_set(e, -EINVAL, "the patch must be an object");
			return NULL;
		}
		scale = patch_merge(doc, scale, patch, e);
	}
	return scale ? take(t, doc, obj, scale, e) : NULL;
}

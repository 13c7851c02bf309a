// SPDX-License-Identifier: Apache-2.0
#include "controlplane/controllers/revision.h"

#include <stdio.h>

#include "controlplane/client/object.h"
#include "lib/err.h"
#include "lib/json.h"
#include "lib/str.h"

const char *revision_of(yyjson_val *pod)
{
	const char *s = obj_label(pod, REVISION_LABEL);

	return s ? s : "";
}

/* What undo patches back: the template, as a whole. */
static void put_data(struct json_out *o, yyjson_val *root)
{
	yyjson_val *template = obj_at(root, "spec.template"), *key, *val;
	size_t i, max;

	json_put_object(o, "data");
	json_put_object(o, "spec");
	json_put_object(o, "template");
	json_obj_foreach (template, i, max, key, val)
		json_put_val(o, yyjson_get_str(key), val);
	json_put_str(o, "$patch", "replace");
	json_put_end(o);
	json_put_end(o);
	json_put_end(o);
}

static int make(struct ctl *c, enum kind k, const struct informer_object *owner,
		yyjson_val *root, const char *name, const char *hash,
		int64_t number, struct err *e)
{
	yyjson_val *labels = obj_at(root, "spec.template.metadata.labels");
	auto_buf struct buf b = BUF_INIT, ref = BUF_INIT;
	struct json_out o = JSON_OUT(&b);
	struct ctl_write w = { .method = "POST",
			       .kind = KIND_REVISION,
			       .tenant = owner->tenant,
			       .namespace = owner->namespace };
	yyjson_val *key, *val;
	uint64_t revision = 0;
	size_t i, max;
	int r;

	ctl_put_owner(&ref, k, owner->name, owner->uid);
	json_put_object(&o, NULL);
	json_put_str(&o, "apiVersion", "apps/v1");
	json_put_str(&o, "kind", "ControllerRevision");
	json_put_object(&o, "metadata");
	json_put_str(&o, "name", name);
	json_put_object(&o, "labels");
	json_obj_foreach (labels, i, max, key, val)
		json_put_val(&o, yyjson_get_str(key), val);
	json_put_str(&o, REVISION_LABEL, hash);
	json_put_end(&o);
	json_put_array(&o, "ownerReferences");
	json_put_raw(&o, NULL, buf_str(&ref), ref.len);
	json_put_end(&o);
	json_put_end(&o);
	put_data(&o, root);
	json_put_i64(&o, "revision", number);
	json_put_end(&o);
	if (buf_error(&b) || buf_error(&ref))
		return err_set(e, -ENOMEM, "out of memory");
	w.body = buf_str(&b);
	r = ctl_write(c, &w, &revision, e);
	ctl_expect(c, owner->key, KIND_REVISION, revision);
	/* Made a moment ago, and not in the cache yet. */
	return r == -EEXIST ? -ECANCELED : r;
}

int revision_sync(struct ctl *c, enum kind k,
		  const struct informer_object *owner, yyjson_val *root,
		  char hash[16], char ret_name[256], struct err *e)
{
	auto_list struct informer_list list = { 0 };
	auto_buf struct buf text = BUF_INIT;
	struct informer_object *mine = NULL;
	int64_t last = 0, number = 0;

	obj_canonical(obj_at(root, "spec.template"), &text);
	if (buf_error(&text) ||
	    informer_list(ctl_informer(c, KIND_REVISION), INFORMER_BY_OWNER,
			  owner->uid, &list) < 0)
		return err_set(e, -ENOMEM, "out of memory");
	safe_hash(fnv32(text.data, text.len), hash);
	snprintf(ret_name, 256, "%.230s-%s", owner->name, hash);
	for (size_t i = 0; i < list.nr; i++) {
		yyjson_doc *doc = informer_doc(list.v[i]);
		int64_t n = obj_int(yyjson_doc_get_root(doc), "revision", 0);

		yyjson_doc_free(doc);
		if (strcmp(list.v[i]->name, ret_name) == 0) {
			mine = list.v[i];
			number = n;
		} else if (n > last) {
			last = n;
		}
	}
	if (!mine)
		return make(c, k, owner, root, ret_name, hash, last + 1, e);
	if (number <= last) {
		char body[48];

		snprintf(body, sizeof(body), "{\"revision\":%lld}",
			 (long long)last + 1);
		return ctl_patch(c, KIND_REVISION, mine, NULL, body, e);
	}
	return 0;
}

static bool is_used(const char *name, const struct informer_list *pods)
{
	bool used = false;

	for (size_t i = 0; i < pods->nr && !used; i++) {
		yyjson_doc *doc = informer_doc(pods->v[i]);
		const char *hash = revision_of(yyjson_doc_get_root(doc));

		used = *hash && str_ends(name, hash);
		yyjson_doc_free(doc);
	}
	return used;
}

int revision_clean(struct ctl *c, const struct informer_object *owner,
		   yyjson_val *root, const char *hash,
		   const struct informer_list *pods, struct err *e)
{
	int64_t limit = obj_int(root, "spec.revisionHistoryLimit", 10);
	auto_list struct informer_list list = { 0 };

	if (informer_list(ctl_informer(c, KIND_REVISION), INFORMER_BY_OWNER,
			  owner->uid, &list) < 0)
		return err_set(e, -ENOMEM, "out of memory");
	/* The oldest number that is neither in force nor in use. */
	while ((int64_t)list.nr > limit + 1) {
		int64_t least = INT64_MAX;
		size_t at = list.nr;

		for (size_t i = 0; i < list.nr; i++) {
			yyjson_doc *doc = informer_doc(list.v[i]);
			int64_t n = obj_int(yyjson_doc_get_root(doc),
					    "revision", 0);

			yyjson_doc_free(doc);
			if (n < least && !str_ends(list.v[i]->name, hash) &&
			    !is_used(list.v[i]->name, pods)) {
				least = n;
				at = i;
			}
		}
		if (at == list.nr)
			return 0;
		if (ctl_delete(c, KIND_REVISION, list.v[at], NULL, e) < 0)
			return -EIO;
		informer_unref(list.v[at]);
		list.v[at] = list.v[--list.nr];
	}
	return 0;
}

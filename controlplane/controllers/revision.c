// SPDX-License-Identifier: Apache-2.0
#include "controlplane/controllers/revision.h"

#include <stdio.h>

#include "controlplane/client/object.h"
#include "controlplane/schema/schema.h"
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

/* Whether @kept, a revision's template, is @now but for defaults that there
 * were not when it was stored. */
static bool same_template(yyjson_val *kept, yyjson_val *now)
{
	yyjson_mut_doc *a = ctl_template_copy(kept),
		       *b = ctl_template_copy(now);
	bool same = false;

	if (a && b) {
		yyjson_mut_obj_remove_key(yyjson_mut_doc_get_root(a), "$patch");
		same = mut_equal(yyjson_mut_doc_get_root(a),
				 yyjson_mut_doc_get_root(b));
	}
	yyjson_mut_doc_free(a);
	yyjson_mut_doc_free(b);
	return same;
}

/* The revision of the present template under an older name; its pods are not
 * to be replaced. */
static struct informer_object *find_older(const struct informer_list *list,
					  yyjson_val *root, char hash[16],
					  char name[256])
{
	for (size_t i = 0; i < list->nr; i++) {
		yyjson_doc *doc = informer_doc(list->v[i]);
		yyjson_val *rev = yyjson_doc_get_root(doc);
		bool same = same_template(obj_at(rev, "data.spec.template"),
					  obj_at(root, "spec.template"));

		if (same) {
			snprintf(hash, 16, "%s", revision_of(rev));
			snprintf(name, 256, "%s", list->v[i]->name);
		}
		yyjson_doc_free(doc);
		if (same)
			return list->v[i];
	}
	return NULL;
}

static int64_t number_of(const struct informer_object *o)
{
	yyjson_doc *doc = informer_doc(o);
	int64_t n = obj_int(yyjson_doc_get_root(doc), "revision", 0);

	yyjson_doc_free(doc);
	return n;
}

int revision_sync(struct ctl *c, enum kind k,
		  const struct informer_object *owner, yyjson_val *root,
		  char hash[16], char ret_name[256], struct err *e)
{
	auto_list struct informer_list list = { 0 };
	auto_buf struct buf text = BUF_INIT;
	struct informer_object *mine = NULL;
	int64_t last = 0;

	obj_canonical(obj_at(root, "spec.template"), &text);
	if (buf_error(&text) ||
	    informer_list(ctl_informer(c, KIND_REVISION), INFORMER_BY_OWNER,
			  owner->uid, &list) < 0)
		return err_set(e, -ENOMEM, "out of memory");
	safe_hash(fnv32(text.data, text.len), hash);
	snprintf(ret_name, 256, "%.230s-%s", owner->name, hash);
	for (size_t i = 0; i < list.nr && !mine; i++)
		if (strcmp(list.v[i]->name, ret_name) == 0)
			mine = list.v[i];
	if (!mine)
		mine = find_older(&list, root, hash, ret_name);
	for (size_t i = 0; i < list.nr; i++) {
		int64_t n = list.v[i] == mine ? 0 : number_of(list.v[i]);

		if (n > last)
			last = n;
	}
	if (!mine)
		return make(c, k, owner, root, ret_name, hash, last + 1, e);
	if (number_of(mine) <= last) {
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
			int64_t n = number_of(list.v[i]);

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

// SPDX-License-Identifier: Apache-2.0
#include "controlplane/controllers/pods.h"

#include "controlplane/client/object.h"
#include "lib/err.h"
#include "lib/json.h"
#include "lib/str.h"

/* Most pods of an owner have the same labels: matched once. */
struct memo {
	uint64_t labels;
	bool known, matches;
};

static bool matches(yyjson_val *selector, const struct informer_object *pod,
		    struct memo *m)
{
	yyjson_doc *doc;

	if (m->known && m->labels == pod_facts(pod)->labels)
		return m->matches;
	doc = informer_doc(pod);
	m->matches = selector_matches_labels(selector,
					     obj_at(yyjson_doc_get_root(doc),
						    "metadata.labels"));
	yyjson_doc_free(doc);
	m->labels = pod_facts(pod)->labels;
	m->known = true;
	return m->matches;
}

static int adopt_pod(struct ctl *c, enum kind k,
		     const struct informer_object *owner,
		     const struct informer_object *pod, struct err *e)
{
	auto_buf struct buf b = BUF_INIT;
	int r = ctl_may_adopt(c, k, owner, e);

	if (r < 0)
		return r;
	buf_printf(&b, "{\"metadata\":{\"uid\":\"%s\",\"ownerReferences\":[",
		   pod->uid);
	ctl_put_owner(&b, k, owner->name, owner->uid);
	/* Whoever was faster wins: the revision is part of the patch. */
	buf_printf(&b, "],\"resourceVersion\":\"%llu\"}}",
		   (unsigned long long)pod->revision);
	if (buf_error(&b))
		return err_set(e, -ENOMEM, "out of memory");
	return ctl_patch(c, KIND_POD, pod, NULL, buf_str(&b), e);
}

static int release_pod(struct ctl *c, const struct informer_object *pod,
		       struct err *e)
{
	auto_free char *body = str_printf(
		"{\"metadata\":{\"uid\":\"%s\",\"resourceVersion\":\"%llu\","
		"\"ownerReferences\":null}}",
		pod->uid, (unsigned long long)pod->revision);

	if (!body)
		return err_set(e, -ENOMEM, "out of memory");
	return ctl_patch(c, KIND_POD, pod, NULL, body, e);
}

static int adopt_orphans(struct ctl *c, enum kind k,
			 const struct informer_object *owner,
			 yyjson_val *selector, struct err *e)
{
	auto_free char *space =
		str_printf("%s/%s", owner->tenant, owner->namespace);
	auto_list struct informer_list all = { 0 };
	struct memo memo = { 0 };
	int r = space ? informer_list(ctl_informer(c, KIND_POD),
				      INFORMER_BY_NAMESPACE, space, &all)
		      : -ENOMEM;

	if (r < 0)
		return err_set(e, r, "out of memory");
	for (size_t i = 0; i < all.nr; i++) {
		struct informer_object *pod = all.v[i];

		if (*pod->owner || !pod_is_active(pod) ||
		    !matches(selector, pod, &memo))
			continue;
		r = adopt_pod(c, k, owner, pod, e);
		return r < 0 ? r : -ECANCELED;
	}
	return 0;
}

int pods_claim(struct ctl *c, enum kind k, const struct informer_object *owner,
	       yyjson_val *selector, bool adopt, struct informer_list *ret,
	       struct err *e)
{
	struct memo memo = { 0 };
	int r;

	*ret = (struct informer_list){ 0 };
	if (adopt) {
		r = adopt_orphans(c, k, owner, selector, e);
		if (r < 0)
			return r;
	}
	if (informer_list(ctl_informer(c, KIND_POD), INFORMER_BY_OWNER,
			  owner->uid, ret) < 0)
		return err_set(e, -ENOMEM, "out of memory");
	for (size_t i = 0; i < ret->nr; i++) {
		struct informer_object *pod = ret->v[i];

		/* Whatever a reference says: never across namespaces. */
		if (strcmp(pod->tenant, owner->tenant) != 0 ||
		    strcmp(pod->namespace, owner->namespace) != 0) {
			informer_unref(pod);
			ret->v[i--] = ret->v[--ret->nr];
			continue;
		}
		if (!adopt || matches(selector, pod, &memo))
			continue;
		r = release_pod(c, pod, e);
		informer_list_clear(ret);
		return r < 0 ? r : -ECANCELED;
	}
	return 0;
}

void pods_add_matching(struct ctl *c, enum kind k,
		       const struct informer_object *pod)
{
	auto_free char *space =
		str_printf("%s/%s", pod->tenant, pod->namespace);
	auto_list struct informer_list l = { 0 };
	yyjson_doc *doc = informer_doc(pod);
	yyjson_val *labels =
		obj_at(yyjson_doc_get_root(doc), "metadata.labels");

	if (space)
		(void)informer_list(ctl_informer(c, k), INFORMER_BY_NAMESPACE,
				    space, &l);
	for (size_t i = 0; i < l.nr; i++) {
		yyjson_doc *d = informer_doc(l.v[i]);

		if (selector_matches_labels(obj_at(yyjson_doc_get_root(d),
						   "spec.selector"),
					    labels))
			ctl_add(c, l.v[i]->key);
		yyjson_doc_free(d);
	}
	yyjson_doc_free(doc);
}

void pods_keep_active(struct informer_list *l)
{
	size_t n = 0;

	for (size_t i = 0; i < l->nr; i++) {
		if (pod_is_active(l->v[i]))
			l->v[n++] = l->v[i];
		else
			informer_unref(l->v[i]);
	}
	l->nr = n;
}

int pods_disrupted(struct ctl *c, const struct informer_object *pod,
		   const char *reason, const char *message, bool failed,
		   struct err *e)
{
	auto_buf struct buf b = BUF_INIT;
	struct json_out o = JSON_OUT(&b);
	struct ctl_write w = { .method = "PATCH",
			       .kind = KIND_POD,
			       .tenant = pod->tenant,
			       .namespace = pod->namespace,
			       .name = pod->name,
			       .sub = "status",
			       .type = "application/"
				       "strategic-merge-patch+json" };
	char now[OBJ_TIME_SIZE];
	int r;

	time_format(time_now(), now);
	json_put_object(&o, NULL);
	json_put_object(&o, "metadata");
	json_put_str(&o, "uid", pod->uid);
	json_put_end(&o);
	json_put_object(&o, "status");
	if (failed)
		json_put_str(&o, "phase", "Failed");
	json_put_array(&o, "conditions");
	json_put_object(&o, NULL);
	json_put_str(&o, "type", "DisruptionTarget");
	json_put_str(&o, "status", "True");
	json_put_str(&o, "reason", reason);
	json_put_str(&o, "message", message);
	json_put_str(&o, "lastTransitionTime", now);
	json_put_end(&o);
	json_put_end(&o);
	json_put_end(&o);
	json_put_end(&o);
	if (buf_error(&b))
		return err_set(e, -ENOMEM, "out of memory");
	w.body = buf_str(&b);
	r = ctl_write(c, &w, NULL, e);
	return r == -ENOENT || r == -ESTALE ? 0 : r;
}

void pods_tell(struct ctl *c, enum kind k, const struct informer_object *owner,
	       size_t made, size_t removed, int r, const struct err *e)
{
	if (made)
		recorder_event(c->recorder, k, owner, false, "SuccessfulCreate",
			       "Created %zu pod%s", made, made > 1 ? "s" : "");
	if (removed)
		recorder_event(c->recorder, k, owner, false, "SuccessfulDelete",
			       "Deleted %zu pod%s", removed,
			       removed > 1 ? "s" : "");
	if (r < 0 && e)
		recorder_event(c->recorder, k, owner, true, "FailedCreate",
			       "Error creating: %s", ctl_said(e));
}

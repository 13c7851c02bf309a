// SPDX-License-Identifier: Apache-2.0
/*
 * Networks: Ready as soon as nodes may use them (addresses are given out by the
 * node a pod is on); on their way out until no pod is on them any more.
 */
#include "controlplane/client/object.h"
#include "controlplane/controllers/controllers.h"
#include "lib/err.h"
#include "lib/json.h"
#include "lib/str.h"

#define LABEL     "arktos.futurewei.com/network"
#define FINALIZER "arktos.futurewei.com/network"

/* Does a pod of the tenant that has not ended use it? */
static bool is_used(struct ctl *c, const struct informer_object *net)
{
	auto_list struct informer_list pods = { 0 };
	bool used = false;

	if (informer_list(ctl_informer(c, KIND_POD), INFORMER_ALL, NULL,
			  &pods) < 0)
		return true;
	for (size_t i = 0; i < pods.nr && !used; i++) {
		const struct pod_facts *f = pod_facts(pods.v[i]);
		const char *label;
		yyjson_doc *doc;

		if (f->phase == POD_SUCCEEDED || f->phase == POD_FAILED ||
		    strcmp(pods.v[i]->tenant, net->tenant) != 0)
			continue;
		doc = informer_doc(pods.v[i]);
		label = obj_label(yyjson_doc_get_root(doc), LABEL);
		used = str_eq(label ? label : "default", net->name);
		yyjson_doc_free(doc);
	}
	return used;
}

static int set_phase(struct ctl *c, const struct informer_object *o,
		     yyjson_val *root, const char *phase, const char *msg,
		     struct err *e)
{
	auto_free char *body = NULL;

	if (str_eq(obj_str(root, "status.phase"), phase))
		return 0;
	body = str_printf("{\"status\":{\"phase\":\"%s\",\"message\":\"%s\"}}",
			  phase, msg);
	if (!body)
		return err_set(e, -ENOMEM, "out of memory");
	return ctl_patch(c, KIND_NETWORK, o, "status", body, e);
}

static int release(struct ctl *c, const struct informer_object *o,
		   yyjson_val *root, struct err *e)
{
	yyjson_val *list = obj_at(root, "metadata.finalizers"), *v;
	auto_buf struct buf b = BUF_INIT;
	struct json_out j = JSON_OUT(&b);
	size_t i, max, others = 0;
	int r;

	yyjson_arr_foreach(list, i, max, v) others +=
		!str_eq(yyjson_get_str(v), FINALIZER);
	if (others == yyjson_arr_size(list))
		return 0;
	json_put_object(&j, NULL);
	json_put_object(&j, "metadata");
	json_put_fmt(&j, "resourceVersion", "%llu",
		     (unsigned long long)o->revision);
	if (!others) {
		json_put_null(&j, "finalizers");
	} else {
		json_put_array(&j, "finalizers");
		yyjson_arr_foreach(list, i, max,
				   v) if (!str_eq(yyjson_get_str(v), FINALIZER))
			json_put_val(&j, NULL, v);
		json_put_end(&j);
	}
	json_put_end(&j);
	json_put_end(&j);
	if (buf_error(&b))
		return err_set(e, -ENOMEM, "out of memory");
	r = ctl_patch(c, KIND_NETWORK, o, NULL, buf_str(&b), e);
	return r == -ENOENT ? 0 : r;
}

static int sync_key(struct ctl *c, const char *key, struct err *e)
{
	auto_ptr(informer_object) o = ctl_get(c, KIND_NETWORK, key);
	const char *type;
	yyjson_doc *doc;
	yyjson_val *root;
	int r = 0;

	if (!o || !ctl_owns(c, o->uid))
		return 0;
	doc = informer_doc(o);
	root = yyjson_doc_get_root(doc);
	type = obj_str(root, "spec.type");
	if (obj_at(root, "metadata.deletionTimestamp")) {
		r = set_phase(c, o, root, "Terminating",
			      "waiting for its pods to end", e);
		/* The status write, if any, comes back as an event. */
		if (r == 0 && !is_used(c, o))
			r = release(c, o, root, e);
	} else if (!*type || str_eq(type, "flat")) {
		r = set_phase(c, o, root, "Ready", "network ready", e);
	} else if (!*obj_str(root, "status.phase")) {
		/* Another provider's: it says when. */
		r = set_phase(c, o, root, "Pending", "waiting for its provider",
			      e);
	}
	yyjson_doc_free(doc);
	return r == -ENOENT ? 0 : r;
}

/* The last pod has gone? Then a network may, too. */
static void pod_changed(struct ctl *c, const struct informer_event *ev)
{
	auto_list struct informer_list nets = { 0 };
	const struct informer_object *o = ev->old;
	auto_free char *space = NULL;

	if (ev->now)
		return;
	space = str_printf("%s/", o->tenant);
	if (space)
		(void)informer_list(ctl_informer(c, KIND_NETWORK),
				    INFORMER_BY_NAMESPACE, space, &nets);
	for (size_t i = 0; i < nets.nr; i++) {
		yyjson_doc *doc = informer_doc(nets.v[i]);

		if (obj_at(yyjson_doc_get_root(doc),
			   "metadata.deletionTimestamp"))
			ctl_add(c, nets.v[i]->key);
		yyjson_doc_free(doc);
	}
}

static int begin(struct ctl *c, struct err *e)
{
	int r = ctl_follow(c, KIND_NETWORK, NULL, e);

	return r < 0 ? r : ctl_watch(c, KIND_POD, pod_changed, e);
}

const struct controller network_controller = { "network", begin, sync_key,
					       NULL };

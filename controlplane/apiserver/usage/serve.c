// SPDX-License-Identifier: Apache-2.0
/* nodes and pods of metrics.k8s.io. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "controlplane/apiserver/read.h"
#include "controlplane/apiserver/internal.h"
#include "controlplane/apiserver/usage/usage.h"
#include "lib/json.h"
#include "lib/quantity.h"
#include "lib/str.h"

/* The objects that the answer is about, while their nodes are asked. */
struct query {
	struct collect *collect;
	const struct type *type; /* of the objects: pods or nodes */
	struct store_list list;
};

static void clear(void *arg)
{
	struct query *q = arg;

	store_list_clear(&q->list);
	free(q);
}

static bool of_pods(const struct req *r)
{
	return strcmp(r->route.plural, "pods") == 0;
}

/* --- one answer ----------------------------------------------------------- */

static void put_usage(struct json_out *o, uint64_t nano, uint64_t bytes)
{
	json_put_object(o, "usage");
	json_put_fmt(o, "cpu", "%llun", (unsigned long long)nano);
	json_put_fmt(o, "memory", "%lluKi", (unsigned long long)(bytes >> 10));
	json_put_end(o);
}

static void put_meta(struct json_out *o, yyjson_val *obj, const struct usage *u)
{
	static const char *const fields[] = { "name", "namespace", "tenant",
					      "labels" };
	yyjson_val *meta = yyjson_obj_get(obj, "metadata");

	json_put_object(o, "metadata");
	for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
		yyjson_val *v = yyjson_obj_get(meta, fields[i]);

		if (v)
			json_put_val(o, fields[i], v);
	}
	json_put_str(o, "creationTimestamp", u->time);
	json_put_end(o);
	json_put_str(o, "timestamp", u->time);
	json_put_fmt(o, "window", "%u.%03us", u->window_ms / 1000,
		     u->window_ms % 1000);
}

/* What its node calls the pod: of a mirror that is the pod it mirrors. Only in
 * the tenant where there are any; elsewhere it would show others' figures. */
static const char *uid_here(yyjson_val *obj)
{
	yyjson_val *notes = yyjson_ptr_get(obj, "/metadata/annotations");
	const char *mirrored = yyjson_get_str(
		yyjson_obj_get(notes, "kubernetes.io/config.mirror"));
	const char *tenant =
		yyjson_get_str(yyjson_ptr_get(obj, "/metadata/tenant"));

	if (mirrored && (!tenant || str_eq(tenant, "system")))
		return mirrored;
	return yyjson_get_str(yyjson_ptr_get(obj, "/metadata/uid"));
}

/* The metrics of @obj; false: there are none. */
static bool put_item(struct req *r, yyjson_val *obj,
		     const struct usage_report *rep, struct buf *b)
{
	struct json_out o = JSON_OUT(b);
	const struct usage_container *c = NULL;
	const struct usage_pod *p = NULL;
	const char *uid;

	if (of_pods(r)) {
		uid = uid_here(obj);
		p = uid ? usage_report_pod(rep, uid) : NULL;
		if (!p)
			return false;
		c = &rep->containers[p->first];
	} else if (!*rep->node.time) {
		return false;
	}
	json_put_object(&o, NULL);
	json_put_str(&o, "kind", r->route.type->kind);
	json_put_str(&o, "apiVersion", USAGE_GROUP "/v1beta1");
	put_meta(&o, obj, p ? &c->usage : &rep->node);
	if (!p) {
		put_usage(&o, rep->node.cpu_nano, rep->node.mem_bytes);
	} else {
		json_put_array(&o, "containers");
		for (uint32_t i = 0; i < p->nr; i++) {
			json_put_object(&o, NULL);
			json_put_str(&o, "name", rep->text.data + c[i].name);
			put_usage(&o, c[i].usage.cpu_nano,
				  c[i].usage.mem_bytes);
			json_put_end(&o);
		}
		json_put_end(&o);
	}
	json_put_end(&o);
	return true;
}

/* What @from has become: an object that was never stored. NULL: nothing is
 * known of it. */
static struct object_bytes *item(struct req *r, struct query *q,
				 const struct object_bytes *from)
{
	yyjson_doc *doc = object_doc(from);
	yyjson_val *obj = yyjson_doc_get_root(doc);
	const char *node = yyjson_get_str(
		yyjson_ptr_get(obj, of_pods(r) ? "/spec/nodeName"
					       : "/metadata/name"));
	const struct usage_report *rep =
		node ? collect_report(q->collect, node) : NULL;
	struct store_op op = { .key = from->key, .rv_off = STORE_NO_RV };
	auto_buf struct buf b = BUF_INIT;
	bool some = rep && put_item(r, obj, rep, &b);

	yyjson_doc_free(doc);
	op.data = buf_str(&b);
	op.len = (uint32_t)b.len;
	return some && !buf_error(&b) ? object_new(&op, 0) : NULL;
}

static void done(struct req *r, void *arg)
{
	struct query *q = arg;
	struct store_list out = { .nr = 0 };

	out.v = calloc(q->list.nr + 1, sizeof(struct object_bytes *));
	for (size_t i = 0; out.v && i < q->list.nr; i++) {
		struct object_bytes *o = item(r, q, q->list.v[i]);

		if (o)
			out.v[out.nr++] = o;
	}
	clear(q);
	if (!out.v)
		reply_error(r, 500, "InternalError", "out of memory");
	else if (!r->route.name)
		reply_made_list(r, &out);
	else if (out.nr)
		reply_one(r, 200, out.v[0]);
	else
		reply_error(r, 404, "NotFound",
			    "%s." USAGE_GROUP " \"%s%s%s\" not found",
			    r->route.type->singular,
			    r->route.namespace ? r->route.namespace : "",
			    r->route.namespace ? "/" : "", r->route.name);
	store_list_clear(&out);
}

/* --- whom to ask -----------------------------------------------------------
 */

static int ask_node(struct req *r, struct collect *c, const char *name)
{
	auto_free char *key = str_printf("core/nodes///%s", name);
	auto_ptr(object_bytes) o = key ? store_get(r->api->store, key) : NULL;

	if (!key)
		return -ENOMEM;
	return collect_add(c, name, o);
}

static bool has_ended(const struct object_bytes *o)
{
	const char *phase = object_tag(o, "f:status.phase");

	return str_eq(phase, "Succeeded") || str_eq(phase, "Failed");
}

static int ask_all(struct req *r, struct query *q)
{
	int res = 0;

	for (size_t i = 0; res == 0 && i < q->list.nr; i++) {
		const struct object_bytes *o = q->list.v[i];
		const char *node =
			object_tag(o, of_pods(r) ? "f:spec.nodeName"
						 : "f:metadata.name");

		if (!node && !of_pods(r))
			node = strrchr(o->key, '/') + 1;
		if (!node || !*node || collect_has(q->collect, node) ||
		    (of_pods(r) && has_ended(o)))
			continue;
		res = of_pods(r) ? ask_node(r, q->collect, node)
				 : collect_add(q->collect, node, o);
	}
	return res;
}

static bool match(const struct object_bytes *o, void *arg)
{
	return selector_match(arg, o);
}

/* The objects of the request: one by its name, or those selected. */
static int find(struct req *r, struct query *q, struct err *e)
{
	const struct type *own = r->route.type;
	auto_buf struct buf key = BUF_INIT;
	struct store_range range = { .match = match, .arg = &r->selector };
	struct object_bytes *o;

	r->route.type = q->type;
	route_key(r, r->route.name, &key);
	r->route.type = own;
	range.prefix = buf_str(&key);
	if (!r->selector.nr)
		range.match = NULL;
	if (!r->route.name)
		return store_list(r->api->store, &range, &q->list, e);
	o = store_get(r->api->store, range.prefix);
	if (!o)
		return 0;
	q->list.v = calloc(1, sizeof(struct object_bytes *));
	if (!q->list.v) {
		object_unref(o);
		return err_set(e, -ENOMEM, "out of memory");
	}
	q->list.v[q->list.nr++] = o;
	return 0;
}

void usage_serve(struct req *r)
{
	bool get = str_eq(r->route.verb, "get");
	struct query *q;
	struct err e = { 0 };
	int res;

	if (!get && !str_eq(r->route.verb, "list")) {
		reply_error(r, 405, "MethodNotAllowed",
			    "the server does not allow this method on the "
			    "requested resource");
		return;
	}
	if (request_selector(r, &r->selector) < 0)
		return;
	q = calloc(1, sizeof(*q));
	if (!q) {
		reply_error(r, 500, "InternalError", "out of memory");
		return;
	}
	q->type = type_find(r->api->types, "", "v1", r->route.plural);
	q->collect = collect_new(r);
	res = q->collect ? find(r, q, &e) : -ENOMEM;
	if (res == 0)
		res = ask_all(r, q);
	if (res < 0) {
		collect_free(q->collect);
		clear(q);
		reply_error(r, 500, "InternalError", "%s",
			    *e.msg ? e.msg : "out of memory");
		return;
	}
	collect_start(q->collect, done, clear, q);
}

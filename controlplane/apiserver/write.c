// SPDX-License-Identifier: Apache-2.0
/* create, update, patch: build the new object, submit it on condition, and
 * answer once it is durable. */
#include <stdio.h>

#include "controlplane/apiserver/read.h"
#include "controlplane/apiserver/action.h"
#include "controlplane/apiserver/away.h"
#include "controlplane/apiserver/conversion.h"
#include "controlplane/apiserver/crd.h"
#include "controlplane/apiserver/flow.h"
#include "controlplane/apiserver/managed.h"
#include "controlplane/apiserver/admission/quota.h"
#include "controlplane/apiserver/admission/webhook.h"
#include "controlplane/apiserver/write.h"
#include "lib/json.h"
#include "lib/str.h"

static void attempt(struct write *w);

static void clear_ops(struct write *w)
{
	quota_settle(w->hold, false);
	w->hold = NULL;
	for (size_t i = 0; i < w->txn.nr_ops; i++) {
		object_unref(w->txn.ops[i].ret);
		w->txn.ops[i].ret = NULL;
	}
	w->txn.nr_ops = 0;
	free(w->all_ops);
	w->all_ops = NULL;
	born_clear(&w->born);
	buf_reset(&w->data);
	buf_reset(&w->tags);
	buf_reset(&w->key);
	buf_reset(&w->space_key);
}

void write_free(struct write *w)
{
	if (!w)
		return;
	clear_ops(w);
	flow_leave(&w->seats);
	hook_memo_free(w->hooks);
	yyjson_doc_free(w->body);
	object_unref(w->converted);
	buf_clear(&w->data);
	buf_clear(&w->tags);
	buf_clear(&w->key);
	buf_clear(&w->space_key);
	free(w->manager);
	free(w->name);
	free(w);
}

/* The client has gone; what is under way is finished without it. */
void write_orphan(struct req *r)
{
	struct write *w = r->write;

	if (!w->in_flight) {
		req_free(r);
		return;
	}
	w->req = NULL;
	r->write = NULL;
	w->seats = r->seats; /* it is still on its way to the disk */
	r->seats = NULL;
	req_free(r);
}

static void on_durable(struct store_txn *txn)
{
	struct write *w = txn->arg;
	struct loop *l = w->loop;

	quota_settle(w->hold, txn->result == 0);
	w->hold = NULL;

	pthread_mutex_lock(&l->lock);
	w->next = l->done;
	l->done = w;
	pthread_mutex_unlock(&l->lock);
	loop_wake(l);
}

/* --- the body --- */

int write_body(struct write *w)
{
	return body_parse(w->req, &w->body);
}

static struct write *write_new(struct req *r, enum write_kind kind)
{
	struct write *w = calloc(1, sizeof(*w));
	char text[256], manager[512];

	if (!w) {
		reply_error(r, 500, "InternalError", "out of memory");
		return NULL;
	}
	w->req = r;
	w->loop = r->loop;
	w->kind = kind;
	r->write = w;
	w->validation = FIELDS_WARN;
	if (query_get(r, "fieldValidation", text, sizeof(text)) && *text) {
		if (strcmp(text, "Strict") == 0)
			w->validation = FIELDS_STRICT;
		else if (strcmp(text, "Ignore") == 0)
			w->validation = FIELDS_IGNORE;
		else if (strcmp(text, "Warn") != 0)
			goto bad;
	}
	if (query_get(r, "dryRun", text, sizeof(text)) && *text) {
		if (strcmp(text, "All") != 0)
			goto bad;
		w->dry_run = true;
	}
	if (query_get(r, "fieldManager", text, sizeof(text)) && *text)
		str_set(&w->manager, text);
	if (managed_name(r, manager, sizeof(manager))) {
		reply_error(r, 422, "Invalid",
			    "fieldManager: Invalid value: at most %d printable "
			    "characters",
			    MANAGER_NAME_MAX);
		return NULL;
	}
	return w;
bad:
	reply_error(r, 422, "Invalid", "unsupported value: \"%s\"", text);
	return NULL;
}

/* --- submitting --- */

static void reply_converted(struct req *r, struct object_bytes **slot)
{
	reply_written(r->write, slot);
}

void reply_written(struct write *w, struct object_bytes **slot)
{
	struct object_bytes *o;
	struct req *r = w->req;
	struct buf b = BUF_INIT;

	if (w->status_reply) {
		reply_success(r, *slot);
		return;
	}
	if (r->action) {
		action_reply(r, *slot);
		return;
	}
	if (conversion_wanted(r, *slot)) {
		conversion_get(r, *slot, reply_converted);
		return;
	}
	if (object_as(r->route.type, slot)) {
		reply_error(r, 500, "InternalError", "out of memory");
		return;
	}
	o = *slot;
	if (str_eq(r->route.subresource, "scale")) {
		scale_reply(r, o);
		return;
	}
	if (r->view == VIEW_OBJECT) {
		reply_begin(r, w->code, "application/json");
		reply_object(r, o);
		reply_end(r);
		return;
	}
	put_view(r, o, true, &b);
	reply_json(r, w->code, &b);
}

/* What would have been stored, at the revision that is stored. */
static void reply_dry(struct write *w, struct object_bytes *cur, bool remove)
{
	auto_ptr(object_bytes) o = NULL;

	if (w->status_reply || remove) {
		reply_success(w->req, cur);
		return;
	}
	if (!cur)
		w->own_ops[0].rv_off = STORE_NO_RV;
	o = object_new(&w->own_ops[0], cur ? cur->revision : 0);
	if (o)
		reply_written(w, &o);
	else
		reply_error(w->req, 500, "InternalError", "out of memory");
}

/* The objects born with a tenant or namespace join the transaction. */
static int join_born(struct write *w)
{
	struct req *r = w->req;
	const struct type *t = r->route.type;
	int res = 0;

	if (w->own_ops[0].expect != STORE_ABSENT || *t->group)
		return 0;
	if (strcmp(t->plural, "tenants") == 0)
		res = born_with_tenant(r->api, w->name, &w->born);
	else if (strcmp(t->plural, "namespaces") == 0)
		res = born_with_namespace(r->api, r->tenant, w->name, &w->born);
	if (res < 0 || !w->born.nr)
		return res;
	w->all_ops = calloc(w->txn.nr_ops + w->born.nr, sizeof(*w->all_ops));
	if (!w->all_ops)
		return -ENOMEM;
	memcpy(w->all_ops, w->own_ops, w->txn.nr_ops * sizeof(*w->all_ops));
	memcpy(w->all_ops + w->txn.nr_ops, w->born.ops,
	       w->born.nr * sizeof(*w->all_ops));
	w->txn.ops = w->all_ops;
	w->txn.nr_ops += w->born.nr;
	return 0;
}

void write_submit(struct write *w, yyjson_mut_doc *doc, yyjson_mut_val *obj,
		  struct object_bytes *cur, bool remove)
{
	if (!conversion_store(w, obj, cur, remove))
		write_submit_as(w, doc, obj, cur, remove);
}

void write_submit_as(struct write *w, yyjson_mut_doc *doc, yyjson_mut_val *obj,
		     struct object_bytes *cur, bool remove)
{
	struct req *r = w->req;
	struct store_op *op = &w->own_ops[0];
	const char *name = mut_str(obj, "metadata.name");

	memset(op, 0, sizeof(*op));
	str_set(&w->name, name);
	route_key(r, name, &w->key);
	op->key = buf_str(&w->key);
	op->expect = cur ? STORE_MATCH : STORE_ABSENT;
	op->revision = cur ? cur->revision : 0;
	op->remove = remove;
	/* Both are news: of no use to anybody later on. */
	if (strcmp(r->route.type->plural, "events") == 0 ||
	    (strcmp(r->route.type->plural, "actions") == 0 &&
	     !*r->route.type->group))
		op->ttl_ms = r->api->event_ttl_ms;
	if (object_pack(r->api, r->route.type, doc, obj, &w->data, &op->rv_off,
			&w->tags)) {
		reply_error(r, 500, "InternalError", "out of memory");
		return;
	}
	op->data = w->data.data;
	op->len = w->data.len;
	op->tags = w->tags.data;
	op->tags_len = w->tags.len;
	if (w->data.len > STORE_VALUE_MAX - 32) {
		reply_error(r, 413, "RequestEntityTooLarge",
			    "the object is too large, the limit is 3 MiB");
		return;
	}
	if (w->dry_run) {
		reply_dry(w, cur, remove);
		return;
	}
	w->txn.ops = w->own_ops;
	w->txn.nr_ops = 1 + (w->own_ops[1].check ? 1 : 0);
	if (join_born(w) < 0) {
		reply_error(r, 500, "InternalError", "out of memory");
		return;
	}
	w->txn.done = on_durable;
	w->txn.arg = w;
	w->in_flight = true;
	store_submit(r->api->store, &w->txn);
}

void write_done(struct write *w)
{
	struct req *r = w->req;
	int result = w->txn.result;

	w->in_flight = false;
	if (!r) {
		write_free(w);
		return;
	}
	if (w->set_aside) {
		w->set_aside = false;
		clear_ops(w);
		attempt(w);
		return;
	}
	if (result == 0) {
		/* Who declares a type can use it at once. */
		if (crd_is(r->route.type))
			crds_refresh(r->api, r->tenant);
		reply_written(w, &w->txn.ops[0].ret);
		return;
	}
	if ((result == -ESTALE || result == -ENOENT ||
	     (result == -EEXIST &&
	      (w->apply || (w->kind == WRITE_CREATE && w->generated)))) &&
	    !w->only_rv && w->tries < WRITE_TRIES) {
		clear_ops(w);
		/* Another name, and with it another object. */
		if (result == -EEXIST) {
			hook_memo_free(w->hooks);
			w->hooks = NULL;
		}
		attempt(w);
		return;
	}
	if (result == -EEXIST && !r->route.name)
		r->route.name = w->name;
	reply_store_error(r, result, &w->txn.err);
}

/* --- create --- */

static void try_create(struct write *w)
{
	yyjson_mut_doc *doc = yyjson_doc_mut_copy(w->body, NULL);
	yyjson_mut_val *obj = doc ? yyjson_mut_doc_get_root(doc) : NULL;

	memset(&w->own_ops[1], 0, sizeof(w->own_ops[1]));
	if (!yyjson_mut_is_obj(obj)) {
		reply_error(w->req, 400, "BadRequest",
			    "the object provided is unrecognized: must be an "
			    "object");
	} else {
		if (mut_str(obj, "metadata.resourceVersion") &&
		    *mut_str(obj, "metadata.resourceVersion")) {
			reply_error(w->req, 400, "BadRequest",
				    "resourceVersion should not be set on "
				    "objects to be created");
		} else {
			if (!mut_str(obj, "metadata.name") ||
			    !*mut_str(obj, "metadata.name"))
				w->generated =
					object_generate_name(doc, obj) == 0;
			if (write_check(w, doc, obj, NULL) == 0)
				write_submit(w, doc, obj, NULL, false);
		}
	}
	yyjson_mut_doc_free(doc);
}

void write_create(struct req *r)
{
	struct write *w = write_new(r, WRITE_CREATE);

	if (!w || write_body(w) < 0)
		return;
	w->code = 201;
	attempt(w);
}

/* --- update and patch --- */

/* All that held a deleted object back has gone: this update removes it. */
static bool is_over(yyjson_mut_val *obj)
{
	return mut_get(obj, "metadata.deletionTimestamp") &&
	       !yyjson_mut_arr_size(mut_get(obj, "metadata.finalizers")) &&
	       !mut_int(obj, "metadata.deletionGracePeriodSeconds", 0) &&
	       !(mut_get(obj, "status.phase") &&
		 yyjson_mut_arr_size(mut_get(obj, "spec.finalizers")));
}

/* The version the client means, if it names one. */
static int check_version(struct write *w, yyjson_mut_val *obj,
			 yyjson_mut_val *old, const struct object_bytes *cur)
{
	const char *rv = mut_str(obj, "metadata.resourceVersion");
	const char *uid = mut_str(obj, "metadata.uid");
	char now[24];

	snprintf(now, sizeof(now), "%llu", (unsigned long long)cur->revision);
	if (rv && *rv && strcmp(rv, now) != 0) {
		reply_store_error(w->req, -ESTALE, NULL);
		return -ESTALE;
	}
	if (uid && *uid && !str_eq(uid, mut_str(old, "metadata.uid"))) {
		char res[256];

		group_resource(&w->req->route, res, sizeof(res));
		reply_error(w->req, 409, "Conflict",
			    "Operation cannot be fulfilled on %s \"%s\": "
			    "Precondition failed: UID in precondition: %s, UID "
			    "in object meta: %s",
			    res, w->req->route.name, uid,
			    mut_str(old, "metadata.uid"));
		return -ESTALE;
	}
	return 0;
}

static void submit_change(struct write *w, yyjson_mut_doc *doc,
			  yyjson_mut_val *obj, yyjson_mut_val *old,
			  struct object_bytes **slot)
{
	struct object_bytes *cur = *slot;

	w->base = cur->revision;
	if (check_version(w, obj, old, cur) || write_check(w, doc, obj, old))
		return;
	mut_remove(obj, "metadata.resourceVersion");
	mut_remove(old, "metadata.resourceVersion");
	/* Nothing changed: nothing is written, no one is woken. */
	if (!w->dry_run && !w->migrates && mut_equal(obj, old) &&
	    object_is_stored(w->req->route.type, doc, obj, cur)) {
		reply_written(w, slot);
		return;
	}
	write_submit(w, doc, obj, cur, is_over(obj));
}

/* A binding changes one field of the pod it belongs to. */
static yyjson_mut_val *bind(struct write *w, yyjson_mut_doc *doc,
			    yyjson_mut_val *obj, struct err *e)
{
	yyjson_val *body = yyjson_doc_get_root(w->body);
	yyjson_val *target = yyjson_obj_get(body, "target");
	yyjson_val *node = yyjson_obj_get(target, "name");
	const char *rv =
		yyjson_get_str(yyjson_obj_get(yyjson_obj_get(body, "metadata"),
					      "resourceVersion"));

	if (!yyjson_is_str(node)) {
		err_set(e, -EINVAL, "target.name: is required");
		return NULL;
	}
	if (mut_str(obj, "spec.nodeName")) {
		err_set(e, -EEXIST, "pod %s is already assigned to node \"%s\"",
			w->req->route.name, mut_str(obj, "spec.nodeName"));
		return NULL;
	}
	mut_set(doc, obj, "spec.nodeName", yyjson_val_mut_copy(doc, node));
	if (rv && *rv)
		mut_set_str(doc, obj, "metadata.resourceVersion", rv);
	return obj;
}

static yyjson_mut_val *apply_patch(struct write *w, yyjson_mut_doc *doc,
				   yyjson_mut_val *target, struct err *e)
{
	const char *type = w->req->content_type;
	yyjson_mut_val *patch;

	if (type && str_starts(type, "application/json-patch+json"))
		return patch_json(doc, target, yyjson_doc_get_root(w->body), e);
	patch = yyjson_val_mut_copy(doc, yyjson_doc_get_root(w->body));
	if (!yyjson_mut_is_obj(patch)) {
		err_set(e, -EINVAL, "the patch must be an object");
		return NULL;
	}
	if (type && str_starts(type, "application/merge-patch+json"))
		return patch_merge(doc, target, patch, e);
	return patch_strategic(w->req->route.type->schema, doc, target, patch,
			       e);
}

/* What is applied and is not there yet is created, by who may. */
static void create_applied(struct write *w)
{
	struct req *r = w->req;
	const struct route *rt = &r->route;
	struct access a = { .verb = "create",
			    .group = rt->group,
			    .resource = rt->plural,
			    .tenant = r->tenant,
			    .namespace = rt->namespace,
			    .cluster = rt->type->scope == SCOPE_CLUSTER };
	yyjson_mut_doc *doc;
	yyjson_mut_val *obj;

	if (!access_allowed(r->api, r->user, &a)) {
		char what[256];

		reply_error(r, 403, "Forbidden",
			    "%s \"%s\" is forbidden: User \"%s\" cannot create "
			    "resource \"%s\" in API group \"%s\"",
			    group_resource(rt, what, sizeof(what)), rt->name,
			    r->user->name, rt->plural, rt->group);
		return;
	}
	doc = yyjson_mut_doc_new(NULL);
	obj = doc ? managed_apply(w, doc, NULL) : NULL;
	w->code = 201;
	if (obj && write_check(w, doc, obj, NULL) == 0)
		write_submit(w, doc, obj, NULL, false);
	yyjson_mut_doc_free(doc);
}

static void try_change(struct write *w)
{
	struct req *r = w->req;
	auto_buf struct buf key = BUF_INIT;
	auto_ptr(object_bytes) cur = NULL;
	yyjson_mut_doc *doc;
	yyjson_mut_val *old, *obj;
	struct err e = { 0 };

	memset(&w->own_ops[1], 0, sizeof(w->own_ops[1]));
	route_key(r, r->route.name, &key);
	cur = store_get(r->api->store, buf_str(&key));
	if (cur && away_attempt(w, cur->len, attempt))
		return;
	if (!cur && w->apply && !r->route.subresource) {
		create_applied(w);
		return;
	}
	if (!cur) {
		reply_not_found(r);
		return;
	}
	if (crd_is(r->route.type) && strcmp(r->tenant, SYSTEM) != 0 &&
	    crds_is_forced(r->api, r->route.name)) {
		reply_error(r, 403, "Forbidden",
			    "%s is a system CRD, you cannot overwrite it.",
			    r->route.name);
		return;
	}
	if (conversion_first(w, &cur))
		return;
	w->code = 200;
	doc = object_tree_as(r->route.type, cur);
	if (!doc) {
		reply_error(r, 500, "InternalError", "out of memory");
		return;
	}
	old = yyjson_mut_doc_get_root(doc);
	if (w->apply) {
		obj = managed_apply(w, doc, old);
		if (obj)
			submit_change(w, doc, obj, old, &cur);
		yyjson_mut_doc_free(doc);
		return;
	}
	if (w->binding || w->scale) {
		obj = yyjson_mut_val_mut_copy(doc, old);
		obj = w->scale ? scale_change(w, doc, obj, cur->revision, &e)
			       : bind(w, doc, obj, &e);
	} else if (w->kind == WRITE_UPDATE) {
		obj = yyjson_val_mut_copy(doc, yyjson_doc_get_root(w->body));
		if (!yyjson_mut_is_obj(obj))
			err_set(&e, -EINVAL, "must be an object"), obj = NULL;
	} else {
		obj = apply_patch(w, doc, yyjson_mut_val_mut_copy(doc, old),
				  &e);
	}
	if (!obj && e.code == -EEXIST)
		reply_error(r, 409, "Conflict", "%s", e.msg);
	else if (!obj)
		reply_error(r, e.code == -ERANGE ? 422 : 400,
			    e.code == -ERANGE ? "Invalid" : "BadRequest", "%s",
			    e.msg);
	else
		submit_change(w, doc, obj, old, &cur);
	yyjson_mut_doc_free(doc);
}

void write_update(struct req *r)
{
	struct write *w = write_new(r, WRITE_UPDATE);
	yyjson_val *meta;

	if (!w || write_body(w) < 0)
		return;
	meta = yyjson_obj_get(yyjson_doc_get_root(w->body), "metadata");
	w->only_rv = yyjson_get_len(yyjson_obj_get(meta, "resourceVersion"));
	w->scale = str_eq(r->route.subresource, "scale");
	w->code = 200;
	attempt(w);
}

void write_patch(struct req *r)
{
	static const char *const known[] = {
		"application/json-patch+json", "application/merge-patch+json",
		"application/strategic-merge-patch+json",
		"application/apply-patch+yaml"
	};
	struct write *w;
	bool ok = false;
	char text[16];

	for (size_t i = 0; i < ARRAY_LEN(known); i++)
		ok |= r->content_type && str_starts(r->content_type, known[i]);
	if (!ok) {
		reply_error(r, 415, "UnsupportedMediaType",
			    "the body of the request was in an unknown format "
			    "- accepted media types include: %s, %s, %s, %s",
			    known[0], known[1], known[2], known[3]);
		return;
	}
	if (r->route.type->custom && str_starts(r->content_type, known[2])) {
		reply_error(r, 415, "UnsupportedMediaType",
			    "the body of the request was in an unknown format "
			    "- accepted media types include: %s, %s, %s",
			    known[0], known[1], known[3]);
		return;
	}
	w = write_new(r, WRITE_PATCH);
	if (!w || write_body(w) < 0)
		return;
	w->apply = str_starts(r->content_type, known[3]);
	w->scale = str_eq(r->route.subresource, "scale") && !w->apply;
	w->force = query_true(r, "force");
	if (query_get(r, "force", text, sizeof(text)) && !w->apply) {
		reply_error(r, 422, "Invalid",
			    "PatchOptions.meta.k8s.io \"\" is invalid: force: "
			    "Forbidden: may not be specified for non-apply "
			    "patch");
		return;
	}
	if (w->apply && !w->manager) {
		reply_error(r, 422, "Invalid",
			    "PatchOptions.meta.k8s.io \"\" is invalid: "
			    "fieldManager: Required value: is required for "
			    "apply patch");
		return;
	}
	w->code = 200;
	attempt(w);
}

static void attempt(struct write *w)
{
	if (away_attempt(w, w->req->body.len, attempt))
		return;
	w->tries++;
	w->base = 0;
	if (w->kind == WRITE_CREATE)
		try_create(w);
	else if (w->kind == WRITE_DELETE)
		delete_attempt(w);
	else
		try_change(w);
}

void write_again(struct write *w)
{
	clear_ops(w);
	attempt(w);
}

void write_delete(struct req *r)
{
	struct write *w = write_new(r, WRITE_DELETE);

	if (!w || (r->body.len && write_body(w) < 0))
		return;
	w->options = yyjson_doc_get_root(w->body);
	w->code = 200;
	attempt(w);
}

void write_binding(struct req *r)
{
	struct write *w = write_new(r, WRITE_PATCH);

	if (!w || write_body(w) < 0)
		return;
	w->binding = true;
	w->status_reply = true;
	attempt(w);
}

void write_eviction(struct req *r)
{
	struct write *w = write_new(r, WRITE_DELETE);

	if (!w || write_body(w) < 0)
		return;
	w->options =
		yyjson_obj_get(yyjson_doc_get_root(w->body), "deleteOptions");
	w->evict = true;
	attempt(w);
}

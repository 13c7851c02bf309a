// SPDX-License-Identifier: Apache-2.0
/*
 * deletecollection: what matches is listed, each is admitted as one that is
 * deleted, and those that may go. The first that may not ends it, as in
 * Kubernetes: what came before has gone.
 */
#include "controlplane/apiserver/admission/webhook.h"
#include "controlplane/apiserver/admission/webhook_call.h"
#include "controlplane/apiserver/aside.h"
#include "controlplane/apiserver/authn/user.h"
#include "controlplane/apiserver/write.h"
#include "lib/str.h"

#define BATCH 256 /* that go together */

static bool matches(const struct object_bytes *o, void *arg)
{
	return selector_match(arg, o);
}

struct collection {
	struct user *user;
	char *tenant; /* "" where there is none */
	bool dry_run;
	int code; /* of a refusal */
	char reason[64];
	char msg[2048];
	struct hook_caller *caller; /* while it works; NULL: not needed yet */
	const struct type *type;
	struct type_set *types; /* a reference: of a type of the tenant's own */
	struct selector selector;
	struct buf prefix;
};

static void reply_collection(struct req *r)
{
	struct buf b = BUF_INIT;
	char version[256];

	buf_printf(&b,
		   "{\"kind\":\"%s\",\"apiVersion\":\"%s\",\"metadata\":{"
		   "\"resourceVersion\":\"%llu\"},\"items\":[]}\n",
		   r->route.type->list_kind,
		   type_api_version(r->route.type, version, sizeof(version)),
		   (unsigned long long)store_revision(r->api->store));
	reply_json(r, 200, &b);
}

/* What the webhooks say; on the thread, which may wait. */
static int ask(struct collection *c, struct admission *a,
	       struct hook_verdict *v)
{
	struct hook_question q = { .nr = 0 };
	char *object = NULL;
	int r = webhooks_question(a, &q);

	if (r == 0 && q.nr) {
		if (!c->caller)
			c->caller = hook_caller_new(a->api);
		if (c->caller)
			hook_ask_all(c->caller, &q, false, &object, v);
		else
			v->code = 500;
	}
	if (r == 0 && v->code)
		r = admission_refuse(a, v->code, v->reason, "%s", v->msg);
	free(object);
	hook_question_clear(&q);
	return r;
}

/* May @o go? -EACCES: no, says @c. */
static int admit(struct collection *c, struct api *api,
		 const struct object_bytes *o)
{
	yyjson_mut_doc *doc = object_tree_as(c->type, o);
	yyjson_mut_val *obj = doc ? yyjson_mut_doc_get_root(doc) : NULL;
	const char *tenant = mut_str(obj, "metadata.tenant");
	const char *namespace = mut_str(obj, "metadata.namespace");
	struct hook_verdict v = { .code = 0 };
	struct admission a = {
		.api = api,
		.user = c->user,
		.op = ADMIT_DELETE,
		.type = c->type,
		.types = c->types,
		.subresource = "",
		.tenant =
			str_eq(c->tenant, "all") && tenant ? tenant : c->tenant,
		.namespace = namespace ? namespace : "",
		.name = obj ? mut_str(obj, "metadata.name") : "",
		.dry_run = c->dry_run,
		.doc = doc,
		.old = obj,
	};
	int r = obj ? admission_mutate(&a) : -ENOMEM;

	if (r == 0)
		r = ask(c, &a, &v);
	if (r == 0)
		r = admission_validate(&a);
	if (r < 0 && obj) {
		c->code = a.code;
		snprintf(c->reason, sizeof(c->reason), "%s", a.reason);
		snprintf(c->msg, sizeof(c->msg), "%s", a.msg);
	}
	buf_clear(&v.warnings);
	yyjson_mut_doc_free(doc);
	return r;
}

static void collection_work(struct aside *a)
{
	struct collection *c = a->data;
	struct store_range range = { .prefix = buf_str(&c->prefix),
				     .whole = true, /* or it is not gone */
				     .match = matches,
				     .arg = &c->selector };
	struct store_list list;
	int r = store_list(a->api->store, &range, &list, &a->err);

	a->result = r;
	if (r < 0)
		return;
	for (size_t i = 0; i < list.nr && r == 0;) {
		size_t from = i;

		while (i < list.nr && i - from < BATCH && r == 0) {
			r = admit(c, a->api, list.v[i]);
			i += r == 0;
		}
		a->result = r;
		if (i == from || c->dry_run)
			continue;
		r = delete_objects(a->api, c->type, list.v + from, i - from,
				   &a->err);
		if (r < 0)
			a->result = r;
		r = a->result;
	}
	hook_caller_free(c->caller);
	c->caller = NULL;
	store_list_clear(&list);
}

static void collection_done(struct aside *a)
{
	struct collection *c = a->data;

	if (c->code)
		reply_error(a->req, c->code, c->reason, "%s", c->msg);
	else if (a->result < 0)
		reply_store_error(a->req, a->result, &a->err);
	else
		reply_collection(a->req);
}

static void collection_free(struct aside *a)
{
	struct collection *c = a->data;

	type_set_unref(c->types);
	user_free(c->user);
	free(c->tenant);
	selector_clear(&c->selector);
	buf_clear(&c->prefix);
	free(c);
}

void write_delete_collection(struct req *r)
{
	struct collection *c;
	struct aside *a;
	char dry[8];

	if (request_selector(r, &r->selector) < 0)
		return;
	c = calloc(1, sizeof(*c));
	a = calloc(1, sizeof(*a));
	if (c && a) {
		c->user = user_dup(r->user);
		c->tenant = strdup(r->tenant ? r->tenant : "");
	}
	if (!c || !a || !c->user || !c->tenant) {
		if (c) {
			user_free(c->user);
			free(c->tenant);
		}
		free(c);
		free(a);
		reply_error(r, 500, "InternalError", "out of memory");
		return;
	}
	c->dry_run = query_get(r, "dryRun", dry, sizeof(dry));
	c->type = r->route.type;
	c->types = r->types;
	if (c->types)
		type_set_ref(c->types);
	c->selector = r->selector;
	memset(&r->selector, 0, sizeof(r->selector));
	route_key(r, NULL, &c->prefix);
	/* Who may have to wait for webhooks is in nobody's way. */
	*a = (struct aside){
		.req = r,
		.kind = store_count(r->api->store,
				    "admissionregistration.k8s.io/")
				? ASIDE_HOOK
				: ASIDE_DELETE,
		.work = collection_work,
		.done = collection_done,
		.free = collection_free,
		.data = c,
	};
	aside_run(a);
}

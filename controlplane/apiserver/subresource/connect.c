// SPDX-License-Identifier: Apache-2.0
#include "controlplane/apiserver/subresource/connect.h"

#include "controlplane/apiserver/admission/admission.h"
#include "controlplane/apiserver/admission/webhook.h"
#include "controlplane/apiserver/admission/webhook_call.h"
#include "controlplane/apiserver/aside.h"
#include "lib/json.h"
#include "lib/str.h"

struct connection {
	struct aside aside; /* the first: it is freed by that */
	struct hook_question question;
	struct hook_verdict verdict;
	void (*serve)(struct req *r);
};

/* "PodExecOptions"; NULL: nobody connects to anything. */
static const char *kind_of(const struct route *rt)
{
	static const char *const kinds[][3] = {
		{ "pods", "exec", "PodExecOptions" },
		{ "pods", "attach", "PodAttachOptions" },
		{ "pods", "portforward", "PodPortForwardOptions" },
		{ "pods", "proxy", "PodProxyOptions" },
		{ "services", "proxy", "ServiceProxyOptions" },
		{ "nodes", "proxy", "NodeProxyOptions" },
	};

	for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
		if (str_eq(rt->plural, kinds[i][0]) &&
		    str_eq(rt->subresource, kinds[i][1]))
			return kinds[i][2];
	return NULL;
}

/* A field that several values make a list of. */
static int add(yyjson_mut_doc *doc, yyjson_mut_val *obj, const char *name,
	       yyjson_mut_val *v)
{
	yyjson_mut_val *list = yyjson_mut_obj_get(obj, name);

	if (!list) {
		list = yyjson_mut_arr(doc);
		if (mut_put(doc, obj, name, list))
			return -ENOMEM;
	}
	return yyjson_mut_arr_append(list, v) ? 0 : -ENOMEM;
}

static int put_option(yyjson_mut_doc *doc, yyjson_mut_val *obj,
		      const char *name, const char *value)
{
	static const char *const flags[] = { "stdin", "stdout", "stderr",
					     "tty" };
	uint64_t n;

	for (size_t i = 0; i < ARRAY_LEN(flags); i++)
		if (strcmp(name, flags[i]) == 0)
			return strcasecmp(value, "false") == 0 ||
					       strcmp(value, "0") == 0
				       ? 0
				       : mut_put(doc, obj, flags[i],
						 yyjson_mut_bool(doc, true));
	if (strcmp(name, "container") == 0)
		return mut_set_str(doc, obj, "container", value);
	if (strcmp(name, "command") == 0)
		return add(doc, obj, "command", yyjson_mut_strcpy(doc, value));
	if (strcmp(name, "ports") == 0 && str_to_u64(value, &n) == 0)
		return add(doc, obj, "ports", yyjson_mut_uint(doc, n));
	return 0;
}

/* What was asked for, as an object. */
static yyjson_mut_val *options(struct req *r, yyjson_mut_doc *doc,
			       const char *kind)
{
	yyjson_mut_val *obj = yyjson_mut_obj(doc);
	const char *at = r->query;
	char name[64], value[4096];
	int res;

	res = mut_set_str(doc, obj, "kind", kind) ||
	      mut_set_str(doc, obj, "apiVersion", "v1");
	if (str_eq(r->route.subresource, "proxy"))
		res = res || mut_set_str(doc, obj, "path",
					 r->route.rest ? r->route.rest : "");
	else
		while (!res && query_next(&at, name, value, sizeof(value)))
			res = put_option(doc, obj, name, value);
	return res ? NULL : obj;
}

/* --- webhooks --- */

static void work(struct aside *a)
{
	struct connection *c = a->data;
	auto_ptr(hook_caller) caller = hook_caller_new(a->api);
	auto_free char *object = NULL;

	if (caller)
		hook_ask_all(caller, &c->question, false, &object, &c->verdict);
	else
		c->verdict.code = 500;
}

static void done(struct aside *a)
{
	struct connection *c = a->data;
	struct req *r = a->req;

	for (char *p = c->verdict.warnings.data; p && *p; p += strlen(p) + 1)
		reply_warning(r, p);
	if (c->verdict.code)
		reply_error(r, c->verdict.code, c->verdict.reason, "%s",
			    c->verdict.msg);
	else
		c->serve(r);
}

static void clear(struct aside *a)
{
	struct connection *c = a->data;

	hook_question_clear(&c->question);
	buf_clear(&c->verdict.warnings);
}

static void ask(struct req *r, struct hook_question *q,
		void (*serve)(struct req *r))
{
	struct connection *c = calloc(1, sizeof(*c));

	if (!c) {
		hook_question_clear(q);
		reply_error(r, 500, "InternalError", "out of memory");
		return;
	}
	c->question = *q;
	c->serve = serve;
	c->aside = (struct aside){ .req = r,
				   .kind = ASIDE_HOOK,
				   .work = work,
				   .done = done,
				   .free = clear,
				   .data = c };
	aside_run(&c->aside);
}

void connect_admit(struct req *r, void (*serve)(struct req *r))
{
	const char *kind = kind_of(&r->route);
	struct hook_question q = { .nr = 0 };
	struct admission a = {
		.api = r->api,
		.req = r,
		.user = r->user,
		.op = ADMIT_CONNECT,
		.type = r->route.type,
		.kind = kind,
		.subresource = r->route.subresource,
		.tenant = r->tenant ? r->tenant : "",
		.namespace = r->route.namespace ? r->route.namespace : "",
		.name = r->route.name ? r->route.name : "",
	};
	int res;

	if (!kind) {
		serve(r);
		return;
	}
	a.doc = yyjson_mut_doc_new(NULL);
	a.obj = a.doc ? options(r, a.doc, kind) : NULL;
	if (!a.obj) {
		yyjson_mut_doc_free(a.doc);
		reply_error(r, 500, "InternalError", "out of memory");
		return;
	}
	res = admission_mutate(&a);
	if (res == 0)
		res = webhooks_question(&a, &q);
	if (res == 0)
		res = admission_validate(&a);
	yyjson_mut_doc_free(a.doc);
	if (res < 0) {
		hook_question_clear(&q);
		admission_reply(&a);
	} else if (q.nr) {
		ask(r, &q, serve);
	} else {
		serve(r);
	}
}

// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <pthread.h>
#include <stdio.h>

#include "controlplane/apiserver/admission/admission.h"
#include "controlplane/apiserver/admission/webhook_call.h"
#include "controlplane/apiserver/internal.h"
#include "lib/base64.h"
#include "lib/json.h"
#include "lib/log.h"
#include "lib/str.h"

#define ANSWER_MAX (3 * 1024 * 1024)

/* --- the question --- */

int hook_question_add(struct hook_question *q, yyjson_val *hook)
{
	yyjson_mut_doc *doc;

	if (q->nr == HOOKS_MAX)
		return -E2BIG;
	doc = yyjson_mut_doc_new(NULL);
	if (!doc)
		return -ENOMEM;
	yyjson_mut_doc_set_root(doc, yyjson_val_mut_copy(doc, hook));
	q->hooks[q->nr] = yyjson_mut_doc_imut_copy(doc, NULL);
	yyjson_mut_doc_free(doc);
	return q->hooks[q->nr++] ? 0 : -ENOMEM;
}

/* A key with several values comes several times, one after the other or not. */
static void put_extra(struct json_out *o, const struct user *u)
{
	json_put_object(o, "extra");
	for (size_t i = 0; i < u->nr_extra; i++) {
		const char *key = u->extra[i].key;
		size_t first = 0;

		while (strcmp(u->extra[first].key, key) != 0)
			first++;
		if (first < i)
			continue;
		json_put_array(o, key);
		for (size_t k = i; k < u->nr_extra; k++)
			if (strcmp(u->extra[k].key, key) == 0)
				json_put_str(o, NULL, u->extra[k].value);
		json_put_end(o);
	}
	json_put_end(o);
}

static void put_user(struct json_out *o, const struct user *u)
{
	json_put_object(o, "userInfo");
	json_put_str(o, "username", u->name);
	if (u->uid)
		json_put_str(o, "uid", u->uid);
	json_put_str(o, "tenant", u->tenant);
	json_put_array(o, "groups");
	for (size_t i = 0; i < u->nr_groups; i++)
		json_put_str(o, NULL, u->groups[i]);
	json_put_end(o);
	if (u->nr_extra)
		put_extra(o, u);
	json_put_end(o);
}

static void put_kind(struct json_out *o, const char *key, const char *field,
		     const struct type *t, const char *value)
{
	json_put_object(o, key);
	json_put_str(o, "group", t->group);
	json_put_str(o, "version", t->version);
	json_put_str(o, field, value);
	json_put_end(o);
}

static char *text_of(yyjson_mut_val *v)
{
	struct buf b = BUF_INIT;

	if (!v || json_write_mut(v, false, &b) < 0) {
		buf_clear(&b);
		return NULL;
	}
	return buf_take(&b);
}

void hook_put_request(struct json_out *o, const struct admission *a,
		      const struct type *as)
{
	static const char *const ops[] = { "CREATE", "UPDATE", "DELETE",
					   "CONNECT" };
	size_t op = 0;

	while (op < 3 && !(a->op & 1u << op))
		op++;
	json_put_object(o, NULL);
	put_kind(o, "kind", "kind", as, a->kind ? a->kind : as->kind);
	put_kind(o, "resource", "resource", as, as->plural);
	put_kind(o, "requestKind", "kind", a->type,
		 a->kind ? a->kind : a->type->kind);
	put_kind(o, "requestResource", "resource", a->type, a->type->plural);
	if (*a->subresource) {
		json_put_str(o, "subResource", a->subresource);
		json_put_str(o, "requestSubResource", a->subresource);
	}
	json_put_str(o, "name", a->name);
	json_put_str(o, "namespace", a->namespace);
	json_put_str(o, "tenant", a->tenant);
	json_put_str(o, "operation", ops[op]);
	put_user(o, a->user);
	json_put_bool(o, "dryRun", a->dry_run);
}

int hook_question_fill(struct hook_question *q, struct admission *a)
{
	struct json_out o = JSON_OUT(&q->head);

	hook_put_request(&o, a, a->type);
	q->dry_run = a->dry_run;
	q->object = text_of(a->obj);
	q->old = text_of(a->old);
	if ((a->obj && !q->object) || (a->old && !q->old))
		return -ENOMEM;
	return buf_error(&q->head);
}

void hook_question_clear(struct hook_question *q)
{
	for (size_t i = 0; i < q->nr; i++)
		yyjson_doc_free(q->hooks[i]);
	buf_clear(&q->head);
	free(q->object);
	free(q->old);
	memset(q, 0, sizeof(*q));
}

/* --- the call --- */

static void put_review(struct hook_question *q, const char *object,
		       const char *uid, struct buf *b)
{
	buf_puts(b, "{\"apiVersion\":\"admission.k8s.io/v1\",\"kind\":"
		    "\"AdmissionReview\",\"request\":");
	buf_add(b, q->head.data, q->head.len);
	buf_printf(b, ",\"uid\":\"%s\",\"options\":null,\"object\":", uid);
	buf_puts(b, object ? object : "null");
	buf_puts(b, ",\"oldObject\":");
	buf_puts(b, q->old ? q->old : "null");
	buf_puts(b, "}}");
}

/* --- the answer --- */

static void refuse(struct hook_verdict *v, int code, const char *reason,
		   const char *name, const char *msg)
{
	v->code = code;
	snprintf(v->reason, sizeof(v->reason), "%s", reason);
	snprintf(v->msg, sizeof(v->msg),
		 "admission webhook \"%s\" denied the request%s%s", name,
		 msg && *msg ? ": " : " without explanation", msg ? msg : "");
}

/* The patch of an answer, applied. 1: the object has changed. */
static int patch(yyjson_val *response, char **object, struct err *e)
{
	const char *type =
		yyjson_get_str(yyjson_obj_get(response, "patchType"));
	const char *b64 = yyjson_get_str(yyjson_obj_get(response, "patch"));
	auto_buf struct buf text = BUF_INIT;
	yyjson_doc *ops = NULL, *in;
	yyjson_mut_doc *doc;
	yyjson_mut_val *out;
	char *result = NULL;

	if (!b64 || !*b64)
		return 0;
	if (!str_eq(type, "JSONPatch"))
		return err_set(e, -EINVAL, "patchType is not JSONPatch");
	if (base64_get(b64, strlen(b64), &text) ||
	    json_parse(buf_str(&text), text.len, &ops, e))
		return err_set(e, -EINVAL, "the patch is not base64 of JSON");
	in = yyjson_read(*object, strlen(*object), 0);
	doc = in ? yyjson_doc_mut_copy(in, NULL) : NULL;
	out = doc ? patch_json(doc, yyjson_mut_doc_get_root(doc),
			       yyjson_doc_get_root(ops), e)
		  : NULL;
	if (out && yyjson_mut_is_obj(out))
		result = text_of(out);
	yyjson_mut_doc_free(doc);
	yyjson_doc_free(in);
	yyjson_doc_free(ops);
	if (!result)
		return err_set(e, -EINVAL, "the patch does not fit");
	free(*object);
	*object = result;
	return 1;
}

static void take_warnings(yyjson_val *response, struct hook_verdict *v)
{
	yyjson_val *w;
	size_t i, max;

	yyjson_arr_foreach(yyjson_obj_get(response, "warnings"), i, max, w)
	{
		const char *s = yyjson_get_str(w);

		if (s && i < 16 && strlen(s) < 256 && !strpbrk(s, "\r\n"))
			buf_add(&v->warnings, s, strlen(s) + 1);
	}
}

/* One answer. 1: the object has changed. */
static int judge(yyjson_val *root, const char *uid, const char *name,
		 bool mutating, char **object, struct hook_verdict *v,
		 struct err *e)
{
	yyjson_val *response = yyjson_obj_get(root, "response");
	yyjson_val *status = yyjson_obj_get(response, "status");
	yyjson_val *allowed = yyjson_obj_get(response, "allowed");
	int64_t code = yyjson_get_sint(yyjson_obj_get(status, "code"));
	const char *reason = yyjson_get_str(yyjson_obj_get(status, "reason"));

	if (!str_eq(yyjson_get_str(yyjson_obj_get(response, "uid")), uid) ||
	    !yyjson_is_bool(allowed))
		return err_set(e, -EBADMSG,
			       "its answer is no AdmissionReview's response "
			       "to this request");
	take_warnings(response, v);
	if (!yyjson_get_bool(allowed)) {
		refuse(v, code >= 400 && code < 500 ? (int)code : 403,
		       reason ? reason : "Forbidden", name,
		       yyjson_get_str(yyjson_obj_get(status, "message")));
		return 0;
	}
	return mutating && *object ? patch(response, object, e) : 0;
}

/* Ask one. 0, 1 (changed), or an error: it could not be asked. */
static int ask_one(struct hook_caller *c, struct hook_question *q,
		   yyjson_val *hook, bool mutating, char **object,
		   struct hook_verdict *v, struct err *e)
{
	yyjson_val *limit = yyjson_obj_get(hook, "timeoutSeconds");
	const char *name = yyjson_get_str(yyjson_obj_get(hook, "name"));
	int seconds = limit ? (int)yyjson_get_sint(limit) : 10;
	auto_buf struct buf body = BUF_INIT, answer = BUF_INIT;
	struct json_limits limits = { .len = ANSWER_MAX };
	yyjson_doc *doc = NULL;
	char uid[37];
	int r;

	if (seconds < 1 || seconds > 30)
		seconds = 10;
	new_uid(uid);
	put_review(q, *object, uid, &body);
	answer.max = ANSWER_MAX;
	r = hook_post(c, SYSTEM, yyjson_obj_get(hook, "clientConfig"), seconds,
		      buf_str(&body), &answer, e);
	if (r == 0)
		r = json_parse_within(buf_str(&answer), answer.len, &limits,
				      &doc, e);
	if (r == 0)
		r = judge(yyjson_doc_get_root(doc), uid, name ? name : "",
			  mutating, object, v, e);
	yyjson_doc_free(doc);
	return r;
}

/* What it means that one could not be asked. */
static void failed(yyjson_val *hook, struct hook_verdict *v,
		   const struct err *e)
{
	const char *name = yyjson_get_str(yyjson_obj_get(hook, "name"));

	if (yyjson_equals_str(yyjson_obj_get(hook, "failurePolicy"),
			      "Ignore")) {
		log_warn("webhook %s: %s, ignored as its failurePolicy says",
			 name ? name : "", e->msg);
		return;
	}
	v->code = 500;
	snprintf(v->reason, sizeof(v->reason), "InternalError");
	snprintf(v->msg, sizeof(v->msg),
		 "Internal error occurred: failed calling webhook \"%s\": %s",
		 name ? name : "", e->msg);
}

void hook_ask_all(struct hook_caller *c, struct hook_question *q, bool mutating,
		  char **ret_object, struct hook_verdict *v)
{
	char *object = q->object ? strdup(q->object) : NULL;
	size_t last = 0; /* who changed the object last, counted from one */
	bool changed = false;

	for (int round = 0; round < 2 && !v->code; round++) {
		size_t seen = last;

		for (size_t i = 0; i < q->nr && !v->code; i++) {
			yyjson_val *hook = yyjson_doc_get_root(q->hooks[i]);
			bool again = yyjson_equals_str(
				yyjson_obj_get(hook, "reinvocationPolicy"),
				"IfNeeded");
			struct err e = { 0 };
			int r;

			/* Again only what others have changed behind it. */
			if (round && (!again || !mutating || seen <= i + 1))
				continue;
			r = ask_one(c, q, hook, mutating, &object, v, &e);
			if (r < 0)
				failed(hook, v, &e);
			if (r == 1)
				changed = true, last = i + 1;
		}
	}
	if (changed && !v->code) {
		*ret_object = object;
		return;
	}
	free(object);
}

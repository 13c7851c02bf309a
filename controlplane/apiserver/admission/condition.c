// SPDX-License-Identifier: Apache-2.0
#include "controlplane/apiserver/admission/condition.h"

#include <errno.h>
#include <stdio.h>

#include "controlplane/apiserver/admission/admission.h"
#include "controlplane/apiserver/admission/plugins.h"
#include "controlplane/apiserver/admission/webhook_call.h"
#include "controlplane/schema/types.h"
#include "lib/cel/cel.h"
#include "lib/json.h"
#include "lib/str.h"

#define CONDITIONS_MAX 64     /* of one webhook, as in Kubernetes */
#define COST_MAX       200000 /* steps of one expression */

enum { OBJECT, OLD_OBJECT, REQUEST, NR_VARS };

static int compile(const char *text, struct cel **ret, struct err *e)
{
	static const struct cel_var vars[NR_VARS] = {
		[OBJECT] = { .name = "object" },
		[OLD_OBJECT] = { .name = "oldObject" },
		[REQUEST] = { .name = "request" },
	};
	struct cel_env env = { .vars = vars, .nr_vars = NR_VARS };

	return cel_compile(text, &env, CEL_BOOL, ret, e);
}

/* --- requests --- */

void condition_view_clear(struct condition_view *v)
{
	yyjson_mut_doc_free(v->doc);
	v->doc = NULL;
}

static int view_fill(struct condition_view *v, const struct admission *a)
{
	auto_buf struct buf b = BUF_INIT;
	struct json_out o = JSON_OUT(&b);
	yyjson_doc *doc;

	if (v->doc)
		return 0;
	hook_put_request(&o, a);
	json_put_end(&o);
	doc = buf_error(&b) ? NULL : yyjson_read(b.data, b.len, 0);
	v->doc = yyjson_doc_mut_copy(doc, NULL);
	yyjson_doc_free(doc);
	v->request = yyjson_mut_doc_get_root(v->doc);
	return v->doc ? 0 : -ENOMEM;
}

static int holds(const struct admission *a, const struct condition_view *view,
		 const char *text, struct err *e)
{
	yyjson_mut_val *vars[NR_VARS], null;
	uint64_t budget = COST_MAX;
	struct cel *cel = NULL;
	int r = compile(text, &cel, e);

	yyjson_mut_set_null(&null);
	vars[OBJECT] = a->obj ? a->obj : &null;
	vars[OLD_OBJECT] = a->old ? a->old : &null;
	vars[REQUEST] = view->request;
	if (r == 0)
		r = cel_eval_bool(cel, vars, &budget, e);
	cel_free(cel);
	return r;
}

int conditions_hold(struct admission *a, struct condition_view *view,
		    yyjson_val *conditions, struct err *e)
{
	int wrong = 0;
	yyjson_val *v;
	size_t i, max;

	if (!yyjson_arr_size(conditions))
		return 1;
	if (view_fill(view, a))
		return err_set(e, -EINVAL, "out of memory");
	yyjson_arr_foreach(conditions, i, max, v)
	{
		const char *name = yyjson_get_str(yyjson_obj_get(v, "name"));
		const char *text =
			yyjson_get_str(yyjson_obj_get(v, "expression"));
		struct err own = { 0 };
		int r = holds(a, view, text ? text : "", &own);

		if (r == 0)
			return 0;
		if (r < 0 && !wrong)
			wrong = err_set(e, -EINVAL, "match condition '%s': %s",
					name ? name : "", own.msg);
	}
	return wrong ? wrong : 1;
}

/* --- configurations --- */

static int refuse(struct admission *a, size_t hook, size_t i, const char *what)
{
	return admission_refuse(a, 422, "Invalid",
				"%s \"%s\" is invalid: "
				"webhooks[%zu].matchConditions[%zu]%s",
				a->type->kind, a->name ? a->name : "", hook, i,
				what);
}

static int check_one(struct admission *a, size_t hook, size_t i,
		     yyjson_mut_val *list)
{
	yyjson_mut_val *v = yyjson_mut_arr_get(list, i);
	const char *name = mut_str(v, "name"), *text = mut_str(v, "expression");
	struct cel *cel = NULL;
	struct err e = { 0 };
	char what[ERR_MSG_SIZE + 512];

	if (!name || !*name)
		return refuse(a, hook, i, ".name: Required value");
	for (size_t j = 0; j < i; j++) {
		snprintf(what, sizeof(what),
			 ".name: Duplicate value: \"%.200s\"", name);
		if (str_eq(mut_str(yyjson_mut_arr_get(list, j), "name"), name))
			return refuse(a, hook, i, what);
	}
	if (!text || !*text)
		return refuse(a, hook, i, ".expression: Required value");
	if (compile(text, &cel, &e) < 0) {
		snprintf(what, sizeof(what),
			 ".expression: Invalid value: \"%.200s\": compilation "
			 "failed: %s",
			 text, e.msg);
		return refuse(a, hook, i, what);
	}
	cel_free(cel);
	return 0;
}

static int check_conditions(struct admission *a)
{
	yyjson_mut_val *hook, *list;
	size_t i, j, max;
	int r = 0;

	if (strcmp(a->type->group, "admissionregistration.k8s.io") != 0)
		return 0;
	yyjson_mut_arr_foreach(mut_get(a->obj, "webhooks"), i, max, hook)
	{
		list = yyjson_mut_obj_get(hook, "matchConditions");
		if (yyjson_mut_arr_size(list) > CONDITIONS_MAX)
			return refuse(a, i, CONDITIONS_MAX,
				      ": Too many: must have at most 64 items");
		for (j = 0; r == 0 && j < yyjson_mut_arr_size(list); j++)
			r = check_one(a, i, j, list);
	}
	return r;
}

const struct admission_plugin admission_webhook_config = {
	.name = "WebhookConfiguration",
	.ops = ADMIT_CREATE | ADMIT_UPDATE,
	.validate = check_conditions,
};

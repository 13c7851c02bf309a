// SPDX-License-Identifier: Apache-2.0
#include "controlplane/apiserver/admission/scene.h"

#include <errno.h>
#include <stdio.h>

#include "controlplane/apiserver/admission/admission.h"
#include "controlplane/apiserver/admission/webhook_call.h"
#include "controlplane/apiserver/crd.h"
#include "controlplane/apiserver/internal.h"
#include "lib/json.h"
#include "lib/str.h"

#define COST_MAX 200000 /* steps of one expression */

/* --- authorizer: what RBAC says --- */

/* The service account, of the request's tenant. */
static struct user *account_user(const struct admission *a, const char *ns,
				 const char *name)
{
	auto_free char *text = str_printf(SA_USER "%s:%s", ns, name);
	auto_free char *group = str_printf("system:serviceaccounts:%s", ns);
	auto_ptr(user) u =
		text ? user_new(text, *a->tenant ? a->tenant : SYSTEM) : NULL;

	if (!u || !group || user_add_group(u, "system:serviceaccounts") ||
	    user_add_group(u, group) ||
	    user_add_group(u, "system:authenticated"))
		return NULL;
	return take_ptr(u);
}

static const char *some(const char *s)
{
	return s && *s ? s : NULL;
}

static bool is_cluster_scoped(const struct admission *a, const char *group,
			      const char *plural)
{
	auto_ptr(type_set) set = NULL;
	const struct type *t = type_find(a->api->types, group, NULL, plural);

	if (!t && *a->tenant)
		t = crds_find(a->api, a->tenant, group, NULL, plural, &set);
	return t && t->scope == SCOPE_CLUSTER;
}

static int decide(void *arg, const struct cel_check *c, struct buf *reason,
		  struct err *e)
{
	const struct admission *a = ((struct scene *)arg)->a;
	auto_ptr(user) account = NULL;
	struct access access = {
		.verb = c->verb,
		.path = c->path,
		.group = c->group ? c->group : "",
		.resource = c->resource,
		.subresource = some(c->subresource),
		.namespace = some(c->ns),
		.name = some(c->name),
		.fields = some(c->fields),
		.tenant = *a->tenant ? a->tenant : a->user->tenant,
		.reason = reason,
	};

	if (c->account) {
		account = account_user(a, c->account_ns, c->account);
		if (!account)
			return err_set(e, -ENOMEM, "out of memory");
	}
	if (c->resource)
		access.cluster =
			is_cluster_scoped(a, access.group, c->resource);
	return access_allowed(a->api, account ? account : a->user, &access);
}

/* --- the variables --- */

void scene_open(struct scene *v, const struct admission *a,
		const struct type *as)
{
	memset(v, 0, sizeof(*v));
	v->a = a;
	v->as = as;
	yyjson_mut_set_null(&v->null);
	v->who = (struct cel_authorizer){
		.request = { .group = as->group,
			     .resource = as->plural,
			     .subresource = a->subresource,
			     .ns = a->namespace,
			     .name = a->name },
		.decide = decide,
		.arg = v,
	};
}

void scene_close(struct scene *v)
{
	yyjson_mut_doc_free(v->doc);
	v->doc = NULL;
}

/* Takes @doc. */
static yyjson_mut_val *copy_of(struct scene *v, yyjson_doc *doc)
{
	yyjson_mut_val *copy =
		doc ? yyjson_val_mut_copy(v->doc, yyjson_doc_get_root(doc))
		    : NULL;

	yyjson_doc_free(doc);
	return copy;
}

static yyjson_mut_val *request_of(struct scene *v)
{
	auto_buf struct buf b = BUF_INIT;
	struct json_out o = JSON_OUT(&b);

	hook_put_request(&o, v->a, v->as);
	json_put_end(&o);
	return buf_error(&b) ? NULL : copy_of(v, yyjson_read(b.data, b.len, 0));
}

/* Of what is in one; a namespace itself is in none. */
static yyjson_mut_val *namespace_of(struct scene *v)
{
	const struct admission *a = v->a;
	auto_buf struct buf key = BUF_INIT;
	auto_ptr(object_bytes) o = NULL;

	if (!*a->namespace || a->type->scope != SCOPE_NAMESPACED)
		return &v->null;
	buf_printf(&key, "core/namespaces/%s//%s", a->tenant, a->namespace);
	o = store_get(a->api->store, buf_str(&key));
	return o ? copy_of(v, object_doc(o)) : &v->null;
}

/* The object as the wanted version has it. */
static yyjson_mut_val *shown(struct scene *v, yyjson_mut_val *obj)
{
	const struct type *from = v->a->type;
	yyjson_mut_val *copy;

	if (!obj || v->as == from)
		return obj ? obj : &v->null;
	copy = yyjson_mut_val_mut_copy(v->doc, obj);
	if (!copy ||
	    (from->convert && from->convert->to_stored(from, v->doc, copy)) ||
	    (v->as->convert &&
	     v->as->convert->from_stored(v->as, v->doc, copy)))
		return NULL;
	return copy;
}

int scene_fill(struct scene *v, struct err *e)
{
	if (v->doc)
		return 0;
	v->doc = yyjson_mut_doc_new(NULL);
	if (!v->doc)
		return err_set(e, -ENOMEM, "out of memory");
	v->vars[EXPR_OBJECT] = shown(v, v->a->obj);
	v->vars[EXPR_OLD_OBJECT] = shown(v, v->a->old);
	v->vars[EXPR_REQUEST] = request_of(v);
	v->vars[EXPR_NAMESPACE] = namespace_of(v);
	v->vars[EXPR_PARAMS] = &v->null;
	for (int i = 0; i < EXPR_AUTHORIZER; i++) {
		if (v->vars[i])
			continue;
		scene_close(v);
		return err_set(e, -EINVAL, "failed to convert object version");
	}
	return 0;
}

/* --- conditions of webhooks --- */

static int holds(struct cel_session *s, const char *text, struct err *e)
{
	struct expression_env env = { .params = false };
	uint64_t budget = COST_MAX;
	struct cel *cel = NULL;
	int r = expression_compile(text, &env, EXPR_BOOL, &cel, e);

	if (r == 0)
		r = cel_session_bool(s, cel, &budget, e);
	cel_free(cel);
	return r;
}

int scene_conditions(struct scene *v, yyjson_val *conditions, struct err *e)
{
	struct cel_session *s;
	int wrong = 0, r;
	yyjson_val *c;
	size_t i, max;

	if (!yyjson_arr_size(conditions))
		return 1;
	r = scene_fill(v, e);
	if (r < 0)
		return r;
	s = cel_session_new(NULL, 0, v->vars, &v->who);
	if (!s)
		return err_set(e, -EINVAL, "out of memory");
	yyjson_arr_foreach(conditions, i, max, c)
	{
		const char *name = yyjson_get_str(yyjson_obj_get(c, "name"));
		const char *text =
			yyjson_get_str(yyjson_obj_get(c, "expression"));
		struct err own = { 0 };

		r = holds(s, text ? text : "", &own);
		if (r == 0)
			break;
		if (r < 0 && !wrong)
			wrong = err_set(e, -EINVAL, "match condition '%s': %s",
					name ? name : "", own.msg);
	}
	cel_session_free(s);
	return r == 0 ? 0 : wrong ? wrong : 1;
}

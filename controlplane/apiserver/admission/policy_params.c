// SPDX-License-Identifier: Apache-2.0
/* The objects that a binding names as parameters: of the request's tenant,
 * whose policy it may be. */
#include <stdio.h>

#include "controlplane/apiserver/admission/admission.h"
#include "controlplane/apiserver/admission/policy.h"
#include "controlplane/apiserver/crd.h"
#include "controlplane/apiserver/internal.h"
#include "lib/json.h"
#include "lib/str.h"

static const char *text_of(yyjson_val *v, const char *key)
{
	const char *s = yyjson_get_str(yyjson_obj_get(v, key));

	return s ? s : "";
}

const struct type *policy_param_type(struct api *api, const char *tenant,
				     const char *api_version, const char *kind,
				     struct type_set **set)
{
	const char *slash = strchr(api_version, '/');
	auto_free char *group =
		strndup(api_version, slash ? slash - api_version : 0);
	const char *version = slash ? slash + 1 : api_version;
	const struct type *t;

	if (!group)
		return NULL;
	t = type_find_kind(api->types, group, version, kind);
	if (!t)
		t = crds_find_kind(api, tenant, group, version, kind, set);
	return t && !t->virtual ? t : NULL;
}

void policy_params_clear(struct policy_params *p)
{
	for (size_t i = 0; i < p->nr; i++)
		yyjson_mut_doc_free(p->v[i]);
	p->nr = 0;
}

static int add(struct policy_params *p, const struct type *t,
	       const struct object_bytes *o, struct err *e)
{
	yyjson_mut_doc *doc = object_tree_as(t, o);

	if (!doc)
		return err_set(e, -ENOMEM, "out of memory");
	p->v[p->nr++] = doc;
	return 0;
}

/* --- by labels --- */

/* A LabelSelector in the language of URLs. */
static void put_selector(struct buf *b, yyjson_val *selector)
{
	yyjson_val *k, *v, *one;
	size_t i, n, max, max2;

	json_obj_foreach (yyjson_obj_get(selector, "matchLabels"), i, max, k, v)
		buf_printf(b, "%s%s=%s", b->len ? "," : "", yyjson_get_str(k),
			   yyjson_get_str(v));
	yyjson_arr_foreach(yyjson_obj_get(selector, "matchExpressions"), i, max,
			   v)
	{
		const char *op = text_of(v, "operator");
		const char *key = text_of(v, "key");

		buf_printf(b, "%s%s%s", b->len ? "," : "",
			   strcmp(op, "DoesNotExist") == 0 ? "!" : "", key);
		if (strcmp(op, "In") != 0 && strcmp(op, "NotIn") != 0)
			continue;
		buf_puts(b, *op == 'I' ? " in (" : " notin (");
		yyjson_arr_foreach(yyjson_obj_get(v, "values"), n, max2, one)
			buf_printf(b, "%s%s", n ? "," : "",
				   yyjson_get_str(one));
		buf_puts(b, ")");
	}
}

static bool fits(const struct object_bytes *o, void *arg)
{
	return selector_match(arg, o);
}

/* A loop does not walk through all a tenant has. */
static int list_params(struct api *api, const struct type *t,
		       const char *prefix, const struct selector *s,
		       struct policy_params *ret, struct err *e)
{
	struct store_range range = { .prefix = prefix,
				     .limit = POLICY_PARAMS_MAX + 1,
				     .steps_max = 1,
				     .match = fits,
				     .arg = (void *)s };
	struct store_list list = { .nr = 0 };
	int r = store_list(api->store, &range, &list, e);

	if (r == -E2BIG)
		return err_set(e, -EINVAL,
			       "paramRef.selector: there are more than 2048 "
			       "objects to be looked through");
	if (r == 0 && list.nr > POLICY_PARAMS_MAX)
		r = err_set(e, -EINVAL,
			    "paramRef.selector selects more than %d objects",
			    POLICY_PARAMS_MAX);
	for (size_t i = 0; r == 0 && i < list.nr; i++)
		r = add(ret, t, list.v[i], e);
	store_list_clear(&list);
	return r;
}

static int select_params(struct api *api, const struct type *t,
			 const char *tenant, const char *ns,
			 yyjson_val *selector, struct policy_params *ret,
			 struct err *e)
{
	auto_buf struct buf text = BUF_INIT, prefix = BUF_INIT;
	struct selector s = { .nr = 0 };
	int r;

	put_selector(&text, selector);
	key_of(&prefix, t, tenant, ns, "");
	r = buf_error(&text) || buf_error(&prefix)
		    ? err_set(e, -ENOMEM, "out of memory")
		    : selector_parse_labels(&s, buf_str(&text), e);
	if (r == 0)
		r = list_params(api, t, buf_str(&prefix), &s, ret, e);
	selector_clear(&s);
	return r;
}

static int get_param(struct api *api, const struct type *t, const char *tenant,
		     const char *ns, const char *name,
		     struct policy_params *ret, struct err *e)
{
	auto_buf struct buf key = BUF_INIT;
	auto_ptr(object_bytes) o = NULL;

	key_of(&key, t, tenant, ns, name);
	o = store_get(api->store, buf_str(&key));
	return o ? add(ret, t, o, e) : 0;
}

/* --- of a binding --- */

/* Where they are: "" for types that are in no namespace. */
static int namespace_of(const struct admission *a, const struct type *t,
			yyjson_val *ref, const char **ret, struct err *e)
{
	const char *ns = text_of(ref, "namespace");

	*ret = "";
	if (t->scope != SCOPE_NAMESPACED)
		return *ns ? err_set(e, -EINVAL,
				     "paramRef.namespace must not be provided "
				     "for a cluster-scoped `paramKind`")
			   : 0;
	if (!*ns)
		ns = admission_is(a, "", "namespaces") ? a->name : a->namespace;
	if (!*ns)
		return err_set(e, -EINVAL,
			       "cannot use namespaced paramRef in policy "
			       "binding that matches cluster-scoped resources");
	*ret = ns;
	return 0;
}

static int get_all(const struct admission *a, const struct type *t,
		   yyjson_val *ref, struct policy_params *ret, struct err *e)
{
	const char *tenant = *a->tenant ? a->tenant : SYSTEM;
	const char *name = text_of(ref, "name"), *ns;
	int r = namespace_of(a, t, ref, &ns, e);

	if (t->scope == SCOPE_CLUSTER)
		tenant = "";
	if (r < 0)
		return r;
	r = *name ? get_param(a->api, t, tenant, ns, name, ret, e)
		  : select_params(a->api, t, tenant, ns,
				  yyjson_obj_get(ref, "selector"), ret, e);
	if (r == 0 && !ret->nr &&
	    strcmp(text_of(ref, "parameterNotFoundAction"), "Deny") == 0)
		r = err_set(e, -EINVAL,
			    "no params found for policy binding with `Deny` "
			    "parameterNotFoundAction");
	return r;
}

int policy_params_get(const struct admission *a, const struct policy *p,
		      const struct policy_binding *b, bool own,
		      struct policy_params *ret, struct err *e)
{
	auto_ptr(type_set) set = NULL;
	const struct type *t;
	int r;

	ret->nr = 0;
	if (!p->param_kind || !b->param_ref) {
		ret->v[ret->nr++] = NULL;
		return 0;
	}
	t = policy_param_type(a->api, *a->tenant ? a->tenant : SYSTEM,
			      text_of(p->param_kind, "apiVersion"),
			      text_of(p->param_kind, "kind"), &set);
	/* What is the cluster's is behind the wall for a tenant's policy. */
	if (!t || (own && t->scope == SCOPE_CLUSTER))
		return err_set(e, -ENOENT,
			       "failed to find resource referenced by "
			       "paramKind: '%s, Kind=%s'",
			       text_of(p->param_kind, "apiVersion"),
			       text_of(p->param_kind, "kind"));
	r = get_all(a, t, b->param_ref, ret, e);
	if (r < 0)
		policy_params_clear(ret);
	return r;
}

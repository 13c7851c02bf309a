// SPDX-License-Identifier: Apache-2.0
/* A tenant's policies and bindings, compiled. */
#include <stdio.h>

#include "controlplane/apiserver/admission/policy.h"
#include "controlplane/apiserver/internal.h"
#include "lib/str.h"

static void expressions_free(struct policy_expression *v, size_t nr)
{
	for (size_t i = 0; v && i < nr; i++) {
		cel_free(v[i].cel);
		cel_free(v[i].message_cel);
	}
	free(v);
}

static void policy_clear(struct policy *p)
{
	/* Those that use a name before what is named. */
	expressions_free(p->conditions, p->nr_conditions);
	expressions_free(p->checks, p->nr_checks);
	expressions_free(p->notes, p->nr_notes);
	while (p->nr_named)
		cel_free((struct cel *)p->named[--p->nr_named].cel);
	free(p->named);
	for (size_t i = 0; i < p->nr_bindings; i++)
		yyjson_doc_free(p->bindings[i].doc);
	free(p->bindings);
	free(p->wrong);
	yyjson_doc_free(p->doc);
}

static void set_free(struct kept_head *head)
{
	struct policy_set *s = (struct policy_set *)head;

	for (size_t i = 0; i < s->nr; i++)
		policy_clear(&s->v[i]);
	free(s->v);
	free(s);
}

/* --- compiling --- */

struct maker {
	struct policy_set *set;
	struct policy *p;
	struct expression_env env;
	bool out_of_memory;
};

static const char *text_of(yyjson_val *v, const char *key)
{
	const char *s = yyjson_get_str(yyjson_obj_get(v, key));

	return s && *s ? s : NULL;
}

/* What was right when it was written may be too much together with others:
 * then the policy cannot be asked, and says why. */
static struct cel *compile(struct maker *m, const char *text,
			   const struct expression_env *env,
			   enum expression_want want)
{
	struct cel *cel = NULL;
	struct err e = { 0 };

	if (m->p->wrong)
		return NULL;
	if (m->set->bytes > POLICY_SET_MEM)
		err_set(&e, -E2BIG,
			"the policies of the tenant are more than fit into %d "
			"MiB",
			POLICY_SET_MEM >> 20);
	else if (expression_compile(text ? text : "", env, want, &cel, &e) == 0)
		m->set->bytes += cel_size(cel);
	if (!cel && str_set(&m->p->wrong, e.msg))
		m->out_of_memory = true;
	return cel;
}

static void *room(struct maker *m, yyjson_val *list, size_t size)
{
	void *v = calloc(yyjson_arr_size(list) + 1, size);

	if (!v)
		m->out_of_memory = true;
	return v;
}

static void make_variables(struct maker *m, yyjson_val *spec)
{
	yyjson_val *list = yyjson_obj_get(spec, "variables"), *v;
	struct policy *p = m->p;
	size_t i, max;

	p->named = room(m, list, sizeof(*p->named));
	m->env.named = p->named;
	yyjson_arr_foreach(list, i, max, v)
	{
		const char *name = text_of(v, "name");
		struct cel *cel = p->named
					  ? compile(m, text_of(v, "expression"),
						    &m->env, EXPR_ANY)
					  : NULL;

		if (!cel)
			return;
		p->named[p->nr_named++] =
			(struct cel_named){ .name = name ? name : "",
					    .cel = cel };
		m->env.nr_named = p->nr_named;
	}
}

static struct policy_expression *
make_expressions(struct maker *m, yyjson_val *list, const char *field,
		 const struct expression_env *env, enum expression_want want,
		 size_t *ret_nr)
{
	struct policy_expression *all = room(m, list, sizeof(*all));
	struct expression_env plain = *env;
	yyjson_val *v;
	size_t i, max;

	plain.no_authorizer = true;
	yyjson_arr_foreach(list, i, max, v)
	{
		struct policy_expression *x = all ? &all[i] : NULL;
		const char *by = text_of(v, "messageExpression");

		if (!x)
			break;
		x->text = text_of(v, field);
		x->message = text_of(v, "message");
		x->reason = text_of(v, "reason");
		x->key = text_of(v, "key");
		x->cel = compile(m, x->text, env, want);
		if (by)
			x->message_cel = compile(m, by, &plain, EXPR_TEXT);
		*ret_nr = i + 1;
	}
	return all;
}

static void make_policy(struct maker *m, yyjson_val *root)
{
	yyjson_val *spec = yyjson_obj_get(root, "spec");
	struct policy *p = m->p;
	struct expression_env plain;

	p->root = root;
	p->name = yyjson_get_str(yyjson_ptr_get(root, "/metadata/name"));
	p->match = yyjson_obj_get(spec, "matchConstraints");
	p->param_kind = yyjson_obj_get(spec, "paramKind");
	p->ignore = yyjson_equals_str(yyjson_obj_get(spec, "failurePolicy"),
				      "Ignore");
	m->env = (struct expression_env){ .params = p->param_kind };
	plain = m->env;
	make_variables(m, spec);
	p->conditions =
		make_expressions(m, yyjson_obj_get(spec, "matchConditions"),
				 "expression", &plain, EXPR_BOOL,
				 &p->nr_conditions);
	p->checks = make_expressions(m, yyjson_obj_get(spec, "validations"),
				     "expression", &m->env, EXPR_BOOL,
				     &p->nr_checks);
	p->notes = make_expressions(m, yyjson_obj_get(spec, "auditAnnotations"),
				    "valueExpression", &m->env,
				    EXPR_TEXT_OR_NULL, &p->nr_notes);
}

/* --- bindings --- */

static bool has(yyjson_val *list, const char *want)
{
	yyjson_val *v;
	size_t i, max;

	yyjson_arr_foreach(list, i, max, v)
	{
		if (yyjson_equals_str(v, want))
			return true;
	}
	return false;
}

/* Takes the document. */
static int bind(struct policy *p, yyjson_doc **doc)
{
	yyjson_val *root = yyjson_doc_get_root(*doc);
	yyjson_val *spec = yyjson_obj_get(root, "spec");
	yyjson_val *actions = yyjson_obj_get(spec, "validationActions");
	struct policy_binding *v =
		realloc(p->bindings, (p->nr_bindings + 1) * sizeof(*v));

	if (!v)
		return -ENOMEM;
	p->bindings = v;
	v[p->nr_bindings++] = (struct policy_binding){
		.doc = take_ptr(*doc),
		.root = root,
		.name = yyjson_get_str(yyjson_ptr_get(root, "/metadata/name")),
		.match = yyjson_obj_get(spec, "matchResources"),
		.param_ref = yyjson_obj_get(spec, "paramRef"),
		.actions = actions,
		.deny = has(actions, "Deny"),
		.warn = has(actions, "Warn"),
		.audit = has(actions, "Audit"),
	};
	return 0;
}

static int list_of(struct api *api, const char *tenant, const char *plural,
		   struct store_list *ret)
{
	auto_free char *prefix =
		str_printf(POLICY_GROUP "/%s/%s//", plural, tenant);
	struct store_range range = { .prefix = prefix, .limit = POLICIES_MAX };

	return prefix ? store_list(api->store, &range, ret, NULL) : -ENOMEM;
}

/* Each binding is of one policy, and becomes its. */
static int add_bindings(struct policy *p, yyjson_doc **docs, size_t nr)
{
	int r = 0;

	for (size_t i = 0; i < nr && r == 0; i++) {
		const char *name = yyjson_get_str(
			yyjson_ptr_get(docs[i] ? yyjson_doc_get_root(docs[i])
					       : NULL,
				       "/spec/policyName"));

		if (name && strcmp(name, p->name) == 0)
			r = bind(p, &docs[i]);
	}
	return r;
}

static int add_policy(struct policy_set *s, const struct object_bytes *o,
		      yyjson_doc **bindings, size_t nr)
{
	struct policy *p = &s->v[s->nr];
	struct maker m = { .set = s, .p = p };
	int r;

	p->name = strrchr(o->key, '/') + 1;
	r = add_bindings(p, bindings, nr);
	if (r == 0 && p->nr_bindings) {
		p->doc = object_doc(o);
		r = p->doc ? 0 : -ENOMEM;
	}
	if (r < 0 || !p->nr_bindings) {
		policy_clear(p);
		memset(p, 0, sizeof(*p));
		return r;
	}
	s->nr++;
	make_policy(&m, yyjson_doc_get_root(p->doc));
	return m.out_of_memory ? -ENOMEM : 0;
}

static int add_policies(struct policy_set *s, const struct store_list *policies,
			const struct store_list *bindings)
{
	auto_free yyjson_doc **docs = calloc(bindings->nr + 1, sizeof(*docs));
	int r = 0;

	s->v = calloc(policies->nr + 1, sizeof(*s->v));
	if (!docs || !s->v)
		return -ENOMEM;
	for (size_t i = 0; i < bindings->nr; i++)
		docs[i] = object_doc(bindings->v[i]);
	for (size_t i = 0; r == 0 && i < policies->nr; i++)
		r = add_policy(s, policies->v[i], docs, bindings->nr);
	for (size_t i = 0; i < bindings->nr; i++)
		yyjson_doc_free(docs[i]);
	return r;
}

struct kept_head *policy_set_make(struct api *api, const char *tenant)
{
	struct policy_set *s = calloc(1, sizeof(*s));
	struct store_list policies = { .nr = 0 }, bindings = { .nr = 0 };
	int r;

	if (!s)
		return NULL;
	s->head.free = set_free;
	r = list_of(api, tenant, POLICIES, &policies);
	if (r == 0 && policies.nr)
		r = list_of(api, tenant, POLICY_BINDINGS, &bindings);
	if (r == 0 && bindings.nr)
		r = add_policies(s, &policies, &bindings);
	store_list_clear(&policies);
	store_list_clear(&bindings);
	if (r == 0)
		return &s->head;
	set_free(&s->head);
	return NULL;
}

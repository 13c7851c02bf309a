// SPDX-License-Identifier: Apache-2.0
/* authorizer: what somebody may do, asked of who evaluates. */
#include "lib/cel/fn.h"
#include "lib/str.h"

/* A copy of the question so far, to be made more exact. */
static struct cel_check *refine(struct run *r, const struct cel_value *of,
				enum cel_kind kind, struct cel_value *ret)
{
	struct cel_check *c = run_get(r, sizeof(*c));

	if (!c)
		return NULL;
	if (of->check)
		*c = *of->check;
	*ret = (struct cel_value){ .kind = kind, .check = c };
	return c;
}

static int set_text(struct run *r, const char **field,
		    const struct cel_value *v)
{
	*field = cel_pool_text(&r->pool, v->text.s, v->text.len);
	return *field ? 0 : run_full(r);
}

static bool is_blank(const struct cel_value *v)
{
	for (size_t i = 0; i < v->text.len; i++)
		if (!strchr(" \t\r\n\v\f", v->text.s[i]))
			return false;
	return true;
}

FN(authorizer_path)
{
	struct cel_check *c;

	if (is_blank(&a[1]))
		return run_fail(r, "path must not be empty");
	c = refine(r, a, CEL_PATH_CHECK, ret);
	return c ? set_text(r, &c->path, &a[1]) : run_full(r);
}

FN(authorizer_group)
{
	struct cel_check *c = refine(r, a, CEL_GROUP_CHECK, ret);

	return c ? set_text(r, &c->group, &a[1]) : run_full(r);
}

FN(authorizer_account)
{
	struct cel_check *c = refine(r, a, CEL_AUTHORIZER, ret);
	int e = c ? set_text(r, &c->account_ns, &a[1]) : run_full(r);

	if (e == 0)
		e = set_text(r, &c->account, &a[2]);
	if (e < 0)
		return e;
	if (!str_is_dns_subdomain(c->account))
		return run_fail(r, "Invalid service account name");
	if (!str_is_dns_label(c->account_ns))
		return run_fail(r, "Invalid service account namespace");
	return 0;
}

FN(group_resource)
{
	struct cel_check *c;

	if (is_blank(&a[1]))
		return run_fail(r, "resource must not be empty");
	c = refine(r, a, CEL_RESOURCE_CHECK, ret);
	return c ? set_text(r, &c->resource, &a[1]) : run_full(r);
}

#define RESOURCE_PART(field)                                                 \
	FN(resource_##field)                                                 \
	{                                                                    \
		struct cel_check *c = refine(r, a, CEL_RESOURCE_CHECK, ret); \
                                                                             \
		return c ? set_text(r, &c->field, &a[1]) : run_full(r);      \
	}

RESOURCE_PART(subresource)
RESOURCE_PART(ns)
RESOURCE_PART(name)
RESOURCE_PART(fields)
RESOURCE_PART(labels)

FN(check_verb)
{
	const struct cel_authorizer *who = session_authorizer(r);
	struct cel_decision *d = run_get(r, sizeof(*d));
	auto_buf struct buf why = BUF_INIT;
	struct cel_check c = *a->check;
	struct err err = { 0 };
	int e = run_spend(r, CEL_CHECK_COST);

	if (e < 0)
		return e;
	if (!who || !d)
		return d ? run_no_overload(r) : run_full(r);
	e = set_text(r, &c.verb, &a[1]);
	if (e < 0)
		return e;
	e = who->decide(who->arg, &c, &why, &err);
	d->allowed = e == 1;
	d->errored = e < 0;
	if (e < 0) {
		buf_reset(&why);
		buf_puts(&why, err.msg);
	}
	d->text.s = cel_pool_text(&r->pool, buf_str(&why), why.len);
	d->text.len = why.len;
	if (!d->text.s)
		return run_full(r);
	*ret = (struct cel_value){ .kind = CEL_DECISION, .decision = d };
	return 0;
}

FN(decision_allowed)
{
	*ret = value_bool(a->decision->allowed);
	return 0;
}

FN(decision_errored)
{
	*ret = value_bool(a->decision->errored);
	return 0;
}

FN(decision_reason)
{
	const struct cel_decision *d = a->decision;

	*ret = value_text(d->text.s, d->errored ? 0 : d->text.len);
	return 0;
}

FN(decision_error)
{
	const struct cel_decision *d = a->decision;

	*ret = value_text(d->text.s, d->errored ? d->text.len : 0);
	return 0;
}

const struct cel_fn cel_fns_authz[] = {
	{ "path", "A.s", 'P', authorizer_path },
	{ "group", "A.s", 'G', authorizer_group },
	{ "serviceAccount", "A.ss", 'A', authorizer_account },
	{ "resource", "G.s", 'R', group_resource },
	{ "subresource", "R.s", 'R', resource_subresource },
	{ "namespace", "R.s", 'R', resource_ns },
	{ "name", "R.s", 'R', resource_name },
	{ "fieldSelector", "R.s", 'R', resource_fields },
	{ "labelSelector", "R.s", 'R', resource_labels },
	{ "check", "P.s", 'V', check_verb },
	{ "check", "R.s", 'V', check_verb },
	{ "allowed", "V.", 'b', decision_allowed },
	{ "errored", "V.", 'b', decision_errored },
	{ "error", "V.", 's', decision_error },
	{ "reason", "V.", 's', decision_reason },
	{ 0 },
};

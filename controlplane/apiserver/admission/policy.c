// SPDX-License-Identifier: Apache-2.0
/* Which policies a request meets, and what comes of it. */
#include <errno.h>
#include <stdio.h>
#include <time.h>

#include "controlplane/apiserver/admission/match.h"
#include "controlplane/apiserver/admission/plugins.h"
#include "controlplane/apiserver/admission/policy.h"
#include "controlplane/apiserver/admission/scene.h"
#include "controlplane/apiserver/internal.h"
#include "lib/json.h"
#include "lib/str.h"

#define MESSAGE_MAX    (5 * 1024)  /* that an expression may say */
#define ANNOTATION_MAX (10 * 1024) /* of the audit log */
#define FAILURES_MAX   50          /* told to the audit log */
#define WARNING_MAX    1024

/* One tenant's policies about one request. */
struct hearing {
	struct admission *a;
	bool own; /* not the system's */
	uint64_t budget;
	struct scene scene;
	struct buf failures; /* for the audit log */
	size_t nr_failures;
	struct map notes; /* key -> struct buf, of the policy in hand */
	/* The first that refuses. */
	bool denied;
	int code;
	const char *reason;
	char msg[1500];
};

/* What is being evaluated. */
struct trial {
	struct hearing *h;
	const struct policy *p;
	const struct policy_binding *b;
	struct cel_session *s;
	bool over; /* nothing more is to be evaluated */
};

/* --- refusing --- */

static void deny(struct hearing *h, const struct policy *p,
		 const struct policy_binding *b, const char *reason,
		 const char *msg)
{
	static const struct {
		const char *reason;
		int code;
	} all[] = { { "Invalid", 422 },
		    { "Forbidden", 403 },
		    { "RequestEntityTooLarge", 413 },
		    { "Unauthorized", 401 } };
	size_t i = 0;

	if (h->denied)
		return;
	h->denied = true;
	while (reason && i < ARRAY_LEN(all) &&
	       strcmp(all[i].reason, reason) != 0)
		i++;
	if (i == ARRAY_LEN(all))
		i = 0;
	h->code = all[i].code;
	h->reason = all[i].reason;
	snprintf(h->msg, sizeof(h->msg),
		 "ValidatingAdmissionPolicy '%s'%s%s%s denied request: %s",
		 p->name, b ? " with binding '" : "", b ? b->name : "",
		 b ? "'" : "", msg);
}

/* It cannot be asked at all. */
static void misconfigured(struct hearing *h, const struct policy *p,
			  const struct policy_binding *b, const char *why)
{
	char msg[ERR_MSG_SIZE + 64];

	snprintf(msg, sizeof(msg), "failed to configure %s: %s",
		 b ? "binding" : "policy", why);
	if (!p->ignore)
		deny(h, p, b, NULL, msg);
}

static void count(const struct trial *t, const char *error, const char *action,
		  uint64_t took_ns)
{
	const struct hearing *h = t->h;

	policy_count(h->a->api->policies->counts, h->own ? NULL : t->p->name,
		     t->b->name, error, action, took_ns);
}

static void note_failure(struct trial *t, size_t index, const char *msg)
{
	struct hearing *h = t->h;
	struct json_out o = JSON_OUT(&h->failures);

	if (h->nr_failures++ >= FAILURES_MAX)
		return;
	if (h->nr_failures > 1)
		buf_putc(&h->failures, ',');
	json_put_object(&o, NULL);
	json_put_str(&o, "message", msg);
	json_put_str(&o, "policy", t->p->name);
	json_put_str(&o, "binding", t->b->name);
	json_put_i64(&o, "expressionIndex", (int64_t)index);
	json_put_array(&o, "validationActions");
	for (size_t i = 0; i < yyjson_arr_size(t->b->actions); i++)
		json_put_str(&o, NULL,
			     yyjson_get_str(yyjson_arr_get(t->b->actions, i)));
	json_put_end(&o);
	if (h->own)
		json_put_str(&o, "tenant", h->a->tenant);
	json_put_end(&o);
}

/* An expression does not hold, or cannot be told and that matters: what the
 * binding says becomes of it. */
static void failed(struct trial *t, size_t index, const char *reason,
		   const char *msg, const char *error, uint64_t took_ns)
{
	char warning[WARNING_MAX];

	if (t->b->deny) {
		deny(t->h, t->p, t->b, reason, msg);
		count(t, error, "deny", took_ns);
	}
	if (t->b->audit) {
		note_failure(t, index, msg);
		count(t, error, "audit", took_ns);
	}
	if (t->b->warn) {
		snprintf(warning, sizeof(warning),
			 "Validation failed for ValidatingAdmissionPolicy '%s' "
			 "with binding '%s': %s",
			 t->p->name, t->b->name, msg);
		if (t->h->a->req)
			reply_warning(t->h->a->req, warning);
		count(t, error, "warn", took_ns);
	}
}

/* --- one expression --- */

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* Steps that the next expression may take. */
static uint64_t allowance(const struct hearing *h)
{
	return h->budget < POLICY_COST_MAX ? h->budget : POLICY_COST_MAX;
}

static void spend(struct hearing *h, uint64_t before, uint64_t left)
{
	h->budget -= before - left;
}

/* Why it could not be told, in @out; what kind of error that is. */
static const char *explain(struct trial *t, const char *text, int r,
			   const struct err *e, char *out, size_t size)
{
	if (r == -E2BIG && !t->h->budget) {
		t->over = true;
		snprintf(out, size,
			 "validation failed due to running out of cost budget, "
			 "no further validation rules will be run");
		return "out_of_budget";
	}
	snprintf(out, size, "expression '%.500s' resulted in error: %s%s", text,
		 r == -E2BIG ? "operation cancelled: " : "", e->msg);
	return r == -E2BIG ? "out_of_budget" : "invalid_error";
}

/* 1, 0, or -errno with what to say of it. */
static int evaluate(struct trial *t, const struct policy_expression *x,
		    char *out, size_t size, const char **ret_error)
{
	uint64_t may = allowance(t->h), left = may;
	struct err e = { 0 };
	int r = cel_session_bool(t->s, x->cel, &left, &e);

	spend(t->h, may, left);
	if (r < 0)
		*ret_error = explain(t, x->text, r, &e, out, size);
	return r;
}

static const char *trim(char *s)
{
	size_t n;

	s += strspn(s, " \t\r\n\v\f");
	n = strlen(s);
	while (n && strchr(" \t\r\n\v\f", s[n - 1]))
		s[--n] = '\0';
	return s;
}

/* What the user is told of an expression that does not hold. */
static void message_of(struct trial *t, const struct policy_expression *x,
		       char *out, size_t size)
{
	auto_buf struct buf b = BUF_INIT;
	uint64_t may = allowance(t->h), left = may;
	const char *s = "";

	if (x->message_cel) {
		if (cel_session_string(t->s, x->message_cel, &left, &b, NULL))
			buf_reset(&b);
		spend(t->h, may, left);
		if (b.len <= MESSAGE_MAX && buf_putc(&b, '\0') == 0)
			s = trim(b.data);
		if (strchr(s, '\n'))
			s = "";
	}
	if (!*s) {
		buf_reset(&b);
		buf_printf(&b, "%s%s", x->message ? "" : "failed expression: ",
			   x->message ? x->message : x->text);
		s = buf_error(&b) ? x->text : trim(b.data);
	}
	snprintf(out, size, "%s", s);
}

static void check(struct trial *t, size_t index)
{
	const struct policy_expression *x = &t->p->checks[index];
	uint64_t began = now_ns(), took;
	const char *error = "no_error";
	char msg[1100];
	int r = evaluate(t, x, msg, sizeof(msg), &error);

	took = now_ns() - began;
	if (r == 1)
		return;
	if (r < 0 && t->p->ignore) {
		count(t, error, "allow", took);
		return;
	}
	if (r == 0)
		message_of(t, x, msg, sizeof(msg));
	failed(t, index, r == 0 ? x->reason : NULL, msg, error, took);
}

/* Whether the policy's conditions hold: 1, 0, or -EINVAL: it cannot be told,
 * and what that means has been done. */
static int conditions_hold(struct trial *t)
{
	char msg[1100], first[1100];
	const char *error = "", *kind = NULL;

	for (size_t i = 0; i < t->p->nr_conditions; i++) {
		int r = evaluate(t, &t->p->conditions[i], msg, sizeof(msg),
				 &error);

		if (r == 0)
			return 0;
		if (r < 0 && !kind) {
			memcpy(first, msg, sizeof(first));
			kind = error;
		}
	}
	if (!kind)
		return 1;
	if (!t->p->ignore)
		failed(t, 0, NULL, first, kind, 0);
	return -EINVAL;
}

/* --- annotations of the audit log --- */

static bool has_value(const struct buf *b, const char *value, size_t n)
{
	const char *p = b->data, *end = b->data + b->len;

	while ((p = memmem(p, end - p, value, n))) {
		if ((p == b->data || p[-1] == ' ') &&
		    (p + n == end || p[n] == ','))
			return true;
		p++;
	}
	return false;
}

/* Different values for one key are told together. */
static void keep_note(struct hearing *h, const char *key, const char *value)
{
	struct buf *b = map_get(&h->notes, key);
	size_t n = strlen(value);

	if (n > ANNOTATION_MAX)
		n = ANNOTATION_MAX;
	if (b && (b->len > ANNOTATION_MAX || has_value(b, value, n)))
		return;
	if (!b) {
		b = calloc(1, sizeof(*b));
		if (!b || map_set(&h->notes, key, b, NULL)) {
			free(b);
			return;
		}
	}
	if (b->len)
		buf_puts(b, ", ");
	buf_add(b, value, n);
}

static void note_free(void *b)
{
	buf_clear(b);
	free(b);
}

/* A tenant's are told apart from the system's, whatever it calls them. */
static void publish_notes(struct hearing *h, const struct policy *p)
{
	struct map_iter it = MAP_ITER_INIT;

	while (map_next(&h->notes, &it)) {
		auto_free char *key =
			str_printf("%s%s%s%s/%s", h->own ? "tenant:" : "",
				   h->own ? h->a->tenant : "",
				   h->own ? ":" : "", p->name, it.key);

		if (key && h->a->req)
			audit_annotate(h->a->req, key, buf_str(it.value));
	}
	map_clear(&h->notes, note_free);
}

static void note_wrong(struct trial *t, const char *msg, const char *error)
{
	if (t->p->ignore)
		return;
	/* As in Kubernetes, whatever the binding's actions are. */
	deny(t->h, t->p, t->b, NULL, msg);
	count(t, error, "deny", 0);
}

static void make_note(struct trial *t, const struct policy_expression *x)
{
	uint64_t may = allowance(t->h), left = may;
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *v = NULL;
	struct err e = { 0 };
	const char *error;
	char msg[1100];
	int r = doc ? cel_session_json(t->s, x->cel, &left, doc, &v, &e)
		    : -ENOMEM;

	spend(t->h, may, left);
	if (r < 0) {
		error = explain(t, x->text, r, &e, msg, sizeof(msg));
		note_wrong(t, msg, error);
	} else if (yyjson_mut_is_str(v)) {
		auto_free char *text = strdup(yyjson_mut_get_str(v));
		const char *s = text ? trim(text) : "";

		if (*s)
			keep_note(t->h, x->key ? x->key : "", s);
	} else if (!yyjson_mut_is_null(v)) {
		snprintf(msg, sizeof(msg),
			 "valueExpression '%.500s' resulted in unsupported "
			 "return type: %s. Return type must be either string "
			 "or null.",
			 x->text, yyjson_mut_get_type_desc(v));
		note_wrong(t, msg, "invalid_error");
	}
	yyjson_mut_doc_free(doc);
}

/* --- a policy --- */

/* With one of the parameters, or none. */
static void hear_with(struct hearing *h, const struct policy *p,
		      const struct policy_binding *b, struct scene *scene,
		      yyjson_mut_doc *param)
{
	struct trial t = { .h = h, .p = p, .b = b };

	scene->vars[EXPR_PARAMS] =
		param ? yyjson_mut_doc_get_root(param) : &scene->null;
	t.s = cel_session_new(p->named, p->nr_named, scene->vars, &scene->who);
	if (!t.s) {
		misconfigured(h, p, b, "out of memory");
		return;
	}
	if (conditions_hold(&t) == 1) {
		for (size_t i = 0; i < p->nr_checks && !t.over; i++)
			check(&t, i);
		for (size_t i = 0; i < p->nr_notes && !t.over; i++)
			make_note(&t, &p->notes[i]);
	}
	cel_session_free(t.s);
}

static void hear_binding(struct hearing *h, const struct policy *p,
			 const struct policy_binding *b, struct scene *scene)
{
	struct policy_params params;
	struct err e = { 0 };
	int r;

	if ((!h->own && !match_tenant(h->a, b->root)) ||
	    (b->match && !match_resources(h->a, b->match)))
		return;
	r = policy_params_get(h->a, p, b, h->own, &params, &e);
	if (r < 0) {
		misconfigured(h, p, r == -ENOENT ? NULL : b, e.msg);
		return;
	}
	r = params.nr ? scene_fill(scene, &e) : 0;
	if (r < 0)
		misconfigured(h, p, b, e.msg);
	for (size_t i = 0; r == 0 && i < params.nr; i++)
		hear_with(h, p, b, scene, params.v[i]);
	policy_params_clear(&params);
}

static void hear(struct hearing *h, const struct policy *p)
{
	struct admission *a = h->a;
	const struct type *as;
	struct scene other, *scene = &h->scene;

	if (!h->own && !match_tenant(a, p->root))
		return;
	as = match_resources(a, p->match);
	if (!as)
		return;
	if (p->wrong) {
		misconfigured(h, p, NULL, p->wrong);
		return;
	}
	if (as != a->type) {
		scene_open(&other, a, as);
		scene = &other;
	}
	for (size_t i = 0; i < p->nr_bindings; i++)
		hear_binding(h, p, &p->bindings[i], scene);
	if (scene == &other)
		scene_close(&other);
	publish_notes(h, p);
}

/* --- a request --- */

/* The system's, and behind them a tenant's own, in one annotation. */
static void publish_failures(struct hearing *h, struct buf *all)
{
	if (!h->failures.len)
		return;
	if (all->len)
		all->data[all->len - 1] = ',';
	else
		buf_putc(all, '[');
	buf_add(all, h->failures.data, h->failures.len);
	buf_putc(all, ']');
	if (buf_error(all) == 0 && h->a->req)
		audit_annotate(h->a->req,
			       "validation.policy.admission.k8s.io/"
			       "validation_failure",
			       buf_str(all));
}

static bool has_policies(struct api *api, const char *tenant)
{
	char prefix[STORE_KEY_MAX];

	snprintf(prefix, sizeof(prefix), POLICY_GROUP "/" POLICIES "/%s//",
		 tenant);
	return store_count(api->store, prefix);
}

static int hear_all(struct admission *a, const char *tenant, bool own,
		    struct buf *failures)
{
	struct hearing h = { .a = a, .own = own, .budget = POLICY_BUDGET_MAX };
	struct policy_set *set;

	/* Most have none: nothing is kept of them. */
	if (!has_policies(a->api, tenant))
		return 0;
	set = kept_get(a->api->policies->kept, tenant);
	if (!set)
		return admission_refuse(a, 500, "InternalError",
					"Internal error occurred: policies: "
					"out of memory");
	if (set->nr) {
		scene_open(&h.scene, a, a->type);
		for (size_t i = 0; i < set->nr; i++)
			hear(&h, &set->v[i]);
		scene_close(&h.scene);
		publish_failures(&h, failures);
	}
	buf_clear(&h.failures);
	kept_unref(set);
	if (!h.denied)
		return 0;
	admission_forbid(a, "%s", h.msg);
	a->code = h.code;
	a->reason = h.reason;
	a->cause = strstr(a->msg, h.msg);
	return -EACCES;
}

/* What a tenant says of its own objects must not keep the system from looking
 * after nodes and from clearing away: of what the system's users do, a tenant's
 * policies see what is made and changed, and no more. */
static bool is_upkeep(const struct admission *a)
{
	return user_is_system(a->user) &&
	       (a->op == ADMIT_DELETE || *a->subresource ||
		mut_get(a->old, "metadata.deletionTimestamp"));
}

/* Policies and webhooks themselves are not asked about: they could not be
 * taken away any more. */
static int policies_validate(struct admission *a)
{
	auto_buf struct buf failures = BUF_INIT;
	bool tenant = *a->tenant && strcmp(a->tenant, SYSTEM) != 0;
	int r;

	if (a->type->virtual || strcmp(a->type->group, POLICY_GROUP) == 0)
		return 0;
	r = hear_all(a, SYSTEM, false, &failures);
	if (r == 0 && tenant && !is_upkeep(a))
		r = hear_all(a, a->tenant, true, &failures);
	return r;
}

const struct admission_plugin admission_policy = {
	.name = "ValidatingAdmissionPolicy",
	.ops = ADMIT_CREATE | ADMIT_UPDATE | ADMIT_DELETE | ADMIT_CONNECT,
	.validate = policies_validate,
};

int policies_open(struct api *api, struct err *e)
{
	struct kept_opts opts = {
		.api = api,
		.prefixes = { POLICY_GROUP "/" POLICIES "/",
			      POLICY_GROUP "/" POLICY_BINDINGS "/" },
		.nr_prefixes = 2,
		.make = policy_set_make,
	};
	struct policies *p = calloc(1, sizeof(*p));

	if (!p)
		return err_set(e, -ENOMEM, "out of memory");
	api->policies = p;
	p->counts = policy_counts_new();
	if (!p->counts)
		return err_set(e, -ENOMEM, "out of memory");
	return kept_open(&opts, &p->kept, e);
}

void policies_close(struct api *api)
{
	struct policies *p = api->policies;

	if (!p)
		return;
	kept_close(p->kept);
	policy_counts_free(p->counts);
	free(p);
	api->policies = NULL;
}

// SPDX-License-Identifier: Apache-2.0
/* What others call: one evaluation, or several that share what is named. */
#include "lib/cel/internal.h"
#include "lib/str.h"

/* A named expression, once it has been asked for. What it came to lives for as
 * long as the session, in memory of its own. */
struct memo {
	bool done;
	int code;
	struct cel_value v;
	struct pool pool;
	char msg[256];
};

struct cel_session {
	const struct cel_named *named;
	yyjson_mut_val *const *vars;
	const struct cel_authorizer *who;
	size_t nr, used; /* memos, and bytes of all of them */
	struct memo memos[];
};

struct cel_session *cel_session_new(const struct cel_named *named, size_t nr,
				    yyjson_mut_val *const *vars,
				    const struct cel_authorizer *who)
{
	struct cel_session *s =
		calloc(1, sizeof(*s) + nr * sizeof(struct memo));

	if (!s)
		return NULL;
	s->named = named;
	s->nr = nr;
	s->vars = vars;
	s->who = who;
	return s;
}

void cel_session_free(struct cel_session *s)
{
	for (size_t i = 0; s && i < s->nr; i++)
		cel_pool_clear(&s->memos[i].pool);
	free(s);
}

const struct cel_authorizer *session_authorizer(const struct run *r)
{
	return r->session ? r->session->who : NULL;
}

static int run_begin(struct run *r, const struct cel *c,
		     yyjson_mut_val *const *vars, struct cel_session *s,
		     uint64_t *budget, struct cel_value *ret)
{
	r->cel = c;
	r->vars = vars;
	r->session = s;
	r->budget = budget;
	if (!r->pool.max)
		r->pool.max = CEL_MEM_MAX;
	return run_eval(r, ret);
}

/* One that costs too much may yet be asked for by who has more to spend: only
 * what it came to, or what is wrong with it, is kept. */
static int evaluate_named(struct run *r, uint32_t slot, struct memo *m)
{
	struct cel_session *s = r->session;
	const struct cel_named *named = &s->named[slot];
	auto_free struct run *own = calloc(1, sizeof(*own));

	if (!own)
		return run_full(r);
	own->pool.max = s->used < CEL_MEM_MAX ? CEL_MEM_MAX - s->used : 1;
	m->code = run_begin(own, named->cel, s->vars, s, r->budget, &m->v);
	if (m->code < 0) {
		cel_pool_clear(&own->pool);
		snprintf(m->msg, sizeof(m->msg),
			 "composited variable \"%.60s\" fails to evaluate: "
			 "%.150s",
			 named->name, own->msg);
	}
	m->pool = own->pool;
	s->used += m->pool.used;
	m->done = m->code != -E2BIG;
	return m->code;
}

int session_named(struct run *r, uint32_t slot, struct cel_value *ret)
{
	struct memo *m;

	if (!r->session || slot >= r->session->nr)
		return run_fail(r, "no such attribute: variables");
	m = &r->session->memos[slot];
	if (!m->done)
		(void)evaluate_named(r, slot, m);
	if (m->code < 0) {
		memcpy(r->msg, m->msg, sizeof(r->msg));
		return m->code;
	}
	*ret = m->v;
	return 0;
}

/* --- what it comes to, for those outside --- */

static int finish(struct run *r, int code, struct err *e)
{
	cel_pool_clear(&r->pool);
	return code < 0 ? err_set(e, code, "%s", r->msg) : code;
}

static int run_bool(const struct cel *c, yyjson_mut_val *const *vars,
		    struct cel_session *s, uint64_t *budget, struct err *e)
{
	struct run r = { 0 };
	struct cel_value v;
	int code = run_begin(&r, c, vars, s, budget, &v);

	if (code == 0)
		code = v.kind == CEL_BOOL ? v.b : run_no_overload(&r);
	return finish(&r, code, e);
}

static int run_string(const struct cel *c, yyjson_mut_val *const *vars,
		      struct cel_session *s, uint64_t *budget, struct buf *b,
		      struct err *e)
{
	struct run r = { 0 };
	struct cel_value v;
	int code = run_begin(&r, c, vars, s, budget, &v);

	if (code == 0)
		code = v.kind == CEL_STRING ? buf_add(b, v.text.s, v.text.len)
					    : run_no_overload(&r);
	return finish(&r, code, e);
}

static int run_json(const struct cel *c, yyjson_mut_val *const *vars,
		    struct cel_session *s, uint64_t *budget,
		    yyjson_mut_doc *doc, yyjson_mut_val **ret, struct err *e)
{
	struct run r = { 0 };
	struct cel_value v;
	int code = run_begin(&r, c, vars, s, budget, &v);
	yyjson_mut_val *out = NULL;

	if (code == 0) {
		out = value_to_json(&r, &v, doc, 0);
		code = out ? 0 : -EINVAL;
	}
	if (out)
		*ret = out;
	return finish(&r, code, e);
}

int cel_eval_bool(const struct cel *c, yyjson_mut_val *const *vars,
		  uint64_t *budget, struct err *e)
{
	return run_bool(c, vars, NULL, budget, e);
}

int cel_eval_string(const struct cel *c, yyjson_mut_val *const *vars,
		    uint64_t *budget, struct buf *b, struct err *e)
{
	return run_string(c, vars, NULL, budget, b, e);
}

int cel_eval_json(const struct cel *c, yyjson_mut_val *const *vars,
		  uint64_t *budget, yyjson_mut_doc *doc, yyjson_mut_val **ret,
		  struct err *e)
{
	return run_json(c, vars, NULL, budget, doc, ret, e);
}

int cel_session_bool(struct cel_session *s, const struct cel *c,
		     uint64_t *budget, struct err *e)
{
	return run_bool(c, s->vars, s, budget, e);
}

int cel_session_string(struct cel_session *s, const struct cel *c,
		       uint64_t *budget, struct buf *b, struct err *e)
{
	return run_string(c, s->vars, s, budget, b, e);
}

int cel_session_json(struct cel_session *s, const struct cel *c,
		     uint64_t *budget, yyjson_mut_doc *doc,
		     yyjson_mut_val **ret, struct err *e)
{
	return run_json(c, s->vars, s, budget, doc, ret, e);
}

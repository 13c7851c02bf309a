// SPDX-License-Identifier: Apache-2.0
/* Walk the tree. What fails within && and || or a loop over them may yet not
 * matter: `a || b` is true if one of them is, whatever the other does. */
#include <stdarg.h>
#include <stdio.h>

#include "lib/cel/fn.h"

static int eval(struct run *r, const struct node *n, struct cel_value *ret);

int run_fail(struct run *r, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(r->msg, sizeof(r->msg), fmt, ap);
	va_end(ap);
	return -EINVAL;
}

int run_no_overload(struct run *r)
{
	return run_fail(r, "no such overload");
}

int run_full(struct run *r)
{
	run_fail(r, "it takes more than %d MiB of memory", CEL_MEM_MAX >> 20);
	return -E2BIG;
}

int run_spend(struct run *r, uint64_t steps)
{
	if (!r->budget)
		return 0;
	if (*r->budget < steps) {
		*r->budget = 0;
		run_fail(r, "actual cost limit exceeded");
		return -E2BIG;
	}
	*r->budget -= steps;
	return 0;
}

void *run_get(struct run *r, size_t size)
{
	return cel_pool_get(&r->pool, size ? size : 1);
}

/* --- optional values --- */

static int make_optional(struct run *r, const struct cel_value *v,
			 struct cel_value *ret)
{
	struct cel_value *opt = NULL;

	if (v) {
		opt = run_get(r, sizeof(*opt));
		if (!opt)
			return run_full(r);
		*opt = *v;
	}
	*ret = (struct cel_value){ .kind = CEL_OPTIONAL, .opt = opt };
	return 0;
}

/* --- fields and items --- */

/* 1: found, 0: not there, -errno. */
static int find_index(struct run *r, const struct cel_value *of,
		      const struct cel_value *key, struct cel_value *ret)
{
	size_t i = (size_t)key->i;
	int e;

	if (of->kind == CEL_MAP)
		return value_find(r, of, key, ret);
	if (of->kind != CEL_LIST)
		return run_no_overload(r);
	if (key->kind == CEL_DOUBLE && key->d >= 0 && key->d < 1e15 &&
	    key->d == (double)(size_t)key->d)
		i = (size_t)key->d;
	else if (key->kind != CEL_INT && key->kind != CEL_UINT)
		return run_no_overload(r);
	else if (key->kind == CEL_INT && key->i < 0)
		return 0;
	if (i >= value_size(of))
		return 0;
	e = value_item(r, of, i, ret);
	return e < 0 ? e : 1;
}

static int not_there(struct run *r, const struct cel_value *of,
		     const struct cel_value *key)
{
	if (of->kind == CEL_LIST)
		return run_fail(r, "index out of bounds: %lld",
				(long long)key->i);
	if (key->kind == CEL_STRING)
		return run_fail(r, "no such key: %.*s", (int)key->text.len,
				key->text.s);
	if (key->kind == CEL_INT)
		return run_fail(r, "no such key: %lld", (long long)key->i);
	return run_fail(r, "no such key: ");
}

/* a.b, a[b] and their optional forms; through an optional value, too. */
static int lookup(struct run *r, const struct cel_value *of,
		  const struct cel_value *key, bool opt, struct cel_value *ret)
{
	struct cel_value got;
	bool through = of->kind == CEL_OPTIONAL;
	int e;

	if (through && !of->opt)
		return make_optional(r, NULL, ret);
	if (through)
		of = of->opt;
	e = find_index(r, of, key, &got);
	if (e < 0)
		return e;
	if (opt || through)
		return make_optional(r, e ? &got : NULL, ret);
	if (!e)
		return not_there(r, of, key);
	*ret = got;
	return 0;
}

/* authorizer.requestResource */
static int authorizer_resource(struct run *r, const char *name,
			       struct cel_value *ret)
{
	const struct cel_authorizer *who = session_authorizer(r);

	if (!who || strcmp(name, "requestResource") != 0)
		return run_no_overload(r);
	*ret = (struct cel_value){ .kind = CEL_RESOURCE_CHECK,
				   .check = &who->request };
	return 0;
}

static int eval_select(struct run *r, const struct node *n,
		       struct cel_value *ret)
{
	struct cel_value of, got, key = value_text(n->name, strlen(n->name));
	int e = eval(r, n->kids[0], &of);

	if (e < 0)
		return e;
	if (of.kind == CEL_AUTHORIZER && n->type == N_SELECT)
		return authorizer_resource(r, n->name, ret);
	if (n->type == N_SELECT && of.kind != CEL_OPTIONAL &&
	    of.kind != CEL_MAP)
		return run_no_overload(r);
	if (n->type == N_SELECT)
		return lookup(r, &of, &key, n->opt, ret);
	if (of.kind == CEL_OPTIONAL) {
		*ret = value_bool(false);
		if (!of.opt)
			return 0;
		of = *of.opt;
	}
	if (of.kind != CEL_MAP)
		return run_no_overload(r);
	e = value_find(r, &of, &key, &got);
	*ret = value_bool(e == 1);
	return e < 0 ? e : 0;
}

static int eval_index(struct run *r, const struct node *n,
		      struct cel_value *ret)
{
	struct cel_value of, key;
	int e = eval(r, n->kids[0], &of);

	if (e == 0)
		e = eval(r, n->kids[1], &key);
	return e < 0 ? e : lookup(r, &of, &key, n->opt, ret);
}

/* --- logic --- */

static int eval_bool(struct run *r, const struct node *n, bool *ret)
{
	struct cel_value v;
	int e = eval(r, n, &v);

	if (e < 0)
		return e;
	if (v.kind != CEL_BOOL)
		return run_no_overload(r);
	*ret = v.b;
	return 0;
}

/* Only what is wrong with the expression may be passed over; that it costs too
 * much may not. */
static int eval_logic(struct run *r, const struct node *n,
		      struct cel_value *ret)
{
	bool decisive = n->type == N_OR, v = false;
	char msg[sizeof(r->msg)];
	int failed = 0, e;

	*ret = value_bool(!decisive);
	for (size_t i = 0; i < n->nr; i++) {
		e = eval_bool(r, n->kids[i], &v);
		if (e < 0 && e != -EINVAL)
			return e;
		if (e < 0 && !failed) {
			failed = e;
			memcpy(msg, r->msg, sizeof(msg));
		}
		if (e == 0 && v == decisive) {
			ret->b = decisive;
			return 0;
		}
	}
	if (failed)
		memcpy(r->msg, msg, sizeof(msg));
	return failed;
}

/* --- lists and maps as they are written --- */

/* What an item marked with ? comes to: 1, or 0 when it is not there. */
static int eval_item(struct run *r, const struct node *n, size_t i,
		     struct cel_value *ret)
{
	int e = eval(r, n->kids[i], ret);

	if (e < 0 || !n->opts || !n->opts[i])
		return e < 0 ? e : 1;
	if (ret->kind != CEL_OPTIONAL)
		return run_no_overload(r);
	if (!ret->opt)
		return 0;
	*ret = *ret->opt;
	return 1;
}

static int eval_list(struct run *r, const struct node *n, struct cel_value *ret)
{
	int e = value_new_list(r, n->nr, ret);
	size_t nr = 0;

	for (size_t i = 0; e == 0 && i < n->nr; i++) {
		e = eval_item(r, n, i, &ret->seq.v[nr]);
		if (e < 0)
			return e;
		nr += e;
		e = 0;
	}
	ret->seq.nr = nr;
	return e;
}

static int add_entry(struct run *r, struct cel_value *map,
		     const struct cel_value *key, const struct cel_value *value)
{
	struct cel_value had;
	int e;

	if (key->kind != CEL_STRING && key->kind != CEL_INT &&
	    key->kind != CEL_UINT && key->kind != CEL_BOOL)
		return run_fail(r, "unsupported key type: %s",
				cel_kind_name(key->kind));
	e = value_find(r, map, key, &had);
	if (e)
		return e < 0 ? e : run_fail(r, "Failed with repeated key");
	map->seq.v[map->seq.nr++] = *key;
	map->seq.v[map->seq.nr++] = *value;
	return 0;
}

static int new_map(struct run *r, size_t nr, struct cel_value *ret)
{
	int e = value_new_list(r, 2 * nr, ret);

	ret->kind = CEL_MAP;
	ret->seq.nr = 0;
	return e;
}

static int eval_map(struct run *r, const struct node *n, struct cel_value *ret)
{
	struct cel_value key, value;
	int e = new_map(r, n->nr / 2, ret);

	for (size_t i = 0; e == 0 && i < n->nr; i += 2) {
		e = eval(r, n->kids[i], &key);
		if (e == 0)
			e = eval_item(r, n, i + 1, &value);
		if (e == 1)
			e = add_entry(r, ret, &key, &value);
	}
	return e;
}

/* --- loops --- */

struct fold_state {
	const struct node *n;
	struct cel_value *ret;
	size_t found;
	int failed;
	char msg[256];
};

/* A yes or no about one item. 1: the loop is over. */
static int fold_ask(struct run *r, struct fold_state *s)
{
	struct pool_mark mark = cel_pool_mark(&r->pool);
	const struct node *n = s->n;
	bool v = false;
	int e = eval_bool(r, n->kids[1], &v);

	cel_pool_release(&r->pool, mark); /* a yes or no holds nothing */
	if (e == -EINVAL && n->op != FOLD_ONE) {
		if (!s->failed)
			memcpy(s->msg, r->msg, sizeof(s->msg));
		s->failed = e;
		return 0;
	}
	if (e < 0)
		return e;
	s->found += v;
	if (n->op != FOLD_ONE && v == (n->op == FOLD_EXISTS)) {
		s->ret->b = v;
		s->failed = 0;
		return 1;
	}
	return 0;
}

/* One item of a list or map that is made. */
static int fold_add(struct run *r, struct fold_state *s, const struct walk *w)
{
	const struct node *n = s->n;
	struct cel_value *out = s->ret, v;
	bool wanted = true;
	int e = 0;

	if (n->op == FOLD_FILTER || n->nr == 3)
		e = eval_bool(r, n->kids[1], &wanted);
	if (e < 0 || !wanted)
		return e;
	if (n->op == FOLD_FILTER)
		v = r->locals[n->slot];
	else
		e = eval(r, n->kids[n->nr - 1], &v);
	if (e < 0)
		return e;
	if (n->op == FOLD_ENTRIES)
		out->seq.v[out->seq.nr++] = w->key;
	out->seq.v[out->seq.nr++] = v;
	return 0;
}

static int eval_fold(struct run *r, const struct node *n, struct cel_value *ret)
{
	struct fold_state s = { .n = n, .ret = ret };
	struct cel_value of;
	struct walk w;
	int e = eval(r, n->kids[0], &of);
	bool ask = n->op <= FOLD_ONE;

	if (e < 0)
		return e;
	if (of.kind != CEL_LIST && of.kind != CEL_MAP)
		return run_no_overload(r);
	*ret = value_bool(n->op == FOLD_ALL);
	if (n->op == FOLD_ENTRIES)
		e = new_map(r, value_size(&of), ret);
	else if (!ask)
		e = value_new_list(r, value_size(&of), ret);
	if (!ask)
		ret->seq.nr = 0;
	if (e < 0)
		return e;
	walk_init(&w, &of);
	while ((e = walk_next(r, &w)) > 0) {
		bool two = n->nr_vars == 2;

		r->locals[n->slot] =
			two || of.kind == CEL_MAP ? w.key : w.value;
		if (two)
			r->locals[n->slot + 1] = w.value;
		e = ask ? fold_ask(r, &s) : fold_add(r, &s, &w);
		if (e)
			break;
	}
	if (e < 0)
		return e;
	if (n->op == FOLD_ONE)
		*ret = value_bool(s.found == 1);
	if (s.failed)
		memcpy(r->msg, s.msg, sizeof(r->msg));
	return s.failed;
}

static int eval_bind(struct run *r, const struct node *n, struct cel_value *ret)
{
	struct cel_value v;
	int e = eval(r, n->kids[0], &v);

	if (e < 0)
		return e;
	if (n->type == N_BIND) {
		r->locals[n->slot] = v;
		return eval(r, n->kids[1], ret);
	}
	if (v.kind != CEL_OPTIONAL)
		return run_no_overload(r);
	if (!v.opt)
		return make_optional(r, NULL, ret);
	r->locals[n->slot] = *v.opt;
	e = eval(r, n->kids[1], &v);
	if (e < 0)
		return e;
	if (!n->op)
		return make_optional(r, &v, ret);
	if (v.kind != CEL_OPTIONAL)
		return run_no_overload(r);
	*ret = v;
	return 0;
}

/* --- calls --- */

static bool takes(const struct cel_fn *f, const struct cel_value *args)
{
	for (const char *a = f->args; *a; a++)
		if (*a != '.' && !fn_takes(*a, (args++)->kind))
			return false;
	return true;
}

static int eval_call(struct run *r, const struct node *n, struct cel_value *ret)
{
	struct cel_value args[6];
	int e = 0;

	if (n->nr > 6)
		return run_no_overload(r);
	for (size_t i = 0; e == 0 && i < n->nr; i++)
		e = eval(r, n->kids[i], &args[i]);
	if (e < 0)
		return e;
	for (const struct cel_fn **f = n->fns; *f; f++) {
		if (takes(*f, args)) {
			r->re = n->re;
			return (*f)->call(r, args, n->nr, ret);
		}
	}
	return run_no_overload(r);
}

static int eval_var(struct run *r, const struct node *n, struct cel_value *ret)
{
	const struct cel_var *var = &r->cel->env->vars[n->slot];
	yyjson_mut_val *json = r->vars[n->slot];
	struct cel_value v;
	int e;

	if (var->authorizer && session_authorizer(r)) {
		*ret = (struct cel_value){ .kind = CEL_AUTHORIZER };
		return 0;
	}
	if (!json && !var->optional)
		return run_fail(r, "no such attribute: %s", var->name);
	if (!json)
		return make_optional(r, NULL, ret);
	e = value_of_json(r, json, var->shape, &v);
	if (e < 0)
		return e;
	if (var->optional)
		return make_optional(r, &v, ret);
	*ret = v;
	return 0;
}

static int eval_named(struct run *r, const struct node *n,
		      struct cel_value *ret)
{
	struct cel_value v;
	int e = session_named(r, n->slot, &v);

	if (e < 0)
		return e;
	if (n->opt)
		return make_optional(r, &v, ret);
	*ret = v;
	return 0;
}

static int eval_unary(struct run *r, const struct node *n,
		      struct cel_value *ret)
{
	int e = eval(r, n->kids[0], ret);

	if (e < 0)
		return e;
	if (n->type == N_NOT && ret->kind == CEL_BOOL)
		ret->b = !ret->b;
	else if (n->type == N_NEG && ret->kind == CEL_INT)
		return ret->i == INT64_MIN ? run_fail(r, "integer overflow")
					   : (ret->i = -ret->i, 0);
	else if (n->type == N_NEG && ret->kind == CEL_DOUBLE)
		ret->d = -ret->d;
	else
		return run_no_overload(r);
	return 0;
}

static int eval_binary(struct run *r, const struct node *n,
		       struct cel_value *ret)
{
	struct cel_value a, b;
	int e = eval(r, n->kids[0], &a);

	if (e == 0)
		e = eval(r, n->kids[1], &b);
	return e < 0 ? e : value_binary(r, n->op, &a, &b, ret);
}

static int eval(struct run *r, const struct node *n, struct cel_value *ret)
{
	bool which = false;
	int e = run_spend(r, 1);

	if (e < 0)
		return e;
	switch ((enum node_type)n->type) {
	case N_LITERAL:
		*ret = n->value;
		return 0;
	case N_VAR:
		return eval_var(r, n, ret);
	case N_LOCAL:
		*ret = r->locals[n->slot];
		return 0;
	case N_NAMED:
		return eval_named(r, n, ret);
	case N_SELECT:
	case N_HAS:
		return eval_select(r, n, ret);
	case N_INDEX:
		return eval_index(r, n, ret);
	case N_CALL:
		return eval_call(r, n, ret);
	case N_NOT:
	case N_NEG:
		return eval_unary(r, n, ret);
	case N_AND:
	case N_OR:
		return eval_logic(r, n, ret);
	case N_COND:
		e = eval_bool(r, n->kids[0], &which);
		return e < 0 ? e : eval(r, n->kids[which ? 1 : 2], ret);
	case N_BINARY:
		return eval_binary(r, n, ret);
	case N_LIST:
		return eval_list(r, n, ret);
	case N_MAP:
		return eval_map(r, n, ret);
	case N_FOLD:
		return eval_fold(r, n, ret);
	case N_BIND:
	case N_OPT_MAP:
		return eval_bind(r, n, ret);
	case N_IDENT:
		break;
	}
	return run_no_overload(r);
}

int run_eval(struct run *r, struct cel_value *ret)
{
	return eval(r, r->cel->root, ret);
}

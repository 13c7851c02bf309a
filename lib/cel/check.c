// SPDX-License-Identifier: Apache-2.0
/* Names become variables, calls find their functions, and what is known of the
 * kinds is held against what operators and functions take. */
#include <stdio.h>

#include "lib/cel/fn.h"
#include "lib/str.h"

#define DEPTH_MAX 2048 /* of a tree, with those of what it names */

struct checker {
	struct cel *c;
	struct err *e;
	struct {
		const char *name;
		uint8_t kind;
		const void *shape;
	} locals[2 * CEL_DEPTH_MAX];
	size_t nr_locals, depth;
};

static int check(struct checker *k, struct node *n);

/* --- names --- */

static void set_shape(struct checker *k, struct node *n, const void *shape)
{
	n->shape = shape;
	n->kind = shape ? k->c->env->shapes->kind(shape) : CEL_DYN;
}

/* "__namespace__" is how a field with a reserved name is written, and
 * "a__dot__b" how one with other characters is. */
static const char *unescape(struct cel *c, const char *name)
{
	static const struct {
		const char *from;
		char to;
	} marks[] = { { "__underscores__", '_' },
		      { "__dot__", '.' },
		      { "__dash__", '-' },
		      { "__slash__", '/' } };
	size_t len = strlen(name), n = 0;
	char *out;

	if (!strstr(name, "__"))
		return name;
	out = cel_pool_get(&c->pool, len + 2);
	if (!out)
		return NULL;
	if (len > 4 && str_starts(name, "__") &&
	    strcmp(name + len - 2, "__") == 0 && !strstr(name + 2, "__")[2]) {
		memcpy(out, name + 2, len - 4);
		return out;
	}
	while (*name) {
		size_t i;

		for (i = 0; i < ARRAY_LEN(marks); i++)
			if (str_starts(name, marks[i].from))
				break;
		if (i == ARRAY_LEN(marks)) {
			out[n++] = *name++;
			continue;
		}
		out[n++] = marks[i].to;
		if (i == 0)
			out[n++] = '_';
		name += strlen(marks[i].from);
	}
	return out;
}

static int check_ident(struct checker *k, struct node *n)
{
	const struct cel_env *env = k->c->env;

	for (size_t i = k->nr_locals; i--;) {
		if (strcmp(k->locals[i].name, n->name) == 0) {
			n->type = N_LOCAL;
			n->slot = i;
			n->kind = k->locals[i].kind;
			n->shape = k->locals[i].shape;
			return 0;
		}
	}
	for (size_t i = 0; i < env->nr_vars; i++) {
		if (strcmp(env->vars[i].name, n->name) == 0) {
			n->type = N_VAR;
			n->slot = i;
			if (env->vars[i].optional)
				n->kind = CEL_OPTIONAL;
			else if (env->vars[i].authorizer)
				n->kind = CEL_AUTHORIZER;
			else
				set_shape(k, n, env->vars[i].shape);
			return 0;
		}
	}
	for (size_t i = CEL_NULL; i < CEL_NR_KINDS; i++) {
		const char *name =
			i == CEL_NULL ? "null_type" : cel_kind_name(i);

		if (i != CEL_OBJECT && strcmp(name, n->name) == 0) {
			n->type = N_LITERAL;
			n->value.kind = n->kind = CEL_TYPE;
			n->value.type = i;
			return 0;
		}
	}
	return cel_complain(k->c, n->at, k->e,
			    "undeclared reference to '%s' (in container '')",
			    n->name);
}

static bool is_local(const struct checker *k, const char *name)
{
	for (size_t i = 0; i < k->nr_locals; i++)
		if (strcmp(k->locals[i].name, name) == 0)
			return true;
	return false;
}

/* net.IP, kubernetes.Quantity, ...: names of types that have a dot. */
static bool is_type_name(struct checker *k, struct node *n)
{
	const struct node *of = n->kids[0];

	if (of->type == N_IDENT && is_local(k, of->name))
		return false;
	for (size_t i = CEL_NULL; of->type == N_IDENT && i < CEL_NR_KINDS;
	     i++) {
		size_t len = strlen(of->name);

		if (str_starts(cel_kind_name(i), of->name) &&
		    cel_kind_name(i)[len] == '.' &&
		    strcmp(cel_kind_name(i) + len + 1, n->name) == 0) {
			n->type = N_LITERAL;
			n->value.kind = n->kind = CEL_TYPE;
			n->value.type = i;
			return true;
		}
	}
	return false;
}

/* variables.x: 1, 0: it is no such thing, or -EINVAL. */
static int check_named(struct checker *k, struct node *n)
{
	const struct cel_env *env = k->c->env;
	const struct node *of = n->kids[0];
	const struct cel *named = NULL;

	if (!env->nr_named || of->type != N_IDENT ||
	    strcmp(of->name, "variables") != 0 || is_local(k, of->name))
		return 0;
	for (size_t i = 0; i < env->nr_named; i++)
		if (strcmp(env->named[i].name, n->name) == 0) {
			named = env->named[i].cel;
			n->slot = i;
		}
	if (!named)
		return cel_complain(k->c, n->at, k->e, "undefined field '%s'",
				    n->name);
	if (k->depth + named->depth > DEPTH_MAX)
		return cel_complain(k->c, n->at, k->e,
				    "variables of variables, nested too deeply");
	if (k->depth + named->depth > k->c->depth)
		k->c->depth = k->depth + named->depth;
	if (n->type == N_HAS) {
		n->type = N_LITERAL;
		n->value = value_bool(true);
		n->kind = CEL_BOOL;
		return 1;
	}
	n->type = N_NAMED;
	n->kind = n->opt ? CEL_OPTIONAL : named->root->kind;
	n->shape = n->opt ? NULL : named->root->shape;
	return 1;
}

static int check_select(struct checker *k, struct node *n)
{
	const struct cel_shapes *shapes = k->c->env->shapes;
	struct node *of = n->kids[0];
	const void *shape = NULL;
	int r;

	if (n->type == N_SELECT && is_type_name(k, n))
		return 0;
	r = check_named(k, n);
	if (r == 0)
		r = check(k, of);
	else if (r == 1)
		return 0;
	if (r < 0)
		return r;
	if (of->kind == CEL_AUTHORIZER && n->type == N_SELECT && !n->opt &&
	    strcmp(n->name, "requestResource") == 0) {
		n->kind = CEL_RESOURCE_CHECK;
		return 0;
	}
	if (of->kind == CEL_OBJECT) {
		n->name = unescape(k->c, n->name);
		if (!n->name)
			return -ENOMEM;
		if (!shapes->field(of->shape, n->name, &shape))
			return cel_complain(k->c, n->at, k->e,
					    "undefined field '%s'", n->name);
		set_shape(k, n, shape);
	} else if (of->kind == CEL_MAP) {
		set_shape(k, n, of->shape ? shapes->item(of->shape) : NULL);
	} else if (of->kind != CEL_DYN && of->kind != CEL_OPTIONAL) {
		return cel_complain(k->c, n->at, k->e,
				    "type '%s' does not support field selection",
				    cel_kind_name(of->kind));
	}
	if (n->type == N_HAS || n->opt || of->kind == CEL_OPTIONAL) {
		n->kind = n->type == N_HAS ? CEL_BOOL : CEL_OPTIONAL;
		n->shape = NULL;
	}
	return 0;
}

/* --- operators --- */

static const char *const ops[] = {
	[OP_ADD] = "_+_", [OP_SUB] = "_-_", [OP_MUL] = "_*_", [OP_DIV] = "_/_",
	[OP_MOD] = "_%_", [OP_EQ] = "_==_", [OP_NE] = "_!=_", [OP_LT] = "_<_",
	[OP_LE] = "_<=_", [OP_GT] = "_>_",  [OP_GE] = "_>=_", [OP_IN] = "@in",
};

static int no_overload(struct checker *k, const struct node *n,
		       const char *name)
{
	char kinds[128];
	size_t len = 0;

	kinds[0] = '\0';
	for (size_t i = 0; i < n->nr && len < sizeof(kinds); i++)
		len += snprintf(kinds + len, sizeof(kinds) - len, "%s%s",
				i ? ", " : "", cel_kind_name(n->kids[i]->kind));
	return cel_complain(k->c, n->at, k->e,
			    "found no matching overload for '%s' applied to "
			    "'%s%s%s'",
			    name, "(", kinds, ")");
}

static bool is_number(enum cel_kind kind)
{
	return kind == CEL_INT || kind == CEL_UINT || kind == CEL_DOUBLE;
}

/* Whether two kinds may be the same. */
static bool alike(enum cel_kind a, enum cel_kind b)
{
	return !a || !b || a == b || a == CEL_NULL || b == CEL_NULL ||
	       (a == CEL_MAP && b == CEL_OBJECT) ||
	       (a == CEL_OBJECT && b == CEL_MAP);
}

/* Of a sum or product; -1: there is none. */
static int arithmetic(enum cel_op op, enum cel_kind a, enum cel_kind b)
{
	if (op == OP_ADD && ((a == CEL_TIMESTAMP && b == CEL_DURATION) ||
			     (a == CEL_DURATION && b == CEL_TIMESTAMP)))
		return CEL_TIMESTAMP;
	if (op == OP_SUB && a == CEL_TIMESTAMP &&
	    (b == CEL_TIMESTAMP || b == CEL_DURATION))
		return b == CEL_TIMESTAMP ? CEL_DURATION : CEL_TIMESTAMP;
	if (!a || !b)
		return CEL_DYN;
	if (a != b)
		return -1;
	if (op == OP_MOD)
		return a == CEL_INT || a == CEL_UINT ? (int)a : -1;
	if (is_number(a) || (a == CEL_DURATION && op <= OP_SUB))
		return a;
	return op == OP_ADD && (a == CEL_STRING || a == CEL_BYTES ||
				a == CEL_LIST)
		       ? (int)a
		       : -1;
}

static bool ordered(enum cel_kind a, enum cel_kind b)
{
	if (is_number(a) && is_number(b))
		return true;
	return alike(a, b) && a != CEL_NULL && b != CEL_NULL && a != CEL_LIST &&
	       a != CEL_MAP && a != CEL_OBJECT && a != CEL_TYPE &&
	       a != CEL_OPTIONAL && a < CEL_QUANTITY;
}

static int check_binary(struct checker *k, struct node *n)
{
	enum cel_kind a = n->kids[0]->kind, b = n->kids[1]->kind;
	int kind = CEL_BOOL;
	bool fine = true;

	switch ((enum cel_op)n->op) {
	case OP_EQ:
	case OP_NE:
		fine = alike(a, b) || (is_number(a) && is_number(b));
		break;
	case OP_LT:
	case OP_LE:
	case OP_GT:
	case OP_GE:
		fine = ordered(a, b);
		break;
	case OP_IN:
		fine = !b || b == CEL_LIST || b == CEL_MAP || b == CEL_OBJECT;
		break;
	default:
		kind = arithmetic(n->op, a, b);
		fine = kind >= 0;
		if (fine && kind == CEL_LIST &&
		    n->kids[0]->shape == n->kids[1]->shape)
			n->shape = n->kids[0]->shape;
	}
	if (!fine)
		return no_overload(k, n, ops[n->op]);
	n->kind = kind;
	return 0;
}

static int want_kind(struct checker *k, const struct node *n,
		     enum cel_kind kind)
{
	if (!n->kind || n->kind == kind)
		return 0;
	return cel_complain(k->c, n->at, k->e,
			    "expected type '%s' but found '%s'",
			    cel_kind_name(kind), cel_kind_name(n->kind));
}

static int check_logic(struct checker *k, struct node *n)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < n->nr; i++)
		r = want_kind(k, n->kids[i], CEL_BOOL);
	n->kind = CEL_BOOL;
	return r;
}

static int check_cond(struct checker *k, struct node *n)
{
	const struct node *a = n->kids[1], *b = n->kids[2];

	if (a->kind == b->kind)
		n->kind = a->kind;
	if (a->kind == b->kind && a->shape == b->shape)
		n->shape = a->shape;
	/* Only of shapes that are known may an object be one. */
	if (n->kind == CEL_OBJECT && !n->shape)
		n->kind = CEL_DYN;
	return want_kind(k, n->kids[0], CEL_BOOL);
}

static int check_index(struct checker *k, struct node *n)
{
	const struct node *of = n->kids[0];

	if (of->kind != CEL_LIST && of->kind != CEL_MAP &&
	    of->kind != CEL_DYN && of->kind != CEL_OPTIONAL &&
	    of->kind != CEL_OBJECT)
		return no_overload(k, n, "_[_]");
	if (of->kind == CEL_LIST && n->kids[1]->kind &&
	    !is_number(n->kids[1]->kind))
		return no_overload(k, n, "_[_]");
	if (of->shape && (of->kind == CEL_LIST || of->kind == CEL_MAP))
		set_shape(k, n, k->c->env->shapes->item(of->shape));
	if (n->opt || of->kind == CEL_OPTIONAL) {
		n->kind = CEL_OPTIONAL;
		n->shape = NULL;
	}
	return 0;
}

/* --- calls --- */

static const struct cel_fn *const tables[] = {
	cel_fns_core,     cel_fns_text, cel_fns_list,  cel_fns_time,
	cel_fns_quantity, cel_fns_net,  cel_fns_authz,
};

static bool fits(const struct cel_fn *f, const struct node *n)
{
	const char *dot = strchr(f->args, '.');
	size_t nr = strlen(f->args) - !!dot, i = 0;

	if (nr != n->nr || n->opt != !!dot)
		return false;
	for (const char *a = f->args; *a; a++) {
		if (*a == '.')
			continue;
		if (!fn_takes(*a, n->kids[i++]->kind))
			return false;
	}
	return true;
}

static int compile_pattern(struct checker *k, struct node *n)
{
	const struct node *pattern = n->nr ? n->kids[n->nr - 1] : NULL;
	struct err e = { 0 };

	if (!pattern || pattern->type != N_LITERAL ||
	    strcmp(n->name, "matches") != 0)
		return 0;
	if (re_compile(pattern->value.text.s, &n->re, &e) < 0)
		return cel_complain(k->c, pattern->at, k->e,
				    "invalid matches argument: %s", e.msg);
	return 0;
}

static int check_call(struct checker *k, struct node *n)
{
	const struct cel_fn *found[16];
	size_t nr = 0;
	bool named = false;

	for (size_t t = 0; t < ARRAY_LEN(tables); t++) {
		for (const struct cel_fn *f = tables[t]; f->name; f++) {
			if (strcmp(f->name, n->name) != 0)
				continue;
			named = true;
			if (fits(f, n) && nr < ARRAY_LEN(found))
				found[nr++] = f;
		}
	}
	if (!named)
		return cel_complain(k->c, n->at, k->e,
				    "undeclared reference to '%s' (in "
				    "container '')",
				    n->name);
	if (!nr)
		return no_overload(k, n, n->name);
	n->fns = cel_pool_get(&k->c->pool, (nr + 1) * sizeof(*n->fns));
	if (!n->fns)
		return -ENOMEM;
	memcpy(n->fns, found, nr * sizeof(*n->fns));
	n->kind = fn_kind(found[0]->ret);
	for (size_t i = 1; i < nr; i++)
		if (fn_kind(found[i]->ret) != n->kind)
			n->kind = CEL_DYN;
	return compile_pattern(k, n);
}

/* --- loops --- */

static int push(struct checker *k, const char *name, enum cel_kind kind,
		const void *shape)
{
	if (k->nr_locals == ARRAY_LEN(k->locals))
		return err_set(k->e, -E2BIG, "too many variables at once");
	k->locals[k->nr_locals].name = name;
	k->locals[k->nr_locals].kind = kind;
	k->locals[k->nr_locals++].shape = shape;
	return 0;
}

/* One variable is a list's item, or a map's key; two are key and value. */
static int push_vars(struct checker *k, struct node *n)
{
	const struct cel_shapes *shapes = k->c->env->shapes;
	const struct node *of = n->kids[0];
	bool list = of->kind == CEL_LIST;
	const void *shape = NULL;
	enum cel_kind kind = CEL_DYN;
	enum cel_kind key = list ? CEL_INT : of->kind ? CEL_STRING : CEL_DYN;
	int r;

	if (of->shape && (list || of->kind == CEL_MAP))
		shape = shapes->item(of->shape);
	if (shape)
		kind = shapes->kind(shape);
	/* A map that was written down may have keys of any kind. */
	if (!of->shape && !list)
		key = CEL_DYN;
	n->slot = k->nr_locals;
	if (n->nr_vars == 1)
		return list || !of->kind ? push(k, n->name, kind, shape)
					 : push(k, n->name, key, NULL);
	r = push(k, n->name, key, NULL);
	return r < 0 ? r : push(k, n->name2, kind, shape);
}

static int check_fold(struct checker *k, struct node *n)
{
	struct node *last = n->kids[n->nr - 1];
	int r = check(k, n->kids[0]);
	enum cel_kind of = n->kids[0]->kind;

	if (r < 0)
		return r;
	if (of && of != CEL_LIST && of != CEL_MAP && of != CEL_OBJECT)
		return cel_complain(k->c, n->at, k->e,
				    "expression of type '%s' cannot be range of "
				    "a comprehension (must be list, map, or "
				    "dynamic)",
				    cel_kind_name(of));
	r = push_vars(k, n);
	for (size_t i = 1; r == 0 && i < n->nr; i++)
		r = check(k, n->kids[i]);
	k->nr_locals = n->slot;
	if (r < 0)
		return r;
	n->kind = n->op <= FOLD_ONE       ? CEL_BOOL
		  : n->op == FOLD_ENTRIES ? CEL_MAP
					  : CEL_LIST;
	if (n->op == FOLD_FILTER && of == CEL_LIST)
		n->shape = n->kids[0]->shape;
	/* All but what a list or map is made of are questions. */
	if (n->op <= FOLD_ONE || n->op == FOLD_FILTER)
		return want_kind(k, last, CEL_BOOL);
	return n->nr == 3 ? want_kind(k, n->kids[1], CEL_BOOL) : 0;
}

static int check_bind(struct checker *k, struct node *n)
{
	struct node *of = n->kids[0];
	bool plain = n->type == N_BIND;
	int r = check(k, of);

	n->slot = k->nr_locals;
	if (r == 0 && !plain)
		r = want_kind(k, of, CEL_OPTIONAL);
	if (r == 0)
		r = push(k, n->name, plain ? of->kind : CEL_DYN,
			 plain ? of->shape : NULL);
	if (r == 0)
		r = check(k, n->kids[1]);
	k->nr_locals = n->slot;
	if (r < 0)
		return r;
	n->kind = plain ? n->kids[1]->kind : CEL_OPTIONAL;
	n->shape = plain ? n->kids[1]->shape : NULL;
	return 0;
}

/* --- all of it --- */

static int check_kids(struct checker *k, struct node *n)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < n->nr; i++)
		r = check(k, n->kids[i]);
	return r;
}

static int check_own(struct checker *k, struct node *n)
{
	switch ((enum node_type)n->type) {
	case N_LITERAL:
		n->kind = n->value.kind;
		return 0;
	case N_INDEX:
		return check_index(k, n);
	case N_CALL:
		return check_call(k, n);
	case N_NOT:
	case N_AND:
	case N_OR:
		return check_logic(k, n);
	case N_NEG:
		n->kind = n->kids[0]->kind;
		if (n->kind && n->kind != CEL_INT && n->kind != CEL_DOUBLE)
			return no_overload(k, n, "-_");
		return 0;
	case N_COND:
		return check_cond(k, n);
	case N_BINARY:
		return check_binary(k, n);
	case N_LIST:
		n->kind = CEL_LIST;
		return 0;
	case N_MAP:
		n->kind = CEL_MAP;
		return 0;
	default:
		return 0;
	}
}

static int check_node(struct checker *k, struct node *n)
{
	int r;

	switch ((enum node_type)n->type) {
	case N_IDENT:
		return check_ident(k, n);
	case N_SELECT:
	case N_HAS:
		return check_select(k, n);
	case N_FOLD:
		return check_fold(k, n);
	case N_BIND:
	case N_OPT_MAP:
		return check_bind(k, n);
	default:
		r = check_kids(k, n);
		return r < 0 ? r : check_own(k, n);
	}
}

static int check(struct checker *k, struct node *n)
{
	int r;

	if (++k->depth > k->c->depth)
		k->c->depth = k->depth;
	r = check_node(k, n);
	k->depth--;
	return r;
}

int cel_check(struct cel *c, struct err *e)
{
	struct checker k = { .c = c, .e = e };
	int r = check(&k, c->root);

	if (r < 0)
		return r;
	if (!c->want || !c->root->kind || c->root->kind == c->want)
		return 0;
	return err_set(e, -EINVAL, "must evaluate to a %s",
		       c->want == CEL_BOOL ? "bool" : cel_kind_name(c->want));
}

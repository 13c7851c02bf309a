// SPDX-License-Identifier: Apache-2.0
/* Recursive descent by the grammar of CEL; macros become nodes of their own. */
#include <stdarg.h>
#include <stdio.h>

#include "lib/cel/lex.h"
#include "lib/str.h"

struct parser {
	struct lexer l;
	int depth;
};

/* Kids of a node that is being read. */
struct kids {
	struct node *v[256];
	bool opts[256];
	size_t nr;
	bool any_opt;
};

static struct node *parse_expr(struct parser *p);

int cel_complain(const struct cel *c, size_t at, struct err *e, const char *fmt,
		 ...)
{
	const char *begin = c->text + at, *end;
	size_t line = 1, column;
	char what[160];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	while (begin > c->text && begin[-1] != '\n')
		begin--;
	end = begin + strcspn(begin, "\n");
	column = c->text + at - begin;
	for (const char *p = c->text; p < begin; p++)
		line += *p == '\n';
	if (end - begin > 60 || column > 60)
		return err_set(e, -EINVAL, "ERROR: <input>:%zu:%zu: %s", line,
			       column + 1, what);
	return err_set(
		e, -EINVAL, "ERROR: <input>:%zu:%zu: %s\n | %.*s\n | %.*s^",
		line, column + 1, what, (int)(end - begin), begin, (int)column,
		"............................................................"
		"....");
}

struct node *node_new(struct cel *c, enum node_type type, size_t at,
		      size_t nr_kids)
{
	struct node *n = NULL;

	if (c->nr_nodes++ < CEL_NODES_MAX)
		n = cel_pool_get(&c->pool,
				 sizeof(*n) + nr_kids * sizeof(void *));
	if (!n)
		return NULL;
	n->type = type;
	n->at = at;
	n->nr = nr_kids;
	n->kids = (struct node **)(n + 1);
	n->next = c->all;
	c->all = n;
	return n;
}

/* A node of the kids given; what is missing has been complained of. */
static struct node *node_of(struct parser *p, enum node_type type, size_t at,
			    size_t nr, ...)
{
	struct node *n = node_new(p->l.c, type, at, nr);
	bool whole = true;
	va_list ap;

	va_start(ap, nr);
	for (size_t i = 0; n && i < nr; i++) {
		n->kids[i] = va_arg(ap, struct node *);
		whole = whole && n->kids[i];
	}
	va_end(ap);
	return whole ? n : NULL;
}

static struct node *complain(struct parser *p, size_t at, const char *what)
{
	if (!p->l.e->code) /* the first is the one */
		cel_complain(p->l.c, at, p->l.e, "Syntax error: %s", what);
	return NULL;
}

static bool next(struct parser *p)
{
	return lex_next(&p->l) == 0;
}

static bool is_op(struct parser *p, const char *op)
{
	return p->l.token == T_PUNCT && strcmp(p->l.op, op) == 0;
}

/* Whether @op was there, and has been passed. */
static bool took(struct parser *p, const char *op)
{
	return is_op(p, op) && next(p);
}

static bool expect(struct parser *p, const char *op)
{
	char what[64];

	if (is_op(p, op))
		return next(p);
	if (p->l.token == T_END)
		snprintf(what, sizeof(what), "'%s' expected, not the end", op);
	else
		snprintf(what, sizeof(what), "'%s' expected", op);
	complain(p, p->l.at, what);
	return false;
}

/* --- lists of expressions --- */

/* Until @end, which is passed. @sep: what stands between a key and a value. */
static bool parse_kids(struct parser *p, struct kids *k, const char *end,
		       const char *sep, bool may_opt)
{
	while (!is_op(p, end)) {
		bool opt = may_opt && took(p, "?");

		for (int i = 0; i < (sep ? 2 : 1); i++) {
			if (k->nr == ARRAY_LEN(k->v))
				return complain(p, p->l.at, "too many items");
			if (i && !expect(p, sep))
				return false;
			k->opts[k->nr] = opt;
			k->any_opt |= opt;
			k->v[k->nr] = parse_expr(p);
			if (!k->v[k->nr++])
				return false;
		}
		if (!took(p, ","))
			break;
	}
	return expect(p, end);
}

static struct node *node_of_kids(struct parser *p, enum node_type type,
				 size_t at, const struct kids *k)
{
	struct node *n = node_new(p->l.c, type, at, k->nr);

	if (!n)
		return NULL;
	memcpy(n->kids, k->v, k->nr * sizeof(k->v[0]));
	if (k->any_opt) {
		n->opts = cel_pool_get(&p->l.c->pool, k->nr);
		if (!n->opts)
			return NULL;
		memcpy(n->opts, k->opts, k->nr);
	}
	return n;
}

/* --- macros --- */

static const struct macro {
	const char *name;
	uint8_t fold, nr_vars, nr_args;
} macros[] = {
	{ "all", FOLD_ALL, 1, 2 },
	{ "exists", FOLD_EXISTS, 1, 2 },
	{ "exists_one", FOLD_ONE, 1, 2 },
	{ "existsOne", FOLD_ONE, 1, 2 },
	{ "map", FOLD_MAP, 1, 2 },
	{ "map", FOLD_MAP, 1, 3 },
	{ "filter", FOLD_FILTER, 1, 2 },
	{ "all", FOLD_ALL, 2, 3 },
	{ "exists", FOLD_EXISTS, 2, 3 },
	{ "existsOne", FOLD_ONE, 2, 3 },
	{ "transformList", FOLD_LIST, 2, 3 },
	{ "transformList", FOLD_LIST, 2, 4 },
	{ "transformMap", FOLD_ENTRIES, 2, 3 },
	{ "transformMap", FOLD_ENTRIES, 2, 4 },
};

static const char *var_name(struct parser *p, const struct node *n)
{
	if (n->type == N_IDENT)
		return n->name;
	cel_complain(p->l.c, n->at, p->l.e, "argument must be a simple name");
	return NULL;
}

static struct node *fold(struct parser *p, const struct macro *m, size_t at,
			 struct node *of, const struct kids *k)
{
	size_t nr = k->nr - m->nr_vars;
	struct node *n = node_new(p->l.c, N_FOLD, at, 1 + nr);

	if (!n)
		return NULL;
	n->op = m->fold;
	n->nr_vars = m->nr_vars;
	n->name = var_name(p, k->v[0]);
	n->name2 = m->nr_vars > 1 ? var_name(p, k->v[1]) : "";
	n->kids[0] = of;
	memcpy(n->kids + 1, k->v + m->nr_vars, nr * sizeof(k->v[0]));
	return n->name && n->name2 ? n : NULL;
}

/* cel.bind(x, e, ...), e.optMap(x, ...) and e.optFlatMap(x, ...). */
static struct node *bind(struct parser *p, enum node_type type, size_t at,
			 struct node *var, struct node *of, struct node *body)
{
	struct node *n = node_of(p, type, at, 2, of, body);

	if (n)
		n->name = var_name(p, var);
	return n && n->name ? n : NULL;
}

/* has(a.b) asks for the field of a value that is there. */
static struct node *has(struct parser *p, size_t at, const struct kids *k)
{
	if (k->nr != 1 || k->v[0]->type != N_SELECT) {
		cel_complain(p->l.c, at, p->l.e,
			     "invalid argument to has() macro");
		return NULL;
	}
	k->v[0]->type = N_HAS;
	return k->v[0];
}

/* "cel.bind", "sets.contains": a name in two parts that is no method. */
static bool is_space(const struct node *of, const char *name)
{
	static const char *const spaces[] = { "cel", "optional", "sets",
					      "strings", "ip" };

	if (!of || of->type != N_IDENT)
		return false;
	for (size_t i = 0; i < ARRAY_LEN(spaces); i++)
		if (strcmp(of->name, spaces[i]) == 0)
			return !(strcmp(of->name, "ip") == 0 &&
				 strcmp(name, "isCanonical") != 0);
	return false;
}

static struct node *call(struct parser *p, size_t at, struct node *of,
			 const char *name, struct kids *k)
{
	size_t first = of ? 1 : 0;
	struct node *n;

	if (!of && strcmp(name, "has") == 0)
		return has(p, at, k);
	if (is_space(of, name)) {
		if (strcmp(of->name, "cel") == 0 && strcmp(name, "bind") == 0 &&
		    k->nr == 3)
			return bind(p, N_BIND, at, k->v[0], k->v[1], k->v[2]);
		n = node_of_kids(p, N_CALL, at, k);
		if (n) {
			char full[128];

			snprintf(full, sizeof(full), "%s.%s", of->name, name);
			n->name = cel_pool_text(&p->l.c->pool, full,
						strlen(full));
		}
		return n && n->name ? n : NULL;
	}
	for (size_t i = 0; of && i < ARRAY_LEN(macros); i++)
		if (macros[i].nr_args == k->nr &&
		    strcmp(macros[i].name, name) == 0 &&
		    (macros[i].nr_vars == 1 || k->v[1]->type == N_IDENT))
			return fold(p, &macros[i], at, of, k);
	if (of && k->nr == 2 && strcmp(name, "optMap") == 0)
		return bind(p, N_OPT_MAP, at, k->v[0], of, k->v[1]);
	if (of && k->nr == 2 && strcmp(name, "optFlatMap") == 0) {
		n = bind(p, N_OPT_MAP, at, k->v[0], of, k->v[1]);
		if (n)
			n->op = 1;
		return n;
	}
	n = node_new(p->l.c, N_CALL, at, k->nr + first);
	if (!n)
		return NULL;
	n->name = name;
	n->opt = of;
	if (of)
		n->kids[0] = of;
	memcpy(n->kids + first, k->v, k->nr * sizeof(k->v[0]));
	return n;
}

static struct node *parse_call(struct parser *p, size_t at, struct node *of,
			       const char *name)
{
	auto_free struct kids *k = calloc(1, sizeof(*k));

	return k && parse_kids(p, k, ")", NULL, false)
		       ? call(p, at, of, name, k)
		       : NULL;
}

/* --- from the tightest to the loosest --- */

static struct node *parse_seq(struct parser *p, enum node_type type, size_t at,
			      const char *end, const char *sep)
{
	auto_free struct kids *k = calloc(1, sizeof(*k));

	return k && parse_kids(p, k, end, sep, true)
		       ? node_of_kids(p, type, at, k)
		       : NULL;
}

static struct node *parse_ident(struct parser *p, size_t at)
{
	static const char reserved[] =
		" as break const continue else for function if import let loop "
		"package namespace return var void while ";
	char *name = p->l.ident;
	char word[32];
	struct node *n;

	snprintf(word, sizeof(word), " %s ", name);
	if (strstr(reserved, word)) {
		cel_complain(p->l.c, at, p->l.e, "reserved identifier: %s",
			     name);
		return NULL;
	}
	if (!next(p))
		return NULL;
	if (took(p, "("))
		return parse_call(p, at, NULL, name);
	n = node_new(p->l.c, N_IDENT, at, 0);
	if (n)
		n->name = name;
	return n;
}

static struct node *parse_primary(struct parser *p)
{
	size_t at = p->l.at;
	struct node *n;

	if (p->l.token == T_LITERAL) {
		n = node_new(p->l.c, N_LITERAL, at, 0);
		if (n)
			n->value = p->l.value;
		return next(p) ? n : NULL;
	}
	took(p, "."); /* a name of the root: there is but one room here */
	if (p->l.token == T_IDENT)
		return parse_ident(p, at);
	if (took(p, "(")) {
		n = parse_expr(p);
		return n && expect(p, ")") ? n : NULL;
	}
	if (took(p, "["))
		return parse_seq(p, N_LIST, at, "]", NULL);
	if (took(p, "{"))
		return parse_seq(p, N_MAP, at, "}", ":");
	if (p->l.token == T_END)
		return complain(p, at, "mismatched input '<EOF>'");
	return complain(p, p->l.at, "an expression expected");
}

static struct node *parse_select(struct parser *p, struct node *of, size_t at)
{
	bool opt = took(p, "?");
	char *name = p->l.ident;
	struct node *n;

	if (p->l.token != T_IDENT)
		return complain(p, p->l.at, "a name expected behind '.'");
	if (!next(p))
		return NULL;
	if (!opt && took(p, "("))
		return parse_call(p, at, of, name);
	n = node_of(p, N_SELECT, at, 1, of);
	if (n) {
		n->name = name;
		n->opt = opt;
	}
	return n;
}

static struct node *parse_member(struct parser *p)
{
	struct node *n = parse_primary(p);
	int links = 0;

	while (n) {
		size_t at = p->l.at;

		if (++links > CEL_DEPTH_MAX)
			return complain(p, at, "nested too deeply");
		if (took(p, ".")) {
			n = parse_select(p, n, at);
		} else if (took(p, "[")) {
			bool opt = took(p, "?");

			n = node_of(p, N_INDEX, at, 2, n, parse_expr(p));
			if (n)
				n->opt = opt;
			if (n && !expect(p, "]"))
				return NULL;
		} else {
			break;
		}
	}
	return n;
}

/* -5 is a number: the smallest one has no positive twin. */
static struct node *negated(struct parser *p, size_t at, struct node *n)
{
	if (n && n->type == N_LITERAL && n->value.kind == CEL_DOUBLE) {
		n->value.d = -n->value.d;
		return n;
	}
	if (n && n->type == N_LITERAL && n->value.kind == CEL_INT) {
		n->value.i = (int64_t)(0 - n->value.u);
		return n;
	}
	return node_of(p, N_NEG, at, 1, n);
}

static struct node *parse_unary(struct parser *p)
{
	size_t at = p->l.at;
	bool minus = is_op(p, "-");
	int n = 0;
	struct node *of;

	if (!minus && !is_op(p, "!")) {
		of = parse_member(p);
		/* 2^63 was let through for the sake of a minus. */
		if (of && of->type == N_LITERAL && of->value.kind == CEL_INT &&
		    of->value.i == INT64_MIN)
			return complain(p, at, "invalid int literal");
		return of;
	}
	while (took(p, minus ? "-" : "!"))
		n++;
	/* An even number of them says nothing, but about the type. */
	of = parse_member(p);
	n = n % 2 ? 1 : 2;
	if (minus && n == 1)
		return negated(p, at, of);
	for (; of && n; n--)
		of = node_of(p, minus ? N_NEG : N_NOT, at, 1, of);
	return of;
}

static const struct {
	const char *op;
	uint8_t code, level;
} binaries[] = {
	{ "*", OP_MUL, 2 }, { "/", OP_DIV, 2 }, { "%", OP_MOD, 2 },
	{ "+", OP_ADD, 1 }, { "-", OP_SUB, 1 }, { "==", OP_EQ, 0 },
	{ "!=", OP_NE, 0 }, { "<", OP_LT, 0 },  { "<=", OP_LE, 0 },
	{ ">", OP_GT, 0 },  { ">=", OP_GE, 0 }, { "in", OP_IN, 0 },
};

/* Level 0 are relations, 1 sums, 2 products: all from left to right. */
static struct node *parse_binary(struct parser *p, int level)
{
	struct node *n =
		level > 2 ? parse_unary(p) : parse_binary(p, level + 1);
	int links = 0;

	while (n && level <= 2) {
		size_t at = p->l.at, i;

		for (i = 0; i < ARRAY_LEN(binaries); i++)
			if (binaries[i].level == level &&
			    is_op(p, binaries[i].op))
				break;
		if (i == ARRAY_LEN(binaries))
			break;
		if (++links > CEL_DEPTH_MAX)
			return complain(p, at, "nested too deeply");
		if (!next(p))
			return NULL;
		n = node_of(p, N_BINARY, at, 2, n, parse_binary(p, level + 1));
		if (n)
			n->op = binaries[i].code;
	}
	return n;
}

/* All terms of one && or || are kids of one node. */
static struct node *parse_logic(struct parser *p, enum node_type type)
{
	const char *op = type == N_AND ? "&&" : "||";
	size_t at = p->l.at;
	struct node *n =
		type == N_OR ? parse_logic(p, N_AND) : parse_binary(p, 0);
	auto_free struct kids *k = NULL;

	if (!n || !is_op(p, op))
		return n;
	k = calloc(1, sizeof(*k));
	if (!k)
		return NULL;
	k->v[k->nr++] = n;
	while (took(p, op)) {
		if (k->nr == ARRAY_LEN(k->v))
			return complain(p, p->l.at, "too many terms");
		n = type == N_OR ? parse_logic(p, N_AND) : parse_binary(p, 0);
		if (!n)
			return NULL;
		k->v[k->nr++] = n;
	}
	return node_of_kids(p, type, at, k);
}

static struct node *parse_expr(struct parser *p)
{
	struct node *n, *yes;
	size_t at;

	if (++p->depth > CEL_DEPTH_MAX)
		return complain(p, p->l.at, "nested too deeply");
	n = parse_logic(p, N_OR);
	at = p->l.at;
	if (n && took(p, "?")) {
		yes = parse_logic(p, N_OR);
		n = yes && expect(p, ":")
			    ? node_of(p, N_COND, at, 3, n, yes, parse_expr(p))
			    : NULL;
	}
	p->depth--;
	return n;
}

int cel_parse(struct cel *c, struct err *e)
{
	struct parser p = { .l = { .c = c, .e = e, .p = c->text } };
	struct err own = { 0 };

	if (!e)
		p.l.e = &own;
	p.l.e->code = 0;
	if (next(&p))
		c->root = parse_expr(&p);
	if (c->root && p.l.token != T_END) {
		complain(&p, p.l.at, "extraneous input");
		c->root = NULL;
	}
	if (c->root)
		return 0;
	if (p.l.e->code)
		return p.l.e->code;
	return c->nr_nodes > CEL_NODES_MAX
		       ? err_set(e, -E2BIG,
				 "the expression has more than %d parts",
				 CEL_NODES_MAX)
		       : err_set(e, -ENOMEM, "no memory for the expression");
}

// SPDX-License-Identifier: Apache-2.0
/* Operators on values: equality, order, sums. */
#include <math.h>
#include <stdio.h>

#include "lib/cel/internal.h"

static bool is_number(const struct cel_value *v)
{
	return v->kind == CEL_INT || v->kind == CEL_UINT ||
	       v->kind == CEL_DOUBLE;
}

#define SIGN(a, b) (((a) > (b)) - ((a) < (b)))

/* Of numbers of different kinds; 2: there is no order (NaN). */
static int number_order(const struct cel_value *a, const struct cel_value *b)
{
	if (a->kind == CEL_DOUBLE || b->kind == CEL_DOUBLE) {
		double x = a->kind == CEL_DOUBLE ? a->d
			   : a->kind == CEL_INT  ? (double)a->i
						 : (double)a->u;
		double y = b->kind == CEL_DOUBLE ? b->d
			   : b->kind == CEL_INT  ? (double)b->i
						 : (double)b->u;

		return isnan(x) || isnan(y) ? 2 : SIGN(x, y);
	}
	if (a->kind == b->kind)
		return a->kind == CEL_INT ? SIGN(a->i, b->i) : SIGN(a->u, b->u);
	if (a->kind == CEL_INT)
		return a->i < 0 ? -1 : SIGN((uint64_t)a->i, b->u);
	return b->i < 0 ? 1 : SIGN(a->u, (uint64_t)b->i);
}

static int text_order(const struct cel_value *a, const struct cel_value *b)
{
	size_t n = a->text.len < b->text.len ? a->text.len : b->text.len;
	int order = n ? memcmp(a->text.s, b->text.s, n) : 0;

	return order ? SIGN(order, 0) : SIGN(a->text.len, b->text.len);
}

int value_compare(struct run *r, const struct cel_value *a,
		  const struct cel_value *b, int *ret)
{
	if (is_number(a) && is_number(b)) {
		*ret = number_order(a, b);
		return 0;
	}
	if (a->kind != b->kind)
		return run_no_overload(r);
	switch ((enum cel_kind)a->kind) {
	case CEL_BOOL:
		*ret = SIGN(a->b, b->b);
		return 0;
	case CEL_STRING:
	case CEL_BYTES:
		*ret = text_order(a, b);
		return run_spend(r, a->text.len / 64);
	case CEL_DURATION:
		*ret = SIGN(a->i, b->i);
		return 0;
	case CEL_TIMESTAMP:
		*ret = a->time.s != b->time.s ? SIGN(a->time.s, b->time.s)
					      : SIGN(a->time.ns, b->time.ns);
		return 0;
	default:
		return run_no_overload(r);
	}
}

/* --- equality --- */

/* What tells the items of a list apart: they themselves, or their keys. */
static int same_key(struct run *r, const struct cel_value *a,
		    const struct cel_value *b, const char *const *keys)
{
	if (!keys || a->kind != CEL_MAP || b->kind != CEL_MAP)
		return value_equal(r, a, b);
	for (; *keys; keys++) {
		struct cel_value x, y;
		int e = value_field(r, a, *keys, &x);
		int f = e < 0 ? e : value_field(r, b, *keys, &y);

		if (f < 0)
			return f;
		if (e != f)
			return 0;
		if (e) {
			e = value_equal(r, &x, &y);
			if (e != 1)
				return e;
		}
	}
	return 1;
}

static bool is_set(struct run *r, const struct cel_value *v,
		   const char *const **ret_keys)
{
	*ret_keys = NULL;
	return v->json && v->in.shape && r->cel->env->shapes->is_set &&
	       r->cel->env->shapes->is_set(v->in.shape, ret_keys);
}

/* Lists whose order does not count: each has its like in the other. */
static int sets_equal(struct run *r, const struct cel_value *a,
		      const struct cel_value *b)
{
	struct walk x, y;
	int e, f = 1;

	walk_init(&x, a);
	while (f == 1 && (e = walk_next(r, &x)) > 0) {
		f = 0;
		walk_init(&y, b);
		while (f == 0 && (e = walk_next(r, &y)) > 0)
			f = value_equal(r, &x.value, &y.value);
		if (e < 0)
			return e;
	}
	return f;
}

static int lists_equal(struct run *r, const struct cel_value *a,
		       const struct cel_value *b)
{
	const char *const *keys;
	struct walk x, y;
	int e, f = 1;

	if (value_size(a) != value_size(b))
		return 0;
	if (is_set(r, a, &keys) && is_set(r, b, &keys))
		return sets_equal(r, a, b);
	walk_init(&x, a);
	walk_init(&y, b);
	while (f == 1 && (e = walk_next(r, &x)) > 0) {
		e = walk_next(r, &y);
		if (e < 0)
			return e;
		f = value_equal(r, &x.value, &y.value);
	}
	return f == 1 && e < 0 ? e : f;
}

static int maps_equal(struct run *r, const struct cel_value *a,
		      const struct cel_value *b)
{
	struct cel_value other;
	struct walk x;
	int e, f = 1;

	if (value_size(a) != value_size(b))
		return 0;
	walk_init(&x, a);
	while (f == 1 && (e = walk_next(r, &x)) > 0) {
		f = value_find(r, b, &x.key, &other);
		if (f == 1)
			f = value_equal(r, &x.value, &other);
	}
	return f == 1 && e < 0 ? e : f;
}

int value_equal(struct run *r, const struct cel_value *a,
		const struct cel_value *b)
{
	int order, e;

	if (is_number(a) && is_number(b))
		return number_order(a, b) == 0;
	if (a->kind != b->kind)
		return 0;
	switch ((enum cel_kind)a->kind) {
	case CEL_NULL:
		return 1;
	case CEL_LIST:
		return lists_equal(r, a, b);
	case CEL_MAP:
		return maps_equal(r, a, b);
	case CEL_TYPE:
		return a->type == b->type;
	case CEL_OPTIONAL:
		return a->opt && b->opt ? value_equal(r, a->opt, b->opt)
					: !a->opt == !b->opt;
	case CEL_QUANTITY:
		return a->nano == b->nano;
	case CEL_URL:
		return text_order(a, b) == 0;
	case CEL_IP:
	case CEL_CIDR:
		return a->ip->family == b->ip->family &&
		       a->ip->bits == b->ip->bits &&
		       memcmp(a->ip->bytes, b->ip->bytes,
			      sizeof(a->ip->bytes)) == 0;
	default:
		e = value_compare(r, a, b, &order);
		return e < 0 ? e : order == 0;
	}
}

int value_in(struct run *r, const struct cel_value *v,
	     const struct cel_value *list)
{
	struct cel_value found;
	struct walk w;
	int e, f;

	if (list->kind == CEL_MAP)
		return value_find(r, list, v, &found);
	if (list->kind != CEL_LIST)
		return run_no_overload(r);
	walk_init(&w, list);
	while ((e = walk_next(r, &w)) > 0) {
		f = value_equal(r, v, &w.value);
		if (f)
			return f;
	}
	return e;
}

/* --- sums --- */

static int overflow(struct run *r, const char *kind)
{
	return run_fail(r, "%s overflow", kind);
}

static int int_op(struct run *r, enum cel_op op, int64_t a, int64_t b,
		  struct cel_value *ret)
{
	bool over = false;

	ret->kind = CEL_INT;
	if ((op == OP_DIV || op == OP_MOD) && b == 0)
		return run_fail(r, op == OP_DIV ? "division by zero"
						: "modulus by zero");
	switch (op) {
	case OP_ADD:
		over = __builtin_add_overflow(a, b, &ret->i);
		break;
	case OP_SUB:
		over = __builtin_sub_overflow(a, b, &ret->i);
		break;
	case OP_MUL:
		over = __builtin_mul_overflow(a, b, &ret->i);
		break;
	default:
		over = a == INT64_MIN && b == -1;
		if (!over)
			ret->i = op == OP_DIV ? a / b : a % b;
	}
	return over ? overflow(r, "integer") : 0;
}

static int uint_op(struct run *r, enum cel_op op, uint64_t a, uint64_t b,
		   struct cel_value *ret)
{
	bool over = false;

	ret->kind = CEL_UINT;
	if ((op == OP_DIV || op == OP_MOD) && b == 0)
		return run_fail(r, op == OP_DIV ? "division by zero"
						: "modulus by zero");
	switch (op) {
	case OP_ADD:
		over = __builtin_add_overflow(a, b, &ret->u);
		break;
	case OP_SUB:
		over = __builtin_sub_overflow(a, b, &ret->u);
		break;
	case OP_MUL:
		over = __builtin_mul_overflow(a, b, &ret->u);
		break;
	default:
		ret->u = op == OP_DIV ? a / b : a % b;
	}
	return over ? overflow(r, "unsigned integer") : 0;
}

static int double_op(struct run *r, enum cel_op op, double a, double b,
		     struct cel_value *ret)
{
	if (op == OP_MOD)
		return run_no_overload(r);
	*ret = value_double(op == OP_ADD   ? a + b
			    : op == OP_SUB ? a - b
			    : op == OP_MUL ? a * b
					   : a / b);
	return 0;
}

static int text_add(struct run *r, const struct cel_value *a,
		    const struct cel_value *b, struct cel_value *ret)
{
	size_t len = a->text.len + b->text.len;
	char *both = run_get(r, len + 1);

	if (!both)
		return run_full(r);
	memcpy(both, a->text.s, a->text.len);
	memcpy(both + a->text.len, b->text.s, b->text.len);
	*ret = value_text(both, len);
	ret->kind = a->kind;
	return run_spend(r, len / 16);
}

/* Of sets, only what is not there yet is added; of maps, what has the key
 * of an item takes its place. */
static int list_add(struct run *r, const struct cel_value *a,
		    const struct cel_value *b, struct cel_value *ret)
{
	const char *const *keys;
	bool set = is_set(r, a, &keys);
	size_t nr = value_size(a);
	struct walk w;
	int e = value_new_list(r, nr + value_size(b), ret);

	if (e < 0)
		return e;
	ret->seq.nr = 0;
	walk_init(&w, a);
	while ((e = walk_next(r, &w)) > 0)
		ret->seq.v[ret->seq.nr++] = w.value;
	if (e == 0)
		walk_init(&w, b);
	while (e == 0 && (e = walk_next(r, &w)) > 0) {
		int f = 0;

		for (size_t i = 0; set && i < nr && f == 0; i++) {
			f = same_key(r, &ret->seq.v[i], &w.value, keys);
			if (f == 1)
				ret->seq.v[i] = w.value;
		}
		if (f < 0)
			return f;
		if (!f)
			ret->seq.v[ret->seq.nr++] = w.value;
		e = 0;
	}
	return e;
}

static int time_add(struct run *r, const struct cel_value *t, int64_t ns,
		    struct cel_value *ret)
{
	int64_t s = t->time.s + ns / 1000000000;
	int64_t rest = t->time.ns + ns % 1000000000;

	if (rest < 0) {
		rest += 1000000000;
		s--;
	}
	s += rest / 1000000000;
	/* Years 1 to 9999. */
	if (s < -62135596800 || s > 253402300799)
		return overflow(r, "timestamp");
	*ret = (struct cel_value){ .kind = CEL_TIMESTAMP };
	ret->time.s = s;
	ret->time.ns = (int32_t)(rest % 1000000000);
	return 0;
}

static int time_sub(struct run *r, const struct cel_value *a,
		    const struct cel_value *b, struct cel_value *ret)
{
	int64_t ns;

	if (__builtin_mul_overflow(a->time.s - b->time.s, 1000000000LL, &ns) ||
	    __builtin_add_overflow(ns, a->time.ns - b->time.ns, &ns))
		return overflow(r, "duration");
	*ret = (struct cel_value){ .kind = CEL_DURATION, .i = ns };
	return 0;
}

static int arithmetic(struct run *r, enum cel_op op, const struct cel_value *a,
		      const struct cel_value *b, struct cel_value *ret)
{
	bool add = op == OP_ADD, sub = op == OP_SUB;
	int64_t ns;

	if (a->kind == CEL_TIMESTAMP && b->kind == CEL_DURATION && (add || sub))
		return b->i == INT64_MIN
			       ? overflow(r, "duration")
			       : time_add(r, a, add ? b->i : -b->i, ret);
	if (a->kind == CEL_DURATION && b->kind == CEL_TIMESTAMP && add)
		return time_add(r, b, a->i, ret);
	if (a->kind != b->kind)
		return run_no_overload(r);
	switch ((enum cel_kind)a->kind) {
	case CEL_INT:
		return int_op(r, op, a->i, b->i, ret);
	case CEL_UINT:
		return uint_op(r, op, a->u, b->u, ret);
	case CEL_DOUBLE:
		return double_op(r, op, a->d, b->d, ret);
	case CEL_STRING:
	case CEL_BYTES:
		return add ? text_add(r, a, b, ret) : run_no_overload(r);
	case CEL_LIST:
		return add ? list_add(r, a, b, ret) : run_no_overload(r);
	case CEL_TIMESTAMP:
		return sub ? time_sub(r, a, b, ret) : run_no_overload(r);
	case CEL_DURATION:
		if (add ? __builtin_add_overflow(a->i, b->i, &ns)
			: __builtin_sub_overflow(a->i, b->i, &ns))
			return overflow(r, "duration");
		*ret = (struct cel_value){ .kind = CEL_DURATION, .i = ns };
		return add || sub ? 0 : run_no_overload(r);
	default:
		return run_no_overload(r);
	}
}

int value_binary(struct run *r, enum cel_op op, const struct cel_value *a,
		 const struct cel_value *b, struct cel_value *ret)
{
	int order, e;

	if (op <= OP_MOD)
		return arithmetic(r, op, a, b, ret);
	if (op == OP_EQ || op == OP_NE || op == OP_IN) {
		e = op == OP_IN ? value_in(r, a, b) : value_equal(r, a, b);
		*ret = value_bool((e == 1) != (op == OP_NE));
		return e < 0 ? e : 0;
	}
	e = value_compare(r, a, b, &order);
	if (e < 0)
		return e;
	*ret = value_bool(order != 2 && (op == OP_LT   ? order < 0
					 : op == OP_LE ? order <= 0
					 : op == OP_GT ? order > 0
						       : order >= 0));
	return 0;
}

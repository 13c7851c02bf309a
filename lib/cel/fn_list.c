// SPDX-License-Identifier: Apache-2.0
/* Lists, and lists as sets. */
#include "lib/cel/fn.h"

FN(is_sorted)
{
	struct cel_value last;
	struct walk w;
	int e, order;

	*ret = value_bool(true);
	walk_init(&w, a);
	while ((e = walk_next(r, &w)) > 0) {
		if (w.i > 1) {
			e = value_compare(r, &last, &w.value, &order);
			if (e < 0)
				return e;
			ret->b = ret->b && order <= 0;
		}
		last = w.value;
	}
	return e;
}

FN(sum)
{
	struct cel_value total;
	struct walk w;
	int e;

	*ret = value_int(0);
	walk_init(&w, a);
	while ((e = walk_next(r, &w)) > 0) {
		total = w.value;
		if (w.i > 1)
			e = value_binary(r, OP_ADD, ret, &w.value, &total);
		if (e < 0)
			return e;
		if (total.kind != CEL_INT && total.kind != CEL_UINT &&
		    total.kind != CEL_DOUBLE && total.kind != CEL_DURATION)
			return run_no_overload(r);
		*ret = total;
	}
	return e;
}

static int extreme(struct run *r, const struct cel_value *a, int sign,
		   struct cel_value *ret)
{
	struct walk w;
	int e, order;

	walk_init(&w, a);
	while ((e = walk_next(r, &w)) > 0) {
		order = sign;
		if (w.i > 1)
			e = value_compare(r, &w.value, ret, &order);
		if (e < 0)
			return e;
		if (order == sign)
			*ret = w.value;
	}
	if (e == 0 && !w.i)
		return run_fail(r, "%s called on empty list",
				sign < 0 ? "min" : "max");
	return e;
}

FN(min_of)
{
	return extreme(r, a, -1, ret);
}

FN(max_of)
{
	return extreme(r, a, 1, ret);
}

static int position(struct run *r, const struct cel_value *a, bool last,
		    struct cel_value *ret)
{
	struct walk w;
	int e, f;

	*ret = value_int(-1);
	walk_init(&w, a);
	while ((e = walk_next(r, &w)) > 0) {
		f = value_equal(r, &w.value, &a[1]);
		if (f < 0)
			return f;
		if (f)
			*ret = value_int((int64_t)w.i - 1);
		if (f && !last)
			return 0;
	}
	return e;
}

FN(index_of)
{
	return position(r, a, false, ret);
}

FN(last_index_of)
{
	return position(r, a, true, ret);
}

/* --- sets --- */

/* Whether all (or any) of @b are in @a: 1, 0, -errno. */
static int are_in(struct run *r, const struct cel_value *a,
		  const struct cel_value *b, bool any)
{
	struct walk w;
	int e, f;

	walk_init(&w, b);
	while ((e = walk_next(r, &w)) > 0) {
		f = value_in(r, &w.value, a);
		if (f < 0 || f == any)
			return f;
	}
	return e < 0 ? e : !any;
}

FN(sets_contains)
{
	int f = are_in(r, &a[0], &a[1], false);

	*ret = value_bool(f == 1);
	return f < 0 ? f : 0;
}

FN(sets_equivalent)
{
	int f = are_in(r, &a[0], &a[1], false);

	if (f == 1)
		f = are_in(r, &a[1], &a[0], false);
	*ret = value_bool(f == 1);
	return f < 0 ? f : 0;
}

FN(sets_intersects)
{
	int f = are_in(r, &a[0], &a[1], true);

	*ret = value_bool(f == 1);
	return f < 0 ? f : 0;
}

const struct cel_fn cel_fns_list[] = {
	{ "isSorted", "l.", 'b', is_sorted },
	{ "sum", "l.", '?', sum },
	{ "min", "l.", '?', min_of },
	{ "max", "l.", '?', max_of },
	{ "indexOf", "l.?", 'i', index_of },
	{ "lastIndexOf", "l.?", 'i', last_index_of },
	{ "sets.contains", "ll", 'b', sets_contains },
	{ "sets.equivalent", "ll", 'b', sets_equivalent },
	{ "sets.intersects", "ll", 'b', sets_intersects },
	{ 0 },
};

// SPDX-License-Identifier: Apache-2.0
/* Kubernetes' quantities, exact to a billionth. */
#include "lib/cel/fn.h"
#include "lib/str.h"

#define NANO 1000000000LL

static const struct {
	const char *name;
	int base, power; /* 10 ^ power or 1024 ^ power */
} suffixes[] = {
	{ "n", 10, -9 },   { "u", 10, -6 },   { "m", 10, -3 },
	{ "", 10, 0 },     { "k", 10, 3 },    { "M", 10, 6 },
	{ "G", 10, 9 },    { "T", 10, 12 },   { "P", 10, 15 },
	{ "E", 10, 18 },   { "Ki", 1024, 1 }, { "Mi", 1024, 2 },
	{ "Gi", 1024, 3 }, { "Ti", 1024, 4 }, { "Pi", 1024, 5 },
	{ "Ei", 1024, 6 },
};

static bool scale(__int128 *v, int base, int power)
{
	for (; power > 0; power--)
		if (__builtin_mul_overflow(*v, (__int128)base, v))
			return false;
	for (; power < 0; power++)
		*v /= base;
	return true;
}

/* "e3", "E-3" or a suffix. */
static bool suffix(const char *s, size_t len, int *ret_base, int *ret_power)
{
	if (len > 1 && (*s == 'e' || *s == 'E') && !str_eq(s, "Ei")) {
		bool minus = s[1] == '-';
		size_t i = s[1] == '-' || s[1] == '+' ? 2 : 1;

		*ret_base = 10;
		*ret_power = 0;
		if (i == len)
			return false;
		for (; i < len; i++) {
			if (s[i] < '0' || s[i] > '9' || *ret_power > 30)
				return false;
			*ret_power = 10 * *ret_power + s[i] - '0';
		}
		if (minus)
			*ret_power = -*ret_power;
		return true;
	}
	for (size_t i = 0; i < ARRAY_LEN(suffixes); i++) {
		if (strlen(suffixes[i].name) == len &&
		    memcmp(suffixes[i].name, s, len) == 0) {
			*ret_base = suffixes[i].base;
			*ret_power = suffixes[i].power;
			return true;
		}
	}
	return false;
}

static bool parse(const struct cel_value *v, __int128 *ret)
{
	const char *s = v->text.s, *end = s + v->text.len, *p = s;
	bool minus = p < end && *p == '-', any = false;
	int base, power, decimals = 0;
	__int128 n = 0;

	p += p < end && (*p == '-' || *p == '+');
	for (bool dot = false; p < end; p++) {
		if (*p == '.' && !dot) {
			dot = true;
			continue;
		}
		if (*p < '0' || *p > '9')
			break;
		any = true;
		/* What is beyond a billionth is not seen. */
		if (dot && decimals == 27)
			continue;
		decimals += dot;
		if (__builtin_mul_overflow(n, (__int128)10, &n) ||
		    __builtin_add_overflow(n, (__int128)(*p - '0'), &n))
			return false;
	}
	if (!any || !suffix(p, end - p, &base, &power))
		return false;
	/* First up, then down, so that nothing is cut off on the way. */
	while (decimals > 9 && n % 10 == 0) {
		n /= 10;
		decimals--;
	}
	if (power < 0 ? !scale(&n, 10, 9) || !scale(&n, base, power)
		      : !scale(&n, base, power) || !scale(&n, 10, 9))
		return false;
	scale(&n, 10, -decimals);
	*ret = minus ? -n : n;
	return true;
}

FN(quantity)
{
	*ret = (struct cel_value){ .kind = CEL_QUANTITY };
	if (parse(a, &ret->nano))
		return 0;
	return run_fail(r, "quantities must match the regular expression "
			   "'^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'");
}

FN(is_quantity)
{
	__int128 nano;

	*ret = value_bool(parse(a, &nano));
	return 0;
}

FN(sign)
{
	*ret = value_int((a->nano > 0) - (a->nano < 0));
	return 0;
}

static bool whole(__int128 nano)
{
	return nano % NANO == 0 && nano / NANO <= INT64_MAX &&
	       nano / NANO >= INT64_MIN;
}

FN(is_integer)
{
	*ret = value_bool(whole(a->nano));
	return 0;
}

FN(as_integer)
{
	if (!whole(a->nano))
		return run_fail(r, "cannot convert value to integer");
	*ret = value_int((int64_t)(a->nano / NANO));
	return 0;
}

FN(as_float)
{
	*ret = value_double((double)a->nano / NANO);
	return 0;
}

FN(is_greater)
{
	*ret = value_bool(a[0].nano > a[1].nano);
	return 0;
}

FN(is_less)
{
	*ret = value_bool(a[0].nano < a[1].nano);
	return 0;
}

FN(compare_to)
{
	*ret = value_int((a[0].nano > a[1].nano) - (a[0].nano < a[1].nano));
	return 0;
}

static __int128 amount(const struct cel_value *v)
{
	return v->kind == CEL_INT ? (__int128)v->i * NANO : v->nano;
}

FN(add)
{
	*ret = (struct cel_value){ .kind = CEL_QUANTITY };
	return __builtin_add_overflow(a[0].nano, amount(&a[1]), &ret->nano)
		       ? run_fail(r, "quantity overflow")
		       : 0;
}

FN(sub)
{
	*ret = (struct cel_value){ .kind = CEL_QUANTITY };
	return __builtin_sub_overflow(a[0].nano, amount(&a[1]), &ret->nano)
		       ? run_fail(r, "quantity overflow")
		       : 0;
}

const struct cel_fn cel_fns_quantity[] = {
	{ "quantity", "s", 'q', quantity },
	{ "isQuantity", "s", 'b', is_quantity },
	{ "sign", "q.", 'i', sign },
	{ "isInteger", "q.", 'b', is_integer },
	{ "asInteger", "q.", 'i', as_integer },
	{ "asApproximateFloat", "q.", 'd', as_float },
	{ "isGreaterThan", "q.q", 'b', is_greater },
	{ "isLessThan", "q.q", 'b', is_less },
	{ "compareTo", "q.q", 'i', compare_to },
	{ "add", "q.q", 'q', add },
	{ "add", "q.i", 'q', add },
	{ "sub", "q.q", 'q', sub },
	{ "sub", "q.i", 'q', sub },
	{ 0 },
};

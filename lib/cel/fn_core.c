// SPDX-License-Identifier: Apache-2.0
/* Sizes, conversions between kinds, and optional values. */
#include <errno.h>
#include <math.h>
#include <stdio.h>

#include "lib/cel/fn.h"

size_t cel_utf8_next(const char *s, size_t len)
{
	size_t n = 1;

	while (n < len && n < 4 && ((unsigned char)s[n] & 0xc0) == 0x80)
		n++;
	return n;
}

size_t cel_utf8_length(const char *s, size_t len)
{
	size_t n = 0;

	for (size_t i = 0; i < len; i++)
		n += ((unsigned char)s[i] & 0xc0) != 0x80;
	return n;
}

FN(size_of)
{
	*ret = value_int(a->kind == CEL_STRING
				 ? cel_utf8_length(a->text.s, a->text.len)
			 : a->kind == CEL_BYTES ? a->text.len
						: value_size(a));
	return a->kind == CEL_STRING ? run_spend(r, a->text.len / 64) : 0;
}

FN(type_of)
{
	ret->kind = CEL_TYPE;
	ret->json = false;
	ret->type = a->kind;
	return 0;
}

FN(same)
{
	*ret = a[0];
	return 0;
}

/* --- numbers --- */

static bool plain_text(const struct cel_value *v, char *out, size_t size)
{
	if (v->text.len >= size || memchr(v->text.s, '\0', v->text.len) ||
	    !v->text.len || strchr(" \t\n\r\f\v", v->text.s[0]))
		return false;
	memcpy(out, v->text.s, v->text.len);
	out[v->text.len] = '\0';
	return true;
}

FN(int_of)
{
	char text[32], *end;

	ret->kind = CEL_INT;
	ret->json = false;
	switch ((enum cel_kind)a->kind) {
	case CEL_UINT:
		if (a->u > INT64_MAX)
			return run_fail(r, "integer overflow");
		ret->i = (int64_t)a->u;
		return 0;
	case CEL_DOUBLE:
		if (!(a->d > -9223372036854775808.0 &&
		      a->d < 9223372036854775808.0))
			return run_fail(r, "integer overflow");
		ret->i = (int64_t)a->d;
		return 0;
	case CEL_TIMESTAMP:
		ret->i = a->time.s;
		return 0;
	default:
		errno = 0;
		if (!plain_text(a, text, sizeof(text)))
			return run_fail(r, "invalid integer");
		ret->i = strtoll(text, &end, 10);
		return errno || *end ? run_fail(r, "invalid integer '%s'", text)
				     : 0;
	}
}

FN(uint_of)
{
	char text[32], *end;

	ret->kind = CEL_UINT;
	ret->json = false;
	switch ((enum cel_kind)a->kind) {
	case CEL_INT:
		if (a->i < 0)
			return run_fail(r, "unsigned integer overflow");
		ret->u = (uint64_t)a->i;
		return 0;
	case CEL_DOUBLE:
		if (!(a->d > -1 && a->d < 18446744073709551616.0))
			return run_fail(r, "unsigned integer overflow");
		ret->u = (uint64_t)a->d;
		return 0;
	default:
		errno = 0;
		if (!plain_text(a, text, sizeof(text)) || *text == '-')
			return run_fail(r, "invalid unsigned integer");
		ret->u = strtoull(text, &end, 10);
		return errno || *end ? run_fail(r,
						"invalid unsigned integer "
						"'%s'",
						text)
				     : 0;
	}
}

FN(double_of)
{
	char text[64], *end;

	if (a->kind == CEL_INT || a->kind == CEL_UINT) {
		*ret = value_double(a->kind == CEL_INT ? (double)a->i
						       : (double)a->u);
		return 0;
	}
	if (!plain_text(a, text, sizeof(text)))
		return run_fail(r, "invalid double");
	*ret = value_double(strtod(text, &end));
	return *end ? run_fail(r, "invalid double '%s'", text) : 0;
}

FN(bool_of)
{
	static const char *const words[2][5] = {
		{ "false", "False", "FALSE", "f", "0" },
		{ "true", "True", "TRUE", "t", "1" },
	};
	char text[8];

	if (plain_text(a, text, sizeof(text))) {
		for (int i = 0; i < 10; i++) {
			if (strcmp(words[i / 5][i % 5], text) == 0) {
				*ret = value_bool(i / 5);
				return 0;
			}
		}
	}
	return run_fail(r, "invalid boolean");
}

/* --- text --- */

void cel_double_format(double d, struct buf *b)
{
	char text[40];

	if (isnan(d) || isinf(d)) {
		buf_puts(b, isnan(d) ? "NaN" : d > 0 ? "+Inf" : "-Inf");
		return;
	}
	/* As few digits as tell it from every other. */
	for (int digits = 1; digits <= 17; digits++) {
		snprintf(text, sizeof(text), "%.*g", digits, d);
		if (strtod(text, NULL) == d)
			break;
	}
	buf_puts(b, text);
}

static bool is_utf8(const char *s, size_t len)
{
	for (size_t i = 0, n; i < len; i += n) {
		unsigned char c = (unsigned char)s[i];

		n = cel_utf8_next(s + i, len - i);
		if (n != (c < 0x80   ? 1U
			  : c < 0xc2 ? 0U
			  : c < 0xe0 ? 2U
			  : c < 0xf0 ? 3U
			  : c < 0xf5 ? 4U
				     : 0U))
			return false;
	}
	return true;
}

FN(string_of)
{
	auto_buf struct buf b = BUF_INIT;

	switch ((enum cel_kind)a->kind) {
	case CEL_BOOL:
		buf_puts(&b, a->b ? "true" : "false");
		break;
	case CEL_INT:
		buf_printf(&b, "%lld", (long long)a->i);
		break;
	case CEL_UINT:
		buf_printf(&b, "%llu", (unsigned long long)a->u);
		break;
	case CEL_DOUBLE:
		cel_double_format(a->d, &b);
		break;
	case CEL_BYTES:
		if (!is_utf8(a->text.s, a->text.len))
			return run_fail(r, "invalid UTF-8 in bytes, cannot "
					   "convert to string");
		buf_add(&b, a->text.s, a->text.len);
		break;
	case CEL_TIMESTAMP:
		cel_time_format(a->time.s, a->time.ns, &b);
		break;
	case CEL_DURATION:
		cel_duration_format(a->i, &b);
		break;
	default:
		cel_ip_format(a->ip, a->kind == CEL_CIDR, &b);
	}
	return value_copy_text(r, buf_str(&b), b.len, ret);
}

FN(bytes_of)
{
	*ret = a[0];
	ret->kind = CEL_BYTES;
	return 0;
}

/* --- optional values --- */

FN(opt_none)
{
	*ret = (struct cel_value){ .kind = CEL_OPTIONAL };
	return 0;
}

FN(opt_of)
{
	struct cel_value *opt = run_get(r, sizeof(*opt));

	if (!opt)
		return run_full(r);
	*opt = a[0];
	*ret = (struct cel_value){ .kind = CEL_OPTIONAL, .opt = opt };
	return 0;
}

FN(opt_of_non_zero)
{
	return value_is_zero(a) ? opt_none(r, a, nr, ret)
				: opt_of(r, a, nr, ret);
}

FN(opt_has)
{
	*ret = value_bool(a->opt);
	return 0;
}

FN(opt_value)
{
	if (!a->opt)
		return run_fail(r, "optional.none() dereference");
	*ret = *a->opt;
	return 0;
}

FN(opt_or_value)
{
	*ret = a->opt ? *a->opt : a[1];
	return 0;
}

FN(opt_or)
{
	*ret = a->opt ? a[0] : a[1];
	return 0;
}

const struct cel_fn cel_fns_core[] = {
	{ "size", "s", 'i', size_of },
	{ "size", "y", 'i', size_of },
	{ "size", "l", 'i', size_of },
	{ "size", "m", 'i', size_of },
	{ "size", "s.", 'i', size_of },
	{ "size", "y.", 'i', size_of },
	{ "size", "l.", 'i', size_of },
	{ "size", "m.", 'i', size_of },
	{ "type", "?", 'T', type_of },
	{ "dyn", "?", '?', same },
	{ "int", "i", 'i', same },
	{ "int", "u", 'i', int_of },
	{ "int", "d", 'i', int_of },
	{ "int", "s", 'i', int_of },
	{ "int", "t", 'i', int_of },
	{ "uint", "u", 'u', same },
	{ "uint", "i", 'u', uint_of },
	{ "uint", "d", 'u', uint_of },
	{ "uint", "s", 'u', uint_of },
	{ "double", "d", 'd', same },
	{ "double", "i", 'd', double_of },
	{ "double", "u", 'd', double_of },
	{ "double", "s", 'd', double_of },
	{ "bool", "b", 'b', same },
	{ "bool", "s", 'b', bool_of },
	{ "string", "s", 's', same },
	{ "string", "b", 's', string_of },
	{ "string", "i", 's', string_of },
	{ "string", "u", 's', string_of },
	{ "string", "d", 's', string_of },
	{ "string", "y", 's', string_of },
	{ "string", "t", 's', string_of },
	{ "string", "D", 's', string_of },
	{ "string", "I", 's', string_of },
	{ "string", "C", 's', string_of },
	{ "bytes", "y", 'y', same },
	{ "bytes", "s", 'y', bytes_of },
	{ "optional.none", "", 'o', opt_none },
	{ "optional.of", "?", 'o', opt_of },
	{ "optional.ofNonZeroValue", "?", 'o', opt_of_non_zero },
	{ "hasValue", "o.", 'b', opt_has },
	{ "value", "o.", '?', opt_value },
	{ "orValue", "o.?", '?', opt_or_value },
	{ "or", "o.o", 'o', opt_or },
	{ 0 },
};

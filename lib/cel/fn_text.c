// SPDX-License-Identifier: Apache-2.0
/* Text. Positions count characters, not bytes. */
#include <ctype.h>

#include "lib/cel/fn.h"

/* --- questions --- */

static bool same_at(const struct cel_value *v, size_t at,
		    const struct cel_value *what)
{
	return v->text.len - at >= what->text.len &&
	       memcmp(v->text.s + at, what->text.s, what->text.len) == 0;
}

FN(starts_with)
{
	*ret = value_bool(same_at(&a[0], 0, &a[1]));
	return 0;
}

FN(ends_with)
{
	size_t n = a[0].text.len, m = a[1].text.len;

	*ret = value_bool(n >= m && same_at(&a[0], n - m, &a[1]));
	return 0;
}

FN(contains)
{
	*ret = value_bool(!a[1].text.len || memmem(a[0].text.s, a[0].text.len,
						   a[1].text.s, a[1].text.len));
	return run_spend(r, a[0].text.len / 16);
}

FN(matches)
{
	struct re *re = r->re;
	auto_free struct re *own = NULL;
	uint64_t all = 10000000, left = r->budget ? *r->budget : all,
		 had = left;
	struct err e = { 0 };
	int found;

	if (!re) {
		/* A pattern that is only known now. */
		const char *text =
			cel_pool_text(&r->pool, a[1].text.s, a[1].text.len);

		if (!text)
			return run_full(r);
		if (re_compile(text, &own, &e) < 0)
			return run_fail(r, "%.200s", e.msg);
		re = own;
	}
	found = re_match(re, a[0].text.s, a[0].text.len, &left);
	*ret = value_bool(found == 1);
	return run_spend(r, found < 0 ? had + 1 : had - left);
}

/* --- parts --- */

/* The byte at which character @i begins, or -1. */
static ssize_t offset_of(const struct cel_value *v, int64_t i)
{
	size_t at = 0;

	if (i < 0)
		return -1;
	while (i-- > 0) {
		if (at >= v->text.len)
			return -1;
		at += cel_utf8_next(v->text.s + at, v->text.len - at);
	}
	return (ssize_t)at;
}

static int out_of_range(struct run *r, int64_t i)
{
	return run_fail(r, "index out of range: %lld", (long long)i);
}

FN(char_at)
{
	ssize_t at = offset_of(&a[0], a[1].i);
	size_t left;

	if (at < 0)
		return out_of_range(r, a[1].i);
	left = a[0].text.len - at;
	*ret = value_text(a[0].text.s + at,
			  left ? cel_utf8_next(a[0].text.s + at, left) : 0);
	return run_spend(r, at / 16);
}

FN(substring)
{
	ssize_t from = offset_of(&a[0], a[1].i);
	ssize_t to = nr > 2 ? offset_of(&a[0], a[2].i) : (ssize_t)a[0].text.len;

	if (from < 0 || to < 0)
		return out_of_range(r, from < 0 ? a[1].i : a[2].i);
	if (from > to)
		return run_fail(r,
				"invalid substring range. start: %lld, end: "
				"%lld",
				(long long)a[1].i, (long long)a[2].i);
	*ret = value_text(a[0].text.s + from, to - from);
	return run_spend(r, to / 16);
}

FN(index_of)
{
	ssize_t at = nr > 2 ? offset_of(&a[0], a[2].i) : 0;
	const char *found;

	if (at < 0)
		return out_of_range(r, a[2].i);
	found = memmem(a[0].text.s + at, a[0].text.len - at, a[1].text.s,
		       a[1].text.len);
	*ret = value_int(found ? (int64_t)cel_utf8_length(a[0].text.s,
							  found - a[0].text.s)
			       : -1);
	return run_spend(r, a[0].text.len / 16);
}

FN(last_index_of)
{
	ssize_t at = nr > 2 ? offset_of(&a[0], a[2].i) : (ssize_t)a[0].text.len;

	if (at < 0)
		return out_of_range(r, a[2].i);
	while (at >= 0 && !same_at(&a[0], at, &a[1]))
		at--;
	*ret = value_int(at < 0 ? -1
				: (int64_t)cel_utf8_length(a[0].text.s, at));
	return run_spend(r, a[0].text.len);
}

/* --- other text --- */

static int change_case(struct run *r, const struct cel_value *a,
		       struct cel_value *ret, bool upper)
{
	char *s;
	int e = value_copy_text(r, a->text.s, a->text.len, ret);

	if (e < 0)
		return e;
	s = (char *)ret->text.s;
	for (size_t i = 0; i < ret->text.len; i++)
		if ((unsigned char)s[i] < 0x80)
			s[i] = (char)(upper ? toupper(s[i]) : tolower(s[i]));
	return 0;
}

FN(lower_ascii)
{
	return change_case(r, a, ret, false);
}

FN(upper_ascii)
{
	return change_case(r, a, ret, true);
}

FN(trim)
{
	const char *s = a->text.s, *end = s + a->text.len;

	while (s < end && isspace((unsigned char)*s))
		s++;
	while (end > s && isspace((unsigned char)end[-1]))
		end--;
	*ret = value_text(s, end - s);
	return 0;
}

FN(reverse)
{
	char *out = run_get(r, a->text.len + 1);
	size_t n, len = a->text.len;

	if (!out)
		return run_full(r);
	for (size_t i = 0; i < len; i += n) {
		n = cel_utf8_next(a->text.s + i, len - i);
		memcpy(out + len - i - n, a->text.s + i, n);
	}
	*ret = value_text(out, len);
	return run_spend(r, len / 16);
}

/* How often @what is in @v, at most @limit times; -1: without limit. An empty
 * one is between all characters. */
static size_t count(const struct cel_value *v, const struct cel_value *what,
		    int64_t limit)
{
	const char *p = v->text.s, *end = p + v->text.len;
	size_t n = 0;

	if (!what->text.len)
		n = cel_utf8_length(p, v->text.len) + 1;
	else
		while ((p = memmem(p, end - p, what->text.s, what->text.len)))
			n++, p += what->text.len;
	return limit >= 0 && n > (size_t)limit ? (size_t)limit : n;
}

FN(replace)
{
	size_t n = count(&a[0], &a[1], nr > 3 ? a[3].i : -1);
	size_t len = a[0].text.len + n * a[2].text.len;
	const char *p = a[0].text.s, *end = p + a[0].text.len;
	char *out, *o;

	out = o = run_get(r, len + 1);
	if (!out)
		return run_full(r);
	for (; n; n--) {
		const char *at = memmem(p, end - p, a[1].text.s, a[1].text.len);

		memcpy(o, p, at - p);
		o += at - p;
		memcpy(o, a[2].text.s, a[2].text.len);
		o += a[2].text.len;
		p = at + a[1].text.len;
		if (!a[1].text.len && p < end) {
			size_t c = cel_utf8_next(p, end - p);

			memcpy(o, p, c);
			o += c;
			p += c;
		}
	}
	memcpy(o, p, end - p);
	*ret = value_text(out, o + (end - p) - out);
	return run_spend(r, len / 16);
}

FN(split)
{
	int64_t limit = nr > 2 ? a[2].i : -1;
	size_t n = count(&a[0], &a[1], limit > 0 ? limit - 1 : -1), i;
	const char *p = a[0].text.s, *end = p + a[0].text.len;
	int e;

	if (!a[1].text.len)
		n = n > 1 ? n - (limit > 0 && n < (size_t)limit ? 1 : 2) : 0;
	if (!a[1].text.len && limit > 0 && n >= (size_t)limit)
		n = limit - 1;
	e = value_new_list(r, limit == 0 ? 0 : n + 1, ret);
	if (e < 0 || limit == 0)
		return e;
	for (i = 0; i < n; i++) {
		const char *at = a[1].text.len ? memmem(p, end - p, a[1].text.s,
							a[1].text.len)
					       : p + cel_utf8_next(p, end - p);

		ret->seq.v[i] = value_text(p, at - p);
		p = at + a[1].text.len;
	}
	ret->seq.v[i] = value_text(p, end - p);
	if (!a[1].text.len && !a[0].text.len)
		ret->seq.nr = 0;
	return run_spend(r, a[0].text.len / 16 + n);
}

FN(join)
{
	struct cel_text sep = { "", 0 };
	auto_buf struct buf b = { .max = CEL_MEM_MAX };
	struct walk w;
	int e;

	if (nr > 1)
		sep = a[1].text;
	walk_init(&w, &a[0]);
	while ((e = walk_next(r, &w)) > 0) {
		if (w.value.kind != CEL_STRING)
			return run_no_overload(r);
		if (w.i > 1)
			buf_add(&b, sep.s, sep.len);
		buf_add(&b, w.value.text.s, w.value.text.len);
	}
	if (e == 0 && buf_error(&b))
		return run_full(r);
	return e < 0 ? e : value_copy_text(r, buf_str(&b), b.len, ret);
}

FN(quote)
{
	auto_buf struct buf b = { .max = CEL_MEM_MAX };

	buf_putc(&b, '"');
	for (size_t i = 0; i < a->text.len; i++) {
		static const char from[] = "\a\b\f\n\r\t\v\\\"";
		char c = a->text.s[i];
		const char *found = c ? strchr(from, c) : NULL;

		if (found)
			buf_putc(&b, '\\');
		buf_putc(&b, found ? "abfnrtv\\\""[found - from] : c);
	}
	buf_putc(&b, '"');
	return buf_error(&b) ? run_full(r)
			     : value_copy_text(r, buf_str(&b), b.len, ret);
}

const struct cel_fn cel_fns_text[] = {
	{ "startsWith", "s.s", 'b', starts_with },
	{ "endsWith", "s.s", 'b', ends_with },
	{ "contains", "s.s", 'b', contains },
	{ "matches", "s.s", 'b', matches },
	{ "matches", "ss", 'b', matches },
	{ "charAt", "s.i", 's', char_at },
	{ "substring", "s.i", 's', substring },
	{ "substring", "s.ii", 's', substring },
	{ "indexOf", "s.s", 'i', index_of },
	{ "indexOf", "s.si", 'i', index_of },
	{ "lastIndexOf", "s.s", 'i', last_index_of },
	{ "lastIndexOf", "s.si", 'i', last_index_of },
	{ "lowerAscii", "s.", 's', lower_ascii },
	{ "upperAscii", "s.", 's', upper_ascii },
	{ "trim", "s.", 's', trim },
	{ "reverse", "s.", 's', reverse },
	{ "replace", "s.ss", 's', replace },
	{ "replace", "s.ssi", 's', replace },
	{ "split", "s.s", 'l', split },
	{ "split", "s.si", 'l', split },
	{ "join", "l.", 's', join },
	{ "join", "l.s", 's', join },
	{ "strings.quote", "s", 's', quote },
	{ 0 },
};

// SPDX-License-Identifier: Apache-2.0
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "lib/err.h"
#include "lib/quantity.h"

/* A non-negative decimal number: digits, most significant first, of which the
 * first @point stand before the point (which may lie outside the digits). Room
 * for a longest text, doubled 60 times (19 digits more). */
struct decimal {
	unsigned char digit[QUANTITY_LEN_MAX + 24];
	int nr;
	int point;
};

static int bad(const char *text, struct err *e)
{
	return err_set(e, -EINVAL,
		       "'%.64s' is not a quantity: write a number and a suffix,"
		       " like 100m, 1.5, 64Mi or 2Gi",
		       text);
}

static void decimal_double(struct decimal *d)
{
	int carry = 0;

	for (int i = d->nr - 1; i >= 0; i--) {
		int v = d->digit[i] * 2 + carry;

		d->digit[i] = (unsigned char)(v % 10);
		carry = v / 10;
	}
	if (!carry)
		return;
	memmove(d->digit + 1, d->digit, (size_t)d->nr);
	d->digit[0] = 1;
	d->nr++;
	d->point++;
}

/* The whole number not below @d; -ERANGE beyond INT64_MAX. */
static int decimal_ceil(const struct decimal *d, uint64_t *ret)
{
	uint64_t v = 0;

	for (int i = 0; i < d->point; i++) {
		uint64_t digit = i < d->nr ? d->digit[i] : 0;

		if (__builtin_mul_overflow(v, (uint64_t)10, &v) ||
		    __builtin_add_overflow(v, digit, &v))
			return -ERANGE;
		if (v == 0 && i >= d->nr)
			break; /* 0e999 */
	}
	for (int i = d->point < 0 ? 0 : d->point; i < d->nr; i++) {
		if (d->digit[i] && __builtin_add_overflow(v, 1u, &v))
			return -ERANGE;
		if (d->digit[i])
			break;
	}
	if (v > INT64_MAX)
		return -ERANGE;
	*ret = v;
	return 0;
}

/* Digits with at most one point; returns what follows, or NULL. */
static const char *parse_digits(const char *s, struct decimal *d)
{
	bool point = false;
	int seen = 0;

	for (; isdigit((unsigned char)*s) || (*s == '.' && !point); s++) {
		if (*s == '.') {
			point = true;
			continue;
		}
		seen++;
		if (!point)
			d->point++;
		d->digit[d->nr++] = (unsigned char)(*s - '0');
	}
	return seen ? s : NULL;
}

/* "e3", "E-6": -EINVAL unless the whole of @s is that. */
static int parse_exponent(const char *s, int *ret)
{
	bool minus = *++s == '-';
	int v = 0;

	s += *s == '-' || *s == '+';
	if (!*s)
		return -EINVAL;
	for (; *s; s++) {
		if (!isdigit((unsigned char)*s))
			return -EINVAL;
		if (v < 10000) /* beyond any quantity already */
			v = v * 10 + (*s - '0');
	}
	*ret = minus ? -v : v;
	return 0;
}

/* The power of ten and of two that @suffix stands for. */
static int parse_suffix(const char *s, int *ret_ten, int *ret_two)
{
	static const char decimal[] = "num\0kMGTPE";
	static const char binary[] = "KMGTPE";
	const char *at;

	*ret_ten = *ret_two = 0;
	if (!*s)
		return 0;
	if (s[1] == 'i' && !s[2]) {
		at = strchr(binary, s[0]);
		if (!at)
			return -EINVAL;
		*ret_two = 10 * (int)(at - binary + 1);
		return 0;
	}
	if (!s[1]) {
		at = memchr(decimal, s[0], sizeof(decimal) - 1);
		if (!at)
			return -EINVAL;
		*ret_ten = 3 * (int)(at - decimal - 3);
		return 0;
	}
	if (s[0] != 'e' && s[0] != 'E')
		return -EINVAL;
	return parse_exponent(s, ret_ten);
}

/* @scale: the power of ten to multiply with. */
static int parse(const char *text, int scale, uint64_t *ret, struct err *e)
{
	struct decimal d = { .nr = 0 };
	const char *s = text;
	int ten, two, r;

	if (strlen(text) > QUANTITY_LEN_MAX)
		return bad(text, e);
	s += *s == '-' || *s == '+';
	s = parse_digits(s, &d);
	if (!s || parse_suffix(s, &ten, &two) < 0)
		return bad(text, e);
	for (int i = 0; i < two; i++)
		decimal_double(&d);
	d.point += ten + scale;
	r = decimal_ceil(&d, ret);
	if (r < 0)
		return err_set(e, r, "'%s' is too large a quantity", text);
	if (text[0] == '-' && *ret)
		return err_set(e, -EINVAL, "'%s' must not be negative", text);
	return 0;
}

int quantity_parse_cpu(const char *text, uint64_t *ret_milli, struct err *e)
{
	uint64_t v;
	int r = parse(text, 3, &v, e);

	if (r == 0)
		*ret_milli = v;
	return r;
}

int quantity_parse_mem(const char *text, uint64_t *ret_bytes, struct err *e)
{
	uint64_t v;
	int r = parse(text, 0, &v, e);

	if (r == 0)
		*ret_bytes = v;
	return r;
}

const char *quantity_format_cpu(uint64_t milli, char buf[QUANTITY_TEXT_SIZE])
{
	static const char suffix[] = "m\0kMGTPE";
	size_t i = 0;

	while (milli && milli % 1000 == 0) {
		milli /= 1000;
		i++;
	}
	if (!milli)
		i = 1;
	snprintf(buf, QUANTITY_TEXT_SIZE, "%" PRIu64 "%.1s", milli, suffix + i);
	return buf;
}

const char *quantity_format_mem(uint64_t bytes, char buf[QUANTITY_TEXT_SIZE])
{
	static const char suffix[] = "KMGTPE";
	int i = -1;

	while (bytes && bytes % 1024 == 0) {
		bytes /= 1024;
		i++;
	}
	if (i < 0)
		snprintf(buf, QUANTITY_TEXT_SIZE, "%" PRIu64, bytes);
	else
		snprintf(buf, QUANTITY_TEXT_SIZE, "%" PRIu64 "%ci", bytes,
			 suffix[i]);
	return buf;
}

const char *quantity_format_human(uint64_t bytes, char buf[QUANTITY_TEXT_SIZE])
{
	static const char suffix[] = "KMGTPE";
	uint64_t unit = 1024, tenths;
	int i = 0;

	if (bytes < 1024) {
		snprintf(buf, QUANTITY_TEXT_SIZE, "%" PRIu64, bytes);
		return buf;
	}
	while (i < 5 && bytes / unit >= 1024) {
		unit *= 1024;
		i++;
	}
	/* Rounded down, so that nothing is shown as more than it is. */
	tenths = bytes % unit / (unit / 1024) * 10 / 1024;
	if (bytes / unit >= 100 || !tenths)
		snprintf(buf, QUANTITY_TEXT_SIZE, "%" PRIu64 "%ci",
			 bytes / unit, suffix[i]);
	else
		snprintf(buf, QUANTITY_TEXT_SIZE, "%" PRIu64 ".%" PRIu64 "%ci",
			 bytes / unit, tenths, suffix[i]);
	return buf;
}

// SPDX-License-Identifier: Apache-2.0
/* What plain scalars mean to Kubernetes' tools: YAML 1.1 as their Go library
 * reads it, which is neither the whole of 1.1 nor 1.2. */
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/internal.h"
#include "lib/str.h"

#define NUMBER_MAX 128 /* longer texts are strings */
#define TAG        "tag:yaml.org,2002:"

enum meaning {
	MEANS_STR,
	MEANS_NULL,
	MEANS_BOOL,
	MEANS_UINT,
	MEANS_INT, /* negative */
	MEANS_FLOAT,
	MEANS_NAN, /* or infinite */
};

struct value {
	enum meaning means;
	bool flag;
	uint64_t u;
	int64_t i;
	double d;
};

static bool any_of(const char *s, const char *const *words)
{
	for (; *words; words++)
		if (strcmp(s, *words) == 0)
			return true;
	return false;
}

static bool read_word(const char *s, struct value *v)
{
	static const char *const nulls[] = { "",     "~",    "null",
					     "Null", "NULL", NULL };
	static const char *const yes[] = { "y",   "Y",    "yes",  "Yes",
					   "YES", "true", "True", "TRUE",
					   "on",  "On",   "ON",   NULL };
	static const char *const no[] = { "n",   "N",     "no",    "No",
					  "NO",  "false", "False", "FALSE",
					  "off", "Off",   "OFF",   NULL };
	static const char *const nan[] = { ".nan",  ".NaN",  ".NAN",  ".inf",
					   ".Inf",  ".INF",  "+.inf", "+.Inf",
					   "+.INF", "-.inf", "-.Inf", "-.INF",
					   NULL };

	v->flag = any_of(s, yes);
	if (any_of(s, nulls))
		v->means = MEANS_NULL;
	else if (v->flag || any_of(s, no))
		v->means = MEANS_BOOL;
	else if (any_of(s, nan))
		v->means = MEANS_NAN;
	else
		return false;
	return true;
}

/* The digits of @s in @base, all of them. */
static bool read_digits(const char *s, unsigned base, uint64_t *ret)
{
	uint64_t v = 0;

	if (!*s)
		return false;
	for (; *s; s++) {
		unsigned c = (unsigned char)*s;
		unsigned digit = c >= '0' && c <= '9'   ? c - '0'
				 : c >= 'a' && c <= 'f' ? c - 'a' + 10
				 : c >= 'A' && c <= 'F' ? c - 'A' + 10
							: 99;

		if (digit >= base ||
		    __builtin_mul_overflow(v, (uint64_t)base, &v) ||
		    __builtin_add_overflow(v, (uint64_t)digit, &v))
			return false;
	}
	*ret = v;
	return true;
}

/* Go's strconv.ParseInt(s, 0, 64), then ParseUint: 0x, 0o, 0b, 0 for octal. */
static bool read_integer(const char *s, struct value *v)
{
	bool minus = s[0] == '-', plus = s[0] == '+';
	unsigned base = 10;
	uint64_t u;

	s += minus || plus;
	if (s[0] == '0' && s[1]) {
		char c = (char)tolower((unsigned char)s[1]);

		base = c == 'x' ? 16 : c == 'b' ? 2 : 8;
		s += c == 'x' || c == 'b' || c == 'o' ? 2 : 1;
	}
	if (!read_digits(s, base, &u))
		return false;
	if (minus && u) {
		if (u > (uint64_t)INT64_MAX + 1)
			return false;
		v->means = MEANS_INT;
		v->i = (int64_t)(0 - u);
		return true;
	}
	if (plus && u > INT64_MAX) /* ParseUint takes no sign */
		return false;
	v->means = MEANS_UINT;
	v->u = u;
	return true;
}

/* [-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)? */
static bool looks_like_float(const char *s)
{
	size_t before, after = 0;

	s += *s == '-' || *s == '+';
	before = strspn(s, "0123456789");
	s += before;
	if (*s == '.') {
		after = strspn(++s, "0123456789");
		s += after;
	}
	if (!before && !after)
		return false;
	if (*s == 'e' || *s == 'E') {
		s++;
		s += *s == '-' || *s == '+';
		if (!isdigit((unsigned char)*s))
			return false;
		s += strspn(s, "0123456789");
	}
	return !*s;
}

static void read_plain(const char *text, size_t len, struct value *v)
{
	char plain[NUMBER_MAX + 1];
	size_t n = 0;

	v->means = MEANS_STR;
	if (read_word(text, v) || len > NUMBER_MAX)
		return;
	if (!isdigit((unsigned char)text[0]) && !strchr("+-.", text[0]))
		return;
	/* 1_000 is a number, except after a leading point. */
	for (size_t i = 0; i <= len; i++)
		if (text[i] != '_' || text[0] == '.')
			plain[n++] = text[i];
	if (text[0] != '.' && read_integer(plain, v))
		return;
	if (!looks_like_float(plain))
		return;
	v->means = MEANS_FLOAT;
	v->d = strtod(plain, NULL);
	if (!isfinite(v->d))
		v->means = MEANS_STR; /* out of range: Go leaves the text */
}

bool yaml_scalar_needs_quotes(const char *text, size_t len)
{
	struct value v;

	read_plain(text, len, &v);
	if (v.means != MEANS_STR || strcmp(text, "<<") == 0)
		return true;
	/* Base 60 and dates are not numbers here, but are to others. */
	return isdigit((unsigned char)text[0]) && strpbrk(text, ":-");
}

static yyjson_mut_val *make(yyjson_mut_doc *doc, const struct value *v,
			    const struct yaml_scalar *s)
{
	switch (v->means) {
	case MEANS_NULL:
		return yyjson_mut_null(doc);
	case MEANS_BOOL:
		return yyjson_mut_bool(doc, v->flag);
	case MEANS_UINT:
		return yyjson_mut_uint(doc, v->u);
	case MEANS_INT:
		return yyjson_mut_sint(doc, v->i);
	case MEANS_FLOAT:
		/* As Go marshals it: 1.0 is 1. */
		if (v->d == floor(v->d) && fabs(v->d) < 1e15)
			return yyjson_mut_sint(doc, (int64_t)v->d);
		return yyjson_mut_real(doc, v->d);
	default:
		return yyjson_mut_strncpy(doc, s->text, s->len);
	}
}

/* Does the explicit @tag agree with what the text is? */
static bool tag_fits(const char *tag, struct value *v)
{
	if (strcmp(tag, "null") == 0)
		return v->means == MEANS_NULL;
	if (strcmp(tag, "bool") == 0)
		return v->means == MEANS_BOOL;
	if (strcmp(tag, "int") == 0)
		return v->means == MEANS_UINT || v->means == MEANS_INT;
	return v->means == MEANS_UINT || v->means == MEANS_INT ||
	       v->means == MEANS_FLOAT || v->means == MEANS_NAN;
}

int yaml_scalar_resolve(yyjson_mut_doc *doc, const struct yaml_scalar *s,
			yyjson_mut_val **ret, const char **ret_why)
{
	static const char *const known[] = { "null", "bool", "int", "float",
					     NULL };
	const char *tag = s->tag;
	struct value v = { .means = MEANS_STR };

	if (tag && str_starts(tag, TAG))
		tag += strlen(TAG);
	if (tag && any_of(tag, known)) {
		read_plain(s->text, s->len, &v);
		if (!tag_fits(tag, &v)) {
			*ret_why = "is not what its tag says";
			return -EBADMSG;
		}
	} else if (!tag && s->plain) {
		read_plain(s->text, s->len, &v);
	} else if (tag && strcmp(tag, "str") != 0 && strcmp(tag, "!") != 0 &&
		   strcmp(tag, "timestamp") != 0) {
		*ret_why = "has an unknown tag";
		return -EBADMSG;
	}
	if (v.means == MEANS_NAN) {
		*ret_why = "has no equivalent in JSON (quote it to mean text)";
		return -EBADMSG;
	}
	*ret = make(doc, &v, s);
	return *ret ? 0 : -ENOMEM;
}

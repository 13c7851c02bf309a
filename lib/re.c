// SPDX-License-Identifier: Apache-2.0
/*
 * Patterns are parsed into a program of a nondeterministic machine; matching
 * runs all of its threads at once over the text (Thompson, Pike).
 */
#include "lib/re.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/auto.h"
#include "lib/err.h"
#include "lib/re_prog.h"

#define GROUPS_MAX 200    /* nesting */
#define RANGES_MAX 100000 /* of all classes together */
#define RUNE_MAX   0x10ffff

/* While compiling. A fragment is a run of instructions whose targets are
 * relative, so that it can be copied; its end is the instruction behind it. */
struct compiler {
	const char *p, *pattern;
	struct inst *prog;
	size_t nr, room;
	struct range *ranges;
	size_t nr_ranges, ranges_room;
	bool fold, dot_all, lines;
	int depth;
	struct err *e;
};

static int bad(struct compiler *c, const char *what)
{
	return err_set(c->e, -EINVAL, "error parsing regexp: %s: `%.80s`", what,
		       c->pattern);
}

static int emit(struct compiler *c, enum op op, uint32_t x, uint32_t y)
{
	if (c->nr == RE_PROG_MAX)
		return err_set(c->e, -E2BIG,
			       "error parsing regexp: expression too large: "
			       "`%.80s`",
			       c->pattern);
	if (c->nr == c->room) {
		size_t room = c->room ? c->room * 2 : 64;
		struct inst *prog = realloc(c->prog, room * sizeof(*prog));

		if (!prog)
			return err_set(c->e, -ENOMEM, "out of memory");
		c->prog = prog;
		c->room = room;
	}
	c->prog[c->nr++] =
		(struct inst){ .op = op, .fold = c->fold, .x = x, .y = y };
	return 0;
}

/* Make room for one instruction at @at. */
static int insert(struct compiler *c, size_t at, enum op op, uint32_t x,
		  uint32_t y)
{
	int r = emit(c, op, 0, 0);

	if (r < 0)
		return r;
	memmove(&c->prog[at + 1], &c->prog[at],
		(c->nr - 1 - at) * sizeof(*c->prog));
	c->prog[at] = (struct inst){ .op = op, .x = x, .y = y };
	return 0;
}

static int add_range(struct compiler *c, uint32_t lo, uint32_t hi)
{
	if (c->nr_ranges == RANGES_MAX)
		return err_set(c->e, -E2BIG,
			       "error parsing regexp: too many "
			       "character classes");
	if (c->nr_ranges == c->ranges_room) {
		size_t room = c->ranges_room ? c->ranges_room * 2 : 32;
		struct range *v = realloc(c->ranges, room * sizeof(*v));

		if (!v)
			return err_set(c->e, -ENOMEM, "out of memory");
		c->ranges = v;
		c->ranges_room = room;
	}
	c->ranges[c->nr_ranges++] = (struct range){ lo, hi };
	return 0;
}

static uint32_t take_rune(struct compiler *c)
{
	uint32_t r;

	c->p += re_rune_at(c->p, c->p + strlen(c->p), &r);
	return r;
}

/* --- classes --- */

/* Ranges of what is not in ranges [from, nr): replaces them. */
static int negate(struct compiler *c, size_t from)
{
	size_t nr = c->nr_ranges - from;
	auto_free struct range *old = malloc((nr + 1) * sizeof(*old));
	uint32_t next = 0;
	int r = 0;

	if (!old)
		return err_set(c->e, -ENOMEM, "out of memory");
	memcpy(old, c->ranges + from, nr * sizeof(*old));
	for (size_t i = 1; i < nr; i++) /* few: by insertion */
		for (size_t j = i; j && old[j].lo < old[j - 1].lo; j--) {
			struct range t = old[j];

			old[j] = old[j - 1];
			old[j - 1] = t;
		}
	c->nr_ranges = from;
	for (size_t i = 0; i < nr && r == 0; i++) {
		if (old[i].lo > next)
			r = add_range(c, next, old[i].lo - 1);
		if (old[i].hi >= next)
			next = old[i].hi + 1;
	}
	if (r == 0 && next <= RUNE_MAX)
		r = add_range(c, next, RUNE_MAX);
	return r;
}

/* A class by name: pairs of first and last. 1: it is one, 0: it is not. */
static int named(struct compiler *c, const char *name, size_t len, bool negated)
{
	static const struct {
		const char *name, *pairs;
	} all[] = {
		{ "d", "09" },
		{ "digit", "09" },
		{ "Nd", "09" },
		{ "N", "09" },
		{ "s", "\t\n\f\r  " },
		{ "space", "\t\r  " },
		{ "w", "09AZ__az" },
		{ "word", "09AZ__az" },
		{ "alnum", "09AZaz" },
		{ "alpha", "AZaz" },
		{ "ascii", "\x01\x7f" },
		{ "blank", "\t\t  " },
		{ "cntrl", "\x01\x1f\x7f\x7f" },
		{ "graph", "!~" },
		{ "lower", "az" },
		{ "upper", "AZ" },
		{ "print", " ~" },
		{ "punct", "!/:@[`{~" },
		{ "xdigit", "09AFaf" },
		{ "L", "AZaz" },
		{ "Lu", "AZ" },
		{ "Ll", "az" },
	};
	size_t from = c->nr_ranges;

	for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++) {
		const char *p = all[i].pairs;
		int r = 0;

		if (strlen(all[i].name) != len ||
		    strncmp(all[i].name, name, len))
			continue;
		for (; *p && r == 0; p += 2)
			r = add_range(c, (unsigned char)p[0],
				      (unsigned char)p[1]);
		/* Latin-1 letters, without the two signs among them. */
		if (r == 0 && all[i].name[0] == 'L' && !all[i].name[1])
			r = add_range(c, 0xc0, 0xd6) ?: add_range(c, 0xd8, 0xf6)
				?: add_range(c, 0xf8, 0x24f);
		if (r == 0 && negated)
			r = negate(c, from);
		return r < 0 ? r : 1;
	}
	return 0;
}

static int hex_digit(char ch)
{
	if (ch >= '0' && ch <= '9')
		return ch - '0';
	ch |= 0x20;
	return ch >= 'a' && ch <= 'f' ? ch - 'a' + 10 : -1;
}

static int take_hex(struct compiler *c, uint32_t *ret)
{
	bool braces = *c->p == '{';
	uint32_t v = 0;
	int n = 0;

	c->p += braces;
	while (hex_digit(*c->p) >= 0 && n < (braces ? 8 : 2) && v <= RUNE_MAX) {
		v = v << 4 | (uint32_t)hex_digit(*c->p++);
		n++;
	}
	if ((braces && *c->p++ != '}') || !n || (!braces && n != 2) ||
	    v > RUNE_MAX)
		return bad(c, "invalid escape sequence");
	*ret = v;
	return 0;
}

/* Behind a backslash. 1: it was a class, 0: *ret is a rune. */
static int take_escape(struct compiler *c, uint32_t *ret)
{
	static const char from[] = "aftnrv", to[] = "\a\f\t\n\r\v";
	char ch = *c->p;
	const char *at;

	if (!ch)
		return bad(c, "trailing backslash at end of expression");
	if (strchr("dswDSW", ch)) {
		char name = ch | 0x20;

		c->p++;
		return named(c, &name, 1, ch < 'a');
	}
	if (ch == 'p' || ch == 'P') {
		const char *name = ++c->p;
		size_t n = 1;
		int r;

		if (*name == '{') {
			n = strcspn(++name, "}");
			c->p += n + (name[n] == '}' ? 2 : 0);
		} else if (*name) {
			c->p++;
		}
		r = named(c, name, n, ch == 'P');
		return r ? r : bad(c, "invalid character class range");
	}
	if (ch == 'x') {
		c->p++;
		return take_hex(c, ret);
	}
	at = strchr(from, ch);
	if (at) {
		c->p++;
		*ret = (unsigned char)to[at - from];
		return 0;
	}
	if ((ch >= '0' && ch <= '9') ||
	    ((ch | 0x20) >= 'a' && (ch | 0x20) <= 'z'))
		return bad(c, "invalid escape sequence");
	*ret = take_rune(c);
	return 0;
}

/* One end of a range; 1: it was a class of its own. */
static int class_item(struct compiler *c, uint32_t *ret)
{
	if (c->p[0] == '[' && c->p[1] == ':') {
		bool negated = c->p[2] == '^';
		const char *name = c->p + 2 + negated;
		const char *end = strstr(name, ":]");
		int r = end ? named(c, name, end - name, negated) : 0;

		if (r <= 0)
			return r < 0 ? r
				     : bad(c, "invalid character class range");
		c->p = end + 2;
		return 1;
	}
	if (*c->p == '\\') {
		c->p++;
		return take_escape(c, ret);
	}
	*ret = take_rune(c);
	return 0;
}

static int parse_class(struct compiler *c)
{
	size_t from = c->nr_ranges;
	bool negated = *c->p == '^', first = true;
	int r;

	c->p += negated;
	for (; *c->p != ']' || first; first = false) {
		uint32_t lo = 0, hi = 0;

		if (!*c->p)
			return bad(c, "missing closing ]");
		r = class_item(c, &lo);
		if (r < 0)
			return r;
		if (r)
			continue;
		hi = lo;
		if (c->p[0] == '-' && c->p[1] && c->p[1] != ']') {
			c->p++;
			r = class_item(c, &hi);
			if (r < 0)
				return r;
			if (r || hi < lo)
				return bad(c, "invalid character class range");
		}
		r = add_range(c, lo, hi);
		if (r < 0)
			return r;
	}
	c->p++;
	r = emit(c, RE_CLASS, from, c->nr_ranges - from);
	if (r < 0)
		return r;
	c->prog[c->nr - 1].negated = negated;
	return 0;
}

/* --- the grammar --- */

static int parse_alternatives(struct compiler *c);

static int parse_flags(struct compiler *c, bool *ret_group)
{
	bool on = true;

	*ret_group = false;
	if (*c->p == 'P' || *c->p == '<') { /* a name: groups are not asked */
		const char *end = strchr(c->p, '>');

		if (!end)
			return bad(c, "invalid named capture");
		c->p = end + 1;
		*ret_group = true;
		return 0;
	}
	for (; *c->p && *c->p != ')' && *c->p != ':'; c->p++) {
		if (*c->p == '-')
			on = false;
		else if (*c->p == 'i')
			c->fold = on;
		else if (*c->p == 's')
			c->dot_all = on;
		else if (*c->p == 'm')
			c->lines = on;
		else if (*c->p != 'U')
			return bad(c, "invalid or unsupported Perl syntax");
	}
	if (!*c->p)
		return bad(c, "missing closing )");
	*ret_group = *c->p++ == ':';
	return 0;
}

static int parse_group(struct compiler *c)
{
	bool fold = c->fold, dot_all = c->dot_all, lines = c->lines;
	bool group = true;
	int r = 0;

	if (++c->depth > GROUPS_MAX)
		return bad(c, "expression nests too deeply");
	if (*c->p == '?') {
		c->p++;
		r = parse_flags(c, &group);
		if (r < 0)
			return r;
	}
	c->depth -= !group;
	if (!group)
		return 0; /* (?i) holds for what follows */
	r = parse_alternatives(c);
	if (r == 0 && *c->p != ')')
		r = bad(c, "missing closing )");
	if (r < 0)
		return r;
	c->p++;
	c->depth--;
	c->fold = fold;
	c->dot_all = dot_all;
	c->lines = lines;
	return 0;
}

static int parse_backslash(struct compiler *c)
{
	static const char places[] = "AzbB";
	static const enum at kinds[] = { AT_BEGIN, AT_END, AT_WORD,
					 AT_NOT_WORD };
	const char *at = *c->p ? strchr(places, *c->p) : NULL;
	size_t from = c->nr_ranges;
	uint32_t rune = 0;
	int r;

	if (at) {
		c->p++;
		return emit(c, RE_AT, kinds[at - places], 0);
	}
	if (*c->p == 'Q') {
		for (c->p++; *c->p && strncmp(c->p, "\\E", 2) != 0;) {
			r = emit(c, RE_RUNE, take_rune(c), 0);
			if (r < 0)
				return r;
		}
		c->p += *c->p ? 2 : 0;
		return 0;
	}
	r = take_escape(c, &rune);
	if (r < 0)
		return r;
	if (r)
		return emit(c, RE_CLASS, from, c->nr_ranges - from);
	return emit(c, RE_RUNE, rune, 0);
}

static int parse_atom(struct compiler *c)
{
	switch (*c->p) {
	case '(':
		c->p++;
		return parse_group(c);
	case '[':
		c->p++;
		return parse_class(c);
	case '.':
		c->p++;
		return emit(c, c->dot_all ? RE_ANY : RE_ANY_NOT_NL, 0, 0);
	case '^':
		c->p++;
		return emit(c, RE_AT, c->lines ? AT_LINE : AT_BEGIN, 0);
	case '$':
		c->p++;
		return emit(c, RE_AT, c->lines ? AT_LINE_END : AT_END, 0);
	case '\\':
		c->p++;
		return parse_backslash(c);
	case '*':
	case '+':
	case '?':
		return bad(c, "missing argument to repetition operator");
	default:
		return emit(c, RE_RUNE, take_rune(c), 0);
	}
}

/* {n}, {n,}, {n,m}; false: it is none, a brace is a brace then. */
static bool take_counts(struct compiler *c, long *min, long *max)
{
	char *end;
	const char *p = c->p + 1;

	if (*p < '0' || *p > '9')
		return false;
	*min = *max = strtol(p, &end, 10);
	if (*end == ',') {
		p = end + 1;
		*max = -1;
		if (*p >= '0' && *p <= '9')
			*max = strtol(p, &end, 10);
		else
			end++;
	}
	if (*end != '}')
		return false;
	c->p = end + 1;
	return true;
}

/* Append a copy of [from, to). Targets are relative. */
static int copy(struct compiler *c, size_t from, size_t to)
{
	for (size_t i = from; i < to; i++) {
		int r = emit(c, RE_MATCH, 0, 0);

		if (r < 0)
			return r;
		c->prog[c->nr - 1] = c->prog[i];
	}
	return 0;
}

/* Make the fragment at @at optional, or to be repeated. Targets are offsets
 * from the instruction itself. */
static int optional(struct compiler *c, size_t at)
{
	return insert(c, at, RE_SPLIT, 1, c->nr - at + 1);
}

static int loop(struct compiler *c, size_t at)
{
	int r = optional(c, at);

	if (r == 0) {
		c->prog[at].y = c->nr - at + 1;
		r = emit(c, RE_JUMP, (uint32_t)(at - c->nr), 0);
	}
	return r;
}

static int repeat(struct compiler *c, size_t at, long min, long max)
{
	size_t len = c->nr - at, last;
	int r = 0;

	if (min > RE_REPEAT_MAX || max > RE_REPEAT_MAX ||
	    (max >= 0 && max < min))
		return bad(c, "invalid repeat count");
	if (max == 0) {
		c->nr = at;
		return 0;
	}
	if (min == 0 && max < 0)
		return loop(c, at);
	if (min == 0) {
		r = optional(c, at);
		for (long i = 1; r == 0 && i < max; i++)
			r = copy(c, at, at + len + 1);
		return r;
	}
	for (long i = 1; i < min && r == 0; i++)
		r = copy(c, at, at + len);
	if (r == 0 && max < 0) {
		last = c->nr - len;
		/* The last one again and again: split back. */
		r = emit(c, RE_SPLIT, (uint32_t)(last - c->nr), 1);
	} else if (r == 0 && max > min) {
		last = c->nr;
		r = copy(c, at, at + len);
		if (r == 0)
			r = optional(c, last);
		for (long i = min + 1; i < max && r == 0; i++)
			r = copy(c, last, last + len + 1);
	}
	return r;
}

static int parse_sequence(struct compiler *c)
{
	while (*c->p && *c->p != '|' && *c->p != ')') {
		size_t at = c->nr;
		int r = parse_atom(c), times = 0;

		while (r == 0) {
			long min = 0, max = -1;

			if (*c->p == '*')
				c->p++;
			else if (*c->p == '+')
				min = 1, c->p++;
			else if (*c->p == '?')
				max = 1, c->p++;
			else if (*c->p != '{' || !take_counts(c, &min, &max))
				break;
			if (*c->p == '?') /* lazy: the same to a matcher */
				c->p++;
			if (++times > 1)
				return bad(c, "invalid nested repetition "
					      "operator");
			r = repeat(c, at, min, max);
		}
		if (r < 0)
			return r;
	}
	return 0;
}

static int parse_alternatives(struct compiler *c)
{
	size_t at = c->nr;
	int r = parse_sequence(c);

	while (r == 0 && *c->p == '|') {
		size_t end;

		c->p++;
		/* split L1, L2; L1: left; jump end; L2: right; end: */
		r = insert(c, at, RE_SPLIT, 1, c->nr - at + 2);
		if (r == 0)
			r = emit(c, RE_JUMP, 0, 0);
		end = c->nr - 1;
		if (r == 0)
			r = parse_sequence(c);
		if (r == 0)
			c->prog[end].x = c->nr - end;
	}
	return r;
}

static struct re *finish(struct compiler *c)
{
	size_t size = sizeof(struct re) + c->nr * sizeof(struct inst);
	struct re *re = malloc(size + c->nr_ranges * sizeof(struct range));

	if (!re)
		return NULL;
	re->nr = c->nr;
	re->nr_ranges = c->nr_ranges;
	re->ranges = (struct range *)((char *)re + size);
	memcpy(re->prog, c->prog, c->nr * sizeof(struct inst));
	if (c->nr_ranges)
		memcpy(re->ranges, c->ranges,
		       c->nr_ranges * sizeof(struct range));
	/* From relative to absolute. */
	for (size_t i = 0; i < c->nr; i++) {
		struct inst *in = &re->prog[i];

		if (in->op == RE_SPLIT || in->op == RE_JUMP)
			in->x += i;
		if (in->op == RE_SPLIT)
			in->y += i;
	}
	return re;
}

int re_compile(const char *pattern, struct re **ret, struct err *e)
{
	struct compiler c = { .p = pattern, .pattern = pattern, .e = e };
	int r;

	if (strlen(pattern) > RE_LEN_MAX)
		return err_set(e, -E2BIG,
			       "a regular expression may have at most %d bytes",
			       RE_LEN_MAX);
	r = parse_alternatives(&c);
	if (r == 0 && *c.p)
		r = bad(&c, "unexpected )");
	if (r == 0)
		r = emit(&c, RE_MATCH, 0, 0);
	if (r == 0) {
		*ret = finish(&c);
		r = *ret ? 0 : err_set(e, -ENOMEM, "out of memory");
	}
	free(c.prog);
	free(c.ranges);
	return r;
}

// SPDX-License-Identifier: Apache-2.0
/* All threads of the program at once, over the text (Thompson, Pike). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/auto.h"
#include "lib/re.h"
#include "lib/re_prog.h"

size_t re_rune_at(const char *p, const char *end, uint32_t *ret)
{
	const unsigned char *s = (const unsigned char *)p;
	size_t n = *s < 0x80       ? 1
		   : *s >> 5 == 6  ? 2
		   : *s >> 4 == 14 ? 3
		   : *s >> 3 == 30 ? 4
				   : 0;
	uint32_t r = n == 1   ? *s
		     : n == 2 ? *s & 0x1f
		     : n == 3 ? *s & 0xf
			      : *s & 7;

	if (!n || n > (size_t)(end - p)) {
		*ret = 0xfffd;
		return 1;
	}
	for (size_t i = 1; i < n; i++) {
		if (s[i] >> 6 != 2) {
			*ret = 0xfffd;
			return 1;
		}
		r = r << 6 | (s[i] & 0x3f);
	}
	*ret = r;
	return n;
}

struct threads {
	uint32_t *pc;
	size_t nr;
};

struct machine {
	const struct re *re;
	uint32_t *seen; /* by instruction: step + 1 at which it was added */
	uint32_t *stack;
	uint32_t step;
	uint32_t before, after; /* runes around the present place */
	uint64_t spent;
	bool begin, end;
};

static bool is_word(uint32_t r)
{
	return (r >= '0' && r <= '9') || (r >= 'A' && r <= 'Z') ||
	       (r >= 'a' && r <= 'z') || r == '_';
}

static bool holds(const struct machine *m, uint32_t at)
{
	bool edge = (!m->begin && is_word(m->before)) !=
		    (!m->end && is_word(m->after));

	switch (at) {
	case AT_BEGIN:
		return m->begin;
	case AT_END:
		return m->end;
	case AT_LINE:
		return m->begin || m->before == '\n';
	case AT_LINE_END:
		return m->end || m->after == '\n';
	case AT_WORD:
		return edge;
	default:
		return !edge;
	}
}

/* Add @pc and all that follows without a rune. True: a match. */
static bool add(struct machine *m, struct threads *t, uint32_t pc)
{
	size_t nr = 0;

	m->stack[nr++] = pc;
	while (nr) {
		const struct inst *in;

		pc = m->stack[--nr];
		m->spent++;
		if (m->seen[pc] == m->step)
			continue;
		m->seen[pc] = m->step;
		in = &m->re->prog[pc];
		switch (in->op) {
		case RE_MATCH:
			return true;
		case RE_JUMP:
			m->stack[nr++] = in->x;
			break;
		case RE_SPLIT:
			m->stack[nr++] = in->y;
			m->stack[nr++] = in->x;
			break;
		case RE_AT:
			if (holds(m, in->x))
				m->stack[nr++] = pc + 1;
			break;
		default:
			t->pc[t->nr++] = pc;
		}
	}
	return false;
}

static uint32_t fold(uint32_t r)
{
	return r >= 'A' && r <= 'Z' ? r | 0x20 : r;
}

static bool in_class(const struct re *re, const struct inst *in, uint32_t r)
{
	for (uint32_t i = 0; i < in->y; i++) {
		const struct range *g = &re->ranges[in->x + i];
		uint32_t other = r ^ 0x20;

		if (r >= g->lo && r <= g->hi)
			return true;
		if (in->fold && fold(r) >= 'a' && fold(r) <= 'z' &&
		    other >= g->lo && other <= g->hi)
			return true;
	}
	return false;
}

static bool takes(const struct re *re, const struct inst *in, uint32_t r)
{
	switch (in->op) {
	case RE_RUNE:
		return in->fold ? fold(r) == fold(in->x) : r == in->x;
	case RE_ANY:
		return true;
	case RE_ANY_NOT_NL:
		return r != '\n';
	default:
		return in_class(re, in, r) != in->negated;
	}
}

static int run(struct machine *m, struct threads *now, struct threads *next,
	       const char *p, const char *end, uint64_t budget)
{
	m->begin = true;
	for (;;) {
		size_t n = p < end ? re_rune_at(p, end, &m->after) : 0;

		m->end = !n;
		m->step++;
		/* The threads that came here are added again, now that it is
		 * known what follows; and a new one may begin. */
		next->nr = 0;
		for (size_t i = 0; i < now->nr; i++)
			if (add(m, next, now->pc[i]))
				return 1;
		if (add(m, next, 0))
			return 1;
		if (!n)
			return 0;
		if (m->spent > budget)
			return -E2BIG;
		now->nr = 0;
		for (size_t i = 0; i < next->nr; i++)
			if (takes(m->re, &m->re->prog[next->pc[i]], m->after))
				now->pc[now->nr++] = next->pc[i] + 1;
		m->before = m->after;
		m->begin = false;
		p += n;
	}
}

int re_match(const struct re *re, const char *text, size_t len,
	     uint64_t *budget)
{
	auto_free uint32_t *mem =
		calloc((size_t)re->nr * 5 + 2, sizeof(uint32_t));
	struct machine m = { .re = re };
	struct threads now = { .nr = 0 }, next = { .nr = 0 };
	int r;

	if (!mem)
		return -ENOMEM;
	m.seen = mem;
	now.pc = mem + re->nr;
	next.pc = mem + re->nr * 2;
	m.stack = mem + re->nr * 3;
	r = run(&m, &now, &next, text, text + len,
		budget ? *budget : UINT64_MAX);
	if (budget)
		*budget -= m.spent < *budget ? m.spent : *budget;
	return r;
}

size_t re_size(const struct re *re)
{
	return sizeof(*re) + re->nr * sizeof(struct inst) +
	       re->nr_ranges * sizeof(struct range);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The program a regular expression becomes; between re.c and re_match.c. */
#ifndef LIB_RE_PROG_H
#define LIB_RE_PROG_H

#include <stddef.h>
#include <stdint.h>

enum op {
	RE_RUNE,
	RE_ANY,
	RE_ANY_NOT_NL,
	RE_CLASS,
	RE_SPLIT,
	RE_JUMP,
	RE_AT,
	RE_MATCH
};
enum at { AT_BEGIN, AT_END, AT_LINE, AT_LINE_END, AT_WORD, AT_NOT_WORD };

struct inst {
	uint8_t op, fold, negated;
	uint32_t x, y; /* rune; targets; first and number of ranges; place */
};

struct range {
	uint32_t lo, hi;
};

struct re {
	uint32_t nr, nr_ranges;
	struct range *ranges; /* behind the program */
	struct inst prog[];
};

/* The rune at @p; its length, or 1 for a byte that is no UTF-8. */
size_t re_rune_at(const char *p, const char *end, uint32_t *ret);

#endif /* LIB_RE_PROG_H */

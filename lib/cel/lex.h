/* SPDX-License-Identifier: Apache-2.0 */
/* Tokens of an expression. */
#ifndef LIB_CEL_LEX_H
#define LIB_CEL_LEX_H

#include "lib/cel/internal.h"

enum token {
	T_END,
	T_IDENT,
	T_LITERAL, /* in lexer.value */
	T_PUNCT,   /* one or two characters, in lexer.op */
};

struct lexer {
	struct cel *c;
	struct err *e;
	const char *p; /* behind the token */
	enum token token;
	size_t at;   /* where the token begins */
	char op[3];  /* of T_PUNCT */
	char *ident; /* of T_IDENT */
	struct cel_value value;
};

/* Read the next token: 0 or -errno with the story. */
int lex_next(struct lexer *l);

#endif /* LIB_CEL_LEX_H */

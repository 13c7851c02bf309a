// SPDX-License-Identifier: Apache-2.0
/* From text to tokens; literals become values here. */
#include <ctype.h>
#include <errno.h>
#include <math.h>

#include "lib/cel/lex.h"

static int lex_fail(struct lexer *l, const char *at, const char *what)
{
	return cel_complain(l->c, at - l->c->text, l->e, "Syntax error: %s",
			    what);
}

static bool is_word(char c)
{
	return isalnum((unsigned char)c) || c == '_';
}

static void skip_space(struct lexer *l)
{
	for (;;) {
		l->p += strspn(l->p, " \t\r\n\f");
		if (l->p[0] != '/' || l->p[1] != '/')
			return;
		l->p += strcspn(l->p, "\n");
	}
}

/* --- numbers --- */

static int number_int(struct lexer *l, const char *end, int base)
{
	bool is_uint = *end == 'u' || *end == 'U';
	unsigned long long u;

	errno = 0;
	u = strtoull(l->p, NULL, base);
	/* 2^63 is one only behind a minus, which is not seen here. */
	if (errno || (!is_uint && u > (uint64_t)INT64_MAX + 1))
		return lex_fail(l, l->p,
				is_uint ? "invalid uint literal"
					: "invalid int literal");
	l->value.kind = is_uint ? CEL_UINT : CEL_INT;
	l->value.u = u;
	end += is_uint;
	if (is_word(*end))
		return lex_fail(l, end, "letters right behind a number");
	l->p = end;
	return 0;
}

static int lex_number(struct lexer *l)
{
	const char *p = l->p;
	char *end;

	l->token = T_LITERAL;
	if (p[0] == '0' && (p[1] == 'x' || p[1] == 'X')) {
		p += 2;
		p += strspn(p, "0123456789abcdefABCDEF");
		return number_int(l, p, 16);
	}
	p += strspn(p, "0123456789");
	if (!(*p == '.' && isdigit((unsigned char)p[1])) && *p != 'e' &&
	    *p != 'E')
		return number_int(l, p, 10);
	l->value.kind = CEL_DOUBLE;
	l->value.d = strtod(l->p, &end);
	if (is_word(*end) || !isfinite(l->value.d))
		return lex_fail(l, l->p, "invalid double literal");
	l->p = end;
	return 0;
}

/* --- text --- */

static int utf8_put(struct buf *b, uint32_t c)
{
	if (c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
		return -EINVAL;
	if (c < 0x80)
		return buf_putc(b, (char)c);
	if (c >= 0x10000) {
		buf_putc(b, (char)(0xf0 | c >> 18));
		buf_putc(b, (char)(0x80 | (c >> 12 & 63)));
	} else if (c >= 0x800) {
		buf_putc(b, (char)(0xe0 | c >> 12));
	} else {
		buf_putc(b, (char)(0xc0 | c >> 6));
		return buf_putc(b, (char)(0x80 | (c & 63)));
	}
	buf_putc(b, (char)(0x80 | (c >> 6 & 63)));
	return buf_putc(b, (char)(0x80 | (c & 63)));
}

/* Digits of an escape: @n of @base at @p. */
static int code_of(const char *p, int n, int base, uint32_t *ret)
{
	char digits[9] = "";

	for (int i = 0; i < n; i++) {
		if (base == 8 ? p[i] < '0' || p[i] > '7'
			      : !isxdigit((unsigned char)p[i]))
			return -EINVAL;
		digits[i] = p[i];
	}
	*ret = strtoul(digits, NULL, base);
	return 0;
}

/* One escape at *@p, behind the backslash. */
static int put_escape(struct buf *b, const char **p, bool bytes)
{
	static const char from[] = "abfnrtv\\?\"'`";
	static const char to[] = "\a\b\f\n\r\t\v\\?\"'`";
	const char c = **p, *found = c ? strchr(from, c) : NULL;
	int n = c == 'x' || c == 'X' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
	uint32_t code;

	if (found) {
		(*p)++;
		return buf_putc(b, to[found - from]);
	}
	if (n) {
		(*p)++;
		if (code_of(*p, n, 16, &code) || (bytes && n > 2))
			return -EINVAL;
	} else {
		n = 3;
		if (code_of(*p, n, 8, &code) || code > 255)
			return -EINVAL;
	}
	*p += n;
	return bytes ? buf_putc(b, (char)code) : utf8_put(b, code);
}

static int put_body(struct lexer *l, struct buf *b, const char *quote, bool raw,
		    bool bytes)
{
	size_t n = strlen(quote);

	for (;;) {
		const char *at = l->p;

		if (!*l->p || (n == 1 && *l->p == '\n'))
			return lex_fail(l, at, "a string without end");
		if (strncmp(l->p, quote, n) == 0) {
			l->p += n;
			return 0;
		}
		if (*l->p++ != '\\' || raw) {
			buf_putc(b, *at);
			continue;
		}
		if (put_escape(b, &l->p, bytes))
			return lex_fail(l, at, "unknown escape in a string");
	}
}

static int lex_text(struct lexer *l)
{
	auto_buf struct buf b = BUF_INIT;
	bool raw = false, bytes = false;
	char quote[4] = "";
	int r;

	for (; *l->p != '"' && *l->p != '\''; l->p++) {
		raw |= *l->p == 'r' || *l->p == 'R';
		bytes |= *l->p == 'b' || *l->p == 'B';
	}
	quote[0] = *l->p;
	if (l->p[1] == quote[0] && l->p[2] == quote[0])
		memset(quote, quote[0], 3);
	l->p += strlen(quote);
	r = put_body(l, &b, quote, raw, bytes);
	if (r < 0)
		return r;
	l->token = T_LITERAL;
	l->value.kind = bytes ? CEL_BYTES : CEL_STRING;
	l->value.text.len = b.len;
	l->value.text.s = cel_pool_text(&l->c->pool, b.data, b.len);
	return buf_error(&b) || !l->value.text.s ? -ENOMEM : 0;
}

/* Whether a string begins here: perhaps with r, b, rb or br before it. */
static bool is_text(const char *p)
{
	size_t n = strspn(p, "rRbB");

	if (n == 2 &&
	    tolower((unsigned char)p[0]) == tolower((unsigned char)p[1]))
		return false;
	return n <= 2 && (p[n] == '"' || p[n] == '\'');
}

/* --- the rest --- */

static int lex_word(struct lexer *l)
{
	size_t n = 0;

	while (is_word(l->p[n]))
		n++;
	l->token = T_LITERAL;
	if (n == 4 && memcmp(l->p, "true", 4) == 0) {
		l->value = value_bool(true);
	} else if (n == 5 && memcmp(l->p, "false", 5) == 0) {
		l->value = value_bool(false);
	} else if (n == 4 && memcmp(l->p, "null", 4) == 0) {
		l->value.kind = CEL_NULL;
	} else if (n == 2 && memcmp(l->p, "in", 2) == 0) {
		l->token = T_PUNCT;
		memcpy(l->op, "in", 3);
	} else {
		l->token = T_IDENT;
		l->ident = cel_pool_text(&l->c->pool, l->p, n);
		if (!l->ident)
			return -ENOMEM;
	}
	l->p += n;
	return 0;
}

static int lex_punct(struct lexer *l)
{
	static const char two[][3] = { "==", "!=", "<=", ">=", "&&", "||" };

	l->token = T_PUNCT;
	for (size_t i = 0; i < sizeof(two) / sizeof(two[0]); i++) {
		if (strncmp(l->p, two[i], 2) == 0) {
			memcpy(l->op, two[i], 3);
			l->p += 2;
			return 0;
		}
	}
	if (!strchr("+-*/%<>!?:.,()[]{}", *l->p))
		return lex_fail(l, l->p, "token recognition error");
	l->op[0] = *l->p++;
	l->op[1] = '\0';
	return 0;
}

int lex_next(struct lexer *l)
{
	skip_space(l);
	l->at = l->p - l->c->text;
	l->value = (struct cel_value){ 0 };
	l->op[0] = '\0';
	l->token = T_END;
	if (!*l->p)
		return 0;
	if (is_text(l->p))
		return lex_text(l);
	if (isdigit((unsigned char)*l->p) ||
	    (*l->p == '.' && isdigit((unsigned char)l->p[1])))
		return lex_number(l);
	return is_word(*l->p) ? lex_word(l) : lex_punct(l);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* What expressions can call: fn_*.c hold tables of functions. */
#ifndef LIB_CEL_FN_H
#define LIB_CEL_FN_H

#include "lib/cel/internal.h"

/*
 * One overload. @args has a letter for each argument, a method's own value
 * first and followed by a dot: "s.si". See fn_letter() in check.c.
 */
struct cel_fn {
	const char *name, *args;
	char ret;
	int (*call)(struct run *r, const struct cel_value *a, size_t nr,
		    struct cel_value *ret);
};

/* Ended by a row without name. */
extern const struct cel_fn cel_fns_core[], cel_fns_text[], cel_fns_list[],
	cel_fns_time[], cel_fns_quantity[], cel_fns_net[], cel_fns_authz[];

bool fn_takes(char letter, enum cel_kind kind);
enum cel_kind fn_kind(char letter);

/* Read and written by conversions and by JSON alike. */
bool cel_time_parse(const char *s, size_t len, int64_t *ret_s, int32_t *ret_ns);
bool cel_duration_parse(const char *s, size_t len, int64_t *ret_ns);
void cel_time_format(int64_t s, int32_t ns, struct buf *b);
void cel_duration_format(int64_t ns, struct buf *b);
void cel_double_format(double d, struct buf *b);
void cel_ip_format(const struct cel_ip *ip, bool prefix, struct buf *b);
/* UTF-8: length of the character at @s, at most @len, never 0. */
size_t cel_utf8_next(const char *s, size_t len);
size_t cel_utf8_length(const char *s, size_t len); /* in characters */

/* The head of every function. */
#define FN(fn_name)                                                           \
	static int fn_name(struct run *r __attribute__((unused)),             \
			   const struct cel_value *a __attribute__((unused)), \
			   size_t nr __attribute__((unused)),                 \
			   struct cel_value *ret)

#endif /* LIB_CEL_FN_H */

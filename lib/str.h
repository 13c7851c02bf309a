/* SPDX-License-Identifier: Apache-2.0 */
/* Strings: whole-string number parsing, printf to the heap, small predicates.
 */
#ifndef LIB_STR_H
#define LIB_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

/* The whole of @s must be the number. 0, -EINVAL, or -ERANGE. */
int str_to_u64(const char *s, uint64_t *ret);
int str_to_i64(const char *s, int64_t *ret);
int str_to_int(const char *s, int *ret);

/* printf into fresh memory; NULL when out of memory. Owned by the caller. */
char *str_printf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

static inline bool str_eq(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

static inline bool str_starts(const char *s, const char *prefix)
{
	return strncmp(s, prefix, strlen(prefix)) == 0;
}

bool str_ends(const char *s, const char *suffix);

/* A-Z to a-z, in place. */
void str_lower(char *s);

/* Replace *@slot by a copy of @s (NULL clears it). 0 or -ENOMEM. */
int str_set(char **slot, const char *s);

/* RFC 1123 label / subdomain, as Kubernetes validates names. */
bool str_is_dns_label(const char *s);
bool str_is_dns_subdomain(const char *s);

/* The word nearest to @word in a table that ends with NULL, for "did you mean":
 * a transposed, missing, additional or wrong letter or two. NULL if none is
 * near. There are @stride bytes between the char pointers of the table. */
const char *str_nearest(const char *word, const void *table, size_t stride);

#endif /* LIB_STR_H */

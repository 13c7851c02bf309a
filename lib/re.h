/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Regular expressions whose cost is bounded whoever writes them: matching
 * takes time proportional to text times program, and never backtracks.
 *
 *	struct re *re;
 *
 *	r = re_compile("^[a-z]+(-[a-z]+)*$", &re, e);
 *	if (re_match(re, text, strlen(text), NULL) != 1) ...
 *	free(re);
 *
 * The syntax is RE2's, which Kubernetes' schemas are written in: . [] ^ $ | ()
 * (?:) (?i) (?s) (?m) * + ? {n,m} and their lazy forms, \d \w \s \b \A \z and
 * their negations, [[:alpha:]], \x41, \x{1f600}, \Q..\E. Not: \p{...} beyond
 * L, Lu, Ll, N, Nd (ASCII and Latin-1 are what they know), named classes of
 * other scripts. Text is UTF-8.
 */
#ifndef LIB_RE_H
#define LIB_RE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct re;

#define RE_LEN_MAX    4096  /* bytes of a pattern */
#define RE_PROG_MAX   20000 /* instructions, repetitions unrolled */
#define RE_REPEAT_MAX 1000  /* of {n,m} */

/* One block of memory, to be released with free(). 0, -EINVAL with the story,
 * -E2BIG beyond a limit, -ENOMEM. */
int re_compile(const char *pattern, struct re **ret, struct err *e);

/*
 * Whether @re matches anywhere in @text; anchors say where. What it costs is
 * taken from *@budget (NULL: there is no limit): about one per character and
 * instruction that is alive there. 1, 0, or -E2BIG when it is used up.
 */
int re_match(const struct re *re, const char *text, size_t len,
	     uint64_t *budget);

size_t re_size(const struct re *re); /* bytes it takes */

#endif /* LIB_RE_H */

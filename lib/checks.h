/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a doctor found: a list of checks, each with a verdict and, where one is
 * due, a remedy; told as a table or as JSON. 'arktos-node doctor' and
 * 'arktosctl doctor' speak alike through it.
 */
#ifndef LIB_CHECKS_H
#define LIB_CHECKS_H

#include <stdbool.h>
#include <stddef.h>

struct buf;

#define CHECKS_MAX 256 /* more are not kept */

enum verdict {
	VERDICT_OK,
	VERDICT_SKIPPED, /* could not be looked at: detail says why */
	VERDICT_WARNING, /* works, but something is lost: detail says what */
	VERDICT_FAILED,  /* required, and missing or broken */
};

struct check {
	char name[128];
	enum verdict verdict;
	char detail[512];
	char remedy[256]; /* "" when there is nothing to do */
};

struct checks {
	struct check *v; /* may be NULL with nr 0 */
	size_t nr;
	bool lost;          /* no memory: something is not in the list */
	const char *failed; /* VERDICT_FAILED in a word; NULL: "failed" */
};

#define CHECKS_INIT     \
	{               \
		.nr = 0 \
	}

/**
 * checks_note() - add a verdict
 * @name: what was looked at; copied, as all is
 * @remedy: what to do; left away with VERDICT_OK and VERDICT_SKIPPED
 * @fmt: the detail, printf style
 *
 * Texts are cut to what struct check holds. Without memory the list passes no
 * more.
 */
void checks_note(struct checks *c, const char *name, enum verdict verdict,
		 const char *remedy, const char *fmt, ...)
	__attribute__((format(printf, 5, 6)));

/* Has nothing failed? */
bool checks_passed(const struct checks *c);

/* How many have this verdict. */
size_t checks_count(const struct checks *c, enum verdict verdict);

/* A table of all, then "What to do:" with a line for each remedy. */
void checks_put_text(const struct checks *c, struct buf *b);

/* {"passed":..,"checks":[{"name","result","detail","remedy"}]} and a newline;
 * result is "ok", "skipped", "warning" or the word for failed. */
void checks_put_json(const struct checks *c, struct buf *b);

/* Give the list back; it is empty and usable afterwards. */
void checks_clear(struct checks *c);

#endif /* LIB_CHECKS_H */

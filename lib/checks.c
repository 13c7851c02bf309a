// SPDX-License-Identifier: Apache-2.0
#include "lib/checks.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/buf.h"
#include "lib/cli.h"
#include "lib/json.h"

#define STEP 16 /* the list grows by */

static struct check *add(struct checks *c)
{
	struct check *v;

	if (c->nr == CHECKS_MAX)
		return NULL;
	if (c->nr % STEP == 0) {
		v = realloc(c->v, (c->nr + STEP) * sizeof(*v));
		if (!v) {
			c->lost = true;
			return NULL;
		}
		c->v = v;
	}
	return &c->v[c->nr++];
}

void checks_note(struct checks *c, const char *name, enum verdict verdict,
		 const char *remedy, const char *fmt, ...)
{
	struct check *n = add(c);
	va_list ap;

	if (!n)
		return;
	if (verdict == VERDICT_OK || verdict == VERDICT_SKIPPED)
		remedy = "";
	n->verdict = verdict;
	snprintf(n->name, sizeof(n->name), "%s", name);
	snprintf(n->remedy, sizeof(n->remedy), "%s", remedy);
	va_start(ap, fmt);
	vsnprintf(n->detail, sizeof(n->detail), fmt, ap);
	va_end(ap);
}

size_t checks_count(const struct checks *c, enum verdict verdict)
{
	size_t nr = 0;

	for (size_t i = 0; i < c->nr; i++)
		nr += c->v[i].verdict == verdict;
	return nr;
}

bool checks_passed(const struct checks *c)
{
	return !c->lost && checks_count(c, VERDICT_FAILED) == 0;
}

static const char *word(const struct checks *c, enum verdict v)
{
	static const char *const words[] = { [VERDICT_OK] = "ok",
					     [VERDICT_SKIPPED] = "skipped",
					     [VERDICT_WARNING] = "warning",
					     [VERDICT_FAILED] = "failed" };

	return v == VERDICT_FAILED && c->failed ? c->failed : words[v];
}

void checks_put_text(const struct checks *c, struct buf *b)
{
	struct cli_table t = CLI_TABLE_INIT;
	bool heading = false;

	cli_row(&t, "CHECK", "RESULT", "DETAIL", NULL);
	for (size_t i = 0; i < c->nr; i++)
		cli_row(&t, c->v[i].name, word(c, c->v[i].verdict),
			c->v[i].detail, NULL);
	(void)cli_table_print(&t, b); /* the buf keeps the failure */
	cli_table_clear(&t);
	for (size_t i = 0; i < c->nr; i++) {
		if (!c->v[i].remedy[0])
			continue;
		if (!heading)
			buf_puts(b, "\nWhat to do:\n");
		heading = true;
		buf_printf(b, "  %s: %s\n", c->v[i].name, c->v[i].remedy);
	}
}

void checks_put_json(const struct checks *c, struct buf *b)
{
	struct json_out o = JSON_OUT(b);

	json_put_object(&o, NULL);
	json_put_bool(&o, "passed", checks_passed(c));
	json_put_array(&o, "checks");
	for (size_t i = 0; i < c->nr; i++) {
		const struct check *n = &c->v[i];

		json_put_object(&o, NULL);
		json_put_str(&o, "name", n->name);
		json_put_str(&o, "result", word(c, n->verdict));
		json_put_str(&o, "detail", n->detail);
		json_put_str(&o, "remedy", n->remedy);
		json_put_end(&o);
	}
	json_put_end(&o);
	json_put_end(&o);
	buf_putc(b, '\n');
}

void checks_clear(struct checks *c)
{
	free(c->v);
	c->v = NULL;
	c->nr = 0;
	c->lost = false;
}

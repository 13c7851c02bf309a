// SPDX-License-Identifier: Apache-2.0
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/buf.h"
#include "lib/cli.h"

#define GAP 3

static int fail(struct cli_table *t, int code)
{
	if (!t->error)
		t->error = code;
	return t->error;
}

int cli_rowv(struct cli_table *t, const char *const *cells, size_t nr)
{
	size_t first;

	if (t->error)
		return t->error;
	if (!t->nr_rows)
		t->nr_columns = nr;
	if (nr != t->nr_columns || nr > CLI_COLUMNS_MAX)
		return fail(t, -EINVAL);
	first = t->nr_rows * t->nr_columns;
	if (first + nr > t->size) {
		size_t size = (first + nr) * 2;
		char **grown = reallocarray(t->cells, size, sizeof(*grown));

		if (!grown)
			return fail(t, -ENOMEM);
		t->cells = grown;
		t->size = size;
	}
	for (size_t i = 0; i < nr; i++) {
		t->cells[first + i] = strdup(cells[i] ? cells[i] : "");
		if (t->cells[first + i])
			continue;
		while (i > 0)
			free(t->cells[first + --i]);
		return fail(t, -ENOMEM);
	}
	t->nr_rows++;
	return 0;
}

int cli_row(struct cli_table *t, ...)
{
	const char *cells[CLI_COLUMNS_MAX + 1];
	size_t nr = 0;
	va_list ap;

	va_start(ap, t);
	while (nr <= CLI_COLUMNS_MAX && (cells[nr] = va_arg(ap, const char *)))
		nr++;
	va_end(ap);
	return cli_rowv(t, cells, nr);
}

static const char *shown(const char *cell)
{
	return cell[0] ? cell : "<none>";
}

/* Columns on the screen: one for each character, not for each byte. */
static size_t width_of(const char *s)
{
	size_t width = 0;

	for (; *s; s++)
		width += ((unsigned char)*s & 0xc0) != 0x80;
	return width;
}

/* Foreign text must not drive the terminal. */
static void put_cell(struct buf *b, const char *s)
{
	for (; *s; s++)
		buf_putc(b, *s == '\n'                   ? ' '
			    : iscntrl((unsigned char)*s) ? '?'
							 : *s);
}

int cli_table_print(const struct cli_table *t, struct buf *b)
{
	size_t width[CLI_COLUMNS_MAX] = { 0 };

	if (t->error)
		return t->error;
	for (size_t i = 0; i < t->nr_rows * t->nr_columns; i++) {
		size_t w = width_of(shown(t->cells[i]));

		if (w > width[i % t->nr_columns])
			width[i % t->nr_columns] = w;
	}
	for (size_t i = 0; i < t->nr_rows * t->nr_columns; i++) {
		size_t column = i % t->nr_columns;
		const char *cell = shown(t->cells[i]);

		put_cell(b, cell);
		if (column + 1 == t->nr_columns)
			buf_putc(b, '\n');
		else
			buf_printf(b, "%*s",
				   (int)(width[column] - width_of(cell)) + GAP,
				   "");
	}
	return buf_error(b);
}

void cli_table_clear(struct cli_table *t)
{
	for (size_t i = 0; i < t->nr_rows * t->nr_columns; i++)
		free(t->cells[i]);
	free(t->cells);
	*t = (struct cli_table)CLI_TABLE_INIT;
}

void cli_format_age(uint64_t s, char *buf, size_t size)
{
	const uint64_t minute = 60, hour = 3600, day = 86400;

	if (s < 2 * minute)
		snprintf(buf, size, "%" PRIu64 "s", s);
	else if (s < 10 * minute && s % minute)
		snprintf(buf, size, "%" PRIu64 "m%" PRIu64 "s", s / minute,
			 s % minute);
	else if (s < 3 * hour)
		snprintf(buf, size, "%" PRIu64 "m", s / minute);
	else if (s < 8 * hour && s % hour / minute)
		snprintf(buf, size, "%" PRIu64 "h%" PRIu64 "m", s / hour,
			 s % hour / minute);
	else if (s < 2 * day)
		snprintf(buf, size, "%" PRIu64 "h", s / hour);
	else if (s < 8 * day && s % day / hour)
		snprintf(buf, size, "%" PRIu64 "d%" PRIu64 "h", s / day,
			 s % day / hour);
	else
		snprintf(buf, size, "%" PRIu64 "d", s / day);
}

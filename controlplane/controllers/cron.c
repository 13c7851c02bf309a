// SPDX-License-Identifier: Apache-2.0
#include "controlplane/controllers/cron.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "lib/err.h"
#include "lib/str.h"

#define YEARS 5

static const char *const month_names[] = { "jan", "feb", "mar", "apr",
					   "may", "jun", "jul", "aug",
					   "sep", "oct", "nov", "dec" };
static const char *const day_names[] = { "sun", "mon", "tue", "wed",
					 "thu", "fri", "sat" };

struct field {
	int first, last;
	const char *const *names; /* from @first on; NULL: none */
	int nr_names;
};

static const struct field fields[] = {
	{ 0, 59, NULL, 0 },         { 0, 23, NULL, 0 },     { 1, 31, NULL, 0 },
	{ 1, 12, month_names, 12 }, { 0, 7, day_names, 7 },
};

/* A number or a name; NULL: neither. */
static const char *value(const struct field *f, const char *p, int *ret)
{
	char *end;
	long n;

	for (int i = 0; i < f->nr_names; i++)
		if (strncasecmp(p, f->names[i], 3) == 0) {
			*ret = f->first + i;
			return p + 3;
		}
	n = strtol(p, &end, 10);
	if (end == p || *p == '-' || *p == '+' || n < f->first || n > f->last)
		return NULL;
	*ret = (int)n;
	return end;
}

/* One item of a list: "*", "*" "/5", "3", "1-5", "1-9/2". */
static const char *item(const struct field *f, const char *p, uint64_t *bits,
			bool *star)
{
	int from = f->first, to = f->last, step = 1;
	char *end;

	if (*p == '*' || *p == '?') {
		p++;
		*star |= *p != '/';
	} else {
		p = value(f, p, &from);
		to = from;
		if (p && *p == '-')
			p = value(f, p + 1, &to);
		else if (p && *p == '/')
			to = f->last;
	}
	if (p && *p == '/') {
		step = (int)strtol(p + 1, &end, 10);
		p = end == p + 1 || step < 1 ? NULL : end;
	}
	if (!p || from > to)
		return NULL;
	for (int i = from; i <= to; i += step)
		*bits |= 1ull << i;
	return p;
}

static int field_parse(const struct field *f, const char *text, uint64_t *bits,
		       bool *star)
{
	const char *p = text;

	do {
		p = item(f, p, bits, star);
	} while (p && *p == ',' && p++);
	return p && !*p ? 0 : -EINVAL;
}

static const char *nickname(const char *text)
{
	static const char *const names[][2] = {
		{ "@yearly", "0 0 1 1 *" },  { "@annually", "0 0 1 1 *" },
		{ "@monthly", "0 0 1 * *" }, { "@weekly", "0 0 * * 0" },
		{ "@daily", "0 0 * * *" },   { "@midnight", "0 0 * * *" },
		{ "@hourly", "0 * * * *" },
	};

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (strcmp(names[i][0], text) == 0)
			return names[i][1];
	return text;
}

int cron_parse(const char *text, struct cron *ret, struct err *e)
{
	char part[5][64], more[2];
	bool star[5] = { false };
	uint64_t bits[5] = { 0 };

	if (sscanf(nickname(text), "%63s %63s %63s %63s %63s %1s", part[0],
		   part[1], part[2], part[3], part[4], more) != 5)
		return err_set(e, -EINVAL, "'%s' has not five fields", text);
	for (int i = 0; i < 5; i++)
		if (field_parse(&fields[i], part[i], &bits[i], &star[i]) < 0)
			return err_set(e, -EINVAL,
				       "'%s': '%s' is no such "
				       "field",
				       text, part[i]);
	/* Seven is Sunday, too. */
	bits[4] |= bits[4] >> 7;
	*ret = (struct cron){ .minutes = bits[0],
			      .hours = (uint32_t)bits[1],
			      .days = (uint32_t)bits[2],
			      .months = (uint32_t)bits[3],
			      .weekdays = bits[4] & 0x7f,
			      .any_day = star[2],
			      .any_weekday = star[4] };
	return 0;
}

/* Day and weekday both given: either will do. */
static bool is_day(const struct cron *c, const struct tm *tm)
{
	bool day = c->days >> tm->tm_mday & 1;
	bool week = c->weekdays >> tm->tm_wday & 1;

	if (c->any_day || c->any_weekday)
		return day && week;
	return day || week;
}

int64_t cron_next(const struct cron *c, int64_t after_s, int64_t offset_s)
{
	time_t t = (time_t)((after_s + offset_s) / 60 * 60 + 60);
	time_t end = t + (time_t)YEARS * 366 * 86400;
	struct tm tm;

	while (t < end) {
		gmtime_r(&t, &tm);
		if (!(c->months >> (tm.tm_mon + 1) & 1) || !is_day(c, &tm))
			t += 86400 - tm.tm_hour * 3600 - tm.tm_min * 60;
		else if (!(c->hours >> tm.tm_hour & 1))
			t += 3600 - tm.tm_min * 60;
		else if (!(c->minutes >> tm.tm_min & 1))
			t += 60;
		else
			return t - offset_s;
	}
	return 0;
}

// SPDX-License-Identifier: Apache-2.0
/* Points in time and durations: RFC 3339 and Go's "1h30m". */
#include <stdio.h>
#include <time.h>

#include "lib/cel/fn.h"
#include "lib/str.h"

#define SECOND 1000000000LL

/* --- text --- */

/* @n digits at *@p; -1: they are not there. */
static int digits(const char **p, const char *end, int n)
{
	int v = 0;

	if (end - *p < n)
		return -1;
	for (; n; n--, (*p)++) {
		if (**p < '0' || **p > '9')
			return -1;
		v = 10 * v + **p - '0';
	}
	return v;
}

static bool skip(const char **p, const char *end, const char *any)
{
	if (*p == end || !strchr(any, **p))
		return false;
	(*p)++;
	return true;
}

/* "Z", "+02:00"; seconds east of Greenwich. */
static bool zone_parse(const char **p, const char *end, int *ret_s)
{
	bool west = *p < end && **p == '-';
	int h, m;

	*ret_s = 0;
	if (skip(p, end, "Zz"))
		return true;
	if (!skip(p, end, "+-"))
		return false;
	h = digits(p, end, 2);
	if (!skip(p, end, ":"))
		return false;
	m = digits(p, end, 2);
	*ret_s = (h * 60 + m) * (west ? -60 : 60);
	return h >= 0 && h < 24 && m >= 0 && m < 60;
}

/* A date alone, too, which is midnight of it. */
bool cel_time_parse(const char *s, size_t len, int64_t *ret_s, int32_t *ret_ns)
{
	const char *p = s, *end = s + len;
	struct tm tm = { 0 };
	int64_t ns = 0, scale = SECOND;
	int zone = 0;

	tm.tm_year = digits(&p, end, 4) - 1900;
	if (!skip(&p, end, "-"))
		return false;
	tm.tm_mon = digits(&p, end, 2) - 1;
	if (!skip(&p, end, "-"))
		return false;
	tm.tm_mday = digits(&p, end, 2);
	if (p != end) {
		if (!skip(&p, end, "Tt"))
			return false;
		tm.tm_hour = digits(&p, end, 2);
		if (!skip(&p, end, ":"))
			return false;
		tm.tm_min = digits(&p, end, 2);
		if (!skip(&p, end, ":"))
			return false;
		tm.tm_sec = digits(&p, end, 2);
		if (skip(&p, end, "."))
			for (; p < end && *p >= '0' && *p <= '9'; p++)
				ns += (*p - '0') * (scale /= 10);
		if (!zone_parse(&p, end, &zone) || p != end)
			return false;
	}
	if (tm.tm_year < -1899 || tm.tm_mon < 0 || tm.tm_mon > 11 ||
	    tm.tm_mday < 1 || tm.tm_mday > 31 || tm.tm_hour < 0 ||
	    tm.tm_hour > 23 || tm.tm_min < 0 || tm.tm_min > 59 ||
	    tm.tm_sec < 0 || tm.tm_sec > 59)
		return false;
	*ret_s = timegm(&tm) - zone;
	*ret_ns = (int32_t)ns;
	return true;
}

void cel_time_format(int64_t s, int32_t ns, struct buf *b)
{
	char text[40], part[16];
	time_t t = s;
	struct tm tm;

	gmtime_r(&t, &tm);
	snprintf(text, sizeof(text), "%04d-%02d-%02dT%02d:%02d:%02d",
		 tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour,
		 tm.tm_min, tm.tm_sec);
	buf_puts(b, text);
	if (ns) {
		size_t n = snprintf(part, sizeof(part), ".%09d", ns);

		while (part[n - 1] == '0')
			n--;
		buf_add(b, part, n);
	}
	buf_putc(b, 'Z');
}

static const struct {
	const char *name;
	int64_t ns;
} units[] = {
	{ "ns", 1 },           { "us", 1000 },       { "ms", 1000000 },
	{ "s", SECOND },       { "m", 60 * SECOND }, { "h", 3600 * SECOND },
	{ "\xc2\xb5s", 1000 },
};

/* One amount with its unit, added to *@sum. */
static bool duration_part(const char **p, const char *end, __int128 *sum)
{
	__int128 whole = 0, part = 0, scale = 1;
	const char *at = *p;
	size_t i;

	for (; *p < end && **p >= '0' && **p <= '9' && whole < INT64_MAX;
	     (*p)++)
		whole = 10 * whole + **p - '0';
	if (skip(p, end, "."))
		for (; *p < end && **p >= '0' && **p <= '9'; (*p)++) {
			if (scale > SECOND * SECOND)
				continue;
			part = 10 * part + **p - '0';
			scale *= 10;
		}
	if (*p == at)
		return false;
	for (i = ARRAY_LEN(units); i--;) {
		size_t n = strlen(units[i].name);

		if ((size_t)(end - *p) < n || memcmp(*p, units[i].name, n) != 0)
			continue;
		/* "m" may be the beginning of "ms". */
		if (n == 1 && units[i].name[0] == 'm' && end - *p > 1 &&
		    (*p)[1] == 's')
			continue;
		*p += n;
		*sum += whole * units[i].ns + part * units[i].ns / scale;
		return *sum <= INT64_MAX;
	}
	return false;
}

bool cel_duration_parse(const char *s, size_t len, int64_t *ret_ns)
{
	const char *p = s, *end = s + len;
	bool minus = len && *s == '-';
	__int128 sum = 0;

	skip(&p, end, "+-");
	if (end - p == 1 && *p == '0') {
		*ret_ns = 0;
		return true;
	}
	if (p == end)
		return false;
	while (p < end)
		if (!duration_part(&p, end, &sum))
			return false;
	*ret_ns = (int64_t)(minus ? -sum : sum);
	return true;
}

void cel_duration_format(int64_t ns, struct buf *b)
{
	char text[40];
	uint64_t u = ns < 0 ? 0 - (uint64_t)ns : (uint64_t)ns;
	size_t n = snprintf(text, sizeof(text), "%s%llu.%09llu",
			    ns < 0 ? "-" : "", (unsigned long long)(u / SECOND),
			    (unsigned long long)(u % SECOND));

	while (text[n - 1] == '0')
		n--;
	n -= text[n - 1] == '.';
	buf_add(b, text, n);
	buf_putc(b, 's');
}

/* --- functions --- */

FN(timestamp_of_text)
{
	ret->kind = CEL_TIMESTAMP;
	ret->json = false;
	if (cel_time_parse(a->text.s, a->text.len, &ret->time.s, &ret->time.ns))
		return 0;
	return run_fail(r, "invalid timestamp '%.*s'",
			(int)(a->text.len < 60 ? a->text.len : 60), a->text.s);
}

FN(timestamp_of_int)
{
	ret->kind = CEL_TIMESTAMP;
	ret->json = false;
	ret->time.ns = 0;
	if (a->i < -62135596800 || a->i > 253402300799)
		return run_fail(r, "timestamp overflow");
	ret->time.s = a->i;
	return 0;
}

FN(duration_of_text)
{
	int64_t ns;

	if (!cel_duration_parse(a->text.s, a->text.len, &ns))
		return run_fail(r, "invalid duration '%.*s'",
				(int)(a->text.len < 60 ? a->text.len : 60),
				a->text.s);
	*ret = (struct cel_value){ .kind = CEL_DURATION, .i = ns };
	return 0;
}

FN(self)
{
	*ret = a[0];
	return 0;
}

/* The parts of a time, in the zone of a second argument. */
static int parts(struct run *r, const struct cel_value *a, size_t nr,
		 struct tm *tm)
{
	int zone = 0;
	time_t t;

	if (nr > 1) {
		char text[32], full[40];
		const char *p = full;
		size_t n = a[1].text.len < 30 ? a[1].text.len : 30;

		memcpy(text, a[1].text.s, n);
		text[n] = '\0';
		snprintf(full, sizeof(full), "%s%s",
			 strchr("+-", *text) ? "" : "+", text);
		if (strcmp(text, "UTC") != 0 && *text &&
		    (!zone_parse(&p, full + strlen(full), &zone) || *p))
			return run_fail(r,
					"unknown time zone %s: only UTC and "
					"offsets, as +02:00, are known",
					text);
	}
	t = a->time.s + zone;
	gmtime_r(&t, tm);
	return 0;
}

#define PART(fn_name, expr)                           \
	FN(fn_name)                                   \
	{                                             \
		struct tm tm;                         \
		int e = parts(r, a, nr, &tm);         \
                                                      \
		*ret = value_int(e < 0 ? 0 : (expr)); \
		return e;                             \
	}

PART(full_year, tm.tm_year + 1900)
PART(month, tm.tm_mon)
PART(date, tm.tm_mday)
PART(day_of_month, tm.tm_mday - 1)
PART(day_of_week, tm.tm_wday)
PART(day_of_year, tm.tm_yday)
PART(hours, tm.tm_hour)
PART(minutes, tm.tm_min)
PART(seconds, tm.tm_sec)
PART(milliseconds, a->time.ns / 1000000)

#define SPAN(fn_name, expr)             \
	FN(fn_name)                     \
	{                               \
		*ret = value_int(expr); \
		return 0;               \
	}

SPAN(span_hours, a->i / (3600 * SECOND))
SPAN(span_minutes, a->i / (60 * SECOND))
SPAN(span_seconds, a->i / SECOND)
SPAN(span_milliseconds, a->i / 1000000 % 1000)

const struct cel_fn cel_fns_time[] = {
	{ "timestamp", "s", 't', timestamp_of_text },
	{ "timestamp", "i", 't', timestamp_of_int },
	{ "timestamp", "t", 't', self },
	{ "duration", "s", 'D', duration_of_text },
	{ "duration", "D", 'D', self },
	{ "getFullYear", "t.", 'i', full_year },
	{ "getFullYear", "t.s", 'i', full_year },
	{ "getMonth", "t.", 'i', month },
	{ "getMonth", "t.s", 'i', month },
	{ "getDate", "t.", 'i', date },
	{ "getDate", "t.s", 'i', date },
	{ "getDayOfMonth", "t.", 'i', day_of_month },
	{ "getDayOfMonth", "t.s", 'i', day_of_month },
	{ "getDayOfWeek", "t.", 'i', day_of_week },
	{ "getDayOfWeek", "t.s", 'i', day_of_week },
	{ "getDayOfYear", "t.", 'i', day_of_year },
	{ "getDayOfYear", "t.s", 'i', day_of_year },
	{ "getHours", "t.", 'i', hours },
	{ "getHours", "t.s", 'i', hours },
	{ "getHours", "D.", 'i', span_hours },
	{ "getMinutes", "t.", 'i', minutes },
	{ "getMinutes", "t.s", 'i', minutes },
	{ "getMinutes", "D.", 'i', span_minutes },
	{ "getSeconds", "t.", 'i', seconds },
	{ "getSeconds", "t.s", 'i', seconds },
	{ "getSeconds", "D.", 'i', span_seconds },
	{ "getMilliseconds", "t.", 'i', milliseconds },
	{ "getMilliseconds", "t.s", 'i', milliseconds },
	{ "getMilliseconds", "D.", 'i', span_milliseconds },
	{ 0 },
};

// SPDX-License-Identifier: Apache-2.0
/* One record of a log in the CRI format. Pure. */
#include <errno.h>
#include <string.h>

#include "agent/logs/internal.h"

/* @n decimal digits at @s. -1: they are none. */
static int digits(const char *s, int n)
{
	int v = 0;

	for (; n > 0; n--, s++) {
		if (*s < '0' || *s > '9')
			return -1;
		v = v * 10 + (*s - '0');
	}
	return v;
}

static bool in(int v, int min, int max)
{
	return v >= min && v <= max;
}

/* "Z" or "+02:00", whole. */
static int zone_parse(const char *s, size_t len, int *ret_s)
{
	int h, m;

	if (len == 1 && (*s == 'Z' || *s == 'z')) {
		*ret_s = 0;
		return 0;
	}
	if (len != 6 || (*s != '+' && *s != '-') || s[3] != ':')
		return -EBADMSG;
	h = digits(s + 1, 2);
	m = digits(s + 4, 2);
	if (!in(h, 0, 23) || !in(m, 0, 59))
		return -EBADMSG;
	*ret_s = (h * 3600 + m * 60) * (*s == '-' ? -1 : 1);
	return 0;
}

int log_time_parse(const char *s, size_t len, struct timespec *ret)
{
	struct tm tm = { 0 };
	long ns = 0, unit = 100000000;
	size_t i = 19;
	int zone_s;

	if (len < 20 || s[4] != '-' || s[7] != '-' ||
	    (s[10] != 'T' && s[10] != 't') || s[13] != ':' || s[16] != ':')
		return -EBADMSG;
	tm.tm_year = digits(s, 4) - 1900;
	tm.tm_mon = digits(s + 5, 2) - 1;
	tm.tm_mday = digits(s + 8, 2);
	tm.tm_hour = digits(s + 11, 2);
	tm.tm_min = digits(s + 14, 2);
	tm.tm_sec = digits(s + 17, 2);
	if (digits(s, 4) < 0 || !in(tm.tm_mon, 0, 11) ||
	    !in(tm.tm_mday, 1, 31) || !in(tm.tm_hour, 0, 23) ||
	    !in(tm.tm_min, 0, 59) || !in(tm.tm_sec, 0, 60))
		return -EBADMSG;
	if (s[i] == '.') {
		if (++i == len || digits(s + i, 1) < 0)
			return -EBADMSG;
		for (; i < len && digits(s + i, 1) >= 0; i++, unit /= 10)
			ns += unit * (s[i] - '0');
	}
	if (zone_parse(s + i, len - i, &zone_s) < 0)
		return -EBADMSG;
	ret->tv_sec = timegm(&tm) - zone_s;
	ret->tv_nsec = ns;
	return 0;
}

/* The word up to the next blank at *@s, which moves behind that. */
static size_t word(const char **s, const char *end, const char **ret)
{
	const char *blank = memchr(*s, ' ', (size_t)(end - *s));

	if (!blank)
		return 0;
	*ret = *s;
	*s = blank + 1;
	return (size_t)(blank - *ret);
}

int log_record_parse(const char *line, size_t len, struct log_record *ret)
{
	const char *s = line, *end = line + len, *w;
	struct log_record r = { 0 };
	size_t n;

	/* Whatever the text is, what precedes it is short. */
	r.stamp_len = word(&s, end, &r.stamp);
	if (r.stamp_len == 0 || r.stamp_len > 40 ||
	    log_time_parse(r.stamp, r.stamp_len, &r.time) < 0)
		return -EBADMSG;
	n = word(&s, end, &w);
	if (n != 6 || (memcmp(w, "stdout", 6) && memcmp(w, "stderr", 6)))
		return -EBADMSG;
	r.is_stderr = w[3] == 'e';
	n = word(&s, end, &w);
	/* Further tags may follow the first: "P:x". */
	if (n == 0 || n > 16 || (*w != 'P' && *w != 'F') ||
	    (n > 1 && w[1] != ':'))
		return -EBADMSG;
	r.partial = *w == 'P';
	r.text = s;
	r.text_len = (size_t)(end - s);
	*ret = r;
	return 0;
}

// SPDX-License-Identifier: Apache-2.0
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "lib/auto.h"
#include "lib/buf.h"
#include "lib/err.h"
#include "lib/http/url.h"

static int hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)tolower((unsigned char)c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* In place. */
static int decode(char *s, bool plus_is_blank, struct err *e)
{
	char *to = s;

	for (; *s; s++) {
		int c = (unsigned char)*s;

		if (c == '%') {
			if (hex(s[1]) < 0 || hex(s[2]) < 0)
				return err_set(e, -EBADMSG,
					       "a bad %% sequence in the URL");
			c = hex(s[1]) << 4 | hex(s[2]);
			s += 2;
		} else if (c == '+' && plus_is_blank) {
			c = ' ';
		}
		if (!c)
			return err_set(e, -EBADMSG, "NUL in the URL");
		*to++ = (char)c;
	}
	*to = '\0';
	return 0;
}

static int add_segment(struct url *u, char *s, struct err *e)
{
	int r;

	if (u->nr_segments == URL_SEGMENTS_MAX)
		return err_set(e, -E2BIG, "too many segments in the URL");
	r = decode(s, false, e);
	if (r < 0)
		return r;
	if (!*s || strcmp(s, ".") == 0 || strcmp(s, "..") == 0 ||
	    strchr(s, '/'))
		return err_set(e, -EBADMSG, "a bad segment in the URL");
	u->segment[u->nr_segments++] = s;
	return 0;
}

static int add_param(struct url *u, char *s, struct err *e)
{
	char *value = strchr(s, '=');
	int r;

	if (!*s)
		return 0;
	if (u->nr_params == URL_PARAMS_MAX)
		return err_set(e, -E2BIG, "too many parameters in the URL");
	if (value)
		*value++ = '\0';
	else
		value = strchr(s, '\0');
	r = decode(s, true, e);
	if (r == 0)
		r = decode(value, true, e);
	if (r == 0)
		u->param[u->nr_params++] = (struct url_param){ s, value };
	return r;
}

static int parse(struct url *u, char *s, struct err *e)
{
	char *query = strchr(s, '?');
	int r = 0;

	if (query)
		*query++ = '\0';
	if (*s++ != '/')
		return err_set(e, -EBADMSG, "a URL must begin with '/'");
	while (r == 0 && s && *s) {
		char *part = strsep(&s, "/");

		/* One slash at the end is nothing. */
		r = add_segment(u, part, e);
	}
	while (r == 0 && query)
		r = add_param(u, strsep(&query, "&"), e);
	return r;
}

int url_parse(const char *target, struct url *ret, struct err *e)
{
	struct url u = { .text = strdup(target) };
	int r;

	if (!u.text)
		return err_set(e, -ENOMEM, "out of memory");
	r = parse(&u, u.text, e);
	if (r < 0) {
		url_clear(&u);
		return r;
	}
	*ret = u;
	return 0;
}

void url_clear(struct url *u)
{
	free(u->text);
	*u = (struct url){ .text = NULL };
}

const char *url_param(const struct url *u, const char *name)
{
	for (size_t i = 0; i < u->nr_params; i++)
		if (strcmp(u->param[i].name, name) == 0)
			return u->param[i].value;
	return NULL;
}

bool url_is_true(const char *value)
{
	return strcasecmp(value, "false") != 0 && strcmp(value, "0") != 0;
}

bool url_flag(const struct url *u, const char *name)
{
	const char *v = url_param(u, name);

	return v && url_is_true(v);
}

void url_encode(struct buf *b, const char *s)
{
	for (; *s; s++) {
		unsigned char c = (unsigned char)*s;

		if (isalnum(c) || strchr("-._~", c))
			buf_putc(b, *s);
		else
			buf_printf(b, "%%%02X", c);
	}
}

// SPDX-License-Identifier: Apache-2.0
/* Where in a manifest we are, and all that was found wrong with it. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "agent/spec_fields.h"
#include "lib/buf.h"
#include "lib/err.h"
#include "lib/str.h"

#define TOLD_MAX  16384 /* bytes of all faults */
#define MORE_SIZE 32    /* of "; and N more" */

size_t spec_push(struct spec_ctx *c, const char *name)
{
	size_t mark = c->len;
	size_t room = sizeof(c->path) - c->len;
	int n = snprintf(c->path + c->len, room, "%s%.64s", c->len ? "." : "",
			 name);

	c->len += n > 0 && (size_t)n < room ? (size_t)n : 0;
	return mark;
}

size_t spec_push_index(struct spec_ctx *c, size_t i)
{
	size_t mark = c->len;
	size_t room = sizeof(c->path) - c->len;
	int n = snprintf(c->path + c->len, room, "[%zu]", i);

	c->len += n > 0 && (size_t)n < room ? (size_t)n : 0;
	return mark;
}

void spec_pop(struct spec_ctx *c, size_t mark)
{
	c->len = mark;
	c->path[mark] = '\0';
}

static int fail(struct spec_ctx *c, int code, const char *fmt, va_list ap)
	__attribute__((format(printf, 3, 0)));

static int fail(struct spec_ctx *c, int code, const char *fmt, va_list ap)
{
	char text[ERR_MSG_SIZE];

	vsnprintf(text, sizeof(text), fmt, ap);
	c->pending = true;
	if (!c->len)
		return err_set(c->e, code, "%s", text);
	return err_set(c->e, code, "%s: %s", c->path, text);
}

int spec_fail(struct spec_ctx *c, int code, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	code = fail(c, code, fmt, ap);
	va_end(ap);
	return code;
}

int spec_fail_at(struct spec_ctx *c, const char *name, const char *fmt, ...)
{
	va_list ap;

	(void)spec_push(c, name);
	va_start(ap, fmt);
	(void)fail(c, -EINVAL, fmt, ap);
	va_end(ap);
	return -EINVAL;
}

/* One line; what somebody else wrote may be in it. */
static void tell(struct spec_ctx *c)
{
	if (c->told->len > TOLD_MAX) {
		c->nr_untold++;
		return;
	}
	if (c->nr_told++)
		buf_putc(c->told, '\n');
	for (const char *s = c->e->msg; *s; s++)
		buf_putc(c->told, (unsigned char)*s < ' ' ? '?' : *s);
}

void spec_note(struct spec_ctx *c, size_t mark, int r, int *first)
{
	if (r < 0 && c->pending)
		tell(c);
	c->pending = false;
	if (r < 0 && *first == 0)
		*first = r;
	spec_pop(c, mark);
}

void spec_fault(struct spec_ctx *c, int *first, const char *name,
		const char *fmt, ...)
{
	size_t mark = c->len;
	va_list ap;

	if (name)
		(void)spec_push(c, name);
	va_start(ap, fmt);
	(void)fail(c, -EINVAL, fmt, ap);
	va_end(ap);
	spec_note(c, mark, -EINVAL, first);
}

bool spec_faulty(struct spec_ctx *c, const char *name)
{
	size_t mark, len;
	bool found = false;

	if (!c->nr_told)
		return false;
	mark = spec_push(c, name);
	len = c->len;
	for (const char *s = buf_str(c->told); s && !found;
	     s = strchr(s, '\n')) {
		s += *s == '\n';
		found = strncmp(s, c->path, len) == 0 && s[len] &&
			strchr(".[:", s[len]);
	}
	spec_pop(c, mark);
	return found;
}

int spec_tell(struct spec_ctx *c, int r)
{
	auto_buf struct buf one = BUF_INIT;
	unsigned int left;
	const char *s;
	int first = 0;

	spec_note(c, c->len, r, &first);
	left = c->nr_told + c->nr_untold;
	for (s = buf_str(c->told); *s;) {
		size_t n = strcspn(s, "\n");

		if (one.len && one.len + n + MORE_SIZE >= ERR_MSG_SIZE)
			break;
		buf_printf(&one, "%s%.*s", one.len ? "; " : "", (int)n, s);
		left--;
		s += n + (s[n] == '\n');
	}
	if (left)
		buf_printf(&one, "; and %u more", left);
	if (c->nr_untold)
		buf_printf(c->told, "\nand %u more", c->nr_untold);
	return err_set(c->e, r, "%s", buf_str(&one));
}

// SPDX-License-Identifier: Apache-2.0
#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "lib/err.h"

/* Put "@prefix: " before the message. If both do not fit, the cause wins. */
static void prepend(struct err *e, const char *prefix)
{
	size_t cause = strlen(e->msg);
	size_t len = strlen(prefix);

	if (len + 2 + cause >= sizeof(e->msg))
		return;
	memmove(e->msg + len + 2, e->msg, cause + 1);
	memcpy(e->msg, prefix, len);
	memcpy(e->msg + len, ": ", 2);
}

int err_set(struct err *e, int code, const char *fmt, ...)
{
	va_list ap;

	assert(code < 0);
	if (!e)
		return code;

	va_start(ap, fmt);
	vsnprintf(e->msg, sizeof(e->msg), fmt, ap);
	va_end(ap);
	e->code = code;
	return code;
}

/* The message starts over unless it already tells the story of @code. */
static void begin(struct err *e, int code)
{
	if (e->code == code && e->msg[0])
		return;
	snprintf(e->msg, sizeof(e->msg), "%s", strerror(-code));
	e->code = code;
}

int err_sys(struct err *e, const char *fmt, ...)
{
	int code = errno ? -errno : -EIO;
	char prefix[ERR_MSG_SIZE];
	va_list ap;

	if (!e)
		return code;

	va_start(ap, fmt);
	vsnprintf(prefix, sizeof(prefix), fmt, ap);
	va_end(ap);
	e->code = 0;
	begin(e, code);
	prepend(e, prefix);
	return code;
}

int err_wrap(struct err *e, int code, const char *fmt, ...)
{
	char prefix[ERR_MSG_SIZE];
	va_list ap;

	assert(code < 0);
	if (!e)
		return code;

	va_start(ap, fmt);
	vsnprintf(prefix, sizeof(prefix), fmt, ap);
	va_end(ap);
	begin(e, code);
	prepend(e, prefix);
	return code;
}

// SPDX-License-Identifier: Apache-2.0
#include <ctype.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "lib/log.h"

#define LOG_LINE_MAX 2048

static atomic_int max_level = LOG_INFO;

void log_set_level(int level)
{
	atomic_store_explicit(&max_level, level, memory_order_relaxed);
}

int log_level(void)
{
	return atomic_load_explicit(&max_level, memory_order_relaxed);
}

/* Foreign text must not forge lines or drive the terminal. */
static void disarm(char *s)
{
	for (; *s; s++)
		if (iscntrl((unsigned char)*s))
			*s = '?';
}

static size_t prefix(char *line, size_t size, int level)
{
	static const char *const words[] = {
		[LOG_ERR] = "error",
		[LOG_WARNING] = "warn",
		[LOG_INFO] = "info",
		[LOG_DEBUG] = "debug",
	};
	struct timespec now;
	struct tm tm;
	size_t len;

	if (getenv("JOURNAL_STREAM"))
		return (size_t)snprintf(line, size, "<%d>", level);
	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &tm);
	len = strftime(line, size, "%Y-%m-%dT%H:%M:%S", &tm);
	len += (size_t)snprintf(line + len, size - len, ".%03ldZ %s ",
				now.tv_nsec / 1000000,
				level >= 0 && level <= LOG_DEBUG && words[level]
					? words[level]
					: "info");
	return len;
}

void log_write(int level, const char *fmt, ...)
{
	char line[LOG_LINE_MAX];
	size_t len;
	va_list ap;

	if (level > log_level())
		return;
	len = prefix(line, sizeof(line), level);
	va_start(ap, fmt);
	vsnprintf(line + len, sizeof(line) - len - 1, fmt, ap);
	va_end(ap);
	disarm(line + len);
	len = strlen(line);
	line[len++] = '\n';
	/* One write per line, so that lines of several threads do not mix. */
	if (write(STDERR_FILENO, line, len) < 0)
		return; /* nowhere left to say so */
}

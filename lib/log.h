/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One line per event on stderr, "<level>" prefixed for journald when stderr is
 * the journal. Libraries never call this: they fill a struct err.
 */
#ifndef LIB_LOG_H
#define LIB_LOG_H

#include <syslog.h>

void log_set_level(int level); /* LOG_ERR .. LOG_DEBUG; LOG_INFO at start */
int log_level(void);
void log_write(int level, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

#define log_error(...) log_write(LOG_ERR, __VA_ARGS__)
#define log_warn(...)  log_write(LOG_WARNING, __VA_ARGS__)
#define log_info(...)  log_write(LOG_INFO, __VA_ARGS__)
#define log_debug(...)                                     \
	do {                                               \
		if (log_level() >= LOG_DEBUG)              \
			log_write(LOG_DEBUG, __VA_ARGS__); \
	} while (0)

#endif /* LIB_LOG_H */

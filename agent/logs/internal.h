/* SPDX-License-Identifier: Apache-2.0 */
/* Shared inside agent/logs/ only. */
#ifndef AGENT_LOGS_INTERNAL_H
#define AGENT_LOGS_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "agent/logs/logs.h"

#define LOG_FILES_MAX (LOG_ROTATED_MAX + 1)
#define LOG_HEAD_MAX  64 /* bytes up to the text, at most */

/* The files of one attempt, oldest first. Owned descriptors. */
struct log_files {
	int fd[LOG_FILES_MAX];
	size_t nr;
};

#define LOG_FILES_INIT  \
	{               \
		.nr = 0 \
	}

/* Open <attempt>.log and its rotated ones. 0 (@ret may be empty) or -errno. */
int log_files_open(int dirfd, uint32_t attempt, struct log_files *ret,
		   struct err *e);
void log_files_close(struct log_files *f);
/* Do both descriptors show the same file? */
bool log_same_file(int a, int b);

/* A place in a struct log_files. */
struct log_place {
	size_t file;
	off_t offset;
};

/**
 * log_tail_find() - Where the last @nr lines begin.
 * @ret_range: The first record that counts.
 * @ret_start: Where to start reading: earlier, if pieces of a line that ends
 *             in the range stand before it.
 */
int log_tail_find(const struct log_files *f, const struct log_opts *opts,
		  struct log_place *ret_range, struct log_place *ret_start,
		  struct err *e);

#endif /* AGENT_LOGS_INTERNAL_H */

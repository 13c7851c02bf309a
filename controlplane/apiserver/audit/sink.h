/* SPDX-License-Identifier: Apache-2.0 */
/* Lines to a file that is rotated, by a thread of its own. */
#ifndef CONTROLPLANE_APISERVER_AUDIT_SINK_H
#define CONTROLPLANE_APISERVER_AUDIT_SINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct sink;

#define SINK_QUEUE_MAX ((size_t)16 * 1024 * 1024) /* bytes that wait */

struct sink_opts {
	const char *path;         /* "-": stdout */
	bool blocking;            /* sink_put() writes itself */
	uint64_t max_bytes;       /* of the file, then it is rotated */
	uint64_t max_age_s;       /* of rotated ones; 0: any */
	unsigned int max_backups; /* of them; 0: all */
};

struct sink_stats {
	uint64_t written, dropped; /* lines */
};

int sink_open(const struct sink_opts *o, struct sink **ret, struct err *e);
/* Writes what is queued, as far as that goes. */
void sink_close(struct sink *s);

/* One line, with its newline. Never waits for the disk, unless blocking; what
 * finds no room, in the queue or on the disk, is dropped and counted. */
void sink_put(struct sink *s, const char *line, size_t len);
/* Open the file anew, from the thread. */
void sink_reopen(struct sink *s);
void sink_stats(struct sink *s, struct sink_stats *ret);

#endif /* CONTROLPLANE_APISERVER_AUDIT_SINK_H */

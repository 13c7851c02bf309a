/* SPDX-License-Identifier: Apache-2.0 */
/* What happened to pods, for 'describe': the last EVENTS_MAX, in memory. */
#ifndef AGENT_EVENTS_H
#define AGENT_EVENTS_H

#include <stdbool.h>

#define EVENTS_MAX 1024

struct agent;
struct buf;
struct pod;

/* Note something; the same again only counts up. @warning: type Warning. */
void event_add(struct pod *pod, bool warning, const char *reason,
	       const char *fmt, ...) __attribute__((format(printf, 4, 5)));

/* Append an EventList, oldest first; of one pod unless @key is NULL. */
int events_render(const char *key, struct buf *out);

#endif /* AGENT_EVENTS_H */

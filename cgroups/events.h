/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Be told when a cgroup becomes empty (or not), or runs out of memory.
 *
 * One struct cg_events watches any number of cgroups with one descriptor:
 * inotify instances are few (128 a user by default). Changes may be merged and
 * are hints: read the state (cg_populated(), cg_mem_events_read()) after one.
 *
 * v2: inotify on cgroup.events and memory.events. Hybrid: the former, and an
 * eventfd from v1 for OOM. Legacy hosts report OOM only.
 *
 * Delete the watch of a cgroup before removing that.
 *
 * Thread-safe: any thread may add and delete while one reads.
 */
#ifndef CGROUPS_EVENTS_H
#define CGROUPS_EVENTS_H

#include <stdint.h>

#include "lib/auto.h"

struct cg;
struct cg_events;
struct err;

enum cg_event_bits {
	CG_EVENT_STATE = 1 << 0,  /* populated or frozen has changed */
	CG_EVENT_MEMORY = 1 << 1, /* memory.events: OOM, limits hit */
	CG_EVENT_GONE = 1 << 2,   /* removed by others; few kernels tell */
	CG_EVENT_LOST = 1 << 3,   /* queue overflow, id 0: check all */
};

struct cg_event {
	uint64_t id; /* as returned by cg_events_add() */
	void *data;  /* as given to it; NULL with CG_EVENT_LOST */
	unsigned int bits;
};

int cg_events_new(struct cg_events **ret, struct err *e);
void cg_events_free(struct cg_events *ev);
DEFINE_AUTO_PTR(cg_events, cg_events_free)

/* Polls EPOLLIN when cg_events_next() has something. Borrowed. */
int cg_events_fd(const struct cg_events *ev);

/* Watch @cg, which may be closed afterwards. @ret_id is never 0. */
int cg_events_add(struct cg_events *ev, const struct cg *cg, void *data,
		  uint64_t *ret_id, struct err *e);

/* After return @id is not reported any more. Unknown ids are ignored. */
void cg_events_del(struct cg_events *ev, uint64_t id);

/* 1: @ret is set. 0: nothing more now. Or -errno. Never blocks. */
int cg_events_next(struct cg_events *ev, struct cg_event *ret);

#endif /* CGROUPS_EVENTS_H */

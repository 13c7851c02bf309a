/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The scheduler: informers feed a core (core.h) on one thread of its own; binds
 * go out side by side, without waiting for one another.
 */
#ifndef CONTROLPLANE_SCHEDULER_SCHEDULER_H
#define CONTROLPLANE_SCHEDULER_SCHEDULER_H

#include "lib/auto.h"

struct buf;
struct shared;
struct scheduler;
struct err;

/* Subscribes; the caller then starts the informers. @name: what pods say in
 * spec.schedulerName; NULL: "default-scheduler". */
int scheduler_new(struct shared *shared, const char *name,
		  struct scheduler **ret, struct err *e);
/* No further decisions; waits for binds that are on their way. */
void scheduler_stop(struct scheduler *s);
/* scheduler_*, as Kubernetes names them. */
void scheduler_metrics(struct scheduler *s, struct buf *b);
/* After the informers are freed. */
void scheduler_free(struct scheduler *s);
DEFINE_AUTO_PTR(scheduler, scheduler_free)

#endif /* CONTROLPLANE_SCHEDULER_SCHEDULER_H */

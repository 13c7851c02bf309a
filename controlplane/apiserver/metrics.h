/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is counted of requests, by the thread that serves them and without a
 * lock; /metrics adds the threads up and names them as Kubernetes does.
 *
 * How many different series there are is bounded: by SERIES_MAX of a thread,
 * and because labels are names of ours. Tenants are no label, and the custom
 * types of tenants count as one resource: what tenants make up must not grow
 * what the system keeps. Custom types of tenant system, forced ones included,
 * count by name.
 */
#ifndef CONTROLPLANE_APISERVER_METRICS_H
#define CONTROLPLANE_APISERVER_METRICS_H

#include "lib/prom.h"

struct api;
struct buf;
struct metrics;
struct req;

struct metrics *metrics_new(void);
void metrics_free(struct metrics *m);

/* It is who it says, may do it, and is about to be served. */
void metrics_begin(struct req *r);
/* It is over; all of it was sent, or nobody is there to take it. */
void metrics_end(struct req *r);
/* An event of a watch is on its way. */
void metrics_event(struct req *r);
void metrics_handshake_failed(struct metrics *m);

/* All of /metrics. */
void metrics_text(struct api *api, struct buf *b);

#endif /* CONTROLPLANE_APISERVER_METRICS_H */

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What pods use, now and over the last seconds. CPU times are read every 10 s,
 * one small file a container, so that whoever asks gets a rate at once.
 */
#ifndef AGENT_FIGURES_H
#define AGENT_FIGURES_H

struct agent;
struct buf;
struct err;

#define FIGURES_KEY "@figures" /* in the queue, where pods' keys are */

/* Remember CPU times, and look again. By a worker, for FIGURES_KEY. */
void figures_look(struct agent *a);

/* Of the backends (@arg: the agent): */
/* /stats/summary, whole, and with CPU and memory alone. */
int backend_stats(void *arg, struct buf *out, struct err *e);
int backend_usage(void *arg, struct buf *out, struct err *e);
/* /metrics, /metrics/cadvisor; /metrics/resource. */
int backend_metrics(void *arg, struct buf *out, struct err *e);
int backend_cadvisor(void *arg, struct buf *out, struct err *e);
int backend_resource(void *arg, struct buf *out, struct err *e);

#endif /* AGENT_FIGURES_H */

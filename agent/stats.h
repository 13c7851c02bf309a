/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What pods use: read from their cgroups, written as kubelet's /stats/summary
 * and as Prometheus text with cadvisor's names.
 */
#ifndef AGENT_STATS_H
#define AGENT_STATS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cgroups/cpu.h"
#include "cgroups/io.h"
#include "cgroups/memory.h"
#include "cgroups/pressure.h"

struct buf;
struct cg;
struct err;

struct stats {
	uint64_t time_ms; /* CLOCK_REALTIME, when it was read */
	bool has_cpu, has_memory, has_io, has_pids, has_pressure;
	struct cg_cpu_stat cpu;
	struct cg_cpu_max cpu_max; /* read back: the limit in force */
	uint64_t mem_current_bytes, mem_working_set_bytes, mem_max_bytes;
	uint64_t mem_peak_bytes; /* 0: the kernel does not tell */
	uint64_t swap_bytes;
	struct cg_mem_stat mem;
	struct cg_mem_events mem_events;
	struct cg_io_stat io;
	uint64_t pids, pids_max;
	struct cg_pressure pressure[CG_NR_PRESSURES];
};

/**
 * stats_read() - Read all figures of one cgroup.
 *
 * What this host does not provide is left out (has_...). About a dozen small
 * reads: cheap enough for one worker to do for hundreds of cgroups a second.
 *
 * Return: 0, or -ENOENT, -ENODEV when the cgroup is gone, -errno.
 */
int stats_read(const struct cg *cg, struct stats *ret, struct err *e);
/* The same of CPU and memory alone. */
int stats_read_usage(const struct cg *cg, struct stats *ret, struct err *e);
/* CPU and memory of the whole host, as kubelet has them of the root cgroup. */
int stats_read_host(struct stats *ret, struct err *e);

/* CPU time used until a moment. */
struct stats_mark {
	uint64_t time_ms; /* CLOCK_REALTIME; 0: none */
	uint64_t usage_us;
};
/* Remember @now as the newest of two. */
void stats_mark(struct stats_mark marks[2], const struct stats *now);
/* The same from @cg, with one read; of what is gone nothing is remembered. */
void stats_mark_cg(struct stats_mark marks[2], const struct cg *cg);
/* CPU time of the host alone, for its mark. */
int stats_read_host_cpu(struct stats *ret, struct err *e);

/* Mean use of CPU, and since when it is measured. */
struct stats_rate {
	uint64_t window_ms; /* 0: it cannot be told yet */
	uint64_t nano;      /* CPUs, in 1e-9 */
};
#define STATS_WINDOW_MS 5000 /* no shorter one, when there is a choice */

/* Between one of @marks (the newest that is old enough) and @now; of what began
 * at @started_ms, not long ago, since then. */
struct stats_rate stats_rate(const struct stats_mark marks[2],
			     uint64_t started_ms, const struct stats *now);

/* One reading and whose it is. Strings are borrowed. */
struct stats_entry {
	const char *tenant, *namespace, *pod, *uid;
	const char *container;   /* NULL: the pod as a whole */
	const char *image;       /* NULL: not known */
	const char *cgroup_path; /* the label "id" */
	uint64_t started_ms;     /* CLOCK_REALTIME */
	struct stats_rate rate;  /* for "usageNanoCores" */
	struct stats stats;
};

/* The JSON of GET /stats/summary. @host: of the node, its name in ->pod.
 * @entries of one pod stand together, the pod's own first. 0 or -ENOMEM. */
int stats_summary(const struct stats_entry *host,
		  const struct stats_entry *entries, size_t nr, struct buf *b);

/* Prometheus text format 0.0.4, as GET /metrics/resource: what autoscalers
 * need and no more. 0 or -ENOMEM. */
int stats_resource(const struct stats_entry *host,
		   const struct stats_entry *entries, size_t nr, struct buf *b);

/* Prometheus text format 0.0.4, as GET /metrics/cadvisor. 0 or -ENOMEM. */
int stats_prometheus(const struct stats_entry *entries, size_t nr,
		     struct buf *b);

#endif /* AGENT_STATS_H */

// SPDX-License-Identifier: Apache-2.0
/* Figures as Prometheus text, under the names cadvisor has given them. */
#include <inttypes.h>
#include <stddef.h>
#include <string.h>

#include "agent/stats.h"
#include "lib/buf.h"
#include "lib/str.h"

enum part { CPU, MEMORY, IO, PIDS, PRESSURE };

/* One metric: a number of struct stats, in millionths if @micro. */
struct metric {
	const char *name, *type, *help;
	enum part part;
	bool micro;
	size_t offset;
	const char *label; /* a further one, ready to print */
};

#define M(part, micro, field, type, name, label, help)                        \
	{                                                                     \
		name, type, help, part, micro, offsetof(struct stats, field), \
			label                                                 \
	}
#define PSI(what, kind)                                                    \
	M(PRESSURE, true, pressure[kind].some.total_us, "counter",         \
	  "container_pressure_" what "_waiting_seconds_total", "",         \
	  "Time in which some tasks waited for " what "."),                \
		M(PRESSURE, true, pressure[kind].full.total_us, "counter", \
		  "container_pressure_" what "_stalled_seconds_total", "", \
		  "Time in which all tasks waited for " what ".")

/* Metrics of one name stand together. */
static const struct metric metrics[] = {
	M(CPU, true, cpu.usage_us, "counter",
	  "container_cpu_usage_seconds_total", ",cpu=\"total\"",
	  "CPU time used."),
	M(CPU, true, cpu.user_us, "counter", "container_cpu_user_seconds_total",
	  "", "CPU time used in user mode."),
	M(CPU, true, cpu.system_us, "counter",
	  "container_cpu_system_seconds_total", "",
	  "CPU time used in the kernel."),
	M(CPU, false, cpu.nr_periods, "counter",
	  "container_cpu_cfs_periods_total", "",
	  "Enforcement periods that have passed."),
	M(CPU, false, cpu.nr_throttled, "counter",
	  "container_cpu_cfs_throttled_periods_total", "",
	  "Periods in which it was throttled."),
	M(CPU, true, cpu.throttled_us, "counter",
	  "container_cpu_cfs_throttled_seconds_total", "",
	  "Time for which it was throttled."),
	M(CPU, false, cpu_max.quota_us, "gauge", "container_spec_cpu_quota", "",
	  "CPU limit in force: microseconds in each period."),
	M(CPU, false, cpu_max.period_us, "gauge", "container_spec_cpu_period",
	  "", "Period of the CPU limit, in microseconds."),
	M(MEMORY, false, mem_current_bytes, "gauge",
	  "container_memory_usage_bytes", "",
	  "Memory in use, page cache included."),
	M(MEMORY, false, mem_working_set_bytes, "gauge",
	  "container_memory_working_set_bytes", "",
	  "Memory in use that is not inactive page cache."),
	M(MEMORY, false, mem.anon, "gauge", "container_memory_rss", "",
	  "Anonymous memory."),
	M(MEMORY, false, mem.file, "gauge", "container_memory_cache", "",
	  "Page cache."),
	M(MEMORY, false, mem.mapped, "gauge", "container_memory_mapped_file",
	  "", "Files mapped into memory."),
	M(MEMORY, false, swap_bytes, "gauge", "container_memory_swap", "",
	  "Swap in use."),
	M(MEMORY, false, mem_peak_bytes, "gauge",
	  "container_memory_max_usage_bytes", "",
	  "The most memory ever in use; 0 if the kernel does not tell."),
	M(MEMORY, false, mem_max_bytes, "gauge",
	  "container_spec_memory_limit_bytes", "", "Memory limit in force."),
	M(MEMORY, false, mem_events.max, "counter", "container_memory_failcnt",
	  "", "How often the memory limit was hit."),
	M(MEMORY, false, mem.pgfault, "counter",
	  "container_memory_failures_total",
	  ",failure_type=\"pgfault\",scope=\"hierarchy\"", "Page faults."),
	M(MEMORY, false, mem.pgmajfault, "counter",
	  "container_memory_failures_total",
	  ",failure_type=\"pgmajfault\",scope=\"hierarchy\"", "Page faults."),
	M(MEMORY, false, mem_events.oom_kill, "counter",
	  "container_oom_events_total", "",
	  "Processes killed for lack of memory."),
	M(PIDS, false, pids, "gauge", "container_threads", "",
	  "Tasks that exist."),
	M(PIDS, false, pids_max, "gauge", "container_threads_max", "",
	  "Tasks that may exist."),
	PSI("cpu", CG_PRESSURE_CPU),
	PSI("memory", CG_PRESSURE_MEMORY),
	PSI("io", CG_PRESSURE_IO),
};

static bool has(const struct stats *s, enum part part)
{
	switch (part) {
	case CPU:
		return s->has_cpu;
	case MEMORY:
		return s->has_memory;
	case IO:
		return s->has_io;
	case PIDS:
		return s->has_pids;
	case PRESSURE:
		return s->has_pressure;
	}
	return false;
}

static void label(struct buf *b, const char *key, const char *value)
{
	buf_printf(b, "%s=\"", key);
	for (; value && *value; value++) {
		if (*value == '\n')
			buf_puts(b, "\\n");
		else if (*value == '"' || *value == '\\')
			buf_printf(b, "\\%c", *value);
		else
			buf_putc(b, *value);
	}
	buf_putc(b, '"');
}

static void labels(struct buf *b, const struct stats_entry *en)
{
	buf_putc(b, '{');
	label(b, "container", en->container);
	buf_putc(b, ',');
	label(b, "id", en->cgroup_path);
	buf_putc(b, ',');
	label(b, "image", en->image);
	buf_putc(b, ',');
	label(b, "namespace", en->namespace);
	buf_putc(b, ',');
	label(b, "pod", en->pod);
	if (en->tenant) {
		buf_putc(b, ',');
		label(b, "tenant", en->tenant);
	}
}

static void value(struct buf *b, uint64_t v, bool micro, uint64_t time_ms)
{
	if (micro)
		buf_printf(b, "%" PRIu64 ".%06" PRIu64, v / 1000000,
			   v % 1000000);
	else
		buf_printf(b, "%" PRIu64, v);
	buf_printf(b, " %" PRIu64 "\n", time_ms);
}

static void head(struct buf *b, const char *name, const char *type,
		 const char *help)
{
	buf_printf(b, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void put_metric(struct buf *b, const struct metric *m,
		       const struct stats_entry *entries, size_t nr)
{
	for (size_t i = 0; i < nr; i++) {
		const struct stats *s = &entries[i].stats;
		uint64_t v;

		memcpy(&v, (const char *)s + m->offset, sizeof(v));
		/* "No limit" is said by saying nothing, as cadvisor does. */
		if (!has(s, m->part) || v == UINT64_MAX)
			continue;
		buf_puts(b, m->name);
		labels(b, &entries[i]);
		buf_printf(b, "%s} ", m->label);
		value(b, v, m->micro, s->time_ms);
	}
}

static void put_io(struct buf *b, const char *name, const char *help,
		   size_t offset, const struct stats_entry *entries, size_t nr)
{
	head(b, name, "counter", help);
	for (size_t i = 0; i < nr; i++) {
		const struct stats *s = &entries[i].stats;

		for (size_t d = 0; s->has_io && d < s->io.nr_dev; d++) {
			const struct cg_io_counts *n = &s->io.dev[d];
			uint64_t v;

			memcpy(&v, (const char *)n + offset, sizeof(v));
			buf_puts(b, name);
			labels(b, &entries[i]);
			buf_printf(b, ",device=\"%u:%u\"} ", n->major,
				   n->minor);
			value(b, v, false, s->time_ms);
		}
	}
}

int stats_prometheus(const struct stats_entry *entries, size_t nr,
		     struct buf *b)
{
	const char *last = "";

	for (size_t i = 0; i < ARRAY_LEN(metrics); i++) {
		const struct metric *m = &metrics[i];

		if (!str_eq(m->name, last))
			head(b, m->name, m->type, m->help);
		last = m->name;
		put_metric(b, m, entries, nr);
	}
	put_io(b, "container_fs_reads_bytes_total", "Bytes read from disks.",
	       offsetof(struct cg_io_counts, rbytes), entries, nr);
	put_io(b, "container_fs_writes_bytes_total", "Bytes written to disks.",
	       offsetof(struct cg_io_counts, wbytes), entries, nr);
	put_io(b, "container_fs_reads_total", "Reads from disks.",
	       offsetof(struct cg_io_counts, rios), entries, nr);
	put_io(b, "container_fs_writes_total", "Writes to disks.",
	       offsetof(struct cg_io_counts, wios), entries, nr);
	return buf_error(b);
}

/* --- /metrics/resource --- */

/* kubelet's names; which of them is told by @kind: of whom. */
enum kind { OF_NODE, OF_POD, OF_CONTAINER };

static void put_resource(struct buf *b, enum kind kind,
			 const struct stats_entry *en)
{
	if (kind == OF_NODE)
		return;
	buf_putc(b, '{');
	if (kind == OF_CONTAINER) {
		label(b, "container", en->container);
		buf_putc(b, ',');
	}
	label(b, "namespace", en->namespace);
	buf_putc(b, ',');
	label(b, "pod", en->pod);
	if (en->tenant) {
		buf_putc(b, ',');
		label(b, "tenant", en->tenant);
	}
	buf_putc(b, '}');
}

static void put_resources(struct buf *b, const struct metric *m, enum kind kind,
			  const struct stats_entry *entries, size_t nr)
{
	head(b, m->name, m->type, m->help);
	for (size_t i = 0; i < nr; i++) {
		const struct stats *s = &entries[i].stats;
		uint64_t v;

		if (!has(s, m->part) ||
		    (kind != OF_NODE &&
		     (kind == OF_CONTAINER) != (entries[i].container != NULL)))
			continue;
		memcpy(&v, (const char *)s + m->offset, sizeof(v));
		buf_puts(b, m->name);
		put_resource(b, kind, &entries[i]);
		buf_putc(b, ' ');
		value(b, v, m->micro, s->time_ms);
	}
}

int stats_resource(const struct stats_entry *host,
		   const struct stats_entry *entries, size_t nr, struct buf *b)
{
	static const struct {
		enum kind kind;
		struct metric metric;
	} all[] = {
		{ OF_NODE, M(CPU, true, cpu.usage_us, "counter",
			     "node_cpu_usage_seconds_total", "",
			     "CPU time used by the node.") },
		{ OF_NODE, M(MEMORY, false, mem_working_set_bytes, "gauge",
			     "node_memory_working_set_bytes", "",
			     "Working set of the node.") },
		{ OF_POD, M(CPU, true, cpu.usage_us, "counter",
			    "pod_cpu_usage_seconds_total", "",
			    "CPU time used by the pod.") },
		{ OF_POD, M(MEMORY, false, mem_working_set_bytes, "gauge",
			    "pod_memory_working_set_bytes", "",
			    "Working set of the pod.") },
		{ OF_POD,
		  M(MEMORY, false, swap_bytes, "gauge", "pod_swap_usage_bytes",
		    "", "Swap in use by the pod.") },
		{ OF_CONTAINER, M(CPU, true, cpu.usage_us, "counter",
				  "container_cpu_usage_seconds_total", "",
				  "CPU time used by the container.") },
		{ OF_CONTAINER, M(MEMORY, false, mem_working_set_bytes, "gauge",
				  "container_memory_working_set_bytes", "",
				  "Working set of the container.") },
		{ OF_CONTAINER, M(MEMORY, false, swap_bytes, "gauge",
				  "container_swap_usage_bytes", "",
				  "Swap in use by the container.") },
	};

	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		if (all[i].kind == OF_NODE)
			put_resources(b, &all[i].metric, OF_NODE, host, 1);
		else
			put_resources(b, &all[i].metric, all[i].kind, entries,
				      nr);
	head(b, "container_start_time_seconds", "gauge",
	     "When the container was started.");
	for (size_t i = 0; i < nr; i++) {
		if (!entries[i].container || !entries[i].started_ms)
			continue;
		buf_puts(b, "container_start_time_seconds");
		put_resource(b, OF_CONTAINER, &entries[i]);
		buf_printf(b, " %" PRIu64 ".%03" PRIu64 "\n",
			   entries[i].started_ms / 1000,
			   entries[i].started_ms % 1000);
	}
	head(b, "resource_scrape_error", "gauge",
	     "1 if some figures could not be read.");
	buf_puts(b, "resource_scrape_error 0\n");
	return buf_error(b);
}

// SPDX-License-Identifier: Apache-2.0
/* Reading figures, and kubelet's summary of them. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "agent/stats.h"
#include "cgroups/cgroup.h"
#include "cgroups/pids.h"
#include "lib/buf.h"
#include "lib/err.h"
#include "lib/fs.h"
#include "lib/json.h"
#include "lib/str.h"

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* What a host does not have is no error. */
static bool absent(int r)
{
	return r == -EOPNOTSUPP;
}

static int read_cpu(const struct cg *cg, struct stats *s, struct err *e)
{
	int r;

	if (!cg_has(cg, CG_CPUACCT))
		return 0;
	r = cg_cpu_stat_read(cg, &s->cpu, e);
	if (r < 0)
		return r;
	s->cpu_max.quota_us = CG_CPU_UNLIMITED;
	s->cpu_max.period_us = CG_CPU_PERIOD_US;
	if (cg_has(cg, CG_CPU))
		r = cg_cpu_max_read(cg, &s->cpu_max, e);
	s->has_cpu = r == 0;
	return r;
}

static int read_memory(const struct cg *cg, struct stats *s, struct err *e)
{
	int r;

	if (!cg_has(cg, CG_MEMORY))
		return 0;
	r = cg_mem_current_read(cg, &s->mem_current_bytes, e);
	if (r == 0)
		r = cg_mem_stat_read(cg, &s->mem, e);
	if (r == 0)
		r = cg_mem_events_read(cg, &s->mem_events, e);
	if (r == 0)
		r = cg_mem_read(cg, CG_MEM_MAX, &s->mem_max_bytes, e);
	if (r == 0)
		r = cg_mem_swap_read(cg, &s->swap_bytes, e);
	if (r < 0)
		return r;
	s->mem_working_set_bytes =
		cg_mem_working_set(s->mem_current_bytes, &s->mem);
	s->has_memory = true;
	r = cg_mem_peak_read(cg, &s->mem_peak_bytes, e);
	return absent(r) ? 0 : r;
}

static int read_pids(const struct cg *cg, struct stats *s, struct err *e)
{
	int r;

	if (!cg_has(cg, CG_PIDS))
		return 0;
	r = cg_pids_current_read(cg, &s->pids, e);
	if (r == 0)
		r = cg_pids_max_read(cg, &s->pids_max, e);
	s->has_pids = r == 0;
	return r;
}

static int read_pressure(const struct cg *cg, struct stats *s, struct err *e)
{
	int r = 0;

	for (int k = 0; r == 0 && k < CG_NR_PRESSURES; k++)
		r = cg_pressure_read(cg, (enum cg_pressure_kind)k,
				     &s->pressure[k], e);
	s->has_pressure = r == 0;
	return absent(r) ? 0 : r;
}

int stats_read(const struct cg *cg, struct stats *ret, struct err *e)
{
	struct stats s = { 0 };
	int r;

	s.time_ms = now_ms();
	r = read_cpu(cg, &s, e);
	if (r == 0)
		r = read_memory(cg, &s, e);
	if (r == 0)
		r = read_pids(cg, &s, e);
	if (r == 0)
		r = read_pressure(cg, &s, e);
	if (r == 0 && cg_has(cg, CG_IO)) {
		r = cg_io_stat_read(cg, &s.io, e);
		s.has_io = r == 0;
	}
	if (r == 0)
		*ret = s;
	return r;
}

int stats_read_usage(const struct cg *cg, struct stats *ret, struct err *e)
{
	struct stats s = { .time_ms = now_ms() };
	int r = read_cpu(cg, &s, e);

	if (r == 0)
		r = read_memory(cg, &s, e);
	if (r == 0)
		*ret = s;
	return r;
}

/* --- the host --- */

/* "cpu user nice system idle iowait irq softirq ...", in ticks. */
static int read_host_cpu(struct stats *s, struct err *e)
{
	unsigned long long user, nice, sys, idle, iowait, irq, soft;
	auto_buf struct buf b = BUF_INIT;
	uint64_t hz = (uint64_t)sysconf(_SC_CLK_TCK);
	int r = fs_read(AT_FDCWD, "/proc/stat", 1 << 20, &b, e);

	if (r < 0)
		return r;
	if (sscanf(buf_str(&b), "cpu %llu %llu %llu %llu %llu %llu %llu", &user,
		   &nice, &sys, &idle, &iowait, &irq, &soft) != 7)
		return err_set(e, -EBADMSG, "/proc/stat begins differently");
	s->cpu.user_us = (user + nice) * 1000000 / hz;
	s->cpu.system_us = (sys + irq + soft) * 1000000 / hz;
	s->cpu.usage_us = s->cpu.user_us + s->cpu.system_us;
	s->cpu_max.quota_us = CG_CPU_UNLIMITED;
	s->has_cpu = true;
	return 0;
}

static uint64_t meminfo(const struct buf *b, const char *name)
{
	const char *at = strstr(buf_str(b), name);
	unsigned long long kib = 0;

	if (at)
		(void)sscanf(at + strlen(name), " %llu", &kib);
	return (uint64_t)kib << 10;
}

static int read_host_memory(struct stats *s, struct err *e)
{
	auto_buf struct buf b = BUF_INIT;
	int r = fs_read(AT_FDCWD, "/proc/meminfo", 65536, &b, e);
	uint64_t idle;

	if (r < 0)
		return r;
	s->mem_max_bytes = meminfo(&b, "MemTotal:");
	s->mem_current_bytes = s->mem_max_bytes - meminfo(&b, "MemFree:");
	idle = meminfo(&b, "Inactive(file):");
	s->mem_working_set_bytes =
		s->mem_current_bytes > idle ? s->mem_current_bytes - idle : 0;
	s->mem.anon = meminfo(&b, "AnonPages:");
	s->swap_bytes = meminfo(&b, "SwapTotal:") - meminfo(&b, "SwapFree:");
	s->has_memory = true;
	return 0;
}

int stats_read_host(struct stats *ret, struct err *e)
{
	struct stats s = { .time_ms = now_ms() };
	int r = read_host_cpu(&s, e);

	if (r == 0)
		r = read_host_memory(&s, e);
	if (r == 0)
		*ret = s;
	return r;
}

int stats_read_host_cpu(struct stats *ret, struct err *e)
{
	struct stats s = { .time_ms = now_ms() };
	int r = read_host_cpu(&s, e);

	if (r == 0)
		*ret = s;
	return r;
}

/* --- rates --- */

void stats_mark(struct stats_mark marks[2], const struct stats *now)
{
	if (!now->has_cpu)
		return;
	marks[0] = marks[1];
	marks[1] = (struct stats_mark){ now->time_ms, now->cpu.usage_us };
}

void stats_mark_cg(struct stats_mark marks[2], const struct cg *cg)
{
	struct stats s = { .time_ms = now_ms(), .has_cpu = true };

	if (cg_has(cg, CG_CPUACCT) &&
	    cg_cpu_usage_read(cg, &s.cpu.usage_us, NULL) == 0)
		stats_mark(marks, &s);
}

struct stats_rate stats_rate(const struct stats_mark marks[2],
			     uint64_t started_ms, const struct stats *now)
{
	const struct stats_mark birth = { started_ms, 0 };
	const struct stats_mark *from = NULL;
	/* Of what began a while ago the mean since then says nothing. */
	bool young = started_ms && now->time_ms > started_ms &&
		     now->time_ms - started_ms < 4 * STATS_WINDOW_MS;
	const struct stats_mark *try[] = { &marks[1], &marks[0],
					   young ? &birth : NULL };
	uint64_t ms = 0;

	for (size_t i = 0; now->has_cpu && i < ARRAY_LEN(try); i++) {
		const struct stats_mark *m = try[i];

		/* Of an earlier attempt, or of a clock that was set: no. */
		if (!m || !m->time_ms || m->time_ms >= now->time_ms ||
		    m->time_ms < started_ms || m->usage_us > now->cpu.usage_us)
			continue;
		from = m;
		ms = now->time_ms - m->time_ms;
		if (ms >= STATS_WINDOW_MS)
			break;
	}
	if (!from)
		return (struct stats_rate){ .window_ms = 0 };
	return (struct stats_rate){
		.window_ms = ms,
		.nano = (now->cpu.usage_us - from->usage_us) * 1000000 / ms,
	};
}

/* --- /stats/summary --- */

static void put_time(struct json_out *o, const char *key, uint64_t ms)
{
	time_t s = (time_t)(ms / 1000);
	char text[32];
	struct tm tm;

	gmtime_r(&s, &tm);
	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm);
	json_put_str(o, key, text);
}

static void put_stall(struct json_out *o, const char *key,
		      const struct cg_stall *st)
{
	json_put_object(o, key);
	json_put_u64(o, "total", st->total_us);
	json_put_double(o, "avg10", st->avg10 / 100.0);
	json_put_double(o, "avg60", st->avg60 / 100.0);
	json_put_double(o, "avg300", st->avg300 / 100.0);
	json_put_end(o);
}

static void put_psi(struct json_out *o, const struct stats *s,
		    enum cg_pressure_kind kind)
{
	if (!s->has_pressure)
		return;
	json_put_object(o, "psi");
	put_stall(o, "full", &s->pressure[kind].full);
	put_stall(o, "some", &s->pressure[kind].some);
	json_put_end(o);
}

static void put_cpu(struct json_out *o, const struct stats_entry *en)
{
	const struct stats *s = &en->stats;

	if (!s->has_cpu)
		return;
	json_put_object(o, "cpu");
	put_time(o, "time", s->time_ms);
	if (en->rate.window_ms) {
		json_put_u64(o, "usageNanoCores", en->rate.nano);
		/* Ours: how long that was measured. */
		json_put_u64(o, "usageWindowMilliseconds", en->rate.window_ms);
	}
	json_put_u64(o, "usageCoreNanoSeconds", s->cpu.usage_us * 1000);
	/* Ours as well. */
	json_put_u64(o, "throttledNanoSeconds", s->cpu.throttled_us * 1000);
	put_psi(o, s, CG_PRESSURE_CPU);
	json_put_end(o);
}

static void put_io(struct json_out *o, const struct stats *s)
{
	uint64_t rd = 0, wr = 0;

	if (!s->has_pressure && !s->has_io)
		return;
	json_put_object(o, "io");
	put_time(o, "time", s->time_ms);
	for (size_t i = 0; s->has_io && i < s->io.nr_dev; i++) {
		rd += s->io.dev[i].rbytes;
		wr += s->io.dev[i].wbytes;
	}
	if (s->has_io) {
		json_put_u64(o, "readBytes", rd);
		json_put_u64(o, "writeBytes", wr);
	}
	put_psi(o, s, CG_PRESSURE_IO);
	json_put_end(o);
}

static void put_memory(struct json_out *o, const struct stats *s)
{
	uint64_t used = s->mem_working_set_bytes;

	if (!s->has_memory)
		return;
	json_put_object(o, "memory");
	put_time(o, "time", s->time_ms);
	if (s->mem_max_bytes != CG_MEM_UNLIMITED)
		json_put_u64(o, "availableBytes",
			     s->mem_max_bytes > used ? s->mem_max_bytes - used
						     : 0);
	json_put_u64(o, "usageBytes", s->mem_current_bytes);
	json_put_u64(o, "workingSetBytes", used);
	json_put_u64(o, "rssBytes", s->mem.anon);
	json_put_u64(o, "pageFaults", s->mem.pgfault);
	json_put_u64(o, "majorPageFaults", s->mem.pgmajfault);
	put_psi(o, s, CG_PRESSURE_MEMORY);
	json_put_end(o);
	json_put_object(o, "swap");
	put_time(o, "time", s->time_ms);
	json_put_u64(o, "swapUsageBytes", s->swap_bytes);
	json_put_end(o);
}

/* What pods and containers have in common. */
static void put_figures(struct json_out *o, const struct stats_entry *en)
{
	if (en->started_ms)
		put_time(o, "startTime", en->started_ms);
	put_cpu(o, en);
	put_memory(o, &en->stats);
	put_io(o, &en->stats);
}

static void put_pod(struct json_out *o, const struct stats_entry *pod,
		    const struct stats_entry *containers, size_t nr)
{
	json_put_object(o, NULL);
	json_put_object(o, "podRef");
	json_put_str(o, "name", pod->pod);
	json_put_str(o, "namespace", pod->namespace);
	json_put_str(o, "uid", pod->uid);
	if (pod->tenant)
		json_put_str(o, "tenant", pod->tenant);
	json_put_end(o);
	put_figures(o, pod);
	if (pod->stats.has_pids) {
		json_put_object(o, "process_stats");
		json_put_u64(o, "process_count", pod->stats.pids);
		json_put_end(o);
	}
	json_put_array(o, "containers");
	for (size_t i = 0; i < nr; i++) {
		json_put_object(o, NULL);
		json_put_str(o, "name", containers[i].container);
		put_figures(o, &containers[i]);
		json_put_end(o);
	}
	json_put_end(o);
	json_put_end(o);
}

/* The entries from @i on that are containers of @pod. */
static size_t containers_of(const struct stats_entry *pod,
			    const struct stats_entry *entries, size_t nr)
{
	size_t n = 0;

	while (n < nr && entries[n].container &&
	       str_eq(entries[n].uid, pod->uid))
		n++;
	return n;
}

int stats_summary(const struct stats_entry *host,
		  const struct stats_entry *entries, size_t nr, struct buf *b)
{
	struct json_out o = JSON_OUT(b);
	size_t i = 0;

	json_put_object(&o, NULL);
	json_put_object(&o, "node");
	json_put_str(&o, "nodeName", host->pod);
	put_figures(&o, host);
	json_put_end(&o);
	json_put_array(&o, "pods");
	while (i < nr) {
		const struct stats_entry *pod = &entries[i++];
		size_t n;

		if (pod->container)
			continue; /* without its pod there is no place for it */
		n = containers_of(pod, entries + i, nr - i);
		put_pod(&o, pod, entries + i, n);
		i += n;
	}
	json_put_end(&o);
	json_put_end(&o);
	return buf_error(b);
}

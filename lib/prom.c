// SPDX-License-Identifier: Apache-2.0
#include "lib/prom.h"

#include <dirent.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include "lib/buf.h"

void prom_observe(struct prom_histogram *h, const struct prom_bounds *b,
		  uint64_t value)
{
	unsigned i = 0;

	while (i < b->nr && value > b->v[i])
		i++;
	prom_add(&h->counts[i], 1);
	prom_add(&h->sum, value);
}

void prom_collect(struct prom_sum *to, struct prom_histogram *h)
{
	for (unsigned i = 0; i <= PROM_BOUNDS_MAX; i++)
		to->counts[i] += prom_get(&h->counts[i]);
	to->sum += prom_get(&h->sum);
}

void prom_head(struct buf *b, const char *name, const char *type,
	       const char *help)
{
	buf_printf(b, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

void prom_put(struct buf *b, const char *name, const char *labels,
	      uint64_t value)
{
	buf_printf(b, *labels ? "%s{%s} %llu\n" : "%s%s %llu\n", name, labels,
		   (unsigned long long)value);
}

void prom_put_histogram(struct buf *b, const char *name, const char *labels,
			const struct prom_bounds *bounds,
			const struct prom_sum *sum)
{
	const char *comma = *labels ? "," : "";
	unsigned long long n = 0;
	char text[128];

	for (unsigned i = 0; i < bounds->nr; i++) {
		n += sum->counts[i];
		buf_printf(b, "%s_bucket{%s%sle=\"%g\"} %llu\n", name, labels,
			   comma, (double)bounds->v[i] / (double)bounds->unit,
			   n);
	}
	n += sum->counts[bounds->nr];
	buf_printf(b, "%s_bucket{%s%sle=\"+Inf\"} %llu\n", name, labels, comma,
		   n);
	snprintf(text, sizeof(text), "%s_sum", name);
	buf_printf(b, *labels ? "%s{%s} %.9g\n" : "%s%s %.9g\n", text, labels,
		   (double)sum->sum / (double)bounds->unit);
	snprintf(text, sizeof(text), "%s_count", name);
	prom_put(b, text, labels, n);
}

static uint64_t nr_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	uint64_t n = 0;

	if (!d)
		return 0;
	while (readdir(d))
		n++;
	closedir(d);
	return n > 3 ? n - 3 : 0; /* ".", "..", and the folder's own */
}

static void put_real(struct buf *b, const char *name, const char *type,
		     const char *help, double value)
{
	prom_head(b, name, type, help);
	buf_printf(b, "%s %.15g\n", name, value);
}

void prom_put_process(struct buf *b, double start_s)
{
	double page = (double)sysconf(_SC_PAGESIZE);
	unsigned long long size = 0, resident = 0;
	struct rlimit files = { 0 }, memory = { 0 };
	struct rusage use = { 0 };
	FILE *f = fopen("/proc/self/statm", "re");

	if (f && fscanf(f, "%llu %llu", &size, &resident) != 2)
		size = resident = 0;
	if (f)
		fclose(f);
	getrusage(RUSAGE_SELF, &use);
	getrlimit(RLIMIT_NOFILE, &files);
	getrlimit(RLIMIT_AS, &memory);
	put_real(b, "process_cpu_seconds_total", "counter",
		 "Total user and system CPU time spent in seconds.",
		 (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
			 (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) /
				 1e6);
	put_real(b, "process_open_fds", "gauge",
		 "Number of open file descriptors.", (double)nr_fds());
	put_real(b, "process_max_fds", "gauge",
		 "Maximum number of open file descriptors.",
		 (double)files.rlim_cur);
	put_real(b, "process_resident_memory_bytes", "gauge",
		 "Resident memory size in bytes.", (double)resident * page);
	put_real(b, "process_virtual_memory_bytes", "gauge",
		 "Virtual memory size in bytes.", (double)size * page);
	put_real(b, "process_virtual_memory_max_bytes", "gauge",
		 "Maximum amount of virtual memory available in bytes.",
		 (double)memory.rlim_cur);
	put_real(b, "process_start_time_seconds", "gauge",
		 "Start time of the process since unix epoch in seconds.",
		 start_s);
}

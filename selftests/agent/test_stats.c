// SPDX-License-Identifier: Apache-2.0
/* LANE: both
 * SECONDS: 60
 *
 * Figures of a real process, and the two formats they are given in.
 */
#include "selftests/cgroups/live.h"

#include <inttypes.h>
#include <yyjson.h>

#include "agent/stats.h"
#include "lib/buf.h"

#define MIB (UINT64_C(1) << 20)

static void spin_with_memory(void *arg)
{
	size_t size = 16 * MIB;
	char *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)arg;
	for (size_t i = 0; i < size; i += 4096)
		p[i] = 1;
	live_spin(NULL);
}

TEST(figures_are_those_of_the_process)
{
	struct cg_cpu_max max = cg_cpu_max_from_milli(50);
	struct stats then = { 0 }, now = { 0 };
	struct stats_mark marks[2] = { 0 };
	auto_ptr(cg) root = NULL;
	auto_ptr(cg) cg = NULL;
	struct err e = { 0 };
	uint64_t milli;
	pid_t pid;

	if (live_root(&root, &e) < 0 ||
	    cg_create(root, "stats", 0, &cg, &e) < 0 ||
	    cg_cpu_max_write(cg, &max, &e) < 0 ||
	    cg_mem_write(cg, CG_MEM_MAX, 64 * MIB, &e) < 0) {
		FAIL("%s", e.msg);
		return;
	}
	pid = live_spawn_in(cg, spin_with_memory, NULL, &e);
	ASSERT_GE(pid, 1);
	ASSERT_EQ(stats_read(cg, &then, &e), 0);
	for (int i = 0; i < 200; i++) {
		poll(NULL, 0, 100);
		ASSERT_EQ(stats_read(cg, &now, &e), 0);
		if (now.cpu.nr_throttled >= 5 && now.mem.anon >= 15 * MIB)
			break;
	}
	live_end(pid);
	stats_mark(marks, &then);
	milli = stats_rate(marks, 0, &now).nano / 1000000;
	EXPECT_EQ(now.has_cpu && now.has_memory && now.has_pids, true);
	EXPECT_GE(milli, 1);
	EXPECT_GE(200, milli); /* a 20th of a CPU, and the ends of periods */
	EXPECT_GE(now.cpu.nr_throttled, 5);
	EXPECT_EQ(now.cpu_max.quota_us, 5000);
	EXPECT_EQ(now.mem_max_bytes, 64 * MIB);
	EXPECT_GE(now.mem_current_bytes, 16 * MIB);
	EXPECT_GE(now.mem_working_set_bytes, 15 * MIB);
	EXPECT_GE(now.mem_current_bytes, now.mem_working_set_bytes);
	EXPECT_EQ(now.pids, 1);
	if (now.has_pressure)
		EXPECT_GE(now.pressure[CG_PRESSURE_CPU].some.total_us, 1);
}

static uint64_t nano_of(uint64_t then_ms, uint64_t then_us, uint64_t started_ms,
			uint64_t now_ms, uint64_t now_us)
{
	struct stats a = { .time_ms = then_ms, .has_cpu = true };
	struct stats b = { .time_ms = now_ms, .has_cpu = true };
	struct stats_mark marks[2] = { 0 };

	a.cpu.usage_us = then_us;
	b.cpu.usage_us = now_us;
	stats_mark(marks, &a);
	return stats_rate(marks, started_ms, &b).nano;
}

TEST(cpu_use_needs_two_readings_in_order)
{
	EXPECT_EQ(nano_of(100000, 0, 0, 102000, 500000), 250000000);
	EXPECT_EQ(nano_of(102000, 500000, 0, 100000, 0), 0);
	EXPECT_EQ(nano_of(102000, 500000, 0, 102000, 500000), 0);
	/* Another cgroup of that name by now, or an earlier attempt. */
	EXPECT_EQ(nano_of(100000, 600000, 0, 102000, 500000), 0);
	EXPECT_EQ(nano_of(100000, 0, 101000, 102000, 500000), 500000000);
	/* What has just begun is measured from its start, what is old not. */
	EXPECT_EQ(nano_of(0, 0, 100000, 104000, 1000000), 250000000);
	EXPECT_EQ(nano_of(0, 0, 100000, 999000, 1000000), 0);
}

TEST(cpu_use_is_measured_over_no_short_window)
{
	struct stats s = { .time_ms = 100000, .has_cpu = true };
	struct stats_mark marks[2] = { 0 };
	struct stats_rate r;

	stats_mark(marks, &s);
	s.time_ms = 110000;
	s.cpu.usage_us = 10000000; /* a CPU, all the time */
	stats_mark(marks, &s);
	s.time_ms = 111000; /* and then nothing */
	r = stats_rate(marks, 0, &s);
	EXPECT_EQ(r.window_ms, 11000);
	EXPECT_EQ(r.nano, 909090909);
	s.time_ms = 115000;
	r = stats_rate(marks, 0, &s);
	EXPECT_EQ(r.window_ms, 5000);
	EXPECT_EQ(r.nano, 0);
}

static struct stats some_stats(void)
{
	struct stats s = {
		.time_ms = 1767323045678,
		.has_cpu = true,
		.has_memory = true,
		.has_pids = true,
		.has_io = true,
		.has_pressure = true,
		.cpu = { .usage_us = 12345678, .nr_throttled = 3 },
		.cpu_max = { CG_CPU_UNLIMITED, 100000 },
		.mem_current_bytes = 1000,
		.mem_working_set_bytes = 900,
		.mem_max_bytes = 5000,
		.mem = { .anon = 700, .pgfault = 11, .pgmajfault = 2 },
		.mem_events = { .oom_kill = 1 },
		.pids = 4,
		.pids_max = UINT64_MAX,
	};

	s.io.nr_dev = 1;
	s.io.dev[0] = (struct cg_io_counts){
		.major = 8, .minor = 16, .rbytes = 4096, .wios = 7
	};
	s.pressure[CG_PRESSURE_MEMORY].some =
		(struct cg_stall){ .avg10 = 125, .total_us = 1500000 };
	return s;
}

static const struct stats_entry *entries(size_t *nr)
{
	static struct stats_entry v[3];

	v[0] = (struct stats_entry){ .tenant = "acme",
				     .namespace = "default",
				     .pod = "web",
				     .uid = "u1",
				     .cgroup_path = "/arktos/podu1",
				     .started_ms = 1767323000000,
				     .rate = { .window_ms = 10000,
					       .nano = 250000000 },
				     .stats = some_stats() };
	v[1] = v[0];
	v[1].container = "main";
	v[1].image = "a\"b\\c\nd";
	v[2] = (struct stats_entry){ .namespace = "default",
				     .pod = "empty",
				     .uid = "u2" };
	*nr = 3;
	return v;
}

static yyjson_val *at(yyjson_doc *doc, const char *pointer)
{
	return yyjson_doc_ptr_get(doc, pointer);
}

TEST(summary_is_what_kubelet_gives)
{
	const struct stats_entry host = { .pod = "node-1",
					  .started_ms = 1767000000000,
					  .stats = some_stats() };
	auto_buf struct buf b = BUF_INIT;
	const struct stats_entry *v;
	yyjson_doc *doc;
	size_t nr;

	v = entries(&nr);
	ASSERT_EQ(stats_summary(&host, v, nr, &b), 0);
	doc = yyjson_read(b.data, b.len, 0);
	ASSERT_EQ(doc != NULL, true);
	EXPECT_STREQ(yyjson_get_str(at(doc, "/node/nodeName")), "node-1");
	EXPECT_STREQ(yyjson_get_str(at(doc, "/node/startTime")),
		     "2025-12-29T09:20:00Z");
	EXPECT_EQ(yyjson_arr_size(at(doc, "/pods")), 2);
	EXPECT_STREQ(yyjson_get_str(at(doc, "/pods/0/podRef/uid")), "u1");
	EXPECT_STREQ(yyjson_get_str(at(doc, "/pods/0/podRef/tenant")), "acme");
	EXPECT_EQ(yyjson_get_uint(at(doc, "/pods/0/cpu/usageNanoCores")),
		  250000000);
	EXPECT_EQ(yyjson_get_uint(at(doc, "/pods/0/process_stats"
					  "/process_count")),
		  4);
	EXPECT_STREQ(yyjson_get_str(at(doc, "/pods/0/containers/0/name")),
		     "main");
	EXPECT_EQ(yyjson_get_uint(at(doc, "/pods/0/containers/0/cpu"
					  "/usageCoreNanoSeconds")),
		  12345678000);
	EXPECT_EQ(yyjson_get_uint(at(doc, "/pods/0/containers/0/memory"
					  "/availableBytes")),
		  4100);
	EXPECT_EQ(yyjson_get_uint(at(doc, "/pods/0/containers/0/memory"
					  "/workingSetBytes")),
		  900);
	EXPECT_EQ(yyjson_get_real(at(doc, "/pods/0/containers/0/memory/psi"
					  "/some/avg10")) == 1.25,
		  true);
	EXPECT_EQ(at(doc, "/pods/1/cpu") == NULL, true);
	EXPECT_EQ(yyjson_arr_size(at(doc, "/pods/1/containers")), 0);
	yyjson_doc_free(doc);
}

static bool has_line(const struct buf *b, const char *line)
{
	const char *s = strstr(buf_str(b), line);

	return s && (s == b->data || s[-1] == '\n') && s[strlen(line)] == '\n';
}

TEST(prometheus_text_has_cadvisors_names)
{
	static const char main_labels[] =
		"container=\"main\",id=\"/arktos/podu1\","
		"image=\"a\\\"b\\\\c\\nd\",namespace=\"default\",pod=\"web\","
		"tenant=\"acme\"";
	static const struct {
		const char *name, *more, *value;
	} want[] = {
		{ "container_cpu_usage_seconds_total", ",cpu=\"total\"",
		  "12.345678" },
		{ "container_cpu_cfs_throttled_periods_total", "", "3" },
		{ "container_memory_working_set_bytes", "", "900" },
		{ "container_spec_memory_limit_bytes", "", "5000" },
		{ "container_memory_failures_total",
		  ",failure_type=\"pgmajfault\",scope=\"hierarchy\"", "2" },
		{ "container_oom_events_total", "", "1" },
		{ "container_pressure_memory_waiting_seconds_total", "",
		  "1.500000" },
		{ "container_fs_reads_bytes_total", ",device=\"8:16\"",
		  "4096" },
		{ "container_fs_writes_total", ",device=\"8:16\"", "7" },
		{ "container_threads", "", "4" },
	};
	auto_buf struct buf b = BUF_INIT;
	const struct stats_entry *v;
	char line[512];
	size_t nr;

	v = entries(&nr);
	ASSERT_EQ(stats_prometheus(v, nr, &b), 0);
	for (size_t i = 0; i < ARRAY_SIZE(want); i++) {
		snprintf(line, sizeof(line), "%s{%s%s} %s 1767323045678",
			 want[i].name, main_labels, want[i].more,
			 want[i].value);
		if (!has_line(&b, line))
			FAIL("no line: %s", line);
	}
	/* Nothing is said about limits that do not exist, nor of pods without
	 * figures. */
	EXPECT_EQ(strstr(buf_str(&b), "container_spec_cpu_quota{") == NULL,
		  true);
	EXPECT_EQ(strstr(buf_str(&b), "container_threads_max{") == NULL, true);
	EXPECT_EQ(strstr(buf_str(&b), "\"empty\"") == NULL, true);
}

TEST(resources_are_what_metrics_server_reads)
{
	static const char *const want[] = {
		"node_cpu_usage_seconds_total 12.345678 1767323045678",
		"node_memory_working_set_bytes 900 1767323045678",
		"pod_cpu_usage_seconds_total{namespace=\"default\",pod=\"web\","
		"tenant=\"acme\"} 12.345678 1767323045678",
		"container_memory_working_set_bytes{container=\"main\","
		"namespace=\"default\",pod=\"web\",tenant=\"acme\"} 900 "
		"1767323045678",
		"container_start_time_seconds{container=\"main\",namespace="
		"\"default\",pod=\"web\",tenant=\"acme\"} 1767323000.000",
		"resource_scrape_error 0",
	};
	const struct stats_entry host = { .pod = "node-1",
					  .stats = some_stats() };
	auto_buf struct buf b = BUF_INIT;
	const struct stats_entry *v;
	size_t nr;

	v = entries(&nr);
	ASSERT_EQ(stats_resource(&host, v, nr, &b), 0);
	for (size_t i = 0; i < ARRAY_SIZE(want); i++)
		if (!has_line(&b, want[i]))
			FAIL("no line: %s in\n%s", want[i], buf_str(&b));
	EXPECT_EQ(strstr(buf_str(&b), "pod=\"empty\"") == NULL, true);
}

TEST(every_metric_is_declared_once_and_before_its_samples)
{
	auto_buf struct buf b = BUF_INIT;
	const struct stats_entry *v;
	char name[128] = "", got[128];
	size_t nr;

	v = entries(&nr);
	ASSERT_EQ(stats_prometheus(v, nr, &b), 0);
	for (char *s = b.data, *nl; *s; s = nl + 1) {
		nl = strchr(s, '\n');
		ASSERT_EQ(nl != NULL, true);
		if (sscanf(s, "# TYPE %127s", name) == 1) {
			snprintf(got, sizeof(got), "# TYPE %s ", name);
			EXPECT_EQ(strstr(nl, got) == NULL, true);
			continue;
		}
		if (*s == '#')
			continue;
		ASSERT_EQ(sscanf(s, "%127[a-z_]{", got), 1);
		EXPECT_STREQ(got, name);
	}
}

LIVE_MAIN()

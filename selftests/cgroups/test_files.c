// SPDX-License-Identifier: Apache-2.0
/* LANE: both
 * SECONDS: 60
 *
 * v2 files read and written in a scratch directory: texts, bounds, messages.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "cgroups/cpu.h"
#include "cgroups/cpuset.h"
#include "cgroups/internal.h"
#include "cgroups/io.h"
#include "cgroups/memory.h"
#include "cgroups/pids.h"
#include "cgroups/pressure.h"
#include "lib/err.h"
#include "selftests/harness.h"

/* A cgroup is a directory; here one with just the files given. */
static struct cg *fake(const char *const *files, size_t nr)
{
	auto_close int dir = -EBADF;
	struct cg *cg = NULL;

	mkdir("cg", 0755);
	dir = open("cg", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	for (size_t i = 0; i + 1 < nr; i += 2) {
		int fd = openat(dir, files[i], O_CREAT | O_WRONLY | O_TRUNC,
				0644);

		if (write(fd, files[i + 1], strlen(files[i + 1])) < 0)
			return NULL;
		close(fd);
	}
	return cg_open_fd(dir, "/pod", CG_HOLD, &cg, NULL) < 0 ? NULL : cg;
}

#define FAKE(var, ...)                                \
	const char *const files_[] = { __VA_ARGS__ }; \
	auto_ptr(cg) var = fake(files_, ARRAY_SIZE(files_))

static const char *content(const char *name)
{
	static char text[256];
	char path[64];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "cg/%s", name);
	fd = open(path, O_RDONLY);
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	text[n > 0 ? n : 0] = '\0';
	return text;
}

TEST(milli_becomes_quota)
{
	static const struct {
		uint64_t milli, quota_us;
	} cases[] = {
		{ 0, CG_CPU_UNLIMITED },
		{ 1, CG_CPU_QUOTA_MIN_US },
		{ 10, 1000 },
		{ 250, 25000 },
		{ 64000, 6400000 },
		{ UINT64_MAX / 100, UINT64_MAX / 100 * 100 },
		{ UINT64_MAX / 100 + 1, CG_CPU_UNLIMITED },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		EXPECT_EQ(cg_cpu_max_from_milli(cases[i].milli).quota_us,
			  cases[i].quota_us);
}

TEST(requests_become_weights_as_in_kubernetes)
{
	static const struct {
		uint64_t milli, shares, weight;
	} cases[] = {
		{ 0, 2, 1 },
		{ 1, 2, 1 },
		{ 100, 102, 4 },
		{ 500, 512, 20 },
		{ 1000, 1024, 39 },
		{ 2000, 2048, 79 },
		{ 256000, 262144, 10000 },
		{ UINT64_MAX, 262144, 10000 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint64_t shares = cg_cpu_shares_from_milli(cases[i].milli);

		EXPECT_EQ(shares, cases[i].shares);
		EXPECT_EQ(cg_cpu_weight_from_shares(shares), cases[i].weight);
	}
}

TEST(cpu_max_is_written_and_read_back)
{
	struct cg_cpu_max max = { 25000, 100000 }, got = { 0 };
	struct err e = { 0 };
	FAKE(cg, "cpu.max", "");

	EXPECT_EQ(cg_cpu_max_write(cg, &max, &e), 0);
	EXPECT_STREQ(content("cpu.max"), "25000 100000");
	EXPECT_EQ(cg_cpu_max_read(cg, &got, &e), 0);
	EXPECT_EQ(got.quota_us, 25000);
	max.quota_us = 999;
	EXPECT_EQ(cg_cpu_max_write(cg, &max, &e), -ERANGE);
	EXPECT_STREQ(e.msg, "cpu.max: quota of 999 us, the least is 1000");
	max.quota_us = 1000;
	max.period_us = 1000001;
	EXPECT_EQ(cg_cpu_max_write(cg, &max, &e), -ERANGE);
	EXPECT_STREQ(e.msg, "cpu.max: period of 1000001 us, allowed are 1000 "
			    "to 1000000");
}

TEST(missing_controller_is_explained)
{
	struct cg_cpu_max half = cg_cpu_max_from_milli(500);
	struct err e = { 0 };
	FAKE(cg, "x", "");

	EXPECT_EQ(cg_cpu_max_write(cg, &half, &e), -ENOENT);
	EXPECT_STREQ(e.msg, "cgroup '/pod': no 'cpu.max': is its controller "
			    "enabled?");
	EXPECT_EQ(cg_cpu_max_write(cg, &half, NULL), -ENOENT);
	EXPECT_EQ(cg_mem_reclaim(cg, 4096, &e), -EOPNOTSUPP);
	EXPECT_STREQ(e.msg, "cgroup '/pod': memory.reclaim needs Linux 5.19");
	EXPECT_EQ(cg_mem_peak_read(cg, &half.quota_us, &e), -EOPNOTSUPP);
}

TEST(memory_knobs_are_written_as_the_kernel_wants_them)
{
	uint64_t got;
	FAKE(cg, "memory.max", "", "memory.high", "", "memory.swap.max", "0\n",
	     "memory.current", "81920\n", "memory.oom.group", "");

	EXPECT_EQ(cg_mem_write(cg, CG_MEM_MAX, 1 << 20, NULL), 0);
	EXPECT_STREQ(content("memory.max"), "1048576");
	EXPECT_EQ(cg_mem_write(cg, CG_MEM_HIGH, CG_MEM_UNLIMITED, NULL), 0);
	EXPECT_STREQ(content("memory.high"), "max");
	EXPECT_EQ(cg_mem_read(cg, CG_MEM_HIGH, &got, NULL), 0);
	EXPECT_EQ(got == CG_MEM_UNLIMITED, true);
	EXPECT_EQ(cg_mem_read(cg, CG_MEM_SWAP_MAX, &got, NULL), 0);
	EXPECT_EQ(got, 0);
	EXPECT_EQ(cg_mem_oom_group_write(cg, true, NULL), 0);
	EXPECT_STREQ(content("memory.oom.group"), "1");
}

TEST(lowering_below_use_is_refused_with_figures)
{
	uint64_t current = 0;
	struct err e = { 0 };
	FAKE(cg, "memory.max", "max", "memory.current", "81920\n",
	     "memory.reclaim", "");

	EXPECT_EQ(cg_mem_max_lower(cg, 40960, &current, &e), -EBUSY);
	EXPECT_EQ(current, 81920);
	EXPECT_STREQ(content("memory.reclaim"), "40960");
	EXPECT_STREQ(content("memory.max"), "max");
	EXPECT_STREQ(e.msg, "cgroup '/pod': 80 KiB are in use and cannot be "
			    "reclaimed, so the limit cannot become 40 KiB");
	EXPECT_EQ(cg_mem_max_lower(cg, 81920, &current, &e), 0);
	EXPECT_STREQ(content("memory.max"), "81920");
}

TEST(cpu_stat_is_read_and_new_keys_are_skipped)
{
	uint64_t usage_us = 0;
	struct cg_cpu_stat st;
	FAKE(cg, "cpu.stat",
	     "usage_usec 300\nuser_usec 200\nsystem_usec 100\n"
	     "core_sched.force_idle_usec 0\nnr_periods 7\nnr_throttled 5\n"
	     "throttled_usec 4000\nnr_bursts 0\nburst_usec 0\n");

	ASSERT_EQ(cg_cpu_stat_read(cg, &st, NULL), 0);
	EXPECT_EQ(st.usage_us, 300);
	EXPECT_EQ(st.user_us, 200);
	EXPECT_EQ(st.system_us, 100);
	EXPECT_EQ(st.nr_periods, 7);
	EXPECT_EQ(st.nr_throttled, 5);
	EXPECT_EQ(st.throttled_us, 4000);
	ASSERT_EQ(cg_cpu_usage_read(cg, &usage_us, NULL), 0);
	EXPECT_EQ(usage_us, 300);
}

TEST(flat_files_that_are_odd_are_refused)
{
	static const char *const bad[] = {
		"usage_usec",
		"usage_usec \n",
		"usage_usec x\n",
		"a 1 2\n",
		"a -1\n",
		"\n",
		"a 18446744073709551616\n",
	};
	struct cg_cpu_stat st;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		EXPECT_EQ(cg_cpu_stat_parse(bad[i], &st), -EBADMSG);
	EXPECT_EQ(cg_cpu_stat_parse("", &st), 0);
	EXPECT_EQ(cg_cpu_stat_parse("usage_usec 18446744073709551615", &st), 0);
	EXPECT_EQ(st.usage_us == UINT64_MAX, true);
}

TEST(memory_stat_of_both_versions)
{
	static const char v2[] = "anon 100\nfile 50\nkernel 9\nshmem 3\n"
				 "inactive_file 20\nactive_file 30\n"
				 "workingset_refault_anon 1\n"
				 "workingset_refault_file 2\npgfault 8\n";
	static const char v1[] = "cache 1\nrss 2\ntotal_cache 50\n"
				 "total_rss 100\ntotal_inactive_file 20\n"
				 "workingset_refault_file 7\n"
				 "total_workingset_refault_file 3\n";
	struct cg_mem_stat st;

	ASSERT_EQ(cg_mem_stat_parse(v2, false, &st), 0);
	EXPECT_EQ(st.anon, 100);
	EXPECT_EQ(st.refault, 3);
	EXPECT_EQ(cg_mem_working_set(150, &st), 130);
	EXPECT_EQ(cg_mem_working_set(10, &st), 0);
	ASSERT_EQ(cg_mem_stat_parse(v1, true, &st), 0);
	EXPECT_EQ(st.anon, 100);
	EXPECT_EQ(st.file, 50);
	EXPECT_EQ(st.inactive_file, 20);
	EXPECT_EQ(st.refault, 3);
}

TEST(pressure_is_read)
{
	struct cg_pressure p;
	FAKE(cg, "cpu.pressure",
	     "some avg10=1.25 avg60=0.00 avg300=100.00 total=12345\n",
	     "io.pressure",
	     "some avg10=0.00 avg60=0.00 avg300=0.00 total=1\n"
	     "full avg10=0.07 avg60=0.00 avg300=0.00 total=2\n");

	ASSERT_EQ(cg_pressure_read(cg, CG_PRESSURE_CPU, &p, NULL), 0);
	EXPECT_EQ(p.some.avg10, 125);
	EXPECT_EQ(p.some.avg300, 10000);
	EXPECT_EQ(p.some.total_us, 12345);
	EXPECT_EQ(p.has_full, false);
	ASSERT_EQ(cg_pressure_read(cg, CG_PRESSURE_IO, &p, NULL), 0);
	EXPECT_EQ(p.full.avg10, 7);
	EXPECT_EQ(p.full.total_us, 2);
	EXPECT_EQ(cg_pressure_read(cg, CG_PRESSURE_MEMORY, &p, NULL),
		  -EOPNOTSUPP);
	EXPECT_EQ(cg_pressure_parse("some avg10=100.01", &p), -EBADMSG);
	EXPECT_EQ(cg_pressure_parse("some avg10=1", &p), -EBADMSG);
	EXPECT_EQ(cg_pressure_parse("", &p), -EBADMSG);
}

TEST(cpu_lists_go_both_ways)
{
	static const char *const good[] = { "", "0", "0-3", "0,2-3,8", "1023" };
	static const char *const bad[] = { ",",   "0,",  "-1",   "3-1",
					   "0 1", "0x1", "0--3", "0-3,,5" };
	char text[64];
	cpu_set_t set;

	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		ASSERT_EQ(cg_cpu_list_parse(good[i], &set), 0);
		EXPECT_GE(cg_cpu_list_format(&set, text, sizeof(text)), 0);
		EXPECT_STREQ(text, good[i]);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		EXPECT_EQ(cg_cpu_list_parse(bad[i], &set), -EBADMSG);
	EXPECT_EQ(cg_cpu_list_parse("0-1024", &set), -ERANGE);
	EXPECT_EQ(cg_cpu_list_parse("0,2\n", &set), 0);
	EXPECT_EQ(cg_cpu_list_format(&set, text, 3), -ENOSPC);
}

TEST(io_stat_adds_up_and_survives_other_controllers_keys)
{
	struct cg_io_stat st;
	FAKE(cg, "io.stat",
	     "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6\n"
	     "8:16 rbytes=10 wbytes=20 rios=30 wios=40 dbytes=0 dios=0 "
	     "cost.vrate=100.00\n"
	     "(unknown) rbytes=7\n"
	     "253:1 \n");

	ASSERT_EQ(cg_io_stat_read(cg, &st, NULL), 0);
	EXPECT_EQ(st.total.rbytes, 11);
	EXPECT_EQ(st.total.wios, 44);
	EXPECT_EQ(st.nr_dev, 3);
	EXPECT_EQ(st.dev[1].minor, 16);
	EXPECT_EQ(st.dev[1].rios, 30);
}

TEST(blkio_files_make_the_same_statistic)
{
	struct cg_io_stat st = { 0 };

	ASSERT_EQ(cg_blkio_parse("254:0 Read 4096\n254:0 Write 512\n"
				 "254:0 Sync 9\n254:0 Total 4608\nTotal 4608\n",
				 true, &st),
		  0);
	ASSERT_EQ(cg_blkio_parse("254:0 Read 2\nTotal 2\n", false, &st), 0);
	EXPECT_EQ(st.nr_dev, 1);
	EXPECT_EQ(st.total.rbytes, 4096);
	EXPECT_EQ(st.total.wbytes, 512);
	EXPECT_EQ(st.total.rios, 2);
	EXPECT_EQ(cg_blkio_parse("x", true, &st), -EBADMSG);
}

TEST(tree_is_removed_in_a_scratch_directory)
{
	struct err e = { 0 };
	FAKE(cg, "cgroup.controllers", "cpu memory\n", "cgroup.subtree_control",
	     "memory\n");

	ASSERT_EQ(cg_create(cg, "a", 0, NULL, &e), 0);
	EXPECT_STREQ(content("cgroup.subtree_control"), "+cpury\n");
	ASSERT_EQ(mkdir("cg/a/b", 0755), 0);
	ASSERT_EQ(mkdir("cg/a/b/c", 0755), 0);
	ASSERT_EQ(cg_remove(cg, "a", &e), 0);
	EXPECT_EQ(access("cg/a", F_OK), -1);
}

TEST_MAIN()

// SPDX-License-Identifier: Apache-2.0
/* LANE: both
 * SECONDS: 30
 *
 * Finding our place from /proc texts of hosts that this one is not.
 */
#include <errno.h>

#include "cgroups/internal.h"
#include "selftests/harness.h"

static const char hybrid[] =
	"22 27 0:21 / /proc rw,relatime - proc proc rw\n"
	"32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup "
	"rw,cpu,cpuacct\n"
	"35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup none rw,memory\n"
	"40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup "
	"rw,xattr,name=systemd\n"
	"41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";

TEST(hybrid_mounts_are_recognised)
{
	struct cg_mounts m;

	ASSERT_EQ(cg_mounts_parse(hybrid, &m), 0);
	ASSERT_EQ(m.nr, 3);
	EXPECT_EQ(m.v[0].controllers, CG_BIT(CG_CPU) | CG_BIT(CG_CPUACCT));
	EXPECT_EQ(m.v[1].controllers, CG_BIT(CG_MEMORY));
	EXPECT_EQ(m.v[2].v2, true);
	EXPECT_STREQ(m.v[2].point, "/sys/fs/cgroup/unified");
	cg_mounts_clear(&m);
}

TEST(own_path_is_found_per_hierarchy)
{
	static const char proc[] = "4:memory:/a\n2:cpuacct,cpu:/b:c\n"
				   "1:name=systemd:/d\n0::/e f\n";
	auto_free char *cpu = NULL;
	auto_free char *memory = NULL;
	auto_free char *unified = NULL;
	struct cg_mounts m;

	ASSERT_EQ(cg_mounts_parse(hybrid, &m), 0);
	EXPECT_EQ(cg_proc_path(proc, &m.v[0], &cpu), 0);
	EXPECT_EQ(cg_proc_path(proc, &m.v[1], &memory), 0);
	EXPECT_EQ(cg_proc_path(proc, &m.v[2], &unified), 0);
	EXPECT_STREQ(cpu, "/b:c");
	EXPECT_STREQ(memory, "/a");
	EXPECT_STREQ(unified, "/e f");
	EXPECT_EQ(cg_proc_path("1:pids:/\n", &m.v[1], &memory), -ENOENT);
	cg_mounts_clear(&m);
}

TEST(bind_mounts_and_namespaces_are_looked_through)
{
	struct cg_mount m = { .v2 = true };
	char root[32], point[] = "/sys/fs/cgroup";
	char *dir = NULL;

	m.root = root;
	m.point = point;
	strcpy(root, "/");
	ASSERT_EQ(cg_mount_path(&m, "/", &dir), 0);
	EXPECT_STREQ(dir, "/sys/fs/cgroup/");
	free(dir);
	strcpy(root, "/docker/x");
	ASSERT_EQ(cg_mount_path(&m, "/docker/x/y", &dir), 0);
	EXPECT_STREQ(dir, "/sys/fs/cgroup/y");
	free(dir);
	ASSERT_EQ(cg_mount_path(&m, "/docker/x", &dir), 0);
	EXPECT_STREQ(dir, "/sys/fs/cgroup");
	free(dir);
	EXPECT_EQ(cg_mount_path(&m, "/docker/xy", &dir), -ENXIO);
	EXPECT_EQ(cg_mount_path(&m, "/docker", &dir), -ENXIO);
	EXPECT_EQ(cg_mount_path(&m, "/docker/x/../y", &dir), -ENXIO);
	strcpy(root, "/..");
	EXPECT_EQ(cg_mount_path(&m, "/../x", &dir), -ENXIO);
}

TEST(escapes_and_torn_lines)
{
	static const char text[] =
		"1 2 0:1 / /a\\040b\\134 rw - cgroup2 none rw\n"
		"1 2 0:1 / /x rw - cgroup\n"
		"1 2 0:1 /\n"
		"\n"
		"1 2 0:1 / /y rw master:1 shared:2 - cgroup x rw,pids";
	struct cg_mounts m;

	ASSERT_EQ(cg_mounts_parse(text, &m), 0);
	ASSERT_EQ(m.nr, 2);
	EXPECT_STREQ(m.v[0].point, "/a b\\");
	EXPECT_EQ(m.v[1].controllers, CG_BIT(CG_PIDS));
	cg_mounts_clear(&m);
}

TEST(number_of_mounts_is_limited)
{
	size_t line = strlen("1 2 0:1 / /y rw - cgroup x rw,pids\n");
	char *text = malloc(line * (CG_MOUNTS_MAX + 1) + 1);
	struct cg_mounts m;

	for (int i = 0; i <= CG_MOUNTS_MAX; i++)
		strcpy(text + (size_t)i * line,
		       "1 2 0:1 / /y rw - cgroup x rw,pids\n");
	EXPECT_EQ(cg_mounts_parse(text, &m), -E2BIG);
	free(text);
}

TEST_MAIN()

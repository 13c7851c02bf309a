// SPDX-License-Identifier: Apache-2.0
/* The guest lane is what it promises: other tests there rely on it. With
 * 'run.sh --native' this machine is the lane, and says what it is not.
 *
 * LANE: guest
 * SECONDS: 60
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/magic.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/vfs.h>

#include "selftests/harness.h"

#define CGROUP "/sys/fs/cgroup"

static bool read_text(const char *path, char *text, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, size - 1);

	if (fd >= 0)
		close(fd);
	text[n > 0 ? n : 0] = '\0';
	return n >= 0;
}

static bool write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool ok = fd >= 0 && write(fd, text, strlen(text)) > 0;

	if (fd >= 0)
		close(fd);
	return ok;
}

static bool in_guest(void)
{
	const char *lane = getenv("ARKTOS_LANE");

	return lane && strcmp(lane, "guest") == 0;
}

static bool v2_alone(void)
{
	struct statfs fs;

	return statfs(CGROUP, &fs) == 0 && fs.f_type == CGROUP2_SUPER_MAGIC;
}

TEST(kernel_is_debians_6_12)
{
	struct utsname u;

	if (!in_guest())
		SKIP("this is no guest: any kernel will do");
	ASSERT_EQ(uname(&u), 0);
	EXPECT_EQ(strncmp(u.release, "6.12.", 5), 0);
	EXPECT_STREQ(u.nodename, "arktos-lane");
}

TEST(cgroup_v2_alone_with_all_controllers)
{
	static const char *const wanted[] = { "cpuset", "cpu",     "io",
					      "memory", "hugetlb", "pids" };
	char text[512];

	if (!in_guest() && !v2_alone())
		SKIP("cgroup v2 is not alone on this machine");
	ASSERT_EQ(v2_alone(), true);
	ASSERT_EQ(read_text("/proc/self/cgroup", text, sizeof(text)), true);
	EXPECT_EQ(strncmp(text, "0::/", 4), 0);
	EXPECT_EQ(strchr(text, '\n')[1], '\0');
	ASSERT_EQ(read_text(CGROUP "/cgroup.subtree_control", text,
			    sizeof(text)),
		  true);
	/* systemd, where it rules, gives no hugetlb. */
	for (size_t i = 0; i < ARRAY_SIZE(wanted); i++)
		if (in_guest() || strcmp(wanted[i], "hugetlb"))
			EXPECT_EQ(strstr(text, wanted[i]) != NULL, true);
}

/* A delegated cgroup: a leaf for ourselves, and its controllers to share. */
TEST(own_cgroup_is_delegated)
{
	char own[256], path[600], text[128];

	if (!in_guest() && !v2_alone())
		SKIP("cgroup v2 is not alone on this machine");
	ASSERT_EQ(read_text("/proc/self/cgroup", own, sizeof(own)), true);
	own[strcspn(own, "\n")] = '\0';
	EXPECT_EQ(strstr(own, "/test") != NULL, true);

	snprintf(path, sizeof(path), CGROUP "%s/cgroup.controllers", own + 3);
	ASSERT_EQ(read_text(path, text, sizeof(text)), true);
	EXPECT_EQ(strstr(text, "memory") != NULL, true);
	snprintf(path, sizeof(path), CGROUP "%s/memory.max", own + 3);
	EXPECT_EQ(write_text(path, "1G"), true);
	ASSERT_EQ(read_text(path, text, sizeof(text)), true);
	EXPECT_STREQ(text, "1073741824\n");
	EXPECT_EQ(write_text(path, "max"), true);
}

/* Trampolines are refused on some build machines; not here. */
TEST(fentry_programs_load)
{
	struct bpf_insn insns[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0 },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	LIBBPF_OPTS(bpf_prog_load_opts, opts,
		    .expected_attach_type = BPF_TRACE_FENTRY);
	int fd, link;

	opts.attach_btf_id =
		libbpf_find_vmlinux_btf_id("do_unlinkat", BPF_TRACE_FENTRY);
	ASSERT_GE((int)opts.attach_btf_id, 1);
	fd = bpf_prog_load(BPF_PROG_TYPE_TRACING, "lane_fentry", "GPL", insns,
			   ARRAY_SIZE(insns), &opts);
	if (fd < 0 && !in_guest())
		SKIP("this kernel refuses BPF trampolines");
	ASSERT_GE(fd, 0);
	link = bpf_raw_tracepoint_open(NULL, fd);
	EXPECT_GE(link, 0);
	close(link);
	close(fd);
}

/* Container roots are overlays: their upper layers must be possible. */
TEST(overlays_can_be_made_in_tmp)
{
	ASSERT_EQ(mkdir("l", 0755) | mkdir("u", 0755) | mkdir("w", 0755) |
			  mkdir("m", 0755),
		  0);
	EXPECT_EQ(mount("overlay", "m", "overlay", 0,
			"lowerdir=l,upperdir=u,workdir=w"),
		  0);
	EXPECT_EQ(umount("m"), 0);
}

/* Modules come when the kernel asks for them, as on any machine. */
TEST(modules_load_on_demand)
{
	if (access("/proc/modules", F_OK) < 0)
		SKIP("this kernel has no modules");
	EXPECT_EQ(system("ip link add lanevx type vxlan external "
			 "dstport 4789 && ip link del lanevx"),
		  0);
	EXPECT_EQ(system("ip link add lanev0 type veth peer name lanev1 && "
			 "tc qdisc add dev lanev0 clsact && "
			 "ip link del lanev0"),
		  0);
}

TEST(runtimes_to_compare_with_are_here)
{
	if (!in_guest() && system("crun --version >/dev/null 2>&1 && "
				  "containerd --version >/dev/null 2>&1"))
		SKIP("crun or containerd is not installed");
	EXPECT_EQ(system("crun --version >/dev/null"), 0);
	EXPECT_EQ(system("runc --version >/dev/null"), 0);
	EXPECT_EQ(system("containerd --version >/dev/null"), 0);
}

TEST_MAIN()

// SPDX-License-Identifier: Apache-2.0
/*
 * What a container is and is not allowed, looked at from outside wherever the
 * kernel tells.
 *
 * LANE: both
 * SECONDS: 180
 */
#include <linux/capability.h>
#include <pthread.h>
#include <stdbool.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>

#include "selftests/agent/container/fixture.h"

#define USERNS_BASE 2000000

static const char *const own_ns[] = { "mnt", "pid", "uts", "ipc", "cgroup" };

TEST(namespaces_are_its_own)
{
	struct sandbox_opts o = { .netns_fd = netns_new(),
				  .hostname = "pod-7" };
	auto_pod struct pod p = POD_INIT;
	uint64_t net;
	struct stat st;

	ASSERT_GE(o.netns_fd, 0);
	ASSERT_EQ(fstat(o.netns_fd, &st), 0);
	ASSERT_EQ(pod_up(&p, &o), 0);
	ASSERT_EQ(pod_run(&p, "a", "sleep 1000", ""), 0);
	for (size_t i = 0; i < ARRAY_SIZE(own_ns); i++) {
		uint64_t theirs = ns_inode(p.proc.pid, own_ns[i]);

		if (theirs == 0 || theirs == ns_inode(getpid(), own_ns[i]))
			FAIL("namespace %s is shared with the host", own_ns[i]);
	}
	net = ns_inode(p.proc.pid, "net");
	EXPECT_EQ(net, st.st_ino);
	EXPECT_EQ(ns_inode(p.proc.pid, "user"), ns_inode(getpid(), "user"));
	EXPECT_EQ(ns_inode(sandbox_pid(p.sb), "pid") ==
			  ns_inode(p.proc.pid, "pid"),
		  0);
	/* NSpid: host, pod, container */
	EXPECT_EQ(str_ends(proc_status(p.proc.pid, "NSpid"), "\t1"), 1);
	EXPECT_OUTPUT(&p, "hostname; echo $$", "", "pod-7\n1");
	close(o.netns_fd);
}

TEST(shared_pid_namespace_holds_all_containers)
{
	auto_pod struct pod p = POD_INIT;
	uint64_t first;

	ASSERT_EQ(pod_up(&p, NULL), 0);
	ASSERT_EQ(pod_run(&p, "a", "sleep 1000", ",\"sharePid\":true"), 0);
	first = ns_inode(p.proc.pid, "pid");
	ASSERT_EQ(pod_run(&p, "b", "sleep 1000", ",\"sharePid\":true"), 0);
	EXPECT_EQ(first, ns_inode(p.proc.pid, "pid"));
	EXPECT_EQ(first, ns_inode(sandbox_pid(p.sb), "pid"));
	EXPECT_OUTPUT(&p, "cat /proc/1/comm", ",\"sharePid\":true",
		      "arktos-pod");
}

TEST(root_holds_the_image_and_nothing_of_the_host)
{
	auto_pod struct pod p = POD_INIT;
	char path[PATH_MAX];
	auto_free char *mounts = NULL;

	ASSERT_EQ(pod_up(&p, NULL), 0);
	EXPECT_OUTPUT(&p, "ls /", "", "bin\ndev\netc\nproc\nroot\nsys\ntmp");
	EXPECT_OUTPUT(&p, "echo changed > /etc/passwd; cat /etc/passwd", "",
		      "changed");
	snprintf(path, sizeof(path), "%s/etc/passwd", p.layer);
	mounts = read_text(path);
	EXPECT_EQ(str_starts(mounts, "root:x:0"), 1); /* not in the layer */
	free(mounts);
	ASSERT_EQ(pod_run(&p, "m", "sleep 1000", ""), 0);
	snprintf(path, sizeof(path), "/proc/%d/mountinfo", p.proc.pid);
	mounts = read_text(path);
	/* The scratch directory or the host's disks would show up here. */
	EXPECT_EQ(strstr(mounts, " / / ") != NULL, 1);
	EXPECT_EQ(strstr(mounts, "/rw-m ") == NULL, 1);
	EXPECT_EQ(strstr(mounts, " ext4 ") == NULL, 1);
}

TEST(later_layers_win_and_whiteouts_hide)
{
	auto_pod struct pod p = POD_INIT;
	char path[PATH_MAX], more[PATH_MAX * 2];

	pod_dirs(&p);
	mkdir("top", 0755);
	mkdir("top/etc", 0755);
	write_text("top/etc/passwd", "top\n", 0644);
	ASSERT_EQ(mknod("top/etc/group", S_IFCHR, makedev(0, 0)), 0);
	ASSERT_EQ(pod_up(&p, NULL), 0);
	snprintf(path, sizeof(path), "%s/top", p.dir);
	snprintf(more, sizeof(more), ",\"uid\":0,\"layers\":[\"%s\",\"%s\"]",
		 path, p.layer);
	ASSERT_EQ(pod_start(&p,
			    "{\"name\":\"x\",\"argv\":[\"sh\",\"-c\","
			    "\"cat /etc/passwd; ls /etc\"],\"log\":\"%s/x.log\""
			    "%s}",
			    p.log, more),
		  0);
	ASSERT_EQ(pod_wait(&p, "x"), 0);
	snprintf(path, sizeof(path), "%s/x.log", p.log);
	{
		auto_free char *out = read_text(path);

		EXPECT_EQ(strstr(out, " F top\n") != NULL, 1);
		EXPECT_EQ(strstr(out, " F group\n") == NULL, 1);
	}
}

TEST(very_many_layers)
{
	auto_pod struct pod p = POD_INIT;
	auto_buf struct buf b = BUF_INIT;

	ASSERT_EQ(pod_up(&p, NULL), 0);
	for (int i = 0; i < 120; i++) {
		char path[PATH_MAX];

		snprintf(path, sizeof(path), "%s/l%d", p.dir, i);
		mkdir(path, 0755);
		buf_printf(&b, "\"%s\",", path);
	}
	EXPECT_EQ(pod_start(&p,
			    "{\"name\":\"x\",\"argv\":[\"true\"],"
			    "\"layers\":[%s\"%s\"]}",
			    buf_str(&b), p.layer),
		  0);
	EXPECT_STREQ(p.e.msg, "");
}

TEST(kernel_files_are_masked_and_read_only)
{
	auto_pod struct pod p = POD_INIT;

	ASSERT_EQ(pod_up(&p, NULL), 0);
	EXPECT_OUTPUT(&p,
		      "wc -c < /proc/keys; ls /sys/firmware | wc -l; "
		      "stat -c %t:%T /proc/keys",
		      MASKS, "0\n0\n1:3");
	EXPECT_OUTPUT(&p,
		      "echo 1 > /proc/sys/kernel/panic; touch /sys/x; "
		      "touch /sys/firmware/x",
		      MASKS,
		      "/bin/sh: can't create /proc/sys/kernel/panic: "
		      "Read-only file system\n"
		      "touch: /sys/x: Read-only file system\n"
		      "touch: /sys/firmware/x: Read-only file system");
}

TEST(read_only_root)
{
	auto_pod struct pod p = POD_INIT;

	ASSERT_EQ(pod_up(&p, NULL), 0);
	EXPECT_OUTPUT(&p, "touch /x; touch /dev/shm/x && echo shm",
		      ",\"readOnlyRoot\":true",
		      "touch: /x: Read-only file system\nshm");
}

TEST(devices_work_and_new_ones_do_not)
{
	auto_pod struct pod p = POD_INIT;

	ASSERT_EQ(pod_up(&p, NULL), 0);
	EXPECT_OUTPUT(&p,
		      "head -c 3 /dev/zero | wc -c; head -c 5 /dev/urandom | "
		      "wc -c; echo x > /dev/null && echo null; cat /dev/full 2>"
		      "/dev/null | head -c 1 | wc -c; echo > /dev/full; ls /dev",
		      "",
		      "3\n5\nnull\n1\nsh: write error: No space left on "
		      "device\nfd\nfull\nmqueue\nnull\nptmx\npts\nrandom\nshm\n"
		      "stderr\nstdin\nstdout\ntty\nurandom\nzero");
	/* The capability to make nodes is there, as everywhere; they open
	 * nothing: neither in the root, nor in /dev, nor in a tmpfs. */
	EXPECT_OUTPUT(&p,
		      "for d in / /dev /dev/shm; do mknod $d/x c 1 5 && "
		      "head -c 1 $d/x; done",
		      "",
		      "head: //x: Permission denied\n"
		      "head: /dev/x: Permission denied\n"
		      "head: /dev/shm/x: Permission denied");
}

TEST(dev_shm_is_shared_in_the_pod)
{
	auto_pod struct pod p = POD_INIT;

	ASSERT_EQ(pod_up(&p, NULL), 0);
	EXPECT_OUTPUT(&p, "echo one > /dev/shm/f", "", "");
	EXPECT_OUTPUT(&p, "cat /dev/shm/f", "", "one");
}

TEST(capabilities_are_those_of_the_spec)
{
	auto_pod struct pod p = POD_INIT;
	static const char nothing[] = "0000000000000000";

	ASSERT_EQ(pod_up(&p, NULL), 0);
	ASSERT_EQ(pod_run(&p, "root", "sleep 1000", ",\"noNewPrivs\":true"), 0);
	EXPECT_STREQ(proc_status(p.proc.pid, "CapEff"), "00000000a80425fb");
	EXPECT_STREQ(proc_status(p.proc.pid, "CapPrm"), "00000000a80425fb");
	EXPECT_STREQ(proc_status(p.proc.pid, "CapBnd"), "00000000a80425fb");
	EXPECT_STREQ(proc_status(p.proc.pid, "CapInh"), nothing);
	EXPECT_STREQ(proc_status(p.proc.pid, "CapAmb"), nothing);
	EXPECT_STREQ(proc_status(p.proc.pid, "NoNewPrivs"), "1");
	ASSERT_EQ(pod_run(&p, "user", "sleep 1000", ",\"uid\":1000"), 0);
	EXPECT_STREQ(proc_status(p.proc.pid, "CapEff"), nothing);
	EXPECT_STREQ(proc_status(p.proc.pid, "CapPrm"), nothing);
	EXPECT_STREQ(proc_status(p.proc.pid, "CapBnd"), "00000000a80425fb");
	EXPECT_STREQ(proc_status(p.proc.pid, "NoNewPrivs"), "0");
	ASSERT_EQ(pod_run(&p, "amb", "sleep 1000",
			  ",\"uid\":1000,\"ambient\":\"400\""),
		  0);
	EXPECT_STREQ(proc_status(p.proc.pid, "CapEff"), "0000000000000400");
	EXPECT_STREQ(proc_status(p.proc.pid, "CapAmb"), "0000000000000400");
}

TEST(users_by_name_number_and_group)
{
	auto_pod struct pod p = POD_INIT;
	static const struct {
		const char *more, *uid, *gid, *groups;
	} cases[] = {
		{ ",\"user\":\"\"", "0\t0\t0\t0", "0\t0\t0\t0", " " },
		{ ",\"user\":\"app\"", "1234\t1234\t1234\t1234",
		  "1235\t1235\t1235\t1235", "29 50 " },
		{ ",\"user\":\"1234\"", "1234\t1234\t1234\t1234",
		  "1235\t1235\t1235\t1235", "29 50 " },
		{ ",\"user\":\"77\"", "77\t77\t77\t77", "0\t0\t0\t0", " " },
		{ ",\"user\":\"77:staff\"", "77\t77\t77\t77", "50\t50\t50\t50",
		  " " },
		{ ",\"user\":\"app:99\",\"groups\":[7]",
		  "1234\t1234\t1234\t1234", "99\t99\t99\t99", "7 29 50 " },
		{ ",\"user\":\"app\",\"uid\":5,\"gid\":6", "5\t5\t5\t5",
		  "6\t6\t6\t6", " " },
	};

	ASSERT_EQ(pod_up(&p, NULL), 0);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char name[16];

		snprintf(name, sizeof(name), "u%zu", i);
		ASSERT_EQ(pod_run(&p, name, "sleep 1000", cases[i].more), 0);
		EXPECT_STREQ(proc_status(p.proc.pid, "Uid"), cases[i].uid);
		EXPECT_STREQ(proc_status(p.proc.pid, "Gid"), cases[i].gid);
		EXPECT_STREQ(proc_status(p.proc.pid, "Groups"),
			     cases[i].groups);
	}
}

TEST(environment_cwd_umask_and_limits)
{
	auto_pod struct pod p = POD_INIT;

	ASSERT_EQ(pod_up(&p, NULL), 0);
	EXPECT_OUTPUT(&p,
		      "echo $A $HOME; echo $PATH; pwd; umask; ulimit -n; "
		      "touch f; stat -c %a f",
		      ",\"env\":[\"A=b c\"],\"cwd\":\"/new/dir\",\"umask\":63,"
		      "\"rlimits\":[{\"type\":7,\"soft\":77,\"hard\":99}]",
		      "b c /root\n/usr/local/sbin:/usr/local/bin:/usr/sbin:"
		      "/usr/bin:/sbin:/bin\n/new/dir\n0077\n77\n600");
}

TEST(seccomp_blocks_what_the_profile_does_not_name)
{
	auto_pod struct pod p = POD_INIT;
	auto_close int fd = -EBADF;

	ASSERT_EQ(pod_up(&p, NULL), 0);
	ASSERT_EQ(seccomp_default_fd(CONTAINER_CAPS_DEFAULT, &fd, &p.e), 0);
	p.fds[0] = fd;
	p.nr_fds = 1;
	for (int nnp = 0; nnp < 2; nnp++) {
		char more[64];

		snprintf(more, sizeof(more), ",\"seccomp\":0,\"noNewPrivs\":%s",
			 nnp ? "true" : "false");
		/* unshare(1) and mount(1) need calls that are not there */
		EXPECT_OUTPUT(&p,
			      "mount -t tmpfs x /tmp; busybox unshare -U true; "
			      "sleep 0 && echo fine",
			      more,
			      "mount: permission denied (are you root?)\n"
			      "unshare: unshare(0x10000000): Operation not "
			      "permitted\nfine");
		ASSERT_EQ(pod_run(&p, nnp ? "b" : "a", "sleep 1000", more), 0);
		EXPECT_STREQ(proc_status(p.proc.pid, "Seccomp"), "2");
	}
}

static bool readers_done;

static void *move_the_offset(void *arg)
{
	const int *fd = arg;

	while (!__atomic_load_n(&readers_done, __ATOMIC_RELAXED))
		(void)lseek(*fd, 8, SEEK_SET);
	return NULL;
}

/* All pods are given the same file: nobody's offset, once mixed up by starts at
 * the same time (a filter of other instructions, or 'Invalid argument'). */
TEST(seccomp_profile_is_read_whole_while_others_read_it)
{
	auto_pod struct pod p = POD_INIT;
	auto_close int fd = -EBADF;
	pthread_t other;

	ASSERT_EQ(pod_up(&p, NULL), 0);
	ASSERT_EQ(seccomp_default_fd(CONTAINER_CAPS_DEFAULT, &fd, &p.e), 0);
	p.fds[0] = fd;
	p.nr_fds = 1;
	ASSERT_EQ(pthread_create(&other, NULL, move_the_offset, &fd), 0);
	for (int i = 0; i < 10; i++) {
		char name[16];

		snprintf(name, sizeof(name), "c%d", i);
		EXPECT_EQ(pod_run(&p, name, "sleep 1000", ",\"seccomp\":0"), 0);
		EXPECT_STREQ(p.why.message, "");
	}
	__atomic_store_n(&readers_done, true, __ATOMIC_RELAXED);
	pthread_join(other, NULL);
}

/* --- user namespace ------------------------------------------------------- */

static int userns_pod(struct pod *p, struct sandbox_opts *o)
{
	o->userns_base = USERNS_BASE;
	o->userns_size = 65536;
	return pod_up(p, o);
}

TEST(user_namespace_maps_root_to_nobody_on_the_host)
{
	struct sandbox_opts o = { .netns_fd = netns_new() };
	auto_pod struct pod p = POD_INIT;
	char path[PATH_MAX], more[PATH_MAX];
	auto_free char *map = NULL;
	struct stat st;

	pod_dirs(&p);
	ASSERT_EQ(sandbox_userns_probe(p.dir, &p.e), 0);
	ASSERT_EQ(userns_pod(&p, &o), 0);
	ASSERT_EQ(pod_run(&p, "a", "sleep 1000", ""), 0);
	EXPECT_EQ(ns_inode(p.proc.pid, "user") == ns_inode(getpid(), "user"),
		  0);
	snprintf(path, sizeof(path), "/proc/%d/uid_map", p.proc.pid);
	map = read_text(path);
	EXPECT_STREQ(map, "         0    2000000      65536\n");
	EXPECT_STREQ(proc_status(p.proc.pid, "Uid"),
		     "2000000\t2000000\t2000000\t2000000");
	EXPECT_OUTPUT(&p,
		      "id -u; stat -c %u:%g /bin/busybox /root /dev/null /dev "
		      "/; touch /f && stat -c %u /f; head -c 1 /dev/zero | wc "
		      "-c; mknod /n c 1 5",
		      "",
		      "0\n0:0\n0:0\n0:0\n0:0\n0:0\n0\n1\nmknod: /n: "
		      "Operation not permitted");
	snprintf(path, sizeof(path), "%s/rw-out/upper/f", p.state);
	ASSERT_EQ(stat(path, &st), 0);
	EXPECT_EQ(st.st_uid, USERNS_BASE);
	/* A volume shows, and takes, the ids of the inside. */
	mkdir("vol", 0755);
	write_text("vol/mine", "x\n", 0600);
	snprintf(more, sizeof(more),
		 ",\"mounts\":[{\"dest\":\"/v\",\"path\":\"%s/vol\","
		 "\"idmap\":\"must\"}]",
		 p.dir);
	EXPECT_OUTPUT(&p, "stat -c %u /v/mine; echo y > /v/new", more, "0");
	ASSERT_EQ(stat("vol/new", &st), 0);
	EXPECT_EQ(st.st_uid, 0);
	/* What is not mapped cannot be taken on. */
	EXPECT_EQ(pod_run(&p, "b", "true", ",\"uid\":70000"), -EREMOTEIO);
	EXPECT_STREQ(p.why.reason, "RunContainerError");
	EXPECT_EQ(strstr(p.why.message, "not in the pod's range") != NULL, 1);
	close(o.netns_fd);
}

TEST(user_namespace_keeps_low_ports)
{
	struct sandbox_opts o = { .netns_fd = netns_new() };
	auto_pod struct pod p = POD_INIT;

	ASSERT_EQ(userns_pod(&p, &o), 0);
	EXPECT_OUTPUT(&p,
		      "cat /proc/sys/net/ipv4/ip_unprivileged_port_start "
		      "/proc/sys/net/ipv4/ping_group_range",
		      /* the host's ids, of which none is the pod's 0 */
		      MASKS, "0\n65534\t65534");
	close(o.netns_fd);
}

TEST(sysctls_are_the_pods_own_or_refused)
{
	struct key_value kv = { (char *)"net.core.somaxconn", (char *)"77" };
	struct key_values sysctls = { &kv, 1 };
	struct sandbox_opts o = { .netns_fd = netns_new(),
				  .sysctls = &sysctls };
	auto_pod struct pod p = POD_INIT;
	auto_free char *host = NULL;

	ASSERT_EQ(pod_up(&p, &o), 0);
	EXPECT_OUTPUT(&p, "cat /proc/sys/net/core/somaxconn", "", "77");
	host = read_text("/proc/sys/net/core/somaxconn");
	EXPECT_EQ(str_eq(host, "77\n"), 0);
	pod_down(&p);
	kv.key = (char *)"kernel.panic";
	EXPECT_EQ(pod_up(&p, &o), -EPERM);
	EXPECT_STREQ(p.e.msg, "supervisor: sysctl 'kernel.panic=77': not one "
			      "a pod has for itself");
	close(o.netns_fd);
}

TEST_MAIN()

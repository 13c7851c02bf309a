// SPDX-License-Identifier: Apache-2.0
/*
 * Ways out of a container that have worked on others. Each must fail here.
 *
 * LANE: both
 * SECONDS: 120
 */
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include "selftests/agent/container/fixture.h"

#define SECRET "host-secret-4711"

static const char caps_all[] = ",\"caps\":\"1ffffffffff\"";

/* The program of the supervisor, overwritten through /proc/<pid>/exe. */
TEST(supervisor_binary_cannot_be_written_through_proc)
{
	struct sandbox_opts o = { .netns_fd = -1 };
	auto_pod struct pod p = POD_INIT;
	auto_close int exe = -EBADF;
	char path[64], copy[PATH_MAX];

	pod_dirs(&p);
	snprintf(copy, sizeof(copy), "%s/arktos-pod", p.dir);
	ASSERT_EQ(copy_file(pod_binary(), copy), true);
	o.binary = copy;
	ASSERT_EQ(pod_up(&p, &o), 0);
	snprintf(path, sizeof(path), "/proc/%d/exe", (int)sandbox_pid(p.sb));
	exe = open(path, O_PATH | O_CLOEXEC);
	ASSERT_GE(exe, 0);
	/* The classic: the image's program is a link to /proc/self/exe. */
	ASSERT_EQ(pod_start(&p,
			    "{\"name\":\"x\",\"argv\":[\"/proc/self/exe\"],"
			    "\"layers\":[\"%s\"],\"caps\":\"1ffffffffff\"}",
			    p.layer),
		  0);
	ASSERT_EQ(pod_wait(&p, "x"), 0);
	EXPECT_EQ(p.proc.exit_code, 64); /* usage; no pod to supervise */
	EXPECT_OUTPUT(&p,
		      "for i in /proc/[0-9]*; do (echo x > $i/exe) 2>/dev/null "
		      "&& echo written $i; done; true",
		      ",\"sharePid\":true", "");
	pod_down(&p);
	o.binary = "/no/arktos-pod";
	o.uid = "0";
	o.run_dir = o.state_dir = "/no";
	EXPECT_EQ(sandbox_spawn(&o, &p.sb, NULL), -ENOENT); /* ends the other */
	/* Nobody runs it now, so nothing but the mount protects it, and that
	 * even from the host's root: no container's root can be more. */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", exe);
	EXPECT_EQ(open(path, O_WRONLY | O_CLOEXEC), -1);
	EXPECT_EQ(errno, EROFS);
}

TEST(no_descriptor_of_the_host_leaks)
{
	auto_pod struct pod p = POD_INIT;

	ASSERT_EQ(pod_up(&p, NULL), 0);
	EXPECT_OUTPUT(&p, "ls /proc/1/fd; true", "", "0\n1\n2");
}

TEST(working_directory_is_no_way_out)
{
	static const char *const cwds[] = { "/proc/self/fd/7",
					    "/proc/self/fd/3", "/proc/1/cwd",
					    "/proc/self/cwd/..",
					    "/proc/1/root/.." };
	auto_pod struct pod p = POD_INIT;

	ASSERT_EQ(pod_up(&p, NULL), 0);
	for (size_t i = 0; i < ARRAY_SIZE(cwds); i++) {
		char more[128];

		snprintf(more, sizeof(more), ",\"cwd\":\"%s\"", cwds[i]);
		EXPECT_EQ(pod_run(&p, "x", "ls", more), -EREMOTEIO);
		EXPECT_STREQ(p.why.reason, "CreateContainerError");
	}
	/* ".." ends at the container's own root. */
	EXPECT_OUTPUT(&p, "ls -d bin", ",\"cwd\":\"/../../../..\"", "bin");
}

TEST(symlinks_of_the_image_lead_nowhere)
{
	auto_pod struct pod p = POD_INIT;
	char more[PATH_MAX], path[PATH_MAX];

	pod_dirs(&p);
	mkdir("victim", 0755);
	mkdir("vol", 0755);
	ASSERT_EQ(make_layer(p.layer), 0);
	snprintf(path, sizeof(path), "%s/layer/data", p.dir);
	/* The mount point is a link to a directory of the host. */
	snprintf(more, sizeof(more), "%s/victim", p.dir);
	ASSERT_EQ(symlink(more, path), 0);
	ASSERT_EQ(pod_up(&p, NULL), 0);
	snprintf(more, sizeof(more),
		 ",\"mounts\":[{\"dest\":\"/data/new\",\"path\":\"%s/vol\"}]",
		 p.dir);
	/* It is looked up inside the root, where it does not lead anywhere. */
	EXPECT_EQ(pod_run(&p, "x", "true", more), -EREMOTEIO);
	EXPECT_EQ(access("victim/new", F_OK), -1);
	/* And a volume's source may hold none at all. */
	ASSERT_EQ(symlink("/etc", "vol/link"), 0);
	snprintf(more, sizeof(more),
		 ",\"mounts\":[{\"dest\":\"/v\",\"path\":\"%s/vol/link\"}]",
		 p.dir);
	EXPECT_EQ(pod_run(&p, "x", "true", more), -EREMOTEIO);
	EXPECT_EQ(strstr(p.why.message, "Too many levels of symbolic") != NULL,
		  1);
}

TEST(kernel_mount_points_may_not_be_links)
{
	static const char *const names[] = { "proc", "dev", "sys" };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		auto_pod struct pod p = POD_INIT;
		char path[PATH_MAX];

		ASSERT_EQ(pod_up(&p, NULL), 0);
		snprintf(path, sizeof(path), "%s/%s", p.layer, names[i]);
		ASSERT_EQ(symlink("/tmp", path), 0);
		EXPECT_EQ(pod_run(&p, "x", "true", ""), -EREMOTEIO);
		EXPECT_STREQ(p.why.reason, "CreateContainerError");
		EXPECT_EQ(strstr(p.why.message,
				 "in the image is a symlink: refused") != NULL,
			  1);
		unlink(path);
	}
}

/* A container swaps directory and symlink in a volume while another one is
 * started with a mount inside that volume, again and again. */
TEST(symlink_exchange_race_never_leaves_the_root)
{
	auto_pod struct pod p = POD_INIT;
	char more[PATH_MAX * 2];

	ASSERT_EQ(pod_up(&p, NULL), 0);
	mkdir("vol", 0777);
	mkdir("host", 0755);
	mkdir("what", 0755);
	write_text("what/" SECRET, "x", 0644);
	snprintf(more, sizeof(more),
		 ",\"mounts\":[{\"dest\":\"/v\",\"path\":\"%s/vol\"}]", p.dir);
	ASSERT_EQ(pod_run(&p, "swapper",
			  "cd /v; mkdir a; ln -s /../../../../../.. b; "
			  "while :; do busybox mv a c; busybox mv b a; "
			  "busybox mv a b; busybox mv c a; done",
			  more),
		  0);
	snprintf(more, sizeof(more),
		 ",\"mounts\":[{\"dest\":\"/v\",\"path\":\"%s/vol\"},"
		 "{\"dest\":\"/v/a/mnt\",\"path\":\"%s/what\"}]",
		 p.dir, p.dir);
	for (int i = 0; i < 60; i++) {
		int r = pod_run(&p, "x", "ls /v/a/mnt /mnt", more);

		EXPECT_EQ(r == 0 || r == -EREMOTEIO, 1);
		if (r == 0) {
			ASSERT_EQ(pod_wait(&p, "x"), 0);
			ASSERT_EQ(sandbox_ack(p.sb, "x", &p.e), 0);
		}
		EXPECT_EQ(access("/mnt/" SECRET, F_OK), -1);
		EXPECT_EQ(access("/" SECRET, F_OK), -1);
	}
	EXPECT_EQ(access("host/mnt", F_OK), -1);
}

TEST(supervisor_cannot_be_traced_or_read)
{
	auto_pod struct pod p = POD_INIT;

	ASSERT_EQ(pod_up(&p, NULL), 0);
	/* In a shared pid namespace it is process 1, and there for all to see;
	 * even with CAP_SYS_PTRACE of a user namespace nothing opens. */
	EXPECT_OUTPUT(&p,
		      "cat /proc/1/environ; cat /proc/1/maps | wc -l; "
		      "cat /proc/1/fd/3; ls /proc/1/root/; kill -9 1; "
		      "head -c 1 /proc/1/mem; echo done",
		      ",\"sharePid\":true",
		      "cat: can't open '/proc/1/environ': Permission denied\n"
		      "cat: can't open '/proc/1/maps': Permission denied\n0\n"
		      "cat: can't open '/proc/1/fd/3': Permission denied\n"
		      "ls: /proc/1/root/: Permission denied\n"
		      "head: /proc/1/mem: Permission denied\ndone");
	EXPECT_EQ(kill(sandbox_pid(p.sb), 0), 0);
}

TEST(host_disks_cannot_be_opened)
{
	auto_pod struct pod p = POD_INIT;
	char script[PATH_MAX];
	struct stat st;

	ASSERT_EQ(stat(".", &st), 0);
	ASSERT_EQ(pod_up(&p, NULL), 0);
	snprintf(script, sizeof(script),
		 "mknod /disk b %u %u; head -c 1 /disk | wc -c; "
		 "mknod /dev/disk b %u %u; head -c 1 /dev/disk | wc -c",
		 major(st.st_dev), minor(st.st_dev), major(st.st_dev),
		 minor(st.st_dev));
	EXPECT_OUTPUT(&p, script, "",
		      "head: /disk: Permission denied\n0\n"
		      "head: /dev/disk: Permission denied\n0");
	/* Made beforehand, in the image or in a volume, it is no better. */
	ASSERT_EQ(pod_run(&p, "x", "true", caps_all), 0);
	snprintf(script, sizeof(script), "%s/node", p.layer);
	ASSERT_EQ(mknod(script, S_IFBLK | 0666, st.st_dev), 0);
	EXPECT_OUTPUT(&p, "head -c 1 /node | wc -c", "",
		      "head: /node: Permission denied\n0");
	unlink(script);
}

TEST(masks_cannot_be_lifted)
{
	auto_pod struct pod p = POD_INIT;

	ASSERT_EQ(pod_up(&p, NULL), 0);
	EXPECT_OUTPUT(&p,
		      "umount /proc/keys; umount /proc; mount -o remount,rw "
		      "/proc/sys; echo x > /proc/sys/kernel/core_pattern",
		      MASKS,
		      "umount: can't unmount /proc/keys: Operation not "
		      "permitted\n"
		      "umount: can't unmount /proc: Operation not permitted\n"
		      "mount: permission denied (are you root?)\n"
		      "/bin/sh: can't create /proc/sys/kernel/core_pattern: "
		      "Read-only file system");
}

/* An image whose passwd is a FIFO, a directory, a device or endless must not
 * hold the supervisor, and not for ever the start. */
TEST(odd_passwd_files_hold_nobody_up)
{
	auto_pod struct pod p = POD_INIT;
	char path[PATH_MAX];

	ASSERT_EQ(pod_up(&p, NULL), 0);
	snprintf(path, sizeof(path), "%s/etc/passwd", p.layer);
	unlink(path);
	ASSERT_EQ(mkfifo(path, 0644), 0);
	EXPECT_EQ(pod_run(&p, "x", "true", ",\"user\":\"app\""), -EREMOTEIO);
	EXPECT_STREQ(p.why.message, "'/etc/passwd' of the image is no file");
	unlink(path);
	ASSERT_EQ(symlink("/dev/zero", path), 0);
	EXPECT_EQ(pod_run(&p, "x", "true", ",\"user\":\"app\""), -EREMOTEIO);
	unlink(path);
	ASSERT_EQ(close(creat(path, 0644)), 0);
	ASSERT_EQ(truncate(path, INT64_C(1) << 40), 0);
	EXPECT_EQ(pod_run(&p, "x", "true", ",\"user\":\"app\""), -EREMOTEIO);
	unlink(path);
	/* The host's own file must not be the one that is read. */
	ASSERT_EQ(symlink("../../../../../../../../etc/passwd", path), 0);
	EXPECT_EQ(pod_run(&p, "x", "true", ",\"user\":\"daemon\""), -EREMOTEIO);
	unlink(path);
}

/* trusted.overlay.redirect in a foreign layer: look anywhere on the disk. */
TEST(layers_cannot_redirect)
{
	auto_pod struct pod p = POD_INIT;
	char path[PATH_MAX];

	pod_dirs(&p);
	ASSERT_EQ(make_layer(p.layer), 0);
	mkdir("l2", 0755);
	mkdir("l2/secret", 0755);
	write_text("l2/secret/f", SECRET, 0644);
	snprintf(path, sizeof(path), "%s/evil", p.layer);
	mkdir(path, 0755);
	ASSERT_EQ(setxattr(path, "trusted.overlay.redirect", "/secret", 7, 0),
		  0);
	ASSERT_EQ(pod_up(&p, NULL), 0);
	ASSERT_EQ(pod_start(&p,
			    "{\"name\":\"x\",\"argv\":[\"sh\",\"-c\","
			    "\"test ! -e /evil/f\"],"
			    "\"layers\":[\"%s\",\"%s/l2\"]}",
			    p.layer, p.dir),
		  0);
	ASSERT_EQ(pod_wait(&p, "x"), 0);
	EXPECT_EQ(p.proc.exit_code, 0);
}

/* Only root speaks to a supervisor. */
TEST(other_users_are_turned_away)
{
	auto_pod struct pod p = POD_INIT;
	char sock[PATH_MAX];
	struct stat st;
	int status = 0;
	pid_t pid;

	ASSERT_EQ(pod_up(&p, NULL), 0);
	snprintf(sock, sizeof(sock), "%s/pod.sock", p.run);
	ASSERT_EQ(stat(sock, &st), 0);
	EXPECT_EQ(st.st_mode & 0777, 0600);
	ASSERT_EQ(stat(p.run, &st), 0);
	EXPECT_EQ(st.st_mode & 0777, 0700);
	/* Even if files allowed it. */
	chmod(p.run, 0755);
	chmod(sock, 0666);
	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		struct sandbox *sb;

		if (setresuid(1, 1, 1) < 0)
			_exit(99);
		_exit(sandbox_open(p.run, &sb, NULL) == 0);
	}
	waitpid(pid, &status, 0);
	EXPECT_EQ(WEXITSTATUS(status), 0);
	EXPECT_EQ(pod_run(&p, "x", "true", ""), 0);
}

/* What a pod that adds SYS_ADMIN can do in its user namespace: mount where it
 * has made the mount namespace, and nothing to the host's /proc/sys. */
TEST(sys_admin_of_a_user_namespace_mounts_only_what_is_its_own)
{
	struct sandbox_opts o = { .netns_fd = -1,
				  .userns_base = 3000000,
				  .userns_size = 65536 };
	auto_pod struct pod p = POD_INIT;

	ASSERT_EQ(pod_up(&p, &o), 0);
	ASSERT_EQ(pod_run(&p, "own",
			  "mkdir /t && unshare -m /bin/sh -c 'mount -t tmpfs t "
			  "/t && echo x >/t/x' && ! test -e /t/x",
			  caps_all),
		  0);
	EXPECT_EQ(pod_wait(&p, "own"), 0);
	EXPECT_EQ(p.proc.exit_code, 0);
	ASSERT_EQ(pod_run(&p, "host",
			  "unshare -m /bin/sh -c 'mount -o remount,bind,rw "
			  "/proc/sys; mount -o remount,rw /proc; umount "
			  "/proc/sys; v=$(cat /proc/sys/kernel/core_pattern) "
			  "&& echo $v >/proc/sys/kernel/core_pattern'",
			  caps_all),
		  0);
	EXPECT_EQ(pod_wait(&p, "host"), 0);
	EXPECT_EQ(p.proc.exit_code != 0, 1);
}

TEST_MAIN()

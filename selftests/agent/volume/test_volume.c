// SPDX-License-Identifier: Apache-2.0
// LANE: both
/* Volumes on a real file system and with real mounts. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/un.h>

#include "agent/volume/volume.h"
#include "selftests/harness.h"
#include "lib/auto.h"
#include "lib/err.h"
#include "lib/fs.h"
#include "lib/str.h"

#define NEED_ROOT()                                                        \
	do {                                                               \
		if (geteuid() != 0)                                        \
			SKIP("root, for owners and mounts");               \
		if (unshare(CLONE_NEWNS) < 0 ||                            \
		    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) \
			SKIP("mount namespaces");                          \
	} while (0)

static char here[PATH_MAX];

static struct volume_dirs dirs(void)
{
	static char state[PATH_MAX + 8], run[PATH_MAX + 8];

	if (!getcwd(here, sizeof(here)))
		printf("# getcwd\n");
	snprintf(state, sizeof(state), "%s/state", here);
	snprintf(run, sizeof(run), "%s/run", here);
	return (struct volume_dirs){ .state_dir = state, .run_dir = run };
}

static char uid[] = "11-22", vol_name[] = "data";

static struct pod_spec pod_of(struct volume_spec *v)
{
	return (struct pod_spec){ .uid = uid, .volumes = v, .nr_volumes = 1 };
}

static int setup(struct pod_spec *pod, struct volume_set **ret, struct err *e)
{
	struct volume_dirs d = dirs();

	return volume_setup(&d, pod, ret, e);
}

static int teardown(struct err *e)
{
	struct volume_dirs d = dirs();

	return volume_teardown(&d, uid, e);
}

/* Open a mount and put it in place on "at". */
static int attach(const struct volume_set *set, const char *sub, bool ro,
		  const char *at, struct err *e)
{
	struct mount_spec m = { .volume = vol_name,
				.sub_path = (char *)sub,
				.read_only = ro };
	int fd = -1, r = volume_open(set, &m, &fd, e);

	if (r < 0)
		return r;
	r = (int)syscall(SYS_move_mount, fd, "", AT_FDCWD, at, 4 /* empty */);
	if (r < 0)
		r = -errno;
	close(fd);
	return r;
}

static void put_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		printf("# cannot write %s: %s\n", path, strerror(errno));
	close(fd);
}

TEST(an_empty_dir_is_everybodys)
{
	struct volume_spec v = { .name = vol_name, .kind = VOLUME_EMPTY_DIR };
	struct pod_spec pod = pod_of(&v);
	struct volume_set *set = NULL;
	struct err e = { 0 };
	struct stat st;

	NEED_ROOT();
	ASSERT_EQ(setup(&pod, &set, &e), 0);
	EXPECT_STREQ(volume_path(set, "data") + strlen(here),
		     "/state/pods/11-22/volumes/data");
	ASSERT_EQ(stat(volume_path(set, "data"), &st), 0);
	EXPECT_EQ(st.st_mode, S_IFDIR | 0777);
	EXPECT_EQ(st.st_uid, 0);
	EXPECT_EQ(st.st_gid, 0);
	EXPECT_EQ(volume_path(set, "other") == NULL, 1);

	/* Its mode is the containers' from now on. */
	ASSERT_EQ(chmod(volume_path(set, "data"), 0700), 0);
	volume_close(set);
	ASSERT_EQ(setup(&pod, &set, &e), 0);
	ASSERT_EQ(stat(volume_path(set, "data"), &st), 0);
	EXPECT_EQ(st.st_mode, S_IFDIR | 0700);

	ASSERT_EQ(mkdir("at", 0755), 0);
	ASSERT_EQ(attach(set, NULL, false, "at", &e), 0);
	put_text("at/file", "x");
	EXPECT_EQ(access("state/pods/11-22/volumes/data/file", F_OK), 0);
	/* Devices in it open for nobody. */
	ASSERT_EQ(mknod("at/null", S_IFCHR | 0666, makedev(1, 3)), 0);
	EXPECT_EQ(open("at/null", O_RDONLY | O_CLOEXEC), -1);
	EXPECT_EQ(errno, EACCES);
	EXPECT_EQ(umount("at"), 0);

	ASSERT_EQ(attach(set, NULL, true, "at", &e), 0);
	EXPECT_EQ(open("at/new", O_WRONLY | O_CREAT | O_CLOEXEC, 0600), -1);
	EXPECT_EQ(errno, EROFS);
	EXPECT_EQ(umount("at"), 0);
	volume_close(set);

	ASSERT_EQ(teardown(&e), 0);
	EXPECT_EQ(access("state/pods/11-22/volumes", F_OK), -1);
	ASSERT_EQ(teardown(&e), 0); /* again is fine */
}

TEST(an_fs_group_owns_it)
{
	struct volume_spec v = { .name = vol_name, .kind = VOLUME_EMPTY_DIR };
	struct pod_spec pod = pod_of(&v);
	struct volume_set *set = NULL;
	struct err e = { 0 };
	struct stat st;

	NEED_ROOT();
	pod.has_fs_group = true;
	pod.fs_group = 2000;
	for (int memory = 0; memory < 2; memory++) {
		v.memory = memory;
		ASSERT_EQ(setup(&pod, &set, &e), 0);
		ASSERT_EQ(stat(volume_path(set, "data"), &st), 0);
		EXPECT_EQ(st.st_mode, S_IFDIR | 02777);
		EXPECT_EQ(st.st_gid, 2000);
		volume_close(set);
		ASSERT_EQ(teardown(&e), 0);
	}
}

TEST(memory_is_a_tmpfs_that_keeps_its_limit)
{
	struct volume_spec v = { .name = vol_name,
				 .kind = VOLUME_EMPTY_DIR,
				 .memory = true,
				 .size_limit = 1 << 20 };
	struct pod_spec pod = pod_of(&v);
	struct volume_set *set = NULL, *again = NULL;
	struct err e = { 0 };
	struct statfs fs;

	NEED_ROOT();
	ASSERT_EQ(setup(&pod, &set, &e), 0);
	EXPECT_STREQ(volume_path(set, "data") + strlen(here),
		     "/run/pods/11-22/volumes/data");
	ASSERT_EQ(statfs(volume_path(set, "data"), &fs), 0);
	EXPECT_EQ(fs.f_type, 0x01021994);
	EXPECT_EQ(fs.f_blocks * (uint64_t)fs.f_bsize, 1 << 20);
	put_text("run/pods/11-22/volumes/data/file", "kept");

	/* A restarted agent adopts it. */
	ASSERT_EQ(setup(&pod, &again, &e), 0);
	EXPECT_EQ(access("run/pods/11-22/volumes/data/file", F_OK), 0);
	volume_close(again);
	EXPECT_EQ(umount("run/pods/11-22/volumes/data"), 0);
	EXPECT_EQ(umount("run/pods/11-22/volumes/data"), -1); /* was one */

	ASSERT_EQ(setup(&pod, &again, &e), 0);
	volume_close(again);
	volume_close(set);
	ASSERT_EQ(teardown(&e), 0);
	EXPECT_EQ(access("run/pods/11-22/volumes", F_OK), -1);
}

TEST(a_busy_tmpfs_is_torn_down)
{
	struct volume_spec v = { .name = vol_name,
				 .kind = VOLUME_EMPTY_DIR,
				 .memory = true };
	struct pod_spec pod = pod_of(&v);
	struct volume_set *set = NULL;
	struct err e = { 0 };
	int fd;

	NEED_ROOT();
	ASSERT_EQ(setup(&pod, &set, &e), 0);
	fd = open(volume_path(set, "data"), O_RDONLY | O_CLOEXEC);
	volume_close(set);
	ASSERT_EQ(teardown(&e), 0);
	EXPECT_EQ(access("run/pods/11-22/volumes", F_OK), -1);
	close(fd);
}

TEST(usage_counts_blocks_once)
{
	struct volume_spec v = { .name = vol_name,
				 .kind = VOLUME_EMPTY_DIR,
				 .size_limit = 1 << 20 };
	struct pod_spec pod = pod_of(&v);
	struct volume_set *set = NULL;
	uint64_t before = 0, after = 0;
	struct err e = { 0 };
	char *block = malloc(512 * 1024 + 1);
	char path[PATH_MAX];

	NEED_ROOT();
	memset(block, 'x', 512 * 1024);
	block[512 * 1024] = '\0';
	ASSERT_EQ(setup(&pod, &set, &e), 0);
	ASSERT_EQ(volume_usage(set, "data", &before, &e), 0);
	ASSERT_EQ(chdir(volume_path(set, "data")), 0);
	put_text("a", block);
	ASSERT_EQ(link("a", "b"), 0);
	ASSERT_EQ(mkdir("sub", 0755), 0);
	ASSERT_EQ(link("a", "sub/c"), 0);
	put_text("sparse", "");
	ASSERT_EQ(truncate("sparse", 1 << 30), 0);
	sync();
	ASSERT_EQ(volume_usage(set, "data", &after, &e), 0);
	EXPECT_GE(after - before, 512 * 1024);
	EXPECT_GE(600 * 1024, after - before);
	snprintf(path, sizeof(path), "%s", volume_path(set, "data"));
	after = 0;
	EXPECT_EQ(volume_measure(path, 1 << 20, &after, &e), 0);
	put_text("more", block);
	put_text("evenmore", block);
	sync();
	after = 0;
	EXPECT_EQ(volume_measure(path, 1 << 20, &after, &e), -EDQUOT);
	EXPECT_GE(after, (1 << 20) + 1);
	after = 1 << 19; /* what was counted before counts */
	EXPECT_EQ(volume_measure(path, 3 << 20, &after, &e), 0);
	EXPECT_EQ(volume_measure(path, 3 << 20, &after, &e), -EDQUOT);
	after = 7;
	EXPECT_EQ(volume_measure("state/nothing", 8, &after, &e), 0);
	EXPECT_EQ(after, 7);
	ASSERT_EQ(chdir(here), 0);
	EXPECT_EQ(volume_usage(set, "none", &after, &e), -ENOENT);
	volume_close(set);
	ASSERT_EQ(teardown(&e), 0);
	free(block);
}

TEST(hiding_in_the_depths_helps_nobody)
{
	struct volume_spec v = { .name = vol_name,
				 .kind = VOLUME_EMPTY_DIR,
				 .size_limit = 1 << 30 };
	struct pod_spec pod = pod_of(&v);
	struct volume_set *set = NULL;
	struct err e = { 0 };
	uint64_t bytes = 0;
	int fd;

	NEED_ROOT();
	ASSERT_EQ(setup(&pod, &set, &e), 0);
	fd = open(volume_path(set, "data"), O_RDONLY | O_CLOEXEC);
	for (int i = 0; i < 1000; i++) {
		int sub;

		ASSERT_EQ(mkdirat(fd, "d", 0700), 0);
		sub = openat(fd, "d", O_RDONLY | O_CLOEXEC);
		close(fd);
		fd = sub;
	}
	close(fd);
	EXPECT_EQ(volume_measure(volume_path(set, "data"), 1 << 30, &bytes, &e),
		  -EDQUOT);
	EXPECT_EQ(bytes == UINT64_MAX, true);
	volume_close(set);
	ASSERT_EQ(teardown(&e), 0);
	EXPECT_EQ(access("state/pods/11-22/volumes", F_OK), -1);
}

/* --- hostPath
 * -------------------------------------------------------------------- */

static void make_things(void)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX, .sun_path = "sock" };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	mkdir("dir", 0755);
	put_text("file", "x");
	if (bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0)
		printf("# bind\n");
	close(fd);
	mknod("chr", S_IFCHR | 0600, makedev(1, 3));
	mknod("blk", S_IFBLK | 0600, makedev(7, 200));
}

TEST(a_host_path_must_be_what_it_says)
{
	static const struct {
		const char *path;
		enum host_path_type type;
		int code;
		const char *words;
	} cases[] = {
		{ "dir", HOST_PATH_ANY, 0, "" },
		{ "file", HOST_PATH_ANY, 0, "" },
		{ "dir", HOST_PATH_DIRECTORY, 0, "" },
		{ "file", HOST_PATH_FILE, 0, "" },
		{ "sock", HOST_PATH_SOCKET, 0, "" },
		{ "chr", HOST_PATH_CHAR_DEVICE, 0, "" },
		{ "blk", HOST_PATH_BLOCK_DEVICE, 0, "" },
		{ "new/deep/dir", HOST_PATH_DIRECTORY_OR_CREATE, 0, "" },
		{ "dir", HOST_PATH_DIRECTORY_OR_CREATE, 0, "" },
		{ "newfile", HOST_PATH_FILE_OR_CREATE, 0, "" },
		{ "file", HOST_PATH_FILE_OR_CREATE, 0, "" },
		{ "file", HOST_PATH_DIRECTORY, -ENOTDIR, "is not a directory" },
		{ "file", HOST_PATH_DIRECTORY_OR_CREATE, -ENOTDIR,
		  "is not a directory" },
		{ "dir", HOST_PATH_FILE, -EISDIR, "is not a file" },
		{ "dir", HOST_PATH_FILE_OR_CREATE, -EISDIR, "is not a file" },
		{ "file", HOST_PATH_SOCKET, -ENOTSOCK, "is not a socket" },
		{ "blk", HOST_PATH_CHAR_DEVICE, -ENODEV,
		  "is not a character device" },
		{ "chr", HOST_PATH_BLOCK_DEVICE, -ENOTBLK,
		  "is not a block device" },
		{ "none", HOST_PATH_ANY, -ENOENT,
		  "does not exist; type: "
		  "DirectoryOrCreate" },
		{ "none", HOST_PATH_DIRECTORY, -ENOENT,
		  "does not exist; type: DirectoryOrCreate" },
		{ "none", HOST_PATH_FILE, -ENOENT,
		  "does not exist; type: FileOrCreate" },
		{ "no/file", HOST_PATH_FILE_OR_CREATE, -ENOENT,
		  "FileOrCreate makes only the file" },
		{ "dir/../file", HOST_PATH_ANY, -EINVAL,
		  "must not contain '..'" },
	};

	NEED_ROOT();
	(void)dirs();
	make_things();
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		auto_free char *path = str_printf("%s/%s", here, cases[i].path);
		struct volume_spec v = { .name = vol_name,
					 .kind = VOLUME_HOST_PATH,
					 .path = path,
					 .type = cases[i].type };
		struct pod_spec pod = pod_of(&v);
		struct volume_set *set = NULL;
		struct err e = { 0 };

		EXPECT_EQ(setup(&pod, &set, &e), cases[i].code);
		if (!strstr(e.msg, cases[i].words))
			FAIL("'%s' should say '%s'", e.msg, cases[i].words);
		if (cases[i].code && !str_starts(e.msg, "volume 'data': "))
			FAIL("'%s' does not say which", e.msg);
		volume_close(set);
	}
	ASSERT_EQ(teardown(&(struct err){ 0 }), 0);
	/* What is the host's stays. */
	EXPECT_EQ(access("new/deep/dir", F_OK), 0);
	EXPECT_EQ(access("newfile", F_OK), 0);
}

TEST(a_relative_host_path_is_refused)
{
	struct volume_spec v = { .name = vol_name,
				 .kind = VOLUME_HOST_PATH,
				 .path = vol_name };
	struct pod_spec pod = pod_of(&v);
	struct volume_set *set = NULL;
	struct err e = { 0 };

	EXPECT_EQ(setup(&pod, &set, &e), -EINVAL);
	EXPECT_STREQ(e.msg, "volume 'data': hostPath 'data' must be absolute");
	pod.uid = (char[]){ "../x" };
	EXPECT_EQ(setup(&pod, &set, &e), -EINVAL);
	EXPECT_STREQ(e.msg, "pod uid '../x' is malformed");
}

TEST(a_host_path_shows_what_is_mounted_in_it)
{
	struct volume_spec v = { .name = vol_name,
				 .kind = VOLUME_HOST_PATH,
				 .type = HOST_PATH_DIRECTORY };
	struct pod_spec pod = pod_of(&v);
	struct volume_set *set = NULL;
	struct err e = { 0 };

	NEED_ROOT();
	(void)dirs();
	v.path = str_printf("%s/host", here);
	ASSERT_EQ(mkdir("host", 0755), 0);
	ASSERT_EQ(mkdir("host/mnt", 0755), 0);
	ASSERT_EQ(mkdir("at", 0755), 0);
	ASSERT_EQ(mount("arktos-test", "host/mnt", "tmpfs", 0, NULL), 0);
	put_text("host/mnt/in", "x");
	ASSERT_EQ(setup(&pod, &set, &e), 0);
	ASSERT_EQ(attach(set, NULL, true, "at", &e), 0);
	EXPECT_EQ(access("at/mnt/in", F_OK), 0);
	/* Read-only all the way down. */
	EXPECT_EQ(open("at/mnt/new", O_WRONLY | O_CREAT | O_CLOEXEC, 0600), -1);
	EXPECT_EQ(errno, EROFS);
	/* What is mounted in the container stays there. */
	ASSERT_EQ(mkdir("host/late", 0755), 0);
	ASSERT_EQ(mount("arktos-test", "at/late", "tmpfs", 0, NULL), 0);
	put_text("at/late/in", "x");
	EXPECT_EQ(access("host/late/in", F_OK), -1);
	EXPECT_EQ(umount2("at", MNT_DETACH), 0);
	EXPECT_EQ(umount("host/mnt"), 0);

	/* The folder has become a file since: noticed. */
	ASSERT_EQ(system("rm -r host && touch host"), 0);
	EXPECT_EQ(attach(set, NULL, false, "at", &e), -ENOTDIR);
	volume_close(set);
	free(v.path);
}

/* --- subPath
 * ---------------------------------------------------------------------- */

TEST(a_sub_path_is_made_and_shown)
{
	struct volume_spec v = { .name = vol_name, .kind = VOLUME_EMPTY_DIR };
	struct pod_spec pod = pod_of(&v);
	struct volume_set *set = NULL;
	struct err e = { 0 };
	struct stat st;

	NEED_ROOT();
	pod.has_fs_group = true;
	pod.fs_group = 2000;
	ASSERT_EQ(setup(&pod, &set, &e), 0);
	ASSERT_EQ(mkdir("at", 0755), 0);
	ASSERT_EQ(attach(set, "a//b/c", false, "at", &e), 0);
	put_text("at/file", "x");
	EXPECT_EQ(umount("at"), 0);
	ASSERT_EQ(stat("state/pods/11-22/volumes/data/a/b/c", &st), 0);
	EXPECT_EQ(st.st_mode, S_IFDIR | 02777);
	EXPECT_EQ(st.st_gid, 2000);
	EXPECT_EQ(access("state/pods/11-22/volumes/data/a/b/c/file", F_OK), 0);
	/* A file, too. */
	put_text("on", "");
	ASSERT_EQ(attach(set, "a/b/c/file", false, "on", &e), 0);
	ASSERT_EQ(stat("on", &st), 0);
	EXPECT_EQ(st.st_size, 1);
	EXPECT_EQ(umount("on"), 0);
	EXPECT_EQ(attach(set, "a/b/c/file/x", false, "at", &e), -ENOTDIR);

	EXPECT_EQ(attach(set, "../x", false, "at", &e), -EINVAL);
	EXPECT_STREQ(e.msg, "volume 'data': subPath '../x' must not contain "
			    "'..'");
	EXPECT_EQ(attach(set, "a/../..", false, "at", &e), -EINVAL);
	EXPECT_EQ(attach(set, "/a", false, "at", &e), -EINVAL);
	EXPECT_STREQ(e.msg, "volume 'data': subPath '/a' must be relative");
	/* A name that only looks like one. */
	ASSERT_EQ(attach(set, "..a", false, "at", &e), 0);
	EXPECT_EQ(umount("at"), 0);
	volume_close(set);
	ASSERT_EQ(teardown(&e), 0);
}

TEST(no_symlink_leads_a_sub_path_out)
{
	static const char *const targets[] = { "/", "../../../../../secret",
					       "/proc/self/root" };
	struct volume_spec v = { .name = vol_name, .kind = VOLUME_EMPTY_DIR };
	struct pod_spec pod = pod_of(&v);
	struct volume_set *set = NULL;
	struct err e = { 0 };

	NEED_ROOT();
	ASSERT_EQ(setup(&pod, &set, &e), 0);
	ASSERT_EQ(mkdir("secret", 0755), 0);
	put_text("secret/key", "x");
	ASSERT_EQ(mkdir("at", 0755), 0);
	for (size_t i = 0; i < ARRAY_SIZE(targets); i++) {
		char *link = str_printf("%s/link", volume_path(set, "data"));

		ASSERT_EQ(symlink(targets[i], link), 0);
		/* Whatever comes of it, it is inside the volume. */
		if (attach(set, "link", false, "at", &e) == 0) {
			put_text("at/mark", "x");
			EXPECT_EQ(access("at/key", F_OK), -1);
			EXPECT_EQ(access("at/etc", F_OK), -1);
			EXPECT_EQ(umount("at"), 0);
		}
		if (attach(set, "link/made", false, "at", &e) == 0)
			EXPECT_EQ(umount("at"), 0);
		EXPECT_EQ(access("secret/mark", F_OK), -1);
		EXPECT_EQ(access("secret/made", F_OK), -1);
		EXPECT_EQ(access("/made", F_OK), -1);
		unlink(link);
		free(link);
	}
	volume_close(set);
	ASSERT_EQ(teardown(&e), 0);
}

/* A container that swaps a folder for a symlink as fast as it can. */
static atomic_bool stop;
static char swap_path[PATH_MAX + 64], swap_link[PATH_MAX + 64];

static void *swap(void *arg)
{
	(void)arg;
	while (!atomic_load(&stop))
		if (syscall(SYS_renameat2, AT_FDCWD, swap_path, AT_FDCWD,
			    swap_link, 2 /* exchange */) < 0)
			break;
	return NULL;
}

TEST(a_sub_path_is_no_race_to_be_won)
{
	struct volume_spec v = { .name = vol_name, .kind = VOLUME_EMPTY_DIR };
	struct pod_spec pod = pod_of(&v);
	struct volume_set *set = NULL;
	struct err e = { 0 };
	pthread_t thread;
	int inside = 0;

	NEED_ROOT();
	ASSERT_EQ(setup(&pod, &set, &e), 0);
	ASSERT_EQ(mkdir("secret", 0755), 0);
	put_text("secret/key", "x");
	ASSERT_EQ(mkdir("at", 0755), 0);
	snprintf(swap_path, sizeof(swap_path),
		 "%s/state/pods/11-22/volumes/"
		 "data/dir",
		 here);
	snprintf(swap_link, sizeof(swap_link),
		 "%s/state/pods/11-22/volumes/"
		 "data/link",
		 here);
	ASSERT_EQ(mkdir(swap_path, 0755), 0);
	ASSERT_EQ(symlink("../../../../../secret", swap_link), 0);
	ASSERT_EQ(pthread_create(&thread, NULL, swap, NULL), 0);
	for (int i = 0; i < 2000; i++) {
		if (attach(set, i % 2 ? "dir" : "dir/sub", false, "at", &e) < 0)
			continue;
		inside++;
		if (access("at/key", F_OK) == 0) {
			FAIL("the secret was mounted");
			i = 2000;
		}
		umount("at");
	}
	atomic_store(&stop, true);
	pthread_join(thread, NULL);
	EXPECT_GE(inside, 1);
	EXPECT_EQ(access("secret/sub", F_OK), -1);
	volume_close(set);
	ASSERT_EQ(teardown(&e), 0);
}

TEST(an_unknown_volume_is_named)
{
	struct pod_spec pod = { .uid = uid };
	struct mount_spec m = { .volume = vol_name };
	struct volume_set *set = NULL;
	struct err e = { 0 };
	int fd;

	ASSERT_EQ(setup(&pod, &set, &e), 0);
	EXPECT_EQ(volume_open(set, &m, &fd, &e), -ENOENT);
	EXPECT_STREQ(e.msg, "the pod has no volume 'data'");
	volume_close(set);
}

TEST_MAIN()

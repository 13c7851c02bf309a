// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "selftests/harness.h"
#include "lib/buf.h"
#include "lib/err.h"
#include "lib/fs.h"

static void put(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	close(fd);
}

TEST(a_tree_is_removed_and_symlinks_are_not_followed)
{
	ASSERT_EQ(mkdir("tree", 0700), 0);
	ASSERT_EQ(mkdir("tree/sub", 0700), 0);
	ASSERT_EQ(mkdir("other", 0700), 0);
	put("other/file");
	put("tree/sub/file");
	ASSERT_EQ(symlink("../other", "tree/link"), 0);
	EXPECT_EQ(fs_remove_tree(AT_FDCWD, "tree", NULL), 0);
	EXPECT_EQ(access("tree", F_OK), -1);
	EXPECT_EQ(access("other/file", F_OK), 0);
	EXPECT_EQ(fs_remove_tree(AT_FDCWD, "tree", NULL), 0);
	ASSERT_EQ(symlink("other", "link"), 0);
	EXPECT_EQ(fs_remove_tree(AT_FDCWD, "link", NULL), 0);
	EXPECT_EQ(fs_remove_tree(AT_FDCWD, "other/file", NULL), 0);
	EXPECT_EQ(access("other", F_OK), 0);
}

TEST(a_tree_of_any_depth_is_removed)
{
	int fd;

	ASSERT_EQ(mkdir("tree", 0700), 0);
	fd = open("tree", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	for (int i = 0; i < 2000; i++) {
		int sub;

		ASSERT_EQ(mkdirat(fd, "d", 0700), 0);
		ASSERT_EQ(mkdirat(fd, ".deep.0", 0700), 0);
		sub = openat(fd, "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		ASSERT_GE(sub, 0);
		close(fd);
		fd = sub;
	}
	close(fd);
	EXPECT_EQ(fs_remove_tree(AT_FDCWD, "tree", NULL), 0);
	EXPECT_EQ(access("tree", F_OK), -1);
}

TEST(another_mount_is_left_alone)
{
	struct err e = { 0 };

	if (geteuid() != 0)
		SKIP("root, to mount");
	ASSERT_EQ(unshare(CLONE_NEWNS), 0);
	ASSERT_EQ(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
	ASSERT_EQ(mkdir("tree", 0700), 0);
	ASSERT_EQ(mkdir("tree/mnt", 0700), 0);
	ASSERT_EQ(mount("arktos-test", "tree/mnt", "tmpfs", 0, NULL), 0);
	put("tree/mnt/precious");
	EXPECT_EQ(fs_remove_tree(AT_FDCWD, "tree", &e), -EXDEV);
	EXPECT_STREQ(e.msg, "'mnt' is a mount point");
	EXPECT_EQ(access("tree/mnt/precious", F_OK), 0);
	EXPECT_EQ(umount("tree/mnt"), 0);
	EXPECT_EQ(fs_remove_tree(AT_FDCWD, "tree", NULL), 0);
}

TEST(an_atomic_write_replaces_whole_files)
{
	char got[16] = "";
	struct err e = { 0 };
	struct stat st;
	int fd;

	ASSERT_EQ(fs_write_atomic(AT_FDCWD, "f", "old", 3, 0600, &e), 0);
	ASSERT_EQ(fs_write_atomic(AT_FDCWD, "f", "new", 3, 0644, &e), 0);
	fd = open("f", O_RDONLY | O_CLOEXEC);
	EXPECT_EQ(read(fd, got, sizeof(got)), 3);
	EXPECT_STREQ(got, "new");
	close(fd);
	ASSERT_EQ(stat("f", &st), 0);
	EXPECT_EQ(st.st_mode & 0777, 0644);
	EXPECT_EQ(fs_write_atomic(AT_FDCWD, "no/f", "x", 1, 0600, &e), -ENOENT);
}

TEST(what_was_written_quickly_takes_the_place_of_what_is_durable)
{
	auto_buf struct buf b = BUF_INIT;
	struct err e = { 0 };

	ASSERT_EQ(fs_write_atomic(AT_FDCWD, "f", "old", 3, 0600, &e), 0);
	ASSERT_EQ(fs_write_quick(AT_FDCWD, "f.late", "new", 3, 0600, &e), 0);
	ASSERT_EQ(fs_read(AT_FDCWD, "f", 10, &b, &e), 0);
	EXPECT_STREQ(buf_str(&b), "old");
	ASSERT_EQ(fs_settle(AT_FDCWD, "f.late", "f", &e), 0);
	buf_reset(&b);
	ASSERT_EQ(fs_read(AT_FDCWD, "f", 10, &b, &e), 0);
	EXPECT_STREQ(buf_str(&b), "new");
	EXPECT_EQ(access("f.late", F_OK), -1);
	EXPECT_EQ(fs_settle(AT_FDCWD, "f.late", "f", &e), -ENOENT);
	EXPECT_STREQ(e.msg, "open 'f.late': No such file or directory");
}

TEST_MAIN()

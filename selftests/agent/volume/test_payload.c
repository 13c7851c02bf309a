// SPDX-License-Identifier: Apache-2.0
/* Files that change all at once. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>

#include "agent/volume/payload.h"
#include "selftests/harness.h"
#include "lib/buf.h"
#include "lib/err.h"
#include "lib/fs.h"

#define FILE_OF(p, text)                                                       \
	{                                                                      \
		.path = (p), .data = (text), .len = strlen(text), .mode = 0644 \
	}

static int open_volume(void)
{
	mkdir("volume", 0755);
	return open("volume", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static void expect_text(int *verdict_, const char *path, const char *want)
{
	auto_buf struct buf b = BUF_INIT;

	if (fs_read(AT_FDCWD, path, 4096, &b, NULL) < 0)
		FAIL("cannot read %s", path);
	else
		EXPECT_STREQ(buf_str(&b), want);
}

static int count_entries(void)
{
	DIR *d = opendir("volume");
	int n = 0;

	while (d && readdir(d))
		n++;
	closedir(d);
	return n - 2;
}

TEST(files_appear_change_and_go)
{
	const struct payload_file first[] = { FILE_OF("a", "1"),
					      FILE_OF("dir/b", "2"),
					      FILE_OF("dir/sub/c", "3") };
	const struct payload_file second[] = { FILE_OF("a", "one"),
					       FILE_OF("dir/d", "4") };
	struct err e = { 0 };
	bool changed = false;
	struct stat st;
	int dir = open_volume(), old;

	ASSERT_EQ(payload_write(dir, first, 3, NULL, &changed, &e), 0);
	EXPECT_EQ(changed, 1);
	expect_text(verdict_, "volume/a", "1");
	expect_text(verdict_, "volume/dir/sub/c", "3");
	ASSERT_EQ(lstat("volume/a", &st), 0);
	EXPECT_EQ(S_ISLNK(st.st_mode), 1);
	EXPECT_EQ(count_entries(), 4); /* slot, ..data, a, dir */

	ASSERT_EQ(payload_write(dir, first, 3, NULL, &changed, &e), 0);
	EXPECT_EQ(changed, 0);

	old = open("volume/a", O_RDONLY | O_CLOEXEC);
	ASSERT_EQ(payload_write(dir, second, 2, NULL, &changed, &e), 0);
	EXPECT_EQ(changed, 1);
	expect_text(verdict_, "volume/a", "one");
	expect_text(verdict_, "volume/dir/d", "4");
	EXPECT_EQ(access("volume/dir/b", F_OK), -1);
	EXPECT_EQ(count_entries(), 4);
	ASSERT_EQ(fstat(old, &st), 0); /* who had it open has it still */
	EXPECT_EQ(st.st_size, 1);
	close(old);

	ASSERT_EQ(payload_write(dir, second + 1, 1, NULL, &changed, &e), 0);
	EXPECT_EQ(access("volume/a", F_OK), -1);
	ASSERT_EQ(payload_write(dir, NULL, 0, NULL, &changed, &e), 0);
	EXPECT_EQ(count_entries(), 2);
	close(dir);
}

TEST(mode_and_group_count_too)
{
	struct payload_file f = FILE_OF("key", "secret");
	struct payload_owner group = { .uid = 1000, .gid = 2000 };
	bool changed = false;
	struct stat st;
	int dir = open_volume();

	if (geteuid() != 0)
		SKIP("root, for another group");
	f.mode = 0440;
	ASSERT_EQ(payload_write(dir, &f, 1, &group, &changed, NULL), 0);
	ASSERT_EQ(stat("volume/key", &st), 0);
	EXPECT_EQ(st.st_mode & 07777, 0440);
	EXPECT_EQ(st.st_gid, 2000);
	EXPECT_EQ(st.st_uid, 1000);
	f.mode = 0400;
	ASSERT_EQ(payload_write(dir, &f, 1, &group, &changed, NULL), 0);
	EXPECT_EQ(changed, 1);
	group.add = 0440;
	ASSERT_EQ(payload_write(dir, &f, 1, &group, &changed, NULL), 0);
	EXPECT_EQ(changed, 1);
	ASSERT_EQ(stat("volume/key", &st), 0);
	EXPECT_EQ(st.st_mode & 07777, 0440);
	ASSERT_EQ(payload_write(dir, &f, 1, &group, &changed, NULL), 0);
	EXPECT_EQ(changed, 0);
	close(dir);
}

TEST(bad_paths_are_refused_and_nothing_changes)
{
	static const struct {
		const char *path;
		int code;
	} bad[] = {
		{ "", -EINVAL },       { "/a", -EINVAL },
		{ "../a", -EINVAL },   { "..a", -EINVAL },
		{ "a/../b", -EINVAL }, { "a//b", -EINVAL },
		{ "a/", -EINVAL },     { "./a", -EINVAL },
		{ "good", -EEXIST },   { "good/x", -EEXIST },
	};
	const struct payload_file good = FILE_OF("good", "1");
	int dir = open_volume();

	ASSERT_EQ(payload_write(dir, &good, 1, NULL, NULL, NULL), 0);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct payload_file f[2] = { good, FILE_OF(bad[i].path, "2") };
		struct err e = { 0 };

		EXPECT_EQ(payload_write(dir, f, 2, NULL, NULL, &e),
			  bad[i].code);
		EXPECT_EQ(e.msg[0] != '\0', 1);
	}
	expect_text(verdict_, "volume/good", "1");
	EXPECT_EQ(count_entries(), 3);
	close(dir);
}

TEST(what_a_crash_left_is_swept)
{
	const struct payload_file good = FILE_OF("good", "1");
	bool changed = true;
	int dir = open_volume();

	ASSERT_EQ(payload_write(dir, &good, 1, NULL, NULL, NULL), 0);
	ASSERT_EQ(mkdir("volume/..123_4", 0755), 0);
	ASSERT_EQ(symlink("..123_4", "volume/..data_tmp"), 0);
	ASSERT_EQ(unlink("volume/good"), 0);
	ASSERT_EQ(payload_write(dir, &good, 1, NULL, &changed, NULL), 0);
	EXPECT_EQ(changed, 0);
	expect_text(verdict_, "volume/good", "1");
	EXPECT_EQ(count_entries(), 3);
	close(dir);
}

/* A reader that enters ..data once sees two files of one generation. */
static atomic_bool stop;
static atomic_int torn, read_pairs;

static void *reader(void *arg)
{
	(void)arg;
	while (!atomic_load(&stop)) {
		int dir = open("volume/..data",
			       O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		int a = openat(dir, "a", O_RDONLY | O_CLOEXEC);
		int b = openat(dir, "b", O_RDONLY | O_CLOEXEC);
		char ta[16] = "", tb[16] = "";

		if (a >= 0 && b >= 0 && read(a, ta, 15) > 0 &&
		    read(b, tb, 15) > 0) {
			atomic_fetch_add(&read_pairs, 1);
			if (strcmp(ta, tb) != 0)
				atomic_fetch_add(&torn, 1);
		}
		close(a);
		close(b);
		close(dir);
	}
	return NULL;
}

TEST(readers_see_one_generation)
{
	int dir = open_volume();
	pthread_t thread;
	char text[16];

	ASSERT_EQ(pthread_create(&thread, NULL, reader, NULL), 0);
	for (int i = 0; i < 500 || atomic_load(&read_pairs) < 10; i++) {
		struct payload_file f[2] = { FILE_OF("a", ""),
					     FILE_OF("b", "") };

		snprintf(text, sizeof(text), "%d", i);
		f[0].data = f[1].data = text;
		f[0].len = f[1].len = strlen(text);
		ASSERT_EQ(payload_write(dir, f, 2, NULL, NULL, NULL), 0);
	}
	atomic_store(&stop, true);
	pthread_join(thread, NULL);
	EXPECT_EQ(torn, 0);
	close(dir);
}

TEST_MAIN()

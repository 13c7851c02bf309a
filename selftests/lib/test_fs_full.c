// SPDX-License-Identifier: Apache-2.0
/* LANE: none
 * On a full disk (shims/enospc.so; test_shims.sh runs it under that): an atomic
 * write fails, says so, and leaves the old file and no other. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>

#include "lib/buf.h"
#include "lib/err.h"
#include "lib/fs.h"
#include "selftests/harness.h"

TEST(an_atomic_write_to_a_full_disk_changes_nothing)
{
	const char *dir = getenv("SHIM_DIR");
	struct buf b = BUF_INIT;
	struct err e = { 0 };
	char path[512], want[600];
	int entries = 0;
	DIR *d;

	if (!dir)
		SKIP("runs under shims/enospc.so: test_shims.sh does it");
	snprintf(path, sizeof(path), "%s/file", dir);
	snprintf(want, sizeof(want), "write '%s': No space left on device",
		 path);
	EXPECT_EQ(fs_write_atomic(AT_FDCWD, path, "new", 3, 0600, &e), -ENOSPC);
	EXPECT_STREQ(e.msg, want);
	EXPECT_EQ(fs_read(AT_FDCWD, path, 100, &b, &e), 0);
	EXPECT_STREQ(buf_str(&b), "old\n");
	buf_clear(&b);
	d = opendir(dir);
	while (d && readdir(d))
		entries++;
	EXPECT_EQ(entries, 3); /* . .. file */
	if (d)
		closedir(d);
}

TEST_MAIN()

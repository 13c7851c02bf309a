// SPDX-License-Identifier: Apache-2.0
#include <errno.h>

#include "selftests/harness.h"
#include "lib/err.h"

TEST(story_reads_outside_in)
{
	struct err e = { 0 };
	int r;

	errno = EINVAL;
	r = err_sys(&e, "write '%s'", "cpu.max");
	r = err_wrap(&e, r, "pod %s", "web-0");
	EXPECT_EQ(r, -EINVAL);
	EXPECT_EQ(e.code, -EINVAL);
	EXPECT_STREQ(e.msg, "pod web-0: write 'cpu.max': Invalid argument");
}

TEST(bare_code_gets_words_when_wrapped)
{
	struct err e = { 0 };

	EXPECT_EQ(err_wrap(&e, -ENOSPC, "field 'cpu'"), -ENOSPC);
	EXPECT_STREQ(e.msg, "field 'cpu': No space left on device");
}

TEST(stale_story_is_not_told_again)
{
	struct err e = { 0 };

	err_set(&e, -ENOENT, "an ignored failure");
	err_wrap(&e, -EPERM, "mount");
	EXPECT_STREQ(e.msg, "mount: Operation not permitted");
}

TEST(cause_survives_a_long_context)
{
	char long_name[ERR_MSG_SIZE + 64];
	struct err e = { 0 };

	memset(long_name, 'x', sizeof(long_name) - 1);
	long_name[sizeof(long_name) - 1] = '\0';
	err_set(&e, -EIO, "disk on fire");
	EXPECT_EQ(err_wrap(&e, -EIO, "%s", long_name), -EIO);
	EXPECT_STREQ(e.msg, "disk on fire");
}

TEST(nobody_has_to_listen)
{
	errno = 0;
	EXPECT_EQ(err_sys(NULL, "x"), -EIO); /* a failure is never 0 */
	EXPECT_EQ(err_set(NULL, -EPERM, "x"), -EPERM);
	EXPECT_EQ(err_wrap(NULL, -EPERM, "x"), -EPERM);
}

TEST_MAIN()

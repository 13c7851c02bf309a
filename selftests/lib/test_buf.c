// SPDX-License-Identifier: Apache-2.0
/* LANE: native
 * SECONDS: 30
 */
#include <errno.h>
#include <fcntl.h>

#include "lib/auto.h"
#include "lib/buf.h"
#include "selftests/harness.h"

TEST(reading_nothing_leaves_an_empty_string)
{
	auto_close int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	auto_buf struct buf b = BUF_INIT;
	void *dirt = malloc(64); /* so that fresh memory is not zero */

	memset(dirt, 'x', 64);
	free(dirt);
	ASSERT_EQ(buf_read_fd(&b, fd, 100), 0);
	EXPECT_EQ(b.len, 0);
	EXPECT_STREQ(buf_str(&b), "");
}

TEST(limit_is_kept_and_failure_remembered)
{
	auto_buf struct buf b = { .max = 4 };

	EXPECT_EQ(buf_puts(&b, "abcd"), 0);
	EXPECT_EQ(buf_putc(&b, 'e'), -EMSGSIZE);
	EXPECT_EQ(buf_puts(&b, ""), -EMSGSIZE);
	EXPECT_EQ(buf_error(&b), -EMSGSIZE);
	EXPECT_STREQ(buf_str(&b), "abcd");
	EXPECT_EQ(buf_take(&b) == NULL, true);
}

TEST_MAIN()

// SPDX-License-Identifier: Apache-2.0
/* LANE: native */
#include <string.h>

#include "lib/buf.h"
#include "lib/checks.h"
#include "selftests/harness.h"

static bool has(const struct buf *b, const char *part)
{
	return strstr(b->data, part) != NULL;
}

TEST(told_as_table_and_as_json)
{
	struct checks c = { .failed = "missing" };
	auto_buf struct buf text = BUF_INIT, json = BUF_INIT;

	EXPECT_EQ(checks_passed(&c), true);
	checks_note(&c, "fine", VERDICT_OK, "not told", "%d of %d", 2, 2);
	checks_note(&c, "odd", VERDICT_WARNING, "turn it", "slow");
	checks_note(&c, "hidden", VERDICT_SKIPPED, "not told", "not ours");
	EXPECT_EQ(checks_passed(&c), true);
	checks_note(&c, "gone", VERDICT_FAILED, "bring \"it\"", "away");
	EXPECT_EQ(checks_passed(&c), false);
	EXPECT_EQ(checks_count(&c, VERDICT_WARNING), 1);
	checks_put_text(&c, &text);
	EXPECT_EQ(has(&text, "missing"), true);
	EXPECT_EQ(has(&text, "\nWhat to do:\n  odd: turn it\n"
			     "  gone: bring \"it\"\n"),
		  true);
	EXPECT_EQ(has(&text, "not told"), false);
	checks_put_json(&c, &json);
	EXPECT_STREQ(
		buf_str(&json),
		"{\"passed\":false,\"checks\":["
		"{\"name\":\"fine\",\"result\":\"ok\",\"detail\":\"2 of 2\","
		"\"remedy\":\"\"},"
		"{\"name\":\"odd\",\"result\":\"warning\",\"detail\":\"slow\","
		"\"remedy\":\"turn it\"},"
		"{\"name\":\"hidden\",\"result\":\"skipped\",\"detail\":"
		"\"not ours\",\"remedy\":\"\"},"
		"{\"name\":\"gone\",\"result\":\"missing\",\"detail\":"
		"\"away\",\"remedy\":\"bring \\\"it\\\"\"}]}\n");
	checks_clear(&c);
	EXPECT_EQ(c.nr, 0);
}

TEST(more_than_it_keeps)
{
	struct checks c = CHECKS_INIT;
	char long_name[300];

	memset(long_name, 'x', sizeof(long_name) - 1);
	long_name[sizeof(long_name) - 1] = '\0';
	for (int i = 0; i < CHECKS_MAX + 10; i++)
		checks_note(&c, long_name, VERDICT_OK, "", "%d", i);
	EXPECT_EQ(c.nr, CHECKS_MAX);
	EXPECT_EQ(strlen(c.v[0].name), sizeof(c.v[0].name) - 1);
	EXPECT_STREQ(c.v[CHECKS_MAX - 1].detail, "255");
	checks_clear(&c);
}

TEST_MAIN()

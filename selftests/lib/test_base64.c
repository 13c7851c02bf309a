// SPDX-License-Identifier: Apache-2.0
/*
 * LANE: native
 * base64 as in RFC 4648: its own vectors, and what is none.
 */
#include <errno.h>

#include "lib/base64.h"
#include "lib/buf.h"
#include "selftests/harness.h"

static const struct {
	const char *raw, *text, *url;
} vectors[] = {
	{ "", "", "" },
	{ "f", "Zg==", "Zg" },
	{ "fo", "Zm8=", "Zm8" },
	{ "foo", "Zm9v", "Zm9v" },
	{ "foob", "Zm9vYg==", "Zm9vYg" },
	{ "\xfb\xff\xfe", "+//+", "-__-" },
};

TEST(there_and_back)
{
	for (size_t i = 0; i < ARRAY_SIZE(vectors); i++) {
		auto_buf struct buf a = BUF_INIT, b = BUF_INIT, c = BUF_INIT;
		size_t len = strlen(vectors[i].raw);

		ASSERT_EQ(base64_put(&a, vectors[i].raw, len), 0);
		EXPECT_STREQ(buf_str(&a), vectors[i].text);
		ASSERT_EQ(base64url_put(&b, vectors[i].raw, len), 0);
		EXPECT_STREQ(buf_str(&b), vectors[i].url);
		ASSERT_EQ(base64_get(a.data, a.len, &c), 0);
		EXPECT_STREQ(buf_str(&c), vectors[i].raw);
		buf_reset(&c);
		ASSERT_EQ(base64url_get(b.data, b.len, &c), 0);
		EXPECT_STREQ(buf_str(&c), vectors[i].raw);
	}
}

TEST(each_value_has_one_text)
{
	static const char *const bad[] = { "Z",    "Zg",   "Zg=",  "Zg===",
					   "====", "Zh==", "Zm9=", "Zm9v ",
					   "-__-", "Z=g=" };

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		auto_buf struct buf b = BUF_INIT;

		if (base64_get(bad[i], strlen(bad[i]), &b) != -EBADMSG)
			FAIL("'%s' was taken", bad[i]);
		EXPECT_EQ(b.len, (size_t)0);
	}
}

TEST_MAIN()

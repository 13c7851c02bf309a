// SPDX-License-Identifier: Apache-2.0
/* LANE: native SECONDS: 30 */
#include <errno.h>

#include "lib/err.h"
#include "lib/quantity.h"
#include "selftests/harness.h"

static const struct {
	const char *text;
	uint64_t milli, bytes;
} good[] = {
	{ "0", 0, 0 },
	{ "-0", 0, 0 },
	{ "100m", 100, 1 },
	{ "1.5", 1500, 2 },
	{ "+2", 2000, 2 },
	{ ".5", 500, 1 },
	{ "5.", 5000, 5 },
	{ "1n", 1, 1 },
	{ "1u", 1, 1 },
	{ "1000u", 1, 1 },
	{ "1001u", 2, 1 },
	{ "1k", 1000000, 1000 },
	{ "1e3", 1000000, 1000 },
	{ "1E3", 1000000, 1000 },
	{ "1e+3", 1000000, 1000 },
	{ "1500e-3", 1500, 2 },
	{ "1e-9", 1, 1 },
	{ "0e9999999999", 0, 0 },
	{ "1Ki", 1024000, 1024 },
	{ "1.5Ki", 1536000, 1536 },
	{ "64Mi", 67108864000, 67108864 },
	{ "128974848", 128974848000, 128974848 },
	{ "129M", 129000000000, 129000000 },
	{ "123Mi", 128974848000, 128974848 },
	{ "0.1", 100, 1 },
	{ "0.0000000000000000000000000000000000000000000001", 1, 1 },
	{ "1.00000000000000000000001", 1001, 2 },
	{ "0000000000000000000000000000000000000000000000012", 12000, 12 },
};

TEST(reads_exactly_and_rounds_up)
{
	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		uint64_t milli = 1, bytes = 1;
		struct err e = { 0 };

		if (quantity_parse_cpu(good[i].text, &milli, &e) != 0 ||
		    quantity_parse_mem(good[i].text, &bytes, &e) != 0)
			FAIL("%s: %s", good[i].text, e.msg);
		if (milli != good[i].milli || bytes != good[i].bytes)
			FAIL("%s: %llu milli, %llu bytes", good[i].text,
			     (unsigned long long)milli,
			     (unsigned long long)bytes);
	}
}

TEST(knows_its_range)
{
	struct err e = { 0 };
	uint64_t v = 7;

	EXPECT_EQ(quantity_parse_mem("9223372036854775807", &v, &e), 0);
	EXPECT_EQ(v == INT64_MAX, true);
	v = 7;
	EXPECT_EQ(quantity_parse_mem("9223372036854775808", &v, &e), -ERANGE);
	EXPECT_STREQ(e.msg, "'9223372036854775808' is too large a quantity");
	EXPECT_EQ(quantity_parse_mem("7Ei", &v, &e), 0);
	EXPECT_EQ(quantity_parse_mem("8Ei", &v, &e), -ERANGE);
	EXPECT_EQ(quantity_parse_mem("9E", &v, &e), 0);
	EXPECT_EQ(quantity_parse_mem("1e19", &v, &e), -ERANGE);
	EXPECT_EQ(quantity_parse_cpu("1e99999", &v, &e), -ERANGE);
	EXPECT_EQ(quantity_parse_cpu("9999999999999999999", &v, &e), -ERANGE);
	v = 7;
	EXPECT_EQ(quantity_parse_cpu("1e16", &v, &e), -ERANGE);
	EXPECT_EQ(v, 7);
}

TEST(refuses_what_is_no_quantity)
{
	static const char *const bad[] = {
		"",          " 1",     "1 ",  "m",    "-",     ".",
		"1.2.3",     "1mm",    "1ki", "1mi",  "1Kii",  "1Ni",
		"0x10",      "1e",     "1e+", "1e3m", "1e3.0", "e3",
		"--1",       "+-1",    "1K",  "1,5",  "ten",   "1i",
		"1\xc2\xb5", "1e-3Ki", "inf", "nan",  "1_000",
	};
	struct err e = { 0 };
	char longer[100];
	uint64_t v = 7;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		if (quantity_parse_mem(bad[i], &v, &e) != -EINVAL)
			FAIL("'%s' is taken for a quantity", bad[i]);
	memset(longer, '1', sizeof(longer));
	longer[sizeof(longer) - 1] = '\0';
	EXPECT_EQ(quantity_parse_mem(longer, &v, &e), -EINVAL);
	EXPECT_EQ(quantity_parse_cpu("-1", &v, &e), -EINVAL);
	EXPECT_STREQ(e.msg, "'-1' must not be negative");
	EXPECT_EQ(quantity_parse_cpu("2 cores", &v, &e), -EINVAL);
	EXPECT_STREQ(e.msg, "'2 cores' is not a quantity: write a number and a"
			    " suffix, like 100m, 1.5, 64Mi or 2Gi");
	EXPECT_EQ(v, 7);
}

TEST(writes_as_kubernetes_does)
{
	char b[QUANTITY_TEXT_SIZE];

	EXPECT_STREQ(quantity_format_cpu(500, b), "500m");
	EXPECT_STREQ(quantity_format_cpu(0, b), "0");
	EXPECT_STREQ(quantity_format_cpu(1500, b), "1500m");
	EXPECT_STREQ(quantity_format_cpu(2000, b), "2");
	EXPECT_STREQ(quantity_format_cpu(2000000, b), "2k");
	EXPECT_STREQ(quantity_format_cpu(UINT64_MAX, b),
		     "18446744073709551615m");
	EXPECT_STREQ(quantity_format_mem(0, b), "0");
	EXPECT_STREQ(quantity_format_mem(67108864, b), "64Mi");
	EXPECT_STREQ(quantity_format_mem(128974848, b), "123Mi");
	EXPECT_STREQ(quantity_format_mem(1000, b), "1000");
	EXPECT_STREQ(quantity_format_mem(1536, b), "1536");
	EXPECT_STREQ(quantity_format_mem(1ull << 60, b), "1Ei");
	EXPECT_STREQ(quantity_format_human(0, b), "0");
	EXPECT_STREQ(quantity_format_human(1023, b), "1023");
	EXPECT_STREQ(quantity_format_human(1536, b), "1.5Ki");
	EXPECT_STREQ(quantity_format_human(734 << 20, b), "734Mi");
	EXPECT_STREQ(quantity_format_human(UINT64_MAX, b), "15.9Ei");
}

TEST(what_is_written_reads_back_the_same)
{
	uint64_t v = 1, back;
	char b[QUANTITY_TEXT_SIZE];

	for (int i = 0; i < 20000; i++) {
		v = v * 6364136223846793005u + 1442695040888963407u;
		uint64_t w = (v >> 1) >> (v % 60);

		EXPECT_EQ(quantity_parse_cpu(quantity_format_cpu(w, b), &back,
					     NULL),
			  0);
		EXPECT_EQ(back == w, true);
		EXPECT_EQ(quantity_parse_mem(quantity_format_mem(w, b), &back,
					     NULL),
			  0);
		EXPECT_EQ(back == w, true);
	}
}

TEST_MAIN()

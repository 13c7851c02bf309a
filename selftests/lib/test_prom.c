// SPDX-License-Identifier: Apache-2.0
#include "lib/buf.h"
#include "lib/prom.h"
#include "lib/str.h"
#include "selftests/harness.h"

static const struct prom_bounds bounds = { .nr = 3,
					   .unit = 1000,
					   .v = { 5, 1000, 60000 } };

TEST(buckets_are_cumulative_and_bounds_are_inclusive)
{
	auto_buf struct buf b = BUF_INIT;
	struct prom_histogram h = { .sum = 0 };
	struct prom_sum sum = { .sum = 0 };

	prom_observe(&h, &bounds, 0);
	prom_observe(&h, &bounds, 5);
	prom_observe(&h, &bounds, 6);
	prom_observe(&h, &bounds, 60001);
	prom_collect(&sum, &h);
	prom_put_histogram(&b, "x", "a=\"b\"", &bounds, &sum);
	EXPECT_STREQ(buf_str(&b), "x_bucket{a=\"b\",le=\"0.005\"} 2\n"
				  "x_bucket{a=\"b\",le=\"1\"} 3\n"
				  "x_bucket{a=\"b\",le=\"60\"} 3\n"
				  "x_bucket{a=\"b\",le=\"+Inf\"} 4\n"
				  "x_sum{a=\"b\"} 60.012\n"
				  "x_count{a=\"b\"} 4\n");
}

TEST(histograms_add_up)
{
	auto_buf struct buf b = BUF_INIT;
	struct prom_histogram one = { .sum = 0 }, two = { .sum = 0 };
	struct prom_sum sum = { .sum = 0 };

	prom_observe(&one, &bounds, 1);
	prom_observe(&two, &bounds, 2000);
	prom_collect(&sum, &one);
	prom_collect(&sum, &two);
	prom_put_histogram(&b, "x", "", &bounds, &sum);
	EXPECT_STREQ(buf_str(&b), "x_bucket{le=\"0.005\"} 1\n"
				  "x_bucket{le=\"1\"} 1\n"
				  "x_bucket{le=\"60\"} 2\n"
				  "x_bucket{le=\"+Inf\"} 2\n"
				  "x_sum 2.001\n"
				  "x_count 2\n");
}

TEST(the_process_tells_of_itself)
{
	auto_buf struct buf b = BUF_INIT;
	char *p;

	prom_put_process(&b, 12.5);
	EXPECT_EQ(strstr(buf_str(&b), "\nprocess_start_time_seconds 12.5\n") !=
			  NULL,
		  true);
	EXPECT_EQ(strstr(buf_str(&b), "\nprocess_resident_memory_bytes ") !=
			  NULL,
		  true);
	p = strstr(buf_str(&b), "\nprocess_open_fds ");
	ASSERT_EQ(p != NULL, true);
	EXPECT_GE(strtoul(p + strlen("\nprocess_open_fds "), NULL, 10), 3ul);
}

TEST_MAIN()

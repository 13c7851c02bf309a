// SPDX-License-Identifier: Apache-2.0
#include <errno.h>

#include "agent/network/ipam.h"
#include "selftests/harness.h"

#define BASE 0x0a580000U

TEST(the_lowest_free_address_is_given)
{
	struct ipam p;
	uint32_t ip;

	ipam_init(&p, BASE, 16);
	EXPECT_EQ(ipam_capacity(&p), 65533);
	EXPECT_EQ(ipam_gateway(&p), BASE + 1);
	for (uint32_t i = 2; i < 600; i++) {
		EXPECT_EQ(ipam_alloc(&p, 0, 10, &ip), 0);
		EXPECT_EQ(ip, BASE + i);
	}
	EXPECT_EQ(p.nr_used, 598);
	ipam_clear(&p);
}

TEST(a_released_address_rests)
{
	struct ipam p;
	uint32_t ip;

	ipam_init(&p, BASE, 24);
	EXPECT_EQ(ipam_alloc(&p, 1000, 60, &ip), 0);
	ipam_release(&p, ip, 1000);
	ipam_release(&p, ip, 5000); /* not in use: nothing happens */
	EXPECT_EQ(ipam_alloc(&p, 1059, 60, &ip), 0);
	EXPECT_EQ(ip, BASE + 3);
	EXPECT_EQ(ipam_alloc(&p, 1060, 60, &ip), 0);
	EXPECT_EQ(ip, BASE + 2);
	EXPECT_EQ(p.nr_used, 2);
	ipam_clear(&p);
}

TEST(a_clock_set_back_does_not_end_a_rest)
{
	struct ipam p;
	uint32_t ip;

	ipam_init(&p, BASE, 24);
	EXPECT_EQ(ipam_rest(&p, BASE + 2, 100000), 0);
	EXPECT_EQ(ipam_alloc(&p, 5, 60, &ip), 0);
	EXPECT_EQ(ip, BASE + 3);
	ipam_clear(&p);
}

TEST(when_nothing_else_is_left_the_longest_rested_is_given)
{
	struct ipam p;
	uint32_t ip;

	ipam_init(&p, BASE, 29);
	for (uint32_t i = 2; i < 7; i++)
		EXPECT_EQ(ipam_alloc(&p, 0, 60, &ip), 0);
	EXPECT_EQ(ipam_alloc(&p, 0, 60, &ip), -ENOSPC);
	ipam_release(&p, BASE + 3, 10);
	ipam_release(&p, BASE + 5, 5);
	EXPECT_EQ(ipam_alloc(&p, 11, 60, &ip), 0);
	EXPECT_EQ(ip, BASE + 5);
	EXPECT_EQ(ipam_alloc(&p, 11, 60, &ip), 0);
	EXPECT_EQ(ip, BASE + 3);
	EXPECT_EQ(ipam_alloc(&p, 11, 60, &ip), -ENOSPC);
	ipam_clear(&p);
}

TEST(only_pods_addresses_can_be_taken)
{
	struct ipam p;

	ipam_init(&p, BASE, 24);
	EXPECT_EQ(ipam_take(&p, BASE), -EINVAL);
	EXPECT_EQ(ipam_take(&p, BASE + 1), -EINVAL);
	EXPECT_EQ(ipam_take(&p, BASE + 255), -EINVAL);
	EXPECT_EQ(ipam_take(&p, BASE + 256), -EINVAL);
	EXPECT_EQ(ipam_take(&p, BASE + 254), 0);
	EXPECT_EQ(ipam_take(&p, BASE + 254), -EEXIST);
	ipam_release(&p, BASE + 254, 1);
	EXPECT_EQ(ipam_take(&p, BASE + 254), 0);
	EXPECT_EQ(ipam_rest(&p, BASE + 254, 1), -EEXIST);
	EXPECT_EQ(ipam_rest(&p, BASE, 1), -EINVAL);
	ipam_clear(&p);
}

/* Against the simplest thing that could be right: an array of flags. */
TEST(a_hundred_thousand_operations_agree_with_a_model)
{
	enum { FREE, USED, RESTING } model[64] = { 0 };
	uint64_t since[64] = { 0 }, now = 0, seed = 1;
	struct ipam p;

	ipam_init(&p, BASE, 26);
	for (int i = 0; i < 100000; i++) {
		uint32_t k = 2 + (uint32_t)(seed >> 33) % 61, ip = 0, want = 0;

		seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
		now += seed >> 60;
		for (uint32_t n = 2; n < 63; n++)
			if (model[n] == RESTING && now - since[n] >= 100)
				model[n] = FREE;
		if (seed >> 40 & 1) {
			ipam_release(&p, BASE + k, now);
			if (model[k] == USED) {
				model[k] = RESTING;
				since[k] = now;
			}
			continue;
		}
		for (uint32_t n = 62; n >= 2; n--)
			if (model[n] == FREE)
				want = n;
		for (uint32_t n = 2; !want && n < 63; n++)
			if (model[n] == RESTING)
				for (uint32_t m = want = n; m < 63; m++)
					if (model[m] == RESTING &&
					    since[m] < since[want])
						want = m;
		EXPECT_EQ(ipam_alloc(&p, now, 100, &ip), want ? 0 : -ENOSPC);
		if (!want)
			continue;
		EXPECT_EQ(ip, BASE + want);
		model[want] = USED;
	}
	ipam_clear(&p);
}

TEST_MAIN()

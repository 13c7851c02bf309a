// SPDX-License-Identifier: Apache-2.0
/* LANE: native SECONDS: 60 */
#include <stdint.h>

#include "lib/map.h"
#include "selftests/harness.h"

static void *value(size_t i)
{
	return (void *)(uintptr_t)(i + 1);
}

TEST(keeps_what_was_set)
{
	struct map m = MAP_INIT;
	void *old = &m;
	char key[32];

	EXPECT_EQ(map_get(&m, "a") == NULL, true);
	ASSERT_EQ(map_set(&m, "a", value(1), &old), 0);
	EXPECT_EQ(old == NULL, true);
	ASSERT_EQ(map_set(&m, "a", value(2), &old), 0);
	EXPECT_EQ(old == value(1), true);
	EXPECT_EQ(map_len(&m), 1);
	EXPECT_EQ(map_get_n(&m, "abc", 1) == value(2), true);
	for (size_t i = 0; i < 20000; i++) {
		snprintf(key, sizeof(key), "tenant/%zu", i);
		ASSERT_EQ(map_set(&m, key, value(i), NULL), 0);
	}
	for (size_t i = 0; i < 20000; i++) {
		snprintf(key, sizeof(key), "tenant/%zu", i);
		if (map_get(&m, key) != value(i))
			FAIL("%s is lost", key);
	}
	map_clear(&m, NULL);
	EXPECT_EQ(map_len(&m), 0);
	EXPECT_EQ(map_get(&m, "a") == NULL, true);
}

TEST(iterates_in_the_order_of_insertion)
{
	struct map_iter it = MAP_ITER_INIT;
	struct map m = MAP_INIT;
	char seen[16] = "";

	map_set(&m, "b", value(1), NULL);
	map_set(&m, "a", value(2), NULL);
	map_set(&m, "c", value(3), NULL);
	map_del(&m, "a");
	map_set(&m, "a", value(4), NULL);
	while (map_next(&m, &it))
		strncat(seen, it.key, 1);
	EXPECT_STREQ(seen, "bca");
	map_clear(&m, NULL);
}

TEST(deleting_and_adding_while_iterating_misses_nothing)
{
	struct map_iter it = MAP_ITER_INIT;
	struct map m = MAP_INIT;
	size_t seen = 0, added = 0;
	char key[32];

	for (size_t i = 0; i < 100; i++) {
		snprintf(key, sizeof(key), "%zu", i);
		map_set(&m, key, value(i), NULL);
	}
	while (map_next(&m, &it)) {
		seen++;
		/* The present one, so that the table is rebuilt under the
		 * iterator again and again by what is added. */
		EXPECT_EQ(map_del(&m, it.key) == it.value, true);
		if (added < 1000) {
			snprintf(key, sizeof(key), "new-%zu", added++);
			ASSERT_EQ(map_set(&m, key, value(1), NULL), 0);
		}
	}
	EXPECT_EQ(seen, 1100);
	EXPECT_EQ(map_len(&m), 0);
	map_clear(&m, NULL);
}

TEST(churn_does_not_grow_the_table)
{
	struct map m = MAP_INIT;
	char key[32];

	for (size_t i = 0; i < 100000; i++) {
		snprintf(key, sizeof(key), "pod-%zu", i);
		ASSERT_EQ(map_set(&m, key, value(i), NULL), 0);
		if (i >= 4) {
			snprintf(key, sizeof(key), "pod-%zu", i - 4);
			ASSERT_EQ(map_del(&m, key) == value(i - 4), true);
		}
	}
	EXPECT_EQ(map_len(&m), 4);
	EXPECT_EQ(m.nr_slots <= 32, true);
	map_clear(&m, NULL);
}

TEST_MAIN()

// SPDX-License-Identifier: Apache-2.0
/* LANE: native */
#include "agent/disk.h"
#include "selftests/harness.h"

#define MIB (1ULL << 20)
#define GIB (1ULL << 30)

TEST(a_tenth_is_enough_and_a_gigabyte_of_a_large_disk)
{
	EXPECT_EQ(disk_missing(&(struct disk_room){ 10 * MIB, 100 * MIB, 0, 0 },
			       false),
		  0);
	EXPECT_EQ(disk_missing(&(struct disk_room){ 9 * MIB, 100 * MIB, 0, 0 },
			       false),
		  1 * MIB);
	EXPECT_EQ(disk_missing(&(struct disk_room){ GIB, 4096 * GIB, 0, 0 },
			       false),
		  0);
	EXPECT_EQ(disk_missing(&(struct disk_room){ 0, 4096 * GIB, 0, 0 },
			       false),
		  GIB);
}

TEST(it_is_over_only_with_a_quarter_more)
{
	EXPECT_EQ(disk_missing(&(struct disk_room){ 12 * MIB, 100 * MIB, 0, 0 },
			       true),
		  MIB / 2);
	EXPECT_EQ(disk_missing(&(struct disk_room){ 13 * MIB, 100 * MIB, 0, 0 },
			       true),
		  0);
}

TEST(inodes_count_where_there_is_a_limit)
{
	EXPECT_EQ(disk_missing_inodes(&(struct disk_room){ 0, 0, 40, 1000 },
				      false),
		  10);
	EXPECT_EQ(disk_missing_inodes(&(struct disk_room){ 0, 0, 50, 1000 },
				      false),
		  0);
	EXPECT_EQ(disk_missing_inodes(&(struct disk_room){ 0, 0, 0, 0 }, true),
		  0);
}

TEST_MAIN()

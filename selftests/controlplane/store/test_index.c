// SPDX-License-Identifier: Apache-2.0
/* LANE: native SECONDS: 30 */
/* The map of keys: by hash and in order it has the same, however it grew. */
#include <stdio.h>
#include <string.h>

#include "controlplane/store/internal.h"
#include "selftests/harness.h"

#define KEYS 20000

static struct index x;
static bool there[KEYS];

static const char *key_of_nr(int i)
{
	static char key[64];

	snprintf(key, sizeof(key), "core/pods/t%d/default/web-%06d", i % 7, i);
	return key;
}

static bool add(int i)
{
	const char *key = key_of_nr(i);
	struct entry *en = index_find_or_add(&x, key, strlen(key));

	there[i] = true;
	return en && strcmp(en->key, key) == 0;
}

/* By hash and in order, all that is there and nothing else is found. */
static bool has_all(void)
{
	const struct entry *en, *next;
	size_t nr = 0, in_order = 0;

	for (int i = 0; i < KEYS; i++) {
		const char *key = key_of_nr(i);

		en = index_find(&x, key);
		if ((en != NULL) != there[i] ||
		    (en && strcmp(en->key, key) != 0))
			return false;
		nr += there[i];
	}
	for (en = index_seek(&x, ""); en; en = next, in_order++) {
		next = entry_next(en);
		if (next && strcmp(en->key, next->key) >= 0)
			return false;
	}
	return x.nr == nr && in_order == nr;
}

TEST(hash_and_order_agree)
{
	uint32_t random = 12345;

	EXPECT_EQ(index_find(&x, "core/pods") == NULL, true);
	for (int i = 0; i < KEYS; i += 2)
		EXPECT_EQ(add(i), true);
	EXPECT_EQ(has_all(), true);
	for (int n = 0; n < 4 * KEYS; n++) {
		random = random * 1664525 + 1013904223;
		if (random >> 31) {
			EXPECT_EQ(add((int)(random >> 8) % KEYS), true);
			continue;
		}
		index_del(&x, key_of_nr((int)(random >> 8) % KEYS));
		there[(random >> 8) % KEYS] = false;
	}
	EXPECT_EQ(has_all(), true);
	for (int i = 0; i < KEYS; i++) {
		index_del(&x, key_of_nr(i));
		there[i] = false;
	}
	EXPECT_EQ(has_all(), true);
	EXPECT_EQ(add(7), true);
	EXPECT_EQ(has_all(), true);
	index_clear(&x);
	EXPECT_EQ(index_find(&x, key_of_nr(7)) == NULL, true);
}

/* No stop of the world: a key more moves what is in one bucket. */
TEST(growing_takes_one_bucket_at_a_time)
{
	for (int i = 0; i < KEYS; i++) {
		size_t before = x.nr_buckets;

		EXPECT_EQ(add(i), true);
		EXPECT_EQ(!before || x.nr_buckets <= before + 1, true);
	}
	EXPECT_GE(x.nr_buckets, KEYS - 1);
	index_clear(&x);
}

TEST_MAIN()

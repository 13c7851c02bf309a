// SPDX-License-Identifier: Apache-2.0
/* LANE: native SECONDS: 60 */
#include "lib/heap.h"
#include "selftests/harness.h"

#define MANY 500

struct thing {
	uint64_t at;
	size_t place;
};

static struct thing things[MANY];

static void moved(void *p, size_t place)
{
	((struct thing *)p)->place = place;
}

static uint64_t rnd(void)
{
	static uint64_t x = 88172645463325252ull;

	x ^= x << 13;
	x ^= x >> 7;
	return x ^= x << 17;
}

/* Nobody is before the one in front of it, and each knows its place. */
static int whole(const struct heap *h)
{
	size_t known = 0;

	for (size_t i = 0; i < h->nr; i++)
		if (h->v[i].at < h->v[i ? (i - 1) / 2 : 0].at ||
		    h->v[i].at != ((struct thing *)h->v[i].p)->at ||
		    ((struct thing *)h->v[i].p)->place != i)
			return 0;
	for (size_t i = 0; i < MANY; i++)
		known += things[i].place != HEAP_NOWHERE;
	return known == h->nr;
}

TEST(what_is_put_in_moved_and_taken_out_stays_in_order)
{
	struct heap h = { .moved = moved };
	uint64_t last = 0;
	int bad = 0;

	for (size_t i = 0; i < MANY; i++)
		things[i].place = HEAP_NOWHERE;
	for (int i = 0; i < 20000; i++) {
		struct thing *t = &things[rnd() % MANY];

		if (t->place == HEAP_NOWHERE) {
			t->at = rnd() % 100;
			ASSERT_EQ(heap_reserve(&h, 1), 0);
			heap_push(&h, t->at, t);
		} else if (rnd() % 3) {
			t->at = rnd() % 100;
			heap_set(&h, t->place, t->at);
		} else if (heap_take(&h, t->place) != t ||
			   t->place != HEAP_NOWHERE) {
			bad++;
		}
		if (i % 50 == 0)
			bad += !whole(&h);
	}
	EXPECT_EQ(bad, 0);
	EXPECT_GE(h.nr, MANY / 4);
	while (h.nr) {
		uint64_t at = h.v[0].at;

		bad += at < last || heap_take(&h, 0) == NULL || !whole(&h);
		last = at;
	}
	EXPECT_EQ(bad, 0);
	heap_clear(&h);
}

TEST(without_places_the_smallest_comes_first)
{
	static char names[] = "edcba";
	struct heap h = { 0 };

	ASSERT_EQ(heap_reserve(&h, 5), 0);
	for (size_t i = 0; i < 5; i++)
		heap_push(&h, 5 - i, &names[i]);
	for (char want = 'a'; want <= 'e'; want++)
		EXPECT_EQ(*(char *)heap_take(&h, 0), want);
	EXPECT_EQ(h.nr, 0);
	heap_clear(&h);
	EXPECT_EQ(h.size, 0);
}

TEST_MAIN()

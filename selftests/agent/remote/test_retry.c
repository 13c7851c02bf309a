// SPDX-License-Identifier: Apache-2.0
/* LANE: native
 * SECONDS: 30
 *
 * How soon an agent notices that the API is back, and how often it asks until
 * then. Time is counted, not waited for.
 */
#include "agent/remote/retry.h"

#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "agent/remote/internal.h"
#include "lib/err.h"
#include "selftests/harness.h"

#define AWAY_MS 60000

/* Attempts while a server is away for so long; @ret_gap: the longest pause. */
static unsigned attempts(enum retry_why why, uint32_t dice, unsigned *ret_gap)
{
	struct retry t = { 0 };
	unsigned n = 0, now = 0;

	*ret_gap = 0;
	while (now < AWAY_MS) {
		unsigned ms = retry_ms(&t, why, dice);

		if (ms > *ret_gap)
			*ret_gap = ms;
		now += ms;
		n++;
	}
	return n;
}

static const uint32_t dice[] = { 0, 1, 17, 250, 2500, 123456789, UINT32_MAX };

TEST(a_server_on_this_host_is_noticed_within_a_quarter_of_a_second)
{
	unsigned gap;

	for (size_t i = 0; i < ARRAY_SIZE(dice); i++) {
		unsigned n = attempts(RETRY_NEAR, dice[i], &gap);

		EXPECT_GE(250, gap);
		EXPECT_GE(n, AWAY_MS / 250);
		EXPECT_GE(AWAY_MS / 125 + 4, n); /* and is not hammered */
	}
}

TEST(one_elsewhere_is_spared)
{
	unsigned gap;

	for (size_t i = 0; i < ARRAY_SIZE(dice); i++) {
		EXPECT_GE(AWAY_MS / 2500 + 8,
			  attempts(RETRY_FAR, dice[i], &gap));
		EXPECT_GE(5000, gap);
	}
}

TEST(the_first_attempt_after_a_cut_comes_at_once)
{
	for (size_t i = 0; i < ARRAY_SIZE(dice); i++) {
		struct retry t = { 0 };

		EXPECT_GE(20, retry_ms(&t, RETRY_FAR, dice[i]));
		EXPECT_GE(retry_ms(&t, RETRY_FAR, dice[i]), 50);
		t = (struct retry){ 0 };
		EXPECT_GE(20, retry_ms(&t, RETRY_NEAR, dice[i]));
	}
}

TEST(nodes_that_lose_one_server_do_not_come_back_as_one)
{
	unsigned seen[16] = { 0 };

	for (uint32_t d = 0; d < 4096; d++) {
		struct retry t = { .failures = 7 };

		seen[(retry_ms(&t, RETRY_FAR, d * 2654435761u) - 1) * 16 /
		     RETRY_FAR_MS]++;
	}
	for (size_t i = 8; i < ARRAY_SIZE(seen); i++) /* 2.5 to 5 s */
		EXPECT_GE(seen[i], 256);
}

TEST(it_goes_on_for_ever)
{
	struct retry t = { 0 };
	unsigned ms = 0;

	for (int i = 0; i < 100000; i++)
		ms = retry_ms(&t, RETRY_FAR, 0);
	EXPECT_EQ(ms, RETRY_FAR_MS);
}

/* --- whoever waits ---------------------------------------------------------
 */

struct sleeper {
	struct remote *r;
	atomic_int *over;
	bool went_on;
};

static void *sleeper(void *arg)
{
	struct sleeper *s = arg;

	s->went_on = remote_pause(s->r, 3600 * 1000);
	atomic_fetch_add(s->over, 1);
	return NULL;
}

/* Before, each of them waited for the end of its own pause: this ended at the
 * test's alarm. */
TEST(an_answer_to_one_wakes_all_who_wait)
{
	struct remote_opts o = { .kubeconfig = "none" };
	struct remote *r = remote_bare(&o);
	struct sleeper s[2];
	pthread_t t[2];
	atomic_int over = 0;
	struct err why = { 0 };

	ASSERT_EQ(r != NULL, true);
	for (int i = 0; i < 2; i++) {
		s[i] = (struct sleeper){ r, &over, false };
		ASSERT_EQ(pthread_create(&t[i], NULL, sleeper, &s[i]), 0);
	}
	while (atomic_load(&over) < 2) {
		remote_set_connected(r, false, &why);
		remote_set_connected(r, true, NULL);
		usleep(20000);
	}
	for (int i = 0; i < 2; i++) {
		pthread_join(t[i], NULL);
		EXPECT_EQ(s[i].went_on, true);
	}
	remote_stop(r);
}

TEST_MAIN()

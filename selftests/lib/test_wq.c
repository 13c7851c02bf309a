// SPDX-License-Identifier: Apache-2.0
/* LANE: native SECONDS: 60 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#include "lib/wq.h"
#include "selftests/harness.h"

static struct wq *q;
static char seen[4096];
static uint64_t fake_ms;

static uint64_t fake_now(void *arg)
{
	(void)arg;
	return fake_ms;
}

static void note(void *arg, const char *key)
{
	(void)arg;
	strcat(seen, key);
	strcat(seen, " ");
}

static void start(void (*work)(void *arg, const char *key))
{
	struct wq_opts o = {
		.work = work, .base_ms = 100, .max_ms = 1000, .now_ms = fake_now
	};

	if (wq_new(&o, &q, NULL) < 0)
		exit(TEST_FAIL);
}

static void run(void)
{
	seen[0] = '\0';
	while (wq_step(q))
		;
}

TEST(a_key_added_often_is_worked_on_once)
{
	start(note);
	for (int i = 0; i < 5; i++)
		EXPECT_EQ(wq_add(q, "a/x"), 0);
	wq_add(q, "a/y");
	run();
	EXPECT_STREQ(seen, "a/x a/y ");
	wq_add(q, "a/x");
	run();
	EXPECT_STREQ(seen, "a/x ");
	wq_free(q);
}

TEST(tenants_take_turns)
{
	start(note);
	for (const char *k = "12345"; *k; k++) {
		char key[8] = { 'b', '/', *k };

		wq_add(q, key);
	}
	wq_add(q, "s/1");
	wq_add(q, "t/1");
	wq_add(q, "t/2");
	run();
	EXPECT_STREQ(seen, "b/1 s/1 t/1 b/2 t/2 b/3 b/4 b/5 ");
	wq_free(q);
}

TEST(delays_and_the_earliest_wish_wins)
{
	start(note);
	wq_add_after(q, "a", 500);
	wq_add_after(q, "b", 300);
	wq_add_after(q, "a", 200);
	wq_add_after(q, "a", 900);
	EXPECT_EQ(wq_due_ms(q), 200);
	run();
	EXPECT_STREQ(seen, "");
	fake_ms = 200;
	run();
	EXPECT_STREQ(seen, "a ");
	fake_ms = 1000;
	run();
	EXPECT_STREQ(seen, "b ");
	EXPECT_EQ(wq_due_ms(q), -1);
	/* Added for now, a delayed key is due now, once. */
	wq_add_after(q, "c", 50);
	wq_add(q, "c");
	run();
	fake_ms = 2000;
	EXPECT_STREQ(seen, "c ");
	run();
	EXPECT_STREQ(seen, "");
	wq_free(q);
}

TEST(back_off_doubles_up_to_its_maximum_until_forgotten)
{
	static const int64_t want[] = { 100, 200, 400, 800, 1000, 1000 };

	start(note);
	for (size_t i = 0; i < ARRAY_SIZE(want); i++) {
		wq_backoff(q, "a");
		EXPECT_EQ(wq_due_ms(q), want[i]);
		EXPECT_EQ(wq_failures(q, "a"), i + 1);
		fake_ms += (uint64_t)want[i];
		run();
		EXPECT_STREQ(seen, "a ");
	}
	for (int i = 0; i < 100; i++) {
		wq_backoff(q, "a");
		fake_ms += 1000;
		run();
	}
	wq_forget(q, "a");
	EXPECT_EQ(wq_failures(q, "a"), 0);
	wq_backoff(q, "a");
	EXPECT_EQ(wq_due_ms(q), 100);
	wq_free(q);
}

static int nr_inside;

static void add_itself(void *arg, const char *key)
{
	(void)arg;
	strcat(seen, key);
	if (nr_inside++ < 2) {
		wq_add(q, key);
		if (wq_due_ms(q) != -1)
			strcat(seen, "!");
	}
}

TEST(added_during_its_work_it_comes_again_afterwards)
{
	start(add_itself);
	wq_add(q, "k");
	run();
	EXPECT_STREQ(seen, "kkk");
	wq_free(q);
}

TEST(nothing_is_taken_after_the_stop)
{
	struct wq_stats s;

	start(note);
	wq_add(q, "a");
	wq_add_after(q, "later", 1000);
	seen[0] = '\0';
	wq_stop(q, true);
	EXPECT_STREQ(seen, "a ");
	EXPECT_EQ(wq_add(q, "b"), -ESHUTDOWN);
	wq_stats(q, &s);
	EXPECT_EQ(s.works, 1);
	EXPECT_EQ(s.delayed, 1);
	wq_free(q);
}

/* --- with threads --------------------------------------------------------- */

#define KEYS    50
#define ROUNDS  4000
#define WORKERS 4

static atomic_int inside[KEYS], overlaps, works;
static atomic_long added[KEYS], observed[KEYS];

static void exclusive(void *arg, const char *key)
{
	int i = atoi(strchr(key, '/') + 1);
	long want = atomic_load(&added[i]);

	(void)arg;
	if (atomic_fetch_add(&inside[i], 1))
		atomic_fetch_add(&overlaps, 1);
	atomic_fetch_add(&works, 1);
	atomic_store(&observed[i], want);
	if (works % 7 == 0)
		wq_add_after(q, key, 1);
	atomic_fetch_sub(&inside[i], 1);
}

static void *adder(void *arg)
{
	unsigned x = (unsigned)(uintptr_t)arg;
	char key[32];

	for (int n = 0; n < ROUNDS; n++) {
		int i;

		x = x * 1103515245 + 12345;
		i = (int)(x >> 16) % KEYS;
		atomic_fetch_add(&added[i], 1);
		snprintf(key, sizeof(key), "t%d/%d", i % 5, i);
		wq_add(q, key);
	}
	return NULL;
}

TEST(a_key_is_never_worked_on_twice_at_once_and_no_add_is_lost)
{
	struct wq_opts o = { .work = exclusive, .workers = WORKERS };
	pthread_t t[3];

	ASSERT_EQ(wq_new(&o, &q, NULL), 0);
	for (uintptr_t i = 0; i < ARRAY_SIZE(t); i++)
		pthread_create(&t[i], NULL, adder, (void *)(i + 1));
	for (size_t i = 0; i < ARRAY_SIZE(t); i++)
		pthread_join(t[i], NULL);
	wq_stop(q, true);
	EXPECT_EQ(overlaps, 0);
	/* Whoever adds after a change is sure that the change is seen. */
	for (int i = 0; i < KEYS; i++)
		EXPECT_EQ(observed[i], added[i]);
	wq_free(q);
}

static atomic_int done;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;

static void say_done(void *arg, const char *key)
{
	(void)arg, (void)key;
	pthread_mutex_lock(&lock);
	done++;
	pthread_cond_signal(&changed);
	pthread_mutex_unlock(&lock);
}

TEST(delayed_keys_wake_the_workers)
{
	struct wq_opts o = { .work = say_done, .workers = 2, .base_ms = 5 };

	ASSERT_EQ(wq_new(&o, &q, NULL), 0);
	wq_add_after(q, "far", 3600 * 1000);
	wq_add_after(q, "a", 30);
	wq_add_after(q, "b", 10);
	wq_backoff(q, "c");
	pthread_mutex_lock(&lock);
	while (done < 3)
		pthread_cond_wait(&changed, &lock);
	pthread_mutex_unlock(&lock);
	wq_free(q); /* does not wait for 'far' */
	EXPECT_EQ(done, 3);
}

TEST_MAIN()

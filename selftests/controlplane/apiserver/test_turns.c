// SPDX-License-Identifier: Apache-2.0
/* LANE: native */
/* Whose turn it is, with a clock of our own: what is served costs what the test
 * says, so that the order is the same on every machine. */
#include <netinet/in.h>
#include <time.h>

#include "controlplane/apiserver/authn/user.h"
#include "controlplane/apiserver/conn.h"
#include "selftests/harness.h"

static uint64_t clock_ns = 1000000000;

static int our_clock(clockid_t id, struct timespec *ts)
{
	(void)id;
	ts->tv_sec = (time_t)(clock_ns / 1000000000);
	ts->tv_nsec = (long)(clock_ns % 1000000000);
	return 0;
}

static void our_serve(struct conn *c, uint32_t events);

static int yields;

static int our_yield(void)
{
	yields++;
	return 0;
}

#define clock_gettime our_clock
#define sched_yield   our_yield
#define peer_serve    our_serve
#include "controlplane/apiserver/turns.c"

#define US    1000ull
#define CONNS 200

struct client {
	struct conn c; /* first */
	uint64_t cost_ns, spent_ns;
	int wants; /* turns; -1: for ever */
	int served;
};

static struct client *last;

static void our_serve(struct conn *c, uint32_t events)
{
	struct client *k = (struct client *)c;

	(void)events;
	last = k;
	k->served++;
	k->spent_ns += k->cost_ns;
	clock_ns += k->cost_ns;
	if (k->wants > 0)
		k->wants--;
	if (k->wants)
		turn_add(c, 0);
}

struct world {
	struct loop *l;
	struct api api;
	struct client v[CONNS];
	struct user *users[CONNS];
	int nr;
};

static bool world_start(struct world *w)
{
	memset(w, 0, sizeof(*w));
	w->l = calloc(1, sizeof(*w->l));
	if (w->l)
		w->l->api = &w->api;
	return w->l && ev_new(&w->l->ev, NULL) == 0;
}

static struct client *add(struct world *w, const char *tenant, const char *user,
			  uint64_t cost_ns)
{
	struct client *k = &w->v[w->nr];

	w->users[w->nr] = user_new(user, tenant);
	w->nr++;
	k->c.loop = w->l;
	k->cost_ns = cost_ns;
	turn_set(&k->c, w->users[w->nr - 1]);
	return k;
}

static void ask_for(struct client *k, int turns)
{
	k->wants = turns;
	turn_add(&k->c, 0);
}

static void step(struct world *w)
{
	(void)ev_step(w->l->ev, 0);
}

static void world_end(struct world *w)
{
	for (int i = 0; i < w->nr; i++) {
		w->v[i].wants = 0;
		turn_del(&w->v[i].c);
		user_free(w->users[i]);
	}
	ev_free(w->l->ev);
	turns_free(w->l);
	free(w->l);
}

/* Lists once in a millisecond, other work five times, while there is any. */
TEST(long_work_has_the_cpu_between_turns)
{
	struct world w;

	ASSERT_EQ(world_start(&w), true);
	ask_for(add(&w, "flood", "u", 50 * US), -1);
	yields = 0;
	for (int i = 0; i < 200; i++)
		step(&w);
	EXPECT_EQ(yields, 0);
	atomic_fetch_add(&w.api.long_lists, 1);
	for (int i = 0; i < 200; i++)
		step(&w);
	EXPECT_GE(yields, 9);
	EXPECT_EQ(yields <= 11, true);
	atomic_fetch_add(&w.api.long_works, 1);
	yields = 0;
	for (int i = 0; i < 200; i++)
		step(&w);
	EXPECT_GE(yields, 45);
	EXPECT_EQ(yields <= 55, true);
	world_end(&w);
}

/* However many connections the flood has, who asks for little waits for the one
 * turn that is under way. */
TEST(who_asks_for_little_is_next)
{
	struct world w;
	struct client *probe;

	ASSERT_EQ(world_start(&w), true);
	for (int i = 0; i < 100; i++)
		ask_for(add(&w, "flood", "u", 100 * US), -1);
	probe = add(&w, "probe", "p", 20 * US);
	for (int i = 0; i < 100; i++) {
		for (int j = 0; j < 7; j++)
			step(&w);
		ask_for(probe, 1);
		step(&w);
		if (probe->served != i + 1)
			FAIL("round %d: the flood was served before it", i);
	}
	world_end(&w);
}

/* So it is for the users of one tenant. */
TEST(users_of_a_tenant_are_no_different)
{
	struct world w;
	struct client *probe;

	ASSERT_EQ(world_start(&w), true);
	for (int i = 0; i < 100; i++)
		ask_for(add(&w, "acme", "robot", 100 * US), -1);
	ask_for(add(&w, "beta", "b", 100 * US), -1);
	probe = add(&w, "acme", "alice", 20 * US);
	for (int i = 0; i < 100; i++) {
		uint64_t begun;

		for (int j = 0; j < 7; j++)
			step(&w);
		begun = clock_ns;
		ask_for(probe, 1);
		while (probe->served != i + 1)
			step(&w);
		/* acme's turn comes after beta's, in it alice's is first. */
		if (clock_ns - begun > 320 * US)
			FAIL("round %d: after %llu us", i,
			     (unsigned long long)((clock_ns - begun) / US));
	}
	world_end(&w);
}

/* Between two turns the loop looks who else has come. */
TEST(one_long_turn_a_batch)
{
	struct world w;
	uint64_t before;

	ASSERT_EQ(world_start(&w), true);
	for (int i = 0; i < 50; i++)
		ask_for(add(&w, "flood", "u", 100 * US), -1);
	step(&w);
	for (int i = 0; i < 100; i++) {
		before = clock_ns;
		step(&w);
		EXPECT_EQ(clock_ns - before <= 100 * US, true);
	}
	world_end(&w);
}

/* Those who come and go cannot keep the others out. */
TEST(many_that_ask_for_little_leave_some)
{
	struct world w;
	struct client *flood, *few[20];
	uint64_t begun;
	char name[8];

	ASSERT_EQ(world_start(&w), true);
	flood = add(&w, "flood", "u", 100 * US);
	ask_for(flood, -1);
	for (int i = 0; i < 20; i++) {
		snprintf(name, sizeof(name), "t%d", i);
		few[i] = add(&w, name, "u", 50 * US);
	}
	for (int i = 0; i < 50; i++)
		step(&w);
	flood->spent_ns = 0;
	begun = clock_ns;
	for (int i = 0; i < 1000; i++) {
		for (int j = 0; j < 20; j++)
			if (!few[j]->c.queued)
				ask_for(few[j], 1);
		step(&w);
	}
	/* A share of 21, that is. */
	EXPECT_EQ(flood->spent_ns * 25 > clock_ns - begun, true);
	world_end(&w);
}

/* Of two floods each has half, however many connections it has and whatever
 * each of them costs. */
TEST(time_is_shared_by_tenants)
{
	struct world w;
	struct client *one;
	uint64_t begun;

	ASSERT_EQ(world_start(&w), true);
	one = add(&w, "one", "u", 30 * US);
	ask_for(one, -1);
	for (int i = 0; i < 100; i++)
		ask_for(add(&w, "many", i % 2 ? "a" : "b", 110 * US), -1);
	begun = clock_ns;
	for (int i = 0; i < 5000; i++)
		step(&w);
	EXPECT_EQ(one->spent_ns > (clock_ns - begun) * 45 / 100, true);
	EXPECT_EQ(one->spent_ns < (clock_ns - begun) * 55 / 100, true);
	world_end(&w);
}

/* Who has not said who it is is told apart by where it comes from: many
 * handshakes of one address leave the others their share. */
TEST(strangers_are_shared_by_address)
{
	struct api_limits limits = { 0 };
	struct origin *origins[2];
	struct world w;
	uint64_t begun;

	ASSERT_EQ(world_start(&w), true);
	ASSERT_EQ(origins_open(&w.api, &limits), 0);
	for (int i = 0; i < 2; i++) {
		struct sockaddr_storage from = { .ss_family = AF_INET };

		((struct sockaddr_in *)&from)->sin_addr.s_addr =
			htonl(0xc0000201 + (uint32_t)i);
		origins[i] = origin_enter(&w.api, &from);
		ASSERT_EQ(origins[i] != NULL, true);
	}
	for (int i = 0; i < 50; i++) {
		struct client *k = &w.v[w.nr++];

		k->c.loop = w.l;
		k->c.origin = origins[i > 0];
		k->cost_ns = 400 * US;
		turn_set(&k->c, NULL);
		ask_for(k, -1);
	}
	begun = clock_ns;
	for (int i = 0; i < 5000; i++)
		step(&w);
	EXPECT_EQ(w.v[0].spent_ns > (clock_ns - begun) * 45 / 100, true);
	EXPECT_EQ(w.v[0].spent_ns < (clock_ns - begun) * 55 / 100, true);
	world_end(&w);
	for (int i = 0; i < 2; i++)
		origin_leave(&w.api, origins[i], false);
	origins_close(&w.api);
}

TEST_MAIN()

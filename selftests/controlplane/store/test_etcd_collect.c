// SPDX-License-Identifier: Apache-2.0
/*
 * What is dead goes from etcd, and nothing else does: tombstones after what
 * they are of, also what was compacted while the answer was lost.
 * LANE: native
 * SECONDS: 120
 */
#include <poll.h>

#include "selftests/controlplane/store/etcd_proxy.h"
#include "selftests/controlplane/store/etcd_store.h"

TEST(dead_records_are_collected)
{
	struct etcd_servers sv = { 0 };
	struct err e = { 0 };
	struct store *s;
	size_t keys = 1000;

	NEED_ETCD();
	ASSERT_EQ(etcd_start(&sv, "etcd", 1, NULL), 1);
	s = open_at(sv.endpoints, &e);
	ASSERT_EQ(s != NULL, 1);
	for (int i = 0; i < 200; i++)
		EXPECT_EQ(insist(s, i % 2 ? "p/t/n/a" : "p/t/n/b", false), 0);
	EXPECT_GE(count_keys(sv.endpoints), 150);
	EXPECT_EQ(store_compact(s, store_revision(s), &e), 0);
	/* Collected between commits, once the lease is held. */
	for (int i = 0; i < 300 && keys > 20; i++) {
		EXPECT_EQ(insist(s, "p/t/n/a", false), 0);
		EXPECT_EQ(store_compact(s, store_revision(s), &e), 0);
		keys = count_keys(sv.endpoints);
	}
	printf("# %zu segments are left\n", keys);
	EXPECT_GE(20, keys);
	store_close(s);
	s = open_at(sv.endpoints, &e);
	ASSERT_EQ(s != NULL, 1);
	EXPECT_EQ(store_count(s, "p/"), 2);
	store_close(s);
	etcd_stop(&sv);
}

/* One transaction that makes @nr of "p/t/n/@name<i>". */
static int make_some(struct store *s, const char *name, int nr)
{
	struct store_op ops[8] = { 0 };
	struct store_txn txn = { .ops = ops, .nr_ops = (size_t)nr };
	char keys[8][32];
	int r;

	for (int i = 0; i < nr; i++) {
		snprintf(keys[i], sizeof(keys[i]), "p/t/n/%s%d", name, i);
		ops[i] = (struct store_op){ .key = keys[i],
					    .data = "value",
					    .len = 5,
					    .rv_off = STORE_NO_RV };
	}
	r = store_commit(s, &txn, NULL);
	for (int i = 0; i < nr; i++)
		object_unref(ops[i].ret);
	return r;
}

/* A dead record is there as long as most of its segment lives, and at the next
 * start nothing tells that it is dead but its tombstone. */
TEST(what_was_deleted_does_not_come_back_when_its_tombstone_is_collected)
{
	struct etcd_servers sv = { 0 };
	struct err e = { 0 };
	struct store *s;

	NEED_ETCD();
	ASSERT_EQ(etcd_start(&sv, "etcd", 1, NULL), 1);
	s = open_at(sv.endpoints, &e);
	ASSERT_EQ(s != NULL, 1);
	EXPECT_EQ(make_some(s, "k", 4), 0);
	EXPECT_EQ(insist(s, "p/t/n/k0", true), 0);
	/* That of the four, the tombstone's, and the newest. */
	EXPECT_EQ(collect(s, &sv, 3), 3);
	EXPECT_EQ(collect(s, &sv, 3), 3);
	EXPECT_EQ(store_count(s, "p/"), 4);
	/* Whoever collects from now on has not seen it being deleted. */
	store_close(s);
	s = open_at(sv.endpoints, &e);
	ASSERT_EQ(s != NULL, 1);
	EXPECT_EQ(store_count(s, "p/"), 4);
	EXPECT_EQ(store_get(s, "p/t/n/k0") == NULL, 1);
	for (int i = 0; i < 3; i++)
		(void)collect(s, &sv, 3);
	store_close(s);
	s = open_at(sv.endpoints, &e);
	ASSERT_EQ(s != NULL, 1);
	EXPECT_EQ(store_count(s, "p/"), 4);
	/* What it has waited for goes, and so does it. */
	EXPECT_EQ(insist(s, "p/t/n/k1", true), 0);
	EXPECT_EQ(insist(s, "p/t/n/k2", true), 0);
	EXPECT_EQ(insist(s, "p/t/n/k3", true), 0);
	EXPECT_GE(2, collect(s, &sv, 2));
	store_close(s);
	s = open_at(sv.endpoints, &e);
	ASSERT_EQ(s != NULL, 1);
	EXPECT_EQ(store_count(s, "p/"), 1);
	store_close(s);
	etcd_stop(&sv);
}

/* Each segment has what the next one deletes, and the tombstone of what the one
 * before had: none is for the most part dead, and all are of no use. */
TEST(tombstones_that_wait_for_each_other_are_collected)
{
	struct etcd_servers sv = { 0 };
	struct store_op ops[2] = {
		{ .remove = true },
		{ .data = "v", .len = 1, .rv_off = STORE_NO_RV }
	};
	struct store_txn txn = { .ops = ops, .nr_ops = 2 };
	struct store *a, *b;
	char key[2][32] = { "p/t/n/k0" };
	struct err e = { 0 };

	NEED_ETCD();
	ASSERT_EQ(etcd_start(&sv, "etcd", 1, NULL), 1);
	a = open_at(sv.endpoints, &e);
	b = open_at(sv.endpoints, &e);
	ASSERT_EQ(a && b, 1);
	EXPECT_EQ(make_some(a, "k", 4), 0); /* of it, one goes */
	for (int i = 0; i < 100; i++) {
		ops[0].key = key[i % 2];
		ops[1].key = key[1 - i % 2];
		snprintf(key[1 - i % 2], sizeof(key[0]), "p/t/n/x%d", i);
		EXPECT_EQ(store_commit(a, &txn, &e), 0);
		object_unref(ops[0].ret);
		object_unref(ops[1].ret);
	}
	ASSERT_EQ(store_sync(b, &e), 0);
	EXPECT_GE(10, collect(a, &sv, 10));
	/* The other takes over: most of what it knew is there no more. */
	store_close(a);
	EXPECT_EQ(insist(b, key[0], true), 0);
	EXPECT_GE(5, collect(b, &sv, 5));
	store_close(b);
	a = open_at(sv.endpoints, &e);
	ASSERT_EQ(a != NULL, 1);
	EXPECT_EQ(store_count(a, "p/"), 4);
	store_close(a);
	etcd_stop(&sv);
}

struct asked {
	struct store *s;
	uint64_t compact; /* 0: put "p/t/n/x" */
	struct err e;
	int r;
};

static void *ask(void *arg)
{
	struct asked *a = arg;

	a->r = a->compact ? store_compact(a->s, a->compact, &a->e)
			  : change(a->s, "p/t/n/x", false, NULL, &a->e);
	return NULL;
}

static uint64_t revision_of(struct store *s, const char *key)
{
	auto_ptr(object_bytes) o = store_get(s, key);

	return o ? o->revision : 0;
}

static bool is_there(struct asked *a, void *arg)
{
	struct store *b = arg;

	return store_sync(b, NULL) == 0 &&
	       revision_of(b, "p/t/n/x") > revision_of(a->s, "p/t/n/x");
}

static bool is_compacted(struct asked *a, void *arg)
{
	struct etcd_servers *sv = arg;
	struct store *s = open_at(sv->endpoints, NULL);
	bool is = s && store_compacted(s) >= a->compact;

	store_close(s);
	return is;
}

/* Ask, and see it done while the answer is kept. False: a question before it
 * was what had no answer; this one has been done since. */
static bool lose_answer(struct etcd_proxy *p, struct asked *a, pthread_t *t,
			bool (*done)(struct asked *a, void *arg), void *arg)
{
	(void)store_sync(a->s, NULL);
	atomic_store(&p->mute, true);
	pthread_create(t, NULL, ask, a);
	for (int i = 0; i < 100; i++, poll(NULL, 0, 10))
		if (done(a, arg))
			return true;
	proxy_cut(p);
	pthread_join(*t, NULL);
	return false;
}

/* Behind the proxy; silence is not what ends a call. */
static struct store *open_behind(const struct etcd_proxy *p)
{
	struct store_etcd etcd = { .endpoints = p->endpoint,
				   .timeout_ms = 50000 };
	struct store_opts opts = { .etcd = &etcd };
	struct store *s = NULL;

	(void)store_open(&opts, &s, NULL);
	return s;
}

TEST(a_commit_whose_answer_is_lost_is_told_truly)
{
	struct etcd_servers sv = { 0 };
	struct etcd_proxy p = { 0 };
	struct asked asked = { 0 };
	struct err e = { 0 };
	struct store *a, *b;
	pthread_t t;

	NEED_ETCD();
	ASSERT_EQ(etcd_start(&sv, "etcd", 1, NULL), 1);
	ASSERT_EQ(proxy_start(&p, sv.client_port[0]), 1);
	b = open_at(sv.endpoints, &e); /* and collects */
	a = open_behind(&p);
	ASSERT_EQ(a && b, 1);
	asked.s = a;
	EXPECT_EQ(insist(b, "p/t/n/a", false), 0);
	for (int round = 0; round < 2; round++) {
		while (!lose_answer(&p, &asked, &t, is_there, b))
			;
		/* It was done, and others have gone on, so that nothing of it
		 * is left. */
		if (round) {
			EXPECT_EQ(insist(b, "p/t/n/x", false), 0);
			EXPECT_GE(2, collect(b, &sv, 2));
		}
		proxy_cut(&p);
		pthread_join(t, NULL);
		printf("# %d: %s\n", asked.r, asked.r ? asked.e.msg : "");
		EXPECT_EQ(asked.r, round ? -EIO : 0);
		EXPECT_EQ(!round || strstr(asked.e.msg, "it is not known"), 1);
		EXPECT_EQ(store_sync(a, &e), 0);
		EXPECT_EQ(revision_of(a, "p/t/n/x"), revision_of(b, "p/t/n/x"));
	}
	store_close(a);
	store_close(b);
	proxy_stop(&p);
	etcd_stop(&sv);
}

TEST(what_is_compacted_while_the_answer_is_lost_is_collected)
{
	struct etcd_servers sv = { 0 };
	struct etcd_proxy p = { 0 };
	struct asked asked = { 0 };
	struct err e = { 0 };
	size_t keys = 100;
	struct store *a;
	pthread_t t;

	NEED_ETCD();
	ASSERT_EQ(etcd_start(&sv, "etcd", 1, NULL), 1);
	ASSERT_EQ(proxy_start(&p, sv.client_port[0]), 1);
	a = open_behind(&p);
	ASSERT_EQ(a != NULL, 1);
	asked.s = a;
	do {
		for (int i = 0; i < 60; i++)
			EXPECT_EQ(insist(a, "p/t/n/a", false), 0);
		asked.compact = store_revision(a);
	} while (!lose_answer(&p, &asked, &t, is_compacted, &sv));
	proxy_cut(&p);
	pthread_join(t, NULL);
	EXPECT_EQ(asked.r, 0);
	/* Its lease runs out in between. */
	for (int i = 0; i < 100 && keys > 5; i++, poll(NULL, 0, 250)) {
		EXPECT_EQ(store_sync(a, &e), 0);
		keys = count_keys(sv.endpoints);
	}
	printf("# %zu segments are left\n", keys);
	EXPECT_GE(5, keys);
	store_close(a);
	proxy_stop(&p);
	etcd_stop(&sv);
}

TEST_MAIN()

// SPDX-License-Identifier: Apache-2.0
/*
 * Failures that etcd, its clients and its stand-ins are known for, each by the
 * number under which it was reported, and what happens to us when members die,
 * are stopped, lose their data, or are not who they should be.
 * LANE: native
 * SECONDS: 240
 */
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>

#include "selftests/controlplane/store/etcd_store.h"

static void on_event(void *arg)
{
	sem_post(arg);
}

static int next_event(struct store_watch *w, sem_t *sem, struct store_event *ev)
{
	int n;

	while ((n = store_watch_read(w, ev, 1)) == 0)
		while (sem_wait(sem))
			;
	return n;
}

static int etcd_ask(const char *endpoints, const char *method, struct buf *q)
{
	struct grpc_opts o = { .endpoints = endpoints };
	struct grpc_call call = { .method = method,
				  .data = q->data,
				  .len = q->len,
				  .timeout_ms = 5000 };
	struct grpc *g = NULL;
	int r = grpc_open(&o, &g, NULL);

	if (r == 0)
		r = grpc_call(g, &call, NULL);
	grpc_close(g);
	buf_clear(&call.reply);
	return r;
}

TEST(etcd_17780_a_revision_never_goes_down)
{
	struct etcd_servers sv = { 0 };
	struct err e = { 0 };
	struct store *s;
	uint64_t before;
	char cmd[128];

	NEED_ETCD();
	ASSERT_EQ(etcd_start(&sv, "etcd", 1, NULL), 1);
	s = open_at(sv.endpoints, &e);
	ASSERT_EQ(s != NULL, 1);
	for (int i = 0; i < 20; i++)
		EXPECT_EQ(insist(s, "p/t/n/a", false), 0);
	before = store_revision(s);
	/* Its disk is lost, and it comes up empty. */
	etcd_kill_member(&sv, 0);
	snprintf(cmd, sizeof(cmd), "rm -rf %s/m0", sv.dir);
	ASSERT_EQ(system(cmd), 0);
	etcd_start_member(&sv, 0);
	ASSERT_EQ(etcd_wait_member(&sv, 0), 1);
	for (int i = 0; i < 20; i++) {
		if (change(s, "p/t/n/a", false, NULL, &e) == -EIO &&
		    strstr(e.msg, "went back"))
			break;
	}
	EXPECT_EQ(strstr(e.msg, "its data was lost or restored; restart to "
				"accept that") != NULL,
		  1);
	EXPECT_EQ(store_revision(s), before);
	EXPECT_EQ(store_count(s, "p/"), 1); /* reads go on */
	store_close(s);
	etcd_stop(&sv);
}

TEST(etcd_20418_nothing_stale_is_read_after_a_pause)
{
	struct etcd_servers sv = { 0 };
	struct err e = { 0 };
	struct store *a, *b;

	NEED_ETCD();
	ASSERT_EQ(etcd_start(&sv, "etcd", 1, NULL), 1);
	a = open_at(sv.endpoints, &e);
	b = open_at(sv.endpoints, &e);
	ASSERT_EQ(a && b, 1);
	EXPECT_EQ(store_is_shared(a), 1);
	for (int i = 0; i < 50; i++) {
		auto_ptr(object_bytes) o = NULL;
		uint64_t rv = 0;

		ASSERT_EQ(change(a, "p/t/n/a", false, &rv, &e), 0);
		ASSERT_EQ(store_sync(b, &e), 0);
		o = store_get(b, "p/t/n/a");
		ASSERT_EQ(o != NULL, 1);
		EXPECT_EQ(o->revision, rv);
	}
	/* Nobody there to ask: said, and not answered from memory. */
	etcd_pause_member(&sv, 0);
	EXPECT_EQ(store_sync(b, &e), -ETIMEDOUT);
	EXPECT_EQ(strstr(e.msg, "no answer in time") != NULL, 1);
	kill(sv.pid[0], SIGCONT);
	for (int i = 0; i < 20 && store_sync(b, &e); i++)
		;
	EXPECT_EQ(store_sync(b, &e), 0);
	store_close(a);
	store_close(b);
	etcd_stop(&sv);
}

TEST(etcd_18089_19179_15271_a_watch_loses_nothing_over_restarts_and_compaction)
{
	struct etcd_servers sv = { 0 };
	struct store_watch *w = NULL;
	auto_buf struct buf q = BUF_INIT;
	struct err e = { 0 };
	struct store *a, *b;
	uint64_t at;
	int deleted = 0;
	sem_t sem;

	NEED_ETCD();
	sem_init(&sem, 0, 0);
	ASSERT_EQ(etcd_start(&sv, "etcd", 1, NULL), 1);
	a = open_at(sv.endpoints, &e);
	b = open_at(sv.endpoints, &e);
	ASSERT_EQ(a && b, 1);
	for (int i = 0; i < 5; i++) {
		char key[32];

		snprintf(key, sizeof(key), "p/t/n/%d", i);
		EXPECT_EQ(insist(a, key, false), 0);
	}
	ASSERT_EQ(store_sync(b, &e), 0);
	at = store_revision(b);
	ASSERT_EQ(store_watch_open(b, "p/", at, on_event, &sem, &w, &e), 0);
	for (int i = 0; i < 5; i++) {
		char key[32];

		/* b is cut off from all of etcd's own history each time. */
		etcd_kill_member(&sv, 0);
		etcd_start_member(&sv, 0);
		ASSERT_EQ(etcd_wait_member(&sv, 0), 1);
		snprintf(key, sizeof(key), "p/t/n/%d", i);
		EXPECT_EQ(insist(a, "p/t/n/x", false), 0);
		(void)insist(a, key, true);
		for (uint64_t rv = 2; rv < 40; rv++) {
			buf_reset(&q);
			etcd_compact_request(&q, rv);
			(void)etcd_ask(sv.endpoints, "/etcdserverpb.KV/Compact",
				       &q);
		}
	}
	EXPECT_EQ(insist(a, "p/t/n/end", false), 0);
	for (;;) {
		struct store_event ev;
		bool last;

		ASSERT_EQ(next_event(w, &sem, &ev), 1);
		EXPECT_EQ(ev.obj->revision, at + 1);
		at = ev.obj->revision;
		deleted += ev.obj->deleted;
		last = strcmp(ev.obj->key, "p/t/n/end") == 0;
		store_event_clear(&ev);
		if (last)
			break;
	}
	EXPECT_EQ(deleted, 5);
	store_watch_close(w);
	store_close(a);
	store_close(b);
	etcd_stop(&sv);
}

TEST(etcd_14370_what_was_acknowledged_survives_kill_9_of_the_only_member)
{
	struct etcd_servers sv = { 0 };
	struct err e = { 0 };
	uint64_t last = 0;

	NEED_ETCD();
	ASSERT_EQ(etcd_start(&sv, "etcd", 1, NULL), 1);
	for (int round = 0; round < 5; round++) {
		struct store *s = open_at(sv.endpoints, &e);

		ASSERT_EQ(s != NULL, 1);
		EXPECT_GE(store_revision(s), last);
		for (int i = 0; i < 30; i++)
			ASSERT_EQ(change(s, "p/t/n/a", false, &last, &e), 0);
		etcd_kill_member(&sv, 0);
		store_close(s);
		etcd_start_member(&sv, 0);
		ASSERT_EQ(etcd_wait_member(&sv, 0), 1);
	}
	etcd_stop(&sv);
}

TEST(the_leader_is_lost_and_writing_goes_on)
{
	struct etcd_servers sv = { 0 };
	struct err e = { 0 };
	struct store *s;

	NEED_ETCD();
	ASSERT_EQ(etcd_start(&sv, "etcd", 3, NULL), 1);
	s = open_at(sv.endpoints, &e);
	for (int i = 0; i < 5 && !s; i++)
		s = open_at(sv.endpoints, &e); /* it elects one at first */
	ASSERT_EQ(s != NULL, 1);
	EXPECT_EQ(insist(s, "p/t/n/a", false), 0);
	/* Whoever leads is among them, killed or stopped. */
	for (int i = 0; i < 3; i++) {
		uint64_t before = store_revision(s);

		if (i % 2)
			etcd_pause_member(&sv, i);
		else
			etcd_kill_member(&sv, i);
		EXPECT_EQ(insist(s, "p/t/n/a", false), 0);
		EXPECT_GE(store_revision(s), before + 1);
		if (i % 2)
			kill(sv.pid[i], SIGCONT);
		else
			etcd_start_member(&sv, i);
		ASSERT_EQ(etcd_wait_member(&sv, i), 1);
		EXPECT_EQ(insist(s, "p/t/n/b", false), 0);
	}
	/* Without a majority it is refused, and said why; reads go on. */
	etcd_kill_member(&sv, 0);
	etcd_kill_member(&sv, 1);
	EXPECT_EQ(change(s, "p/t/n/a", false, NULL, &e) < 0, 1);
	printf("# no majority: %s\n", e.msg);
	EXPECT_EQ(strstr(e.msg, "etcd") != NULL, 1);
	EXPECT_EQ(store_count(s, "p/"), 2);
	etcd_start_member(&sv, 0);
	EXPECT_EQ(insist(s, "p/t/n/a", false), 0);
	store_close(s);
	etcd_stop(&sv);
}

TEST(of_two_that_write_at_once_each_change_happens_once)
{
	struct etcd_servers sv = { 0 };
	struct err e = { 0 };
	struct store *s[2];
	int done = 0;

	NEED_ETCD();
	ASSERT_EQ(etcd_start(&sv, "etcd", 1, NULL), 1);
	s[0] = open_at(sv.endpoints, &e);
	s[1] = open_at(sv.endpoints, &e);
	ASSERT_EQ(s[0] && s[1], 1);
	for (int i = 0; i < 100; i++) {
		struct store_op op = { .key = "p/t/n/once",
				       .data = "x",
				       .len = 1,
				       .rv_off = STORE_NO_RV,
				       .expect = STORE_ABSENT };
		struct store_txn a = { .ops = &op, .nr_ops = 1 };
		int r = store_commit(s[i % 2], &a, &e);

		object_unref(op.ret);
		done += r == 0;
		if (r)
			EXPECT_EQ(r, -EEXIST);
	}
	EXPECT_EQ(done, 1);
	store_close(s[0]);
	store_close(s[1]);
	etcd_stop(&sv);
}

/* Nobody's refusal is older than what was acknowledged before it was asked. */
TEST(what_one_server_has_made_another_does_not_refuse_as_missing)
{
	struct etcd_servers sv = { 0 };
	struct err e = { 0 };
	struct store *a, *b;
	int refused = 0;

	NEED_ETCD();
	ASSERT_EQ(etcd_start(&sv, "etcd", 1, NULL), 1);
	a = open_at(sv.endpoints, &e);
	b = open_at(sv.endpoints, &e);
	ASSERT_EQ(a && b, 1);
	for (int i = 0; i < 200; i++) {
		ASSERT_EQ(change(a, "p/t/n/x", false, NULL, &e), 0);
		refused += change(b, "p/t/n/x", true, NULL, &e) != 0;
	}
	EXPECT_EQ(refused, 0);
	store_close(a);
	store_close(b);
	etcd_stop(&sv);
}

#define BURST 400
#define LARGE 8000

struct burst {
	struct store_txn txn[BURST];
	struct store_op op[BURST];
	char key[BURST][32];
	sem_t done;
};

static void one_is_done(struct store_txn *txn)
{
	sem_post(txn->arg);
}

/* All at once, so that they meet in few batches; how many were done. */
static int run_burst(struct store *s, struct burst *b, const char *data,
		     uint32_t len, bool remove, uint64_t ttl_ms)
{
	int done = 0;

	sem_init(&b->done, 0, 0);
	for (int i = 0; i < BURST; i++) {
		snprintf(b->key[i], sizeof(b->key[i]), "p/t/n/burst-%d", i);
		b->op[i] = (struct store_op){ .key = b->key[i],
					      .data = data,
					      .len = len,
					      .rv_off = STORE_NO_RV,
					      .remove = remove,
					      .ttl_ms = ttl_ms };
		b->txn[i] = (struct store_txn){ .ops = &b->op[i],
						.nr_ops = 1,
						.done = one_is_done,
						.arg = &b->done };
		store_submit(s, &b->txn[i]);
	}
	for (int i = 0; i < BURST; i++)
		while (sem_wait(&b->done))
			;
	for (int i = 0; i < BURST; i++) {
		done += b->txn[i].result == 0;
		if (b->txn[i].result && done == i)
			printf("# %s\n", b->txn[i].err.msg);
		object_unref(b->op[i].ret);
	}
	return done;
}

/* A tombstone has all that was deleted: a batch of them is as large. */
TEST(many_large_objects_that_go_at_once_fit_into_etcds_requests)
{
	static struct burst b;
	struct etcd_servers sv = { 0 };
	struct store_op both[2] = { { .key = "p/t/n/burst-0", .remove = true },
				    { .key = "p/t/n/burst-1",
				      .remove = true } };
	struct store_txn too_large = { .ops = both, .nr_ops = 2 };
	char *data = malloc(1000000);
	struct err e = { 0 };
	struct store *s;

	NEED_ETCD();
	memset(data, 'x', 1000000);
	ASSERT_EQ(etcd_start(&sv, "etcd", 1, NULL), 1);
	s = open_at(sv.endpoints, &e);
	ASSERT_EQ(s != NULL, 1);
	EXPECT_EQ(run_burst(s, &b, data, LARGE, false, 0), BURST);
	EXPECT_EQ(run_burst(s, &b, NULL, 0, true, 0), BURST);
	EXPECT_EQ(store_count(s, "p/"), 0);
	/* And what goes by itself. */
	EXPECT_EQ(run_burst(s, &b, data, LARGE, false, 1), BURST);
	for (int i = 0; i < 500 && store_count(s, "p/"); i++)
		poll(NULL, 0, 20);
	EXPECT_EQ(store_count(s, "p/"), 0);
	/* What no request can hold is refused alone, and nothing of it done. */
	for (int i = 0; i < 2; i++) {
		both[i].remove = false;
		both[i].data = data;
		both[i].len = 1000000;
		both[i].rv_off = STORE_NO_RV;
	}
	EXPECT_EQ(store_commit(s, &too_large, &e), -EFBIG);
	EXPECT_EQ(strstr(e.msg, "in one request, it takes") != NULL, 1);
	EXPECT_EQ(insist(s, "p/t/n/a", false), 0);
	EXPECT_EQ(store_count(s, "p/"), 1);
	store_close(s);
	etcd_stop(&sv);
	free(data);
}

TEST(a_full_etcd_refuses_clearly_and_goes_on_without_a_restart)
{
	struct etcd_servers sv = { .extra = "--quota-backend-bytes=2000000" };
	struct err e = { 0 };
	struct store *s;

	NEED_ETCD();
	NEED_ETCDCTL();
	ASSERT_EQ(etcd_start(&sv, "etcd", 1, NULL), 1);
	s = open_at(sv.endpoints, &e);
	ASSERT_EQ(s != NULL, 1);
	EXPECT_EQ(insist(s, "p/t/n/a", false), 0);
	etcd_ctl_fill(sv.endpoints);
	EXPECT_EQ(change(s, "p/t/n/a", false, NULL, &e), -ENOSPC);
	printf("# %s\n", e.msg);
	EXPECT_EQ(strstr(e.msg,
			 "etcd is full, and deleting needs room as well: "
			 "compact and defragment it, or raise its "
			 "quota, then 'etcdctl alarm disarm'") != NULL,
		  1);
	EXPECT_EQ(change(s, "p/t/n/a", true, NULL, &e), -ENOSPC);
	EXPECT_EQ(store_sync(s, &e), 0);
	EXPECT_EQ(store_count(s, "p/"), 1);
	EXPECT_EQ(etcd_ctl_room(sv.endpoints), 0);
	EXPECT_EQ(change(s, "p/t/n/b", false, NULL, &e), 0);
	EXPECT_EQ(change(s, "p/t/n/a", true, NULL, &e), 0);
	store_close(s);
	etcd_stop(&sv);
}

TEST(tls_is_verified_in_both_directions_and_dead_endpoints_are_passed_over)
{
	struct etcd_servers sv = { 0 };
	struct store_etcd etcd = { .timeout_ms = 2000,
				   .ca_file = "tls/ca.pem",
				   .cert_file = "tls/cert.pem",
				   .key_file = "tls/key.pem" };
	struct store_opts opts = { .etcd = &etcd };
	struct err e = { 0 };
	struct store *s = NULL;
	char endpoints[320];

	NEED_ETCD();
	ASSERT_EQ(etcd_make_certs("tls"), 0);
	ASSERT_EQ(etcd_make_certs("other"), 0);
	ASSERT_EQ(etcd_start(&sv, "etcd", 1, "tls"), 1);
	snprintf(endpoints, sizeof(endpoints), "https://127.0.0.1:1,%s",
		 sv.endpoints);
	etcd.endpoints = endpoints;
	ASSERT_EQ(store_open(&opts, &s, &e), 0);
	EXPECT_EQ(insist(s, "p/t/n/a", false), 0);
	/* Whoever renews them all does not have to restart us. */
	etcd_kill_member(&sv, 0);
	ASSERT_EQ(etcd_make_certs("tls"), 0);
	etcd_start_member(&sv, 0);
	ASSERT_EQ(etcd_wait_member(&sv, 0), 1);
	EXPECT_EQ(insist(s, "p/t/n/a", false), 0);
	store_close(s);
	/* Not signed by whom we trust. */
	etcd.endpoints = sv.endpoints;
	etcd.ca_file = "other/ca.pem";
	EXPECT_EQ(store_open(&opts, &s, &e) < 0, 1);
	printf("# %s\n", e.msg);
	EXPECT_EQ(strstr(e.msg, "TLS") != NULL, 1);
	/* We are not whom it trusts. */
	etcd.ca_file = "tls/ca.pem";
	etcd.cert_file = "other/cert.pem";
	etcd.key_file = "other/key.pem";
	EXPECT_EQ(store_open(&opts, &s, &e) < 0, 1);
	etcd.endpoints = "etcd.example:2379";
	EXPECT_EQ(store_open(&opts, &s, &e), -EINVAL);
	EXPECT_STREQ(e.msg, "endpoint 'etcd.example:2379': want http:// or "
			    "https://");
	etcd_stop(&sv);
}

TEST_MAIN()

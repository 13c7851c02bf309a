/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What store.h promises, for every back end. The including program says how a
 * store is opened: suite_opts() fills what is needed for the store @name, which
 * is a new one in each test.
 */
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "controlplane/store/admin.h"
#include "controlplane/store/pin.h"
#include "controlplane/store/tenant.h"
#include "lib/str.h"
#include "selftests/controlplane/store/text.h"
#include "selftests/harness.h"

void suite_opts(const char *name, struct store_opts *opts);

static struct store *open_store(const char *name)
{
	struct store_opts opts = { 0 };
	struct store *s = NULL;
	struct err e = { 0 };

	suite_opts(name, &opts);
	if (store_open(&opts, &s, &e) < 0)
		printf("# open: %s\n", e.msg);
	return s;
}

/* One change; returns the new revision or a negative errno. */
static int64_t change(struct store *s, struct store_op op, struct err *e)
{
	struct store_txn txn = { .ops = &op, .nr_ops = 1 };
	int r = store_commit(s, &txn, e);

	object_unref(op.ret);
	return r < 0 ? r : (int64_t)txn.revision;
}

static int64_t put(struct store *s, const char *key, const char *value)
{
	return change(s,
		      (struct store_op){ .key = key,
					 .data = value,
					 .len = strlen(value),
					 .rv_off = STORE_NO_RV },
		      NULL);
}

static int64_t del(struct store *s, const char *key)
{
	return change(s, (struct store_op){ .key = key, .remove = true }, NULL);
}

static void nothing(void *arg)
{
	(void)arg;
}

TEST(revisions_grow_and_values_read_back)
{
	auto_ptr(store) s = open_store("db");
	auto_ptr(object_bytes) o = NULL;
	int64_t a, b;

	ASSERT_EQ(s != NULL, 1);
	a = put(s, "core/pods/t1/ns/a", "one");
	b = put(s, "core/pods/t1/ns/a", "two");
	EXPECT_GE(a, 2);
	EXPECT_EQ(b, a + 1);
	o = store_get(s, "core/pods/t1/ns/a");
	ASSERT_EQ(o != NULL, 1);
	EXPECT_STREQ(text_of(o), "two");
	EXPECT_EQ(o->revision, b);
	EXPECT_EQ(o->created, a);
	EXPECT_EQ(store_get(s, "core/pods/t1/ns/b") == NULL, 1);
}

TEST(the_revision_is_spliced_into_the_bytes)
{
	auto_ptr(store) s = open_store("db");
	auto_ptr(object_bytes) o = NULL;
	char want[64];
	int64_t rv = change(s,
			    (struct store_op){ .key = "k/a/b/c/d",
					       .data = "{\"rv\":\"\"}",
					       .len = 9,
					       .rv_off = 7 },
			    NULL);

	o = store_get(s, "k/a/b/c/d");
	ASSERT_EQ(o != NULL, 1);
	snprintf(want, sizeof(want), "{\"rv\":\"%lld\"}", (long long)rv);
	EXPECT_STREQ(text_of(o), want);
	EXPECT_EQ(o->len, strlen(want));
}

TEST(conditions_are_checked)
{
	auto_ptr(store) s = open_store("db");
	struct store_op op = { .key = "k/1",
			       .data = "x",
			       .len = 1,
			       .rv_off = STORE_NO_RV,
			       .expect = STORE_ABSENT };
	struct err e = { 0 };
	int64_t rv = change(s, op, &e);

	EXPECT_GE(rv, 1);
	EXPECT_EQ(change(s, op, &e), -EEXIST);
	EXPECT_STREQ(e.msg, "k/1 exists");
	op.expect = STORE_MATCH;
	op.revision = rv + 7;
	EXPECT_EQ(change(s, op, &e), -ESTALE);
	op.revision = rv;
	EXPECT_EQ(change(s, op, &e), rv + 1);
	op.key = "k/2";
	EXPECT_EQ(change(s, op, &e), -ENOENT);
	EXPECT_EQ(del(s, "k/2"), -ENOENT);
}

TEST(a_transaction_is_all_or_nothing)
{
	auto_ptr(store) s = open_store("db");
	struct store_op ops[3] = {
		{ .key = "k/1", .data = "1", .len = 1, .rv_off = STORE_NO_RV },
		{ .key = "k/2", .data = "2", .len = 1, .rv_off = STORE_NO_RV },
		{ .key = "k/9", .remove = true },
	};
	struct store_txn txn = { .ops = ops, .nr_ops = 3 };
	uint64_t before = store_revision(s);
	struct store_list l;
	struct store_range r = { .prefix = "k/" };

	EXPECT_EQ(store_commit(s, &txn, NULL), -ENOENT);
	EXPECT_EQ(store_revision(s), before);
	ASSERT_EQ(store_list(s, &r, &l, NULL), 0);
	EXPECT_EQ(l.nr, 0);
	store_list_clear(&l);
	txn.nr_ops = 2;
	EXPECT_EQ(store_commit(s, &txn, NULL), 0);
	EXPECT_EQ(store_revision(s), before + 2);
	object_unref(ops[0].ret);
	object_unref(ops[1].ret);
	EXPECT_EQ(store_count(s, "k/"), 2);
}

TEST(a_check_holds_or_nothing_changes)
{
	auto_ptr(store) s = open_store("db");
	struct store_op ops[2] = {
		{ .key = "k/new",
		  .data = "1",
		  .len = 1,
		  .rv_off = STORE_NO_RV },
		{ .key = "k/ns", .check = true, .expect = STORE_MATCH },
	};
	struct store_txn txn = { .ops = ops, .nr_ops = 2 };

	ops[1].revision = put(s, "k/ns", "x");
	EXPECT_EQ(store_commit(s, &txn, NULL), 0);
	object_unref(ops[0].ret);
	EXPECT_EQ(ops[1].ret == NULL, 1);
	put(s, "k/ns", "y");
	ops[0].key = "k/newer";
	EXPECT_EQ(store_commit(s, &txn, NULL), -ESTALE);
	EXPECT_EQ(ops[0].ret == NULL, 1);
	EXPECT_EQ(store_count(s, "k/"), 2);
	object_unref(ops[1].ret);
}

TEST(pages_of_a_list_come_from_one_snapshot)
{
	auto_ptr(store) s = open_store("db");
	struct store_range r = { .prefix = "p/t/", .limit = 3 };
	struct store_list l;
	auto_free char *after = NULL;

	for (int i = 0; i < 8; i++) {
		char key[32];

		snprintf(key, sizeof(key), "p/t/%d", i);
		put(s, key, "old");
	}
	put(s, "p/u/0", "other");
	ASSERT_EQ(store_list(s, &r, &l, NULL), 0);
	EXPECT_EQ(l.nr, 3);
	EXPECT_EQ(l.remaining, 5);
	r.revision = l.revision;
	after = strdup(l.v[2]->key);
	store_list_clear(&l);

	del(s, "p/t/4");
	put(s, "p/t/5", "new");
	put(s, "p/t/55", "new");

	r.after = after;
	r.limit = 0;
	ASSERT_EQ(store_list(s, &r, &l, NULL), 0);
	EXPECT_EQ(l.nr, 5);
	for (size_t i = 0; i < l.nr; i++)
		EXPECT_STREQ(text_of(l.v[i]), "old");
	store_list_clear(&l);
	r.revision = 0;
	ASSERT_EQ(store_list(s, &r, &l, NULL), 0);
	EXPECT_EQ(l.nr, 5); /* 3 5 55 6 7 */
	store_list_clear(&l);
}

TEST(a_watch_sees_every_change_once_and_in_order)
{
	auto_ptr(store) s = open_store("db");
	struct store_watch *w = NULL;
	struct store_event ev[64];
	uint64_t start, last;
	int total = 0, n;

	put(s, "p/t/before", "x");
	start = store_revision(s);
	put(s, "p/t/0", "x"); /* after @start, before the watch opens */
	ASSERT_EQ(store_watch_open(s, "p/t/", start, nothing, NULL, &w, NULL),
		  0);
	/* More than a watcher's queue holds, and others' changes among. */
	for (int i = 1; i < 1000; i++) {
		char key[32];

		snprintf(key, sizeof(key), "p/%s/%d", i % 2 ? "t" : "u", i);
		put(s, key, "x");
	}
	del(s, "p/t/1");
	last = start;
	while ((n = store_watch_read(w, ev, 64)) > 0) {
		for (int i = 0; i < n; i++) {
			EXPECT_GE(ev[i].obj->revision, last + 1);
			EXPECT_EQ(strncmp(ev[i].obj->key, "p/t/", 4), 0);
			last = ev[i].obj->revision;
			if (ev[i].obj->deleted) {
				EXPECT_STREQ(ev[i].obj->key, "p/t/1");
				EXPECT_EQ(ev[i].prev != NULL, 1);
			}
			store_event_clear(&ev[i]);
			total++;
		}
	}
	EXPECT_EQ(n, 0);
	EXPECT_EQ(total, 502);
	EXPECT_EQ(store_watch_progress(w), store_revision(s));
	store_watch_close(w);
}

TEST(history_ends_where_it_says_and_survives_a_restart)
{
	struct store *s = open_store("db");
	struct store_watch *w = NULL;
	struct store_event ev[16];
	struct err e = { 0 };
	int64_t a, b, c;

	a = put(s, "p/t/a", "1");
	b = put(s, "p/t/a", "2");
	c = put(s, "p/t/a", "3");
	del(s, "p/t/a");
	put(s, "p/t/b", "4");
	ASSERT_EQ(store_compact(s, b, &e), 0);
	EXPECT_EQ(store_watch_open(s, "p/t/", a, nothing, NULL, &w, &e),
		  -ESTALE);
	EXPECT_EQ(strncmp(e.msg, "too old resource version: ", 26), 0);
	store_close(s);

	s = open_store("db");
	ASSERT_EQ(s != NULL, 1);
	EXPECT_EQ(store_revision(s), c + 2);
	EXPECT_EQ(store_watch_open(s, "p/t/", a, nothing, NULL, &w, &e),
		  -ESTALE);
	ASSERT_EQ(store_watch_open(s, "p/t/", b, nothing, NULL, &w, &e), 0);
	ASSERT_EQ(store_watch_read(w, ev, 16), 3);
	EXPECT_EQ(ev[0].obj->revision, c);
	EXPECT_EQ(ev[1].obj->deleted, 1);
	EXPECT_STREQ(text_of(ev[1].obj), "3");
	EXPECT_STREQ(text_of(ev[2].obj), "4");
	for (int i = 0; i < 3; i++)
		store_event_clear(&ev[i]);
	store_watch_close(w);
	store_close(s);
}

TEST(a_pinned_snapshot_stays)
{
	struct store *s = open_store("db");
	struct store_pin pin = { 0 };
	struct store_range range = { .prefix = "p/t/" };
	struct store_list l;

	put(s, "p/t/a", "1");
	put(s, "p/t/b", "2");
	store_unpin(&pin); /* it is not: nothing happens */
	store_pin(s, &pin);
	EXPECT_EQ(pin.revision, store_revision(s));
	del(s, "p/t/a");
	put(s, "p/t/b", "3");
	EXPECT_EQ(store_compact(s, store_revision(s), NULL), -EIO);
	range.revision = pin.revision;
	range.limit = 1;
	range.peek = true;
	ASSERT_EQ(store_list(s, &range, &l, NULL), 0);
	EXPECT_STREQ(text_of(l.v[0]), "1");
	EXPECT_EQ(l.remaining, 1);
	store_list_clear(&l);
	range.after = "p/t/a";
	ASSERT_EQ(store_list(s, &range, &l, NULL), 0);
	EXPECT_STREQ(text_of(l.v[0]), "2");
	EXPECT_EQ(l.remaining, 0);
	store_list_clear(&l);
	store_unpin(&pin);
	EXPECT_EQ(store_compact(s, store_revision(s), NULL), 0);
	EXPECT_EQ(store_list(s, &range, &l, NULL), -ESTALE);
	store_close(s);
}

TEST(the_newest_revision_survives_the_compaction_of_its_record)
{
	struct store *s = open_store("db");
	int64_t rv;

	put(s, "p/t/a", "1");
	rv = del(s, "p/t/a");
	ASSERT_EQ(store_compact(s, rv, NULL), 0);
	store_close(s);
	s = open_store("db");
	EXPECT_EQ(store_revision(s), rv);
	EXPECT_EQ(put(s, "p/t/a", "1"), rv + 1);
	store_close(s);
}

TEST(a_stalled_watcher_is_cut_off_and_not_fed_from_nothing)
{
	auto_ptr(store) s = open_store("db");
	struct store_watch *w = NULL;
	struct store_event ev[512];
	int n, got = 0;

	ASSERT_EQ(store_watch_open(s, "p/", 0, nothing, NULL, &w, NULL), 0);
	EXPECT_EQ(store_watch_read(w, ev, 1), 0); /* goes live */
	for (int i = 0; i < 600; i++)
		put(s, "p/t/a", "x");
	ASSERT_EQ(store_compact(s, store_revision(s), NULL), 0);
	while ((n = store_watch_read(w, ev, 512)) > 0)
		for (int i = 0; i < n; i++, got++)
			store_event_clear(&ev[i]);
	EXPECT_EQ(n, -ESTALE);
	EXPECT_EQ(got, STORE_WATCH_REFS);
	store_watch_close(w);
}

struct writer_arg {
	struct store *s;
	int id;
	int done;
};

static void *write_many(void *p)
{
	struct writer_arg *a = p;
	char key[32];

	for (int i = 0; i < 300; i++) {
		snprintf(key, sizeof(key), "p/t%d/%d", a->id, i % 20);
		if (put(a->s, key, "x") > 0)
			a->done++;
	}
	return NULL;
}

TEST(concurrent_writers_share_commits)
{
	auto_ptr(store) s = open_store("db");
	struct writer_arg args[8];
	pthread_t threads[8];
	struct store_stats st;

	for (int i = 0; i < 8; i++) {
		args[i] = (struct writer_arg){ .s = s, .id = i };
		pthread_create(&threads[i], NULL, write_many, &args[i]);
	}
	for (int i = 0; i < 8; i++) {
		pthread_join(threads[i], NULL);
		EXPECT_EQ(args[i].done, 300);
	}
	store_stats(s, &st);
	EXPECT_EQ(st.changes, 2400);
	EXPECT_GE(2400 / 2, st.commits);
	EXPECT_EQ(st.live_objects, 160);
}

static void on_change(void *arg)
{
	sem_post(arg);
}

/* Read one event, waiting for it. */
static int next_event(struct store_watch *w, sem_t *sem, struct store_event *ev)
{
	int n;

	while ((n = store_watch_read(w, ev, 1)) == 0)
		while (sem_wait(sem))
			;
	return n;
}

TEST(an_object_with_an_end_goes_by_itself)
{
	auto_ptr(store) s = open_store("db");
	struct store_watch *w = NULL;
	struct store_event ev;
	struct store_stats st;
	sem_t sem;

	sem_init(&sem, 0, 0);
	ASSERT_EQ(store_watch_open(s, "core/events/", 0, on_change, &sem, &w,
				   NULL),
		  0);
	for (int i = 0; i < 3; i++)
		EXPECT_GE(change(s,
				 (struct store_op){ .key = "core/events/t/n/e",
						    .data = "x",
						    .len = 1,
						    .rv_off = STORE_NO_RV,
						    .ttl_ms = i < 2 ? 1 : 300 },
				 NULL),
			  2);
	put(s, "core/events/t/n/stays", "y");
	for (;;) {
		ASSERT_EQ(next_event(w, &sem, &ev), 1);
		if (ev.obj->deleted)
			break;
		store_event_clear(&ev);
	}
	EXPECT_STREQ(ev.obj->key, "core/events/t/n/e");
	EXPECT_EQ(ev.prev->expires_ms >= ev.prev->stored_ms, 1);
	store_event_clear(&ev);
	store_watch_close(w);
	EXPECT_GE(store_count(s, "core/events/"), 1);
	store_stats(s, &st);
	EXPECT_GE(st.expired, 1);
}

TEST(an_end_survives_a_restart)
{
	struct store *s = open_store("db");
	struct store_watch *w = NULL;
	struct store_event ev;
	sem_t sem;

	sem_init(&sem, 0, 0);
	change(s,
	       (struct store_op){ .key = "core/events/t/n/e",
				  .data = "x",
				  .len = 1,
				  .rv_off = STORE_NO_RV,
				  .ttl_ms = 700 },
	       NULL);
	store_close(s);
	s = open_store("db");
	ASSERT_EQ(s != NULL, 1);
	ASSERT_EQ(store_watch_open(s, "core/events/", store_revision(s),
				   on_change, &sem, &w, NULL),
		  0);
	ASSERT_EQ(next_event(w, &sem, &ev), 1);
	EXPECT_EQ(ev.obj->deleted, 1);
	store_event_clear(&ev);
	store_watch_close(w);
	store_close(s);
}

TEST(a_prefix_shows_nothing_of_what_only_begins_like_it)
{
	auto_ptr(store) s = open_store("db");
	struct store_range r = { .prefix = "core/pods/t1" };
	struct store_list l;

	put(s, "core/pods/t1/n/a", "x");
	put(s, "core/pods/t10/n/a", "x");
	ASSERT_EQ(store_list(s, &r, &l, NULL), 0);
	EXPECT_EQ(l.nr, 0);
	store_list_clear(&l);
	EXPECT_EQ(store_count(s, "core/pods/t1"), 0);
	EXPECT_EQ(store_count(s, "core/pods/t1/"), 1);
}

TEST(a_transaction_of_the_largest_size_is_one)
{
	auto_ptr(store) s = open_store("db");
	static struct store_op ops[STORE_OPS_MAX + 1];
	static char keys[STORE_OPS_MAX + 1][32];
	struct store_txn txn = { .ops = ops, .nr_ops = STORE_OPS_MAX };
	struct err e = { 0 };
	uint64_t before = store_revision(s);

	for (int i = 0; i <= STORE_OPS_MAX; i++) {
		snprintf(keys[i], sizeof(keys[i]), "p/t/%04d", i);
		ops[i] = (struct store_op){ .key = keys[i],
					    .data = "0123456789",
					    .len = 10,
					    .rv_off = STORE_NO_RV };
	}
	EXPECT_EQ(store_commit(s, &txn, &e), 0);
	for (int i = 0; i < STORE_OPS_MAX; i++)
		object_unref(ops[i].ret);
	EXPECT_EQ(store_revision(s), before + STORE_OPS_MAX);
	txn.nr_ops++;
	EXPECT_EQ(store_commit(s, &txn, &e), -EINVAL);
	EXPECT_STREQ(e.msg,
		     "1025 changes in one transaction, the limit is 1024");
}

TEST(a_backup_is_restored_beyond_every_revision_given_out)
{
	struct store_opts copy = { .dir = "new" };
	struct store *s = open_store("db");
	struct store_watch *w = NULL;
	struct err e = { 0 };
	uint64_t objects, revision, after;

	put(s, "p/t/a", "1");
	put(s, "p/t/a", "2");
	put(s, "p/t/b", "3");
	del(s, "p/t/b");
	ASSERT_EQ(store_backup(s, "copy", &e), 0);
	EXPECT_EQ(store_backup(s, "copy", &e), -EEXIST);
	put(s, "p/t/late", "4");
	after = store_revision(s);
	store_close(s);
	ASSERT_EQ(store_verify("copy", NULL, &objects, &revision, &e), 0);
	EXPECT_EQ(objects, 1);
	EXPECT_EQ(revision, after - 1);
	ASSERT_EQ(store_restore("copy", "new", NULL, &e), 0);
	ASSERT_EQ(store_open(&copy, &s, &e), 0);
	EXPECT_GE(store_revision(s), after + 1000000);
	EXPECT_EQ(store_count(s, "p/"), 1);
	/* Whoever had seen the lost change is told to start again. */
	EXPECT_EQ(store_watch_open(s, "p/", after, nothing, NULL, &w, &e),
		  -ESTALE);
	EXPECT_EQ(put(s, "p/t/c", "5"), store_revision(s));
	store_close(s);
	EXPECT_EQ(store_restore("copy", "new", NULL, &e), -EEXIST);
}

TEST(kine_577_progress_is_never_ahead_of_what_was_delivered)
{
	auto_ptr(store) s = open_store("db");
	struct writer_arg arg = { .s = s, .id = 1 };
	struct store_watch *w = NULL;
	struct store_event ev[8];
	uint64_t promised = 0;
	pthread_t t;
	int got = 0;
	sem_t sem;

	sem_init(&sem, 0, 0);
	ASSERT_EQ(store_watch_open(s, "p/t1/", 0, on_change, &sem, &w, NULL),
		  0);
	pthread_create(&t, NULL, write_many, &arg);
	while (got < 300) {
		int n = store_watch_read(w, ev, 8);

		ASSERT_EQ(n >= 0, 1);
		for (int i = 0; i < n; i++, got++) {
			EXPECT_GE(ev[i].obj->revision, promised + 1);
			store_event_clear(&ev[i]);
		}
		if (store_watch_progress(w))
			promised = store_watch_progress(w);
		if (!n)
			while (sem_wait(&sem))
				;
	}
	pthread_join(t, NULL);
	EXPECT_EQ(arg.done, 300);
	store_watch_close(w);
}

TEST(a_view_of_a_tenant_reaches_nothing_of_another)
{
	static const char *const evil[] = { "../t2", "t1/../t2", "n/x",  "/",
					    ".",     "..",       "a\nb", "" };
	auto_ptr(store) s = open_store("db");
	struct store_range after = { .after = "core/pods/t2/n/a" };
	struct tenant_view v, none;
	struct store_list l;
	struct err e = { 0 };
	auto_ptr(object_bytes) o = NULL;
	char key[STORE_KEY_MAX];

	put(s, "core/pods/t1/n/a", "mine");
	put(s, "core/pods/t10/n/a", "other");
	put(s, "core/pods/t2/n/a", "other");
	ASSERT_EQ(tenant_view_init(&v, s, "t1", &e), 0);
	o = tenant_get(&v, "core/pods", "n", "a");
	ASSERT_EQ(o != NULL, 1);
	EXPECT_STREQ(text_of(o), "mine");
	ASSERT_EQ(tenant_list(&v, "core/pods", NULL, NULL, &l, &e), 0);
	EXPECT_EQ(l.nr, 1);
	store_list_clear(&l);
	EXPECT_EQ(tenant_list(&v, "core/pods", NULL, &after, &l, &e), -EINVAL);
	for (size_t i = 0; i < ARRAY_SIZE(evil); i++) {
		EXPECT_EQ(tenant_view_init(&none, s, evil[i], &e), -EINVAL);
		EXPECT_EQ(tenant_get(&v, "core/pods", "n", evil[i]) == NULL, 1);
		/* "n/x" is a group and a resource. */
		EXPECT_EQ(tenant_key(&v, evil[i], "n", "a", key, &e),
			  i == 2 ? 0 : -EINVAL);
		if (*evil[i])
			EXPECT_EQ(tenant_key(&v, "core/pods", evil[i], "a", key,
					     &e),
				  -EINVAL);
	}
}

TEST(a_dropped_tenant_leaves_nothing_and_takes_nothing_along)
{
	static const char *const keys[] = {
		"apps/deployments/%s/n/a", "core/configmaps/%s/n/a",
		"core/pods/%s/n/a",        "core/pods/%s/n/b",
		"core/namespaces/%s//n",   "x.io/things/%s/n/a",
	};
	auto_ptr(store) s = open_store("db");
	struct tenant_view v;
	struct err e = { 0 };
	char key[64];
	size_t nr = 0;

	for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
		for (int t = 1; t <= 12; t++) {
			char tenant[8];
			auto_free char *fmt = strdup(keys[i]);
			char *at = strstr(fmt, "%s");

			snprintf(tenant, sizeof(tenant), "t%d", t);
			*at = '\0';
			snprintf(key, sizeof(key), "%s%s%s", fmt, tenant,
				 at + 2);
			EXPECT_GE(put(s, key, "x"), 2);
		}
	ASSERT_EQ(tenant_view_init(&v, s, "t1", &e), 0);
	ASSERT_EQ(tenant_drop(&v, &nr, &e), 0);
	EXPECT_EQ(nr, 6);
	EXPECT_EQ(store_count(s, ""), 11 * 6);
	ASSERT_EQ(tenant_drop(&v, &nr, &e), 0);
	EXPECT_EQ(nr, 0);
}

// SPDX-License-Identifier: Apache-2.0
/*
 * What happens to some of the etcd clusters that tenants are divided between:
 * slow, silent, full, out of reach of one server, made again; and that nobody
 * else's tenants notice.
 * LANE: native
 * SECONDS: 120
 */
#include <poll.h>
#include <pthread.h>

#include "controlplane/store/keys.h"
#include "selftests/controlplane/store/etcd_proxy.h"
#include "selftests/controlplane/store/etcd_store.h"

/* "p/r/c1/n/x" is in cluster 1, and so on; -1: it ends before. */
static int by_name(const char *key)
{
	const char *p = strchr(key, '/');

	p = p ? strchr(p + 1, '/') : NULL;
	if (!p || !p[1])
		return -1;
	return p[1] == 'c' ? p[2] - '0' : 0;
}

static struct store *open_shards(const char *system, const char *c1,
				 const char *c2)
{
	const char *clusters[] = { c1, c2, NULL };
	struct store_etcd etcd = { .endpoints = system,
				   .timeout_ms = 3000,
				   .clusters = clusters,
				   .place = by_name };
	struct store_opts opts = { .etcd = &etcd };
	struct store *s = NULL;
	struct err e = { 0 };

	if (store_open(&opts, &s, &e) < 0)
		printf("# open: %s\n", e.msg);
	return s;
}

static int ignore_pair(void *arg, const struct etcd_kv *kv)
{
	(void)arg, (void)kv;
	return 0;
}

static uint64_t revision_of(struct store *s, const char *key)
{
	auto_ptr(object_bytes) o = store_get(s, key);

	return o ? o->revision : 0;
}

static void on_event(void *arg)
{
	(void)arg;
}

/* A cluster as it is seen here, waited for: it is asked by itself. */
static bool becomes(struct store *s, int id, bool ready)
{
	struct store_cluster c = { 0 };

	for (int i = 0; i < 1000; i++, poll(NULL, 0, 20))
		if (store_cluster(s, id, &c) == 0 && c.ready == ready)
			return true;
	printf("# cluster %d: %s\n", id, c.why);
	return false;
}

static size_t count_below(const char *endpoints, const char *prefix)
{
	struct grpc_opts o = { .endpoints = endpoints };
	struct grpc_call call = { .method = "/etcdserverpb.KV/Range",
				  .timeout_ms = 5000 };
	auto_buf struct buf q = BUF_INIT;
	struct etcd_answer a = { 0 };
	struct grpc *g = NULL;
	char end[128];

	snprintf(end, sizeof(end), "%s", prefix);
	end[strlen(end) - 1]++;
	etcd_range_request(&q, &(struct etcd_range){
				       .key = prefix, .end = end, .limit = 1 });
	call.data = q.data;
	call.len = q.len;
	if (grpc_open(&o, &g, NULL) || grpc_call(g, &call, NULL) ||
	    etcd_read_range(&call.reply, &a, ignore_pair, NULL))
		a.count = 0;
	grpc_close(g);
	buf_clear(&call.reply);
	return a.count;
}

/* Writes of another thread, as often as it can. */
struct writer {
	struct store *s;
	const char *key;
	pthread_t t;
	atomic_bool stop;
	atomic_int done;
	int refused, wrong; /* clearly; otherwise */
	uint64_t last;
	struct err e;
};

static void *write_on(void *arg)
{
	struct writer *w = arg;

	while (!atomic_load(&w->stop)) {
		struct err e = { 0 };
		uint64_t rv = 0;
		int r = change(w->s, w->key, false, &rv, &e);

		if (r == 0) {
			atomic_fetch_add(&w->done, 1);
			w->last = rv;
		} else if (r == -EHOSTUNREACH || r == -ENOSPC) {
			w->refused++;
			poll(NULL, 0, 10);
		} else {
			w->wrong++;
		}
		if (r)
			w->e = e;
	}
	return NULL;
}

static void begin_writing(struct writer *w, struct store *s, const char *key)
{
	*w = (struct writer){ .s = s, .key = key };
	pthread_create(&w->t, NULL, write_on, w);
}

/* Until @nr more are done. */
static bool goes_on(struct writer *w, int nr)
{
	int want = atomic_load(&w->done) + nr;

	for (int i = 0; i < 2000; i++, poll(NULL, 0, 10))
		if (atomic_load(&w->done) >= want)
			return true;
	printf("# %s: %s\n", w->key, w->e.msg);
	return false;
}

static void end_writing(struct writer *w)
{
	atomic_store(&w->stop, true);
	pthread_join(w->t, NULL);
	printf("# %s: %d done, %d refused, %d otherwise%s%s\n", w->key,
	       atomic_load(&w->done), w->refused, w->wrong,
	       w->e.msg[0] ? ": " : "", w->e.msg);
}

/* Slower than a batch waits for: it must not be tried in vain for ever. */
TEST(a_slow_cluster_is_written_to_and_others_go_on)
{
	struct etcd_servers sv[2] = { 0 };
	struct etcd_proxy p = { 0 };
	struct writer w;
	struct store *s;

	NEED_ETCD();
	test_alarm(100);
	ASSERT_EQ(etcd_start(&sv[0], "etcd0", 1, NULL), 1);
	ASSERT_EQ(etcd_start(&sv[1], "etcd1", 1, NULL), 1);
	ASSERT_EQ(proxy_start(&p, sv[1].client_port[0]), 1);
	s = open_shards(sv[0].endpoints, p.endpoint, NULL);
	ASSERT_EQ(s != NULL, 1);
	EXPECT_EQ(insist(s, "p/r/c1/n/a", false), 0);
	atomic_store(&p.delay_ms, 350);
	begin_writing(&w, s, "p/r/c0/n/a");
	for (int i = 0; i < 2; i++) {
		struct err e = { 0 };
		int r = change(s, "p/r/c1/n/b", false, NULL, &e);

		if (r)
			printf("# %s\n", e.msg);
		EXPECT_EQ(r, 0);
	}
	EXPECT_EQ(goes_on(&w, 20), true);
	end_writing(&w);
	EXPECT_EQ(w.refused + w.wrong, 0);
	store_close(s);
	proxy_stop(&p);
	etcd_stop(&sv[0]);
	etcd_stop(&sv[1]);
}

/* A part that lost to another server is named nowhere: it must not stay. */
TEST(parts_that_lost_are_deleted_by_whoever_wrote_them)
{
	struct etcd_servers sv[2] = { 0 };
	struct err e = { 0 };
	struct store *a, *b;
	struct writer w[2];
	size_t left = 100;

	NEED_ETCD();
	test_alarm(100);
	ASSERT_EQ(etcd_start(&sv[0], "etcd0", 1, NULL), 1);
	ASSERT_EQ(etcd_start(&sv[1], "etcd1", 1, NULL), 1);
	a = open_shards(sv[0].endpoints, sv[1].endpoints, NULL);
	ASSERT_EQ(a != NULL, 1);
	/* It collects, and the other does not. */
	while (count_below(sv[0].endpoints, "/arktos/collector") == 0)
		poll(NULL, 0, 20);
	b = open_shards(sv[0].endpoints, sv[1].endpoints, NULL);
	ASSERT_EQ(b != NULL, 1);
	begin_writing(&w[0], a, "p/r/c1/n/a");
	begin_writing(&w[1], b, "p/r/c1/n/b");
	EXPECT_EQ(goes_on(&w[0], 150) && goes_on(&w[1], 150), true);
	end_writing(&w[0]);
	end_writing(&w[1]);
	for (int i = 0; i < 300 && left > 6; i++) {
		EXPECT_EQ(insist(a, "p/r/c1/n/a", false), 0);
		EXPECT_EQ(insist(b, "p/r/c1/n/b", false), 0);
		EXPECT_EQ(store_sync(a, &e), 0);
		(void)store_compact(a, store_revision(a), &e);
		left = count_below(sv[1].endpoints, "/arktos/cluster-1/log/");
	}
	printf("# %zu parts are left\n", left);
	EXPECT_GE(6, left);
	store_close(a);
	store_close(b);
	etcd_stop(&sv[0]);
	etcd_stop(&sv[1]);
}

/* --- by StorageCluster and Tenant objects --- */

static int put_tagged(struct store *s, const char *key, const char *tags,
		      size_t len, struct err *e)
{
	struct store_op op = { .key = key,
			       .data = "{}",
			       .len = 2,
			       .rv_off = STORE_NO_RV,
			       .tags = tags,
			       .tags_len = (uint32_t)len };
	struct store_txn txn = { .ops = &op, .nr_ops = 1 };
	int r = store_commit(s, &txn, e);

	object_unref(op.ret);
	return r;
}

static int make_cluster(struct store *s, int port)
{
	char tags[128];
	int n = snprintf(tags, sizeof(tags),
			 "f:storageClusterId%c1%cf:serviceAddress%c"
			 "127.0.0.1:%d%c",
			 0, 0, 0, port, 0);

	return put_tagged(s, "core/storageclusters///c1", tags, (size_t)n,
			  NULL);
}

static int make_tenant(struct store *s)
{
	static const char tags[] = "f:spec.storageClusterId\0"
				   "1";

	return put_tagged(s, "core/tenants///acme", tags, sizeof(tags), NULL);
}

/* Who learns late that a cluster was deleted must not empty the one that was
 * made after it in the same etcd. */
TEST(a_cluster_that_is_made_again_keeps_what_it_got)
{
	struct etcd_servers sv[2] = { 0 };
	struct etcd_proxy p = { 0 };
	struct err e = { 0 };
	struct store *a, *b;

	NEED_ETCD();
	test_alarm(100);
	ASSERT_EQ(etcd_start(&sv[0], "etcd0", 1, NULL), 1);
	ASSERT_EQ(etcd_start(&sv[1], "etcd1", 1, NULL), 1);
	ASSERT_EQ(proxy_start(&p, sv[0].client_port[0]), 1);
	a = open_at(sv[0].endpoints, &e);
	b = open_at(p.endpoint, &e);
	ASSERT_EQ(a && b, 1);
	ASSERT_EQ(make_cluster(a, sv[1].client_port[0]), 0);
	ASSERT_EQ(make_tenant(a), 0);
	EXPECT_EQ(insist(a, "core/pods/acme/n/old", false), 0);
	EXPECT_EQ(insist(a, "core/pods/acme/n/old", true), 0);
	EXPECT_EQ(store_sync(b, &e), 0);
	EXPECT_EQ(becomes(b, 1, true), true);
	/* It does not hear what follows until all of it is done. */
	atomic_store(&p.mute, true);
	EXPECT_EQ(change(a, "core/tenants///acme", true, NULL, &e), 0);
	EXPECT_EQ(change(a, "core/storageclusters///c1", true, NULL, &e), 0);
	ASSERT_EQ(make_cluster(a, sv[1].client_port[0]), 0);
	ASSERT_EQ(make_tenant(a), 0);
	EXPECT_EQ(insist(a, "core/pods/acme/n/kept", false), 0);
	proxy_cut(&p);
	while (store_sync(b, &e))
		poll(NULL, 0, 20);
	EXPECT_EQ(becomes(b, 1, true), true);
	EXPECT_EQ(insist(b, "core/pods/acme/n/also", false), 0);
	store_close(b); /* and all it had begun is done */
	EXPECT_EQ(insist(a, "core/pods/acme/n/more", false), 0);
	store_close(a);
	a = open_at(sv[0].endpoints, &e);
	ASSERT_EQ(a != NULL, 1);
	EXPECT_EQ(store_whole(a, "core/pods/acme/", &e), 0);
	printf("# %s\n", e.msg);
	EXPECT_EQ(store_count(a, "core/pods/acme/"), 3);
	/* Deleted while it is away: what it left goes when it is taken over. */
	EXPECT_EQ(insist(a, "core/pods/acme/n/kept", true), 0);
	EXPECT_EQ(insist(a, "core/pods/acme/n/also", true), 0);
	EXPECT_EQ(insist(a, "core/pods/acme/n/more", true), 0);
	etcd_kill_member(&sv[1], 0);
	EXPECT_EQ(becomes(a, 1, false), true);
	EXPECT_EQ(change(a, "core/tenants///acme", true, NULL, &e), 0);
	EXPECT_EQ(change(a, "core/storageclusters///c1", true, NULL, &e), 0);
	etcd_start_member(&sv[1], 0);
	ASSERT_EQ(etcd_wait_member(&sv[1], 0), 1);
	EXPECT_GE(count_below(sv[1].endpoints, "/arktos/cluster-1/log/"), 2);
	ASSERT_EQ(make_cluster(a, sv[1].client_port[0]), 0);
	ASSERT_EQ(make_tenant(a), 0);
	EXPECT_EQ(insist(a, "core/pods/acme/n/new", false), 0);
	EXPECT_EQ(count_below(sv[1].endpoints, "/arktos/cluster-1/log/"), 1);
	store_close(a);
	proxy_stop(&p);
	etcd_stop(&sv[0]);
	etcd_stop(&sv[1]);
}

TEST(the_tenants_of_a_full_cluster_are_refused_until_it_has_room)
{
	struct etcd_servers sv[2] = { { 0 },
				      { .extra = "--quota-backend-bytes="
						 "2000000" } };
	struct store_cluster c = { 0 };
	struct err e = { 0 };
	struct store *s;
	struct writer w;

	NEED_ETCD();
	NEED_ETCDCTL();
	test_alarm(100);
	ASSERT_EQ(etcd_start(&sv[0], "etcd0", 1, NULL), 1);
	ASSERT_EQ(etcd_start(&sv[1], "etcd1", 1, NULL), 1);
	s = open_shards(sv[0].endpoints, sv[1].endpoints, NULL);
	ASSERT_EQ(s != NULL, 1);
	EXPECT_EQ(insist(s, "p/r/c1/n/a", false), 0);
	etcd_ctl_fill(sv[1].endpoints);
	begin_writing(&w, s, "p/r/c0/n/a");
	EXPECT_EQ(change(s, "p/r/c1/n/a", false, NULL, &e), -ENOSPC);
	printf("# %s\n", e.msg);
	EXPECT_EQ(strstr(e.msg,
			 "storage cluster 1 (cluster-1): etcd is full") != NULL,
		  1);
	EXPECT_EQ(strstr(e.msg, "alarm disarm") != NULL, 1);
	/* It is said all the time, not now and then. */
	for (int i = 0; i < 100; i++, poll(NULL, 0, 10)) {
		EXPECT_EQ(store_cluster(s, 1, &c), 0);
		if (c.ready)
			break;
		EXPECT_EQ(change(s, "p/r/c1/n/b", false, NULL, &e), -ENOSPC);
	}
	EXPECT_EQ(c.ready, false);
	EXPECT_EQ(store_whole(s, "p/", &e), 0);
	EXPECT_EQ(store_count(s, "p/r/c1/"), 1);
	EXPECT_EQ(goes_on(&w, 20), true);
	end_writing(&w);
	EXPECT_EQ(w.refused + w.wrong, 0);
	EXPECT_EQ(etcd_ctl_room(sv[1].endpoints), 0);
	EXPECT_EQ(becomes(s, 1, true), true);
	EXPECT_EQ(change(s, "p/r/c1/n/a", false, NULL, &e), 0);
	store_close(s);
	etcd_stop(&sv[0]);
	etcd_stop(&sv[1]);
}

TEST(a_server_that_cannot_reach_a_cluster_says_so_and_follows_later)
{
	struct etcd_servers sv[2] = { 0 };
	struct store_watch *all = NULL, *own = NULL;
	struct etcd_proxy p = { 0 };
	struct store_event ev;
	struct err e = { 0 };
	struct store *a, *b;
	uint64_t rv = 0;
	int n = 0;

	NEED_ETCD();
	test_alarm(100);
	ASSERT_EQ(etcd_start(&sv[0], "etcd0", 1, NULL), 1);
	ASSERT_EQ(etcd_start(&sv[1], "etcd1", 1, NULL), 1);
	ASSERT_EQ(proxy_start(&p, sv[1].client_port[0]), 1);
	a = open_shards(sv[0].endpoints, sv[1].endpoints, NULL);
	b = open_shards(sv[0].endpoints, p.endpoint, NULL);
	ASSERT_EQ(a && b, 1);
	EXPECT_EQ(insist(a, "p/r/c1/n/a", false), 0);
	EXPECT_EQ(store_sync(b, &e), 0);
	EXPECT_EQ(becomes(b, 1, true), true);
	ASSERT_EQ(store_watch_open(b, "p/", 0, on_event, NULL, &all, &e), 0);
	ASSERT_EQ(store_watch_open(b, "p/r/c0/", 0, on_event, NULL, &own, &e),
		  0);
	atomic_store(&p.mute, true);
	ASSERT_EQ(change(a, "p/r/c1/n/a", false, &rv, &e), 0);
	EXPECT_EQ(store_sync(b, &e), 0);
	EXPECT_EQ(store_whole(b, "p/r/c0/", &e), 0);
	EXPECT_EQ(store_whole(b, "p/r/c1/", &e), -EHOSTUNREACH);
	printf("# %s\n", e.msg);
	EXPECT_EQ(strstr(e.msg, "storage cluster 1 (cluster-1): what is in it "
				"is not known here") != NULL,
		  1);
	EXPECT_EQ(store_whole(b, "p/", &e), -EHOSTUNREACH);
	EXPECT_EQ(change(b, "p/r/c1/n/b", false, NULL, &e), -EHOSTUNREACH);
	EXPECT_EQ(change(b, "p/r/c0/n/b", false, NULL, &e), 0);
	EXPECT_EQ(store_watch_read(all, &ev, 1), -ESTALE);
	for (int i = 0; i < 100 && !n; i++, poll(NULL, 0, 10))
		n = store_watch_read(own, &ev, 1);
	EXPECT_EQ(n, 1);
	if (n == 1)
		store_event_clear(&ev);
	proxy_cut(&p);
	for (int i = 0; i < 500 && store_whole(b, "p/", &e); i++)
		poll(NULL, 0, 20);
	EXPECT_EQ(store_whole(b, "p/", &e), 0);
	EXPECT_EQ(revision_of(b, "p/r/c1/n/a"), rv);
	EXPECT_EQ(insist(b, "p/r/c1/n/b", false), 0);
	store_watch_close(all);
	store_watch_close(own);
	store_close(a);
	store_close(b);
	proxy_stop(&p);
	etcd_stop(&sv[0]);
	etcd_stop(&sv[1]);
}

/* --- TLS, several members --- */

static int leader_of(const struct etcd_servers *sv)
{
	char cmd[512];

	for (int tries = 0; tries < 100; tries++, poll(NULL, 0, 50))
		for (int i = 0; i < sv->nr; i++) {
			snprintf(cmd, sizeof(cmd),
				 "ETCDCTL_API=3 timeout 5 etcdctl --cacert "
				 "tls/ca.pem --cert tls/cert.pem --key "
				 "tls/key.pem --endpoints https://127.0.0.1:%d "
				 "endpoint status 2>>ctl.log | grep -q ', "
				 "true, '",
				 sv->client_port[i]);
			if (system(cmd) == 0)
				return i;
		}
	return -1;
}

TEST(a_cluster_of_three_loses_its_leader_over_tls_while_writes_go_on)
{
	struct etcd_servers sv[2] = { 0 };
	const char *clusters[] = { NULL, NULL, NULL };
	struct store_etcd etcd = { .timeout_ms = 3000,
				   .ca_file = "tls/ca.pem",
				   .cert_file = "tls/cert.pem",
				   .key_file = "tls/key.pem",
				   .clusters = clusters,
				   .place = by_name };
	struct store_opts opts = { .etcd = &etcd };
	struct store_cluster c = { 0 };
	struct store *s = NULL;
	struct err e = { 0 };
	struct writer w[2];

	NEED_ETCD();
	NEED_ETCDCTL();
	test_alarm(100);
	ASSERT_EQ(etcd_make_certs("tls"), 0);
	ASSERT_EQ(etcd_make_certs("other"), 0);
	ASSERT_EQ(etcd_start(&sv[0], "etcd0", 1, "tls"), 1);
	ASSERT_EQ(etcd_start(&sv[1], "etcd1", 3, "tls"), 1);
	etcd.endpoints = sv[0].endpoints;
	clusters[0] = sv[1].endpoints;
	ASSERT_EQ(store_open(&opts, &s, &e), 0);
	begin_writing(&w[0], s, "p/r/c0/n/a");
	begin_writing(&w[1], s, "p/r/c1/n/a");
	EXPECT_EQ(goes_on(&w[1], 10), true);
	for (int i = 0; i < 2; i++) {
		int leader = leader_of(&sv[1]);

		ASSERT_GE(leader, 0);
		if (i)
			etcd_pause_member(&sv[1], leader);
		else
			etcd_kill_member(&sv[1], leader);
		EXPECT_EQ(goes_on(&w[0], 50), true);
		EXPECT_EQ(goes_on(&w[1], 10), true);
		if (i)
			kill(sv[1].pid[leader], SIGCONT);
		else
			etcd_start_member(&sv[1], leader);
		ASSERT_EQ(etcd_wait_member(&sv[1], leader), 1);
		EXPECT_EQ(goes_on(&w[1], 10), true);
	}
	end_writing(&w[0]);
	end_writing(&w[1]);
	EXPECT_EQ(w[0].refused + w[0].wrong + w[1].wrong, 0);
	store_close(s);
	ASSERT_EQ(store_open(&opts, &s, &e), 0);
	EXPECT_EQ(revision_of(s, "p/r/c1/n/a"), w[1].last);
	EXPECT_EQ(revision_of(s, "p/r/c0/n/a"), w[0].last);
	store_close(s);
	/* One that others have signed is not spoken to. */
	etcd_stop(&sv[1]);
	sv[1] = (struct etcd_servers){ 0 };
	ASSERT_EQ(etcd_start(&sv[1], "etcd2", 1, "other"), 1);
	clusters[0] = sv[1].endpoints;
	ASSERT_EQ(store_open(&opts, &s, &e), 0);
	EXPECT_EQ(becomes(s, 1, false), true);
	EXPECT_EQ(store_cluster(s, 1, &c), 0);
	printf("# %s\n", c.why);
	EXPECT_EQ(strstr(c.why, "TLS") != NULL, 1);
	EXPECT_EQ(change(s, "p/r/c1/n/a", false, NULL, &e), -EHOSTUNREACH);
	EXPECT_EQ(change(s, "p/r/c0/n/a", false, NULL, &e), 0);
	store_close(s);
	etcd_stop(&sv[0]);
	etcd_stop(&sv[1]);
}

/* --- keys --- */

static int keep_first_key(const char *file)
{
	char cmd[128];

	snprintf(cmd, sizeof(cmd),
		 "grep -v '^#' %s | head -1 >first && "
		 "cat first >%s",
		 file, file);
	return system(cmd);
}

TEST(all_clusters_are_sealed_anew_also_when_one_comes_later)
{
	struct etcd_servers sv[3] = { 0 };
	const char *clusters[] = { NULL, NULL, "http://127.0.0.1:1", NULL };
	struct store_etcd etcd = { .timeout_ms = 3000,
				   .clusters = clusters,
				   .place = by_name };
	struct store_opts opts = { .etcd = &etcd,
				   .key_file = "keys",
				   .create_key_file = true };
	struct store_keys *keys = NULL;
	struct store *s = NULL;
	struct err e = { 0 };
	uint64_t nr = 0;

	NEED_ETCD();
	test_alarm(100);
	for (int i = 0; i < 3; i++) {
		char dir[16];

		snprintf(dir, sizeof(dir), "etcd%d", i);
		ASSERT_EQ(etcd_start(&sv[i], dir, 1, NULL), 1);
	}
	etcd.endpoints = sv[0].endpoints;
	clusters[0] = sv[1].endpoints;
	clusters[1] = sv[2].endpoints;
	ASSERT_EQ(store_open(&opts, &s, &e), 0);
	for (int i = 0; i < 3; i++) {
		char key[32];

		snprintf(key, sizeof(key), "p/r/c%d/n/a", i);
		EXPECT_EQ(insist(s, key, false), 0);
	}
	ASSERT_EQ(store_keys_open("keys", false, &keys, &e), 0);
	ASSERT_EQ(store_keys_rotate(keys, &e), 0);
	store_keys_free(keys);
	/* The first is away; the third was never used, and nobody waits. */
	etcd_kill_member(&sv[1], 0);
	EXPECT_EQ(becomes(s, 1, false), true);
	EXPECT_EQ(store_reencrypt(s, &nr, &e), -EHOSTUNREACH);
	printf("# %llu: %s\n", (unsigned long long)nr, e.msg);
	EXPECT_EQ(strstr(e.msg, "storage cluster 1 (cluster-1)") != NULL, 1);
	EXPECT_EQ(strstr(e.msg, "keep the old keys") != NULL, 1);
	EXPECT_EQ(nr, 2);
	store_close(s);
	etcd_start_member(&sv[1], 0);
	ASSERT_EQ(etcd_wait_member(&sv[1], 0), 1);
	/* As 'reencrypt' does it: at once. */
	ASSERT_EQ(store_open(&opts, &s, &e), 0);
	EXPECT_EQ(store_reencrypt(s, &nr, &e), 0);
	EXPECT_EQ(nr, 1);
	store_close(s);
	ASSERT_EQ(keep_first_key("keys"), 0);
	ASSERT_EQ(store_open(&opts, &s, &e), 0);
	EXPECT_EQ(store_whole(s, "p/r/c1/", &e), 0);
	EXPECT_EQ(store_count(s, "p/"), 3);
	store_close(s);
	for (int i = 0; i < 3; i++)
		etcd_stop(&sv[i]);
}

TEST_MAIN()

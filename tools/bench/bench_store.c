// SPDX-License-Identifier: Apache-2.0
/*
 * The embedded store, and next to it a real etcd on the same disk, in the same
 * run, through our gRPC client on one HTTP/2 connection; and the store on that
 * etcd. 64 requests at a time, leases 512.
 * OBJECTS=N for the restart (1000000).
 */
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "controlplane/store/admin.h"
#include "lib/fs.h"
#include "lib/str.h"
#include "tools/bench/load.h"
#include "tools/bench/peer_etcd.h"

#define CONNECTIONS PEER_CONNS
#define NODES       PEER_NODES
#define POD_BYTES   PEER_BYTES
#define SECONDS     4

/* --- the store --- */

/* A connection: the next request goes out when the answer to the last is in,
 * as the API server's loops do it, on a thread that is not the writer's. */
struct conn {
	struct store_txn txn;
	struct store_op op;
	char key[96];
	struct conn *next;
	struct bench *b;
};

struct bench {
	struct store *s;
	char *data;
	size_t len;
	bool update; /* of KEYS keys; else each key is new */
	uint64_t ttl_ms, nr, keys;
	pthread_mutex_t lock;
	sem_t some;
	struct conn *done;
	int nr_conns;
	struct conn conns[NODES];
};

static void on_done(struct store_txn *txn)
{
	struct conn *c = txn->arg;
	struct bench *b = c->b;

	pthread_mutex_lock(&b->lock);
	c->next = b->done;
	b->done = c;
	pthread_mutex_unlock(&b->lock);
	if (!c->next)
		sem_post(&b->some);
}

static void send_next(struct bench *b, struct conn *c)
{
	uint64_t i = b->nr++;

	if (b->update)
		i %= b->keys;
	snprintf(c->key, sizeof(c->key), "%s/tenant-%02d/default/object-%08llu",
		 b->update ? "coordination.k8s.io/leases" : "core/pods",
		 (int)(i % 16), (unsigned long long)i);
	c->op = (struct store_op){ .key = c->key,
				   .data = b->data,
				   .len = (uint32_t)b->len,
				   .rv_off = 20,
				   .tags = "l:app\0web\0f:spec.nodeName\0n-17",
				   .tags_len = 31,
				   .expect = b->update ? STORE_ANY
						       : STORE_ABSENT };
	c->txn = (struct store_txn){
		.ops = &c->op, .nr_ops = 1, .done = on_done, .arg = c
	};
	store_submit(b->s, &c->txn);
}

static double run_writes(struct bench *b)
{
	uint64_t finished = 0, in_flight = (uint64_t)b->nr_conns;
	double begin = now_s(), end = begin + SECONDS;

	pthread_mutex_init(&b->lock, NULL);
	sem_init(&b->some, 0, 0);
	for (int i = 0; i < b->nr_conns; i++) {
		b->conns[i].b = b;
		send_next(b, &b->conns[i]);
	}
	while (in_flight) {
		struct conn *c, *next;

		while (sem_wait(&b->some))
			;
		pthread_mutex_lock(&b->lock);
		c = b->done;
		b->done = NULL;
		pthread_mutex_unlock(&b->lock);
		for (; c; c = next) {
			next = c->next;
			if (c->txn.result) {
				printf("# %s\n", c->txn.err.msg);
				exit(1);
			}
			object_unref(c->op.ret);
			finished++;
			in_flight--;
			if (now_s() < end) {
				send_next(b, c);
				in_flight++;
			}
		}
	}
	return (double)finished / (now_s() - begin);
}

static double run_gets(struct store *s, uint64_t nr)
{
	double begin = now_s();
	uint64_t done = 0;
	char key[96];

	for (; now_s() < begin + 1; done += 256)
		for (int i = 0; i < 256; i++) {
			uint64_t k = (done + (uint64_t)i) * 7919 % nr;

			snprintf(key, sizeof(key),
				 "core/pods/tenant-%02d/default/object-%08llu",
				 (int)(k % 16), (unsigned long long)k);
			object_unref(store_get(s, key));
		}
	return (double)done / (now_s() - begin);
}

/* What a list costs before the bytes go to writev(): references to all. */
static double run_list(struct store *s)
{
	struct store_range r = { .prefix = "core/pods/" };
	double begin = now_s(), bytes = 0;

	do {
		struct store_list l;

		if (store_list(s, &r, &l, NULL))
			exit(1);
		for (size_t i = 0; i < l.nr; i++)
			bytes += l.v[i]->len;
		store_list_clear(&l);
	} while (now_s() < begin + 1);
	return bytes / (now_s() - begin) / 1e9;
}

struct fan {
	struct store_watch *w;
	sem_t sem;
	uint64_t want, got;
};

static void on_event(void *arg)
{
	struct fan *f = arg;

	sem_post(&f->sem);
}

static void *read_events(void *arg)
{
	struct fan *f = arg;
	struct store_event ev[64];

	while (f->got < f->want) {
		int n = store_watch_read(f->w, ev, 64);

		for (int i = 0; i < n; i++)
			store_event_clear(&ev[i]);
		if (n < 0)
			break;
		f->got += (uint64_t)n;
		if (!n)
			while (sem_wait(&f->sem))
				;
	}
	return NULL;
}

/* Events delivered a second to one watcher of the leases while they change. */
static double run_watch(struct bench *b, double *ret_rate)
{
	struct fan f = { .want = UINT64_MAX };
	pthread_t t;
	double begin = now_s();
	uint64_t before = b->nr;

	sem_init(&f.sem, 0, 0);
	if (store_watch_open(b->s, "coordination.k8s.io/leases/", 0, on_event,
			     &f, &f.w, NULL))
		exit(1);
	pthread_create(&t, NULL, read_events, &f);
	*ret_rate = run_writes(b);
	f.want = b->nr - before;
	sem_post(&f.sem);
	/* A blocked reader looks again; the last events wake it anyway. */
	pthread_join(t, NULL);
	store_watch_close(f.w);
	return (double)f.got / (now_s() - begin);
}

/* A store for writers of pods. */
static int begin(struct bench *b, const struct store_opts *opts)
{
	struct err e = { 0 };
	int r;

	b->nr_conns = CONNECTIONS;
	b->len = POD_BYTES;
	b->data = malloc(POD_BYTES + 1);
	memset(b->data, 'p', POD_BYTES);
	r = store_open(opts, &b->s, &e);
	if (r < 0)
		printf("# %s\n", e.msg);
	return r;
}

static int bench_embedded(const char *dir, double *ret)
{
	auto_free char *db = str_printf("%s/store", dir);
	auto_free char *keys = str_printf("%s/keys", dir);
	struct store_opts opts = { .dir = db,
				   .key_file = keys,
				   .create_key_file = true };
	static struct bench b;
	struct store_stats st;

	if (begin(&b, &opts) < 0)
		return 1;
	ret[0] = run_writes(&b);
	line("store_create_64", ret[0], "1/s");
	store_stats(b.s, &st);
	line("store_changes_per_commit",
	     (double)st.changes / (double)st.commits, "1");
	ret[1] = run_gets(b.s, b.nr);
	line("store_get", ret[1], "1/s");
	ret[2] = run_list(b.s);
	line("store_list", ret[2], "GB/s");
	b.update = true;
	b.nr_conns = NODES;
	b.keys = 5000;
	b.len = 400;
	b.nr = 0;
	ret[3] = run_watch(&b, &ret[4]);
	line("store_lease_updates_512", ret[4], "1/s");
	line("store_watch_events", ret[3], "1/s");
	store_close(b.s);
	free(b.data);
	return 0;
}

/* The same on etcd, which has every object in it, and memory, too. */
static double on_etcd;

static int bench_on_etcd(const char *dir, const char *url)
{
	auto_free char *keys = str_printf("%s/keys", dir);
	struct store_etcd etcd = { .endpoints = url };
	struct store_opts opts = { .etcd = &etcd,
				   .key_file = keys,
				   .create_key_file = true };
	static struct bench b;
	struct store_stats st;

	if (begin(&b, &opts) < 0)
		return 1;
	on_etcd = run_writes(&b);
	line("store_etcd_create_64", on_etcd, "1/s");
	store_stats(b.s, &st);
	line("store_etcd_rounds_per_create",
	     (double)st.commits / (double)st.changes, "1");
	line("store_etcd_file_per_live_byte",
	     (double)st.file_bytes / (double)st.live_bytes, "1");
	line("store_etcd_get", run_gets(b.s, b.nr), "1/s");
	line("store_etcd_list", run_list(b.s), "GB/s");
	store_close(b.s);
	free(b.data);
	return 0;
}

/* --- a large store comes up --- */

static int fill(struct store *s, uint64_t nr, char *data)
{
	static struct store_op ops[STORE_OPS_MAX];
	static char keys[STORE_OPS_MAX][96];

	for (uint64_t at = 0; at < nr;) {
		struct store_txn txn = { .ops = ops };

		for (; at < nr && txn.nr_ops < STORE_OPS_MAX; at++) {
			char *key = keys[txn.nr_ops];

			snprintf(key, 96,
				 "core/pods/tenant-%02d/default/"
				 "object-%08llu",
				 (int)(at % 16), (unsigned long long)at);
			ops[txn.nr_ops++] = (struct store_op){
				.key = key,
				.data = data,
				.len = POD_BYTES,
				.rv_off = 20,
				.tags = "l:app\0web\0f:spec.nodeName\0n-17",
				.tags_len = 31
			};
		}
		if (store_commit(s, &txn, NULL)) {
			printf("# %s\n", txn.err.msg);
			return 1;
		}
		for (size_t i = 0; i < txn.nr_ops; i++)
			object_unref(ops[i].ret);
	}
	return 0;
}

static int bench_restart(const char *dir)
{
	const char *text = getenv("OBJECTS");
	uint64_t nr = text ? strtoull(text, NULL, 10) : 1000000;
	auto_free char *db = str_printf("%s/large", dir);
	auto_free char *keys = str_printf("%s/keys", dir);
	auto_free char *data = malloc(POD_BYTES);
	struct store_opts opts = { .dir = db,
				   .key_file = keys,
				   .create_key_file = true };
	struct store *s = NULL;
	struct store_stats st;
	double begin;
	int r;

	memset(data, 'p', POD_BYTES);
	if (store_open(&opts, &s, NULL) < 0)
		return 1;
	begin = now_s();
	r = fill(s, nr, data);
	line("store_fill_1024_per_txn", (double)nr / (now_s() - begin), "1/s");
	store_close(s);
	begin = now_s();
	if (r || store_open(&opts, &s, NULL) < 0)
		return 1;
	line("store_restart_objects", (double)nr, "1");
	line("store_restart", now_s() - begin, "s");
	store_stats(s, &st);
	line("store_file_per_live_byte",
	     (double)st.file_bytes / (double)st.live_bytes, "1");
	store_close(s);
	return 0;
}

/* Memory of one object, anonymous pages only. */
static size_t anon_bytes(void)
{
	char text[128];
	unsigned long kb = 0;
	FILE *f = fopen("/proc/self/status", "re");

	while (f && fgets(text, sizeof(text), f))
		if (sscanf(text, "RssAnon: %lu", &kb) == 1)
			break;
	if (f)
		fclose(f);
	return kb * 1024;
}

static int bench_memory(const char *dir)
{
	auto_free char *db = str_printf("%s/large", dir);
	auto_free char *keys = str_printf("%s/keys", dir);
	struct store_opts opts = { .dir = db, .key_file = keys };
	struct store *s = NULL;
	struct store_stats st;
	size_t before;

	malloc_trim(0);
	before = anon_bytes();
	if (store_open(&opts, &s, NULL) < 0)
		return 1;
	store_stats(s, &st);
	line("store_bytes_per_pod",
	     (double)(anon_bytes() - before) / (double)st.live_objects, "B");
	store_close(s);
	return 0;
}

int main(void)
{
	char dir[] = "bench-store.XXXXXX";
	struct peer_figures p = { .also = bench_on_etcd };
	double ours[5] = { 0 };
	static const char *const names[] = { "create", "get", "list", "watch",
					     "lease" };
	int r;

	if (!mkdtemp(dir))
		return 1;
	r = bench_embedded(dir, ours);
	if (!r)
		r = peer_etcd(dir, &p);
	for (int i = 0; !r && i < 5; i++) {
		const double theirs[5] = { p.put, p.get, p.range, p.watch,
					   p.lease };
		char name[48];

		snprintf(name, sizeof(name), "ratio_%s_to_etcd", names[i]);
		line(name, theirs[i] > 0 ? ours[i] / theirs[i] : 0, "1");
	}
	if (!r)
		line("ratio_create_on_etcd_to_etcd",
		     p.put > 0 ? on_etcd / p.put : 0, "1");
	if (!r)
		r = bench_restart(dir);
	if (!r)
		r = bench_memory(dir);
	(void)fs_remove_tree(AT_FDCWD, dir, NULL);
	return r;
}

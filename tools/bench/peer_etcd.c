// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "controlplane/store/etcd_proto.h"
#include "lib/grpc/grpc.h"
#include "lib/str.h"
#include "tools/bench/load.h"
#include "tools/bench/peer_etcd.h"

#define SECONDS 4

static int free_port(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET,
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(a);
	auto_close int fd = socket(AF_INET, SOCK_STREAM, 0);

	if (bind(fd, (struct sockaddr *)&a, len) ||
	    getsockname(fd, (struct sockaddr *)&a, &len))
		return 0;
	return ntohs(a.sin_port);
}

/* One member on @url, with its data and its log below @dir. */
static pid_t start_etcd(const char *dir, const char *url)
{
	auto_free char *data = str_printf("%s/etcd", dir);
	auto_free char *log = str_printf("%s/etcd.log", dir);
	char *argv[] = { (char *)"etcd",
			 (char *)"--data-dir",
			 data,
			 (char *)"--listen-client-urls",
			 (char *)url,
			 (char *)"--advertise-client-urls",
			 (char *)url,
			 (char *)"--listen-peer-urls",
			 (char *)"http://127.0.0.1:0",
			 NULL };
	posix_spawn_file_actions_t fa;
	pid_t pid = -1;

	posix_spawn_file_actions_init(&fa);
	posix_spawn_file_actions_addopen(&fa, 1, log,
					 O_WRONLY | O_CREAT | O_APPEND, 0600);
	posix_spawn_file_actions_adddup2(&fa, 1, 2);
	if (posix_spawn(&pid, "/usr/bin/etcd", &fa, NULL, argv, environ))
		pid = -1;
	posix_spawn_file_actions_destroy(&fa);
	return pid;
}

static void stop_etcd(pid_t pid)
{
	if (pid <= 0)
		return;
	kill(pid, SIGKILL);
	(void)waitpid(pid, NULL, 0);
}

struct peer {
	struct grpc *g;
	char value[PEER_BYTES];
	atomic_ullong nr;
	uint64_t keys; /* 0: each is new */
	size_t len;
	bool read;
	double end;
};

static int ignore_pair(void *arg, const struct etcd_kv *kv)
{
	if (arg)
		*(double *)arg += (double)kv->value_len;
	return 0;
}

static bool peer_call(struct peer *p, const char *method, struct buf *q,
		      struct buf *reply)
{
	struct grpc_call call = { .method = method,
				  .data = q->data,
				  .len = q->len,
				  .timeout_ms = 30000 };
	struct err e = { 0 };
	int r = grpc_call(p->g, &call, &e);

	buf_clear(reply);
	*reply = call.reply;
	if (r < 0)
		printf("# etcd: %s\n", e.msg);
	return r == 0;
}

static void *peer_work(void *arg)
{
	struct buf q = BUF_INIT, reply = BUF_INIT;
	struct peer *p = arg;
	char key[96];

	while (now_s() < p->end) {
		uint64_t i = atomic_fetch_add(&p->nr, 1);

		if (p->keys)
			i %= p->keys;
		snprintf(key, sizeof(key),
			 "/registry/%s/tenant-%02d/default/object-%08llu",
			 p->keys && !p->read ? "leases" : "pods", (int)(i % 16),
			 (unsigned long long)i);
		buf_reset(&q);
		if (p->read) {
			etcd_range_request(&q,
					   &(struct etcd_range){ .key = key });
			(void)peer_call(p, "/etcdserverpb.KV/Range", &q,
					&reply);
			continue;
		}
		etcd_do_put(&q, ETCD_THEN, key, p->value, p->len, 0);
		(void)peer_call(p, "/etcdserverpb.KV/Txn", &q, &reply);
	}
	buf_clear(&q);
	buf_clear(&reply);
	return NULL;
}

static double peer_run(struct peer *p, int nr, double seconds)
{
	pthread_t t[PEER_NODES];
	double begin = now_s();
	uint64_t before = atomic_load(&p->nr);

	p->end = begin + seconds;
	for (int i = 0; i < nr; i++)
		pthread_create(&t[i], NULL, peer_work, p);
	for (int i = 0; i < nr; i++)
		pthread_join(t[i], NULL);
	return (double)(atomic_load(&p->nr) - before) / (now_s() - begin);
}

static double peer_list(struct peer *p)
{
	struct buf q = BUF_INIT, reply = BUF_INIT;
	double begin = now_s(), bytes = 0;
	struct etcd_answer a;

	do {
		buf_reset(&q);
		etcd_range_request(&q, &(struct etcd_range){
					       .key = "/registry/pods/",
					       .end = "/registry/pods0",
					       .limit = 10000 });
		if (!peer_call(p, "/etcdserverpb.KV/Range", &q, &reply))
			break;
		(void)etcd_read_range(&reply, &a, ignore_pair, &bytes);
	} while (now_s() < begin + 1);
	buf_clear(&q);
	buf_clear(&reply);
	return bytes / (now_s() - begin) / 1e9;
}

static atomic_ullong peer_events;

static int count_event(void *arg, bool deleted, const struct etcd_kv *kv)
{
	(void)arg, (void)deleted, (void)kv;
	atomic_fetch_add(&peer_events, 1);
	return 0;
}

static void peer_message(void *arg, const void *data, size_t len)
{
	struct etcd_answer a;

	(void)arg;
	(void)etcd_read_watch(data, len, &a, count_event, NULL);
}

static void peer_end(void *arg, int code, const struct err *e)
{
	(void)arg, (void)code, (void)e;
}

int peer_etcd(const char *dir, struct peer_figures *ret)
{
	static const struct grpc_stream_ops ops = { peer_message, peer_end };
	char url[64];
	struct grpc_stream *st = NULL;
	struct grpc_opts opts = { .endpoints = url, .max_message = 64 << 20 };
	static struct peer p;
	struct buf q = BUF_INIT, reply = BUF_INIT;
	struct err e = { 0 };
	bool up = false;
	double begin;
	pid_t pid;

	snprintf(url, sizeof(url), "http://127.0.0.1:%d", free_port());
	pid = start_etcd(dir, url);
	if (pid < 0 || grpc_open(&opts, &p.g, &e) < 0) {
		printf("# etcd does not start: %s\n", e.msg);
		stop_etcd(pid);
		return 1;
	}
	etcd_range_request(&q, &(struct etcd_range){ .key = "a" });
	for (int i = 0; i < 50 && !up; i++)
		up = peer_call(&p, "/etcdserverpb.KV/Range", &q, &reply);
	buf_clear(&q);
	buf_clear(&reply);
	if (up && ret->also)
		up = ret->also(dir, url) == 0;
	memset(p.value, 'p', sizeof(p.value));
	p.len = PEER_BYTES;
	ret->put = peer_run(&p, PEER_CONNS, SECONDS);
	line("etcd_put_64", ret->put, "1/s");
	p.keys = atomic_load(&p.nr);
	p.read = true;
	ret->get = peer_run(&p, PEER_CONNS, 1);
	line("etcd_get_64", ret->get, "1/s");
	ret->range = peer_list(&p);
	line("etcd_range", ret->range, "GB/s");
	p.read = false;
	p.keys = 5000;
	p.len = 400;
	if (grpc_stream_open(p.g, "/etcdserverpb.Watch/Watch", &ops, NULL, &st,
			     &e) == 0) {
		etcd_watch_request(&q,
				   &(struct etcd_range){
					   .key = "/registry/leases/",
					   .end = "/registry/leases0" },
				   false);
		(void)grpc_stream_send(st, q.data, q.len);
	}
	begin = now_s();
	ret->lease = peer_run(&p, PEER_NODES, SECONDS);
	ret->watch = (double)atomic_load(&peer_events) / (now_s() - begin);
	line("etcd_lease_updates_512", ret->lease, "1/s");
	line("etcd_watch_events", ret->watch, "1/s");
	grpc_stream_close(st);
	buf_clear(&q);
	grpc_close(p.g);
	stop_etcd(pid);
	return up ? 0 : 1;
}

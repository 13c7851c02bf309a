// SPDX-License-Identifier: Apache-2.0
/*
 * The API server over TLS on the loopback, and a real etcd on the same disk in
 * the same run. The server is arktos-control in a process of its own, so that
 * its memory and its CPU time are its own; the clients are this process.
 *
 *	bench_api [start|idle|write|read|running|watch|tenants|etcd ...]
 *								all of them
 *
 *	BENCH_PODS (150000), BENCH_GETS (300000), BENCH_WATCHERS (10000),
 *	BENCH_IDLE (10000), BENCH_TENANTS (10000), BENCH_EVENTS (100),
 *	BENCH_RUNNING (20000)
 *
 * The machine's cores are shared by both sides: X_cpu is what one request
 * costs the server, whatever else runs.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/auto.h"
#include "lib/base64.h"
#include "lib/buf.h"
#include "lib/fs.h"
#include "lib/http/tls.h"
#include "lib/str.h"
#include "tools/bench/load.h"
#include "tools/bench/peer_etcd.h"

#define PODS     "/api/v1/namespaces/default/pods"
#define LEASES   "/apis/coordination.k8s.io/v1/namespaces/default/leases"
#define MAPS     "/api/v1/namespaces/kube-public/configmaps"
#define CONNS    64
#define EVENTS   200 /* at most */
#define MY_NODES 5000

struct bench {
	char dir[64];
	char *binary;
	const char *history; /* least kept; NULL: the server's default */
	pid_t server;
	uint16_t port;
	SSL_CTX *h1, *h2;
	double creates, gets, lists, leases; /* for the ratios */
};

static long setting(const char *name, long dfl)
{
	const char *v = getenv(name);

	return v ? strtol(v, NULL, 10) : dfl;
}

/* --- the server's own figures --- */

static double status_mib(struct bench *b, const char *field)
{
	char path[64], text[128];
	unsigned long kib = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)b->server);
	f = fopen(path, "re");
	while (f && fgets(text, sizeof(text), f))
		if (strncmp(text, field, strlen(field)) == 0)
			kib = strtoul(text + strlen(field), NULL, 10);
	if (f)
		fclose(f);
	return (double)kib / 1024;
}

static double rss_mib(struct bench *b)
{
	return status_mib(b, "VmRSS:");
}

/* Without what the kernel drops when it likes: pages of files. */
static double own_mib(struct bench *b)
{
	return status_mib(b, "RssAnon:") + status_mib(b, "RssShmem:");
}

/* From now on VmHWM is the peak since now. */
static void reset_peak(struct bench *b)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/clear_refs", (int)b->server);
	(void)fs_write_control(AT_FDCWD, path, "5", NULL);
}

static double cpu_s(struct bench *b)
{
	struct timespec ts;
	clockid_t id;

	if (clock_getcpuclockid(b->server, &id) || clock_gettime(id, &ts))
		die("the server's CPU time");
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* --- starting it --- */

/* A field of the kubeconfig, decoded. */
static void field(const char *kubeconfig, const char *name, struct buf *pem)
{
	const char *p = strstr(kubeconfig, name);

	p = p ? p + strlen(name) + strspn(p + strlen(name), ": \"") : "";
	if (base64_get(p,
		       strspn(p, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmno"
				 "pqrstuvwxyz0123456789+/="),
		       pem))
		die(name);
}

static SSL_CTX *context(const char *kubeconfig, bool h2)
{
	auto_buf struct buf ca = BUF_INIT, cert = BUF_INIT, key = BUF_INIT;
	struct tls_client_opts o = { .h2 = h2 };
	SSL_CTX *ctx;

	field(kubeconfig, "certificate-authority-data", &ca);
	field(kubeconfig, "client-certificate-data", &cert);
	field(kubeconfig, "client-key-data", &key);
	o.server_ca_pem = buf_str(&ca);
	o.cert_pem = buf_str(&cert);
	o.key_pem = buf_str(&key);
	if (tls_client_new(&o, &ctx, NULL) < 0)
		die("tls");
	SSL_CTX_set_read_ahead(ctx, 1);
	SSL_CTX_set_default_read_buffer_len(ctx, 1 << 17);
	/* A write is whole, or waits for room. */
	SSL_CTX_clear_mode(ctx, SSL_MODE_RELEASE_BUFFERS |
					SSL_MODE_ENABLE_PARTIAL_WRITE);
	return ctx;
}

static void spawn_server(struct bench *b, const char *data, const char *roles)
{
	char *argv[] = { b->binary,
			 (char *)"run",
			 (char *)"--data-dir",
			 (char *)data,
			 (char *)"--listen",
			 (char *)"127.0.0.1:0",
			 (char *)"--roles",
			 (char *)roles,
			 NULL,
			 (char *)b->history,
			 NULL };
	posix_spawn_file_actions_t fa;

	if (b->history)
		argv[8] = (char *)"--etcd-compaction-interval";
	posix_spawn_file_actions_init(&fa);
	posix_spawn_file_actions_addopen(&fa, 1, "server.log",
					 O_WRONLY | O_CREAT | O_APPEND, 0600);
	posix_spawn_file_actions_adddup2(&fa, 1, 2);
	if (posix_spawn(&b->server, b->binary, &fa, NULL, argv, environ))
		die(b->binary);
	posix_spawn_file_actions_destroy(&fa);
}

/* Until a request is answered; how long that took. */
static double start(struct bench *b, const char *data, const char *roles)
{
	static const char ask[] = "GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n";
	auto_free char *path = str_printf("%s/admin.kubeconfig", data);
	auto_buf struct buf text = BUF_INIT;
	double begun = now_s();
	const char *url;
	char answer[4096] = "";
	SSL *ssl;
	int n;

	spawn_server(b, data, roles);
	/* Written as a whole, once the port is known; it listens already. */
	while (fs_read(AT_FDCWD, path, 1 << 20, &text, NULL) < 0) {
		usleep(500);
		if (now_s() > begun + 30)
			die("the server does not start");
	}
	url = strstr(buf_str(&text), "https://127.0.0.1:");
	if (!url)
		die("no address in the kubeconfig");
	b->port =
		(uint16_t)strtoul(url + strlen("https://127.0.0.1:"), NULL, 10);
	b->h1 = context(buf_str(&text), false);
	b->h2 = context(buf_str(&text), true);
	ssl = load_dial(b->h1, b->port);
	n = SSL_write(ssl, ask, sizeof(ask) - 1);
	if (n > 0)
		n = SSL_read(ssl, answer, sizeof(answer) - 1);
	if (n <= 0 || !strstr(answer, " 200 "))
		die("not ready");
	begun = now_s() - begun;
	close(SSL_get_fd(ssl));
	SSL_free(ssl);
	return begun * 1e3;
}

static void stop(struct bench *b)
{
	if (b->server <= 0)
		return;
	SSL_CTX_free(b->h1);
	SSL_CTX_free(b->h2);
	kill(b->server, SIGTERM);
	(void)waitpid(b->server, NULL, 0);
	b->server = 0;
}

/* --- requests --- */

/* Some 1.2 KB, as a Deployment's. */
static void ask_create(long i, struct load_ask *a)
{
	a->method = "POST";
	snprintf(a->path, sizeof(a->path), "%s", PODS);
	snprintf(
		a->body, sizeof(a->body),
		"{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{"
		"\"name\":\"web-7d9c5b8f6d-%06ld\",\"labels\":{\"app\":\"web\","
		"\"pod-template-hash\":\"7d9c5b8f6d\",\"tier\":\"frontend\"},"
		"\"annotations\":{\"prometheus.io/scrape\":\"true\","
		"\"prometheus.io/port\":\"9090\"}},\"spec\":{\"containers\":[{"
		"\"name\":\"web\",\"image\":\"registry.example/team/web:1.2.3\""
		",\"ports\":[{\"name\":\"http\",\"containerPort\":8080,"
		"\"protocol\":\"TCP\"}],\"env\":[{\"name\":\"LOG_LEVEL\","
		"\"value\":\"info\"},{\"name\":\"POD_NAME\",\"valueFrom\":{"
		"\"fieldRef\":{\"apiVersion\":\"v1\",\"fieldPath\":"
		"\"metadata.name\"}}}],\"resources\":{\"requests\":{\"cpu\":"
		"\"100m\",\"memory\":\"128Mi\"},\"limits\":{\"cpu\":\"500m\","
		"\"memory\":\"256Mi\"}},\"readinessProbe\":{\"httpGet\":{"
		"\"path\":\"/ready\",\"port\":8080,\"scheme\":\"HTTP\"},"
		"\"periodSeconds\":10,\"timeoutSeconds\":1,"
		"\"successThreshold\":1,\"failureThreshold\":3},"
		"\"volumeMounts\":[{\"name\":\"config\",\"mountPath\":"
		"\"/etc/web\",\"readOnly\":true}],\"imagePullPolicy\":"
		"\"IfNotPresent\"}],\"volumes\":[{\"name\":\"config\","
		"\"configMap\":{\"name\":\"web-config\"}}],"
		"\"restartPolicy\":\"Always\","
		"\"terminationGracePeriodSeconds\":30}}",
		i);
}

static long nr_pods;

static void ask_get(long i, struct load_ask *a)
{
	a->method = "GET";
	snprintf(a->path, sizeof(a->path), PODS "/web-7d9c5b8f6d-%06ld",
		 i * 7919 % nr_pods);
}

static void ask_list(long i, struct load_ask *a)
{
	(void)i;
	a->method = "GET";
	snprintf(a->path, sizeof(a->path), "%s", PODS);
}

/* What the scheduler and a node's agent make of it. */
static void ask_bind(long i, struct load_ask *a)
{
	a->method = "POST";
	snprintf(a->path, sizeof(a->path),
		 PODS "/web-7d9c5b8f6d-%06ld/binding?fieldManager=scheduler",
		 i);
	snprintf(a->body, sizeof(a->body),
		 "{\"apiVersion\":\"v1\",\"kind\":\"Binding\",\"metadata\":{"
		 "\"name\":\"web-7d9c5b8f6d-%06ld\"},\"target\":{\"kind\":"
		 "\"Node\",\"name\":\"node-%04ld\"}}",
		 i, i % MY_NODES);
}

static void ask_status(long i, struct load_ask *a)
{
	static const char *const conditions[] = { "PodReadyToStartContainers",
						  "Initialized", "Ready",
						  "ContainersReady",
						  "PodScheduled" };
	size_t room = sizeof(a->body), n;

	a->method = "PATCH";
	a->type = "application/strategic-merge-patch+json";
	snprintf(a->path, sizeof(a->path),
		 PODS "/web-7d9c5b8f6d-%06ld/status?fieldManager=agent", i);
	n = (size_t)snprintf(a->body, room,
			     "{\"status\":{\"phase\":\"Running\",\"hostIP\":"
			     "\"10.0.%ld.%ld\",\"podIP\":\"10.8.%ld.%ld\","
			     "\"podIPs\":[{\"ip\":\"10.8.%ld.%ld\"}],"
			     "\"startTime\":\"2026-01-01T00:00:00Z\","
			     "\"conditions\":[",
			     i % MY_NODES / 250, i % 250, i / 250, i % 250,
			     i / 250, i % 250);
	for (size_t k = 0; k < 5; k++)
		n += (size_t)snprintf(a->body + n, room - n,
				      "%s{\"type\":\"%s\",\"status\":\"True\","
				      "\"lastProbeTime\":null,"
				      "\"lastTransitionTime\":"
				      "\"2026-01-01T00:00:%02ldZ\"}",
				      k ? "," : "", conditions[k], i % 60);
	snprintf(a->body + n, room - n,
		 "],\"containerStatuses\":[{\"name\":\"web\",\"state\":{"
		 "\"running\":{\"startedAt\":\"2026-01-01T00:00:%02ldZ\"}},"
		 "\"lastState\":{},\"ready\":true,\"restartCount\":0,\"image\":"
		 "\"registry.example/team/web:1.2.3\",\"imageID\":"
		 "\"registry.example/team/web@sha256:8d0c3a5b1e7f49620d8c3a5b1e"
		 "7f49620d8c3a5b1e7f49620d8c3a5b1e7f4962\",\"containerID\":"
		 "\"arktos://%016lx%016lx\",\"started\":true}]}}",
		 i % 60, i * 7919, i * 104729);
}

static void lease_body(long i, struct load_ask *a)
{
	snprintf(a->body, sizeof(a->body),
		 "{\"apiVersion\":\"coordination.k8s.io/v1\",\"kind\":"
		 "\"Lease\",\"metadata\":{\"name\":\"node-%04ld\","
		 "\"namespace\":\"default\"},\"spec\":{\"holderIdentity\":"
		 "\"node-%04ld\",\"leaseDurationSeconds\":40,\"renewTime\":"
		 "\"2026-01-01T00:00:00.%06ldZ\"}}",
		 i % MY_NODES, i % MY_NODES, i % 1000000);
}

static void ask_lease(long i, struct load_ask *a)
{
	a->method = "POST";
	snprintf(a->path, sizeof(a->path), "%s", LEASES);
	lease_body(i, a);
}

static void ask_renew(long i, struct load_ask *a)
{
	a->method = "PUT";
	snprintf(a->path, sizeof(a->path), LEASES "/node-%04ld", i % MY_NODES);
	lease_body(i, a);
}

static void ask_event(long i, struct load_ask *a)
{
	a->method = "POST";
	snprintf(a->path, sizeof(a->path), "%s", MAPS);
	snprintf(a->body, sizeof(a->body),
		 "{\"metadata\":{\"name\":\"event-%ld\"},\"data\":{\"a\":"
		 "\"b\"}}",
		 i);
}

static void ask_tenant(long i, struct load_ask *a)
{
	a->method = "POST";
	snprintf(a->path, sizeof(a->path), "%s", "/api/v1/tenants");
	snprintf(a->body, sizeof(a->body),
		 "{\"metadata\":{\"name\":\"tenant-%05ld\"}}", i);
}

/* --- the figures --- */

static double run(struct bench *b, const char *name, struct load *l,
		  struct load_result *ret)
{
	auto_free char *cpu = str_printf("%s_cpu", name);
	auto_free char *p99 = str_printf("%s_p99", name);
	double before = cpu_s(b);

	l->ctx = l->streams ? b->h2 : b->h1;
	l->port = b->port;
	load_run(l, ret);
	line(name, ret->rate, "1/s");
	line(p99, ret->p99_ms, "ms");
	line(cpu, (cpu_s(b) - before) * 1e6 / (double)l->nr, "us");
	return ret->rate;
}

/* What it does once, at its start, is not being idle. */
static void settle(struct bench *b)
{
	double until = now_s() + 20, last = -1, cpu;

	for (; (cpu = cpu_s(b)) > last + 0.0005 && now_s() < until; last = cpu)
		usleep(500 * 1000);
}

static void bench_start(struct bench *b)
{
	double before;

	line("ready", start(b, "fresh", "api,scheduler,controllers"), "ms");
	settle(b);
	line("idle_memory", rss_mib(b), "MiB");
	before = cpu_s(b);
	usleep(5 * 1000 * 1000);
	line("idle_cpu", (cpu_s(b) - before) * 100 / 5, "%");
	stop(b);
}

static void bench_write(struct bench *b)
{
	struct load create = { .conns = CONNS,
			       .nr = nr_pods,
			       .want = 201,
			       .request = ask_create };
	struct load lease = { .conns = CONNS,
			      .nr = MY_NODES,
			      .want = 201,
			      .request = ask_lease };
	struct load renew = { .conns = CONNS,
			      .nr = setting("BENCH_RENEWS", 100000),
			      .want = 200,
			      .request = ask_renew };
	double before = own_mib(b), rss = rss_mib(b);
	struct load_result r;

	b->creates = run(b, "create_64", &create, &r);
	line("memory_per_pod", (own_mib(b) - before) * 1024 / (double)nr_pods,
	     "KiB");
	line("memory_per_pod_with_file_pages",
	     (rss_mib(b) - rss) * 1024 / (double)nr_pods, "KiB");
	(void)run(b, "lease_create_64", &lease, &r);
	b->leases = run(b, "lease_renew_64", &renew, &r);
	renew.conns = 4;
	renew.streams = 64;
	(void)run(b, "lease_renew_h2", &renew, &r);
}

/* How large one is that a client is shown. */
static double bytes_of_one(struct bench *b)
{
	struct load get = {
		.conns = 1, .nr = 1, .want = 200, .request = ask_get
	};
	struct load_result r;

	get.ctx = b->h1;
	get.port = b->port;
	load_run(&get, &r);
	return (double)r.bytes;
}

/* Pods that run: with what each of those who had to do with them has written.
 * What they were before is not kept for long here. */
static void bench_running(struct bench *b)
{
	struct load work = { .conns = CONNS,
			     .nr = setting("BENCH_RUNNING", 20000) };
	double before = own_mib(b), least, now, until;
	struct load_result r;

	work.ctx = b->h1;
	work.port = b->port;
	nr_pods = work.nr;
	work.want = 201;
	work.request = ask_create;
	load_run(&work, &r);
	work.want = 200;
	work.request = ask_bind;
	load_run(&work, &r);
	work.request = ask_status;
	(void)run(b, "status_patch_64", &work, &r);
	line("running_pod", bytes_of_one(b) / 1024, "KiB");
	line("memory_per_running_pod_and_history",
	     (own_mib(b) - before) * 1024 / (double)work.nr, "KiB");
	least = own_mib(b);
	until = now_s() + 20;
	for (double end = now_s() + 90; now_s() < until && now_s() < end;) {
		usleep(500 * 1000);
		now = own_mib(b);
		if (now < least - 0.1) {
			least = now;
			until = now_s() + 20;
		}
	}
	line("memory_per_running_pod",
	     (least - before) * 1024 / (double)work.nr, "KiB");
}

static void bench_lists(struct bench *b, const char *name, int at_once)
{
	auto_free char *rate = str_printf("%s_rate", name);
	auto_free char *extra = str_printf("%s_extra_memory", name);
	struct load list = { .conns = at_once,
			     .nr = at_once,
			     .want = 200,
			     .request = ask_list };
	double before = rss_mib(b), cpu = cpu_s(b);
	struct load_result r;

	reset_peak(b);
	list.ctx = b->h1;
	list.port = b->port;
	load_run(&list, &r);
	cpu = cpu_s(b) - cpu;
	line(name, r.seconds, "s");
	line(rate, (double)r.bytes / r.seconds / 1e9, "GB/s");
	b->lists = (double)r.bytes / r.seconds / 1e9;
	line("list_per_cpu", (double)r.bytes / cpu / 1e9, "GB/s");
	line(extra, status_mib(b, "VmHWM:") - before, "MiB");
}

static void bench_read(struct bench *b)
{
	struct load get = { .conns = CONNS,
			    .nr = setting("BENCH_GETS", 300000),
			    .want = 200,
			    .request = ask_get };
	struct load_result r;

	(void)run(b, "get_64", &get, &r);
	get.conns = 4;
	get.streams = 64;
	b->gets = run(b, "get_h2", &get, &r);
	line("list_objects", (double)nr_pods, "1");
	bench_lists(b, "list_20", 20);
	bench_lists(b, "list", 1);
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void bench_watch(struct bench *b)
{
	int nr = (int)setting("BENCH_WATCHERS", 10000), events = 100;
	double before, begun, cpu, last[EVENTS], came[EVENTS];
	struct watchers_times t;
	SSL *ssl = load_dial(b->h1, b->port);
	struct watchers *w;

	before = rss_mib(b);
	w = watchers_open(b->h1, b->port, MAPS "?watch=1", "kube-root-ca", nr);
	line("watchers", nr, "1");
	line("watcher_memory", (rss_mib(b) - before) * 1024 / nr, "KiB");
	if (setting("BENCH_EVENTS", 0) > 0 &&
	    setting("BENCH_EVENTS", 0) <= EVENTS)
		events = (int)setting("BENCH_EVENTS", 0);
	cpu = cpu_s(b);
	for (int i = 0; i < events; i++) {
		struct load_ask a;
		char mark[64], text[1024];
		int n;

		ask_event(i, &a);
		snprintf(mark, sizeof(mark), "\"event-%d\"", i);
		n = snprintf(text, sizeof(text),
			     "POST %s HTTP/1.1\r\nHost: a\r\n"
			     "Content-Length: %zu\r\n\r\n%s",
			     a.path, strlen(a.body), a.body);
		begun = now_s();
		if (SSL_write(ssl, text, n) != n)
			die("event");
		watchers_wait(w, &t);
		last[i] = (t.read_s - begun) * 1e3;
		came[i] = (t.came_s - begun) * 1e3;
		watchers_until(w, mark);
		if (SSL_read(ssl, text, sizeof(text)) <= 0)
			die("event");
	}
	cpu = cpu_s(b) - cpu;
	qsort(last, (size_t)events, sizeof(*last), by_value);
	qsort(came, (size_t)events, sizeof(*came), by_value);
	line("watch_last_p50", last[events / 2], "ms");
	line("watch_last_p99", last[events * 99 / 100], "ms");
	line("watch_last_came_p50", came[events / 2], "ms");
	line("watch_last_came_p99", came[events * 99 / 100], "ms");
	line("watch_event_cpu", cpu * 1e6 / events / nr, "us");
	watchers_close(w);
	SSL_free(ssl);
}

/* Nobody asks anything: what a connection holds. */
static void bench_idle(struct bench *b)
{
	int nr = (int)setting("BENCH_IDLE", 10000);
	double before = rss_mib(b), cpu;
	struct idlers *l = idlers_open(b->h1, b->port, "/version", nr);

	line("idle_connections", nr, "1");
	line("idle_connection_memory", (rss_mib(b) - before) * 1024 / nr,
	     "KiB");
	cpu = cpu_s(b);
	usleep(3 * 1000 * 1000);
	line("idle_connections_cpu", (cpu_s(b) - cpu) * 100 / 3, "%");
	idlers_close(l);
}

static void bench_tenants(struct bench *b)
{
	struct load create = { .conns = 16,
			       .nr = setting("BENCH_TENANTS", 10000),
			       .want = 201,
			       .request = ask_tenant };
	double before = rss_mib(b);
	struct load_result r;

	(void)run(b, "tenant_create", &create, &r);
	line("memory_per_tenant",
	     (rss_mib(b) - before) * 1024 / (double)create.nr, "KiB");
}

static void ratio(const char *name, double ours, double theirs)
{
	if (ours > 0 && theirs > 0)
		line(name, ours / theirs, "1");
}

static bool wanted(int argc, char **argv, const char *part)
{
	for (int i = 1; i < argc; i++)
		if (strcmp(argv[i], part) == 0)
			return true;
	return argc < 2;
}

/* arktos-control beside the bench: build/tools/bench/bench_api. */
static char *find_binary(void)
{
	char path[4096];
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);

	for (int i = 0; n > 0 && i < 3; i++) {
		path[n] = '\0';
		n = strrchr(path, '/') - path;
	}
	if (n <= 0)
		die("/proc/self/exe");
	return str_printf("%.*s/bin/arktos-control", (int)n, path);
}

int main(int argc, char **argv)
{
	struct rlimit files = { 65536, 65536 };
	struct peer_figures peer = { 0 };
	struct bench b = { .dir = "bench-api.XXXXXX" };
	int r = 0;

	nr_pods = setting("BENCH_PODS", 150000);
	signal(SIGPIPE, SIG_IGN);
	b.binary = find_binary();
	(void)setrlimit(RLIMIT_NOFILE, &files); /* or as many as there are */
	if (!mkdtemp(b.dir) || chdir(b.dir) < 0)
		die("mkdtemp");
	if (wanted(argc, argv, "start"))
		bench_start(&b);
	/* Each in a server of its own: what one has freed, the next would use.
	 */
	if (wanted(argc, argv, "watch")) {
		(void)start(&b, "watch", "api");
		bench_watch(&b);
		stop(&b);
	}
	if (wanted(argc, argv, "write") || wanted(argc, argv, "read")) {
		(void)start(&b, "data", "api");
		bench_write(&b);
		if (wanted(argc, argv, "read"))
			bench_read(&b);
		stop(&b);
	}
	if (wanted(argc, argv, "running")) {
		b.history = "10s";
		(void)start(&b, "running", "api");
		bench_running(&b);
		stop(&b);
		b.history = NULL;
	}
	if (wanted(argc, argv, "idle")) {
		(void)start(&b, "idle", "api");
		bench_idle(&b);
		stop(&b);
	}
	if (wanted(argc, argv, "tenants")) {
		(void)start(&b, "tenants", "api");
		bench_tenants(&b);
		stop(&b);
	}
	if (wanted(argc, argv, "etcd"))
		r = peer_etcd(".", &peer);
	ratio("ratio_create_to_etcd_put", b.creates, peer.put);
	ratio("ratio_get_to_etcd", b.gets, peer.get);
	ratio("ratio_list_to_etcd_range", b.lists, peer.range);
	ratio("ratio_lease_to_etcd", b.leases, peer.lease);
	(void)!chdir("..");
	(void)fs_remove_tree(AT_FDCWD, b.dir, NULL); /* a scratch folder */
	free(b.binary);
	return r;
}

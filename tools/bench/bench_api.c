// SPDX-License-Identifier: Apache-2.0
/*
 * The API server's read path and watches, over TLS on the loopback: the server
 * is this process, the clients are another one (bench_api client ...).
 *
 *	BENCH_PODS (20000), BENCH_WATCHERS (2000), BENCH_GETS (20000)
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "controlplane/apiserver/apiserver.h"
#include "controlplane/client/rest.h"
#include "lib/base64.h"
#include "lib/buf.h"
#include "lib/err.h"
#include "lib/fs.h"
#include "lib/http/tls.h"

static double now_s(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static long setting(const char *name, long dfl)
{
	const char *v = getenv(name);

	return v ? strtol(v, NULL, 10) : dfl;
}

static void die(const char *what)
{
	fprintf(stderr, "bench_api: %s: %s\n", what, strerror(errno));
	exit(1);
}

static long rss_kib(void)
{
	long pages = 0, resident = 0;
	FILE *f = fopen("/proc/self/statm", "re");

	if (!f || fscanf(f, "%ld %ld", &pages, &resident) != 2)
		die("statm");
	fclose(f);
	return resident * (sysconf(_SC_PAGESIZE) / 1024);
}

/* --- clients -------------------------------------------------------------- */

static SSL *dial(SSL_CTX *ctx, uint16_t port)
{
	struct sockaddr_in to = { .sin_family = AF_INET,
				  .sin_port = htons(port),
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	SSL *ssl = SSL_new(ctx);

	if (!ssl || connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0 ||
	    SSL_set_fd(ssl, fd) != 1 || SSL_connect(ssl) != 1)
		die("connect");
	return ssl;
}

static void ask(SSL *ssl, const char *path)
{
	char text[512];
	int n = snprintf(text, sizeof(text),
			 "GET %s HTTP/1.1\r\nHost: a\r\n\r\n", path);

	if (SSL_write(ssl, text, n) != n)
		die("write");
}

/* Until @end has come; how many bytes that were. */
static size_t until(SSL *ssl, const char *end)
{
	static char data[1 << 16];
	size_t sum = 0, len = strlen(end), kept = 0;

	for (;;) {
		int n = SSL_read(ssl, data + kept, 16384);

		if (n <= 0)
			die("read");
		sum += (size_t)n;
		kept += (size_t)n;
		if (memmem(data, kept, end, len))
			return sum;
		/* Only a tail shorter than the mark is of use. */
		if (kept >= len) {
			memmove(data, data + kept - (len - 1), len - 1);
			kept = len - 1;
		}
	}
}

static void client_gets(SSL_CTX *ctx, uint16_t port, long nr)
{
	enum { CONNS = 16 };
	SSL *c[CONNS];
	double begun;

	for (int i = 0; i < CONNS; i++)
		c[i] = dial(ctx, port);
	begun = now_s();
	for (long i = 0; i < nr; i += CONNS) {
		for (int k = 0; k < CONNS; k++)
			ask(c[k], "/api/v1/namespaces/default/pods/p7");
		for (int k = 0; k < CONNS; k++)
			(void)until(c[k], "\"phase\":\"Pending\"");
	}
	printf("get %.0f 1/s\n", (double)nr / (now_s() - begun));
}

static void client_list(SSL_CTX *ctx, uint16_t port)
{
	SSL *ssl = dial(ctx, port);
	double begun = now_s(), took;
	size_t n;

	ask(ssl, "/api/v1/namespaces/default/pods");
	n = until(ssl, "]}\n\r\n0\r\n\r\n");
	took = now_s() - begun;
	printf("list %.3f s\nlist_rate %.3f GB/s\n", took,
	       (double)n / took / 1e9);
}

/* Open them, wait for a word, have an event made, and take the times. */
static void client_watch(SSL_CTX *ctx, uint16_t port, long nr)
{
	SSL **c = calloc((size_t)nr, sizeof(*c));
	double begun, last = 0;
	char word;

	for (long i = 0; i < nr; i++) {
		c[i] = dial(ctx, port);
		ask(c[i], "/api/v1/namespaces/kube-public/configmaps?watch=1");
		(void)until(c[i], "\"ADDED\"");
	}
	printf("ready\n");
	fflush(stdout);
	if (read(STDIN_FILENO, &word, 1) != 1)
		die("word");
	begun = now_s();
	for (long i = 0; i < nr; i++) {
		(void)until(c[i], "\"name\":\"event\"");
		last = now_s() - begun;
	}
	printf("watch_last %.1f ms\n", last * 1e3);
	fflush(stdout);
	_exit(0);
}

static int client(char **argv)
{
	auto_buf struct buf ca = BUF_INIT, cert = BUF_INIT, key = BUF_INIT;
	struct tls_client_opts o = { 0 };
	uint16_t port = (uint16_t)strtoul(argv[3], NULL, 10);
	long nr = strtol(argv[4], NULL, 10);
	SSL_CTX *ctx;

	if (chdir(argv[2]) < 0 || fs_read(AT_FDCWD, "ca", 1 << 20, &ca, NULL) ||
	    fs_read(AT_FDCWD, "cert", 1 << 20, &cert, NULL) ||
	    fs_read(AT_FDCWD, "key", 1 << 20, &key, NULL))
		die("certificates");
	o.server_ca_pem = buf_str(&ca);
	o.cert_pem = buf_str(&cert);
	o.key_pem = buf_str(&key);
	if (tls_client_new(&o, &ctx, NULL) < 0)
		die("tls");
	if (strcmp(argv[1], "gets") == 0)
		client_gets(ctx, port, nr);
	else if (strcmp(argv[1], "list") == 0)
		client_list(ctx, port);
	else
		client_watch(ctx, port, nr);
	return 0;
}

/* --- the server ----------------------------------------------------------- */

struct bench {
	struct api *api;
	struct rest *rest;
	char dir[64];
};

static FILE *run_client(struct bench *b, const char *what, long nr, int *ret_in)
{
	int in[2], out[2];
	char port[16], count[24];

	snprintf(port, sizeof(port), "%u", api_port(b->api));
	snprintf(count, sizeof(count), "%ld", nr);
	if (pipe2(in, O_CLOEXEC) || pipe2(out, O_CLOEXEC))
		die("pipe");
	if (vfork() == 0) {
		dup2(in[0], 0);
		dup2(out[1], 1);
		execl("/proc/self/exe", "bench_api", what, b->dir, port, count,
		      NULL);
		_exit(127);
	}
	close(in[0]);
	close(out[1]);
	*ret_in = in[1];
	return fdopen(out[0], "r");
}

static void pass_on(FILE *f, int in)
{
	char line[256];

	while (fgets(line, sizeof(line), f))
		fputs(line, stdout);
	fclose(f);
	close(in);
	while (wait(NULL) > 0)
		;
	fflush(stdout);
}

/* A field of the kubeconfig, as a file. */
static void write_field(const char *kubeconfig, const char *name,
			const char *file)
{
	auto_buf struct buf pem = BUF_INIT;
	const char *p = strstr(kubeconfig, name);

	p = p ? p + strlen(name) + strspn(p + strlen(name), ": \"") : "";
	if (base64_get(p,
		       strspn(p, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmno"
				 "pqrstuvwxyz0123456789+/="),
		       &pem) ||
	    fs_write_atomic(AT_FDCWD, file, buf_str(&pem), pem.len, 0600, NULL))
		die(name);
}

static void write_pem(struct bench *b)
{
	auto_buf struct buf text = BUF_INIT;

	if (api_kubeconfig(b->api, "system", "bench", "system:masters", &text,
			   NULL) < 0)
		die("kubeconfig");
	write_field(buf_str(&text), "certificate-authority-data", "ca");
	write_field(buf_str(&text), "client-certificate-data", "cert");
	write_field(buf_str(&text), "client-key-data", "key");
}

static void create(struct bench *b, const char *path, const char *fmt, long i)
{
	auto_buf struct buf body = BUF_INIT, answer = BUF_INIT;

	buf_printf(&body, "{\"metadata\":{\"name\":\"");
	if (i < 0)
		buf_puts(&body, fmt);
	else
		buf_printf(&body, "p%ld", i);
	buf_puts(&body, "\"}");
	if (i >= 0)
		buf_printf(&body,
			   ",\"spec\":{\"containers\":[{\"name\":\"c\","
			   "\"image\":\"registry.example/team/app:1.2.3\"}]}");
	buf_puts(&body, "}");
	if (rest_call(b->rest, "POST", path, buf_str(&body), NULL, &answer,
		      NULL) != 201) {
		fprintf(stderr, "%s\n", buf_str(&answer));
		die(path);
	}
}

static void bench_watchers(struct bench *b, long nr)
{
	char line[64] = "";
	long before, after;
	FILE *f;
	int in;

	malloc_trim(0);
	before = rss_kib();
	f = run_client(b, "watch", nr, &in);
	if (!fgets(line, sizeof(line), f) || strcmp(line, "ready\n") != 0)
		die("watchers");
	after = rss_kib();
	printf("watchers %ld n\nwatcher_memory %.1f KiB\n", nr,
	       (double)(after - before) / (double)nr);
	if (write(in, "x", 1) != 1)
		die("word");
	create(b, "/api/v1/namespaces/kube-public/configmaps", "event", -1);
	pass_on(f, in);
}

int main(int argc, char **argv)
{
	struct bench b = { .dir = "/tmp/arktos-bench-api.XXXXXX" };
	struct api_opts o = { .data_dir = "data", .listen = "127.0.0.1:0" };
	struct rlimit files = { 65536, 65536 };
	long pods = setting("BENCH_PODS", 20000);
	struct err e = { 0 };
	double begun;
	FILE *f;
	int in;

	(void)setrlimit(RLIMIT_NOFILE, &files); /* or as many as there are */
	if (argc == 5)
		return client(argv);
	if (!mkdtemp(b.dir) || chdir(b.dir) < 0)
		die("mkdtemp");
	begun = now_s();
	if (api_start(&o, &b.api, &e) < 0) {
		fprintf(stderr, "bench_api: %s\n", e.msg);
		return 1;
	}
	printf("ready %.1f ms\n", (now_s() - begun) * 1e3);
	if (rest_open("data/admin.kubeconfig", &b.rest, &e) < 0)
		die(e.msg);
	write_pem(&b);
	printf("idle_memory %.1f MiB\n", (double)rss_kib() / 1024);
	bench_watchers(&b, setting("BENCH_WATCHERS", 2000));
	for (long i = 0; i < pods; i++)
		create(&b, "/api/v1/namespaces/default/pods", "", i);
	f = run_client(&b, "gets", setting("BENCH_GETS", 20000), &in);
	pass_on(f, in);
	printf("pods %ld n\nmemory %.1f MiB\n", pods, (double)rss_kib() / 1024);
	f = run_client(&b, "list", 1, &in);
	pass_on(f, in);
	printf("memory_after_list %.1f MiB\n", (double)rss_kib() / 1024);
	rest_close(b.rest);
	api_stop(b.api);
	(void)chdir("/");
	(void)fs_remove_tree(AT_FDCWD, b.dir, NULL); /* a scratch folder */
	return 0;
}

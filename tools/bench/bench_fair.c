// SPDX-License-Identifier: Apache-2.0
/*
 * What one tenant feels of another one's flood: reads of tenant "probe", alone
 * and while tenant "flood" does its worst, over TLS on the loopback.
 *
 * The server is this process. The flooding clients are another one at nice 19:
 * they stand for other machines, and must not be what takes the CPU from the
 * probe's client. Their requests are served all the same.
 *
 *	BENCH_SECONDS (3), BENCH_OBJECTS (20000), BENCH_CONNS (64),
 *	BENCH_KIND (all of them: gets, lists, creates, large, watches)
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
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

#define CONFIGMAPS "/api/v1/namespaces/default/configmaps"

static void die(const char *what)
{
	fprintf(stderr, "bench_fair: %s: %s\n", what, strerror(errno));
	exit(1);
}

static long setting(const char *name, long dfl)
{
	const char *v = getenv(name);

	return v ? strtol(v, NULL, 10) : dfl;
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

/* --- clients -------------------------------------------------------------- */

static uint16_t port;
static SSL_CTX *context;
static atomic_ulong *served; /* shared with the server's process */

static SSL *dial(void)
{
	struct sockaddr_in to = { .sin_family = AF_INET,
				  .sin_port = htons(port),
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	SSL *ssl = SSL_new(context);

	if (!ssl || connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0 ||
	    SSL_set_fd(ssl, fd) != 1 || SSL_connect(ssl) != 1)
		die("connect");
	return ssl;
}

static void load_context(const char *tenant)
{
	auto_buf struct buf ca = BUF_INIT, cert = BUF_INIT, key = BUF_INIT;
	struct tls_client_opts o = { 0 };
	char file[64];

	if (fs_read(AT_FDCWD, "ca", 1 << 20, &ca, NULL))
		die("ca");
	snprintf(file, sizeof(file), "%s.cert", tenant);
	if (fs_read(AT_FDCWD, file, 1 << 20, &cert, NULL))
		die(file);
	snprintf(file, sizeof(file), "%s.key", tenant);
	if (fs_read(AT_FDCWD, file, 1 << 20, &key, NULL))
		die(file);
	o.server_ca_pem = buf_str(&ca);
	o.cert_pem = buf_str(&cert);
	o.key_pem = buf_str(&key);
	if (tls_client_new(&o, &context, NULL) < 0)
		die("tls");
}

/* Read until @nr answers, each of which ends in @end, have come. */
static void until(SSL *ssl, const char *end, int nr)
{
	char data[16384 + 64];
	size_t len = strlen(end), kept = 0;

	while (nr > 0) {
		int n = SSL_read(ssl, data + kept, 16384);
		char *p = data, *last = data + kept + (n > 0 ? n : 0), *hit;

		if (n <= 0)
			die("read");
		while (nr && (hit = memmem(p, (size_t)(last - p), end, len)))
			p = hit + len, nr--;
		kept = (size_t)(last - p) < len ? (size_t)(last - p) : len - 1;
		memmove(data, last - kept, kept);
	}
}

static int by_size(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static int probe(long seconds)
{
	static const char get[] = "GET " CONFIGMAPS "/x HTTP/1.1\r\n\r\n";
	struct timespec pause = { .tv_nsec = 500000 };
	uint64_t until_ns = now_ns() + (uint64_t)seconds * 1000000000;
	size_t nr = 0, max = (size_t)seconds * 2100;
	uint64_t *took = calloc(max, sizeof(*took));
	SSL *ssl;

	load_context("probe");
	ssl = dial();
	while (nr < max && now_ns() < until_ns) {
		uint64_t begun = now_ns();

		if (SSL_write(ssl, get, sizeof(get) - 1) <= 0)
			die("write");
		until(ssl, "\"k\":\"end\"", 1);
		took[nr++] = now_ns() - begun;
		nanosleep(&pause, NULL);
	}
	qsort(took, nr, sizeof(*took), by_size);
	printf("%zu %.1f %.1f %.1f\n", nr, (double)took[nr / 2] / 1e3,
	       (double)took[nr * 99 / 100] / 1e3, (double)took[nr - 1] / 1e3);
	return 0;
}

static void *flood_gets(void *arg)
{
	enum { DEPTH = 16 };
	static const char get[] = "GET " CONFIGMAPS "/x HTTP/1.1\r\n\r\n";
	char text[DEPTH * sizeof(get)] = "";
	SSL *ssl = dial();

	(void)arg;
	for (int i = 0; i < DEPTH; i++)
		memcpy(text + (size_t)i * (sizeof(get) - 1), get, sizeof(get));
	for (;;) {
		if (SSL_write(ssl, text, DEPTH * (sizeof(get) - 1)) <= 0)
			die("write");
		until(ssl, "\"k\":\"end\"", DEPTH);
		atomic_fetch_add(served, DEPTH);
	}
	return NULL;
}

/* Whole lists, tables, and lists of which a selector leaves nothing. */
static void *flood_lists(void *arg)
{
	static const char *const lists[] = {
		"GET " CONFIGMAPS " HTTP/1.1\r\n\r\n",
		"GET " CONFIGMAPS " HTTP/1.1\r\nAccept: application/json;"
		"as=Table;g=meta.k8s.io;v=v1\r\n\r\n",
		"GET " CONFIGMAPS "?labelSelector=a%3Db HTTP/1.1\r\n\r\n",
	};
	const char *list = lists[(size_t)arg % 3];
	SSL *ssl = dial();

	for (;;) {
		if (SSL_write(ssl, list, (int)strlen(list)) <= 0)
			die("write");
		until(ssl, "]}\n", 1);
		atomic_fetch_add(served, 1);
	}
	return NULL;
}

/* One answer that says how long it is. */
static void read_answer(SSL *ssl)
{
	static const char field[] = "Content-Length: ";
	char data[16384 + 1];
	size_t want = SIZE_MAX, got = 0;

	while (got < want) {
		int n = SSL_read(ssl, data, sizeof(data) - 1);
		char *p, *end;

		if (n <= 0)
			die("read");
		got += (size_t)n;
		if (want != SIZE_MAX)
			continue;
		/* A head comes in one record. */
		data[n] = '\0';
		p = strstr(data, field);
		end = strstr(data, "\r\n\r\n");
		if (!p || !end)
			die("answer");
		want = (size_t)(end + 4 - data) +
		       strtoul(p + sizeof(field) - 1, NULL, 10);
	}
}

static void post(SSL *ssl, const char *name, size_t bytes)
{
	auto_buf struct buf b = BUF_INIT, body = BUF_INIT;

	buf_printf(&body, "{\"metadata\":{\"name\":\"%s\"},\"data\":{\"x\":\"",
		   name);
	for (size_t i = 0; i < bytes; i++)
		buf_putc(&body, 'x');
	buf_puts(&body, "\"}}");
	buf_printf(&b,
		   "POST " CONFIGMAPS " HTTP/1.1\r\nContent-Length: %zu\r\n"
		   "\r\n",
		   body.len);
	buf_add(&b, body.data, body.len);
	/* A record at a time. */
	for (size_t at = 0; at < b.len;) {
		int n = SSL_write(ssl, b.data + at, (int)(b.len - at));

		if (n <= 0)
			die("write");
		at += (size_t)n;
	}
	read_answer(ssl);
}

/* Creates; what is there already costs the same but the disk. */
static void *flood_creates(void *arg)
{
	unsigned long i = (unsigned long)(size_t)arg << 24;
	SSL *ssl = dial();
	char name[32];

	for (;; i++) {
		snprintf(name, sizeof(name), "c%lx", i);
		post(ssl, name, 1000);
		atomic_fetch_add(served, 1);
	}
	return NULL;
}

static void *flood_large(void *arg)
{
	SSL *ssl = dial();
	char name[32];

	snprintf(name, sizeof(name), "large%zx", (size_t)arg);
	for (;;) {
		post(ssl, name, 900000);
		atomic_fetch_add(served, 1);
	}
	return NULL;
}

static void *flood_watches(void *arg)
{
	static const char watch[] =
		"GET " CONFIGMAPS "?watch=1&fieldSelector=metadata.name%3Dy "
		"HTTP/1.1\r\n\r\n";

	(void)arg;
	for (;;) {
		SSL *ssl = dial();
		int fd = SSL_get_fd(ssl);

		if (SSL_write(ssl, watch, sizeof(watch) - 1) <= 0)
			die("write");
		until(ssl, "HTTP/1.1 ", 1);
		SSL_free(ssl);
		close(fd);
		atomic_fetch_add(served, 1);
	}
	return NULL;
}

static const struct kind {
	const char *name;
	void *(*run)(void *arg);
	long div; /* of the connections */
} kinds[] = {
	{ "gets", flood_gets, 1 },       { "lists", flood_lists, 4 },
	{ "creates", flood_creates, 1 }, { "large", flood_large, 8 },
	{ "watches", flood_watches, 2 },
};

static int flood(const char *name, long conns)
{
	pthread_t t;

	if (nice(19) == -1)
		die("nice");
	load_context("flood");
	for (size_t k = 0; k < sizeof(kinds) / sizeof(*kinds); k++) {
		long nr = conns / kinds[k].div;

		if (strcmp(name, "all") && strcmp(name, kinds[k].name))
			continue;
		for (long i = 0; i < (nr ? nr : 1); i++)
			if (pthread_create(&t, NULL, kinds[k].run, (void *)i))
				die("thread");
	}
	pause();
	return 0;
}

static int client(char **argv)
{
	int fd;

	if (chdir(argv[2]) < 0)
		die(argv[2]);
	fd = open("served", O_RDWR | O_CLOEXEC);
	served = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (fd < 0 || served == MAP_FAILED)
		die("served");
	port = (uint16_t)strtoul(argv[3], NULL, 10);
	if (strcmp(argv[1], "probe") == 0)
		return probe(strtol(argv[4], NULL, 10));
	return flood(argv[1], strtol(argv[4], NULL, 10));
}

/* --- the server ----------------------------------------------------------- */

struct bench {
	struct api *api;
	char dir[64];
	double idle_p99;
};

static pid_t run(struct bench *b, const char *what, long nr, int out)
{
	char count[24], text[16];
	pid_t pid;

	snprintf(count, sizeof(count), "%ld", nr);
	snprintf(text, sizeof(text), "%u", api_port(b->api));
	pid = vfork();
	if (pid == 0) {
		if (out >= 0)
			dup2(out, 1);
		execl("/proc/self/exe", "bench_fair", what, b->dir, text, count,
		      NULL);
		_exit(127);
	}
	return pid;
}

static void measure(struct bench *b, const char *what)
{
	long seconds = setting("BENCH_SECONDS", 3);
	pid_t p = 0, flooder = 0;
	double p50, p99, max;
	size_t nr;
	char line[128];
	unsigned long before;
	uint64_t begun;
	int out[2];
	FILE *f;

	if (pipe2(out, O_CLOEXEC))
		die("pipe");
	if (strcmp(what, "idle"))
		flooder = run(b, what, setting("BENCH_CONNS", 64), -1);
	before = atomic_load(served);
	while (flooder && atomic_load(served) == before)
		nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
	before = atomic_load(served);
	begun = now_ns();
	p = run(b, "probe", seconds, out[1]);
	close(out[1]);
	f = fdopen(out[0], "r");
	if (!f || !fgets(line, sizeof(line), f) ||
	    sscanf(line, "%zu %lf %lf %lf", &nr, &p50, &p99, &max) != 4)
		die("probe");
	fclose(f);
	waitpid(p, NULL, 0);
	printf("fair_%s_p50 %.0f us\nfair_%s_p99 %.0f us\n", what, p50, what,
	       p99);
	printf("fair_%s_max %.0f us\n", what, max);
	if (flooder) {
		kill(flooder, SIGKILL);
		waitpid(flooder, NULL, 0);
		printf("fair_%s_flood %.0f 1/s\nfair_%s_ratio %.2f x\n", what,
		       (double)(atomic_load(served) - before) /
			       ((double)(now_ns() - begun) / 1e9),
		       what, p99 / b->idle_p99);
	} else if (p99 > b->idle_p99) {
		b->idle_p99 = p99;
	}
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

static void call(struct rest *c, const char *path, const char *body)
{
	auto_buf struct buf answer = BUF_INIT;

	if (rest_call(c, "POST", path, body, NULL, &answer, NULL) != 201) {
		fprintf(stderr, "%s\n", buf_str(&answer));
		die(path);
	}
}

static struct rest *make_tenant(struct bench *b, struct rest *root,
				const char *name)
{
	auto_buf struct buf text = BUF_INIT, body = BUF_INIT;
	struct rest *c = NULL;
	char file[64];

	buf_printf(&body,
		   "{\"metadata\":{\"name\":\"%s\"},"
		   "\"spec\":{\"storageClusterId\":\"0\"}}",
		   name);
	call(root, "/api/v1/tenants", buf_str(&body));
	if (api_kubeconfig(b->api, name, "admin", NULL, &text, NULL) < 0 ||
	    rest_open_text(buf_str(&text), NULL, 30, &c, NULL) < 0)
		die("kubeconfig");
	write_field(buf_str(&text), "certificate-authority-data", "ca");
	snprintf(file, sizeof(file), "%s.cert", name);
	write_field(buf_str(&text), "client-certificate-data", file);
	snprintf(file, sizeof(file), "%s.key", name);
	write_field(buf_str(&text), "client-key-data", file);
	call(c, CONFIGMAPS,
	     "{\"metadata\":{\"name\":\"x\"},\"data\":{\"k\":\"end\"}}");
	return c;
}

static void fill(struct rest *c, long nr)
{
	auto_buf struct buf b = BUF_INIT;

	for (long i = 0; i < nr; i++) {
		buf_reset(&b);
		buf_printf(&b,
			   "{\"metadata\":{\"name\":\"o%ld\"},\"data\":"
			   "{\"x\":\"%01000d\"}}",
			   i, 0);
		call(c, CONFIGMAPS, buf_str(&b));
	}
}

int main(int argc, char **argv)
{
	struct bench b = { .dir = "/tmp/arktos-bench-fair.XXXXXX" };
	struct api_opts o = { .data_dir = "data", .listen = "127.0.0.1:0" };
	struct rest *root = NULL, *a, *p;
	struct err e = { 0 };
	int fd;

	if (argc == 5)
		return client(argv);
	if (!mkdtemp(b.dir) || chdir(b.dir) < 0)
		die("mkdtemp");
	fd = open("served", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || ftruncate(fd, 4096))
		die("served");
	served = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (served == MAP_FAILED)
		die("served");
	if (api_start(&o, &b.api, &e) < 0 ||
	    rest_open("data/admin.kubeconfig", &root, &e) < 0) {
		fprintf(stderr, "bench_fair: %s\n", e.msg);
		return 1;
	}
	a = make_tenant(&b, root, "flood");
	p = make_tenant(&b, root, "probe");
	fill(a, setting("BENCH_OBJECTS", 20000));
	measure(&b, "idle");
	measure(&b, "idle");
	for (size_t k = 0; k < sizeof(kinds) / sizeof(*kinds); k++)
		if (!getenv("BENCH_KIND") ||
		    !strcmp(getenv("BENCH_KIND"), kinds[k].name))
			measure(&b, kinds[k].name);
	measure(&b, "all");
	rest_close(a);
	rest_close(p);
	rest_close(root);
	api_stop(b.api);
	close(fd);
	(void)chdir("/");
	(void)fs_remove_tree(AT_FDCWD, b.dir, NULL); /* a scratch folder */
	return 0;
}

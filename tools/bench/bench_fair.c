// SPDX-License-Identifier: Apache-2.0
/*
 * What one tenant feels of another one's flood: reads of tenant "probe", alone
 * and while tenant "flood" does its worst, over TLS on the loopback.
 *
 * The server is this process; clients are other machines: the flood runs at
 * SCHED_IDLE, and where there are two CPUs or more all clients have the last
 * one for themselves, so that nothing here is a fight of client and server for
 * one CPU (BENCH_SHARED=1: no such split). The probe's time is told twice:
 * fair_X_server is from handing the request to the kernel until the kernel has
 * the answer (its own stamp on the packet), which is the server's alone;
 * fair_X is until the probe has read it, which has the client's wake-up in it.
 *
 *	BENCH_SECONDS (3), BENCH_OBJECTS (20000), BENCH_CONNS (64),
 *	BENCH_KIND (all of them: gets, lists, creates, large, watches, all)
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
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
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
	SSL *ssl = SSL_new(context);

	/* As all client libraries do: else the first request would wait for the
	 * server's delayed acknowledgement of the handshake, 40 ms. */
	if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)))
		die("socket");
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

static uint64_t real_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

/* The probe's bytes go by memory, so that its socket is read with the stamps
 * that the kernel puts on packets. */
struct probe {
	SSL *ssl;
	int fd;
	uint64_t *whole_ns, *server_ns;
	size_t nr, max;
};

/* Whatever has come, to TLS; when it came. */
static uint64_t probe_recv(struct probe *p)
{
	char data[16384], room[CMSG_SPACE(sizeof(struct timespec))];
	struct iovec iov = { data, sizeof(data) };
	struct msghdr m = { .msg_iov = &iov,
			    .msg_iovlen = 1,
			    .msg_control = room,
			    .msg_controllen = sizeof(room) };
	ssize_t n = recvmsg(p->fd, &m, 0);
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	struct timespec ts;

	if (n <= 0 || BIO_write(SSL_get_rbio(p->ssl), data, (int)n) != n)
		die("read");
	if (!c || c->cmsg_level != SOL_SOCKET ||
	    c->cmsg_type != SCM_TIMESTAMPNS)
		return real_ns(); /* those before the kernel began to stamp */
	memcpy(&ts, CMSG_DATA(c), sizeof(ts));
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static void probe_once(struct probe *p)
{
	static const char get[] = "GET " CONFIGMAPS "/x HTTP/1.1\r\n\r\n";
	static const char end[] = "\"k\":\"end\"";
	char data[16384], *sealed;
	uint64_t begun, came = 0;
	size_t got = 0;
	long len;

	if (SSL_write(p->ssl, get, sizeof(get) - 1) <= 0)
		die("seal");
	len = BIO_get_mem_data(SSL_get_wbio(p->ssl), &sealed);
	begun = real_ns();
	if (send(p->fd, sealed, (size_t)len, 0) != len)
		die("write");
	(void)BIO_reset(SSL_get_wbio(p->ssl));
	while (!memmem(data, got, end, sizeof(end) - 1)) {
		int n = SSL_read(p->ssl, data + got, (int)(sizeof(data) - got));

		if (n > 0)
			got += (size_t)n;
		else if (SSL_get_error(p->ssl, n) == SSL_ERROR_WANT_READ)
			came = probe_recv(p);
		else
			die("answer");
	}
	p->whole_ns[p->nr] = real_ns() - begun;
	p->server_ns[p->nr++] = came > begun ? came - begun : 0;
}

static void print_spread(uint64_t *v, size_t nr)
{
	qsort(v, nr, sizeof(*v), by_size);
	printf(" %.1f %.1f %.1f", (double)v[nr / 2] / 1e3,
	       (double)v[nr * 99 / 100] / 1e3, (double)v[nr - 1] / 1e3);
}

static int probe(long seconds)
{
	struct timespec pause = { .tv_nsec = 500000 };
	uint64_t until_ns = now_ns() + (uint64_t)seconds * 1000000000;
	struct probe p = { .max = (size_t)seconds * 2100 };
	int on = 1;

	p.whole_ns = calloc(p.max, sizeof(*p.whole_ns));
	p.server_ns = calloc(p.max, sizeof(*p.server_ns));
	load_context("probe");
	p.ssl = dial();
	p.fd = dup(SSL_get_fd(p.ssl));
	SSL_set_bio(p.ssl, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
	if (setsockopt(p.fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof(on)))
		die("stamps");
	while (p.nr < p.max && now_ns() < until_ns) {
		probe_once(&p);
		nanosleep(&pause, NULL);
	}
	printf("%zu", p.nr);
	print_spread(p.whole_ns, p.nr);
	print_spread(p.server_ns, p.nr);
	putchar('\n');
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
	struct sched_param none = { 0 };
	pthread_t t;

	if (sched_setscheduler(0, SCHED_IDLE, &none) < 0)
		die("SCHED_IDLE");
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

/* The last CPU is the clients', the others are the server's. */
static void split_cpus(void)
{
	cpu_set_t all;
	char text[16];
	int last = CPU_SETSIZE - 1;

	if (getenv("BENCH_SHARED") || sched_getaffinity(0, sizeof(all), &all) ||
	    CPU_COUNT(&all) < 2)
		return;
	while (!CPU_ISSET(last, &all))
		last--;
	snprintf(text, sizeof(text), "%d", last);
	CPU_CLR(last, &all);
	if (sched_setaffinity(0, sizeof(all), &all) ||
	    setenv("BENCH_CLIENT_CPU", text, 1))
		die("CPUs");
}

static void take_cpu(void)
{
	const char *text = getenv("BENCH_CLIENT_CPU");
	cpu_set_t mine;

	if (!text)
		return;
	CPU_ZERO(&mine);
	CPU_SET(strtoul(text, NULL, 10), &mine);
	if (sched_setaffinity(0, sizeof(mine), &mine))
		die("CPU");
}

static int client(char **argv)
{
	int fd;

	take_cpu();
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

/* What the probe has seen: in all, and the server's part. */
struct seen {
	double p50, p99, max;
};

struct bench {
	struct api *api;
	char dir[64];
	struct seen idle[2];
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

static void read_seen(int fd, struct seen v[2])
{
	FILE *f = fdopen(fd, "r");
	char line[256];

	if (!f || !fgets(line, sizeof(line), f) ||
	    sscanf(line, "%*u %lf %lf %lf %lf %lf %lf", &v[0].p50, &v[0].p99,
		   &v[0].max, &v[1].p50, &v[1].p99, &v[1].max) != 6)
		die("probe");
	fclose(f);
}

static double cpu_s(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void print_seen(struct bench *b, const char *what, struct seen v[2])
{
	static const char *const part[] = { "", "_server" };

	for (int i = 0; i < 2; i++) {
		printf("fair_%s%s_p50 %.0f us\nfair_%s%s_p99 %.0f us\n", what,
		       part[i], v[i].p50, what, part[i], v[i].p99);
		printf("fair_%s%s_max %.0f us\n", what, part[i], v[i].max);
		if (strcmp(what, "idle"))
			printf("fair_%s%s_ratio %.2f x\n", what, part[i],
			       v[i].p99 / b->idle[i].p99);
		else if (v[i].p99 > b->idle[i].p99)
			b->idle[i] = v[i];
	}
}

static void measure(struct bench *b, const char *what)
{
	long seconds = setting("BENCH_SECONDS", 3);
	pid_t p = 0, flooder = 0;
	unsigned long before;
	struct seen seen[2];
	double cpu, took;
	uint64_t begun;
	int out[2];

	if (pipe2(out, O_CLOEXEC))
		die("pipe");
	if (strcmp(what, "idle"))
		flooder = run(b, what, setting("BENCH_CONNS", 64), -1);
	before = atomic_load(served);
	while (flooder && atomic_load(served) == before)
		nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
	before = atomic_load(served);
	begun = now_ns();
	cpu = cpu_s();
	p = run(b, "probe", seconds, out[1]);
	close(out[1]);
	read_seen(out[0], seen);
	waitpid(p, NULL, 0);
	took = (double)(now_ns() - begun) / 1e9;
	cpu = cpu_s() - cpu;
	print_seen(b, what, seen);
	if (flooder) {
		kill(flooder, SIGKILL);
		waitpid(flooder, NULL, 0);
		printf("fair_%s_flood %.0f 1/s\nfair_%s_cpu %.0f %%\n", what,
		       (double)(atomic_load(served) - before) / took, what,
		       cpu / took * 100);
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
	split_cpus();
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
	if (!getenv("BENCH_KIND") || !strcmp(getenv("BENCH_KIND"), "all"))
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

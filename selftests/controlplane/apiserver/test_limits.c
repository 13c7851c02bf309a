// SPDX-License-Identifier: Apache-2.0
/* LANE: native SECONDS: 120 */
/* What one address may have, how long a client may take, and what many idle
 * connections cost. */
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/resource.h>

#include "selftests/controlplane/apiserver/line.h"

#define MAPS "/api/v1/namespaces/default/configmaps"

static bool start(struct world *w, struct api_limits limits,
		  struct api_patience patience)
{
	struct api_opts opts = { .data_dir = "data",
				 .listen = "127.0.0.1:0",
				 .threads = 2,
				 .limits = limits,
				 .patience = patience };
	struct err e = { 0 };

	memset(w, 0, sizeof(*w));
	if (api_start(&opts, &w->api, &e) < 0) {
		printf("# %s\n", e.msg);
		return false;
	}
	w->root = world_user(w, "system", "root", "system:masters");
	return w->root && make_tenant(w, "acme") == 201;
}

static int knock(struct world *w, const char *address)
{
	struct sockaddr_in from = { .sin_family = AF_INET };
	struct sockaddr_in to = { .sin_family = AF_INET,
				  .sin_port = htons(api_port(w->api)),
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (inet_pton(AF_INET, address, &from.sin_addr) != 1 ||
	    bind(fd, (struct sockaddr *)&from, sizeof(from)) < 0 ||
	    connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0)
		return -1;
	return fd;
}

/* The server has closed it; it said nothing before that. */
static bool is_shut(int fd, int ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	char c;

	return poll(&p, 1, ms) == 1 && read(fd, &c, 1) <= 0;
}

static bool line_is_shut(struct line *l)
{
	char data[4096];

	return SSL_read(l->ssl, data, sizeof(data)) <= 0;
}

/* A sample of /metrics, read over a connection of its own. */
static bool metric_is(struct line *l, const char *sample)
{
	auto_buf struct buf got = BUF_INIT;
	char data[16384];

	if (!line_say(l, "GET /metrics HTTP/1.1\r\n\r\n"))
		return false;
	/* Of the last family, and the end of the answer with it. */
	while (!strstr(buf_str(&got), "\nprocess_start_time_seconds ")) {
		int n = SSL_read(l->ssl, data, sizeof(data));

		if (n <= 0)
			return false;
		buf_add(&got, data, (size_t)n);
	}
	return strstr(buf_str(&got), sample);
}

TEST(an_address_has_so_many_connections)
{
	struct world w;
	struct line l[12] = { 0 }, other = { 0 }, again = { 0 };
	size_t nr = 0;

	/* From the loopback it is ten times as many. */
	ASSERT_EQ(start(&w, (struct api_limits){ .address_conns = 1 },
			(struct api_patience){ 0 }),
		  true);
	while (nr < ARRAY_SIZE(l) &&
	       line_open_from(&w, "acme", "admin", NULL, "127.0.0.3", &l[nr]))
		nr++;
	EXPECT_EQ(nr, 10);
	ASSERT_EQ(line_open_from(&w, "system", "root", "system:masters",
				 "127.0.0.4", &other),
		  true);
	EXPECT_EQ(metric_is(&other,
			    "\narktos_apiserver_connections_refused_total{"
			    "reason=\"address\"} 1\n"),
		  true);
	/* Those who have one go on, and one that is closed makes room. */
	EXPECT_EQ(line_say(&l[0], "GET /version HTTP/1.1\r\n\r\n"), true);
	EXPECT_EQ(line_hears(&l[0], "HTTP/1.1 200 "), true);
	line_close(&l[9]);
	while (!line_open_from(&w, "acme", "admin", NULL, "127.0.0.3", &again))
		line_close(&again);
	EXPECT_EQ(line_say(&again, "GET /version HTTP/1.1\r\n\r\n"), true);
	EXPECT_EQ(line_hears(&again, "HTTP/1.1 200 "), true);
	line_close(&again);
	line_close(&other);
	for (size_t i = 0; i < ARRAY_SIZE(l); i++)
		line_close(&l[i]);
	world_end(&w);
}

TEST(few_of_an_address_may_be_strangers)
{
	struct world w;
	struct line known[12] = { 0 }, late = { 0 }, token = { 0 };
	int fd[11];

	ASSERT_EQ(start(&w, (struct api_limits){ .address_unknown = 1 },
			(struct api_patience){ 0 }),
		  true);
	/* Who shows a certificate is none for long. */
	for (size_t i = 0; i < ARRAY_SIZE(known); i++) {
		ASSERT_EQ(line_open_from(&w, "acme", "admin", NULL, "127.0.0.3",
					 &known[i]),
			  true);
		ASSERT_EQ(line_say(&known[i], "GET /version HTTP/1.1\r\n\r\n"),
			  true);
		ASSERT_EQ(line_hears(&known[i], "v1.32.0"), true);
	}
	for (size_t i = 0; i < ARRAY_SIZE(fd); i++) {
		fd[i] = knock(&w, "127.0.0.3");
		ASSERT_EQ(fd[i] >= 0, true);
	}
	EXPECT_EQ(is_shut(fd[10], 20000), true);
	EXPECT_EQ(is_shut(fd[0], 0), false);
	EXPECT_EQ(line_open_from(&w, "acme", "admin", NULL, "127.0.0.3", &late),
		  false);
	line_close(&late);
	/* Other addresses are let in, and known ones go on. */
	EXPECT_EQ(line_say(&known[3], "GET /version HTTP/1.1\r\n\r\n"), true);
	EXPECT_EQ(line_hears(&known[3], "HTTP/1.1 200 "), true);
	ASSERT_EQ(line_open_from(&w, "system", "root", "system:masters",
				 "127.0.0.4", &token),
		  true);
	EXPECT_EQ(metric_is(&token,
			    "\narktos_apiserver_connections_refused_total{"
			    "reason=\"unauthenticated\"} 2\n"),
		  true);
	for (size_t i = 0; i < ARRAY_SIZE(fd); i++)
		close(fd[i]);
	while (!line_open_from(&w, "acme", "admin", NULL, "127.0.0.3", &late)) {
		line_close(&late);
	}
	line_close(&late);
	line_close(&token);
	for (size_t i = 0; i < ARRAY_SIZE(known); i++)
		line_close(&known[i]);
	world_end(&w);
}

/* --- deadlines ------------------------------------------------------------ */

/* Each of them with one deadline that is short: it is this one that ends it. */
TEST(a_handshake_has_its_time)
{
	static const unsigned char begun[] = { 0x16, 0x03, 0x01, 0x02, 0x00 };
	struct world w;
	int silent, half;

	ASSERT_EQ(start(&w, (struct api_limits){ 0 },
			(struct api_patience){ .handshake_ms = 500 }),
		  true);
	silent = knock(&w, "127.0.0.1");
	half = knock(&w, "127.0.0.1");
	EXPECT_EQ(write(half, begun, sizeof(begun)), sizeof(begun));
	EXPECT_EQ(is_shut(silent, 14000), true);
	EXPECT_EQ(is_shut(half, 14000), true);
	close(silent);
	close(half);
	world_end(&w);
}

TEST(a_request_has_its_time)
{
	static const char *const begun[] = {
		"GET /version HTT",
		"GET /version HTTP/1.1\r\nHost: a\r\n",
		"POST " MAPS " HTTP/1.1\r\nContent-Length: 50\r\n\r\n{\"metad",
		"POST " MAPS " HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
		"10\r\n{\"met",
	};
	struct world w;

	ASSERT_EQ(start(&w, (struct api_limits){ 0 },
			(struct api_patience){ .request_ms = 500 }),
		  true);
	for (size_t i = 0; i < ARRAY_SIZE(begun); i++) {
		struct line l = { 0 };

		ASSERT_EQ(line_open(&w, "acme", &l), true);
		EXPECT_EQ(line_say(&l, begun[i]), true);
		if (!line_is_shut(&l))
			FAIL("'%s' is still waited for", begun[i]);
		line_close(&l);
	}
	/* A byte now and then does not win any. */
	{
		struct pollfd p = { .events = POLLIN };
		struct line l = { 0 };
		int nr = 0;

		ASSERT_EQ(line_open(&w, "acme", &l), true);
		p.fd = SSL_get_fd(l.ssl);
		while (nr < 100 && line_say(&l, "G") && poll(&p, 1, 100) == 0)
			nr++;
		EXPECT_EQ(nr < 100, true);
		line_close(&l);
	}
	world_end(&w);
}

TEST(a_preface_has_its_time)
{
	struct world w;
	struct line silent = { .h2 = true }, half = { .h2 = true };

	ASSERT_EQ(start(&w, (struct api_limits){ 0 },
			(struct api_patience){ .request_ms = 500,
					       .stall_ms = 800 }),
		  true);
	ASSERT_EQ(line_open(&w, "acme", &silent), true);
	ASSERT_EQ(line_open(&w, "acme", &half), true);
	EXPECT_EQ(line_say(&half, "PRI * HTTP/2.0\r\n"), true);
	/* The server's settings come, and then its end. */
	while (!line_is_shut(&silent))
		;
	EXPECT_EQ(SSL_get_error(silent.ssl, 0) != SSL_ERROR_WANT_READ, true);
	while (!line_is_shut(&half))
		;
	EXPECT_EQ(SSL_get_error(half.ssl, 0) != SSL_ERROR_WANT_READ, true);
	line_close(&silent);
	line_close(&half);
	world_end(&w);
}

TEST(who_says_nothing_more_is_let_go)
{
	struct world w;
	struct line l = { 0 };

	ASSERT_EQ(start(&w, (struct api_limits){ 0 },
			(struct api_patience){ .idle_ms = 500 }),
		  true);
	ASSERT_EQ(line_open(&w, "acme", &l), true);
	EXPECT_EQ(line_say(&l, "GET /version HTTP/1.1\r\n\r\n"), true);
	EXPECT_EQ(line_hears(&l, "HTTP/1.1 200 "), true);
	EXPECT_EQ(line_is_shut(&l), true);
	line_close(&l);
	world_end(&w);
}

TEST(an_answer_that_is_not_read_is_given_up)
{
	auto_buf struct buf x = BUF_INIT;
	struct world w;
	struct line l = { 0 };

	ASSERT_EQ(start(&w, (struct api_limits){ 0 },
			(struct api_patience){ .stall_ms = 800 }),
		  true);
	for (int i = 0; i < 400000; i++)
		buf_putc(&x, 'x');
	for (int i = 0; i < 30; i++)
		ASSERT_EQ(POST(&w, w.root,
			       "/api/v1/tenants/acme/namespaces/default/"
			       "configmaps",
			       "{'metadata':{'name':'large%d'},'data':{'x':"
			       "'%s'}}",
			       i, buf_str(&x)),
			  201);
	ASSERT_EQ(line_open(&w, "acme", &l), true);
	/* What it holds of its tenant's is free again. */
	ASSERT_EQ(line_say(&l, "GET " MAPS "?limit=100 HTTP/1.1\r\n\r\n"),
		  true);
	ASSERT_EQ(line_hears(&l, "HTTP/1.1 200 "), true);
	do {
		EXPECT_STATUS(&w, 200, GET(&w, w.root, "/metrics"));
	} while (!strstr(buf_str(&w.answer),
			 "current_executing_requests{priority_level="
			 "\"tenants\",flow_schema=\"tenants\"} 0\n"));
	line_close(&l);
	world_end(&w);
}

/* --- memory --------------------------------------------------------------- */

#define IDLE 2000

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define IDLE_KIB_MAX 400 /* of theirs, mostly */
#else
#define IDLE_KIB_MAX 24
#endif

static size_t resident_kib(void)
{
	unsigned long all = 0, mine = 0;
	FILE *f = fopen("/proc/self/statm", "re");

	if (!f || fscanf(f, "%lu %lu", &all, &mine) != 2)
		printf("# no /proc/self/statm\n");
	if (f)
		fclose(f);
	return mine * (size_t)sysconf(_SC_PAGESIZE) / 1024;
}

struct host {
	struct world w;
	int go[2], told[2];
};

/* The clients' own process, so that ours is the server's memory alone. */
static int be_clients(const struct host *h)
{
	auto_buf struct buf text = BUF_INIT;
	char port[16], c;
	SSL_CTX *ctx = NULL;
	struct tls_client_opts o = { 0 };
	int one = 1;

	close(h->go[1]);
	if (read(h->go[0], port, sizeof(port)) != sizeof(port) ||
	    fs_read(AT_FDCWD, "acme.kubeconfig", 1 << 20, &text, NULL) < 0)
		return 1;
	o.server_ca_pem =
		field_of(buf_str(&text), "certificate-authority-data");
	o.cert_pem = field_of(buf_str(&text), "client-certificate-data");
	o.key_pem = field_of(buf_str(&text), "client-key-data");
	if (tls_client_new(&o, &ctx, NULL) < 0)
		return 1;
	for (int i = 0; i < IDLE; i++) {
		struct sockaddr_in to = {
			.sin_family = AF_INET,
			.sin_port = htons((uint16_t)strtoul(port, NULL, 10)),
			.sin_addr.s_addr = htonl(INADDR_LOOPBACK)
		};
		struct line l = { .ssl = SSL_new(ctx) };
		int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

		/* Else each waits for a late acknowledgement. */
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		if (connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0 ||
		    SSL_set_fd(l.ssl, fd) != 1 || SSL_connect(l.ssl) != 1 ||
		    !line_say(&l, "GET /version HTTP/1.1\r\n\r\n") ||
		    !line_hears(&l, "v1.32.0"))
			return 1;
		/* Some first, so that the server has what it has once. */
		if (i == IDLE / 10 && write(h->told[1], "", 1) != 1)
			return 1;
		if (i == IDLE / 10 && read(h->go[0], &c, 1) != 1)
			return 1;
	}
	if (write(h->told[1], "", 1) != 1)
		return 1;
	(void)!read(h->go[0], &c, 1); /* until we are to go */
	return 0;
}

TEST(idle_connections_cost_little)
{
	struct rlimit files = { 0 };
	auto_buf struct buf text = BUF_INIT;
	struct host h;
	size_t before, each;
	char port[16] = "", c;
	int status;
	pid_t pid;

	ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &files), 0);
	files.rlim_cur = files.rlim_max;
	ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &files), 0);
	ASSERT_EQ(files.rlim_cur >= IDLE + 600, true);
	ASSERT_EQ(pipe(h.go), 0);
	ASSERT_EQ(pipe(h.told), 0);
	pid = fork();
	if (pid == 0)
		_exit(be_clients(&h));
	close(h.told[1]);
	ASSERT_EQ(start(&h.w, (struct api_limits){ 0 },
			(struct api_patience){ 0 }),
		  true);
	ASSERT_EQ(api_kubeconfig(h.w.api, "acme", "admin", NULL, &text, NULL),
		  0);
	ASSERT_EQ(fs_write_atomic(AT_FDCWD, "acme.kubeconfig", text.data,
				  text.len, 0600, NULL),
		  0);
	snprintf(port, sizeof(port), "%u", api_port(h.w.api));
	ASSERT_EQ(write(h.go[1], port, sizeof(port)), sizeof(port));
	ASSERT_EQ(read(h.told[0], &c, 1), 1);
	before = resident_kib();
	ASSERT_EQ(write(h.go[1], "", 1), 1);
	ASSERT_EQ(read(h.told[0], &c, 1), 1);
	each = (resident_kib() - before) * 1024 / (IDLE * 9 / 10);
	printf("# %zu bytes for an idle connection\n", each);
	EXPECT_EQ(each <= IDLE_KIB_MAX * 1024, true);
	/* All of them are there. */
	EXPECT_STATUS(&h.w, 200, GET(&h.w, h.w.root, "/metrics"));
	c = *(strstr(buf_str(&h.w.answer), "\narktos_apiserver_connections ") +
	      sizeof("\narktos_apiserver_connections ") - 1);
	EXPECT_EQ(c, '2');
	close(h.go[1]);
	EXPECT_EQ(waitpid(pid, &status, 0), pid);
	EXPECT_EQ(status, 0);
	world_end(&h.w);
}

TEST_MAIN()

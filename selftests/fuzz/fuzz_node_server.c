// SPDX-License-Identifier: Apache-2.0
// FUZZ: agent/remote/serve_exec.c agent/remote/serve_forward.c
// FUZZ: agent/remote/serve_logs.c agent/remote/status.c lib/*.c lib/http/*.c
// FUZZ: build/deps/src/yyjson/src/yyjson.c
/*
 * The node's own server, as a kubelet's: what an API server may ask for, and
 * say over the connections it has upgraded: logs, exec, attach, port-forward,
 * stats. Without TLS, which would hide it; its client counts as the API server.
 * A byte of 0xff divides what is sent at once; afterwards a good request is
 * answered.
 */
#include <assert.h>
#include <arpa/inet.h>
#include <openssl/x509.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <syslog.h>

#include "lib/http/tls.h"

/* Its certificate, and that there is no TLS. */
#define http_req_cert  fuzz_cert
#define tls_server_new fuzz_tls
static int fuzz_tls(const struct tls_server_opts *o, SSL_CTX **ret,
		    struct err *e);

#include "agent/remote/server.c"
#include "selftests/agent/local/fake_backend.h"

#define ANSWER_MS 20
#define GOOD      "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
int LLVMFuzzerInitialize(int *argc, char ***argv);
const char *__asan_default_options(void);

/* Connections live on in the server's thread, known to epoll only; leaks are
 * looked for where agents end ('make SAN=1 check'). */
const char *__asan_default_options(void)
{
	return "detect_leaks=0";
}

static int fuzz_tls(const struct tls_server_opts *o, SSL_CTX **ret,
		    struct err *e)
{
	(void)o, (void)ret, (void)e;
	return 0;
}

X509 *fuzz_cert(const struct http_req *req)
{
	X509 *cert = X509_new();
	X509_NAME *name = X509_get_subject_name(cert);

	(void)req;
	X509_NAME_add_entry_by_NID(name, NID_commonName, MBSTRING_ASC,
				   (const unsigned char *)CLIENT_NAME, -1, -1,
				   0);
	X509_NAME_add_entry_by_NID(name, NID_organizationName, MBSTRING_ASC,
				   (const unsigned char *)CLIENT_GROUP, -1, -1,
				   0);
	return cert;
}

/* --- the rest of a node --- */

int certs_first(struct remote *r, struct buf *cert, struct buf *key,
		struct err *e)
{
	(void)r, (void)cert, (void)key, (void)e;
	return 0;
}

char *mirror_name_here(struct remote *r, const char *tenant, const char *ns,
		       const char *name)
{
	(void)r, (void)tenant, (void)ns;
	return strcmp(name, "mirror") == 0 ? strdup("web") : NULL;
}

bool remote_pause(struct remote *r, unsigned ms)
{
	(void)r;
	poll(NULL, 0, (int)ms);
	return true;
}

/* Whatever is asked for, what runs on this machine is cat. */
static int exec_cat(void *arg, const struct api_exec *x,
		    struct api_session *ret, struct err *e)
{
	static char cat[] = "cat";
	static char *argv[] = { cat, NULL };
	struct api_exec safe = *x;

	safe.argv.v = argv;
	safe.argv.nr = 1;
	return fake_exec(arg, &safe, ret, e);
}

static int figures_of(void *arg, struct buf *out, struct err *e)
{
	(void)arg, (void)e;
	return buf_puts(out, "{}");
}

static int op_get(void *arg, const char *key, struct remote_pod *ret)
{
	(void)arg;
	if (!str_ends(key, "/web"))
		return -ENOENT;
	memset(ret, 0, sizeof(*ret));
	ret->json = strdup(FAKE_POD);
	ret->len = strlen(FAKE_POD);
	return 0;
}

/* A port that says back what it is told, once. */
static int op_connect(void *arg, const char *key, uint16_t port,
		      unsigned int way, int *ret_fd, struct err *e)
{
	int sv[2];

	(void)arg, (void)key;
	if (way > 2 && way != REMOTE_BY_ADDRESS)
		return -ERANGE;
	if ((port + way) % 3 == 0)
		return err_set(e, -ECONNREFUSED, "refused");
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0,
		       sv) < 0)
		return err_sys(e, "socketpair");
	if (write(sv[1], "hello", 5) != 5)
		abort();
	close(sv[1]);
	*ret_fd = sv[0];
	return 0;
}

static struct remote node;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	static const struct remote_ops ops = { .get = op_get,
					       .connect = op_connect };
	static struct api_backend backend;
	static struct fake fake;
	struct err e = { 0 };

	(void)argc, (void)argv;
	signal(SIGPIPE, SIG_IGN); /* as agents do */
	log_set_level(LOG_CRIT);
	backend = fake_backend;
	backend.pod_exec = backend.pod_attach = exec_cat;
	backend.stats = backend.usage = backend.metrics = backend.cadvisor =
		backend.resource = figures_of;
	node.o.ops = &ops;
	node.o.backend = &backend;
	node.o.backend_arg = &fake;
	strcpy(node.host_ip, "127.0.0.1");
	if (server_start(&node, &e) < 0) {
		fprintf(stderr, "%s\n", e.msg);
		abort();
	}
	return 0;
}

static int dial(void)
{
	struct sockaddr_in to = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct linger no = { .l_onoff = 1 };

	to.sin_port = htons(server_port(&node));
	if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0)
		abort();
	/* Thousands of them: no port may be kept. */
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &no, sizeof(no));
	return fd;
}

/* Until its end, or as long as it takes for one to come. */
static size_t drain(int fd, char *first, size_t size, int ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	size_t have = 0, sum = 0;
	char more[4096];
	ssize_t n;

	while (sum < 65536 && poll(&p, 1, ms) > 0) {
		n = recv(fd, more, sizeof(more), 0);
		if (n <= 0)
			break;
		sum += (size_t)n;
		for (ssize_t i = 0; i < n && have < size; i++)
			first[have++] = more[i];
	}
	return have;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	char answer[64] = "";
	size_t at = 0;
	int fd;

	fd = dial();
	while (at < len) {
		const uint8_t *cut = memchr(data + at, 0xff, len - at);
		size_t n = cut ? (size_t)(cut - data) - at : len - at;

		if (send(fd, data + at, n, MSG_NOSIGNAL) < 0)
			break;
		at += n + 1;
		if (cut)
			(void)drain(fd, answer, 0, 2);
	}
	shutdown(fd, SHUT_WR);
	(void)drain(fd, answer, 0, ANSWER_MS);
	close(fd);

	fd = dial();
	if (send(fd, GOOD, strlen(GOOD), MSG_NOSIGNAL) < 0)
		abort();
	assert(drain(fd, answer, sizeof(answer), 5000) > 12);
	assert(memcmp(answer, "HTTP/1.1 200", 12) == 0);
	close(fd);
	return 0;
}

// SPDX-License-Identifier: Apache-2.0
// FUZZ: agent/local/action.c agent/local/api.c agent/local/follow.c
// FUZZ: agent/local/images.c
// FUZZ: agent/local/ops.c agent/local/route.c agent/local/session.c
// FUZZ: agent/local/stream.c agent/local/watch.c lib/buf.c lib/err.c lib/ev.c
// FUZZ: lib/fs.c lib/json.c lib/json_out.c lib/log.c lib/map.c lib/quantity.c
// FUZZ: lib/spawn.c lib/str.c lib/http/h1.c lib/http/h1_out.c
// FUZZ: lib/http/listen.c lib/http/server.c lib/http/tls.c lib/http/url.c
// FUZZ: build/deps/src/yyjson/src/yyjson.c
/* What anybody may say to node.sock, through the whole API. A byte of 0xff
 * divides what is sent at once; afterwards a good request is still answered. */
#include <assert.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "agent/local/stream.h"
#include "lib/ev.h"
#include "lib/log.h"
#include "selftests/agent/local/fake_backend.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
int LLVMFuzzerInitialize(int *argc, char ***argv);
const char *__asan_default_options(void);

/* Connections live on in the server's thread, known to epoll only; leaks are
 * looked for where agents end ('make SAN=1 check'). */
const char *__asan_default_options(void)
{
	return "detect_leaks=0";
}

#define ANSWER_MS 20
#define GOOD      "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

static char dir[] = "/tmp/arktos-fuzz-sock.XXXXXX";
static struct sockaddr_un address = { .sun_family = AF_UNIX };
static struct fake fake;

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

static void *serve(void *arg)
{
	ev_run(arg);
	return NULL;
}

static void clean_up(void)
{
	unlink(address.sun_path);
	rmdir(dir);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	static struct api_backend backend;
	struct api_opts o = { .backend = &backend,
			      .arg = &fake,
			      .any_peer = true };
	struct err e = { 0 };
	struct api *api;
	pthread_t thread;

	(void)argc;
	(void)argv;
	backend = fake_backend;
	backend.pod_exec = backend.pod_attach = exec_cat;
	if (!mkdtemp(dir) || ev_new(&o.loop, &e) < 0)
		abort();
	snprintf(address.sun_path, sizeof(address.sun_path), "%s/node.sock",
		 dir);
	o.socket_path = address.sun_path;
	if (api_start(&o, &api, &e) < 0 ||
	    pthread_create(&thread, NULL, serve, o.loop))
		abort();
	atexit(clean_up);
	return 0;
}

static int dial(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 ||
	    connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		abort();
	return fd;
}

/* Until its end, or as long as it takes for one to come. */
static size_t drain(int fd, char *first, size_t size, int ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	size_t have = 0;
	char more[4096];
	ssize_t n;

	while (poll(&p, 1, ms) > 0) {
		n = recv(fd, more, sizeof(more), 0);
		if (n <= 0)
			break;
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
			(void)drain(fd, answer, 0, 1);
	}
	shutdown(fd, SHUT_WR);
	(void)drain(fd, answer, 0, ANSWER_MS);
	close(fd);

	fd = dial();
	if (send(fd, GOOD, strlen(GOOD), MSG_NOSIGNAL) < 0)
		abort();
	assert(drain(fd, answer, sizeof(answer), 5000) > 12);
	assert(memcmp(answer, "HTTP/1.1 ", 9) == 0);
	close(fd);
	return 0;
}

// SPDX-License-Identifier: Apache-2.0
/* LANE: native
 * SECONDS: 120
 *
 * The prober against real servers on the loopback.
 */
#include <errno.h>
#include <sys/resource.h>
#include <time.h>

#include "agent/probe/probe.h"
#include "lib/err.h"
#include "lib/ev.h"
#include "selftests/agent/probe/grpc_server.h"
#include "selftests/agent/probe/server.h"
#include "selftests/harness.h"

#define OK      "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
#define EVENTS  4096
#define NOT_YET (-1)

struct event {
	uint64_t id, ms;
	enum probe_type type;
	bool success, changed;
	char message[256];
};

static struct {
	pthread_mutex_t lock;
	pthread_cond_t more;
	struct event v[EVENTS];
	size_t nr;
	uint64_t token; /* of the last command started */
	uint64_t token_ms;
	int started, cancelled;
	int refuse; /* so many starts */
	struct prober *prober;
	int auto_exit; /* commands end at once with it; else NOT_YET */
} w = { .lock = PTHREAD_MUTEX_INITIALIZER,
	.more = PTHREAD_COND_INITIALIZER,
	.auto_exit = NOT_YET };

static void result(void *ctx, const struct probe_result *r)
{
	(void)ctx;
	pthread_mutex_lock(&w.lock);
	if (w.nr < EVENTS) {
		struct event *e = &w.v[w.nr++];

		*e = (struct event){ .id = r->id,
				     .ms = ev_clock_ms(),
				     .type = r->type,
				     .success = r->success,
				     .changed = r->changed };
		snprintf(e->message, sizeof(e->message), "%s", r->message);
	}
	pthread_cond_broadcast(&w.more);
	pthread_mutex_unlock(&w.lock);
}

static int connect_socket(void *ctx, const char *pod_key, int family,
			  struct err *e)
{
	int fd;

	(void)ctx;
	if (strcmp(pod_key, "no-network") == 0)
		return err_set(e, -ENOENT, "the namespace is gone");
	fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	return fd < 0 ? err_sys(e, "socket") : fd;
}

static int exec_start(void *ctx, const char *pod_key, const char *container,
		      const struct strv *command, uint64_t token, struct err *e)
{
	(void)ctx, (void)pod_key, (void)container, (void)command;
	pthread_mutex_lock(&w.lock);
	w.started++;
	w.token = token;
	w.token_ms = ev_clock_ms();
	if (w.refuse-- > 0) {
		pthread_mutex_unlock(&w.lock);
		return err_set(e, -EAGAIN, "not now");
	}
	if (w.auto_exit != NOT_YET)
		prober_exec_done(w.prober, token, w.auto_exit, "so it is", 8);
	pthread_cond_broadcast(&w.more);
	pthread_mutex_unlock(&w.lock);
	return 0;
}

static void exec_cancel(void *ctx, const char *pod_key, const char *container,
			uint64_t token)
{
	(void)ctx, (void)pod_key, (void)container, (void)token;
	pthread_mutex_lock(&w.lock);
	w.cancelled++;
	pthread_cond_broadcast(&w.more);
	pthread_mutex_unlock(&w.lock);
}

static const struct prober_ops ops = {
	.connect_socket = connect_socket,
	.exec_start = exec_start,
	.exec_cancel = exec_cancel,
	.result = result,
};

#define WAIT_UNTIL(cond)                                               \
	({                                                             \
		struct timespec until_;                                \
		bool ok_ = true;                                       \
		clock_gettime(CLOCK_REALTIME, &until_);                \
		until_.tv_sec += 15;                                   \
		pthread_mutex_lock(&w.lock);                           \
		while (!(cond) && ok_)                                 \
			ok_ = pthread_cond_timedwait(&w.more, &w.lock, \
						     &until_) == 0;    \
		pthread_mutex_unlock(&w.lock);                         \
		ok_;                                                   \
	})

static struct event *first_of(uint64_t id)
{
	for (size_t i = 0; i < w.nr; i++)
		if (w.v[i].id == id)
			return &w.v[i];
	return NULL;
}

/* The @nr-th event (from 0) of @type. */
static struct event *nth(enum probe_type type, size_t nr)
{
	for (size_t i = 0; i < w.nr; i++)
		if (w.v[i].type == type && nr-- == 0)
			return &w.v[i];
	return NULL;
}

static struct probe_spec http(uint16_t port, const char *path)
{
	return (struct probe_spec){ .kind = PROBE_HTTP,
				    .port = port,
				    .path = (char *)path,
				    .period_s = 1,
				    .timeout_s = 1,
				    .success_threshold = 1,
				    .failure_threshold = 1 };
}

static struct probe_spec command(void)
{
	static char *argv[] = { (char *)"check", (char *)"-x", NULL };

	return (struct probe_spec){ .kind = PROBE_EXEC,
				    .exec = { argv, 2 },
				    .period_s = 1,
				    .timeout_s = 1,
				    .success_threshold = 1,
				    .failure_threshold = 1 };
}

static int start(struct prober **p)
{
	struct err e = { 0 };
	int r = prober_new(&ops, p, &e);

	if (r < 0)
		printf("# %s\n", e.msg);
	w.prober = *p;
	return r;
}

/* One server's behaviour, and what the first outcome must be. */
struct behaviour {
	struct server server;
	const char *path, *host, *pod_key;
	bool tcp, https, closed;
	const char *message; /* $PORT is replaced; NULL: success */
};

static uint64_t add_behaviour(struct prober *p, struct behaviour *b,
			      struct err *e)
{
	uint16_t port = server_start(&b->server);
	struct probe_spec spec = http(port, b->path ? b->path : "/");
	struct probe_target t = { .pod_key = b->pod_key ? b->pod_key : "p",
				  .container = "c",
				  .pod_ip = b->server.family == AF_INET6
						    ? "::1"
						    : "127.0.0.1",
				  .liveness = b->message ? &spec : NULL,
				  .readiness = b->message ? NULL : &spec,
				  .started_ms = ev_clock_ms() };
	uint64_t id = 0;

	if (b->closed) /* its thread may sit in accept() */
		shutdown(b->server.fd, SHUT_RDWR);
	if (b->tcp)
		spec.kind = PROBE_TCP;
	spec.https = b->https;
	spec.host = (char *)b->host;
	(void)prober_add(p, &t, &id, e);
	return id;
}

/* Every "$PORT" of @text replaced. */
static void with_port(const char *text, uint16_t port, char *buf, size_t size)
{
	size_t len = 0;

	while (*text && len + 8 < size) {
		if (strncmp(text, "$PORT", 5) == 0) {
			len += (size_t)snprintf(buf + len, size - len, "%u",
						port);
			text += 5;
		} else {
			buf[len++] = *text++;
		}
	}
	buf[len] = '\0';
}

static const char *const script_301[] = {
	"HTTP/1.1 301 M\r\nLocation: /there\r\n\r\n", OK, NULL
};
static const char *const script_307[] = {
	"HTTP/1.1 307 M\r\nLocation: there\r\n\r\n", "HTTP/1.1 503 No\r\n\r\n",
	NULL
};

TEST(every_kind_of_server_is_judged)
{
	static struct behaviour b[] = {
		{ .server = { .answer = OK } },
		{ .server = { .answer = "HTTP/1.1 204 No\r\n\r\n" } },
		{ .server = { .answer = "HTTP/1.1 399 ?\r\n\r\n" } },
		{ .server = { .answer = "HTTP/1.1 100 C\r\n\r\n" OK } },
		{ .server = { .answer = OK, .family = AF_INET6 } },
		{ .server = { .answer = OK, .tls = true }, .https = true },
		{ .server = { .answer = OK }, .tcp = true },
		{ .server = { .hang = true }, .tcp = true },
		{ .server = { .answer = OK }, .host = "localhost" },
		{ .server = { .answer = "HTTP/1.1 302 F\r\nLocation: "
					"http://elsewhere/\r\n\r\n" } },
		{ .server = { .script = script_301 } },
		{ .server = { .script = script_307 },
		  .message = "HTTP probe failed with statuscode: 503" },
		{ .server = { .answer = "HTTP/1.1 302 F\r\n"
					"Location: /\r\n\r\n" },
		  .message =
			  "Get \"http://127.0.0.1:$PORT/\": stopped after 10 "
			  "redirects" },
		{ .server = { .answer = "HTTP/1.1 302 F\r\n"
					"Location: ftp:x\r\n\r\n" },
		  .message =
			  "Get \"http://127.0.0.1:$PORT/\": failed to follow a "
			  "redirect to an unusable address" },
		{ .server = { .answer = "HTTP/1.1 400 Bad\r\n\r\n" },
		  .message = "HTTP probe failed with statuscode: 400" },
		{ .server = { .answer = "HTTP/1.1 500 Oops\r\n\r\n" },
		  .message = "HTTP probe failed with statuscode: 500" },
		{ .server = { .answer = "HTTP/1.1 500 Oops\r\n\r\n",
			      .family = AF_INET6 },
		  .message = "HTTP probe failed with statuscode: 500" },
		{ .server = { .hang = true },
		  .path = "/slow",
		  .message = "Get \"http://127.0.0.1:$PORT/slow\": context "
			     "deadline exceeded (Client.Timeout exceeded while "
			     "awaiting headers)" },
		{ .server = { .answer = OK, .drip = true },
		  .message =
			  "Get \"http://127.0.0.1:$PORT/\": context deadline "
			  "exceeded (Client.Timeout exceeded while awaiting "
			  "headers)" },
		{ .server = { .answer = NULL },
		  .message = "Get \"http://127.0.0.1:$PORT/\": EOF" },
		{ .server = { .answer = "HTTP/1.1 200 OK\r\nA: b\r\n" },
		  .message = "Get \"http://127.0.0.1:$PORT/\": EOF" },
		{ .server = { .answer = "220 smtp\r\n" },
		  .message = "Get \"http://127.0.0.1:$PORT/\": malformed HTTP "
			     "response" },
		{ .server = { .flood = true },
		  .message =
			  "Get \"http://127.0.0.1:$PORT/\": the answer's header "
			  "is larger than 16384 bytes" },
		{ .server = { .answer = OK },
		  .https = true,
		  .message = "Get \"https://127.0.0.1:$PORT/\": TLS handshake "
			     "failed: does it speak https?" },
		{ .closed = true,
		  .message = "Get \"http://127.0.0.1:$PORT/\": dial tcp "
			     "127.0.0.1:$PORT: connect: connection refused" },
		{ .closed = true,
		  .tcp = true,
		  .server = { .family = AF_INET6 },
		  .message =
			  "dial tcp [::1]:$PORT: connect: connection refused" },
		{ .server = { .answer = OK },
		  .host = "db.example",
		  .message =
			  "Get \"http://db.example:$PORT/\": 'db.example' is "
			  "no address: names are not resolved" },
		{ .server = { .answer = OK },
		  .pod_key = "no-network",
		  .message =
			  "Get \"http://127.0.0.1:$PORT/\": no socket in the "
			  "pod's network: the namespace is gone" },
	};
	uint64_t id[ARRAY_SIZE(b)];
	auto_ptr(prober) p = NULL;
	struct err e = { 0 };
	char want[512];

	ASSERT_EQ(start(&p), 0);
	for (size_t i = 0; i < ARRAY_SIZE(b); i++) {
		id[i] = add_behaviour(p, &b[i], &e);
		ASSERT_GE(id[i], 1);
	}
	for (size_t i = 0; i < ARRAY_SIZE(b); i++) {
		struct event *got;

		if (!WAIT_UNTIL(first_of(id[i]))) {
			FAIL("behaviour %zu: no outcome", i);
			continue;
		}
		got = first_of(id[i]);
		with_port(b[i].message ? b[i].message : "", b[i].server.port,
			  want, sizeof(want));
		EXPECT_STREQ(got->message, want);
		EXPECT_EQ(got->success, !b[i].message);
		EXPECT_EQ(got->changed, true);
	}
}

/* One server's answer, and what the kubelet would say of it. */
struct answer {
	struct grpc_server server;
	const char *service;
	bool closed, http1;
	const char *message; /* $PORT is replaced; NULL: success */
	uint16_t port;
	uint64_t id;
};

static uint64_t add_answer(struct prober *p, struct answer *a)
{
	uint64_t id = 0;

	static struct server http1 = { .answer = OK };
	struct probe_spec spec = { .kind = PROBE_GRPC,
				   .service = (char *)a->service,
				   .period_s = 1,
				   .timeout_s = 1,
				   .success_threshold = 1,
				   .failure_threshold = 1 };
	struct probe_target t = { .pod_key = "p",
				  .container = "c",
				  .pod_ip = "127.0.0.1",
				  .liveness = a->message ? &spec : NULL,
				  .readiness = a->message ? NULL : &spec,
				  .started_ms = ev_clock_ms() };

	a->port =
		a->http1 ? server_start(&http1) : grpc_server_start(&a->server);
	if (a->closed)
		shutdown(a->server.fd, SHUT_RDWR);
	spec.port = a->port;
	(void)prober_add(p, &t, &id, NULL);
	return id;
}

TEST(grpc_health_is_judged_as_the_kubelet_does)
{
#define RPC "error: health rpc probe failed: rpc error: code = "
	static struct answer a[] = {
		{ .server = { .status = "0", .serving = 1 } },
		{ .server = { .status = "0", .serving = 1 }, .service = "x.Y" },
		{ .server = { .status = "0", .serving = 2 },
		  .message =
			  "service unhealthy (responded with \"NOT_SERVING\")" },
		{ .server = { .status = "0", .serving = 0 },
		  .message = "service unhealthy (responded with \"UNKNOWN\")" },
		{ .server = { .status = "12",
			      .serving = -1,
			      .message = "unknown%20service" },
		  .message = "error: this server does not implement the grpc "
			     "health protocol (grpc.health.v1.Health): unknown "
			     "service" },
		{ .server = { .status = "5",
			      .serving = -1,
			      .message = "unknown service" },
		  .service = "no.Such",
		  .message = RPC "NotFound desc = unknown service" },
		{ .server = { .status = "0", .serving = -1 },
		  .message = RPC "Internal desc = the answer has no message" },
		{ .server = { .http_status = 404 },
		  .message = RPC "Unknown desc = unexpected HTTP status code "
				 "received from server: 404" },
		{ .server = { .reset = true },
		  .message = RPC
		  "Unavailable desc = the stream ended without a status" },
		{ .server = { .status = "0", .huge = true },
		  .message = RPC "Internal desc = the answer is compressed, or "
				 "no health response" },
		{ .server = { .serving = -1 },
		  .message = "timeout: health rpc did not complete within 1s" },
		{ .server = { .silent = true },
		  .message = "timeout: failed to connect service "
			     "\"127.0.0.1:$PORT\" within 1s: context deadline "
			     "exceeded" },
		{ .closed = true,
		  .message = "error: failed to connect service at "
			     "\"127.0.0.1:$PORT\": dial tcp 127.0.0.1:$PORT: "
			     "connect: connection refused" },
		{ .http1 = true,
		  .message =
			  "error: failed to connect service at "
			  "\"127.0.0.1:$PORT\": the peer does not speak HTTP/2" },
	};
	auto_ptr(prober) p = NULL;
	char want[512];

	ASSERT_EQ(start(&p), 0);
	for (size_t i = 0; i < ARRAY_SIZE(a); i++)
		ASSERT_GE(a[i].id = add_answer(p, &a[i]), 1);
	for (size_t i = 0; i < ARRAY_SIZE(a); i++) {
		struct event *got;

		if (!WAIT_UNTIL(first_of(a[i].id))) {
			FAIL("answer %zu: no outcome", i);
			continue;
		}
		got = first_of(a[i].id);
		with_port(a[i].message ? a[i].message : "", a[i].port, want,
			  sizeof(want));
		EXPECT_STREQ(got->message, want);
		EXPECT_EQ(got->success, !a[i].message);
	}
	EXPECT_STREQ(a[1].server.asked, "x.Y");
	EXPECT_STREQ(a[1].server.path, "/grpc.health.v1.Health/Check");
	EXPECT_STREQ(a[1].server.type, "application/grpc");
	EXPECT_STREQ(a[0].server.asked, "");
#undef RPC
}

TEST(readiness_goes_down_after_three_and_up_after_one)
{
	static const char bad[] = "HTTP/1.1 500 x\r\n\r\n";
	static const char *const script[] = { OK,  bad, OK, bad, bad,
					      bad, OK,  OK, NULL };
	static struct server s = { .script = script };
	struct probe_spec spec = http(server_start(&s), NULL);
	struct probe_target t = { "p",   "c",  "127.0.0.1",  NULL,
				  &spec, NULL, ev_clock_ms() };
	auto_ptr(prober) p = NULL;
	uint64_t id;

	spec.failure_threshold = 3;
	spec.success_threshold = 1;
	ASSERT_EQ(start(&p), 0);
	ASSERT_EQ(prober_add(p, &t, &id, NULL), 0);
	ASSERT_EQ(WAIT_UNTIL(w.nr == 6), true);
	EXPECT_EQ(w.v[0].success && w.v[0].changed, true);
	EXPECT_EQ(w.v[1].success || w.v[1].changed, false);
	EXPECT_EQ(w.v[2].success || w.v[2].changed, false);
	EXPECT_EQ(w.v[3].success || w.v[3].changed, false);
	EXPECT_EQ(!w.v[4].success && w.v[4].changed, true);
	EXPECT_EQ(w.v[5].success && w.v[5].changed, true);
	/* Every second, on the second: the grid does not drift. */
	EXPECT_GE(w.v[5].ms - w.v[0].ms, 5900);
	EXPECT_GE(6800, w.v[5].ms - w.v[0].ms);
}

TEST(startup_gates_the_others_and_is_not_repeated)
{
	static struct server s = { .answer = OK };
	struct probe_spec ready = http(server_start(&s), NULL);
	struct probe_spec startup = command(), live = ready;
	struct probe_target t = { "p",    "c",      "127.0.0.1",  &live,
				  &ready, &startup, ev_clock_ms() };
	auto_ptr(prober) p = NULL;
	uint64_t id;

	startup.failure_threshold = 5;
	ready.period_s = live.period_s = 100; /* so it is the trigger */
	live.failure_threshold = 1;
	w.auto_exit = 3;
	ASSERT_EQ(start(&p), 0);
	ASSERT_EQ(prober_add(p, &t, &id, NULL), 0);
	ASSERT_EQ(WAIT_UNTIL(w.nr == 2), true);
	EXPECT_EQ(w.v[0].type == PROBE_STARTUP && !w.v[0].changed, true);
	EXPECT_STREQ(w.v[0].message, "so it is");
	EXPECT_EQ(s.served, 0);
	pthread_mutex_lock(&w.lock);
	w.auto_exit = 0;
	pthread_mutex_unlock(&w.lock);
	ASSERT_EQ(WAIT_UNTIL(nth(PROBE_READINESS, 0)), true);
	EXPECT_EQ(w.v[2].type == PROBE_STARTUP && w.v[2].success, true);
	EXPECT_EQ(w.v[2].changed, true);
	EXPECT_GE(900, nth(PROBE_READINESS, 0)->ms - w.v[2].ms);
	EXPECT_EQ(w.started, 3);
	poll(NULL, 0, 1300);
	EXPECT_EQ(w.started, 3); /* once is enough */
	EXPECT_EQ(s.served, 2);  /* liveness too */
}

TEST(failed_startup_ends_probing)
{
	struct probe_spec startup = command(), live = command();
	struct probe_target t = { "p",  "c",      NULL,         &live,
				  NULL, &startup, ev_clock_ms() };
	auto_ptr(prober) p = NULL;
	uint64_t id;

	startup.failure_threshold = 2;
	w.auto_exit = 1;
	ASSERT_EQ(start(&p), 0);
	ASSERT_EQ(prober_add(p, &t, &id, NULL), 0);
	ASSERT_EQ(WAIT_UNTIL(w.nr == 2), true);
	EXPECT_EQ(w.v[1].changed && !w.v[1].success, true);
	poll(NULL, 0, 1300);
	EXPECT_EQ(w.started, 2);
	EXPECT_EQ(w.nr, 2);
}

TEST(initial_delay_counts_from_the_containers_start)
{
	struct probe_spec live = command();
	struct probe_target t = { "p",  "c",  NULL,         &live,
				  NULL, NULL, ev_clock_ms() };
	auto_ptr(prober) p = NULL;
	uint64_t id;

	live.initial_delay_s = 2;
	w.auto_exit = 1;
	t.started_ms -= 1000; /* half of it is over */
	ASSERT_EQ(start(&p), 0);
	ASSERT_EQ(prober_add(p, &t, &id, NULL), 0);
	ASSERT_EQ(WAIT_UNTIL(w.nr == 1), true);
	EXPECT_GE(w.token_ms - t.started_ms, 2000);
	EXPECT_GE(2700, w.token_ms - t.started_ms);
}

TEST(slow_command_is_cancelled_and_late_ends_are_ignored)
{
	struct probe_spec ready = command();
	struct probe_target t = { "p",    "c",  NULL,         NULL,
				  &ready, NULL, ev_clock_ms() };
	auto_ptr(prober) p = NULL;
	uint64_t id, late;

	ASSERT_EQ(start(&p), 0);
	ASSERT_EQ(prober_add(p, &t, &id, NULL), 0);
	ASSERT_EQ(WAIT_UNTIL(w.started == 1), true);
	late = w.token;
	ASSERT_EQ(WAIT_UNTIL(w.cancelled == 1), true);
	ASSERT_EQ(WAIT_UNTIL(w.nr == 1), true);
	EXPECT_STREQ(w.v[0].message,
		     "command timed out: \"check -x\" timed out after 1s");
	EXPECT_EQ(w.v[0].changed, false); /* not ready is how it begins */
	prober_exec_done(p, late, 0, "", 0);
	prober_exec_done(p, 12345, 0, "", 0);
	ASSERT_EQ(WAIT_UNTIL(w.started == 2), true);
	EXPECT_EQ(w.nr, 1);
	prober_exec_done(p, w.token, 7, "", 0);
	ASSERT_EQ(WAIT_UNTIL(w.nr == 2), true);
	EXPECT_STREQ(w.v[1].message, "command exited with code 7");
	prober_del(p, id);
	poll(NULL, 0, 1300);
	EXPECT_GE(3, w.started);
	EXPECT_EQ(w.nr, 2);
}

TEST(command_that_cannot_start_says_nothing)
{
	struct probe_spec live = command();
	struct probe_target t = { "p",  "c",  NULL,         &live,
				  NULL, NULL, ev_clock_ms() };
	auto_ptr(prober) p = NULL;
	uint64_t id;

	w.refuse = 2;
	w.auto_exit = 1;
	ASSERT_EQ(start(&p), 0);
	ASSERT_EQ(prober_add(p, &t, &id, NULL), 0);
	ASSERT_EQ(WAIT_UNTIL(w.nr == 1), true);
	EXPECT_EQ(w.started, 3);
}

TEST(targets_that_cannot_be_probed_are_refused)
{
	struct key_value kv = { (char *)"A", (char *)"b\r\nc" };
	struct probe_spec spec = http(80, NULL);
	struct probe_target t = { "p", "c", "not-an-ip", &spec, NULL, NULL, 0 };
	auto_ptr(prober) p = NULL;
	struct err e = { 0 };
	uint64_t id;

	ASSERT_EQ(start(&p), 0);
	EXPECT_EQ(prober_add(p, &t, &id, &e), -EINVAL);
	EXPECT_STREQ(e.msg, "probe: 'not-an-ip' is no address");
	t.pod_ip = "127.0.0.1";
	spec.headers = (struct key_values){ &kv, 1 };
	EXPECT_EQ(prober_add(p, &t, &id, &e), -EINVAL);
	EXPECT_STREQ(e.msg, "probe: a header's name or value has characters "
			    "HTTP does not allow");
	t.liveness = NULL;
	EXPECT_EQ(prober_add(p, &t, &id, &e), -EINVAL);
	EXPECT_STREQ(e.msg, "probe: nothing to probe");
}

TEST(two_thousand_at_once)
{
	enum { NR = 2000 };
	static struct server s = { .answer = OK };
	struct probe_spec spec = http(server_start(&s), NULL);
	struct rlimit files = { 8192, 8192 };
	auto_ptr(prober) p = NULL;
	uint64_t id;

	setrlimit(RLIMIT_NOFILE, &files);
	spec.period_s = 60;
	spec.timeout_s = 15;
	ASSERT_EQ(start(&p), 0);
	for (int i = 0; i < NR; i++) {
		struct probe_target t = { "p",   "c",  "127.0.0.1",  NULL,
					  &spec, NULL, ev_clock_ms() };

		ASSERT_EQ(prober_add(p, &t, &id, NULL), 0);
	}
	EXPECT_EQ(WAIT_UNTIL(w.nr >= NR), true);
	for (size_t i = 0; i < w.nr; i++) {
		if (w.v[i].success)
			continue;
		FAIL("probe %zu: %s", i, w.v[i].message);
		break;
	}
	EXPECT_EQ(w.nr, NR);
}

TEST_MAIN()

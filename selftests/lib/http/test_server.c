// SPDX-License-Identifier: Apache-2.0
/* LANE: native SECONDS: 120 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "lib/auto.h"
#include "lib/err.h"
#include "lib/ev.h"
#include "lib/http/client.h"
#include "lib/http/server.h"
#include "selftests/harness.h"

/* The server runs in a thread; tests talk to it from outside. */
static struct ev *loop;
static struct http_server *server;
static pthread_t thread;
static uint16_t port;
static atomic_int ended, admitted = 1;
static atomic_size_t written;
static struct err e;
static struct http_req *_Atomic parked;

static void on_end(void *arg)
{
	(void)arg;
	ended++;
}

#define BIG ((size_t)32 * 1024 * 1024)

static char chunk[65536];

static void push(void *arg)
{
	struct http_req *req = arg;

	while (written < BIG && http_backlog(req) < 4 * HTTP_LOW) {
		if (http_stream_write(req, chunk, sizeof(chunk)) < 0)
			return;
		written += sizeof(chunk);
	}
	if (written >= BIG)
		http_stream_end(req);
}

/* The client may have read the last byte before the server has counted. */
static int all_ended(void)
{
	for (int i = 0; i < 5000 && !ended; i++)
		usleep(1000);
	return ended;
}

static void park(struct http_req *req)
{
	http_on_end(req, on_end, NULL);
	parked = http_req_ref(req);
}

static void echo_back(int fd, const struct buf *early)
{
	/* A blocking echo is enough for a test. */
	char b[4096];
	ssize_t n;

	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
	if (early->len && write(fd, early->data, early->len) < 0)
		return;
	/* Under shims/short_io.c every third read is interrupted. */
	while ((n = read(fd, b, sizeof(b))) > 0 || (n < 0 && errno == EINTR))
		if (n > 0 && write(fd, b, (size_t)n) != n)
			break;
	close(fd);
}

static void handle(void *arg, struct http_req *req)
{
	const char *t = req->head->target;

	(void)arg;
	if (strcmp(t, "/echo") == 0) {
		http_reply(req, 200, "text/plain", req->body, req->body_len);
	} else if (strcmp(t, "/park") == 0) {
		park(req);
	} else if (strcmp(t, "/big") == 0) {
		written = 0;
		http_on_end(req, on_end, NULL);
		http_on_drain(req, push, req);
		http_stream(req, 200, "application/octet-stream");
		push(req);
	} else if (strcmp(t, "/torn") == 0) {
		http_stream(req, 200, "text/plain");
		http_stream_write(req, "half", 4);
		http_stream_abort(req);
	} else if (strcmp(t, "/raw") == 0 && req->head->upgrade) {
		struct buf early = BUF_INIT;
		int fd;

		if (http_take(req, "arktos-stream", &fd, &early, NULL) == 0)
			echo_back(fd, &early);
		buf_clear(&early);
	} else {
		http_reply(req, 404, "text/plain", "no\n", 3);
	}
}

static bool admit(void *arg, const struct ucred *peer)
{
	(void)arg;
	return admitted && peer->uid == getuid() && peer->pid == getpid();
}

static void *serve(void *arg)
{
	ev_run(loop);
	return arg;
}

static bool start(const struct http_server_opts *extra)
{
	struct http_server_opts o = *extra;

	o.handle = handle;
	o.admit = admit;
	if (ev_new(&loop, &e) < 0)
		return false;
	o.loop = loop;
	if (http_server_new(&o, &server, &e) < 0 ||
	    http_listen_unix(server, "sock", 0600, &e) < 0 ||
	    http_listen_tcp(server, "127.0.0.1", 0, &port, &e) < 0) {
		printf("# %s\n", e.msg);
		return false;
	}
	return pthread_create(&thread, NULL, serve, NULL) == 0;
}

static void stop(void)
{
	ev_stop(loop);
	pthread_join(thread, NULL);
	http_server_free(server);
	ev_free(loop);
}

static const struct http_server_opts plain = { .body_max = 100000 };

static int dial(void)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX, .sun_path = "sock" };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

/* Send @text, read until the end of the connection. */
static void talk(const char *text, struct buf *ret)
{
	int fd = dial();

	if (send(fd, text, strlen(text), MSG_NOSIGNAL) < 0)
		printf("# send: %s\n", strerror(errno));
	buf_reset(ret);
	buf_read_fd(ret, fd, 1 << 20);
	close(fd);
}

TEST(answers_over_unix_socket_and_tcp)
{
	struct http_call call = { "POST", "/echo", NULL, "hello", 5, 5000, 0 };
	struct http_answer a = HTTP_ANSWER_INIT;
	struct http_client *c;
	char address[64];
	struct stat st;

	ASSERT_EQ(start(&plain), true);
	ASSERT_EQ(stat("sock", &st), 0);
	EXPECT_EQ(st.st_mode & 0777, 0600);
	snprintf(address, sizeof(address), "tcp:127.0.0.1:%u", port);
	for (int tcp = 0; tcp < 2; tcp++) {
		ASSERT_EQ(http_client_open(tcp ? address : "unix:sock", 5000,
					   &c, &e),
			  0);
		for (int i = 0; i < 3; i++) { /* on one connection */
			buf_reset(&a.body);
			ASSERT_EQ(http_call(c, &call, &a, &e), 0);
			EXPECT_EQ(a.status, 200);
			EXPECT_STREQ(buf_str(&a.body), "hello");
		}
		http_client_close(c);
	}
	buf_clear(&a.body);
	stop();
	EXPECT_EQ(stat("sock", &st), -1);
}

TEST(pipelined_requests_are_answered_in_order)
{
	struct buf b = BUF_INIT;

	ASSERT_EQ(start(&plain), true);
	talk("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n1"
	     "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n"
	     "Connection: close\r\n\r\n2",
	     &b);
	EXPECT_STREQ(buf_str(&b),
		     "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
		     "Content-Length: 1\r\n\r\n1"
		     "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
		     "Connection: close\r\nContent-Length: 1\r\n\r\n2");
	buf_clear(&b);
	stop();
}

TEST(what_is_refused_is_answered_and_closed)
{
	struct buf b = BUF_INIT;

	ASSERT_EQ(start(&plain), true);
	talk("GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n"
	     "Transfer-Encoding: chunked\r\n\r\n",
	     &b);
	EXPECT_EQ(strncmp(buf_str(&b), "HTTP/1.1 400 Bad Request\r\n", 26), 0);
	EXPECT_EQ(strstr(buf_str(&b), "Connection: close\r\n") != NULL, true);
	talk("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 100001\r\n\r\n",
	     &b);
	EXPECT_EQ(strncmp(buf_str(&b), "HTTP/1.1 413 ", 13), 0);
	buf_clear(&b);
	stop();
}

TEST(a_body_too_large_is_told_even_while_it_is_sent)
{
	size_t len = 20 << 20;
	char *body = calloc(1, len);
	struct http_call call = { "POST", "/echo", NULL, body, len, 5000, 0 };
	struct http_answer a = HTTP_ANSWER_INIT;
	struct http_client *c;
	char address[64];

	ASSERT_EQ(start(&plain), true);
	snprintf(address, sizeof(address), "tcp:127.0.0.1:%u", port);
	ASSERT_EQ(http_client_open(address, 5000, &c, &e), 0);
	if (http_call(c, &call, &a, &e) < 0)
		FAIL("%s", e.msg);
	EXPECT_EQ(a.status, 413);
	http_client_close(c);
	buf_clear(&a.body);
	stop();
	free(body);
}

TEST(peers_that_are_not_admitted_are_cut_off)
{
	struct http_call call = { .method = "GET", .target = "/x" };
	struct http_answer a = HTTP_ANSWER_INIT;
	struct http_client *c;

	ASSERT_EQ(start(&plain), true);
	admitted = 0;
	ASSERT_EQ(http_client_open("unix:sock", 5000, &c, &e), 0);
	EXPECT_EQ(http_call(c, &call, &a, &e), -ECONNRESET);
	http_client_close(c);
	buf_clear(&a.body);
	stop();
}

/* Once 'logs' and 'exec' waited for ever for an agent that hung. */
TEST(who_waits_without_limit_still_wants_a_head)
{
	struct sockaddr_un sa = { AF_UNIX, "mute" };
	struct http_call call = {
		.method = "GET", .target = "/x", .timeout_ms = -1, .head_ms = 50
	};
	auto_close int mute = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct http_client *c;
	int status;

	ASSERT_EQ(bind(mute, (struct sockaddr *)&sa, sizeof(sa)), 0);
	ASSERT_EQ(listen(mute, 1), 0);
	ASSERT_EQ(http_client_open("unix:mute", 5000, &c, &e), 0);
	EXPECT_EQ(http_begin(c, &call, &status, &e), -ETIMEDOUT);
	EXPECT_STREQ(e.msg, "no answer within 50 ms");
	http_client_close(c);
	unlink("mute");
}

TEST(a_slow_reader_holds_the_stream_back)
{
	struct http_call call = { "GET", "/big", NULL, NULL, 0, 10000, 0 };
	struct http_client *c;
	static char b[100000];
	size_t total = 0;
	ssize_t ahead;
	ssize_t n;
	int status;

	ASSERT_EQ(start(&plain), true);
	ASSERT_EQ(http_client_open("unix:sock", 5000, &c, &e), 0);
	ASSERT_EQ(http_begin(c, &call, &status, &e), 0);
	EXPECT_EQ(status, 200);
	while ((n = http_read(c, b, sizeof(b), &e)) > 0) {
		total += (size_t)n;
		ahead = (ssize_t)(written - total);
		if (ahead > 2 * 1024 * 1024)
			FAIL("%zd bytes are queued", ahead);
	}
	EXPECT_EQ(n, 0);
	EXPECT_EQ(total, BIG);
	EXPECT_EQ(all_ended(), 1);
	http_client_close(c);
	stop();
}

TEST(a_torn_stream_is_no_whole_answer)
{
	struct http_call call = { .method = "GET", .target = "/torn" };
	struct http_answer a = HTTP_ANSWER_INIT;
	struct http_client *c;

	ASSERT_EQ(start(&plain), true);
	ASSERT_EQ(http_client_open("unix:sock", 5000, &c, &e), 0);
	EXPECT_EQ(http_call(c, &call, &a, &e), -ECONNRESET);
	http_client_close(c);
	buf_clear(&a.body);
	stop();
}

static void answer_parked(void *arg)
{
	*(int *)arg = http_reply(parked, 200, NULL, "late", 4);
	http_req_unref(parked);
	ev_stop(loop);
}

TEST(a_client_that_goes_is_noticed_and_a_late_answer_does_no_harm)
{
	const char *ask = "GET /park HTTP/1.1\r\nHost: x\r\n\r\n";
	int fd, late = 0;

	ASSERT_EQ(start(&plain), true);
	fd = dial();
	ASSERT_EQ(write(fd, ask, strlen(ask)), strlen(ask));
	while (!parked)
		usleep(1000);
	close(fd);
	EXPECT_EQ(all_ended(), 1);
	ev_post(loop, answer_parked, &late);
	pthread_join(thread, NULL);
	EXPECT_EQ(late, -EPIPE);
	http_server_free(server);
	ev_free(loop);
}

TEST(a_connection_can_be_taken_over)
{
	struct http_call call = { .method = "POST", .target = "/raw" };
	struct buf early = BUF_INIT;
	struct http_client *c;
	int status = 0, fd = -1;
	char b[16] = "";

	ASSERT_EQ(start(&plain), true);
	ASSERT_EQ(http_client_open("unix:sock", 5000, &c, &e), 0);
	ASSERT_EQ(http_upgrade(c, &call, "arktos-stream", &status, &fd, &early,
			       &e),
		  0);
	EXPECT_EQ(status, 101);
	http_client_close(c);
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
	ASSERT_EQ(write(fd, "raw", 3), 3);
	EXPECT_EQ(read(fd, b, sizeof(b)), 3);
	EXPECT_STREQ(b, "raw");
	close(fd);
	buf_clear(&early);
	stop();
}

/* Time limits, in the small. */
static void expect_cut_off(int *verdict_, const char *text)
{
	struct pollfd p = { .fd = dial(), .events = POLLIN };
	char b[512];

	if (*text && write(p.fd, text, strlen(text)) < 0)
		FAIL("write: %s", strerror(errno));
	if (poll(&p, 1, 5000) != 1)
		FAIL("'%s' is waited for without end", text);
	while (read(p.fd, b, sizeof(b)) > 0)
		;
	close(p.fd);
}

TEST(those_who_dawdle_are_cut_off)
{
	struct http_server_opts o = { .head_ms = 50,
				      .body_ms = 50,
				      .idle_ms = 50 };

	ASSERT_EQ(start(&o), true);
	expect_cut_off(verdict_, "");
	expect_cut_off(verdict_, "GET / HTTP/1.1\r\nHost:");
	expect_cut_off(verdict_, "POST /echo HTTP/1.1\r\nHost: x\r\n"
				 "Content-Length: 5\r\n\r\nab");
	expect_cut_off(verdict_, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
	stop();
}

TEST(a_client_that_never_reads_is_cut_off)
{
	const char *ask = "GET /big HTTP/1.1\r\nHost: x\r\n\r\n";
	struct http_server_opts o = { .stall_ms = 100 };
	int fd;

	ASSERT_EQ(start(&o), true);
	fd = dial();
	ASSERT_EQ(write(fd, ask, strlen(ask)), strlen(ask));
	EXPECT_EQ(all_ended(), 1);
	EXPECT_EQ(written < BIG, true);
	close(fd);
	stop();
}

TEST(more_connections_than_allowed_wait)
{
	struct http_server_opts o = { .conns_max = 2 };
	const char *ask = "GET /no HTTP/1.1\r\nHost: x\r\n\r\n";
	int fd[4];
	char b[512];
	struct pollfd p;

	ASSERT_EQ(start(&o), true);
	for (int i = 0; i < 4; i++) {
		fd[i] = dial();
		ASSERT_GE(fd[i], 0);
		ASSERT_EQ(write(fd[i], ask, strlen(ask)), strlen(ask));
	}
	for (int i = 0; i < 4; i++) { /* each makes room for the next */
		p = (struct pollfd){ .fd = fd[i], .events = POLLIN };
		ASSERT_EQ(poll(&p, 1, 5000), 1);
		EXPECT_GE(read(fd[i], b, sizeof(b)), 50);
		close(fd[i]);
	}
	stop();
}

TEST(a_socket_left_behind_is_replaced_one_in_use_is_not)
{
	struct http_server_opts o = { .handle = handle };
	struct http_server *second;
	struct sockaddr_un a = { .sun_family = AF_UNIX, .sun_path = "old" };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	ASSERT_EQ(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	close(fd);
	ASSERT_EQ(start(&plain), true);
	o.loop = loop;
	ASSERT_EQ(http_server_new(&o, &second, &e), 0);
	EXPECT_EQ(http_listen_unix(second, "sock", 0600, &e), -EADDRINUSE);
	EXPECT_STREQ(e.msg, "'sock' is served by another process");
	EXPECT_EQ(http_listen_unix(second, "old", 0600, &e), 0);
	close(open("file", O_CREAT | O_WRONLY, 0600));
	EXPECT_EQ(http_listen_unix(second, "file", 0600, &e), -EEXIST);
	ev_stop(loop);
	pthread_join(thread, NULL);
	http_server_free(second);
	http_server_free(server);
	ev_free(loop);
}

TEST_MAIN()

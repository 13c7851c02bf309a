// SPDX-License-Identifier: Apache-2.0
/* LANE: native SECONDS: 120 */
#include <pthread.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "agent/local/stream.h"
#include "lib/ev.h"
#include "lib/http/client.h"
#include "lib/json.h"
#include "selftests/agent/local/fake_backend.h"
#include "selftests/harness.h"

static struct fake fake;
static struct ev *loop;
static struct api *api;
static pthread_t thread;
static struct http_answer a;
static struct err e;

static void *serve(void *arg)
{
	ev_run(loop);
	return arg;
}

static bool start(void)
{
	struct api_opts o = { .socket_path = "node.sock",
			      .backend = &fake_backend,
			      .arg = &fake,
			      .any_peer = getuid() != 0 };

	if (ev_new(&loop, &e) < 0)
		return false;
	o.loop = loop;
	if (api_start(&o, &api, &e) < 0) {
		printf("# %s\n", e.msg);
		return false;
	}
	return pthread_create(&thread, NULL, serve, NULL) == 0;
}

static void stop(void)
{
	ev_stop(loop);
	pthread_join(thread, NULL);
	api_stop(api);
	ev_free(loop);
	buf_clear(&a.body);
}

static struct http_client *dial(void)
{
	struct http_client *c = NULL;

	if (http_client_open("unix:node.sock", 5000, &c, &e) < 0)
		printf("# %s\n", e.msg);
	return c;
}

/* One call; its status. The body is in a.body. */
static int call(const char *method, const char *target, const char *body)
{
	struct http_call hc = { .method = method,
				.target = target,
				.body = body,
				.len = body ? strlen(body) : 0,
				.timeout_ms = 10000 };
	struct http_client *c = dial();
	int r;

	buf_reset(&a.body);
	a.status = 0;
	if (!c)
		return -1;
	r = http_call(c, &hc, &a, &e);
	if (r < 0)
		printf("# %s: %s\n", target, e.msg);
	http_client_close(c);
	return r < 0 ? r : a.status;
}

/* A field of the answer, which is to be JSON. */
static const char *field(const char *key)
{
	static char text[512];
	const char *s = "";
	yyjson_doc *doc;

	if (json_parse(buf_str(&a.body), a.body.len, &doc, &e) < 0)
		return "(not JSON)";
	struct json_ref root = json_root(doc), f = json_get(&root, key);

	(void)json_opt_str(&f, &s, NULL);
	snprintf(text, sizeof(text), "%s", s);
	yyjson_doc_free(doc);
	return text;
}

#define PODS "/api/v1/namespaces/default/pods"

TEST(the_socket_is_for_root_alone)
{
	struct stat st;

	ASSERT_EQ(start(), true);
	ASSERT_EQ(stat("node.sock", &st), 0);
	EXPECT_EQ(st.st_mode & 0777, 0600);
	stop();
}

TEST(reads_look_like_kubernetes)
{
	ASSERT_EQ(start(), true);
	EXPECT_EQ(call("GET", "/api/v1/pods", NULL), 200);
	EXPECT_STREQ(field("kind"), "PodList");
	EXPECT_EQ(call("GET", PODS "/web", NULL), 200);
	EXPECT_STREQ(field("kind"), "Pod");
	EXPECT_EQ(call("GET", "/api/v1/tenants/t1/namespaces/default/pods/web",
		       NULL),
		  200);
	EXPECT_EQ(call("GET", "/healthz", NULL), 200);
	EXPECT_STREQ(buf_str(&a.body), "ok");
	EXPECT_EQ(call("GET", "/version", NULL), 200);
	EXPECT_STREQ(field("arktosVersion"), ARKTOS_VERSION);
	EXPECT_EQ(call("GET", "/metrics", NULL), 200);
	EXPECT_EQ(strstr(buf_str(&a.body), "\narktos_api_requests_total 6\n") !=
			  NULL,
		  true);
	EXPECT_EQ(call("GET", "/images", NULL), 200);
	EXPECT_EQ(call("GET", "/api/v1/events?pod=web", NULL), 200);
	stop();
}

static const struct {
	const char *method, *target, *body;
	int status;
	const char *message;
} bad[] = {
	{ "GET", PODS "/nope", NULL, 404, "pods \"nope\" not found" },
	{ "GET", "/api/v1/nope", NULL, 404,
	  "the server could not find the requested resource" },
	{ "GET", "/api/v1/namespaces/default/pods/web/nope", NULL, 404,
	  "the server could not find the requested resource" },
	{ "GET", PODS "/web/log/x", NULL, 404,
	  "the server could not find the requested resource" },
	{ "PATCH", PODS, "{}", 405, "the method PATCH is not allowed here" },
	{ "GET", PODS "/UPPER", NULL, 400, "'UPPER' is not a name" },
	{ "GET", "/api/v1/namespaces/-/pods", NULL, 400,
	  "not a namespace's name" },
	{ "GET", "/api/v1/tenants", NULL, 400, "not a tenant's name" },
	{ "GET", "/../etc", NULL, 400, "a bad segment in the URL" },
	{ "POST", PODS, "", 400, NULL },
	{ "POST", PODS, "{", 400, NULL },
	{ "POST", PODS, "[]", 400, "the body must be an object" },
	{ "POST", PODS, "{\"a\":1,\"a\":1}", 400, "a: the key is there twice" },
	{ "POST", PODS, "{}", 400, "metadata: must be an object" },
	{ "POST", PODS, "{\"metadata\":{\"namespace\":\"other\"}}", 400,
	  "the namespace of the provided object does not match the namespace"
	  " sent on the request" },
	{ "PUT", PODS "/web", "{\"metadata\":{\"name\":\"x\"}}", 400,
	  "the name of the provided object does not match the name sent on"
	  " the request" },
	{ "POST", PODS, "{\"metadata\":{},\"spec\":{\"bad\":1}}", 422,
	  "spec.bad: unknown field" },
	{ "DELETE", PODS "/nope", NULL, 404, "pods \"nope\" not found" },
	{ "DELETE", PODS "/web?gracePeriodSeconds=-1", NULL, 400,
	  "gracePeriodSeconds: must be a number from 0 to 31536000" },
	{ "PATCH", PODS "/web/resize", "{}", 422,
	  "nothing to resize: give cpu or memory" },
	{ "PATCH", PODS "/web/resize", "{\"cpu\":\"x\"}", 422, NULL },
	{ "PATCH", PODS "/web/resize", "{\"cpu\":true}", 422,
	  "cpu: must be a quantity such as 500m or 64Mi" },
	{ "PATCH", PODS "/web/resize", "{\"cup\":\"2\"}", 422,
	  "cup: unknown field (did you mean 'cpu'?)" },
	{ "PATCH", PODS "/web/resize",
	  "{\"spec\":{\"containers\":[{\"name\":\"a\"},{\"name\":\"b\"}]}}",
	  422, "spec.containers: one container can be resized at a time" },
	{ "POST", PODS "/web/action", "{\"operation\":\"explode\"}", 400,
	  "Unsupported operation 'explode'" },
	{ "POST", PODS "/web/action", "{}", 400, "operation: is required" },
	{ "GET", PODS "/nope/log", NULL, 404, "pods \"nope\" not found" },
	{ "GET", PODS "/web/log?tailLines=x", NULL, 400, NULL },
	{ "POST", PODS "/web/exec?command=ls", NULL, 400,
	  "send 'Connection: Upgrade' and 'Upgrade: arktos-stream'" },
	{ "POST", PODS "/web/attach", NULL, 501, "this agent cannot do that" },
	{ "GET", "/node", NULL, 501, "this agent cannot do that" },
	{ "POST", "/images", "{}", 400,
	  "give either pull or import, and what" },
	{ "POST", "/images", "{\"pull\":\"missing\"}", 404,
	  "no image 'missing'" },
	{ "DELETE", "/images", NULL, 400, "ref: is required" },
};

TEST(bad_requests_get_a_status_that_says_why)
{
	ASSERT_EQ(start(), true);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		int status = call(bad[i].method, bad[i].target, bad[i].body);

		if (status != bad[i].status)
			FAIL("%s %s %s: %d %s", bad[i].method, bad[i].target,
			     bad[i].body ? bad[i].body : "", status,
			     buf_str(&a.body));
		EXPECT_STREQ(field("kind"), "Status");
		if (bad[i].message)
			EXPECT_STREQ(field("message"), bad[i].message);
	}
	stop();
}

TEST(apply_takes_tenant_and_namespace_from_the_path)
{
	ASSERT_EQ(start(), true);
	EXPECT_EQ(call("POST", "/api/v1/tenants/t1/namespaces/ns/pods?outcome",
		       "{\"metadata\":{\"name\":\"x\",\"namespace\":null}}"),
		  201);
	EXPECT_STREQ(field("outcome"), "created");
	EXPECT_STREQ(fake.last_apply,
		     "{\"metadata\":{\"name\":\"x\",\"tenant\":\"t1\","
		     "\"namespace\":\"ns\"}}");
	stop();
}

TEST(resize_takes_both_forms)
{
	const struct resources *w = &fake.last_resize.want;

	ASSERT_EQ(start(), true);
	EXPECT_EQ(call("PATCH", PODS "/web/resize?timeoutSeconds=7",
		       "{\"container\":\"c\",\"cpu\":\"2\",\"memory\":\"1Gi\"}"),
		  200);
	EXPECT_STREQ(field("state"), "Done");
	EXPECT_STREQ(field("confirmedBy"), "guest");
	EXPECT_STREQ(fake.last_container, "c");
	EXPECT_EQ(fake.last_resize.timeout_ms, 7000);
	EXPECT_EQ(w->limits.cpu_milli, 2000);
	EXPECT_EQ(w->limits.mem_bytes, 1 << 30);
	EXPECT_EQ(w->requests.has_cpu, false);
	EXPECT_EQ(call("PATCH", PODS "/web/resize",
		       "{\"spec\":{\"containers\":[{\"name\":\"d\","
		       "\"resources\":{\"requests\":{\"cpu\":\"100m\"}}}]}}"),
		  200);
	EXPECT_STREQ(fake.last_container, "d");
	EXPECT_EQ(w->requests.cpu_milli, 100);
	EXPECT_EQ(w->limits.has_cpu, false);
	EXPECT_EQ(call("PATCH", PODS "/web/resize",
		       "{\"cpu\":0.5,\"memory\":1048576}"),
		  200);
	EXPECT_EQ(w->limits.cpu_milli, 500);
	EXPECT_EQ(w->limits.mem_bytes, 1 << 20);
	stop();
}

TEST(deletes_with_and_without_grace)
{
	ASSERT_EQ(start(), true);
	EXPECT_EQ(call("DELETE", PODS "/web", NULL), 200);
	EXPECT_EQ(fake.last_grace, -1);
	EXPECT_EQ(call("DELETE", PODS "/web?gracePeriodSeconds=0", NULL), 200);
	EXPECT_EQ(fake.last_grace, 0);
	stop();
}

TEST(logs_come_whole_however_long)
{
	const char *last = "line 199999\n";

	ASSERT_EQ(start(), true);
	EXPECT_EQ(call("GET", PODS "/web/log", NULL), 200);
	EXPECT_STREQ(buf_str(&a.body), "line 0\nline 1\nline 2\n");
	EXPECT_EQ(call("GET", PODS "/web/log?tailLines=0", NULL), 200);
	EXPECT_STREQ(buf_str(&a.body), "");
	EXPECT_EQ(call("GET", PODS "/web/log?tailLines=200000", NULL), 200);
	EXPECT_EQ(a.body.len, 2288890);
	EXPECT_STREQ(a.body.data + a.body.len - strlen(last), last);
	stop();
}

static void wait_for(int *verdict_, atomic_int *value, int want)
{
	for (int i = 0; i < 10000 && *value < want; i++)
		usleep(1000);
	EXPECT_GE(*value, want);
}

TEST(following_logs_ends_when_the_client_goes)
{
	struct http_call hc = { .method = "GET",
				.target = PODS "/web/log?follow=true" };
	struct http_client *c;
	char b[1000];
	int status;

	ASSERT_EQ(start(), true);
	c = dial();
	ASSERT_EQ(http_begin(c, &hc, &status, &e), 0);
	EXPECT_GE(http_read(c, b, sizeof(b), &e), 1);
	http_client_close(c);
	for (int i = 0; i < 10000 && !fake.log_broken && !fake.cancelled; i++)
		usleep(1000);
	EXPECT_EQ(fake.log_broken + fake.cancelled, 1);
	stop();
}

TEST(pulls_tell_their_progress_and_their_end)
{
	ASSERT_EQ(start(), true);
	EXPECT_EQ(call("POST", "/images", "{\"pull\":\"good\"}"), 200);
	EXPECT_STREQ(buf_str(&a.body),
		     "{\"progress\":{\"phase\":\"downloading\",\"bytes\":1}}\n"
		     "{\"result\":{\"ref\":\"x\"}}\n");
	EXPECT_EQ(call("POST", "/images", "{\"pull\":\"torn\"}"), 200);
	EXPECT_EQ(strstr(buf_str(&a.body), "\n{\"kind\":\"Status\"") != NULL,
		  true);
	EXPECT_EQ(strstr(buf_str(&a.body), "\"no space left\"") != NULL, true);
	EXPECT_EQ(call("POST", "/images",
		       "{\"import\":\"/x\",\"name\":\"demo\"}"),
		  200);
	EXPECT_STREQ(buf_str(&a.body), "{\"result\":{\"ref\":\"demo\"}}\n");
	stop();
}

TEST(a_pull_is_cancelled_when_the_client_goes)
{
	struct http_call hc = { "POST", "/images", NULL, "{\"pull\":\"slow\"}",
				15,     5000,      0 };
	struct http_client *c;
	int status;

	ASSERT_EQ(start(), true);
	c = dial();
	ASSERT_EQ(http_begin(c, &hc, &status, &e), 0);
	http_client_close(c);
	wait_for(verdict_, &fake.cancelled, 1);
	stop();
}

/* --- sessions ---------------------------------------------------------------
 */

static int open_exec(const char *query, struct buf *early)
{
	struct http_call hc = { .method = "POST", .target = query };
	struct http_client *c = dial();
	int fd = -1, status = 0;

	if (http_upgrade(c, &hc, STREAM_PROTOCOL, &status, &fd, early, &e) < 0)
		printf("# %s\n", e.msg);
	http_client_close(c);
	if (fd >= 0)
		fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
	return fd;
}

/* Read all frames; the last one's text goes to @end. */
static void read_frames(int fd, struct buf *early, struct buf *out,
			struct buf *err, struct buf *end)
{
	struct stream_frame f;
	int r;

	for (;;) {
		while ((r = stream_parse(buf_str(early), early->len, &f)) > 0) {
			buf_add(f.channel == STREAM_OUT   ? out
				: f.channel == STREAM_ERR ? err
							  : end,
				f.data, f.len);
			buf_consume(early, (size_t)r);
		}
		char b[8192];
		ssize_t n = read(fd, b, sizeof(b));

		if (r < 0 || n <= 0)
			return;
		buf_add(early, b, (size_t)n);
	}
}

static void exec_and_check(int *verdict_, const char *query, const char *input,
			   const char *want_out, const char *want_err,
			   const char *want_end)
{
	struct buf early = BUF_INIT, out = BUF_INIT, err = BUF_INIT,
		   end = BUF_INIT, in = BUF_INIT;
	int fd = open_exec(query, &early);

	EXPECT_GE(fd, 0);
	if (input) {
		stream_put(&in, STREAM_IN, input, strlen(input));
		stream_put(&in, STREAM_IN, "", 0);
		EXPECT_EQ(write(fd, in.data, in.len), in.len);
	}
	read_frames(fd, &early, &out, &err, &end);
	EXPECT_STREQ(buf_str(&out), want_out);
	EXPECT_STREQ(buf_str(&err), want_err);
	EXPECT_STREQ(buf_str(&end), want_end);
	close(fd);
	buf_clear(&early);
	buf_clear(&out);
	buf_clear(&err);
	buf_clear(&end);
	buf_clear(&in);
}

TEST(exec_carries_input_outputs_and_the_exit_code)
{
	ASSERT_EQ(start(), true);
	exec_and_check(verdict_,
		       PODS "/web/exec?command=sh&command=-c&command="
			    "echo%20out;echo%20err%3e%262;exit%207",
		       NULL, "out\n", "err\n", "{\"exitCode\":7}");
	exec_and_check(verdict_, PODS "/web/exec?command=cat&stdin=true",
		       "through the pipes", "through the pipes", "",
		       "{\"exitCode\":0}");
	exec_and_check(verdict_,
		       PODS "/web/exec?command=sh&command=-c&command="
			    "kill%20-9%20$$",
		       NULL, "", "", "{\"exitCode\":137}");
	wait_for(verdict_, &fake.closed, 3);
	stop();
}

TEST(exec_carries_megabytes_both_ways)
{
	struct buf early = BUF_INIT, out = BUF_INIT, err = BUF_INIT,
		   end = BUF_INIT, in = BUF_INIT;
	static char chunk[STREAM_FRAME_MAX];
	int fd;

	ASSERT_EQ(start(), true);
	fd = open_exec(PODS "/web/exec?command=cat&stdin=true", &early);
	for (int i = 0; i < 64; i++) {
		memset(chunk, 'a' + i % 26, sizeof(chunk));
		stream_put(&in, STREAM_IN, chunk, sizeof(chunk));
	}
	stream_put(&in, STREAM_IN, "", 0);
	if (fork() == 0) { /* or both sides wait for each other */
		size_t at = 0;

		while (at < in.len) {
			ssize_t n = write(fd, in.data + at, in.len - at);

			if (n <= 0)
				_exit(1);
			at += (size_t)n;
		}
		_exit(0);
	}
	read_frames(fd, &early, &out, &err, &end);
	EXPECT_EQ(out.len, sizeof(chunk) * 64);
	EXPECT_EQ(out.data[out.len - 1], 'a' + 63 % 26);
	EXPECT_STREQ(buf_str(&end), "{\"exitCode\":0}");
	close(fd);
	buf_clear(&early);
	buf_clear(&out);
	buf_clear(&err);
	buf_clear(&end);
	buf_clear(&in);
	stop();
}

TEST(a_command_is_hung_up_when_its_client_goes)
{
	struct buf early = BUF_INIT;
	int fd;

	ASSERT_EQ(start(), true);
	fd = open_exec(PODS "/web/exec?command=sleep&command=1000", &early);
	ASSERT_GE(fd, 0);
	close(fd);
	wait_for(verdict_, &fake.closed, 1);
	/* Nonsense is as good as gone. */
	fd = open_exec(PODS "/web/exec?command=sleep&command=1000", &early);
	ASSERT_EQ(write(fd, "GET / HTTP/1.1\r\n", 16), 16);
	wait_for(verdict_, &fake.closed, 2);
	close(fd);
	buf_clear(&early);
	stop();
}

TEST(stopping_ends_sessions_pulls_and_followers)
{
	struct http_call pull = {
		"POST", "/images", NULL, "{\"pull\":\"slow\"}", 15, 5000, 0
	};
	struct http_call follow = { .method = "GET",
				    .target = PODS "/web/log?follow=1" };
	struct http_call watch = { .method = "GET",
				   .target = "/api/v1/pods?watch=1" };
	struct http_client *c[3] = { 0 };
	struct buf early = BUF_INIT;
	int fd, status;

	ASSERT_EQ(start(), true);
	for (int i = 0; i < 3; i++)
		c[i] = dial();
	ASSERT_EQ(http_begin(c[0], &pull, &status, &e), 0);
	ASSERT_EQ(http_begin(c[1], &follow, &status, &e), 0);
	ASSERT_EQ(http_begin(c[2], &watch, &status, &e), 0);
	fd = open_exec(PODS "/web/exec?command=sleep&command=1000", &early);
	stop();
	EXPECT_EQ(fake.cancelled + fake.log_broken >= 2, true);
	EXPECT_EQ(fake.closed, 1);
	for (int i = 0; i < 3; i++)
		http_client_close(c[i]);
	close(fd);
	buf_clear(&early);
}

/* --- watches ----------------------------------------------------------------
 */

static void change(enum api_change type, const char *name, const char *version)
{
	struct api_pod_id id = { "system", "default", name };
	struct buf b = BUF_INIT;

	buf_printf(&b,
		   "{\"metadata\":{\"name\":\"%s\",\"resourceVersion\":"
		   "\"%s\"}}",
		   name, version);
	api_pod_changed(api, type, &id, b.data, b.len);
	buf_clear(&b);
}

TEST(watchers_get_what_is_there_and_what_changes)
{
	struct http_call hc = { .method = "GET",
				.target = "/api/v1/namespaces/default/pods"
					  "?watch=1",
				.timeout_ms = 10000 };
	struct http_client *c;
	struct buf b = BUF_INIT;
	char piece[4096];
	ssize_t n = 1;
	int status;

	ASSERT_EQ(start(), true);
	EXPECT_EQ(api_watched(api), false);
	change(API_ADDED, "nobody-looks", "1");
	c = dial();
	ASSERT_EQ(http_begin(c, &hc, &status, &e), 0);
	EXPECT_EQ(status, 200);
	EXPECT_EQ(api_watched(api), true);
	change(API_MODIFIED, "web", "6");
	change(API_DELETED, "web", "7");
	while (n > 0 && !strstr(buf_str(&b), "DELETED")) {
		n = http_read(c, piece, sizeof(piece), &e);
		if (n > 0)
			buf_add(&b, piece, (size_t)n);
	}
	EXPECT_EQ(strncmp(buf_str(&b), "{\"type\":\"ADDED\",\"object\":{", 26),
		  0);
	EXPECT_EQ(strstr(buf_str(&b),
			 "\n{\"type\":\"MODIFIED\",\"object\":"
			 "{\"metadata\":{\"name\":\"web\"") != NULL,
		  true);
	http_client_close(c);
	for (int i = 0; i < 10000 && api_watched(api); i++)
		usleep(1000);
	EXPECT_EQ(api_watched(api), false);
	buf_clear(&b);
	stop();
}

TEST(a_watcher_that_does_not_read_is_cut_off)
{
	struct http_call hc = { .method = "GET",
				.target = "/api/v1/pods?watch=1" };
	struct http_client *c;
	static char json[100000];
	struct api_pod_id id = { "system", "default", "web" };
	int status;

	ASSERT_EQ(start(), true);
	c = dial();
	ASSERT_EQ(http_begin(c, &hc, &status, &e), 0);
	memset(json, ' ', sizeof(json));
	json[0] = '1';
	for (int i = 0; i < 2000 && api_watched(api); i++) {
		api_pod_changed(api, API_MODIFIED, &id, json, sizeof(json));
		usleep(100);
	}
	EXPECT_EQ(api_watched(api), false);
	http_client_close(c);
	stop();
}

/* From before there are threads: a child of a process with threads may find
 * a lock of its allocator held by one of them, for ever. */
TEST(many_clients_at_once)
{
	pid_t pids[16];
	int failed = 0, status, go[2];
	char c;

	ASSERT_EQ(pipe2(go, O_CLOEXEC), 0);
	for (size_t i = 0; i < ARRAY_SIZE(pids); i++) {
		pids[i] = fork();
		if (pids[i] == 0) {
			close(go[1]);
			if (read(go[0], &c, 1) != 0)
				_exit(2);
			for (int k = 0; k < 50; k++)
				if (call("GET", "/api/v1/pods", NULL) != 200)
					_exit(1);
			_exit(0);
		}
	}
	ASSERT_EQ(start(), true);
	close(go[1]);
	close(go[0]);
	for (size_t i = 0; i < ARRAY_SIZE(pids); i++) {
		waitpid(pids[i], &status, 0);
		failed += status != 0;
	}
	EXPECT_EQ(failed, 0);
	stop();
}

/* Good requests with bytes changed, cut and doubled: whatever comes of it, the
 * next good one is answered. */
TEST(mutilated_requests_do_no_harm)
{
	static const char *const seeds[] = {
		"PATCH " PODS "/web/resize?timeoutSeconds=1 HTTP/1.1\r\n"
		"Host: x\r\nContent-Length: 11\r\n\r\n{\"cpu\":\"2\"}",
		"POST " PODS "?outcome HTTP/1.1\r\nHost: x\r\n"
		"Transfer-Encoding: chunked\r\n\r\nf\r\n{\"metadata\":{}}"
		"\r\n0\r\n\r\n",
		"GET " PODS "/web/log?tailLines=5&follow=0 HTTP/1.1\r\n"
		"Host: x\r\n\r\n",
		"POST " PODS "/web/exec?command=true HTTP/1.1\r\nHost: x\r\n"
		"Connection: Upgrade\r\nUpgrade: arktos-stream\r\n\r\n"
		"\0\0\0\0\0\0\0\0",
		("POST /images HTTP/1.1\r\nHost: x\r\nContent-Length: 15"
		 "\r\n\r\n{\"pull\":\"torn\"}"),
	};
	struct sockaddr_un un = { .sun_family = AF_UNIX,
				  .sun_path = "node.sock" };
	unsigned x = 1;

	ASSERT_EQ(start(), true);
	for (int n = 0; n < 1500; n++) {
		const char *seed = seeds[n % ARRAY_SIZE(seeds)];
		size_t len = strlen(seed);
		char text[512];
		int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

		memcpy(text, seed, len);
		for (int k = 0; k < 3; k++) {
			x = x * 1103515245 + 12345;
			text[(x >> 8) % len] = (char)(x >> 20);
		}
		if (n % 4 == 0)
			len = (x >> 12) % len;
		ASSERT_EQ(connect(fd, (struct sockaddr *)&un, sizeof(un)), 0);
		if (send(fd, text, len, MSG_NOSIGNAL) < 0)
			FAIL("send: %s", strerror(errno));
		close(fd);
	}
	EXPECT_EQ(call("GET", PODS "/web", NULL), 200);
	EXPECT_STREQ(field("kind"), "Pod");
	stop();
}

TEST(frames_are_parsed_strictly)
{
	struct stream_frame f;
	struct buf b = BUF_INIT;

	stream_put_size(&b, 24, 80);
	for (size_t i = 0; i < b.len; i++)
		EXPECT_EQ(stream_parse(b.data, i, &f), 0);
	EXPECT_EQ(stream_parse(b.data, b.len, &f), b.len);
	EXPECT_EQ(f.channel, STREAM_RESIZE);
	EXPECT_EQ(stream_parse("\x05\0\0\0\0\0\0\0", 8, &f), -EBADMSG);
	EXPECT_EQ(stream_parse("\0\0\1\0\0\0\0\0", 8, &f), -EBADMSG);
	EXPECT_EQ(stream_parse("\0\0\0\0\0\1\0\1", 8, &f), -EBADMSG);
	EXPECT_EQ(stream_parse("\0\0\0\0\xff\xff\xff\xff", 8, &f), -EBADMSG);
	buf_clear(&b);
}

TEST_MAIN()

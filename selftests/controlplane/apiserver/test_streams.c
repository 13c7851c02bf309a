// SPDX-License-Identifier: Apache-2.0
/* LANE: native SECONDS: 120 */
/*
 * exec, attach, logs, port-forward and proxies: from the real kubectls (SPDY,
 * and WebSocket) through the API server to a node's server, which is made here
 * of lib/http/stream.h.
 */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>

#include "controlplane/apiserver/internal.h"
#include "controlplane/client/rest.h"
#include "lib/fs.h"
#include "lib/http/server.h"
#include "lib/http/stream.h"
#include "lib/http/tls.h"
#include "lib/http/url.h"
#include "selftests/harness.h"

static char root[4096];

__attribute__((constructor)) static void remember_root(void)
{
	if (!getcwd(root, sizeof(root)))
		abort();
}

/* --- a node's server ------------------------------------------------------ */

struct node {
	struct ev *loop;
	struct http_server *server;
	SSL_CTX *tls;
	uint16_t port;
	pthread_t thread;
	char last_target[1024]; /* of the last request, under lock */
	pthread_mutex_t lock;
};

struct session {
	struct stream *s;
	char command[64];
	size_t left; /* of a long output */
};

#define BIG ((size_t)6 * 1024 * 1024)

static void pump_big(struct session *x)
{
	static char block[8192];

	memset(block, 'b', sizeof(block));
	while (x->left && stream_backlog(x->s) < STREAM_LOW) {
		size_t n = x->left < sizeof(block) ? x->left : sizeof(block);

		if (stream_write(x->s, STREAM_STDOUT, block, n) < 0)
			return;
		x->left -= n;
	}
	if (!x->left)
		stream_exit(x->s, 0);
}

static void on_begin(void *arg, struct stream *s)
{
	struct session *x = arg;

	x->s = s;
	if (strcmp(x->command, "fail") == 0) {
		stream_write(s, STREAM_STDOUT, "out\n", 4);
		stream_write(s, STREAM_STDERR, "err\n", 4);
		stream_exit(s, 3);
	} else if (strcmp(x->command, "none") == 0) {
		stream_fail(s, "no such program");
	} else if (strcmp(x->command, "big") == 0) {
		x->left = BIG;
		pump_big(x);
	}
}

static void on_input(void *arg, struct stream *s, const void *data, size_t len)
{
	(void)arg;
	stream_write(s, STREAM_STDOUT, data, len);
}

static void on_input_end(void *arg, struct stream *s)
{
	(void)arg;
	stream_exit(s, 0);
}

static void on_resize(void *arg, struct stream *s, uint16_t cols, uint16_t rows)
{
	(void)arg;
	(void)s;
	(void)cols;
	(void)rows;
}

static void on_drain(void *arg, struct stream *s)
{
	(void)s;
	pump_big(arg);
}

static void on_gone(void *arg, struct stream *s)
{
	(void)s;
	free(arg);
}

static const struct stream_ops stream_ops = {
	.begin = on_begin,
	.input = on_input,
	.input_end = on_input_end,
	.resize = on_resize,
	.drain = on_drain,
	.gone = on_gone,
};

static void fwd_open(void *arg, struct forward_conn *c, uint16_t port)
{
	(void)arg;
	if (port == 9)
		forward_end(c, "connection refused");
}

static void fwd_data(void *arg, struct forward_conn *c, const void *data,
		     size_t len)
{
	char text[64];
	int n = snprintf(text, sizeof(text), "got %zu: ", len);

	(void)arg;
	forward_write(c, text, (size_t)n);
	forward_write(c, data, len);
}

static void fwd_end(void *arg, struct forward_conn *c)
{
	(void)arg;
	forward_end(c, NULL);
}

static void fwd_nothing(void *arg, struct forward_conn *c)
{
	(void)arg;
	(void)c;
}

static void fwd_gone(void *arg, struct forward *f)
{
	(void)arg;
	(void)f;
}

static const struct forward_ops forward_ops = {
	.open = fwd_open,
	.data = fwd_data,
	.end = fwd_end,
	.drain = fwd_nothing,
	.closed = fwd_nothing,
	.gone = fwd_gone,
};

static bool is_apiserver(struct http_req *req)
{
	X509 *cert = http_req_cert(req);
	char cn[64] = "";

	if (cert)
		X509_NAME_get_text_by_NID(X509_get_subject_name(cert),
					  NID_commonName, cn, sizeof(cn));
	X509_free(cert);
	return strcmp(cn, "arktos-apiserver") == 0;
}

static void exec(struct http_req *req, const struct url *u)
{
	struct session *x = calloc(1, sizeof(*x));
	struct stream_opts o = { .ops = &stream_ops, .arg = x };

	stream_opts_parse(req->head->target, &o);
	for (size_t i = 0; i < u->nr_params; i++)
		if (strcmp(u->param[i].name, "command") == 0)
			snprintf(x->command, sizeof(x->command), "%s",
				 u->param[i].value);
	if (stream_accept(req, &o, &x->s, NULL) < 0)
		free(x);
}

/* A pod's port, behind an upgrade: it says which request came over it. */
static void dial(struct http_req *req)
{
	static const struct h1_field upgrade = { "Upgrade", "arktos-tcp" };
	auto_buf struct buf early = BUF_INIT, out = BUF_INIT;
	char in[4096];
	struct pollfd p = { .events = POLLIN };
	SSL *ssl = NULL;
	size_t len = 0;
	char path[1024];

	snprintf(path, sizeof(path), "%s", req->head->target);
	if (!req->head->upgrade ||
	    strcmp(req->head->upgrade, upgrade.value) != 0) {
		http_reply(req, 400, "text/plain", "no upgrade", 10);
		return;
	}
	if (http_take_tls(req, &upgrade, 1, &p.fd, &ssl, &early, NULL) < 0)
		return;
	while (len < sizeof(in) - 1 && !memmem(in, len, "\r\n\r\n", 4)) {
		int n = SSL_read(ssl, in + len, (int)(sizeof(in) - 1 - len));

		if (n > 0)
			len += (size_t)n;
		else if (poll(&p, 1, 10000) != 1)
			break;
	}
	in[len] = '\0';
	buf_printf(&out,
		   "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
		   "Connection: close\r\n\r\n%.*s by %s\n",
		   (int)strcspn(in, "\r"), in, path);
	(void)SSL_write(ssl, out.data, (int)out.len);
	(void)SSL_shutdown(ssl);
	SSL_free(ssl);
	close(p.fd);
}

static void handle_node(void *arg, struct http_req *req)
{
	struct node *n = arg;
	const char *what;
	struct forward *f;
	struct url u;

	pthread_mutex_lock(&n->lock);
	snprintf(n->last_target, sizeof(n->last_target), "%s %s",
		 req->head->method, req->head->target);
	pthread_mutex_unlock(&n->lock);
	if (!is_apiserver(req) || url_parse(req->head->target, &u, NULL) < 0) {
		http_reply(req, 403, "text/plain", "who are you?\n", 13);
		return;
	}
	what = u.nr_segments ? u.segment[0] : "";
	if (strcmp(what, "exec") == 0 || strcmp(what, "attach") == 0) {
		exec(req, &u);
	} else if (strcmp(what, "portForward") == 0) {
		(void)forward_accept(req, &forward_ops, NULL, &f, NULL);
	} else if (strcmp(what, "dial") == 0 &&
		   strcmp(u.segment[4], "8080") == 0) {
		dial(req);
	} else if (strcmp(what, "dial") == 0) {
		http_reply(req, 503, "text/plain", "nobody listens", 14);
	} else if (strcmp(what, "containerLogs") == 0) {
		http_stream(req, 200, "text/plain");
		http_stream_write(req, "line one\n", 9);
		http_stream_write(req, "line two\n", 9);
		http_stream_end(req);
	} else {
		auto_buf struct buf b = BUF_INIT;

		buf_printf(&b, "%s %s\n%s\n", req->head->method,
			   req->head->target, req->body);
		http_reply(req, 200, "text/plain", b.data, b.len);
	}
	url_clear(&u);
}

static void *node_run(void *arg)
{
	(void)ev_run(((struct node *)arg)->loop);
	return NULL;
}

static int node_start(struct node *n, struct ca *ca, const char *name)
{
	auto_buf struct buf cert = BUF_INIT, key = BUF_INIT, cn = BUF_INIT;
	struct cert_request req = { .organization = "system:nodes",
				    .alt_names = "IP:127.0.0.1",
				    .days = 1 };
	struct tls_server_opts to = { .client_ca_pem = ca_cert_pem(ca) };
	struct http_server_opts so = { .handle = handle_node, .arg = n };
	int r;

	buf_printf(&cn, "system:node:%s", name);
	req.common_name = buf_str(&cn);
	r = ca_issue(ca, &req, &cert, &key, NULL);
	to.cert_pem = buf_str(&cert);
	to.key_pem = buf_str(&key);
	if (r == 0)
		r = tls_server_new(&to, &n->tls, NULL);
	if (r == 0)
		r = ev_new(&n->loop, NULL);
	so.loop = n->loop;
	so.tls = n->tls;
	if (r == 0)
		r = http_server_new(&so, &n->server, NULL);
	if (r == 0)
		r = http_listen_tcp(n->server, "127.0.0.1", 0, &n->port, NULL);
	pthread_mutex_init(&n->lock, NULL);
	return r == 0 ? -pthread_create(&n->thread, NULL, node_run, n) : r;
}

static void node_stop(struct node *n)
{
	ev_stop(n->loop);
	pthread_join(n->thread, NULL);
	http_server_free(n->server);
	ev_free(n->loop);
	SSL_CTX_free(n->tls);
}

/* --- the cluster ---------------------------------------------------------- */

struct world {
	struct api *api;
	struct node node;
	struct rest *rest;
};

static int put(struct world *w, const char *method, const char *path,
	       const char *type, const char *fmt, ...)
	__attribute__((format(printf, 5, 6)));
static int put(struct world *w, const char *method, const char *path,
	       const char *type, const char *fmt, ...)
{
	auto_buf struct buf answer = BUF_INIT;
	char body[2048];
	va_list ap;
	int r;

	va_start(ap, fmt);
	vsnprintf(body, sizeof(body), fmt, ap);
	va_end(ap);
	r = rest_call(w->rest, method, path, body, type, &answer, NULL);
	if (r >= 300)
		printf("# %s %s: %d %s\n", method, path, r, buf_str(&answer));
	return r < 300 ? 0 : r;
}

/* @node_cn: what the node's certificate says it is. */
static int world_start(struct world *w, const char *node_cn)
{
	struct api_opts o = { .data_dir = "data", .listen = "127.0.0.1:0" };
	struct err e = { 0 };
	int r = api_start(&o, &w->api, &e);

	if (r == 0)
		r = node_start(&w->node, w->api->ca, node_cn);
	if (r == 0)
		r = rest_open("data/admin.kubeconfig", &w->rest, &e);
	if (r < 0) {
		printf("# %s\n", e.msg);
		return r;
	}
	r = put(w, "POST", "/api/v1/nodes", NULL,
		"{\"metadata\":{\"name\":\"n1\"}}");
	if (!r)
		r = put(w, "PUT", "/api/v1/nodes/n1/status", NULL,
			"{\"metadata\":{\"name\":\"n1\"},\"status\":{"
			"\"addresses\":[{\"type\":\"InternalIP\",\"address\":"
			"\"127.0.0.1\"}],\"daemonEndpoints\":{"
			"\"kubeletEndpoint\":{\"Port\":%u}}}}",
			w->node.port);
	if (!r)
		r = put(w, "POST", "/api/v1/namespaces/default/pods", NULL,
			"{\"metadata\":{\"name\":\"p\"},\"spec\":{"
			"\"nodeName\":\"n1\",\"containers\":[{\"name\":\"c\","
			"\"image\":\"i\",\"ports\":[{\"containerPort\":8080,"
			"\"name\":\"web\"}]}]}}");
	if (!r)
		r = put(w, "PATCH", "/api/v1/namespaces/default/pods/p/status",
			"application/merge-patch+json",
			"{\"status\":{\"phase\":\"Running\"}}");
	return r;
}

static void world_stop(struct world *w)
{
	rest_close(w->rest);
	api_stop(w->api);
	node_stop(&w->node);
}

/* Run a line of bash, in which k is kubectl. Its exit code. */
static int kubectl(const char *version, const char *line, struct buf *out)
{
	auto_buf struct buf text = BUF_INIT;
	FILE *p;
	int r;

	buf_printf(&text,
		   "k() { timeout 20 '%s/build/deps/kubectl-%s/%s' "
		   "--kubeconfig=data/admin.kubeconfig --cache-dir=cache "
		   "\"$@\"; }\n%s\n",
		   root, version,
		   strcmp(version, "1.20") == 0 ? "usr/bin/kubectl" : "kubectl",
		   line);
	buf_reset(out);
	if (fs_write_atomic(AT_FDCWD, "script", text.data, text.len, 0600,
			    NULL) < 0)
		return -1;
	p = popen("bash ./script", "r");
	if (!p)
		return -1;
	(void)buf_read_fd(out, fileno(p), 16 << 20);
	r = pclose(p);
	return WIFEXITED(r) ? WEXITSTATUS(r) : -1;
}

#define EXPECT_SAYS(version, args, code, text)                          \
	do {                                                            \
		auto_buf struct buf out_ = BUF_INIT;                    \
		int r_ = kubectl(version, args, &out_);                 \
		if (r_ != (code) || !strstr(buf_str(&out_), text))      \
			FAIL("%s: %s: exit %d, want %d; says '%.300s'", \
			     version, args, r_, code, buf_str(&out_));  \
	} while (0)

static const char *const versions[] = { "1.20", "1.32" };

TEST(exec_goes_through)
{
	struct world w = { 0 };

	ASSERT_EQ(world_start(&w, "n1"), 0);
	for (size_t i = 0; i < 2; i++) {
		const char *v = versions[i];

		EXPECT_SAYS(v, "echo hello | k exec -i p -- cat", 0, "hello\n");
		EXPECT_SAYS(v, "k exec p -- fail 2>/dev/null", 3, "out\n");
		EXPECT_SAYS(v, "k exec p -- fail 2>&1 >/dev/null", 3,
			    "err\ncommand terminated with exit code 3");
		EXPECT_SAYS(v, "k exec p -- none 2>&1", 1, "no such program");
		EXPECT_SAYS(v, "k exec p -- big | wc -c", 0, "6291456");
		EXPECT_SAYS(v,
			    "head -c 3000000 /dev/zero | k exec -i p -- cat | "
			    "wc -c",
			    0, "3000000");
		EXPECT_SAYS(v, "k exec p -c nope -- cat 2>&1", 1,
			    i ? "container nope" : "container nope");
		EXPECT_SAYS(v, "echo there | k attach -i p 2>/dev/null", 0,
			    "there\n");
	}
	world_stop(&w);
}

TEST(logs_and_proxies_go_through)
{
	struct world w = { 0 };

	ASSERT_EQ(world_start(&w, "n1"), 0);
	for (size_t i = 0; i < 2; i++) {
		const char *v = versions[i];

		EXPECT_SAYS(v, "k logs p", 0, "line one\nline two\n");
		EXPECT_SAYS(v, "k logs -f --tail=5 p", 0, "line two\n");
		EXPECT_SAYS(v, "k get --raw /api/v1/nodes/n1/proxy/a/b?c=d", 0,
			    "GET /a/b?c=d\n");
		EXPECT_SAYS(v,
			    "k get --raw "
			    "/api/v1/namespaces/default/pods/p:web/proxy/x/",
			    0,
			    "GET /x/ HTTP/1.1 by "
			    "/dial/system/default/p/8080\n");
		EXPECT_SAYS(v,
			    "k get --raw "
			    "/api/v1/namespaces/default/pods/p:81/proxy/ 2>&1",
			    1, "nobody listens");
		EXPECT_SAYS(v,
			    "k get --raw /api/v1/namespaces/default/pods/"
			    "https:p:web/proxy/ 2>&1",
			    1, "plain HTTP to pods");
	}
	EXPECT_SAYS("1.32", "k logs nobody 2>&1", 1,
		    "pods \"nobody\" not found");
	world_stop(&w);
}

TEST(ports_are_forwarded)
{
	/* Three connections, one after another, and one that is refused. */
	static const char script[] =
		"rm -f pf; k port-forward p :8080 :9 >pf 2>&1 & pid=$!\n"
		"wait_for() { timeout 20 tail -n +1 -F pf 2>/dev/null | "
		"grep -m1 -- \"$1\"; }\n"
		"a=$(wait_for '-> 8080' | grep -o '1:[0-9]*' | cut -d: -f2)\n"
		"b=$(wait_for '-> 9' | grep -o '1:[0-9]*' | cut -d: -f2)\n"
		"for i in 1 2 3; do exec 3<>/dev/tcp/127.0.0.1/$a\n"
		"echo hi$i >&3; head -c 11 <&3; exec 3>&-; done\n"
		"exec 3<>/dev/tcp/127.0.0.1/$b; cat <&3\n"
		"wait_for 'connection refused' >/dev/null && echo refused\n"
		"kill $pid; wait 2>/dev/null; true";
	struct world w = { 0 };

	ASSERT_EQ(world_start(&w, "n1"), 0);
	for (size_t i = 0; i < 2; i++)
		EXPECT_SAYS(versions[i], script, 0,
			    "got 4: hi1\ngot 4: hi2\ngot 4: hi3\nrefused\n");
	world_stop(&w);
}

TEST(another_node_at_the_address_is_refused)
{
	struct world w = { 0 };

	ASSERT_EQ(world_start(&w, "n2"), 0);
	EXPECT_SAYS("1.32", "k logs p 2>&1", 1,
		    "error dialing backend: certificate:");
	EXPECT_STREQ(w.node.last_target, "");
	world_stop(&w);
}

TEST(a_node_that_is_away_is_told)
{
	struct world w = { 0 };

	ASSERT_EQ(world_start(&w, "n1"), 0);
	EXPECT_EQ(put(&w, "PATCH", "/api/v1/nodes/n1/status",
		      "application/merge-patch+json",
		      "{\"status\":{\"daemonEndpoints\":{\"kubeletEndpoint\":{"
		      "\"Port\":1}}}}"),
		  0);
	EXPECT_SAYS("1.32", "k exec p -- cat 2>&1", 1,
		    "error dialing backend: connect: Connection refused");
	EXPECT_SAYS("1.20", "k exec p -- cat 2>&1", 1,
		    "error dialing backend: connect: Connection refused");
	world_stop(&w);
}

TEST_MAIN()

// SPDX-License-Identifier: Apache-2.0
/* LANE: native SECONDS: 60 */
/* Clients within the server's own process: no TLS, but all the rules. */
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "controlplane/client/client.h"
#include "selftests/controlplane/apiserver/world.h"

struct own {
	struct world *w;
	const char *user, *groups;
};

static int connect_own(void *arg, struct err *e)
{
	struct own *o = arg;

	return api_connect(o->w->api, "system", o->user, o->groups, e);
}

static struct client *open_own(struct own *o)
{
	auto_buf struct buf text = BUF_INIT;
	struct client_opts opts = { .connect = connect_own, .connect_arg = o };
	struct client *c = NULL;
	struct err e = { 0 };

	/* Somebody else's certificate: it is not looked at. */
	if (api_kubeconfig(o->w->api, "system", "nobody", NULL, &text, &e) < 0)
		return NULL;
	opts.text = buf_str(&text);
	if (client_open(&opts, &c, &e) < 0)
		printf("# %s\n", e.msg);
	return c;
}

/* One call; its status, and the answer as @want would have it. */
static int call(struct client *c, const char *method, const char *path,
		const char *body, struct buf *ret)
{
	struct client_call call = { .method = method,
				    .path = path,
				    .body = body };
	int status = client_do(c, &call);

	if (status < 0)
		printf("# %s %s: %s\n", method, path, call.err.msg);
	buf_reset(ret);
	buf_add(ret, call.answer.data, call.answer.len);
	client_call_clear(&call);
	return status;
}

TEST(who_is_inside_is_a_user_like_any_other)
{
	struct world w;
	struct own root = { &w, "system:arktos-control", "system:masters" };
	struct own guest = { &w, "guest", "some,others" };
	auto_buf struct buf b = BUF_INIT;
	struct client *c, *g;

	ASSERT_EQ(world_start(&w), true);
	c = open_own(&root);
	g = open_own(&guest);
	ASSERT_EQ(c && g, true);
	EXPECT_EQ(call(c, "POST",
		       "/apis/authentication.k8s.io/v1/selfsubjectreviews",
		       "{}", &b),
		  201);
	EXPECT_EQ(strstr(buf_str(&b),
			 "\"username\":\"system:arktos-control\"") != NULL,
		  true);
	EXPECT_EQ(strstr(buf_str(&b), "\"system:authenticated\"") != NULL,
		  true);
	EXPECT_EQ(call(c, "GET", "/api/v1/namespaces/default/pods", NULL, &b),
		  200);
	/* RBAC gives the other one nothing, and says whom. */
	EXPECT_EQ(call(g, "GET", "/api/v1/namespaces/default/pods", NULL, &b),
		  403);
	EXPECT_EQ(strstr(buf_str(&b), "User \\\"guest\\\" cannot list") != NULL,
		  true);
	client_close(c);
	client_close(g);
	world_end(&w);
}

/* More than a socket holds, by one who does not read for a while. */
TEST(a_long_answer_waits_for_its_reader)
{
	static const char ask_list[] =
		"GET /api/v1/namespaces/default/configmaps HTTP/1.1\r\n"
		"Host: a\r\nConnection: close\r\n\r\n";
	static char data[65536], big[200001];
	struct world w;
	struct err e = { 0 };
	struct pollfd p = { .events = POLLIN };
	size_t sum = 0;
	ssize_t n;
	int fd;

	ASSERT_EQ(world_start(&w), true);
	memset(big, 'x', sizeof(big) - 1);
	for (int i = 0; i < 10; i++)
		EXPECT_STATUS(&w, 201,
			      POST(&w, w.root,
				   "/api/v1/namespaces/default/configmaps",
				   "{'metadata':{'name':'m%d'},'data':{'a':"
				   "'%s'}}",
				   i, big));
	fd = api_connect(w.api, "system", "root", "system:masters", &e);
	ASSERT_GE(fd, 0);
	p.fd = fd;
	ASSERT_EQ(write(fd, ask_list, sizeof(ask_list) - 1),
		  (ssize_t)sizeof(ask_list) - 1);
	ASSERT_EQ(poll(&p, 1, 20000), 1);
	/* Others are served while it is not read. */
	EXPECT_STATUS(&w, 200, GET(&w, w.root, "/version"));
	for (;;) {
		ASSERT_EQ(poll(&p, 1, 20000), 1);
		n = read(fd, data, sizeof(data));
		if (n <= 0)
			break;
		sum += (size_t)n;
	}
	EXPECT_EQ(n, 0);
	EXPECT_EQ(sum > 10 * (sizeof(big) - 1), true);
	close(fd);
	world_end(&w);
}

/* The last connection's end, and the server's, are noticed on both sides. */
TEST(ends_are_seen)
{
	struct world w;
	struct own root = { &w, "root", "system:masters" };
	auto_buf struct buf b = BUF_INIT;
	struct err e = { 0 };
	struct pollfd p = { .events = POLLIN };
	struct client *c;
	char byte, head[8];
	int fd;

	ASSERT_EQ(world_start(&w), true);
	c = open_own(&root);
	ASSERT_EQ(c != NULL, true);
	EXPECT_EQ(call(c, "GET", "/version", NULL, &b), 200);
	client_close(c);
	fd = api_connect(w.api, "system", "root", "system:masters", &e);
	ASSERT_GE(fd, 0);
	ASSERT_EQ(write(fd, "nonsense\r\n\r\n", 12), 12);
	p.fd = fd;
	ASSERT_EQ(poll(&p, 1, 20000), 1);
	ASSERT_EQ(read(fd, head, 8), 8);
	EXPECT_EQ(memcmp(head, "HTTP/1.1", 8), 0);
	close(fd);
	fd = api_connect(w.api, "system", "root", "system:masters", &e);
	ASSERT_GE(fd, 0);
	ASSERT_EQ(write(fd, "GET /livez HTTP/1.1\r\nHost: a\r\n\r\n", 32), 32);
	p.fd = fd;
	ASSERT_EQ(poll(&p, 1, 20000), 1);
	world_end(&w);
	/* All that was said, then the end. */
	while (read(fd, &byte, 1) == 1)
		;
	EXPECT_EQ(read(fd, &byte, 1), 0);
	close(fd);
}

TEST_MAIN()

// SPDX-License-Identifier: Apache-2.0
/*
 * LANE: native
 * The informer against a real server: what is there, what comes and goes, what
 * vanished while the server was away; and the cache alone, with forged lines.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "controlplane/apiserver/apiserver.h"
#include "controlplane/client/cache.h"
#include "controlplane/client/client.h"
#include "controlplane/client/informer.h"
#include "lib/buf.h"
#include "lib/err.h"
#include "lib/str.h"
#include "selftests/harness.h"

/* --- what was told, in a line each --- */

struct told {
	pthread_mutex_t lock;
	pthread_cond_t cond;
	struct buf text;
};

static void note(void *arg, const struct informer_event *ev)
{
	struct told *t = arg;

	pthread_mutex_lock(&t->lock);
	buf_printf(&t->text, "%c%s\n",
		   !ev->old  ? '+'
		   : ev->now ? '~'
			     : '-',
		   ev->now ? ev->now->key : ev->old->key);
	pthread_cond_broadcast(&t->cond);
	pthread_mutex_unlock(&t->lock);
}

static bool wait_told(struct told *t, const char *what)
{
	struct timespec until;
	bool found;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += 20;
	pthread_mutex_lock(&t->lock);
	while (!(found = strstr(buf_str(&t->text), what) != NULL))
		if (pthread_cond_timedwait(&t->cond, &t->lock, &until))
			break;
	if (!found)
		printf("# waited for '%s', was told: %s\n", what,
		       buf_str(&t->text));
	pthread_mutex_unlock(&t->lock);
	return found;
}

#define TOLD_INIT                                  \
	{                                          \
		.lock = PTHREAD_MUTEX_INITIALIZER, \
		.cond = PTHREAD_COND_INITIALIZER,  \
	}

/* --- a server --- */

static struct api *serve(const char *listen)
{
	struct api_opts opts = { .data_dir = "data", .listen = listen };
	struct api *api = NULL;
	struct err e = { 0 };

	if (api_start(&opts, &api, &e) < 0)
		printf("# %s\n", e.msg);
	return api;
}

static int call(struct client *c, const char *method, const char *path,
		const char *body)
{
	struct client_call k = { .method = method, .path = path, .body = body };
	int status = client_do(c, &k);

	if (status < 0 || status >= 300)
		printf("# %s %s: %d %s%s\n", method, path, status,
		       buf_str(&k.answer), k.err.msg);
	client_call_clear(&k);
	return status;
}

static int make(struct client *c, const char *tenant, const char *name)
{
	auto_free char *path =
		str_printf("/api/v1/tenants/%s/namespaces/default/configmaps",
			   tenant);
	auto_free char *body = str_printf(
		"{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{"
		"\"name\":\"%s\",\"labels\":{\"app\":\"x\"}}}",
		name);

	return call(c, "POST", path, body);
}

#define PATH "/api/v1/tenants/system/namespaces/default/configmaps/"

TEST(it_lists_watches_and_survives_the_server)
{
	struct told told = TOLD_INIT;
	struct informer_opts opts = {
		.path = "/api/v1/tenants/all/configmaps",
		.query = "labelSelector=app%3Dx",
		.label = "app",
	};
	struct client_opts copts = { .kubeconfig = "data/admin.kubeconfig" };
	struct client *c = NULL;
	struct informer *i = NULL;
	struct informer_object *o;
	struct informer_list l;
	struct api *api = serve("127.0.0.1:0");
	struct err e = { 0 };
	char listen[32];

	ASSERT_EQ(api != NULL, 1);
	snprintf(listen, sizeof(listen), "127.0.0.1:%u", api_port(api));
	ASSERT_EQ(client_open(&copts, &c, &e), 0);
	ASSERT_EQ(make(c, "system", "a"), 201);
	ASSERT_EQ(informer_new(c, &opts, &i, &e), 0);
	informer_subscribe(i, note, &told);
	informer_start(i);
	ASSERT_EQ(informer_wait(i, 10000), 0);
	EXPECT_EQ(wait_told(&told, "+system/default/a\n"), 1);
	ASSERT_EQ(make(c, "system", "b"), 201);
	EXPECT_EQ(wait_told(&told, "+system/default/b\n"), 1);
	EXPECT_EQ(call(c, "DELETE", PATH "a", NULL), 200);
	EXPECT_EQ(wait_told(&told, "-system/default/a\n"), 1);
	EXPECT_EQ(informer_count(i, INFORMER_BY_LABEL, "x"), 1);
	EXPECT_EQ(informer_count(i, INFORMER_BY_NAMESPACE, "system/default"),
		  1);
	EXPECT_EQ(informer_get(i, "system/default/a") == NULL, 1);
	o = informer_get(i, "system/default/b");
	ASSERT_EQ(o != NULL, 1);
	EXPECT_EQ(strstr(o->data, "\"name\":\"b\"") != NULL, 1);
	EXPECT_STREQ(o->tenant, "system");
	informer_unref(o);

	/* What changes while the server is away is seen afterwards. */
	api_stop(api);
	api = serve(listen);
	ASSERT_EQ(api != NULL, 1);
	ASSERT_EQ(make(c, "system", "c"), 201);
	EXPECT_EQ(wait_told(&told, "+system/default/c\n"), 1);
	EXPECT_EQ(call(c, "DELETE", PATH "b", NULL), 200);
	EXPECT_EQ(wait_told(&told, "-system/default/b\n"), 1);
	EXPECT_EQ(informer_list(i, INFORMER_ALL, NULL, &l), 0);
	EXPECT_EQ(l.nr, 1);
	informer_list_clear(&l);
	informer_free(i);
	client_close(c);
	api_stop(api);
	buf_clear(&told.text);
}

TEST(a_refused_call_says_why)
{
	struct client_opts copts = { .kubeconfig = "data/admin.kubeconfig" };
	struct client_call k = { .method = "GET",
				 .path = "/api/v1/namespaces/x/pods/y" };
	struct api *api = serve("127.0.0.1:0");
	struct client *c = NULL;
	struct err e = { 0 };

	ASSERT_EQ(client_open(&copts, &c, &e), 0);
	EXPECT_EQ(client_do(c, &k), 404);
	EXPECT_EQ(client_check(&k, &e), -ENOENT);
	EXPECT_STREQ(e.msg, "pods \"y\" not found");
	client_call_clear(&k);
	api_stop(api);
	k = (struct client_call){ .method = "GET", .path = "/api/v1/nodes" };
	EXPECT_EQ(client_do(c, &k), -ECONNREFUSED);
	EXPECT_EQ(client_check(&k, &e), -ECONNREFUSED);
	EXPECT_EQ(strstr(e.msg, "connect to https://127.0.0.1:") != NULL, 1);
	client_call_clear(&k);
	client_close(c);
}

/* --- the cache alone --- */

static int line(struct cache *c, const char *text, uint64_t *revision)
{
	return cache_line(c, text, strlen(text), revision, NULL);
}

#define OBJ(name, uid, rv)                                                     \
	"{\"metadata\":{\"tenant\":\"t\",\"namespace\":\"n\",\"name\":\"" name \
	"\",\"uid\":\"" uid "\",\"resourceVersion\":\"" rv "\"},"              \
	"\"spec\":{\"nodeName\":\"n1\"}}"
#define LINE(type, obj) "{\"type\":\"" type "\",\"object\":" obj "}"

static void told_text(void *arg, const struct informer_event *ev)
{
	note(arg, ev);
}

TEST(a_line_becomes_a_change)
{
	struct told told = TOLD_INIT;
	struct informer_opts opts = { 0 };
	struct informer_object *o;
	struct cache c;
	uint64_t rv = 0;

	cache_init(&c, &opts);
	c.changed = told_text;
	c.arg = &told;
	EXPECT_EQ(line(&c, LINE("ADDED", OBJ("p", "u1", "5")), &rv), 0);
	EXPECT_EQ(rv, 5);
	o = map_get(&c.objects, "t/n/p");
	ASSERT_EQ(o != NULL, 1);
	EXPECT_STREQ(o->data, OBJ("p", "u1", "5"));
	EXPECT_STREQ(o->node, "n1");
	/* A second one of the same name is another object. */
	EXPECT_EQ(line(&c, LINE("MODIFIED", OBJ("p", "u2", "7")), &rv), 0);
	EXPECT_EQ(line(&c,
		       LINE("BOOKMARK", "{\"metadata\":{\"resourceVersion\""
					":\"9\"}}"),
		       &rv),
		  0);
	EXPECT_EQ(rv, 9);
	EXPECT_EQ(line(&c, LINE("DELETED", OBJ("p", "u2", "11")), &rv), 0);
	EXPECT_STREQ(buf_str(&told.text), "+t/n/p\n-t/n/p\n+t/n/p\n-t/n/p\n");
	EXPECT_EQ(cache_count(&c, INFORMER_BY_NODE, "n1"), 0);
	cache_clear(&c);
	buf_clear(&told.text);
}

TEST(what_a_list_leaves_out_is_gone)
{
	static const char page[] =
		"{\"metadata\":{\"resourceVersion\":\"20\"},\"items\":[" OBJ(
			"a", "1", "3") "]}";
	struct told told = TOLD_INIT;
	struct informer_opts opts = { 0 };
	struct cache_page p = { 0 };
	struct cache c;
	uint64_t rv = 0;

	cache_init(&c, &opts);
	EXPECT_EQ(line(&c, LINE("ADDED", OBJ("a", "1", "3")), &rv), 0);
	EXPECT_EQ(line(&c, LINE("ADDED", OBJ("b", "2", "4")), &rv), 0);
	c.changed = told_text;
	c.arg = &told;
	cache_begin(&c);
	EXPECT_EQ(cache_page(&c, page, strlen(page), &p, NULL), 0);
	EXPECT_EQ(cache_end(&c), 0);
	EXPECT_EQ(p.revision, 20);
	EXPECT_STREQ(buf_str(&told.text), "-t/n/b\n");
	cache_clear(&c);
	buf_clear(&told.text);
}

TEST(forged_lines_are_refused)
{
	struct informer_opts opts = { 0 };
	struct cache c;
	uint64_t rv = 0;

	cache_init(&c, &opts);
	EXPECT_EQ(line(&c, "{", &rv), -EBADMSG);
	EXPECT_EQ(line(&c, "[]", &rv), -EBADMSG);
	EXPECT_EQ(line(&c, LINE("ADDED", "{\"metadata\":{}}"), &rv), -EBADMSG);
	EXPECT_EQ(line(&c,
		       LINE("ADDED", "{\"metadata\":{\"resourceVersion\":"
				     "\"1\"}}"),
		       &rv),
		  -EBADMSG);
	EXPECT_EQ(line(&c, LINE("WHAT", OBJ("a", "1", "1")), &rv), -EBADMSG);
	EXPECT_EQ(line(&c, LINE("ERROR", "{\"code\":410}"), &rv),
		  CACHE_EXPIRED);
	EXPECT_EQ(line(&c, LINE("ERROR", "{\"code\":500}"), &rv), CACHE_FAILED);
	EXPECT_EQ(rv, 0);
	cache_clear(&c);
}

TEST_MAIN()

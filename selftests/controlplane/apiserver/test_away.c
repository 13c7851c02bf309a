// SPDX-License-Identifier: Apache-2.0
/* LANE: native SECONDS: 120 */
/* What is done beside the loops: large requests, with all that looks at a
 * request (audit, metrics), and long answers of our own. */
#include <pthread.h>
#include <semaphore.h>

#include "controlplane/apiserver/away.h"
#include "selftests/controlplane/apiserver/world.h"

#define MAPS    "/api/v1/namespaces/default/configmaps"
#define CLIENTS 4
#define ROUNDS  6
#define LARGE   100000 /* beyond AWAY_BYTES */

_Static_assert(LARGE > AWAY_BYTES, "not away");

static bool start(struct world *w, struct api_opts *opts)
{
	struct err e = { 0 };

	opts->data_dir = "data";
	opts->listen = "127.0.0.1:0";
	memset(w, 0, sizeof(*w));
	if (api_start(opts, &w->api, &e) < 0) {
		printf("# %s\n", e.msg);
		return false;
	}
	w->root = world_user(w, "system", "root", "system:masters");
	return w->root;
}

struct client {
	struct rest *c;
	int nr, wrong;
};

static int call(struct client *c, const char *method, const char *path,
		const char *body)
{
	auto_buf struct buf answer = BUF_INIT;

	return rest_call(c->c, method, path, body, NULL, &answer, NULL);
}

/* Large and small ones in turn. */
static void *use(void *arg)
{
	struct client *c = arg;
	auto_buf struct buf body = BUF_INIT;
	char path[128];

	for (int i = 0; i < ROUNDS; i++) {
		buf_reset(&body);
		buf_printf(&body,
			   "{\"metadata\":{\"name\":\"m%d-%d\"},\"data\":{"
			   "\"x\":\"",
			   c->nr, i);
		for (int j = 0; j < LARGE; j++)
			buf_putc(&body, 'x');
		buf_puts(&body, "\"}}");
		snprintf(path, sizeof(path), MAPS "/m%d-%d", c->nr, i);
		c->wrong += call(c, "POST", MAPS, buf_str(&body)) != 201;
		c->wrong += call(c, "GET", path, NULL) != 200;
		c->wrong += call(c, "PUT", path, buf_str(&body)) != 200;
		c->wrong += call(c, "POST", MAPS, buf_str(&body)) != 409;
		c->wrong += call(c, "DELETE", path, NULL) != 200;
	}
	return NULL;
}

/* The events of what was done to one object: all of them, whole. */
static void check_events(int *verdict_, const char *log)
{
	int posts = 0, puts = 0, refused = 0;

	for (const char *line = log, *end; (end = strchr(line, '\n'));
	     line = end + 1) {
		yyjson_doc *doc = yyjson_read(line, (size_t)(end - line), 0);
		yyjson_val *root = yyjson_doc_get_root(doc);
		const char *verb = yyjson_get_str(yyjson_obj_get(root, "verb"));
		yyjson_val *x = yyjson_ptr_get(root, "/requestObject/data/x");
		int code = (int)yyjson_get_int(
			yyjson_ptr_get(root, "/responseStatus/code"));

		if (!doc)
			FAIL("no JSON: %.200s", line);
		if (x) {
			EXPECT_EQ(yyjson_get_len(x), LARGE);
			posts += str_eq(verb, "create") && code == 201;
			refused += str_eq(verb, "create") && code == 409;
			puts += str_eq(verb, "update") && code == 200;
		}
		if (x && code < 300)
			EXPECT_EQ(yyjson_get_len(yyjson_ptr_get(
					  root, "/responseObject/data/x")),
				  LARGE);
		yyjson_doc_free(doc);
	}
	EXPECT_EQ(posts, CLIENTS * ROUNDS);
	EXPECT_EQ(puts, CLIENTS * ROUNDS);
	EXPECT_EQ(refused, CLIENTS * ROUNDS);
}

TEST(large_requests_are_audited_whole)
{
	static const char policy[] =
		"apiVersion: audit.k8s.io/v1\nkind: Policy\n"
		"omitStages: [RequestReceived]\n"
		"rules: [{level: RequestResponse}]\n";
	struct api_opts opts = { .threads = 2,
				 .audit = { .path = "audit.log",
					    .policy_file = "policy.yaml",
					    .blocking = true } };
	auto_buf struct buf log = BUF_INIT;
	struct client c[CLIENTS];
	pthread_t t[CLIENTS];
	struct world w;

	ASSERT_EQ(fs_write_atomic(AT_FDCWD, "policy.yaml", policy,
				  sizeof(policy) - 1, 0600, NULL),
		  0);
	ASSERT_EQ(start(&w, &opts), true);
	for (int i = 0; i < CLIENTS; i++) {
		c[i] = (struct client){ .nr = i };
		c[i].c = world_user(&w, "system", "root", "system:masters");
		ASSERT_EQ(pthread_create(&t[i], NULL, use, &c[i]), 0);
	}
	for (int i = 0; i < CLIENTS; i++) {
		pthread_join(t[i], NULL);
		EXPECT_EQ(c[i].wrong, 0);
		rest_close(c[i].c);
	}
	world_end(&w);
	ASSERT_EQ(fs_read(AT_FDCWD, "audit.log", 256 << 20, &log, NULL), 0);
	check_events(verdict_, buf_str(&log));
}

/* --- /metrics --- */

static sem_t begun, answered;

/* Ours, which takes until another request has been answered, and longer than
 * what is done on the loop. */
static void slow_metrics(void *arg, struct buf *b)
{
	uint64_t at = turn_now_ns();

	(void)arg;
	sem_post(&begun);
	sem_wait(&answered);
	while (turn_now_ns() < at + 2000000)
		;
	buf_puts(b, "slow_metric 1\n");
}

static void *scrape(void *arg)
{
	auto_buf struct buf answer = BUF_INIT;

	for (int i = 0; i < 3; i++)
		if (rest_call(arg, "GET", "/metrics", NULL, NULL, &answer,
			      NULL) != 200 ||
		    !strstr(buf_str(&answer), "slow_metric 1\n"))
			return (void *)"a scrape failed";
	return NULL;
}

/* The server has one thread for all connections. */
TEST(a_long_scrape_holds_nobody_up)
{
	struct api_opts opts = { .threads = 1, .metrics = slow_metrics };
	struct rest *other;
	struct world w;
	pthread_t t;
	void *wrong = NULL;

	sem_init(&begun, 0, 0);
	sem_init(&answered, 0, 0);
	ASSERT_EQ(start(&w, &opts), true);
	other = world_user(&w, "system", "root", "system:masters");
	ASSERT_EQ(pthread_create(&t, NULL, scrape, other), 0);
	for (int i = 0; i < 3; i++) {
		sem_wait(&begun);
		EXPECT_STATUS(&w, 200, GET(&w, w.root, "/version"));
		sem_post(&answered);
	}
	pthread_join(t, &wrong);
	EXPECT_EQ(wrong == NULL, true);
	rest_close(other);
	world_end(&w);
}

TEST_MAIN()

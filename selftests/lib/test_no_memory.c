// SPDX-License-Identifier: Apache-2.0
/* LANE: none
 * Every allocation of these calls fails in turn. Each failure is told as
 * -ENOMEM and nothing else happens: no crash, no leak (under SAN=1), no half
 * result. Under shims/malloc_nth.so; see test_shims.sh. */
#include <dlfcn.h>
#include <errno.h>

#include "lib/buf.h"
#include "lib/cli.h"
#include "lib/err.h"
#include "lib/ev.h"
#include "lib/http/url.h"
#include "lib/json.h"
#include "lib/map.h"
#include "lib/spawn.h"
#include "lib/wq.h"
#include "lib/yaml.h"
#include "selftests/harness.h"

static void (*arm)(long nth);
static int (*fired)(void);

static int use_json(struct err *e)
{
	static const char text[] = "{\"a\":[1,2,{\"b\":\"c\"}],\"d\":null}";
	struct buf b = BUF_INIT;
	yyjson_doc *doc = NULL;
	int r = json_parse(text, sizeof(text) - 1, &doc, e);

	if (r == 0)
		r = json_write(yyjson_doc_get_root(doc), true, &b);
	if (doc)
		yyjson_doc_free(doc);
	buf_clear(&b);
	return r;
}

static int use_yaml(struct err *e)
{
	static const char text[] = "a: &x [1, {b: c}]\nd: *x\ne:\n  <<: {f: 1}"
				   "\n---\ng: h\n";
	struct yaml_docs docs = { .v = NULL };
	struct buf b = BUF_INIT;
	int r = yaml_to_json(text, sizeof(text) - 1, &docs, e);

	if (r == 0)
		r = yaml_from_json(docs.v[0].json, docs.v[0].len, &b, e);
	yaml_docs_clear(&docs);
	buf_clear(&b);
	return r;
}

static int use_map(struct err *e)
{
	struct map m = MAP_INIT;
	char key[16];
	int r = 0;

	(void)e;
	for (int i = 0; i < 40 && r == 0; i++) {
		snprintf(key, sizeof(key), "key%d", i);
		r = map_set(&m, key, key, NULL);
	}
	map_clear(&m, NULL);
	return r;
}

static void nothing(void *arg, const char *key)
{
	(void)arg, (void)key;
}

static uint64_t noon(void *arg)
{
	(void)arg;
	return 0;
}

static int use_wq(struct err *e)
{
	struct wq_opts o = { .work = nothing, .now_ms = noon };
	struct wq *q = NULL;
	int r = wq_new(&o, &q, e);

	for (int i = 0; i < 20 && r == 0; i++) {
		char key[16];

		snprintf(key, sizeof(key), "t%d/%d", i % 3, i);
		r = i % 2 ? wq_add(q, key) : wq_add_after(q, key, 5);
	}
	while (r == 0 && wq_step(q))
		;
	wq_free(q);
	return r;
}

static void later(void *arg)
{
	(void)arg;
}

static int use_ev(struct err *e)
{
	struct ev_timer t[20] = { 0 };
	struct ev *loop = NULL;
	int r = ev_new(&loop, e);

	for (int i = 0; i < 20 && r == 0; i++)
		r = ev_timer_set(loop, &t[i], 1000, later, NULL);
	if (r == 0)
		r = ev_post(loop, later, NULL);
	if (r == 0)
		ev_step(loop, 0);
	ev_free(loop);
	return r;
}

static int use_url(struct err *e)
{
	struct url u = { .text = NULL };
	int r = url_parse("/a/b?c=d&e", &u, e);

	url_clear(&u);
	return r;
}

static int use_table(struct err *e)
{
	struct cli_table t = CLI_TABLE_INIT;
	struct buf b = BUF_INIT;
	int r;

	(void)e;
	cli_row(&t, "A", "B", NULL);
	cli_row(&t, "1", "2", NULL);
	cli_row(&t, "3", "4", NULL);
	r = cli_table_print(&t, &b);
	cli_table_clear(&t);
	buf_clear(&b);
	return r;
}

static int use_spawn(struct err *e)
{
	char name[] = "true";
	char *argv[] = { name, NULL };
	struct spawn_opts o = { .argv = argv };
	struct spawn_io io = { .timeout_ms = 10000 };
	struct spawn_result res = SPAWN_RESULT_INIT;
	int r = spawn_run(&o, &io, &res, e);

	spawn_result_clear(&res);
	return r;
}

TEST(each_allocation_may_fail)
{
	static const struct {
		const char *name;
		int (*use)(struct err *e);
	} uses[] = {
		{ "json", use_json },   { "yaml", use_yaml },
		{ "map", use_map },     { "wq", use_wq },
		{ "ev", use_ev },       { "url", use_url },
		{ "table", use_table }, { "spawn", use_spawn },
	};

	*(void **)&arm = dlsym(RTLD_DEFAULT, "shim_arm");
	*(void **)&fired = dlsym(RTLD_DEFAULT, "shim_fired");
	if (!arm)
		SKIP("runs under shims/malloc_nth.so: test_shims.sh does it");
	for (size_t i = 0; i < ARRAY_SIZE(uses); i++) {
		long nth = 1;

		for (; nth < 10000; nth++) {
			struct err e = { 0 };
			int r;

			arm(nth);
			r = uses[i].use(&e);
			arm(0);
			if (r == 0)
				break;
			if (r != -ENOMEM)
				FAIL("%s, allocation %ld: %d %s", uses[i].name,
				     nth, r, e.msg);
		}
		printf("# %s: %ld allocations\n", uses[i].name, nth - 1);
		EXPECT_GE(nth, 2);
	}
}

TEST_MAIN()

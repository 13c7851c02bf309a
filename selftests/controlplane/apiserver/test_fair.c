// SPDX-License-Identifier: Apache-2.0
/* LANE: native SECONDS: 90 */
/* What one tenant may have under way, and that others do not feel it. */
#include "selftests/controlplane/apiserver/line.h"

#define MAPS "/api/v1/namespaces/default/configmaps"

static bool post_map(struct line *l, const char *name)
{
	auto_free char *body =
		str_printf("{\"metadata\":{\"name\":\"%s\"}}", name);
	auto_free char *text =
		str_printf("POST " MAPS " HTTP/1.1\r\nContent-Length: %zu\r\n"
			   "\r\n%s",
			   strlen(body), body);

	return line_say(l, text);
}

static bool start_limited(struct world *w, struct api_limits limits)
{
	struct api_opts opts = { .data_dir = "data",
				 .listen = "127.0.0.1:0",
				 .threads = 2,
				 .limits = limits };
	struct err e = { 0 };

	memset(w, 0, sizeof(*w));
	if (api_start(&opts, &w->api, &e) < 0) {
		printf("# %s\n", e.msg);
		return false;
	}
	w->root = world_user(w, "system", "root", "system:masters");
	return w->root && make_tenant(w, "acme") == 201 &&
	       make_tenant(w, "beta") == 201;
}

/* More than any socket takes. */
static bool make_large_maps(struct world *w)
{
	auto_buf struct buf x = BUF_INIT;
	bool ok = true;

	for (int i = 0; i < 400000; i++)
		buf_putc(&x, 'x');
	for (int i = 0; i < 30; i++)
		ok &= POST(w, w->root,
			   "/api/v1/tenants/acme/namespaces/default/configmaps",
			   "{'metadata':{'name':'large%d'},'data':{'x':'%s'}}",
			   i, buf_str(&x)) == 201;
	return ok;
}

TEST(a_tenant_has_so_many_seats_and_others_have_theirs)
{
	struct world w;
	struct line list = { 0 }, more[3] = { 0 };
	struct rest *beta;

	ASSERT_EQ(start_limited(&w, (struct api_limits){ .tenant_seats = 1,
							 .tenant_queue = 2 }),
		  true);
	beta = world_user(&w, "beta", "admin", NULL);
	ASSERT_EQ(make_large_maps(&w), true);

	/* A list that nobody reads has acme's only seat ... */
	ASSERT_EQ(line_open(&w, "acme", &list), true);
	ASSERT_EQ(line_say(&list, "GET " MAPS "?limit=100 HTTP/1.1\r\n\r\n"),
		  true);
	ASSERT_EQ(line_hears(&list, "HTTP/1.1 200 "), true);
	/* ... so two wait, and the third is told. */
	for (int i = 0; i < 3; i++)
		ASSERT_EQ(line_open(&w, "acme", &more[i]), true);
	ASSERT_EQ(post_map(&more[0], "first"), true);
	ASSERT_EQ(post_map(&more[1], "second"), true);
	do {
		EXPECT_STATUS(&w, 200, GET(&w, w.root, "/metrics"));
	} while (!strstr(buf_str(&w.answer),
			 "apiserver_flowcontrol_current_inqueue_requests{"
			 "priority_level=\"tenants\",flow_schema=\"tenants\"} "
			 "2\n"));
	EXPECT_SAYS(&w, "apiserver_flowcontrol_current_executing_requests{"
			"priority_level=\"tenants\",flow_schema=\"tenants\"} "
			"1\n");
	ASSERT_EQ(post_map(&more[2], "third"), true);
	EXPECT_EQ(line_hears(&more[2], "HTTP/1.1 429 "), true);
	EXPECT_EQ(post_map(&more[2], "third"), true);
	EXPECT_EQ(line_hears(&more[2], "Retry-After: 1\r\n"), true);
	EXPECT_EQ(post_map(&more[2], "third"), true);
	EXPECT_EQ(line_hears(&more[2],
			     "tenant \\\"acme\\\" has too many requests "
			     "waiting (the limit is 2), please try again "
			     "later"),
		  true);
	/* Reading one object takes no seat; another tenant has its own, and
	 * the cluster's own work goes on in acme, too. */
	EXPECT_EQ(line_say(&more[2], "GET " MAPS "/none HTTP/1.1\r\n\r\n"),
		  true);
	EXPECT_EQ(line_hears(&more[2], "HTTP/1.1 404 "), true);
	EXPECT_STATUS(&w, 201,
		      POST(&w, beta, MAPS, "{'metadata':{'name':'b'}}"));
	EXPECT_STATUS(&w, 201,
		      POST(&w, w.root,
			   "/api/v1/tenants/acme/namespaces/default/configmaps",
			   "{'metadata':{'name':'c'}}"));
	/* The seat is free: those who wait get it, one after the other. */
	line_close(&list);
	EXPECT_EQ(line_hears(&more[0], "HTTP/1.1 201 "), true);
	EXPECT_EQ(line_hears(&more[1], "HTTP/1.1 201 "), true);
	for (int i = 0; i < 3; i++)
		line_close(&more[i]);
	rest_close(beta);
	world_end(&w);
}

TEST(who_goes_while_waiting_leaves_the_line)
{
	struct world w;
	struct line list = { 0 }, gone = { 0 }, next = { 0 };

	ASSERT_EQ(start_limited(&w, (struct api_limits){ .tenant_seats = 1,
							 .tenant_queue = 1 }),
		  true);
	ASSERT_EQ(make_large_maps(&w), true);
	ASSERT_EQ(line_open(&w, "acme", &list), true);
	ASSERT_EQ(line_say(&list, "GET " MAPS "?limit=100 HTTP/1.1\r\n\r\n"),
		  true);
	ASSERT_EQ(line_hears(&list, "HTTP/1.1 200 "), true);
	ASSERT_EQ(line_open(&w, "acme", &gone), true);
	ASSERT_EQ(post_map(&gone, "gone"), true);
	do {
		EXPECT_STATUS(&w, 200, GET(&w, w.root, "/metrics"));
	} while (!strstr(buf_str(&w.answer), "inqueue_requests{priority_level="
					     "\"tenants\",flow_schema="
					     "\"tenants\"} 1\n"));
	line_close(&gone);
	do {
		EXPECT_STATUS(&w, 200, GET(&w, w.root, "/metrics"));
	} while (!strstr(buf_str(&w.answer), "inqueue_requests{priority_level="
					     "\"tenants\",flow_schema="
					     "\"tenants\"} 0\n"));
	ASSERT_EQ(line_open(&w, "acme", &next), true);
	ASSERT_EQ(post_map(&next, "next"), true);
	line_close(&list);
	EXPECT_EQ(line_hears(&next, "HTTP/1.1 201 "), true);
	line_close(&next);
	world_end(&w);
}

TEST(connections_and_watches_of_a_tenant_are_counted)
{
	static const char watch[] =
		"GET " MAPS "?watch=1&resourceVersion=1 HTTP/1.1\r\n\r\n";
	struct world w;
	struct line l[3] = { 0 };
	struct rest *beta;

	ASSERT_EQ(start_limited(&w, (struct api_limits){ .tenant_conns = 2,
							 .tenant_watches = 1 }),
		  true);
	beta = world_user(&w, "beta", "admin", NULL);
	for (int i = 0; i < 3; i++)
		ASSERT_EQ(line_open(&w, "acme", &l[i]), true);
	EXPECT_EQ(line_say(&l[0], watch), true);
	EXPECT_EQ(line_hears(&l[0], "HTTP/1.1 200 "), true);
	EXPECT_EQ(line_say(&l[1], watch), true);
	EXPECT_EQ(line_hears(&l[1], "has too many watches (the limit is 1)"),
		  true);
	EXPECT_EQ(line_say(&l[2], "GET " MAPS " HTTP/1.1\r\n\r\n"), true);
	EXPECT_EQ(line_hears(&l[2],
			     "tenant \\\"acme\\\" has too many connections "
			     "open, please close some and try again later"),
		  true);
	EXPECT_STATUS(&w, 200, GET(&w, beta, MAPS));
	/* One that is closed makes room. */
	line_close(&l[1]);
	line_close(&l[2]);
	do {
		memset(&l[2], 0, sizeof(l[2]));
		ASSERT_EQ(line_open(&w, "acme", &l[2]), true);
		ASSERT_EQ(line_say(&l[2], "GET /version HTTP/1.1\r\n\r\n"),
			  true);
		if (line_hears(&l[2], "HTTP/1.1 200 "))
			break;
		line_close(&l[2]);
	} while (true);
	line_close(&l[0]);
	line_close(&l[2]);
	rest_close(beta);
	world_end(&w);
}

/* Megabytes are handled away from the loop, and their answers are right. */
TEST(large_requests_are_answered_beside_small_ones)
{
	auto_buf struct buf b = BUF_INIT;
	struct world w;
	struct rest *beta;

	ASSERT_EQ(start_limited(&w, (struct api_limits){ 0 }), true);
	beta = world_user(&w, "beta", "admin", NULL);
	buf_puts(&b, "{\"metadata\":{\"name\":\"large\"},\"data\":{\"x\":\"");
	for (int i = 0; i < 900000; i++)
		buf_putc(&b, 'x');
	buf_puts(&b, "\"}}");
	for (int i = 0; i < 10; i++) {
		EXPECT_EQ(rest_call(beta, "POST", MAPS, buf_str(&b), NULL,
				    &w.answer, NULL),
			  i ? 409 : 201);
		EXPECT_STATUS(&w, 200, GET(&w, beta, "/version"));
	}
	/* What is large already is changed away, too. */
	for (int i = 0; i < 10; i++)
		EXPECT_STATUS(&w, 200,
			      ask(&w, beta, "PATCH", MAPS "/large",
				  "{'metadata':{'labels':{'n':'%d'}}}", i));
	EXPECT_SAYS(&w, "\"n\":\"9\"");
	EXPECT_STATUS(&w, 200, ask(&w, beta, "DELETE", MAPS "/large", NULL));
	rest_close(beta);
	world_end(&w);
}

/* More than one step of the store, in each of the views. */
TEST(long_lists_are_whole)
{
	struct world w;
	struct rest *beta;
	char name[64];

	ASSERT_EQ(start_limited(&w, (struct api_limits){ 0 }), true);
	beta = world_user(&w, "beta", "admin", NULL);
	for (int i = 0; i < 2500; i++) {
		snprintf(name, sizeof(name), "{'metadata':{'name':'m%04d'%s}}",
			 i, i == 2400 ? ",'labels':{'a':'b'}" : "");
		if (POST(&w, beta, MAPS, "%s", name) != 201)
			FAIL("%s", buf_str(&w.answer));
	}
	EXPECT_STATUS(&w, 200, GET(&w, beta, MAPS));
	EXPECT_EQ(yyjson_arr_size(
			  yyjson_obj_get(yyjson_doc_get_root(w.doc), "items")),
		  2501);
	EXPECT_STATUS(&w, 200, GET(&w, beta, MAPS "?labelSelector=a%3Db"));
	EXPECT_EQ(yyjson_arr_size(
			  yyjson_obj_get(yyjson_doc_get_root(w.doc), "items")),
		  1);
	EXPECT_STATUS(&w, 200, GET(&w, beta, MAPS "?limit=10"));
	EXPECT_SAYS(&w, "\"remainingItemCount\":2491");
	rest_close(beta);
	world_end(&w);
}

TEST_MAIN()

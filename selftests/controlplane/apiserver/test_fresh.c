// SPDX-License-Identifier: Apache-2.0
/* LANE: native SECONDS: 90 */
/* Two API servers on one etcd: what one has acknowledged, the other one shows
 * to who asks next. */
#include "controlplane/store/admin.h"
#include "selftests/controlplane/apiserver/world.h"
#include "selftests/controlplane/store/etcd_server.h"

#define MAPS "/api/v1/namespaces/default/configmaps"

static bool open_server(struct world *w, const struct etcd_servers *etcd,
			const char *dir)
{
	struct store_etcd at = { .endpoints = etcd->endpoints };
	/* One file: what one of them seals, the other one must open. */
	struct store_opts store = { .etcd = &at,
				    .key_file = "keys",
				    .create_key_file = true };
	struct api_opts opts = { .data_dir = dir,
				 .listen = "127.0.0.1:0",
				 .threads = 2,
				 .store = &store };
	struct err e = { 0 };

	memset(w, 0, sizeof(*w));
	if (api_start(&opts, &w->api, &e) < 0) {
		printf("# %s\n", e.msg);
		return false;
	}
	w->root = world_user(w, "system", "root", "system:masters");
	return w->root;
}

TEST(what_one_server_acknowledged_the_other_one_shows)
{
	struct etcd_servers etcd = { 0 };
	struct world a, b;
	char path[64], rv[32];

	if (!etcd_present())
		SKIP("no etcd");
	ASSERT_EQ(etcd_start(&etcd, "etcd", 1, NULL), true);
	ASSERT_EQ(open_server(&a, &etcd, "one"), true);
	ASSERT_EQ(open_server(&b, &etcd, "two"), true);
	for (int i = 0; i < 50; i++) {
		snprintf(path, sizeof(path), MAPS "/m%d", i);
		EXPECT_STATUS(&a, 201,
			      POST(&a, a.root, MAPS,
				   "{'metadata':{'name':'m%d'}}", i));
		EXPECT_STATUS(&b, 200, GET(&b, b.root, path));
		EXPECT_STATUS(&b, 200,
			      ask(&b, b.root, "PATCH", path,
				  "{'data':{'n':'%d'}}", i));
		snprintf(rv, sizeof(rv), "%s",
			 said(&b, "/metadata/resourceVersion"));
		EXPECT_STATUS(&a, 200, GET(&a, a.root, path));
		EXPECT_STREQ(said(&a, "/metadata/resourceVersion"), rv);
		/* On the version the other one gave out. */
		EXPECT_STATUS(&a, 200,
			      ask(&a, a.root, "PUT", path,
				  "{'metadata':{'name':'m%d','resourceVersion':"
				  "'%s'}}",
				  i, rv));
		EXPECT_STATUS(&b, 200, ask(&b, b.root, "DELETE", path, NULL));
		EXPECT_STATUS(&a, 404, GET(&a, a.root, path));
		EXPECT_STATUS(&b, 200, GET(&b, b.root, MAPS));
		snprintf(path, sizeof(path), "\"m%d\"", i);
		EXPECT_SILENT(&b, path);
	}
	/* A namespace of the other one's, and a type. */
	EXPECT_STATUS(&a, 201,
		      POST(&a, a.root, "/api/v1/namespaces",
			   "{'metadata':{'name':'fresh'}}"));
	EXPECT_STATUS(&b, 201,
		      POST(&b, b.root, "/api/v1/namespaces/fresh/configmaps",
			   "{'metadata':{'name':'in'}}"));
	world_end(&a);
	world_end(&b);
	etcd_stop(&etcd);
}

TEST(what_is_too_large_for_etcd_is_told_so)
{
	struct etcd_servers etcd = { 0 };
	auto_buf struct buf x = BUF_INIT;
	struct world a;

	if (!etcd_present())
		SKIP("no etcd");
	ASSERT_EQ(etcd_start(&etcd, "etcd", 1, NULL), true);
	ASSERT_EQ(open_server(&a, &etcd, "one"), true);
	for (int i = 0; i < 900000; i++)
		buf_putc(&x, 'x');
	/* Two values: each is of a size that a ConfigMap may have. */
	EXPECT_STATUS(&a, 413,
		      POST(&a, a.root, "/api/v1/namespaces/default/secrets",
			   "{'metadata':{'name':'big','annotations':{}},"
			   "'stringData':{'a':'%s','b':'%s'}}",
			   buf_str(&x), buf_str(&x)));
	EXPECT_SAYS(&a, "the object is too large for the store: ");
	EXPECT_STREQ(said(&a, "/reason"), "RequestEntityTooLarge");
	world_end(&a);
	etcd_stop(&etcd);
}

TEST(without_the_store_only_what_may_be_old_is_shown)
{
	struct etcd_servers etcd = { 0 };
	struct world a;

	if (!etcd_present())
		SKIP("no etcd");
	ASSERT_EQ(etcd_start(&etcd, "etcd", 1, NULL), true);
	ASSERT_EQ(open_server(&a, &etcd, "one"), true);
	EXPECT_STATUS(&a, 201,
		      POST(&a, a.root, MAPS, "{'metadata':{'name':'m'}}"));
	etcd_pause_member(&etcd, 0);
	EXPECT_STATUS(&a, 200, GET(&a, a.root, MAPS "?resourceVersion=0"));
	EXPECT_SAYS(&a, "\"name\":\"m\"");
	EXPECT_STATUS(&a, 504, GET(&a, a.root, MAPS "/m"));
	EXPECT_SAYS(&a, "the store does not answer, so what is known here may "
			"be old: ");
	kill(etcd.pid[0], SIGCONT);
	EXPECT_STATUS(&a, 200, GET(&a, a.root, MAPS "?resourceVersion=0"));
	world_end(&a);
	etcd_stop(&etcd);
}

TEST_MAIN()

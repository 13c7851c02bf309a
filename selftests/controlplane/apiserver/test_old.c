// SPDX-License-Identifier: Apache-2.0
/*
 * LANE: native
 * SECONDS: 30
 * Objects that were stored before there were all of today's defaults: they can
 * be changed, and nothing is rolled out for it.
 */
#include <poll.h>

#include "controlplane/apiserver/internal.h"
#include "controlplane/roles.h"
#include "selftests/controlplane/apiserver/world.h"

#define PODS "/api/v1/namespaces/default/pods"
#define APPS "/apis/apps/v1/namespaces/default/"
#define PROBED                                                             \
	"'containers':[{'name':'c','image':'i:1','livenessProbe':{'grpc':" \
	"{'port':5000}}}]"
#define SET                                                                  \
	"{'apiVersion':'apps/v1','kind':'%s','metadata':{'name':'%s'},"      \
	"'spec':{'selector':{'matchLabels':{'a':'b'}},'template':{"          \
	"'metadata':{'labels':{'a':'b'}},'spec':{'nodeSelector':{'no':'x'}," \
	"" PROBED "}}}}"

/* Take every @what out of the stored bytes of @key. */
static int strip(struct world *w, const char *key, const char *what)
{
	static const char rv[] = "\"resourceVersion\":\"";
	auto_ptr(object_bytes) o = store_get(w->api->store, key);
	struct store_op op = { .key = key, .expect = STORE_MATCH };
	struct store_txn txn = { .ops = &op, .nr_ops = 1 };
	auto_buf struct buf b = BUF_INIT, room = BUF_INIT;
	struct err e = { 0 };
	char *at;
	int r;

	if (!o)
		return -ENOENT;
	buf_add(&b, object_text(o, &room), o->len);
	at = strstr(buf_str(&b), rv) + strlen(rv);
	op.rv_off = at - b.data;
	memmove(at, at + o->rv_len, strlen(at + o->rv_len) + 1);
	while ((at = strstr(b.data, what))) {
		if ((size_t)(at - b.data) < op.rv_off)
			op.rv_off -= strlen(what);
		memmove(at, at + strlen(what), strlen(at + strlen(what)) + 1);
	}
	op.data = b.data;
	op.len = strlen(b.data);
	op.revision = o->revision;
	op.tags = o->tags;
	op.tags_len = o->tags_len;
	r = store_commit(w->api->store, &txn, &e);
	if (r < 0)
		printf("# %s: %s\n", key, e.msg);
	object_unref(op.ret);
	return r;
}

TEST(a_pod_of_before_a_default_can_be_changed)
{
	struct world w;

	ASSERT_EQ(world_start(&w), true);
	EXPECT_STATUS(&w, 201,
		      POST(&w, w.root, PODS,
			   "{'apiVersion':'v1','kind':'Pod','metadata':{"
			   "'name':'p'},'spec':{" PROBED "}}"));
	EXPECT_SAYS(&w, "\"service\":\"\"");
	ASSERT_EQ(strip(&w, "core/pods/system/default/p", ",\"service\":\"\""),
		  0);
	ASSERT_EQ(strip(&w, "core/pods/system/default/p",
			",\"imagePullPolicy\":\"IfNotPresent\""),
		  0);
	EXPECT_STATUS(&w, 200, GET(&w, w.root, PODS "/p"));
	EXPECT_SILENT(&w, "\"service\":\"\"");
	EXPECT_SILENT(&w, "imagePullPolicy");
	/* Each of them failed: "pod updates may not change fields ...". */
	EXPECT_STATUS(&w, 200,
		      ask(&w, w.root, "PATCH", PODS "/p",
			  "{'metadata':{'labels':{'x':'y'}}}"));
	EXPECT_SAYS(&w, "\"service\":\"\"");
	EXPECT_SAYS(&w, "\"imagePullPolicy\":\"IfNotPresent\"");
	EXPECT_SAYS(&w, "\"generation\":1");
	ASSERT_EQ(strip(&w, "core/pods/system/default/p", ",\"service\":\"\""),
		  0);
	EXPECT_STATUS(&w, 200,
		      ask(&w, w.root, "PATCH", PODS "/p/status",
			  "{'status':{'phase':'Running'}}"));
	world_end(&w);
}

TEST(what_is_written_back_as_it_was_gets_the_default_once)
{
	auto_free char *body = NULL, *version = NULL, *before = NULL;
	struct world w;

	ASSERT_EQ(world_start(&w), true);
	EXPECT_STATUS(&w, 201,
		      POST(&w, w.root, APPS "deployments", SET, "Deployment",
			   "d"));
	ASSERT_EQ(strip(&w, "apps/deployments/system/default/d",
			",\"service\":\"\""),
		  0);
	EXPECT_STATUS(&w, 200, GET(&w, w.root, APPS "deployments/d"));
	body = strdup(buf_str(&w.answer));
	before = strdup(said(&w, "/metadata/resourceVersion"));
	EXPECT_STATUS(&w, 200,
		      ask(&w, w.root, "PUT", APPS "deployments/d", "%s", body));
	EXPECT_SAYS(&w, "\"service\":\"\"");
	version = strdup(said(&w, "/metadata/resourceVersion"));
	EXPECT_EQ(strcmp(before, version) != 0, true);
	EXPECT_STATUS(&w, 200,
		      ask(&w, w.root, "PATCH", APPS "deployments/d",
			  "{'metadata':{'labels':null}}"));
	EXPECT_STREQ(said(&w, "/metadata/resourceVersion"), version);
	world_end(&w);
}

/* Until a string of @path's answer is there and @want. */
static bool comes(struct world *w, const char *path, const char *pointer,
		  const char *want)
{
	for (int i = 0; i < 600; i++) {
		yyjson_val *v;
		char text[32] = "";

		if (GET(w, w->root, path) == 200 && w->doc) {
			v = yyjson_ptr_get(yyjson_doc_get_root(w->doc),
					   pointer);
			snprintf(text, sizeof(text), "%s",
				 yyjson_is_str(v) ? yyjson_get_str(v) : "");
			if (yyjson_is_int(v))
				snprintf(text, sizeof(text), "%lld",
					 (long long)yyjson_get_sint(v));
			if (strcmp(text, want) == 0)
				return true;
		}
		(void)poll(NULL, 0, 50);
	}
	return false;
}

static size_t count(struct world *w, const char *path)
{
	(void)GET(w, w->root, path);
	return w->doc ? yyjson_arr_size(
				yyjson_ptr_get(yyjson_doc_get_root(w->doc),
					       "/items"))
		      : 0;
}

TEST(a_default_rolls_nothing_out)
{
	struct roles_opts opts = { .roles = ROLE_CONTROLLERS,
				   .kubeconfig = "data/admin.kubeconfig" };
	static const char *const sets[] = { "deployments", "statefulsets" };
	static const char *const kinds[] = { "Deployment", "StatefulSet" };
	struct roles *roles = NULL;
	struct err e = { 0 };
	struct world w;

	ASSERT_EQ(world_start(&w), true);
	for (int i = 0; i < 2; i++) {
		auto_free char *key =
			str_printf("apps/%s/system/default/x", sets[i]);
		auto_free char *path = str_printf(APPS "%s", sets[i]);

		EXPECT_STATUS(&w, 201,
			      POST(&w, w.root, path, SET, kinds[i], "x"));
		ASSERT_EQ(strip(&w, key, ",\"service\":\"\""), 0);
	}
	if (roles_start(&opts, &roles, &e) < 0)
		FAIL("%s", e.msg);
	EXPECT_EQ(comes(&w, APPS "deployments/x", "/status/observedGeneration",
			"1"),
		  true);
	EXPECT_EQ(comes(&w, APPS "statefulsets/x", "/status/observedGeneration",
			"1"),
		  true);
	EXPECT_EQ(count(&w, APPS "replicasets"), 1);
	EXPECT_EQ(count(&w, APPS "controllerrevisions"), 1);
	EXPECT_SILENT(&w, "\"service\"");
	/* Now they get it, with a change of something else. */
	for (int i = 0; i < 2; i++) {
		auto_free char *path = str_printf(APPS "%s/x", sets[i]);

		EXPECT_STATUS(&w, 200,
			      ask(&w, w.root, "PATCH", path,
				  "{'spec':{'replicas':2}}"));
		EXPECT_SAYS(&w, "\"service\":\"\"");
		EXPECT_EQ(comes(&w, path, "/status/observedGeneration", "2"),
			  true);
	}
	EXPECT_EQ(count(&w, APPS "replicasets"), 1);
	EXPECT_EQ(count(&w, APPS "controllerrevisions"), 1);
	roles_stop(roles);
	world_end(&w);
}

TEST_MAIN()

// SPDX-License-Identifier: Apache-2.0
/*
 * LANE: native
 * SECONDS: 60
 * Custom resources whose versions a webhook converts: read, listed, watched,
 * written and applied in both; what its answers are worth, and that it fails.
 */
#include <poll.h>
#include <stdatomic.h>

#include "lib/json.h"
#include "selftests/controlplane/apiserver/hook.h"

#define CRDS     "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
#define V1       "/apis/ex.io/v1/namespaces/default/links"
#define V2       "/apis/ex.io/v2/namespaces/default/links"
#define ONE      "'metadata':{'name':'%s'},'spec':{"
#define LINK1(x) "{'apiVersion':'ex.io/v1','kind':'Link'," ONE x "}}"
#define LINK2(x) "{'apiVersion':'ex.io/v2','kind':'Link'," ONE x "}}"

/* v1 says {"at": "HOST:PORT"} where v2 says {"host": HOST, "port": PORT}. */
static void convert(yyjson_mut_doc *doc, yyjson_mut_val *obj, const char *want)
{
	yyjson_mut_val *spec = yyjson_mut_obj_get(obj, "spec");
	const char *at = yyjson_mut_get_str(yyjson_mut_obj_get(spec, "at"));
	const char *host = yyjson_mut_get_str(yyjson_mut_obj_get(spec, "host"));
	int port = (int)yyjson_mut_get_sint(yyjson_mut_obj_get(spec, "port"));
	yyjson_mut_val *out = yyjson_mut_obj(doc);
	auto_free char *text = NULL;

	if (at && strcmp(want, "ex.io/v2") == 0) {
		const char *colon = strchr(at, ':');

		yyjson_mut_obj_add_strncpy(doc, out, "host", at,
					   strcspn(at, ":"));
		yyjson_mut_obj_add_int(doc, out, "port",
				       colon ? atol(colon + 1) : 0);
	} else if (host && strcmp(want, "ex.io/v1") == 0) {
		text = str_printf("%s:%d", host, port);
		yyjson_mut_obj_add_strcpy(doc, out, "at", text);
		yyjson_mut_obj_add_str(doc, out, "unknown", "to the schema");
	}
	yyjson_mut_obj_put(obj, yyjson_mut_str(doc, "spec"), out);
	yyjson_mut_obj_put(obj, yyjson_mut_str(doc, "apiVersion"),
			   yyjson_mut_strcpy(doc, want));
}

static void spoil(const char *path, yyjson_mut_doc *doc, yyjson_mut_val *obj)
{
	yyjson_mut_val *meta = yyjson_mut_obj_get(obj, "metadata");
	yyjson_mut_val *labels = yyjson_mut_obj(doc);

	if (strcmp(path, "/rename") == 0)
		yyjson_mut_obj_put(meta, yyjson_mut_str(doc, "name"),
				   yyjson_mut_str(doc, "other"));
	if (strcmp(path, "/uid") == 0)
		yyjson_mut_obj_put(meta, yyjson_mut_str(doc, "uid"),
				   yyjson_mut_str(doc, "u"));
	if (strcmp(path, "/kind") == 0)
		yyjson_mut_obj_put(obj, yyjson_mut_str(doc, "kind"),
				   yyjson_mut_str(doc, "Other"));
	if (strcmp(path, "/version") == 0)
		yyjson_mut_obj_put(obj, yyjson_mut_str(doc, "apiVersion"),
				   yyjson_mut_str(doc, "ex.io/v3"));
	if (strcmp(path, "/meta") == 0) {
		yyjson_mut_obj_add_str(doc, labels, "seen", "yes");
		yyjson_mut_obj_put(meta, yyjson_mut_str(doc, "labels"), labels);
		yyjson_mut_obj_put(meta, yyjson_mut_str(doc, "generation"),
				   yyjson_mut_int(doc, 77));
	}
}

static atomic_bool failing; /* from now on, whatever the path */

static void answer(const char *path, const char *body, struct buf *json)
{
	yyjson_doc *in = yyjson_read(body, strlen(body), 0);
	yyjson_val *request =
		yyjson_obj_get(yyjson_doc_get_root(in), "request");
	const char *want =
		yyjson_get_str(yyjson_obj_get(request, "desiredAPIVersion"));
	const char *uid = yyjson_get_str(yyjson_obj_get(request, "uid"));
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *list = yyjson_mut_arr(doc);
	yyjson_val *v;
	size_t i, max;

	if (atomic_load(&failing))
		path = "/fail";
	yyjson_arr_foreach(yyjson_obj_get(request, "objects"), i, max, v)
	{
		yyjson_mut_val *obj = yyjson_val_mut_copy(doc, v);

		convert(doc, obj, want ? want : "");
		spoil(path, doc, obj);
		yyjson_mut_arr_append(list, obj);
	}
	if (strcmp(path, "/short") == 0)
		yyjson_mut_arr_clear(list);
	buf_printf(json,
		   "{\"apiVersion\":\"apiextensions.k8s.io/v1\",\"kind\":\"%s\""
		   ",\"response\":{\"uid\":\"%s\",\"result\":{\"status\":\"%s\""
		   "%s},\"convertedObjects\":",
		   strcmp(path, "/junk") ? "ConversionReview" : "Junk",
		   strcmp(path, "/stranger") && uid ? uid : "someone",
		   strcmp(path, "/fail") ? "Success" : "Failed",
		   strcmp(path, "/fail") ? "" : ",\"message\":\"not today\"");
	json_write_mut(list, false, json);
	buf_puts(json, "}}");
	yyjson_mut_doc_free(doc);
	yyjson_doc_free(in);
}

/* Links, stored in @stored; their webhook is at @path. */
static int put_crd(struct world *w, struct hook *h, const char *stored,
		   const char *path)
{
	auto_free char *text = str_printf(
		"{'apiVersion':'apiextensions.k8s.io/v1','kind':"
		"'CustomResourceDefinition','metadata':{'name':'links.ex.io'},"
		"'spec':{'group':'ex.io','scope':'Namespaced','names':{"
		"'plural':'links','kind':'Link'},'conversion':{'strategy':"
		"'Webhook','webhook':{'conversionReviewVersions':['v1'],"
		"'clientConfig':{'url':'https://127.0.0.1:%u%s','caBundle':"
		"'%s'}}},'versions':[{'name':'v1','served':true,'storage':%s,"
		"'schema':{'openAPIV3Schema':{'type':'object','properties':{"
		"'spec':{'type':'object','properties':{'at':{'type':'string'"
		"}}},'status':{'type':'object','properties':{'ok':{'type':"
		"'boolean'}}}}}},'subresources':{'status':{}},"
		"'additionalPrinterColumns':[{'name':'At','type':'string',"
		"'jsonPath':'.spec.at'}]},"
		"{'name':'v2','served':true,'storage':%s,'schema':{"
		"'openAPIV3Schema':{'type':'object','properties':{'spec':{"
		"'type':'object','properties':{'host':{'type':'string'},"
		"'port':{'type':'integer','maximum':65535}}}}}}}]}}",
		h->port, path, h->ca, strcmp(stored, "v1") ? "false" : "true",
		strcmp(stored, "v2") ? "false" : "true");
	int code = POST(w, w->root, CRDS, "%s", text);

	if (code != 409)
		return code;
	(void)GET(w, w->root, CRDS "/links.ex.io");
	/* Replaced: the same object, with what it has been given. */
	text[strlen(text) - 1] = '\0';
	return ask(w, w->root, "PATCH", CRDS "/links.ex.io", "%s}", text);
}

static bool begin(struct world *w, struct hook *h, const char *stored)
{
	return world_start(w) && hook_start(h, answer) &&
	       put_crd(w, h, stored, "/convert") == 201;
}

TEST(both_versions_are_read_and_written)
{
	struct hook h;
	struct world w;

	ASSERT_EQ(begin(&w, &h, "v2"), true);
	/* Nobody is asked about the stored one. */
	EXPECT_STATUS(&w, 201,
		      POST(&w, w.root, V2, LINK2("'host':'a','port':80"), "a"));
	EXPECT_STATUS(&w, 200, GET(&w, w.root, V2 "/a"));
	EXPECT_EQ(h.nr, 0);
	EXPECT_STATUS(&w, 200, GET(&w, w.root, V1 "/a"));
	EXPECT_STREQ(said(&w, "/apiVersion"), "ex.io/v1");
	EXPECT_STREQ(said(&w, "/spec/at"), "a:80");
	EXPECT_SILENT(&w, "to the schema");
	EXPECT_SILENT(&w, "\"host\"");
	/* Written as v1, it is stored as v2, and answered as v1. */
	EXPECT_STATUS(&w, 201, POST(&w, w.root, V1, LINK1("'at':'b:81'"), "b"));
	EXPECT_STREQ(said(&w, "/spec/at"), "b:81");
	h.nr = 0;
	EXPECT_STATUS(&w, 200, GET(&w, w.root, V2 "/b"));
	EXPECT_STREQ(said(&w, "/spec/host"), "b");
	EXPECT_EQ(h.nr, 0);
	EXPECT_STATUS(&w, 200,
		      ask(&w, w.root, "PATCH", V1 "/b",
			  "{'spec':{'at':'c:82'}}"));
	EXPECT_STREQ(said(&w, "/spec/at"), "c:82");
	EXPECT_STATUS(&w, 200, GET(&w, w.root, V2 "/b"));
	EXPECT_SAYS(&w, "\"port\":82");
	/* Nothing changed: nothing is written. */
	EXPECT_SAYS(&w, "\"generation\":2");
	EXPECT_STATUS(&w, 200,
		      ask(&w, w.root, "PATCH", V1 "/b",
			  "{'spec':{'at':'c:82'}}"));
	EXPECT_SAYS(&w, "\"generation\":2");
	EXPECT_STATUS(&w, 200,
		      ask(&w, w.root, "PATCH", V1 "/b/status",
			  "{'status':{'ok':true}}"));
	EXPECT_SAYS(&w, "c:82");
	EXPECT_STATUS(&w, 200, GET(&w, w.root, V1));
	EXPECT_SAYS(&w, "\"at\":\"a:80\"");
	EXPECT_SAYS(&w, "\"at\":\"c:82\"");
	EXPECT_STATUS(&w, 200, ask(&w, w.root, "DELETE", V1 "/b", NULL));
	EXPECT_STATUS(&w, 404, GET(&w, w.root, V1 "/b"));
	world_end(&w);
	hook_end(&h);
}

TEST(what_was_stored_in_a_former_version_is_converted)
{
	auto_free char *version = NULL;
	struct hook h;
	struct world w;

	ASSERT_EQ(begin(&w, &h, "v1"), true);
	EXPECT_STATUS(&w, 201, POST(&w, w.root, V1, LINK1("'at':'a:1'"), "a"));
	EXPECT_STATUS(&w, 201, POST(&w, w.root, V1, LINK1("'at':'b:2'"), "b"));
	EXPECT_STATUS(&w, 200, put_crd(&w, &h, "v2", "/convert"));
	EXPECT_STATUS(&w, 200, GET(&w, w.root, CRDS "/links.ex.io"));
	EXPECT_SAYS(&w, "\"storedVersions\":[\"v1\",\"v2\"]");
	h.nr = 0;
	EXPECT_STATUS(&w, 200, GET(&w, w.root, V1 "/a"));
	EXPECT_EQ(h.nr, 0);
	version = strdup(said(&w, "/metadata/resourceVersion"));
	EXPECT_STATUS(&w, 200, GET(&w, w.root, V2 "/a"));
	EXPECT_STREQ(said(&w, "/spec/host"), "a");
	EXPECT_EQ(h.nr, 1);
	/* Writing back what was read stores it in the new one. */
	EXPECT_STATUS(&w, 200, ask(&w, w.root, "PATCH", V2 "/a", "{}"));
	EXPECT_EQ(strcmp(said(&w, "/metadata/resourceVersion"), version) != 0,
		  true);
	h.nr = 0;
	EXPECT_STATUS(&w, 200, GET(&w, w.root, V2 "/a"));
	EXPECT_EQ(h.nr, 0);
	/* A list of both kinds is asked about once, for what it must. */
	EXPECT_STATUS(&w, 200, GET(&w, w.root, V2));
	EXPECT_EQ(h.nr, 1);
	EXPECT_SAYS(&w, "\"host\":\"a\"");
	EXPECT_SAYS(&w, "\"host\":\"b\"");
	EXPECT_SILENT(&w, "\"at\":");
	world_end(&w);
	hook_end(&h);
}

/* The next event of a watch. */
static const char *next(struct rest *c)
{
	static struct err e = { 0 };
	const char *line;
	size_t len;

	return rest_stream_line(c, &line, &len, &e) == 1 ? line : e.msg;
}

#define NEXT_HAS(c, a, b)                                                   \
	do {                                                                \
		const char *line_ = next(c);                                \
		if (!strstr(line_, a) || !strstr(line_, b))                 \
			FAIL("want '%s' and '%s' in: %.400s", a, b, line_); \
	} while (0)

TEST(a_watch_sees_its_version_in_order)
{
	auto_ptr(rest) other = NULL;
	struct err e = { 0 };
	const char *line;
	struct hook h;
	struct world w;
	size_t len;

	ASSERT_EQ(begin(&w, &h, "v2"), true);
	other = world_user(&w, "system", "watcher", "system:masters");
	EXPECT_STATUS(&w, 201,
		      POST(&w, w.root, V2, LINK2("'host':'a','port':1"), "a"));
	ASSERT_EQ(rest_stream(other, V1 "?watch=1", &w.answer, &e), 200);
	NEXT_HAS(other, "\"ADDED\"", "\"at\":\"a:1\"");
	for (int i = 2; i < 40; i++)
		EXPECT_STATUS(&w, 200,
			      ask(&w, w.root, "PATCH", V2 "/a",
				  "{'spec':{'port':%d}}", i));
	for (int i = 2; i < 40; i++) {
		auto_free char *at = str_printf("\"at\":\"a:%d\"", i);

		NEXT_HAS(other, "\"MODIFIED\"", at);
	}
	EXPECT_STATUS(&w, 200, ask(&w, w.root, "DELETE", V2 "/a", NULL));
	NEXT_HAS(other, "\"DELETED\"", "\"at\":\"a:39\"");
	/* Who cannot be told is told why. */
	atomic_store(&failing, true);
	EXPECT_STATUS(&w, 201,
		      POST(&w, w.root, V2, LINK2("'host':'b','port':1"), "b"));
	NEXT_HAS(other, "\"ERROR\"", "not today");
	EXPECT_EQ(rest_stream_line(other, &line, &len, &e), 0);
	rest_stream_end(other);
	ASSERT_EQ(rest_stream(other, V1 "?watch=1", &w.answer, &e), 500);
	EXPECT_SAYS(&w, "not today");
	rest_stream_end(other);
	world_end(&w);
	hook_end(&h);
}

TEST(what_it_answers_is_checked)
{
	static const struct {
		const char *path, *says;
	} cases[] = {
		{ "/fail", "conversion webhook for ex.io/v2, Kind=Link failed: "
			   "not today" },
		{ "/junk", "expected webhook response of" },
		{ "/stranger", "expected response.uid=" },
		{ "/short", "returned 0 objects, expected 1" },
		{ "/rename", "invalid converted object at index 0: must have "
			     "the same name: a != other" },
		{ "/uid", "must have the same UID" },
		{ "/kind", "must have the same kind: Link != Other" },
		{ "/version", "invalid groupVersion (expected ex.io/v1, "
			      "received ex.io/v3)" },
	};
	struct hook h;
	struct world w;

	ASSERT_EQ(begin(&w, &h, "v2"), true);
	EXPECT_STATUS(&w, 201,
		      POST(&w, w.root, V2, LINK2("'host':'a','port':80"), "a"));
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		EXPECT_STATUS(&w, 200, put_crd(&w, &h, "v2", cases[i].path));
		EXPECT_STATUS(&w, 500, GET(&w, w.root, V1 "/a"));
		EXPECT_SAYS(&w, cases[i].says);
		EXPECT_STATUS(&w, 500, GET(&w, w.root, V1));
		EXPECT_STATUS(&w, 500,
			      ask(&w, w.root, "PATCH", V1 "/a",
				  "{'spec':{'at':'x:1'}}"));
		EXPECT_STATUS(&w, 500,
			      POST(&w, w.root, V1, LINK1("'at':'b:81'"), "b"));
		EXPECT_STATUS(&w, 404, GET(&w, w.root, V2 "/b"));
	}
	/* Of the metadata only labels and annotations are its own. */
	EXPECT_STATUS(&w, 200, put_crd(&w, &h, "v2", "/meta"));
	EXPECT_STATUS(&w, 200, GET(&w, w.root, V1 "/a"));
	EXPECT_STREQ(said(&w, "/metadata/labels/seen"), "yes");
	EXPECT_SAYS(&w, "\"generation\":1");
	/* Nobody is there; the stored version needs nobody. */
	EXPECT_STATUS(&w, 200,
		      ask(&w, w.root, "PATCH", CRDS "/links.ex.io",
			  "{'spec':{'conversion':{'webhook':{'clientConfig':{"
			  "'url':'https://127.0.0.1:1/x'}}}}}"));
	EXPECT_STATUS(&w, 500, GET(&w, w.root, V1 "/a"));
	EXPECT_SAYS(&w, "conversion webhook for ex.io/v2, Kind=Link failed: "
			"Post \\\"https://127.0.0.1:1/x?timeout=30s\\\": ");
	EXPECT_STATUS(&w, 200, GET(&w, w.root, V2 "/a"));
	/* Neither does the end of all of them. */
	EXPECT_STATUS(&w, 200,
		      ask(&w, w.root, "DELETE", CRDS "/links.ex.io", NULL));
	for (int i = 0; i < 400 && GET(&w, w.root, CRDS "/links.ex.io") != 404;
	     i++)
		(void)poll(NULL, 0, 25);
	EXPECT_STATUS(&w, 404, GET(&w, w.root, CRDS "/links.ex.io"));
	world_end(&w);
	hook_end(&h);
}

TEST(one_that_never_answers_holds_up_nobody_else)
{
	auto_ptr(rest) other = NULL;
	struct err e = { 0 };
	struct hook h;
	struct world w;

	ASSERT_EQ(begin(&w, &h, "v2"), true);
	other = world_user(&w, "system", "waits", "system:masters");
	EXPECT_STATUS(&w, 201,
		      POST(&w, w.root, V2, LINK2("'host':'a','port':80"), "a"));
	EXPECT_STATUS(&w, 200, put_crd(&w, &h, "v2", "/mute"));
	rest_set_patience(other, 1);
	EXPECT_EQ(rest_call(other, "GET", V1 "/a", NULL, NULL, &w.answer, &e) <
			  0,
		  true);
	EXPECT_STATUS(&w, 200, GET(&w, w.root, V2 "/a"));
	EXPECT_STATUS(&w, 200, GET(&w, w.root, "/api/v1/namespaces"));
	/* And the server ends while it still waits. */
	world_end(&w);
	hook_end(&h);
}

TEST(a_tenants_webhook_is_a_service_of_its_own)
{
	struct hook h;
	struct world w;

	ASSERT_EQ(world_start(&w), true);
	ASSERT_EQ(hook_start(&h, answer), true);
	make_tenant(&w, "acme");
#define ACME \
	"/apis/apiextensions.k8s.io/v1/tenants/acme/customresourcedefinitions"
#define TINY(x)                                                            \
	"{'apiVersion':'apiextensions.k8s.io/v1','kind':"                  \
	"'CustomResourceDefinition','metadata':{'name':'links.ex.io'},"    \
	"'spec':{'group':'ex.io','scope':'Namespaced','names':{'plural':"  \
	"'links','kind':'Link'},'conversion':{'strategy':'Webhook',"       \
	"'webhook':{'conversionReviewVersions':['v1'],'clientConfig':{" x  \
	",'caBundle':'%s'}}},'versions':[{'name':'v1','served':true,"      \
	"'storage':true,'schema':{'openAPIV3Schema':{'type':'object'}}},{" \
	"'name':'v2','served':true,'storage':false,'schema':{"             \
	"'openAPIV3Schema':{'type':'object'}}}]}}"
	EXPECT_STATUS(&w, 403,
		      POST(&w, w.root, ACME, TINY("'url':'https://a:1/'"),
			   h.ca));
	EXPECT_SAYS(&w, "conversion webhooks of tenants are services of "
			"theirs");
	EXPECT_STATUS(&w, 201,
		      POST(&w, w.root, ACME,
			   TINY("'service':{'name':'s','namespace':'default'}"),
			   h.ca));
	EXPECT_STATUS(&w, 201,
		      POST(&w, w.root,
			   "/apis/ex.io/v1/tenants/acme/namespaces/default/"
			   "links",
			   "{'apiVersion':'ex.io/v1','kind':'Link','metadata':"
			   "{'name':'a'}}"));
	EXPECT_STATUS(
		&w, 500,
		GET(&w, w.root,
		    "/apis/ex.io/v2/tenants/acme/namespaces/default/links/a"));
	EXPECT_SAYS(&w, "s.default.svc:443");
	EXPECT_SAYS(&w, "is not present");
	/* A pod on this host is not where it may be. */
	EXPECT_STATUS(&w, 201,
		      POST(&w, w.root,
			   "/api/v1/tenants/acme/namespaces/default/services",
			   "{'apiVersion':'v1','kind':'Service','metadata':{"
			   "'name':'s'},'spec':{'ports':[{'port':443}]}}"));
	EXPECT_STATUS(&w, 201,
		      POST(&w, w.root,
			   "/api/v1/tenants/acme/namespaces/default/endpoints",
			   "{'apiVersion':'v1','kind':'Endpoints','metadata':{"
			   "'name':'s'},'subsets':[{'addresses':[{'ip':"
			   "'127.0.0.1'}],'ports':[{'port':%u}]}]}",
			   h.port));
	EXPECT_STATUS(
		&w, 500,
		GET(&w, w.root,
		    "/apis/ex.io/v2/tenants/acme/namespaces/default/links/a"));
	EXPECT_SAYS(&w, "not at addresses where extension servers may be");
	EXPECT_EQ(h.nr, 0);
	/* Over all tenants nobody's webhook sees what is not its own. */
	EXPECT_STATUS(&w, 200,
		      GET(&w, w.root, "/apis/ex.io/v2/tenants/all/links"));
	EXPECT_SAYS(&w, "\"apiVersion\":\"ex.io/v1\"");
	world_end(&w);
	hook_end(&h);
}

TEST_MAIN()

// SPDX-License-Identifier: Apache-2.0
/*
 * LANE: native
 * SECONDS: 60
 * Admission webhooks, against a server of the test's own: what they are asked,
 * what they change and refuse, and what it means that one does not answer.
 */
#include "selftests/controlplane/apiserver/hook.h"

/* Answers by path: /label adds a label, /deny refuses, /junk answers nonsense,
 * /rename tries to. */
static void answer(const char *path, const char *body, struct buf *json)
{
	/* The request's own: the object has one, too. */
	const char *at = strstr(body, "\"dryRun\":");
	const char *uid = at ? strstr(at, "\"uid\":\"") : NULL;
	const char *patch = NULL;
	auto_buf struct buf b64 = BUF_INIT;

	if (strcmp(path, "/label") == 0)
		patch = "[{\"op\":\"add\",\"path\":\"/metadata/labels\","
			"\"value\":{\"seen\":\"yes\"}}]";
	if (strcmp(path, "/rename") == 0)
		patch = "[{\"op\":\"replace\",\"path\":\"/metadata/tenant\","
			"\"value\":\"evil\"}]";
	buf_printf(json,
		   "{\"apiVersion\":\"admission.k8s.io/v1\",\"kind\":"
		   "\"AdmissionReview\",\"response\":{\"uid\":\"%.36s\","
		   "\"allowed\":%s",
		   uid ? uid + 7 : "",
		   strcmp(path, "/deny") ? "true" : "false");
	if (strcmp(path, "/deny") == 0)
		buf_puts(json, ",\"status\":{\"code\":403,\"message\":"
			       "\"not on a Sunday\"}");
	if (strcmp(path, "/warn") == 0)
		buf_puts(json, ",\"warnings\":[\"this is odd\"]");
	if (patch) {
		base64_put(&b64, patch, strlen(patch));
		buf_printf(json,
			   ",\"patchType\":\"JSONPatch\",\"patch\":\"%s\"",
			   buf_str(&b64));
	}
	buf_puts(json, "}}");
	if (strcmp(path, "/junk") == 0) {
		buf_reset(json);
		buf_puts(json, "{\"hello\":1}");
	}
}

/* A configuration with one webhook for config maps. */
static int add_hook(struct world *w, struct hook *h, const char *kind,
		    const char *name, const char *path, const char *notes,
		    const char *more)
{
	auto_free char *url =
		str_printf("/apis/admissionregistration.k8s.io/v1/"
			   "%swebhookconfigurations",
			   *kind == 'M' ? "mutating" : "validating");

	return POST(w, w->root, url,
		    "{'apiVersion':'admissionregistration.k8s.io/v1','kind':"
		    "'%s','metadata':{'name':'%s','annotations':{%s}},"
		    "'webhooks':[{'name':'%s.example.com','clientConfig':{"
		    "'url':'https://127.0.0.1:%u%s','caBundle':'%s'},'rules':[{"
		    "'operations':['CREATE','UPDATE','DELETE'],'apiGroups':["
		    "''],'apiVersions':['v1'],'resources':['configmaps']}],"
		    "'sideEffects':'None','admissionReviewVersions':['v1']%s}"
		    "]}",
		    kind, name, notes, name, h->port, path, h->ca, more);
}

#define MUTATING   "MutatingWebhookConfiguration"
#define VALIDATING "ValidatingWebhookConfiguration"
#define MAPS       "/api/v1/tenants/acme/namespaces/default/configmaps"

static int make_map(struct world *w, const char *path, const char *name)
{
	return POST(w, w->root, path,
		    "{'apiVersion':'v1','kind':'ConfigMap','metadata':{%s}}",
		    name);
}

static int drop(struct world *w, const char *kind, const char *name)
{
	auto_free char *path =
		str_printf("/apis/admissionregistration.k8s.io/v1/"
			   "%swebhookconfigurations/%s",
			   *kind == 'M' ? "mutating" : "validating", name);

	return ask(w, w->root, "DELETE", path, NULL);
}

TEST(webhooks_change_and_refuse)
{
	struct hook h;
	struct world w;

	ASSERT_EQ(world_start(&w), true);
	ASSERT_EQ(hook_start(&h, answer), true);
	make_tenant(&w, "acme");
	EXPECT_STATUS(&w, 201,
		      add_hook(&w, &h, MUTATING, "label", "/label", "", ""));
	EXPECT_STATUS(&w, 201, make_map(&w, MAPS, "'name':'a'"));
	EXPECT_STREQ(said(&w, "/metadata/labels/seen"), "yes");
	EXPECT_STATUS(&w, 201, make_map(&w, MAPS, "'generateName':'g-'"));
	EXPECT_STREQ(said(&w, "/metadata/labels/seen"), "yes");
	/* It was told who, what, and where. */
	pthread_mutex_lock(&h.lock);
	EXPECT_EQ(strstr(buf_str(&h.asked), "\"operation\":\"CREATE\"") != NULL,
		  true);
	EXPECT_EQ(strstr(buf_str(&h.asked), "\"username\":\"root\"") != NULL,
		  true);
	EXPECT_EQ(strstr(buf_str(&h.asked), "\"tenant\":\"acme\"") != NULL,
		  true);
	EXPECT_EQ(h.nr, 2);
	pthread_mutex_unlock(&h.lock);
	EXPECT_STATUS(&w, 201,
		      add_hook(&w, &h, VALIDATING, "deny", "/deny", "", ""));
	EXPECT_STATUS(&w, 403, make_map(&w, MAPS, "'name':'b'"));
	EXPECT_SAYS(&w, "admission webhook \\\"deny.example.com\\\" denied the "
			"request: not on a Sunday");
	EXPECT_STATUS(&w, 403,
		      ask(&w, w.root, "PATCH", MAPS "/a",
			  "{'data':{'k':'v'}}"));
	EXPECT_STATUS(&w, 403, ask(&w, w.root, "DELETE", MAPS "/a", NULL));
	EXPECT_STATUS(&w, 404, GET(&w, w.root, MAPS "/b"));
	/* Other things are not asked about. */
	EXPECT_STATUS(
		&w, 201,
		POST(&w, w.root,
		     "/api/v1/tenants/acme/namespaces/default/secrets",
		     "{'apiVersion':'v1','kind':'Secret','metadata':{'name':"
		     "'s'}}"));
	EXPECT_STATUS(&w, 200, drop(&w, VALIDATING, "deny"));
	EXPECT_STATUS(&w, 200,
		      ask(&w, w.root, "PATCH", MAPS "/a",
			  "{'data':{'k':'v'}}"));
	EXPECT_STATUS(&w, 200, ask(&w, w.root, "DELETE", MAPS "/a", NULL));
	/* What a webhook makes of it is still checked: no way out of here. */
	EXPECT_STATUS(&w, 201,
		      add_hook(&w, &h, MUTATING, "zz", "/rename", "", ""));
	EXPECT_STATUS(&w, 400, make_map(&w, MAPS, "'name':'c'"));
	world_end(&w);
	hook_end(&h);
}

#define CONDITION(name, expression) \
	",'matchConditions':[{'name':'" name "','expression':'" expression "'}]"

TEST(conditions_are_expressions_about_the_request)
{
	static const struct {
		const char *condition;
		int want;
	} all[] = {
		{ CONDITION("x", "object.metadata.name == \\\"b\\\""), 201 },
		{ CONDITION("x", "object.metadata.name == \\\"a\\\""), 403 },
		{ CONDITION("x", "request.operation == \\\"UPDATE\\\""), 201 },
		{ CONDITION("x", "request.tenant == \\\"acme\\\" && oldObject "
				 "== null && request.userInfo.groups != []"),
		  403 },
		{ CONDITION("x", "has(object.data) && size(object.data) > 3"),
		  201 },
		/* What cannot be told fails, unless that is to be ignored. */
		{ CONDITION("x", "object.spec.x > 3"), 403 },
		{ CONDITION("x", "object.spec.x > 3") ",'failurePolicy':"
						      "'Ignore'",
		  201 },
		/* One that is false decides. */
		{ ",'matchConditions':[{'name':'x','expression':"
		  "'object.spec.x > 3'},{'name':'y','expression':'1 > 2'}]",
		  201 },
	};
	struct hook h;
	struct world w;

	ASSERT_EQ(world_start(&w), true);
	ASSERT_EQ(hook_start(&h, answer), true);
	make_tenant(&w, "acme");
	for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
		EXPECT_STATUS(&w, 201,
			      add_hook(&w, &h, VALIDATING, "cel", "/deny", "",
				       all[i].condition));
		EXPECT_STATUS(&w, all[i].want,
			      make_map(&w, MAPS, "'name':'a'"));
		if (strstr(all[i].condition, "spec.x") && all[i].want == 403)
			EXPECT_SAYS(&w, "match condition 'x': no such key: "
					"spec");
		EXPECT_STATUS(&w, 200, drop(&w, VALIDATING, "cel"));
		if (all[i].want == 201)
			EXPECT_STATUS(&w, 200,
				      ask(&w, w.root, "DELETE", MAPS "/a",
					  NULL));
	}
	EXPECT_STATUS(&w, 422,
		      add_hook(&w, &h, VALIDATING, "cel", "/deny", "",
			       CONDITION("x", "object.")));
	EXPECT_SAYS(&w, "webhooks[0].matchConditions[0].expression: Invalid "
			"value: \\\"object.\\\": compilation failed: ERROR");
	EXPECT_STATUS(&w, 422,
		      add_hook(&w, &h, VALIDATING, "cel", "/deny", "",
			       CONDITION("x", "1")));
	EXPECT_SAYS(&w, "must evaluate to bool");
	world_end(&w);
	hook_end(&h);
}

TEST(webhooks_are_asked_about_what_they_want)
{
	struct hook h;
	struct world w;

	ASSERT_EQ(world_start(&w), true);
	ASSERT_EQ(hook_start(&h, answer), true);
	make_tenant(&w, "acme");
	make_tenant(&w, "other");
	EXPECT_STATUS(&w, 201,
		      add_hook(&w, &h, VALIDATING, "tenant", "/deny",
			       "'arktos.futurewei.com/tenants':'other'", ""));
	EXPECT_STATUS(&w, 201, make_map(&w, MAPS, "'name':'a'"));
	EXPECT_STATUS(
		&w, 403,
		make_map(&w,
			 "/api/v1/tenants/other/namespaces/default/configmaps",
			 "'name':'a'"));
	EXPECT_STATUS(&w, 200, drop(&w, VALIDATING, "tenant"));
	EXPECT_STATUS(
		&w, 201,
		add_hook(&w, &h, VALIDATING, "objects", "/deny", "",
			 ",'objectSelector':{'matchLabels':{'watch':'me'}}"));
	EXPECT_STATUS(&w, 201, make_map(&w, MAPS, "'name':'b'"));
	EXPECT_STATUS(&w, 403,
		      make_map(&w, MAPS, "'name':'c','labels':{'watch':'me'}"));
	EXPECT_STATUS(&w, 200, drop(&w, VALIDATING, "objects"));
	EXPECT_STATUS(
		&w, 201,
		add_hook(&w, &h, VALIDATING, "spaces", "/deny", "",
			 ",'namespaceSelector':{'matchExpressions':[{'key':"
			 "'kubernetes.io/metadata.name','operator':'In',"
			 "'values':['kube-system']}]}"));
	EXPECT_STATUS(&w, 201, make_map(&w, MAPS, "'name':'d'"));
	EXPECT_STATUS(&w, 403,
		      make_map(&w,
			       "/api/v1/tenants/acme/namespaces/kube-system/"
			       "configmaps",
			       "'name':'d'"));
	world_end(&w);
	hook_end(&h);
}

TEST(collections_and_connections_are_asked_about)
{
#define POD "/api/v1/tenants/acme/namespaces/default/pods"
	struct hook h;
	struct world w;

	ASSERT_EQ(world_start(&w), true);
	ASSERT_EQ(hook_start(&h, answer), true);
	make_tenant(&w, "acme");
	EXPECT_STATUS(&w, 201, make_map(&w, MAPS, "'name':'a'"));
	EXPECT_STATUS(&w, 201, make_map(&w, MAPS, "'name':'b'"));
	EXPECT_STATUS(&w, 201,
		      add_hook(&w, &h, VALIDATING, "deny", "/deny", "", ""));
	EXPECT_STATUS(&w, 403, ask(&w, w.root, "DELETE", MAPS, NULL));
	EXPECT_SAYS(&w, "admission webhook \\\"deny.example.com\\\" denied the "
			"request: not on a Sunday");
	EXPECT_STATUS(&w, 200, GET(&w, w.root, MAPS "/a"));
	EXPECT_STATUS(&w, 200, drop(&w, VALIDATING, "deny"));
	EXPECT_STATUS(&w, 201,
		      add_hook(&w, &h, VALIDATING, "see", "/warn", "", ""));
	buf_reset(&h.asked);
	h.nr = 0;
	EXPECT_STATUS(&w, 200, ask(&w, w.root, "DELETE", MAPS, NULL));
	EXPECT_STATUS(&w, 404, GET(&w, w.root, MAPS "/b"));
	/* The tenant's own (kube-root-ca.crt) is one of them. */
	EXPECT_EQ(h.nr, 3);
	EXPECT_EQ(strstr(buf_str(&h.asked), "\"operation\":\"DELETE\"") != NULL,
		  true);
	EXPECT_EQ(strstr(buf_str(&h.asked), "\"name\":\"b\"") != NULL, true);
	EXPECT_STATUS(&w, 200, drop(&w, VALIDATING, "see"));

	EXPECT_STATUS(&w, 201,
		      POST(&w, w.root, POD,
			   "{'apiVersion':'v1','kind':'Pod','metadata':{'name'"
			   ":'p'},'spec':{'containers':[{'name':'c','image':"
			   "'i'}]}}"));
	EXPECT_STATUS(
		&w, 201,
		POST(&w, w.root,
		     "/apis/admissionregistration.k8s.io/v1/"
		     "validatingwebhookconfigurations",
		     "{'apiVersion':'admissionregistration.k8s.io/v1','kind':"
		     "'ValidatingWebhookConfiguration','metadata':{'name':'x'},"
		     "'webhooks':[{'name':'x.example.com','clientConfig':{'url'"
		     ":'https://127.0.0.1:%u/deny','caBundle':'%s'},'rules':[{"
		     "'operations':['CONNECT'],'apiGroups':[''],'apiVersions':"
		     "['v1'],'resources':['pods/exec']}],'sideEffects':'None',"
		     "'admissionReviewVersions':['v1']}]}",
		     h.port, h.ca));
	buf_reset(&h.asked);
	EXPECT_STATUS(&w, 403,
		      GET(&w, w.root,
			  POD "/p/exec?command=sh&command=a%20b&stdin=true"));
	EXPECT_SAYS(&w, "not on a Sunday");
	EXPECT_EQ(strstr(buf_str(&h.asked), "\"operation\":\"CONNECT\"") !=
			  NULL,
		  true);
	EXPECT_EQ(strstr(buf_str(&h.asked),
			 "\"object\":{\"kind\":\"PodExecOptions\","
			 "\"apiVersion\":\"v1\",\"command\":[\"sh\",\"a b\"],"
			 "\"stdin\":true}") != NULL,
		  true);
	EXPECT_STATUS(&w, 400, GET(&w, w.root, POD "/p/attach"));
	world_end(&w);
	hook_end(&h);
}

TEST(a_webhook_that_fails_has_a_policy)
{
	static const struct {
		const char *path, *says;
	} cases[] = {
		{ "/junk", "no AdmissionReview's response" },
		{ "/mute", "failed calling webhook" },
	};
	struct hook h;
	struct world w;

	ASSERT_EQ(world_start(&w), true);
	ASSERT_EQ(hook_start(&h, answer), true);
	make_tenant(&w, "acme");
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		EXPECT_STATUS(&w, 201,
			      add_hook(&w, &h, VALIDATING, "bad", cases[i].path,
				       "", ",'timeoutSeconds':1"));
		EXPECT_STATUS(&w, 500, make_map(&w, MAPS, "'name':'x'"));
		EXPECT_SAYS(&w, cases[i].says);
		EXPECT_STATUS(&w, 200, drop(&w, VALIDATING, "bad"));
		EXPECT_STATUS(&w, 201,
			      add_hook(&w, &h, VALIDATING, "bad", cases[i].path,
				       "",
				       ",'timeoutSeconds':1,'failurePolicy':"
				       "'Ignore'"));
		EXPECT_STATUS(&w, 201, make_map(&w, MAPS, "'name':'x'"));
		EXPECT_STATUS(&w, 200,
			      ask(&w, w.root, "DELETE", MAPS "/x", NULL));
		EXPECT_STATUS(&w, 200, drop(&w, VALIDATING, "bad"));
	}
	/* One that is signed by nobody we were told of. */
	free(h.ca);
	h.ca = strdup(w.ca);
	EXPECT_STATUS(&w, 201,
		      add_hook(&w, &h, VALIDATING, "alien", "/warn", "", ""));
	EXPECT_STATUS(&w, 500, make_map(&w, MAPS, "'name':'y'"));
	EXPECT_SAYS(&w, "failed calling webhook \\\"alien.example.com\\\"");
	world_end(&w);
	hook_end(&h);
}

TEST_MAIN()

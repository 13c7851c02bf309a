// SPDX-License-Identifier: Apache-2.0
/*
 * LANE: native
 * SECONDS: 60
 * ValidatingAdmissionPolicies: which requests they are about, what their
 * expressions see, what becomes of what they refuse, and whose they are.
 */
#include "selftests/controlplane/apiserver/world.h"

#define GROUP    "/apis/admissionregistration.k8s.io/v1"
#define POLICIES GROUP "/validatingadmissionpolicies"
#define BINDINGS GROUP "/validatingadmissionpolicybindings"
#define MAPS     "/api/v1/tenants/acme/namespaces/default/configmaps"

#define MAPS_RULE                                                             \
	"'matchConstraints':{'resourceRules':[{'apiGroups':[''],"             \
	"'apiVersions':['v1'],'operations':['*'],'resources':['configmaps']}" \
	"]}"

/* Of the system, or of who asks. */
static int policy(struct world *w, struct rest *who, const char *name,
		  const char *spec)
{
	return POST(w, who, POLICIES,
		    "{'apiVersion':'admissionregistration.k8s.io/v1','kind':"
		    "'ValidatingAdmissionPolicy','metadata':{'name':'%s'},"
		    "'spec':{%s}}",
		    name, spec);
}

static int bind(struct world *w, struct rest *who, const char *name,
		const char *more)
{
	return POST(w, who, BINDINGS,
		    "{'apiVersion':'admissionregistration.k8s.io/v1','kind':"
		    "'ValidatingAdmissionPolicyBinding','metadata':{'name':"
		    "'%s'},'spec':{'policyName':'%s','validationActions':["
		    "'Deny']%s}}",
		    name, name, more);
}

static int drop(struct world *w, struct rest *who, const char *name)
{
	auto_free char *p = str_printf(POLICIES "/%s", name);
	auto_free char *b = str_printf(BINDINGS "/%s", name);

	ask(w, who, "DELETE", b, NULL);
	return ask(w, who, "DELETE", p, NULL);
}

static int make_map(struct world *w, struct rest *who, const char *name,
		    const char *more)
{
	return POST(w, who, MAPS,
		    "{'apiVersion':'v1','kind':'ConfigMap','metadata':{"
		    "'name':'%s'%s}",
		    name, more);
}

#define MAP(name) make_map(&w, w.root, name, "}")

TEST(expressions_see_the_request)
{
	static const struct {
		const char *spec;
		int want;
		const char *says;
	} all[] = {
		{ "'validations':[{'expression':'object.metadata.name == "
		  "\\\"a\\\" && oldObject == null && params == null'}],"
		  "'paramKind':{'apiVersion':'v1','kind':'ConfigMap'}",
		  201, NULL },
		{ "'validations':[{'expression':'request.operation != "
		  "\\\"CREATE\\\"'}]",
		  422,
		  "failed expression: request.operation != \\\"CREATE\\\"" },
		{ "'validations':[{'expression':'request.tenant == "
		  "\\\"acme\\\" && request.kind.kind == \\\"ConfigMap\\\" && "
		  "request.resource.resource == \\\"configmaps\\\" && "
		  "request.userInfo.username == \\\"root\\\" && "
		  "request.namespace == \\\"default\\\" && !request.dryRun'}]",
		  201, NULL },
		{ "'validations':[{'expression':'namespaceObject.metadata.name "
		  "== \\\"default\\\" && namespaceObject.status.phase == "
		  "\\\"Active\\\"'}]",
		  201, NULL },
		/* A variable is not looked at when nobody asks for it. */
		{ "'variables':[{'name':'bad','expression':'object.spec.x'},{"
		  "'name':'n','expression':'size(object.metadata.name)'},{"
		  "'name':'m','expression':'variables.n + 1'}],"
		  "'validations':[{'expression':'variables.m == 2 || "
		  "variables.bad'}]",
		  201, NULL },
		{ "'variables':[{'name':'bad','expression':'object.spec.x'}],"
		  "'validations':[{'expression':'variables.bad'}]",
		  422,
		  "expression 'variables.bad' resulted in error: composited "
		  "variable \\\"bad\\\" fails to evaluate: no such key: spec" },
		{ "'failurePolicy':'Ignore','validations':[{'expression':"
		  "'object.spec.x'}]",
		  201, NULL },
		{ "'matchConditions':[{'name':'no','expression':'1 > 2'}],"
		  "'validations':[{'expression':'false'}]",
		  201, NULL },
		{ "'matchConditions':[{'name':'no','expression':"
		  "'object.spec.x'}],'validations':[{'expression':'true'}]",
		  422,
		  "expression 'object.spec.x' resulted in error: no such key: "
		  "spec" },
		{ "'validations':[{'expression':'false','message':' as it is "
		  "','messageExpression':'object.nothing','reason':"
		  "'RequestEntityTooLarge'}]",
		  413, "denied request: as it is\"" },
		/* What is too long, or has lines, is not shown. */
		{ "'validations':[{'expression':'false','message':'short',"
		  "'messageExpression':'\\\"a\\\\nb\\\"'}]",
		  422, "denied request: short" },
		/* A loop that never ends is cut off. */
		{ "'variables':[{'name':'l','expression':'[1,2,3,4,5,6,7,8,9,"
		  "10,11,12,13,14,15,16,17,18,19,20]'}],'validations':[{"
		  "'expression':'variables.l.all(a, variables.l.all(b, "
		  "variables.l.all(c, variables.l.all(d, a + b + c + d > "
		  "0))))'}]",
		  422, "operation cancelled: actual cost limit exceeded" },
	};
	struct world w;

	ASSERT_EQ(world_start(&w), true);
	make_tenant(&w, "acme");
	for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
		auto_free char *spec = str_printf(MAPS_RULE ",%s", all[i].spec);

		EXPECT_STATUS(&w, 201, policy(&w, w.root, "p", spec));
		EXPECT_STATUS(&w, 201, bind(&w, w.root, "p", ""));
		EXPECT_STATUS(&w, all[i].want, MAP("a"));
		if (all[i].says)
			EXPECT_SAYS(&w, all[i].says);
		EXPECT_STATUS(&w, 200, drop(&w, w.root, "p"));
		if (all[i].want == 201)
			EXPECT_STATUS(&w, 200,
				      ask(&w, w.root, "DELETE", MAPS "/a",
					  NULL));
	}
	world_end(&w);
}

TEST(constraints_say_which_requests_are_meant)
{
	struct world w;

	ASSERT_EQ(world_start(&w), true);
	make_tenant(&w, "acme");
	EXPECT_STATUS(
		&w, 201,
		policy(&w, w.root, "names",
		       "'matchConstraints':{'resourceRules':[{'apiGroups':["
		       "''],'apiVersions':['v1'],'operations':['CREATE',"
		       "'DELETE'],'resources':['configmaps'],'resourceNames':["
		       "'a','b','c']}],'excludeResourceRules':[{'apiGroups':["
		       "''],'apiVersions':['*'],'operations':['*'],'resources':"
		       "['*'],'resourceNames':['b']}],'objectSelector':{"
		       "'matchExpressions':[{'key':'free','operator':"
		       "'DoesNotExist'}]}},'validations':[{'expression':"
		       "'false'}]"));
	EXPECT_STATUS(&w, 201, bind(&w, w.root, "names", ""));
	EXPECT_STATUS(&w, 422, MAP("a"));
	EXPECT_STATUS(&w, 201, MAP("b"));
	EXPECT_STATUS(&w, 201, MAP("other"));
	EXPECT_STATUS(&w, 201,
		      make_map(&w, w.root, "c", ",'labels':{'free':''}}"));
	/* Its operations only; a delete has an old object alone. */
	EXPECT_STATUS(&w, 200,
		      ask(&w, w.root, "PATCH", MAPS "/c",
			  "{'metadata':{'labels':{'free':null}}}"));
	EXPECT_STATUS(&w, 422, ask(&w, w.root, "DELETE", MAPS "/c", NULL));
	EXPECT_STATUS(&w, 200, ask(&w, w.root, "DELETE", MAPS "/b", NULL));
	EXPECT_STATUS(&w, 200, drop(&w, w.root, "names"));
	EXPECT_STATUS(&w, 200, ask(&w, w.root, "DELETE", MAPS "/c", NULL));
	/* The binding narrows it. */
	EXPECT_STATUS(&w, 201,
		      policy(&w, w.root, "narrow",
			     MAPS_RULE ",'validations':[{'expression':"
				       "'false'}]"));
	EXPECT_STATUS(&w, 201,
		      bind(&w, w.root, "narrow",
			   ",'matchResources':{'namespaceSelector':{"
			   "'matchLabels':{'strict':'yes'}}}"));
	EXPECT_STATUS(&w, 201, MAP("a"));
	EXPECT_STATUS(&w, 200,
		      ask(&w, w.root, "PATCH",
			  "/api/v1/tenants/acme/namespaces/default",
			  "{'metadata':{'labels':{'strict':'yes'}}}"));
	EXPECT_STATUS(&w, 422, MAP("d"));
	EXPECT_STATUS(&w, 200, drop(&w, w.root, "narrow"));
	world_end(&w);
}

#define HPA(version)                                                          \
	POST(&w, w.root,                                                      \
	     "/apis/autoscaling/" version                                     \
	     "/tenants/acme/namespaces/default/horizontalpodautoscalers",     \
	     "{'apiVersion':'autoscaling/" version                            \
	     "','kind':'HorizontalPodAutoscaler','metadata':{'name':'h'},"    \
	     "'spec':{'maxReplicas':9,'scaleTargetRef':{'kind':'Deployment'," \
	     "'name':'d','apiVersion':'apps/v1'}}}")

/* Each of a collection is one that is deleted; the first that may not go ends
 * it. */
TEST(a_collection_is_asked_about_one_by_one)
{
	struct world w;

	ASSERT_EQ(world_start(&w), true);
	make_tenant(&w, "acme");
	EXPECT_STATUS(&w, 201, MAP("a"));
	EXPECT_STATUS(&w, 201, MAP("keep"));
	EXPECT_STATUS(&w, 201,
		      policy(&w, w.root, "keep",
			     MAPS_RULE
			     ",'validations':[{'expression':"
			     "'request.operation != \\\"DELETE\\\" || "
			     "oldObject.metadata.name != "
			     "\\\"keep\\\"','message':'it is kept'}]"));
	EXPECT_STATUS(&w, 201, bind(&w, w.root, "keep", ""));
	EXPECT_STATUS(&w, 422,
		      ask(&w, w.root, "DELETE", MAPS "?dryRun=All", NULL));
	EXPECT_STATUS(&w, 200, GET(&w, w.root, MAPS "/a"));
	EXPECT_STATUS(&w, 422, ask(&w, w.root, "DELETE", MAPS, NULL));
	EXPECT_SAYS(&w, "it is kept");
	EXPECT_STATUS(&w, 404, GET(&w, w.root, MAPS "/a"));
	EXPECT_STATUS(&w, 200, GET(&w, w.root, MAPS "/keep"));
	EXPECT_STATUS(&w, 200, drop(&w, w.root, "keep"));
	EXPECT_STATUS(&w, 200, ask(&w, w.root, "DELETE", MAPS, NULL));
	EXPECT_STATUS(&w, 404, GET(&w, w.root, MAPS "/keep"));
	world_end(&w);
}

#define PODS "/api/v1/tenants/acme/namespaces/default/pods"

TEST(connections_are_asked_about)
{
	static const char *const denied[] = {
		PODS "/p/exec?command=sh&command=-c&container=c&stdin=true",
		PODS "/p/attach?container=c", PODS "/p/portforward?ports=80",
		PODS "/p/proxy/x?y=z"
	};
	static const char *const says[] = {
		"no CONNECT of PodExecOptions sh,-c",
		"no CONNECT of PodAttachOptions",
		"no CONNECT of PodPortForwardOptions",
		"no CONNECT of PodProxyOptions"
	};
	struct world w;

	ASSERT_EQ(world_start(&w), true);
	make_tenant(&w, "acme");
	EXPECT_STATUS(&w, 201,
		      POST(&w, w.root, PODS,
			   "{'apiVersion':'v1','kind':'Pod','metadata':{'name'"
			   ":'p'},'spec':{'containers':[{'name':'c','image':"
			   "'i'}]}}"));
	EXPECT_STATUS(&w, 400, GET(&w, w.root, denied[0]));
	EXPECT_SAYS(&w, "does not have a host assigned");
	EXPECT_STATUS(
		&w, 201,
		policy(&w, w.root, "no",
		       "'matchConstraints':{'resourceRules':[{'apiGroups':['']"
		       ",'apiVersions':['v1'],'operations':['CONNECT'],"
		       "'resources':['pods/*']}]},'validations':[{'expression':"
		       "'false','messageExpression':'\\\"no \\\" + "
		       "request.operation + \\\" of \\\" + object.kind + "
		       "\\\" \\\" + (has(object.command) ? "
		       "object.command.join(\\\",\\\") : \\\"\\\")'}]"));
	EXPECT_STATUS(&w, 201, bind(&w, w.root, "no", ""));
	for (size_t i = 0; i < ARRAY_SIZE(denied); i++) {
		EXPECT_STATUS(&w, 422, GET(&w, w.root, denied[i]));
		EXPECT_SAYS(&w, says[i]);
	}
	/* Reading the log is none. */
	EXPECT_STATUS(&w, 400, GET(&w, w.root, PODS "/p/log"));
	EXPECT_SAYS(&w, "does not have a host assigned");
	EXPECT_STATUS(&w, 200, drop(&w, w.root, "no"));
	EXPECT_STATUS(&w, 400, GET(&w, w.root, denied[0]));
	world_end(&w);
}

TEST(versions_of_a_resource_are_alike)
{
	static const char spec[] =
		"'matchConstraints':{%s'resourceRules':[{'apiGroups':["
		"'autoscaling'],'apiVersions':['v2'],'operations':['CREATE'],"
		"'resources':['horizontalpodautoscalers']}]},'validations':[{"
		"'expression':'object.apiVersion != \\\"autoscaling/v2\\\" || "
		"object.spec.maxReplicas < 5','messageExpression':"
		"'request.requestKind.version + \\\" as \\\" + "
		"request.kind.version'}]";
	auto_free char *any = str_printf(spec, "");
	auto_free char *exact = str_printf(spec, "'matchPolicy':'Exact',");
	struct world w;

	ASSERT_EQ(world_start(&w), true);
	make_tenant(&w, "acme");
	EXPECT_STATUS(&w, 201, policy(&w, w.root, "hpa", any));
	EXPECT_STATUS(&w, 201, bind(&w, w.root, "hpa", ""));
	EXPECT_STATUS(&w, 422, HPA("v2"));
	EXPECT_SAYS(&w, "denied request: v2 as v2");
	EXPECT_STATUS(&w, 422, HPA("v1"));
	EXPECT_SAYS(&w, "denied request: v1 as v2");
	EXPECT_STATUS(&w, 200, drop(&w, w.root, "hpa"));
	EXPECT_STATUS(&w, 201, policy(&w, w.root, "hpa", exact));
	EXPECT_STATUS(&w, 201, bind(&w, w.root, "hpa", ""));
	EXPECT_STATUS(&w, 422, HPA("v2"));
	EXPECT_STATUS(&w, 201, HPA("v1"));
	world_end(&w);
}

#define PARAMS_SPEC                                                    \
	MAPS_RULE ",'paramKind':{'apiVersion':'v1','kind':'Secret'},"  \
		  "'validations':[{'expression':'object.metadata.name" \
		  ".startsWith(params.metadata.labels.with)'}]"
#define SECRETS "/api/v1/tenants/acme/namespaces/%s/secrets"

static int make_secret(struct world *w, const char *ns, const char *name)
{
	auto_free char *path = str_printf(SECRETS, ns);

	return POST(w, w->root, path,
		    "{'apiVersion':'v1','kind':'Secret','metadata':{'name':"
		    "'%s','labels':{'param':'yes','with':'%s'}}}",
		    name, name);
}

TEST(parameters_are_found_by_name_and_labels)
{
	struct world w;

	ASSERT_EQ(world_start(&w), true);
	make_tenant(&w, "acme");
	EXPECT_STATUS(&w, 201,
		      POST(&w, w.root, "/api/v1/tenants/acme/namespaces",
			   "{'apiVersion':'v1','kind':'Namespace','metadata':{"
			   "'name':'far'}}"));
	EXPECT_STATUS(&w, 201, policy(&w, w.root, "p", PARAMS_SPEC));
	EXPECT_STATUS(&w, 201,
		      bind(&w, w.root, "p",
			   ",'paramRef':{'selector':{'matchLabels':{'param':"
			   "'yes'}},'parameterNotFoundAction':'Allow'}"));
	EXPECT_STATUS(&w, 201, MAP("nothing-there"));
	EXPECT_STATUS(&w, 201, make_secret(&w, "default", "a"));
	EXPECT_STATUS(&w, 201, make_secret(&w, "default", "ab"));
	EXPECT_STATUS(&w, 201, make_secret(&w, "far", "zz"));
	/* Each of them is asked. */
	EXPECT_STATUS(&w, 201, MAP("abc"));
	EXPECT_STATUS(&w, 422, MAP("acc"));
	EXPECT_STATUS(&w, 422, MAP("b"));
	EXPECT_STATUS(&w, 200, ask(&w, w.root, "DELETE", BINDINGS "/p", NULL));
	EXPECT_STATUS(&w, 201,
		      bind(&w, w.root, "p",
			   ",'paramRef':{'name':'zz','namespace':'far',"
			   "'parameterNotFoundAction':'Deny'}"));
	EXPECT_STATUS(&w, 422, MAP("abd"));
	EXPECT_STATUS(&w, 201, MAP("zzz"));
	EXPECT_STATUS(&w, 200, drop(&w, w.root, "p"));
	/* A kind that nobody has. */
	EXPECT_STATUS(&w, 201,
		      policy(&w, w.root, "p",
			     MAPS_RULE ",'paramKind':{'apiVersion':'ex.io/v1',"
				       "'kind':'Rule'},'validations':[{"
				       "'expression':'true'}]"));
	EXPECT_STATUS(&w, 201,
		      bind(&w, w.root, "p",
			   ",'paramRef':{'name':'x','parameterNotFoundAction':"
			   "'Allow'}"));
	EXPECT_STATUS(&w, 422, MAP("x"));
	EXPECT_SAYS(&w, "ValidatingAdmissionPolicy 'p' denied request: failed "
			"to configure policy: failed to find resource "
			"referenced by paramKind: 'ex.io/v1, Kind=Rule'");
	world_end(&w);
}

#define ASKS(expression)                                               \
	MAPS_RULE ",'validations':[{'expression':'" expression "'},"   \
		  "{'expression':'!authorizer.path(\\\"/x\\\").check(" \
		  "\\\"get\\\").errored()'}]"

TEST(authorizer_answers_as_rbac_does)
{
	static const struct {
		const char *spec;
		int admin, user;
	} all[] = {
		{ ASKS("authorizer.requestResource.check(\\\"delete\\\")"
		       ".allowed()"),
		  201, 422 },
		{ ASKS("authorizer.group(\\\"apps\\\").resource("
		       "\\\"deployments\\\").namespace(\\\"default\\\")"
		       ".check(\\\"get\\\").allowed()"),
		  201, 201 },
		{ ASKS("authorizer.group(\\\"\\\").resource(\\\"pods\\\")"
		       ".subresource(\\\"status\\\").name(\\\"p\\\")"
		       ".namespace(\\\"default\\\").check(\\\"update\\\")"
		       ".reason().startsWith(\\\"RBAC: allowed by\\\")"),
		  201, 422 },
		{ ASKS("authorizer.serviceAccount(\\\"default\\\", \\\"x\\\")"
		       ".group(\\\"\\\").resource(\\\"pods\\\").check("
		       "\\\"get\\\").allowed() == false"),
		  201, 201 },
		/* The wall stands for questions, too. */
		{ ASKS("!authorizer.group(\\\"\\\").resource(\\\"nodes\\\")"
		       ".check(\\\"list\\\").allowed()"),
		  201, 201 },
	};
	struct rest *admin, *user;
	struct world w;

	ASSERT_EQ(world_start(&w), true);
	make_tenant(&w, "acme");
	admin = world_user(&w, "acme", "admin", "system:masters");
	user = world_user(&w, "acme", "jo", NULL);
	EXPECT_STATUS(
		&w, 201,
		POST(&w, w.root,
		     "/apis/rbac.authorization.k8s.io/v1/tenants/acme/"
		     "namespaces/default/roles",
		     "{'apiVersion':'rbac.authorization.k8s.io/v1','kind':"
		     "'Role','metadata':{'name':'r'},'rules':[{'apiGroups':["
		     "''],'resources':['configmaps'],'verbs':['create']},{"
		     "'apiGroups':['apps'],'resources':['deployments'],"
		     "'verbs':['get']}]}"));
	EXPECT_STATUS(
		&w, 201,
		POST(&w, w.root,
		     "/apis/rbac.authorization.k8s.io/v1/tenants/acme/"
		     "namespaces/default/rolebindings",
		     "{'apiVersion':'rbac.authorization.k8s.io/v1','kind':"
		     "'RoleBinding','metadata':{'name':'r'},'roleRef':{'kind':"
		     "'Role','name':'r'},'subjects':[{'kind':'User','name':"
		     "'jo'}]}"));
	for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
		EXPECT_STATUS(&w, 201, policy(&w, w.root, "p", all[i].spec));
		EXPECT_STATUS(&w, 201, bind(&w, w.root, "p", ""));
		EXPECT_STATUS(&w, all[i].user, make_map(&w, user, "u", "}"));
		EXPECT_STATUS(&w, all[i].admin, make_map(&w, admin, "a", "}"));
		EXPECT_STATUS(&w, 200, drop(&w, w.root, "p"));
		ask(&w, w.root, "DELETE", MAPS "/u", NULL);
		EXPECT_STATUS(&w, 200,
			      ask(&w, w.root, "DELETE", MAPS "/a", NULL));
	}
	rest_close(admin);
	rest_close(user);
	world_end(&w);
}

#define POD                                                                 \
	"{'apiVersion':'v1','kind':'Pod','metadata':{'name':'%s'},'spec':{" \
	"'containers':[{'name':'c','image':'i'}]}}"
#define PODS "/api/v1/tenants/acme/namespaces/default/pods"

TEST(a_tenants_own_are_about_the_tenant)
{
	struct rest *admin, *other;
	struct world w;

	ASSERT_EQ(world_start(&w), true);
	make_tenant(&w, "acme");
	make_tenant(&w, "other");
	admin = world_user(&w, "acme", "admin", "system:masters");
	other = world_user(&w, "other", "admin", "system:masters");
	EXPECT_STATUS(
		&w, 201,
		policy(&w, admin, "own",
		       "'matchConstraints':{'resourceRules':[{'apiGroups':["
		       "'*'],'apiVersions':['*'],'operations':['*'],"
		       "'resources':['*/*']}]},'validations':[{'expression':"
		       "'request.operation == \\\"CREATE\\\" && "
		       "object.metadata.name.startsWith(\\\"ok\\\") && "
		       "!has(request.subResource)'}]"));
	EXPECT_STATUS(&w, 201, bind(&w, admin, "own", ""));
	EXPECT_STATUS(&w, 200, GET(&w, admin, POLICIES "/own"));
	EXPECT_STREQ(said(&w, "/metadata/tenant"), "acme");
	EXPECT_STATUS(&w, 404, GET(&w, other, POLICIES "/own"));
	EXPECT_STATUS(&w, 404, GET(&w, w.root, POLICIES "/own"));
	EXPECT_STATUS(&w, 422, make_map(&w, admin, "no", "}"));
	EXPECT_STATUS(&w, 201, make_map(&w, admin, "ok", "}"));
	EXPECT_STATUS(&w, 422, ask(&w, admin, "DELETE", MAPS "/ok", NULL));
	EXPECT_STATUS(&w, 201,
		      POST(&w, other, "/api/v1/namespaces/default/configmaps",
			   "{'apiVersion':'v1','kind':'ConfigMap','metadata':{"
			   "'name':'no'}}"));
	EXPECT_STATUS(&w, 201,
		      POST(&w, w.root, "/api/v1/namespaces/default/configmaps",
			   "{'apiVersion':'v1','kind':'ConfigMap','metadata':{"
			   "'name':'no'}}"));
	/* What the system's users make and change there it sees; how they look
	 * after it and clear it away it does not. */
	EXPECT_STATUS(&w, 422, POST(&w, w.root, PODS, POD, "no"));
	EXPECT_STATUS(&w, 201, POST(&w, w.root, PODS, POD, "ok"));
	EXPECT_STATUS(&w, 422,
		      ask(&w, w.root, "PATCH", PODS "/ok",
			  "{'metadata':{'labels':{'a':'b'}}}"));
	EXPECT_STATUS(&w, 422,
		      ask(&w, admin, "PATCH", PODS "/ok/status",
			  "{'status':{'message':'seen'}}"));
	EXPECT_STATUS(&w, 200,
		      ask(&w, w.root, "PATCH", PODS "/ok/status",
			  "{'status':{'message':'seen'}}"));
	EXPECT_STATUS(&w, 422, ask(&w, admin, "DELETE", PODS "/ok", NULL));
	EXPECT_STATUS(&w, 200, ask(&w, w.root, "DELETE", PODS "/ok", NULL));
	EXPECT_STATUS(&w, 200, ask(&w, w.root, "DELETE", MAPS "/ok", NULL));
	/* Nor can it hold on to itself, or look over the wall. */
	EXPECT_STATUS(&w, 200, drop(&w, admin, "own"));
	EXPECT_STATUS(&w, 403,
		      policy(&w, admin, "peek",
			     MAPS_RULE ",'paramKind':{'apiVersion':'v1','kind':"
				       "'Node'},'validations':[{'expression':"
				       "'true'}]"));
	rest_close(admin);
	rest_close(other);
	world_end(&w);
}

TEST(who_cannot_read_parameters_cannot_have_them_read)
{
	struct rest *admin, *user;
	struct world w;

	ASSERT_EQ(world_start(&w), true);
	make_tenant(&w, "acme");
	admin = world_user(&w, "acme", "admin", "system:masters");
	user = world_user(&w, "acme", "jo", NULL);
	EXPECT_STATUS(&w, 201,
		      POST(&w, admin,
			   "/apis/rbac.authorization.k8s.io/v1/clusterroles",
			   "{'apiVersion':'rbac.authorization.k8s.io/v1','kind':"
			   "'ClusterRole','metadata':{'name':'p'},'rules':[{"
			   "'apiGroups':['admissionregistration.k8s.io'],"
			   "'resources':['*'],'verbs':['*']},{'apiGroups':[''],"
			   "'resources':['configmaps'],'verbs':['get']}]}"));
	EXPECT_STATUS(
		&w, 201,
		POST(&w, admin,
		     "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
		     "{'apiVersion':'rbac.authorization.k8s.io/v1','kind':"
		     "'ClusterRoleBinding','metadata':{'name':'p'},'roleRef':{"
		     "'kind':'ClusterRole','name':'p'},'subjects':[{'kind':"
		     "'User','name':'jo'}]}"));
	EXPECT_STATUS(&w, 403, policy(&w, user, "p", PARAMS_SPEC));
	EXPECT_SAYS(&w, "user jo must have \\\"get\\\" permission on all "
			"objects of the referenced paramKind (kind=Secret, "
			"apiVersion=v1)");
	EXPECT_STATUS(&w, 201, policy(&w, admin, "p", PARAMS_SPEC));
	EXPECT_STATUS(&w, 403,
		      bind(&w, user, "p",
			   ",'paramRef':{'name':'s','namespace':'default',"
			   "'parameterNotFoundAction':'Allow'}"));
	EXPECT_SAYS(&w, "user jo does not have \\\"get\\\" permission on the "
			"object referenced by paramRef");
	EXPECT_STATUS(&w, 200, drop(&w, admin, "p"));
	EXPECT_STATUS(&w, 201,
		      policy(&w, user, "p",
			     MAPS_RULE ",'paramKind':{'apiVersion':'v1',"
				       "'kind':'ConfigMap'},'validations':[{"
				       "'expression':'true'}]"));
	rest_close(admin);
	rest_close(user);
	world_end(&w);
}

TEST(what_is_wrong_with_a_policy_is_told)
{
	static const struct {
		const char *spec, *says;
	} all[] = {
		{ "'validations':[{'expression':'true'}]",
		  "spec.matchConstraints: Required value" },
		{ "'matchConstraints':{},'validations':[{'expression':"
		  "'true'}]",
		  "spec.matchConstraints.resourceRules: Required value" },
		{ MAPS_RULE ",'validations':[{'expression':' '}]",
		  "spec.validations[0].expression: Required value: expression "
		  "is not specified" },
		{ MAPS_RULE ",'validations':[{'expression':'1'}]",
		  "spec.validations[0].expression: Invalid value: \\\"1\\\": "
		  "must evaluate to bool" },
		{ MAPS_RULE ",'validations':[{'expression':"
			    "'request.nothing'}]",
		  "undefined field 'nothing'" },
		{ MAPS_RULE ",'validations':[{'expression':'true',"
			    "'messageExpression':'authorizer'}]",
		  "undeclared reference to 'authorizer'" },
		{ MAPS_RULE ",'validations':[{'expression':'true','message':"
			    "'a\\nb'}]",
		  "message must not contain line breaks" },
		{ MAPS_RULE ",'validations':[{'expression':'true','reason':"
			    "'Because'}]",
		  "spec.validations[0].reason: Unsupported value: "
		  "\\\"Because\\\": supported values: \\\"Forbidden\\\", "
		  "\\\"Invalid\\\", \\\"RequestEntityTooLarge\\\"" },
		{ MAPS_RULE ",'variables':[{'name':'in','expression':'1'}],"
			    "'validations':[{'expression':'true'}]",
		  "spec.variables[0].name: Invalid value: \\\"in\\\": name is "
		  "not a valid CEL identifier" },
		{ MAPS_RULE ",'variables':[{'name':'a','expression':"
			    "'variables.b'},{'name':'b','expression':'1'}],"
			    "'validations':[{'expression':'true'}]",
		  "spec.variables[0].expression: Invalid value: "
		  "\\\"variables.b\\\": compilation failed" },
		{ MAPS_RULE ",'auditAnnotations':[{'key':'k','valueExpression'"
			    ":'1'}]",
		  "must evaluate to one of [string null_type]" },
		{ MAPS_RULE ",'auditAnnotations':[{'key':'-','valueExpression'"
			    ":'null'}]",
		  "spec.auditAnnotations[0].key: Invalid value: \\\"p/-\\\": "
		  "name part must consist of" },
		{ "'matchConstraints':{'resourceRules':[{'apiGroups':['*',''],"
		  "'apiVersions':['v1'],'operations':['GET'],'resources':["
		  "'a/*','a/b']}],'objectSelector':{'matchExpressions':[{"
		  "'key':'a','operator':'In'}]}},'validations':[{"
		  "'expression':'true'}]",
		  "spec.matchConstraints.objectSelector.matchExpressions[0]"
		  ".values: Required value: must be specified when `operator` "
		  "is 'In' or 'NotIn'" },
		{ "'matchConstraints':{'resourceRules':[{'apiGroups':['*',''],"
		  "'apiVersions':['v1'],'operations':['GET'],'resources':["
		  "'a/*','a/b']}]},'validations':[{'expression':'true'}]",
		  "[spec.matchConstraints.resourceRules[0].operations[0]: "
		  "Unsupported value: \\\"GET\\\": supported values: "
		  "\\\"*\\\", \\\"CONNECT\\\", \\\"CREATE\\\", \\\"DELETE\\\", "
		  "\\\"UPDATE\\\", spec.matchConstraints.resourceRules[0]"
		  ".apiGroups: Invalid value: [\\\"*\\\",\\\"\\\"]: if '*' is "
		  "present, must not specify other API groups, "
		  "spec.matchConstraints.resourceRules[0].resources[1]: "
		  "Invalid value: \\\"a/b\\\": if 'a/*' is present, must not "
		  "specify a/b]" },
		{ MAPS_RULE ",'paramKind':{'apiVersion':'a/b/c','kind':''},"
			    "'validations':[{'expression':'true'}]",
		  "[spec.paramKind.apiVersion: Invalid value: \\\"a/b/c\\\": "
		  "unexpected GroupVersion string, spec.paramKind.kind: "
		  "Required value" },
	};
	struct world w;

	ASSERT_EQ(world_start(&w), true);
	for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
		EXPECT_STATUS(&w, 422, policy(&w, w.root, "p", all[i].spec));
		EXPECT_SAYS(&w, all[i].says);
	}
	EXPECT_STATUS(&w, 422,
		      bind(&w, w.root, "p",
			   ",'paramRef':{'name':'a','selector':{}}"));
	EXPECT_SAYS(&w, "[spec.paramRef.name: Forbidden: name and selector are "
			"mutually exclusive, spec.paramRef.selector: "
			"Forbidden: name and selector are mutually exclusive, "
			"spec.paramRef.parameterNotFoundAction: Required "
			"value");
	EXPECT_STATUS(&w, 422,
		      POST(&w, w.root, BINDINGS,
			   "{'apiVersion':'admissionregistration.k8s.io/v1',"
			   "'kind':'ValidatingAdmissionPolicyBinding',"
			   "'metadata':{'name':'b'},'spec':{"
			   "'validationActions':['Stop']}}"));
	EXPECT_SAYS(&w, "[spec.policyName: Required value, "
			"spec.validationActions[0]: Unsupported value: "
			"\\\"Stop\\\": supported values: \\\"Audit\\\", "
			"\\\"Deny\\\", \\\"Warn\\\"]");
	world_end(&w);
}

TEST_MAIN()

// SPDX-License-Identifier: Apache-2.0
/*
 * LANE: native
 * SECONDS: 60
 * Somebody who has a node's credentials, or only a token to join with: all that
 * they try, and what the rest of the cluster loses by it.
 */
#include "selftests/controlplane/apiserver/node.h"

/*
 * Somebody has the credentials of n1, and its pod "mine". What they try, and
 * what becomes of it; nothing of it shows a word of a secret.
 */
#define DEFAULT "/api/v1/namespaces/default/"
#define BOUND(ref)                                                \
	"{'apiVersion':'v1','kind':'Pod','metadata':{'name':'m'," \
	"'annotations':{" YES "}},'spec':{'nodeName':'n1'," ref   \
	"'containers':[{'name':'c','image':'i'}]}}"
#define WITHIN(ref)                                               \
	"{'apiVersion':'v1','kind':'Pod','metadata':{'name':'m'," \
	"'annotations':{" YES "}},'spec':{'nodeName':'n1',"       \
	"'containers':[{'name':'c','image':'i'," ref "}]}}"
#define TOKEN_FOR(name)                                                    \
	"{'apiVersion':'authentication.k8s.io/v1','kind':'TokenRequest',"  \
	"'spec':{'boundObjectRef':{'kind':'Pod','apiVersion':'v1','name':" \
	"'" name "'}}}"

static const struct attack {
	const char *method, *path, *body;
	int status;
} attacks[] = {
	/* Pods of others, and more than the status of its own. */
	{ "GET", PODS, NULL, 403 },
	{ "GET", PODS "/other", NULL, 403 },
	{ "GET", PODS "?fieldSelector=spec.nodeName%3Dn2", NULL, 403 },
	{ "GET", PODS "?fieldSelector=metadata.name%3Dother", NULL, 403 },
	{ "GET", PODS "/other/log", NULL, 403 },
	{ "GET", PODS "/mine/log", NULL, 403 },
	{ "POST", PODS "/other/exec?command=id", "{}", 403 },
	{ "POST", PODS "/mine/exec?command=id", "{}", 403 },
	{ "POST", PODS "/pending/binding",
	  "{'apiVersion':'v1','kind':'Binding','metadata':{'name':'pending'},"
	  "'target':{'kind':'Node','name':'n1'}}",
	  403 },
	{ "POST", PODS "/other/eviction",
	  "{'apiVersion':'policy/v1','kind':'Eviction','metadata':{'name':"
	  "'other'}}",
	  403 },
	{ "DELETE", PODS "/other", NULL, 403 },
	{ "DELETE", PODS "?fieldSelector=spec.nodeName%3Dn1", NULL, 403 },
	{ "PATCH", PODS "/other/status", "{'status':{'phase':'Failed'}}", 403 },
	{ "PATCH", PODS "/mine", "{'metadata':{'annotations':{'a':'b'}}}",
	  403 },
	{ "PATCH", PODS "/mine/resize", "{'spec':{}}", 403 },
	{ "PATCH", PODS "/mine/ephemeralcontainers", "{'spec':{}}", 403 },
	{ "PATCH", PODS "/mine/status", "{'metadata':{'labels':{'app':'x'}}}",
	  403 },
	{ "PATCH", PODS "/mine/status",
	  "{'metadata':{'annotations':{" YES "}}}", 403 },
	{ "PATCH", PODS "/mine/status", "{'metadata':{'finalizers':['a.b/c']}}",
	  403 },
	/* Secrets that none of its pods refers to, by whatever way. */
	{ "GET", DEFAULT "secrets", NULL, 403 },
	{ "GET", DEFAULT "secrets/deep", NULL, 403 },
	{ "GET", DEFAULT "secrets?fieldSelector=metadata.name%3Ddeep", NULL,
	  403 },
	{ "GET", "/api/v1/secrets", NULL, 403 },
	{ "GET", "/api/v1/tenants/all/secrets", NULL, 403 },
	{ "GET", DEFAULT "configmaps", NULL, 403 },
	{ "POST", PODS,
	  WITHIN("'env':[{'name':'E','valueFrom':{'secretKeyRef':{'name':"
		 "'deep','key':'k'}}}]"),
	  403 },
	{ "POST", PODS, WITHIN("'envFrom':[{'secretRef':{'name':'deep'}}]"),
	  403 },
	{ "POST", PODS, WITHIN("'envFrom':[{'configMapRef':{'name':'deep'}}]"),
	  403 },
	{ "POST", PODS, BOUND("'imagePullSecrets':[{'name':'deep'}],"), 403 },
	{ "POST", PODS,
	  BOUND("'volumes':[{'name':'v','secret':{'secretName':'deep'}}],"),
	  403 },
	{ "POST", PODS,
	  BOUND("'volumes':[{'name':'v','projected':{'sources':[{'secret':{"
		"'name':'deep'}}]}}],"),
	  403 },
	{ "POST", PODS,
	  BOUND("'volumes':[{'name':'v','csi':{'driver':'d',"
		"'nodePublishSecretRef':{'name':'deep'}}}],"),
	  403 },
	{ "POST", PODS,
	  BOUND("'initContainers':[{'name':'i','image':'i','envFrom':[{"
		"'secretRef':{'name':'deep'}}]}],"),
	  403 },
	{ "POST", PODS, BOUND("'serviceAccountName':'rich',"), 403 },
	/* Tokens: for its pods, of their accounts. */
	{ "POST", DEFAULT "serviceaccounts/rich/token", TOKEN_FOR("mine"),
	  403 },
	{ "POST", DEFAULT "serviceaccounts/default/token", TOKEN_FOR("other"),
	  403 },
	{ "POST", DEFAULT "serviceaccounts/default/token",
	  "{'apiVersion':'authentication.k8s.io/v1','kind':'TokenRequest',"
	  "'spec':{}}",
	  403 },
	/* Its Node, and others. */
	{ "PATCH", "/api/v1/nodes/n2", "{'metadata':{'labels':{'a':'b'}}}",
	  403 },
	{ "PATCH", "/api/v1/nodes/n2/status", "{'status':{}}", 403 },
	{ "DELETE", "/api/v1/nodes/n1", NULL, 403 },
	{ "DELETE", "/api/v1/nodes/n2", NULL, 403 },
	{ "GET", "/api/v1/nodes/n2/proxy/healthz", NULL, 403 },
	{ "PATCH", "/api/v1/nodes/n1",
	  "{'metadata':{'labels':{'node-role.kubernetes.io/x':''}}}", 403 },
	{ "PATCH", "/api/v1/nodes/n1",
	  "{'metadata':{'labels':{'x.node-restriction.kubernetes.io/y':''}}}",
	  403 },
	{ "PATCH", "/api/v1/nodes/n1/status",
	  "{'metadata':{'labels':{'node-restriction.kubernetes.io/y':''}}}",
	  403 },
	{ "PATCH", "/api/v1/nodes/n1",
	  "{'metadata':{'labels':{'node-restriction.kubernetes.io/pool':null}}}",
	  403 },
	{ "PATCH", "/api/v1/nodes/n1", "{'spec':{'taints':null}}", 403 },
	{ "PATCH", "/api/v1/nodes/n1",
	  "{'metadata':{'ownerReferences':[{'apiVersion':'v1','kind':'Pod',"
	  "'name':'a','uid':'b'}]}}",
	  403 },
	{ "PATCH", LEASES "/n2", "{'spec':{'holderIdentity':'x'}}", 403 },
	{ "DELETE", LEASES "/n2", NULL, 403 },
	/* The tenant has no pod on this node: it is none of its business. */
	{ "GET", ACME "/pods", NULL, 403 },
	{ "GET", ACME "/secrets/s", NULL, 403 },
	{ "GET", ACME "/configmaps/kube-root-ca.crt", NULL, 403 },
	{ "GET", ACME "/services", NULL, 403 },
	{ "GET", "/api/v1/tenants/acme/namespaces", NULL, 403 },
	{ "GET",
	  "/apis/networking.k8s.io/v1/tenants/acme/namespaces/default/"
	  "networkpolicies",
	  NULL, 403 },
	{ "GET", "/api/v1/tenants", NULL, 403 },
	{ "POST", ACME "/pods", BOUND(""), 403 },
	{ "POST", ACME "/serviceaccounts/default/token", TOKEN_FOR("mine"),
	  403 },
	/* Anything else. */
	{ "GET", "/apis/apps/v1/deployments", NULL, 403 },
	{ "POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
	  "{'apiVersion':'rbac.authorization.k8s.io/v1','kind':"
	  "'ClusterRoleBinding','metadata':{'name':'x'},'roleRef':{'apiGroup':"
	  "'rbac.authorization.k8s.io','kind':'ClusterRole','name':"
	  "'cluster-admin'},'subjects':[{'kind':'User','name':"
	  "'system:node:n1','apiGroup':'rbac.authorization.k8s.io'}]}",
	  403 },
};

TEST(a_forged_node_gets_nothing_more)
{
	struct rest *n1;
	struct world w;

	ASSERT_EQ(world_start(&w), true);
	make_tenant(&w, "acme");
	n1 = world_user(&w, "system", "system:node:n1", "system:nodes");
	EXPECT_STATUS(&w, 201,
		      POST(&w, w.root, "/api/v1/nodes",
			   "{'apiVersion':'v1','kind':'Node','metadata':{"
			   "'name':'n1','labels':{"
			   "'node-restriction.kubernetes.io/pool':'a'}},"
			   "'spec':{'taints':[{'key':'a','effect':"
			   "'NoSchedule'}]}}"));
	EXPECT_STATUS(&w, 201, POST(&w, w.root, "/api/v1/nodes", NODE, "n2"));
	EXPECT_STATUS(&w, 201, make_secret(&w, "system", "deep"));
	EXPECT_STATUS(&w, 201, make_secret(&w, "acme", "s"));
	EXPECT_STATUS(&w, 201, make_pod(&w, "system", "mine", "n1", "free"));
	EXPECT_STATUS(&w, 201, make_pod(&w, "system", "other", "n2", "free"));
	EXPECT_STATUS(&w, 201, make_pod(&w, "system", "pending", "", "free"));
	EXPECT_STATUS(&w, 201,
		      POST(&w, w.root, DEFAULT "serviceaccounts",
			   "{'apiVersion':'v1','kind':'ServiceAccount',"
			   "'metadata':{'name':'rich'}}"));
	for (size_t i = 0; i < ARRAY_SIZE(attacks); i++) {
		const struct attack *a = &attacks[i];
		int status =
			a->body ? ask(&w, n1, a->method, a->path, "%s", a->body)
				: ask(&w, n1, a->method, a->path, NULL);

		if (status != a->status)
			FAIL("%s %s %s: %d, want %d: %.200s", a->method,
			     a->path, a->body ? a->body : "", status, a->status,
			     buf_str(&w.answer));
	}
	/* A mirror that refers to something, made by somebody else or before
	 * this was looked at, gives no right; nor does it stop being one. */
	EXPECT_STATUS(&w, 201,
		      ask(&w, w.root, "POST", PODS,
			  BOUND("'imagePullSecrets':[{'name':'deep'}],")));
	EXPECT_STATUS(&w, 403, GET(&w, n1, DEFAULT "secrets/deep"));
	EXPECT_STATUS(&w, 403,
		      ask(&w, n1, "PATCH", PODS "/m/status",
			  "{'metadata':{'annotations':null}}"));
	EXPECT_STATUS(&w, 403, GET(&w, n1, DEFAULT "secrets/deep"));
	/* What status may not change it does not. */
	EXPECT_STATUS(&w, 200,
		      ask(&w, n1, "PATCH", "/api/v1/nodes/n1/status",
			  "{'spec':{'taints':null}}"));
	EXPECT_STATUS(&w, 200, GET(&w, w.root, "/api/v1/nodes/n1"));
	EXPECT_STREQ(said(&w, "/spec/taints/0/key"), "a");
	/* With a pod of the tenant it sees what that pod meets. */
	EXPECT_STATUS(&w, 201, make_pod(&w, "acme", "p", "n1", "free"));
	EXPECT_STATUS(&w, 200, GET(&w, n1, ACME "/services"));
	EXPECT_STATUS(&w, 403, GET(&w, n1, ACME "/pods"));
	EXPECT_STATUS(&w, 403, GET(&w, n1, ACME "/secrets/s"));
	rest_close(n1);
	world_end(&w);
}

TEST(a_nodes_server_is_never_taken_for_the_api_server)
{
	static const char *const names[] = {
		"DNS:kubernetes.default.svc",
		"DNS:kubernetes",
		"DNS:n1,DNS:kubernetes.default",
	};
	struct rest *n1;
	struct world w;

	ASSERT_EQ(world_start(&w), true);
	n1 = world_user(&w, "system", "system:node:n1", "system:nodes");
	EXPECT_STATUS(&w, 201, POST(&w, n1, "/api/v1/nodes", NODE, "n1"));
	EXPECT_STATUS(&w, 200,
		      ask(&w, n1, "PATCH", "/api/v1/nodes/n1/status",
			  "{'status':{'addresses':[{'type':'InternalDNS',"
			  "'address':'kubernetes.default.svc'}]}}"));
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		auto_free char *req =
			make_request("system:node:n1", "system:nodes", names[i],
				     NULL);

		EXPECT_STATUS(&w, 403,
			      post_request(&w, n1, "system", "s",
					   "kubernetes.io/kubelet-serving",
					   "server auth", req));
		EXPECT_SAYS(&w, "is the API server's own name");
	}
	rest_close(n1);
	world_end(&w);
}

TEST(a_token_takes_no_name_of_a_node_that_works)
{
	struct rest *boot, *node;
	struct world w;

	ASSERT_EQ(world_start(&w), true);
	put_token(&w, "abcdef", "0123456789abcdef", "2099-01-01T00:00:00Z");
	boot = world_token(&w, TOKEN);
	EXPECT_STATUS(&w, 201, POST(&w, w.root, "/api/v1/nodes", NODE, "n1"));
	EXPECT_STATUS(&w, 200,
		      ask(&w, w.root, "PATCH", "/api/v1/nodes/n1/status",
			  "{'status':{'conditions':[{'type':'Ready','status':"
			  "'True'}]}}"));
	EXPECT_EQ(join(&w, boot, "n1") == NULL, true);
	EXPECT_SAYS(&w, "node \\\"n1\\\" is Ready; choose another");
	EXPECT_STATUS(&w, 200,
		      ask(&w, w.root, "PATCH", "/api/v1/nodes/n1/status",
			  "{'status':{'conditions':[{'type':'Ready','status':"
			  "'Unknown'}]}}"));
	node = join(&w, boot, "n1");
	EXPECT_EQ(node != NULL, true);
	if (node)
		rest_close(node);
	rest_close(boot);
	world_end(&w);
}

TEST_MAIN()

// SPDX-License-Identifier: Apache-2.0
/*
 * LANE: native
 * SECONDS: 60
 * How a node joins, and what it may do then: bootstrap token, certificate
 * requests, the node authorizer, NodeRestriction.
 */
#include "selftests/controlplane/apiserver/node.h"

#define CSRS "/apis/certificates.k8s.io/v1/certificatesigningrequests"

TEST(a_node_joins_with_a_token_and_gets_its_certificate)
{
	struct rest *boot, *node;
	struct world w;

	ASSERT_EQ(world_start(&w), true);
	EXPECT_STATUS(&w, 201,
		      put_token(&w, "abcdef", "0123456789abcdef",
				"2099-01-01T00:00:00Z"));
	boot = world_token(&w, TOKEN);
	/* It may ask for a certificate, and for nothing else. */
	EXPECT_STATUS(&w, 403, GET(&w, boot, "/api/v1/nodes"));
	EXPECT_SAYS(&w, "User \\\"system:bootstrap:abcdef\\\" cannot list");
	EXPECT_STATUS(&w, 201,
		      POST(&w, boot,
			   "/apis/authentication.k8s.io/v1/selfsubjectreviews",
			   "{}"));
	EXPECT_SAYS(&w, "system:bootstrappers:fast");
	node = join(&w, boot, "n1");
	ASSERT_EQ(node != NULL, true);
	EXPECT_STATUS(&w, 200, GET(&w, boot, CSRS "/join-n1"));
	EXPECT_STREQ(said(&w, "/spec/username"), "system:bootstrap:abcdef");
	EXPECT_STREQ(said(&w, "/status/conditions/0/type"), "Approved");
	EXPECT_STATUS(&w, 201,
		      POST(&w, node,
			   "/apis/authentication.k8s.io/v1/selfsubjectreviews",
			   "{}"));
	EXPECT_STREQ(said(&w, "/status/userInfo/username"), "system:node:n1");
	EXPECT_STREQ(said(&w, "/status/userInfo/tenant"), "system");
	EXPECT_STREQ(said(&w, "/status/userInfo/groups/0"), "system:nodes");
	rest_close(node);
	rest_close(boot);
	world_end(&w);
}

TEST(bad_tokens_are_nobodys)
{
	static const char *const bad[] = {
		"abcdef.0123456789abcdeX",
		"abcdef.1123456789abcdef",
		"abcdeg.0123456789abcdef",
		"oldold.0123456789abcdef",
		"abcdef",
		"a.b.c",
		"x",
	};
	struct world w;

	ASSERT_EQ(world_start(&w), true);
	put_token(&w, "abcdef", "0123456789abcdef", "2099-01-01T00:00:00Z");
	put_token(&w, "oldold", "0123456789abcdef", "2020-01-01T00:00:00Z");
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct rest *c = world_token(&w, bad[i]);

		EXPECT_STATUS(&w, 401, GET(&w, c, "/api/v1/nodes"));
		EXPECT_SILENT(&w, "token");
		rest_close(c);
	}
	/* A tenant's Secret of that type is no bootstrap token. */
	make_tenant(&w, "acme");
	EXPECT_STATUS(
		&w, 201,
		POST(&w, w.root,
		     "/api/v1/tenants/acme/namespaces/kube-system/secrets",
		     "{'apiVersion':'v1','kind':'Secret','metadata':{'name':"
		     "'bootstrap-token-tenant'},'type':"
		     "'bootstrap.kubernetes.io/token','stringData':{"
		     "'token-id':'tenant','token-secret':'0123456789abcdef',"
		     "'usage-bootstrap-authentication':'true'}}"));
	{
		struct rest *c = world_token(&w, "tenant.0123456789abcdef");

		EXPECT_STATUS(&w, 401, GET(&w, c, "/api/v1/nodes"));
		rest_close(c);
	}
	world_end(&w);
}

TEST(certificates_that_nobody_gets)
{
	static const struct {
		const char *cn, *os, *alt, *signer, *usage, *says;
	} bad[] = {
		{ "system:node:n1", "system:nodes,system:masters", NULL,
		  "kubernetes.io/kube-apiserver-client-kubelet", "client auth",
		  "organization is not exactly system:nodes" },
		{ "root", "system:nodes", NULL,
		  "kubernetes.io/kube-apiserver-client-kubelet", "client auth",
		  "common name does not start with system:node:" },
		{ "system:node:n1", "system:nodes", "DNS:n1",
		  "kubernetes.io/kube-apiserver-client-kubelet", "client auth",
		  "alternative names are not allowed" },
		{ "system:node:n1", "system:nodes", NULL,
		  "kubernetes.io/kubelet-serving", "server auth",
		  "needs a DNS name or an IP address" },
		{ "system:node:n1", "system:nodes", "DNS:n1",
		  "kubernetes.io/kubelet-serving", "client auth",
		  "usages must be 'server auth'" },
		{ "root", "system:masters", NULL,
		  "kubernetes.io/kube-apiserver-client", "client auth",
		  "system:masters group is not allowed" },
		{ "root", "x", NULL, "kubernetes.io/legacy-unknown",
		  "client auth", "is not supported" },
	};
	struct rest *acme, *boot;
	struct world w;

	ASSERT_EQ(world_start(&w), true);
	put_token(&w, "abcdef", "0123456789abcdef", "2099-01-01T00:00:00Z");
	boot = world_token(&w, TOKEN);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		auto_free char *req =
			make_request(bad[i].cn, bad[i].os, bad[i].alt, NULL);

		EXPECT_STATUS(&w, 403,
			      post_request(&w, boot, "system", "bad",
					   bad[i].signer, bad[i].usage, req));
		EXPECT_SAYS(&w, bad[i].says);
	}
	/* A comma in a name could make two of it. */
	{
		X509_NAME *unused = NULL;
		auto_free char *req =
			make_request("a,system:masters", "x", NULL, NULL);

		(void)unused;
		EXPECT_STATUS(&w, 422,
			      post_request(&w, boot, "system", "bad",
					   "kubernetes.io/kube-apiserver-client",
					   "client auth", req));
		EXPECT_SAYS(&w, "has a comma");
	}
	EXPECT_STATUS(&w, 422,
		      post_request(&w, boot, "system", "bad",
				   "kubernetes.io/kube-apiserver-client",
				   "client auth", "bm8gcmVxdWVzdA=="));
	/* A tenant's admin: users of the own tenant, and no nodes. */
	make_tenant(&w, "acme");
	make_tenant(&w, "evil");
	acme = world_user(&w, "acme", "admin", NULL);
	{
		auto_buf struct buf key = BUF_INIT;
		auto_free char *node = make_request("system:node:n1",
						    "system:nodes", NULL, NULL);
		auto_free char *other =
			make_request("admin", "tenant:evil", NULL, NULL);
		auto_free char *good = make_request("bob", "dev", NULL, &key);
		auto_free char *cert = NULL;
		struct rest *bob;

		EXPECT_STATUS(
			&w, 403,
			post_request(
				&w, acme, "acme", "n",
				"kubernetes.io/kube-apiserver-client-kubelet",
				"client auth", node));
		EXPECT_STATUS(&w, 403,
			      post_request(&w, acme, "acme", "o",
					   "kubernetes.io/kube-apiserver-client",
					   "client auth", other));
		EXPECT_SAYS(&w, "a user of another tenant than 'acme'");
		EXPECT_STATUS(&w, 403,
			      post_request(&w, acme, "system", "o",
					   "kubernetes.io/kube-apiserver-client",
					   "client auth", other));
		EXPECT_STATUS(&w, 201,
			      post_request(&w, acme, "acme", "bob",
					   "kubernetes.io/kube-apiserver-client",
					   "client auth", good));
		EXPECT_STATUS(&w, 200,
			      ask(&w, acme, "PATCH", CSRS "/bob/approval",
				  "{'status':{'conditions':[{'type':'Approved',"
				  "'status':'True','reason':'Yes'}]}}"));
		cert = wait_certificate(&w, acme, "bob");
		ASSERT_EQ(cert != NULL && *cert, true);
		bob = world_cert(&w, cert, &key);
		EXPECT_STATUS(&w, 201,
			      POST(&w, bob,
				   "/apis/authentication.k8s.io/v1/"
				   "selfsubjectreviews",
				   "{}"));
		EXPECT_STREQ(said(&w, "/status/userInfo/tenant"), "acme");
		EXPECT_STREQ(said(&w, "/status/userInfo/groups/0"), "dev");
		rest_close(bob);
	}
	rest_close(acme);
	rest_close(boot);
	world_end(&w);
}

TEST(a_node_reads_what_its_pods_need)
{
	struct rest *n1, *n2, *no_group, *tenants;
	struct world w;

	ASSERT_EQ(world_start(&w), true);
	EXPECT_STATUS(&w, 201, make_tenant(&w, "acme"));
	n1 = world_user(&w, "system", "system:node:n1", "system:nodes");
	n2 = world_user(&w, "system", "system:node:n2", "system:nodes");
	no_group = world_user(&w, "system", "system:node:n1", NULL);
	tenants = world_user(&w, "acme", "system:node:n1", "system:nodes");
	EXPECT_STATUS(&w, 201, make_secret(&w, "acme", "used"));
	EXPECT_STATUS(&w, 201, make_secret(&w, "acme", "free"));
	EXPECT_STATUS(&w, 201, make_secret(&w, "system", "used"));
	EXPECT_STATUS(&w, 403, GET(&w, n1, ACME "/secrets/used"));
	EXPECT_STATUS(&w, 201, make_pod(&w, "acme", "p1", "n1", "used"));
	EXPECT_STATUS(&w, 200, GET(&w, n1, ACME "/secrets/used"));
	EXPECT_STATUS(&w, 403, GET(&w, n1, ACME "/secrets/free"));
	EXPECT_STATUS(&w, 403, GET(&w, n1, ACME "/secrets"));
	EXPECT_STATUS(&w, 200,
		      GET(&w, n1,
			  ACME "/secrets?fieldSelector=metadata.name=used"));
	EXPECT_STATUS(&w, 403, GET(&w, n1, "/api/v1/tenants/all/secrets"));
	EXPECT_STATUS(&w, 403,
		      GET(&w, n1, "/api/v1/namespaces/default/secrets/used"));
	EXPECT_STATUS(&w, 200,
		      GET(&w, n1, ACME "/configmaps/kube-root-ca.crt"));
	/* Nobody else's. */
	EXPECT_STATUS(&w, 403, GET(&w, n2, ACME "/secrets/used"));
	EXPECT_STATUS(&w, 403, GET(&w, n2, ACME "/pods/p1"));
	EXPECT_STATUS(&w, 403,
		      GET(&w, n2, ACME "/configmaps/kube-root-ca.crt"));
	EXPECT_STATUS(&w, 403, GET(&w, no_group, ACME "/secrets/used"));
	EXPECT_STATUS(&w, 403, GET(&w, tenants, ACME "/secrets/used"));
	EXPECT_STATUS(&w, 403, GET(&w, tenants, "/api/v1/nodes"));
	/* Pods: its own. */
	EXPECT_STATUS(&w, 200,
		      GET(&w, n1,
			  "/api/v1/tenants/all/pods?fieldSelector="
			  "spec.nodeName%3Dn1"));
	EXPECT_SAYS(&w, "\"p1\"");
	EXPECT_STATUS(&w, 403,
		      GET(&w, n2,
			  "/api/v1/tenants/all/pods?fieldSelector="
			  "spec.nodeName%3Dn1"));
	EXPECT_STATUS(&w, 403,
		      GET(&w, n2,
			  "/api/v1/tenants/all/pods?fieldSelector="
			  "spec.nodeName%21%3Dn2"));
	EXPECT_STATUS(&w, 403, GET(&w, n1, "/api/v1/tenants/all/pods"));
	/* The pod goes, and with it the right. */
	EXPECT_STATUS(&w, 200,
		      ask(&w, w.root, "DELETE",
			  ACME "/pods/p1?gracePeriodSeconds=0", NULL));
	EXPECT_STATUS(&w, 403, GET(&w, n1, ACME "/secrets/used"));
	rest_close(n1);
	rest_close(n2);
	rest_close(no_group);
	rest_close(tenants);
	world_end(&w);
}

TEST(a_node_writes_what_is_its_own)
{
	struct rest *n1, *forged;
	struct world w;

	ASSERT_EQ(world_start(&w), true);
	make_tenant(&w, "acme");
	n1 = world_user(&w, "system", "system:node:n1", "system:nodes");
	forged = world_user(&w, "system", "mallory", "system:nodes");
	EXPECT_STATUS(&w, 201, POST(&w, n1, "/api/v1/nodes", NODE, "n1"));
	EXPECT_STATUS(&w, 403, POST(&w, n1, "/api/v1/nodes", NODE, "n2"));
	EXPECT_SAYS(&w, "is not allowed to modify node \\\"n2\\\"");
	EXPECT_STATUS(&w, 403, POST(&w, forged, "/api/v1/nodes", NODE, "n3"));
	EXPECT_STATUS(&w, 201, POST(&w, w.root, "/api/v1/nodes", NODE, "n2"));
	EXPECT_STATUS(&w, 200,
		      ask(&w, n1, "PATCH", "/api/v1/nodes/n1/status",
			  "{'status':{'addresses':[{'type':'InternalIP',"
			  "'address':'10.0.0.1'}]}}"));
	EXPECT_STATUS(&w, 403,
		      ask(&w, n1, "PATCH", "/api/v1/nodes/n2/status",
			  "{'status':{}}"));
	EXPECT_STATUS(&w, 200,
		      ask(&w, n1, "PATCH", "/api/v1/nodes/n1",
			  "{'metadata':{'labels':{'a':'b',"
			  "'topology.kubernetes.io/zone':'z'}}}"));
	EXPECT_STATUS(&w, 403,
		      ask(&w, n1, "PATCH", "/api/v1/nodes/n1",
			  "{'metadata':{'labels':{"
			  "'node-restriction.kubernetes.io/a':'b'}}}"));
	EXPECT_SAYS(&w, "not allowed to modify labels: node-restriction");
	EXPECT_STATUS(&w, 403,
		      ask(&w, n1, "PATCH", "/api/v1/nodes/n1",
			  "{'spec':{'taints':[{'key':'a','effect':"
			  "'NoSchedule'}]}}"));
	EXPECT_STATUS(&w, 403, ask(&w, n1, "DELETE", "/api/v1/nodes/n1", NULL));
#define LEASE                                                              \
	"{'apiVersion':'coordination.k8s.io/v1','kind':'Lease','metadata'" \
	":{'name':'%s'}}"
	EXPECT_STATUS(&w, 201, POST(&w, n1, LEASES, LEASE, "n1"));
	EXPECT_STATUS(&w, 403, POST(&w, n1, LEASES, LEASE, "n2"));
	/* Pods: mirrors, and the status of its own. */
	EXPECT_STATUS(&w, 201, make_secret(&w, "acme", "s"));
	EXPECT_STATUS(&w, 201, make_pod(&w, "acme", "mine", "n1", "s"));
	EXPECT_STATUS(&w, 201, make_pod(&w, "acme", "other", "n2", "s"));
	EXPECT_STATUS(&w, 200,
		      ask(&w, n1, "PATCH", ACME "/pods/mine/status",
			  "{'status':{'phase':'Running'}}"));
	EXPECT_STATUS(&w, 403,
		      ask(&w, n1, "PATCH", ACME "/pods/other/status",
			  "{'status':{'phase':'Running'}}"));
	EXPECT_STATUS(&w, 403,
		      ask(&w, n1, "PATCH", ACME "/pods/mine/status",
			  "{'metadata':{'labels':{'app':'web'}}}"));
	EXPECT_STATUS(&w, 403,
		      ask(&w, n1, "PATCH", ACME "/pods/mine",
			  "{'metadata':{'labels':{'app':'web'}}}"));
	EXPECT_STATUS(&w, 403, ask(&w, n1, "DELETE", ACME "/pods/other", NULL));
	EXPECT_STATUS(&w, 200,
		      ask(&w, n1, "DELETE",
			  ACME "/pods/mine?gracePeriodSeconds=0", NULL));
#define MIRROR                                                              \
	"{'apiVersion':'v1','kind':'Pod','metadata':{'name':'%s',"          \
	"'annotations':{%s}},'spec':{'nodeName':'%s','containers':[{'name'" \
	":'c','image':'i'}]}}"
	EXPECT_STATUS(&w, 201, POST(&w, n1, PODS, MIRROR, "m1", YES, "n1"));
	EXPECT_STATUS(&w, 403, POST(&w, n1, PODS, MIRROR, "m2", YES, "n2"));
	EXPECT_STATUS(&w, 403, POST(&w, n1, PODS, MIRROR, "m3", "", "n1"));
	EXPECT_SAYS(&w, "can only create mirror pods");
	EXPECT_STATUS(&w, 403,
		      POST(&w, n1, ACME "/pods", MIRROR, "m1", YES, "n1"));
	/* Events: of itself, and of its pods. */
#define EVENT                                                              \
	"{'apiVersion':'v1','kind':'Event','metadata':{'generateName':'e'" \
	"},'involvedObject':{'kind':'%s','name':'%s','namespace':"         \
	"'default'},'reason':'R','type':'Normal'}"
	EXPECT_STATUS(&w, 201,
		      POST(&w, n1, "/api/v1/namespaces/default/events", EVENT,
			   "Node", "n1"));
	EXPECT_STATUS(&w, 403,
		      POST(&w, n1, ACME "/events", EVENT, "Pod", "other"));
	EXPECT_STATUS(&w, 201,
		      POST(&w, n1, ACME "/events", EVENT, "Pod", "mine"));
	rest_close(n1);
	rest_close(forged);
	world_end(&w);
}

TEST(a_node_renews_its_certificates)
{
	auto_buf struct buf key = BUF_INIT;
	struct rest *n1, *again;
	struct world w;

	ASSERT_EQ(world_start(&w), true);
	n1 = world_user(&w, "system", "system:node:n1", "system:nodes");
	{
		auto_free char *req = make_request("system:node:n1",
						   "system:nodes", NULL, &key);
		auto_free char *other =
			make_request("system:node:n2", "system:nodes", NULL,
				     NULL);
		auto_free char *cert = NULL;

		EXPECT_STATUS(
			&w, 403,
			post_request(
				&w, n1, "system", "other",
				"kubernetes.io/kube-apiserver-client-kubelet",
				"client auth", other));
		EXPECT_SAYS(&w, "can only create a node CSR with "
				"CN=system:node:n1");
		EXPECT_STATUS(
			&w, 201,
			post_request(
				&w, n1, "system", "self",
				"kubernetes.io/kube-apiserver-client-kubelet",
				"client auth", req));
		cert = wait_certificate(&w, n1, "self");
		ASSERT_EQ(cert != NULL && *cert, true);
		again = world_cert(&w, cert, &key);
		EXPECT_STATUS(&w, 201,
			      POST(&w, again, "/api/v1/nodes", NODE, "n1"));
	}
	/* The serving certificate waits until the node has told its address. */
	{
		auto_free char *req =
			make_request("system:node:n1", "system:nodes",
				     "DNS:n1,IP:10.0.0.1", NULL);
		auto_free char *cert = NULL;

		EXPECT_STATUS(&w, 201,
			      post_request(&w, n1, "system", "serving",
					   "kubernetes.io/kubelet-serving",
					   "server auth", req));
		EXPECT_STATUS(&w, 200, GET(&w, n1, CSRS "/serving"));
		EXPECT_STREQ(said(&w, "/status/certificate"), "");
		EXPECT_STATUS(&w, 200,
			      ask(&w, n1, "PATCH", "/api/v1/nodes/n1/status",
				  "{'status':{'addresses':[{'type':"
				  "'InternalIP','address':'10.0.0.1'}]}}"));
		cert = wait_certificate(&w, n1, "serving");
		ASSERT_EQ(cert != NULL && *cert, true);
	}
	/* Requests of others are none of its business. */
	EXPECT_STATUS(&w, 403, GET(&w, n1, CSRS));
	rest_close(again);
	rest_close(n1);
	world_end(&w);
}

TEST_MAIN()

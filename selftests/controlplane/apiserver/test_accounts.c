// SPDX-License-Identifier: Apache-2.0
/*
 * LANE: native
 * SECONDS: 60
 * Service accounts: their tokens, what these are bound to, whose they are.
 */
#include "selftests/controlplane/apiserver/world.h"

#define WHOAMI "/apis/authentication.k8s.io/v1/selfsubjectreviews"
#define REVIEW "/apis/authentication.k8s.io/v1/tokenreviews"

static char *token_of(struct world *w, struct rest *c, const char *tenant,
		      const char *account, const char *spec)
{
	auto_free char *path =
		str_printf("/api/v1/tenants/%s/namespaces/default/"
			   "serviceaccounts/%s/token",
			   tenant, account);
	int status = POST(w, c, path,
			  "{'apiVersion':'authentication.k8s.io/v1','kind':"
			  "'TokenRequest','spec':{%s}}",
			  spec);

	if (status != 201)
		printf("# token: %d %s\n", status, buf_str(&w->answer));
	return strdup(said(w, "/status/token"));
}

static char *claims_of(const char *token)
{
	auto_buf struct buf b = BUF_INIT;
	const char *p = strchr(token, '.');

	if (p)
		base64url_get(p + 1, strcspn(p + 1, "."), &b);
	buf_puts(&b, "");
	return buf_take(&b);
}

TEST(a_token_says_who_and_of_which_tenant)
{
	auto_free char *token = NULL, *claims = NULL;
	struct rest *acme, *sa;
	struct world w;

	ASSERT_EQ(world_start(&w), true);
	EXPECT_STATUS(&w, 201, make_tenant(&w, "acme"));
	acme = world_user(&w, "acme", "admin", NULL);
	token = token_of(&w, acme, "acme", "default", "");
	EXPECT_STREQ(said(&w, "/kind"), "TokenRequest");
	claims = claims_of(token);
	/* As kubectl asks: with a status that has nothing in it. */
	EXPECT_STATUS(&w, 201,
		      POST(&w, acme,
			   "/api/v1/namespaces/default/serviceaccounts/default/"
			   "token",
			   "{'apiVersion':'authentication.k8s.io/v1','kind':"
			   "'TokenRequest','spec':{},'status':{'token':'',"
			   "'expirationTimestamp':null}}"));
	EXPECT_STATUS(&w, 201,
		      POST(&w, acme,
			   "/api/v1/namespaces/default/serviceaccounts/default/"
			   "token",
			   "{'apiVersion':'authentication.k8s.io/v1','kind':"
			   "'TokenRequest','spec':{},'status':{}}"));
	EXPECT_EQ(strstr(claims, "\"tenant\":\"acme\"") != NULL, true);
	EXPECT_EQ(strstr(claims, "\"iss\":\"https://kubernetes.default.svc."
				 "cluster.local/tenants/acme\"") != NULL,
		  true);
	EXPECT_EQ(strstr(claims, "\"sub\":\"system:serviceaccount:default:"
				 "default\"") != NULL,
		  true);
	sa = world_token(&w, token);
	EXPECT_STATUS(&w, 201, POST(&w, sa, WHOAMI, "{}"));
	EXPECT_STREQ(said(&w, "/status/userInfo/username"),
		     "system:serviceaccount:default:default");
	EXPECT_STREQ(said(&w, "/status/userInfo/tenant"), "acme");
	EXPECT_SAYS(&w, "system:serviceaccounts:default");
	/* The same name in the tenant system is somebody else. */
	EXPECT_STATUS(
		&w, 201,
		POST(&w, w.root,
		     "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
		     "{'apiVersion':'rbac.authorization.k8s.io/v1','kind':"
		     "'ClusterRoleBinding','metadata':{'name':'sa'},'roleRef':{"
		     "'apiGroup':'rbac.authorization.k8s.io','kind':"
		     "'ClusterRole','name':'cluster-admin'},'subjects':[{"
		     "'kind':'ServiceAccount','name':'default','namespace':"
		     "'default'}]}"));
	EXPECT_STATUS(&w, 403, GET(&w, sa, "/api/v1/nodes"));
	EXPECT_STATUS(&w, 403,
		      GET(&w, sa, "/api/v1/tenants/system/namespaces"));
	EXPECT_STATUS(&w, 403, GET(&w, sa, "/api/v1/secrets"));
	EXPECT_STATUS(
		&w, 201,
		POST(&w, acme,
		     "/apis/rbac.authorization.k8s.io/v1/namespaces/default/"
		     "rolebindings",
		     "{'apiVersion':'rbac.authorization.k8s.io/v1','kind':"
		     "'RoleBinding','metadata':{'name':'sa'},'roleRef':{"
		     "'apiGroup':'rbac.authorization.k8s.io','kind':"
		     "'ClusterRole','name':'view'},'subjects':[{'kind':"
		     "'ServiceAccount','name':'default','namespace':"
		     "'default'}]}"));
	EXPECT_STATUS(&w, 200, GET(&w, sa, "/api/v1/namespaces/default/pods"));
	EXPECT_STATUS(&w, 403,
		      GET(&w, sa, "/api/v1/namespaces/default/secrets"));
	rest_close(sa);
	rest_close(acme);
	world_end(&w);
}

TEST(a_token_ends_with_what_it_is_bound_to)
{
	auto_free char *pod = NULL, *account = NULL;
	struct rest *by_pod, *by_account;
	struct world w;

	ASSERT_EQ(world_start(&w), true);
	EXPECT_STATUS(&w, 201,
		      POST(&w, w.root,
			   "/api/v1/namespaces/default/serviceaccounts",
			   "{'apiVersion':'v1','kind':'ServiceAccount',"
			   "'metadata':{'name':'bot'}}"));
	EXPECT_STATUS(&w, 201,
		      POST(&w, w.root, "/api/v1/namespaces/default/pods",
			   "{'apiVersion':'v1','kind':'Pod','metadata':{"
			   "'name':'p'},'spec':{'serviceAccountName':'bot',"
			   "'containers':[{'name':'c','image':'i'}]}}"));
	/* Pods get theirs by a volume. */
	EXPECT_SAYS(&w, "kube-api-access-");
	EXPECT_SAYS(&w, "/var/run/secrets/kubernetes.io/serviceaccount");
	EXPECT_STATUS(&w, 422,
		      POST(&w, w.root,
			   "/api/v1/namespaces/default/serviceaccounts/"
			   "default/token",
			   "{'spec':{'boundObjectRef':{'kind':'Pod','name':"
			   "'p'}}}"));
	EXPECT_SAYS(&w, "different serviceaccount name");
	EXPECT_STATUS(&w, 409,
		      POST(&w, w.root,
			   "/api/v1/namespaces/default/serviceaccounts/bot/"
			   "token",
			   "{'spec':{'boundObjectRef':{'kind':'Pod','name':"
			   "'p','uid':'x'}}}"));
	EXPECT_STATUS(&w, 422,
		      POST(&w, w.root,
			   "/api/v1/namespaces/default/serviceaccounts/bot/"
			   "token",
			   "{'spec':{'expirationSeconds':599}}"));
	EXPECT_STATUS(&w, 404,
		      POST(&w, w.root,
			   "/api/v1/namespaces/default/serviceaccounts/none/"
			   "token",
			   "{'spec':{}}"));
	pod = token_of(&w, w.root, "system", "bot",
		       "'boundObjectRef':{'kind':'Pod','name':'p'}");
	account = token_of(&w, w.root, "system", "bot", "");
	by_pod = world_token(&w, pod);
	by_account = world_token(&w, account);
	EXPECT_STATUS(&w, 201, POST(&w, by_pod, WHOAMI, "{}"));
	EXPECT_SAYS(&w, "authentication.kubernetes.io/pod-name");
	EXPECT_STATUS(&w, 200,
		      ask(&w, w.root, "DELETE",
			  "/api/v1/namespaces/default/pods/p", NULL));
	EXPECT_STATUS(&w, 401, POST(&w, by_pod, WHOAMI, "{}"));
	EXPECT_STATUS(&w, 201, POST(&w, by_account, WHOAMI, "{}"));
	EXPECT_STATUS(&w, 200,
		      ask(&w, w.root, "DELETE",
			  "/api/v1/namespaces/default/serviceaccounts/bot",
			  NULL));
	EXPECT_STATUS(&w, 401, POST(&w, by_account, WHOAMI, "{}"));
	/* One of the same name is another one. */
	EXPECT_STATUS(&w, 201,
		      POST(&w, w.root,
			   "/api/v1/namespaces/default/serviceaccounts",
			   "{'apiVersion':'v1','kind':'ServiceAccount',"
			   "'metadata':{'name':'bot'}}"));
	EXPECT_STATUS(&w, 401, POST(&w, by_account, WHOAMI, "{}"));
	rest_close(by_pod);
	rest_close(by_account);
	world_end(&w);
}

/* The token with one part replaced. */
static char *forge(const char *token, int part, const char *from,
		   const char *to)
{
	auto_buf struct buf json = BUF_INIT, out = BUF_INIT, b64 = BUF_INIT;
	const char *p = token, *end, *at;

	for (int i = 0; i < part; i++)
		p = strchr(p, '.') + 1;
	end = p + strcspn(p, ".");
	base64url_get(p, end - p, &json);
	at = strstr(buf_str(&json), from);
	if (!at)
		return strdup("not there");
	buf_add(&out, json.data, at - json.data);
	buf_puts(&out, to);
	buf_puts(&out, at + strlen(from));
	base64url_put(&b64, out.data, out.len);
	return str_printf("%.*s%s%s", (int)(p - token), token, buf_str(&b64),
			  end);
}

TEST(forged_tokens_are_nobodys)
{
	static const struct {
		int part;
		const char *from, *to;
	} cases[] = {
		{ 1, "\"tenant\":\"acme\"", "\"tenant\":\"system\"" },
		{ 1, "/tenants/acme", "/tenants/evil" },
		{ 1, "\"namespace\":\"default\"",
		  "\"namespace\":\"kube-system\"" },
		{ 0, "ES256", "none" },
		{ 0, "ES256", "HS256" },
		{ 0, "ES256", "RS256" },
		{ 0, "\"kid\":\"", "\"kid\":\"x" },
	};
	auto_free char *token = NULL, *other = NULL, *cut = NULL;
	struct world w;
	struct rest *c;

	ASSERT_EQ(world_start(&w), true);
	make_tenant(&w, "acme");
	token = token_of(&w, w.root, "acme", "default", "");
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		auto_free char *bad =
			forge(token, cases[i].part, cases[i].from, cases[i].to);

		c = world_token(&w, bad);
		EXPECT_STATUS(&w, 401, POST(&w, c, WHOAMI, "{}"));
		rest_close(c);
	}
	cut = strndup(token, strrchr(token, '.') - token + 1);
	c = world_token(&w, cut);
	EXPECT_STATUS(&w, 401, POST(&w, c, WHOAMI, "{}"));
	rest_close(c);
	/* One for somebody else is not for the API server. */
	other = token_of(&w, w.root, "acme", "default",
			 "'audiences':['vault']");
	c = world_token(&w, other);
	EXPECT_STATUS(&w, 401, POST(&w, c, WHOAMI, "{}"));
	rest_close(c);
	/* But it is good for whom it is for. */
	EXPECT_STATUS(&w, 201,
		      POST(&w, w.root, REVIEW,
			   "{'spec':{'token':'%s','audiences':['vault','x']}}",
			   other));
	EXPECT_SAYS(&w, "\"authenticated\":true");
	EXPECT_STREQ(said(&w, "/status/audiences/0"), "vault");
	EXPECT_STREQ(said(&w, "/status/user/tenant"), "acme");
	EXPECT_STATUS(&w, 201,
		      POST(&w, w.root, REVIEW,
			   "{'spec':{'token':'%s','audiences':['y']}}", other));
	EXPECT_SILENT(&w, "\"authenticated\":true");
	/* A tenant's reviewer learns nothing of other tenants' tokens. */
	make_tenant(&w, "evil");
	{
		struct rest *evil = world_user(&w, "evil", "admin", NULL);
		struct rest *acme = world_user(&w, "acme", "admin", NULL);

		EXPECT_STATUS(&w, 201,
			      POST(&w, acme, REVIEW, "{'spec':{'token':'%s'}}",
				   token));
		EXPECT_SAYS(&w, "\"authenticated\":true");
		EXPECT_STATUS(&w, 201,
			      POST(&w, evil, REVIEW, "{'spec':{'token':'%s'}}",
				   token));
		EXPECT_SILENT(&w, "\"authenticated\":true");
		EXPECT_SILENT(&w, "acme");
		rest_close(evil);
		rest_close(acme);
	}
	world_end(&w);
}

TEST(keys_change_and_old_tokens_live_on)
{
	auto_free char *old = NULL, *now = NULL;
	struct rest *c;
	struct world w;

	ASSERT_EQ(world_start(&w), true);
	old = token_of(&w, w.root, "system", "default", "");
	api_stop(w.api);
	/* A second key, as an operator would put it. */
	{
		EVP_PKEY *key = EVP_RSA_gen(2048);
		FILE *f = fopen("data/sa-keys/2.key", "w");

		PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL);
		fclose(f);
		EVP_PKEY_free(key);
	}
	w.api = NULL;
	world_end(&w);
	ASSERT_EQ(world_start(&w), true);
	now = token_of(&w, w.root, "system", "default", "");
	c = world_token(&w, old);
	EXPECT_STATUS(&w, 201, POST(&w, c, WHOAMI, "{}"));
	rest_close(c);
	c = world_token(&w, now);
	EXPECT_STATUS(&w, 201, POST(&w, c, WHOAMI, "{}"));
	EXPECT_STATUS(&w, 200, GET(&w, c, "/openid/v1/jwks"));
	EXPECT_SAYS(&w, "\"RS256\"");
	EXPECT_SAYS(&w, "\"ES256\"");
	EXPECT_STATUS(&w, 200, GET(&w, c, "/.well-known/openid-configuration"));
	EXPECT_STREQ(said(&w, "/issuer"),
		     "https://kubernetes.default.svc.cluster.local");
	EXPECT_STATUS(&w, 200,
		      GET(&w, c,
			  "/tenants/acme/.well-known/openid-configuration"));
	EXPECT_STREQ(
		said(&w, "/issuer"),
		"https://kubernetes.default.svc.cluster.local/tenants/acme");
	rest_close(c);
	world_end(&w);
}

TEST(a_secret_can_hold_a_token)
{
	auto_buf struct buf token = BUF_INIT;
	struct rest *c;
	struct world w;
	const char *b64;

	ASSERT_EQ(world_start(&w), true);
	make_tenant(&w, "acme");
#define SECRETS "/api/v1/tenants/acme/namespaces/default/secrets"
#define SECRET                                                               \
	"{'apiVersion':'v1','kind':'Secret','metadata':{'name':'t',"         \
	"'annotations':{'kubernetes.io/service-account.name':'%s'}},'type':" \
	"'kubernetes.io/service-account-token'}"
	EXPECT_STATUS(&w, 403, POST(&w, w.root, SECRETS, SECRET, "none"));
	EXPECT_SAYS(&w, "serviceaccount \\\"none\\\" not found");
	EXPECT_STATUS(&w, 201, POST(&w, w.root, SECRETS, SECRET, "default"));
	b64 = said(&w, "/data/token");
	ASSERT_EQ(base64_get(b64, strlen(b64), &token), 0);
	c = world_token(&w, buf_str(&token));
	EXPECT_STATUS(&w, 201, POST(&w, c, WHOAMI, "{}"));
	EXPECT_STREQ(said(&w, "/status/userInfo/tenant"), "acme");
	EXPECT_STATUS(&w, 200, ask(&w, w.root, "DELETE", SECRETS "/t", NULL));
	EXPECT_STATUS(&w, 401, POST(&w, c, WHOAMI, "{}"));
	rest_close(c);
	world_end(&w);
}

TEST(a_node_gets_tokens_for_its_pods_only)
{
	struct rest *n1, *n2;
	struct world w;
	auto_free char *uid = NULL;

	ASSERT_EQ(world_start(&w), true);
	make_tenant(&w, "acme");
	n1 = world_user(&w, "system", "system:node:n1", "system:nodes");
	n2 = world_user(&w, "system", "system:node:n2", "system:nodes");
#define TOKENS                                                             \
	"/api/v1/tenants/acme/namespaces/default/serviceaccounts/default/" \
	"token"
	EXPECT_STATUS(
		&w, 201,
		POST(&w, w.root, "/api/v1/tenants/acme/namespaces/default/pods",
		     "{'apiVersion':'v1','kind':'Pod','metadata':{'name':'p'},"
		     "'spec':{'nodeName':'n1','containers':[{'name':'c',"
		     "'image':'i'}]}}"));
	uid = strdup(said(&w, "/metadata/uid"));
#define BOUND "{'spec':{'boundObjectRef':{'kind':'Pod','name':'p','uid':'%s'}}}"
	EXPECT_STATUS(&w, 201, POST(&w, n1, TOKENS, BOUND, uid));
	EXPECT_STATUS(&w, 403, POST(&w, n1, TOKENS, "{'spec':{}}"));
	EXPECT_STATUS(&w, 403, POST(&w, n1, TOKENS, BOUND, ""));
	EXPECT_STATUS(&w, 409, POST(&w, n1, TOKENS, BOUND, "x"));
	EXPECT_STATUS(&w, 403, POST(&w, n2, TOKENS, BOUND, uid));
	EXPECT_STATUS(&w, 403,
		      POST(&w, n1,
			   "/api/v1/namespaces/default/serviceaccounts/"
			   "default/token",
			   BOUND, uid));
	rest_close(n1);
	rest_close(n2);
	world_end(&w);
}

TEST_MAIN()

// SPDX-License-Identifier: Apache-2.0
/*
 * LANE: native
 * SECONDS: 60
 * RBAC inside a tenant: what counts and from when, aggregation, nobody grants
 * more than they have; reviews; impersonation.
 */
#include "selftests/controlplane/apiserver/world.h"

#define RBAC   "/apis/rbac.authorization.k8s.io/v1"
#define AUTH   "/apis/authorization.k8s.io/v1"
#define WHOAMI "/apis/authentication.k8s.io/v1/selfsubjectreviews"
#define META(kind) \
	"'apiVersion':'rbac.authorization.k8s.io/v1','kind':'" kind "'"

static int make_role(struct world *w, struct rest *c, const char *name,
		     const char *rules)
{
	return POST(w, c, RBAC "/clusterroles",
		    "{" META("ClusterRole") ",'metadata':{'name':'%s'},"
					    "'rules':[%s]}",
		    name, rules);
}

static int bind_to(struct world *w, struct rest *c, const char *ns,
		   const char *name, const char *role, const char *kind,
		   const char *subject)
{
	auto_free char *path =
		ns ? str_printf(RBAC "/namespaces/%s/rolebindings", ns)
		   : strdup(RBAC "/clusterrolebindings");

	return POST(w, c, path,
		    "{'apiVersion':'rbac.authorization.k8s.io/v1','kind':'%s',"
		    "'metadata':{'name':'%s'},'roleRef':{'apiGroup':"
		    "'rbac.authorization.k8s.io','kind':'ClusterRole','name':"
		    "'%s'},'subjects':[{'apiGroup':'rbac.authorization.k8s.io',"
		    "'kind':'%s','name':'%s'}]}",
		    ns ? "RoleBinding" : "ClusterRoleBinding", name, role, kind,
		    subject);
}

#define PODS_RULE \
	"{'verbs':['get','list'],'apiGroups':[''],'resources':['pods']}"

TEST(a_role_counts_from_when_it_is_bound_until_it_is_not)
{
	struct rest *admin, *bob;
	struct world w;

	ASSERT_EQ(world_start(&w), true);
	make_tenant(&w, "acme");
	admin = world_user(&w, "acme", "admin", NULL);
	bob = world_user(&w, "acme", "bob", "dev");
	EXPECT_STATUS(&w, 403, GET(&w, bob, "/api/v1/pods"));
	EXPECT_STATUS(&w, 201, make_role(&w, admin, "pods", PODS_RULE));
	for (int i = 0; i < 20; i++) {
		EXPECT_STATUS(&w, 201,
			      bind_to(&w, admin, NULL, "b", "pods", "Group",
				      "dev"));
		EXPECT_STATUS(&w, 200, GET(&w, bob, "/api/v1/pods"));
		EXPECT_STATUS(&w, 200,
			      ask(&w, admin, "DELETE",
				  RBAC "/clusterrolebindings/b", NULL));
		EXPECT_STATUS(&w, 403, GET(&w, bob, "/api/v1/pods"));
	}
	/* In one namespace only, and by name only. */
	EXPECT_STATUS(
		&w, 201,
		make_role(&w, admin, "one",
			  "{'verbs':['get'],'apiGroups':[''],'resources':["
			  "'configmaps'],'resourceNames':['kube-root-ca.crt']"
			  "}"));
	EXPECT_STATUS(&w, 201,
		      bind_to(&w, admin, "default", "b", "one", "User", "bob"));
#define DEFAULT "/api/v1/namespaces/default/configmaps"
	EXPECT_STATUS(&w, 200, GET(&w, bob, DEFAULT "/kube-root-ca.crt"));
	EXPECT_STATUS(&w, 403, GET(&w, bob, DEFAULT "/other"));
	EXPECT_STATUS(&w, 403, GET(&w, bob, DEFAULT));
	EXPECT_STATUS(&w, 403,
		      GET(&w, bob,
			  "/api/v1/namespaces/kube-system/configmaps/"
			  "kube-root-ca.crt"));
	/* Another tenant's role of the same name is not this one. */
	make_tenant(&w, "evil");
	{
		struct rest *evil = world_user(&w, "evil", "bob", "dev");

		EXPECT_STATUS(&w, 403,
			      GET(&w, evil, DEFAULT "/kube-root-ca.crt"));
		EXPECT_STATUS(&w, 403,
			      GET(&w, evil,
				  "/api/v1/tenants/acme/namespaces/default/"
				  "configmaps/kube-root-ca.crt"));
		rest_close(evil);
	}
	/* What may I? */
	EXPECT_STATUS(&w, 201,
		      POST(&w, bob, AUTH "/selfsubjectrulesreviews",
			   "{'spec':{'namespace':'default'}}"));
	EXPECT_SAYS(&w, "kube-root-ca.crt");
	EXPECT_SAYS(&w, "\"incomplete\":false");
	EXPECT_STATUS(&w, 201,
		      POST(&w, bob, AUTH "/selfsubjectrulesreviews",
			   "{'spec':{'namespace':'kube-system'}}"));
	EXPECT_SILENT(&w, "kube-root-ca.crt");
	rest_close(admin);
	rest_close(bob);
	world_end(&w);
}

TEST(nobody_grants_more_than_they_have)
{
	struct rest *admin, *eve;
	struct world w;

	ASSERT_EQ(world_start(&w), true);
	make_tenant(&w, "acme");
	admin = world_user(&w, "acme", "admin", NULL);
	eve = world_user(&w, "acme", "eve", NULL);
	EXPECT_STATUS(
		&w, 201,
		make_role(&w, admin, "rbac",
			  "{'verbs':['create','update','patch','delete','get'"
			  "],'apiGroups':['rbac.authorization.k8s.io'],"
			  "'resources':['clusterroles','clusterrolebindings',"
			  "'rolebindings']}," PODS_RULE));
	EXPECT_STATUS(&w, 201,
		      bind_to(&w, admin, NULL, "eve", "rbac", "User", "eve"));
	EXPECT_STATUS(&w, 201, make_role(&w, eve, "mine", PODS_RULE));
	EXPECT_STATUS(&w, 403,
		      make_role(&w, eve, "more",
				"{'verbs':['get'],'apiGroups':[''],'resources':["
				"'secrets']}"));
	EXPECT_SAYS(&w, "attempting to grant RBAC permissions not currently "
			"held: {APIGroups:[\\\"\\\"], Resources:[\\\"secrets"
			"\\\"], Verbs:[\\\"get\\\"]}");
	EXPECT_STATUS(&w, 403,
		      make_role(&w, eve, "all",
				"{'verbs':['*'],'apiGroups':['*'],'resources':"
				"['*']}"));
	EXPECT_STATUS(&w, 403,
		      ask(&w, eve, "PATCH", RBAC "/clusterroles/mine",
			  "{'rules':[{'verbs':['*'],'apiGroups':['*'],"
			  "'resources':['*']}]}"));
	EXPECT_STATUS(
		&w, 403,
		POST(&w, eve, RBAC "/clusterroles",
		     "{" META("ClusterRole") ",'metadata':{'name':'agg'},"
					     "'aggregationRule':{"
					     "'clusterRoleSelectors':[{"
					     "'matchLabels':{'a':'b'}}]}}"));
	EXPECT_STATUS(&w, 403,
		      bind_to(&w, eve, NULL, "up", "admin-role", "User",
			      "eve"));
	EXPECT_STATUS(&w, 403,
		      bind_to(&w, eve, "default", "up", "edit", "User", "eve"));
	EXPECT_STATUS(&w, 404,
		      bind_to(&w, eve, NULL, "up", "later", "User", "eve"));
	EXPECT_STATUS(&w, 201,
		      bind_to(&w, eve, NULL, "ok", "mine", "User", "pal"));
	/* Who may bind it, may; what is bound stays. */
	EXPECT_STATUS(&w, 201,
		      make_role(&w, admin, "binder",
				"{'verbs':['bind'],'apiGroups':["
				"'rbac.authorization.k8s.io'],'resources':["
				"'clusterroles'],'resourceNames':['view']}"));
	EXPECT_STATUS(&w, 201,
		      bind_to(&w, admin, NULL, "eve2", "binder", "User",
			      "eve"));
	EXPECT_STATUS(&w, 201,
		      bind_to(&w, eve, NULL, "v", "view", "User", "pal"));
	EXPECT_STATUS(&w, 422,
		      ask(&w, admin, "PATCH", RBAC "/clusterrolebindings/v",
			  "{'roleRef':{'name':'edit'}}"));
	EXPECT_SAYS(&w, "cannot change roleRef");
	rest_close(admin);
	rest_close(eve);
	world_end(&w);
}

TEST(roles_are_made_of_roles)
{
	struct rest *admin, *bob;
	struct world w;
	struct err e = { 0 };
	bool found = false;
	const char *line;
	size_t len;

	ASSERT_EQ(world_start(&w), true);
	make_tenant(&w, "acme");
	admin = world_user(&w, "acme", "admin", NULL);
	bob = world_user(&w, "acme", "bob", NULL);
	EXPECT_STATUS(&w, 201,
		      bind_to(&w, admin, NULL, "bob", "view", "User", "bob"));
	EXPECT_STATUS(&w, 200, GET(&w, bob, "/api/v1/pods"));
	EXPECT_STATUS(&w, 403, GET(&w, bob, "/api/v1/secrets"));
	EXPECT_STATUS(&w, 403, GET(&w, bob, "/api/v1/persistentvolumes"));
	/* A part of view: it counts at once, for edit and admin, too. */
	EXPECT_STATUS(
		&w, 201,
		POST(&w, admin, RBAC "/clusterroles",
		     "{" META("ClusterRole") ",'metadata':{'name':'more',"
					     "'labels':{"
					     "'rbac.authorization.k8s.io/"
					     "aggregate-to-view':'true'}},"
					     "'rules':[{'verbs':['list'],"
					     "'apiGroups':[''],'resources':["
					     "'persistentvolumes']}]}"));
	EXPECT_STATUS(&w, 200, GET(&w, bob, "/api/v1/persistentvolumes"));
	/* And is written down, soon. */
	EXPECT_EQ(rest_stream(admin,
			      RBAC "/clusterroles?watch=1&fieldSelector="
				   "metadata.name%3Dadmin",
			      &w.answer, &e),
		  200);
	while (!found && rest_stream_line(admin, &line, &len, &e) == 1)
		found = strstr(line, "\"persistentvolumes\"]");
	rest_stream_end(admin);
	EXPECT_EQ(found, true);
	EXPECT_STATUS(&w, 200,
		      ask(&w, admin, "DELETE", RBAC "/clusterroles/more",
			  NULL));
	EXPECT_STATUS(&w, 403, GET(&w, bob, "/api/v1/persistentvolumes"));
	rest_close(admin);
	rest_close(bob);
	world_end(&w);
}

TEST(questions_about_others_stay_in_the_tenant)
{
	struct rest *admin;
	struct world w;

	ASSERT_EQ(world_start(&w), true);
	make_tenant(&w, "acme");
	make_tenant(&w, "evil");
	admin = world_user(&w, "acme", "admin", NULL);
#define MAY                                                                \
	"{'spec':{'user':'%s','tenant':'%s','resourceAttributes':{'verb':" \
	"'list','resource':'pods','tenant':'%s'}}}"
	EXPECT_STATUS(&w, 201,
		      POST(&w, admin, AUTH "/subjectaccessreviews", MAY,
			   "admin", "", ""));
	EXPECT_SAYS(&w, "\"allowed\":true");
	EXPECT_STATUS(&w, 201,
		      POST(&w, admin, AUTH "/subjectaccessreviews", MAY,
			   "admin", "acme", "evil"));
	EXPECT_SAYS(&w, "\"allowed\":false");
	EXPECT_STATUS(&w, 403,
		      POST(&w, admin, AUTH "/subjectaccessreviews", MAY,
			   "admin", "evil", "evil"));
	EXPECT_STATUS(&w, 201,
		      POST(&w, w.root, AUTH "/subjectaccessreviews", MAY,
			   "admin", "evil", "evil"));
	EXPECT_SAYS(&w, "\"allowed\":true");
	EXPECT_STATUS(&w, 201,
		      POST(&w, admin,
			   AUTH "/namespaces/default/localsubjectaccessreviews",
			   "{'spec':{'user':'x','resourceAttributes':{'verb':"
			   "'list','resource':'pods'}}}"));
	EXPECT_SAYS(&w, "\"allowed\":false");
	EXPECT_STATUS(&w, 422,
		      POST(&w, admin,
			   AUTH "/namespaces/default/localsubjectaccessreviews",
			   "{'spec':{'user':'x','resourceAttributes':{'verb':"
			   "'list','resource':'pods','namespace':'other'}}}"));
	rest_close(admin);
	world_end(&w);
}

/* With further header lines, which ride on the one for the body's type. */
static int ask_as(struct world *w, struct rest *c, const char *headers,
		  const char *path)
{
	auto_free char *type = str_printf("application/json\r\n%.*s",
					  (int)strlen(headers) - 2, headers);
	struct err e = { 0 };
	int status = rest_call(c, "POST", path, "{}", type, &w->answer, &e);

	yyjson_doc_free(w->doc);
	w->doc = yyjson_read(buf_str(&w->answer), w->answer.len, 0);
	return status;
}

TEST(impersonation_stays_in_the_tenant)
{
	struct rest *admin, *bob;
	struct world w;

	ASSERT_EQ(world_start(&w), true);
	make_tenant(&w, "acme");
	make_tenant(&w, "evil");
	admin = world_user(&w, "acme", "admin", NULL);
	bob = world_user(&w, "acme", "bob", NULL);
	EXPECT_STATUS(&w, 201,
		      ask_as(&w, admin,
			     "Impersonate-User: kim\r\nImpersonate-Group: dev"
			     "\r\nImpersonate-Group: ops\r\nImpersonate-Uid: 7"
			     "\r\nImpersonate-Extra-Reason%2fwhy: test\r\n",
			     WHOAMI));
	EXPECT_STREQ(said(&w, "/status/userInfo/username"), "kim");
	EXPECT_STREQ(said(&w, "/status/userInfo/tenant"), "acme");
	EXPECT_STREQ(said(&w, "/status/userInfo/uid"), "7");
	EXPECT_STREQ(said(&w, "/status/userInfo/groups/1"), "ops");
	EXPECT_SAYS(&w, "reason/why");
	/* A name says nothing about tenants, and power does not travel. */
	EXPECT_STATUS(&w, 201,
		      ask_as(&w, admin,
			     "Impersonate-User: system:admin\r\n"
			     "Impersonate-Group: system:masters\r\n",
			     WHOAMI));
	EXPECT_STREQ(said(&w, "/status/userInfo/tenant"), "acme");
	EXPECT_STATUS(&w, 403,
		      ask_as(&w, admin,
			     "Impersonate-User: root\r\n"
			     "Impersonate-Group: system:masters\r\n",
			     "/api/v1/nodes"));
	EXPECT_STATUS(&w, 403,
		      ask_as(&w, admin,
			     "Impersonate-User: admin\r\n"
			     "Impersonate-Tenant: evil\r\n",
			     WHOAMI));
	EXPECT_STATUS(&w, 403,
		      ask_as(&w, admin,
			     "Impersonate-User: admin\r\n"
			     "Impersonate-Extra-Arktos-Tenant: system\r\n",
			     WHOAMI));
	EXPECT_STATUS(&w, 403,
		      ask_as(&w, bob, "Impersonate-User: admin\r\n", WHOAMI));
	EXPECT_SAYS(&w, "cannot impersonate resource \\\"users\\\"");
	EXPECT_STATUS(&w, 400,
		      ask_as(&w, admin, "Impersonate-Group: dev\r\n", WHOAMI));
	EXPECT_STATUS(&w, 400,
		      ask_as(&w, admin,
			     "Impersonate-User: a\r\nImpersonate-User: b\r\n",
			     WHOAMI));
	/* The system may, when it says so. */
	EXPECT_STATUS(&w, 201,
		      ask_as(&w, w.root,
			     "Impersonate-User: admin\r\n"
			     "Impersonate-Extra-arktos-tenant: acme\r\n",
			     WHOAMI));
	EXPECT_STREQ(said(&w, "/status/userInfo/tenant"), "acme");
	EXPECT_STATUS(&w, 201,
		      ask_as(&w, w.root, "Impersonate-User: acme:admin\r\n",
			     WHOAMI));
	EXPECT_STREQ(said(&w, "/status/userInfo/tenant"), "system");
	EXPECT_STATUS(&w, 201,
		      ask_as(&w, admin,
			     "Impersonate-User: system:serviceaccount:default:"
			     "default\r\n",
			     WHOAMI));
	EXPECT_SAYS(&w, "system:serviceaccounts:default");
	rest_close(admin);
	rest_close(bob);
	world_end(&w);
}

TEST_MAIN()

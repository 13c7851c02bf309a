// SPDX-License-Identifier: Apache-2.0
/*
 * LANE: native
 * SECONDS: 60
 * Actions on VM pods: what is accepted and what is refused, whose node may say
 * what became of them, how long they stay; and VM pods as kubectl sees them.
 */
#include "selftests/controlplane/apiserver/world.h"

#define NS      "/api/v1/tenants/acme/namespaces/default"
#define ACTION  NS "/pods/vm/action"
#define ACTIONS NS "/actions"

static bool make_vm(struct world *w)
{
	return make_tenant(w, "acme") == 201 &&
	       POST(w, w->root, NS "/pods",
		    "{'apiVersion':'v1','kind':'Pod','metadata':{'name':'vm'},"
		    "'spec':{'nodeName':'n1','virtualMachine':{'name':'box',"
		    "'image':'i','publicKey':'k'}}}") == 201;
}

static bool set_status(struct world *w, const char *phase,
		       const char *snapshots)
{
	return ask(w, w->root, "PATCH", NS "/pods/vm/status",
		   "{'status':{'phase':'%s','virtualMachineStatus':{"
		   "'snapshots':[%s]}}}",
		   phase, snapshots) == 200;
}

/* The path of the action that was just made. */
static char *path_of_action(struct world *w)
{
	return strdup(said(w, "/metadata/selfLink"));
}

TEST(an_action_is_made_of_what_is_posted)
{
	struct world w;
	char *path;

	ASSERT_EQ(world_start(&w), true);
	ASSERT_EQ(make_vm(&w), true);
	ASSERT_EQ(set_status(&w, "Running", "{'name':'s1'}"), true);
	EXPECT_STATUS(&w, 201,
		      POST(&w, w.root, ACTION,
			   "{'apiVersion':'v1','kind':'CustomAction',"
			   "'operation':'snapshot','snapshotParams':{"
			   "'snapshotName':'s2'}}"));
	EXPECT_STREQ(said(&w, "/kind"), "Action");
	EXPECT_STREQ(said(&w, "/status"), "Success");
	EXPECT_STREQ(MSG(&w), "Created action 'snapshot' for Pod 'vm'");
	EXPECT_STREQ(said(&w, "/details/name"), "s2");
	path = path_of_action(&w);
	EXPECT_EQ(strncmp(path, ACTIONS "/snapshot-", 10), 0);
	EXPECT_STATUS(&w, 200, GET(&w, w.root, path));
	EXPECT_STREQ(said(&w, "/spec/nodeName"), "n1");
	EXPECT_STREQ(said(&w, "/spec/podName"), "vm");
	EXPECT_EQ(strlen(said(&w, "/spec/podID")), 36);
	EXPECT_STREQ(said(&w, "/spec/snapshotAction/snapshotName"), "s2");
	EXPECT_SAYS(&w, "\"status\":{\"complete\":false}");
	free(path);
	/* Any number in one second. */
	for (int i = 0; i < 5; i++)
		EXPECT_STATUS(&w, 201,
			      POST(&w, w.root, ACTION,
				   "{'operation':'reboot','rebootParams':{"
				   "'delayInSeconds':7}}"));
	EXPECT_STATUS(&w, 201,
		      POST(&w, w.root, ACTION,
			   "{'operation':'restore','restoreParams':{"
			   "'snapshotID':'s1'}}"));
	EXPECT_STREQ(said(&w, "/details/name"), "s1");
	EXPECT_STATUS(&w, 201,
		      POST(&w, w.root, ACTION,
			   "{'operation':'deleteSnapshot',"
			   "'deleteSnapshotParams':{'snapshotID':'s1'}}"));
	/* A name is found where none is given. */
	EXPECT_STATUS(&w, 201,
		      POST(&w, w.root, ACTION, "{'operation':'snapshot'}"));
	EXPECT_EQ(strncmp(said(&w, "/details/name"), "snapshot-", 9), 0);
	EXPECT_STATUS(&w, 200,
		      GET(&w, w.root,
			  ACTIONS "?fieldSelector=spec.nodeName%3Dn1,"
				  "status.complete%3Dfalse"));
	EXPECT_EQ(yyjson_arr_size(
			  yyjson_ptr_get(yyjson_doc_get_root(w.doc), "/items")),
		  9);
	world_end(&w);
}

TEST(what_cannot_be_done_is_refused_at_once)
{
	struct world w;

	ASSERT_EQ(world_start(&w), true);
	ASSERT_EQ(make_vm(&w), true);
	EXPECT_STATUS(&w, 409,
		      POST(&w, w.root, ACTION, "{'operation':'reboot'}"));
	EXPECT_STREQ(MSG(&w),
		     "pod \"vm\" is not running, its phase is Pending");
	ASSERT_EQ(set_status(&w, "NoSchedule", ""), true);
	EXPECT_STATUS(&w, 409,
		      POST(&w, w.root, ACTION, "{'operation':'reboot'}"));
	EXPECT_SAYS(&w, "set powerSpec to Running first");
	ASSERT_EQ(set_status(&w, "Running", "{'name':'s1'},{'name':'s3'}"),
		  true);
	EXPECT_STATUS(&w, 404,
		      POST(&w, w.root, NS "/pods/nope/action",
			   "{'operation':'reboot'}"));
	EXPECT_STREQ(MSG(&w), "pods \"nope\" not found");
	EXPECT_STATUS(&w, 400,
		      POST(&w, w.root, ACTION, "{'operation':'explode'}"));
	EXPECT_SAYS(&w, "Unsupported operation 'explode' for Pod 'vm'");
	EXPECT_STATUS(&w, 400, POST(&w, w.root, ACTION, "[]"));
	EXPECT_STATUS(&w, 405, GET(&w, w.root, ACTION));
	EXPECT_STATUS(&w, 409,
		      POST(&w, w.root, ACTION,
			   "{'operation':'snapshot','snapshotParams':{"
			   "'snapshotName':'s1'}}"));
	EXPECT_SAYS(&w, "has a snapshot \\\"s1\\\" already");
	EXPECT_STATUS(&w, 422,
		      POST(&w, w.root, ACTION,
			   "{'operation':'snapshot','snapshotParams':{"
			   "'snapshotName':'a,b'}}"));
	EXPECT_STATUS(&w, 422,
		      POST(&w, w.root, ACTION,
			   "{'operation':'reboot','rebootParams':{"
			   "'delayInSeconds':601}}"));
	EXPECT_STATUS(&w, 404,
		      POST(&w, w.root, ACTION,
			   "{'operation':'restore','restoreParams':{"
			   "'snapshotID':'s2'}}"));
	EXPECT_STREQ(MSG(&w),
		     "pod \"vm\" has no snapshot \"s2\", only: s1, s3");
	EXPECT_STATUS(&w, 404,
		      POST(&w, w.root, ACTION, "{'operation':'restore'}"));
	ASSERT_EQ(set_status(
			  &w, "Running",
			  "{'name':'1'},{'name':'2'},{'name':'3'},{'name':'4'},"
			  "{'name':'5'},{'name':'6'},{'name':'7'},{'name':'8'}"),
		  true);
	EXPECT_STATUS(&w, 403,
		      POST(&w, w.root, ACTION, "{'operation':'snapshot'}"));
	EXPECT_SAYS(&w, "has 8 snapshots, which is the most");
	EXPECT_STATUS(&w, 201,
		      POST(&w, w.root, NS "/pods",
			   "{'apiVersion':'v1','kind':'Pod','metadata':{"
			   "'name':'web'},'spec':{'nodeName':'n1','containers':"
			   "[{'name':'c','image':'i'}]}}"));
	EXPECT_STATUS(&w, 422,
		      POST(&w, w.root, NS "/pods/web/action",
			   "{'operation':'reboot'}"));
	EXPECT_SAYS(&w, "are for virtual machines");
	world_end(&w);
}

TEST(an_action_made_by_hand_is_put_right)
{
#define BY_HAND                                                          \
	"{'apiVersion':'v1','kind':'Action','metadata':{'name':'%s'},"   \
	"'spec':{'nodeName':'elsewhere','podID':'x','podName':'vm',%s}," \
	"'status':{'complete':true}}"
	struct world w;

	ASSERT_EQ(world_start(&w), true);
	ASSERT_EQ(make_vm(&w), true);
	ASSERT_EQ(set_status(&w, "Running", ""), true);
	EXPECT_STATUS(&w, 201,
		      POST(&w, w.root, ACTIONS, BY_HAND, "a",
			   "'rebootAction':{}"));
	EXPECT_STREQ(said(&w, "/spec/nodeName"), "n1");
	EXPECT_EQ(strlen(said(&w, "/spec/podID")), 36);
	EXPECT_SAYS(&w, "\"complete\":false");
	EXPECT_STATUS(&w, 422,
		      POST(&w, w.root, ACTIONS, BY_HAND, "b",
			   "'rebootAction':{},'snapshotAction':{}"));
	EXPECT_SAYS(&w, "exactly one of");
	EXPECT_STATUS(&w, 422,
		      ask(&w, w.root, "PATCH", ACTIONS "/a",
			  "{'spec':{'podName':'other'}}"));
	EXPECT_SAYS(&w, "an action cannot be changed");
	world_end(&w);
}

TEST(only_its_node_says_what_became_of_it)
{
	struct rest *n1, *n2;
	struct world w;
	char *path, *status;

	ASSERT_EQ(world_start(&w), true);
	ASSERT_EQ(make_vm(&w), true);
	ASSERT_EQ(set_status(&w, "Running", ""), true);
	n1 = world_user(&w, "system", "system:node:n1", "system:nodes");
	n2 = world_user(&w, "system", "system:node:n2", "system:nodes");
	EXPECT_STATUS(&w, 403, POST(&w, n1, ACTION, "{'operation':'reboot'}"));
	EXPECT_STATUS(&w, 403, POST(&w, n1, ACTIONS, "{}"));
	EXPECT_STATUS(&w, 201,
		      POST(&w, w.root, ACTION, "{'operation':'reboot'}"));
	path = path_of_action(&w);
	status = str_printf("%s/status", path);
	EXPECT_STATUS(&w, 200,
		      GET(&w, n1,
			  "/api/v1/tenants/all/actions?fieldSelector="
			  "spec.nodeName%3Dn1,status.complete%3Dfalse"));
	EXPECT_SAYS(&w, "\"reboot-");
	EXPECT_STATUS(&w, 403,
		      GET(&w, n2,
			  "/api/v1/tenants/all/actions?fieldSelector="
			  "spec.nodeName%3Dn1"));
	EXPECT_STATUS(&w, 403, GET(&w, n2, "/api/v1/tenants/all/actions"));
	EXPECT_STATUS(&w, 200, GET(&w, n1, path));
	EXPECT_STATUS(&w, 403, GET(&w, n2, path));
	EXPECT_STATUS(&w, 403, ask(&w, n1, "DELETE", path, NULL));
	EXPECT_STATUS(&w, 403,
		      ask(&w, n1, "PATCH", path,
			  "{'metadata':{'labels':{'a':'b'}}}"));
#define DONE \
	"{'status':{'complete':true,'rebootStatus':{'rebootSuccessful':true}}}"
	EXPECT_STATUS(&w, 403, ask(&w, n2, "PATCH", status, DONE));
	EXPECT_STATUS(&w, 200, ask(&w, n1, "PATCH", status, DONE));
	/* Once only. */
	EXPECT_STATUS(&w, 422,
		      ask(&w, n1, "PATCH", status,
			  "{'status':{'complete':false}}"));
	EXPECT_SAYS(&w, "the action is complete");
	EXPECT_STATUS(&w, 422,
		      ask(&w, w.root, "PATCH", status,
			  "{'status':{'error':'no'}}"));
	EXPECT_STATUS(&w, 200, ask(&w, n1, "PATCH", status, DONE));
	EXPECT_STATUS(&w, 200,
		      GET(&w, n1,
			  "/api/v1/tenants/all/actions?fieldSelector="
			  "spec.nodeName%3Dn1,status.complete%3Dfalse"));
	EXPECT_SILENT(&w, "reboot-");
	free(path);
	free(status);
	rest_close(n1);
	rest_close(n2);
	world_end(&w);
}

TEST(an_action_goes_by_itself)
{
	struct err e = { 0 };
	const char *line;
	struct world w;
	bool gone = false;
	size_t len;

	world_event_ttl_ms = 300;
	ASSERT_EQ(world_start(&w), true);
	ASSERT_EQ(make_vm(&w), true);
	ASSERT_EQ(set_status(&w, "Running", ""), true);
	EXPECT_STATUS(&w, 201,
		      POST(&w, w.root, ACTION, "{'operation':'reboot'}"));
	ASSERT_EQ(rest_stream(w.root, ACTIONS "?watch=1", &w.answer, &e), 200);
	while (!gone && rest_stream_line(w.root, &line, &len, &e) == 1)
		gone = strstr(line, "\"DELETED\"");
	EXPECT_EQ(gone, true);
	rest_stream_end(w.root);
	/* What is not news stays. */
	EXPECT_STATUS(&w, 200, GET(&w, w.root, NS "/pods/vm"));
	world_end(&w);
}

TEST(a_vm_pod_has_no_container_for_others_than_kubectl)
{
	struct world w;

	ASSERT_EQ(world_start(&w), true);
	ASSERT_EQ(make_vm(&w), true);
	EXPECT_STATUS(&w, 200, GET(&w, w.root, NS "/pods/vm"));
	EXPECT_SILENT(&w, "\"tty\"");
	/* And none can be given to it. */
	EXPECT_STATUS(&w, 422,
		      POST(&w, w.root, NS "/pods",
			   "{'apiVersion':'v1','kind':'Pod','metadata':{"
			   "'name':'two'},'spec':{'virtualMachine':{'name':"
			   "'vm','image':'i','publicKey':'k'},'containers':[{"
			   "'name':'vm','image':'i'}]}}"));
	world_end(&w);
}

TEST_MAIN()

// SPDX-License-Identifier: Apache-2.0
/*
 * LANE: native
 * SECONDS: 60
 * The admission plug-ins: what they add, what they refuse, and that quotas
 * hold when many ask at once.
 */
#include <pthread.h>

#include "lib/json.h"
#include "selftests/controlplane/apiserver/world.h"

#define NS "/api/v1/tenants/acme/namespaces/default"

static struct rest *begin(struct world *w)
{
	if (!world_start(w) || make_tenant(w, "acme") != 201)
		return NULL;
	return world_user(w, "acme", "admin", NULL);
}

static int make_pod(struct world *w, struct rest *c, const char *name,
		    const char *resources, const char *more)
{
	return POST(w, c, NS "/pods",
		    "{'apiVersion':'v1','kind':'Pod','metadata':{'name':'%s'},"
		    "'spec':{'containers':[{'name':'c','image':'i',"
		    "'resources':{%s}}]%s}}",
		    name, resources, more);
}

TEST(pods_get_what_they_do_not_say)
{
	struct world w;
	struct rest *c = begin(&w);

	ASSERT_EQ(c != NULL, true);
	EXPECT_STATUS(&w, 201, make_pod(&w, c, "a", "", ""));
	EXPECT_STREQ(said(&w, "/spec/tolerations/1/key"),
		     "node.kubernetes.io/unreachable");
	EXPECT_STREQ(said(&w, "/spec/serviceAccountName"), "default");
	EXPECT_STREQ(said(&w, "/spec/preemptionPolicy"),
		     "PreemptLowerPriority");
	EXPECT_STATUS(
		&w, 201,
		POST(&w, w.root, "/apis/scheduling.k8s.io/v1/priorityclasses",
		     "{'apiVersion':'scheduling.k8s.io/v1','kind':"
		     "'PriorityClass','metadata':{'name':'high'},'value':1000,"
		     "'preemptionPolicy':'Never'}"));
	EXPECT_STATUS(&w, 201,
		      make_pod(&w, c, "b", "", ",'priorityClassName':'high'"));
	EXPECT_SAYS(&w, "\"priority\":1000");
	EXPECT_STREQ(said(&w, "/spec/preemptionPolicy"), "Never");
	EXPECT_STATUS(&w, 403,
		      make_pod(&w, c, "c", "", ",'priorityClassName':'none'"));
	EXPECT_SAYS(&w, "no PriorityClass with name none was found");
	EXPECT_STATUS(&w, 403,
		      make_pod(&w, c, "c", "",
			       ",'priorityClassName':'system-node-critical'"));
	EXPECT_STATUS(&w, 403, make_pod(&w, c, "c", "", ",'priority':7"));
	EXPECT_STATUS(&w, 403,
		      make_pod(&w, c, "c", "", ",'serviceAccountName':'none'"));
	EXPECT_SAYS(&w, "error looking up service account default/none");
	EXPECT_STATUS(
		&w, 201,
		POST(&w, c, "/apis/storage.k8s.io/v1/storageclasses",
		     "{'apiVersion':'storage.k8s.io/v1','kind':'StorageClass',"
		     "'metadata':{'name':'fast','annotations':{"
		     "'storageclass.kubernetes.io/is-default-class':'true'}},"
		     "'provisioner':'x'}"));
	EXPECT_STATUS(&w, 201,
		      POST(&w, c, NS "/persistentvolumeclaims",
			   "{'apiVersion':'v1','kind':'PersistentVolumeClaim',"
			   "'metadata':{'name':'d'},'spec':{'accessModes':["
			   "'ReadWriteOnce'],'resources':{'requests':{"
			   "'storage':'1Gi'}}}}"));
	EXPECT_STREQ(said(&w, "/spec/storageClassName"), "fast");
	EXPECT_STATUS(
		&w, 403,
		POST(&w, c, "/apis/apps/v1/namespaces/default/daemonsets",
		     "{'apiVersion':'apps/v1','kind':'DaemonSet','metadata':{"
		     "'name':'d'},'spec':{'selector':{'matchLabels':{'a':'b'}},"
		     "'template':{'metadata':{'labels':{'a':'b'}},'spec':{"
		     "'containers':[{'name':'c','image':'i'}]}}}}"));
	EXPECT_SAYS(&w, "only system tenant is allowed to have DaemonSet");
	/* Where the tenant's pods may run is the system's to say. */
	EXPECT_STATUS(&w, 200,
		      ask(&w, w.root, "PATCH", "/api/v1/tenants/acme",
			  "{'metadata':{'annotations':{"
			  "'arktos.futurewei.com/node-selector':'pool=acme'"
			  "}}}"));
	EXPECT_STATUS(&w, 201, make_pod(&w, c, "s", "", ""));
	EXPECT_STREQ(said(&w, "/spec/nodeSelector/pool"), "acme");
	EXPECT_STATUS(&w, 403,
		      make_pod(&w, c, "t", "",
			       ",'nodeSelector':{'pool':'other'}"));
	rest_close(c);
	world_end(&w);
}

/* Whether entry @i of the answer's managedFields is @manager's and mentions
 * @field. */
static bool manages(struct world *w, int i, const char *manager,
		    const char *field)
{
	auto_buf struct buf b = BUF_INIT;
	char path[64];

	snprintf(path, sizeof(path), "/metadata/managedFields/%d/manager", i);
	if (strcmp(said(w, path), manager) != 0)
		return false;
	*strrchr(path, '/') = '\0';
	json_write(yyjson_ptr_get(yyjson_doc_get_root(w->doc), path), false,
		   &b);
	return strstr(buf_str(&b), field);
}

static size_t nr_managers(struct world *w)
{
	return yyjson_arr_size(yyjson_ptr_get(yyjson_doc_get_root(w->doc),
					      "/metadata/managedFields"));
}

/* As in Kubernetes, what admission adds is nobody's; a change is noted with
 * him who made it, whichever way it is found out (managed_quick.c or not). */
TEST(managers_are_those_who_said_it)
{
	struct world w;
	struct rest *c = begin(&w);

	ASSERT_EQ(c != NULL, true);
	EXPECT_STATUS(&w, 201,
		      POST(&w, c, NS "/pods?fieldManager=one",
			   "{'metadata':{'name':'a','labels':{'l':'1'}},'spec':"
			   "{'containers':[{'name':'c','image':'i'}]}}"));
	EXPECT_EQ(nr_managers(&w), 1);
	EXPECT_EQ(manages(&w, 0, "one", "\"f:labels\":{\".\":{},\"f:l\":{}}"),
		  true);
	EXPECT_EQ(manages(&w, 0, "one", "\"f:restartPolicy\":{}"), true);
	EXPECT_EQ(manages(&w, 0, "one", "f:tolerations"), false);
	EXPECT_EQ(manages(&w, 0, "one", "f:serviceAccount"), false);
	EXPECT_EQ(manages(&w, 0, "one", "kube-api-access"), false);
	EXPECT_EQ(manages(&w, 0, "one", "f:uid"), false);
	EXPECT_EQ(manages(&w, 0, "one", "f:status"), false);
	for (int i = 0; i < 3; i++) {
		EXPECT_STATUS(&w, 200,
			      ask(&w, c, "PATCH", NS "/pods/a?fieldManager=two",
				  "{'metadata':{'labels':{'m':'%d'}}}", i));
		EXPECT_EQ(nr_managers(&w), 2);
		EXPECT_EQ(manages(&w, 0, "one", "\"f:l\":{}"), true);
		EXPECT_EQ(manages(&w, 1, "two", "\"f:m\":{}"), true);
	}
	/* Taken from him who had it. */
	EXPECT_STATUS(&w, 200,
		      ask(&w, c, "PATCH", NS "/pods/a?fieldManager=two",
			  "{'metadata':{'labels':{'l':'2'}}}"));
	EXPECT_EQ(manages(&w, 0, "one", "\"f:l\":{}"), false);
	EXPECT_EQ(manages(&w, 1, "two", "\"f:l\":{},\"f:m\":{}"), true);
	/* A status is its own entry, and renewed in place. */
	for (int i = 0; i < 3; i++) {
		EXPECT_STATUS(&w, 200,
			      ask(&w, w.root, "PATCH",
				  NS "/pods/a/status?fieldManager=two",
				  "{'status':{'message':'%d'}}", i));
		EXPECT_EQ(nr_managers(&w), 3);
		EXPECT_STREQ(said(&w, "/metadata/managedFields/2/subresource"),
			     "status");
		EXPECT_EQ(manages(&w, 2, "two", "\"f:message\":{}"), true);
	}
	/* What is removed is nobody's any more. */
	EXPECT_STATUS(&w, 200,
		      ask(&w, c, "PATCH", NS "/pods/a?fieldManager=three",
			  "{'metadata':{'labels':{'m':null}}}"));
	EXPECT_EQ(manages(&w, 1, "two", "\"f:m\":{}"), false);
	EXPECT_SAYS(&w, "\"f:l\":{}");
	rest_close(c);
	world_end(&w);
}

TEST(a_limit_range_gives_defaults_and_bounds)
{
	struct world w;
	struct rest *c = begin(&w);

	ASSERT_EQ(c != NULL, true);
	EXPECT_STATUS(
		&w, 201,
		POST(&w, c, NS "/limitranges",
		     "{'apiVersion':'v1','kind':'LimitRange','metadata':{"
		     "'name':'l'},'spec':{'limits':[{'type':'Container',"
		     "'default':{'cpu':'500m'},'defaultRequest':{'cpu':'100m'},"
		     "'min':{'cpu':'50m'},'max':{'cpu':'2'}},{'type':'Pod',"
		     "'max':{'memory':'1Gi'}},{'type':'PersistentVolumeClaim',"
		     "'max':{'storage':'5Gi'}}]}}"));
	EXPECT_STATUS(&w, 201,
		      make_pod(&w, c, "a", "'limits':{'memory':'64Mi'}", ""));
	EXPECT_STREQ(said(&w, "/spec/containers/0/resources/limits/cpu"),
		     "500m");
	EXPECT_STREQ(said(&w, "/spec/containers/0/resources/requests/cpu"),
		     "100m");
	EXPECT_STREQ(said(&w, "/status/qosClass"), "Burstable");
	EXPECT_STATUS(&w, 403,
		      make_pod(&w, c, "b",
			       "'limits':{'memory':'64Mi','cpu':'3'}", ""));
	EXPECT_SAYS(&w, "maximum cpu usage per Container is 2, but limit is 3");
	EXPECT_STATUS(&w, 403,
		      make_pod(&w, c, "b",
			       "'limits':{'memory':'64Mi'},'requests':{'cpu':"
			       "'10m'}",
			       ""));
	EXPECT_SAYS(&w, "minimum cpu usage per Container is 50m, but request "
			"is 10m");
	EXPECT_STATUS(&w, 403,
		      make_pod(&w, c, "b", "'limits':{'memory':'2Gi'}", ""));
	EXPECT_SAYS(&w, "maximum memory usage per Pod is 1Gi, but limit is "
			"2Gi");
	EXPECT_STATUS(&w, 403, make_pod(&w, c, "b", "", ""));
	EXPECT_SAYS(&w, "No limit is specified");
	EXPECT_STATUS(&w, 403,
		      POST(&w, c, NS "/persistentvolumeclaims",
			   "{'apiVersion':'v1','kind':'PersistentVolumeClaim',"
			   "'metadata':{'name':'d'},'spec':{'accessModes':["
			   "'ReadWriteOnce'],'resources':{'requests':{"
			   "'storage':'6Gi'}}}}"));
	rest_close(c);
	world_end(&w);
}

static int make_quota(struct world *w, struct rest *c, const char *name,
		      const char *spec)
{
	return POST(w, c, NS "/resourcequotas",
		    "{'apiVersion':'v1','kind':'ResourceQuota','metadata':{"
		    "'name':'%s'},'spec':{%s}}",
		    name, spec);
}

/* status.used is written behind: wait until it says so. */
static bool waits_for(struct world *w, struct rest *c, const char *path,
		      const char *what)
{
	struct err e = { 0 };
	const char *line;
	bool found = false;
	size_t len;

	if (rest_stream(c, path, &w->answer, &e) != 200)
		return false;
	while (!found && rest_stream_line(c, &line, &len, &e) == 1)
		found = strstr(line, what);
	rest_stream_end(c);
	return found;
}

TEST(a_quota_is_exact)
{
	struct world w;
	struct rest *c = begin(&w);

	ASSERT_EQ(c != NULL, true);
	EXPECT_STATUS(&w, 201, make_pod(&w, c, "before", "", ""));
	EXPECT_STATUS(&w, 201,
		      make_quota(&w, c, "q",
				 "'hard':{'pods':'2','requests.cpu':'1',"
				 "'count/deployments.apps':'0','secrets':'1'"
				 "}"));
	EXPECT_EQ(waits_for(&w, c, NS "/resourcequotas?watch=1",
			    "\"pods\":\"1\""),
		  true);
	EXPECT_STATUS(&w, 403, make_pod(&w, c, "a", "", ""));
	EXPECT_SAYS(&w, "failed quota: q: must specify requests.cpu for: c");
	EXPECT_STATUS(&w, 403,
		      make_pod(&w, c, "a", "'requests':{'cpu':'1100m'}", ""));
	EXPECT_SAYS(&w, "exceeded quota: q, requested: requests.cpu=1100m, "
			"used: requests.cpu=0, limited: requests.cpu=1");
	EXPECT_STATUS(&w, 201,
		      make_pod(&w, c, "a", "'requests':{'cpu':'600m'}", ""));
	EXPECT_STATUS(&w, 403,
		      make_pod(&w, c, "b", "'requests':{'cpu':'100m'}", ""));
	EXPECT_SAYS(&w, "requested: pods=1, used: pods=2, limited: pods=2");
	/* What is deleted is free at once; dry runs take nothing. */
	for (int i = 0; i < 20; i++) {
		EXPECT_STATUS(&w, 200,
			      ask(&w, c, "DELETE", NS "/pods/a", NULL));
		EXPECT_STATUS(
			&w, 201,
			POST(&w, c, NS "/pods?dryRun=All",
			     "{'apiVersion':'v1','kind':'Pod','metadata':{"
			     "'name':'dry'},'spec':{'containers':[{'name':'c',"
			     "'image':'i','resources':{'requests':{'cpu':'1'}}"
			     "}]}}"));
		EXPECT_STATUS(&w, 201,
			      make_pod(&w, c, "a", "'requests':{'cpu':'1'}",
				       ""));
	}
	EXPECT_STATUS(
		&w, 403,
		POST(&w, c, "/apis/apps/v1/namespaces/default/deployments",
		     "{'apiVersion':'apps/v1','kind':'Deployment','metadata':{"
		     "'name':'d'},'spec':{'selector':{'matchLabels':{'a':'b'}},"
		     "'template':{'metadata':{'labels':{'a':'b'}},'spec':{"
		     "'containers':[{'name':'c','image':'i'}]}}}}"));
	EXPECT_SAYS(&w, "count/deployments.apps=1");
	/* One that is over no longer counts. */
	EXPECT_STATUS(&w, 200,
		      ask(&w, c, "PATCH", NS "/pods/a/status",
			  "{'status':{'phase':'Succeeded'}}"));
	EXPECT_STATUS(&w, 201,
		      make_pod(&w, c, "b", "'requests':{'cpu':'1'}", ""));
	EXPECT_EQ(waits_for(&w, c, NS "/resourcequotas?watch=1",
			    "\"used\":{\"pods\":\"2\",\"requests.cpu\":\"1\""),
		  true);
	/* Changed: what there is stays, nothing more comes. */
	EXPECT_STATUS(&w, 200,
		      ask(&w, c, "PATCH", NS "/resourcequotas/q",
			  "{'spec':{'hard':{'pods':'1'}}}"));
	EXPECT_STATUS(&w, 403,
		      make_pod(&w, c, "x", "'requests':{'cpu':'0'}", ""));
	rest_close(c);
	world_end(&w);
}

TEST(a_quota_has_scopes)
{
	struct world w;
	struct rest *c = begin(&w);

	ASSERT_EQ(c != NULL, true);
	EXPECT_STATUS(&w, 201,
		      make_quota(&w, c, "be",
				 "'hard':{'pods':'1'},'scopes':['BestEffort']"
				 ""));
	EXPECT_STATUS(&w, 201, make_pod(&w, c, "a", "", ""));
	EXPECT_STATUS(&w, 403, make_pod(&w, c, "b", "", ""));
	EXPECT_STATUS(&w, 201,
		      make_pod(&w, c, "b", "'limits':{'cpu':'1'}", ""));
	EXPECT_STATUS(&w, 201,
		      make_quota(&w, c, "ends",
				 "'hard':{'pods':'0'},'scopes':['Terminating'"
				 "]"));
	EXPECT_STATUS(&w, 403,
		      make_pod(&w, c, "d", "'limits':{'cpu':'1'}",
			       ",'activeDeadlineSeconds':60"));
	EXPECT_STATUS(&w, 201,
		      make_pod(&w, c, "d", "'limits':{'cpu':'1'}", ""));
	rest_close(c);
	world_end(&w);
}

TEST(a_tenant_has_a_quota_over_all_its_namespaces)
{
	struct world w;
	struct rest *c = begin(&w);

	ASSERT_EQ(c != NULL, true);
	EXPECT_STATUS(&w, 200,
		      ask(&w, w.root, "PATCH", "/api/v1/tenants/acme",
			  "{'spec':{'quota':{'hard':{'configmaps':'5'}}}}"));
	/* Three are there: the CA, in each namespace. */
	for (int i = 0; i < 3; i++) {
		auto_free char *path =
			str_printf("/api/v1/namespaces/%s/configmaps",
				   i ? "kube-system" : "default");

		EXPECT_STATUS(&w, i < 2 ? 201 : 403,
			      POST(&w, c, path,
				   "{'apiVersion':'v1','kind':'ConfigMap',"
				   "'metadata':{'name':'m%d'}}",
				   i));
	}
	EXPECT_SAYS(&w, "exceeded quota: tenant acme, requested: configmaps=1, "
			"used: configmaps=5, limited: configmaps=5");
	/* Its admin does not lift it. */
	EXPECT_STATUS(&w, 403,
		      ask(&w, c, "PATCH", "/api/v1/tenants/acme",
			  "{'spec':{'quota':null}}"));
	EXPECT_EQ(waits_for(&w, w.root,
			    "/api/v1/tenants?watch=1&fieldSelector="
			    "metadata.name%3Dacme",
			    "\"used\":{\"configmaps\":\"5\"}"),
		  true);
	rest_close(c);
	world_end(&w);
}

/* --- many at once --- */

struct racer {
	pthread_t thread;
	struct world *w;
	struct rest *c;
	int id, made, refused, other;
};

static void *race(void *arg)
{
	struct racer *r = arg;
	struct buf answer = BUF_INIT;
	struct err e = { 0 };

	for (int i = 0; i < 20; i++) {
		auto_free char *body = str_printf(
			"{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\","
			"\"metadata\":{\"name\":\"r%d-%d\"}}",
			r->id, i);
		int status = rest_call(r->c, "POST", NS "/configmaps", body,
				       NULL, &answer, &e);

		r->made += status == 201;
		r->refused += status == 403;
		r->other += status != 201 && status != 403;
	}
	buf_clear(&answer);
	return NULL;
}

TEST(many_at_once_do_not_get_more)
{
	struct racer r[8] = { 0 };
	int made = 0, other = 0;
	struct world w;
	struct rest *c = begin(&w);

	ASSERT_EQ(c != NULL, true);
	EXPECT_STATUS(&w, 201,
		      make_quota(&w, c, "q", "'hard':{'configmaps':'51'}"));
	for (int i = 0; i < 8; i++) {
		r[i].w = &w;
		r[i].id = i;
		r[i].c = world_user(&w, "acme", "admin", NULL);
		pthread_create(&r[i].thread, NULL, race, &r[i]);
	}
	for (int i = 0; i < 8; i++) {
		pthread_join(r[i].thread, NULL);
		made += r[i].made;
		other += r[i].other;
		rest_close(r[i].c);
	}
	EXPECT_EQ(made, 50); /* the CA is the 51st */
	EXPECT_EQ(other, 0);
	EXPECT_EQ(waits_for(&w, c, NS "/resourcequotas?watch=1",
			    "\"used\":{\"configmaps\":\"51\"}"),
		  true);
	rest_close(c);
	world_end(&w);
}

TEST_MAIN()

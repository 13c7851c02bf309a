// SPDX-License-Identifier: Apache-2.0
/*
 * LANE: native
 * SECONDS: 120
 * Whether anything of one tenant can be had by another: every discovered
 * resource and subresource, each verb, each form of the URL, by a tenant's
 * admin, by a service account of it, under impersonation, and by nobody. The
 * requests are generated; an answer must be a refusal, must not hold the mark
 * that is in every object of the other tenant, and must be the same whether
 * the object is there or not.
 */
#include "selftests/controlplane/apiserver/world.h"

#define MARK "mark-of-acme"

struct resource {
	char prefix[128]; /* "/api/v1" or "/apis/GROUP/VERSION" */
	char group_version[128];
	char name[64], sub[64], kind[64];
	bool namespaced, tenanted, is_virtual;
};

struct matrix {
	struct world w;
	struct resource v[512];
	size_t nr, made, asked, leaks;
	int *verdict;
};

/* --- what there is --- */

static void discover_version(struct matrix *m, const char *prefix,
			     const char *gv)
{
	yyjson_doc *doc;
	yyjson_val *v;
	size_t i, max;

	if (GET(&m->w, m->w.root, prefix) != 200)
		return;
	doc = m->w.doc;
	m->w.doc = NULL;
	yyjson_arr_foreach(yyjson_obj_get(yyjson_doc_get_root(doc),
					  "resources"),
			   i, max, v)
	{
		struct resource *r = &m->v[m->nr];
		const char *name = yyjson_get_str(yyjson_obj_get(v, "name"));
		const char *kind = yyjson_get_str(yyjson_obj_get(v, "kind"));
		const char *slash = name ? strchr(name, '/') : NULL;

		if (!name || !kind || m->nr == ARRAY_SIZE(m->v))
			break;
		snprintf(r->prefix, sizeof(r->prefix), "%s", prefix);
		snprintf(r->group_version, sizeof(r->group_version), "%s", gv);
		snprintf(r->name, sizeof(r->name), "%.*s",
			 (int)strcspn(name, "/"), name);
		snprintf(r->sub, sizeof(r->sub), "%s", slash ? slash + 1 : "");
		snprintf(r->kind, sizeof(r->kind), "%s", kind);
		r->namespaced =
			yyjson_get_bool(yyjson_obj_get(v, "namespaced"));
		r->tenanted = r->namespaced ||
			      yyjson_get_bool(yyjson_obj_get(v, "tenanted"));
		r->is_virtual =
			yyjson_arr_size(yyjson_obj_get(v, "verbs")) == 1;
		m->nr++;
	}
	yyjson_doc_free(doc);
}

static void discover(struct matrix *m)
{
	yyjson_doc *doc;
	yyjson_val *g, *v;
	size_t i, j, max, versions;

	discover_version(m, "/api/v1", "v1");
	GET(&m->w, m->w.root, "/apis");
	doc = m->w.doc;
	m->w.doc = NULL;
	yyjson_arr_foreach(yyjson_obj_get(yyjson_doc_get_root(doc), "groups"),
			   i, max, g)
	{
		yyjson_arr_foreach(yyjson_obj_get(g, "versions"), j, versions,
				   v)
		{
			const char *gv = yyjson_get_str(
				yyjson_obj_get(v, "groupVersion"));
			auto_free char *prefix = str_printf("/apis/%s", gv);

			discover_version(m, prefix, gv);
		}
	}
	yyjson_doc_free(doc);
}

/* --- something of each, with the mark --- */

#define POD_SPEC "{'containers':[{'name':'c','image':'" MARK "'}]}"
#define TEMPLATE                                                        \
	"'selector':{'matchLabels':{'a':'b'}},'template':{'metadata':{" \
	"'labels':{'a':'b'}},'spec':" POD_SPEC "}"

static const struct {
	const char *name, *fields;
} bodies[] = {
	{ "pods", ",'spec':" POD_SPEC },
	{ "services", ",'spec':{'ports':[{'port':80}]}" },
	{ "persistentvolumeclaims",
	  ",'spec':{'accessModes':['ReadWriteOnce'],'resources':{'requests':{"
	  "'storage':'1Gi'}}}" },
	{ "persistentvolumes",
	  ",'spec':{'accessModes':['ReadWriteOnce'],'capacity':{'storage':"
	  "'1Gi'},'hostPath':{'path':'/x'}}" },
	{ "replicationcontrollers",
	  ",'spec':{'selector':{'a':'b'},'template':{'metadata':{'labels':{"
	  "'a':'b'}},'spec':" POD_SPEC "}}" },
	{ "deployments", ",'spec':{" TEMPLATE "}" },
	{ "replicasets", ",'spec':{" TEMPLATE "}" },
	{ "statefulsets", ",'spec':{'serviceName':'s'," TEMPLATE "}" },
	{ "daemonsets", ",'spec':{" TEMPLATE "}" },
	{ "jobs", ",'spec':{'template':{'spec':{'restartPolicy':'Never',"
		  "'containers':[{'name':'c','image':'i'}]}}}" },
	{ "cronjobs",
	  ",'spec':{'schedule':'* * * * *','jobTemplate':{'spec':{'template':{"
	  "'spec':{'restartPolicy':'Never','containers':[{'name':'c','image':"
	  "'i'}]}}}}}" },
	{ "podtemplates", ",'template':{'spec':" POD_SPEC "}" },
	{ "events",
	  ",'involvedObject':{'kind':'Pod','name':'p','namespace':'default'},"
	  "'reason':'R','message':'" MARK "','type':'Normal'" },
	{ "limitranges", ",'spec':{'limits':[]}" },
	{ "networkpolicies", ",'spec':{'podSelector':{}}" },
	{ "ingresses",
	  ",'spec':{'defaultBackend':{'service':{'name':'s','port':{'number':"
	  "80}}}}" },
	{ "endpointslices", ",'addressType':'IPv4','endpoints':[]" },
	{ "horizontalpodautoscalers",
	  ",'spec':{'maxReplicas':2,'scaleTargetRef':{'kind':'Deployment',"
	  "'name':'d','apiVersion':'apps/v1'}}" },
	{ "rolebindings",
	  ",'roleRef':{'apiGroup':'rbac.authorization.k8s.io','kind':"
	  "'ClusterRole','name':'view'},'subjects':[]" },
	{ "clusterrolebindings",
	  ",'roleRef':{'apiGroup':'rbac.authorization.k8s.io','kind':"
	  "'ClusterRole','name':'view'},'subjects':[]" },
	{ "roles", ",'rules':[]" },
	{ "clusterroles", ",'rules':[]" },
	{ "storageclasses", ",'provisioner':'x'" },
	{ "networks", ",'spec':{'type':'flat'}" },
	{ "secrets", ",'stringData':{'k':'" MARK "'}" },
	{ "configmaps", ",'data':{'k':'" MARK "'}" },
	{ "volumeattachments",
	  ",'spec':{'attacher':'x','nodeName':'n','source':{"
	  "'persistentVolumeName':'v'}}" },
	{ "actions", ",'spec':{'nodeName':'n','podName':'p',"
		     "'rebootAction':{}}" },
	{ "csistoragecapacities", ",'storageClassName':'x'" },
	{ "controllerrevisions", ",'revision':1" },
};

static const char *fields_of(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(bodies); i++)
		if (strcmp(bodies[i].name, name) == 0)
			return bodies[i].fields;
	return ",'spec':{}";
}

static char *collection(const struct resource *r, const char *tenant,
			const char *watch)
{
	return str_printf("%s%s%s%s%s/%s", r->prefix, watch,
			  tenant ? "/tenants/" : "", tenant ? tenant : "",
			  r->namespaced ? "/namespaces/default" : "", r->name);
}

/* An action wants one that runs. */
static void make_vm(struct matrix *m)
{
	POST(&m->w, m->w.root, "/api/v1/tenants/acme/namespaces/default/pods",
	     "{'apiVersion':'v1','kind':'Pod','metadata':{'name':'p'},'spec':{"
	     "'nodeName':'n','virtualMachine':{'name':'vm','image':'" MARK
	     "','publicKey':'k'}}}");
	ask(&m->w, m->w.root, "PATCH",
	    "/api/v1/tenants/acme/namespaces/default/pods/p/status",
	    "{'status':{'phase':'Running'}}");
}

static void populate(struct matrix *m)
{
	make_vm(m);
	for (size_t i = 0; i < m->nr; i++) {
		struct resource *r = &m->v[i];
		auto_free char *path = collection(r, "acme", "");
		const char *fields = fields_of(r->name);

		if (*r->sub || r->is_virtual || !r->tenanted)
			continue;
		for (int tries = 0; tries < 2; tries++) {
			int status = POST(
				&m->w, m->w.root, path,
				"{'apiVersion':'%s','kind':'%s','metadata':{"
				"'name':'" MARK "','labels':{'mark':'" MARK
				"'}}%s}",
				r->group_version, r->kind, fields);

			if (status == 201 || status == 409) {
				m->made++;
				break;
			}
			fields = "";
		}
	}
}

/* --- one request, and whether its answer is as it should be --- */

static void leak(struct matrix *m, const char *who, const char *method,
		 const char *path, int status, const char *why)
{
	if (m->leaks++ < 20)
		printf("# %s: %s %s: %d, %s: %.300s\n", who, method, path,
		       status, why, buf_str(&m->w.answer));
	*m->verdict = TEST_FAIL;
}

/* The mark where the asker has not written it: the name in the URL may come
 * back, what is in the object may not. */
static bool has_mark(const char *answer)
{
	return strstr(answer, "\"mark\":") || strstr(answer, "'mark'") ||
	       strstr(answer, "\"image\":\"" MARK) ||
	       strstr(answer, "bWFyay1vZi1hY21l") || /* base64 of it */
	       strstr(answer, "\"k\":\"" MARK);
}

static int try(struct matrix *m, struct rest *c, const char *method,
	       const char *path, const char *body, const char *type)
{
	struct err e = { 0 };
	int status = rest_call(c, method, path, body, type, &m->w.answer, &e);

	m->asked++;
	if (status < 0)
		printf("# %s %s: %s\n", method, path, e.msg);
	return status;
}

/* A request for what is another's: refused, and nothing told. */
static void refused(struct matrix *m, const char *who, struct rest *c,
		    const char *method, const char *path, const char *body,
		    const char *type)
{
	int status = try(m, c, method, path, body, type);

	if (status < 400 || status >= 500)
		leak(m, who, method, path, status, "not refused");
	else if (has_mark(buf_str(&m->w.answer)))
		leak(m, who, method, path, status, "tells what is stored");
}

static void replace(char *s, const char *from, const char *to)
{
	size_t n = strlen(to);

	while ((s = strstr(s, from))) {
		memcpy(s, to, n);
		memmove(s + n, s + strlen(from), strlen(s + strlen(from)) + 1);
	}
}

/* There or not there: the same answer. */
static void same_answer(struct matrix *m, const char *who, struct rest *c,
			const char *method, const char *path)
{
	auto_free char *other = strdup(path);
	auto_free char *first = NULL, *second = NULL;
	int a = try(m, c, method, path, NULL, NULL), b;

	first = strdup(buf_str(&m->w.answer));
	replace(other, MARK, "nosuch-thing");
	b = try(m, c, method, other, NULL, NULL);
	second = strdup(buf_str(&m->w.answer));
	replace(first, MARK, "x");
	replace(second, "nosuch-thing", "x");
	if (a != b || strcmp(first, second) != 0)
		leak(m, who, method, path, a, "tells whether it is there");
}

static void try_resource(struct matrix *m, const struct resource *r,
			 const char *who, struct rest *c, const char *tenant)
{
	static const char *const queries[] = {
		"",
		"?limit=1",
		"?watch=1&timeoutSeconds=1",
		"?labelSelector=mark%3D" MARK,
		"?fieldSelector=metadata.name%3D" MARK,
		"?resourceVersion=0",
		"?resourceVersion=1&"
		"resourceVersionMatch=Exact",
	};
	static const char *const patches[] = {
		"application/merge-patch+json",
		"application/json-patch+json",
		"application/strategic-merge-patch+json",
		"application/apply-patch+yaml",
	};
	auto_free char *all = collection(r, tenant, "");
	auto_free char *watch = collection(r, tenant, "/watch");
	auto_free char *spread =
		str_printf("%s/tenants/%s/%s", r->prefix, tenant, r->name);
	auto_free char *one =
		str_printf("%s/%s%s%s", all, MARK, *r->sub ? "/" : "", r->sub);
	auto_free char *watch_one = str_printf("%s/%s", watch, MARK);
	auto_free char *body = str_printf(
		"{\"apiVersion\":\"%s\",\"kind\":\"%s\",\"metadata\":{\"name\""
		":\"%s\",\"tenant\":\"acme\"}}",
		r->group_version, r->kind, MARK);

	if (!*r->sub) {
		for (size_t i = 0; i < ARRAY_SIZE(queries); i++) {
			auto_free char *p = str_printf("%s%s", all, queries[i]);
			auto_free char *q =
				str_printf("%s%s", spread, queries[i]);

			refused(m, who, c, "GET", p, NULL, NULL);
			refused(m, who, c, "GET", q, NULL, NULL);
		}
		refused(m, who, c, "GET", watch, NULL, NULL);
		refused(m, who, c, "GET", watch_one, NULL, NULL);
		refused(m, who, c, "POST", all, body, NULL);
		refused(m, who, c, "DELETE", all, NULL, NULL);
		same_answer(m, who, c, "GET", one);
		same_answer(m, who, c, "DELETE", one);
	}
	refused(m, who, c, "GET", one, NULL, NULL);
	refused(m, who, c, "POST", one, body, NULL);
	refused(m, who, c, "PUT", one, body, NULL);
	refused(m, who, c, "DELETE", one, NULL, NULL);
	for (size_t i = 0; i < ARRAY_SIZE(patches); i++)
		refused(m, who, c, "PATCH", one, i == 1 ? "[]" : "{}",
			patches[i]);
}

/* The tenant's name written otherwise, and ways around it. */
static void try_forms(struct matrix *m, const struct resource *r,
		      const char *who, struct rest *c)
{
	static const char *const forms[] = {
		"%s/tenants/%%61cme%s/%s",
		"%s//tenants//acme%s/%s",
		"%s/tenants/acme%%2f%s/%s",
		"%s/tenants/evil/../acme%s/%s",
		"%s/tenants/evil/tenants/acme%s/%s",
		"%s/tenants/evil%%00acme%s/%s",
		"%s/tenants/ACME%s/%s",
		"%s/tenants/acme.%s/%s",
		"%s/tenants/%%%s/%s",
		"%s/tenants/all%s/%s",
		"%s/tenants/system%s/%s",
		"%s/proxy/tenants/acme%s/%s",
	};
	const char *ns = r->namespaced ? "/namespaces/default" : "";

	for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
		char path[512];

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
		snprintf(path, sizeof(path), forms[i], r->prefix, ns, r->name);
#pragma GCC diagnostic pop
		refused(m, who, c, "GET", path, NULL, NULL);
	}
}

/* In the own tenant, nothing of others: lists, and bodies that name them. */
static void try_own(struct matrix *m, const struct resource *r, const char *who,
		    struct rest *c)
{
	auto_free char *own = collection(r, NULL, "");
	auto_free char *full = collection(r, "evil", "");
	auto_free char *body = str_printf(
		"{\"apiVersion\":\"%s\",\"kind\":\"%s\",\"metadata\":{\"name\""
		":\"%s\",\"tenant\":\"acme\"}}",
		r->group_version, r->kind, MARK);
	const char *const paths[] = { own, full };

	for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
		auto_free char *by_field =
			str_printf("%s?fieldSelector=metadata.tenant%%3Dacme",
				   paths[i]);
		int status = try(m, c, "GET", paths[i], NULL, NULL);

		if (has_mark(buf_str(&m->w.answer)))
			leak(m, who, "GET", paths[i], status, "has the mark");
		status = try(m, c, "GET", by_field, NULL, NULL);
		if (has_mark(buf_str(&m->w.answer)))
			leak(m, who, "GET", by_field, status, "has the mark");
		/* A body of another tenant is refused, not moved. */
		status = try(m, c, "POST", paths[i], body, NULL);
		if (status < 400 || status >= 500)
			leak(m, who, "POST", paths[i], status,
			     "a forged tenant in the body");
	}
}

/* The system's own things, and those of no tenant. */
static void try_cluster(struct matrix *m, const struct resource *r,
			const char *who, struct rest *c)
{
	auto_free char *all = collection(r, NULL, "");
	auto_free char *one =
		str_printf("%s/%s%s%s", all, MARK, *r->sub ? "/" : "", r->sub);
	/* What everybody may look at. */
	bool readable = strcmp(r->name, "priorityclasses") == 0 ||
			strcmp(r->name, "runtimeclasses") == 0;

	if (r->is_virtual)
		return;
	if (!*r->sub && !readable)
		refused(m, who, c, "GET", all, NULL, NULL);
	if (!*r->sub) {
		refused(m, who, c, "POST", all, "{}", NULL);
		refused(m, who, c, "DELETE", all, NULL, NULL);
	}
	refused(m, who, c, "GET", one, NULL, NULL);
	refused(m, who, c, "PUT", one, "{}", NULL);
	refused(m, who, c, "PATCH", one, "{}", "application/merge-patch+json");
	refused(m, who, c, "DELETE", one, NULL, NULL);
}

static void try_all(struct matrix *m, const char *who, struct rest *c)
{
	for (size_t i = 0; i < m->nr; i++) {
		const struct resource *r = &m->v[i];

		if (!r->tenanted) {
			try_cluster(m, r, who, c);
			continue;
		}
		try_resource(m, r, who, c, "acme");
		try_resource(m, r, who, c, "system");
		try_resource(m, r, who, c, "all");
		if (!*r->sub)
			try_forms(m, r, who, c);
		if (!*r->sub && !r->is_virtual)
			try_own(m, r, who, c);
	}
}

static bool begin(struct matrix *m, int *verdict)
{
	memset(m, 0, sizeof(*m));
	m->verdict = verdict;
	if (!world_start(&m->w) || make_tenant(&m->w, "acme") != 201 ||
	    make_tenant(&m->w, "evil") != 201)
		return false;
	discover(m);
	populate(m);
	return true;
}

TEST(a_tenants_admin_gets_nothing_of_others)
{
	static struct matrix m;
	struct rest *c;

	ASSERT_EQ(begin(&m, verdict_), true);
	c = world_user(&m.w, "evil", "admin", "system:masters,system:nodes");
	EXPECT_GE(m.nr, (size_t)60);
	EXPECT_GE(m.made, (size_t)25);
	try_all(&m, "admin", c);
	printf("# %zu resources, %zu of them with something in, %zu requests\n",
	       m.nr, m.made, m.asked);
	EXPECT_EQ(m.leaks, (size_t)0);
	rest_close(c);
	world_end(&m.w);
}

TEST(a_tenants_service_account_gets_nothing_of_others)
{
	static struct matrix m;
	struct rest *c;
	auto_free char *token = NULL;

	ASSERT_EQ(begin(&m, verdict_), true);
	/* All there is in its own tenant, and a twin who has it in acme. */
	for (int i = 0; i < 2; i++) {
		auto_free char *path = str_printf(
			"/apis/rbac.authorization.k8s.io/v1/tenants/%s/"
			"clusterrolebindings",
			i ? "acme" : "evil");

		EXPECT_STATUS(
			&m.w, 201,
			POST(&m.w, m.w.root, path,
			     "{'apiVersion':'rbac.authorization.k8s.io/v1',"
			     "'kind':'ClusterRoleBinding','metadata':{'name':"
			     "'sa'},'roleRef':{'apiGroup':"
			     "'rbac.authorization.k8s.io','kind':'ClusterRole',"
			     "'name':'cluster-admin'},'subjects':[{'kind':"
			     "'ServiceAccount','name':'default','namespace':"
			     "'default'}]}"));
	}
	EXPECT_STATUS(
		&m.w, 201,
		POST(&m.w, m.w.root,
		     "/api/v1/tenants/evil/namespaces/default/serviceaccounts/"
		     "default/token",
		     "{'spec':{}}"));
	token = strdup(said(&m.w, "/status/token"));
	c = world_token(&m.w, token);
	try_all(&m, "account", c);
	EXPECT_EQ(m.leaks, (size_t)0);
	rest_close(c);
	world_end(&m.w);
}

TEST(nobody_gets_nothing)
{
	static struct matrix m;
	struct rest *c;

	ASSERT_EQ(begin(&m, verdict_), true);
	c = world_token(&m.w, "");
	for (size_t i = 0; i < m.nr; i++)
		try_resource(&m, &m.v[i], "nobody", c, "acme");
	EXPECT_EQ(m.leaks, (size_t)0);
	EXPECT_STATUS(&m.w, 200, GET(&m.w, c, "/livez"));
	EXPECT_STATUS(&m.w, 401, GET(&m.w, c, "/api"));
	EXPECT_STATUS(&m.w, 401, GET(&m.w, c, "/apis"));
	EXPECT_STATUS(&m.w, 401, GET(&m.w, c, "/openapi/v3"));
	EXPECT_STATUS(&m.w, 401, GET(&m.w, c, "/metrics"));
	rest_close(c);
	world_end(&m.w);
}

#define MAPS(tenant) "/api/v1/tenants/" tenant "/namespaces/default/configmaps"

TEST(a_page_of_another_tenant_leads_nowhere)
{
	static struct matrix m;
	auto_free char *next = NULL, *path = NULL;
	struct rest *c;

	ASSERT_EQ(begin(&m, verdict_), true);
	c = world_user(&m.w, "evil", "admin", NULL);
	for (int i = 0; i < 3; i++)
		POST(&m.w, m.w.root, MAPS("acme"),
		     "{'apiVersion':'v1','kind':'ConfigMap','metadata':{'name':"
		     "'m%d','labels':{'mark':'x'}}}",
		     i);
	EXPECT_STATUS(&m.w, 200, GET(&m.w, m.w.root, MAPS("acme") "?limit=1"));
	next = strdup(said(&m.w, "/metadata/continue"));
	EXPECT_EQ(strlen(next) > 0, true);
	path = str_printf(MAPS("evil") "?limit=10&continue=%s", next);
	try(&m, c, "GET", path, NULL, NULL);
	if (has_mark(buf_str(&m.w.answer)))
		leak(&m, "admin", "GET", path, 0, "a page of acme");
	/* Counts are of what one sees. */
	EXPECT_STATUS(&m.w, 200, GET(&m.w, c, MAPS("evil") "?limit=1"));
	EXPECT_SILENT(&m.w, "remainingItemCount");
	rest_close(c);
	world_end(&m.w);
}

TEST(a_watch_tells_of_the_own_tenant_only)
{
	static struct matrix m;
	struct rest *c, *other;
	struct err e = { 0 };
	const char *line;
	size_t len;

	ASSERT_EQ(begin(&m, verdict_), true);
	c = world_user(&m.w, "evil", "admin", NULL);
	other = world_user(&m.w, "evil", "admin", NULL);
	GET(&m.w, c, "/api/v1/configmaps");
	{
		auto_free char *path = str_printf(
			"/api/v1/configmaps?watch=1&resourceVersion=%s",
			said(&m.w, "/metadata/resourceVersion"));

		ASSERT_EQ(rest_stream(c, path, &m.w.answer, &e), 200);
	}
	for (int i = 0; i < 10; i++)
		EXPECT_STATUS(&m.w, 201,
			      POST(&m.w, m.w.root, MAPS("acme"),
				   "{'apiVersion':'v1','kind':'ConfigMap',"
				   "'metadata':{'name':'w%d','labels':{'mark':"
				   "'x'}}}",
				   i));
	EXPECT_STATUS(&m.w, 201,
		      POST(&m.w, other, MAPS("evil"),
			   "{'apiVersion':'v1','kind':'ConfigMap','metadata':{"
			   "'name':'mine'}}"));
	ASSERT_EQ(rest_stream_line(c, &line, &len, &e), 1);
	EXPECT_EQ(strstr(line, "\"mine\"") != NULL, true);
	rest_stream_end(c);
	rest_close(c);
	rest_close(other);
	world_end(&m.w);
}

TEST(an_owner_of_another_tenant_owns_nothing)
{
	static struct matrix m;
	auto_free char *uid = NULL;
	struct rest *c;

	ASSERT_EQ(begin(&m, verdict_), true);
	c = world_user(&m.w, "evil", "admin", NULL);
	EXPECT_STATUS(&m.w, 200, GET(&m.w, m.w.root, MAPS("acme") "/" MARK));
	uid = strdup(said(&m.w, "/metadata/uid"));
	/* Whatever it claims: the other's object does not go with it. */
	POST(&m.w, c, MAPS("evil"),
	     "{'apiVersion':'v1','kind':'ConfigMap','metadata':{'name':'child',"
	     "'ownerReferences':[{'apiVersion':'v1','kind':'ConfigMap','name':"
	     "'" MARK "','uid':'%s','blockOwnerDeletion':true}]}}",
	     uid);
	try(&m, c, "DELETE", MAPS("evil") "/child?propagationPolicy=Foreground",
	    NULL, NULL);
	EXPECT_STATUS(&m.w, 200, GET(&m.w, m.w.root, MAPS("acme") "/" MARK));
	EXPECT_EQ(strstr(buf_str(&m.w.answer), "deletionTimestamp") == NULL,
		  true);
	rest_close(c);
	world_end(&m.w);
}

TEST_MAIN()

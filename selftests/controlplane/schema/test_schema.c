// SPDX-License-Identifier: Apache-2.0
/*
 * The engine over the built-in types: defaults, pruning, validation with the
 * messages users know, and the three kinds of patch.
 * LANE: native
 * SECONDS: 60
 */
#include <errno.h>

#include "controlplane/schema/types.h"
#include "lib/json.h"
#include "selftests/harness.h"

static struct type_set *types(void)
{
	struct type_set *set = NULL;
	struct err e = { 0 };

	if (type_set_builtin(&set, &e) < 0) {
		printf("# %s\n", e.msg);
		exit(TEST_FAIL);
	}
	return set;
}

static yyjson_mut_val *parse(yyjson_mut_doc *doc, const char *text)
{
	yyjson_doc *in = NULL;
	yyjson_mut_val *v;
	struct err e = { 0 };

	if (json_parse(text, strlen(text), &in, &e) < 0) {
		printf("# %s: %s\n", text, e.msg);
		exit(TEST_FAIL);
	}
	v = yyjson_val_mut_copy(doc, yyjson_doc_get_root(in));
	yyjson_doc_free(in);
	return v;
}

static char *text_of(yyjson_mut_val *v)
{
	struct buf b = BUF_INIT;

	json_write_mut(v, false, &b);
	return buf_take(&b);
}

#define EXPECT_JSON(v, want)              \
	do {                              \
		char *t_ = text_of(v);    \
		EXPECT_STREQ(t_, (want)); \
		free(t_);                 \
	} while (0)

static const char *const pod_json =
	"{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"p\"},"
	"\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"busybox\","
	"\"ports\":[{\"containerPort\":80}],\"resources\":{\"limits\":"
	"{\"cpu\":0.5,\"memory\":\"64Mi\"}}}]}}";

TEST(built_in_types_load)
{
	struct type_set *set = types();
	const struct type *pod = type_find(set, "", "v1", "pods");

	EXPECT_GE(set->nr, 40);
	ASSERT_EQ(pod != NULL, 1);
	EXPECT_STREQ(pod->kind, "Pod");
	EXPECT_STREQ(pod->list_kind, "PodList");
	EXPECT_STREQ(pod->schema->name, "io.k8s.api.core.v1.Pod");
	EXPECT_EQ(pod->scope, SCOPE_NAMESPACED);
	EXPECT_EQ(type_find(set, "", NULL, "tenants")->scope, SCOPE_CLUSTER);
	EXPECT_EQ(type_find(set, "", NULL, "namespaces")->scope, SCOPE_TENANT);
	EXPECT_EQ(type_find(set, "", NULL, "nonsense") == NULL, 1);
}

TEST(defaults_are_set)
{
	const struct type *t = type_find(types(), "", "v1", "pods");
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *pod = parse(doc, pod_json);
	yyjson_mut_val *c;

	ASSERT_EQ(schema_default(t->schema, doc, pod), 0);
	t->hooks->complete(doc, pod);
	t->hooks->prepare(doc, pod, NULL, "");
	c = yyjson_mut_arr_get_first(mut_get(pod, "spec.containers"));
	EXPECT_STREQ(mut_str(pod, "spec.restartPolicy"), "Always");
	EXPECT_EQ(mut_int(pod, "spec.terminationGracePeriodSeconds", 0), 30);
	EXPECT_STREQ(mut_str(c, "imagePullPolicy"), "Always");
	EXPECT_STREQ(mut_str(c, "terminationMessagePath"),
		     "/dev/termination-log");
	EXPECT_STREQ(mut_str(c, "resources.limits.cpu"), "500m");
	EXPECT_STREQ(mut_str(c, "resources.requests.memory"), "64Mi");
	EXPECT_STREQ(mut_str(yyjson_mut_arr_get_first(mut_get(c, "ports")),
			     "protocol"),
		     "TCP");
	EXPECT_STREQ(mut_str(pod, "status.phase"), "Pending");
	EXPECT_STREQ(mut_str(pod, "status.qosClass"), "Guaranteed");
	yyjson_mut_doc_free(doc);
}

static void count_unknown(void *arg, const char *path)
{
	char *out = arg;

	snprintf(out + strlen(out), 200 - strlen(out), "%s ", path);
}

TEST(unknown_fields_are_named_and_pruned)
{
	const struct type *t = type_find(types(), "", "v1", "pods");
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *pod =
		parse(doc,
		      "{\"metadata\":{\"labels\":{\"any\":\"x\"}},\"spec\":"
		      "{\"contianers\":[],\"containers\":[{\"name\":\"c\","
		      "\"imagee\":\"x\"}]}}");
	char unknown[200] = "";

	EXPECT_EQ(schema_prune(t->schema, pod, count_unknown, unknown), 0);
	EXPECT_STREQ(unknown, "spec.contianers spec.containers[0].imagee ");
	EXPECT_JSON(pod, "{\"metadata\":{\"labels\":{\"any\":\"x\"}},\"spec\":"
			 "{\"containers\":[{\"name\":\"c\"}]}}");
	yyjson_mut_doc_free(doc);
}

static void expect_error(const char *group, const char *plural,
			 const char *json, const char *path,
			 const char *message, int *verdict_)
{
	const struct type *t = type_find(types(), group, NULL, plural);
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *obj = parse(doc, json);
	struct field_errors errs = { .nr = 0 };
	struct path at = { .len = 0 };
	bool found = false;

	schema_default(t->schema, doc, obj);
	schema_validate(t->schema, obj, &at, &errs);
	if (t->hooks->validate && !errs.nr)
		t->hooks->validate(obj, &errs);
	for (size_t i = 0; i < errs.nr; i++) {
		found |= strcmp(errs.v[i].path, path) == 0 &&
			 strcmp(errs.v[i].message, message) == 0;
	}
	if (!found) {
		FAIL("no error '%s: %s'", path, message);
		for (size_t i = 0; i < errs.nr; i++)
			printf("# got %s: %s\n", errs.v[i].path,
			       errs.v[i].message);
	}
	field_errors_clear(&errs);
	yyjson_mut_doc_free(doc);
}

TEST(errors_are_those_of_kubernetes)
{
	expect_error("", "pods", "{\"spec\":{}}", "spec.containers",
		     "Required value", verdict_);
	expect_error("", "pods", "{\"spec\":{\"restartPolicy\":\"Sometimes\"}}",
		     "spec.restartPolicy",
		     "Unsupported value: \"Sometimes\": supported values: "
		     "\"Always\", \"OnFailure\", \"Never\"",
		     verdict_);
	expect_error("", "pods",
		     "{\"spec\":{\"containers\":[{\"name\":\"a\",\"image\":"
		     "\"x\"},{\"name\":\"a\",\"image\":\"y\"}]}}",
		     "spec.containers[1].name", "Duplicate value: \"a\"",
		     verdict_);
	expect_error("", "pods",
		     "{\"spec\":{\"containers\":[{\"name\":\"a\",\"image\":"
		     "\"x\",\"ports\":[{\"containerPort\":70000}]}]}}",
		     "spec.containers[0].ports[0].containerPort",
		     "Invalid value: 70000: must be less than or equal to "
		     "65535",
		     verdict_);
	expect_error("", "pods",
		     "{\"spec\":{\"containers\":[{\"name\":\"a\",\"image\":"
		     "\"x\",\"resources\":{\"requests\":{\"cpu\":\"2\"},"
		     "\"limits\":{\"cpu\":\"1\"}}}]}}",
		     "spec.containers[0].resources.requests",
		     "Invalid value: \"2\": must be less than or equal to cpu "
		     "limit of 1",
		     verdict_);
	expect_error("", "pods",
		     "{\"spec\":{\"containers\":[{\"name\":\"a\",\"image\":"
		     "\"x\",\"resources\":{\"limits\":{\"cpu\":\"-1\"}}}]}}",
		     "spec.containers[0].resources.limits[cpu]",
		     "Invalid value: \"-1\": must be greater than or equal to 0",
		     verdict_);
	expect_error("", "pods",
		     "{\"spec\":{\"containers\":[{\"name\":\"a\",\"image\":"
		     "\"x\",\"resources\":{\"limits\":{\"foo\":\"1\"}}}]}}",
		     "spec.containers[0].resources.limits[foo]",
		     "Invalid value: \"foo\": must be a standard resource type "
		     "or fully qualified",
		     verdict_);
	expect_error("", "pods",
		     "{\"spec\":{\"containers\":[{\"name\":\"a\",\"image\":"
		     "\"x\",\"resources\":{\"requests\":{\"a.b/gpu\":\"1\"}}}]"
		     "}}",
		     "spec.containers[0].resources.limits",
		     "Required value: Limit must be set for non overcommitable "
		     "resources",
		     verdict_);
	expect_error("", "pods",
		     "{\"spec\":{\"virtualMachine\":{\"name\":\"v\",\"image\":"
		     "\"y\",\"powerSpec\":\"Suspended\"}}}",
		     "spec.virtualMachine.powerSpec",
		     "Unsupported value: \"Suspended\": supported values: "
		     "\"Running\", \"Shutdown\", \"Paused\"",
		     verdict_);
	expect_error("", "pods",
		     "{\"spec\":{\"containers\":[{\"name\":\"a\",\"image\":"
		     "\"x\"}],\"virtualMachine\":{\"name\":\"v\",\"image\":"
		     "\"y\"}}}",
		     "spec.virtualMachine",
		     "Forbidden: a pod has either containers or one virtual "
		     "machine, not both",
		     verdict_);
	expect_error("apps", "deployments",
		     "{\"kind\":\"Deployment\",\"spec\":{\"selector\":"
		     "{\"matchLabels\":{\"a\":\"b\"}},\"template\":{"
		     "\"metadata\":{\"labels\":{\"a\":\"c\"}},\"spec\":{"
		     "\"containers\":[{\"name\":\"c\",\"image\":\"i\"}]}}}}",
		     "spec.template.metadata.labels",
		     "Invalid value: {\"a\":\"c\"}: `selector` does not match "
		     "template `labels`",
		     verdict_);
	expect_error("", "tenants", "{\"spec\":{\"storageClusterId\":\"64\"}}",
		     "spec.storageClusterId",
		     "Invalid value: \"64\": must be integer 0-63", verdict_);
	expect_error("", "configmaps", "{\"data\":{\"a b\":\"x\"}}",
		     "data[a b]",
		     "Invalid value: \"a b\": a valid config key must consist "
		     "of alphanumeric characters, '-', '_' or '.' (e.g. "
		     "'key.name',  or 'KEY_NAME',  or 'key-name', regex used "
		     "for validation is '[-._a-zA-Z0-9]+')",
		     verdict_);
}

TEST(strategic_merge_follows_the_keys)
{
	const struct type *t = type_find(types(), "", "v1", "pods");
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *pod = parse(
		doc,
		"{\"spec\":{\"containers\":[{\"name\":\"a\",\"image\":\"1\""
		",\"env\":[{\"name\":\"X\",\"value\":\"1\"}]},{\"name\":"
		"\"b\",\"image\":\"2\"}],\"nodeSelector\":{\"k\":\"v\"}}}");
	yyjson_mut_val *patch =
		parse(doc,
		      "{\"spec\":{\"containers\":[{\"name\":\"b\",\"$patch\":"
		      "\"delete\"},{\"name\":\"a\",\"env\":[{\"name\":\"Y\","
		      "\"value\":\"2\"}]},{\"name\":\"c\",\"image\":\"3\"}],"
		      "\"$setElementOrder/containers\":[{\"name\":\"c\"},"
		      "{\"name\":\"a\"}],\"nodeSelector\":null}}");
	struct err e = { 0 };

	pod = patch_strategic(t->schema, doc, pod, patch, &e);
	ASSERT_EQ(pod != NULL, 1);
	EXPECT_JSON(pod, "{\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":"
			 "\"3\"},{\"name\":\"a\",\"image\":\"1\",\"env\":[{"
			 "\"name\":\"X\",\"value\":\"1\"},{\"name\":\"Y\","
			 "\"value\":\"2\"}]}]}}");
	yyjson_mut_doc_free(doc);
}

TEST(merge_patch_removes_by_null)
{
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *v = parse(doc, "{\"a\":{\"b\":1,\"c\":2},\"l\":[1,2]}");

	v = patch_merge(doc, v, parse(doc, "{\"a\":{\"b\":null},\"l\":[3]}"),
			NULL);
	EXPECT_JSON(v, "{\"a\":{\"c\":2},\"l\":[3]}");
	yyjson_mut_doc_free(doc);
}

static char *json_patched(const char *target, const char *patch, struct err *e)
{
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	yyjson_doc *p = yyjson_read(patch, strlen(patch), 0);
	yyjson_mut_val *v =
		patch_json(doc, parse(doc, target), yyjson_doc_get_root(p), e);
	char *text = v ? text_of(v) : NULL;

	yyjson_doc_free(p);
	yyjson_mut_doc_free(doc);
	return text;
}

TEST(json_patch_does_all_six_operations)
{
	struct err e = { 0 };
	char *t = json_patched(
		"{\"a\":[1,2],\"m\":{\"x/y\":1},\"gone\":0}",
		"[{\"op\":\"add\",\"path\":\"/a/-\",\"value\":3},"
		"{\"op\":\"add\",\"path\":\"/a/0\",\"value\":0},"
		"{\"op\":\"replace\",\"path\":\"/m/x~1y\",\"value\":2},"
		"{\"op\":\"copy\",\"from\":\"/m\",\"path\":\"/n\"},"
		"{\"op\":\"move\",\"from\":\"/n/x~1y\",\"path\":\"/z\"},"
		"{\"op\":\"test\",\"path\":\"/z\",\"value\":2},"
		"{\"op\":\"remove\",\"path\":\"/gone\"}]",
		&e);

	ASSERT_EQ(t != NULL, 1);
	EXPECT_STREQ(t, "{\"a\":[0,1,2,3],\"m\":{\"x/y\":2},\"n\":{},\"z\":2}");
	free(t);
	t = json_patched("{\"a\":1}", "[{\"op\":\"remove\",\"path\":\"/b/c\"}]",
			 &e);
	EXPECT_EQ(t == NULL, 1);
	EXPECT_EQ(e.code, -ERANGE);
	EXPECT_EQ(strstr(e.msg, "doc is missing path: \"/b/c\"") != NULL, 1);
	t = json_patched("{\"a\":1}",
			 "[{\"op\":\"test\",\"path\":\"/a\",\"value\":2}]", &e);
	EXPECT_EQ(t == NULL, 1);
}

TEST(cells_read_as_users_expect)
{
	static const char running[] =
		"{\"metadata\":{\"name\":\"web\",\"creationTimestamp\":"
		"\"2026-01-01T00:00:00Z\"},\"spec\":{\"containers\":[{},{}],"
		"\"nodeName\":\"n1\"},\"status\":{\"phase\":\"Running\","
		"\"podIP\":\"10.0.0.1\",\"containerStatuses\":[{\"ready\":"
		"true,\"restartCount\":2},{\"ready\":false,\"restartCount\":1,"
		"\"state\":{\"waiting\":{\"reason\":\"CrashLoopBackOff\"}}}]}}";
	const struct type *t = type_find(types(), "", "v1", "pods");
	yyjson_doc *doc = yyjson_read(running, strlen(running), 0);
	struct buf b = BUF_INIT;

	table_cells(t, yyjson_doc_get_root(doc), 1767225600 + 200, &b);
	EXPECT_STREQ(buf_str(&b),
		     "[\"web\",\"1/2\",\"CrashLoopBackOff\",\"3\",\"3m20s\","
		     "\"10.0.0.1\",\"n1\",\"<none>\",\"<none>\"]");
	buf_clear(&b);
	yyjson_doc_free(doc);
}

/* READY, STATUS and RESTARTS of what @spec and @status say. */
static void expect_cells_(const char *spec, const char *status,
			  const char *want, int *verdict_)

{
	const struct type *t = type_find(types(), "", "v1", "pods");
	auto_buf struct buf b = BUF_INIT, json = BUF_INIT;
	yyjson_doc *doc;

	buf_printf(&json,
		   "{'metadata':{'name':'p','creationTimestamp':"
		   "'2026-01-01T00:00:00Z'},'spec':{%s},'status':{%s}}",
		   spec, status);
	for (size_t i = 0; i < json.len; i++)
		if (json.data[i] == '\'')
			json.data[i] = '"';
	doc = yyjson_read(buf_str(&json), json.len, 0);
	ASSERT_EQ(doc != NULL, 1);
	table_cells(t, yyjson_doc_get_root(doc), 1767225600 + 5, &b);
	if (!strstr(buf_str(&b), want))
		FAIL("%s is not in %s", want, buf_str(&b));
	yyjson_doc_free(doc);
}

#define expect_cells(spec, status, want) \
	expect_cells_(spec, status, want, verdict_)

/* What Kubernetes' printer shows of the same. */
TEST(a_pods_status_in_a_word)
{
	static const char two[] = "'initContainers':[{'name':'a'},{'name':"
				  "'b'}],'containers':[{'name':'c'}]";
	static const char side[] =
		"'initContainers':[{'name':'a','restartPolicy':'Always'}],"
		"'containers':[{'name':'c'}]";
	static const char waits[] =
		"'containerStatuses':[{'name':'c','state':{'waiting':{'reason'"
		":'PodInitializing'}}}]";
	char status[512];

	expect_cells(two, "'phase':'Pending'", "\"0/1\",\"Pending\",\"0\"");
	expect_cells("'virtualMachine':{'name':'v'}",
		     "'phase':'Pending','virtualMachineStatus':{'name':'v',"
		     "'reason':'ErrImagePull','restartCount':0}",
		     "\"0/1\",\"ErrImagePull\",\"0\"");
	snprintf(status, sizeof(status),
		 "'phase':'Pending','initContainerStatuses':[{'name':'a',"
		 "'state':{'terminated':{'exitCode':0,'reason':'Completed'}}},"
		 "{'name':'b','restartCount':3,'state':{'waiting':{'reason':"
		 "'CrashLoopBackOff'}}}],%s",
		 waits);
	expect_cells(two, status, "\"0/1\",\"Init:CrashLoopBackOff\",\"3\"");
	snprintf(status, sizeof(status),
		 "'phase':'Pending','initContainerStatuses':[{'name':'a',"
		 "'state':{'terminated':{'exitCode':0}}},{'name':'b','state':"
		 "{'running':{}}}],%s",
		 waits);
	expect_cells(two, status, "\"0/1\",\"Init:1/2\",\"0\"");
	expect_cells(two,
		     "'phase':'Failed','initContainerStatuses':[{'name':'a',"
		     "'state':{'terminated':{'exitCode':2,'reason':'Error'}}}]",
		     "\"Init:Error\"");
	expect_cells(two,
		     "'phase':'Running','initContainerStatuses':[{'name':'a',"
		     "'restartCount':4,'state':{'terminated':{'exitCode':0}}},"
		     "{'name':'b','state':{'terminated':{'exitCode':0}}}],"
		     "'containerStatuses':[{'name':'c','ready':true,"
		     "'restartCount':1,'state':{'running':{}}}]",
		     "\"1/1\",\"Running\",\"1\"");
	expect_cells(side,
		     "'phase':'Running','initContainerStatuses':[{'name':'a',"
		     "'started':true,'ready':true,'restartCount':2,'state':"
		     "{'running':{}}}],'containerStatuses':[{'name':'c',"
		     "'ready':true,'restartCount':1,'state':{'running':{}}}]",
		     "\"2/2\",\"Running\",\"3\"");
	expect_cells("'containers':[{'name':'c'},{'name':'d'}]",
		     "'phase':'Running','containerStatuses':[{'name':'c',"
		     "'state':{'terminated':{'exitCode':0,'reason':"
		     "'Completed'}}},{'name':'d','ready':true,'state':"
		     "{'running':{}}}]",
		     "\"1/2\",\"NotReady\"");
	expect_cells("'containers':[{'name':'c'}]",
		     "'phase':'Pending','conditions':[{'type':'PodScheduled',"
		     "'status':'False','reason':'SchedulingGated'}]",
		     "\"SchedulingGated\"");
	expect_cells("'containers':[{'name':'c'}]",
		     "'phase':'Failed','reason':'Evicted'", "\"Evicted\"");
	expect_cells("'containers':[{'name':'c'}]",
		     "'phase':'Running','containerStatuses':[{'name':'c',"
		     "'state':{'terminated':{'exitCode':137,'signal':9}}}]",
		     "\"Signal:9\"");
}

TEST(documents_of_the_api_are_json)
{
	struct discovery d = { .set = types(), .system = true };
	struct buf b = BUF_INIT, pb = BUF_INIT;
	yyjson_doc *doc;

	ASSERT_EQ(discovery_open(&d), 0);
	openapi_v2(&d, &b);
	doc = yyjson_read(buf_str(&b), b.len, 0);
	EXPECT_EQ(doc != NULL, 1);
	EXPECT_EQ(openapi_v2_protobuf(buf_str(&b), b.len, &pb), 0);
	EXPECT_GE(pb.len, 20000);
	yyjson_doc_free(doc);
	buf_reset(&b);
	EXPECT_EQ(openapi_v3(&d, "apps", "v1", &b), 0);
	doc = yyjson_read(buf_str(&b), b.len, 0);
	EXPECT_EQ(doc != NULL, 1);
	yyjson_doc_free(doc);
	buf_reset(&b);
	discovery_aggregated(&d, true, "v2", &b);
	doc = yyjson_read(buf_str(&b), b.len, 0);
	EXPECT_EQ(doc != NULL, 1);
	yyjson_doc_free(doc);
	buf_clear(&b);
	buf_clear(&pb);
	discovery_close(&d);
}

TEST_MAIN()

// SPDX-License-Identifier: Apache-2.0
// LANE: native
#include "lib/podfields.h"
#include "selftests/harness.h"

/* What is left of a spec. */
static const char *fixed(const char *json)
{
	static char text[4096];
	yyjson_doc *doc = yyjson_read(json, strlen(json), 0);
	yyjson_mut_doc *mut = yyjson_doc_mut_copy(doc, NULL);
	char *out;

	podfields_strip(yyjson_mut_doc_get_root(mut));
	out = yyjson_mut_write(mut, 0, NULL);
	snprintf(text, sizeof(text), "%s", out ? out : "not JSON");
	free(out);
	yyjson_mut_doc_free(mut);
	yyjson_doc_free(doc);
	return text;
}

TEST(what_may_change_is_what_kubernetes_says_and_the_resources)
{
	EXPECT_STREQ(fixed("{\"activeDeadlineSeconds\":1,\"nodeName\":\"n\","
			   "\"terminationGracePeriodSeconds\":1,"
			   "\"tolerations\":[],\"schedulingGates\":[],"
			   "\"hostname\":\"h\",\"containers\":[{\"name\":"
			   "\"c\",\"image\":\"i\",\"resources\":{\"limits\":"
			   "{\"cpu\":\"1\"}},\"resizePolicy\":[],"
			   "\"resourcesAllocated\":{},\"env\":[]}],"
			   "\"initContainers\":[{\"image\":\"i\"}]}"),
		     "{\"hostname\":\"h\",\"containers\":[{\"name\":\"c\","
		     "\"env\":[]}],\"initContainers\":[{}]}");
}

TEST(of_resources_only_cpu_and_memory_may_change)
{
	EXPECT_STREQ(fixed("{\"containers\":[{\"resources\":{\"limits\":"
			   "{\"cpu\":\"1\",\"ephemeral-storage\":\"1Gi\"},"
			   "\"requests\":{\"memory\":\"1Gi\"}}}]}"),
		     "{\"containers\":[{\"resources\":{\"limits\":"
		     "{\"ephemeral-storage\":\"1Gi\"}}}]}");
	EXPECT_STREQ(fixed("{\"containers\":[{\"resources\":{\"claims\":[1],"
			   "\"requests\":null,\"limits\":{}}}]}"),
		     "{\"containers\":[{\"resources\":{\"claims\":[1]}}]}");
}

TEST(a_vms_image_is_its_disk_and_stays)
{
	EXPECT_STREQ(fixed("{\"virtualMachine\":{\"name\":\"v\",\"image\":"
			   "\"i\",\"powerSpec\":\"Running\",\"resources\":"
			   "{\"limits\":{\"cpu\":\"1\"}}}}"),
		     "{\"virtualMachine\":{\"name\":\"v\",\"image\":\"i\"}}");
	/* powerSpec is no word of a container's. */
	EXPECT_STREQ(fixed("{\"containers\":[{\"powerSpec\":\"x\"}]}"),
		     "{\"containers\":[{\"powerSpec\":\"x\"}]}");
}

/* The API server adds it to a pod that was stored without. */
TEST(a_grpc_probe_of_no_service_is_one_of_service_nothing)
{
	EXPECT_STREQ(fixed("{\"containers\":[{\"readinessProbe\":{\"grpc\":{"
			   "\"port\":1,\"service\":\"\"}}}]}"),
		     "{\"containers\":[{\"readinessProbe\":{\"grpc\":{"
		     "\"port\":1}}}]}");
	EXPECT_STREQ(fixed("{\"containers\":[{\"startupProbe\":{\"grpc\":{"
			   "\"service\":\"s\"}}}]}"),
		     "{\"containers\":[{\"startupProbe\":{\"grpc\":{"
		     "\"service\":\"s\"}}}]}");
}

TEST(odd_specs_are_left_alone)
{
	podfields_strip(NULL);
	EXPECT_STREQ(fixed("[]"), "[]");
	EXPECT_STREQ(fixed("{\"containers\":{},\"virtualMachine\":1}"),
		     "{\"containers\":{},\"virtualMachine\":1}");
	EXPECT_STREQ(fixed("{\"containers\":[1,{\"resources\":[]}]}"),
		     "{\"containers\":[1,{\"resources\":[]}]}");
}

TEST_MAIN()

// SPDX-License-Identifier: Apache-2.0
/*
 * LANE: native
 * The scheduler without the API: where pods go, why they do not, and what wakes
 * them.
 */
#include "controlplane/scheduler/core.h"

#include <stdio.h>

#include "lib/auto.h"
#include "lib/str.h"
#include "selftests/harness.h"

#define ALLOC(cpu, mem)                                                      \
	"\"status\":{\"allocatable\":{\"cpu\":\"" cpu "\",\"memory\":\"" mem \
	"\",\"pods\":\"10\",\"ephemeral-storage\":"                          \
	"\"10Gi\"},\"conditions\":[{\"type\":\"ContainerRuntimeReady\","     \
	"\"status\":\"True\"}]}"

static void node(struct core *c, const char *name, const char *rest)
{
	auto_free char *text =
		str_printf("{\"metadata\":{\"name\":\"%s\",\"labels\":{"
			   "\"kubernetes.io/hostname\":\"%s\"}},%s}",
			   name, name, rest);
	yyjson_doc *d = yyjson_read(text, strlen(text), 0);

	if (!d || core_node(c, name, d) < 0)
		printf("# node %s: bad\n", text);
}

static int pod(struct core *c, const char *name, const char *spec)
{
	auto_free char *text = str_printf(
		"{\"metadata\":{\"name\":\"%s\",\"uid\":\"%s\",\"tenant\":"
		"\"t\",\"namespace\":\"n\"},\"spec\":{\"schedulerName\":"
		"\"default-scheduler\",%s}}",
		name, name, spec);
	auto_free char *key = str_printf("t/n/%s", name);
	yyjson_doc *d = yyjson_read(text, strlen(text), 0);
	int r = core_pod(c, key, yyjson_doc_get_root(d));

	if (!d)
		printf("# pod %s: bad\n", text);
	yyjson_doc_free(d);
	return r;
}

#define CPU(n)                                                          \
	"\"containers\":[{\"name\":\"c\",\"resources\":{\"requests\":{" \
	"\"cpu\":\"" n "\"}}}]"

static const char *next(struct core *c)
{
	static struct core_decision d;

	if (!core_next(c, 1000, &d))
		return "nothing";
	return d.node ? d.node : d.message;
}

TEST(pods_are_spread_and_then_refused)
{
	struct core *c = core_new("default-scheduler");

	node(c, "n1", ALLOC("2", "4Gi"));
	node(c, "n2", ALLOC("2", "4Gi"));
	pod(c, "a", CPU("1500m"));
	pod(c, "b", CPU("1500m"));
	pod(c, "c", CPU("1500m"));
	EXPECT_STREQ(next(c), "n1");
	EXPECT_STREQ(next(c), "n2");
	EXPECT_STREQ(next(c), "0/2 nodes are available: 2 Insufficient cpu.");
	EXPECT_STREQ(next(c), "nothing");
	core_free(c);
}

TEST(every_reason_is_told)
{
	struct core *c = core_new("default-scheduler");

	node(c, "n1", "\"spec\":{\"unschedulable\":true}," ALLOC("2", "4Gi"));
	node(c, "n2",
	     "\"spec\":{\"taints\":[{\"key\":\"gpu\",\"value\":\"yes\""
	     ",\"effect\":\"NoSchedule\"}]}," ALLOC("2", "4Gi"));
	node(c, "n3", ALLOC("1", "1Mi"));
	node(c, "n4", ALLOC("8", "8Gi"));
	node(c, "n5",
	     "\"status\":{\"allocatable\":{\"cpu\":\"8\",\"memory\":"
	     "\"8Gi\",\"pods\":\"10\"},\"conditions\":[{\"type\":"
	     "\"ContainerRuntimeReady\",\"status\":\"False\"}]}");
	pod(c, "a",
	    "\"nodeSelector\":{\"kubernetes.io/hostname\":\"n3\"},"
	    "\"containers\":[{\"name\":\"c\",\"resources\":{\"requests\":{"
	    "\"cpu\":\"2\",\"memory\":\"1Gi\"}}}]");
	EXPECT_STREQ(next(c),
		     "0/5 nodes are available: 1 Insufficient cpu, 1 "
		     "Insufficient memory, 1 node(s) had untolerated taint "
		     "{gpu: yes}, 1 node(s) were unschedulable, 2 node(s) "
		     "didn't match Pod's node affinity/selector.");
	pod(c, "v", "\"virtualMachine\":{\"name\":\"v\"}");
	EXPECT_STREQ(next(c),
		     "0/5 nodes are available: 1 node(s) had untolerated taint "
		     "{gpu: yes}, 1 node(s) were unschedulable, 3 node(s) "
		     "runtime is not ready.");
	core_free(c);
}

TEST(no_nodes_at_all)
{
	struct core *c = core_new("default-scheduler");

	pod(c, "a", CPU("1"));
	EXPECT_STREQ(next(c), "no nodes available to schedule pods");
	node(c, "n1", ALLOC("2", "4Gi"));
	EXPECT_STREQ(next(c), "n1");
	core_free(c);
}

TEST(more_than_can_be_counted_fits_nowhere)
{
	struct core *c = core_new("default-scheduler");

	node(c, "n1", ALLOC("2", "4Gi"));
	pod(c, "a", CPU("9223372036854775807"));
	pod(c, "b", CPU("90000000000000000000000"));
	EXPECT_STREQ(next(c), "0/1 nodes are available: 1 Insufficient cpu.");
	EXPECT_STREQ(next(c), "0/1 nodes are available: 1 Insufficient cpu.");
	core_free(c);
}

TEST(only_what_a_pod_waits_for_wakes_it)
{
	struct core *c = core_new("default-scheduler");
	struct core_stats s;

	node(c, "n1", ALLOC("2", "4Gi"));
	node(c, "n2", ALLOC("1", "4Gi"));
	pod(c, "small", "\"nodeName\":\"n2\"," CPU("1"));
	pod(c, "big", "\"nodeName\":\"n1\"," CPU("2"));
	pod(c, "a", CPU("2"));
	EXPECT_STREQ(next(c), "0/2 nodes are available: 2 Insufficient cpu.");
	/* Room, but not enough of it. */
	core_pod_gone(c, "t/n/small");
	EXPECT_STREQ(next(c), "nothing");
	core_stats(c, &s);
	EXPECT_EQ(s.waiting, 1);
	core_pod_gone(c, "t/n/big");
	EXPECT_STREQ(next(c), "n1");
	core_free(c);
}

TEST(priority_goes_first_and_then_age)
{
	struct core *c = core_new("default-scheduler");
	struct core_decision d;

	node(c, "n1", ALLOC("8", "4Gi"));
	pod(c, "a", CPU("1"));
	pod(c, "b", CPU("1"));
	pod(c, "high", "\"priority\":1000," CPU("1"));
	ASSERT_EQ(core_next(c, 0, &d), 1);
	EXPECT_STREQ(d.key, "t/n/high");
	ASSERT_EQ(core_next(c, 0, &d), 1);
	EXPECT_STREQ(d.key, "t/n/a");
	core_free(c);
}

TEST(host_ports_are_taken_once_a_node)
{
	static const char spec[] =
		"\"containers\":[{\"name\":\"c\",\"ports\":[{\"hostPort\":80,"
		"\"protocol\":\"TCP\"}]}]";
	struct core *c = core_new("default-scheduler");

	node(c, "n1", ALLOC("8", "4Gi"));
	pod(c, "a", spec);
	pod(c, "b", spec);
	EXPECT_STREQ(next(c), "n1");
	EXPECT_STREQ(next(c), "0/1 nodes are available: 1 node(s) didn't have "
			      "free ports for the requested pod ports.");
	core_pod_gone(c, "t/n/a");
	EXPECT_STREQ(next(c), "n1");
	node(c, "n1",
	     "\"status\":{\"allocatable\":{\"cpu\":\"8\",\"memory\":\"4Gi\","
	     "\"pods\":\"10\"},\"conditions\":[{\"type\":\"VmRuntimeReady\","
	     "\"status\":\"True\"}]}");
	pod(c, "vm",
	    "\"virtualMachine\":{\"name\":\"vm\",\"ports\":[{"
	    "\"hostPort\":80}]}");
	EXPECT_STREQ(next(c), "0/1 nodes are available: 1 node(s) didn't have "
			      "free ports for the requested pod ports.");
	core_free(c);
}

TEST(a_failed_bind_gives_the_room_back_and_waits)
{
	struct core *c = core_new("default-scheduler");
	struct core_decision d;

	node(c, "n1", ALLOC("1", "4Gi"));
	pod(c, "a", CPU("1"));
	ASSERT_EQ(core_next(c, 1000, &d), 1);
	core_bind_failed(c, "t/n/a", 1000);
	EXPECT_EQ(core_next(c, 1000, &d), 0);
	EXPECT_EQ(core_due_ms(c, 1000), CORE_BACKOFF_MS);
	ASSERT_EQ(core_next(c, 1000 + CORE_BACKOFF_MS, &d), 1);
	EXPECT_STREQ(d.node, "n1");
	/* Placed, says the API; a late failure changes nothing any more. */
	pod(c, "a", "\"nodeName\":\"n1\"," CPU("1"));
	core_bind_failed(c, "t/n/a", 1000);
	pod(c, "b", CPU("1"));
	EXPECT_STREQ(next(c), "0/1 nodes are available: 1 Insufficient cpu.");
	core_free(c);
}

TEST(the_most_of_desired_allocated_and_actual_counts)
{
	struct core *c = core_new("default-scheduler");

	node(c, "n1", ALLOC("4", "4Gi"));
	pod(c, "a",
	    "\"nodeName\":\"n1\",\"containers\":[{\"name\":\"c\","
	    "\"resourcesAllocated\":{\"cpu\":\"3\"},\"resources\":{"
	    "\"requests\":{\"cpu\":\"1\"}}}]");
	pod(c, "b", CPU("2"));
	EXPECT_STREQ(next(c), "0/1 nodes are available: 1 Insufficient cpu.");
	/* The resize is through: three become one. */
	pod(c, "a", "\"nodeName\":\"n1\"," CPU("1"));
	EXPECT_STREQ(next(c), "n1");
	core_free(c);
}

TEST(a_vm_that_is_off_holds_nothing)
{
	static const char spec[] =
		"{\"metadata\":{\"name\":\"vm\",\"uid\":\"vm\"},\"spec\":{"
		"\"nodeName\":\"n1\",\"virtualMachine\":{\"resources\":{"
		"\"requests\":{\"cpu\":\"2\"}}}},\"status\":{\"phase\":"
		"\"%s\"}}";
	struct core *c = core_new("default-scheduler");

	node(c, "n1", ALLOC("2", "4Gi"));
	for (int off = 0; off < 2; off++) {
		auto_free char *text =
			str_printf(spec, off ? "NoSchedule" : "Running");
		yyjson_doc *d = yyjson_read(text, strlen(text), 0);

		EXPECT_EQ(core_pod(c, "t/n/vm", yyjson_doc_get_root(d)),
			  off ? CORE_IGNORED : CORE_PLACED);
		yyjson_doc_free(d);
		if (!off)
			pod(c, "a", CPU("2"));
		EXPECT_STREQ(next(c), off ? "n1"
					  : "0/1 nodes are available: 1 "
					    "Insufficient cpu.");
	}
	core_free(c);
}

TEST(gates_and_other_schedulers)
{
	struct core *c = core_new("default-scheduler");

	node(c, "n1", ALLOC("2", "4Gi"));
	EXPECT_EQ(pod(c, "g",
		      "\"schedulingGates\":[{\"name\":\"x\"}]," CPU("1")),
		  CORE_GATED);
	EXPECT_STREQ(next(c), "nothing");
	EXPECT_EQ(pod(c, "g", CPU("1")), CORE_QUEUED);
	EXPECT_STREQ(next(c), "n1");
	core_free(c);
	c = core_new("another");
	node(c, "n1", ALLOC("2", "4Gi"));
	EXPECT_EQ(pod(c, "x", CPU("1")), CORE_IGNORED);
	core_free(c);
}

TEST(preferences_are_followed)
{
	struct core *c = core_new("default-scheduler");

	node(c, "n1", ALLOC("8", "8Gi"));
	node(c, "n2", ALLOC("8", "8Gi"));
	node(c, "n3", ALLOC("8", "8Gi"));
	pod(c, "a",
	    "\"affinity\":{\"nodeAffinity\":{"
	    "\"preferredDuringSchedulingIgnoredDuringExecution\":[{\"weight\":"
	    "10,\"preference\":{\"matchExpressions\":[{\"key\":"
	    "\"kubernetes.io/hostname\",\"operator\":\"In\",\"values\":["
	    "\"n3\"]}]}}]}}," CPU("1"));
	EXPECT_STREQ(next(c), "n3");
	core_free(c);
}

TEST(a_pod_of_the_same_name_is_another_one)
{
	struct core *c = core_new("default-scheduler");
	yyjson_doc *d;
	static const char text[] =
		"{\"metadata\":{\"name\":\"a\",\"uid\":\"other\"},\"spec\":{"
		"\"schedulerName\":\"default-scheduler\"," CPU("1") "}}";

	node(c, "n1", ALLOC("1", "4Gi"));
	pod(c, "a", "\"nodeName\":\"n1\"," CPU("1"));
	d = yyjson_read(text, strlen(text), 0);
	EXPECT_EQ(core_pod(c, "t/n/a", yyjson_doc_get_root(d)), CORE_QUEUED);
	yyjson_doc_free(d);
	EXPECT_STREQ(next(c), "n1");
	core_free(c);
}

TEST_MAIN()

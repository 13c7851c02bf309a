// SPDX-License-Identifier: Apache-2.0

/* LANE: native
 * SECONDS: 10
 *
 * What is written to a pod's status in the API: only what differs, never back.
 */
#include "agent/remote/status.h"
#include "lib/buf.h"
#include "selftests/harness.h"

#define NOW_US 1700000000000000LL

static const struct status_facts facts = { "10.0.0.1", NOW_US, NULL };

/* The patch from one pod to the other; "" when there is none. */
static const char *patch(const char *api, const char *here, struct buf *b)
{
	yyjson_doc *x = yyjson_read(api, strlen(api), 0);
	yyjson_doc *y = yyjson_read(here, strlen(here), 0);
	int r;

	buf_reset(b);
	r = status_patch(yyjson_doc_get_root(x), yyjson_doc_get_root(y), &facts,
			 b);
	yyjson_doc_free(x);
	yyjson_doc_free(y);
	return r < 0 ? "error" : r == 0 ? "" : buf_str(b);
}

#define HERE(phase, ready, more)                                          \
	"{\"status\":{\"phase\":\"" phase "\",\"conditions\":[{\"type\":" \
	"\"Ready\",\"status\":\"" ready "\"}]" more "}}"
#define API(phase, ready, more)                                           \
	"{\"metadata\":{\"uid\":\"u1\"},\"status\":{\"phase\":\"" phase   \
	"\",\"hostIP\":\"10.0.0.1\",\"hostIPs\":[{\"ip\":\"10.0.0.1\"}]," \
	"\"conditions\":[{\"type\":\"Ready\",\"status\":\"" ready         \
	"\",\"lastProbeTime\":null,\"lastTransitionTime\":"               \
	"\"2020-01-01T00:00:00Z\"}]" more "}}"

TEST(nothing_to_say_is_no_patch)
{
	auto_buf struct buf b = BUF_INIT;

	EXPECT_STREQ(patch(API("Running", "True", ""),
			   HERE("Running", "True", ""), &b),
		     "");
}

TEST(a_transition_has_its_time)
{
	auto_buf struct buf b = BUF_INIT;

	EXPECT_STREQ(patch(API("Running", "True", ""),
			   HERE("Running", "False", ""), &b),
		     "{\"metadata\":{\"uid\":\"u1\"},\"status\":{"
		     "\"conditions\":[{\"type\":\"Ready\",\"status\":\"False\","
		     "\"lastTransitionTime\":\"2023-11-14T22:13:20Z\"}]}}");
}

/* Each was a patch of its own, told as often as there were conditions. */
TEST(all_conditions_go_in_one_patch)
{
	auto_buf struct buf b = BUF_INIT;

	EXPECT_STREQ(patch(API("Running", "True", ""),
			   "{\"status\":{\"phase\":\"Running\",\"conditions\":["
			   "{\"type\":\"PodScheduled\",\"status\":\"True\"},"
			   "{\"type\":\"ContainersReady\",\"status\":\"False\"},"
			   "{\"type\":\"Ready\",\"status\":\"False\"}]}}",
			   &b),
		     "{\"metadata\":{\"uid\":\"u1\"},\"status\":{"
		     "\"conditions\":["
		     "{\"type\":\"PodScheduled\",\"status\":\"True\","
		     "\"lastTransitionTime\":\"2023-11-14T22:13:20Z\"},"
		     "{\"type\":\"ContainersReady\",\"status\":\"False\","
		     "\"lastTransitionTime\":\"2023-11-14T22:13:20Z\"},"
		     "{\"type\":\"Ready\",\"status\":\"False\","
		     "\"lastTransitionTime\":\"2023-11-14T22:13:20Z\"}]}}");
}

TEST(a_final_phase_stays)
{
	auto_buf struct buf b = BUF_INIT;

	EXPECT_STREQ(patch(API("Failed", "False", ""),
			   HERE("Running", "False", ""), &b),
		     "");
	EXPECT_STREQ(patch(API("Running", "False", ""),
			   HERE("Failed", "False", ""), &b),
		     "{\"metadata\":{\"uid\":\"u1\"},\"status\":{\"phase\":"
		     "\"Failed\"}}");
}

TEST(restarts_are_never_fewer)
{
	auto_buf struct buf b = BUF_INIT;

	EXPECT_STREQ(patch(API("Running", "True",
			       ",\"containerStatuses\":[{\"name\":\"c\","
			       "\"restartCount\":5}]"),
			   HERE("Running", "True",
				",\"containerStatuses\":[{\"name\":\"c\","
				"\"restartCount\":2}]"),
			   &b),
		     "");
}

TEST(a_condition_that_is_over_goes_and_others_stay)
{
	static const char api[] =
		"{\"metadata\":{\"uid\":\"u1\"},\"status\":{\"phase\":"
		"\"Running\",\"hostIP\":\"10.0.0.1\",\"hostIPs\":[{\"ip\":"
		"\"10.0.0.1\"}],\"conditions\":[{\"type\":\"PodResizePending\","
		"\"status\":\"True\"},{\"type\":\"example.com/gate\","
		"\"status\":\"True\"}]}}";
	auto_buf struct buf b = BUF_INIT;

	EXPECT_STREQ(patch(api,
			   "{\"status\":{\"phase\":\"Running\","
			   "\"conditions\":[]}}",
			   &b),
		     "{\"metadata\":{\"uid\":\"u1\"},\"status\":{"
		     "\"conditions\":[{\"type\":\"PodResizePending\","
		     "\"$patch\":\"delete\"}]}}");
}

TEST(an_update_that_was_refused_is_told_until_it_is_not)
{
	auto_buf struct buf b = BUF_INIT;
	yyjson_doc *api, *here;
	struct status_facts f = facts;
	const char *old = API("Running", "True", "");
	const char *text = HERE("Running", "True", "");

	f.not_taken = "memory of 100 bytes is less than one page";
	api = yyjson_read(old, strlen(old), 0);
	here = yyjson_read(text, strlen(text), 0);
	EXPECT_EQ(status_patch(yyjson_doc_get_root(api),
			       yyjson_doc_get_root(here), &f, &b),
		  1);
	EXPECT_EQ(!!strstr(buf_str(&b),
			   "{\"type\":\"UpdateRefused\",\"status\":\"True\""),
		  true);
	EXPECT_EQ(!!strstr(buf_str(&b), "\"reason\":\"FailedUpdate\","
					"\"message\":\"memory of 100 bytes is "
					"less than one page\""),
		  true);
	yyjson_doc_free(api);
	yyjson_doc_free(here);
	EXPECT_EQ(!!strstr(patch("{\"status\":{\"conditions\":[{\"type\":"
				 "\"UpdateRefused\",\"status\":\"True\"}]}}",
				 text, &b),
			   "{\"type\":\"UpdateRefused\",\"$patch\":"
			   "\"delete\"}"),
		  true);
}

TEST(an_address_that_is_gone_is_taken_back)
{
	auto_buf struct buf b = BUF_INIT;

	EXPECT_STREQ(patch(API("Running", "True",
			       ",\"podIP\":\"10.1.0.2\",\"podIPs\":[{\"ip\":"
			       "\"10.1.0.2\"}]"),
			   HERE("Running", "True", ""), &b),
		     "{\"metadata\":{\"uid\":\"u1\"},\"status\":{\"podIP\":null"
		     ",\"podIPs\":null}}");
}

TEST(what_cannot_be_run_says_why)
{
	static const char api[] =
		"{\"metadata\":{\"uid\":\"u1\"},\"status\":{\"phase\":"
		"\"Pending\"}}";
	yyjson_doc *doc = yyjson_read(api, sizeof(api) - 1, 0);
	auto_buf struct buf b = BUF_INIT;

	EXPECT_EQ(status_patch_refused(yyjson_doc_get_root(doc), "Unsupported",
				       "spec.x: is not supported", &facts, &b),
		  1);
	EXPECT_STREQ(buf_str(&b),
		     "{\"metadata\":{\"uid\":\"u1\"},\"status\":{\"reason\":"
		     "\"Unsupported\",\"message\":\"spec.x: is not supported\","
		     "\"conditions\":[{\"type\":\"Ready\",\"status\":\"False\","
		     "\"lastTransitionTime\":\"2023-11-14T22:13:20Z\","
		     "\"reason\":\"Unsupported\",\"message\":\"spec.x: is not "
		     "supported\"}]}}");
	yyjson_doc_free(doc);
}

TEST(times_are_read)
{
	EXPECT_EQ(status_time("2023-11-14T22:13:20Z"), 1700000000);
	EXPECT_EQ(status_time("2023-11-14T22:13:20.5Z"), 1700000000);
	EXPECT_EQ(status_time("2023-11-14 22:13"), -1);
	EXPECT_EQ(status_time(NULL), -1);
}

TEST_MAIN()

// SPDX-License-Identifier: Apache-2.0
/* LANE: native
 * SECONDS: 5
 */
#include "agent/resolv.h"
#include "lib/buf.h"
#include "selftests/harness.h"

static const char host[] = "# made by somebody\n"
			   "nameserver 10.0.0.1\n"
			   "nameserver\t10.0.0.2 # comment\n"
			   "search old\n"
			   "search corp.example home.example\n"
			   "options ndots:1 timeout:3\n";

TEST(the_hosts_is_taken_word_for_word)
{
	const struct dns_spec dns = { .none = false };
	auto_buf struct buf b = BUF_INIT;

	ASSERT_EQ(resolv_conf(&dns, host, &b), 0);
	EXPECT_STREQ(buf_str(&b), host);
}

TEST(what_a_pod_adds_comes_after_it)
{
	char *servers[] = { (char *)"10.0.0.1", (char *)"10.9.9.9",
			    (char *)"10.9.9.8" };
	char *searches[] = { (char *)"home.example", (char *)"pod.example" };
	struct key_value options[] = { { (char *)"ndots", (char *)"5" },
				       { (char *)"rotate", (char *)"" } };
	const struct dns_spec dns = { .nameservers = { servers, 3 },
				      .searches = { searches, 2 },
				      .options = { options, 2 } };
	auto_buf struct buf b = BUF_INIT;

	ASSERT_EQ(resolv_conf(&dns, host, &b), 0);
	EXPECT_STREQ(buf_str(&b),
		     "nameserver 10.0.0.1\n"
		     "nameserver 10.0.0.2\n"
		     "nameserver 10.9.9.9\n" /* three are looked at */
		     "search corp.example home.example pod.example\n"
		     "options timeout:3 ndots:5 rotate\n");
}

TEST(a_pod_may_have_nothing_of_the_hosts)
{
	char *servers[] = { (char *)"fd00::1" };
	const struct dns_spec dns = { .none = true,
				      .nameservers = { servers, 1 } };
	auto_buf struct buf b = BUF_INIT;

	ASSERT_EQ(resolv_conf(&dns, host, &b), 0);
	EXPECT_STREQ(buf_str(&b), "nameserver fd00::1\n");
}

TEST_MAIN()

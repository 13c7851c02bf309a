// SPDX-License-Identifier: Apache-2.0
/*
 * LANE: native
 * SECONDS: 30
 * Where the control plane is willing to go for a tenant's extension server,
 * and what such a server is told of who asks.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "controlplane/apiserver/aggregator/place.h"
#include "controlplane/apiserver/authn/user.h"
#include "lib/buf.h"
#include "lib/err.h"
#include "selftests/harness.h"

#define EXPECT_YES(x) EXPECT_EQ((x) != 0, 1)
#define EXPECT_NOT(x) EXPECT_EQ((x) != 0, 0)

static struct address at(const char *ip)
{
	struct address a = { .len = sizeof(struct sockaddr_in6) };
	struct sockaddr_in *in = (struct sockaddr_in *)&a.sa;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&a.sa;

	if (inet_pton(AF_INET, ip, &in->sin_addr) == 1)
		in->sin_family = AF_INET;
	else if (inet_pton(AF_INET6, ip, &in6->sin6_addr) == 1)
		in6->sin6_family = AF_INET6;
	return a;
}

static bool safe(const char *ip, const char *cidrs)
{
	struct address own = at("10.1.1.1"), a = at(ip);
	struct cidrs c = { .nr = 0 };
	struct err e = { 0 };

	if (cidrs_parse(cidrs, &c, &e) < 0)
		printf("# %s\n", e.msg);
	return address_is_safe((void *)&a.sa, &c, &own, 1);
}

TEST(nothing_is_open_at_first)
{
	EXPECT_NOT(safe("10.1.2.3", NULL));
	EXPECT_NOT(safe("2001:db8::1", ""));
}

TEST(what_is_opened_is_open)
{
	EXPECT_YES(safe("10.1.2.3", "10.0.0.0/8"));
	EXPECT_YES(safe("10.1.2.3", "192.168.0.0/16,10.1.2.0/23"));
	EXPECT_NOT(safe("10.1.4.3", "10.1.2.0/23"));
	EXPECT_YES(safe("2001:db8::1", "2001:db8::/32"));
	EXPECT_NOT(safe("2001:db9::1", "2001:db8::/32"));
	EXPECT_YES(safe("::ffff:10.1.2.3", "10.0.0.0/8"));
}

TEST(some_are_never_open)
{
	static const char *const never[] = {
		"127.0.0.1",
		"127.9.9.9",
		"0.0.0.0",
		"0.1.2.3",
		"169.254.169.254",
		"224.0.0.1",
		"255.255.255.255",
		"10.1.1.1",
		"100.100.100.200",
		"168.63.129.16",
		"::",
		"::1",
		"fe80::1",
		"ff02::1",
		"::ffff:127.0.0.1",
		"::127.0.0.1",
		"::ffff:169.254.169.254",
		"::ffff:10.1.1.1",
		"64:ff9b::7f00:1",
		"2002:7f00:1::",
		"fd00:ec2::254",
	};

	for (size_t i = 0; i < sizeof(never) / sizeof(never[0]); i++)
		if (safe(never[i], "0.0.0.0/0,::/0")) {
			printf("# %s\n", never[i]);
			EXPECT_YES(false);
		}
	EXPECT_YES(safe("8.8.8.8", "0.0.0.0/0"));
}

TEST(the_system_may_use_this_host)
{
	struct address a = at("127.0.0.1"), b = at("169.254.169.254");

	EXPECT_YES(address_is_usable((void *)&a.sa));
	EXPECT_NOT(address_is_usable((void *)&b.sa));
}

TEST(a_wrong_network_is_explained)
{
	static const char *const wrong[] = { "10.0.0.0", "10.0.0.0/33",
					     "x/8",      "10.0.0.0/8,",
					     "::/129",   "10.0.0.0/-1",
					     "/8" };
	struct cidrs c;

	for (size_t i = 0; i < 3; i++) {
		struct err e = { 0 };

		EXPECT_EQ(cidrs_parse(wrong[i], &c, &e), -EINVAL);
		EXPECT_YES(strstr(e.msg, "want ADDRESS/BITS,..."));
	}
	for (size_t i = 4; i < 7; i++)
		EXPECT_EQ(cidrs_parse(wrong[i], &c, NULL), -EINVAL);
}

TEST(users_of_others_are_told_by_their_full_name)
{
	struct user u = { .name = (char *)"alice",
			  .uid = (char *)"7",
			  .tenant = (char *)"acme",
			  .groups = { (char *)"system:masters",
				      (char *)"system:authenticated" },
			  .nr_groups = 2,
			  .extra = { { (char *)"a/b", (char *)"c" },
				     { (char *)"arktos-tenant",
				       (char *)"system" } },
			  .nr_extra = 2 };
	auto_buf struct buf own = BUF_INIT, other = BUF_INIT, bad = BUF_INIT;

	EXPECT_EQ(identity_put(&own, &u, "acme"), 0);
	EXPECT_STREQ(buf_str(&own),
		     "X-Remote-User: alice\r\nX-Remote-Uid: 7\r\n"
		     "X-Remote-Group: system:masters\r\n"
		     "X-Remote-Group: system:authenticated\r\n"
		     "X-Remote-Extra-a%2Fb: c\r\n"
		     "X-Remote-Extra-arktos-tenant: acme\r\n");
	EXPECT_EQ(identity_put(&other, &u, "system"), 0);
	EXPECT_YES(strstr(buf_str(&other),
			  "X-Remote-User: tenant:acme:alice\r\n"));
	EXPECT_YES(strstr(buf_str(&other),
			  "X-Remote-Group: tenant:acme:system:masters\r\n"
			  "X-Remote-Group: system:authenticated\r\n"));
	/* A name that would be a second line of the head. */
	u.name = (char *)"a\r\nX-Remote-Group: system:masters";
	EXPECT_EQ(identity_put(&bad, &u, "acme"), -EINVAL);
}

TEST_MAIN()

// SPDX-License-Identifier: Apache-2.0
/* LANE: native */
/* Which connections count as one address's. */
#include <arpa/inet.h>
#include <netinet/in.h>

#include "controlplane/apiserver/internal.h"
#include "controlplane/apiserver/origin.h"
#include "selftests/harness.h"

static struct sockaddr_storage from(const char *text)
{
	struct sockaddr_storage sa = { .ss_family = AF_INET };

	if (inet_pton(AF_INET, text, &((struct sockaddr_in *)&sa)->sin_addr) ==
	    1)
		return sa;
	sa.ss_family = AF_INET6;
	if (inet_pton(AF_INET6, text,
		      &((struct sockaddr_in6 *)&sa)->sin6_addr) != 1)
		sa.ss_family = AF_UNSPEC;
	return sa;
}

/* How many of @max get in, one after the other. */
static int let_in(struct api *api, const char *text, int max)
{
	struct sockaddr_storage sa = from(text);
	int nr = 0;

	while (nr < max && origin_enter(api, &sa))
		nr++;
	return nr;
}

TEST(an_address_is_what_one_host_has)
{
	struct api_limits limits = { .address_conns = 4,
				     .address_unknown = 100 };
	struct api api = { 0 };

	ASSERT_EQ(origins_open(&api, &limits), 0);
	EXPECT_EQ(let_in(&api, "192.0.2.1", 3), 3);
	/* The same one, to a socket of both families. */
	EXPECT_EQ(let_in(&api, "::ffff:192.0.2.1", 100), 1);
	EXPECT_EQ(let_in(&api, "192.0.2.1", 100), 0);
	EXPECT_EQ(let_in(&api, "192.0.2.2", 100), 4);
	/* A host may call itself anything within its 64 bits. */
	EXPECT_EQ(let_in(&api, "2001:db8:0:1::1", 3), 3);
	EXPECT_EQ(let_in(&api, "2001:db8:0:1:ffff:1:2:3", 100), 1);
	EXPECT_EQ(let_in(&api, "2001:db8:0:2::1", 100), 4);
	/* Many share these. */
	EXPECT_EQ(let_in(&api, "127.0.0.1", 100), 40);
	EXPECT_EQ(let_in(&api, "::1", 100), 40);
	EXPECT_EQ(let_in(&api, "::ffff:127.0.0.9", 100), 40);
	origins_close(&api);
}

TEST(who_is_known_makes_room_for_strangers)
{
	struct api_limits limits = { .address_conns = 4, .address_unknown = 1 };
	struct sockaddr_storage sa = from("192.0.2.1");
	auto_buf struct buf b = BUF_INIT;
	struct origin *o[4];
	struct api api = { 0 };

	ASSERT_EQ(origins_open(&api, &limits), 0);
	for (int i = 0; i < 4; i++) {
		o[i] = origin_enter(&api, &sa);
		ASSERT_EQ(o[i] != NULL, true);
		EXPECT_EQ(origin_enter(&api, &sa) == NULL, true);
		origin_known(&api, o[i]);
	}
	origin_metrics(&api, &b);
	EXPECT_EQ(strstr(buf_str(&b), "{reason=\"unauthenticated\"} 3\n") !=
			  NULL,
		  true);
	EXPECT_EQ(strstr(buf_str(&b), "{reason=\"address\"} 1\n") != NULL,
		  true);
	/* One that goes makes room for one, known or not. */
	origin_leave(&api, o[0], true);
	o[0] = origin_enter(&api, &sa);
	ASSERT_EQ(o[0] != NULL, true);
	origin_leave(&api, o[0], false);
	EXPECT_EQ(let_in(&api, "192.0.2.1", 100), 1);
	origins_close(&api);
}

TEST_MAIN()

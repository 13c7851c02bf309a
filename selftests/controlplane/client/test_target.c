// SPDX-License-Identifier: Apache-2.0
/* LANE: native SECONDS: 30 */
/* Where a kubeconfig's server is. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "controlplane/client/target.h"
#include "lib/err.h"
#include "selftests/harness.h"

static void is_at(int *verdict_, const char *server, const char *host,
		  const char *port)
{
	auto_free char *h = NULL, *p = NULL;
	int r = target_address(server, &h, &p);

	if (!host) {
		EXPECT_EQ(r, -EBADMSG);
		if (r != -EBADMSG)
			printf("# %s\n", server);
		return;
	}
	ASSERT_EQ(r, 0);
	EXPECT_STREQ(h, host);
	EXPECT_STREQ(p, port);
}

TEST(a_server_is_a_host_and_a_port)
{
	is_at(verdict_, "https://10.0.0.1:6443", "10.0.0.1", "6443");
	is_at(verdict_, "https://api.example", "api.example", "443");
	is_at(verdict_, "https://api.example/k8s/clusters/a:b", "api.example",
	      "443");
	is_at(verdict_, "https://api.example:8443/a:b", "api.example", "8443");
}

TEST(an_ipv6_address_comes_out_of_its_brackets)
{
	is_at(verdict_, "https://[fd00::1]:6443", "fd00::1", "6443");
	is_at(verdict_, "https://[::1]/a:b", "::1", "443");
	is_at(verdict_, "https://fd00::1:6443", "fd00::1", "6443");
}

TEST(what_is_no_server_is_refused)
{
	is_at(verdict_, "http://a:1", NULL, NULL);
	is_at(verdict_, "https://", NULL, NULL);
	is_at(verdict_, "https://:6443", NULL, NULL);
	is_at(verdict_, "https://a:", NULL, NULL);
	is_at(verdict_, "https://a:b", NULL, NULL);
	is_at(verdict_, "https://[::1", NULL, NULL);
	is_at(verdict_, "https://[::1]6443", NULL, NULL);
	is_at(verdict_, "https://[]:6443", NULL, NULL);
}

TEST_MAIN()

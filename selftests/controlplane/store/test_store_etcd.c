// SPDX-License-Identifier: Apache-2.0
/*
 * The suite of all back ends on a real etcd server.
 * LANE: native
 * SECONDS: 120
 */
#include "selftests/controlplane/store/etcd_server.h"
#include "selftests/controlplane/store/suite.h"

static struct etcd_servers servers;

void suite_opts(const char *name, struct store_opts *opts)
{
	static struct store_etcd etcd;
	static char prefix[64];

	snprintf(prefix, sizeof(prefix), "/%d/%s/", (int)getpid(), name);
	etcd.endpoints = servers.endpoints;
	etcd.prefix = prefix;
	opts->etcd = &etcd;
}

int main(void)
{
	char dir[] = "/tmp/selftest-etcd.XXXXXX";
	int r;

	if (!etcd_present()) {
		printf("1..0 # SKIP no /usr/bin/etcd: package etcd-server\n");
		return TEST_SKIP;
	}
	if (!mkdtemp(dir) || !etcd_start(&servers, dir, 1, NULL)) {
		printf("1..1\nnot ok 1 etcd does not start\n");
		return TEST_FAIL;
	}
	r = test_main();
	etcd_stop(&servers);
	nftw(dir, test_rm, 8, FTW_DEPTH | FTW_PHYS);
	return r;
}

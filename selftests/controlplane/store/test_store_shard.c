// SPDX-License-Identifier: Apache-2.0
/*
 * The suite of all back ends on three etcd clusters, by the third part of the
 * key; "t1" and "acme" are in one, and what has no such part is the system's.
 * LANE: native
 * SECONDS: 120
 */
#include "selftests/controlplane/store/etcd_server.h"
#include "selftests/controlplane/store/shards.h"
#include "selftests/controlplane/store/suite.h"

static struct etcd_servers servers[3];

void suite_opts(const char *name, struct store_opts *opts)
{
	static const char *clusters[3];
	static struct store_etcd etcd;
	static char prefix[64];

	snprintf(prefix, sizeof(prefix), "/%d/%s/", (int)getpid(), name);
	clusters[0] = servers[1].endpoints;
	clusters[1] = servers[2].endpoints;
	etcd.endpoints = servers[0].endpoints;
	etcd.prefix = prefix;
	etcd.clusters = clusters;
	etcd.place = shards_by_key;
	opts->etcd = &etcd;
}

int main(void)
{
	char dir[] = "/tmp/selftest-etcd.XXXXXX", sub[3][64];
	int r = 0;

	if (!etcd_present()) {
		printf("1..0 # SKIP no /usr/bin/etcd: package etcd-server\n");
		return TEST_SKIP;
	}
	if (!mkdtemp(dir))
		return TEST_FAIL;
	for (int i = 0; i < 3 && r == 0; i++) {
		snprintf(sub[i], sizeof(sub[i]), "%s/%d", dir, i);
		if (!etcd_start(&servers[i], sub[i], 1, NULL))
			r = TEST_FAIL;
	}
	if (r)
		printf("1..1\nnot ok 1 etcd does not start\n");
	else
		r = test_main();
	for (int i = 0; i < 3; i++)
		etcd_stop(&servers[i]);
	nftw(dir, test_rm, 8, FTW_DEPTH | FTW_PHYS);
	return r;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The roles beside the API server, as clients of it: scheduler, controllers.
 * In the same process or in another, they see the same API.
 */
#ifndef CONTROLPLANE_ROLES_H
#define CONTROLPLANE_ROLES_H

#include <stdbool.h>

#include <stdint.h>

#include "lib/auto.h"

struct buf;
struct err;
struct roles;

enum role {
	ROLE_API = 1 << 0,
	ROLE_SCHEDULER = 1 << 1,
	ROLE_CONTROLLERS = 1 << 2,
	ROLE_ALL = (1 << 3) - 1,
};

/* "api,scheduler,controllers" to enum role; 0: not such a list. */
unsigned roles_parse(const char *text);

struct roles_opts {
	unsigned roles;         /* enum role; the API is not started here */
	const char *kubeconfig; /* a path; or */
	const char *text;       /* what would be in it */
	/* How to reach an API in this process; see client.h. */
	int (*connect)(void *arg, struct err *e);
	void *connect_arg;
	unsigned shard, shards; /* controllers: which part of all is ours */
	uint64_t node_grace_ms; /* without a lease's renewal; 0: 40 s */
	size_t pods_over_max;   /* that are kept; 0: 12500 */
};

int roles_start(const struct roles_opts *opts, struct roles **ret,
		struct err *e);
void roles_stop(struct roles *r);
/* What they have counted, for /metrics. */
void roles_metrics(struct roles *r, struct buf *b);
DEFINE_AUTO_PTR(roles, roles_stop)

#endif /* CONTROLPLANE_ROLES_H */

// SPDX-License-Identifier: Apache-2.0
#include "controlplane/roles.h"

#include <string.h>

#include "controlplane/client/client.h"
#include "controlplane/client/shared.h"
#include "controlplane/controllers/controllers.h"
#include "controlplane/heartbeat.h"
#include "controlplane/scheduler/scheduler.h"
#include "lib/err.h"
#include "lib/str.h"

#define CONNS 32

struct roles {
	struct client *client;
	struct shared *shared;
	struct manager *manager;
	struct scheduler *scheduler;
	struct heartbeat *heartbeat;
};

unsigned roles_parse(const char *text)
{
	static const struct {
		const char *name;
		unsigned role;
	} names[] = { { "api", ROLE_API },
		      { "scheduler", ROLE_SCHEDULER },
		      { "controllers", ROLE_CONTROLLERS },
		      { "all", ROLE_ALL } };
	unsigned roles = 0;

	for (;;) {
		size_t len = strcspn(text, ","), i;

		for (i = 0; i < ARRAY_LEN(names); i++)
			if (strlen(names[i].name) == len &&
			    strncmp(names[i].name, text, len) == 0)
				break;
		if (i == ARRAY_LEN(names))
			return 0;
		roles |= names[i].role;
		text += len;
		if (!*text)
			return roles;
		text++;
	}
}

int roles_start(const struct roles_opts *opts, struct roles **ret,
		struct err *e)
{
	struct client_opts co = { .kubeconfig = opts->kubeconfig,
				  .text = opts->text,
				  .connect = opts->connect,
				  .connect_arg = opts->connect_arg,
				  .conns = CONNS };
	struct manager_opts mo = { .shard = opts->shard,
				   .shards = opts->shards,
				   .node_grace_ms = opts->node_grace_ms,
				   .pods_over_max = opts->pods_over_max,
				   .controllers = all_controllers };
	auto_ptr(roles) r = calloc(1, sizeof(*r));
	struct heartbeat_opts ho;
	int res;

	if (!r)
		return err_set(e, -ENOMEM, "out of memory");
	res = client_open(&co, &r->client, e);
	if (res == 0)
		res = shared_new(r->client, &r->shared, e);
	mo.shared = r->shared;
	if (res == 0 && (opts->roles & ROLE_CONTROLLERS))
		res = manager_new(&mo, &r->manager, e);
	if (res == 0 && (opts->roles & ROLE_SCHEDULER))
		res = scheduler_new(r->shared, NULL, &r->scheduler, e);
	if (res < 0)
		return res;
	shared_start(r->shared);
	ho = (struct heartbeat_opts){ .client = r->client,
				      .shared = r->shared,
				      .manager = r->manager,
				      .scheduler = r->scheduler != NULL,
				      .shard = opts->shard,
				      .shards = opts->shards };
	res = heartbeat_start(&ho, &r->heartbeat, e);
	if (res < 0)
		return res;
	*ret = take_ptr(r);
	return 0;
}

void roles_metrics(struct roles *r, struct buf *b)
{
	client_metrics(r->client, b);
	if (r->manager)
		manager_metrics(r->manager, b);
	if (r->scheduler)
		scheduler_metrics(r->scheduler, b);
}

void roles_stop(struct roles *r)
{
	if (!r)
		return;
	heartbeat_stop(r->heartbeat);
	if (r->manager)
		manager_stop(r->manager);
	if (r->scheduler)
		scheduler_stop(r->scheduler);
	shared_free(r->shared);
	manager_free(r->manager);
	scheduler_free(r->scheduler);
	client_close(r->client);
	free(r);
}

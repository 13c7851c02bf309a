/* SPDX-License-Identifier: Apache-2.0 */
/* The ledger behind quota.h: quota.c keeps it, quota_status.c tells it. */
#ifndef CONTROLPLANE_APISERVER_ADMISSION_QUOTA_LEDGER_H
#define CONTROLPLANE_APISERVER_ADMISSION_QUOTA_LEDGER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <yyjson.h>

#include "lib/map.h"

struct api;
struct err;
struct feed;
struct hold_item;
struct object_bytes;
struct store_watch;
struct type;

#define QUOTAS    "core/resourcequotas/"
#define TENANTS   "core/tenants///"
#define NAMES_MAX 64 /* resources of one quota */

struct quota {
	char *key;         /* of the object that says so */
	const char *name;  /* of it, in @key */
	char *tenant, *ns; /* @ns NULL: all of the tenant */
	yyjson_doc *doc;
	yyjson_val *spec;
	size_t nr;
	const char *names[NAMES_MAX]; /* in @doc */
	int64_t hard[NAMES_MAX], used[NAMES_MAX];
	struct feed *feeds;
	size_t nr_feeds;
	struct hold_item *holds;
	struct quota_ledger *ledger;
	atomic_bool dirty; /* status.used is to be written */
};

struct quota_ledger {
	struct api *api;
	pthread_mutex_t lock; /* everything below, but for waking */
	struct map quotas;    /* key -> struct quota */
	struct store_watch *objects, *tenants;
	pthread_t thread;
	pthread_mutex_t wake_lock;
	pthread_cond_t cond;
	bool wake, stop, running;
};

/* The quota that @o says, up to date. With the lock held. */
int quota_get(struct quota_ledger *l, const struct object_bytes *o,
	      const char *tenant, const char *ns, struct quota **ret,
	      struct err *e);
void quota_free(void *quota);
/* Wake the thread that writes what is used. */
void quota_wake(struct quota_ledger *l);

#endif /* CONTROLPLANE_APISERVER_ADMISSION_QUOTA_LEDGER_H */

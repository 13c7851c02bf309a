/* SPDX-License-Identifier: Apache-2.0 */
/* What the thread knows of one APIService (follow.c), and how it asks the
 * server (probe.c). */
#ifndef CONTROLPLANE_APISERVER_AGGREGATOR_FOLLOW_H
#define CONTROLPLANE_APISERVER_AGGREGATOR_FOLLOW_H

#include "controlplane/apiserver/aggregator/internal.h"

struct store_watch;
struct wish;

struct follower {
	struct aggregator *a;
	struct ev *loop;
	pthread_t thread;
	bool running;
	pthread_mutex_t lock; /* @wishes */
	struct wish *wishes;  /* of requests: look at that one */
	atomic_bool posted;
	struct store_watch *watch, *config;
	struct map all; /* struct followed by key */
	size_t nr_probes;
};

enum probe_step { PROBE_RESOURCES, PROBE_V3, PROBE_V2 };

struct followed {
	struct follower *follower;
	char *key, *tenant, *name;
	bool extra; /* more than the tenant may have */

	yyjson_doc *spec;
	char *group, *version;
	int group_priority, version_priority;
	bool proxied; /* to be asked at all */
	struct store_watch *service, *endpoints;
	struct place place;
	SSL_CTX *tls;
	int64_t tls_s;

	struct ev_timer timer; /* to the next look */
	bool again;            /* something changed while it was asked */
	bool due;              /* to be asked as soon as that may be */
	size_t at;             /* of its addresses */
	enum probe_step step;
	struct fetch fetch;
	struct err probe_err;
	unsigned int failures, looks;

	struct ext_docs *docs;  /* as they are published */
	struct ext_docs *fresh; /* being put together */
	uint64_t resources_hash;

	bool available;
	char reason[REASON_MAX];
	char message[512];
};

/* Ask the server at w->at; follow_done() is told. */
void probe_start(struct followed *w);
void follow_done(struct followed *w, int result);
void follow_start_some(struct follower *f);

#endif /* CONTROLPLANE_APISERVER_AGGREGATOR_FOLLOW_H */

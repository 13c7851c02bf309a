/* SPDX-License-Identifier: Apache-2.0 */
/* Images that pods wait for: pulled in the background, each once. */
#ifndef AGENT_PULLER_H
#define AGENT_PULLER_H

#include <stdbool.h>
#include <stdint.h>

#include "agent/spec.h"

struct agent;
struct err;
struct image;
struct payload_volume;
struct puller;

int puller_new(struct agent *a, struct puller **ret, struct err *e);
void puller_free(struct puller *p);
struct pull_ask {
	const char *ref;
	enum pull_policy policy;
	bool vm;
	const char *key; /* of the pod */
	/* It has imagePullSecrets: what they hold, a file each; NULL: they are
	 * not here yet, and nothing is pulled without them. */
	bool with_secrets;
	const struct payload_volume *secrets;
};

/**
 * puller_want() - Ask for an image.
 * @ret: Set, with a reference, when it is here.
 * Return: 1 here; 0 being pulled, the pod's key is added to the queue when that
 * ends; <0 failed, @reason and @e tell why, ask again after @ret_retry_ms.
 */
int puller_want(struct puller *p, const struct pull_ask *ask,
		struct image **ret, const char **ret_reason,
		uint64_t *ret_retry_ms, struct err *e);

#endif /* AGENT_PULLER_H */

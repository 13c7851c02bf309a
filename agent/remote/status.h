/* SPDX-License-Identifier: Apache-2.0 */
/* From a pod's state here to the change of its status in the API. Pure. */
#ifndef AGENT_REMOTE_STATUS_H
#define AGENT_REMOTE_STATUS_H

#include <stdint.h>
#include <yyjson.h>

struct buf;
struct err;

struct status_facts {
	const char *host_ip;
	int64_t now_us;
	const char *not_taken; /* why an update was refused; NULL: it was not */
};

/**
 * status_patch() - What to change in the API.
 * @api:   The pod as the API has it.
 * @here:  The pod as it is here (agent/render.c).
 * @facts: Borrowed.
 * @patch: Appended: a strategic merge patch with only what differs, bound to
 *         the pod's uid.
 *
 * A status never goes back: a phase that is final stays, restarts never become
 * fewer, startTime stays what it was. Conditions keep the time of their last
 * transition while their status stays, and those of others are left alone.
 *
 * Return: 1 there is something to change; 0 there is not; -ENOMEM.
 */
int status_patch(yyjson_val *api, yyjson_val *here,
		 const struct status_facts *facts, struct buf *patch);

/* The same for a pod that cannot be run here: Pending, and why. */
int status_patch_refused(yyjson_val *api, const char *reason,
			 const char *message, const struct status_facts *facts,
			 struct buf *patch);

/* Seconds since 1970 of an RFC 3339 time; -1: it is none. */
int64_t status_time(const char *text);

#endif /* AGENT_REMOTE_STATUS_H */

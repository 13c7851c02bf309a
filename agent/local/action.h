/* SPDX-License-Identifier: Apache-2.0 */
/* What struct api_backend.pod_action is asked, and answers. */
#ifndef AGENT_LOCAL_ACTION_H
#define AGENT_LOCAL_ACTION_H

#include "agent/local/api.h"

/* On a VM. "reboot"; "snapshot" (a name is found when none is given), "restore"
 * and "deleteSnapshot", of @snapshot. */
struct api_action {
	struct api_pod_id pod;
	const char *operation;
	const char *snapshot; /* NULL: none is given */
	uint32_t delay_s;     /* before it is begun */
	uint32_t timeout_ms;  /* wait so long for its end */
	const atomic_bool *cancel;
};

/* The call returns 0 for every state; -errno: it was not even tried. */
enum api_action_state {
	API_ACTION_DONE,
	API_ACTION_IN_PROGRESS, /* the timeout is over; it goes on */
	API_ACTION_FAILED,      /* @why */
};

struct api_action_result {
	enum api_action_state state;
	char snapshot[64]; /* "" when it is about none */
	uint32_t took_ms;
	char why[256];
};

#endif /* AGENT_LOCAL_ACTION_H */

// SPDX-License-Identifier: Apache-2.0
/* What pods have of the API server, ConfigMaps, Secrets, tokens, and do not
 * have yet: why their containers wait. */
#include <stdio.h>

#include "agent/events.h"
#include "agent/internal.h"
#include "agent/payload.h"
#include "lib/str.h"

#define RETRY_MS      30000 /* beside: whenever content arrives */
#define REASON_CONFIG "CreateContainerConfigError"
#define REASON_ALONE  "ControlPlaneNotJoined"

void content_awaited(struct pod *pod)
{
	bool alone = !agent_remote(pod->agent);

	for (size_t i = 0; i < pod->nr_ctrs; i++) {
		struct ctr *c = &pod->ctrs[i];

		/* What is wrong with an image is told first. */
		if (c->phase == CTR_RUNNING ||
		    (!c->image && !c->started_once) ||
		    (!alone && !str_eq(c->reason, REASON_ALONE)))
			continue;
		snprintf(c->reason, sizeof(c->reason), "%s",
			 alone ? REASON_ALONE : ctr_waiting_reason(pod));
		snprintf(c->message, sizeof(c->message), "%s",
			 alone ? "waits for the control plane (token, "
				 "ConfigMaps, Secrets of its volumes and "
				 "environment): this node is not joined"
			       : "");
	}
}

int content_env_waits(struct pod *pod, struct ctr *c, struct err *e)
{
	int r = payload_env_lacks(pod, c, c->message, sizeof(c->message), e);

	if (r != 1)
		return r;
	snprintf(c->reason, sizeof(c->reason), REASON_CONFIG);
	event_add(pod, true, "Failed", "Error: %s", c->message);
	c->not_before_ms = ev_clock_ms() + RETRY_MS;
	return 1;
}

void content_arrived(struct pod *pod)
{
	for (size_t i = 0; i < pod->nr_ctrs; i++) {
		struct ctr *c = &pod->ctrs[i];

		if (str_eq(c->reason, REASON_CONFIG))
			c->not_before_ms = 0;
		else if (str_eq(c->reason, REASON_ALONE))
			c->reason[0] = c->message[0] = '\0';
	}
}

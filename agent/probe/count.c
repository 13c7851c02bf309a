// SPDX-License-Identifier: Apache-2.0
#include "agent/probe/internal.h"

void probe_count_init(struct probe_count *c, enum probe_type type,
		      const struct probe_spec *spec)
{
	*c = (struct probe_count){
		.success_threshold = spec->success_threshold,
		.failure_threshold = spec->failure_threshold,
		.state = PROBE_UNKNOWN,
	};
	if (type == PROBE_LIVENESS)
		c->state = PROBE_GOOD;
	if (type == PROBE_READINESS)
		c->state = PROBE_BAD;
}

bool probe_count_note(struct probe_count *c, bool success)
{
	int state = success ? PROBE_GOOD : PROBE_BAD;

	if (c->run && c->last == success) {
		if (c->run < UINT32_MAX)
			c->run++;
	} else {
		c->last = success;
		c->run = 1;
	}
	if (c->run < (success ? c->success_threshold : c->failure_threshold) ||
	    (int)c->state == state)
		return false;
	c->state = state;
	return true;
}

const char *probe_type_name(enum probe_type type)
{
	switch (type) {
	case PROBE_LIVENESS:
		return "Liveness";
	case PROBE_READINESS:
		return "Readiness";
	case PROBE_STARTUP:
		return "Startup";
	}
	return "?";
}

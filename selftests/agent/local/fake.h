/* SPDX-License-Identifier: Apache-2.0 */
/* A backend without pods, for tests of the API's framing, limits and input. */
#ifndef SELFTESTS_AGENT_LOCAL_FAKE_H
#define SELFTESTS_AGENT_LOCAL_FAKE_H

#include <stdatomic.h>

#include "agent/local/api.h"

struct fake {
	atomic_int cancelled;  /* times a long call saw its cancel flag */
	atomic_int closed;     /* sessions */
	atomic_int log_broken; /* log calls that got EPIPE */
	char last_apply[4096];
	struct api_resize last_resize;
	char last_container[64];
	int64_t last_grace;
};

extern const struct api_backend fake_backend;

#endif /* SELFTESTS_AGENT_LOCAL_FAKE_H */

/* SPDX-License-Identifier: Apache-2.0 */
/* A part of spec.h: what is asked of a container while it runs. */
#ifndef AGENT_SPEC_PROBE_H
#define AGENT_SPEC_PROBE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A list of strings; NULL-terminated when v is not NULL. */
struct strv {
	char **v;
	size_t nr;
};

struct key_value {
	char *key;
	char *value;
};

struct key_values {
	struct key_value *v;
	size_t nr;
};

enum probe_kind { PROBE_NONE, PROBE_EXEC, PROBE_HTTP, PROBE_TCP, PROBE_GRPC };

struct probe_spec {
	enum probe_kind kind;
	struct strv exec;           /* PROBE_EXEC: command */
	uint16_t port;              /* all but PROBE_EXEC */
	char *host;                 /* NULL: the pod's address */
	char *path;                 /* PROBE_HTTP */
	char *service;              /* PROBE_GRPC; NULL: the server's whole */
	bool https;                 /* PROBE_HTTP; no certificate is checked */
	struct key_values headers;  /* PROBE_HTTP */
	uint32_t initial_delay_s;   /* 0 */
	uint32_t period_s;          /* 10 */
	uint32_t timeout_s;         /* 1 */
	uint32_t success_threshold; /* 1 */
	uint32_t failure_threshold; /* 3 */
	uint32_t termination_grace_s; /* 0: the pod's */
};

/* One of lifecycle's: runs .run once (its thresholds and times mean nothing),
 * or waits for so long. */
struct hook_spec {
	struct probe_spec run; /* PROBE_NONE: none, or sleep */
	bool sleep;
	uint32_t sleep_s;
};

#endif /* AGENT_SPEC_PROBE_H */

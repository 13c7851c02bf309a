/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTROLPLANE_APISERVER_METRICS_INTERNAL_H
#define CONTROLPLANE_APISERVER_METRICS_INTERNAL_H

#include "controlplane/apiserver/metrics.h"
#include "lib/map.h"

#define SERIES_MAX 2048 /* of a thread; more are counted as one */
#define SLOTS      (2 * SERIES_MAX)
#define CUSTOM_MAX 256 /* custom types with a name */
#define CODES_MAX  24  /* of a series */

extern const struct prom_bounds metrics_seconds, metrics_bytes;

struct series_key {
	const void *type; /* identity: of a built-in type, or a name's */
	uint8_t verb, scope, sub, dry_run;
};

struct series {
	struct series_key key;
	char *labels; /* without dry_run and code */
	char *kind;   /* labels of watch_events_total */
	bool dry_run, long_running;
	bool sized; /* how long answers are is of interest: as in Kubernetes */
	struct prom_histogram seconds, bytes;
	prom_counter open, events;
	atomic_uint nr_codes;
	struct {
		int code;
		prom_counter nr;
	} codes[CODES_MAX];
};

struct metrics {
	_Atomic(struct series *) slots[SLOTS];
	size_t nr;
	struct series *rest;           /* once there are too many */
	struct map customs;            /* "group/version/plural" */
	prom_counter reading, writing; /* requests under way */
	prom_counter handshakes_failed, known, unknown;
};

#endif /* CONTROLPLANE_APISERVER_METRICS_INTERNAL_H */

/* SPDX-License-Identifier: Apache-2.0 */
/* What a node says its pods use: kubelet's /stats/summary, cut down to what
 * metrics.k8s.io tells. */
#ifndef CONTROLPLANE_APISERVER_USAGE_REPORT_H
#define CONTROLPLANE_APISERVER_USAGE_REPORT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/auto.h"
#include "lib/buf.h"

struct err;

#define USAGE_REPORT_MAX     ((size_t)8 << 20) /* bytes of a summary */
#define USAGE_CONTAINERS_MAX 65536
#define USAGE_TIME_LEN       20 /* "2006-01-02T15:04:05Z" */

struct usage {
	uint64_t cpu_nano, mem_bytes;
	uint32_t window_ms;
	char time[USAGE_TIME_LEN + 1]; /* "": not known */
};

struct usage_container {
	uint32_t name; /* offset in the report's text */
	struct usage usage;
};

struct usage_pod {
	uint32_t uid;       /* likewise */
	uint32_t first, nr; /* of the report's containers */
};

/* Shared, and never changed once it is there. */
struct usage_report {
	atomic_uint refs;
	uint64_t taken_ms; /* CLOCK_MONOTONIC */
	struct usage node;
	struct usage_pod *pods; /* ordered by uid */
	size_t nr_pods;
	struct usage_container *containers;
	size_t nr_containers;
	struct buf text;
};

/* One without figures: the node did not answer. NULL: out of memory. */
struct usage_report *usage_report_new(void);
struct usage_report *usage_report_ref(struct usage_report *r);
void usage_report_unref(struct usage_report *r); /* NULL is fine */
DEFINE_AUTO_PTR(usage_report, usage_report_unref)

/**
 * usage_report_parse() - Read a summary.
 * @text: JSON of a node, which may say anything.
 * @len:  Its length.
 * @ret:  The report, with one reference.
 * @e:    Filled on error.
 *
 * A container without CPU rate, memory and time is left out, and so is a pod
 * without containers.
 *
 * Return: 0, -EBADMSG (not a summary), -E2BIG, -ENOMEM.
 */
int usage_report_parse(const char *text, size_t len, struct usage_report **ret,
		       struct err *e);

/* The pod's; NULL: not told. Borrowed. */
const struct usage_pod *usage_report_pod(const struct usage_report *r,
					 const char *uid);

#endif /* CONTROLPLANE_APISERVER_USAGE_REPORT_H */

/* SPDX-License-Identifier: Apache-2.0 */
/* What the CLI shows of a pod, from its JSON. */
#ifndef AGENT_LOCAL_VIEW_H
#define AGENT_LOCAL_VIEW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/spec.h"
#include "lib/json.h"

struct buf;

#define VIEW_TEXT 64

struct pod_view {
	const char *tenant, *namespace, *name, *ip, *image; /* borrowed */
	bool vm;
	char state[VIEW_TEXT]; /* "Running", "CrashLoopBackOff" */
	char ready[VIEW_TEXT]; /* "1/1" */
	char age[VIEW_TEXT];
	uint64_t restarts;
	/* Limits of all containers together; a request where there is none. */
	struct quantity_set desired, allocated, actual;
};

/* Never fails: what is not there is shown as nothing. */
void pod_view(const struct json_ref *pod, struct pod_view *ret);

/* "500m", or "500m -> 2" while a resize is under way; "" if unlimited. */
void pod_view_cpu(const struct pod_view *v, char *buf, size_t size);
void pod_view_mem(const struct pod_view *v, char *buf, size_t size);
/* "2/2/500m": desired, allocated, actual; "-" for none. */
void pod_view_cpu_all(const struct pod_view *v, char *buf, size_t size);
void pod_view_mem_all(const struct pod_view *v, char *buf, size_t size);

/* A quantity as text, "-" when there is none. */
void set_cpu_text(const struct quantity_set *s, char *buf, size_t size);
void set_mem_text(const struct quantity_set *s, char *buf, size_t size);

/* Read {"cpu":"500m","memory":"64Mi"}. */
void set_read(const struct json_ref *of, struct quantity_set *ret);

/* The age of an RFC 3339 time, as kubectl prints it; "" if it is none. */
void view_age(const char *time, char *buf, size_t size);

/* Follow field names, separated by '.', from @from; its string, or "". The way
 * is not kept, so there are no paths in errors. */
const char *view_str(const struct json_ref *from, const char *path);
uint64_t view_u64(const struct json_ref *from, const char *path);
struct json_ref view_get(const struct json_ref *from, const char *path);

#endif /* AGENT_LOCAL_VIEW_H */

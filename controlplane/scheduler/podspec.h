/* SPDX-License-Identifier: Apache-2.0 */
/* What a pod asks of a node, in numbers. */
#ifndef CONTROLPLANE_SCHEDULER_PODSPEC_H
#define CONTROLPLANE_SCHEDULER_PODSPEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <yyjson.h>

struct buf;

#define POD_EXT_MAX   8  /* different extended resources of a pod */
#define POD_PORTS_MAX 32 /* host ports of a pod */

struct ask_ext {
	uint32_t name; /* hash of the resource's name */
	int64_t amount;
};

struct ask {
	int64_t cpu_milli, mem_bytes, eph_bytes;
	/* For scores: pods that ask for nothing count a little, too. */
	int64_t cpu_score, mem_score;
	struct ask_ext ext[POD_EXT_MAX];
	unsigned nr_ext;
	uint32_t ports[POD_PORTS_MAX]; /* port, and 1 << 16 for UDP, 2 SCTP */
	unsigned nr_ports;
};

/* Requests of all containers or of the VM, each the largest of what is wanted,
 * what the node has accepted and what it really has; init containers count
 * while they are more; and the overhead. */
void ask_read(yyjson_val *pod, struct ask *ret);

/* Amounts of a ResourceList; unknown or malformed: 0. */
int64_t amount_cpu(yyjson_val *list);
int64_t amount_bytes(yyjson_val *list, const char *name);

/* Everything a decision depends on, as JSON (nodeSelector, tolerations,
 * affinity, ext, vm, ...): pods of one text are decided alike. */
void ask_signature(yyjson_val *pod, const struct ask *a, struct buf *b);

uint32_t ask_ext_name(const char *resource);
/* Is it one of ours to count: not cpu, memory, storage, pods? */
bool ask_is_ext(const char *resource);

#endif /* CONTROLPLANE_SCHEDULER_PODSPEC_H */

/* SPDX-License-Identifier: Apache-2.0 */
/* What a pod runs: containers or a VM, behind one table of functions. */
#ifndef AGENT_PAYLOAD_H
#define AGENT_PAYLOAD_H

#include "agent/container/container.h"
#include "agent/internal.h"

struct payload_ops {
	const char *kind;
	/* Start container @i. 0; -EREMOTEIO: it cannot run, the container's
	 * exit is filled in; other: try again later. */
	int (*start)(struct pod *pod, size_t i, struct err *e);
	/* Ask it to end; it is forced after its grace period. */
	int (*stop)(struct pod *pod, size_t i, struct err *e);
	int (*kill)(struct pod *pod, size_t i, struct err *e);
	/* Bring what it has to what was allocated. 0 done; -EINPROGRESS; other:
	 * failed, to be tried again. Fills res.actual. */
	int (*resize)(struct pod *pod, size_t i, struct err *e);
	/* Open the handles of one that runs already. */
	int (*adopt)(struct pod *pod, size_t i, struct err *e);
	/* Look: refresh what is known of running ones. */
	int (*observe)(struct pod *pod, uint64_t *wake_ms, struct err *e);
};

extern const struct payload_ops payload_container;
extern const struct payload_ops payload_vm;

/* payload.c: shared by both */
int payload_sandbox_up(struct pod *pod, struct err *e);
int payload_sandbox_down(struct pod *pod, struct err *e);
int payload_adopt(struct pod *pod, struct err *e);
int payload_observe_sandbox(struct pod *pod, struct err *e);
int payload_cgroups_up(struct pod *pod, struct err *e);
int payload_cgroups_down(struct pod *pod, struct err *e);
int payload_write_limits(struct pod *pod, size_t i, struct err *e);
int payload_read_back(struct pod *pod, size_t i, struct err *e);
int pod_write_limits(struct pod *pod, struct err *e);
struct resources pod_allocated_total(const struct pod *pod);
uint32_t pod_first_uid(const struct pod *pod);
bool pod_has_userns(const struct pod *pod);
/* For struct volume_dirs: 0, or whose its volumes in memory have to be. */
uint32_t pod_memory_ids(const struct pod *pod);
void payload_start_failed(struct ctr *c, const char *reason, int code,
			  const char *message);
char *payload_log_path(const struct pod *pod, const struct ctr *c);
struct log_limits payload_log_limits(const struct pod *pod);
int ctr_cgroup_open(struct pod *pod, struct ctr *c, struct err *e);

/* payload_container.c: 1: a ConfigMap or Secret that its environment needs is
 * not there, @why says which; 0; -errno. */
int payload_env_lacks(const struct pod *pod, const struct ctr *c, char *why,
		      size_t size, struct err *e);

/* payload_vm.c */
#define QEMU_TAP_FD 3 /* the first descriptor a host process is given */
struct vm_size;
struct vm_size vm_wanted_size(const struct pod *pod); /* of what is allocated */
uint64_t vm_pod_overhead(const struct pod *pod);

#endif /* AGENT_PAYLOAD_H */

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lifecycle of containers: postStart, preStop. A hook is run by the prober, as
 * a probe that is made once; nothing waits for it but the plan.
 *
 * As with kubelet: a container is not ready before its postStart is over, and
 * is killed when that fails; it is asked to end when its preStop is over,
 * however that went, and killed at the end of its grace in any case.
 */
#ifndef AGENT_HOOKS_H
#define AGENT_HOOKS_H

#include <stdbool.h>
#include <stddef.h>

struct pod;
struct probe_result;

/* By the pod's worker. Is there one? Then it has begun. */
bool hooks_post_start(struct pod *pod, size_t i);
bool hooks_pre_stop(struct pod *pod, size_t i);
void hooks_stop(struct pod *pod, size_t i);
/* What has come of them since. */
void hooks_take(struct pod *pod, size_t i);

/* From any thread: was that a hook's? */
bool hooks_result(struct pod *pod, const struct probe_result *r);

#endif /* AGENT_HOOKS_H */

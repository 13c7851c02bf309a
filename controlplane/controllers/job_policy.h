/* SPDX-License-Identifier: Apache-2.0 */
/* What a job's policies say: of the failure of a pod, and of enough success. */
#ifndef CONTROLPLANE_CONTROLLERS_JOB_POLICY_H
#define CONTROLPLANE_CONTROLLERS_JOB_POLICY_H

#include <yyjson.h>

struct index_set;

enum job_failure {
	JOB_FAILURE_COUNTS,
	JOB_FAILURE_IGNORED,
	JOB_FAILURE_OF_INDEX, /* no further try of this index */
	JOB_FAILURE_OF_JOB,
};

/**
 * job_failure() - What the failure of a pod means.
 * @policy: spec.podFailurePolicy, or NULL. Borrowed, as is
 * @pod:    a pod in phase Failed.
 * @why:    Of JOB_FAILURE_OF_JOB: filled with what to tell people.
 * @size:   Its size in bytes.
 *
 * The first rule that fits decides; none: it counts.
 */
enum job_failure job_failure(yyjson_val *policy, yyjson_val *pod, char *why,
			     size_t size);

/* The first rule of spec.successPolicy (NULL: there is none) that indexes
 * @done fulfil; -1: not yet. -ENOMEM is -1, too: it is asked again. */
int job_success_rule(yyjson_val *policy, const struct index_set *done);

#endif /* CONTROLPLANE_CONTROLLERS_JOB_POLICY_H */

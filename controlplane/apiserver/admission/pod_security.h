/* SPDX-License-Identifier: Apache-2.0 */
/* The Pod Security Standards, as of Kubernetes 1.32: pure checks of a pod. */
#ifndef CONTROLPLANE_APISERVER_ADMISSION_POD_SECURITY_H
#define CONTROLPLANE_APISERVER_ADMISSION_POD_SECURITY_H

#include <stdbool.h>
#include <yyjson.h>

#include "lib/buf.h"

enum pod_level { POD_PRIVILEGED, POD_BASELINE, POD_RESTRICTED };

/* What speaks against a pod; both empty: nothing. */
struct pod_verdict {
	struct buf reasons; /* "privileged, hostPort" */
	struct buf details; /* the same, each with "(container ...)" */
};

/* @pod: a pod, or a template: its metadata and spec are looked at. */
void pod_security_check(yyjson_mut_val *pod, enum pod_level level,
			struct pod_verdict *ret);
void pod_verdict_clear(struct pod_verdict *v);

#endif /* CONTROLPLANE_APISERVER_ADMISSION_POD_SECURITY_H */

/* SPDX-License-Identifier: Apache-2.0 */
/* The table of all controllers. */
#ifndef CONTROLPLANE_CONTROLLERS_CONTROLLERS_H
#define CONTROLPLANE_CONTROLLERS_CONTROLLERS_H

#include "controlplane/controllers/framework.h"

/* NULL-terminated. */
extern const struct controller *const all_controllers[];

extern const struct controller gc_controller;
extern const struct controller deployment_controller;
extern const struct controller replicaset_controller;
extern const struct controller rc_controller;
extern const struct controller job_controller;
extern const struct controller nodelifecycle_controller;
extern const struct controller podgc_controller;
extern const struct controller vmpower_controller;
extern const struct controller daemonset_controller;
extern const struct controller cronjob_controller;
extern const struct controller statefulset_controller;
extern const struct controller endpoints_controller;
extern const struct controller disruption_controller;
extern const struct controller network_controller;

#endif /* CONTROLPLANE_CONTROLLERS_CONTROLLERS_H */

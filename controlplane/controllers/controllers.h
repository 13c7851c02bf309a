/* SPDX-License-Identifier: Apache-2.0 */
/* The table of all controllers. */
#ifndef CONTROLPLANE_CONTROLLERS_CONTROLLERS_H
#define CONTROLPLANE_CONTROLLERS_CONTROLLERS_H

#include "controlplane/controllers/framework.h"

/* NULL-terminated. */
extern const struct controller *const all_controllers[];

extern const struct controller replicaset_controller, rc_controller,
	deployment_controller, gc_controller;

#endif /* CONTROLPLANE_CONTROLLERS_CONTROLLERS_H */

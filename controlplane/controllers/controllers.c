// SPDX-License-Identifier: Apache-2.0
#include "controlplane/controllers/controllers.h"

const struct controller *const all_controllers[] = {
	&gc_controller,
	&deployment_controller,
	&replicaset_controller,
	&rc_controller,
	&daemonset_controller,
	&statefulset_controller,
	&job_controller,
	&cronjob_controller,
	&nodelifecycle_controller,
	&podgc_controller,
	&vmpower_controller,
	&endpoints_controller,
	&disruption_controller,
	&network_controller,
	NULL,
};

// SPDX-License-Identifier: Apache-2.0
/* What only the pod as a whole can tell: its containers beside each other. */
#include <errno.h>

#include "agent/spec_fields.h"
#include "lib/err.h"

int spec_check_workload(struct spec_ctx *c, const struct pod_spec *pod)
{
	int r;

	if (pod->vm && (pod->nr_containers || pod->nr_init))
		return spec_fail(c, -EINVAL,
				 "has both containers and virtualMachine; a "
				 "pod is one or the other");
	if (!pod->vm && !pod->nr_containers)
		return spec_fail(c, -EINVAL,
				 "needs containers or virtualMachine");
	for (size_t i = 0; i < pod->nr_init + pod->nr_containers; i++) {
		bool init = i < pod->nr_init;
		const struct container_spec *ctr =
			init ? &pod->init[i]
			     : &pod->containers[i - pod->nr_init];
		size_t mark =
			spec_push(c, init ? "initContainers" : "containers");

		(void)spec_push_index(c, init ? i : i - pod->nr_init);
		if (pod_spec_container(pod, ctr->name) != ctr)
			return spec_fail_at(c, "name",
					    "'%s' is used twice in the pod",
					    ctr->name);
		if (init && (ctr->liveness.kind || ctr->readiness.kind ||
			     ctr->startup.kind))
			return spec_fail(c, -EINVAL,
					 "init containers have no probes");
		if (init &&
		    (ctr->post_start.run.kind || ctr->post_start.sleep ||
		     ctr->pre_stop.run.kind || ctr->pre_stop.sleep))
			return spec_fail_at(c, "lifecycle",
					    "init containers have none");
		if (pod->restart == RESTART_NEVER &&
		    (ctr->resize.cpu_restart || ctr->resize.mem_restart))
			return spec_fail_at(
				c, "resizePolicy",
				"RestartContainer contradicts the pod's "
				"restartPolicy Never");
		r = spec_check_mounts(c, pod, ctr->mounts, ctr->nr_mounts);
		if (r < 0)
			return r;
		spec_pop(c, mark);
	}
	return 0;
}

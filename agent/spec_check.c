// SPDX-License-Identifier: Apache-2.0
/* What only the pod as a whole can tell: its containers beside each other. */
#include <errno.h>
#include <stdlib.h>

#include "agent/ports.h"
#include "agent/spec_fields.h"
#include "lib/err.h"
#include "lib/str.h"

/* As the API server does: a port once, and as it is where it is the host's. */
static int check_ports(struct spec_ctx *c, const struct pod_spec *pod)
{
	struct network_port *v;
	char name[LEASE_PORT_TEXT];
	int r = 0;
	size_t nr;

	if (ports_of(pod, &v, &nr) < 0)
		return spec_fail(c, -ENOMEM, "out of memory");
	if (nr > NETWORK_PORTS_MAX)
		r = spec_fail(c, -E2BIG, "has %zu hostPorts, at most %d", nr,
			      NETWORK_PORTS_MAX);
	for (size_t i = 0; r == 0 && i < nr; i++) {
		if (pod->host_network && v[i].port != v[i].host_port)
			r = spec_fail(c, -EINVAL,
				      "hostPort %s must be the containerPort, "
				      "%u: the pod is on the host's network",
				      network_port_format(&v[i], name),
				      v[i].port);
		for (size_t k = 0; r == 0 && k < i; k++)
			if (network_ports_collide(&v[i], &v[k]))
				r = spec_fail(c, -EINVAL,
					      "hostPort %s is used twice in "
					      "the pod",
					      network_port_format(&v[i], name));
	}
	free(v);
	return r;
}

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
		if (!init && ctr->sidecar)
			return spec_fail_at(c, "restartPolicy",
					    "is for init containers, which "
					    "become sidecars by it");
		if (init && !ctr->sidecar &&
		    (ctr->liveness.kind || ctr->readiness.kind ||
		     ctr->startup.kind))
			return spec_fail(c, -EINVAL,
					 "init containers have no probes, "
					 "unless their restartPolicy is Always");
		if (init && !ctr->sidecar &&
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
	for (size_t i = 0; i < pod->sysctls.nr; i++) {
		bool net = str_starts(pod->sysctls.v[i].key, "net.");

		if (net ? pod->host_network : pod->host_ipc)
			return spec_fail_at(c, "securityContext",
					    "sysctl '%.64s' would be the "
					    "host's: the pod has %s",
					    pod->sysctls.v[i].key,
					    net ? "hostNetwork" : "hostIPC");
	}
	if (pod->dns.none && !pod->dns.nameservers.nr)
		return spec_fail_at(c, "dnsConfig",
				    "must give a nameserver when dnsPolicy is "
				    "None");
	return check_ports(c, pod);
}

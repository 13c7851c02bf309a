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
	if (nr > NETWORK_PORTS_MAX) {
		free(v);
		return spec_fail(c, -E2BIG, "has %zu hostPorts, at most %d", nr,
				 NETWORK_PORTS_MAX);
	}
	for (size_t i = 0; i < nr; i++) {
		if (pod->host_network && v[i].port &&
		    v[i].port != v[i].host_port)
			spec_fault(c, &r, NULL,
				   "hostPort %s must be the containerPort, %u: "
				   "the pod is on the host's network",
				   network_port_format(&v[i], name), v[i].port);
		for (size_t k = 0; k < i; k++)
			if (network_ports_collide(&v[i], &v[k])) {
				spec_fault(c, &r, NULL,
					   "hostPort %s is used twice in the "
					   "pod",
					   network_port_format(&v[i], name));
				break;
			}
	}
	free(v);
	return r;
}

/* One container beside the others; at it. */
static int check_container(struct spec_ctx *c, const struct pod_spec *pod,
			   const struct container_spec *ctr, bool init)
{
	bool once = init && !ctr->sidecar;
	int r = 0, mounts;

	if (ctr->name && pod_spec_container(pod, ctr->name) != ctr)
		spec_fault(c, &r, "name", "'%.80s' is used twice in the pod",
			   ctr->name);
	if (!init && ctr->sidecar)
		spec_fault(c, &r, "restartPolicy",
			   "is for init containers, which become sidecars by "
			   "it");
	if (once &&
	    (ctr->liveness.kind || ctr->readiness.kind || ctr->startup.kind))
		spec_fault(c, &r, NULL,
			   "init containers have no probes, unless their "
			   "restartPolicy is Always");
	if (once && (ctr->post_start.run.kind || ctr->post_start.sleep ||
		     ctr->pre_stop.run.kind || ctr->pre_stop.sleep))
		spec_fault(c, &r, "lifecycle", "init containers have none");
	if (pod->restart == RESTART_NEVER &&
	    (ctr->resize.cpu_restart || ctr->resize.mem_restart))
		spec_fault(c, &r, "resizePolicy",
			   "RestartContainer contradicts the pod's "
			   "restartPolicy Never");
	if (c->standalone && ctr->env_from_api)
		spec_fault(c, &r, "env",
			   "ConfigMaps and Secrets are in the API server: "
			   "create the pod there, with kubectl");
	mounts = spec_check_mounts(c, pod, ctr->mounts, ctr->nr_mounts);
	return r ? r : mounts;
}

/* What only agent/remote can fill. */
static void check_volumes(struct spec_ctx *c, const struct pod_spec *pod,
			  int *first)
{
	for (size_t i = 0; c->standalone && i < pod->nr_volumes; i++) {
		size_t mark = spec_push(c, "volumes");

		(void)spec_push_index(c, i);
		if (pod->volumes[i].kind == VOLUME_PAYLOAD)
			spec_fault(c, first, NULL,
				   "configMap, secret, downwardAPI and "
				   "projected volumes are for pods of the API "
				   "server: create it there, with kubectl");
		spec_pop(c, mark);
	}
}

int spec_check_workload(struct spec_ctx *c, const struct pod_spec *pod)
{
	int r, first = 0;

	if (pod->vm && (pod->nr_containers || pod->nr_init))
		spec_fault(c, &first, NULL,
			   "has both containers and virtualMachine; a pod is "
			   "one or the other");
	if (!pod->vm && !pod->nr_containers && !spec_faulty(c, "containers") &&
	    !spec_faulty(c, "virtualMachine"))
		spec_fault(c, &first, NULL,
			   "needs containers or virtualMachine");
	check_volumes(c, pod, &first);
	for (size_t i = 0; i < pod->nr_init + pod->nr_containers; i++) {
		bool init = i < pod->nr_init;
		const struct container_spec *ctr =
			init ? &pod->init[i]
			     : &pod->containers[i - pod->nr_init];
		size_t mark =
			spec_push(c, init ? "initContainers" : "containers");

		(void)spec_push_index(c, init ? i : i - pod->nr_init);
		r = check_container(c, pod, ctr, init);
		spec_note(c, mark, r, &first);
	}
	for (size_t i = 0; i < pod->sysctls.nr; i++) {
		const char *key = pod->sysctls.v[i].key;
		bool net = key && str_starts(key, "net.");

		if (key && (net ? pod->host_network : pod->host_ipc))
			spec_fault(c, &first, "securityContext",
				   "sysctl '%.64s' would be the host's: the "
				   "pod has %s",
				   key, net ? "hostNetwork" : "hostIPC");
	}
	if (pod->dns.none && !pod->dns.nameservers.nr &&
	    !spec_faulty(c, "dnsConfig"))
		spec_fault(c, &first, "dnsConfig",
			   "must give a nameserver when dnsPolicy is None");
	r = check_ports(c, pod);
	spec_note(c, c->len, r, &first);
	return first;
}

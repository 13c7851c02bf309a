// SPDX-License-Identifier: Apache-2.0
/* A pod's endpoint: attached, repaired, detached. */
#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent/attach.h"
#include "agent/events.h"
#include "agent/internal.h"
#include "agent/network/repair.h"
#include "agent/payload.h"
#include "agent/ports.h"
#include "lib/auto.h"
#include "lib/err.h"
#include "lib/log.h"

/* The tap of a VM that runs is in its QEMU: made anew on the descriptor there,
 * neither QEMU nor the guest has to do anything. */
static int revive_tap(struct pod *pod, struct err *e)
{
	int pid = pod->ctrs[0].pid;
	auto_close int pidfd = -EBADF;
	auto_close int fd = -EBADF;

	if (!pod->spec->vm || pod->ctrs[0].phase != CTR_RUNNING || pid <= 0)
		return 0;
	pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (pidfd < 0 && errno == ESRCH)
		return 0; /* it has just ended */
	if (pidfd < 0)
		return err_sys(e, "open QEMU, pid %d", pid);
	fd = (int)syscall(SYS_pidfd_getfd, pidfd, QEMU_TAP_FD, 0);
	if (fd < 0)
		return errno == ESRCH ? 0
				      : err_sys(e,
						"get the tap of QEMU, "
						"pid %d",
						pid);
	return network_tap_revive(pod->agent->network, pod->uid, fd, e);
}

static int set_ports(const struct pod *pod, struct err *e)
{
	auto_free struct network_port *ports = NULL;
	size_t nr;
	int r = ports_of(pod->spec, &ports, &nr);

	if (r < 0)
		return err_set(e, r, "out of memory");
	return network_ports(pod->agent->network, pod->uid, ports, nr, e);
}

int pod_attach_network(struct pod *pod, struct err *e)
{
	struct endpoint ep = ENDPOINT_INIT;
	int r = 0;

	if (pod->network_up || pod->network_maybe)
		r = revive_tap(pod, e);
	if (r < 0)
		return r;
	pod->network_maybe = true; /* also if this fails half-way */
	r = network_attach(pod->agent->network, pod->spec->tenant,
			   pod->spec->network, pod->uid,
			   pod->spec->vm ? NETWORK_VM : NETWORK_CONTAINER,
			   pod->spec->requested_ip, &ep, e);
	if (r == 0)
		r = set_ports(pod, e);
	if (r < 0) {
		endpoint_clear(&ep);
		return r;
	}
	pthread_mutex_lock(&pod->lock);
	endpoint_clear(&pod->endpoint);
	pod->endpoint = ep;
	pod->network_up = true;
	pthread_mutex_unlock(&pod->lock);
	return 1;
}

int pod_detach_network(struct pod *pod, struct err *e)
{
	int r = network_detach(pod->agent->network, pod->uid, e);

	if (r < 0)
		return r;
	pthread_mutex_lock(&pod->lock);
	endpoint_clear(&pod->endpoint);
	pod->endpoint = (struct endpoint)ENDPOINT_INIT;
	pod->network_up = pod->network_maybe = false;
	pthread_mutex_unlock(&pod->lock);
	return 1;
}

int pod_network_up(struct pod *pod, struct err *e)
{
	bool lost = pod->network_lost;
	int before = pod->endpoint.ifindex;
	int r = pod_attach_network(pod, e);

	if (r < 0)
		return r;
	pod->network_lost = false;
	if (!lost || pod->endpoint.ifindex == before)
		return r;
	log_warn("pod %s: link %s was removed by somebody, made again",
		 pod->key, pod->endpoint.ifname);
	event_add(pod, true, "NetworkLinkLost",
		  "Link %s was removed by somebody; it was made again with the "
		  "same address",
		  pod->endpoint.ifname);
	return r;
}

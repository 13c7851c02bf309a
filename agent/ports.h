/* SPDX-License-Identifier: Apache-2.0 */
/* Ports of the host: which pods ask for, and who has them. */
#ifndef AGENT_PORTS_H
#define AGENT_PORTS_H

#include <stddef.h>

#include "agent/network/ports.h"

struct err;
struct pod;
struct pod_spec;

/* All hostPorts of a pod; the array is the caller's. 0 or -ENOMEM. */
int ports_of(const struct pod_spec *spec, struct network_port **ret,
	     size_t *ret_nr);

/* One that is taken, and by whom. */
struct port_claim {
	struct network_port port;
	const struct pod *pod;
};

/* With the node's lock held. -ENOSPC says who has one of them. */
int ports_free(const struct pod *pod, const struct network_port *want,
	       size_t nr, struct err *e);
/* Instead of what it had. 0 or -ENOMEM. */
int ports_take(struct pod *pod, const struct network_port *want, size_t nr,
	       struct err *e);
void ports_give(const struct pod *pod);

#endif /* AGENT_PORTS_H */

// SPDX-License-Identifier: Apache-2.0
/* Ports of the host: which pods ask for, and who has them. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/internal.h"
#include "agent/ports.h"
#include "lib/auto.h"
#include "lib/err.h"
#include "lib/str.h"

static size_t count(const struct port_spec *ports, size_t nr)
{
	size_t n = 0;

	for (size_t i = 0; i < nr; i++)
		n += ports[i].host_port != 0;
	return n;
}

static void add(struct network_port *to, size_t *nr,
		const struct port_spec *ports, size_t nr_ports)
{
	for (size_t i = 0; i < nr_ports; i++) {
		const struct port_spec *p = &ports[i];

		if (!p->host_port)
			continue;
		to[(*nr)++] = (struct network_port){
			.protocol = p->protocol == PORT_UDP ? IPPROTO_UDP
							    : IPPROTO_TCP,
			.host_ip = p->host_ip,
			.host_port = p->host_port,
			.port = p->container_port,
		};
	}
}

int ports_of(const struct pod_spec *spec, struct network_port **ret,
	     size_t *ret_nr)
{
	struct network_port *ports;
	size_t total = 0, nr = 0;

	for (size_t i = 0; i < spec->nr_containers; i++)
		total += count(spec->containers[i].ports,
			       spec->containers[i].nr_ports);
	for (size_t i = 0; i < spec->nr_init; i++)
		if (spec->init[i].sidecar)
			total += count(spec->init[i].ports,
				       spec->init[i].nr_ports);
	if (spec->vm)
		total += count(spec->vm->ports, spec->vm->nr_ports);
	ports = calloc(total ? total : 1, sizeof(*ports));
	if (!ports)
		return -ENOMEM;
	for (size_t i = 0; i < spec->nr_containers; i++)
		add(ports, &nr, spec->containers[i].ports,
		    spec->containers[i].nr_ports);
	for (size_t i = 0; i < spec->nr_init; i++)
		if (spec->init[i].sidecar)
			add(ports, &nr, spec->init[i].ports,
			    spec->init[i].nr_ports);
	if (spec->vm)
		add(ports, &nr, spec->vm->ports, spec->vm->nr_ports);
	*ret = ports;
	*ret_nr = nr;
	return 0;
}

/* A tenant's pods are no other tenant's business. */
static int refuse(const struct pod *pod, const struct pod *owner,
		  const struct network_port *p, struct err *e)
{
	size_t tenant = strcspn(pod->key, "/") + 1;
	char name[LEASE_PORT_TEXT];

	network_port_format(p, name);
	if (strncmp(pod->key, owner->key, tenant) != 0)
		return err_set(e, -ENOSPC,
			       "hostPort %s is in use by a pod of another "
			       "tenant on this node; it starts when that is "
			       "gone",
			       name);
	return err_set(e, -ENOSPC,
		       "hostPort %s is in use by pod %s on this node; it "
		       "starts when that is gone",
		       name, owner->key + tenant);
}

int ports_free(const struct pod *pod, const struct network_port *want,
	       size_t nr, struct err *e)
{
	const struct node_resources *n = &pod->agent->node;

	for (size_t i = 0; i < n->nr_ports; i++) {
		const struct port_claim *c = &n->ports[i];

		for (size_t k = 0; c->pod != pod && k < nr; k++)
			if (network_ports_collide(&c->port, &want[k]))
				return refuse(pod, c->pod, &want[k], e);
	}
	return 0;
}

int ports_take(struct pod *pod, const struct network_port *want, size_t nr,
	       struct err *e)
{
	struct node_resources *n = &pod->agent->node;
	struct port_claim *more;

	ports_give(pod);
	if (!nr)
		return 0;
	more = reallocarray(n->ports, n->nr_ports + nr, sizeof(*more));
	if (!more)
		return err_set(e, -ENOMEM, "out of memory");
	n->ports = more;
	for (size_t i = 0; i < nr; i++)
		n->ports[n->nr_ports++] = (struct port_claim){ want[i], pod };
	return 0;
}

void ports_give(const struct pod *pod)
{
	struct node_resources *n = &pod->agent->node;
	size_t left = 0;

	for (size_t i = 0; i < n->nr_ports; i++)
		if (n->ports[i].pod != pod)
			n->ports[left++] = n->ports[i];
	n->nr_ports = left;
}

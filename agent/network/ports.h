/* SPDX-License-Identifier: Apache-2.0 */
/* Ports of the host that lead to pods ("hostPort"): see ports.c. */
#ifndef AGENT_NETWORK_PORTS_H
#define AGENT_NETWORK_PORTS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf;
struct err;
struct network_mgr;

/* A port of the host that leads to a pod ("hostPort"). */
struct network_port {
	uint8_t protocol;       /* IPPROTO_TCP or IPPROTO_UDP */
	struct in_addr host_ip; /* 0.0.0.0: every address of the host */
	uint16_t host_port, port;
};
#define NETWORK_PORTS_MAX 64 /* of one pod */

/* Can not both be had: the same port of the same address. */
bool network_ports_collide(const struct network_port *a,
			   const struct network_port *b);

/**
 * network_ports() - Have ports of the host lead to an attached pod.
 * @uid:   The pod's.
 * @ports: [@nr] all it shall have, up to %NETWORK_PORTS_MAX; 0 for none.
 * @e:     Filled on error.
 *
 * Idempotent, durable, and undone by network_detach(). Clients keep their
 * address, but for those on the host's loopback and on our networks, who come
 * as the host. Takes some 30 ms where something changes.
 *
 * Return: 0, or
 *   -EADDRINUSE  another pod has one of them; @e names both
 *   -E2BIG       too many
 *   -ENOENT      the pod is not attached
 *   -errno       of nft and the kernel otherwise
 */
int network_ports(struct network_mgr *mgr, const char *uid,
		  const struct network_port *ports, size_t nr, struct err *e);

/* --- as text; pure -------------------------------------------------------- */

/* A port of the host, and as what it comes to the network's gateway. */
struct lease_port {
	struct network_port p;
	uint16_t via;
};

/* "tcp 0.0.0.0:8080 80 8080": of the host, the pod's, the gateway's. */
#define LEASE_PORT_TEXT 48

/* "8080/TCP", or "8080/TCP of 127.0.0.1". */
const char *network_port_format(const struct network_port *p,
				char ret[LEASE_PORT_TEXT]);
/* Comma-separated; the empty text is none. @ret: [%NETWORK_PORTS_MAX]. The
 * number of them, or -EBADMSG. */
int lease_ports_parse(const char *text, struct lease_port *ret);
int lease_ports_format(const struct lease_port *ports, size_t nr,
		       struct buf *b);

/* One element of the host's maps, and of a gateway's. Addresses in host byte
 * order. */
void ports_host_element(const struct lease_port *p, uint32_t gateway,
			struct buf *any, struct buf *one);
void ports_gateway_element(const struct lease_port *p, uint32_t pod,
			   struct buf *b);
/* A whole table, replaced in one transaction. Empty elements: it goes. */
int ports_host_rules(const struct buf *any, const struct buf *one,
		     struct buf *b);
int ports_gateway_rules(const struct buf *elements, uint32_t base,
			unsigned int prefix, struct buf *b);

#endif /* AGENT_NETWORK_PORTS_H */

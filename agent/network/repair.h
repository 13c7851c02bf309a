/* SPDX-License-Identifier: Apache-2.0 */
/* Links of ours that somebody has removed under a running agent. */
#ifndef AGENT_NETWORK_REPAIR_H
#define AGENT_NETWORK_REPAIR_H

#include <stdbool.h>
#include <stdint.h>

struct err;
struct network_mgr;

/* May this be a link of ours? */
bool network_is_ours(const char *ifname);

/* Is it the host's link of this pod? */
bool network_is_pods(const char *ifname, const char *uid);

/* A link has vanished: if it was a network's gateway, the next network_attach()
 * there makes it anew. NULL: any may have. Returns the network's id, 0 if it
 * was no gateway's. Never waits for more than a table's lock. */
uint32_t network_link_lost(struct network_mgr *mgr, const char *ifname);

/**
 * network_tap_revive() - Make a VM's tap anew under the QEMU that runs.
 * @uid:     The pod's.
 * @tap_fd:  QEMU's descriptor of the tap that was removed. Borrowed.
 *
 * To be followed by network_attach(), which does the rest. The guest sees
 * nothing but lost packets. Offloads that QEMU had asked for are off.
 *
 * Return: 1 made; 0 the link is there; or -errno.
 */
int network_tap_revive(struct network_mgr *mgr, const char *uid, int tap_fd,
		       struct err *e);

#endif /* AGENT_NETWORK_REPAIR_H */

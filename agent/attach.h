/* SPDX-License-Identifier: Apache-2.0 */
/* Pods' endpoints: attached, watched, repaired. */
#ifndef AGENT_ATTACH_H
#define AGENT_ATTACH_H

struct agent;
struct err;
struct links;
struct pod;

/* --- attach.c: by the pod's worker; 1 or an error --------------------------
 */

int pod_attach_network(struct pod *pod, struct err *e);
/* The same, and tell when its link had vanished. */
int pod_network_up(struct pod *pod, struct err *e);
int pod_detach_network(struct pod *pod, struct err *e);

/* --- links.c: links that vanish, seen by the loop --------------------------
 */

int links_start(struct agent *a, struct links **ret, struct err *e);
void links_stop(struct links *l); /* NULL is fine */

#endif /* AGENT_ATTACH_H */

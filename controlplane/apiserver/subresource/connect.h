/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Admission of connections: exec, attach and port-forward of pods, and the
 * proxies, are asked about with operation CONNECT and their options
 * (PodExecOptions, ...) as the object, as in Kubernetes. What mutating webhooks
 * would change of them is not taken over.
 */
#ifndef CONTROLPLANE_APISERVER_SUBRESOURCE_CONNECT_H
#define CONTROLPLANE_APISERVER_SUBRESOURCE_CONNECT_H

struct req;

/* Have @r admitted, then @serve it, at once or later; or it is refused. */
void connect_admit(struct req *r, void (*serve)(struct req *r));

#endif /* CONTROLPLANE_APISERVER_SUBRESOURCE_CONNECT_H */

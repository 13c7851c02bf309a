/* SPDX-License-Identifier: Apache-2.0 */
/* The node's certificates: asked for, kept in <state>/pki, renewed in time. */
#ifndef AGENT_REMOTE_CERTS_H
#define AGENT_REMOTE_CERTS_H

struct buf;
struct err;
struct remote;

/* For the server to begin with: the one that is kept, or one signed by nobody
 * until the API server has signed one. */
int certs_first(struct remote *r, struct buf *cert, struct buf *key,
		struct err *e);

/* Have the API server sign new ones when it is time: the server's own, and the
 * one we show, which is put into the kubeconfig. Waits for it. */
int certs_keep(struct remote *r, struct err *e);

/* A first certificate for the node @name, asked for with another kubeconfig. */
int certs_join(const char *kubeconfig, const char *name, struct buf *cert,
	       struct buf *key, struct err *e);

#endif /* AGENT_REMOTE_CERTS_H */

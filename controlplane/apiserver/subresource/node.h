/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What only a node can answer: exec, attach, log and port-forward of a pod,
 * and the proxies. The request goes on to the node's own server, over TLS on
 * which both show certificates of our CA (lib/http/stream.h has the paths).
 *
 * Pods and services are reached through their node, too: addresses of pods may
 * overlap between tenants, and the node knows which network is meant.
 */
#ifndef CONTROLPLANE_APISERVER_SUBRESOURCE_NODE_H
#define CONTROLPLANE_APISERVER_SUBRESOURCE_NODE_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <yyjson.h>

struct api;
struct err;
struct req;

/* Where a node's own server is, and who it must be. */
struct node_at {
	struct sockaddr_storage addr;
	socklen_t addr_len;
	char host[64];
	char subject[280];
};
/* False: @node (the object) does not say. */
bool node_locate(yyjson_val *node, const char *name, struct node_at *ret);
/* Our side of the TLS: a reference; NULL with the story in @e. */
SSL_CTX *node_tls(struct api *api, struct err *e);

/* True: it is one of these, and has been answered, or will be. */
bool node_subresource(struct req *r);
/* Is "PLURAL/SUB" one that has a path of its own behind it? */
bool node_is_proxy(const char *plural, const char *sub);
void node_tls_free(struct api *api);

#endif /* CONTROLPLANE_APISERVER_SUBRESOURCE_NODE_H */

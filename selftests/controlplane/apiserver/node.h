/* SPDX-License-Identifier: Apache-2.0 */
/* For tests of nodes and what they may: how they join, and what they want. */
#ifndef SELFTESTS_CONTROLPLANE_APISERVER_NODE_H
#define SELFTESTS_CONTROLPLANE_APISERVER_NODE_H

#include "selftests/controlplane/apiserver/world.h"

#define ACME   "/api/v1/tenants/acme/namespaces/default"
#define NODE   "{'apiVersion':'v1','kind':'Node','metadata':{'name':'%s'}}"
#define LEASES "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
#define YES    "'kubernetes.io/config.mirror':'x'"
#define PODS   "/api/v1/namespaces/default/pods"

#define TOKEN "abcdef.0123456789abcdef"

static inline int put_token(struct world *w, const char *id, const char *secret,
			    const char *expiration)
{
	return POST(w, w->root, "/api/v1/namespaces/kube-system/secrets",
		    "{'apiVersion':'v1','kind':'Secret','metadata':{'name':"
		    "'bootstrap-token-%s'},'type':"
		    "'bootstrap.kubernetes.io/token','stringData':{"
		    "'token-id':'%s','token-secret':'%s','expiration':'%s',"
		    "'usage-bootstrap-authentication':'true',"
		    "'auth-extra-groups':'system:bootstrappers:fast'}}",
		    id, id, secret, expiration);
}

static inline struct rest *join(struct world *w, struct rest *boot,
				const char *node)
{
	auto_free char *cn = str_printf("system:node:%s", node);
	auto_free char *name = str_printf("join-%s", node);
	auto_buf struct buf key = BUF_INIT;
	auto_free char *request = make_request(cn, "system:nodes", NULL, &key);
	auto_free char *cert = NULL;

	if (post_request(w, boot, "system", name,
			 "kubernetes.io/kube-apiserver-client-kubelet",
			 "client auth", request) != 201) {
		printf("# %s\n", buf_str(&w->answer));
		return NULL;
	}
	cert = wait_certificate(w, boot, name);
	return cert && *cert ? world_cert(w, cert, &key) : NULL;
}

static inline int make_pod(struct world *w, const char *tenant,
			   const char *name, const char *node,
			   const char *secret)
{
	auto_free char *path =
		str_printf("/api/v1/tenants/%s/namespaces/default/pods",
			   tenant);

	return POST(w, w->root, path,
		    "{'apiVersion':'v1','kind':'Pod','metadata':{'name':'%s'},"
		    "'spec':{'nodeName':'%s','containers':[{'name':'c','image':"
		    "'i','env':[{'name':'E','valueFrom':{'secretKeyRef':{"
		    "'name':'%s','key':'k'}}}]}]}}",
		    name, node, secret);
}

static inline int make_secret(struct world *w, const char *tenant,
			      const char *name)
{
	auto_free char *path =
		str_printf("/api/v1/tenants/%s/namespaces/default/secrets",
			   tenant);

	return POST(w, w->root, path,
		    "{'apiVersion':'v1','kind':'Secret','metadata':{'name':"
		    "'%s'},'stringData':{'k':'v'}}",
		    name);
}

#endif /* SELFTESTS_CONTROLPLANE_APISERVER_NODE_H */

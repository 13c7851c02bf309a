/* SPDX-License-Identifier: Apache-2.0 */
/* Certificate signing requests, read: who wants to be whom. */
#ifndef CONTROLPLANE_APISERVER_AUTHN_CSR_H
#define CONTROLPLANE_APISERVER_AUTHN_CSR_H

#include <stdbool.h>
#include <stddef.h>
#include <yyjson.h>

#include "lib/auto.h"

struct err;

#define CSR_NAMES_MAX 32
#define CSR_LEN_MAX   (32 * 1024)

/* Organization of the API server, to nodes: in nobody else's certificate. */
#define API_SERVERS "system:apiservers"

#define SIGNER_CLIENT  "kubernetes.io/kube-apiserver-client"
#define SIGNER_KUBELET "kubernetes.io/kube-apiserver-client-kubelet"
#define SIGNER_SERVING "kubernetes.io/kubelet-serving"

/* All strings are free of NULs, commas and control characters. */
struct csr {
	char *pem;
	char *name;                         /* the CN */
	char *organizations[CSR_NAMES_MAX]; /* the Os */
	size_t nr_organizations;
	char *units[CSR_NAMES_MAX]; /* the OUs */
	size_t nr_units;
	char *alt[CSR_NAMES_MAX]; /* "DNS:a" and "IP:1.2.3.4" */
	size_t nr_alt;
	bool other_alt; /* there are alternative names of other kinds */
};

/**
 * csr_parse() - Read a signing request.
 * @base64: As in spec.request: base64 of PEM.
 *
 * Return: 0, or -EINVAL: it is none, it is not signed by its own key, or what
 * it names cannot be told apart in a certificate.
 */
int csr_parse(const char *base64, struct csr **ret, struct err *e);
void csr_free(struct csr *c);
DEFINE_AUTO_PTR(csr, csr_free)

bool csr_has_organization(const struct csr *c, const char *o);

/* Does the request (with its declared @usages) fit what @signer signs? -EINVAL
 * says why not; @tenant is the tenant the request is stored in. */
int csr_check(const struct csr *c, const char *signer, yyjson_mut_val *usages,
	      const char *tenant, struct err *e);

#endif /* CONTROLPLANE_APISERVER_AUTHN_CSR_H */

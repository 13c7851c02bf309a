/* SPDX-License-Identifier: Apache-2.0 */
/* The control plane's own certificate authority: P-256, in its data folder. */
#ifndef CONTROLPLANE_APISERVER_AUTHN_PKI_H
#define CONTROLPLANE_APISERVER_AUTHN_PKI_H

#include <stdint.h>

#include "lib/auto.h"

struct buf;
struct ca;
struct err;

/* Load ca.crt and ca.key from @dir, or make them. */
int ca_open(const char *dir, struct ca **ret, struct err *e);
/* The same; one that is made is called @name. */
int ca_open_named(const char *dir, const char *name, struct ca **ret,
		  struct err *e);
void ca_free(struct ca *ca);
DEFINE_AUTO_PTR(ca, ca_free)

/* Of a certificate to be issued. */
struct cert_request {
	const char *common_name;
	const char *organization;  /* may be NULL */
	const char *units;         /* organizational units, comma-separated */
	const char *organizations; /* further O, comma-separated */
	const char *tenant_uid;    /* the very tenant it is good for; or NULL */
	const char *alt_names;     /* "DNS:a,IP:1.2.3.4"; NULL: a client's */
	int days;
	int64_t seconds; /* if set, instead of @days */
};

/* PEM of a fresh key and its certificate, appended. */
int ca_issue(struct ca *ca, const struct cert_request *req, struct buf *cert,
	     struct buf *key, struct err *e);
/* A certificate for the key of a signing request (PEM); all else comes from
 * @req. -EINVAL when the request is not one, or is not signed by its key. */
int ca_sign(struct ca *ca, const char *csr_pem, const struct cert_request *req,
	    struct buf *cert, struct err *e);
/* The CA's own certificate as PEM. Borrowed. */
const char *ca_cert_pem(const struct ca *ca);

/* A kubeconfig with everything inline, appended to @b. */
int kubeconfig_write(const char *ca_pem, const char *server,
		     const char *context, const char *user, const char *cert,
		     const char *key, struct buf *b);

#endif /* CONTROLPLANE_APISERVER_AUTHN_PKI_H */

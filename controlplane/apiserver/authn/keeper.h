/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What becomes of credentials, on a thread of its own: certificate requests
 * are approved, signed and forgotten, expired bootstrap tokens are removed, the
 * server's own certificate is renewed.
 */
#ifndef CONTROLPLANE_APISERVER_AUTHN_KEEPER_H
#define CONTROLPLANE_APISERVER_AUTHN_KEEPER_H

#include <stdint.h>
#include <yyjson.h>

struct api;
struct err;
struct keeper;

/* What is to be done about a certificate request; pure. */
enum csr_step {
	CSR_NOTHING,
	CSR_ASK_APPROVAL, /* one of ours, undecided: ask who may, then decide */
	CSR_SIGN,
	CSR_REMOVE, /* decided or ignored long ago */
};
enum csr_step csr_plan(yyjson_mut_val *obj, int64_t now_s);

int keeper_start(struct api *api, struct err *e);
void keeper_stop(struct api *api);

#endif /* CONTROLPLANE_APISERVER_AUTHN_KEEPER_H */

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The server's own TLS: the certificate it shows and the CAs it believes. New
 * connections get the present ones; those that are open keep theirs.
 *
 * In the data folder, each optional, read again when it changes:
 *	tls.crt, tls.key	shown instead of a certificate of the own CA
 *	client-ca.crt		further CAs whose client certificates count
 */
#ifndef CONTROLPLANE_APISERVER_AUTHN_SERVING_H
#define CONTROLPLANE_APISERVER_AUTHN_SERVING_H

#include <openssl/ssl.h>
#include <stdint.h>

struct api;
struct err;
struct serving;

int serving_open(struct api *api, struct err *e);
void serving_close(struct api *api);

/* A session for a new connection; NULL when out of memory. */
SSL *serving_session(struct api *api);

/* Look at the files and the clock; make a new context if need be. Returns 1
 * when there is one, 0 when all is as it was; on error it goes on as it was. */
int serving_refresh(struct api *api, int64_t now_s, struct err *e);

#endif /* CONTROLPLANE_APISERVER_AUTHN_SERVING_H */

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which API server, and as whom: a kubeconfig's current context, ready to
 * connect with. Certificates, keys and tokens inline or as files.
 */
#ifndef CONTROLPLANE_CLIENT_TARGET_H
#define CONTROLPLANE_CLIENT_TARGET_H

#include <openssl/ssl.h>
#include <stddef.h>

#include "lib/auto.h"

struct err;

struct target {
	char *server; /* "https://HOST:PORT" */
	char *host, *port;
	char *authority; /* "HOST:PORT", IPv6 in brackets */
	char *ca_pem;    /* whom it believes */
	char *token;     /* NULL: the certificate alone says who we are */
	SSL_CTX *ctx;
};

/* -ENOENT, -EBADMSG: the kubeconfig. */
int target_open(const char *kubeconfig, struct target **ret, struct err *e);
/* The same from the text of a kubeconfig; @name is for messages. */
int target_parse(const char *text, size_t len, const char *name,
		 struct target **ret, struct err *e);
/* Where "https://HOST[:PORT][/...]" is; an IPv6 address comes out of its
 * brackets. -EBADMSG, -ENOMEM. */
int target_address(const char *server, char **ret_host, char **ret_port);
void target_free(struct target *t);
DEFINE_AUTO_PTR(target, target_free)

/* A TLS session that verifies the server's name or address; NULL: -ENOMEM. */
SSL *target_session(const struct target *t);

#endif /* CONTROLPLANE_CLIENT_TARGET_H */

/* SPDX-License-Identifier: Apache-2.0 */
/* TLS: contexts from PEM in memory. */
#ifndef LIB_HTTP_TLS_H
#define LIB_HTTP_TLS_H

#include <openssl/ssl.h>
#include <stdbool.h>

struct err;

struct tls_server_opts {
	const char *cert_pem, *key_pem; /* the server's own */
	const char *client_ca_pem;      /* who may sign clients' */
	bool h2;                        /* offer HTTP/2 beside HTTP/1.1 */
};

/**
 * tls_server_new() - Make a server's context.
 * @opts: Borrowed.
 * @ret:  The context; SSL_CTX_free().
 * @e:    Filled on error.
 *
 * TLS 1.2 and 1.3; no renegotiation, no compression, no resumption (so that
 * every connection proves its certificate anew); buffers are given back while
 * a connection is idle. A client without a certificate is let in and is
 * nobody; one with a certificate of another CA is refused in the handshake.
 *
 * Return: 0 or -EINVAL.
 */
int tls_server_new(const struct tls_server_opts *opts, SSL_CTX **ret,
		   struct err *e);

struct tls_client_opts {
	const char *cert_pem, *key_pem; /* the client's own; NULL: none */
	const char *server_ca_pem;      /* who may sign servers' */
	bool system_ca; /* those the machine believes may, too */
	bool insecure;  /* anybody may: nothing is verified */
	bool h2;        /* ask for HTTP/2, or HTTP/1.1; else nothing is said */
};

/* A client's context: TLS 1.2 and 1.3, the server's certificate verified. Say
 * whom it must be for with tls_expect(). 0 or -EINVAL. */
int tls_client_new(const struct tls_client_opts *opts, SSL_CTX **ret,
		   struct err *e);

/* The peer must be @name, a DNS name or an IP address. 0 or -ENOMEM. */
int tls_expect(SSL *ssl, const char *name);

/* The peer's certificate must be for the common name @cn, too. Before the
 * handshake. 0 or -ENOMEM. */
int tls_expect_subject(SSL *ssl, const char *cn);

#endif /* LIB_HTTP_TLS_H */

// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "agent/remote/certs.h"
#include "agent/remote/internal.h"
#include "agent/remote/join.h"
#include "controlplane/client/target.h"
#include "lib/auto.h"
#include "lib/base64.h"
#include "lib/err.h"
#include "lib/fs.h"
#include "lib/str.h"

#define CONNECT_S   10
#define HASH_PREFIX "sha256:"
#define NO_SERVER   "the API server's address is https://HOST:PORT"

/* --- the CA --- */

static bool is_loopback(const char *host)
{
	return str_starts(host, "127.") || str_eq(host, "localhost") ||
	       str_eq(host, "[::1]");
}

static int dial(const char *host, const char *port, struct err *e)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *ai = NULL;
	struct timeval limit = { .tv_sec = CONNECT_S };
	int rc = getaddrinfo(host, port, &hints, &ai), fd = -1;

	if (rc)
		return err_set(e, -EHOSTUNREACH, "%s: %s", host,
			       gai_strerror(rc));
	rc = -EHOSTUNREACH;
	for (struct addrinfo *a = ai; a && fd < 0; a = a->ai_next) {
		fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (fd < 0)
			continue;
		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
		setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
		if (connect(fd, a->ai_addr, a->ai_addrlen) == 0)
			break;
		rc = -errno;
		close(fd);
		fd = -1;
	}
	freeaddrinfo(ai);
	return fd >= 0 ? fd
		       : err_set(e, rc, "connect to %s:%s: %s; %s", host, port,
				 strerror(-rc),
				 is_loopback(host)
					 ? "is the control plane running? From "
					   "another host it is reached only if "
					   "started with --listen 0.0.0.0:PORT "
					   "--advertise HOST"
					 : "is the address right, and the "
					   "control plane running?");
}

/* "sha256:" and the digest of its public key, as kubeadm writes it. */
static void hash_of(X509 *cert, char text[80])
{
	unsigned char *der = NULL, md[32];
	int len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(cert), &der);
	unsigned n = 0;

	text[0] = '\0';
	if (len > 0 &&
	    EVP_Digest(der, (size_t)len, md, &n, EVP_sha256(), NULL)) {
		size_t at = (size_t)snprintf(text, 80, HASH_PREFIX);

		for (unsigned i = 0; i < n; i++)
			at += (size_t)snprintf(text + at, 80 - at, "%02x",
					       md[i]);
	}
	OPENSSL_free(der);
}

static int find_ca(SSL *ssl, const char *want, struct buf *pem, struct err *e)
{
	STACK_OF(X509) *chain = SSL_get_peer_cert_chain(ssl);
	int ret = err_set(e, -EACCES,
			  "the server is not of the CA with hash %s; is the "
			  "address right, and the hash? (arktosctl node token)",
			  want);

	for (int i = 0; i < sk_X509_num(chain) && ret < 0; i++) {
		X509 *cert = sk_X509_value(chain, i);
		BIO *bio = BIO_new(BIO_s_mem());
		char hash[80], *data;
		long len;

		hash_of(cert, hash);
		if (strcasecmp(hash, want) == 0 && bio &&
		    PEM_write_bio_X509(bio, cert) &&
		    (len = BIO_get_mem_data(bio, &data)) > 0)
			ret = buf_add(pem, data, (size_t)len);
		BIO_free(bio);
	}
	return ret;
}

/* Nothing is told to the server before its CA is known. */
static int fetch_ca(const char *host, const char *port, const char *hash,
		    struct buf *pem, struct err *e)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	auto_close int fd = dial(host, port, e);
	SSL *ssl = ctx ? SSL_new(ctx) : NULL;
	int ret = fd < 0 ? fd : -ENOMEM;

	if (ssl && fd >= 0 && SSL_set_fd(ssl, fd)) {
		SSL_set_tlsext_host_name(ssl, host);
		if (SSL_connect(ssl) == 1)
			ret = find_ca(ssl, hash, pem, e);
		else
			ret = err_set(e, -EPROTO, "%s:%s does not speak TLS",
				      host, port);
	}
	SSL_free(ssl);
	SSL_CTX_free(ctx);
	return ret;
}

/* --- kubeconfigs --- */

static int write_config(const struct join_opts *o, const char *path,
			const struct buf *ca, const struct buf *cert,
			const struct buf *key, struct err *e)
{
	auto_buf struct buf b = BUF_INIT;

	buf_puts(&b, "apiVersion: v1\nkind: Config\nclusters:\n- name: arktos\n"
		     "  cluster:\n    certificate-authority-data: ");
	(void)base64_put(&b, ca->data, ca->len);
	buf_printf(&b,
		   "\n    server: %s\ncontexts:\n- name: node\n  context: "
		   "{cluster: arktos, user: node}\ncurrent-context: node\n"
		   "users:\n- name: node\n  user:\n",
		   o->server);
	if (cert) {
		buf_puts(&b, "    client-certificate-data: ");
		(void)base64_put(&b, cert->data, cert->len);
		buf_puts(&b, "\n    client-key-data: ");
		(void)base64_put(&b, key->data, key->len);
		buf_puts(&b, "\n");
	} else {
		buf_printf(&b, "    token: \"%s\"\n", o->token);
	}
	if (buf_error(&b))
		return err_set(e, -ENOMEM, "out of memory");
	return fs_write_atomic(AT_FDCWD, path, b.data, b.len, 0600, e);
}

static bool is_hex(const char *s, size_t nr)
{
	return strlen(s) == nr && strspn(s, "0123456789abcdefABCDEF") == nr;
}

static int check(const struct join_opts *o, struct err *e)
{
	if (!o->server || !str_starts(o->server, "https://"))
		return err_set(e, -EINVAL, NO_SERVER);
	if (!o->token || strlen(o->token) != 23 || o->token[6] != '.' ||
	    strspn(o->token, "abcdefghijklmnopqrstuvwxyz0123456789.") != 23)
		return err_set(e, -EINVAL,
			       "--token is what 'arktosctl node token' says: "
			       "6 characters, a dot, 16 characters");
	if (!o->ca_hash || !str_starts(o->ca_hash, HASH_PREFIX) ||
	    !is_hex(o->ca_hash + strlen(HASH_PREFIX), 64))
		return err_set(e, -EINVAL,
			       "--ca-hash is what 'arktosctl node token' says: "
			       "sha256: and 64 digits");
	if (!str_is_dns_subdomain(o->node_name))
		return err_set(e, -EINVAL,
			       "'%s' is no name for a node: want lower-case "
			       "letters, digits, '-' and '.'",
			       o->node_name);
	return 0;
}

/* Nobody's credentials are written over. */
static int check_out(const struct join_opts *o, struct err *e)
{
	auto_ptr(target) t = NULL;

	if (access(o->out, F_OK) < 0)
		return 0;
	return target_open(o->out, &t, NULL) == 0
		       ? err_set(e, -EEXIST,
				 "%s is there: this host is joined to %s; "
				 "remove the file to join anew",
				 o->out, t->server)
		       : err_set(e, -EEXIST,
				 "%s is there, and is no kubeconfig: it is "
				 "left alone",
				 o->out);
}

int join_run(const struct join_opts *o, struct err *e)
{
	auto_buf struct buf ca = BUF_INIT, cert = BUF_INIT, key = BUF_INIT;
	auto_free char *first = NULL, *host = NULL, *port = NULL;
	int ret = check(o, e);

	if (ret == 0)
		ret = check_out(o, e);
	if (ret < 0)
		return ret;
	first = str_printf("%s.bootstrap", o->out);
	if (!first)
		return err_set(e, -ENOMEM, "out of memory");
	ret = target_address(o->server, &host, &port);
	if (ret == -EBADMSG)
		return err_set(e, -EINVAL, NO_SERVER);
	if (ret < 0)
		return err_set(e, ret, "out of memory");
	ret = fetch_ca(host, port, o->ca_hash, &ca, e);
	if (ret == 0)
		ret = write_config(o, first, &ca, NULL, NULL, e);
	if (ret == 0)
		ret = certs_join(first, o->node_name, &cert, &key, e);
	if (ret == 0)
		ret = write_config(o, o->out, &ca, &cert, &key, e);
	(void)unlink(first); /* not written, perhaps */
	return ret;
}

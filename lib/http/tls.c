// SPDX-License-Identifier: Apache-2.0
#include <arpa/inet.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "lib/err.h"
#include "lib/http/tls.h"

static int failed(struct err *e, const char *what)
{
	char text[160];

	ERR_error_string_n(ERR_get_error(), text, sizeof(text));
	ERR_clear_error();
	return err_set(e, -EINVAL, "tls: %s: %s", what, text);
}

static EVP_PKEY *read_key(const char *pem)
{
	BIO *bio = BIO_new_mem_buf(pem, -1);
	EVP_PKEY *key =
		bio ? PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL) : NULL;

	BIO_free(bio);
	return key;
}

static int load_own(SSL_CTX *ctx, const char *cert_pem, const char *key_pem)
{
	BIO *bio = BIO_new_mem_buf(cert_pem, -1);
	X509 *cert = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
	EVP_PKEY *key = read_key(key_pem);
	int ok = cert && key && SSL_CTX_use_certificate(ctx, cert) == 1 &&
		 SSL_CTX_use_PrivateKey(ctx, key) == 1;

	/* Who signed it, up to the root, may follow. */
	X509_free(cert);
	while (ok && (cert = PEM_read_bio_X509(bio, NULL, NULL, NULL))) {
		ok = SSL_CTX_add1_chain_cert(ctx, cert) == 1;
		X509_free(cert);
	}
	ERR_clear_error();
	BIO_free(bio);
	EVP_PKEY_free(key);
	return ok ? 0 : -EINVAL;
}

static int load_ca(SSL_CTX *ctx, const char *pem)
{
	BIO *bio = BIO_new_mem_buf(pem, -1);
	int nr = 0, ok = bio != NULL;
	X509 *ca;

	/* Several may stand one after the other. */
	while (ok && (ca = PEM_read_bio_X509(bio, NULL, NULL, NULL))) {
		ok = X509_STORE_add_cert(SSL_CTX_get_cert_store(ctx), ca) &&
		     SSL_CTX_add_client_CA(ctx, ca);
		X509_free(ca);
		nr++;
	}
	ERR_clear_error();
	BIO_free(bio);
	return ok && nr ? 0 : -EINVAL;
}

static int choose(SSL *ssl, const unsigned char **out, unsigned char *out_len,
		  const unsigned char *in, unsigned int in_len, void *arg)
{
	static const unsigned char both[] = "\x02h2\x08http/1.1";
	static const unsigned char one[] = "\x08http/1.1";
	const bool *h2 = arg;

	(void)ssl;
	if (SSL_select_next_proto((unsigned char **)out, out_len,
				  *h2 ? both : one,
				  *h2 ? sizeof(both) - 1 : sizeof(one) - 1, in,
				  in_len) != OPENSSL_NPN_NEGOTIATED)
		return SSL_TLSEXT_ERR_NOACK;
	return SSL_TLSEXT_ERR_OK;
}

/* Of a chain only what was given is sent: who verifies it has the root, and
 * would keep another copy for as long as the connection lives. */
static void harden(SSL_CTX *ctx)
{
	SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
	SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION |
					 SSL_OP_NO_COMPRESSION |
					 SSL_OP_NO_TICKET);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS |
				      SSL_MODE_ENABLE_PARTIAL_WRITE |
				      SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
				      SSL_MODE_NO_AUTO_CHAIN);
}

int tls_server_new(const struct tls_server_opts *opts, SSL_CTX **ret,
		   struct err *e)
{
	static const bool yes = true, no = false;
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
	int r = 0;

	if (!ctx)
		return failed(e, "new");
	harden(ctx);
	SSL_CTX_set_num_tickets(ctx, 0);
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
	SSL_CTX_set_alpn_select_cb(ctx, choose,
				   (void *)(opts->h2 ? &yes : &no));
	if (load_own(ctx, opts->cert_pem, opts->key_pem) < 0)
		r = failed(e, "the server's certificate and key");
	else if (load_ca(ctx, opts->client_ca_pem) < 0)
		r = failed(e, "the CA of clients");
	if (r < 0) {
		SSL_CTX_free(ctx);
		return r;
	}
	*ret = ctx;
	return 0;
}

int tls_client_new(const struct tls_client_opts *opts, SSL_CTX **ret,
		   struct err *e)
{
	static const unsigned char both[] = "\x02h2\x08http/1.1";
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	int r = 0;

	if (!ctx)
		return failed(e, "new");
	harden(ctx);
	SSL_CTX_set_verify(ctx,
			   opts->insecure ? SSL_VERIFY_NONE : SSL_VERIFY_PEER,
			   NULL);
	if (opts->h2)
		(void)SSL_CTX_set_alpn_protos(ctx, both, sizeof(both) - 1);
	if (opts->cert_pem && load_own(ctx, opts->cert_pem, opts->key_pem) < 0)
		r = failed(e, "the client's certificate and key");
	else if (opts->server_ca_pem && load_ca(ctx, opts->server_ca_pem) < 0)
		r = failed(e, "the CA of servers");
	else if (opts->system_ca && SSL_CTX_set_default_verify_paths(ctx) != 1)
		r = failed(e, "the machine's CAs");
	if (r < 0) {
		SSL_CTX_free(ctx);
		return r;
	}
	*ret = ctx;
	return 0;
}

int tls_expect(SSL *ssl, const char *name)
{
	X509_VERIFY_PARAM *param = SSL_get0_param(ssl);
	struct in6_addr ip;

	if (inet_pton(AF_INET, name, &ip) == 1 ||
	    inet_pton(AF_INET6, name, &ip) == 1)
		return X509_VERIFY_PARAM_set1_ip_asc(param, name) == 1
			       ? 0
			       : -ENOMEM;
	if (SSL_set_tlsext_host_name(ssl, name) != 1 ||
	    SSL_set1_host(ssl, name) != 1)
		return -ENOMEM;
	return 0;
}

static void free_subject(void *parent, void *ptr, CRYPTO_EX_DATA *ad, int idx,
			 long argl, void *argp)
{
	(void)parent, (void)ad, (void)idx, (void)argl, (void)argp;
	free(ptr);
}

static int subject_place = -1;
static pthread_once_t subject_once = PTHREAD_ONCE_INIT;

static void make_place(void)
{
	subject_place = SSL_get_ex_new_index(0, NULL, NULL, NULL, free_subject);
}

/* Called for each certificate of the chain. */
static int check_subject(int ok, X509_STORE_CTX *store)
{
	SSL *ssl = X509_STORE_CTX_get_ex_data(
		store, SSL_get_ex_data_X509_STORE_CTX_idx());
	const char *want = SSL_get_ex_data(ssl, subject_place);
	X509 *cert = X509_STORE_CTX_get_current_cert(store);
	char cn[256] = "";
	int len;

	if (!ok || X509_STORE_CTX_get_error_depth(store) > 0)
		return ok;
	len = X509_NAME_get_text_by_NID(X509_get_subject_name(cert),
					NID_commonName, cn, sizeof(cn));
	if (len > 0 && (size_t)len == strlen(cn) && strcmp(cn, want) == 0)
		return 1;
	X509_STORE_CTX_set_error(store, X509_V_ERR_SUBJECT_ISSUER_MISMATCH);
	return 0;
}

int tls_expect_subject(SSL *ssl, const char *cn)
{
	char *copy = strdup(cn);

	(void)pthread_once(&subject_once, make_place);
	if (!copy || SSL_set_ex_data(ssl, subject_place, copy) != 1) {
		free(copy);
		return -ENOMEM;
	}
	SSL_set_verify(ssl, SSL_VERIFY_PEER, check_subject);
	return 0;
}

// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <stdio.h>

#include "controlplane/apiserver/authn/pki.h"
#include "lib/buf.h"
#include "lib/err.h"
#include "lib/fs.h"
#include "lib/str.h"

#define CA_DAYS 3650
#define PEM_MAX 65536

struct ca {
	EVP_PKEY *key;
	X509 *cert;
	char *pem;
};

static int ssl_failed(struct err *e, const char *what)
{
	char text[160];

	ERR_error_string_n(ERR_get_error(), text, sizeof(text));
	ERR_clear_error();
	return err_set(e, -EIO, "%s: %s", what, text);
}

static int bio_take(BIO *bio, struct buf *b)
{
	char *data;
	long len = BIO_get_mem_data(bio, &data);

	return len > 0 ? buf_add(b, data, len) : -ENOMEM;
}

static int pem_cert(X509 *cert, struct buf *b)
{
	BIO *bio = BIO_new(BIO_s_mem());
	int r = -ENOMEM;

	if (bio && PEM_write_bio_X509(bio, cert))
		r = bio_take(bio, b);
	BIO_free(bio);
	return r;
}

static int pem_key(EVP_PKEY *key, struct buf *b)
{
	BIO *bio = BIO_new(BIO_s_mem());
	int r = -ENOMEM;

	if (bio &&
	    PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL))
		r = bio_take(bio, b);
	BIO_free(bio);
	return r;
}

static int add_name(X509_NAME *name, const char *field, const char *value,
		    size_t len)
{
	if (!len)
		return 0;
	return X509_NAME_add_entry_by_txt(name, field, MBSTRING_UTF8,
					  (const unsigned char *)value, len, -1,
					  0)
		       ? 0
		       : -EINVAL;
}

/* Each of a comma-separated list. */
static int add_names(X509_NAME *name, const char *field, const char *list)
{
	int r = 0;

	while (r == 0 && list && *list) {
		size_t n = strcspn(list, ",");

		r = add_name(name, field, list, n);
		list += n + (list[n] == ',');
	}
	return r;
}

static int add_ext(X509 *cert, X509 *issuer, int nid, const char *value)
{
	X509_EXTENSION *ext;
	X509V3_CTX ctx;
	int ok;

	X509V3_set_ctx_nodb(&ctx);
	X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
	ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	if (!ext)
		return -EINVAL;
	ok = X509_add_ext(cert, ext, -1);
	X509_EXTENSION_free(ext);
	return ok ? 0 : -ENOMEM;
}

static int set_serial(X509 *cert)
{
	unsigned char bytes[16];
	BIGNUM *n;
	int ok;

	if (RAND_bytes(bytes, sizeof(bytes)) != 1)
		return -EIO;
	bytes[0] &= 0x7f;
	n = BN_bin2bn(bytes, sizeof(bytes), NULL);
	ok = n && BN_to_ASN1_INTEGER(n, X509_get_serialNumber(cert));
	BN_free(n);
	return ok ? 0 : -ENOMEM;
}

static X509 *new_cert(EVP_PKEY *key, const struct cert_request *req)
{
	X509 *cert = X509_new();
	X509_NAME *name;

	if (!cert)
		return NULL;
	name = X509_get_subject_name(cert);
	if (!X509_set_version(cert, 2) || set_serial(cert) ||
	    !X509_gmtime_adj(X509_getm_notBefore(cert), -300) ||
	    !X509_gmtime_adj(X509_getm_notAfter(cert),
			     req->seconds ? (long)req->seconds
					  : (long)req->days * 86400) ||
	    !X509_set_pubkey(cert, key) ||
	    add_names(name, "O", req->organization) ||
	    add_names(name, "O", req->organizations) ||
	    add_names(name, "OU", req->units) ||
	    (req->tenant_uid && add_name(name, "dnQualifier", req->tenant_uid,
					 strlen(req->tenant_uid))) ||
	    add_name(name, "CN", req->common_name, strlen(req->common_name))) {
		X509_free(cert);
		return NULL;
	}
	return cert;
}

static int make_ca(const char *cert_path, const char *key_path,
		   const char *name, struct ca *ca, struct err *e)
{
	auto_buf struct buf cert = BUF_INIT, key = BUF_INIT;
	struct cert_request req = { .common_name = name, .days = CA_DAYS };
	int r;

	ca->key = EVP_EC_gen("P-256");
	if (!ca->key)
		return ssl_failed(e, "ca: make a key");
	ca->cert = new_cert(ca->key, &req);
	if (!ca->cert)
		return ssl_failed(e, "ca: make a certificate");
	X509_set_issuer_name(ca->cert, X509_get_subject_name(ca->cert));
	if (add_ext(ca->cert, ca->cert, NID_basic_constraints,
		    "critical,CA:TRUE,pathlen:0") ||
	    add_ext(ca->cert, ca->cert, NID_key_usage,
		    "critical,keyCertSign,cRLSign,digitalSignature") ||
	    add_ext(ca->cert, ca->cert, NID_subject_key_identifier, "hash") ||
	    !X509_sign(ca->cert, ca->key, EVP_sha256()))
		return ssl_failed(e, "ca: sign");
	if (pem_cert(ca->cert, &cert) || pem_key(ca->key, &key))
		return ssl_failed(e, "ca: encode");
	/* The key first: a certificate without its key would be of no use. */
	r = fs_write_atomic(AT_FDCWD, key_path, key.data, key.len, 0600, e);
	if (r == 0)
		r = fs_write_atomic(AT_FDCWD, cert_path, cert.data, cert.len,
				    0644, e);
	ca->pem = buf_take(&cert);
	return r;
}

static int load_ca(const char *cert_path, const char *key_path, struct ca *ca,
		   struct err *e)
{
	auto_buf struct buf cert = BUF_INIT, key = BUF_INIT;
	BIO *bio;
	int r;

	r = fs_read(AT_FDCWD, cert_path, PEM_MAX, &cert, e);
	if (r == 0)
		r = fs_read(AT_FDCWD, key_path, PEM_MAX, &key, e);
	if (r < 0)
		return r;
	bio = BIO_new_mem_buf(cert.data, cert.len);
	ca->cert = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
	BIO_free(bio);
	bio = BIO_new_mem_buf(key.data, key.len);
	ca->key = bio ? PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL) : NULL;
	BIO_free(bio);
	if (!ca->cert || !ca->key || !X509_check_private_key(ca->cert, ca->key))
		return ssl_failed(e, "ca: ca.crt and ca.key do not fit");
	ca->pem = buf_take(&cert);
	return ca->pem ? 0 : err_set(e, -ENOMEM, "ca: out of memory");
}

int ca_open(const char *dir, struct ca **ret, struct err *e)
{
	return ca_open_named(dir, "arktos-ca", ret, e);
}

int ca_open_named(const char *dir, const char *name, struct ca **ret,
		  struct err *e)
{
	auto_free char *cert_path = str_printf("%s/ca.crt", dir);
	auto_free char *key_path = str_printf("%s/ca.key", dir);
	auto_ptr(ca) ca = calloc(1, sizeof(*ca));
	int r;

	if (!cert_path || !key_path || !ca)
		return err_set(e, -ENOMEM, "ca: out of memory");
	if (fs_exists(AT_FDCWD, cert_path))
		r = load_ca(cert_path, key_path, ca, e);
	else
		r = make_ca(cert_path, key_path, name, ca, e);
	if (r < 0)
		return r;
	*ret = take_ptr(ca);
	return 0;
}

void ca_free(struct ca *ca)
{
	if (!ca)
		return;
	X509_free(ca->cert);
	EVP_PKEY_free(ca->key);
	free(ca->pem);
	free(ca);
}

const char *ca_cert_pem(const struct ca *ca)
{
	return ca->pem;
}

static int issue(struct ca *ca, const struct cert_request *req, X509 *cert)
{
	const char *usage = req->alt_names ? "serverAuth" : "clientAuth";

	X509_set_issuer_name(cert, X509_get_subject_name(ca->cert));
	if (add_ext(cert, ca->cert, NID_basic_constraints,
		    "critical,CA:FALSE") ||
	    add_ext(cert, ca->cert, NID_key_usage,
		    "critical,digitalSignature") ||
	    add_ext(cert, ca->cert, NID_ext_key_usage, usage) ||
	    add_ext(cert, ca->cert, NID_authority_key_identifier, "keyid"))
		return -EIO;
	if (req->alt_names &&
	    add_ext(cert, ca->cert, NID_subject_alt_name, req->alt_names))
		return -EIO;
	return X509_sign(cert, ca->key, EVP_sha256()) ? 0 : -EIO;
}

int ca_issue(struct ca *ca, const struct cert_request *req, struct buf *cert,
	     struct buf *key, struct err *e)
{
	EVP_PKEY *pkey = EVP_EC_gen("P-256");
	X509 *x = pkey ? new_cert(pkey, req) : NULL;
	int r = -EIO;

	if (x && issue(ca, req, x) == 0)
		r = pem_cert(x, cert) || pem_key(pkey, key) ? -ENOMEM : 0;
	if (r < 0)
		ssl_failed(e, "issue a certificate");
	X509_free(x);
	EVP_PKEY_free(pkey);
	return r;
}

int ca_sign(struct ca *ca, const char *csr_pem, const struct cert_request *req,
	    struct buf *cert, struct err *e)
{
	BIO *bio = BIO_new_mem_buf(csr_pem, -1);
	X509_REQ *csr =
		bio ? PEM_read_bio_X509_REQ(bio, NULL, NULL, NULL) : NULL;
	EVP_PKEY *key = csr ? X509_REQ_get_pubkey(csr) : NULL;
	X509 *x = NULL;
	int r = -EINVAL;

	if (key && X509_REQ_verify(csr, key) == 1)
		x = new_cert(key, req);
	if (x && issue(ca, req, x) == 0)
		r = pem_cert(x, cert);
	if (r < 0)
		err_set(e, r, "not a certificate signing request in PEM");
	ERR_clear_error();
	X509_free(x);
	EVP_PKEY_free(key);
	X509_REQ_free(csr);
	BIO_free(bio);
	return r;
}

static int put_base64(struct buf *b, const char *text)
{
	size_t len = strlen(text);
	char *out = buf_reserve(b, (len + 2) / 3 * 4 + 1);

	if (!out)
		return -ENOMEM;
	buf_commit(b, EVP_EncodeBlock((unsigned char *)out,
				      (const unsigned char *)text, len));
	return 0;
}

int kubeconfig_write(const char *ca_pem, const char *server,
		     const char *context, const char *user, const char *cert,
		     const char *key, struct buf *b)
{
	buf_puts(b, "apiVersion: v1\nkind: Config\nclusters:\n- name: arktos\n"
		    "  cluster:\n");
	buf_printf(b,
		   "    server: %s\n    certificate-authority-data: ", server);
	put_base64(b, ca_pem);
	buf_printf(b, "\nusers:\n- name: %s\n  user:\n", user);
	buf_puts(b, "    client-certificate-data: ");
	put_base64(b, cert);
	buf_puts(b, "\n    client-key-data: ");
	put_base64(b, key);
	buf_printf(b,
		   "\ncontexts:\n- name: %s\n  context:\n    cluster: arktos\n"
		   "    user: %s\n    namespace: default\n"
		   "current-context: %s\n",
		   context, user, context);
	return buf_error(b);
}

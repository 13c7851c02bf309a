// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <fcntl.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

#include "agent/remote/certs.h"
#include "agent/remote/internal.h"
#include "controlplane/client/rest.h"
#include "lib/auto.h"
#include "lib/base64.h"
#include "lib/err.h"
#include "lib/fs.h"
#include "lib/json.h"
#include "lib/log.h"
#include "lib/str.h"

#define CSRS        "/apis/certificates.k8s.io/v1/certificatesigningrequests"
#define WAIT_MS     20000 /* for a signature */
#define LOOK_MS     200
#define FIRST_DAYS  7
#define PEM_MAX     65536
#define CERT_KEY    "client-certificate-data:"
#define KEY_KEY     "client-key-data:"
#define RENEW_SHARE 5 /* when a fifth of its life is left */

static void free_key(EVP_PKEY **k)
{
	EVP_PKEY_free(*k);
}

static int take_bio(BIO *bio, struct buf *b)
{
	char *data;
	long len = BIO_get_mem_data(bio, &data);

	return len > 0 ? buf_add(b, data, (size_t)len) : -ENOMEM;
}

static int key_pem(EVP_PKEY *key, struct buf *out)
{
	BIO *bio = BIO_new(BIO_s_mem());
	int r = -ENOMEM;

	if (bio &&
	    PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL))
		r = take_bio(bio, out);
	BIO_free(bio);
	return r;
}

static int set_name(X509_NAME *name, const struct remote *r)
{
	auto_free char *cn = str_printf("system:node:%s", r->o.node_name);

	return cn &&
			       X509_NAME_add_entry_by_txt(
				       name, "O", MBSTRING_UTF8,
				       (const unsigned char *)"system:nodes",
				       -1, -1, 0) &&
			       X509_NAME_add_entry_by_txt(name, "CN",
							  MBSTRING_UTF8,
							  (const unsigned char
								   *)cn,
							  -1, -1, 0)
		       ? 0
		       : -ENOMEM;
}

static X509_EXTENSION *names_of(const struct remote *r)
{
	auto_free char *text =
		str_printf("DNS:%s,IP:%s", r->o.node_name, r->host_ip);

	return text ? X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name,
					  text)
		    : NULL;
}

static int make_request(const struct remote *r, EVP_PKEY *key, bool serving,
			struct buf *out)
{
	STACK_OF(X509_EXTENSION) *list = sk_X509_EXTENSION_new_null();
	X509_EXTENSION *names = serving ? names_of(r) : NULL;
	BIO *bio = BIO_new(BIO_s_mem());
	X509_REQ *req = X509_REQ_new();
	int ret = -ENOMEM;

	if (list && req && bio && (!serving || names) &&
	    set_name(X509_REQ_get_subject_name(req), r) == 0 &&
	    (!names || (sk_X509_EXTENSION_push(list, names) &&
			X509_REQ_add_extensions(req, list))) &&
	    X509_REQ_set_pubkey(req, key) &&
	    X509_REQ_sign(req, key, EVP_sha256()) &&
	    PEM_write_bio_X509_REQ(bio, req))
		ret = take_bio(bio, out);
	X509_EXTENSION_free(names);
	sk_X509_EXTENSION_free(list);
	X509_REQ_free(req);
	BIO_free(bio);
	return ret;
}

/* --- asking the API server --- */

static void put_request(const struct buf *pem, bool serving, struct buf *out)
{
	auto_buf struct buf text = BUF_INIT;
	struct json_out o = JSON_OUT(out);

	(void)base64_put(&text, pem->data, pem->len);
	json_put_object(&o, NULL);
	json_put_str(&o, "apiVersion", "certificates.k8s.io/v1");
	json_put_str(&o, "kind", "CertificateSigningRequest");
	json_put_object(&o, "metadata");
	json_put_str(&o, "generateName", "node-csr-");
	json_put_end(&o);
	json_put_object(&o, "spec");
	json_put_str(&o, "request", buf_str(&text));
	json_put_str(&o, "signerName",
		     serving ? "kubernetes.io/kubelet-serving"
			     : "kubernetes.io/kube-apiserver-client-kubelet");
	json_put_array(&o, "usages");
	json_put_str(&o, NULL, "digital signature");
	json_put_str(&o, NULL, serving ? "server auth" : "client auth");
	json_put_end(&o);
	json_put_end(&o);
	json_put_end(&o);
}

static const char *text(yyjson_doc *doc, const char *pointer)
{
	return yyjson_get_str(
		yyjson_ptr_get(yyjson_doc_get_root(doc), pointer));
}

/* 1: @cert is filled; 0: not signed yet. */
static int look(struct remote *r, const char *path, struct buf *cert,
		struct err *e)
{
	auto_buf struct buf answer = BUF_INIT;
	yyjson_doc *doc;
	const char *b64;
	int ret = remote_request(r, "GET", path, NULL, NULL, &answer, e);

	ret = ret < 0 ? ret : rest_check(ret, &answer, e);
	if (ret < 0)
		return ret;
	doc = yyjson_read(buf_str(&answer), answer.len, 0);
	b64 = text(doc, "/status/certificate");
	if (b64)
		ret = base64_get(b64, strlen(b64), cert) < 0 ? -EBADMSG : 1;
	else if (str_eq(text(doc, "/status/conditions/0/type"), "Denied"))
		ret = err_set(e, -EACCES, "the certificate was denied: %s",
			      text(doc, "/status/conditions/0/message") ?: "");
	yyjson_doc_free(doc);
	return ret;
}

static int ask(struct remote *r, const struct buf *pem, bool serving,
	       struct buf *cert, struct err *e)
{
	auto_buf struct buf body = BUF_INIT, answer = BUF_INIT;
	auto_free char *path = NULL;
	yyjson_doc *doc;
	int ret;

	put_request(pem, serving, &body);
	ret = remote_request(r, "POST", CSRS, buf_str(&body), NULL, &answer, e);
	ret = ret < 0 ? ret : rest_check(ret, &answer, e);
	if (ret < 0)
		return ret;
	doc = yyjson_read(buf_str(&answer), answer.len, 0);
	path = str_printf(CSRS "/%s", text(doc, "/metadata/name") ?: "");
	yyjson_doc_free(doc);
	if (!path)
		return -ENOMEM;
	for (int ms = 0; ms < WAIT_MS; ms += LOOK_MS) {
		ret = look(r, path, cert, e);
		if (ret != 0)
			return ret < 0 ? ret : 0;
		if (!remote_pause(r, LOOK_MS))
			return -ESHUTDOWN;
	}
	return err_set(e, -ETIMEDOUT,
		       "the certificate was not signed in time; look at "
		       "'kubectl get csr'");
}

/* A fresh key, and a certificate of the API server's CA for it. */
static int renew(struct remote *r, bool serving, struct buf *cert,
		 struct buf *key, struct err *e)
{
	__attribute__((cleanup(free_key))) EVP_PKEY *k = EVP_EC_gen("P-256");
	auto_buf struct buf pem = BUF_INIT;
	int ret = k ? make_request(r, k, serving, &pem) : -ENOMEM;

	if (ret == 0)
		ret = key_pem(k, key);
	if (ret < 0)
		return err_set(e, ret, "cannot make a key");
	return ask(r, &pem, serving, cert, e);
}

/* --- how long --- */

static X509 *read_cert(const struct buf *pem)
{
	BIO *bio = BIO_new_mem_buf(pem->data, (int)pem->len);
	X509 *x = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;

	BIO_free(bio);
	return x;
}

static int64_t seconds_between(const ASN1_TIME *from, const ASN1_TIME *to)
{
	int days = 0, seconds = 0;

	if (!ASN1_TIME_diff(&days, &seconds, from, to))
		return 0;
	return (int64_t)days * 86400 + seconds;
}

/* Is it time for a new one? */
static bool is_due(const struct buf *pem)
{
	X509 *x = pem->len ? read_cert(pem) : NULL;
	bool due = true;

	if (x) {
		const ASN1_TIME *begin = X509_get0_notBefore(x);
		const ASN1_TIME *end = X509_get0_notAfter(x);
		int64_t life = seconds_between(begin, end);

		due = seconds_between(NULL, end) < life / RENEW_SHARE;
	}
	X509_free(x);
	return due;
}

/* --- the server's --- */

static void pki_path(const struct remote *r, const char *name, char path[512])
{
	snprintf(path, 512, "%s/pki/%s", r->o.state_dir, name);
}

static int keep_files(const struct remote *r, const struct buf *cert,
		      const struct buf *key, struct err *e)
{
	char path[512];
	int ret;

	pki_path(r, "", path);
	ret = fs_mkdirs(path, 0700, e);
	pki_path(r, "serving.key", path);
	if (ret == 0)
		ret = fs_write_atomic(AT_FDCWD, path, key->data, key->len, 0600,
				      e);
	pki_path(r, "serving.crt", path);
	if (ret == 0)
		ret = fs_write_atomic(AT_FDCWD, path, cert->data, cert->len,
				      0600, e);
	return ret;
}

static bool fits(const struct buf *cert, const struct buf *key,
		 const struct remote *r)
{
	BIO *kb = BIO_new_mem_buf(key->data, (int)key->len);
	EVP_PKEY *k = kb ? PEM_read_bio_PrivateKey(kb, NULL, NULL, NULL) : NULL;
	X509 *x = read_cert(cert);
	bool good = k && x && X509_check_private_key(x, k) == 1 &&
		    X509_check_ip_asc(x, r->host_ip, 0) == 1 &&
		    X509_check_host(x, r->o.node_name, 0, 0, NULL) == 1;

	X509_free(x);
	EVP_PKEY_free(k);
	BIO_free(kb);
	return good;
}

static int self_signed(struct remote *r, struct buf *cert, struct buf *key)
{
	__attribute__((cleanup(free_key))) EVP_PKEY *k = EVP_EC_gen("P-256");
	BIO *bio = BIO_new(BIO_s_mem());
	X509 *x = X509_new();
	int ret = -ENOMEM;

	if (k && bio && x && X509_set_version(x, 2) &&
	    ASN1_INTEGER_set(X509_get_serialNumber(x), 1) &&
	    X509_gmtime_adj(X509_getm_notBefore(x), 0) &&
	    X509_gmtime_adj(X509_getm_notAfter(x), FIRST_DAYS * 86400L) &&
	    set_name(X509_get_subject_name(x), r) == 0 &&
	    X509_set_issuer_name(x, X509_get_subject_name(x)) &&
	    X509_set_pubkey(x, k) && X509_sign(x, k, EVP_sha256()) &&
	    PEM_write_bio_X509(bio, x) && key_pem(k, key) == 0)
		ret = take_bio(bio, cert);
	X509_free(x);
	BIO_free(bio);
	return ret;
}

int certs_first(struct remote *r, struct buf *cert, struct buf *key,
		struct err *e)
{
	char path[512];

	pki_path(r, "serving.crt", path);
	if (fs_read(AT_FDCWD, path, PEM_MAX, cert, NULL) == 0) {
		pki_path(r, "serving.key", path);
		if (fs_read(AT_FDCWD, path, PEM_MAX, key, NULL) == 0 &&
		    fits(cert, key, r)) {
			(void)buf_add(&r->serving_cert, cert->data, cert->len);
			return 0;
		}
	}
	buf_reset(cert);
	buf_reset(key);
	if (self_signed(r, cert, key) < 0)
		return err_set(e, -ENOMEM, "cannot make a certificate");
	return 0;
}

static int keep_serving(struct remote *r, bool force, struct err *e)
{
	auto_buf struct buf cert = BUF_INIT, key = BUF_INIT;
	int ret;

	if (!r->serving || (!force && !is_due(&r->serving_cert)))
		return 0;
	ret = renew(r, true, &cert, &key, e);
	if (ret == 0)
		ret = keep_files(r, &cert, &key, e);
	if (ret == 0)
		ret = server_swap_cert(r, &cert, &key);
	if (ret < 0)
		return err_wrap(e, ret, "a certificate for the node's server");
	buf_reset(&r->serving_cert);
	(void)buf_add(&r->serving_cert, cert.data, cert.len);
	log_info("node %s: its server has a certificate of the API server's CA",
		 r->o.node_name);
	return 0;
}

/* --- the one we show --- */

/* The value behind "@key: " in a kubeconfig: where it begins, how long it is.
 * 0: it is not inline, and somebody else's to renew. */
static size_t inline_value(const char *config, const char *key,
			   const char **ret)
{
	const char *at = strstr(config, key);

	if (!at)
		return 0;
	at += strlen(key);
	at += strspn(at, " \"");
	*ret = at;
	return strcspn(at, " \"\r\n,}");
}

/* @config with another value for @key. */
static int replace(struct buf *config, const char *key, const struct buf *pem)
{
	auto_buf struct buf out = BUF_INIT;
	const char *at = NULL;
	size_t len = inline_value(buf_str(config), key, &at);
	int ret;

	if (!len)
		return -ENOENT;
	(void)buf_add(&out, config->data, (size_t)(at - config->data));
	(void)base64_put(&out, pem->data, pem->len);
	ret = buf_puts(&out, at + len);
	if (ret < 0)
		return ret;
	buf_reset(config);
	return buf_add(config, out.data, out.len);
}

static int keep_client(struct remote *r, bool force, struct err *e)
{
	auto_buf struct buf config = BUF_INIT, old = BUF_INIT;
	auto_buf struct buf cert = BUF_INIT, key = BUF_INIT;
	const char *at = NULL;
	size_t len;
	int ret = fs_read(AT_FDCWD, r->o.kubeconfig, PEM_MAX * 4, &config, e);

	if (ret < 0)
		return ret;
	len = inline_value(buf_str(&config), CERT_KEY, &at);
	if (!len || base64_get(at, len, &old) < 0)
		return 0;
	if (!force && !is_due(&old))
		return 0;
	ret = renew(r, false, &cert, &key, e);
	if (ret == 0)
		ret = replace(&config, CERT_KEY, &cert);
	if (ret == 0)
		ret = replace(&config, KEY_KEY, &key);
	if (ret == 0)
		ret = fs_write_atomic(AT_FDCWD, r->o.kubeconfig, config.data,
				      config.len, 0600, e);
	if (ret < 0)
		return err_wrap(e, ret, "a new certificate for this node");
	/* Whoever asks for something from now on does so with it; what is
	 * under way ends as it began. */
	pthread_mutex_lock(&r->lock);
	r->generation++;
	pthread_mutex_unlock(&r->lock);
	log_info("node %s: a new certificate is in %s", r->o.node_name,
		 r->o.kubeconfig);
	return 0;
}

int certs_keep(struct remote *r, struct err *e)
{
	bool force = atomic_exchange(&r->renew, false);
	int ret = keep_client(r, force, e);

	if (ret == 0)
		ret = keep_serving(r, force, e);
	if (ret < 0 && force)
		atomic_store(&r->renew, true);
	return ret;
}

int certs_join(const char *kubeconfig, const char *name, struct buf *cert,
	       struct buf *key, struct err *e)
{
	struct remote_opts o = { .kubeconfig = kubeconfig, .node_name = name };
	struct remote *r = remote_bare(&o);
	struct err why = { 0 };
	int ret;

	if (!r)
		return err_set(e, -ENOMEM, "out of memory");
	ret = renew(r, false, cert, key, &why);
	remote_stop(r);
	if (ret == -EACCES && str_eq(why.msg, "Unauthorized"))
		return err_set(e, ret,
			       "the API server does not take the token: it is "
			       "mistyped, older than a day, or deleted; "
			       "'arktosctl node token' makes another one");
	return ret < 0 ? err_set(e, ret, "%s", why.msg) : 0;
}

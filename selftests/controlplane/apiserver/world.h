/* SPDX-License-Identifier: Apache-2.0 */
/* One API server in this process, and those who ask it. */
#ifndef SELFTESTS_APISERVER_WORLD_H
#define SELFTESTS_APISERVER_WORLD_H

#include <fcntl.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <yyjson.h>

#include "controlplane/apiserver/apiserver.h"
#include "controlplane/client/rest.h"
#include "lib/base64.h"
#include "lib/buf.h"
#include "lib/err.h"
#include "lib/fs.h"
#include "lib/str.h"
#include "selftests/harness.h"

struct world {
	struct api *api;
	char *ca;          /* base64 of its PEM */
	struct rest *root; /* system:masters */
	struct buf answer; /* of the last call */
	yyjson_doc *doc;   /* the same, parsed; NULL: no JSON */
};

static struct rest *world_open(const char *kubeconfig)
{
	static int nr;
	struct rest *c = NULL;
	struct err e = { 0 };
	char path[64];

	snprintf(path, sizeof(path), "kubeconfig-%d", nr++);
	if (fs_write_atomic(AT_FDCWD, path, kubeconfig, strlen(kubeconfig),
			    0600, &e) < 0 ||
	    rest_open(path, &c, &e) < 0)
		printf("# %s: %s\n", path, e.msg);
	return c;
}

/* A user by certificate; @groups with commas, or NULL. */
static __attribute__((unused)) struct rest *world_user(struct world *w,
						       const char *tenant,
						       const char *user,
						       const char *groups)
{
	auto_buf struct buf b = BUF_INIT;
	struct err e = { 0 };

	if (api_kubeconfig(w->api, tenant, user, groups, &b, &e) < 0)
		printf("# %s: %s\n", user, e.msg);
	return world_open(buf_str(&b));
}

/* Whoever shows this token. */
static __attribute__((unused)) struct rest *world_token(struct world *w,
							const char *token)
{
	auto_free char *text = str_printf(
		"apiVersion: v1\nkind: Config\ncurrent-context: c\n"
		"clusters:\n- name: c\n  cluster:\n"
		"    server: https://127.0.0.1:%u\n"
		"    certificate-authority-data: %s\n"
		"users:\n- name: u\n  user: {token: \"%s\"}\n"
		"contexts:\n- name: c\n  context: {cluster: c, user: u}\n",
		api_port(w->api), w->ca, token);

	return world_open(text);
}

/* What a test wants otherwise; before world_start(). */
static uint64_t world_event_ttl_ms;

static __attribute__((unused)) bool world_start(struct world *w)
{
	struct api_opts opts = { .data_dir = "data",
				 .listen = "127.0.0.1:0",
				 .threads = 2,
				 .event_ttl_ms = world_event_ttl_ms };
	auto_buf struct buf pem = BUF_INIT, b64 = BUF_INIT;
	struct err e = { 0 };

	memset(w, 0, sizeof(*w));
	if (api_start(&opts, &w->api, &e) < 0 ||
	    fs_read(AT_FDCWD, "data/ca.crt", 65536, &pem, &e) < 0) {
		printf("# %s\n", e.msg);
		return false;
	}
	base64_put(&b64, pem.data, pem.len);
	w->ca = buf_take(&b64);
	w->root = world_user(w, "system", "root", "system:masters");
	return w->root;
}

static void world_end(struct world *w)
{
	rest_close(w->root);
	yyjson_doc_free(w->doc);
	buf_clear(&w->answer);
	free(w->ca);
	api_stop(w->api);
}

/* One request; its status. Quotes in @fmt are single and become double. */
static __attribute__((format(printf, 5, 6), unused)) int
ask(struct world *w, struct rest *c, const char *method, const char *path,
    const char *fmt, ...)
{
	auto_free char *body = NULL;
	struct err e = { 0 };
	const char *type = strcmp(method, "PATCH") == 0
				   ? "application/merge-patch+json"
				   : NULL;
	int status;
	va_list ap;

	if (fmt) {
		va_start(ap, fmt);
		if (vasprintf(&body, fmt, ap) < 0)
			body = NULL;
		va_end(ap);
		for (char *p = body; p && *p; p++)
			if (*p == '\'')
				*p = '"';
	}
	status = rest_call(c, method, path, body, type, &w->answer, &e);
	if (status < 0)
		printf("# %s %s: %s\n", method, path, e.msg);
	yyjson_doc_free(w->doc);
	w->doc = yyjson_read(buf_str(&w->answer), w->answer.len, 0);
	return status;
}

#define GET(w, c, path)       ask(w, c, "GET", path, NULL)
#define POST(w, c, path, ...) ask(w, c, "POST", path, __VA_ARGS__)

/* A string of the last answer, by JSON pointer; "" when it is not there. */
static __attribute__((unused)) const char *said(struct world *w,
						const char *pointer)
{
	const char *s =
		w->doc ? yyjson_get_str(
				 yyjson_ptr_get(yyjson_doc_get_root(w->doc),
						pointer))
		       : NULL;

	return s ? s : "";
}
#define MSG(w) said(w, "/message")

/* The status is as wanted; if not, say what came. */
#define EXPECT_STATUS(w, want, call)                                        \
	do {                                                                \
		int status_ = (call);                                       \
		if (status_ != (want))                                      \
			FAIL("%s: got %d, want %d: %.300s", #call, status_, \
			     want, buf_str(&(w)->answer));                  \
	} while (0)
#define EXPECT_SAYS(w, part)                               \
	do {                                               \
		if (!strstr(buf_str(&(w)->answer), part))  \
			FAIL("want '%s' in: %.400s", part, \
			     buf_str(&(w)->answer));       \
	} while (0)
#define EXPECT_SILENT(w, part)                                    \
	do {                                                      \
		if (strstr(buf_str(&(w)->answer), part))          \
			FAIL("'%s' must not be in: %.400s", part, \
			     buf_str(&(w)->answer));              \
	} while (0)

/* A signing request, as base64 of its PEM; its key's PEM goes to @key. @os
 * with commas; @alt as "DNS:a,IP:b" or NULL. */
static __attribute__((unused)) char *
make_request(const char *cn, const char *os, const char *alt, struct buf *key)
{
	EVP_PKEY *pkey = EVP_EC_gen("P-256");
	X509_REQ *req = X509_REQ_new();
	X509_NAME *name = X509_REQ_get_subject_name(req);
	BIO *bio = BIO_new(BIO_s_mem());
	auto_buf struct buf b64 = BUF_INIT;
	char *data;
	long len;

	while (os && *os) {
		size_t n = strcspn(os, ",");

		X509_NAME_add_entry_by_txt(name, "O", MBSTRING_UTF8,
					   (const unsigned char *)os, n, -1, 0);
		os += n + (os[n] == ',');
	}
	X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8,
				   (const unsigned char *)cn, -1, -1, 0);
	if (alt) {
		STACK_OF(X509_EXTENSION) *exts = sk_X509_EXTENSION_new_null();

		sk_X509_EXTENSION_push(exts,
				       X509V3_EXT_conf_nid(NULL, NULL,
							   NID_subject_alt_name,
							   alt));
		X509_REQ_add_extensions(req, exts);
		sk_X509_EXTENSION_pop_free(exts, X509_EXTENSION_free);
	}
	X509_REQ_set_pubkey(req, pkey);
	X509_REQ_sign(req, pkey, EVP_sha256());
	PEM_write_bio_X509_REQ(bio, req);
	len = BIO_get_mem_data(bio, &data);
	base64_put(&b64, data, len);
	BIO_reset(bio);
	if (key) {
		PEM_write_bio_PrivateKey(bio, pkey, NULL, NULL, 0, NULL, NULL);
		len = BIO_get_mem_data(bio, &data);
		buf_add(key, data, len);
	}
	BIO_free(bio);
	X509_REQ_free(req);
	EVP_PKEY_free(pkey);
	return buf_take(&b64);
}

/* Ask for a certificate: a CSR of this name. Returns the status. */
static __attribute__((unused)) int
post_request(struct world *w, struct rest *c, const char *tenant,
	     const char *name, const char *signer, const char *usage,
	     const char *request)
{
	auto_free char *path =
		str_printf("/apis/certificates.k8s.io/v1/tenants/%s/"
			   "certificatesigningrequests",
			   tenant);

	return POST(w, c, path,
		    "{'apiVersion':'certificates.k8s.io/v1','kind':"
		    "'CertificateSigningRequest','metadata':{'name':'%s'},"
		    "'spec':{'request':'%s','signerName':'%s','usages':["
		    "'digital signature','%s']}}",
		    name, request, signer, usage);
}

/* Wait for the certificate of a CSR (base64), by watch; "": it was refused. */
static __attribute__((unused)) char *
wait_certificate(struct world *w, struct rest *c, const char *name)
{
	auto_free char *path = str_printf(
		"/apis/certificates.k8s.io/v1/certificatesigningrequests?"
		"watch=1&fieldSelector=metadata.name=%s",
		name);
	struct err e = { 0 };
	char *cert = NULL;
	const char *line;
	size_t len;

	if (rest_stream(c, path, &w->answer, &e) != 200) {
		printf("# watch: %s %s\n", e.msg, buf_str(&w->answer));
		return NULL;
	}
	while (!cert && rest_stream_line(c, &line, &len, &e) == 1) {
		yyjson_doc *doc = yyjson_read(line, len, 0);
		yyjson_val *root = yyjson_doc_get_root(doc);
		const char *text = yyjson_get_str(
			yyjson_ptr_get(root, "/object/status/certificate"));

		if (text)
			cert = strdup(text);
		else if (strstr(line, "\"Failed\""))
			cert = strdup("");
		yyjson_doc_free(doc);
	}
	rest_stream_end(c);
	return cert;
}

/* Who shows this certificate (base64 of PEM) and key (PEM). */
static __attribute__((unused)) struct rest *
world_cert(struct world *w, const char *cert, const struct buf *key)
{
	auto_buf struct buf b64 = BUF_INIT;
	auto_free char *text = NULL;

	base64_put(&b64, key->data, key->len);
	text = str_printf(
		"apiVersion: v1\nkind: Config\ncurrent-context: c\n"
		"clusters:\n- name: c\n  cluster:\n"
		"    server: https://127.0.0.1:%u\n"
		"    certificate-authority-data: %s\n"
		"users:\n- name: u\n  user: {client-certificate-data: %s, "
		"client-key-data: %s}\n"
		"contexts:\n- name: c\n  context: {cluster: c, user: u}\n",
		api_port(w->api), w->ca, cert, buf_str(&b64));
	return world_open(text);
}

static __attribute__((unused)) int make_tenant(struct world *w,
					       const char *name)
{
	return POST(w, w->root, "/api/v1/tenants",
		    "{'apiVersion':'v1','kind':'Tenant','metadata':{'name':"
		    "'%s'},'spec':{'storageClusterId':'0'}}",
		    name);
}

#endif /* SELFTESTS_APISERVER_WORLD_H */

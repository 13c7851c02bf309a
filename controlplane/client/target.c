// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>

#include "controlplane/client/target.h"
#include "lib/buf.h"
#include "lib/err.h"
#include "lib/fs.h"
#include "lib/json.h"
#include "lib/str.h"
#include "lib/yaml.h"

#define CONFIG_MAX (1024 * 1024)

static yyjson_val *named(yyjson_val *list, const char *name)
{
	yyjson_arr_iter it = yyjson_arr_iter_with(list);
	yyjson_val *v;

	while ((v = yyjson_arr_iter_next(&it)))
		if (str_eq(yyjson_get_str(yyjson_obj_get(v, "name")), name))
			return v;
	return NULL;
}

static const char *text_at(yyjson_val *v, const char *key)
{
	return yyjson_get_str(yyjson_obj_get(v, key));
}

/* PEM given inline in base64 (KEY-data) or as a file (KEY). */
static int get_pem(yyjson_val *v, const char *key, struct buf *b, struct err *e)
{
	auto_free char *data_key = str_printf("%s-data", key);
	const char *data = data_key ? text_at(v, data_key) : NULL;
	const char *file = text_at(v, key);
	unsigned char *out;
	int len;

	if (!data && file)
		return fs_read(AT_FDCWD, file, CONFIG_MAX, b, e);
	if (!data)
		return err_set(e, -EBADMSG, "has no %s-data", key);
	out = buf_reserve(b, strlen(data) + 4);
	if (!out)
		return err_set(e, -ENOMEM, "out of memory");
	len = EVP_DecodeBlock(out, (const unsigned char *)data, strlen(data));
	if (len < 0)
		return err_set(e, -EBADMSG, "%s-data is not base64", key);
	buf_commit(b, len);
	return 0;
}

static int use_ca(SSL_CTX *ctx, const struct buf *pem)
{
	BIO *bio = BIO_new_mem_buf(pem->data, pem->len);
	X509 *cert = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
	int ok = cert && X509_STORE_add_cert(SSL_CTX_get_cert_store(ctx), cert);

	X509_free(cert);
	BIO_free(bio);
	return ok ? 0 : -EBADMSG;
}

static int use_cert(SSL_CTX *ctx, const struct buf *cert, const struct buf *key)
{
	BIO *cb = BIO_new_mem_buf(cert->data, cert->len);
	BIO *kb = BIO_new_mem_buf(key->data, key->len);
	X509 *x = cb ? PEM_read_bio_X509(cb, NULL, NULL, NULL) : NULL;
	EVP_PKEY *k = kb ? PEM_read_bio_PrivateKey(kb, NULL, NULL, NULL) : NULL;
	int ok = x && k && SSL_CTX_use_certificate(ctx, x) == 1 &&
		 SSL_CTX_use_PrivateKey(ctx, k) == 1;

	X509_free(x);
	EVP_PKEY_free(k);
	BIO_free(cb);
	BIO_free(kb);
	return ok ? 0 : -EBADMSG;
}

int target_address(const char *server, char **ret_host, char **ret_port)
{
	const char *host = server + strlen("https://"), *end, *rest;
	auto_free char *h = NULL, *p = NULL;

	if (!str_starts(server, "https://"))
		return -EBADMSG;
	end = host + strcspn(host, "/?#");
	if (*host == '[') {
		host++;
		rest = memchr(host, ']', (size_t)(end - host));
		if (!rest)
			return -EBADMSG;
		h = strndup(host, (size_t)(rest++ - host));
	} else {
		rest = memrchr(host, ':', (size_t)(end - host));
		rest = rest ? rest : end;
		h = strndup(host, (size_t)(rest - host));
	}
	if (rest < end && *rest++ != ':')
		return -EBADMSG;
	p = rest < end ? strndup(rest, (size_t)(end - rest)) : strdup("443");
	if (!h || !p)
		return -ENOMEM;
	if (!*h || p[strspn(p, "0123456789")] || end[-1] == ':')
		return -EBADMSG;
	*ret_host = take_ptr(h);
	*ret_port = take_ptr(p);
	return 0;
}

static int use_address(struct target *c, const char *server, struct err *e)
{
	int r = target_address(server ? server : "", &c->host, &c->port);

	if (r == -EBADMSG)
		return err_set(e, r,
			       "has no https server: want "
			       "https://HOST:PORT");
	c->server = strdup(server);
	if (r == 0)
		c->authority =
			str_printf(strchr(c->host, ':') ? "[%s]:%s" : "%s:%s",
				   c->host, c->port);
	return c->server && c->authority ? 0
					 : err_set(e, -ENOMEM, "out of memory");
}

static int use_config(struct target *c, yyjson_val *cluster, yyjson_val *user,
		      struct err *e)
{
	auto_buf struct buf ca = BUF_INIT, cert = BUF_INIT, key = BUF_INIT;
	int r = use_address(c, text_at(cluster, "server"), e);

	if (r == 0)
		r = get_pem(cluster, "certificate-authority", &ca, e);
	if (r == 0)
		r = str_set(&c->token, text_at(user, "token"));
	if (r < 0)
		return r;
	if (c->token && strpbrk(c->token, "\r\n"))
		return err_set(e, -EBADMSG, "its token has more than a line");
	if (use_ca(c->ctx, &ca))
		return err_set(e, -EBADMSG, "its certificates do not load");
	c->ca_pem = strdup(buf_str(&ca));
	if (!c->ca_pem)
		return err_set(e, -ENOMEM, "out of memory");
	if (c->token)
		return 0;
	r = get_pem(user, "client-certificate", &cert, e);
	if (r == 0)
		r = get_pem(user, "client-key", &key, e);
	if (r == 0 && use_cert(c->ctx, &cert, &key))
		r = err_set(e, -EBADMSG, "its certificates do not load");
	return r;
}

static int load_config(struct target *c, const char *text, size_t len,
		       struct err *e)
{
	struct yaml_docs docs = { 0 };
	yyjson_doc *doc = NULL;
	yyjson_val *root, *ctx;
	int r = yaml_to_json(text, len, &docs, e);

	if (r == 0 && docs.nr != 1)
		r = err_set(e, -EBADMSG, "is not one document");
	if (r == 0)
		r = json_parse(docs.v[0].json, docs.v[0].len, &doc, e);
	if (r == 0) {
		root = yyjson_doc_get_root(doc);
		ctx = yyjson_obj_get(named(yyjson_obj_get(root, "contexts"),
					   text_at(root, "current-context")),
				     "context");
		r = use_config(c,
			       yyjson_obj_get(named(yyjson_obj_get(root,
								   "clusters"),
						    text_at(ctx, "cluster")),
					      "cluster"),
			       yyjson_obj_get(named(yyjson_obj_get(root,
								   "users"),
						    text_at(ctx, "user")),
					      "user"),
			       e);
	}
	yyjson_doc_free(doc);
	yaml_docs_clear(&docs);
	return r;
}

int target_parse(const char *text, size_t len, const char *name,
		 struct target **ret, struct err *e)
{
	auto_ptr(target) t = calloc(1, sizeof(*t));
	int r;

	if (!t)
		return err_set(e, -ENOMEM, "out of memory");
	t->ctx = SSL_CTX_new(TLS_client_method());
	if (!t->ctx)
		return err_set(e, -ENOMEM, "tls: out of memory");
	SSL_CTX_set_min_proto_version(t->ctx, TLS1_2_VERSION);
	SSL_CTX_set_verify(t->ctx, SSL_VERIFY_PEER, NULL);
	SSL_CTX_set_mode(t->ctx, SSL_MODE_RELEASE_BUFFERS |
					 SSL_MODE_ENABLE_PARTIAL_WRITE |
					 SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	r = load_config(t, text, len, e);
	if (r < 0)
		return err_wrap(e, r, "%s", name);
	*ret = take_ptr(t);
	return 0;
}

int target_open(const char *kubeconfig, struct target **ret, struct err *e)
{
	auto_buf struct buf text = BUF_INIT;
	int r = fs_read(AT_FDCWD, kubeconfig, CONFIG_MAX, &text, e);

	if (r < 0)
		return r;
	return target_parse(buf_str(&text), text.len, kubeconfig, ret, e);
}

void target_free(struct target *t)
{
	if (!t)
		return;
	SSL_CTX_free(t->ctx);
	free(t->server);
	free(t->host);
	free(t->port);
	free(t->authority);
	free(t->ca_pem);
	free(t->token);
	free(t);
}

SSL *target_session(const struct target *t)
{
	SSL *ssl = SSL_new(t->ctx);
	X509_VERIFY_PARAM *param;

	if (!ssl)
		return NULL;
	param = SSL_get0_param(ssl);
	if (!X509_VERIFY_PARAM_set1_ip_asc(param, t->host)) {
		ERR_clear_error();
		SSL_set_tlsext_host_name(ssl, t->host);
		X509_VERIFY_PARAM_set1_host(param, t->host, 0);
	}
	return ssl;
}

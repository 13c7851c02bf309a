// SPDX-License-Identifier: Apache-2.0
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>

#include "controlplane/apiserver/authn/jwt.h"
#include "lib/base64.h"
#include "lib/buf.h"
#include "lib/err.h"
#include "lib/fs.h"
#include "lib/json.h"
#include "lib/str.h"

#define PEM_MAX   65536
#define TOKEN_LEN 16384
#define SIG_MAX   1024 /* bytes of a signature */
#define EC_HALF   32   /* bytes of r and of s */
#define KNOWN     4096 /* signatures remembered as good */

struct ring_key {
	uint64_t number;
	int64_t made_s;
	EVP_PKEY *key;
	bool ec;
	char id[44]; /* base64url of the public key's SHA-256 */
};

struct keyring {
	char *dir;
	pthread_rwlock_t lock;
	struct ring_key keys[KEYRING_MAX]; /* newest first */
	size_t nr;
	struct timespec changed; /* of the folder */
	/* Hashes of tokens whose signature was good, by their first bytes. */
	pthread_mutex_t known_lock;
	unsigned char (*known)[32];
};

static int ssl_failed(struct err *e, const char *what)
{
	char text[160];

	ERR_error_string_n(ERR_get_error(), text, sizeof(text));
	ERR_clear_error();
	return err_set(e, -EIO, "%s: %s", what, text);
}

/* --- the ring --- */

static void clear_keys(struct ring_key *keys, size_t nr)
{
	for (size_t i = 0; i < nr; i++)
		EVP_PKEY_free(keys[i].key);
}

void keyring_free(struct keyring *k)
{
	if (!k)
		return;
	clear_keys(k->keys, k->nr);
	pthread_rwlock_destroy(&k->lock);
	pthread_mutex_destroy(&k->known_lock);
	free(k->known);
	free(k->dir);
	free(k);
}

/* What a key is called in tokens. */
static int name_key(struct ring_key *key, struct err *e)
{
	auto_buf struct buf text = BUF_INIT;
	unsigned char *der = NULL, hash[32];
	int len = i2d_PUBKEY(key->key, &der);
	int ok =
		len > 0 && EVP_Digest(der, len, hash, NULL, EVP_sha256(), NULL);

	OPENSSL_free(der);
	if (!ok || base64url_put(&text, hash, sizeof(hash)))
		return ssl_failed(e, "service account key");
	snprintf(key->id, sizeof(key->id), "%s", buf_str(&text));
	key->ec = EVP_PKEY_is_a(key->key, "EC");
	if (key->ec ? EVP_PKEY_get_bits(key->key) != 256
		    : !EVP_PKEY_is_a(key->key, "RSA") ||
			      EVP_PKEY_get_bits(key->key) < 2048)
		return err_set(e, -EINVAL,
			       "service account key: want P-256, or RSA of "
			       "2048 bits at least");
	return 0;
}

static int load_key(const char *dir, const char *name, struct ring_key *ret,
		    struct err *e)
{
	auto_free char *path = str_printf("%s/%s", dir, name);
	auto_buf struct buf pem = BUF_INIT;
	struct ring_key key = { .number = strtoull(name, NULL, 10) };
	struct stat st;
	BIO *bio;
	int r;

	if (!path)
		return err_set(e, -ENOMEM, "out of memory");
	r = fs_read(AT_FDCWD, path, PEM_MAX, &pem, e);
	if (r < 0)
		return r;
	if (stat(path, &st) == 0)
		key.made_s = st.st_mtime;
	bio = BIO_new_mem_buf(buf_str(&pem), pem.len);
	key.key = bio ? PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL) : NULL;
	BIO_free(bio);
	if (!key.key)
		return err_wrap(e, ssl_failed(e, "not a private key in PEM"),
				"%s", path);
	r = name_key(&key, e);
	if (r < 0) {
		EVP_PKEY_free(key.key);
		return err_wrap(e, r, "%s", path);
	}
	*ret = key;
	return 0;
}

static int newest_first(const void *a, const void *b)
{
	const struct ring_key *x = a, *y = b;

	return x->number < y->number ? 1 : x->number > y->number ? -1 : 0;
}

/* NUMBER.key */
static bool is_key_name(const char *name)
{
	size_t n = strspn(name, "0123456789");

	return n && n < 16 && strcmp(name + n, ".key") == 0;
}

static int load_all(const char *dir, struct ring_key *keys, size_t *ret_nr,
		    struct err *e)
{
	DIR *d = opendir(dir);
	struct dirent *entry;
	size_t nr = 0;
	int r = 0;

	if (!d)
		return err_sys(e, "open '%s'", dir);
	while (r == 0 && (entry = readdir(d))) {
		if (!is_key_name(entry->d_name))
			continue;
		if (nr == KEYRING_MAX)
			r = err_set(e, -E2BIG,
				    "%s: more than %d keys: remove old ones",
				    dir, KEYRING_MAX);
		else
			r = load_key(dir, entry->d_name, &keys[nr], e);
		nr += r == 0;
	}
	closedir(d);
	if (r < 0) {
		clear_keys(keys, nr);
		return r;
	}
	qsort(keys, nr, sizeof(*keys), newest_first);
	*ret_nr = nr;
	return 0;
}

int keyring_refresh(struct keyring *k, struct err *e)
{
	struct ring_key keys[KEYRING_MAX];
	struct stat st;
	size_t nr = 0;
	int r;

	if (stat(k->dir, &st) != 0)
		return err_sys(e, "stat '%s'", k->dir);
	if (k->nr && st.st_mtim.tv_sec == k->changed.tv_sec &&
	    st.st_mtim.tv_nsec == k->changed.tv_nsec)
		return 0;
	r = load_all(k->dir, keys, &nr, e);
	if (r < 0)
		return r;
	if (!nr && k->nr)
		return err_set(e, -ENOENT, "%s: all keys are gone", k->dir);
	pthread_rwlock_wrlock(&k->lock);
	clear_keys(k->keys, k->nr);
	memcpy(k->keys, keys, nr * sizeof(*keys));
	k->nr = nr;
	k->changed = st.st_mtim;
	pthread_rwlock_unlock(&k->lock);
	/* What a retired key has signed is no longer known. */
	pthread_mutex_lock(&k->known_lock);
	free(k->known);
	k->known = NULL;
	pthread_mutex_unlock(&k->known_lock);
	return 1;
}

int keyring_rotate(struct keyring *k, struct err *e)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	BIO *bio = BIO_new(BIO_s_mem());
	auto_free char *path = NULL;
	char *data;
	long len;
	int r;

	path = str_printf("%s/%llu.key", k->dir,
			  (unsigned long long)(k->nr ? k->keys[0].number + 1
						     : 1));
	if (!key || !bio || !path ||
	    !PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL)) {
		r = ssl_failed(e, "service accounts: make a key");
	} else {
		len = BIO_get_mem_data(bio, &data);
		r = fs_write_atomic(AT_FDCWD, path, data, len, 0600, e);
	}
	BIO_free(bio);
	EVP_PKEY_free(key);
	if (r == 0)
		r = keyring_refresh(k, e);
	return r < 0 ? r : 0;
}

int64_t keyring_age_s(struct keyring *k, int64_t now_s)
{
	int64_t made;

	pthread_rwlock_rdlock(&k->lock);
	made = k->keys[0].made_s;
	pthread_rwlock_unlock(&k->lock);
	return now_s - made;
}

int keyring_open(const char *dir, struct keyring **ret, struct err *e)
{
	auto_ptr(keyring) k = calloc(1, sizeof(*k));
	int r;

	if (!k)
		return err_set(e, -ENOMEM, "out of memory");
	pthread_rwlock_init(&k->lock, NULL);
	pthread_mutex_init(&k->known_lock, NULL);
	if (str_set(&k->dir, dir))
		return err_set(e, -ENOMEM, "out of memory");
	r = fs_mkdirs(dir, 0700, e);
	if (r == 0)
		r = keyring_refresh(k, e);
	if (r >= 0 && !k->nr)
		r = keyring_rotate(k, e);
	if (r < 0)
		return r;
	*ret = take_ptr(k);
	return 0;
}

/* --- signing --- */

/* ECDSA's signature as tokens carry it: r and s, 32 bytes each. */
static int raw_signature(const unsigned char *der, size_t len,
			 unsigned char out[EC_HALF * 2])
{
	ECDSA_SIG *sig = d2i_ECDSA_SIG(NULL, &der, (long)len);
	int ok = sig &&
		 BN_bn2binpad(ECDSA_SIG_get0_r(sig), out, EC_HALF) == EC_HALF &&
		 BN_bn2binpad(ECDSA_SIG_get0_s(sig), out + EC_HALF, EC_HALF) ==
			 EC_HALF;

	ECDSA_SIG_free(sig);
	return ok ? 0 : -EIO;
}

static int der_signature(const unsigned char raw[EC_HALF * 2],
			 unsigned char **ret, size_t *ret_len)
{
	ECDSA_SIG *sig = ECDSA_SIG_new();
	BIGNUM *r = BN_bin2bn(raw, EC_HALF, NULL);
	BIGNUM *s = BN_bin2bn(raw + EC_HALF, EC_HALF, NULL);
	int len = -1;

	if (sig && r && s && ECDSA_SIG_set0(sig, r, s)) {
		r = s = NULL;
		len = i2d_ECDSA_SIG(sig, ret);
	}
	BN_free(r);
	BN_free(s);
	ECDSA_SIG_free(sig);
	*ret_len = len > 0 ? (size_t)len : 0;
	return len > 0 ? 0 : -EIO;
}

static int sign(const struct ring_key *key, const struct buf *text,
		struct buf *b)
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	unsigned char sig[SIG_MAX], raw[EC_HALF * 2];
	size_t len = sizeof(sig);
	int r = -EIO;

	if (ctx &&
	    EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, key->key) == 1 &&
	    EVP_DigestSign(ctx, sig, &len, (unsigned char *)buf_str(text),
			   text->len) == 1)
		r = key->ec ? raw_signature(sig, len, raw) : 0;
	EVP_MD_CTX_free(ctx);
	if (r < 0)
		return r;
	return key->ec ? base64url_put(b, raw, sizeof(raw))
		       : base64url_put(b, sig, len);
}

int jwt_sign(struct keyring *k, const char *claims, struct buf *b,
	     struct err *e)
{
	auto_buf struct buf text = BUF_INIT, head = BUF_INIT;
	int r;

	pthread_rwlock_rdlock(&k->lock);
	buf_printf(&head, "{\"alg\":\"%s\",\"kid\":\"%s\"}",
		   k->keys[0].ec ? "ES256" : "RS256", k->keys[0].id);
	r = base64url_put(&text, head.data, head.len);
	buf_putc(&text, '.');
	if (r == 0)
		r = base64url_put(&text, claims, strlen(claims));
	if (r == 0) {
		buf_add(b, text.data, text.len);
		buf_putc(b, '.');
		r = sign(&k->keys[0], &text, b);
	}
	pthread_rwlock_unlock(&k->lock);
	return r < 0 ? ssl_failed(e, "sign a token") : buf_error(b);
}

/* --- verifying --- */

static bool verify(const struct ring_key *key, const char *text, size_t len,
		   const struct buf *sig)
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	unsigned char *der = NULL;
	const unsigned char *p = (unsigned char *)buf_str(sig);
	size_t n = sig->len;
	bool good = ctx;

	if (key->ec) {
		good = good && n == EC_HALF * 2 &&
		       der_signature(p, &der, &n) == 0;
		p = der;
	}
	good = good &&
	       EVP_DigestVerifyInit(ctx, NULL, EVP_sha256(), NULL, key->key) ==
		       1 &&
	       EVP_DigestVerify(ctx, p, n, (const unsigned char *)text, len) ==
		       1;
	ERR_clear_error();
	OPENSSL_free(der);
	EVP_MD_CTX_free(ctx);
	return good;
}

/* A part of the token as a JSON object. */
static yyjson_doc *part(const char *p, size_t len)
{
	auto_buf struct buf text = BUF_INIT;
	struct json_limits limits = { .len = TOKEN_LEN,
				      .nodes = 1024,
				      .depth = 16 };
	yyjson_doc *doc = NULL;

	if (base64url_get(p, len, &text) ||
	    json_parse_within(buf_str(&text), text.len, &limits, &doc, NULL))
		return NULL;
	if (!yyjson_is_obj(yyjson_doc_get_root(doc))) {
		yyjson_doc_free(doc);
		return NULL;
	}
	return doc;
}

struct parts {
	const char *head, *claims, *sig;
	size_t head_len, claims_len, sig_len;
};

static bool split(const char *token, struct parts *p)
{
	const char *one = strchr(token, '.');
	const char *two = one ? strchr(one + 1, '.') : NULL;

	if (!two || strchr(two + 1, '.') || strlen(token) > TOKEN_LEN)
		return false;
	*p = (struct parts){ .head = token,
			     .head_len = one - token,
			     .claims = one + 1,
			     .claims_len = two - one - 1,
			     .sig = two + 1,
			     .sig_len = strlen(two + 1) };
	return true;
}

/* Has this very token been found good before? */
static bool is_known(struct keyring *k, const unsigned char hash[32])
{
	size_t at = (hash[0] << 8 | hash[1]) % KNOWN;
	bool known;

	pthread_mutex_lock(&k->known_lock);
	known = k->known && memcmp(k->known[at], hash, 32) == 0;
	pthread_mutex_unlock(&k->known_lock);
	return known;
}

static void remember(struct keyring *k, const unsigned char hash[32])
{
	pthread_mutex_lock(&k->known_lock);
	if (!k->known)
		k->known = calloc(KNOWN, sizeof(*k->known));
	if (k->known)
		memcpy(k->known[(hash[0] << 8 | hash[1]) % KNOWN], hash, 32);
	pthread_mutex_unlock(&k->known_lock);
}

static bool signature_is_good(struct keyring *k, const char *token,
			      const struct parts *p)
{
	auto_buf struct buf sig = BUF_INIT;
	yyjson_doc *head;
	const char *alg, *kid;
	bool good = false;

	head = part(p->head, p->head_len);
	alg = yyjson_get_str(yyjson_obj_get(yyjson_doc_get_root(head), "alg"));
	kid = yyjson_get_str(yyjson_obj_get(yyjson_doc_get_root(head), "kid"));
	if (!alg || !kid || base64url_get(p->sig, p->sig_len, &sig)) {
		yyjson_doc_free(head);
		return false;
	}
	pthread_rwlock_rdlock(&k->lock);
	for (size_t i = 0; i < k->nr && !good; i++)
		/* The key says which algorithm, not the token. */
		good = strcmp(kid, k->keys[i].id) == 0 &&
		       strcmp(alg, k->keys[i].ec ? "ES256" : "RS256") == 0 &&
		       verify(&k->keys[i], token, p->sig - 1 - token, &sig);
	pthread_rwlock_unlock(&k->lock);
	yyjson_doc_free(head);
	return good;
}

int jwt_verify(struct keyring *k, const char *token, yyjson_doc **ret,
	       struct err *e)
{
	unsigned char hash[32];
	struct parts p;
	yyjson_doc *claims;

	if (!split(token, &p))
		return err_set(e, -EBADMSG, "not a signed token");
	if (!EVP_Digest(token, strlen(token), hash, NULL, EVP_sha256(), NULL))
		return ssl_failed(e, "token");
	if (!is_known(k, hash)) {
		if (!signature_is_good(k, token, &p))
			return err_set(e, -EACCES,
				       "the token is signed by none of our "
				       "keys");
		remember(k, hash);
	}
	claims = part(p.claims, p.claims_len);
	if (!claims)
		return err_set(e, -EBADMSG, "the token's claims are no JSON");
	*ret = claims;
	return 0;
}

int jwt_claims(const char *token, yyjson_doc **ret, struct err *e)
{
	struct parts p;

	*ret = split(token, &p) ? part(p.claims, p.claims_len) : NULL;
	return *ret ? 0 : err_set(e, -EBADMSG, "not a signed token");
}

/* --- the public half --- */

static int put_number(struct json_out *o, const char *name, const BIGNUM *n,
		      int size)
{
	auto_buf struct buf text = BUF_INIT;
	unsigned char bytes[SIG_MAX];

	if (!size)
		size = BN_num_bytes(n);
	if (size > SIG_MAX || BN_bn2binpad(n, bytes, size) != size)
		return -EIO;
	base64url_put(&text, bytes, size);
	json_put_str(o, name, buf_str(&text));
	return 0;
}

static int put_param(struct json_out *o, const char *name, EVP_PKEY *key,
		     const char *param, int size)
{
	BIGNUM *n = NULL;
	int r = -EIO;

	if (EVP_PKEY_get_bn_param(key, param, &n) == 1)
		r = put_number(o, name, n, size);
	BN_free(n);
	return r;
}

int keyring_jwks(struct keyring *k, struct buf *b)
{
	struct json_out o = JSON_OUT(b);
	int r = 0;

	json_put_object(&o, NULL);
	json_put_array(&o, "keys");
	pthread_rwlock_rdlock(&k->lock);
	for (size_t i = 0; i < k->nr; i++) {
		struct ring_key *key = &k->keys[i];

		json_put_object(&o, NULL);
		json_put_str(&o, "use", "sig");
		json_put_str(&o, "kty", key->ec ? "EC" : "RSA");
		json_put_str(&o, "kid", key->id);
		json_put_str(&o, "alg", key->ec ? "ES256" : "RS256");
		if (key->ec) {
			json_put_str(&o, "crv", "P-256");
			r |= put_param(&o, "x", key->key,
				       OSSL_PKEY_PARAM_EC_PUB_X, EC_HALF);
			r |= put_param(&o, "y", key->key,
				       OSSL_PKEY_PARAM_EC_PUB_Y, EC_HALF);
		} else {
			r |= put_param(&o, "n", key->key, OSSL_PKEY_PARAM_RSA_N,
				       0);
			r |= put_param(&o, "e", key->key, OSSL_PKEY_PARAM_RSA_E,
				       0);
		}
		json_put_end(&o);
	}
	pthread_rwlock_unlock(&k->lock);
	json_put_end(&o);
	json_put_end(&o);
	return r ? -EIO : buf_error(b);
}

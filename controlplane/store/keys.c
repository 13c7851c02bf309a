// SPDX-License-Identifier: Apache-2.0
/* The key file, and AES-256-GCM with its keys. */
#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <openssl/sha.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/stat.h>

#include "controlplane/store/keys.h"
#include "lib/buf.h"
#include "lib/fs.h"
#include "lib/random.h"

#define KEY_BYTES   32
#define ID_BYTES    4
#define NONCE_BYTES 12
#define TAG_BYTES   16
#define FILE_MAX    65536

struct key {
	unsigned char id[ID_BYTES]; /* of the key's hash, so it has no name */
	unsigned char bytes[KEY_BYTES];
};

struct store_keys {
	pthread_rwlock_t lock;
	char *path;
	size_t nr;
	struct key v[STORE_KEYS_MAX];
};

static int parse_line(const char *line, size_t len, struct key *ret)
{
	unsigned char raw[3 * 16], hash[SHA256_DIGEST_LENGTH];
	int n;

	if (len != 44)
		return -EINVAL;
	n = EVP_DecodeBlock(raw, (const unsigned char *)line, (int)len);
	if (n != 33 || line[43] != '=' || line[42] == '=')
		return -EINVAL;
	memcpy(ret->bytes, raw, KEY_BYTES);
	SHA256(raw, KEY_BYTES, hash);
	memcpy(ret->id, hash, ID_BYTES);
	OPENSSL_cleanse(raw, sizeof(raw));
	return 0;
}

static int parse(const char *path, const char *text, struct key *v,
		 size_t *ret_nr, struct err *e)
{
	size_t nr = 0, line = 0;

	while (*text) {
		size_t len = strcspn(text, "\n"), trimmed = len;

		line++;
		while (trimmed && strchr(" \t\r", text[trimmed - 1]))
			trimmed--;
		if (trimmed && *text != '#') {
			if (nr == STORE_KEYS_MAX)
				return err_set(e, -EINVAL,
					       "%s: more than %d keys", path,
					       STORE_KEYS_MAX);
			if (parse_line(text, trimmed, &v[nr++]))
				return err_set(e, -EINVAL,
					       "%s: line %zu is not a key: "
					       "want 32 bytes in base64",
					       path, line);
		}
		text += len + (text[len] == '\n');
	}
	if (!nr)
		return err_set(e, -EINVAL, "%s holds no key", path);
	*ret_nr = nr;
	return 0;
}

static int read_keys(const char *path, struct key *v, size_t *ret_nr,
		     struct err *e)
{
	auto_buf struct buf b = BUF_INIT;
	struct stat st;
	int r;

	if (stat(path, &st))
		return err_sys(e, "encryption keys '%s'", path);
	if (st.st_mode & 077)
		return err_set(e, -EACCES,
			       "encryption keys '%s' may be read by others: "
			       "chmod 0600 it",
			       path);
	r = fs_read(AT_FDCWD, path, FILE_MAX, &b, e);
	if (r == 0)
		r = parse(path, buf_str(&b), v, ret_nr, e);
	if (b.data)
		OPENSSL_cleanse(b.data, b.len);
	return r;
}

/* A new random key, followed by what @path holds now. */
static int prepend(const char *path, bool fresh, struct err *e)
{
	auto_buf struct buf b = BUF_INIT;
	unsigned char raw[KEY_BYTES], text[48];
	int r = 0;

	if (RAND_priv_bytes(raw, sizeof(raw)) != 1)
		return err_set(e, -EIO, "no random numbers");
	EVP_EncodeBlock(text, raw, sizeof(raw));
	buf_puts(&b, (char *)text);
	buf_putc(&b, '\n');
	if (!fresh)
		r = fs_read(AT_FDCWD, path, FILE_MAX, &b, e);
	if (r == 0)
		r = fs_write_atomic(AT_FDCWD, path, b.data, b.len, 0600, e);
	OPENSSL_cleanse(raw, sizeof(raw));
	OPENSSL_cleanse(text, sizeof(text));
	if (b.data)
		OPENSSL_cleanse(b.data, b.len);
	return r;
}

int store_keys_open(const char *path, bool create, struct store_keys **ret,
		    struct err *e)
{
	struct store_keys *k;
	int r = 0;

	if (create && !fs_exists(AT_FDCWD, path))
		r = prepend(path, true, e);
	if (r < 0)
		return r;
	k = calloc(1, sizeof(*k));
	if (!k)
		return err_set(e, -ENOMEM, "out of memory");
	pthread_rwlock_init(&k->lock, NULL);
	k->path = strdup(path);
	r = k->path ? read_keys(path, k->v, &k->nr, e) : -ENOMEM;
	if (r < 0) {
		store_keys_free(k);
		return r;
	}
	*ret = k;
	return 0;
}

void store_keys_free(struct store_keys *k)
{
	if (!k)
		return;
	OPENSSL_cleanse(k->v, sizeof(k->v));
	pthread_rwlock_destroy(&k->lock);
	free(k->path);
	free(k);
}

int store_keys_reload(struct store_keys *k, struct err *e)
{
	struct key v[STORE_KEYS_MAX];
	size_t nr = 0;
	int r = read_keys(k->path, v, &nr, e);

	if (r == 0) {
		pthread_rwlock_wrlock(&k->lock);
		memcpy(k->v, v, sizeof(v));
		k->nr = nr;
		pthread_rwlock_unlock(&k->lock);
	}
	OPENSSL_cleanse(v, sizeof(v));
	return r;
}

int store_keys_rotate(struct store_keys *k, struct err *e)
{
	int r;

	if (k->nr == STORE_KEYS_MAX)
		return err_set(e, -ENOSPC,
			       "%s holds %d keys already: re-encrypt, then "
			       "take old ones out",
			       k->path, STORE_KEYS_MAX);
	r = prepend(k->path, false, e);
	return r < 0 ? r : store_keys_reload(k, e);
}

/*
 * Two contexts a thread, for sealing and for opening, each with the key it was
 * used with last: looking up the cipher and expanding a key cost more than a
 * small object does.
 */
struct gcm {
	EVP_CIPHER_CTX *ctx;
	unsigned char key[KEY_BYTES];
	bool has_key;
};

struct gcm_pair {
	struct gcm v[2];
};

static __thread struct gcm_pair *thread_gcm;
static pthread_key_t gcm_key;
static pthread_once_t gcm_once = PTHREAD_ONCE_INIT;
static EVP_CIPHER *gcm_cipher;

static void free_gcm(void *arg)
{
	struct gcm_pair *p = arg;

	for (int i = 0; i < 2; i++)
		EVP_CIPHER_CTX_free(p->v[i].ctx);
	OPENSSL_cleanse(p, sizeof(*p));
	free(p);
}

static void make_gcm(void)
{
	(void)pthread_key_create(&gcm_key, free_gcm);
	gcm_cipher = EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL);
}

static struct gcm *gcm_get(bool seal)
{
	struct gcm *g;

	pthread_once(&gcm_once, make_gcm);
	if (!thread_gcm) {
		thread_gcm = calloc(1, sizeof(*thread_gcm));
		(void)pthread_setspecific(gcm_key, thread_gcm);
	}
	if (!thread_gcm || !gcm_cipher)
		return NULL;
	g = &thread_gcm->v[seal];
	if (!g->ctx)
		g->ctx = EVP_CIPHER_CTX_new();
	return g->ctx ? g : NULL;
}

static int gcm_begin(struct gcm *g, const struct key *key, bool seal,
		     const unsigned char *nonce)
{
	if (g->has_key && memcmp(g->key, key->bytes, KEY_BYTES) == 0)
		return EVP_CipherInit_ex2(g->ctx, NULL, NULL, nonce, seal,
					  NULL);
	g->has_key = EVP_CipherInit_ex2(g->ctx, gcm_cipher, key->bytes, nonce,
					seal, NULL) == 1;
	memcpy(g->key, key->bytes, KEY_BYTES);
	return g->has_key;
}

static int gcm(const struct key *key, bool seal, const unsigned char *nonce,
	       unsigned char *tag, void *data, size_t len, const void *aad,
	       size_t aad_len)
{
	struct gcm *g = gcm_get(seal);
	int n;

	if (!g || gcm_begin(g, key, seal, nonce) != 1 ||
	    EVP_CipherUpdate(g->ctx, NULL, &n, aad, (int)aad_len) != 1 ||
	    EVP_CipherUpdate(g->ctx, data, &n, data, (int)len) != 1)
		return -EIO;
	if (!seal && EVP_CIPHER_CTX_ctrl(g->ctx, EVP_CTRL_GCM_SET_TAG,
					 TAG_BYTES, tag) != 1)
		return -EIO;
	if (EVP_CipherFinal_ex(g->ctx, (unsigned char *)data + n, &n) != 1)
		return seal ? -EIO : -EBADMSG;
	if (seal && EVP_CIPHER_CTX_ctrl(g->ctx, EVP_CTRL_GCM_GET_TAG, TAG_BYTES,
					tag) != 1)
		return -EIO;
	return 0;
}

int store_seal(struct store_keys *k, unsigned char seal[STORE_SEAL_BYTES],
	       void *data, size_t len, const void *aad, size_t aad_len)
{
	unsigned char *nonce = seal + ID_BYTES;
	struct key key;
	int r;

	pthread_rwlock_rdlock(&k->lock);
	key = k->v[0];
	pthread_rwlock_unlock(&k->lock);
	memcpy(seal, key.id, ID_BYTES);
	if (random_bytes(nonce, NONCE_BYTES))
		return -EIO;
	r = gcm(&key, true, nonce, nonce + NONCE_BYTES, data, len, aad,
		aad_len);
	OPENSSL_cleanse(&key, sizeof(key));
	return r;
}

int store_unseal(struct store_keys *k, const unsigned char *seal, void *data,
		 size_t len, const void *aad, size_t aad_len)
{
	const unsigned char *nonce = seal + ID_BYTES;
	unsigned char tag[TAG_BYTES];
	int r = -ENOKEY;

	memcpy(tag, nonce + NONCE_BYTES, TAG_BYTES);
	pthread_rwlock_rdlock(&k->lock);
	for (size_t i = 0; i < k->nr && r == -ENOKEY; i++)
		if (memcmp(k->v[i].id, seal, ID_BYTES) == 0)
			r = gcm(&k->v[i], false, nonce, tag, data, len, aad,
				aad_len);
	pthread_rwlock_unlock(&k->lock);
	return r;
}

bool store_seal_is_current(struct store_keys *k, const unsigned char *seal)
{
	bool is;

	pthread_rwlock_rdlock(&k->lock);
	is = memcmp(k->v[0].id, seal, ID_BYTES) == 0;
	pthread_rwlock_unlock(&k->lock);
	return is;
}

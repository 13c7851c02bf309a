/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Encryption at rest: AES-256-GCM over an object's bytes and tags.
 *
 * A key file has one key a line, in base64 (32 bytes); '#' begins a comment.
 * The first key seals, all of them open. To rotate: put a new key in front of
 * the others, have every process read the file again, re-encrypt, and only then
 * take the old one out.
 */
#ifndef CONTROLPLANE_STORE_KEYS_H
#define CONTROLPLANE_STORE_KEYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/auto.h"
#include "lib/err.h"

#define STORE_KEYS_MAX   32
#define STORE_SEAL_BYTES 32 /* key id, nonce, and tag in front of the bytes */

struct store_keys;

/**
 * store_keys_open() - Read a key file.
 * @path:   File, which nobody but its owner may read.
 * @create: Make one with a random key (mode 0600) when it is missing.
 * @ret:    The keys, owned by the caller.
 * @e:      Filled on error.
 *
 * Return: 0, -ENOENT, -EACCES (others may read it), -EINVAL (not a key file).
 */
int store_keys_open(const char *path, bool create, struct store_keys **ret,
		    struct err *e);
void store_keys_free(struct store_keys *k);
DEFINE_AUTO_PTR(store_keys, store_keys_free)

/* Read the file again. What had been read stays when that fails. */
int store_keys_reload(struct store_keys *k, struct err *e);

/* Put a new random key in front of those in the file, and read it again. */
int store_keys_rotate(struct store_keys *k, struct err *e);

/* Encrypt @len bytes in place; the seal goes to @seal. @aad is authenticated
 * with them. 0 or -EIO. Thread-safe. */
int store_seal(struct store_keys *k, unsigned char seal[STORE_SEAL_BYTES],
	       void *data, size_t len, const void *aad, size_t aad_len);

/* Decrypt in place. -ENOKEY: none of the keys is the one; -EBADMSG. */
int store_unseal(struct store_keys *k, const unsigned char *seal, void *data,
		 size_t len, const void *aad, size_t aad_len);

/* Was this sealed with the key that seals now? */
bool store_seal_is_current(struct store_keys *k, const unsigned char *seal);

#endif /* CONTROLPLANE_STORE_KEYS_H */

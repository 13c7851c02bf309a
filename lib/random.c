// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <string.h>

#include "lib/random.h"

#define POOL_BYTES 512

int random_bytes(void *buf, size_t len)
{
	static __thread unsigned char pool[POOL_BYTES];
	static __thread size_t left;

	if (len > sizeof(pool) / 4)
		return RAND_bytes(buf, (int)len) == 1 ? 0 : -EIO;
	if (left < len) {
		if (RAND_bytes(pool, sizeof(pool)) != 1)
			return -EIO;
		left = sizeof(pool);
	}
	left -= len;
	memcpy(buf, pool + left, len);
	OPENSSL_cleanse(pool + left, len); /* nobody gets it again */
	return 0;
}

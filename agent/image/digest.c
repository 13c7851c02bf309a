// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <openssl/evp.h>
#include <string.h>
#include <unistd.h>

#include "agent/image/digest.h"
#include "lib/auto.h"
#include "lib/str.h"

#define CHUNK (128 * 1024)

void digest_begin(struct digest *d)
{
	d->ctx = EVP_MD_CTX_new();
	if (d->ctx && EVP_DigestInit_ex(d->ctx, EVP_sha256(), NULL) != 1)
		digest_drop(d);
}

void digest_drop(struct digest *d)
{
	EVP_MD_CTX_free(d->ctx);
	d->ctx = NULL;
}

void digest_add(struct digest *d, const void *data, size_t len)
{
	if (d->ctx && EVP_DigestUpdate(d->ctx, data, len) != 1)
		digest_drop(d);
}

int digest_end(struct digest *d, char text[DIGEST_TEXT_MAX])
{
	static const char hex[] = "0123456789abcdef";
	unsigned char sum[EVP_MAX_MD_SIZE];
	size_t at = sizeof(DIGEST_PREFIX) - 1;

	if (!d->ctx || EVP_DigestFinal_ex(d->ctx, sum, NULL) != 1) {
		digest_drop(d);
		return -ENOMEM;
	}
	digest_drop(d);
	memcpy(text, DIGEST_PREFIX, at);
	for (size_t i = 0; i < DIGEST_HEX_LEN / 2; i++) {
		text[at++] = hex[sum[i] >> 4];
		text[at++] = hex[sum[i] & 15];
	}
	text[at] = '\0';
	return 0;
}

int digest_of(const void *data, size_t len, char text[DIGEST_TEXT_MAX])
{
	struct digest d;

	digest_begin(&d);
	digest_add(&d, data, len);
	return digest_end(&d, text);
}

int digest_of_fd(int fd, char text[DIGEST_TEXT_MAX])
{
	auto_free char *chunk = malloc(CHUNK);
	struct digest d;
	ssize_t n;

	if (!chunk)
		return -ENOMEM;
	digest_begin(&d);
	while ((n = read(fd, chunk, CHUNK)) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			n = -errno;
			digest_drop(&d);
			return (int)n;
		}
		digest_add(&d, chunk, (size_t)n);
	}
	return digest_end(&d, text);
}

bool digest_is_valid(const char *text)
{
	const char *hex;

	if (!text || !str_starts(text, DIGEST_PREFIX))
		return false;
	hex = digest_hex(text);
	return strlen(hex) == DIGEST_HEX_LEN &&
	       strspn(hex, "0123456789abcdef") == DIGEST_HEX_LEN;
}

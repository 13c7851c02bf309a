/* SPDX-License-Identifier: Apache-2.0 */
/* "sha256:<64 hex>": the names content goes by. */
#ifndef AGENT_IMAGE_DIGEST_H
#define AGENT_IMAGE_DIGEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DIGEST_PREFIX   "sha256:"
#define DIGEST_HEX_LEN  64
#define DIGEST_TEXT_MAX (sizeof(DIGEST_PREFIX) + DIGEST_HEX_LEN)

struct digest {
	void *ctx; /* NULL: out of memory, reported by digest_end() */
};

void digest_begin(struct digest *d);
void digest_add(struct digest *d, const void *data, size_t len);

/* Write the text and release. 0 or -ENOMEM. */
int digest_end(struct digest *d, char text[DIGEST_TEXT_MAX]);
void digest_drop(struct digest *d); /* release without a result */

/* The digest of @data. 0 or -ENOMEM. */
int digest_of(const void *data, size_t len, char text[DIGEST_TEXT_MAX]);

/* Of a whole file from where it stands. 0 or -errno. */
int digest_of_fd(int fd, char text[DIGEST_TEXT_MAX]);

bool digest_is_valid(const char *text);

/* The 64 hex digits of a valid digest. */
static inline const char *digest_hex(const char *text)
{
	return text + sizeof(DIGEST_PREFIX) - 1;
}

#endif /* AGENT_IMAGE_DIGEST_H */

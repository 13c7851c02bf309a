/* SPDX-License-Identifier: Apache-2.0 */
/* base64, as in Secrets, and base64url without padding, as in tokens. */
#ifndef LIB_BASE64_H
#define LIB_BASE64_H

#include <stddef.h>

struct buf;

int base64_put(struct buf *b, const void *data, size_t len);
int base64url_put(struct buf *b, const void *data, size_t len);

/* Append the bytes that @text stands for. -EBADMSG when it is not base64: a
 * foreign character, wrong padding, bits left over; nothing is appended then.
 * The first form wants padding, the second refuses it. */
int base64_get(const char *text, size_t len, struct buf *b);
int base64url_get(const char *text, size_t len, struct buf *b);

#endif /* LIB_BASE64_H */

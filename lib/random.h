/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LIB_RANDOM_H
#define LIB_RANDOM_H

#include <stddef.h>

/* As RAND_bytes(): of the same quality, but a few bytes at a time cost little:
 * they come from what each thread has fetched in advance. 0 or -EIO. Not for
 * what outlives a fork(): parent and child would get the same. */
int random_bytes(void *buf, size_t len);

#endif /* LIB_RANDOM_H */

/* SPDX-License-Identifier: Apache-2.0 */
/* Between spdy.c and spdy_dict.c. */
#ifndef LIB_HTTP_SPDY_INTERNAL_H
#define LIB_HTTP_SPDY_INTERNAL_H

#include "lib/buf.h"

#define SPDY_DICTIONARY_LEN 1423

/* Append it to @b. */
void spdy_dictionary(struct buf *b);

#endif /* LIB_HTTP_SPDY_INTERNAL_H */

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Protocol buffers by hand: fields appended to a struct buf, and fields read
 * one after another from bytes that nobody vouches for.
 *
 *	size_t at = pb_begin(&b, 1);		a message inside
 *	pb_put_bytes(&b, 1, key, strlen(key));
 *	pb_end(&b, at);
 *
 *	struct pb_in in = { data, data + len };
 *	while ((r = pb_next(&in, &f)) > 0)
 *		switch (f.number) ...
 */
#ifndef LIB_GRPC_PB_H
#define LIB_GRPC_PB_H

#include <stddef.h>
#include <stdint.h>

#include "lib/buf.h"

enum pb_type { PB_VARINT = 0, PB_FIXED64 = 1, PB_BYTES = 2, PB_FIXED32 = 5 };

/* A field that is zero or empty is left out, as proto3 does. */
void pb_put_u64(struct buf *b, uint32_t number, uint64_t value);
void pb_put_bytes(struct buf *b, uint32_t number, const void *data, size_t len);
/* Between these two goes the content of a message. */
size_t pb_begin(struct buf *b, uint32_t number);
void pb_end(struct buf *b, size_t at);

struct pb_in {
	const char *at, *end; /* borrowed */
};

struct pb_field {
	uint32_t number;
	enum pb_type type;
	uint64_t value;   /* of PB_VARINT, PB_FIXED64, PB_FIXED32 */
	const char *data; /* of PB_BYTES; borrowed */
	size_t len;
};

/* Read the next field: 1, 0 at the end, -EBADMSG. */
int pb_next(struct pb_in *in, struct pb_field *ret);

/* The content of a field that is a message. */
static inline struct pb_in pb_inside(const struct pb_field *f)
{
	return (struct pb_in){ f->data, f->data + f->len };
}

#endif /* LIB_GRPC_PB_H */

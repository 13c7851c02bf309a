/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gRPC's messages in their frames (a flag, a length, the message), for those
 * who bring their own HTTP/2. Pure.
 */
#ifndef LIB_GRPC_FRAME_H
#define LIB_GRPC_FRAME_H

#include <stddef.h>

#include "lib/buf.h"

struct frames {
	struct buf b; /* of a message that is not whole yet */
	size_t max;
};

/* Take in @len bytes and call @fn for each whole message. -EBADMSG: a message
 * is compressed or too long; whatever @fn returns below 0. */
int grpc_frames_feed(struct frames *f, const void *data, size_t len,
		     int (*fn)(void *arg, const void *msg, size_t len),
		     void *arg);
void grpc_frame_put(struct buf *b, const void *msg, size_t len);

/* grpc-message is percent-encoded. Cuts at @size. */
void grpc_message_decode(char *out, size_t size, const char *in, size_t len);

/* "NotFound", as Go's client says it; "Code(17)" is "Unknown" here. */
const char *grpc_status_name(int status);

#endif /* LIB_GRPC_FRAME_H */

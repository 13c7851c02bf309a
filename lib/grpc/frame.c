// SPDX-License-Identifier: Apache-2.0
/* The pure part: messages in their frames, texts and codes of a status. */
#include <stdio.h>
#include <string.h>

#include "lib/grpc/internal.h"

#define FRAME_HEAD 5 /* compressed or not, and the length */

int grpc_frames_feed(struct frames *f, const void *data, size_t len,
		     int (*fn)(void *arg, const void *msg, size_t len),
		     void *arg)
{
	size_t at = 0;
	int r = 0;

	if (buf_add(&f->b, data, len))
		return -ENOMEM;
	while (r >= 0 && f->b.len - at >= FRAME_HEAD) {
		const unsigned char *p = (unsigned char *)f->b.data + at;
		size_t n = (size_t)p[1] << 24 | p[2] << 16 | p[3] << 8 | p[4];

		if (p[0] || n > f->max)
			return -EBADMSG;
		if (f->b.len - at - FRAME_HEAD < n)
			break;
		r = fn(arg, p + FRAME_HEAD, n);
		at += FRAME_HEAD + n;
	}
	buf_consume(&f->b, at);
	return r < 0 ? r : 0;
}

void grpc_frame_put(struct buf *b, const void *msg, size_t len)
{
	unsigned char head[FRAME_HEAD] = { 0, (unsigned char)(len >> 24),
					   (unsigned char)(len >> 16),
					   (unsigned char)(len >> 8),
					   (unsigned char)len };

	buf_add(b, head, sizeof(head));
	buf_add(b, msg, len);
}

static int hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if ((c | 32) >= 'a' && (c | 32) <= 'f')
		return (c | 32) - 'a' + 10;
	return -1;
}

void grpc_message_decode(char *out, size_t size, const char *in, size_t len)
{
	size_t n = 0;

	for (size_t i = 0; i < len && n + 1 < size; i++) {
		unsigned char c = (unsigned char)in[i];

		if (c == '%' && i + 2 < len && hex(in[i + 1]) >= 0 &&
		    hex(in[i + 2]) >= 0) {
			c = (unsigned char)(hex(in[i + 1]) << 4 |
					    hex(in[i + 2]));
			i += 2;
		}
		/* Foreign text goes to logs: no control characters. */
		out[n++] = c < 0x20 || c == 0x7f ? '?' : (char)c;
	}
	out[n] = '\0';
}

const char *grpc_status_name(int status)
{
	static const char *const names[] = {
		"OK",
		"Canceled",
		"Unknown",
		"InvalidArgument",
		"DeadlineExceeded",
		"NotFound",
		"AlreadyExists",
		"PermissionDenied",
		"ResourceExhausted",
		"FailedPrecondition",
		"Aborted",
		"OutOfRange",
		"Unimplemented",
		"Internal",
		"Unavailable",
		"DataLoss",
		"Unauthenticated",
	};
	size_t nr = sizeof(names) / sizeof(*names);

	return status >= 0 && (size_t)status < nr ? names[status] : "Unknown";
}

int grpc_errno(int status)
{
	switch (status) {
	case GRPC_OK:
		return 0;
	case GRPC_INVALID_ARGUMENT:
		return -EINVAL;
	case GRPC_DEADLINE_EXCEEDED:
		return -ETIMEDOUT;
	case GRPC_NOT_FOUND:
		return -ENOENT;
	case GRPC_PERMISSION_DENIED:
	case GRPC_UNAUTHENTICATED:
		return -EACCES;
	case GRPC_RESOURCE_EXHAUSTED:
		return -ENOSPC;
	case GRPC_OUT_OF_RANGE:
		return -ESTALE;
	case GRPC_UNAVAILABLE:
		return -EHOSTUNREACH;
	default:
		return -EREMOTEIO;
	}
}

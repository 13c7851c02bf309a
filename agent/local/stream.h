/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What flows on an upgraded connection (exec, attach), in both directions:
 * frames of a channel, a length and bytes.
 *
 *	channel  from    bytes
 *	0        client  standard input; none: its end
 *	1        agent   standard output
 *	2        agent   standard error
 *	3        agent   {"exitCode":0} or {"message":"..."}: the last frame
 *	4        client  rows and columns of the terminal, 16 bits each
 */
#ifndef AGENT_LOCAL_STREAM_H
#define AGENT_LOCAL_STREAM_H

#include <stddef.h>
#include <stdint.h>

struct buf;

#define STREAM_PROTOCOL  "arktos-stream"
#define STREAM_HEAD_SIZE 8           /* channel, 3 zeros, length: 32 bits */
#define STREAM_FRAME_MAX (64 * 1024) /* bytes of one frame */

enum stream_channel {
	STREAM_IN,
	STREAM_OUT,
	STREAM_ERR,
	STREAM_END,
	STREAM_RESIZE,
};

struct stream_frame {
	enum stream_channel channel;
	const char *data; /* borrowed from what was parsed */
	size_t len;
};

/* Append a frame; @len at most STREAM_FRAME_MAX. 0 or -ENOMEM. */
int stream_put(struct buf *b, enum stream_channel channel, const void *data,
	       size_t len);
int stream_put_size(struct buf *b, uint16_t rows, uint16_t cols);

/* The first frame in @data. Returns its whole size, 0 if it is not complete, or
 * -EBADMSG. */
int stream_parse(const char *data, size_t len, struct stream_frame *ret);

/* Rows and columns of a STREAM_RESIZE frame. 0 or -EBADMSG. */
int stream_size(const struct stream_frame *f, uint16_t *ret_rows,
		uint16_t *ret_cols);

#endif /* AGENT_LOCAL_STREAM_H */

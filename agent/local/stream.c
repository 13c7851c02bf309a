// SPDX-License-Identifier: Apache-2.0
#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "agent/local/stream.h"
#include "lib/buf.h"

int stream_put(struct buf *b, enum stream_channel channel, const void *data,
	       size_t len)
{
	unsigned char head[STREAM_HEAD_SIZE] = { (unsigned char)channel };
	uint32_t n = htonl((uint32_t)len);

	assert(len <= STREAM_FRAME_MAX);
	memcpy(head + 4, &n, sizeof(n));
	buf_add(b, head, sizeof(head));
	return buf_add(b, data, len);
}

int stream_put_size(struct buf *b, uint16_t rows, uint16_t cols)
{
	uint16_t size[2] = { htons(rows), htons(cols) };

	return stream_put(b, STREAM_RESIZE, size, sizeof(size));
}

int stream_parse(const char *data, size_t len, struct stream_frame *ret)
{
	uint32_t n;

	if (len < STREAM_HEAD_SIZE)
		return 0;
	memcpy(&n, data + 4, sizeof(n));
	n = ntohl(n);
	if ((unsigned char)data[0] > STREAM_RESIZE || data[1] || data[2] ||
	    data[3] || n > STREAM_FRAME_MAX)
		return -EBADMSG;
	if (len - STREAM_HEAD_SIZE < n)
		return 0;
	*ret = (struct stream_frame){ (enum stream_channel)data[0],
				      data + STREAM_HEAD_SIZE, n };
	return (int)(STREAM_HEAD_SIZE + n);
}

int stream_size(const struct stream_frame *f, uint16_t *ret_rows,
		uint16_t *ret_cols)
{
	uint16_t size[2];

	if (f->len != sizeof(size))
		return -EBADMSG;
	memcpy(size, f->data, sizeof(size));
	*ret_rows = ntohs(size[0]);
	*ret_cols = ntohs(size[1]);
	return 0;
}

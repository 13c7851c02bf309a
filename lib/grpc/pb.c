// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <string.h>

#include "lib/grpc/pb.h"

static size_t varint(unsigned char out[10], uint64_t v)
{
	size_t n = 0;

	for (; v >= 0x80; v >>= 7)
		out[n++] = (unsigned char)(v | 0x80);
	out[n++] = (unsigned char)v;
	return n;
}

static void put_varint(struct buf *b, uint64_t v)
{
	unsigned char text[10];

	buf_add(b, text, varint(text, v));
}

void pb_put_u64(struct buf *b, uint32_t number, uint64_t value)
{
	if (!value)
		return;
	put_varint(b, (uint64_t)number << 3 | PB_VARINT);
	put_varint(b, value);
}

void pb_put_bytes(struct buf *b, uint32_t number, const void *data, size_t len)
{
	if (!len)
		return;
	put_varint(b, (uint64_t)number << 3 | PB_BYTES);
	put_varint(b, len);
	buf_add(b, data, len);
}

size_t pb_begin(struct buf *b, uint32_t number)
{
	put_varint(b, (uint64_t)number << 3 | PB_BYTES);
	return b->len;
}

void pb_end(struct buf *b, size_t at)
{
	unsigned char text[10];
	size_t len, n;

	if (buf_error(b))
		return;
	len = b->len - at;
	n = varint(text, len);
	if (!buf_reserve(b, n))
		return;
	buf_commit(b, n);
	memmove(b->data + at + n, b->data + at, len);
	memcpy(b->data + at, text, n);
}

static int get_varint(struct pb_in *in, uint64_t *ret)
{
	uint64_t v = 0;

	for (unsigned int shift = 0; shift < 64; shift += 7) {
		unsigned char c;

		if (in->at == in->end)
			return -EBADMSG;
		c = (unsigned char)*in->at++;
		if (shift == 63 && c > 1)
			return -EBADMSG;
		v |= (uint64_t)(c & 0x7f) << shift;
		if (!(c & 0x80)) {
			*ret = v;
			return 0;
		}
	}
	return -EBADMSG;
}

static int get_fixed(struct pb_in *in, size_t n, uint64_t *ret)
{
	uint64_t v = 0;

	if ((size_t)(in->end - in->at) < n)
		return -EBADMSG;
	for (size_t i = 0; i < n; i++)
		v |= (uint64_t)(unsigned char)in->at[i] << (8 * i);
	in->at += n;
	*ret = v;
	return 0;
}

int pb_next(struct pb_in *in, struct pb_field *ret)
{
	struct pb_field f = { 0 };
	uint64_t tag, len;

	if (in->at == in->end)
		return 0;
	if (get_varint(in, &tag) || tag >> 3 == 0 || tag >> 3 > 0x1fffffff)
		return -EBADMSG;
	f.number = (uint32_t)(tag >> 3);
	f.type = (enum pb_type)(tag & 7);
	switch (tag & 7) {
	case PB_VARINT:
		if (get_varint(in, &f.value))
			return -EBADMSG;
		break;
	case PB_FIXED64:
	case PB_FIXED32:
		if (get_fixed(in, f.type == PB_FIXED64 ? 8 : 4, &f.value))
			return -EBADMSG;
		break;
	case PB_BYTES:
		if (get_varint(in, &len) || len > (uint64_t)(in->end - in->at))
			return -EBADMSG;
		f.data = in->at;
		f.len = len;
		in->at += len;
		break;
	default: /* groups went out of use long ago */
		return -EBADMSG;
	}
	*ret = f;
	return 1;
}

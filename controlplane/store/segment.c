// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <string.h>

#include "controlplane/store/segment.h"

#define MAGIC 0x31676573 /* "seg1" */

struct record_head {
	uint64_t revision;
	uint64_t len;
};

void segment_begin(struct buf *b, uint64_t batch, uint64_t first, uint64_t last)
{
	struct segment_head h = {
		.magic = MAGIC, .batch = batch, .first = first, .last = last
	};

	buf_add(b, &h, sizeof(h));
}

void segment_add(struct buf *b, uint64_t revision, const void *data, size_t len)
{
	struct record_head h = { revision, len };
	struct segment_head head;

	buf_add(b, &h, sizeof(h));
	buf_add(b, data, len);
	if (buf_error(b))
		return;
	memcpy(&head, b->data, sizeof(head));
	head.nr++;
	memcpy(b->data, &head, sizeof(head));
}

int segment_open(struct segment_in *in, const void *data, size_t len)
{
	if (len < sizeof(in->head))
		return -EBADMSG;
	memcpy(&in->head, data, sizeof(in->head));
	in->at = (const char *)data + sizeof(in->head);
	in->end = (const char *)data + len;
	in->left = in->head.nr;
	in->newest = 0;
	if (in->head.magic != MAGIC || !in->head.first ||
	    in->head.last < in->head.first)
		return -EBADMSG;
	return 0;
}

int segment_next(struct segment_in *in, struct segment_record *ret)
{
	struct record_head h;
	size_t room = (size_t)(in->end - in->at);

	if (!in->left)
		return room ? -EBADMSG : 0;
	if (room < sizeof(h))
		return -EBADMSG;
	memcpy(&h, in->at, sizeof(h));
	if (h.len > room - sizeof(h) || h.revision <= in->newest ||
	    h.revision < in->head.first || h.revision > in->head.last)
		return -EBADMSG;
	ret->revision = in->newest = h.revision;
	ret->data = in->at + sizeof(h);
	ret->len = h.len;
	in->at += sizeof(h) + h.len;
	in->left--;
	return 1;
}

// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <string.h>

#include "controlplane/store/segment.h"

#define MAGIC      0x31676573 /* "seg1" */
#define MAGIC_REFS 0x32676573 /* "seg2": the references follow the head */

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

void segment_begin_with(struct buf *b, uint64_t batch, uint64_t first,
			uint64_t last, const struct segment_ref *refs,
			size_t nr_refs)
{
	struct segment_head h = { .magic = MAGIC_REFS,
				  .batch = batch,
				  .first = first,
				  .last = last };
	uint64_t nr = nr_refs;

	if (!nr_refs) {
		segment_begin(b, batch, first, last);
		return;
	}
	buf_add(b, &h, sizeof(h));
	buf_add(b, &nr, sizeof(nr));
	buf_add(b, refs, nr_refs * sizeof(*refs));
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

struct segment_ref segment_ref_at(const struct segment_in *in, size_t i)
{
	struct segment_ref ref;

	memcpy(&ref, in->refs + i * sizeof(ref), sizeof(ref));
	return ref;
}

static int open_refs(struct segment_in *in)
{
	uint64_t nr;

	if ((size_t)(in->end - in->at) < sizeof(nr))
		return -EBADMSG;
	memcpy(&nr, in->at, sizeof(nr));
	in->at += sizeof(nr);
	if (!nr || nr > SEGMENT_REFS_MAX ||
	    (size_t)(in->end - in->at) < nr * sizeof(struct segment_ref))
		return -EBADMSG;
	in->refs = in->at;
	in->nr_refs = nr;
	in->at += nr * sizeof(struct segment_ref);
	for (size_t i = 0; i < nr; i++) {
		struct segment_ref ref = segment_ref_at(in, i);

		if (!ref.cluster || ref.cluster >= SEGMENT_REFS_MAX ||
		    !ref.nr || ref.first < in->head.first ||
		    ref.last < ref.first || ref.last > in->head.last ||
		    ref.nr > ref.last - ref.first + 1)
			return -EBADMSG;
	}
	return 0;
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
	in->refs = NULL;
	in->nr_refs = 0;
	if ((in->head.magic != MAGIC && in->head.magic != MAGIC_REFS) ||
	    !in->head.first || in->head.last < in->head.first)
		return -EBADMSG;
	return in->head.magic == MAGIC_REFS ? open_refs(in) : 0;
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

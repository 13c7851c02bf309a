/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A segment: the records of one batch in one value of etcd. Begins with a
 * number that no other batch has, so that its writer knows it again.
 */
#ifndef CONTROLPLANE_STORE_SEGMENT_H
#define CONTROLPLANE_STORE_SEGMENT_H

#include <stdint.h>

#include "lib/buf.h"

struct segment_head {
	uint32_t magic;
	uint32_t nr;    /* records in it */
	uint64_t batch; /* the number */
	uint64_t first; /* revisions it was written with */
	uint64_t last;
};

struct segment_record {
	uint64_t revision;
	const void *data; /* borrowed, not aligned */
	size_t len;
};

struct segment_in {
	struct segment_head head;
	const char *at, *end;
	uint32_t left;
	uint64_t newest;
};

void segment_begin(struct buf *b, uint64_t batch, uint64_t first,
		   uint64_t last);
void segment_add(struct buf *b, uint64_t revision, const void *data,
		 size_t len);

/* -EBADMSG: this is no segment. */
int segment_open(struct segment_in *in, const void *data, size_t len);
/* The next record: 1, 0 at the end, -EBADMSG. Revisions grow and are in the
 * range of the head. */
int segment_next(struct segment_in *in, struct segment_record *ret);

#endif /* CONTROLPLANE_STORE_SEGMENT_H */

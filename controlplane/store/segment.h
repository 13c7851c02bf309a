/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A segment: the records of one batch in one value of etcd. Begins with a
 * number that no other batch has, so that its writer knows it again.
 */
#ifndef CONTROLPLANE_STORE_SEGMENT_H
#define CONTROLPLANE_STORE_SEGMENT_H

#include <stdint.h>

#include "lib/buf.h"

#define SEGMENT_REFS_MAX 64

struct segment_head {
	uint32_t magic;
	uint32_t nr;    /* records in it */
	uint64_t batch; /* the number */
	uint64_t first; /* revisions it was written with */
	uint64_t last;
};

/*
 * Of the same batch there are records in another cluster (etcd_shard.h): a
 * segment with the same number, which counts since this one says so.
 */
struct segment_ref {
	uint32_t cluster;
	uint32_t nr; /* records */
	uint64_t batch;
	uint64_t first, last;
	uint64_t at; /* that etcd's own revision then, or an earlier one */
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
	const char *refs; /* not aligned */
	size_t nr_refs;
};

void segment_begin(struct buf *b, uint64_t batch, uint64_t first,
		   uint64_t last);
/* The same, for a batch that has parts elsewhere, 1 to SEGMENT_REFS_MAX. */
void segment_begin_with(struct buf *b, uint64_t batch, uint64_t first,
			uint64_t last, const struct segment_ref *refs,
			size_t nr_refs);
void segment_add(struct buf *b, uint64_t revision, const void *data,
		 size_t len);

/* -EBADMSG: this is no segment. */
int segment_open(struct segment_in *in, const void *data, size_t len);
/* The next record: 1, 0 at the end, -EBADMSG. Revisions grow and are in the
 * range of the head. */
int segment_next(struct segment_in *in, struct segment_record *ret);

/* The @i-th of its parts elsewhere, i < in->nr_refs. */
struct segment_ref segment_ref_at(const struct segment_in *in, size_t i);

#endif /* CONTROLPLANE_STORE_SEGMENT_H */

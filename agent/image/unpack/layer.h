/* SPDX-License-Identifier: Apache-2.0 */
/* One tar stream, plain, gzip or zstd, into one folder. Runs inside the
 * sandbox: everything it reads is hostile. */
#ifndef AGENT_IMAGE_UNPACK_LAYER_H
#define AGENT_IMAGE_UNPACK_LAYER_H

#include <stdbool.h>
#include <stdint.h>

#include "agent/image/digest.h"
#include "agent/image/unpack/tree.h"

struct layer_opts {
	uint64_t max_bytes; /* of the stream, and of what it makes */
	uint64_t max_entries;
	uint64_t max_ratio;        /* stream : input */
	uint64_t ratio_free_bytes; /* of the stream, before that counts */
	bool whiteouts;            /* an OCI layer, not just a tar file */
	void (*progress)(void *arg, uint64_t bytes);
	void *arg;
};

struct layer_result {
	char diff_id[DIGEST_TEXT_MAX]; /* of the unpacked stream */
	uint64_t bytes;                /* of all files */
	uint64_t entries;
	uint64_t skipped; /* devices, sockets */
};

/* Do what is slow or needs files, before the sandbox closes. */
int layer_prepare(struct err *e);

/**
 * layer_unpack() - Unpack @in into @t.
 *
 * Device nodes and sockets are counted and left out: a container gets its
 * devices from the runtime. Set-id bits, file capabilities, owners and times
 * are kept.
 *
 * Return: 0, -EBADMSG (damaged), -EPERM, -EINVAL, -ENAMETOOLONG (hostile
 * names), -EFBIG (limits), or -errno of the disk.
 */
int layer_unpack(int in, struct tree *t, const struct layer_opts *opts,
		 struct layer_result *ret, struct err *e);

#endif /* AGENT_IMAGE_UNPACK_LAYER_H */

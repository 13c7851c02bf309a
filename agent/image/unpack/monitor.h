/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The trusted half of arktos-unpack: feeds the archive to the sandbox, hashing
 * it on the way, marks opaque folders (which takes privilege), and reports.
 * It parses nothing of the archive.
 */
#ifndef AGENT_IMAGE_UNPACK_MONITOR_H
#define AGENT_IMAGE_UNPACK_MONITOR_H

#include <sys/types.h>

#include "agent/image/unpack/layer.h"

struct err;

/* From the sandbox to the monitor, each behind a struct frame. */
enum frame_type { FRAME_OPAQUE, FRAME_PROGRESS, FRAME_RESULT, FRAME_ERROR };

struct frame {
	uint8_t type;
	uint16_t len;
};

int frame_send(int fd, enum frame_type type, const void *data, size_t len);

struct monitor {
	int archive; /* read from here ... */
	int feed;    /* ... to the sandbox, non-blocking; owned */
	int back;    /* frames from the sandbox; owned */
	int root;    /* the folder unpacked into */
	int report;  /* text lines for the agent */
	pid_t child;
};

/**
 * monitor_run() - Serve the sandbox until it ends.
 * @ret:        What the sandbox says it did. It may be lying, except that
 * @ret_digest: is the archive's, computed here.
 */
int monitor_run(struct monitor *m, struct layer_result *ret,
		char ret_digest[DIGEST_TEXT_MAX], struct err *e);

#endif /* AGENT_IMAGE_UNPACK_MONITOR_H */

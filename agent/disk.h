/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Room on the disks of the state and log folders, looked at by a worker. Too
 * little of it is DiskPressure: images no pod names are removed, those used the
 * longest ago first; new pods wait, with the reason; and when there is room
 * again all that waited goes on at once.
 */
#ifndef AGENT_DISK_H
#define AGENT_DISK_H

#include <stdbool.h>
#include <stdint.h>

#include "agent/spec.h"

struct agent;
struct buf;

#define DISK_KEY "@disk" /* in the queue, where pods' keys are */

/* What there is of one file system. */
struct disk_room {
	uint64_t free_bytes, all_bytes;
	uint64_t free_inodes, all_inodes; /* 0 of 0: it has no such limit */
};

/* Bytes missing until it is enough: a tenth, or 1 GiB of a large one; with
 * @recover a quarter more, so that it does not flap. */
uint64_t disk_missing(const struct disk_room *room, bool recover);
/* The same of inodes: a twentieth. */
uint64_t disk_missing_inodes(const struct disk_room *room, bool recover);

/* What there is in all, and what pods may count on: that without what is kept
 * free. A file system that does not say has as much as anybody wants. */
void disk_amounts(const char *path, uint64_t *ret_all, uint64_t *ret_usable);

/* Look, and do what follows. By a worker, for DISK_KEY. */
void disk_look(struct agent *a);
/* Look soon: something has failed for want of room. From any thread. */
void disk_hint(struct agent *a);
/* Is there pressure? @ret (of @size bytes) says where and how much. */
bool disk_low(struct agent *a, char *ret, size_t size);

/* Ids of the images that pods use, or are going to. The strings are copies. */
int used_images(struct agent *a, struct strv *ret);
void used_images_free(struct strv *used);
/* The pods that use the image @id, for people: "'a', 'b' and 3 more". */
int image_users(struct agent *a, const char *id, struct buf *names);

#endif /* AGENT_DISK_H */

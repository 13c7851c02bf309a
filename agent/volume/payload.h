/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files of ours in a volume, all of them replaced at once: what configMap,
 * secret, downwardAPI and projected volumes consist of.
 *
 *	data/..2024_1/a		the files
 *	data/..data		symlink to ..2024_1; renamed over by the next
 *	data/a			symlink to ..data/a
 *
 * A container reads the old files or the new, never some of each, and a file
 * held open stays as it was: the layout Kubernetes' containers know.
 */
#ifndef AGENT_VOLUME_PAYLOAD_H
#define AGENT_VOLUME_PAYLOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct err;

#define PAYLOAD_FILES_MAX 4096
#define PAYLOAD_BYTES_MAX (1024 * 1024) /* of all files, as in Kubernetes */

struct payload_file {
	const char *path; /* relative; may have folders */
	const void *data;
	size_t len;
	mode_t mode; /* 0644 */
};

struct payload_owner {
	uid_t uid;
	gid_t gid;  /* the fsGroup's */
	mode_t add; /* to the mode of files: what the fsGroup may do */
};

/**
 * payload_write() - Make @dir hold these files, and no others of ours.
 * @dir:         The volume's folder. Nobody but us may write there. Borrowed.
 * @files:       Borrowed.
 * @owner:       Of all that is made, host ids. NULL: as it comes. Borrowed.
 * @ret_changed: Set to whether anything had to be done. May be NULL.
 *
 * Not flushed: it is made again after a crash, and a crash in between leaves
 * the old files.
 *
 * Return: 0, -EINVAL (a path that is absolute, has ".." or begins with ".."),
 * -EEXIST (a path twice, or a file as another's folder), -E2BIG, or -errno.
 */
int payload_write(int dir, const struct payload_file *files, size_t nr,
		  const struct payload_owner *owner, bool *ret_changed,
		  struct err *e);

/* The files of several volumes of a pod. Everything is owned. */
struct payload_volume {
	char *name;
	struct payload_file *files; /* paths and data are owned here */
	size_t nr;
};
struct payload_set {
	struct payload_volume *v;
	size_t nr;
};

void payload_set_free(struct payload_set *set);
/* NULL: there is none of that name; @set may be NULL. */
const struct payload_volume *payload_set_find(const struct payload_set *set,
					      const char *name);
/* NULL: out of memory. Valid until the next one is added. */
struct payload_volume *payload_set_add(struct payload_set *set,
				       const char *name);
/* 0, -ENOMEM, -E2BIG. Everything is copied. */
int payload_volume_add(struct payload_volume *v, const char *path,
		       const void *data, size_t len, mode_t mode);

#endif /* AGENT_VOLUME_PAYLOAD_H */

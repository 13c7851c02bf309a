/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A pod's volumes: made before its first container, removed after its last.
 *
 *	volume_setup(&dirs, spec, &set, e);	again after a restart: it adopts
 *	volume_open(set, &ctr->mounts[i], &fd, e);
 *	... fd is a struct container_mount's ...
 *	volume_close(set);			only forgets; nothing is removed
 *	volume_teardown(&dirs, uid, e);		removes, mounts and all
 *
 *	emptyDir		<state>/pods/<uid>/volumes/<name>
 *	emptyDir, Memory	<run>/pods/<uid>/volumes/<name>, a tmpfs
 *	configMap, secret, downwardAPI, projected	the same, filled by us
 *	hostPath		where it is
 *
 * Containers may do what they like inside a volume, now and while we look: no
 * symlink of theirs is ever followed out of it.
 *
 * Any thread may call this, for one pod one at a time. volume_teardown() and
 * volume_usage() take as long as the number of files in the volumes demands.
 */
#ifndef AGENT_VOLUME_VOLUME_H
#define AGENT_VOLUME_VOLUME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/spec.h"
#include "lib/auto.h"

struct err;
struct volume_set;

#define VOLUME_REASON_MOUNT "FailedMount" /* of events for what fails here */

struct volume_dirs {
	const char *state_dir; /* /var/lib/arktos */
	const char *run_dir;   /* /run/arktos */
	/* First host id of the pod's range, where its mounts cannot map ids
	 * of what lies in memory (before Linux 6.3): that belongs to it then.
	 * 0: ids are as seen inside, as those on the disk are. */
	uint32_t memory_ids;
};

/**
 * volume_setup() - Make what the pod's volumes need.
 * @dirs: Borrowed for the call.
 * @pod:  Must outlive @ret. Borrowed.
 * @ret:  Set to the pod's volumes; volume_close() it.
 * @e:    Filled on error: "volume 'data': hostPath type check failed: '/x' is
 *        not a directory".
 *
 * Idempotent: a volume that is there keeps its content, owner and mode. A new
 * emptyDir belongs to root with mode 0777, and with an fsGroup to that group,
 * which new files in it inherit (mode 2777).
 *
 * Return: 0, or
 *   -ENOENT, -ENOTDIR, -EISDIR, -ENOTSOCK, ...  what a hostPath wants is not
 *            there, or is something else
 *   -EINVAL  a path with "..", or not absolute
 *   -errno   of the file system otherwise. What was made stays: try again, or
 *            volume_teardown().
 */
int volume_setup(const struct volume_dirs *dirs, const struct pod_spec *pod,
		 struct volume_set **ret, struct err *e);
void volume_close(struct volume_set *set);

/* Write the content of configMap, secret, downwardAPI and projected volumes:
 * atomically each; what is the same stays as it is. */
struct payload_set;
int volume_fill(const struct volume_set *set, const struct payload_set *content,
		struct err *e);
/* Has every such volume had its content once? */
bool volume_is_filled(const struct volume_set *set);

/**
 * volume_open() - Get what one volumeMount shall show.
 * @mount:  Of any container of the pod. Borrowed.
 * @ret_fd: Set to a detached mount (open_tree(2)) of the volume, or of the
 *          mount's subPath in it, for move_mount(2). Owned by the caller. It
 *          is read-only when the mount is.
 *
 * A subPath that is missing becomes a folder with the volume's mode and owner.
 * Symlinks in it are followed as if the volume were the root.
 *
 * Return: 0, -ENOENT (no such volume, or a hostPath that has gone), -EINVAL
 * (subPath absolute or with ".."), or -errno.
 */
int volume_open(const struct volume_set *set, const struct mount_spec *mount,
		int *ret_fd, struct err *e);

/* Where a volume is on the host, or NULL. Borrowed. Never walk below it by
 * path: what is there belongs to the containers. */
const char *volume_path(const struct volume_set *set, const char *name);

/* Bytes a volume takes: blocks of its files, each hard link once, not beyond
 * mounts. -ENOENT: no such volume; -ENOTSUP: a hostPath is not ours to count.
 */
int volume_usage(const struct volume_set *set, const char *name,
		 uint64_t *ret_bytes, struct err *e);

/**
 * volume_measure() - Count what is below a folder, as volume_usage() does.
 * @path:        Missing: nothing is there.
 * @most:        Counting ends above it.
 * @inout_bytes: Added to.
 *
 * Return: 0, or
 *   -EDQUOT  more than @most; also for folders nested so deep that they hide
 *            what they hold (@inout_bytes is UINT64_MAX then)
 *   -E2BIG   more than %VOLUME_FILES_MAX files: the rest is not counted
 *   -errno
 */
#define VOLUME_FILES_MAX (1u << 20)
int volume_measure(const char *path, uint64_t most, uint64_t *inout_bytes,
		   struct err *e);

/* Unmount and remove all of a pod's volumes but what is the host's. 0 also when
 * there are none. -EBUSY: still mounted somewhere; try again. */
int volume_teardown(const struct volume_dirs *dirs, const char *uid,
		    struct err *e);

DEFINE_AUTO_PTR(volume_set, volume_close)

#endif /* AGENT_VOLUME_VOLUME_H */

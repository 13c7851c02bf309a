/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The root a container sees. Built in the child, in a mount namespace of its
 * own, with real root's rights, before any code of the container runs.
 *
 * Everything inside the root is reached from a descriptor of it with
 * openat2(RESOLVE_IN_ROOT): whatever symlinks image and volumes hold, nothing
 * is mounted outside. /proc, /sys and /dev may not be symlinks at all. Except
 * for a privileged container every file system is nodev, and device nodes are
 * single bind mounts: a node made by the container opens nothing.
 */
#ifndef AGENT_SUPERVISOR_ROOTFS_H
#define AGENT_SUPERVISOR_ROOTFS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct err;
struct spec;

/* What of the pod matters here. */
struct rootfs_env {
	const char *scratch; /* absolute; rootfs_scratch() has filled it */
	uint32_t userns_base, userns_size; /* size 0: no user namespace */
	int userns_fd;
	uint64_t shm_bytes;
};

/* Once per pod, in the supervisor's mount namespace: a small tmpfs with device
 * nodes, /dev/shm, and mount points for the children to use. */
int rootfs_scratch(const struct rootfs_env *env, struct err *e);

/**
 * rootfs_enter() - Build the root of @spec and make it ours.
 * @fds: Descriptors that came with the request; @spec's indices count in it.
 *
 * On return "/" is the container's root and nothing of the host's tree can be
 * reached. The caller is in mount, pid and cgroup namespaces of its own.
 */
int rootfs_enter(const struct rootfs_env *env, const struct spec *spec,
		 const int *fds, struct err *e);

/* --- for the parts of it -------------------------------------------------- */

enum target { TARGET_DIR, TARGET_FILE };

/* Open @path inside @rootfd (O_PATH); with @create make what is missing, owned
 * by the container's root. @plain: no symlink anywhere in it. */
int rootfs_target(const struct rootfs_env *env, int rootfd, const char *path,
		  enum target type, bool create, bool plain, struct err *e);

/* A detached mount of a fresh file system. @options: "key=value" or "flag",
 * NULL-terminated. @attr: MOUNT_ATTR_. */
int rootfs_fsmount(const char *type, const char *const *options,
		   unsigned int attr, struct err *e);
int rootfs_attach(int treefd, int targetfd, struct err *e);
/* Detached copy of a mount, with @attr set. */
int rootfs_clone(int dirfd, const char *path, unsigned int attr, bool recursive,
		 struct err *e);

int rootfs_overlay(const struct rootfs_env *env, const struct spec *spec,
		   struct err *e);
int rootfs_dev(const struct rootfs_env *env, const struct spec *spec,
	       int rootfd, struct err *e);
int rootfs_cgroup(const struct rootfs_env *env, const struct spec *spec,
		  int rootfd, struct err *e);

#endif /* AGENT_SUPERVISOR_ROOTFS_H */

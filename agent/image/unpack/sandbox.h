/* SPDX-License-Identifier: Apache-2.0 */
/* A child that can hurt nobody: own namespaces, nothing but one folder, and
 * only the system calls that writing files takes. */
#ifndef AGENT_IMAGE_UNPACK_SANDBOX_H
#define AGENT_IMAGE_UNPACK_SANDBOX_H

#include <stdint.h>
#include <sys/types.h>

struct err;

struct sandbox_limits {
	uint64_t file_bytes;
	uint64_t memory_bytes;
	uint64_t cpu_s;
};

/**
 * sandbox_fork() - Split in two, the child in namespaces of its own.
 * @ret_pid: 0 in the child, its pid in the parent.
 *
 * The child is root of a user namespace in which every id is itself, so it may
 * give files to anyone, but has no privilege over anything that is not in its
 * namespaces. Where the kernel refuses user namespaces it stays in ours, and
 * sandbox_enter() leaves it only the capabilities for files.
 */
int sandbox_fork(pid_t *ret_pid, struct err *e);

/* In the child: make @dir the root, set the limits, close every door. */
int sandbox_enter(const char *dir, const struct sandbox_limits *l,
		  struct err *e);

/* In the child: become nobody, with nothing but the right to read, and run
 * @argv. Returns only on failure. */
int sandbox_exec(char *const argv[], const struct sandbox_limits *l,
		 struct err *e);

#endif /* AGENT_IMAGE_UNPACK_SANDBOX_H */

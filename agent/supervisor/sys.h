/* SPDX-License-Identifier: Apache-2.0 */
/* System calls the C library does not wrap, and two that it wraps badly for a
 * process that is forked without its knowledge. */
#ifndef AGENT_SUPERVISOR_SYS_H
#define AGENT_SUPERVISOR_SYS_H

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdint.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

#ifndef MOUNT_ATTR_NOSYMFOLLOW
#define MOUNT_ATTR_NOSYMFOLLOW 0x00200000
#endif

/* Fork with @flags (CLONE_NEW*, CLONE_PARENT). Only for a process with one
 * thread. @ret_pidfd may be NULL; @cgroup_fd -1. 0 in the child. */
static inline pid_t sys_clone(uint64_t flags, int *ret_pidfd, int cgroup_fd)
{
	struct clone_args a = {
		.flags = flags,
		.exit_signal = flags & CLONE_PARENT ? 0 : SIGCHLD,
	};

	if (ret_pidfd) {
		a.flags |= CLONE_PIDFD;
		a.pidfd = (uintptr_t)ret_pidfd;
	}
	if (cgroup_fd >= 0) {
		a.flags |= CLONE_INTO_CGROUP;
		a.cgroup = (uint64_t)cgroup_fd;
	}
	return (pid_t)syscall(SYS_clone3, &a, sizeof(a));
}

static inline int sys_openat2(int dirfd, const char *path, uint64_t flags,
			      uint64_t mode, uint64_t resolve)
{
	struct open_how how = {
		.flags = flags | O_CLOEXEC,
		.mode = mode,
		.resolve = resolve,
	};
	int fd;

	/* EAGAIN: a rename elsewhere made the walk uncertain; try again. */
	for (int i = 0; i < 32; i++) {
		fd = (int)syscall(SYS_openat2, dirfd, path, &how, sizeof(how));
		if (fd >= 0 || errno != EAGAIN)
			return fd;
	}
	return fd;
}

static inline int sys_pivot_root(const char *new_root, const char *put_old)
{
	return (int)syscall(SYS_pivot_root, new_root, put_old);
}

/* Send @len bytes and, unless it is -1, descriptor @fd with them. MSG_NOSIGNAL
 * is implied in @flags. What sendmsg(2) returns. */
ssize_t sys_send_fd(int sock, const void *data, size_t len, int fd, int flags);

#endif /* AGENT_SUPERVISOR_SYS_H */

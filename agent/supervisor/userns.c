// SPDX-License-Identifier: Apache-2.0
/* The pod's user namespace: made once, entered by every process of it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "agent/supervisor/sup.h"
#include "agent/supervisor/sys.h"
#include "lib/buf.h"
#include "lib/err.h"
#include "lib/fs.h"

#define FDINFO_MAX 4096

/* Our /proc is the host's, so numbers in it are the host's. */
pid_t pidfd_host_pid(int pidfd)
{
	auto_buf struct buf b = BUF_INIT;
	char path[48];
	const char *s;
	int pid = 0;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", pidfd);
	if (pidfd < 0 || fs_read(AT_FDCWD, path, FDINFO_MAX, &b, NULL) < 0)
		return 0;
	s = strstr(buf_str(&b), "\nPid:");
	if (!s)
		return 0;
	for (s += 5; *s == '\t' || *s == ' ';)
		s++;
	for (; *s >= '0' && *s <= '9'; s++)
		pid = pid * 10 + (*s - '0');
	return pid;
}

static int write_map(pid_t pid, const char *file, const char *map,
		     struct err *e)
{
	char path[48];

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
	return fs_write_control(AT_FDCWD, path, map, e);
}

int userns_make(uint32_t base, uint32_t size, int *ret_fd, struct err *e)
{
	auto_close int pidfd = -EBADF;
	char map[64], path[48];
	int hold[2], fd, r;
	pid_t pid, host;

	if (pipe2(hold, O_CLOEXEC) < 0)
		return err_sys(e, "pipe");
	pid = sys_clone(CLONE_NEWUSER, &pidfd, -1);
	if (pid == 0) {
		char c;

		close(hold[1]);
		_exit(read(hold[0], &c, 1) < 0);
	}
	r = pid < 0 ? err_sys(e, "user namespace: see "
				 "/proc/sys/user/max_user_namespaces")
		    : 0;
	host = pidfd_host_pid(pidfd);
	snprintf(map, sizeof(map), "0 %u %u\n", base, size);
	if (r == 0)
		r = write_map(host, "uid_map", map, e);
	if (r == 0)
		r = write_map(host, "gid_map", map, e);
	snprintf(path, sizeof(path), "/proc/%d/ns/user", (int)host);
	fd = r == 0 ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	if (r == 0 && fd < 0)
		r = err_sys(e, "open the user namespace");
	close(hold[0]);
	close(hold[1]);
	if (pid > 0)
		(void)waitpid(pid, NULL, 0);
	if (r == 0)
		*ret_fd = fd;
	return r;
}

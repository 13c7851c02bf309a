// SPDX-License-Identifier: Apache-2.0
/*
 * kill -9 at a point of one's choice, told by bytes that pass it:
 *
 *	SHIM_DIE=rename:TEXT	when a file with TEXT in it has got its name
 *	SHIM_DIE=send:TEXT	when a message with TEXT in it has been sent
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define FILE_MAX (1 << 20)

static const char *text_of(const char *point)
{
	const char *want = getenv("SHIM_DIE");
	size_t n = strlen(point);

	if (!want || strncmp(want, point, n) != 0 || want[n] != ':')
		return NULL;
	return want + n + 1;
}

static void die(void)
{
	kill(getpid(), SIGKILL);
}

static int file_has(int dirfd, const char *path, const char *text)
{
	int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC), found;
	char *data = malloc(FILE_MAX);
	ssize_t n = fd >= 0 && data ? read(fd, data, FILE_MAX) : -1;

	found = n > 0 && memmem(data, (size_t)n, text, strlen(text));
	free(data);
	if (fd >= 0)
		close(fd);
	return found;
}

int renameat(int from_fd, const char *from, int to_fd, const char *to)
{
	static int (*real)(int, const char *, int, const char *);
	const char *text = text_of("rename");
	int fatal, r;

	if (!real)
		real = (int (*)(int, const char *, int,
				const char *))dlsym(RTLD_NEXT, "renameat");
	fatal = text && file_has(from_fd, from, text);
	r = real(from_fd, from, to_fd, to);
	if (fatal && r == 0)
		die();
	return r;
}

ssize_t sendmsg(int fd, const struct msghdr *msg, int flags)
{
	static ssize_t (*real)(int, const struct msghdr *, int);
	const char *text = text_of("send");
	ssize_t n;

	if (!real)
		real = (ssize_t(*)(int, const struct msghdr *,
				   int))dlsym(RTLD_NEXT, "sendmsg");
	n = real(fd, msg, flags);
	for (size_t i = 0; text && n > 0 && i < msg->msg_iovlen; i++)
		if (memmem(msg->msg_iov[i].iov_base, msg->msg_iov[i].iov_len,
			   text, strlen(text)))
			die();
	return n;
}

// SPDX-License-Identifier: Apache-2.0
/* Reads and writes of some size move less than they were asked to, and every
 * third one is interrupted: all that POSIX allows, and callers tend to forget.
 */
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/types.h>

ssize_t read(int fd, void *buf, size_t len);
ssize_t write(int fd, const void *buf, size_t len);

static atomic_uint calls;

static int interrupted(void)
{
	if (atomic_fetch_add(&calls, 1) % 3)
		return 0;
	errno = EINTR;
	return 1;
}

/* What the kernel wants whole (eventfd, signalfd) is 8 bytes or more at once:
 * only streams of bytes are cut, and those carry more than that. */
static size_t cut(size_t len)
{
	size_t less = 1 + atomic_load(&calls) % 4096;

	return len > 512 && less < len ? less : len;
}

ssize_t read(int fd, void *buf, size_t len)
{
	static ssize_t (*real)(int, void *, size_t);

	if (!real)
		*(void **)&real = dlsym(RTLD_NEXT, "read");
	return len > 512 && interrupted() ? -1 : real(fd, buf, cut(len));
}

ssize_t write(int fd, const void *buf, size_t len)
{
	static ssize_t (*real)(int, const void *, size_t);

	if (!real)
		*(void **)&real = dlsym(RTLD_NEXT, "write");
	return len > 512 && interrupted() ? -1 : real(fd, buf, cut(len));
}

ssize_t recv(int fd, void *buf, size_t len, int flags)
{
	static ssize_t (*real)(int, void *, size_t, int);

	if (!real)
		*(void **)&real = dlsym(RTLD_NEXT, "recv");
	return len > 512 && interrupted() ? -1 : real(fd, buf, cut(len), flags);
}

ssize_t send(int fd, const void *buf, size_t len, int flags)
{
	static ssize_t (*real)(int, const void *, size_t, int);

	if (!real)
		*(void **)&real = dlsym(RTLD_NEXT, "send");
	return len > 512 && interrupted() ? -1 : real(fd, buf, cut(len), flags);
}

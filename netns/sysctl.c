// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/auto.h"
#include "lib/err.h"
#include "netns/netns.h"

struct sysctl_args {
	const struct ns_sysctl *sysctls;
	size_t nr;
	const char *name;
	char *ret;
	size_t size;
};

/* The folder of a protocol, kept from one name to the next. */
struct family {
	char name[16]; /* "ipv4" */
	int fd;
};

/*
 * /proc/sys/net shows the namespace of the thread that looks it up. To find
 * ipv4 in it the kernel goes through those of all namespaces in which anybody
 * has looked, so that is done once for many names.
 */
static int family_open(struct family *f, const char *name, struct err *e)
{
	size_t len = strcspn(name, "/");
	char path[64];

	if (len >= sizeof(f->name) || !name[len])
		return err_set(e, -EINVAL, "sysctl '%s': no such name", name);
	if (f->fd >= 0 && strncmp(f->name, name, len) == 0 && !f->name[len])
		return 0;
	auto_close_(&f->fd);
	memcpy(f->name, name, len);
	f->name[len] = '\0';
	snprintf(path, sizeof(path), "/proc/sys/net/%s", f->name);
	f->fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return f->fd < 0 ? err_sys(e, "open '%s'", path) : 0;
}

static int sysctl_open(struct family *f, const char *name, int flags,
		       struct err *e)
{
	int fd, r = family_open(f, name, e);

	if (r < 0)
		return r;
	fd = openat(f->fd, name + strlen(f->name) + 1, flags | O_CLOEXEC);
	if (fd < 0)
		return err_sys(e, "open '/proc/sys/net/%s'", name);
	return fd;
}

static int sysctl_write(struct family *f, const struct ns_sysctl *s,
			struct err *e)
{
	bool optional = s->name[0] == '-';
	auto_close int fd = sysctl_open(f, s->name + optional, O_WRONLY,
					optional ? NULL : e);

	if (fd == -ENOENT && optional)
		return 0;
	if (fd < 0)
		return fd;
	if (write(fd, s->value, strlen(s->value)) < 0)
		return err_sys(e, "write '%s' to sysctl net/%s", s->value,
			       s->name + optional);
	return 0;
}

static int write_all(void *arg, struct err *e)
{
	struct sysctl_args *a = arg;
	struct family f = { .fd = -EBADF };
	int r = 0;

	for (size_t i = 0; r == 0 && i < a->nr; i++)
		r = sysctl_write(&f, &a->sysctls[i], e);
	auto_close_(&f.fd);
	return r;
}

int ns_sysctls(int nsfd, const struct ns_sysctl *sysctls, size_t nr,
	       struct err *e)
{
	struct sysctl_args a = { .sysctls = sysctls, .nr = nr };

	return ns_call(nsfd, write_all, &a, e);
}

static int read_one(void *arg, struct err *e)
{
	struct sysctl_args *a = arg;
	struct family f = { .fd = -EBADF };
	auto_close int fd = sysctl_open(&f, a->name, O_RDONLY, e);
	ssize_t n;

	auto_close_(&f.fd);
	if (fd < 0)
		return fd;
	n = read(fd, a->ret, a->size - 1);
	if (n < 0)
		return err_sys(e, "read sysctl net/%s", a->name);
	while (n > 0 && a->ret[n - 1] == '\n')
		n--;
	a->ret[n] = '\0';
	return 0;
}

int ns_sysctl_read(int nsfd, const char *name, char *ret, size_t size,
		   struct err *e)
{
	struct sysctl_args a = { .name = name, .ret = ret, .size = size };

	return ns_call(nsfd, read_one, &a, e);
}

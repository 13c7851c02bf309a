// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
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

/* /proc/sys/net shows the namespace of the thread that looks it up. */
static int sysctl_open(const char *name, int flags, struct err *e)
{
	char path[PATH_MAX];
	int fd;

	if (snprintf(path, sizeof(path), "/proc/sys/net/%s", name) >=
	    (int)sizeof(path))
		return err_set(e, -ENAMETOOLONG, "sysctl name too long");
	fd = open(path, flags | O_CLOEXEC);
	if (fd < 0)
		return err_sys(e, "open '%s'", path);
	return fd;
}

static int sysctl_write(const struct ns_sysctl *s, struct err *e)
{
	bool optional = s->name[0] == '-';
	auto_close int fd =
		sysctl_open(s->name + optional, O_WRONLY, optional ? NULL : e);

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
	int r = 0;

	for (size_t i = 0; r == 0 && i < a->nr; i++)
		r = sysctl_write(&a->sysctls[i], e);
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
	auto_close int fd = sysctl_open(a->name, O_RDONLY, e);
	ssize_t n;

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

// SPDX-License-Identifier: Apache-2.0
/* Namespaces: make, pin, open, work inside of. */
#include <errno.h>
#include <fcntl.h>
#include <linux/ethtool.h>
#include <linux/magic.h>
#include <linux/nsfs.h>
#include <linux/sockios.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "lib/auto.h"
#include "lib/err.h"
#include "netns/netns.h"

#define NS_STACK_BYTES (256 * 1024)

struct ns_thread {
	int nsfd; /* to enter; NS_OWN: a new one */
	int (*fn)(void *arg, struct err *e);
	void *arg;
	struct err *e;
	int result;
};

static void *ns_thread_main(void *arg)
{
	struct ns_thread *t = arg;

	if (t->nsfd == NS_OWN) {
		if (unshare(CLONE_NEWNET) < 0) {
			t->result = err_sys(t->e, "make a network namespace");
			return NULL;
		}
	} else if (setns(t->nsfd, CLONE_NEWNET) < 0) {
		t->result = err_sys(t->e, "enter a network namespace");
		return NULL;
	}
	t->result = t->fn(t->arg, t->e);
	return NULL;
}

/* The thread takes no signals: they are the process's own business. */
static int ns_thread_run(struct ns_thread *t)
{
	sigset_t all, old;
	pthread_attr_t attr;
	pthread_t thread;
	int r;

	r = pthread_attr_init(&attr);
	if (r)
		return err_set(t->e, -r, "out of memory");
	pthread_attr_setstacksize(&attr, NS_STACK_BYTES);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&thread, &attr, ns_thread_main, t);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	if (r)
		return err_set(t->e, -r, "start a thread: %s", strerror(r));
	pthread_join(thread, NULL);
	return t->result;
}

int ns_call(int nsfd, int (*fn)(void *arg, struct err *e), void *arg,
	    struct err *e)
{
	struct ns_thread t = { .nsfd = nsfd, .fn = fn, .arg = arg, .e = e };

	if (nsfd == NS_OWN)
		return fn(arg, e);
	return ns_thread_run(&t);
}

static int open_own_ns(void *arg, struct err *e)
{
	int *ret_fd = arg;
	int fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return err_sys(e, "open /proc/thread-self/ns/net");
	*ret_fd = fd;
	return 0;
}

static int pin(int nsfd, const char *path, struct err *e)
{
	char self[64];
	int fd, r;

	fd = open(path, O_RDONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0400);
	if (fd < 0)
		return err_sys(e, "create '%s'", path);
	close(fd);
	snprintf(self, sizeof(self), "/proc/self/fd/%d", nsfd);
	if (mount(self, path, NULL, MS_BIND, NULL) < 0) {
		r = err_sys(e, "pin a network namespace to '%s'", path);
		(void)unlink(path); /* ours, and empty */
		return r;
	}
	return 0;
}

int ns_create(const char *path, int *ret_fd, struct err *e)
{
	auto_close int fd = -EBADF;
	struct ns_thread t = {
		.nsfd = NS_OWN, .fn = open_own_ns, .arg = &fd, .e = e
	};
	int r;

	r = ns_thread_run(&t);
	if (r == 0 && path)
		r = pin(fd, path, e);
	if (r < 0)
		return r;
	*ret_fd = take_fd(&fd);
	return 0;
}

int ns_open(const char *path, int *ret_fd, struct err *e)
{
	auto_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct statfs fs;

	if (fd < 0)
		return err_sys(e, "open '%s'", path);
	if (fstatfs(fd, &fs) < 0)
		return err_sys(e, "statfs '%s'", path);
	if (fs.f_type != NSFS_MAGIC || ioctl(fd, NS_GET_NSTYPE) != CLONE_NEWNET)
		return err_set(e, -EINVAL,
			       "'%s' is not a pinned network namespace", path);
	*ret_fd = take_fd(&fd);
	return 0;
}

int ns_unpin(const char *path, struct err *e)
{
	/* EINVAL: a crash came between creating the file and the mount. */
	if (umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW) < 0 &&
	    errno != EINVAL && errno != ENOENT)
		return err_sys(e, "unmount '%s'", path);
	if (unlink(path) < 0 && errno != ENOENT)
		return err_sys(e, "remove '%s'", path);
	return 0;
}

struct ns_socket_args {
	int family, type, protocol, fd;
};

static int open_socket(void *arg, struct err *e)
{
	struct ns_socket_args *a = arg;

	a->fd = socket(a->family, a->type | SOCK_CLOEXEC, a->protocol);
	if (a->fd < 0)
		return err_sys(e, "open a socket");
	return 0;
}

int ns_socket(int nsfd, int family, int type, int protocol, int *ret_fd,
	      struct err *e)
{
	struct ns_socket_args a = { family, type, protocol, -EBADF };
	int r = ns_call(nsfd, open_socket, &a, e);

	if (r == 0)
		*ret_fd = a.fd;
	return r;
}

/* Asking for the link's state makes the kernel bring it up to date. */
int ns_link_settle(int nsfd, const char *name, struct err *e)
{
	struct ethtool_value value = { .cmd = ETHTOOL_GLINK };
	struct ifreq ifr = { .ifr_data = (void *)&value };
	auto_close int fd = -EBADF;
	int r;

	r = ns_socket(nsfd, AF_INET, SOCK_DGRAM, 0, &fd, e);
	if (r < 0)
		return r;
	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
	if (ioctl(fd, SIOCETHTOOL, &ifr) < 0)
		return err_sys(e, "ask for the state of link '%s'", name);
	return 0;
}

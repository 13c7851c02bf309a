// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include "lib/auto.h"
#include "lib/err.h"
#include "netns/netns.h"

struct tap_args {
	const char *name;
	int fd;
};

static int tap_set(int fd, const char *name, struct err *e)
{
	struct ifreq ifr = { 0 };

	if (strlen(name) >= sizeof(ifr.ifr_name))
		return err_set(e, -ENAMETOOLONG, "link name '%s' is too long",
			       name);
	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
	ifr.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
	if (ioctl(fd, TUNSETIFF, &ifr) < 0)
		return err_sys(e, "open tap '%s'", name);
	if (ioctl(fd, TUNSETPERSIST, 1) < 0)
		return err_sys(e, "make tap '%s' persistent", name);
	return 0;
}

/* The tap belongs to the namespace in which /dev/net/tun is opened. */
static int tap_open_here(void *arg, struct err *e)
{
	struct tap_args *a = arg;
	auto_close int fd =
		open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
	int r;

	if (fd < 0)
		return err_sys(e, "open /dev/net/tun");
	r = tap_set(fd, a->name, e);
	if (r == 0)
		a->fd = take_fd(&fd);
	return r;
}

int ns_tap_open(int nsfd, const char *name, int *ret_fd, struct err *e)
{
	struct tap_args a = { .name = name, .fd = -EBADF };
	int r = ns_call(nsfd, tap_open_here, &a, e);

	if (r == 0)
		*ret_fd = a.fd;
	return r;
}

int ns_tap_revive(int fd, const char *name, int hdr_len, struct err *e)
{
	int r = tap_set(fd, name, e);

	if (r == 0 && ioctl(fd, TUNSETVNETHDRSZ, &hdr_len) < 0)
		return err_sys(e, "set the header length of tap '%s'", name);
	return r;
}

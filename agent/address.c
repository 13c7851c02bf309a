// SPDX-License-Identifier: Apache-2.0
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>

#include "agent/address.h"
#include "lib/buf.h"
#include "lib/fs.h"

/* The interface of the default route; "" when there is none. */
static void default_interface(char name[IFNAMSIZ])
{
	auto_buf struct buf b = BUF_INIT;
	char *rest, *line;

	name[0] = '\0';
	if (fs_read(AT_FDCWD, "/proc/net/route", 1 << 20, &b, NULL) < 0)
		return;
	rest = b.data;
	while (rest && (line = strsep(&rest, "\n"))) {
		char ifname[IFNAMSIZ] = "";
		unsigned int to = 1;

		if (sscanf(line, "%15s %8x", ifname, &to) == 2 && to == 0) {
			snprintf(name, IFNAMSIZ, "%s", ifname);
			return;
		}
	}
}

int host_address(const char *given, char *buf, size_t size)
{
	struct ifaddrs *list = NULL;
	char want[IFNAMSIZ];

	if (given) {
		snprintf(buf, size, "%s", given);
		return 0;
	}
	snprintf(buf, size, "127.0.0.1");
	default_interface(want);
	if (getifaddrs(&list) < 0)
		return -errno;
	for (struct ifaddrs *i = list; i; i = i->ifa_next) {
		struct sockaddr_in sin;

		if (!i->ifa_addr || i->ifa_addr->sa_family != AF_INET ||
		    (i->ifa_flags & IFF_LOOPBACK) || strcmp(i->ifa_name, want))
			continue;
		memcpy(&sin, i->ifa_addr, sizeof(sin));
		inet_ntop(AF_INET, &sin.sin_addr, buf, (socklen_t)size);
		break;
	}
	freeifaddrs(list);
	return 0;
}

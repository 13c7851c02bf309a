/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NETNS_INTERNAL_H
#define NETNS_INTERNAL_H

#include <netinet/in.h>
#include <netlink/addr.h>
#include <netlink/netlink.h>

struct err;

struct rt {
	struct nl_sock *sk;
};

/* Report libnl's error code @nle. Returns the errno it stands for. */
int rt_fail(struct err *e, int nle, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* An IPv4 address as libnl wants it; NULL when out of memory. Owned by the
 * caller: nl_addr_put(). */
struct nl_addr *rt_in_addr(struct in_addr addr, int prefix);

#endif /* NETNS_INTERNAL_H */

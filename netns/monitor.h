/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What happens to the links of a namespace. Events are hints: who gets one
 * looks at the link itself, since it may have changed again meanwhile.
 */
#ifndef NETNS_MONITOR_H
#define NETNS_MONITOR_H

#include <net/if.h>
#include <stdbool.h>

#include "lib/auto.h"

struct err;
struct rt_monitor;

struct rt_link_event {
	int ifindex;
	char name[IF_NAMESIZE];
	bool gone;      /* removed, or moved to another namespace */
	bool went_down; /* it is there, and was set down */
};

/* Events from now on of the links in @nsfd (NS_OWN: the caller's). */
int rt_monitor_open(int nsfd, struct rt_monitor **ret, struct err *e);
void rt_monitor_close(struct rt_monitor *m); /* NULL is fine */
DEFINE_AUTO_PTR(rt_monitor, rt_monitor_close)

/* Readable when there are events; non-blocking. */
int rt_monitor_fd(const struct rt_monitor *m);

/**
 * rt_monitor_read() - Take all events there are.
 * @fn: Called for each.
 *
 * Return: 0; -ENOBUFS when some were lost: look at all links; or -errno.
 */
int rt_monitor_read(struct rt_monitor *m,
		    void (*fn)(void *arg, const struct rt_link_event *ev),
		    void *arg, struct err *e);

#endif /* NETNS_MONITOR_H */

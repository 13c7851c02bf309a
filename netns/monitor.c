// SPDX-License-Identifier: Apache-2.0
/* What happens to links, as the kernel tells it. */
#include <errno.h>
#include <netlink/errno.h>
#include <netlink/msg.h>
#include <netlink/route/link.h>
#include <stdlib.h>
#include <string.h>

#include "lib/err.h"
#include "netns/internal.h"
#include "netns/monitor.h"
#include "netns/netns.h"

struct rt_monitor {
	struct nl_sock *sk;
	void (*fn)(void *arg, const struct rt_link_event *ev);
	void *arg;
};

static int on_message(struct nl_msg *msg, void *arg)
{
	struct rt_monitor *m = arg;
	struct nlmsghdr *h = nlmsg_hdr(msg);
	struct nlattr *name;
	struct ifinfomsg *info;
	struct rt_link_event ev = { 0 };

	if (h->nlmsg_type != RTM_NEWLINK && h->nlmsg_type != RTM_DELLINK)
		return NL_SKIP;
	if (!nlmsg_valid_hdr(h, sizeof(*info)))
		return NL_SKIP;
	info = nlmsg_data(h);
	name = nlmsg_find_attr(h, sizeof(*info), IFLA_IFNAME);
	if (!name)
		return NL_SKIP;
	nla_strlcpy(ev.name, name, sizeof(ev.name));
	ev.ifindex = info->ifi_index;
	ev.gone = h->nlmsg_type == RTM_DELLINK;
	/* A link that is being made comes with every bit changed. */
	ev.went_down = !ev.gone && info->ifi_change != ~0U &&
		       (info->ifi_change & IFF_UP) &&
		       !(info->ifi_flags & IFF_UP);
	m->fn(m->arg, &ev);
	return NL_OK;
}

static int connect_here(void *arg, struct err *e)
{
	struct rt_monitor *m = arg;
	int r = nl_connect(m->sk, NETLINK_ROUTE);

	if (r == 0)
		r = nl_socket_add_membership(m->sk, RTNLGRP_LINK);
	if (r == 0)
		r = nl_socket_set_nonblocking(m->sk);
	return r < 0 ? rt_fail(e, r, "watch links") : 0;
}

int rt_monitor_open(int nsfd, struct rt_monitor **ret, struct err *e)
{
	auto_ptr(rt_monitor) m = calloc(1, sizeof(*m));
	int r;

	if (m)
		m->sk = nl_socket_alloc();
	if (!m || !m->sk)
		return err_set(e, -ENOMEM, "out of memory");
	nl_socket_disable_seq_check(m->sk);
	r = nl_socket_modify_cb(m->sk, NL_CB_VALID, NL_CB_CUSTOM, on_message,
				m);
	if (r < 0)
		return rt_fail(e, r, "watch links");
	r = ns_call(nsfd, connect_here, m, e);
	if (r < 0)
		return r;
	*ret = take_ptr(m);
	return 0;
}

void rt_monitor_close(struct rt_monitor *m)
{
	if (!m)
		return;
	if (m->sk)
		nl_socket_free(m->sk);
	free(m);
}

int rt_monitor_fd(const struct rt_monitor *m)
{
	return nl_socket_get_fd(m->sk);
}

int rt_monitor_read(struct rt_monitor *m,
		    void (*fn)(void *arg, const struct rt_link_event *ev),
		    void *arg, struct err *e)
{
	int r;

	m->fn = fn;
	m->arg = arg;
	do {
		errno = 0;
		r = nl_recvmsgs_default(m->sk);
	} while (r == 0 || r == -NLE_INTR);
	if (r == -NLE_AGAIN)
		return 0;
	/* libnl has one code for no memory here and for lost messages. */
	if (r == -NLE_NOMEM)
		return err_set(e, -ENOBUFS,
			       "events of links came faster than they were "
			       "read");
	return rt_fail(e, r, "read events of links");
}

// SPDX-License-Identifier: Apache-2.0
/*
 * Links of pods and gateways that vanish, or are set down, while we run. The
 * loop only leaves notes; the pods' workers look and repair: step_network().
 */
#include <errno.h>
#include <stdlib.h>

#include "agent/attach.h"
#include "agent/internal.h"
#include "agent/network/repair.h"
#include "lib/err.h"
#include "lib/log.h"
#include "netns/monitor.h"
#include "netns/netns.h"

struct links {
	struct agent *a;
	struct rt_monitor *monitor;
	struct ev_io io;
};

static void note(struct pod *pod)
{
	pthread_mutex_lock(&pod->lock);
	pod->inbox.network_event = true;
	pthread_mutex_unlock(&pod->lock);
	pod_poke(pod);
}

static uint32_t pod_net_id(struct pod *pod)
{
	uint32_t id;

	pthread_mutex_lock(&pod->lock);
	id = pod->network_up ? pod->endpoint.net_id : 0;
	pthread_mutex_unlock(&pod->lock);
	return id;
}

/* @ifname NULL: any may have vanished. */
static void look(struct agent *a, const char *ifname)
{
	uint32_t net_id = network_link_lost(a->network, ifname);
	struct pod **pods;
	size_t nr;

	if (pods_all(a, &pods, &nr) < 0)
		return; /* the next event looks again */
	for (size_t i = 0; i < nr; i++)
		if (!ifname || network_is_pods(ifname, pods[i]->uid) ||
		    (net_id && pod_net_id(pods[i]) == net_id))
			note(pods[i]);
	pod_list_free(pods, nr);
}

static void on_event(void *arg, const struct rt_link_event *ev)
{
	struct links *l = arg;

	if ((ev->gone || ev->went_down) && network_is_ours(ev->name))
		look(l->a, ev->name);
}

static void ready(void *arg, uint32_t events)
{
	struct links *l = arg;
	struct err e = { 0 };
	int r;

	(void)events;
	r = rt_monitor_read(l->monitor, on_event, l, &e);
	if (r == -ENOBUFS) {
		look(l->a, NULL);
		return;
	}
	if (r < 0) {
		log_warn("links that vanish are not seen any more: %s", e.msg);
		ev_io_del(&l->io);
	}
}

int links_start(struct agent *a, struct links **ret, struct err *e)
{
	struct links *l = calloc(1, sizeof(*l));
	int r;

	if (!l)
		return err_set(e, -ENOMEM, "out of memory");
	l->a = a;
	r = rt_monitor_open(NS_OWN, &l->monitor, e);
	if (r == 0)
		r = ev_io_add(a->loop, &l->io, rt_monitor_fd(l->monitor),
			      EPOLLIN, ready, l, e);
	if (r < 0) {
		links_stop(l);
		return r;
	}
	*ret = l;
	return 0;
}

void links_stop(struct links *l)
{
	if (!l)
		return;
	ev_io_del(&l->io);
	rt_monitor_close(l->monitor);
	free(l);
}

// SPDX-License-Identifier: Apache-2.0
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "agent/events.h"
#include "agent/hooks.h"
#include "agent/internal.h"
#include "agent/probe/probe.h"
#include "lib/err.h"
#include "lib/str.h"

static void begin(struct pod *pod, size_t i, const struct hook_spec *h)
{
	struct ctr *c = &pod->ctrs[i];
	uint64_t now = ev_clock_ms(), id = 0;
	char ip[INET_ADDRSTRLEN] = "127.0.0.1";
	struct probe_target t = {
		.pod_key = pod->key,
		.container = c->name,
		.pod_ip = ip,
		.startup = &h->run,
		.started_ms = now,
	};
	struct err e = { 0 };
	int r;

	if (h->sleep) {
		c->hook_due_ms = now + (uint64_t)h->sleep_s * 1000;
		return;
	}
	c->hook_due_ms = HOOK_OPEN;
	if (pod->network_up)
		inet_ntop(AF_INET, &pod->endpoint.ip, ip, sizeof(ip));
	/* Its result may come before we know its number: not before we have
	 * noted it. */
	pthread_mutex_lock(&pod->lock);
	r = prober_add(pod->agent->prober, &t, &id, &e);
	memset(&c->hook_found, 0, sizeof(c->hook_found));
	c->hook_found.id = id;
	if (r < 0) {
		c->hook_found.done = true;
		snprintf(c->hook_found.why, sizeof(c->hook_found.why), "%.*s",
			 POD_MESSAGE_MAX - 1, e.msg);
	}
	pthread_mutex_unlock(&pod->lock);
	if (r < 0)
		pod_poke(pod);
}

static bool given(const struct hook_spec *h)
{
	return h->sleep || h->run.kind != PROBE_NONE;
}

bool hooks_post_start(struct pod *pod, size_t i)
{
	struct ctr *c = &pod->ctrs[i];

	hooks_stop(pod, i);
	if (!c->spec || !given(&c->spec->post_start))
		return false;
	c->hook = HOOK_STARTING;
	begin(pod, i, &c->spec->post_start);
	return true;
}

bool hooks_pre_stop(struct pod *pod, size_t i)
{
	struct ctr *c = &pod->ctrs[i];

	hooks_stop(pod, i);
	if (!c->spec || !given(&c->spec->pre_stop))
		return false;
	c->hook = HOOK_STOPPING;
	begin(pod, i, &c->spec->pre_stop);
	return true;
}

void hooks_stop(struct pod *pod, size_t i)
{
	struct ctr *c = &pod->ctrs[i];
	uint64_t id;

	if (c->hook == HOOK_NONE)
		return;
	c->hook = HOOK_NONE;
	pthread_mutex_lock(&pod->lock);
	id = c->hook_found.id;
	memset(&c->hook_found, 0, sizeof(c->hook_found));
	pthread_mutex_unlock(&pod->lock);
	if (id)
		prober_del(pod->agent->prober, id);
}

static void failed(struct pod *pod, struct ctr *c, const char *why)
{
	bool starting = c->hook == HOOK_STARTING;

	event_add(pod, true,
		  starting ? "FailedPostStartHook" : "FailedPreStopHook",
		  "%s hook of container %s failed: %s",
		  starting ? "PostStart" : "PreStop", c->name, why);
	if (starting && c->stop_why == STOP_NONE)
		c->stop_why = STOP_LIVENESS;
}

void hooks_take(struct pod *pod, size_t i)
{
	struct ctr *c = &pod->ctrs[i];
	char why[POD_MESSAGE_MAX];
	bool done, ok;

	if (c->hook == HOOK_NONE || c->phase != CTR_RUNNING)
		return;
	pthread_mutex_lock(&pod->lock);
	done = c->hook_found.done;
	ok = c->hook_found.ok;
	memcpy(why, c->hook_found.why, sizeof(why));
	pthread_mutex_unlock(&pod->lock);
	if (c->hook_due_ms == HOOK_OPEN && done) {
		if (!ok)
			failed(pod, c, why);
		c->hook_due_ms = ev_clock_ms();
	}
	if (c->hook != HOOK_STARTING || c->hook_due_ms > ev_clock_ms())
		return;
	hooks_stop(pod, i);
	if (c->stop_why == STOP_NONE)
		probes_start(pod, i);
}

bool hooks_result(struct pod *pod, const struct probe_result *r)
{
	bool ours = false;

	pthread_mutex_lock(&pod->lock);
	for (size_t i = 0; i < pod->nr_ctrs && !ours; i++) {
		struct ctr *c = &pod->ctrs[i];

		ours = c->hook_found.id && c->hook_found.id == r->id;
		if (!ours || c->hook_found.done)
			continue;
		c->hook_found.done = true;
		c->hook_found.ok = r->success;
		snprintf(c->hook_found.why, sizeof(c->hook_found.why), "%.*s",
			 POD_MESSAGE_MAX - 1, r->message);
	}
	pthread_mutex_unlock(&pod->lock);
	if (ours)
		pod_poke(pod);
	return ours;
}

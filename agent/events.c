// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/events.h"
#include "agent/internal.h"
#include "agent/remote/remote.h"
#include "lib/buf.h"
#include "lib/json.h"
#include "lib/str.h"

struct event {
	char key[192]; /* cut: a display name */
	char uid[40];
	char reason[32];
	char message[POD_MESSAGE_MAX];
	int64_t first_us, last_us;
	uint32_t count;
	bool warning;
};

/* One ring for the process: agents of one process share it, by pod's uid. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct event *ring[EVENTS_MAX];
static size_t head;

static struct event *find_same(const struct pod *pod, const char *reason,
			       const char *message)
{
	for (size_t i = 0; i < EVENTS_MAX; i++)
		if (ring[i] && str_eq(ring[i]->uid, pod->uid) &&
		    str_eq(ring[i]->reason, reason) &&
		    str_eq(ring[i]->message, message))
			return ring[i];
	return NULL;
}

static void tell_remote(const struct pod *pod, const struct event *ev)
{
	struct remote_event re = { .key = pod->key,
				   .uid = pod->uid,
				   .own = !pod->remote,
				   .reason = ev->reason,
				   .message = ev->message,
				   .warning = ev->warning,
				   .first_us = ev->first_us,
				   .last_us = ev->last_us,
				   .count = ev->count };

	remote_event(agent_remote(pod->agent), &re);
}

void event_add(struct pod *pod, bool warning, const char *reason,
	       const char *fmt, ...)
{
	char message[POD_MESSAGE_MAX];
	struct event *ev;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(message, sizeof(message), fmt, ap);
	va_end(ap);
	pthread_mutex_lock(&lock);
	ev = find_same(pod, reason, message);
	if (!ev) {
		if (!ring[head])
			ring[head] = calloc(1, sizeof(*ring[head]));
		ev = ring[head];
		if (!ev)
			goto out; /* an event less */
		head = (head + 1) % EVENTS_MAX;
		ev->count = 0;
		ev->first_us = time_us();
		ev->warning = warning;
		snprintf(ev->key, sizeof(ev->key), "%s", pod->key);
		snprintf(ev->uid, sizeof(ev->uid), "%s", pod->uid);
		snprintf(ev->reason, sizeof(ev->reason), "%s", reason);
		snprintf(ev->message, sizeof(ev->message), "%s", message);
	}
	ev->last_us = time_us();
	ev->count++;
	if (agent_remote(pod->agent))
		tell_remote(pod, ev);
out:
	pthread_mutex_unlock(&lock);
}

static void put(struct json_out *o, const struct event *ev)
{
	char time[40];
	const char *name = strrchr(ev->key, '/');

	json_put_object(o, NULL);
	json_put_str(o, "kind", "Event");
	json_put_str(o, "type", ev->warning ? "Warning" : "Normal");
	json_put_str(o, "reason", ev->reason);
	json_put_str(o, "message", ev->message);
	json_put_u64(o, "count", ev->count);
	rfc3339(ev->first_us, time);
	json_put_str(o, "firstTimestamp", time);
	rfc3339(ev->last_us, time);
	json_put_str(o, "lastTimestamp", time);
	json_put_object(o, "involvedObject");
	json_put_str(o, "kind", "Pod");
	json_put_str(o, "name", name ? name + 1 : ev->key);
	json_put_str(o, "key", ev->key);
	json_put_str(o, "uid", ev->uid);
	json_put_end(o);
	json_put_end(o);
}

int events_render(const char *key, struct buf *out)
{
	struct json_out o = JSON_OUT(out);

	json_put_object(&o, NULL);
	json_put_str(&o, "kind", "EventList");
	json_put_str(&o, "apiVersion", "v1");
	json_put_array(&o, "items");
	pthread_mutex_lock(&lock);
	for (size_t i = 0; i < EVENTS_MAX; i++) {
		const struct event *ev = ring[(head + i) % EVENTS_MAX];

		if (ev && (!key || str_eq(ev->key, key)))
			put(&o, ev);
	}
	pthread_mutex_unlock(&lock);
	json_put_end(&o);
	json_put_end(&o);
	return buf_error(out);
}

// SPDX-License-Identifier: Apache-2.0
/* What happened, for 'kubectl describe': posted in the background, the last of
 * it if there is more than the server takes. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "agent/remote/internal.h"
#include "controlplane/client/rest.h"
#include "lib/err.h"
#include "lib/ev.h"
#include "lib/json.h"
#include "lib/log.h"
#include "lib/str.h"

#define EVENTS_MAX 1024 /* waiting */
#define RETRY_MS   1000
#define TRIES      5
#define BEHIND_MS  50  /* the status they tell of goes first */
#define BURST      100 /* at once; then so many a second: what pods wait for */
#define RATE       50  /* is not to wait for what is read later */

struct item {
	struct item *next;
	char *key, *uid, *reason, *message;
	bool warning;
	int64_t first_us, last_us;
	uint32_t count;
	uint64_t due_ms;
};

/* Guarded by remote.lock; remote.wake is rung. */
struct event_queue {
	struct item *first, **last;
	size_t nr;
	uint64_t dropped;
	uint64_t full_ms; /* the thread's: when BURST may be sent again */
};

static void item_free(struct item *it)
{
	free(it->key);
	free(it->uid);
	free(it->reason);
	free(it->message);
	free(it);
}

int events_new(struct remote *r)
{
	r->events = calloc(1, sizeof(*r->events));
	if (!r->events)
		return -ENOMEM;
	r->events->last = &r->events->first;
	return 0;
}

void events_free(struct remote *r)
{
	struct item *it, *next;

	for (it = r->events ? r->events->first : NULL; it; it = next) {
		next = it->next;
		item_free(it);
	}
	free(r->events);
}

static struct item *pop(struct event_queue *q)
{
	struct item *it = q->first;

	if (!it)
		return NULL;
	q->first = it->next;
	if (!q->first)
		q->last = &q->first;
	q->nr--;
	return it;
}

/* The same again, and not sent yet: it only counts up. */
static struct item *same(struct event_queue *q, const struct remote_event *ev)
{
	for (struct item *it = q->first; it; it = it->next)
		if (it->first_us == ev->first_us && str_eq(it->uid, ev->uid) &&
		    str_eq(it->reason, ev->reason) &&
		    str_eq(it->message, ev->message))
			return it;
	return NULL;
}

void remote_event(struct remote *r, const struct remote_event *ev)
{
	struct event_queue *q = r->events;
	struct item *it, *old = NULL;
	const char *key = ev->key;
	char mirror[KEY_MAX];

	if (ev->own) {
		if (mirror_key(r, key, mirror) < 0)
			return;
		key = mirror;
	}
	pthread_mutex_lock(&r->lock);
	it = same(q, ev);
	if (it) {
		it->count = ev->count;
		it->last_us = ev->last_us;
		pthread_mutex_unlock(&r->lock);
		return;
	}
	it = calloc(1, sizeof(*it));
	if (it) {
		*it = (struct item){ .key = strdup(key),
				     .uid = strdup(ev->uid),
				     .reason = strdup(ev->reason),
				     .message = strdup(ev->message),
				     .warning = ev->warning,
				     .first_us = ev->first_us,
				     .last_us = ev->last_us,
				     .count = ev->count,
				     .due_ms = ev_clock_ms() + BEHIND_MS };
		if (!it->key || !it->uid || !it->reason || !it->message) {
			item_free(it);
			it = NULL;
		}
	}
	if (it) {
		if (q->nr >= EVENTS_MAX) {
			old = pop(q);
			q->dropped++;
		}
		*q->last = it;
		q->last = &it->next;
		q->nr++;
		pthread_cond_broadcast(&r->wake);
	}
	pthread_mutex_unlock(&r->lock);
	if (old)
		item_free(old);
}

/* --- the objects --- */

static void put_time(struct json_out *o, const char *key, int64_t us)
{
	time_t s = (time_t)(us / 1000000);
	char text[40];
	struct tm tm;

	gmtime_r(&s, &tm);
	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm);
	json_put_str(o, key, text);
}

/* The same event of the same agent has the same name, and no other has. */
static void event_name(const struct item *it, char *buf, size_t size)
{
	const char *name = strrchr(it->key, '/') + 1;
	uint64_t h = 1469598103934665603ULL ^ (uint64_t)it->first_us;

	for (const char *s = it->reason; *s; s++)
		h = (h ^ (unsigned char)*s) * 1099511628211ULL;
	for (const char *s = it->message; *s; s++)
		h = (h ^ (unsigned char)*s) * 1099511628211ULL;
	snprintf(buf, size, "%.200s.%016llx", name, (unsigned long long)h);
}

static void put_object(const struct remote *r, const struct item *it,
		       struct json_out *o)
{
	const char *ns = strchr(it->key, '/') + 1;
	const char *name = strchr(ns, '/') + 1;

	json_put_object(o, "involvedObject");
	json_put_str(o, "kind", "Pod");
	json_put_str(o, "apiVersion", "v1");
	json_put_str(o, "name", name);
	json_put_strn(o, "namespace", ns, (size_t)(name - 1 - ns));
	json_put_str(o, "uid", it->uid);
	json_put_end(o);
	json_put_object(o, "source");
	json_put_str(o, "component", "arktos-node");
	json_put_str(o, "host", r->o.node_name);
	json_put_end(o);
	json_put_str(o, "reportingComponent", "arktos-node");
	json_put_str(o, "reportingInstance", r->o.node_name);
}

static void put_event(const struct remote *r, const struct item *it,
		      struct buf *b)
{
	const char *ns = strchr(it->key, '/') + 1;
	struct json_out o = JSON_OUT(b);
	char name[256];

	event_name(it, name, sizeof(name));
	json_put_object(&o, NULL);
	json_put_str(&o, "apiVersion", "v1");
	json_put_str(&o, "kind", "Event");
	json_put_object(&o, "metadata");
	json_put_str(&o, "name", name);
	json_put_strn(&o, "namespace", ns, strcspn(ns, "/"));
	json_put_end(&o);
	put_object(r, it, &o);
	json_put_str(&o, "type", it->warning ? "Warning" : "Normal");
	json_put_str(&o, "reason", it->reason);
	json_put_str(&o, "message", it->message);
	json_put_u64(&o, "count", it->count);
	put_time(&o, "firstTimestamp", it->first_us);
	put_time(&o, "lastTimestamp", it->last_us);
	json_put_end(&o);
}

static void put_again(const struct item *it, struct buf *b)
{
	struct json_out o = JSON_OUT(b);

	json_put_object(&o, NULL);
	json_put_u64(&o, "count", it->count);
	put_time(&o, "lastTimestamp", it->last_us);
	json_put_end(&o);
}

static int post(struct remote *r, const struct item *it, struct err *e)
{
	auto_buf struct buf body = BUF_INIT, answer = BUF_INIT;
	char path[PATH_SIZE], name[256];
	int status;

	path_of(it->key, "events", "", "", path);
	put_event(r, it, &body);
	status = remote_request(r, "POST", path, buf_str(&body), NULL, &answer,
				e);
	if (status != 409)
		return status < 0 ? status : rest_check(status, &answer, e);
	event_name(it, name, sizeof(name));
	path_of(it->key, "events", name, "", path);
	buf_reset(&body);
	put_again(it, &body);
	status = remote_request(r, "PATCH", path, buf_str(&body),
				"application/merge-patch+json", &answer, e);
	return status < 0 ? status : rest_check(status, &answer, e);
}

/* The next one, when it is due; NULL: we stop. */
static struct item *next_due(struct remote *r)
{
	struct event_queue *q = r->events;
	const uint64_t each = 1000 / RATE, all = BURST * each;
	struct item *it = NULL;

	pthread_mutex_lock(&r->lock);
	while (!it && !atomic_load(&r->stopping)) {
		uint64_t now = ev_clock_ms(), due;
		struct timespec t;

		if (!q->first) {
			pthread_cond_wait(&r->wake, &r->lock);
			continue;
		}
		due = q->first->due_ms;
		if (q->full_ms > all && due < q->full_ms - all)
			due = q->full_ms - all;
		if (now >= due) {
			it = pop(q);
			q->full_ms =
				(q->full_ms > now ? q->full_ms : now) + each;
			break;
		}
		t = (struct timespec){ (time_t)(due / 1000),
				       (long)(due % 1000) * 1000000 };
		(void)pthread_cond_timedwait(&r->wake, &r->lock, &t);
	}
	pthread_mutex_unlock(&r->lock);
	return it;
}

void *events_run(void *arg)
{
	struct remote *r = arg;
	struct item *it;

	for (;;) {
		int ret = -1;

		it = next_due(r);
		for (int i = 0;
		     it && ret < 0 && i < TRIES && !atomic_load(&r->stopping);
		     i++) {
			struct err e = { 0 };

			ret = post(r, it, &e);
			/* Refused (a namespace that ends, say): an event less.
			 */
			if (ret == 0 || ret == -EACCES || ret == -ENOENT ||
			    ret == -EINVAL || ret == -EEXIST)
				break;
			if (!remote_pause(r, RETRY_MS << i))
				break;
		}
		if (it)
			item_free(it);
		if (atomic_load(&r->stopping))
			return NULL;
	}
}

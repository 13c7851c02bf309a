// SPDX-License-Identifier: Apache-2.0
#include "controlplane/scheduler/scheduler.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <time.h>

#include "controlplane/client/client.h"
#include "controlplane/client/object.h"
#include "controlplane/client/recorder.h"
#include "controlplane/client/shared.h"
#include "controlplane/scheduler/core.h"
#include "lib/err.h"
#include "lib/ev.h"
#include "lib/json.h"
#include "lib/log.h"
#include "lib/map.h"
#include "lib/prom.h"
#include "lib/str.h"

#define BATCH         256 /* decisions before the inbox is looked at again */
#define BINDS_MAX     512 /* on their way */
#define SYNC_MS       20
#define CONDITION_MAX 1024

/* What came in; keys, so that a thousand changes of a pod are one. */
enum inbox { INBOX_PODS, INBOX_NODES, INBOX_FAILED, INBOX_NR };

struct scheduler {
	char *name;
	struct shared *shared;
	struct client *client;
	struct recorder *recorder;
	struct informer *pods, *nodes;
	struct core *core;
	pthread_t thread;
	bool running;
	pthread_mutex_t lock;
	pthread_cond_t cond;
	struct map inbox[INBOX_NR];
	bool stopping;
	unsigned binds;
	prom_counter scheduled, refused, failed; /* by the thread */
	prom_counter queued, waiting;
};

struct bind {
	struct scheduler *s;
	struct client_call call;
	struct buf path, body;
	struct informer_object *pod;
	char *node; /* NULL: it is a condition, not a bind */
};

/* --- in --- */

static void come_in(struct scheduler *s, enum inbox box, const char *key)
{
	pthread_mutex_lock(&s->lock);
	if (map_set(&s->inbox[box], key, s, NULL) < 0)
		log_warn("scheduler: %s: out of memory", key);
	pthread_cond_signal(&s->cond);
	pthread_mutex_unlock(&s->lock);
}

static void pod_changed(void *arg, const struct informer_event *ev)
{
	come_in(arg, INBOX_PODS, ev->now ? ev->now->key : ev->old->key);
}

static void node_changed(void *arg, const struct informer_event *ev)
{
	come_in(arg, INBOX_NODES, ev->now ? ev->now->key : ev->old->key);
}

/* --- out --- */

static void bind_free(struct bind *b)
{
	client_call_clear(&b->call);
	buf_clear(&b->path);
	buf_clear(&b->body);
	informer_unref(b->pod);
	free(b->node);
	free(b);
}

static void bind_done(struct client_call *call)
{
	struct bind *b = call->arg;
	struct scheduler *s = b->s;
	struct err e = { 0 };
	int r = client_check(call, &e);

	if (r == 0 && b->node) {
		recorder_event(s->recorder, KIND_POD, b->pod, false,
			       "Scheduled", "Successfully assigned %s/%s to %s",
			       b->pod->namespace, b->pod->name, b->node);
	} else if (r < 0 && b->node) {
		/* Gone, or bound by another: the informer knows. */
		if (r != -ENOENT && r != -ESTALE && r != -ECANCELED)
			log_warn("scheduler: bind %s: %s, retrying",
				 b->pod->key, e.msg);
		come_in(s, INBOX_FAILED, b->pod->key);
	}
	bind_free(b);
	pthread_mutex_lock(&s->lock);
	s->binds--;
	pthread_cond_signal(&s->cond);
	pthread_mutex_unlock(&s->lock);
}

static void send_out(struct scheduler *s, struct bind *b)
{
	b->s = s;
	b->call.path = buf_str(&b->path);
	b->call.body = buf_str(&b->body);
	b->call.done = bind_done;
	b->call.arg = b;
	pthread_mutex_lock(&s->lock);
	s->binds++;
	pthread_mutex_unlock(&s->lock);
	client_start(s->client, &b->call);
}

static struct bind *bind_new(struct informer_object *pod, const char *sub)
{
	struct bind *b = calloc(1, sizeof(*b));

	if (!b)
		return NULL;
	b->pod = informer_ref(pod);
	kind_path(KIND_POD, pod->tenant, pod->namespace, pod->name, sub,
		  &b->path);
	return b;
}

static bool bind(struct scheduler *s, struct informer_object *pod,
		 const char *node)
{
	struct bind *b = bind_new(pod, "binding");

	if (!b)
		return false;
	b->node = strdup(node);
	buf_printf(&b->body,
		   "{\"apiVersion\":\"v1\",\"kind\":\"Binding\",\"metadata\":{"
		   "\"name\":\"%s\",\"namespace\":\"%s\",\"uid\":\"%s\"},"
		   "\"target\":{\"apiVersion\":\"v1\",\"kind\":\"Node\","
		   "\"name\":\"%s\"}}",
		   pod->name, pod->namespace, pod->uid, node);
	if (!b->node || buf_error(&b->body) || buf_error(&b->path)) {
		bind_free(b);
		return false;
	}
	b->call.method = "POST";
	send_out(s, b);
	return true;
}

static void put_condition(struct buf *b, const char *reason, const char *msg)
{
	struct json_out o = JSON_OUT(b);
	char now[OBJ_TIME_SIZE];

	json_put_object(&o, NULL);
	json_put_object(&o, "status");
	json_put_array(&o, "conditions");
	json_put_object(&o, NULL);
	json_put_str(&o, "type", "PodScheduled");
	json_put_str(&o, "status", "False");
	json_put_str(&o, "reason", reason);
	json_put_str(&o, "message", msg);
	json_put_str(&o, "lastTransitionTime", time_format(time_now(), now));
	json_put_null(&o, "lastProbeTime");
	json_put_end(&o);
	json_put_end(&o);
	json_put_end(&o);
	json_put_end(&o);
}

/* Unless it says so already. */
static void tell(struct scheduler *s, struct informer_object *pod,
		 const char *reason, const char *msg)
{
	yyjson_doc *doc = informer_doc(pod);
	yyjson_val *c =
		obj_item(obj_at(yyjson_doc_get_root(doc), "status.conditions"),
			 "type", "PodScheduled");
	bool known = str_eq(obj_str(c, "message"), msg) &&
		     str_eq(obj_str(c, "reason"), reason);
	struct bind *b = known ? NULL : bind_new(pod, "status");

	yyjson_doc_free(doc);
	if (!b)
		return;
	b->call.method = "PATCH";
	b->call.type = "application/strategic-merge-patch+json";
	put_condition(&b->body, reason, msg);
	send_out(s, b);
}

/* --- the thread --- */

static void take_node(struct scheduler *s, const char *key)
{
	auto_ptr(informer_object) o = informer_get(s->nodes, key);
	yyjson_doc *doc = o ? informer_doc(o) : NULL;

	if (!o)
		core_node_gone(s->core, key + 2); /* "//name" */
	else if (doc)
		(void)core_node(s->core, o->name, doc);
}

static void take_pod(struct scheduler *s, const char *key)
{
	static const char gated[] =
		"Scheduling is blocked due to non-empty scheduling gates";
	auto_ptr(informer_object) o = informer_get(s->pods, key);
	yyjson_doc *doc = o ? informer_doc(o) : NULL;

	if (!o || !doc)
		core_pod_gone(s->core, key);
	else if (core_pod(s->core, key, yyjson_doc_get_root(doc)) == CORE_GATED)
		tell(s, o, "SchedulingGated", gated);
	yyjson_doc_free(doc);
}

static void take_inbox(struct scheduler *s, enum inbox box, struct map *m)
{
	struct map_iter it = MAP_ITER_INIT;
	uint64_t now = ev_clock_ms();

	while (map_next(m, &it)) {
		if (box == INBOX_NODES)
			take_node(s, it.key);
		else if (box == INBOX_PODS)
			take_pod(s, it.key);
		else {
			prom_add(&s->failed, 1);
			core_bind_failed(s->core, it.key, now);
		}
	}
	map_clear(m, NULL);
}

static void carry_out(struct scheduler *s, const struct core_decision *d)
{
	auto_ptr(informer_object) pod = informer_get(s->pods, d->key);

	/* Gone meanwhile: the inbox will say so. */
	if (!pod)
		return;
	if (d->node) {
		prom_add(&s->scheduled, 1);
		if (!bind(s, pod, d->node))
			core_bind_failed(s->core, d->key, ev_clock_ms());
		return;
	}
	prom_add(&s->refused, 1);
	tell(s, pod, "Unschedulable", d->message);
	if (!d->told)
		recorder_event(s->recorder, KIND_POD, pod, true,
			       "FailedScheduling", "%s", d->message);
}

static void decide(struct scheduler *s)
{
	uint64_t now = ev_clock_ms();
	struct core_decision d;
	struct core_stats st;

	for (int i = 0; i < BATCH && core_next(s->core, now, &d); i++)
		carry_out(s, &d);
	core_stats(s->core, &st);
	atomic_store_explicit(&s->queued, st.queued, memory_order_relaxed);
	atomic_store_explicit(&s->waiting, st.waiting, memory_order_relaxed);
}

void scheduler_metrics(struct scheduler *s, struct buf *b)
{
	static const char attempts[] = "scheduler_schedule_attempts_total";
	static const char pending[] = "scheduler_pending_pods";
	char labels[400];

	prom_head(b, attempts, "counter",
		  "Number of attempts to schedule pods, by the result.");
	snprintf(labels, sizeof(labels), "profile=\"%.200s\",result=", s->name);
	for (int i = 0; i < 3; i++) {
		prom_counter *n = i == 0   ? &s->scheduled
				  : i == 1 ? &s->refused
					   : &s->failed;
		char all[500];

		snprintf(all, sizeof(all), "%s\"%s\"", labels,
			 i == 0   ? "scheduled"
			 : i == 1 ? "unschedulable"
				  : "error");
		prom_put(b, attempts, all, prom_get(n));
	}
	prom_head(b, pending, "gauge",
		  "Number of pending pods, by the queue type.");
	prom_put(b, pending, "queue=\"active\"", prom_get(&s->queued));
	prom_put(b, pending, "queue=\"unschedulable\"", prom_get(&s->waiting));
}

/* Until there is something to do; locked. */
static void wait_for_work(struct scheduler *s)
{
	int64_t ms = shared_synced(s->shared)
			     ? core_due_ms(s->core, ev_clock_ms())
			     : SYNC_MS;
	struct timespec until;

	if (s->stopping || map_len(&s->inbox[INBOX_PODS]) ||
	    map_len(&s->inbox[INBOX_NODES]) || map_len(&s->inbox[INBOX_FAILED]))
		return;
	if (ms == 0 && s->binds < BINDS_MAX)
		return;
	if (ms < 0 || (ms == 0 && s->binds >= BINDS_MAX)) {
		pthread_cond_wait(&s->cond, &s->lock);
		return;
	}
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += ms / 1000;
	until.tv_nsec += ms % 1000 * 1000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	(void)pthread_cond_timedwait(&s->cond, &s->lock, &until);
}

static void *serve(void *arg)
{
	struct scheduler *s = arg;

	pthread_setname_np(pthread_self(), "arktos-sched");
	pthread_mutex_lock(&s->lock);
	for (;;) {
		struct map in[INBOX_NR];
		bool room;

		wait_for_work(s);
		if (s->stopping)
			break;
		/* Before the first lists are complete nodes look empty. */
		if (!shared_synced(s->shared)) {
			struct timespec nap = { .tv_nsec = SYNC_MS * 1000000 };

			pthread_mutex_unlock(&s->lock);
			nanosleep(&nap, NULL);
			pthread_mutex_lock(&s->lock);
			continue;
		}
		memcpy(in, s->inbox, sizeof(in));
		memset(s->inbox, 0, sizeof(s->inbox));
		room = s->binds < BINDS_MAX;
		pthread_mutex_unlock(&s->lock);
		take_inbox(s, INBOX_NODES, &in[INBOX_NODES]);
		take_inbox(s, INBOX_PODS, &in[INBOX_PODS]);
		take_inbox(s, INBOX_FAILED, &in[INBOX_FAILED]);
		if (room)
			decide(s);
		pthread_mutex_lock(&s->lock);
	}
	pthread_mutex_unlock(&s->lock);
	return NULL;
}

/* --- beginning and end --- */

static int start_thread(struct scheduler *s, struct err *e)
{
	pthread_attr_t attr;
	sigset_t all, old;
	int r;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 512 * 1024);
	r = pthread_create(&s->thread, &attr, serve, s);
	pthread_attr_destroy(&attr);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (r)
		return err_set(e, -r, "thread: %s", strerror(r));
	s->running = true;
	return 0;
}

int scheduler_new(struct shared *shared, const char *name,
		  struct scheduler **ret, struct err *e)
{
	auto_ptr(scheduler) s = calloc(1, sizeof(*s));
	pthread_condattr_t attr;
	int r;

	if (!s)
		return err_set(e, -ENOMEM, "out of memory");
	pthread_mutex_init(&s->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&s->cond, &attr);
	pthread_condattr_destroy(&attr);
	s->shared = shared;
	s->client = shared_client(shared);
	s->name = strdup(name ? name : "default-scheduler");
	s->core = s->name ? core_new(s->name) : NULL;
	s->pods = shared_informer(shared, KIND_POD);
	s->nodes = shared_informer(shared, KIND_NODE);
	if (!s->core || !s->pods || !s->nodes ||
	    informer_subscribe(s->pods, pod_changed, s) < 0 ||
	    informer_subscribe(s->nodes, node_changed, s) < 0)
		return err_set(e, -ENOMEM, "out of memory");
	r = recorder_new(s->client, s->name, &s->recorder, e);
	if (r == 0)
		r = start_thread(s, e);
	if (r < 0)
		return r;
	*ret = take_ptr(s);
	return 0;
}

void scheduler_stop(struct scheduler *s)
{
	pthread_mutex_lock(&s->lock);
	s->stopping = true;
	pthread_cond_broadcast(&s->cond);
	pthread_mutex_unlock(&s->lock);
	if (s->running)
		pthread_join(s->thread, NULL);
	s->running = false;
	pthread_mutex_lock(&s->lock);
	while (s->binds)
		pthread_cond_wait(&s->cond, &s->lock);
	pthread_mutex_unlock(&s->lock);
}

void scheduler_free(struct scheduler *s)
{
	if (!s)
		return;
	scheduler_stop(s);
	recorder_free(s->recorder);
	for (int i = 0; i < INBOX_NR; i++)
		map_clear(&s->inbox[i], NULL);
	core_free(s->core);
	pthread_mutex_destroy(&s->lock);
	pthread_cond_destroy(&s->cond);
	free(s->name);
	free(s);
}

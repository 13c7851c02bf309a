// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "agent/remote/internal.h"
#include "agent/remote/objects.h"
#include "controlplane/client/rest.h"
#include "controlplane/client/target.h"
#include "lib/err.h"
#include "lib/log.h"
#include "lib/str.h"

#define BACKOFF_BASE_MS 200
#define BACKOFF_MAX_MS  30000
#define PAUSE_LEAST_MS  100

/* --- connections --- */

struct link *link_take(struct remote *r)
{
	struct link *l;

	pthread_mutex_lock(&r->lock);
	for (l = r->links; l && l->busy; l = l->next)
		;
	if (!l) {
		l = calloc(1, sizeof(*l));
		if (l) {
			l->r = r;
			l->next = r->links;
			r->links = l;
		}
	}
	if (l)
		l->busy = true;
	pthread_mutex_unlock(&r->lock);
	return l;
}

void link_give(struct link *l)
{
	if (!l)
		return;
	pthread_mutex_lock(&l->r->lock);
	l->busy = false;
	pthread_mutex_unlock(&l->r->lock);
}

struct rest *link_rest(struct link *l, struct err *e)
{
	struct remote *r = l->r;
	struct rest *fresh = NULL, *old;
	unsigned generation;
	bool good;

	pthread_mutex_lock(&r->lock);
	generation = r->generation;
	good = l->rest && l->generation == generation;
	pthread_mutex_unlock(&r->lock);
	if (good)
		return l->rest;
	if (rest_open(r->o.kubeconfig, &fresh, e) < 0)
		return NULL;
	/* From here on remote_stop() finds it. */
	pthread_mutex_lock(&r->lock);
	old = l->rest;
	l->rest = fresh;
	l->generation = generation;
	if (atomic_load(&r->stopping))
		rest_cancel(fresh);
	pthread_mutex_unlock(&r->lock);
	if (old)
		rest_close(old);
	return fresh;
}

void remote_set_connected(struct remote *r, bool connected,
			  const struct err *why)
{
	bool was = atomic_exchange(&r->connected, connected);

	if (was == connected || atomic_load(&r->stopping))
		return;
	if (connected) {
		log_info("the API server %s answers", r->server);
		pthread_mutex_lock(&r->lock);
		r->answers++;
		pthread_cond_broadcast(&r->wake);
		pthread_mutex_unlock(&r->lock);
	} else
		log_warn("the API server does not answer, pods go on: %s",
			 why->msg);
}

int link_call(struct link *l, const char *method, const char *path,
	      const char *body, const char *type, struct buf *answer,
	      struct err *e)
{
	struct rest *c = link_rest(l, e);
	struct err why = { 0 };
	int status;

	if (!c)
		return -EIO;
	status = rest_call(c, method, path, body, type, answer, &why);
	/* An idle connection that was closed under us. What we write is either
	 * the same when it is done twice, or refused the second time. */
	if (status == -EPIPE && !atomic_load(&l->r->stopping))
		status = rest_call(c, method, path, body, type, answer, &why);
	remote_set_connected(l->r, status >= 0, &why);
	if (status < 0)
		return err_set(e, status, "%s", why.msg);
	return status;
}

int remote_request(struct remote *r, const char *method, const char *path,
		   const char *body, const char *type, struct buf *answer,
		   struct err *e)
{
	struct link *l = link_take(r);
	int status = l ? link_call(l, method, path, body, type, answer, e)
		       : err_set(e, -ENOMEM, "out of memory");

	link_give(l);
	return status;
}

static struct timespec in_ms(unsigned ms)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_sec += ms / 1000;
	t.tv_nsec += (long)(ms % 1000) * 1000000;
	if (t.tv_nsec >= 1000000000) {
		t.tv_sec++;
		t.tv_nsec -= 1000000000;
	}
	return t;
}

bool remote_pause(struct remote *r, unsigned ms)
{
	/* Somebody whose own questions alone fail is not to be woken by every
	 * answer to others. */
	unsigned least = ms < PAUSE_LEAST_MS ? ms : PAUSE_LEAST_MS;
	struct timespec first = in_ms(least), last = in_ms(ms);
	unsigned answers;
	bool go_on;

	pthread_mutex_lock(&r->lock);
	answers = r->answers;
	while (!atomic_load(&r->stopping))
		if (pthread_cond_timedwait(&r->wake, &r->lock, &first) != 0)
			break;
	while (!atomic_load(&r->stopping) && r->answers == answers)
		if (pthread_cond_timedwait(&r->wake, &r->lock, &last) != 0)
			break;
	go_on = !atomic_load(&r->stopping);
	pthread_mutex_unlock(&r->lock);
	return go_on;
}

const char *remote_server(const struct remote *r)
{
	return r->server;
}

bool remote_answers(const struct remote *r)
{
	return atomic_load(&r->connected);
}

/* --- names --- */

static const char *text(yyjson_val *obj, const char *key)
{
	return yyjson_get_str(yyjson_obj_get(obj, key));
}

int key_of(yyjson_val *obj, char key[KEY_MAX])
{
	yyjson_val *meta = yyjson_obj_get(obj, "metadata");
	const char *tenant = text(meta, "tenant");
	const char *ns = text(meta, "namespace"), *name = text(meta, "name");
	int n;

	if (!name || !ns)
		return -EBADMSG;
	n = snprintf(key, KEY_MAX, "%s/%s/%s", tenant ? tenant : "system", ns,
		     name);
	return n < KEY_MAX ? 0 : -E2BIG;
}

uint64_t version_of(yyjson_val *obj)
{
	const char *s =
		text(yyjson_obj_get(obj, "metadata"), "resourceVersion");
	uint64_t v;

	return s && str_to_u64(s, &v) == 0 ? v : 0;
}

void path_of(const char *key, const char *resource, const char *name,
	     const char *tail, char path[PATH_SIZE])
{
	const char *ns = strchr(key, '/') + 1;
	const char *own = strchr(ns, '/') + 1;

	snprintf(path, PATH_SIZE,
		 "/api/v1/tenants/%.*s/namespaces/%.*s/%s%s%s%s",
		 (int)(ns - 1 - key), key, (int)(own - 1 - ns), ns, resource,
		 name && !*name ? "" : "/", name ? name : own, tail);
}

/* --- the table --- */

void entry_free(void *p)
{
	struct entry *en = p;

	if (!en)
		return;
	free(en->json);
	free(en->applied);
	free(en->refused);
	free(en->remove_asked);
	free(en->not_taken);
	free(en->content_why);
	free(en->last);
	map_clear(&en->tokens, free);
	free(en);
}

struct entry *entry_get(struct remote *r, const char *key, bool make)
{
	struct entry *en = map_get(&r->pods, key);

	if (en || !make)
		return en;
	en = calloc(1, sizeof(*en));
	if (en && map_set(&r->pods, key, en, NULL) < 0) {
		free(en);
		en = NULL;
	}
	return en;
}

static bool same_uid(const struct entry *en, yyjson_val *pod)
{
	const char *uid = text(yyjson_obj_get(pod, "metadata"), "uid");

	return uid && strstr(en->json, uid);
}

static void forget(struct entry *en)
{
	free(en->applied);
	free(en->refused);
	free(en->remove_asked);
	free(en->not_taken);
	free(en->last);
	map_clear(&en->tokens, free);
	en->applied = en->refused = en->remove_asked = en->last = NULL;
	en->not_taken = NULL;
	en->content = en->silent_ms = 0;
}

void pods_update(struct remote *r, const char *json, size_t len,
		 yyjson_val *pod, bool gone)
{
	uint64_t version = version_of(pod);
	char key[KEY_MAX];
	struct entry *en;
	char *copy;

	if (key_of(pod, key) < 0)
		return;
	copy = gone ? NULL : strndup(json, len);
	pthread_mutex_lock(&r->lock);
	en = entry_get(r, key, !gone);
	if (!en || (!gone && !copy)) {
		free(copy);
	} else if (en->json && version < en->version) {
		en->seen = true;
		free(copy);
	} else if (gone) {
		entry_free(map_del(&r->pods, key));
	} else {
		/* Another pod of the same name knows nothing of the first. */
		if (en->json && !same_uid(en, pod))
			forget(en);
		free(en->json);
		en->json = copy;
		en->len = len;
		en->version = version;
		en->seen = true;
		en->mirror = mirror_is(pod);
	}
	pthread_mutex_unlock(&r->lock);
	(void)wq_add(r->queue, key);
}

bool remote_synced(const struct remote *r)
{
	struct remote *m = (struct remote *)(uintptr_t)r;
	bool synced;

	pthread_mutex_lock(&m->lock);
	synced = m->synced;
	pthread_mutex_unlock(&m->lock);
	return synced;
}

void remote_renew(struct remote *r)
{
	atomic_store(&r->renew, true);
}

void remote_pod_changed(struct remote *r, const char *key)
{
	(void)wq_add(r->queue, key); /* out of memory: the next change does */
}

void remote_pod_ended(struct remote *r, const char *key, const char *uid,
		      const char *json)
{
	struct entry *en;

	pthread_mutex_lock(&r->lock);
	en = entry_get(r, key, false);
	/* Without a finalizer the pod goes, and its last state with it. */
	if (en && strstr(en->json, uid) && strstr(en->json, "\"finalizers\""))
		(void)str_set(&en->last, json);
	pthread_mutex_unlock(&r->lock);
}

/* --- start and stop --- */

static void work(void *arg, const char *key)
{
	remote_sync(arg, key);
}

static void set_up(struct remote *r)
{
	pthread_condattr_t attr;

	pthread_mutex_init(&r->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&r->wake, &attr);
	pthread_condattr_destroy(&attr);
}

static int spawn(pthread_t *t, bool *runs, void *(*fn)(void *),
		 const char *name, struct remote *r, struct err *e)
{
	int rc = pthread_create(t, NULL, fn, r);

	if (rc)
		return err_set(e, -rc, "start a thread: %s", strerror(rc));
	pthread_setname_np(*t, name);
	*runs = true;
	return 0;
}

static int start_threads(struct remote *r, struct err *e)
{
	int ret;

	ret = spawn(&r->watch_thread, &r->watch_runs, watch_run, "arktos-watch",
		    r, e);
	if (ret == 0)
		ret = spawn(&r->action_thread, &r->action_runs, actions_run,
			    "arktos-actions", r, e);
	if (ret == 0)
		ret = spawn(&r->node_thread, &r->node_runs, node_run,
			    "arktos-node", r, e);
	if (ret == 0)
		ret = spawn(&r->event_thread, &r->event_runs, events_run,
			    "arktos-events", r, e);
	return ret;
}

struct remote *remote_bare(const struct remote_opts *o)
{
	struct remote *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	set_up(r);
	r->o = *o;
	r->pods = r->objects = r->actions = (struct map)MAP_INIT;
	/* So that the first failure is told. */
	atomic_store(&r->connected, true);
	return r;
}

static int read_ca(struct remote *r, struct err *e)
{
	auto_ptr(target) t = NULL;
	int ret = target_open(r->o.kubeconfig, &t, e);

	if (ret == 0) {
		r->ca_pem = strdup(t->ca_pem);
		ret = r->ca_pem ? 0 : -ENOMEM;
	}
	return ret;
}

int remote_start(const struct remote_opts *o, struct remote **ret,
		 struct err *e)
{
	struct wq_opts wq = { .work = work,
			      .workers = REMOTE_WORKERS,
			      .name = "arktos-remote",
			      .base_ms = BACKOFF_BASE_MS,
			      .max_ms = BACKOFF_MAX_MS };
	struct remote *r = remote_bare(o);
	struct link *l;
	struct rest *c;
	int code;

	if (!r)
		return err_set(e, -ENOMEM, "out of memory");
	wq.arg = r;
	l = link_take(r);
	c = l ? link_rest(l, e) : NULL;
	code = c ? 0 : e && e->code ? e->code : -ENOMEM;
	if (c)
		snprintf(r->server, sizeof(r->server), "%s", rest_server(c));
	link_give(l);
	if (code == 0)
		code = facts_address(r, r->host_ip, sizeof(r->host_ip));
	if (code == 0)
		code = read_ca(r, e);
	if (code == 0)
		code = events_new(r);
	if (code == 0 && o->backend)
		code = server_start(r, e);
	if (code == 0)
		code = wq_new(&wq, &r->queue, e);
	/* They call back at once: what changes then must reach us. */
	if (code == 0)
		__atomic_store_n(ret, r, __ATOMIC_RELEASE);
	if (code == 0)
		code = start_threads(r, e);
	if (code < 0) {
		__atomic_store_n(ret, NULL, __ATOMIC_RELEASE);
		remote_stop(r);
		return code;
	}
	log_info("joined to %s as node '%s', address %s", r->server,
		 o->node_name, r->host_ip);
	return 0;
}

void remote_stop(struct remote *r)
{
	struct link *l, *next;

	if (!r)
		return;
	pthread_mutex_lock(&r->lock);
	atomic_store(&r->stopping, true);
	pthread_cond_broadcast(&r->wake);
	for (l = r->links; l; l = l->next)
		if (l->rest)
			rest_cancel(l->rest);
	pthread_mutex_unlock(&r->lock);
	if (r->watch_runs)
		pthread_join(r->watch_thread, NULL);
	if (r->action_runs)
		pthread_join(r->action_thread, NULL);
	if (r->node_runs)
		pthread_join(r->node_thread, NULL);
	if (r->event_runs)
		pthread_join(r->event_thread, NULL);
	server_stop(r);
	if (r->queue)
		wq_free(r->queue);
	objwatch_stop(r);
	for (l = r->links; l; l = next) {
		next = l->next;
		if (l->rest)
			rest_close(l->rest);
		free(l);
	}
	map_clear(&r->pods, entry_free);
	map_clear(&r->objects, object_free);
	map_clear(&r->actions, action_entry_free);
	events_free(r);
	free(r->ca_pem);
	buf_clear(&r->serving_cert);
	pthread_cond_destroy(&r->wake);
	pthread_mutex_destroy(&r->lock);
	free(r);
}

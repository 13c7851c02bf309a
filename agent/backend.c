// SPDX-License-Identifier: Apache-2.0
/* Pods through the local API. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "agent/backend.h"
#include "agent/figures.h"
#include "agent/events.h"
#include "agent/internal.h"
#include "agent/wish.h"
#include "agent/remote/remote.h"
#include "lib/buf.h"
#include "lib/err.h"
#include "lib/json.h"
#include "lib/quantity.h"
#include "lib/str.h"

#define SAVE_WAIT_MS   10000
#define CANCEL_LOOK_MS 200

struct pod *backend_pod(struct agent *a, const struct api_pod_id *id,
			struct err *e)
{
	char key[POD_KEY_MAX];
	struct pod *pod = NULL;

	if (snprintf(key, sizeof(key), "%s/%s/%s", id->tenant, id->namespace,
		     id->name) < (int)sizeof(key))
		pod = pods_find(a, key);
	if (!pod && str_eq(id->tenant, "system"))
		err_set(e, -ENOENT, "pods \"%s\" not found in namespace %s",
			id->name, id->namespace);
	else if (!pod)
		err_set(e, -ENOENT,
			"pods \"%s\" not found in namespace %s of tenant %s",
			id->name, id->namespace, id->tenant);
	return pod;
}

static bool in_scope(const struct pod *pod, const struct api_scope *s)
{
	const char *ns = strchr(pod->key, '/') + 1;
	const char *name = strchr(ns, '/') + 1;

	/* From the key, which never changes: the spec may at any moment. */
	return (!s->tenant ||
		(strlen(s->tenant) == (size_t)(ns - 1 - pod->key) &&
		 str_starts(pod->key, s->tenant))) &&
	       (!s->namespace ||
		(strlen(s->namespace) == (size_t)(name - 1 - ns) &&
		 str_starts(ns, s->namespace))) &&
	       (!s->name || str_eq(name, s->name));
}

static int by_key(const void *a, const void *b)
{
	return strcmp((*(struct pod *const *)a)->key,
		      (*(struct pod *const *)b)->key);
}

static int pod_list(void *arg, const struct api_scope *scope, struct buf *out,
		    struct err *e)
{
	struct agent *a = arg;
	struct pod **pods;
	bool first = true;
	size_t nr;

	if (pods_all(a, &pods, &nr) < 0)
		return err_set(e, -ENOMEM, "out of memory");
	qsort(pods, nr, sizeof(struct pod *), by_key);
	buf_printf(out,
		   "{\"kind\":\"PodList\",\"apiVersion\":\"v1\","
		   "\"metadata\":{\"resourceVersion\":\"%llu\"},\"items\":[",
		   (unsigned long long)atomic_load(&a->version));
	for (size_t i = 0; i < nr; i++) {
		if (!in_scope(pods[i], scope))
			continue;
		pthread_mutex_lock(&pods[i]->lock);
		if (pods[i]->published) {
			if (!first)
				buf_putc(out, ',');
			first = false;
			buf_add(out, pods[i]->published->data,
				pods[i]->published->len);
		}
		pthread_mutex_unlock(&pods[i]->lock);
	}
	buf_puts(out, "]}");
	pod_list_free(pods, nr);
	return buf_error(out);
}

static int put_published(struct pod *pod, struct buf *out, struct err *e)
{
	size_t len = 0;
	char *json = pod_published(pod, &len);
	int r;

	if (!json)
		return err_set(e, -ENOMEM, "out of memory");
	r = buf_add(out, json, len);
	free(json);
	return r;
}

static int pod_get(void *arg, const struct api_pod_id *id, struct buf *out,
		   struct err *e)
{
	struct pod *pod = backend_pod(arg, id, e);
	int r;

	if (!pod)
		return -ENOENT;
	r = put_published(pod, out, e);
	pod_unref(pod);
	return r;
}

static struct timespec at_ms(uint64_t ms)
{
	return (struct timespec){ .tv_sec = (time_t)(ms / 1000),
				  .tv_nsec = (long)(ms % 1000) * 1000000 };
}

/* An answer promises that what was accepted survives us. */
static int wait_saved(struct pod *pod, struct err *e)
{
	struct timespec end = at_ms(ev_clock_ms() + SAVE_WAIT_MS);
	int r = 0;

	pthread_mutex_lock(&pod->lock);
	while (pod->saved_seq < pod->wish_seq &&
	       pod->unsaved_seq < pod->wish_seq && !pod->gone && r == 0)
		r = -pthread_cond_timedwait(&pod->changed, &pod->lock, &end);
	if (r == 0 && pod->saved_seq < pod->wish_seq && !pod->gone)
		r = -EIO;
	if (r < 0)
		err_set(e, -EIO,
			"pod %s is accepted, but not saved yet: %s; it is "
			"tried again, delete it if it is not to be",
			pod->key,
			pod->unsaved_seq ? pod->trouble : "the disk is slow");
	pthread_mutex_unlock(&pod->lock);
	return r < 0 ? -EIO : 0;
}

static int pod_apply(void *arg, const char *json, size_t len,
		     enum api_outcome *ret, struct buf *out, struct err *e)
{
	struct agent *a = arg;
	const char *what = "";
	char *key = NULL;
	struct pod *pod;
	int r;

	r = network_manifest(a, json, len, e);
	if (r != -ENOENT) {
		if (r == 0) {
			*ret = API_CONFIGURED;
			buf_add(out, json, len);
		}
		return r;
	}
	if (e)
		*e = (struct err){ 0 };
	r = agent_apply_manifest(a, json, len, &what, &key, out, e);
	if (r < 0)
		return r;
	*ret = str_eq(what, "created")      ? API_CREATED
	       : str_eq(what, "configured") ? API_CONFIGURED
					    : API_UNCHANGED;
	pod = pods_find(a, key);
	free(key);
	if (pod)
		r = wait_saved(pod, e);
	if (pod && r == 0)
		r = put_published(pod, out, e);
	else if (!pod)
		buf_add(out, json, len); /* it came and went */
	pod_unref(pod);
	return r;
}

static int pod_delete(void *arg, const struct api_pod_id *id, int64_t grace_s,
		      struct err *e)
{
	struct pod *pod = backend_pod(arg, id, e);
	uint32_t grace;
	int r;

	if (!pod)
		return -ENOENT;
	if (pod->remote) {
		r = backend_remote_delete(pod, grace_s, e);
		pod_unref(pod);
		return r;
	}
	pthread_mutex_lock(&pod->lock);
	grace = pod->spec->grace_s;
	pthread_mutex_unlock(&pod->lock);
	if (grace_s >= 0)
		grace = grace_s > UINT32_MAX / 2 ? UINT32_MAX / 2
						 : (uint32_t)grace_s;
	pod_note_remove(pod, grace);
	r = wait_saved(pod, e);
	pod_unref(pod);
	return r;
}

static int events(void *arg, const struct api_pod_id *id, struct buf *out,
		  struct err *e)
{
	char key[POD_KEY_MAX];

	(void)arg;
	if (!id)
		return events_render(NULL, out);
	if (snprintf(key, sizeof(key), "%s/%s/%s", id->tenant, id->namespace,
		     id->name) >= (int)sizeof(key))
		return err_set(e, -EINVAL, "the pod's name is too long");
	return events_render(key, out);
}

/* --- resize
 * ------------------------------------------------------------------------- */

static bool settled(const struct resize_public *p, uint64_t seq)
{
	if (p->done_seq >= seq)
		return true;
	if (p->seq < seq)
		return false; /* the worker has not seen it yet */
	return p->condition == RESIZE_DEFERRED ||
	       p->condition == RESIZE_INFEASIBLE ||
	       p->condition == RESIZE_ERROR;
}

/* Is something else wished for by now, and was when @seq had not come true?
 * Under the pod's lock. */
static bool superseded(struct pod *pod, uint64_t seq,
		       const struct api_resize *rs)
{
	const struct resize_public *p = &pod->resize_public;
	const struct ctr *c;

	if (pod->resize_seq == seq || p->done_seq == seq)
		return false;
	if (p->done_seq < seq)
		return !pod_wish_holds(pod, rs->container, &rs->want);
	c = pod_ctr(pod, rs->container);
	return !c || !resources_hold(&c->shown_allocated, &rs->want);
}

/* Wait until the wish @seq is decided, or replaced, or time is up. */
static struct resize_public wait_settled(struct pod *pod, uint64_t seq,
					 const struct api_resize *rs,
					 bool *ret_superseded)
{
	uint64_t end = ev_clock_ms() + rs->timeout_ms, now;
	struct resize_public p;

	pthread_mutex_lock(&pod->lock);
	while (!(*ret_superseded = superseded(pod, seq, rs)) &&
	       !settled(&pod->resize_public, seq) &&
	       (now = ev_clock_ms()) < end &&
	       !(rs->cancel && atomic_load(rs->cancel))) {
		uint64_t until = now + CANCEL_LOOK_MS;
		struct timespec ts;

		if (until > end)
			until = end;
		ts = at_ms(until);
		pthread_cond_timedwait(&pod->changed, &pod->lock, &ts);
	}
	p = pod->resize_public;
	pthread_mutex_unlock(&pod->lock);
	return p;
}

static void get_actual(struct pod *pod, const char *container,
		       struct quantity_set *ret)
{
	struct ctr *c;

	pthread_mutex_lock(&pod->lock);
	c = pod_ctr(pod, container);
	if (c)
		*ret = c->shown_limits;
	pthread_mutex_unlock(&pod->lock);
}

/* What this one answers, and what became of the wish before it. */
static void tell_why(struct api_resize_result *ret, const char *message,
		     const char *note)
{
	size_t n, size = sizeof(ret->why);

	snprintf(ret->why, size, "%s", message);
	n = strlen(ret->why);
	if (*note)
		snprintf(ret->why + n, size - n, "%s%s", n ? "; " : "", note);
}

/* When what was given to a workload that does not run comes true; NULL: it
 * runs. */
static const char *takes_effect(struct pod *pod, const char *container)
{
	const char *when = NULL;
	const struct ctr *c;

	pthread_mutex_lock(&pod->lock);
	c = pod_ctr(pod, container);
	if (c && c->phase != CTR_RUNNING)
		when = c->spec ? "takes effect when the container starts"
		       : pod->spec->vm->power == POWER_SHUTDOWN
			       ? "takes effect when the VM is powered on"
			       : "takes effect when the VM starts";
	pthread_mutex_unlock(&pod->lock);
	return when;
}

/* @done_before: the last wish that had come true when this one was asked for:
 * if that is it, nothing was to do. */
static void resize_result(struct pod *pod, const struct resize_public *p,
			  uint64_t seq, uint64_t done_before, const char *note,
			  struct api_resize_result *ret)
{
	static const enum api_resize_state states[] = {
		[RESIZE_NONE] = API_RESIZE_DONE,
		[RESIZE_DEFERRED] = API_RESIZE_DEFERRED,
		[RESIZE_INFEASIBLE] = API_RESIZE_INFEASIBLE,
		[RESIZE_IN_PROGRESS] = API_RESIZE_IN_PROGRESS,
		[RESIZE_ERROR] = API_RESIZE_FAILED,
	};

	if (p->done_seq >= seq) {
		const char *when = takes_effect(pod, ret->container);

		ret->state = when ? API_RESIZE_ACCEPTED : API_RESIZE_DONE;
		ret->took_ms = when || seq <= done_before ? 0 : p->took_ms;
		tell_why(ret, when ? when : "", note);
		return;
	}
	ret->state = p->seq < seq || p->condition == RESIZE_NONE
			     ? API_RESIZE_IN_PROGRESS
			     : states[p->condition];
	tell_why(ret, p->message, note);
}

/* What is wished for instead, of what @rs asked for. */
static void superseded_result(struct pod *pod, const struct api_resize *rs,
			      struct api_resize_result *ret)
{
	const struct quantity_set *l = &rs->want.limits;
	const struct quantity_set *q = &rs->want.requests;
	char cpu[QUANTITY_TEXT_SIZE], mem[QUANTITY_TEXT_SIZE];
	struct resources now = { 0 };
	const struct quantity_set *is;
	bool with_cpu, with_mem;

	pthread_mutex_lock(&pod->lock);
	(void)pod_wish_now(pod, ret->container, &now);
	pthread_mutex_unlock(&pod->lock);
	is = l->has_cpu || l->has_mem ? &now.limits : &now.requests;
	with_cpu = (l->has_cpu || q->has_cpu) && is->has_cpu;
	with_mem = (l->has_mem || q->has_mem) && is->has_mem;
	ret->state = API_RESIZE_SUPERSEDED;
	snprintf(ret->why, sizeof(ret->why),
		 "another resize came in between, and wants %s%s%s%s%s; resize "
		 "again if it is to be as was asked for here",
		 with_cpu ? "cpu " : "",
		 with_cpu ? quantity_format_cpu(is->cpu_milli, cpu) : "",
		 with_cpu && with_mem ? ", " : "", with_mem ? "memory " : "",
		 with_mem ? quantity_format_mem(is->mem_bytes, mem) : "");
}

static int pod_resize(void *arg, const struct api_resize *rs,
		      struct api_resize_result *ret, struct err *e)
{
	struct pod *pod = backend_pod(arg, &rs->pod, e);
	struct api_resize named = *rs;
	char note[POD_MESSAGE_MAX] = "";
	struct resize_public p;
	bool lost = false;
	uint64_t seq = 0, done_before;
	int r;

	if (!pod)
		return -ENOENT;
	pthread_mutex_lock(&pod->lock);
	snprintf(ret->container, sizeof(ret->container), "%s",
		 rs->container   ? rs->container
		 : pod->spec->vm ? pod->spec->vm->name
				 : pod->spec->containers[0].name);
	ret->by_guest = pod->spec->vm != NULL;
	done_before = pod->resize_public.done_seq;
	pthread_mutex_unlock(&pod->lock);
	get_actual(pod, ret->container, &ret->before);
	r = pod->remote ? backend_remote_resize(pod, rs, &seq, note, e)
			: agent_resize(arg, pod->key, rs->container, &rs->want,
				       &seq, note, e);
	lost = r == 1;
	named.container = ret->container;
	if (r == 0)
		r = wait_saved(pod, e);
	if (r == 0) {
		p = wait_settled(pod, seq, &named, &lost);
		resize_result(pod, &p, seq, done_before, note, ret);
	}
	if (lost)
		superseded_result(pod, &named, ret);
	if (r >= 0)
		get_actual(pod, ret->container, &ret->after);
	pod_unref(pod);
	return r < 0 ? r : 0;
}

/* --- watchers
 * -------------------------------------------------------------------------- */

void agent_notify(struct agent *a, struct pod *pod)
{
	const char *ns = strchr(pod->key, '/') + 1;
	const char *name = strchr(ns, '/') + 1;
	char tenant[POD_KEY_MAX], namespace[POD_KEY_MAX];
	struct api *api = __atomic_load_n(&a->api, __ATOMIC_ACQUIRE);
	struct api_pod_id id = { tenant, namespace, name };
	enum api_change change = pod->gone            ? API_DELETED
				 : pod->version_shown ? API_MODIFIED
						      : API_ADDED;
	size_t len = 0;
	char *json;

	pod->version_shown = true;
	if (agent_remote(a))
		remote_pod_changed(agent_remote(a), pod->key);
	if (!api || !api_watched(api))
		return;
	snprintf(tenant, sizeof(tenant), "%.*s", (int)(ns - 1 - pod->key),
		 pod->key);
	snprintf(namespace, sizeof(namespace), "%.*s", (int)(name - 1 - ns),
		 ns);
	json = pod_published(pod, &len);
	if (json)
		api_pod_changed(api, change, &id, json, len);
	free(json);
}

const struct api_backend agent_backend = {
	.pod_list = pod_list,
	.pod_get = pod_get,
	.pod_apply = pod_apply,
	.pod_delete = pod_delete,
	.pod_resize = pod_resize,
	.pod_action = backend_action,
	.pod_logs = backend_logs,
	.pod_exec = backend_exec,
	.pod_attach = backend_attach,
	.session_result = backend_session_result,
	.session_close = backend_session_close,
	.events = events,
	.image_list = backend_image_list,
	.image_pull = backend_image_pull,
	.image_import = backend_image_import,
	.image_remove = backend_image_remove,
	.node = backend_node,
	.stats = backend_stats,
	.usage = backend_usage,
	.network = backend_network,
	.metrics = backend_metrics,
	.cadvisor = backend_cadvisor,
	.resource = backend_resource,
};

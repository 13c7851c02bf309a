// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "agent/container/sandbox.h"
#include "agent/internal.h"
#include "agent/payload.h"
#include "agent/volume/payload.h"
#include "cgroups/cgroup.h"
#include "lib/buf.h"
#include "lib/err.h"
#include "lib/log.h"
#include "lib/str.h"

int64_t time_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

void rfc3339(int64_t us, char buf[40])
{
	time_t s = (time_t)(us / 1000000);
	struct tm tm;

	gmtime_r(&s, &tm);
	strftime(buf, 40, "%Y-%m-%dT%H:%M:%SZ", &tm);
}

static int uuid(char buf[37])
{
	unsigned char r[16];

	if (getrandom(r, sizeof(r), 0) != sizeof(r))
		return -errno;
	r[6] = (r[6] & 0x0f) | 0x40;
	r[8] = (r[8] & 0x3f) | 0x80;
	snprintf(buf, 37,
		 "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-"
		 "%02x%02x%02x%02x%02x%02x",
		 r[0], r[1], r[2], r[3], r[4], r[5], r[6], r[7], r[8], r[9],
		 r[10], r[11], r[12], r[13], r[14], r[15]);
	return 0;
}

static int pod_new_ctrs(struct pod *pod)
{
	const struct pod_spec *s = pod->spec;
	size_t nr = s->vm ? 1 : s->nr_init + s->nr_containers;

	pod->ctrs = calloc(nr, sizeof(*pod->ctrs));
	if (!pod->ctrs)
		return -ENOMEM;
	pod->nr_ctrs = nr;
	pod->nr_init = s->vm ? 0 : s->nr_init;
	for (size_t i = 0; i < nr; i++) {
		struct ctr *c = &pod->ctrs[i];

		c->init = i < pod->nr_init;
		snprintf(c->reason, sizeof(c->reason), "%s",
			 ctr_waiting_reason(pod));
	}
	return 0;
}

/* The containers borrow from the spec: point them at the present one. */
void pod_bind_spec(struct pod *pod)
{
	const struct pod_spec *s = pod->spec;

	for (size_t i = 0; i < pod->nr_ctrs; i++) {
		struct ctr *c = &pod->ctrs[i];

		c->spec = s->vm     ? NULL
			  : c->init ? &s->init[i]
				    : &s->containers[i - pod->nr_init];
		c->name = s->vm ? s->vm->name : c->spec->name;
	}
}

int pod_new(struct agent *a, struct pod_spec *spec, struct pod **ret,
	    struct err *e)
{
	pthread_condattr_t attr;
	struct pod *pod;
	char id[37];
	int r;

	if (!spec->uid) {
		r = uuid(id);
		if (r == 0)
			r = str_set(&spec->uid, id);
		if (r < 0)
			return err_wrap(e, r, "make a uid");
	}
	pod = calloc(1, sizeof(*pod));
	if (!pod)
		return err_set(e, -ENOMEM, "out of memory");
	pthread_mutex_init(&pod->lock, NULL);
	pthread_rwlock_init(&pod->handles, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&pod->changed, &attr);
	pthread_condattr_destroy(&attr);
	pod->agent = a;
	pod->refs = 1;
	pod->endpoint = (struct endpoint)ENDPOINT_INIT;
	pod->created_us = time_us();
	pod->payload = spec->vm ? &payload_vm : &payload_container;
	pod->userns_slot = USERNS_SLOTS;
	pod->grace_s = spec->grace_s;
	pod->qos = pod_spec_qos(spec);
	pod->uid = strdup(spec->uid);
	pod->key = str_printf("%s/%s/%s", spec->tenant, spec->namespace,
			      spec->name);
	pod->run_dir = str_printf("%s/pods/%s", a->opts.run_dir, spec->uid);
	pod->state_dir = str_printf("%s/pods/%s", a->opts.state_dir, spec->uid);
	/* A long name is cut to what a folder's may have; the uid tells pods
	 * apart. */
	pod->log_dir = str_printf("%s/pods/%s_%.*s_%s", a->opts.log_dir,
				  spec->namespace,
				  (int)(NAME_MAX - 2 - strlen(spec->namespace) -
					strlen(spec->uid)),
				  spec->name, spec->uid);
	pod->spec = spec;
	if (!pod->uid || !pod->key || !pod->run_dir || !pod->state_dir ||
	    !pod->log_dir || pod_new_ctrs(pod) < 0) {
		pod->spec = NULL; /* still the caller's */
		pod_unref(pod);
		return err_set(e, -ENOMEM, "out of memory");
	}
	pod_bind_spec(pod);
	*ret = pod;
	return 0;
}

struct pod *pod_ref(struct pod *pod)
{
	__atomic_add_fetch(&pod->refs, 1, __ATOMIC_RELAXED);
	return pod;
}

static void pod_free(struct pod *pod)
{
	for (size_t i = 0; i < pod->nr_ctrs; i++) {
		image_unref(pod->ctrs[i].image);
		free(pod->ctrs[i].image_ref);
		cg_close(pod->ctrs[i].vcpu_cg);
		cg_close(pod->ctrs[i].cg);
	}
	free(pod->ctrs);
	cg_close(pod->supervisor_cg);
	cg_close(pod->cg);
	endpoint_clear(&pod->endpoint);
	if (pod->published)
		buf_clear(pod->published);
	free(pod->published);
	payload_set_free(pod->inbox.content);
	payload_set_free(pod->content);
	pod_spec_free(pod->inbox.spec);
	pod_spec_free(pod->spec);
	free(pod->wish);
	free(pod->actions);
	free(pod->uid);
	free(pod->key);
	free(pod->run_dir);
	free(pod->state_dir);
	free(pod->log_dir);
	pthread_rwlock_destroy(&pod->handles);
	pthread_cond_destroy(&pod->changed);
	pthread_mutex_destroy(&pod->lock);
	free(pod);
}

void pod_unref(struct pod *pod)
{
	if (pod && __atomic_sub_fetch(&pod->refs, 1, __ATOMIC_ACQ_REL) == 0)
		pod_free(pod);
}

int pods_add(struct agent *a, struct pod *pod, struct err *e)
{
	int r = 0;

	pthread_mutex_lock(&a->lock);
	if (map_get(&a->pods, pod->key))
		r = -EEXIST;
	else
		r = map_set(&a->pods, pod->key, pod_ref(pod), NULL);
	pthread_mutex_unlock(&a->lock);
	if (r == -EEXIST)
		return err_set(e, r, "pod %s exists already", pod->key);
	if (r < 0) {
		pod_unref(pod);
		return err_wrap(e, r, "add pod %s", pod->key);
	}
	return 0;
}

struct pod *pods_find(struct agent *a, const char *key)
{
	struct pod *pod;

	pthread_mutex_lock(&a->lock);
	pod = map_get(&a->pods, key);
	if (pod)
		pod_ref(pod);
	pthread_mutex_unlock(&a->lock);
	return pod;
}

void pods_del(struct agent *a, struct pod *pod)
{
	struct pod *was = NULL;

	pthread_mutex_lock(&a->lock);
	if (map_get(&a->pods, pod->key) == pod)
		was = map_del(&a->pods, pod->key);
	pthread_mutex_unlock(&a->lock);
	pod_unref(was);
}

int pods_all(struct agent *a, struct pod ***ret, size_t *ret_nr)
{
	struct map_iter it = MAP_ITER_INIT;
	struct pod **pods;
	size_t nr = 0;

	pthread_mutex_lock(&a->lock);
	pods = calloc(map_len(&a->pods) + 1, sizeof(struct pod *));
	while (pods && map_next(&a->pods, &it))
		pods[nr++] = pod_ref(it.value);
	pthread_mutex_unlock(&a->lock);
	if (!pods)
		return -ENOMEM;
	*ret = pods;
	*ret_nr = nr;
	return 0;
}

void pod_list_free(struct pod **pods, size_t nr)
{
	for (size_t i = 0; i < nr; i++)
		pod_unref(pods[i]);
	free(pods);
}

void pod_poke(struct pod *pod)
{
	/* -ENOMEM is met by the next event, -ESHUTDOWN by the next agent. */
	(void)wq_add(pod->agent->queue, pod->key);
}

void ctr_set_phase(struct pod *pod, struct ctr *c, enum ctr_phase phase,
		   int64_t started_us)
{
	pthread_mutex_lock(&pod->lock);
	c->phase = phase;
	if (started_us)
		c->started_us = started_us;
	pthread_mutex_unlock(&pod->lock);
}

void pod_note_remove(struct pod *pod, uint32_t grace_s)
{
	pthread_mutex_lock(&pod->lock);
	/* A second wish may only make it faster. */
	if (!pod->inbox.remove || grace_s < pod->inbox.grace_s)
		pod->inbox.grace_s = grace_s;
	pod->inbox.remove = true;
	pod->inbox.wish_seq = ++pod->wish_seq;
	pthread_mutex_unlock(&pod->lock);
	pod_poke(pod);
}

/* Has a pod that was taken over been looked at, and have its probes spoken? */
static void settle(struct pod *pod)
{
	bool all = pod_is_ready(pod);

	if (!pod->unsettled)
		return;
	pod->unknown = !pod->adopt_tried;
	/* What does not run is not waited for. */
	for (size_t i = pod->nr_init; i < pod->nr_ctrs; i++)
		all |= pod->ctrs[i].phase != CTR_RUNNING;
	pod->unsettled = pod->unknown || !all;
}

void pod_publish(struct pod *pod)
{
	struct buf *fresh = calloc(1, sizeof(*fresh)), *old;

	if (!fresh || pod_render(pod, fresh) < 0) {
		log_warn("pod %s: out of memory, its status is old for now",
			 pod->key);
		if (fresh)
			buf_clear(fresh);
		free(fresh);
		return;
	}
	pthread_mutex_lock(&pod->lock);
	pod->resize_public.condition = pod->resize.condition;
	pod->resize_public.seq = pod->resize.generation;
	pod->resize_public.done_seq = pod->resize.done_generation;
	pod->resize_public.took_ms = pod->resize.took_ms;
	snprintf(pod->resize_public.message, sizeof(pod->resize_public.message),
		 "%s", pod->resize.message);
	for (size_t i = 0; i < pod->nr_ctrs; i++) {
		struct ctr *c = &pod->ctrs[i];

		c->shown_allocated = c->res.allocated;
		c->shown_limits = c->res.actual_known ? c->res.actual.limits
						      : c->res.allocated.limits;
	}
	settle(pod);
	pthread_cond_broadcast(&pod->changed);
	old = pod->published;
	if (old && old->len == fresh->len &&
	    memcmp(old->data, fresh->data, old->len) == 0) {
		old = fresh; /* nothing new */
	} else {
		pod->published = fresh;
		pod->version = atomic_fetch_add(&pod->agent->version, 1) + 1;
	}
	pthread_mutex_unlock(&pod->lock);
	if (old != fresh)
		agent_notify(pod->agent, pod);
	if (old)
		buf_clear(old);
	free(old);
}

char *pod_published(struct pod *pod, size_t *ret_len)
{
	char *copy = NULL;

	pthread_mutex_lock(&pod->lock);
	if (pod->published) {
		copy = malloc(pod->published->len + 1);
		if (copy)
			memcpy(copy, pod->published->data,
			       pod->published->len + 1);
		*ret_len = pod->published->len;
	}
	pthread_mutex_unlock(&pod->lock);
	return copy;
}

int userns_slot_take(struct agent *a, uint32_t *ret)
{
	int r = -ENOSPC;

	pthread_mutex_lock(&a->lock);
	for (uint32_t i = 0; i < USERNS_SLOTS && r < 0; i++)
		if (!(a->userns_used[i / 8] & (1 << i % 8))) {
			a->userns_used[i / 8] |= (uint8_t)(1 << i % 8);
			*ret = i;
			r = 0;
		}
	pthread_mutex_unlock(&a->lock);
	return r;
}

void userns_slot_claim(struct agent *a, uint32_t slot)
{
	if (slot >= USERNS_SLOTS)
		return;
	pthread_mutex_lock(&a->lock);
	a->userns_used[slot / 8] |= (uint8_t)(1 << slot % 8);
	pthread_mutex_unlock(&a->lock);
}

void userns_slot_give(struct agent *a, uint32_t slot)
{
	if (slot >= USERNS_SLOTS)
		return;
	pthread_mutex_lock(&a->lock);
	a->userns_used[slot / 8] &= (uint8_t) ~(1 << slot % 8);
	pthread_mutex_unlock(&a->lock);
}

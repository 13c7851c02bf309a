// SPDX-License-Identifier: Apache-2.0
/*
 * As Kubernetes' eviction manager: first each emptyDir against its sizeLimit,
 * then the pod (writable layers, logs and emptyDirs) against the sum of its
 * containers' limits, then each container (writable layer and logs) against its
 * own.
 *
 * Files are counted by walking. A look's CPU time sets when the next one comes,
 * so that all looks together take a hundredth of one CPU at most; a walk ends
 * where a limit is exceeded.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "agent/events.h"
#include "agent/internal.h"
#include "agent/total.h"
#include "agent/usage.h"
#include "agent/volume/volume.h"
#include "lib/err.h"
#include "lib/log.h"
#include "lib/quantity.h"
#include "lib/str.h"

#define LOOK_MS 10000 /* as the kubelet's */
#define SHARE   100   /* one part of so many of a CPU's time */

static const struct quantity_set *limits_of(const struct pod_spec *s,
					    const struct container_spec *c)
{
	return c ? &c->resources.limits : &s->vm->resources.limits;
}

static void add(uint64_t *sum, uint64_t v)
{
	if (__builtin_add_overflow(*sum, v, sum))
		*sum = UINT64_MAX;
}

/* The sum of the containers that have one; 0: none has. */
static uint64_t pod_limit(const struct pod_spec *s)
{
	struct totals t = totals_of(s);

	return total_sum(&t.limits).disk_bytes;
}

static bool is_disk(const struct volume_spec *v)
{
	return v->kind == VOLUME_EMPTY_DIR && !v->memory;
}

static bool has_limits(const struct pod_spec *s)
{
	if (pod_limit(s))
		return true;
	for (size_t i = 0; i < s->nr_volumes; i++)
		if (is_disk(&s->volumes[i]) && s->volumes[i].size_limit)
			return true;
	return false;
}

/* --- a look ---------------------------------------------------------------
 */

/* A volume, or a container: what is counted as one. */
struct part {
	bool volume;
	char *name;
	char *dirs[2];
	uint64_t limit; /* 0: none */
	uint64_t bytes;
};

struct parts {
	struct part *v;
	size_t nr;
	uint64_t pod_limit;
};

static void parts_clear(struct parts *p)
{
	for (size_t i = 0; i < p->nr; i++) {
		free(p->v[i].name);
		free(p->v[i].dirs[0]);
		free(p->v[i].dirs[1]);
	}
	free(p->v);
}

static void add_volume(struct parts *p, const struct pod *pod,
		       const struct volume_spec *v)
{
	p->v[p->nr++] = (struct part){
		.volume = true,
		.name = strdup(v->name),
		.dirs = { str_printf("%s/volumes/%s", pod->state_dir,
				     v->name) },
		.limit = v->size_limit,
	};
}

static void add_ctr(struct parts *p, const struct pod *pod, const struct ctr *c)
{
	p->v[p->nr++] = (struct part){
		.name = strdup(c->name),
		.dirs = { c->spec ? str_printf("%s/containers/%s",
					       pod->state_dir, c->name)
				  : str_printf("%s/vm", pod->state_dir),
			  str_printf("%s/%s", pod->log_dir, c->name) },
		.limit = limits_of(pod->spec, c->spec)->disk_bytes,
	};
}

/* Under the pod's lock: its spec may be replaced. */
static int parts_of(const struct pod *pod, struct parts *ret)
{
	const struct pod_spec *s = pod->spec;

	*ret = (struct parts){ .pod_limit = pod_limit(s) };
	ret->v = calloc(s->nr_volumes + pod->nr_ctrs + 1, sizeof(*ret->v));
	if (!ret->v)
		return -ENOMEM;
	for (size_t i = 0; i < s->nr_volumes; i++)
		if (is_disk(&s->volumes[i]) &&
		    (s->volumes[i].size_limit || ret->pod_limit))
			add_volume(ret, pod, &s->volumes[i]);
	for (size_t i = 0; i < pod->nr_ctrs && ret->pod_limit; i++)
		add_ctr(ret, pod, &pod->ctrs[i]);
	return 0;
}

static int measure(const struct pod *pod, struct part *p, uint64_t most)
{
	struct err e = { 0 };
	int r = 0;

	for (int i = 0; i < 2 && p->dirs[i] && r == 0; i++) {
		r = volume_measure(p->dirs[i], most, &p->bytes, &e);
		if (r < 0 && r != -EDQUOT) {
			log_warn("pod %s: usage of %s '%s' is not known in "
				 "full: %s",
				 pod->key, p->volume ? "volume" : "container",
				 p->name, e.msg);
			r = 0;
		}
	}
	return r;
}

/* Is something beyond its limit? Then @why says so in Kubernetes' words. */
static bool exceeds(const struct pod *pod, struct parts *p,
		    char why[POD_MESSAGE_MAX])
{
	char text[QUANTITY_TEXT_SIZE];
	uint64_t sum = 0;

	for (size_t i = 0; i < p->nr; i++) {
		struct part *v = &p->v[i];
		uint64_t most = v->volume && v->limit ? v->limit : p->pod_limit;

		(void)measure(pod, v, most);
		add(&sum, v->bytes);
		if (!v->volume || !v->limit || v->bytes <= v->limit)
			continue;
		snprintf(why, POD_MESSAGE_MAX,
			 "Usage of EmptyDir volume \"%s\" exceeds the limit "
			 "\"%s\".",
			 v->name, quantity_format_mem(v->limit, text));
		return true;
	}
	if (p->pod_limit && sum > p->pod_limit) {
		snprintf(why, POD_MESSAGE_MAX,
			 "Pod ephemeral local storage usage exceeds the total "
			 "limit of containers %s.",
			 quantity_format_mem(p->pod_limit, text));
		return true;
	}
	for (size_t i = 0; i < p->nr; i++) {
		if (p->v[i].volume || !p->v[i].limit ||
		    p->v[i].bytes <= p->v[i].limit)
			continue;
		snprintf(why, POD_MESSAGE_MAX,
			 "Container %s exceeded its local ephemeral storage "
			 "limit \"%s\".",
			 p->v[i].name,
			 quantity_format_mem(p->v[i].limit, text));
		return true;
	}
	return false;
}

static void look_at(struct pod *pod)
{
	char why[POD_MESSAGE_MAX];
	struct parts parts;
	int r;

	pthread_mutex_lock(&pod->lock);
	r = parts_of(pod, &parts);
	pthread_mutex_unlock(&pod->lock);
	if (r == 0 && exceeds(pod, &parts, why)) {
		pthread_mutex_lock(&pod->lock);
		memcpy(pod->inbox.evict, why, sizeof(why));
		pthread_mutex_unlock(&pod->lock);
		pod_poke(pod);
	}
	parts_clear(&parts);
}

static uint64_t cpu_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

void usage_look(struct agent *a)
{
	uint64_t used = cpu_ms(), pause;
	struct pod **pods;
	bool some = false;
	size_t nr;

	if (pods_all(a, &pods, &nr) < 0) {
		(void)wq_add_after(a->queue, USAGE_KEY, LOOK_MS);
		return;
	}
	for (size_t i = 0; i < nr; i++)
		if (__atomic_load_n(&pods[i]->limited, __ATOMIC_ACQUIRE) &&
		    !atomic_load(&a->stopping)) {
			some = true;
			look_at(pods[i]);
		}
	pod_list_free(pods, nr);
	pause = (cpu_ms() - used) * SHARE;
	if (some) /* else the next pod with a limit begins anew */
		(void)wq_add_after(a->queue, USAGE_KEY,
				   pause > LOOK_MS ? pause : LOOK_MS);
}

/* --- the pod's worker ------------------------------------------------------
 */

static void evict(struct pod *pod, const char *why)
{
	if (pod->failed || pod->deleting || pod_is_over(pod))
		return;
	pod->failed = true;
	pod->saved = false;
	snprintf(pod->reason, sizeof(pod->reason), "%s", USAGE_EVICTED);
	snprintf(pod->message, sizeof(pod->message), "%s", why);
	event_add(pod, true, USAGE_EVICTED, "%s", why);
}

void usage_step(struct pod *pod)
{
	bool was = __atomic_load_n(&pod->limited, __ATOMIC_ACQUIRE), is;

	if (pod->evict[0]) {
		evict(pod, pod->evict);
		pod->evict[0] = '\0';
	}
	is = pod->volumes_up && !pod->failed && !pod->deleting &&
	     !pod_is_over(pod) && has_limits(pod->spec);
	if (is == was)
		return;
	__atomic_store_n(&pod->limited, is, __ATOMIC_RELEASE);
	if (is)
		(void)wq_add_after(pod->agent->queue, USAGE_KEY, LOOK_MS);
}

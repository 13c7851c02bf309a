// SPDX-License-Identifier: Apache-2.0
/*
 * Pods wait in one heap, by priority and then by age. One that found no node
 * waits with its class, and comes back only when a node changes so that the
 * class fits it: what they do not wait for does not wake them.
 */
#include "controlplane/scheduler/core.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "controlplane/client/object.h"
#include "controlplane/scheduler/class.h"
#include "controlplane/scheduler/queue.h"
#include "lib/buf.h"
#include "lib/map.h"
#include "lib/str.h"

struct core {
	char *scheduler_name;
	struct columns columns;
	struct map pods;      /* key: struct spod */
	struct map classes;   /* signature: struct sclass */
	struct queue ready;   /* by priority */
	struct queue delayed; /* by time */
	uint64_t freed;       /* goes up when a refused pod might fit */
	uint64_t serial;
	uint32_t start;
	uint64_t decisions, refusals;
	size_t waiting;
};

struct core *core_new(const char *scheduler_name)
{
	struct core *c = calloc(1, sizeof(*c));

	if (c)
		c->scheduler_name = strdup(scheduler_name);
	if (c && !c->scheduler_name) {
		free(c);
		return NULL;
	}
	if (c) {
		c->ready.before = queue_by_priority;
		c->delayed.before = queue_by_time;
		c->freed = 1;
	}
	return c;
}

static void free_pod(void *arg)
{
	struct spod *p = arg;

	free(p->key);
	free(p);
}

static void free_class(void *arg)
{
	class_free(arg);
}

void core_free(struct core *c)
{
	if (!c)
		return;
	map_clear(&c->pods, free_pod);
	map_clear(&c->classes, free_class);
	queue_clear(&c->ready);
	queue_clear(&c->delayed);
	columns_clear(&c->columns);
	free(c->scheduler_name);
	free(c);
}

/* --- classes --- */

static struct sclass *class_of(struct core *c, yyjson_val *pod)
{
	auto_buf struct buf b = BUF_INIT;
	struct sclass *k;
	struct ask ask;

	ask_read(pod, &ask);
	ask_signature(pod, &ask, &b);
	if (buf_error(&b))
		return NULL;
	k = map_get(&c->classes, buf_str(&b));
	if (!k) {
		k = class_new(buf_str(&b), b.len, &ask);
		if (!k || map_set(&c->classes, k->key, k, NULL) < 0) {
			if (k)
				class_free(k);
			return NULL;
		}
	}
	k->refs++;
	return k;
}

static void class_unref(struct core *c, struct sclass *k)
{
	if (k && --k->refs == 0) {
		map_del(&c->classes, k->key);
		class_free(k);
	}
}

/* --- waiting --- */

static void wait_with_class(struct core *c, struct spod *p)
{
	p->state = SPOD_WAITING;
	p->next = p->class->waiting;
	p->prev = NULL;
	if (p->next)
		p->next->prev = p;
	p->class->waiting = p;
	c->waiting++;
}

static void unwait(struct core *c, struct spod *p)
{
	if (p->prev)
		p->prev->next = p->next;
	else
		p->class->waiting = p->next;
	if (p->next)
		p->next->prev = p->prev;
	p->next = p->prev = NULL;
	c->waiting--;
}

/* Out of wherever it waits. */
static void withdraw(struct core *c, struct spod *p)
{
	if (p->state == SPOD_READY)
		queue_del(&c->ready, p);
	else if (p->state == SPOD_DELAYED)
		queue_del(&c->delayed, p);
	else if (p->state == SPOD_WAITING)
		unwait(c, p);
	p->state = SPOD_IDLE;
}

static int make_ready(struct core *c, struct spod *p)
{
	withdraw(c, p);
	if (queue_add(&c->ready, p) < 0)
		return -ENOMEM;
	p->state = SPOD_READY;
	return 0;
}

/* Row @i has changed for the better: who waits for just that? */
static void wake_for(struct core *c, uint32_t i)
{
	struct map_iter it = MAP_ITER_INIT;

	c->freed++;
	if (!c->waiting)
		return;
	while (map_next(&c->classes, &it)) {
		struct sclass *k = it.value;

		if (!k->waiting || class_fit_rows(k, &c->columns) < 0 ||
		    !class_fits(k, &c->columns, i))
			continue;
		while (k->waiting)
			if (make_ready(c, k->waiting) < 0)
				break;
	}
}

/* --- charging --- */

static void charge(struct core *c, struct spod *p, uint32_t row)
{
	p->row = row;
	columns_charge(&c->columns, row, &p->class->ask, 1);
	class_count(p->class, &c->columns, row, 1);
}

static void discharge(struct core *c, struct spod *p)
{
	uint32_t row = p->row;

	if (row == NODE_NONE)
		return;
	p->row = NODE_NONE;
	columns_charge(&c->columns, row, &p->class->ask, -1);
	class_count(p->class, &c->columns, row, -1);
	wake_for(c, row);
}

/* --- nodes --- */

static void look_again(struct core *c, uint32_t row)
{
	struct map_iter it = MAP_ITER_INIT;

	while (map_next(&c->classes, &it)) {
		struct sclass *k = it.value;

		/* Those that never decided anything have no rows yet. */
		if (k->room)
			(void)class_look(k, &c->columns, row);
	}
}

int core_node(struct core *c, const char *name, yyjson_doc *doc)
{
	uint32_t row;
	int change = columns_put(&c->columns, name, doc, &row);

	if (change < 0)
		return change;
	if (change & COLUMNS_SHAPE)
		look_again(c, row);
	if (change)
		wake_for(c, row);
	return 0;
}

void core_node_gone(struct core *c, const char *name)
{
	uint32_t row = columns_row(&c->columns, name, false);

	columns_del(&c->columns, name);
	if (row != NODE_NONE)
		look_again(c, row);
}

/* --- pods --- */

static bool is_over(yyjson_val *pod)
{
	const char *phase = obj_str(pod, "status.phase");

	/* A VM that is switched off holds nothing of its node. */
	return str_eq(phase, "Succeeded") || str_eq(phase, "Failed") ||
	       str_eq(phase, "NoSchedule");
}

void core_pod_gone(struct core *c, const char *key)
{
	struct spod *p = map_del(&c->pods, key);

	if (!p)
		return;
	withdraw(c, p);
	discharge(c, p);
	class_unref(c, p->class);
	free_pod(p);
}

static struct spod *pod_get(struct core *c, const char *key)
{
	struct spod *p = map_get(&c->pods, key);

	if (p)
		return p;
	p = calloc(1, sizeof(*p));
	if (!p)
		return NULL;
	p->row = NODE_NONE;
	p->key = strdup(key);
	if (!p->key || map_set(&c->pods, key, p, NULL) < 0) {
		free_pod(p);
		return NULL;
	}
	p->serial = ++c->serial;
	return p;
}

/* What it asks for may have changed. 1: it has. */
static int reclass(struct core *c, struct spod *p, yyjson_val *pod)
{
	struct sclass *k = class_of(c, pod);
	uint32_t row = p->row;

	if (!k)
		return -ENOMEM;
	if (k == p->class) {
		class_unref(c, k);
		return 0;
	}
	if (p->state == SPOD_WAITING)
		withdraw(c, p);
	if (row != NODE_NONE)
		discharge(c, p);
	class_unref(c, p->class);
	p->class = k;
	if (row != NODE_NONE)
		charge(c, p, row);
	return 1;
}

int core_pod(struct core *c, const char *key, yyjson_val *pod)
{
	const char *node = obj_str(pod, "spec.nodeName");
	const char *scheduler = obj_str(pod, "spec.schedulerName");
	bool gated = yyjson_arr_size(obj_at(pod, "spec.schedulingGates"));
	struct spod *p;
	uint32_t row, uid;
	int r;

	if (is_over(pod) ||
	    (!*node &&
	     (obj_at(pod, "metadata.deletionTimestamp") ||
	      (*scheduler && strcmp(scheduler, c->scheduler_name) != 0)))) {
		core_pod_gone(c, key);
		return CORE_IGNORED;
	}
	p = map_get(&c->pods, key);
	uid = fnv32(obj_str(pod, "metadata.uid"),
		    strlen(obj_str(pod, "metadata.uid")));
	if (p && p->uid != uid)
		core_pod_gone(c, key);
	p = pod_get(c, key);
	if (p)
		p->uid = uid;
	r = p ? reclass(c, p, pod) : -ENOMEM;
	if (r < 0) {
		core_pod_gone(c, key);
		return r;
	}
	p->priority = obj_int(pod, "spec.priority", 0);
	if (*node) {
		row = columns_row(&c->columns, node, true);
		withdraw(c, p);
		if (p->row != row && p->row != NODE_NONE)
			discharge(c, p);
		if (p->row != row && row != NODE_NONE)
			charge(c, p, row);
		return CORE_PLACED;
	}
	if (gated) {
		withdraw(c, p);
		discharge(c, p);
		return CORE_GATED;
	}
	/* Being bound, or waiting for what has not changed. */
	if (p->state != SPOD_BINDING)
		discharge(c, p);
	if (p->state == SPOD_BINDING || (p->state != SPOD_IDLE && r == 0))
		return CORE_QUEUED;
	return make_ready(c, p) < 0 ? -ENOMEM : CORE_QUEUED;
}

/* --- deciding --- */

static void refuse(struct core *c, struct spod *p, struct core_decision *ret)
{
	struct sclass *k = p->class;
	auto_buf struct buf b = BUF_INIT;
	uint32_t hash;

	if (k->hopeless != c->freed || !k->message) {
		class_explain(k, &c->columns, &b, &k->reasons);
		free(k->message);
		k->message = buf_take(&b);
		k->hopeless = c->freed;
	}
	ret->message = k->message ? k->message : "out of memory";
	hash = fnv32(ret->message, strlen(ret->message));
	ret->told = p->told == hash;
	p->told = hash;
	c->refusals++;
	wait_with_class(c, p);
}

static void due(struct core *c, uint64_t now_ms)
{
	struct spod *p;

	while ((p = queue_first(&c->delayed)) && p->due_ms <= now_ms)
		if (make_ready(c, p) < 0)
			return;
}

bool core_next(struct core *c, uint64_t now_ms, struct core_decision *ret)
{
	struct spod *p;
	uint32_t row = NODE_NONE;

	due(c, now_ms);
	p = queue_first(&c->ready);
	if (!p)
		return false;
	withdraw(c, p);
	*ret = (struct core_decision){ .key = p->key };
	c->decisions++;
	/* Nothing has become free since another of its class found nothing. */
	if (p->class->hopeless != c->freed &&
	    class_fit_rows(p->class, &c->columns) == 0)
		row = class_decide(p->class, &c->columns, c->start);
	if (row == NODE_NONE) {
		refuse(c, p, ret);
		return true;
	}
	c->start = row + 1;
	charge(c, p, row);
	p->state = SPOD_BINDING;
	ret->node = c->columns.info[row].name;
	return true;
}

void core_bind_failed(struct core *c, const char *key, uint64_t now_ms)
{
	struct spod *p = map_get(&c->pods, key);
	uint64_t ms = CORE_BACKOFF_MS;

	/* Placed meanwhile, by whomever: that counts. */
	if (!p || p->state != SPOD_BINDING)
		return;
	withdraw(c, p);
	discharge(c, p);
	for (unsigned i = 0; i < p->attempts && ms < CORE_BACKOFF_MAX_MS; i++)
		ms *= 2;
	p->attempts++;
	p->due_ms =
		now_ms + (ms < CORE_BACKOFF_MAX_MS ? ms : CORE_BACKOFF_MAX_MS);
	if (queue_add(&c->delayed, p) == 0)
		p->state = SPOD_DELAYED;
}

int64_t core_due_ms(const struct core *c, uint64_t now_ms)
{
	const struct spod *p = queue_first(&c->delayed);

	if (queue_first(&c->ready))
		return 0;
	if (!p)
		return -1;
	return p->due_ms > now_ms ? (int64_t)(p->due_ms - now_ms) : 0;
}

void core_stats(const struct core *c, struct core_stats *ret)
{
	*ret = (struct core_stats){
		.nodes = c->columns.nr_live,
		.pods = map_len(&c->pods),
		.queued = c->ready.nr + c->delayed.nr,
		.waiting = c->waiting,
		.classes = map_len(&c->classes),
		.decisions = c->decisions,
		.refusals = c->refusals,
	};
}

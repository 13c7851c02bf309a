// SPDX-License-Identifier: Apache-2.0
/*
 * The node's CPU, memory and disk: who has claimed how much.
 *
 * A pod counts with what it was allocated, or with what it still has if that is
 * more (a shrink in progress), so that nothing is given twice.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "agent/disk.h"
#include "agent/internal.h"
#include "agent/payload.h"
#include "agent/ports.h"
#include "agent/vm/vm.h"
#include "cgroups/cpu.h"
#include "lib/auto.h"
#include "lib/err.h"
#include "lib/quantity.h"

int node_init(struct agent *a, struct err *e)
{
	struct node_resources *n = &a->node;
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	char want[QUANTITY_TEXT_SIZE], have[QUANTITY_TEXT_SIZE];
	struct sysinfo si;

	if (cpus < 1 || sysinfo(&si) < 0)
		return err_sys(e, "read the host's CPUs and memory");
	n->cpu_milli = (uint64_t)cpus * 1000;
	n->mem_bytes = (uint64_t)si.totalram * si.mem_unit;
	if (a->opts.reserved_cpu_milli >= n->cpu_milli)
		return err_set(e, -ERANGE,
			       "--reserved-cpu %s leaves pods nothing of this "
			       "host's %s CPUs: reserve less",
			       quantity_format_cpu(a->opts.reserved_cpu_milli,
						   want),
			       quantity_format_cpu(n->cpu_milli, have));
	if (a->opts.reserved_mem_bytes >= n->mem_bytes)
		return err_set(e, -ERANGE,
			       "--reserved-memory %s leaves pods nothing of "
			       "this host's %s: reserve less",
			       quantity_format_human(a->opts.reserved_mem_bytes,
						     want),
			       quantity_format_human(n->mem_bytes, have));
	n->cpu_milli -= a->opts.reserved_cpu_milli;
	n->mem_bytes -= a->opts.reserved_mem_bytes;
	disk_amounts(a->opts.state_dir, &n->disk_all_bytes, &n->disk_bytes);
	return 0;
}

static void larger(struct quantity_set *q, const struct quantity_set *other)
{
	if (other->has_cpu && other->cpu_milli > q->cpu_milli)
		q->cpu_milli = other->cpu_milli;
	if (other->has_mem && other->mem_bytes > q->mem_bytes)
		q->mem_bytes = other->mem_bytes;
	if (other->has_disk && other->disk_bytes > q->disk_bytes)
		q->disk_bytes = other->disk_bytes;
}

/* What one container claims: what it may have, or still has. */
static struct quantity_set ctr_claim(const struct pod *pod, const struct ctr *c)
{
	struct quantity_set q = c->res.allocated.requests;

	if (c->res.actual_known && c->phase == CTR_RUNNING)
		larger(&q, &c->res.actual.requests);
	if (!c->spec) {
		struct vm_size size = vm_wanted_size(pod);

		if (!q.has_cpu && !q.cpu_milli)
			q.cpu_milli = size.cpu_milli;
		if (!q.has_mem && !q.mem_bytes)
			q.mem_bytes = size.mem_bytes;
		q.mem_bytes += vm_pod_overhead(pod);
	}
	q.has_cpu = q.has_mem = q.has_disk = true;
	return q;
}

struct quantity_set pod_claim(const struct pod *pod)
{
	struct total t = { 0 };

	for (size_t i = 0; i < pod->nr_ctrs; i++) {
		const struct ctr *c = &pod->ctrs[i];
		struct quantity_set q = ctr_claim(pod, c);

		total_add(&t, ctr_role(c), &q);
	}
	return total_sum(&t);
}

static void refusal(const struct quantity_set *want,
		    const struct quantity_set *have, const char *of,
		    struct err *e, int r)
{
	char a[QUANTITY_TEXT_SIZE], b[QUANTITY_TEXT_SIZE];

	if (want->cpu_milli > have->cpu_milli)
		err_set(e, r, "cpu: %s requested, the node has %s%s",
			quantity_format_cpu(want->cpu_milli, a),
			quantity_format_cpu(have->cpu_milli, b), of);
	else if (want->mem_bytes > have->mem_bytes)
		err_set(e, r, "memory: %s requested, the node has %s%s",
			quantity_format_human(want->mem_bytes, a),
			quantity_format_human(have->mem_bytes, b), of);
	else
		err_set(e, r,
			"ephemeral-storage: %s requested, the node has %s%s",
			quantity_format_human(want->disk_bytes, a),
			quantity_format_human(have->disk_bytes, b), of);
}

/* What is free of @all for a pod that has @own of it already: that does not
 * stand in its way. */
static uint64_t still(uint64_t all, uint64_t used, uint64_t own)
{
	return all + own > used ? all + own - used : 0;
}

/* Is more wanted than there is, of something it has less of @now? */
static bool beyond(const struct quantity_set *want,
		   const struct quantity_set *have,
		   const struct quantity_set *now)
{
	return (want->cpu_milli > have->cpu_milli &&
		(!now || want->cpu_milli > now->cpu_milli)) ||
	       (want->mem_bytes > have->mem_bytes &&
		(!now || want->mem_bytes > now->mem_bytes)) ||
	       (want->disk_bytes > have->disk_bytes &&
		(!now || want->disk_bytes > now->disk_bytes));
}

static void take(struct node_resources *n, struct pod *pod,
		 const struct quantity_set *want)
{
	n->used_cpu += want->cpu_milli - pod->claimed.cpu_milli;
	n->used_mem += want->mem_bytes - pod->claimed.mem_bytes;
	n->used_disk += want->disk_bytes - pod->claimed.disk_bytes;
	pod->claimed = *want;
}

/* With the node's lock held. */
static int claim(struct pod *pod, const struct quantity_set *want,
		 struct err *e)
{
	struct node_resources *n = &pod->agent->node;
	const struct quantity_set *now = &pod->claimed;
	const struct quantity_set all = { .cpu_milli = n->cpu_milli,
					  .mem_bytes = n->mem_bytes,
					  .disk_bytes = n->disk_bytes };
	const struct quantity_set left = {
		.cpu_milli = still(n->cpu_milli, n->used_cpu, now->cpu_milli),
		.mem_bytes = still(n->mem_bytes, n->used_mem, now->mem_bytes),
		.disk_bytes =
			still(n->disk_bytes, n->used_disk, now->disk_bytes),
	};
	int r = 0;

	/* A shrink must always be possible, so only what grows has to fit. */
	if (beyond(want, &all, NULL)) {
		r = -E2BIG;
		refusal(want, &all, " in all", e, r);
	} else if (beyond(want, &left, now)) {
		r = -ENOSPC;
		refusal(want, &left, " free for it", e, r);
	} else {
		take(n, pod, want);
	}
	return r;
}

/* A limit may be above what the node has, as in Kubernetes; not above what its
 * kernel can count. */
static int check_limits(const struct pod *pod, struct err *e)
{
	char is[QUANTITY_TEXT_SIZE], most[QUANTITY_TEXT_SIZE];

	for (size_t i = 0; i < pod->nr_ctrs; i++) {
		uint64_t cpu = pod->ctrs[i].res.allocated.limits.cpu_milli;

		if (cpu > CG_CPU_MILLI_MAX)
			return err_set(e, -E2BIG,
				       "cpu: a limit of %s, this node can set "
				       "%s at most: leave the limit out if "
				       "there is to be none",
				       quantity_format_cpu(cpu, is),
				       quantity_format_cpu(CG_CPU_MILLI_MAX,
							   most));
	}
	return 0;
}

int node_claim(struct pod *pod, const struct quantity_set *want, struct err *e)
{
	struct node_resources *n = &pod->agent->node;
	int r = check_limits(pod, e);

	if (r < 0)
		return r;
	pthread_mutex_lock(&n->lock);
	r = claim(pod, want, e);
	pthread_mutex_unlock(&n->lock);
	return r;
}

int node_admit(struct pod *pod, const struct quantity_set *want, struct err *e)
{
	struct node_resources *n = &pod->agent->node;
	auto_free struct network_port *ports = NULL;
	size_t nr;
	int r = check_limits(pod, e);

	if (r < 0)
		return r;
	r = ports_of(pod->spec, &ports, &nr);
	if (r < 0)
		return err_set(e, r, "out of memory");
	pthread_mutex_lock(&n->lock);
	r = ports_free(pod, ports, nr, e);
	if (r == 0)
		r = claim(pod, want, e);
	if (r == 0)
		r = ports_take(pod, ports, nr, e);
	pthread_mutex_unlock(&n->lock);
	return r;
}

void node_claim_anyway(struct pod *pod, const struct quantity_set *want)
{
	struct node_resources *n = &pod->agent->node;
	auto_free struct network_port *ports = NULL;
	size_t nr = 0;

	(void)ports_of(pod->spec, &ports, &nr); /* the network knows, too */
	pthread_mutex_lock(&n->lock);
	take(n, pod, want);
	(void)ports_take(pod, ports, nr, NULL);
	pthread_mutex_unlock(&n->lock);
}

void node_release(struct pod *pod)
{
	static const struct quantity_set none = { .has_cpu = true,
						  .has_mem = true,
						  .has_disk = true };

	pthread_mutex_lock(&pod->agent->node.lock);
	(void)claim(pod, &none, NULL); /* nothing always fits */
	ports_give(pod);
	pthread_mutex_unlock(&pod->agent->node.lock);
	node_freed(pod->agent);
}

static int by_right(const void *pa, const void *pb)
{
	const struct pod *a = *(struct pod *const *)pa;
	const struct pod *b = *(struct pod *const *)pb;
	int qa = (int)a->qos, qb = (int)b->qos;

	if (qa != qb)
		return qa - qb;
	return a->created_us < b->created_us ? -1
					     : a->created_us > b->created_us;
}

void node_freed(struct agent *a)
{
	struct pod **pods;
	size_t nr, waiting = 0;

	if (pods_all(a, &pods, &nr) < 0)
		return; /* the next one to free something tries again */
	for (size_t i = 0; i < nr; i++) {
		if (__atomic_load_n(&pods[i]->waits_for_node, __ATOMIC_ACQUIRE))
			pods[waiting++] = pods[i];
		else
			pod_unref(pods[i]);
	}
	qsort(pods, waiting, sizeof(struct pod *), by_right);
	for (size_t i = 0; i < waiting; i++) {
		pod_poke(pods[i]);
		pod_unref(pods[i]);
	}
	free(pods);
}

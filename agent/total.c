// SPDX-License-Identifier: Apache-2.0
#include "agent/total.h"

static void add(uint64_t *sum, uint64_t v)
{
	if (__builtin_add_overflow(*sum, v, sum))
		*sum = UINT64_MAX;
}

static void add_set(struct quantity_set *sum, const struct quantity_set *q)
{
	sum->has_cpu |= q->has_cpu;
	sum->has_mem |= q->has_mem;
	sum->has_disk |= q->has_disk;
	add(&sum->cpu_milli, q->has_cpu ? q->cpu_milli : 0);
	add(&sum->mem_bytes, q->has_mem ? q->mem_bytes : 0);
	add(&sum->disk_bytes, q->has_disk ? q->disk_bytes : 0);
}

static void max_set(struct quantity_set *max, const struct quantity_set *q)
{
	max->has_cpu |= q->has_cpu;
	max->has_mem |= q->has_mem;
	max->has_disk |= q->has_disk;
	if (q->cpu_milli > max->cpu_milli)
		max->cpu_milli = q->cpu_milli;
	if (q->mem_bytes > max->mem_bytes)
		max->mem_bytes = q->mem_bytes;
	if (q->disk_bytes > max->disk_bytes)
		max->disk_bytes = q->disk_bytes;
}

void total_add(struct total *t, enum ctr_role role,
	       const struct quantity_set *q)
{
	struct quantity_set with = t->stay;

	t->lacks_cpu |= !q->has_cpu;
	t->lacks_mem |= !q->has_mem;
	t->lacks_disk |= !q->has_disk;
	if (role != ROLE_INIT)
		add_set(&t->run, q);
	if (role == ROLE_MAIN)
		return;
	add_set(&with, q);
	max_set(&t->most, &with);
	if (role == ROLE_SIDECAR)
		t->stay = with;
}

struct quantity_set total_sum(const struct total *t)
{
	struct quantity_set sum = t->run;

	max_set(&sum, &t->most);
	return sum;
}

struct quantity_set total_ceiling(const struct total *t)
{
	struct quantity_set sum = total_sum(t);

	sum.has_cpu &= !t->lacks_cpu;
	sum.has_mem &= !t->lacks_mem;
	sum.has_disk &= !t->lacks_disk;
	return sum;
}

void totals_add(struct totals *t, enum ctr_role role, const struct resources *r)
{
	total_add(&t->requests, role, &r->requests);
	total_add(&t->limits, role, &r->limits);
}

struct totals totals_of(const struct pod_spec *spec)
{
	struct totals t = { 0 };

	if (spec->vm)
		totals_add(&t, ROLE_MAIN, &spec->vm->resources);
	for (size_t i = 0; i < spec->nr_init; i++)
		totals_add(&t, spec->init[i].sidecar ? ROLE_SIDECAR : ROLE_INIT,
			   &spec->init[i].resources);
	for (size_t i = 0; i < spec->nr_containers; i++)
		totals_add(&t, ROLE_MAIN, &spec->containers[i].resources);
	return t;
}

struct resources totals_bounds(const struct totals *t)
{
	return (struct resources){ .requests = total_sum(&t->requests),
				   .limits = total_ceiling(&t->limits) };
}

// SPDX-License-Identifier: Apache-2.0
#include "controlplane/scheduler/columns.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "controlplane/client/object.h"
#include "lib/buf.h"
#include "lib/json.h"

/* --- rows --- */

static int grow_one(void *slot, size_t room, size_t size)
{
	void *p;

	memcpy(&p, slot, sizeof(p));
	p = realloc(p, room * size);
	if (!p)
		return -ENOMEM;
	memcpy(slot, &p, sizeof(p));
	return 0;
}

#define GROW(field) grow_one(&c->field, room, sizeof(*c->field))

static int grow(struct columns *c)
{
	size_t room = c->room ? c->room * 2 : 64;

	if (c->nr < c->room)
		return 0;
	if (GROW(live) || GROW(cpu) || GROW(mem) || GROW(eph) || GROW(pods) ||
	    GROW(cpu_free) || GROW(mem_free) || GROW(cpu_part) ||
	    GROW(mem_part) || GROW(zone) || GROW(info))
		return -ENOMEM;
	c->room = room;
	return 0;
}

uint32_t columns_row(struct columns *c, const char *name, bool make)
{
	uintptr_t at = (uintptr_t)map_get(&c->by_name, name);
	size_t i = c->nr;
	char *copy;

	if (at || !make)
		return at ? (uint32_t)(at - 1) : NODE_NONE;
	copy = strdup(name);
	if (!copy || grow(c) < 0 ||
	    map_set(&c->by_name, name, (void *)(uintptr_t)(i + 1), NULL) < 0) {
		free(copy);
		return NODE_NONE;
	}
	c->live[i] = 0;
	c->cpu[i] = c->mem[i] = c->eph[i] = 0;
	c->cpu_free[i] = c->mem_free[i] = 0;
	c->pods[i] = 0;
	c->cpu_part[i] = c->mem_part[i] = 0;
	c->zone[i] = 0;
	c->info[i] = (struct node_info){ .name = copy };
	c->nr++;
	return (uint32_t)i;
}

void columns_clear(struct columns *c)
{
	for (size_t i = 0; i < c->nr; i++) {
		struct node_info *n = &c->info[i];

		free(n->name);
		free(n->ext);
		free(n->ports);
		yyjson_doc_free(n->doc);
	}
	free(c->live);
	free(c->cpu);
	free(c->mem);
	free(c->eph);
	free(c->pods);
	free(c->cpu_free);
	free(c->mem_free);
	free(c->cpu_part);
	free(c->mem_part);
	free(c->zone);
	free(c->info);
	map_clear(&c->by_name, NULL);
	map_clear(&c->zones, NULL);
	memset(c, 0, sizeof(*c));
}

/* --- nodes --- */

static uint32_t zone_of(struct columns *c, yyjson_val *node)
{
	const char *name = obj_label(node, "topology.kubernetes.io/zone");
	uintptr_t at = name ? (uintptr_t)map_get(&c->zones, name) : 1;

	c->zoneless |= !name;
	if (at)
		return (uint32_t)(at - 1);
	/* 0 is the zone of those without one. */
	at = map_len(&c->zones) + 2;
	return map_set(&c->zones, name, (void *)at, NULL) < 0
		       ? 0
		       : (uint32_t)(at - 1);
}

static uint64_t shape_of(yyjson_val *node)
{
	static const char *const parts[] = { "metadata.labels", "spec.taints" };
	static const char *const conds[] = { "ContainerRuntimeReady",
					     "VmRuntimeReady" };
	auto_buf struct buf b = BUF_INIT;

	for (size_t i = 0; i < 2; i++) {
		yyjson_val *v = obj_at(node, parts[i]);

		if (v)
			json_write(v, false, &b);
		buf_printf(&b, "|%s|", obj_condition(node, conds[i]));
	}
	buf_printf(&b, "%d", obj_bool(node, "spec.unschedulable", false));
	return (uint64_t)fnv32(b.data, b.len) << 32 | b.len;
}

static void put_ext(struct node_info *n, uint32_t name, int64_t more)
{
	struct node_ext *v;

	for (unsigned i = 0; i < n->nr_ext; i++)
		if (n->ext[i].name == name) {
			n->ext[i].free += more;
			return;
		}
	v = realloc(n->ext, (n->nr_ext + 1) * sizeof(*v));
	if (!v)
		return;
	v[n->nr_ext++] = (struct node_ext){ name, more };
	n->ext = v;
}

/* Allocatable of extended resources: the difference to before. */
static bool put_ext_all(struct node_info *n, yyjson_val *old, yyjson_val *now)
{
	yyjson_val *key, *val;
	bool more = false;
	size_t i, max;

	json_obj_foreach (now, i, max, key, val) {
		const char *name = yyjson_get_str(key);
		int64_t delta =
			amount_bytes(now, name) - amount_bytes(old, name);

		(void)val;
		if (!ask_is_ext(name) || !delta)
			continue;
		put_ext(n, ask_ext_name(name), delta);
		more |= delta > 0;
	}
	json_obj_foreach (old, i, max, key, val)
		if (ask_is_ext(yyjson_get_str(key)) &&
		    !yyjson_obj_get(now, yyjson_get_str(key)))
			put_ext(n, ask_ext_name(yyjson_get_str(key)),
				-amount_bytes(old, yyjson_get_str(key)));
	return more;
}

static void set_parts(struct columns *c, uint32_t i)
{
	const struct node_info *n = &c->info[i];

	c->cpu_free[i] = (float)n->cpu_score * c->cpu_part[i];
	c->mem_free[i] = (float)n->mem_score * c->mem_part[i];
}

int columns_put(struct columns *c, const char *name, yyjson_doc *doc,
		uint32_t *ret_row)
{
	yyjson_val *node = yyjson_doc_get_root(doc);
	yyjson_val *list = obj_at(node, "status.allocatable");
	int64_t cpu = milli_of(amount_cpu(list));
	int64_t bytes = amount_bytes(list, "memory"), mem = units_down(bytes);
	int64_t eph = units_down(amount_bytes(list, "ephemeral-storage"));
	int64_t pods = amount_bytes(list, "pods");
	uint32_t i = columns_row(c, name, true);
	uint64_t shape = shape_of(node);
	struct node_info *n;
	int change = 0;

	if (i == NODE_NONE) {
		yyjson_doc_free(doc);
		return -ENOMEM;
	}
	n = &c->info[i];
	if (!c->live[i]) {
		c->live[i] = 1;
		c->nr_live++;
		change |= COLUMNS_NEW | COLUMNS_SHAPE;
	}
	if (cpu > n->cpu_alloc || mem > n->mem_alloc || eph > n->eph_alloc ||
	    pods > n->pods_alloc)
		change |= COLUMNS_ROOM;
	if (put_ext_all(n,
			obj_at(yyjson_doc_get_root(n->doc),
			       "status.allocatable"),
			list))
		change |= COLUMNS_ROOM;
	if (shape != n->shape)
		change |= COLUMNS_SHAPE;
	c->cpu[i] += (int32_t)(cpu - n->cpu_alloc);
	c->mem[i] += (int32_t)(mem - n->mem_alloc);
	c->eph[i] += (int32_t)(eph - n->eph_alloc);
	c->pods[i] += (int32_t)(pods - n->pods_alloc);
	n->cpu_score += cpu - n->cpu_alloc;
	n->mem_score += (mem - n->mem_alloc) * UNIT_BYTES;
	c->cpu_part[i] = cpu ? 1.0f / (float)cpu : 0;
	c->mem_part[i] = bytes ? 1.0f / (float)bytes : 0;
	set_parts(c, i);
	c->zone[i] = zone_of(c, node);
	n->cpu_alloc = cpu;
	n->mem_alloc = mem;
	n->eph_alloc = eph;
	n->pods_alloc = pods;
	n->shape = shape;
	yyjson_doc_free(n->doc);
	n->doc = doc;
	*ret_row = i;
	return change;
}

void columns_del(struct columns *c, const char *name)
{
	uint32_t i = columns_row(c, name, false);

	if (i == NODE_NONE || !c->live[i])
		return;
	c->live[i] = 0;
	c->nr_live--;
}

/* --- pods --- */

static void take_port(struct node_info *n, uint32_t port, int sign)
{
	uint32_t *v;

	if (sign < 0) {
		for (unsigned i = 0; i < n->nr_ports; i++)
			if (n->ports[i] == port) {
				n->ports[i] = n->ports[--n->nr_ports];
				return;
			}
		return;
	}
	if (n->nr_ports == n->room_ports) {
		v = realloc(n->ports, (n->room_ports + 8) * sizeof(*v));
		if (!v)
			return;
		n->ports = v;
		n->room_ports += 8;
	}
	n->ports[n->nr_ports++] = port;
}

void columns_charge(struct columns *c, uint32_t i, const struct ask *a,
		    int sign)
{
	struct node_info *n = &c->info[i];

	c->cpu[i] -= sign * milli_of(a->cpu_milli);
	c->mem[i] -= sign * units_up(a->mem_bytes);
	c->eph[i] -= sign * units_up(a->eph_bytes);
	c->pods[i] -= sign;
	n->cpu_score -= sign * a->cpu_score;
	n->mem_score -= sign * a->mem_score;
	set_parts(c, i);
	for (unsigned k = 0; k < a->nr_ext; k++)
		put_ext(n, a->ext[k].name, -sign * a->ext[k].amount);
	for (unsigned k = 0; k < a->nr_ports; k++)
		take_port(n, a->ports[k], sign);
}

bool columns_port_free(const struct columns *c, uint32_t row,
		       const struct ask *a)
{
	const struct node_info *n = &c->info[row];

	for (unsigned k = 0; k < a->nr_ports; k++)
		for (unsigned i = 0; i < n->nr_ports; i++)
			if (n->ports[i] == a->ports[k])
				return false;
	return true;
}

int64_t columns_ext_free(const struct columns *c, uint32_t row, uint32_t name)
{
	const struct node_info *n = &c->info[row];

	for (unsigned i = 0; i < n->nr_ext; i++)
		if (n->ext[i].name == name)
			return n->ext[i].free;
	return 0;
}

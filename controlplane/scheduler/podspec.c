// SPDX-License-Identifier: Apache-2.0
#include "controlplane/scheduler/podspec.h"

#include <errno.h>

#include "controlplane/client/object.h"
#include "lib/buf.h"
#include "lib/json.h"
#include "lib/quantity.h"
#include "lib/str.h"

#define AMOUNT_MAX      (INT64_C(1) << 53)
/* What a pod without requests weighs in scores, as in Kubernetes. */
#define CPU_SCORE_MILLI 100
#define MEM_SCORE_BYTES (200LL * 1024 * 1024)

uint32_t ask_ext_name(const char *resource)
{
	return fnv32(resource, strlen(resource));
}

bool ask_is_ext(const char *resource)
{
	return !str_eq(resource, "cpu") && !str_eq(resource, "memory") &&
	       !str_eq(resource, "ephemeral-storage") &&
	       !str_eq(resource, "pods") && !str_eq(resource, "storage");
}

/* What is more than can be counted is more than any node has, and 1,024 of it
 * can still be added. */
static int64_t amount(yyjson_val *list, const char *name,
		      int (*parse)(const char *, uint64_t *, struct err *))
{
	const char *s = yyjson_get_str(yyjson_obj_get(list, name));
	uint64_t n = 0;
	int r = s ? parse(s, &n, NULL) : 0;

	if (r == -ERANGE || n > AMOUNT_MAX)
		return AMOUNT_MAX;
	return r == 0 ? (int64_t)n : 0;
}

int64_t amount_cpu(yyjson_val *list)
{
	return amount(list, "cpu", quantity_parse_cpu);
}

int64_t amount_bytes(yyjson_val *list, const char *name)
{
	return amount(list, name, quantity_parse_mem);
}

static int64_t max(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

static void add_ext(struct ask *a, yyjson_val *list)
{
	yyjson_val *key, *val;
	size_t i, n;

	json_obj_foreach (list, i, n, key, val) {
		const char *name = yyjson_get_str(key);
		unsigned at = 0;

		if (!ask_is_ext(name))
			continue;
		while (at < a->nr_ext && a->ext[at].name != ask_ext_name(name))
			at++;
		if (at == POD_EXT_MAX)
			continue;
		if (at == a->nr_ext)
			a->ext[a->nr_ext++] =
				(struct ask_ext){ ask_ext_name(name), 0 };
		a->ext[at].amount += amount_bytes(list, name);
	}
}

/* Desired, allocated and actual of one container or VM: the most of each. */
static void add_most(struct ask *a, yyjson_val *c, yyjson_val *status)
{
	yyjson_val *lists[] = {
		obj_at(c, "resources.requests"),
		yyjson_obj_get(c, "resourcesAllocated"),
		yyjson_obj_get(status, "allocatedResources"),
		obj_at(status, "resources.requests"),
	};
	int64_t cpu = 0, mem = 0, eph = 0;

	for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
		cpu = max(cpu, amount_cpu(lists[i]));
		mem = max(mem, amount_bytes(lists[i], "memory"));
		eph = max(eph, amount_bytes(lists[i], "ephemeral-storage"));
	}
	a->cpu_milli += cpu;
	a->mem_bytes += mem;
	a->eph_bytes += eph;
	a->cpu_score += cpu ? cpu : CPU_SCORE_MILLI;
	a->mem_score += mem ? mem : MEM_SCORE_BYTES;
	add_ext(a, lists[0]);
}

static void add_ports(struct ask *a, yyjson_val *c)
{
	yyjson_val *p;
	size_t i, n;

	yyjson_arr_foreach(yyjson_obj_get(c, "ports"), i, n, p)
	{
		int64_t port = obj_int(p, "hostPort", 0);
		const char *proto = obj_str(p, "protocol");

		if (port > 0 && port < 65536 && a->nr_ports < POD_PORTS_MAX)
			a->ports[a->nr_ports++] =
				(uint32_t)port |
				(str_eq(proto, "UDP")    ? 1u << 16
				 : str_eq(proto, "SCTP") ? 2u << 16
							 : 0);
	}
}

/* Init containers run one after the other; sidecars stay. */
static void add_init(struct ask *a, yyjson_val *spec)
{
	yyjson_val *c;
	struct ask stay = { 0 }, most = { 0 };
	size_t i, n;

	yyjson_arr_foreach(yyjson_obj_get(spec, "initContainers"), i, n, c)
	{
		struct ask one = { 0 };

		add_most(&one, c, NULL);
		if (str_eq(obj_str(c, "restartPolicy"), "Always")) {
			stay.cpu_milli += one.cpu_milli;
			stay.mem_bytes += one.mem_bytes;
			stay.eph_bytes += one.eph_bytes;
			add_ports(a, c);
			continue;
		}
		most.cpu_milli =
			max(most.cpu_milli, stay.cpu_milli + one.cpu_milli);
		most.mem_bytes =
			max(most.mem_bytes, stay.mem_bytes + one.mem_bytes);
		most.eph_bytes =
			max(most.eph_bytes, stay.eph_bytes + one.eph_bytes);
	}
	a->cpu_milli = max(a->cpu_milli + stay.cpu_milli, most.cpu_milli);
	a->mem_bytes = max(a->mem_bytes + stay.mem_bytes, most.mem_bytes);
	a->eph_bytes = max(a->eph_bytes + stay.eph_bytes, most.eph_bytes);
}

void ask_read(yyjson_val *pod, struct ask *ret)
{
	yyjson_val *spec = yyjson_obj_get(pod, "spec");
	yyjson_val *vm = yyjson_obj_get(spec, "virtualMachine"), *c;
	yyjson_val *statuses = obj_at(pod, "status.containerStatuses");
	yyjson_val *overhead = yyjson_obj_get(spec, "overhead");
	size_t i, n;

	memset(ret, 0, sizeof(*ret));
	if (vm) {
		add_most(ret, vm, obj_at(pod, "status.virtualMachineStatus"));
		add_ports(ret, vm);
	}
	yyjson_arr_foreach(yyjson_obj_get(spec, "containers"), i, n, c)
	{
		add_most(ret, c,
			 obj_item(statuses, "name", obj_str(c, "name")));
		add_ports(ret, c);
	}
	add_init(ret, spec);
	ret->cpu_milli += amount_cpu(overhead);
	ret->mem_bytes += amount_bytes(overhead, "memory");
	ret->cpu_score = max(ret->cpu_score, ret->cpu_milli);
	ret->mem_score = max(ret->mem_score, ret->mem_bytes);
}

static void put_ext_asked(struct json_out *o, yyjson_val *spec)
{
	yyjson_val *c, *key, *val;
	size_t i, max, j, n;

	json_put_array(o, "ext");
	yyjson_arr_foreach(yyjson_obj_get(spec, "containers"), i, max, c)
		json_obj_foreach (obj_at(c, "resources.requests"), j, n, key,
				  val) if (ask_is_ext(yyjson_get_str(key)))
			json_put_val(o, NULL, key);
	json_put_end(o);
}

static void put_numbers(struct json_out *o, const struct ask *a)
{
	json_put_array(o, "ask");
	json_put_i64(o, NULL, a->cpu_milli);
	json_put_i64(o, NULL, a->mem_bytes);
	json_put_i64(o, NULL, a->eph_bytes);
	json_put_i64(o, NULL, a->cpu_score);
	json_put_i64(o, NULL, a->mem_score);
	for (unsigned i = 0; i < a->nr_ext; i++) {
		json_put_u64(o, NULL, a->ext[i].name);
		json_put_i64(o, NULL, a->ext[i].amount);
	}
	json_put_str(o, NULL, "ports");
	for (unsigned i = 0; i < a->nr_ports; i++)
		json_put_u64(o, NULL, a->ports[i]);
	json_put_end(o);
}

void ask_signature(yyjson_val *pod, const struct ask *a, struct buf *b)
{
	static const char *const fields[] = { "nodeSelector", "tolerations",
					      "affinity" };
	yyjson_val *spec = yyjson_obj_get(pod, "spec"), *ref;
	struct json_out o = JSON_OUT(b);
	const char *owner = "";
	size_t i, n;

	yyjson_arr_foreach(obj_at(pod, "metadata.ownerReferences"), i, n,
			   ref) if (obj_bool(ref, "controller", false)) owner =
		obj_str(ref, "uid");
	json_put_object(&o, NULL);
	json_put_str(&o, "tenant", obj_str(pod, "metadata.tenant"));
	json_put_str(&o, "owner", owner);
	json_put_bool(&o, "vm", yyjson_obj_get(spec, "virtualMachine"));
	put_numbers(&o, a);
	put_ext_asked(&o, spec);
	for (i = 0; i < ARRAY_LEN(fields); i++) {
		yyjson_val *v = yyjson_obj_get(spec, fields[i]);

		if (v)
			json_put_val(&o, fields[i], v);
	}
	json_put_end(&o);
}

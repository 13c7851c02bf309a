// SPDX-License-Identifier: Apache-2.0
#include <stddef.h>

#include "lib/podfields.h"
#include "lib/str.h"

static void remove_all(yyjson_mut_val *obj, const char *const *names, size_t nr)
{
	for (size_t i = 0; i < nr; i++)
		yyjson_mut_obj_remove_key(obj, names[i]);
}

/* An object that says nothing is as good as none. */
static void remove_empty(yyjson_mut_val *obj, const char *name)
{
	yyjson_mut_val *v = yyjson_mut_obj_get(obj, name);

	if (yyjson_mut_is_null(v) ||
	    (yyjson_mut_is_obj(v) && yyjson_mut_obj_size(v) == 0))
		yyjson_mut_obj_remove_key(obj, name);
}

static void strip_resources(yyjson_mut_val *workload)
{
	static const char *const sets[] = { "requests", "limits" };
	static const char *const names[] = { "cpu", "memory" };
	yyjson_mut_val *res = yyjson_mut_obj_get(workload, "resources");

	for (size_t i = 0; i < ARRAY_LEN(sets); i++) {
		remove_all(yyjson_mut_obj_get(res, sets[i]), names,
			   ARRAY_LEN(names));
		remove_empty(res, sets[i]);
	}
	remove_empty(workload, "resources");
}

/* No service is the service "": older pods were stored without that default,
 * and get it by their next update. */
static void strip_probe(yyjson_mut_val *probe)
{
	yyjson_mut_val *grpc = yyjson_mut_obj_get(probe, "grpc");

	if (yyjson_mut_equals_str(yyjson_mut_obj_get(grpc, "service"), ""))
		yyjson_mut_obj_remove_key(grpc, "service");
}

static void strip_workload(yyjson_mut_val *workload)
{
	static const char *const names[] = { "resourcesAllocated",
					     "resizePolicy" };
	static const char *const probes[] = { "livenessProbe", "readinessProbe",
					      "startupProbe" };

	for (size_t i = 0; i < ARRAY_LEN(probes); i++)
		strip_probe(yyjson_mut_obj_get(workload, probes[i]));

	remove_all(workload, names, ARRAY_LEN(names));
	strip_resources(workload);
}

void podfields_strip(yyjson_mut_val *spec)
{
	static const char *const names[] = { "activeDeadlineSeconds",
					     "terminationGracePeriodSeconds",
					     "tolerations", "nodeName",
					     "schedulingGates" };
	static const char *const lists[] = { "initContainers", "containers" };
	yyjson_mut_val *vm = yyjson_mut_obj_get(spec, "virtualMachine"), *c;
	size_t i, max;

	remove_all(spec, names, ARRAY_LEN(names));
	for (size_t l = 0; l < ARRAY_LEN(lists); l++) {
		yyjson_mut_val *list = yyjson_mut_obj_get(spec, lists[l]);

		yyjson_mut_arr_foreach(list, i, max, c)
		{
			yyjson_mut_obj_remove_key(c, "image");
			strip_workload(c);
		}
	}
	/* Its image is its disk, which it has written to. */
	if (vm) {
		yyjson_mut_obj_remove_key(vm, "powerSpec");
		strip_workload(vm);
	}
}

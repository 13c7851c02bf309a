// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "controlplane/apiserver/admission/quota.h"
#include "controlplane/schema/types.h"
#include "lib/quantity.h"
#include "lib/str.h"

#define BY_CLASS ".storageclass.storage.k8s.io/"

static bool is_core(const struct type *t, const char *plural)
{
	return !*t->group && strcmp(t->plural, plural) == 0;
}

static const char *text(yyjson_val *v, const char *field)
{
	const char *s = yyjson_get_str(yyjson_obj_get(v, field));

	return s ? s : "";
}

/* --- names --- */

static bool is_compute(const char *name)
{
	return strcmp(name, "cpu") == 0 || strcmp(name, "memory") == 0 ||
	       strcmp(name, "ephemeral-storage") == 0 ||
	       str_starts(name, "hugepages-") || str_starts(name, "limits.") ||
	       (str_starts(name, "requests.") &&
		strcmp(name, "requests.storage") != 0);
}

static bool is_cpu(const char *name)
{
	return strcmp(name, "cpu") == 0 || str_ends(name, ".cpu");
}

/* "count/deployments.apps" */
static bool counts_type(const char *name, const struct type *t)
{
	size_t n = strlen(t->plural);

	if (strncmp(name, t->plural, n) != 0)
		return false;
	return *t->group ? name[n] == '.' && !strcmp(name + n + 1, t->group)
			 : !name[n];
}

bool quota_counts(const char *name, const struct type *t)
{
	static const char *const simple[] = { "configmaps", "secrets",
					      "replicationcontrollers",
					      "resourcequotas" };

	if (str_starts(name, "count/"))
		return counts_type(name + 6, t);
	if (strcmp(name, "pods") == 0 || is_compute(name))
		return is_core(t, "pods");
	if (strcmp(name, "persistentvolumeclaims") == 0 ||
	    strcmp(name, "requests.storage") == 0 || strstr(name, BY_CLASS))
		return is_core(t, "persistentvolumeclaims");
	if (strcmp(name, "services") == 0 || str_starts(name, "services."))
		return is_core(t, "services");
	for (size_t i = 0; i < ARRAY_LEN(simple); i++)
		if (strcmp(name, simple[i]) == 0)
			return is_core(t, simple[i]);
	return false;
}

int quota_parse(const char *name, const char *s, int64_t *ret)
{
	uint64_t v;
	int r = is_cpu(name) ? quantity_parse_cpu(s, &v, NULL)
			     : quantity_parse_mem(s, &v, NULL);

	if (r < 0)
		return r;
	*ret = v > INT64_MAX / 4 ? INT64_MAX / 4 : (int64_t)v;
	return 0;
}

const char *quota_format(const char *name, int64_t v, char buf[32])
{
	bool bytes = strstr(name, "memory") || strstr(name, "storage") ||
		     strstr(name, "hugepages-");

	if (v < 0)
		v = 0;
	if (is_cpu(name))
		return quantity_format_cpu(v, buf);
	if (bytes && !str_ends(name, "persistentvolumeclaims"))
		return quantity_format_mem(v, buf);
	snprintf(buf, 32, "%" PRId64, v);
	return buf;
}

/* --- pods --- */

static bool is_over(yyjson_val *pod)
{
	const char *phase = text(yyjson_obj_get(pod, "status"), "phase");

	return strcmp(phase, "Succeeded") == 0 || strcmp(phase, "Failed") == 0;
}

/* What a container has of a resource: "requests.memory" and so on; -1: it says
 * nothing. */
static int64_t container_has(const char *name, yyjson_val *c)
{
	yyjson_val *res = yyjson_obj_get(c, "resources"), *v;
	const char *what = name, *list = "requests";
	int64_t n;

	if (str_starts(name, "limits."))
		list = "limits", what = name + 7;
	else if (str_starts(name, "requests."))
		what = name + 9;
	v = yyjson_obj_get(yyjson_obj_get(res, list), what);
	/* Who names a limit only, asks for as much. */
	if (!v && *list == 'r')
		v = yyjson_obj_get(yyjson_obj_get(res, "limits"), what);
	if (!yyjson_is_str(v) || quota_parse(name, yyjson_get_str(v), &n) < 0)
		return -1;
	return n;
}

static int64_t sum(const char *name, yyjson_val *list)
{
	int64_t total = 0;
	yyjson_val *c;
	size_t i, max;

	yyjson_arr_foreach(list, i, max, c)
	{
		int64_t n = container_has(name, c);

		total += n > 0 ? n : 0;
	}
	return total;
}

/* As Kubernetes counts: all that run together, or the hungriest of those that
 * run one after the other before. */
static int64_t pod_has(const char *name, yyjson_val *pod)
{
	yyjson_val *spec = yyjson_obj_get(pod, "spec"), *c, *v;
	yyjson_val *vm = yyjson_obj_get(spec, "virtualMachine");
	const char *over = str_starts(name, "requests.") ? name + 9 : name;
	int64_t total = sum(name, yyjson_obj_get(spec, "containers"));
	int64_t most = 0, beside = 0, n;
	size_t i, max;

	if (vm && (n = container_has(name, vm)) > 0)
		total += n;
	yyjson_arr_foreach(yyjson_obj_get(spec, "initContainers"), i, max, c)
	{
		n = container_has(name, c);
		if (n < 0)
			n = 0;
		if (strcmp(text(c, "restartPolicy"), "Always") == 0)
			beside += n, n = 0;
		most = most > beside + n ? most : beside + n;
	}
	total += beside;
	if (most > total)
		total = most;
	v = yyjson_obj_get(yyjson_obj_get(spec, "overhead"), over);
	if (yyjson_is_str(v) && quota_parse(name, yyjson_get_str(v), &n) == 0)
		total += n;
	return total;
}

const char *quota_unspecified(const char *name, yyjson_val *pod)
{
	yyjson_val *spec = yyjson_obj_get(pod, "spec"), *c;
	yyjson_val *vm = yyjson_obj_get(spec, "virtualMachine");
	size_t i, max;

	/* As in Kubernetes: of the two that every pod can name. */
	if (!is_compute(name) ||
	    (!str_ends(name, "cpu") && !str_ends(name, "memory")))
		return NULL;
	yyjson_arr_foreach(yyjson_obj_get(spec, "containers"), i, max, c)
	{
		if (container_has(name, c) < 0)
			return text(c, "name");
	}
	if (vm && container_has(name, vm) < 0)
		return text(vm, "name");
	return NULL;
}

/* --- other things --- */

static int64_t claim_has(const char *name, yyjson_val *claim)
{
	yyjson_val *spec = yyjson_obj_get(claim, "spec");
	const char *class = text(spec, "storageClassName"), *at;
	const char *size = yyjson_get_str(
		yyjson_ptr_get(spec, "/resources/requests/storage"));
	int64_t n = 0;

	at = strstr(name, BY_CLASS);
	if (at) {
		if (strlen(class) != (size_t)(at - name) ||
		    strncmp(class, name, at - name) != 0)
			return 0;
		name = at + strlen(BY_CLASS);
	}
	if (strcmp(name, "persistentvolumeclaims") == 0)
		return 1;
	return size && quota_parse("storage", size, &n) == 0 ? n : 0;
}

static int64_t service_has(const char *name, yyjson_val *service)
{
	yyjson_val *spec = yyjson_obj_get(service, "spec");
	const char *type = text(spec, "type");
	bool balancer = strcmp(type, "LoadBalancer") == 0;

	if (strcmp(name, "services.loadbalancers") == 0)
		return balancer;
	if (strcmp(name, "services.nodeports") != 0)
		return 1;
	if (strcmp(type, "NodePort") != 0 &&
	    (!balancer ||
	     yyjson_is_false(
		     yyjson_obj_get(spec, "allocateLoadBalancerNodePorts"))))
		return 0;
	return (int64_t)yyjson_arr_size(yyjson_obj_get(spec, "ports"));
}

int64_t quota_measure(const char *name, const struct type *t, yyjson_val *obj)
{
	if (!obj || !quota_counts(name, t))
		return 0;
	if (str_starts(name, "count/"))
		return 1;
	if (is_core(t, "pods")) {
		if (is_over(obj))
			return 0;
		return strcmp(name, "pods") == 0 ? 1 : pod_has(name, obj);
	}
	if (is_core(t, "persistentvolumeclaims"))
		return claim_has(name, obj);
	if (is_core(t, "services"))
		return service_has(name, obj);
	return 1;
}

/* --- scopes --- */

static bool is_best_effort(yyjson_val *pod)
{
	static const char *const names[] = { "requests.cpu", "requests.memory",
					     "limits.cpu", "limits.memory" };

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (pod_has(names[i], pod) > 0)
			return false;
	return true;
}

static bool scope_fits(const char *scope, yyjson_val *pod)
{
	yyjson_val *spec = yyjson_obj_get(pod, "spec");
	bool ends =
		yyjson_is_int(yyjson_obj_get(spec, "activeDeadlineSeconds"));

	if (strcmp(scope, "Terminating") == 0)
		return ends;
	if (strcmp(scope, "NotTerminating") == 0)
		return !ends;
	if (strcmp(scope, "BestEffort") == 0)
		return is_best_effort(pod);
	if (strcmp(scope, "NotBestEffort") == 0)
		return !is_best_effort(pod);
	return *text(spec, "priorityClassName"); /* PriorityClass */
}

static bool expression_fits(yyjson_val *x, yyjson_val *pod)
{
	const char *scope = text(x, "scopeName"), *op = text(x, "operator");
	const char *have =
		text(yyjson_obj_get(pod, "spec"), "priorityClassName");
	bool among = false;
	yyjson_val *v;
	size_t i, max;

	if (strcmp(scope, "PriorityClass") != 0 || strcmp(op, "Exists") == 0)
		return scope_fits(scope, pod);
	if (strcmp(op, "DoesNotExist") == 0)
		return !*have;
	yyjson_arr_foreach(yyjson_obj_get(x, "values"), i, max, v)
	{
		among |= *have && yyjson_equals_str(v, have);
	}
	return strcmp(op, "In") == 0 ? among : !among;
}

bool quota_in_scope(yyjson_val *spec, const struct type *t, yyjson_val *obj)
{
	yyjson_val *scopes = yyjson_obj_get(spec, "scopes"), *v;
	yyjson_val *expressions =
		yyjson_ptr_get(spec, "/scopeSelector/matchExpressions");
	size_t i, max;

	if (!yyjson_arr_size(scopes) && !yyjson_arr_size(expressions))
		return true;
	if (!is_core(t, "pods"))
		return false;
	yyjson_arr_foreach(scopes, i, max, v)
	{
		if (yyjson_is_str(v) && !scope_fits(yyjson_get_str(v), obj))
			return false;
	}
	yyjson_arr_foreach(expressions, i, max, v)
	{
		if (!expression_fits(v, obj))
			return false;
	}
	return true;
}

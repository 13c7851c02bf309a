// SPDX-License-Identifier: Apache-2.0
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "agent/local/view.h"
#include "lib/cli.h"
#include "lib/quantity.h"
#include "lib/str.h"

/* --- reading ----------------------------------------------------------------
 */

struct json_ref view_get(const struct json_ref *from, const char *path)
{
	yyjson_val *val = from->val;

	while (val && *path) {
		size_t len = strcspn(path, ".");

		val = yyjson_obj_getn(val, path, len);
		path += len + (path[len] == '.');
	}
	return (struct json_ref){ .val = yyjson_is_null(val) ? NULL : val };
}

const char *view_str(const struct json_ref *from, const char *path)
{
	struct json_ref f = view_get(from, path);
	const char *s = yyjson_get_str(f.val);

	return s ? s : "";
}

uint64_t view_u64(const struct json_ref *from, const char *path)
{
	struct json_ref f = view_get(from, path);

	return yyjson_is_uint(f.val) ? yyjson_get_uint(f.val) : 0;
}

void set_read(const struct json_ref *of, struct quantity_set *ret)
{
	struct json_ref cpu = json_get(of, "cpu"), mem = json_get(of, "memory");
	char text[64];

	*ret = (struct quantity_set){ 0 };
	ret->has_cpu = json_opt_quantity(&cpu, text, sizeof(text), NULL) == 0 &&
		       quantity_parse_cpu(text, &ret->cpu_milli, NULL) == 0;
	ret->has_mem = json_opt_quantity(&mem, text, sizeof(text), NULL) == 0 &&
		       quantity_parse_mem(text, &ret->mem_bytes, NULL) == 0;
}

/* Limits, and requests for what has no limit. */
static void read_limits(const struct json_ref *limits,
			const struct json_ref *requests,
			struct quantity_set *ret)
{
	struct quantity_set other;

	set_read(limits, ret);
	set_read(requests, &other);
	if (!ret->has_cpu && other.has_cpu) {
		ret->has_cpu = true;
		ret->cpu_milli = other.cpu_milli;
	}
	if (!ret->has_mem && other.has_mem) {
		ret->has_mem = true;
		ret->mem_bytes = other.mem_bytes;
	}
}

static void add(struct quantity_set *sum, const struct quantity_set *more)
{
	sum->has_cpu |= more->has_cpu;
	sum->cpu_milli += more->cpu_milli;
	sum->has_mem |= more->has_mem;
	sum->mem_bytes += more->mem_bytes;
}

static void add_desired(struct pod_view *v, const struct json_ref *workload)
{
	struct json_ref l = view_get(workload, "resources.limits");
	struct json_ref q = view_get(workload, "resources.requests");
	struct quantity_set s;

	read_limits(&l, &q, &s);
	add(&v->desired, &s);
	if (!v->image)
		v->image = view_str(workload, "image");
}

static void add_status(struct pod_view *v, const struct json_ref *status)
{
	struct json_ref al = view_get(status, "allocatedLimits");
	struct json_ref aq = view_get(status, "allocatedResources");
	struct json_ref l = view_get(status, "resources.limits");
	struct json_ref q = view_get(status, "resources.requests");
	struct quantity_set s;

	read_limits(&al, &aq, &s);
	add(&v->allocated, &s);
	read_limits(&l, &q, &s);
	add(&v->actual, &s);
	v->restarts += view_u64(status, "restartCount");
}

/* --- state, as kubectl words it ---------------------------------------------
 */

static void container_state(const struct json_ref *st, const char *prefix,
			    char *state)
{
	const char *waiting = view_str(st, "state.waiting.reason");
	struct json_ref ended = view_get(st, "state.terminated");
	const char *reason = view_str(&ended, "reason");

	if (*waiting)
		snprintf(state, VIEW_TEXT, "%s%s", prefix, waiting);
	else if (json_has(&ended) && *reason)
		snprintf(state, VIEW_TEXT, "%s%s", prefix, reason);
	else if (json_has(&ended))
		snprintf(state, VIEW_TEXT, "%sExitCode:%" PRIu64, prefix,
			 view_u64(&ended, "exitCode"));
}

static bool is_true(const struct json_ref *from, const char *path)
{
	struct json_ref f = view_get(from, path);

	return yyjson_is_true(f.val);
}

static bool has_condition(const struct json_ref *pod, const char *type)
{
	struct json_ref list = view_get(pod, "status.conditions");

	json_for_each (it, &list)
		if (str_eq(view_str(&it.item, "type"), type))
			return str_eq(view_str(&it.item, "status"), "True");
	return false;
}

/* An init container that stays: @name's restartPolicy is Always. */
static bool is_sidecar(const struct json_ref *specs, const char *name)
{
	json_for_each (it, specs)
		if (str_eq(view_str(&it.item, "name"), name))
			return str_eq(view_str(&it.item, "restartPolicy"),
				      "Always");
	return false;
}

/* True while the init containers have the word. Sidecars that are up count as
 * containers do. */
static bool init_state(const struct json_ref *pod, char *state, size_t *ready)
{
	struct json_ref list = view_get(pod, "status.initContainerStatuses");
	struct json_ref specs = view_get(pod, "spec.initContainers");

	json_for_each (it, &list) {
		struct json_ref ended = view_get(&it.item, "state.terminated");

		if (json_has(&ended) && view_u64(&ended, "exitCode") == 0)
			continue;
		if (is_true(&it.item, "started") &&
		    is_sidecar(&specs, view_str(&it.item, "name"))) {
			*ready += is_true(&it.item, "ready");
			continue;
		}
		snprintf(state, VIEW_TEXT, "Init:%zu/%zu", it.item.index,
			 json_len(&list));
		if (!str_eq(view_str(&it.item, "state.waiting.reason"),
			    "PodInitializing"))
			container_state(&it.item, "Init:", state);
		return true;
	}
	return false;
}

/* The first with something to say is heard; one that is through is not, while
 * others run. */
static void containers_state(const struct json_ref *pod, char *state)
{
	struct json_ref list = view_get(pod, "status.containerStatuses");
	bool running = false;

	for (size_t i = json_len(&list); i-- > 0;) {
		struct json_ref c = json_at(&list, i);

		container_state(&c, "", state);
		running |= is_true(&c, "ready");
	}
	if (running && str_eq(state, "Completed"))
		snprintf(state, VIEW_TEXT, "%s",
			 has_condition(pod, "Ready") ? "Running" : "NotReady");
}

static void read_containers(const struct json_ref *pod, struct pod_view *v)
{
	struct json_ref specs = view_get(pod, "spec.containers");
	struct json_ref inits = view_get(pod, "spec.initContainers");
	struct json_ref list = view_get(pod, "status.containerStatuses");
	struct json_ref before = view_get(pod, "status.initContainerStatuses");
	size_t ready = 0, all = json_len(&specs);

	json_for_each (spec, &specs)
		add_desired(v, &spec.item);
	json_for_each (spec, &inits)
		all += str_eq(view_str(&spec.item, "restartPolicy"), "Always");
	if (!init_state(pod, v->state, &ready) ||
	    has_condition(pod, "Initialized")) {
		containers_state(pod, v->state);
		json_for_each (it, &before)
			if (is_sidecar(&inits, view_str(&it.item, "name")))
				v->restarts +=
					view_u64(&it.item, "restartCount");
	} else {
		json_for_each (it, &before)
			v->restarts += view_u64(&it.item, "restartCount");
	}
	json_for_each (it, &list) {
		ready += is_true(&it.item, "ready");
		add_status(v, &it.item);
	}
	snprintf(v->ready, sizeof(v->ready), "%zu/%zu", ready, all);
}

static void read_vm(const struct json_ref *pod, struct pod_view *v)
{
	struct json_ref spec = view_get(pod, "spec.virtualMachine");
	struct json_ref st = view_get(pod, "status.virtualMachineStatus");
	struct json_ref ready = view_get(&st, "ready");
	const char *power = view_str(&st, "powerState");

	add_desired(v, &spec);
	add_status(v, &st);
	snprintf(v->ready, sizeof(v->ready), "%d/1",
		 yyjson_is_true(ready.val) ? 1 : 0);
	if (str_eq(power, "paused"))
		snprintf(v->state, sizeof(v->state), "Paused");
	else if (str_eq(power, "crashed"))
		snprintf(v->state, sizeof(v->state), "Crashed");
	else if (str_eq(view_str(pod, "status.phase"), "NoSchedule"))
		snprintf(v->state, sizeof(v->state), "Stopped");
	else if (*view_str(&st, "reason"))
		snprintf(v->state, sizeof(v->state), "%s",
			 view_str(&st, "reason"));
}

/* What is said of the pod as a whole, and its containers do not know. */
static void read_pod_reason(const struct json_ref *pod, struct pod_view *v)
{
	struct json_ref list = view_get(pod, "status.conditions");
	const char *phase = view_str(pod, "status.phase");
	const char *reason = view_str(pod, "status.reason");

	if (str_eq(phase, "Failed") && *reason)
		snprintf(v->state, sizeof(v->state), "%s", reason);
	json_for_each (it, &list)
		if (str_eq(phase, "Pending") &&
		    str_eq(view_str(&it.item, "type"), "PodScheduled") &&
		    str_eq(view_str(&it.item, "status"), "False"))
			snprintf(v->state, sizeof(v->state), "Pending");
}

void view_age(const char *time_text, char *buf, size_t size)
{
	struct tm tm = { 0 };
	time_t then, now = time(NULL);

	buf[0] = '\0';
	if (!strptime(time_text, "%Y-%m-%dT%H:%M:%S", &tm))
		return;
	then = timegm(&tm);
	cli_format_age(now > then ? (uint64_t)(now - then) : 0, buf, size);
}

void pod_view(const struct json_ref *pod, struct pod_view *ret)
{
	struct json_ref vm = view_get(pod, "spec.virtualMachine");
	const char *born = view_str(pod, "metadata.creationTimestamp");
	const char *reason = view_str(pod, "status.reason");

	*ret = (struct pod_view){
		.tenant = view_str(pod, "metadata.tenant"),
		.namespace = view_str(pod, "metadata.namespace"),
		.name = view_str(pod, "metadata.name"),
		.ip = view_str(pod, "status.podIP"),
		.vm = json_has(&vm),
	};
	snprintf(ret->state, sizeof(ret->state), "%s",
		 *reason ? reason : view_str(pod, "status.phase"));
	if (ret->vm)
		read_vm(pod, ret);
	else
		read_containers(pod, ret);
	read_pod_reason(pod, ret);
	if (*view_str(pod, "metadata.deletionTimestamp"))
		snprintf(ret->state, sizeof(ret->state), "Terminating");
	if (!ret->state[0])
		snprintf(ret->state, sizeof(ret->state), "Unknown");
	view_age(*born ? born : view_str(pod, "status.startTime"), ret->age,
		 sizeof(ret->age));
	if (!ret->image)
		ret->image = "";
}

/* --- amounts ----------------------------------------------------------------
 */

void set_cpu_text(const struct quantity_set *s, char *buf, size_t size)
{
	char text[QUANTITY_TEXT_SIZE];

	snprintf(buf, size, "%s",
		 s->has_cpu ? quantity_format_cpu(s->cpu_milli, text) : "-");
}

void set_mem_text(const struct quantity_set *s, char *buf, size_t size)
{
	char text[QUANTITY_TEXT_SIZE];

	snprintf(buf, size, "%s",
		 s->has_mem ? quantity_format_mem(s->mem_bytes, text) : "-");
}

/* What it has; and, if that differs, what it shall have. */
static void join(const char *actual, const char *desired, char *buf,
		 size_t size)
{
	if (str_eq(actual, "-"))
		actual = desired;
	if (str_eq(actual, desired))
		snprintf(buf, size, "%s", actual);
	else
		snprintf(buf, size, "%s \xe2\x86\x92 %s", actual, desired);
}

void pod_view_cpu(const struct pod_view *v, char *buf, size_t size)
{
	char actual[QUANTITY_TEXT_SIZE], desired[QUANTITY_TEXT_SIZE];

	set_cpu_text(&v->actual, actual, sizeof(actual));
	set_cpu_text(&v->desired, desired, sizeof(desired));
	join(actual, desired, buf, size);
}

void pod_view_mem(const struct pod_view *v, char *buf, size_t size)
{
	char actual[QUANTITY_TEXT_SIZE], desired[QUANTITY_TEXT_SIZE];

	set_mem_text(&v->actual, actual, sizeof(actual));
	set_mem_text(&v->desired, desired, sizeof(desired));
	join(actual, desired, buf, size);
}

void pod_view_cpu_all(const struct pod_view *v, char *buf, size_t size)
{
	char a[QUANTITY_TEXT_SIZE], b[QUANTITY_TEXT_SIZE],
		c[QUANTITY_TEXT_SIZE];

	set_cpu_text(&v->desired, a, sizeof(a));
	set_cpu_text(&v->allocated, b, sizeof(b));
	set_cpu_text(&v->actual, c, sizeof(c));
	snprintf(buf, size, "%s/%s/%s", a, b, c);
}

void pod_view_mem_all(const struct pod_view *v, char *buf, size_t size)
{
	char a[QUANTITY_TEXT_SIZE], b[QUANTITY_TEXT_SIZE],
		c[QUANTITY_TEXT_SIZE];

	set_mem_text(&v->desired, a, sizeof(a));
	set_mem_text(&v->allocated, b, sizeof(b));
	set_mem_text(&v->actual, c, sizeof(c));
	snprintf(buf, size, "%s/%s/%s", a, b, c);
}

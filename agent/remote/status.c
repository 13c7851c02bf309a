// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "agent/remote/status.h"
#include "lib/buf.h"
#include "lib/json.h"
#include "lib/str.h"

/* Everything is made in one document, @want, from copies. */
struct plan {
	yyjson_mut_doc *doc;
	yyjson_mut_val *want; /* the status as it should be */
	yyjson_val *api;      /* the status as the API has it */
	const struct status_facts *facts;
	char now[32];
};

/* Conditions that are ours to remove when they are over. */
static const char *const own_conditions[] = {
	"Initialized",
	"ContainersReady",
	"Ready",
	"VirtualMachineReady",
	"PodResizePending",
	"PodResizeInProgress",
	"HardwareAccelerated",
	"PodReadyToStartContainers",
	"UserNamespace",
	"UpdateRefused",
};

static bool listed(const char *name, const char *const *list, size_t nr)
{
	for (size_t i = 0; i < nr; i++)
		if (str_eq(name, list[i]))
			return true;
	return false;
}

int64_t status_time(const char *text)
{
	struct tm tm = { 0 };
	const char *end =
		text ? strptime(text, "%Y-%m-%dT%H:%M:%S", &tm) : NULL;

	if (!end || (*end != 'Z' && *end != '.'))
		return -1;
	return timegm(&tm);
}

static const char *text_of(yyjson_val *v, const char *key)
{
	return yyjson_get_str(yyjson_obj_get(v, key));
}

static bool final_phase(const char *phase)
{
	return str_eq(phase, "Succeeded") || str_eq(phase, "Failed");
}

static yyjson_val *find(yyjson_val *list, const char *key, const char *value)
{
	yyjson_arr_iter it = yyjson_arr_iter_with(list);
	yyjson_val *v;

	while ((v = yyjson_arr_iter_next(&it)))
		if (str_eq(text_of(v, key), value))
			return v;
	return NULL;
}

static void put(struct plan *p, yyjson_mut_val *obj, const char *key,
		yyjson_mut_val *val)
{
	yyjson_mut_obj_add(obj, yyjson_mut_strcpy(p->doc, key), val);
}

static void copy(struct plan *p, yyjson_mut_val *to, const char *key,
		 yyjson_val *from)
{
	if (from)
		put(p, to, key, yyjson_val_mut_copy(p->doc, from));
}

static void copy_fields(struct plan *p, yyjson_mut_val *to, yyjson_val *from,
			const char *const *fields, size_t nr)
{
	for (size_t i = 0; i < nr; i++)
		copy(p, to, fields[i], yyjson_obj_get(from, fields[i]));
}

/* --- the wanted status --- */

static void want_condition(struct plan *p, yyjson_mut_val *list,
			   const char *type, const char *status,
			   const char *reason, const char *message,
			   const char *since)
{
	yyjson_val *old =
		find(yyjson_obj_get(p->api, "conditions"), "type", type);
	yyjson_mut_val *c = yyjson_mut_obj(p->doc);
	const char *time = since ? since : p->now;

	if (old && str_eq(text_of(old, "status"), status) &&
	    text_of(old, "lastTransitionTime"))
		time = text_of(old, "lastTransitionTime");
	yyjson_mut_obj_add_strcpy(p->doc, c, "type", type);
	yyjson_mut_obj_add_strcpy(p->doc, c, "status", status);
	yyjson_mut_obj_add_strcpy(p->doc, c, "lastTransitionTime", time);
	if (reason && *reason)
		yyjson_mut_obj_add_strcpy(p->doc, c, "reason", reason);
	if (message && *message)
		yyjson_mut_obj_add_strcpy(p->doc, c, "message", message);
	yyjson_mut_arr_append(list, c);
}

static void want_conditions(struct plan *p, yyjson_val *here)
{
	yyjson_val *api_list = yyjson_obj_get(p->api, "conditions"), *c;
	yyjson_arr_iter it =
		yyjson_arr_iter_with(yyjson_obj_get(here, "conditions"));
	yyjson_mut_val *list = yyjson_mut_arr(p->doc);

	while ((c = yyjson_arr_iter_next(&it))) {
		const char *type = text_of(c, "type");
		const char *status = text_of(c, "status");

		/* The scheduler's; only where there was none is it ours. */
		if (str_eq(type, "PodScheduled")) {
			if (!find(api_list, "type", type))
				want_condition(p, list, type, "True", NULL,
					       NULL, NULL);
			continue;
		}
		want_condition(p, list, type, status, text_of(c, "reason"),
			       text_of(c, "message"),
			       text_of(c, "lastTransitionTime"));
	}
	if (p->facts->not_taken)
		want_condition(p, list, "UpdateRefused", "True", "FailedUpdate",
			       p->facts->not_taken, NULL);
	put(p, p->want, "conditions", list);
}

/* Restarts are never fewer than they were. */
static void want_restarts(struct plan *p, yyjson_mut_val *to, yyjson_val *here,
			  yyjson_val *old)
{
	uint64_t n = yyjson_get_uint(yyjson_obj_get(here, "restartCount"));
	uint64_t was = yyjson_get_uint(yyjson_obj_get(old, "restartCount"));

	yyjson_mut_obj_add_uint(p->doc, to, "restartCount", n > was ? n : was);
}

static void want_containers(struct plan *p, yyjson_val *here, const char *key)
{
	static const char *const fields[] = {
		"name",      "state",       "lastState",
		"ready",     "image",       "imageID",
		"started",   "containerID", "allocatedResources",
		"resources",
	};
	yyjson_val *list = yyjson_obj_get(here, key), *c;
	yyjson_val *old = yyjson_obj_get(p->api, key);
	yyjson_arr_iter it = yyjson_arr_iter_with(list);
	yyjson_mut_val *to;

	if (!yyjson_arr_size(list))
		return;
	to = yyjson_mut_arr(p->doc);
	while ((c = yyjson_arr_iter_next(&it))) {
		yyjson_mut_val *o = yyjson_mut_obj(p->doc);

		yyjson_val *was = find(old, "name", text_of(c, "name"));

		copy_fields(p, o, c, fields, ARRAY_LEN(fields));
		want_restarts(p, o, c, was);
		/* Not read back yet, and the same container as before. */
		if (!yyjson_obj_get(c, "resources") &&
		    str_eq(text_of(c, "containerID"),
			   text_of(was, "containerID")))
			copy(p, o, "resources",
			     yyjson_obj_get(was, "resources"));
		yyjson_mut_arr_append(to, o);
	}
	put(p, p->want, key, to);
}

static void want_vm(struct plan *p, yyjson_val *here)
{
	static const char *const fields[] = {
		"name",      "virtualMachineId", "image",  "imageId",
		"state",     "powerState",       "ready",  "allocatedResources",
		"resources", "snapshots",        "reason", "message",
	};
	yyjson_val *vm = yyjson_obj_get(here, "virtualMachineStatus"), *last;
	yyjson_val *was = yyjson_obj_get(p->api, "virtualMachineStatus");
	yyjson_mut_val *o, *t;

	if (!vm)
		return;
	o = yyjson_mut_obj(p->doc);
	copy_fields(p, o, vm, fields, ARRAY_LEN(fields));
	want_restarts(p, o, vm, was);
	/* Not told by the guest yet. */
	if (!yyjson_obj_get(vm, "resources") &&
	    str_eq(text_of(vm, "powerState"), text_of(was, "powerState")))
		copy(p, o, "resources", yyjson_obj_get(was, "resources"));
	last = yyjson_obj_get(vm, "lastTerminationState");
	t = last ? yyjson_val_mut_copy(p->doc, last) : NULL;
	if (t)
		put(p, o, "lastTerminationState", t);
	put(p, p->want, "virtualMachineStatus", o);
}

static void want_address(struct plan *p, const char *one, const char *many,
			 const char *ip)
{
	yyjson_mut_val *list, *o;

	if (!ip)
		return;
	yyjson_mut_obj_add_strcpy(p->doc, p->want, one, ip);
	list = yyjson_mut_arr(p->doc);
	o = yyjson_mut_obj(p->doc);
	yyjson_mut_obj_add_strcpy(p->doc, o, "ip", ip);
	yyjson_mut_arr_append(list, o);
	put(p, p->want, many, list);
}

static void want_status(struct plan *p, yyjson_val *here, bool hold_phase)
{
	const char *started = text_of(p->api, "startTime");
	const char *resize = text_of(here, "resize");
	yyjson_val *vm = yyjson_obj_get(here, "virtualMachineStatus");
	bool off = str_eq(text_of(vm, "powerState"), "shutdown") &&
		   str_eq(text_of(here, "phase"), "NoSchedule");

	copy(p, p->want, "phase",
	     hold_phase ? yyjson_obj_get(p->api, "phase")
			: yyjson_obj_get(here, "phase"));
	copy(p, p->want, "reason", yyjson_obj_get(here, "reason"));
	copy(p, p->want, "message", yyjson_obj_get(here, "message"));
	copy(p, p->want, "qosClass", yyjson_obj_get(here, "qosClass"));
	copy(p, p->want, "startTime",
	     started ? yyjson_obj_get(p->api, "startTime")
		     : yyjson_obj_get(here, "startTime"));
	if (resize && *resize)
		yyjson_mut_obj_add_strcpy(p->doc, p->want, "resize", resize);
	if (!off) {
		want_address(p, "hostIP", "hostIPs", p->facts->host_ip);
		want_address(p, "podIP", "podIPs", text_of(here, "podIP"));
	}
	want_containers(p, here, "initContainerStatuses");
	want_containers(p, here, "containerStatuses");
	want_vm(p, here);
	want_conditions(p, here);
}

/* --- the difference --- */

static void diff_conditions(struct plan *p, yyjson_mut_val *out)
{
	yyjson_val *api = yyjson_obj_get(p->api, "conditions"), *old;
	yyjson_mut_val *want = yyjson_mut_obj_get(p->want, "conditions"), *c;
	yyjson_mut_val *list = yyjson_mut_arr(p->doc);
	yyjson_arr_iter it;
	size_t i, max;

	yyjson_mut_arr_foreach(want, i, max, c)
	{
		const char *type =
			yyjson_mut_get_str(yyjson_mut_obj_get(c, "type"));
		yyjson_mut_val *same, *copy;

		old = find(api, "type", type);
		same = old ? yyjson_val_mut_copy(p->doc, old) : NULL;
		if (same) {
			/* Not ours to say, and not in ours. */
			yyjson_mut_obj_remove_key(same, "lastProbeTime");
			yyjson_mut_obj_remove_key(same, "observedGeneration");
			if (yyjson_mut_equals(same, c))
				continue;
		}
		copy = yyjson_mut_val_mut_copy(p->doc, c);
		/* What is not there any more goes. */
		if (text_of(old, "reason") && !yyjson_mut_obj_get(c, "reason"))
			yyjson_mut_obj_add_null(p->doc, copy, "reason");
		if (text_of(old, "message") &&
		    !yyjson_mut_obj_get(c, "message"))
			yyjson_mut_obj_add_null(p->doc, copy, "message");
		yyjson_mut_arr_append(list, copy);
	}
	it = yyjson_arr_iter_with(api);
	while ((old = yyjson_arr_iter_next(&it))) {
		const char *type = text_of(old, "type");
		bool there = false;

		yyjson_mut_arr_foreach(want, i, max, c) there |=
			str_eq(type, yyjson_mut_get_str(
					     yyjson_mut_obj_get(c, "type")));
		if (there ||
		    !listed(type, own_conditions, ARRAY_LEN(own_conditions)))
			continue;
		c = yyjson_mut_obj(p->doc);
		yyjson_mut_obj_add_strcpy(p->doc, c, "type", type);
		yyjson_mut_obj_add_str(p->doc, c, "$patch", "delete");
		yyjson_mut_arr_append(list, c);
	}
	if (yyjson_mut_arr_size(list))
		put(p, out, "conditions", list);
}

/* A value that is to replace what is there, however it would be merged. */
static yyjson_mut_val *replacing(struct plan *p, const char *key,
				 yyjson_mut_val *val)
{
	yyjson_mut_val *v = yyjson_mut_val_mut_copy(p->doc, val), *mark;

	if (yyjson_mut_is_obj(v)) {
		yyjson_mut_obj_add_str(p->doc, v, "$patch", "replace");
	} else if (str_eq(key, "podIPs") || str_eq(key, "hostIPs")) {
		mark = yyjson_mut_obj(p->doc);
		yyjson_mut_obj_add_str(p->doc, mark, "$patch", "replace");
		yyjson_mut_arr_append(v, mark);
	}
	return v;
}

/* Of the pod's status, what this node says; the rest belongs to others. */
static const char *const own_fields[] = {
	"phase",
	"reason",
	"message",
	"startTime",
	"hostIP",
	"hostIPs",
	"podIP",
	"podIPs",
	"resize",
	"qosClass",
	"initContainerStatuses",
	"containerStatuses",
	"virtualMachineStatus",
};

static void diff(struct plan *p, yyjson_mut_val *out)
{
	for (size_t i = 0; i < ARRAY_LEN(own_fields); i++) {
		const char *key = own_fields[i];
		yyjson_mut_val *want = yyjson_mut_obj_get(p->want, key), *is;
		yyjson_val *api = yyjson_obj_get(p->api, key);

		if (!want && api)
			yyjson_mut_obj_add_null(p->doc, out, key);
		if (!want)
			continue;
		is = api ? yyjson_val_mut_copy(p->doc, api) : NULL;
		if (!is || !yyjson_mut_equals(is, want))
			put(p, out, key, replacing(p, key, want));
	}
	diff_conditions(p, out);
}

/* 1: @patch has a change. */
static int finish(struct plan *p, yyjson_val *api_pod, struct buf *patch)
{
	yyjson_mut_val *root = yyjson_mut_obj(p->doc);
	yyjson_mut_val *meta = yyjson_mut_obj(p->doc);
	yyjson_mut_val *out = yyjson_mut_obj(p->doc);
	const char *uid = text_of(yyjson_obj_get(api_pod, "metadata"), "uid");
	int r = 0;

	if (!root || !meta || !out)
		return -ENOMEM;
	diff(p, out);
	if (yyjson_mut_obj_size(out)) {
		if (uid)
			yyjson_mut_obj_add_strcpy(p->doc, meta, "uid", uid);
		yyjson_mut_obj_add_val(p->doc, root, "metadata", meta);
		yyjson_mut_obj_add_val(p->doc, root, "status", out);
		r = json_write_mut(root, false, patch) < 0 ? -ENOMEM : 1;
	}
	return r;
}

static int begin(struct plan *p, yyjson_val *api_pod,
		 const struct status_facts *facts)
{
	time_t s = (time_t)(facts->now_us / 1000000);
	struct tm tm;

	*p = (struct plan){ .facts = facts,
			    .api = yyjson_obj_get(api_pod, "status"),
			    .doc = yyjson_mut_doc_new(NULL) };
	p->want = p->doc ? yyjson_mut_obj(p->doc) : NULL;
	if (!p->want) {
		yyjson_mut_doc_free(p->doc);
		return -ENOMEM;
	}
	gmtime_r(&s, &tm);
	strftime(p->now, sizeof(p->now), "%Y-%m-%dT%H:%M:%SZ", &tm);
	return 0;
}

int status_patch(yyjson_val *api, yyjson_val *here,
		 const struct status_facts *facts, struct buf *patch)
{
	yyjson_val *status = yyjson_obj_get(here, "status");
	struct plan p;
	int r = begin(&p, api, facts);

	if (r < 0)
		return r;
	want_status(&p, status,
		    final_phase(text_of(p.api, "phase")) &&
			    !str_eq(text_of(status, "phase"),
				    text_of(p.api, "phase")));
	r = finish(&p, api, patch);
	yyjson_mut_doc_free(p.doc);
	return r;
}

int status_patch_refused(yyjson_val *api, const char *reason,
			 const char *message, const struct status_facts *facts,
			 struct buf *patch)
{
	yyjson_mut_val *list;
	struct plan p;
	int r = begin(&p, api, facts);

	if (r < 0)
		return r;
	for (size_t i = 0; i < ARRAY_LEN(own_fields); i++)
		copy(&p, p.want, own_fields[i],
		     yyjson_obj_get(p.api, own_fields[i]));
	yyjson_mut_obj_remove_key(p.want, "reason");
	yyjson_mut_obj_remove_key(p.want, "message");
	yyjson_mut_obj_add_strcpy(p.doc, p.want, "reason", reason);
	yyjson_mut_obj_add_strcpy(p.doc, p.want, "message", message);
	list = yyjson_mut_arr(p.doc);
	want_condition(&p, list, "Ready", "False", reason, message, NULL);
	put(&p, p.want, "conditions", list);
	r = finish(&p, api, patch);
	yyjson_mut_doc_free(p.doc);
	return r;
}

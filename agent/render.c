// SPDX-License-Identifier: Apache-2.0
/* A pod as others see it: its manifest with a Kubernetes status. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agent/action.h"
#include "agent/internal.h"
#include "agent/usage.h"
#include "agent/vm/vm.h"
#include "lib/buf.h"
#include "lib/json.h"
#include "lib/quantity.h"
#include "lib/str.h"

const char *pod_phase(const struct pod *pod)
{
	bool started = false, failed = pod->failed;

	if (pod->spec->vm && pod->spec->vm->power == POWER_SHUTDOWN &&
	    pod->ctrs[0].phase != CTR_RUNNING)
		return "NoSchedule";
	/* Switched on again, and there is no room for it. */
	if (pod->spec->vm && !pod->admitted && !pod->deleting && !failed &&
	    pod->ctrs[0].phase != CTR_RUNNING && !pod_is_over(pod))
		return "Pending";
	for (size_t i = 0; i < pod->nr_init; i++) {
		const struct ctr *c = &pod->ctrs[i];

		if (ctr_is_sidecar(c)) {
			if (!sidecar_is_up(pod, c))
				return failed ? "Failed" : "Pending";
			continue;
		}
		if (c->phase == CTR_EXITED && c->exit.code &&
		    !ctr_should_restart(pod, c))
			return "Failed";
		if (c->phase != CTR_EXITED || c->exit.code)
			return failed ? "Failed" : "Pending";
	}
	if (pod_is_over(pod)) {
		for (size_t i = pod->nr_init; i < pod->nr_ctrs; i++)
			failed |= pod->ctrs[i].exit.code != 0;
		return failed ? "Failed" : "Succeeded";
	}
	for (size_t i = pod->nr_init; i < pod->nr_ctrs; i++)
		started |= pod->ctrs[i].started_once &&
			   (pod->ctrs[i].phase == CTR_RUNNING ||
			    pod->ctrs[i].exit.valid || pod->ctrs[i].last.valid);
	return started ? "Running" : "Pending";
}

static bool ctr_ready(const struct pod *pod, const struct ctr *c)
{
	if (c->init && !ctr_is_sidecar(c))
		return c->phase == CTR_EXITED && c->exit.code == 0;
	if (c->phase != CTR_RUNNING || c->stop_sent_ms)
		return false;
	if (!c->spec && pod->vm_state != VM_RUNNING)
		return false;
	return probes_ready(pod, c);
}

bool pod_is_ready(const struct pod *pod)
{
	for (size_t i = 0; i < pod->nr_ctrs; i++)
		if (!ctr_ready(pod, &pod->ctrs[i]))
			return false;
	return !pod->deleting;
}

static void put_time(struct json_out *o, const char *key, int64_t us)
{
	char text[40];

	if (!us)
		return;
	rfc3339(us, text);
	json_put_str(o, key, text);
}

static void put_set(struct json_out *o, const char *key,
		    const struct quantity_set *q)
{
	char text[QUANTITY_TEXT_SIZE];

	if (!q->has_cpu && !q->has_mem && !q->has_disk)
		return;
	json_put_object(o, key);
	if (q->has_cpu)
		json_put_str(o, "cpu", quantity_format_cpu(q->cpu_milli, text));
	if (q->has_mem)
		json_put_str(o, "memory",
			     quantity_format_mem(q->mem_bytes, text));
	if (q->has_disk)
		json_put_str(o, "ephemeral-storage",
			     quantity_format_mem(q->disk_bytes, text));
	json_put_end(o);
}

static void put_resources(struct json_out *o, const struct ctr *c)
{
	struct quantity_set a = c->res.allocated.requests;
	const struct quantity_set *l = &c->res.allocated.limits;

	put_set(o, "allocatedResources", &a);
	if (l->has_cpu || l->has_mem || l->has_disk)
		put_set(o, "allocatedLimits", l);
	if (!c->res.actual_known)
		return;
	json_put_object(o, "resources");
	put_set(o, "requests", &c->res.actual.requests);
	put_set(o, "limits", &c->res.actual.limits);
	json_put_end(o);
}

static void put_terminated(struct json_out *o, const struct ctr_exit *x)
{
	json_put_object(o, "terminated");
	json_put_i64(o, "exitCode", x->code);
	if (x->signal)
		json_put_i64(o, "signal", x->signal);
	json_put_str(o, "reason", x->reason);
	if (x->message[0])
		json_put_str(o, "message", x->message);
	put_time(o, "startedAt", x->started_us);
	put_time(o, "finishedAt", x->finished_us);
	json_put_end(o);
}

static void put_waiting(struct json_out *o, const struct pod *pod,
			const struct ctr *c)
{
	json_put_object(o, "waiting");
	json_put_str(o, "reason",
		     c->reason[0] ? c->reason : ctr_waiting_reason(pod));
	if (c->message[0])
		json_put_str(o, "message", c->message);
	json_put_end(o);
}

static void put_state(struct json_out *o, const struct pod *pod,
		      const struct ctr *c)
{
	bool again = c->phase == CTR_EXITED && !pod->deleting && !pod->failed &&
		     ctr_should_restart(pod, c);

	json_put_object(o, "state");
	if (c->phase == CTR_RUNNING) {
		json_put_object(o, "running");
		put_time(o, "startedAt", c->started_us);
		json_put_end(o);
	} else if (c->phase == CTR_EXITED && !(again && c->reason[0])) {
		put_terminated(o, &c->exit);
	} else {
		put_waiting(o, pod, c);
	}
	json_put_end(o);
	json_put_object(o, "lastState");
	if (again && c->reason[0])
		put_terminated(o, &c->exit);
	else if (c->last.valid)
		put_terminated(o, &c->last);
	json_put_end(o);
}

static void put_ctr(struct json_out *o, const struct pod *pod,
		    const struct ctr *c)
{
	json_put_object(o, NULL);
	json_put_str(o, "name", c->name);
	json_put_bool(o, "ready", ctr_ready(pod, c));
	json_put_bool(o, "started",
		      c->phase == CTR_RUNNING && probes_started(pod, c));
	json_put_u64(o, "restartCount", c->attempt);
	json_put_str(o, "image", c->image_ref ? c->image_ref : c->spec->image);
	json_put_str(o, "imageID", c->image ? c->image->id : "");
	if (c->started_once)
		json_put_fmt(o, "containerID", "arktos://%s/%s/%u", pod->uid,
			     c->name, c->attempt);
	put_state(o, pod, c);
	put_resources(o, c);
	json_put_end(o);
}

static void put_vm(struct json_out *o, const struct pod *pod)
{
	const struct ctr *c = &pod->ctrs[0];
	bool running = c->phase == CTR_RUNNING;
	const char *state = "stopped", *power = "shutdown";

	if (running && pod->vm_state == VM_RUNNING)
		state = "active", power = "running";
	else if (running && pod->vm_state == VM_PAUSED)
		state = "paused", power = "paused";
	else if (running && pod->vm_state == VM_GUEST_PANICKED)
		state = "error", power = "crashed";
	else if (running)
		state = "suspended", power = "nostate";
	json_put_object(o, "virtualMachineStatus");
	json_put_str(o, "name", c->name);
	json_put_str(o, "virtualMachineId", pod->uid);
	json_put_str(o, "image", pod->spec->vm->image);
	json_put_str(o, "imageId", c->image ? c->image->id : "");
	json_put_str(o, "state", state);
	json_put_str(o, "powerState", power);
	json_put_bool(o, "ready", ctr_ready(pod, c));
	json_put_u64(o, "restartCount", c->attempt + c->attempt_reboots);
	json_put_str(o, "accelerator", pod->agent->kvm ? "kvm" : "tcg");
	json_put_bool(o, "guestAgent", running && pod->vm_agent);
	if (!running && c->reason[0]) {
		json_put_str(o, "reason", c->reason);
		json_put_str(o, "message", c->message);
	}
	if (c->exit.valid || c->last.valid) {
		json_put_object(o, "lastTerminationState");
		put_terminated(o, c->exit.valid ? &c->exit : &c->last);
		json_put_end(o);
	}
	put_resources(o, c);
	actions_render(pod, o);
	json_put_end(o);
}

static void put_condition(struct json_out *o, const char *type, bool status,
			  const char *reason, const char *message, int64_t us)
{
	json_put_object(o, NULL);
	json_put_str(o, "type", type);
	json_put_str(o, "status", status ? "True" : "False");
	if (reason && reason[0])
		json_put_str(o, "reason", reason);
	if (message && message[0])
		json_put_str(o, "message", message);
	put_time(o, "lastTransitionTime", us);
	json_put_end(o);
}

static void put_resize(struct json_out *o, const struct pod *pod)
{
	const struct resize_status *rs = &pod->resize;

	switch (rs->condition) {
	case RESIZE_DEFERRED:
	case RESIZE_INFEASIBLE:
		put_condition(o, "PodResizePending", true,
			      rs->condition == RESIZE_DEFERRED ? "Deferred"
							       : "Infeasible",
			      rs->message, rs->since_us);
		break;
	case RESIZE_IN_PROGRESS:
	case RESIZE_ERROR:
		put_condition(o, "PodResizeInProgress", true,
			      rs->condition == RESIZE_ERROR ? "Error" : "",
			      rs->message, rs->since_us);
		break;
	default:
		break;
	}
}

static bool initialized(const struct pod *pod)
{
	for (size_t i = 0; i < pod->nr_init; i++)
		if (ctr_is_sidecar(&pod->ctrs[i])
			    ? !sidecar_is_up(pod, &pod->ctrs[i])
			    : pod->ctrs[i].phase != CTR_EXITED ||
				      pod->ctrs[i].exit.code)
			return false;
	return true;
}

static void put_conditions(struct json_out *o, const struct pod *pod)
{
	bool ready = pod_is_ready(pod);
	bool scheduled = pod->admitted || pod->start_us;
	bool up = pod->sandbox_state == SANDBOX_UP && !pod->network_lost;
	const char *phase = pod_phase(pod);
	bool done = str_eq(phase, "Succeeded"),
	     failed = str_eq(phase, "Failed");
	bool init = done || initialized(pod);
	const char *why = ready           ? ""
			  : done          ? "PodCompleted"
			  : failed        ? "PodFailed"
			  : pod->spec->vm ? "VmNotReady"
					  : "ContainersNotReady";

	json_put_array(o, "conditions");
	/* What it had, and gave back when it ended, it was scheduled with. */
	put_condition(o, "PodScheduled", scheduled,
		      scheduled ? "" : "Unschedulable",
		      scheduled ? "" : pod->unschedulable,
		      scheduled ? pod->start_us : pod->created_us);
	if (scheduled)
		put_condition(o, "PodReadyToStartContainers", up,
			      pod->network_lost ? "NetworkLinkLost" : "",
			      pod->network_lost ? pod->trouble : "", 0);
	if (pod->spec->vm) {
		put_condition(o, "VirtualMachineReady", ready, why, pod->vm_why,
			      0);
		if (!pod->agent->kvm)
			put_condition(o, "HardwareAccelerated", false,
				      "KVMUnusable", pod->agent->kvm_why, 0);
	} else {
		put_condition(o, "Initialized", init,
			      init ? "" : "ContainersNotInitialized", "", 0);
		put_condition(o, "ContainersReady", ready, why, "", 0);
		if (!pod->spec->host_users && !pod->agent->userns)
			put_condition(o, "UserNamespace", false, "Unsupported",
				      pod->agent->userns_why, 0);
	}
	put_condition(o, "Ready", ready, why, pod->trouble, 0);
	if (str_eq(pod->reason, USAGE_EVICTED))
		put_condition(o, "DisruptionTarget", true,
			      "TerminationByKubelet", pod->message, 0);
	put_resize(o, pod);
	json_put_end(o);
}

static void put_ip(struct json_out *o, const struct pod *pod)
{
	char ip[INET_ADDRSTRLEN];

	if (!pod->network_up ||
	    !inet_ntop(AF_INET, &pod->endpoint.ip, ip, sizeof(ip)))
		return;
	json_put_str(o, "podIP", ip);
	json_put_array(o, "podIPs");
	json_put_object(o, NULL);
	json_put_str(o, "ip", ip);
	json_put_end(o);
	json_put_end(o);
}

static const char *resize_word(const struct pod *pod)
{
	static const char *const words[] = {
		[RESIZE_NONE] = "",
		[RESIZE_DEFERRED] = "Deferred",
		[RESIZE_INFEASIBLE] = "Infeasible",
		[RESIZE_IN_PROGRESS] = "InProgress",
		[RESIZE_ERROR] = "InProgress",
	};

	return words[pod->resize.condition];
}

static void put_status(struct json_out *o, const struct pod *pod)
{
	const char *reason = pod->reason, *message = pod->message;

	if (!reason[0] && pod->trouble[0]) {
		reason = "Retrying";
		message = pod->trouble;
	}
	json_put_object(o, "status");
	json_put_str(o, "phase", pod_phase(pod));
	if (reason[0])
		json_put_str(o, "reason", reason);
	if (message[0])
		json_put_str(o, "message", message);
	json_put_str(o, "qosClass", qos_name(pod->qos));
	json_put_str(o, "resize", resize_word(pod));
	put_time(o, "startTime", pod->start_us);
	put_ip(o, pod);
	put_conditions(o, pod);
	if (pod->spec->vm) {
		put_vm(o, pod);
	} else {
		json_put_array(o, "initContainerStatuses");
		for (size_t i = 0; i < pod->nr_init; i++)
			put_ctr(o, pod, &pod->ctrs[i]);
		json_put_end(o);
		json_put_array(o, "containerStatuses");
		for (size_t i = pod->nr_init; i < pod->nr_ctrs; i++)
			put_ctr(o, pod, &pod->ctrs[i]);
		json_put_end(o);
	}
	json_put_end(o);
}

static void put_metadata(struct json_out *o, const struct pod *pod,
			 yyjson_val *given)
{
	size_t i, max;
	yyjson_val *key, *val;
	static const char *const ours[] = { "name",
					    "namespace",
					    "tenant",
					    "uid",
					    "creationTimestamp",
					    "deletionTimestamp",
					    "deletionGracePeriodSeconds",
					    "resourceVersion" };

	json_put_object(o, "metadata");
	json_put_str(o, "name", pod->spec->name);
	json_put_str(o, "namespace", pod->spec->namespace);
	json_put_str(o, "tenant", pod->spec->tenant);
	json_put_str(o, "uid", pod->uid);
	put_time(o, "creationTimestamp", pod->created_us);
	if (pod->deleting) {
		put_time(o, "deletionTimestamp",
			 pod->deleted_us + (int64_t)pod->grace_s * 1000000);
		json_put_u64(o, "deletionGracePeriodSeconds", pod->grace_s);
	}
	json_obj_foreach (given, i, max, key, val) {
		bool known = false;

		for (size_t k = 0; k < ARRAY_LEN(ours); k++)
			known |= str_eq(yyjson_get_str(key), ours[k]);
		if (!known)
			json_put_val(o, yyjson_get_str(key), val);
	}
	json_put_end(o);
}

int pod_render(const struct pod *pod, struct buf *out)
{
	yyjson_doc *doc = yyjson_read(pod->spec->json, pod->spec->json_len, 0);
	yyjson_val *root = yyjson_doc_get_root(doc);
	struct json_out o = JSON_OUT(out);

	if (!doc)
		return -ENOMEM;
	json_put_object(&o, NULL);
	json_put_str(&o, "apiVersion", "v1");
	json_put_str(&o, "kind", "Pod");
	put_metadata(&o, pod, yyjson_obj_get(root, "metadata"));
	json_put_val(&o, "spec", yyjson_obj_get(root, "spec"));
	put_status(&o, pod);
	json_put_end(&o);
	yyjson_doc_free(doc);
	return buf_error(out);
}

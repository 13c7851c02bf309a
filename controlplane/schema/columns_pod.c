// SPDX-License-Identifier: Apache-2.0
/*
 * Cells of pods: what becomes of one in a word, by the rules that Kubernetes'
 * own printer follows: init containers first, in order, then the others, of
 * which the first with something to say is heard.
 */
#include <stdio.h>

#include "controlplane/schema/columns.h"
#include "lib/json.h"
#include "lib/str.h"

struct summary {
	char reason[96];
	size_t ready, all;
	long long restarts;
};

static yyjson_val *init_spec(yyjson_val *o, const char *name)
{
	yyjson_arr_iter it =
		yyjson_arr_iter_with(at(o, ".spec.initContainers"));
	yyjson_val *c;

	while ((c = yyjson_arr_iter_next(&it)))
		if (str_eq(str_at(c, ".name"), name))
			return c;
	return NULL;
}

static bool is_sidecar(yyjson_val *spec)
{
	return str_eq(str_at(spec, ".restartPolicy"), "Always");
}

static void put_ended(struct summary *s, const char *prefix, yyjson_val *ended)
{
	const char *reason = str_at(ended, ".reason");
	long long signal = int_at(ended, ".signal");

	if (reason && *reason)
		snprintf(s->reason, sizeof(s->reason), "%s%s", prefix, reason);
	else if (signal)
		snprintf(s->reason, sizeof(s->reason), "%sSignal:%lld", prefix,
			 signal);
	else
		snprintf(s->reason, sizeof(s->reason), "%sExitCode:%lld",
			 prefix, int_at(ended, ".exitCode"));
}

/* Are init containers all there is to tell of? @ret_sidecars: how often those
 * that stay were restarted. */
static bool look_at_init(yyjson_val *o, struct summary *s,
			 long long *ret_sidecars)
{
	yyjson_val *list = at(o, ".status.initContainerStatuses"), *c;
	size_t i, max, all = yyjson_arr_size(at(o, ".spec.initContainers"));

	yyjson_arr_foreach(list, i, max, c)
	{
		yyjson_val *ended = at(c, ".state.terminated");
		const char *waits = str_at(c, ".state.waiting.reason");
		bool sidecar = is_sidecar(init_spec(o, str_at(c, ".name")));
		long long restarts = int_at(c, ".restartCount");

		s->restarts += restarts;
		*ret_sidecars += sidecar ? restarts : 0;
		if (ended && int_at(ended, ".exitCode") == 0)
			continue;
		if (sidecar && yyjson_is_true(at(c, ".started"))) {
			s->ready += yyjson_is_true(at(c, ".ready"));
			continue;
		}
		if (ended)
			put_ended(s, "Init:", ended);
		else if (waits && *waits && !str_eq(waits, "PodInitializing"))
			snprintf(s->reason, sizeof(s->reason), "Init:%s",
				 waits);
		else
			snprintf(s->reason, sizeof(s->reason), "Init:%zu/%zu",
				 i, all);
		return true;
	}
	return false;
}

static bool has_condition(yyjson_val *o, const char *type)
{
	yyjson_arr_iter it = yyjson_arr_iter_with(at(o, ".status.conditions"));
	yyjson_val *c;

	while ((c = yyjson_arr_iter_next(&it)))
		if (str_eq(str_at(c, ".type"), type))
			return str_eq(str_at(c, ".status"), "True");
	return false;
}

static void look_at_containers(yyjson_val *o, struct summary *s)
{
	yyjson_val *list = at(o, ".status.containerStatuses");
	bool running = false;

	for (size_t i = yyjson_arr_size(list); i-- > 0;) {
		yyjson_val *c = yyjson_arr_get(list, i);
		const char *waits = str_at(c, ".state.waiting.reason");
		yyjson_val *ended = at(c, ".state.terminated");

		s->restarts += int_at(c, ".restartCount");
		if (waits && *waits) {
			snprintf(s->reason, sizeof(s->reason), "%s", waits);
		} else if (ended) {
			put_ended(s, "", ended);
		} else if (yyjson_is_true(at(c, ".ready"))) {
			running = true;
			s->ready++;
		}
	}
	if (str_eq(s->reason, "Completed") && running)
		snprintf(s->reason, sizeof(s->reason), "%s",
			 has_condition(o, "Ready") ? "Running" : "NotReady");
}

static void summarize(yyjson_val *o, struct summary *s)
{
	const char *phase = str_at(o, ".status.phase");
	const char *reason = str_at(o, ".status.reason");
	yyjson_val *init = at(o, ".spec.initContainers"), *c;
	long long sidecars = 0;
	size_t i, max;

	*s = (struct summary){
		.all = yyjson_arr_size(at(o, ".spec.containers")),
	};
	yyjson_arr_foreach(init, i, max, c) s->all += is_sidecar(c);
	snprintf(s->reason, sizeof(s->reason), "%s",
		 reason && *reason ? reason
		 : phase           ? phase
				   : "Unknown");
	if (str_eq(str_at(o, ".status.conditions[?(@.type==\"PodScheduled\")]"
			     ".reason"),
		   "SchedulingGated"))
		snprintf(s->reason, sizeof(s->reason), "SchedulingGated");
	if (!look_at_init(o, s, &sidecars) || has_condition(o, "Initialized")) {
		s->restarts = sidecars;
		look_at_containers(o, s);
	}
	if (at(o, ".spec.virtualMachine")) {
		const char *waits =
			str_at(o, ".status.virtualMachineStatus.reason");

		s->all++;
		if (waits && *waits)
			snprintf(s->reason, sizeof(s->reason), "%s", waits);
		s->ready += yyjson_is_true(
			at(o, ".status.virtualMachineStatus.ready"));
		s->restarts +=
			int_at(o, ".status.virtualMachineStatus.restartCount");
	}
	if (at(o, ".metadata.deletionTimestamp") &&
	    !str_eq(phase, "Succeeded") && !str_eq(phase, "Failed"))
		snprintf(s->reason, sizeof(s->reason), "%s",
			 str_eq(reason, "NodeLost") ? "Unknown"
						    : "Terminating");
}

void col_pod_ready(yyjson_val *o, int64_t now, struct buf *b)
{
	struct summary s;
	char text[48];

	summarize(o, &s);
	snprintf(text, sizeof(text), "%zu/%zu", s.ready, s.all);
	put(b, text);
	(void)now;
}

void col_pod_status(yyjson_val *o, int64_t now, struct buf *b)
{
	struct summary s;

	summarize(o, &s);
	put(b, s.reason);
	(void)now;
}

void col_pod_restarts(yyjson_val *o, int64_t now, struct buf *b)
{
	struct summary s;
	char text[32];

	summarize(o, &s);
	snprintf(text, sizeof(text), "%lld", s.restarts);
	put(b, text);
	(void)now;
}

void col_pod_gates(yyjson_val *o, int64_t now, struct buf *b)
{
	yyjson_arr_iter it =
		yyjson_arr_iter_with(at(o, ".spec.readinessGates"));
	size_t all = yyjson_arr_size(at(o, ".spec.readinessGates")), met = 0;
	yyjson_val *g, *c;
	char text[48];

	(void)now;
	if (!all) {
		put(b, NULL);
		return;
	}
	while ((g = yyjson_arr_iter_next(&it))) {
		yyjson_arr_iter in =
			yyjson_arr_iter_with(at(o, ".status.conditions"));

		while ((c = yyjson_arr_iter_next(&in)))
			met += str_eq(str_at(c, ".type"),
				      str_at(g, ".conditionType")) &&
			       str_eq(str_at(c, ".status"), "True");
	}
	snprintf(text, sizeof(text), "%zu/%zu", met, all);
	put(b, text);
}

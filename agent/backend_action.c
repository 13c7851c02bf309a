// SPDX-License-Identifier: Apache-2.0
/* Actions on VMs, asked for by the host's CLI or by the API server. */
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "agent/local/action.h"
#include "agent/action.h"
#include "agent/backend.h"
#include "agent/internal.h"
#include "agent/remote/remote.h"
#include "lib/err.h"
#include "lib/str.h"

#define US_PER_S INT64_C(1000000)

static int fill(struct action *a, const char *operation, const char *snapshot,
		uint32_t delay_s, const char *pod, struct err *e)
{
	if (action_op_parse(operation, &a->op) < 0)
		return err_set(e, -EBADMSG,
			       "Unsupported operation '%s' for Pod '%s'; want "
			       "reboot, snapshot, restore or deleteSnapshot",
			       operation, pod);
	if (delay_s > ACTION_DELAY_MAX_S)
		return err_set(e, -EINVAL, "a delay is at most %d s",
			       ACTION_DELAY_MAX_S);
	if (a->op == ACTION_REBOOT)
		return 0;
	if (snapshot && strlen(snapshot) >= sizeof(a->name))
		return err_set(e, -EINVAL,
			       "a snapshot's name has at most %d characters",
			       ACTION_NAME_MAX - 1);
	snprintf(a->name, sizeof(a->name), "%s", snapshot ? snapshot : "");
	if (a->op == ACTION_SNAPSHOT && !a->name[0])
		snprintf(a->name, sizeof(a->name), "snapshot-%lld",
			 (long long)(time_us() / US_PER_S));
	return 0;
}

static uint32_t took_ms(const struct action *a)
{
	return (uint32_t)((a->ended_us - a->begun_us) / 1000);
}

int backend_action(void *arg, const struct api_action *action,
		   struct api_action_result *ret, struct err *e)
{
	static atomic_uint counter;
	struct pod *pod = backend_pod(arg, &action->pod, e);
	struct action want = { .due_us = 0 }, got;
	int r;

	if (!pod)
		return -ENOENT;
	snprintf(want.id, sizeof(want.id), "local-%llx-%x",
		 (unsigned long long)time_us(), atomic_fetch_add(&counter, 1));
	want.due_us = time_us() + action->delay_s * US_PER_S;
	r = fill(&want, action->operation, action->snapshot, action->delay_s,
		 action->pod.name, e);
	if (r == 0)
		r = action_ask(pod, &want, &got, e);
	if (r == 0) {
		r = action_wait(pod, want.id, action->timeout_ms,
				action->cancel, &got);
		if (r == -ENOENT)
			err_set(e, -ESTALE, "the pod is gone");
	}
	pod_unref(pod);
	if (r < 0 && r != -ETIMEDOUT)
		return r == -ENOENT && e && e->code ? e->code : r;
	memcpy(ret->snapshot, got.name, sizeof(ret->snapshot));
	ret->state = r < 0                      ? API_ACTION_IN_PROGRESS
		     : got.state == ACTION_DONE ? API_ACTION_DONE
						: API_ACTION_FAILED;
	ret->took_ms = r < 0 ? 0 : took_ms(&got);
	snprintf(ret->why, sizeof(ret->why), "%s", got.error);
	return 0;
}

int backend_remote_act(void *arg, const char *key,
		       const struct remote_action *want,
		       struct remote_action_result *ret, struct err *e)
{
	struct action a = { .remote = true }, got;
	struct pod *pod = pods_find(arg, key);
	const char *name = strrchr(key, '/') + 1;
	int r = 0;

	if (!pod || (want->pod_uid && !str_eq(pod->uid, want->pod_uid)))
		r = err_set(e, -ENOENT, "Pod %s not found on this node", name);
	if (r == 0)
		r = fill(&a, want->operation, want->snapshot, want->delay_s,
			 name, e);
	snprintf(a.id, sizeof(a.id), "%s", want->id);
	a.due_us = want->asked_us + want->delay_s * US_PER_S;
	if (r == 0)
		r = action_ask(pod, &a, &got, e);
	pod_unref(pod);
	if (r < 0)
		return r;
	if (!action_has_ended(&got))
		return -EINPROGRESS;
	*ret = (struct remote_action_result){
		.begun_us = got.begun_us,
		.ended_us = got.ended_us,
		.failed = got.state == ACTION_FAILED,
	};
	memcpy(ret->snapshot, got.name, sizeof(ret->snapshot));
	snprintf(ret->error, sizeof(ret->error), "%s", got.error);
	return 0;
}

void backend_remote_told(void *arg, const char *key, const char *id)
{
	struct pod *pod = pods_find(arg, key);

	if (pod)
		action_told(pod, id);
	pod_unref(pod);
}

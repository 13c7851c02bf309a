// SPDX-License-Identifier: Apache-2.0
/*
 * PodAction: what an Action says of its pod is looked up, not believed, and
 * what cannot be done is refused at once instead of by the node. The node
 * decides again: it alone knows how things are when the turn has come.
 */
#include <errno.h>
#include <stdio.h>

#include "controlplane/apiserver/action.h"
#include "controlplane/apiserver/admission/plugins.h"
#include "controlplane/apiserver/internal.h"
#include "controlplane/client/object.h"
#include "lib/str.h"

static const char *const operations[] = { "rebootAction", "snapshotAction",
					  "restoreAction",
					  "deleteSnapshotAction" };

/* The one that is given; NULL when it is none, or more than one. */
static const char *operation_of(yyjson_mut_val *spec)
{
	const char *found = NULL;
	int nr = 0;

	for (size_t i = 0; i < ARRAY_LEN(operations); i++)
		if (yyjson_mut_obj_get(spec, operations[i])) {
			found = operations[i];
			nr++;
		}
	return nr == 1 ? found : NULL;
}

static int invalid(struct admission *a, const char *why)
{
	return admission_refuse(a, 422, "Invalid",
				"Action \"%s\" is invalid: %s", a->name, why);
}

/* --- the pod --- */

static yyjson_val *snapshots_of(yyjson_val *pod)
{
	return obj_at(pod, "status.virtualMachineStatus.snapshots");
}

static bool has_snapshot(yyjson_val *pod, const char *name)
{
	yyjson_val *list = snapshots_of(pod), *s;
	size_t i, max;

	yyjson_arr_foreach(list, i, max, s)
	{
		if (str_eq(obj_str(s, "name"), name))
			return true;
	}
	return false;
}

static int check_snapshot(struct admission *a, yyjson_val *pod,
			  const char *name)
{
	if (!action_name_ok(name))
		return invalid(a,
			       "spec.snapshotAction.snapshotName: must be "
			       "letters, digits, '-', '_' and '.', at most 63, "
			       "and begin and end with a letter or digit");
	if (has_snapshot(pod, name))
		return admission_refuse(a, 409, "AlreadyExists",
					"pod \"%s\" has a snapshot \"%s\" "
					"already: choose another name",
					obj_str(pod, "metadata.name"), name);
	if (yyjson_arr_size(snapshots_of(pod)) >= ACTION_SNAPSHOTS_MAX)
		return admission_refuse(
			a, 403, "Forbidden",
			"pod \"%s\" has %d snapshots, which is the most: "
			"delete one first",
			obj_str(pod, "metadata.name"), ACTION_SNAPSHOTS_MAX);
	return 0;
}

static int check_known(struct admission *a, yyjson_val *pod, const char *name)
{
	auto_buf struct buf names = BUF_INIT;
	yyjson_val *list = snapshots_of(pod), *s;
	size_t i, max;

	if (name && has_snapshot(pod, name))
		return 0;
	yyjson_arr_foreach(list, i, max, s)
		buf_printf(&names, "%s%s", i ? ", " : "", obj_str(s, "name"));
	return admission_refuse(a, 404, "NotFound",
				"pod \"%s\" has no snapshot \"%s\", %s%s",
				obj_str(pod, "metadata.name"), name ? name : "",
				names.len ? "only: " : "and no other",
				names.len ? buf_str(&names) : "");
}

static int check_operation(struct admission *a, yyjson_val *pod)
{
	yyjson_mut_val *spec = mut_get(a->obj, "spec");
	const char *op = operation_of(spec);
	yyjson_mut_val *params = yyjson_mut_obj_get(spec, op ? op : "");

	if (!op)
		return invalid(a, "spec: exactly one of rebootAction, "
				  "snapshotAction, restoreAction and "
				  "deleteSnapshotAction is required");
	if (strcmp(op, "rebootAction") == 0)
		return mut_int(params, "delayInSeconds", 0) <=
				       ACTION_DELAY_MAX_S
			       ? 0
			       : invalid(a, "spec.rebootAction.delayInSeconds: "
					    "must be at most 600");
	if (strcmp(op, "snapshotAction") != 0)
		return check_known(a, pod, mut_str(params, "snapshotID"));
	if (!mut_str(params, "snapshotName") ||
	    !*mut_str(params, "snapshotName"))
		mut_set_str(a->doc, a->obj, "spec.snapshotAction.snapshotName",
			    a->name);
	return check_snapshot(a, pod, mut_str(params, "snapshotName"));
}

static int check_pod(struct admission *a, yyjson_val *pod)
{
	const char *name = obj_str(pod, "metadata.name");
	const char *phase = obj_str(pod, "status.phase");

	if (!yyjson_is_obj(obj_at(pod, "spec.virtualMachine")))
		return admission_refuse(
			a, 422, "Invalid",
			"pod \"%s\" runs containers: reboot, snapshot and "
			"restore are for virtual machines",
			name);
	if (obj_at(pod, "metadata.deletionTimestamp"))
		return admission_refuse(a, 409, "Conflict",
					"pod \"%s\" is being deleted", name);
	if (!*obj_str(pod, "spec.nodeName") || strcmp(phase, "Running") != 0)
		return admission_refuse(
			a, 409, "Conflict",
			"pod \"%s\" is not running, its phase is %s%s", name,
			phase,
			strcmp(phase, "NoSchedule") == 0
				? ": set powerSpec to Running first"
				: "");
	return 0;
}

static int create(struct admission *a)
{
	const char *name = mut_str(a->obj, "spec.podName");
	auto_buf struct buf key = BUF_INIT;
	auto_ptr(object_bytes) o = NULL;
	yyjson_doc *doc = NULL;
	yyjson_val *pod;
	int r;

	if (!name || !*name)
		return invalid(a, "spec.podName: Required value");
	buf_printf(&key, "core/pods/%s/%s/%s", a->tenant, a->namespace, name);
	o = store_get(a->api->store, buf_str(&key));
	doc = object_doc(o);
	if (!doc)
		return admission_refuse(a, 404, "NotFound",
					"pods \"%s\" not found", name);
	pod = yyjson_doc_get_root(doc);
	r = check_pod(a, pod);
	if (r == 0)
		r = check_operation(a, pod);
	if (r == 0) {
		/* Copied: the pod's document does not outlive this. */
		mut_set_str(a->doc, a->obj, "spec.nodeName",
			    obj_str(pod, "spec.nodeName"));
		mut_set_str(a->doc, a->obj, "spec.podID",
			    obj_str(pod, "metadata.uid"));
	}
	yyjson_doc_free(doc);
	return r;
}

static int mutate(struct admission *a)
{
	if (a->op != ADMIT_CREATE || !admission_is(a, "", "actions") ||
	    *a->subresource)
		return 0;
	return create(a);
}

/* What was asked stays as it was asked, what has ended stays ended: else a
 * node might do something twice. */
static int validate(struct admission *a)
{
	yyjson_mut_val *was = mut_get(a->old, "status.complete");

	if (a->op != ADMIT_UPDATE || !admission_is(a, "", "actions"))
		return 0;
	if (!mut_equal(mut_get(a->obj, "spec"), mut_get(a->old, "spec")))
		return invalid(a, "spec: Forbidden: an action cannot be "
				  "changed; create another one");
	if (yyjson_mut_is_true(was) &&
	    !mut_equal(mut_get(a->obj, "status"), mut_get(a->old, "status")))
		return invalid(a, "status: Forbidden: the action is complete");
	return 0;
}

const struct admission_plugin admission_action = {
	.name = "PodAction",
	.ops = ADMIT_CREATE | ADMIT_UPDATE,
	.mutate = mutate,
	.validate = validate,
};

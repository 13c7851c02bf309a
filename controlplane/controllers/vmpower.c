// SPDX-License-Identifier: Apache-2.0
/*
 * VM power: a VM pod that was switched off is in phase NoSchedule and holds
 * nothing of its node. powerSpec Running makes it Pending again; who has its
 * disk, or the scheduler, does the rest.
 */
#include "controlplane/client/object.h"
#include "controlplane/controllers/controllers.h"
#include "lib/err.h"
#include "lib/str.h"

static void pod_changed(struct ctl *c, const struct informer_event *ev)
{
	if (ev->now && pod_facts(ev->now)->phase == POD_NO_SCHEDULE)
		ctl_add(c, ev->now->key);
}

static int sync_key(struct ctl *c, const char *key, struct err *e)
{
	auto_ptr(informer_object) o = ctl_get(c, KIND_POD, key);
	auto_free char *body = NULL;
	yyjson_doc *doc;
	bool on;

	if (!o || pod_facts(o)->phase != POD_NO_SCHEDULE ||
	    pod_facts(o)->deleting || !ctl_owns(c, o->uid))
		return 0;
	doc = informer_doc(o);
	on = str_eq(obj_str(yyjson_doc_get_root(doc),
			    "spec.virtualMachine.powerSpec"),
		    "Running");
	yyjson_doc_free(doc);
	if (!on)
		return 0;
	body = str_printf("{\"metadata\":{\"uid\":\"%s\",\"resourceVersion\":"
			  "\"%llu\"},\"status\":{\"phase\":\"Pending\"}}",
			  o->uid, (unsigned long long)o->revision);
	if (!body)
		return err_set(e, -ENOMEM, "out of memory");
	return ctl_patch(c, KIND_POD, o, "status", body, e);
}

static int begin(struct ctl *c, struct err *e)
{
	return ctl_watch(c, KIND_POD, pod_changed, e);
}

const struct controller vmpower_controller = { "vmpower", begin, sync_key,
					       NULL };

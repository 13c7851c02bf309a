// SPDX-License-Identifier: Apache-2.0
/* CustomResourceDefinitions: names are free, forced ones are the system's. */
#include "controlplane/apiserver/admission/plugins.h"
#include "controlplane/apiserver/crd.h"
#include "controlplane/apiserver/write.h"
#include "lib/str.h"

static bool is_system_crd(struct admission *a, const char *name)
{
	return strcmp(a->tenant, SYSTEM) != 0 && name &&
	       crds_is_forced(a->api, name);
}

static int crd_mutate(struct admission *a)
{
	const char *name = a->obj ? mut_str(a->obj, "metadata.name") : a->name;
	const char *why, *word = NULL;

	if (!admission_is(a, CRD_GROUP, CRD_PLURAL))
		return 0;
	if (is_system_crd(a, name))
		return a->op == ADMIT_CREATE
			       ? admission_refuse(a, 409, "AlreadyExists",
						  "There is already a system "
						  "forced CRD with the name %s",
						  name)
		       : a->op == ADMIT_DELETE
			       ? admission_refuse(a, 403, "Forbidden",
						  "Forbidden: %s is a system "
						  "CRD, it can only be deleted "
						  "by a cluster admin.",
						  name)
			       : admission_refuse(a, 403, "Forbidden",
						  "%s is a system CRD, you "
						  "cannot overwrite it.",
						  name);
	if (a->op == ADMIT_DELETE || *a->subresource || !name)
		return 0;
	if (strcmp(a->tenant, SYSTEM) != 0 &&
	    mut_get(a->obj, "spec.conversion.webhook.clientConfig.url"))
		return admission_forbid(a, "conversion webhooks of tenants are "
					   "services of theirs: use "
					   "clientConfig.service, a URL is for "
					   "the system only");
	crd_prepare(a->doc, a->obj, a->old, "");
	why = crds_conflict(a->api, a->tenant, name,
			    mut_str(a->obj, "spec.group")
				    ? mut_str(a->obj, "spec.group")
				    : "",
			    mut_get(a->obj, "spec.names"), &word);
	crd_set_status(a->doc, a->obj, why, word);
	return 0;
}

const struct admission_plugin admission_crd = {
	.name = "CustomResourceDefinition",
	.ops = ADMIT_CREATE | ADMIT_UPDATE | ADMIT_DELETE,
	.mutate = crd_mutate,
};

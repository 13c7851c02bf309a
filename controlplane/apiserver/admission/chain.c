// SPDX-License-Identifier: Apache-2.0
/* The plug-ins in their order, and how a refusal is told. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "controlplane/apiserver/admission/plugins.h"
#include "controlplane/apiserver/internal.h"
#include "lib/str.h"

/* Kubernetes' order; quota is last, since it counts what is let in. */
static const struct admission_plugin *const plugins[] = {
	&admission_namespace_lifecycle,
	&admission_limit_ranger,
	&admission_service_account,
	&admission_secrets,
	&admission_node_restriction,
	&admission_node_selector,
	&admission_priority,
	&admission_tolerations,
	&admission_storage_class,
	&admission_daemon_set,
	&admission_certificates,
	&admission_rbac,
	&admission_service,
	&admission_crd,
	&admission_action,
	&admission_policy_config,
	&admission_pod_security,
	&admission_policy,
	&admission_not_served,
	&admission_quota,
};

bool admission_is(const struct admission *a, const char *group,
		  const char *plural)
{
	return strcmp(a->type->group, group) == 0 &&
	       strcmp(a->type->plural, plural) == 0;
}

int admission_refuse(struct admission *a, int code, const char *reason,
		     const char *fmt, ...)
{
	va_list ap;

	a->code = code;
	a->reason = reason;
	va_start(ap, fmt);
	vsnprintf(a->msg, sizeof(a->msg), fmt, ap);
	va_end(ap);
	return -EACCES;
}

int admission_forbid(struct admission *a, const char *fmt, ...)
{
	size_t n;
	va_list ap;

	a->code = 403;
	a->reason = "Forbidden";
	n = snprintf(a->msg, sizeof(a->msg),
		     "%s%s%s%s%s%s is forbidden: ", a->type->plural,
		     *a->type->group ? "." : "", a->type->group,
		     *a->name ? " \"" : "", a->name, *a->name ? "\"" : "");
	if (n >= sizeof(a->msg))
		return -EACCES;
	va_start(ap, fmt);
	vsnprintf(a->msg + n, sizeof(a->msg) - n, fmt, ap);
	va_end(ap);
	return -EACCES;
}

int admission_mutate(struct admission *a)
{
	for (size_t i = 0; i < ARRAY_LEN(plugins); i++) {
		int r;

		if (!plugins[i]->mutate || !(plugins[i]->ops & a->op))
			continue;
		r = plugins[i]->mutate(a);
		if (r < 0)
			return r;
	}
	return 0;
}

int admission_validate(struct admission *a)
{
	for (size_t i = 0; i < ARRAY_LEN(plugins); i++) {
		int r;

		if (!plugins[i]->validate || !(plugins[i]->ops & a->op))
			continue;
		r = plugins[i]->validate(a);
		if (r < 0)
			return r;
	}
	return 0;
}

void admission_reply(struct admission *a)
{
	struct field_errors errs = { .nr = 1 };

	if (a->cause && *a->field) {
		errs.v[0] = (struct field_error){ FIELD_INVALID, a->field,
						  (char *)a->cause };
		reply_invalid(a->req, a->type->kind, a->name, &errs);
	} else if (a->cause) {
		reply_refused(a->req, a->code, a->reason, a->msg, a->name,
			      a->cause);
	} else {
		reply_error(a->req, a->code, a->reason, "%s", a->msg);
	}
}

// SPDX-License-Identifier: Apache-2.0
/* What this host can do for pods, found out when the agent starts. */
#include <stdio.h>
#include <string.h>

#include "agent/container/sandbox.h"
#include "agent/internal.h"
#include "agent/local/doctor.h"
#include "agent/vm/kvm_probe.h"
#include "lib/err.h"
#include "lib/log.h"
#include "lib/str.h"

/* What containers cannot do without is told now, and not by the first pod. */
static void probe_kernel(struct agent *a)
{
	struct doctor d = DOCTOR_INIT;

	doctor_kernel(&d);
	for (size_t i = 0; i < d.found.nr; i++) {
		const struct check *c = &d.found.v[i];

		if (c->verdict != VERDICT_FAILED)
			continue;
		log_error("this host cannot run pods: %s: %s; %s, and see "
			  "'arktos-node doctor'",
			  c->name, c->detail, c->remedy);
		if (!a->lacks[0])
			snprintf(a->lacks, sizeof(a->lacks),
				 "%.32s: %.120s; %.200s", c->name, c->detail,
				 c->remedy);
	}
	checks_clear(&d.found);
}

void host_probe(struct agent *a)
{
	struct kvm_verdict v = { 0 };
	struct err e = { 0 };

	if (str_eq(a->opts.accel, "tcg")) {
		snprintf(a->kvm_why, sizeof(a->kvm_why),
			 "turned off by --accel=tcg");
	} else {
		kvm_probe("/dev/kvm", &v);
		a->kvm = v.usable || str_eq(a->opts.accel, "kvm");
		snprintf(a->kvm_why, sizeof(a->kvm_why), "%s", v.why);
	}
	a->userns = sandbox_userns_probe(a->opts.state_dir, &e) == 0;
	snprintf(a->userns_why, sizeof(a->userns_why), "%.*s", 255,
		 a->userns ? "" : e.msg);
	a->memory_maps = a->userns && sandbox_memory_maps();
	if (a->kvm && !v.usable)
		log_warn("VMs run with KVM, as --accel=kvm says, but it does "
			 "not look usable: %s; --accel=auto falls back",
			 a->kvm_why);
	else
		log_info("VMs run %s: %s",
			 a->kvm ? "with KVM" : "in software (TCG)", a->kvm_why);
	if (!a->userns)
		log_warn("pods of tenants get no user namespace: %s", e.msg);
	probe_kernel(a);
}

/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTROLPLANE_CONTROLLERS_JOB_H
#define CONTROLPLANE_CONTROLLERS_JOB_H

#include "controlplane/controllers/framework.h"
#include "controlplane/controllers/job_plan.h"

#define JOB_FINALIZER "batch.kubernetes.io/job-tracking"
#define JOB_INDEX     "batch.kubernetes.io/job-completion-index"

/* One job during a sync. */
struct job {
	struct informer_object *obj;
	yyjson_val *root;
	int64_t now_s, last_s; /* last_s: the last pod's failure */
	struct job_want want;
	struct job_have have;
	struct informer_list pods;
	struct informer_object **active, **extra;
	size_t nr_active, nr_extra;
	struct index_set completed, taken;
	int64_t *make; /* indexes to be made */
	size_t nr_make;
	/* UIDs on the list from now on, and the counts without them. */
	const char **ok, **bad;
	size_t nr_ok, nr_bad;
	int64_t succeeded, failed;
	bool going, ended;
};

/* job_status.c */
int job_status(struct ctl *c, struct job *j, const struct job_plan *p,
	       struct err *e);
/* It has ended: delete it when its time to live is over. */
int job_after(struct ctl *c, struct job *j, struct err *e);

#endif /* CONTROLPLANE_CONTROLLERS_JOB_H */

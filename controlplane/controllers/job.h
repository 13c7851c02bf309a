/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTROLPLANE_CONTROLLERS_JOB_H
#define CONTROLPLANE_CONTROLLERS_JOB_H

#include "controlplane/controllers/framework.h"
#include "controlplane/controllers/job_plan.h"
#include "controlplane/controllers/job_policy.h"

#define JOB_FINALIZER "batch.kubernetes.io/job-tracking"
#define JOB_INDEX     "batch.kubernetes.io/job-completion-index"

/* The last pod of an index that failed, whose successor is still to be made:
 * what it says of failures goes over to that one, so it stays till then. */
struct job_last {
	const struct informer_object *pod; /* NULL: none */
	int32_t failures, ignored;         /* of that index before this pod */
	enum job_failure how;
};

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
	struct index_set completed, taken, failed_indexes;
	struct job_last *last; /* by index; NULL without limit per index */
	uint8_t *how;          /* enum job_failure of each of @pods */
	size_t nr_delayed;     /* pods in @last */
	struct informer_object **let; /* to be let go without being counted */
	size_t nr_let;
	int64_t *make; /* indexes to be made */
	size_t nr_make;
	/* UIDs on the list from now on, and the counts without them. */
	const char **ok, **bad;
	size_t nr_ok, nr_bad;
	int64_t succeeded, failed;
	bool going, ended;
	/* Of its end, when it is decided; @why outlives what it is about. */
	yyjson_val *decided; /* its condition; NULL: not yet */
	char why[512];
};

/* One that ended without having said how failed: it never had a node, was
 * deleted by force, or its node is gone. */
static inline bool job_pod_is_over(const struct pod_facts *f)
{
	return f->phase == POD_SUCCEEDED || f->phase == POD_FAILED ||
	       (f->deleting && (!f->scheduled || f->let_go));
}

/* job_index.c: what failures mean, of the job and of its indexes. */
int job_read_failures(struct job *j, struct err *e);
/* Has to stay, as nothing else says how often its index has failed. */
bool job_is_delayed(const struct job *j, const struct informer_object *pod);
/* The annotations of the next pod of index @i, NULL at the end. */
#define JOB_NOTES 7
struct job_notes {
	const char *v[JOB_NOTES];
	char index[24], failures[24], ignored[24];
};
void job_notes(const struct job *j, int64_t i, struct job_notes *ret);
/* Milliseconds until index @i may be tried again. */
int64_t job_index_wait_ms(const struct job *j, int64_t i);

/* job_status.c */
int job_status(struct ctl *c, struct job *j, const struct job_plan *p,
	       struct err *e);
/* It has ended: delete it when its time to live is over. */
int job_after(struct ctl *c, struct job *j, struct err *e);

#endif /* CONTROLPLANE_CONTROLLERS_JOB_H */

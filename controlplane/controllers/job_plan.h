/* SPDX-License-Identifier: Apache-2.0 */
/* What a job does next: its pods and counts in, a decision out. */
#ifndef CONTROLPLANE_CONTROLLERS_JOB_PLAN_H
#define CONTROLPLANE_CONTROLLERS_JOB_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf;

#define JOB_INDEXES_MAX 100000

/* A set of indexes, written "1,3-5,7" in the API. */
struct index_set {
	uint8_t *bits;
	int64_t size; /* indexes 0 .. size - 1 */
	int64_t count;
};

int index_set_init(struct index_set *s, int64_t size);
void index_set_clear(struct index_set *s);
bool index_set_has(const struct index_set *s, int64_t i);
void index_set_add(struct index_set *s, int64_t i);
/* Ignores what is out of range; -EINVAL when it is no such text. */
int index_set_parse(struct index_set *s, const char *text);
void index_set_format(const struct index_set *s, struct buf *b);

struct job_want {
	int64_t parallelism, completions;  /* completions -1: none given */
	int64_t backoff_limit, deadline_s; /* deadline 0: none */
	int64_t start_s, now_s;
	int64_t index_limit;        /* failures of one index; -1: not limited */
	int64_t max_failed_indexes; /* -1: all of them may */
	bool indexed, suspended;
	bool on_failure;     /* containers are restarted in their pods */
	bool replace_failed; /* a pod is replaced when it is over, not before */
};

enum job_end {
	JOB_RUNS,
	JOB_COMPLETE,
	JOB_BACKOFF,  /* BackoffLimitExceeded */
	JOB_DEADLINE, /* DeadlineExceeded */
	JOB_POD_FAILURE,
	JOB_FAILED_INDEXES,
	JOB_MAX_FAILED_INDEXES,
	JOB_SUCCESS_POLICY,
};

struct job_have {
	int64_t succeeded, failed; /* counted, and about to be */
	int64_t active, terminating, ready;
	int64_t restarts; /* of containers in active pods */
	int64_t failed_indexes;
	bool pod_failure;     /* one of those that fail the job */
	bool enough;          /* by its success policy */
	enum job_end decided; /* before; JOB_RUNS: not */
};

struct job_plan {
	enum job_end end;
	int64_t create, remove; /* pods */
	int64_t again_s;        /* 0: not by time */
};

void job_plan(const struct job_want *w, const struct job_have *h,
	      struct job_plan *ret);

/* Seconds to wait before pods are made again after @failures in a row. */
int64_t job_backoff_s(int64_t failures);

#endif /* CONTROLPLANE_CONTROLLERS_JOB_PLAN_H */

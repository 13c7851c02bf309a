// SPDX-License-Identifier: Apache-2.0
/*
 * What the failures of a job's pods mean, and how often each index has failed.
 *
 * With a limit per index, a pod says in annotations how often its index has
 * failed before it. So the last one that failed is not let go (nor counted)
 * before there is another one of that index, or none is to be.
 */
#include <stdio.h>
#include <stdlib.h>

#include "controlplane/client/object.h"
#include "controlplane/controllers/job.h"
#include "lib/err.h"
#include "lib/str.h"

#define FAILURES "batch.kubernetes.io/job-index-failure-count"
#define IGNORED  "batch.kubernetes.io/job-index-ignored-failure-count"

static int32_t note(yyjson_val *pod, const char *name)
{
	const char *s = obj_annotation(pod, name);
	int n;

	return s && str_to_int(s, &n) == 0 && n > 0 ? n : 0;
}

/* Whichever pod of the index has the most failures behind it is the last. */
static void see(struct job *j, const struct informer_object *p, yyjson_val *pod,
		enum job_failure how)
{
	int64_t i = pod_facts(p)->index;
	struct job_last *l;
	int32_t failures, ignored;

	if (!j->last || i < 0 || i >= j->want.completions ||
	    index_set_has(&j->completed, i) || index_set_has(&j->taken, i) ||
	    index_set_has(&j->failed_indexes, i))
		return;
	l = &j->last[i];
	failures = note(pod, FAILURES);
	ignored = note(pod, IGNORED);
	if (l->pod && l->failures + l->ignored > failures + ignored)
		return;
	*l = (struct job_last){ p, failures, ignored, how };
}

static int judge(struct job *j, size_t i, struct err *e)
{
	struct informer_object *p = j->pods.v[i];
	yyjson_doc *doc = informer_doc(p);
	yyjson_val *pod = yyjson_doc_get_root(doc);
	char why[sizeof(j->why)] = "";
	enum job_failure how;

	if (!pod) {
		yyjson_doc_free(doc);
		return err_set(e, -ENOMEM, "out of memory");
	}
	how = job_failure(obj_at(j->root, "spec.podFailurePolicy"), pod, why,
			  sizeof(why));
	if (how == JOB_FAILURE_OF_JOB && !j->have.pod_failure) {
		j->have.pod_failure = true;
		snprintf(j->why, sizeof(j->why), "%s", why);
	}
	j->how[i] = (uint8_t)how;
	see(j, p, pod, how);
	yyjson_doc_free(doc);
	return 0;
}

/* Indexes that get no further try. */
static void settle_indexes(struct job *j)
{
	for (int64_t i = 0; j->last && i < j->want.completions; i++) {
		struct job_last *l = &j->last[i];

		if (!l->pod)
			continue;
		if (l->how == JOB_FAILURE_OF_INDEX ||
		    (l->how != JOB_FAILURE_IGNORED &&
		     l->failures >= j->want.index_limit)) {
			index_set_add(&j->failed_indexes, i);
			l->pod = NULL;
		}
		/* At the end nobody follows. */
		if (j->decided || j->ended || j->going)
			l->pod = NULL;
		j->nr_delayed += l->pod != NULL;
	}
	j->have.failed_indexes = j->failed_indexes.count;
}

int job_read_failures(struct job *j, struct err *e)
{
	bool policy = obj_at(j->root, "spec.podFailurePolicy") != NULL;
	int r = 0;

	j->how = calloc(j->pods.nr + 1, sizeof(*j->how));
	if (!j->how)
		return err_set(e, -ENOMEM, "out of memory");
	if (j->want.index_limit >= 0) {
		j->last = calloc((size_t)j->want.completions + 1,
				 sizeof(*j->last));
		r = index_set_init(&j->failed_indexes, j->want.completions);
		if (!j->last || r < 0)
			return err_set(e, r < 0 ? r : -ENOMEM,
				       "%lld completions",
				       (long long)j->want.completions);
		(void)index_set_parse(&j->failed_indexes,
				      obj_str(j->root, "status.failedIndexes"));
	}
	for (size_t i = 0; (policy || j->last) && i < j->pods.nr && r == 0; i++)
		if (pod_facts(j->pods.v[i])->job_tracked &&
		    pod_facts(j->pods.v[i])->phase != POD_SUCCEEDED &&
		    job_pod_is_over(pod_facts(j->pods.v[i])))
			r = judge(j, i, e);
	settle_indexes(j);
	return r;
}

bool job_is_delayed(const struct job *j, const struct informer_object *pod)
{
	int64_t i = pod_facts(pod)->index;

	return j->last && i >= 0 && i < j->want.completions &&
	       j->last[i].pod == pod;
}

void job_notes(const struct job *j, int64_t i, struct job_notes *ret)
{
	const struct job_last *l = j->last ? &j->last[i] : NULL;
	int32_t failures = l ? l->failures : 0, ignored = l ? l->ignored : 0;
	size_t n = 0;

	if (l && l->pod && l->how == JOB_FAILURE_IGNORED)
		ignored++;
	else if (l && l->pod)
		failures++;
	*ret = (struct job_notes){ .v = { NULL } };
	snprintf(ret->index, sizeof(ret->index), "%lld", (long long)i);
	snprintf(ret->failures, sizeof(ret->failures), "%d", failures);
	snprintf(ret->ignored, sizeof(ret->ignored), "%d", ignored);
	ret->v[n++] = JOB_INDEX;
	ret->v[n++] = ret->index;
	if (!l)
		return;
	ret->v[n++] = FAILURES;
	ret->v[n++] = ret->failures;
	if (!ignored)
		return;
	ret->v[n++] = IGNORED;
	ret->v[n++] = ret->ignored;
}

int64_t job_index_wait_ms(const struct job *j, int64_t i)
{
	const struct job_last *l = j->last ? &j->last[i] : NULL;
	int64_t at;

	if (!l || !l->pod)
		return 0;
	at = pod_facts(l->pod)->finished_s +
	     job_backoff_s(l->failures + l->ignored + 1);
	return at > j->now_s ? (at - j->now_s) * 1000 : 0;
}

// SPDX-License-Identifier: Apache-2.0
#include <stdio.h>

#include "controlplane/client/object.h"
#include "controlplane/controllers/job.h"
#include "lib/err.h"
#include "lib/json.h"
#include "lib/str.h"

static void put_condition(struct json_out *o, const char *type,
			  const char *status, const char *reason,
			  const char *message, const char *now)
{
	json_put_object(o, NULL);
	json_put_str(o, "type", type);
	json_put_str(o, "status", status);
	json_put_str(o, "lastProbeTime", now);
	json_put_str(o, "lastTransitionTime", now);
	json_put_str(o, "reason", reason);
	json_put_str(o, "message", message);
	json_put_end(o);
}

/* Why it ends, as its conditions say it. */
struct story {
	bool ok;
	const char *reason, *message;
};

static struct story story_of(const struct job *j, enum job_end end)
{
	static const struct story all[] = {
		[JOB_COMPLETE] = { true, "CompletionsReached",
				   "Reached expected number of succeeded "
				   "pods" },
		[JOB_BACKOFF] = { false, "BackoffLimitExceeded",
				  "Job has reached the specified backoff "
				  "limit" },
		[JOB_DEADLINE] = { false, "DeadlineExceeded",
				   "Job was active longer than specified "
				   "deadline" },
		[JOB_POD_FAILURE] = { false, "PodFailurePolicy", NULL },
		[JOB_FAILED_INDEXES] = { false, "FailedIndexes",
					 "Job has failed indexes" },
		[JOB_MAX_FAILED_INDEXES] = { false, "MaxFailedIndexesExceeded",
					     "Job has exceeded the specified "
					     "maximal number of failed "
					     "indexes" },
		[JOB_SUCCESS_POLICY] = { true, "SuccessPolicy", NULL },
	};
	struct story s = all[end];

	if (j->decided) {
		s.reason = obj_str(j->decided, "reason");
		s.message = obj_str(j->decided, "message");
	}
	if (!s.message)
		s.message = j->why;
	return s;
}

static void put_end(struct json_out *o, const struct story *s, bool last,
		    const char *now)
{
	const char *type = s->ok ? "SuccessCriteriaMet" : "FailureTarget";

	if (last)
		type = s->ok ? "Complete" : "Failed";
	put_condition(o, type, "True", s->reason, s->message, now);
}

/* Whether it rests: True and False are both told, once it has rested. */
static void put_suspended(struct json_out *o, const struct job *j,
			  yyjson_val *was, const char *now)
{
	const char *want = j->want.suspended ? "True" : "False";

	if (!was && !j->want.suspended)
		return;
	if (str_eq(obj_str(was, "status"), want))
		json_put_val(o, NULL, was);
	else
		put_condition(o, "Suspended", want,
			      j->want.suspended ? "JobSuspended" : "JobResumed",
			      j->want.suspended ? "Job suspended"
						: "Job resumed",
			      now);
}

static void put_uids(struct json_out *o, const char *name, const char **v,
		     size_t nr)
{
	if (!nr)
		return;
	json_put_array(o, name);
	for (size_t i = 0; i < nr; i++)
		json_put_str(o, NULL, v[i]);
	json_put_end(o);
}

static bool same_uids(yyjson_val *list, const char **v, size_t nr)
{
	yyjson_val *x;
	size_t i, max;

	if (yyjson_arr_size(list) != nr)
		return false;
	yyjson_arr_foreach(list, i, max, x) if (!str_eq(yyjson_get_str(x),
							v[i])) return false;
	return true;
}

/* Decided it is at once: who made it so may be gone the next time. */
static bool decides_now(const struct job *j, const struct job_plan *p)
{
	return p->end != JOB_RUNS && !j->ended && !j->decided;
}

/* The end is only told when every pod has been counted. */
static bool ends_now(const struct job *j, const struct job_plan *p)
{
	return p->end != JOB_RUNS && !j->ended && !j->nr_ok && !j->nr_bad &&
	       !j->nr_active && !j->nr_extra && !j->have.terminating &&
	       !j->nr_delayed;
}

static bool is_unchanged(const struct job *j, const struct job_plan *p,
			 const char *indexes, const char *failed)
{
	yyjson_val *st = yyjson_obj_get(j->root, "status");
	yyjson_val *u = obj_at(st, "uncountedTerminatedPods");
	const char *rests = obj_condition(j->root, "Suspended");

	return obj_int(st, "active", 0) == j->have.active &&
	       obj_int(st, "ready", 0) == j->have.ready &&
	       obj_int(st, "terminating", 0) == j->have.terminating &&
	       obj_int(st, "succeeded", 0) == j->succeeded &&
	       obj_int(st, "failed", 0) == j->failed &&
	       same_uids(obj_at(u, "succeeded"), j->ok, j->nr_ok) &&
	       same_uids(obj_at(u, "failed"), j->bad, j->nr_bad) &&
	       str_eq(obj_str(st, "completedIndexes"), indexes) &&
	       str_eq(obj_str(st, "failedIndexes"), failed) &&
	       (j->ended || j->want.suspended || *obj_str(st, "startTime")) &&
	       (j->want.suspended ? str_eq(rests, "True")
				  : !str_eq(rests, "True")) &&
	       !decides_now(j, p) && !ends_now(j, p);
}

static void put_status(struct json_out *o, const struct job *j,
		       const struct job_plan *p, const struct story *end,
		       const char *indexes, const char *failed)
{
	yyjson_val *st = yyjson_obj_get(j->root, "status"), *cond;
	yyjson_val *conds = obj_at(st, "conditions");
	const char *start = obj_str(st, "startTime");
	char now[OBJ_TIME_SIZE];
	size_t i, max;

	time_format(j->now_s, now);
	json_put_i64(o, "active", j->have.active);
	json_put_i64(o, "ready", j->have.ready);
	json_put_i64(o, "terminating", j->have.terminating);
	json_put_i64(o, "succeeded", j->succeeded);
	json_put_i64(o, "failed", j->failed);
	if (j->want.indexed)
		json_put_str(o, "completedIndexes", indexes);
	if (j->last)
		json_put_str(o, "failedIndexes", failed);
	json_put_object(o, "uncountedTerminatedPods");
	put_uids(o, "succeeded", j->ok, j->nr_ok);
	put_uids(o, "failed", j->bad, j->nr_bad);
	json_put_end(o);
	if (j->want.suspended && !j->ended)
		json_put_null(o, "startTime");
	else
		json_put_str(o, "startTime", *start ? start : now);
	json_put_array(o, "conditions");
	yyjson_arr_foreach(conds, i, max,
			   cond) if (!str_eq(obj_str(cond, "type"),
					     "Suspended"))
		json_put_val(o, NULL, cond);
	put_suspended(o, j, obj_item(conds, "type", "Suspended"), now);
	if (decides_now(j, p))
		put_end(o, end, false, now);
	if (ends_now(j, p))
		put_end(o, end, true, now);
	json_put_end(o);
	if (ends_now(j, p) && end->ok)
		json_put_str(o, "completionTime", now);
}

int job_status(struct ctl *c, struct job *j, const struct job_plan *p,
	       struct err *e)
{
	auto_buf struct buf b = BUF_INIT, indexes = BUF_INIT, failed = BUF_INIT;
	struct story end;
	struct ctl_write w = { .method = "PATCH",
			       .kind = KIND_JOB,
			       .tenant = j->obj->tenant,
			       .namespace = j->obj->namespace,
			       .name = j->obj->name,
			       .sub = "status",
			       .type = "application/json-patch+json" };
	struct json_out o = JSON_OUT(&b);
	uint64_t revision = 0;
	int r;

	if (j->want.indexed) {
		index_set_format(&j->completed, &indexes);
		/* Of an indexed job, successes are indexes. */
		j->succeeded = j->completed.count - (int64_t)j->nr_ok;
		if (j->succeeded < 0)
			j->succeeded = 0;
	}
	if (j->last)
		index_set_format(&j->failed_indexes, &failed);
	if (p->end == JOB_SUCCESS_POLICY)
		snprintf(j->why, sizeof(j->why), "Matched rules at index %d",
			 job_success_rule(obj_at(j->root, "spec.successPolicy"),
					  &j->completed));
	end = story_of(j, p->end);
	if (is_unchanged(j, p, buf_str(&indexes), buf_str(&failed)))
		return 0;
	/* As a whole, and only upon what was read: counts are not merged. */
	json_put_array(&o, NULL);
	json_put_object(&o, NULL);
	json_put_str(&o, "op", "test");
	json_put_str(&o, "path", "/metadata/resourceVersion");
	json_put_fmt(&o, "value", "%llu", (unsigned long long)j->obj->revision);
	json_put_end(&o);
	json_put_object(&o, NULL);
	json_put_str(&o, "op", "add");
	json_put_str(&o, "path", "/status");
	json_put_object(&o, "value");
	put_status(&o, j, p, &end, buf_str(&indexes), buf_str(&failed));
	json_put_end(&o);
	json_put_end(&o);
	json_put_end(&o);
	if (buf_error(&b) || buf_error(&indexes) || buf_error(&failed))
		return err_set(e, -ENOMEM, "out of memory");
	w.body = buf_str(&b);
	r = ctl_write(c, &w, &revision, e);
	ctl_expect(c, j->obj->key, KIND_JOB, revision);
	if (r == -EINVAL)
		r = -ESTALE; /* the test failed */
	if (r == 0 && ends_now(j, p)) {
		j->ended = true;
		recorder_event(c->recorder, KIND_JOB, j->obj, !end.ok,
			       end.ok ? "Completed" : end.reason, "%s",
			       end.ok ? "Job completed" : end.message);
	}
	return r;
}

int job_after(struct ctl *c, struct job *j, struct err *e)
{
	int64_t ttl = obj_int(j->root, "spec.ttlSecondsAfterFinished", -1);
	yyjson_val *conds = obj_at(j->root, "status.conditions");
	int64_t at = obj_time(obj_item(conds, "type", "Complete"),
			      "lastTransitionTime");

	if (!at)
		at = obj_time(obj_item(conds, "type", "Failed"),
			      "lastTransitionTime");
	if (ttl < 0 || !at)
		return 0;
	if (at + ttl > j->now_s) {
		ctl_add_after(c, j->obj->key, (at + ttl - j->now_s) * 1000);
		return 0;
	}
	return ctl_delete(c, KIND_JOB, j->obj, NULL, e);
}

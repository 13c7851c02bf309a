// SPDX-License-Identifier: Apache-2.0
/*
 * CronJobs: a job for each time of the schedule, named after that time, so that
 * nobody, and nobody twice, makes two for one.
 */
#include <stdio.h>
#include <time.h>

#include "controlplane/client/object.h"
#include "controlplane/controllers/controllers.h"
#include "controlplane/controllers/cron.h"
#include "lib/err.h"
#include "lib/json.h"
#include "lib/str.h"

#define MISSED_MAX 100 /* more than that, and it starts afresh */

struct cj {
	struct informer_object *obj;
	yyjson_val *root, *spec;
	struct cron cron;
	struct informer_list jobs;
	int64_t now_s, last_s, due_s, next_s;
	bool forbid, replace;
};

/* Does it run (0), or how did it end ('C', 'F')? */
static char end_of(const struct informer_object *job, int64_t *ret_when)
{
	yyjson_doc *doc = informer_doc(job);
	yyjson_val *root = yyjson_doc_get_root(doc);
	char c = str_eq(obj_condition(root, "Complete"), "True") ? 'C'
		 : str_eq(obj_condition(root, "Failed"), "True") ? 'F'
								 : 0;

	*ret_when = obj_time(root, "metadata.creationTimestamp");
	yyjson_doc_free(doc);
	return c;
}

static int make_job(struct ctl *c, struct cj *j, struct err *e)
{
	yyjson_val *t = obj_at(j->spec, "jobTemplate");
	auto_buf struct buf b = BUF_INIT, owner = BUF_INIT;
	struct json_out o = JSON_OUT(&b);
	struct ctl_write w = { .method = "POST",
			       .kind = KIND_JOB,
			       .tenant = j->obj->tenant,
			       .namespace = j->obj->namespace };
	yyjson_val *labels = obj_at(t, "metadata.labels");
	yyjson_val *key, *val;
	char name[128], when[OBJ_TIME_SIZE];
	uint64_t revision = 0;
	size_t i, max;
	int r;

	snprintf(name, sizeof(name), "%.52s-%lld", j->obj->name,
		 (long long)(j->due_s / 60));
	ctl_put_owner(&owner, KIND_CRONJOB, j->obj->name, j->obj->uid);
	json_put_object(&o, NULL);
	json_put_str(&o, "apiVersion", "batch/v1");
	json_put_str(&o, "kind", "Job");
	json_put_object(&o, "metadata");
	json_put_str(&o, "name", name);
	if (labels)
		json_put_val(&o, "labels", labels);
	json_put_object(&o, "annotations");
	json_obj_foreach (obj_at(t, "metadata.annotations"), i, max, key, val)
		json_put_val(&o, yyjson_get_str(key), val);
	json_put_str(&o, "batch.kubernetes.io/cronjob-scheduled-timestamp",
		     time_format(j->due_s, when));
	json_put_end(&o);
	json_put_array(&o, "ownerReferences");
	json_put_raw(&o, NULL, buf_str(&owner), owner.len);
	json_put_end(&o);
	json_put_end(&o);
	json_put_val(&o, "spec", obj_at(t, "spec"));
	json_put_end(&o);
	if (buf_error(&b) || buf_error(&owner))
		return err_set(e, -ENOMEM, "out of memory");
	w.body = buf_str(&b);
	r = ctl_write(c, &w, &revision, e);
	ctl_expect(c, j->obj->key, KIND_JOB, revision);
	if (r == 0)
		recorder_event(c->recorder, KIND_CRONJOB, j->obj, false,
			       "SuccessfulCreate", "Created job %s", name);
	return r == -EEXIST ? 0 : r;
}

/* The latest time that has come and had no job yet; and the next one. */
static void find_times(struct cj *j, int64_t offset_s)
{
	int64_t deadline = obj_int(j->spec, "startingDeadlineSeconds", -1);
	int64_t t = j->last_s ? j->last_s
			      : obj_time(j->root, "metadata.creationTimestamp");
	int missed = 0;

	if (deadline >= 0 && t < j->now_s - deadline)
		t = j->now_s - deadline;
	for (;;) {
		j->next_s = cron_next(&j->cron, t, offset_s);
		if (!j->next_s || j->next_s > j->now_s)
			return;
		j->due_s = t = j->next_s;
		if (++missed > MISSED_MAX)
			t = j->now_s - 60;
	}
}

static int put_status(struct ctl *c, struct cj *j, int64_t last_s,
		      struct err *e)
{
	yyjson_val *st = yyjson_obj_get(j->root, "status");
	yyjson_val *was = obj_at(st, "active");
	auto_buf struct buf b = BUF_INIT;
	struct json_out o = JSON_OUT(&b);
	size_t running = 0, known = 0;
	char text[OBJ_TIME_SIZE];
	int64_t when;

	json_put_object(&o, NULL);
	json_put_object(&o, "status");
	json_put_array(&o, "active");
	for (size_t i = 0; i < j->jobs.nr; i++) {
		const struct informer_object *job = j->jobs.v[i];

		if (end_of(job, &when))
			continue;
		running++;
		known += obj_item(was, "uid", job->uid) != NULL;
		json_put_object(&o, NULL);
		json_put_str(&o, "apiVersion", "batch/v1");
		json_put_str(&o, "kind", "Job");
		json_put_str(&o, "name", job->name);
		json_put_str(&o, "namespace", job->namespace);
		json_put_str(&o, "uid", job->uid);
		json_put_end(&o);
	}
	json_put_end(&o);
	if (last_s)
		json_put_str(&o, "lastScheduleTime", time_format(last_s, text));
	json_put_end(&o);
	json_put_end(&o);
	if (running == known && yyjson_arr_size(was) == running &&
	    last_s == j->last_s)
		return 0;
	if (buf_error(&b))
		return err_set(e, -ENOMEM, "out of memory");
	return ctl_patch(c, KIND_CRONJOB, j->obj, "status", buf_str(&b), e);
}

/* Jobs that have ended, beyond how many are kept: the oldest go. */
static int clean_up(struct ctl *c, struct cj *j, char how, int64_t keep,
		    struct err *e)
{
	for (;;) {
		struct informer_object *oldest = NULL;
		int64_t nr = 0, when, least = INT64_MAX;
		size_t at = 0;
		int r;

		for (size_t i = 0; i < j->jobs.nr; i++) {
			if (end_of(j->jobs.v[i], &when) != how)
				continue;
			nr++;
			if (when < least) {
				least = when;
				oldest = j->jobs.v[i];
				at = i;
			}
		}
		if (nr <= keep)
			return 0;
		r = ctl_delete(c, KIND_JOB, oldest, NULL, e);
		if (r < 0)
			return r;
		j->jobs.v[at] = j->jobs.v[--j->jobs.nr];
		informer_unref(oldest);
	}
}

static int start(struct ctl *c, struct cj *j, struct err *e)
{
	int r = 0;

	for (size_t i = 0; i < j->jobs.nr && r == 0; i++) {
		int64_t when;

		if (end_of(j->jobs.v[i], &when))
			continue;
		if (j->forbid) {
			/* It is looked at again when that one has ended. */
			recorder_event(c->recorder, KIND_CRONJOB, j->obj, false,
				       "JobAlreadyActive",
				       "Not starting job because prior "
				       "execution is running and concurrency "
				       "policy is Forbid");
			return 0;
		}
		if (j->replace)
			r = ctl_delete(c, KIND_JOB, j->jobs.v[i], NULL, e);
	}
	if (r == 0)
		r = make_job(c, j, e);
	return r < 0 ? r : 1;
}

static int sync_cj(struct ctl *c, struct cj *j, struct err *e)
{
	int started = 0, r;

	find_times(j, 0);
	if (j->due_s && !obj_bool(j->spec, "suspend", false))
		started = start(c, j, e);
	if (started < 0)
		return started;
	r = put_status(c, j, started ? j->due_s : j->last_s, e);
	if (r == 0)
		r = clean_up(c, j, 'C',
			     obj_int(j->spec, "successfulJobsHistoryLimit", 3),
			     e);
	if (r == 0)
		r = clean_up(c, j, 'F',
			     obj_int(j->spec, "failedJobsHistoryLimit", 1), e);
	if (j->next_s)
		ctl_add_after(c, j->obj->key,
			      (j->next_s - j->now_s) * 1000 + 100);
	return r;
}

static int sync_key(struct ctl *c, const char *key, struct err *e)
{
	auto_ptr(informer_object) o = ctl_get(c, KIND_CRONJOB, key);
	struct cj j = { .obj = o, .now_s = time_now() };
	const char *policy, *zone;
	yyjson_doc *doc;
	int r = 0;

	if (!o || !ctl_owns(c, o->uid))
		return 0;
	doc = informer_doc(o);
	j.root = yyjson_doc_get_root(doc);
	j.spec = yyjson_obj_get(j.root, "spec");
	j.last_s = obj_time(j.root, "status.lastScheduleTime");
	policy = obj_str(j.spec, "concurrencyPolicy");
	zone = obj_str(j.spec, "timeZone");
	j.forbid = str_eq(policy, "Forbid");
	j.replace = str_eq(policy, "Replace");
	if (obj_at(j.root, "metadata.deletionTimestamp")) {
		;
	} else if (*zone && !str_eq(zone, "UTC") && !str_eq(zone, "Etc/UTC")) {
		recorder_event(c->recorder, KIND_CRONJOB, o, true,
			       "UnknownTimeZone",
			       "time zone %s is not known here: use UTC", zone);
	} else if (cron_parse(obj_str(j.spec, "schedule"), &j.cron, e) < 0) {
		recorder_event(c->recorder, KIND_CRONJOB, o, true,
			       "UnparseableSchedule",
			       "unparseable schedule: %s",
			       e ? e->msg : "invalid");
	} else if (informer_list(ctl_informer(c, KIND_JOB), INFORMER_BY_OWNER,
				 o->uid, &j.jobs) < 0) {
		r = err_set(e, -ENOMEM, "out of memory");
	} else {
		r = sync_cj(c, &j, e);
	}
	informer_list_clear(&j.jobs);
	yyjson_doc_free(doc);
	return r;
}

static int begin(struct ctl *c, struct err *e)
{
	int r = ctl_follow(c, KIND_CRONJOB, NULL, e);

	return r < 0 ? r : ctl_follow(c, KIND_JOB, "CronJob", e);
}

const struct controller cronjob_controller = { "cronjob", begin, sync_key,
					       NULL };

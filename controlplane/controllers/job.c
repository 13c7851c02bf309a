// SPDX-License-Identifier: Apache-2.0
/*
 * Jobs. A pod that is over counts exactly once, also when it is deleted or we
 * are killed: its UID first goes to status.uncountedTerminatedPods, then the
 * pod loses the finalizer that has kept it, and then the UID becomes one more
 * in the counts, in the same write that takes it off the list.
 */
#include "controlplane/controllers/job.h"

#include <stdio.h>

#include "controlplane/client/object.h"
#include "controlplane/controllers/controllers.h"
#include "controlplane/controllers/pods.h"
#include "lib/err.h"
#include "lib/json.h"
#include "lib/str.h"

#define UNCOUNTED_MAX 500 /* UIDs on the list at once */
#define CREATE_MAX    500

/* --- reading --- */

static bool in_list(yyjson_val *list, const char *uid)
{
	yyjson_val *v;
	size_t i, max;

	yyjson_arr_foreach(list, i, max,
			   v) if (str_eq(yyjson_get_str(v), uid)) return true;
	return false;
}

static struct informer_object *pod_of(const struct job *j, const char *uid)
{
	for (size_t i = 0; i < j->pods.nr; i++)
		if (strcmp(j->pods.v[i]->uid, uid) == 0)
			return j->pods.v[i];
	return NULL;
}

/* Those whose pods have been let go become numbers; the others stay listed. */
static void settle(struct job *j, yyjson_val *list, const char ***keep,
		   size_t *nr, int64_t *count)
{
	yyjson_val *v;
	size_t i, max;

	yyjson_arr_foreach(list, i, max, v)
	{
		const char *uid = yyjson_get_str(v);
		struct informer_object *pod = uid ? pod_of(j, uid) : NULL;

		if (pod && pod_facts(pod)->job_tracked)
			(*keep)[(*nr)++] = uid;
		else
			(*count)++;
	}
}

static int read_uncounted(struct job *j, struct err *e)
{
	yyjson_val *u = obj_at(j->root, "status.uncountedTerminatedPods");
	yyjson_val *ok = obj_at(u, "succeeded"), *bad = obj_at(u, "failed");
	size_t room = yyjson_arr_size(ok) + yyjson_arr_size(bad) + j->pods.nr;

	j->ok = calloc(room + 1, sizeof(*j->ok));
	j->bad = calloc(room + 1, sizeof(*j->bad));
	j->let = calloc(j->pods.nr + 1, sizeof(struct informer_object *));
	if (!j->ok || !j->bad || !j->let)
		return err_set(e, -ENOMEM, "out of memory");
	j->succeeded = obj_int(j->root, "status.succeeded", 0);
	j->failed = obj_int(j->root, "status.failed", 0);
	settle(j, ok, &j->ok, &j->nr_ok, &j->succeeded);
	settle(j, bad, &j->bad, &j->nr_bad, &j->failed);
	for (size_t i = 0; i < j->pods.nr; i++) {
		struct informer_object *p = j->pods.v[i];
		const struct pod_facts *f = pod_facts(p);

		if (!f->job_tracked || !job_pod_is_over(f))
			continue;
		if (in_list(ok, p->uid) || in_list(bad, p->uid) ||
		    j->nr_ok + j->nr_bad >= UNCOUNTED_MAX)
			continue;
		if (f->phase == POD_SUCCEEDED)
			j->ok[j->nr_ok++] = p->uid;
		else if (job_is_delayed(j, p))
			continue;
		else if (j->how[i] == JOB_FAILURE_IGNORED)
			j->let[j->nr_let++] = p;
		else
			j->bad[j->nr_bad++] = p->uid;
	}
	j->have.succeeded = j->want.indexed ? j->completed.count
					    : j->succeeded + (int64_t)j->nr_ok;
	j->have.failed = j->failed + (int64_t)j->nr_bad;
	return 0;
}

static int read_pods(struct job *j, struct err *e)
{
	const char *done = obj_str(j->root, "status.completedIndexes");
	int r = 0;

	if (j->want.indexed) {
		r = index_set_init(&j->completed, j->want.completions);
		if (r == 0)
			r = index_set_init(&j->taken, j->want.completions);
		if (r < 0)
			return err_set(e, r, "%lld completions",
				       (long long)j->want.completions);
		(void)index_set_parse(&j->completed, done);
	}
	for (size_t i = 0; i < j->pods.nr; i++) {
		struct informer_object *p = j->pods.v[i];
		const struct pod_facts *f = pod_facts(p);

		if (j->want.indexed && f->phase == POD_SUCCEEDED)
			index_set_add(&j->completed, f->index);
		if (job_pod_is_over(f)) {
			if (f->phase != POD_SUCCEEDED &&
			    f->finished_s > j->last_s)
				j->last_s = f->finished_s;
			continue;
		}
		if (f->deleting) {
			j->have.terminating++;
			if (j->want.replace_failed)
				index_set_add(&j->taken, f->index);
			continue;
		}
		/* Two of one index: the second is one too many. */
		if (j->want.indexed &&
		    (index_set_has(&j->taken, f->index) ||
		     index_set_has(&j->completed, f->index))) {
			j->extra[j->nr_extra++] = p;
			continue;
		}
		index_set_add(&j->taken, f->index);
		j->have.active++;
		j->have.ready += f->ready;
		j->have.restarts += f->restarts;
		j->active[j->nr_active++] = p;
	}
	j->have.enough = j->want.indexed &&
			 job_success_rule(obj_at(j->root, "spec.successPolicy"),
					  &j->completed) >= 0;
	return 0;
}

static void read_want(struct job *j)
{
	yyjson_val *spec = yyjson_obj_get(j->root, "spec");
	struct job_want *w = &j->want;

	w->parallelism = obj_int(spec, "parallelism", 1);
	w->completions = obj_int(spec, "completions", -1);
	w->backoff_limit = obj_int(spec, "backoffLimit", 6);
	w->deadline_s = obj_int(spec, "activeDeadlineSeconds", 0);
	w->suspended = obj_bool(spec, "suspend", false);
	w->indexed = str_eq(obj_str(spec, "completionMode"), "Indexed") &&
		     w->completions >= 0;
	w->start_s = obj_time(j->root, "status.startTime");
	w->now_s = j->now_s;
	w->index_limit =
		w->indexed ? obj_int(spec, "backoffLimitPerIndex", -1) : -1;
	w->max_failed_indexes = obj_int(spec, "maxFailedIndexes", -1);
	w->on_failure = str_eq(obj_str(spec, "template.spec.restartPolicy"),
			       "OnFailure");
	w->replace_failed =
		str_eq(obj_str(spec, "podReplacementPolicy"), "Failed");
}

/* Why it ends was told before its last pod had gone: that stays so. */
static void read_decided(struct job *j)
{
	yyjson_val *conds = obj_at(j->root, "status.conditions");
	yyjson_val *bad = obj_item(conds, "type", "FailureTarget");
	yyjson_val *ok = obj_item(conds, "type", "SuccessCriteriaMet");

	if (str_eq(obj_str(bad, "status"), "True"))
		j->decided = bad;
	else if (str_eq(obj_str(ok, "status"), "True"))
		j->decided = ok;
	if (j->decided)
		j->have.decided =
			j->decided == bad ? JOB_POD_FAILURE : JOB_COMPLETE;
}

/* --- pods --- */

static void index_body(void *arg, size_t i, struct buf *b)
{
	struct job *j = arg;
	char name[256];
	struct job_notes notes;
	const char *labels[] = { JOB_INDEX, notes.index, NULL };
	struct template_of t = { .owner_kind = KIND_JOB,
				 .owner = j->obj,
				 .template = obj_at(j->root, "spec.template"),
				 .annotations = notes.v,
				 .labels = labels,
				 .hostname = name,
				 .finalizer = JOB_FINALIZER,
				 .index_env = notes.index };

	job_notes(j, j->make[i], &notes);
	snprintf(name, sizeof(name), "%.200s-%s", j->obj->name, notes.index);
	ctl_pod_body(&t, b);
}

/* The lowest @nr indexes that are due. */
static int choose_indexes(struct ctl *c, struct job *j, int64_t nr,
			  struct err *e)
{
	int64_t soon = 0, n = 0;

	j->make = calloc((size_t)nr, sizeof(*j->make));
	if (!j->make)
		return err_set(e, -ENOMEM, "out of memory");
	for (int64_t i = 0; i < j->want.completions && n < nr; i++) {
		int64_t wait = job_index_wait_ms(j, i);

		if (index_set_has(&j->completed, i) ||
		    index_set_has(&j->taken, i) ||
		    index_set_has(&j->failed_indexes, i))
			continue;
		if (!wait)
			j->make[n++] = i;
		else if (!soon || wait < soon)
			soon = wait;
	}
	j->nr_make = (size_t)n;
	if (soon)
		ctl_add_after(c, j->obj->key, soon);
	return 0;
}

static int create_pods(struct ctl *c, struct job *j, int64_t nr, struct err *e)
{
	struct template_of t = { .owner_kind = KIND_JOB,
				 .owner = j->obj,
				 .template = obj_at(j->root, "spec.template"),
				 .finalizer = JOB_FINALIZER };
	struct ctl_write w = { .kind = KIND_POD,
			       .tenant = j->obj->tenant,
			       .namespace = j->obj->namespace };
	auto_buf struct buf body = BUF_INIT;
	uint64_t revision = 0;
	size_t made = 0;
	int r;

	nr = nr < CREATE_MAX ? nr : CREATE_MAX;
	if (j->want.indexed) {
		r = choose_indexes(c, j, nr, e);
		nr = (int64_t)j->nr_make;
		if (r < 0 || !nr)
			return r;
	} else {
		ctl_pod_body(&t, &body);
		w.body = buf_str(&body);
	}
	if (buf_error(&body))
		return err_set(e, -ENOMEM, "out of memory");
	r = ctl_create_many(c, &w, (size_t)nr, index_body, j, &made, &revision,
			    e);
	ctl_expect(c, j->obj->key, KIND_POD, revision);
	pods_tell(c, KIND_JOB, j->obj, made, 0, r, e);
	return r;
}

static int remove_pods(struct ctl *c, struct job *j, struct informer_object **v,
		       size_t nr, struct err *e)
{
	uint64_t revision = 0;
	size_t done;
	int r = ctl_delete_many(c, KIND_POD, v, nr, &done, &revision, e);

	ctl_expect(c, j->obj->key, KIND_POD, revision);
	pods_tell(c, KIND_JOB, j->obj, 0, done, 0, NULL);
	return r;
}

/* The pod may go: it is on the list, or nobody counts any more. */
static int release(struct ctl *c, const struct informer_object *o,
		   struct err *e)
{
	yyjson_doc *doc = informer_doc(o);
	yyjson_val *list = obj_at(yyjson_doc_get_root(doc),
				  "metadata.finalizers"),
		   *v;
	auto_buf struct buf b = BUF_INIT;
	struct json_out j = JSON_OUT(&b);
	size_t i, max;
	int r;

	json_put_object(&j, NULL);
	json_put_object(&j, "metadata");
	json_put_str(&j, "uid", o->uid);
	json_put_fmt(&j, "resourceVersion", "%llu",
		     (unsigned long long)o->revision);
	if (yyjson_arr_size(list) < 2) {
		json_put_null(&j, "finalizers");
	} else {
		json_put_array(&j, "finalizers");
		yyjson_arr_foreach(list, i, max,
				   v) if (!str_eq(yyjson_get_str(v),
						  JOB_FINALIZER))
			json_put_val(&j, NULL, v);
		json_put_end(&j);
	}
	json_put_end(&j);
	json_put_end(&j);
	yyjson_doc_free(doc);
	if (buf_error(&b))
		return err_set(e, -ENOMEM, "out of memory");
	r = ctl_patch(c, KIND_POD, o, NULL, buf_str(&b), e);
	return r == -ENOENT ? 0 : r;
}

static int release_listed(struct ctl *c, struct job *j, struct err *e)
{
	yyjson_val *u = obj_at(j->root, "status.uncountedTerminatedPods");
	int r = 0;

	for (size_t i = 0; i < j->nr_let && r == 0; i++)
		r = release(c, j->let[i], e);
	for (size_t i = 0; i < j->pods.nr && r == 0; i++) {
		struct informer_object *p = j->pods.v[i];

		if (pod_facts(p)->job_tracked &&
		    (in_list(obj_at(u, "succeeded"), p->uid) ||
		     in_list(obj_at(u, "failed"), p->uid)))
			r = release(c, p, e);
	}
	return r;
}

/* --- all of it --- */

static int act(struct ctl *c, struct job *j, const struct job_plan *p,
	       struct err *e)
{
	/* With a limit per index each index waits for itself. */
	int64_t wait =
		j->last_s && !j->last
			? j->last_s + job_backoff_s(j->have.failed) - j->now_s
			: 0;
	int r = 0;

	if (j->nr_extra)
		r = remove_pods(c, j, j->extra, j->nr_extra, e);
	if (r == 0 && p->remove)
		r = remove_pods(c, j, j->active, (size_t)p->remove, e);
	if (r == 0 && p->create && wait > 0)
		ctl_add_after(c, j->obj->key, wait * 1000);
	else if (r == 0 && p->create)
		r = create_pods(c, j, p->create, e);
	if (p->again_s)
		ctl_add_after(c, j->obj->key,
			      (p->again_s - j->now_s) * 1000 + 50);
	return r;
}

static int sync_job(struct ctl *c, struct job *j, struct err *e)
{
	struct job_plan p;
	int r = pods_claim(c, KIND_JOB, j->obj,
			   obj_at(j->root, "spec.selector"), !j->going,
			   &j->pods, e);

	if (r < 0)
		return r;
	read_want(j);
	read_decided(j);
	j->active = calloc(j->pods.nr + 1, sizeof(*j->active));
	j->extra = calloc(j->pods.nr + 1, sizeof(*j->extra));
	if (!j->active || !j->extra)
		return err_set(e, -ENOMEM, "out of memory");
	r = read_pods(j, e);
	if (r == 0)
		r = job_read_failures(j, e);
	if (r == 0)
		r = read_uncounted(j, e);
	if (r < 0)
		return r;
	job_plan(&j->want, &j->have, &p);
	/* What is written first is what must not be lost. */
	r = job_status(c, j, &p, e);
	if (r == 0)
		r = release_listed(c, j, e);
	if (r < 0 || j->going)
		return r;
	if (!j->ended && p.end == JOB_RUNS)
		return act(c, j, &p, e);
	if (j->nr_extra)
		r = remove_pods(c, j, j->extra, j->nr_extra, e);
	if (r == 0 && p.remove)
		return remove_pods(c, j, j->active, j->nr_active, e);
	return r < 0 ? r : job_after(c, j, e);
}

/* Pods of a job that is no more: nobody counts them. */
static int release_orphans(struct ctl *c, const char *key, struct err *e)
{
	auto_free char *space = strndup(key, (size_t)(strrchr(key, '/') - key));
	const char *name = strrchr(key, '/') + 1;
	auto_list struct informer_list pods = { 0 };
	int r = 0;

	if (!space || informer_list(ctl_informer(c, KIND_POD),
				    INFORMER_BY_NAMESPACE, space, &pods) < 0)
		return err_set(e, -ENOMEM, "out of memory");
	for (size_t i = 0; i < pods.nr && r == 0; i++)
		if (pod_facts(pods.v[i])->job_tracked &&
		    strcmp(pods.v[i]->owner_kind, "Job") == 0 &&
		    strcmp(pods.v[i]->owner_name, name) == 0)
			r = release(c, pods.v[i], e);
	return r;
}

static int sync_key(struct ctl *c, const char *key, struct err *e)
{
	auto_ptr(informer_object) o = ctl_get(c, KIND_JOB, key);
	struct job j = { .obj = o, .now_s = time_now() };
	yyjson_doc *doc;
	int r;

	if (!o)
		return release_orphans(c, key, e);
	if (!ctl_owns(c, o->uid))
		return 0;
	doc = informer_doc(o);
	j.root = yyjson_doc_get_root(doc);
	j.going = obj_at(j.root, "metadata.deletionTimestamp");
	j.ended = str_eq(obj_condition(j.root, "Complete"), "True") ||
		  str_eq(obj_condition(j.root, "Failed"), "True");
	r = j.root ? 0 : err_set(e, -ENOMEM, "out of memory");
	/* Run by somebody else. */
	if (r == 0 && !*obj_str(j.root, "spec.managedBy"))
		r = sync_job(c, &j, e);
	informer_list_clear(&j.pods);
	index_set_clear(&j.completed);
	index_set_clear(&j.taken);
	index_set_clear(&j.failed_indexes);
	free(j.last);
	free(j.how);
	free(j.let);
	free(j.active);
	free(j.extra);
	free(j.make);
	free(j.ok);
	free(j.bad);
	yyjson_doc_free(doc);
	return r;
}

static int begin(struct ctl *c, struct err *e)
{
	int r = ctl_follow(c, KIND_JOB, NULL, e);

	return r < 0 ? r : ctl_follow(c, KIND_POD, "Job", e);
}

const struct controller job_controller = { "job", begin, sync_key, NULL };

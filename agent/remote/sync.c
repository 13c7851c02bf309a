// SPDX-License-Identifier: Apache-2.0
/* One pod: what the API has, what is here, and the next steps. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "agent/remote/internal.h"
#include "agent/volume/payload.h"
#include "controlplane/client/rest.h"
#include "lib/err.h"
#include "lib/ev.h"
#include "lib/json.h"
#include "lib/log.h"
#include "lib/str.h"

#define STARTING_MS      100   /* so long it may take to run, unsaid, */
#define STARTING_EACH_MS 30    /* longer for each that was given before, */
#define STARTING_MAX_MS  2000  /* up to so long */
#define CONTENT_LOOK_MS  60000 /* tokens want to be renewed */
#define CONTENT_POLL_MS  10000 /* at what is not watched */
#define CONTENT_RETRY_MS 1000
#define STRATEGIC        "application/strategic-merge-patch+json"

/* A pod while it is looked at; a snapshot of both sides. */
struct job {
	struct remote *r;
	const char *key;
	yyjson_doc *api_doc;
	yyjson_val *api; /* NULL: the API has no such pod on this node */
	const char *uid, *phase, *deleted;
	int64_t grace_s;
	bool synced;
	bool is_here;
	struct remote_pod here;
	uint64_t content, silent_ms;
	char *applied, *refused, *remove_asked, *content_why, *last;
	char *not_taken;
};

static const char *text(yyjson_val *v, const char *key)
{
	return yyjson_get_str(yyjson_obj_get(v, key));
}

static int64_t now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

static int job_open(struct job *j, struct remote *r, const char *key)
{
	struct entry *en;
	char *json = NULL;
	yyjson_val *meta;
	size_t len = 0;
	int ret;

	*j = (struct job){ .r = r, .key = key };
	pthread_mutex_lock(&r->lock);
	j->synced = r->synced;
	en = entry_get(r, key, false);
	if (en) {
		json = strdup(en->json);
		len = en->len;
		j->content = en->content;
		j->silent_ms = en->silent_ms;
		j->content_why =
			en->content_why ? strdup(en->content_why) : NULL;
		j->applied = en->applied ? strdup(en->applied) : NULL;
		j->refused = en->refused ? strdup(en->refused) : NULL;
		j->not_taken = en->not_taken ? strdup(en->not_taken) : NULL;
		j->remove_asked =
			en->remove_asked ? strdup(en->remove_asked) : NULL;
		j->last = en->last ? strdup(en->last) : NULL;
	}
	pthread_mutex_unlock(&r->lock);
	if (en && !json)
		return -ENOMEM;
	if (json) {
		j->api_doc = yyjson_read(json, len, 0);
		free(json);
		if (!j->api_doc)
			return -ENOMEM;
		j->api = yyjson_doc_get_root(j->api_doc);
		meta = yyjson_obj_get(j->api, "metadata");
		j->uid = text(meta, "uid");
		j->deleted = text(meta, "deletionTimestamp");
		j->grace_s = yyjson_get_sint(
			yyjson_obj_get(meta, "deletionGracePeriodSeconds"));
		j->phase = text(yyjson_obj_get(j->api, "status"), "phase");
	}
	ret = r->o.ops->get(r->o.arg, key, &j->here);
	j->is_here = ret == 0;
	return ret == -ENOENT ? 0 : ret;
}

static void job_close(struct job *j)
{
	yyjson_doc_free(j->api_doc);
	free(j->here.json);
	free(j->applied);
	free(j->refused);
	free(j->remove_asked);
	free(j->content_why);
	free(j->not_taken);
	free(j->last);
}

/* Remember something of the entry, if it is still of this pod. */
static void remember(struct job *j, size_t offset, const char *value)
{
	struct entry *en;

	pthread_mutex_lock(&j->r->lock);
	en = entry_get(j->r, j->key, false);
	if (en && j->uid && strstr(en->json, j->uid))
		(void)str_set((char **)((char *)en + offset), value);
	pthread_mutex_unlock(&j->r->lock);
}

/* --- towards the API --- */

static int send_patch(struct job *j, const struct buf *patch, struct err *e);

static bool is_final(const char *phase)
{
	return str_eq(phase, "Succeeded") || str_eq(phase, "Failed");
}

/* A finalizer holds the pod beyond its end: whoever has put it there is to see
 * how it ended, as far as that is known. */
static int write_end(struct job *j, struct err *e)
{
	struct status_facts facts = { j->r->host_ip, now_us(), NULL };
	auto_buf struct buf patch = BUF_INIT;
	yyjson_doc *doc =
		j->last ? yyjson_read(j->last, strlen(j->last), 0) : NULL;
	yyjson_val *here = yyjson_doc_get_root(doc);
	int ret;

	if (is_final(text(yyjson_obj_get(here, "status"), "phase")))
		ret = status_patch(j->api, here, &facts, &patch);
	else
		ret = buf_printf(&patch,
				 "{\"metadata\":{\"uid\":\"%s\"},\"status\":{"
				 "\"phase\":\"Failed\",\"message\":\"The pod "
				 "was deleted, and its node does not know how "
				 "it ended\"}}",
				 j->uid) < 0
			      ? -ENOMEM
			      : 1;
	yyjson_doc_free(doc);
	return ret > 0 ? send_patch(j, &patch, e) : ret;
}

/* The pod has ended here: it may go from the API, too. */
static int finish_delete(struct job *j, struct err *e)
{
	yyjson_val *meta = yyjson_obj_get(j->api, "metadata");
	auto_buf struct buf body = BUF_INIT, answer = BUF_INIT;
	char path[PATH_SIZE];
	int status;

	if (yyjson_arr_size(yyjson_obj_get(meta, "finalizers"))) {
		if (!is_final(j->phase)) {
			status = write_end(j, e);
			if (status < 0)
				return status;
		} else if (!j->grace_s) {
			return 0; /* told before: what is left is theirs */
		}
	}
	path_of(j->key, "pods", NULL, "", path);
	buf_printf(&body,
		   "{\"kind\":\"DeleteOptions\",\"apiVersion\":\"v1\","
		   "\"gracePeriodSeconds\":0,\"preconditions\":{\"uid\":\"%s\"}"
		   "}",
		   j->uid);
	status = remote_request(j->r, "DELETE", path, buf_str(&body), NULL,
				&answer, e);
	if (status < 0)
		return status;
	/* Gone already, or another of the same name by now. */
	if (status == 404 || status == 409)
		return 0;
	if (status >= 400)
		return rest_check(status, &answer, e);
	log_info("pod %s: deleted uid=%s", j->key, j->uid);
	return 0;
}

static int send_patch(struct job *j, const struct buf *patch, struct err *e)
{
	auto_buf struct buf answer = BUF_INIT;
	char path[PATH_SIZE];
	yyjson_doc *doc;
	int status;

	path_of(j->key, "pods", NULL, "/status", path);
	status = remote_request(j->r, "PATCH", path, buf_str(patch), STRATEGIC,
				&answer, e);
	if (status < 0)
		return status;
	/* It has gone, or is another one: the watch tells. */
	if (status == 404 || status == 409)
		return 0;
	if (status >= 400)
		return rest_check(status, &answer, e);
	/* What the next patch is computed from: not the state before this. */
	doc = yyjson_read(buf_str(&answer), answer.len, 0);
	if (doc)
		pods_update(j->r, buf_str(&answer), answer.len,
			    yyjson_doc_get_root(doc), false);
	yyjson_doc_free(doc);
	return 0;
}

bool sync_must_wait(yyjson_val *api, const struct remote_pod *here)
{
	yyjson_val *list =
		yyjson_obj_get(yyjson_obj_get(api, "status"), "conditions");
	yyjson_arr_iter it = yyjson_arr_iter_with(list);
	yyjson_val *c;

	if (here->unknown)
		return true;
	if (!here->unsettled ||
	    text(yyjson_obj_get(api, "metadata"), "deletionTimestamp"))
		return false;
	while ((c = yyjson_arr_iter_next(&it)))
		if (str_eq(text(c, "type"), "Ready"))
			return str_eq(text(c, "status"), "True");
	return false;
}

/* What has just been given runs in a moment: that is told at once, and the
 * steps until then only of what takes longer. 0: now. */
static uint64_t hold_ms(const struct job *j, yyjson_val *here)
{
	uint64_t now = ev_clock_ms();
	const char *phase = text(yyjson_obj_get(here, "status"), "phase");

	if (j->deleted || now >= j->silent_ms || !str_eq(phase, "Pending") ||
	    (j->phase && !str_eq(j->phase, "Pending")))
		return 0;
	return j->silent_ms - now;
}

static int write_status(struct job *j, struct err *e)
{
	struct status_facts facts = { j->r->host_ip, now_us(), j->not_taken };
	auto_buf struct buf patch = BUF_INIT;
	yyjson_doc *doc;
	uint64_t ms;
	int ret;

	if (sync_must_wait(j->api, &j->here)) {
		(void)wq_add_after(j->r->queue, j->key, UNSETTLED_LOOK_MS);
		return 0;
	}
	doc = yyjson_read(j->here.json, j->here.len, 0);
	ms = hold_ms(j, yyjson_doc_get_root(doc));
	if (ms) {
		yyjson_doc_free(doc);
		(void)wq_add_after(j->r->queue, j->key, ms);
		return 0;
	}
	ret = doc ? status_patch(j->api, yyjson_doc_get_root(doc), &facts,
				 &patch)
		  : -ENOMEM;
	yyjson_doc_free(doc);
	return ret > 0 ? send_patch(j, &patch, e) : ret;
}

static void tell(struct job *j, const char *reason, const char *why)
{
	struct remote_event ev = {
		.key = j->key,
		.uid = j->uid,
		.reason = reason,
		.message = why,
		.warning = true,
		.first_us = now_us(),
		.last_us = now_us(),
		.count = 1,
	};

	remote_event(j->r, &ev);
}

static int write_refused(struct job *j, const char *reason, const char *why,
			 struct err *e)
{
	struct status_facts facts = { j->r->host_ip, now_us(), NULL };
	auto_buf struct buf patch = BUF_INIT;
	int ret = status_patch_refused(j->api, reason, why, &facts, &patch);

	if (ret <= 0)
		return ret;
	tell(j, reason, why);
	return send_patch(j, &patch, e);
}

/* --- towards the agent --- */

/* The object without what changes all the time and says nothing to us. */
static char *manifest_of(yyjson_val *api)
{
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *root = doc ? yyjson_val_mut_copy(doc, api) : NULL;
	yyjson_mut_val *meta = yyjson_mut_obj_get(root, "metadata");
	char *json = NULL;

	if (root) {
		yyjson_mut_doc_set_root(doc, root);
		yyjson_mut_obj_remove_key(root, "status");
		yyjson_mut_obj_remove_key(meta, "managedFields");
		yyjson_mut_obj_remove_key(meta, "resourceVersion");
		yyjson_mut_obj_remove_key(meta, "deletionTimestamp");
		yyjson_mut_obj_remove_key(meta, "deletionGracePeriodSeconds");
		json = yyjson_mut_write(doc, 0, NULL);
	}
	yyjson_mut_doc_free(doc);
	return json;
}

static void set_not_taken(struct job *j, const char *why)
{
	remember(j, offsetof(struct entry, not_taken), why);
	(void)str_set(&j->not_taken, why);
}

/* 0: the agent has it. 1: it never can, the API was told. */
static int apply_object(struct job *j, struct err *e)
{
	auto_free char *json = manifest_of(j->api);
	struct err why = { 0 };
	int ret;

	if (!json)
		return -ENOMEM;
	if (str_eq(json, j->applied))
		return j->refused ? 1 : 0;
	ret = j->r->o.ops->apply(j->r->o.arg, json, strlen(json), &why);
	if (ret == 0) {
		remember(j, offsetof(struct entry, refused), NULL);
		set_not_taken(j, NULL);
		remember(j, offsetof(struct entry, applied), json);
		return 0;
	}
	if (ret != -EINVAL && ret != -EBADMSG && ret != -E2BIG)
		return err_set(e, ret, "%s", why.msg);
	log_warn("pod %s: cannot be run as it is: %s", j->key, why.msg);
	/* It runs on as it was; it cannot become what is wished now. */
	if (j->is_here) {
		remember(j, offsetof(struct entry, applied), json);
		set_not_taken(j, why.msg);
		tell(j, "FailedUpdate", why.msg);
		return 0;
	}
	remember(j, offsetof(struct entry, refused), why.msg);
	remember(j, offsetof(struct entry, applied), json);
	ret = write_refused(j, "UnsupportedPodSpec", why.msg, e);
	return ret < 0 ? ret : 1;
}

static void set_number(struct job *j, size_t offset, uint64_t value)
{
	struct entry *en;

	pthread_mutex_lock(&j->r->lock);
	en = entry_get(j->r, j->key, false);
	if (en && j->uid && strstr(en->json, j->uid))
		*(uint64_t *)((char *)en + offset) = value;
	pthread_mutex_unlock(&j->r->lock);
}

static int apply(struct job *j, struct err *e)
{
	int ret = apply_object(j, e);

	if (ret >= 0)
		set_number(j, offsetof(struct entry, given),
			   version_of(j->api));
	return ret;
}

bool remote_pod_given(struct remote *r, const char *key, uint64_t version,
		      struct err *why)
{
	struct entry *en;
	bool given;

	pthread_mutex_lock(&r->lock);
	en = entry_get(r, key, false);
	given = en && en->given >= version;
	if (given && en->not_taken)
		err_set(why, -EINVAL, "%s", en->not_taken);
	pthread_mutex_unlock(&r->lock);
	return given;
}

/* What its volumes hold, when it is another than before. Comes again, for what
 * changes in the API. */
static void give_content(struct job *j)
{
	struct content_facts facts = { .note = BUF_INIT };
	struct payload_set *set = NULL;
	struct err e = { 0 };
	const char *note;
	uint64_t hash;
	int ret;

	if (j->refused)
		return;
	ret = content_build(j->r, j->key, j->api, &set, &facts, &e);
	note = facts.note.len ? buf_str(&facts.note) : NULL;
	if (ret < 0) {
		if (!str_eq(e.msg, j->content_why))
			tell(j, "FailedMount", e.msg);
		remember(j, offsetof(struct entry, content_why), e.msg);
		(void)wq_add_after(j->r->queue, j->key, CONTENT_RETRY_MS);
	} else if (set) {
		if (note && !str_eq(note, j->content_why))
			tell(j, "FailedToRetrieveImagePullSecret", note);
		remember(j, offsetof(struct entry, content_why), note);
		(void)wq_add_after(j->r->queue, j->key,
				   facts.lacks    ? CONTENT_RETRY_MS
				   : facts.polled ? CONTENT_POLL_MS
						  : CONTENT_LOOK_MS);
		hash = content_hash(set);
		if (hash == j->content) {
			payload_set_free(set);
		} else {
			j->r->o.ops->content(j->r->o.arg, j->key, j->uid, set);
			set_number(j, offsetof(struct entry, content), hash);
		}
	}
	buf_clear(&facts.note);
}

static uint32_t grace_left(const struct job *j)
{
	int64_t at = status_time(j->deleted);
	int64_t left = at < 0 ? j->grace_s : at - now_us() / 1000000;

	if (left > j->grace_s)
		left = j->grace_s;
	return left > 0 ? (uint32_t)left : 0;
}

static void ask_remove(struct job *j)
{
	if (str_eq(j->deleted, j->remove_asked) && j->here.deleting)
		return;
	(void)j->r->o.ops->remove(j->r->o.arg, j->key, grace_left(j));
	remember(j, offsetof(struct entry, remove_asked), j->deleted);
}

static uint32_t own_grace(const char *json, size_t len)
{
	yyjson_doc *doc = yyjson_read(json, len, 0);
	yyjson_val *spec = yyjson_obj_get(yyjson_doc_get_root(doc), "spec");
	yyjson_val *v = yyjson_obj_get(spec, "terminationGracePeriodSeconds");
	uint32_t grace = v ? (uint32_t)yyjson_get_uint(v) : 30;

	yyjson_doc_free(doc);
	return grace;
}

/* Not, or no more, in the API: what is here of it has to go. */
static int sync_gone(struct job *j)
{
	if (!j->is_here || !j->here.ours || !j->synced || j->here.deleting)
		return 0;
	log_info("pod %s: the API has it no more", j->key);
	return j->r->o.ops->remove(j->r->o.arg, j->key,
				   own_grace(j->here.json, j->here.len));
}

/* It takes its time when many are given at once: that is not told of each. */
static void begin_silence(struct job *j)
{
	uint64_t now = ev_clock_ms(), busy;

	pthread_mutex_lock(&j->r->lock);
	busy = j->r->busy_ms > now ? j->r->busy_ms : now;
	if (busy < now + STARTING_MAX_MS)
		busy += STARTING_EACH_MS;
	j->r->busy_ms = busy;
	pthread_mutex_unlock(&j->r->lock);
	set_number(j, offsetof(struct entry, silent_ms), busy + STARTING_MS);
}

static int sync_absent(struct job *j, struct err *e)
{
	int ret;

	if (j->deleted)
		return finish_delete(j, e);
	if (is_final(j->phase))
		return 0;
	/* Given before, and gone since: it is to run again. */
	if (!j->refused) {
		free(j->applied);
		j->applied = NULL;
	}
	j->content = 0;
	/* Before: it may run before apply() has returned. */
	begin_silence(j);
	ret = apply(j, e);
	if (ret == 0)
		give_content(j);
	return ret < 0 ? ret : 0;
}

static int sync_other(struct job *j, struct err *e)
{
	if (j->here.ours) {
		if (!j->here.deleting)
			(void)j->r->o.ops->remove(j->r->o.arg, j->key,
						  own_grace(j->here.json,
							    j->here.len));
		return 0; /* its end brings us here again */
	}
	if (j->deleted)
		return finish_delete(j, e);
	return write_refused(j, "NameTaken",
			     "a pod of this name was started on the node "
			     "itself; remove that one first",
			     e);
}

static int sync_key(struct job *j, struct err *e)
{
	int ret = 0;

	if (!j->api)
		return sync_gone(j);
	if (!j->is_here)
		return sync_absent(j, e);
	if (!str_eq(j->here.uid, j->uid))
		return sync_other(j, e);
	if (j->deleted)
		ask_remove(j);
	else
		ret = apply(j, e);
	if (ret == 0 && !j->deleted)
		give_content(j);
	if (ret < 0 && ret != -EBUSY)
		return ret;
	return write_status(j, e);
}

/* The API's pod of this name is the mirror of another one: that one's key is
 * looked at. One that mirrors nothing goes. */
static int sync_mirror(struct job *j, struct err *e)
{
	yyjson_val *api = j->api;
	char key[KEY_MAX];

	j->api = NULL;
	if (mirror_static_key(j->r, j->key, key) < 0)
		return mirror_remove(j->r, j->key, api, e);
	return wq_add(j->r->queue, key);
}

static int sync_both(struct job *j, struct err *e)
{
	bool mirror = mirror_is(j->api);
	char key[KEY_MAX];
	int ret = 0;

	if (mirror)
		ret = sync_mirror(j, e);
	else if (!j->api && mirror_static_key(j->r, j->key, key) == 0)
		ret = wq_add(j->r->queue, key); /* it may have been one */
	if (ret >= 0)
		ret = sync_key(j, e);
	if (ret >= 0)
		ret = mirror_sync(j->r, j->key, j->is_here ? &j->here : NULL,
				  e);
	return ret;
}

void remote_sync(struct remote *r, const char *key)
{
	struct err e = { 0 };
	struct job j;
	int ret;

	if (atomic_load(&r->stopping))
		return;
	ret = job_open(&j, r, key);
	if (ret == 0)
		ret = sync_both(&j, &e);
	job_close(&j);
	/* Behind the status, which has the snapshots. */
	if (ret >= 0)
		ret = actions_sync(r, key, &e);
	if (ret >= 0) {
		wq_forget(r->queue, key);
		return;
	}
	if (wq_failures(r->queue, key) == 0 && atomic_load(&r->connected))
		log_warn("pod %s: %s, retrying", key, e.msg);
	(void)wq_backoff(r->queue, key);
}

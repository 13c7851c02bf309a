// SPDX-License-Identifier: Apache-2.0
/*
 * Actions of the API on pods of this node. That one is done once is the
 * agent's promise (struct remote_ops.act, by the Action's uid); here it is
 * asked until it has ended, and the Action told until it says so.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "agent/remote/internal.h"
#include "controlplane/client/rest.h"
#include "lib/err.h"
#include "lib/json.h"
#include "lib/log.h"
#include "lib/str.h"

#define MERGE        "application/merge-patch+json"
#define TOGETHER_MAX 128 /* of one pod at a time; the rest follows */
#define AGAIN_MS     200

/* One that has not ended yet, as far as the API knows. */
struct action_entry {
	char *pod;  /* key */
	char *json; /* the Action */
	size_t len;
	uint64_t version;
	bool seen;
};

void action_entry_free(void *p)
{
	struct action_entry *en = p;

	if (!en)
		return;
	free(en->pod);
	free(en->json);
	free(en);
}

static const char *text(yyjson_val *v, const char *key)
{
	return yyjson_get_str(yyjson_obj_get(v, key));
}

/* "TENANT/NAMESPACE/POD" of the pod that an Action is about. */
static int pod_key_of(yyjson_val *obj, char key[KEY_MAX])
{
	const char *pod = text(yyjson_obj_get(obj, "spec"), "podName");
	char *slash;

	if (!pod || key_of(obj, key) < 0)
		return -EINVAL;
	slash = strrchr(key, '/');
	if ((size_t)(slash + 1 - key) + strlen(pod) >= KEY_MAX)
		return -EINVAL;
	memcpy(slash + 1, pod, strlen(pod) + 1);
	return 0;
}

void actions_start(struct remote *r)
{
	struct map_iter at = MAP_ITER_INIT;

	pthread_mutex_lock(&r->lock);
	while (map_next(&r->actions, &at))
		((struct action_entry *)at.value)->seen = false;
	pthread_mutex_unlock(&r->lock);
}

void actions_end(struct remote *r)
{
	struct map_iter at = MAP_ITER_INIT;

	pthread_mutex_lock(&r->lock);
	while (map_next(&r->actions, &at)) {
		struct action_entry *en = at.value;

		if (en->seen)
			continue;
		map_del(&r->actions, at.key);
		action_entry_free(en);
	}
	pthread_mutex_unlock(&r->lock);
}

static struct action_entry *entry_new(const char *pod, const char *json,
				      size_t len, uint64_t version)
{
	struct action_entry *en = calloc(1, sizeof(*en));

	if (!en)
		return NULL;
	en->pod = strdup(pod);
	en->json = strndup(json, len);
	en->len = len;
	en->version = version;
	en->seen = true;
	if (en->pod && en->json)
		return en;
	action_entry_free(en);
	return NULL;
}

void actions_update(struct remote *r, const char *json, size_t len,
		    yyjson_val *obj, bool gone)
{
	char key[KEY_MAX], pod[KEY_MAX];
	struct action_entry *en = NULL;
	void *old = NULL;

	if (key_of(obj, key) < 0 || pod_key_of(obj, pod) < 0)
		return;
	gone = gone ||
	       yyjson_get_bool(yyjson_obj_get(yyjson_obj_get(obj, "status"),
					      "complete"));
	if (!gone)
		en = entry_new(pod, json, len, version_of(obj));
	pthread_mutex_lock(&r->lock);
	if (gone)
		old = map_del(&r->actions, key);
	else if (en && map_set(&r->actions, key, en, &old) < 0)
		old = en;
	pthread_mutex_unlock(&r->lock);
	action_entry_free(old);
	if (!gone)
		(void)wq_add(r->queue, pod);
}

/* --- one Action --- */

static int64_t asked_us(yyjson_val *obj)
{
	int64_t s = status_time(
		text(yyjson_obj_get(obj, "metadata"), "creationTimestamp"));

	return s < 0 ? 0 : s * 1000000;
}

/* Which operation it is; NULL: none that is known here. */
static const char *operation_of(yyjson_val *spec, yyjson_val **params)
{
	static const char *const known[][2] = {
		{ "rebootAction", "reboot" },
		{ "snapshotAction", "snapshot" },
		{ "restoreAction", "restore" },
		{ "deleteSnapshotAction", "deleteSnapshot" },
	};

	for (size_t i = 0; i < ARRAY_LEN(known); i++) {
		*params = yyjson_obj_get(spec, known[i][0]);
		if (*params)
			return known[i][1];
	}
	return NULL;
}

static void put_time(struct json_out *o, const char *key, int64_t us)
{
	time_t s = (time_t)(us / 1000000);
	char buf[32];
	struct tm tm;

	if (us <= 0)
		return;
	gmtime_r(&s, &tm);
	strftime(buf, sizeof(buf), "%Y-%m-%dT%H:%M:%SZ", &tm);
	json_put_str(o, key, buf);
}

static void put_success(struct json_out *o, const char *operation,
			const struct remote_action_result *res)
{
	if (strcmp(operation, "snapshot") == 0) {
		json_put_object(o, "snapshotStatus");
		json_put_str(o, "snapshotID", res->snapshot);
	} else if (strcmp(operation, "restore") == 0) {
		json_put_object(o, "restoreStatus");
		json_put_bool(o, "restoreSuccessful", true);
	} else if (strcmp(operation, "reboot") == 0) {
		json_put_object(o, "rebootStatus");
		json_put_bool(o, "rebootSuccessful", true);
	} else {
		json_put_object(o, "deleteSnapshotStatus");
		json_put_bool(o, "deleteSuccessful", true);
	}
	json_put_end(o);
}

/* Tell the Action, and that very one. @error: NULL when it went well. */
static int complete(struct remote *r, yyjson_val *obj, const char *operation,
		    const struct remote_action_result *res, const char *error,
		    struct err *e)
{
	auto_buf struct buf body = BUF_INIT, answer = BUF_INIT;
	yyjson_val *meta = yyjson_obj_get(obj, "metadata");
	const char *pod = text(yyjson_obj_get(obj, "spec"), "podName");
	struct json_out o = JSON_OUT(&body);
	char path[PATH_SIZE], key[KEY_MAX];
	int status;

	if (key_of(obj, key) < 0)
		return 0;
	path_of(key, "actions", NULL, "/status", path);
	json_put_object(&o, NULL);
	json_put_object(&o, "metadata");
	json_put_str(&o, "uid", text(meta, "uid"));
	json_put_end(&o);
	json_put_object(&o, "status");
	json_put_bool(&o, "complete", true);
	json_put_str(&o, "podName", pod ? pod : "");
	put_time(&o, "startTime", res->begun_us);
	put_time(&o, "completionTime", res->ended_us);
	if (res->ended_us)
		json_put_i64(&o, "durationMilliseconds",
			     (res->ended_us - res->begun_us) / 1000);
	if (error)
		json_put_str(&o, "error", error);
	else
		put_success(&o, operation, res);
	json_put_end(&o);
	json_put_end(&o);
	status = remote_request(r, "PATCH", path, buf_str(&body), MERGE,
				&answer, e);
	if (status < 0)
		return status;
	/* Gone, another one, or told before and the answer lost. */
	if (status == 404 || status == 409 || status == 422)
		return 0;
	return status >= 400 ? rest_check(status, &answer, e) : 0;
}

static void forget(struct remote *r, yyjson_val *obj)
{
	char key[KEY_MAX];
	void *old = NULL;

	if (key_of(obj, key) < 0)
		return;
	pthread_mutex_lock(&r->lock);
	old = map_del(&r->actions, key);
	pthread_mutex_unlock(&r->lock);
	action_entry_free(old);
}

/* A pod of the API, and which one it is here. */
struct target {
	const char *pod, *here; /* keys */
	bool mirror;            /* its uid is not the pod's */
};

/* 1: those behind it wait for it. */
static int one(struct remote *r, const struct target *t, yyjson_val *obj,
	       struct err *e)
{
	yyjson_val *spec = yyjson_obj_get(obj, "spec"), *params = NULL;
	const char *operation = operation_of(spec, &params);
	const char *name = text(params, "snapshotName");
	struct remote_action want = {
		.id = text(yyjson_obj_get(obj, "metadata"), "uid"),
		.pod_uid = t->mirror ? NULL : text(spec, "podID"),
		.operation = operation,
		.snapshot = name ? name : text(params, "snapshotID"),
		.asked_us = asked_us(obj),
		.delay_s = (uint32_t)yyjson_get_uint(
			yyjson_obj_get(params, "delayInSeconds")),
	};
	struct remote_action_result res = { .ended_us = 0 };
	struct err why = { 0 };
	int ret;

	if (!want.id)
		return 0;
	if (!operation)
		ret = err_set(&why, -EINVAL,
			      "this node does not know the operation");
	else
		ret = r->o.ops->act(r->o.arg, t->here, &want, &res, &why);
	if (ret == -EINPROGRESS)
		return 0;
	if (ret == -EAGAIN || ret == -ENOMEM) {
		(void)wq_add_after(r->queue, t->pod, AGAIN_MS);
		return 1;
	}
	if (ret == 0 && res.failed)
		ret = complete(r, obj, operation, &res, res.error, e);
	else if (ret == 0)
		ret = complete(r, obj, operation, &res, NULL, e);
	else
		ret = complete(r, obj, operation, &res, why.msg, e);
	if (ret < 0)
		return ret;
	r->o.ops->told(r->o.arg, t->here, want.id);
	forget(r, obj);
	return 0;
}

/* --- those of one pod --- */

struct todo {
	yyjson_doc *doc;
	uint64_t version;
};

/* As long as nobody writes to them, their versions tell their order. */
static int by_version(const void *a, const void *b)
{
	const struct todo *x = a, *y = b;

	return (x->version > y->version) - (x->version < y->version);
}

static size_t collect(struct remote *r, const char *pod, struct todo *todo)
{
	struct map_iter at = MAP_ITER_INIT;
	size_t nr = 0;

	pthread_mutex_lock(&r->lock);
	while (map_next(&r->actions, &at) && nr < TOGETHER_MAX) {
		const struct action_entry *en = at.value;

		if (strcmp(en->pod, pod) != 0)
			continue;
		todo[nr].version = en->version;
		todo[nr].doc = yyjson_read(en->json, en->len, 0);
		nr += todo[nr].doc != NULL;
	}
	pthread_mutex_unlock(&r->lock);
	return nr;
}

static int sync_target(struct remote *r, const struct target *t, struct err *e)
{
	struct todo todo[TOGETHER_MAX];
	size_t nr = collect(r, t->pod, todo);
	int ret = 0;

	qsort(todo, nr, sizeof(*todo), by_version);
	for (size_t i = 0; i < nr; i++) {
		if (ret == 0)
			ret = one(r, t, yyjson_doc_get_root(todo[i].doc), e);
		yyjson_doc_free(todo[i].doc);
	}
	return ret < 0 ? ret : 0;
}

static bool is_mirror(struct remote *r, const char *key)
{
	struct entry *en;
	bool mirror;

	pthread_mutex_lock(&r->lock);
	en = entry_get(r, key, false);
	mirror = en && en->mirror;
	pthread_mutex_unlock(&r->lock);
	return mirror;
}

int actions_sync(struct remote *r, const char *pod, struct err *e)
{
	struct target t = { pod, pod, false };
	char other[KEY_MAX];
	bool any;
	int ret;

	/* Nearly always there is none. */
	pthread_mutex_lock(&r->lock);
	any = map_len(&r->actions) > 0;
	pthread_mutex_unlock(&r->lock);
	/* Before all pods are known one that is not here may be to come. */
	if (!any || !remote_synced(r))
		return 0;
	if (is_mirror(r, pod) && mirror_static_key(r, pod, other) == 0) {
		t = (struct target){ pod, other, true };
		return sync_target(r, &t, e);
	}
	ret = sync_target(r, &t, e);
	if (ret < 0 || mirror_key(r, pod, other) < 0 || !is_mirror(r, other))
		return ret;
	t = (struct target){ other, pod, true };
	return sync_target(r, &t, e);
}

// SPDX-License-Identifier: Apache-2.0
/*
 * Pods that were given to this node itself, shown in the API: of each a mirror,
 * NAME-NODE, which says what the node runs and changes nothing. Deleted, it is
 * made again; when the pod goes, or becomes another, so does the mirror.
 *
 * Only pods of the tenant system have one: a node may write in no other.
 * Everything is done under the key of the pod on the node, never under the
 * mirror's, so that one worker at a time looks after both.
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

#define ANNOTATION "kubernetes.io/config."
#define SYSTEM     "system/"

static const char *text(yyjson_val *v, const char *key)
{
	return yyjson_get_str(yyjson_obj_get(v, key));
}

static const char *annotation(yyjson_val *pod, const char *name)
{
	return text(yyjson_obj_get(yyjson_obj_get(pod, "metadata"),
				   "annotations"),
		    name);
}

bool mirror_is(yyjson_val *pod)
{
	return annotation(pod, ANNOTATION "mirror");
}

int mirror_key(const struct remote *r, const char *key, char ret[KEY_MAX])
{
	int n;

	if (!str_starts(key, SYSTEM))
		return -ENOENT;
	n = snprintf(ret, KEY_MAX, "%s-%s", key, r->o.node_name);
	return n < KEY_MAX ? 0 : -E2BIG;
}

int mirror_static_key(const struct remote *r, const char *key,
		      char ret[KEY_MAX])
{
	size_t node = strlen(r->o.node_name), len = strlen(key);
	const char *end = key + len - node - 1;

	if (!str_starts(key, SYSTEM) || len < node + 2 || *end != '-' ||
	    end[-1] == '/' || strcmp(end + 1, r->o.node_name) != 0)
		return -ENOENT;
	memcpy(ret, key, (size_t)(end - key));
	ret[end - key] = '\0';
	return 0;
}

char *mirror_name_here(struct remote *r, const char *tenant, const char *ns,
		       const char *name)
{
	char key[KEY_MAX], own[KEY_MAX];
	struct entry *en;
	bool mirror;

	if ((size_t)snprintf(key, sizeof(key), "%s/%s/%s", tenant, ns, name) >=
		    sizeof(key) ||
	    mirror_static_key(r, key, own) < 0)
		return NULL;
	pthread_mutex_lock(&r->lock);
	en = entry_get(r, key, false);
	mirror = en && en->mirror;
	pthread_mutex_unlock(&r->lock);
	return mirror ? strdup(strrchr(own, '/') + 1) : NULL;
}

/* --- what it should be --- */

/* FNV-1a: the same in every process, as the API keeps it; map_hash() is not. */
static uint64_t hash_text(const char *text, size_t len)
{
	uint64_t h = 1469598103934665603ULL;

	for (size_t i = 0; i < len; i++)
		h = (h ^ (unsigned char)text[i]) * 1099511628211ULL;
	return h;
}

/* The order of an object's members means nothing. */
static uint64_t hash_value(yyjson_val *v, int depth)
{
	uint64_t h = (uint64_t)yyjson_get_type(v) + 1;
	yyjson_val *key, *val;
	size_t i, max, len = 0;
	char *json;

	if (depth > JSON_DEPTH_MAX)
		return h;
	if (yyjson_is_obj(v)) {
		json_obj_foreach (v, i, max, key, val)
			h += hash_text(yyjson_get_str(key),
				       yyjson_get_len(key)) *
			     (hash_value(val, depth + 1) | 1);
		return h;
	}
	if (yyjson_is_arr(v)) {
		yyjson_arr_foreach(v, i, max, val) h =
			h * 31 + hash_value(val, depth + 1);
		return h;
	}
	json = yyjson_val_write(v, 0, &len);
	h += json ? hash_text(json, len) : 0;
	free(json);
	return h;
}

/* Changes when the mirror has to be another. */
static uint64_t hash_of(yyjson_val *here, const char *node_uid)
{
	yyjson_val *meta = yyjson_obj_get(here, "metadata");
	yyjson_val *parts[] = { yyjson_obj_get(here, "spec"),
				yyjson_obj_get(meta, "labels"),
				yyjson_obj_get(meta, "annotations"),
				yyjson_obj_get(meta, "uid") };
	uint64_t h = hash_text(node_uid, strlen(node_uid));

	for (size_t i = 0; i < ARRAY_LEN(parts); i++)
		h = h * 31 + hash_value(parts[i], 0);
	return h;
}

static void put_metadata(const struct remote *r, yyjson_val *here,
			 const char *name, uint64_t hash, const char *node_uid,
			 struct json_out *o)
{
	yyjson_val *meta = yyjson_obj_get(here, "metadata"), *key, *val;
	size_t i, max;

	json_put_object(o, "metadata");
	json_put_str(o, "name", name);
	json_put_str(o, "namespace", text(meta, "namespace"));
	if (yyjson_obj_get(meta, "labels"))
		json_put_val(o, "labels", yyjson_obj_get(meta, "labels"));
	json_put_object(o, "annotations");
	json_obj_foreach (yyjson_obj_get(meta, "annotations"), i, max, key, val)
		if (!str_starts(yyjson_get_str(key), ANNOTATION))
			json_put_val(o, yyjson_get_str(key), val);
	/* The pod's events are told with its own uid, which is where kubectl
	 * looks for them. */
	json_put_str(o, ANNOTATION "mirror", text(meta, "uid"));
	json_put_fmt(o, ANNOTATION "hash", "%016llx", (unsigned long long)hash);
	json_put_str(o, ANNOTATION "source", "file");
	json_put_str(o, ANNOTATION "seen", text(meta, "creationTimestamp"));
	json_put_end(o);
	json_put_array(o, "ownerReferences");
	json_put_object(o, NULL);
	json_put_str(o, "apiVersion", "v1");
	json_put_str(o, "kind", "Node");
	json_put_str(o, "name", r->o.node_name);
	json_put_str(o, "uid", node_uid);
	json_put_bool(o, "controller", true);
	json_put_end(o);
	json_put_end(o);
	json_put_end(o);
}

/* Nothing in the API ends it, so no taint does. */
static void put_tolerations(yyjson_val *spec, struct json_out *o)
{
	yyjson_arr_iter it =
		yyjson_arr_iter_with(yyjson_obj_get(spec, "tolerations"));
	yyjson_val *t;

	json_put_array(o, "tolerations");
	while ((t = yyjson_arr_iter_next(&it)))
		json_put_val(o, NULL, t);
	json_put_object(o, NULL);
	json_put_str(o, "operator", "Exists");
	json_put_str(o, "effect", "NoExecute");
	json_put_end(o);
	json_put_end(o);
}

static void put_spec(const struct remote *r, yyjson_val *spec,
		     struct json_out *o)
{
	/* What is said otherwise here, or means nothing here. */
	static const char *const others[] = { "nodeName", "tolerations",
					      "serviceAccount",
					      "serviceAccountName",
					      "imagePullSecrets" };
	yyjson_val *key, *val;
	size_t i, max;

	json_put_object(o, "spec");
	json_obj_foreach (spec, i, max, key, val) {
		bool other = false;

		for (size_t k = 0; k < ARRAY_LEN(others); k++)
			other |= str_eq(yyjson_get_str(key), others[k]);
		if (!other)
			json_put_val(o, yyjson_get_str(key), val);
	}
	json_put_str(o, "nodeName", r->o.node_name);
	put_tolerations(spec, o);
	json_put_end(o);
}

/* --- its steps --- */

static int request(struct remote *r, const char *method, const char *path,
		   const struct buf *body, const char *type, struct err *e)
{
	auto_buf struct buf answer = BUF_INIT;
	yyjson_doc *doc;
	int status = remote_request(r, method, path, buf_str(body), type,
				    &answer, e);

	if (status < 0)
		return status;
	/* It has gone, or is another one: the watch tells. */
	if (status == 404 && !str_eq(method, "POST"))
		return 0;
	if (status == 409 && str_eq(method, "DELETE"))
		return 0;
	if (status >= 400)
		return rest_check(status, &answer, e);
	if (str_eq(method, "DELETE"))
		return 0;
	doc = yyjson_read(buf_str(&answer), answer.len, 0);
	if (doc)
		pods_update(r, buf_str(&answer), answer.len,
			    yyjson_doc_get_root(doc), false);
	yyjson_doc_free(doc);
	return 0;
}

static int create(struct remote *r, const char *key, yyjson_val *here,
		  uint64_t hash, const char *node_uid, struct err *e)
{
	auto_buf struct buf body = BUF_INIT;
	struct json_out o = JSON_OUT(&body);
	char path[PATH_SIZE];
	int ret;

	path_of(key, "pods", "", "", path);
	json_put_object(&o, NULL);
	json_put_str(&o, "apiVersion", "v1");
	json_put_str(&o, "kind", "Pod");
	put_metadata(r, here, strrchr(key, '/') + 1, hash, node_uid, &o);
	put_spec(r, yyjson_obj_get(here, "spec"), &o);
	json_put_end(&o);
	ret = request(r, "POST", path, &body, NULL, e);
	return ret < 0 ? err_wrap(e, ret, "show it in the API as %s", key) : 0;
}

static int remove_uid(struct remote *r, const char *key, const char *uid,
		      struct err *e)
{
	auto_buf struct buf body = BUF_INIT;
	char path[PATH_SIZE];

	path_of(key, "pods", NULL, "", path);
	buf_printf(&body,
		   "{\"kind\":\"DeleteOptions\",\"apiVersion\":\"v1\","
		   "\"gracePeriodSeconds\":0,\"preconditions\":{\"uid\":\"%s\"}"
		   "}",
		   uid ? uid : "");
	return request(r, "DELETE", path, &body, NULL, e);
}

int mirror_remove(struct remote *r, const char *key, yyjson_val *api,
		  struct err *e)
{
	return remove_uid(r, key, text(yyjson_obj_get(api, "metadata"), "uid"),
			  e);
}

static int update(struct remote *r, const char *key, const char *static_key,
		  yyjson_val *api, const struct remote_pod *here,
		  yyjson_val *pod, struct err *e)
{
	struct status_facts facts = { r->host_ip, (int64_t)time(NULL) * 1000000,
				      NULL };
	auto_buf struct buf patch = BUF_INIT;
	char path[PATH_SIZE];
	int ret;

	if (sync_must_wait(api, here)) {
		(void)wq_add_after(r->queue, static_key, UNSETTLED_LOOK_MS);
		return 0;
	}
	ret = status_patch(api, pod, &facts, &patch);
	if (ret <= 0)
		return ret;
	path_of(key, "pods", NULL, "/status", path);
	return request(r, "PATCH", path, &patch,
		       "application/strategic-merge-patch+json", e);
}

static bool hash_is(yyjson_val *api, uint64_t hash)
{
	char want[32];

	snprintf(want, sizeof(want), "%016llx", (unsigned long long)hash);
	return str_eq(annotation(api, ANNOTATION "hash"), want);
}

static int compare(struct remote *r, const char *static_key, const char *key,
		   yyjson_val *api, const struct remote_pod *here,
		   const char *node_uid, struct err *e)
{
	yyjson_doc *doc = here ? yyjson_read(here->json, here->len, 0) : NULL;
	yyjson_val *pod = yyjson_doc_get_root(doc);
	yyjson_val *meta = yyjson_obj_get(api, "metadata");
	uint64_t hash = pod ? hash_of(pod, node_uid) : 0;
	int ret = 0;

	if (here && !doc)
		return -ENOMEM;
	if (!api && pod && !here->deleting && *node_uid)
		ret = create(r, key, pod, hash, node_uid, e);
	else if (api && !mirror_is(api))
		; /* a pod like any other has its name, and keeps it */
	else if (api && (!pod || yyjson_obj_get(meta, "deletionTimestamp") ||
			 (*node_uid && !hash_is(api, hash))))
		ret = mirror_remove(r, key, api, e);
	else if (api)
		ret = update(r, key, static_key, api, here, pod, e);
	yyjson_doc_free(doc);
	return ret;
}

int mirror_sync(struct remote *r, const char *key,
		const struct remote_pod *here, struct err *e)
{
	yyjson_doc *doc = NULL;
	char name[KEY_MAX], node_uid[sizeof(r->node_uid)];
	struct entry *en;
	bool synced, known;
	int ret;

	if (mirror_key(r, key, name) < 0)
		return 0;
	if (here && here->ours)
		here = NULL;
	pthread_mutex_lock(&r->lock);
	synced = r->synced;
	memcpy(node_uid, r->node_uid, sizeof(node_uid));
	en = entry_get(r, name, false);
	known = en;
	if (en && (here || en->mirror))
		doc = yyjson_read(en->json, en->len, 0);
	pthread_mutex_unlock(&r->lock);
	if (!synced || (!here && !doc))
		return 0;
	if (known && !doc)
		return -ENOMEM;
	ret = compare(r, key, name, yyjson_doc_get_root(doc), here, node_uid,
		      e);
	yyjson_doc_free(doc);
	return ret;
}

static void add_key(void *to, const char *key, bool ours)
{
	if (!ours)
		(void)wq_add(to, key);
}

void mirror_node_is(struct remote *r, const char *uid)
{
	bool other;

	pthread_mutex_lock(&r->lock);
	other = strcmp(r->node_uid, uid) != 0;
	snprintf(r->node_uid, sizeof(r->node_uid), "%s", uid);
	pthread_mutex_unlock(&r->lock);
	if (other)
		(void)r->o.ops->each(r->o.arg, add_key, r->queue);
}

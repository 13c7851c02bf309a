// SPDX-License-Identifier: Apache-2.0
/* The pods bound to this node, of all tenants: a list, then what changes. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/remote/internal.h"
#include "controlplane/client/rest.h"
#include "lib/err.h"
#include "lib/http/url.h"
#include "lib/json.h"
#include "lib/log.h"
#include "lib/str.h"

#define PAUSE_MIN_MS 100
#define PAUSE_MAX_MS 5000

static void pods_path(const struct remote *r, const char *more, struct buf *b)
{
	buf_puts(b, "/api/v1/tenants/all/pods?fieldSelector=spec.nodeName%3D");
	url_encode(b, r->o.node_name);
	buf_puts(b, more);
}

static void add_key(void *to, const char *key, bool ours)
{
	(void)ours;
	(void)wq_add(to, key);
}

/* The list is all there is: what is not in it has gone. */
static void take_list(struct remote *r, yyjson_val *items)
{
	yyjson_arr_iter it = yyjson_arr_iter_with(items);
	struct map_iter at = MAP_ITER_INIT;
	yyjson_val *pod;

	pthread_mutex_lock(&r->lock);
	while (map_next(&r->pods, &at))
		((struct entry *)at.value)->seen = false;
	pthread_mutex_unlock(&r->lock);
	while ((pod = yyjson_arr_iter_next(&it))) {
		size_t len = 0;
		char *json = yyjson_val_write(pod, 0, &len);

		if (json)
			pods_update(r, json, len, pod, false);
		free(json);
	}
	pthread_mutex_lock(&r->lock);
	at = (struct map_iter)MAP_ITER_INIT;
	while (map_next(&r->pods, &at)) {
		struct entry *en = at.value;

		if (en->seen)
			continue;
		(void)wq_add(r->queue, at.key);
		map_del(&r->pods, at.key);
		entry_free(en);
	}
	r->synced = true;
	pthread_mutex_unlock(&r->lock);
	/* Everything that is here is looked at, now that we can tell. */
	(void)r->o.ops->each(r->o.arg, add_key, r->queue);
}

static int list(struct remote *r, struct link *l, uint64_t *ret_version,
		struct err *e)
{
	auto_buf struct buf path = BUF_INIT, answer = BUF_INIT;
	struct map_iter at = MAP_ITER_INIT;
	yyjson_doc *doc = NULL;
	int status;

	pods_path(r, "", &path);
	/* What comes now counts, whatever its version: the server's data may
	 * have been set back. Only what we write meanwhile is newer. */
	pthread_mutex_lock(&r->lock);
	while (map_next(&r->pods, &at))
		((struct entry *)at.value)->version = 0;
	pthread_mutex_unlock(&r->lock);
	status = link_call(l, "GET", buf_str(&path), NULL, NULL, &answer, e);
	if (status < 0 || status >= 400)
		return status < 0 ? status : rest_check(status, &answer, e);
	doc = yyjson_read(buf_str(&answer), answer.len, 0);
	if (!doc)
		return err_set(e, -EBADMSG, "the list of pods is not JSON");
	*ret_version = version_of(yyjson_doc_get_root(doc));
	take_list(r, yyjson_obj_get(yyjson_doc_get_root(doc), "items"));
	yyjson_doc_free(doc);
	return 0;
}

/* One line of the watch. -ESTALE: list again. */
static int take_event(struct remote *r, const char *line, size_t len,
		      uint64_t *version)
{
	yyjson_doc *doc = yyjson_read(line, len, 0);
	yyjson_val *root = yyjson_doc_get_root(doc);
	yyjson_val *obj = yyjson_obj_get(root, "object");
	const char *type = yyjson_get_str(yyjson_obj_get(root, "type"));
	char *json;
	size_t n = 0;
	int ret = 0;

	if (!type || !obj || str_eq(type, "ERROR")) {
		ret = -ESTALE;
	} else if (!str_eq(type, "BOOKMARK")) {
		json = yyjson_val_write(obj, 0, &n);
		if (json)
			pods_update(r, json, n, obj, str_eq(type, "DELETED"));
		else
			ret = -ESTALE;
		free(json);
	}
	if (ret == 0 && version_of(obj) > *version)
		*version = version_of(obj);
	yyjson_doc_free(doc);
	return ret;
}

static int follow(struct remote *r, struct link *l, uint64_t *version,
		  struct err *e)
{
	auto_buf struct buf path = BUF_INIT, answer = BUF_INIT;
	struct rest *c = link_rest(l, e);
	char more[128];
	const char *line;
	size_t len;
	int status;

	if (!c)
		return -EIO;
	snprintf(more, sizeof(more),
		 "&watch=1&allowWatchBookmarks=true&resourceVersion=%llu",
		 (unsigned long long)*version);
	pods_path(r, more, &path);
	status = rest_stream(c, buf_str(&path), &answer, e);
	if (status == 410)
		return -ESTALE;
	if (status != 200)
		return status < 0 ? status : rest_check(status, &answer, e);
	while ((status = rest_stream_line(c, &line, &len, e)) > 0) {
		status = take_event(r, line, len, version);
		if (status < 0)
			break;
	}
	rest_stream_end(c);
	return status;
}

void *watch_run(void *arg)
{
	struct remote *r = arg;
	struct link *l = link_take(r);
	unsigned pause = PAUSE_MIN_MS;
	uint64_t version = 0;
	bool told = false;

	while (l && !atomic_load(&r->stopping)) {
		struct err e = { 0 };
		int ret = version ? 0 : list(r, l, &version, &e);

		if (ret == 0) {
			told = false;
			pause = PAUSE_MIN_MS;
			ret = follow(r, l, &version, &e);
		}
		/* The end of a watch is its time limit; go on from there. */
		if (ret == 0)
			continue;
		if (ret == -ESTALE) {
			version = 0;
			continue;
		}
		if (!told && !atomic_load(&r->stopping))
			log_warn("watch pods: %s, retrying", e.msg);
		told = true;
		if (!remote_pause(r, pause))
			break;
		pause = pause * 2 > PAUSE_MAX_MS ? PAUSE_MAX_MS : pause * 2;
		/* A server that was away may have lost what we know. */
		version = 0;
	}
	link_give(l);
	return NULL;
}

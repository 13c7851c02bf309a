// SPDX-License-Identifier: Apache-2.0
/* What the API has for this node, of all tenants: a list, then what changes.
 * One thread for pods, one for actions. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "agent/remote/internal.h"
#include "agent/remote/retry.h"
#include "controlplane/client/rest.h"
#include "lib/err.h"
#include "lib/ev.h"
#include "lib/http/url.h"
#include "lib/json.h"
#include "lib/log.h"
#include "lib/str.h"

/* A watch that lasted so long is no part of a row of failures. */
#define STEADY_MS 1000

/* One kind of objects. */
struct feed {
	const char *what;   /* "pods" */
	const char *select; /* further terms of the field selector, encoded */
	void (*begin)(struct remote *r); /* a list is about to be asked for */
	void (*start)(struct remote *r); /* it has come */
	void (*item)(struct remote *r, const char *json, size_t len,
		     yyjson_val *obj, bool gone);
	void (*end)(struct remote *r); /* that were all */
};

/* --- pods --- */

static void add_key(void *to, const char *key, bool ours)
{
	(void)ours;
	(void)wq_add(to, key);
}

/* What comes now counts, whatever its version: the server's data may have been
 * set back. Only what we write meanwhile is newer. */
static void pods_begin(struct remote *r)
{
	struct map_iter at = MAP_ITER_INIT;

	pthread_mutex_lock(&r->lock);
	while (map_next(&r->pods, &at))
		((struct entry *)at.value)->version = 0;
	pthread_mutex_unlock(&r->lock);
}

static void pods_start(struct remote *r)
{
	struct map_iter at = MAP_ITER_INIT;

	pthread_mutex_lock(&r->lock);
	while (map_next(&r->pods, &at))
		((struct entry *)at.value)->seen = false;
	pthread_mutex_unlock(&r->lock);
}

/* The list is all there is: what is not in it has gone. */
static void pods_end(struct remote *r)
{
	struct map_iter at = MAP_ITER_INIT;

	pthread_mutex_lock(&r->lock);
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

static const struct feed pods_feed = { "pods",     "",          pods_begin,
				       pods_start, pods_update, pods_end };

static const struct feed actions_feed = {
	"actions",      ",status.complete%3Dfalse",
	actions_start,  actions_start,
	actions_update, actions_end
};

/* --- any --- */

static void path_of_feed(const struct remote *r, const struct feed *f,
			 const char *more, struct buf *b)
{
	buf_printf(b, "/api/v1/tenants/all/%s?fieldSelector=spec.nodeName%%3D",
		   f->what);
	url_encode(b, r->o.node_name);
	buf_puts(b, f->select);
	buf_puts(b, more);
}

static void take_list(struct remote *r, const struct feed *f, yyjson_val *items)
{
	yyjson_arr_iter it = yyjson_arr_iter_with(items);
	yyjson_val *obj;

	f->start(r);
	while ((obj = yyjson_arr_iter_next(&it))) {
		size_t len = 0;
		char *json = yyjson_val_write(obj, 0, &len);

		if (json)
			f->item(r, json, len, obj, false);
		free(json);
	}
	f->end(r);
}

static int list(struct remote *r, const struct feed *f, struct link *l,
		uint64_t *ret_version, struct err *e)
{
	auto_buf struct buf path = BUF_INIT, answer = BUF_INIT;
	yyjson_doc *doc = NULL;
	int status;

	path_of_feed(r, f, "", &path);
	f->begin(r);
	status = link_call(l, "GET", buf_str(&path), NULL, NULL, &answer, e);
	if (status < 0 || status >= 400)
		return status < 0 ? status : rest_check(status, &answer, e);
	doc = yyjson_read(buf_str(&answer), answer.len, 0);
	if (!doc)
		return err_set(e, -EBADMSG, "the list of %s is not JSON",
			       f->what);
	*ret_version = version_of(yyjson_doc_get_root(doc));
	take_list(r, f, yyjson_obj_get(yyjson_doc_get_root(doc), "items"));
	yyjson_doc_free(doc);
	return 0;
}

/* One line of the watch. -ESTALE: list again. */
static int take_event(struct remote *r, const struct feed *f, const char *line,
		      size_t len, uint64_t *version)
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
			f->item(r, json, n, obj, str_eq(type, "DELETED"));
		else
			ret = -ESTALE;
		free(json);
	}
	if (ret == 0 && version_of(obj) > *version)
		*version = version_of(obj);
	yyjson_doc_free(doc);
	return ret;
}

static int follow(struct remote *r, const struct feed *f, struct link *l,
		  uint64_t *version, struct err *e)
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
	path_of_feed(r, f, more, &path);
	status = rest_stream(c, buf_str(&path), &answer, e);
	if (status == 410)
		return -ESTALE;
	if (status != 200)
		return status < 0 ? status : rest_check(status, &answer, e);
	while ((status = rest_stream_line(c, &line, &len, e)) > 0) {
		status = take_event(r, f, line, len, version);
		if (status < 0)
			break;
	}
	rest_stream_end(c);
	return status;
}

static unsigned pause_ms(struct link *l, int code, struct retry *t)
{
	bool near = code == -ECONNREFUSED && l->rest && rest_is_near(l->rest);
	uint32_t dice = 0;

	(void)!getrandom(&dice, sizeof(dice), GRND_NONBLOCK);
	return retry_ms(t, near ? RETRY_NEAR : RETRY_FAR, dice);
}

static void run(struct remote *r, const struct feed *f)
{
	struct link *l = link_take(r);
	struct retry failed = { 0 };
	uint64_t began_ms;
	uint64_t version = 0;
	bool told = false;

	while (l && !atomic_load(&r->stopping)) {
		struct err e = { 0 };
		int ret = version ? 0 : list(r, f, l, &version, &e);

		if (ret == 0) {
			told = false;
			began_ms = ev_clock_ms();
			ret = follow(r, f, l, &version, &e);
			if (ev_clock_ms() - began_ms >= STEADY_MS)
				failed = (struct retry){ 0 };
		}
		/* The end of a watch is its time limit; go on from there. */
		if (ret == 0)
			continue;
		if (ret == -ESTALE) {
			version = 0;
			continue;
		}
		if (!told && !atomic_load(&r->stopping))
			log_warn("watch %s: %s, retrying", f->what, e.msg);
		told = true;
		if (!remote_pause(r, pause_ms(l, ret, &failed)))
			break;
		/* A server that was away may have lost what we know. */
		version = 0;
	}
	link_give(l);
}

void *watch_run(void *arg)
{
	run(arg, &pods_feed);
	return NULL;
}

void *actions_run(void *arg)
{
	run(arg, &actions_feed);
	return NULL;
}

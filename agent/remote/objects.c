// SPDX-License-Identifier: Apache-2.0
/* ConfigMaps, Secrets and tokens that pods of this node use: read by name, kept
 * for a moment, so that pods that share one ask once. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "agent/remote/internal.h"
#include "controlplane/client/rest.h"
#include "lib/auto.h"
#include "lib/err.h"
#include "lib/json.h"
#include "lib/str.h"

#define FRESH_MS    5000 /* younger than this is not asked for again */
#define OBJECTS_MAX 8192 /* then all are forgotten */

struct object {
	char *json; /* NULL: there is none */
	int64_t asked_ms;
	int64_t renew_ms; /* of a token; 0: as FRESH_MS says */
};

void object_free(void *p)
{
	struct object *o = p;

	if (!o)
		return;
	free(o->json);
	free(o);
}

static int64_t clock_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* What is known: 1 and a copy (or NULL), 0 nothing. @ret_fresh: good enough. */
static int lookup(struct remote *r, const char *id, char **ret, bool *ret_fresh)
{
	int64_t now = clock_ms();
	struct object *o;
	int known = 0;

	pthread_mutex_lock(&r->lock);
	o = map_get(&r->objects, id);
	if (o) {
		known = 1;
		*ret = o->json ? strdup(o->json) : NULL;
		*ret_fresh = o->renew_ms ? now < o->renew_ms
					 : now - o->asked_ms < FRESH_MS;
		if (o->json && !*ret)
			known = -ENOMEM;
	}
	pthread_mutex_unlock(&r->lock);
	return known;
}

static void keep(struct remote *r, const char *id, const char *json,
		 int64_t renew_ms)
{
	struct object *o = calloc(1, sizeof(*o));
	void *old = NULL;

	if (!o)
		return; /* asked for again, then */
	o->json = json ? strdup(json) : NULL;
	o->asked_ms = clock_ms();
	o->renew_ms = renew_ms;
	pthread_mutex_lock(&r->lock);
	if (map_len(&r->objects) >= OBJECTS_MAX)
		map_clear(&r->objects, object_free);
	if (map_set(&r->objects, id, o, &old) < 0)
		old = o;
	pthread_mutex_unlock(&r->lock);
	object_free(old);
}

int object_get(struct remote *r, const char *path, yyjson_doc **ret,
	       struct err *e)
{
	auto_buf struct buf answer = BUF_INIT;
	auto_free char *json = NULL;
	struct err why = { 0 };
	bool fresh = false;
	int status, known = lookup(r, path, &json, &fresh);

	if (known < 0)
		return known;
	if (!known || !fresh) {
		status = remote_request(r, "GET", path, NULL, NULL, &answer,
					&why);
		if (status == 200 || status == 404) {
			free(json);
			json = status == 200 ? strdup(buf_str(&answer)) : NULL;
			keep(r, path, json, 0);
		} else if (!known) { /* the last that is known will do */
			return err_set(e,
				       status < 0 ? status
						  : rest_check(status, &answer,
							       &why),
				       "%s", why.msg);
		}
	}
	if (!json)
		return -ENOENT;
	*ret = yyjson_read(json, strlen(json), 0);
	return *ret ? 0 : err_set(e, -ENOMEM, "out of memory");
}

int object_token(struct remote *r, const char *key, const char *uid,
		 const char *account, const char *audience, int64_t seconds,
		 char **ret, struct err *e)
{
	const char *ns = strchr(key, '/') + 1, *name = strchr(ns, '/') + 1;
	auto_free char *id =
		str_printf("token %s %s %s %lld", uid, account,
			   audience ? audience : "", (long long)seconds);
	auto_buf struct buf body = BUF_INIT, answer = BUF_INIT;
	struct json_out o = JSON_OUT(&body);
	char path[PATH_SIZE];
	yyjson_doc *doc;
	const char *token;
	bool fresh = false;
	int status;

	if (!id || lookup(r, id, ret, &fresh) < 0)
		return -ENOMEM;
	if (*ret && fresh)
		return 0;
	json_put_object(&o, NULL);
	json_put_str(&o, "apiVersion", "authentication.k8s.io/v1");
	json_put_str(&o, "kind", "TokenRequest");
	json_put_object(&o, "spec");
	json_put_array(&o, "audiences");
	if (audience)
		json_put_str(&o, NULL, audience);
	json_put_end(&o);
	json_put_i64(&o, "expirationSeconds", seconds);
	json_put_object(&o, "boundObjectRef");
	json_put_str(&o, "kind", "Pod");
	json_put_str(&o, "apiVersion", "v1");
	json_put_str(&o, "name", name);
	json_put_str(&o, "uid", uid);
	json_put_end(&o);
	json_put_end(&o);
	json_put_end(&o);
	path_of(key, "serviceaccounts", account, "/token", path);
	status = remote_request(r, "POST", path, buf_str(&body), NULL, &answer,
				e);
	if (status == 405) /* it makes none */
		return err_set(e, -EOPNOTSUPP,
			       "the API server makes no tokens");
	if (status < 0 || status >= 400) {
		if (*ret) /* the old one is good for some time yet */
			return 0;
		return status < 0 ? status : rest_check(status, &answer, e);
	}
	doc = yyjson_read(buf_str(&answer), answer.len, 0);
	token = yyjson_get_str(
		yyjson_obj_get(yyjson_obj_get(yyjson_doc_get_root(doc),
					      "status"),
			       "token"));
	free(*ret);
	*ret = token ? strdup(token) : NULL;
	yyjson_doc_free(doc);
	if (!*ret)
		return err_set(e, -EBADMSG, "the server sent no token");
	/* Renewed when four fifths of its life are over, as kubelet does. */
	keep(r, id, *ret, clock_ms() + seconds * 800);
	return 0;
}

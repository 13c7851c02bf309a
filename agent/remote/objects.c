// SPDX-License-Identifier: Apache-2.0
/* ConfigMaps and Secrets that pods of this node use: each is read once for all
 * pods that share it, and kept true by a watch of its own (objwatch.c) for as
 * long as somebody asks for it. And their tokens, which go with them. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "agent/remote/internal.h"
#include "agent/remote/objects.h"
#include "controlplane/client/rest.h"
#include "lib/auto.h"
#include "lib/err.h"
#include "lib/json.h"
#include "lib/str.h"

#define FRESH_MS    5000   /* younger than this is not asked for again */
#define CA_FRESH_MS 60000  /* in every namespace, and never another */
#define FORGET_MS   180000 /* nobody has asked for it */
#define OBJECTS_MAX 8192   /* then all are forgotten */
#define CA          "/configmaps/kube-root-ca.crt"

void object_free(void *p)
{
	struct object *o = p;

	if (!o)
		return;
	if (o->watch)
		o->watch->object = NULL; /* freed by who finds it so */
	free(o->json);
	free(o);
}

int64_t object_clock_ms(void)
{
	struct timespec ts;

	/* Tokens grow old also while the machine sleeps. */
	clock_gettime(CLOCK_BOOTTIME, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static bool is_live(const struct object *o)
{
	return o->immutable || (o->watch && o->watch->valid);
}

static bool is_fresh(const struct object *o, const char *id)
{
	int64_t age_ms = object_clock_ms() - o->asked_ms;

	return is_live(o) ||
	       age_ms < (str_ends(id, CA) ? CA_FRESH_MS : FRESH_MS);
}

struct known {
	char *json;
	bool fresh, live;
};

/* 1 and a copy (or NULL: there is none); 0 nothing is known. */
static int lookup(struct remote *r, const char *id, struct known *ret)
{
	struct object *o;
	int known = 0;

	*ret = (struct known){ 0 };
	pthread_mutex_lock(&r->lock);
	o = map_get(&r->objects, id);
	if (o) {
		known = 1;
		o->used_ms = object_clock_ms();
		ret->json = o->json ? strdup(o->json) : NULL;
		ret->fresh = is_fresh(o, id);
		ret->live = is_live(o) || str_ends(id, CA);
		if (o->json && !ret->json)
			known = -ENOMEM;
	}
	pthread_mutex_unlock(&r->lock);
	return known;
}

static struct object *get_or_add(struct remote *r, const char *id)
{
	struct object *o = map_get(&r->objects, id);

	if (o)
		return o;
	if (map_len(&r->objects) >= OBJECTS_MAX)
		map_clear(&r->objects, object_free);
	o = calloc(1, sizeof(*o));
	if (o && map_set(&r->objects, id, o, NULL) < 0) {
		free(o);
		o = NULL;
	}
	return o;
}

void object_set(struct object *o, char *json, bool immutable)
{
	free(o->json);
	o->json = json;
	o->immutable = immutable;
	o->asked_ms = object_clock_ms();
}

/* What is not kept is asked for again. True: it is being watched from now on,
 * or need not be. */
static bool keep(struct remote *r, const char *id, const char *json,
		 bool immutable, uint64_t version)
{
	char *copy = json ? strdup(json) : NULL;
	struct object *o;
	bool live = false;

	if (json && !copy)
		return false;
	pthread_mutex_lock(&r->lock);
	o = get_or_add(r, id);
	if (!o) {
		free(copy);
	} else {
		object_set(o, copy, immutable);
		o->used_ms = o->asked_ms;
		live = immutable || str_ends(id, CA) ||
		       (version && objwatch_start(r, o, id, version));
	}
	pthread_mutex_unlock(&r->lock);
	return live;
}

/* A list of this one tells also since when there is none. */
static int read_one(struct remote *r, const char *path, struct known *k,
		    struct err *e)
{
	auto_buf struct buf url = BUF_INIT, answer = BUF_INIT;
	yyjson_doc *doc;
	yyjson_val *item;
	bool immutable;
	int status;

	objwatch_list_path(path, &url);
	status =
		remote_request(r, "GET", buf_str(&url), NULL, NULL, &answer, e);
	if (status < 0)
		return status;
	if (status != 200)
		return rest_check(status, &answer, e);
	doc = yyjson_read(buf_str(&answer), answer.len, 0);
	if (!doc)
		return err_set(e, -EBADMSG, "the server's answer is not JSON");
	item = yyjson_arr_get_first(
		yyjson_obj_get(yyjson_doc_get_root(doc), "items"));
	immutable = yyjson_get_bool(yyjson_obj_get(item, "immutable"));
	free(k->json);
	k->json = item ? yyjson_val_write(item, 0, NULL) : NULL;
	k->live = keep(r, path, k->json, immutable,
		       version_of(yyjson_doc_get_root(doc)));
	yyjson_doc_free(doc);
	return item && !k->json ? -ENOMEM : 0;
}

int object_get(struct remote *r, const char *path, yyjson_doc **ret,
	       bool *ret_live, struct err *e)
{
	struct err why = { 0 };
	struct known k;
	int known = lookup(r, path, &k), status;

	if (known < 0)
		return known;
	if (!known || !k.fresh) {
		status = read_one(r, path, &k, &why);
		/* The last that is known will do. */
		if (status < 0 && !known) {
			free(k.json);
			return err_set(e, status, "%s", why.msg);
		}
		if (status < 0)
			k.live = false;
	}
	*ret_live = k.live;
	if (!k.json)
		return -ENOENT;
	*ret = yyjson_read(k.json, strlen(k.json), 0);
	free(k.json);
	return *ret ? 0 : err_set(e, -ENOMEM, "out of memory");
}

void objects_sweep(struct remote *r)
{
	int64_t now = object_clock_ms();
	struct map_iter it = MAP_ITER_INIT;
	const char *old;

	pthread_mutex_lock(&r->lock);
	do {
		old = NULL;
		it = (struct map_iter)MAP_ITER_INIT;
		while (!old && map_next(&r->objects, &it)) {
			const struct object *o = it.value;

			if (now - o->used_ms > FORGET_MS)
				old = it.key;
		}
		if (old)
			object_free(map_del(&r->objects, old));
	} while (old);
	pthread_mutex_unlock(&r->lock);
	objwatch_sweep(r);
}

/* --- tokens --- */

struct token {
	int64_t renew_ms; /* by object_clock_ms() */
	char text[];
};

/* Those of this very pod; NULL: it has gone. Under the lock. */
static struct map *tokens_of(struct remote *r, const char *key, const char *uid)
{
	struct entry *en = entry_get(r, key, false);

	return en && en->json && strstr(en->json, uid) ? &en->tokens : NULL;
}

/* A copy, or NULL: there is none. */
static char *token_known(struct remote *r, const char *key, const char *uid,
			 const char *id, bool *ret_fresh)
{
	const struct token *t = NULL;
	struct map *tokens;
	char *copy = NULL;

	pthread_mutex_lock(&r->lock);
	tokens = tokens_of(r, key, uid);
	if (tokens)
		t = map_get(tokens, id);
	if (t) {
		copy = strdup(t->text);
		*ret_fresh = object_clock_ms() < t->renew_ms;
	}
	pthread_mutex_unlock(&r->lock);
	return copy;
}

static void token_keep(struct remote *r, const char *key, const char *uid,
		       const char *id, const char *text, int64_t renew_ms)
{
	size_t len = strlen(text) + 1;
	struct token *t = malloc(sizeof(*t) + len);
	struct map *tokens;
	void *old = NULL;

	if (!t)
		return;
	t->renew_ms = renew_ms;
	memcpy(t->text, text, len);
	pthread_mutex_lock(&r->lock);
	tokens = tokens_of(r, key, uid);
	if (!tokens || map_set(tokens, id, t, &old) < 0)
		free(t);
	pthread_mutex_unlock(&r->lock);
	free(old);
}

int object_token(struct remote *r, const char *key, const char *uid,
		 const char *account, const char *audience, int64_t seconds,
		 char **ret, struct err *e)
{
	const char *ns = strchr(key, '/') + 1, *name = strchr(ns, '/') + 1;
	auto_free char *id =
		str_printf("%s %s %lld", account, audience ? audience : "",
			   (long long)seconds);
	auto_buf struct buf body = BUF_INIT, answer = BUF_INIT;
	struct json_out o = JSON_OUT(&body);
	char path[PATH_SIZE];
	yyjson_doc *doc;
	const char *token;
	bool fresh = false;
	int64_t given;
	int status;

	if (!id)
		return -ENOMEM;
	*ret = token_known(r, key, uid, id, &fresh);
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
	/* A server may give less than was asked for. */
	given = yyjson_get_sint(yyjson_ptr_get(yyjson_doc_get_root(doc),
					       "/spec/expirationSeconds"));
	if (given > 0 && given < seconds)
		seconds = given;
	yyjson_doc_free(doc);
	if (!*ret)
		return err_set(e, -EBADMSG, "the server sent no token");
	/* Renewed when four fifths of its life are over, as kubelet does. */
	token_keep(r, key, uid, id, *ret, object_clock_ms() + seconds * 800);
	return 0;
}

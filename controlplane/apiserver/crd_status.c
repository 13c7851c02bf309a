// SPDX-License-Identifier: Apache-2.0
/*
 * What becomes of CustomResourceDefinitions: their conditions, and their end,
 * which is the end of all objects of the type. A thread follows them; what
 * cannot be done yet is tried again.
 */
#include <stdio.h>
#include <time.h>

#include "controlplane/apiserver/missed.h"
#include "controlplane/apiserver/crd.h"
#include "controlplane/apiserver/write.h"
#include "lib/log.h"
#include "lib/str.h"

#define CLEANUP "customresourcecleanup.apiextensions.k8s.io"

/* --- status --- */

/* Versions in which objects may be stored: those there were, and the present
 * one. */
static void set_stored_versions(yyjson_mut_doc *doc, yyjson_mut_val *obj)
{
	yyjson_mut_val *list = mut_get(obj, "status.storedVersions"), *v, *s;
	const char *stored = NULL;
	size_t i, max;

	yyjson_mut_arr_foreach(mut_get(obj, "spec.versions"), i, max, v)
	{
		if (mut_bool(v, "storage"))
			stored = mut_str(v, "name");
	}
	if (!yyjson_mut_is_arr(list)) {
		list = yyjson_mut_arr(doc);
		mut_set(doc, obj, "status.storedVersions", list);
	}
	yyjson_mut_arr_foreach(list, i, max, s)
	{
		if (str_eq(yyjson_mut_get_str(s), stored))
			return;
	}
	if (stored)
		yyjson_mut_arr_add_strcpy(doc, list, stored);
}

void crd_set_status(yyjson_mut_doc *doc, yyjson_mut_val *obj,
		    const char *conflict, const char *name)
{
	yyjson_mut_val *names = mut_get(obj, "spec.names");
	char text[300];

	if (conflict) {
		snprintf(text, sizeof(text), "\"%s\" is already in use",
			 name ? name : "");
		object_condition(doc, obj, "NamesAccepted", false, conflict,
				 text);
		object_condition(doc, obj, "Established", false, "NotAccepted",
				 "not all names are accepted");
	} else {
		object_condition(doc, obj, "NamesAccepted", true, "NoConflicts",
				 "no conflicts found");
		object_condition(doc, obj, "Established", true,
				 "InitialNamesAccepted",
				 "the initial names have been accepted");
		mut_set(doc, obj, "status.acceptedNames",
			yyjson_mut_val_mut_copy(doc, names));
	}
	set_stored_versions(doc, obj);
}

/* --- the thread --- */

struct crd_follow {
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t cond;
	bool wake;
	atomic_bool stop;
};

static int commit(struct api *api, const struct object_bytes *o,
		  yyjson_mut_doc *doc, yyjson_mut_val *obj, bool remove,
		  struct err *e)
{
	const struct type *t =
		type_find(api->types, CRD_GROUP, "v1", CRD_PLURAL);
	struct store_op op = { .key = o->key,
			       .expect = STORE_MATCH,
			       .revision = o->revision,
			       .remove = remove };

	return object_commit(api, t, &op, doc, obj, e);
}

/* Objects of tenants with a definition of their own by that name stay. */
struct others {
	struct api *api;
	const char *crd;
};

static bool is_of_forced(const struct object_bytes *o, void *arg)
{
	struct others *others = arg;
	const char *tenant = strchr(strchr(o->key, '/') + 1, '/') + 1;
	auto_buf struct buf key = BUF_INIT;
	auto_ptr(object_bytes) own = NULL;

	if (str_starts(tenant, SYSTEM "/"))
		return true;
	buf_printf(&key, CRD_GROUP "/" CRD_PLURAL "/%.*s//%s",
		   (int)strcspn(tenant, "/"), tenant, others->crd);
	own = store_get(others->api->store, buf_str(&key));
	return own == NULL;
}

static int empty_type(struct api *api, const struct type_set *set,
		      const char *tenant, size_t *left, struct err *e)
{
	const struct type *t = type_stored(&set->types[0]);
	struct others others = { .api = api, .crd = set->name };
	auto_buf struct buf prefix = BUF_INIT;

	buf_printf(&prefix, "%s/%s/", t->group, t->plural);
	if (t->scope == SCOPE_CLUSTER)
		buf_puts(&prefix, "//");
	else if (!set->forced)
		buf_printf(&prefix, "%s/", tenant);
	return delete_range(api, t, buf_str(&prefix),
			    set->forced ? is_of_forced : NULL, &others, left,
			    e);
}

static void drop_finalizer(yyjson_mut_val *obj)
{
	yyjson_mut_val *list = mut_get(obj, "metadata.finalizers"), *v;
	size_t i, max;

	yyjson_mut_arr_foreach(list, i, max, v)
	{
		if (str_eq(yyjson_mut_get_str(v), CLEANUP)) {
			yyjson_mut_arr_remove(list, i);
			break;
		}
	}
	if (!yyjson_mut_arr_size(list))
		mut_remove(obj, "metadata.finalizers");
}

static bool has_finalizer(yyjson_mut_val *obj)
{
	yyjson_mut_val *v;
	size_t i, max;

	yyjson_mut_arr_foreach(mut_get(obj, "metadata.finalizers"), i, max, v)
	{
		if (str_eq(yyjson_mut_get_str(v), CLEANUP))
			return true;
	}
	return false;
}

/* Returns how much is still there. */
static size_t end_type(struct api *api, const char *tenant,
		       const struct object_bytes *o, yyjson_mut_doc *doc,
		       yyjson_mut_val *obj)
{
	auto_ptr(type_set) set = NULL;
	struct err e = { 0 };
	size_t left = 0;
	int r;

	r = set_of_crd(o, strcmp(tenant, SYSTEM) == 0, &set, &e);
	if (r == 0)
		r = empty_type(api, set, tenant, &left, &e);
	else if (r == -EINVAL)
		r = 0; /* it has never been served */
	if (r == 0 && !left) {
		drop_finalizer(obj);
		r = commit(api, o, doc, obj,
			   !yyjson_mut_arr_size(
				   mut_get(obj, "metadata.finalizers")),
			   &e);
	}
	if (r < 0 && r != -ESTALE && r != -ENOENT)
		log_warn("ending %s: %s, retrying", o->key, e.msg);
	return r < 0 ? 1 : left;
}

/* Bring one definition forward. Returns how much is left to do. */
static size_t follow(struct api *api, const struct object_bytes *o)
{
	const char *rest = o->key + strlen(CRD_GROUP "/" CRD_PLURAL "/");
	auto_free char *tenant = strndup(rest, strcspn(rest, "/"));
	yyjson_mut_doc *doc = object_tree(o);
	yyjson_mut_val *obj = doc ? yyjson_mut_doc_get_root(doc) : NULL;
	yyjson_mut_val *accepted;
	const char *why, *name = NULL;
	size_t left = 0;

	if (!tenant || !obj) {
		left = 1;
	} else if (mut_get(obj, "metadata.deletionTimestamp")) {
		if (has_finalizer(obj))
			left = end_type(api, tenant, o, doc, obj);
	} else {
		accepted = object_condition_of(doc, obj, "NamesAccepted");
		why = str_eq(mut_str(accepted, "status"), "True")
			      ? NULL
			      : crds_conflict(api, tenant,
					      strrchr(o->key, '/') + 1,
					      mut_str(obj, "spec.group"),
					      mut_get(obj, "spec.names"),
					      &name);
		if (!why && !str_eq(mut_str(accepted, "status"), "True")) {
			crd_set_status(doc, obj, NULL, NULL);
			left = commit(api, o, doc, obj, false, NULL) < 0;
		}
	}
	yyjson_mut_doc_free(doc);
	return left;
}

/* One round over those that are not what they are to be. */
static size_t round_over(struct api *api)
{
	struct store_range range = { .prefix = CRD_GROUP "/" CRD_PLURAL "/" };
	struct store_list list;
	size_t left = 0;

	if (store_list(api->store, &range, &list, NULL) < 0)
		return 1;
	for (size_t i = 0; i < list.nr && !atomic_load(&api->crd_follow->stop);
	     i++)
		left += follow(api, list.v[i]);
	store_list_clear(&list);
	return left;
}

static void wake(void *arg)
{
	struct api *api = arg;

	pthread_mutex_lock(&api->crd_follow->lock);
	api->crd_follow->wake = true;
	pthread_cond_signal(&api->crd_follow->cond);
	pthread_mutex_unlock(&api->crd_follow->lock);
}

/* The tenants of what has changed are read again. */
static void take_events(struct api *api, struct store_watch *w)
{
	struct store_event ev[32];
	struct map tenants = MAP_INIT;
	struct map_iter it = MAP_ITER_INIT;
	int n;

	while ((n = store_watch_read(w, ev, 32)) > 0)
		for (int i = 0; i < n; i++) {
			const char *t = ev[i].obj->key +
					strlen(CRD_GROUP "/" CRD_PLURAL "/");
			auto_free char *name = strndup(t, strcspn(t, "/"));

			if (name)
				map_set(&tenants, name, api, NULL);
			store_event_clear(&ev[i]);
		}
	if (missed_events(w, n))
		missed_tenants(api, &tenants);
	while (map_next(&tenants, &it))
		crds_refresh(api, it.key);
	map_clear(&tenants, NULL);
}

static void *crd_run(void *arg)
{
	struct api *api = arg;
	struct store_watch *watch = NULL;
	struct err e = { 0 };

	if (store_watch_open(api->store, CRD_GROUP "/" CRD_PLURAL "/", 0, wake,
			     api, &watch, &e))
		log_error("custom resource definitions: %s", e.msg);
	pthread_mutex_lock(&api->crd_follow->lock);
	while (!atomic_load(&api->crd_follow->stop)) {
		struct timespec until;
		size_t left;

		api->crd_follow->wake = false;
		pthread_mutex_unlock(&api->crd_follow->lock);
		if (watch)
			take_events(api, watch);
		left = round_over(api);
		pthread_mutex_lock(&api->crd_follow->lock);
		clock_gettime(CLOCK_MONOTONIC, &until);
		until.tv_sec += left ? 1 : 300;
		while (!atomic_load(&api->crd_follow->stop) &&
		       !api->crd_follow->wake)
			if (pthread_cond_timedwait(&api->crd_follow->cond,
						   &api->crd_follow->lock,
						   &until))
				break;
	}
	pthread_mutex_unlock(&api->crd_follow->lock);
	store_watch_close(watch);
	return NULL;
}

int crds_start(struct api *api, struct err *e)
{
	auto_free struct crd_follow *f = calloc(1, sizeof(*f));
	pthread_condattr_t attr;
	int rc;

	if (!f)
		return err_set(e, -ENOMEM, "out of memory");
	pthread_mutex_init(&f->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&f->cond, &attr);
	pthread_condattr_destroy(&attr);
	api->crd_follow = f;
	rc = pthread_create(&f->thread, NULL, crd_run, api);
	if (rc) {
		api->crd_follow = NULL;
		return err_set(e, -rc, "cannot start a thread");
	}
	(void)take_ptr(f);
	return 0;
}

void crds_stop(struct api *api)
{
	struct crd_follow *f = api->crd_follow;

	if (!f)
		return;
	atomic_store(&f->stop, true);
	wake(api);
	pthread_join(f->thread, NULL);
	pthread_mutex_destroy(&f->lock);
	pthread_cond_destroy(&f->cond);
	api->crd_follow = NULL;
	free(f);
}
